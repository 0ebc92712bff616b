# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs suites of scripts/test.sh, which has them and starts each when it is called with --run, and
writes the report of --junit.

usage: run_suites.py [--junit FILE] [--beside NAME=OTHER] [--whole] TEST_SH QEMU_DIR QEMU_GIVEN \\
           NAME:TEXT...

The current folder is the checkout's; each suite leaves its output in target/test/NAME.log."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

LOGS = Path("target/test")
SUPPORT = Path("tests/docs/support.py")
# What XML 1.0 does not allow (section 2.2, Char): a log may have anything.
NO_CHAR = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ELEMENTS = {"failed": "failure", "stopped": "error", "skipped": "skipped"}
# Lines of a log that name a failure, which need not be at its end.
FAILURE = re.compile(
    r"panicked at|^(test|---) .*FAILED|^(error|FAIL|FAILED|ERROR)|[a-z.]+\.sh\] error")
NAMED, LAST = 30, 15
# Seconds that what a suite has started has to end in order.
PATIENCE = 20


class Told(BaseException):
    """A signal has told us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def text_of(data: bytes) -> str:
    """The same as XML can have it."""
    return NO_CHAR.sub("\ufffd", data.decode("utf-8", "replace"))


def what_failed(log: Path) -> bytes:
    """Lines that name a failure, each with the two behind it, and then the end."""
    lines = log.read_bytes().splitlines() if log.is_file() else []
    named = [number for number, line in enumerate(lines)
             if FAILURE.search(line.decode("utf-8", "replace"))]
    shown = sorted({each for number in named for each in range(number, number + 3)
                    if each < len(lines)})
    # As `grep -n -A2` has them.
    told = [b"%d%s%s" % (each + 1, b":" if each in named else b"-", lines[each])
            for each in shown[:NAMED]]
    return b"\n".join([*told, b"...", *lines[-LAST:], b""])


class Suite:
    """One of the run: how it ended (passed, failed, stopped), and a sentence of that."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.log, self.failure = LOGS / f"{name}.log", LOGS / f"{name}.failure"
        # Its seconds, which it leaves there as it ends.
        self.took = LOGS / f"{name}.seconds"
        self.outcome, self.sentence, self.seconds = "", "", 0
        self.began: float | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, command: list[str]) -> None:
        """Starts it in a session of its own, so that it can be ended with whatever it has
        started."""
        self.log.write_bytes(b"")
        self.took.write_text("0\n")
        self.failure.unlink(missing_ok=True)
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def wait(self) -> None:
        """Waits for its end, and tells of it."""
        assert self.process is not None
        status = self.process.wait()
        # Shells say so of a signal.
        status = 128 - status if status < 0 else status
        self.process = None
        self.seconds = int(self.took.read_text())
        head = f"{self.name:<12} {self.seconds:5d} s  {self.text}"
        if status == 0:
            self.outcome = "passed"
            print(f"ok      {head}", flush=True)
            # What it could not do here, and does not count.
            notes = re.findall(b"^not checked: .*", self.log.read_bytes(), re.M)
            for note in notes:
                sys.stdout.buffer.write(b"        " + note + b"\n")
            sys.stdout.flush()
            self.sentence = " ".join(map(text_of, notes))
            return
        self.outcome = "stopped" if status > 128 else "failed"
        self.sentence = f"status {status}"
        self.failure.write_bytes(what_failed(self.log))
        print(f"FAILED  {head}\n        status {status}, from {self.log}:", flush=True)
        for line in self.failure.read_bytes().split(b"\n")[:-1]:
            sys.stdout.buffer.write(b"        | " + line + b"\n")
        sys.stdout.flush()

    def case(self, parent: ET.Element) -> str:
        """Its test case in the report, and how it has ended. It would be stopped where it has begun
        and is not told of yet."""
        outcome, sentence, seconds = self.outcome, self.sentence, self.seconds
        if not outcome and self.began is not None:
            outcome, sentence = "stopped", "the run ended while it was running"
            seconds = int(time.monotonic() - self.began)
            self.failure.write_bytes(what_failed(self.log))
        elif not outcome:
            outcome, sentence = "skipped", "the run ended before it began"
        case = ET.SubElement(parent, "testcase", classname="scripts/test.sh", name=self.name,
                             time=str(seconds))
        if outcome in ELEMENTS:
            element = ET.SubElement(case, ELEMENTS[outcome], message=sentence)
            if outcome != "skipped" and self.failure.is_file():
                element.text = text_of(self.failure.read_bytes())
        elif sentence:
            ET.SubElement(case, "system-out").text = sentence
        return outcome


class Run:
    """All suites that are to run, in order, and the report of them."""

    def __init__(self, suites: list[Suite], junit: Path | None) -> None:
        self.suites, self.junit = suites, junit

    def report(self) -> None:
        """Brings the report up to date, which is replaced as a whole."""
        if self.junit is None:
            return
        root = ET.Element("testsuites")
        suite = ET.SubElement(root, "testsuite", name="scripts/test.sh")
        outcomes = Counter(each.case(suite) for each in self.suites)
        suite.attrib.update(
            tests=str(outcomes.total()), failures=str(outcomes["failed"]),
            errors=str(outcomes["stopped"]), skipped=str(outcomes["skipped"]),
            time=str(sum(int(case.get("time") or 0) for case in suite)),
            timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        part = self.junit.with_name(f"{self.junit.name}.part")
        ET.ElementTree(root).write(part, encoding="utf-8", xml_declaration=True)
        os.replace(part, self.junit)

    def support(self, whole: bool) -> None:
        """Collects what those that have passed ran with; of a whole run it is told what the
        README's table has and it had not."""
        names = [suite.name for suite in self.suites if suite.outcome == "passed"]
        # A checkout of a test has none.
        if not names or not SUPPORT.is_file():
            return
        seen = LOGS / "support.tsv"
        with seen.open("wb") as file:
            subprocess.run([sys.executable, SUPPORT, "--collect", LOGS, *names], stdout=file,
                           check=True)
        if whole:
            subprocess.run([sys.executable, SUPPORT, "--compare", seen], check=True)

    def end(self) -> None:
        """Ends the suites that run, and sees them gone."""
        pids = [suite.process.pid for suite in self.suites if suite.process]
        deadline = time.monotonic() + PATIENCE
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
        for suite in self.suites:
            if suite.process is None:
                continue
            pid = suite.process.pid
            with contextlib.suppress(ProcessLookupError):
                while time.monotonic() < deadline:
                    # One that nobody has waited for yet would be there still.
                    suite.process.poll()
                    os.killpg(pid, 0)
                    time.sleep(0.1)
                os.killpg(pid, signal.SIGKILL)

    def run(self, command: list[str], qemu: list[str], beside: dict[str, str],
            whole: bool) -> bool:
        """Runs them one after the other; whether all have passed."""
        by_name = {suite.name: suite for suite in self.suites}

        def start(name: str) -> None:
            if name in by_name and by_name[name].began is None:
                by_name[name].start([*command, name, *qemu])
        for suite in self.suites:
            start(beside.get(suite.name, ""))
            start(suite.name)
            self.report()
            suite.wait()
        self.support(whole)
        passed = sum(suite.outcome == "passed" for suite in self.suites)
        print(f"{passed} passed, {len(self.suites) - passed} failed", flush=True)
        return passed == len(self.suites)


def main() -> int:
    """Runs them; the status."""
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("--junit", type=Path)
    options.add_argument("--beside", action="append", default=[])
    options.add_argument("--whole", action="store_true")
    options.add_argument("words", nargs="+")
    given = options.parse_args()
    test_sh, *qemu = given.words[:3]
    run = Run([Suite(*word.split(":", 1)) for word in given.words[3:]], given.junit)

    def told(number: int, _: object) -> None:
        raise Told(number)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # One that is ignored, as by nohup, stays so.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, told)
    status = 1
    try:
        beside = dict(word.split("=", 1) for word in given.beside)
        status = int(not run.run(["bash", test_sh, "--run"], qemu, beside, given.whole))
    except Told as error:
        status = 128 + error.number
    finally:
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        # The report first: who waits for a run to end may lose patience.
        try:
            run.report()
        except OSError as error:
            print(f"[test.sh] warning: the report {given.junit} cannot be written: {error}",
                  file=sys.stderr)
            status = status or 1
        run.end()
    return status


if __name__ == "__main__":
    sys.exit(main())
