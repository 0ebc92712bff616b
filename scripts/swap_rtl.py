# SPDX-License-Identifier: MIT OR Apache-2.0
"""usage: scripts/swap-rtl.sh [option...] [what to build]

Rebuilds the RTL, replaces the running simulator by the new one and brings the
guest's driver back: the guest releases the card, it is plugged in again with the
identity that the new RTL has, and the driver probes it. Nothing in the guest takes
part but its hot plug and its driver. Prints the seconds of each part from the start of
the build until the driver has the card again.

What to build, as scripts/build-sim.sh takes it (default: what the VM was started
with):
  EXAMPLE                    an example
  --top MODULE --files LIST  a design of your own
  -D NAME[=V], -G NAME=V     macros and parameters for it
  --waves                    with waves
  --optimise                 as fast a simulation as scripts/build-sim.sh makes. Otherwise
                             the build is one for editing (its --edit): it is there
                             sooner, and runs a little slower
  --sim PROGRAM              nothing: run this program, which you have built

Which VM:
  --run DIR         a folder of scripts/demo.sh (default: that of the demo that was
                    started last and still runs)
  For a VM that you have started yourself, with the card below a port that can be
  hot plugged and with -qmp unix:PATH,server=on,wait=off:
  --qmp PATH        that socket
  --pid PID         the simulator that runs now. The new one gets its arguments, its
                    working directory and, where that is a file, its output

  --device ID       which card, where there are several
  --driver FLAG     what says that the driver is back: bus-master (default),
                    memory-enabled (for a driver without DMA and MSI-X), or link-up
                    (there is no driver)
  --timeout S       give up after so many seconds without the driver (default 60)
  --help            this text
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from processes import is_over
from qmp import Qmp, QmpError

ROOT = Path(__file__).resolve().parents[1]
DRIVERS = ("bus-master", "memory-enabled", "link-up")
VALUED = ("--top", "--files", "-D", "-G", "--sim", "--run", "--qmp", "--pid", "--device",
          "--driver", "--timeout")


def say(text: str) -> None:
    """One line of progress."""
    print(f"[swap-rtl.sh] {text}", flush=True)


def warn(text: str) -> None:
    """A line that the user should read."""
    print(f"[swap-rtl.sh] warning: {text}", file=sys.stderr, flush=True)


def die(text: str) -> NoReturn:
    """Says why, and ends."""
    sys.exit(f"[swap-rtl.sh] error: {text}")


def options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options by name, and what scripts/build-sim.sh is to get, which is nothing where it is
    not said what to build."""
    given: dict[str, str] = {"--edit": "yes"}
    build: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            print(__doc__, end="")
            sys.exit()
        if word in VALUED:
            if not words:
                die(f"{word} needs a value; see --help")
            value = words.pop(0)
            if word in ("--files", "--sim", "--run"):
                value = os.path.realpath(value)
            if word in ("--top", "--files", "-D", "-G"):
                build += [word, value]
            else:
                given[word] = value
        elif word == "--optimise":
            del given["--edit"]
        elif word.startswith("-") and word != "--waves":
            die(f"unknown option {word}; see --help")
        else:
            build.append(word)
    if not re.fullmatch("[0-9]+", given.setdefault("--timeout", "60")):
        die(f"--timeout is {given['--timeout']}, expected seconds")
    if given.get("--driver", DRIVERS[0]) not in DRIVERS:
        die(f"--driver is {given['--driver']}, expected bus-master, memory-enabled or link-up")
    return given, build


# ---- which VM --------------------------------------------------------------------------

class Demo:
    """A folder of scripts/demo.sh, with the file that it leaves there for us."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "vm"
        values = dict(line.partition("=")[::2] for line in self.file.read_text().splitlines())
        if values.get("endpoint", "").startswith("vfio-user:"):
            die("the card is behind QEMU's vfio-user-pci, which does not take a simulator that "
                "comes back; start the demo without --qemu stock and --vfio-user")
        self.qmp, self.pid = values.get("qmp", ""), values.get("simulator_pid", "")
        self.device, self.build = values.get("device", ""), values.get("build", "").split()

    def tell(self, simulator: int | str) -> None:
        """The demo watches over its simulator: tells which that is, or that there is none now."""
        text = self.file.read_text()
        self.file.write_text(re.sub("^simulator_pid=.*", f"simulator_pid={simulator}", text,
                                    flags=re.M))


def demos() -> Iterator[Demo]:
    """Those that run here, the last one first."""
    files = list((ROOT / "build/run").glob("*/vm"))
    for file in sorted(files, key=lambda each: each.stat().st_mtime, reverse=True):
        demo = Demo(file.parent)
        if Path(demo.qmp).is_socket():
            yield demo


def find_demo(given: dict[str, str]) -> Demo | None:
    """The demo that is meant; None for a VM of the user's own."""
    if "--qmp" in given:
        if "--pid" not in given:
            die("--qmp needs --pid, the simulator that runs now")
        return None
    if "--run" in given:
        folder = Path(given["--run"])
        if not (folder / "vm").is_file():
            die(f"{folder} is no folder of a demo that runs: it has no file vm")
        return Demo(folder)
    demo = next(demos(), None)
    if demo is None:
        die("no demo runs here: start scripts/demo.sh --shell, or see --help for your own VM")
    return demo


class Simulator:
    """One that runs, and what it was started with, known before it is ended."""

    def __init__(self, pid: str) -> None:
        self.proc = Path("/proc") / (pid if pid.isdigit() else "none")
        try:
            self.arguments = self.proc.joinpath("cmdline").read_bytes().split(b"\0")[1:-1]
            self.program = os.readlink(self.proc / "exe").removesuffix(" (deleted)")
            self.folder = os.readlink(self.proc / "cwd")
        except OSError:
            die(f"process {pid}, the simulator, is not there")
        self.pid = int(pid)
        self.out, self.err = self.output(1), self.output(2)

    def output(self, number: int) -> str:
        """Where it writes, if that is a file."""
        try:
            file = os.readlink(self.proc / f"fd/{number}")
        except OSError:
            return os.devnull
        return file if os.path.isfile(file) else os.devnull

    def end(self) -> None:
        """Ends it in order, or not."""
        try:
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + 4
            while not is_over(self.pid):
                if time.monotonic() > deadline:
                    warn("the simulator did not end within 4 s of SIGTERM; killing it")
                    os.kill(self.pid, signal.SIGKILL)
                    break
                time.sleep(0.02)
        except ProcessLookupError:
            pass

    def replaced_by(self, program: str) -> subprocess.Popen[bytes]:
        """Starts another in its place: not ours to wait for, and not in our terminal's group."""
        with open(self.out, "ab") as out, open(self.err, "ab") as err:
            return subprocess.Popen([program.encode(), *self.arguments], cwd=self.folder,
                                    stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                    start_new_session=True)


# ---- build and swap --------------------------------------------------------------------

def built(words: list[str]) -> str:
    """Builds the RTL; the simulation."""
    line = ""
    with subprocess.Popen([ROOT / "scripts/build-sim.sh", *words], stdout=subprocess.PIPE,
                          text=True) as build:
        assert build.stdout is not None
        for line in build.stdout:
            print(line, end="", flush=True)
    if build.returncode != 0:
        die("the RTL does not build; the old simulator still runs")
    # The last line is "[build-sim] NAME: PROGRAM".
    return line.rstrip("\n").partition(": ")[2]


def driver_of(qmp: Qmp, card: str) -> str:
    """What says that the driver is back."""
    for flag in DRIVERS[:2]:
        if qmp.get(card, flag):
            return flag
    say("no driver has the card: waiting for the link alone")
    return "link-up"


def main(words: list[str]) -> None:
    begin = time.monotonic()
    given, build = options(words)
    demo = find_demo(given)
    path = demo.qmp if demo else given["--qmp"]
    if not Path(path).is_socket():
        die(f"{path} is no socket: the VM has ended, or has no QMP")
    device = given.get("--device") or (demo.device if demo else "")
    # Somebody else may want the socket between these.
    with closing(Qmp(path)) as qmp:
        card = qmp.find(device or None)
    old = Simulator(demo.pid if demo else given["--pid"])

    program = given.get("--sim", "")
    if not program:
        build = build or (demo.build if demo else [])
        program = built([*(["--edit"] if "--edit" in given else []), *build]) if build else (
            old.program)
    if not os.access(program, os.X_OK):
        die(f"the simulation {program} is not there")
    was_built = time.monotonic()

    with closing(Qmp(path)) as qmp:
        driver = given.get("--driver") or driver_of(qmp, card)
    # The old one first: a driver that waits for it gets all ones and can let go. The demo that
    # watches over it is told.
    if demo:
        demo.tell("swap")
    old.end()
    is_replugged = True
    try:
        with closing(Qmp(path)) as qmp:
            qmp.replug(card)
    except QmpError as error:
        print(f"qmp.py: {error}", file=sys.stderr)
        is_replugged = False
    new = old.replaced_by(program)
    if demo:
        demo.tell(new.pid)
    say(f"simulator {new.pid}: {program}")
    was_started = time.monotonic()
    if not is_replugged:
        warn("the card cannot be plugged in again in this VM (see above): the guest keeps it as "
             "it was;")
        warn("in the guest: echo 1 > /sys/bus/pci/devices/ADDRESS/remove; "
             "echo 1 > /sys/bus/pci/rescan")
        driver = "link-up"

    try:
        with closing(Qmp(path)) as qmp:
            qmp.wait_back(card, driver, float(given["--timeout"]))
    except QmpError as error:
        print(f"qmp.py: {error}", file=sys.stderr)
        die("the driver is not back; look at the guest's log"
            + (f", and at {demo.folder}" if demo else ""))
    if new.poll() is not None:
        die(f"the new simulator has ended; see {old.err}")
    end = time.monotonic()
    say(f"build {was_built - begin:.3f} s, swap {was_started - was_built:.3f} s, "
        f"driver ({driver}) {end - was_started:.3f} s")
    say(f"seconds from save to re-probed: {end - begin:.3f}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except QmpError as failure:
        sys.exit(f"qmp.py: {failure}")
