#!/usr/bin/env python3
"""Writes what the value `settings` of the chart takes into values.schema.json, from nix/settings.json.

    charts/settings.py          write it anew
    charts/settings.py --check  exit code 1 when it is not what the program says

`settings` takes every flag of `reveille operator` but those that the template sets by other values, and
those below. So a new flag is a value of the chart without anybody writing one.
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
SCHEMA = ROOT / "charts/reveille/values.schema.json"
# Flags that are no value of the chart, and why.
NONE_OF_OURS = {
    "kubeconfig": "the Pod's account says where the API server is",
    "context": "the same",
    "ordinal": "the Pod's name says it",
    "user": "the Pod's user is that of podSecurityContext",
    "secrets": "in a cluster Secrets are the API's",
    "admin-socket": "the readiness probe looks for it in the state folder",
}


def kind(setting):
    """The JSON schema of one value."""
    one = {
        "bool": {"type": "boolean"},
        "number": {"type": "integer", "minimum": 0},
        "enum": {"enum": setting.get("values")},
    }.get(setting["type"], {"type": "string", "minLength": 1})
    return {"type": "array", "items": one} if setting.get("many") else one


def wanted():
    flags = json.loads((ROOT / "nix/settings.json").read_text())["operator"]
    template = (ROOT / "charts/reveille/templates/workload.yaml").read_text()
    ours = set(re.findall(r"^ *- --([a-z-]+)", template, re.MULTILINE))
    if unknown := (ours | NONE_OF_OURS.keys()) - flags.keys():
        sys.exit(f"the program has no flag --{', --'.join(sorted(unknown))}")
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: {"description": setting["description"]} | kind(setting)
            for name, setting in sorted(flags.items())
            if name not in ours | NONE_OF_OURS.keys()
        },
    }


def main():
    schema = json.loads(SCHEMA.read_text())
    new = wanted()
    old = schema["properties"].get("settings", {})
    if "--check" not in sys.argv[1:]:
        schema["properties"]["settings"] = new
        SCHEMA.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
    elif old != new:
        names = old.get("properties", {}).keys() ^ new["properties"].keys()
        sys.exit(f"values.schema.json does not say of `settings` what the program does "
                 f"({', '.join(sorted(names)) or 'a description or a type'}); run `make values`")


main()
