#!/usr/bin/env python3
"""One scorer, built by every toolchain that is here, in one process: same scores, nothing thrown out.

  matrix_test.py SDK_DIR CXX CC CLANGXX MATRIX_HOST

GCC and Clang with libstdc++, Clang with libc++, each with a shared and a static runtime; C11; Rust;
all of it once without and once with optimisation. Toolchains that are missing are left out and
named. Runs again with jemalloc in front of every malloc, when it is installed.
"""

import concurrent.futures
import ctypes.util
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "sdk/tests"))
import stranger  # noqa: E402

SDK, CXX, CC, CLANGXX, HOST = sys.argv[1:6]
LEVELS = {"debug": ["-O0", "-g"], "release": ["-O2", "-DNDEBUG"]}
STATIC = ["-static-libstdc++", "-static-libgcc"]


def has_libcxx(compiler):
    return stranger.run(compiler, "-stdlib=libc++", "-x", "c++", "-fsyntax-only", "-", "-include",
                        "vector", input="")[0] == 0


def toolchains():
    """name -> (compiler, flags, source, {runtime: link flags})"""
    out = {"gcc": (CXX, ["-std=c++20"], "scorer.cc", {"shared": [], "static": STATIC}),
           "c11": (CC, ["-std=c11"], "scorer.c", {"shared": ["-lm"]})}
    if shutil.which(CLANGXX):
        out["clang-libstdcxx"] = (CLANGXX, ["-std=c++20"], "scorer.cc",
                                  {"shared": [], "static": STATIC})
        out["clang-c11"] = (CLANGXX, ["-x", "c", "-std=c11"], "scorer.c", {"shared": ["-lm"]})
        if has_libcxx(CLANGXX):
            out["clang-libcxx"] = (
                CLANGXX, ["-std=c++20", "-stdlib=libc++"], "scorer.cc",
                {"shared": ["-stdlib=libc++"],
                 "static": ["-nostdlib++", "-Wl,-Bstatic", "-lc++", "-lc++abi", "-Wl,-Bdynamic",
                            "-lpthread", "-static-libgcc"]})
    return out


class Matrix(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = pathlib.Path(tempfile.mkdtemp(prefix="epp-matrix-"))
        cls.addClassCleanup(shutil.rmtree, cls.root, ignore_errors=True)
        jobs = [(name, level) for name in toolchains() for level in LEVELS]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            built = list(pool.map(lambda job: cls.build(*job), jobs))
        cls.libraries = [library for libraries in built for library in libraries]
        cls.libraries += cls.build_rust()

    @classmethod
    def build(cls, name, level):
        compiler, flags, source, runtimes = toolchains()[name]
        built = cls.root / f"{name}-{level}.o"
        stranger.must(compiler, *flags, *LEVELS[level], f"-I{SDK}/include", f'-DNAME="{name}"',
                      "-Wall", "-Wextra", "-Werror", "-fPIC", "-fvisibility=hidden", "-c",
                      HERE / source, "-o", built)
        libraries = []
        for runtime, link in runtimes.items():
            libraries.append(cls.root / f"{name}-{runtime}-{level}.so")
            stranger.must(compiler, "-shared", built, f"-Wl,--version-script={SDK}/cmake/epp_plugin.map",
                          "-Wl,-z,defs", "-Wl,-z,now", *link, "-o", libraries[-1])
        return libraries

    @classmethod
    def build_rust(cls):
        libraries = []
        for version, tools in stranger.rust().items():
            source = shutil.copytree(pathlib.Path(SDK) / "examples/rust-scorer", cls.root / f"rust-{version}")
            shutil.copy(HERE / "scorer.rs", source / "src/lib.rs")
            os.environ["NAME"] = "rust"
            for level, options in (("debug", ()), ("release", ("--release",))):
                stranger.cargo(source, source / "target", tools, "build", *options)
                libraries.append(cls.root / f"rust-{version}-{level}.so")
                shutil.copy(source / "target" / level / "libplugin.so", libraries[-1])
        return libraries

    def host(self, **environment):
        throwing = [path for path in self.libraries if "c11" not in path.name]
        silent = [path for path in self.libraries if "c11" in path.name]
        # The runtimes of others keep what they like; what is ours is looked at in other tests.
        return stranger.must(HOST, "--throws", *throwing, "--silent", *silent,
                             env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0",
                                  "RUST_BACKTRACE": "0", **environment})

    def test_same_scores_and_nothing_escapes(self):
        print(self.host().splitlines()[-1], flush=True)

    def test_with_another_allocator(self):
        jemalloc = ctypes.util.find_library("jemalloc")
        if jemalloc is None:
            self.skipTest("no libjemalloc")
        self.host(LD_PRELOAD=jemalloc)

    def test_what_is_here(self):
        missing = [name for name in ("clang-libstdcxx", "clang-libcxx") if name not in toolchains()]
        missing += [] if stranger.rust() else ["rust"]
        if missing:
            self.skipTest(f"not here: {', '.join(missing)}")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
