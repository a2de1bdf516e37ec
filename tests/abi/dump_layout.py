#!/usr/bin/env python3
"""Prints everything that epp/abi.h promises: constants, ids, typedefs and struct layouts.

The text comes from Clang (preprocessor, AST and record layouts), not from a hand-kept list, so a
new struct cannot be forgotten. Compiled freestanding, hence the same on every machine; --target
gives the layout of another architecture. `--check FILE` compares with a committed snapshot.
"""

import argparse
import difflib
import json
import pathlib
import re
import subprocess
import sys

TARGETS = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def run_clang(clang, header, target, flags, args):
    command = [clang, f"--target={TARGETS[target]}", "-x", "c", "-std=c11", "-ffreestanding",
               *flags, *args, str(header)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def constants(text):
    """Object-like EPP_ macros with their values, names that stand for names resolved."""
    macros = dict(re.findall(r"^#define (EPP_\w+) (.+)$", text, re.M))
    for name in sorted(macros):
        value = macros[name]
        while value in macros:
            value = macros[value]
        kind = "id" if value.startswith('"') else "const"
        yield f"{kind} {name} {value}"


def records(text):
    """One block a named record; nested members are indented as Clang prints them."""
    blocks = {}
    for block in text.split("*** Dumping AST Record Layout\n")[1:]:
        head, *rest = block.rstrip().splitlines()
        name = re.fullmatch(r" *0 \| (struct|union) (epp_\w+)", head)
        if not name:
            continue
        size, align = re.search(r"\[sizeof=(\d+), align=(\d+)\]", rest[-1]).groups()
        lines = [f"record {name[1]} {name[2]} size {size} align {align}"]
        for line in rest[:-1]:
            offset, member = re.fullmatch(r" *([\d:-]+) \|   (.*)", line).groups()
            member = re.sub(r"\b(\w+::)?\((unnamed|anonymous)[^)]*\)", "(unnamed)", member)
            lines.append(f"{offset:>5} {member}")
        blocks[name[2]] = lines
    return blocks


def declarations(ast):
    """Typedefs of anything but a record, enumerators and functions."""
    for node in ast["inner"]:
        name = node.get("name", "")
        if node["kind"] == "EnumDecl":
            for item in node.get("inner", []):
                value = item.get("inner", [{}])[0].get("value", "")
                yield f"enumerator {item['name']} {value}"
        if not name.startswith("epp_"):
            continue
        type_name = node.get("type", {}).get("qualType", "")
        if node["kind"] == "TypedefDecl" and not type_name.startswith(("struct ", "union ")):
            yield f"typedef {name} {type_name}"
        elif node["kind"] == "FunctionDecl":
            yield f"function {name} {type_name}"


def dump(clang, header, target="x86_64", flags=()):
    macros = run_clang(clang, header, target, flags, ["-E", "-dM"])
    ast = json.loads(run_clang(clang, header, target, flags,
                               ["-fsyntax-only", "-Xclang", "-ast-dump=json"]))
    layouts = records(run_clang(clang, header, target, flags,
                                ["-fsyntax-only", "-Xclang", "-fdump-record-layouts-complete"]))
    lines = ["# What epp/abi.h promises; printed by tests/abi/dump_layout.py."]
    lines += constants(macros)
    lines += sorted(declarations(ast))
    for name in sorted(layouts):
        lines += ["", *layouts[name]]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clang", required=True)
    parser.add_argument("--header", required=True, type=pathlib.Path)
    parser.add_argument("--target", default="x86_64", choices=TARGETS)
    parser.add_argument("--flag", action="append", default=[], help="a further compiler flag")
    parser.add_argument("--check", type=pathlib.Path, help="compare with this snapshot")
    args = parser.parse_args()
    text = dump(args.clang, args.header, args.target, args.flag)
    if args.check is None:
        sys.stdout.write(text)
        return 0
    committed = args.check.read_text()
    if committed == text:
        return 0
    sys.stdout.writelines(difflib.unified_diff(
        committed.splitlines(True), text.splitlines(True), str(args.check), "epp/abi.h now"))
    print(f"\n{args.check} is not what the header says; if the change is meant, print it anew.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
