"""Packs one static program as an OCI archive: pack.py OUT NAME:TAG PROGRAM"""
import hashlib
import io
import json
import os
import sys
import tarfile

out, name, program = sys.argv[1:]
blobs = {}


def add(tar, path, data, mode=0o644):
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def blob(kind, data):
    digest = hashlib.sha256(data).hexdigest()
    blobs[digest] = data
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


raw = io.BytesIO()
with tarfile.open(fileobj=raw, mode="w") as layer, open(program, "rb") as file:
    add(layer, os.path.basename(program), file.read(), 0o755)
layer = blob("layer.v1.tar", raw.getvalue())
config = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/" + os.path.basename(program)]},
          "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
config = blob("config.v1+json", json.dumps(config).encode())
manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config,
            "layers": [layer]}
manifest = blob("manifest.v1+json", json.dumps(manifest).encode())
manifest["annotations"] = {"io.containerd.image.name": name}
with tarfile.open(out, "w") as archive:
    add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    add(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode())
    for digest, data in blobs.items():
        add(archive, f"blobs/sha256/{digest}", data)
