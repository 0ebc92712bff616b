# SPDX-License-Identifier: Apache-2.0
"""accelerator_nic_bridge against cocotbext-axi, which plays the RTL, and the stand-in, which plays
the host and its netdev."""

import functools

import common
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from common import PARAMETERS, clocks, pauses, random_bytes, start_clock
from standin import Host

WIDTH = PARAMETERS["DataWidth"]
BEAT = WIDTH // 8
# A frame of 9,216 bytes takes as many clocks on the narrowest bus.
test = functools.partial(common.test, timeout_time=20)

INPUTS = ("link_i", "s_axis_tdata", "s_axis_tkeep", "s_axis_tlast", "s_axis_tvalid",
          "m_axis_tready")


async def start(dut, stall=0, **settings):
    await start_clock(dut, INPUTS)
    host = Host(dut.aclk, **settings)
    dut.link_i.value = 1
    source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, dut.aresetn,
                             reset_active_level=False)
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, dut.aresetn,
                         reset_active_level=False)
    if stall:
        source.set_pause_generator(pauses(host.random.random(), stall))
        sink.set_pause_generator(pauses(host.random.random(), stall))
    await clocks(dut, 3)
    return host, source, sink


def lengths(host, many):
    """The ends of the range, the ends of beats around the usual lengths, and random ones."""
    if BEAT < 8:
        many //= 3
    values = [60, 61, 63, 64, 65, 127, 128, 1514, 9215, 9216]
    values += [60 + n for n in range(0, BEAT + 1, max(1, BEAT // 8))]
    values += [host.random.randrange(60, 1515) for _ in range(many)]
    values += [host.random.randrange(1515, 9217) for _ in range(many // 20)]
    host.random.shuffle(values)
    return values


async def drained(host, count, limit=600000):
    """What RTL sent, once it is `count` frames."""
    await host.until(lambda: host.nic_counts().sent >= count, limit, f"frame {count} at the host")
    return [host.nic_take() for _ in range(count)]


async def both_ways(dut, many, stall, **settings):
    host, source, sink = await start(dut, stall, **settings)
    down = [random_bytes(n) for n in lengths(host, many)]
    up = [random_bytes(n) for n in lengths(host, many)]
    for frame in down:
        host.nic_push(frame)
    for frame in up:
        source.send_nowait(AxiStreamFrame(frame))
    for frame in down:
        assert bytes((await sink.recv()).tdata) == frame
    assert await drained(host, len(up)) == up
    await clocks(dut, 50)
    assert sink.empty()
    assert host.nic_take() is None
    host.check()


@test()
async def frames_without_stalls(dut):
    await both_ways(dut, 24, 0)


@test()
async def frames_with_random_stalls(dut):
    await both_ways(dut, 24, 40)


@test()
async def frames_with_a_slow_host(dut):
    await both_ways(dut, 10, 20, nic_room_percent=10, nic_wait_percent=10)


@test()
async def one_beat_per_clock(dut):
    """Both ways at once, without a clock lost between beats or frames."""
    host, source, sink = await start(dut)
    frames = [random_bytes(64 * 8) for _ in range(8)]
    beats = sum(-(-len(f) // BEAT) for f in frames)
    for frame in frames:
        host.nic_push(frame)
        source.send_nowait(AxiStreamFrame(frame))
    first = {"m": None, "s": None}
    count = {"m": 0, "s": 0}
    last = {}
    for clock in range(2 * beats + 100):
        await RisingEdge(dut.aclk)
        for side in "ms":
            if (int(getattr(dut, f"{side}_axis_tvalid").value) and
                    int(getattr(dut, f"{side}_axis_tready").value)):
                first[side] = clock if first[side] is None else first[side]
                last[side] = clock
                count[side] += 1
    assert count == {"m": beats, "s": beats}
    assert last["m"] - first["m"] == beats - 1
    # The source takes a clock between frames.
    assert last["s"] - first["s"] <= beats - 1 + len(frames)
    assert [bytes((await sink.recv()).tdata) for _ in frames] == frames
    assert await drained(host, len(frames)) == frames
    host.check()


@test()
async def nothing_is_sent_without_room(dut):
    host, source, _ = await start(dut, nic_limit=3)
    frames = [random_bytes(100 + n) for n in range(6)]
    for frame in frames:
        source.send_nowait(AxiStreamFrame(frame))
    await clocks(dut, 8 * 106 // BEAT + 300)
    assert host.nic_counts().sent == 3
    assert int(dut.s_axis_tvalid.value)
    assert not int(dut.s_axis_tready.value)
    assert [host.nic_take() for _ in range(3)] == frames[:3]
    assert await drained(host, 3) == frames[3:]
    host.check()


@test()
async def a_stopped_sink_loses_nothing(dut):
    host, _, sink = await start(dut)
    sink.pause = True
    await clocks(dut, 3)
    frames = [random_bytes(60 + n) for n in range(5)]
    for frame in frames:
        host.nic_push(frame)
    await clocks(dut, 500)
    # At most the first frame is under way.
    assert host.nic_counts().waiting >= 4
    sink.pause = False
    assert [bytes((await sink.recv()).tdata) for _ in frames] == frames
    host.check()


@test()
async def keep_and_last(dut):
    """Every length of a last beat, on the bare signals."""
    host, _, sink = await start(dut)
    sink.pause = True
    await clocks(dut, 2)
    for length in range(60, 61 + min(BEAT, 64)):
        frame = random_bytes(length)
        host.nic_push(frame)
        got, beats = b"", 0
        sink.pause = False
        while True:
            await RisingEdge(dut.aclk)
            if not (int(dut.m_axis_tvalid.value) and int(dut.m_axis_tready.value)):
                continue
            keep = int(dut.m_axis_tkeep.value)
            bytes_ = keep.bit_count()
            assert keep == (1 << bytes_) - 1
            got += int(dut.m_axis_tdata.value).to_bytes(BEAT, "little")[:bytes_]
            beats += 1
            if int(dut.m_axis_tlast.value):
                break
            assert bytes_ == BEAT
        assert got == frame
        assert beats == -(-length // BEAT)
        assert bytes((await sink.recv()).tdata) == frame
    host.check()


@test()
async def link_and_address(dut):
    host, _, _ = await start(dut)
    assert not int(dut.link_up.value)
    assert int(dut.mac.value) == 0
    host.nic_link(True, 0x525400123456)
    await clocks(dut, 3)
    assert int(dut.link_up.value)
    assert int(dut.mac.value) == 0x525400123456
    dut.aresetn.value = 0
    await clocks(dut, 3)
    assert int(dut.link_up.value)
    assert int(dut.mac.value) == 0x525400123456
    dut.aresetn.value = 1
    host.nic_link(False, 0x525400123457)
    await clocks(dut, 3)
    assert not int(dut.link_up.value)
    assert int(dut.mac.value) == 0x525400123457
    for up in (0, 1, 0, 1):
        dut.link_i.value = up
        await clocks(dut, 3)
        assert host.nic_counts().rtl_link == up
    before = host.nic_counts().polls
    await clocks(dut, 100)
    assert host.nic_counts().polls - before == 100
    host.check()


@test()
async def reset_at_any_time(dut):
    """Half a frame each way is dropped as a whole; what follows is intact."""
    host, source, sink = await start(dut)
    aborts = 0
    # Never so late that the first frame is over.
    for wait in range(1, min(60, 3000 // BEAT - 8), 7):
        host.nic_push(random_bytes(3000))
        host.nic_push(follower := random_bytes(200))
        source.send_nowait(AxiStreamFrame(random_bytes(3000)))
        await clocks(dut, wait)
        dut.aresetn.value = 0
        await clocks(dut, 4)
        source.clear()
        sink.clear()
        dut.aresetn.value = 1
        await clocks(dut, 2)
        while host.nic_counts().waiting or sink.count() < 1:
            await RisingEdge(dut.aclk)
        frames = []
        while not sink.empty():
            frames.append(bytes((await sink.recv()).tdata))
        assert frames[-1] == follower
        source.send_nowait(AxiStreamFrame(follower))
        got = await drained(host, host.nic_counts().sent + 1)
        assert got[-1] == follower
        aborts += 1
    assert 0 < host.nic_counts().aborts <= aborts
    host.check()
