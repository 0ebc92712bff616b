# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs the tests of a bundle as an array of jobs, and brings their results together."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from .errors import BundleError, FarmError
from .launchers import Array, Job, Launcher, State
from .results import ArrayResult, read_job
from .workspace import is_bundle

LOOK_SECONDS = 2.0
#: How often it is said what is waited for.
VOICE_SECONDS = 60.0
#: What jobs have to end in once they are cancelled.
CANCEL_SECONDS = 120.0
# Until a file that was written on another machine is seen here.
LATE_SECONDS = 5.0


def manifest_tests(bundle: Path) -> list[str]:
    tests: list[str] = json.loads((bundle / "bundle.json").read_text())["tests"]
    return tests


def unpack(bundle: Path, folder: Path) -> None:
    try:
        with tarfile.open(bundle) as tar:
            for member in tar:
                # Python 3.11.2 has no filters.
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts or not (member.isfile()
                                                                    or member.isdir()):
                    raise BundleError(f"{bundle} is no bundle: it has {member.name}")
            tar.extraction_filter = lambda member, _: member
            tar.extractall(folder)
    except (tarfile.TarError, OSError, EOFError) as e:
        raise BundleError(f"{bundle} cannot be unpacked: {e}") from e


@contextlib.contextmanager
def unpacked(bundle: Path, beside: Path) -> Iterator[Path]:
    """A folder with a bundle: itself, or what was in the file, until the end."""
    if is_bundle(bundle):
        yield bundle.resolve()
        return
    if not bundle.is_file():
        raise BundleError(f"{bundle} is no bundle: neither a folder with bundle.json nor a file")
    with tempfile.TemporaryDirectory(prefix=".bundle-", dir=beside) as folder:
        # Jobs may be another user's.
        os.chmod(folder, 0o755)
        unpack(bundle, Path(folder))
        if not is_bundle(Path(folder)):
            raise BundleError(f"{bundle} is no bundle: it has no bundle.json")
        yield Path(folder)


class Farm:
    """An array of jobs, from its start to its report."""

    def __init__(
        self, launcher: Launcher, results: Path, *, say: Callable[[str], None] = print,
        voice: float = VOICE_SECONDS,
    ) -> None:
        self.launcher = launcher
        self.results = results
        self.say = say
        self.voice = voice
        #: Signals that ask for the end.
        self.signals: list[int] = []

    def run(
        self, bundle: Path, jobs: int, *, parallel: int | None = None,
        seconds: float | None = None, options: Sequence[str] = (), python: str = "python3",
    ) -> ArrayResult:
        """Runs it and returns when all jobs have ended, or the array was cancelled."""
        self.results.mkdir(parents=True, exist_ok=True)
        for old in self.results.glob("job-*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        with unpacked(bundle, self.results) as folder, self._heed_signals():
            tests = manifest_tests(folder)
            (self.results / "array.json").write_text(json.dumps({"jobs": jobs, "tests": tests}))
            command = [python, str(folder / "run"), "--jobs", str(jobs),
                       "--results", str(self.results)]
            if seconds:
                command += ["--time", f"{seconds:g}"]
            # Options of pytest are behind all of ours, the number of the job included.
            array = Array(tuple(command), jobs, self.results, parallel, seconds,
                          tuple(["--", *options] if options else []))
            begin = time.monotonic()
            try:
                self.say(f"{len(tests)} tests in {jobs} jobs: {self.launcher.start(array)}; "
                         f"results in {self.results}")
                ended = self._follow(begin)
            finally:
                self.launcher.close()
            result = collect(self.results, {
                number: job.why for number, job in enumerate(ended) if job.why}, late=True)
            result.seconds = time.monotonic() - begin
        for path in self.results.glob("job-*.out"):
            if not path.stat().st_size:
                path.unlink()
        return result

    def _follow(self, begin: float) -> Sequence[Job]:
        """Waits for the end of all jobs, and says what is going on."""
        known: dict[int, Job] = {}
        spoken = begin
        cancelled = 0.0
        while True:
            jobs = self.launcher.look()
            for number, job in enumerate(jobs):
                if job.state != known.get(number, Job(State.WAITING)).state:
                    where = f" on {job.node}" if job.node else ""
                    why = f": {job.why}" if job.why else ""
                    self.say(f"job {number} {job.state.value}{where}{why}")
                    spoken = time.monotonic()
                known[number] = job
            left = [job for job in jobs if job.state != State.ENDED]
            now = time.monotonic()
            if not left:
                return jobs
            if self.signals and not cancelled:
                cancelled = now
                name = signal.Signals(self.signals[0]).name
                self.say(f"{name}: cancelling; jobs left: {len(left)}")
                self.launcher.cancel()
            elif cancelled and now > cancelled + CANCEL_SECONDS:
                raise FarmError(f"{len(left)} jobs did not end within {CANCEL_SECONDS:g} s "
                                "after they were cancelled")
            if now > spoken + self.voice:
                spoken = now
                self.say(describe(left, now - begin))
            # A signal ends the sleep only if its handler raises, so it is short.
            until = now + LOOK_SECONDS
            while time.monotonic() < until and not (self.signals and not cancelled):
                time.sleep(0.1)

    @contextlib.contextmanager
    def _heed_signals(self) -> Iterator[None]:
        """Signals are noted, so that none comes between the start of jobs and their name."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = [signal.signal(number, lambda number, _: self.signals.append(number))
                  for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


def describe(left: Sequence[Job], seconds: float) -> str:
    """What is waited for."""
    running = sum(job.state == State.RUNNING for job in left)
    waiting = [job for job in left if job.state == State.WAITING]
    parts = [f"{running} running"] if running else []
    if waiting:
        reasons = sorted({job.why for job in waiting if job.why})
        parts.append(f"{len(waiting)} waiting in the queue"
                     + (f" ({', '.join(reasons)})" if reasons else ""))
    return f"jobs: {', '.join(parts)}; {seconds:.0f} s since the start"


def collect(results: Path, reasons: dict[int, str] | None = None, *, late: bool = False
            ) -> ArrayResult:
    """Reads what the jobs of an array have written. With `late` those that have just ended without
    a word are given some time, since files of other machines come later."""
    try:
        array = json.loads((results / "array.json").read_text())
    except OSError as e:
        raise FarmError(f"{results} has no results of an array: {e}") from e
    reasons = reasons or {}
    deadline = time.monotonic() + LATE_SECONDS
    while True:
        jobs = [read_job(results, number, array["jobs"], array["tests"])
                for number in range(array["jobs"])]
        silent = [job for job in jobs
                  if job.end is None and not job.why and not reasons.get(job.number)]
        if not (late and silent) or time.monotonic() > deadline:
            return ArrayResult(jobs, reasons)
        time.sleep(0.5)


def report(result: ArrayResult, junit: Path | None) -> int:
    """Says what came of it and writes the JUnit file; returns a status for the shell."""
    if junit:
        result.write_junit(junit)
    for line in result.lines():
        print(line)
    sys.stdout.flush()
    return 0 if result.passed else 1
