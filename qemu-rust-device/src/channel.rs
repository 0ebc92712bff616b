// SPDX-License-Identifier: GPL-2.0-or-later

//! A NIC or serial channel to the simulator: its socket, the host's half of its
//! session, and coming back when the simulator does.
//!
//! Nothing here knows QEMU. A channel is used by one thread at a time, under
//! the big QEMU lock; it never waits and calls nobody, so whoever uses it can be
//! called back by QEMU between two of its methods. What came is kept until it is
//! taken, bounded by the credit that the simulator was given.

use std::{
    collections::VecDeque,
    os::fd::{AsFd, AsRawFd, RawFd},
    time::{Duration, Instant},
};

use accelerator_carrier::{
    descriptors::{Epoll, EventFd, Timer},
    random::session_number,
    vanished::LOOK,
};
use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind, HostChannel},
    host::State,
    knock::{Change, Step, Whose},
    limit::Limit,
    wire::Reason,
};
use log::{debug, error, info, warn};

use crate::{
    context,
    error::{system, LinkError},
    keys::Keys,
    link::Wire,
};

/// Messages that are taken in before others get their turn.
const BATCH: usize = 64;

/// Messages that wait for a simulator that does not read, at most. One that
/// keeps the protocol never has so many outstanding: a message holds a frame, a
/// byte or credit at least.
const QUEUE: i32 = 16_384;

/// A simulator without this channel is mentioned after this time.
const PATIENCE: Duration = Duration::from_millis(2000);

/// How soon a session that was ended is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The session or the simulator's link went up or down.
    pub changed: bool,
    /// More can be sent.
    pub room: bool,
}

/// A channel to one simulator.
pub struct Channel {
    name: String,
    endpoint: String,
    mac: [u8; 6],
    window: u32,
    session: HostChannel,
    /// Our own link.
    link: bool,
    /// The simulator's link.
    peer_link: bool,
    frames: VecDeque<Vec<u8>>,
    bytes: VecDeque<u8>,
    out: Vec<u8>,
    /// That there is no session was said, or would have been.
    told: bool,
    /// Of lines about sessions that begin, end, and break the protocol.
    begun: Limit,
    ended: Limit,
    broken: Limit,
    /// Of lines about sockets that cannot be made.
    failed: Limit,
    closed: bool,
    keys: Option<Keys>,
    // The sockets, then their context, which waits for them.
    wire: Option<Wire>,
    context: zmq::Context,
    timer: Timer,
    /// For looks at a connection to a host that may vanish.
    look: Timer,
    wake: EventFd,
    watch: Epoll,
}

impl Channel {
    /// A channel that does not connect yet. `window`: what the user of the
    /// channel is ready to keep, in frames or bytes.
    ///
    /// # Errors
    ///
    /// What the system refused.
    pub fn new(
        kind: ChannelKind,
        name: String,
        endpoint: String,
        window: u32,
    ) -> Result<Self, LinkError> {
        let timer = || Timer::new().map_err(system("cannot make a timerfd"));
        let wake = EventFd::new().map_err(system("cannot make an eventfd"))?;
        let (timer, look) = (timer()?, timer()?);
        let watch = Epoll::new().map_err(system("cannot make an epoll instance"))?;
        for fd in [wake.as_fd(), timer.as_fd(), look.as_fd()] {
            watch
                .add(fd.as_raw_fd(), 0)
                .map_err(system("cannot watch a descriptor"))?;
        }
        Ok(Self {
            name,
            endpoint,
            mac: [0; 6],
            window,
            session: HostChannel::new(kind, session_number(), window),
            link: true,
            peer_link: false,
            frames: VecDeque::new(),
            bytes: VecDeque::new(),
            out: Vec::new(),
            told: false,
            begun: Limit::default(),
            ended: Limit::default(),
            broken: Limit::default(),
            failed: Limit::default(),
            closed: false,
            keys: None,
            wire: None,
            context: context::start()?,
            timer,
            look,
            wake,
            watch,
        })
    }

    /// Gives the connections that are yet to come keys.
    pub fn set_keys(&mut self, keys: Option<Keys>) {
        self.keys = keys;
    }

    /// Becomes readable when [`Channel::service`] has something to do.
    pub fn descriptor(&self) -> RawFd {
        self.watch.as_fd().as_raw_fd()
    }

    /// The address that the simulator's NIC bridge is told.
    pub fn set_mac(&mut self, mac: [u8; 6]) {
        self.mac = mac;
    }

    /// Begins to connect.
    pub fn start(&mut self) {
        self.connect();
        self.timer_in(PATIENCE);
    }

    fn timer_in(&self, delay: Duration) {
        if let Err(e) = self.timer.set(delay) {
            error!("{}: no timer: {e}", self.name);
        }
    }

    /// Looks after a while whether the host of the simulator is still there. What is
    /// under way when it vanishes would be sent again and again for a quarter of an hour.
    fn look_later(&self) {
        if self.wire.as_ref().is_some_and(Wire::may_vanish) {
            if let Err(e) = self.look.set(LOOK) {
                error!("{}: no timer: {e}", self.name);
            }
        }
    }

    fn connect(&mut self) {
        let wire =
            Wire::new(&self.context, &self.endpoint, self.keys.as_ref(), QUEUE).and_then(|wire| {
                wire.watch(&self.watch, [0; 2])?;
                Ok(wire)
            });
        self.renew();
        match wire {
            Ok(wire) => self.wire = Some(wire),
            Err(e) => {
                if let Some(note) = self.failed.admit(Instant::now()) {
                    error!(
                        "{}: cannot connect to {}: {e}{note}",
                        self.name, self.endpoint
                    );
                }
                self.timer_in(RETRY);
            }
        }
        // Its descriptors may be readable already.
        self.wake();
    }

    fn wake(&self) {
        self.wake.ring();
    }

    /// Whether there is a session with the simulator.
    pub fn is_up(&self) -> bool {
        self.session.is_up()
    }

    /// Whether the simulator's link is up.
    pub fn peer_link(&self) -> bool {
        self.is_up() && self.peer_link
    }

    /// Frames or bytes that can be sent now.
    pub fn credit(&self) -> u32 {
        self.session.credit()
    }

    /// Takes in what came, as much as is good for one turn.
    pub fn service(&mut self) -> News {
        let mut news = News::default();
        self.wake.take();
        if self.timer.take() {
            self.time(&mut news);
        }
        if self.look.take() {
            if let Some(wire) = &mut self.wire {
                wire.end_if_gone(Instant::now(), &self.name, &self.endpoint);
            }
            self.look_later();
        }
        while self.connection(&mut news) {}
        let mut message = zmq::Message::new();
        for _ in 0..BATCH {
            let Some(wire) = &self.wire else {
                return news;
            };
            match wire.socket.recv(&mut message, zmq::DONTWAIT) {
                Ok(()) => {}
                Err(zmq::Error::EINTR) => continue,
                Err(zmq::Error::EAGAIN) => return news,
                Err(e) => {
                    self.fail(&format!("receiving failed: {e}"), None, &mut news);
                    return news;
                }
            }
            if message.get_more() {
                let text = "a message has several parts, expected 1";
                self.fail(text, Some(Reason::Protocol), &mut news);
                return news;
            }
            self.message(&message, &mut news);
        }
        // The descriptor tells only what is new.
        self.wake();
        news
    }

    fn message(&mut self, message: &[u8], news: &mut News) {
        let mut rest = message;
        while !rest.is_empty() {
            match self.session.frame(rest) {
                Ok((event, tail)) => {
                    rest = tail;
                    self.event(event, news);
                }
                Err(violation) => {
                    self.fail(&violation.to_string(), Some(violation.reason()), news);
                    return;
                }
            }
            if self.wire.is_none() {
                return;
            }
        }
    }

    fn event(&mut self, event: ChannelEvent<'_>, news: &mut News) {
        match event {
            ChannelEvent::Accepted { link } => {
                // What is left of the session before does not count against the
                // window of this one.
                self.frames.clear();
                self.bytes.clear();
                self.peer_link = link;
                let told = std::mem::take(&mut self.told);
                if let Some(note) = self.begun.admit(Instant::now()) {
                    info!(
                        "{}: the simulator at {} is there{note}",
                        self.name, self.endpoint
                    );
                    if told {
                        warn!("{}: connected to {}", self.name, self.endpoint);
                    }
                }
                *news = News {
                    changed: true,
                    room: true,
                };
            }
            ChannelEvent::Frame(data) => self.frames.push_back(data.to_vec()),
            ChannelEvent::Bytes(data) => self.bytes.extend(data),
            ChannelEvent::Link(up) => {
                news.changed |= self.peer_link != up;
                self.peer_link = up;
            }
            ChannelEvent::Credit => news.room = true,
            ChannelEvent::Down { reason, text } => {
                let why = format!("the simulator ended the session ({reason:?}) {text}");
                self.fail(why.trim_end(), None, news);
            }
            ChannelEvent::Opened { .. } | ChannelEvent::Ignored => {}
        }
    }

    /// The session is over, or does not come up: says so once and begins anew.
    fn fail(&mut self, why: &str, reason: Option<Reason>, news: &mut News) {
        if let Some(reason) = reason {
            if let Some(note) = self.broken.admit(Instant::now()) {
                error!(
                    "{}: the simulator at {} broke the protocol: {why}{note}",
                    self.name, self.endpoint
                );
            }
            let mut out = Vec::new();
            self.session.refuse(reason, why, &mut out);
            if let Some(wire) = &self.wire {
                // If this cannot be sent either, the closed connection tells.
                let _ = wire.socket.send(out.as_slice(), zmq::DONTWAIT);
            }
        }
        self.session.disconnected();
        self.out.clear();
        news.changed = true;
        if self.told {
            debug!("{}: no session with {}: {why}", self.name, self.endpoint);
        } else {
            self.told = true;
            if let Some(note) = self.ended.admit(Instant::now()) {
                warn!(
                    "{}: no connection with {}: {why}; it is tried again{note}",
                    self.name, self.endpoint
                );
            }
        }
        if let Some(wire) = self.wire.take() {
            // A REFUSE may still have to leave.
            wire.linger();
            wire.unwatch(&self.watch);
        }
        if !self.closed {
            self.timer_in(RETRY);
        }
    }

    /// The timer has run out.
    fn time(&mut self, news: &mut News) {
        if self.closed {
            return;
        }
        if self.wire.is_none() {
            self.connect();
            return;
        }
        if !self.is_up() && !self.told {
            self.told = true;
            news.changed = true;
            let what = if self.session.state() == State::Init {
                "the process there does not answer (is it the simulator, and does its clock run?)"
            } else {
                "nobody listens there (does the RTL have such a bridge?)"
            };
            if let Some(note) = self.ended.admit(Instant::now()) {
                warn!(
                    "{}: no connection with {}: {what}; the card works without, and it is tried \
                     again{note}",
                    self.name, self.endpoint
                );
            }
        }
    }

    /// Takes one event of the connection. Returns whether there was one.
    fn connection(&mut self, news: &mut News) -> bool {
        let Some(change) = self.wire.as_mut().and_then(Wire::change) else {
            return false;
        };
        if change == Change::There {
            self.look_later();
        }
        match change.step(self.session.state(), Whose::Channel) {
            Step::Nothing => {}
            Step::Begin => {
                let mut out = std::mem::take(&mut self.out);
                self.session.open(&self.name, self.mac, &mut out);
                self.out = out;
                self.flush();
            }
            Step::Renew => self.renew(),
            Step::End(why) => self.fail(why, None, news),
        }
        !matches!(change, Change::Refused(_))
    }

    /// Takes a session that has not begun.
    fn renew(&mut self) {
        self.session = HostChannel::new(self.session.kind(), session_number(), self.window);
        self.session.set_link(self.link, &mut self.out);
    }

    /// Sends what there is to say.
    fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let Some(wire) = &self.wire else {
            self.out.clear();
            return;
        };
        let result = wire.socket.send(self.out.as_slice(), zmq::DONTWAIT);
        self.out.clear();
        if let Err(e) = result {
            // The connection was lost, which its monitor tells, or the
            // simulator does not read although it gave credit.
            debug!("{}: sending failed: {e}", self.name);
            self.session.disconnected();
            // Not at once: whoever takes connections and ends them would keep us busy.
            self.timer_in(RETRY);
            if let Some(wire) = self.wire.take() {
                wire.unwatch(&self.watch);
            }
            return;
        }
        // The call may have taken the descriptor's edge.
        if wire
            .socket
            .get_events()
            .map_or(true, |e| e.contains(zmq::POLLIN))
        {
            self.wake();
        }
    }

    /// Sends an Ethernet frame. False without credit or session.
    pub fn send_frame(&mut self, data: &[u8]) -> bool {
        let sent = self.session.send_frame(data, &mut self.out);
        self.flush();
        sent
    }

    /// Sends the first of these bytes and returns how many.
    pub fn send_bytes(&mut self, data: &[u8]) -> usize {
        let sent = self.session.send_bytes(data, &mut self.out);
        self.flush();
        sent
    }

    /// Sets our own link, and tells the simulator.
    pub fn set_link(&mut self, up: bool) {
        self.link = up;
        self.session.set_link(up, &mut self.out);
        self.flush();
    }

    /// Takes the oldest frame that came. Say [`Channel::consumed`] when it has
    /// gone.
    pub fn take_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// The oldest bytes that came, some of them, without taking them.
    pub fn bytes(&self, limit: usize) -> Vec<u8> {
        self.bytes.iter().take(limit).copied().collect()
    }

    /// Takes bytes that have gone.
    pub fn take_bytes(&mut self, count: usize) {
        let count = count.min(self.bytes.len());
        self.bytes.drain(..count);
        // At most the window.
        self.consumed(count as u32);
    }

    /// Frames or bytes that came have gone: the simulator gets credit for them.
    pub fn consumed(&mut self, amount: u32) {
        self.session.consumed(amount, &mut self.out);
        self.flush();
    }

    /// Says goodbye. Nothing is connected any more.
    pub fn close(&mut self) {
        self.closed = true;
        if let Some(wire) = self.wire.take() {
            if self.session.is_up() {
                let mut out = Vec::new();
                self.session.close(&mut out);
                wire.linger();
                let _ = wire.socket.send(out.as_slice(), zmq::DONTWAIT);
            }
            wire.unwatch(&self.watch);
        }
        self.session.disconnected();
    }
}
