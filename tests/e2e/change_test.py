#!/usr/bin/env python3
"""An operator's day under load: a weight, a new plugin in Rust, a new build of it, a broken config, the
way back. No request fails, and status tells the story."""

import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

import harness
from stack import ROOT, wait_until

sys.path.insert(0, str(ROOT / "sdk/tests"))
from stranger import build_rust, rust  # noqa: E402

CLIENTS = 6
# Prefers full caches where the example prefers empty ones.
ROOM = "let room = (1.0 - usage - self.reserve) / (1.0 - self.reserve);"
USE = "let room = usage + 0.0 * self.reserve;"


class Clients:
    """OpenAI clients that send one request after another, streamed and plain, until stopped."""

    def __init__(self, url):
        self.answers, self.failures = 0, []
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True)
                         for i in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        import openai  # only in the virtual environment
        client = openai.OpenAI(base_url=self._url, api_key="none", max_retries=0)
        n = 0
        while not self._stop.is_set():
            n += 1
            try:
                self._ask(client, f"client {number} asks {n}", stream=number % 2 == 0)
                self.answers += 1
            except openai.OpenAIError as error:
                self.failures.append(f"client {number}, request {n}: {error!r}")

    def _ask(self, client, prompt, stream):
        answer = client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": prompt}], max_tokens=20, stream=stream)
        reasons = [c.choices[0].finish_reason for c in answer if c.choices] if stream else [
            answer.choices[0].finish_reason]
        if reasons[-1] != "length":
            self.failures.append(f"{prompt}: the answer is cut off")

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


@unittest.skipUnless(rust(), "no Rust")
class OperatorsDay(harness.StackTest):
    CONFIG = harness.config({"queue-scorer": 1, "kv-cache-utilization-scorer": 1})
    WITH_RUST = harness.config({"queue-scorer": 1, "kv-headroom-scorer": 10})

    @classmethod
    def setUpClass(cls):
        cls.builds = pathlib.Path(cls.enterClassContext(harness.temporary_folder()))
        cls.plugins = cls.builds / "plugins"
        cls.plugins.mkdir(mode=0o755)
        cls.EPP_OPTIONS = ("--set", f"plugins.dirs={harness.bin_dir.parent / 'lib/epp/plugins'},"
                                    f"{cls.plugins}")
        tools = next(iter(rust().values()))
        cls.first = cls.build("first", tools)
        cls.second = cls.build("second", tools, (ROOM, USE))
        super().setUpClass()
        # The first has no room, the others are empty; queues play no part.
        for i, kv in enumerate((0.9, 0.0, 0.0)):
            cls.sims.pin_metrics(i, waiting=0, kv=kv)
        wait_until("epp sees the caches", lambda: cls.epp.pool()["sim-0"]["kv"] > 0.8)

    @classmethod
    def build(cls, name, tools, change=None):
        source = cls.builds / name
        shutil.copytree(ROOT / "sdk/examples/rust-scorer", source)
        if change:
            file = source / "src/lib.rs"
            text = file.read_text()
            if change[0] not in text:
                raise AssertionError(f"the example does not say {change[0]}")
            file.write_text(text.replace(*change))
        return pathlib.Path(build_rust(source, cls.builds / f"{name}-target", tools, test=False))

    def install(self, library):
        for file in (library.with_suffix(".toml"), library):
            beside = self.plugins / f"{file.name}.new"
            shutil.copy(file, beside)
            beside.chmod(0o644)
            beside.rename(self.plugins / file.name)

    def write_config(self, text):
        beside = self.work / "config.new"
        beside.write_text(text)
        beside.rename(self.work / "config.yaml")

    def serving(self):
        return self.epp.get("/admin/status")["config"]["generation"]

    def wait_for(self, generation):
        wait_until(f"generation {generation} serves", lambda: self.serving() == generation)

    def servers(self):
        return {self.server_of(f"probe {i}") for i in range(12)}

    def command(self, *arguments):
        return subprocess.run([self.epp.bin, *arguments, "--admin", f"unix:{self.epp.socket}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              check=False)

    def test_changes_under_load_fail_no_request(self):
        clients = Clients(f"http://127.0.0.1:{self.envoy.port}/v1")
        try:
            wait_until("the clients are at work", lambda: clients.answers > CLIENTS)
            self.day()
        finally:
            clients.stop()
        self.assertEqual(clients.failures, [])
        print(f"\n  {clients.answers} answers, all whole")

    def day(self):
        with self.subTest("a weight"):
            self.write_config(harness.config({"queue-scorer": 3, "kv-cache-utilization-scorer": 1}))
            self.wait_for(2)

        with self.subTest("a scorer in Rust"):
            self.install(self.first)
            self.write_config(self.WITH_RUST)
            wait_until("the new config serves", lambda: "kv-headroom-scorer" in str(
                self.epp.get("/admin/config")["profiles"]))
            self.assertNotIn("sim-0", self.servers(), "it has no room")
        added = self.serving()

        with self.subTest("another build of it"):
            self.install(self.second)
            self.wait_for(added + 1)
            self.assertEqual(self.servers(), {"sim-0"}, "it has the fullest cache")

        with self.subTest("a broken config"):
            self.write_config(self.WITH_RUST.replace("queue-scorer", "queue-score"))
            refused = self.command("reload", "--wait")
            self.assertEqual(refused.returncode, 4, refused.stderr)
            self.assertIn("queue-score", refused.stderr)
            self.assertIn("config-refused", self.epp.get("/admin/status")["degraded"])
            self.assertEqual(self.servers(), {"sim-0"}, "the former one goes on")

        with self.subTest("mended"):
            self.write_config(self.WITH_RUST)
            self.assertEqual(self.command("reload", "--wait").returncode, 0)
            self.assertNotIn("config-refused", self.epp.get("/admin/status")["degraded"])

        with self.subTest("the way back, to the former build"):
            back = self.command("rollback", "--reason", "prefers full caches")
            self.assertEqual(back.returncode, 0, back.stderr)
            self.assertNotIn("sim-0", self.servers())

        with self.subTest("the story"):
            status = self.command("status")
            self.assertIn("pinned", status.stdout)
            story = [(g["cause"], g["outcome"])
                     for g in self.epp.get("/admin/generations")["generations"]]
            self.assertEqual(story[-1], ("start", "applied"))
            self.assertEqual(story[0], ("rollback", "applied"))
            self.assertIn("refused", {outcome for _, outcome in story})


if __name__ == "__main__":
    harness.main()
