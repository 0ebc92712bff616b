// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counts, bytes, latencies, the longest waits, and what was outstanding at the end.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use accelerator_record::{
    layout::{Body, FLAG_DIRECT, STATUS_OK},
    reader::{Bytes, Skipped},
    Kind, Record, State,
};

use crate::{
    registers::Registers,
    status_name,
    tracks::source_name,
    transactions::{Change, Outcome, Tracker, Transaction},
};

/// Rows of the longest waits, and of a source's table of latencies.
const LONGEST: usize = 10;
const ROWS: usize = 40;

/// What is counted of one source.
#[derive(Debug, Default)]
pub struct Counts {
    of: BTreeMap<Kind, u64>,
    refused: u64,
    void: u64,
    direct: u64,
    mmio_read_bytes: u64,
    mmio_write_bytes: u64,
    dma_read_bytes: u64,
    dma_write_bytes: u64,
    /// In clocks and nanoseconds, by kind and register; both in ascending order.
    pub lengths: BTreeMap<(Kind, String), (Vec<u64>, Vec<u64>)>,
}

impl Counts {
    /// All that is not 0, with its name.
    pub fn rows(&self) -> Vec<(String, u64)> {
        let kinds = self
            .of
            .iter()
            .map(|(k, n)| (k.name().replace('_', " "), *n));
        let others = [
            ("mmio read bytes", self.mmio_read_bytes),
            ("mmio write bytes", self.mmio_write_bytes),
            ("dma read bytes", self.dma_read_bytes),
            ("dma write bytes", self.dma_write_bytes),
            ("dma without a message", self.direct),
            ("refused or dropped", self.refused),
            ("void by a reset or the link", self.void),
        ];
        let others = others.map(|(name, count)| (name.to_owned(), count));
        kinds.chain(others).filter(|row| row.1 != 0).collect()
    }
}

/// What a record says.
#[derive(Debug, Default)]
pub struct Summary {
    /// Entries, those with contents too.
    pub entries: u64,
    /// Nanoseconds of the machine from the first entry to the last.
    pub span_ns: u64,
    /// Last clock of each source.
    pub clocks: BTreeMap<u8, u64>,
    /// Of each source.
    pub counts: BTreeMap<u8, Counts>,
    /// The longest waits.
    pub longest: Vec<Transaction>,
    /// What is outstanding at the end.
    pub outstanding: Vec<Transaction>,
    /// Entries of transactions whose beginning is not in the record.
    pub orphans: u64,
    /// What was not read.
    pub skipped: Skipped,
}

/// The value that so many of a hundred do not exceed.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

fn microseconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1000, ns % 1000)
}

/// Days since 1970 as year, month and day (the Gregorian calendar).
const fn date(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years that begin on 1 March of year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let year = era * 400 + year + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// A time as people write it.
pub fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (year, month, day) = date(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// A transaction in a line.
fn line(t: &Transaction, names: &dyn Fn(&Transaction) -> String) -> String {
    format!(
        "#{} {} {} len {}, begun at clock {}",
        t.first.number,
        t.kind.name(),
        names(t),
        t.first.length,
        t.first.clock
    )
}

/// What is told of the file's end.
pub const fn state_text(state: Option<State>) -> &'static str {
    match state {
        Some(State::Writing) => "it is written still, or its simulator was killed",
        Some(State::Ended) => "ended in order",
        Some(State::Full) => "it was full, what came later is missing",
        Some(State::Failed) => "the system had no room for more, what came later is missing",
        None => "its header is damaged",
    }
}

/// The register of an access, the address of DMA, else nothing.
pub fn place<B: Bytes>(record: &Record<B>, registers: &Registers, t: &Transaction) -> String {
    match t.kind {
        Kind::MmioRead | Kind::MmioWrite => {
            let source = source_name(record.sources(), t.first.source);
            registers.name(source, t.first.bar, t.first.address)
        }
        Kind::DmaRead | Kind::DmaWrite => format!("{:#x}", t.first.address),
        _ => String::new(),
    }
}

/// Who has what is outstanding.
pub const fn who_has(t: &Transaction) -> &'static str {
    match (t.kind, t.taken, t.answered) {
        (Kind::MmioRead | Kind::MmioWrite | Kind::Reset, Some(_), _) => "the RTL has it",
        (Kind::DmaRead | Kind::DmaWrite, _, None) if t.first.flags & FLAG_DIRECT == 0 => {
            "QEMU has it"
        }
        _ => "the RTL has not taken it",
    }
}

impl Summary {
    /// Of a record.
    ///
    /// # Errors
    ///
    /// Of reading.
    pub fn of<B: Bytes>(record: &Record<B>, registers: &Registers) -> io::Result<Self> {
        let mut summary = Self::default();
        let mut tracker = Tracker::default();
        let mut reader = record.read()?;
        let mut first_ns = None;
        let take = |summary: &mut Self, change: Change<'_>| {
            let register = |t: &Transaction| match t.kind {
                Kind::MmioRead | Kind::MmioWrite => place(record, registers, t),
                _ => String::new(),
            };
            summary.take(change, register);
        };
        for next in reader.by_ref() {
            summary.entries += 1;
            if let Body::Entry(entry) = next?.1 {
                let first = *first_ns.get_or_insert(entry.host_ns);
                summary.span_ns = entry.host_ns.saturating_sub(first);
                summary.clocks.insert(entry.source, entry.clock);
                if entry.kind() == Some(Kind::Fault) {
                    let counts = summary.counts.entry(entry.source).or_default();
                    *counts.of.entry(Kind::Fault).or_default() += 1;
                }
                tracker.entry(&entry, |change| take(&mut summary, change));
            }
        }
        tracker.end(|change| take(&mut summary, change));
        for counts in summary.counts.values_mut() {
            for (clocks, ns) in counts.lengths.values_mut() {
                clocks.sort_unstable();
                ns.sort_unstable();
            }
        }
        summary.orphans = tracker.orphans();
        summary.skipped = reader.skipped();
        Ok(summary)
    }

    fn take(&mut self, change: Change<'_>, register: impl Fn(&Transaction) -> String) {
        let t = match change {
            Change::Begins(t) => {
                let counts = self.counts.entry(t.first.source).or_default();
                *counts.of.entry(t.kind).or_default() += 1;
                return;
            }
            Change::Ends(t) => t,
        };
        let counts = self.counts.entry(t.first.source).or_default();
        match t.outcome {
            Outcome::Void => {
                counts.void += 1;
                return;
            }
            Outcome::Outstanding => {
                self.outstanding.push(*t);
                return;
            }
            Outcome::Done => {}
        }
        counts.refused += u64::from(t.status != STATUS_OK);
        counts.direct += u64::from(t.first.flags & FLAG_DIRECT != 0);
        let bytes = match t.kind {
            Kind::MmioRead => &mut counts.mmio_read_bytes,
            Kind::MmioWrite => &mut counts.mmio_write_bytes,
            Kind::DmaRead => &mut counts.dma_read_bytes,
            Kind::DmaWrite => &mut counts.dma_write_bytes,
            _ => return,
        };
        if t.status == STATUS_OK {
            *bytes += t.bytes;
        }
        let (clocks, ns) = t.length();
        let lengths = counts.lengths.entry((t.kind, register(t))).or_default();
        lengths.0.push(clocks);
        lengths.1.push(ns);
        let at = self.longest.partition_point(|l| l.length().1 >= ns);
        if at < LONGEST {
            self.longest.insert(at, *t);
            self.longest.truncate(LONGEST);
        }
    }
}

/// Writes the summary of a record.
///
/// # Errors
///
/// Of reading and of writing.
pub fn write<B: Bytes>(
    record: &Record<B>,
    registers: &Registers,
    out: &mut impl Write,
) -> io::Result<()> {
    let summary = Summary::of(record, registers)?;
    let place = |t: &Transaction| place(record, registers, t);
    let header = record.header();
    writeln!(out, "Record")?;
    let mut show = |name: &str, value: String| writeln!(out, "  {name:<28} {value}");
    show("begun", utc(header.began_unix_ns))?;
    show("end", state_text(record.state()?).to_owned())?;
    show("entries", summary.entries.to_string())?;
    show("seconds", format!("{:.6}", summary.span_ns as f64 / 1e9))?;
    let skipped = summary.skipped;
    for (name, count) in [
        ("entries damaged", skipped.damaged),
        ("entries written over", skipped.before + skipped.overwritten),
        ("entries without a beginning", summary.orphans),
    ] {
        if count != 0 {
            show(name, count.to_string())?;
        }
    }
    for (index, source) in (0_u8..).zip(record.sources()) {
        writeln!(out, "\n{} {} ({index})", source.kind.name(), source.name)?;
        let mut show = |name: &str, value: String| writeln!(out, "  {name:<28} {value}");
        let clocks = summary.clocks.get(&index).copied().unwrap_or(0);
        show("clocks", clocks.to_string())?;
        if source.clock_period_ps != 0 {
            let ps = u128::from(clocks) * u128::from(source.clock_period_ps);
            show("simulated microseconds", format!("{:.3}", ps as f64 / 1e6))?;
        }
        let Some(counts) = summary.counts.get(&index) else {
            continue;
        };
        for (name, count) in counts.rows() {
            show(&name, count.to_string())?;
        }
        if counts.lengths.is_empty() {
            continue;
        }
        writeln!(
            out,
            "\n  {:<34} {:>8} {:>31}   microseconds of the host\n  {:<34} {:>8} {:>7} {:>7} {:>7} \
             {:>7} {:>11} {:>11} {:>11}",
            "",
            "",
            "clocks",
            "latency",
            "count",
            "median",
            "p90",
            "p99",
            "max",
            "median",
            "p99",
            "max"
        )?;
        let mut rows: Vec<_> = counts.lengths.iter().collect();
        // The most frequent registers of each kind first.
        rows.sort_by(|a, b| (a.0 .0, b.1 .0.len()).cmp(&(b.0 .0, a.1 .0.len())));
        let more = rows.len().saturating_sub(ROWS);
        for ((kind, register), (clocks, ns)) in rows.into_iter().take(ROWS) {
            writeln!(
                out,
                "  {:<34} {:>8} {:>7} {:>7} {:>7} {:>7} {:>11} {:>11} {:>11}",
                format!("{} {register}", kind.name()),
                clocks.len(),
                percentile(clocks, 50),
                percentile(clocks, 90),
                percentile(clocks, 99),
                percentile(clocks, 100),
                microseconds(percentile(ns, 50)),
                microseconds(percentile(ns, 99)),
                microseconds(percentile(ns, 100)),
            )?;
        }
        if more != 0 {
            writeln!(
                out,
                "  and {more} more registers; --registers gives those of an area one name"
            )?;
        }
    }
    writeln!(out, "\nThe longest waits")?;
    for t in &summary.longest {
        let (clocks, ns) = t.length();
        writeln!(
            out,
            "  {:>11} us {clocks:>9} clocks  {} {}{}",
            microseconds(ns),
            source_name(record.sources(), t.first.source),
            line(t, &place),
            if t.status == STATUS_OK {
                String::new()
            } else {
                format!(", {}", status_name(t.status))
            }
        )?;
    }
    writeln!(
        out,
        "\nOutstanding at the end: {}",
        summary.outstanding.len()
    )?;
    for t in &summary.outstanding {
        writeln!(
            out,
            "  {} {}, {}",
            source_name(record.sources(), t.first.source),
            line(t, &place),
            who_has(t)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_there() {
        let sorted: Vec<u64> = (1..=10).collect();
        assert_eq!(
            [50, 90, 99, 100].map(|p| percentile(&sorted, p)),
            [5, 9, 10, 10]
        );
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[], 50), 0);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_709_251_199_000_000_000), "2024-02-29 23:59:59 UTC");
        assert_eq!(utc(1_709_251_200_000_000_000), "2024-03-01 00:00:00 UTC");
        assert_eq!(utc(1_767_225_599_000_000_000), "2025-12-31 23:59:59 UTC");
    }
}
