# SPDX-License-Identifier: Apache-2.0
"""What a driver of XDMA does, for the tests: registers, descriptors and lists of them."""

import struct

# Targets, and registers of a channel.
H2C, C2H, IRQ, CONFIG, H2C_SG, C2H_SG, SGDMA = (n << 12 for n in range(7))
CONTROL, CONTROL_SET, CONTROL_CLEAR = 0x04, 0x08, 0x0C
STATUS, STATUS_CLEAR, COMPLETED, ALIGNMENTS = 0x40, 0x44, 0x48, 0x4C
POLL_LOW, POLL_HIGH = 0x88, 0x8C
MASK, MASK_SET, MASK_CLEAR = 0x90, 0x94, 0x98
PERF, PERF_CLOCKS, PERF_BEATS = 0xC0, 0xC4, 0xCC
FIRST_LOW, FIRST_HIGH, ADJACENT, CREDITS = 0x80, 0x84, 0x88, 0x8C

RUN = 1
BUSY, STOPPED, DESC_COMPLETED, ALIGN, MAGIC, LENGTH, IDLE = (1 << n for n in range(7))
READ_ERROR, WRITE_ERROR, DESC_ERROR = 0x1F << 9, 0x1F << 14, 0x1F << 19
UNSUPPORTED = 1 << 9
CARD_READ_DECODE, CARD_READ_SLAVE = 1 << 9, 1 << 10
CARD_WRITE_DECODE, CARD_WRITE_SLAVE = 1 << 14, 1 << 15
DESC_UNSUPPORTED = 1 << 19
LOG_ALL = 0x00FFFE7E
NON_INC, POLL_MODE, NO_META = 1 << 25, 1 << 26, 1 << 27

# Control of a descriptor.
D_STOP, D_COMPLETED, D_EOP = 1, 2, 16
D_MAGIC = 0xAD4B


def descriptor(length, src, dst, control=0, adjacent=0, following=0, magic=D_MAGIC):
    return struct.pack("<IIQQQ", magic << 16 | adjacent << 8 | control, length, src, dst, following)


class Allocator:
    """Parts of host memory, none twice."""

    def __init__(self, base, size):
        self.next = base
        self.end = base + size

    def take(self, length, align=1, offset=0):
        addr = -(-self.next // align) * align + offset
        self.next = addr + length
        assert self.next <= self.end, "host memory is used up"
        return addr


def write_list(host, allocator, moves, *, rng, blocks=None, stop=True, control=0, last=0,
               length=None):
    """Writes a list of descriptors of (length, src, dst, control).

    They lie in blocks of 1 to 64 at random places, none across a page. Only the last of a block
    has a use for `next` and for how many there are; the others hold anything there. Returns
    the first's address and how many are adjacent to it.
    """
    groups = []
    left = list(moves)
    while left:
        count = min(len(left), blocks or rng.choice((1, 1, 2, 3, 8, 17, 63, 64)))
        groups.append((count, left[:count]))
        del left[:count]
    places = []
    for count, _ in groups:
        addr = allocator.take(0, 32, 32 * rng.randrange(4))
        if addr // 4096 != (addr + 32 * count - 1) // 4096:
            addr = -(-addr // 4096) * 4096
        allocator.next = addr + 32 * count
        assert allocator.next <= allocator.end
        places.append(addr)
    for n, (count, group) in enumerate(groups):
        data = b""
        for i, (size, src, dst, own) in enumerate(group):
            end_of_block = i == count - 1
            end = end_of_block and n == len(groups) - 1
            flags = own | control | (last | (D_STOP if stop else 0) if end else 0)
            adjacent, following = rng.randrange(64), rng.getrandbits(64)
            if end_of_block and not end:
                adjacent, following = groups[n + 1][0] - 1, places[n + 1]
            data += descriptor(size, src, dst, flags, adjacent, following)
        host.write_memory(places[n], data)
    return places[0], groups[0][0] - 1


class Channel:
    """The registers of one."""

    def __init__(self, host, bar, c2h, number):
        self.host = host
        self.bar = bar
        self.c2h = c2h
        self.number = number
        self.regs = (C2H if c2h else H2C) + number * 0x100
        self.list = (C2H_SG if c2h else H2C_SG) + number * 0x100

    async def read(self, reg):
        return await self.host.read(self.regs + reg, 4, bar=self.bar)

    def write(self, reg, value):
        self.host.push_write(self.regs + reg, 4, value, bar=self.bar)

    async def read_list(self, reg):
        return await self.host.read(self.list + reg, 4, bar=self.bar)

    def write_list(self, reg, value):
        self.host.push_write(self.list + reg, 4, value, bar=self.bar)

    def start(self, first, adjacent, control=LOG_ALL):
        """Begins a list; Run was not set before."""
        self.write_list(FIRST_LOW, first & 0xFFFFFFFF)
        self.write_list(FIRST_HIGH, first >> 32)
        self.write_list(ADJACENT, adjacent)
        self.write(CONTROL, control & ~RUN)
        self.write(CONTROL, control | RUN)

    async def idle(self, limit=2000):
        """Waits until it is not busy, and returns the status that it then has."""
        for _ in range(limit):
            status = await self.read(STATUS)
            if not status & BUSY:
                return status
        raise AssertionError(f"channel stays busy, status {status:#x}")

    async def stop(self):
        self.write(CONTROL_CLEAR, RUN)
        return await self.idle()
