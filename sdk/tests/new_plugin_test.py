#!/usr/bin/env python3
"""Every project that `epp plugin new` can write builds, passes its test, and the host takes it.

  new_plugin_test.py CMAKE SDK_DIR CXX CC SYMBOLS_PY PROBE EPP PLUGIN_DIR
"""

import concurrent.futures
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import stranger

CMAKE, SDK, CXX, CC, SYMBOLS, PROBE, EPP, PLUGINS = sys.argv[1:9]
CXX_KINDS = ("filter", "scorer", "picker", "scraper", "producer")
OTHER_KINDS = ("filter", "scorer", "picker")
# Names that a language could stumble over.
NAMES = {("scorer", "cpp"): "scorer", ("filter", "rust"): "9-lives", ("picker", "cpp"): "a",
         ("filter", "c"): "x" * 63, ("scorer", "rust"): "plugin", ("producer", "cpp"): "int--"}


def epp(*arguments, cwd=None):
    return subprocess.run([EPP, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


class NewPlugin(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="epp-new-plugin-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)

    def project(self, kind, language):
        name = NAMES.get((kind, language), f"my-{kind}")
        folder = self.root / f"{kind}-{language}"
        done = epp("plugin", "new", kind, name, str(folder), "--lang", language, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        said = json.loads(done.stdout)
        self.assertEqual((said["name"], said["kind"], said["lang"]), (name, kind, language))
        written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        self.assertEqual(set(said["files"]), written)
        for path in written:
            self.assertNotRegex((folder / path).read_text(), r"@[A-Z]+@", path)
        return folder

    def check(self, source, library):
        stranger.check_library(library, PROBE, SYMBOLS)
        stranger.check_config(source / "README.md", library, EPP, PLUGINS)

    def test_cpp_and_c(self):
        sdk = stranger.Sdk(self.root, SDK, CMAKE, CXX, CC)

        def run(which):
            source = self.project(*which)
            self.check(source, sdk.build_and_test(source, source / "build"))

        which = [(kind, "cpp") for kind in CXX_KINDS] + [(kind, "c") for kind in OTHER_KINDS]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(run, which))

    def test_rust(self):
        if not stranger.rust():
            self.skipTest("no rustc and cargo of 1.63 or later")
        tools = next(iter(stranger.rust().values()))
        for kind in OTHER_KINDS:
            source = self.project(kind, "rust")
            self.check(source, stranger.build_rust(source, source / "target", tools))

    def test_the_guide_shows_what_is_written(self):
        done = epp("plugin", "new", "scorer", "my-scorer", cwd=self.root)
        self.assertEqual(done.returncode, 0, done.stderr)
        written = (self.root / "my-scorer/plugin.cc").read_text()
        self.assertIn(f"```cpp\n{written}```\n", (pathlib.Path(SDK) / "README.md").read_text())

    def test_refusals(self):
        for arguments, want in (
                (("sorter", "a"), 'KIND is "sorter", want one of filter'),
                (("scorer", ""), 'NAME is ""'),
                (("scorer", "-a"), 'NAME is "-a"'),
                (("scorer", "a_b"), 'NAME is "a_b"'),
                (("scorer", "../a"), 'NAME is "../a"'),
                (("scorer", "Upper"), 'NAME is "Upper"'),
                (("scorer", "x" * 64), "want a lower-case letter"),
                (("scorer", "install"), "CMake"),
                (("scraper", "a", "--lang", "c"), "no template of a scraper in c"),
                (("scorer", "a", "--lang", "go"), "go not in")):
            with self.subTest(arguments):
                words = arguments if not arguments[1].startswith("-") else (arguments[0], "--", arguments[1])
                done = epp("plugin", "new", *words, cwd=self.root)
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertIn(want, done.stderr)

    def test_writes_nothing_over(self):
        folder = self.root / "mine"
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
        (folder / "plugin.cc").symlink_to("/nowhere")
        done = epp("new-plugin", "scorer", "mine", cwd=self.root)
        self.assertEqual(done.returncode, 1)
        self.assertIn("mine/plugin.cc exists; nothing was written", done.stderr)
        self.assertEqual(len(list(folder.iterdir())), 2)
        (folder / "plugin.cc").unlink()
        self.assertEqual(epp("new-plugin", "scorer", "mine", cwd=self.root).returncode, 0)
        self.assertEqual((folder / "notes.txt").read_text(), "mine")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
