"""The launcher that takes the flags of llm-d's pd-sidecar: what becomes of them.

Arguments: the launcher, the epp executable.
"""
import http.client
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

LAUNCHER, EPP = sys.argv[1], sys.argv[2]


def run(*arguments, **environment):
    return subprocess.run([LAUNCHER, *arguments], env={**os.environ, **environment}, text=True,
                          capture_output=True, timeout=60, check=False)


class LauncherTest(unittest.TestCase):
    def config(self, *arguments, **environment):
        done = run("--secure-proxy=false", "--print", *arguments, **environment)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def accepted(self, text):
        done = subprocess.run([EPP, "check", "--deny-warnings", "-"], input=text, text=True,
                              capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_flags_become_parameters(self):
        text = self.config("--port", "8001", "-model-server-port=8201", "--kv-connector=nixlv2",
                           "--ec-connector=ec-nixl", "--prefill-max-retries=2",
                           "--prefill-retry-backoff=300ms", "--allowed-targets=10.0.0.0/8:8000,*:9")
        for line in ("port: 8001", "modelServerPort: 8201", 'ecConnector: "ec-nixl"',
                     "prefillRetryBackoff: 300ms", 'allowedTargets: ["10.0.0.0/8:8000", "*:9"]'):
            self.assertIn(f"      {line}\n", text)
        self.accepted(text)

    def test_moriio(self):
        text = self.config("--moriio-write-mode", "--moriio-local-pod-ip=10.0.0.1",
                           "--moriio-dp-size=16", "--moriio-dp-size-local=8",
                           "--moriio-remote-hosts=a,b", "--allowed-targets=*")
        self.assertIn('remoteHosts: ["a", "b"]', text)
        self.accepted(text)

    def test_the_engines_port(self):
        self.assertIn("modelServerPort: 8200\n", self.config())
        self.assertIn("modelServerPort: 7\n", self.config("--vllm-port=7"))
        self.assertIn("modelServerPort: 8\n", self.config("--vllm-port=7", "--model-server-port=8"))

    def test_the_environment(self):
        self.assertIn("enablePrefillerSampling: true", self.config(ENABLE_PREFILLER_SAMPLING="true"))
        self.assertNotIn("Sampling", self.config("--enable-prefiller-sampling=false",
                                                 ENABLE_PREFILLER_SAMPLING="true"))

    def test_tls(self):
        done = run("--print", "--allowed-targets=*")
        self.assertIn("secureProxy: true\n", done.stdout)
        self.accepted(done.stdout)
        self.assertNotIn("secureProxy", self.config("--cert-path=/c"))
        text = run("--print", "--cert-path=/etc/c", "--enable-tls=prefiller,decoder", "--enable-tls", "encoder",
                   "--tls-insecure-skip-verify=encoder", "--tls-ca-file=/ca.pem",
                   "--allowed-targets=*").stdout
        for line in ('certPath: "/etc/c"', 'enableTLS: ["prefiller", "decoder", "encoder"]',
                     'tlsInsecureSkipVerify: ["encoder"]', 'tlsCaFile: "/ca.pem"'):
            self.assertIn(f"      {line}\n", text)
        self.accepted(text)

    # Keys of the file: a value there, one of the flag, the line that comes of each.
    KEYS = (
        ("port", "8001", "8002", "port: %s"),
        ("model-server-port", "8201", "8202", "modelServerPort: %s"),
        ("vllm-port", "8201", "8202", "modelServerPort: %s"),
        ("data-parallel-size", "2", "3", "dataParallelSize: %s"),
        ("kv-connector", "sglang", "mooncake", 'kvConnector: "%s"'),
        ("ec-connector", "ec-nixl", "ec-example", 'ecConnector: "%s"'),
        ("mooncake-bootstrap-port", "8001", "8002", "mooncakeBootstrapPort: %s"),
        ("p2p-connector-port", "8001", "8002", "p2pConnectorPort: %s"),
        ("cert-path", "/a", "/b", 'certPath: "%s"'),
        ("enable-tls", "decoder", "encoder", 'enableTLS: ["%s"]'),
        ("tls-insecure-skip-verify", "decoder", "encoder", 'tlsInsecureSkipVerify: ["%s"]'),
        ("max-idle-conns-per-host", "5", "6", "maxIdleConnsPerHost: %s"),
        ("prefill-max-retries", "5", "6", "prefillMaxRetries: %s"),
        ("prefill-retry-backoff", "1s", "2s", "prefillRetryBackoff: %s"),
        ("decode-chunk-size", "5", "6", "decodeChunkSize: %s"),
    )

    def test_case_066_a_flag_counts_more_than_the_file(self):
        for key, in_file, in_flag, line in self.KEYS:
            with self.subTest(key=key):
                text = f"{key}: {in_file}\n"
                flag = f"--{key}={in_flag}"
                self.assertIn(f"      {line % in_file}\n", run("--print", "--configuration", text).stdout)
                self.assertIn(f"      {line % in_flag}\n", run("--print", flag).stdout)
                both = run("--print", flag, "--configuration", text).stdout
                self.assertIn(f"      {line % in_flag}\n", both)
                self.assertNotIn(line % in_file, both)
        for key, parameter in (("enable-p2p-pull", "enableP2PPull"), ("secure-proxy", "secureProxy"),
                               ("enable-prefiller-sampling", "enablePrefillerSampling")):
            for in_file, in_flag in (("true", "false"), ("false", "true")):
                got = run("--print", f"--configuration={key}: {in_file}").stdout
                self.assertEqual(f"{parameter}: true\n" in got, in_file == "true", key)
                got = run("--print", f"--configuration={key}: {in_file}", f"--{key}={in_flag}").stdout
                self.assertEqual(f"{parameter}: true\n" in got, in_flag == "true", key)

    def test_case_066_the_file(self):
        same = """---
# all of it
port: 8001   # the port
"kv-connector": 'sglang'
enable-tls:
- prefiller
  # one more
- "decoder"
tls-insecure-skip-verify: [ 'encoder', decoder ]
cert-path: "/a#b"
decode-chunk-size: 0
inference-pool: null
secure-proxy: true
"""
        as_json = """{"port": 8001, "kv-connector": "sglang",
  "enable-tls": ["prefiller", "decoder"],
  "tls-insecure-skip-verify": ["encoder", "decoder"], "cert-path": "\\/a\\/b",
  "decode-chunk-size": 0, "inference-pool": null, "secure-proxy": true}"""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(same.replace("/a#b", "/a/b"))
            file.flush()
            from_file = run("--print", "--configuration-file", file.name)
        self.assertEqual(from_file.returncode, 0, from_file.stderr)
        for line in ("port: 8001", 'kvConnector: "sglang"', 'enableTLS: ["prefiller", "decoder"]',
                     'tlsInsecureSkipVerify: ["encoder", "decoder"]', 'certPath: "/a/b"'):
            self.assertIn(f"      {line}\n", from_file.stdout)
        self.assertNotIn("decodeChunkSize", from_file.stdout)
        inline = run("--print", "--configuration", as_json)
        self.assertEqual(inline.stdout, from_file.stdout, inline.stderr)

    def test_case_066_a_bad_file_is_refused(self):
        for text in ("connector: nixlv2", "moriio-write-mode: true", "print: true", "ports: 8000", "port",
                     "port: x", "port:8000", "port: [8000", "port: 'x", "port: 8000\nport: 8001",
                     "port:\n  a: 1", " port: 8000", "\tport: 8000", "port: &a 1", "- port", "port: 8000 8001",
                     "{port: 8000", "{port: 8000} x", '{"port": {"a": 1}}', '{"a\\u0041": 1}', "secure-proxy: 2",
                     "kv-connector: a: b", "kv-connector: \"a\" b", "enable-tls: [a, [b]]", "port: |\n  8000"):
            done = run("--print", "--configuration", text)
            self.assertEqual((done.returncode, done.stdout), (64, ""), text)
            self.assertIn("pd-sidecar: ", done.stderr)
        for arguments in (["--configuration=port: 1", "--configuration-file=/dev/null"],
                          ["--configuration-file=/missing"]):
            self.assertEqual(run("--print", *arguments).returncode, 64)

    def test_case_067_to_069_what_does_not_fit_is_refused(self):
        for arguments, name in ((["--port=abc"], "--port"), (["--port=65536"], "port"),
                                (["--model-server-port=0"], "modelServerPort"),
                                (["--vllm-port=65536"], "modelServerPort"),
                                (["--port=65535", "--data-parallel-size=2"], "port 65535"),
                                (["--data-parallel-size=0"], "dataParallelSize"),
                                (["--data-parallel-size=-1"], "--data-parallel-size"),
                                (["--p2p-connector-port=0"], "p2pConnectorPort"),
                                (["--p2p-connector-port=65536"], "p2pConnectorPort"),
                                (["--p2p-connector-port=65535", "--data-parallel-size=2"], "p2pConnectorPort"),
                                (["--enable-tls=engine"], "enableTLS"),
                                (["--enable-tls=decoder,"], ""), (["--enable-tls=decoder,prefiller"], ""),
                                (["--tls-insecure-skip-verify=x"], "tlsInsecureSkipVerify")):
            done = run("--print", "--allowed-targets=*", *arguments)
            text = done.stderr
            if done.returncode == 0:
                done = subprocess.run([EPP, "check", "-"], input=done.stdout, text=True, capture_output=True,
                                      timeout=60, check=False)
                text = done.stdout + done.stderr
            self.assertEqual(done.returncode == 0, name == "", (arguments, text))
            self.assertIn(name, text)

    def test_case_068_the_pool(self):
        for pool in ("a", "a/b"):
            self.config("--inference-pool", pool)
            self.config(INFERENCE_POOL=pool)
        for pool in ("a/b/c", "/b", "a/", "/"):
            done = run("--print", "--inference-pool", pool)
            self.assertEqual(done.returncode, 64)
            self.assertIn("namespace/name", done.stderr)
        done = run("--print", "--enable-ssrf-protection")
        self.assertIn("needs --inference-pool", done.stderr)
        done = run("--print", "--enable-ssrf-protection", INFERENCE_POOL="a")
        self.assertEqual(done.returncode, 64)
        self.assertIn("not available", done.stderr)

    def test_what_cannot_be_done_is_refused(self):
        for arguments in (["--secure-proxy=maybe"],
                          ["--secure-proxy=false", "--enable-ssrf-protection"],
                          ["--secure-proxy=false", "--connector=nixlv2"],
                          ["--secure-proxy=false", "--port=8\nx: 1"],
                          ["--secure-proxy=false", "--kv-connector=\"x"],
                          ["--secure-proxy=false", "--port"], ["x"]):
            done = run(*arguments, EPP="/bin/false")
            self.assertEqual(done.returncode, 64, (arguments, done.stderr))
            self.assertIn("pd-sidecar: ", done.stderr)

    def test_it_runs_epp(self):
        done = run("--secure-proxy=false", "--metrics-port=9", EPP="/bin/echo")
        self.assertEqual(done.returncode, 0)
        self.assertTrue(done.stdout.startswith("serve --config-text apiVersion: "), done.stdout)
        self.assertIn("serve.metrics_listen=0.0.0.0:9", done.stdout)
        done = run("--secure-proxy=false", EPP="/bin/echo", MORIIO_METRICS_ADDR=":7")
        self.assertIn("serve.metrics_listen=0.0.0.0:7", done.stdout)


CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
  - type: pde-sidecar
    parameters:
      listen: 127.0.0.1
      port: %d
      modelServerPort: 9
      prefillMaxRetries: %d
      allowedTargets: ["10.0.0.1:8000"]
"""


class LiveTest(unittest.TestCase):
    """epp with a service and nothing else: no endpoints, no client of ext-proc."""

    def setUp(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.config = pathlib.Path(self.dir.name) / "config.yaml"
        self.config.write_text(CONFIG % (self.port, 0))
        self.log = open(pathlib.Path(self.dir.name) / "log", "w+")
        self.addCleanup(self.log.close)
        self.admin = f"{self.dir.name}/admin.sock"
        settings = ["serve.grpc_listen=127.0.0.1:0", "serve.health_listen=127.0.0.1:0",
                    "serve.metrics_listen=", f"admin.socket={self.admin}", "serve.drain=0s"]
        command = [EPP, "serve", "--config-file", str(self.config)]
        for setting in settings:
            command += ["--set", setting]
        self.epp = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        self.addCleanup(self.epp.wait)
        self.addCleanup(self.epp.kill)
        self.until(lambda: self.get("/health") == 200)

    def get(self, path):
        """The status; 0 when the connection was refused or broken."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def until(self, what):
        deadline = time.monotonic() + 30
        while not what():
            self.assertIsNone(self.epp.poll(), pathlib.Path(self.log.name).read_text())
            self.assertLess(time.monotonic(), deadline, pathlib.Path(self.log.name).read_text())

    def test_reloads_refuse_nothing_and_a_signal_ends_it(self):
        for number in range(1, 4):
            former = self.log_text().count("generation serving")
            self.config.write_text(CONFIG % (self.port, number))
            while self.log_text().count("generation serving") == former:
                self.assertEqual(self.get("/health"), 200)
                self.assertIsNone(self.epp.poll())
        self.assertEqual(self.get("/v1/models"), 503)
        self.epp.send_signal(signal.SIGTERM)
        self.assertEqual(self.epp.wait(30), 0, self.log_text())

    def log_text(self):
        return pathlib.Path(self.log.name).read_text()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
