# SPDX-License-Identifier: Apache-2.0
"""Prints the files of a list and of the lists in it, absolute, and the test bench behind them.

usage: files.py LIST

Written apart from scripts/sim-flow.sh, which the tests hold against it.
"""

import pathlib
import sys


def files(listed):
    out = []
    for line in listed.read_text().splitlines():
        words = line.split("//")[0].split()
        while words:
            word = words.pop(0)
            if word == "-F":
                out += files((listed.parent / words.pop(0)).resolve())
            elif word[0] not in "+-":
                out.append(str((listed.parent / word).resolve()))
    return out


LIST = pathlib.Path(sys.argv[1]).resolve()
HDL = pathlib.Path(__file__).resolve().parents[2]
print(*files(LIST), HDL / "sim/accelerator_tb.sv", sep="\n")
