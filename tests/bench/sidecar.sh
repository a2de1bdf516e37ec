#!/bin/sh
# Builds the release preset's sidecar and measures it beside nginx (Debian's nginx-light; without it
# there is nothing to compare with: apt-get install nginx-light). See README.md.
set -eu
cd "$(dirname "$0")/../.."
cmake --preset release >/dev/null
# All but the first are what a config gets that names no others.
plugins="pde-sidecar single-profile-handler max-score-picker openai-parser anthropic-parser
  vllmhttp-parser passthrough-parser metrics-data-source core-metrics-extractor"
# shellcheck disable=SC2086
nice ninja -C build/release epp sidecar_load $plugins >build/release/bench_build.log ||
  { tail -30 build/release/bench_build.log; exit 1; }
exec python3 -B tests/bench/sidecar.py "$@"
