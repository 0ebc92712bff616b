# SPDX-License-Identifier: Apache-2.0
"""Elaborates the sources with slang, a front end that is not Verilator's.

usage: elaborate.py [NAME...]
       elaborate.py --scan FILE
       elaborate.py --analyse TOP FILE...

Every example under the test bench, every supported width of the bridge, and the parts for
Vivado: no error and no warning, its analysis of who drives what included, and nothing in the
imports that Vivado's simulator does not take. A line for each; the last is: N passed, N failed.
NAMEs choose by their beginning. --scan tells only what is wrong with the constructs in a file,
--analyse tells only whether a design is taken.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

from pyslang.driver import Driver
from writers import Writers

HDL = pathlib.Path(__file__).resolve().parents[2]

# What the simulators need not have in an import, and where it is said.
#
# UG900 (2024.1), "Supported Data Types", table "Data Types Allowed on the C-SystemVerilog
# Boundary": unpacked unions are not supported. The others of this list are, there; they are
# kept out since their passing differs between simulators or needs calls into the simulator
# (IEEE 1800-2017, annex H.7.4, H.8, H.12): the library is to be loadable into each of them.
REFUSED = [
    (r"\bunion\b", "an unpacked union: not supported by Vivado's simulator, UG900"),
    (r"\bstruct\b", "a struct"),
    (r"\[\s*\]", "an open array"),
    (r"\b(logic|reg|integer|time)\b", "a four-state type"),
    (r"\b(real|shortreal|realtime)\b", "a real number"),
    (r"\b(context|export|task)\b", "a call back into the simulator"),
]
ALLOWED = re.compile(
    r"(input|output) (int|longint|string|chandle|bit \[\d+:0\]|"
    r"byte|shortint) \w+")

# UG900, "Verilog Language Support Exceptions": directives and primitives that Vivado's simulator
# does not take, and generate blocks without a name.
CONSTRUCTS = [
    (r"`(un|no)connected_drive|`nounconnected_drive", "`unconnected_drive"),
    (r"\b(cmos|rcmos|nmos|pmos|rnmos|rpmos|tranif[01]|rtranif[01])\s*\(", "a switch primitive"),
    (r"^  (if|for)\b[^;]*\bbegin\s*(//.*)?$", "a generate block without a name"),
]


def code(text):
    """Without comments and strings."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'"(\\.|[^"\\])*"', '""', text)


def scan(file):
    """What is wrong with the file, by the two lists above."""
    text = file.read_text()
    plain = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    plain = re.sub(r"//[^\n]*", "", plain)
    wrong = []
    for match in re.finditer(r'\b(import|export)\s+"DPI[^"]*"([^;]*);', plain):
        statement = " ".join(match.group(0).split())
        wrong += [f"{file.name}: {what}: {statement}" for pattern, what in REFUSED
                  if re.search(pattern, statement)]
        arguments = re.search(r"\((.*)\)", statement)
        for argument in arguments.group(1).split(",") if arguments else []:
            if argument.strip() and not ALLOWED.fullmatch(argument.strip()):
                wrong.append(f"{file.name}: '{argument.strip()}' is not in the common subset")
    bare = code(text)
    for pattern, what in CONSTRUCTS:
        for match in re.finditer(pattern, bare, re.M):
            wrong.append(f"{file.name}: {what}: {match.group(0).strip()}")
    return wrong


def elaborate(arguments):
    """Whether slang takes it, without a warning."""
    driver = Driver()
    driver.addStandardArgs()
    if not driver.parseCommandLine("slang -Werror --timescale 1ns/1ps " + " ".join(arguments)):
        return False
    if not driver.processOptions() or not driver.parseAllSources():
        return False
    compilation = driver.createCompilation()
    driver.reportCompilation(compilation, True)
    # Rules that hold for the whole of a design: a variable of always_ff has no other process
    # that writes it (IEEE 1800-2017, 9.2.2.4), a net one driver, a function an end.
    driver.runAnalysis(compilation)
    good = driver.reportDiagnostics(True)
    wrong = list(Writers(compilation).wrong())
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return good and not wrong


def bench(name):
    folder = HDL / "examples" / name
    return ["--top", "accelerator_tb", "-D", f"ACCELERATOR_TOP={name}_top", "-F",
            str(folder / f"{name}.f"), str(HDL / "sim/accelerator_tb.sv")]


def design(listed, top, **parameters):
    return ["--top", top, *(f"-G {n}={v}" for n, v in parameters.items()), "-F",
            str(HDL / listed)]


def designs():
    for folder in sorted((HDL / "examples").iterdir()):
        # Of the one in VHDL components.py looks at what is Verilog.
        if folder.name != "vhdl":
            yield f"{folder.name} under the test bench", bench(folder.name)
    for width in (32, 512):
        yield f"crossing of clocks, {width} bits", design(
            "bridge.f", "accelerator_axi_cdc", DataWidth=width, LogDepth=2 + width // 256)
    for width in (32, 64, 128, 256, 512):
        yield f"bridge, {width} bits", design(
            "bridge.f", "accelerator_pcie_bridge", MmioDataWidth=width, DmaDataWidth=width)
    yield "bridge, odd queues", design(
        "bridge.f", "accelerator_pcie_bridge", MmioWrites=3, MmioReads=1, DmaWrites=5, DmaReads=3,
        DmaIdWidth=1, MmioAddrWidth=20)
    yield "bridge, deep queues", design(
        "bridge.f", "accelerator_pcie_bridge", MmioWrites=64, MmioReads=64, DmaWrites=62,
        DmaReads=2, DmaIdWidth=16, DmaAddrWidth=32)
    yield "bridge, INTx and no MSI-X", design(
        "bridge.f", "accelerator_pcie_bridge", MsixVectors=0, IntxPin=1, ResetClocks=1)
    yield "bridge, MSI and no MSI-X", design(
        "bridge.f", "accelerator_pcie_bridge", MsixVectors=0, MsiVectors=32, MsiMasking=1)
    yield "bridge, MSI beside MSI-X", design(
        "bridge.f", "accelerator_pcie_bridge", MsixVectors=64, MsiVectors=1)
    yield "bridge with capabilities", design(
        "bridge.f", "accelerator_pcie_bridge", CapCount=2, CapId=0x0909, CapBytes=0x1004,
        CapOffset=0xC0)
    for width in (64, 128, 256, 512):
        for stream in (0, 1):
            yield f"XDMA, {width} bits, {'streams' if stream else 'm_axi'}", design(
                "bridge.f", "accelerator_xdma", DataWidth=width, Stream=stream,
                H2cChannels=width // 128 or 1, C2hChannels=4 - width // 256,
                AxilBarSize="1048576" if stream else "0", BypassBarSize=65536)
    yield "XDMA, INTx and no MSI-X", design(
        "bridge.f", "accelerator_xdma", MsixVectors=0, IntxPin=1, NumUsrIrq=16)
    for width in (64, 128, 256, 512):
        yield f"pcie4, {width} bits", design(
            "bridge.f", "accelerator_pcie4", DataWidth=width, MsixVectors=width // 64,
            Parity=width // 512, RcbBytes=128 if width == 128 else 64)
    yield "pcie4, two completions in a beat", design(
        "bridge.f", "accelerator_pcie4", DataWidth=256, RcStraddle=2, MsiVectors=4,
        EnableClientTag=0)
    yield "pcie4, straddle", design(
        "bridge.f", "accelerator_pcie4", DataWidth=512, RcStraddle=4, CqStraddle=1, CcStraddle=1,
        RqStraddle=1, EnableFlr=1, IntxPin=1)
    # Bridges of other channels, where there are any.
    if (HDL / "rtl/accelerator_nic_bridge.sv").exists():
        for width in (8, 16, 32, 64, 128, 256, 512):
            yield f"NIC bridge, {width} bits", design(
                "bridge.f", "accelerator_nic_bridge", DataWidth=width)
    if (HDL / "rtl/accelerator_uart_bridge.sv").exists():
        yield "UART bridge", design("bridge.f", "accelerator_uart_bridge")
    yield "bench design of the channels", design("bench/channels.f", "channels_top")
    for width in (32, 64, 256, 512):
        yield f"sort, {width} bits", design("examples/sort/sort.f", "sort_top", DmaDataWidth=width)


def wrapped(folder):
    """The Verilog wrappers of the bridges that there are."""
    for name in ("pcie", "nic", "uart"):
        source = HDL / f"rtl/accelerator_{name}_bridge.sv"
        if source.exists():
            wrapper = f"{folder}/accelerator_{name}_bridge_ip.v"
            subprocess.run([sys.executable, HDL / "vivado/wrapper.py", source, wrapper], check=True)
            yield f"wrapper of the {name} bridge", [
                "--top", f"accelerator_{name}_bridge_ip", "-F", str(HDL / "bridge.f"), wrapper]


def cards():
    for folder in sorted((HDL / "vivado/card").iterdir()):
        yield f"card {folder.name}", [
            "--top", "accelerator_card", "-F", str(folder / "card.f")]
    yield "adapter for user interrupts", [
        "--top", "accelerator_usr_irq", str(HDL / "vivado/accelerator_usr_irq.v")]


def main():
    if sys.argv[1:2] == ["--scan"]:
        wrong = scan(pathlib.Path(sys.argv[2]))
        print(*wrong, sep="\n")
        return bool(wrong)
    if sys.argv[1:2] == ["--analyse"]:
        return not elaborate(["--top", *sys.argv[2:]])
    with tempfile.TemporaryDirectory() as folder:
        return run([*designs(), *cards(), *wrapped(folder)])


def run(everything):
    passed = failed = 0
    names = sys.argv[1:]
    for name, arguments in everything:
        if names and not any(name.startswith(n) for n in names):
            continue
        good = elaborate(arguments)
        print(f"{'ok' if good else 'FAILED'}: slang: {name}", flush=True)
        passed, failed = passed + good, failed + (not good)
    if not names:
        patterns = ("rtl/*.sv", "sim/*.sv", "examples/*/*.sv", "vivado/**/*.*v")
        files = sorted(f for pattern in patterns for f in HDL.glob(pattern))
        wrong = [line for file in files for line in scan(file)]
        print(*wrong, sep="\n", end="\n" if wrong else "")
        print(f"{'FAILED' if wrong else 'ok'}: constructs in {len(files)} files", flush=True)
        passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
