#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The network card in RTL under a guest that looks at it and starts anew, with a plain VM at the
other end of its network: scripts/test-virtio-net.sh."""

import re
import sys
import time

from suite import (
    Bench,
    build_guest,
    build_simulations,
    first_line,
    options_of,
    qemu_in,
    run,
    step,
)
from vm import ROOT, Failure, Simulator, Vm, wait_for

MAC, PLAIN_MAC = "52:54:00:77:00:01", "52:54:00:77:00:02"
ADDRESS, PLAIN_ADDRESS = "10.77.0.1", "10.77.0.2"
BYTES = 256 * 1024

# What lspci -nnvv has to say of the card; hdl/examples/virtio_net/virtio_net_top.sv is where
# it is from. QEMU of the machine type q35 gives port rp0 the bus 1.
LSPCI = (
    r"^01:00\.0 Ethernet controller \[0200\]: .*\[1af4:1041\] \(rev 01\)$",
    r"^\s+Subsystem: .*\[1af4:1100\]$",
    r"^\s+Control: .*Mem\+ BusMaster\+ ",
    r"^\s+Region 0: Memory at [0-9a-f]+ \(64-bit, non-prefetchable\) \[size=16K\]$",
    r"^\s+Region 2: Memory at [0-9a-f]+ \(64-bit, non-prefetchable\) \[size=4K\]$",
    r"^\s+Capabilities: \[[0-9a-f]+\] MSI-X: Enable\+ Count=3 Masked-$",
    r"^\s+Vector table: BAR=2 offset=00000000$",
    r"^\s+PBA: BAR=2 offset=00000800$",
    r"^\s+Capabilities: \[[0-9a-f]+\] Vendor Specific Information: VirtIO: CommonCfg$",
    r"^\s+BAR=0 offset=00000000 size=00001000$",
    r"^\s+Capabilities: \[[0-9a-f]+\] Vendor Specific Information: VirtIO: Notify$",
    r"^\s+BAR=0 offset=00003000 size=00001000 multiplier=00000004$",
    r"^\s+Capabilities: \[[0-9a-f]+\] Vendor Specific Information: VirtIO: ISR$",
    r"^\s+Capabilities: \[[0-9a-f]+\] Vendor Specific Information: VirtIO: DeviceCfg$",
    r"^\s+Capabilities: \[[0-9a-f]+\] Express \(v2\) Endpoint, ",
    r"^\s+LnkSta:\s+Speed 8GT/s, Width x8$",
    r"^\s+Kernel driver in use: virtio-pci$",
)
ETHTOOL = (r"^driver: virtio_net$", r"^version: 1\.0\.0$", r"^bus-info: 0000:01:00\.0$")


class Network(Bench):
    """A simulator, the VM whose network card it is, and a plain VM."""

    def __init__(self, options):
        super().__init__(options, "accnet-")
        self.nic = ""
        endpoint, wire = f"ipc://{self.folder}/card", f"{self.folder}/wire"
        self.simulator = self.own(Simulator(
            "simulator", ROOT / "build/sim/virtio_net/virtio_net", self.folder, {None: endpoint}))
        self.plain = self.own_vm(Vm(
            "plain", self.folder, options.plain_qemu, options.guest, [],
            words=f"accel.ip={PLAIN_ADDRESS} accel.peer={ADDRESS} accel.mac={PLAIN_MAC}",
            extra=("-netdev", f"stream,id=net0,server=on,addr.type=unix,addr.path={wire}",
                   "-device", f"virtio-net-pci,netdev=net0,mac={PLAIN_MAC}")))
        self.vm = self.own_vm(Vm(
            "accel", self.folder, options.qemu, options.guest,
            [("acc0", f"{endpoint},netdev=net0,mac={MAC}")],
            words=f"accel.ip={ADDRESS} accel.peer={PLAIN_ADDRESS} accel.mac={MAC}",
            extra=("-netdev", "stream,id=net0,server=off,addr.type=unix,"
                              f"addr.path={wire},reconnect-ms=200")))

    def end_process(self, process):
        # A QEMU that is told to end says 0 as well.
        status = process.end()
        if status != 0:
            raise Failure(f"{process.name} ended with status {status}")


def expect_lines(what, text, patterns):
    for pattern in patterns:
        if not re.search(pattern, text, re.M):
            raise Failure(f"{what} has no line {pattern}; it says:\n{text}")


def background(vm, command):
    """Runs a line of shell that the prompt does not wait for."""
    # Not a child of the shell: busybox takes the signal of its end for the end of the input.
    vm.ok(f"( setsid sh -c '{command}' </dev/null >/dev/null 2>&1 & )")


def transfer(source, target, address):
    """Data by TCP; both sides have to have the same sum."""
    # nc that listens answers the end of its input with its own end.
    target.ok("rm -f /tmp/hold /tmp/done; mkfifo /tmp/hold")
    background(target, "nc -l -p 5001 <>/tmp/hold >/tmp/received; touch /tmp/done")
    sent = source.ok(f"head -c {BYTES} /dev/urandom >/tmp/sent; "
                     f"i=0; until nc -w 60 {address} 5001 </tmp/sent >/dev/null; do "
                     "sleep 1; i=$((i+1)); [ $i -lt 60 ] || break; done; "
                     "sha256sum </tmp/sent").split()[-2]
    received = target.ok("i=0; until [ -e /tmp/done ]; do sleep 0.1; i=$((i+1)); "
                         "[ $i -lt 1200 ] || break; done; "
                         "wc -c </tmp/received; sha256sum </tmp/received").split()
    size, digest = received[-3], received[-2]
    if (size, digest) != (str(BYTES), sent):
        raise Failure(f"{source.name} sent {BYTES} bytes with the sum {sent}, "
                      f"{target.name} received {size} with {digest}")


def find_nic(vm):
    """Name of the network interface with the card's address, by the kernel's own driver."""
    output = vm.ok("for c in /sys/class/net/*; do "
                   "echo \"nic ${c##*/} $(cat $c/address) $(readlink $c/device/driver) "
                   "$(readlink -f $c/device/../driver)\"; done")
    found = re.findall(rf"nic (\S+) {MAC} (\S+) (\S+)", output)
    if len(found) != 1:
        raise Failure(f"the guest has not one network card {MAC}: {output}")
    name, driver, pci_driver = found[0]
    if not driver.endswith("/virtio_net") or not pci_driver.endswith("/virtio-pci"):
        raise Failure(f"the drivers of {name} are {driver} on {pci_driver}")
    return name


def works(bench):
    """The driver is bound, the link is up, and data goes both ways."""
    vm, plain = bench.vm, bench.plain
    bench.nic = find_nic(vm)
    vm.ok(f"[ \"$(cat /sys/class/net/{bench.nic}/carrier)\" = 1 ]")
    # The other one may have to learn where we are anew.
    vm.ok(f"i=0; until ping -c 1 -W 5 {PLAIN_ADDRESS} >/dev/null; do i=$((i+1)); "
          "[ $i -lt 20 ] || break; done")
    vm.ok(f"ping -c 3 -i 0.2 -W 30 {PLAIN_ADDRESS} | grep ' 3 packets received'")
    transfer(vm, plain, PLAIN_ADDRESS)
    transfer(plain, vm, ADDRESS)


def looks(bench):
    """lspci and ethtool of the guest show what the RTL says that it is."""
    bench.nic = find_nic(bench.vm)
    text = bench.vm.ok("lspci -nnvv -s 01:00.0 2>/dev/null")
    expect_lines("lspci", text, LSPCI)
    expect_lines("ethtool -i", bench.vm.ok(f"ethtool -i {bench.nic}"), ETHTOOL)


def check_show(bench):
    """lspci -vv and ethtool -i of the guest show the card; pings and data both ways"""
    looks(bench)
    works(bench)


def check_driver(bench):
    """ip link down and up; the driver's modules unloaded and loaded"""
    vm = bench.vm
    vm.ok(f"ip link set {bench.nic} down")
    status, _ = vm.run(f"ping -c 1 -W 1 {PLAIN_ADDRESS} >/dev/null 2>&1")
    if status == 0:
        raise Failure("the other VM answers while the link is down")
    vm.ok(f"ip link set {bench.nic} up")
    works(bench)
    # The whole of it, not only the upper half: the device is given back and found again.
    vm.ok("rmmod virtio_net virtio_pci")
    vm.ok("[ ! -e /sys/bus/pci/devices/0000:01:00.0/driver ]")
    vm.ok(f"! grep -qs {MAC} /sys/class/net/*/address")
    vm.ok("modprobe virtio_pci && modprobe virtio_net")
    vm.ok(f"i=0; until grep -qs {MAC} /sys/class/net/*/address; do sleep 0.1; i=$((i+1)); "
          "[ $i -lt 600 ] || break; done")
    bench.nic = find_nic(vm)
    vm.ok(f"ip link set {bench.nic} up && ip address add {ADDRESS}/24 dev {bench.nic}")
    looks(bench)
    works(bench)


def traffic(bench):
    """Frames both ways, for as long as the guest lives: receive buffers are posted, and both
    queues are at work."""
    vm, plain = bench.vm, bench.plain
    background(plain, f"echo $$ >/tmp/ping.pid; exec ping -A -s 1400 {ADDRESS} >/dev/null")
    background(vm, f"exec ping -A -s 1400 {PLAIN_ADDRESS} >/dev/null")
    time.sleep(0.5)


def quiet(bench):
    bench.plain.ok("kill $(cat /tmp/ping.pid)")


def again(bench, how):
    """Starts the machine anew in the middle of traffic."""
    before = bench.simulator.text().count("link up")
    traffic(bench)
    bench.vm.restart(how)
    # Frames of the other VM still come; they met a card without a driver meanwhile.
    works(bench)
    quiet(bench)
    looks(bench)
    if bench.simulator.text().count("link up") != before:
        raise Failure("the reset was a new session, expected it in the one that was up")


def check_reboot(bench):
    """the guest reboots in the middle of traffic"""
    again(bench, lambda: bench.vm.send("reboot -f"))


def check_system_reset(bench):
    """system_reset of the monitor in the middle of traffic"""
    again(bench, lambda: bench.vm.qmp.command("system_reset"))


CHECKS = {"show": check_show, "driver": check_driver, "reboot": check_reboot,
          "system_reset": check_system_reset}


def main():
    parser = options_of("test-virtio-net.sh", """
        Starts a simulator, a VM whose network card is hdl/examples/virtio_net, and a plain VM at
        the other end of its network, and does checks. After each the kernel's driver is bound,
        the link is up, pings are answered and data goes both ways by TCP with the right sums.""",
                        CHECKS)
    parser.add_argument("--plain-qemu", default="build/qemu/baseline", metavar="DIR",
                        help="that of the plain VM (default: build/qemu/baseline)")
    options = parser.parse_args()
    options.qemu, options.plain_qemu = qemu_in(options.qemu), qemu_in(options.plain_qemu)
    build_simulations("virtio_net")
    options.guest = build_guest("guest-plain")
    bench = Network(options)

    def boot():
        bench.plain.boot()
        bench.vm.boot()
        wait_for("the simulator's session", lambda: "link up" in bench.simulator.text())
        bench.nic = find_nic(bench.vm)

    def everything():
        step("start", "the guests are at their prompts", boot)
        for name, check in CHECKS.items():
            if name in (options.checks or CHECKS):
                step(name, first_line(check), lambda check=check: check(bench))
    return run(bench, everything)


if __name__ == "__main__":
    sys.exit(main())
