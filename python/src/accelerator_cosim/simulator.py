# SPDX-License-Identifier: MIT OR Apache-2.0
"""A simulator that runs."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ._supervisor import Process
from .errors import ProcessEnded, WaitTimeout
from .workspace import Simulation

if TYPE_CHECKING:
    from .session import Run

# Its clock always runs. A VM that boots needs the processor more.
NICE = 10
# What the bridge says when QEMU can come, and how long a compiler may take until then.
READY = re.compile(r"function [0-9a-f:]+ waits for QEMU at")
COMPILE_TIMEOUT = 3600.0


class Simulator:
    """A simulation at work; `Run.simulate` starts it.

    `bridges` are the names of its bridges, where it has several. Each listens at an endpoint of
    its own, which stays the same when the simulator is restarted.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        simulation: Simulation,
        *,
        plusargs: Sequence[str] = (),
        bridges: Sequence[str] = (),
        waves: bool = False,
    ) -> None:
        self._run = run
        self.name = name
        self.simulation = simulation
        self.plusargs = tuple(plusargs)
        self.endpoints = {
            bridge: f"ipc://{run.sockets / name}" + (f"-{bridge}" if bridge else "")
            for bridge in (bridges or ("",))
        }
        #: Files of waves, one for each start.
        self.waves: list[Path] = []
        self._with_waves = waves
        self._process: Process
        self._start()

    def _start(self) -> None:
        log = self._run.folder / f"{self.name}.log"
        words = self.words()
        if self._with_waves and self.simulation.waves:
            again = f"-{len(self.waves) + 1}" if self.waves else ""
            self.waves.append(self._run.folder / f"{self.name}{again}.fst")
            words.append(f"+waves={self.waves[-1]}")
        if not self.simulation.flow:
            self._process = self._run.start(self.name, words, log=log, nice=NICE)
            return
        stop_file = self._run.folder / f"{self.name}.stop"
        stop_file.unlink(missing_ok=True)
        words.append(f"+stop_file={stop_file}")
        before = self.text_length(log)
        self._process = self._run.start(self.name, words, log=log, nice=NICE)
        self._process.stop_file = stop_file
        self._wait_compiled(before)

    @staticmethod
    def text_length(log: Path) -> int:
        return len(log.read_text(errors="replace")) if log.exists() else 0

    def _wait_compiled(self, since: int) -> None:
        """Waits until the bridge is there: a compiler runs first, in a folder of the run."""
        deadline = time.monotonic() + COMPILE_TIMEOUT
        while len(READY.findall(self.text(), since)) < len(self.endpoints):
            if not self._process.running:
                self._process.may_end = True
                raise ProcessEnded(f"{self.name} has ended {self._process.last_words()}")
            if time.monotonic() > deadline:
                raise WaitTimeout(f"{self.name} was not there within {COMPILE_TIMEOUT:g} s; see "
                                  f"{self.log}")
            time.sleep(0.1)

    def words(self) -> list[str]:
        """Its command line, but for the waves."""
        words = list(self.simulation.command)
        if self.simulation.flow:
            words += ["--out", str(self._run.folder / f"{self.name}.work")]
        for bridge, endpoint in self.endpoints.items():
            suffix = f"_{bridge}" if bridge else ""
            words.append(f"+accelerator_endpoint{suffix}={endpoint}")
        return [*words, *self.plusargs]

    @property
    def endpoint(self) -> str:
        """Where its only bridge listens."""
        if len(self.endpoints) != 1:
            raise ValueError(f"{self.name} has several bridges: {', '.join(self.endpoints)}")
        return next(iter(self.endpoints.values()))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    @property
    def log(self) -> Path:
        return self._process.log

    def text(self) -> str:
        """What it has said, of all its starts."""
        return self._process.text()

    def kill(self) -> None:
        """Kills it, as `kill -9` does. The guest finds a card that does not answer."""
        self._process.kill()

    def stop(self) -> None:
        """Stops it in the middle of things, as a debugger does: it is there and says nothing."""
        self._process.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Lets it go on after `stop`."""
        self._process.signal(signal.SIGCONT)

    def end(self, timeout: float = 10.0) -> int:
        """Ends it in order and returns its status, which is 0 if all was well with it."""
        return self._process.end(timeout)

    def restart(self, simulation: Simulation | None = None) -> None:
        """Starts it again, or another simulation in its place, at the same endpoints."""
        if self.running:
            self.end()
        # One that has ended by itself has been seen.
        self._process.may_end = True
        if simulation:
            self.simulation = simulation
        self._start()

    def statistics(self) -> dict[str, float]:
        """What it counted until its last end: mmio_reads, dma_read_bytes, msix, clocks, …"""
        return {
            name: float(value)
            for name, value in re.findall(r"\b([a-z_]+)=([0-9]+(?:\.[0-9]+)?)\b", self.text())
        }
