# SPDX-License-Identifier: MIT OR Apache-2.0
"""One job of an array: runs a shard of the tests of a bundle, where the bundle is.

It is the program `run` of a bundle. Which job it is says --index, or the variable that Slurm or
Kubernetes set for it. It writes RESULTS/job-K.jsonl, records as in `_shard.py`, between

    {"job": 3, "jobs": 8, "host": "node1"}
    {"lost": "the time limit of 60 s"}       if it was not pytest that ended it

RESULTS/job-K.log, what pytest says, and RESULTS/job-K/, the folders of runs that have failed.
Whatever else it writes is in a folder of its own on this machine, which goes when it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ._loop import LoopThread
from ._shard import append
from ._supervisor import Supervisor, describe_status
from .errors import BundleError, CosimError

#: What names a job of an array, by who runs it.
INDEX_VARIABLES = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")
FORMAT = 1
LOST_STATUS = 70
LOOK_SECONDS = 0.1
SIGNAL_SECONDS = 0.5


def main(bundle: str) -> NoReturn:
    parser = argparse.ArgumentParser(
        prog="run", description="Runs one of N shards of the tests of this bundle.")
    parser.add_argument("--jobs", type=int, required=True, metavar="N", help="how many shards")
    parser.add_argument("--index", type=int, metavar="K",
                        help="which one, from 0 (default: $" + " or $".join(INDEX_VARIABLES) + ")")
    parser.add_argument("--results", type=Path, required=True, metavar="DIR",
                        help="where the results of all jobs go")
    parser.add_argument("--time", type=float, metavar="S", help="seconds that it may take")
    parser.add_argument("options", nargs="*", help="for pytest, after --")
    arguments = parser.parse_args()
    try:
        index = index_of(arguments.index, arguments.jobs)
        status = run_job(Path(bundle), index, arguments.jobs, arguments.results.resolve(),
                         arguments.time, arguments.options)
    except CosimError as e:
        sys.exit(f"run: {e}")
    sys.exit(status)


def index_of(given: int | None, jobs: int) -> int:
    index = given
    for name in INDEX_VARIABLES:
        if index is None and name in os.environ:
            index = int(os.environ[name])
    if index is None:
        raise BundleError("which job is it? --index says it, or one of "
                          + ", ".join(INDEX_VARIABLES))
    if not 0 <= index < jobs:
        raise BundleError(f"job {index} is none of 0 to {jobs - 1}")
    return index


def run_job(
    bundle: Path, index: int, jobs: int, results: Path, seconds: float | None,
    options: list[str],
) -> int:
    """Returns pytest's status, or LOST_STATUS if it was ended."""
    manifest = json.loads((bundle / "bundle.json").read_text())
    if manifest["format"] != FORMAT:
        raise BundleError(f"{bundle} has format {manifest['format']}, and this is for {FORMAT}")
    check_libc(manifest["libc"])
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.append(number))
    records = results / f"job-{index}.jsonl"
    log = results / f"job-{index}.log"
    for path in (records, log):
        path.unlink(missing_ok=True)
    append(records, {"job": index, "jobs": jobs, "host": socket.gethostname(),
                     "node": os.environ.get("SLURMD_NODENAME") or os.environ.get("NODE_NAME")})
    loop = LoopThread()
    supervisor = Supervisor(loop, log)
    try:
        # It goes when we go, whichever way.
        work = supervisor.make_folder(f"{tempfile.gettempdir()}/accelerator-job.")
        tests = bundle / "tests"
        pytest = supervisor.start(
            "pytest",
            [
                # Nothing that is installed here takes part.
                sys.executable, "-P", "-S", "-s", "-m", "pytest", "-p", "no:cacheprovider",
                "-p", "accelerator_cosim._shard", "--rootdir", tests,
                "-c", tests / manifest["settings"], *manifest["options"], *options,
                "--cosim-root", bundle, "--cosim-qemu", bundle, "--cosim-build", "never",
                "--cosim-runs", work, "--cosim-shard", f"{index}/{jobs}",
                "--cosim-records", records, "--cosim-failures", results / f"job-{index}",
                *(tests / path for path in manifest["paths"]),
            ],
            cwd=work, log=log,
            env={**os.environ, "PYTHONPATH": str(bundle / "python"),
                 "PYTHONDONTWRITEBYTECODE": "1"})
        deadline = time.monotonic() + seconds if seconds else None
        why = ""
        while pytest.running and not why:
            if signals:
                why = ended_by(signals)
            elif deadline is not None and time.monotonic() > deadline:
                why = f"the time limit of {seconds:g} s"
            else:
                time.sleep(LOOK_SECONDS)
        if why:
            # At once: we may be killed before all below us has ended.
            append(records, {"lost": why})
            # The supervisor may have been sent the signal as well, and be gone.
            with contextlib.suppress(CosimError):
                pytest.kill()
            return LOST_STATUS
        if (status := pytest.wait(0)) < 0:
            # All of us may have been sent the same signal, and the others were faster.
            time.sleep(SIGNAL_SECONDS)
            why = ended_by(signals) or f"pytest ended with status {describe_status(status)}"
            append(records, {"lost": why})
            return LOST_STATUS
    finally:
        supervisor.close()
        loop.close()
    # A shard may have no test at all.
    return 0 if status == 5 else status


def ended_by(signals: Sequence[int]) -> str:
    return f"it was ended by {signal.Signals(signals[0]).name}" if signals else ""


def check_libc(made_with: str) -> None:
    def numbers(version: str) -> list[int]:
        return [int(part) for part in version.split(".") if part.isdecimal()]

    here = (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ")
    if numbers(here) < numbers(made_with):
        raise BundleError(f"the bundle was made with glibc {made_with}, and this machine has "
                          f"{here or 'another C library'}: make it on the oldest of all")
