#!/usr/bin/env python3
"""Prints a CycloneDX 1.6 bill of materials of what the program is built from, for one target.

    image/sbom.py TARGET LOADERS_VERSION

It asks `cargo metadata` for the crates and Cargo.lock for their checksums. The same sources give the same
bytes: it holds no time and no random number.
"""
import hashlib
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def checksums():
    text = (ROOT / "Cargo.lock").read_text()
    blocks = re.findall(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"', text)
    return {(name, version): checksum for name, version, checksum in blocks}


def shipped(metadata):
    """The packages that end up in the program: without those for tests and for building."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, queue = {}, [metadata["resolve"]["root"]]
    while queue:
        one = queue.pop()
        if one in found:
            continue
        found[one] = sorted(
            dep["pkg"]
            for dep in nodes[one]["deps"]
            if any(kind["kind"] is None for kind in dep["dep_kinds"])
        )
        queue += found[one]
    return found


def main():
    target, loaders = sys.argv[1:]
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--filter-platform={target}"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    sums, found = checksums(), shipped(metadata)
    ref = {one: f"pkg:cargo/{packages[one]['name']}@{packages[one]['version']}" for one in found}

    def component(one):
        package = packages[one]
        made = {
            "type": "library",
            "bom-ref": ref[one],
            "name": package["name"],
            "version": package["version"],
            "purl": ref[one],
        }
        if package["license"]:
            made["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = sums.get((package["name"], package["version"]))
        if checksum:
            made["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return made

    root = metadata["resolve"]["root"]
    ours = component(root) | {"type": "application"}
    rest = sorted((one for one in found if one != root), key=lambda one: ref[one])
    components = [component(one) for one in rest]
    components.append(
        {
            "type": "firmware",
            "bom-ref": "ipxe",
            "name": "ipxe",
            "version": loaders,
            "purl": f"pkg:deb/debian/ipxe@{loaders}",
            "licenses": [{"expression": "GPL-2.0-or-later"}],
        }
    )
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": ours, "properties": [{"name": "target", "value": target}]},
        "components": components,
        "dependencies": [
            {"ref": ref[one], "dependsOn": sorted(ref[dep] for dep in found[one])}
            for one in sorted(found, key=lambda one: ref[one])
        ],
    }
    digest = hashlib.sha256(json.dumps(bom, sort_keys=True).encode()).hexdigest()
    serial = "-".join([digest[:8], digest[8:12], "5" + digest[13:16], "a" + digest[17:20], digest[20:32]])
    bom["serialNumber"] = f"urn:uuid:{serial}"
    json.dump(bom, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
