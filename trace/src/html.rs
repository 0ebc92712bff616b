// SPDX-License-Identifier: MIT OR Apache-2.0

//! A page in one file that needs no network: time line, filters, distributions, tables, and the
//! fields of each transaction.
//!
//! Transactions are columns of numbers, one for each field, as deflated typed arrays in base64. The
//! page (`page/`) draws what is in view: one by one where they are few, else how many there are in
//! a bin. plotly.js draws; it comes with the crate `plotly`.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufWriter, Write},
};

use accelerator_record::{
    layout::Body,
    reader::{Bytes, Skipped},
    Kind, Record,
};
use base64::{engine::general_purpose::STANDARD, write::EncoderWriter};
use flate2::{write::ZlibEncoder, Compression};
use serde_json::{json, Value};

use crate::{
    registers::Registers,
    status_name,
    summary::{percentile, place, state_text, utc, who_has, Summary},
    tracks::{label, outcome_name, period_ps, source_name, track_of, TRACKS},
    transactions::{Change, Tracker, Transaction},
};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Rows of the table of what is outstanding.
const ROWS: usize = 1000;

/// Nothing is loaded from anywhere, and nothing is sent.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
                      style-src 'unsafe-inline'; img-src data: blob:";

/// Of a moment that a transaction has not.
const NEVER: f64 = -1.0;

/// A script element with plotly.js. The crate has MathJax after it, for formulas, which are not
/// in the page.
fn plotly() -> io::Result<String> {
    const END: &str = "</script>";
    let mut both = plotly::Plot::offline_js_sources();
    let end = both.find(END).ok_or(io::ErrorKind::InvalidData)?;
    both.truncate(end + END.len());
    Ok(both)
}

/// The kinds that begin a transaction.
fn kinds() -> impl Iterator<Item = Kind> {
    TRACKS.iter().flat_map(|(_, kinds)| kinds.iter().copied())
}

/// Texts, each once.
#[derive(Debug, Default)]
struct Texts {
    ids: HashMap<String, u32>,
    all: Vec<String>,
}

impl Texts {
    fn id(&mut self, text: String) -> u32 {
        *self.ids.entry(text).or_insert_with_key(|text| {
            self.all.push(text.clone());
            // A record has fewer entries than that.
            (self.all.len() - 1) as u32
        })
    }
}

/// All transactions of a source in the order in which they began, a column each field.
#[derive(Debug, Default)]
struct Columns {
    number: Vec<f64>,
    begin: Vec<f64>,
    clocks: Vec<f64>,
    host: Vec<f64>,
    wait: Vec<f64>,
    taken: Vec<f64>,
    answered: Vec<f64>,
    address: Vec<u64>,
    data: Vec<u64>,
    length: Vec<u32>,
    bytes: Vec<u32>,
    tag: Vec<u32>,
    place: Vec<u32>,
    lane: Vec<u32>,
    track: Vec<u16>,
    kind: Vec<u8>,
    outcome: Vec<u8>,
    bar: Vec<u8>,
    flags: Vec<u8>,
}

/// A track, and which of its lanes are taken.
#[derive(Debug)]
struct Track {
    source: u8,
    /// Of [`TRACKS`].
    which: usize,
    lanes: Vec<bool>,
}

/// What is known of a transaction under way.
#[derive(Clone, Copy, Debug)]
struct Place {
    row: usize,
    track: usize,
    lane: usize,
}

/// Gathers the columns.
struct Gathering<'a, B> {
    record: &'a Record<B>,
    registers: &'a Registers,
    sources: BTreeMap<u8, Columns>,
    places: Texts,
    /// Of statuses and of what did not end.
    outcomes: &'a [&'static str],
    tracks: Vec<Track>,
    track_ids: HashMap<(u8, usize), usize>,
    under_way: HashMap<(u8, u64), Place>,
}

impl<B: Bytes> Gathering<'_, B> {
    fn take(&mut self, change: Change<'_>) {
        match change {
            Change::Begins(t) => self.begins(t),
            Change::Ends(t) => self.ends(t),
        }
    }

    fn begins(&mut self, t: &Transaction) {
        let Some(which) = track_of(t.kind) else {
            return;
        };
        let source = t.first.source;
        let next = self.tracks.len();
        let track = *self.track_ids.entry((source, which)).or_insert(next);
        if track == next {
            self.tracks.push(Track {
                source,
                which,
                lanes: Vec::new(),
            });
        }
        // The lowest that is free: no two of a lane overlap, on neither clock.
        let lanes = &mut self.tracks[track].lanes;
        let lane = lanes.iter().position(|taken| !taken).unwrap_or_else(|| {
            lanes.push(false);
            lanes.len() - 1
        });
        lanes[lane] = true;

        let began = self.record.header().began_host_ns;
        let place = self
            .places
            .id(label(t, self.record.sources(), self.registers));
        let kind = kinds().position(|k| k == t.kind).unwrap_or(0);
        let c = self.sources.entry(source).or_default();
        let row = c.number.len();
        c.number.push(t.first.number as f64);
        c.begin.push(t.first.clock as f64);
        c.clocks.push(0.0);
        c.host.push(t.first.host_ns.saturating_sub(began) as f64);
        c.wait.push(0.0);
        c.taken.push(NEVER);
        c.answered.push(NEVER);
        c.address.push(t.first.address);
        c.data.push(t.data);
        c.length.push(t.first.length);
        c.bytes.push(0);
        c.tag.push(t.first.tag);
        c.place.push(place);
        c.lane.push(lane as u32);
        c.track.push(track as u16);
        c.kind.push(kind as u8);
        c.outcome.push(self.outcomes.len() as u8 - 1);
        c.bar.push(t.first.bar);
        c.flags.push(t.first.flags);
        let place = Place { row, track, lane };
        self.under_way.insert((source, t.first.number), place);
    }

    fn ends(&mut self, t: &Transaction) {
        let source = t.first.source;
        let Some(place) = self.under_way.remove(&(source, t.first.number)) else {
            return;
        };
        self.tracks[place.track].lanes[place.lane] = false;
        let Some(c) = self.sources.get_mut(&source) else {
            return;
        };
        let row = place.row;
        let since = |clock: u64| clock.saturating_sub(t.first.clock) as f64;
        let (clocks, wait) = t.length();
        (c.clocks[row], c.wait[row]) = (clocks as f64, wait as f64);
        c.taken[row] = t.taken.map_or(NEVER, |m| since(m.clock));
        c.answered[row] = t.answered.map_or(NEVER, |m| since(m.clock));
        c.data[row] = t.data;
        c.bytes[row] = u32::try_from(t.bytes).unwrap_or(u32::MAX);
        let outcome = outcome_name(t);
        if let Some(at) = self.outcomes.iter().position(|name| *name == outcome) {
            c.outcome[row] = at as u8;
        }
    }
}

/// Differences of neighbours: small numbers, which deflate well.
fn differences(values: &mut [f64]) {
    let mut before = 0.0;
    for value in values {
        let now = *value;
        *value -= before;
        before = now;
    }
}

/// Writes columns, and tells of each what the page has to know.
struct Scripts<'a, W> {
    out: &'a mut W,
    specs: Vec<Value>,
}

impl<W: Write> Scripts<'_, W> {
    fn column<const N: usize>(
        &mut self,
        name: &str,
        kind: &str,
        delta: bool,
        values: impl Iterator<Item = [u8; N]>,
    ) -> io::Result<()> {
        let spec = json!({ "name": name, "type": kind, "delta": delta });
        self.specs.push(spec);
        write!(
            self.out,
            "<script type=\"application/octet-stream\" id=\"column-{name}\">"
        )?;
        let text = EncoderWriter::new(&mut *self.out, &STANDARD);
        let packed = ZlibEncoder::new(text, Compression::default());
        // Not a few bytes at a time: each call of the encoder costs.
        let mut buffer = BufWriter::with_capacity(1 << 16, packed);
        for value in values {
            buffer.write_all(&value)?;
        }
        let packed = buffer.into_inner().map_err(|e| e.into_error())?;
        packed.finish()?.finish()?;
        writeln!(self.out, "</script>")
    }
}

/// JSON that can stand in a script element.
fn script_json(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

/// What tables say of a transaction.
fn row<B: Bytes>(record: &Record<B>, registers: &Registers, t: &Transaction) -> Value {
    let (clocks, ns) = t.length();
    json!({
        "source": source_name(record.sources(), t.first.source),
        "number": t.first.number,
        "kind": t.kind.name(),
        "place": place(record, registers, t),
        "length": t.first.length,
        "clock": t.first.clock,
        "clocks": clocks,
        "ns": ns,
        "status": status_name(t.status),
        "who": who_has(t),
    })
}

fn latencies(summary: &Summary, sources: &[accelerator_record::Source]) -> Vec<Value> {
    let mut all = Vec::new();
    for (source, counts) in &summary.counts {
        for ((kind, register), (clocks, ns)) in &counts.lengths {
            all.push(json!({
                "source": source_name(sources, *source),
                "kind": kind.name(),
                "place": register,
                "count": clocks.len(),
                "clocks": ([50, 90, 99, 100].map(|p| percentile(clocks, p))),
                "ns": ([50, 99, 100].map(|p| percentile(ns, p))),
            }));
        }
    }
    all
}

/// Writes the page of a record, `title` on it. What was skipped.
///
/// # Errors
///
/// Of reading and of writing.
pub fn write<B: Bytes>(
    record: &Record<B>,
    registers: &Registers,
    title: &str,
    out: &mut impl Write,
) -> io::Result<Skipped> {
    let summary = Summary::of(record, registers)?;
    // Those that ended first, in the order of their numbers.
    let outcomes: Vec<&'static str> = (0..=6)
        .map(status_name)
        .chain(["void", "outstanding"])
        .collect();
    let mut gathering = Gathering {
        record,
        registers,
        sources: BTreeMap::new(),
        places: Texts::default(),
        outcomes: &outcomes,
        tracks: Vec::new(),
        track_ids: HashMap::new(),
        under_way: HashMap::new(),
    };
    let mut tracker = Tracker::default();
    let mut reader = record.read()?;
    for next in reader.by_ref() {
        if let Body::Entry(entry) = next?.1 {
            tracker.entry(&entry, |change| gathering.take(change));
        }
    }
    tracker.end(|change| gathering.take(change));
    let skipped = reader.skipped();

    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>accelerator-trace</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n{PAGE}"
    )?;
    writeln!(out, "{}", plotly()?)?;

    let tracks: Vec<Value> = gathering
        .tracks
        .iter()
        .map(|t| {
            json!({
                "source": t.source,
                "order": t.which,
                "name": TRACKS[t.which].0,
                "lanes": t.lanes.len(),
            })
        })
        .collect();
    let (places, columns) = (gathering.places.all, gathering.sources);
    let meta = columns_and_meta(out, columns, record)?;
    let gone = skipped.before + skipped.overwritten;
    let mut about = format!(
        "begun {}; {}; {} entries in {:.6} s",
        utc(record.header().began_unix_ns),
        state_text(record.state()?),
        summary.entries,
        summary.span_ns as f64 / 1e9
    );
    for (count, what) in [
        (skipped.damaged, "entries damaged"),
        (gone, "older entries written over"),
        (summary.orphans, "entries without a beginning"),
    ] {
        if count != 0 {
            about += &format!("; {count} {what}");
        }
    }
    let counts: Vec<Value> = summary
        .counts
        .iter()
        .flat_map(|(source, counts)| {
            let name = source_name(record.sources(), *source);
            let rows = counts.rows().into_iter();
            rows.map(move |(what, count)| json!([name, what, count]))
        })
        .collect();
    let rows = |list: &[Transaction]| -> Vec<Value> {
        let list = list.iter().take(ROWS);
        list.map(|t| row(record, registers, t)).collect()
    };
    let mut all = json!({
        "title": title,
        "record": about,
        "kinds": kinds().map(Kind::name).collect::<Vec<_>>(),
        "outcomes": outcomes,
        "unfinished": outcomes.len() - 2,
        "places": places,
        "tracks": tracks,
        "longest": rows(&summary.longest),
        "outstanding": rows(&summary.outstanding),
        "outstanding_count": summary.outstanding.len(),
        "counts": counts,
        "latencies": latencies(&summary, record.sources()),
    });
    if let (Value::Object(all), Value::Object(meta)) = (&mut all, meta) {
        all.extend(meta);
    }
    writeln!(
        out,
        "<script type=\"application/json\" id=\"meta\">{}</script>\n<script>\n{SCRIPT}</script>\n\
         </body>\n</html>",
        script_json(&all)
    )?;
    Ok(skipped)
}

/// Writes the columns of all sources, one source after the other, and says what is in them.
fn columns_and_meta<B: Bytes>(
    out: &mut impl Write,
    mut columns: BTreeMap<u8, Columns>,
    record: &Record<B>,
) -> io::Result<Value> {
    let mut sources = Vec::new();
    let mut count = 0;
    let most = columns.keys().max().map_or(0, |m| usize::from(*m) + 1);
    for index in 0..record.sources().len().max(most) {
        let source = record.sources().get(index);
        // At most 256.
        let rows = columns.get(&(index as u8)).map_or(0, |c| c.number.len());
        sources.push(json!({
            "name": source_name(record.sources(), index as u8),
            "period_ps": period_ps(source),
            "first": count,
            "last": count + rows,
        }));
        count += rows;
    }
    let of_each: Vec<u8> = columns
        .iter()
        .flat_map(|(source, c)| vec![*source; c.number.len()])
        .collect();
    let mut scripts = Scripts {
        out,
        specs: Vec::new(),
    };
    // One at a time, and each gone when it is written.
    macro_rules! column {
        ($($name:ident: $kind:literal),*) => {$(
            let all = columns.values_mut().flat_map(|c| std::mem::take(&mut c.$name));
            scripts.column(stringify!($name), $kind, false, all.map(|v| v.to_le_bytes()))?;
        )*};
    }
    macro_rules! ascending {
        ($($name:ident),*) => {$(
            let mut all: Vec<f64> =
                columns.values_mut().flat_map(|c| std::mem::take(&mut c.$name)).collect();
            differences(&mut all);
            scripts.column(stringify!($name), "f64", true, all.iter().map(|v| v.to_le_bytes()))?;
        )*};
    }
    macro_rules! halves {
        ($($name:ident: $low:literal, $high:literal);*) => {$(
            for (name, shift) in [($low, 0), ($high, 32)] {
                let all = columns.values().flat_map(|c| &c.$name);
                let half = all.map(|v| ((v >> shift) as u32).to_le_bytes());
                scripts.column(name, "u32", false, half)?;
            }
        )*};
    }
    ascending!(number, begin, host);
    halves!(address: "address_low", "address_high"; data: "data_low", "data_high");
    column!(
        clocks: "f64", wait: "f64", taken: "f64", answered: "f64", length: "u32", bytes: "u32",
        tag: "u32", place: "u32", lane: "u32", track: "u16", kind: "u8", outcome: "u8", bar: "u8",
        flags: "u8"
    );
    scripts.column("source", "u8", false, of_each.iter().map(|v| [*v]))?;
    Ok(json!({ "count": count, "sources": sources, "columns": scripts.specs }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_in_it_and_says_its_licence() {
        let script = plotly().unwrap();
        assert!(script.starts_with("<script"), "{}", &script[..100]);
        assert!(script.contains("Licensed under the MIT license"));
        assert!(script.contains("plotly.js v"));
        assert!(!script.contains("MathJax.loader"));
        assert_eq!(script.matches("</script>").count(), 1);
        // With all else of it below what a mail takes.
        assert!(script.len() < 6 << 20, "{} bytes", script.len());
    }

    #[test]
    fn nothing_ends_the_script() {
        let text = script_json(&json!({ "a": "</script><!--" }));
        assert!(!text.contains('<'), "{text}");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["a"], "</script><!--");
    }

    #[test]
    fn differences_add_up_again() {
        let mut values = [5.0, 7.0, 7.0, 3.0, 9_007_199_254_740_991.0];
        let before = values;
        differences(&mut values);
        let mut sum = 0.0;
        let back = values.map(|v| {
            sum += v;
            sum
        });
        assert_eq!(back, before);
    }
}
