# SPDX-License-Identifier: MIT OR Apache-2.0
"""take_options of scripts/lib.sh."""

from __future__ import annotations

import pytest
from shell import refused, run

SCRIPT = r"""
set -euo pipefail
SCRIPT_NAME=options
. scripts/lib.sh
usage() { echo 'usage: options'; }
OUT='' CPUS='' KEEP=no GUI=0 EXTRA=() SNAPSHOT=() SEEN=()
took() {
  SEEN+=("$*")
  [[ $1 != --report || ${2:-} != *.html ]] || ALSO=yes
}
take_options --out=OUT '--cpus=CPUS>=2' --keep:KEEP --gui:GUI=1 -G=EXTRA+ --waves:EXTRA+ \
  --snapshot:SNAPSHOT+=-s --run=@took --report:@took @took -- "$@"
declare -p OUT CPUS KEEP GUI EXTRA SNAPSHOT SEEN
"""


def options(*words: str) -> list[str]:
    """A script with these words, for bash."""
    return ["bash", "-c", SCRIPT, "bash", *words]


NOTHING = {"OUT": '""', "CPUS": '""', "KEEP": '"no"', "GUI": '"0"', "EXTRA": "()",
           "SNAPSHOT": "()", "SEEN": "()"}


@pytest.mark.parametrize(("words", "changed"), [
    ([], {}),
    (["--out", "a b"], {"OUT": '"a b"'}),
    (["--out", ""], {}),
    (["--out", "--keep"], {"OUT": '"--keep"'}),
    (["--cpus", "3"], {"CPUS": '"3"'}),
    (["--keep"], {"KEEP": '"yes"'}),
    (["--gui"], {"GUI": '"1"'}),
    (["-G", "A=1", "--waves", "-G", "B=c>=2"],
     {"EXTRA": '([0]="A=1" [1]="--waves" [2]="B=c>=2")'}),
    (["--snapshot"], {"SNAPSHOT": '([0]="-s")'}),
    (["--run", "it"], {"SEEN": '([0]="--run it")'}),
    (["one", "+two", "*"], {"SEEN": '([0]="one" [1]="+two" [2]="*")'}),
    (["--report", "--keep"], {"SEEN": '([0]="--report --keep")', "KEEP": '"yes"'}),
    (["--report", "a.html", "--keep"],
     {"SEEN": '([0]="--report a.html --keep")', "KEEP": '"yes"'}),
])
def test_taken(words: list[str], changed: dict[str, str]) -> None:
    """What rows do with what is there for them."""
    said = run(*options(*words))
    values = dict(line.split(" ", 2)[2].split("=", 1) for line in said.splitlines())
    assert values == NOTHING | changed


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(word: str) -> None:
    """Nothing else is done."""
    assert run(*options("--out", "a", word)) == "usage: options\n"


@pytest.mark.parametrize(("words", "told"), [
    (["--none"], "unknown option --none; see --help"),
    (["--ou"], "unknown option --ou; see --help"),
    (["--out=a"], "unknown option --out=a; see --help"),
    (["--out"], "--out needs a value; see --help"),
    (["--run"], "--run needs a value; see --help"),
    (["--cpus", "1"], "--cpus is 1, expected a number from 2"),
    (["--cpus", "x"], "--cpus is x, expected a number from 2"),
])
def test_refused(words: list[str], told: str) -> None:
    """What no row is for, and what has no value or another."""
    refused(f"[options] error: {told}", *options(*words), status=1)
