#!/bin/sh
# Memory for a big index: 200 Artifacts with 10,000 files of 10 MB, 100 GB as HTTP
# tells it, beside a service without any. The files share their bytes, so that it
# takes 10 MB of disk and no hour of hashing. Usage: benches/index.sh; needs python3
# and `cargo build --release`.
set -eu
reveille=${REVEILLE:-target/release/reveille}
dir=$(mktemp -d "${TMPDIR:-/tmp}/index.XXXXXX")
service=
trap '[ -z "$service" ] || kill "$service"; rm -rf "$dir"' EXIT
mkdir "$dir/none" "$dir/boot" "$dir/tree" "$dir/loaders" "$dir/host"
head -c 10000000 /dev/urandom > "$dir/host/file"
python3 - "$dir" "$(sha256sum "$dir/host/file" | cut -d' ' -f1)" <<'PY'
import pathlib, sys
folder, digest = pathlib.Path(sys.argv[1]), sys.argv[2]
for number in range(200):
    files = "".join(f"    - {{path: part/{at:03}.img, url: 'file://{folder}/host/file', sha256: {digest}}}\n" for at in range(50))
    head = f"apiVersion: reveille.dev/v1alpha1\nkind: Artifact\nmetadata: {{name: a{number:03}}}\nspec:\n  files:\n"
    (folder / f"boot/{number:03}.yaml").write_text(head + files)
PY
"$reveille" artifacts pull -f "$dir/boot" --artifact-files "$dir/host" --artifact-store "$dir/full" | tail -1
memory() { awk '/^VmRSS/ { printf "%.1f MiB", $2 / 1024 }' "/proc/$service/status"; }
for what in none boot; do
    store="$dir/empty"
    [ "$what" = none ] || store="$dir/full"
    "$reveille" serve "$dir/$what" --state "$dir/state-$what" --artifacts "$dir/tree" --loaders "$dir/loaders" \
        --artifact-store "$store" --artifact-files "$dir/host" \
        --http 127.0.0.1:18766 --tftp 127.0.0.1:0 --admin 127.0.0.1:18767 --log warn 2>"$dir/log" &
    service=$!
    sleep 5
    printf '%s: %s at rest' "$what" "$(memory)"
    if [ "$what" = boot ]; then
        python3 - <<'PY'
import http.client
door = http.client.HTTPConnection("127.0.0.1", 18766)
for number in range(200):
    for at in range(50):
        door.request("GET", f"/artifacts/default/a{number:03}/1/part/{at:03}.img", headers={"Range": "bytes=9000000-9000999"})
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
