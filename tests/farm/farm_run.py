# SPDX-License-Identifier: MIT OR Apache-2.0
"""A farm on the Slurm of the tests, as a user starts it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

from slurm import Cluster

PATIENCE = 120.0


class FarmRun:
    """A farm that runs, with what it says."""

    def __init__(self, cluster: Cluster, bundle: Path, folder: Path, *words: str) -> None:
        self.results = folder / "results"
        self.junit = folder / "junit.xml"
        self.go = folder / "go"
        self.log = folder / "farm.log"
        self._read = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "accelerator_cosim", "farm", "--launcher", "slurm",
             "--results", self.results, "--junit", self.junit, "--voice", "2", bundle, *words],
            env={**cluster.environment, "FARM_GO": str(self.go)},
            stdout=self.log.open("w"), stderr=subprocess.STDOUT)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def read_until(self, pattern: str) -> None:
        """Waits for a line, after that of the last time."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.compile(pattern).search(self.said, self._read)):
            assert self.process.poll() is None, f"{pattern!r} was not said:\n{self.said}"
            assert time.monotonic() < deadline, f"{pattern!r} was not said:\n{self.said}"
            time.sleep(0.1)
        self._read = found.end()

    def wait(self, seconds: float = PATIENCE) -> int:
        status = self.process.wait(seconds)
        print(self.said, end="")
        return status

    def cases(self) -> list[ElementTree.Element]:
        return list(ElementTree.parse(self.junit).iter("testcase"))

    def errors(self) -> dict[str, str]:
        """Name of the case and what it says."""
        return {case.get("name") or "": error.get("message") or ""
                for case in self.cases() for error in case.iter("error")}

    def kill(self) -> None:
        # What is left waits no longer.
        self.go.touch()
        self.process.kill()
        self.process.wait()
