// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interrupts of the card. A vector's message is a write to the address in its
//! table entry, so that entries that point to memory show every interrupt.

use std::time::{Duration, Instant};

use accelerator_peers::hdl::sample_config;
use accelerator_protocol::{wire::ResetKind, Config, Frame};
use accelerator_qtest::{
    machine::ok,
    pci::{capability, command, reg, Function, MsixSeen, CARD},
    Machine, PATIENCE,
};

/// Where the messages go: vector `v` to `MESSAGES + 4 * v`.
const MESSAGES: u64 = 0x30_0000;

fn place(vector: u16) -> u64 {
    MESSAGES + 4 * u64::from(vector)
}

fn data(vector: u16) -> u32 {
    0xc0de_0000 | u32::from(vector)
}

/// A machine with all vectors programmed.
fn start(vectors: u16) -> (Machine, MsixSeen) {
    let mut m = Machine::start(sample_config(vectors));
    let msix = m.enable_msix();
    assert_eq!(msix.vectors, vectors);
    for vector in 0..vectors {
        let bars = m.bars;
        msix.program(&mut m.qemu, &bars, vector, place(vector), data(vector));
    }
    (m, msix)
}

/// Takes a vector's message: what is there, and nothing left behind.
#[track_caller]
fn take(m: &mut Machine, vector: u16) -> u32 {
    // The answer to a DMA read comes after everything before it.
    ok(m.hdl.dma_read(0, 1));
    let found = m.qemu.load(place(vector), 4) as u32;
    m.qemu.store(place(vector), 4, 0);
    found
}

#[test]
fn each_vector_raises_its_message() {
    let (mut m, _) = start(8);
    for vector in [0, 7, 3, 0, 5] {
        ok(m.hdl.msix(vector));
        for other in 0..8 {
            let expected = if other == vector { data(vector) } else { 0 };
            assert_eq!(take(&mut m, other), expected, "vector {other}");
        }
    }
}

#[test]
fn first_and_last_of_2048() {
    let mut m = Machine::start(sample_config(2048));
    let msix = m.enable_msix();
    for vector in [0, 2047] {
        let bars = m.bars;
        msix.program(&mut m.qemu, &bars, vector, place(vector), data(vector));
    }
    for vector in [0, 2047] {
        ok(m.hdl.msix(vector));
        assert_eq!(take(&mut m, vector), data(vector));
    }
    // Never programmed, masked since reset: pending, not lost and not raised.
    ok(m.hdl.msix(1000));
    let bars = m.bars;
    ok(m.hdl.dma_read(0, 1));
    assert!(msix.is_pending(&mut m.qemu, &bars, 1000));
}

#[test]
fn an_interrupt_comes_after_the_data_that_it_announces() {
    let (mut m, _) = start(1);
    let buffer = 0x40_0000;
    for round in 1..32u8 {
        ok(m.hdl.start_dma_write(buffer, &[round; 4096], None));
        ok(m.hdl.msix(0));
        while m.qemu.load(place(0), 4) == 0 {}
        // As soon as the interrupt is there, so is the data.
        assert_eq!(m.qemu.read_memory(buffer, 4096), [round; 4096]);
        m.qemu.store(place(0), 4, 0);
        ok(m.hdl.next_event(accelerator_qtest::PATIENCE).map(|_| ()));
    }
}

#[test]
fn a_masked_vector_is_pending_until_unmasked() {
    let (mut m, msix) = start(4);
    let bars = m.bars;
    msix.mask(&mut m.qemu, &bars, 2, true);
    ok(m.hdl.msix(2));
    assert_eq!(take(&mut m, 2), 0);
    assert!(msix.is_pending(&mut m.qemu, &bars, 2));
    assert!(!msix.is_pending(&mut m.qemu, &bars, 1));
    // The others are not masked.
    ok(m.hdl.msix(1));
    assert_eq!(take(&mut m, 1), data(1));
    msix.mask(&mut m.qemu, &bars, 2, false);
    assert_eq!(take(&mut m, 2), data(2));
    assert!(!msix.is_pending(&mut m.qemu, &bars, 2));
}

#[test]
fn the_function_mask_holds_all() {
    let (mut m, msix) = start(4);
    let bars = m.bars;
    msix.control(&mut m.qemu, true, true);
    ok(m.hdl.msix(0));
    ok(m.hdl.msix(3));
    assert_eq!((take(&mut m, 0), take(&mut m, 3)), (0, 0));
    assert!(msix.is_pending(&mut m.qemu, &bars, 0));
    assert!(msix.is_pending(&mut m.qemu, &bars, 3));
    msix.control(&mut m.qemu, true, false);
    assert_eq!((take(&mut m, 0), take(&mut m, 3)), (data(0), data(3)));
    assert_eq!((take(&mut m, 1), take(&mut m, 2)), (0, 0));
}

#[test]
fn disabled_msix_raises_nothing() {
    let (mut m, msix) = start(1);
    let bars = m.bars;
    msix.control(&mut m.qemu, false, false);
    ok(m.hdl.msix(0));
    assert_eq!(take(&mut m, 0), 0);
    // QEMU treats a disabled function as masked: nothing is lost.
    assert!(msix.is_pending(&mut m.qemu, &bars, 0));
    msix.control(&mut m.qemu, true, false);
    assert_eq!(take(&mut m, 0), data(0));
}

#[test]
fn without_bus_mastering_no_message_is_written() {
    let (mut m, _) = start(1);
    CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
    ok(m.hdl.msix(0));
    // Refused, but it tells that the interrupt before it was served.
    assert!(m.hdl.dma_read(0, 1).is_err());
    CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
    assert_eq!(take(&mut m, 0), 0);
    ok(m.hdl.msix(0));
    assert_eq!(take(&mut m, 0), data(0));
}

#[test]
fn vectors_out_of_range_are_ignored_and_told() {
    let (mut m, _) = start(4);
    for vector in [4, 5, 2047, 2048, u16::MAX] {
        ok(m.hdl.inject(&Frame::Msix { vector }));
        m.qemu
            .expect_line(&["ERROR", "card", &format!("vector {vector} "), "4 vectors"]);
    }
    for vector in 0..4 {
        assert_eq!(take(&mut m, vector), 0);
    }
    ok(m.hdl.msix(3));
    assert_eq!(take(&mut m, 3), data(3));
}

#[test]
fn an_interrupt_of_a_card_without_msix_is_ignored_and_told() {
    let mut m = Machine::start(sample_config(0));
    ok(m.hdl.inject(&Frame::Msix { vector: 0 }));
    m.qemu
        .expect_line(&["ERROR", "card", "vector 0 ", "0 vectors"]);
    m.check_alive();
}

#[test]
fn interrupts_reach_an_idle_machine() {
    // Nobody waits for the card: QEMU's main loop has to notice by itself.
    let (mut m, _) = start(2);
    for _ in 0..50 {
        ok(m.hdl.msix(1));
        let end = std::time::Instant::now() + accelerator_qtest::PATIENCE;
        while m.qemu.load(place(1), 4) == 0 {
            assert!(std::time::Instant::now() < end, "the interrupt is lost");
        }
        m.qemu.store(place(1), 4, 0);
    }
}

#[test]
fn a_thousand_interrupts_in_a_row() {
    let (mut m, _) = start(4);
    for i in 0..1000 {
        ok(m.hdl.msix(i % 4));
    }
    for vector in 0..4 {
        assert_eq!(take(&mut m, vector), data(vector));
    }
}

#[test]
fn intx_follows_the_level() {
    let mut m = Machine::start(Config {
        intx_pin: 1,
        ..sample_config(0)
    });
    // Interrupt Status is bit 3 of Status.
    let level = |m: &mut Machine| {
        ok(m.hdl.dma_read(0, 1));
        CARD.get(&mut m.qemu, accelerator_qtest::pci::reg::STATUS, 2) >> 3 & 1
    };
    assert_eq!(level(&mut m), 0);
    ok(m.hdl.intx(true));
    assert_eq!(level(&mut m), 1);
    ok(m.hdl.intx(true));
    assert_eq!(level(&mut m), 1);
    ok(m.hdl.intx(false));
    assert_eq!(level(&mut m), 0);
}

/// The pin as the interrupt controller sees it: level-triggered interrupt 11,
/// to which all pins of the machine are routed.
fn pin(m: &mut Machine) -> bool {
    // The answer to a DMA read comes after everything before it.
    ok(m.hdl.dma_read(0, 1));
    m.qemu.port_out(0xa0, 1, 0x0a);
    m.qemu.port_in(0xa0, 1) >> 3 & 1 != 0
}

fn interrupt_status(m: &mut Machine) -> bool {
    CARD.get(&mut m.qemu, accelerator_qtest::pci::reg::STATUS, 2) >> 3 & 1 != 0
}

/// A card without MSI-X whose INTA reaches the interrupt controller.
fn legacy() -> Machine {
    let mut m = Machine::start(Config {
        intx_pin: 1,
        ..sample_config(0)
    });
    let bridge = Function { bus: 0, device: 31 };
    for route in [0x60, 0x68] {
        bridge.set(&mut m.qemu, route, 4, 0x0b0b_0b0b);
    }
    m.qemu.port_out(0x4d1, 1, 1 << 3);
    assert!(MsixSeen::find(&mut m.qemu, CARD).is_none());
    assert!(!pin(&mut m));
    m
}

#[test]
fn intx_reaches_the_interrupt_controller() {
    let mut m = legacy();
    for _ in 0..3 {
        ok(m.hdl.intx(true));
        assert!(pin(&mut m) && interrupt_status(&mut m));
        // Interrupt Disable takes the pin back, and Interrupt Status stays.
        CARD.change_command(&mut m.qemu, command::INTX_DISABLE, 0);
        assert!(!pin(&mut m) && interrupt_status(&mut m));
        CARD.change_command(&mut m.qemu, 0, command::INTX_DISABLE);
        assert!(pin(&mut m) && interrupt_status(&mut m));
        ok(m.hdl.intx(false));
        assert!(!pin(&mut m) && !interrupt_status(&mut m));
    }
    // Raised while it is disabled: seen when it is enabled.
    CARD.change_command(&mut m.qemu, command::INTX_DISABLE, 0);
    ok(m.hdl.intx(true));
    assert!(!pin(&mut m) && interrupt_status(&mut m));
    CARD.change_command(&mut m.qemu, 0, command::INTX_DISABLE);
    assert!(pin(&mut m));
}

#[test]
fn a_reset_takes_intx_back() {
    let mut m = legacy();
    ok(m.hdl.intx(true));
    assert!(pin(&mut m));
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS);
    let control = CARD.get(&mut m.qemu, express + 8, 2);
    CARD.set(&mut m.qemu, express + 8, 2, control | 0x8000);
    let tag = ok(m.hdl.expect_reset(ResetKind::Flr));
    ok(m.hdl.reset_done(tag));
    m.enable_card();
    assert!(!pin(&mut m) && !interrupt_status(&mut m));
    ok(m.hdl.intx(true));
    assert!(pin(&mut m) && interrupt_status(&mut m));
}

#[test]
fn intx_is_released_when_the_simulator_dies() {
    let config = Config {
        intx_pin: 1,
        ..sample_config(0)
    };
    let mut m = Machine::start(config.clone());
    ok(m.hdl.intx(true));
    wait_intx(&mut m, true);
    m.kill_endpoint();
    m.qemu.expect_line(&["is down"]);
    wait_intx(&mut m, false);
    m.restart_endpoint(config);
    ok(m.hdl.wait_for_session(PATIENCE));
    m.settle_resets();
    m.check_alive();
    // Its successor has not asserted it.
    wait_intx(&mut m, false);
    ok(m.hdl.intx(true));
    wait_intx(&mut m, true);
    // Nor does one that says goodbye leave it asserted.
    ok(m.hdl.close());
    wait_intx(&mut m, false);
}

/// Waits until Interrupt Status is so.
#[track_caller]
fn wait_intx(m: &mut Machine, asserted: bool) {
    let deadline = Instant::now() + PATIENCE;
    while (CARD.get(&mut m.qemu, reg::STATUS, 2) >> 3 & 1 != 0) != asserted {
        assert!(
            Instant::now() < deadline,
            "Interrupt Status is not {asserted}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
