# SPDX-License-Identifier: MIT OR Apache-2.0
"""The process that is the parent of every simulator, QEMU and build.

It outlives whoever started it by as long as it takes to end them: when the harness is gone, by
SIGKILL for instance, it kills what is left and removes the folders of sockets. If it is killed
itself, the kernel kills its children. It is run as a file of its own, with the standard library
only, and has a single thread, since PR_SET_PDEATHSIG is about the thread that forks.

    _supervise.py SOCKET PARENT

Lines of JSON come over SOCKET, a descriptor:

    {"op": "start", "id": N, "argv": [], "cwd": "", "env": {}, "stdout": "", "stderr": "",
     "nice": 0}
    {"op": "signal", "id": N, "signal": 15}      to the process group
    {"op": "own", "id": N, "prefix": ""}         makes a folder that goes when we go
    {"op": "remove", "path": ""}                 removes it before that
    {"op": "share", "id": N, "path": ""}         makes a folder that goes when the last of us goes

and go:

    {"started": N, "pid": P}   {"made": N, "path": ""}   {"failed": N, "error": ""}
    {"ended": N, "status": S}

where the status is that of subprocess: a signal is its number with a minus. Folders are made here,
or one that was killed at the wrong moment would leave one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# A process that the kernel cannot end, in an uninterruptible sleep, is not waited for longer.
PATIENCE = 30.0

libc = ctypes.CDLL(None, use_errno=True)


def lock_folder(path: str, mode: int) -> int | None:
    """Returns a descriptor with the lock on a folder, or None if somebody has it or it is gone."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(folder, mode | fcntl.LOCK_NB)
        # Somebody may have removed it since it was opened.
        if os.fstat(folder).st_ino == os.stat(path).st_ino:
            return folder
    except OSError:
        pass
    os.close(folder)
    return None


class Supervisor:
    """Children, by the numbers that the harness has for them."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: dict[int, subprocess.Popen[bytes]] = {}
        self.numbers: dict[int, int] = {}
        self.owned: dict[str, int | None] = {}
        self.shared: dict[str, int] = {}
        self.buffer = b""

    def tell(self, message: dict[str, Any]) -> None:
        # If nobody listens any more, the loop finds out.
        with contextlib.suppress(OSError):
            self.control.sendall(json.dumps(message).encode() + b"\n")

    def start(self, message: dict[str, Any]) -> None:
        number = message["id"]
        parent = os.getpid()

        def in_child() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            os.nice(message["nice"])

        try:
            with open(message["stdout"], "ab") as out, open(message["stderr"], "ab") as err:
                child = subprocess.Popen(
                    message["argv"],
                    cwd=message["cwd"],
                    env=message["env"],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    preexec_fn=in_child,  # noqa: PLW1509 (there are no other threads)
                )
        except (OSError, ValueError, subprocess.SubprocessError) as e:
            self.tell({"failed": number, "error": str(e)})
            return
        self.children[number] = child
        self.numbers[child.pid] = number
        self.tell({"started": number, "pid": child.pid})

    def take(self, message: dict[str, Any]) -> None:
        op = message["op"]
        if op == "start":
            self.start(message)
        elif op == "signal":
            child = self.children.get(message["id"])
            if child:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, message["signal"])
        elif op in ("own", "share"):
            make = self.own if op == "own" else self.share
            try:
                path = make(message)
            except OSError as e:
                self.tell({"failed": message["id"], "error": str(e)})
            else:
                self.tell({"made": message["id"], "path": path})
        elif op == "remove":
            self.remove(message["path"], self.owned.pop(message["path"]))

    def own(self, message: dict[str, Any]) -> str:
        path: str = tempfile.mkdtemp(prefix=message["prefix"])
        # Nobody else knows of it: the lock is there for the asking.
        self.owned[path] = lock_folder(path, fcntl.LOCK_EX)
        return path

    def share(self, message: dict[str, Any]) -> str:
        path: str = message["path"]
        lock = None
        # Another one may be removing it.
        while lock is None:
            os.makedirs(path, exist_ok=True)
            lock = lock_folder(path, fcntl.LOCK_SH)
        self.shared[path] = lock
        return path

    def remove(self, path: str, lock: int | None) -> None:
        shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)

    def reap(self) -> None:
        """Picks up what has ended, ours and the orphans below it."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self.numbers.pop(pid, None)
            if number is not None:
                code = os.waitstatus_to_exitcode(status)
                # What it has started and left behind ends with it.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
                self.children.pop(number).returncode = code
                self.tell({"ended": number, "status": code})

    def receive(self) -> bool:
        """Takes what has come; false if nothing will come any more."""
        try:
            data = self.control.recv(65536)
        except OSError:
            return False
        if not data:
            return False
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            self.take(json.loads(line))
        return True

    def end(self) -> None:
        """Kills everything below us, and removes what we own."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for child in children_of(os.getpid()):
                for kill in (os.killpg, os.kill):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        kill(child, signal.SIGKILL)
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                time.sleep(0.005)
        for path, lock in self.owned.items():
            self.remove(path, lock)
        for path, shared in self.shared.items():
            os.close(shared)
            last = lock_folder(path, fcntl.LOCK_EX)
            if last is not None:
                self.remove(path, last)


def children_of(parent: int) -> list[int]:
    """Processes whose parent it is now."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name, in parentheses, may hold anything.
                fields = file.read().rsplit(b")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(name))
    return found


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    parent = int(sys.argv[2])
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    # A process that the harness has forked may have the other end of our socket as well, so its
    # own end is watched too.
    harness = os.pidfd_open(parent)
    if os.getppid() != parent:
        return
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    ended = []
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: ended.append(True))
    signal.signal(signal.SIGCHLD, lambda *_: None)

    supervisor = Supervisor(control)
    poll = select.poll()
    for descriptor in (control.fileno(), harness, wake_read):
        poll.register(descriptor, select.POLLIN)
    try:
        while not ended:
            ready = {descriptor for descriptor, _ in poll.poll()}
            with contextlib.suppress(BlockingIOError):
                os.read(wake_read, 4096)
            if harness in ready:
                break
            if control.fileno() in ready and not supervisor.receive():
                break
            supervisor.reap()
    finally:
        supervisor.end()


if __name__ == "__main__":
    main()
