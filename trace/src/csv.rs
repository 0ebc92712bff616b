// SPDX-License-Identifier: MIT OR Apache-2.0

//! A line for each entry.

use std::io::{self, Write};

use accelerator_record::{
    layout::{Body, FLAG_DIRECT, FLAG_PARTIAL, NO_BAR},
    reader::{Bytes, Skipped},
    Record,
};

use crate::{registers::Registers, status_name};

/// The first line.
pub const HEAD: &str =
    "sequence,kind,source,number,clock,simulated_ns,host_ns,bar,address,register,\
                        length,enables,data,status,direct,partial,tag,following,contents";

/// A text as RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Writes all entries, those with contents too. What was skipped.
///
/// # Errors
///
/// Of reading and of writing.
pub fn write<B: Bytes>(
    record: &Record<B>,
    registers: &Registers,
    out: &mut impl Write,
) -> io::Result<Skipped> {
    writeln!(out, "{HEAD}")?;
    let mut reader = record.read()?;
    for next in reader.by_ref() {
        let (sequence, body) = next?;
        let name = |source: u8| {
            record
                .sources()
                .get(usize::from(source))
                .map_or_else(|| source.to_string(), |s| quoted(&s.name))
        };
        match body {
            Body::Content {
                kind,
                source,
                length,
                bytes,
            } => {
                let hex: String = bytes[..usize::from(length)]
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                writeln!(
                    out,
                    "{sequence},{},{},,,,,,,,{length},,,,,,,,{hex}",
                    kind.name(),
                    name(source)
                )?;
            }
            Body::Entry(e) => {
                let kind = match e.kind() {
                    Some(kind) => kind.name().to_owned(),
                    None => e.kind.to_string(),
                };
                let source = record.sources().get(usize::from(e.source));
                let period = source.map_or(0, |s| u128::from(s.clock_period_ps));
                let time = match period {
                    0 => String::new(),
                    _ => {
                        let ps = u128::from(e.clock) * period;
                        format!("{}.{:03}", ps / 1000, ps % 1000)
                    }
                };
                let (bar, register) = match e.bar {
                    NO_BAR => (String::new(), String::new()),
                    bar => {
                        let source = source.map_or("", |s| &s.name);
                        let register = registers.name(source, bar, e.address);
                        (bar.to_string(), quoted(&register))
                    }
                };
                writeln!(
                    out,
                    "{sequence},{kind},{},{},{},{time},{},{bar},{:#x},{register},{},{:#04x},{:#x},\
                     {},{},{},{},{},",
                    name(e.source),
                    e.number,
                    e.clock,
                    e.host_ns,
                    e.address,
                    e.length,
                    e.enables,
                    e.data,
                    status_name(e.status),
                    u8::from(e.flags & FLAG_DIRECT != 0),
                    u8::from(e.flags & FLAG_PARTIAL != 0),
                    e.tag,
                    e.following,
                )?;
            }
        }
    }
    Ok(reader.skipped())
}
