#!/usr/bin/env bash
# A new user's way to a machine that boots, by docs/install/container.md: the page's commands are run by a
# real podman in namespaces of their own, and a virtual machine boots from the container.
#
#   tests/image/container.sh ARCHIVE
#
# Exit codes: 0 all seen, or this machine cannot do it and why is said; else a failure.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
page=$here/../../docs/install/container.md
# shellcheck source=../support/machine.sh
source "$here/../support/machine.sh"

skip() { printf 'skip  the container: %s\n' "$1"; exit 0; }

# === inside ===

# Containers, images and volumes of this room only, and no more than this machine allows.
settle() {
  mkdir -p "$work"/{storage,run}
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/storage"\nrunroot = "%s/run"\n' "$work" "$work" >"$work/storage.conf"
  printf '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\n' >"$work/containers.conf"
  export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf
}

told() { podman exec reveille /usr/bin/reveille get boots | grep -q 'handed-off'; }
walled() {
  local pid
  pid=$(podman inspect --format '{{.State.Pid}}' reveille)
  grep -q '^Uid:[[:space:]]*65532' "/proc/$pid/status" &&
    # CAP_NET_BIND_SERVICE is bit 10, CAP_NET_RAW bit 13.
    grep -q '^CapEff:[[:space:]]*0*2400$' "/proc/$pid/status" &&
    grep -q '^CapBnd:[[:space:]]*0*2400$' "/proc/$pid/status" &&
    grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$pid/status"
}

inside() {
  : "${work:?}" "${kernel:?}" "${initrd:?}" "${archive:?}" "${version:?}"
  trap 'podman rm --force --time 0 --all >/dev/null 2>&1 || true' EXIT
  plug
  settle
  cd "$work"
  mkdir -p target/image
  ln -s "$archive" "target/image/reveille-$version-amd64.tar"
  cp "$kernel" linux
  cp "$initrd" initrd.gz
  commands >commands.sh
  bash -euxo pipefail commands.sh >commands.log 2>&1 ||
    { echo "FAIL  the commands of the page"; cat commands.log; podman logs reveille; exit 1; }
  for step in ready http tftp; do
    grep -q "^PASS  $step" commands.log || { echo "FAIL  probe: no PASS $step"; cat commands.log; exit 1; }
  done
  ok "the commands of docs/install/container.md, word for word ($(podman --version))"
  seen "user 65532, two capabilities, no new privileges" 5 walled
  power_on one "" -device virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,bootindex=0
  seen "a virtual machine boots from the container" 240 booted one
  seen "and reveille says so" 10 told
  podman stop --time 30 reveille >/dev/null
  [[ $(podman inspect --format '{{.State.ExitCode}}' reveille) == 0 ]] || { echo "FAIL  it does not stop by itself"; exit 1; }
  podman start reveille >/dev/null
  seen "stopped and started: the leases are there" 15 \
    eval 'podman exec reveille /usr/bin/reveille get leases | grep -q 52:54:00:00:00:01'
}

# === outside ===

outside() {
  local ready name
  archive=$(realpath "$1")
  ((EUID == 0)) || skip "not root"
  for name in podman runc unshare ip qemu-system-x86_64; do
    command -v "$name" >/dev/null || skip "$name is not there"
  done
  [[ -w /dev/net/tun ]] || skip "cannot open /dev/net/tun"
  ready=$("$here/../lab/setup.sh" --check 2>/dev/null) || skip "the lab lacks something; tests/lab/setup.sh says what"
  for name in kernel initrd; do
    declare -gx "$name=$(sed -n "s/^$name=//p" <<<"$ready")"
  done
  work=$(mktemp -d)
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../../Cargo.toml" | head -1)
  export work archive version
  if setpriv --pdeathsig KILL unshare --mount --pid --net --uts --ipc --fork --kill-child --mount-proc "$0" inside; then
    rm -rf "$work"
  else
    printf 'FAIL  the container; what is left of it: %s\n' "$work"
    return 1
  fi
}

case ${1:-} in
  inside) inside ;;
  *) outside "$1" ;;
esac
