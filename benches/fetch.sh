#!/bin/sh
# Fetch and verify of one file against `curl | sha256sum`, in one run, from a web
# server of this host. Usage: [ROUNDS=1] [SPARSE=1] benches/fetch.sh [MEGABYTES]; needs
# python3 and curl, and `cargo build --release`. SPARSE: the server's file takes no disk.
set -eu
mb=${1:-1000}
reveille=${REVEILLE:-target/release/reveille}
dir=$(mktemp -d "${TMPDIR:-/tmp}/fetch.XXXXXX")
mkdir "$dir/web"
if [ -n "${SPARSE:-}" ]; then
    truncate -s "${mb}000000" "$dir/web/file"
else
    head -c "${mb}000000" /dev/urandom > "$dir/web/file"
fi
digest=$(sha256sum "$dir/web/file" | cut -d' ' -f1)
python3 -m http.server 18765 --bind 127.0.0.1 --directory "$dir/web" >/dev/null 2>&1 &
server=$!
trap 'kill $server; rm -rf "$dir"' EXIT
until curl -sf -r 0-0 -o /dev/null http://127.0.0.1:18765/file; do sleep 0.2; done
cat > "$dir/a.yaml" <<YAML
apiVersion: reveille.dev/v1alpha1
kind: Artifact
metadata: {name: file}
spec: {files: [{path: file, url: "http://127.0.0.1:18765/file", sha256: $digest}]}
YAML
now() { date +%s.%N; }
for round in $(seq "${ROUNDS:-3}"); do
    a=$(now); curl -s http://127.0.0.1:18765/file | sha256sum >/dev/null; b=$(now)
    rm -rf "$dir/store"
    "$reveille" artifacts pull -f "$dir/a.yaml" --artifact-store "$dir/store" >/dev/null; c=$(now)
    echo "$mb $a $b $c" | awk '{ printf "curl | sha256sum %.0f MB/s, pull %.0f MB/s: %.0f %%\n", $1/($3-$2), $1/($4-$3), 100*($3-$2)/($4-$3) }'
done
