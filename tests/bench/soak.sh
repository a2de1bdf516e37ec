#!/bin/bash
# Builds the release preset and changes config and plugins under load. See README.md.
#
# Usage: tests/bench/soak.sh [--quick] [--preset NAME] [soak.py option]...
set -euo pipefail
cd "$(dirname "$0")/../.."

preset=release
if [ "${1:-}" = --preset ]; then
  preset=$2
  shift 2
fi
deploy/install-deps.sh
[ -e "build/$preset/build.ninja" ] && grep -q '^BUILD_TESTING:BOOL=ON' "build/$preset/CMakeCache.txt" ||
  cmake --preset "$preset" -DBUILD_TESTING=ON > /dev/null
ninja -C "build/$preset" epp epp-sim epp_plugins extproc_load soak-marker-1 soak-marker-2
exec python3 -B tests/bench/soak.py --build "build/$preset" "$@"
