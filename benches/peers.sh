#!/usr/bin/env bash
# Measures Reveille beside its peers: one client, one network, one run.
#
#   benches/peers.sh [--quick] [dhcp] [ceiling] [leases] [tftp] [http] [https] [slow] [storm]
#
# DHCP against Kea, TFTP against tftpd-hpa, HTTP against nginx, all as Debian packages them, and a storm
# of machines against the three of them together. Server and client are two network namespaces joined by
# a veth pair, in process and mount namespaces of their own: nothing outside is contacted, and nothing is
# left, however the script ends. The parts are in peers/; the client is machines/, and wrk for HTTP.
#
# Environment: REVEILLE_BIN, the program (default: the release build); REVEILLE_BENCH_MACHINES, the
# client (default: built beside it); REVEILLE_BENCH_RUNS, rounds (default 5, or 1); REVEILLE_BENCH_DIR, where leases, logs and files go (default
# /var/tmp: a disk, so that a flush is one).
# Exit codes: 0 measured; 2 wrong arguments; 3 something is missing, and it is named; else a failure.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
network=10.77
ours_at=$network.0.1   # Reveille
theirs_at=$network.0.2 # the peer, on the same interface
client_at=$network.0.3

say() { printf 'peers: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

# === arguments ===

quick=false
parts=()
for argument in "$@"; do
  case $argument in
    --quick) quick=true ;;
    dhcp | ceiling | leases | tftp | http | https | slow | storm) parts+=("$argument") ;;
    *) die "unknown argument $argument; its first lines say what there is" 2 ;;
  esac
done
((${#parts[@]})) || parts=(dhcp ceiling leases tftp http https slow storm)

# Rounds of each measurement, and seconds of each.
runs=${PEERS_RUNS:-${REVEILLE_BENCH_RUNS:-}} seconds=4
$quick && seconds=2
[[ -n $runs ]] || runs=$($quick && echo 1 || echo 5)
for part in "${parts[@]}"; do
  # shellcheck source=/dev/null
  source "$here/peers/$([[ $part == https || $part == slow ]] && echo http || echo "$part").sh"
done

# === outside: packages, the room ===

built=${CARGO_TARGET_DIR:-$here/../target}/release
reveille=${REVEILLE_BIN:-$built/reveille}

# The client: of several builds the last.
machines=${REVEILLE_BENCH_MACHINES:-}
[[ -n $machines ]] || for one in "$built"/deps/machines-*; do
  [[ -x $one && ! -d $one && $one -nt $machines ]] && machines=$one
done

packages_missing() {
  local program package
  while read -r program package; do
    command -v "$program" >/dev/null || echo "$package"
  done <<'LIST'
kea-dhcp4 kea-dhcp4-server
perfdhcp  kea-admin
in.tftpd  tftpd-hpa
nginx     nginx-light
wrk       wrk
curl      curl
ip        iproute2
unshare   util-linux
column    bsdextrautils
LIST
}

install_packages() {
  local -a missing
  mapfile -t missing < <(packages_missing)
  ((${#missing[@]} == 0)) && return
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    die "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}" 3
  fi
  say "installing ${missing[*]}"
  apt-get -qq update >&2 || say "apt-get update failed; going on with the lists that are here"
  # The peers are started here, not by the package.
  printf '#!/bin/sh\nexit 101\n' >"$work/policy"
  chmod 755 "$work/policy"
  local policy=/usr/sbin/policy-rc.d
  [[ -e $policy ]] || { ln -s "$work/policy" "$policy" && linked=$policy; }
  apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" >&2
}

linked='' room=''
clean_up() {
  local group
  # The room's first process takes all others with it.
  [[ -z $room ]] || kill -KILL "$room" 2>/dev/null || true
  [[ -z $room ]] || wait "$room" 2>/dev/null || true
  for group in /sys/fs/cgroup/reveille-peers-$$ /sys/fs/cgroup/cpuacct/reveille-peers-$$; do
    [[ ! -d $group ]] || rmdir "$group" || true
  done
  [[ -z $linked ]] || rm -f "$linked"
  rm -rf "$work"
}

outside() {
  # Debian's administrative programs are not on everybody's path.
  export PATH=$PATH:/usr/sbin:/sbin
  work=$(mktemp -d "${REVEILLE_BENCH_DIR:-/var/tmp}/reveille-peers-XXXXXX")
  chmod 755 "$work"
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  install_packages
  [[ -x $reveille ]] || die "no program at $reveille; run make bench, or cargo build --release" 3
  [[ -x $machines ]] || die "no client; run make bench, or cargo build --release --bench machines" 3
  local -a walls=(setpriv --pdeathsig KILL unshare)
  ((EUID == 0)) || walls+=(--user --map-root-user)
  walls+=(--net --mount --pid --fork --kill-child --mount-proc)
  "${walls[@]}" true || die "cannot make namespaces; run as root, or allow unprivileged user namespaces" 3
  # Settings of whoever runs this must not steer what is measured.
  local name
  for name in "${!REVEILLE_@}"; do unset "$name"; done
  PEERS_ROOM=$work PEERS_BIN=$reveille PEERS_MACHINES=$machines PEERS_ID=$$ PEERS_RUNS=$runs "${walls[@]}" bash "$here/peers.sh" "$@" &
  room=$!
  wait "$room"
}

# === the room ===

furnish() {
  # What Kea has its socket, its lock and its process number in.
  mount -t tmpfs tmpfs /run
  mkdir -p /run/kea "$work"/{log,files,manifests}
  ip link set lo up
  unshare --net sleep infinity &
  client=$!
  until [[ $(readlink "/proc/$client/ns/net") != "$(readlink /proc/self/ns/net)" ]]; do sleep 0.02; done
  ip link add sv0 type veth peer name cl0 netns "$client"
  ip address add "$ours_at/24" dev sv0
  ip address add "$theirs_at/24" dev sv0
  ip link set sv0 up
  on_client ip link set lo up
  on_client ip address add "$client_at/24" dev cl0
  on_client ip link set cl0 up
  # All machines stand behind the client, which answers for each of their addresses.
  ip route add "$network.0.0/16" via "$client_at"
  on_client ip route add local "$network.128.0/17" dev lo
  on_client ip route add local "$network.64.0/18" dev lo
  until on_client curl -s -o /dev/null "http://$ours_at:1" || (($? == 7)); do sleep 0.1; done

  local size
  for size in 64M 1M 2K; do head -c "$size" /dev/urandom >"$work/files/$size"; done
  head -c 2M /dev/urandom >"$work/files/kernel"
  head -c 6M /dev/urandom >"$work/files/initrd"
  head -c 1M /dev/urandom >"$work/files/ipxe.efi"
  chmod -R a+rX "$work/files"
  cat >"$work/manifests/all.yaml" <<YAML
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: bench}
spec:
  mode: Server
  cidr: $network.0.0/16
  interface: sv0
  nextServer: $ours_at
  pools: [{start: $network.64.0, end: $network.255.254}]
  routers: [$ours_at]
  dns: {servers: [$ours_at], search: [bench.example]}
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: bench}
spec:
  default: true
  loader: {kind: Ipxe}
  linux: {kernel: {path: kernel}, initrd: [{path: initrd}]}
YAML
}

on_client() { nsenter --net="/proc/$client/ns/net" -- "$@"; }

# Waits until a command succeeds while process $1 is alive; $2 is its log.
await() {
  local pid=$1 log=$2 tries=0
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$pid" 2>/dev/null || ((++tries >= 400)); then
      die "it did not start: $(tail -n 3 "$log")"
    fi
    sleep 0.05
  done
}

# With what stands behind it as flags.
start_reveille() {
  [[ -n ${keep_state:-} ]] || rm -rf "$work/state"
  mkdir -p "$work/state"
  "$PEERS_BIN" serve "$work"/manifests/*.yaml --state "$work/state" --artifacts "$work/files" \
    --loaders "$work/files" --http "$ours_at:80" --tftp "$ours_at:69" --log info --log-format json \
    "$@" 2>"$work/log/reveille" &
  ours=$!
  await "$ours" "$work/log/reveille" curl -sf http://127.0.0.1:9167/readyz
}

start_kea() {
  rm -f "$work"/kea-leases*
  cat >"$work/kea.json" <<JSON
{"Dhcp4": {
  "interfaces-config": {"interfaces": ["sv0"]},
  "lease-database": {"type": "memfile", "persist": true, "name": "$work/kea-leases.csv", "lfc-interval": 3600},
  "multi-threading": {"enable-multi-threading": $1, "thread-pool-size": $(nproc)},
  "valid-lifetime": 4000, "authoritative": true,
  "subnet4": [{"id": 1, "subnet": "$network.0.0/16", "interface": "sv0",
    "next-server": "$ours_at", "boot-file-name": "ipxe.efi",
    "pools": [{"pool": "$network.64.0 - $network.255.254"}],
    "option-data": [{"name": "routers", "data": "$ours_at"},
      {"name": "domain-name-servers", "data": "$ours_at"},
      {"name": "domain-search", "data": "bench.example"}]}],
  "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "debuglevel": 0,
    "output_options": [{"output": "$work/log/kea"}]}]
}}
JSON
  rm -f "$work/log/kea"
  KEA_PIDFILE_DIR=$work KEA_LOCKFILE_DIR=$work kea-dhcp4 -c "$work/kea.json" >"$work/log/kea.out" 2>&1 &
  theirs=$!
  await "$theirs" "$work/log/kea.out" grep -q DHCP4_STARTED "$work/log/kea"
}

# Its children wait for nobody: a group knows what they took.
start_tftpd() {
  local group=/sys/fs/cgroup/reveille-peers-$PEERS_ID
  [[ -d /sys/fs/cgroup/cpuacct ]] && group=/sys/fs/cgroup/cpuacct/reveille-peers-$PEERS_ID
  mkdir -p "$group" || say "no control groups: the time of tftpd-hpa is not known"
  (
    echo "$BASHPID" >"$group/cgroup.procs"
    exec in.tftpd --foreground --address "$theirs_at:69" --user root --secure "$work/files" 2>"$work/log/tftpd"
  ) &
  theirs=$!
  groups[$theirs]=$group
  await "$theirs" "$work/log/tftpd" on_client curl -sf -o /dev/null "tftp://$theirs_at/2K"
}

# As Debian's nginx.conf has it, but for the paths, the address and the account.
start_nginx() {
  mkdir -p "$work/nginx"
  cat >"$work/nginx.conf" <<CONF
user root; worker_processes auto; pid $work/nginx/pid; error_log $work/log/nginx-error; daemon off;
worker_rlimit_nofile 20000; events { worker_connections 8192; }
http {
  sendfile on; tcp_nopush on; types_hash_max_size 2048; default_type application/octet-stream;
  access_log $work/log/nginx; gzip on; ssl_session_cache shared:SSL:10m;
  client_body_temp_path $work/nginx; proxy_temp_path $work/nginx; fastcgi_temp_path $work/nginx;
  uwsgi_temp_path $work/nginx; scgi_temp_path $work/nginx;
  server { listen $theirs_at:80; root $work/files; }
  ${1:-}
}
CONF
  nginx -c "$work/nginx.conf" -e "$work/log/nginx-error" &
  theirs=$!
  await "$theirs" "$work/log/nginx-error" on_client curl -sf -o /dev/null "http://$theirs_at/2K"
}

stop() {
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# KiB of resident memory of a process and its children: `memory VmRSS PID` now, `VmHWM` at most.
memory() {
  local which=$1 pid sum=0 kib
  for pid in "$2" $(cat "/proc/$2/task/$2/children"); do
    kib=$(awk -v "field=$which:" '$1 == field { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
    sum=$((sum + ${kib:-0}))
  done
  echo "$sum"
}

# === figures ===

# `note KEY WHO VALUE`: one run's figure.
declare -A figures
note() { figures[$1/$2]+="$3 "; }

median() { printf '%s\n' "$@" | sort -g | awk '{ at[NR] = $1 } END { print at[int((NR + 1) / 2)] }'; }

# `ratios "OUR VALUES" "THEIR VALUES"`, round by round.
ratios() {
  paste <(tr ' ' '\n' <<<"$1") <(tr ' ' '\n' <<<"$2") |
    awk 'NF == 2 { if ($2 > 0) printf "%.2f\n", $1 / $2; else print "-" }'
}

spread() { printf '%s\n' "$@" | sort -g | sed -n '1p;$p' | paste -sd ' ' | awk '{ print $1 ".." $NF }'; }

# One row: `row LABEL UNIT KEY [PEER]`. The ratio is ours divided by theirs in the same round.
row() {
  local label=$1 unit=$2 key=$3 peer=${4:-theirs} ours theirs
  local -a our_all their_all all
  read -ra our_all <<<"${figures[$key/ours]}"
  read -ra their_all <<<"${figures[$key/$peer]}"
  mapfile -t all < <(ratios "${figures[$key/ours]% }" "${figures[$key/$peer]% }")
  ours=$(median "${our_all[@]}")
  theirs=$(median "${their_all[@]}")
  printf '%s|%s|%s|%s|%s|%s|%s|%s\n' "$label" "$unit" "$ours" "$theirs" "$(median "${all[@]}")" \
    "$(spread "${all[@]}")" "$(spread "${our_all[@]}")" "$(spread "${their_all[@]}")" >>"$work/table"
}

table() {
  local peer=$1
  printf '\n'
  { printf 'what|unit|Reveille|%s|ratio|ratios|Reveille, all|%s, all\n' "$peer" "$peer"
    cat "$work/table"; } | column -t -s '|' -o ' | ' | sed 's/^/| /; s/$/ |/' |
    sed '1{p; s/[^|]/-/g}'
  rm -f "$work/table"
}

# Two decimals below 10, one below 100, none above.
short() { awk '{ printf ($1 < 10 ? "%.2f\n" : $1 < 100 ? "%.1f\n" : "%.0f\n"), $1 }'; }

# `value NAME LINE`: one of the values that `machines` prints.
value() { tr ' ' '\n' <<<"$2" | sed -n "s/^$1=//p"; }

on_machines() { on_client "$PEERS_MACHINES" "$@"; }

# Processor time of a process and its children so far, in clock ticks; dead ones count where somebody
# waited for them, or where it has a group.
declare -A groups
cpu_ticks() {
  local pid sum=0 ticks
  if [[ -f ${groups[$1]:-}/cpuacct.usage ]]; then
    awk -v hertz="$(getconf CLK_TCK)" '{ printf "%d\n", $1 * hertz / 1e9 }' "${groups[$1]}/cpuacct.usage"
    return
  elif [[ -f ${groups[$1]:-}/cpu.stat ]]; then
    awk -v hertz="$(getconf CLK_TCK)" '$1 == "usage_usec" { printf "%d\n", $2 * hertz / 1e6 }' "${groups[$1]}/cpu.stat"
    return
  fi
  for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
    ticks=$(awk '{ sub(/.*\) /, ""); print $12 + $13 + $14 + $15 }' "/proc/$pid/stat" 2>/dev/null || true)
    sum=$((sum + ${ticks:-0}))
  done
  echo "$sum"
}

# `cost PID BEFORE UNITS`: microseconds of processor time for each unit of work.
cost() {
  awk -v ticks="$(($(cpu_ticks "$1") - $2))" -v hertz="$(getconf CLK_TCK)" -v units="$3" \
    'BEGIN { print (units > 0) ? 1e6 * ticks / hertz / units : 0 }' | short
}

mebibytes() { awk '{ print $1 / 1024 }' | short; }

# === all of it ===

version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo 'version unknown'; }

heading() {
  local system='unknown system'
  [[ -r /etc/os-release ]] && system=$(sed -n 's/^PRETTY_NAME="\?\([^"]*\).*/\1/p' /etc/os-release)
  printf 'Reveille %s beside its peers, %s\n\n' "$("$PEERS_BIN" --version | awk '{ print $NF }')" "$(date -u +%F)"
  printf -- '- machine: %s cores shared by server and client, Linux %s, %s, load %s before the run\n' \
    "$(nproc)" "$(uname -r)" "$system" "$(cut -d ' ' -f 1 /proc/loadavg)"
  printf -- '- leases and files on: %s\n' "$(stat -f -c %T "$work")"
  printf -- '- peers: Kea %s, tftpd-hpa %s, nginx %s; clients: benches/machines, wrk %s\n' \
    "$(version_of kea-dhcp4-server)" "$(version_of tftpd-hpa)" "$(version_of nginx-light)" "$(version_of wrk)"
  printf -- '- %s rounds, we and the peer in turns, %s s each where it is a rate: medians, and of the ratios, Reveille\n  divided by the peer in the same round, the median, too (above 1 is good for what is done a second, below 1\n  for what it costs)\n' "$runs" "$seconds"
}

inside() {
  work=$PEERS_ROOM
  trap 'exit 1' INT TERM
  furnish
  heading
  local part
  for part in "${parts[@]}"; do
    figures=()
    "$part"
  done
}

if [[ -n ${PEERS_ROOM:-} ]]; then inside; else outside "$@"; fi
