# SPDX-License-Identifier: MIT OR Apache-2.0
"""Options of the tests that tests/entry.py starts, and what they share."""

from __future__ import annotations

import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import in_cargo


def pytest_addoption(parser: pytest.Parser) -> None:
    """The QEMUs."""
    group = parser.getgroup("scripts", "the scripts")
    group.addoption("--qemu", metavar="DIR", help="the QEMU in DIR/bin")
    group.addoption("--long", action="store_true", help="what takes long as well")
    group.addoption("--pictures", metavar="DIR", help="where the page of a report is drawn")
    group.addoption("--plain-qemu", metavar="DIR", help="the other one of two")


def pytest_configure() -> None:
    """Has a signal end what the tests have started, as Ctrl-C does; one that is ignored, as by
    nohup, stays so."""
    def end(number: int, _: object) -> None:
        pytest.exit(f"signal {number}", returncode=128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without what is for --long alone, or only done by name."""
    out = [name for name, is_in in (("long", config.getoption("--long")),
                                    ("by_name", config.getoption("-k"))) if not is_in]
    left = [item for item in items if any(item.get_closest_marker(name) for name in out)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints for the table of the README what programs have said that they ran with, of tests that
    have passed."""
    said = "\n".join(report.capstdout for report in terminalreporter.getreports("passed"))
    for line in sorted(set(re.findall(r"^\s*ran with:?\s+(\S.*)$", said, re.M))):
        terminalreporter.write_line(f"ran with: {line}")


@pytest.fixture(scope="session")
def qemu(pytestconfig: pytest.Config) -> str:
    """The folder of the QEMU with the device."""
    return str(pytestconfig.getoption("--qemu") or "build/qemu/patched")


@pytest.fixture(scope="module")
def work(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder with a short path, for sockets; it stays where a test has failed."""
    failed = request.session.testsfailed
    folder = Path(tempfile.mkdtemp(prefix="accelerator-"))
    yield folder
    if request.session.testsfailed == failed:
        shutil.rmtree(folder)
    else:
        print(f"files and logs: {folder}")


@pytest.fixture(scope="session")
def release() -> Path:
    """Where cargo puts what it builds with --release."""
    return in_cargo() / "release"
