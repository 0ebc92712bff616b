// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest sees in config space is what the HDL said in the handshake.

use accelerator_peers::hdl::sample_config;
use accelerator_protocol::{Bar, Capability, Config, Msix};
use accelerator_qtest::{
    machine::ok,
    pci::{self, capability, command, reg, BarSeen, MsixSeen, CARD},
    Machine, Options, Scratch,
};

/// A valid configuration without BARs.
fn plain() -> Config {
    Config {
        vendor: 0x10ee,
        device: 0x7024,
        subsystem_vendor: 0x10ee,
        subsystem: 0x0007,
        class: 0x12_0000,
        revision: 0x5a,
        link_speed: 3,
        link_width: 8,
        ..Config::default()
    }
}

#[test]
fn ids_class_and_revision() {
    let config = Config {
        vendor: 0xabcd,
        device: 0x0001,
        subsystem_vendor: 0xfffe,
        subsystem: 0x8000,
        class: 0x02_8001,
        revision: 0xff,
        ..plain()
    };
    let mut m = Machine::start(config);
    let q = &mut m.qemu;
    assert_eq!(CARD.get(q, reg::VENDOR, 2), 0xabcd);
    assert_eq!(CARD.get(q, reg::DEVICE, 2), 0x0001);
    assert_eq!(CARD.get(q, reg::SUBSYSTEM_VENDOR, 2), 0xfffe);
    assert_eq!(CARD.get(q, reg::SUBSYSTEM, 2), 0x8000);
    assert_eq!(CARD.get(q, reg::REVISION, 1), 0xff);
    assert_eq!(CARD.get(q, reg::CLASS, 1), 0x01);
    assert_eq!(CARD.get(q, reg::CLASS + 1, 2), 0x0280);
    // One function, type 0, no pin.
    assert_eq!(CARD.get(q, reg::HEADER_TYPE, 1), 0);
    assert_eq!(CARD.get(q, reg::INTERRUPT_PIN, 1), 0);
    // The identity is not the guest's to change.
    for (offset, len) in [
        (reg::VENDOR, 4u8),
        (reg::SUBSYSTEM_VENDOR, 4),
        (reg::REVISION, 4),
        (reg::INTERRUPT_PIN, 1),
    ] {
        let before = CARD.get(q, offset, len);
        CARD.set(q, offset, len, !before);
        assert_eq!(CARD.get(q, offset, len), before, "offset {offset:#x}");
    }
    // No BARs at all.
    for bar in 0..6 {
        assert_eq!(m.size_bar(bar), None, "BAR {bar}");
    }
    assert!(MsixSeen::find(&mut m.qemu, CARD).is_none());
}

/// Firmware finds an image that the user names, as it does on a card with a flash: it is QEMU's,
/// and the RTL sees nothing of it.
#[test]
fn expansion_rom() {
    const ROM: u16 = 0x30;
    let folder = Scratch::new();
    let file = folder.path("option.rom");
    // Of an odd size. The BAR has the next power of two.
    let image: Vec<u8> = (0..5000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
    std::fs::write(&file, &image).unwrap();
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            properties: format!("romfile={}", file.display()),
            ..Options::default()
        },
    );
    CARD.set(&mut m.qemu, ROM, 4, 0xffff_f800);
    assert_eq!(CARD.get(&mut m.qemu, ROM, 4), !0x1fff);

    let place = (pci::MEMORY_END - 0x2000) as u32;
    CARD.set(&mut m.qemu, ROM, 4, place | 1);
    let found = m.qemu.read_memory(u64::from(place), image.len());
    assert!(found == image, "the ROM is another");
    m.expect_quiet();

    // It has a switch of its own, and a function level reset uses it.
    CARD.set(&mut m.qemu, ROM, 4, place);
    assert_ne!(m.qemu.read_memory(u64::from(place), 16), image[..16]);
    CARD.set(&mut m.qemu, ROM, 4, place | 1);
    let control = CARD.expect(&mut m.qemu, capability::EXPRESS) + 8;
    CARD.set(&mut m.qemu, control, 2, 0x8000);
    m.settle_resets();
    assert_eq!(CARD.get(&mut m.qemu, ROM, 4), 0);
}

#[test]
fn no_expansion_rom() {
    let mut m = Machine::start(sample_config(0));
    CARD.set(&mut m.qemu, 0x30, 4, u32::MAX);
    assert_eq!(CARD.get(&mut m.qemu, 0x30, 4), 0);
}

/// Starts a machine with these BARs and compares all six.
fn check_bars(bars: [Bar; 6]) {
    let mut m = Machine::start(Config { bars, ..plain() });
    let mut upper_half = false;
    for (i, bar) in bars.iter().enumerate() {
        if !upper_half {
            let expected = (bar.size != 0).then_some(BarSeen {
                size: bar.size,
                is_64bit: bar.is_64bit,
                prefetchable: bar.prefetchable,
            });
            assert_eq!(m.size_bar(i as u8), expected, "BAR {i}");
        }
        upper_half = bar.is_64bit;
    }
}

fn bar(size: u64, is_64bit: bool, prefetchable: bool) -> Bar {
    Bar {
        size,
        is_64bit,
        prefetchable,
        axi_base: 0,
    }
}

#[test]
fn six_32_bit_bars() {
    check_bars([
        bar(16, false, false),
        bar(256, false, false),
        bar(0x1000, false, true),
        bar(0x1_0000, false, false),
        bar(0x10_0000, false, true),
        bar(0x100_0000, false, false),
    ]);
}

#[test]
fn three_64_bit_bars() {
    let none = Bar::default();
    check_bars([
        bar(0x1000, true, false),
        none,
        bar(0x10_0000, true, true),
        none,
        bar(0x1_0000_0000, true, true),
        none,
    ]);
}

#[test]
fn largest_and_smallest_bars() {
    let none = Bar::default();
    check_bars([
        bar(1 << 31, false, false),
        bar(1 << 40, true, true),
        none,
        none,
        bar(16, true, true),
        none,
    ]);
}

#[test]
fn holes_between_bars() {
    let none = Bar::default();
    check_bars([
        none,
        bar(0x2000, false, false),
        none,
        none,
        none,
        bar(0x80, false, true),
    ]);
}

#[test]
fn msix_with_2048_vectors() {
    let mut config = plain();
    config.bars[0] = bar(0x1000, false, false);
    config.bars[2] = bar(0x1_0000, true, true);
    config.msix = Some(Msix {
        vectors: 2048,
        table_bar: 2,
        pba_bar: 2,
        table_offset: 0,
        pba_offset: 0x8000,
        in_rtl: false,
    });
    let mut m = Machine::start(config);
    let msix = MsixSeen::find(&mut m.qemu, CARD).unwrap();
    assert_eq!(msix.vectors, 2048);
    assert_eq!((msix.table, msix.pba), ((2, 0), (2, 0x8000)));
}

#[test]
fn msix_with_one_vector_in_two_bars_at_odd_places() {
    let mut config = plain();
    config.bars[1] = bar(0x1000, false, false);
    config.bars[5] = bar(0x100, false, false);
    config.msix = Some(Msix {
        vectors: 1,
        table_bar: 1,
        pba_bar: 5,
        table_offset: 0xff0,
        pba_offset: 0xf8,
        in_rtl: false,
    });
    let mut m = Machine::start(config);
    let msix = MsixSeen::find(&mut m.qemu, CARD).unwrap();
    assert_eq!(msix.vectors, 1);
    assert_eq!((msix.table, msix.pba), ((1, 0xff0), (5, 0xf8)));
}

#[test]
fn intx_pins() {
    for pin in [1u8, 4] {
        let mut m = Machine::start(Config {
            intx_pin: pin,
            ..plain()
        });
        let seen = CARD.get(&mut m.qemu, reg::INTERRUPT_PIN, 1);
        assert_eq!(seen, u32::from(pin));
    }
}

#[test]
fn express_link() {
    for (speed, width) in [(1u8, 1u8), (3, 8), (4, 12), (5, 32), (6, 16)] {
        let mut m = Machine::start(Config {
            link_speed: speed,
            link_width: width,
            ..plain()
        });
        let q = &mut m.qemu;
        let at = CARD.expect(q, capability::EXPRESS);
        // Capability version 2, type endpoint.
        assert_eq!(CARD.get(q, at + 2, 2) & 0xff, 0x02);
        let expected = u32::from(width) << 4 | u32::from(speed);
        assert_eq!(CARD.get(q, at + 0x0c, 4) & 0x3ff, expected, "LNKCAP");
        // The port has 16 GT/s and 32 lanes.
        let trained = u32::from(width) << 4 | u32::from(speed.min(4));
        assert_eq!(CARD.get(q, at + 0x12, 2) & 0x3ff, trained, "LNKSTA");
        // Supported Link Speeds: all up to ours.
        let speeds = CARD.get(q, at + 0x2c, 4) >> 1 & 0x7f;
        assert_eq!(speeds, (1 << speed) - 1, "LNKCAP2");
    }
}

#[test]
fn power_management_aer_and_own_capabilities() {
    let capabilities = vec![
        Capability {
            id: capability::VENDOR,
            offset: 0xe0,
            body: vec![0x20, 0xde, 0xad, 0xbe, 0xef],
        },
        Capability {
            id: capability::VENDOR,
            offset: 0,
            body: vec![4, 0x77],
        },
    ];
    let mut m = Machine::start(Config {
        capabilities,
        ..sample_config(4)
    });
    pci::enable_ecam(&mut m.qemu);
    let q = &mut m.qemu;
    let all = CARD.capabilities(q);
    for id in [
        capability::POWER_MANAGEMENT,
        capability::EXPRESS,
        capability::MSIX,
    ] {
        assert_eq!(all.iter().filter(|c| c.0 == id).count(), 1, "{all:x?}");
    }
    // Both vendor specific ones: the one with a place is there.
    let vendor: Vec<_> = all.iter().filter(|c| c.0 == capability::VENDOR).collect();
    assert_eq!(vendor.len(), 2, "{all:x?}");
    assert!(vendor.iter().any(|c| c.1 == 0xe0), "{all:x?}");
    assert_eq!(CARD.get(q, 0xe2, 2), 0xde20);
    assert_eq!(CARD.get(q, 0xe4, 2), 0xbead);
    assert_eq!(CARD.get(q, 0xe6, 1), 0xef);
    let other = vendor.iter().find(|c| c.1 != 0xe0).unwrap().1;
    assert_eq!(CARD.get(q, other + 2, 2), 0x7704);
    // Read-only for the guest.
    CARD.set(q, 0xe4, 4, 0);
    assert_eq!(CARD.get(q, 0xe4, 2), 0xbead);
    // Advanced Error Reporting heads the extended capabilities.
    assert_eq!(CARD.get_extended(q, 0x100) & 0xffff, 1);
    // No two capabilities overlap what config space holds elsewhere.
    for pair in all.windows(2) {
        assert_ne!(pair[0].1, pair[1].1, "{all:x?}");
    }
}

/// Each capability of the HDL is at its place, and QEMU's are around it.
#[test]
fn capabilities_are_where_they_were_asked_to_be() {
    let body = |first: u8, len: u8| (0..len).map(|i| first.wrapping_add(i)).collect::<Vec<_>>();
    // At the places that QEMU would take for its own, as a virtio card has
    // them, and one that may be anywhere.
    let asked = [
        (capability::VENDOR, 0x40, body(0x10, 14)),
        (capability::VENDOR, 0x50, body(0x20, 18)),
        (capability::VENDOR, 0, body(0x30, 40)),
        (0x12, 0x84, body(0x40, 2)),
        (capability::VENDOR, 0xf0, body(0x50, 14)),
    ];
    let capabilities = asked
        .iter()
        .map(|(id, offset, body)| Capability {
            id: *id,
            offset: *offset,
            body: body.clone(),
        })
        .collect();
    let mut m = Machine::start(Config {
        capabilities,
        ..sample_config(4)
    });
    let q = &mut m.qemu;
    let all = CARD.capabilities(q);
    for (id, offset, body) in &asked {
        let found: Vec<u16> = all
            .iter()
            .filter(|c| c.0 == *id)
            .map(|c| c.1)
            .filter(|&at| match offset {
                0 => CARD.get(q, at + 2, 1) == u32::from(body[0]),
                _ => at == u16::from(*offset),
            })
            .collect();
        assert_eq!(found.len(), 1, "{id:#04x} at {offset:#04x}: {all:x?}");
        for (i, &byte) in body.iter().enumerate() {
            let at = found[0] + 2 + i as u16;
            assert_eq!(CARD.get(q, at, 1), u32::from(byte), "offset {at:#04x}");
        }
    }
    // The guest finds the HDL's in the order that it gave them in.
    let order: Vec<u16> = all
        .iter()
        .filter(|c| c.0 == capability::VENDOR)
        .map(|c| CARD.get(q, c.1 + 2, 1) as u16)
        .collect();
    assert_eq!(order, [0x10, 0x20, 0x30, 0x50]);
    // Every one of QEMU's is there and works.
    for id in [
        capability::POWER_MANAGEMENT,
        capability::EXPRESS,
        capability::MSIX,
    ] {
        CARD.expect(q, id);
    }
    let at = CARD.expect(q, capability::EXPRESS);
    assert_ne!(CARD.get(q, at + 0x12, 2) & 0x3ff, 0, "LNKSTA");
    m.enable_msix();
    m.check_alive();
}

#[test]
fn power_states() {
    let mut m = Machine::start(plain());
    let q = &mut m.qemu;
    let at = CARD.expect(q, capability::POWER_MANAGEMENT);
    assert_eq!(CARD.get(q, at + 4, 2) & 3, 0, "D0 after reset");
    CARD.set(q, at + 4, 2, 3);
    assert_eq!(CARD.get(q, at + 4, 2) & 3, 3, "D3hot");
    CARD.set(q, at + 4, 2, 0);
    assert_eq!(CARD.get(q, at + 4, 2) & 3, 0, "D0 again");
}

#[test]
fn bars_answer_where_the_guest_puts_them() {
    let none = Bar::default();
    let bars = [
        bar(0x1000, false, false),
        bar(0x2000, false, true),
        bar(0x1_0000, true, true),
        none,
        bar(0x1000, true, false),
        none,
    ];
    let mut m = Machine::start(Config { bars, ..plain() });
    assert!(m.bar(2) >> 32 != 0, "BAR 2 is not above 4 GiB");
    for number in [0u8, 1, 2, 4] {
        m.write(number, 4, 4, 0x100 + u64::from(number));
        m.read(number, bars[usize::from(number)].size - 4, 4, 0x55);
    }
    // Moved: the new place answers, the old one no more.
    let old = m.bar(0);
    let new = old + 0x100_0000;
    CARD.change_command(&mut m.qemu, 0, command::MEMORY);
    CARD.set(&mut m.qemu, reg::BAR0, 4, new as u32);
    CARD.change_command(&mut m.qemu, command::MEMORY, 0);
    m.bars[0] = Some(new);
    m.read(0, 0, 4, 0xfeed);
    m.qemu.load(old, 4);
    m.expect_quiet();
}

#[test]
fn memory_space_off() {
    let mut m = Machine::start(sample_config(0));
    let addr = m.bar(0);
    CARD.change_command(&mut m.qemu, 0, command::MEMORY);
    m.qemu.load(addr, 4);
    m.qemu.store(addr, 4, 1);
    m.expect_quiet();
    CARD.change_command(&mut m.qemu, command::MEMORY, 0);
    m.read(0, 0, 4, 0x99);
}

#[test]
fn two_cards_in_one_machine() {
    let first = accelerator_qtest::Scratch::new();
    let mut other = ok(accelerator_peers::HdlEndpoint::bind(
        &first.endpoint(),
        Config {
            device: 0x2222,
            ..sample_config(1)
        },
    ));
    // The second card is made after the first one, which waits for nobody.
    let serve = std::thread::spawn(move || {
        ok(other.wait_for_session(accelerator_qtest::PATIENCE));
        other
    });
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            args: format!(
                "-device pcie-root-port,id=rp1,bus=pcie.0,addr=5.0,chassis=2 \
                 -device accelerator-pcie,id=two,bus=rp1,endpoint={}",
                first.endpoint()
            ),
            ..Options::default()
        },
    );
    let mut other = serve.join().unwrap();
    let q = &mut m.qemu;
    let port = pci::Function { bus: 0, device: 5 };
    port.set(q, reg::PRIMARY_BUS, 4, 0x0002_0200);
    let two = pci::Function { bus: 2, device: 0 };
    assert_eq!(two.get(q, reg::DEVICE, 2), 0x2222);
    assert_eq!(CARD.get(q, reg::DEVICE, 2), 0xacce);
    m.check_alive();
    // The other one is alive as well.
    let spot = 0x0600_0000;
    m.qemu.store(spot, 4, 0xa5a5_5a5a);
    two.change_command(&mut m.qemu, command::BUS_MASTER, 0);
    while let Some(event) = ok(other.try_event(std::time::Duration::from_millis(10))) {
        match event {
            accelerator_peers::Event::Reset { tag, .. } => ok(other.reset_done(tag)),
            event => panic!("expected a reset, got {event:?}"),
        }
    }
    assert_eq!(ok(other.dma_read(spot, 4)), [0x5a, 0x5a, 0xa5, 0xa5]);
}
