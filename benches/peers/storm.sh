# A thousand machines at once, against Kea, tftpd-hpa and nginx together. Sourced by ../peers.sh.
# shellcheck shell=bash disable=SC2154,SC2034

# `storm_of WHO SCRIPT PID…`
storm_of() {
  local who=$1 script=$2 pid before=0 after=0 line
  shift 2
  for pid in "$@"; do before=$((before + $(cpu_ticks "$pid"))); done
  line=$(on_machines storm --server "$ours_at" --relay "$client_at" --clients "$machines_count" \
    --loader ipxe.efi --script "$script" --kernel /kernel --initrd /initrd) || die "storm: $line"
  sleep 0.3
  for pid in "$@"; do after=$((after + $(cpu_ticks "$pid"))); done
  say "$who: $line"
  note seconds "$who" "$(value seconds "$line")"
  note median "$who" "$(value median "$line")"
  note address "$who" "$(value address "$line")"
  note loader "$who" "$(value loader "$line")"
  note script "$who" "$(value script "$line")"
  note failed "$who" "$(value failed "$line")"
  note again "$who" "$(value again "$line")"
  note cpu "$who" "$(awk -v t="$((after - before))" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t / hz }')"
}

storm() {
  local run ours theirs kea tftpd nginx machines_count=1000
  $quick && machines_count=200
  # The three stand where we do: one address at a time.
  theirs_at=$ours_at
  for ((run = 1; run <= runs; run++)); do
    say "storm, run $run of $runs"
    start_reveille
    curl -sf "http://$ours_at/reveille/machines/52-54-00-00-00-01/boot.ipxe" >"$work/files/script.ipxe"
    storm_of ours /reveille/machines/MAC/boot.ipxe "$ours"
    note rss ours "$(memory VmHWM "$ours" | mebibytes)"
    stop "$ours"
    start_kea true && kea=$theirs
    start_tftpd && tftpd=$theirs
    start_nginx && nginx=$theirs
    storm_of theirs /script.ipxe "$kea" "$tftpd" "$nginx"
    note rss theirs "$(for pid in "$kea" "$tftpd" "$nginx"; do memory VmHWM "$pid"; done | awk '{ sum += $1 } END { print sum }' | mebibytes)"
    for pid in "$kea" "$tftpd" "$nginx"; do stop "$pid"; done
  done
  row "all $machines_count machines have all" "s" seconds
  row "- half of them" "s" median
  row "- 99 % have an address" "s" address
  row "- 99 % have their loader (1 MiB, TFTP)" "s" loader
  row "- 99 % have their script" "s" script
  row "CPU of the servers" "s" cpu
  row "machines that failed" "machines" failed
  row "packets that clients said again" "packets" again
  row "resident memory at most" "MiB" rss
  table "Kea (2 threads) + tftpd-hpa + nginx"
}
