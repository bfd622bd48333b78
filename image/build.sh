#!/usr/bin/env bash
# Builds the image: `image/build.sh [amd64] [arm64]`, both when none is named.
#
# Stdout is for programs: one `name=value` per line: the archive, its digests, the binaries. Progress goes to
# stderr. The same commit built twice in the same folder gives the same digest.
# Exit codes: 0 built; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
say() { printf 'image: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

declare -A triple=([amd64]=x86_64-unknown-linux-gnu [arm64]=aarch64-unknown-linux-gnu)
wanted=("${@:-amd64}")
(($# > 0)) || wanted=(amd64 arm64)
target=${CARGO_TARGET_DIR:-target}
out=$target/image
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[[ -z $(git status --porcelain -- src Cargo.toml Cargo.lock 2>/dev/null) ]] || revision+=-dirty

# Static: the image has no C library. glibc finds names by /etc/hosts and DNS without its plug-ins.
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-Ctarget-feature=+crt-static
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-Ctarget-feature=+crt-static
if [[ $(uname -m) == x86_64 ]]; then
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
fi

certificates=/etc/ssl/certs/ca-certificates.crt
[[ -e $certificates ]] || die "no CA certificates; as root: apt-get install ca-certificates" 3
loaders=$(tests/lab/setup.sh --check 2>/dev/null | sed -n 's/^loaders=//p') || true
loaders=${REVEILLE_IMAGE_LOADERS:-${loaders:-/usr/lib/ipxe}}
[[ -e $loaders/ipxe.efi ]] || die "no iPXE in $loaders; tests/lab/setup.sh fetches it, or set REVEILLE_IMAGE_LOADERS" 3

mkdir -p "$out"
builds=()
for arch in "${wanted[@]}"; do
  to=${triple[$arch]:-}
  [[ -n $to ]] || die "$arch is neither amd64 nor arm64" 2
  if [[ $arch == arm64 && $(uname -m) == x86_64 ]]; then
    command -v aarch64-linux-gnu-gcc >/dev/null ||
      die "no cross compiler; as root: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross" 3
  fi
  [[ -d $(rustc --print sysroot)/lib/rustlib/$to ]] || rustup target add "$to" >&2 ||
    die "Rust has no $to; \`rustup target add $to\`" 3
  began=$SECONDS
  cargo build --release --locked --bin reveille --target "$to" >&2
  say "$arch built in $((SECONDS - began)) s"
  version_of_loaders=$(cat "$loaders/../version" 2>/dev/null || dpkg-query -W -f '${Version}' ipxe 2>/dev/null || echo unknown)
  image/sbom.py "$to" "$version_of_loaders" >"$out/reveille-$version-$arch.cdx.json"
  builds+=("$arch=$target/$to/release/reveille:$out/reveille-$version-$arch.cdx.json")
  echo "binary-$arch=$target/$to/release/reveille"
done
name=reveille-$version
((${#wanted[@]} > 1)) || name+=-${wanted[0]}
image/pack.py "$out/$name.tar" "localhost/reveille:$version" "$version" "$revision" "${builds[@]}" -- "$loaders" "$certificates"
echo "image=$(realpath "$out/$name.tar")"
echo "name=localhost/reveille:$version"
