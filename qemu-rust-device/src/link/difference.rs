// SPDX-License-Identifier: GPL-2.0-or-later

//! What has changed of a card, in words.

use accelerator_protocol::config::{Bar, Config, Msi, Msix};

fn bar(bar: &Bar) -> String {
    if bar.size == 0 {
        return "absent".into();
    }
    format!(
        "{:#x} bytes, {}-bit{}, AXI base {:#x}",
        bar.size,
        if bar.is_64bit { 64 } else { 32 },
        if bar.prefetchable {
            " prefetchable"
        } else {
            ""
        },
        bar.axi_base
    )
}

fn msix(msix: Option<&Msix>) -> String {
    msix.map_or("none".into(), |m| {
        format!(
            "{} vectors, table in BAR {} at {:#x}, pending bits in BAR {} at {:#x}{}",
            m.vectors,
            m.table_bar,
            m.table_offset,
            m.pba_bar,
            m.pba_offset,
            if m.in_rtl { ", both in the RTL" } else { "" }
        )
    })
}

fn msi(msi: Option<&Msi>) -> String {
    msi.map_or("none".into(), |m| {
        format!(
            "{} vectors, {} masking",
            m.vectors,
            if m.masking { "with" } else { "without" }
        )
    })
}

fn capabilities(config: &Config) -> String {
    let all: Vec<_> = config
        .capabilities
        .iter()
        .map(|c| format!("{:#04x} at {:#04x}: {:02x?}", c.id, c.offset, c.body))
        .collect();
    if all.is_empty() {
        "none".into()
    } else {
        all.join(", ")
    }
}

/// The first thing in which two configurations differ, with both values.
pub(super) fn difference(shown: &Config, now: &Config) -> String {
    let ids = |c: &Config| {
        format!(
            "{:04x}:{:04x} subsystem {:04x}:{:04x} class {:06x} revision {:02x}",
            c.vendor, c.device, c.subsystem_vendor, c.subsystem, c.class, c.revision
        )
    };
    let mut all = vec![(String::new(), ids(shown), ids(now))];
    for (i, (a, b)) in shown.bars.iter().zip(&now.bars).enumerate() {
        all.push((format!("BAR {i}: "), bar(a), bar(b)));
    }
    let mut add = |what: &str, of: &dyn Fn(&Config) -> String| {
        all.push((format!("{what}: "), of(shown), of(now)));
    };
    add("MSI-X", &|c| msix(c.msix.as_ref()));
    add("MSI", &|c| msi(c.msi.as_ref()));
    add("interrupt pin", &|c| c.intx_pin.to_string());
    add("link", &|c| {
        format!("generation {}, {} lanes", c.link_speed, c.link_width)
    });
    add("clock period", &|c| format!("{} ps", c.clock_period_ps));
    add("further capabilities", &capabilities);
    all.into_iter().find(|(_, a, b)| a != b).map_or_else(
        || "something that has no name here".into(),
        |(what, a, b)| format!("{what}{a}, now {b}"),
    )
}

#[cfg(test)]
mod tests {
    use accelerator_protocol::config::Capability;

    use super::*;

    /// Whatever differs is named, and its two values do not read alike.
    #[test]
    fn each_field_is_told() {
        type Change = fn(&mut Config);
        let changes: [(&str, Change); 23] = [
            ("1234:0000", |c| c.vendor = 0x1234),
            ("0000:1234", |c| c.device = 0x1234),
            ("subsystem 1234", |c| c.subsystem_vendor = 0x1234),
            ("subsystem 0000:1234", |c| c.subsystem = 0x1234),
            ("class 123456", |c| c.class = 0x12_3456),
            ("revision 12", |c| c.revision = 0x12),
            ("BAR 0: 0x8000 bytes", |c| c.bars[0].size = 0x10000),
            ("now 0x8000 bytes, 64-bit", |c| c.bars[0].is_64bit = true),
            ("32-bit prefetchable", |c| c.bars[0].prefetchable = true),
            ("AXI base 0x10000", |c| c.bars[0].axi_base = 0x10000),
            ("BAR 3: absent, now 0x10", |c| c.bars[3].size = 0x10),
            ("MSI-X: 1 vectors", |c| {
                c.msix.as_mut().unwrap().vectors = 2;
            }),
            ("table in BAR 2", |c| c.msix.as_mut().unwrap().table_bar = 2),
            ("pending bits in BAR 2", |c| {
                c.msix.as_mut().unwrap().pba_bar = 2;
            }),
            ("at 0x800, both in the RTL", |c| {
                c.msix.as_mut().unwrap().in_rtl = true;
            }),
            ("now none", |c| c.msix = None),
            ("MSI: 4 vectors, with masking, now none", |c| c.msi = None),
            ("MSI: 4 vectors, with masking, now 8 vectors", |c| {
                c.msi.as_mut().unwrap().vectors = 8;
            }),
            ("now 4 vectors, without masking", |c| {
                c.msi.as_mut().unwrap().masking = false;
            }),
            ("interrupt pin: 0, now 1", |c| c.intx_pin = 1),
            ("link: generation 0, 0 lanes, now generation 0, 4", |c| {
                c.link_width = 4;
            }),
            ("clock period: 0 ps, now 4000 ps", |c| {
                c.clock_period_ps = 4000;
            }),
            ("further capabilities: none, now 0x09 at 0x00: [07]", |c| {
                c.capabilities.push(Capability {
                    id: 9,
                    offset: 0,
                    body: vec![7],
                });
            }),
        ];
        let mut shown = Config {
            msix: Some(Msix {
                vectors: 1,
                table_bar: 0,
                pba_bar: 0,
                table_offset: 0,
                pba_offset: 0x800,
                in_rtl: false,
            }),
            msi: Some(Msi {
                vectors: 4,
                masking: true,
            }),
            ..Config::default()
        };
        shown.bars[0].size = 0x8000;
        for (expected, change) in changes {
            let mut now = shown.clone();
            change(&mut now);
            let text = difference(&shown, &now);
            assert!(text.contains(expected), "{expected}: {text}");
            let (a, b) = text.split_once(", now ").unwrap();
            assert!(!a.ends_with(b), "{text}");
        }
    }
}
