#!/usr/bin/env python3
"""Changes config and plugins under load, and says what that cost. Started by soak.sh; see README.md.

Every stream is checked: by the load generator, which knows the protocol, and by the plugin in soak/,
which knows which generation it belongs to.
"""
import argparse
import bisect
import datetime
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))

from stack import LOOPBACK, Epp, Simulators, _UnixConnection, call, wait_until  # noqa: E402

OUT = ROOT / "build/bench"
SERVERS = 16  # half of them in each group
HEADER = "x-soak-marker"
LIBRARY = "soak-marker.so"

# Whatever alternates is read by something: the group by the filter and by the marker.
CONFIG = """\
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - {{name: queue, type: queue-scorer}}
  - {{name: kv, type: kv-cache-utilization-scorer}}
  - {{name: prefix, type: prefix-cache-scorer}}
  - {{name: group, type: label-selector-filter, parameters: {{matchLabels: {{group: {group}}}}}}}
  - {{name: marker, type: soak-marker, parameters: {{stamp: {group}}}}}
  - {{type: file-discovery, parameters: {{path: endpoints.yaml, watchFile: true}}}}
schedulingProfiles:
  - name: default
    plugins:
      - {{pluginRef: group}}
      - {{pluginRef: queue, weight: {weight}}}
      - {{pluginRef: kv, weight: 2}}
      - {{pluginRef: prefix, weight: 3}}
dataLayer:
  discovery: {{pluginRef: file-discovery}}
"""


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, max(0, round(share * len(values) + 0.5) - 1))] if values else 0.0


class Footprint:
    """Memory, threads and descriptors of a process."""

    def __init__(self, pid):
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
        self.rss_mib = int(status["VmRSS"].split()[0]) / 1024
        self.threads = int(status["Threads"])
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        self.maps = sum(1 for _ in open(f"/proc/{pid}/maps"))

    def __str__(self):
        return (f"{self.rss_mib:.1f} MiB, {self.threads} threads, {self.descriptors} descriptors, "
                f"{self.maps} mappings")


class Soak:
    def __init__(self, options, work):
        self.o, self.work = options, work
        self.bin = options.build / "bin"
        self.plugins = work / "plugins"
        self.plugins.mkdir()
        self.changes = []  # (kind, begin, end) in unix seconds, (event to swap)
        self.errors = []
        self.n = 0
        self.build = 0
        self.install(1)

        self.sims = Simulators(self.bin, work, SERVERS)
        self.write_endpoints()
        self.write_config()
        own = options.build / "lib/epp/plugins"
        self.epp = Epp(self.bin, work, work / "config.yaml", options=[
            "--set", f"plugins.dirs={own},{self.plugins}", *options.epp_options])
        self.pid = self.epp.child.process.pid
        self.epp.wait_fresh(self.sims.names)

    def close(self):
        for child in (self.epp.child, self.sims.child):
            child.stop()

    # ---- what is changed

    def replace(self, path, content):
        beside = path.with_suffix(".new")
        if isinstance(content, pathlib.Path):
            shutil.copy(content, beside)
        else:
            beside.write_text(content)
        os.replace(beside, path)

    def install(self, build):
        self.build = build
        self.replace(self.plugins / LIBRARY, self.o.build / f"lib/epp/soak/{build}" / LIBRARY)

    def write_endpoints(self):
        lines = ["endpoints:"] + [
            f"  - {{name: {name}, address: {LOOPBACK}, port: {port}, labels: {{group: {'ab'[i % 2]}}}}}"
            for i, (name, port) in enumerate(zip(self.sims.names, self.sims.ports))]
        self.replace(self.work / "endpoints.yaml", "\n".join(lines) + "\n")

    def write_config(self):
        self.n += 1
        self.replace(self.work / "config.yaml",
                     CONFIG.format(group="ab"[self.n // 2 % 2], weight=2 + self.n % 2))

    def reload(self):
        connection = _UnixConnection(self.epp.socket)
        try:
            connection.request("POST", "/admin/reload", json.dumps({"wait_ms": 60000}),
                               {"content-type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        # Unchanged: the watch was quicker.
        if response.status != 200 or answer["outcome"] == "refused":
            self.errors.append(f"reload: {response.status} {answer}")
        return answer

    def serving(self):
        """The generation, and the unix time at which it began to serve."""
        config = self.epp.get("/admin/status")["config"]
        since = datetime.datetime.fromisoformat(config["since"].replace("Z", "+00:00"))
        return config["generation"], since.timestamp()

    def change(self, kind, what, by_event):
        """Makes one change; (kind, unix time of the change, of its end, seconds to the swap)."""
        before = self.serving()[0]
        begin = time.time()
        what()
        if by_event:
            # Seldom: asking takes from the two cores, too.
            time.sleep(0.04)
            while (now := self.serving())[0] == before and time.time() < begin + 30:
                time.sleep(0.02)
            took = now[1] - begin
        else:
            took = self.reload().get("took_ms", 0) / 1e3
        self.changes.append((kind, begin, time.time(), took))

    def change_config(self, by_event=True):
        self.change("config", self.write_config, by_event)

    def change_plugin(self, by_event=True):
        self.change("plugin", lambda: self.install(3 - self.build), by_event)

    # ---- measurements

    def start_load(self, streams, timeline):
        args = [self.bin / "extproc_load", "--target", f"{LOOPBACK}:{self.epp.ports[0]}",
                "--rate", self.o.rate, "--streams", streams, "--warmup", "2000",
                "--connections", "8", "--chunks", "4", "--chunk-gap-ms", "50",
                "--same-header", HEADER, "--no-chunk-baseline", "--ignore-mode-override",
                "--server-pid", self.pid, "--timeline", timeline, "--json", "-"]
        return subprocess.Popen([str(a) for a in args], stdout=subprocess.PIPE, text=True)

    def under_load(self):
        """Changes while streams run; then the same without changes, for comparison."""
        timeline = self.work / "timeline"
        self.changes.clear()
        load = self.start_load(round(self.o.seconds * self.o.rate), timeline)
        wait_until("streams come", lambda: self.marker_counts()["requests"] > self.o.rate)
        deadline = time.monotonic() + self.o.seconds
        kinds = ([self.change_config] * 2 + [self.change_plugin]) * (self.o.config_reloads // 2)
        pause = self.o.seconds / len(kinds)
        for i, kind in enumerate(kinds):
            begin = time.monotonic()
            kind()
            if load.poll() is not None or time.monotonic() > deadline:
                self.errors.append(f"the load ended after {i + 1} of {len(kinds)} changes")
                break
            time.sleep(max(0.0, pause * 0.8 - (time.monotonic() - begin)))
        result = json.loads(load.communicate()[0])
        samples = [tuple(map(float, line.split())) for line in timeline.read_text().splitlines()]
        return result, [(began / 1e9, latency) for began, latency in samples]

    def split(self, samples):
        """Latencies of the streams that began while a change of each kind was made, and of all
        others (None)."""
        windows = sorted((begin, end, kind) for kind, begin, end, _ in self.changes)
        begins = [begin for begin, _, _ in windows]
        out = {"config": [], "plugin": [], None: []}
        for began, latency in samples:
            i = bisect.bisect_right(begins, began) - 1
            out[windows[i][2] if i >= 0 and began <= windows[i][1] else None].append(latency)
        return out

    def marker_counts(self):
        text = call(self.epp.ports[2], "GET", "/metrics")[2].decode()
        counts = {"requests": 0, "misrouted": 0, "mixed": 0}
        for line in text.splitlines():
            for key in counts:
                if f"soak_marker_{key}" in line and not line.startswith("#"):
                    counts[key] += round(float(line.rsplit(" ", 1)[1]))
        return counts

    def growth(self):
        """Many reloads of two configs and two libraries; what the process has grown by."""
        for _ in range(50):
            self.change_config(by_event=False)
        self.change_plugin(by_event=False)
        self.change_plugin(by_event=False)
        before = Footprint(self.pid)
        for i in range(self.o.many_reloads):
            self.change_plugin(by_event=False) if i % 10 == 0 else self.change_config(by_event=False)
        return before, Footprint(self.pid)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--rate", type=float, default=2000, help="streams a second")
    parser.add_argument("--config-reloads", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--many-reloads", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="20 reloads in 20 s, then 100")
    parser.add_argument("--epp-options", nargs="*", default=[])
    options = parser.parse_args()
    options.build = options.build.absolute()
    if options.quick:
        options.config_reloads, options.seconds, options.many_reloads = 20, 20, 100

    rows, failures = [], []

    def row(what, measured, unit, target=None):
        ok = target is None or measured <= target
        rows.append({"what": what, "measured": measured, "unit": unit, "target": target})
        print(f"{what:54} {measured:12.3f} {unit:10} "
              f"{'' if target is None else f'{target:g}':>7}  "
              f"{'' if target is None else 'ok' if ok else 'MISS'}", flush=True)
        if not ok:
            failures.append(what)

    with tempfile.TemporaryDirectory(prefix="epp-soak-") as tmp:
        soak = Soak(options, pathlib.Path(tmp))
        try:
            result, samples = soak.under_load()
            latencies = soak.split(samples)
            outside, during = latencies[None], latencies["config"] + latencies["plugin"]
            took = {kind: [t for k, _, _, t in soak.changes if k == kind]
                    for kind in ("config", "plugin")}
            counts = soak.marker_counts()
            row("streams a second", result["streams_per_s"], "1/s")
            row("streams, most at once", result["concurrency"], "streams")
            row("config reloads", len(took["config"]), "")
            row("plugin upgrades", len(took["plugin"]), "")
            row("failed streams", result["failed"], "streams", 0)
            row("answered instead of forwarded", result["immediate"], "streams", 0)
            row("picks outside of the serving config's group", counts["misrouted"], "picks", 0)
            row("responses seen by another generation", counts["mixed"], "", 0)
            row("file event to swap, config, p50", percentile(took["config"], 0.5) * 1e3, "ms")
            row("file event to swap, config, worst", max(took["config"]) * 1e3, "ms", 50)
            row("file event to swap, new library, worst", max(took["plugin"]) * 1e3, "ms", 300)
            row("request phase outside of changes, p50", percentile(outside, 0.5), "us")
            row("request phase outside of changes, p99.9", percentile(outside, 0.999), "us")
            row("request phase during changes, p50", percentile(during, 0.5), "us")
            for kind in ("config", "plugin"):
                row(f"request phase during changes, p99.9, {kind}",
                    percentile(latencies[kind], 0.999), "us")
            row("request phase during changes, p99.9", percentile(during, 0.999), "us")
            row("p99.9 during, by p99.9 outside",
                percentile(during, 0.999) / max(1e-9, percentile(outside, 0.999)), "x", 2)
            if counts["requests"] < result["ok"]:
                failures.append("the marker saw fewer requests than were forwarded")
            for what, count in result["errors"].items():
                print(f"  {count} x {what}")

            soak.changes.clear()
            before, after = soak.growth()
            print(f"before {options.many_reloads} reloads: {before}\nafter: {after}")
            row("memory grown by", after.rss_mib - before.rss_mib, "MiB", 2)
            row("threads grown by", after.threads - before.threads, "", 0)
            row("descriptors grown by", after.descriptors - before.descriptors, "", 0)
            row("mappings grown by", after.maps - before.maps, "", 8)
            times = [t for _, _, _, t in soak.changes]
            row("reload, without load, p50", percentile(times, 0.5) * 1e3, "ms")
        finally:
            soak.close()
            OUT.mkdir(parents=True, exist_ok=True)
            shutil.copy(soak.epp.child.log, OUT / "soak-epp.log")
        failures += soak.errors
    (OUT / "soak.json").write_text(json.dumps(rows, indent=1) + "\n")
    for failure in failures:
        print(f"soak: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
