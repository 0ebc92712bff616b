# SPDX-License-Identifier: MIT OR Apache-2.0
"""The folder for what is built outside the tree, by its content, and one process at a time in it:
what scripts/lib.sh has for the other scripts, with the same keys and locks."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from builds.messages import die, say

HOUR = 3600.0
POLL = 0.1
BLOCK = 1 << 20


def cache_dir() -> Path:
    """The folder, made if needed."""
    named = os.environ.get("ACCELERATOR_CACHE")
    if not named:
        home = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME', '')}/.cache"
        named = f"{home}/accelerator-pcie"
    with suppress(OSError):
        os.makedirs(named, exist_ok=True)
    if not os.path.isdir(named):
        die(f"the cache folder {named} cannot be made; ACCELERATOR_CACHE names another")
    return Path(named)


def make_folder(folder: Path) -> None:
    """Makes it, and ends with a sentence if it cannot be written."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        die(f"the folder {folder} cannot be written, and what is built and logged goes there: "
            "take a copy of the checkout that is yours")


def sha256_of(file: Path) -> str:
    """The checksum of a file."""
    checksum = hashlib.sha256()
    with file.open("rb") as data:
        while block := data.read(BLOCK):
            checksum.update(block)
    return checksum.hexdigest()


def sum_line(file: Path, name: str) -> bytes:
    """What sha256sum says of a file under that name."""
    plain = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if plain != name else ""
    return f"{mark}{sha256_of(file)}  {plain}\n".encode(errors="surrogateescape")


def files_below(folder: Path) -> Iterator[str]:
    """The regular files below a folder, with names from there."""
    for where, _, names in os.walk(folder):
        for name in names:
            file = Path(where, name)
            if file.is_file() and not file.is_symlink():
                yield str(file.relative_to(folder))


def content_key(*parts: object) -> str:
    """16 hex digits that stand for the texts, and for the content of those that are absolute paths
    of files or folders."""
    key = hashlib.sha256()
    for part in map(str, parts):
        path = Path(part)
        if part.startswith("/") and path.is_dir():
            names = (f"./{name}" for name in files_below(path) if not name.endswith(".pyc"))
            for name in sorted(names, key=os.fsencode):
                key.update(sum_line(path / name, name))
        elif part.startswith("/") and path.is_file():
            key.update(f"{sha256_of(path)} {path.name}\n".encode(errors="surrogateescape"))
        else:
            key.update(f"{part}\n".encode(errors="surrogateescape"))
    return key.hexdigest()[:16]


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time, among those that build this. The programs that are started meanwhile
    hold the lock with us."""
    file = cache_dir() / f"{name}.lock"
    lock = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        os.set_inheritable(lock, True)
        _wait(lock, name, file)
        yield
    finally:
        os.close(lock)


def _wait(lock: int, name: str, file: Path) -> None:
    deadline = None
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        now = time.monotonic()
        if deadline is None:
            say(f"another process builds {name}; waiting for it (at most an hour)")
            deadline = now + HOUR
        elif now > deadline:
            die(f"{file} is still held after an hour by another process")
        time.sleep(POLL)


def link(target: Path, name: Path) -> None:
    """Has a link lead there, in place of where it has led to."""
    name.parent.mkdir(parents=True, exist_ok=True)
    made = name.with_name(f".{name.name}.{os.getpid()}")
    made.symlink_to(target)
    try:
        made.replace(name)
    except OSError:
        made.unlink()
        raise
