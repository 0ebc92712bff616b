# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the suites with a VM have in common around their checks: options, what is built first, the
processes that end with the suite, and the report."""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

from vm import ROOT, Failure, QmpError

__all__ = [
    "PATCHED",
    "Bench",
    "at_least",
    "build_crate",
    "build_guest",
    "build_simulations",
    "first_line",
    "one_of",
    "options_of",
    "qemu_in",
    "run",
    "script",
    "step",
    "version_of",
]

PATCHED = "build/qemu/patched"


# ---- options ---------------------------------------------------------------------------

def at_least(least):
    """The type of an option that is a number from `least` on."""
    def number(text):
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"'{text}', expected a number from {least}")
        return value
    return number


def one_of(names):
    """The type of arguments that are some of these; with `choices`, argparse refuses none."""
    def name(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f"'{text}', expected {', '.join(names)}")
        return text
    return name


def options_of(script, text, checks=(), keep=True):
    """The parser of a suite that scripts/SCRIPT starts. `text` is what --help says first, `checks`
    the names that may be given to do these alone, with their functions if these say what they
    do."""
    text = textwrap.dedent(text).strip()
    if checks:
        text += "\n\nchecks (default: all):\n" + "\n".join(
            f"  {name:13} {first_line(checks[name])}" for name in checks)
    parser = argparse.ArgumentParser(
        prog=f"scripts/{script}", description=text, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    if checks:
        parser.add_argument("checks", nargs="*", type=one_of(checks), metavar="CHECK",
                            help="what to do of it")
    parser.add_argument("--qemu", default=PATCHED, metavar="DIR",
                        help=f"the QEMU in DIR/bin (default: {PATCHED})")
    if keep:
        parser.add_argument("--keep", action="store_true", help="keep the logs")
    return parser


def version_of(qemu):
    """The version of this QEMU, without what a distribution adds."""
    said = subprocess.run([qemu, "--version"], check=True, stdout=subprocess.PIPE, text=True)
    return said.stdout.removeprefix("QEMU emulator version ").split()[0]


def ran_with(options):
    """Prints for the table of the README that our device has passed with the QEMU of a suite."""
    qemu = options.qemu if Path(options.qemu).is_file() else qemu_in(options.qemu)
    print(f"ran with: qemu={version_of(qemu)} device=accelerator-pcie", flush=True)


def qemu_in(folder):
    """The program in a folder that scripts/build-qemus.sh has made."""
    program = ROOT / folder / "bin/qemu-system-x86_64"
    if not program.exists():
        raise SystemExit(f"{program} is not there; scripts/build-qemus.sh builds it")
    return str(program)


# ---- what is built ---------------------------------------------------------------------

def script(name, *arguments):
    """Runs one of the scripts, which says what is wrong."""
    status = subprocess.run([ROOT / "scripts" / name, *arguments], check=False).returncode
    if status != 0:
        raise SystemExit(status)


def build_simulations(*examples):
    for example in examples:
        script("build-sim.sh", example)


def build_guest(name):
    """A guest in build/NAME, where no other suite builds."""
    script("build-guest.sh", "--out", f"build/{name}")
    return f"build/{name}"


def build_crate(package, *arguments):
    """Builds a crate of the workspace; returns the folder of cargo's results."""
    status = subprocess.run(["cargo", "build", "--locked", "--package", package, *arguments],
                            check=False, cwd=ROOT).returncode
    if status != 0:
        raise SystemExit(status)
    text = subprocess.run(["cargo", "metadata", "--format-version", "1", "--no-deps"], check=True,
                          cwd=ROOT, stdout=subprocess.PIPE).stdout
    return Path(json.loads(text)["target_directory"])


# ---- what runs -------------------------------------------------------------------------

class Bench:
    """A folder and processes that end with the suite, in order: VMs first."""

    def __init__(self, options, prefix):
        # Without this a signal would end us alone; one that is ignored, as by nohup, stays so.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, lambda number, _: sys.exit(128 + number))
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self.processes = []
        self.vms = []

    def own(self, process):
        """Has a process end with the suite."""
        self.processes.append(process)
        return process

    def own_vm(self, vm):
        self.vms.append(vm)
        return self.own(vm)

    def end_process(self, process):
        process.end()

    def end(self, failed):
        """Ends everything; whether something has failed, now or before."""
        for vm in self.vms:
            vm.close()
        for process in reversed(self.processes):
            try:
                self.end_process(process)
            except Failure as e:
                print(e)
                failed = True
        if failed:
            for process in self.processes:
                sys.stdout.write(process.tail())
        if failed or self.options.keep:
            print(f"logs: {self.folder}")
        else:
            shutil.rmtree(self.folder)
        return failed


def first_line(check):
    return check.__doc__.strip().splitlines()[0]


def step(name, text, action):
    """Does something and prints how long it took."""
    begin = time.monotonic()
    result = action()
    print(f"ok      {name:12} {time.monotonic() - begin:6.1f} s  {text}", flush=True)
    return result


def run(bench, action):
    """Does everything that is to be done and ends the bench; returns the program's status."""
    failed = True
    try:
        action()
        failed = False
    except (Failure, QmpError, OSError, ValueError, IndexError, AttributeError,
            KeyError) as e:
        print(f"FAILED  {type(e).__name__}: {e}")
    finally:
        failed = bench.end(failed)
    if not failed:
        ran_with(bench.options)
    return int(failed)
