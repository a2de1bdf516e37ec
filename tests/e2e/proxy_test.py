#!/usr/bin/env python3
"""Requests of every kind through Envoy, with and without epp seeing the responses."""

import json
import subprocess
import unittest

import harness
from stack import DESTINATION, LOOPBACK, StreamedAnswer, call, chat


class Requests:
    """Run once a variant of Envoy's configuration."""

    def url(self, path=""):
        return f"http://{LOOPBACK}:{self.envoy.port}{path}"

    def curl(self, *arguments):
        done = subprocess.run(["curl", "-sS", "--max-time", "30", *arguments], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def client(self):
        import openai  # only in the virtual environment
        return openai.OpenAI(base_url=self.url("/v1"), api_key="none", max_retries=0)

    def test_curl_plain(self):
        answer = json.loads(self.curl(
            self.url(harness.CHAT), "-H", "content-type: application/json",
            "-d", json.dumps(chat("What is KV cache?", max_tokens=8))))
        self.assertEqual(answer["usage"]["completion_tokens"], 8)

    def test_curl_streamed(self):
        answer = self.curl("-N", self.url(harness.CHAT), "-H", "content-type: application/json",
                           "-d", json.dumps(chat("Hello", max_tokens=8, stream=True)))
        events = [line for line in answer.splitlines() if line.startswith("data: ")]
        self.assertEqual(events[-1], "data: [DONE]")
        self.assertGreaterEqual(len(events), 10)

    def test_openai_client_plain(self):
        answer = self.client().chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Hello"}], max_tokens=5)
        self.assertTrue(answer.choices[0].message.content)
        self.assertEqual(answer.usage.completion_tokens, 5)

    def test_openai_client_streamed(self):
        stream = self.client().chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Hello"}], max_tokens=5, stream=True,
            stream_options={"include_usage": True})
        chunks = list(stream)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertTrue(text)
        self.assertEqual(chunks[-1].usage.completion_tokens, 5)

    def test_openai_client_completions_and_models(self):
        answer = self.client().completions.create(model="demo", prompt="Once", max_tokens=3)
        self.assertTrue(answer.choices[0].text)
        self.assertEqual([m.id for m in self.client().models.list()], ["demo"])

    def test_openai_client_error_of_the_server_reaches_the_client(self):
        import openai
        with self.assertRaises(openai.BadRequestError) as caught:
            # The simulator refuses it as vLLM does; epp has no opinion.
            self.client().chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "Hello"}], max_tokens=0)
        self.assertIn("max_tokens", str(caught.exception))

    def test_messages(self):
        status, headers, content = self.post(
            {"model": "demo", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]},
            path="/v1/messages")
        self.assertEqual(status, 200, content)
        self.assertEqual(json.loads(content)["type"], "message")
        decision = self.epp.decision(headers["x-request-id"])
        self.assertEqual(decision["endpoint"], f"default/{headers['x-sim-server']}")

    def test_messages_streamed(self):
        answer = StreamedAnswer(self.envoy.port, "/v1/messages", {
            "model": "demo", "max_tokens": 5, "stream": True,
            "messages": [{"role": "user", "content": "Hello"}]})
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.events[-1]["type"], "message_stop")

    def test_count_tokens_is_routed(self):
        status, headers, _ = self.post(
            {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]},
            path="/v1/messages/count_tokens")
        # The simulator has no such endpoint; that it says so itself shows that it was asked.
        self.assertEqual(status, 404)
        self.assertEqual(self.epp.decision(headers["x-request-id"])["endpoint"],
                         f"default/{headers['x-sim-server']}")

    def test_get_without_body(self):
        status, headers, content = call(self.envoy.port, "GET", "/v1/models")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(content)["data"][0]["id"], "demo")
        self.assertIn(headers["x-sim-server"], self.sims.names)

    def test_invalid_json_is_refused_with_the_reason(self):
        for body in (b'{"model":', b"[]", b"\xff\xfe", b'{"model": 7}'):
            with self.subTest(body=body):
                status, headers, content = self.post(body, {"content-type": "application/json"})
                self.assertEqual(status, 400, content)
                self.assertTrue(content.startswith(b"inference error: BadRequest - "), content)
                self.assertNotIn("x-sim-server", headers)

    def test_without_a_body_the_server_decides(self):
        status, headers, _ = self.post(b"", {"content-type": "application/json"})
        self.assertEqual(status, 400)
        self.assertIn(headers["x-sim-server"], self.sims.names)

    def test_unknown_path_passes_through(self):
        for method, body in (("GET", None), ("POST", b"anything"), ("DELETE", None)):
            with self.subTest(method=method):
                status, headers, content = call(self.envoy.port, method, "/unknown", body)
                self.assertEqual((status, content), (404, b'{"detail":"Not Found"}'))
                self.assertIn(headers["x-sim-server"], self.sims.names)

    def test_client_cannot_choose_the_destination(self):
        status, headers, _ = self.post(chat("Hello", max_tokens=1), {
            DESTINATION: f"{LOOPBACK}:1", DESTINATION + "-subset": f"{LOOPBACK}:1"})
        self.assertEqual(status, 200)
        self.assertIn(headers["x-sim-server"], self.sims.names)

    def test_two_megabytes_arrive_whole(self):
        body = json.dumps(chat("long prompt " * (2 * 1024 * 1024 // 12), max_tokens=2)).encode()
        self.assertGreater(len(body), 2 * 1024 * 1024)
        status, headers, content = self.post(body, {"content-type": "application/json",
                                                    "x-request-id": "two-megabytes"})
        self.assertEqual(status, 200, content[:300])
        server = self.sims.names.index(headers["x-sim-server"])
        logged = self.sims.requests(server)["requests"]
        self.assertIn(len(body), [entry["body_bytes"] for entry in logged])

    def test_hundred_streams_at_once(self):
        tokens = 40
        answers = harness.together(100, lambda i: StreamedAnswer(
            self.envoy.port, harness.CHAT,
            chat(f"stream {i}", max_tokens=tokens, stream=True,
                 stream_options={"include_usage": True})))
        self.assertEqual({a.status for a in answers}, {200})
        self.assertTrue(all(a.complete for a in answers))
        self.assertEqual({a.usage["completion_tokens"] for a in answers}, {tokens})


class RequestsOnly(Requests, harness.StackTest):
    RESPONSES = False


class BothDirections(Requests, harness.StackTest):
    RESPONSES = True


if __name__ == "__main__":
    harness.main()
