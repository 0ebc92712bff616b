// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a replay does and expects, made of a record.
//!
//! A [`Step`] is what the host does: an access, a reset, a change of the link, the answer of a
//! DMA request, a frame or a byte of a channel. A [`Sight`] is what the host sees of the card: the
//! answer of a read, a DMA request, an interrupt, the end of a reset, a frame or a byte. A step waits for all that the record has before
//! it. In the record these came without the step, so they come without it again.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use accelerator_protocol::{
    config::BARS,
    function::{Function, FUNCTION_LEN, UNMAPPED},
    wire::{ResetKind, Status},
};
use accelerator_record::{
    layout::{
        Body, FLAG_DIRECT, FLAG_PARTIAL, HEADER_CONTENTS, STATUS_ABORTED, STATUS_OK, STATUS_REFUSED,
    },
    reader::Bytes,
    Entry, Kind, Record, Source, SourceKind, State,
};

/// An access of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// 0 to 5.
    pub bar: u8,
    /// 1 to 8 bytes.
    pub len: u8,
    /// In the BAR.
    pub offset: u64,
}

/// What the host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It begins a session.
    LinkUp,
    /// It ends it.
    LinkDown,
    /// The guest has set something in config space.
    Function(Function),
    /// The function is reset.
    Reset(ResetKind),
    /// The guest reads.
    Read {
        /// Where.
        access: Access,
        /// The sight that is its answer, if the record has one.
        answer: Option<usize>,
        /// The guest reads the same again next.
        again: bool,
    },
    /// The guest writes.
    Write {
        /// Where.
        access: Access,
        /// What.
        data: u64,
        /// How it ended, if the record says so.
        status: Option<u8>,
    },
    /// A DMA request, which is a sight, is answered.
    Answer(usize),
    /// A host opens a channel.
    Open {
        /// Which of [`Plan::channels`].
        channel: usize,
        /// Its MAC address.
        mac: [u8; 6],
    },
    /// It ends that.
    Close(usize),
    /// It sends a frame.
    Frame {
        /// See [`Act::Open`].
        channel: usize,
        /// Where its contents are, for [`Plan::bytes`].
        at: usize,
        /// How many.
        len: usize,
    },
    /// It sends a byte.
    Byte {
        /// See [`Act::Open`].
        channel: usize,
        /// Which.
        byte: u8,
    },
}

impl Act {
    /// The channel that it is of, if it is of one.
    pub const fn channel(&self) -> Option<usize> {
        match *self {
            Self::Open { channel, .. }
            | Self::Close(channel)
            | Self::Frame { channel, .. }
            | Self::Byte { channel, .. } => Some(channel),
            _ => None,
        }
    }
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is done.
    pub act: Act,
    /// Sights that came before.
    pub after: usize,
    /// Of the transaction.
    pub number: u64,
    /// Of the record.
    pub clock: u64,
    /// Where it belongs: twice a sequence of the record.
    order: u64,
}

/// What the host sees.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A read is answered.
    Read {
        /// Of the read.
        access: Access,
        /// How.
        status: u8,
        /// What was read.
        data: u64,
    },
    /// The card reads memory.
    DmaRead {
        /// Bus address.
        addr: u64,
        /// Bytes.
        len: u32,
        /// How it is answered, and with which bytes, if the record says so.
        answer: Option<(Status, Range<usize>)>,
    },
    /// The card writes memory.
    DmaWrite {
        /// Bus address.
        addr: u64,
        /// Bytes.
        len: u32,
        /// The bytes that the record has, the first ones.
        data: Range<usize>,
        /// A bit for each of these, if not all bytes are enabled.
        enables: Option<Range<usize>>,
        /// How it is answered, if the record says so.
        answer: Option<Status>,
    },
    /// A vector.
    Msix(u16),
    /// The pin has another level.
    Intx(bool),
    /// The card has left its reset.
    ResetDone,
    /// A frame of a channel.
    Frame {
        /// Which of [`Plan::channels`].
        channel: usize,
        /// Bytes.
        len: usize,
        /// Those that the record has, the first ones.
        data: Range<usize>,
    },
    /// A byte of a channel.
    Byte {
        /// See [`What::Frame`].
        channel: usize,
        /// Which.
        byte: u8,
    },
}

impl What {
    /// The channel that it is of, if it is of one.
    pub const fn channel(&self) -> Option<usize> {
        match *self {
            Self::Frame { channel, .. } | Self::Byte { channel, .. } => Some(channel),
            _ => None,
        }
    }
}

/// A sight.
#[derive(Clone, Debug)]
pub struct Sight {
    /// What is seen.
    pub what: What,
    /// Of the transaction.
    pub number: u64,
    /// Of the record; of a request when it was made.
    pub clock: u64,
    /// Resets and changes of the link before; of a channel how often it was opened.
    pub epoch: u32,
}

/// What a replay does.
#[derive(Debug)]
pub struct Plan {
    /// The function that is replayed.
    pub source: Source,
    /// The channels that are.
    pub channels: Vec<Source>,
    /// In their order.
    pub steps: Vec<Step>,
    /// In the order of the record.
    pub sights: Vec<Sight>,
    /// What a user should know.
    pub notes: Vec<String>,
    bytes: Vec<u8>,
}

impl Plan {
    /// Contents.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }
}

fn status(number: u8) -> Status {
    match number {
        STATUS_OK => Status::Ok,
        STATUS_REFUSED => Status::Refused,
        STATUS_ABORTED => Status::Aborted,
        _ => Status::Fault,
    }
}

/// What the guest has set, of both words of an entry (record/FORMAT.md, kind `function`).
fn function(data: u64, msi: u64) -> Result<Function, String> {
    let (from, of_msi) = (data.to_le_bytes(), msi.to_le_bytes());
    let mut bytes = [0; FUNCTION_LEN];
    bytes[0] = from[0];
    // MSI Enable is the ninth flag.
    bytes[1] = of_msi[0] & 1;
    bytes[4..7].copy_from_slice(&from[1..4]);
    bytes[8..12].copy_from_slice(&from[4..8]);
    bytes[12] = of_msi[1];
    bytes[16..20].copy_from_slice(&of_msi[4..]);
    Function::from_bytes(&bytes).map_err(|e| {
        format!(
            "{} of a function is {:#x}, expected {}",
            e.name, e.found, e.expected
        )
    })
}

/// INTx as the DPI library tells it: changes only, and only to a host that is there.
#[derive(Default)]
struct Pin {
    level: bool,
    told: bool,
    up: bool,
    reset: bool,
}

impl Pin {
    /// The level that is told now, if it is.
    fn tell(&mut self) -> Option<bool> {
        let tells = self.up && !self.reset && self.level != self.told;
        tells.then(|| {
            self.told = self.level;
            self.level
        })
    }

    fn low(&mut self) {
        self.level = false;
        self.told = false;
    }
}

/// Minor version from which on records tell when a host has a channel.
const LINKS_MINOR: u16 = 2;

/// MAC address of a host of which the record does not tell.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];

/// Bytes that the DPI library keeps for the next host of a serial channel.
const KEPT: usize = 4096;

/// A channel while a record is read.
struct Channel {
    /// Index of the source.
    source: u8,
    /// Whether a host is there, if that is known; with its MAC address.
    host: Option<Option<[u8; 6]>>,
    /// How often it was opened.
    epoch: u32,
    /// Bytes of the RTL that wait for a host.
    kept: Vec<Entry>,
}

impl Channel {
    fn new(source: u8, is_ring: bool) -> Self {
        Self {
            source,
            host: (!is_ring).then_some(None),
            epoch: 0,
            kept: Vec::new(),
        }
    }

    /// An entry of the link. Whether something has changed.
    fn link(&mut self, kind: Kind, entry: &Entry) {
        let bytes = entry.address.to_be_bytes();
        let mac = std::array::from_fn(|i| bytes[i + 2]);
        self.host = Some((kind == Kind::LinkUp).then_some(mac));
    }
}

/// What is under way while a record is read.
#[derive(Default)]
struct Builder {
    steps: Vec<Step>,
    sights: Vec<Sight>,
    bytes: Vec<u8>,
    epoch: u32,
    /// By number: steps, and sights of DMA.
    accesses: HashMap<u64, usize>,
    dma: HashMap<u64, usize>,
    /// DMA requests that have an answer step.
    answered: HashMap<u64, ()>,
    /// Writes that the RTL has not taken.
    untaken: VecDeque<usize>,
    /// The last change of the link, and what it was; the last reset.
    link: u64,
    up: bool,
    resetting: u64,
    pin: Pin,
    /// Where BARs are, if the record tells.
    addresses: Option<[u64; BARS]>,
    channels: Vec<Channel>,
    /// Channels that a ring has no beginning of.
    guessed: bool,
    /// DMA reads and frames of which the record has not all bytes.
    without: u64,
}

impl Builder {
    fn step(&mut self, act: Act, entry: &Entry, sequence: u64) -> usize {
        self.steps.push(Step {
            act,
            after: self.sights.len(),
            number: entry.number,
            clock: entry.clock,
            order: sequence * 2,
        });
        self.steps.len() - 1
    }

    fn sight(&mut self, what: What, entry: &Entry) -> usize {
        self.sights.push(Sight {
            what,
            number: entry.number,
            clock: entry.clock,
            epoch: self.epoch,
        });
        self.sights.len() - 1
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// The contents of an entry, or its first bytes.
    fn contents(&mut self, entry: &Entry, data: &[u8]) -> Range<usize> {
        if data.is_empty() {
            let first = entry.data.to_le_bytes();
            let count = first.len().min(entry.length as usize);
            return self.keep(&first[..count]);
        }
        self.keep(&data[..data.len().min(entry.length as usize)])
    }

    fn void(&mut self) {
        self.accesses.clear();
        self.dma.clear();
        self.answered.clear();
        self.untaken.clear();
        self.epoch += 1;
    }

    fn pin(&mut self, entry: &Entry) {
        if let Some(level) = self.pin.tell() {
            self.sight(What::Intx(level), entry);
        }
    }

    /// Takes an entry with its contents.
    fn entry(
        &mut self,
        sequence: u64,
        e: &Entry,
        data: &[u8],
        enables: &[u8],
    ) -> Result<(), String> {
        let Some(kind) = e.kind() else {
            return Ok(());
        };
        let access = Access {
            bar: e.bar,
            // At most 8.
            len: e.length.clamp(1, 8) as u8,
            offset: e.address,
        };
        match kind {
            Kind::MmioRead => {
                let act = Act::Read {
                    access,
                    answer: None,
                    again: false,
                };
                let step = self.step(act, e, sequence);
                self.accesses.insert(e.number, step);
            }
            Kind::MmioWrite => {
                let act = Act::Write {
                    access,
                    data: e.data,
                    status: None,
                };
                let step = self.step(act, e, sequence);
                self.accesses.insert(e.number, step);
                self.untaken.push_back(step);
            }
            Kind::MmioReadDone => {
                if let Some(step) = self.accesses.remove(&e.number) {
                    let Act::Read { access, .. } = self.steps[step].act else {
                        return Err(format!("transaction #{} is a read and a write", e.number));
                    };
                    let what = What::Read {
                        access,
                        status: e.status,
                        data: e.data,
                    };
                    let clock = self.steps[step].clock;
                    let sight = self.sight(what, &Entry { clock, ..*e });
                    if let Act::Read { answer, .. } = &mut self.steps[step].act {
                        *answer = Some(sight);
                    }
                }
            }
            Kind::MmioWriteDone => {
                if let Some(step) = self.accesses.remove(&e.number) {
                    if let Act::Write { status, .. } = &mut self.steps[step].act {
                        *status = Some(e.status);
                    }
                }
            }
            Kind::Taken => {
                if e.number == self.link {
                    self.pin.up = self.up;
                    if !self.up {
                        self.pin.low();
                    }
                    self.pin(e);
                } else if e.number == self.resetting {
                    self.pin.low();
                } else if let Some(&step) = self.accesses.get(&e.number) {
                    self.untaken.retain(|&w| w != step);
                }
            }
            Kind::DmaRead => {
                let what = What::DmaRead {
                    addr: e.address,
                    len: e.length,
                    answer: None,
                };
                let sight = self.sight(what, e);
                self.dma.insert(e.number, sight);
                self.direct(sequence, e);
            }
            Kind::DmaWrite => {
                let data = self.contents(e, data);
                let enables = (e.flags & FLAG_PARTIAL != 0).then(|| {
                    if enables.is_empty() {
                        self.keep(&[e.enables])
                    } else {
                        self.keep(enables)
                    }
                });
                let what = What::DmaWrite {
                    addr: e.address,
                    len: e.length,
                    data,
                    enables,
                    answer: None,
                };
                let sight = self.sight(what, e);
                self.dma.insert(e.number, sight);
                self.direct(sequence, e);
            }
            Kind::DmaAnswered => {
                if let Some(&sight) = self.dma.get(&e.number) {
                    self.step(Act::Answer(sight), e, sequence);
                    self.answered.insert(e.number, ());
                    if let What::DmaWrite { answer, .. } = &mut self.sights[sight].what {
                        *answer = Some(status(e.status));
                    }
                }
            }
            Kind::DmaReadDone | Kind::DmaWriteDone => {
                if let Some(sight) = self.dma.remove(&e.number) {
                    if self.answered.remove(&e.number).is_none() {
                        self.step(Act::Answer(sight), e, sequence);
                    }
                    let got = self.contents(e, data);
                    match &mut self.sights[sight].what {
                        What::DmaRead { len, answer, .. } => {
                            let missing = e.status == STATUS_OK && got.len() < *len as usize;
                            self.without += u64::from(missing);
                            *answer = Some((status(e.status), got));
                        }
                        What::DmaWrite { answer, .. } => *answer = Some(status(e.status)),
                        _ => {}
                    }
                }
            }
            Kind::Msix => {
                // A vector has 11 bits.
                self.sight(What::Msix(e.address as u16), e);
            }
            Kind::Intx => {
                self.pin.level = e.data != 0;
                self.pin(e);
            }
            Kind::Reset => {
                let kind = match e.address {
                    1 => ResetKind::Flr,
                    2 => ResetKind::Hot,
                    3 => ResetKind::Cold,
                    other => return Err(format!("a reset is of kind {other}")),
                };
                self.step(Act::Reset(kind), e, sequence);
                self.void();
                self.pin.reset = true;
                self.resetting = e.number;
            }
            Kind::ResetDone => {
                self.sight(What::ResetDone, e);
                self.pin.reset = false;
                self.pin(e);
            }
            Kind::LinkUp | Kind::LinkDown => {
                let up = kind == Kind::LinkUp;
                self.step(if up { Act::LinkUp } else { Act::LinkDown }, e, sequence);
                self.void();
                self.addresses = None;
                (self.link, self.up) = (e.number, up);
                self.pin.up = false;
                self.pin.reset = false;
            }
            Kind::Function => {
                let mut function = function(e.data, e.address)?;
                function.addresses = self.addresses;
                let act = Act::Function(function);
                // The RTL hears of it between the writes before and behind it.
                let step = self.step(act, e, sequence);
                if let Some(&write) = self.untaken.front() {
                    let Step { after, order, .. } = self.steps[write];
                    self.steps[step].after = after;
                    self.steps[step].order = order - 1;
                }
            }
            Kind::BarAddress => {
                let addresses = self.addresses.get_or_insert([UNMAPPED; BARS]);
                if let Some(address) = addresses.get_mut(usize::from(e.bar)) {
                    *address = e.address;
                }
            }
            // Of channels, whose entries are not here.
            Kind::NicRx | Kind::NicTx | Kind::SerialRx | Kind::SerialTx => {}
            // Faults are the user's to have again, by the same plan.
            Kind::Fault | Kind::Data | Kind::Enables => {}
        }
        Ok(())
    }

    /// Which channel a source is.
    fn channel(&self, source: u8) -> Option<usize> {
        self.channels.iter().position(|c| c.source == source)
    }

    /// Takes an entry of the function or of a channel.
    fn take(
        &mut self,
        sequence: u64,
        e: &Entry,
        data: &[u8],
        enables: &[u8],
    ) -> Result<(), String> {
        match self.channel(e.source) {
            Some(channel) => {
                self.channel_entry(channel, sequence, e, data);
                Ok(())
            }
            None => self.entry(sequence, e, data, enables),
        }
    }

    /// Takes an entry of a channel with its contents.
    fn channel_entry(&mut self, channel: usize, sequence: u64, e: &Entry, data: &[u8]) {
        let Some(kind) = e.kind() else {
            return;
        };
        let is_up = matches!(self.channels[channel].host, Some(Some(_)));
        match kind {
            Kind::LinkUp | Kind::LinkDown => {
                if is_up {
                    self.step(Act::Close(channel), e, sequence);
                }
                self.channels[channel].link(kind, e);
                self.open(channel, e, sequence);
            }
            Kind::NicRx | Kind::SerialRx => {
                self.guess(channel, e, sequence);
                let act = if kind == Kind::NicRx {
                    let frame = self.contents(e, data);
                    self.without += u64::from(frame.len() < e.length as usize);
                    Act::Frame {
                        channel,
                        at: frame.start,
                        len: frame.len(),
                    }
                } else {
                    let [byte, ..] = e.data.to_le_bytes();
                    Act::Byte { channel, byte }
                };
                self.step(act, e, sequence);
            }
            // What was dropped nobody sees.
            Kind::NicTx if e.status == STATUS_OK => {
                self.guess(channel, e, sequence);
                let data = self.contents(e, data);
                let len = e.length as usize;
                self.channel_sight(channel, What::Frame { channel, len, data }, e);
            }
            Kind::SerialTx => {
                self.guess(channel, e, sequence);
                self.byte(channel, e);
            }
            _ => {}
        }
    }

    /// A host opens a channel, if one does.
    fn open(&mut self, channel: usize, e: &Entry, sequence: u64) {
        let Some(Some(mac)) = self.channels[channel].host else {
            return;
        };
        self.channels[channel].epoch += 1;
        self.step(Act::Open { channel, mac }, e, sequence);
        for byte in std::mem::take(&mut self.channels[channel].kept) {
            self.byte(channel, &byte);
        }
    }

    /// A ring has something of a host, and not its beginning.
    fn guess(&mut self, channel: usize, e: &Entry, sequence: u64) {
        if self.channels[channel].host.is_none() {
            self.guessed = true;
            self.channels[channel].host = Some(Some(MAC));
            self.open(channel, e, sequence);
        }
    }

    /// A byte of the RTL, which waits for a host if there is none.
    fn byte(&mut self, channel: usize, e: &Entry) {
        let [byte, ..] = e.data.to_le_bytes();
        let of_it = &mut self.channels[channel];
        if !matches!(of_it.host, Some(None)) {
            self.channel_sight(channel, What::Byte { channel, byte }, e);
        } else if of_it.kept.len() < KEPT {
            of_it.kept.push(*e);
        }
    }

    fn channel_sight(&mut self, channel: usize, what: What, e: &Entry) {
        let sight = self.sight(what, e);
        self.sights[sight].epoch = self.channels[channel].epoch;
    }

    /// What the library has done by itself is answered as soon as it is seen.
    fn direct(&mut self, sequence: u64, e: &Entry) {
        if e.flags & FLAG_DIRECT != 0 {
            self.step(Act::Answer(self.sights.len() - 1), e, sequence);
            self.answered.insert(e.number, ());
        }
    }
}

/// The function that is replayed.
fn choose<B: Bytes>(record: &Record<B>, name: Option<&str>) -> Result<u8, String> {
    let functions = || {
        record
            .sources()
            .iter()
            .enumerate()
            .filter(|(_, s)| s.kind == SourceKind::Function)
    };
    let names = || {
        let names: Vec<_> = functions().map(|(_, s)| s.name.as_str()).collect();
        names.join(", ")
    };
    let mut those = functions().filter(|(_, s)| name.is_none_or(|n| n == s.name));
    let chosen = match (those.next(), those.next()) {
        (Some((index, _)), None) => index,
        (None, _) if name.is_some() => {
            return Err(format!(
                "it has no function {}, but {}",
                name.unwrap_or_default(),
                names()
            ))
        }
        (None, _) => return Err("it has no function".into()),
        (Some(_), Some(_)) => {
            return Err(format!(
                "it has {} functions, and a replay plays one: say with --source which of {}",
                functions().count(),
                names()
            ))
        }
    };
    // At most 64.
    Ok(chosen as u8)
}

/// Of an entry whose contents are not read yet.
struct Open {
    sequence: u64,
    entry: Entry,
    data: Vec<u8>,
    enables: Vec<u8>,
    left: u16,
}

impl Plan {
    /// Makes a plan of a record, with all its channels; of the function with this name, if one
    /// is given.
    ///
    /// # Errors
    ///
    /// Why it cannot be replayed.
    pub fn new<B: Bytes>(record: &Record<B>, name: Option<&str>) -> Result<Self, String> {
        Self::of(record, name, true)
    }

    /// The same without the channels.
    ///
    /// # Errors
    ///
    /// Why it cannot be replayed.
    pub fn without_channels<B: Bytes>(
        record: &Record<B>,
        name: Option<&str>,
    ) -> Result<Self, String> {
        Self::of(record, name, false)
    }

    fn of<B: Bytes>(
        record: &Record<B>,
        name: Option<&str>,
        with_channels: bool,
    ) -> Result<Self, String> {
        let source = choose(record, name)?;
        let io = |e: std::io::Error| e.to_string();
        let is_ring = record.header().ring != 0;
        let tells = record.header().minor >= LINKS_MINOR;
        let of_channels = (0..).zip(record.sources());
        let of_channels = of_channels.filter(|(_, s)| s.kind != SourceKind::Function);
        let mut builder = Builder {
            channels: of_channels
                .filter(|_| with_channels && tells)
                .map(|(index, _)| Channel::new(index, is_ring))
                .collect(),
            ..Builder::default()
        };
        let mut notes = Vec::new();
        let (mut begun, mut last) = (false, 0);
        let mut left_out = 0_u64;
        let mut not_played = 0_u64;
        let mut open: Option<Open> = None;
        let mut reader = record.read().map_err(io)?;
        for entry in &mut reader {
            let (sequence, body) = entry.map_err(io)?;
            if begun && sequence != last + 1 {
                return Err(format!(
                    "it is damaged: entries {} to {} are not there",
                    last + 1,
                    sequence - 1
                ));
            }
            last = sequence;
            match body {
                Body::Content {
                    kind,
                    length,
                    bytes,
                    ..
                } => {
                    if let Some(o) = &mut open {
                        let to = match kind {
                            Kind::Enables => &mut o.enables,
                            _ => &mut o.data,
                        };
                        to.extend_from_slice(&bytes[..length.into()]);
                        o.left -= 1;
                        if o.left == 0 {
                            let Some(o) = open.take() else { continue };
                            builder.take(o.sequence, &o.entry, &o.data, &o.enables)?;
                        }
                    }
                }
                Body::Entry(entry) => {
                    let channel = builder.channel(entry.source);
                    if entry.source != source && channel.is_none() {
                        let of_channel = matches!(
                            entry.kind(),
                            Some(Kind::NicRx | Kind::NicTx | Kind::SerialRx | Kind::SerialTx)
                        );
                        not_played += u64::from(of_channel);
                        open = None;
                        continue;
                    }
                    if let (false, true, Some(channel)) = (begun, is_ring, channel) {
                        // Who is there, and no more.
                        if let Some(kind @ (Kind::LinkUp | Kind::LinkDown)) = entry.kind() {
                            builder.channels[channel].link(kind, &entry);
                        }
                        left_out += 1;
                        open = None;
                        continue;
                    }
                    if !begun && channel.is_none() {
                        // A ring begins in the middle: what the RTL was in is not known before
                        // its next reset.
                        match entry.kind() {
                            Some(Kind::LinkUp) => {}
                            Some(Kind::Reset) => {
                                let up = Entry { number: 0, ..entry };
                                builder.step(Act::LinkUp, &up, sequence - 1);
                                builder.void();
                                builder.pin.up = true;
                            }
                            _ => {
                                left_out += 1;
                                open = None;
                                continue;
                            }
                        }
                        begun = true;
                        if is_ring {
                            let up = Entry { number: 0, ..entry };
                            for channel in 0..builder.channels.len() {
                                builder.open(channel, &up, sequence - 1);
                            }
                        }
                    }
                    if entry.following == 0 {
                        open = None;
                        builder.take(sequence, &entry, &[], &[])?;
                    } else {
                        open = Some(Open {
                            sequence,
                            entry,
                            data: Vec::new(),
                            enables: Vec::new(),
                            left: entry.following,
                        });
                    }
                }
            }
        }
        let skipped = reader.skipped();
        let older = skipped.before + skipped.overwritten + left_out;
        if !begun {
            return Err(if older != 0 {
                "it is a ring without a reset or the beginning of a session, so it is not known \
                 what the RTL was in: make it larger (+accelerator_record_size)"
                    .into()
            } else {
                "no host is in it: there is nothing to replay".to_owned()
            });
        }
        if skipped.damaged != 0 && record.header().ring == 0 {
            return Err(format!("{} of its entries are damaged", skipped.damaged));
        }
        if not_played != 0 && with_channels && !tells {
            return Err(format!(
                "it has {not_played} frames or bytes of a network or serial channel, and is of a \
                 version before 1.{LINKS_MINOR}, which does not say when a host was there: \
                 --no-channels plays the function without them"
            ));
        }
        if builder.without != 0 {
            return Err(format!(
                "it has no contents of {} DMA reads or frames, which the card has to get again: \
                 record with +accelerator_record_data=1",
                builder.without
            ));
        }
        if builder.guessed {
            notes.push(
                "a ring that does not say who had the channels: hosts open them where they are \
                 seen first, with a MAC address of QEMU's"
                    .into(),
            );
        }
        if older != 0 {
            notes.push(format!(
                "a ring: {older} entries before the first reset in it are not played"
            ));
        }
        match record.state().map_err(io)? {
            Some(State::Ended) => {}
            Some(State::Full | State::Failed) => {
                notes.push(format!("the record was full, it ends at entry {last}"));
            }
            _ => notes.push(format!(
                "the record was cut, its simulator was killed or still runs: it ends at entry {last}"
            )),
        }
        let cut = |s: &Sight| {
            let bytes = match &s.what {
                What::DmaWrite { len, .. } => *len as usize,
                What::Frame { len, .. } => *len,
                _ => 0,
            };
            bytes > 8
        };
        if record.header().flags & HEADER_CONTENTS == 0 && builder.sights.iter().any(cut) {
            notes.push(
                "the record has no contents: of DMA writes and frames 8 bytes are compared".into(),
            );
        }
        let Builder {
            mut steps,
            sights,
            bytes,
            channels,
            ..
        } = builder;
        let source_of = |index: u8| record.sources()[usize::from(index)].clone();
        steps.sort_by_key(|s| s.order);
        mark_repeated(&mut steps);
        Ok(Self {
            source: source_of(source),
            channels: channels.iter().map(|c| source_of(c.source)).collect(),
            steps,
            sights,
            notes,
            bytes,
        })
    }
}

/// Which reads are followed by one of the same.
fn mark_repeated(steps: &mut [Step]) {
    let mut next: Option<Access> = None;
    for step in steps.iter_mut().rev() {
        match &mut step.act {
            Act::Read { access, again, .. } => {
                *again = next == Some(*access);
                next = Some(*access);
            }
            Act::Answer(_) => {}
            _ => next = None,
        }
    }
}
