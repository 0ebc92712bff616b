# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Meson files of QEMU's crates, which some sources have not."""

from __future__ import annotations

import re
from pathlib import Path

from builds.messages import die
from qemu_build.build import DEVICE
from qemu_build.crates import wraps_of

LIST = DEVICE / "subprojects/qemu-crates.txt"
# Of each kind of crate: whether it is for this machine, and whether what it needs is.
KINDS = {"host": ("false", "false"), "host-macro": ("false", "true"), "native": ("true", "true"),
         "macro": ("true", "true")}


def meson_file(line: str, version: str) -> str:
    """The meson.build of a crate, of its line in qemu-crates.txt."""
    name, kind, edition, cfg, needs = line.split()
    if kind not in KINDS:
        die(f"qemu-crates.txt: {name} is of kind '{kind}', which is none of host, native, macro, "
            "host-macro")
    native, needs_native = KINDS[kind]
    crate = re.sub(r"-[0-9.]+-rs$", "", name).replace("-", "_")
    if kind.endswith("macro"):
        function = f"import('rust').proc_macro('{crate}', 'src/lib.rs',"
    else:
        function = (f"static_library('{crate}', 'src/lib.rs', rust_abi: 'rust', "
                    f"native: {native},")
    arguments = "".join(f", '--cfg', '{each}'" for each in items(cfg))
    listed = ", ".join(f"'{each}'" for each in items(needs))
    return f"""\
project('{name}', 'rust', version: '{version}', meson_version: '>=1.5.0')
deps = []
foreach name : [{listed}]
  subproject(name)
  deps += dependency(name, native: {needs_native})
endforeach
lib = {function}
  override_options: ['rust_std={edition}', 'build.rust_std={edition}'],
  rust_args: ['--cap-lints', 'allow'{arguments}], dependencies: deps)
meson.override_dependency('{name}', declare_dependency(link_with: lib), native: {native})
"""


def items(text: str) -> list[str]:
    """What a column lists; a minus is nothing."""
    return [] if text == "-" else [each for each in text.split(",") if each]


def place_meson_files(subprojects: Path, known: str | None = None) -> None:
    """Writes those that are not there."""
    listed = LIST.read_text(encoding="utf-8") if known is None else known
    by_name = {line.split()[0]: line for line in listed.splitlines()
               if line.strip() and not line.startswith("#")}
    for wrap in wraps_of(subprojects):
        folder = subprojects / "packagefiles" / wrap.name
        if folder.is_dir() or (subprojects / wrap.directory).is_dir():
            continue
        if wrap.name not in by_name:
            die(f"this tree has no subprojects/packagefiles/{wrap.name}, and qemu-crates.txt does "
                "not know that crate")
        folder.mkdir(parents=True)
        (folder / "meson.build").write_text(meson_file(by_name[wrap.name], wrap.crate.version))
