#!/usr/bin/env python3
"""Builds every example as a stranger would: with the SDK installed, from another project.

  consumer_test.py CMAKE SDK_DIR CXX CC SYMBOLS_PY PROBE EPP PLUGIN_DIR

Each with find_package, its unit test included, and with the pkg-config line of its README; the Rust
example with cargo, by every Rust that is here. What comes out must be what a host accepts, with the
configuration of its README.
"""

import concurrent.futures
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

import stranger

CMAKE, SDK, CXX, CC, SYMBOLS, PROBE, EPP, PLUGINS = sys.argv[1:9]
EXAMPLES = pathlib.Path(SDK) / "examples"
LAYOUT = pathlib.Path(SDK) / "abi/layout.x86_64.txt"
OPTIMISED = "scorer"  # one is enough; the others build in half the time


class Consumer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="epp-consumer-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        cls.sdk = stranger.Sdk(cls.root, SDK, CMAKE, CXX, CC)

    def test_examples(self):
        def check(source):
            copy = shutil.copytree(source, self.root / source.name)
            library = self.sdk.build_and_test(
                copy, self.root / f"{source.name}-build",
                "Release" if source.name == OPTIMISED else "Debug")
            stranger.check_library(library, PROBE, SYMBOLS)
            stranger.check_config(copy / "README.md", library, EPP, PLUGINS)

            compiler, line = re.search(r"^(c\+\+|cc) (.*)$", (copy / "README.md").read_text(),
                                       re.M).groups()
            stranger.must("sh", "-c", f"{CXX if compiler == 'c++' else CC} {line}", cwd=copy,
                          env=self.sdk.environment())
            library = copy / library.name
            shutil.copy(copy / "plugin.toml", library.with_suffix(".toml"))
            stranger.check_library(library, PROBE, SYMBOLS)

        sources = [path.parent for path in EXAMPLES.glob("*/CMakeLists.txt")]
        self.assertGreater(len(sources), 4)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(check, sources))

    def test_rust(self):
        if not stranger.rust():
            self.skipTest("no rustc and cargo of 1.63 or later")
        for version, tools in stranger.rust().items():
            with self.subTest(rustc=version):
                source = shutil.copytree(EXAMPLES / "rust-scorer", self.root / f"rust-{version}")
                library = stranger.build_rust(source, self.root / f"target-{version}", tools)
                stranger.check_library(library, PROBE, SYMBOLS)
                stranger.check_config(source / "README.md", library, EPP, PLUGINS)
                self.check_layout(stranger.cargo(source, self.root / f"target-{version}", tools,
                                                 "test", "print_layout", "--", "--nocapture"))

    def check_layout(self, text):
        """The records that the Rust source declares are those of the header."""
        known, record = {}, None
        for line in LAYOUT.read_text().splitlines():
            head = re.fullmatch(r"record struct (\w+) size (\d+) align \d+", line)
            member = re.fullmatch(r" *(\d+) (\S.*?)(\w+)", line)
            if head:
                record = known[head[1]] = {"": int(head[2])}
            elif member and record is not None and not line[6:].startswith(" "):
                record[member[3]] = int(member[1])
        declared = {}
        for name, size in re.findall(r"^record (\w+) (\d+)$", text, re.M):
            declared[name] = {"": int(size)}
        for name, field, offset in re.findall(r"^field (\w+) (\w+) (\d+)$", text, re.M):
            declared[name][field] = int(offset)
        self.assertGreater(len(declared), 15)
        for name, members in declared.items():
            self.assertEqual(members, known[name], name)

    def test_other_major_is_not_found(self):
        source = shutil.copytree(EXAMPLES / "c-filter", self.root / "other")
        lists = source / "CMakeLists.txt"
        lists.write_text(lists.read_text().replace("epp-sdk 1 ", "epp-sdk 2 "))
        code, text = self.sdk.configure(source, self.root / "other-build", "-DBUILD_TESTING=OFF")
        self.assertNotEqual(code, 0)
        self.assertIn("epp-sdk", text)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
