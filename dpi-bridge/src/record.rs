// SPDX-License-Identifier: MIT OR Apache-2.0

//! The record of the simulation, where the user wants one: what a bridge or a channel observes
//! becomes entries of one file, which all of the process share. `record/FORMAT.md` is what they
//! mean.
//!
//! Where there is no record a bridge has no [`Observer`], and what it observes costs one branch.

use std::{
    env::VarError,
    path::PathBuf,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError, Weak,
    },
};

use accelerator_protocol::{
    config::BARS,
    function::Function,
    wire::{ResetKind, Status},
};
use accelerator_record::{
    layout::{
        FLAG_DIRECT, FLAG_PARTIAL, NO_BAR, STATUS_ABORTED, STATUS_FAULT, STATUS_OK, STATUS_REFUSED,
    },
    monotonic_ns,
    writer::{MAX_RING, MIN_RING},
    Contents, Kind, Size, Source, Writer,
};
use log::{error, info};

use crate::{
    error::{fail, Code, Error, Result},
    words::{Timing, Words},
};

/// Names of the environment variables: the file, its size, and whether contents are kept.
pub const VARIABLE: &str = "ACCELERATOR_RECORD";
/// See [`VARIABLE`].
pub const SIZE_VARIABLE: &str = "ACCELERATOR_RECORD_SIZE";
/// See [`VARIABLE`].
pub const DATA_VARIABLE: &str = "ACCELERATOR_RECORD_DATA";

/// The last number.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// The number of a new transaction, also where there is no record: no two of this process have
/// the same.
pub fn number() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed) + 1
}

/// What is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    file: PathBuf,
    size: Size,
    contents: bool,
}

/// The file that is written.
#[derive(Debug)]
struct Shared {
    wanted: Wanted,
    writer: Mutex<Writer>,
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A panic with the lock held leaves an entry that was not published.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the process.
struct State {
    /// What `acc_record` has said.
    wanted: Option<Wanted>,
    /// While a bridge or a channel has it.
    open: Weak<Shared>,
}

static STATE: Mutex<State> = Mutex::new(State {
    wanted: None,
    open: Weak::new(),
});

fn state() -> MutexGuard<'static, State> {
    // Nothing in here panics with the lock held.
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn size(name: &str, bytes: u64) -> Result<Size> {
    match bytes {
        0 => Ok(Size::default()),
        MIN_RING..=MAX_RING => Ok(Size::Ring(bytes)),
        _ => fail!(
            Invalid,
            "{name} is {bytes}, expected bytes from {MIN_RING} to {MAX_RING}, or 0"
        ),
    }
}

/// `acc_record`.
///
/// # Errors
///
/// `Code::Invalid`, or `Code::State` if another record is written already.
pub fn record(file: &str, bytes: i64, contents: bool) -> Result<()> {
    if file.is_empty() {
        fail!(Invalid, "file is empty, expected the name of one");
    }
    // A negative size is too large.
    let size = size("bytes", bytes as u64)?;
    let wanted = Wanted {
        file: file.into(),
        size,
        contents,
    };
    let mut state = state();
    if let Some(open) = state.open.upgrade() {
        if open.wanted != wanted {
            fail!(
                State,
                "this process writes its record to {} already, with {:?}",
                open.wanted.file.display(),
                open.wanted.size
            );
        }
    }
    state.wanted = Some(wanted);
    Ok(())
}

/// What the environment wants, given how to get a variable.
fn from_environment(
    get: impl Fn(&'static str) -> std::result::Result<String, VarError>,
) -> Result<Option<Wanted>> {
    let text = |name| match get(name) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(VarError::NotPresent) => Ok(String::new()),
        Err(VarError::NotUnicode(_)) => fail!(Invalid, "{name} is not UTF-8"),
    };
    let file = text(VARIABLE)?;
    if file.is_empty() {
        return Ok(None);
    }
    let bytes = match &*text(SIZE_VARIABLE)? {
        "" => 0,
        text => text.parse().map_err(|_| {
            Error::new(
                Code::Invalid,
                format!("{SIZE_VARIABLE} is {text:?}, expected a number of bytes"),
            )
        })?,
    };
    let contents = match &*text(DATA_VARIABLE)? {
        "" | "0" => false,
        "1" => true,
        text => fail!(Invalid, "{DATA_VARIABLE} is {text:?}, expected 0 or 1"),
    };
    Ok(Some(Wanted {
        file: file.into(),
        size: size(SIZE_VARIABLE, bytes)?,
        contents,
    }))
}

/// What is under way, by its tag.
#[derive(Debug, Default)]
struct Pending(Vec<(u32, u64)>);

impl Pending {
    fn add(&mut self, tag: u32, number: u64) {
        self.0.push((tag, number));
    }

    fn number(&self, tag: u32) -> Option<u64> {
        self.0.iter().find(|p| p.0 == tag).map(|p| p.1)
    }

    fn take(&mut self, tag: u32) -> Option<u64> {
        let at = self.0.iter().position(|p| p.0 == tag)?;
        Some(self.0.remove(at).1)
    }
}

/// What a bridge or a channel has where there is a record.
#[derive(Debug)]
pub struct Observer {
    shared: Arc<Shared>,
    target: String,
    source: u8,
    timing: &'static Timing,
    reads: Pending,
    writes: Pending,
    dma: Pending,
    /// The last reset, and the last change of the link.
    reset: u64,
    link: u64,
    /// Where BARs are, as far as the record has it.
    addresses: Option<[u64; BARS]>,
}

type Entry = accelerator_record::Entry;

/// An entry without the numbers that all have.
fn entry(kind: Kind) -> Entry {
    Entry {
        kind: kind as u8,
        bar: NO_BAR,
        ..Entry::default()
    }
}

fn status(status: Status) -> u8 {
    match status {
        Status::Ok => STATUS_OK,
        Status::Refused => STATUS_REFUSED,
        Status::Fault => STATUS_FAULT,
        Status::Aborted => STATUS_ABORTED,
    }
}

/// The first 8 bytes, the first one lowest.
fn first(data: &[u8]) -> u64 {
    data.iter()
        .take(8)
        .rev()
        .fold(0, |value, &b| value << 8 | u64::from(b))
}

/// The enables of the first bytes, all of them.
fn all(bytes: usize) -> u8 {
    // Of 9 bits the lower 8.
    ((1_u16 << bytes.min(8)) - 1) as u8
}

impl Observer {
    /// Of a source, if there is to be a record. Its polls count as clocks from now on.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` for what the environment says, `Code::Io` if the file cannot be written.
    pub fn new(source: &Source, target: &str, words: &'static Words) -> Result<Option<Self>> {
        let mut state = state();
        let wanted = match &state.wanted {
            Some(wanted) => wanted.clone(),
            None => match from_environment(std::env::var::<&str>)? {
                Some(wanted) => wanted,
                None => return Ok(None),
            },
        };
        let failed = |e: std::io::Error| {
            let text = format!("the record {}: {e}", wanted.file.display());
            Error::new(Code::Io, text)
        };
        let shared = match state.open.upgrade() {
            Some(shared) => shared,
            None => {
                let Wanted {
                    file,
                    size,
                    contents,
                } = &wanted;
                let writer = Writer::create(file, *size, *contents).map_err(failed)?;
                let (how, bytes) = match *size {
                    Size::Grow(bytes) => ("grows to", bytes),
                    Size::Ring(bytes) => ("is a ring of", bytes),
                };
                info!(
                    target: target,
                    "the record is {}, which {how} {bytes} bytes",
                    file.display()
                );
                let shared = Arc::new(Shared {
                    wanted: wanted.clone(),
                    writer: Mutex::new(writer),
                });
                state.open = Arc::downgrade(&shared);
                shared
            }
        };
        let source = shared.writer().add(source).map_err(failed)?;
        words.count_clocks();
        Ok(Some(Self {
            shared,
            target: target.to_owned(),
            source,
            timing: &words.timing,
            reads: Pending::default(),
            writes: Pending::default(),
            dma: Pending::default(),
            reset: 0,
            link: 0,
            addresses: None,
        }))
    }

    /// Writes an entry, of a new transaction if it has no number. The number.
    fn put(&self, entry: Entry, contents: Contents<'_>) -> u64 {
        let mut writer = self.shared.writer();
        let number = match entry.number {
            0 => number(),
            number => number,
        };
        let entry = Entry {
            number,
            source: self.source,
            clock: self.timing.clocks(),
            host_ns: monotonic_ns(),
            ..entry
        };
        let result = writer.write(&entry, contents);
        drop(writer);
        if let Err(e) = result {
            error!(
                target: &self.target,
                "the record {} ends here, the simulation goes on: {e}",
                self.shared.wanted.file.display()
            );
        }
        number
    }

    /// A read of a BAR has come.
    pub fn mmio_read(&mut self, number: u64, tag: u32, bar: u8, len: u8, offset: u64) {
        self.put(
            Entry {
                number,
                bar,
                tag,
                address: offset,
                length: len.into(),
                enables: all(len.into()),
                ..entry(Kind::MmioRead)
            },
            Contents::default(),
        );
        self.reads.add(tag, number);
    }

    /// A write of a BAR has come.
    pub fn mmio_write(&mut self, number: u64, tag: u32, bar: u8, len: u8, offset: u64, data: u64) {
        self.put(
            Entry {
                number,
                bar,
                tag,
                data,
                address: offset,
                length: len.into(),
                enables: all(len.into()),
                ..entry(Kind::MmioWrite)
            },
            Contents::default(),
        );
        self.writes.add(tag, number);
    }

    fn taken(&self, number: u64, tag: u32) {
        let taken = Entry {
            number,
            tag,
            ..entry(Kind::Taken)
        };
        if number != 0 {
            self.put(taken, Contents::default());
        }
    }

    /// The RTL has fetched an access.
    pub fn mmio_taken(&mut self, write: bool, tag: u32) {
        let pending = if write { &self.writes } else { &self.reads };
        self.taken(pending.number(tag).unwrap_or(0), tag);
    }

    /// The RTL has answered a read.
    pub fn mmio_read_done(&mut self, tag: u32, len: u8, how: Status, data: u64) {
        // What a reset has made void is not under way any more.
        let Some(number) = self.reads.take(tag) else {
            return;
        };
        let done = Entry {
            number,
            tag,
            status: status(how),
            // Beyond the length it may be anything.
            data: data & u64::MAX >> (64 - 8 * u32::from(len.clamp(1, 8))),
            length: len.into(),
            enables: all(len.into()),
            ..entry(Kind::MmioReadDone)
        };
        self.put(done, Contents::default());
    }

    /// The RTL has answered a write.
    pub fn mmio_write_done(&mut self, tag: u32, how: Status) {
        if let Some(number) = self.writes.take(tag) {
            let done = Entry {
                number,
                tag,
                status: status(how),
                ..entry(Kind::MmioWriteDone)
            };
            self.put(done, Contents::default());
        }
    }

    /// The RTL reads memory; `here`: without a message.
    pub fn dma_read(&mut self, number: u64, tag: u32, addr: u64, bytes: u32, here: bool) {
        self.put(
            Entry {
                number,
                tag,
                address: addr,
                length: bytes,
                enables: all(bytes as usize),
                flags: if here { FLAG_DIRECT } else { 0 },
                ..entry(Kind::DmaRead)
            },
            Contents::default(),
        );
        self.dma.add(tag, number);
    }

    /// The RTL writes memory; `here`: without a message.
    pub fn dma_write(
        &mut self,
        number: u64,
        tag: u32,
        addr: u64,
        data: &[u8],
        enables: Option<&[u8]>,
        here: bool,
    ) {
        self.put(
            Entry {
                number,
                tag,
                address: addr,
                data: first(data),
                // At most 4096.
                length: data.len() as u32,
                enables: enables.and_then(|e| e.first().copied()).unwrap_or(0xff) & all(data.len()),
                flags: if here { FLAG_DIRECT } else { 0 }
                    | if enables.is_some() { FLAG_PARTIAL } else { 0 },
                ..entry(Kind::DmaWrite)
            },
            Contents { data, enables },
        );
        self.dma.add(tag, number);
    }

    /// QEMU has answered a request of the RTL.
    pub fn dma_answered(&mut self, tag: u32, how: Status) {
        if let Some(number) = self.dma.number(tag) {
            let answered = Entry {
                number,
                tag,
                status: status(how),
                ..entry(Kind::DmaAnswered)
            };
            self.put(answered, Contents::default());
        }
    }

    /// The RTL has the answer. `bytes` were read, as in `data`, or written.
    pub fn dma_done(&mut self, tag: u32, write: bool, how: Status, bytes: u32, data: &[u8]) {
        let Some(number) = self.dma.take(tag) else {
            return;
        };
        let kind = if write {
            Kind::DmaWriteDone
        } else {
            Kind::DmaReadDone
        };
        let done = Entry {
            number,
            tag,
            status: status(how),
            length: bytes,
            data: first(data),
            enables: all(data.len()),
            ..entry(kind)
        };
        self.put(
            done,
            Contents {
                data,
                enables: None,
            },
        );
    }

    /// The RTL raises a vector.
    pub fn msix(&mut self, number: u64, vector: u16) {
        let raised = Entry {
            number,
            address: vector.into(),
            ..entry(Kind::Msix)
        };
        self.put(raised, Contents::default());
    }

    /// A fault is for a transaction: its number in a plan, and the line there.
    pub fn fault(&mut self, number: u64, fault: u8, line: u32) {
        let injected = Entry {
            number,
            address: fault.into(),
            data: line.into(),
            ..entry(Kind::Fault)
        };
        self.put(injected, Contents::default());
    }

    /// The RTL sets its INTx pin.
    pub fn intx(&mut self, number: u64, level: bool) {
        let set = Entry {
            number,
            data: level.into(),
            ..entry(Kind::Intx)
        };
        self.put(set, Contents::default());
    }

    /// Nothing of the RTL's or the guest's is under way any more.
    fn void(&mut self) {
        self.reads.0.clear();
        self.writes.0.clear();
        self.dma.0.clear();
    }

    /// A reset has come.
    pub fn reset(&mut self, number: u64, tag: u32, kind: ResetKind) {
        self.void();
        let reset = Entry {
            number,
            tag,
            address: kind as u64,
            ..entry(Kind::Reset)
        };
        self.reset = self.put(reset, Contents::default());
    }

    /// The RTL has heard of it.
    pub fn reset_taken(&mut self) {
        self.taken(self.reset, 0);
    }

    /// The RTL has left it.
    pub fn reset_done(&mut self) {
        let number = std::mem::take(&mut self.reset);
        let done = Entry {
            number,
            ..entry(Kind::ResetDone)
        };
        if number != 0 {
            self.put(done, Contents::default());
        }
    }

    /// A host is there, or gone.
    pub fn link(&mut self, up: bool) {
        self.linked(up, 0);
    }

    fn linked(&mut self, up: bool, address: u64) {
        self.void();
        self.reset = 0;
        self.addresses = None;
        let kind = if up { Kind::LinkUp } else { Kind::LinkDown };
        let link = Entry {
            address,
            ..entry(kind)
        };
        self.link = self.put(link, Contents::default());
    }

    /// The RTL of a channel hears that a host with this MAC address is there, or that none is.
    pub fn channel(&mut self, up: bool, mac: u64) {
        self.linked(up, mac);
        self.link_taken();
    }

    /// The RTL has heard of it.
    pub fn link_taken(&mut self) {
        self.taken(self.link, 0);
    }

    /// The RTL hears what the guest has set in config space.
    pub fn function(&mut self, function: &Function) {
        let number = number();
        if let Some(addresses) = function.addresses {
            let known = self.addresses.replace(addresses);
            for (bar, address) in (0..).zip(addresses) {
                if known.is_none_or(|known| known[usize::from(bar)] != address) {
                    let at = Entry {
                        number,
                        bar,
                        address,
                        ..entry(Kind::BarAddress)
                    };
                    self.put(at, Contents::default());
                }
            }
        }
        let data = u64::from(function.flags() & 0xff)
            | (function.power as u64) << 8
            | u64::from(function.max_payload) << 16
            | u64::from(function.max_read_request) << 24
            | u64::from(function.requester_id) << 32
            | u64::from(function.link_speed) << 48
            | u64::from(function.link_width) << 56;
        let msi = u64::from(function.msi_enable)
            | u64::from(function.msi_granted) << 8
            | u64::from(function.msi_mask) << 32;
        let heard = Entry {
            number,
            data,
            address: msi,
            ..entry(Kind::Function)
        };
        self.put(heard, Contents::default());
    }

    /// A frame: the RTL takes one of the host's, or has given one, with what became of it. A new
    /// transaction if it has no number.
    pub fn frame(&mut self, number: u64, to_host: bool, frame: &[u8], status: u8) {
        let kind = if to_host { Kind::NicTx } else { Kind::NicRx };
        let frame_entry = Entry {
            number,
            data: first(frame),
            enables: all(frame.len()),
            // At most 9,280.
            length: frame.len() as u32,
            status,
            ..entry(kind)
        };
        let contents = Contents {
            data: frame,
            enables: None,
        };
        self.put(frame_entry, contents);
    }

    /// A byte: the RTL takes one of the host's, or gives one. A new transaction if it has no
    /// number.
    pub fn byte(&mut self, number: u64, to_host: bool, byte: u8) {
        let kind = if to_host {
            Kind::SerialTx
        } else {
            Kind::SerialRx
        };
        let byte_entry = Entry {
            number,
            data: byte.into(),
            enables: 1,
            length: 1,
            ..entry(kind)
        };
        self.put(byte_entry, Contents::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(file: &str, size: &str, data: &str) -> Result<Option<Wanted>> {
        from_environment(|name| {
            Ok(match name {
                VARIABLE => file,
                SIZE_VARIABLE => size,
                _ => data,
            }
            .to_owned())
        })
    }

    #[test]
    fn the_environment_is_read() {
        assert_eq!(from_environment(|_| Err(VarError::NotPresent)), Ok(None));
        let wanted = |size, contents| {
            Ok(Some(Wanted {
                file: "f".into(),
                size,
                contents,
            }))
        };
        assert_eq!(environment(" f\n", "", ""), wanted(Size::default(), false));
        assert_eq!(
            environment("f", "131072", "1"),
            wanted(Size::Ring(131_072), true)
        );
        assert_eq!(environment("f", "0", "0"), wanted(Size::default(), false));
        for (size, data, text) in [
            ("4k", "", "ACCELERATOR_RECORD_SIZE is \"4k\""),
            (
                "4096",
                "",
                "ACCELERATOR_RECORD_SIZE is 4096, expected bytes from 131072",
            ),
            (
                "",
                "yes",
                "ACCELERATOR_RECORD_DATA is \"yes\", expected 0 or 1",
            ),
        ] {
            let e = environment("f", size, data).unwrap_err();
            assert!(e.text.starts_with(text), "{e}");
        }
    }

    #[test]
    fn calls_are_checked() {
        assert_eq!(record("", 0, false).unwrap_err().code, Code::Invalid);
        for bytes in [1, -1, 131_071] {
            assert_eq!(record("f", bytes, false).unwrap_err().code, Code::Invalid);
        }
    }

    #[test]
    fn enables_of_the_first_bytes() {
        let enables = [0, 1, 4, 7, 8, 4096].map(all);
        assert_eq!(enables, [0, 1, 0xf, 0x7f, 0xff, 0xff]);
        assert_eq!(first(&[1, 2, 3]), 0x03_0201);
        assert_eq!(first(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), 0x0807_0605_0403_0201);
    }
}
