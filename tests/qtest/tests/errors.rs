// SPDX-License-Identifier: MIT OR Apache-2.0

//! Advanced Error Reporting: what a completion timeout leaves in it, and what
//! the root port hears (PCIe base spec, Advanced Error Reporting Extended
//! Capability).

use std::time::Instant;

use accelerator_peers::hdl::sample_config;
use accelerator_protocol::wire::ResetKind;
use accelerator_qtest::{
    machine::ok,
    pci::{self, capability, reg, CARD, ROOT_PORT},
    Machine, Options,
};

/// Where the capability is, in the card and in QEMU's root port.
const AER: u16 = 0x100;
const UNCORRECTABLE_STATUS: u16 = AER + 0x04;
const UNCORRECTABLE_MASK: u16 = AER + 0x08;
const UNCORRECTABLE_SEVERITY: u16 = AER + 0x0c;
const HEADER_LOG: u16 = AER + 0x1c;
const ROOT_COMMAND: u16 = AER + 0x2c;
const ROOT_STATUS: u16 = AER + 0x30;
const ERROR_SOURCE: u16 = AER + 0x34;

const COMPLETION_TIMEOUT: u32 = 1 << 14;
/// Of Root Error Status: an uncorrectable error, non-fatal, fatal.
const UNCORRECTABLE: u32 = 1 << 2;
const NON_FATAL: u32 = 1 << 5;
const FATAL: u32 = 1 << 6;

/// A machine whose root port reports errors, and has the card report its own.
fn start() -> Machine {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            properties: "completion-timeout=100".into(),
            ..Options::default()
        },
    );
    let q = &mut m.qemu;
    pci::enable_ecam(q);
    for function in [ROOT_PORT, CARD] {
        assert_eq!(function.get_extended(q, AER) & 0xffff, 1, "{function:?}");
        // Device Control: non-fatal and fatal errors are reported.
        let express = function.expect(q, capability::EXPRESS);
        let control = function.get(q, express + 8, 2);
        function.set(q, express + 8, 2, control | 6);
    }
    // Bridge Control, SERR# Enable: messages from below pass.
    ROOT_PORT.set(q, reg::BRIDGE_CONTROL, 2, 2);
    ROOT_PORT.set_extended(q, ROOT_COMMAND, 7);
    assert_eq!(ROOT_PORT.get_extended(q, ROOT_STATUS) & 0x7f, 0);
    assert_eq!(CARD.get_extended(q, UNCORRECTABLE_STATUS), 0);
    m
}

/// A read that nobody answers in time; its answer comes too late.
fn time_out(m: &mut Machine) {
    m.qemu.start_load(m.bar(0) + 0x40, 4);
    let tag = ok(m.hdl.expect_read(0, 0x40, 4));
    assert_eq!(m.qemu.reply_value(), 0xffff_ffff);
    ok(m.hdl.read_done(tag, 4, 0x1111_1111));
    // Dropped: the next one has its own.
    m.read(0, 0x44, 4, 0x2222_2222);
}

/// Status of the card's errors and of the root port's, which are cleared.
fn take(m: &mut Machine) -> (u32, u32) {
    let q = &mut m.qemu;
    let card = CARD.get_extended(q, UNCORRECTABLE_STATUS);
    let port = ROOT_PORT.get_extended(q, ROOT_STATUS) & 0x7f;
    CARD.set_extended(q, UNCORRECTABLE_STATUS, card);
    ROOT_PORT.set_extended(q, ROOT_STATUS, port);
    assert_eq!(CARD.get_extended(q, UNCORRECTABLE_STATUS), 0);
    assert_eq!(ROOT_PORT.get_extended(q, ROOT_STATUS) & 0x7f, 0);
    (card, port)
}

#[test]
fn a_completion_timeout_is_recorded_and_reported() {
    let mut m = start();
    time_out(&mut m);
    let q = &mut m.qemu;
    // Device Status: non-fatal error detected.
    let express = CARD.expect(q, capability::EXPRESS);
    assert_eq!(CARD.get(q, express + 0x0a, 2) & 0xf, 2);
    // First Error Pointer; no header, since the card does not claim to log it.
    let control = CARD.get_extended(q, AER + 0x18);
    assert_eq!(control & 0x1f, 14);
    assert_eq!(control >> 12 & 1, 0);
    for word in 0..4 {
        assert_eq!(CARD.get_extended(q, HEADER_LOG + 4 * word), 0);
    }
    // The card is 01:00.0.
    assert_eq!(ROOT_PORT.get_extended(q, ERROR_SOURCE) >> 16, 0x0100);
    assert_eq!(
        take(&mut m),
        (COMPLETION_TIMEOUT, UNCORRECTABLE | NON_FATAL)
    );
    m.qemu.expect_lines(&["completion timeout"], 1);
    m.qemu.expect_line(&[
        "WARN",
        "card",
        "completion timeout after 0.1",
        "read of 4 bytes at BAR 0 offset 0x40",
        "its last frame was",
    ]);
}

#[test]
fn severity_and_mask_are_the_guests() {
    let mut m = start();
    CARD.set_extended(&mut m.qemu, UNCORRECTABLE_SEVERITY, COMPLETION_TIMEOUT);
    time_out(&mut m);
    let (card, port) = take(&mut m);
    assert_eq!(card, COMPLETION_TIMEOUT);
    assert_eq!(
        port & (UNCORRECTABLE | NON_FATAL | FATAL),
        UNCORRECTABLE | FATAL
    );
    // Masked: recorded and not reported.
    CARD.set_extended(&mut m.qemu, UNCORRECTABLE_MASK, COMPLETION_TIMEOUT);
    time_out(&mut m);
    assert_eq!(take(&mut m), (COMPLETION_TIMEOUT, 0));
    // Not enabled in Device Control: the same.
    CARD.set_extended(&mut m.qemu, UNCORRECTABLE_MASK, 0);
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS);
    CARD.set(&mut m.qemu, express + 8, 2, 0);
    time_out(&mut m);
    assert_eq!(take(&mut m), (COMPLETION_TIMEOUT, 0));
}

#[test]
fn a_reset_ends_reporting() {
    let mut m = start();
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS);
    let reporting = |m: &mut Machine| CARD.get(&mut m.qemu, express + 8, 2) & 0xf;
    CARD.set(&mut m.qemu, express + 8, 2, 0xf);
    assert_eq!(reporting(&mut m), 0xf);
    CARD.set(&mut m.qemu, express + 8, 2, 0x800f);
    let tag = ok(m.hdl.expect_reset(ResetKind::Flr));
    ok(m.hdl.reset_done(tag));
    assert_eq!(reporting(&mut m), 0);
}

#[test]
fn what_is_answered_in_time_is_no_error() {
    let mut m = start();
    for i in 0..20 {
        m.read(0, 4 * i, 4, i);
        m.write(0, 4 * i, 4, i);
    }
    assert_eq!(take(&mut m), (0, 0));
}

/// A guest that reads a register that never answers can do so as often as it likes.
#[test]
fn reads_that_are_given_up_do_not_fill_the_log() {
    let begin = Instant::now();
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            properties: "completion-timeout=1".into(),
            ..Options::default()
        },
    );
    let addr = m.bar(0) + 0x40;
    for _ in 0..500 {
        assert_eq!(m.qemu.load(addr, 4), 0xffff_ffff);
    }
    m.qemu.expect_few_lines(&["WARN"], 19, begin);
    m.qemu.expect_line(&[
        "WARN",
        "completion timeout",
        "more like this are left out for",
    ]);
}
