#!/usr/bin/env python3
"""Plugins of four toolchains from outside the tree, in one epp and one profile; picks follow each.

  together_test.py SDK_DIR CXX CC CLANGXX BIN_DIR PLUGIN_DIR GOLDEN_DIR

A filter in C, a scorer by Clang with libc++, a scorer in Rust and a picker by GCC with a static
runtime, in front of simulated model servers. What is missing here is built by what there is, and
without Rust the picks of its scorer are not looked at.

And the golden plugins of an older minor of the ABI, all four in one epp of today.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1] / "sdk/tests"), str(HERE.parent / "e2e")]
import stranger  # noqa: E402
from stack import Epp, Simulators, wait_until  # noqa: E402

SDK, CXX, CC, CLANGXX, BIN, PLUGINS, GOLDEN = sys.argv[1:8]
BIN = pathlib.Path(BIN)
EXAMPLES = pathlib.Path(SDK) / "examples"
HAS_RUST = bool(stranger.rust())
SERVERS = 4
CONFIG = f"""apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {{type: c-queue-limit-filter, parameters: {{maxWaiting: 20}}}}
  - {{type: short-queue-scorer}}
  {'- {type: kv-headroom-scorer}' if HAS_RUST else ''}
  - {{type: two-choices-picker}}
  - {{type: file-discovery, parameters: {{path: endpoints.yaml}}}}
schedulingProfiles:
  - name: default
    plugins:
      - {{pluginRef: c-queue-limit-filter}}
      - {{pluginRef: short-queue-scorer, weight: 2}}
      {'- {pluginRef: kv-headroom-scorer, weight: 1}' if HAS_RUST else ''}
      - {{pluginRef: two-choices-picker}}
dataLayer:
  discovery: {{pluginRef: file-discovery}}
"""


class Stack(unittest.TestCase):
    """Simulated servers and an epp whose plugins are in self.plugins."""

    CONFIG = ""

    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="epp-together-"))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        cls.plugins = cls.work / "plugins"
        cls.plugins.mkdir(mode=0o755)
        cls.build()
        cls.sims = Simulators(BIN, cls.work, SERVERS)
        cls.addClassCleanup(cls.sims.child.stop)
        cls.sims.write_endpoints(cls.work / "endpoints.yaml")
        (cls.work / "config.yaml").write_text(cls.CONFIG)
        cls.epp = Epp(BIN, cls.work, cls.work / "config.yaml",
                      options=("--set", f"plugins.dirs={PLUGINS},{cls.plugins}"))
        cls.addClassCleanup(cls.epp.child.stop)
        cls.epp.wait_fresh(cls.sims.names)

    @classmethod
    def build(cls):
        """Puts libraries into cls.plugins."""

    def pin(self, waiting, kv):
        for i in range(SERVERS):
            self.sims.pin_metrics(i, waiting=waiting[i], kv=kv[i])
        wait_until("epp sees the load", lambda: all(
            (e["waiting"], e["kv"]) == (waiting[i], kv[i])
            for i, e in enumerate(self.epp.pool()[name] for name in self.sims.names)))

    def picks(self, count=40):
        """{server: picks}, and the last decision."""
        done = subprocess.run([BIN / "pick", str(self.epp.ports[0]), str(count)],
                              capture_output=True, text=True, timeout=60, check=True)
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual(len(lines), count)
        servers = {f"127.0.0.1:{port}": i for i, port in enumerate(self.sims.ports)}
        counts = dict.fromkeys(range(SERVERS), 0)
        for destination, _ in lines:
            counts[servers[destination.split(",")[0]]] += 1  # fallbacks follow
        return counts, self.epp.decision(lines[-1][1])["profiles"][0]

class Together(Stack):
    CONFIG = CONFIG

    @classmethod
    def build(cls):
        sdk = stranger.Sdk(cls.work, SDK)
        clang = CLANGXX if shutil.which(CLANGXX) else CXX
        libcxx = ["-stdlib=libc++"]
        if stranger.run(clang, *libcxx, "-x", "c++", "-fsyntax-only", "-include", "vector", "-",
                        input="")[0] != 0:
            print("no libc++ here", flush=True)
            libcxx = []
        for name, command in (("c-filter", [CC, "-std=c11", "filter.c"]),
                              ("scorer", [clang, "-std=c++20", *libcxx, "scorer.cc"]),
                              ("picker", [CXX, "-std=c++20", "-static-libstdc++", "-static-libgcc",
                                          "picker.cc"])):
            stranger.must("sh", "-c", f"{' '.join(command)} $(pkg-config --cflags --libs epp-sdk) "
                          f"-o {cls.plugins}/example-{name}.so", cwd=EXAMPLES / name,
                          env=sdk.environment())
            shutil.copy(EXAMPLES / name / "plugin.toml", cls.plugins / f"example-{name}.toml")
        for tools in list(stranger.rust().values())[:1]:
            source = shutil.copytree(EXAMPLES / "rust-scorer", cls.work / "rust")
            library = pathlib.Path(stranger.build_rust(source, cls.work / "target", tools, test=False))
            for suffix in (".so", ".toml"):
                shutil.copy(library.with_suffix(suffix), cls.plugins)

    def test_picks_follow_filter_scorers_and_picker(self):
        # The filter leaves two, of which the picker takes the better one.
        self.pin([50, 50, 0, 1], [0, 0, 0.5, 0.5])
        self.assertEqual(self.picks()[0], {0: 0, 1: 0, 2: 40, 3: 0})  # the C++ scorer's
        if HAS_RUST:
            self.pin([50, 50, 2, 2], [0, 0, 0.5, 0.25])
            counts, profile = self.picks()
            self.assertEqual(counts, {0: 0, 1: 0, 2: 0, 3: 40})
            names = [s["plugin"] for s in profile["scorers"]]
            row = profile["scores"][profile["endpoints"].index("default/sim-3")]
            self.assertAlmostEqual(row[names.index("kv-headroom-scorer")], 0.75, places=4)
            self.assertAlmostEqual(row[names.index("short-queue-scorer")], 1 / 3, places=4)
        self.pin([1, 0, 50, 50], [0.5, 0.5, 0, 0])
        self.assertEqual(self.picks()[0], {0: 0, 1: 40, 2: 0, 3: 0})  # the filter's
        # Of four, the worst is never picked and the others are.
        self.pin([0, 1, 5, 20], [0, 0, 0, 0])
        counts, _ = self.picks(80)
        self.assertEqual(counts[3], 0)
        self.assertGreater(counts[0], counts[2])
        self.assertTrue(counts[1] and counts[2], counts)


class Golden(Stack):
    CONFIG = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {type: golden-scraper, name: core-metrics-extractor}
  - {type: golden-filter, parameters: {bannedZones: [c]}}
  - {type: golden-scorer, parameters: {cacheWeight: 0.25}}
  - {type: golden-picker}
  - {type: file-discovery, parameters: {path: endpoints.yaml}}
schedulingProfiles:
  - name: default
    plugins:
      - {pluginRef: golden-filter}
      - {pluginRef: golden-scorer}
      - {pluginRef: golden-picker}
dataLayer:
  injectDefaults: false
  sources:
    - pluginRef: core-metrics-extractor
      extractors: [{pluginRef: core-metrics-extractor}]
  discovery: {pluginRef: file-discovery}
"""

    @classmethod
    def build(cls):
        for library in pathlib.Path(GOLDEN).glob("*.so"):
            shutil.copy(library, cls.plugins)

    def test_old_libraries_decide(self):
        for best in range(SERVERS):
            self.pin([0 if i == best else 9 for i in range(SERVERS)], [0.5] * SERVERS)
            self.assertEqual(self.picks(5)[0], {i: 5 * (i == best) for i in range(SERVERS)})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
