# SPDX-License-Identifier: MIT OR Apache-2.0
"""The demo as an ordinary user has it: not root, and with nothing but Rust in the PATH."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from shell import ROOT, Word, in_cargo, run, status_of

DEMO = "scripts/demo.sh"
BLOCKS = "4"
IS_ROOT = os.geteuid() == 0
CACHE = Path(os.environ.get("ACCELERATOR_CACHE") or Path(
    os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "accelerator-pcie").resolve()
CARGO = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo").resolve()
UNREACHABLE = "download/upstream-unreachable"
# Of the cache a user needs a copy, but for these.
LEFT_OUT = ("user-*", "*.lock", "log", "qemu")


def environment(home: Path, rust: Path) -> list[str]:
    """Begins a command that has nothing else."""
    return ["env", "-i", f"HOME={home}", f"CARGO_HOME={CARGO}", f"ACCELERATOR_CACHE={CACHE}",
            f"PATH={rust}/bin:/usr/local/bin:/usr/bin:/bin"]


def sysroot() -> Path:
    """Where Rust is."""
    return Path(run("rustc", "--print", "sysroot").strip())


def passes(prefix: Sequence[Word], arguments: Sequence[Word]) -> None:
    """The demo, behind such a command, ends with PASS."""
    said = run(*prefix, DEMO, "--blocks", BLOCKS, *arguments)
    assert said.splitlines()[-1] == "PASS"


@pytest.fixture(scope="module")
def given(pytestconfig: pytest.Config) -> Path | None:
    """A QEMU that is there."""
    folder = pytestconfig.getoption("--qemu")
    if folder is None:
        return None
    assert Path(folder, "bin/qemu-system-x86_64").exists()
    return Path(folder).resolve()


def own_checkout(given: Path | None) -> None:
    """It is the user's own checkout and cache, and nothing is made but the environment."""
    passes(environment(Path.home(), sysroot()), ["--qemu", given] if given else [])


class User:
    """An ordinary user, with copies of checkout, cache and crates. Files that nobody writes to
    again are links, and stay root's; the user's are the folders, and what is written in place."""

    def __init__(self, folder: Path, qemu: Path | None) -> None:
        self.name = f"acc-test-{os.getpid()}"
        self.folder, self.qemu = folder, folder / "qemu" if qemu else None
        # Beside the originals: a hard link leads to no other file system.
        self.cache = CACHE / f"user-{os.getpid()}"
        self.tree = ROOT / f"target/user-{os.getpid()}"
        for each in "cargo", "home", "rust", "cache", "tree":
            (folder / each).mkdir()
        folder.chmod(0o755)
        run("useradd", "--no-create-home", "--no-log-init", "--home-dir", folder / "home",
            "--shell", "/bin/sh", self.name)
        if qemu:
            run("cp", "-aL", qemu, folder / "qemu")

    def copy_cache(self) -> None:
        """Copies the cache."""
        (self.cache / "qemu").mkdir(parents=True)
        left_out = [word for name in LEFT_OUT for word in ("-not", "-name", name)]
        for name, words in ("", left_out), ("qemu", ["-not", "-name", "work-*"]):
            run("find", CACHE / name, "-mindepth", "1", "-maxdepth", "1", *words, "-exec", "cp",
                "-al", "-t", self.cache / name, "{}", "+")
        # The user makes the guest anew, from the packages that root has fetched: depmod, modinfo
        # and the compiler are where a user's surroundings matter.
        for pattern in "distribution-*", "result-*", "work-*":
            for made in self.cache.glob(f"guest/{pattern}"):
                shutil.rmtree(made)
        # It is written in place.
        (self.cache / UNREACHABLE).unlink(missing_ok=True)
        run("find", self.cache, "-type", "d", "-exec", "chown", f"{self.name}:", "{}", "+")
        if (CACHE / UNREACHABLE).exists():
            shutil.copy2(CACHE / UNREACHABLE, self.cache / UNREACHABLE)
            shutil.chown(self.cache / UNREACHABLE, self.name, self.name)

    def copy_tree(self) -> None:
        """Copies the checkout, what cargo has made for it, and the crates."""
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others",
                                 "--exclude-standard"], check=True, cwd=ROOT, text=True,
                                stdout=subprocess.PIPE).stdout.split("\0")
        files = "\0".join(file for file in listed if file and os.path.lexists(ROOT / file))
        release = self.tree / "target/release"
        release.mkdir(parents=True)
        subprocess.run(["xargs", "-0", "cp", "-a", "--parents", "-t", self.tree], check=True,
                       cwd=ROOT, input=files, text=True)
        run("cp", "-a", f"{in_cargo()}/release/.", release)
        run("cp", "-a", CARGO / "registry", self.folder / "cargo")
        if (CARGO / "config.toml").exists():
            shutil.copy(CARGO / "config.toml", self.folder / "cargo")
        run("chown", "-R", f"{self.name}:", self.tree, self.folder / "cargo",
            self.folder / "home")

    def remove(self) -> None:
        """Leaves neither the user nor a file."""
        # Also while a process of it still ends.
        subprocess.run(["userdel", "--force", self.name], check=False, stderr=subprocess.DEVNULL)
        for folder in self.cache, self.tree:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def user(given: Path | None, work: Path) -> Iterator[User]:
    """An ordinary user."""
    # What root has of it is what the user finds.
    if not given:
        run("scripts/build-qemus.sh", "--patched-only")
    run("scripts/build-sim.sh", "sort")
    run("scripts/build-guest.sh", "--out", "build/guest-plain")
    made = User(work, given)
    try:
        made.copy_cache()
        made.copy_tree()
        yield made
    finally:
        made.remove()
    assert made.name not in [each.pw_name for each in pwd.getpwall()]


def another_user(user: User) -> None:
    """Copies are where the originals are, in a mount namespace of its own, so that no more is built
    anew than the guest; then a checkout that cannot be written is told of."""
    qemu: list[Word] = ["--qemu", user.qemu] if user.qemu else []
    run("unshare", "--mount", "--propagation", "private", "--", sys.executable, __file__,
        user.name, user.folder, user.cache, user.tree, *qemu)


if IS_ROOT:
    test_another_user = another_user
else:
    test_own_checkout = own_checkout


# ---- in the namespace ------------------------------------------------------------------

def expose(path: Path, origin: Path, as_user: Sequence[str]) -> None:
    """The user finds `origin` at a path, whoever may enter the folders above it."""
    for above in reversed(path.parents[:-1]):
        if status_of(*as_user, "test", "-x", above, cwd=Path("/"))[0] != 0:
            run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", above, cwd=Path("/"))
            break
    path.mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", origin, path, cwd=Path("/"))


def inside(name: str, folder: Path, cache: Path, tree: Path, arguments: list[str]) -> None:
    """What is done there."""
    as_user = ["setpriv", "--reuid", name, "--regid", name, "--clear-groups"]
    for origin, place in (sysroot(), "rust"), (cache, "cache"), (tree, "tree"):
        run("mount", "--bind", origin, folder / place)
    os.chdir("/")
    for path, place in (CACHE, "cache"), (CARGO, "cargo"), (ROOT, "tree"):
        expose(path, folder / place, as_user)
    prefix = [*as_user, "--no-new-privs", *environment(folder / "home", folder / "rust")]
    assert status_of(*prefix, "test", "!", "-w", "/")[0] == 0, f"{name} is not an ordinary user"
    passes(prefix, arguments)

    run("mount", "-o", "remount,bind,ro", ROOT)
    status, said = status_of(*prefix, DEMO, *arguments)
    assert status == 1
    assert "mkdir:" not in said
    refusal = said.partition("error: the folder ")[2]
    assert " cannot be written, " in refusal


if __name__ == "__main__":
    inside(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5:])
