"""Using the SDK as a stranger would: installed, from another project.

Shared by the tests that build projects outside of the tree. Everything runs in temporary folders.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

NEW_ENOUGH_RUST = (1, 63)


def run(*command, **kwargs):
    """(exit code, command and output as text)"""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **kwargs)
    return done.returncode, f"{' '.join(command)}\n{done.stdout}"


def must(*command, **kwargs):
    code, text = run(*command, **kwargs)
    if code != 0:
        raise AssertionError(f"exit code {code}: {text}")
    return text


def rust():
    """{"CARGO": ..., "RUSTC": ...} of every usable installation: the first in PATH, and Debian's."""
    found = {}
    for cargo in (shutil.which("cargo"), "/usr/bin/cargo"):
        rustc = cargo and pathlib.Path(cargo).parent / "rustc"
        if not cargo or not rustc.exists():
            continue
        code, text = run(rustc, "--version")
        word = text.splitlines()[-1].split()
        if code == 0 and word[0] == "rustc" and tuple(map(int, word[1].split(".")[:2])) >= NEW_ENOUGH_RUST:
            found[word[1]] = {"CARGO": cargo, "RUSTC": str(rustc)}
    return found


class Sdk:
    """The SDK, installed below a temporary folder."""

    def __init__(self, root, sdk, cmake="cmake", cxx=None, cc=None):
        self.root, self.cmake, self.cxx, self.cc = pathlib.Path(root), cmake, cxx, cc
        self.prefix = self.root / "prefix"
        self.generator = ["-G", "Ninja"] if shutil.which("ninja") else []
        build = self.root / "sdk-build"
        # Another prefix than the configured one: what is installed can be moved.
        must(cmake, *self.generator, "-S", sdk, "-B", build, *self.compilers(),
             f"-DCMAKE_INSTALL_PREFIX={self.root}/elsewhere")
        must(cmake, "--install", build, "--prefix", self.prefix)

    def compilers(self):
        return ([f"-DCMAKE_CXX_COMPILER={self.cxx}"] if self.cxx else []) + (
            [f"-DCMAKE_C_COMPILER={self.cc}"] if self.cc else [])

    def configure(self, source, build, *options, build_type="Debug"):
        return run(self.cmake, *self.generator, "-S", source, "-B", build, *self.compilers(),
                   f"-DCMAKE_BUILD_TYPE={build_type}", f"-DCMAKE_PREFIX_PATH={self.prefix}",
                   *options)

    def build_and_test(self, source, build, build_type="Debug"):
        """Builds a project and runs its tests. Its library: build/NAME.so and .toml."""
        code, text = self.configure(source, build, build_type=build_type)
        if code != 0:
            raise AssertionError(text)
        must(self.cmake, "--build", build)
        must("ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error")
        library, = pathlib.Path(build).glob("*.so")
        return library

    def environment(self):
        """With PKG_CONFIG_PATH set."""
        pc_file, = self.prefix.rglob("epp-sdk.pc")
        return {**os.environ, "PKG_CONFIG_PATH": str(pc_file.parent)}


def cargo(source, target, tools, command, *arguments):
    return must(tools["CARGO"], command, "--offline", "--target-dir", target, *arguments, cwd=source,
                env={**os.environ, "RUSTC": tools["RUSTC"]})


def build_rust(source, target, tools, test=True):
    """Builds a cargo project; its library, under the name of its manifest."""
    source, target = pathlib.Path(source), pathlib.Path(target)
    if test:
        cargo(source, target, tools, "test")
    cargo(source, target, tools, "build", "--release")
    name = tomllib.loads((source / "plugin.toml").read_text())["name"]
    shutil.copy(source / "plugin.toml", target / f"{name}.toml")
    return shutil.copy(target / "release/libplugin.so", target / f"{name}.so")


def check_library(library, probe, symbols):
    """What a host looks at before it creates an instance."""
    library = pathlib.Path(library)
    must(sys.executable, "-B", symbols, library)
    said = json.loads(must(probe, library).split("\n", 1)[1])
    manifest = tomllib.loads(library.with_suffix(".toml").read_text())
    if said["faults"]:
        raise AssertionError(f"{library}: {said['faults']}")
    for key in ("name", "version", "types"):
        if said[key] != manifest[key]:
            raise AssertionError(f"{library}: {key} is {said[key]}, the manifest says {manifest[key]}")
    if library.stem != said["name"] or not manifest["license"] or not manifest["description"]:
        raise AssertionError(f"{library}: {said} {manifest}")
    check = pathlib.Path(probe).parent / "epp-plugin-check"
    if check.exists():
        must(check, "--only-failed", library)


def check_config(readme, library, epp, plugin_dir):
    """The host accepts the configuration that a README shows, with this library."""
    text = re.search(r"^```yaml\n(.*?)^```$", pathlib.Path(readme).read_text(), re.M | re.S)[1]
    folder = pathlib.Path(tempfile.mkdtemp(dir=pathlib.Path(library).parent))
    for suffix in (".so", ".toml"):
        shutil.copy(pathlib.Path(library).with_suffix(suffix), folder)
    config = folder / "config.yaml"
    config.write_text("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n" + text)
    must(epp, "check", config, "--set", f"plugins.dirs={plugin_dir},{folder}")
