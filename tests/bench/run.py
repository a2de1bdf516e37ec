#!/usr/bin/env python3
"""Runs the benchmarks and compares them with their targets. Started by run.sh.

Costs of the server are ratios to the bare echo server, measured in turns with it, because absolute
times change with the machine and with whatever else runs on it. Medians over the rounds.
"""
import argparse
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build/release/bin"
OUT = ROOT / "build/bench"
SMALL, LARGE = 1024, 400 * 1024


class Children:
    """Processes that end with this one."""

    def __init__(self):
        self.running = []

    def start(self, args, core, log):
        process = subprocess.Popen(
            pinned(args, core), stdout=subprocess.PIPE, stderr=open(log, "w"), text=True)
        self.running.append(process)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.running.remove(process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in list(self.running):
            self.stop(process)


def pinned(args, core):
    return (["taskset", "-c", str(core)] if core is not None else []) + [str(a) for a in args]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, process, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"server ended at once: {pathlib.Path(log).read_text()}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"nothing listens on port {port}: {pathlib.Path(log).read_text()}")


def rss_mib(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Bench:
    def __init__(self, options, children, tmp):
        self.o = options
        self.children = children
        self.tmp = pathlib.Path(tmp)
        self.next_prompt = 0
        self.rows = []      # what, measured, unit, target or None, smaller is better
        self.results = {}   # everything, for the JSON file

    def log(self, name):
        return str(self.tmp / f"{name}.log")

    def row(self, what, measured, unit, target=None, note=""):
        self.rows.append((what, measured, unit, target, note))

    # ---- processes

    def simulators(self, count):
        args = [BIN / "epp-sim", "--bind", "127.0.0.1", "--metrics-bytes", "50000"]
        for _ in range(count):
            args += ["--port", "0"]
        process = self.children.start(args, self.o.client_core, self.log("sim"))
        ports = []
        for _ in range(count):
            line = process.stdout.readline()
            ports.append(int(line.split("http://127.0.0.1:")[1].split()[0]))
        return process, ports

    def epp(self, ports, settings, name):
        endpoints = self.tmp / "endpoints.yaml"
        endpoints.write_text("endpoints:\n" + "".join(
            f"  - {{name: sim-{i}, address: 127.0.0.1, port: {port}}}\n"
            for i, port in enumerate(ports)))
        port = free_port()
        all_settings = {
            "serve.grpc_listen": f"127.0.0.1:{port}",
            "serve.health_listen": f"127.0.0.1:{free_port()}",
            "serve.metrics_listen": f"127.0.0.1:{free_port()}",
            "serve.workers": 1, "tls.secure": "false", "admin.socket": "",
            **settings}
        args = [BIN / "epp", "serve", "--endpoints-file", endpoints]
        for key, value in all_settings.items():
            args += ["--set", f"{key}={value}"]
        process = self.children.start(args, self.o.server_core, self.log(name))
        wait_for_port(port, process, self.log(name))
        time.sleep(2)  # the first scrapes
        return process, port

    def echo(self):
        process = self.children.start([BIN / "extproc_echo"], self.o.server_core, self.log("echo"))
        return process, int(process.stdout.readline())

    def load(self, server, **flags):
        process, port = server
        args = [BIN / "extproc_load", "--target", f"127.0.0.1:{port}", "--server-pid",
                process.pid, "--json", "-", "--first-number", self.next_prompt]
        for key, value in flags.items():
            name = "--" + key.replace("_", "-")
            args += [name] if value is True else [name, value]
        self.next_prompt += 1_000_000
        done = subprocess.run(pinned(args, self.o.client_core), capture_output=True, text=True,
                              timeout=600)
        if done.returncode != 0:
            sys.exit(f"extproc_load failed ({done.returncode}): {done.stderr}{done.stdout}")
        result = json.loads(done.stdout)
        if result["immediate"]:
            sys.exit(f"{result['immediate']} requests were answered instead of forwarded")
        return result

    def tool(self, name, *args, core=None):
        out = self.tmp / f"{name}.json"
        done = subprocess.run(pinned([BIN / name, *args, "--json", out], core), text=True,
                              capture_output=True, timeout=1800)
        print(f"--- {name} {' '.join(map(str, args))}\n{done.stdout}", end="", flush=True)
        if done.returncode != 0:
            sys.exit(f"{name} failed: {done.stderr}")
        return json.loads(out.read_text()) if out.exists() else None

    # ---- measurements

    def compare(self, key, servers, **flags):
        """Medians of several servers, measured in turns; the last is the yardstick."""
        runs = {name: [] for name in servers}
        for _ in range(self.o.rounds):
            for name, server in servers.items():
                runs[name].append(self.load(server, **flags))
        field = "cpu_us_per_chunk" if "chunks" in flags else "cpu_us_per_stream"
        base = list(servers)[-1]
        out = {"runs": runs}
        for name in servers:
            costs = [r["server"][field] for r in runs[name]]
            ratios = [c / r["server"][field] for c, r in zip(costs, runs[base])]
            out[name] = {"cpu_us": statistics.median(costs), "ratio": statistics.median(ratios),
                         "p50_us": statistics.median(r["request_latency_us"]["p50"]
                                                     for r in runs[name]),
                         "streams_per_s": statistics.median(r["streams_per_s"]
                                                            for r in runs[name])}
            print(f"{key:14} {name:12} {out[name]['cpu_us']:8.1f} us CPU, ratio "
                  f"{out[name]['ratio']:.2f}", flush=True)
        self.results[key] = out
        return out

    def exchanges(self):
        sim, ports = self.simulators(100)
        quiet = {"scrape.interval": "3600s", "scrape.stale_after": "3600s"}
        ours = self.epp(ports, quiet, "epp")
        observing = self.epp(ports, {**quiet, "decisions.observe": "true"}, "epp-observe")
        echo = self.echo()
        full = self.o.full
        pair = {"epp": ours, "echo": echo}

        small = self.compare("small", pair, body_bytes=SMALL, streams=20000 if full else 4000)
        self.row("exchange of 1 KiB, CPU, ratio to echo", small["epp"]["ratio"], "x", 1.4,
                 f"{small['epp']['cpu_us']:.0f} against {small['echo']['cpu_us']:.0f} us")
        few = self.compare("small_1_stream", pair, body_bytes=SMALL, concurrency=1, connections=1,
                           streams=4000 if full else 1000)
        self.row("same, one stream at a time", few["epp"]["ratio"], "x", None,
                 f"{few['epp']['cpu_us']:.0f} against {few['echo']['cpu_us']:.0f} us")
        large = self.compare("large", pair, body_bytes=LARGE, streams=2000 if full else 600)
        self.row("request of 400 KiB, CPU, ratio to echo", large["epp"]["ratio"], "x", 4,
                 f"{large['epp']['cpu_us']:.0f} against {large['echo']['cpu_us']:.0f} us")
        rss_load = rss_mib(ours[0].pid)
        chunks = self.compare("chunks", {"epp reads": observing, "epp": ours, "echo": echo},
                              body_bytes=SMALL, chunks=100, ignore_mode_override=True,
                              streams=1000 if full else 300, warmup=100)
        for name, text in (("epp", "nothing reads it"), ("epp reads", "parsed for usage")):
            self.row(f"response chunk, {text}, ratio to echo", chunks[name]["ratio"], "x", None,
                     f"{chunks[name]['cpu_us']:.1f} against {chunks['echo']['cpu_us']:.1f} us")
        self.row("RSS after these loads", rss_load, "MiB", None, "prefix index included")
        for server in (ours, observing, echo):
            self.children.stop(server[0])

        process, _ = self.epp(ports, {}, "epp-idle")
        time.sleep(5)
        self.row("RSS idle, 100 endpoints, scraping", rss_mib(process.pid), "MiB", 64)
        self.children.stop(process)
        self.children.stop(sim)

    def decisions(self):
        args = ["--plugins", ROOT / "build/release/lib/epp/plugins"]
        if self.o.full:
            args += ["--seconds", "2"]
        result = self.tool("decide_bench", *args, core=self.o.server_core)
        self.results["decisions"] = result
        cells = {(c["endpoints"], c["tokens"]): c for c in result["decisions"]}
        for endpoints, target in ((100, 10), (1000, 100)):
            cell = cells[(endpoints, 1000)]
            self.row(f"decision, {endpoints} endpoints, 1,000 tokens, p50",
                     cell["decision_ns"]["p50"] / 1000, "us", target,
                     f"p99 {cell['decision_ns']['p99'] / 1000:.1f} us")
        self.row("own work, 1 KiB, 100 endpoints, CPU",
                 cells[(100, 256)]["own_cpu_ns_per_request"] / 1000, "us", 15)
        self.row("own work, 400 KB, 100 endpoints, CPU",
                 cells[(100, 100000)]["own_cpu_ns_per_request"] / 1000, "us")
        self.row("own work per response chunk, read", result["chunk_ns_read"] / 1000, "us", 1)

    def scraping(self):
        args = ["--seconds", "10" if self.o.full else "3",
                "--plugins", ROOT / "build/release/lib/epp/plugins"]
        if self.o.client_core is not None:
            args += ["--sim-cpu", self.o.client_core]
        runs = [self.tool("scrape_bench", *args, core=self.o.server_core) for _ in range(3)]
        result = sorted(runs, key=lambda r: r["cores"])[1]
        self.results["scraping"] = runs
        self.row("scraping 100 endpoints every 50 ms", result["cores_per_100_endpoints"], "cores",
                 0.15, f"{result['scrapes_per_s']:.0f} of {result['scrapes_wanted_per_s']:.0f}/s")

    def replays(self):
        if not self.o.traces:
            print("--- replay: skipped, EPP_TRACES and --traces name no directory")
            return
        blocks = (30_000, 120_000)  # 480,000 and 1,920,000 tokens a server
        for name, kv in ((n, b) for n in ("conversation", "synthetic") for b in blocks):
            trace = pathlib.Path(self.o.traces) / f"mooncake_{name}_trace.jsonl"
            args = ["--trace", trace, "--kv-blocks", kv, "--plugins", ROOT / "build/release/lib/epp/plugins"]
            if not self.o.full:
                args += ["--requests", "3000"]
            (self.tmp / "replay.json").unlink(missing_ok=True)
            result = self.tool("replay", *args)
            if result is None:
                continue
            self.results[f"replay_{name}_{kv}"] = result
            bound = result["bound"]["hit_rate_one_cache"]
            for profile in ("random", "load", "default"):
                r = result[profile]
                self.row(f"replay {name}/{kv // 1000}k, {profile}: hits", r["hit_rate"] * 100, "%", None,
                         f"one cache {bound * 100:.1f} %, TTFT mean {r['ttft_ms']['mean']:.0f} ms, "
                         f"token skew {r['skew_tokens']:.2f}")

    def table(self):
        print(f"\n{'what':46} {'measured':>10} {'unit':5} {'target':>7}  ")
        for what, measured, unit, target, note in self.rows:
            verdict = "" if target is None else "ok" if measured <= target else "MISS"
            shown = "" if target is None else f"{target:g}"
            print(f"{what:46} {measured:10.2f} {unit:5} {shown:>7}  {verdict:4} {note}".rstrip())
        self.results["table"] = [
            dict(zip(("what", "measured", "unit", "target", "note"), row)) for row in self.rows]
        OUT.mkdir(parents=True, exist_ok=True)
        path = OUT / "results.json"
        path.write_text(json.dumps(self.results, indent=1) + "\n")
        print(f"\neverything is in {path.relative_to(ROOT)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="longer runs, whole traces")
    parser.add_argument("--rounds", type=int, default=0, help="of each comparison (5, full: 9)")
    parser.add_argument("--traces", default=os.environ.get("EPP_TRACES", ""),
                        help="directory with the Mooncake traces (default: $EPP_TRACES)")
    parser.add_argument("--only", default="exchanges,decisions,scraping,replays",
                        help="parts to run, separated by commas (default: %(default)s)")
    options = parser.parse_args()
    options.rounds = options.rounds or (9 if options.full else 5)
    cores = sorted(os.sched_getaffinity(0))
    options.server_core, options.client_core = (cores[0], cores[1]) if len(cores) > 1 else (
        None, None)
    with tempfile.TemporaryDirectory() as tmp, Children() as children:
        bench = Bench(options, children, tmp)
        for part in options.only.split(","):
            getattr(bench, part)()
        bench.table()


if __name__ == "__main__":
    main()
