# DHCP by Kea's own load generator, against Kea and a server that keeps nothing. Sourced by ../peers.sh.
# shellcheck shell=bash disable=SC2154,SC2034
source "$here/peers/dhcp.sh"

# Exchanges that are offered a second: below, at and above what one thread of the generator gets through.
offered=(10000 20000 30000 40000)

# `swept WHO PID START…`: the most exchanges a second that one server completes, begun anew for each rate.
swept() {
  local who=$1 rate said done best=0
  shift
  for rate in "${offered[@]}"; do
    "$@"
    # It exits with 3 where an exchange was not completed, which is what overload is.
    said=$(on_client perfdhcp -4 -l cl0 -R 1000000 -r "$rate" -p "$brief" -W 200000 "$ours_at" 2>&1) ||
      (($? == 3)) || die "perfdhcp: $(tail -n 3 <<<"$said")"
    stop "$started"
    done=$(sed -n 's/^Rate: \([0-9.]*\) 4-way.*/\1/p' <<<"$said")
    [[ -n $done ]] || die "perfdhcp said no rate: $(tail -n 3 <<<"$said")"
    best=$(awk -v a="$best" -v b="$done" 'BEGIN { printf "%.0f", (a > b ? a : b) }')
    say "  $who, $rate/s offered: $done/s"
  done
  note swept "$who" "$best"
}

ceiling() {
  local run ours theirs started
  for ((run = 1; run <= runs; run++)); do
    say "perfdhcp, run $run of $runs"
    swept ours ours_starts
    swept packaged kea_starts false
    swept threaded kea_starts true
    swept nothing responder_starts
  done
  local peer
  for peer in "packaged|Kea, as packaged: 1 thread" "threaded|Kea, $(nproc) threads" "nothing|a server that decides and keeps nothing"; do
    row "most exchanges by perfdhcp, ${offered[0]} to ${offered[-1]}/s offered" "exchanges/s" swept "${peer%%|*}"
    table "${peer#*|}"
  done
}
