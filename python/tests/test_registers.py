# SPDX-License-Identifier: MIT OR Apache-2.0
"""Names of registers from SystemRDL."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from accelerator_cosim.__main__ import main
from accelerator_cosim.errors import RegistersError
from accelerator_cosim.registers import Register, read_rdl, to_toml

RING = """
regfile ring {
  reg { field {} data[63:0]; regwidth = 64; } BASE @ 0x0;
  reg { field {} data[31:0]; } TAIL @ 0x8;
};
"""
CARD = """
addrmap card {
  reg { field { hw = w; sw = r; } data[31:0]; } ID @ 0x0;
  reg { field { hw = w; sw = r; } data[31:0]; } STATUS @ 0x4;
  reg { field { hw = r; sw = w; } data[31:0]; } COMMAND @ 0x4;
  reg { field {} data[7:0]; regwidth = 8; } TEST @ 0x8;
  ring RINGS[2] @ 0x20 += 0x10;
  external mem { mementries = 256; memwidth = 32; } BUFFER @ 0x1000;
};
"""


def rdl(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_registers_arrays_and_memories(tmp_path: Path) -> None:
    files = [rdl(tmp_path, "ring.rdl", RING), rdl(tmp_path, "card.rdl", CARD)]
    assert read_rdl(files) == [
        Register(0x0, 4, "ID"),
        Register(0x4, 4, "COMMAND/STATUS"),
        Register(0x8, 1, "TEST"),
        Register(0x20, 8, "RINGS[0].BASE"),
        Register(0x28, 4, "RINGS[0].TAIL"),
        Register(0x30, 8, "RINGS[1].BASE"),
        Register(0x38, 4, "RINGS[1].TAIL"),
        Register(0x1000, 1024, "BUFFER"),
    ]


def test_the_file_is_toml() -> None:
    text = to_toml([Register(0x2C, 4, "TAIL"), Register(0x40, 8, 'A"B')], bar=2, source="left")
    assert tomllib.loads(text) == {"register": [
        {"bar": 2, "offset": 0x2C, "name": "TAIL", "source": "left"},
        {"bar": 2, "offset": 0x40, "width": 8, "name": 'A"B', "source": "left"},
    ]}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    include = tmp_path / "include"
    include.mkdir()
    rdl(include, "ring.rdl", RING)
    card = rdl(tmp_path, "card.rdl", '`include "ring.rdl"\n' + CARD
               + "addrmap other { reg { field {} data[31:0]; } OTHER @ 0x0; };\n")
    arguments = ["registers", "--bar", "4", "--include", str(include), str(card)]
    assert main([*arguments, "--top", "card"]) == 0
    assert len(tomllib.loads(capsys.readouterr().out)["register"]) == 8
    assert main(arguments) == 0
    assert tomllib.loads(capsys.readouterr().out) == {
        "register": [{"bar": 4, "offset": 0, "name": "OTHER"}]}
    assert main(["registers", str(tmp_path / "none.rdl")]) == 2
    assert "none.rdl: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "expected"), [
    ("addrmap card {\n  rge A;\n};\n", r"card\.rdl:2: .*rge"),
    ("addrmap card {\n  reg { field {} a[31:0]; } A @ 0;\n", r"card\.rdl:2: .*EOF"),
    ("addrmap card { reg { field {} a[63:0]; regwidth = 64; } A @ 0;\n"
     "  reg { field {} b[31:0]; } B @ 4; };\n", "B"),
    ("// nothing\n", "addrmap"),
])
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RegistersError, match=expected):
        read_rdl([rdl(tmp_path, "card.rdl", text)])
