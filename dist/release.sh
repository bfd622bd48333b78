#!/usr/bin/env bash
# Makes what a release is, in FOLDER (default: target/release-files):
#
#   reveille-VERSION-TARGET.tar.gz   program, unit, completions, manual pages, definitions, examples
#   reveille-VERSION.cdx.json        what is in the program (SBOM, CycloneDX)
#   reveille-VERSION.tgz             the chart, where charts/ and helm are
#   SHA256SUMS
#
# dist/release.sh [FOLDER]
#   TARGETS   what to build for; default: this machine. A foreign one needs its linker
#   PROFILE   cargo's; default: release
#   PROGRAM   a program that is built already, for this machine: nothing is built
#   ONLY      `archive` leaves out the rest
# Made again from the same commit with the same compiler, each file is the same to the byte.
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target_folder=${CARGO_TARGET_DIR:-target}
out=$(realpath -m "${1:-$target_folder/release-files}")
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille/release
cyclonedx_version=0.5.9
profile=${PROFILE:-release}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -1)
host=$(rustc -vV | sed -n 's/^host: //p')
# The time of every file: that of the commit.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

say() { printf 'release: %s\n' "$*" >&2; }
die() { say "$1"; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# === programs ===

folder_of() { [[ $1 == dev ]] && echo debug || echo "$1"; }

# Builds for a target and prints where the program is. No path of this machine stays in it.
build() {
  local target=$1
  if [[ -n ${PROGRAM:-} ]]; then
    echo "$PROGRAM"
    return
  fi
  local -a where=()
  [[ $target == "$host" ]] || where=(--target "$target")
  if [[ $target == aarch64-unknown-linux-gnu && $host != "$target" ]]; then
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}
    export CC_aarch64_unknown_linux_gnu=${CC_aarch64_unknown_linux_gnu:-aarch64-linux-gnu-gcc}
  fi
  RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$PWD=/reveille --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build --locked --profile "$profile" "${where[@]}" --bin reveille >&2
  echo "$target_folder/${where[1]:-}/$(folder_of "$profile")/reveille"
}

# A program of this version that runs here: it writes the pages of all.
runs_here() {
  local own
  own=$(build "$host")
  [[ $("$own" --version) == "reveille $version" ]] || die "$own is not reveille $version; build it anew"
  echo "$own"
}

# === archives ===

# Sorted, of nobody, of one time: the bytes depend on the files alone.
pack() {
  tar --create --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    --mtime="@$SOURCE_DATE_EPOCH" --directory "$work" "$1" | gzip --no-name --best >"$out/$1.tar.gz"
}

archive() {
  local target=$1 program=$2 writer=$3
  local name=reveille-$version-$target
  local folder=$work/$name
  mkdir -p "$folder"/{completions,systemd}
  install -m 755 "$program" "$folder/reveille"
  cp LICENSE README.md CHANGELOG.md "$folder/"
  cp -r crds docs examples "$folder/"
  cp dist/systemd/* "$folder/systemd/"
  "$writer" man "$folder/man/man1"
  "$writer" completions bash >"$folder/completions/reveille.bash"
  "$writer" completions zsh >"$folder/completions/_reveille"
  "$writer" completions fish >"$folder/completions/reveille.fish"
  pack "$name"
  say "$name.tar.gz"
}

# === what is in it ===

cyclonedx() {
  local own=$cache/cargo-cyclonedx-$cyclonedx_version
  if [[ ! -x $own/bin/cargo-cyclonedx ]]; then
    say "building cargo-cyclonedx $cyclonedx_version (once)"
    mkdir -p "$cache"
    CARGO_TARGET_DIR=$work/cyclonedx cargo install --quiet --locked --root "$own" \
      --version "$cyclonedx_version" cargo-cyclonedx >&2
  fi
  echo "$own/bin/cargo-cyclonedx"
}

# It writes beside Cargo.toml only, so it gets a copy of what it reads.
sbom() {
  local tool copy=$work/sbom
  tool=$(cyclonedx)
  mkdir "$copy"
  cp -r Cargo.toml Cargo.lock src benches tests "$copy/"
  (cd "$copy" && "$tool" cyclonedx --quiet --format json --spec-version 1.5 \
    --target "$host" --override-filename "reveille-$version.cdx")
  # Where it was made is nobody's business, and a random number makes two of one.
  python3 - "$copy" "$copy/reveille-$version.cdx.json" "$out/reveille-$version.cdx.json" <<'PYTHON'
import json, sys
copy, source, target = sys.argv[1:]
text = open(source).read().replace("path+file://" + copy, "path+file:///reveille").replace(copy, "/reveille")
bom = json.loads(text)
bom.pop("serialNumber", None)
json.dump(bom, open(target, "w"), indent=1, sort_keys=True)
open(target, "a").write("\n")
PYTHON
  say "reveille-$version.cdx.json, $(grep -c '"purl"' "$out/reveille-$version.cdx.json") components"
}

# === chart and image ===

chart() {
  local helm=${HELM:-helm}
  [[ -f charts/reveille/Chart.yaml ]] || { say "no chart: charts/reveille is not there"; return; }
  command -v "$helm" >/dev/null || { say "no chart: helm is not there (HELM=PROGRAM)"; return; }
  "$helm" package charts/reveille --version "$version" --app-version "$version" --destination "$work/chart" >&2
  # Packed anew: helm writes the time of day.
  mkdir "$work/unpacked" && tar --extract --gzip --file "$work/chart/reveille-$version.tgz" --directory "$work/unpacked"
  tar --create --format=gnu --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rwX,go+rX,go-w \
    --mtime="@$SOURCE_DATE_EPOCH" --directory "$work/unpacked" reveille |
    gzip --no-name --best >"$out/reveille-$version.tgz"
  say "reveille-$version.tgz (the chart)"
}

image() {
  local file
  if ! grep -q '^image:' Makefile; then
    say "no image: there is no \`make image\`"
  elif [[ -z ${IMAGE:-} ]]; then
    say "no image: IMAGE=yes makes one"
  else
    make image >"$work/image.log" || { cat "$work/image.log" >&2; die "make image failed"; }
    # It prints a line image=FILE for each architecture.
    while read -r file; do
      cp "$file" "$out/"
      say "$(basename "$file")"
    done < <(sed -n 's/^image=//p' "$work/image.log")
  fi
}

# === all of it ===

rm -rf "$out"
mkdir -p "$out"
writer=$(realpath "$(runs_here)")
for target in ${TARGETS:-$host}; do
  [[ -z ${PROGRAM:-} || $target == "$host" ]] || die "PROGRAM is for this machine ($host), not for $target"
  archive "$target" "$(build "$target")" "$writer"
done
if [[ ${ONLY:-} != archive ]]; then
  sbom
  chart
  image
fi
(cd "$out" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
say "all of it in $out"
