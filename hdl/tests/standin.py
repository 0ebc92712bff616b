# SPDX-License-Identifier: Apache-2.0
"""The Python side of standin.cpp: QEMU, the guest and host memory as a test sees them."""

import collections
import ctypes
import random

from cocotb.triggers import RisingEdge

READ_DONE, WRITE_DONE, DMA_READ, DMA_WRITE, MSIX, INTX, RESET_DONE, CLOSE, DELIVERED = range(1, 10)

NAMES = dict(enumerate(
    ("read_done", "write_done", "dma_read", "dma_write", "msix", "intx", "reset_done", "close",
     "delivered"), 1))


class Record(ctypes.Structure):
    _fields_ = [("what", ctypes.c_int), ("tag", ctypes.c_int), ("status", ctypes.c_int),
                ("bytes", ctypes.c_int), ("value", ctypes.c_uint64), ("poll", ctypes.c_uint64)]

    def __repr__(self):
        return (f"<{NAMES[self.what]} tag={self.tag} status={self.status} bytes={self.bytes} "
                f"value={self.value:#x} poll={self.poll}>")


class Config(ctypes.Structure):
    _fields_ = [("ids", ctypes.c_int * 6), ("bar_size", ctypes.c_uint64 * 6),
                ("bar_base", ctypes.c_uint64 * 6), ("bar_flags", ctypes.c_int * 6),
                ("msix", ctypes.c_int * 5), ("msi", ctypes.c_int * 2), ("link", ctypes.c_int * 2),
                ("intx_pin", ctypes.c_int), ("clock_ps", ctypes.c_int),
                ("started", ctypes.c_int), ("msix_in_rtl", ctypes.c_int), ("caps", ctypes.c_int),
                ("cap_head", ctypes.c_int * 3 * 8), ("cap_body", ctypes.c_ubyte * 64 * 8)]

    def capabilities(self):
        """Id, place and body of each, as the bridge gave them."""
        return [(head[0], head[1], bytes(body[:head[2]]))
                for head, body in zip(self.cap_head[:self.caps], self.cap_body, strict=False)]

    def config_space(self):
        """What a reader of config space finds: the bytes of each capability with a place."""
        space = bytearray(256)
        for cap_id, place, body in self.capabilities():
            if place:
                space[place] = cap_id
                space[place + 2:place + 2 + len(body)] = body
        return bytes(space)


_lib = ctypes.CDLL(None)
_lib.si_new.argtypes = [ctypes.c_uint64] * 3
_lib.si_set.argtypes = [ctypes.c_char_p, ctypes.c_int64]
_lib.si_fault.argtypes = [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int, ctypes.c_int,
                          ctypes.c_int]
_lib.si_push_mmio.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_int,
                              ctypes.c_uint64]
_lib.si_push_function.argtypes = [ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_uint64)]
_lib.si_memory_write.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64]
_lib.si_memory_read.argtypes = [ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint64]
_lib.si_log_next.argtypes = [ctypes.POINTER(Record)]
_lib.si_get_config.argtypes = [ctypes.POINTER(Config)]
_lib.si_violations.restype = ctypes.c_char_p
_lib.si_outstanding.argtypes = [ctypes.POINTER(ctypes.c_int)]
_lib.si_nic_push.argtypes = [ctypes.c_char_p, ctypes.c_int]
_lib.si_nic_take.argtypes = [ctypes.c_char_p, ctypes.c_int]
_lib.si_nic_link.argtypes = [ctypes.c_int, ctypes.c_uint64]
_lib.si_nic_counts.argtypes = [ctypes.POINTER(ctypes.c_int64)]
_lib.si_uart_push.argtypes = [ctypes.c_char_p, ctypes.c_int]
_lib.si_uart_take.argtypes = [ctypes.c_char_p, ctypes.c_int]

NicCounts = collections.namedtuple("NicCounts", "waiting sent rtl_link aborts polls")


class Host:
    """QEMU and guest. One for each test; the bridge under test stays."""

    def __init__(self, clock, *, base=0, size=1 << 20, seed=None, **settings):
        self.clock = clock
        self.base = base
        self.size = size
        self.random = random.Random(seed)
        self.log = []
        self._index = collections.defaultdict(list)
        _lib.si_new(self.random.getrandbits(63), base, size)
        self.set(**settings)

    def set(self, **settings):
        for name, value in settings.items():
            _lib.si_set(name.encode(), value)

    def fault(self, begin, end, status=2, skip=0, kinds=3):
        """Requests that touch [begin, end) fail, after `skip` that do not. 1 reads, 2 writes."""
        _lib.si_fault(begin, end, status, skip, kinds)

    def config(self):
        config = Config()
        _lib.si_get_config(config)
        return config

    def write_memory(self, addr, data):
        assert self.base <= addr
        assert addr + len(data) <= self.base + self.size
        _lib.si_memory_write(addr, bytes(data), len(data))

    def read_memory(self, addr, length):
        assert self.base <= addr
        assert addr + length <= self.base + self.size
        data = ctypes.create_string_buffer(length)
        _lib.si_memory_read(addr, data, length)
        return data.raw

    def push_read(self, addr, length, bar=0):
        return _lib.si_push_mmio(0, bar, addr, length, 0)

    def push_write(self, addr, length, data, bar=0):
        return _lib.si_push_mmio(1, bar, addr, length, data)

    def push_reset(self, kind=1):
        _lib.si_push_reset(kind)

    def push_function(self, flags, power=0, max_payload=128, max_read_request=512,
                      requester_id=0, link_speed=1, link_width=1, msi_vectors=1, msi_mask=0,
                      bars=None):
        """What the guest has set in config space, as acc_get_function and acc_get_msi have it, and
        where it has put BARs."""
        values = (ctypes.c_int * 9)(flags, power, max_payload, max_read_request, requester_id,
                                    link_speed, link_width, msi_vectors, msi_mask)
        addresses = (ctypes.c_uint64 * 6)(*((bars or {}).get(bar, (1 << 64) - 1)
                                            for bar in range(6)))
        _lib.si_push_function(values, addresses)

    def push_link(self, up):
        _lib.si_push_link(int(up))

    def nic_push(self, frame):
        """A frame that the netdev has for RTL."""
        _lib.si_nic_push(bytes(frame), len(frame))

    def nic_take(self):
        """The next frame that RTL sent, or None."""
        data = ctypes.create_string_buffer(16384)
        length = _lib.si_nic_take(data, 16384)
        return None if length < 0 else data.raw[:length]

    def nic_link(self, up, mac=0):
        _lib.si_nic_link(int(up), mac)

    def nic_counts(self):
        counts = (ctypes.c_int64 * 5)()
        _lib.si_nic_counts(counts)
        return NicCounts(*counts)

    def uart_push(self, data):
        _lib.si_uart_push(bytes(data), len(data))

    def uart_take(self, most=1 << 16):
        data = ctypes.create_string_buffer(most)
        length = _lib.si_uart_take(data, most)
        return data.raw[:length]

    def uart_connect(self, connected):
        _lib.si_uart_connect(int(connected))

    def uart_waiting(self):
        return _lib.si_uart_waiting()

    def pull(self):
        """Takes what the bridge called since the last pull into self.log."""
        record = Record()
        while _lib.si_log_next(record):
            copy = Record()
            ctypes.pointer(copy)[0] = record
            self.log.append(copy)
            self._index[copy.what].append(copy)
            self._index[copy.what, copy.tag].append(copy)
        return self.log

    def find(self, what, tag=None):
        self.pull()
        return self._index[what if tag is None else (what, tag)]

    def outstanding(self):
        """DMA requests, MMIO writes, MMIO reads, events not yet delivered."""
        counts = (ctypes.c_int * 4)()
        _lib.si_outstanding(counts)
        return tuple(counts)

    def check(self):
        """Nothing was called that the interface does not allow."""
        text = _lib.si_violations().decode()
        assert not text, text

    async def until(self, condition, clocks=20000, text="the condition"):
        for _ in range(clocks):
            value = condition()
            if value:
                return value
            await RisingEdge(self.clock)
        raise AssertionError(f"{text} did not come in {clocks} clocks; outstanding (DMA, writes, "
                             f"reads, events): {self.outstanding()}; log ends with "
                             f"{self.pull()[-8:]}")

    async def quiet(self, clocks=20000):
        await self.until(lambda: self.outstanding() == (0, 0, 0, 0), clocks, "quiet")
        self.pull()

    async def read(self, addr, length, bar=0, status=0, clocks=20000):
        """What a guest gets that reads."""
        tag = self.push_read(addr, length, bar)
        (done,) = await self.until(lambda: self.find(READ_DONE, tag), clocks,
                                   f"the answer to a read of {length} bytes at {addr:#x}")
        assert done.status == status, f"read at {addr:#x}: status {done.status}, not {status}"
        assert length == 8 or done.value >> 8 * length == 0, f"more than asked for: {done}"
        return done.value

    async def write(self, addr, length, data, bar=0, status=0, clocks=20000):
        """A guest's write, to its response; a guest does not wait for that."""
        tag = self.push_write(addr, length, data, bar)
        (done,) = await self.until(lambda: self.find(WRITE_DONE, tag), clocks,
                                   f"the response to a write of {length} bytes at {addr:#x}")
        assert done.status == status, f"write at {addr:#x}: status {done.status}, not {status}"

    async def connect(self, user_resetn):
        """Brings the link up, from wherever the last test left it."""
        self.push_link(True)
        await self.until(lambda: self.outstanding()[3] == 0, text="link up")
        await RisingEdge(self.clock)
        await self.until(lambda: int(user_resetn.value) == 1, text="user_resetn")
