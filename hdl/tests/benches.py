# SPDX-License-Identifier: Apache-2.0
"""The benches: a design under test with its parameters, and the cocotb module that tests it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
HDL = TESTS.parent

Capability = tuple[int, int, bytes]


@dataclass(frozen=True)
class Bench:
    """A design, built once for its parameters, and the tests that run on it."""

    #: File list, below hdl/.
    files: str
    top: str
    #: Of cocotb tests.
    module: str
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    plusargs: tuple[str, ...] = ()
    #: Files of this folder, besides the list.
    sources: tuple[str, ...] = ()
    #: What else the tests find in SUITE_PARAMETERS.
    told: Mapping[str, Any] = field(default_factory=dict)
    simulator: str = "verilator"


def bridge(**parameters: int | str) -> Bench:
    """The PCIe bridge."""
    return Bench("bridge.f", "accelerator_pcie_bridge", "test_bridge", parameters)


def vector(width: int, elements: Sequence[int]) -> str:
    """A packed parameter of elements of a width, the first in the lowest bits."""
    value = sum(element << width * i for i, element in enumerate(elements))
    return f"{8 * width}'h{value:x}"


def with_capabilities(bench: Bench, capabilities: Sequence[Capability]) -> Bench:
    """A bridge with these (id, place, body); the test finds them under "capabilities"."""
    ids, places, bodies = zip(*capabilities, strict=True)
    return replace(bench, parameters={
        **bench.parameters,
        "CapCount": len(capabilities), "CapId": vector(8, ids), "CapOffset": vector(8, places),
        "CapBytes": vector(8, [len(body) for body in bodies]),
        "CapBody": vector(512, [int.from_bytes(body, "little") for body in bodies])},
        told={"capabilities": capabilities})


def nic(**parameters: int) -> Bench:
    """The bridge for network cards."""
    return Bench("bridge.f", "accelerator_nic_bridge", "test_nic", parameters)


def example(name: str, **parameters: int) -> Bench:
    """The top of an example."""
    return Bench(f"examples/{name}/{name}.f", f"{name}_top", f"test_{name}", parameters)


def xdma(bars: bool = True, **parameters: int) -> Bench:
    """XDMA with all of its BARs, unless they are said to be none."""
    sizes = {"AxilBarSize": "64'h100000", "BypassBarSize": "64'h200000"} if bars else {}
    return Bench("bridge.f", "accelerator_xdma", "test_xdma", {**sizes, **parameters})


def pcie4(*plusargs: str, **parameters: int) -> Bench:
    """The UltraScale+ block, with three BARs of which one has 64 bits."""
    return Bench("bridge.f", "accelerator_pcie4", "test_pcie4",
                 {"Bar0Size": "64'h1000", "Bar2Size": "64'h10000", "Bar4Size": "64'h200000000",
                  "BarIs64": "6'b010000", "BarPrefetch": "6'b010000", **parameters},
                 plusargs=plusargs)


def pcie4_card(*plusargs: str, **parameters: int) -> Bench:
    """The sorter on the ports of the block, ours."""
    return Bench("examples/pcie4/pcie4.f", "pcie4_card_top", "test_sort", parameters,
                 plusargs=plusargs, sources=("pcie4_card_top.sv",))


def pcie4_model(width: int) -> Bench:
    """The same on cocotbext-pcie's model of the block."""
    # The model begins without a reset, and takes a beat that a random state shows.
    return Bench("examples/pcie4/pcie4.f", "pcie4_card", "test_pcie4_model", {"DataWidth": width},
                 plusargs=("+verilator+rand+reset+0",))


def axi_cdc(**parameters: int) -> Bench:
    """The crossing of AXI on its own."""
    return Bench("bridge.f", "accelerator_axi_cdc", "test_axi_cdc", parameters)


# Completions in any legal places, and those of several reads in any order.
ANY_ORDER = "+accelerator_completion_seed=77"

BENCHES: dict[str, Bench] = {
    # Every width of both buses; queues of odd depth, the deepest and the shallowest; narrow
    # addresses and wide IDs; what a board would not take told of in one; MSI alone, and beside
    # MSI-X.
    "bridge-32-512": bridge(MmioDataWidth=32, DmaDataWidth=512, MmioAddrWidth=32, DmaAddrWidth=32,
                            MmioIdWidth=16, DmaIdWidth=16, DmaWrites=62, DmaReads=2),
    "bridge-64-128": with_capabilities(
        bridge(MmioDataWidth=64, DmaDataWidth=128),
        ((9, 0xC0, b"\x12" + bytes(range(0x10, 0x1F))), (9, 0, b"\x03"),
         (0x12, 0x60, bytes(range(0xC0, 0x100))), (9, 0xE0, b"\x05\xaa\x55"))),
    "bridge-128-64": bridge(MmioDataWidth=128, DmaDataWidth=64, MmioWrites=3, MmioReads=1,
                            DmaWrites=5, DmaReads=3, MsixVectors=0, MsiVectors=32, MsiMasking=1),
    "bridge-256-32": bridge(MmioDataWidth=256, DmaDataWidth=32, MmioWrites=1, MmioReads=3,
                            DmaWrites=2, DmaReads=2),
    "bridge-512-256": with_capabilities(
        bridge(MmioDataWidth=512, DmaDataWidth=256, IntxPin=1, ResetClocks=3, DmaIdWidth=6,
               MmioWrites=64, MmioReads=64, DmaWrites=2, DmaReads=62, BoardRules=1, MsiVectors=4),
        # As many as there can be.
        tuple((9, 0x40 + 0x18 * i, bytes([0x12 + i] * (0x10 + i // 4))) for i in range(8))),
    "nic-8": nic(DataWidth=8),
    "nic-16": nic(DataWidth=16),
    "nic-32": nic(DataWidth=32),
    "nic-64": nic(DataWidth=64),
    "nic-128": nic(DataWidth=128),
    "nic-256": nic(DataWidth=256),
    "nic-512": nic(DataWidth=512),
    "xdma-64": xdma(DataWidth=64),
    "xdma-128": xdma(DataWidth=128, H2cChannels=2, C2hChannels=1, NumUsrIrq=16, AxilBarIs64=1,
                     DmaBarIs64=1, BypassBarIs64=1, BurstBytes=256),
    "xdma-256": xdma(DataWidth=256, bars=False, H2cChannels=1, C2hChannels=3, IntxPin=1,
                     NumUsrIrq=3, BurstBytes=2048),
    "xdma-512": xdma(DataWidth=512, H2cChannels=4, C2hChannels=4, BurstBytes=64, MsiVectors=32),
    "xdma-stream-64": xdma(DataWidth=64, Stream=1),
    "xdma-stream-128": xdma(DataWidth=128, Stream=1, bars=False, H2cChannels=2, C2hChannels=2),
    "xdma-stream-256": xdma(DataWidth=256, Stream=1, H2cChannels=3, C2hChannels=4, IntxPin=2,
                            NumUsrIrq=4),
    "xdma-stream-512": xdma(DataWidth=512, Stream=1, H2cChannels=4, C2hChannels=4,
                            BurstBytes=1024),
    "pcie4-64": pcie4(DataWidth=64, StallClocks=300, MsixVectors=3, MsixTableBar=2, MsixPbaBar=2,
                      MsixPbaOffset=2048),
    "pcie4-128": pcie4(ANY_ORDER, DataWidth=128, MsiVectors=8, RcbBytes=128, Parity=1, IntxPin=1),
    "pcie4-256": pcie4(ANY_ORDER, DataWidth=256, RcStraddle=2, MsixVectors=2, MsixTableBar=2,
                       MsixPbaBar=2, MsixPbaOffset=2048, MsixInRtl=1, EnableFlr=1),
    "pcie4-512": pcie4(DataWidth=512, CompletionBytes=64, EnableClientTag=0),
    "pcie4-512-straddle": pcie4(ANY_ORDER, DataWidth=512, CqStraddle=1, CcStraddle=1,
                                RqStraddle=1, RcStraddle=4, Parity=1, EnableFlr=1, IntxPin=2),
    "pcie4-card-64": pcie4_card(DataWidth=64),
    "pcie4-card-128": pcie4_card(ANY_ORDER, DataWidth=128, MsixVectors=0, MsiVectors=4),
    "pcie4-card-256": pcie4_card(ANY_ORDER, DataWidth=256),
    "pcie4-card-512": pcie4_card(ANY_ORDER, DataWidth=512),
    "pcie4-model-64": pcie4_model(64),
    "pcie4-model-128": pcie4_model(128),
    "pcie4-model-256": pcie4_model(256),
    "pcie4-model-512": pcie4_model(512),
    "uart_bridge": Bench("bridge.f", "accelerator_uart_bridge", "test_uart_bridge"),
    "regs": example("regs"),
    "sort": example("sort"),
    "sort-32": example("sort", DmaDataWidth=32),
    "sort-512": example("sort", DmaDataWidth=512),
    "probe": example("probe"),
    # Its vector table in RTL.
    "probe-table": replace(example("probe", MsixInRtl=1), module="test_msix_table"),
    "uart": example("uart"),
    "virtio_net": example("virtio_net"),
    "clocks": replace(example("clocks"), told={"user_clk_ps": (2701, 4003, 9203)}),
    "axi_cdc-32": axi_cdc(),
    "axi_cdc-256": axi_cdc(DataWidth=256, IdWidth=5, AddrWidth=40, LogDepth=3),
    # The card of the example, in GHDL.
    "vhdl_card": Bench("examples/vhdl/vhdl.f", "vhdl_card", "test_vhdl_card", simulator="ghdl"),
}

# About how many seconds each takes on two processors once it is built: the longest begin first, so
# that no processor is left with nothing to do at the end. Any other takes SHORT.
SHORT = 10
SECONDS = {
    "xdma-512": 53, "xdma-stream-512": 52, "xdma-stream-256": 36, "xdma-256": 28, "xdma-128": 26,
    "xdma-64": 25, "bridge-64-128": 24, "bridge-128-64": 23, "bridge-256-32": 23,
    "xdma-stream-128": 22, "xdma-stream-64": 21, "bridge-512-256": 20, "virtio_net": 20,
    "bridge-32-512": 19, "pcie4-64": 14, "clocks": 14,
}


def sources(name: str) -> list[Path]:
    """The files of a list below hdl/, and of the lists in it."""
    files: list[Path] = []
    for line in (HDL / name).read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words or words[0].startswith(("//", "+")):
            continue
        path = (HDL / name).parent / words[-1]
        files += sources(str(path.relative_to(HDL))) if words[0] == "-F" else [path.resolve()]
    return files


def selected(names: Sequence[str]) -> list[str]:
    """The benches that have these names, or names that begin so; all where there are no names."""
    return [each for each in BENCHES if not names or each.startswith(tuple(names))]
