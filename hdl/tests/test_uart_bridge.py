# SPDX-License-Identifier: Apache-2.0
"""accelerator_uart_bridge against cocotbext-axi, driven as a driver of AXI UART Lite drives it."""

import functools

import cocotb
import common
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp
from common import pauses, random_bytes
from standin import Host

test = functools.partial(common.test, timeout_time=20)

RX, TX, STAT, CTRL = 0, 4, 8, 12
RX_VALID, RX_FULL, TX_EMPTY, TX_FULL, ENABLED = 1, 2, 4, 8, 16


class Uart:
    def __init__(self, dut, stall):
        self.dut = dut
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.s_axi_aclk,
                                    dut.s_axi_aresetn, reset_active_level=False)
        if stall:
            for n, channel in enumerate((self.master.write_if.aw_channel,
                                         self.master.write_if.w_channel,
                                         self.master.write_if.b_channel,
                                         self.master.read_if.ar_channel,
                                         self.master.read_if.r_channel)):
                channel.set_pause_generator(pauses(n, stall))

    async def read(self, addr):
        answer = await self.master.read(addr, 4)
        return int.from_bytes(answer.data, "little"), answer.resp

    async def write(self, addr, value):
        return (await self.master.write(addr, value.to_bytes(4, "little"))).resp

    async def stat(self):
        value, resp = await self.read(STAT)
        assert resp == AxiResp.OKAY
        return value


async def start(dut, stall=0, **settings):
    common.begin_in_reset(dut.s_axi_aclk, dut.s_axi_aresetn)
    await clocks_of(dut, 4)
    host = Host(dut.s_axi_aclk, **settings)
    uart = Uart(dut, stall)
    dut.s_axi_aresetn.value = 1
    await clocks_of(dut, 2)
    return host, uart


async def clocks_of(dut, count):
    for _ in range(count):
        await RisingEdge(dut.s_axi_aclk)


@test()
async def reset_values(dut):
    host, uart = await start(dut)
    assert await uart.stat() == TX_EMPTY
    assert await uart.read(RX) == (0, AxiResp.SLVERR)
    assert await uart.read(TX) == (0, AxiResp.OKAY)
    assert await uart.read(CTRL) == (0, AxiResp.OKAY)
    assert await uart.write(RX, 0x55) == AxiResp.OKAY
    assert await uart.write(STAT, 0xFF) == AxiResp.OKAY
    await uart.write(CTRL, 0x10)
    assert await uart.stat() == TX_EMPTY | ENABLED
    assert host.uart_take() == b""
    assert int(dut.connected.value)
    host.uart_connect(False)
    await clocks_of(dut, 3)
    assert not int(dut.connected.value)
    host.check()


@test()
async def fifos_fill_and_empty(dut):
    """16 bytes each, and the byte on the line."""
    host, uart = await start(dut, uart_room_percent=0)
    sent = random_bytes(17)
    for n, byte in enumerate(sent):
        assert await uart.stat() & TX_FULL == 0, n
        assert await uart.write(TX, byte) == AxiResp.OKAY
    await clocks_of(dut, 5)
    assert await uart.stat() == TX_FULL
    assert await uart.write(TX, 0x99) == AxiResp.SLVERR
    host.set(uart_room_percent=100)
    await clocks_of(dut, 40)
    assert await uart.stat() == TX_EMPTY
    assert host.uart_take() == sent

    got = random_bytes(40)
    host.uart_push(got)
    await clocks_of(dut, 60)
    assert await uart.stat() == TX_EMPTY | RX_VALID | RX_FULL
    assert host.uart_waiting() >= 40 - 17
    read = b""
    while await uart.stat() & RX_VALID:
        value, resp = await uart.read(RX)
        assert resp == AxiResp.OKAY
        read += bytes([value])
    assert read == got
    assert (await uart.read(RX))[1] == AxiResp.SLVERR
    host.check()


@test()
async def clearing_the_fifos(dut):
    host, uart = await start(dut, uart_room_percent=0)
    for byte in b"0123456789":
        await uart.write(TX, byte)
    host.uart_push(b"abcdefgh")
    await clocks_of(dut, 20)
    await uart.write(CTRL, 1)
    assert await uart.stat() == TX_EMPTY | RX_VALID
    await uart.write(CTRL, 2)
    assert await uart.stat() == TX_EMPTY
    host.set(uart_room_percent=100)
    await clocks_of(dut, 20)
    # The byte that was on the line goes out.
    assert host.uart_take() == b"0"
    await uart.write(TX, ord("x"))
    host.uart_push(b"y")
    await clocks_of(dut, 10)
    assert host.uart_take() == b"x"
    assert (await uart.read(RX))[0] == ord("y")
    host.check()


@test()
async def interrupts(dut):
    host, uart = await start(dut)
    count = 0

    async def counter():
        nonlocal count
        while True:
            await RisingEdge(dut.s_axi_aclk)
            count += int(dut.interrupt.value)

    cocotb.start_soon(counter())
    await uart.write(TX, 1)
    host.uart_push(b"a")
    await clocks_of(dut, 20)
    assert count == 0, "not enabled"
    await uart.write(CTRL, 0x10)
    await clocks_of(dut, 20)
    assert count == 0, "edges, not levels"
    host.uart_push(b"b")
    await clocks_of(dut, 20)
    assert count == 0, "the FIFO was not empty"
    await uart.read(RX)
    await uart.read(RX)
    host.uart_push(b"c")
    await clocks_of(dut, 20)
    assert count == 1
    await uart.write(TX, 2)
    await clocks_of(dut, 20)
    assert count == 2
    await uart.write(CTRL, 0)
    await uart.read(RX)
    host.uart_push(b"d")
    await uart.write(TX, 3)
    await clocks_of(dut, 20)
    assert count == 2
    host.check()


@test()
async def many_bytes_both_ways(dut):
    """As a driver does it, by status, against a slow host and random stalls."""
    host, uart = await start(dut, stall=20, uart_room_percent=30, uart_wait_percent=30)
    down, up = random_bytes(1500), random_bytes(1500)
    host.uart_push(down)
    got, sent, seen = bytearray(), 0, b""
    while len(got) < len(down) or sent < len(up):
        stat = await uart.stat()
        if stat & RX_VALID:
            value, resp = await uart.read(RX)
            assert resp == AxiResp.OKAY
            got.append(value)
        if not stat & TX_FULL and sent < len(up):
            assert await uart.write(TX, up[sent]) == AxiResp.OKAY
            sent += 1
    await clocks_of(dut, 500)
    seen = host.uart_take()
    assert bytes(got) == down
    assert seen == up
    host.check()
