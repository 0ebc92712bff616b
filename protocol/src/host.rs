// SPDX-License-Identifier: MIT OR Apache-2.0

//! The host's half of a session: what QEMU keeps track of.
//!
//! Frames go in through [`HostSession::frame`] and come out of the methods
//! that append to a message. No sockets, no time, no memory of the guest.

use std::collections::VecDeque;

use crate::{
    config::Config,
    function::Function,
    said::Said,
    session::{max_dma, needed_minor, ADDRESSES_MINOR, FAULTS_MINOR, MSIX_IN_RTL_MINOR},
    told::Told,
    wire::{
        split, ErrorKind, Frame, Init, Reason, ResetKind, Status, WireError, FEATURE_SHARED_MEMORY,
        MAX_DATA, MAX_INTERVAL,
    },
};

pub use crate::session::{mask, State, Violation, MAX_PLANS, MAX_READS};

/// Reads whose completion timed out that are remembered, so that a late
/// completion is told from one that nobody asked for. All that can be
/// outstanding.
pub const MAX_ABANDONED: usize = MAX_READS;

/// Resets that may be outstanding at once. Further ones are put off until some
/// are answered, and become one.
pub const MAX_RESETS: usize = 64;

/// FUNCTION frames that are sent while nothing comes from the device, beside those
/// after a reset. Further changes are put off, and become one.
pub const MAX_FUNCTIONS: usize = 1024;

/// CLOCK frames that are sent while nothing comes from the device, likewise.
pub const MAX_CLOCKS: usize = 64;

/// What a frame from the device asks of the host, in the order of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEvent<'a> {
    /// The device's configuration, checked. Answer with
    /// [`HostSession::accept`] or [`HostSession::refuse`].
    Configured(Config),
    /// The device offers shared memory, which the host has offered to use. Its
    /// configuration comes next; say with [`HostSession::attach`] whether it is used.
    Share {
        /// Where it is to be had: hexadecimal digits.
        name: &'a str,
    },
    /// The device does not want this session.
    Refused {
        /// Machine readable.
        reason: Reason,
        /// For a person.
        text: Said<'a>,
    },
    /// The device ends the session.
    Closed {
        /// Machine readable.
        reason: Reason,
    },
    /// A read is answered.
    ReadDone {
        /// Of the read.
        tag: u32,
        /// Anything but OK reads as all ones.
        status: Status,
        /// No bits beyond the length of the read.
        data: u64,
    },
    /// A read is answered after the host gave it up.
    LateRead {
        /// Of the read.
        tag: u32,
    },
    /// Writes are done, and there is room in the window again.
    WritesDone {
        /// How many.
        count: u32,
        /// Of the last one.
        status: Status,
    },
    /// Read guest memory; answer with [`HostSession::dma_read_done`].
    DmaRead {
        /// For the answer.
        tag: u32,
        /// Bus address.
        addr: u64,
        /// 1 to [`MAX_DATA`] bytes.
        len: u32,
    },
    /// Write guest memory; answer with [`HostSession::dma_write_done`].
    DmaWrite {
        /// For the answer.
        tag: u32,
        /// Bus address.
        addr: u64,
        /// 1 to [`MAX_DATA`] bytes.
        data: &'a [u8],
        /// One bit per byte if there are holes.
        enables: Option<&'a [u8]>,
    },
    /// Raise a vector, of MSI-X or MSI, whichever the guest has enabled.
    Msix {
        /// 0 to the number of vectors of that which has more of them - 1.
        vector: u16,
    },
    /// A vector that the function does not have; nothing is raised.
    BadVector {
        /// What was asked for.
        vector: u16,
        /// How many there are.
        vectors: u16,
    },
    /// Drive the INTx pin.
    Intx {
        /// Asserted.
        level: bool,
    },
    /// The device has left its reset.
    ResetDone,
    /// It is this late in the simulation, not earlier than at the last one.
    Time {
        /// Simulated nanoseconds, from some point in time on.
        ns: u64,
    },
    /// A plan of faults is taken, or not.
    FaultsDone {
        /// As [`HostSession::faults`] has returned it.
        tag: u32,
        /// It is not taken.
        refused: bool,
        /// In words.
        text: Said<'a>,
    },
    /// An error that a fault has made, for config space.
    Error {
        /// What it is.
        kind: ErrorKind,
    },
    /// Nothing to do.
    Ignored(Ignored),
}

/// Why a frame is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It belongs to another session.
    Stale {
        /// That session.
        session: u64,
    },
    /// The device sent it before it saw the reset or the end of the session.
    Void,
    /// A NOOP.
    Noop,
}

#[derive(Clone, Copy, Debug)]
struct Read {
    tag: u32,
    len: u8,
}

/// State of one session, host side.
#[derive(Debug)]
pub struct HostSession {
    session: u64,
    state: State,
    window: u32,
    vectors: u16,
    intx: bool,
    reads: Vec<Read>,
    abandoned: VecDeque<u32>,
    dma: Vec<u32>,
    last_read: u32,
    last_write: u32,
    writes_outstanding: u32,
    last_reset: u32,
    resets_outstanding: u32,
    /// The reads that each of them has voided, which the device has still to see.
    voided: VecDeque<usize>,
    /// A reset that was put off.
    next_reset: Option<ResetKind>,
    /// The device knows CLOCK, and has a clock to tell of.
    has_clock: bool,
    /// CLOCK was sent, and the time that was told last.
    time: Option<u64>,
    /// The intervals of CLOCK.
    clock: Told<u64>,
    /// Minor version of the device.
    minor: u8,
    /// The device knows FUNCTION.
    has_function: bool,
    function: Told<Function>,
    /// The device knows FAULTS.
    has_faults: bool,
    last_plan: u32,
    plans_outstanding: u32,
    /// [`FEATURE_SHARED_MEMORY`] was offered.
    shares: bool,
    /// The device has taken that up; whether the memory is used.
    share: Option<bool>,
}

impl HostSession {
    /// A session that has not begun. `session` must differ from every other
    /// one that this device may still hear of; `window` is the number of
    /// posted writes that may be outstanding, 1 to 4096.
    pub fn new(session: u64, window: u32) -> Self {
        Self {
            session,
            state: State::Idle,
            window: window.clamp(1, 4096),
            vectors: 0,
            intx: false,
            reads: Vec::new(),
            abandoned: VecDeque::new(),
            dma: Vec::new(),
            last_read: 0,
            last_write: 0,
            writes_outstanding: 0,
            last_reset: 0,
            resets_outstanding: 0,
            voided: VecDeque::new(),
            next_reset: None,
            has_clock: false,
            time: None,
            clock: Told::new(MAX_CLOCKS),
            minor: 0,
            has_function: false,
            function: Told::new(MAX_FUNCTIONS),
            has_faults: false,
            last_plan: 0,
            plans_outstanding: 0,
            shares: false,
            share: None,
        }
    }

    /// Number of the session.
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// Where the session stands.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether requests can be sent.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Posted writes that the device has not reported done.
    pub const fn writes_outstanding(&self) -> u32 {
        self.writes_outstanding
    }

    /// Whether the window has room for another write.
    pub fn can_write(&self) -> bool {
        self.is_up() && self.next_reset.is_none() && self.writes_outstanding < self.window
    }

    fn can_read(&self) -> bool {
        let voided: usize = self.voided.iter().sum();
        let outstanding = self.reads.len() + self.abandoned.len() + voided;
        self.is_up() && self.next_reset.is_none() && outstanding < MAX_READS
    }

    /// A tag that no read has which the device may still answer.
    fn new_read(&mut self) -> u32 {
        loop {
            self.last_read = self.last_read.wrapping_add(1);
            let tag = self.last_read;
            let outstanding = self.reads.iter().map(|r| &r.tag).chain(&self.abandoned);
            if outstanding.into_iter().all(|&t| t != tag) {
                return tag;
            }
        }
    }

    /// Whether a reset has not been answered yet.
    pub const fn reset_pending(&self) -> bool {
        self.resets_outstanding != 0
    }

    /// Whether the device can tell the simulated time: it speaks version 1.1,
    /// and its configuration has a clock period.
    pub const fn has_clock(&self) -> bool {
        self.has_clock
    }

    /// Asks for the simulated time, each `interval` nanoseconds of it, at most
    /// [`MAX_INTERVAL`]; 0 for no more. False, and nothing appended, if the link
    /// is down or the device cannot do so. Nothing is appended either if it was asked
    /// for just that already, or [`MAX_CLOCKS`] times and has sent nothing meanwhile.
    /// Then this is put off until it does.
    pub fn clock(&mut self, interval: u64, out: &mut Vec<u8>) -> bool {
        if !self.is_up() || !self.has_clock {
            return false;
        }
        self.time.get_or_insert(0);
        let interval = interval.min(MAX_INTERVAL);
        if self.clock.tell(interval) {
            self.put(&Frame::Clock { interval }, out);
        }
        true
    }

    /// Whether the device can be told what the guest sets in config space: it
    /// speaks version 1.2.
    pub const fn has_function(&self) -> bool {
        self.has_function
    }

    /// Tells the device what the guest has set in config space. To be called
    /// after [`HostSession::accept`] and [`HostSession::reset`], and after each
    /// change. False, and nothing appended, if the device knows it already or
    /// cannot be told, the link is down, or a reset was put off; or if the device
    /// was told [`MAX_FUNCTIONS`] times and has sent nothing meanwhile. Then this is
    /// put off until it does, or until the next read or write.
    pub fn function(&mut self, function: &Function, out: &mut Vec<u8>) -> bool {
        if !self.is_up() || !self.has_function || self.next_reset.is_some() {
            return false;
        }
        let mut function = *function;
        if self.minor < ADDRESSES_MINOR {
            function.addresses = None;
        }
        let now = self.function.tell(function);
        if now {
            self.put(&Frame::Function(function), out);
        }
        now
    }

    /// Whether the device can be given a plan of faults: it speaks version 1.4.
    pub const fn has_faults(&self) -> bool {
        self.has_faults
    }

    /// Gives the device a plan of faults, at most [`MAX_PLAN`](crate::wire::MAX_PLAN) bytes,
    /// and returns its tag. `None`, and nothing appended, if the link is down, the device
    /// cannot take one, or [`MAX_PLANS`] are not answered.
    pub fn faults(&mut self, text: &str, out: &mut Vec<u8>) -> Option<u32> {
        if !self.is_up() || !self.has_faults || self.plans_outstanding as usize >= MAX_PLANS {
            return None;
        }
        self.last_plan = self.last_plan.wrapping_add(1);
        self.plans_outstanding += 1;
        let tag = self.last_plan;
        self.put(&Frame::Faults { tag, text }, out);
        Some(tag)
    }

    /// Appends FUNCTION if it was put off.
    fn tell_late(&mut self, out: &mut Vec<u8>) {
        if let Some(function) = self.function.tell_late() {
            self.put(&Frame::Function(function), out);
        }
    }

    fn put(&self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        frame.encode(self.session, out);
    }

    /// Offers in INIT to use shared memory, or not.
    pub fn share(&mut self, shares: bool) {
        self.shares = shares;
    }

    /// Tells with [`HostSession::accept`] whether the shared memory that the device has
    /// offered is used; without this it is not.
    pub fn attach(&mut self, attached: bool) {
        if let Some(share) = &mut self.share {
            *share = attached;
        }
    }

    /// Begins the session: appends INIT.
    pub fn init(&mut self, name: &str, out: &mut Vec<u8>) {
        self.state = State::Init;
        self.put(
            &Frame::Init(Init {
                features: if self.shares {
                    FEATURE_SHARED_MEMORY
                } else {
                    0
                },
                write_window: self.window,
                max_data: MAX_DATA as u32,
                name,
            }),
            out,
        );
    }

    /// Accepts the configuration: appends READY. If [`HostSession::attach`] was called,
    /// everything after it goes through shared memory, in both directions.
    pub fn accept(&mut self, out: &mut Vec<u8>) {
        debug_assert_eq!(self.state, State::Configured);
        self.state = State::Up;
        if let Some(attached) = self.share {
            self.put(&Frame::Attach { attached }, out);
        }
        self.put(&Frame::Ready, out);
    }

    /// Refuses the configuration, or a peer that broke the protocol. Nothing is
    /// outstanding any more.
    pub fn refuse(&mut self, reason: Reason, text: &str, out: &mut Vec<u8>) {
        self.disconnected();
        self.put(&Frame::Refuse { reason, text }, out);
    }

    /// Ends the session in order: appends BYE. Nothing is outstanding any more.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.disconnected();
        self.put(
            &Frame::Bye {
                reason: Reason::Closing,
            },
            out,
        );
    }

    /// Appends a read of `len` bytes, 1 to 8, and returns its tag. `None` if
    /// the link is down or [`MAX_READS`] are outstanding, given up, voided by a
    /// reset that is not answered, or none of that; or if a reset was put off.
    pub fn read(&mut self, bar: u8, offset: u64, len: u8, out: &mut Vec<u8>) -> Option<u32> {
        if !self.can_read() {
            return None;
        }
        self.tell_late(out);
        let tag = self.new_read();
        self.reads.push(Read { tag, len });
        self.put(
            &Frame::MmioRead {
                tag,
                bar,
                len,
                offset,
            },
            out,
        );
        Some(tag)
    }

    /// Appends a posted write of the low `len` bytes of `data` and returns its
    /// tag. `None` if the link is down or the window is full.
    pub fn write(
        &mut self,
        bar: u8,
        offset: u64,
        len: u8,
        data: u64,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        if !self.can_write() {
            return None;
        }
        self.tell_late(out);
        self.last_write = self.last_write.wrapping_add(1);
        self.writes_outstanding += 1;
        let tag = self.last_write;
        self.put(
            &Frame::MmioWrite {
                tag,
                bar,
                len,
                offset,
                data: mask(data, len),
            },
            out,
        );
        Some(tag)
    }

    /// Whether the write with this tag has been reported done.
    pub const fn write_is_done(&self, tag: u32) -> bool {
        // Distance from the last write issued; those not done are the newest.
        self.last_write.wrapping_sub(tag) >= self.writes_outstanding
    }

    /// Gives up a read; its completion will be [`HostEvent::LateRead`].
    pub fn abandon(&mut self, tag: u32) {
        if let Some(i) = self.reads.iter().position(|r| r.tag == tag) {
            self.reads.swap_remove(i);
            self.abandoned.push_back(tag);
        }
    }

    /// Appends the answer to [`HostEvent::DmaRead`]. `data` must be as long as
    /// requested if `status` is OK and is left out otherwise. Appends nothing
    /// if the request is not outstanding any more, after a reset for instance.
    pub fn dma_read_done(&mut self, tag: u32, status: Status, data: &[u8], out: &mut Vec<u8>) {
        if self.end_dma(tag) {
            let data = if status == Status::Ok { data } else { &[] };
            self.put(&Frame::DmaReadDone { tag, status, data }, out);
        }
    }

    /// Appends the answer to [`HostEvent::DmaWrite`]. Appends nothing if the
    /// request is not outstanding any more.
    pub fn dma_write_done(&mut self, tag: u32, status: Status, out: &mut Vec<u8>) {
        if self.end_dma(tag) {
            self.put(&Frame::DmaWriteDone { tag, status }, out);
        }
    }

    fn begin_dma(&mut self, frame: &'static str, tag: u32) -> Result<(), Violation> {
        let most = max_dma(self.minor);
        if self.dma.len() >= most || self.dma.contains(&tag) {
            return Err(Violation::Tag {
                frame,
                found: tag,
                expected: format!(
                    "{} DMA requests of {most}, a new one needs a tag of its own",
                    self.dma.len()
                ),
            });
        }
        self.dma.push(tag);
        Ok(())
    }

    fn end_dma(&mut self, tag: u32) -> bool {
        match self.dma.iter().position(|&t| t == tag) {
            Some(i) => {
                self.dma.swap_remove(i);
                true
            }
            None => false,
        }
    }

    /// Appends RESET and voids everything outstanding. Does nothing while the
    /// link is down. If [`MAX_RESETS`] are outstanding, it is put off, and nothing
    /// can be sent before it.
    pub fn reset(&mut self, kind: ResetKind, out: &mut Vec<u8>) {
        if !self.is_up() {
            return;
        }
        if self.resets_outstanding as usize >= MAX_RESETS {
            // What reaches further counts.
            let next = self.next_reset.unwrap_or(kind);
            self.next_reset = Some(if (next as u8) < kind as u8 {
                kind
            } else {
                next
            });
            self.void();
            return;
        }
        self.last_reset = self.last_reset.wrapping_add(1);
        self.resets_outstanding += 1;
        let reads = self.reads.len() + self.abandoned.len();
        self.voided.push_back(reads);
        self.void();
        self.put(
            &Frame::Reset {
                tag: self.last_reset,
                kind,
            },
            out,
        );
    }

    /// Whether something was put off that a frame of the device may make room for.
    pub const fn has_put_off(&self) -> bool {
        self.next_reset.is_some() || self.function.has_put_off() || self.clock.has_put_off()
    }

    /// Appends what was put off and there is room for now: a reset or a FUNCTION, and a
    /// CLOCK; to be called after frames have come. False if nothing was appended.
    pub fn put_off(&mut self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        match self.next_reset {
            Some(kind) if (self.resets_outstanding as usize) < MAX_RESETS => {
                self.next_reset = None;
                self.reset(kind, out);
            }
            Some(_) => {}
            None => {
                if let Some(function) = self.function.tell_in_room() {
                    self.put(&Frame::Function(function), out);
                }
            }
        }
        if let Some(interval) = self.clock.tell_in_room() {
            self.put(&Frame::Clock { interval }, out);
        }
        out.len() != before
    }

    /// The peer is gone: nothing is outstanding any more.
    pub fn disconnected(&mut self) {
        self.state = State::Closed;
        self.resets_outstanding = 0;
        self.plans_outstanding = 0;
        self.next_reset = None;
        self.voided.clear();
        self.void();
    }

    fn void(&mut self) {
        self.reads.clear();
        self.abandoned.clear();
        self.dma.clear();
        self.writes_outstanding = 0;
        // After a reset it is told in any case.
        self.function.void();
    }

    /// Takes the first frame of a message and returns what it asks for and
    /// the rest of the message.
    ///
    /// # Errors
    ///
    /// What the device broke. Neither the rest of the message nor the session
    /// can be used after it.
    pub fn frame<'a>(&mut self, message: &'a [u8]) -> Result<(HostEvent<'a>, &'a [u8]), Violation> {
        let (header, payload, rest) = split(message)?;
        if header.session != self.session {
            let session = header.session;
            return Ok((HostEvent::Ignored(Ignored::Stale { session }), rest));
        }
        // Whoever sends reads as well.
        self.function.heard();
        self.clock.heard();
        let frame = Frame::decode(&header, payload)?;
        Ok((self.event(frame, header.minor)?, rest))
    }

    fn event<'a>(&mut self, frame: Frame<'a>, minor: u8) -> Result<HostEvent<'a>, Violation> {
        let unexpected = Violation::Unexpected {
            frame: frame.name(),
            state: self.state,
        };
        match (&self.state, frame) {
            (_, Frame::Noop) => Ok(HostEvent::Ignored(Ignored::Noop)),
            // What was on its way when the session ended.
            (State::Closed, _) => Ok(HostEvent::Ignored(Ignored::Void)),
            (State::Idle, _) => Err(unexpected),
            (_, Frame::Refuse { reason, text }) => {
                self.disconnected();
                Ok(HostEvent::Refused {
                    reason,
                    text: Said::new(text),
                })
            }
            (_, Frame::Bye { reason }) => {
                self.disconnected();
                Ok(HostEvent::Closed { reason })
            }
            (State::Init, Frame::Share { name }) if self.shares && self.share.is_none() => {
                self.share = Some(false);
                Ok(HostEvent::Share { name })
            }
            (State::Init, Frame::Config(config)) => {
                let needed = needed_minor(&config);
                if minor < needed {
                    return Err(Violation::Wire(WireError::Field {
                        name: "minor version of CONFIG",
                        found: minor.into(),
                        expected: if needed == MSIX_IN_RTL_MINOR {
                            "6 or more, with MSI-X in the RTL"
                        } else {
                            "3 or more, with MSI"
                        },
                    }));
                }
                config.check()?;
                self.vectors = config.vectors();
                self.intx = config.intx_pin != 0;
                self.has_clock = minor >= 1 && config.clock_period_ps != 0;
                self.minor = minor;
                self.has_function = minor >= 2;
                self.has_faults = minor >= FAULTS_MINOR;
                self.state = State::Configured;
                Ok(HostEvent::Configured(config))
            }
            (State::Up, frame) => self.up(frame, unexpected),
            _ => Err(unexpected),
        }
    }

    fn up<'a>(
        &mut self,
        frame: Frame<'a>,
        unexpected: Violation,
    ) -> Result<HostEvent<'a>, Violation> {
        // What the device sent before it saw the reset counts for nothing. A
        // completion of a request that was sent after the reset is told by its
        // tag; everything else is void until RESET_DONE. A frame that no
        // device may send is still told.
        let void = self.reset_pending();
        match frame {
            Frame::ResetDone { tag } => self.reset_done(tag),
            Frame::Time { ns } => match &mut self.time {
                Some(last) if ns >= *last => {
                    *last = ns;
                    Ok(HostEvent::Time { ns })
                }
                Some(_) => Err(Violation::Wire(WireError::Field {
                    name: "simulated time",
                    found: ns,
                    expected: "none that is earlier than the last one",
                })),
                None => Err(unexpected),
            },
            Frame::DmaRead { .. }
            | Frame::DmaWrite { .. }
            | Frame::Msix { .. }
            | Frame::Intx { .. }
            | Frame::Error { .. }
                if void =>
            {
                Ok(HostEvent::Ignored(Ignored::Void))
            }
            Frame::MmioReadDone { tag, status, data } => {
                if let Some(i) = self.reads.iter().position(|r| r.tag == tag) {
                    let read = self.reads.swap_remove(i);
                    return Ok(HostEvent::ReadDone {
                        tag,
                        status,
                        data: mask(data, read.len),
                    });
                }
                if let Some(i) = self.abandoned.iter().position(|&t| t == tag) {
                    self.abandoned.remove(i);
                    return Ok(HostEvent::LateRead { tag });
                }
                if void {
                    return Ok(HostEvent::Ignored(Ignored::Void));
                }
                Err(Violation::Tag {
                    frame: "MMIO_READ_DONE",
                    found: tag,
                    expected: self.outstanding_reads(),
                })
            }
            Frame::MmioWriteDone { tag, status } => {
                let oldest = self
                    .last_write
                    .wrapping_sub(self.writes_outstanding)
                    .wrapping_add(1);
                let count = tag.wrapping_sub(oldest).wrapping_add(1);
                if count == 0 || count > self.writes_outstanding {
                    if void {
                        return Ok(HostEvent::Ignored(Ignored::Void));
                    }
                    return Err(Violation::Tag {
                        frame: "MMIO_WRITE_DONE",
                        found: tag,
                        expected: if self.writes_outstanding == 0 {
                            "none".into()
                        } else {
                            format!("{oldest} to {}", self.last_write)
                        },
                    });
                }
                self.writes_outstanding -= count;
                Ok(HostEvent::WritesDone { count, status })
            }
            Frame::DmaRead { tag, addr, len } => {
                self.begin_dma("DMA_READ", tag)?;
                Ok(HostEvent::DmaRead { tag, addr, len })
            }
            Frame::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                self.begin_dma("DMA_WRITE", tag)?;
                Ok(HostEvent::DmaWrite {
                    tag,
                    addr,
                    data,
                    enables,
                })
            }
            Frame::Error { tag, kind } => {
                // Of a read that was given up the host has its own word.
                Ok(if tag == 0 || self.reads.iter().any(|r| r.tag == tag) {
                    HostEvent::Error { kind }
                } else {
                    HostEvent::Ignored(Ignored::Void)
                })
            }
            Frame::FaultsDone { tag, refused, text } => {
                let oldest = self
                    .last_plan
                    .wrapping_sub(self.plans_outstanding)
                    .wrapping_add(1);
                if self.plans_outstanding == 0 || tag != oldest {
                    return Err(Violation::Tag {
                        frame: "FAULTS_DONE",
                        found: tag,
                        expected: match self.plans_outstanding {
                            0 => "none".into(),
                            _ => format!("{oldest} to {}", self.last_plan),
                        },
                    });
                }
                self.plans_outstanding -= 1;
                Ok(HostEvent::FaultsDone {
                    tag,
                    refused,
                    text: Said::new(text),
                })
            }
            Frame::Msix { vector } if vector < self.vectors => Ok(HostEvent::Msix { vector }),
            Frame::Msix { vector } => Ok(HostEvent::BadVector {
                vector,
                vectors: self.vectors,
            }),
            Frame::Intx { level } if self.intx => Ok(HostEvent::Intx { level }),
            Frame::Intx { level } => Err(Violation::Wire(WireError::Field {
                name: "INTx level",
                found: level.into(),
                expected: "no INTX frame, since intx_pin of the configuration is 0",
            })),
            _ => Err(unexpected),
        }
    }

    fn reset_done<'a>(&mut self, tag: u32) -> Result<HostEvent<'a>, Violation> {
        // Distance to the last reset; those outstanding are the newest.
        let later = self.last_reset.wrapping_sub(tag);
        if later >= self.resets_outstanding {
            return Err(Violation::Tag {
                frame: "RESET_DONE",
                found: tag,
                expected: match self.resets_outstanding {
                    0 => "no reset".into(),
                    1 => self.last_reset.to_string(),
                    n => format!(
                        "{} to {}",
                        self.last_reset.wrapping_sub(n - 1),
                        self.last_reset
                    ),
                },
            });
        }
        // The answer to a reset answers those before it as well.
        self.resets_outstanding = later;
        while self.voided.len() > later as usize {
            self.voided.pop_front();
        }
        Ok(if later == 0 {
            HostEvent::ResetDone
        } else {
            HostEvent::Ignored(Ignored::Void)
        })
    }

    fn outstanding_reads(&self) -> String {
        match self.reads.as_slice() {
            [] => "none".into(),
            [only] => only.tag.to_string(),
            many => {
                let (min, max) = many
                    .iter()
                    .fold((u32::MAX, 0), |(a, b), r| (a.min(r.tag), b.max(r.tag)));
                format!("{} reads, {min} to {max}", many.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_is_outstanding_is_not_given_again() {
        let mut host = HostSession::new(1, 1);
        host.state = State::Up;
        let mut out = Vec::new();
        let first = host.read(0, 0, 4, &mut out).unwrap();
        let given_up = host.read(0, 0, 4, &mut out).unwrap();
        host.abandon(given_up);
        // All others have been used meanwhile.
        host.last_read = first - 1;
        assert_eq!(host.read(0, 0, 4, &mut out), Some(given_up + 1));
        host.last_read = u32::MAX - 1;
        assert_eq!(host.read(0, 0, 4, &mut out), Some(u32::MAX));
        assert_eq!(host.read(0, 0, 4, &mut out), Some(0));
        assert_eq!(host.read(0, 0, 4, &mut out), Some(given_up + 2));
    }
}
