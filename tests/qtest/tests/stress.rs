// SPDX-License-Identifier: MIT OR Apache-2.0

//! Everything at once, in random order, against models of the BAR and of guest
//! memory: accesses that overlap, DMA and interrupts in the middle of them,
//! slow completions, resets. The order is the same in every run.

use std::collections::VecDeque;

use accelerator_peers::{hdl::sample_config, Event};
use accelerator_protocol::{
    host::mask,
    wire::{ResetKind, Status},
};
use accelerator_qtest::{
    machine::ok,
    pci::{capability, CARD},
    Machine, Options, PATIENCE,
};

const AREA: u64 = 0x10_0000;
const AREA_LEN: u64 = 0x8000;
const MESSAGE: u64 = 0x30_0000;

/// Numbers that look random and are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

struct Stress {
    m: Machine,
    random: Random,
    /// The card's BAR 0.
    bar: Vec<u8>,
    /// Guest memory from AREA.
    memory: Vec<u8>,
    /// Writes that the card has taken and not reported.
    unreported: VecDeque<u32>,
    window: usize,
}

impl Stress {
    fn new(seed: u64, window: usize) -> Self {
        let mut m = Machine::start_with(
            sample_config(2),
            &Options {
                properties: format!("write-window={window}"),
                ..Options::default()
            },
        );
        m.qemu.fill_memory(AREA, AREA_LEN as usize, 0);
        let mut stress = Self {
            m,
            random: Random(seed),
            bar: vec![0; 0x2000],
            memory: vec![0; AREA_LEN as usize],
            unreported: VecDeque::new(),
            window,
        };
        stress.program_interrupt();
        stress
    }

    fn program_interrupt(&mut self) {
        let bars = self.m.bars;
        let msix = self.m.enable_msix();
        msix.program(&mut self.m.qemu, &bars, 1, MESSAGE, 1);
    }

    fn range(&mut self, longest: u64, space: u64) -> (u64, u64) {
        let len = 1 + self.random.below(longest);
        (self.random.below(space - len + 1), len)
    }

    /// What a card may do at any time.
    fn dma(&mut self) {
        match self.random.below(4) {
            0 => {
                let (at, len) = self.range(5000, AREA_LEN);
                let data = ok(self.m.hdl.dma_read(AREA + at, len as u32));
                assert!(data == self.memory[at as usize..(at + len) as usize]);
            }
            1 | 2 => {
                let (at, len) = self.range(300, AREA_LEN);
                let data = self.random.bytes(len);
                let enables = self.random.bytes(len.div_ceil(8));
                let enables = (self.random.below(2) == 0).then_some(&enables[..]);
                ok(self.m.hdl.dma_write(AREA + at, &data, enables));
                for (i, b) in data.iter().enumerate() {
                    if enables.is_none_or(|e| e[i / 8] >> (i % 8) & 1 != 0) {
                        self.memory[at as usize + i] = *b;
                    }
                }
            }
            _ => ok(self.m.hdl.msix(1)),
        }
    }

    /// Reports some of the writes, at least one if there are any.
    fn report(&mut self) {
        let count = 1 + self.random.below(self.unreported.len().max(1) as u64);
        for _ in 0..count {
            if let Some(tag) = self.unreported.pop_front() {
                ok(self.m.hdl.write_done(tag, Status::Ok));
            }
        }
    }

    fn take_write(&mut self, at: u64, len: u8, value: u64) {
        // The write may be held up by the window: then room comes first.
        if self.unreported.len() == self.window {
            if self.random.below(2) == 0 {
                self.dma();
            }
            self.report();
        }
        let tag = ok(self.m.hdl.expect_write(0, at, len, mask(value, len)));
        self.unreported.push_back(tag);
        let bytes = value.to_le_bytes();
        let at = at as usize;
        self.bar[at..at + usize::from(len)].copy_from_slice(&bytes[..len.into()]);
    }

    fn step(&mut self) {
        let len = 1 << self.random.below(4);
        let at = self.random.below(0x2000 - u64::from(len) + 1);
        let addr = self.m.bar(0) + at;
        match self.random.below(20) {
            0..=7 => {
                let value = self.random.0;
                self.m.qemu.start_store(addr, len, value);
                self.take_write(at, len, value);
                self.m.qemu.reply();
            }
            8..=14 => {
                self.m.qemu.start_load(addr, len);
                let tag = ok(self.m.hdl.expect_read(0, at, len));
                for _ in 0..self.random.below(4) {
                    self.dma();
                }
                if self.random.below(2) == 0 {
                    self.report();
                }
                let mut bytes = [0; 8];
                let range = at as usize..at as usize + usize::from(len);
                bytes[..len.into()].copy_from_slice(&self.bar[range]);
                let value = u64::from_le_bytes(bytes);
                ok(self.m.hdl.read_done(tag, len, value));
                assert_eq!(self.m.qemu.reply_value(), value);
            }
            15 | 16 => self.dma(),
            17 => self.report(),
            18 => {
                // The guest writes its own memory.
                let (at, len) = self.range(64, AREA_LEN);
                let data = self.random.bytes(len);
                self.m.qemu.write_memory(AREA + at, &data);
                self.memory[at as usize..(at + len) as usize].copy_from_slice(&data);
            }
            _ if self.random.below(10) == 0 => self.reset(),
            _ => {
                self.m.qemu.store(MESSAGE, 4, 0);
                ok(self.m.hdl.msix(1));
                ok(self.m.hdl.dma_read(AREA, 1));
                assert_eq!(self.m.qemu.load(MESSAGE, 4), 1);
            }
        }
    }

    fn reset(&mut self) {
        let at = CARD.expect(&mut self.m.qemu, capability::EXPRESS) + 8;
        let control = CARD.get(&mut self.m.qemu, at, 2);
        CARD.set(&mut self.m.qemu, at, 2, control | 0x8000);
        let reset = ok(self.m.hdl.expect_reset(ResetKind::Flr));
        // The writes that were not reported are void.
        self.unreported.clear();
        self.m.enable_card();
        if self.random.below(2) == 0 {
            // A read that comes while the card is in reset.
            self.m.qemu.start_load(self.m.bar(0), 4);
            let tag = ok(self.m.hdl.expect_read(0, 0, 4));
            ok(self.m.hdl.read_done(tag, 4, 9));
            assert_eq!(self.m.qemu.reply_value(), 9);
        }
        ok(self.m.hdl.reset_done(reset));
        self.program_interrupt();
    }

    fn finish(mut self) {
        while let Some(tag) = self.unreported.pop_front() {
            ok(self.m.hdl.write_done(tag, Status::Ok));
        }
        self.m.check_alive();
        let memory = self.m.qemu.read_memory(AREA, AREA_LEN as usize);
        assert!(memory == self.memory, "guest memory differs from the model");
        assert_eq!(self.m.qemu.count_lines(&["ERROR"]), 0);
    }
}

#[test]
fn all_at_once_with_a_narrow_window() {
    let mut stress = Stress::new(0x1357_9bdf_0246_8ace, 2);
    for _ in 0..3000 {
        stress.step();
    }
    stress.finish();
}

#[test]
fn all_at_once_with_a_wide_window() {
    let mut stress = Stress::new(0xfeed_beef_1234_5678, 64);
    for _ in 0..3000 {
        stress.step();
    }
    stress.finish();
}

/// Requests of the card without waiting for their completions, as many as the
/// protocol allows, while the guest reads.
#[test]
fn the_most_dma_that_can_be_outstanding() {
    let mut stress = Stress::new(99, 4);
    for round in 0..50u64 {
        let addr = stress.m.bar(0);
        stress.m.qemu.start_load(addr, 8);
        let tag = ok(stress.m.hdl.expect_read(0, 0, 8));
        let mut expected = Vec::new();
        for i in 0..64u64 {
            let at = AREA + 64 * i;
            if i % 2 == 0 {
                let data = [(round + i) as u8; 64];
                ok(stress.m.hdl.start_dma_write(at, &data, None));
                expected.push(None);
            } else {
                // What was written just before it.
                ok(stress.m.hdl.start_dma_read(at - 64, 64));
                expected.push(Some((round + i - 1) as u8));
            }
        }
        ok(stress.m.hdl.read_done(tag, 8, round));
        for expected in expected {
            match (ok(stress.m.hdl.next_event(PATIENCE)), expected) {
                (Event::DmaWriteDone { status, .. }, None) => assert_eq!(status, Status::Ok),
                (Event::DmaReadDone { status, data, .. }, Some(byte)) => {
                    assert_eq!((status, data), (Status::Ok, vec![byte; 64]));
                }
                (other, _) => panic!("{other:?}"),
            }
        }
        assert_eq!(stress.m.qemu.reply_value(), round);
    }
    stress.m.check_alive();
}
