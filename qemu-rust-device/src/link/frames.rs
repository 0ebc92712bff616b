// SPDX-License-Identifier: GPL-2.0-or-later

//! What comes from the simulator, and what each frame does.

use std::time::Instant;

use accelerator_protocol::{
    host::{HostEvent, Ignored, State},
    wire::{Reason, Status},
};
use log::debug;

use super::{
    deeds::Deed,
    descriptors::{BELL, LATE, MONITOR, SOCKET},
    memory::{Message, Received},
    serving::{serving, Served},
    voice::Kind,
    Link, Seen, Shared,
};

impl Link {
    /// Serves what has come, at most `limit` messages. Only for the leader, with
    /// the number of its lead. `ready` is what [`Link::poll`] returned.
    pub(super) fn serve(&self, lead: u64, limit: usize, ready: u64) -> Served {
        serving(self, || self.serve_messages(lead, limit, ready))
    }

    fn serve_messages(&self, lead: u64, limit: usize, ready: u64) -> Served {
        let mut served = 0;
        loop {
            let message;
            {
                let mut shared = self.lock();
                if served >= limit {
                    self.let_go(&mut shared);
                    return Served::More;
                }
                shared.monitor_ready |= ready & MONITOR != 0;
                shared.socket_ready |= ready & SOCKET != 0;
                if served == 0 {
                    if ready & BELL != 0 {
                        self.rung(&mut shared);
                    }
                    self.joined(&mut shared);
                    shared.answered = 0;
                    if ready & LATE != 0 {
                        shared.gather_timer = false;
                        if shared.gathered != 0 {
                            self.flush(&mut shared);
                        }
                    }
                }
                if shared.waiting.is_ready() {
                    drop(shared);
                    served += 1;
                    if !self.go_on(lead) {
                        return Served::Lost;
                    }
                    continue;
                }
                if shared.waiting.is_full() {
                    self.let_go(&mut shared);
                    return Served::All;
                }
                if shared.wire.is_none() {
                    self.connect_again(&mut shared);
                }
                match self.receive(&mut shared) {
                    Received::Message(received) => message = received,
                    Received::Failed => return Served::All,
                    Received::Gone => {
                        self.fail(&mut shared, "the connection was lost".into(), None);
                        return Served::All;
                    }
                    // Sending may take what tells of the next message, so the
                    // socket is asked again.
                    Received::Nothing if self.let_go(&mut shared) => continue,
                    Received::Nothing => {
                        // Messages that came before the connection went are
                        // served first, so the order is this one. Asking in
                        // vain costs a system call.
                        if shared.monitor_ready {
                            if self.connection(&mut shared) {
                                continue;
                            }
                            shared.monitor_ready = false;
                        }
                        return Served::All;
                    }
                }
            }
            served += 1;
            if message.is_empty() {
                self.fail(
                    &mut self.lock(),
                    "it sent an empty message, expected at least a frame of 24 bytes".into(),
                    Some(Reason::Protocol),
                );
            }
            if !self.serve_frames(lead, message, 0) {
                return Served::Lost;
            }
        }
    }

    /// Receives from what carries the session, and from the socket beside it.
    fn receive(&self, shared: &mut Shared) -> Received {
        let received = self.receive_memory(shared);
        let used = shared.memory.is_used();
        if !matches!(received, Received::Nothing) || used && !shared.socket_ready {
            return received;
        }
        let Some(wire) = &shared.wire else {
            return Received::Nothing;
        };
        let mut message = zmq::Message::new();
        loop {
            match wire.socket.recv(&mut message, zmq::DONTWAIT) {
                Ok(()) => break,
                Err(zmq::Error::EAGAIN) => {
                    shared.socket_ready = false;
                    return Received::Nothing;
                }
                Err(zmq::Error::EINTR) => {}
                Err(e) => {
                    self.fail(shared, format!("receiving failed: {e}"), None);
                    return Received::Failed;
                }
            }
        }
        if message.get_more() {
            self.fail(
                shared,
                "its message has several parts, expected one".into(),
                Some(Reason::Protocol),
            );
            return Received::Failed;
        }
        if !Self::may_come_beside(shared, &message) {
            self.fail(
                shared,
                "a frame came on the socket, the session goes through shared memory".into(),
                Some(Reason::Protocol),
            );
            return Received::Failed;
        }
        Received::Message(Message::Socket(message))
    }

    /// Serves the frames of a message from `at` on. Returns whether this thread
    /// still leads.
    pub(super) fn serve_frames(&self, lead: u64, mut message: Message, mut at: usize) -> bool {
        while at < message.len() {
            let (deed, rest) = self.serve_frame(&message, at);
            at = rest;
            if let Some(deed) = deed {
                match self.perform(lead, message, deed, at, false) {
                    Some(back) => message = back,
                    None => return false,
                }
            }
        }
        self.lock().memory.reuse(message);
        true
    }

    /// Serves the frame at `at`. Returns what it asks of the machine, and where
    /// the next one is; there is none if the session is over.
    fn serve_frame(&self, message: &[u8], at: usize) -> (Option<Deed>, usize) {
        let mut shared = self.lock();
        if shared.session.state() == State::Closed {
            return (None, message.len());
        }
        let (event, rest) = match shared.session.frame(&message[at..]) {
            Ok(ok) => ok,
            Err(e) => {
                self.violation(&mut shared, &e);
                return (None, message.len());
            }
        };
        let next = message.len() - rest.len();
        let range = |part: &[u8]| {
            let begin = part.as_ptr() as usize - message.as_ptr() as usize;
            begin..begin + part.len()
        };
        if !matches!(event, HostEvent::Ignored(Ignored::Stale { .. })) {
            shared.seen = Some(Seen {
                what: name_of(&event),
                when: Instant::now(),
            });
        }
        let mut deed = None;
        match event {
            HostEvent::ReadDone { tag, status, data } => {
                shared.deaf = false;
                shared.answers.push((tag, status, data));
                self.next(&shared);
            }
            HostEvent::WritesDone { status, .. } => {
                if status != Status::Ok {
                    self.say(&mut shared, Kind::Frame, || {
                        format!("a posted write ended with {status:?} (AXI error response)")
                    });
                }
                if shared.gathered != 0 {
                    self.flush(&mut shared);
                }
                self.next(&shared);
            }
            HostEvent::DmaRead { tag, addr, len } => {
                deed = Some(Deed::DmaRead { tag, addr, len });
            }
            HostEvent::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                deed = Some(Deed::DmaWrite {
                    tag,
                    addr,
                    data: range(data),
                    enables: enables.map(range),
                });
            }
            HostEvent::Msix { vector } => {
                shared.counters.interrupts += 1;
                deed = Some(Deed::Msix(vector));
            }
            HostEvent::Error { kind } => deed = Some(Deed::Error(kind)),
            HostEvent::FaultsDone { tag, refused, text } => {
                self.say(&mut shared, Kind::Plan, || {
                    let how = if refused { "refused" } else { "taken" };
                    format!("plan of faults {how} by the simulator: {text}")
                });
                shared.plan_answered(tag, refused, text.to_string());
                self.next(&shared);
            }
            HostEvent::Intx { level } => deed = Some(Deed::Intx(level)),
            HostEvent::BadVector { vector, vectors } => self.say(&mut shared, Kind::Frame, || {
                format!("vector {vector} ignored, the function has {vectors} vectors")
            }),
            HostEvent::LateRead { tag } => {
                shared.deaf = false;
                debug!("{}: late completion of tag {tag} dropped", self.name());
            }
            HostEvent::Time { ns } => {
                drop(shared);
                self.root.time(ns);
                shared = self.lock();
            }
            HostEvent::ResetDone => {
                debug!("{}: reset done", self.name());
                self.next(&shared);
            }
            HostEvent::Share { name } => self.join(&mut shared, name),
            HostEvent::Configured(config) => {
                if !self.keeps(&mut shared, &config) {
                    self.configured(&mut shared, config);
                }
            }
            HostEvent::Refused { reason, text } => {
                let why = format!("it refused the session ({reason:?}): {text}");
                // In realize and where the link was up others say why.
                if shared.accepted.is_some() && !shared.up {
                    self.say(&mut shared, Kind::Session, || {
                        format!("no session with the simulator: {why}")
                    });
                }
                self.fail(&mut shared, why, None);
            }
            HostEvent::Closed { .. } => {
                self.fail(&mut shared, "it has closed the session".into(), None);
            }
            HostEvent::Ignored(Ignored::Stale { session }) => {
                shared.counters.stale += 1;
                let ours = shared.session.session();
                self.say(&mut shared, Kind::Frame, || {
                    format!("frame of session {session:016x} ignored, ours is {ours:016x}")
                });
            }
            HostEvent::Ignored(Ignored::Void) => self.next(&shared),
            HostEvent::Ignored(Ignored::Noop) => {}
        }
        self.put_off(&mut shared);
        self.update_gate(&mut shared);
        (deed, next)
    }
}

fn name_of(event: &HostEvent<'_>) -> &'static str {
    match event {
        HostEvent::Share { .. } => "SHARE",
        HostEvent::Configured(_) => "CONFIG",
        HostEvent::Refused { .. } => "REFUSE",
        HostEvent::Closed { .. } => "BYE",
        HostEvent::ReadDone { .. } | HostEvent::LateRead { .. } => "MMIO_READ_DONE",
        HostEvent::WritesDone { .. } => "MMIO_WRITE_DONE",
        HostEvent::DmaRead { .. } => "DMA_READ",
        HostEvent::DmaWrite { .. } => "DMA_WRITE",
        HostEvent::Msix { .. } | HostEvent::BadVector { .. } => "MSIX",
        HostEvent::Intx { .. } => "INTX",
        HostEvent::Error { .. } => "ERROR",
        HostEvent::FaultsDone { .. } => "FAULTS_DONE",
        HostEvent::ResetDone => "RESET_DONE",
        HostEvent::Time { .. } => "TIME",
        HostEvent::Ignored(Ignored::Noop) => "NOOP",
        HostEvent::Ignored(_) => "a frame without effect",
    }
}
