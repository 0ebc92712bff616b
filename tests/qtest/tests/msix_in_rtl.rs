// SPDX-License-Identifier: MIT OR Apache-2.0

//! MSI-X whose vector table and pending bits are in the RTL: QEMU has the capability, the guest's
//! accesses to the table reach the RTL, and an interrupt is a DMA write of the RTL.

use accelerator_peers::{hdl::sample_config, Error, Event};
use accelerator_protocol::{
    wire::{ResetKind, Status},
    Config, Frame, Msi,
};
use accelerator_qtest::{
    machine::ok,
    pci::{capability, command, MsiSeen, MsixSeen, CARD},
    Machine, Options, PATIENCE,
};

/// Where the messages go.
const MESSAGES: u64 = 0x30_0000;

fn in_rtl(vectors: u16) -> Config {
    let mut config = sample_config(vectors);
    config.msix.as_mut().unwrap().in_rtl = true;
    config
}

fn start() -> (Machine, MsixSeen) {
    let mut m = Machine::start(in_rtl(4));
    let msix = m.enable_msix();
    (m, msix)
}

/// What the RTL hears of the guest's settings last.
fn heard(m: &mut Machine) -> accelerator_protocol::Function {
    // Comes after what has changed before.
    m.read(0, 0, 4, 0);
    m.hdl.function().expect("QEMU has not told")
}

#[test]
fn the_capability_is_there() {
    let mut m = Machine::start(in_rtl(5));
    let msix = MsixSeen::find(&mut m.qemu, CARD).expect("no MSI-X capability");
    assert_eq!(
        (msix.vectors, msix.table, msix.pba),
        (5, (4, 0), (4, 0x8000))
    );
    // Enable and Function Mask can be written, and nothing else.
    let at = CARD.expect(&mut m.qemu, capability::MSIX);
    for (written, expected) in [(0xffff, 0xc004), (0x8000, 0x8004), (0x4000, 0x4004), (0, 4)] {
        CARD.set(&mut m.qemu, at + 2, 2, written);
        assert_eq!(CARD.get(&mut m.qemu, at + 2, 2), expected);
        let function = heard(&mut m);
        assert_eq!(function.msix_enable, expected & 0x8000 != 0);
        assert_eq!(function.msix_mask, expected & 0x4000 != 0);
    }
    for offset in [4, 8] {
        let before = CARD.get(&mut m.qemu, at + offset, 4);
        CARD.set(&mut m.qemu, at + offset, 4, !before);
        assert_eq!(CARD.get(&mut m.qemu, at + offset, 4), before);
    }
}

#[test]
fn the_guest_reaches_the_table_in_the_rtl() {
    let (mut m, _) = start();
    for (offset, len, value) in [
        (0, 4, 0xfee0_1000),
        (4, 4, 1),
        (8, 4, 0x4021),
        (12, 4, 0),
        (0x38, 8, 0x1_0000_0022),
    ] {
        m.write(4, offset, len, value);
        m.read(4, offset, len, !value);
    }
    m.read(4, 0x8000, 8, 5);
    // Nor has QEMU kept anything in D3hot and back.
    let power = CARD.expect(&mut m.qemu, capability::POWER_MANAGEMENT);
    CARD.set(&mut m.qemu, power + 4, 2, 3);
    let table = m.bar(4);
    assert_eq!(m.qemu.load(table, 4), 0xffff_ffff);
    CARD.set(&mut m.qemu, power + 4, 2, 0);
    m.read(4, 0, 4, 0x1234_5678);
}

#[test]
fn an_interrupt_is_a_write_behind_the_data() {
    let (mut m, _) = start();
    for round in 1..32_u8 {
        ok(m.hdl.start_dma_write(0x40_0000, &[round; 4096], None));
        let message = [round, 0, 0xde, 0xc0];
        ok(m.hdl.start_dma_write(MESSAGES, &message, None));
        while m.qemu.load(MESSAGES, 4) == 0 {}
        assert_eq!(m.qemu.read_memory(0x40_0000, 4096), [round; 4096]);
        assert_eq!(m.qemu.read_memory(MESSAGES, 4), message);
        m.qemu.store(MESSAGES, 4, 0);
        for _ in 0..2 {
            ok(m.hdl.next_event(PATIENCE).map(|_| ()));
        }
    }
}

#[test]
fn the_function_mask_is_the_rtls() {
    let (mut m, msix) = start();
    msix.control(&mut m.qemu, true, true);
    assert!(heard(&mut m).msix_mask);
    // QEMU holds nothing back of what the RTL writes.
    ok(m.hdl.dma_write(MESSAGES, &[1, 2, 3, 4], None));
    assert_eq!(m.qemu.load(MESSAGES, 4), 0x0403_0201);
}

#[test]
fn without_bus_mastering_no_message_is_written() {
    let (mut m, _) = start();
    CARD.change_command(&mut m.qemu, 0, command::BUS_MASTER);
    let refused = m.hdl.dma_write(MESSAGES, &[1; 4], None);
    assert!(
        matches!(
            refused,
            Err(Error::Status {
                status: Status::Refused,
                ..
            })
        ),
        "{refused:?}"
    );
    CARD.change_command(&mut m.qemu, command::BUS_MASTER, 0);
    assert_eq!(m.qemu.load(MESSAGES, 4), 0);
    ok(m.hdl.dma_write(MESSAGES, &[1; 4], None));
    assert_eq!(m.qemu.load(MESSAGES, 4), 0x0101_0101);
}

#[test]
fn a_vector_by_number_is_refused_and_told() {
    let (mut m, msix) = start();
    for enabled in [true, false] {
        msix.control(&mut m.qemu, enabled, false);
        heard(&mut m);
        ok(m.hdl.inject(&Frame::Msix { vector: 3 }));
        let parts = ["ERROR", "card", "vector 3 ignored", "table is in the RTL"];
        m.qemu.expect_line(&parts);
    }
    ok(m.hdl.inject(&Frame::Msix { vector: 4 }));
    m.qemu
        .expect_line(&["ERROR", "vector 4 ignored", "4 vectors"]);
    // Limited, as all that the other side can cause.
    for _ in 0..100 {
        ok(m.hdl.inject(&Frame::Msix { vector: 3 }));
    }
    m.check_alive();
    let said = m.qemu.said();
    let lines = said.iter().filter(|l| l.contains("vector 3 ignored"));
    assert!(lines.count() < 10, "{said:?}");
}

/// MSI beside it works by number, while it is what the guest has enabled.
#[test]
fn msi_beside_it_is_qemus() {
    let mut m = Machine::start(Config {
        msi: Some(Msi {
            vectors: 4,
            masking: false,
        }),
        ..in_rtl(4)
    });
    let msi = MsiSeen::find(&mut m.qemu, CARD).expect("no MSI capability");
    msi.program(&mut m.qemu, MESSAGES, 0x40);
    msi.control(&mut m.qemu, true, 2);
    ok(m.hdl.msix(3));
    ok(m.hdl.dma_read(0, 1));
    assert_eq!(m.qemu.load(MESSAGES, 4), 0x43);
    m.qemu.store(MESSAGES, 4, 0);
    // Both, which PCI Express forbids: MSI-X goes before.
    let msix = m.enable_msix();
    ok(m.hdl.inject(&Frame::Msix { vector: 3 }));
    m.qemu
        .expect_line(&["vector 3 ignored", "table is in the RTL"]);
    msix.control(&mut m.qemu, false, false);
    ok(m.hdl.msix(1));
    ok(m.hdl.dma_read(0, 1));
    assert_eq!(m.qemu.load(MESSAGES, 4), 0x41);
}

#[test]
fn intx_is_kept_from_the_guest_meanwhile() {
    let mut m = Machine::start(Config {
        intx_pin: 1,
        ..in_rtl(4)
    });
    let level = |m: &mut Machine| {
        ok(m.hdl.dma_read(0, 1));
        CARD.get(&mut m.qemu, accelerator_qtest::pci::reg::STATUS, 2) >> 3 & 1
    };
    ok(m.hdl.intx(true));
    assert_eq!(level(&mut m), 1);
    let msix = m.enable_msix();
    assert_eq!(level(&mut m), 0);
    msix.control(&mut m.qemu, false, false);
    assert_eq!(level(&mut m), 1);
}

#[test]
fn a_reset_switches_it_off() {
    let (mut m, msix) = start();
    msix.control(&mut m.qemu, true, true);
    let express = CARD.expect(&mut m.qemu, capability::EXPRESS);
    let control = CARD.get(&mut m.qemu, express + 8, 2);
    CARD.set(&mut m.qemu, express + 8, 2, control | 0x8000);
    let tag = ok(m.hdl.expect_reset(ResetKind::Flr));
    ok(m.hdl.reset_done(tag));
    let at = CARD.expect(&mut m.qemu, capability::MSIX);
    assert_eq!(CARD.get(&mut m.qemu, at + 2, 2), 3);
    m.enable_card();
    let function = heard(&mut m);
    assert!(!function.msix_enable && !function.msix_mask);
    // And works again.
    m.enable_msix();
    assert!(heard(&mut m).msix_enable);
    m.write(4, 0, 4, 1);
}

/// The same card with the table in QEMU is another card.
#[test]
fn a_simulator_with_the_table_elsewhere_is_another_card() {
    let (mut m, _) = start();
    m.kill_endpoint();
    m.qemu.expect_line(&["is down"]);
    m.restart_endpoint(sample_config(4));
    let refused = m.hdl.wait_for_session(PATIENCE);
    assert!(matches!(refused, Err(Error::Down { .. })), "{refused:?}");
    m.qemu
        .expect_line(&["MSI-X: 4 vectors", "both in the RTL", "now 4 vectors"]);
}

/// Registers of Intel's IOMMU (VT-d specification, section 11.4), and its fault recording registers
/// in QEMU's model.
mod iommu {
    pub const REGISTERS: u64 = 0xfed9_0000;
    pub const GLOBAL_COMMAND: u64 = REGISTERS + 0x18;
    pub const GLOBAL_STATUS: u64 = REGISTERS + 0x1c;
    pub const FAULT_STATUS: u64 = REGISTERS + 0x34;
    pub const INTERRUPT_TABLE: u64 = REGISTERS + 0xb8;
    pub const FAULT: u64 = REGISTERS + 0x220;
    pub const SET_INTERRUPT_TABLE: u64 = 1 << 24;
    pub const REMAPPING: u64 = 1 << 25;
}

/// A message that is remapped has the card's requester id, by which the IOMMU lets it through
/// or not.
#[test]
fn an_iommu_knows_whose_message_it_is() {
    const TABLE: u64 = 0x40_0000;
    // Bus 1, device 0; and some other card's.
    const OWN: u64 = 0x0100;
    const OTHER: u64 = 0x0200;
    let mut m = Machine::start_with(
        in_rtl(4),
        &Options {
            args: "-device intel-iommu,intremap=on".into(),
            ..Options::default()
        },
    );
    m.enable_msix();
    let q = &mut m.qemu;
    q.fill_memory(TABLE, 4096, 0);
    for (index, requester) in [OWN, OTHER].into_iter().enumerate() {
        // Present, vector 0x40; all 16 bits of the requester id are verified.
        q.store(TABLE + 16 * index as u64, 8, 0x40 << 16 | 1);
        q.store(TABLE + 16 * index as u64 + 8, 8, 1 << 18 | requester);
    }
    q.store(iommu::INTERRUPT_TABLE, 8, TABLE | 7);
    q.store(iommu::GLOBAL_COMMAND, 4, iommu::SET_INTERRUPT_TABLE);
    q.store(iommu::GLOBAL_COMMAND, 4, iommu::REMAPPING);
    let status = q.load(iommu::GLOBAL_STATUS, 4);
    assert_ne!(status & iommu::REMAPPING, 0, "GSTS {status:#x}");
    // Remappable format, handle in bits 19 to 5.
    let message = |handle: u64| 0xfee0_0010 | handle << 5;
    ok(m.hdl.dma_write(message(0), &[0; 4], None));
    assert_eq!(
        m.qemu.load(iommu::FAULT_STATUS, 4) & 2,
        0,
        "its own is a fault"
    );
    // QEMU has no answer for the card but that.
    let _ = m.hdl.dma_write(message(1), &[0; 4], None);
    assert_eq!(
        m.qemu.load(iommu::FAULT_STATUS, 4) & 2,
        2,
        "another's is none"
    );
    let fault = m.qemu.load(iommu::FAULT + 8, 8);
    assert_eq!(fault & 0xffff, OWN, "{fault:#x}");
    // Fault reason: blocked by the source-id verification.
    assert_eq!(fault >> 32 & 0xff, 0x26, "{fault:#x}");
}

/// What comes when the guest writes the table is an access like any other, the events say so.
#[test]
fn accesses_to_the_table_are_in_order_with_the_others() {
    let (mut m, _) = start();
    let (table, registers) = (m.bar(4), m.bar(0));
    m.qemu.store(table + 0xc, 4, 0);
    m.qemu.store(registers + 8, 4, 7);
    m.qemu.store(table + 0xc, 4, 1);
    for expected in [(4, 0xc, 0), (0, 8, 7), (4, 0xc, 1)] {
        match ok(m.hdl.next_event(PATIENCE)) {
            Event::Write {
                tag,
                bar,
                offset,
                data,
                ..
            } => {
                assert_eq!((bar, offset, data), expected);
                ok(m.hdl.write_done(tag, Status::Ok));
            }
            other => panic!("{other:?}"),
        }
    }
}
