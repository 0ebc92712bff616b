#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The cards behind QEMU's virtual IOMMUs, with drivers of Linux that know nothing of them:
scripts/test-iommu.sh."""

import subprocess
import sys

from cards import CARD, PROBE, SORT, sort_works, wait_for_driver, where
from guest_os import Cards, Traffic, build_msi_sorter, msi_works, no_trouble, program, reports, said
from suite import build_guest, build_simulations, one_of, options_of, qemu_in, run, step
from vm import Failure, wait_for

# Of each IOMMU: its device, words for the kernel, options of accel-probe, and what the kernel says
# of DMA that it has not mapped. QEMU's amd-iommu does not get over a fault (docs/limits.md).
IOMMUS = {
    "intel": ("intel-iommu,intremap=on", "intel_iommu=on", "", "DMAR:.*fault addr 0x200000000000"),
    "amd": ("amd-iommu,dma-remap=on,intremap=on", "", "--no-faults",
            "AMD-Vi: Event logged .IO_PAGE_FAULT"),
}
# Registers of the probe, a response, and an address that nothing is mapped at.
RD_ADDR, RD_STATUS, RD_DATA, SLVERR, NOWHERE = 0x10, 0x18, 0x20, 2, 1 << 45


def missing(qemu, device):
    """Properties of an IOMMU that this QEMU does not have. That of AMD in 10.1 has no dma-remap,
    and fails the DMA of every card."""
    name, *properties = device.split(",")
    known = subprocess.run([qemu, "-device", f"{name},help"], check=True, text=True,
                           stdout=subprocess.PIPE).stdout
    return [p for p in properties if f"  {p.split('=')[0]}=" not in known]


def check_translated(bench, vm, options, fault):
    """DMA and interrupts of both cards, through resets and drivers and cards that come anew."""
    for card in (SORT, PROBE):
        device = f"/sys/bus/pci/devices/{where(vm, card)[0]}"
        # Not the identity: addresses of the card's are not the memory's.
        group = vm.ok(f"cat {device}/iommu_group/type").split()[-1]
        if not group.startswith("DMA"):
            raise Failure(f"{card} is in an IOMMU group of the type {group}, expected DMA")
    if "IR-PCI-MSI" not in vm.ok("grep accel_sort-done /proc/interrupts"):
        raise Failure("interrupts are not remapped")
    sort_works(vm, 32)
    program(vm, f"accel-probe --rounds 1000 {options}")

    before = said(vm, fault)
    address = where(vm, SORT)[0]
    vm.ok(f"echo flr >/sys/bus/pci/devices/{address}/reset_method")
    traffic = Traffic(vm)
    for _ in range(5):
        vm.ok(f"echo 1 >/sys/bus/pci/devices/{address}/reset; usleep 30000")
    traffic.end()
    sort_works(vm)
    # A new driver has new mappings, and so has a new card.
    vm.ok("rmmod accel_sort && insmod /modules/accel_sort.ko")
    sort_works(vm)
    vm.qmp.command("device_del", {"id": "sort"})
    vm.qmp.wait_event("DEVICE_DELETED")
    vm.qmp.command("device_add", {"driver": "accelerator-pcie", "id": "sort", "bus": "rp0",
                                  "endpoint": bench.endpoint(vm.name, "sort")})
    wait_for("the driver's probe", lambda: vm.qmp.is_back(CARD + "sort", "bus-master"))
    wait_for_driver(vm)
    sort_works(vm)
    if said(vm, fault) != before:
        raise Failure("there are faults of DMA that is mapped")
    no_trouble(vm)


def check_fault(vm, fault):
    """DMA to where nothing is mapped: an AXI error for the RTL, a fault for the kernel."""
    before = said(vm, fault)
    output = vm.ok(f"accel-mmio --function {PROBE} write 8 {RD_ADDR:#x} {NOWHERE:#x} "
                   f"expect 8 {RD_DATA:#x} {(1 << 64) - 1:#x} read 4 {RD_STATUS:#x}")
    status = int(reports(output)["value"], 16)
    if status & 3 != SLVERR:
        raise Failure(f"the response of a read from nowhere is {status & 3}, expected {SLVERR}")
    wait_for("a fault in the kernel's log", lambda: said(vm, fault) > before, 120.0)


def main():
    parser = options_of("test-iommu.sh", """
        Starts a VM with two cards behind each virtual IOMMU of QEMU, and uses them with drivers
        that know nothing of it.""")
    parser.add_argument("iommus", nargs="*", type=one_of(IOMMUS), metavar="IOMMU",
                        help=f"one of {', '.join(IOMMUS)} (default: each)")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    build_simulations("sort", "probe")
    build_msi_sorter()
    options.guest = build_guest("guest-iommu")
    bench = Cards(options, "acciommu-")

    def behind(name):
        device, words, probe, fault = IOMMUS[name]
        # A BAR may be mapped beside its driver.
        vm = step(name, "the guest is at its prompt", lambda: bench.start(
            name, words=f"iomem=relaxed {words}", extra=("-device", device)))
        step(name, check_translated.__doc__, lambda: check_translated(bench, vm, probe, fault))
        step(name, check_fault.__doc__, lambda: check_fault(vm, fault))
        if name == "intel":
            # Remapped interrupts are what a kernel grants more than one vector of MSI with. Behind
            # the other one the guest is busy with its fault by now.
            step(name, "MSI without MSI-X", lambda: msi_works(bench, vm, 2))
            no_trouble(vm)
        bench.finish(vm)

    def everything():
        for name in options.iommus or IOMMUS:
            lacks = missing(options.qemu, IOMMUS[name][0])
            if not lacks:
                behind(name)
            elif options.iommus:
                raise Failure(f"{name}: this QEMU's IOMMU has no {lacks[0]}")
            else:
                print(f"left out: {name}: this QEMU's IOMMU has no {lacks[0]}", flush=True)
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
