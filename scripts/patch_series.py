# SPDX-License-Identifier: MIT OR Apache-2.0
"""usage: scripts/patches.sh COMMAND ...

  apply RELEASE TREE         apply patches/RELEASE to an unpacked QEMU tree
  apply --git RELEASE TREE   the same as git commits; a tree without git becomes a
                             repository, and the tag accelerator-pcie-base marks
                             what was there before
  refresh RELEASE TREE       write patches/RELEASE from the commits of TREE that come
                             after accelerator-pcie-base
  rebase OLD TREE NEW        carry the series of release OLD over to TREE, an unpacked
                             QEMU of another release, and write it as patches/NEW
  check [RELEASE [TREE]]     check the form of all series or of one; with a pristine
                             TREE also that it applies there, without changing it

RELEASE is the name of a folder of patches/. apply takes --quiet, and --baseline for
only those patches that have a line "Baseline: yes".
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

PATCHES = Path(__file__).resolve().parents[1] / "patches"
BASE_TAG = "accelerator-pcie-base"
# Commits carry no one's name: the series belongs to the project.
GIT = ["-c", "user.name=accelerator-pcie", "-c", "user.email=accelerator-pcie@localhost", "-c",
       "commit.gpgSign=false", "-c", "core.autocrlf=false"]


def say(text: str) -> None:
    """One line of progress."""
    print(f"[patches.sh] {text}", flush=True)


def warn(text: str) -> None:
    """A line that the user should read."""
    print(f"[patches.sh] warning: {text}", file=sys.stderr, flush=True)


def die(text: str) -> NoReturn:
    """Says why, and ends."""
    sys.exit(f"[patches.sh] error: {text}")


class Series:
    """The patches of a release, in order."""

    def __init__(self, release: str) -> None:
        self.release, self.folder = release, PATCHES / release
        if not (self.folder / "series").is_file():
            there = " ".join(sorted(each.name for each in PATCHES.iterdir() if each.is_dir()))
            die(f"there is no patches/{release}/series; there are: {there} ")
        lines = (self.folder / "series").read_text(encoding="utf-8").splitlines()
        self.names = [name for name in (line.partition("#")[0].rstrip() for line in lines) if name]

    def text(self, name: str) -> str:
        """A patch; nothing if it is not there."""
        file = self.folder / name
        return file.read_text(encoding="utf-8", errors="surrogateescape") if file.is_file() else ""

    def baseline(self) -> list[str]:
        """Those of them that are for a QEMU without the device as well."""
        return [name for name in self.names if "Baseline: yes" in self.text(name).split("\n")]

    def wrong(self, name: str) -> Iterator[str]:
        """What is wrong with the form of a patch."""
        if not (self.folder / name).is_file():
            yield f"{self.release}/series names {name}, which is not there"
            return
        text, called = self.text(name), f"{self.release}/{name}"
        if not re.search(r"^Subject: \[PATCH\] [^ ]", text, re.M):
            yield f"{called} has no subject as git format-patch writes it"
        # The text between the header and the list of files says why.
        if not re.split("^---$", text, maxsplit=1, flags=re.M)[0].partition("\n\n")[2].strip():
            yield f"{called} does not say why"
        # Files of ours are files of this repository, not additions of a patch.
        added = re.findall(r"^diff --git \S+ (\S+)\nnew file mode", text, re.M)
        if added:
            yield f"{called} adds a file: {' '.join(added)}"
        # The baseline has no Rust.
        if name in self.baseline() and re.search("^--- a/rust/", text, re.M):
            yield f"{called} is for the baseline too, but changes rust/"


class Tree:
    """An unpacked QEMU."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "VERSION").is_file() or not (self.folder / "rust").is_dir():
            die(f"{folder} is no QEMU source tree: it has no VERSION or no rust/")
        self.version = (self.folder / "VERSION").read_text().strip()

    def git(self, *words: str) -> bool:
        """Whether a command of git succeeds in it."""
        return subprocess.run(["git", "-C", self.folder, *GIT, *words], check=False).returncode == 0

    def do_git(self, *words: str) -> None:
        """One that has to."""
        if not self.git(*words):
            sys.exit(1)

    def git_says(self, *words: str) -> str:
        """What it prints; nothing if it fails."""
        return subprocess.run(["git", "-C", self.folder, *GIT, *words], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()

    def is_repository(self) -> bool:
        """Whether it is one itself."""
        return self.git_says("rev-parse", "--show-toplevel") == str(self.folder.resolve())

    def need_clean(self) -> None:
        """Without changes of the user's."""
        if not self.git("diff", "--quiet", "HEAD", "--"):
            die(f"{self.folder} has changes that are not committed")

    def patch(self, *words: str | Path) -> bool:
        """Whether a patch can be applied to the files."""
        return subprocess.run(["patch", "-d", self.folder, "-p1", "-s", "--no-backup-if-mismatch",
                               *words], check=False).returncode == 0

    def mark_base(self) -> None:
        """Makes the tree a repository if it is none, and tags what is there."""
        if not shutil.which("git"):
            die("git is missing")
        if not self.is_repository():
            say(f"making {self.folder} a git repository")
            self.do_git("init", "-q")
            self.do_git("add", "-A", ".")
            self.do_git("commit", "-q", "-m", f"QEMU {self.version}")
        if Path(self.git_says("rev-parse", "--absolute-git-dir"), "rebase-apply").is_dir():
            die(f"{self.folder} is in the middle of applying patches: "
                f"git -C {self.folder} am --continue, or --abort")
        self.need_clean()
        subprocess.run(["git", "-C", self.folder, *GIT, "tag", "-f", BASE_TAG, "HEAD"], check=True,
                       stdout=subprocess.DEVNULL)

    def conflict(self, series: Series, name: str, new: str) -> NoReturn:
        """Leaves the change in the files, with the places that do not fit marked."""
        self.patch("--merge", "-i", series.folder / name)
        die(f"{series.release}/{name} does not fit QEMU {self.version}. Mend the marked places in "
            f"{self.folder}, then:\n"
            f"  git -C {self.folder} add -u && git -C {self.folder} am --continue\n"
            f"  scripts/patches.sh refresh {new} {self.folder}")

    def am(self, series: Series, name: str, new: str, *words: str) -> None:
        """Applies a patch as a commit."""
        if not self.git("am", "-q", *words, str(series.folder / name)):
            self.conflict(series, name, new)

    def applies(self, series: Series, names: list[str]) -> bool:
        """Whether these can be applied to the files, exactly."""
        for name in names:
            if not self.patch("-F", "0", "-i", series.folder / name):
                print(f"[patches.sh] error: {series.release}/{name} does not apply to QEMU "
                      f"{self.version} in {self.folder}", file=sys.stderr)
                return False
        return True


def apply(*words: str) -> None:
    """Applies a series."""
    given, rest = set(), list(words)
    while rest and rest[0].startswith("--"):
        given.add(rest.pop(0))
    for word in sorted(given - {"--git", "--quiet", "--baseline"}):
        die(f"apply does not know {word}; see --help")
    if len(rest) != 2:
        die("apply takes RELEASE and TREE; see --help")
    series, tree = Series(rest[0]), Tree(rest[1])
    if "--git" in given:
        tree.mark_base()
    for name in series.baseline() if "--baseline" in given else series.names:
        if "--quiet" not in given:
            say(f"applying {series.release}/{name} to QEMU {tree.version}")
        if "--git" in given:
            tree.am(series, name, series.release)
        elif not tree.applies(series, [name]):
            sys.exit(1)


def refresh(*words: str) -> None:
    """Writes a series."""
    if len(words) != 2:
        die("refresh takes RELEASE and TREE; see --help")
    release, tree = words[0], Tree(words[1])
    if not (tree.is_repository() and tree.git_says("rev-parse", "-q", "--verify", BASE_TAG)):
        die(f"{tree.folder} has no tag {BASE_TAG}; start with: scripts/patches.sh apply --git "
            f"RELEASE {tree.folder}")
    tree.need_clean()
    commits = f"{BASE_TAG}..HEAD"
    if not tree.git_says("rev-list", commits):
        die(f"{tree.folder} has no commits after {BASE_TAG}: nothing to export")
    folder = PATCHES / release
    with tempfile.TemporaryDirectory() as out:
        tree.do_git("format-patch", "-q", "-N", "--zero-commit", "--no-signature", "--full-index",
                    "--no-renames", "-o", out, commits)
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("*.patch"):
            file.unlink()
        for file in Path(out).glob("*.patch"):
            shutil.move(file, folder)
    names = sorted(file.name for file in folder.glob("*.patch"))
    (folder / "series").write_text(
        "\n".join(["# SPDX-License-Identifier: GPL-2.0-or-later", *names, ""]), encoding="utf-8")
    check(release)


def rebase(*words: str) -> None:
    """Carries a series over to another release."""
    if len(words) != 3:
        die("rebase takes OLD, TREE and NEW; see --help")
    series, tree, new = Series(words[0]), Tree(words[1]), words[2]
    tree.mark_base()
    for name in series.names:
        say(f"carrying {series.release}/{name} over to QEMU {tree.version}")
        tree.am(series, name, new, "-C1")
    refresh(new, words[1])


def tried(series: Series, tree: Tree, names: list[str]) -> bool:
    """Whether these apply to a copy of the tree: only what the patches touch is needed for that."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch)
        (copy / "rust").mkdir()
        shutil.copy(tree.folder / "VERSION", copy)
        touched = {path for name in series.names for path in re.findall(
            "^--- a/(.*)$", series.text(name), re.M)}
        for path in touched:
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tree.folder / path, copy / path)
        return Tree(copy).applies(series, names)


def check(*words: str) -> None:
    """Checks series."""
    if len(words) > 2:
        die("check takes at most RELEASE and TREE; see --help")
    tree = Tree(words[1]) if len(words) == 2 else None
    releases = list(words[:1]) or sorted(file.parent.name for file in PATCHES.glob("*/series"))
    all_well = True
    for release in releases:
        series = Series(release)
        wrong = [text for name in series.names for text in series.wrong(name)]
        wrong += [f"{release}/{file.name} is not in the series"
                  for file in sorted(series.folder.glob("*.patch"))
                  if file.name not in series.names]
        for text in wrong:
            warn(text)
        is_well = not wrong
        if tree:
            # Both, whatever the first one says.
            is_well &= tried(series, tree, series.names)
            is_well &= tried(series, tree, series.baseline())
        if is_well:
            also = f", and applies to QEMU {tree.version}" if tree else ""
            say(f"patches/{release}: {len(series.names)} in order{also}")
        all_well &= is_well
    if not all_well:
        die("not in order")


COMMANDS = {"apply": apply, "refresh": refresh, "rebase": rebase, "check": check}

if __name__ == "__main__":
    command, *arguments = sys.argv[1:] or [""]
    if command in COMMANDS:
        COMMANDS[command](*arguments)
    else:
        is_help = command in ("-h", "--help")
        print(__doc__, end="", file=sys.stdout if is_help else sys.stderr)
        sys.exit(not is_help)
