#!/usr/bin/env python3
"""Tests of the symbol rule with libraries that break it.

  symbols_test.py CXX INCLUDE_DIR VERSION_SCRIPT
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import symbols

CXX, INCLUDE, MAP = sys.argv[1:4]
GOOD = [f"-Wl,--version-script={MAP}", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,-z,relro"]
SOURCE = """
#include <epp/abi.h>
%s
inline int& Counter() { static int counter; return counter; }
int shown() { return Counter()++; }
extern "C" const epp_module* epp_plugin_entry_v1(uint32_t, uint32_t) EPP_NOEXCEPT {
  return shown() ? nullptr : nullptr;
}
"""
NOTE = "EPP_DEFINE_NOTE(0u);"


def build(folder, flags, source=SOURCE % NOTE):
    library = str(pathlib.Path(folder) / "plugin.so")
    subprocess.run([CXX, "-x", "c++", "-std=c++20", "-shared", "-fPIC", f"-I{INCLUDE}", "-",
                    "-o", library, *flags], input=source, check=True, text=True)
    return library


class Symbols(unittest.TestCase):
    def check(self, want, flags, source=SOURCE % NOTE):
        with tempfile.TemporaryDirectory() as folder:
            found = list(symbols.faults(build(folder, flags, source)))
        self.assertEqual(bool(found), bool(want), found)
        for text in want:
            self.assertTrue(any(text in line for line in found), found)

    def test_good(self):
        self.check([], GOOD)

    def test_without_the_version_script(self):
        self.check(["exports ", "UNIQUE symbols"], GOOD[1:])

    def test_lazy_binding(self):
        self.check(["lazily"], [GOOD[0], "-Wl,-z,lazy"])

    def test_executable_stack(self):
        self.check(["executable stack"], [*GOOD, "-Wl,-z,execstack"])

    def test_search_path(self):
        self.check(["RUNPATH"], [*GOOD, "-Wl,-rpath,/tmp", "-Wl,--enable-new-dtags"])

    def test_without_note(self):
        self.check(["no EPP note"], GOOD, SOURCE % "")

    def test_note_of_another_major(self):
        note = "#undef EPP_ABI_MAJOR\n#define EPP_ABI_MAJOR 2u\n" + NOTE
        self.check(["ABI 2.0"], GOOD, SOURCE % note)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
