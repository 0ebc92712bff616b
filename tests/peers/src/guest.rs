// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest without QEMU: accesses BARs, serves DMA from its own memory and
//! counts interrupts.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use accelerator_carrier::end::Side;
use accelerator_protocol::{
    config::Config,
    function::Function,
    host::{HostEvent, HostSession, State},
    is_local,
    keys::{Key, Pair},
    wire::{ErrorKind, Reason, ResetKind, Status},
};

use crate::{
    memory::{self, Memory},
    poll_ms, zmq_error, Error,
};

/// Posted writes that a guest keeps outstanding if not told otherwise.
pub const WINDOW: u32 = 64;

/// Something that the device did, in the order of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of `HostEvent`.
pub enum Activity {
    DmaRead { addr: u64, len: u32, status: Status },
    DmaWrite { addr: u64, len: u32, status: Status },
    Msix { vector: u16 },
    BadVector { vector: u16 },
    Intx { level: bool },
    ReadDone { tag: u32 },
    LateRead { tag: u32 },
    WritesDone { count: u32, status: Status },
    ResetDone,
    Time { ns: u64 },
    FaultsDone { refused: bool, text: String },
    Error { kind: ErrorKind },
    Closed,
}

/// A host endpoint with memory, single-threaded: whatever the device sends is
/// served while one of the methods waits.
pub struct GuestEndpoint {
    socket: zmq::Socket,
    session: HostSession,
    /// What carries the session, if not the socket.
    shared: Memory,
    config: Config,
    memory: Vec<u8>,
    base: u64,
    bus_master: bool,
    function: Function,
    answers: Vec<(u32, Status, u64)>,
    interrupts: Vec<u64>,
    intx: bool,
    activity: VecDeque<Activity>,
    down: Option<(Reason, String)>,
    // After the socket, so that it is dropped last.
    _context: zmq::Context,
}

/// How many activities are kept; the oldest ones go first.
const KEPT: usize = 1 << 16;

impl GuestEndpoint {
    /// Connects to a simulator and waits until the link is up. The guest has
    /// `memory` bytes of memory from bus address `base`, and bus mastering on.
    ///
    /// # Errors
    ///
    /// Nobody is there in time, the peer refuses, or its configuration breaks a
    /// rule.
    pub fn connect(
        endpoint: &str,
        base: u64,
        memory: usize,
        timeout: Duration,
    ) -> Result<Self, Error> {
        Self::connect_with(endpoint, base, memory, WINDOW, timeout)
    }

    /// As [`GuestEndpoint::connect`] with a window of posted writes.
    ///
    /// # Errors
    ///
    /// As [`GuestEndpoint::connect`].
    pub fn connect_with(
        endpoint: &str,
        base: u64,
        memory: usize,
        window: u32,
        timeout: Duration,
    ) -> Result<Self, Error> {
        Self::connect_keyed(endpoint, base, memory, window, timeout, None)
    }

    /// As [`GuestEndpoint::connect_with`]; with keys, to the owner of the second.
    ///
    /// # Errors
    ///
    /// As [`GuestEndpoint::connect`].
    pub fn connect_keyed(
        endpoint: &str,
        base: u64,
        memory: usize,
        window: u32,
        timeout: Duration,
        keys: Option<(&Pair, &Key)>,
    ) -> Result<Self, Error> {
        let context = zmq::Context::new();
        let socket = accelerator_host::socket::dealer(&context, endpoint, keys)?;
        let session = accelerator_carrier::random::session_number();
        let mut session = HostSession::new(session, window);
        session.share(memory::wanted() && is_local(endpoint));
        let mut guest = Self {
            socket,
            session,
            shared: Memory::default(),
            config: Config::default(),
            memory: vec![0; memory],
            base,
            bus_master: true,
            function: Function {
                memory_space: true,
                bus_master: true,
                ..Function::default()
            },
            answers: Vec::new(),
            interrupts: Vec::new(),
            intx: false,
            activity: VecDeque::new(),
            down: None,
            _context: context,
        };
        let mut out = Vec::new();
        guest.session.init("guest without QEMU", &mut out);
        guest.send(&out)?;
        guest.pump_until("configuration", timeout, |g| {
            g.session.state() == State::Configured
        })?;
        out.clear();
        guest.session.accept(&mut out);
        guest.send(&out)?;
        out.clear();
        guest.shared.begin(Side::Host, true);
        guest.session.function(&guest.function, &mut out);
        guest.send(&out)?;
        Ok(guest)
    }

    /// What the device said about itself.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The session's state, to look at.
    pub const fn session(&self) -> &HostSession {
        &self.session
    }

    /// The guest's memory; index 0 is bus address `base`.
    pub fn memory(&self) -> &[u8] {
        &self.memory
    }

    /// The guest's memory, to fill it.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The bus address of the first byte of memory.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Sets Bus Master Enable; without it every DMA request is refused.
    pub fn set_bus_master(&mut self, on: bool) {
        self.bus_master = on;
    }

    /// How often a vector was raised since it was last asked for.
    pub fn take_interrupts(&mut self, vector: u16) -> u64 {
        self.interrupts
            .get_mut(usize::from(vector))
            .map_or(0, std::mem::take)
    }

    /// Level of the INTx pin.
    pub const fn intx(&self) -> bool {
        self.intx
    }

    /// What the device did since the last call, in order.
    pub fn take_activity(&mut self) -> Vec<Activity> {
        self.activity.drain(..).collect()
    }

    /// Why the session is over, if it is.
    pub const fn down(&self) -> Option<&(Reason, String)> {
        self.down.as_ref()
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        if message.is_empty() || self.shared.send(message)? {
            return Ok(());
        }
        self.socket
            .send(message, 0)
            .map_err(zmq_error("cannot send to the device"))
    }

    /// Sends any bytes, for hostile tests.
    ///
    /// # Errors
    ///
    /// ZeroMQ refused it.
    pub fn inject_raw(&mut self, message: &[u8]) -> Result<(), Error> {
        self.send(message)
    }

    /// Writes bytes anywhere into the shared memory of the session, see
    /// [`Memory::scribble`].
    pub fn scribble(&self, offset: u64, bytes: &[u8]) -> bool {
        self.shared.scribble(offset, bytes)
    }

    /// A word of the shared memory of the session, see [`Memory::word`].
    pub fn shared_word(&self, offset: u64) -> Option<u64> {
        self.shared.word(offset)
    }

    /// Lets the device use all of a file in place of the memory, without asking, until
    /// [`Self::take_back`]. False if the session goes through the socket.
    ///
    /// # Errors
    ///
    /// The device does not take the file.
    pub fn give(&mut self, file: &std::fs::File) -> Result<bool, Error> {
        self.shared.give(self.base, file)
    }

    /// The device uses it no more when this returns.
    ///
    /// # Panics
    ///
    /// The device stays in the middle of a copy.
    pub fn take_back(&mut self) {
        self.shared.take_back();
    }

    /// Lets the device use so many bytes of it again.
    pub fn give_again(&mut self, bytes: u64) -> bool {
        self.shared.give_again(self.base, bytes)
    }

    /// Serves the device until `done` says so.
    ///
    /// # Errors
    ///
    /// It does not in time; the device broke the protocol or ended the session.
    pub fn pump_until(
        &mut self,
        what: &str,
        timeout: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if done(self) {
                return Ok(());
            }
            if let Some((reason, text)) = &self.down {
                return Err(Error::Down {
                    reason: *reason,
                    text: text.clone(),
                });
            }
            if let Some(message) = self.shared.receive()? {
                self.take(&message)?;
                continue;
            }
            match self.socket.recv_bytes(zmq::DONTWAIT) {
                Ok(message) => {
                    self.take(&message)?;
                    continue;
                }
                Err(zmq::Error::EAGAIN) => {}
                Err(zmq::Error::EINTR) => continue,
                Err(e) => return Err(zmq_error("cannot receive")(e)),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout {
                    what: what.to_owned(),
                    waited: timeout,
                });
            }
            let (may_sleep, other) = self.shared.sleeps_on();
            if !may_sleep {
                continue;
            }
            let socket = self.socket.as_poll_item(zmq::POLLIN);
            let other = other.map(|fd| zmq::PollItem::from_fd(fd, zmq::POLLIN));
            let mut items: Vec<_> = std::iter::once(socket).chain(other).collect();
            match zmq::poll(&mut items, poll_ms(left)) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(e) => return Err(zmq_error("cannot wait for a message")(e)),
            }
            if !self.shared.awake() {
                // A connection that is gone stays readable.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Serves the device for some time, whatever comes.
    ///
    /// # Errors
    ///
    /// The device broke the protocol or ended the session.
    pub fn pump_for(&mut self, time: Duration) -> Result<(), Error> {
        match self.pump_until("", time, |_| false) {
            Err(Error::Timeout { .. }) => Ok(()),
            other => other,
        }
    }

    fn take(&mut self, message: &[u8]) -> Result<(), Error> {
        let mut rest = message;
        while !rest.is_empty() {
            let (event, tail) = self.session.frame(rest)?;
            rest = tail;
            let mut out = Vec::new();
            let activity = match event {
                HostEvent::Share { name } => {
                    let taken = self.shared.claim(name).is_ok();
                    self.session.attach(taken);
                    None
                }
                HostEvent::Configured(config) => {
                    self.interrupts = vec![0; config.vectors().into()];
                    self.config = config;
                    None
                }
                HostEvent::Refused { reason, text } => {
                    self.down = Some((reason, text.raw().to_owned()));
                    Some(Activity::Closed)
                }
                HostEvent::Closed { reason } => {
                    self.down = Some((reason, String::new()));
                    Some(Activity::Closed)
                }
                HostEvent::ReadDone { tag, status, data } => {
                    self.answers.push((tag, status, data));
                    Some(Activity::ReadDone { tag })
                }
                HostEvent::LateRead { tag } => Some(Activity::LateRead { tag }),
                HostEvent::WritesDone { count, status } => {
                    Some(Activity::WritesDone { count, status })
                }
                HostEvent::DmaRead { tag, addr, len } => {
                    let (status, data) = match self.range(addr, len) {
                        Ok(range) => (Status::Ok, &self.memory[range]),
                        Err(status) => (status, &[][..]),
                    };
                    self.session.dma_read_done(tag, status, data, &mut out);
                    Some(Activity::DmaRead { addr, len, status })
                }
                HostEvent::DmaWrite {
                    tag,
                    addr,
                    data,
                    enables,
                } => {
                    let len = data.len() as u32;
                    let status = match self.range(addr, len) {
                        Ok(range) => {
                            let memory = &mut self.memory[range];
                            for (i, (to, from)) in memory.iter_mut().zip(data).enumerate() {
                                if enables.is_none_or(|e| e[i / 8] >> (i % 8) & 1 != 0) {
                                    *to = *from;
                                }
                            }
                            Status::Ok
                        }
                        Err(status) => status,
                    };
                    self.session.dma_write_done(tag, status, &mut out);
                    Some(Activity::DmaWrite { addr, len, status })
                }
                HostEvent::Msix { vector } => {
                    self.interrupts[usize::from(vector)] += 1;
                    Some(Activity::Msix { vector })
                }
                HostEvent::BadVector { vector, .. } => Some(Activity::BadVector { vector }),
                HostEvent::Intx { level } => {
                    self.intx = level;
                    Some(Activity::Intx { level })
                }
                HostEvent::ResetDone => Some(Activity::ResetDone),
                HostEvent::Time { ns } => Some(Activity::Time { ns }),
                HostEvent::FaultsDone { refused, text, .. } => {
                    let text = text.to_string();
                    Some(Activity::FaultsDone { refused, text })
                }
                HostEvent::Error { kind } => Some(Activity::Error { kind }),
                HostEvent::Ignored(_) => None,
            };
            if let Some(activity) = activity {
                if self.activity.len() >= KEPT {
                    self.activity.pop_front();
                }
                self.activity.push_back(activity);
            }
            if !out.is_empty() {
                self.send(&out)?;
            }
        }
        Ok(())
    }

    /// Where a DMA request lies in memory, or how it ends.
    fn range(&self, addr: u64, len: u32) -> Result<std::ops::Range<usize>, Status> {
        if !self.bus_master {
            return Err(Status::Refused);
        }
        let start = addr.checked_sub(self.base).ok_or(Status::Fault)?;
        let end = start.checked_add(u64::from(len)).ok_or(Status::Fault)?;
        if end > self.memory.len() as u64 {
            return Err(Status::Fault);
        }
        Ok(start as usize..end as usize)
    }

    /// Sends a read and returns its tag.
    ///
    /// # Errors
    ///
    /// The link is down.
    pub fn start_read(&mut self, bar: u8, offset: u64, len: u8) -> Result<u32, Error> {
        let mut out = Vec::new();
        let tag = self.session.read(bar, offset, len, &mut out);
        let tag = tag.ok_or_else(|| Error::Refused("read while the link is down".into()))?;
        self.send(&out)?;
        Ok(tag)
    }

    /// Waits for the completion of a read, serving the device meanwhile.
    ///
    /// # Errors
    ///
    /// None comes in time (the read is then given up); [`Error::Status`] if the
    /// device answers with an error.
    pub fn finish_read(&mut self, tag: u32, timeout: Duration) -> Result<u64, Error> {
        let what = format!("completion of read {tag}");
        let waited = self.pump_until(&what, timeout, |g| g.answers.iter().any(|a| a.0 == tag));
        if let Err(e) = waited {
            self.session.abandon(tag);
            return Err(e);
        }
        match self.answers.iter().position(|a| a.0 == tag) {
            Some(i) => match self.answers.swap_remove(i) {
                (_, Status::Ok, data) => Ok(data),
                (_, status, _) => Err(Error::Status {
                    what: format!("read {tag}"),
                    status,
                }),
            },
            None => Err(Error::Timeout {
                what,
                waited: timeout,
            }),
        }
    }

    /// Reads `len` bytes, 1 to 8, from a BAR.
    ///
    /// # Errors
    ///
    /// As [`GuestEndpoint::start_read`] and [`GuestEndpoint::finish_read`].
    pub fn read(&mut self, bar: u8, offset: u64, len: u8, timeout: Duration) -> Result<u64, Error> {
        let tag = self.start_read(bar, offset, len)?;
        self.finish_read(tag, timeout)
    }

    /// Sends a posted write of `len` bytes, 1 to 8; waits only if the window is
    /// full.
    ///
    /// # Errors
    ///
    /// The link is down, or there is no room in time.
    pub fn write(
        &mut self,
        bar: u8,
        offset: u64,
        len: u8,
        data: u64,
        timeout: Duration,
    ) -> Result<(), Error> {
        if self.session.is_up() && !self.session.can_write() {
            self.pump_until("room in the write window", timeout, |g| {
                g.session.can_write()
            })?;
        }
        let mut out = Vec::new();
        let tag = self.session.write(bar, offset, len, data, &mut out);
        tag.ok_or_else(|| Error::Refused("write while the link is down".into()))?;
        self.send(&out)
    }

    /// Waits until every write is done.
    ///
    /// # Errors
    ///
    /// They are not in time.
    pub fn flush(&mut self, timeout: Duration) -> Result<(), Error> {
        self.pump_until("completion of all writes", timeout, |g| {
            g.session.writes_outstanding() == 0
        })
    }

    /// Resets the function and waits until it has left its reset.
    ///
    /// # Errors
    ///
    /// It does not in time.
    pub fn reset(&mut self, kind: ResetKind, timeout: Duration) -> Result<(), Error> {
        self.start_reset(kind)?;
        self.pump_until("answer to the reset", timeout, |g| {
            !g.session.reset_pending()
        })
    }

    /// Asks for the simulated time, each `interval` nanoseconds of it; 0 for no
    /// more.
    ///
    /// # Errors
    ///
    /// The link is down, or the device has no clock.
    pub fn clock(&mut self, interval: u64) -> Result<(), Error> {
        let mut out = Vec::new();
        if !self.session.clock(interval, &mut out) {
            return Err(Error::Refused("no link, or no clock to ask for".into()));
        }
        self.send(&out)
    }

    /// Gives the device a plan of faults.
    ///
    /// # Errors
    ///
    /// The link is down, or the device does not take one.
    pub fn faults(&mut self, text: &str) -> Result<(), Error> {
        let mut out = Vec::new();
        if self.session.faults(text, &mut out).is_none() {
            return Err(Error::Refused("no link, or no faults to be had".into()));
        }
        self.send(&out)
    }

    /// Sets the function's config space, and tells the device; DMA goes by
    /// [`GuestEndpoint::set_bus_master`] all the same.
    ///
    /// # Errors
    ///
    /// ZeroMQ refused it.
    pub fn set_function(&mut self, function: Function) -> Result<(), Error> {
        self.function = function;
        let mut out = Vec::new();
        self.session.function(&function, &mut out);
        if out.is_empty() {
            return Ok(());
        }
        self.send(&out)
    }

    /// Resets the function without waiting for its answer.
    ///
    /// # Errors
    ///
    /// The link is down.
    pub fn start_reset(&mut self, kind: ResetKind) -> Result<(), Error> {
        if !self.session.is_up() {
            return Err(Error::Refused("reset while the link is down".into()));
        }
        let mut out = Vec::new();
        self.session.reset(kind, &mut out);
        self.function = Function::default();
        self.session.function(&self.function, &mut out);
        self.answers.clear();
        self.intx = false;
        self.send(&out)
    }

    /// Waits for a vector to be raised and takes one of its interrupts.
    ///
    /// # Errors
    ///
    /// It is not raised in time.
    pub fn wait_msix(&mut self, vector: u16, timeout: Duration) -> Result<(), Error> {
        let index = usize::from(vector);
        self.pump_until(&format!("MSI-X vector {vector}"), timeout, |g| {
            g.interrupts.get(index).is_some_and(|&n| n > 0)
        })?;
        self.interrupts[index] -= 1;
        Ok(())
    }

    /// Ends the session in order.
    ///
    /// # Errors
    ///
    /// ZeroMQ refused it.
    pub fn close(&mut self) -> Result<(), Error> {
        let mut out = Vec::new();
        if self.session.is_up() {
            self.session.close(&mut out);
            self.send(&out)?;
        }
        Ok(())
    }
}
