// SPDX-License-Identifier: MIT OR Apache-2.0

//! Trace events in JSON, as ui.perfetto.dev and chrome://tracing open them: a process for each
//! source, tracks for accesses, DMA, interrupts and resets, and arrows from a doorbell to the DMA
//! to the interrupt that followed.
//!
//! The arrows are by order in time, not by knowledge of the design: a doorbell is the last write
//! of a register before a DMA request, and an interrupt belongs to the DMA before it. Without an
//! interrupt the arrow ends at the last DMA before the next doorbell.

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
    registers::Registers,
    status_name,
    transactions::{Change, Moment, Outcome, Tracker, Transaction},
};

/// Whose time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The simulated clock, times its period; 1 ns for a source whose period is not known.
    Simulated,
    /// The clock of the simulator's machine, from the beginning of the record on.
    Host,
}

/// Tracks of a source. What overlaps takes several rows of a track.
const TRACKS: &[(&str, &[Kind])] = &[
    ("CPU reads", &[Kind::MmioRead]),
    ("CPU writes", &[Kind::MmioWrite]),
    ("DMA reads", &[Kind::DmaRead]),
    ("DMA writes", &[Kind::DmaWrite]),
    ("interrupts", &[Kind::Msix, Kind::Intx]),
    (
        "resets and link",
        &[Kind::Reset, Kind::LinkUp, Kind::LinkDown],
    ),
    ("config space", &[Kind::Function]),
    ("frames from the host", &[Kind::NicRx]),
    ("frames to the host", &[Kind::NicTx]),
    ("bytes from the host", &[Kind::SerialRx]),
    ("bytes to the host", &[Kind::SerialTx]),
];

/// Rows of a track, so that its numbers do not meet those of the next one.
const ROWS: usize = 1000;

/// A place in the trace that an arrow begins or ends at.
#[derive(Clone, Copy, Debug)]
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

/// An arrow under way.
#[derive(Clone, Copy, Debug)]
struct Arrow {
    doorbell: Point,
    first: Point,
    last: Point,
}

/// What is known of a source.
#[derive(Debug, Default)]
struct Drawn {
    /// Of each track, until when a row is taken; `None`: by something under way.
    rows: BTreeMap<usize, Vec<Option<u128>>>,
    /// By the number of a transaction.
    places: HashMap<u64, Place>,
    /// A write that no DMA came after.
    written: Option<Point>,
    /// The write that the DMA of now goes back to.
    doorbell: Option<Point>,
    arrow: Option<Arrow>,
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

    /// The arrow of a source ends where it is, or at an interrupt.
    fn finish(&mut self, source: usize, drawn: &mut Drawn, interrupt: Option<Point>) {
        if let Some(arrow) = drawn.arrow.take() {
            let mut points = vec![arrow.doorbell, arrow.first];
            if arrow.last.row != arrow.first.row || arrow.last.at != arrow.first.at {
                points.push(arrow.last);
            }
            points.extend(interrupt);
            self.arrow(source, &points);
        } else if let (Some(interrupt), Some(written)) = (interrupt, drawn.written.take()) {
            self.arrow(source, &[written, interrupt]);
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
        match self.sources.get(source).map(|s| s.clock_period_ps) {
            None | Some(0) => 1000,
            Some(period) => period.into(),
        }
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

    fn source_name(&self, source: usize) -> &str {
        self.sources.get(source).map_or("unknown", |s| &s.name)
    }

    fn begins(&mut self, t: &Transaction) {
        let source = usize::from(t.first.source);
        let Some(track) = TRACKS.iter().position(|(_, kinds)| kinds.contains(&t.kind)) else {
            return;
        };
        let begin = self.at(source, t.begin());
        let point_at = begin + self.shortest(source) / 2;
        if !self.drawn.contains_key(&source) {
            let name = self.source_name(source).to_owned();
            self.events.name("process_name", source, 0, &name);
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
        match t.kind {
            Kind::MmioWrite => drawn.written = Some(point),
            Kind::DmaRead | Kind::DmaWrite => {
                if let Some(written) = drawn.written.take() {
                    self.events.finish(source, drawn, None);
                    drawn.doorbell = Some(written);
                }
                match (&mut drawn.arrow, drawn.doorbell) {
                    (Some(arrow), _) => arrow.last = point,
                    (None, Some(doorbell)) => {
                        drawn.arrow = Some(Arrow {
                            doorbell,
                            first: point,
                            last: point,
                        });
                    }
                    (None, None) => {}
                }
            }
            Kind::Msix => self.events.finish(source, drawn, Some(point)),
            Kind::Intx if t.data != 0 => self.events.finish(source, drawn, Some(point)),
            // What comes after a reset goes back to nothing before it.
            Kind::Reset | Kind::LinkUp | Kind::LinkDown => {
                self.events.finish(source, drawn, None);
                (drawn.written, drawn.doorbell) = (None, None);
            }
            _ => {}
        }
    }

    fn name_of(&self, t: &Transaction) -> String {
        let source = self.source_name(t.first.source.into());
        match t.kind {
            Kind::MmioRead | Kind::MmioWrite => {
                self.registers.name(source, t.first.bar, t.first.address)
            }
            Kind::DmaRead | Kind::DmaWrite => format!("{} bytes", t.first.length),
            Kind::Msix => format!("vector {}", t.first.address),
            Kind::Intx => format!("INTx {}", t.data),
            Kind::Reset => match t.first.address {
                1 => "FLR".to_owned(),
                2 => "hot reset".to_owned(),
                3 => "cold reset".to_owned(),
                other => format!("reset {other}"),
            },
            kind => kind.name().replace('_', " "),
        }
    }

    fn ends(&mut self, t: &Transaction) {
        let source = usize::from(t.first.source);
        let shortest = self.shortest(source);
        let end = self.at(source, t.end);
        let name = string(&self.name_of(t));
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
        let outcome = match t.outcome {
            Outcome::Done => status_name(t.status),
            Outcome::Void => "void",
            Outcome::Outstanding => "outstanding",
        };
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
        drawing.events.finish(source, &mut drawn, None);
    }
    drawing.events.failed?;
    writeln!(out, "\n]}}")?;
    Ok(reader.skipped())
}
