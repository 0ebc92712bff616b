// SPDX-License-Identifier: MIT OR Apache-2.0

//! The record of a simulation: what crosses is in it, and what becomes of it never hurts the
//! simulation.

use std::{os::unix::process::CommandExt, path::Path};

use accelerator_peers::{memory::wanted, PATIENCE};
use accelerator_protocol::wire::ResetKind;
use accelerator_record::{
    layout::{Body, FLAG_DIRECT, FLAG_PARTIAL, STATUS_FAULT, STATUS_REFUSED},
    Entry, Kind, Record, SourceKind, State,
};

use crate::support::*;

/// The entries of a file, contents with those that they belong to.
pub fn entries(file: &Path) -> Vec<(Entry, Vec<u8>)> {
    let mut all: Vec<(Entry, Vec<u8>)> = Vec::new();
    let record = Record::open(file).unwrap();
    for next in record.read().unwrap() {
        match next.unwrap().1 {
            Body::Entry(entry) => all.push((entry, Vec::new())),
            Body::Content { length, bytes, .. } => {
                let last = all.last_mut().unwrap();
                last.1.extend(&bytes[..usize::from(length)]);
            }
        }
    }
    all
}

fn of(entries: &[(Entry, Vec<u8>)], kind: Kind) -> Vec<Entry> {
    let it = entries.iter().map(|e| e.0);
    it.filter(|e| e.kind() == Some(kind)).collect()
}

/// The only one of a kind.
#[track_caller]
fn one(entries: &[(Entry, Vec<u8>)], kind: Kind) -> Entry {
    let found = of(entries, kind);
    assert_eq!(found.len(), 1, "{kind:?}: {found:?}");
    found[0]
}

/// `ACC_STAT_TRANSACTION`.
const TRANSACTION: i32 = 7;

#[test]
fn what_crosses_is_in_it() {
    let folder = Folder::new();
    let (endpoint, file) = (folder.endpoint("s"), folder.path("record"));
    let mut sim = Simulator::start();
    assert_eq!(sim.call(&format!("record {} 0 1", file.display())), 0);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &endpoint);
    guest.write(0, 0x11, 2, 0xabcd, PATIENCE).unwrap();
    let mmio = sim.next_mmio(MMIO_WRITE);
    // What the RTL has fetched or begun, as it is told for waveforms.
    let mut numbers = vec![(Kind::MmioWrite, sim.stat(TRANSACTION))];
    assert_eq!(sim.call("polls 15 100"), 0);
    assert_eq!(sim.call(&format!("mmio_write_done {} 0", mmio.tag)), 0);
    let tag = guest.start_read(2, 8, 4).unwrap();
    let mmio = sim.next_mmio(MMIO_READ);
    numbers.push((Kind::MmioRead, sim.stat(TRANSACTION)));
    let done = format!("mmio_read_done {} 1 0x1122334455667788", mmio.tag);
    assert_eq!(sim.call(&done), 0);
    guest.finish_read(tag, PATIENCE).unwrap_err();
    guest.take_activity();

    // A DMA write with holes, then a read of it, then one where nothing is.
    assert_eq!(sim.call(&format!("dma_write_begin {MEMORY}")), 0);
    let mut beat = [0; 64];
    beat[..10].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(sim.write_beat(0, 10, &beat, 0b11_1111_1101), 0);
    assert!(sim.call("dma_write_end") >= 0);
    numbers.push((Kind::DmaWrite, sim.stat(TRANSACTION)));
    serve(&mut guest, 1);
    sim.expect(READY, DMA_WRITE_DONE);
    assert_eq!(sim.call("get_dma_write"), 0);
    for (address, bytes) in [(MEMORY, 10), (MEMORY - 4096, 8)] {
        let tag = i64::from(sim.call(&format!("dma_read {address} {bytes}")));
        if bytes == 10 {
            numbers.push((Kind::DmaRead, sim.stat(TRANSACTION)));
        }
        serve(&mut guest, 1);
        sim.expect(READY, DMA_READ_DONE);
        assert_eq!(sim.results("get_dma_read")[1], tag);
        if bytes == 10 {
            sim.beat(tag, 0, 10);
        }
    }
    assert_eq!(sim.call("msix 3"), 0);
    numbers.push((Kind::Msix, sim.stat(TRANSACTION)));
    assert_eq!(sim.call("intx 1"), 0);
    numbers.push((Kind::Intx, sim.stat(TRANSACTION)));
    serve(&mut guest, 2);
    // Void: the RTL has it when the reset comes.
    guest.start_read(0, 0, 4).unwrap();
    let void = sim.next_mmio(MMIO_READ);
    guest.start_reset(ResetKind::Flr).unwrap();
    sim.expect(READY, RESET);
    // It does not know yet.
    assert_eq!(sim.call(&format!("mmio_read_done {} 0 0", void.tag)), 0);
    sim.reset();
    assert_eq!(sim.call("reset_done"), 0);
    serve(&mut guest, 1);
    let stats: Vec<i64> = (0..5).map(|which| sim.stat(which)).collect();
    sim.finish();

    let record = Record::open(&file).unwrap();
    assert_eq!(record.state().unwrap(), Some(State::Ended));
    let source = &record.sources()[0];
    assert_eq!(
        (source.kind, &*source.name, source.clock_period_ps),
        (SourceKind::Function, "card", 4000)
    );
    assert_eq!((source.vendor, source.device), (0x10ee, 0x7024));
    assert_eq!(source.bars[0].axi_base, BAR0_BASE as u64);

    let all = entries(&file);
    for (kind, number) in numbers {
        let first = all.iter().find(|e| e.0.kind() == Some(kind)).unwrap();
        assert_eq!(first.0.number as i64, number, "{kind:?}");
    }
    let write = one(&all, Kind::MmioWrite);
    assert_eq!(
        (
            write.bar,
            write.address,
            write.length,
            write.data,
            write.enables
        ),
        (0, 0x11, 2, 0xabcd, 3)
    );
    let write_done = one(&all, Kind::MmioWriteDone);
    assert_eq!((write_done.number, write_done.status), (write.number, 0));
    // Polls are clocks.
    let taken = of(&all, Kind::Taken);
    let write_taken = taken.iter().find(|e| e.number == write.number).unwrap();
    assert_eq!(write_done.clock, write_taken.clock + 100);
    assert!(write_done.host_ns > write.host_ns);

    let reads = of(&all, Kind::MmioRead);
    assert_eq!((reads[0].bar, reads[0].address, reads[0].length), (2, 8, 4));
    let read_done = one(&all, Kind::MmioReadDone);
    assert_eq!(
        (read_done.number, read_done.data, read_done.status),
        (reads[0].number, 0x5566_7788, STATUS_REFUSED)
    );
    // The void one was taken, and nothing else.
    assert!(taken.iter().any(|e| e.number == reads[1].number));
    assert_eq!(reads.len(), 2);

    let (dma, contents) = all
        .iter()
        .find(|e| e.0.kind() == Some(Kind::DmaWrite))
        .unwrap();
    assert_eq!(
        (
            dma.address,
            dma.length,
            dma.enables,
            dma.flags & FLAG_PARTIAL
        ),
        (MEMORY, 10, 0xfd, FLAG_PARTIAL)
    );
    assert_eq!(contents[..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xfd, 3]);
    assert_eq!(one(&all, Kind::DmaWriteDone).length, 9);
    let done = of(&all, Kind::DmaReadDone);
    assert_eq!((done[0].length, done[0].data), (10, 0x0807_0605_0403_0001));
    assert_eq!((done[1].length, done[1].status), (0, STATUS_FAULT));
    // By a message each, since the guest has given no memory.
    assert_eq!(of(&all, Kind::DmaAnswered).len(), 3);

    assert_eq!(one(&all, Kind::Msix).address, 3);
    assert_eq!(one(&all, Kind::Intx).data, 1);
    let reset = one(&all, Kind::Reset);
    assert_eq!(reset.address, ResetKind::Flr as u64);
    assert_eq!(one(&all, Kind::ResetDone).number, reset.number);
    assert_eq!(of(&all, Kind::LinkUp).len(), 1);

    // The counters of the library say the same.
    let sum = |kind| -> i64 { of(&all, kind).iter().map(|e| i64::from(e.length)).sum() };
    assert_eq!(
        stats,
        [
            reads.len() as i64,
            1,
            sum(Kind::DmaReadDone),
            sum(Kind::DmaWriteDone),
            1
        ]
    );
    // Each transaction has its number.
    let mut numbers: Vec<u64> = [
        Kind::MmioRead,
        Kind::MmioWrite,
        Kind::DmaRead,
        Kind::DmaWrite,
        Kind::Msix,
        Kind::Intx,
        Kind::Reset,
        Kind::LinkUp,
    ]
    .iter()
    .flat_map(|&kind| of(&all, kind))
    .map(|e| e.number)
    .collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn dma_without_a_message_is_in_it() {
    if !wanted() {
        return;
    }
    let folder = Folder::new();
    let (endpoint, file) = (folder.endpoint("s"), folder.path("record"));
    let mut sim = Simulator::start_with(
        Language::C99,
        &[("ACCELERATOR_RECORD", file.to_str().unwrap())],
    );
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &endpoint);
    assert!(guest
        .give(
            &accelerator_carrier::file::sealed(c"test", 65536)
                .unwrap()
                .into()
        )
        .unwrap());
    // The file is on its way to the simulator; until it is there the host is asked.
    let mut messages = 0;
    loop {
        let tag = sim.call(&format!("dma_read {MEMORY} 4"));
        while sim.poll(READY) != DMA_READ_DONE {
            guest.pump_for(std::time::Duration::from_millis(1)).unwrap();
        }
        assert_eq!(sim.call("get_dma_read"), 0);
        sim.beat(tag.into(), 0, 4);
        if guest.take_activity().is_empty() {
            break;
        }
        messages += 1;
    }
    let tag = sim.dma_write(MEMORY, &[7; 8]);
    sim.expect(READY, DMA_WRITE_DONE);
    assert_eq!(sim.results("get_dma_write"), [0, tag, 0]);
    sim.finish();
    let all = entries(&file);
    let direct = |e: &Entry| e.flags & FLAG_DIRECT != 0;
    let reads = of(&all, Kind::DmaRead);
    assert_eq!(reads.iter().filter(|e| direct(e)).count(), 1);
    assert!(direct(&one(&all, Kind::DmaWrite)));
    assert_eq!(of(&all, Kind::DmaAnswered).len(), messages);
    assert_eq!(of(&all, Kind::DmaReadDone).len(), reads.len());
    assert_eq!(one(&all, Kind::DmaWriteDone).length, 8);
}

#[test]
fn it_is_read_after_a_kill() {
    let folder = Folder::new();
    let (endpoint, file) = (folder.endpoint("s"), folder.path("record"));
    let mut sim = Simulator::start_with(
        Language::C99,
        &[
            ("ACCELERATOR_RECORD", file.to_str().unwrap()),
            ("ACCELERATOR_RECORD_SIZE", "131072"),
        ],
    );
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &endpoint);
    // More than the ring has room for.
    for i in 0..500 {
        guest.write(0, 0, 4, i, PATIENCE).unwrap();
        let mmio = sim.next_mmio(MMIO_WRITE);
        assert_eq!(sim.call(&format!("mmio_write_done {} 0", mmio.tag)), 0);
    }
    guest.write(0, 4, 4, 1, PATIENCE).unwrap();
    sim.next_mmio(MMIO_WRITE);
    sim.kill();
    drop(sim);
    let record = Record::open(&file).unwrap();
    assert_eq!(record.state().unwrap(), Some(State::Writing));
    let all = entries(&file);
    assert_eq!(all.len() as u64, record.header().ring);
    let [.., (come, _), (taken, _)] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!((come.kind(), come.address), (Some(Kind::MmioWrite), 4));
    assert_eq!(
        (taken.kind(), taken.number),
        (Some(Kind::Taken), come.number)
    );
}

#[test]
fn one_that_cannot_be_written_is_told_of() {
    let folder = Folder::new();
    let mut sim = Simulator::start();
    let record = |file: &Path, rest: &str| format!("record {} {rest}", file.display());
    for (call, word) in [
        ("record x -1 0".to_owned(), "bytes is 18446744073709551615"),
        ("record x 4096 0".to_owned(), "expected bytes from 131072"),
        ("record x 0 2".to_owned(), "contents is 2"),
    ] {
        assert_eq!(sim.call(&call), EINVAL, "{call}");
        let text = sim.null_error();
        assert!(text.contains(word), "{text}");
    }
    let place = folder.path("none").join("record");
    assert_eq!(sim.call(&record(&place, "0 0")), 0);
    sim.usual(&folder.endpoint("s"));
    let none = format!("the record {}: No such file", place.display());
    sim.fails("start", EIO, &[&none]);
    // Another place will do.
    let place = folder.path("record");
    assert_eq!(sim.call(&record(&place, "0 0")), 0);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    assert_eq!(sim.call(&record(&folder.path("other"), "0 0")), ESTATE);
    // A second bridge writes to the same file.
    sim.slot = 1;
    sim.usual(&folder.endpoint("t"));
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    assert_eq!(sim.call("close"), 0);
    sim.slot = 0;
    sim.finish();
    assert_eq!(Record::open(&place).unwrap().sources().len(), 2);
}

#[test]
fn a_disk_that_is_full_ends_the_record_and_not_the_simulation() {
    let folder = Folder::new();
    let (endpoint, file) = (folder.endpoint("s"), folder.path("record"));
    // The header fits, the first step does not.
    let limit = libc::rlimit {
        rlim_cur: 1 << 20,
        rlim_max: 1 << 20,
    };
    let set = move || {
        // SAFETY: `limit` is valid for reads.
        match unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    let mut sim = Simulator::start_command(program(Language::C99, true), |command| {
        command.env("ACCELERATOR_RECORD", &file);
        // SAFETY: the closure calls one function, which is safe after a fork.
        unsafe { command.pre_exec(set) };
    });
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &endpoint);
    for i in 0..20 {
        guest.write(0, 0, 4, i, PATIENCE).unwrap();
        let mmio = sim.next_mmio(MMIO_WRITE);
        assert_eq!(sim.call(&format!("mmio_write_done {} 0", mmio.tag)), 0);
    }
    let text = sim.finish();
    let said = text.matches("ends here, the simulation goes on").count();
    assert_eq!(said, 1, "{text}");
    assert!(text.contains("File too large"), "{text}");
    let record = Record::open(&file).unwrap();
    assert_eq!(record.state().unwrap(), Some(State::Failed));
    assert_eq!(entries(&file), []);
}
