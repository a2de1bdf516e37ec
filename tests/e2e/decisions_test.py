#!/usr/bin/env python3
"""Decision records tell the truth: who answered, and that the pick had the highest total."""

import http.client
import json
import random
import unittest

import harness
from stack import LOOPBACK, chat, readded_totals, wait_until


class Explain(harness.StackTest):
    def test_names_the_server_that_answered(self):
        for i in range(30):
            request_id = f"explained-{i}"
            status, headers, _ = self.post(chat(f"question {i}", max_tokens=1),
                                           {"x-request-id": request_id})
            self.assertEqual(status, 200)
            self.epp.decision(request_id)
            text = self.epp.run("explain", request_id)
            self.assertIn(f"picked default/{headers['x-sim-server']} (", text)
            self.assertTrue(text.startswith(request_id), text)

    def test_a_request_without_an_id_is_told_its_own(self):
        status, headers, _ = self.post(chat("Hello", max_tokens=1))
        self.assertEqual(status, 200)
        self.assertEqual(self.epp.decision(headers["x-request-id"])["endpoint"],
                         f"default/{headers['x-sim-server']}")


class TenThousand(harness.StackTest):
    SERVERS = 8
    SIM_OPTIONS = (*harness.FAST, "--speed", "100")
    CONFIG = harness.config({"queue-scorer": 2, "kv-cache-utilization-scorer": 1.5,
                             "prefix-cache-scorer": 3, "running-requests-size-scorer": 0.7,
                             "load-aware-scorer": 1})
    DECISIONS = 10_000
    BATCH = 400  # below the 500 that one answer lists
    CLIENTS = 8

    def batch(self, rng, number):
        prompts = [f"{rng.choice(self.prefixes)} {rng.random()}" for _ in range(self.BATCH)]

        def client(i):
            connection = http.client.HTTPConnection(LOOPBACK, self.envoy.port, timeout=60)
            answered = {}
            for n in range(i, self.BATCH, self.CLIENTS):
                request_id = f"{number}-{n}"
                connection.request("POST", harness.CHAT, json.dumps(chat(prompts[n], max_tokens=1)), {
                    "content-type": "application/json", "x-request-id": request_id})
                response = connection.getresponse()
                response.read()
                self.assertEqual(response.status, 200)
                answered[request_id] = response.getheader("x-sim-server")
            connection.close()
            return answered

        merged = {}
        for answered in harness.together(self.CLIENTS, client):
            merged.update(answered)
        return merged

    def test_readded_scores_give_the_pick(self):
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}", flush=True)
        rng = random.Random(seed)
        self.prefixes = [f"conversation {i} " * rng.randrange(5, 60) for i in range(12)]
        last, checked, with_a_choice = "", 0, 0
        for number in range(self.DECISIONS // self.BATCH):
            # Scores from all over their range.
            for server in range(self.SERVERS):
                self.sims.pin_metrics(server, waiting=rng.randrange(200), running=rng.randrange(50),
                                      kv=rng.random())
            answered = self.batch(rng, number)
            records = wait_until("the records of a batch", lambda: self.records(last, len(answered)))
            last = records[0]["id"]
            for record in records:
                profile = record["profiles"][0]
                totals = readded_totals(profile)
                for name, total in zip(profile["endpoints"], profile["totals"]):
                    self.assertAlmostEqual(totals[name], total, places=6, msg=record)
                pick = profile["picker"]["picked"][0]
                self.assertGreaterEqual(totals[pick], max(totals.values()) - 1e-9, record)
                self.assertEqual(record["endpoint"], pick)
                self.assertEqual(pick, f"default/{answered.pop(record['request_id'])}")
                checked += 1
                with_a_choice += max(totals.values()) - min(totals.values()) > 0.01
            self.assertFalse(answered, "requests without a record")
        self.assertEqual(checked, self.DECISIONS)
        self.assertGreater(with_a_choice, self.DECISIONS * 0.9)

    def records(self, after, count):
        records = self.epp.get(f"/admin/decisions?last=500&after={after}")["decisions"]
        return records if len(records) >= count else None


if __name__ == "__main__":
    harness.main()
