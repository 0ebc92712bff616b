# SPDX-License-Identifier: Apache-2.0
"""The uart example: a guest on its registers, and a person at its monitor."""

from common import clocks, start_clock, test
from standin import Host

BANNER = b"\r\naccelerator-pcie serial monitor in RTL; type help for help\r\n> "
HELP = b"help | echo TEXT | read N | write N VALUE   (N: 0 to f, VALUE: hexadecimal)\r\n"
WHAT = b"what? try help\r\n"


class Monitor:
    def __init__(self, dut, host):
        self.dut, self.host = dut, host

    async def shows(self, want):
        got = b""
        for _ in range(20000):
            await clocks(self.dut, 1)
            got += self.host.uart_take()
            if len(got) >= len(want):
                break
        assert got == want
        await clocks(self.dut, 50)
        assert self.host.uart_take() == b"", "and no more"

    async def says(self, line, answer):
        self.host.uart_push(line + b"\r")
        await self.shows(line + b"\r\n" + answer + b"> ")


async def start(dut, **settings):
    await start_clock(dut)
    host = Host(dut.aclk, **settings)
    await host.connect(dut.user_resetn)
    return host, Monitor(dut, host)


@test()
async def commands(dut):
    host, monitor = await start(dut, uart_room_percent=70, uart_wait_percent=70)
    await monitor.shows(BANNER)
    await monitor.says(b"help", HELP)
    await monitor.says(b"echo hello, world", b"hello, world\r\n")
    await monitor.says(b"read 0", b"54524155\r\n")
    await monitor.says(b"write 5 DeadBeef", b"deadbeef\r\n")
    await monitor.says(b"write f 1", b"00000001\r\n")
    await monitor.says(b"read 5", b"deadbeef\r\n")
    await monitor.says(b"", b"")
    await monitor.says(b"write 0 1", b"54524155\r\n")
    for line in (b"x", b"hel", b"helpp", b"help ", b"echo", b"echo ", b"echox y", b"read", b"read ",
                 b"read g", b"read 55", b"readx5", b"write 5", b"write 5 ", b"write 5 g",
                 b"write 5 1x", b"write x 1", b"write 5 123456789", b"write 55 1", b"writes5 1"):
        await monitor.says(line, WHAT)
    await monitor.says(b"read 5", b"deadbeef\r\n")
    host.check()


@test()
async def editing(dut):
    host, monitor = await start(dut)
    await monitor.shows(BANNER)
    host.uart_push(b"\x7fhelx\x08p\x7f\x7f\x7f\x7f\x7fecho ab\x01c\n")
    erase = b"\x08 \x08"
    await monitor.shows(b"helx" + erase + b"p" + 4 * erase + b"echo abc\r\nabc\r\n> ")
    line = b"echo " + b"y" * 59
    host.uart_push(line + b"zzz\r")
    await monitor.shows(line + b"\r\n" + b"y" * 59 + b"\r\n> ")
    host.check()


@test()
async def guest_and_monitor_share_the_registers(dut):
    host, monitor = await start(dut)
    config = host.config()
    assert list(config.ids)[:2] == [0x10EE, 0x7012]
    assert config.ids[4] == 0x078000
    await monitor.shows(BANNER)
    assert await host.read(0, 4) == int.from_bytes(b"UART", "little")
    await host.write(0x20, 4, 0x11223344)
    await host.write(0x21, 2, 0xAABB)
    await monitor.says(b"read 8", b"11aabb44\r\n")
    await monitor.says(b"write 8 cafe", b"0000cafe\r\n")
    assert await host.read(0x20, 4) == 0xCAFE
    assert await host.read(4, 4) == len(b"read 8\rwrite 8 cafe\r")
    assert await host.read(0x40, 4) == 0
    host.check()


@test()
async def the_banner_comes_with_a_host(dut):
    host, monitor = await start(dut)
    await monitor.shows(BANNER)
    host.uart_push(b"half a li")
    await monitor.shows(b"half a li")
    host.uart_connect(False)
    await clocks(dut, 20)
    host.uart_connect(True)
    await monitor.shows(BANNER)
    await monitor.says(b"echo 1", b"1\r\n")
    host.push_reset()
    await monitor.shows(BANNER)
    host.check()
