# SPDX-License-Identifier: MIT OR Apache-2.0
"""What must be installed: packages of Debian, Rust and bindgen."""

from __future__ import annotations

import re
import sys

from builds.commands import Word, have, output, said
from builds.debian import is_installable
from builds.messages import die, say
from qemu_build.build import Build
from qemu_build.options import Options
from qemu_build.releases import Release, Releases


def packages(options: Options, releases: Releases) -> list[str]:
    """Those of Debian."""
    found = list(releases.packages)
    if options.full:
        found += releases.full_packages
    if options.target == "aarch64":
        # Machines of ARM describe themselves to their guests by a device tree.
        found.append("libfdt-dev")
    if sys.version_info < (3, 11):  # noqa: UP036 QEMU's configure reads TOML
        found.append("python3-tomli")
    return found


def listed_packages(options: Options, releases: Releases) -> list[str]:
    """The same for who has to install them: without bindgen cargo builds one."""
    found = packages(options, releases)
    if not have("bindgen") and said("apt-cache", "show", "bindgen")[0] == 0:
        found.append("bindgen")
    return found


def is_new_enough(version: str, oldest: str) -> bool:
    """Whether a version is that one or newer."""
    def numbers(text: str) -> list[int]:
        return [int(each) for each in re.findall(r"\d+", text.partition("-")[0])]

    return numbers(version) >= numbers(oldest)


def second_word(*command: Word) -> str:
    """The version that a program says."""
    words = said(*command)[1].split()
    return words[1] if len(words) > 1 else ""


def check_rust(version: str, release: Release) -> None:
    """QEMU's configure would say this too, but only after minutes of other work."""
    if not (have("rustc") and have("cargo")):
        die(f"Rust is missing: QEMU {version} needs rustc and cargo {release.rust} or newer "
            "(https://rustup.rs)")
    found = second_word("rustc", "--version")
    if not is_new_enough(found, release.rust):
        die(f"Rust {found} is too old: QEMU {version} needs rustc {release.rust} or newer; with "
            "rustup: rustup update stable")


def find_bindgen(build: Build) -> str:
    """The bindgen to take."""
    oldest = build.releases.bindgen_oldest
    ours = build.cache / "cargo/bin/bindgen"
    bindgen = "bindgen" if have("bindgen") or not have(ours) else str(ours)
    if not have(bindgen):
        # A distribution without the package is no error: cargo has it as well.
        is_installable("bindgen")
    found = second_word(bindgen, "--version") if have(bindgen) else ""
    if not found or not is_new_enough(found, oldest):
        state = f"{found} is older than {oldest}" if found else "is not installed"
        say(f"bindgen {state}: building bindgen-cli with cargo")
        build.log.run("cargo install bindgen-cli", "cargo", "install", "--locked", "--root",
                      build.cache / "cargo", "--version", build.releases.bindgen_cargo,
                      "bindgen-cli")
        bindgen = str(ours)
    return bindgen


def toolchain(bindgen: str) -> str:
    """What compiles, as it is a part of keys."""
    compiler = output("cc", "--version").partition("\n")[0]
    rust = output("rustc", "--version").rstrip("\n")
    binder = output(bindgen, "--version").rstrip("\n")
    libraries = output("pkg-config", "--modversion", "glib-2.0", "libzmq").split()
    return f"{compiler}; {rust}; {binder}; {' '.join(libraries)}"


