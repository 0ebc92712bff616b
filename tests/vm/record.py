#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Whether the record of a sort says what the driver, the RTL and the library have counted:
record.py DEMO SUMMARY CSV PERFETTO, what the demo and accelerator-trace have written."""

import collections
import csv
import json
import re
import sys
from pathlib import Path


def numbers(text):
    """Lines "  name   number" of a demo or a summary; the first of each name counts."""
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"  (\S.*?) {2,}(\d+)", line)
        if match:
            found.setdefault(match[1], int(match[2]))
    return found


def same(what, ours, theirs):
    if ours != theirs:
        sys.exit(f"{what}: the record has {ours}, expected {theirs}")
    print(f"{what}: {ours}")


def main():
    demo, summary = (numbers(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    with open(sys.argv[3], encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    same("lines of the CSV", len(entries), summary["entries"])
    kinds = collections.Counter(entry["kind"] for entry in entries)
    for kind in ("mmio_read", "mmio_write", "dma_read", "dma_write", "msix"):
        same(f"{kind} in summary and CSV", summary[kind.replace("_", " ")], kinds[kind])

    # What the library counts is what the RTL has taken.
    begun = {entry["number"]: entry for entry in entries if entry["kind"].startswith("mmio")
             and not entry["kind"].endswith("_done")}
    taken = collections.Counter(begun[entry["number"]]["kind"] for entry in entries
                                if entry["kind"] == "taken" and entry["number"] in begun)
    same("MMIO reads that the RTL took", taken["mmio_read"], demo["mmio reads"])
    same("MMIO writes that the RTL took", taken["mmio_write"], demo["mmio writes"])
    same("bytes of DMA reads", summary["dma read bytes"], demo["dma read bytes"])
    same("bytes of DMA writes", summary["dma write bytes"], demo["dma write bytes"])
    same("vectors raised", summary["msix"], demo["msix"])

    # The RTL's own counters, as the guest has read them last, and what the driver says.
    last = {begun[entry["number"]]["register"]: int(entry["data"], 16) for entry in entries
            if entry["kind"] == "mmio_read_done"}
    same("BLOCKS of the RTL", last["BLOCKS"], demo["blocks"])
    same("IRQS of the RTL", last["IRQS"], summary["msix"])
    same("interrupts that the driver says were requested", summary["msix"],
         demo["interrupts requested"])
    same("bytes that the driver says were read", summary["dma read bytes"],
         demo["dma bytes read"])
    same("bytes that the driver says were written", summary["dma write bytes"],
         demo["dma bytes written"])

    with open(sys.argv[4], encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    slices = collections.defaultdict(list)
    arrows = collections.defaultdict(list)
    for event in events:
        row = event["pid"], event["tid"]
        if event["ph"] == "X":
            slices[row].append((event["ts"], event["ts"] + event["dur"], event["cat"]))
        elif event["ph"] in ("s", "t", "f"):
            arrows[event["id"]].append((event["ph"], row, event["ts"]))
    ends = collections.Counter()
    for points in arrows.values():
        phases = "".join(point[0] for point in points)
        if not re.fullmatch("st*f", phases):
            sys.exit(f"an arrow has the points {phases}")
        passed = []
        for _, row, ts in points:
            within = [each for each in slices[row] if each[0] <= ts < each[1]]
            if not within:
                sys.exit(f"an arrow has a point at {ts} of row {row}, where nothing is")
            passed.append(within[0][2])
        if passed[0] != "mmio_write":
            sys.exit(f"an arrow begins at {passed[0]}")
        ends[passed[-1]] += 1
    same("rows of interrupts in the trace",
         sum(each[2] == "msix" for row in slices.values() for each in row), summary["msix"])
    if not ends["msix"]:
        sys.exit(f"no arrow ends at an interrupt: {dict(ends)}")
    print(f"arrows by their end: {dict(ends)}")


main()
