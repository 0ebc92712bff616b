#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""usage: spdx.py [ROOT]

The licence that each file says it has, against the table of CONTRIBUTING.md, and against what a
simulator may load: hdl/, and the crates of ours that end up in the DPI library. ROOT is a
checkout, the one that this file is in where nothing is said."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path

# What has no place for a comment, or is not ours: texts of licences, patches to files of QEMU,
# which have theirs, data, and what programs write.
UNMARKED = [
    ".gitignore",
    "*/.gitignore",
    "Cargo.lock",
    "LICENSES/*",
    "*.json",
    "*.patch",
    "*.png",
    "scripts/package/copyright",
    "*/py.typed",
    "hdl/tests/flows/expected/*",
    "qemu-rust-device/bindgen.args",
]
# A first line may be one for the shell, and a second for shellcheck.
TOP = 4
MARK = re.compile(r"SPDX-License-Identifier: ([\w. ()+-]*[\w)+])")
# The package that a simulator loads.
LOADED = "accelerator-dpi"


def table(text: str) -> dict[str, str]:
    """The licence of each path in CONTRIBUTING.md, and of "" what it calls everything else."""
    found: dict[str, str] = {}
    for row in re.findall(r"^\| (.*) \| (.*) \|$", text.partition("## Licences")[2], re.M):
        paths = re.findall(r"`([^`]+)`", row[0])
        if row[0] == "everything else":
            paths = [""]
        found.update((path, row[1]) for path in paths)
    return found


def licence_of(path: str, licences: Mapping[str, str]) -> str:
    """What the table says of a file: the longest of its paths that the file is or is in."""
    within = [each for each in licences if each in ("", path) or
              (each.endswith("/") and path.startswith(each))]
    return licences[max(within, key=len)]


def problems(files: Mapping[str, str | None], licences: Mapping[str, str],
             loaded: Iterable[str]) -> Iterable[str]:
    """What is wrong with the licences of files, of which `loaded` are the folders that have to be
    free of GPL."""
    if "" not in licences:
        yield "CONTRIBUTING.md: no line for everything else in the table of licences"
        return
    for each in licences:
        if not any(path == each or path.startswith(each) for path in files):
            yield f"CONTRIBUTING.md: {each}, of the table of licences, is not there"
    folders = tuple(loaded)
    for path, licence in files.items():
        if licence is None:
            if not any(fnmatch(path, pattern) for pattern in UNMARKED):
                yield f"{path}: no SPDX-License-Identifier in its first {TOP} lines"
            continue
        expected = licence_of(path, licences)
        if licence != expected:
            yield f"{path}: {licence}, but {expected} in the table of CONTRIBUTING.md"
        if path.startswith(folders) and "GPL" in licence:
            yield f"{path}: {licence}, but simulators load what is in this folder"


def run(root: Path, *command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout


def marked(path: Path) -> str | None:
    """The licence that a file says it has."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[:TOP]
    match = MARK.search("\n".join(lines))
    return match[1] if match else None


def crates(root: Path) -> dict[str, str]:
    """The folder of each crate of ours that the DPI library is made of, and its licence."""
    data = json.loads(run(root, "cargo", "metadata", "--format-version", "1", "--locked"))
    packages = {package["id"]: package for package in data["packages"]}
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    todo = [each for each in packages if packages[each]["name"] == LOADED]
    seen = set()
    while todo:
        package = todo.pop()
        if package not in seen:
            seen.add(package)
            todo += [dep["pkg"] for dep in nodes[package]["deps"]
                     if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
    return {
        str(Path(packages[each]["manifest_path"]).parent.relative_to(root)) + "/":
            packages[each]["license"]
        for each in seen if packages[each]["source"] is None
    }


def main() -> int:
    """Says what is wrong, and returns 1 if anything is."""
    if sys.argv[1:] and sys.argv[1].startswith("-"):
        print(__doc__)
        return 0
    root = Path(sys.argv[1] if sys.argv[1:] else Path(__file__).parents[2]).resolve()
    # What is in the index and not in the folder is about to be removed.
    listed = run(root, "git", "ls-files", "-z")
    files = {path: marked(root / path) for path in listed.split("\0") if (root / path).is_file()}
    ours = crates(root)
    found = list(problems(
        files, table((root / "CONTRIBUTING.md").read_text(encoding="utf-8")), ["hdl/", *ours]))
    for folder, licence in ours.items():
        # What cargo says is what cargo-deny goes by.
        says = files.get(f"{folder}Cargo.toml")
        if says != licence:
            found.append(f"{folder}Cargo.toml: {licence} for cargo, and {says} at its top")
    if not files or len(ours) < 2 or not (root / "hdl").is_dir():
        found.append(f"{len(files)} files, {len(ours)} crates in the library: there are more")
    for text in found:
        print(text)
    print(f"{len(files)} files, {len(found)} with a wrong licence; "
          f"of the DPI library: {', '.join(sorted(ours))}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
