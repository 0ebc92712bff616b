// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the NIC and the UART channel have in common: the socket, the host whose
//! session it is, and when to look at the socket.
//!
//! Frames are taken in and sent in [`Port::poll`] only. What other calls have
//! to say is kept until then; the credit of the host bounds it.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind, DeviceChannel},
    device::refuse_message,
    limit::Limit,
    wire::{frame_type, split, Frame, Reason, WireError},
};
use log::{info, log_enabled, trace, Level};

use crate::{
    error::Result,
    limited::limited,
    transport::{overdue, Received, Sent, Transport, CLOSE_LIMIT, GATHER},
    tries::Tries,
    words::{Words, LOCAL, PEER_GONE, SOCKET},
};

/// Messages taken in at one poll, so that a flood does not stop the simulation.
const MESSAGES_PER_POLL: usize = 64;

/// What a channel does with what comes.
pub trait Sink {
    /// A session is up.
    fn opened(&mut self, target: &str, mac: [u8; 6], link: bool);
    /// The session is over.
    fn down(&mut self);
    /// One of the other events.
    fn event(&mut self, target: &str, event: ChannelEvent<'_>);
}

/// The device's end of a channel.
pub struct Port {
    /// Name of the channel as log lines show it.
    pub target: String,
    /// Where QEMU connects to.
    pub endpoint: String,
    /// The session.
    pub session: DeviceChannel,
    /// Frames for the host, sent by the next poll.
    pub out: Vec<u8>,
    transport: Transport,
    words: &'static Words,
    /// Routing id of the host whose session it is.
    peer: Option<Vec<u8>>,
    /// The peer cannot be reached; noticed by the next poll.
    lost: bool,
    /// Messages that its queue did not take.
    backlog: VecDeque<Vec<u8>>,
    tries: Tries,
    limits: Limits,
}

/// The lines that whoever reaches the socket can cause.
#[derive(Default)]
struct Limits {
    foreign: Limit,
    refused: Limit,
    violations: Limit,
    /// Of sessions that come and go.
    sessions: Limit,
    errors: Limit,
}

impl Port {
    /// Binds the socket. `window` is what the channel keeps for the RTL at most.
    ///
    /// # Errors
    ///
    /// `Code::Io` with a text that names the endpoint.
    pub fn open(
        kind: ChannelKind,
        window: u32,
        endpoint: &str,
        name: &str,
        words: &'static Words,
    ) -> Result<Self> {
        let target = format!("accelerator[{name}]");
        // Waits for the host's credit are normal here; those for a simulator
        // that stands still are told by the bridge.
        let transport = Transport::bind(endpoint, words, None, &target)?;
        info!(target: &target, "{kind:?} channel waits for QEMU at {endpoint}");
        words.attention.fetch_or(LOCAL, Ordering::AcqRel);
        Ok(Self {
            target,
            endpoint: endpoint.to_owned(),
            session: DeviceChannel::new(kind, window),
            out: Vec::new(),
            transport,
            words,
            peer: None,
            lost: false,
            backlog: VecDeque::new(),
            tries: Tries::default(),
            limits: Limits::default(),
        })
    }

    /// Says goodbye and closes the socket.
    pub fn close(mut self) {
        self.session.close(&mut self.out);
        let deadline = Instant::now() + CLOSE_LIMIT;
        loop {
            self.flush();
            if self.backlog.is_empty() || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.transport.close();
    }

    /// Takes in what came, and sends what there is to say. True if anything
    /// came.
    ///
    /// # Errors
    ///
    /// `Code::Io` if the socket fails.
    pub fn poll(&mut self, sink: &mut dyn Sink) -> Result<bool> {
        self.words.polled.store(true, Ordering::Release);
        let result = self.service(sink);
        self.flush();
        result
    }

    /// Tells the next poll whether it has work, `more` than what the port knows
    /// of, and what it returns otherwise.
    pub fn publish(&mut self, status: u32, more: bool) {
        self.words.status.store(status, Ordering::Release);
        if self.out.len() >= GATHER {
            self.backlog.push_back(std::mem::take(&mut self.out));
        }
        let work = more
            || self.lost
            || !self.tries.watched()
            || !self.out.is_empty()
            || !self.backlog.is_empty();
        let known = self.words.attention.load(Ordering::Relaxed) & LOCAL != 0;
        if work && !known {
            self.words.attention.fetch_or(LOCAL, Ordering::AcqRel);
        } else if known && !work {
            self.words.attention.fetch_and(!LOCAL, Ordering::AcqRel);
        }
    }

    fn service(&mut self, sink: &mut dyn Sink) -> Result<bool> {
        let attention = self.words.attention.load(Ordering::Acquire);
        if attention & PEER_GONE != 0 {
            self.words.attention.fetch_and(!PEER_GONE, Ordering::AcqRel);
        }
        let flagged = attention & SOCKET != 0 && self.tries.watched();
        let hint = attention & PEER_GONE != 0;
        if !(flagged || hint || self.lost || self.tries.due(false)) {
            return Ok(false);
        }
        let (count, drained) = self.receive(sink)?;
        if count != 0 {
            self.tries.again();
        } else if (flagged || !self.tries.watched())
            && self.tries.in_vain()
            && self.transport.watcher().arm()
        {
            self.tries.leave();
        }
        // All that the peer has sent counts, before it is given up.
        if hint && !drained {
            self.words.attention.fetch_or(PEER_GONE, Ordering::AcqRel);
        } else if hint && self.peer.is_some() && !self.probe() {
            self.lost = true;
        }
        if self.lost && drained {
            self.peer_lost(sink);
        }
        Ok(count != 0)
    }

    fn flush(&mut self) {
        if !self.out.is_empty() {
            self.backlog.push_back(std::mem::take(&mut self.out));
        }
        let Some(peer) = &self.peer else {
            self.backlog.clear();
            return;
        };
        while let Some(message) = self.backlog.front() {
            // What the socket had to tell may be processed by the send: its
            // descriptor cannot be relied on before a receive found nothing.
            self.tries.again();
            match self.transport.send(peer, message) {
                Ok(Sent::Yes) => {
                    self.backlog.pop_front();
                }
                Ok(Sent::Full) => return,
                outcome => {
                    if let Err(e) = outcome {
                        limited!(self.limits.errors, error, &self.target, "{e}");
                    }
                    self.lost = true;
                    self.backlog.clear();
                }
            }
        }
    }

    /// Whether the host whose session it is can still be reached.
    fn probe(&mut self) -> bool {
        let Some(peer) = self.peer.as_ref().filter(|_| !self.lost) else {
            return false;
        };
        let mut noop = Vec::new();
        Frame::Noop.encode(self.session.session(), &mut noop);
        self.tries.again();
        match self.transport.send(peer, &noop) {
            Ok(Sent::Yes | Sent::Full) => true,
            Ok(Sent::Gone) => false,
            Err(e) => {
                limited!(self.limits.errors, error, &self.target, "{e}");
                false
            }
        }
    }

    /// Receives until nothing is left, or enough for one poll. How many
    /// messages, and whether nothing is left.
    fn receive(&mut self, sink: &mut dyn Sink) -> Result<(usize, bool)> {
        for count in 0..MESSAGES_PER_POLL {
            match self.transport.receive()? {
                Received::Nothing => return Ok((count, true)),
                Received::Message { peer, body } => {
                    self.message(&peer, &body, sink);
                    if let Some(text) = overdue(&self.backlog) {
                        self.violation(Reason::Protocol, &text, sink);
                    }
                }
                Received::Parts { peer, parts } => {
                    let text = format!("a message has {parts} parts, expected 1");
                    if self.peer.as_deref() == Some(&*peer) {
                        self.violation(Reason::Protocol, &text, sink);
                    } else {
                        limited!(
                            self.limits.foreign,
                            warn,
                            &self.target,
                            "ignored, from a peer without a session: {text}"
                        );
                    }
                }
            }
        }
        Ok((MESSAGES_PER_POLL, false))
    }

    fn message(&mut self, id: &[u8], body: &[u8], sink: &mut dyn Sink) {
        if self.peer.as_deref() == Some(id) {
            self.frames(body, sink);
            return;
        }
        if !self.begins(id, body) {
            return;
        }
        if self.peer.is_some() {
            if self.probe() {
                // A host asks again; by then the one before it may be gone.
                let text = "another host has the session";
                self.refuse(id, body, Reason::Busy, text);
                return;
            }
            self.peer_lost(sink);
        }
        self.peer = Some(id.to_vec());
        self.lost = false;
        self.frames(body, sink);
    }

    /// Whether a message of somebody without a session begins with an OPEN of
    /// our version. Who speaks another version or looks for the PCIe channel is
    /// told, and all else is ignored.
    fn begins(&mut self, id: &[u8], body: &[u8]) -> bool {
        match split(body) {
            Ok((header, ..)) if header.frame_type == frame_type::OPEN => true,
            Ok((header, ..)) if header.frame_type == frame_type::INIT => {
                let text = format!(
                    "this is the endpoint of a {:?} channel, not of a PCIe function",
                    self.session.kind()
                );
                self.refuse(id, body, Reason::Protocol, &text);
                false
            }
            Ok((header, ..)) => {
                limited!(
                    self.limits.foreign,
                    debug,
                    &self.target,
                    "ignored, from a peer without a session: frame type {:#04x} of session {:#x}",
                    header.frame_type,
                    header.session
                );
                false
            }
            Err(e @ WireError::Version { .. }) => {
                self.refuse(id, body, Reason::Version, &e.to_string());
                false
            }
            Err(e) => {
                limited!(
                    self.limits.foreign,
                    warn,
                    &self.target,
                    "ignored, from a peer without a session: {e}"
                );
                false
            }
        }
    }

    fn refuse(&mut self, id: &[u8], body: &[u8], reason: Reason, text: &str) {
        limited!(
            self.limits.refused,
            warn,
            &self.target,
            "a host is refused: {text}"
        );
        let mut message = Vec::new();
        refuse_message(body, reason, text, &mut message);
        if message.is_empty() {
            return;
        }
        self.tries.again();
        if let Err(e) = self.transport.send(id, &message) {
            limited!(self.limits.errors, error, &self.target, "{e}");
        }
    }

    /// Frames of the host whose session it is.
    fn frames(&mut self, body: &[u8], sink: &mut dyn Sink) {
        let mut rest = body;
        while self.peer.is_some() {
            match self.session.frame(rest, &mut self.out) {
                Ok((event, more)) => {
                    rest = more;
                    self.event(event, sink);
                }
                Err(violation) => {
                    self.violation(violation.reason(), &violation.to_string(), sink);
                    return;
                }
            }
            if rest.is_empty() {
                return;
            }
        }
    }

    fn event(&mut self, event: ChannelEvent<'_>, sink: &mut dyn Sink) {
        if log_enabled!(target: &self.target, Level::Trace) {
            trace!(target: &self.target, "{event:?}");
        }
        match event {
            ChannelEvent::Opened {
                host,
                mac,
                link,
                replaced,
            } => {
                if replaced {
                    // Nothing of the old session may reach the new one, except
                    // the answer to it.
                    self.backlog.clear();
                    sink.down();
                }
                limited!(
                    self.limits.sessions,
                    info,
                    &self.target,
                    "{host:?} has opened the channel, session {:#x}",
                    self.session.session()
                );
                sink.opened(&self.target, mac, link);
            }
            ChannelEvent::Down { reason, text } => {
                let text = format!("the host ended it: {reason:?} {text}");
                limited!(
                    self.limits.sessions,
                    info,
                    &self.target,
                    "channel down: {}",
                    text.trim_end()
                );
                self.forget(sink);
            }
            event => sink.event(&self.target, event),
        }
    }

    /// The host broke the protocol: tells it, and ends the session.
    fn violation(&mut self, reason: Reason, text: &str, sink: &mut dyn Sink) {
        limited!(
            self.limits.violations,
            error,
            &self.target,
            "the session is ended, the host broke the protocol: {text}"
        );
        self.session.fail(reason, text, &mut self.out);
        // The peer is forgotten, so the REFUSE goes out here.
        self.flush();
        self.forget(sink);
    }

    fn peer_lost(&mut self, sink: &mut dyn Sink) {
        if self.peer.is_some() {
            limited!(
                self.limits.sessions,
                info,
                &self.target,
                "channel down: the host disconnected"
            );
            self.session.disconnected();
            self.forget(sink);
        }
        self.lost = false;
    }

    fn forget(&mut self, sink: &mut dyn Sink) {
        self.peer = None;
        self.backlog.clear();
        self.out.clear();
        sink.down();
    }
}
