# SPDX-License-Identifier: MIT OR Apache-2.0
"""What apt knows of packages for the guest, and what it downloads of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import rmtree

from builds.commands import Log, Word, lines
from builds.debian import KEYRING, as_root, can_be_root, index_targets
from builds.messages import die, say

NONE = "(none)"
# Images of containers have apt keep no index, with which each question reads all the lists.
INDEX = ("-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin")
NOTHING_MORE = ("--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
                "--no-replaces", "--no-enhances")
PROBE = "busybox-static"


class Apt:
    """apt as it is set up here."""

    env: dict[str, str]

    def __init__(self) -> None:
        # What it says is read.
        self.env = {"LC_ALL": "C"}

    def command(self, tool: str, *words: str) -> list[Word]:
        """One of its programs, as it is to be asked."""
        return [tool, *words]

    def depends(self, *words: str) -> list[str]:
        """Packages that a package depends on, by name."""
        said = lines(*self.command("apt-cache", "depends", *NOTHING_MORE, *words), quiet=True,
                     env=self.env)
        found = (re.match(r" *\|?Depends: (.*)", line) for line in said)
        return [each[1] for each in found if each]

    def candidates(self, *names: str) -> dict[str, str]:
        """The version of each package that would be installed."""
        return policy(lines(*self.command("apt-cache", "policy", *names), quiet=True,
                            env=self.env))

    def knows(self, name: str) -> bool:
        """Whether a package is to be had."""
        return self.candidates(name).get(name, NONE) != NONE

    def need(self, name: str) -> None:
        """Ends where it is not."""
        if not self.knows(name):
            die(f"the package {name} is not to be had from the sources of apt")

    def versions(self, names: Sequence[str]) -> dict[str, str]:
        """The versions of packages that have to be there."""
        found = self.candidates(*names)
        for name in names:
            if found.get(name, NONE) == NONE:
                die(f"the package {name} is not to be had from the sources of apt")
        return found

    def need_lists(self, log: Log) -> None:
        """Has lists of packages."""
        if self.knows(PROBE):
            return
        say("reading the package lists")
        if not can_be_root():
            die("the package lists are empty; type: sudo apt-get update")
        log.run("apt-get update", *as_root("apt-get", "-q", "update"))
        self.need(PROBE)

    def fetch(self, store: Path, versions: dict[str, str], names: Iterable[str], log: Log) -> None:
        """Downloads packages that are not there yet. apt verifies them against the signed lists."""
        for name in names:
            if package_file(store, name, versions[name]):
                continue
            say(f"downloading {name} {versions[name]}")
            part = store / "part"
            rmtree(part, ignore_errors=True)
            part.mkdir()
            log.run(f"download of {name}", *self.command(
                "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download",
                f"{name}={versions[name]}"), cwd=part, env=self.env)
            for file in part.iterdir():
                file.replace(store / file.name)
            part.rmdir()
            if not package_file(store, name, versions[name]):
                die(f"the package {name} {versions[name]} did not arrive in {store}")


class ForeignApt(Apt):
    """Packages for another architecture than this machine's: apt with package lists and a source
    list of our own, which asks the mirrors of Debian that apt has here. The machine's are left
    alone."""

    def __init__(self, arch: str, folder: Path) -> None:
        super().__init__()
        self.arch = arch
        config = folder / "apt.conf"
        self.env["APT_CONFIG"] = str(config)
        sources = foreign_sources(index_targets("$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)"))
        if not sources:
            die(f"a guest for {arch} is made of Debian's packages, and apt here knows no mirror of "
                "Debian")
        for name in ("lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "sources.list").write_text(sources)
        (folder / "status").write_text("")
        config.write_text(f"""\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "amd64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
""")

    def command(self, tool: str, *words: str) -> list[Word]:
        return [tool, *INDEX, *words]

    def need_lists(self, log: Log) -> None:
        say(f"reading Debian's package lists for {self.arch}")
        log.run("apt-get update", *self.command("apt-get", "-q", "update"), env=self.env)
        if not self.knows(PROBE):
            die(f"the package {PROBE} is not to be had for {self.arch}")


def policy(said: Iterable[str]) -> dict[str, str]:
    """Candidates by package, of what apt-cache policy says."""
    found, name = {}, ""
    for line in said:
        if not line.startswith(" ") and line.endswith(":"):
            name = line[:-1]
        elif "Candidate:" in line:
            found[name] = line.partition("Candidate: ")[2]
    return found


def foreign_sources(targets: Iterable[str]) -> str:
    """A source list for another architecture, of the lists that apt has here."""
    sources = []
    for target in targets:
        fields = target.split()
        if len(fields) == 4 and fields[0] == "Debian" and fields[3] == "main":
            sources.append(f"deb [arch=arm64,amd64 signed-by={KEYRING}] {fields[1]} {fields[2]} "
                           "main\n")
    return "".join(dict.fromkeys(sources))


def package_file(store: Path, name: str, version: str) -> Path | None:
    """The file of a package in the cache, as apt-get download names it."""
    # A name may have the architecture with it, where that is not the guest's.
    start = f"{name.partition(':')[0]}_{version.replace(':', '%3a')}_"
    return next((file for file in sorted(store.iterdir())
                 if file.name.startswith(start) and file.suffix == ".deb"), None)


