#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Links of the documents that lead nowhere: to a file that is not there, or a heading that
is not in it. Links to other sites are not followed."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<!!)\[(?:[^\][]|\[[^\]]*\])*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.M | re.S)


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    seen: dict[str, int] = {}
    for line in FENCE.sub("", text).splitlines():
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if not heading:
            continue
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        slug = re.sub(r"[^\w\- ]", "", plain.lower().replace("`", "")).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(slug if count == 0 else f"{slug}-{count}")
    return found


def broken(path: Path, texts: Mapping[Path, str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the links of a document."""
    # What is in a block or a span of code is no link.
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", texts[path]))
    for match in LINK.finditer(text):
        target = match[1] or match[2]
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name, _, anchor = target.partition("#")
        file = path if not name else (path.parent / name).resolve()
        if not file.exists():
            yield target, "there is no such file"
        elif anchor and file.suffix == ".md" and anchor not in anchors(
                texts.get(file) or file.read_text(encoding="utf-8")):
            yield target, "there is no such heading"


def main() -> bool:
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "*.md"], check=True, capture_output=True)
    paths = [ROOT / p for p in listed.stdout.decode().split("\0") if p]
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    count = 0
    for path in paths:
        for target, why in broken(path, texts):
            print(f"{path.relative_to(ROOT)}: {target}: {why}")
            count += 1
    if not texts:
        print("no documents")
        count = 1
    print(f"{len(texts)} documents, {count} broken links")
    return count != 0


if __name__ == "__main__":
    sys.exit(main())
