#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The list of releases of QEMU, patches/releases.toml, and all that repeats it: folders and build
files are those of the releases, and tables of the documents are what is made of it. With --write
those tables are written."""

import argparse
import fnmatch
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIST = "patches/releases.toml"
MARKS = ("<!-- made of releases.toml by tests/docs/releases.py --write -->", "<!-- end -->")
KEYS = {"versions", "rust", "cfg", "tree"}
OPTIONAL = {"upstream", "sha256"}


def series_for(data: Mapping[str, Any], version: str) -> str:
    """The name of the release for a version of QEMU."""
    for name, release in data["release"].items():
        if any(fnmatch.fnmatchcase(version, pattern) for pattern in release["versions"]):
            return str(name)
    return "none"


def well_formed(data: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the releases themselves."""
    text = (ROOT / LIST).read_text(encoding="utf-8")
    for name, release in data["release"].items():
        keys = set(release)
        if not KEYS <= keys <= KEYS | OPTIONAL or len(keys & OPTIONAL) == 1:
            yield f"{LIST}: {name} has {', '.join(sorted(keys))}"
            continue
        # What build.rs reads of it, and how.
        patterns = release["versions"]
        line = "versions = [" + ", ".join(f'"{each}"' for each in patterns) + "]"
        if line not in text or not all(re.fullmatch(r"[\d.]+\*?", each) for each in patterns):
            yield f"{LIST}: versions of {name}: in one line, and with no star but at the end"
        if f'\ncfg = "{release["cfg"]}"\n' not in text:
            yield f"{LIST}: cfg of {name}: in a line of its own"
        if not re.fullmatch(r"[0-9a-f]{64}", release.get("sha256", "0" * 64)):
            yield f"{LIST}: the sha256 of {name} is none"
        if "upstream" in release and series_for(data, release["upstream"]) != name:
            yield f"{LIST}: {name} is not the release for its own tarball, {release['upstream']}"
    if "upstream" not in next(iter(data["release"].values())):
        yield f"{LIST}: the default has no tarball"


def folders(data: Mapping[str, Any]) -> Iterator[str]:
    """Where files of the repository do not fit the list."""
    names = set(data["release"])
    for place in ("patches", "qemu-rust-device/meson"):
        found = {each.name for each in (ROOT / place).iterdir() if each.is_dir()}
        for name in sorted(found ^ names):
            yield f"{place}/{name}: " + ("is not there" if name in names else f"{LIST} has it not")
    for name in sorted(names):
        file = f"qemu-rust-device/meson/{name}/meson.build"
        if (ROOT / file).is_file():
            text = (ROOT / file).read_text(encoding="utf-8")
            glue = re.findall(r"^accelerator_glue = '(\w+)'", text, re.M)
            cfg = data["release"][name]["cfg"]
            if glue != [cfg]:
                yield f"{file}: accelerator_glue is {glue}, in {LIST} {cfg}"
    file = "qemu-rust-device/meson/meson.build"
    known = re.search(r"cfg\(qemu,([\w,]+)\)", (ROOT / file).read_text(encoding="utf-8"))
    wanted = {release["cfg"] for release in data["release"].values()}
    if not known or set(known[1].split(",")) != wanted:
        yield f"{file}: --check-cfg does not name {', '.join(sorted(wanted))}"
    file = "CONTRIBUTING.md"
    text = (ROOT / file).read_text(encoding="utf-8")
    for name in sorted(names):
        if f"`patches/{name}/`" not in text:
            yield f"{file}: patches/{name}/ is not in the table of licences"


def tables(data: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is made of the list, by the document that it is in."""
    def versions(release: Mapping[str, Any]) -> str:
        return ", ".join(pattern.replace("*", "x") for pattern in release["versions"])

    series = ["| folder | QEMU releases | built and tested with |", "|---|---|---|"]
    building = ["| `VERSION` in the source | series | Rust, at least | `--release`, tarball |",
                "|---|---|---|---|"]
    for name, release in data["release"].items():
        series.append(f"| `{name}` | {versions(release)} | {release['tree']} |")
        cells = [versions(release), f"`patches/{name}`", release["rust"].removesuffix(".0"),
                 f"`{name}`, {release.get('upstream', 'none: Debian has the source')}"]
        building.append(f"| {' | '.join(cells)} |")
    return {"patches/README.md": series, "docs/building-qemu.md": building}


def documents(data: Mapping[str, Any], write: bool) -> Iterator[str]:
    """Which documents have another table than is made of the list; writes it, if that is asked."""
    begin, end = MARKS
    for file, lines in tables(data).items():
        text = (ROOT / file).read_text(encoding="utf-8")
        before, _, rest = text.partition(f"{begin}\n")
        _, _, after = rest.partition(f"\n{end}\n")
        if not after:
            yield f"{file}: there is no table between {begin} and {end}"
            continue
        # An empty line, or the mark would be a part of the table.
        made = f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}\n{after}"
        if made != text and write:
            (ROOT / file).write_text(made, encoding="utf-8")
        elif made != text:
            yield f"{file}: not the table that {LIST} makes; --write writes that"


def main() -> bool:
    """Says what is wrong, and whether anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the tables of the documents")
    write = parser.parse_args().write
    data = tomllib.loads((ROOT / LIST).read_text(encoding="utf-8"))
    found = list(well_formed(data))
    if not found:
        found = [*folders(data), *documents(data, write)]
    for each in found:
        print(each)
    print(f"{len(data['release'])} releases of QEMU: {len(found)} wrong")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
