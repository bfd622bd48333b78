#!/usr/bin/env bash
# Makes ready what tests/watch needs: Prometheus, promtool, and a Python that draws.
#
#   tests/watch/setup.sh          find or fetch them, print their paths
#   tests/watch/setup.sh --check  look only: fetch nothing
#
# Progress goes to stderr. Stdout is for the harness: one `name=path` per line.
# Prometheus is Debian's package, unpacked into the cache and not installed; matplotlib is in a venv there.
# The API server is made ready by tests/cluster/setup.sh.
# Exit codes: 0 ready; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C

cache=$(realpath -m "${REVEILLE_WATCH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille/watch}")
cluster=$(cd "$(dirname "${BASH_SOURCE[0]}")/../cluster" && pwd)/setup.sh
may_fetch=true
[[ ${1:-} == --check ]] && may_fetch=false

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

# What needs a program: the system's own, or the one in the cache.
program() {
  command -v "$1" || { [[ -x $cache/prometheus/usr/bin/$1 ]] && echo "$cache/prometheus/usr/bin/$1"; }
}

fetch_prometheus() {
  command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
    die "prometheus and promtool are missing; install Prometheus" 3
  say "fetching Prometheus (20 MB)"
  local work
  work=$(mktemp -d "$cache/.making-XXXXXX")
  (cd "$work" && apt-get -qq download prometheus 2>/dev/null) ||
    die "Prometheus did not come; as root: apt-get update, or apt-get install prometheus" 3
  dpkg -x "$work"/prometheus_*.deb "$work/root"
  rm -rf "$cache/prometheus"
  mv -T "$work/root" "$cache/prometheus"
  rm -rf "$work"
}

draws() { "$1" -c 'import matplotlib' 2>/dev/null; }

python() {
  if draws python3; then
    command -v python3
  elif [[ -x $cache/venv/bin/python ]] && draws "$cache/venv/bin/python"; then
    echo "$cache/venv/bin/python"
  else
    return 1
  fi
}

fetch_matplotlib() {
  command -v python3 >/dev/null || die "python3 is missing; as root: apt-get install python3 python3-venv" 3
  say "fetching matplotlib (10 MB)"
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv" 2>/dev/null ||
    die "Python has no venv; as root: apt-get install python3-venv" 3
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check matplotlib >&2 ||
    die "matplotlib did not come; is there a network?" 3
}

flag=()
$may_fetch || flag=(--check)
"$cluster" "${flag[@]}" || exit
mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
if ! { program prometheus && program promtool; } >/dev/null; then
  $may_fetch || die "not there yet: Prometheus; tests/watch/setup.sh fetches it" 3
  fetch_prometheus
fi
if ! python >/dev/null; then
  $may_fetch || die "not there yet: matplotlib; tests/watch/setup.sh fetches it" 3
  fetch_matplotlib
fi
for name in prometheus promtool; do
  echo "$name=$(program "$name")"
done
echo "python=$(python)"
