"""The running part of quickstart.sh; see there. Whatever it prints about a request, it has asserted."""

import argparse
import pathlib
import shutil
import signal
import sys
import threading
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests/e2e"))

from stack import (ROOT, Envoy, Epp, Simulators, StackError, StreamedAnswer, call, chat, free_ports,
                   port_is_free, readded_totals, wait_until)

PATH = "/v1/chat/completions"
SERVERS = 3
KV_BLOCKS = 400
# About 1,000 tokens: a fifth of a second of work for a simulated server that has not cached them.
SYSTEM_PROMPT_A = "".join(f"Rule {i:3d}: answer briefly and do not repeat the user's question. "
                          for i in range(62))


class Ports:
    """The usual ports, or any."""

    def __init__(self, any_free):
        self.first_sim, self.clients, self.envoy_admin, self.epp = 18000, 8081, 19000, [9002, 9003, 9090]
        if any_free:
            self.first_sim = None
            self.clients, self.envoy_admin, *self.epp = free_ports(5)
            return
        sims = range(self.first_sim, self.first_sim + SERVERS)
        taken = [p for p in (*sims, self.clients, self.envoy_admin, *self.epp) if not port_is_free(p)]
        if taken:
            raise StackError(f"ports are taken: {', '.join(map(str, taken))}\n"
                             "  hint: stop what listens there (ss -ltnp), or add --free-ports")


def claim(true, what):
    if not true:
        raise StackError(f"not so: {what}")


def short(name):
    return name.split("/")[-1]


class Explained:
    """The decision behind a request, held against itself and against who really answered."""

    def __init__(self, epp, request_id, server):
        record = epp.decision(request_id)
        self.profile = next(p for p in record["profiles"] if p["primary"])
        self.pick = record["endpoint"]
        self.totals = readded_totals(self.profile)
        claim(short(self.pick) == server, f"{self.pick} was picked, and answered: {server}")
        claim(self.totals[self.pick] >= max(self.totals.values()) - 1e-9,
              f"{self.pick} has the highest of the totals {self.totals}")

    def blocks(self, endpoint):
        """Blocks of the prompt that are cached there."""
        column = [s["plugin"] for s in self.profile["scorers"]].index("prefix")
        return int(self.profile["columns"][self.profile["endpoints"].index(endpoint)][column])

    def reason(self):
        """The scorer that set the pick most apart from the worst, and who was as good."""
        tied = [n for n, t in self.totals.items() if n != self.pick and t == self.totals[self.pick]]
        if len(tied) + 1 == len(self.totals) > 1:
            return f"all equal, one of {len(self.totals)} at random"
        rows = dict(zip(self.profile["endpoints"], self.profile["scores"]))
        leads = {}
        for i, scorer in enumerate(self.profile["scorers"]):
            worst = min(row[i] for row in rows.values())
            leads[scorer["plugin"]] = scorer["weight"] * (rows[self.pick][i] - worst)
        text = {"queue": "fewest requests wait there",
                "kv": "least KV cache in use",
                "prefix": f"holds {self.blocks(self.pick)} blocks of the prompt"}[
                    max(leads, key=leads.get)]
        return text + (f" (tie with {', '.join(map(short, tied))})" if tied else "")


class Tour:
    def __init__(self, sims, epp, envoy, endpoints_file):
        self.sims, self.epp, self.envoy = sims, epp, envoy
        self.endpoints_file = endpoints_file
        self.shown = 0

    def plain(self, body):
        """(request id, server)"""
        request_id = str(uuid.uuid4())
        status, headers, content = call(self.envoy.port, "POST", PATH, body,
                                        {"x-request-id": request_id})
        claim(status == 200, f"a plain request got 200: {status} {content[:200]!r}")
        return request_id, headers["x-sim-server"]

    def streamed(self, body, on_first=None):
        """(request id, answer)"""
        request_id = str(uuid.uuid4())
        answer = StreamedAnswer(self.envoy.port, PATH, {
            **body, "stream": True, "stream_options": {"include_usage": True}},
            {"x-request-id": request_id}, on_first=on_first)
        claim(answer.status == 200 and answer.complete, f"a stream is complete: {answer.status}")
        return request_id, answer

    def idle(self):
        """Until epp has seen every server idle, so that the next decision is about one request."""
        wait_until("an idle pool", lambda: all(
            e["state"] == "fresh" and not (e["running"] or e["waiting"] or e["kv"])
            for e in self.epp.pool().values()))

    def tell(self, form, what, request_id, server, ttft_s=None):
        explained = Explained(self.epp, request_id, server)
        self.shown += 1
        ttft = "" if ttft_s is None else f"ttft {ttft_s * 1e3:3.0f} ms"
        print(f"  {self.shown}  {form:8}  {what:29} -> {server}   {explained.reason():41} {ttft}".rstrip(),
              flush=True)
        return explained

    def requests(self):
        print("\nSending 4 requests through Envoy (two share a long system prompt):")
        self.idle()
        request_id, server = self.plain(chat("What is KV cache?", max_tokens=8))
        first = self.tell("plain", '"What is KV cache?"', request_id, server)
        claim(first.profile["picker"]["ties"] == SERVERS, "an idle pool is a tie")

        self.idle()
        request_id, cold = self.streamed(chat("What is a scorer?", SYSTEM_PROMPT_A, max_tokens=8))
        self.tell("streamed", "system prompt A + question 1", request_id, cold.server, cold.ttft_s)
        claim(cold.usage["prompt_tokens_details"]["cached_tokens"] == 0, "nobody had prompt A cached")

        # The fourth is sent while the third still runs.
        self.idle()
        fourth = []

        def send_fourth(third):
            wait_until(f"{third.server} is seen at work",
                       lambda: self.epp.pool()[third.server]["kv"] > 0)
            fourth.extend(self.plain(chat("Hello", max_tokens=8)))

        third_id, warm = self.streamed(chat("What is a picker?", SYSTEM_PROMPT_A, max_tokens=100),
                                       on_first=send_fourth)
        third = self.tell("streamed", "system prompt A + question 2", third_id, warm.server, warm.ttft_s)
        claim(warm.server == cold.server, "the same long prompt goes to the same server")
        claim(third.blocks(third.pick) > 0, "epp expected the prompt to be cached there")
        claim(warm.usage["prompt_tokens_details"]["cached_tokens"] > 900, "and it was")
        claim(warm.ttft_s < cold.ttft_s, "so its first token came sooner")
        self.tell("plain", '"Hello"', *fourth)
        claim(fourth[1] != warm.server, "a short prompt avoids the server at work")

        print(f"\nWhy number 3 went to {warm.server} (epp explain {third_id}):")
        text = self.epp.run("explain", third_id)
        claim(f"picked default/{warm.server} " in text, f"epp explain says so too: {text}")
        print("\n".join(f"  {line}".rstrip() for line in text.strip().splitlines()))
        return warm.server

    def pool_change(self, gone):
        """The server that holds prompt A leaves and returns, while requests run."""
        background = 20
        print(f"\nTaking {gone} out of endpoints.yaml, with {background} requests in flight:")
        failures, stop, started = [], threading.Event(), threading.Barrier(background + 1)

        def load(i):
            started.wait()
            while not stop.is_set():
                status, _, _ = call(self.envoy.port, "POST", PATH,
                                    chat(f"background {i}", max_tokens=10))
                counts[i] += 1
                if status != 200:
                    failures.append(status)

        counts = [0] * background
        threads = [threading.Thread(target=load, args=(i,), daemon=True) for i in range(background)]
        for thread in threads:
            thread.start()
        started.wait()
        try:
            rest = [i for i, name in enumerate(self.sims.names) if name != gone]
            since = time.monotonic()
            self.sims.write_endpoints(self.endpoints_file, rest)
            self.epp.wait_fresh([self.sims.names[i] for i in rest])
            took_ms = (time.monotonic() - since) * 1e3
            body = chat("What is a filter?", SYSTEM_PROMPT_A, max_tokens=8)
            _, server = self.plain(body)
            claim(server != gone, f"{gone} gets nothing any more")
            print(f"  gone after {took_ms:.0f} ms; request 5 (system prompt A) -> {server}")
            since = time.monotonic()
            self.sims.write_endpoints(self.endpoints_file)
            self.epp.wait_fresh(self.sims.names)
            took_ms = (time.monotonic() - since) * 1e3
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        claim(not failures, f"no request failed: {failures[:5]}")
        print(f"  back and scraped after {took_ms:.0f} ms; of {sum(counts)} requests meanwhile 0 failed")


def tour(arguments, children):
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    ports = Ports(arguments.free_ports)

    sims = Simulators(arguments.bin, work, SERVERS, ["--kv-blocks", KV_BLOCKS], ports.first_sim)
    children.append(sims.child)
    print("[3/5] simulators  " + "  ".join(f"{n} :{p}" for n, p in zip(sims.names, sims.ports)) +
          f"   model demo, {KV_BLOCKS} blocks each", flush=True)

    endpoints_file = work / "endpoints.yaml"
    sims.write_endpoints(endpoints_file)
    shutil.copy(ROOT / "profiles/quickstart.yaml", work / "config.yaml")
    epp = Epp(arguments.bin, work, work / "config.yaml", ports.epp)
    children.append(epp.child)
    epp.wait_fresh(sims.names)
    profile = epp.get("/admin/config")["profiles"][0]
    weights = ", ".join(f"{p['plugin']} x{p['weight']:g}" for p in profile["plugins"]
                        if p["plugin"] in ("queue", "kv", "prefix"))
    print(f"[4/5] epp         ready in {epp.ready_after_s:.1f} s: {SERVERS} endpoints fresh; "
          f"profile {profile['name']}: {weights}", flush=True)

    # No plugin of this configuration reads responses, so Envoy need not send them to epp.
    envoy = Envoy(arguments.venv, work, ports.epp[0], responses=False, port=ports.clients,
                  admin_port=ports.envoy_admin)
    children.append(envoy.child)
    print(f"[5/5] envoy       listening on http://127.0.0.1:{ports.clients}", flush=True)

    guide = Tour(sims, epp, envoy, endpoints_file)
    guide.pool_change(guide.requests())
    if arguments.once:
        return
    binary, admin = f"{arguments.bin}/epp", f"--admin unix:{epp.socket}"
    print(f"""
Everything is up. In another terminal:
  {binary} status {admin}
  {binary} explain --last 20 {admin}
  curl http://127.0.0.1:{ports.clients}{PATH} -H 'content-type: application/json' \\
    -d '{{"model": "demo", "messages": [{{"role": "user", "content": "Hello"}}]}}'
Files: {work}/config.yaml endpoints.yaml envoy.yaml *.log    Stop: Ctrl-C""", flush=True)
    while all(child.running() for child in children):
        time.sleep(0.2)
    ended = next(child for child in children if not child.running())
    raise StackError(f"{ended.name} ended by itself:\n{ended.tail()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder of epp and epp-sim")
    parser.add_argument("--venv", type=pathlib.Path, default=pathlib.Path("build/venv"))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/quickstart"))
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--free-ports", action="store_true")
    arguments = parser.parse_args()
    for name in ("bin", "venv", "work"):
        setattr(arguments, name, getattr(arguments, name).absolute())

    def interrupted(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    children = []
    try:
        tour(arguments, children)
    except KeyboardInterrupt:
        print("\nstopping")
    except StackError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        return 1
    finally:
        for child in reversed(children):
            child.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
