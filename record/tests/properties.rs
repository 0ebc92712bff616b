// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is written is read, as far as there is room; and whatever bytes a file has, reading them
//! ends without a panic and gives out nothing that was not written.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use accelerator_record::{
    layout::{Body, Entry, CONTENT_BYTES, ENTRIES_OFFSET, ENTRY_BYTES, HEADER_BYTES, STATE_OFFSET},
    reader::{Bytes, Skipped},
    writer::MIN_RING,
    Contents, Kind, Record, Size, Source, State, Writer,
};
use proptest::prelude::*;

/// A file that goes when the test ends.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("record-{}-{count}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn entry(number: u64) -> Entry {
    Entry {
        kind: Kind::DmaWrite as u8,
        number,
        clock: number * 3,
        address: !number,
        data: number << 32,
        length: 8,
        ..Entry::default()
    }
}

/// All that is in a record, and what was skipped.
fn all(bytes: &[u8]) -> (Vec<(u64, Body)>, Skipped) {
    let record = Record::new(bytes).unwrap();
    let mut reader = record.read().unwrap();
    let bodies = reader.by_ref().map(Result::unwrap).collect();
    (bodies, reader.skipped())
}

fn numbers(bodies: &[(u64, Body)]) -> Vec<u64> {
    bodies
        .iter()
        .filter_map(|(_, body)| match body {
            Body::Entry(e) => Some(e.number),
            Body::Content { .. } => None,
        })
        .collect()
}

/// A record with so many entries.
fn written(size: Size, count: u64) -> Vec<u8> {
    let place = Place::new();
    let mut writer = Writer::create(&place.0, size, false).unwrap();
    for _ in 0..count {
        let number = writer.number();
        writer.write(&entry(number), Contents::default()).unwrap();
    }
    drop(writer);
    fs::read(&place.0).unwrap()
}

const RING: u64 = (MIN_RING - HEADER_BYTES as u64) / ENTRY_BYTES as u64;

#[test]
fn a_ring_keeps_the_newest() {
    for count in [0, 1, RING - 1, RING, RING + 1, 2 * RING, 5 * RING / 2] {
        let (bodies, skipped) = all(&written(Size::Ring(MIN_RING), count));
        let first = count.saturating_sub(RING) + 1;
        assert_eq!(numbers(&bodies), (first..=count).collect::<Vec<_>>());
        assert_eq!(
            skipped,
            Skipped {
                before: first - 1,
                ..Skipped::default()
            }
        );
    }
}

#[test]
fn a_file_grows_over_its_steps_and_ends_as_long_as_it_has_to_be() {
    let count = 2 * (4 << 20) / ENTRY_BYTES as u64 + 10;
    let bytes = written(Size::default(), count);
    assert_eq!(
        bytes.len() as u64,
        HEADER_BYTES as u64 + count * ENTRY_BYTES as u64
    );
    let (bodies, skipped) = all(&bytes);
    assert_eq!(numbers(&bodies), (1..=count).collect::<Vec<_>>());
    assert_eq!(skipped, Skipped::default());
    assert_eq!(bytes[STATE_OFFSET], State::Ended as u8);
}

#[test]
fn a_full_file_is_told_of_once() {
    let place = Place::new();
    let mut writer = Writer::create(&place.0, Size::Grow(MIN_RING), false).unwrap();
    for number in 1..=RING {
        writer.write(&entry(number), Contents::default()).unwrap();
    }
    let e = writer.write(&entry(0), Contents::default()).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::FileTooLarge);
    writer.write(&entry(0), Contents::default()).unwrap();
    drop(writer);
    let bytes = fs::read(&place.0).unwrap();
    assert_eq!(bytes.len() as u64, MIN_RING);
    assert_eq!(all(&bytes).0.len() as u64, RING);
    assert_eq!(bytes[STATE_OFFSET], State::Full as u8);
}

#[test]
fn only_a_record_is_overwritten_and_one_writer_has_it() {
    let place = Place::new();
    fs::write(&place.0, "module card;").unwrap();
    let create = || Writer::create(&place.0, Size::default(), false);
    let text = create().unwrap_err().to_string();
    assert!(text.contains("is no record"), "{text}");
    assert_eq!(fs::read(&place.0).unwrap(), b"module card;");
    fs::write(&place.0, "").unwrap();
    let writer = create().unwrap();
    let text = create().unwrap_err().to_string();
    assert!(text.contains("another simulation"), "{text}");
    drop(writer);
    drop(create().unwrap());
    let text = Writer::create(Path::new("/dev/null"), Size::default(), false)
        .unwrap_err()
        .to_string();
    assert!(text.contains("regular file"), "{text}");
    let text = Writer::create(&place.0, Size::Ring(MIN_RING - 1), false)
        .unwrap_err()
        .to_string();
    assert!(text.contains("131071 bytes, expected 131072"), "{text}");
}

#[test]
fn contents_follow_their_entry() {
    let data: Vec<u8> = (0..100).collect();
    let enables = [0x55; 13];
    for keep in [false, true] {
        let place = Place::new();
        let mut writer = Writer::create(&place.0, Size::default(), keep).unwrap();
        let contents = Contents {
            data: &data,
            enables: Some(&enables),
        };
        writer.write(&entry(1), contents).unwrap();
        writer.write(&entry(2), Contents::default()).unwrap();
        drop(writer);
        let (bodies, _) = all(&fs::read(&place.0).unwrap());
        assert_eq!(numbers(&bodies), [1, 2]);
        let of = |wanted: Kind| -> Vec<u8> {
            bodies
                .iter()
                .flat_map(|(_, body)| match body {
                    Body::Content {
                        kind,
                        length,
                        bytes,
                        ..
                    } if *kind == wanted => bytes[..usize::from(*length)].to_vec(),
                    _ => Vec::new(),
                })
                .collect()
        };
        let Body::Entry(first) = bodies[0].1 else {
            panic!("{bodies:?}");
        };
        if keep {
            assert_eq!(
                usize::from(first.following),
                100_usize.div_ceil(CONTENT_BYTES) + 1
            );
            assert_eq!(
                (of(Kind::Data), of(Kind::Enables)),
                (data.clone(), enables.to_vec())
            );
        } else {
            assert_eq!((first.following, bodies.len()), (0, 2));
        }
    }
}

#[test]
fn sources_are_read() {
    let place = Place::new();
    let mut writer = Writer::create(&place.0, Size::default(), false).unwrap();
    let mut sources = Vec::new();
    for i in 0..64_u8 {
        let mut source = Source {
            name: format!("card{i}"),
            clock_period_ps: 4000 + u32::from(i),
            vendor: 0x10ee,
            device: u16::from(i),
            ..Source::default()
        };
        source.bars[5].size = 1 << i;
        assert_eq!(writer.add(&source).unwrap(), i);
        sources.push(source);
    }
    let text = writer.add(&Source::default()).unwrap_err().to_string();
    assert!(text.contains("64 bridges"), "{text}");
    drop(writer);
    assert_eq!(Record::open(&place.0).unwrap().sources(), sources);
}

/// The writer was killed after an entry and before it was counted, or the count is damaged.
#[test]
fn the_count_of_the_header_is_a_hint() {
    for count in [1, 10, RING, RING + 7] {
        let good = written(Size::Ring(MIN_RING), count);
        for hint in [count - 1, 0, count + 1, count + RING, u64::MAX] {
            let mut bytes = good.clone();
            bytes[ENTRIES_OFFSET..][..8].copy_from_slice(&hint.to_le_bytes());
            let first = count.saturating_sub(RING) + 1;
            assert_eq!(
                numbers(&all(&bytes).0),
                (first..=count).collect::<Vec<_>>(),
                "{hint} instead of {count}"
            );
        }
    }
}

/// A file whose writer goes on after the first entries were read.
struct Moving {
    before: Vec<u8>,
    after: Vec<u8>,
    moved: Cell<bool>,
}

impl Bytes for Moving {
    fn get(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let now = if self.moved.get() {
            &self.after
        } else {
            &self.before
        };
        if offset >= HEADER_BYTES as u64 && buffer.len() >= ENTRY_BYTES {
            self.moved.set(true);
        }
        Bytes::get(&now.as_slice(), offset, buffer)
    }

    fn size(&self) -> std::io::Result<u64> {
        Ok(self.before.len() as u64)
    }
}

#[test]
fn what_may_have_been_written_over_is_not_given_out() {
    let count = RING + 500;
    for half_written in [false, true] {
        let mut after = written(Size::Ring(MIN_RING), count + 10);
        if half_written {
            let at = HEADER_BYTES + (count + 10 - RING) as usize * ENTRY_BYTES;
            after[at..at + 8].fill(0);
        }
        let record = Record::new(Moving {
            before: written(Size::Ring(MIN_RING), count),
            after,
            moved: Cell::new(false),
        })
        .unwrap();
        let mut reader = record.read().unwrap();
        let bodies: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        let gone = 10 + u64::from(half_written);
        let first = count - RING + 1 + gone;
        assert_eq!(numbers(&bodies), (first..=count).collect::<Vec<_>>());
        assert_eq!(
            reader.skipped(),
            Skipped {
                overwritten: gone,
                before: count - RING,
                damaged: 0
            }
        );
    }
}

/// While the writer goes on a reader of the ring gets whole entries, in order, and knows what it
/// has missed.
#[test]
fn a_ring_is_read_while_it_is_written() {
    let place = Place::new();
    let mut writer = Writer::create(&place.0, Size::Ring(MIN_RING), false).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let number = writer.number();
                writer.write(&entry(number), Contents::default()).unwrap();
            }
        });
        let record = Record::open(&place.0).unwrap();
        for _ in 0..200 {
            let mut last = 0;
            for next in record.read().unwrap() {
                let (sequence, body) = next.unwrap();
                assert!(sequence > last, "{sequence} after {last}");
                last = sequence;
                assert_eq!(body, Body::Entry(entry(sequence)));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A file that was cut gives all that is whole in it.
    #[test]
    fn a_file_that_was_cut(count in 0_u64..100, cut in 0_usize..10_000) {
        let mut bytes = written(Size::default(), count);
        let length = bytes.len().saturating_sub(cut);
        bytes.truncate(length);
        if let Some(rest) = length.checked_sub(HEADER_BYTES) {
            let whole = (rest / ENTRY_BYTES) as u64;
            prop_assert_eq!(numbers(&all(&bytes).0), (1..=whole).collect::<Vec<_>>());
        } else {
            prop_assert!(Record::new(&bytes[..]).is_err());
        }
    }

    /// An entry whose sequence is not that of its place is passed over and counted, the others
    /// are there.
    #[test]
    fn damage_stays_where_it_is(
        ring: bool,
        count in 10_u64..3000,
        hits in proptest::collection::btree_set(0_u64..10, 1..5),
        value in 0_u64..5,
    ) {
        let size = if ring { Size::Ring(MIN_RING) } else { Size::default() };
        let mut bytes = written(size, count);
        let oldest = if ring { count.saturating_sub(RING) + 1 } else { 1 };
        let entries = count + 1 - oldest;
        let mut left: Vec<u64> = (oldest..=count).collect();
        // Not the last, behind which nothing shows that it was one.
        let hit: Vec<u64> = hits.iter().map(|h| oldest + h * (entries - 1) / 10).collect();
        for sequence in &hit {
            let slot = if ring { (sequence - 1) % RING } else { sequence - 1 };
            let at = HEADER_BYTES + slot as usize * ENTRY_BYTES;
            bytes[at..at + 8].copy_from_slice(&value.wrapping_sub(2).to_le_bytes());
        }
        left.retain(|s| !hit.contains(s));
        let (bodies, skipped) = all(&bytes);
        // A value may be the right one by accident.
        let right = hit.iter().filter(|s| value.wrapping_sub(2) == **s).count();
        if right == 0 {
            let damaged = hit.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
            prop_assert_eq!(numbers(&bodies), left);
            prop_assert_eq!(skipped.damaged, damaged);
        }
    }

    /// Any bytes whatever, and any damage to a good file: no panic, and an end.
    #[test]
    fn nothing_makes_the_reader_panic(
        ring: bool,
        count in 0_u64..2000,
        damage in proptest::collection::vec((0_usize..140_000, any::<u64>()), 0..40),
        cut in 0_usize..140_000,
        header: bool,
    ) {
        let size = if ring { Size::Ring(MIN_RING) } else { Size::default() };
        let mut bytes = written(size, count);
        for (at, value) in damage {
            let at = if header { at % 256 } else { at };
            if at + 8 <= bytes.len() {
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 3 * 2));
        match Record::new(&bytes[..]) {
            Err(e) => prop_assert!(!e.to_string().is_empty()),
            Ok(record) => {
                let mut last = 0;
                for next in record.read().unwrap() {
                    let (sequence, _) = next.unwrap();
                    prop_assert!(sequence > last);
                    last = sequence;
                }
            }
        }
    }
}
