// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a session is for: accesses, DMA, interrupts, resets, and their order.

use std::time::Duration;

use accelerator_peers::{guest::Activity, PATIENCE};
use accelerator_protocol::wire::{Frame, Init, ResetKind, Status};

use crate::support::*;

#[test]
fn accesses_of_every_size_and_alignment() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let value = 0x8877_6655_4433_2211_u64;
    for len in 1..=8_u8 {
        let masked = value & (u64::MAX >> (64 - 8 * u32::from(len)));
        for offset in (0..8).chain([65536 - u64::from(len)]) {
            guest.write(0, offset, len, masked, PATIENCE).unwrap();
            let mmio = sim.next_mmio(MMIO_WRITE);
            assert_eq!(
                mmio,
                Mmio {
                    tag: mmio.tag,
                    bar: 0,
                    addr: BAR0_BASE + offset as i64,
                    len: len.into(),
                    data: masked,
                }
            );
            assert_eq!(sim.call(&format!("mmio_write_done {} 0", mmio.tag)), 0);
            guest.flush(PATIENCE).unwrap();

            let tag = guest.start_read(2, offset, len).unwrap();
            let mmio = sim.next_mmio(MMIO_READ);
            assert_eq!(
                (mmio.bar, mmio.addr, mmio.len, mmio.data),
                (2, offset as i64, i64::from(len), 0)
            );
            // Bits beyond the length do not get through.
            let done = format!("mmio_read_done {} 0 {value:#x}", mmio.tag);
            assert_eq!(sim.call(&done), 0);
            assert_eq!(guest.finish_read(tag, PATIENCE).unwrap(), masked);
        }
    }
    assert_eq!((sim.stat(0), sim.stat(1)), (72, 72));
    sim.finish();
}

#[test]
fn errors_of_the_rtl_reach_the_guest() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let tag = guest.start_read(0, 0, 4).unwrap();
    let mmio = sim.next_mmio(MMIO_READ);
    assert_eq!(sim.call(&format!("mmio_read_done {} 1 7", mmio.tag)), 0);
    let e = guest.finish_read(tag, PATIENCE).unwrap_err();
    assert!(e.to_string().contains("Refused"), "{e}");
    guest.write(0, 0, 4, 1, PATIENCE).unwrap();
    let mmio = sim.next_mmio(MMIO_WRITE);
    assert_eq!(sim.call(&format!("mmio_write_done {} 1", mmio.tag)), 0);
    let done = serve(&mut guest, 2);
    assert_eq!(
        done[1],
        Activity::WritesDone {
            count: 1,
            status: Status::Refused
        }
    );
    sim.finish();
}

#[test]
fn reads_are_answered_in_any_order_and_writes_in_theirs() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let tags: Vec<u32> = (0..5)
        .map(|i| guest.start_read(0, 8 * i, 8).unwrap())
        .collect();
    let reads: Vec<Mmio> = (0..5).map(|_| sim.next_mmio(MMIO_READ)).collect();
    for i in [3, 0, 4, 2, 1] {
        let read = reads[i];
        assert_eq!(read.addr, BAR0_BASE + 8 * i as i64);
        assert_eq!(sim.call(&format!("mmio_read_done {} 0 {i}", read.tag)), 0);
        // A second answer is one too many.
        let again = format!("mmio_read_done {} 0 {i}", read.tag);
        sim.fails(&again, EINVAL, &["is no read that the RTL has"]);
    }
    for (i, tag) in tags.into_iter().enumerate() {
        assert_eq!(guest.finish_read(tag, PATIENCE).unwrap(), i as u64);
    }

    for i in 0..3 {
        guest.write(0, 0, 4, i, PATIENCE).unwrap();
    }
    let writes: Vec<Mmio> = (0..3).map(|_| sim.next_mmio(MMIO_WRITE)).collect();
    assert_eq!(writes.iter().map(|w| w.data).collect::<Vec<_>>(), [0, 1, 2]);
    let early = format!("mmio_write_done {} 0", writes[1].tag);
    sim.fails(&early, EINVAL, &["is not the oldest write"]);
    for write in writes {
        assert_eq!(sim.call(&format!("mmio_write_done {} 0", write.tag)), 0);
    }
    guest.flush(PATIENCE).unwrap();
    sim.finish();
}

#[test]
fn dma_reads_of_every_length_and_lane() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    for (i, byte) in guest.memory_mut().iter_mut().enumerate() {
        *byte = (i * 37 + i / 251) as u8;
    }
    let mut total = 0;
    for (offset, length, width) in [
        (0_usize, 1_usize, 64_usize),
        (3, 61, 64),
        (0, 4096, 64),
        (61440, 4096, 4),
        (17, 4001, 16),
        (63, 66, 64),
        (5, 100, 32),
    ] {
        let addr = MEMORY + offset as u64;
        let tag = i64::from(sim.call(&format!("dma_read {addr} {length}")));
        assert!(tag >= 0, "{}", sim.last_error());
        // Too early.
        let (result, beat) = sim.beat(tag, 0, 1);
        assert_eq!(result, ESTATE);
        assert_eq!(beat, [0x5a; 64]);
        serve(&mut guest, 1);
        sim.expect(READY, DMA_READ_DONE);
        assert_eq!(sim.beat(tag, 0, 1).0, ESTATE);
        assert_eq!(sim.results("get_dma_read"), [0, tag, 0, length as i64]);

        // As an AXI slave does: from the address's lane to the end of the beat.
        let mut fetched: Vec<u8> = Vec::new();
        let mut lane = offset % width;
        while fetched.len() < length {
            let bytes = (width - lane).min(length - fetched.len());
            let (result, beat) = sim.beat(tag, lane, bytes);
            assert_eq!(result, 0);
            fetched.extend(&beat[lane..lane + bytes]);
            let others = beat[..lane].iter().chain(&beat[lane + bytes..]);
            assert!(others.copied().all(|b| b == 0));
            lane = 0;
        }
        assert_eq!(fetched, guest.memory()[offset..offset + length]);
        // The tag is free.
        assert_eq!(sim.beat(tag, 0, 1).0, EINVAL);
        total += length as i64;
    }
    // More than is left.
    let tag = i64::from(sim.call(&format!("dma_read {MEMORY} 10")));
    serve(&mut guest, 1);
    sim.expect(READY, DMA_READ_DONE);
    assert_eq!(sim.results("get_dma_read"), [0, tag, 0, 10]);
    assert_eq!(sim.beat(tag, 0, 8).0, 0);
    let call = format!("dma_read_beat {tag} 0 3");
    let slot = sim.slot;
    assert!(sim
        .raw(&format!("dma_read_beat {slot} {tag} 0 3"))
        .starts_with("-1 5a5a"));
    assert!(sim.last_error().contains("2 of 10 are left"), "{call}");
    assert_eq!(sim.beat(tag, 62, 2).0, 0);
    assert_eq!(sim.stat(2), total + 10);
    sim.finish();
}

#[test]
fn dma_writes_with_every_pattern_of_holes() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    guest.memory_mut().fill(0xcc);
    let mut expected = guest.memory().to_vec();
    let mut beat = [0_u8; 64];
    let mut enabled = 0;
    // Every pattern in a beat of eight lanes, at moving lanes and addresses.
    for pattern in 0..256_u64 {
        let lane = (pattern % 57) as usize;
        let at = (pattern * 9 % 4096) as usize;
        for (i, byte) in beat.iter_mut().enumerate() {
            *byte = (pattern as usize + i) as u8;
        }
        // Strobes of other lanes do not count.
        let strobes = pattern << lane | !(0xff << lane);
        assert_eq!(
            sim.call(&format!("dma_write_begin {}", MEMORY + at as u64)),
            0
        );
        assert_eq!(sim.write_beat(lane, 8, &beat, strobes), 0);
        let tag = i64::from(sim.call("dma_write_end"));
        assert!(tag >= 0, "{}", sim.last_error());
        for i in (0..8).filter(|i| pattern >> i & 1 != 0) {
            expected[at + i] = beat[lane + i];
            enabled += 1;
        }
        serve(&mut guest, 1);
        sim.expect(READY, DMA_WRITE_DONE);
        assert_eq!(sim.results("get_dma_write"), [0, tag, 0]);
        assert_eq!(guest.memory(), &expected[..], "pattern {pattern:#x}");
    }
    assert_eq!(sim.stat(3), enabled);

    // A burst that begins and ends within a beat and has a hole in the middle.
    let data: Vec<u8> = (0..4096).map(|i| (i * 3 + 1) as u8).collect();
    assert_eq!(
        sim.call(&format!("dma_write_begin {}", MEMORY + 8192 + 5)),
        0
    );
    let (mut done, mut lane) = (0, 5);
    while done < 4000 {
        let bytes = (64 - lane).min(4000 - done);
        beat[lane..lane + bytes].copy_from_slice(&data[done..done + bytes]);
        let strobes = if done == 59 {
            u64::MAX ^ 0xff0
        } else {
            u64::MAX
        };
        assert_eq!(sim.write_beat(lane, bytes, &beat, strobes), 0);
        for i in 0..bytes {
            if strobes >> (lane + i) & 1 != 0 {
                expected[8192 + 5 + done + i] = data[done + i];
            }
        }
        done += bytes;
        lane = 0;
    }
    assert!(sim.call("dma_write_end") >= 0);
    serve(&mut guest, 1);
    assert_eq!(guest.memory(), &expected[..]);

    // 4096 bytes and no more.
    assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), 0);
    for _ in 0..64 {
        assert_eq!(sim.write_beat(0, 64, &beat, u64::MAX), 0);
    }
    assert_eq!(sim.write_beat(0, 1, &beat, 1), EINVAL);
    assert!(sim.last_error().contains("4097 bytes"));
    assert!(sim.call("dma_write_end") >= 0);
    assert_eq!(
        serve(&mut guest, 1)[0],
        Activity::DmaWrite {
            addr: MEMORY,
            len: 4096,
            status: Status::Ok
        }
    );
    sim.finish();
}

/// While some are under way, requests share messages.
#[test]
fn many_dma_requests_leave_in_order_and_by_themselves() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let tags: Vec<i64> = (0..23)
        .map(|i| i64::from(sim.call(&format!("dma_read {} 64", MEMORY + 64 * i))))
        .collect();
    // The host has answered none, and the last one leaves all the same.
    assert_eq!(sim.poll(READY), NONE);
    let addresses: Vec<u64> = serve(&mut guest, tags.len())
        .into_iter()
        .map(|activity| match activity {
            Activity::DmaRead { addr, .. } => addr,
            other => panic!("{other:?}"),
        })
        .collect();
    let expected: Vec<u64> = (0..23).map(|i| MEMORY + 64 * i).collect();
    assert_eq!(addresses, expected);
    for tag in tags {
        sim.expect(READY, DMA_READ_DONE);
        assert_eq!(sim.results("get_dma_read"), [0, tag, 0, 64]);
        assert_eq!(sim.beat(tag, 0, 64).0, 0);
    }

    // Nor does an interrupt overtake data, without a poll in between.
    for i in 0..7_u8 {
        sim.dma_write(MEMORY + 64 * u64::from(i), &[i + 1; 64]);
    }
    assert_eq!(sim.call("msix 1"), 0);
    guest.wait_msix(1, PATIENCE).unwrap();
    for (i, bytes) in guest.memory().chunks(64).take(7).enumerate() {
        assert!(bytes.iter().all(|&b| usize::from(b) == i + 1), "write {i}");
    }

    for _ in 0..7 {
        sim.expect(READY, DMA_WRITE_DONE);
        assert_eq!(sim.results("get_dma_write")[0], 0);
    }

    // What waits when a reset comes is void with all the others.
    for _ in 0..6 {
        sim.call(&format!("dma_read {MEMORY} 64"));
    }
    guest.start_reset(ResetKind::Hot).unwrap();
    sim.expect(READY, RESET);
    assert_eq!(sim.results("get_reset")[0], 0);
    assert_eq!(sim.call("reset_done"), 0);
    sim.expect_nothing(READY);
    sim.finish();
}

#[test]
fn refused_and_faulting_dma_is_told_to_the_rtl() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let before = guest.memory().to_vec();
    for (bus_master, addr, status) in [(true, 16, 2), (false, MEMORY, 1)] {
        guest.set_bus_master(bus_master);
        let read = i64::from(sim.call(&format!("dma_read {addr} 64")));
        let write = sim.dma_write(addr, &[1; 64]);
        serve(&mut guest, 2);
        sim.expect(READY, DMA_READ_DONE);
        assert_eq!(sim.results("get_dma_read"), [0, read, status, 0]);
        // The tag is free already.
        assert_eq!(sim.beat(read, 0, 1).0, EINVAL);
        sim.expect(READY, DMA_WRITE_DONE);
        assert_eq!(sim.results("get_dma_write"), [0, write, status]);
    }
    assert_eq!(guest.memory(), &before[..]);
    assert_eq!((sim.stat(2), sim.stat(3)), (0, 0));
    // A range that wraps around never leaves.
    sim.fails(
        "dma_read -8 64",
        EINVAL,
        &["64 bytes at 0xfffffffffffffff8 wraps around"],
    );
    assert_eq!(sim.call("dma_write_begin -8"), 0);
    assert_eq!(sim.write_beat(0, 64, &[0; 64], u64::MAX), 0);
    sim.fails("dma_write_end", EINVAL, &["wraps around"]);
    // The last bytes of the address space do.
    guest.set_bus_master(true);
    let tag = i64::from(sim.call("dma_read -64 64"));
    serve(&mut guest, 1);
    sim.expect(READY, DMA_READ_DONE);
    assert_eq!(sim.results("get_dma_read"), [0, tag, 2, 0]);
    sim.finish();
}

#[test]
fn no_more_than_512_dma_requests_at_once() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let tags: Vec<i64> = (0..511)
        .map(|i| sim.call(&format!("dma_read {} 64", MEMORY + 64 * i)).into())
        .collect();
    assert!(tags.iter().all(|&t| t >= 0));
    // A write that was begun has its place.
    assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), 0);
    sim.fails(
        &format!("dma_read {MEMORY} 64"),
        EAGAIN,
        &["512 DMA requests are outstanding"],
    );
    assert_eq!(sim.write_beat(0, 1, &[0; 64], 1), 0);
    assert!(sim.call("dma_write_end") >= 0);
    assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), EAGAIN);
    serve(&mut guest, 512);
    // Answered is not fetched, fetched is not read.
    sim.expect(READY, DMA_READ_DONE);
    assert_eq!(sim.call(&format!("dma_read {MEMORY} 64")), EAGAIN);
    assert_eq!(sim.results("get_dma_read"), [0, tags[0], 0, 64]);
    assert_eq!(sim.call(&format!("dma_read {MEMORY} 64")), EAGAIN);
    assert_eq!(sim.beat(tags[0], 0, 64).0, 0);
    assert!(sim.call(&format!("dma_read {MEMORY} 64")) >= 0);
    assert_eq!(sim.call(&format!("dma_read {MEMORY} 64")), EAGAIN);
    sim.finish();
}

/// A host of an earlier version ends the session with one more than that.
#[test]
fn no_more_than_64_dma_requests_for_an_older_host() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    let mut init = host.encode(&Frame::Init(Init {
        features: 0,
        write_window: 64,
        max_data: 65536,
        name: "of old",
    }));
    init[5] = 4;
    host.send(&init);
    host.wait(&mut sim);
    host.config();
    host.put(&Frame::Ready);
    sim.link(true);
    for i in 0..64 {
        assert!(sim.call(&format!("dma_read {} 64", MEMORY + 64 * i)) >= 0);
    }
    let text = "64 DMA requests are outstanding";
    sim.fails(&format!("dma_read {MEMORY} 64"), EAGAIN, &[text]);
    assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), EAGAIN);
    sim.finish();
}

#[test]
fn interrupts_come_behind_the_data_that_they_announce() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let read = guest.start_read(0, 0, 4).unwrap();
    let mmio = sim.next_mmio(MMIO_READ);
    sim.dma_write(MEMORY, &[1; 100]);
    assert_eq!(sim.call("msix 3"), 0);
    sim.dma_write(MEMORY + 100, &[2; 100]);
    assert_eq!(sim.call("msix 0"), 0);
    assert_eq!(sim.call("msix 0"), 0);
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 1", mmio.tag)), 0);
    let done = serve(&mut guest, 6);
    let write = |addr| Activity::DmaWrite {
        addr,
        len: 100,
        status: Status::Ok,
    };
    assert_eq!(
        done,
        [
            write(MEMORY),
            Activity::Msix { vector: 3 },
            write(MEMORY + 100),
            Activity::Msix { vector: 0 },
            Activity::Msix { vector: 0 },
            Activity::ReadDone { tag: read },
        ]
    );
    assert_eq!(sim.stat(4), 3);
    sim.finish();
}

#[test]
fn the_level_of_intx_is_told_and_kept() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    // Without a host it is remembered.
    assert_eq!(sim.call("intx 1"), 0);
    let mut guest = connect(&mut sim, &endpoint);
    let level = |level| Activity::Intx { level };
    assert_eq!(serve(&mut guest, 1), [level(true)]);
    assert_eq!(sim.call("intx 1"), 0);
    assert_eq!(sim.call("intx 0"), 0);
    assert_eq!(sim.call("intx 1"), 0);
    assert_eq!(serve(&mut guest, 2), [level(false), level(true)]);
    // A reset takes it away on both sides; what RTL does in it is told after.
    guest.start_reset(ResetKind::Flr).unwrap();
    assert_eq!(sim.reset(), 1);
    assert_eq!(sim.call("reset_done"), 0);
    assert_eq!(serve(&mut guest, 1), [Activity::ResetDone]);
    guest.start_reset(ResetKind::Flr).unwrap();
    assert_eq!(sim.reset(), 1);
    assert_eq!(sim.call("intx 1"), 0);
    assert_eq!(sim.call("reset_done"), 0);
    assert_eq!(serve(&mut guest, 2), [Activity::ResetDone, level(true)]);
    sim.finish();
}

/// The ordering rules, seen through `acc_poll`. All combinations are tested in
/// `src/order.rs`.
#[test]
fn a_poll_keeps_the_order_of_pci_express() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let tag = i64::from(sim.call(&format!("dma_read {MEMORY} 4")));
    let write_tag = sim.dma_write(MEMORY, &[1; 4]);
    guest.write(0, 0, 4, 1, PATIENCE).unwrap();
    guest.start_read(0, 4, 4).unwrap();
    // The host answers the DMA requests behind its write and its read.
    serve(&mut guest, 2);
    guest.write(0, 8, 4, 2, PATIENCE).unwrap();

    sim.expect(READY_WRITE, MMIO_WRITE);
    // The response to the DMA write may pass all of them.
    sim.expect(
        READY_DMA_WRITE | READY_DMA_READ | READY_READ,
        DMA_WRITE_DONE,
    );
    assert_eq!(sim.results("get_dma_write"), [0, write_tag, 0]);
    // The read and the data wait for the write.
    assert_eq!(sim.poll(READY_DMA_READ | READY_READ), NONE);
    assert_eq!(sim.poll(READY), MMIO_WRITE);
    let first = sim.get_mmio();
    assert_eq!(first.addr, BAR0_BASE);
    // Taken by the bridge, not by the RTL: the data still waits.
    assert_eq!(sim.poll(READY_DMA_READ), NONE);
    assert_eq!(sim.poll(READY_DMA_READ | READY_WRITE), DMA_READ_DONE);
    assert_eq!(sim.results("get_dma_read"), [0, tag, 0, 4]);
    // The second write passes the waiting read.
    sim.expect(READY_WRITE, MMIO_WRITE);
    assert_eq!(sim.get_mmio().addr, BAR0_BASE + 8);
    assert_eq!(sim.poll(READY_WRITE), NONE);
    assert_eq!(sim.poll(READY), MMIO_READ);
    assert_eq!(sim.get_mmio().addr, BAR0_BASE + 4);
    sim.finish();
}

#[test]
fn a_reset_voids_what_came_before() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    for (kind, number) in [
        (ResetKind::Flr, 1),
        (ResetKind::Hot, 2),
        (ResetKind::Cold, 3),
    ] {
        guest.memory_mut().fill(0);
        // In the RTL: a read and a write. On the way: another write. At the
        // host: DMA. Half told: a DMA write.
        guest.start_read(0, 0, 4).unwrap();
        let read = sim.next_mmio(MMIO_READ);
        guest.write(0, 0, 4, 1, PATIENCE).unwrap();
        let write = sim.next_mmio(MMIO_WRITE);
        guest.write(0, 4, 4, 2, PATIENCE).unwrap();
        let dma = i64::from(sim.call(&format!("dma_read {MEMORY} 64")));
        assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), 0);
        assert_eq!(sim.write_beat(0, 64, &[9; 64], u64::MAX), 0);
        guest.start_reset(kind).unwrap();

        sim.expect(READY_DMA_READ, RESET);
        // The RTL does not know yet, and goes on: without effect.
        assert_eq!(sim.call(&format!("mmio_read_done {} 0 5", read.tag)), 0);
        assert_eq!(sim.call(&format!("mmio_write_done {} 0", write.tag)), 0);
        assert!(sim.call("dma_write_end") >= 0);
        sim.fails(&format!("dma_read {MEMORY} 64"), EAGAIN, &["a reset waits"]);
        assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), EAGAIN);
        assert_eq!(sim.call("msix 0"), EAGAIN);
        assert_eq!(sim.poll(READY), RESET);
        assert_eq!(sim.results("get_reset"), [0, number]);

        // Now it knows.
        assert_eq!(
            sim.call(&format!("mmio_read_done {} 0 5", read.tag)),
            EINVAL
        );
        assert_eq!(
            sim.call(&format!("mmio_write_done {} 0", write.tag)),
            EINVAL
        );
        assert_eq!(sim.beat(dma, 0, 1).0, EINVAL);
        assert_eq!(sim.call("dma_write_end"), ESTATE);
        sim.fails(
            &format!("dma_read {MEMORY} 64"),
            ESTATE,
            &["acc_reset_done was not called"],
        );
        assert_eq!(sim.call("msix 0"), ESTATE);
        // What the host sends after the reset waits for its end.
        guest.write(0, 8, 4, 3, PATIENCE).unwrap();
        sim.expect_nothing(READY);
        assert_eq!(sim.call("reset_done"), 0);
        assert_eq!(sim.next_mmio(MMIO_WRITE).data, 3);
        let done = serve(&mut guest, 1);
        assert_eq!(done, [Activity::ResetDone]);
        assert!(!guest.session().reset_pending());
        assert_eq!(guest.memory(), &[0; 65536][..]);
        // For the next round: nothing in the RTL.
        guest.reset_and_wait(&mut sim);
    }
    sim.fails("reset_done", ESTATE, &["without a reset"]);
    sim.finish();
}

trait ResetAndWait {
    fn reset_and_wait(&mut self, sim: &mut Simulator);
}

impl ResetAndWait for accelerator_peers::GuestEndpoint {
    fn reset_and_wait(&mut self, sim: &mut Simulator) {
        self.start_reset(ResetKind::Flr).unwrap();
        sim.reset();
        assert_eq!(sim.call("reset_done"), 0);
        assert_eq!(serve(self, 1), [Activity::ResetDone]);
    }
}

/// Resets that come faster than the RTL takes them are told once, with the
/// strongest kind, and all are answered.
#[test]
fn several_resets_become_one() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let reset = |tag, kind| host.encode(&Frame::Reset { tag, kind });
    let mut message = Vec::new();
    for tag in 1..=1000 {
        message.extend(reset(tag, ResetKind::Flr));
    }
    message.extend(reset(1001, ResetKind::Cold));
    message.extend(reset(1002, ResetKind::Hot));
    host.send(&message);
    sim.expect(READY, RESET);
    assert_eq!(sim.results("get_reset"), [0, 3]);
    // And one more while the RTL is in reset.
    host.send(&reset(1003, ResetKind::Flr));
    sim.expect(READY, RESET);
    assert_eq!(sim.call("reset_done"), 0);
    assert!(host.frame(|f| *f == Frame::ResetDone { tag: 1002 }));
    // It did not answer that one.
    assert_eq!(sim.poll(READY), RESET);
    assert_eq!(sim.results("get_reset"), [0, 1]);
    assert!(host.is_silent());
    assert_eq!(sim.call("reset_done"), 0);
    assert!(host.frame(|f| *f == Frame::ResetDone { tag: 1003 }));
    sim.finish();
}

/// A host that does not read: the RTL is told to wait, nothing is lost, and
/// answers to the guest still go.
#[test]
fn a_host_that_does_not_read_is_waited_for() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [
        ("ACCELERATOR_ZMQ_WARN_MS", "60"),
        ("ACCELERATOR_LOG_LEVEL", "warn"),
    ];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    host.put(&Frame::MmioRead {
        tag: 7,
        bar: 0,
        len: 4,
        offset: 0,
    });
    let read = sim.next_mmio(MMIO_READ);

    // Until the queues on the way are full; each message is one interrupt.
    let sent = sim.flood(2);
    sim.fails("msix 2", EAGAIN, &["the host does not take frames"]);
    sim.fails("dma_read 0 64", EAGAIN, &["the host does not take frames"]);
    assert_eq!(sim.call("dma_write_begin 0"), EAGAIN);
    assert_eq!(
        sim.call(&format!("mmio_read_done {} 0 0x1234", read.tag)),
        0
    );
    // Waits for the end of the queue as well, and is one level at the end.
    for level in [1, 0, 1, 0, 1] {
        assert_eq!(sim.call(&format!("intx {level}")), 0);
    }
    std::thread::sleep(std::time::Duration::from_millis(300));

    // It reads again: everything is there, in order.
    let reader = std::thread::spawn(move || {
        let (mut interrupts, mut order) = (0, Vec::new());
        while order.len() < 2 {
            let message = host.receive();
            let mut rest = &message[..];
            while !rest.is_empty() {
                let (header, payload, more) = accelerator_protocol::wire::split(rest).unwrap();
                rest = more;
                match Frame::decode(&header, payload).unwrap() {
                    Frame::Msix { vector: 2 } => {
                        assert_eq!(order, []);
                        interrupts += 1;
                    }
                    Frame::MmioReadDone { tag: 7, data, .. } => order.push(data),
                    Frame::Intx { level } => order.push(level.into()),
                    other => panic!("{other:?}"),
                }
            }
        }
        (interrupts, order, host)
    });
    while !reader.is_finished() {
        assert_eq!(sim.poll(READY), NONE);
    }
    let (interrupts, order, host) = reader.join().unwrap();
    assert_eq!(interrupts, sent);
    assert_eq!(order, [0x1234, 1]);
    assert_eq!(sim.call("msix 1"), 0);
    assert!(host.frame(|f| *f == Frame::Msix { vector: 1 }));
    let log = sim.finish();
    assert!(
        log.contains("frames wait for the host to take them"),
        "{log}"
    );
}

/// Several frames in one message, and a whole session with posted writes in
/// bulk.
#[test]
fn messages_of_many_frames_are_taken_apart() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    host.init_with(4096);
    host.wait(&mut sim);
    host.config();
    let mut message = host.encode(&Frame::Ready);
    for tag in 1..=4096 {
        message.extend(host.encode(&Frame::MmioWrite {
            tag,
            bar: 0,
            len: 4,
            offset: 4 * u64::from(tag - 1),
            data: tag.into(),
        }));
    }
    message.extend(host.encode(&Frame::MmioRead {
        tag: 1,
        bar: 0,
        len: 1,
        offset: 65535,
    }));
    host.send(&message);
    sim.link(true);
    for i in 0..4096_i64 {
        let write = sim.next_mmio(MMIO_WRITE);
        assert_eq!((write.addr, write.data), (BAR0_BASE + 4 * i, i as u64 + 1));
        assert_eq!(sim.call(&format!("mmio_write_done {} 0", write.tag)), 0);
    }
    assert_eq!(sim.next_mmio(MMIO_READ).addr, BAR0_BASE + 65535);
    sim.finish();
}

#[test]
fn two_bridges_in_one_process_do_not_mix() {
    let folder = Folder::new();
    let endpoints = [
        folder.endpoint("a"),
        format!("tcp://127.0.0.1:{}", free_port()),
    ];
    let mut sim = Simulator::start();
    for (slot, endpoint) in endpoints.iter().enumerate() {
        sim.slot = slot;
        sim.usual(endpoint);
        assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    }
    let mut guests: Vec<_> = endpoints
        .iter()
        .enumerate()
        .map(|(slot, endpoint)| {
            sim.slot = slot;
            connect(&mut sim, endpoint)
        })
        .collect();
    for round in 0..50_u64 {
        for (slot, guest) in guests.iter_mut().enumerate() {
            guest
                .write(0, 8, 8, round << 8 | slot as u64, PATIENCE)
                .unwrap();
        }
        for slot in [1, 0] {
            sim.slot = slot;
            let write = sim.next_mmio(MMIO_WRITE);
            assert_eq!(write.data, round << 8 | slot as u64);
            sim.dma_write(MEMORY + 64 * round, &[slot as u8 + 1; 64]);
            assert_eq!(sim.call(&format!("msix {slot}")), 0);
            assert_eq!(sim.call(&format!("mmio_write_done {} 0", write.tag)), 0);
        }
        for (slot, guest) in guests.iter_mut().enumerate() {
            assert_eq!(
                serve(guest, 3)[1],
                Activity::Msix {
                    vector: slot as u16
                }
            );
            let memory = &guest.memory()[64 * round as usize..][..64];
            assert_eq!(memory, [slot as u8 + 1; 64]);
            sim.slot = slot;
            sim.expect(READY, DMA_WRITE_DONE);
            assert_eq!(sim.call("get_dma_write"), 0);
        }
    }
    // One of them goes, the other one stays.
    sim.slot = 0;
    assert_eq!(sim.call("close"), 0);
    sim.slot = 1;
    guests[1].write(0, 0, 1, 1, PATIENCE).unwrap();
    assert_eq!(sim.next_mmio(MMIO_WRITE).data, 1);
    sim.finish();
}

#[test]
fn the_simulated_time_is_told_each_so_many_clocks() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let time = |activity: &Activity| match activity {
        Activity::Time { ns } => *ns,
        other => panic!("expected the time, got {other:?}"),
    };
    // Of 4 ns: 251 clocks, since it is rounded up.
    guest.clock(1001).unwrap();
    let first = loop {
        sim.call("polls 15 1");
        guest.pump_for(Duration::from_millis(1)).unwrap();
        if let Some(activity) = guest.take_activity().first() {
            break time(activity);
        }
    };
    assert_eq!(sim.call(&format!("polls 15 {}", 251 * 20)), 0);
    let told = serve(&mut guest, 20);
    let told: Vec<u64> = told.iter().map(time).collect();
    let expected: Vec<u64> = (1..=20).map(|i| first + i * 1004).collect();
    assert_eq!(told, expected);
    // An access in between is a clock like any other.
    let tag = guest.start_read(0, 0, 4).unwrap();
    let mmio = sim.next_mmio(MMIO_READ);
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 7", mmio.tag)), 0);
    assert_eq!(guest.finish_read(tag, PATIENCE).unwrap(), 7);
    // Not any more.
    guest.clock(0).unwrap();
    let tag = guest.start_read(0, 0, 4).unwrap();
    let mmio = sim.next_mmio(MMIO_READ);
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 8", mmio.tag)), 0);
    assert_eq!(guest.finish_read(tag, PATIENCE).unwrap(), 8);
    guest.take_activity();
    assert_eq!(sim.call("polls 15 10000"), 0);
    guest.pump_for(Duration::from_millis(50)).unwrap();
    assert_eq!(guest.take_activity(), []);
    sim.finish();
}
