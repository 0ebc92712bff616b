// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes a record. An entry is stored and then published by its sequence, so that whoever
//! reads the file, now or after the process was killed, finds whole entries only.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::fd::AsRawFd,
    path::Path,
    sync::atomic::{fence, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    layout::{
        content_entries, content_words, Entry, Header, Kind, Source, State, Words, CONTENT_BYTES,
        ENTRIES_OFFSET, ENTRY_BYTES, HEADER_BYTES, HEADER_CONTENTS, MAGIC, MAJOR, MAX_SOURCES,
        MINOR, SOURCES_OFFSET, SOURCE_BYTES, SOURCE_COUNT_OFFSET, STATE_OFFSET,
    },
    mapping::Mapping,
    monotonic_ns,
};

/// What sizes are multiples of: every page size of Linux divides it.
const GRAIN: u64 = 65_536;

/// A file that grows does so in these steps.
const STEP: u64 = 4 << 20;

/// Words of an entry.
const ENTRY_WORDS: usize = ENTRY_BYTES / 8;

/// Bytes that a file which grows has at most, where nobody says: 16 million entries.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// Bytes of the smallest ring, and of the largest.
pub const MIN_RING: u64 = 2 * GRAIN;
/// See [`MIN_RING`].
pub const MAX_RING: u64 = 1 << 40;

/// How a file's size changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// It grows up to so many bytes; nothing more is written then.
    Grow(u64),
    /// It has so many bytes from the beginning; the oldest entries are written over.
    Ring(u64),
}

impl Default for Size {
    fn default() -> Self {
        Self::Grow(DEFAULT_LIMIT)
    }
}

/// Bytes that go with an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Contents<'a> {
    /// All of them.
    pub data: &'a [u8],
    /// Which are enabled, a bit each, where not all are.
    pub enables: Option<&'a [u8]>,
}

/// The end of a record that is written.
#[derive(Debug)]
pub struct Writer {
    file: File,
    header: Mapping,
    /// What is mapped of the entries: `count` of them from `first` on.
    part: Option<Mapping>,
    first: u64,
    count: u64,
    /// Entries of a ring; 0 if the file grows.
    ring: u64,
    limit: u64,
    contents: bool,
    /// Entries so far.
    entries: u64,
    /// Transactions so far.
    numbers: u64,
    sources: u8,
    stopped: bool,
}

fn other(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Has the file system keep room for these bytes of the file, which is as long then.
fn allocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // Beyond this limit the system would not refuse but end the process (SIGXFSZ).
    // SAFETY: `limit` is ours and valid for writes.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } == 0;
    if known && limit.rlim_cur < offset + bytes {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let (offset, bytes) = (offset as libc::off_t, bytes as libc::off_t);
    // A signal may interrupt it, but not for ever.
    for _ in 0..1000 {
        // SAFETY: no pointers are passed.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), offset, bytes) } {
            0 => return Ok(()),
            libc::EINTR => {}
            e => return Err(io::Error::from_raw_os_error(e)),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Opens or makes the file for one writer. One that is there must be a record.
fn open(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(other("it is no regular file".to_owned()));
    }
    // SAFETY: no pointers are passed.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        let e = io::Error::last_os_error();
        return Err(if e.kind() == io::ErrorKind::WouldBlock {
            other("another simulation writes its record there".to_owned())
        } else {
            e
        });
    }
    let mut begin = Vec::new();
    Read::by_ref(&mut file)
        .take(MAGIC.len() as u64)
        .read_to_end(&mut begin)?;
    if !begin.is_empty() && begin != MAGIC && begin.iter().any(|&b| b != 0) {
        return Err(other(
            "it exists and is no record: it is not overwritten".to_owned(),
        ));
    }
    file.set_len(0)?;
    Ok(file)
}

impl Writer {
    /// Begins a record; one that is there already is overwritten, anything else is not.
    ///
    /// # Errors
    ///
    /// Of the file system, or that the file is another one's or none that may be overwritten,
    /// or that the size is none.
    pub fn create(path: &Path, size: Size, contents: bool) -> io::Result<Self> {
        let (Size::Grow(bytes) | Size::Ring(bytes)) = size;
        if !(MIN_RING..=MAX_RING).contains(&bytes) {
            return Err(other(format!(
                "a size of {bytes} bytes, expected {MIN_RING} to {MAX_RING}"
            )));
        }
        let limit = bytes & !(GRAIN - 1);
        let ring = match size {
            Size::Grow(_) => 0,
            Size::Ring(_) => (limit - HEADER_BYTES as u64) / ENTRY_BYTES as u64,
        };
        let file = open(path)?;
        let room = if ring == 0 {
            HEADER_BYTES as u64
        } else {
            limit
        };
        allocate(&file, 0, room)?;
        let header = Mapping::new(&file, 0, HEADER_BYTES)?;
        let part = if ring == 0 {
            None
        } else {
            let bytes = usize::try_from(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
            Some(Mapping::new(
                &file,
                HEADER_BYTES as u64,
                bytes - HEADER_BYTES,
            )?)
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let bytes = Header {
            major: MAJOR,
            minor: MINOR,
            ring,
            limit,
            // For 500 years.
            began_unix_ns: now.as_nanos() as u64,
            began_host_ns: monotonic_ns(),
            flags: if contents { HEADER_CONTENTS } else { 0 },
            process: std::process::id(),
        }
        .encode();
        header.store(8, &bytes[8..]);
        // It is a record once all of that is there.
        fence(Ordering::Release);
        header.store(0, &bytes[..8]);
        Ok(Self {
            file,
            header,
            part,
            first: 0,
            count: ring,
            ring,
            limit,
            contents,
            entries: 0,
            numbers: 0,
            sources: 0,
            stopped: false,
        })
    }

    /// Whether contents are kept.
    pub const fn keeps_contents(&self) -> bool {
        self.contents
    }

    /// The number of a new transaction.
    pub const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Adds a source; the index that its entries have.
    ///
    /// # Errors
    ///
    /// If there are [`MAX_SOURCES`].
    pub fn add(&mut self, source: &Source) -> io::Result<u8> {
        let index = self.sources;
        if usize::from(index) >= MAX_SOURCES {
            return Err(other(format!(
                "{MAX_SOURCES} bridges and channels write to it, the most that may"
            )));
        }
        let offset = SOURCES_OFFSET + usize::from(index) * SOURCE_BYTES;
        self.header.store(offset, &source.encode());
        self.sources += 1;
        self.header.words()[SOURCE_COUNT_OFFSET / 8]
            .store(u64::from(self.sources).to_le(), Ordering::Release);
        Ok(index)
    }

    /// Writes an entry, with what goes with it if contents are kept.
    ///
    /// # Errors
    ///
    /// Once, if there is no room for more. Nothing is written from then on.
    pub fn write(&mut self, entry: &Entry, contents: Contents<'_>) -> io::Result<()> {
        if self.stopped {
            return Ok(());
        }
        let enables = contents.enables.unwrap_or_default();
        let following = content_entries(contents.data.len()) + content_entries(enables.len());
        let result = match u16::try_from(following) {
            Ok(following) if self.contents && following != 0 => {
                let entry = Entry {
                    following,
                    ..*entry
                };
                self.put(&entry.words())
                    .and_then(|()| self.put_contents(Kind::Data, entry.source, contents.data))
                    .and_then(|()| self.put_contents(Kind::Enables, entry.source, enables))
            }
            _ => self.put(&entry.words()),
        };
        if let Err(e) = &result {
            self.stopped = true;
            // The system's own limit is another matter.
            let full = e.kind() == io::ErrorKind::FileTooLarge && e.raw_os_error().is_none();
            self.tell(if full { State::Full } else { State::Failed });
        }
        result
    }

    fn put_contents(&mut self, kind: Kind, source: u8, bytes: &[u8]) -> io::Result<()> {
        bytes
            .chunks(CONTENT_BYTES)
            .try_for_each(|part| self.put(&content_words(kind, source, part)))
    }

    fn put(&mut self, words: &Words) -> io::Result<()> {
        let slot = match self.ring {
            0 => self.entries,
            ring => self.entries % ring,
        };
        if slot.wrapping_sub(self.first) >= self.count {
            self.step(slot)?;
        }
        let Some(part) = &self.part else {
            unreachable!("there is a part once a step was taken");
        };
        // Within what is mapped, whose length is a usize.
        let at = (slot - self.first) as usize * ENTRY_WORDS;
        let place = &part.words()[at..at + ENTRY_WORDS];
        let sequence = self.entries + 1;
        // Nobody takes what is half written for what was there, or for what comes.
        place[0].store(0, Ordering::Relaxed);
        fence(Ordering::Release);
        for (place, word) in place[1..].iter().zip(words) {
            place.store(word.to_le(), Ordering::Relaxed);
        }
        place[0].store(sequence.to_le(), Ordering::Release);
        self.header.words()[ENTRIES_OFFSET / 8].store(sequence.to_le(), Ordering::Release);
        self.entries = sequence;
        Ok(())
    }

    /// Lets the file grow and maps what is new of it.
    fn step(&mut self, slot: u64) -> io::Result<()> {
        let offset = HEADER_BYTES as u64 + slot * ENTRY_BYTES as u64;
        let bytes = STEP.min(self.limit.saturating_sub(offset));
        if bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it has the {} bytes that it may have", self.limit),
            ));
        }
        self.part = None;
        self.count = 0;
        allocate(&self.file, offset, bytes)?;
        // At most 4 MiB.
        self.part = Some(Mapping::new(&self.file, offset, bytes as usize)?);
        self.first = slot;
        self.count = bytes / ENTRY_BYTES as u64;
        Ok(())
    }

    fn tell(&self, state: State) {
        self.header.words()[STATE_OFFSET / 8].store((state as u64).to_le(), Ordering::Release);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.stopped {
            self.tell(State::Ended);
        }
        if self.ring == 0 {
            self.part = None;
            let bytes = HEADER_BYTES as u64 + self.entries * ENTRY_BYTES as u64;
            // Zeros at its end are read as what they are, too.
            let _ = self.file.set_len(bytes);
        }
    }
}
