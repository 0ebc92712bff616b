# SPDX-License-Identifier: Apache-2.0
"""Verilator's warnings on every design and width, GHDL's on the VHDL, and parameters that
elaboration has to refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from benches import HDL, TESTS, sources
from support import Shell, lint

EXAMPLES = sorted(each.name for each in (HDL / "examples").iterdir()
                  # That one is GHDL's.
                  if each.is_dir() and each.name != "vhdl")
BLOCK = "scripts/build-pcie-block.sh"


def designs() -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Name, file list, top module and parameters of what has no warning."""
    bridge = "accelerator_pcie_bridge"
    for width in 32, 64, 128, 256, 512:
        yield (f"bridge-{width}", "bridge.f", bridge,
               (f"MmioDataWidth={width}", f"DmaDataWidth={width}"))
    yield ("bridge-odd-queues", "bridge.f", bridge,
           ("MmioWrites=3", "MmioReads=1", "DmaWrites=5", "DmaReads=3", "DmaIdWidth=1",
            "MmioAddrWidth=20"))
    yield ("bridge-MSI-alone", "bridge.f", bridge,
           ("MsixVectors=0", "MsiVectors=32", "MsiMasking=1"))
    yield ("bridge-table-in-RTL", "bridge.f", bridge,
           ("MsixInRtl=1", "MsixVectors=240", "MsixTableBar=0", "MsixPbaBar=0",
            "MsixPbaOffset=3840"))
    yield ("pcie4-table-in-RTL", "bridge.f", "accelerator_pcie4",
           ("MsixInRtl=1", "MsixVectors=128", "MsixTableOffset=2048", "MsixPbaOffset=2032"))
    yield ("probe-table-in-RTL", "examples/probe/probe.f", "probe_top", ("MsixInRtl=1",))
    yield ("bridge-BAR-that-just-fits", "bridge.f", bridge,
           ("MmioAddrWidth=16", "Bar0Size=64'h10000"))
    for width in 8, 16, 32, 64, 128, 256, 512:
        yield f"nic-{width}", "bridge.f", "accelerator_nic_bridge", (f"DataWidth={width}",)
    yield "uart", "bridge.f", "accelerator_uart_bridge", ()
    for width in 64, 128, 256, 512:
        yield (f"xdma-{width}", "bridge.f", "accelerator_xdma",
               (f"DataWidth={width}", "H2cChannels=4", "C2hChannels=3", "NumUsrIrq=16",
                "AxilBarSize=64'h100000", "BypassBarSize=64'h100000"))
        yield (f"xdma-stream-{width}", "bridge.f", "accelerator_xdma",
               (f"DataWidth={width}", "Stream=1", "C2hChannels=2", "IntxPin=1", "MsixVectors=0"))
        yield (f"pcie4-{width}", "bridge.f", "accelerator_pcie4",
               (f"DataWidth={width}", "MsixVectors=4", "Parity=1", "EnableFlr=1"))
    yield ("pcie4-straddle", "bridge.f", "accelerator_pcie4",
           ("DataWidth=512", "CqStraddle=1", "CcStraddle=1", "RqStraddle=1", "RcStraddle=4",
            "EnableClientTag=0", "MsiVectors=8", "IntxPin=1"))
    yield ("pcie4-two-completions-in-a-beat", "bridge.f", "accelerator_pcie4",
           ("DataWidth=256", "RcStraddle=2", "RcbBytes=128"))
    for width in 32, 512:
        yield (f"axi_cdc-{width}", "bridge.f", "accelerator_axi_cdc",
               (f"DataWidth={width}", "LogDepth=2"))
    yield "bench", "bench/bench.f", "bench_top", ()
    yield "bench-channels", "bench/channels.f", "channels_top", ()
    for end in ("pcie4", "xdma"):
        for block in (0, 1):
            yield (f"bench-idle-{end}-{block}", "bench/idle.f", f"idle_{end}_top",
                   (f"Block={block}",))
    for name in EXAMPLES:
        yield f"example-{name}", f"examples/{name}/{name}.f", f"{name}_top", ()
    yield "example-xdma-stream", "examples/xdma/xdma.f", "xdma_top", ("Stream=1",)
    for width in 32, 64, 256, 512:
        yield (f"example-sort-{width}", "examples/sort/sort.f", "sort_top",
               (f"DmaDataWidth={width}",))


@pytest.mark.parametrize(("files", "top", "parameters"),
                         [pytest.param(*design, id=name) for name, *design in designs()])
def test_lint(files: str, top: str, parameters: tuple[str, ...], shell: Shell) -> None:
    """No warning."""
    shell.run(*lint(files, top, parameters))


@pytest.mark.parametrize("width", [64, 128, 256, 512])
def test_lint_card(width: int, shell: Shell) -> None:
    """The card of the example pcie4 at another width than the example's."""
    shell.run(*lint("examples/pcie4/pcie4.f", "pcie4_card_top", [f"DataWidth={width}"],
                    TESTS / "pcie4_card_top.sv"))


def test_lint_litepcie(shell: Shell) -> None:
    """What LitePCIe takes from AMD."""
    folder = HDL / "designs/litepcie"
    shell.run("verilator", "--lint-only", "-Wall", "--timescale", "1ns/1ps", "-Wno-MULTITOP",
              folder / "IBUFDS_GTE4.sv", folder / "FDPE.sv")


@pytest.mark.parametrize("standard", ["93", "08"])
def test_vhdl(standard: str, shell: Shell, folder: Path) -> None:
    """The components, the card and the top, elaborated: nothing but the bridge is not bound."""
    files = [each for each in sources("examples/vhdl/vhdl.f") if each.suffix in (".vhd", ".vhdl")]
    assert files
    said = shell.run("ghdl", "-a", f"--std={standard}", *files, cwd=folder)
    said += shell.run("ghdl", "-e", f"--std={standard}", "vhdl_top", cwd=folder)
    told = [line for line in said.splitlines() if re.search("warning|error", line)
            and "default configuration of vhdl_top" not in line]
    assert len(told) == 1
    assert 'component "accelerator_pcie_bridge" is not bound' in told[0]


def test_block_of_the_example(shell: Shell) -> None:
    """It has what the script writes, by the command that it says itself."""
    file = HDL / "examples/pcie4/pcie4_uscale_plus_0.sv"
    text = file.read_text(encoding="utf-8")
    words: list[str] = []
    for line in text.splitlines()[3:]:
        if not line:
            break
        if line.startswith("//   "):
            words += line.removeprefix("//   ").split()
    assert len(words) > 4
    assert shell.run(BLOCK, *words, "--out", "-") == text


def test_another_block(shell: Shell, folder: Path) -> None:
    """One with all options."""
    file = folder / "my_block.sv"
    shell.run(BLOCK, "my_block", "--width", "512", "--straddle", "cq,cc,rq,rc4", "--lanes", "16",
              "--flr", "--parity", "--internal-tags", "-G", "MsiVectors=4", "--out", file)
    shell.run(*lint("bridge.f", "my_block", (), file))
    assert re.search(r"input  logic \[136:0\]  s_axis_rq_tuser,", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("arguments", "text"), [
    pytest.param(["--width", "96"], r"width is '96'", id="width-96"),
    pytest.param(["--width", "64", "--straddle", "cq"], "straddle cq needs 512 bits",
                 id="straddle-of-64-bits"),
    pytest.param(["--width", "64", "-G", "Msix=4"], r"no parameter Msix$", id="no-such-parameter"),
])
def test_block_refused(arguments: list[str], text: str, shell: Shell) -> None:
    """What the script that writes such a module refuses."""
    said = shell.refused(BLOCK, "my_block", *arguments, "--out", "-")
    assert re.search(text, said, re.MULTILINE)


# Top module without accelerator_, what elaboration has to say, and the parameters.
REFUSED = [
    ("pcie_bridge", "MmioDataWidth is 16;", "MmioDataWidth=16"),
    ("pcie_bridge", "MmioDataWidth is 96;", "MmioDataWidth=96"),
    ("pcie_bridge", "DmaDataWidth is 1024;", "DmaDataWidth=1024"),
    ("pcie_bridge", "MmioAddrWidth is 65;", "MmioAddrWidth=65"),
    ("pcie_bridge", "DmaAddrWidth is 8;", "DmaAddrWidth=8"),
    ("pcie_bridge", "MmioReads is 0;", "MmioReads=0"),
    ("pcie_bridge", "MmioWrites is 65, MmioReads is 4;", "MmioWrites=65"),
    ("pcie_bridge", "MmioIdWidth is 0, DmaIdWidth is 4;", "MmioIdWidth=0"),
    ("pcie_bridge", "MmioIdWidth is 1, DmaIdWidth is 0;", "DmaIdWidth=0"),
    ("pcie_bridge", "DmaWrites is 33, DmaReads is 32;", "DmaWrites=33", "DmaReads=32"),
    ("pcie_bridge", "ResetClocks is 0;", "ResetClocks=0"),
    ("pcie_bridge", "MsixVectors is 2049;", "MsixVectors=2049"),
    ("pcie_bridge", "MsixInRtl is 2;", "MsixInRtl=2"),
    ("pcie_bridge", "MsixInRtl is 1 and MsixVectors 0", "MsixInRtl=1", "MsixVectors=0"),
    # No such BAR, no BAR, not aligned, one that ends behind its BAR, an overlap.
    *[(end, f"MsixInRtl: {vectors} vectors at 0x{table:x} of BAR {table_bar}, "
       f"PBA at 0x{pba:x} of BAR {pba_bar} do not fit",
       "MsixInRtl=1", f"MsixVectors={vectors}", f"MsixTableBar={table_bar}",
       f"MsixTableOffset={table}", f"MsixPbaBar={pba_bar}", f"MsixPbaOffset={pba}")
      for end in ("pcie_bridge", "pcie4")
      for vectors, table_bar, table, pba_bar, pba in (
          (1, 6, 0, 0, 2048), (1, 0, 0, 1, 2048), (1, 0, 4, 0, 2048), (1, 0, 0, 0, 2044),
          (129, 0, 2048, 0, 0), (65, 0, 0, 0, 4088), (129, 0, 0, 0, 2056))],
    ("pcie4", "MsixInRtl is 2;", "MsixInRtl=2"),
    *[("pcie_bridge", f"MsiVectors is {vectors}; 0, 1, 2, 4, 8, 16 and 32 are possible",
       f"MsiVectors={vectors}") for vectors in (3, 12, 33, 64)],
    ("pcie_bridge", "MsiMasking is 2;", "MsiVectors=1", "MsiMasking=2"),
    ("pcie_bridge", "MsiMasking is 1 and MsiVectors 0", "MsiMasking=1"),
    ("pcie_bridge",
     "BAR 0 of 0x10000 bytes ends at 0xffff on m_axi, MmioAddrWidth is 12 and ends at 0xfff",
     "MmioAddrWidth=12", "Bar0Size=64'h10000"),
    ("pcie_bridge",
     "BAR 2 of 0x1000 bytes ends at 0x100fff on m_axi, MmioAddrWidth is 20 and ends at 0xfffff",
     "MmioAddrWidth=20", "Bar2Size=64'h1000", "Bar2AxiBase=64'h100000"),
    ("pcie_bridge", "BoardRules is 2;", "BoardRules=2"),
    ("pcie_bridge", "CapCount is 9;", "CapCount=9"),
    ("pcie_bridge", "CapBytes[1] is 0;", "CapCount=2", "CapBytes=64'h4"),
    ("pcie_bridge", "CapBytes[0] is 65;", "CapCount=1", "CapBytes=64'h41"),
    ("xdma", "DataWidth is 32;", "DataWidth=32"),
    ("xdma", "C2hChannels is 5;", "C2hChannels=5"),
    ("xdma", "NumUsrIrq is 17;", "NumUsrIrq=17"),
    ("xdma", "MsixVectors is 33;", "MsixVectors=33"),
    ("xdma", "BurstBytes is 8192;", "BurstBytes=8192"),
    ("xdma", "AxilBarSize is 0x200000000", "AxilBarSize=64'h200000000"),
    ("pcie4", "DataWidth is 32;", "DataWidth=32"),
    ("pcie4", "CqStraddle, CcStraddle or RqStraddle is 1 and DataWidth 256;", "CcStraddle=1"),
    ("pcie4", "RcStraddle is 4 and DataWidth 256;", "RcStraddle=4"),
    ("pcie4", "RcbBytes is 32;", "RcbBytes=32"),
    ("pcie4", "CompletionBytes is 100;", "CompletionBytes=100"),
    ("pcie4", "CqReads is 0;", "CqReads=0"),
    ("nic_bridge", "DataWidth is 24;", "DataWidth=24"),
    ("nic_bridge", "DataWidth is 4;", "DataWidth=4"),
    ("axi_regs", "DataWidth is 48;", "DataWidth=48"),
    ("axi_regs", "RegAddrWidth is 2; 3 to 64 are possible", "RegAddrWidth=2"),
    ("axi_regs", "RegAddrWidth is 65; 3 to 64 are possible", "RegAddrWidth=65"),
    ("cdc_fifo", "LogDepth is 0;", "LogDepth=0"),
]


@pytest.mark.parametrize(("top", "text", "parameters"), [
    pytest.param(top, text, parameters, id="-".join([top, *parameters]))
    for top, text, *parameters in REFUSED])
def test_refused(top: str, text: str, parameters: list[str], shell: Shell) -> None:
    """Elaboration ends with an error that says why."""
    assert text in shell.refused(*lint("bridge.f", f"accelerator_{top}", parameters))
