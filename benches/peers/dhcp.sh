# DHCP against Kea. Sourced by ../peers.sh.
# shellcheck shell=bash disable=SC2154,SC2034

# Seconds of a measure: the pool has 49,151 addresses and each exchange takes one, some 20,000 a second.
brief=1

# `exchange KEY WHO ADDRESS PID options…`
exchange() {
  local key=$1 who=$2 at=$3 pid=$4 before line name
  shift 4
  before=$(cpu_ticks "$pid")
  line=$(on_machines dhcp --server "$at" --relay "$client_at" --seconds "$brief" "$@")
  note "$key-cost" "$who" "$(cost "$pid" "$before" "$(value 'done' "$line")")"
  note "$key-lost" "$who" "$(awk -v a="$(value lost "$line")" -v b="$(value begun "$line")" 'BEGIN { printf "%.1f", 100 * a / b }')"
  for name in rate offer-median offer-p99 ack-median ack-p99; do
    note "$key-$name" "$who" "$(value "$name" "$line")"
  done
}

# `dhcp_round WHO ADDRESS PID`: what one server does, begun anew for each measure.
dhcp_round() {
  local who=$1 at=$2 best
  shift 2
  "$@"
  exchange flight "$who" "$at" "$started" --flight 64
  note rss "$who" "$(memory VmRSS "$started" | mebibytes)"
  best=$(awk '{ print int($NF) }' <<<"${figures[flight-rate/$who]}")
  stop "$started"
  "$@"
  exchange uefi "$who" "$at" "$started" --flight 64 --uefi true
  stop "$started"
  "$@"
  exchange r2000 "$who" "$at" "$started" --rate 2000
  stop "$started"
  "$@"
  exchange over "$who" "$at" "$started" --rate $((3 * best))
  stop "$started"
  note kept "$who" "$(awk -v a="${figures[over-rate/$who]% }" -v b="$best" 'BEGIN { n = split(a, all, " "); printf "%.2f", all[n] / b }')"
}

ours_starts() { start_reveille; started=$ours; }
responder_starts() {
  "$PEERS_MACHINES" responder --at "$ours_at" --network "$network.0.0" &
  started=$!
  sleep 0.2
}
kea_starts() { start_kea "$1"; started=$theirs; }

dhcp_table() {
  local peer=$1
  row "64 exchanges in flight" "exchanges/s" flight-rate "$peer"
  row "- CPU for an exchange" "us" flight-cost "$peer"
  row "the same, clients that boot by UEFI" "exchanges/s" uefi-rate "$peer"
  row "- CPU for an exchange" "us" uefi-cost "$peer"
  row "2,000/s are offered" "exchanges/s" r2000-rate "$peer"
  row "- unanswered" "%" r2000-lost "$peer"
  row "- DISCOVER to OFFER, median" "ms" r2000-offer-median "$peer"
  row "- DISCOVER to OFFER, p99" "ms" r2000-offer-p99 "$peer"
  row "- REQUEST to ACK, median" "ms" r2000-ack-median "$peer"
  row "- REQUEST to ACK, p99" "ms" r2000-ack-p99 "$peer"
  row "three times the first row are offered" "exchanges/s" over-rate "$peer"
  row "- part of the first row" "1" kept "$peer"
  row "- DISCOVER to OFFER, median" "ms" over-offer-median "$peer"
  row "- REQUEST to ACK, median" "ms" over-ack-median "$peer"
  row "resident memory after the first row" "MiB" rss "$peer"
  table "Kea, $2"
}

dhcp() {
  local run ours theirs started
  for ((run = 1; run <= runs; run++)); do
    say "DHCP, run $run of $runs"
    dhcp_round ours "$ours_at" ours_starts
    # Kea 2.2 runs one thread unless told otherwise, as packaged; newer ones as many as there are cores.
    dhcp_round packaged "$ours_at" kea_starts false
    dhcp_round threaded "$ours_at" kea_starts true
    responder_starts
    exchange flight nothing "$ours_at" "$started" --flight 64
    stop "$started"
  done
  dhcp_table packaged "as packaged: 1 thread"
  dhcp_table threaded "$(nproc) threads"
  row "64 exchanges in flight" "exchanges/s" flight-rate nothing
  row "- CPU for an exchange" "us" flight-cost nothing
  table "a server that decides and keeps nothing"
  cat <<'WORDS'

Reveille has each lease flushed to the disk before its ACK leaves; Kea's memfile writes and does not flush.
At their default levels Kea logs a line or more for each exchange, Reveille only for clients that boot.
WORDS
}
