#!/usr/bin/env bash
# Measures Reveille beside its peers: one client, one network, one run.
#
#   benches/peers.sh [--quick] [dhcp] [tftp] [http]
#
# DHCP against Kea, TFTP against tftpd-hpa, HTTP against nginx, all as Debian packages them. Server and
# client are two network namespaces joined by a veth pair, in process and mount namespaces of their
# own: nothing outside is contacted, and nothing is left, however the script ends.
#
# Environment: REVEILLE_BIN, the program (default: the release build); REVEILLE_BENCH_DIR, where leases,
# logs and files go (default /var/tmp: a disk, so that a flush is one).
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
    dhcp | tftp | http) parts+=("$argument") ;;
    *) die "unknown argument $argument; usage: peers.sh [--quick] [dhcp] [tftp] [http]" 2 ;;
  esac
done
((${#parts[@]})) || parts=(dhcp tftp http)

# Rounds of each measurement, seconds of each, MiB of each client where many load at once.
runs=3 seconds=4 share=32
$quick && runs=1 seconds=2 share=8
rates=(1000 2000 5000 10000)
boot_rates=(2000 5000)

# === outside: packages, the room ===

reveille=${REVEILLE_BIN:-${CARGO_TARGET_DIR:-$here/../target}/release/reveille}

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
  # The room's first process takes all others with it.
  [[ -z $room ]] || kill -KILL "$room" 2>/dev/null || true
  [[ -z $room ]] || wait "$room" 2>/dev/null || true
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
  local -a walls=(setpriv --pdeathsig KILL unshare)
  ((EUID == 0)) || walls+=(--user --map-root-user)
  walls+=(--net --mount --pid --fork --kill-child --mount-proc)
  "${walls[@]}" true || die "cannot make namespaces; run as root, or allow unprivileged user namespaces" 3
  # Settings of whoever runs this must not steer what is measured.
  local name
  for name in "${!REVEILLE_@}"; do unset "$name"; done
  PEERS_ROOM=$work PEERS_BIN=$reveille "${walls[@]}" bash "$here/peers.sh" "$@" &
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
  ip address add "$ours_at/16" dev sv0
  ip address add "$theirs_at/16" dev sv0
  ip link set sv0 up
  on_client ip link set lo up
  on_client ip address add "$client_at/16" dev cl0
  on_client ip link set cl0 up
  until on_client curl -s -o /dev/null "http://$ours_at:1" || (($? == 7)); do sleep 0.1; done

  local size
  for size in 64M 1M 2K; do head -c "$size" /dev/urandom >"$work/files/$size"; done
  head -c "${share}M" /dev/urandom >"$work/files/share"
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
  pools: [{start: $network.1.0, end: $network.255.254}]
  routers: [$ours_at]
  dns: {servers: [$ours_at], search: [bench.example]}
---
apiVersion: reveille.dev/v1alpha1
kind: BootProfile
metadata: {name: bench}
spec:
  default: true
  loader: {kind: Ipxe}
  linux: {kernel: {path: 64M}}
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

start_reveille() {
  rm -rf "$work/state"
  mkdir -p "$work/state"
  "$PEERS_BIN" serve "$work/manifests" --state "$work/state" --artifacts "$work/files" \
    --loaders "$work/files" --http "$ours_at:80" --tftp "$ours_at:69" --log info --log-format json \
    2>"$work/log/reveille" &
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
    "pools": [{"pool": "$network.1.0 - $network.255.254"}],
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

start_tftpd() {
  in.tftpd --foreground --address "$theirs_at:69" --user root --secure "$work/files" 2>"$work/log/tftpd" &
  theirs=$!
  await "$theirs" "$work/log/tftpd" on_client curl -sf -o /dev/null "tftp://$theirs_at/2K"
}

# As Debian's nginx.conf has it, but for the paths, the address and the account.
start_nginx() {
  mkdir -p "$work/nginx"
  cat >"$work/nginx.conf" <<CONF
user root; worker_processes auto; pid $work/nginx/pid; error_log $work/log/nginx-error; daemon off;
events { worker_connections 768; }
http {
  sendfile on; tcp_nopush on; types_hash_max_size 2048; default_type application/octet-stream;
  access_log $work/log/nginx; gzip on;
  client_body_temp_path $work/nginx; proxy_temp_path $work/nginx; fastcgi_temp_path $work/nginx;
  uwsgi_temp_path $work/nginx; scgi_temp_path $work/nginx;
  server { listen $theirs_at:80; root $work/files; }
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

# `best high|low VALUES…` and `spread VALUES…`
best() {
  local want=$1
  shift
  printf '%s\n' "$@" | sort -g | if [[ $want == high ]]; then tail -n 1; else head -n 1; fi
}

spread() { printf '%s\n' "$@" | sort -g | sed -n '1p;$p' | paste -sd ' ' | awk '{ print $1 ".." $NF }'; }

# One row: `row LABEL UNIT high|low KEY [PEER]`. The ratio is ours divided by theirs.
row() {
  local label=$1 unit=$2 want=$3 key=$4 peer=${5:-theirs} our their
  local -a our_all their_all
  read -ra our_all <<<"${figures[$key/ours]}"
  read -ra their_all <<<"${figures[$key/$peer]}"
  our=$(best "$want" "${our_all[@]}")
  their=$(best "$want" "${their_all[@]}")
  printf '%s|%s|%s|%s|%s|%s|%s\n' "$label" "$unit" "$our" "$their" \
    "$(awk -v a="$our" -v b="$their" 'BEGIN { if (b > 0) printf "%.2f", a / b; else print "-" }')" \
    "$(spread "${our_all[@]}")" "$(spread "${their_all[@]}")" >>"$work/table"
}

table() {
  local peer=$1
  printf '\n'
  { printf 'what|unit|Reveille|%s|ratio|Reveille, all runs|%s, all runs\n' "$peer" "$peer"
    cat "$work/table"; } | column -t -s '|' -o ' | ' | sed 's/^/| /; s/$/ |/' |
    sed '1{p; s/[^|]/-/g}'
  rm -f "$work/table"
}

# Two decimals below 10, one below 100, none above.
short() { awk '{ printf ($1 < 10 ? "%.2f\n" : $1 < 100 ? "%.1f\n" : "%.0f\n"), $1 }'; }

# Processor time of a process and its children so far, in clock ticks.
cpu_ticks() {
  local pid sum=0 ticks
  for pid in "$1" $(cat "/proc/$1/task/$1/children"); do
    ticks=$(awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$pid/stat" 2>/dev/null || true)
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

# === DHCP ===

# What a network card's UEFI says of itself: vendor class and architecture (x86-64).
vendor_class=$(printf 'PXEClient:Arch:00007:UNDI:003001' | od -An -v -tx1 | tr -d ' \n')
pxe=(-o "60,$vendor_class" -o '93,0007')

# `exchange KEY WHO PID RATE [perfdhcp options…]`
exchange() {
  local key=$1 who=$2 pid=$3 rate=$4 before after out=$work/perfdhcp
  shift 4
  before=$(cpu_ticks "$pid")
  # perfdhcp says with its exit code that there were drops.
  on_client perfdhcp -4 -l cl0 -R 1000000 -r "$rate" -p "$seconds" -W 300000 "$@" "$ours_at" >"$out" 2>&1 || true
  after=$(cpu_ticks "$pid")
  grep -q 'REQUEST-ACK' "$out" || die "perfdhcp: $(tail -n 3 "$out")"
  local rates_of
  # Its own rate counts the time that it waits for stragglers.
  rates_of=$(awk -v ticks="$((after - before))" -v hertz="$(getconf CLK_TCK)" -v seconds="$seconds" '
    /^\*\*\*Statistics for/ { part = $3; sub(/\*+$/, "", part) }
    /^sent packets:/     { sent[part] = $3 }
    /^received packets:/ { got[part] = $3 }
    /^avg delay:/        { delay[part] = $3 }
    END {
      asked = sent["DISCOVER-OFFER"]; done = got["REQUEST-ACK"]
      printf "%.0f %.1f %.2f %.0f\n", done / seconds, asked ? 100 * (1 - done / asked) : 100,
        delay["REQUEST-ACK"], done ? 1e6 * ticks / hertz / done : 0
    }' "$out")
  local got lost delay cost
  read -r got lost delay cost <<<"$rates_of"
  note "$key-rate" "$who" "$got"
  note "$key-lost" "$who" "$lost"
  note "$key-delay" "$who" "$delay"
  note "$key-cost" "$who" "$cost"
}

dhcp_round() {
  local key=$1 rate=$2 who ours theirs
  shift 2
  start_reveille
  exchange "$key" ours "$ours" "$rate" "$@"
  note "$key-rss" ours "$(memory VmRSS "$ours" | mebibytes)"
  stop "$ours"
  # Kea 2.2 runs one thread unless told otherwise, as packaged; newer ones as many as there are cores.
  for who in packaged threaded; do
    start_kea "$([[ $who == threaded ]] && echo true || echo false)"
    exchange "$key" "$who" "$theirs" "$rate" "$@"
    note "$key-rss" "$who" "$(memory VmRSS "$theirs" | mebibytes)"
    stop "$theirs"
  done
}

dhcp_rows() {
  local key=$1 what=$2 rate=$3 peer=$4
  row "$what, $rate/s offered" "exchanges/s" high "$key-rate" "$peer"
  row "- unanswered" "%" low "$key-lost" "$peer"
  row "- REQUEST to ACK, mean" "ms" low "$key-delay" "$peer"
  row "- CPU for an exchange" "us" low "$key-cost" "$peer"
}

dhcp_table() {
  local peer=$1 rate
  for rate in "${rates[@]}"; do dhcp_rows "plain-$rate" "plain clients" "$rate" "$peer"; done
  for rate in "${boot_rates[@]}"; do dhcp_rows "boot-$rate" "clients that boot" "$rate" "$peer"; done
  row "resident memory after ${rates[-1]}/s" "MiB" low "plain-${rates[-1]}-rss" "$peer"
  table "Kea, $2"
}

dhcp() {
  local run rate
  for ((run = 1; run <= runs; run++)); do
    for rate in "${rates[@]}"; do
      say "DHCP, run $run of $runs: $rate/s"
      dhcp_round "plain-$rate" "$rate"
    done
    for rate in "${boot_rates[@]}"; do
      say "DHCP, clients that boot, run $run of $runs: $rate/s"
      dhcp_round "boot-$rate" "$rate" "${pxe[@]}"
    done
  done
  dhcp_table packaged "as packaged: 1 thread"
  dhcp_table threaded "$(nproc) threads"
  cat <<'WORDS'

Reveille has each lease flushed to the disk before its ACK leaves; Kea's memfile writes and does not flush.
At their default levels Kea logs a line or more for each exchange, Reveille only for clients that boot.
perfdhcp is one client with one receive buffer: when it is short of processor time, answers get lost in it.
WORDS
}

# === TFTP ===

# MB/s of one client: `fetch_tftp ADDRESS BLKSIZE FILE`.
fetch_tftp() {
  local speed
  speed=$(on_client curl -sf -o /dev/null -w '%{speed_download}' --tftp-blksize "$2" "tftp://$1/$3") ||
    die "curl tftp://$1/$3: exit code $?"
  awk -v speed="$speed" 'BEGIN { print speed / 1e6 }' | short
}

# MB/s of eight clients at once.
fetch_tftp_eight() {
  local begun ended client_of
  local -a clients=()
  begun=$EPOCHREALTIME
  for _ in {1..8}; do
    fetch_tftp "$1" 1468 share >/dev/null &
    clients+=($!)
  done
  for client_of in "${clients[@]}"; do wait "$client_of" || die "a TFTP client failed"; done
  ended=$EPOCHREALTIME
  awk -v a="$begun" -v b="$ended" -v mib="$share" 'BEGIN { print 8 * mib * 1.048576 / (b - a) }' | short
}

tftp() {
  local run who at speed ours theirs file=64M mib=64
  if $quick; then file=share mib=$share; fi
  start_reveille
  start_tftpd
  for ((run = 1; run <= runs; run++)); do
    say "TFTP, run $run of $runs"
    for who in ours theirs; do
      at=${who}_at
      speed=$(fetch_tftp "${!at}" 512 "$file")
      note 512 "$who" "$speed"
      speed=$(fetch_tftp "${!at}" 1468 "$file")
      note 1468 "$who" "$speed"
      speed=$(fetch_tftp_eight "${!at}")
      note eight "$who" "$speed"
    done
  done
  note rss ours "$(memory VmRSS "$ours" | mebibytes)"
  note rss theirs "$(memory VmRSS "$theirs" | mebibytes)"
  row "one client, $mib MiB, blksize 512" "MB/s" high 512
  row "one client, $mib MiB, blksize 1468" "MB/s" high 1468
  row "8 clients, $share MiB each, blksize 1468" "MB/s" high eight
  row "resident memory after it" "MiB" low rss
  table "tftpd-hpa"
  stop "$ours"
  stop "$theirs"
}

# === HTTP ===

# `load KEY WHO ADDRESS PID FILE`: one run of wrk.
load() {
  local key=$1 who=$2 at=$3 pid=$4 file=$5 before total rate
  before=$(cpu_ticks "$pid")
  # On a busy machine sixteen answers of 64 MiB take more than the two seconds that wrk waits by itself.
  on_client wrk -t1 -c16 --timeout 30s "-d${seconds}s" "http://$at/$file" >"$work/wrk"
  if grep 'Socket errors\|Non-2xx' "$work/wrk" >&2; then die "wrk met errors"; fi
  total=$(awk '/ requests in / { print $1 }' "$work/wrk")
  rate=$(awk '/^Requests\/sec:/ { print $2 }' "$work/wrk")
  if [[ $file == *M ]]; then
    note "$key-cost" "$who" "$(cost "$pid" "$before" "$((total * ${file%M}))")"
    rate=$(awk -v rate="$rate" -v mib="${file%M}" 'BEGIN { print rate * mib * 1.048576 }')
  else
    note "$key-cost" "$who" "$(cost "$pid" "$before" "$total")"
  fi
  note "$key" "$who" "$(short <<<"$rate")"
}

http() {
  local run who at file ours theirs
  start_reveille
  start_nginx
  for ((run = 1; run <= runs; run++)); do
    say "HTTP, run $run of $runs"
    for file in 64M 1M 2K; do
      for who in ours theirs; do
        at=${who}_at
        load "$file" "$who" "${!at}" "${!who}" "$file"
      done
    done
  done
  note rss ours "$(memory VmRSS "$ours" | mebibytes)"
  note rss theirs "$(memory VmRSS "$theirs" | mebibytes)"
  note peak ours "$(memory VmHWM "$ours" | mebibytes)"
  note peak theirs "$(memory VmHWM "$theirs" | mebibytes)"
  row "16 connections, 64 MiB file" "MB/s" high 64M
  row "- CPU for a MiB" "us" low 64M-cost
  row "16 connections, 1 MiB file" "MB/s" high 1M
  row "- CPU for a MiB" "us" low 1M-cost
  row "16 connections, 2 KiB file" "requests/s" high 2K
  row "- CPU for a request" "us" low 2K-cost
  row "resident memory after it" "MiB" low rss
  row "resident memory at most" "MiB" low peak
  table "nginx"
  stop "$ours"
  stop "$theirs"
}

# === all of it ===

version_of() { dpkg-query -W -f '${Version}' "$1" 2>/dev/null || echo 'version unknown'; }

heading() {
  local system='unknown system'
  [[ -r /etc/os-release ]] && system=$(sed -n 's/^PRETTY_NAME="\?\([^"]*\).*/\1/p' /etc/os-release)
  printf 'Reveille %s beside its peers, %s\n\n' "$("$PEERS_BIN" --version | awk '{ print $NF }')" "$(date -u +%F)"
  printf -- '- machine: %s cores shared by server and client, Linux %s, %s, load %s before the run\n' \
    "$(nproc)" "$(uname -r)" "$system" "$(cut -d ' ' -f 1 /proc/loadavg)"
  printf -- '- leases and files on: %s\n' "$(stat -f -c %T "$work")"
  printf -- '- peers: Kea %s, tftpd-hpa %s, nginx %s; clients: perfdhcp of the same Kea, curl %s, wrk %s\n' \
    "$(version_of kea-dhcp4-server)" "$(version_of tftpd-hpa)" "$(version_of nginx-light)" \
    "$(version_of curl)" "$(version_of wrk)"
  printf -- '- best of %s runs of %s s each, in turns; ratio: Reveille divided by the peer\n  (above 1 is good for what is done a second, below 1 for what it costs)\n' "$runs" "$seconds"
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
