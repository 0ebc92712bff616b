// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest sets in config space: what becomes of it, and what the
//! simulator is told.

use accelerator_peers::{hdl::sample_config, Error, Event};
use accelerator_protocol::{
    function::{Function, Power, UNMAPPED},
    wire::{ResetKind, Status},
    Config,
};
use accelerator_qtest::{
    machine::ok,
    pci::{self, capability, command, reg, CARD, ROOT_PORT},
    Machine, PATIENCE,
};

/// After [`Machine::start`].
fn started(m: &Machine) -> Function {
    Function {
        memory_space: true,
        bus_master: true,
        requester_id: 0x100,
        link_speed: 3,
        link_width: 4,
        addresses: Some(m.bars.map(|bar| bar.unwrap_or(UNMAPPED))),
        ..Function::default()
    }
}

/// No BAR answers.
const NOWHERE: Option<[u64; 6]> = Some([UNMAPPED; 6]);

#[track_caller]
fn told(m: &mut Machine) -> Function {
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::Function(function) => function,
        other => panic!("expected FUNCTION, got {other:?}"),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::Status {
            status: Status::Refused,
            ..
        }) => {}
        other => panic!("expected that it is refused, got {other:?}"),
    }
}

fn sleep(m: &mut Machine, state: u32) {
    let at = CARD.expect(&mut m.qemu, capability::POWER_MANAGEMENT) + 4;
    CARD.set(&mut m.qemu, at, 2, state);
}

#[test]
fn each_change_is_told_once() {
    let mut m = Machine::start(sample_config(2));
    assert_eq!(m.hdl.function(), Some(started(&m)));
    m.hdl.hear_function();
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
    let power = CARD.expect(&mut m.qemu, capability::POWER_MANAGEMENT) + 4;
    let msix = CARD.expect(&mut m.qemu, capability::MSIX) + 2;
    let f = started(&m);
    let steps: Vec<(u16, u32, Function)> = vec![
        (
            reg::COMMAND,
            2,
            Function {
                bus_master: false,
                ..f
            },
        ),
        (
            reg::COMMAND,
            0,
            Function {
                bus_master: false,
                memory_space: false,
                addresses: NOWHERE,
                ..f
            },
        ),
        (
            reg::COMMAND,
            0x406,
            Function {
                intx_disable: true,
                ..f
            },
        ),
        (reg::COMMAND, 6, f),
        (
            msix,
            0x8000,
            Function {
                msix_enable: true,
                ..f
            },
        ),
        (
            msix,
            0xc000,
            Function {
                msix_enable: true,
                msix_mask: true,
                ..f
            },
        ),
        (msix, 0, f),
        (
            express,
            0x2910,
            Function {
                extended_tag: true,
                ..f
            },
        ),
        (
            express,
            0x2800,
            Function {
                relaxed_ordering: false,
                ..f
            },
        ),
        (
            express,
            0x2010,
            Function {
                no_snoop: false,
                ..f
            },
        ),
        (
            express,
            0x5810,
            Function {
                max_read_request: 5,
                ..f
            },
        ),
        (
            express,
            0x0810,
            Function {
                max_read_request: 0,
                ..f
            },
        ),
        (express, 0x2810, f),
        (
            power,
            3,
            Function {
                power: Power::D3hot,
                addresses: NOWHERE,
                ..f
            },
        ),
        (power, 0, f),
    ];
    for (at, value, expected) in steps {
        CARD.set(&mut m.qemu, at, 2, value);
        assert_eq!(told(&mut m), expected, "{value:#x} at {at:#x}");
        // The same again is no news.
        CARD.set(&mut m.qemu, at, 2, value);
    }
    m.expect_quiet();
    // The card learns its number as on hardware: from the next write to it.
    ROOT_PORT.set(&mut m.qemu, reg::PRIMARY_BUS, 4, 0x0005_0500);
    let moved = pci::Function { bus: 5, device: 0 };
    moved.set(&mut m.qemu, reg::COMMAND, 2, 6);
    let id = 0x500;
    assert_eq!(
        told(&mut m),
        Function {
            requester_id: id,
            ..f
        }
    );
}

/// Where the BARs are is told while they answer.
#[test]
fn a_bar_that_moves_is_told() {
    let mut m = Machine::start(sample_config(2));
    m.hdl.hear_function();
    let mut f = started(&m);
    let mut at = f.addresses.unwrap();
    assert!(
        at[0] != UNMAPPED && at[1] == UNMAPPED && at[2] >> 32 != 0,
        "{at:x?}"
    );
    // Half of an address of 64 bits, then the other one.
    at[2] += 1 << 32;
    f.addresses = Some(at);
    let high = (at[2] >> 32) as u32;
    CARD.set(&mut m.qemu, reg::BAR0 + 12, 4, high);
    assert_eq!(told(&mut m), f);
    at[0] += 0x2000;
    f.addresses = Some(at);
    CARD.set(&mut m.qemu, reg::BAR0, 4, at[0] as u32);
    assert_eq!(told(&mut m), f);
    // Moved while nobody answers: told when somebody does.
    CARD.change_command(&mut m.qemu, 0, command::MEMORY);
    let off = Function {
        memory_space: false,
        addresses: NOWHERE,
        ..f
    };
    assert_eq!(told(&mut m), off);
    at[0] -= 0x2000;
    f.addresses = Some(at);
    CARD.set(&mut m.qemu, reg::BAR0, 4, at[0] as u32);
    m.expect_quiet();
    CARD.change_command(&mut m.qemu, command::MEMORY, 0);
    assert_eq!(told(&mut m), f);
}

/// In order with the writes before and after it.
#[test]
fn it_is_in_order_with_writes() {
    let mut m = Machine::start(sample_config(0));
    m.hdl.hear_function();
    let bar = m.bar(0);
    for round in 0..20u64 {
        for i in 0..8 {
            m.qemu.store(bar + 8 * i, 8, round);
        }
        let disabled = round % 2 == 0;
        let command = if disabled { 0x406 } else { 6 };
        CARD.set(&mut m.qemu, reg::COMMAND, 2, command);
        m.qemu.store(bar + 0x100, 8, round);
        for i in 0..8 {
            let tag = ok(m.hdl.expect_write(0, 8 * i, 8, round));
            ok(m.hdl.write_done(tag, Status::Ok));
        }
        assert_eq!(told(&mut m).intx_disable, disabled);
        let tag = ok(m.hdl.expect_write(0, 0x100, 8, round));
        ok(m.hdl.write_done(tag, Status::Ok));
    }
}

#[test]
fn a_reset_tells_what_it_leaves() {
    let mut m = Machine::start(sample_config(2));
    m.hdl.hear_function();
    m.enable_msix();
    assert!(told(&mut m).msix_enable);
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
    let after = Function {
        memory_space: false,
        bus_master: false,
        addresses: NOWHERE,
        ..started(&m)
    };
    CARD.set(&mut m.qemu, express, 2, 0xd000);
    let tag = ok(m.hdl.expect_reset(ResetKind::Flr));
    assert_eq!(told(&mut m), after);
    ok(m.hdl.reset_done(tag));
    // Told although it is the same.
    let control = ROOT_PORT.get(&mut m.qemu, reg::BRIDGE_CONTROL, 2);
    ROOT_PORT.set(&mut m.qemu, reg::BRIDGE_CONTROL, 2, control | 0x40);
    ROOT_PORT.set(&mut m.qemu, reg::BRIDGE_CONTROL, 2, control & !0x40);
    let tag = ok(m.hdl.expect_reset(ResetKind::Hot));
    assert_eq!(told(&mut m), after);
    ok(m.hdl.reset_done(tag));
}

/// A simulator that comes back is told what the guest has set long ago.
#[test]
fn a_new_session_begins_with_it() {
    let mut m = Machine::start(sample_config(0));
    CARD.change_command(&mut m.qemu, command::INTX_DISABLE, 0);
    m.kill_endpoint();
    m.restart_endpoint(sample_config(0));
    m.hdl.hear_function();
    ok(m.hdl.wait_for_session(PATIENCE));
    let expected = Function {
        intx_disable: true,
        ..started(&m)
    };
    assert_eq!(told(&mut m), expected);
}

/// In D3hot a function answers no memory request, which so reads as all ones, and
/// makes none: neither DMA nor interrupts.
#[test]
fn asleep_nothing_goes_in_or_out() {
    let mut m = Machine::start(sample_config(2));
    let msix = m.enable_msix();
    let place = 0x0500_0000;
    msix.program(&mut m.qemu, &m.bars, 0, place, 7);
    m.qemu.store(place, 4, 0);
    for _ in 0..2 {
        sleep(&mut m, 3);
        assert_eq!(m.qemu.load(m.bar(0), 4), 0xffff_ffff);
        assert_eq!(m.qemu.load(m.bar(2) + 8, 8), u64::MAX);
        // Vector table and pending bits are in a BAR.
        assert_eq!(m.qemu.load(m.bar(4), 4), 0xffff_ffff);
        assert_eq!(m.qemu.load(m.bar(4) + 0x8000, 8), u64::MAX);
        m.qemu.store(m.bar(0), 4, 1);
        m.qemu.store(m.bar(4) + 8, 4, 99);
        m.expect_quiet();
        refused(m.hdl.dma_read(place, 4));
        refused(m.hdl.dma_write(place, &[1; 4], None));
        ok(m.hdl.msix(0));
        let _ = m.hdl.dma_read(place, 4);
        assert_eq!(m.qemu.load(place, 4), 0, "a vector was raised");

        sleep(&mut m, 0);
        m.check_alive();
        ok(m.hdl.msix(0));
        ok(m.hdl.dma_read(place, 1));
        assert_eq!(m.qemu.load(place, 4), 7, "the vector is as it was");
        m.qemu.store(place, 4, 0);
    }
    m.qemu
        .expect_line(&["refused", "the function is in a sleep state"]);
}

fn interrupt_status(m: &mut Machine) -> bool {
    // The answer to a DMA request comes after everything before it.
    let _ = m.hdl.dma_read(0, 1);
    CARD.get(&mut m.qemu, reg::STATUS, 2) >> 3 & 1 != 0
}

/// INTx is not used while MSI-X is enabled, nor in D3hot, and comes back.
#[test]
fn intx_gives_way() {
    let mut m = Machine::start(Config {
        intx_pin: 1,
        ..sample_config(2)
    });
    let msix = CARD.expect(&mut m.qemu, capability::MSIX) + 2;
    for _ in 0..2 {
        ok(m.hdl.intx(true));
        assert!(interrupt_status(&mut m));
        CARD.set(&mut m.qemu, msix, 2, 0x8000);
        assert!(!interrupt_status(&mut m), "MSI-X is enabled");
        CARD.set(&mut m.qemu, msix, 2, 0);
        assert!(interrupt_status(&mut m), "the level is as it was");
        sleep(&mut m, 3);
        assert!(!interrupt_status(&mut m), "D3hot");
        sleep(&mut m, 0);
        assert!(interrupt_status(&mut m));
        // The status bit is none of Interrupt Disable's.
        CARD.change_command(&mut m.qemu, command::INTX_DISABLE, 0);
        assert!(interrupt_status(&mut m));
        CARD.change_command(&mut m.qemu, 0, command::INTX_DISABLE);
        // Raised and taken back meanwhile.
        CARD.set(&mut m.qemu, msix, 2, 0x8000);
        ok(m.hdl.intx(false));
        ok(m.hdl.intx(true));
        assert!(!interrupt_status(&mut m));
        ok(m.hdl.intx(false));
        CARD.set(&mut m.qemu, msix, 2, 0);
        assert!(!interrupt_status(&mut m));
    }
}

/// DMA to a BAR of a simulated card is not carried out, and does not say that it
/// was.
#[test]
fn dma_to_a_bar_is_refused() {
    let mut m = Machine::start(sample_config(2));
    for addr in [m.bar(0), m.bar(2) + 0x40] {
        refused(m.hdl.dma_write(addr, &[1; 4], None));
        refused(m.hdl.dma_read(addr, 8));
    }
    m.expect_quiet();
    m.check_alive();
}
