// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the NIC and the UART channel have in common: the socket, the host whose
//! session it is, and when to look at the socket.
//!
//! Frames are taken in and sent in [`Port::poll`] only. What other calls have
//! to say is kept until then; the credit of the host bounds it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind, DeviceChannel},
    door::{Door, TAKEN},
    limit::Limit,
    wire::Reason,
};
use log::{info, log_enabled, trace, Level};

use crate::{
    error::Result,
    hosts::{Hosts, Speaker},
    limited::limited,
    transport::{Received, Sent, Transport, CLOSE_LIMIT, GATHER},
    words::{Words, LOCAL},
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
    hosts: Hosts,
    words: &'static Words,
    limits: Limits,
}

/// The lines that whoever reaches the socket can cause.
#[derive(Default)]
struct Limits {
    violations: Limit,
    /// Of sessions that come and go.
    sessions: Limit,
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
            hosts: Hosts::new(Door::of_channel(kind), transport, &target),
            target,
            endpoint: endpoint.to_owned(),
            session: DeviceChannel::new(kind, window),
            out: Vec::new(),
            words,
            limits: Limits::default(),
        })
    }

    /// Says goodbye and closes the socket.
    pub fn close(mut self) {
        self.session.close(&mut self.out);
        let deadline = Instant::now() + CLOSE_LIMIT;
        loop {
            self.flush();
            if self.hosts.backlog.is_empty() || Instant::now() >= deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.hosts.close();
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
            self.hosts.backlog.push(std::mem::take(&mut self.out));
        }
        let work = more
            || self.hosts.door.is_lost()
            || !self.hosts.tries.watched()
            || !self.out.is_empty()
            || !self.hosts.backlog.is_empty();
        let known = self.words.attention.load(Ordering::Relaxed) & LOCAL != 0;
        if work && !known {
            self.words.attention.fetch_or(LOCAL, Ordering::AcqRel);
        } else if known && !work {
            self.words.attention.fetch_and(!LOCAL, Ordering::AcqRel);
        }
    }

    fn service(&mut self, sink: &mut dyn Sink) -> Result<bool> {
        let attention = &self.words.attention;
        let look = self.hosts.look(attention);
        if !self.hosts.is_due(look, false) {
            return Ok(false);
        }
        let came = self.receive(sink)?;
        let session = self.session.session();
        if self.hosts.received(look, came, attention, session) {
            self.peer_lost(sink);
        }
        Ok(came.0 != 0)
    }

    fn flush(&mut self) {
        self.hosts.backlog.push(std::mem::take(&mut self.out));
        if !self.hosts.door.is_taken() {
            self.hosts.backlog.clear();
            return;
        }
        if self.hosts.backlog.is_empty() {
            return;
        }
        // What the socket had to tell may be processed by the send: its
        // descriptor cannot be relied on before a receive found nothing.
        self.hosts.tries.again();
        match self.hosts.pass_on(|_| None) {
            Ok(Sent::Yes | Sent::Full) => {}
            outcome => {
                if let Err(e) = outcome {
                    self.hosts.failed(&e);
                }
                self.hosts.door.lose();
                self.hosts.backlog.clear();
            }
        }
    }

    /// Receives until nothing is left, or enough for one poll. How many
    /// messages, and whether nothing is left.
    fn receive(&mut self, sink: &mut dyn Sink) -> Result<(usize, bool)> {
        for count in 0..MESSAGES_PER_POLL {
            match self.hosts.receive()? {
                Received::Nothing => return Ok((count, true)),
                Received::Message { peer, body } => {
                    self.message(&peer, &body, sink);
                    if let Some(text) = self.hosts.overdue() {
                        self.violation(Reason::Protocol, &text, sink);
                    }
                }
                Received::Parts { peer, parts } => {
                    if let Some(text) = self.hosts.odd_parts(&peer, parts) {
                        self.violation(Reason::Protocol, &text, sink);
                    }
                }
            }
        }
        Ok((MESSAGES_PER_POLL, false))
    }

    fn message(&mut self, id: &[u8], body: &[u8], sink: &mut dyn Sink) {
        match self.hosts.hears(id, body) {
            None => {}
            Some(Speaker::Holder) => self.frames(body, sink),
            Some(Speaker::Asks) => {
                if self.hosts.door.is_taken() {
                    if self.hosts.probe(self.session.session()) {
                        // A host asks again; by then the one before it may be gone.
                        self.hosts.refuse(id, body, Reason::Busy, TAKEN);
                        return;
                    }
                    self.peer_lost(sink);
                }
                self.hosts.enter(id);
                self.frames(body, sink);
            }
        }
    }

    /// Frames of the host whose session it is.
    fn frames(&mut self, body: &[u8], sink: &mut dyn Sink) {
        let mut rest = body;
        while self.hosts.door.is_taken() {
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
                    self.hosts.backlog.clear();
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
        if self.hosts.part() {
            limited!(
                self.limits.sessions,
                info,
                &self.target,
                "channel down: the host disconnected"
            );
            self.session.disconnected();
            self.forget(sink);
        }
    }

    fn forget(&mut self, sink: &mut dyn Sink) {
        self.hosts.leave();
        self.out.clear();
        sink.down();
    }
}
