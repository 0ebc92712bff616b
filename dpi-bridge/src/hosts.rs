// SPDX-License-Identifier: MIT OR Apache-2.0

//! The hosts that can reach a socket, and the one of them whose session it is: what the bridge
//! and the channels have in common. [`Door`] decides; here it is done, and logged.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use accelerator_carrier::backlog::{Backlog, Bound};
use accelerator_protocol::{
    device::refuse_message,
    door::{Door, Heard},
    limit::Limit,
    wire::{Frame, Reason},
};

use crate::{
    error::{Error, Result},
    limited::limited,
    transport::{Received, Sent, Transport, MAX_BACKLOG},
    tries::Tries,
    waits::{Board, Moment},
    watcher::Watcher,
    words::{PEER_GONE, SOCKET},
};

/// The lines that whoever reaches the socket can cause.
#[derive(Default)]
struct Limits {
    foreign: Limit,
    refused: Limit,
    errors: Limit,
}

/// What is known when a poll begins.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The watcher says that the socket has something.
    flagged: bool,
    /// The watcher says that the host may be gone.
    hint: bool,
}

/// Whom a message is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The host whose session it is.
    Holder,
    /// One that asks for a session.
    Asks,
}

/// The hosts of a socket.
pub struct Hosts {
    /// Who has the session.
    pub door: Door,
    /// When the socket is looked at.
    pub tries: Tries,
    /// Messages that the queue of the host that has the session did not take.
    pub backlog: Backlog,
    /// Since when, if anybody wants to know.
    pub backlog_since: Option<Moment>,
    transport: Transport,
    target: String,
    limits: Limits,
}

/// Sends a message to the host that has the session.
fn send(door: &Door, transport: &Transport, message: &[u8]) -> Result<Sent> {
    match door.holder() {
        Some(id) => transport.send(id, message),
        None => Ok(Sent::Gone),
    }
}

impl Hosts {
    /// Those of a socket of which nobody has a session.
    pub fn new(door: Door, transport: Transport, target: &str) -> Self {
        Self {
            door,
            tries: Tries::default(),
            backlog: Backlog::new(Bound::Bytes(MAX_BACKLOG)),
            backlog_since: None,
            transport,
            target: target.to_owned(),
            limits: Limits::default(),
        }
    }

    /// The watcher of the socket.
    pub fn watcher(&mut self) -> &mut Watcher {
        self.transport.watcher()
    }

    /// Where to tell what is waited for.
    pub fn board(&self) -> &Board {
        self.transport.board()
    }

    /// Closes the socket.
    pub fn close(self) {
        self.transport.close();
    }

    /// A host has the session.
    pub fn enter(&mut self, id: &[u8]) {
        self.forget();
        self.door.enter(id, Instant::now());
    }

    /// Nobody has it any more.
    pub fn leave(&mut self) {
        self.forget();
        self.door.leave();
    }

    /// All was received of a host that is lost. Whether it had the session.
    pub fn part(&mut self) -> bool {
        self.forget();
        self.door.part()
    }

    fn forget(&mut self) {
        self.backlog.clear();
        self.backlog_since = None;
    }

    /// What is known when a poll begins.
    pub fn look(&self, attention: &AtomicU32) -> Look {
        let seen = attention.load(Ordering::Acquire);
        let hint = seen & PEER_GONE != 0;
        if hint {
            attention.fetch_and(!PEER_GONE, Ordering::AcqRel);
        }
        Look {
            flagged: seen & SOCKET != 0 && self.tries.watched(),
            hint,
        }
    }

    /// Whether to receive in this poll. `busy` is whether the RTL has something to do.
    pub fn is_due(&mut self, look: Look, busy: bool) -> bool {
        look.flagged || look.hint || self.door.is_lost() || self.tries.due(busy)
    }

    /// After `count` messages were received, and, if `drained`, nothing was left then. Whether
    /// the host that has the `session` is gone, with all received that it has sent.
    pub fn received(
        &mut self,
        look: Look,
        (count, drained): (usize, bool),
        attention: &AtomicU32,
        session: u64,
    ) -> bool {
        if count != 0 {
            self.tries.again();
        } else if (look.flagged || !self.tries.watched())
            && self.tries.in_vain()
            && self.transport.watcher().arm()
        {
            // If only the watcher said so, there were only commands between
            // the socket and its threads.
            self.tries.leave();
        }
        // All that the peer has sent counts, before it is given up.
        if look.hint && !drained {
            attention.fetch_or(PEER_GONE, Ordering::AcqRel);
        } else if look.hint && self.door.is_taken() && !self.probe(session) {
            self.door.lose();
        }
        drained && self.door.is_lost()
    }

    /// Takes the next message, without waiting.
    ///
    /// # Errors
    ///
    /// `Code::Io` if the socket fails.
    pub fn receive(&self) -> Result<Received> {
        self.transport.receive()
    }

    /// Whom a message is of. If of nobody to talk to, it is dealt with.
    pub fn hears(&mut self, id: &[u8], body: &[u8]) -> Option<Speaker> {
        match self.door.hears(id, body) {
            Heard::Holder => return Some(Speaker::Holder),
            Heard::Asks => return Some(Speaker::Asks),
            Heard::Refused(reason, text) => self.refuse(id, body, reason, &text),
            Heard::Foreign {
                frame_type,
                session,
            } => limited!(
                self.limits.foreign,
                debug,
                &self.target,
                "ignored, from a peer without a session: frame type {frame_type:#04x} of session \
                 {session:#x}"
            ),
            Heard::Odd(e) => self.ignored(&e.to_string()),
        }
        None
    }

    fn ignored(&mut self, text: &str) {
        limited!(
            self.limits.foreign,
            warn,
            &self.target,
            "ignored, from a peer without a session: {text}"
        );
    }

    /// A message has another number of parts than one. What is wrong, if it is of the host that
    /// has the session.
    pub fn odd_parts(&mut self, id: &[u8], parts: usize) -> Option<String> {
        let text = format!("a message has {parts} parts, expected 1");
        if self.door.is_holder(id) {
            return Some(text);
        }
        self.ignored(&text);
        None
    }

    /// What is wrong with the host that has the session, if too much waits for it.
    pub fn overdue(&self) -> Option<String> {
        let excess = self.backlog.excess()?;
        Some(format!("{excess}, and it asks for more"))
    }

    /// Tells whoever has sent `body` that it gets no session.
    pub fn refuse(&mut self, id: &[u8], body: &[u8], reason: Reason, text: &str) {
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
            self.failed(&e);
        }
    }

    /// Whether the host that has the `session` can still be reached.
    pub fn probe(&mut self, session: u64) -> bool {
        if self.door.reachable().is_none() {
            return false;
        }
        let mut noop = Vec::new();
        Frame::Noop.encode(session, &mut noop);
        self.tries.again();
        match self.send(&noop) {
            Ok(Sent::Yes | Sent::Full) => true,
            Ok(Sent::Gone) => false,
            Err(e) => {
                self.failed(&e);
                false
            }
        }
    }

    /// Sends a message to the host that has the session.
    ///
    /// # Errors
    ///
    /// `Code::Io` if the socket fails.
    pub fn send(&self, message: &[u8]) -> Result<Sent> {
        send(&self.door, &self.transport, message)
    }

    /// Sends what was kept, as far as there is room: by `beside`, where the session goes through
    /// something else than the socket.
    ///
    /// # Errors
    ///
    /// Of `beside`; `Code::Io` if the socket fails.
    pub fn pass_on(
        &mut self,
        mut beside: impl FnMut(&[u8]) -> Option<Result<Sent>>,
    ) -> Result<Sent> {
        let (door, transport) = (&self.door, &self.transport);
        let passed_on = self.backlog.pass_on(|message| {
            match beside(message).unwrap_or_else(|| send(door, transport, message)) {
                Ok(Sent::Yes) => Ok(true),
                other => Err(other),
            }
        });
        passed_on.map_or_else(|other| other, |_| Ok(Sent::Yes))
    }

    /// Logs that the socket has failed.
    pub fn failed(&mut self, e: &Error) {
        limited!(self.limits.errors, error, &self.target, "{e}");
    }
}
