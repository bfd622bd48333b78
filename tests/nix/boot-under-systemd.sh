#!/usr/bin/env bash
# A new user's way to a machine that boots, by docs/install/systemd.md: the page's commands are run, on an
# archive as a release has it, under a real systemd in namespaces of its own. Then a virtual machine boots,
# manifests that are swapped as NixOS swaps them are served, and the service stops by itself.
#
#   tests/nix/boot-under-systemd.sh ARCHIVE
#
# Exit codes: 0 all seen; 3 this machine cannot do it, and why is said; else a failure.
set -euo pipefail
export LC_ALL=C
first=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/src/script/first.ipxe
page=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/docs/install/systemd.md
lab=$(dirname "${BASH_SOURCE[0]}")/../lab/setup.sh
systemd=/lib/systemd/systemd
# shellcheck source=../support/machine.sh
source "$(dirname "${BASH_SOURCE[0]}")/../support/machine.sh"

skip() { printf 'skip  a real systemd: %s\n' "$1"; exit 3; }

# === inside: first process of the namespaces ===

furnish() {
  mount --make-rprivate /
  mount -t proc proc /proc
  # Cgroups of this room only: systemd would write into the host's.
  local kind
  kind=$(stat -f -c %T /sys/fs/cgroup)
  umount -R -l /sys/fs/cgroup
  if [[ $kind == cgroup2fs ]]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
  else
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/{systemd,unified}
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
  fi
  # Everything that is installed or kept goes into memory; the host's files stay as they are.
  mount -t tmpfs tmpfs /run
  mkdir -p /run/units /run/etc/{upper,work} /run/local/{upper,work}
  mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
  mount -t overlay -o lowerdir=/usr/local,upperdir=/run/local/upper,workdir=/run/local/work overlay /usr/local
  mount -t tmpfs tmpfs /etc/systemd/system
  mount -t tmpfs tmpfs /var/lib
  mount -t tmpfs tmpfs /srv
  # A host that does nothing but this.
  local target
  for target in sysinit basic network-online multi-user shutdown trial; do
    printf '[Unit]\nDefaultDependencies=no\n' >/run/units/$target.target
  done
  # There is no journal; what the service says is evidence.
  mkdir /run/units/reveille.service.d
  printf '[Service]\nStandardOutput=append:%s\nStandardError=inherit\n' "$work/service.log" \
    >/run/units/reveille.service.d/log.conf
  plug
}

inside() {
  furnish
  # Its parent becomes systemd, and does not mind.
  "$0" try >"$work/story" 2>&1 &
  export container=other SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units
  exec "$systemd" --system --unit=trial.target --log-target=console --show-status=no >"$work/systemd.log" 2>&1
}

# === inside: the user ===

answers() { systemctl is-system-running 2>&1 | grep -qE 'running|starting|degraded'; }
walled() {
  local pid
  pid=$(systemctl show --property MainPID --value reveille)
  [[ $(awk '/^Uid:/ { print $2 }' "/proc/$pid/status") != 0 ]] &&
    # CAP_NET_BIND_SERVICE is bit 10, CAP_NET_RAW bit 13.
    grep -q '^CapEff:[[:space:]]*0*2400$' "/proc/$pid/status" &&
    grep -q '^CapBnd:[[:space:]]*0*2400$' "/proc/$pid/status" &&
    grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$pid/status" &&
    grep -q '^Seccomp:[[:space:]]*2$' "/proc/$pid/status" &&
    ! nsenter --target "$pid" --mount touch /srv/reveille/x 2>/dev/null
}
two_machines() { reveille get machines | grep -q '^second ' && reveille get machines | grep -q '^first '; }
told() { reveille get boots | grep -q 'HandedOff\|handed'; }

# In its environment: what `outside` exported.
try() {
  : "${work:?}" "${kernel:?}" "${initrd:?}" "${loaders:?}" "${ipxe:?}"
  trap 'echo $? >"$work/status.new"; mv "$work/status.new" "$work/status"' EXIT
  seen "a real systemd runs ($("$systemd" --version | head -1))" 30 answers
  cd "$work"
  mkdir -p /srv/reveille/debian
  cp "$kernel" /srv/reveille/debian/linux
  cp "$initrd" /srv/reveille/debian/initrd.gz
  mkdir -p /etc/reveille
  # The service sees no home, and the lab's cache may be in one.
  cp -rL "$loaders" /srv/loaders
  echo "REVEILLE_LOADERS=/srv/loaders" >/etc/reveille/environment
  commands >"$work/commands.sh"
  # Ready is a moment after started: when the first snapshot is made.
  sed -i 's/^reveille status$/sleep 2; reveille status/' "$work/commands.sh"
  bash -euxo pipefail "$work/commands.sh" >"$work/commands.log" 2>&1 ||
    { echo "FAIL  the commands of the page"; cat "$work/commands.log" "$work/service.log"; exit 1; }
  ok "the commands of docs/install/systemd.md, word for word"
  seen "not root, two capabilities, read-only, seccomp" 5 walled

  power_on one "" -device virtio-net-pci,netdev=net,mac=52:54:00:00:00:01,bootindex=0
  seen "a virtual machine boots from it" 240 booted one
  seen "and reveille says so" 10 told
  # What Nix builds into iPXE, in iPXE: two cards, of which the first one's network answers nothing.
  power_on two "-netdev socket,id=dead,udp=127.0.0.1:9,localaddr=127.0.0.1:9999" \
    -kernel "$ipxe" -initrd "$first" -device virtio-net-pci,netdev=dead,mac=52:54:00:00:00:08,romfile= \
    -device virtio-net-pci,netdev=net,mac=52:54:00:00:00:02,romfile=
  seen "iPXE with the first script built in boots by its second card" 240 booted two

  # As NixOS does: the folder is a link by way of a link, and that one is replaced.
  machine() {
    printf 'apiVersion: reveille.dev/v1alpha1\nkind: Machine\nmetadata: {name: %s}\nspec: {interfaces: [{mac: "%s"}]}\n' "$@"
  }
  mkdir -p /run/store/{1,2}
  cp /etc/reveille/boot/lab.yaml /run/store/1/
  cp /etc/reveille/boot/lab.yaml /run/store/2/
  machine first 52:54:00:00:01:01 >/run/store/1/first.yaml
  cp /run/store/1/first.yaml /run/store/2/
  machine second 52:54:00:00:01:02 >/run/store/2/second.yaml
  rm -r /etc/reveille/boot
  ln -s /run/store/1 /etc/static-boot
  ln -s /etc/static-boot /etc/reveille/boot
  seen "manifests become a link" 15 eval 'reveille get machines | grep -q ^first'
  ln -s /run/store/2 /etc/static-boot.new
  mv -T /etc/static-boot.new /etc/static-boot
  seen "a link on the way is replaced, and the new manifests are served" 15 two_machines

  systemctl restart reveille
  seen "a restart keeps the leases" 10 eval 'reveille get leases | grep -q 52:54:00:00:00:01'
  systemctl stop reveille
  [[ $(systemctl show --property Result --value reveille) == success ]] || { echo "FAIL  it does not stop by itself"; exit 1; }
  ok "it stops by itself"
}

# === outside ===

outside() {
  local archive=$1 ready name hierarchy room=reveille-trial-$$
  ((EUID == 0)) || skip "not root"
  [[ -x $systemd ]] || skip "$systemd is not there"
  for name in unshare ip nsenter qemu-system-x86_64; do
    command -v "$name" >/dev/null || skip "$name is not there"
  done
  [[ -w /dev/net/tun ]] || skip "cannot open /dev/net/tun"
  ready=$("$lab" --check 2>/dev/null) || skip "the lab lacks something; tests/lab/setup.sh says what"
  # Any iPXE that QEMU can start as a kernel will do.
  for ipxe in /usr/lib/ipxe/ipxe.lkrn /boot/ipxe.lkrn; do [[ ! -e $ipxe ]] || break; done
  [[ -e $ipxe ]] || skip "there is no ipxe.lkrn; as root: apt-get install ipxe"
  export ipxe
  for name in kernel initrd loaders; do
    declare -gx "$name=$(sed -n "s/^$name=//p" <<<"$ready")"
  done
  work=$(mktemp -d)
  export work
  cp "$archive" "$work/"

  # A cgroup for the room in each hierarchy, so that its systemd sees nothing above.
  local -a mine=()
  local controllers path
  while IFS=: read -r _ controllers path; do
    case $controllers in
      '') hierarchy=/sys/fs/cgroup/unified; [[ -d $hierarchy ]] || hierarchy=/sys/fs/cgroup ;;
      name=*) hierarchy=/sys/fs/cgroup/${controllers#name=} ;;
      # A new group of these has no processor to run on.
      cpuset) continue ;;
      *) hierarchy=/sys/fs/cgroup/$controllers ;;
    esac
    mkdir "$hierarchy$path/$room" 2>/dev/null && mine+=("$hierarchy$path/$room")
  done </proc/self/cgroup
  ((${#mine[@]} > 0)) || skip "cannot make a cgroup"
  (
    for hierarchy in "${mine[@]}"; do echo $BASHPID >"$hierarchy/cgroup.procs"; done
    exec setpriv --pdeathsig KILL unshare --cgroup --mount --pid --net --uts --ipc --fork --kill-child "$0" inside
  ) >"$work/room.log" 2>&1 &
  local pid=$! waited=0
  while [[ ! -e $work/status ]] && kill -0 $pid 2>/dev/null && ((waited++ < 420)); do sleep 1; done
  kill -KILL $pid 2>/dev/null || true
  wait $pid 2>/dev/null || true
  cat "$work/story" 2>/dev/null || true
  # Processes go a moment after their first one; empty groups can be removed.
  sleep 1
  for hierarchy in "${mine[@]}"; do find "$hierarchy" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  if [[ $(cat "$work/status" 2>/dev/null) == 0 ]]; then
    rm -rf "$work"
  else
    printf 'FAIL  a real systemd; what is left of it: %s\n' "$work"
    tail -n 20 "$work"/{room,systemd,service}.log 2>/dev/null | sed 's/^/      /'
    return 1
  fi
}

case ${1:-} in
  inside) inside ;;
  try) try ;;
  *) outside "$1" ;;
esac
