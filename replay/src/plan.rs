// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a replay does and expects, made of a record.
//!
//! A [`Step`] is what the host does: an access, a reset, a change of the link, the answer of a
//! DMA request. A [`Sight`] is what the host sees of the card: the answer of a read, a DMA
//! request, an interrupt, the end of a reset. A step waits for all that the record has before
//! it. In the record these came without the step, so they come without it again.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use accelerator_protocol::{
    function::{Function, FUNCTION_LEN},
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
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Resets and changes of the link before.
    pub epoch: u32,
}

/// What a replay does.
#[derive(Debug)]
pub struct Plan {
    /// The function that is replayed.
    pub source: Source,
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

fn function(data: u64) -> Result<Function, String> {
    let from = data.to_le_bytes();
    let mut bytes = [0; FUNCTION_LEN];
    bytes[0] = from[0];
    bytes[4..7].copy_from_slice(&from[1..4]);
    bytes[8..12].copy_from_slice(&from[4..8]);
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
    /// DMA reads of which the record has not all bytes.
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
                (self.link, self.up) = (e.number, up);
                self.pin.up = false;
                self.pin.reset = false;
            }
            Kind::Function => {
                let act = Act::Function(function(e.data)?);
                // The RTL hears of it between the writes before and behind it.
                let step = self.step(act, e, sequence);
                if let Some(&write) = self.untaken.front() {
                    let Step { after, order, .. } = self.steps[write];
                    self.steps[step].after = after;
                    self.steps[step].order = order - 1;
                }
            }
            Kind::NicRx | Kind::NicTx | Kind::SerialRx | Kind::SerialTx => {}
            // Faults are the user's to have again, by the same plan.
            Kind::Fault | Kind::Data | Kind::Enables => {}
        }
        Ok(())
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
    /// Makes a plan of a record; of the function with this name, if one is given.
    ///
    /// # Errors
    ///
    /// Why it cannot be replayed.
    pub fn new<B: Bytes>(record: &Record<B>, name: Option<&str>) -> Result<Self, String> {
        let source = choose(record, name)?;
        let io = |e: std::io::Error| e.to_string();
        let mut builder = Builder::default();
        let mut notes = Vec::new();
        let (mut begun, mut last) = (false, 0);
        let mut left_out = 0_u64;
        let mut channels = 0_u64;
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
                            builder.entry(o.sequence, &o.entry, &o.data, &o.enables)?;
                        }
                    }
                }
                Body::Entry(entry) => {
                    if entry.source != source {
                        let channel = matches!(
                            entry.kind(),
                            Some(Kind::NicRx | Kind::NicTx | Kind::SerialRx | Kind::SerialTx)
                        );
                        channels += u64::from(channel);
                        open = None;
                        continue;
                    }
                    if !begun {
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
                                continue;
                            }
                        }
                        begun = true;
                    }
                    if entry.following == 0 {
                        open = None;
                        builder.entry(sequence, &entry, &[], &[])?;
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
        if channels != 0 && name.is_none() {
            return Err(format!(
                "it has {channels} frames or bytes of a network or serial channel, which a replay \
                 does not play: --source {} plays the function without them",
                record.sources()[usize::from(source)].name
            ));
        }
        if builder.without != 0 {
            return Err(format!(
                "it has no contents of {} DMA reads, which the card has to get again: record with \
                 +accelerator_record_data=1",
                builder.without
            ));
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
        let writes = |s: &Sight| matches!(s.what, What::DmaWrite { len, .. } if len > 8);
        if record.header().flags & HEADER_CONTENTS == 0 && builder.sights.iter().any(writes) {
            notes.push("the record has no contents: of DMA writes 8 bytes are compared".into());
        }
        let Builder {
            mut steps,
            sights,
            bytes,
            ..
        } = builder;
        steps.sort_by_key(|s| s.order);
        mark_repeated(&mut steps);
        Ok(Self {
            source: record.sources()[usize::from(source)].clone(),
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
