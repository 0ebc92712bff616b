// SPDX-License-Identifier: MIT OR Apache-2.0

//! Accesses of the card to guest memory.

use accelerator_peers::{hdl::sample_config, Error, Event};
use accelerator_protocol::{device::MAX_DMA, wire::Status, wire::MAX_DATA};
use accelerator_qtest::{
    machine::ok,
    pci::{command, CARD},
    Machine, PATIENCE,
};

/// Guest memory that nobody else uses.
const PLACE: u64 = 0x10_0000;
const RAM_END: u64 = 0x800_0000;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

#[track_caller]
fn status(result: Result<(), Error>) -> Status {
    match result {
        Ok(()) => Status::Ok,
        Err(Error::Status { status, .. }) => status,
        Err(e) => panic!("{e}"),
    }
}

/// What a DMA write does to memory.
fn model(memory: &mut [u8], at: usize, data: &[u8], enables: Option<&[u8]>) {
    for (i, b) in data.iter().enumerate() {
        if enables.is_none_or(|e| e[i / 8] >> (i % 8) & 1 != 0) {
            memory[at + i] = *b;
        }
    }
}

#[test]
fn every_pattern_of_holes_in_a_beat() {
    let mut m = Machine::start(sample_config(0));
    // Each of 256 patterns in the low half of a 16-byte beat, its complement in
    // the high half, at changing alignment.
    let mut expected = vec![0xee; 256 * 32];
    m.qemu.fill_memory(PLACE, expected.len(), 0xee);
    for pattern in 0..=255u8 {
        let at = usize::from(pattern) * 32 + usize::from(pattern % 13);
        let data: Vec<u8> = (0..16).map(|i| pattern.wrapping_mul(7) ^ i).collect();
        let enables = [pattern, !pattern];
        ok(m.hdl.dma_write(PLACE + at as u64, &data, Some(&enables)));
        model(&mut expected, at, &data, Some(&enables));
    }
    let found = m.qemu.read_memory(PLACE, expected.len());
    for (i, (found, expected)) in found.chunks(32).zip(expected.chunks(32)).enumerate() {
        assert_eq!(found, expected, "pattern {i:#04x}");
    }
}

#[test]
fn random_writes_and_reads_against_a_model() {
    let mut m = Machine::start(sample_config(0));
    const SIZE: usize = 0x2_0000;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut memory = vec![0; SIZE];
    m.qemu.fill_memory(PLACE, SIZE, 0);
    for round in 0..300 {
        let longest = if round % 10 == 0 { 8192 } else { 200 };
        let len = 1 + random.below(longest) as usize;
        let at = random.below((SIZE - len) as u64 + 1) as usize;
        let data = random.bytes(len);
        let mut enables = random.bytes(len.div_ceil(8));
        if random.below(2) == 0 {
            // Long runs rather than noise.
            enables
                .iter_mut()
                .for_each(|e| *e = 0xff << (*e % 9).min(7));
        }
        let enables = (random.below(4) != 0).then_some(&enables[..]);
        ok(m.hdl.dma_write(PLACE + at as u64, &data, enables));
        model(&mut memory, at, &data, enables);
        let len = 1 + random.below(longest) as usize;
        let at = random.below((SIZE - len) as u64 + 1) as usize;
        let read = ok(m.hdl.dma_read(PLACE + at as u64, len as u32));
        assert!(read == memory[at..at + len], "round {round}");
    }
    assert!(m.qemu.read_memory(PLACE, SIZE) == memory);
}

#[test]
fn one_byte_to_the_largest_request() {
    let mut m = Machine::start(sample_config(0));
    let mut random = Random(1);
    for len in [1, 2, 3, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, MAX_DATA] {
        let data = random.bytes(len);
        let at = PLACE + random.below(4096);
        ok(m.hdl.dma_write(at, &data, None));
        assert!(ok(m.hdl.dma_read(at, len as u32)) == data, "{len} bytes");
        // No byte before or after it.
        let around = m.qemu.read_memory(at, len);
        assert!(around == data);
    }
}

#[test]
fn no_enabled_byte_at_all() {
    let mut m = Machine::start(sample_config(0));
    m.qemu.fill_memory(PLACE, 64, 0x77);
    ok(m.hdl.dma_write(PLACE, &[1; 64], Some(&[0; 8])));
    assert_eq!(m.qemu.read_memory(PLACE, 64), [0x77; 64]);
}

#[test]
fn later_writes_win() {
    let mut m = Machine::start(sample_config(0));
    let mut tags = Vec::new();
    let data = |i: usize| (i as u16).to_le_bytes().repeat(16);
    for i in 0..MAX_DMA {
        tags.push(ok(m.hdl.start_dma_write(PLACE, &data(i), None)));
    }
    // One more than the protocol allows is not even sent.
    assert!(m.hdl.start_dma_write(PLACE, &[1], None).is_err());
    // Completions come in the order of the requests.
    for expected in tags {
        match ok(m.hdl.next_event(PATIENCE)) {
            Event::DmaWriteDone {
                tag,
                status: Status::Ok,
            } => assert_eq!(tag, expected),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(m.qemu.read_memory(PLACE, 32), data(MAX_DMA - 1));
}

#[test]
fn without_bus_mastering_memory_is_not_touched() {
    let mut m = Machine::start(sample_config(0));
    m.qemu.fill_memory(PLACE, 64, 0x5a);
    CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
    let written = m.hdl.dma_write(PLACE, &[0xff; 64], None);
    assert_eq!(status(written), Status::Refused);
    let holes = m.hdl.dma_write(PLACE, &[0xff; 64], Some(&[0x55; 8]));
    assert_eq!(status(holes), Status::Refused);
    let read = m.hdl.dma_read(PLACE, 64).map(|_| ());
    assert_eq!(status(read), Status::Refused);
    assert_eq!(m.qemu.read_memory(PLACE, 64), [0x5a; 64]);
    let line = m.qemu.expect_line(&["ERROR", "card", "bus master"]);
    assert!(line.contains(&format!("{PLACE:#x}")), "{line}");
    // And on again.
    CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
    ok(m.hdl.dma_write(PLACE, &[0xff; 64], None));
    assert_eq!(m.qemu.read_memory(PLACE, 64), [0xff; 64]);
}

#[test]
fn where_no_memory_is() {
    let mut m = Machine::start(sample_config(0));
    for addr in [
        RAM_END,
        0x8_0000_0000,
        1 << 52,
        u64::MAX - 63,
        // Begins in memory and ends beyond it.
        RAM_END - 1,
    ] {
        let written = m.hdl.dma_write(addr, &[0; 64], None);
        assert_eq!(status(written), Status::Fault, "write at {addr:#x}");
        let read = m.hdl.dma_read(addr, 64).map(|_| ());
        assert_eq!(status(read), Status::Fault, "read at {addr:#x}");
    }
    m.qemu
        .expect_line(&["ERROR", "card", &format!("{RAM_END:#x}")]);
    // The last byte of memory is memory.
    ok(m.hdl.dma_write(RAM_END - 8, &[3; 8], None));
    assert_eq!(m.qemu.load(RAM_END - 8, 8), 0x0303_0303_0303_0303);
    m.check_alive();
}

#[test]
fn a_flood_of_refused_requests_does_not_flood_the_log() {
    let mut m = Machine::start(sample_config(0));
    for _ in 0..200 {
        let read = m.hdl.dma_read(RAM_END, 4).map(|_| ());
        assert_eq!(status(read), Status::Fault);
    }
    m.qemu.expect_line(&["ERROR"]);
    let lines = m.qemu.count_lines(&["ERROR"]);
    assert!((1..100).contains(&lines), "{lines} lines");
    m.check_alive();
}

#[test]
fn a_card_that_reaches_into_its_own_bar_does_not_hang() {
    let mut m = Machine::start(sample_config(0));
    let addr = m.bar(0);
    let tag = ok(m.hdl.start_dma_read(addr, 4));
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::DmaReadDone { tag: t, .. } => assert_eq!(t, tag),
        other => panic!("{other:?}"),
    }
    let tag = ok(m.hdl.start_dma_write(addr, &[1; 4], None));
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::DmaWriteDone { tag: t, .. } => assert_eq!(t, tag),
        other => panic!("{other:?}"),
    }
    m.qemu.expect_line(&["WARN", "card", "not forwarded"]);
    // Each is many accesses, and the log is not flooded with them.
    for _ in 0..20 {
        assert!(m.hdl.dma_read(addr, 4096).is_err());
    }
    let lines = m.qemu.count_lines(&["not forwarded"]);
    assert!(lines < 20, "{lines} lines");
    m.check_alive();
}
