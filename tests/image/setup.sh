#!/usr/bin/env bash
# Makes ready what the image's checks need: a cross compiler and Rust's library for arm64, an emulator that
# starts what it makes, CA certificates and the loaders.
#
#   tests/image/setup.sh          install what is missing (root), fetch, print the paths
#   tests/image/setup.sh --check  look only: install and fetch nothing
#
# Exit codes: 0 ready; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
check=()
[[ ${1:-} == --check ]] && check=(--check)
say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

missing=()
need() { [[ -e $1 ]] || command -v "$1" >/dev/null || missing+=("$2"); }
need python3 python3
# For the page about containers; `podman` asks for the rest of itself.
need podman podman
need runc runc
need /etc/ssl/certs/ca-certificates.crt ca-certificates
if [[ $(uname -m) == x86_64 ]]; then
  need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
  need /usr/aarch64-linux-gnu/lib/libc.a libc6-dev-arm64-cross
  need qemu-aarch64-static qemu-user-static
fi
if ((${#missing[@]} > 0)); then
  ((${#check[@]} == 0 && EUID == 0)) && command -v apt-get >/dev/null ||
    die "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}" 3
  say "installing ${missing[*]}"
  apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "${missing[@]}" >&2 ||
    die "${missing[*]} did not come; as root: apt-get update" 3
fi

target=aarch64-unknown-linux-gnu
if [[ ! -d $(rustc --print sysroot)/lib/rustlib/$target ]]; then
  ((${#check[@]} == 0)) && command -v rustup >/dev/null ||
    die "Rust has no $target; \`rustup target add $target\`" 3
  say "fetching Rust's library for arm64 (25 MB)"
  rustup target add $target >&2 || die "Rust's library for arm64 did not come; \`rustup target add $target\` says more" 3
fi

tests/lab/setup.sh "${check[@]}" | grep '^loaders='
