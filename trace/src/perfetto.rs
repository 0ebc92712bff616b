// SPDX-License-Identifier: MIT OR Apache-2.0

//! Trace events in JSON, as ui.perfetto.dev and chrome://tracing open them: a process for each
//! source, tracks for accesses, DMA, interrupts and resets, and arrows from a doorbell to the DMA
//! to the interrupt that followed.
//!
//! An arrow is a chain, see [`chains`](crate::chains). What overlaps takes several rows of a track.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
};

use accelerator_record::{
    layout::{Body, Source, FLAG_DIRECT},
    reader::{Bytes, Skipped},
    Kind, Record,
};

use crate::{
    chains::Chains,
    registers::Registers,
    tracks::{label, outcome_name, period_ps, source_name, track_of, TRACKS},
    transactions::{Change, Moment, Tracker, Transaction},
};

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The simulated clock, times its period; 1 ns for a source whose period is not known.
    Simulated,
    /// The clock of the simulator's machine, from the beginning of the record on.
    Host,
}

/// Rows of a track, so that its numbers do not meet those of the next one.
const ROWS: usize = 1000;

/// A place in the trace that an arrow begins or ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    row: usize,
    /// Picoseconds.
    at: u128,
}

/// Where a transaction is drawn.
#[derive(Clone, Copy, Debug)]
struct Place {
    row: usize,
    begin: u128,
}

/// What is known of a source.
#[derive(Debug, Default)]
struct Drawn {
    /// Of each track, until when a row is taken; `None`: by something under way.
    rows: BTreeMap<usize, Vec<Option<u128>>>,
    /// By the number of a transaction.
    places: HashMap<u64, Place>,
    chains: Chains<Point>,
}

struct Events<'a, W> {
    out: &'a mut W,
    /// The first of the errors of writing.
    failed: io::Result<()>,
    any: bool,
    arrows: u64,
}

impl<W: Write> Events<'_, W> {
    fn put(&mut self, event: &str) {
        let between = if self.any { ",\n" } else { "\n" };
        self.any = true;
        if self.failed.is_ok() {
            self.failed = write!(self.out, "{between}{event}");
        }
    }

    fn name(&mut self, what: &str, source: usize, row: usize, name: &str) {
        let name = string(name);
        self.put(&format!(
            "{{\"ph\":\"M\",\"name\":\"{what}\",\"pid\":{},\"tid\":{row},\"args\":{{\"name\":{name}}}}}",
            source + 1
        ));
    }

    fn arrow(&mut self, source: usize, points: &[Point]) {
        self.arrows += 1;
        for (i, point) in points.iter().enumerate() {
            let phase = match i {
                0 => "\"s\"",
                _ if i + 1 == points.len() => "\"f\",\"bp\":\"e\"",
                _ => "\"t\"",
            };
            self.put(&format!(
                "{{\"ph\":{phase},\"cat\":\"doorbell\",\"name\":\"doorbell\",\"id\":{},\"pid\":{},\
                 \"tid\":{},\"ts\":{}}}",
                self.arrows,
                source + 1,
                point.row,
                time(point.at)
            ));
        }
    }
}

/// A string of JSON.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Picoseconds as microseconds.
fn time(ps: u128) -> String {
    format!("{}.{:06}", ps / 1_000_000, ps % 1_000_000)
}

/// What draws a record.
struct Drawing<'a, W> {
    events: Events<'a, W>,
    sources: &'a [Source],
    registers: &'a Registers,
    clock: Clock,
    began_host_ns: u64,
    drawn: BTreeMap<usize, Drawn>,
}

impl<W: Write> Drawing<'_, W> {
    fn period(&self, source: usize) -> u128 {
        period_ps(self.sources.get(source)).into()
    }

    fn at(&self, source: usize, moment: Moment) -> u128 {
        match self.clock {
            Clock::Simulated => u128::from(moment.clock) * self.period(source),
            Clock::Host => u128::from(moment.host_ns.saturating_sub(self.began_host_ns)) * 1000,
        }
    }

    /// The shortest that is drawn, so that an arrow has something to begin at.
    fn shortest(&self, source: usize) -> u128 {
        match self.clock {
            Clock::Simulated => self.period(source),
            Clock::Host => 1000,
        }
    }

    fn begins(&mut self, t: &Transaction) {
        let source = usize::from(t.first.source);
        let Some(track) = track_of(t.kind) else {
            return;
        };
        let begin = self.at(source, t.begin());
        let point_at = begin + self.shortest(source) / 2;
        if !self.drawn.contains_key(&source) {
            let name = source_name(self.sources, t.first.source);
            self.events.name("process_name", source, 0, name);
        }
        let drawn = self.drawn.entry(source).or_default();
        let rows = drawn.rows.entry(track).or_default();
        let free = rows.iter().position(|r| r.is_some_and(|end| end <= begin));
        let row_in_track = match free {
            Some(row) => row,
            None => {
                let row = rows.len();
                rows.push(None);
                let name = match row {
                    0 => TRACKS[track].0.to_owned(),
                    _ => format!("{} {}", TRACKS[track].0, row + 1),
                };
                self.events
                    .name("thread_name", source, track * ROWS + row + 1, &name);
                row
            }
        };
        rows[row_in_track] = None;
        let row = track * ROWS + row_in_track + 1;
        drawn.places.insert(t.first.number, Place { row, begin });
        let point = Point { row, at: point_at };
        if let Some(points) = drawn.chains.begins(t, point) {
            self.events.arrow(source, &points);
        }
    }

    fn ends(&mut self, t: &Transaction) {
        let source = usize::from(t.first.source);
        let shortest = self.shortest(source);
        let end = self.at(source, t.end);
        let name = string(&label(t, self.sources, self.registers));
        let Some(drawn) = self.drawn.get_mut(&source) else {
            return;
        };
        let Some(Place { row, begin }) = drawn.places.remove(&t.first.number) else {
            return;
        };
        let end = end.max(begin + shortest);
        let (track, row_in_track) = ((row - 1) / ROWS, (row - 1) % ROWS);
        if let Some(until) = drawn
            .rows
            .get_mut(&track)
            .and_then(|r| r.get_mut(row_in_track))
        {
            *until = Some(end);
        }
        let outcome = outcome_name(t);
        let mut args = format!(
            "\"number\":{},\"address\":\"{:#x}\",\"length\":{},\"data\":\"{:#x}\",\"outcome\":\
             \"{outcome}\",\"clock\":{},\"clocks\":{},\"host_ns\":{},\"tag\":{}",
            t.first.number,
            t.first.address,
            t.first.length,
            t.data,
            t.first.clock,
            t.length().0,
            t.first.host_ns,
            t.first.tag
        );
        if let Some(taken) = t.taken {
            args += &format!(",\"taken_clock\":{}", taken.clock);
        }
        if let Some(answered) = t.answered {
            args += &format!(",\"answered_clock\":{}", answered.clock);
        }
        if matches!(t.kind, Kind::DmaRead | Kind::DmaWrite) {
            let direct = t.first.flags & FLAG_DIRECT != 0;
            args += &format!(",\"direct\":{direct}");
        }
        self.events.put(&format!(
            "{{\"ph\":\"X\",\"cat\":\"{}\",\"name\":{name},\"pid\":{},\"tid\":{row},\"ts\":{},\
             \"dur\":{},\"args\":{{{args}}}}}",
            t.kind.name(),
            source + 1,
            time(begin),
            time(end - begin)
        ));
    }

    fn take(&mut self, change: Change<'_>) {
        match change {
            Change::Begins(t) => self.begins(t),
            Change::Ends(t) => self.ends(t),
        }
    }
}

/// Writes the trace events of a record. What was skipped.
///
/// # Errors
///
/// Of reading and of writing.
pub fn write<B: Bytes>(
    record: &Record<B>,
    registers: &Registers,
    clock: Clock,
    out: &mut impl Write,
) -> io::Result<Skipped> {
    write!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    let mut drawing = Drawing {
        events: Events {
            out,
            failed: Ok(()),
            any: false,
            arrows: 0,
        },
        sources: record.sources(),
        registers,
        clock,
        began_host_ns: record.header().began_host_ns,
        drawn: BTreeMap::new(),
    };
    let mut tracker = Tracker::default();
    let mut reader = record.read()?;
    for next in reader.by_ref() {
        if let Body::Entry(entry) = next?.1 {
            tracker.entry(&entry, |change| drawing.take(change));
        }
    }
    tracker.end(|change| drawing.take(change));
    for (source, mut drawn) in std::mem::take(&mut drawing.drawn) {
        if let Some(points) = drawn.chains.finish(None) {
            drawing.events.arrow(source, &points);
        }
    }
    drawing.events.failed?;
    writeln!(out, "\n]}}")?;
    Ok(reader.skipped())
}
