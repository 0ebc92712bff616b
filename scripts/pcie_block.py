# SPDX-License-Identifier: MIT OR Apache-2.0
"""usage: scripts/build-pcie-block.sh NAME --width BITS [option...]

Writes NAME.sv, which takes the place of the IP called NAME (PCIE4 or PCIE4C, PG213) in a file
list: the same module name, the same ports, and behind them QEMU.

  NAME               of the IP, as the design instantiates it: pcie4_uscale_plus_0
  --width BITS       of its streams: 64, 128, 256 or 512
  --straddle LIST    streams with more than one TLP in a beat, of cq, cc, rq, rc2 and rc4,
                     with commas between them; 512 bits, and rc2 also with 256
  --lanes N          of the link: 1, 2, 4, 8 or 16 (default 8)
  --internal-tags    the block has the tags of reads (the IP without "Enable Client Tag")
  --flr              the function has FLR, which RTL answers on cfg_flr_done
  --parity           parity in tuser
  -G NAME=VALUE      sets a parameter of accelerator_pcie4: ids, BARs, MSI-X and MSI
                     (hdl/README.md); may be given more than once
  --out FILE         where it goes, - for standard output (default NAME.sv)
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
BLOCK = ROOT / "hdl/rtl/accelerator_pcie4.sv"
FLAGS = {"--internal-tags": "EnableClientTag=1'b0", "--flr": "EnableFlr=1'b1",
         "--parity": "Parity=1'b1"}
VALUED = ("--width", "--straddle", "--lanes", "--out", "-G")
# Of tuser: the streams CQ, CC, RQ and RC.
USER = {64: (88, 33, 62, 75), 512: (183, 81, 137, 161)}
USER[128] = USER[256] = USER[64]


def die(text: str) -> NoReturn:
    """Says why, and ends."""
    sys.exit(f"[build-pcie-block] error: {text}")


@dataclass
class Block:
    """The module that is asked for."""

    name: str = ""
    width: str = ""
    lanes: str = "8"
    straddle: str = ""
    out: str = ""
    parameters: list[str] = field(default_factory=list)
    #: What it was asked for with.
    words: list[str] = field(default_factory=list)

    def take(self, words: list[str]) -> None:
        """Takes the options."""
        while words:
            word = words.pop(0)
            if word in VALUED:
                if not words:
                    die(f"{word} needs a value; see --help")
                value = words.pop(0)
                if word == "-G":
                    if not re.fullmatch("[A-Za-z][A-Za-z0-9]*=.+", value):
                        die(f"-G {value}: expected NAME=VALUE")
                    self.parameters.append(value)
                else:
                    setattr(self, word[2:], value)
                if word != "--out":
                    self.words += [word, value]
                continue
            self.words.append(word)
            if word in FLAGS:
                self.parameters.append(FLAGS[word])
            elif word.startswith("-"):
                die(f"unknown option '{word}'; see --help")
            elif self.name:
                die(f"two names given: '{self.name}' and '{word}'")
            else:
                self.name = word

    def check(self) -> None:
        """Refuses what there is not."""
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", self.name):
            die(f"'{self.name}' is not the name of a module; see --help")
        if self.width not in map(str, USER):
            die(f"--width is '{self.width}', expected 64, 128, 256 or 512")
        if self.lanes not in ("1", "2", "4", "8", "16"):
            die(f"--lanes is '{self.lanes}', expected 1, 2, 4, 8 or 16")
        for stream in self.straddle.split(",") if self.straddle else []:
            if stream not in ("cq", "cc", "rq", "rc2", "rc4"):
                die(f"--straddle has '{stream}', expected cq, cc, rq, rc2 or rc4")
            if stream == "rc2" and self.width not in ("256", "512"):
                die("--straddle rc2 needs 256 or 512 bits")
            if stream != "rc2" and self.width != "512":
                die(f"--straddle {stream} needs 512 bits")
            self.parameters.append(f"RcStraddle={stream[2]}" if stream.startswith("rc") else
                                   f"{stream.capitalize()}Straddle=1'b1")
        text = BLOCK.read_text(encoding="utf-8")
        for parameter in self.parameters:
            name = parameter.partition("=")[0]
            if not re.search(f"^  parameter .* {name} +=", text, re.M):
                die(f"accelerator_pcie4 has no parameter {name}")

    def ports(self) -> Iterator[str]:
        """The ports of the block, with numbers for the widths."""
        width = int(self.width)
        widths = {"Data": width, "Keep": width // 32, **dict(
            zip(("CqUser", "CcUser", "RqUser", "RcUser"), USER[width], strict=True))}
        numbers = {f"{name}Width-1": value - 1 for name, value in widths.items()}
        numbers["PlLinks-1"] = int(self.lanes) - 1
        text = BLOCK.read_text(encoding="utf-8").partition("\n) (\n")[2].partition("\n);\n")[0]
        for name, value in numbers.items():
            text = text.replace(name, str(value))
        for found in re.finditer(
                r"^  (input |output) +logic +(\[[0-9]+:0\])? *([a-z0-9_]+,?)$", text, re.M):
            yield f"  {found[1].strip():<6} logic {found[2] or '':<8} {found[3]}"

    def lines(self) -> Iterator[str]:
        """The module."""
        yield "// SPDX-License-Identifier: Apache-2.0"
        yield "//"
        yield (f"// The IP {self.name} in a simulation with QEMU. Written by: "
               "scripts/build-pcie-block.sh")
        for line in textwrap.wrap(" ".join(self.words), 90, break_on_hyphens=False):
            yield f"//   {line}"
        yield ""
        yield f"module {self.name} ("
        yield "  // Many designs leave some of them open."
        yield "  /* verilator lint_off UNUSEDSIGNAL */"
        yield from self.ports()
        yield "  /* verilator lint_on UNUSEDSIGNAL */"
        yield ");"
        yield ""
        yield "  accelerator_pcie4 #("
        values = [f'Name="{self.name}"', f"DataWidth={self.width}", f"LinkWidth={self.lanes}",
                  f"PlLinks={self.lanes}", *self.parameters]
        yield ",\n".join("    .{}({})".format(*each.split("=", 1)) for each in values)
        yield "  ) inst ("
        yield "    .*"
        yield "  );"
        yield ""
        yield "endmodule"


def main(words: list[str]) -> None:
    """Writes it."""
    if "-h" in words or "--help" in words:
        print(__doc__, end="")
        return
    block = Block()
    block.take(words)
    block.check()
    text = "\n".join([*block.lines(), ""])
    out = block.out or f"{block.name}.sv"
    if out == "-":
        print(text, end="")
    else:
        Path(out).write_text(text, encoding="utf-8")
        print(f"[build-pcie-block] wrote {out}; your file list has it in place of the IP's files, "
              f"and -F {ROOT}/hdl/bridge.f")


if __name__ == "__main__":
    main(sys.argv[1:])
