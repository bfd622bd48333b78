#!/usr/bin/env bash
# Builds the image: `image/build.sh [amd64] [arm64]`, both when none is named.
#
# Stdout is for programs: one `name=value` per line: the archive, its digests, the binaries. Progress goes to
# stderr. The same commit built twice gives the same digest.
#   REVEILLE_IMAGE_PROFILE   cargo's profile: `release` unless it is named. `trial` is the same, not optimised, in a
#                            tenth of the compiler's time; its target folder lies in the cache, where a fresh
#                            checkout finds the dependencies. `dev` is for `make edge`: the program as `cargo
#                            build` leaves it, of this host, with the C library that it is linked to
#   REVEILLE_IMAGE_FEATURES  cargo's features: `otlp`; none unless they are named
#   REVEILLE_IMAGE_LOADERS   a folder with iPXE
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
profile=${REVEILLE_IMAGE_PROFILE:-release}
out=${CARGO_TARGET_DIR:-target}/image
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
[[ -z $(git status --porcelain -- src Cargo.toml Cargo.lock 2>/dev/null) ]] || revision+=-dirty

# Static: the image has no C library. glibc finds names by /etc/hosts and DNS without its plug-ins.
flags=-Ctarget-feature=+crt-static
if [[ $profile == dev ]]; then
  flags=
elif [[ $profile == release ]]; then
  # Where it was built is not in what is shipped.
  flags+=" --remap-path-prefix=$PWD=/reveille --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
else
  cache=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille/image")
  CARGO_TARGET_DIR=$cache/$profile-$({ rustc -vV; cat Cargo.toml Cargo.lock; echo "$flags"; } | sha256sum | cut -c1-12)
  export CARGO_TARGET_DIR
  mkdir -p "$CARGO_TARGET_DIR"
  touch "$CARGO_TARGET_DIR"
  # Those of other versions that nobody used for a fortnight.
  find "$cache" -mindepth 1 -maxdepth 1 -mtime +14 -exec rm -rf {} +
fi
target=${CARGO_TARGET_DIR:-target}
[[ -z $flags ]] ||
  export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags
if [[ $(uname -m) == x86_64 ]]; then
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
fi

certificates=/etc/ssl/certs/ca-certificates.crt
[[ -e $certificates ]] || die "no CA certificates; as root: apt-get install ca-certificates" 3
loaders=$(tests/lab/setup.sh --check 2>/dev/null | sed -n 's/^loaders=//p') || true
loaders=${REVEILLE_IMAGE_LOADERS:-${loaders:-/usr/lib/ipxe}}
[[ -e $loaders/ipxe.efi ]] || die "no iPXE in $loaders; tests/lab/setup.sh fetches it, or set REVEILLE_IMAGE_LOADERS" 3

mkdir -p "$out" "$target"
# One at a time: another checkout's program would be in the same place.
exec 9>"$target/.image-lock"
flock 9
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
  binary=$out/$arch/reveille
  mkdir -p "$out/$arch"
  if [[ $profile == dev ]]; then
    [[ $(rustc -vV | sed -n 's/^host: //p') == "$to" ]] || die "profile dev builds for this host only, which is not $arch" 2
    # Without --target: what the tests built already.
    cargo build --features "${REVEILLE_IMAGE_FEATURES:-}" --locked --bin reveille >&2
    strip -o "$binary" "$target/debug/reveille"
    mapfile -t libraries < <(ldd "$binary" | grep -o '/[^ ]*')
  else
    cargo build --profile "$profile" --features "${REVEILLE_IMAGE_FEATURES:-}" --locked --bin reveille --target "$to" >&2
    cp "$target/$to/$profile/reveille" "$binary"
    libraries=()
  fi
  say "$arch built in $((SECONDS - began)) s ($profile)"
  version_of_loaders=$(cat "$loaders/../version" 2>/dev/null || dpkg-query -W -f '${Version}' ipxe 2>/dev/null || echo unknown)
  image/sbom.py "$to" "$version_of_loaders" >"$out/reveille-$version-$arch.cdx.json"
  builds+=("$arch=$binary:$out/reveille-$version-$arch.cdx.json")
  echo "binary-$arch=$binary"
done
name=reveille-$version
((${#wanted[@]} > 1)) || name+=-${wanted[0]}
image/pack.py "$out/$name.tar" "localhost/reveille:$version" "$version" "$revision" "${builds[@]}" -- "$loaders" "$certificates" "${libraries[@]}"
echo "image=$(realpath "$out/$name.tar")"
echo "name=localhost/reveille:$version"
