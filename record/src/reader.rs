// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads a record, whatever became of its writer: what is not whole is skipped and counted.

use std::{fmt, fs::File, io, os::unix::fs::FileExt, path::Path};

use crate::layout::{
    get_u64, Bad, Body, Header, Source, State, Words, ENTRIES_OFFSET, ENTRY_BYTES, HEADER_BYTES,
    MAX_SOURCES, SOURCES_OFFSET, SOURCE_BYTES, SOURCE_COUNT_OFFSET, STATE_OFFSET,
};

/// Entries that are read at once.
const BATCH: u64 = 1024;

/// Entries of the largest ring that is believed in, and of the longest record.
const MOST: u64 = 1 << 50;

/// Where a record is.
pub trait Bytes {
    /// Reads at most `buffer.len()` bytes from `offset` on; 0 beyond the end.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn get(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// How many there are.
    ///
    /// # Errors
    ///
    /// Of the system.
    fn size(&self) -> io::Result<u64>;
}

impl Bytes for File {
    fn get(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl Bytes for &[u8] {
    fn get(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| <[u8]>::get(self, offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// Fills as much of `buffer` as there is.
fn fill(bytes: &impl Bytes, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match bytes.get(offset + done as u64, &mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Why a record cannot be read.
#[derive(Debug)]
pub enum Unreadable {
    /// The system does not let us.
    Io(io::Error),
    /// It is none.
    Bad(Bad),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => e.fmt(f),
            Self::Bad(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<io::Error> for Unreadable {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<Bad> for Unreadable {
    fn from(e: Bad) -> Self {
        Self::Bad(e)
    }
}

/// A record.
#[derive(Debug)]
pub struct Record<B> {
    bytes: B,
    header: Header,
    sources: Vec<Source>,
}

impl Record<File> {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// Of the system, or why it is no record.
    pub fn open(path: &Path) -> Result<Self, Unreadable> {
        Self::new(File::open(path)?)
    }
}

impl<B: Bytes> Record<B> {
    /// What is in these bytes.
    ///
    /// # Errors
    ///
    /// Of the system, or why they are no record.
    pub fn new(bytes: B) -> Result<Self, Unreadable> {
        let mut start = vec![0; HEADER_BYTES];
        let count = fill(&bytes, 0, &mut start)?;
        let mut first = [0; ENTRIES_OFFSET];
        first.copy_from_slice(&start[..ENTRIES_OFFSET]);
        let header = match Header::decode(&first) {
            // What is something else is called so, however short it is.
            Ok(_) if count < HEADER_BYTES => return Err(Bad::Short(count as u64).into()),
            Err(Bad::Magic) if count == 0 => return Err(Bad::Short(0).into()),
            other => other?,
        };
        if header.ring > MOST {
            return Err(Bad::Field("the size of the ring", header.ring).into());
        }
        let count = get_u64(&start, SOURCE_COUNT_OFFSET);
        let count = usize::try_from(count).unwrap_or(MAX_SOURCES);
        let sources = start[SOURCES_OFFSET..]
            .chunks_exact(SOURCE_BYTES)
            .take(count.min(MAX_SOURCES))
            .map(|bytes| {
                let mut one = [0; SOURCE_BYTES];
                one.copy_from_slice(bytes);
                Source::decode(&one)
            })
            .collect();
        Ok(Self {
            bytes,
            header,
            sources,
        })
    }

    /// Its header.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What its entries come from, by their index.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn number(&self, offset: usize) -> io::Result<u64> {
        let mut word = [0; 8];
        fill(&self.bytes, offset as u64, &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// How far its writer is.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn state(&self) -> io::Result<Option<State>> {
        Ok(State::of(self.number(STATE_OFFSET)?))
    }

    /// The sequence in a slot; 0 beyond the end.
    fn sequence(&self, slot: u64) -> io::Result<u64> {
        let mut word = [0; 8];
        fill(&self.bytes, offset(slot), &mut word)?;
        Ok(u64::from_le_bytes(word))
    }

    /// The newest entry of a ring.
    fn newest(&self, slots: u64) -> io::Result<u64> {
        let ring = self.header.ring;
        let mut newest = self.number(ENTRIES_OFFSET)?;
        let good = match newest {
            0 => self.sequence(0)? <= 1,
            MOST.. => false,
            _ => self.sequence((newest - 1) % ring)? == newest,
        };
        if !good {
            // The header is damaged, or this entry.
            newest = 0;
            for slot in 0..slots {
                let sequence = self.sequence(slot)?;
                if sequence < MOST && sequence % ring == (slot + 1) % ring {
                    newest = newest.max(sequence);
                }
            }
        }
        // The header is written after the entry.
        while newest < MOST && self.sequence(newest % ring)? == newest + 1 {
            newest += 1;
        }
        Ok(newest)
    }

    /// The next entries of a record that grows, from a slot on, up to some number of them: those
    /// that are whole so far. None of a ring.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn next_of(&self, slot: u64) -> io::Result<Vec<Body>> {
        let mut batch = vec![0; BATCH as usize * ENTRY_BYTES];
        if self.header.ring != 0 || slot >= MOST {
            return Ok(Vec::new());
        }
        let count = fill(&self.bytes, offset(slot), &mut batch)?;
        let entries = batch[..count].chunks_exact(ENTRY_BYTES);
        let whole = |(at, bytes): &(u64, &[u8])| get_u64(bytes, 0) == slot + at + 1;
        Ok((0..)
            .zip(entries)
            .take_while(whole)
            .map(|(_, bytes)| Body::of(&words_of(bytes)))
            .collect())
    }

    /// All entries, the oldest first.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn read(&self) -> io::Result<Reader<'_, B>> {
        let size = self.bytes.size()?;
        let slots = size.saturating_sub(HEADER_BYTES as u64) / ENTRY_BYTES as u64;
        let ring = self.header.ring;
        let (newest, slots) = match ring {
            0 => (0, slots.min(MOST)),
            _ => (self.newest(slots.min(ring))?, ring.min(slots)),
        };
        // From its oldest entry on; one in a file that was cut has only its beginning.
        let start = match ring {
            0 => 0,
            _ if newest % ring < slots => newest % ring,
            _ => 0,
        };
        Ok(Reader {
            record: self,
            newest,
            start,
            slots,
            at: 0,
            batch: Vec::new(),
            batch_from: 0,
            reached: 0,
            trusted: self.number(ENTRIES_OFFSET)? <= newest,
            absent: 0,
            skipped: Skipped {
                before: if ring == 0 {
                    0
                } else {
                    newest.saturating_sub(ring)
                },
                ..Skipped::default()
            },
        })
    }
}

/// What follows the sequence of an entry.
fn words_of(bytes: &[u8]) -> Words {
    std::array::from_fn(|i| get_u64(bytes, 8 + 8 * i))
}

const fn offset(slot: u64) -> u64 {
    HEADER_BYTES as u64 + slot * ENTRY_BYTES as u64
}

/// Entries that were not given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Half written, or damaged.
    pub damaged: u64,
    /// Written over while they were read.
    pub overwritten: u64,
    /// Older ones, that a ring has no room for.
    pub before: u64,
}

/// The entries of a record with their sequence, the oldest first.
#[derive(Debug)]
pub struct Reader<'a, B> {
    record: &'a Record<B>,
    /// The newest entry of a ring, or 0.
    newest: u64,
    /// The slot that is looked at first.
    start: u64,
    /// Slots that are there.
    slots: u64,
    /// How many of them were looked at.
    at: u64,
    batch: Vec<u8>,
    batch_from: u64,
    /// The newest entry of a ring when the batch was there.
    reached: u64,
    /// The header is not damaged: it names no more than there is.
    trusted: bool,
    /// Empty slots since the last entry.
    absent: u64,
    skipped: Skipped,
}

impl<B: Bytes> Reader<'_, B> {
    /// What was skipped so far.
    pub const fn skipped(&self) -> Skipped {
        self.skipped
    }

    /// The slot that is looked at next.
    const fn slot(&self) -> u64 {
        (self.start + self.at) % self.slots
    }

    /// The sequence that belongs into a slot; 0 if none does.
    fn expected(&self, slot: u64) -> u64 {
        let ring = self.record.header.ring;
        if ring == 0 {
            return slot + 1;
        }
        // The largest number up to the newest that is a multiple of the ring away from it.
        match self.newest.checked_sub(slot + 1) {
            Some(distance) => slot + 1 + distance / ring * ring,
            None => 0,
        }
    }

    /// Reads from the next slot on.
    fn load(&mut self) -> io::Result<bool> {
        let slot = self.slot();
        let count = BATCH.min(self.slots - slot).min(self.slots - self.at);
        // At most 64 KiB.
        self.batch.resize(count as usize * ENTRY_BYTES, 0);
        let done = fill(&self.record.bytes, offset(slot), &mut self.batch)?;
        self.batch.truncate(done / ENTRY_BYTES * ENTRY_BYTES);
        self.batch_from = self.at;
        if self.record.header.ring != 0 {
            self.reached = self.record.number(ENTRIES_OFFSET)?;
        }
        Ok(!self.batch.is_empty())
    }

    /// Whether the writer may have begun to write over an entry of the batch before it was read.
    fn is_overwritten(&self, sequence: u64, expected: u64) -> io::Result<bool> {
        let ring = self.record.header.ring;
        if ring == 0 || expected == 0 || !self.trusted || self.reached >= MOST {
            return Ok(false);
        }
        // The one that is next to be written over loses its sequence first.
        Ok(expected + ring <= self.reached
            || expected + ring == self.reached + 1
                && self.record.sequence((expected - 1) % ring)? != sequence)
    }

    fn step(&mut self) -> io::Result<Option<(u64, Body)>> {
        while self.at < self.slots {
            let mut place = (self.at - self.batch_from) as usize * ENTRY_BYTES;
            if place >= self.batch.len() {
                if !self.load()? {
                    self.at = self.slots;
                    break;
                }
                place = 0;
            }
            let bytes = &self.batch[place..place + ENTRY_BYTES];
            let (sequence, expected) = (get_u64(bytes, 0), self.expected(self.slot()));
            let words = words_of(bytes);
            self.at += 1;
            let ring = self.record.header.ring;
            if self.is_overwritten(sequence, expected)? {
                self.skipped.overwritten += 1;
            } else if sequence == 0 && (ring == 0 || expected == 0) {
                // Not written yet, unless something follows.
                self.absent += 1;
            } else if sequence != expected {
                self.skipped.damaged += 1;
            } else {
                if ring == 0 {
                    self.skipped.damaged += std::mem::take(&mut self.absent);
                }
                return Ok(Some((sequence, Body::of(&words))));
            }
        }
        Ok(None)
    }
}

impl<B: Bytes> Iterator for Reader<'_, B> {
    type Item = io::Result<(u64, Body)>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step();
        if next.is_err() {
            // Nothing comes after an error.
            self.at = self.slots;
        }
        next.transpose()
    }
}
