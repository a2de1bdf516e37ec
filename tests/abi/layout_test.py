#!/usr/bin/env python3
"""Tests of the layout gate with planted changes to the real header, and of the header's rules.

  layout_test.py CLANG HEADER
"""

import pathlib
import re
import sys
import tempfile
import unittest

import append_only
import dump_layout

CLANG, HEADER = sys.argv[1:3]
SOURCE = pathlib.Path(HEADER).read_text()
BEFORE = dump_layout.dump(CLANG, HEADER)

# name -> (old text, new text), and what the gate must say.
MUST_FAIL = {
    "insert a member": (
        "  uint64_t now_ns;      /* monotonic, taken", "  uint64_t a;\n  uint64_t now_ns; /*",
        "record epp_call"),
    "retype a member": ("const epp_candidates* in, double* out,",
                        "const epp_candidates* in, float* out,", "record epp_scorer"),
    "retype with the same size": ("  double min; /*", "  int64_t min; /*", "record epp_param_spec"),
    "reorder members": ("  uint32_t port;\n  uint32_t rank; ", "  uint32_t rank;\n  uint32_t port; ",
                        "record epp_endpoint"),
    "shrink": ("  uint64_t frame; /* number of the pool snapshot that the columns come from */\n",
               "", "record epp_candidates"),
    "rename a member": ("  uint32_t column_count;\n", "  uint32_t columns_used;\n",
                        "record epp_candidates"),
    "reuse a reserved member": ("  uint32_t column_count;\n  uint32_t reserved0;",
                                "  uint32_t column_count;\n  uint32_t shards;",
                                "record epp_candidates"),
    "renumber a constant": ("#define EPP_T_F64 2", "#define EPP_T_F64 7", "const EPP_T_F64"),
    "drop a constant": ("#define EPP_LOG_WARN 3\n", "", "const EPP_LOG_WARN has vanished"),
    "change an id": ('"epp.scorer/1"\n', '"epp.scorer/2"\n', "id EPP_SCORER_ID"),
    "drop an id": ('#define EPP_PARSER_ID "epp.parser/1"\n', "", "id EPP_PARSER_ID has vanished"),
    "retype a typedef": ("typedef int32_t epp_status;", "typedef int64_t epp_status;",
                         "typedef epp_status"),
    "change the entry": ("(*epp_plugin_entry_fn)(uint32_t host_major,",
                         "(*epp_plugin_entry_fn)(uint64_t host_major,", "epp_plugin_entry_fn"),
    "grow a frozen record": ("} epp_str;", "  uint64_t hash;\n} epp_str;", "record epp_str is frozen"),
}
MUST_PASS = {
    "append a member": ("} epp_call;", "  uint64_t a;\n} epp_call;"),
    "add a constant": ("#define EPP_LOG_WARN 3\n", "#define EPP_LOG_WARN 3\n#define EPP_LOG_X 9\n"),
    "add an interface": ("#define EPP_SERVICE_ID", '#define EPP_X_ID "epp.x.y/1"\n'
                         "typedef struct epp_y {\n  uint32_t struct_size;\n  uint32_t reserved0;\n"
                         "} epp_y;\n#define EPP_SERVICE_ID"),
    "raise the minor": ("#define EPP_ABI_MINOR 0u", "#define EPP_ABI_MINOR 1u"),
    "change a comment": ("/* bytes */", "/* octets */"),
}
# Scalars that are the same for every compiler, flag and language.
SCALARS = {"int32_t", "uint32_t", "int64_t", "uint64_t", "double", "epp_status", "uint8_t"}
FLAG_SETS = [["-std=c17"], ["-fshort-enums"], ["-funsigned-char"], ["-DNDEBUG", "-O2"],
             ["-std=gnu11"], ["-DEPP_ABI_TARGET_MINOR=EPP_ABI_MINOR"]]


def dump_changed(old, new):
    assert SOURCE.count(old) >= 1, f"the header has no {old!r}"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "abi.h"
        path.write_text(SOURCE.replace(old, new, 1))
        return dump_layout.dump(CLANG, path)


class Gate(unittest.TestCase):
    def test_planted_violations_fail(self):
        for name, (old, new, want) in MUST_FAIL.items():
            with self.subTest(name):
                found = list(append_only.violations(BEFORE, dump_changed(old, new)))
                self.assertTrue(any(want in line for line in found), found)

    def test_appends_pass(self):
        for name, (old, new) in MUST_PASS.items():
            with self.subTest(name):
                after = dump_changed(old, new)
                self.assertEqual(list(append_only.violations(BEFORE, after)), [])

    def test_same_header_passes(self):
        self.assertEqual(list(append_only.violations(BEFORE, BEFORE)), [])


class Rules(unittest.TestCase):
    """The rules at the top of the header, as far as a machine can read them."""

    def test_layout_does_not_depend_on_flags(self):
        for flags in FLAG_SETS:
            with self.subTest(flags):
                self.assertEqual(dump_layout.dump(CLANG, HEADER, flags=flags), BEFORE)

    def test_layout_does_not_depend_on_the_architecture(self):
        self.assertEqual(dump_layout.dump(CLANG, HEADER, target="aarch64"), BEFORE)

    def test_members_have_portable_types(self):
        _, records = append_only.parse(BEFORE)
        self.assertGreater(len(records), 40)
        for name, record in records.items():
            for _, member in record.members:
                text = member.strip()
                portable = (text.split()[0] in SCALARS or "*" in text or text.startswith("char[")
                            or text.startswith(("struct ", "union ")))
                self.assertTrue(portable, f"{name}: {text}")
                self.assertNotRegex(text, r"\b(bool|long|size_t|enum|_Bool)\b", name)

    def test_what_grows_is_never_nested_by_value(self):
        _, records = append_only.parse(BEFORE)
        for name, record in records.items():
            for _, member in record.members:
                nested = re.match(r" *struct (epp_\w+) \w+$", member)
                if nested:
                    self.assertFalse(records[nested[1]].grows(), f"{name}: {member}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
