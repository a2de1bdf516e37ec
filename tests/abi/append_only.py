#!/usr/bin/env python3
"""Says whether a layout snapshot (see dump_layout.py) only appends to an older one.

  append_only.py OLD NEW

A record that starts with struct_size may grow at its end, behind its old size; any other record is
frozen. Constants, ids, typedefs and functions keep their values and never vanish. Exit code 1 and
one line a violation otherwise.
"""

import pathlib
import re
import sys

# The version itself moves.
MOVING = {"EPP_ABI_MINOR", "EPP_ABI_MIN_MINOR", "EPP_ABI_TARGET_MINOR"}


class Record:
    def __init__(self, size, align):
        self.size = size
        self.align = align
        self.members = []

    def grows(self):
        return bool(self.members) and self.members[0][1] == "uint32_t struct_size"


def parse(text):
    values, records, record = {}, {}, None
    for line in text.splitlines():
        head = re.fullmatch(r"record (?:struct|union) (\w+) size (\d+) align (\d+)", line)
        value = re.fullmatch(r"(const|id|typedef|enumerator|function) (\w+) (.*)", line)
        member = re.fullmatch(r" *(\d+\S*) (.*)", line)
        if head:
            record = records[head[1]] = Record(int(head[2]), int(head[3]))
        elif value:
            values[f"{value[1]} {value[2]}"] = value[3]
        elif member:
            record.members.append((member[1], member[2]))
        elif line and not line.startswith("#"):
            raise ValueError(f"cannot read {line!r}")
    return values, records


def violations(old_text, new_text):
    old_values, old_records = parse(old_text)
    new_values, new_records = parse(new_text)
    for name, value in old_values.items():
        if name not in new_values:
            yield f"{name} has vanished"
        elif new_values[name] != value and name.split()[1] not in MOVING:
            yield f"{name} was {value}, is {new_values[name]}"
    for name, old in old_records.items():
        new = new_records.get(name)
        if new is None:
            yield f"record {name} has vanished"
            continue
        for i, member in enumerate(old.members):
            now = new.members[i] if i < len(new.members) else None
            if now != member:
                text = "nothing" if now is None else f"{now[1]!r} at {now[0]}"
                yield f"record {name}: was {member[1]!r} at {member[0]}, is {text}"
                break
        else:
            added = new.members[len(old.members):]
            if new.align != old.align:
                yield f"record {name}: alignment was {old.align}, is {new.align}"
            if not added and new.size != old.size:
                yield f"record {name}: size was {old.size}, is {new.size}, with the same members"
            if added and not old.grows():
                yield f"record {name} is frozen (it has no struct_size) and has grown"
            elif added and int(added[0][0]) < old.size:
                yield f"record {name}: {added[0][1]!r} lies within the old size {old.size}"


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    old, new = (pathlib.Path(a).read_text() for a in sys.argv[1:])
    found = list(violations(old, new))
    print("\n".join(found) or "only appended")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
