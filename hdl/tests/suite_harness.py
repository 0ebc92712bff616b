# SPDX-License-Identifier: Apache-2.0
"""The tests of this folder as such: what goes wrong with a bench fails them, whatever it is, and
none is left out."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
from benches import BENCHES, SECONDS, TESTS
from cocotb_run import Options
from support import Shell

RUN = TESTS / "run.py"

# What is said of each bench of broken/, where something is.
BROKEN = {
    "passes": None,
    "fails": r"fails: fails; see .*/test\.log$",
    "is-killed": r"the simulation failed: .*, without results; see .*/test\.log$",
    "leaves": r"the simulation ended.*, without results; see .*/test\.log$",
    "skips": r"no test has run; see .*/test\.log$",
    "has-none": r"has-none: .*; see .*/test\.log$",
    "is-not-there": r"without results; see .*/test\.log$",
    "cannot-be-built": r"it cannot be built: .*; see .*/build\.log$",
}


def broken(shell: Shell, options: Options, *arguments: str | Path) -> tuple[int, str]:
    """How pytest ends with the benches of broken/, and what it says."""
    path = os.pathsep.join([str(TESTS), str(TESTS / "broken")])
    return shell.status(sys.executable, "-m", "pytest", "-c", TESTS / "pytest.ini", "-q",
                        "-p", "broken_benches", "--cache", options.cache, *arguments,
                        env={"PYTHONPATH": path, "PYTEST_ADDOPTS": ""})


@pytest.mark.seconds(18)
@pytest.mark.parametrize("processes", [0, 2])
def test_what_goes_wrong(processes: int, shell: Shell, folder: Path, options: Options) -> None:
    """A case that fails, a simulator that dies or ends early, no case at all."""
    report = folder / "report.xml"
    status, said = broken(shell, options, "-n", str(processes), "--junit-xml", report,
                          TESTS / "suite_benches.py")
    assert status == 1
    # Of `fails`, one has passed.
    assert said.splitlines()[-1] == f"2 passed, {len(BROKEN) - 1} failed"
    told = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        failure = case.find("failure")
        told[case.get("name")] = None if failure is None else failure.get("message", "")
    assert set(told) == {f"test_bench[{name}]" for name in BROKEN}
    for name, pattern in BROKEN.items():
        message = told[f"test_bench[{name}]"]
        if pattern is None:
            assert message is None
        else:
            assert message is not None
            assert re.search(pattern, message)
            log = message.rpartition("; see ")[2]
            assert f"the end of {log}" in said


@pytest.mark.seconds(5)
def test_filter_without_a_match(shell: Shell, options: Options) -> None:
    """A bench that has no such test is skipped; a run of which that is all does not pass."""
    status, said = broken(shell, options, "--filter", "nosuch",
                          f"{TESTS / 'suite_benches.py'}::test_bench[passes]")
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "1 skipped" in said
    assert said.splitlines()[-1] == "0 passed, 0 failed"


@pytest.mark.parametrize(("arguments", "status", "text"), [
    pytest.param(["nosuch"], 2, "no suite is called nosuch; there are bridge-32-512, ",
                 id="no-such-bench"),
    pytest.param(["regs", "nosuch"], 2, "no suite is called nosuch; ", id="one-of-two"),
    pytest.param(["--quick", "regs"], 2, "--quick leaves out all that", id="nothing-left"),
    pytest.param(["--jobs", "0", "regs"], 2, "--jobs is 0, expected 1 or more", id="no-jobs"),
])
def test_command_refused(arguments: list[str], status: int, text: str, shell: Shell) -> None:
    """A run in which nothing would be tested does not end as if it were."""
    ended, said = shell.status(sys.executable, RUN, *arguments)
    assert ended == status
    assert text in said


def test_nothing_selected(shell: Shell) -> None:
    """The same where pytest is called."""
    status, said = shell.status(sys.executable, "-m", "pytest", "-c", TESTS / "pytest.ini", "-q",
                                "-k", "nosuch", TESTS, env={"PYTEST_ADDOPTS": ""})
    assert status == 5
    assert said.splitlines()[-1] == "0 passed, 0 failed"


def test_names(shell: Shell) -> None:
    """A name is all benches that begin so."""
    said = shell.run("scripts/test-hdl.sh", "--list", "sort", "pcie4-card")
    assert said.split() == [name for name in BENCHES if name.startswith(("sort", "pcie4-card"))]
    assert len(said.split()) == 7


def test_every_module_has_a_bench() -> None:
    """No cocotb test is in a file that nothing runs, no time is of a bench that there is not."""
    modules = {file.stem for file in TESTS.glob("test_*.py")}
    assert modules == {bench.module for bench in BENCHES.values()}
    assert set(SECONDS) <= set(BENCHES)
