#!/usr/bin/env python3
"""Keeps the table of cases in README.md true: which test carries the number of which case.

    cases.py           fails, and says why, when the table is not what the sources say
    cases.py --write   writes the tests into the table; the reasons of cases without one stay
"""
import argparse
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CASES = range(1, 158)
NAME = re.compile(r"Case(\d{3})((?:(?:And|To)\d{3})*)\w*")
ROW = re.compile(r"^\| (\d+) \| ([^|]*) \| ([^|]*) \|$")


def numbers(first, rest):
    found = [int(first)]
    for word, number in re.findall(r"(And|To)(\d{3})", rest):
        found += range(found[-1] + 1, int(number) + 1) if word == "To" else [int(number)]
    return found


def tests():
    """Of each case: {folder: [names]}."""
    covered = {}
    for top in ("host", "plugins", "tests"):
        for path in sorted((ROOT / top).rglob("*_test.cc")):
            folder = str(path.parent.relative_to(ROOT))
            if folder.startswith("plugins/services/"):
                continue  # which counts cases of its own
            for match in NAME.finditer(path.read_text(encoding="utf-8")):
                for case in numbers(match[1], match[2]):
                    names = covered.setdefault(case, {}).setdefault(folder, [])
                    if match[0] not in names:
                        names.append(match[0])
    return covered


def shown(folders):
    return "; ".join(f"`{folder}`: {', '.join(names)}" for folder, names in folders.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()

    readme = HERE / "README.md"
    covered = tests()
    problems = [f"Case{case:03d} is no case" for case in covered if case not in CASES]
    seen = []
    lines = []
    for line in readme.read_text(encoding="utf-8").splitlines():
        row = ROW.match(line)
        if row:
            case, subject, cell = int(row[1]), row[2], row[3]
            seen.append(case)
            want = shown(covered[case]) if case in covered else cell
            if want != cell:
                problems.append(f"case {case}: the table says {cell}, the sources {want}")
            elif case not in covered and not cell.startswith(("none: ", "not yet: ")):
                problems.append(f"case {case}: no test has its number, and no reason is given")
            line = f"| {case} | {subject} | {want} |"
        lines.append(line)
    if seen != list(CASES):
        problems.append("the table does not have every case once, in order")
    if options.write:
        readme.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return 0
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("tests/conformance/cases.py --write puts it right", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
