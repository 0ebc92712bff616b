# SPDX-License-Identifier: MIT OR Apache-2.0
"""The options of the scripts test-*.sh whose tests are pytest's, which take parts of these by name.
Each is in the environment of Python that its script has made.

usage: entry.py SCRIPT [ARGUMENT...]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = """\

environment:
  ACCELERATOR_CACHE   folder for what is built (default ~/.cache/accelerator-pcie)"""
QEMU = "  --qemu DIR  the QEMU in DIR/bin (default: build/qemu/patched)"


@dataclass
class Tests:
    """What a script is: its tests and its help. Part NAME is what pytest finds for test_NAME;
    `valued` are options with a value, of which it says what that is."""

    files: str
    usage: str
    parts: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    valued: tuple[tuple[str, str], ...] = ()
    # As many at once as there are processors, the longest first: hdl/tests/conftest.py sorts them.
    spread: bool = False


SCRIPTS = {
    "test-build.sh": Tests("hdl/tests/suite_designs.py", f"""\
usage: scripts/test-build.sh [PART...]

Builds small designs with scripts/build-sim.sh. The last line is: N passed, N failed.

  PART   edit     the build for editing, and what it spares
         together builds of one design at once
         errors   what elaboration refuses, and the warnings that are shown
         lists    what a file list may have, and how it is told what is not there
{CACHE}""", ("edit", "together", "errors", "lists"), spread=True),

    "test-flows.sh": Tests("hdl/tests/suite_flows.py", f"""\
usage: scripts/test-flows.sh [--update] [PART...]

Checks the flows for Vivado and other simulators, none of which it needs. The last line
is: N passed, N failed.

  --update   writes the transcripts in hdl/tests/flows/expected anew
  PART       library   the DPI library beside another libzmq in one process; the header
                       as C99 and C++11
             flows     scripts/run-*.sh with stand-ins that refuse what vendors do not
                       document, their calls against the transcripts
             tcl       the Tcl scripts with a recorder in place of Vivado's commands,
                       which refuses what it does not know, their calls against the
                       transcripts
             slang     the sources elaborated by slang, and scanned; the components in VHDL
                       against the modules
             bench     the test bench with Verilator --timing: every example does the
                       same, clock for clock, however the clock is made, and whatever
                       its registers begin with
{CACHE}""", ("library", "flows", "tcl", "slang", "bench"), ("--update",), spread=True),

    "test-manifests.sh": Tests("hdl/tests/suite_manifests.py", """\
usage: scripts/test-manifests.sh [--long]

For the bridges and each example: FuseSoC lints them with Verilator, and takes the sources and
include folders of hdl/bridge.f or of the example's file list, in its order; so does
Bender.yml. The last line is: N passed, N failed.

  --long    also builds a simulation with FuseSoC and runs it, and asks Bender itself, which
            is built with cargo (some minutes, once)
  --help    this text""", flags=("--long",), spread=True),

    "test-interrupted.sh": Tests("""tests/scripts/test_interrupted.py
        tests/scripts/test_options.py tests/scripts/test_patches.py
        tests/scripts/test_processes.py tests/scripts/test_builds.py
        tests/scripts/test_guest_build.py tests/scripts/test_qemu_build.py""", """\
usage: scripts/test-interrupted.sh

Runs scripts/test.sh with a cargo that never ends, which has started another program, tells it
to end by each signal, and sees that all of them do. The report of --junit has to say so, and to
be XML whatever is in a log. Then ends a script that waits for lines, and takes a while to
clean up. The same of builds in Python, and what these take and refuse: scripts/builds,
guest_build and qemu_build."""),

    "test-python.sh": Tests("tests/harness.py python", """\
usage: scripts/test-python.sh [option...]

Builds the package python/ and installs it into a folder of its own, runs its own
tests, and then with it examples/driver-tests and every example of
docs/driver-tests.md, two at a time. scripts/test-lint.sh has ruff and mypy.

  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)
  --kills N    how often a harness with a VM is killed (default 2; 20 is the long form)
  --help       this text""", valued=(("--qemu", "a folder"), ("--kills", "a number"))),

    "test-farm.sh": Tests("tests/harness.py farm", """\
usage: scripts/test-farm.sh [--qemu DIR]

Starts a Slurm with a controller and two nodes on this machine, by the user who calls it and in a
folder of its own, and runs tests/farm on it: bundles, jobs that are lost, and what docs/farms.md
says for Kubernetes. The packages are installed where that may be done; nothing of them has to run.

  --qemu DIR   the QEMU in DIR/bin (default: build/qemu/patched)""",
        valued=(("--qemu", "a folder"),)),

    "test-lint.sh": Tests("tests/scripts/test_lint.py", """\
usage: scripts/test-lint.sh

Runs ruff over every Python file, and mypy over all but cocotb's tests: strictly over the
package, its tests, the examples, the pytest of hdl/ and what has types, else over what goes
without them."""),

    "test-licences.sh": Tests("tests/licences/test_licences.py", """\
usage: scripts/test-licences.sh

Compares the licence that each file says it has with the table of CONTRIBUTING.md, and
has cargo-deny look at the crates as deny.toml says: the licences of all that is compiled
for the DPI library, where every crate comes from, and advisories of RustSec. Each of the
checks but the last also has to refuse what is planted for it.

The advisories are a git repository on GitHub. Where that cannot be fetched a line says
"not checked: advisories", and everything else is checked all the same."""),

    "test-demo.sh": Tests("tests/scripts/test_demo.py", f"""\
usage: scripts/test-demo.sh [--qemu DIR] [TEST...]

  diverted    on a Debian whose packages have moved files the guest's sources are found
  refusals    a folder as a simulation, a program that needs shared libraries, what QEMU's own
              vfio-user-pci has not
  early       a simulator that ends before there is a card
  shell       the same for a demo with a prompt
  middle      a simulator that ends while the guest works
  talk        the same while the guest talks all the time
  complaints  RTL that raises a vector which it has not: the summary has it
  panic       a guest's kernel that panics is named
  options     memory, CPUs, kernel arguments, a virtual IOMMU
  disk        a disk image of the user's boots, sees the card, and is left alone with --snapshot
  waves       waves from when the driver comes
  interrupt   Ctrl-C leaves nothing behind
  own_guest   a plain demo leaves the user's own guest alone

{QEMU}
  --help      this text""",
        ("diverted", "refusals", "early", "shell", "middle", "talk", "complaints", "panic",
         "options", "disk", "waves", "interrupt", "own_guest"),
        valued=(("--qemu", "a folder"),)),

    "test-record.sh": Tests("tests/scripts/test_record.py", f"""\
usage: scripts/test-record.sh [--qemu DIR]

Two guests sort at the same time. One's record has to agree with what the driver, the
RTL and the DPI library have counted. The other's simulator is killed by SIGKILL in the
middle, and its record, a ring with contents, is read. Both demos write a report.

A third one sorts with RTL in which a bug was put. Its record is replayed without a VM: with the
bug, where the waveform has to show it at the clock that the replay names, and without.

{QEMU}
  --help      this text""", valued=(("--qemu", "a folder"),)),

    "test-user.sh": Tests("tests/scripts/test_user.py", """\
usage: scripts/test-user.sh [--qemu DIR]

Makes an ordinary user and runs scripts/demo.sh as that user, in an environment
that is empty but for a PATH with Rust in it; then once more in a checkout that
cannot be written, which has to be said in a sentence. Checkout, cache and crates
are copies that have the same places as the originals, in a mount namespace of its
own, so that no more is built anew than the guest. Neither the user nor a file is
left.

Run by an ordinary user it is that user's own checkout and cache, and nothing is
made but the environment.

  --qemu DIR    the QEMU in DIR/bin (default: what scripts/build-qemus.sh builds)
  --help        this text""", valued=(("--qemu", "a folder"),)),

    "test-package.sh": Tests("tests/scripts/test_package.py", """\
usage: scripts/test-package.sh [option...] [PART...]

Makes the packages, and tests them. Needs root, and a mirror of Debian.

  same      they are the same, byte by byte, when they are made again
  wheel     tests of a driver with the wheel and the QEMU of the .deb, without a checkout
  bookworm, trixie
            a minimal Debian of that release: apt installs the .deb in it, accelerator-demo
            passes as an ordinary user in less than 60 s, a record of it has a page and
            is replayed, a script of the Python package runs, nothing is left when the
            package is removed
  image     skopeo reads the OCI image, umoci unpacks it, its demo passes

Without a PART all of them, but for releases of Debian older than this one. With others than
same, the packages of the last run are taken if they are there.

  --qemu DIR  the QEMU in DIR (default: build/qemu/patched, built if missing)
  --help      this text""", ("same", "wheel", "bookworm", "trixie", "image"),
        valued=(("--qemu", "a folder"),)),

    "test-report.sh": Tests("tests/report/test_report.py", """\
usage: scripts/test-report.sh [--pictures DIR]

The pages of records of 10 and of a million transactions are opened in Debian's
Chromium, zoomed, filtered, and a transaction is clicked (tests/report/page.py); GTKWave
opens the markers beside an FST. Without Chromium or GTKWave it fails.

  --pictures DIR  also writes PNGs of the page of a million to DIR
  --help          this text""", valued=(("--pictures", "a folder"),)),

    "test-litepcie.sh": Tests("tests/scripts/test_litepcie.py", f"""\
usage: scripts/test-litepcie.sh [--qemu DIR] [--long]

Runs scripts/demo.sh --example litepcie with a core of 256 bits, looped back in itself, and with
one of 128 bits, looped back outside. Verilator must have no warnings of what is not LitePCIe's, and
LitePCIe's files must be as the wheel has them.

{QEMU}
  --long      each width with both loopbacks, and with completions that come in other legal
              places and another order; and LitePCIe's test of DMA has to find bits that are
              wrong
  --help      this text""", flags=("--long",), valued=(("--qemu", "a folder"),)),

    "test-network.sh": Tests("tests/scripts/test_network.py", """\
usage: scripts/test-network.sh [option...] [TEST...]

  --qemu DIR         the patched QEMU (default: build/qemu/patched)
  --plain-qemu DIR   the other one (default: build/qemu/baseline, or the patched one
                     where --qemu is given)
  --help             this text

tests: session, make_bridge, pair, bridge, interrupt, kill_ports (default: all)""",
        ("session", "make_bridge", "pair", "bridge", "interrupt", "kill_ports"),
        valued=(("--qemu", "a folder"), ("--plain-qemu", "a folder"))),
}


def pytest_arguments(tests: Tests, words: list[str]) -> Iterator[str]:
    """What pytest gets of the words that the script was given."""
    parts = []
    valued = dict(tests.valued)
    while words:
        word = words.pop(0)
        if word in valued:
            if not words:
                sys.exit(f"error: {word} needs {valued[word]}")
            yield f"{word}={words.pop(0)}"
        elif word in tests.flags:
            yield word
        elif word in tests.parts:
            parts.append(word)
        else:
            sys.exit(f"error: unknown argument '{word}'; see --help")
    if parts:
        yield f"-k={' or '.join(f'test_{part}' for part in parts)}"


def main(script: str, *words: str) -> None:
    """Becomes pytest."""
    tests = SCRIPTS[script]
    if "-h" in words or "--help" in words:
        print(tests.usage)
        return
    try:
        arguments = list(pytest_arguments(tests, list(words)))
    except SystemExit as error:
        sys.exit(f"[{script}] {error}")
    os.chdir(ROOT)
    if tests.files.startswith("tests/harness.py"):
        os.execv(sys.executable, [sys.executable, *tests.files.split(), *arguments])
    command = [sys.executable, "-m", "pytest", "-q"]
    if tests.spread:
        command += ["--no-header", "-n", str(len(os.sched_getaffinity(0))), "--dist", "load",
                    "--maxschedchunk", "1", "-c", str(ROOT / "hdl/tests/pytest.ini")]
    else:
        command += ["-c", str(ROOT / "tests/scripts/pytest.ini")]
    os.execv(command[0], [*command, *arguments, *tests.files.split()])


if __name__ == "__main__":
    main(*sys.argv[1:])
