#!/usr/bin/env python3
"""Disaggregated serving, whole: OpenAI client, Envoy, epp, a sidecar, engines that check what they
are told. Prefill computes the prompt, decode none of it, and what fails shows as documented."""

import http.client
import itertools
import json
import threading
import time
import unittest

import harness
from disagg_test import PNG
from pods import PodsTest
from stack import StreamedAnswer, call, chat, wait_until

COMPLETIONS = "/v1/completions"
PREFILL_TIMEOUT_S = 0.4
BLOCK_TOKENS = 16

_number = itertools.count()


def story():
    """A prompt that nobody has seen before."""
    return f"Story {next(_number)}: " + "once upon a time there was a model. " * 30


class KvTest(PodsTest):
    """One connector between prefill and decode; subclasses say which."""

    STAGES = ("prefill", "decode")
    POD_ROLES = ("prefill", "prefill", "decode", "decode")

    @classmethod
    def setUpClass(cls):
        if cls is KvTest:
            raise unittest.SkipTest("only what others share")
        super().setUpClass()

    @classmethod
    def parameters(cls, server):
        return {"prefillTimeout": f"{PREFILL_TIMEOUT_S}s", **cls.connector(server)}

    @classmethod
    def connector(cls, server):
        del server
        return cls.SIDECAR

    APIS = ("chat", "completions", "responses")  # whose blocks are handed over
    # Whether decode's answer waits for prefill's. Without, it may come before that one is cut off.
    HELD = True

    def client(self):
        import openai  # only in the virtual environment
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.envoy.port}/v1", api_key="none",
                             max_retries=0)

    def moved(self):
        """What the engines have done so far."""
        return {(role, name): self.sims.total(name, role) for role in ("prefill", "decode")
                for name in ("issued", "received", "refused", "computed_tokens", "pending",
                             "prompt_tokens", "transferred_tokens")}

    def check_handed_over(self, before, requests, tokens):
        """`requests` prompts of `tokens` in all were computed by prefill, and not by decode."""
        def since(role, name):
            return self.moved()[role, name] - before[role, name]
        # A prefill that decode did not wait for may still be at its last token.
        wait_until("prefill is done", lambda: since("prefill", "computed_tokens") == tokens)
        self.assertEqual(since("decode", "prompt_tokens"), tokens)
        self.assertEqual(since("prefill", "refused") + since("decode", "refused"), 0)
        self.check_decode(since, requests, tokens)

    def check_decode(self, since, requests, tokens):
        self.assertEqual(since("decode", "received"), requests)
        self.assertEqual(since("decode", "computed_tokens"), requests, "the last token's logits")
        self.assertEqual(since("decode", "transferred_tokens"), tokens - requests)
        self.assertEqual(since("prefill", "pending"), 0, "blocks that nobody fetched")

    def ask(self, client, api, stream, prompt):
        """Eight tokens by an OpenAI client: the text, the prompt's tokens, those generated."""
        more = {"model": "demo", "stream": stream}
        if api == "responses":
            answer = client.responses.create(input=prompt, max_output_tokens=8, **more)
            if not stream:
                return answer.output_text, answer.usage.input_tokens, answer.usage.output_tokens
            events = list(answer)
            text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
            self.assertEqual(events[-1].type, "response.incomplete")
            usage = events[-1].response.usage
            return text, usage.input_tokens, usage.output_tokens
        more["max_tokens"] = 8
        if stream:
            more["stream_options"] = {"include_usage": True}
        if api == "chat":
            answer = client.chat.completions.create(
                messages=[{"role": "user", "content": prompt}], **more)
        else:
            answer = client.completions.create(prompt=prompt, **more)
        pieces = list(answer) if stream else [answer]
        choices = [p.choices[0] for p in pieces if p.choices]
        self.assertEqual(choices[-1].finish_reason, "length")
        if api == "completions":
            text = "".join(c.text for c in choices)
        else:
            text = "".join((c.delta if stream else c.message).content or "" for c in choices)
        return text, pieces[-1].usage.prompt_tokens, pieces[-1].usage.completion_tokens

    def test_streamed_and_plain(self):
        client, before, tokens, answers = self.client(), self.moved(), 0, []
        for api in self.APIS:
            for stream in (False, True):
                prompt = story()
                text, prompt_tokens, generated = self.ask(client, api, stream, prompt)
                self.assertEqual((len(text), generated), (8 * 4, 8))
                tokens += prompt_tokens
                answers.append((api, prompt, text))
        self.check_handed_over(before, len(answers), tokens)
        # The same as one engine alone would say.
        for api, prompt, text in answers:
            if api == "responses":
                continue
            path, body = (harness.CHAT, chat(prompt)) if api == "chat" else (
                COMPLETIONS, {"model": "demo", "prompt": prompt})
            body["max_tokens"] = 8
            alone = self.sims.ask(self.sims.of("decode")[0], "POST", path, body)
            choice = json.loads(alone[2])["choices"][0]
            self.assertEqual(choice.get("text") or choice["message"]["content"], text)

    def test_many_at_once_on_all_workers(self):
        before = self.moved()
        for server in range(len(self.POD_ROLES)):
            self.sims.ask(server, "DELETE", "/sim/requests")
        def one(i):
            streamed = StreamedAnswer(self.envoy.port, harness.CHAT, chat(
                story(), max_tokens=20, stream=i % 2 == 0, stream_options={"include_usage": True}
                if i % 2 == 0 else None))
            return streamed.status, streamed.complete or i % 2 == 1
        answers = harness.together(24, one)
        self.assertEqual(set(answers), {(200, True)})
        received = self.moved()["decode", "received"] - before["decode", "received"]
        self.assertIn(received, (24, 0))  # shared storage counts otherwise
        used = {self.POD_ROLES[i] for i in range(len(self.POD_ROLES))
                if any(r["path"] == harness.CHAT for r in self.legs(i))}
        self.assertEqual(used, {"prefill", "decode"})

    # What the client gets when prefill fails in some way: status and a part of the body.
    PREFILL_FAULTS = (
        ({"kind": "http_error", "status": 500}, 500, b"simulated failure"),
        ({"kind": "http_error", "status": 429}, 429, b"simulated failure"),
        ({"kind": "drop"}, 502, b"cannot be reached"),
        ({"kind": "truncate"}, 502, b"cannot be reached"),
        ({"kind": "hang"}, 504, b"not answer in time"),
    )

    def test_prefill_fails(self):
        before = self.moved()
        for fault, status, part in self.PREFILL_FAULTS:
            with self.subTest(fault=fault):
                for server in self.sims.of("prefill"):
                    self.sims.fault(server, path="/v1/chat", **fault)
                got, headers, content = self.post(chat(story(), max_tokens=4))
                self.sims.clear_faults()
                json.loads(content)
                self.assertIn("application/json", headers["content-type"])
                if got == 200 and fault["kind"] == "truncate" and not self.HELD:
                    continue
                self.assertEqual(got, status, content)
                self.assertIn(part, content)
        # Nobody computed those prompts in prefill's place. Of an answer that was cut off the blocks
        # were there, and decode may have had them.
        computed = self.moved()["decode", "computed_tokens"] - before["decode", "computed_tokens"]
        self.assertLessEqual(computed, 1)
        self.assertEqual(self.post(chat(story(), max_tokens=4))[0], 200)

    DECODE_FAULTS = (
        ({"kind": "http_error", "status": 500}, 500, b"simulated failure"),
        ({"kind": "drop"}, 502, b"broken off"),
    )

    def test_decode_fails(self):
        for fault, status, part in self.DECODE_FAULTS:
            with self.subTest(fault=fault):
                for server in self.sims.of("decode"):
                    self.sims.fault(server, path="/v1/chat", **fault)
                got, _, content = self.post(chat(story(), max_tokens=4))
                self.assertEqual(got, status, content)
                self.assertIn(part, content)
                self.sims.clear_faults()
        for server in self.sims.of("decode"):
            self.sims.fault(server, path="/v1/chat", kind="truncate", after_events=2)
        try:
            answer = StreamedAnswer(self.envoy.port, harness.CHAT,
                                    chat(story(), max_tokens=4, stream=True))
            self.assertFalse(answer.complete, f"{answer.status}: it looks whole")
        except (OSError, http.client.HTTPException):
            pass  # cut off, as it should
        self.sims.clear_faults()
        self.assertEqual(self.post(chat(story(), max_tokens=4))[0], 200)

    def test_a_client_that_leaves(self):
        """Nothing goes on for it, neither in decode nor in prefill."""
        for what in ("decode streams", "prefill hangs"):
            with self.subTest(what=what):
                if what == "prefill hangs":
                    for server in self.sims.of("prefill"):
                        self.sims.fault(server, path="/v1/chat", kind="slow_headers", delay_ms=300)
                connection = http.client.HTTPConnection("127.0.0.1", self.envoy.port, timeout=30)
                connection.request("POST", harness.CHAT, json.dumps(
                    chat(story(), max_tokens=10_000, ignore_eos=True, stream=True)),
                                   {"content-type": "application/json"})
                if what == "decode streams":
                    connection.getresponse().read(100)
                    self.assertEqual(self.sims.total("running", "decode"), 1)
                else:
                    wait_until("prefill has it", lambda: sum(
                        leg["status"] == 0 for i in self.sims.of("prefill") for leg in self.legs(i)))
                generated = self.sims.total("generated_tokens")
                connection.close()
                wait_until("nobody works", lambda: not (
                    self.sims.total("running") or self.sims.total("waiting")), 5)
                if what == "prefill hangs":
                    # Had it been kept, it would be served before another one that waits as long.
                    self.assertEqual(self.post(chat(story(), max_tokens=4))[0], 200)
                    wait_until("prefill is done", lambda: not self.sims.total("running"))
                    self.assertEqual(self.sims.total("generated_tokens"), generated + 1 + 4)
                self.sims.clear_faults()

    def test_a_prefill_worker_dies_and_returns(self):
        """What it held fails with 502; once epp sees its death the other one does the work."""
        dead, other = self.sims.of("prefill")
        failed, good, stop = [], [], threading.Event()

        def client():
            while not stop.is_set():
                started = time.monotonic()
                status, _, content = self.post(chat(story(), max_tokens=4))
                (good if status == 200 else failed).append((started, status, content))

        threads = [threading.Thread(target=client, daemon=True) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            wait_until("both prefill workers are used", lambda: all(
                self.sims.state(i)["finished"] for i in (dead, other)))
            self.sims.fault(other, kind="die", server=self.sims.names[dead])
            wait_until("epp sees it",
                       lambda: self.epp.pool()[self.sims.names[dead]]["state"] != "fresh")
            seen = time.monotonic()
            wait_until("traffic goes on", lambda: len([1 for g in good if g[0] > seen]) > 30)
            self.sims.fault(other, kind="none", server=self.sims.names[dead])
            self.epp.wait_fresh(self.sims.names)
            wait_until("the new life of it is used",
                       lambda: self.sims.state(dead)["finished"] > 5)
            back = time.monotonic()
            wait_until("traffic goes on", lambda: len([1 for g in good if g[0] > back]) > 30)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        print(f"\n  {len(good)} answered, {len(failed)} failed while epp did not know yet")
        # Blocks that decode was about to fetch went with it: that is the engine's own answer.
        for _, status, content in failed:
            self.assertTrue(status == 502 or b"kv transfer" in content, content)
        self.assertEqual([f for f in failed if f[0] > seen], [])

    def test_without_prefill_workers_decode_computes(self):
        """epp names no worker then, and the sidecar asks none."""
        before = self.moved()
        alive = self.sims.of("decode")
        self.sims.write_endpoints(self.endpoints_file, alive)
        try:
            self.epp.wait_fresh([self.sims.names[i] for i in alive])
            status, _, content = self.post(chat(story(), max_tokens=4))
            self.assertEqual(status, 200, content)
        finally:
            self.sims.write_endpoints(self.endpoints_file)
        tokens = json.loads(content)["usage"]["prompt_tokens"]
        now = self.moved()
        self.assertEqual(now["decode", "computed_tokens"] - before["decode", "computed_tokens"],
                         tokens)
        self.assertEqual(now["prefill", "prompt_tokens"], before["prefill", "prompt_tokens"])


class BothAtOnce(KvTest):
    """Decode does not wait for prefill's answer."""

    HELD = False

    @classmethod
    def setUpClass(cls):
        if cls is BothAtOnce:
            raise unittest.SkipTest("only what others share")
        super().setUpClass()

    def test_decode_is_there_first(self):
        for server in self.sims.of("prefill"):
            self.sims.fault(server, path="/v1/chat", kind="slow_headers", delay_ms=100)
        waited = self.sims.total("waited", "decode")
        for stream in (False, True):
            status, _, content = self.post(chat(story(), max_tokens=4, stream=stream))
            self.assertEqual(status, 200, content)
        # More when a leg was repeated.
        self.assertGreaterEqual(self.sims.total("waited", "decode"), waited + 2)


class Nixl(KvTest):
    SIDECAR = {"kvConnector": "nixlv2", "prefillMaxRetries": 1, "prefillRetryBackoff": "10ms"}
    # Answers of other kinds say nothing of blocks, as vLLM's; decode computes.
    APIS = ("chat", "completions")

    def test_prefill_is_tried_again(self):
        for fault in ({"kind": "http_error", "status": 503}, {"kind": "drop"}):
            with self.subTest(fault=fault):
                # Whichever of the workers it is.
                self.sims.write_endpoints(self.endpoints_file, (0, *self.sims.of("decode")))
                self.epp.wait_fresh([self.sims.names[i] for i in (0, *self.sims.of("decode"))])
                self.sims.fault(0, path="/v1/chat", count=1, **fault)
                asked, before = len(self.legs(0)), self.moved()
                self.assertEqual(self.post(chat(story(), max_tokens=4))[0], 200)
                self.assertEqual(len(self.legs(0)), asked + 2)
                self.assertEqual(self.moved()["decode", "received"],
                                 before["decode", "received"] + 1)
                self.sims.write_endpoints(self.endpoints_file)

    def test_other_apis(self):
        for path, body, received in (
                ("/v1/chat/completions", chat(story(), max_completion_tokens=4), 1),
                ("/v1/chat/completions", chat(story(), max_tokens=4, min_tokens=4), 1),
                ("/v1/messages", chat(story(), max_tokens=4), 0),
                ("/v1/responses", {"model": "demo", "input": story(), "max_output_tokens": 4}, 0),
                ("/inference/v1/generate", {"model": "demo",
                    "token_ids": list(range(next(_number), 10_000, 30)),
                    "sampling_params": {"max_tokens": 4}}, 1)):
            with self.subTest(path=path):
                before = self.moved()
                status, _, content = self.post(body, path=path)
                self.assertEqual(status, 200, content)
                now = self.moved()
                self.assertEqual(now["decode", "received"] - before["decode", "received"], received)
                self.assertGreater(now["prefill", "prompt_tokens"],
                                   before["prefill", "prompt_tokens"])

    def test_clients_cannot_say_where_blocks_are(self):
        """What a client claims of blocks reaches no engine, with prefill and without."""
        claims = {"kv_transfer_params": {"do_remote_prefill": True, "remote_engine_id": "x"},
                  "bootstrap_room": 1}
        headers = {"x-prefiller-host-port": "192.0.2.1:1",
                   "x-kv-cache-source-host-port": "192.0.2.1:2"}
        self.assertEqual(self.post(chat(story(), max_tokens=4, **claims), headers)[0], 200)
        alive = self.sims.of("decode")
        self.sims.write_endpoints(self.endpoints_file, alive)
        try:
            self.epp.wait_fresh([self.sims.names[i] for i in alive])
            status, _, content = self.post(chat(story(), max_tokens=4, **claims), headers)
        finally:
            self.sims.write_endpoints(self.endpoints_file)
        self.assertEqual(status, 200, content)

    def test_usage_is_prefills(self):
        """Decode has all of the prompt; what counts as cached is what prefill found cached."""
        prompt = story()
        for stream in (False, True):
            answers = [StreamedAnswer(self.envoy.port, harness.CHAT, chat(
                prompt, max_tokens=4, stream=True, stream_options={"include_usage": True}))
                       for _ in range(3)] if stream else [
                json.loads(self.post(chat(prompt, max_tokens=4))[2]) for _ in range(3)]
            cached = [(a.usage if stream else a["usage"])["prompt_tokens_details"]["cached_tokens"]
                      for a in answers]
            prefilled = [leg["cached_tokens"] for server in self.sims.of("prefill")
                         for leg in self.legs(server)]
            for value in cached:
                self.assertIn(value, prefilled)


class Moriio(KvTest):
    KV = "moriio"
    APIS = Nixl.APIS
    MORI = {"writeMode": True}

    @classmethod
    def connector(cls, server):
        del server
        return {"kvConnector": "nixlv2", "moriio": cls.MORI}


class MoriioParallel(BothAtOnce, Moriio):
    HELD = True
    APIS = KvTest.APIS
    MORI = {"writeMode": True, "parallelDispatch": True,
            "parallelDecodeWaitTimeout": f"{PREFILL_TIMEOUT_S}s"}


class SharedStorage(KvTest):
    KV = "shared-storage"
    SIDECAR = {"kvConnector": "shared-storage"}

    def check_decode(self, since, requests, tokens):
        # Blocks that are not full are not stored.
        self.assertLess(since("decode", "computed_tokens"), requests * (BLOCK_TOKENS + 1))
        self.assertGreater(since("decode", "transferred_tokens"), tokens - requests * BLOCK_TOKENS)

    def test_decode_is_asked_first(self):
        for stream in (False, True):
            with self.subTest(stream=stream):
                before = self.moved()
                declined = self.sims.total("declined", "decode")
                body = chat(story(), max_tokens=4, stream=stream, cache_hit_threshold=0.8)
                status, _, content = self.post(body)
                self.assertEqual(status, 200, content)
                self.assertNotIn(b"cache_threshold", content)
                self.assertEqual(self.sims.total("declined", "decode"), declined + 1)
                prefilled = self.moved()["prefill", "prompt_tokens"]
                self.assertGreater(prefilled, before["prefill", "prompt_tokens"])
                # Now that it is stored, nobody needs prefill.
                status, _, content = self.post(body)
                self.assertEqual(status, 200, content)
                self.assertEqual(self.sims.total("declined", "decode"), declined + 1)
                self.assertEqual(self.moved()["prefill", "prompt_tokens"], prefilled)


class Sglang(BothAtOnce):
    KV = "sglang"
    SIDECAR = {"kvConnector": "sglang"}


class Mooncake(BothAtOnce):
    KV = "mooncake"

    @classmethod
    def connector(cls, server):
        del server
        # The simulated engines answer bootstrap queries on the port that serves.
        return {"kvConnector": "mooncake", "mooncakeBootstrapPort": cls.sims.port}


    def test_a_restarted_worker_is_asked_anew(self):
        """Nothing failed while it was away, so only decode can tell that its engine is another."""
        for i in range(12):
            self.assertEqual(self.post(chat(story(), max_tokens=4))[0], 200)
        first, second = self.sims.of("prefill")
        for dead, other in ((first, second), (second, first)):
            self.sims.fault(other, kind="die", server=self.sims.names[dead])
            self.sims.fault(other, kind="none", server=self.sims.names[dead])
        self.epp.wait_fresh(self.sims.names)
        for i in range(12):
            status, _, content = self.post(chat(story(), max_tokens=4))
            self.assertEqual(status, 200, content)


class Offloading(KvTest):
    KV = "offloading"
    SIDECAR = {"kvConnector": "offloading"}


class Chunked(PodsTest):
    """Decode is asked for a few tokens at a time; only the first time for blocks of prefill."""

    STAGES = ("prefill", "decode")
    POD_ROLES = ("prefill", "decode")
    SIDECAR = {"kvConnector": "nixlv2", "decodeChunkSize": 4}

    def test_streamed_and_plain(self):
        for stream in (False, True):
            with self.subTest(stream=stream):
                received = self.sims.total("received", "decode")
                asked = len(self.legs(1))
                body = chat(story(), max_tokens=10, stream=stream)
                if stream:
                    answer = StreamedAnswer(self.envoy.port, harness.CHAT, body)
                    self.assertEqual((answer.status, answer.complete), (200, True))
                    text = "".join(c["delta"].get("content") or ""
                                   for e in answer.events for c in e["choices"])
                    usage = answer.usage
                else:
                    status, _, content = self.post(body)
                    self.assertEqual(status, 200, content)
                    choice = json.loads(content)["choices"][0]
                    self.assertEqual(choice["finish_reason"], "length")
                    text, usage = choice["message"]["content"], json.loads(content)["usage"]
                self.assertEqual((len(text), usage["completion_tokens"]), (10 * 4, 10))
                self.assertEqual(len(self.legs(1)), asked + 3)
                self.assertEqual(self.sims.total("received", "decode"), received + 1)


class DecodePods(PodsTest):
    """A decode pod loses its engine, then its sidecar; the other pod goes on."""

    STAGES = ("prefill", "decode")
    POD_ROLES = ("prefill", "decode", "decode")
    ENGINE, OTHER = 1, 2

    def run_while(self, what):
        """What clients got, as (sent, status, content), while `what` was going on."""
        done, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                sent = time.monotonic()
                status, _, content = self.post(chat(story(), max_tokens=30))
                done.append((sent, status, content))

        threads = [threading.Thread(target=client, daemon=True) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            wait_until("both engines are used", lambda: all(
                self.sims.state(i)["running"] for i in (self.ENGINE, self.OTHER)))
            what()
            seen = time.monotonic()
            wait_until("traffic goes on",
                       lambda: len([1 for d in done if d[0] > seen and d[1] == 200]) > 20)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual([d for d in done if d[0] > seen and d[1] != 200], [])
        return done

    def seen_dead(self):
        wait_until("epp sees it",
                   lambda: self.epp.pool()[self.sims.names[self.ENGINE]]["state"] != "fresh")

    def test_1_the_engine_dies_and_returns(self):
        def die():
            self.sims.fault(self.OTHER, kind="die", server=self.sims.names[self.ENGINE])
            self.seen_dead()
            wait_until("the sidecar says so", lambda: not self.sidecars[0].get(
                "/admin/status")["ready"] or call(
                    self.sims.port, "GET", "/sidecar/ready",
                    host=self.sims.addresses[self.ENGINE])[0] == 503)
        done = self.run_while(die)
        # Those that were there when it died, and those sent before epp knew.
        self.assertLessEqual({status for _, status, _ in done}, {200, 502, 503})
        self.sims.clear_faults()
        self.epp.wait_fresh(self.sims.names)
        self.run_while(lambda: None)

    def test_2_the_sidecar_is_killed(self):
        dead = None
        def die():
            nonlocal dead
            self.sidecars[0].child.process.kill()
            self.sidecars[0].child.process.wait()
            pod = f"{self.sims.addresses[self.ENGINE]}:{self.sims.port}"
            wait_until("Envoy finds its connections closed", lambda: (
                f"picked_endpoint::{pod}::cx_active::0" in call(
                    self.envoy.admin_port, "GET", "/clusters")[2].decode()))
            dead = time.monotonic()
            self.seen_dead()
        done = self.run_while(die)
        # Envoy sends what finds nobody to the other pod.
        self.assertEqual([d for d in done if d[0] > dead and d[1] != 200], [])

    def tearDown(self):
        self.sims.clear_faults()


class PullOffloading(PodsTest):
    """The cached beginning of a prompt comes from a third worker; epp says from which."""

    STAGES = ("prefill", "decode")
    POD_ROLES = ("prefill", "prefill", "decode", "decode")
    ROUTER_PLUGINS = ("{type: p2p-source-producer}", "{type: prefix-cache-scorer}")
    EPP_OPTIONS = ("--allow-experimental-plugins",)
    KV = "offloading"
    SIDECAR = {"kvConnector": "offloading"}

    def prefer(self, server, other):
        self.sims.pin_metrics(server, waiting=0)
        self.sims.pin_metrics(other, waiting=50)
        wait_until("epp sees the queues", lambda: [
            self.epp.pool()[self.sims.names[i]]["waiting"] for i in (server, other)] == [0, 50])

    def test_prefill_fetches_what_another_worker_has(self):
        first, second = self.sims.of("prefill")
        for stream in (False, True):
            with self.subTest(stream=stream):
                prompt = story()
                self.prefer(first, second)
                self.assertEqual(self.post(chat(prompt, max_tokens=4))[0], 200)
                self.prefer(second, first)
                before = self.sims.state(second)
                status, _, content = self.post(
                    chat(f"{prompt} And then?", max_tokens=4, stream=stream))
                self.assertEqual(status, 200, content)
                now = self.sims.state(second)
                self.assertGreater(now["transfers"]["pulled_tokens"],
                                   before["transfers"]["pulled_tokens"] + 200)
                self.assertLess(now["computed_tokens"] - before["computed_tokens"],
                                3 * BLOCK_TOKENS)
        self.assertEqual(self.sims.total("refused"), 0)
        self.assertEqual(self.sims.total("received", "decode"), 4)


class PullNixl(PullOffloading):
    KV = "nixl"
    SIDECAR = {"kvConnector": "nixlv2", "enableP2PPull": True}


class EncodeTest(PodsTest):
    """Images are encoded elsewhere, then prefilled elsewhere."""

    EC = "nixl"
    SIDECAR = {"kvConnector": "nixlv2", "ecConnector": "ec-nixl"}
    FIRST = "prefill"  # the stage that needs what was encoded

    @staticmethod
    def body(images, **more):
        body = chat(story(), max_tokens=4, **more)
        body["messages"][0]["content"] = [
            {"type": "text", "text": body["messages"][0]["content"]},
            *({"type": "image_url", "image_url": {"url": f"{PNG}#{image}"}} for image in images)]
        return body

    def test_images(self):
        for stream in (False, True):
            with self.subTest(stream=stream):
                names = ("encoded", "received", "computed")
                def counts():
                    return {(role, name): self.sims.total(f"media_{name}", role)
                            for role in ("encode", "prefill", "decode") for name in names}
                def encoded():
                    return [len(self.legs(i)) for i in self.sims.of("encode")]
                before, number, each = counts(), next(_number), encoded()
                # The third is the first again.
                images = [f"{number}-{i}" for i in (0, 1, 0)]
                if stream:
                    answer = StreamedAnswer(self.envoy.port, harness.CHAT,
                                            self.body(images, stream=True))
                    self.assertEqual((answer.status, answer.complete), (200, True))
                else:
                    status, _, content = self.post(self.body(images))
                    self.assertEqual(status, 200, content)
                now = counts()
                done = {key: now[key] - before[key] for key in now if now[key] != before[key]}
                self.assertEqual(done, {("encode", "encoded"): 2, (self.FIRST, "received"): 2})
                self.assertEqual([n - b for n, b in zip(encoded(), each)], [1, 1],
                                 "items go to the workers in turn")
        self.assertEqual(self.sims.total("refused"), 0)

    def test_text_is_not_encoded(self):
        before = [len(self.legs(i)) for i in self.sims.of("encode")]
        self.assertEqual(self.post(chat(story(), max_tokens=4))[0], 200)
        self.assertEqual([len(self.legs(i)) for i in self.sims.of("encode")], before)

    def test_encode_fails(self):
        for fault in ({"kind": "http_error", "status": 500}, {"kind": "drop"}, {"kind": "truncate"}):
            with self.subTest(fault=fault):
                for server in self.sims.of("encode"):
                    self.sims.fault(server, path="/v1/chat", **fault)
                before = self.sims.total("prompt_tokens", "decode")
                status, _, content = self.post(self.body(["x"]))
                self.assertEqual(status, 502, content)
                self.assertIn(b"encode worker", content)
                self.assertEqual(self.sims.total("prompt_tokens", "decode"), before)
                self.sims.clear_faults()


class EncodeOnSharedStorage(EncodeTest):
    EC = "example"
    SIDECAR = {"kvConnector": "nixlv2", "ecConnector": "ec-example"}


class EncodeThenStorage(EncodeTest):
    """A threshold that the client sends makes decode decline nothing: prefill has the media."""
    KV = "shared-storage"
    SIDECAR = {"kvConnector": "shared-storage", "ecConnector": "ec-nixl"}

    @staticmethod
    def body(images, **more):
        return EncodeTest.body(images, cache_hit_threshold=0.9, **more)

    def test_images(self):
        super().test_images()
        self.assertEqual(self.sims.total("declined"), 0)


class EncodeThenDecode(EncodeTest):
    """E/PD: no prefill workers."""
    STAGES = ("encode", "decode")
    POD_ROLES = ("decode", "decode", "encode", "encode")
    FIRST = "decode"


if __name__ == "__main__":
    harness.main()
