# SPDX-License-Identifier: MIT OR Apache-2.0
"""Who starts the jobs of an array, and says what has become of them."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

from ._loop import LoopThread
from ._supervisor import Process, Supervisor, describe_status
from .errors import FarmError

#: Seconds for a command of Slurm's; its own ends are shorter.
COMMAND_SECONDS = 120.0
#: How long the queue may not answer until it is given up.
SILENCE_SECONDS = 600.0
# What a job has beyond its time until it is ended from here.
GRACE_SECONDS = 60.0


class State(Enum):
    WAITING = "waits"
    RUNNING = "runs"
    ENDED = "has ended"


@dataclass(frozen=True)
class Job:
    """What a launcher knows of a job."""

    state: State
    #: Where it runs or has run, if that is known.
    node: str = ""
    #: While it waits what for; once it has ended what has ended it, if it was not itself.
    why: str = ""


@dataclass(frozen=True)
class Array:
    """Jobs that are the same but for their number."""

    #: The words that start one; its number follows --index, or is in a variable.
    command: tuple[str, ...]
    jobs: int
    #: Where they write.
    results: Path
    #: How many may run at once; all, if it is None.
    parallel: int | None = None
    #: Seconds that one may take.
    seconds: float | None = None
    #: Words that follow its number.
    rest: tuple[str, ...] = ()


class Launcher(Protocol):
    """Starts an array and follows it. An array is started once."""

    def start(self, array: Array) -> str:
        """Returns what it is called, for people."""

    def look(self) -> Sequence[Job]:
        """What has become of the jobs, by number."""

    def cancel(self) -> None:
        """Has those end that have not yet; returns at once."""

    def close(self) -> None:
        """Lets go of what it has itself."""


def launcher_of(text: str) -> Launcher:
    """The launcher that a text names: `slurm` with options of sbatch, or any prefix."""
    words = shlex.split(text)
    if words and words[0] == "slurm":
        return Slurm(words[1:])
    if words and words[0] == "local":
        words = words[1:]
    return Prefix(words)


class Prefix:
    """A process on this machine for each job, behind a prefix: `ssh host`, `docker run … image`,
    `srun`, or none. {job} in it is the number of the job."""

    def __init__(self, prefix: Sequence[str]) -> None:
        self.prefix = tuple(prefix)
        self._array: Array
        self._processes: list[Process] = []
        self._begins: list[float] = []
        self._late: set[int] = set()
        self._cancelled = False
        self._loop: LoopThread | None = None
        self._supervisor: Supervisor

    def start(self, array: Array) -> str:
        self._array = array
        self._loop = LoopThread()
        # What we have started ends with us, also if we are killed.
        self._supervisor = Supervisor(self._loop, array.results / "launcher.log")
        self.look()
        return shlex.join(self.prefix) or "processes on this machine"

    def _start_job(self, number: int) -> None:
        words = [word.replace("{job}", str(number)) for word in self.prefix]
        command = [*words, *self._array.command, "--index", str(number),
                   *self._array.rest]
        self._processes.append(self._supervisor.start(
            f"job {number}", command, cwd=self._array.results, env=environment(),
            log=self._array.results / f"job-{number}.out"))
        self._begins.append(time.monotonic())

    def look(self) -> Sequence[Job]:
        array = self._array
        running = sum(process.running for process in self._processes)
        while (len(self._processes) < array.jobs and not self._cancelled
               and running < (array.parallel or array.jobs)):
            try:
                self._start_job(len(self._processes))
            except Exception as e:
                raise FarmError(str(e)) from e
            running += 1
        return [self._job(number) for number in range(array.jobs)]

    def _job(self, number: int) -> Job:
        if number >= len(self._processes):
            return Job(State.ENDED, why="cancelled") if self._cancelled else Job(
                State.WAITING, why=f"no more than {self._array.parallel} at once")
        process = self._processes[number]
        limit = self._array.seconds
        if process.running:
            if limit and time.monotonic() > self._begins[number] + limit + GRACE_SECONDS:
                self._late.add(number)
                process.kill()
            return Job(State.RUNNING)
        why = ""
        if number in self._late:
            why = f"the time limit of {limit:g} s"
        elif self._cancelled:
            why = "cancelled"
        elif process.status not in (0, 1):
            why = f"ended with status {describe_status(process.status)}"
        return Job(State.ENDED, why=why)

    def cancel(self) -> None:
        self._cancelled = True
        for process in self._processes:
            if process.running:
                process.may_end = True
                process.signal(signal.SIGTERM)

    def close(self) -> None:
        if self._loop:
            self._supervisor.close()
            self._loop.close()
            self._loop = None
            log = self._array.results / "launcher.log"
            if log.exists() and not log.stat().st_size:
                log.unlink()


class Slurm:
    """An array of jobs of Slurm's. What sbatch has to know of a site is in its options, or in its
    variables (SBATCH_PARTITION, SBATCH_ACCOUNT and others)."""

    #: States in which a job has ended by itself.
    BY_ITSELF: Final = ("COMPLETED", "FAILED")
    #: What others mean.
    MEANING: Final = MappingProxyType({
        "BOOT_FAIL": "the node did not boot",
        "CANCELLED": "cancelled",
        "DEADLINE": "the deadline",
        "NODE_FAIL": "node lost",
        "OUT_OF_MEMORY": "out of memory",
        "PREEMPTED": "preempted",
        "REVOKED": "revoked",
        "TIMEOUT": "the time limit",
    })
    GOING: Final = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "STAGE_OUT",
             "SIGNALING", "RESIZING")

    def __init__(self, options: Sequence[str] = ()) -> None:
        self.options = tuple(options)
        self._array: Array
        self._id = ""
        self._jobs: list[Job] = []
        self._heard = time.monotonic()

    def start(self, array: Array) -> str:
        self._array = array
        limit = f"%{array.parallel}" if array.parallel else ""
        options = [
            "--parsable", f"--array=0-{array.jobs - 1}{limit}", "--job-name=accelerator-cosim",
            f"--chdir={array.results}", f"--output={array.results}/job-%a.out",
            # One that has been lost is told of, and not silently begun again.
            "--no-requeue",
        ]
        if array.seconds:
            # It ends itself before that, and says so.
            options.append(f"--time={int((array.seconds + GRACE_SECONDS) / 60) + 1}")
        script = f"#!/bin/sh\nexec {shlex.join([*array.command, *array.rest])}\n"
        output = slurm_command(["sbatch", *options, *self.options], script)
        self._id = output.strip().split(";")[0]
        if not self._id.isdecimal():
            raise FarmError(f"sbatch gave no number of a job: {output}")
        self._jobs = [Job(State.WAITING)] * array.jobs
        return f"job {self._id} of Slurm"

    def look(self) -> Sequence[Job]:
        try:
            output = slurm_command(["squeue", "--array", "--noheader", "--states=all",
                                    f"--jobs={self._id}", "--format=%K|%T|%N|%r"])
        except FarmError as e:
            # It forgets jobs that have ended long ago.
            if "Invalid job id" not in str(e):
                if time.monotonic() > self._heard + SILENCE_SECONDS:
                    raise
                return self._jobs
            output = ""
        self._heard = time.monotonic()
        said: dict[int, Job] = {}
        for line in output.splitlines():
            number, state, node, reason = line.strip().split("|", 3)
            if number.isdecimal():
                said[int(number)] = self._job(state, node, reason)
        self._jobs = [
            said.get(number) or (job if job.state == State.ENDED else
                                 # Such as one that was cancelled while it waited.
                                 Job(State.ENDED, job.node, "no longer in the queue"))
            for number, job in enumerate(self._jobs)
        ]
        return self._jobs

    def _job(self, state: str, node: str, reason: str) -> Job:
        if state in self.BY_ITSELF:
            return Job(State.ENDED, node)
        if state in self.MEANING:
            where = f" on {node}" if node else ""
            return Job(State.ENDED, node, f"{self.MEANING[state]} ({state}{where})")
        if state in self.GOING:
            return Job(State.RUNNING, node)
        return Job(State.WAITING, why=reason)

    def cancel(self) -> None:
        if self._id:
            slurm_command(["scancel", self._id])

    def close(self) -> None:
        pass


def environment() -> dict[str, str]:
    # Which job it is does not come from an array that we are part of ourselves.
    return {name: value for name, value in os.environ.items()
            if name not in ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")}


def slurm_command(command: Sequence[str], text: str = "") -> str:
    try:
        # A session of its own: Ctrl-C is for us, and we cancel what it has begun.
        result = subprocess.run(command, input=text, capture_output=True, text=True, check=False,
                                timeout=COMMAND_SECONDS, start_new_session=True)
    except FileNotFoundError:
        raise FarmError(f"{command[0]} is not there: this machine cannot submit jobs to Slurm"
                        ) from None
    except subprocess.TimeoutExpired:
        raise FarmError(f"{command[0]} did not end within {COMMAND_SECONDS:g} s") from None
    if result.returncode != 0:
        raise FarmError(f"{command[0]} failed: {(result.stderr or result.stdout).strip()}")
    return result.stdout
