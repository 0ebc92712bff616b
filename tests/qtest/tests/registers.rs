// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every register of the card against the PCI Express base specification: which
//! bits a guest may change, and what each kind of reset leaves of them.

use std::time::Duration;

use accelerator_peers::{hdl::sample_config, Event};
use accelerator_protocol::{config::Capability, wire::ResetKind, Config, Msi};
use accelerator_qtest::{
    machine::ok,
    pci::{self, capability, command, reg, CARD, ROOT_PORT},
    Machine, Options, Qemu,
};
use serde_json::json;

/// Secondary Bus Reset in Bridge Control.
const BUS_RESET: u32 = 0x40;

/// Uncorrectable and correctable errors that a function may have (Advanced Error
/// Reporting: Uncorrectable and Correctable Error Mask).
const UNCORRECTABLE: u32 = 0x03ff_f030;
const CORRECTABLE: u32 = 0xf1c1;

/// When a register is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// By every reset.
    No,
    /// By a hot and a cold one: it is of the link.
    ByFlr,
    /// By a cold one alone: RWS.
    Sticky,
}

/// A double word with bits that a guest can change by writing them, and what they
/// are after power-on.
struct Register {
    name: &'static str,
    at: u16,
    writable: u32,
    value: u32,
    kept: Kept,
}

/// All of those of [`config`]; the rest of the 4,096 bytes is read-only.
fn registers(q: &mut Qemu) -> Vec<Register> {
    let express = CARD.expect(q, capability::EXPRESS);
    let power = CARD.expect(q, capability::POWER_MANAGEMENT);
    let msix = CARD.expect(q, capability::MSIX);
    let msi = CARD.expect(q, capability::MSI);
    let register = |name, at, writable, value, kept| Register {
        name,
        at,
        writable,
        value,
        kept,
    };
    vec![
        // I/O, memory, bus master, parity, SERR, INTx.
        register("Command", 4, 0x547, 0, Kept::No),
        register("Cache Line Size", 0x0c, 0xff, 0, Kept::No),
        register("BAR 0", 0x10, !0x1fff, 0, Kept::No),
        register("BAR 2", 0x18, !0xffff, 0, Kept::No),
        register("BAR 2, upper half", 0x1c, u32::MAX, 0, Kept::No),
        register("BAR 4", 0x20, !0xffff, 0, Kept::No),
        register("Interrupt Line", 0x3c, 0xff, 0, Kept::No),
        // Four kinds of errors, relaxed ordering, extended tag, no snoop, 512
        // bytes a read request; all but FLR, which reads as 0.
        register("Device Control", express + 8, 0x791f, 0x2810, Kept::No),
        // Common clock, extended synch.
        register("Link Control", express + 0x10, 0xc0, 0, Kept::ByFlr),
        // End-End TLP Prefix Blocking.
        register("Device Control 2", express + 0x28, 0x8000, 0, Kept::No),
        // Target Link Speed.
        register("Link Control 2", express + 0x30, 0xf, 3, Kept::Sticky),
        register("PMCSR", power + 4, 3, 0, Kept::No),
        // Enable, Function Mask.
        register("MSI-X Message Control", msix, 0xc000_0000, 0, Kept::No),
        // Enable, and as many vectors as there are.
        register("MSI Message Control", msi, 0x31_0000, 0, Kept::No),
        register("MSI Message Address", msi + 4, !3, 0, Kept::No),
        register("MSI Upper Address", msi + 8, u32::MAX, 0, Kept::No),
        register("MSI Message Data", msi + 12, 0xffff, 0, Kept::No),
        register("MSI Mask Bits", msi + 16, 0xff, 0, Kept::No),
        register(
            "Uncorrectable Error Mask",
            0x108,
            UNCORRECTABLE,
            0x0240_0000,
            Kept::Sticky,
        ),
        register(
            "Uncorrectable Error Severity",
            0x10c,
            UNCORRECTABLE,
            0x0046_2030,
            Kept::Sticky,
        ),
        register(
            "Correctable Error Mask",
            0x114,
            CORRECTABLE,
            0xe000,
            Kept::Sticky,
        ),
        // ECRC generation and check.
        register("AER Control", 0x118, 0x140, 0, Kept::Sticky),
    ]
}

fn config() -> Config {
    let vendor = |offset, body: &[u8]| Capability {
        id: capability::VENDOR,
        offset,
        body: body.to_vec(),
    };
    Config {
        intx_pin: 1,
        capabilities: vec![vendor(0xe0, &[0x10; 14]), vendor(0, &[6, 1, 2, 3])],
        msi: Some(Msi {
            vectors: 8,
            masking: true,
        }),
        ..sample_config(4)
    }
}

fn start() -> Machine {
    let mut m = Machine::start(config());
    pci::enable_ecam(&mut m.qemu);
    m
}

fn get(m: &mut Machine, at: u16) -> u32 {
    CARD.get_extended(&mut m.qemu, at)
}

fn set(m: &mut Machine, at: u16, value: u32) {
    CARD.set_extended(&mut m.qemu, at, value);
}

/// Initiate Function Level Reset.
const FLR: u32 = 0x8000;

#[test]
fn only_what_may_change_does() {
    let mut m = start();
    let all = registers(&mut m.qemu);
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS);
    let before: Vec<u32> = (0..0x1000).step_by(4).map(|at| get(&mut m, at)).collect();
    let mut wrong = Vec::new();
    for at in (0..0x1000).step_by(4) {
        let ones = if at == express + 8 { !FLR } else { u32::MAX };
        set(&mut m, at, ones);
        let high = get(&mut m, at);
        set(&mut m, at, 0);
        let low = get(&mut m, at);
        let register = all.iter().find(|r| r.at == at);
        let writable = register.map_or(0, |r| r.writable);
        if high ^ low != writable || low & writable != 0 {
            wrong.push(format!(
                "{} at {at:#05x}: bits {:#010x} change, expected {writable:#010x}",
                register.map_or("a read-only one", |r| r.name),
                high ^ low
            ));
        }
        let fixed = before[usize::from(at / 4)] & !writable;
        if (high | low) & !writable != fixed {
            wrong.push(format!(
                "{at:#05x} is {high:#x} and {low:#x}, was {fixed:#x}"
            ));
        }
        set(&mut m, at, before[usize::from(at / 4)]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Nothing but the capabilities is anything but zero behind the header.
    let end = CARD.expect(&mut m.qemu, capability::MSI) + 24 + 8;
    for at in (end..0xe0)
        .chain(0xf0..0x100)
        .chain(0x148..0x1000)
        .step_by(1)
    {
        if at % 4 == 0 {
            assert_eq!(get(&mut m, at), 0, "{at:#05x}");
        }
    }
    m.check_alive();
}

/// The same by single bytes and words, which are the writes that a mask is easily
/// wrong for.
#[test]
fn bytes_and_words_change_no_more() {
    let mut m = start();
    let all = registers(&mut m.qemu);
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS);
    for r in all.iter().filter(|r| r.at < 0x100) {
        for len in [1u8, 2] {
            for part in (0..4).step_by(usize::from(len)) {
                let ones = u32::MAX >> (32 - 8 * u32::from(len));
                let at = r.at + part;
                let value = if at <= express + 9 && express + 9 < at + u16::from(len) {
                    ones & !(FLR >> (8 * (at - express - 8)))
                } else {
                    ones
                };
                CARD.set(&mut m.qemu, at, len, value);
                let high = CARD.get(&mut m.qemu, r.at, 4);
                CARD.set(&mut m.qemu, at, len, 0);
                let low = CARD.get(&mut m.qemu, r.at, 4);
                let expected = r.writable & ones << (8 * part);
                assert_eq!(high ^ low, expected, "{} byte {part}, {len}", r.name);
            }
        }
    }
}

fn function_level_reset(m: &mut Machine) {
    let at = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
    let control = CARD.get(&mut m.qemu, at, 2);
    CARD.set(&mut m.qemu, at, 2, control | FLR);
    let tag = ok(m.hdl.expect_reset(ResetKind::Flr));
    ok(m.hdl.reset_done(tag));
}

fn bus_reset(m: &mut Machine) {
    let control = ROOT_PORT.get(&mut m.qemu, reg::BRIDGE_CONTROL, 2);
    ROOT_PORT.set(&mut m.qemu, reg::BRIDGE_CONTROL, 2, control | BUS_RESET);
    ROOT_PORT.set(&mut m.qemu, reg::BRIDGE_CONTROL, 2, control & !BUS_RESET);
    let tag = ok(m.hdl.expect_reset(ResetKind::Hot));
    ok(m.hdl.reset_done(tag));
}

fn machine_reset(m: &mut Machine) {
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("RESET");
    let tag = ok(m.hdl.expect_reset(ResetKind::Cold));
    ok(m.hdl.reset_done(tag));
    pci::enable_root_port(&mut m.qemu);
    pci::enable_ecam(&mut m.qemu);
}

#[test]
fn resets_leave_what_they_leave() {
    type Reset = fn(&mut Machine);
    let resets: [(ResetKind, Reset); 3] = [
        (ResetKind::Flr, function_level_reset),
        (ResetKind::Hot, bus_reset),
        (ResetKind::Cold, machine_reset),
    ];
    for (kind, reset) in resets {
        let mut m = start();
        let all = registers(&mut m.qemu);
        machine_reset(&mut m);
        for r in &all {
            let value = get(&mut m, r.at) & r.writable;
            assert_eq!(value, r.value, "{} after power-on", r.name);
        }
        // Whatever is not the value of power-on; no D3hot, in which nobody could
        // tell whether the reset or the transition did it.
        for r in &all {
            if r.name != "PMCSR" {
                let old = get(&mut m, r.at);
                set(&mut m, r.at, old ^ r.writable);
            }
        }
        reset(&mut m);
        for r in &all {
            let kept = match r.kept {
                Kept::No => false,
                Kept::ByFlr => kind == ResetKind::Flr,
                Kept::Sticky => kind != ResetKind::Cold,
            };
            let expected = if kept && r.name != "PMCSR" {
                r.value ^ r.writable
            } else {
                r.value
            };
            let value = get(&mut m, r.at) & r.writable;
            assert_eq!(value, expected, "{} after {kind:?}", r.name);
        }
        m.enable_card();
        m.check_alive();
    }
}

/// No_Soft_Reset: out of D3hot all registers are as they were. D1 and D2 there are
/// none of.
#[test]
fn sleep_keeps_all() {
    let mut m = start();
    let power = CARD.expect(&mut m.qemu, capability::POWER_MANAGEMENT) + 4;
    assert_eq!(CARD.get(&mut m.qemu, power, 2), 8, "No_Soft_Reset, D0");
    let before: Vec<u32> = (0..0x200).step_by(4).map(|at| get(&mut m, at)).collect();
    for (state, expected) in [(1, 0), (2, 0), (3, 3), (1, 3), (2, 3)] {
        CARD.set(&mut m.qemu, power, 2, state);
        assert_eq!(CARD.get(&mut m.qemu, power, 2) & 3, expected, "{state}");
    }
    // A reset wakes it.
    CARD.set(&mut m.qemu, power, 2, 0);
    let after: Vec<u32> = (0..0x200).step_by(4).map(|at| get(&mut m, at)).collect();
    assert_eq!(before, after);
    CARD.set(&mut m.qemu, power, 2, 3);
    bus_reset(&mut m);
    assert_eq!(CARD.get(&mut m.qemu, power, 2) & 3, 0);
    m.enable_card();
    m.check_alive();
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

/// 18,000 writes of anything anywhere, resets and sleep included: what is
/// read-only stays, and the card lives.
#[test]
fn random_writes_do_no_harm() {
    let mut m = start();
    let all = registers(&mut m.qemu);
    let writable = |at: u16| all.iter().find(|r| r.at == at).map_or(0, |r| r.writable);
    // Status bits that a write or an event may set and clear.
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS);
    // How many vectors of MSI are granted is held to what there are when MSI is enabled.
    let msi = CARD.expect(&mut m.qemu, capability::MSI);
    let status = [4, express + 8, 0x104, 0x110, msi];
    let before: Vec<u32> = (0..0x1000).step_by(4).map(|at| get(&mut m, at)).collect();
    let mut random = Random(0x18_000);
    for round in 0..18_000 {
        let value = match random.below(4) {
            0 => u32::MAX,
            1 => 1 << random.below(32),
            _ => random.below(1 << 32) as u32,
        };
        if random.below(3) == 0 {
            let at = 0x100 + 4 * random.below(0x3c0) as u16;
            set(&mut m, at, value);
        } else {
            let len = 1 << random.below(3) as u8;
            let at = random.below(0x100) as u16 & !(len - 1);
            CARD.set(&mut m.qemu, at, len as u8, value);
        }
        if round % 500 == 0 {
            while let Some(event) = ok(m.hdl.try_event(Duration::from_millis(1))) {
                match event {
                    Event::Reset { tag, .. } => ok(m.hdl.reset_done(tag)),
                    other => panic!("expected a reset, got {other:?}"),
                }
            }
        }
    }
    for at in (0..0x1000).step_by(4).filter(|at| !status.contains(at)) {
        let old = before[usize::from(at / 4)];
        let fixed = !writable(at);
        assert_eq!(get(&mut m, at) & fixed, old & fixed, "{at:#05x}");
    }
    machine_reset_answering(&mut m);
    m.enable_card();
    m.check_alive();
}

/// With resets before it that were not answered.
fn machine_reset_answering(m: &mut Machine) {
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("RESET");
    loop {
        if let Event::Reset { tag, kind } = ok(m.hdl.next_event(accelerator_qtest::PATIENCE)) {
            ok(m.hdl.reset_done(tag));
            if kind == ResetKind::Cold {
                break;
            }
        }
    }
    pci::enable_root_port(&mut m.qemu);
}

/// The card trains at what it and the port have in common.
#[test]
fn the_link_is_the_lesser_of_both() {
    for (port, card, expected) in [
        (("2_5", 1), (3, 4), (1, 1)),
        (("5", 8), (3, 4), (2, 4)),
        (("16", 4), (3, 16), (3, 4)),
        (("8", 16), (6, 32), (3, 16)),
    ] {
        let (speed, width) = port;
        let mut m = Machine::start_with(
            Config {
                link_speed: card.0,
                link_width: card.1,
                ..sample_config(0)
            },
            &Options {
                args: format!(
                    "-global pcie-root-port.x-speed={speed} -global pcie-root-port.x-width={width}"
                ),
                ..Options::default()
            },
        );
        let read = |m: &mut Machine, function: pci::Function, offset| {
            let at = function.expect(&mut m.qemu, capability::EXPRESS);
            let value = function.get(&mut m.qemu, at + offset, 2);
            ((value & 0xf) as u8, (value >> 4 & 0x3f) as u8)
        };
        assert_eq!(read(&mut m, CARD, 0x0c), card, "Link Capabilities");
        assert_eq!(read(&mut m, CARD, 0x12), expected, "Link Status");
        assert_eq!(read(&mut m, ROOT_PORT, 0x12), expected, "of the port");
        let told = m.hdl.function().expect("the simulator is told");
        assert_eq!((told.link_speed, told.link_width), expected);
    }
}

/// Data Link Layer Link Active of the port is the link that the card has.
#[test]
fn the_port_shows_the_link() {
    let mut m = Machine::start(sample_config(0));
    let port = ROOT_PORT.expect(&mut m.qemu, capability::EXPRESS) + 0x12;
    let wait = |m: &mut Machine, expected: bool| {
        let begin = std::time::Instant::now();
        loop {
            let active = ROOT_PORT.get(&mut m.qemu, port, 2) >> 13 & 1 != 0;
            if active == expected {
                return;
            }
            assert!(begin.elapsed() < accelerator_qtest::PATIENCE, "{active}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait(&mut m, true);
    for _ in 0..2 {
        m.kill_endpoint();
        wait(&mut m, false);
        m.restart_endpoint(sample_config(0));
        ok(m.hdl.wait_for_session(accelerator_qtest::PATIENCE));
        wait(&mut m, true);
    }
    CARD.change_command(&mut m.qemu, command::MEMORY | command::BUS_MASTER, 0);
    m.check_alive();
}
