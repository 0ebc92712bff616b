# SPDX-License-Identifier: Apache-2.0
"""The main program of a simulation, with the smallest example: it ends by itself and by each
signal, says its counters and clocks, writes waves, and does not start with what it cannot use."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from benches import TESTS
from support import OUT, ROOT, Shell, once

BUILD_SIM = "scripts/build-sim.sh"
# Seconds that a run may take which takes none.
TIMEOUT = 60

# What builds a simulation begins early, and who shares it late, so that nobody waits for a build.
pytestmark = pytest.mark.seconds(0.5)


def build(name: str, *arguments: str | Path) -> None:
    """Builds a simulation, once in a run."""
    once(name, lambda: Shell(OUT / "logs" / f"build-{name}.log").run(BUILD_SIM, *arguments))


@pytest.fixture(scope="session")
def regs() -> Path:
    """The simulation of the example regs."""
    build("regs", "regs")
    return ROOT / "build/sim/regs/regs"


@pytest.fixture(scope="session")
def regs_waves() -> Path:
    """The same with waves."""
    build("regs-waves", "regs", "--waves")
    return ROOT / "build/sim/regs-waves/regs-waves"


def assert_summary(said: str, end: str) -> None:
    """The counters of a run without a session, and how it ended."""
    assert re.search(r"^regs: mmio_reads=0 mmio_writes=0 .* sessions=0$", said, re.MULTILINE)
    assert re.search(r"^regs: clocks=[0-9]+ seconds=[0-9.]+ clocks_per_second=[0-9]+ "
                     rf'end="{re.escape(end)}"$', said, re.MULTILINE)


@pytest.mark.seconds(60)
def test_ends_by_itself(regs: Path, endpoint: str, shell: Shell) -> None:
    """After +max_clocks."""
    said = shell.run(regs, endpoint, "+max_clocks=5000", timeout=TIMEOUT)
    assert "clocks=5000 " in said
    assert_summary(said, "+max_clocks")


class Begun:
    """A simulation that runs, and what it has said so far."""

    def __init__(self, shell: Shell, file: Path, *command: str | Path) -> None:
        self.shell, self.file = shell, file
        with file.open("wb") as out:
            self.process = subprocess.Popen([str(word) for word in command],
                                            stdin=subprocess.DEVNULL, stdout=out)

    def said(self) -> str:
        """What is there now."""
        return self.file.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str) -> None:
        """Waits for a line."""
        end = time.monotonic() + TIMEOUT
        while not re.search(pattern, self.said(), re.MULTILINE):
            assert time.monotonic() < end, f"no line {pattern}"
            assert self.process.poll() is None, "the simulation has ended"
            time.sleep(0.1)

    def ended(self) -> str:
        """What it said, after its end with status 0."""
        assert self.process.wait(TIMEOUT) == 0
        return self.said()

    def __enter__(self) -> Begun:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.shell.note(self.said())


@pytest.mark.parametrize(("number", "end"), [
    pytest.param(signal.SIGTERM, "Terminated", id="SIGTERM"),
    pytest.param(signal.SIGINT, "Interrupt", id="SIGINT")])
def test_ends_by_signal(number: signal.Signals, end: str, regs: Path, endpoint: str,
                        shell: Shell, folder: Path) -> None:
    """Also by two, one behind the other."""
    with Begun(shell, folder / "said", regs, endpoint) as simulation:
        time.sleep(0.5)
        simulation.process.send_signal(number)
        simulation.process.send_signal(number)
        assert_summary(simulation.ended(), end)


# What follows the endpoint, where one is given; what is said.
REFUSED = {
    "endpoint": (r"endpoint.*10\.0\.0\.1.*loopback", "+accelerator_endpoint=tcp://10.0.0.1:7557"),
    "endpoint-by-name-wins": (r"endpoint.*10\.0\.0\.2.*loopback", None,
                              "+accelerator_endpoint_regs=tcp://10.0.0.2:7557"),
    "waves-in-a-build-without": ("built without waves", "+waves"),
    "misspelt-clock-limit": ("max_clock=5: there is no such", None, "+max_clock=5"),
    "misspelt-endpoint": ("enpoint=1: there is no such", "+accelerator_enpoint=1"),
    "endpoint-without-a-value": ("endpoint: a value is needed", "+accelerator_endpoint"),
    "idle-limit-that-is-none": ("idle=x: a number is needed", None, "+accelerator_idle=x"),
    "record-that-cannot-be-written": ("record /none/r: No such file", None,
                                      "+accelerator_record=/none/r"),
    "plan-of-faults-that-is-not-there": ("plan of faults /none/plan: No such file", None,
                                         "+accelerator_faults=/none/plan"),
    "record-of-no-size": ("record=r: bytes is 5, expected", None, "+accelerator_record=r",
                          "+accelerator_record_size=5"),
    "argument-without-plus": (r"clocks=5: an argument begins with", None, "max_clocks=5"),
    "part-of-waves-without-waves": ("is for a simulation with", None, "+waves_from=5"),
    "period-of-a-clock-that-is-not-there": (
        "user_clk_ps is for a top module with the input user_clk", None, "+user_clk_ps=5"),
}


@pytest.mark.parametrize(("text", "arguments"), [
    pytest.param(text, arguments, id=name) for name, (text, *arguments) in REFUSED.items()])
def test_refused(text: str, arguments: list[str | None], regs: Path, endpoint: str,
                 shell: Shell) -> None:
    """Says so in a sentence, and does not run."""
    said = shell.refused(regs, *(each or endpoint for each in arguments), "+max_clocks=10",
                         timeout=TIMEOUT)
    assert re.search(text, said)


def test_users_arguments(regs: Path, endpoint: str, shell: Shell) -> None:
    """Those that are the user's own are left alone."""
    shell.run(regs, endpoint, "+wavelength=5", "+mine", "+max_clocks=10", timeout=TIMEOUT)


def test_waves_without_folder(regs_waves: Path, endpoint: str, shell: Shell, folder: Path) -> None:
    """It does not run without the waves that it was asked for."""
    status, said = shell.status(regs_waves, endpoint, f"+waves={folder}/none/waves.fst",
                                "+max_clocks=10", timeout=TIMEOUT)
    assert status == 2
    assert re.search("waves cannot be written to .*: No such file", said)


@pytest.mark.seconds(55)
def test_waves_from_a_clock_on(regs_waves: Path, endpoint: str, shell: Shell,
                               folder: Path) -> None:
    """And for some."""
    file = folder / "window.fst"
    said = shell.run(regs_waves, endpoint, f"+waves={file}", "+waves_from=1000",
                     "+waves_clocks=500", "+max_clocks=3000", timeout=TIMEOUT)
    assert re.search("waves go to .* from clock 1000 on$", said, re.MULTILINE)
    assert re.search("waves end at clock 1500$", said, re.MULTILINE)
    assert file.stat().st_size


def test_waves_from_a_signal_on(regs_waves: Path, endpoint: str, shell: Shell,
                                folder: Path) -> None:
    """By the command that it tells."""
    file = folder / "signal.fst"
    with Begun(shell, folder / "said", regs_waves, endpoint, f"+waves={file}",
               "+waves_trigger") as simulation:
        simulation.wait_for(f"kill -USR1 {simulation.process.pid}$")
        assert not file.exists() or not file.stat().st_size
        simulation.process.send_signal(signal.SIGUSR1)
        # The signal may come before the first clock, and then they go from the beginning on.
        simulation.wait_for("waves go to ")
        simulation.process.terminate()
        simulation.ended()
    assert file.stat().st_size


@pytest.mark.seconds(0.6)
def test_waves_into_a_disk_that_fills_up(regs_waves: Path, endpoint: str, shell: Shell,
                                         folder: Path) -> None:
    """The waves end with a sentence, and the simulation comes to its end."""
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    status, said = shell.status(
        "unshare", "--mount", *root, "sh", "-c",
        'mount -t tmpfs -o size=3m tmpfs "$1" && shift && exec "$@"', "sh", folder,
        regs_waves, endpoint, f"+waves={folder}/waves.fst", "+max_clocks=1500000", timeout=100)
    assert status == 2
    assert "bytes left: the waves end at clock" in said
    assert "clocks=1500000 " in said


def trigger(folder: Path, *arguments: str) -> list[str | Path]:
    """The command that builds the top of main/trigger.f."""
    return [BUILD_SIM, "--top", "trigger_top", "--files", TESTS / "main/trigger.f", *arguments,
            "--out", folder]


@pytest.mark.seconds(20)
def test_waves_from_when_the_design_says(shell: Shell, folder: Path) -> None:
    """By its output waves_trigger."""
    file = folder / "design.fst"
    shell.run(*trigger(folder, "--waves"))
    said = shell.run(folder / "trigger_top-waves", f"+waves={file}", "+waves_trigger",
                     "+max_clocks=300", timeout=TIMEOUT)
    assert re.search("waves go to .* from clock 10[0-2] on$", said, re.MULTILINE)
    assert file.stat().st_size


@pytest.mark.seconds(20)
def test_a_clock_beside_aclk(shell: Shell, folder: Path) -> None:
    """So many edges as its period says, those that fall on an edge of aclk together with it."""
    shell.run(*trigger(folder, "-D", "USER_CLK"))

    def ticks(*arguments: str) -> str:
        return shell.run(folder / "trigger_top", *arguments, timeout=TIMEOUT)

    # The last rises 11,999,498.5 ps after the start, of 12 us.
    assert re.search("^user clocks 3999, ", ticks("+max_clocks=3000"), re.MULTILINE)
    assert re.search("^user clocks 1000, 1000 of them with aclk$",
                     ticks("+max_clocks=1000", "+user_clk_ps=4000"), re.MULTILINE)
    # It rises where the other falls.
    assert re.search("^user clocks 38, 0 of them with aclk$",
                     ticks("+max_clocks=1000", "+user_clk_ps=104000"), re.MULTILINE)


def test_an_input_that_nothing_drives(shell: Shell, folder: Path) -> None:
    """It would never tick, and is refused."""
    said = shell.refused(*trigger(folder, "-D", "SECOND_CLOCK"))
    assert "inputs that nothing drives: clk2" in said
