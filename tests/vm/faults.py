#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Drivers with cards that go wrong by plan: scripts/test-faults.sh. Each fault is given by QMP
while the guest runs, and a program works with the card. What has to be true: the program ends in
time, the kernel finds nothing wrong with itself, what is said to be good is good, and without the
fault the card works again, with a reset or a new probe of its driver where the table says so."""

import os
import re
import signal
import socket
import struct
import sys
import threading
import time

from cards import CARD, PROBE, SORT, where
from guest_os import TROUBLE, reports
from suite import (
    Bench,
    build_guest,
    build_simulations,
    options_of,
    qemu_in,
    run,
    script,
    step,
)
from vm import ROOT, Failure, QmpError, Simulator, Vm, wait_for

# Seconds of a program of the guest, and of one that has no fault to hang at: on a machine with much
# else to do a simulation, which is nice, gets little of it.
PATIENCE = 60
SLOW = 240
# Milliseconds.
COMPLETION_TIMEOUT = 3000
# Hung tasks are reported by the kernel after this.
STUCK = TROUBLE + "|blocked for more than|soft lockup|rcu_.*stall"

MEASURE, NET, UART = "10ee:7032", "1af4:1041", "10ee:7012"
MAC, PEER_MAC = "52:54:00:66:00:01", "52:54:00:66:00:02"
ADDRESS, PEER_ADDRESS = "10.66.0.1", "10.66.0.2"

# The plans of each driver. Of the sorter 0x0c is CONTROL, 0x10 STATUS, 0x2c TAIL and 0x30 HEAD.
# Those behind "long" are for --all.
SORT_PLANS = {
    "ur on=read": "ur on=read nth=1-3",
    "ca on=read": "ca on=read nth=1-3",
    "poison on=read": "poison on=read nth=1-3",
    "lose on=read": "lose on=read nth=1-2 delay=20ms",
    "late on=read": "late on=read delay=2ms",
    "ur on=write": "ur on=write offset=0x2c times=1",
    "lose on=write": "lose on=write offset=0x2c nth=2",
    "ur on=dma-read": "ur on=dma-read nth=2",
    "lose on=dma-read": "lose on=dma-read nth=3 delay=20ms",
    "late on=dma": "late on=dma-read,dma-write delay=300us p=0.2",
    "ca on=dma-write": "ca on=dma-write nth=2",
    "lose on=msi": "lose on=msi times=3",
    "double on=msi": "double on=msi",
    "late on=msi": "late on=msi delay=5ms",
    "spurious": "spurious on=write raise=1 times=5",
    "dead until=reset": "dead on=write offset=0x2c until=reset",
    "link-down": "link-down on=write offset=0x2c for=300ms",
    "corrupt": "corrupt on=read offset=0 xor=0x1",
}
SORT_LONG = {
    "ca on=write": "ca on=write offset=0x2c times=1",
    "poison on=write": "poison on=write offset=0x2c times=1",
    "ca on=dma-read": "ca on=dma-read nth=2",
    "poison on=dma-read": "poison on=dma-read nth=2",
    "ur on=dma-write": "ur on=dma-write nth=2",
    "dead": "dead on=write offset=0x2c",
    "seeded": "seed=3; ur on=read p=0.1; lose on=msi p=0.2; late on=dma-write p=0.3 delay=1ms",
}
PROBE_PLANS = {
    "ur on=read": "ur on=read nth=5",
    "lose on=msi": "lose on=msi nth=2",
    # RELEASE: one read of HOLD is given up, and no more than that one.
    "lose on=write": "lose on=write offset=0x2c nth=5",
    "link-down": "link-down on=read nth=9 for=200ms",
}
PROBE_LONG = {
    "late on=read": "late on=read delay=1ms p=0.02",
    "ur on=dma-write": "ur on=dma-write nth=5",
    "double on=msi": "double on=msi",
    "ca on=read": "ca on=read nth=5",
    "poison on=read": "poison on=read nth=5",
    "lose on=read": "lose on=read nth=5 delay=20ms",
    "lose on=dma-write": "lose on=dma-write nth=5",
    "dead until=reset": "dead on=read nth=9 until=reset",
}
BENCH_PLANS = {
    "ur on=read": "ur on=read nth=40",
    "lose on=msi": "lose on=msi nth=5",
    "ur on=dma-read": "ur on=dma-read nth=5",
    "link-down": "link-down on=msi nth=5 for=200ms",
}
BENCH_LONG = {
    "ca on=read": "ca on=read nth=40",
    "poison on=read": "poison on=read nth=40",
    "lose on=read": "lose on=read nth=40 delay=20ms",
    "late on=read": "late on=read delay=1ms p=0.1",
    # MSIX_GO.
    "ur on=write": "ur on=write offset=0x30 nth=5",
    "lose on=write": "lose on=write offset=0x30 nth=5",
    "lose on=dma-read": "lose on=dma-read nth=5 delay=20ms",
    "late on=dma": "late on=dma-read,dma-write delay=300us p=0.2",
    "ca on=dma-write": "ca on=dma-write nth=5",
    "ur on=dma-write": "ur on=dma-write nth=5",
    "double on=msi": "double on=msi",
    "dead until=reset": "dead on=msi nth=5 until=reset",
}
# No write by DMA is lost to it: virtio_net of Linux 6.1 then finds a used buffer that it does not
# know ("id 0 is not a head!") and never leaves its interrupt handler, on every processor.
NET_PLANS = {
    "late on=read": "late on=read delay=1ms",
    "ur on=dma-read": "ur on=dma-read nth=2",
    "late on=dma": "late on=dma-read,dma-write delay=500us p=0.3",
    "lose on=msi": "lose on=msi nth=2",
    "double on=msi": "double on=msi",
    "lose on=write": "lose on=write nth=2",
    "dead until=reset": "dead on=write until=reset",
    "lose on=nic-rx": "lose on=nic-rx nth=2",
    # Of the data of the echo, whose checksum finds it.
    "corrupt on=nic-tx": "corrupt on=nic-tx nth=2 byte=50 xor=0xff",
}
NET_LONG = {
    "lose on=nic-tx": "lose on=nic-tx nth=2",
    "corrupt on=nic-rx": "corrupt on=nic-rx nth=2 byte=50 xor=0xff",
    "double on=nic": "double on=nic-rx,nic-tx",
    "late on=nic": "late on=nic-rx,nic-tx delay=20ms",
    "ur on=read": "ur on=read nth=1-3",
    "ur on=write": "ur on=write nth=1",
    "poison on=dma-read": "poison on=dma-read nth=2",
    "link-down": "link-down on=write for=200ms",
}
# The same driver without vectors. A level that is never taken back, or low for ever, is an
# interrupt that the kernel switches off; the pin is free again with the next plan.
INTX_PLANS = {
    "lose on=intx": "lose on=intx level=1 nth=2",
    "late on=intx": "late on=intx level=1 delay=5ms",
}
INTX_LONG = {
    "late on=intx low": "late on=intx level=0 delay=1ms",
    "spurious intx": "spurious on=intx raise=intx for=1ms times=5",
    "stuck at=0": "stuck on=intx at=0",
}
SERIAL_PLANS = {
    "lose on=serial-rx": "lose on=serial-rx nth=9",
    "corrupt on=serial-rx": "corrupt on=serial-rx nth=9 xor=0x1",
    "corrupt on=serial-tx": "corrupt on=serial-tx nth=9 xor=0x1",
}
SERIAL_LONG = {
    "lose on=serial-tx": "lose on=serial-tx nth=9",
    "all on=serial-rx": "lose on=serial-rx",
}
# What the guest has to read on its own serial line, and in the card.
TALK = r"""
stty -F /dev/ttyS1 raw -echo min 0 time 20
exec 3<>/dev/ttyS1
[ ! -e /tmp/untidy ] || { printf "\r" >&3; cat <&3 >/dev/null; }
touch /tmp/untidy
printf "write 5 $1\rread 5\r" >&3
printf "write 5 $1\n$1\n> read 5\n$1\n> " >/tmp/expected
head -c $(($(wc -c </tmp/expected) + 4)) <&3 | tr -d "\r" >/tmp/said
if ! cmp -s /tmp/said /tmp/expected; then
  echo "ACCEL error=the card has said $(tr "\n" " " </tmp/said)"
  exit 1
fi
rm /tmp/untidy
accel-mmio --function FUNCTION expect 4 0x14 0x$1 >/dev/null || { echo wrong blocks; exit 1; }
"""


def checksum(data):
    """Of IPv4 and ICMP (RFC 1071), of an even number of bytes."""
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Echo:
    """The other end of the network: a host that answers ARP and ICMP echo requests."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.mac = bytes.fromhex(PEER_MAC.replace(":", ""))
        self.ip = socket.inet_aton(PEER_ADDRESS)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection = self.listener.accept()[0]
            rest = b""
            while data := connection.recv(65536):
                rest += data
                while len(rest) >= 4 and len(rest) >= 4 + (n := struct.unpack(">I", rest[:4])[0]):
                    answer = self._answer(rest[4:4 + n])
                    rest = rest[4 + n:]
                    if answer:
                        connection.sendall(struct.pack(">I", len(answer)) + answer)

    def _answer(self, frame):
        source, kind = frame[6:12], frame[12:14]
        head = source + self.mac + kind
        if kind == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == self.ip:
            asker = frame[22:32]
            return (head + frame[14:20] + b"\0\2" + self.mac + self.ip + asker).ljust(60, b"\0")
        size = struct.unpack(">H", frame[16:18])[0]
        ip = frame[14:14 + size]
        padded = ip[20:] + b"\0" * (size % 2)
        # As any host, it takes nothing that was damaged on its way.
        if checksum(ip[:20]) or (ip[9] == 1 and checksum(padded)):
            return None
        if kind == b"\x08\0" and ip[9] == 1 and ip[16:20] == self.ip and ip[20] == 8:
            echo = b"\0\0\0\0" + ip[24:]
            padded = echo + b"\0" * (len(echo) % 2)
            echo = echo[:2] + struct.pack(">H", checksum(padded)) + echo[4:]
            # Source and target change places, which leaves the checksum as it was.
            return (head + ip[:12] + ip[16:20] + ip[12:16] + echo).ljust(60, b"\0")
        return None


class Driver:
    """A card with its driver: what a program does with it, and how it is brought back."""

    def __init__(self, name, card, function, plans, more):
        self.name, self.card, self.function = name, card, function
        self.plans, self.more = plans, more
        # Seconds of its program, if it does not hang.
        self.patience = SLOW

    def begin(self, vm):
        """Before its first case."""

    def line(self):
        """A line of shell that works with the card: status 0 if all was well, and then its data
        is good."""
        raise NotImplementedError

    def is_wrong(self, output):
        """Whether it has given data for good that is not."""
        return "wrong blocks" in output


class Sort(Driver):
    def line(self):
        return "accel-sort --blocks 8 --seed 3"


class Probe(Driver):
    def line(self):
        return "accel-probe --rounds 20 --patience 3000"

    def is_wrong(self, output):
        # Words that have to be there when the interrupt comes: reads and interrupts keep their
        # order whatever goes wrong, and a write that an error has ended is none of them.
        return False


class Measure(Driver):
    def begin(self, vm):
        vm.ok("echo 2000 >/sys/module/accel_bench/parameters/patience_ms")

    def line(self):
        # The ticks are of no interest here.
        return ("accel-bench --tick-hz 1000000000 --repeats 1 --count 30 --patience 3000 "
                "read write interrupts dma")

    def is_wrong(self, output):
        # It compares itself, and ends with an error.
        return False


class Net(Driver):
    def line(self):
        return f"ping -c 5 -i 0.2 -W 2 {PEER_ADDRESS} | grep -q ' [1-5] packets received'"

    def is_wrong(self, output):
        return False


class NetIntx(Net):
    """The same card with the same driver, which the kernel gives no vectors."""

    def begin(self, vm):
        address = where(vm, self.function)[0]
        device = f"/sys/bus/pci/devices/{address}"
        vm.ok(f"d=$(readlink -f {device}/driver); echo {address} >$d/unbind; "
              f"echo 0 >{device}/msi_bus; echo {address} >$d/bind; {Faults.after_probe(self)}")
        kinds = vm.ok("grep virtio /proc/interrupts")
        if "MSI" in kinds or "IO-APIC" not in kinds:
            raise Failure(f"{self.name}: the driver does not use the INTx pin: {kinds}")


class Serial(Driver):
    """The kernel's driver of the guest's second serial port, at whose other end the card is."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.word = 0xc0de0000

    def begin(self, vm):
        text = TALK.replace("FUNCTION", self.function)
        vm.ok(f"cat >/tmp/talk <<'END'\n{text}END\ntouch /tmp/untidy")

    def line(self):
        # Another one each time: what is there from before is not taken for it.
        self.word += 1
        return f"sh /tmp/talk {self.word:08x}"


class Faults(Bench):
    """One VM with all the cards."""

    def __init__(self, options):
        super().__init__(options, "accfault-")
        self.vm = None
        self.simulators = {}

    def start(self):
        wire, tty = self.folder / "wire", self.folder / "tty"
        self.echo = Echo(wire)
        cards = []
        for card, more in (("sort", ""), ("probe", ""), ("bench_top", ""),
                           ("virtio_net", f",netdev=net0,mac={MAC}"), ("uart", ",chardev=line")):
            endpoint = f"ipc://{self.folder}/{card}"
            self.simulators[card] = self.own(Simulator(
                f"sim-{card}", ROOT / f"build/sim/{card}/{card}", self.folder,
                {None: endpoint}))
            # As hardware has it: a read of the probe that waits for a write of the other CPU waits
            # for ever if the link went down in between.
            cards.append((card, f"{endpoint},completion-timeout={COMPLETION_TIMEOUT}{more}"))
        self.vm = self.own_vm(Vm(
            "vm", self.folder, self.options.qemu, self.options.guest, cards,
            words=f"accel.ip={ADDRESS} accel.peer={PEER_ADDRESS} accel.mac={MAC}",
            extra=("-netdev", f"stream,id=net0,server=off,addr.type=unix,addr.path={wire},"
                              "reconnect-ms=200",
                   # The second serial port of the guest and the card's are one line.
                   "-chardev", f"socket,id=tty,path={tty},server=on,wait=off",
                   "-serial", "chardev:tty",
                   "-chardev", f"socket,id=line,path={tty},reconnect-ms=200")))
        self.vm.boot()
        # Nothing waits for long.
        self.vm.ok("cd /sys/module/accel_sort/parameters && echo 200 >warn_ms && "
                   "echo 2 >timeout_s; cd /")

        for card in self.simulators:
            self.hold(card, True)

    def hold(self, card, still):
        """Has a simulator stand still while nobody works with its card: five clocks that run all
        the time would leave no processor for the guest. The kernel may send frames at any time."""
        if card != "virtio_net":
            os.kill(self.simulators[card].pid, signal.SIGSTOP if still else signal.SIGCONT)

    def end_process(self, process):
        if process.is_running():
            os.kill(process.pid, signal.SIGCONT)
        super().end_process(process)

    def plan(self, card, text):
        def taken():
            try:
                self.vm.qmp.command("qom-set", {"path": CARD + card, "property": "faults",
                                                "value": text})
            except QmpError as e:
                # After a fault that takes it down it is up again by itself.
                if "is down" in str(e):
                    return False
                raise
            return True
        wait_for(f"a link of {card} that takes a plan", taken, PATIENCE)

    def work(self, driver):
        """Status of the driver's program, its output and how long it took."""
        begin = time.monotonic()
        patience = driver.patience
        status, output = self.vm.run(f"timeout -s KILL {patience} sh -c \"{driver.line()}\"",
                                     patience=2 * patience)
        if status in (137, 143):
            raise Failure(f"{driver.name}: '{driver.line()}' did not end in {patience} s: "
                          f"{output[-400:]}")
        if driver.is_wrong(output):
            raise Failure(f"{driver.name} has given wrong data for good: {output[-400:]}")
        return status, output, time.monotonic() - begin

    def bring_back(self, driver):
        """Has the card work again; what that took."""
        address = where(self.vm, driver.function)[0]
        device = f"/sys/bus/pci/devices/{address}"
        # What the kernel does by itself after an error it does in the background.
        for _ in range(3):
            if self.work(driver)[0] == 0:
                return ""
            time.sleep(0.5)
        self.vm.run(f"echo 1 >{device}/reset", patience=PATIENCE)
        if self.work(driver)[0] == 0:
            return "reset"
        self.vm.run(f"d=$(readlink -f {device}/driver); echo {address} >$d/unbind; "
                    f"echo {address} >$d/bind; {self.after_probe(driver)}", patience=PATIENCE)
        if self.work(driver)[0] == 0:
            return "probe"
        self.vm.run(f"echo 1 >{device}/remove; echo 1 >/sys/bus/pci/rescan; "
                    f"{self.after_probe(driver)}", patience=PATIENCE)
        status, output, _ = self.work(driver)
        if status != 0:
            raise Failure(f"{driver.name} does not come back: {output[-800:]}")
        return "rescan"

    @staticmethod
    def after_probe(driver):
        if isinstance(driver, Net):
            return ("sleep 1; for c in /sys/class/net/*; do "
                    f"[ $(cat $c/address) = {MAC} ] && "
                    f"ip addr add {ADDRESS}/24 dev ${{c##*/}}; "
                    "ip link set ${c##*/} up; done; sleep 1")
        return "sleep 0.5"

    def case(self, driver, title, plan):
        """One fault with one driver; the cell of the table."""
        try:
            self.plan(driver.card, plan)
        except QmpError as e:
            raise Failure(f"{title}: {e}") from None
        status, output, took = self.work(driver)
        self.plan(driver.card, "")
        back = self.bring_back(driver)
        trouble = self.vm.ok("dmesg -c >/tmp/kernel; cat /tmp/kernel")
        if found := re.search(STUCK, trouble):
            raise Failure(f"{driver.name} with '{plan}': the kernel says {found[0]}:\n{trouble}")
        cell = "works" if status == 0 else "error"
        if status != 0:
            # What it makes of the fault.
            print(f"        {' '.join(output.split()[-30:])}", flush=True)
        if status != 0 and "ACCEL" in output and not reports(output):
            raise Failure(f"{driver.name} with '{plan}' says nothing: {output[-400:]}")
        return cell + (f", {back}" if back else ""), took

    def drivers(self, options):
        chosen = [Sort("sort", "sort", SORT, SORT_PLANS, SORT_LONG),
                  Probe("probe", "probe", PROBE, PROBE_PLANS, PROBE_LONG),
                  Measure("bench", "bench_top", MEASURE, BENCH_PLANS, BENCH_LONG),
                  Net("virtio_net", "virtio_net", NET, NET_PLANS, NET_LONG),
                  NetIntx("intx", "virtio_net", NET, INTX_PLANS, INTX_LONG),
                  Serial("serial", "uart", UART, SERIAL_PLANS, SERIAL_LONG)]
        return [d for d in chosen if not options.drivers or d.name in options.drivers]


def table(results, names):
    """Faults and drivers."""
    titles = list(dict.fromkeys(title for title, _ in results))
    width = max(map(len, titles)) + 2
    print("".join([f"{'fault':{width}}", *(f"{name:18}" for name in names)]))
    for title in titles:
        row = [f"{title:{width}}"]
        for name in names:
            row.append(f"{results.get((title, name), '-'):18}")
        print("".join(row).rstrip())


def main():
    parser = options_of("test-faults.sh", __doc__)
    parser.add_argument("--all", action="store_true", help="all faults of each driver")
    parser.add_argument("--drivers", nargs="+", metavar="NAME",
                        choices=("sort", "probe", "bench", "virtio_net", "intx", "serial"),
                        help="only these: intx is virtio_net without vectors, serial the kernel's "
                             "driver of a serial port whose other end is a card")
    options = parser.parse_args()
    options.qemu = qemu_in(options.qemu)
    build_simulations("sort", "probe", "virtio_net", "uart")
    script("build-sim.sh", "--top", "bench_top", "--files", "hdl/bench/bench.f")
    options.guest = str(ROOT / build_guest("guest-faults"))
    bench = Faults(options)
    results = {}
    drivers = bench.drivers(options)
    failed = []

    def of(driver):
        bench.hold(driver.card, False)
        driver.begin(bench.vm)
        for _ in range(3):
            status, output, took = bench.work(driver)
            if status == 0:
                # Most of what a fault costs is waits, which take as long on any machine.
                driver.patience = min(SLOW, PATIENCE + int(3 * took))
                break
        else:
            raise Failure(f"{driver.name} does not work without a fault: {output[-800:]}")
        plans = {**driver.plans, **(driver.more if options.all else {})}
        for title, plan in plans.items():
            def one(title=title, plan=plan):
                cell, took = bench.case(driver, title, plan)
                results[title, driver.name] = f"{cell} {took:.1f} s"
            step(driver.name, plan, one)
        bench.hold(driver.card, True)

    def everything():
        step("boot", "a guest with five cards", bench.start)
        for driver in drivers:
            # What the others make of theirs is of interest all the same.
            try:
                of(driver)
            except Failure as e:
                print(f"FAILED  {driver.name}: {e}", flush=True)
                failed.append(driver.name)
        if failed:
            raise Failure(f"failed: {', '.join(failed)}")

    status = run(bench, everything)
    if results:
        table(results, [d.name for d in drivers])
    return status


if __name__ == "__main__":
    sys.exit(main())
