#!/bin/sh
# Builds the release preset's benchmarks, runs them and prints one table of targets and what was
# measured. Options go to run.py (--full, --help).
set -eu
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
# Libraries that a configuration names at run time are targets of their own.
plugins=$(sed -n 's/^epp_in_tree_plugin(\([a-z0-9_-]*\).*/\1/p' plugins/*/*/CMakeLists.txt)
# shellcheck disable=SC2086
nice ninja -C build/release epp epp-sim extproc_load extproc_echo decide_bench scrape_bench replay \
  $plugins >build/release/bench_build.log || { tail -30 build/release/bench_build.log; exit 1; }
exec python3 tests/bench/run.py "$@"
