#!/usr/bin/env python3
"""Stopping, refusing to start, and the quick start from end to end."""

import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import harness
from stack import ROOT, StreamedAnswer, chat, wait_until


class Drain(harness.StackTest):
    SIM_OPTIONS = ("--decode-ms-per-token", "10")
    RESPONSES = True  # so that epp holds a stream as long as the answer takes
    STREAMS = 8
    TOKENS = 100

    def test_running_streams_finish(self):
        begun, answers = threading.Semaphore(0), []

        def stream(i):
            answers.append(StreamedAnswer(
                self.envoy.port, harness.CHAT, chat(f"stream {i}", max_tokens=self.TOKENS, stream=True),
                on_first=lambda _: begun.release()))

        threads = [threading.Thread(target=stream, args=(i,)) for i in range(self.STREAMS)]
        for thread in threads:
            thread.start()
        for _ in threads:
            self.assertTrue(begun.acquire(timeout=30))
        self.assertFalse(answers, "all are running")
        self.epp.child.signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        self.assertEqual(self.epp.child.process.wait(30), 0, self.epp.child.tail())
        self.assertEqual({a.status for a in answers}, {200})
        self.assertTrue(all(a.complete for a in answers))
        self.assertEqual({len(a.events) >= self.TOKENS for a in answers}, {True})
        status, _, _ = self.post(chat("too late"))
        self.assertGreaterEqual(status, 500)


class DrainWindow(harness.StackTest):
    DRAIN = "1s"

    def test_new_requests_are_served_within_it(self):
        self.epp.child.signal(signal.SIGTERM)
        wait_until("draining", lambda: not self.epp.get("/admin/status")["ready"])
        self.server_of("while draining")
        self.assertEqual(self.epp.child.process.wait(30), 0)


class BadConfig(unittest.TestCase):
    def test_does_not_start_and_says_where(self):
        with tempfile.TemporaryDirectory() as work:
            path = pathlib.Path(work) / "config.yaml"
            path.write_text(harness.config({"queue-scorr": 1}))
            done = subprocess.run([harness.bin_dir / "epp", "serve", "--config-file", path,
                                   "--set", "admin.socket="], capture_output=True, text=True,
                                  timeout=30, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("config.yaml:4:", done.stderr + done.stdout)
            self.assertIn("queue-scorer", done.stderr + done.stdout)


class QuickStart(unittest.TestCase):
    def start(self, work, *options):
        return subprocess.Popen(
            [sys.executable, "-B", ROOT / "deploy/quickstart.py", "--bin", harness.bin_dir, "--venv",
             harness.VENV, "--work", work, "--free-ports", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def test_once(self):
        with tempfile.TemporaryDirectory() as work:
            process = self.start(work, "--once")
            output, _ = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, output)
            self.assertIn("[5/5]", output)
            self.assertIn("0 failed", output)

    def test_interrupt_ends_it_and_its_children(self):
        with tempfile.TemporaryDirectory() as work:
            process = self.start(work)
            for line in process.stdout:
                if "Everything is up" in line:
                    break
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            self.assertEqual(len(children), 3)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
            self.assertEqual(process.returncode, 0)
            for child in children:
                self.assertFalse(pathlib.Path(f"/proc/{child}").exists())


if __name__ == "__main__":
    harness.main()
