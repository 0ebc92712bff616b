// SPDX-License-Identifier: MIT OR Apache-2.0

//! DMA for which the host need not be asked.

use std::{fs::File, os::unix::fs::FileExt, time::Duration};

use accelerator_carrier::file;
use accelerator_peers::{guest::Activity, memory::wanted, GuestEndpoint, PATIENCE};
use accelerator_protocol::wire::{ResetKind, Status};

use crate::support::*;

const BYTES: u64 = 65536;

/// Memory of the host that others can have.
fn memory() -> File {
    file::sealed(c"test", BYTES).unwrap().into()
}

/// A session in which the host has given its memory; `None` if it goes through the socket.
fn bench() -> Option<(Folder, Simulator, GuestEndpoint, File)> {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let file = memory();
    let given = guest.give(&file).unwrap();
    assert_eq!(given, wanted());
    if !given {
        return None;
    }
    // The file is on its way to the simulator; until it is there the host is asked.
    loop {
        let tag = sim.call(&format!("dma_read {MEMORY} 4"));
        assert!(tag >= 0);
        while sim.poll(READY) != DMA_READ_DONE {
            guest.pump_for(Duration::from_millis(1)).unwrap();
        }
        assert_eq!(sim.results("get_dma_read")[..2], [0, tag.into()]);
        sim.beat(tag.into(), 0, 4);
        if guest.take_activity().is_empty() {
            return Some((folder, sim, guest, file));
        }
    }
}

#[test]
fn requests_are_carried_out_here() {
    let Some((_folder, mut sim, mut guest, file)) = bench() else {
        return;
    };
    let data: Vec<u8> = (0..200_u8).collect();
    file.write_all_at(&data, 0x101).unwrap();
    let tag = i64::from(sim.call(&format!("dma_read {} 200", MEMORY + 0x101)));
    assert_eq!(sim.poll(READY), DMA_READ_DONE);
    assert_eq!(sim.results("get_dma_read"), [0, tag, 0, 200]);
    for (i, chunk) in data.chunks(64).enumerate() {
        let (result, lanes) = sim.beat(tag, 0, chunk.len());
        assert_eq!((result, &lanes[..chunk.len()]), (0, chunk), "beat {i}");
    }
    // With holes, over the end of a word.
    file.write_all_at(&[0xee; 64], 0x200).unwrap();
    assert_eq!(sim.call(&format!("dma_write_begin {}", MEMORY + 0x203)), 0);
    let beat = [0x11; 64];
    assert_eq!(sim.write_beat(0, 13, &beat, 0b1_0110_1111_0001), 0);
    let tag = i64::from(sim.call("dma_write_end"));
    let mut found = [0; 64];
    file.read_exact_at(&mut found, 0x200).unwrap();
    for (i, byte) in found.into_iter().enumerate() {
        let written = i >= 3 && 0b1_0110_1111_0001_u64 >> (i - 3) & 1 != 0;
        assert_eq!(byte, if written { 0x11 } else { 0xee }, "byte {i}");
    }
    assert_eq!(sim.poll(READY), DMA_WRITE_DONE);
    assert_eq!(sim.results("get_dma_write"), [0, tag, 0]);
    assert!(guest.take_activity().is_empty());
    // What is not there wholly is asked of the host.
    let tag = sim.call(&format!("dma_read {} 8", MEMORY + BYTES - 4));
    let done = serve(&mut guest, 1);
    assert!(
        matches!(
            done[..],
            [Activity::DmaRead {
                len: 8,
                status: Status::Fault,
                ..
            }]
        ),
        "{done:?}"
    );
    sim.expect(READY, DMA_READ_DONE);
    assert_eq!(sim.results("get_dma_read")[..2], [0, tag.into()]);
    assert!(sim.stat(2) >= 200 && sim.stat(3) == 8);
    sim.finish();
}

#[test]
fn what_was_read_does_not_overtake_the_write_before_it() {
    let Some((_folder, mut sim, mut guest, file)) = bench() else {
        return;
    };
    for round in 0..50_u32 {
        // The driver writes a register, and then to memory; the RTL reads that before it has
        // polled.
        guest.write(0, 0x10, 4, round.into(), PATIENCE).unwrap();
        file.write_all_at(&round.to_le_bytes(), 0).unwrap();
        let tag = i64::from(sim.call(&format!("dma_read {MEMORY} 4")));
        assert_eq!(sim.poll(READY), MMIO_WRITE, "round {round}");
        let mmio = sim.get_mmio();
        assert_eq!(mmio.data, u64::from(round));
        assert_eq!(sim.call(&format!("mmio_write_done {} 0", mmio.tag)), 0);
        assert_eq!(sim.poll(READY), DMA_READ_DONE);
        assert_eq!(sim.results("get_dma_read"), [0, tag, 0, 4]);
        let (_, lanes) = sim.beat(tag, 0, 4);
        assert_eq!(lanes[..4], round.to_le_bytes());
        guest.flush(PATIENCE).unwrap();
    }
    sim.finish();
}

#[test]
fn whoever_hears_of_an_interrupt_or_a_completion_finds_the_data() {
    let Some((_folder, mut sim, mut guest, file)) = bench() else {
        return;
    };
    let mut found = [0; 8];
    for round in 1..50_u64 {
        sim.dma_write(MEMORY, &round.to_le_bytes());
        assert_eq!(sim.call("msix 0"), 0);
        guest.wait_msix(0, PATIENCE).unwrap();
        file.read_exact_at(&mut found, 0).unwrap();
        assert_eq!(u64::from_le_bytes(found), round);
        sim.expect(READY, DMA_WRITE_DONE);
        sim.results("get_dma_write");
        guest.take_interrupts(0);
    }
    sim.finish();
}

#[test]
fn nothing_is_used_that_was_taken_back_and_requests_stay_in_order() {
    let Some((_folder, mut sim, mut guest, file)) = bench() else {
        return;
    };
    file.write_all_at(&[1; 4], 0).unwrap();
    guest.memory_mut()[..4].fill(2);
    guest.take_back();
    let first = i64::from(sim.call(&format!("dma_read {MEMORY} 4")));
    // The host lets us again, but has a request: the next one does not overtake it.
    assert!(guest.give_again(BYTES));
    let second = i64::from(sim.call(&format!("dma_read {MEMORY} 4")));
    sim.dma_write(MEMORY, &[3; 4]);
    assert_eq!(serve(&mut guest, 3).len(), 3);
    let mut found = [0; 4];
    file.read_exact_at(&mut found, 0).unwrap();
    assert_eq!(found, [1; 4], "written without a message");
    for tag in [first, second] {
        sim.expect(READY_DMA_READ, DMA_READ_DONE);
        assert_eq!(sim.results("get_dma_read"), [0, tag, 0, 4]);
        assert_eq!(sim.beat(tag, 0, 4).1[..4], [2; 4]);
    }
    sim.expect(READY, DMA_WRITE_DONE);
    sim.results("get_dma_write");
    // Nothing is at the host any more.
    let tag = i64::from(sim.call(&format!("dma_read {MEMORY} 4")));
    assert_eq!(sim.poll(READY), DMA_READ_DONE);
    assert_eq!(sim.results("get_dma_read"), [0, tag, 0, 4]);
    assert_eq!(sim.beat(tag, 0, 4).1[..4], [1; 4]);
    assert!(guest.take_activity().is_empty());
    sim.finish();
}

/// The host claims to have written something before the read, and takes that back: the read
/// does not wait for it for ever.
#[test]
fn a_position_that_turns_back_ends_the_session() {
    let Some((_folder, mut sim, guest, _file)) = bench() else {
        return;
    };
    // The tail of the ring to the device, see PROTOCOL.md.
    let tail = guest.shared_word(0).unwrap();
    assert!(guest.scribble(0, &(tail + 4).to_le_bytes()));
    assert!(sim.call(&format!("dma_read {MEMORY} 4")) >= 0);
    assert!(guest.scribble(0, &tail.to_le_bytes()));
    sim.link(false);
    let log = sim.finish();
    assert!(log.contains("turned back by 4 words"), "{log}");
}

/// While writes wait for the RTL, a few polls do not look whether there is more: what may pass the
/// writes does not wait for longer than that.
#[test]
fn what_passes_writes_is_found_within_a_few_polls() {
    let Some((_folder, mut sim, mut guest, _file)) = bench() else {
        return;
    };
    for n in 0..8 {
        guest.write(0, 0x10, 4, n, PATIENCE).unwrap();
    }
    // All of them are taken in, and the first is fetched.
    assert_eq!(sim.poll(READY), MMIO_WRITE);
    assert_eq!(sim.get_mmio().data, 0);
    guest.start_reset(ResetKind::Flr).unwrap();
    let mut fetched = 1;
    loop {
        match sim.poll(READY) {
            RESET => break,
            event => assert_eq!(event, MMIO_WRITE),
        }
        assert_eq!(sim.get_mmio().data, fetched);
        fetched += 1;
    }
    assert!(fetched <= 5, "{fetched} writes before the reset");
    assert_eq!(sim.results("get_reset")[0], 0);
    assert_eq!(sim.call("reset_done"), 0);
    sim.finish();
}
