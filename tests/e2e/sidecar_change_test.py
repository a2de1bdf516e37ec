#!/usr/bin/env python3
"""The sidecar's config and build change under streaming load: no stream breaks, no request fails."""

import itertools
import json
import pathlib
import re
import shutil
import threading
import time

import harness
from pods import PodsTest
from stack import StackError, wait_until

CLIENTS = 8
TOKENS = 120


class Streams:
    """OpenAI clients; most of them stream. Every answer must be whole."""

    def __init__(self, url):
        self.answers, self.failures = [], []  # times
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True)
                         for i in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        import openai  # only in the virtual environment
        client = openai.OpenAI(base_url=self._url, api_key="none", max_retries=0)
        for n in itertools.count():
            if self._stop.is_set():
                return
            stream, prompt = number % 4 != 0, f"client {number} asks {n}: " + "why? " * 100
            try:
                answer = client.chat.completions.create(
                    model="demo", messages=[{"role": "user", "content": prompt}],
                    max_tokens=TOKENS, stream=stream)
                if stream:
                    choices = [c.choices[0] for c in answer if c.choices]
                    text = "".join(c.delta.content or "" for c in choices)
                else:
                    choices = [answer.choices[0]]
                    text = choices[0].message.content
                if len(text) != TOKENS * 4 or choices[-1].finish_reason != "length":
                    self.failures.append(f"{prompt[:20]}: cut off after {len(text)} bytes")
                else:
                    self.answers.append(time.monotonic())
            except Exception as error:  # whatever it is, the client has no answer
                self.failures.append(f"{prompt[:20]}: {error!r}")

    def go_on(self, count=3 * CLIENTS):
        """Until so many requests that began from now on were answered."""
        now = len(self.answers) + CLIENTS
        wait_until("the clients go on",
                   lambda: self.failures or len(self.answers) >= now + count)

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Changes(PodsTest):
    STAGES = ("prefill", "decode")
    POD_ROLES = ("prefill", "decode")
    SIDECAR = {"kvConnector": "nixlv2"}

    @classmethod
    def start_servers(cls):
        # A folder of libraries of its own, to be changed while it is in use.
        cls.builds = pathlib.Path(cls.enterClassContext(harness.temporary_folder()))
        cls.plugins = cls.builds / "plugins"
        shutil.copytree(harness.bin_dir.parent / "lib/epp/plugins", cls.plugins)
        cls.plugins.chmod(0o755)
        cls.SIDECAR_OPTIONS = ("--set", f"plugins.dirs={cls.plugins}")
        super().start_servers()
        cls.sidecar = cls.sidecars[0]
        cls.engine = cls.sims.of("decode")[0]

    def write_config(self, **parameters):
        folder = self.work / self.sims.names[self.engine]
        beside = folder / "config.new"
        beside.write_text(self.config_of(self.engine, **parameters))
        beside.rename(folder / "config.yaml")

    def another_build(self, number):
        """The same code by other bytes: another version, another build id."""
        text = (self.plugins / "pde-sidecar.toml").read_text()
        version = re.search(r'^version = "(.*)"', text, re.M)[1]
        new = version[:-1] + str(number)
        image = bytearray((self.plugins / "pde-sidecar.so").read_bytes())
        old = version.encode() + b"\0"
        if image.count(b"\0" + old) != 1:
            raise StackError(f"the library does not say \"{version}\" once")
        at = image.index(b"\0" + old) + 1
        image[at:at + len(old)] = new.encode() + b"\0"
        note = image.index(b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0") + 16
        image[note] ^= 0xff
        for name, content in (("pde-sidecar.toml", text.replace(version, new).encode()),
                              ("pde-sidecar.so", bytes(image))):
            beside = self.plugins / f"{name}.new"
            beside.write_bytes(content)
            beside.chmod(0o644)
            beside.rename(self.plugins / name)
        return new

    def generation(self):
        return self.sidecar.get("/admin/status")["config"]["generation"]

    def wait_for(self, generation):
        wait_until(f"generation {generation} serves", lambda: self.generation() == generation)

    def work_of(self, streams):
        """Prompt tokens that prefill got, and those that decode computed, from now on."""
        streams.go_on(0)
        prefilled = self.sims.total("prompt_tokens", "prefill")
        computed = self.sims.total("computed_tokens", "decode")
        streams.go_on()
        return (self.sims.total("prompt_tokens", "prefill") - prefilled,
                self.sims.total("computed_tokens", "decode") - computed)

    def prefills(self, streams):
        prefilled, computed = self.work_of(streams)
        return computed < prefilled / 10

    def test_under_streaming_load(self):
        streams = Streams(f"http://127.0.0.1:{self.envoy.port}/v1")
        try:
            streams.go_on()
            self.day(streams)
        finally:
            streams.stop()
        print(f"\n  {len(streams.answers)} answers, all whole")
        self.assertEqual(streams.failures, [])
        self.assertEqual(self.sims.total("refused"), 0)
        story = self.sidecar.get("/admin/generations")["generations"]
        print("  " + ", ".join(f"{g['cause']}: {g['outcome']}" for g in reversed(story)))

    def day(self, streams):
        generation = self.generation()
        with self.subTest("without a connector"):
            self.write_config(kvConnector="none")
            self.wait_for(generation + 1)
            # Streams that began before have theirs; so has what came on their connections.
            wait_until("decode does all", lambda: self.work_of(streams)[0] == 0)

        with self.subTest("with it, and other threads"):
            self.write_config(threads=3)
            self.wait_for(generation + 2)
            wait_until("prefill does all", lambda: self.prefills(streams))

        for number in (1, 2):
            with self.subTest("another build", number=number):
                version = self.another_build(number)
                self.wait_for(generation + 2 + number)
                self.assertIn(version, json.dumps(self.sidecar.get("/admin/plugins")))
                self.assertTrue(self.prefills(streams))

        with self.subTest("a broken config"):
            self.write_config(kvConnector="nixlv3")
            wait_until("it is refused", lambda: "config-refused" in self.sidecar.get(
                "/admin/status")["degraded"])
            streams.go_on()
            self.assertEqual(self.generation(), generation + 4)

        with self.subTest("mended, many times"):
            for threads in (1, 2, 4, 2):
                now = self.generation()
                self.write_config(threads=threads)
                self.wait_for(now + 1)
            streams.go_on()


if __name__ == "__main__":
    harness.main()
