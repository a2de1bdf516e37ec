#!/usr/bin/env python3
"""The SDK's example scorer, built outside of the tree against an installed SDK, changes picks."""

import os
import shutil
import subprocess
import unittest

import harness
from stack import ROOT, Epp, wait_until

CMAKE = os.environ.get("CMAKE_COMMAND", "cmake")


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{command}:\n{done.stdout}{done.stderr}")


class ExampleScorer(harness.StackTest):
    # All equal without the example.
    CONFIG = harness.config({"prefix-cache-scorer": 1})
    REQUESTS = 60

    def servers(self):
        return [self.server_of(f"{self.id()} {i}") for i in range(self.REQUESTS)]

    def test_changes_picks(self):
        build, prefix = self.work / "build", self.work / "prefix"
        run(CMAKE, "-G", "Ninja", "-S", ROOT / "sdk", "-B", build / "sdk")
        run(CMAKE, "--install", build / "sdk", "--prefix", prefix)
        shutil.copytree(ROOT / "sdk/examples/scorer", self.work / "scorer")
        run(CMAKE, "-G", "Ninja", "-S", self.work / "scorer", "-B", build / "scorer",
            f"-DCMAKE_PREFIX_PATH={prefix}", "-DBUILD_TESTING=OFF")
        run(CMAKE, "--build", build / "scorer")
        plugins = self.work / "plugins"
        plugins.mkdir(mode=0o755)
        library = next((build / "scorer").rglob("example-scorer.so"))
        shutil.copy(library, plugins)
        shutil.copy(self.work / "scorer/plugin.toml", plugins / "example-scorer.toml")

        self.sims.pin_metrics(0, waiting=50)
        wait_until("epp sees the queue", lambda: self.epp.pool()["sim-0"]["waiting"] == 50)
        self.assertIn("sim-0", self.servers(), "nothing in this configuration looks at queues")

        (self.work / "config.yaml").write_text(
            harness.config({"prefix-cache-scorer": 1, "short-queue-scorer": 2}))
        self.assertEqual(self.epp.child.stop(), 0)
        own = harness.bin_dir.parent / "lib/epp/plugins"
        epp = Epp(harness.bin_dir, self.work, self.work / "config.yaml", self.epp.ports,
                  ("--set", f"plugins.dirs={own},{plugins}"))
        self.addCleanup(epp.child.stop)
        epp.wait_fresh(self.sims.names)
        wait_until("epp sees the queue", lambda: epp.pool()["sim-0"]["waiting"] == 50)
        wait_until("Envoy has connected again", lambda: self.post(
            {"model": "demo", "messages": [{"role": "user", "content": "again"}]})[0] == 200)
        self.assertNotIn("sim-0", self.servers())

        status, headers, _ = self.post({"model": "demo", "max_tokens": 1, "messages": [
            {"role": "user", "content": "why"}]})
        self.assertEqual(status, 200)
        profile = epp.decision(headers["x-request-id"])["profiles"][0]
        scorer = [s["plugin"] for s in profile["scorers"]].index("short-queue-scorer")
        row = profile["scores"][profile["endpoints"].index("default/sim-0")]
        self.assertAlmostEqual(row[scorer], 1 / 51, places=4)


if __name__ == "__main__":
    harness.main()
