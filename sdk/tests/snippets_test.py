#!/usr/bin/env python3
"""Compiles every C++ snippet of the author's guide, and runs the tests that it shows.

  snippets_test.py CXX INCLUDE_DIR MARKDOWN

A snippet with EPP_LIBRARY becomes that library; all others become one program, each in a namespace
of its own, with the plugin types that they define. Line numbers in errors are the document's.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

CXX, INCLUDE, DOCUMENT = sys.argv[1:4]
FLAGS = ["-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{INCLUDE}"]
PRELUDE = """
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include "epp/plugin.hpp"
#include "epp/testing.hpp"
"""


def snippets():
    text = pathlib.Path(DOCUMENT).read_text()
    for block in re.finditer(r"^```cpp\n(.*?)^```$", text, re.M | re.S):
        line = text.count("\n", 0, block.start(1)) + 1
        yield line, f'#line {line} "{DOCUMENT}"\n{block[1]}'


class Snippets(unittest.TestCase):
    def compile(self, source, *flags):
        done = subprocess.run([CXX, *FLAGS, "-x", "c++", "-", "-x", "none", *flags], input=source,
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_compile_and_run(self):
        program, types = PRELUDE, []
        with tempfile.TemporaryDirectory() as folder:
            for line, code in snippets():
                library = re.search(r'^EPP_LIBRARY\("([\w-]+)"', code, re.M)
                if library:
                    self.compile(code, "-shared", "-fPIC", "-o", f"{folder}/{library[1]}.so")
                    continue
                program += f"namespace line{line} {{\n{code}}}\n"
                types += [f"line{line}::{name}" for name in
                          re.findall(r"^class (\w+) \{\n public:\n.*\bkName\b", code, re.M)]
            self.assertGreater(len(types), 8)
            program += f'EPP_LIBRARY("guide", "1.0.0", {", ".join(types)})\n'
            self.compile(program, "-o", f"{folder}/guide", "-lgmock", "-lgtest", "-lgtest_main",
                         "-pthread")
            done = subprocess.run(["./guide"], cwd=folder, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
