#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The table "What works where" of the README is made of what suites have printed of what they ran
with, docs/support.tsv, and of what nothing prints, in docs/support.toml. Without an option: whether
the README has that table. --collect prints what the logs of a run of scripts/test.sh say;
--write takes that over into docs/support.tsv, suite by suite, and writes the table; --compare says
what is in the table and the run has not seen."""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXTS, SEEN, README = "docs/support.toml", "docs/support.tsv", "README.md"
MARKS = ("<!-- made of docs/support.tsv by tests/docs/support.py --write -->", "<!-- end -->")
HEAD = "# SPDX-License-Identifier: MIT OR Apache-2.0\n"
# A line that programs print for themselves or in a summary: words KEY=VALUE, with ? for what is not
# known.
LINE = re.compile(r"(?:^|[\s:])ran with:?\s+((?:[a-z]+=\S+\s*)+)$", re.M)
KEYS = ("qemu", "device", "accel", "guest", "arch", "simulator", "host")
# Of a version that is told in more places than it matters in: 6.1.0-41-amd64, 10.2.2.
SHORT = {"guest": re.compile(r"\d+\.\d+"), "qemu": re.compile(r"\d+\.\d+\.\d+")}

# A suite and one thing that it ran with, of a kind that has a place in the table.
Fact = tuple[str, str, str]


def facts_of(suite: str, log: str) -> set[Fact]:
    """What a suite's log says that it ran with."""
    found: set[Fact] = set()
    for line in LINE.findall(log):
        words = dict(word.split("=", 1) for word in line.split() if not word.endswith("=?"))
        for key, value in words.items():
            if key not in KEYS:
                raise SystemExit(f"{suite}: 'ran with {line.strip()}': {key} is none of "
                                 f"{', '.join(KEYS)}")
            if key in SHORT and (short := SHORT[key].match(value)):
                words[key] = short[0]
            elif key == "accel":
                words[key] = value.upper()
            elif key in ("simulator", "host"):
                words[key] = value.replace("-", " ")
        if "qemu" in words and "device" in words:
            found.add((suite, words["device"], words["qemu"]))
        if "guest" in words:
            found.add((suite, "guest", f"{words['guest']} {words.get('arch', 'x86_64')}"))
        found |= {(suite, key, words[key]) for key in ("accel", "simulator", "host")
                  if key in words}
    return found


def collect(folder: Path, suites: Iterable[str]) -> list[Fact]:
    """What these suites of a run have printed."""
    found: set[Fact] = set()
    for suite in suites:
        log = folder / f"{suite}.log"
        found |= facts_of(suite, log.read_text(encoding="utf-8", errors="replace"))
    return sorted(found)


def read(file: Path) -> list[Fact]:
    """The lines of a file as --collect prints them."""
    facts: list[Fact] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            continue
        parts = line.split("\t")
        if len(parts) != 3:
            raise SystemExit(f"{file}:{number}: {len(parts)} columns, expected 3")
        facts.append((parts[0], parts[1], parts[2]))
    return facts


def text_of(facts: Iterable[Fact]) -> str:
    return "".join("\t".join(fact) + "\n" for fact in sorted(set(facts)))


def in_words(facts: Iterable[Fact], kind: str) -> str:
    """Of one kind: each value, and by which suites, or by how many."""
    suites: dict[str, set[str]] = {}
    for suite, key, value in facts:
        if key == kind:
            suites.setdefault(value, set()).add(suite)
    said = []
    for value, names in sorted(suites.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        by = ", ".join(f"`{name}`" for name in sorted(names)) if len(names) < 4 else \
            f"{len(names)} suites"
        said.append(f"{value} ({by})")
    if not said:
        raise SystemExit(f"{SEEN}: no suite has printed anything of {kind}")
    return ", ".join(said)


def table(facts: list[Fact]) -> list[str]:
    """The lines of the table."""
    lines = ["| | tested here, by `scripts/test.sh` | checked, not run here | untested |",
             "|---|---|---|---|"]
    rows = tomllib.loads((ROOT / TEXTS).read_text(encoding="utf-8"))
    for name, row in rows.items():
        seen = re.sub(r"\{([\w-]+)\}", lambda found: in_words(facts, found[1]), row["seen"])
        lines.append(f"| {name} | {seen} | {row.get('checked', '')} | {row.get('untested', '')} |")
    return [re.sub(r" +", " ", line) for line in lines]


def document(facts: list[Fact], write: bool) -> Iterator[str]:
    """What is wrong with the README's table; it is written, if that is asked."""
    begin, end = MARKS
    text = (ROOT / README).read_text(encoding="utf-8")
    before, _, rest = text.partition(f"{begin}\n")
    _, _, after = rest.partition(f"\n{end}\n")
    if not after:
        yield f"{README}: there is no table between {begin} and {end}"
        return
    made = f"{before}{begin}\n\n" + "\n".join(table(facts)) + f"\n\n{end}\n{after}"
    if made != text and write:
        (ROOT / README).write_text(made, encoding="utf-8")
    elif made != text:
        yield f"{README}: not the table that {SEEN} and {TEXTS} make; --write writes that"


def unseen(facts: list[Fact], run: list[Fact]) -> Iterator[str]:
    """What the table tells of suites that were run, and these have not printed now."""
    suites = {suite for suite, _, _ in run}
    kinds = sorted({(kind, value) for suite, kind, value in facts if suite in suites}
                   - {(kind, value) for _, kind, value in run})
    for kind, value in kinds:
        yield f"not checked: the README tells of {kind} {value}, which this run has not had"


def checked() -> Iterator[str]:
    """Whether lines are read as they are printed."""
    samples = {
        "  ran with   qemu=10.2.2 device=vfio-user-pci accel=tcg guest=6.1.0-41-amd64 arch=x86_64":
            {("s", "vfio-user-pci", "10.2.2"), ("s", "accel", "TCG"), ("s", "guest", "6.1 x86_64")},
        "ran with: host=Debian-12-x86_64": {("s", "host", "Debian 12 x86_64")},
        "ran with: accel=kvm": {("s", "accel", "KVM")},
        "it ran with care": set(),
    }
    for line, wanted in samples.items():
        if (found := facts_of("s", f"before\n{line}\nafter")) != wanted:
            yield f"{line!r} is read as {sorted(found)}"
    facts = [("a", "accel", "tcg"), ("b", "accel", "kvm")]
    if not list(unseen(facts, [("b", "accel", "tcg")])) or list(unseen(facts, facts)):
        yield "what a run has not seen is not told"


def main() -> bool:
    """Does what is asked; whether anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--collect", nargs="+", metavar=("FOLDER", "SUITE"), help="logs of a run")
    one.add_argument("--write", metavar="FILE", type=Path, nargs="?", const=ROOT / SEEN,
                     help="what --collect has printed")
    one.add_argument("--compare", metavar="FILE", type=Path, help="likewise")
    options = parser.parse_args()
    if options.collect:
        sys.stdout.write(text_of(collect(Path(options.collect[0]), options.collect[1:])))
        return False
    facts = read(ROOT / SEEN)
    if options.compare:
        for line in unseen(facts, read(options.compare)):
            print(line)
        return False
    if options.write:
        run = read(options.write)
        suites = {suite for suite, _, _ in run}
        facts = sorted({fact for fact in facts if fact[0] not in suites} | set(run))
        (ROOT / SEEN).write_text(HEAD + text_of(facts), encoding="utf-8")
    found = [*checked(), *document(facts, options.write is not None)]
    for each in found:
        print(each)
    print(f"{len(facts)} lines of what suites ran with: {len(found)} wrong")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
