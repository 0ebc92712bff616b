# SPDX-License-Identifier: Apache-2.0
"""Builds the designs under test with Verilator and the stand-in, and runs their cocotb tests.

usage: run.py --cache DIR [--jobs N] [--seed N] [--requests N] [--waves] [NAME...]

Each NAME is a suite of SUITES below, or the beginning of some; all of them unless given.
"""

import argparse
import concurrent.futures
import fcntl
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree

from cocotb_tools.runner import get_runner

TESTS = pathlib.Path(__file__).resolve().parent
HDL = TESTS.parent

BRIDGE = {"list": "bridge.f", "top": "accelerator_pcie_bridge", "module": "test_bridge"}


def bridge(**parameters):
    return BRIDGE | {"parameters": parameters}


def vector(width, *elements):
    """A packed parameter of elements of a width, the first in the lowest bits."""
    value = sum(element << width * i for i, element in enumerate(elements))
    return f"{8 * width}'h{value:x}"


def with_capabilities(suite, capabilities):
    """A bridge with these (id, place, body); the test finds them under "capabilities"."""
    ids, places, bodies = zip(*capabilities, strict=True)
    suite["parameters"] |= {
        "CapCount": len(capabilities), "CapId": vector(8, *ids), "CapOffset": vector(8, *places),
        "CapBytes": vector(8, *map(len, bodies)),
        "CapBody": vector(512, *(int.from_bytes(body, "little") for body in bodies))}
    suite["told"] = {"capabilities": capabilities}
    return suite


def nic(**parameters):
    return {"list": "bridge.f", "top": "accelerator_nic_bridge", "module": "test_nic",
            "parameters": parameters}


def example(name, **parameters):
    return {"list": f"examples/{name}/{name}.f", "top": f"{name}_top", "module": f"test_{name}",
            "parameters": parameters}


def xdma(**parameters):
    """XDMA with all of its BARs, unless they are said to be none."""
    bars = {"AxilBarSize": "64'h100000", "BypassBarSize": "64'h200000"}
    if not parameters.pop("bars", True):
        bars = {}
    return {"list": "bridge.f", "top": "accelerator_xdma", "module": "test_xdma",
            "parameters": bars | parameters}


def pcie4(*plusargs, **parameters):
    """The UltraScale+ block, with three BARs of which one has 64 bits."""
    return {"list": "bridge.f", "top": "accelerator_pcie4", "module": "test_pcie4",
            "plusargs": plusargs,
            "parameters": {"Bar0Size": "64'h1000", "Bar2Size": "64'h10000",
                           "Bar4Size": "64'h200000000", "BarIs64": "6'b010000",
                           "BarPrefetch": "6'b010000"} | parameters}


def pcie4_card(*plusargs, **parameters):
    """The sorter on the ports of the block, ours."""
    return {"list": "examples/pcie4/pcie4.f", "top": "pcie4_card_top", "module": "test_sort",
            "sources": ["pcie4_card_top.sv"], "plusargs": plusargs, "parameters": parameters}


def pcie4_model(width):
    """The same on cocotbext-pcie's model of the block."""
    return {"list": "examples/pcie4/pcie4.f", "top": "pcie4_card", "module": "test_pcie4_model",
            "parameters": {"DataWidth": width},
            # The model begins without a reset, and takes a beat that a random state shows.
            "plusargs": ["+verilator+rand+reset+0"]}


def axi_cdc(**parameters):
    """The crossing of AXI on its own."""
    return {"list": "bridge.f", "top": "accelerator_axi_cdc", "module": "test_axi_cdc",
            "parameters": parameters}


# Completions in any legal places, and those of several reads in any order.
ANY_ORDER = "+accelerator_completion_seed=77"


SUITES = {
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
                       MsixPbaBar=2, MsixPbaOffset=2048, EnableFlr=1),
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
    "uart_bridge": {"list": "bridge.f", "top": "accelerator_uart_bridge",
                    "module": "test_uart_bridge", "parameters": {}},
    "regs": example("regs"),
    "sort": example("sort"),
    "sort-32": example("sort", DmaDataWidth=32),
    "sort-512": example("sort", DmaDataWidth=512),
    "probe": example("probe"),
    "uart": example("uart"),
    "virtio_net": example("virtio_net"),
    "clocks": example("clocks") | {"told": {"user_clk_ps": (2701, 4003, 9203)}},
    "axi_cdc-32": axi_cdc(),
    "axi_cdc-256": axi_cdc(DataWidth=256, IdWidth=5, AddrWidth=40, LogDepth=3),
    # The card of the example, in GHDL.
    "vhdl_card": {"list": "examples/vhdl/vhdl.f", "top": "vhdl_card", "module": "test_vhdl_card",
                  "parameters": {}, "simulator": "ghdl"},
}


def sources(name):
    """The files of a list, and of the lists in it."""
    files = []
    for line in (HDL / name).read_text().splitlines():
        words = line.split()
        if not words or words[0].startswith(("//", "+")):
            continue
        path = (HDL / name).parent / words[-1]
        files += sources(path.relative_to(HDL)) if words[0] == "-F" else [path.resolve()]
    return files


def run(name, args):
    suite = SUITES[name]
    files = sources(suite["list"])
    simulator = suite.get("simulator", "verilator")
    if simulator == "ghdl":
        # What is Verilog, and the top that has it in it, is not for this one.
        files = [file for file in files if file.suffix == ".vhd" and file.name != "vhdl_top.vhd"]
    files += [TESTS / file for file in suite.get("sources", ())]
    # Whatever has a PCIe bridge has both of its buses watched.
    without = suite["module"] in ("test_nic", "test_uart_bridge", "test_axi_cdc")
    if simulator == "verilator" and not without and "pcie4" not in suite["list"] + suite["top"]:
        files += [TESTS / "axi_checker.sv", TESTS / "axi_watch.sv"]
    if suite["module"] == "test_xdma":
        files += [TESTS / "axi_watch_xdma.sv"]
    if suite["module"] == "test_axi_cdc":
        files += [TESTS / "axi_checker.sv", TESTS / "axi_watch_cdc.sv"]
    # The bridge's configuration that test_bridge checks.
    verilator = subprocess.run(["verilator", "--version"], check=True, capture_output=True)
    key = hashlib.sha256(repr((suite["parameters"], args.waves, 5)).encode() + verilator.stdout)
    for file in [*files, HDL / "rtl/accelerator_axi.svh", TESTS / "standin.cpp"]:
        key.update(file.read_bytes())
    pathlib.Path(args.cache).mkdir(parents=True, exist_ok=True)
    build = pathlib.Path(args.cache) / f"{name}-{key.hexdigest()[:16]}"
    # One run at a time, which is over with its process.
    lock = open(build.with_suffix(".lock"), "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not (build / "complete").exists():
        # What an earlier run was killed in the middle of has files that only look done.
        shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True, exist_ok=True)

    runner = get_runner(simulator)
    started = time.monotonic()
    if simulator == "ghdl":
        runner.build(sources=files, hdl_toplevel=suite["top"], build_dir=build, always=True,
                     build_args=["--std=08"], log_file=build / "build.log")
    elif not (build / "complete").exists():
        runner.build(
            sources=files,
            includes=[HDL / "rtl"],
            hdl_toplevel=suite["top"],
            parameters=suite["parameters"],
            build_dir=build,
            waves=args.waves,
            timescale=("1ns", "1ps"),
            log_file=build / "build.log",
            # What nothing sets begins as anything, as registers of a chip and X do.
            # In one file: in several it needs a precompiled header, which not every pair of
            # Verilator's makefile and compiler finds.
            build_args=["--x-initial", "unique", "--x-assign", "unique", "--assert", "-Wall",
                        "-Wno-UNUSEDPARAM", "--no-timing", "-O3", "--output-split", "0",
                        "-CFLAGS", "-std=gnu++20 -O1", "-LDFLAGS", "-rdynamic",
                        *(["--trace-structs"] if args.waves else []),
                        str(TESTS / "standin.cpp")],
        )
        (build / "complete").touch()
    log = build / "test.log"
    # One for cocotb, which prints it, and for the state that everything begins with.
    seed = int(args.seed) if args.seed else random.randrange(1, 1 << 31)
    results = runner.test(
        hdl_toplevel=suite["top"],
        hdl_toplevel_lang="vhdl" if simulator == "ghdl" else "verilog",
        test_module=suite["module"],
        build_dir=build,
        test_dir=build,
        waves=args.waves,
        results_xml="results.xml",
        log_file=log,
        seed=seed,
        # At the very start nothing of VHDL is known yet.
        plusargs=["--ieee-asserts=disable-at-0"] if simulator == "ghdl" else [
            "+verilator+rand+reset+2", f"+verilator+seed+{seed}", *suite.get("plusargs", ())],
        test_args=["--std=08"] if simulator == "ghdl" else [],
        test_filter=args.filter,
        extra_env={"PYTHONPATH": str(TESTS), "PCIE4_REQUESTS": str(args.requests),
                   "SUITE_PARAMETERS": repr(suite["parameters"] | suite.get("told", {}))},
    )
    passed, failed = 0, []
    # The tests of the bridge write with holes, and write and read narrow beats.
    if suite["module"] == "test_bridge" and args.filter is None:
        told = len(re.findall("Warning.*a board's PCIe .* told once", log.read_text()))
        board = suite["parameters"].get("BoardRules", 0)
        if told < 3 if board else told > 0:
            failed.append(f"{told} warnings about boards with BoardRules {board}")
    # One of the tests has each kind of stall.
    if "StallClocks" in suite["parameters"] and args.filter is None:
        for kind in ("m_axis_rc_tready has been low for 300",
                     "the host has not answered 1 reads for 300",
                     "m_axis_cq_tready has been low for 300 clocks with a request",
                     "completions wait behind a write of the guest"):
            if kind not in log.read_text():
                failed.append(f"no warning '{kind}'")
    for case in xml.etree.ElementTree.parse(results).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name"))
        elif case.find("skipped") is None:
            passed += 1
    return passed, failed, time.monotonic() - started, log


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True, help="folder for builds and logs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seed", default=None, help="random seed, to repeat a run")
    parser.add_argument("--requests", type=int, default=0,
                        help="of random traffic on each width of the UltraScale+ block")
    parser.add_argument("--filter", default=None, help="regular expression of test names")
    parser.add_argument("--waves", action="store_true", help="write VCD beside the logs")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()

    names = [s for s in SUITES if not args.names or any(s.startswith(n) for n in args.names)]
    if not names:
        parser.error(f"no suite is called {args.names}; there are {list(SUITES)}")
    all_passed = all_failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(run, name, args): name for name in names}
        for job in concurrent.futures.as_completed(jobs):
            name = jobs[job]
            try:
                passed, failed, seconds, log = job.result()
            except BaseException as error:  # pylint: disable=broad-except
                # The runner ends with SystemExit where a build or a simulator fails.
                print(f"{name}: FAILED: {error}; logs are in {args.cache}/{name}-*", flush=True)
                all_failed += 1
                continue
            print(f"{name}: {passed} passed, {len(failed)} failed in {seconds:.0f} s"
                  + (f": {', '.join(failed)}; see {log}" if failed else ""), flush=True)
            # A suite in which nothing ran has failed.
            all_failed += len(failed) + (passed == 0 and not failed and not args.filter)
            all_passed += passed
    print(f"{all_passed} passed, {all_failed} failed")
    return 1 if all_failed or not all_passed else 0


if __name__ == "__main__":
    sys.exit(main())
