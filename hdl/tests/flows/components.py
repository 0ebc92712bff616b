# SPDX-License-Identifier: Apache-2.0
"""Compares the VHDL components with the SystemVerilog modules that they stand for.

usage: components.py [FILE]

For every component of hdl/vhdl/accelerator_components.vhd, or of FILE: slang elaborates the module
of that name, and name, order, direction and width of its ports, and names and defaults of its
parameters, are what the component says; so again with other widths. A line for each; the last is:
N passed, N failed.
"""

import pathlib
import re
import sys

from pyslang.ast import PortSymbol, SymbolKind
from pyslang.driver import Driver

HDL = pathlib.Path(__file__).resolve().parents[2]

# Values beside the defaults, by parameters that a module has.
WIDTHS = [
    {"MmioAddrWidth": 40, "MmioDataWidth": 64, "MmioIdWidth": 3, "DmaAddrWidth": 48,
     "DmaDataWidth": 512, "DmaIdWidth": 7},
    {"DataWidth": 512, "AxiAddrWidth": 20, "RegAddrWidth": 9, "IdWidth": 5, "AddrWidth": 33,
     "NumUsrIrq": 7, "LinkWidth": 16, "PlLinks": 16, "Width": 77},
    {"DataWidth": 128, "LinkWidth": 4},
    {"DataWidth": 64, "NumUsrIrq": 16},
]
# These have more bits than an integer, and no generic: nobody can say them in VHDL.
WIDE = {"CapId", "CapOffset", "CapBytes", "CapBody", "CapCount"}
# What a design meets at its border; none of them is to be without a component.
WANTED = ["accelerator_axi_regs", "accelerator_axi_cdc", "accelerator_cdc_fifo",
          "accelerator_cdc_reset", "accelerator_pcie_bridge", "accelerator_nic_bridge",
          "accelerator_uart_bridge", "accelerator_uart_port", "accelerator_xdma",
          "accelerator_pcie4"]
# A generic cannot have a default that another one makes.
DEPENDENT = {("accelerator_xdma", "DeviceId")}


def without_comments(text):
    """Without comments."""
    return re.sub(r"--[^\n]*", "", text)


def interface(text):
    """The elements of a list of generics or of ports: (name, mode, type, default), "" for none."""
    elements = []
    for element in text.split(";"):
        names, _, rest = element.partition(":")
        if not rest:
            continue
        kind, _, default = rest.partition(":=")
        words = kind.split()
        mode = words.pop(0).lower() if words[0].lower() in ("in", "out", "inout", "buffer") else ""
        for name in names.replace("signal ", "").split(","):
            elements.append((name.strip(), mode, " ".join(words), default.strip()))
    return elements


def balanced(text, word):
    """What is in the parentheses behind a word, or ""."""
    found = re.search(rf"\b{word}\s*\(", text, re.I)
    if not found:
        return ""
    depth, at = 1, found.end()
    while depth:
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        at += 1
    return text[found.end():at - 1]


def components(text):
    """The component declarations of a file: name to (generics, ports)."""
    found = {}
    declaration = re.compile(
        r"\bcomponent\s+(\w+)(?:\s+is)?\s+(.*?)\bend\s+component\b", re.S | re.I)
    for match in declaration.finditer(without_comments(text)):
        found[match[1]] = (interface(balanced(match[2], "generic")),
                           interface(balanced(match[2], "port")))
    return found


def value(text, generics):
    """A VHDL expression of integers, or a string."""
    if text.startswith('"'):
        return text[1:-1]
    text = re.sub(r"16#([0-9A-Fa-f]+)#", lambda match: str(int(match[1], 16)), text)
    if not re.fullmatch(r"[\w\s+*/()-]+", text):
        raise ValueError(text)
    names = {name.lower(): number for name, number in generics.items()}
    return eval(text.lower().replace("/", "//"), {"__builtins__": {}}, names)  # pylint: disable=eval-used


def bits(kind, generics):
    """Width of a port, or 0 for one that is no vector."""
    if kind == "std_logic":
        return 0
    high = re.fullmatch(r"std_logic_vector\((.*) downto 0\)", kind)[1]
    return value(high, generics) + 1


def module(name, parameters):
    """What slang makes of a module: parameters by name, ports as (name, direction, width)."""
    driver = Driver()
    driver.addStandardArgs()
    words = ["slang", "--timescale", "1ns/1ps", "--top", name, "-F", str(HDL / "bridge.f"),
             *(f"-G{n}={v}" for n, v in parameters.items())]
    assert driver.parseCommandLine(" ".join(words))
    assert driver.processOptions()
    assert driver.parseAllSources()
    compilation = driver.createCompilation()
    driver.reportCompilation(compilation, True)
    assert driver.reportDiagnostics(True), f"slang refuses {name} with {parameters}"
    top = compilation.getRoot().topInstances[0].body
    ports = [(port.name, {"In": "in", "Out": "out", "InOut": "inout"}[port.direction.name],
              port.type.bitWidth if port.type.isPackedArray else 0)
             for port in top.portList if isinstance(port, PortSymbol)]
    found = {}
    for member in top:
        if member.kind == SymbolKind.Parameter and not member.isLocalParam:
            found[member.name] = member.value.value
    return found, ports


def plain(number):
    """A value of slang as Python's own."""
    return number if isinstance(number, str) else int(number)


def compare(name, generics, ports):
    """What differs, a line each."""
    defaults = {g[0]: value(g[3], {}) for g in generics}
    parameters, _ = module(name, {})
    missing = set(parameters) - set(defaults)
    for parameter in sorted(missing - WIDE):
        yield f"{name} has a parameter {parameter}, and the component no such generic"
    for generic in generics:
        if generic[0] not in parameters:
            yield f"{name} has no parameter {generic[0]}"
        elif plain(parameters[generic[0]]) != defaults[generic[0]] and \
                (name, generic[0]) not in DEPENDENT:
            yield (f"{name}: {generic[0]} is {plain(parameters[generic[0]])} unless given, and "
                   f"{defaults[generic[0]]} in the component")
        if generic[2] != ("string" if isinstance(defaults[generic[0]], str) else "integer"):
            yield f"{name}: {generic[0]} is of type {generic[2]}"
    for widths in [{}, *WIDTHS]:
        given = {n: v for n, v in widths.items() if n in defaults}
        if widths and not given:
            continue
        _, wanted = module(name, given)
        declared = [(p[0], p[1], bits(p[2], defaults | given)) for p in ports]
        for number, (want, have) in enumerate(zip(wanted, declared, strict=False)):
            if want != have:
                yield f"{name}, {given}: port {number} is {want}, and {have} in the component"
        for port in wanted[len(declared):] + declared[len(wanted):]:
            yield f"{name}, {given}: port {port} is in one of the two only"


def main():
    file = HDL / "vhdl/accelerator_components.vhd"
    if len(sys.argv) > 1:
        file = pathlib.Path(sys.argv[1])
    passed = failed = 0
    declared = components(file.read_text())
    for name in WANTED:
        if name not in declared:
            print(f"FAILED: there is no component {name}")
            failed += 1
    for name, (generics, ports) in declared.items():
        wrong = list(compare(name, generics, ports))
        print(*wrong, sep="\n", end="\n" if wrong else "")
        how = "FAILED" if wrong else "ok"
        print(f"{how}: the component {name}, {len(ports)} ports", flush=True)
        passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
