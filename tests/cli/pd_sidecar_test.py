"""The launcher that takes the flags of llm-d's pd-sidecar: what becomes of them.

Arguments: the launcher, the epp executable.
"""
import os
import subprocess
import sys
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

    def test_what_cannot_be_done_is_refused(self):
        for arguments in ([], ["--secure-proxy=true"], ["--secure-proxy=maybe"],
                          ["--secure-proxy=false", "--enable-ssrf-protection"],
                          ["--secure-proxy=false", "--enable-tls=prefiller"],
                          ["--secure-proxy=false", "--configuration=port: 1"],
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


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
