#!/usr/bin/env python3
"""Compiles the SDK's headers the ways that an author might.

  headers_test.py INCLUDE_DIR COMPILER... (C++ compilers; the C mode is asked for with -x c)

abi.h: alone, twice, and from several units, as C11 to C++20, without implicit padding. The C++
headers: with and without exceptions and RTTI; testing.hpp, which needs neither, too.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

INCLUDE, *COMPILERS = sys.argv[1:]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
C_STANDARDS = ["c11", "c17"]
CXX_STANDARDS = ["c++17", "c++20"]
ODD_FLAGS = [[], ["-fshort-enums"], ["-funsigned-char"], ["-O2"]]
BARE = ["-fno-exceptions", "-fno-rtti"]
CXX_FLAGS = {"plugin.hpp": [[], *([flag] for flag in BARE), BARE,
                            ["-fshort-enums", "-funsigned-char"]],
             "testing.hpp": [[], BARE]}

# Uses every macro of abi.h, so that a mistake in one is seen.
ABI_SOURCE = """
#include <epp/abi.h>
#include <epp/abi.h>
EPP_DEFINE_NOTE(0u);
extern int test(const epp_call* call);
int test(const epp_call* call) { return EPP_HAS(call, epp_call, alloc) && epp_note.type == 1u; }
"""
CXX_SOURCE = """
#include <epp/%s>
#include <epp/%s>
namespace {
class Constant {
 public:
  static constexpr const char* kName = "constant";
  static constexpr const char* kDoc = "Gives every endpoint the same score.";
  static constexpr std::array kParams{epp::Float("value", 1, 0, 1, "the score")};
  static constexpr std::array kConsumes{epp::Uses(epp::attr::kMetricsAge)};
  static epp::Result<Constant> Create(const epp::Context& ctx) { return Constant(ctx.f64(0)); }
  epp::Status Score(const epp::Call&, const epp::Candidates&, std::span<double> out) const {
    for (double& score : out) score = value_;
    return {};
  }

 private:
  explicit Constant(double value) : value_(value) {}
  double value_;
};
}  // namespace
EPP_LIBRARY("constant", "1.0.0", Constant)
"""


def run(command, source=None):
    done = subprocess.run(command, input=source, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"{' '.join(command)}\n{done.stderr}"


def padded(compiler):
    """-Wpadded; Clang looks at a struct only when something asks for its layout."""
    lazy = "clang" in pathlib.Path(compiler).name
    return ["-Wpadded", *(["-Xclang", "-fdump-record-layouts-complete"] if lazy else [])]


def check(compiler, language, standard, flags, source):
    return run([compiler, "-x", language, f"-std={standard}", *WARNINGS, *flags, f"-I{INCLUDE}",
                "-fsyntax-only", "-"], source)


class Headers(unittest.TestCase):
    def test_abi_in_c_and_cxx(self):
        for compiler in COMPILERS:
            for language, standards in (("c", C_STANDARDS), ("c++", CXX_STANDARDS)):
                for standard in standards:
                    for flags in ODD_FLAGS:
                        with self.subTest(compiler=compiler, standard=standard, flags=flags):
                            self.assertEqual("", check(compiler, language, standard,
                                                       [*padded(compiler), *flags], ABI_SOURCE))

    def test_padding_is_seen(self):
        text = (pathlib.Path(INCLUDE) / "epp/abi.h").read_text()
        for compiler in COMPILERS:
            with self.subTest(compiler=compiler):
                unpadded = text.replace("  uint32_t column_count;\n  uint32_t reserved0;\n",
                                        "  uint32_t column_count;\n")
                self.assertNotEqual(unpadded, text)
                self.assertIn("padding", check(compiler, "c", "c11", padded(compiler), unpadded))

    def test_abi_needs_nothing_but_two_standard_headers(self):
        text = (pathlib.Path(INCLUDE) / "epp/abi.h").read_text()
        found = [line for line in text.splitlines() if line.startswith("#include")]
        self.assertEqual(found, ["#include <stddef.h>", "#include <stdint.h>"])

    def test_cxx_headers_without_exceptions_and_rtti(self):
        for compiler in COMPILERS:
            for header, flag_sets in CXX_FLAGS.items():
                for flags in flag_sets:
                    with self.subTest(compiler=compiler, header=header, flags=flags):
                        self.assertEqual("", check(compiler, "c++", "c++20", flags,
                                                   CXX_SOURCE % (header, header)))

    def test_from_two_units_of_one_program(self):
        main = '#include <epp/testing.hpp>\nint main() { return !epp::test::Make("constant").ok(); }'
        with tempfile.TemporaryDirectory() as folder:
            sources = {"a.c": (["-x", "c", "-std=c11"], ABI_SOURCE.replace("test(", "test_a(")),
                       "b.c": (["-x", "c", "-std=c17"], ABI_SOURCE.replace("test(", "test_b(")),
                       "c.cc": (["-std=c++20"], CXX_SOURCE % ("plugin.hpp", "testing.hpp")),
                       "d.cc": (["-std=c++20"], main)}
            objects = []
            for name, (flags, source) in sources.items():
                path = pathlib.Path(folder) / name
                path.write_text(source)
                objects.append(str(path.with_suffix(".o")))
                self.assertEqual("", run([COMPILERS[0], *flags, *WARNINGS, f"-I{INCLUDE}", "-c",
                                          str(path), "-o", objects[-1]]))
            program = str(pathlib.Path(folder) / "program")
            self.assertEqual("", run([COMPILERS[0], *objects, "-o", program]))
            self.assertEqual("", run([program]))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
