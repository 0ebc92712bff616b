// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each rule of CONFIG: the last value that passes, the first that does not,
//! and a message with the field and both values.

mod common;

use accelerator_protocol::{
    config::{MAX_BAR_32, MAX_BAR_64, MAX_CAPABILITIES, MIN_BAR},
    Bar, Capability, Config, Msi, Msix,
};
use common::config;

#[track_caller]
fn good(change: impl FnOnce(&mut Config)) {
    let mut c = config();
    change(&mut c);
    if let Err(e) = c.check() {
        panic!("{e}");
    }
}

#[track_caller]
fn bad(change: impl FnOnce(&mut Config), field: &str, value: &str) {
    let mut c = config();
    change(&mut c);
    match c.check() {
        Ok(()) => panic!("{field} = {value} passed"),
        Err(e) => {
            assert_eq!((e.field.as_str(), e.value.as_str()), (field, value), "{e}");
            assert!(!e.expected.is_empty());
            let text = e.to_string();
            assert!(text.contains(field) && text.contains(value), "{text}");
        }
    }
}

#[test]
fn identity() {
    good(|_| {});
    good(|c| c.vendor = 1);
    good(|c| c.vendor = 0xfffe);
    bad(|c| c.vendor = 0, "vendor", "0x0000");
    bad(|c| c.vendor = 0xffff, "vendor", "0xffff");
    good(|c| c.class = 0xff_ffff);
    bad(|c| c.class = 0x100_0000, "class", "0x1000000");
    good(|c| c.intx_pin = 4);
    bad(|c| c.intx_pin = 5, "intx_pin", "5");
}

#[test]
fn link() {
    for speed in 1..=6 {
        good(|c| c.link_speed = speed);
    }
    bad(|c| c.link_speed = 0, "link_speed", "0");
    bad(|c| c.link_speed = 7, "link_speed", "7");
    for width in 0..=255u8 {
        if [1, 2, 4, 8, 12, 16, 32].contains(&width) {
            good(|c| c.link_width = width);
        } else {
            bad(|c| c.link_width = width, "link_width", &width.to_string());
        }
    }
}

#[test]
fn bars() {
    let set = |i: usize, bar: Bar| move |c: &mut Config| c.bars[i] = bar;
    let size = |size, is_64bit| Bar {
        size,
        is_64bit,
        ..Bar::default()
    };
    for power in 0..64 {
        let n = 1u64 << power;
        for (is_64bit, max) in [(false, MAX_BAR_32), (true, MAX_BAR_64)] {
            if (MIN_BAR..=max).contains(&n) {
                good(set(4, size(n, is_64bit)));
            } else {
                bad(set(4, size(n, is_64bit)), "bar[4].size", &format!("{n:#x}"));
            }
        }
    }
    bad(set(4, size(0x1010, false)), "bar[4].size", "0x1010");
    bad(
        set(4, size(u64::MAX, true)),
        "bar[4].size",
        "0xffffffffffffffff",
    );
    // AXI bases.
    let base = |axi_base| Bar {
        size: 0x1000,
        axi_base,
        ..Bar::default()
    };
    good(set(4, base(0xffff_ffff_ffff_f000)));
    bad(set(4, base(0x800)), "bar[4].axi_base", "0x800");
    // Upper halves: BAR 3 belongs to the 64-bit BAR 2.
    bad(set(3, size(0x1000, false)), "bar[3].size", "0x1000");
    bad(set(5, size(0x1000, true)), "bar[5].is_64bit", "1");
    good(set(4, size(0x1000, true)));
    // Absent ones are absent altogether.
    for bar in [
        Bar {
            prefetchable: true,
            ..Bar::default()
        },
        Bar {
            is_64bit: true,
            ..Bar::default()
        },
        Bar {
            axi_base: 0x1000,
            ..Bar::default()
        },
    ] {
        bad(set(1, bar), "bar[1].size", "0 with flags or an AXI base");
    }
    // No BAR at all is fine, without MSI-X.
    good(|c| {
        c.bars = Default::default();
        c.msix = None;
    });
}

#[test]
fn msi() {
    fn set(vectors: u8) -> impl FnOnce(&mut Config) {
        move |c| {
            c.msi = Some(Msi {
                vectors,
                masking: vectors % 4 == 0,
            });
        }
    }
    for vectors in 0..=u8::MAX {
        if matches!(vectors, 1 | 2 | 4 | 8 | 16 | 32) {
            good(set(vectors));
            // It needs no BAR, as MSI-X does.
            good(|c| {
                set(vectors)(c);
                c.bars = Default::default();
                c.msix = None;
            });
        } else {
            bad(set(vectors), "msi.vectors", &vectors.to_string());
        }
    }
    // Of both, the one with more vectors counts.
    let mut both = config();
    assert_eq!(both.vectors(), 4);
    set(8)(&mut both);
    assert_eq!(both.vectors(), 8);
    set(2)(&mut both);
    assert_eq!(both.vectors(), 4);
    both.msix = None;
    assert_eq!(both.vectors(), 2);
    both.msi = None;
    assert_eq!(both.vectors(), 0);
}

#[test]
fn msix() {
    fn set(change: impl FnOnce(&mut Msix)) -> impl FnOnce(&mut Config) {
        |c| {
            // Room for the largest table.
            c.bars[2].size = 0x1_0000;
            let msix = c.msix.as_mut().unwrap();
            msix.pba_offset = 0x8000;
            change(msix);
        }
    }
    good(set(|m| m.vectors = 1));
    good(set(|m| m.vectors = 2048));
    bad(set(|m| m.vectors = 0), "msix.vectors", "0");
    bad(set(|m| m.vectors = 2049), "msix.vectors", "2049");
    bad(set(|m| m.vectors = u16::MAX), "msix.vectors", "65535");
    for bar in [1, 3, 4, 5, 6, 255] {
        let text = bar.to_string();
        bad(set(|m| m.table_bar = bar), "msix.table_bar", &text);
        bad(set(|m| m.pba_bar = bar), "msix.pba_bar", &text);
    }
    good(set(|m| m.table_bar = 0));
    // Four vectors are 64 bytes, their pending bits eight.
    good(set(|m| m.table_offset = 0xffc0));
    bad(
        set(|m| m.table_offset = 0xffc8),
        "msix.table_offset",
        "0xffc8 (ends at 0x10008)",
    );
    bad(
        set(|m| m.table_offset = 0xffff_fff8),
        "msix.table_offset",
        "0xfffffff8 (ends at 0x100000038)",
    );
    bad(set(|m| m.table_offset = 12), "msix.table_offset", "0xc");
    good(set(|m| m.pba_offset = 0xfff8));
    bad(
        set(|m| m.pba_offset = 0x1_0000),
        "msix.pba_offset",
        "0x10000 (ends at 0x10008)",
    );
    bad(set(|m| m.pba_offset = 0x8001), "msix.pba_offset", "0x8001");
    // Side by side, and one byte of overlap at either end.
    good(set(|m| m.pba_offset = 64));
    bad(set(|m| m.pba_offset = 56), "msix.pba_offset", "0x38..0x40");
    good(set(|m| m.table_offset = 0x8008));
    bad(
        set(|m| m.table_offset = 0x7fc8),
        "msix.pba_offset",
        "0x8000..0x8008",
    );
    // In different BARs they cannot overlap.
    good(set(|m| {
        m.pba_bar = 0;
        m.pba_offset = 0;
    }));
}

#[test]
fn capabilities() {
    let add = |id, offset, len| {
        move |c: &mut Config| {
            c.capabilities.push(Capability {
                id,
                offset,
                body: vec![0; len],
            });
        }
    };
    for id in 0..=255u8 {
        if [0, 0xff, 1, 5, 0x10, 0x11].contains(&id) {
            bad(add(id, 0, 4), "capabilities[0].id", &format!("{id:#04x}"));
        } else {
            good(add(id, 0, 4));
        }
    }
    good(add(9, 0, 1));
    good(add(9, 0, 190));
    bad(add(9, 0, 0), "capabilities[0].length", "2");
    bad(add(9, 0, 191), "capabilities[0].length", "193");
    good(add(9, 0x40, 190));
    good(add(9, 0xfc, 2));
    bad(
        add(9, 0xfc, 3),
        "capabilities[0].offset",
        "0xfc (ends at 0x101)",
    );
    bad(
        add(9, 0x3c, 2),
        "capabilities[0].offset",
        "0x3c (ends at 0x40)",
    );
    bad(
        add(9, 0x41, 2),
        "capabilities[0].offset",
        "0x41 (ends at 0x45)",
    );
    good(|c| {
        add(9, 0x40, 6)(c);
        add(9, 0x48, 6)(c);
        add(9, 0, 6)(c);
    });
    bad(
        |c| {
            add(9, 0, 6)(c);
            add(9, 0x48, 6)(c);
            add(9, 0x44, 3)(c);
        },
        "capabilities[2].offset",
        "0x44",
    );
    good(|c| (0..MAX_CAPABILITIES).for_each(|_| add(9, 0, 1)(c)));
    bad(
        |c| (0..=MAX_CAPABILITIES).for_each(|_| add(9, 0, 1)(c)),
        "capabilities",
        "17",
    );
}
