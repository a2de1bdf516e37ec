#!/usr/bin/env python3
"""The Debian packages as their users meet them: built, installed into a clean Debian, used, removed.

Everything that is mounted or started lives in namespaces that end with this process. Exits 77
(skipped, for CTest) where that is not possible.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

REPO = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77
INSIDE = "EPP_PACKAGES_TEST_INSIDE"
DEADLINE_S = 60
SETTINGS = ("--settings", "/etc/epp/epp.toml")
# What installing, using and removing any package changes.
NOISE = re.compile(r"(dev|proc|run|sys|tmp|root|var/(log|cache/ldconfig|lib/(dpkg|apt|systemd)))(/|$)"
                   r"|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|etc/(ld\.so\.cache|\.pwd\.lock)$")

options = None


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def run(*command, **more):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False, timeout=600, **more)
    if done.returncode != 0:
        raise AssertionError(f"{command} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def apt_sources():
    """The machine's Debian repositories, as lines of a sources.list."""
    lines = run("apt-get", "indextargets", "--format", "$(ORIGIN) $(CREATED_BY) $(REPO_URI) "
                "$(RELEASE) $(COMPONENT)").splitlines()
    wanted = (line.split(maxsplit=2) for line in lines)
    return "".join(sorted({f"deb {rest}\n" for origin, kind, rest in wanted
                           if (origin, kind) == ("Debian", "Packages")}))


def wait_until(what, condition):
    until = time.monotonic() + DEADLINE_S
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def admin_get(socket_path, path):
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(socket_path))
        admin.sendall(f"GET {path} HTTP/1.1\r\nHost: epp\r\nConnection: close\r\n\r\n".encode())
        with admin.makefile("rb") as answer:
            return answer.read().decode()


class Root:
    """A Debian in a folder, with what the packages depend on."""

    def __init__(self, path, depends):
        self.path = path
        apt = path.parent / "apt.conf"
        dump = run("apt-config", "dump", "Acquire").splitlines()
        apt.write_text("".join(f"{line}\n" for line in dump
                               if re.match(r"Acquire::(https?|Check-|Retries)", line)))
        run("mmdebstrap", "--mode=root", "--variant=apt", f"--aptopt={apt}",
            "--dpkgopt=force-unsafe-io",
            f"--include={','.join(sorted(depends))}", "", path, "-", input=apt_sources())
        run("mount", "-t", "proc", "proc", path / "proc")

    def command(self, command, user=None):
        who = [f"--userspec={user}:{user}"] if user else []
        return ["chroot", *who, str(self.path), "env", "-i", "LC_ALL=C.UTF-8",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command]

    def run(self, *command):
        return run(*self.command(command))

    def start(self, *command, user=None):
        return subprocess.Popen(self.command(command, user), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def files(self):
        found = set()
        for folder, folders, files in os.walk(self.path):
            base = pathlib.Path(folder).relative_to(self.path)
            folders[:] = [f for f in folders if not NOISE.match(str(base / f))]
            found.update(str(base / f) for f in (*folders, *files))
        return {f for f in found if not NOISE.match(f)}


def line_of(process, text):
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"{process.args} ended without saying {text}")


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="epp-packages-"))
        cls.addClassCleanup(cls.remove)
        run(options.cmake, "--build", options.build, "--target", "epp", "epp-sim", "epp_plugins",
            "epp_package_files")
        cls.packages = cls.pack("first")

    @classmethod
    def remove(cls):
        subprocess.run(["umount", cls.work / "root/proc"], check=False, capture_output=True)
        shutil.rmtree(cls.work, ignore_errors=True)

    @classmethod
    def pack(cls, name):
        run(pathlib.Path(options.cmake).with_name("cpack"), "-G", "DEB", "-B", cls.work / name,
            "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip", cwd=options.build)
        return {p.name.split("_")[0]: p for p in (cls.work / name).glob("*.*deb")}

    @classmethod
    def field(cls, package, name):
        return run("dpkg-deb", "-f", cls.packages[package], name).strip()

    def test_same_bytes_twice(self):
        self.assertLessEqual({"epp", "epp-sdk", "epp-sim", "epp-dbgsym"}, set(self.packages))
        def digests(packages):
            return {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in packages.items()}
        self.assertEqual(digests(self.packages), digests(self.pack("second")))

    def test_lintian(self):
        if not shutil.which("lintian"):
            self.skipTest("no lintian")
        run("lintian", "--fail-on", "error,warning", "--allow-root", *self.packages.values())

    def test_manual_pages(self):
        unpacked = self.work / "unpacked"
        run("dpkg-deb", "-x", self.packages["epp"], unpacked)
        pages = sorted(p.name[:-3] for p in (unpacked / "usr/share/man").rglob("*.gz"))
        commands = re.findall(r"^  (\w+) ", run(unpacked / "usr/bin/epp", "-h"), re.M)
        self.assertGreater(len(commands), 5)
        self.assertLessEqual({"epp.1", "epp.toml.5", "epp-config.5", "epp-endpoints.5",
                              "epp-plugins.7", *(f"epp-{c}.1" for c in commands)}, set(pages))
        if not shutil.which("man"):
            self.skipTest("no man")
        for page in (unpacked / "usr/share/man").rglob("*.gz"):
            done = subprocess.run(
                ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], text=True,
                env={**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80"}, capture_output=True,
                check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""), page)

    def test_first_run_to_purge(self):
        depends = {"g++", "pkg-config", "passwd"}
        for package in ("epp", "epp-sim"):
            depends |= {d.split()[0] for d in self.field(package, "Depends").split(", ")}
        root = Root(self.work / "root", depends)
        before = root.files()
        for package in ("epp", "epp-sdk", "epp-sim"):
            shutil.copy(self.packages[package], root.path / "tmp" / f"{package}.deb")
        root.run("dpkg", "-i", *(f"/tmp/{p}.deb" for p in ("epp", "epp-sdk", "epp-sim")))
        self.installed(root)
        self.plugin_is_built(root)
        self.serves(root)
        self.removed(root, before)

    def installed(self, root):
        self.assertIn("epp:", (root.path / "etc/passwd").read_text())
        wants = root.path / "etc/systemd/system/multi-user.target.wants/epp.service"
        self.assertTrue(wants.is_symlink(), "the unit is not enabled")
        checked = root.run("epp", "check", *SETTINGS)
        self.assertIn("/etc/epp/endpoints.yaml: 0 endpoints", checked)
        settings = root.run("epp", "serve", *SETTINGS, "--print-settings")
        self.assertIn('dirs = ["/usr/lib/epp/plugins", "/etc/epp/plugins"]', settings)
        own = root.run("epp", "plugins", "queue-scorer")
        self.assertIn("/usr/lib/epp/plugins/queue-scorer.so", own, "found beside the executable")
        root.run("bash", "-c", ". /usr/share/bash-completion/completions/epp && complete -p epp")

    def plugin_is_built(self, root):
        """README: "Your own plugin in five minutes"."""
        readme = (REPO / "README.md").read_text()
        chapter = readme[readme.index("## Your own plugin in five minutes"):]
        source = re.search(r"^```cpp\n(.*?)^```$", chapter, re.M | re.S)[1]
        compile_line = re.search(r"^\$ (g\+\+ .*idle-scorer\.so)$", chapter, re.M)[1]
        (root.path / "tmp/plugin.cc").write_text(source)
        root.run("sh", "-c", f"cd /tmp && {compile_line}")

    def serves(self, root):
        sim = root.start("epp-sim", "--port", "0")
        self.addCleanup(sim.kill)
        port = re.search(r"http://[\d.]+:(\d+)", line_of(sim, "listening on"))[1]
        for folder in ("run", "var/lib", "var/cache"):  # as the unit has them made
            (root.path / folder / "epp").mkdir(exist_ok=True)
            root.run("chown", "epp:epp", f"/{folder}/epp")
        epp = self.serve(root)
        ready = json.loads(line_of(epp, '"msg":"ready"'))

        def status():
            return json.loads(root.run("epp", "status", "--json"))
        self.assertEqual(status()["config"]["generation"], 1)
        self.assertTrue(any((root.path / "var/cache/epp/modules").glob("*.so")),
                        "plugins run from private copies in the cache directory")
        metrics = ready["metrics"].rsplit(":", 1)[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/readyz", timeout=10) as answer:
            self.assertEqual(answer.status, 200)

        (root.path / "etc/epp/endpoints.yaml").write_text(
            f"endpoints: [{{name: sim-0, address: 127.0.0.1, port: {port}}}]\n")
        wait_until("the server is scraped", lambda: status()["pool"]["endpoints"]["fresh"] == 1)

        shutil.copy(root.path / "tmp/idle-scorer.so", root.path / "etc/epp/plugins")
        self.assertRegex(root.run("epp", "plugins", *SETTINGS), r"(?m)^idle-scorer +scorer ")
        config = root.path / "etc/epp/config.yaml"
        text = config.read_text()
        text = text.replace("  - type: queue-scorer\n", "  - type: queue-scorer\n  - type: idle-scorer\n")
        text = text.replace("      - {pluginRef: queue-scorer, weight: 2}\n",
                            "      - {pluginRef: idle-scorer, weight: 5}\n")
        config.with_suffix(".new").write_text(text)
        config.with_suffix(".new").rename(config)
        self.assertIn("idle-scorer x5", root.run("epp", "check", *SETTINGS))
        self.assertIn("generation ", root.run("epp", "reload", "--wait"))
        self.assertGreaterEqual(status()["config"]["generation"], 2)
        self.assertIn('"idle-scorer"', admin_get(root.path / "run/epp/admin.sock", "/admin/plugins"))

        epp.send_signal(signal.SIGTERM)
        rest = epp.communicate(timeout=DEADLINE_S)[0]
        self.assertEqual(epp.returncode, 0, rest)
        sim.terminate()
        sim.communicate()
        self.serves_without_execution(root)

    def serves_without_execution(self, root):
        """Where the cache directory forbids execution, plugins run from memory, and epp says so."""
        cache = root.path / "var/cache/epp"
        run("mount", "-t", "tmpfs", "-o", f"noexec,uid={cache.stat().st_uid}", "tmpfs", cache)
        epp = self.serve(root)
        self.assertIn("forbids execution", line_of(epp, "note on a library"))
        line_of(epp, '"msg":"ready"')
        epp.send_signal(signal.SIGTERM)
        epp.communicate(timeout=DEADLINE_S)
        run("umount", cache)

    def serve(self, root):
        epp = root.start("epp", "serve", *SETTINGS, "--grpc-port", "0", "--grpc-health-port", "0",
                         "--metrics-port", "0", "--drain-timeout", "0s", user="epp")
        self.addCleanup(epp.kill)
        return epp

    def removed(self, root, before):
        root.run("dpkg", "-r", "epp", "epp-sdk", "epp-sim")
        left = root.files() - before
        conffiles = {f"etc/epp/{f}" for f in ("epp.toml", "config.yaml", "endpoints.yaml")}
        ours = {"etc/epp", "etc/epp/plugins", "etc/epp/plugins/idle-scorer.so"}
        state = {f for f in left if re.match(r"var/(lib|cache)/epp(/|$)", f)}
        unit = {f for f in left if f.startswith("etc/systemd/system")}
        self.assertEqual(left - state - unit, conffiles | ours)
        root.run("dpkg", "-P", "epp")
        left = root.files() - before
        self.assertEqual({f for f in left if not f.startswith("etc/systemd/system")}, ours)
        self.assertFalse(any("epp" in f for f in left - ours), left)


def main():
    global options
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=REPO / "build/debug")
    parser.add_argument("--cmake", default=shutil.which("cmake") or "cmake")
    options, rest = parser.parse_known_args()
    options.build = options.build.absolute()
    if INSIDE not in os.environ:
        if os.geteuid() != 0:
            skip("not root")
        for program in ("mmdebstrap", "unshare", "dpkg-shlibdeps"):
            if not shutil.which(program):
                skip(f"no {program}; deploy/install-deps.sh --tests installs it")
        if not apt_sources():
            skip("apt knows no Debian repository; apt-get update")
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode != 0:
            skip("no namespaces here")
        os.environ[INSIDE] = "1"
        os.execvp(apart[0], [*apart, sys.executable, "-B", *sys.argv])
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


if __name__ == "__main__":
    main()
