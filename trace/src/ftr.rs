// SPDX-License-Identifier: MIT OR Apache-2.0

//! Transaction streams in FTR, the format of LWTR4SC that SCViewer and Surfer open: CBOR
//! (RFC 8949), a list of tagged chunks. A stream is a track of a source, its generators are the
//! kinds of transaction, and the relations are the [`chains`](crate::chains).
//!
//! Times are picoseconds of the waveform. How a file says so depends on who reads it: [`Viewer`].
//! Chunks are not compressed.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write},
};

use accelerator_record::{
    layout::{Body, FLAG_DIRECT, NO_BAR},
    reader::{Bytes, Skipped},
    Kind, Record,
};

use crate::{
    chains::Chains,
    registers::Registers,
    tracks::{edge_ps, label, outcome_name, period_ps, source_name, track_of, TRACKS},
    transactions::{Change, Tracker, Transaction},
};

/// Bytes of a block before it is written.
const BLOCK: usize = 1 << 16;

// Major types of CBOR.
const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const BREAK: u8 = 0xff;
const ARRAY_WITHOUT_END: u8 = 0x9f;
const FALSE: u8 = 0xf4;

// Tags of FTR.
const SELF_DESCRIBED: u64 = 55_799;
const INFO: u64 = 6;
const DICTIONARY: u64 = 8;
const DIRECTORY: u64 = 10;
const TRANSACTIONS: u64 = 12;
const RELATIONS: u64 = 14;
const STREAM: u64 = 16;
const GENERATOR: u64 = 17;
const EVENT: u64 = 6;
const AT_BEGIN: u64 = 7;
const ALONG: u64 = 8;
const AT_END: u64 = 9;

// Types of attributes.
const TYPE_BOOLEAN: u64 = 0;
const TYPE_UNSIGNED: u64 = 3;
const TYPE_STRING: u64 = 10;
const TYPE_TIME: u64 = 11;

/// Who is to read the file. All times are picoseconds, but not all readers take the same number
/// for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Viewer {
    /// Surfer: its reader, `ftr_parser`, has a table in which a unit is 10000 times smaller than
    /// the one before it, so that picoseconds are -16, and takes -12 for nanoseconds.
    #[default]
    Surfer,
    /// SCViewer, and all that keep to the format: the exponent of the smallest step in seconds.
    ScViewer,
}

impl Viewer {
    /// What stands for picoseconds in the header, the other way round.
    fn picoseconds(self) -> u64 {
        match self {
            Self::Surfer => 16,
            Self::ScViewer => 12,
        }
    }
}

/// A head of CBOR.
fn head(out: &mut Vec<u8>, major: u8, value: u64) {
    let bytes = value.to_be_bytes();
    let major = major << 5;
    match value {
        0..=23 => out.push(major | bytes[7]),
        24..=0xff => out.extend([major | 24, bytes[7]]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend(&bytes[6..]);
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend(&bytes[4..]);
        }
        _ => {
            out.push(major | 27);
            out.extend(bytes);
        }
    }
}

/// Numbers, one after the other.
fn numbers(out: &mut Vec<u8>, values: &[u64]) {
    for value in values {
        head(out, UNSIGNED, *value);
    }
}

/// All texts of a file; what is not written yet waits.
#[derive(Debug)]
struct Dictionary {
    ids: HashMap<String, u64>,
    waiting: Vec<String>,
}

impl Dictionary {
    fn new() -> Self {
        Self {
            ids: HashMap::from([(String::new(), 0)]),
            waiting: vec![String::new()],
        }
    }

    fn id(&mut self, text: &str) -> u64 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.ids.len() as u64;
        self.ids.insert(text.to_owned(), id);
        self.waiting.push(text.to_owned());
        id
    }

    fn chunk(&mut self) -> Option<Vec<u8>> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        head(&mut out, MAP, self.waiting.len() as u64);
        let first = (self.ids.len() - self.waiting.len()) as u64;
        for (id, text) in (first..).zip(self.waiting.drain(..)) {
            head(&mut out, UNSIGNED, id);
            head(&mut out, TEXT, text.len() as u64);
            out.extend(text.as_bytes());
        }
        Some(out)
    }
}

/// Transactions of a stream that are not written yet.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    first: u64,
    last: u64,
}

/// What stands for a transaction in a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    stream: u64,
    number: u64,
    kind: Kind,
}

struct Streams<'a, W> {
    out: &'a mut W,
    /// The first of the errors of writing.
    failed: io::Result<()>,
    dictionary: Dictionary,
    directory: Vec<u8>,
    relations: Vec<u8>,
    blocks: BTreeMap<u64, Block>,
    generators: BTreeMap<(u64, Kind), u64>,
}

impl<W: Write> Streams<'_, W> {
    fn put(&mut self, bytes: &[u8]) {
        if self.failed.is_ok() {
            self.failed = self.out.write_all(bytes);
        }
    }

    /// A chunk: what is before its contents, and these.
    fn chunk(&mut self, tag: u64, before: &[u64], contents: &[u8]) {
        let mut start = Vec::new();
        head(&mut start, TAG, tag);
        if !before.is_empty() {
            head(&mut start, ARRAY, before.len() as u64 + 1);
            numbers(&mut start, before);
        }
        head(&mut start, BYTES, contents.len() as u64);
        self.put(&start);
        self.put(contents);
    }

    /// Texts and streams, before what refers to them.
    fn flush_names(&mut self) {
        if let Some(contents) = self.dictionary.chunk() {
            self.chunk(DICTIONARY, &[], &contents);
        }
        if !self.directory.is_empty() {
            let mut contents = vec![ARRAY_WITHOUT_END];
            contents.append(&mut self.directory);
            contents.push(BREAK);
            self.chunk(DIRECTORY, &[], &contents);
        }
    }

    fn flush_block(&mut self, stream: u64) {
        let block = self
            .blocks
            .get_mut(&stream)
            .map(std::mem::take)
            .unwrap_or_default();
        if block.bytes.is_empty() {
            return;
        }
        self.flush_names();
        let mut contents = vec![ARRAY_WITHOUT_END];
        contents.extend(block.bytes);
        contents.push(BREAK);
        self.chunk(TRANSACTIONS, &[stream, block.first, block.last], &contents);
    }

    fn flush_relations(&mut self) {
        if self.relations.is_empty() {
            return;
        }
        self.flush_names();
        let mut contents = vec![ARRAY_WITHOUT_END];
        contents.append(&mut self.relations);
        contents.push(BREAK);
        self.chunk(RELATIONS, &[], &contents);
    }

    fn entry(&mut self, tag: u64, id: u64, second: u64, third: u64) {
        head(&mut self.directory, TAG, tag);
        head(&mut self.directory, ARRAY, 3);
        numbers(&mut self.directory, &[id, second, third]);
    }

    /// The generator of a kind in a stream.
    fn generator(&mut self, stream: u64, name: impl FnOnce() -> String, kind: Kind) -> u64 {
        if let Some(id) = self.generators.get(&(stream, kind)) {
            return *id;
        }
        if !self.blocks.contains_key(&stream) {
            let name = self.dictionary.id(&name());
            let what = self.dictionary.id("TRANSACTOR");
            self.entry(STREAM, stream, name, what);
            self.blocks.insert(stream, Block::default());
        }
        let id = self.generators.len() as u64 + 1;
        let name = self.dictionary.id(kind.name());
        self.entry(GENERATOR, id, name, stream);
        self.generators.insert((stream, kind), id);
        id
    }

    fn relate(&mut self, points: &[Point]) {
        for pair in points.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let name = match (from.kind, to.kind) {
                (_, Kind::Msix | Kind::Intx) => "interrupt",
                (Kind::MmioWrite, _) => "doorbell",
                _ => "last DMA",
            };
            let name = self.dictionary.id(name);
            head(&mut self.relations, ARRAY, 5);
            numbers(
                &mut self.relations,
                &[name, from.number, to.number, from.stream, to.stream],
            );
        }
        if self.relations.len() >= BLOCK {
            self.flush_relations();
        }
    }
}

/// Attributes of a transaction.
struct Attributes<'a> {
    dictionary: &'a mut Dictionary,
    bytes: Vec<u8>,
    count: u64,
}

impl Attributes<'_> {
    fn add(&mut self, when: u64, name: &str, what: u64) {
        let name = self.dictionary.id(name);
        head(&mut self.bytes, TAG, when);
        head(&mut self.bytes, ARRAY, 3);
        numbers(&mut self.bytes, &[name, what]);
        self.count += 1;
    }

    fn number(&mut self, when: u64, name: &str, value: u64) {
        self.add(when, name, TYPE_UNSIGNED);
        head(&mut self.bytes, UNSIGNED, value);
    }

    fn time(&mut self, when: u64, name: &str, ps: u64) {
        self.add(when, name, TYPE_TIME);
        head(&mut self.bytes, UNSIGNED, ps);
    }

    fn text(&mut self, when: u64, name: &str, value: &str) {
        let id = self.dictionary.id(value);
        self.add(when, name, TYPE_STRING);
        head(&mut self.bytes, UNSIGNED, id);
    }

    fn flag(&mut self, when: u64, name: &str, value: bool) {
        self.add(when, name, TYPE_BOOLEAN);
        self.bytes.push(FALSE + u8::from(value));
    }
}

/// The stream of a track of a source; 0 is none.
fn stream_of(t: &Transaction) -> Option<(u64, usize)> {
    let track = track_of(t.kind)?;
    let stream = usize::from(t.first.source) * TRACKS.len() + track + 1;
    Some((stream as u64, track))
}

/// Writes the streams of a record for a viewer. What was skipped.
///
/// # Errors
///
/// Of reading and of writing.
pub fn write<B: Bytes>(
    record: &Record<B>,
    registers: &Registers,
    viewer: Viewer,
    out: &mut impl Write,
) -> io::Result<Skipped> {
    let sources = record.sources();
    let mut streams = Streams {
        out,
        failed: Ok(()),
        dictionary: Dictionary::new(),
        directory: Vec::new(),
        relations: Vec::new(),
        blocks: BTreeMap::new(),
        generators: BTreeMap::new(),
    };
    let mut start = Vec::new();
    head(&mut start, TAG, SELF_DESCRIBED);
    start.push(ARRAY_WITHOUT_END);
    streams.put(&start);
    let mut info = Vec::new();
    head(&mut info, ARRAY, 2);
    head(&mut info, NEGATIVE, viewer.picoseconds() - 1);
    head(&mut info, TAG, 1);
    head(
        &mut info,
        UNSIGNED,
        record.header().began_unix_ns / 1_000_000_000,
    );
    streams.chunk(INFO, &[], &info);

    let mut chains: BTreeMap<u8, Chains<Point>> = BTreeMap::new();
    let mut take = |change: Change<'_>| {
        let (Change::Begins(t) | Change::Ends(t)) = change;
        let Some((stream, track)) = stream_of(t) else {
            return;
        };
        if matches!(change, Change::Begins(_)) {
            let point = Point {
                stream,
                number: t.first.number,
                kind: t.kind,
            };
            let chains = chains.entry(t.first.source).or_default();
            if let Some(points) = chains.begins(t, point) {
                streams.relate(&points);
            }
            return;
        }
        let name = || {
            format!(
                "{} {}",
                source_name(sources, t.first.source),
                TRACKS[track].0
            )
        };
        let generator = streams.generator(stream, name, t.kind);
        let period = period_ps(sources.get(usize::from(t.first.source)));
        let begin = edge_ps(t.first.clock, period);
        let end = edge_ps(t.end.clock, period).max(begin);

        let mut more = Attributes {
            dictionary: &mut streams.dictionary,
            bytes: Vec::new(),
            count: 0,
        };
        more.text(AT_BEGIN, "what", &label(t, sources, registers));
        more.number(AT_BEGIN, "clock", t.first.clock);
        if t.first.bar != NO_BAR || matches!(t.kind, Kind::DmaRead | Kind::DmaWrite) {
            more.text(AT_BEGIN, "address", &format!("{:#x}", t.first.address));
        }
        more.number(AT_BEGIN, "length", t.first.length.into());
        more.number(AT_BEGIN, "tag", t.first.tag.into());
        more.number(AT_BEGIN, "host_ns", t.first.host_ns);
        if let Some(taken) = t.taken {
            more.time(ALONG, "taken", edge_ps(taken.clock, period));
        }
        if let Some(answered) = t.answered {
            more.time(ALONG, "answered", edge_ps(answered.clock, period));
        }
        if matches!(t.kind, Kind::DmaRead | Kind::DmaWrite) {
            more.flag(ALONG, "direct", t.first.flags & FLAG_DIRECT != 0);
        }
        more.text(AT_END, "data", &format!("{:#x}", t.data));
        more.number(AT_END, "bytes", t.bytes);
        more.text(AT_END, "outcome", outcome_name(t));
        more.number(AT_END, "clocks", t.length().0);
        more.number(AT_END, "host_wait_ns", t.length().1);
        let (attributes, count) = (more.bytes, more.count);

        let block = streams.blocks.entry(stream).or_default();
        if block.bytes.is_empty() {
            (block.first, block.last) = (begin, end);
        }
        block.first = block.first.min(begin);
        block.last = block.last.max(end);
        head(&mut block.bytes, ARRAY, count + 1);
        head(&mut block.bytes, TAG, EVENT);
        head(&mut block.bytes, ARRAY, 4);
        numbers(&mut block.bytes, &[t.first.number, generator, begin, end]);
        block.bytes.extend(attributes);
        if block.bytes.len() >= BLOCK {
            streams.flush_block(stream);
        }
    };
    let mut tracker = Tracker::default();
    let mut reader = record.read()?;
    for next in reader.by_ref() {
        if let Body::Entry(entry) = next?.1 {
            tracker.entry(&entry, &mut take);
        }
    }
    tracker.end(&mut take);
    for mut each in chains.into_values() {
        if let Some(points) = each.finish(None) {
            streams.relate(&points);
        }
    }
    let all: Vec<u64> = streams.blocks.keys().copied().collect();
    for stream in all {
        streams.flush_block(stream);
    }
    streams.flush_relations();
    streams.flush_names();
    streams.put(&[BREAK]);
    streams.failed?;
    Ok(reader.skipped())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_those_of_rfc_8949() {
        for (value, expected) in [
            (0, &[0x00][..]),
            (23, &[0x17]),
            (24, &[0x18, 0x18]),
            (255, &[0x18, 0xff]),
            (256, &[0x19, 0x01, 0x00]),
            (1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40]),
            (
                u64::MAX,
                &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
        ] {
            let mut out = Vec::new();
            head(&mut out, UNSIGNED, value);
            assert_eq!(out, expected);
        }
    }
}
