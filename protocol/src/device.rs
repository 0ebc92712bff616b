// SPDX-License-Identifier: MIT OR Apache-2.0

//! The device's half of a session: what the simulator's side keeps track of.
//!
//! The counterpart of [`crate::host`], with the same division of labour: no
//! sockets, no simulator.

use crate::{
    config::{Config, ConfigError},
    function::Function,
    said::Said,
    session::{
        claimed_session, mask, max_dma, needed_minor, State, Violation, FAULTS_MINOR, MAX_PLANS,
    },
    wire::{
        split, ErrorKind, Frame, Reason, ResetKind, Status, WireError, FEATURE_SHARED_MEMORY,
        MAX_DATA,
    },
};

pub use crate::session::{refuse_message, MAX_DMA, MAX_DMA_BEFORE, MAX_READS};

/// What a frame from the host asks of the device, in the order of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEvent<'a> {
    /// A host wants a session; CONFIG was appended to the reply, unless it is asked
    /// whether there is shared memory. An earlier session, if `replaced`, is over with
    /// everything outstanding in it.
    Offered {
        /// Who it is.
        host: Said<'a>,
        /// Whether a session was up.
        replaced: bool,
        /// The host can use shared memory, and [`DeviceSession::shares`] has said that so
        /// may we: answer with [`DeviceSession::answer`].
        asked: bool,
    },
    /// The host has answered SHARE: what follows its READY, which comes next, goes through
    /// shared memory if so, in both directions.
    Attached(bool),
    /// The host accepted the configuration; the link is up.
    Up,
    /// The session is over.
    Down {
        /// Machine readable.
        reason: Reason,
        /// For a person; empty for a BYE.
        text: Said<'a>,
    },
    /// Answer with [`DeviceSession::read_done`].
    Read {
        /// For the answer.
        tag: u32,
        /// 0 to 5, present.
        bar: u8,
        /// 1 to 8 bytes.
        len: u8,
        /// Offset in the BAR; the access ends within it.
        offset: u64,
    },
    /// Answer with [`DeviceSession::write_done`], in order.
    Write {
        /// For the answer.
        tag: u32,
        /// 0 to 5, present.
        bar: u8,
        /// 1 to 8 bytes.
        len: u8,
        /// Offset in the BAR; the access ends within it.
        offset: u64,
        /// The low `len` bytes.
        data: u64,
    },
    /// A DMA read is answered.
    DmaReadDone {
        /// Of the request.
        tag: u32,
        /// Whether `data` is there.
        status: Status,
        /// As long as requested if so.
        data: &'a [u8],
    },
    /// A DMA write is answered.
    DmaWriteDone {
        /// Of the request.
        tag: u32,
        /// Whether it was done.
        status: Status,
    },
    /// Everything outstanding is void; answer with
    /// [`DeviceSession::reset_done`] when the logic has left its reset.
    Reset {
        /// For the answer.
        tag: u32,
        /// What the guest did.
        kind: ResetKind,
    },
    /// The host wants to know the simulated time now and each `interval` from
    /// now on, with [`DeviceSession::time`].
    Clock {
        /// Simulated nanoseconds; 0 to tell it no more.
        interval: u64,
    },
    /// What the guest has set in config space, all of it, for what comes after.
    /// Not from a host of an earlier version, see
    /// [`DeviceSession::host_tells_function`].
    Function(Function),
    /// Faults to have from now on; answer with [`DeviceSession::faults_done`].
    Faults {
        /// For the answer.
        tag: u32,
        /// The plan.
        text: &'a str,
    },
    /// A frame of another session, or a NOOP.
    Ignored,
}

#[derive(Clone, Copy, Debug)]
struct Dma {
    tag: u32,
    /// Bytes expected; 0 for a write.
    read: u32,
}

/// State of one device, over all its sessions.
#[derive(Debug)]
pub struct DeviceSession {
    config: Config,
    state: State,
    session: u64,
    window: u32,
    max_data: u32,
    reads: Vec<u32>,
    /// Writes that are outstanding: their tags end with the last one.
    writes: u32,
    /// Last write that is done and not reported.
    retired: Option<u32>,
    last_write: u32,
    dma: Vec<Dma>,
    last_dma: u32,
    last_reset: u32,
    resets_outstanding: u32,
    last_plan: u32,
    plans_outstanding: u32,
    /// The host wants to know the simulated time.
    timed: bool,
    /// Minor version of the host.
    minor: u8,
    /// Shared memory may be used.
    shares: bool,
    /// SHARE was sent and not answered.
    shared: bool,
    /// Session of the message that was looked at last, for [`Self::fail`].
    heard: u64,
    stale: u64,
}

impl DeviceSession {
    /// A device without a session.
    ///
    /// # Errors
    ///
    /// The rule that `config` breaks.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            state: State::Idle,
            session: 0,
            window: 0,
            max_data: MAX_DATA as u32,
            reads: Vec::new(),
            writes: 0,
            retired: None,
            last_write: 0,
            dma: Vec::with_capacity(MAX_DMA),
            last_dma: 0,
            last_reset: 0,
            resets_outstanding: 0,
            last_plan: 0,
            plans_outstanding: 0,
            timed: false,
            minor: 0,
            shares: false,
            shared: false,
            heard: 0,
            stale: 0,
        })
    }

    /// Whether shared memory may be used, where a host asks.
    pub fn shares(&mut self, shares: bool) {
        self.shares = shares;
    }

    /// Answers a host that has asked for shared memory: appends SHARE, if there is some to
    /// be had under that name, and CONFIG.
    pub fn answer(&mut self, name: Option<&str>, reply: &mut Vec<u8>) {
        if self.state != State::Init {
            return;
        }
        if let Some(name) = name {
            self.shared = true;
            Frame::Share { name }.encode(self.session, reply);
        }
        self.offer(reply);
    }

    fn offer(&mut self, reply: &mut Vec<u8>) {
        self.state = State::Configured;
        Frame::Config(self.config.clone()).encode(self.session, reply);
    }

    /// What the device says in the handshake.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the link is up.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether a host has a session: the handshake has begun, or the link is up.
    pub fn is_open(&self) -> bool {
        self.state != State::Idle
    }

    /// Number of the current or last session.
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// Whether the host of the session tells what the guest sets in config space:
    /// it speaks version 1.2.
    pub const fn host_tells_function(&self) -> bool {
        self.minor >= 2
    }

    /// Minor version of the host of the current or last session.
    pub const fn host_minor(&self) -> u8 {
        self.minor
    }

    /// Frames of other sessions that were ignored so far.
    pub const fn stale(&self) -> u64 {
        self.stale
    }

    /// DMA requests that may be outstanding with the host of the current or last session:
    /// [`MAX_DMA`], or [`MAX_DMA_BEFORE`] if it is of a version before 1.5.
    pub const fn max_dma(&self) -> usize {
        max_dma(self.minor)
    }

    /// DMA requests outstanding.
    pub fn dma_outstanding(&self) -> usize {
        self.dma.len()
    }

    /// Takes the first frame of a message and returns what it asks for and
    /// the rest of the message. What has to be answered at once (CONFIG) is
    /// appended to `reply`.
    ///
    /// # Errors
    ///
    /// What the host broke. Tell it with [`DeviceSession::fail`]; the rest of
    /// the message cannot be used.
    pub fn frame<'a>(
        &mut self,
        message: &'a [u8],
        reply: &mut Vec<u8>,
    ) -> Result<(DeviceEvent<'a>, &'a [u8]), Violation> {
        let (header, payload, rest) = split(message).inspect_err(|_| {
            self.heard = claimed_session(message).unwrap_or(self.session);
        })?;
        self.heard = header.session;
        // Only INIT may open another session; anything else of one is stale
        // and not worth decoding.
        let init = header.frame_type == crate::wire::frame_type::INIT;
        if !init && (self.state == State::Idle || header.session != self.session) {
            self.stale += 1;
            return Ok((DeviceEvent::Ignored, rest));
        }
        let frame = Frame::decode(&header, payload)?;
        let event = match frame {
            Frame::Init(_) if header.minor < needed_minor(&self.config) => {
                return Err(Violation::Older {
                    minor: header.minor,
                    since: needed_minor(&self.config),
                });
            }
            Frame::Init(init) => {
                let replaced = self.state == State::Up;
                self.void();
                self.session = header.session;
                self.window = init.write_window;
                self.max_data = init.max_data;
                self.last_write = 0;
                self.last_reset = 0;
                self.last_plan = 0;
                self.plans_outstanding = 0;
                self.resets_outstanding = 0;
                self.timed = false;
                self.minor = header.minor;
                self.shared = false;
                let asked = self.shares && init.features & FEATURE_SHARED_MEMORY != 0;
                if asked {
                    self.state = State::Init;
                } else {
                    self.offer(reply);
                }
                DeviceEvent::Offered {
                    host: Said::new(init.name),
                    replaced,
                    asked,
                }
            }
            frame => self.event(frame)?,
        };
        Ok((event, rest))
    }

    fn event<'a>(&mut self, frame: Frame<'a>) -> Result<DeviceEvent<'a>, Violation> {
        let name = frame.name();
        match (self.state, frame) {
            (_, Frame::Noop) => Ok(DeviceEvent::Ignored),
            (_, Frame::Refuse { reason, text }) => {
                self.disconnected();
                Ok(DeviceEvent::Down {
                    reason,
                    text: Said::new(text),
                })
            }
            (_, Frame::Bye { reason }) => {
                self.disconnected();
                Ok(DeviceEvent::Down {
                    reason,
                    text: Said::default(),
                })
            }
            (State::Configured, Frame::Attach { attached }) if self.shared => {
                self.shared = false;
                Ok(DeviceEvent::Attached(attached))
            }
            (State::Configured, Frame::Ready) if !self.shared => {
                self.state = State::Up;
                Ok(DeviceEvent::Up)
            }
            (State::Up, frame) => self.up(frame),
            _ => Err(self.unexpected(name)),
        }
    }

    fn unexpected(&self, frame: &'static str) -> Violation {
        Violation::Unexpected {
            frame,
            state: self.state,
        }
    }

    fn up<'a>(&mut self, frame: Frame<'a>) -> Result<DeviceEvent<'a>, Violation> {
        let name = frame.name();
        match frame {
            Frame::MmioRead {
                tag,
                bar,
                len,
                offset,
            } => {
                self.check_range("MMIO_READ", bar, len, offset)?;
                if self.reads.contains(&tag) || self.reads.len() >= MAX_READS {
                    return Err(Violation::Tag {
                        frame: "MMIO_READ",
                        found: tag,
                        expected: format!("{} reads, none with this tag", self.reads.len()),
                    });
                }
                self.reads.push(tag);
                Ok(DeviceEvent::Read {
                    tag,
                    bar,
                    len,
                    offset,
                })
            }
            Frame::MmioWrite {
                tag,
                bar,
                len,
                offset,
                data,
            } => {
                self.check_range("MMIO_WRITE", bar, len, offset)?;
                let expected = self.last_write.wrapping_add(1);
                if tag != expected || self.writes >= self.window {
                    return Err(Violation::Tag {
                        frame: "MMIO_WRITE",
                        found: tag,
                        expected: format!(
                            "{} writes of {}, the next is {expected}",
                            self.writes, self.window
                        ),
                    });
                }
                self.last_write = tag;
                self.writes += 1;
                Ok(DeviceEvent::Write {
                    tag,
                    bar,
                    len,
                    offset,
                    data,
                })
            }
            Frame::DmaReadDone { tag, status, data } => {
                let dma = self.take_dma("DMA_READ_DONE", tag, true)?;
                if status == Status::Ok && data.len() != dma.read as usize {
                    return Err(Violation::Length {
                        frame: "DMA_READ_DONE",
                        found: data.len(),
                        expected: dma.read as usize,
                    });
                }
                Ok(DeviceEvent::DmaReadDone { tag, status, data })
            }
            Frame::DmaWriteDone { tag, status } => {
                self.take_dma("DMA_WRITE_DONE", tag, false)?;
                Ok(DeviceEvent::DmaWriteDone { tag, status })
            }
            Frame::Reset { tag, kind } => {
                let expected = self.last_reset.wrapping_add(1);
                if tag != expected {
                    return Err(Violation::Tag {
                        frame: "RESET",
                        found: tag,
                        expected: format!(
                            "{} resets, the next is {expected}",
                            self.resets_outstanding
                        ),
                    });
                }
                self.void();
                self.last_reset = tag;
                self.resets_outstanding = self.resets_outstanding.saturating_add(1);
                Ok(DeviceEvent::Reset { tag, kind })
            }
            Frame::Clock { interval } => {
                if self.config.clock_period_ps == 0 {
                    return Err(Violation::Wire(WireError::Field {
                        name: "clock interval",
                        found: interval,
                        expected: "no CLOCK frame, since clock_period_ps of the configuration is 0",
                    }));
                }
                self.timed = interval != 0;
                Ok(DeviceEvent::Clock { interval })
            }
            Frame::Function(function) => Ok(DeviceEvent::Function(function)),
            Frame::Faults { tag, text } => {
                let expected = self.last_plan.wrapping_add(1);
                if tag != expected || self.plans_outstanding as usize >= MAX_PLANS {
                    return Err(Violation::Tag {
                        frame: "FAULTS",
                        found: tag,
                        expected: format!(
                            "{} plans of {MAX_PLANS}, the next is {expected}",
                            self.plans_outstanding
                        ),
                    });
                }
                self.last_plan = tag;
                self.plans_outstanding += 1;
                Ok(DeviceEvent::Faults { tag, text })
            }
            _ => Err(self.unexpected(name)),
        }
    }

    fn check_range(
        &self,
        frame: &'static str,
        bar: u8,
        len: u8,
        offset: u64,
    ) -> Result<(), Violation> {
        // `bar` is below six, the frame was decoded.
        let size = self.config.bars[usize::from(bar)].size;
        match offset.checked_add(u64::from(len)) {
            Some(end) if end <= size => Ok(()),
            _ => Err(Violation::Range {
                frame,
                bar,
                offset,
                len,
                size,
            }),
        }
    }

    fn take_dma(&mut self, frame: &'static str, tag: u32, read: bool) -> Result<Dma, Violation> {
        match self
            .dma
            .iter()
            .position(|d| d.tag == tag && (d.read != 0) == read)
        {
            Some(i) => Ok(self.dma.swap_remove(i)),
            None => Err(Violation::Tag {
                frame,
                found: tag,
                expected: format!("{} DMA requests, none of them this one", self.dma.len()),
            }),
        }
    }

    fn put(&self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        frame.encode(self.session, out);
    }

    /// Appends the answer to a read. False, and nothing appended, if the read
    /// is not outstanding (any more).
    pub fn read_done(
        &mut self,
        tag: u32,
        len: u8,
        status: Status,
        data: u64,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(i) = self.reads.iter().position(|&t| t == tag) else {
            return false;
        };
        self.reads.swap_remove(i);
        let data = mask(data, len);
        self.put(&Frame::MmioReadDone { tag, status, data }, out);
        true
    }

    /// The oldest outstanding write is done. False if `tag` is not that write.
    fn take_write(&mut self, tag: u32) -> bool {
        let is_oldest = self.writes != 0 && self.last_write.wrapping_sub(tag) == self.writes - 1;
        self.writes -= u32::from(is_oldest);
        is_oldest
    }

    /// Appends the report that the oldest outstanding write is done. False,
    /// and nothing appended, if `tag` is not that write.
    pub fn write_done(&mut self, tag: u32, status: Status, out: &mut Vec<u8>) -> bool {
        if !self.take_write(tag) {
            return false;
        }
        // It reports those before it as well.
        self.retired = None;
        self.put(&Frame::MmioWriteDone { tag, status }, out);
        true
    }

    /// Notes that the oldest outstanding write is done, with status OK, to be
    /// reported later together with others. False if `tag` is not that write.
    pub fn write_retired(&mut self, tag: u32) -> bool {
        if !self.take_write(tag) {
            return false;
        }
        self.retired = Some(tag);
        true
    }

    /// Whether writes are done and not reported.
    pub const fn unreported(&self) -> bool {
        self.retired.is_some()
    }

    /// Appends the report of the writes that [`DeviceSession::write_retired`]
    /// has noted, if there are any.
    pub fn report_writes(&mut self, out: &mut Vec<u8>) {
        if let Some(tag) = self.retired.take() {
            let status = Status::Ok;
            self.put(&Frame::MmioWriteDone { tag, status }, out);
        }
    }

    /// Largest DMA request that the host takes.
    pub const fn max_data(&self) -> u32 {
        self.max_data
    }

    /// A tag for a DMA request that the device carries out by itself, of which the host hears
    /// nothing: different from those outstanding. `None` if no request may be made.
    pub fn own_tag(&mut self) -> Option<u32> {
        self.can_send().then(|| self.next_tag())
    }

    fn new_dma(&mut self, read: u32) -> Option<u32> {
        if !self.can_send() || self.dma.len() >= self.max_dma() {
            return None;
        }
        let tag = self.next_tag();
        self.dma.push(Dma { tag, read });
        Some(tag)
    }

    /// Positive as a C int, so that it can be a return value beside errors. After 2^31
    /// requests the numbers come again, but never one that is still outstanding.
    fn next_tag(&mut self) -> u32 {
        loop {
            self.last_dma = (self.last_dma + 1) & 0x7fff_ffff;
            if !self.dma.iter().any(|d| d.tag == self.last_dma) {
                return self.last_dma;
            }
        }
    }

    /// Whether requests and interrupts may be sent: the link is up and the
    /// device is not in a reset, during which the host takes none of them.
    pub fn can_send(&self) -> bool {
        self.is_up() && self.resets_outstanding == 0
    }

    /// Appends a DMA read and returns its tag. `None` if the link is down,
    /// a reset is not answered yet, [`Self::max_dma`] requests are outstanding or the
    /// range is not one that the host takes.
    pub fn dma_read(&mut self, addr: u64, len: u32, out: &mut Vec<u8>) -> Option<u32> {
        if len == 0 || len > self.max_data || addr.checked_add(u64::from(len) - 1).is_none() {
            return None;
        }
        let tag = self.new_dma(len)?;
        self.put(&Frame::DmaRead { tag, addr, len }, out);
        Some(tag)
    }

    /// Appends a DMA write and returns its tag. `enables` has one bit per
    /// byte; leave it out if all are set. Bits beyond the last byte are sent as
    /// zero. `None` as for
    /// [`DeviceSession::dma_read`], or if `enables` has another length.
    pub fn dma_write(
        &mut self,
        addr: u64,
        data: &[u8],
        enables: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        let len = data.len() as u64;
        if len == 0 || len > u64::from(self.max_data) || addr.checked_add(len - 1).is_none() {
            return None;
        }
        if enables.is_some_and(|e| e.len() != data.len().div_ceil(8)) {
            return None;
        }
        let tag = self.new_dma(0)?;
        self.put(
            &Frame::DmaWrite {
                tag,
                addr,
                data,
                enables,
            },
            out,
        );
        if enables.is_some() && data.len() % 8 != 0 {
            if let Some(last) = out.last_mut() {
                *last &= (1 << (data.len() % 8)) - 1;
            }
        }
        Some(tag)
    }

    /// Appends an interrupt, of MSI-X or MSI, whichever the guest has enabled. False, and nothing appended, if the link is down,
    /// a reset is not answered yet or the function has no such vector.
    pub fn msix(&self, vector: u16, out: &mut Vec<u8>) -> bool {
        if !self.can_send() || vector >= self.config.vectors() {
            return false;
        }
        self.put(&Frame::Msix { vector }, out);
        true
    }

    /// Whether the host is told of errors: it speaks version 1.4.
    pub const fn host_knows_errors(&self) -> bool {
        self.minor >= FAULTS_MINOR
    }

    /// Appends the answer to the oldest plan of faults. False, and nothing appended, if there
    /// is none.
    pub fn faults_done(&mut self, refused: bool, text: &str, out: &mut Vec<u8>) -> bool {
        if !self.is_up() || self.plans_outstanding == 0 {
            return false;
        }
        self.plans_outstanding -= 1;
        let tag = self.last_plan.wrapping_sub(self.plans_outstanding);
        self.put(&Frame::FaultsDone { tag, refused, text }, out);
        true
    }

    /// Appends an error that a fault has made; `read` is the tag of the MMIO read that it is
    /// about, which is not answered yet. False, and nothing appended, if the link is down, a
    /// reset is not answered yet or the host does not know errors.
    pub fn error(&self, kind: ErrorKind, read: Option<u32>, out: &mut Vec<u8>) -> bool {
        if !self.can_send() || !self.host_knows_errors() {
            return false;
        }
        let tag = read.unwrap_or(0);
        self.put(&Frame::Error { tag, kind }, out);
        true
    }

    /// Appends the level of the INTx pin. False, and nothing appended, if the
    /// link is down, a reset is not answered yet or the function has no pin.
    pub fn intx(&self, level: bool, out: &mut Vec<u8>) -> bool {
        if !self.can_send() || self.config.intx_pin == 0 {
            return false;
        }
        self.put(&Frame::Intx { level }, out);
        true
    }

    /// Appends the simulated time in nanoseconds, not earlier than in the last
    /// one of the session. False, and nothing appended, if the link is down or the
    /// host has not asked for it.
    pub fn time(&self, ns: u64, out: &mut Vec<u8>) -> bool {
        if !self.is_up() || !self.timed {
            return false;
        }
        self.put(&Frame::Time { ns }, out);
        true
    }

    /// Appends the answer to a reset, which answers those before it as well.
    /// False, and nothing appended, if the link is down or the reset is not
    /// outstanding.
    pub fn reset_done(&mut self, tag: u32, out: &mut Vec<u8>) -> bool {
        let later = self.last_reset.wrapping_sub(tag);
        if !self.is_up() || later >= self.resets_outstanding {
            return false;
        }
        self.resets_outstanding = later;
        self.put(&Frame::ResetDone { tag }, out);
        true
    }

    /// Ends the session because the host broke the protocol. The REFUSE goes
    /// to the session of the message that [`DeviceSession::frame`] was given
    /// last, so that a host whose INIT is bad learns it too.
    pub fn fail(&mut self, reason: Reason, text: &str, out: &mut Vec<u8>) {
        Frame::Refuse { reason, text }.encode(self.heard, out);
        self.disconnected();
    }

    /// Ends the session in order, if there is one.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.state != State::Idle {
            self.put(
                &Frame::Bye {
                    reason: Reason::Closing,
                },
                out,
            );
        }
        self.disconnected();
    }

    /// The peer is gone: nothing is outstanding any more.
    pub fn disconnected(&mut self) {
        self.state = State::Idle;
        self.resets_outstanding = 0;
        self.plans_outstanding = 0;
        self.timed = false;
        self.void();
    }

    fn void(&mut self) {
        self.reads.clear();
        self.writes = 0;
        self.retired = None;
        self.dma.clear();
    }
}
