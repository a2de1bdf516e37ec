#!/bin/bash
# Installs what is missing, builds the preset "debug" and runs every test. Ends with CTest's summary.
#
# Usage: tests/run.sh [CTest option]...     for example: tests/run.sh -L unit
set -euo pipefail
cd "$(dirname "$0")/.."

deploy/install-deps.sh --tests
# Fuzzing is a preset of its own, with Clang.
cmake --preset debug -DBUILD_TESTING=ON
cmake --build build/debug
exec ctest --test-dir build/debug -LE fuzz -j "${EPP_TEST_JOBS:-2}" --output-on-failure "$@"
