#!/usr/bin/env bash
# Makes ready what the edge test needs besides our image: a whole Kubernetes node as programs, Helm, and the
# one image that Kubernetes itself needs in each Pod.
#
#   tests/edge/setup.sh          install what is missing (root), fetch and build, print the paths
#   tests/edge/setup.sh --check  look only: install and fetch nothing
#
# Exit codes: 0 ready; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
check=()
[[ ${1:-} == --check ]] && check=(--check)
say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

((EUID == 0)) || die "a node runs Pods as root only; run as root" 3
if ! command -v runc >/dev/null; then
  ((${#check[@]} == 0)) && command -v apt-get >/dev/null ||
    die "runc is missing; as root: apt-get install runc" 3
  say "installing runc"
  apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 runc >&2 || die "runc did not come" 3
fi
[[ -d /sys/fs/cgroup/memory || -e /sys/fs/cgroup/cgroup.controllers ]] ||
  die "no cgroups are mounted at /sys/fs/cgroup" 3

tests/lab/setup.sh "${check[@]}"
tests/cluster/setup.sh --node "${check[@]}"
tests/chart/setup.sh "${check[@]}"

cache=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille")
pause=$cache/pause-$(sha256sum "$here/pause.c" "$here/pack.py" | sha256sum | cut -c1-12).tar
if [[ ! -e $pause ]]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  cc -static -Os -o "$work/pause" "$here/pause.c"
  python3 "$here/pack.py" "$work/pause.tar" localhost/pause:1 "$work/pause"
  mv "$work/pause.tar" "$pause"
fi
echo "pause=$pause"
