# SPDX-License-Identifier: MIT OR Apache-2.0
"""Builds QEMU with the accelerator-pcie device, and the same QEMU without it:
scripts/build-qemus.sh. The steps are here, what each of them does in qemu_build/.
docs/building-qemu.md tells the whole story."""

from __future__ import annotations

import os
import time
from pathlib import Path
from shutil import rmtree

from builds.cache import cache_dir, locked, make_folder
from builds.commands import Log
from builds.debian import need_packages
from builds.messages import say
from builds.program import run
from qemu_build import results, tools
from qemu_build.build import LINKS, Build, Tree
from qemu_build.compile import compile_qemu, configure
from qemu_build.device import prepare_flavour
from qemu_build.options import Options
from qemu_build.releases import Releases
from qemu_build.sources import find_source
from qemu_build.tree import prepare_tree

DAY = 24 * 3600.0


def remove_old(folder: Path, pattern: str, days: int) -> None:
    """Removes what is as old as that."""
    for each in folder.glob(pattern):
        if time.time() - each.lstat().st_mtime < days * DAY:
            continue
        if each.is_dir():
            rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)


def begin(options: Options, releases: Releases) -> Build:
    """Folders and the log of a run."""
    make_folder(LINKS)
    cache = cache_dir()
    for name in ("qemu", "log"):
        (cache / name).mkdir(exist_ok=True)
    log = cache / f"log/build-qemus-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    log.write_text("")
    remove_old(cache / "log", "build-qemus-*.log", 15)
    remove_old(cache, "tmp.*", 2)
    return Build(options, releases, cache, Log(log))


def build_flavour(build: Build, tree: Tree, flavour: str, bindgen: str, toolchain: str) -> None:
    """One QEMU of those that are wanted."""
    version = tree.version
    work = results.work_of(build, tree, flavour, toolchain)
    result = results.result_of(build, tree, flavour, toolchain)
    if results.is_built(build, result):
        say(f"QEMU {version} ({flavour}) is built already")
        results.touch(result, tree.folder, work)
    else:
        with locked("qemu"):
            # Another process may have built it meanwhile, and our files may have changed.
            result = results.result_of(build, tree, flavour, toolchain)
            if not results.is_built(build, result):
                work.mkdir(exist_ok=True)
                prepare_flavour(build, tree, flavour, work / "source")
                configure(build, flavour, version, work / "source", work / "build", bindgen,
                          toolchain)
                if flavour == "patched":
                    results.link_trees(work, version)
                if build.options.configure_only:
                    return
                compile_qemu(build, flavour, version, work / "source", work / "build")
                results.install(build, tree, flavour, work, result)
                results.touch(tree.folder, work)
                results.prune(build.cache, flavour, results.used_results())
    results.link_result(result, flavour, version)
    if flavour == "patched" and (work / "build").is_dir():
        results.link_trees(work, version)


def main(words: list[str]) -> None:
    releases = Releases.read()
    options = Options.of(words, releases)
    if options.print_paths:
        results.print_paths()
        return
    if options.list_packages:
        print("\n".join(tools.listed_packages(options, releases)))
        return
    build = begin(options, releases)
    need_packages(*tools.packages(options, releases))
    with locked("qemu-source"):
        tree = prepare_tree(build, find_source(build))
    tools.check_rust(tree.version, tree.release)
    bindgen = tools.find_bindgen(build)
    toolchain = tools.toolchain(bindgen)
    say(f"QEMU {tree.version} from {tree.source.text}, series patches/{tree.release.name}, log "
        f"{build.log.file}")
    for flavour in options.flavours:
        build_flavour(build, tree, flavour, bindgen, toolchain)
    if options.configure_only:
        say(f"configured, as asked; build trees are in {build.cache}/qemu")
        return
    results.print_paths()
    if "patched" in options.flavours:
        program = "build/qemu/patched/bin/qemu-system-x86_64"
        say(f"start it with: {program} -machine q35 -device accelerator-pcie ...")
        say(f"its properties: {program} -device accelerator-pcie,help")


if __name__ == "__main__":
    run("build-qemus.sh", main)
