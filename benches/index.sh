#!/bin/sh
# Memory for a big index: an Artifact of 10,000 files of 10 MB, 100 GB as HTTP tells
# it, beside a service without any. The files share their bytes and were not fetched
# one by one, so that it takes 10 MB of disk and no hour of hashing: one file comes
# by an archive, the others are linked to it, and written into the index.
# Usage: benches/index.sh; needs python3 and `cargo build --release`.
set -eu
reveille=${REVEILLE:-target/release/reveille}
dir=$(mktemp -d "${TMPDIR:-/tmp}/index.XXXXXX")
service=
trap '[ -z "$service" ] || kill "$service"; rm -rf "$dir"' EXIT
mkdir "$dir/none" "$dir/boot" "$dir/tree" "$dir/loaders" "$dir/host"
head -c 10000000 /dev/urandom > "$dir/host/first"
tar -C "$dir/host" -cf "$dir/host/a.tar" first
cat > "$dir/boot/a.yaml" <<YAML
apiVersion: reveille.dev/v1alpha1
kind: Artifact
metadata: {name: big}
spec: {archive: {url: "file://$dir/host/a.tar", format: Tar}}
YAML
"$reveille" artifacts pull -f "$dir/boot" --artifact-files "$dir/host" --artifact-store "$dir/full"
python3 - "$dir/full/trees/default/big" <<'PY'
import json, os, pathlib, sys
home = pathlib.Path(sys.argv[1])
index = json.loads((home / "index.json").read_text())
first = index["files"]["first"]
for number in range(10_000):
    path = f"images/part-{number // 100:03}/file-{number:05}.img"
    (home / "1" / path).parent.mkdir(parents=True, exist_ok=True)
    os.link(home / "1/first", home / "1" / path)
    index["files"][path] = first
(home / "index.json").write_text(json.dumps(index))
PY
memory() { awk '/^VmRSS/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$service/status"; }
for what in none boot; do
    store="$dir/empty"
    [ "$what" = none ] || store="$dir/full"
    "$reveille" serve "$dir/$what" --state "$dir/state-$what" --artifacts "$dir/tree" --loaders "$dir/loaders" \
        --artifact-store "$store" --artifact-files "$dir/host" \
        --http 127.0.0.1:18766 --tftp 127.0.0.1:0 --admin 127.0.0.1:18767 --log warn 2>"$dir/log" &
    service=$!
    until curl -sf -o /dev/null http://127.0.0.1:18767/artifacts; do sleep 0.2; done
    sleep 5
    printf '%s: %s at rest' "$what" "$(memory)"
    if [ "$what" = boot ]; then
        python3 - <<'PY'
import http.client
door = http.client.HTTPConnection("127.0.0.1", 18766)
for number in range(10_000):
    path = f"/artifacts/default/big/1/images/part-{number // 100:03}/file-{number:05}.img"
    door.request("GET", path, headers={"Range": "bytes=9000000-9000999"})
    answer = door.getresponse()
    assert answer.status == 206 and answer.headers["Content-Range"] == "bytes 9000000-9000999/10000000"
    assert len(answer.read()) == 1000
PY
        printf ', %s after each file was asked for' "$(memory)"
    fi
    echo
    kill "$service"
    wait "$service" || true
    service=
done
