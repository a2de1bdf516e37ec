"""Real processes on loopback: simulated model servers, epp, Envoy.

Used by the end to end tests and by the quick start. Everything waits for conditions, never for time
to pass. Children die with the process that started them, however it ends.
"""

import ctypes
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
DESTINATION = "x-gateway-destination-endpoint"
ENVOY_ENDPOINTS = "envoy-endpoints.json"

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class StackError(Exception):
    """Something did not start, or did not come true in time."""


def free_ports(count):
    """Ports nobody listens on, all different."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def free_port_range(count):
    """The first of `count` neighbouring ports that are free, below those the kernel hands out."""
    for first in range(20000 + os.getpid() % 400 * 25, 32000, count):
        if all(port_is_free(port) for port in range(first, first + count)):
            return first
    raise StackError(f"no {count} neighbouring ports are free")


def port_is_free(port):
    try:
        # As the servers will bind it: closed connections of an earlier run do not count.
        socket.create_server((LOOPBACK, port)).close()
        return True
    except OSError:
        return False


def wait_until(what, condition, timeout_s=30):
    """The first true value of condition(). Errors of connecting count as not yet."""
    deadline = time.monotonic() + timeout_s
    last = None
    while time.monotonic() < deadline:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, http.client.HTTPException, ValueError) as error:
            last = error
        time.sleep(0.01)
    raise StackError(f"{what}: not within {timeout_s} s, last seen: {last!r}")


class Child:
    """A process with its output in a file."""

    def __init__(self, name, arguments, log, cwd=None):
        self.name = name
        self.log = pathlib.Path(log)
        with open(self.log, "wb") as out:
            # A group of its own: Ctrl-C reaches the starter, which ends the children in order.
            self.process = subprocess.Popen(
                [str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, cwd=cwd, start_new_session=True,
                preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))

    def running(self):
        return self.process.poll() is None

    def wait_ready(self, condition, timeout_s=30):
        def ready():
            if not self.running():
                raise StackError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
            return condition()
        try:
            return wait_until(f"{self.name} is ready", ready, timeout_s)
        except StackError as error:
            raise StackError(f"{error}\n{self.tail()}") from None

    def tail(self):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def signal(self, number):
        if self.running():
            self.process.send_signal(number)

    def stop(self, timeout_s=10):
        """Asks, then forces; returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def call(port, method, path, body=None, headers=None, timeout_s=60, host=LOOPBACK):
    """One request on its own connection: (status, headers in lower case, body as bytes)."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers = {"content-type": "application/json", **(headers or {})}
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content
    finally:
        connection.close()


def write_endpoints(path, servers):
    """An endpoints file of (name, port), replaced in one step as editors and mounted volumes do."""
    lines = ["endpoints:" if servers else "endpoints: []"]
    lines += [f"  - {{name: {name}, address: {LOOPBACK}, port: {port}}}" for name, port in servers]
    new = pathlib.Path(path).with_suffix(".new")
    new.write_text("\n".join(lines) + "\n")
    os.replace(new, path)


class Simulators:
    """`count` model servers in one process, called NAME-0, NAME-1, ..."""

    def __init__(self, bin_dir, work_dir, count, options=(), first_port=None, name="sim"):
        first = first_port or free_port_range(count)
        self.ports = list(range(first, first + count))
        self.names = [f"{name}-{i}" for i in range(count)]
        self.addresses = [LOOPBACK] * count
        self.child = Child(f"epp-sim {name}", [
            bin_dir / "epp-sim", "--port", f"{first}-{first + count - 1}", "--name", name,
            "--model", "demo", *options], work_dir / f"{name}.log")
        self.child.wait_ready(lambda: all(self.state(i) for i in range(count)))

    def ask(self, server, method, path, body=None):
        return call(self.ports[server], method, path, body, host=self.addresses[server])

    def state(self, server):
        return json.loads(self.ask(server, "GET", "/sim/state")[2])

    def requests(self, server):
        return json.loads(self.ask(server, "GET", "/sim/requests")[2])

    def fault(self, via, **fault):
        """Sets a fault; `via` is the server asked, fault["server"] may name another."""
        status, _, content = self.ask(via, "POST", "/sim/fault", fault)
        if status != 200:
            raise StackError(f"/sim/fault {fault}: {status} {content!r}")

    def pin_metrics(self, server, **values):
        self.ask(server, "POST", "/sim/metrics", values)

    def write_endpoints(self, path, servers=None):
        """The endpoints file with these servers (by number), all by default."""
        servers = range(len(self.ports)) if servers is None else servers
        write_endpoints(path, [(self.names[i], self.ports[i]) for i in servers])


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("epp", timeout=30)
        self._path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Epp:
    """The endpoint picker, with its ports chosen free unless given."""

    def __init__(self, bin_dir, work_dir, config, ports=None, options=(), drain="0s"):
        self.bin = bin_dir / "epp"
        self.ports = ports or free_ports(3)
        self.socket = pathlib.Path(work_dir) / "admin.sock"
        listen = zip(("grpc", "health", "metrics"), self.ports)
        started = time.monotonic()
        self.child = Child("epp", [
            self.bin, "serve", "--config-file", config, "--secure-serving=false",
            "--set", f"admin.socket={self.socket}", "--set", f"serve.drain={drain}",
            "--set", f"config.state_dir={pathlib.Path(work_dir) / 'state'}",
            "--set", f"envoy.endpoints_file={pathlib.Path(work_dir) / ENVOY_ENDPOINTS}",
            *(part for name, port in listen
              for part in ("--set", f"serve.{name}_listen={LOOPBACK}:{port}")),
            *options], pathlib.Path(work_dir) / "epp.log", cwd=work_dir)
        self.child.wait_ready(lambda: self.get("/admin/status")["ready"])
        self.ready_after_s = time.monotonic() - started

    def get(self, path, text=False):
        """A document of the admin API: parsed JSON, or with `text` what the commands print."""
        connection = _UnixConnection(self.socket)
        try:
            connection.request("GET", path, headers={"accept": "text/plain"} if text else {})
            response = connection.getresponse()
            content = response.read().decode()
            if response.status != 200:
                raise ValueError(f"{path}: {response.status} {content}")
            return content if text else json.loads(content)
        finally:
            connection.close()

    def decision(self, request_id):
        """The record of a request; it is there once the request was sent on."""
        return wait_until(f"the decision of {request_id}",
                          lambda: self.get(f"/admin/decisions/{request_id}"), 10)

    def pool(self):
        """{endpoint name without namespace: {"state": ..., "waiting": ..., ...}}"""
        document = self.get("/admin/pool")
        columns = ("states", "waiting", "running", "kv")
        return {name.split("/")[-1]: {c.rstrip("s"): document[c][i] for c in columns}
                for i, name in enumerate(document["endpoints"])}

    def wait_fresh(self, names, timeout_s=30):
        """Until the pool is exactly `names`, each with new metrics."""
        def fresh():
            pool = self.pool()
            return (set(pool) == set(names) and all(e["state"] == "fresh" for e in pool.values()))
        return wait_until(f"fresh endpoints {sorted(names)}", fresh, timeout_s)

    def run(self, *arguments):
        """One of epp's other commands against this process; what it prints."""
        done = subprocess.run([self.bin, *arguments, "--admin", f"unix:{self.socket}"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              check=False)
        if done.returncode != 0:
            raise StackError(f"epp {' '.join(arguments)}: exit {done.returncode}: {done.stderr}")
        return done.stdout


class Envoy:
    """Envoy with deploy/envoy/envoy.yaml on other ports; epp has been started in the same work_dir.

    `responses` is as in the file: epp sees responses too. Without, Envoy keeps them to itself, which
    costs nothing per chunk and suits configurations whose plugins read no responses.
    `original_dst` takes the cluster without a list of endpoints from deploy/envoy/README.md.
    """

    def __init__(self, venv, work_dir, epp_port, responses, port=None, admin_port=None,
                 original_dst=False):
        free = free_ports(2)
        self.port, self.admin_port = port or free[0], admin_port or free[1]
        text = (ROOT / "deploy/envoy/envoy.yaml").read_text()
        changes = [("/run/epp/envoy-endpoints.json", str(pathlib.Path(work_dir) / ENVOY_ENDPOINTS)),
                   ("port_value: 8081", f"port_value: {self.port}"),
                   ("port_value: 19000", f"port_value: {self.admin_port}"),
                   ("port_value: 9002", f"port_value: {epp_port}")]
        if not responses:
            changes += [("response_body_mode: FULL_DUPLEX_STREAMED", "response_body_mode: NONE"),
                        ("response_trailer_mode: SEND", "response_trailer_mode: SKIP")]
        if original_dst:
            readme = (ROOT / "deploy/envoy/README.md").read_text()
            cluster = readme.split("```yaml\n")[1].split("```")[0]
            start, end = text.index("    - name: picked_endpoint"), text.index("    - name: epp\n")
            text = text[:start] + cluster + text[end:]
            changes = [c for c in changes if "endpoints.json" not in c[0]]
        for old, new in changes:
            # The file's head comment may show it too.
            if text.count(old) - text.split("\nnode:")[0].count(old) != 1:
                raise StackError(f"envoy.yaml: want \"{old}\" once")
            text = text.replace(old, new)
        config = pathlib.Path(work_dir) / "envoy.yaml"
        config.write_text(text)
        self.child = Child("envoy", [
            pathlib.Path(venv) / "bin/envoy", "-c", config, "--disable-hot-restart",
            "--concurrency", "2", "--log-level", "warning"], pathlib.Path(work_dir) / "envoy.log")
        self.child.wait_ready(lambda: call(self.admin_port, "GET", "/ready")[0] == 200)


def chat(prompt, system=None, **more):
    """The body of a chat completion."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    return {"model": "demo", "messages": messages, **more}


class StreamedAnswer:
    """A streamed answer, read to its end: status, headers, events, ttft_s, complete."""

    def __init__(self, port, path, body, headers=None, timeout_s=60, on_first=None):
        self.status, self.headers, self.events = 0, {}, []
        self.ttft_s, self.complete = None, False
        started = time.monotonic()
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
        try:
            connection.request("POST", path, json.dumps(body),
                               {"content-type": "application/json", **(headers or {})})
            response = connection.getresponse()
            self.status = response.status
            self.headers = {k.lower(): v for k, v in response.getheaders()}
            for line in response:
                if not line.startswith(b"data:"):
                    continue
                if self.ttft_s is None:
                    self.ttft_s = time.monotonic() - started
                    if on_first:
                        on_first(self)
                data = line[5:].strip()
                if data == b"[DONE]":
                    self.complete = True
                else:
                    self.events.append(json.loads(data))
        finally:
            connection.close()

    @property
    def server(self):
        return self.headers.get("x-sim-server")

    @property
    def usage(self):
        return next((e["usage"] for e in reversed(self.events) if e.get("usage")), None)


def readded_totals(profile):
    """{endpoint: sum of weight * score}, from one profile of a decision record."""
    weights = [scorer["weight"] for scorer in profile["scorers"]]
    return {name: sum(w * s for w, s in zip(weights, scores))
            for name, scores in zip(profile["endpoints"], profile["scores"])}
