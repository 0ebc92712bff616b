# SPDX-License-Identifier: Apache-2.0
"""Builds a bench with Verilator and the stand-in, or for GHDL, and runs its cocotb tests."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import random
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benches import HDL, TESTS, Bench, sources
from cocotb_tools.runner import Runner, get_runner

# What a part of the tests has to say where the block has StallClocks.
STALLS = (
    "m_axis_rc_tready has been low for 300",
    "the host has not answered 1 reads for 300",
    "m_axis_cq_tready has been low for 300 clocks with a request",
    "completions wait behind a write of the guest",
)
# What is wrong where no test has failed, since there was none.
NOTHING = "no test has run"


@dataclass(frozen=True)
class Options:
    """What a user says about a run."""

    cache: Path
    seed: int | None = None
    #: Of random traffic on each width of the UltraScale+ block; 0 is what the tests take.
    requests: int = 0
    #: Regular expression of the names of cocotb tests.
    filter: str | None = None
    waves: bool = False


@dataclass
class Outcome:
    """What has come of a run."""

    log: Path
    seconds: float
    #: Names of cocotb tests.
    passed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    #: What else is wrong.
    wrong: list[str] = field(default_factory=list)


@functools.cache
def verilator_version() -> bytes:
    """What Verilator says of itself."""
    return subprocess.run(["verilator", "--version"], check=True, stdout=subprocess.PIPE).stdout


def files_of(bench: Bench) -> list[Path]:
    """The sources, with what watches the buses."""
    files = sources(bench.files)
    if bench.simulator == "ghdl":
        # What is Verilog, and the top that has it in it, is not for this one.
        files = [file for file in files if file.suffix == ".vhd" and file.name != "vhdl_top.vhd"]
    files += [TESTS / file for file in bench.sources]
    # Whatever has a PCIe bridge has both of its buses watched.
    without = bench.module in ("test_nic", "test_uart_bridge", "test_axi_cdc")
    if bench.simulator == "verilator" and not without and "pcie4" not in bench.files + bench.top:
        files += [TESTS / "axi_checker.sv", TESTS / "axi_watch.sv"]
    if bench.module == "test_xdma":
        files += [TESTS / "axi_watch_xdma.sv"]
    if bench.module == "test_axi_cdc":
        files += [TESTS / "axi_checker.sv", TESTS / "axi_watch_cdc.sv"]
    return files


@contextmanager
def build_folder(name: str, bench: Bench, options: Options) -> Iterator[Path]:
    """The folder of a build and its logs, which nobody else uses meanwhile."""
    # The number is of what is below and no file says.
    key = hashlib.sha256(repr((dict(bench.parameters), options.waves, 5)).encode()
                         + verilator_version())
    for file in [*files_of(bench), HDL / "rtl/accelerator_axi.svh", TESTS / "standin.cpp"]:
        key.update(file.read_bytes())
    options.cache.mkdir(parents=True, exist_ok=True)
    folder = options.cache / f"{name}-{key.hexdigest()[:16]}"
    # One run at a time, which is over with its process.
    with open(folder.with_suffix(".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            # What an earlier run was killed in the middle of has files that only look done.
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def build(runner: Runner, bench: Bench, folder: Path, options: Options) -> None:
    """Builds, unless it is there."""
    if bench.simulator == "ghdl":
        runner.build(sources=files_of(bench), hdl_toplevel=bench.top, build_dir=folder,
                     always=True, build_args=["--std=08"], log_file=folder / "build.log")
    elif not (folder / "complete").exists():
        runner.build(
            sources=files_of(bench),
            includes=[HDL / "rtl"],
            hdl_toplevel=bench.top,
            parameters=bench.parameters,
            build_dir=folder,
            waves=options.waves,
            timescale=("1ns", "1ps"),
            log_file=folder / "build.log",
            # What nothing sets begins as anything, as registers of a chip and X do.
            # In one file: in several it needs a precompiled header, which not every pair of
            # Verilator's makefile and compiler finds.
            build_args=["--x-initial", "unique", "--x-assign", "unique", "--assert", "-Wall",
                        "-Wno-UNUSEDPARAM", "--no-timing", "-O3", "--output-split", "0",
                        "-CFLAGS", "-std=gnu++20 -O1", "-LDFLAGS", "-rdynamic",
                        *(["--trace-structs"] if options.waves else []),
                        str(TESTS / "standin.cpp")],
        )
        (folder / "complete").touch()


def simulate(runner: Runner, bench: Bench, folder: Path, options: Options) -> str:
    """Runs the tests; says how it ended where that was not in order."""
    # One for cocotb, which prints it, and for the state that everything begins with.
    seed = random.randrange(1, 1 << 31) if options.seed is None else options.seed
    ghdl = bench.simulator == "ghdl"
    try:
        runner.test(
            hdl_toplevel=bench.top,
            hdl_toplevel_lang="vhdl" if ghdl else "verilog",
            test_module=bench.module,
            build_dir=folder,
            test_dir=folder,
            waves=options.waves,
            results_xml=str(folder / "results.xml"),
            log_file=folder / "test.log",
            seed=seed,
            # At the very start nothing of VHDL is known yet.
            plusargs=["--ieee-asserts=disable-at-0"] if ghdl else [
                "+verilator+rand+reset+2", f"+verilator+seed+{seed}", *bench.plusargs],
            test_args=["--std=08"] if ghdl else [],
            test_filter=options.filter,
            extra_env={"PCIE4_REQUESTS": str(options.requests),
                       "SUITE_PARAMETERS": repr({**bench.parameters, **bench.told})},
        )
    except SystemExit as end:
        # Of the simulator; or, with status 1, of a test that has failed.
        return f"the simulation ended with status {end.code}"
    except RuntimeError as error:
        return f"the simulation failed: {error}"
    return ""


def cases(results: Path) -> tuple[list[str], list[str]]:
    """The names of the cocotb tests that have passed, and of those that have failed."""
    passed, failed = [], []
    for case in xml.etree.ElementTree.parse(results).iter("testcase"):
        name = case.get("name", "without a name")
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(name)
        elif case.find("skipped") is None:
            passed.append(name)
    return passed, failed


def warnings_missed(bench: Bench, text: str) -> Iterator[str]:
    """What the log has to say, or must not, when all tests of a module have run."""
    # The tests of the bridge write with holes, and write and read narrow beats.
    if bench.module == "test_bridge":
        told = len(re.findall("Warning.*a board's PCIe .* told once", text))
        board = bench.parameters.get("BoardRules", 0)
        if told < 3 if board else told > 0:
            yield f"{told} warnings about boards with BoardRules {board}"
    # One of the tests has each kind of stall.
    if "StallClocks" in bench.parameters:
        for kind in STALLS:
            if kind not in text:
                yield f"no warning '{kind}'"


def run(name: str, bench: Bench, options: Options) -> Outcome:
    """Builds and runs a bench. It has failed if anything failed or is wrong, or nothing ran."""
    with build_folder(name, bench, options) as folder:
        started = time.monotonic()
        results, log = folder / "results.xml", folder / "test.log"
        results.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        try:
            runner = get_runner(bench.simulator)
            build(runner, bench, folder, options)
        except (SystemExit, RuntimeError, ValueError, OSError) as error:
            return Outcome(folder / "build.log", time.monotonic() - started,
                           wrong=[f"it cannot be built: {error}"])
        ended = simulate(runner, bench, folder, options)
        outcome = Outcome(log, time.monotonic() - started)
        try:
            outcome.passed, outcome.failed = cases(results)
        except (OSError, xml.etree.ElementTree.ParseError):
            outcome.wrong.append(f"{ended or 'the simulation ended'}, without results")
            return outcome
        if ended and not outcome.failed:
            outcome.wrong.append(ended)
        if options.filter is None and log.is_file():
            outcome.wrong += warnings_missed(bench, log.read_text(encoding="utf-8",
                                                                  errors="replace"))
        if not outcome.passed and not outcome.failed:
            outcome.wrong.append(NOTHING)
        return outcome


def cache_folder() -> Path:
    """Where what is built is kept, as scripts/lib.sh has it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ACCELERATOR_CACHE") or Path(home) / "accelerator-pcie")
