#!/usr/bin/env python3
"""Says what a built plugin library shows, and whether a host would accept it.

  symbols.py FILE_OR_FOLDER...

Every library: exports exactly the entry symbol, has no UNIQUE symbol, no executable stack, no text
relocation, no search path, binds everything at load, and carries the ABI note. Exit code 1 and one
line a fault otherwise.
"""

import pathlib
import re
import struct
import subprocess
import sys

ENTRY = "epp_plugin_entry_v1"


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def faults(library):
    symbols = [line.split() for line in output("nm", "-D", library).splitlines()]
    defined = sorted(s[-1] for s in symbols if len(s) == 3 and s[1] not in "Uwv")
    if defined != [ENTRY]:
        yield f"exports {', '.join(defined) or 'nothing'}, want {ENTRY}"
    unique = [s[-1] for s in symbols if len(s) == 3 and s[1] == "u"]
    if unique:
        yield f"has UNIQUE symbols: {', '.join(unique)}"

    headers = output("readelf", "-lW", library)
    stack = re.search(r"GNU_STACK.* (R\S*) ", headers)
    if stack is None or "E" in stack[1]:
        yield "has an executable stack"
    if "GNU_RELRO" not in headers:
        yield "has no RELRO segment"
    dynamic = output("readelf", "-dW", library)
    for tag in ("TEXTREL", "RPATH", "RUNPATH"):
        if f"({tag})" in dynamic:
            yield f"has {tag}"
    if "NOW" not in dynamic:
        yield "is bound lazily"

    # readelf's name for type 1 is NT_VERSION.
    note = re.search(r"EPP\s+0x0+10\s+NT_VERSION .*?description data:((?: [0-9a-f]{2}){16})",
                     output("readelf", "-nW", library), re.S)
    if note is None:
        yield "has no EPP note of type 1"
    else:
        major, minor, min_minor, _ = struct.unpack("<4I", bytes.fromhex(note[1]))
        if major != 1 or min_minor > minor:
            yield f"its note says ABI {major}.{minor}, needing {major}.{min_minor}"


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    libraries = []
    for path in map(pathlib.Path, sys.argv[1:]):
        libraries += sorted(path.glob("*.so")) if path.suffix != ".so" else [path]
    found = [f"{lib}: {fault}" for lib in libraries for fault in faults(lib)]
    print("\n".join(found) or f"{len(libraries)} libraries show what they should")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
