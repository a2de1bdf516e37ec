#!/usr/bin/env python3
"""Measures the sidecar plugin beside nginx. Started by sidecar.sh; see README.md.

CPU times are the kernel's accounting of the proxy's process. Proxies are measured in turns, and the
medians of the rounds count, because the machine has other work too.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LARGE = 400 * 1024

NGINX = """\
daemon off;
master_process off;
worker_processes 1;
error_log stderr error;
pid {tmp}/nginx.pid;
worker_rlimit_nofile 16384;
events {{ worker_connections 16000; }}
http {{
  access_log off;
  client_body_temp_path {tmp}/body;
  proxy_temp_path {tmp}/proxy;
  fastcgi_temp_path {tmp}/fastcgi;
  uwsgi_temp_path {tmp}/uwsgi;
  scgi_temp_path {tmp}/scgi;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  keepalive_requests 1000000000;
  tcp_nodelay on;
  upstream engine {{
    server 127.0.0.1:{engine};
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_buffering off;
      proxy_request_buffering on;
      proxy_read_timeout 300s;
    }}
  }}
}}
"""

SIDECAR = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - name: sidecar
    type: pde-sidecar
    parameters:
      listen: 127.0.0.1
      port: {port}
      modelServerPort: {engine}
      threads: {threads}
      maxConnections: 16000
      kvConnector: nixlv2
      allowedTargets: ["127.0.0.1"]
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def status(pid, key):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0


def thread_ns(pid):
    """CPU time of each thread, by its id. /proc/PID/stat counts the same in ticks of 10 ms."""
    return {tid: int(pathlib.Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[0])
            for tid in os.listdir(f"/proc/{pid}/task")}


class Bench:
    def __init__(self, options, tmp):
        self.o = options
        self.bin = pathlib.Path(options.build).resolve() / "bin"
        self.tmp = pathlib.Path(tmp)
        self.running = []
        self.rows = []
        self.results = {}

    # ---- processes

    def pinned(self, args, core):
        return (["taskset", "-c", str(core)] if core is not None else []) + [str(a) for a in args]

    def start(self, name, args, core=None):
        log = open(self.tmp / f"{name}.log", "w")
        process = subprocess.Popen(self.pinned(args, core or self.o.server_core),
                                   stdout=subprocess.PIPE, stderr=log, text=True)
        self.running.append(process)
        return process

    def stop(self, process):
        process.kill()
        process.wait()
        self.running.remove(process)

    def stop_all(self):
        for process in list(self.running):
            self.stop(process)

    def wait_for(self, port, name):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.02)
        sys.exit(f"{name} does not listen: {(self.tmp / f'{name}.log').read_text()}")

    def upstream(self):
        process = self.start("upstream", [self.bin / "sidecar_load", "upstream"], self.o.client_core)
        self.engine, self.prefill = map(int, process.stdout.readline().split())

    def nginx(self):
        port = free_port()
        conf = self.tmp / "nginx.conf"
        conf.write_text(NGINX.format(tmp=self.tmp, port=port, engine=self.engine))
        process = self.start("nginx", [self.o.nginx, "-c", conf, "-p", self.tmp])
        self.wait_for(port, "nginx")
        return process.pid, port, process

    def sidecar(self):
        port = free_port()
        conf = self.tmp / "sidecar.yaml"
        conf.write_text(SIDECAR.format(port=port, engine=self.engine, threads=self.o.threads))
        args = [self.bin / "epp", "serve", "--config-file", conf]
        for key, value in {"serve.grpc_listen": f"127.0.0.1:{free_port()}",
                           "serve.health_listen": f"127.0.0.1:{free_port()}",
                           "serve.metrics_listen": f"127.0.0.1:{free_port()}",
                           "serve.workers": 1, "tls.secure": "false", "admin.socket": ""}.items():
            args += ["--set", f"{key}={value}"]
        process = self.start("epp", args)
        self.wait_for(port, "epp")
        time.sleep(0.5)  # what a start costs is not what is measured
        return process.pid, port, process

    def relay(self, times):
        process = self.start("relay", [self.bin / "sidecar_load", "relay", "--to", self.engine,
                                       "--times", times])
        return process.pid, int(process.stdout.readline()), process

    def drive(self, server, **flags):
        args = [self.bin / "sidecar_load", "drive", "--port", server[1], "--pid", server[0]]
        for key, value in flags.items():
            args += ["--" + key.replace("_", "-"), value]
        done = subprocess.run(self.pinned(args, self.o.client_core), capture_output=True, text=True,
                              timeout=300)
        if done.returncode != 0:
            sys.exit(f"drive failed: {done.stderr}{done.stdout}")
        return json.loads(done.stdout)

    # ---- measurements

    def in_turns(self, key, servers, **flags):
        runs = {name: [] for name in servers}
        for _ in range(self.o.rounds):
            for name, (server, own) in servers.items():
                runs[name].append(self.drive(server, **{**flags, **own}))
        self.results[key] = runs
        return runs

    @staticmethod
    def median(runs, value):
        return statistics.median(value(run) for run in runs)

    def row(self, what, measured, target, note=""):
        self.rows.append((what, measured, target, note))
        print(f"{what}: {measured} (target {target}) {note}", flush=True)

    def verdict(self, value, limit, unit=""):
        return f"{value:.2f}{unit}" + ("" if value <= limit else " **miss**")

    def idle(self):
        epp = self.sidecar()
        before, seconds = thread_ns(epp[0]), 3
        time.sleep(seconds)  # the time that is measured
        after = thread_ns(epp[0])
        share = sum(ns - before.get(tid, 0) for tid, ns in after.items()) / seconds / 1e7
        self.row("idle: CPU of all threads of epp", f"{share:.2f}% of a core", "about 0",
                 f"{len(after)} threads, RSS {status(epp[0], 'VmRSS') / 1024:.0f} MiB")
        self.stop(epp[2])

    def pass_through(self):
        epp, nginx = self.sidecar(), self.nginx()
        direct = (0, self.engine)
        load = dict(rate=1000, seconds=self.o.seconds, gap_us=5000)
        pair = {"epp": (epp, {}), "nginx": (nginx, {})}
        one = self.in_turns("one", pair, chunks=1, **load)
        many = self.in_turns("many", {**pair, "direct": (direct, {})}, chunks=21, **load)
        cost = {}
        for name in pair:
            per_request = [r["cpu_us"] / r["requests"] for r in one[name]]
            # The same number of requests a second, and 20 events more in each.
            per_event = [(m["cpu_us"] - request * m["requests"]) / (m["events"] - m["requests"])
                         for m, request in zip(many[name], per_request)]
            cost[name] = per_request, per_event
        for i, what in enumerate(("request with one chunk", "further streamed chunk")):
            ratios = [a / b for a, b in zip(cost["epp"][i], cost["nginx"][i])]
            self.row(f"pass-through, CPU per {what}, ratio to nginx",
                     self.verdict(statistics.median(ratios), 1.5), "1.5",
                     f"{statistics.median(cost['epp'][i]):.1f} against "
                     f"{statistics.median(cost['nginx'][i]):.1f} us")
        for field, what in (("event_us", "a chunk"), ("head_us", "the head")):
            p99 = {name: self.median(runs, lambda r: r[field]["p99"]) for name, runs in many.items()}
            p50 = {name: self.median(runs, lambda r: r[field]["p50"]) for name, runs in many.items()}
            self.row(f"added latency of {what}, p99, 1,000 requests/s of 21 chunks",
                     self.verdict((p99["epp"] - p99["direct"]) / 1000, 1, " ms"), "1 ms",
                     f"p50 {p50['epp'] - p50['direct']:.0f} us; nginx "
                     f"{(p99['nginx'] - p99['direct']) / 1000:.2f} ms, {p50['nginx'] - p50['direct']:.0f} us")
        for process in (epp[2], nginx[2]):
            self.stop(process)

    def large(self):
        epp, nginx, once, twice = self.sidecar(), self.nginx(), self.relay(1), self.relay(2)
        servers = {"epp nixlv2": (epp, {"prefill": self.prefill}), "relay, written twice": (twice, {}),
                   "epp pass-through": (epp, {}), "relay": (once, {}), "nginx": (nginx, {})}
        runs = self.in_turns("large", servers, concurrency=4, chunks=1, body_bytes=LARGE,
                             seconds=max(1, self.o.seconds // 2))
        cost = {name: [r["cpu_us_per_request"] for r in all] for name, all in runs.items()}
        shown = ", ".join(f"{name} {statistics.median(c):.0f} us" for name, c in cost.items())
        ratios = [a / b for a, b in zip(cost["epp nixlv2"], cost["relay, written twice"])]
        self.row("400 KiB through nixlv2, CPU, ratio to reading once and writing twice",
                 self.verdict(statistics.median(ratios), 3), "3", shown)
        ratios = [a / b for a, b in zip(cost["epp pass-through"], cost["relay"])]
        self.row("400 KiB without prefill, CPU, ratio to reading and writing once",
                 self.verdict(statistics.median(ratios), 3), "3")
        for process in (epp[2], nginx[2], once[2], twice[2]):
            self.stop(process)

    def copies(self):
        """Memory of requests that wait for prefill, then for decode."""
        epp = self.sidecar()
        load = dict(concurrency=200, chunks=1, hold_us=600_000, warmup_ms=1, seconds=2,
                    prefill=self.prefill)
        self.drive(epp, body_bytes=1024, **load)  # the same connections without the bodies
        before = status(epp[0], "VmRSS")
        run = self.drive(epp, body_bytes=LARGE, **load)
        copies = (run["peak_kib"] - before) * 1024 / LARGE / 200
        self.results["copies"] = run
        self.row("400 KiB through nixlv2, 200 at once: memory of a request, in bodies",
                 self.verdict(copies, 2), "2", f"RSS {before / 1024:.0f}, then {run['peak_kib'] / 1024:.0f} MiB")
        self.stop(epp[2])

    def streams(self):
        epp, nginx = self.sidecar(), self.nginx()
        shown = {}
        for name, server in (("epp", epp), ("nginx", nginx)):
            before = status(server[0], "VmRSS")
            run = self.drive(server, rate=950, chunks=12, gap_us=500_000, seconds=6, warmup_ms=1)
            self.results[f"streams_{name}"] = run
            shown[name] = run["peak_kib"] / 1024, before / 1024, run["most_at_once"]
        peak, before, most = shown["epp"]
        self.row(f"{most:,} streams at once, RSS", self.verdict(peak, 300, " MiB"), "300 MiB",
                 f"idle {before:.0f} MiB, {(peak - before) * 1024 / most:.1f} KiB each; "
                 f"nginx {shown['nginx'][0]:.0f} MiB")
        for process in (epp[2], nginx[2]):
            self.stop(process)

    def table(self):
        print("\n| what | target | measured | |\n|---|---|---|---|")
        for what, measured, target, note in self.rows:
            print(f"| {what} | {target} | {measured} | {note} |")
        out = ROOT / "build/bench"
        out.mkdir(parents=True, exist_ok=True)
        (out / "sidecar.json").write_text(json.dumps(self.results, indent=1) + "\n")


PARTS = ("idle", "pass_through", "large", "copies", "streams")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=ROOT / "build/release", help="of which preset")
    parser.add_argument("--rounds", type=int, default=5, help="of each comparison")
    parser.add_argument("--seconds", type=int, default=3, help="of each run")
    parser.add_argument("--threads", type=int, default=1, help="of the sidecar")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to run (%(default)s)")
    options = parser.parse_args()
    options.nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if options.nginx is None:
        sys.exit("nginx is missing: apt-get install nginx-light")
    cores = sorted(os.sched_getaffinity(0))
    options.server_core, options.client_core = cores[:2] if len(cores) > 1 else (None, None)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 16384:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(16384, hard), hard))
    with tempfile.TemporaryDirectory() as tmp:
        bench = Bench(options, tmp)
        try:
            bench.upstream()
            for part in options.only.split(","):
                getattr(bench, part)()
        finally:
            bench.stop_all()
        bench.table()


if __name__ == "__main__":
    main()
