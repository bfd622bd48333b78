# DHCP with many leases and reservations: ours full beside ours empty. Sourced by ../peers.sh.
# shellcheck shell=bash disable=SC2154,SC2034
source "$here/peers/dhcp.sh"

# `lease_lines COUNT`: leases of another network, as Kea keeps them.
lease_lines() {
  echo address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id
  awk -v count="$1" -v end="$(($(date +%s) + 86400))" 'BEGIN {
    for (n = 1; n <= count; n++)
      printf "10.%d.%d.%d,02:00:%02x:%02x:%02x:%02x,,86400,%d,1,0,0,,0,,0\n", 96 + int(n / 65536), int(n / 256) % 256,
        n % 256, int(n / 16777216), int(n / 65536) % 256, int(n / 256) % 256, n % 256, end
  }'
}

# `fill LEASES RESERVATIONS`: the state and the manifests.
fill() {
  rm -rf "$work/state"
  mkdir -p "$work/state"
  cat >"$work/manifests/other.yaml" <<'YAML'
apiVersion: reveille.dev/v1alpha1
kind: Subnet
metadata: {name: other}
spec: {mode: Server, cidr: 10.96.0.0/11, pools: [{start: 10.96.0.1, end: 10.127.255.254}]}
YAML
  lease_lines "$1" | "$PEERS_BIN" leases import - --format kea --state "$work/state" \
    --manifests "$work/manifests" >"$work/log/import" 2>&1 || die "import: $(tail -n 3 "$work/log/import")"
  awk -v count="$2" -v network="$network" 'BEGIN {
    for (n = 0; n < count; n++)
      printf "---\napiVersion: reveille.dev/v1alpha1\nkind: Machine\nmetadata: {name: m%d}\nspec: {mac: \"06:00:00:00:%02x:%02x\", address: %s.%d.%d}\n",
        n, int(n / 256), n % 256, network, 1 + int(n / 250), 1 + n % 250
  }' >"$work/manifests/machines.yaml"
}

leases() {
  local run ours theirs started begun keep_state
  for ((run = 1; run <= runs; run++)); do
    say "leases, run $run of $runs"
    rm -f "$work/manifests/other.yaml" "$work/manifests/machines.yaml"
    keep_state='' start_reveille
    exchange held empty "$ours_at" "$ours" --flight 64
    stop "$ours"
    fill 100000 10000
    keep_state=yes start_reveille
    exchange held ours "$ours_at" "$ours" --flight 64
    stop "$ours"
  done
  rm -f "$work/manifests/machines.yaml"
  fill 1000000 0
  begun=$EPOCHREALTIME
  keep_state=yes start_reveille
  note start ours "$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }')"
  note start empty 2
  note start-rss ours "$(memory VmRSS "$ours" | mebibytes)"
  note start-rss empty 250
  stop "$ours"
  rm -f "$work/manifests/other.yaml" "$work/manifests/machines.yaml"
  row "100,000 leases, 10,000 reservations; 64 exchanges in flight" "exchanges/s" held-rate empty
  row "- CPU for an exchange" "us" held-cost empty
  row "from the start with 1,000,000 leases until it is ready" "s" start empty
  row "- resident memory then" "MiB" start-rss empty
  table "empty, or promised"
}
