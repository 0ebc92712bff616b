# SPDX-License-Identifier: MIT OR Apache-2.0
"""What else a source may lack of what its build would download: wheels of Python, subprojects that
are cloned, and firmware that nothing reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from builds.cache import content_key
from builds.commands import do, have, status_of
from builds.messages import die, say
from qemu_build.build import DEVICE, Build, remade
from qemu_build.crates import Wrap
from qemu_build.releases import reader
from qemu_build.sources import from_debian

WHEELS = DEVICE / "subprojects/wheels.txt"


def wanted_wheels(dependencies: str) -> dict[str, str]:
    """The versions of wheels that QEMU brings along, of its pythondeps.toml."""
    tables = reader().loads(dependencies)
    names = ["meson", "pycotap"]
    # From QEMU 11 on.
    if "tooling" in tables:
        names.append("qemu.qmp")
    return {name: next((table[name]["installed"] for table in tables.values()
                        if "installed" in table.get(name, {})), "") for name in names}


def place_wheels(build: Build, tree: Path, version: str) -> None:
    """Has pip fetch those that are not there, checked against wheels.txt."""
    wheels = tree / "python/wheels"
    known = WHEELS.read_text(encoding="utf-8").splitlines()
    wanted = []
    for name, asked in wanted_wheels((tree / "pythondeps.toml").read_text("utf-8")).items():
        if any(wheels.glob(f"{name.replace('.', '_')}-*.whl")):
            continue
        lines = [line for line in known if line.startswith(f"{name}=={asked} ")]
        if not lines:
            die(f"QEMU {version} asks for {name} {asked}, and wheels.txt has no checksum for it")
        wanted.append("\n".join(lines))
    if not wanted:
        return
    store = build.cache / f"wheels-{content_key(*wanted)}"
    if not store.is_dir():
        say(f"fetching {' '.join(each.partition(' ')[0] for each in wanted)} with pip")
        part = remade(store.with_name(f"{store.name}.part"))
        (part / "requirements.txt").write_text("".join(f"{each}\n" for each in wanted))
        pip = build.cache / "venv-pip"
        build.log.run("python3 -m venv", "python3", "-m", "venv", "--clear", pip)
        build.log.run("pip download", pip / "bin/pip", "download", "--no-deps",
                      "--only-binary=:all:", "--require-hashes", "-r", part / "requirements.txt",
                      "-d", part)
        part.rename(store)
    wheels.mkdir(parents=True, exist_ok=True)
    for wheel in store.glob("*.whl"):
        shutil.copy(wheel, wheels)


def clone(build: Build, wrap: Wrap) -> Path | None:
    """A subproject out of its repository, in the cache; None where that cannot be reached."""
    store = build.cache / "subprojects" / f"{wrap.name}-{wrap.value('revision')}"
    if store.is_dir():
        return store
    part = remade(build.cache / "subprojects/part")
    if not have("git") or build.log.status("timeout", "60", "git", "clone", "-q",
                                           wrap.value("url"), part) or build.log.status(
            "git", "-C", part, "checkout", "-q", wrap.value("revision")):
        return None
    part.rename(store)
    return store


def place_cloned(build: Build, subprojects: Path) -> None:
    """Subprojects that QEMU's build clones, which a plain git tree has not and released tarballs
    and Debian's have."""
    missing: list[Wrap] = []
    for name in build.releases.cloned:
        file, folder = subprojects / f"{name}.wrap", subprojects / name
        if not file.is_file() or any(each.name[0] != "." for each in folder.glob("*")):
            continue
        wrap = Wrap(file)
        kept = build.cache / "subprojects" / f"{name}-{wrap.value('revision')}"
        # Where one cannot be cloned the next cannot, either.
        store = clone(build, wrap) if not missing or kept.is_dir() else None
        if store is None:
            missing.append(wrap)
            continue
        shutil.rmtree(folder, ignore_errors=True)
        do("cp", "-r", store, folder)
        status_of("cp", "-r", f"{subprojects}/packagefiles/{name}/.", folder,
                  stderr=subprocess.DEVNULL)
    if missing:
        say(f"the tree lacks {' '.join(wrap.name for wrap in missing)}, and "
            f"{missing[-1].value('url')} cannot be reached: taking Debian's copies")
        # Of any release: they are older than all.
        tarball = from_debian(build, "", "").path
        for wrap in missing:
            do("tar", "-xf", tarball, "-C", subprojects.parent, "--no-same-owner",
               "--strip-components=1", "--wildcards", f"*/subprojects/{wrap.name}/*")


def place_blobs(blobs: Path) -> None:
    """Firmware of machines that are not built here: Meson insists that the files are there, and
    nothing reads them."""
    text = (blobs / "meson.build").read_text(encoding="utf-8")
    names = [f"{name}.bz2" for name in re.findall(r"^ *'(edk2-.*\.fd)',$", text, re.M)]
    names += [f"dtb/{file.stem}.dtb" for file in blobs.glob("dtb/*.dts")]
    for name in names:
        if not (blobs / name).exists():
            (blobs / name).write_text("")
