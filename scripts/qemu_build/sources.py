# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where QEMU's source comes from, and its checksums."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

from builds.cache import sha256_of, sum_line
from builds.commands import have, lines, said
from builds.debian import KEYRING, mirror, need_packages
from builds.messages import die, say
from qemu_build.build import Build, Source

DAY = 24 * 3600.0
UNREACHABLE = "download/upstream-unreachable"
# Parts of a tree that are not copied from it.
LEFT_OUT = (".git", "build", "roms")


@dataclass(frozen=True)
class Missing:
    """Why a source cannot be had."""

    reason: str


def find_source(build: Build) -> Source:
    """The one that is asked for."""
    options, releases = build.options, build.releases
    if options.origin == "local":
        return from_local(options.source, options.sha256)
    if options.origin == "debian":
        return from_debian(build, options.release)
    source = from_upstream(build)
    if isinstance(source, Source):
        return source
    if options.origin == "upstream":
        die(source.reason)
    say(source.reason)
    if options.release:
        say(f"so Debian's source package of release {options.release}")
    else:
        say(f"so not QEMU {releases.named('').upstream}, but Debian's source package of the "
            "nearest release with a series")
    return from_debian(build, options.release)


# ---- the user's own --------------------------------------------------------------------

def tree_key(tree: Path) -> str:
    """Stands for the content of a source tree, without what is not copied from it."""
    names = []
    for where, folders, files in os.walk(tree):
        if Path(where) == tree:
            folders[:] = [name for name in folders if name not in LEFT_OUT]
        found = (Path(where, name) for name in files
                 if Path(where) != tree or name not in LEFT_OUT)
        names += [str(file.relative_to(tree)) for file in found
                  if file.is_file() and not file.is_symlink()]
    key = hashlib.sha256()
    for name in sorted(names, key=os.fsencode):
        key.update(sum_line(tree / name, name))
    return key.hexdigest()


def from_local(name: str, sha256: str) -> Source:
    """A tree or a tarball."""
    if not os.path.exists(name):
        die(f"--source {name} does not exist")
    path = Path(os.path.abspath(name))
    if path.is_dir():
        if not ((path / "VERSION").is_file() and (path / "configure").is_file()):
            die(f"{name} is no QEMU source tree: it has no VERSION or no configure")
        if sha256:
            die(f"--sha256 is for tarballs, and {name} is a folder")
        return Source(path, tree_key(path), name)
    found = sha256_of(path)
    if sha256 and found != sha256:
        die(f"{name} has sha256 {found}, but --sha256 says {sha256}")
    return Source(path, found, name)


# ---- upstream's ------------------------------------------------------------------------

def from_upstream(build: Build) -> Source | Missing:
    """Upstream's tarball. Whether upstream can be reached is asked at most once a day, so that a
    machine behind a firewall that drops packets does not wait each time."""
    release = build.releases.named(build.options.release)
    version = release.upstream
    if not version:
        return Missing("patches/releases.toml has no checksum of a tarball of upstream's for "
                       f"release {release.name}")
    tarball = build.cache / f"download/qemu-{version}.tar.xz"
    tarball.parent.mkdir(exist_ok=True)
    if not tarball.is_file():
        missing = fetch(build, version, release.sha256, tarball)
        if missing:
            return missing
    return Source(tarball, release.sha256, "upstream's tarball")


def fetch(build: Build, version: str, sha256: str, tarball: Path) -> Missing | None:
    """Fetches it, or says why it cannot be had."""
    url = build.releases.url.replace("VERSION", version)
    unreachable = build.cache / UNREACHABLE
    if (build.options.origin == "auto" and unreachable.is_file()
            and time.time() - unreachable.stat().st_mtime < DAY):
        return Missing("upstream could not be reached within the last day "
                       f"({unreachable.read_text().rstrip()}); --upstream tries again")
    status, text = said("curl", "-fsSIL", "-o", "/dev/null", "--connect-timeout", "5",
                        "--max-time", "15", url, errors=subprocess.STDOUT)
    if status:
        reason = text.rstrip("\n") or "curl gave no reason"
        unreachable.write_text(f"{reason}\n")
        return Missing(f"upstream cannot be reached ({reason})")
    unreachable.unlink(missing_ok=True)
    say(f"fetching QEMU {version} from upstream")
    part = tarball.with_name(f"{tarball.name}.part")
    status, text = said("curl", "-fsSL", "--retry", "2", "--connect-timeout", "10",
                        "--speed-limit", "10000", "--speed-time", "60", "-o", part, url,
                        errors=subprocess.STDOUT)
    if status:
        reason = text.rstrip("\n")
        return Missing(f"the download from upstream broke off ({reason})")
    found = sha256_of(part)
    if found != sha256:
        part.unlink()
        die(f"{tarball.name} from upstream has sha256 {found}, expected {sha256}")
    part.replace(tarball)
    return None


# ---- Debian's --------------------------------------------------------------------------

def tarball_of(dsc: str) -> tuple[str, str] | None:
    """Name and sha256 of the .orig.tar that a .dsc names."""
    section = re.search(r"^Checksums-Sha256:.*\n((?: .*\n?)*)", dsc, re.M)
    found = re.search(r"^ *(\S+) +\S+ +(\S+\.orig\.tar\.[a-z]+)$", section[1], re.M) if (
        section) else None
    return (found[2], found[1]) if found else None


def debian_tarball(folder: Path) -> Path | None:
    """The .orig.tar.xz that the .dsc in the folder names, checked against it."""
    for dsc in sorted(folder.glob("qemu_*.dsc")):
        named = tarball_of(dsc.read_text(encoding="utf-8", errors="replace"))
        if not named or not (folder / named[0]).is_file():
            continue
        tarball, sha256 = folder / named[0], sha256_of(folder / named[0])
        if sha256 != named[1]:
            die(f"{tarball} has sha256 {sha256}, but {dsc.name} says {named[1]}")
        return tarball
    return None


def from_debian(build: Build, release: str, given: str | None = None) -> Source:
    """Debian's source package: of that release, or of the nearest if none is named."""
    given = build.options.debian_package if given is None else given
    folder = Path(given) if given else build.cache / ("debian" + (f"-{release}" if release else ""))
    if not given:
        folder.mkdir(exist_ok=True)
    tarball = debian_tarball(folder)
    if tarball is None:
        if given:
            die(f"{folder} holds no whole source package: a qemu_*.dsc and the .orig.tar.xz that "
                "it names")
        fetch_debian_package(build, folder, release)
        tarball = debian_tarball(folder)
    if tarball is None:
        die(f"Debian's source package in {folder} is not whole")
    return Source(tarball, sha256_of(tarball), f"Debian's source package ({tarball.name})")


def fetch_debian_package(build: Build, folder: Path, release: str) -> None:
    """Fetches it with apt, signatures checked, with package lists and a source list of our own:
    the machine's are left alone."""
    if not have("apt-get"):
        die("apt-get is missing, so Debian's source package cannot be fetched; use --source")
    need_packages("debian-archive-keyring")
    where = build.options.debian_mirror or mirror()
    if not where:
        die("apt here knows no mirror of Debian; name one with --debian-mirror, or use --source")
    own, suites = folder / "apt", build.releases.suites
    for name in ("lists/partial", "cache/archives/partial"):
        (own / name).mkdir(parents=True, exist_ok=True)
    (own / "sources.list").write_text("".join(
        f"deb-src [signed-by={KEYRING}] {where} {suite} main\n" for suite in suites))
    apt = ["-o", f"Dir::Etc::sourcelist={own}/sources.list",
           "-o", "Dir::Etc::sourceparts=/dev/null", "-o", f"Dir::State::Lists={own}/lists",
           "-o", f"Dir::Cache={own}/cache",
           "-o", "APT::Sandbox::User=root", "-o", "Acquire::http::Timeout=30",
           "-o", "Acquire::Retries=2"]

    def update() -> str:
        # One suite that is gone is no reason to stop; no fitting version is.
        text = said("apt-get", "-qq", *apt, "update", errors=subprocess.STDOUT,
                    env={"LC_ALL": "C"})[1]
        build.log.write(text)
        return text

    say(f"asking {' '.join(suites)} at {where} for QEMU")
    text = update()
    if "is expired" in text:
        say("the mirror is a frozen or stale one: its signatures are checked, its dates are not")
        apt += ["-o", "Acquire::Check-Valid-Until=false"]
        text = update()
    shown = lines("apt-cache", *apt, "showsrc", "--only-source", "qemu", quiet=True)
    best = build.releases.nearest(release, newest_first(
        [line.partition(" ")[2] for line in shown if line.startswith("Version: ")]))
    if not best:
        print(text, end="", file=sys.stderr)
        die(f"none of {' '.join(suites)} at {where} has a QEMU that patches/{release} has a series "
            "for; use --source or --debian-package")
    say(f"fetching Debian's source package qemu {best}")
    build.log.run(f"apt-get source qemu={best}", "apt-get", "-qq", *apt, "source",
                  "--download-only", "--only-source", f"qemu={best}", cwd=folder)
    rmtree(own)


def newest_first(versions: list[str]) -> list[str]:
    """Versions of a package, as sort has them."""
    done = subprocess.run(["sort", "-Vru"], input="\n".join(versions), check=True, text=True,
                          stdout=subprocess.PIPE)
    return done.stdout.split()
