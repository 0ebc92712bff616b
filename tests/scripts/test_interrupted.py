# SPDX-License-Identifier: MIT OR Apache-2.0
"""What scripts/test.sh does when it is told to end in the middle of a suite, and its report of that
and of other ends; and what scripts do that wait for a line of a guest then."""

from __future__ import annotations

import os
import signal
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import is_over
from shell import ROOT, script, start, status_of, wait_until

TEST = ROOT / "scripts/test.sh"
SIGNALS = pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM],
                                  ids=["HUP", "INT", "TERM"])

# As rustfmt it has little to say. Else it ends when it is told to, and has started one that it
# knows nothing of; unless HOW is fail, and it says what no XML can hold, or kill, and its suite is
# killed.
CARGO = r"""#!/bin/sh
case $1-$HOW in
  *-kill)
    kill -KILL $PPID
    exit 0
    ;;
  fmt-*)
    printf 'not checked: the \002 <moon>\n'
    exit 0
    ;;
  *-fail)
    printf 'error: <&"\000\001\013\033[31m \377\376 \355\240\200 \357\277\276 ]]> no test\n'
    exit 3
    ;;
esac
echo $$ >"$REPO_DIR/pid.suite"
sleep 1000 &
echo $! >"$REPO_DIR/pid.other"
wait
"""


class Checkout:
    """What scripts/test.sh takes for its checkout, with that cargo."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.report = folder, folder / "report.xml"
        (folder / "bin").mkdir()
        script(folder / "bin/cargo", CARGO)

    def env(self, how: str) -> dict[str, str]:
        """In which it is that."""
        return {"HOW": how, "REPO_DIR": str(self.folder),
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def pids(self) -> dict[str, int]:
        """What its suite has started."""
        return {file.name: int(file.read_text()) for file in self.folder.glob("pid.*")
                if file.read_text().strip()}

    def reported(self) -> str:
        """Each suite of the report as NAME=ELEMENT with what it tells: failure, error, skipped, or
        system-out of one that has passed."""
        suite = ET.parse(self.report).find("testsuite")
        assert suite is not None
        cases = {case.get("name"): case for case in suite.iter("testcase")}
        elements = [case[0].tag if len(case) else "" for case in cases.values()]
        counts = [suite.get(each) for each in ("tests", "failures", "errors", "skipped")]
        assert counts == [str(each) for each in (
            len(cases), *map(elements.count, ("failure", "error", "skipped")))]
        for name, case in cases.items():
            assert 0 <= float(case.get("time") or -1) < 600, name
            if case.find("failure") is not None:
                assert "no test" in (case[0].text or ""), name
        return " ".join(f"{name}={element}" for name, element in zip(cases, elements, strict=True))


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout; nothing of its suites is left, whatever a test has found."""
    made = Checkout(tmp_path)
    yield made
    for pid in made.pids().values():
        if not is_over(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("how", "last", "report"), [
    ("fail", "1 passed, 1 failed", "format=system-out fuzz=failure"),
    ("kill", "0 passed, 1 failed", "format=error")])
def test_report(how: str, last: str, report: str, checkout: Checkout) -> None:
    """Runs that end by themselves."""
    suites = [each.partition("=")[0] for each in report.split()]
    status, said = status_of(TEST, "--junit", "report.xml", *suites, cwd=checkout.folder,
                             env=checkout.env(how))
    assert (status, said.splitlines()[-1]) == (1, last)
    assert checkout.reported() == report
    if how == "fail":
        assert any(line.strip() == "not checked: the \x02 <moon>" for line in said.splitlines())


def is_reported(checkout: Checkout, report: str) -> bool:
    """Whether it is, where a report may be missing."""
    try:
        return checkout.reported() == report
    except (OSError, ET.ParseError, AssertionError):
        return False


@SIGNALS
def test_told_to_end(number: signal.Signals, checkout: Checkout) -> None:
    """It ends everything that was started, and the report says so, also before it is told, for
    who tells it by SIGKILL."""
    report = "format=system-out fuzz=error bench=skipped"
    log = checkout.folder / "log"
    run = start(TEST, "--junit", checkout.report, "format", "fuzz", "bench", out=log,
                env=checkout.env("wait"))
    try:
        wait_until("the suite begins", lambda: "pid.other" in checkout.pids(),
                   is_over=lambda: run.poll() is not None)
        wait_until("the report of a run that goes on", lambda: is_reported(checkout, report))
        checkout.report.unlink()
        run.send_signal(number)
        assert run.wait(30) == 128 + number
    finally:
        run.kill()
        run.wait()
        print(log.read_text(errors="replace"))
    assert checkout.reported() == report
    pids = checkout.pids()
    assert sorted(pids) == ["pid.other", "pid.suite"]
    assert [name for name, pid in pids.items() if not is_over(pid)] == []


# It waits in the trap for EXIT for what others print, when a wait with a limit that was interrupted
# would have been over.
READER = """#!/usr/bin/env bash
set -euo pipefail
SCRIPT_NAME=reader
. "$REPO_DIR/scripts/lib.sh"
. "$REPO_DIR/scripts/vm.sh"
cleanup() {
  local status=$? i said
  trap '' INT TERM HUP
  for i in {1..25}; do said=$(sleep 0.04 && echo "clean $i"); done
  echo "$said"
  exit "$status"
}
trap cleanup EXIT
end_on_signals
mkfifo "$1"
exec 8<>"$1"
while true; do
  echo waiting
  status=0
  read_line 1 8 || status=$?
  ((status > 128)) || die "a line has come: status $status, $LINE"
done
"""


@SIGNALS
def test_waits_for_a_line(number: signal.Signals, tmp_path: Path) -> None:
    """A script that waits for lines, and takes a while to clean up."""
    log = tmp_path / "log"
    run = start("bash", script(tmp_path / "reader", READER), tmp_path / "line", out=log,
                env={"REPO_DIR": ROOT})
    try:
        # In the middle of its second wait.
        wait_until("it waits", lambda: log.read_text().startswith("waiting\nwaiting\n"))
        time.sleep(0.3)
        run.send_signal(number)
        assert run.wait(30) == 128 + number
    finally:
        run.kill()
        run.wait()
        print(log.read_text(errors="replace"))
    assert log.read_text().splitlines()[-1] == "clean 25"


# Nobody reads from the FIFO that is to be its output.
NOT_BEGUN = """set -euo pipefail
SCRIPT_NAME=starter
. scripts/lib.sh
. scripts/vm.sh
mkfifo "$1"
start_child "$1" - sleep 1000
sleep 0.3
echo "$CHILD"
end_children
"""


def test_ends_what_has_not_begun(tmp_path: Path) -> None:
    """A program whose output is not read yet ends with its script as well."""
    log = tmp_path / "log"
    assert start("bash", "-c", NOT_BEGUN, "bash", tmp_path / "fifo", out=log).wait(30) == 0
    pid = int(log.read_text())
    try:
        assert is_over(pid)
    finally:
        if not is_over(pid):
            os.kill(pid, signal.SIGKILL)
