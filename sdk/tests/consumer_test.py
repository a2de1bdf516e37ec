#!/usr/bin/env python3
"""Uses the SDK as a stranger would: installed, from another project.

  consumer_test.py CMAKE SDK_DIR CXX SYMBOLS_PY

Installs into a temporary prefix other than the configured one, builds examples/scorer with
find_package and with the pkg-config line of its README, runs its unit test, and checks what both
libraries export.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import unittest

CMAKE, SDK, CXX, SYMBOLS = sys.argv[1:5]
EXAMPLE = pathlib.Path(SDK) / "examples" / "scorer"


def run(*command, **kwargs):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          **kwargs)
    return done.returncode, f"{command}\n{done.stdout}"


class Consumer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = pathlib.Path(cls.folder.name)
        cls.prefix = cls.root / "prefix"
        build = cls.root / "sdk"
        for command in ((CMAKE, "-S", SDK, "-B", build, f"-DCMAKE_CXX_COMPILER={CXX}",
                         f"-DCMAKE_INSTALL_PREFIX={cls.root}/elsewhere"),
                        (CMAKE, "--install", build, "--prefix", cls.prefix)):
            code, text = run(*command)
            assert code == 0, text

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def must(self, *command, **kwargs):
        code, text = run(*command, **kwargs)
        self.assertEqual(code, 0, text)
        return text

    def configure(self, source, build):
        return run(CMAKE, "-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release",
                   f"-DCMAKE_CXX_COMPILER={CXX}", f"-DCMAKE_PREFIX_PATH={self.prefix}")

    def test_find_package(self):
        source = shutil.copytree(EXAMPLE, self.root / "example")
        build = self.root / "example-build"
        code, text = self.configure(source, build)
        self.assertEqual(code, 0, text)
        self.must(CMAKE, "--build", build)
        self.must("ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error")
        self.must(sys.executable, SYMBOLS, str(build / "example-scorer.so"))
        manifest = tomllib.loads((build / "example-scorer.toml").read_text())
        self.assertEqual(manifest["name"], "example-scorer")

    def test_pkg_config(self):
        source = shutil.copytree(EXAMPLE, self.root / "pkg-config")
        line = re.search(r"^c\+\+ (.*)$", (EXAMPLE / "README.md").read_text(), re.M)[1]
        pc_file, = self.prefix.rglob("epp-sdk.pc")
        environment = {**os.environ, "PKG_CONFIG_PATH": str(pc_file.parent)}
        self.must("sh", "-c", f"{CXX} {line}", cwd=source, env=environment)
        self.must(sys.executable, SYMBOLS, str(source / "example-scorer.so"))

    def test_other_major_is_not_found(self):
        source = shutil.copytree(EXAMPLE, self.root / "other")
        lists = source / "CMakeLists.txt"
        lists.write_text(lists.read_text().replace("epp-sdk 1 ", "epp-sdk 2 "))
        code, text = self.configure(source, self.root / "other-build")
        self.assertNotEqual(code, 0)
        self.assertIn("epp-sdk", text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
