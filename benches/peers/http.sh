# HTTP and HTTPS against nginx. Sourced by ../peers.sh.
# shellcheck shell=bash disable=SC2154,SC2034

# `load KEY WHO URL PID CONNECTIONS [MIB]`: one run of wrk; the CPU for a MiB, or for a request.
load() {
  local key=$1 who=$2 url=$3 pid=$4 connections=$5 mib=${6:-} before total rate
  before=$(cpu_ticks "$pid")
  # On a busy machine hundreds of answers of 64 MiB take more than the two seconds that wrk waits by itself.
  on_client wrk -t1 "-c$connections" --timeout 60s "-d${seconds}s" "$url" >"$work/wrk"
  if grep 'Socket errors\|Non-2xx' "$work/wrk" >&2; then die "wrk met errors at $url"; fi
  total=$(awk '/ requests in / { print $1 }' "$work/wrk")
  rate=$(awk '/^Requests\/sec:/ { print $2 }' "$work/wrk")
  if [[ -n $mib ]]; then
    # What was on its way at the end was sent and is in no request: bytes count.
    total=$(awk '/ requests in / { size = $(NF - 1); unit = 1
      if (size ~ /GB$/) unit = 1024; if (size ~ /KB$/) unit = 1 / 1024; print size * unit }' "$work/wrk")
    rate=$(awk '/^Transfer\/sec:/ { size = $2; unit = 1; if (size ~ /GB$/) unit = 1024
      if (size ~ /KB$/) unit = 1 / 1024; print size * unit * 1.048576 }' "$work/wrk")
  fi
  note "$key-cost" "$who" "$(cost "$pid" "$before" "$total")"
  note "$key" "$who" "$(short <<<"$rate")"
}

# Where our script of a machine is, and a file of its size for the peer.
script_path=/reveille/machines/52-54-00-00-00-01/boot.ipxe

# `static_script FILE`
static_script() {
  mkdir -p "$(dirname "$1")"
  curl -sf "http://$ours_at$script_path" >"$1" || die "no script at $script_path"
}

http() {
  local run who at file connections ours theirs
  # wrk is one address.
  start_reveille --http-connections-per-client 1024
  static_script "$work/files/script.ipxe"
  start_nginx
  for ((run = 1; run <= runs; run++)); do
    say "HTTP, run $run of $runs"
    for file in 64M 1M; do
      for connections in 1 16 256; do
        for who in ours theirs; do
          at=${who}_at
          load "$file-$connections" "$who" "http://${!at}/$file" "${!who}" "$connections" "${file%M}"
        done
      done
    done
    load 2K ours "http://$ours_at/2K" "$ours" 16
    load 2K theirs "http://$theirs_at/2K" "$theirs" 16
    load script ours "http://$ours_at$script_path" "$ours" 16
    load script theirs "http://$theirs_at/script.ipxe" "$theirs" 16
  done
  note rss ours "$(memory VmHWM "$ours" | mebibytes)"
  note rss theirs "$(memory VmHWM "$theirs" | mebibytes)"
  for file in 64M 1M; do
    for connections in 1 16 256; do
      row "${file%M} MiB file, $connections connections" "MB/s" "$file-$connections"
      row "- CPU for a MiB" "us" "$file-$connections-cost"
    done
  done
  row "2 KiB file, 16 connections" "requests/s" 2K
  row "- CPU for a request" "us" 2K-cost
  row "script of a machine, beside a file of its size" "requests/s" script
  row "- CPU for a request" "us" script-cost
  row "resident memory at most" "MiB" rss
  table "nginx"
  stop "$ours"
  stop "$theirs"
}

https() {
  local run who at ours theirs tls=$work/tls
  mkdir -p "$tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench \
    -addext "subjectAltName=IP:$ours_at,IP:$theirs_at" -keyout "$tls/tls.key" -out "$tls/tls.crt" 2>/dev/null
  start_reveille --https "$ours_at:443" --tls "$tls"
  start_nginx "server { listen $theirs_at:443 ssl; root $work/files;
    ssl_certificate $tls/tls.crt; ssl_certificate_key $tls/tls.key; }"
  for ((run = 1; run <= runs; run++)); do
    say "HTTPS, run $run of $runs"
    for who in ours theirs; do
      at=${who}_at
      load tls-64M "$who" "https://${!at}/64M" "${!who}" 4 64
      load tls-1M "$who" "https://${!at}/1M" "${!who}" 16 1
    done
  done
  row "HTTPS, 64 MiB file, 4 connections" "MB/s" tls-64M
  row "- CPU for a MiB" "us" tls-64M-cost
  row "HTTPS, 1 MiB file, 16 connections" "MB/s" tls-1M
  row "- CPU for a MiB" "us" tls-1M-cost
  table "nginx"
  stop "$ours"
  stop "$theirs"
}

# What is left to others while 2,000 clients take a KiB a second.
slow() {
  local run who at ours theirs crawlers
  start_reveille
  start_nginx
  for ((run = 1; run <= runs; run++)); do
    say "slow clients, run $run of $runs"
    for who in ours theirs; do
      at=${who}_at
      load alone "$who" "http://${!at}/1M" "${!who}" 16 1
      on_machines slow --server "${!at}:80" --path /64M --clients 2000 --from "$network.128.1" \
        --seconds $((seconds + 6)) >"$work/slow" &
      crawlers=$!
      sleep 4
      load beside "$who" "http://${!at}/1M" "${!who}" 16 1
      wait "$crawlers"
      note served "$who" "$(value served "$(<"$work/slow")")"
    done
  done
  figures[left/ours]=$(ratios "${figures[beside/ours]% }" "${figures[alone/ours]% }" | paste -sd ' ')
  figures[left/theirs]=$(ratios "${figures[beside/theirs]% }" "${figures[alone/theirs]% }" | paste -sd ' ')
  row "1 MiB file, 16 connections, alone" "MB/s" alone
  row "the same beside 2,000 clients of 1 KiB/s" "MB/s" beside
  row "- part of it alone" "1" left
  row "slow clients that were served" "clients" served
  table "nginx"
  stop "$ours"
  stop "$theirs"
}
