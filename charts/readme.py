#!/usr/bin/env python3
"""Writes the table of values in charts/reveille/README.md from values.yaml.

    charts/readme.py          write it anew
    charts/readme.py --check  exit code 1 when it is not what values.yaml says

A value is described by the comment `# -- …` above it; one without a description is a fault. Needs nothing
but Python: it reads the one way in which values.yaml is written, two spaces a level.
"""
import pathlib
import re
import sys

CHART = pathlib.Path(__file__).parent / "reveille"
BEGIN, END = "<!-- values: written by charts/readme.py -->", "<!-- end of values -->"


def values(text):
    """Yields (path, default, description) of each value that has a description."""
    path, said = [], []
    lines = text.splitlines()
    below = None  # the described value whose block is being skipped
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        if below is not None and depth > below:
            continue
        below = None
        comment = re.match(r"\s*#\s?(.*)", line)
        if comment:
            words = comment[1]
            said = [words[3:]] if words.startswith("-- ") else said + [words]
            continue
        key, _, value = line.strip().partition(":")
        path = path[:depth] + [key]
        name, value = ".".join(path), value.strip()
        if not said and value == "":
            continue  # a group; its members are described
        if not said:
            sys.exit(f"values.yaml, line {number + 1}: {name} is not described; write `# -- …` above it")
        if value == "":
            value, below = "see values.yaml", depth
        yield name, value, " ".join(said)
        said = []


def table(text):
    rows = ["| value | default | what it is |", "|---|---|---|"]
    for name, value, said in values(text):
        shown = value if value == "see values.yaml" else f"`{value}`"
        rows.append(f"| `{name}` | {shown} | {said.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def main():
    readme = CHART / "README.md"
    old = readme.read_text()
    head, _, rest = old.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        sys.exit(f"{readme} has no {BEGIN} … {END}")
    new = f"{head}{BEGIN}\n{table((CHART / 'values.yaml').read_text())}\n{END}{tail}"
    if "--check" in sys.argv[1:]:
        if new != old:
            sys.exit("charts/reveille/README.md is not what values.yaml says; run `make values`")
    else:
        readme.write_text(new)


main()
