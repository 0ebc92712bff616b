# SPDX-License-Identifier: MIT OR Apache-2.0
"""Names of registers for accelerator-trace and accelerator-replay, from a description in SystemRDL
2.0 (Accellera)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from systemrdl.compiler import RDLCompiler
from systemrdl.messages import MessagePrinter, RDLCompileError, Severity
from systemrdl.node import AddrmapNode, MemNode, RegNode
from systemrdl.source_ref import DetailedFileSourceRef, SourceRefBase

from .errors import RegistersError


@dataclass(frozen=True)
class Register:
    """A register or a memory: `width` bytes at `offset` of the map."""

    offset: int
    width: int
    name: str


def read_rdl(files: Sequence[Path], *, top: str | None = None,
             include: Sequence[Path] = ()) -> list[Register]:
    """The registers of the address map `top`, or of the last one in the files, in order. Later
    files see what earlier ones define. Arrays are taken apart: `RING[3].BASE`. Registers at the
    same place, one to read and one to write, are one with both names. A RegistersError says where
    the description is wrong."""
    said = _Said()
    compiler = RDLCompiler(message_printer=said)
    try:
        for file in files:
            if not file.is_file():
                raise RegistersError(f"{file}: no such file")
            compiler.compile_file(str(file), incl_search_paths=[str(path) for path in include])
        tree = compiler.elaborate(top_def_name=top).top
    except RDLCompileError as e:
        raise RegistersError("\n".join(said.errors) or str(e)) from e
    return _without_overlaps(sorted(_registers(tree), key=lambda r: (r.offset, r.width, r.name)))


class _Said(MessagePrinter):
    """What the compiler finds wrong, each with its place."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def print_message(self, severity: Severity, text: str, src_ref: SourceRefBase | None) -> None:
        if severity >= Severity.ERROR:
            place = (f"{src_ref.path}:{src_ref.line}: "
                     if isinstance(src_ref, DetailedFileSourceRef) else "")
            self.errors.append(place + text)


def _registers(tree: AddrmapNode) -> Iterator[Register]:
    for node in tree.descendants(unroll=True, skip_not_present=True):
        # What is in a memory has no more names than it.
        if isinstance(node, RegNode | MemNode) and not isinstance(node.parent, MemNode):
            yield Register(node.absolute_address, node.size, node.get_rel_path(tree))


def _without_overlaps(registers: Sequence[Register]) -> list[Register]:
    found: list[Register] = []
    for register in registers:
        last = found[-1] if found else None
        if last is None or last.offset + last.width <= register.offset:
            found.append(register)
        elif (last.offset, last.width) == (register.offset, register.width):
            found[-1] = Register(last.offset, last.width, f"{last.name}/{register.name}")
        else:
            raise RegistersError(f"{register.name} at 0x{register.offset:x} lies in {last.name} at "
                                 f"0x{last.offset:x} of {last.width} bytes")
    return found


def to_toml(registers: Sequence[Register], *, bar: int = 0, source: str | None = None) -> str:
    """The file for `--registers`. Those of several BARs may follow each other in one file. `source`
    is the parameter Name of the bridge, where not all bridges have these registers."""
    tables = []
    for register in registers:
        lines = ["[[register]]", f"bar = {bar}", f"offset = 0x{register.offset:x}"]
        if register.width != 4:
            lines.append(f"width = {register.width}")
        # A basic string of TOML takes the escapes of JSON.
        lines.append(f"name = {json.dumps(register.name)}")
        if source is not None:
            lines.append(f"source = {json.dumps(source)}")
        tables.append("\n".join(lines) + "\n")
    return "\n".join(tables)
