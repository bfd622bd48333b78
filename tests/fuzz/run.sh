#!/usr/bin/env bash
# Runs fuzz targets and tells how it went: what was run for how long, and what it found.
#
#   tests/fuzz/run.sh dhcp4 100000000   so many inputs of one target
#   tests/fuzz/run.sh                   a million of each
#   tests/fuzz/run.sh --keep            makes the seeds anew: the least inputs that reach what the corpus does
#
# The corpus grows in tests/fuzz/corpus, and is gone on with; what panics is left in tests/fuzz/found.
# A find becomes a seed of its target by `cp`, once it is mended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

targets=(dhcp4 dhcp6 tftp http)
# A packet of an Ethernet frame and what relays add; a request line of HTTP.
longest=1600
# Bytes of one seed at most, where the seeds are made.
seed_longest=600

host=$(rustc -vV | sed -n 's/^host: //p')
# Which pieces of code ran and what they compared, as libFuzzer reads it; the stable compiler has that, too.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table"
# With a target named, what runs while it is built (build scripts, macros) has no counters.
cargo build --release --quiet --target "$host" --target-dir target
built=target/$host/release

run() {
  local target=$1 runs=$2 began=$SECONDS log
  mkdir -p "corpus/$target" found
  log=found/$target.log
  if "$built/$target" "corpus/$target" "seeds/$target" -runs="$runs" -max_len=$longest -timeout=10 \
    -rss_limit_mb=2048 -artifact_prefix="found/$target-" -print_final_stats=1 >"$log" 2>&1; then
    printf '%s: %s inputs in %s s, %s\n' "$target" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" $((SECONDS - began)) \
      "$(sed -n 's/.*\(cov: [0-9]* ft: [0-9]* corp: [0-9]*\).*/\1/p' "$log" | tail -1)"
  else
    tail -40 "$log"
    printf '%s: FOUND something; the input is in tests/fuzz/found\n' "$target"
    return 1
  fi
}

keep() {
  local target=$1 fresh
  fresh=$(mktemp -d)
  "$built/$target" -set_cover_merge=1 -max_len=$seed_longest "$fresh" "seeds/$target" "corpus/$target" >/dev/null 2>&1
  rm -rf "seeds/$target"
  mv "$fresh" "seeds/$target"
  chmod 755 "seeds/$target"
  printf '%s: %s seeds, %s bytes\n' "$target" "$(find "seeds/$target" -type f | wc -l)" \
    "$(find "seeds/$target" -type f -printf '%s\n' | awk '{ all += $1 } END { print all }')"
}

case ${1:-} in
  --keep) for target in "${targets[@]}"; do keep "$target"; done ;;
  "") for target in "${targets[@]}"; do run "$target" "${REVEILLE_FUZZ_RUNS:-1000000}"; done ;;
  *) run "$1" "${2:-${REVEILLE_FUZZ_RUNS:-1000000}}" ;;
esac
