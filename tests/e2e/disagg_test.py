#!/usr/bin/env python3
"""Stages on servers of their own: what the model server that decodes is told of the others."""

import unittest

import harness
from stack import LOOPBACK, call, chat, wait_until

PREFILLER = "x-prefiller-host-port"
ENCODERS = "x-encoder-hosts-ports"
RANK = "x-data-parallel-host-port"
SPOOFED = {PREFILLER: "192.0.2.1:1,192.0.2.2:2", ENCODERS: "192.0.2.3:3", RANK: "192.0.2.4:4"}

PNG = ("data:image/png;base64,"
       "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")


def config(handler, profiles, plugins=()):
    """An EndpointPickerConfig of {profile: {plugin: weight or parameters}}; lines of YAML."""
    lines = ["apiVersion: llm-d.ai/v1alpha1", "kind: EndpointPickerConfig", "plugins:",
             *(f"  - {line}" for line in (handler, *plugins)),
             "  - {type: queue-scorer}", "  - {type: max-score-picker}",
             "  - {name: two, type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}",
             "  - {type: file-discovery, parameters: {path: endpoints.yaml}}",
             "schedulingProfiles:"]
    for name, entries in profiles.items():
        lines += [f"  - name: {name}", "    plugins:"]
        lines += [f"      - {{pluginRef: {entry}}}" for entry in entries]
    lines += ["dataLayer:", "  discovery: {pluginRef: file-discovery}"]
    return "\n".join(lines) + "\n"


ROLES = ("encode", "prefill", "decode")
STAGES = {"encode": ("encode-filter", "queue-scorer", "two"),
          "prefill": ("prefill-filter", "queue-scorer", "max-score-picker"),
          "decode": ("decode-filter", "queue-scorer", "max-score-picker")}
FILTERS = tuple(f"{{type: {role}-filter}}" for role in ROLES)


class StagesTest(harness.StackTest):
    """Servers by role: 0 prefill, 1 and 2 decode, 3 and 4 encode."""
    SERVERS = 5
    SERVER_ROLES = ("prefill", "decode", "decode", "encode", "encode")
    SERVER_ZONES = ("a",) * 5

    @classmethod
    def setUpClass(cls):
        if cls is StagesTest:
            raise unittest.SkipTest("only what others share")
        super().setUpClass()

    @classmethod
    def start_servers(cls):
        super().start_servers()
        lines = ["endpoints:"]
        lines += [f"  - {{name: {name}, address: {LOOPBACK}, port: {port}, "
                  f"labels: {{llm-d.ai/role: {role}, topology.kubernetes.io/zone: {zone}}}}}"
                  for name, port, role, zone in zip(
                      cls.sims.names, cls.sims.ports, cls.SERVER_ROLES, cls.SERVER_ZONES)]
        cls.endpoints_file.write_text("\n".join(lines) + "\n")

    def host_port(self, server):
        return f"{LOOPBACK}:{self.sims.ports[server]}"

    def received(self, body, headers=None):
        """Sends a request; the server that answered, and the headers that it got."""
        status, answer, content = self.post(body, {**SPOOFED, **(headers or {})})
        self.assertEqual(status, 200, content)
        server = int(answer["x-sim-server"].split("-")[-1])
        last = self.sims.requests(server)["requests"][-1]
        # A list of values by name: none may be there twice.
        got = {}
        for name, value in last["headers"]:
            got.setdefault(name.lower(), []).append(value)
        return server, got

    def decisions(self, name, kind):
        text = call(self.epp.ports[2], "GET", "/metrics")[2].decode()
        for line in text.splitlines():
            if line.startswith(name + "{") and f'decision_type="{kind}"' in line:
                return float(line.rsplit(" ", 1)[1])
        return 0

    def image(self, text):
        body = chat(text, max_tokens=1)
        body["messages"][0]["content"] = [{"type": "text", "text": text},
                                          {"type": "image_url", "image_url": {"url": PNG}}]
        return body


class DecodeFirst(StagesTest):
    CONFIG = config(
        "{type: disagg-profile-handler, parameters: {deciders: "
        "{prefill: prefix-based-pd-decider, encode: always-disagg-multimodal-decider}}}",
        STAGES,
        ("{type: prefix-based-pd-decider, parameters: {nonCachedTokens: 300}}",
         "{type: always-disagg-multimodal-decider}",
         "{type: prefix-cache-scorer}", *FILTERS)).replace(
             "      - {pluginRef: decode-filter}\n",
             "      - {pluginRef: decode-filter}\n"
             "      - {pluginRef: prefix-cache-scorer, weight: 3}\n")

    def test_short_prompts_stay_on_one_server(self):
        server, got = self.received(chat("Hello", max_tokens=1))
        self.assertIn(server, (1, 2))
        for name in SPOOFED:
            self.assertNotIn(name, got)

    def test_long_prompts_are_prefilled_elsewhere_until_cached(self):
        before = self.decisions("llm_d_epp_disagg_decision_total", "prefill-decode")
        prompt = chat("A long story about nothing in particular. " * 100, max_tokens=1)
        server, got = self.received(prompt)
        self.assertIn(server, (1, 2))
        self.assertEqual(got[PREFILLER], [self.host_port(0)])
        self.assertNotIn(ENCODERS, got)
        after = self.decisions("llm_d_epp_disagg_decision_total", "prefill-decode")
        self.assertEqual(after, before + 1)
        again, got = self.received(prompt)
        self.assertEqual(again, server)
        self.assertNotIn(PREFILLER, got)

    def test_images_are_encoded_elsewhere(self):
        server, got = self.received(self.image("What is this?"))
        self.assertIn(server, (1, 2))
        self.assertEqual(sorted(got[ENCODERS][0].split(",")),
                         sorted([self.host_port(3), self.host_port(4)]))
        self.assertEqual(len(got[ENCODERS]), 1)

    def test_all_three_stages(self):
        server, got = self.received(self.image("Describe it at length, please. " * 200))
        self.assertIn(server, (1, 2))
        self.assertEqual(got[PREFILLER], [self.host_port(0)])
        self.assertEqual(len(got[ENCODERS][0].split(",")), 2)
        self.assertGreaterEqual(
            self.decisions("llm_d_epp_disagg_decision_total", "encode-prefill-decode"), 1)


class PrefillFirst(StagesTest):
    CONFIG = config(
        "{type: disagg-profile-handler, parameters: {stageOrder: prefill-first}}",
        {role: STAGES[role] for role in ("prefill", "decode")}, FILTERS)

    def test_every_request_is_prefilled_elsewhere(self):
        for i in range(5):
            server, got = self.received(chat(f"Hello {i}", max_tokens=1))
            self.assertIn(server, (1, 2))
            self.assertEqual(got[PREFILLER], [self.host_port(0)])
            self.assertNotIn(ENCODERS, got)


class NearThePeer(StagesTest):
    """Prefill in the zone where decode is: the one profile knows what the other picked."""
    SERVERS = 4
    SERVER_ROLES = ("prefill", "prefill", "decode", "decode")
    SERVER_ZONES = ("a", "b", "a", "b")
    EPP_OPTIONS = ("--allow-experimental-plugins",)
    CONFIG = config(
        "{type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}",
        {"prefill": ("prefill-filter", "topology-affinity-filter", "max-score-picker"),
         "decode": STAGES["decode"]},
        ("{type: always-disagg-pd-decider}",
         "{type: topology-affinity-filter, parameters: {minAffinity: zone}}", *FILTERS))

    def test_prefill_follows_decode(self):
        for decode, other, prefill in ((2, 3, 0), (3, 2, 1)):
            self.sims.pin_metrics(decode, waiting=0)
            self.sims.pin_metrics(other, waiting=50)
            wait_until("epp sees the queues", lambda: [
                self.epp.pool()[f"sim-{i}"]["waiting"] for i in (decode, other)] == [0, 50])
            for i in range(10):
                server, got = self.received(chat(f"Hello {i}", max_tokens=1))
                self.assertEqual(server, decode)
                self.assertEqual(got[PREFILLER], [self.host_port(prefill)])


class Deprecated(StagesTest):
    """The former handler, with one port for all of the servers that decode."""
    CONFIG = None

    @classmethod
    def start_servers(cls):
        super().start_servers()
        cls.CONFIG = config(
            f"{{type: pd-profile-handler, parameters: {{primaryPort: {cls.sims.ports[1]},"
            " deciderPluginName: always-disagg-pd-decider}}",
            {role: STAGES[role] for role in ("prefill", "decode")},
            ("{type: always-disagg-pd-decider}", "{type: prefill-header-handler}", *FILTERS))

    def test_the_rank_is_in_a_header(self):
        self.sims.pin_metrics(1, waiting=50)
        wait_until("epp sees the queue", lambda: self.epp.pool()["sim-1"]["waiting"] == 50)
        server, got = self.received(chat("Hello", max_tokens=1), {"x-request-id": "ranked"})
        self.assertEqual(server, 1)  # who has the port; 2 was picked
        self.assertEqual(got[RANK], [self.host_port(2)])
        self.assertEqual(got[PREFILLER], [self.host_port(0)])
        self.assertNotIn(ENCODERS, got)
        self.assertEqual(self.epp.decision("ranked")["endpoint"], "default/sim-2")


class DataParallel(StagesTest):
    CONFIG = None

    @classmethod
    def start_servers(cls):
        super().start_servers()
        cls.CONFIG = config(
            f"{{type: data-parallel-profile-handler, parameters: {{primaryPort: {cls.sims.ports[0]}}}}}",
            {"default": ("queue-scorer", "max-score-picker")})

    def test_the_proxy_gets_one_port(self):
        for server in range(4):
            self.sims.pin_metrics(server, waiting=50)
        wait_until("epp sees the queues", lambda: all(
            self.epp.pool()[f"sim-{server}"]["waiting"] == 50 for server in range(4)))
        server, got = self.received(chat("Hello", max_tokens=1))
        self.assertEqual(server, 0)
        self.assertEqual(got[RANK], [self.host_port(4)])


if __name__ == "__main__":
    harness.main()
