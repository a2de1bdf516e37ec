#!/usr/bin/env python3
"""What happens to requests when servers die, leave, return or fill up."""

import threading
import time
import unittest

import harness
from stack import Simulators, StreamedAnswer, call, chat, wait_until, write_endpoints

# Detection of a dead server is a scrape that fails; generous for loaded machines.
DETECTED_WITHIN_S = 2


class Load:
    """Clients that send one request after another until stopped; all that happened is in `done`."""

    def __init__(self, port, clients, tokens):
        self.done = []  # (started, ended, status, server or None)
        self._port, self._tokens = port, tokens
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True)
                         for i in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, client):
        n = 0
        while not self._stop.is_set():
            n += 1
            started = time.monotonic()
            status, headers, _ = call(self._port, "POST", harness.CHAT,
                                      chat(f"client {client} request {n}", max_tokens=self._tokens))
            self.done.append((started, time.monotonic(), status, headers.get("x-sim-server")))

    def answered_since(self, moment, count):
        return len([1 for started, _, status, _ in self.done
                    if started > moment and status == 200]) >= count

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()


class DeadServer(harness.StackTest):
    """Servers as processes of their own, so that one can be killed."""

    @classmethod
    def start_servers(cls):
        cls.each = [Simulators(harness.bin_dir, cls.work, 1, harness.FAST, name=name)
                    for name in ("a", "b", "c")]
        for sims in cls.each:
            cls.addClassCleanup(sims.child.stop)
        write_endpoints(cls.endpoints_file, [(s.names[0], s.ports[0]) for s in cls.each])

    @classmethod
    def names(cls):
        return [s.names[0] for s in cls.each]

    def test_is_seen_and_left_alone_and_then_all_gone_is_503(self):
        load = Load(self.envoy.port, clients=20, tokens=50)
        try:
            wait_until("every server is busy", lambda: all(
                e["running"] > 0 for e in self.epp.pool().values()))
            held = self.each[0].state(0)["running"]
            killed = time.monotonic()
            self.each[0].child.process.kill()
            wait_until("epp sees it", lambda: self.epp.pool()["a-0"]["state"] != "fresh")
            seen = time.monotonic()
            wait_until("traffic goes on", lambda: load.answered_since(seen, 200))
        finally:
            load.stop()
        failed = [entry for entry in load.done if entry[2] != 200]
        late = [entry for entry in failed if entry[0] > killed]
        print(f"\n  {len(load.done)} requests, held by the dead server about {held}; failed: "
              f"{len(failed) - len(late)} sent before, {len(late)} after; seen after "
              f"{(seen - killed) * 1e3:.0f} ms")
        self.assertLess(seen - killed, DETECTED_WITHIN_S)
        spared = seen if self.ORIGINAL_DST else killed
        self.assertFalse([e for e in failed if e[0] > spared], "only what it held may fail")

        for sims in self.each[1:]:
            sims.child.process.kill()
        status, headers, content = self.post(chat("Hello"))
        self.assertEqual(status, 503, content)
        self.assertNotIn("x-sim-server", headers)
        # Nothing to choose from is epp's own answer.
        write_endpoints(self.endpoints_file, [])
        wait_until("an empty pool", lambda: not self.epp.pool())
        status, headers, content = self.post(chat("Hello"))
        self.assertEqual(status, 503, content)
        self.assertIn(b"inference error: ServiceUnavailable", content)


class DeadServerWithoutRetries(DeadServer):
    """Envoy connects to any address: what is sent before epp sees the death fails too."""

    ORIGINAL_DST = True


class EndpointsFile(harness.StackTest):
    SERVERS = 4

    def setUp(self):
        self.sims.write_endpoints(self.endpoints_file)
        self.epp.wait_fresh(self.sims.names)

    def test_edits_under_load_fail_no_request(self):
        load = Load(self.envoy.port, clients=10, tokens=20)
        streams, stop = [], threading.Event()

        def stream():
            while not stop.is_set():
                streams.append(StreamedAnswer(self.envoy.port, harness.CHAT,
                                              chat("stream", max_tokens=100, stream=True)))

        threads = [threading.Thread(target=stream, daemon=True) for _ in range(5)]
        for thread in threads:
            thread.start()
        try:
            for servers in ([0, 1], [2, 3], [0], [1, 2, 3], [3, 0], [0, 1, 2, 3]):
                self.sims.write_endpoints(self.endpoints_file, servers)
                names = {self.sims.names[i] for i in servers}
                self.epp.wait_fresh(names)
                changed = time.monotonic()
                wait_until("requests after the change", lambda: load.answered_since(changed, 20))
                strays = {e[3] for e in load.done if e[0] > changed} - names
                self.assertFalse(strays, f"only {names} may be used")
        finally:
            stop.set()
            load.stop()
            for thread in threads:
                thread.join()
        self.assertEqual({e[2] for e in load.done}, {200})
        self.assertTrue(streams and all(s.status == 200 and s.complete for s in streams))

    def test_a_broken_file_changes_nothing(self):
        self.endpoints_file.write_text("endpoints: [{name: sim-0, address: 127.0.0.1\n")
        self.wait_logged("endpoints file refused")
        self.assertEqual(set(self.epp.pool()), set(self.sims.names))
        self.server_of("Hello")
        self.sims.write_endpoints(self.endpoints_file, [1, 2])
        self.epp.wait_fresh(self.sims.names[1:3])

    def wait_logged(self, message):
        wait_until(f"\"{message}\" is logged", lambda: message in self.epp.child.log.read_text())


class SharedPrefix(harness.StackTest):
    # Waiting requests outweigh a cached prefix.
    CONFIG = harness.config({"queue-scorer": 3, "kv-cache-utilization-scorer": 1,
                             "prefix-cache-scorer": 2})
    # Slow prefill, and few at a time: a queue builds up.
    SIM_OPTIONS = ("--kv-blocks", "2000", "--max-num-seqs", "4", "--decode-ms-per-token", "5")

    def setUp(self):
        # Another one a test, so that none finds it cached already.
        self.system = f"All conversations of {self.id()} begin with these very words. " * 40

    def test_sticks_when_idle(self):
        servers = set()
        for i in range(10):
            servers.add(self.server_of(f"question {i}", self.system))
            self.wait_idle()
        self.assertEqual(len(servers), 1)

    def test_spills_over_when_busy(self):
        home = self.server_of("first question", self.system)
        answers = []
        lock = threading.Lock()

        def client(i):
            for n in range(4):
                server = self.server_of(f"question {i}.{n}", self.system, max_tokens=20)
                with lock:
                    answers.append(server)

        harness.together(40, client)
        self.assertEqual(len(answers), 160)
        self.assertIn(home, answers)
        self.assertGreater(len(set(answers)), 1, "a long queue outweighs a cached prefix")

    def test_a_pinned_queue_moves_even_the_cached(self):
        home = self.server_of("some question", self.system)
        self.wait_idle()
        server = self.sims.names.index(home)
        self.sims.pin_metrics(server, waiting=50, kv=0.99)
        try:
            wait_until("epp sees it", lambda: self.epp.pool()[home]["waiting"] == 50)
            self.assertNotEqual(self.server_of("other question", self.system), home)
        finally:
            call(self.sims.ports[server], "DELETE", "/sim/metrics")


if __name__ == "__main__":
    harness.main()
