#!/usr/bin/env bash
# Makes ready what the Nix checks need: nix itself, a formatter and linters.
#
#   tests/nix/setup.sh          fetch and build what is missing, print the paths
#   tests/nix/setup.sh --check  look only: fetch nothing, build nothing
#
# Progress goes to stderr. Stdout is for tests/nix/run.sh: one `name=path` per line.
# Nix is the system's, else Debian's package, unpacked into the cache and not installed: it evaluates and
# needs no daemon, users or /nix. What is built lies in the cache by version.
# Exit codes: 0 ready; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

cache=${REVEILLE_NIX_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille/nix}
nixfmt_version=0.5.3
deadnix_version=1.3.1
actionlint_version=1.7.12
may_fetch=true
[[ ${1:-} == --check ]] && may_fetch=false

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

# `keep NAME COMMAND…` runs COMMAND with a fresh folder as last argument and moves it to $cache/NAME when
# it succeeded: of two runs that race one wins, and half a folder is never seen.
keep() {
  local name=$1 fresh
  shift
  [[ -e $cache/$name ]] && return
  $may_fetch || die "not there yet: $name; tests/nix/setup.sh fetches it" 3
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/.making-XXXXXX")
  chmod 755 "$fresh"
  if ! "$@" "$fresh"; then
    rm -rf "$fresh"
    return 1
  fi
  mv -T -n "$fresh" "$cache/$name"
  rm -rf "$fresh"
}

# === nix ===

# Flakes want 2.4; what is older than 2.8 was not tried.
nix_fits() {
  local found
  found=$("$1" --version 2>/dev/null) || return 1
  found=${found##* }
  [[ $(printf '%s\n' "$found" 2.8 | sort -V | head -1) == 2.8 ]]
}

candidate() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

fetch_nix() {
  local folder=$1 package
  say "fetching nix $(candidate nix-bin) (Debian's package, unpacked and not installed)"
  # What is not installed here yet; what would only be upgraded is good enough.
  local -a packages
  mapfile -t packages < <(apt-get install --simulate --no-install-recommends nix-bin 2>/dev/null |
    awk '/^Inst/ && $3 !~ /^\[/ { print $2 }')
  ((${#packages[@]} > 0)) || packages=(nix-bin)
  (cd "$folder" && apt-get -qq download -o APT::Sandbox::User=root "${packages[@]}" >&2) || return 1
  for package in "$folder"/*.deb; do
    dpkg-deb -x "$package" "$folder/root" || return 1
  done
  rm "$folder"/*.deb
  write_nix "$folder"
}

# A program that finds its libraries and writes nowhere but into the cache.
write_nix() {
  cat >"$1/nix" <<'PROGRAM'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
libraries=$here/root/usr/lib
for folder in "$libraries"/*-linux-gnu "$libraries"/*-linux-gnu/nix "$libraries"/nix; do
  LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
exec "$here/root/usr/bin/nix" "$@"
PROGRAM
  chmod 755 "$1/nix" && "$1/nix" --version >/dev/null
}

nix_program() {
  local name
  if [[ -x $(command -v nix) ]] && nix_fits nix; then
    command -v nix
    return
  fi
  command -v apt-get >/dev/null || die "nix is missing, and this is neither Debian nor Ubuntu; install nix 2.8 or later" 3
  if [[ -z $(candidate nix-bin) ]] && ((EUID == 0)) && $may_fetch; then
    say "reading the package lists"
    apt-get -qq update >&2 || true
  fi
  [[ -n $(candidate nix-bin) ]] || die "nix is missing and the package lists offer none; run apt-get update as root, or install nix" 3
  name="nix-$(candidate nix-bin)"
  name=${name//[^A-Za-z0-9.+~-]/_}
  keep "$name" fetch_nix || die "nix did not come; install nix 2.8 or later" 3
  nix_fits "$cache/$name/nix" || die "the nix in $cache/$name does not run here" 3
  echo "$cache/$name/nix"
}

# === formatter and linter ===

build_tool() {
  local crate=$1 version=$2 folder=$3
  say "building $crate $version (a minute, once)"
  # A target folder of its own, gone with it: the project's has other settings.
  CARGO_TARGET_DIR=$folder/target cargo install --quiet --locked --root "$folder" \
    --version "$version" "$crate" >&2 && rm -rf "$folder/target"
}

tool() {
  local crate=$1 version=$2 program=$3
  keep "$program-$version" build_tool "$crate" "$version" ||
    die "$program did not come; is there a network? \`cargo install --locked --version $version $crate\` says more" 3
  echo "$program=$cache/$program-$version/bin/$program"
}

# === the linter of workflows ===

# Go: the system's, or that of the cluster trials.
go_program() {
  local own=${REVEILLE_CLUSTER_CACHE:-$(dirname "$cache")/cluster}/go/go/bin/go
  command -v go || { [[ -x $own ]] && echo "$own"; }
}

build_actionlint() {
  local go
  go=$(go_program) || die "Go is missing; tests/cluster/setup.sh fetches it" 3
  say "building actionlint $actionlint_version"
  GOBIN=$1 GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS='-buildvcs=false -modcacherw' \
    "$go" install -trimpath -ldflags '-s -w' "github.com/rhysd/actionlint/cmd/actionlint@v$actionlint_version" >&2
}

# === all of it ===

for program in systemd-analyze python3 git; do
  command -v "$program" >/dev/null || die "$program is missing; as root: apt-get install systemd python3 git" 3
done
[[ ! -d $cache ]] || find "$cache" -maxdepth 1 -name '.making-*' -mmin +60 -exec rm -rf {} +
nix=$(nix_program)
echo "nix=$nix"
tool nixfmt_rs $nixfmt_version nixfmt
tool deadnix $deadnix_version deadnix
keep "actionlint-$actionlint_version" build_actionlint ||
  die "actionlint did not come; is there a network?" 3
echo "actionlint=$cache/actionlint-$actionlint_version/actionlint"
