# shellcheck shell=bash
# Sourced by trials in shell: lines of what was seen, and a virtual machine on tap0. `$work` is their folder.

marker=REVEILLE-USERSPACE

ok() { printf 'ok    %s\n' "$1"; }

# What a page has people type: its blocks of `sh`.
commands() { awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on' "$page"; }

# seen WHAT SECONDS COMMAND… waits until the command succeeds.
seen() {
  local what=$1 seconds=$2
  shift 2
  while ! "$@" >"$work/last" 2>&1; do
    ((seconds-- > 0)) || { echo "FAIL  $what"; cat "$work/last"; return 1; }
    sleep 1
  done
  ok "$what"
}

# power_on NAME MORE CARD…
power_on() {
  local name=$1
  # shellcheck disable=SC2206 # words
  local -a more=($2)
  shift 2
  qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -accel tcg -m 512 -display none \
    -machine pc,graphics=off -serial "file:$work/serial-$name.log" "${more[@]}" \
    -netdev "tap,id=net,ifname=tap0,script=no,downscript=no" "$@" >"$work/qemu-$name.log" 2>&1 &
  qemu=$!
}

# Whether that machine's user space said so and went off.
booted() { grep -q "$marker .*console=ttyS0" "$work/serial-$1.log" && wait "$qemu"; }

# The network of the pages: a bridge with the name and the address that they have, and a card for a machine.
plug() {
  ip link set lo up
  ip link add eno1 type bridge
  ip address add 192.0.2.1/24 dev eno1
  ip tuntap add tap0 mode tap
  ip link set tap0 master eno1 up
  ip link set eno1 up
}
