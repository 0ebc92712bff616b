// SPDX-License-Identifier: MIT OR Apache-2.0

//! Resets reach the card, and what was outstanding before is void.

use accelerator_peers::{hdl::sample_config, Event};
use accelerator_protocol::{
    wire::{ResetKind, Status},
    Config, Frame,
};
use accelerator_qtest::{
    machine::{ok, QUIET},
    pci::{capability, command, reg, MsixSeen, CARD, ROOT_PORT},
    Machine, Options, PATIENCE,
};
use serde_json::json;

/// Secondary Bus Reset in Bridge Control.
const BUS_RESET: u32 = 0x40;

fn function_level_reset(m: &mut Machine) {
    let at = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
    let control = CARD.get(&mut m.qemu, at, 2);
    CARD.set(&mut m.qemu, at, 2, control | 0x8000);
}

fn bus_reset(m: &mut Machine) {
    let control = ROOT_PORT.get(&mut m.qemu, reg::BRIDGE_CONTROL, 2);
    ROOT_PORT.set(&mut m.qemu, reg::BRIDGE_CONTROL, 2, control | BUS_RESET);
    ROOT_PORT.set(&mut m.qemu, reg::BRIDGE_CONTROL, 2, control & !BUS_RESET);
}

#[test]
fn function_level_reset_reaches_the_card() {
    let mut m = Machine::start(sample_config(2));
    // The function says that it can.
    let at = CARD.expect(&mut m.qemu, capability::EXPRESS);
    assert!(CARD.get(&mut m.qemu, at + 4, 4) & 1 << 28 != 0, "DEVCAP");
    function_level_reset(&mut m);
    let tag = ok(m.hdl.expect_reset(ResetKind::Flr));
    ok(m.hdl.reset_done(tag));
    m.expect_quiet();
    // Initiate FLR reads as zero; BARs and Command are back at their defaults.
    assert_eq!(CARD.get(&mut m.qemu, at + 8, 2) & 0x8000, 0);
    assert_eq!(CARD.get(&mut m.qemu, reg::COMMAND, 2), 0);
    assert_eq!(CARD.get(&mut m.qemu, reg::BAR0, 4) & !0xf, 0);
    m.enable_card();
    m.check_alive();
}

#[test]
fn writing_device_control_without_the_bit_is_no_reset() {
    let mut m = Machine::start(sample_config(0));
    let at = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
    CARD.set(&mut m.qemu, at, 2, 0x2810);
    CARD.set(&mut m.qemu, at, 1, 0x0f);
    m.expect_quiet();
    m.check_alive();
}

#[test]
fn bus_reset_reaches_the_card() {
    let mut m = Machine::start(sample_config(2));
    bus_reset(&mut m);
    let tag = ok(m.hdl.expect_reset(ResetKind::Hot));
    ok(m.hdl.reset_done(tag));
    m.expect_quiet();
    assert_eq!(CARD.get(&mut m.qemu, reg::COMMAND, 2), 0);
    m.enable_card();
    m.check_alive();
}

#[test]
fn machine_reset_reaches_the_card() {
    let mut m = Machine::start(sample_config(2));
    for _ in 0..3 {
        m.qemu.qmp("system_reset", json!({}));
        m.qemu.expect_event("RESET");
        let tag = ok(m.hdl.expect_reset(ResetKind::Cold));
        ok(m.hdl.reset_done(tag));
        m.expect_quiet();
        m.enumerate();
        m.check_alive();
    }
}

#[test]
fn writes_before_a_reset_do_not_fill_the_window_after_it() {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            properties: "write-window=4".into(),
            ..Options::default()
        },
    );
    let addr = m.bar(0);
    let mut tags = Vec::new();
    for i in 0..4 {
        m.qemu.store(addr, 4, i);
        tags.push(ok(m.hdl.expect_write(0, 0, 4, i)));
    }
    function_level_reset(&mut m);
    let reset = ok(m.hdl.expect_reset(ResetKind::Flr));
    // They are void: nobody may answer them any more.
    for tag in tags {
        assert!(m.hdl.write_done(tag, Status::Ok).is_err());
    }
    // Four more fit at once, before the card is out of its reset even.
    m.enable_card();
    let addr = m.bar(0);
    for i in 0..4 {
        m.qemu.store(addr, 4, 0x10 + i);
    }
    ok(m.hdl.reset_done(reset));
    for i in 0..4 {
        let tag = ok(m.hdl.expect_write(0, 0, 4, 0x10 + i));
        ok(m.hdl.write_done(tag, Status::Ok));
    }
    m.check_alive();
}

#[test]
fn what_the_card_sent_before_it_saw_the_reset_is_void() {
    let mut m = Machine::start(sample_config(2));
    let bars = m.bars;
    let msix = m.enable_msix();
    msix.program(&mut m.qemu, &bars, 0, 0x30_0000, 0xdead);
    m.qemu.fill_memory(0x20_0000, 64, 0x11);
    function_level_reset(&mut m);
    let reset = match ok(m.hdl.next_event(PATIENCE)) {
        Event::Reset { tag, .. } => tag,
        other => panic!("{other:?}"),
    };
    // As if these had been on their way when the reset came: the session of our
    // side would refuse to send them now.
    ok(m.hdl.inject(&Frame::DmaWrite {
        tag: 77,
        addr: 0x20_0000,
        data: &[0xff; 64],
        enables: None,
    }));
    ok(m.hdl.inject(&Frame::DmaRead {
        tag: 78,
        addr: 0x20_0000,
        len: 4,
    }));
    ok(m.hdl.inject(&Frame::Msix { vector: 0 }));
    ok(m.hdl.inject(&Frame::MmioReadDone {
        tag: 12345,
        status: Status::Ok,
        data: 0,
    }));
    // Bus mastering on again: it is not what keeps them out.
    m.enable_card();
    ok(m.hdl.reset_done(reset));
    m.check_alive();
    assert_eq!(m.qemu.read_memory(0x20_0000, 64), [0x11; 64]);
    assert_eq!(m.qemu.load(0x30_0000, 4), 0);
    // No completion of the two DMA requests came: `check_alive` would have
    // seen them.
}

#[test]
fn msix_is_off_after_a_reset() {
    let mut m = Machine::start(sample_config(4));
    let bars = m.bars;
    let msix = m.enable_msix();
    msix.program(&mut m.qemu, &bars, 1, 0x30_0000, 0xbeef);
    bus_reset(&mut m);
    m.settle_resets();
    m.enable_card();
    let bars = m.bars;
    ok(m.hdl.msix(1));
    ok(m.hdl.dma_read(0, 1));
    assert_eq!(m.qemu.load(0x30_0000, 4), 0);
    // The table is masked again, and works when programmed again.
    let msix = MsixSeen::find(&mut m.qemu, CARD).unwrap();
    msix.control(&mut m.qemu, true, false);
    msix.program(&mut m.qemu, &bars, 1, 0x30_0000, 0xbeef);
    m.qemu.store(0x30_0000, 4, 0);
    ok(m.hdl.msix(1));
    ok(m.hdl.dma_read(0, 1));
    assert_eq!(m.qemu.load(0x30_0000, 4), 0xbeef);
}

#[test]
fn a_read_during_the_reset_is_answered() {
    let mut m = Machine::start(sample_config(0));
    function_level_reset(&mut m);
    m.enable_card();
    m.qemu.start_load(m.bar(0), 4);
    let reset = ok(m.hdl.expect_reset(ResetKind::Flr));
    let tag = ok(m.hdl.expect_read(0, 0, 4));
    // Whether the RTL answers before or after it has left its reset.
    ok(m.hdl.read_done(tag, 4, 0x77));
    assert_eq!(m.qemu.reply_value(), 0x77);
    ok(m.hdl.reset_done(reset));
    m.check_alive();
}

#[test]
fn resets_in_a_row_are_answered_by_one_or_each() {
    let mut m = Machine::start(sample_config(0));
    for each in [true, false] {
        let mut tags = Vec::new();
        for _ in 0..3 {
            function_level_reset(&mut m);
            tags.push(ok(m.hdl.expect_reset(ResetKind::Flr)));
        }
        if each {
            for tag in tags {
                ok(m.hdl.reset_done(tag));
            }
        } else {
            ok(m.hdl.reset_done(tags[2]));
        }
        m.enable_card();
        m.check_alive();
    }
}

#[test]
fn the_level_of_the_pin_falls_with_a_reset() {
    let mut m = Machine::start(Config {
        intx_pin: 1,
        ..sample_config(0)
    });
    ok(m.hdl.intx(true));
    ok(m.hdl.dma_read(0, 1));
    let pending = |m: &mut Machine| CARD.get(&mut m.qemu, reg::STATUS, 2) >> 3 & 1;
    assert_eq!(pending(&mut m), 1);
    bus_reset(&mut m);
    m.settle_resets();
    assert_eq!(pending(&mut m), 0);
    m.enable_card();
    ok(m.hdl.intx(true));
    ok(m.hdl.dma_read(0, 1));
    assert_eq!(pending(&mut m), 1);
}

#[test]
fn a_card_in_reset_does_not_hold_the_machine() {
    let mut m = Machine::start(sample_config(0));
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("RESET");
    // Nobody answers the reset, and QEMU goes on.
    m.qemu.qmp("query-status", json!({}));
    CARD.change_command(&mut m.qemu, command::MEMORY, 0);
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("RESET");
    let mut resets = 0;
    while let Some(event) = ok(m.hdl.try_event(QUIET)) {
        match event {
            Event::Reset { tag, .. } => {
                resets += 1;
                ok(m.hdl.reset_done(tag));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(resets, 2);
    m.enumerate();
    m.check_alive();
}
