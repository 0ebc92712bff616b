# SPDX-License-Identifier: Apache-2.0
"""The virtio_net example, driven by a model of a driver (VIRTIO 1.2, 2.7, 3.1, 4.1 and 5.1)."""

import collections
import functools
import struct

import common
from common import clocks, random_bytes, start_clock
from standin import INTX, MSIX, Host

test = functools.partial(common.test, timeout_time=20)

BASE, SIZE = 0x7_1234_0000, 4 << 20
# Common configuration.
DEV_SEL, DEV_FEAT, DRV_SEL, DRV_FEAT, CFG_VEC, NUM_QUEUES, STATUS, GENERATION = (
    0x00, 0x04, 0x08, 0x0C, 0x10, 0x12, 0x14, 0x15)
Q_SEL, Q_SIZE, Q_VEC, Q_ENABLE, Q_NOTIFY, Q_DESC, Q_DRIVER, Q_DEVICE = (
    0x16, 0x18, 0x1A, 0x1C, 0x1E, 0x20, 0x28, 0x30)
ISR, CONFIG, NOTIFY = 0x1000, 0x2000, 0x3000
ACK, DRIVER, DRIVER_OK, FEATURES_OK, NEEDS_RESET = 1, 2, 4, 8, 64
NEXT, WRITE, INDIRECT = 1, 2, 4
NO_VECTOR = 0xFFFF
MAC = 0x525400AB12CD
OFFERED = 1 << 5 | 1 << 16 | 1 << 32 | 1 << 33 | 1 << 36
HEADER = 12


class Queue:
    """The driver's side of a split virtqueue."""

    def __init__(self, card, number, size, desc, driver, device):
        self.host, self.number, self.size = card.host, number, size
        self.desc, self.driver, self.device = desc, driver, device
        self.free = list(range(size))
        card.host.random.shuffle(self.free)
        self.avail = self.seen = 0
        self.chains = {}
        self.put(driver, bytes(6 + 2 * size))
        self.put(device, bytes(6 + 8 * size))

    def put(self, addr, data):
        self.host.write_memory(addr, data)

    def put_desc(self, index, addr, length, flags, follow):
        self.put(self.desc + 16 * index, struct.pack("<QIHH", addr, length, flags, follow))

    def show(self, head):
        """Makes a head available; the doorbell comes by kick()."""
        self.put(self.driver + 4 + 2 * (self.avail % self.size), struct.pack("<H", head))
        self.avail = (self.avail + 1) & 0xFFFF
        self.put(self.driver + 2, struct.pack("<H", self.avail))

    def add(self, parts, cookie=None, flags=None):
        """A chain of (address, length); returns its head."""
        flags = (WRITE if self.number == 0 else 0) if flags is None else flags
        indices = [self.free.pop() for _ in parts]
        for n, (addr, length) in enumerate(parts):
            last = n == len(parts) - 1
            self.put_desc(indices[n], addr, length, flags | (0 if last else NEXT),
                          # What follows no chain is nobody's business.
                          0xDEAD if last else indices[n + 1])
        self.chains[indices[0]] = (indices, parts, cookie)
        self.show(indices[0])
        return indices[0]

    def kick(self):
        self.host.push_write(NOTIFY + 4 * self.number, 2, self.number)

    def no_interrupt(self, flag):
        self.put(self.driver, struct.pack("<H", int(flag)))

    def used_index(self):
        return struct.unpack("<H", self.host.read_memory(self.device + 2, 2))[0]

    def collect(self):
        """Chains that the device has finished: (parts, cookie, bytes written)."""
        done = []
        while self.seen != self.used_index():
            head, length = struct.unpack("<II", self.host.read_memory(
                self.device + 4 + 8 * (self.seen % self.size), 8))
            indices, parts, cookie = self.chains.pop(head)
            self.free += indices
            self.host.random.shuffle(self.free)
            self.seen = (self.seen + 1) & 0xFFFF
            done.append((parts, cookie, length))
        return done


class Card:
    """The driver, and the memory that it has."""

    def __init__(self, dut, host):
        self.dut, self.host = dut, host
        self.next = BASE + 0x40000

    def memory(self, length, align=1):
        """Buffers in turn; nobody holds one long enough to see it again."""
        self.next += self.host.random.randrange(0, 40)
        self.next = -(-self.next // align) * align
        if self.next + length > BASE + SIZE:
            self.next = BASE + 0x40000
        addr = self.next
        self.next += length
        return addr

    async def features(self):
        value = 0
        for word in range(2):
            self.host.push_write(DEV_SEL, 4, word)
            value |= await self.host.read(DEV_FEAT, 4) << 32 * word
        return value

    async def reset(self):
        self.host.push_write(STATUS, 1, 0)
        while await self.host.read(STATUS, 1):
            pass

    async def negotiate(self, features=OFFERED):
        host = self.host
        await self.reset()
        host.push_write(STATUS, 1, ACK)
        host.push_write(STATUS, 1, ACK | DRIVER)
        for word in range(2):
            host.push_write(DRV_SEL, 4, word)
            host.push_write(DRV_FEAT, 4, features >> 32 * word & 0xFFFFFFFF)
        host.push_write(STATUS, 1, ACK | DRIVER | FEATURES_OK)
        return await host.read(STATUS, 1) & FEATURES_OK != 0

    def place(self, number, size):
        """Parts of a queue, anywhere that their alignment allows, at ends of pages above all."""
        rng = self.host.random
        at = BASE + 0x10000 * number
        desc = at + 16 * rng.randrange(16)
        driver = at + 0x4000 + 0x1000 * rng.randrange(2) - 2 * rng.randrange(2 * size)
        device = at + 0x8000 - 4 * rng.randrange(2 * size)
        return Queue(self, number, size, desc, driver, device)

    def configure(self, queue, vector):
        push = self.host.push_write
        push(Q_SEL, 2, queue.number)
        push(Q_SIZE, 2, queue.size)
        push(Q_VEC, 2, vector)
        push(Q_DESC, 8, queue.desc)
        push(Q_DRIVER, 4, queue.driver & 0xFFFFFFFF)
        push(Q_DRIVER + 4, 4, queue.driver >> 32)
        push(Q_DEVICE, 8, queue.device)
        push(Q_ENABLE, 2, 1)

    async def start(self, size=256, vectors=(0, 1, 2)):
        assert await self.negotiate()
        self.rx, self.tx = self.place(0, size), self.place(1, size)
        self.host.push_write(CFG_VEC, 2, vectors[0])
        self.configure(self.rx, vectors[1])
        self.configure(self.tx, vectors[2])
        await self.host.write(STATUS, 1, ACK | DRIVER | FEATURES_OK | DRIVER_OK)

    def split(self, length, most):
        """Lengths of up to `most` parts."""
        rng = self.host.random
        cuts = sorted(rng.sample(range(1, length), min(rng.randrange(most), length - 1)))
        return [b - a for a, b in zip([0, *cuts], [*cuts, length], strict=True)]

    def give(self, length=1526, most=1):
        """A receive buffer."""
        return self.rx.add([(self.memory(n), n) for n in self.split(length, most)])

    def send(self, frame, most=1):
        """A transmit chain, header in front."""
        data, parts = bytes(HEADER) + frame, []
        for n in self.split(len(data), most):
            parts.append((self.memory(n), n))
            self.host.write_memory(parts[-1][0], data[:n])
            data = data[n:]
        return self.tx.add(parts, frame)

    def received(self):
        """Frames in the buffers that came back."""
        frames = []
        for parts, _, length in self.rx.collect():
            data = b"".join(self.host.read_memory(*part) for part in parts)
            assert HEADER <= length <= len(data)
            assert data[:HEADER] == bytes(10) + b"\1\0"
            frames.append(data[HEADER:length])
        return frames

    async def needs_reset(self):
        """The device says that it was given something wrong, and then does nothing more."""
        host = self.host
        before = len(host.find(MSIX, 0))
        for _ in range(2000):
            if await host.read(STATUS, 1) & NEEDS_RESET:
                break
        else:
            raise AssertionError("the device does not ask for a reset")
        await host.until(lambda: len(host.find(MSIX, 0)) > before, text="its interrupt")
        await host.quiet()

    async def works(self):
        """One frame each way."""
        down, up = random_bytes(300), random_bytes(301)
        self.give()
        self.rx.kick()
        self.host.nic_push(down)
        self.send(up)
        self.tx.kick()
        got = []
        await self.host.until(lambda: got.extend(self.received()) or got, text="the frame")
        assert got == [down]
        await self.host.until(lambda: self.host.nic_counts().sent, text="the frame sent")
        assert self.host.nic_take() == up
        await self.host.until(self.tx.collect, text="the chain")


async def start(dut, link=True, **settings):
    await start_clock(dut)
    host = Host(dut.aclk, base=BASE, size=SIZE, **settings)
    host.nic_link(link, MAC if link else 0)
    await host.connect(dut.user_resetn)
    await clocks(dut, 10)
    return host, Card(dut, host)


@test()
async def identity(dut):
    host, card = await start(dut)
    config = host.config()
    assert list(config.ids) == [0x1AF4, 0x1041, 0x1AF4, 0x1100, 0x020000, 1]
    caps = {}
    for cap_id, place, body in config.capabilities():
        assert cap_id == 9
        assert place == 0
        length, kind, bar, _, _, offset, size = struct.unpack_from("<BBBBHII", body)
        assert length == len(body) + 2
        assert bar == 0
        assert offset + size <= config.bar_size[0]
        caps[kind] = (offset, size, body[14:])
    assert caps == {1: (0, 0x1000, b""), 2: (0x3000, 0x1000, b"\4\0\0\0"),
                    3: (0x1000, 0x1000, b""), 4: (0x2000, 0x1000, b"")}
    assert await card.features() == OFFERED
    host.push_write(DEV_SEL, 4, 2)
    assert await host.read(DEV_FEAT, 4) == 0
    assert await host.read(NUM_QUEUES, 2) == 2
    assert await host.read(CONFIG, 8) == int.from_bytes(
        MAC.to_bytes(6, "big") + b"\1\0", "little")
    for n in range(6):
        assert await host.read(CONFIG + n, 1) == MAC.to_bytes(6, "big")[n]
    host.check()


@test()
async def negotiation_and_registers(dut):
    host, card = await start(dut)
    assert await card.negotiate(1 << 32)
    assert await card.negotiate(OFFERED)
    assert not await card.negotiate(OFFERED & ~(1 << 32)), "VERSION_1 is needed"
    assert not await card.negotiate(OFFERED | 1 << 28), "indirect is not offered"
    assert await card.negotiate()
    for word, value in ((0, OFFERED & 0xFFFFFFFF), (1, OFFERED >> 32)):
        host.push_write(DRV_SEL, 4, word)
        assert await host.read(DRV_FEAT, 4) == value
    for number in range(2):
        host.push_write(Q_SEL, 2, number)
        assert await host.read(Q_SIZE, 2) == 256
        assert await host.read(Q_NOTIFY, 2) == number
        assert await host.read(Q_VEC, 2) == NO_VECTOR
        for vector, want in ((2, 2), (3, NO_VECTOR), (0, 0), (NO_VECTOR, NO_VECTOR)):
            host.push_write(Q_VEC, 2, vector)
            assert await host.read(Q_VEC, 2) == want
        for size, want in ((128, 128), (100, 128), (0, 128), (512, 128), (1, 1)):
            host.push_write(Q_SIZE, 2, size)
            assert await host.read(Q_SIZE, 2) == want
        for addr, mask in ((Q_DESC, 15), (Q_DRIVER, 1), (Q_DEVICE, 3)):
            value = host.random.getrandbits(64)
            host.push_write(addr, 8, value)
            assert await host.read(addr, 8) == value & ~mask
        host.push_write(Q_ENABLE, 2, 1)
        host.push_write(Q_DESC, 8, 0)
        assert await host.read(Q_DESC, 8) != 0, "fixed once enabled"
        assert await host.read(Q_ENABLE, 2) == 1
    host.push_write(Q_SEL, 2, 2)
    assert await host.read(Q_SIZE, 2) == 0
    await card.reset()
    assert await host.read(CFG_VEC, 2) == NO_VECTOR
    host.push_write(Q_SEL, 2, 1)
    assert await host.read(Q_ENABLE, 2) == 0
    assert await host.read(Q_SIZE, 2) == 256
    assert await host.read(Q_DESC, 8) == 0
    host.check()


async def traffic(dut, frames, size, most, longest=1514, **settings):
    """Random frames both ways at once, against a model of both ends."""
    host, card = await start(dut, **settings)
    rng = host.random
    await card.start(size)
    down = [random_bytes(rng.choice((60, 61, 1514, longest, rng.randrange(60, longest + 1))))
            for _ in range(frames)]
    up = [random_bytes(rng.choice((14, 60, 1514, longest, rng.randrange(14, longest + 1))))
          for _ in range(frames)]
    for frame in down:
        host.nic_push(frame)
    queued = collections.deque(up)
    received, sent, returned = [], [], []
    room = longest + HEADER
    for _ in range(400000):
        received += card.received()
        while (frame := host.nic_take()) is not None:
            sent.append(frame)
        for _, frame, length in card.tx.collect():
            assert length == 0
            returned.append(frame)
        if len(received) == len(sent) == len(returned) == frames:
            break
        kick = False
        while len(card.rx.free) >= most and rng.random() < 0.9:
            card.give(room + rng.randrange(200), most)
            kick = True
        if kick:
            card.rx.kick()
        kick = False
        while queued and len(card.tx.free) >= most and rng.random() < 0.9:
            card.send(queued.popleft(), most)
            kick = True
        if kick:
            card.tx.kick()
        await clocks(dut, rng.randrange(1, 60))
    assert received == down
    assert sent == up
    assert returned == up
    assert await host.read(STATUS, 1) == ACK | DRIVER | FEATURES_OK | DRIVER_OK
    await host.quiet()
    assert {r.tag for r in host.find(MSIX)} == {1, 2}
    host.check()


@test()
async def single_buffers(dut):
    await traffic(dut, 150, 256, 1, delay_max=40, late_writes=1)


@test()
async def chains(dut):
    await traffic(dut, 80, 64, 9, delay_max=100, reorder=1)


@test()
async def tiny_rings(dut):
    """Every wrap of every index."""
    await traffic(dut, 120, 2, 2, delay_max=10, nic_room_percent=50, nic_wait_percent=50)
    await traffic(dut, 40, 1, 1)


@test()
async def long_frames_and_a_busy_host(dut):
    await traffic(dut, 25, 32, 12, longest=9216, delay_max=200, again_percent=30,
                  nic_room_percent=5, nic_limit=2)


@test()
async def interrupts_as_the_driver_wants_them(dut):
    host, card = await start(dut)
    await card.start()
    await card.works()
    await clocks(dut, 500)
    assert sorted(r.tag for r in host.find(MSIX)) == [1, 2]
    card.rx.no_interrupt(True)
    card.tx.no_interrupt(True)
    await card.works()
    await clocks(dut, 500)
    assert len(host.find(MSIX)) == 2
    card.rx.no_interrupt(False)
    await card.works()
    await clocks(dut, 500)
    assert [r.tag for r in host.find(MSIX)][2:] == [1]
    assert not host.find(INTX)
    # Without a vector the cause is in the ISR status, which reading clears, and the pin tells it.
    await card.start(vectors=(NO_VECTOR,) * 3)
    for n in range(2):
        await card.works()
        await clocks(dut, 500)
        assert len(host.find(MSIX)) == 3
        assert [r.tag for r in host.find(INTX)] == [1, 0] * n + [1]
        assert await host.read(ISR, 1) == 1
        assert await host.read(ISR, 1) == 0
    assert [r.tag for r in host.find(INTX)] == [1, 0] * 2
    host.check()


@test()
async def an_interrupt_for_what_is_seen_late(dut):
    """The device looks at the flags after the used index can be seen: a driver that enables
    interrupts and then looks at the index misses nothing."""
    host, card = await start(dut, delay_min=50, delay_max=400, late_writes=1)
    await card.start()
    for _ in range(25):
        before = len(host.find(MSIX, 2))
        card.tx.no_interrupt(True)
        card.send(random_bytes(60))
        card.tx.kick()
        await clocks(dut, host.random.randrange(1, 2500))
        card.tx.no_interrupt(False)
        if not card.tx.collect():
            await host.until(lambda: len(host.find(MSIX, 2)) > before, text="the interrupt")
            assert card.tx.collect()
        else:
            await host.quiet()
    host.check()


@test()
async def link_and_address(dut):
    host, card = await start(dut, link=False)
    assert await card.features() == OFFERED & ~(1 << 5), "no address yet"
    assert await host.read(CONFIG + 6, 2) == 0
    await card.start()
    generation = await host.read(GENERATION, 1)
    host.nic_link(True, MAC)
    await host.until(lambda: host.find(MSIX, 0), text="the interrupt")
    assert await host.read(CONFIG + 6, 2) == 1
    assert await host.read(GENERATION, 1) != generation
    host.nic_link(False, MAC)
    await host.until(lambda: len(host.find(MSIX, 0)) == 2, text="the interrupt")
    assert await host.read(CONFIG + 6, 2) == 0
    await card.works()
    host.check()


@test()
async def frames_while_down_are_dropped(dut):
    host, card = await start(dut)
    for n in range(5):
        host.nic_push(random_bytes(60 + 300 * n))
    await host.until(lambda: not host.nic_counts().waiting)
    await clocks(dut, 200)
    await card.start()
    await card.works()
    host.check()


@test()
async def frames_wait_for_buffers(dut):
    host, card = await start(dut)
    await card.start()
    frames = [random_bytes(1514) for _ in range(40)]
    for frame in frames:
        host.nic_push(frame)
    await clocks(dut, 8000)
    # What the FIFO holds, and no more.
    assert 20 < host.nic_counts().waiting < 40
    for _ in frames:
        card.give()
    card.rx.kick()
    got = []
    await host.until(lambda: got.extend(card.received()) or len(got) == 40, text="40 frames")
    assert got == frames
    host.check()


@test()
async def frames_that_do_not_fit(dut):
    """They are dropped, and the chain serves the next one."""
    host, card = await start(dut, delay_max=50)
    await card.start()
    for most in (1, 4):
        fit = [random_bytes(n) for n in (100, 188, 60)]
        for frame in (fit[0], random_bytes(189), fit[1], random_bytes(9216), random_bytes(500),
                      fit[2]):
            host.nic_push(frame)
        for _ in range(3):
            card.give(200, most)
        card.rx.kick()
        got = []
        await host.until(lambda: got.extend(card.received()) or len(got) == 3, text="3 frames")
        assert got == fit
        await host.quiet()
    await card.works()
    host.check()


@test()
async def frames_that_are_no_frames(dut):
    """Too long or too short to be sent: the chain comes back, nothing goes out."""
    host, card = await start(dut)
    await card.start()
    good = random_bytes(9216)
    card.send(random_bytes(13))
    card.send(good, 5)
    card.send(random_bytes(9217), 5)
    card.send(random_bytes(9217))
    card.tx.add([(BASE, 0xFFFFFFFF), (BASE, 0xFFFFFFFF), (BASE, 1)])
    card.tx.add([(BASE, HEADER)])
    card.send(last := random_bytes(14))
    card.tx.kick()
    done = []
    await host.until(lambda: done.extend(card.tx.collect()) or len(done) == 7, text="7 chains")
    await host.until(lambda: host.nic_counts().sent == 2, text="two frames")
    assert [host.nic_take(), host.nic_take()] == [good, last]
    await card.works()
    host.check()


def bad_next(card, queue):
    head = queue.add([(card.memory(64), 64)])
    queue.put_desc(head, card.memory(64), 64, NEXT | (WRITE if queue is card.rx else 0), 256)


def bad_head(card, queue):
    queue.show(256)


def bad_length(card, queue):
    queue.add([(card.memory(64), 64), (card.memory(64), 0)])


def bad_direction(card, queue):
    queue.add([(card.memory(64), 64)], flags=0 if queue is card.rx else WRITE)


def bad_indirect(card, queue):
    queue.add([(card.memory(64), 64)], flags=INDIRECT | (WRITE if queue is card.rx else 0))


def bad_loop(card, queue):
    flags = NEXT | (WRITE if queue is card.rx else 0)
    for index in range(3):
        queue.put_desc(index, card.memory(64), 1, flags, (index + 1) % 3)
    queue.show(0)


def bad_index(card, queue):
    queue.put(queue.driver + 2, struct.pack("<H", (queue.avail + 257) & 0xFFFF))


def bad_address(card, queue):
    queue.add([(BASE + SIZE, 1526)])


def bad_header(card, queue):
    queue.add([(card.memory(11), 11)])


async def refused(dut, what, number):
    host, card = await start(dut, delay_max=20)
    await card.start()
    await card.works()
    queue = (card.rx, card.tx)[number]
    what(card, queue)
    queue.kick()
    if number == 0:
        for _ in range(4):
            host.nic_push(random_bytes(400))
    await card.needs_reset()
    # Nothing more happens, whatever comes.
    seen = card.rx.used_index(), card.tx.used_index()
    card.rx.kick()
    card.tx.kick()
    host.nic_push(random_bytes(100))
    await clocks(dut, 1000)
    assert (card.rx.used_index(), card.tx.used_index()) == seen
    await card.start()
    await card.works()
    host.check()


def refuse(what, numbers=(0, 1)):
    for number in numbers:
        async def case(dut, what=what, number=number):
            await refused(dut, what, number)

        name = f"{what.__name__}_{('receive', 'transmit')[number]}"
        case.__name__ = case.__qualname__ = name
        globals()[name] = test(name=name)(case)


for _what in (bad_next, bad_head, bad_length, bad_direction, bad_indirect, bad_loop, bad_index,
              bad_address):
    refuse(_what)
refuse(bad_header, (1,))


@test()
async def dma_faults(dut):
    """Every part of a queue may be refused."""
    host, card = await start(dut)
    for pick in (lambda: (card.tx.driver + 2, 2), lambda: (card.tx.driver + 4, 2),
                 lambda: (card.tx.desc, 4096), lambda: (card.tx.device + 2, 2),
                 lambda: (card.rx.device + 4, 8)):
        host.fault(0, 0)
        await card.start()
        begin, length = pick()
        host.fault(begin, begin + length)
        card.give()
        card.rx.kick()
        card.send(random_bytes(100))
        card.tx.kick()
        host.nic_push(random_bytes(100))
        await card.needs_reset()
    host.fault(0, 0)
    await clocks(dut, 500)
    while host.nic_take():
        pass
    await card.start()
    await card.works()
    host.check()


async def interrupted(dut, stop):
    """Traffic both ways, ended at any time; then a new start."""
    host, card = await start(dut, delay_max=60, nic_room_percent=60)
    for wait in range(20, 2000, 97):
        await card.start(64)
        for n in range(12):
            card.give(3000, 3)
            card.send(random_bytes(60 + 100 * n), 3)
            host.nic_push(random_bytes(60 + 150 * n))
        card.rx.kick()
        card.tx.kick()
        await clocks(dut, wait)
        await stop(host, card)
        await host.quiet()
        while host.nic_take():
            pass
        # Quiet means quiet: memory is the driver's again.
        before = host.read_memory(BASE, SIZE)
        await clocks(dut, 300)
        assert host.read_memory(BASE, SIZE) == before
        while host.nic_take():
            pass
    await host.until(lambda: not host.nic_counts().waiting)
    await clocks(dut, 3000)
    while host.nic_take():
        pass
    await card.start()
    await card.works()
    host.check()


@test()
async def device_reset_at_any_time(dut):
    async def stop(_, card):
        await card.reset()
    await interrupted(dut, stop)


@test()
async def a_reset_is_over_when_dma_is(dut):
    """Status reads 0 only when the host has answered every write: the answer to one of a driver
    that is gone would be taken for one of the next."""
    host, card = await start(dut, delay_min=400, delay_max=600)
    busy = 0
    for wait in range(1000, 4000, 83):
        await card.start(64)
        for _ in range(4):
            card.give(3 * 3000, 3)
            host.nic_push(random_bytes(3000))
        card.rx.kick()
        await clocks(dut, wait)
        busy += host.outstanding()[0] != 0
        await card.reset()
        assert host.outstanding()[0] == 0, f"DMA is under way after a reset, {wait} clocks on"
        await clocks(dut, 2000)
    assert busy, "no reset came while DMA was under way"
    await host.quiet()
    host.check()


@test()
async def function_reset_at_any_time(dut):
    async def stop(host, card):
        host.push_reset()
        assert await host.read(STATUS, 1) == 0
    await interrupted(dut, stop)


@test()
async def the_host_goes_and_comes(dut):
    async def stop(host, card):
        host.push_link(False)
        await clocks(card.dut, 200)
        await host.connect(card.dut.user_resetn)
    await interrupted(dut, stop)
