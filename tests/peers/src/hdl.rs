// SPDX-License-Identifier: MIT OR Apache-2.0

//! An HDL endpoint without a simulator.

use std::{
    collections::VecDeque,
    os::fd::RawFd,
    time::{Duration, Instant},
};

use accelerator_carrier::end::Side;
use accelerator_curve::Guard;
use accelerator_protocol::{
    config::{Bar, Config, Msix},
    device::{refuse_message, DeviceEvent, DeviceSession},
    function::Function,
    is_local,
    keys::{Key, Pair},
    wire::{frame_type, ErrorKind, Frame, Header, Reason, ResetKind, Status, MAX_MESSAGE},
};

use crate::{
    memory::{self, Memory, Sharing},
    poll_ms, zmq_error, Error, PATIENCE,
};

/// A message and who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Identity of the sender, to answer it.
    pub peer: Vec<u8>,
    /// Its bytes.
    pub message: Vec<u8>,
}

/// A bound ROUTER socket that sends and receives messages as they are.
pub struct RawEndpoint {
    socket: zmq::Socket,
    endpoint: String,
    // After the socket, so that they are dropped last.
    _guard: Option<Guard>,
    _context: zmq::Context,
}

impl RawEndpoint {
    /// Binds `endpoint`.
    ///
    /// # Errors
    ///
    /// The endpoint is taken, or none that ZeroMQ can bind.
    pub fn bind(endpoint: &str) -> Result<Self, Error> {
        Self::bind_keyed(endpoint, None)
    }

    /// Binds `endpoint`; with keys, for those who own one of the second.
    ///
    /// # Errors
    ///
    /// As for [`RawEndpoint::bind`].
    pub fn bind_keyed(endpoint: &str, keys: Option<(&Pair, &[Key])>) -> Result<Self, Error> {
        let context = zmq::Context::new();
        let socket = context
            .socket(zmq::ROUTER)
            .map_err(zmq_error("cannot make a socket"))?;
        socket
            .set_linger(200)
            .and_then(|()| socket.set_maxmsgsize(MAX_MESSAGE as i64))
            // Sending to a peer that is gone is an error, not a silent loss.
            .and_then(|()| socket.set_router_mandatory(true))
            // Whoever floods a peer that does not read shall notice.
            .and_then(|()| socket.set_sndhwm(100_000))
            .map_err(zmq_error("cannot set up the socket"))?;
        let guard = keys
            .map(|(pair, clients)| {
                accelerator_curve::serve(&context, &socket, pair, clients, |_, _| {})
            })
            .transpose()
            .map_err(Error::Refused)?;
        socket
            .bind(endpoint)
            .map_err(zmq_error(&format!("cannot bind {endpoint}")))?;
        Ok(Self {
            socket,
            endpoint: endpoint.to_owned(),
            _guard: guard,
            _context: context,
        })
    }

    /// What it is bound to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The next message. `None` if none comes.
    ///
    /// # Errors
    ///
    /// ZeroMQ refused something, or the message has not exactly one part.
    pub fn receive(&self, timeout: Duration) -> Result<Option<Received>, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(received) = self.try_receive()? {
                return Ok(Some(received));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait(None, left)?;
        }
    }

    /// Waits until there may be a message, or something else is readable.
    fn wait(&self, other: Option<RawFd>, timeout: Duration) -> Result<(), Error> {
        let socket = self.socket.as_poll_item(zmq::POLLIN);
        let other = other.map(|fd| zmq::PollItem::from_fd(fd, zmq::POLLIN));
        let mut items: Vec<_> = std::iter::once(socket).chain(other).collect();
        match zmq::poll(&mut items, poll_ms(timeout)) {
            Ok(_) | Err(zmq::Error::EINTR) => Ok(()),
            Err(e) => Err(zmq_error("cannot wait for a message")(e)),
        }
    }

    fn try_receive(&self) -> Result<Option<Received>, Error> {
        loop {
            match self.socket.recv_multipart(zmq::DONTWAIT) {
                Ok(mut parts) if parts.len() == 2 => {
                    let message = parts.pop().unwrap_or_default();
                    let peer = parts.pop().unwrap_or_default();
                    return Ok(Some(Received { peer, message }));
                }
                Ok(parts) => {
                    return Err(Error::Unexpected {
                        expected: "a message of one part".into(),
                        found: format!("{} parts", parts.len().saturating_sub(1)),
                    })
                }
                Err(zmq::Error::EAGAIN) => return Ok(None),
                Err(zmq::Error::EINTR) => {}
                Err(e) => return Err(zmq_error("cannot receive")(e)),
            }
        }
    }

    /// Sends one message of the given parts.
    ///
    /// # Errors
    ///
    /// The peer is gone or does not read.
    pub fn send_parts(&self, peer: &[u8], parts: &[&[u8]]) -> Result<(), Error> {
        let all = std::iter::once(peer).chain(parts.iter().copied());
        self.socket
            .send_multipart(all, zmq::DONTWAIT)
            .map_err(zmq_error("cannot send to the host"))
    }

    /// Sends one message of one part.
    ///
    /// # Errors
    ///
    /// The peer is gone or does not read.
    pub fn send(&self, peer: &[u8], message: &[u8]) -> Result<(), Error> {
        self.send_parts(peer, &[message])
    }

    /// Waits for an INIT; returns who sent it and the session that it opens.
    ///
    /// # Errors
    ///
    /// None comes in time, or something else does.
    pub fn wait_for_init(&self, timeout: Duration) -> Result<(Vec<u8>, u64), Error> {
        let Some(Received { peer, message }) = self.receive(timeout)? else {
            return Err(Error::Timeout {
                what: "INIT".into(),
                waited: timeout,
            });
        };
        let header = Header::decode(&message).map_err(|e| Error::Violation(e.into()))?;
        if header.frame_type != frame_type::INIT {
            return Err(Error::Unexpected {
                expected: "INIT".into(),
                found: format!("frame type {:#04x}", header.frame_type),
            });
        }
        Ok((peer, header.session))
    }
}

/// What the host asks of the device, as [`DeviceEvent`] but owned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields are those of `DeviceEvent`.
pub enum Event {
    /// A host wants a session; it was sent the configuration.
    Offered { host: String, replaced: bool },
    /// The link is up.
    Up,
    /// The session is over.
    Down { reason: Reason, text: String },
    /// Answer with [`HdlEndpoint::read_done`].
    Read {
        tag: u32,
        bar: u8,
        len: u8,
        offset: u64,
    },
    /// Answer with [`HdlEndpoint::write_done`], in order.
    Write {
        tag: u32,
        bar: u8,
        len: u8,
        offset: u64,
        data: u64,
    },
    /// A DMA read is answered.
    DmaReadDone {
        tag: u32,
        status: Status,
        data: Vec<u8>,
    },
    /// A DMA write is answered.
    DmaWriteDone { tag: u32, status: Status },
    /// Answer with [`HdlEndpoint::reset_done`].
    Reset { tag: u32, kind: ResetKind },
    /// The host wants to know the simulated time, see [`HdlEndpoint::time`].
    Clock { interval: u64 },
    /// What the guest has set in config space; only with
    /// [`HdlEndpoint::hear_function`].
    Function(Function),
    /// Answer with [`HdlEndpoint::faults_done`].
    Faults { text: String },
}

/// An HDL endpoint that does one step at a time.
///
/// Events come out in the order of the stream, except that
/// [`HdlEndpoint::dma_read`] and [`HdlEndpoint::dma_write`] keep what comes
/// before their completion for later.
pub struct HdlEndpoint {
    raw: RawEndpoint,
    session: DeviceSession,
    peer: Vec<u8>,
    memory: Memory,
    sharing: Sharing,
    /// Events that were received but not handed out.
    queue: VecDeque<Event>,
    /// What the guest has set in config space, as the host told last.
    function: Option<Function>,
    hears_function: bool,
}

impl HdlEndpoint {
    /// Binds `endpoint`; from now on a host may connect.
    ///
    /// # Errors
    ///
    /// The endpoint cannot be bound or the configuration breaks a rule.
    pub fn bind(endpoint: &str, config: Config) -> Result<Self, Error> {
        Self::bind_keyed(endpoint, config, None)
    }

    /// Binds `endpoint`; with keys, for those who own one of the second.
    ///
    /// # Errors
    ///
    /// As for [`HdlEndpoint::bind`].
    pub fn bind_keyed(
        endpoint: &str,
        config: Config,
        keys: Option<(&Pair, &[Key])>,
    ) -> Result<Self, Error> {
        let mut session = DeviceSession::new(config)?;
        session.shares(memory::wanted() && is_local(endpoint));
        Ok(Self {
            session,
            memory: Memory::default(),
            sharing: Sharing::Good,
            raw: RawEndpoint::bind_keyed(endpoint, keys)?,
            peer: Vec::new(),
            queue: VecDeque::new(),
            function: None,
            hears_function: false,
        })
    }

    /// What hosts that ask for shared memory get from now on.
    pub fn share(&mut self, sharing: Sharing) {
        self.sharing = sharing;
    }

    /// The session's state, to look at.
    pub const fn session(&self) -> &DeviceSession {
        &self.session
    }

    /// What the device is.
    pub const fn config(&self) -> &Config {
        self.session.config()
    }

    /// What the guest has set in config space, as the host told last in what was
    /// received so far.
    pub const fn function(&self) -> Option<Function> {
        self.function
    }

    /// From now on there is an event for each change of
    /// [`HdlEndpoint::function`]. Most tests have no use for it.
    pub fn hear_function(&mut self) {
        self.hears_function = true;
    }

    /// Waits until the link is up. Does nothing if it is.
    ///
    /// # Errors
    ///
    /// It does not come up in time, or the host refuses.
    pub fn wait_for_session(&mut self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        while !self.session.is_up() {
            match self.event(deadline)? {
                Some(Event::Offered { .. } | Event::Up) => {}
                Some(Event::Down { reason, text }) => return Err(Error::Down { reason, text }),
                Some(other) => return Err(unexpected("a session", &other)),
                None => {
                    return Err(Error::Timeout {
                        what: "session with a host".into(),
                        waited: timeout,
                    })
                }
            }
        }
        // Up may be on its way out of the queue still.
        self.queue.retain(|e| !matches!(e, Event::Up));
        Ok(())
    }

    /// Waits until a session other than `old` is up, without having been told
    /// that the old one is over.
    ///
    /// # Errors
    ///
    /// It does not come up in time, or the host refuses.
    pub fn wait_for_new_session(&mut self, old: u64, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        while !self.session.is_up() || self.session.session() == old {
            match self.event(deadline)? {
                Some(Event::Down { reason, text }) => return Err(Error::Down { reason, text }),
                Some(_) => {}
                None => {
                    return Err(Error::Timeout {
                        what: "new session with a host".into(),
                        waited: timeout,
                    })
                }
            }
        }
        self.queue.retain(|e| !matches!(e, Event::Up));
        Ok(())
    }

    /// The next event, or `None` if none comes in time.
    ///
    /// # Errors
    ///
    /// The host broke the protocol; it was told.
    pub fn try_event(&mut self, timeout: Duration) -> Result<Option<Event>, Error> {
        self.event(Instant::now() + timeout)
    }

    /// The next event.
    ///
    /// # Errors
    ///
    /// None comes in time, or the host broke the protocol.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Event, Error> {
        self.try_event(timeout)?.ok_or_else(|| Error::Timeout {
            what: "event from the host".into(),
            waited: timeout,
        })
    }

    fn event(&mut self, deadline: Instant) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(Some(event));
            }
            if self.sharing != Sharing::Stopped {
                self.memory.hand_over()?;
            }
            // What is in the memory came before the end of the connection.
            if let Some(message) = self.memory.receive()? {
                self.frames(&message)?;
                continue;
            }
            if let Some(Received { peer, message }) = self.raw.try_receive()? {
                self.take(peer, &message)?;
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let (may_sleep, other) = self.memory.sleeps_on();
            if may_sleep {
                // A connection that is gone stays readable.
                let slice = if self.memory.is_used() {
                    left.min(Duration::from_millis(20))
                } else {
                    left
                };
                self.raw.wait(other, slice)?;
                if !self.memory.awake() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    /// Takes a message: its events go to the queue.
    fn take(&mut self, peer: Vec<u8>, message: &[u8]) -> Result<(), Error> {
        if peer != self.peer {
            if self.session.is_open() && self.peer_is_there() {
                let mut out = Vec::new();
                refuse_message(
                    message,
                    Reason::Busy,
                    "the device has a session with another host",
                    &mut out,
                );
                if !out.is_empty() {
                    self.raw.send(&peer, &out)?;
                }
                return Ok(());
            }
            self.peer = peer;
            self.memory.end();
        }
        self.frames(message)
    }

    /// Takes the frames of the host that has the session.
    fn frames(&mut self, message: &[u8]) -> Result<(), Error> {
        let mut rest = message;
        while !rest.is_empty() {
            let mut reply = Vec::new();
            match self.session.frame(rest, &mut reply) {
                Ok((event, tail)) => {
                    rest = tail;
                    match event {
                        DeviceEvent::Offered { asked, .. } => {
                            self.function = None;
                            self.memory.end();
                            if asked {
                                let name = match self.sharing {
                                    Sharing::Silent => None,
                                    sharing => Some(self.memory.offer(sharing)?),
                                };
                                self.session.answer(name.as_deref(), &mut reply);
                            }
                        }
                        DeviceEvent::Attached(yes) => {
                            if yes {
                                self.memory.hand_over()?;
                            }
                            if self.memory.begin(Side::Device, yes) != yes {
                                return Err(Error::Refused("ATTACH without memory".into()));
                            }
                        }
                        DeviceEvent::Function(function) => self.function = Some(function),
                        _ => {}
                    }
                    let silent = matches!(event, DeviceEvent::Function(_)) && !self.hears_function;
                    self.queue.extend(own(&event).filter(|_| !silent));
                }
                Err(violation) => {
                    self.session
                        .fail(Reason::Protocol, &violation.to_string(), &mut reply);
                    // The host may be gone, which is no worse than this.
                    let _ = self.send(&reply);
                    self.memory.end();
                    return Err(violation.into());
                }
            }
            if !reply.is_empty() {
                self.send(&reply)?;
            }
            if !self.session.is_open() {
                self.memory.end();
            }
        }
        Ok(())
    }

    /// Writes bytes anywhere into the shared memory of the session, see
    /// [`Memory::scribble`].
    pub fn scribble(&self, offset: u64, bytes: &[u8]) -> bool {
        self.memory.scribble(offset, bytes)
    }

    /// Reads guest memory without asking the host, see [`Memory::reach_read`].
    pub fn reach_read(&mut self, addr: u64, data: &mut [u8]) -> bool {
        self.memory.reach_read(addr, data)
    }

    /// Writes guest memory without asking the host, see [`Memory::reach_write`].
    pub fn reach_write(&mut self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> bool {
        self.memory.reach_write(addr, data, enables)
    }

    /// Whether the host of the session can still be reached.
    fn peer_is_there(&self) -> bool {
        let mut out = Vec::new();
        Frame::Noop.encode(self.session.session(), &mut out);
        self.raw.send(&self.peer, &out).is_ok()
    }

    fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        if self.memory.send(message)? {
            return Ok(());
        }
        self.raw.send(&self.peer, message)
    }

    fn send_if(&mut self, sent: bool, what: &str, message: &[u8]) -> Result<(), Error> {
        if !sent {
            return Err(Error::Refused(what.to_owned()));
        }
        self.send(message)
    }

    /// Answers a read of `len` bytes.
    ///
    /// # Errors
    ///
    /// The read is not outstanding.
    pub fn read_done(&mut self, tag: u32, len: u8, data: u64) -> Result<(), Error> {
        self.read_ended(tag, len, Status::Ok, data)
    }

    /// Answers a read with any status.
    ///
    /// # Errors
    ///
    /// The read is not outstanding.
    pub fn read_ended(
        &mut self,
        tag: u32,
        len: u8,
        status: Status,
        data: u64,
    ) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.read_done(tag, len, status, data, &mut out);
        self.send_if(sent, "completion of a read that is not outstanding", &out)
    }

    /// Reports a write done.
    ///
    /// # Errors
    ///
    /// It is not the oldest outstanding write.
    pub fn write_done(&mut self, tag: u32, status: Status) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.write_done(tag, status, &mut out);
        self.send_if(sent, "completion of a write that is not the oldest", &out)
    }

    /// Says that the logic has left its reset.
    ///
    /// # Errors
    ///
    /// The reset is not outstanding.
    pub fn reset_done(&mut self, tag: u32) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.reset_done(tag, &mut out);
        self.send_if(sent, "answer to a reset that is not outstanding", &out)
    }

    /// Tells the simulated time.
    ///
    /// # Errors
    ///
    /// The link is down or the host does not want to know it.
    pub fn time(&mut self, ns: u64) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.time(ns, &mut out);
        self.send_if(sent, "time that nobody has asked for", &out)
    }

    /// Raises a vector of the function.
    ///
    /// # Errors
    ///
    /// The link is down or the function has no such vector.
    pub fn msix(&mut self, vector: u16) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.msix(vector, &mut out);
        self.send_if(sent, "MSI-X: no such vector or no link", &out)
    }

    /// Answers a plan of faults.
    ///
    /// # Errors
    ///
    /// The link is down, or there is none to answer.
    pub fn faults_done(&mut self, refused: bool, text: &str) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.faults_done(refused, text, &mut out);
        self.send_if(sent, "FAULTS_DONE: no plan or no link", &out)
    }

    /// Tells of an error, of a read that is not answered or none.
    ///
    /// # Errors
    ///
    /// The link is down, or the host does not know errors.
    pub fn error(&mut self, kind: ErrorKind, read: Option<u32>) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.error(kind, read, &mut out);
        self.send_if(sent, "ERROR: no link, or an older host", &out)
    }

    /// Drives the INTx pin.
    ///
    /// # Errors
    ///
    /// The link is down or the function has no pin.
    pub fn intx(&mut self, level: bool) -> Result<(), Error> {
        let mut out = Vec::new();
        let sent = self.session.intx(level, &mut out);
        self.send_if(sent, "INTx: no pin or no link", &out)
    }

    /// Sends a DMA read and returns its tag; the completion is an event.
    ///
    /// # Errors
    ///
    /// The link is down, too many requests are outstanding or the range is bad.
    pub fn start_dma_read(&mut self, addr: u64, len: u32) -> Result<u32, Error> {
        let mut out = Vec::new();
        let tag = self.session.dma_read(addr, len, &mut out);
        let tag = tag.ok_or_else(|| Error::Refused(format!("DMA read of {len} at {addr:#x}")))?;
        self.send(&out)?;
        Ok(tag)
    }

    /// Sends a DMA write and returns its tag; the completion is an event.
    ///
    /// # Errors
    ///
    /// The link is down, too many requests are outstanding or the range is bad.
    pub fn start_dma_write(
        &mut self,
        addr: u64,
        data: &[u8],
        enables: Option<&[u8]>,
    ) -> Result<u32, Error> {
        let mut out = Vec::new();
        let tag = self.session.dma_write(addr, data, enables, &mut out);
        let tag =
            tag.ok_or_else(|| Error::Refused(format!("DMA write of {} at {addr:#x}", data.len())))?;
        self.send(&out)?;
        Ok(tag)
    }

    /// Reads host memory and waits for the data. What else comes first is kept
    /// for [`HdlEndpoint::next_event`].
    ///
    /// # Errors
    ///
    /// [`Error::Status`] if the host refused it; no completion in time.
    pub fn dma_read(&mut self, addr: u64, len: u32) -> Result<Vec<u8>, Error> {
        let tag = self.start_dma_read(addr, len)?;
        let what = format!("completion of a DMA read of {len} bytes at {addr:#x}");
        match self.wait_for(
            &what,
            |e| matches!(e, Event::DmaReadDone { tag: t, .. } if *t == tag),
        )? {
            Event::DmaReadDone {
                status: Status::Ok,
                data,
                ..
            } => Ok(data),
            Event::DmaReadDone { status, .. } => Err(Error::Status { what, status }),
            other => Err(unexpected(&what, &other)),
        }
    }

    /// Writes host memory and waits until it is done. What else comes first is
    /// kept for [`HdlEndpoint::next_event`].
    ///
    /// # Errors
    ///
    /// [`Error::Status`] if the host refused it; no completion in time.
    pub fn dma_write(
        &mut self,
        addr: u64,
        data: &[u8],
        enables: Option<&[u8]>,
    ) -> Result<(), Error> {
        let tag = self.start_dma_write(addr, data, enables)?;
        let what = format!(
            "completion of a DMA write of {} bytes at {addr:#x}",
            data.len()
        );
        match self.wait_for(
            &what,
            |e| matches!(e, Event::DmaWriteDone { tag: t, .. } if *t == tag),
        )? {
            Event::DmaWriteDone {
                status: Status::Ok, ..
            } => Ok(()),
            Event::DmaWriteDone { status, .. } => Err(Error::Status { what, status }),
            other => Err(unexpected(&what, &other)),
        }
    }

    /// Waits for an event that `is_it` accepts; a reset or the end of the
    /// session ends the wait, everything else is kept in order.
    fn wait_for(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Result<Event, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut kept = VecDeque::new();
        let result = loop {
            match self.event(deadline) {
                Ok(Some(e)) if is_it(&e) => break Ok(e),
                Ok(Some(e @ (Event::Reset { .. } | Event::Down { .. }))) => {
                    let error = unexpected(what, &e);
                    kept.push_back(e);
                    break Err(error);
                }
                Ok(Some(e)) => kept.push_back(e),
                Ok(None) => {
                    break Err(Error::Timeout {
                        what: what.to_owned(),
                        waited: PATIENCE,
                    })
                }
                Err(e) => break Err(e),
            }
        };
        kept.append(&mut self.queue);
        self.queue = kept;
        result
    }

    /// The next event has to be a read; returns its tag.
    ///
    /// # Errors
    ///
    /// It is another one, or does not come.
    pub fn expect_read(&mut self, bar: u8, offset: u64, len: u8) -> Result<u32, Error> {
        let expected = format!("read of {len} bytes at BAR {bar} offset {offset:#x}");
        match self.next_event(PATIENCE)? {
            Event::Read {
                tag,
                bar: b,
                len: l,
                offset: o,
            } if (b, l, o) == (bar, len, offset) => Ok(tag),
            other => Err(unexpected(&expected, &other)),
        }
    }

    /// The next event has to be a write; returns its tag.
    ///
    /// # Errors
    ///
    /// It is another one, or does not come.
    pub fn expect_write(&mut self, bar: u8, offset: u64, len: u8, data: u64) -> Result<u32, Error> {
        let expected = format!("write of {data:#x}, {len} bytes, at BAR {bar} offset {offset:#x}");
        match self.next_event(PATIENCE)? {
            Event::Write {
                tag,
                bar: b,
                len: l,
                offset: o,
                data: d,
            } if (b, l, o, d) == (bar, len, offset, data) => Ok(tag),
            other => Err(unexpected(&expected, &other)),
        }
    }

    /// The next event has to be a reset of this kind; returns its tag.
    ///
    /// # Errors
    ///
    /// It is another one, or does not come.
    pub fn expect_reset(&mut self, kind: ResetKind) -> Result<u32, Error> {
        match self.next_event(PATIENCE)? {
            Event::Reset { tag, kind: k } if k == kind => Ok(tag),
            other => Err(unexpected(&format!("reset {kind:?}"), &other)),
        }
    }

    /// The session has to be over within the timeout. Reads, writes and resets
    /// on the way are passed over.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn expect_down(&mut self, timeout: Duration) -> Result<(Reason, String), Error> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.event(deadline)? {
                Some(Event::Down { reason, text }) => return Ok((reason, text)),
                Some(_) => {}
                None => {
                    return Err(Error::Timeout {
                        what: "end of the session".into(),
                        waited: timeout,
                    })
                }
            }
        }
    }

    /// Sends any frame, whether it may come now or not.
    ///
    /// # Errors
    ///
    /// The host is gone.
    pub fn inject(&mut self, frame: &Frame<'_>) -> Result<(), Error> {
        let mut out = Vec::new();
        frame.encode(self.session.session(), &mut out);
        self.send(&out)
    }

    /// Sends any bytes as one message.
    ///
    /// # Errors
    ///
    /// The host is gone.
    pub fn inject_raw(&mut self, message: &[u8]) -> Result<(), Error> {
        self.send(message)
    }

    /// Sends a message of several parts.
    ///
    /// # Errors
    ///
    /// The host is gone.
    pub fn inject_parts(&self, parts: &[&[u8]]) -> Result<(), Error> {
        self.raw.send_parts(&self.peer, parts)
    }

    /// Ends the session in order.
    ///
    /// # Errors
    ///
    /// The host is gone.
    pub fn close(&mut self) -> Result<(), Error> {
        let mut out = Vec::new();
        self.session.close(&mut out);
        self.queue.clear();
        if out.is_empty() {
            return Ok(());
        }
        self.send(&out)
    }
}

fn unexpected(expected: &str, found: &Event) -> Error {
    Error::Unexpected {
        expected: expected.to_owned(),
        found: format!("{found:?}"),
    }
}

fn own(event: &DeviceEvent<'_>) -> Option<Event> {
    Some(match *event {
        DeviceEvent::Offered { host, replaced, .. } => Event::Offered {
            host: host.raw().to_owned(),
            replaced,
        },
        DeviceEvent::Up => Event::Up,
        DeviceEvent::Down { reason, text } => Event::Down {
            reason,
            text: text.raw().to_owned(),
        },
        DeviceEvent::Read {
            tag,
            bar,
            len,
            offset,
        } => Event::Read {
            tag,
            bar,
            len,
            offset,
        },
        DeviceEvent::Write {
            tag,
            bar,
            len,
            offset,
            data,
        } => Event::Write {
            tag,
            bar,
            len,
            offset,
            data,
        },
        DeviceEvent::DmaReadDone { tag, status, data } => Event::DmaReadDone {
            tag,
            status,
            data: data.to_vec(),
        },
        DeviceEvent::DmaWriteDone { tag, status } => Event::DmaWriteDone { tag, status },
        DeviceEvent::Reset { tag, kind } => Event::Reset { tag, kind },
        DeviceEvent::Clock { interval } => Event::Clock { interval },
        DeviceEvent::Function(function) => Event::Function(function),
        DeviceEvent::Faults { text, .. } => Event::Faults {
            text: text.to_owned(),
        },
        DeviceEvent::Attached(_) | DeviceEvent::Ignored => return None,
    })
}

/// A configuration for tests: BAR 0 of 8 KiB, BAR 2 of 64 KiB with 64 bits,
/// `vectors` MSI-X vectors in BAR 4 (none if 0).
pub fn sample_config(vectors: u16) -> Config {
    let mut config = Config {
        vendor: 0x1234,
        device: 0xacce,
        subsystem_vendor: 0x1234,
        subsystem: 0x0001,
        class: 0x12_0000,
        revision: 1,
        link_speed: 3,
        link_width: 4,
        ..Config::default()
    };
    config.bars[0].size = 0x2000;
    config.bars[2] = Bar {
        size: 0x1_0000,
        is_64bit: true,
        prefetchable: true,
        ..Bar::default()
    };
    if vectors > 0 {
        config.bars[4].size = 0x1_0000;
        config.msix = Some(Msix {
            vectors,
            table_bar: 4,
            pba_bar: 4,
            table_offset: 0,
            pba_offset: 0x8000,
            in_rtl: false,
        });
    }
    config
}
