// SPDX-License-Identifier: MIT OR Apache-2.0

//! Markers in a waveform where transactions begin: a save file of GTKWave, and a command file of
//! Surfer.

use std::{collections::BTreeMap, fmt::Write, io};

use accelerator_record::{
    layout::{get_u64, Body},
    reader::Bytes,
    Record,
};

use crate::{
    registers::Registers,
    tracks::{edge_ps, label, period_ps},
    transactions::{Change, Tracker, Transaction},
};

/// GTKWave has as many named markers as there are letters.
pub const MOST: usize = 26;

// Of FST: the first block is the header, 329 bytes long, with the unit as an exponent of ten.
const HEADER_BLOCK: u8 = 0;
const HEADER_LENGTH: u64 = 329;
const UNIT_OFFSET: usize = 73;
/// Bytes of an FST that [`unit_of`] looks at.
pub const FST_HEAD: usize = UNIT_OFFSET + 1;

/// The unit of times here, as an exponent of ten seconds.
pub const PICOSECONDS: i8 = -12;

/// The unit of the times of an FST, as an exponent of ten seconds.
///
/// # Errors
///
/// A sentence, of what is none.
pub fn unit_of(fst: &[u8]) -> Result<i8, String> {
    if fst.len() < FST_HEAD || fst[0] != HEADER_BLOCK {
        return Err("it is no FST".to_owned());
    }
    if get_u64(fst, 1).swap_bytes() != HEADER_LENGTH {
        return Err("it is no FST".to_owned());
    }
    Ok(i8::from_ne_bytes([fst[UNIT_OFFSET]]))
}

/// A marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Of the transaction.
    pub number: u64,
    /// Its kind, and what it is about.
    pub name: String,
    /// Picoseconds of the waveform.
    pub ps: u64,
}

/// The markers of transactions, in the order of `wanted`.
///
/// # Errors
///
/// Of reading, and of a number that the record has not.
pub fn find<B: Bytes>(
    record: &Record<B>,
    registers: &Registers,
    wanted: &[u64],
) -> io::Result<Vec<Marker>> {
    let mut found: BTreeMap<u64, Marker> = BTreeMap::new();
    let sources = record.sources();
    let mut take = |change: Change<'_>| {
        let Change::Begins(t) = change else {
            return;
        };
        if wanted.contains(&t.first.number) {
            found.entry(t.first.number).or_insert_with(|| {
                let t: &Transaction = t;
                let period = period_ps(sources.get(usize::from(t.first.source)));
                Marker {
                    number: t.first.number,
                    name: format!("{} {}", t.kind.name(), label(t, sources, registers)),
                    ps: edge_ps(t.first.clock, period),
                }
            });
        }
    };
    let mut tracker = Tracker::default();
    for next in record.read()? {
        if let Body::Entry(entry) = next?.1 {
            tracker.entry(&entry, &mut take);
        }
    }
    wanted
        .iter()
        .map(|number| {
            found.get(number).cloned().ok_or_else(|| {
                let text = format!("no transaction with the number {number} begins in it");
                io::Error::new(io::ErrorKind::NotFound, text)
            })
        })
        .collect()
}

/// Picoseconds in units of the waveform.
fn units(ps: u64, unit: i8) -> u64 {
    let exponent = u32::from(unit.abs_diff(PICOSECONDS));
    // More than 10^19 is no number of 64 bits.
    let factor = 10_u64.checked_pow(exponent).unwrap_or(u64::MAX);
    if unit < PICOSECONDS {
        ps.saturating_mul(factor)
    } else {
        ps / factor
    }
}

/// Text that neither viewer takes for the end of a name.
fn word(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "+-._".contains(c) {
            c
        } else {
            '_'
        }
    };
    text.chars().map(plain).collect()
}

/// A save file of GTKWave: named markers from A on, and the primary one at the first.
pub fn gtkwave(markers: &[Marker], waves: Option<&str>, unit: i8) -> String {
    let mut out = String::from("[*] made by accelerator-trace\n");
    if let Some(waves) = waves {
        // Fails never: it is a string. So below.
        let _ = writeln!(out, "[dumpfile] \"{waves}\"");
    }
    let times: Vec<u64> = markers.iter().map(|m| units(m.ps, unit)).collect();
    if let Some(first) = times.first() {
        let _ = writeln!(
            out,
            "[timestart] {}",
            first.saturating_sub(20 * units(4000, unit))
        );
        let _ = write!(out, "*{}.0 {first}", zoom(unit));
        for place in 0..MOST {
            match times.get(place) {
                Some(time) => {
                    let _ = write!(out, " {time}");
                }
                None => out.push_str(" -1"),
            }
        }
        out.push('\n');
    }
    for (letter, marker) in ('A'..='Z').zip(markers) {
        let name = word(&format!("{}_{}", marker.number, marker.name));
        let _ = writeln!(out, "[markername] {letter}{name}");
    }
    out
}

/// GTKWave's zoom at which a clock of some nanoseconds has some pixels: a pixel is two to the
/// power of its opposite, in units.
fn zoom(unit: i8) -> i32 {
    -((units(500, unit).max(1)).ilog2() as i32)
}

/// A command file of Surfer: markers, and the cursor at the first.
pub fn surfer(markers: &[Marker], waves: Option<&str>, unit: i8) -> String {
    let mut out = String::new();
    if let Some(waves) = waves {
        let _ = writeln!(out, "load_file {waves}");
    }
    for marker in markers {
        let name = word(&format!("{}_{}", marker.number, marker.name));
        let _ = writeln!(out, "marker_set {name} {}", units(marker.ps, unit));
    }
    if let Some(first) = markers.first() {
        let _ = writeln!(out, "cursor_set {}", units(first.ps, unit));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> [Marker; 2] {
        [(17, "mmio_read A#;\"b", 6000), (9, "msix vector 1", 14_000)].map(|(number, name, ps)| {
            Marker {
                number,
                name: name.to_owned(),
                ps,
            }
        })
    }

    #[test]
    fn a_save_file_has_all_places_of_markers() {
        let text = gtkwave(&two(), Some("/a b/waves.fst"), -12);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "[dumpfile] \"/a b/waves.fst\"");
        assert_eq!(lines[2], "[timestart] 0");
        assert_eq!(
            lines[3],
            format!("*-8.0 6000 6000 14000{}", " -1".repeat(24))
        );
        assert_eq!(lines[4], "[markername] A17_mmio_read_A___b");
        assert_eq!(lines[5], "[markername] B9_msix_vector_1");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn commands_have_names_without_what_ends_them() {
        assert_eq!(
            surfer(&two(), Some("waves.fst"), -9),
            "load_file waves.fst\nmarker_set 17_mmio_read_A___b 6\n\
             marker_set 9_msix_vector_1 14\ncursor_set 6\n"
        );
    }

    #[test]
    fn units_are_those_of_the_waveform() {
        assert_eq!(units(6000, -12), 6000);
        assert_eq!(units(6000, -9), 6);
        assert_eq!(units(6000, -15), 6_000_000);
        assert_eq!(units(u64::MAX, -15), u64::MAX);
        assert_eq!(units(6000, 127), 0);
        assert_eq!(zoom(-12), -8);
        assert_eq!(zoom(0), 0);
        let mut fst = [0; FST_HEAD];
        fst[1..9].copy_from_slice(&HEADER_LENGTH.to_be_bytes());
        fst[UNIT_OFFSET] = 0xf4;
        assert_eq!(unit_of(&fst), Ok(-12));
        assert!(unit_of(&fst[1..]).is_err());
        fst[0] = 1;
        assert!(unit_of(&fst).is_err());
    }
}
