#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Whether a waveform has each transaction of a record at the clock that the record names:
waves.py FST CSV [CLOCK SIGNAL=VALUE...], the CSV of accelerator-trace; and what signals of the
design are at a clock, by the ends of their names."""

import bisect
import csv
import sys

import pywellen  # type: ignore[import-not-found]  # of another environment

# What the RTL takes or asks for: where in the bridge it has its number.
PLACES = {
    "mmio_read": "u_accesses",
    "mmio_write": "u_accesses",
    "dma_read": "u_dma_reads",
    "dma_write": "u_dma_writes",
    "msix": "u_interrupts",
}
KINDS = {"mmio_read": 1, "mmio_write": 2, "dma_read": 5, "dma_write": 6, "msix": 11}


class Waves:
    """A waveform, by clocks: the edges of the top's aclk from the beginning, from 1 on."""

    def __init__(self, file):
        self.names = {var.full_name: var for var in pywellen.Waveform(file).all_vars()}
        clock = min((name for name in self.names if name.endswith(".aclk")), key=len)
        self.edges = [time for time, value in self.names[clock].signal if value == 1]

    def signal(self, end):
        """The signal whose name ends so."""
        found = [var for name, var in self.names.items() if name.endswith("." + end)]
        if len(found) != 1:
            sys.exit(f"{len(found)} signals end in {end}, expected 1")
        return found[0].signal

    def changes(self, end):
        """Its values, by the clock from which on they are there."""
        return {bisect.bisect_right(self.edges, time): value for time, value in self.signal(end)}

    def at(self, end, clock):
        """Its value right after a clock."""
        return self.signal(end).value_at(self.edges[clock - 1])


def main():
    waves = Waves(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8", newline="") as file:
        entries = list(csv.DictReader(file))
    # Of an access, when the RTL takes it; of all others, when it begins.
    kinds, expected = {}, {place: {} for place in PLACES.values()}
    for entry in entries:
        kind, number, clock = entry["kind"], int(entry["number"] or 0), int(entry["clock"] or 0)
        if kind in ("mmio_read", "mmio_write"):
            kinds[number] = kind
        elif kind == "taken" and number in kinds:
            expected["u_accesses"][clock] = number
        elif kind in PLACES:
            kinds[number] = kind
            expected[PLACES[kind]][clock] = number
    for place, by_clock in expected.items():
        seen = {c: n for c, n in waves.changes(f"{place}.txn_id").items() if n}
        if seen != by_clock:
            wrong = sorted(set(seen.items()) ^ set(by_clock.items()))[:4]
            sys.exit(f"{place}: {len(seen)} numbers in the waveform, {len(by_clock)} in the "
                     f"record; clock and number that only one has: {wrong}")
        for clock, number in by_clock.items():
            kind = waves.at(f"{place}.txn_kind", clock)
            if kind != KINDS[kinds[number]] or waves.at(f"{place}.txn_valid", clock) != 1:
                sys.exit(f"{place} at clock {clock}: #{number} is of kind {kind}")
        print(f"numbers of {place}: {len(seen)}")
    if not all(expected.values()):
        sys.exit("nothing to compare")
    for argument in sys.argv[4:]:
        name, _, value = argument.partition("=")
        found = waves.at(name, int(sys.argv[3]))
        if found != int(value, 0):
            sys.exit(f"{name} at clock {sys.argv[3]} is {found}, expected {value}")
        print(f"{name} at clock {sys.argv[3]}: {found}")


main()
