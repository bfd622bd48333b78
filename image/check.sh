#!/usr/bin/env bash
# Builds the image and holds it to what it promises: `image/check.sh [amd64] [arm64]`, both when none is named.
#
# What a Pod makes of it (user, capabilities, read-only root) is tried by `make edge`.
# Exit codes: as build.sh.
set -euo pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/.."
promised=40000000 # bytes, packed, for one architecture
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
die() { printf 'image: %s\n' "$*" >&2; exit 1; }

image/build.sh "$@" | tee "$work/built"
value() { sed -n "s/^$1=\([^ ]*\).*/\1/p" "$work/built"; }

# === one digest ===

# Packed twice, with times and owners of files changed between: the same bytes. (The compiler's part of that:
# the same sources in the same folder give the same program; `cargo` is not run twice here.)
cp "$(value image)" "$work/first.tar"
touch "$(value 'binary-[a-z0-9]*' | head -1)"
image/build.sh "$@" >"$work/again"
cmp "$work/first.tar" "$(value image)" || die "two builds, two images"
cmp "$work/built" "$work/again" || die "two builds, two digests"
echo "two builds: one digest"

# === what is inside ===

python3 - "$work" <<'P'
import io, json, pathlib, sys, tarfile
work = pathlib.Path(sys.argv[1])
archive = tarfile.open(work / "first.tar")
blob = lambda digest: archive.extractfile("blobs/" + digest.replace(":", "/")).read()
top = json.load(archive.extractfile("index.json"))["manifests"][0]
manifest = json.loads(blob(top["digest"]))
for image in manifest.get("manifests", [top]):
    manifest = json.loads(blob(image["digest"]))
    config = json.loads(blob(manifest["config"]["digest"]))
    arch, set_up = config["architecture"], config["config"]
    assert set_up["User"] == "65532:65532", set_up
    labels = set_up["Labels"]
    for name in ("title", "version", "revision", "licenses", "documentation"):
        assert labels[f"org.opencontainers.image.{name}"], labels
    data = blob(manifest["layers"][0]["digest"])
    layer = tarfile.open(fileobj=io.BytesIO(data))
    names = {}
    for member in layer:
        names["/" + member.name] = member
        assert not member.mode & 0o6000, f"{member.name} is set-id"
        assert member.mtime == 0, member.name
    program = names["/usr/bin/reveille"]
    caps = program.pax_headers["SCHILY.xattr.security.capability"].encode()
    # Revision 2, no effective bit; CAP_NET_BIND_SERVICE and CAP_NET_RAW permitted.
    assert caps == bytes.fromhex("0000000200240000" + "00" * 12), caps.hex()
    for name in ("undionly.kpxe", "ipxe.efi", "ipxe-arm64.efi"):
        assert f"/usr/lib/ipxe/{name}" in names, f"no {name}"
    for name in ("/etc/ssl/certs/ca-certificates.crt", "/usr/share/doc/reveille/sbom.cdx.json",
                 "/usr/share/doc/reveille/LICENSE", "/usr/share/doc/reveille/NOTICE"):
        assert names[name].size > 0, name
    assert names["/tmp"].mode == 0o1777 and names["/var/lib/reveille"].uid == 65532
    sbom = json.load(layer.extractfile("usr/share/doc/reveille/sbom.cdx.json"))
    parts = {part["name"] for part in sbom["components"]}
    assert {"tokio", "kube", "ipxe"} <= parts, sorted(parts)
    layer.extractall(work / arch, filter="fully_trusted") if hasattr(tarfile, "fully_trusted_filter") else layer.extractall(work / arch)
    loaders = sum(name.startswith("/usr/lib/ipxe/") for name in names)
    print(f"{arch}: {len(data) / 1e6:.1f} MB packed, program {program.size / 1e6:.1f} MB, "
          f"{loaders} loaders, {len(parts)} parts in the SBOM")
    (work / f"{arch}.size").write_text(str(len(data)))
P
for size in "$work"/*.size; do
  (($(cat "$size") < promised)) || die "$(basename "$size" .size): $(cat "$size") bytes; $promised are promised"
done

# === it runs ===

# As user 65532 without any capability, with nothing around it but the image.
run() {
  local arch=$1 root=$work/$1
  shift
  local -a emulator=()
  if [[ $arch == arm64 && $(uname -m) == x86_64 ]]; then
    install -m 755 "$(command -v qemu-aarch64-static)" "$root/qemu"
    emulator=(/qemu)
  fi
  python3 -c '
import ctypes, os, sys
os.chroot(sys.argv[1])
os.chdir("/")
drop = 24 # PR_CAPBSET_DROP
for capability in range(64):
    ctypes.CDLL(None).prctl(drop, capability, 0, 0, 0)
os.setgroups([]); os.setgid(65532); os.setuid(65532)
os.execve(sys.argv[2], sys.argv[2:], {"PATH": "/usr/bin"})
' "$root" "${emulator[@]}" /usr/bin/reveille "$@"
}

if ((EUID != 0)); then
  echo "not root: it is not started here"
  exit
fi
for arch in amd64 arm64; do
  [[ -d $work/$arch ]] || continue
  if [[ $arch == arm64 && $(uname -m) == x86_64 ]] && ! command -v qemu-aarch64-static >/dev/null; then
    echo "arm64: not started; as root: apt-get install qemu-user-static"
    continue
  fi
  cp -r examples/first-light "$work/$arch/manifests"
  chmod -R a+rX "$work/$arch/manifests"
  said=$(run "$arch" --version)
  [[ $said == reveille\ * ]] || die "$arch: $said"
  run "$arch" check /manifests >/dev/null || die "$arch: reveille check"
  echo "$arch: starts as user 65532 without capabilities: $said"
done

# Names by DNS, which a static C library might not find: one server, in a network of its own.
[[ -d $work/amd64 ]] || exit 0
echo 'nameserver 127.0.0.1' >"$work/amd64/etc/resolv.conf"
cat >"$work/names.py" <<'P'
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
print("ready", flush=True)
while True:
    query, peer = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    wants_v4 = query[end - 4:end - 2] == b"\0\1"
    head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if wants_v4 else b"\0\0") + b"\0\0\0\0"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\x02" if wants_v4 else b""
    server.sendto(head + query[12:end] + answer, peer)
P
export -f run
export work
said=$(unshare --net bash -c '
  ip link set lo up
  exec 3< <(exec python3 "$work/names.py")
  names=$!
  read -r <&3
  run amd64 probe boot.example --timeout 2 || true
  kill "$names"') || die "no network of its own"
[[ $said == *127.0.0.2:9167* ]] || die "boot.example is not found: $said"
echo "amd64: finds names by DNS"

# === a new user's way ===

tests/image/container.sh "$work/first.tar"
