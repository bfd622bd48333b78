#!/usr/bin/env python3
"""Packs an image: one layer, no base, no tool but Python. The same files give the same digest.

    image/pack.py OUT NAME:TAG VERSION REVISION ARCH=BINARY:SBOM... -- LOADERS CERTIFICATES [LIBRARY...]

LIBRARY: what a program that is not static is linked to; it keeps its path. OUT is an OCI archive with an image for each ARCH; `podman load -i`, `ctr images import`, `skopeo copy
oci-archive:` read it. Prints the digest of the index and of each image.

The program has CAP_NET_BIND_SERVICE and CAP_NET_RAW as *permitted* file capabilities. With *effective* ones
the kernel would refuse to start it wherever one is not granted; so it starts, raises what it may have, and
says what it leaves out.
"""
import gzip
import hashlib
import io
import json
import pathlib
import struct
import sys
import tarfile

ROOT = pathlib.Path(__file__).parent.parent
USER = 65532
NET_BIND_SERVICE, NET_RAW = 10, 13
# struct vfs_cap_data, revision 2: permitted and inheritable, twice 32 bits; no effective bit.
CAPABILITIES = struct.pack("<5I", 0x02000000, 1 << NET_BIND_SERVICE | 1 << NET_RAW, 0, 0, 0)
# What machines load. An .iso or .lkrn is for people, and stays out.
LOADERS = ("undionly.kpxe", "ipxe.pxe", "ipxe.efi", "snponly.efi", "ipxe-*.efi")
LABELS = {
    "org.opencontainers.image.title": "reveille",
    "org.opencontainers.image.description": "Wakes bare metal: DHCP, TFTP and HTTP boot",
    "org.opencontainers.image.licenses": "Apache-2.0 AND GPL-2.0-or-later",
    "org.opencontainers.image.documentation": "docs/install/container.md",
}
NOTICE = """The program is under Apache-2.0 (/usr/share/doc/reveille/LICENSE).

The files in /usr/lib/ipxe are iPXE {version} as Debian packages it, unchanged, under GPL-2.0-or-later (in
part also under the Unmodified Binary Distribution Licence). Their source is Debian's source package `ipxe`
of that version. They run on other machines; the program does not link to them.
"""


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layer:
    """A tar archive whose bytes depend on nothing but what is put in."""

    def __init__(self):
        self.raw = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.raw, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, path, data=None, mode=0o644, user=0, link=None, capabilities=None):
        info = tarfile.TarInfo(path)
        info.mode, info.uid, info.gid, info.mtime = mode, user, user, 0
        if link:
            info.type, info.linkname = tarfile.SYMTYPE, link
        elif data is None:
            info.type = tarfile.DIRTYPE
        else:
            info.size = len(data)
        if capabilities:
            text = capabilities.decode("utf-8", "surrogateescape")
            info.pax_headers["SCHILY.xattr.security.capability"] = text
        self.tar.addfile(info, io.BytesIO(data) if data is not None else None)

    def bytes(self):
        self.tar.close()
        return self.raw.getvalue()


def layer(binary, sbom, loaders, certificates, libraries):
    out = Layer()
    for folder in ("etc", "etc/ssl", "etc/ssl/certs", "srv", "usr", "usr/bin", "usr/lib", "usr/lib/ipxe",
                   "usr/share", "usr/share/doc", "usr/share/doc/reveille", "var", "var/lib"):
        out.add(folder, mode=0o755)
    out.add("srv/reveille", mode=0o755, user=USER)
    out.add("tmp", mode=0o1777)
    out.add("var/lib/reveille", mode=0o750, user=USER)
    out.add("etc/passwd", f"root:x:0:0:root:/:/\nreveille:x:{USER}:{USER}:reveille:/var/lib/reveille:/\n".encode())
    out.add("etc/group", f"root:x:0:\nreveille:x:{USER}:\n".encode())
    out.add("etc/nsswitch.conf", b"hosts: files dns\n")
    out.add("etc/ssl/certs/ca-certificates.crt", certificates.read_bytes())
    out.add("usr/bin/reveille", binary.read_bytes(), mode=0o755, capabilities=CAPABILITIES)
    folders = {folder for library in libraries for folder in library.parents}
    for folder in sorted(str(folder).strip("/") for folder in folders):
        if folder not in ("", "usr", "usr/lib"):
            out.add(folder, mode=0o755)
    for library in libraries:
        out.add(str(library).strip("/"), library.read_bytes(), mode=0o755)
    found = sorted({path for pattern in LOADERS for path in loaders.glob(pattern)})
    if not found:
        sys.exit(f"{loaders} has no iPXE")
    for path in found:
        if path.is_symlink() and (loaders / path.readlink()) in found:
            out.add(f"usr/lib/ipxe/{path.name}", mode=0o777, link=str(path.readlink()))
        else:
            out.add(f"usr/lib/ipxe/{path.name}", path.read_bytes())
    doc = "usr/share/doc/reveille"
    out.add(f"{doc}/LICENSE", (ROOT / "LICENSE").read_bytes())
    out.add(f"{doc}/NOTICE", NOTICE.format(version=loaders_version(loaders)).encode())
    out.add(f"{doc}/sbom.cdx.json", sbom.read_bytes())
    return out.bytes()


def loaders_version(loaders):
    version = loaders.parent / "version"
    return version.read_text().strip() if version.exists() else "of the build host"


def main():
    split = sys.argv.index("--")
    out, name, version, revision, *builds = sys.argv[1:split]
    loaders, certificates, *libraries = map(pathlib.Path, sys.argv[split + 1:])
    labels = LABELS | {"org.opencontainers.image.version": version, "org.opencontainers.image.revision": revision}
    blobs, images = {}, []

    def blob(data):
        blobs[digest(data)] = data
        return {"digest": digest(data), "size": len(data)}

    for build in builds:
        arch, _, files = build.partition("=")
        binary, _, sbom = files.partition(":")
        raw = layer(pathlib.Path(binary), pathlib.Path(sbom), loaders, certificates, libraries)
        packed = gzip.compress(raw, 9, mtime=0)
        config = {
            "architecture": arch,
            "os": "linux",
            "config": {
                "User": f"{USER}:{USER}",
                "Entrypoint": ["/usr/bin/reveille"],
                "WorkingDir": "/var/lib/reveille",
                "Env": ["PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
                "ExposedPorts": {"67/udp": {}, "69/udp": {}, "80/tcp": {}, "9167/tcp": {}},
                "Labels": labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(raw)]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                       **blob(json.dumps(config).encode())},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", **blob(packed)}],
            "annotations": labels,
        }
        images.append({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            **blob(json.dumps(manifest).encode()),
            "platform": {"architecture": arch, "os": "linux"},
        })
        print(f"{arch}={images[-1]['digest']} packed={len(packed)} unpacked={len(raw)}")
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    if len(images) > 1:
        inner = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": images,
                 "annotations": labels}
        top = {"mediaType": inner["mediaType"], **blob(json.dumps(inner).encode())}
    else:
        top = images[0]
    print(f"index={top['digest']}")
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
             "manifests": [top | {"annotations": names}]}
    archive = Layer()
    archive.add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    archive.add("index.json", json.dumps(index).encode())
    archive.add("blobs", mode=0o755)
    archive.add("blobs/sha256", mode=0o755)
    for name, data in blobs.items():
        archive.add(f"blobs/{name.replace(':', '/')}", data)
    pathlib.Path(out).write_bytes(archive.bytes())


main()
