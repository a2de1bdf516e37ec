#!/bin/bash
# From a bare Debian 12 to requests through Envoy: installs what is missing, builds, starts three
# simulated model servers, epp and Envoy on loopback, sends requests and says why each went where.
# What it prints it has checked; it exits 1 when something was not so.
#
# Usage: deploy/quickstart.sh [--once] [--preset release|debug] [--free-ports]
#   --once         end after the requests instead of staying up until Ctrl-C
#   --preset       which build; release by default
#   --free-ports   any ports, when the usual ones (8081, 9002, ...) are taken
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release
run=()
while [ $# -gt 0 ]; do
  case "$1" in
    --once | --free-ports) run+=("$1") ;;
    --preset)
      shift
      preset=${1:-}
      ;;
    *) preset= ;;
  esac
  [ $# -eq 0 ] || shift
done
if [ "$preset" != release ] && [ "$preset" != debug ]; then
  sed -n 's/^# Usage: /usage: /p' "$0" >&2
  exit 2
fi

# report STEP TEXT STARTED
report() {
  printf '[%s/5] %-64s %2d m %02d s\n' "$1" "$2" $(((SECONDS - $3) / 60)) $(((SECONDS - $3) % 60))
}

start=$SECONDS
deploy/install-deps.sh
report 1 "packages    complete" "$start"

start=$SECONDS
mkdir -p build/quickstart
log=build/quickstart/build.log
[ -e "build/$preset/build.ninja" ] || cmake --preset "$preset" -DBUILD_TESTING=OFF > "$log" 2>&1 ||
  { tail -n 30 "$log" >&2; exit 1; }
build=(ninja -C "build/$preset" epp epp-sim epp_plugins)
if [ -t 1 ]; then
  echo "[2/5] build       preset $preset, the first one takes minutes"
  "${build[@]}"
else
  "${build[@]}" > "$log" 2>&1 || { tail -n 60 "$log" >&2; exit 1; }
fi
report 2 "build       epp, epp-sim, plugins; preset $preset" "$start"

exec build/venv/bin/python -B deploy/quickstart.py --bin "build/$preset/bin" ${run[@]+"${run[@]}"}
