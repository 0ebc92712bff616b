# SPDX-License-Identifier: MIT OR Apache-2.0
"""The cards of the examples, as a guest at its prompt finds and tries them."""

import re

__all__ = ["CARD", "ENDPOINT", "PROBE", "REGS", "SORT", "port_above", "setpci", "sort_works",
           "where"]

SORT, REGS, PROBE = "10ee:7024", "10ee:7011", "10ee:7031"
# accelerator-endpoint, the card without a simulator.
ENDPOINT = "1234:acce"
# Where QEMU has the cards, by their ids.
CARD = "/machine/peripheral/"


def sort_works(vm, blocks=4):
    vm.ok(f"accel-sort --blocks {blocks} --seed 7 | grep -q 'ACCEL result=PASS'")


def wait_for_driver(vm):
    """Waits until the driver of the sorter has done its probe: its last step makes the file."""
    vm.ok("i=0; until [ -e /dev/accel_sort0 ]; do sleep 0.1; i=$((i+1)); [ $i -lt 600 ]; done")


def where(vm, function):
    """Addresses in the guest of all functions with these ids."""
    output = vm.ok("for d in /sys/bus/pci/devices/*; do "
                   'echo "at ${d##*/} $(cat $d/vendor) $(cat $d/device)"; done')
    vendor, device = (f"0x{word}" for word in function.split(":"))
    return re.findall(rf"at (\S+) {vendor} {device}", output)


def port_above(vm, address):
    """Address of the port that a card is in."""
    above = vm.ok(f"readlink -f /sys/bus/pci/devices/{address}/..").split()[-1]
    return above.rsplit("/", 1)[-1]


def setpci(vm, address, register):
    return int(vm.ok(f"setpci -s {address} {register}").split()[-1], 16)
