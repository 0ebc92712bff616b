// SPDX-License-Identifier: MIT OR Apache-2.0

//! DMA of a card to a BAR of another card in the same machine.

use std::time::{Duration, Instant};

use accelerator_peers::{hdl::sample_config, Error, Event, HdlEndpoint};
use accelerator_protocol::{config::Config, wire::Status};
use accelerator_qtest::{
    machine::ok,
    pci::{command, reg, Function},
    waits::{wait_in, FIRST},
    Machine, Options, Scratch, PATIENCE,
};

/// Where BAR 0 of the other card is, behind a port of its own.
const OTHER: u64 = 0xe000_0000;

/// How long QEMU waits for the other card.
const LIMIT: Duration = Duration::from_millis(500);

/// Posted writes that may be under way to it.
const WINDOW: usize = 8;

struct Two {
    m: Machine,
    other: HdlEndpoint,
    _scratch: Scratch,
}

/// A machine with two cards, of which both may do DMA, and with so many vCPUs.
#[track_caller]
fn start(vcpus: u32) -> Two {
    start_with(vcpus, "")
}

/// The same with further properties of the other card.
#[track_caller]
fn start_with(vcpus: u32, properties: &str) -> Two {
    let scratch = Scratch::new();
    let config = Config {
        device: 0x2222,
        ..sample_config(0)
    };
    let mut other = ok(HdlEndpoint::bind(&scratch.endpoint(), config));
    // It is made before the one that `Machine` knows, which waits for nobody.
    let serve = std::thread::spawn(move || {
        ok(other.wait_for_session(PATIENCE));
        other
    });
    let args = format!(
        "-device pcie-root-port,id=rp1,bus=pcie.0,addr=5.0,chassis=2 \
         -device accelerator-pcie,id=two,bus=rp1,endpoint={},other-timeout={},write-window={WINDOW}{properties}",
        scratch.endpoint(),
        LIMIT.as_millis()
    );
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            args,
            vcpus,
            ..Options::default()
        },
    );
    let mut other = serve.join().unwrap();
    let port = Function { bus: 0, device: 5 };
    port.set(&mut m.qemu, reg::PRIMARY_BUS, 4, 0x0002_0200);
    port.set(&mut m.qemu, reg::MEMORY_BASE, 4, 0xe000_e000);
    port.change_command(&mut m.qemu, command::MEMORY | command::BUS_MASTER, 0);
    let two = Function { bus: 2, device: 0 };
    two.set(&mut m.qemu, reg::BAR0, 4, OTHER as u32);
    two.change_command(&mut m.qemu, command::MEMORY | command::BUS_MASTER, 0);
    // The reset of the machine came before the read.
    m.qemu.start_load(OTHER, 4);
    loop {
        match ok(other.next_event(PATIENCE)) {
            Event::Reset { tag, .. } => ok(other.reset_done(tag)),
            Event::Read { tag, len, .. } => break ok(other.read_done(tag, len, 0x77)),
            event => panic!("expected a reset or the read, got {event:?}"),
        }
    }
    assert_eq!(m.qemu.reply_value(), 0x77);
    Two {
        m,
        other,
        _scratch: scratch,
    }
}

impl Two {
    /// The status of the DMA read or write with this tag, and its data.
    #[track_caller]
    fn done(&mut self, tag: u32) -> (Status, Vec<u8>) {
        match ok(self.m.hdl.next_event(PATIENCE)) {
            Event::DmaReadDone {
                tag: t,
                status,
                data,
            } if t == tag => (status, data),
            Event::DmaWriteDone { tag: t, status } if t == tag => (status, Vec::new()),
            event => panic!("expected the end of DMA {tag}, got {event:?}"),
        }
    }

    /// The other card answers a read that was given up. Until that is known, no other read of this
    /// kind is asked.
    #[track_caller]
    fn pay(&mut self, tag: u32, len: u8) {
        ok(self.other.read_done(tag, len, 0));
        self.m.qemu.expect_line(&["two", "late completion"]);
    }

    /// The other card answers, and so does the first one.
    #[track_caller]
    fn check_alive(&mut self) {
        self.m.qemu.start_load(OTHER + 8, 4);
        let tag = ok(self.other.expect_read(0, 8, 4));
        ok(self.other.read_done(tag, 4, 0x1234));
        assert_eq!(self.m.qemu.reply_value(), 0x1234);
        self.m.check_alive();
    }
}

#[test]
fn a_card_writes_to_another() {
    let mut two = start(0);
    let data: Vec<u8> = (1..=20).collect();
    let tag = ok(two.m.hdl.start_dma_write(OTHER + 0x10, &data, None));
    // Posted: done before the other card says so.
    assert_eq!(two.done(tag).0, Status::Ok);
    for (offset, len) in [(0x10, 8), (0x18, 8), (0x20, 4)] {
        let bytes = &data[offset as usize - 0x10..][..usize::from(len)];
        let value = bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
        let tag = ok(two.other.expect_write(0, offset, len, value));
        ok(two.other.write_done(tag, Status::Ok));
    }
    two.check_alive();
}

#[test]
fn only_enabled_bytes_are_written() {
    let mut two = start(0);
    // Bytes 2, 3 and 4.
    let tag = ok(two
        .m
        .hdl
        .start_dma_write(OTHER, &[0, 1, 2, 3, 4, 5, 6, 7], Some(&[0b0001_1100])));
    assert_eq!(two.done(tag).0, Status::Ok);
    let mut written = std::collections::BTreeMap::new();
    while written.len() < 3 {
        match ok(two.other.next_event(PATIENCE)) {
            Event::Write {
                tag,
                bar: 0,
                len,
                offset,
                data,
            } => {
                let bytes = data.to_le_bytes();
                for i in 0..u64::from(len) {
                    written.insert(offset + i, bytes[i as usize]);
                }
                ok(two.other.write_done(tag, Status::Ok));
            }
            event => panic!("expected a write, got {event:?}"),
        }
    }
    assert_eq!(written, [(2, 2), (3, 3), (4, 4)].into());
    two.check_alive();
}

#[test]
fn a_card_reads_from_another() {
    let mut two = start(0);
    let tag = ok(two.m.hdl.start_dma_read(OTHER + 0x20, 12));
    for (offset, len, value) in [(0x20, 8, 0x0807_0605_0403_0201), (0x28, 4, 0x0c0b_0a09)] {
        let tag = ok(two.other.expect_read(0, offset, len));
        ok(two.other.read_done(tag, len, value));
    }
    assert_eq!(two.done(tag), (Status::Ok, (1..=12).collect()));
    two.check_alive();
}

/// The same in the thread of a vCPU, which serves the card whose answer it waits for.
#[test]
fn a_vcpu_that_waits_carries_it_out() {
    let mut two = start(1);
    FIRST.expect_progress(&mut two.m.qemu);
    let read = wait_in(&mut two.m, 0x40);
    let tag = ok(two.m.hdl.start_dma_read(OTHER, 4));
    let asked = ok(two.other.expect_read(0, 0, 4));
    ok(two.other.read_done(asked, 4, 0xfeed));
    assert_eq!(two.done(tag), (Status::Ok, vec![0xed, 0xfe, 0, 0]));
    let tag = ok(two.m.hdl.start_dma_write(OTHER + 4, &[9; 4], None));
    assert_eq!(two.done(tag).0, Status::Ok);
    let asked = ok(two.other.expect_write(0, 4, 4, 0x0909_0909));
    ok(two.other.write_done(asked, Status::Ok));
    ok(two.m.hdl.read_done(read, 4, 0x55));
    let deadline = Instant::now() + PATIENCE;
    while !FIRST.is_done(&mut two.m.qemu) {
        assert!(Instant::now() < deadline, "the vCPU's read does not end");
    }
    assert_eq!(FIRST.loaded(&mut two.m.qemu), 0x55);
    FIRST.forget(&mut two.m.qemu);
}

#[test]
fn an_error_of_the_other_card_is_one_of_the_dma() {
    let mut two = start(0);
    let tag = ok(two.m.hdl.start_dma_read(OTHER, 4));
    let asked = ok(two.other.expect_read(0, 0, 4));
    ok(two.other.read_ended(asked, 4, Status::Fault, 0));
    assert_eq!(two.done(tag).0, Status::Refused);
    two.check_alive();
}

#[test]
fn a_card_that_does_not_answer_is_waited_for_within_a_limit() {
    let mut two = start(0);
    let begin = Instant::now();
    let tag = ok(two.m.hdl.start_dma_read(OTHER, 4));
    let asked = ok(two.other.expect_read(0, 0, 4));
    assert_eq!(two.done(tag).0, Status::Refused);
    assert!(begin.elapsed() >= LIMIT, "{:?}", begin.elapsed());
    two.m.qemu.expect_line(&["WARN", "two", "given up"]);
    // It is not waited for again as long as it owes the answer.
    let begin = Instant::now();
    let tag = ok(two.m.hdl.start_dma_read(OTHER, 4));
    assert_eq!(two.done(tag).0, Status::Refused);
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    two.pay(asked, 4);
    two.check_alive();
}

/// Five hundred accesses, of which the first is waited for and ends the others.
#[test]
fn the_first_access_that_fails_ends_the_dma() {
    let mut two = start_with(0, ",completion-timeout=300");
    let begin = Instant::now();
    let tag = ok(two.m.hdl.start_dma_read(OTHER, 4096));
    let asked = ok(two.other.expect_read(0, 0, 8));
    assert_eq!(two.done(tag).0, Status::Refused);
    assert!(begin.elapsed() < 10 * LIMIT, "{:?}", begin.elapsed());
    two.pay(asked, 8);
    two.check_alive();
}

/// More writes than may be under way: the card waits for room.
#[test]
fn a_long_write_comes_whole_and_in_order() {
    let mut two = start(0);
    let data: Vec<u8> = (0..4096u32).map(|i| (i / 8 * 7 + i) as u8).collect();
    let tag = ok(two.m.hdl.start_dma_write(OTHER, &data, None));
    let mut got = Vec::new();
    while got.len() < data.len() {
        match ok(two.other.next_event(PATIENCE)) {
            Event::Write {
                tag,
                bar: 0,
                len: 8,
                offset,
                data,
            } => {
                assert_eq!(offset, got.len() as u64);
                got.extend(data.to_le_bytes());
                ok(two.other.write_done(tag, Status::Ok));
            }
            event => panic!("expected a write, got {event:?}"),
        }
    }
    assert_eq!(got, data);
    assert_eq!(two.done(tag).0, Status::Ok);
    two.check_alive();
}

#[test]
fn a_card_that_takes_no_writes_is_waited_for_within_a_limit() {
    let mut two = start(0);
    let tag = ok(two.m.hdl.start_dma_write(OTHER, &[1; 4096], None));
    assert_eq!(two.done(tag).0, Status::Refused);
    two.m.qemu.expect_line(&["WARN", "two", "given up"]);
    for _ in 0..WINDOW {
        match ok(two.other.next_event(PATIENCE)) {
            Event::Write { tag, .. } => ok(two.other.write_done(tag, Status::Ok)),
            event => panic!("expected a write, got {event:?}"),
        }
    }
}

/// Each reads from the other: the one that is waited for cannot be served, and is told.
#[test]
fn two_that_wait_for_each_other_do_not_hang() {
    let mut two = start(0);
    let tag = ok(two.m.hdl.start_dma_read(OTHER, 4));
    let asked = ok(two.other.expect_read(0, 0, 4));
    let back = two.m.bar(0);
    match two.other.dma_read(back, 4) {
        Err(Error::Status { status, .. }) => assert_eq!(status, Status::Refused),
        result => panic!("expected a refusal, got {result:?}"),
    }
    two.m.qemu.expect_line(&["WARN", "card", "not forwarded"]);
    ok(two.other.read_done(asked, 4, 0x0403_0201));
    assert_eq!(two.done(tag), (Status::Ok, vec![1, 2, 3, 4]));
    // One after the other they do.
    let tag = ok(two.other.start_dma_read(back, 4));
    let asked = ok(two.m.hdl.expect_read(0, 0, 4));
    ok(two.m.hdl.read_done(asked, 4, 5));
    match ok(two.other.next_event(PATIENCE)) {
        Event::DmaReadDone {
            tag: t,
            status,
            data,
        } => {
            assert_eq!((t, status, data), (tag, Status::Ok, vec![5, 0, 0, 0]));
        }
        event => panic!("expected the end of the DMA, got {event:?}"),
    }
    two.check_alive();
}

#[test]
fn a_card_without_a_link_is_an_error_at_once() {
    let mut two = start(0);
    ok(two.other.close());
    two.m.qemu.expect_line(&["ERROR", "two", "is down"]);
    let begin = Instant::now();
    let tag = ok(two.m.hdl.start_dma_read(OTHER, 4));
    assert_eq!(two.done(tag).0, Status::Refused);
    let tag = ok(two.m.hdl.start_dma_write(OTHER, &[1; 8], None));
    assert_eq!(two.done(tag).0, Status::Refused);
    assert!(begin.elapsed() < LIMIT, "{:?}", begin.elapsed());
    two.m.check_alive();
}
