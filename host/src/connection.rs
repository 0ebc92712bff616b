// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session of the host with a simulator, and what carries it.

use std::{
    os::fd::AsRawFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use accelerator_carrier::{
    end::{End, Side},
    handover::Rung,
    patience::Patience,
    random::session_number,
};
use accelerator_protocol::{
    host::{HostEvent, HostSession},
    is_local,
};
use accelerator_socket::{
    handshake::{self, Failure},
    watched::{self, Events, Watched},
};

use crate::{
    channel::Channel,
    shared::{self, Shared},
    socket::{self, Keys},
    zmq_error, Error, STUCK,
};

/// How long the hand-over of shared memory may take.
const HAND_OVER: Duration = Duration::from_secs(10);

/// How long is looked for a message before the thread sleeps.
const LOOK: Duration = Duration::from_micros(50);

/// The socket is looked at beside shared memory each so many looks.
const BESIDE: u32 = 256;

/// A session with a simulator.
pub struct Connection {
    socket: Watched,
    /// Tells that the connection was lost, or came to nothing.
    lost: Events,
    session: HostSession,
    claimed: Option<Shared>,
    end: Option<End>,
    message: Vec<u8>,
    patience: Patience,
    looks: u32,
    // After the sockets, so that it is dropped last.
    _context: zmq::Context,
}

impl Connection {
    /// Connects and sends INIT as `name`; `window`: posted writes that may be outstanding.
    ///
    /// # Errors
    ///
    /// Of the socket or the keys.
    pub fn open(
        endpoint: &str,
        name: &str,
        window: u32,
        keys: Option<&Keys>,
    ) -> Result<Self, Error> {
        let context = zmq::Context::new();
        let socket = socket::unconnected(&context, endpoint, keys.map(Keys::both))?;
        let lost = zmq::SocketEvent::DISCONNECTED.to_raw() | handshake::EVENTS;
        let (lost, socket) =
            watched::watch(&context, socket, lost).map_err(zmq_error("cannot watch the socket"))?;
        socket::connect(&socket, endpoint)?;
        let mut session = HostSession::new(session_number(), window);
        session.share(is_local(endpoint));
        let mut out = Vec::new();
        session.init(name, &mut out);
        let mut connection = Self {
            socket,
            lost,
            session,
            claimed: None,
            end: None,
            message: Vec::new(),
            patience: Patience::new(LOOK),
            looks: 0,
            _context: context,
        };
        connection.send(&out)?;
        Ok(connection)
    }

    /// The session, to say something. What it appends is for [`Self::send`].
    pub fn session(&mut self) -> &mut HostSession {
        &mut self.session
    }

    /// Whether the session goes through shared memory.
    pub const fn is_shared(&self) -> bool {
        self.end.is_some()
    }

    /// Answers [`HostEvent::Configured`]: the link is up.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn accept(&mut self) -> Result<(), Error> {
        let mut out = Vec::new();
        self.session.accept(&mut out);
        self.send(&out)?;
        if let Some(Shared { segment, bell, .. }) = self.claimed.take() {
            let limit = accelerator_protocol::wire::MAX_MESSAGE;
            self.end = Some(End::new(&segment, Side::Host, Arc::clone(&bell), limit));
        }
        Ok(())
    }

    /// Sends a message. Waits while there is no room and the simulator takes in what was sent.
    ///
    /// # Errors
    ///
    /// It is gone, or does not take in anything.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        if message.is_empty() {
            return Ok(());
        }
        let Some(end) = &mut self.end else {
            return match self.socket.send(message, 0) {
                Err(zmq::Error::EAGAIN) => Err(Error::Stuck),
                sent => sent.map_err(zmq_error("cannot send to the simulator")),
            };
        };
        let (mut taken, mut since, mut left) = (false, Instant::now(), usize::MAX);
        loop {
            if !taken {
                taken = end.send(message)?;
            }
            if taken && end.go_on()? {
                return Ok(());
            }
            if end.rest() != left {
                (left, since) = (end.rest(), Instant::now());
            }
            if end.bell().drain(drop) == Rung::Gone {
                return Err(Error::Gone);
            }
            if since.elapsed() > STUCK {
                return Err(Error::Stuck);
            }
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn receive(&mut self) -> Result<bool, Error> {
        if let Some(end) = &mut self.end {
            if end.receive(&mut self.message)? {
                return Ok(true);
            }
            self.looks = self.looks.wrapping_add(1);
            if self.looks % BESIDE != 0 {
                return Ok(false);
            }
        }
        match self.socket.recv_bytes(zmq::DONTWAIT) {
            Ok(message) => {
                self.message = message;
                Ok(true)
            }
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => Ok(false),
            Err(e) => Err(zmq_error("cannot receive")(e)),
        }
    }

    /// Takes in a message, if one comes in time, and hands each of its frames to `take`, with
    /// the session, to answer by appending to the buffer, which is sent then. Whether one came.
    ///
    /// # Errors
    ///
    /// The simulator is gone, or broke the protocol.
    pub fn pump(
        &mut self,
        timeout: Duration,
        out: &mut Vec<u8>,
        take: impl FnMut(HostEvent<'_>, &mut HostSession, &mut Vec<u8>),
    ) -> Result<bool, Error> {
        self.pump_beside(timeout, &[], out, take)
    }

    /// As [`Self::pump`], but waits no longer than until one of these channels has something.
    ///
    /// # Errors
    ///
    /// As [`Self::pump`].
    pub fn pump_beside(
        &mut self,
        timeout: Duration,
        beside: &[Channel],
        out: &mut Vec<u8>,
        mut take: impl FnMut(HostEvent<'_>, &mut HostSession, &mut Vec<u8>),
    ) -> Result<bool, Error> {
        if !self.wait(timeout, beside)? {
            return Ok(false);
        }
        let message = std::mem::take(&mut self.message);
        let mut rest: &[u8] = &message;
        while !rest.is_empty() {
            let (event, tail) = self.session.frame(rest)?;
            rest = tail;
            if let HostEvent::Share { name } = event {
                // Without it the session goes through the socket.
                self.claimed = shared::claim(name, HAND_OVER).ok();
                self.session.attach(self.claimed.is_some());
                continue;
            }
            take(event, &mut self.session, out);
        }
        self.message = message;
        let answer = std::mem::take(out);
        self.send(&answer)?;
        *out = answer;
        out.clear();
        Ok(true)
    }

    /// Waits for a message, which is in `self.message` then.
    fn wait(&mut self, timeout: Duration, beside: &[Channel]) -> Result<bool, Error> {
        if self.receive()? {
            return Ok(true);
        }
        let mut patience = self.patience.clone();
        let mut looked = Ok(false);
        patience.look(1, || {
            // It may be asked again after it was there.
            if matches!(looked, Ok(false)) {
                looked = self.receive();
            }
            !matches!(looked, Ok(false))
        });
        self.patience = patience;
        if looked? {
            return Ok(true);
        }
        let bell = match &self.end {
            None => None,
            Some(end) if end.sleep() => Some(end.bell().descriptor().as_raw_fd()),
            Some(end) => {
                end.awake();
                return self.receive();
            }
        };
        let mut items = vec![
            self.socket.as_poll_item(zmq::POLLIN),
            self.lost.as_poll_item(),
        ];
        items.extend(bell.map(|fd| zmq::PollItem::from_fd(fd, zmq::POLLIN)));
        let beside = beside.iter().map(Channel::socket);
        items.extend(beside.map(|s| s.as_poll_item(zmq::POLLIN)));
        let ms = i64::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
        let polled = zmq::poll(&mut items, ms);
        let lost = items[1].is_readable();
        let gone = self.end.as_ref().is_some_and(|end| {
            end.awake();
            end.bell().drain(drop) == Rung::Gone
        });
        match polled {
            Ok(_) | Err(zmq::Error::EINTR) => {}
            Err(e) => return Err(zmq_error("cannot wait for a message")(e)),
        }
        // All that it has sent counts.
        self.looks = BESIDE - 1;
        if self.receive()? {
            return Ok(true);
        }
        if gone || lost {
            return Err(self.why());
        }
        Ok(false)
    }

    /// Why it was lost.
    fn why(&self) -> Error {
        while let watched::Next::Event { event, value, .. } = self.lost.next() {
            if let Some(failure) = Failure::of(event, value) {
                return Error::Handshake(failure);
            }
        }
        Error::Gone
    }

    /// Ends the session in order.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn close(&mut self) -> Result<(), Error> {
        let mut out = Vec::new();
        self.session.close(&mut out);
        self.send(&out)
    }
}
