# TFTP against tftpd-hpa. Sourced by ../peers.sh.
# shellcheck shell=bash disable=SC2154,SC2034

# `load_tftp KEY WHO ADDRESS PID MIB options…`: MB/s and CPU of one round.
load_tftp() {
  local key=$1 who=$2 at=$3 pid=$4 before line mib
  shift 4
  before=$(cpu_ticks "$pid")
  line=$(on_machines tftp --server "$at:69" "$@") || die "TFTP: $line"
  [[ $(value failed "$line") == 0 ]] || say "TFTP, $key, $who: $line"
  # Children are counted when they have ended.
  sleep 0.3
  mib=$(value mib "$line")
  note "$key" "$who" "$(value mbps "$line")"
  note "$key-cost" "$who" "$(cost "$pid" "$before" "$mib")"
  note "$key-again" "$who" "$(value again "$line")"
  note "$key-failed" "$who" "$(value failed "$line")"
}

tftp() {
  local run who at pid ours theirs file=64M clients=1000
  $quick && clients=200
  start_reveille
  start_tftpd
  for ((run = 1; run <= runs; run++)); do
    say "TFTP, run $run of $runs"
    for who in ours theirs; do
      at=${who}_at at=${!at} pid=${!who}
      load_tftp 512 "$who" "$at" "$pid" --file 64M --blksize 512
      load_tftp 1468 "$who" "$at" "$pid" --file 64M
      load_tftp w16 "$who" "$at" "$pid" --file 64M --windowsize 16
      load_tftp w64 "$who" "$at" "$pid" --file 64M --windowsize 64
      load_tftp many "$who" "$at" "$pid" --file 1M --clients "$clients" --from "$network.128.1"
      note rss "$who" "$(memory VmHWM "$pid" | mebibytes)"
      load_tftp edk2 "$who" "$at" "$pid" --file 1M --clients "$clients" --from "$network.128.1" --windowsize 4
    done
  done
  row "one client, 64 MiB, blksize 512, lock-step" "MB/s" 512
  row "- CPU for a MiB" "us" 512-cost
  row "one client, 64 MiB, blksize 1468, lock-step" "MB/s" 1468
  row "- CPU for a MiB" "us" 1468-cost
  row "the same, windowsize 16 is asked" "MB/s" w16
  row "the same, windowsize 64 is asked" "MB/s" w64
  row "- CPU for a MiB" "us" w64-cost
  row "$clients clients at once, 1 MiB, lock-step" "MB/s" many
  row "- CPU for a MiB" "us" many-cost
  row "- said again by clients" "packets" many-again
  row "- clients that failed" "clients" many-failed
  row "the same, windowsize 4 is asked, as EDK2 does" "MB/s" edk2
  row "- CPU for a MiB" "us" edk2-cost
  row "resident memory at most" "MiB" rss
  table "tftpd-hpa"
  stop "$ours"
  stop "$theirs"
}
