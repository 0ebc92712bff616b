// SPDX-License-Identifier: MIT OR Apache-2.0

//! Towards the host: sending, receiving, and who it is.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use accelerator_protocol::{
    device::{refuse_message, DeviceEvent},
    wire::{frame_type, split, Frame, Reason, Status, WireError, HEADER_LEN},
};
use log::{debug, log_enabled, trace, Level};

use super::{
    send, Candidate, Context, Dma, DmaState, Held, Item, Mmio, Peer, Run, Stat, HOLD, REQUESTS,
    REQUEST_BYTES, UNDER_WAY,
};
use crate::{
    error::Result,
    limited::limited,
    memory::Wanted,
    order::Kind,
    record,
    transport::{overdue, Received, Sent, GATHER},
    words::TIMED,
};

/// Messages taken in at one poll: the RTL gets one event at a poll, so more of
/// them can wait, and asking whether there are more costs a system call before
/// the RTL sees the first.
const MESSAGES_PER_POLL: usize = 1;

/// Bytes of a TIME frame.
const TIME_BYTES: usize = HEADER_LEN + 8;

/// How long a second host waits for the first one to prove gone, and how often
/// that is tried. A QEMU that is restarted can be here before the end of the
/// old connection is known.
const CANDIDATE_WAIT: Duration = Duration::from_millis(250);
const CANDIDATE_PROBE: Duration = Duration::from_millis(5);

/// After this time in the handshake a host has to make room for another one.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

impl Run {
    /// Sends what the call had to say, after what could not be sent before.
    pub fn flush(&mut self, c: &Context<'_>) -> Result<()> {
        let backlog =
            self.peer.as_ref().is_some_and(|p| !p.backlog.is_empty()) || self.memory.has_rest();
        if !backlog && (self.out.is_empty() || self.holds()) {
            return Ok(());
        }
        let (Some(peer), false) = (&mut self.peer, self.lost) else {
            self.drop_out();
            return Ok(());
        };
        self.held.count = 0;
        self.held.bytes = 0;
        if !self.out.is_empty() {
            self.session.report_writes(&mut self.out);
        }
        // What the socket had to tell may have been processed by the send: its
        // descriptor cannot be relied on before a receive found nothing. Nobody
        // answers the time, so for that one receive will do.
        if self.memory.is_attached() {
            // The socket has nothing to do with it.
        } else if self.out.len() == TIME_BYTES && self.out[6] == frame_type::TIME {
            self.tries.once();
        } else {
            self.tries.again();
        }
        let mut sent = self.memory.go_on();
        while let (Ok(Sent::Yes), Some(message)) = (&sent, peer.backlog.front()) {
            sent = send(&mut self.memory, &self.transport, &peer.id, message);
            if matches!(sent, Ok(Sent::Yes)) {
                peer.backlog.pop_front();
            }
        }
        let sent = match sent {
            Ok(Sent::Yes) if !self.out.is_empty() => {
                send(&mut self.memory, &self.transport, &peer.id, &self.out)
            }
            other => other,
        };
        match sent {
            Ok(Sent::Yes) => {
                if peer.backlog_since.take().is_some() {
                    debug!(target: c.target, "the host takes frames again");
                }
                self.out.clear();
                Ok(())
            }
            Ok(Sent::Full) => {
                if peer.backlog_since.is_none() {
                    debug!(target: c.target, "the host does not take frames, they wait");
                    peer.backlog_since = Some(Instant::now());
                }
                match peer.backlog.back_mut() {
                    Some(last) if last.len() + self.out.len() <= GATHER => {
                        last.append(&mut self.out);
                    }
                    _ if self.out.is_empty() => {}
                    _ => peer.backlog.push_back(std::mem::take(&mut self.out)),
                }
                Ok(())
            }
            Ok(Sent::Gone) => {
                self.lost = true;
                self.out.clear();
                Ok(())
            }
            Err(e) => {
                self.lost = true;
                self.out.clear();
                limited!(self.limits.errors, error, c.target, "{e}");
                Err(e)
            }
        }
    }

    /// Forgets what was to be sent.
    fn drop_out(&mut self) {
        self.out.clear();
        self.held.count = 0;
        self.held.bytes = 0;
    }

    /// A DMA request was put into `out`, which had so many bytes before.
    pub(super) fn requested(&mut self, before: usize) {
        if before == self.held.bytes {
            if self.held.count == 0 {
                self.held.since = Instant::now();
            }
            self.held.count += 1;
            self.held.bytes = self.out.len();
        }
    }

    /// Whether what is in `out` waits for more of its kind.
    fn holds(&self) -> bool {
        let Held {
            count,
            bytes,
            since,
        } = self.held;
        let waiting = |d: &&Dma| matches!(d.state, DmaState::Waiting);
        count != 0
            && count < REQUESTS
            && !self.memory.is_attached()
            && bytes == self.out.len()
            && bytes < REQUEST_BYTES
            && self.peer.is_some()
            && !self.lost
            && self.dma.iter().filter(waiting).count() >= UNDER_WAY + count
            && since.elapsed() < HOLD
    }

    /// The host wants to know the simulated time, or not any more.
    fn time_asked(&mut self, interval: u64, c: &Context<'_>) {
        if interval == 0 {
            c.attention.fetch_and(!TIMED, Ordering::AcqRel);
            debug!(target: c.target, "the host does not follow the simulated time any more");
            return;
        }
        let period = u64::from(self.session.config().clock_period_ps).max(1);
        // At most 10^12, so it does not overflow.
        self.time_clocks = (interval * 1000).div_ceil(period);
        c.attention.fetch_or(TIMED, Ordering::AcqRel);
        // Now, for the host to begin with.
        c.timing.due_in(0);
        limited!(
            self.limits.clock,
            info,
            c.target,
            "the host follows the simulated time, told each {} clocks",
            self.time_clocks
        );
    }

    /// Tells the simulated time, if it is time to.
    pub(super) fn tell_time(&mut self, c: &Context<'_>) {
        if c.attention.load(Ordering::Relaxed) & TIMED == 0 || !c.timing.is_due() {
            return;
        }
        c.timing.due_in(self.time_clocks);
        // A host that takes no frames is not sent more and more of them.
        if self.peer.as_ref().is_some_and(|p| p.backlog.is_empty()) {
            let period = u128::from(self.session.config().clock_period_ps);
            let ns = u128::from(c.timing.clocks()) * period / 1000;
            self.session
                .time(u64::try_from(ns).unwrap_or(u64::MAX), &mut self.out);
        }
    }

    /// Sends to a host that has no session.
    fn send_stranger(&mut self, id: &[u8], message: &[u8], c: &Context<'_>) {
        if message.is_empty() {
            return;
        }
        self.tries.again();
        if let Err(e) = self.transport.send(id, message) {
            limited!(self.limits.errors, error, c.target, "{e}");
        }
    }

    /// Whether the host whose session it is can still be reached.
    pub(super) fn probe(&mut self, c: &Context<'_>) -> bool {
        let Some(peer) = &self.peer else {
            return false;
        };
        if self.lost {
            return false;
        }
        let mut noop = Vec::new();
        Frame::Noop.encode(self.session.session(), &mut noop);
        self.tries.again();
        match self.transport.send(&peer.id, &noop) {
            Ok(Sent::Yes | Sent::Full) => true,
            Ok(Sent::Gone) => false,
            Err(e) => {
                limited!(self.limits.errors, error, c.target, "{e}");
                false
            }
        }
    }

    /// Receives until nothing is left, or enough for one poll. How many
    /// messages, and whether nothing is left.
    pub(super) fn receive(&mut self, c: &mut Context<'_>) -> Result<(usize, bool)> {
        for count in 0..MESSAGES_PER_POLL {
            match self.transport.receive()? {
                Received::Nothing => return Ok((count, true)),
                Received::Message { peer, body } => {
                    self.before_message(c)?;
                    self.message(&peer, &body, c);
                    if let Some(text) = self.peer.as_ref().and_then(|p| overdue(&p.backlog)) {
                        self.violation(Reason::Protocol, &text, c);
                    }
                }
                Received::Parts { peer, parts } => self.odd_parts(&peer, parts, c),
            }
        }
        Ok((MESSAGES_PER_POLL, false))
    }

    /// Takes messages out of shared memory, `limit` at most. Whether there were any.
    pub(super) fn receive_memory(&mut self, limit: usize, c: &mut Context<'_>) -> bool {
        let mut message = std::mem::take(&mut self.message);
        let mut any = false;
        for _ in 0..limit {
            // A frame may end the session, and with it the memory.
            let Some(end) = self.memory.end_mut() else {
                break;
            };
            match end.receive(&mut message) {
                Ok(false) => break,
                Ok(true) => {
                    any = true;
                    self.frames(&message, c);
                    self.release(c.timing);
                    if let Some(text) = self.peer.as_ref().and_then(|p| overdue(&p.backlog)) {
                        self.violation(Reason::Protocol, &text, c);
                    }
                }
                Err(e) => {
                    self.violation(Reason::Protocol, &e.to_string(), c);
                    break;
                }
            }
        }
        self.message = message;
        any
    }

    /// What was held goes out before anything that the message brings about, the
    /// end of the session for instance.
    fn before_message(&mut self, c: &Context<'_>) -> Result<()> {
        if self.held.count == 0 {
            return Ok(());
        }
        self.held.count = 0;
        self.flush(c)
    }

    fn is_peer(&self, id: &[u8]) -> bool {
        self.peer.as_ref().is_some_and(|p| p.id == id)
    }

    fn odd_parts(&mut self, id: &[u8], parts: usize, c: &mut Context<'_>) {
        let text = format!("a message has {parts} parts, expected 1");
        if self.is_peer(id) {
            self.violation(Reason::Protocol, &text, c);
        } else {
            limited!(
                self.limits.foreign,
                warn,
                c.target,
                "ignored, from a peer without a session: {text}"
            );
        }
    }

    fn message(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        match &self.peer {
            Some(peer) if peer.id == id && self.memory.is_attached() => self.beside(body, c),
            Some(peer) if peer.id == id => self.frames(body, c),
            Some(_) => self.stranger(id, body, c),
            None => self.newcomer(id, body, c),
        }
    }

    /// A message on the socket of a session that goes through shared memory: a sign of life, or
    /// the beginning of another session.
    fn beside(&mut self, body: &[u8], c: &mut Context<'_>) {
        match split(body) {
            Ok((header, ..)) if header.frame_type == frame_type::INIT => self.frames(body, c),
            Ok((header, _, rest)) if header.frame_type == frame_type::NOOP && rest.is_empty() => {}
            Ok((header, ..)) => {
                let text = format!(
                    "frame type {:#04x} came on the socket, the session goes through shared memory",
                    header.frame_type
                );
                self.violation(Reason::Protocol, &text, c);
            }
            Err(e) => self.violation(Reason::Protocol, &e.to_string(), c),
        }
    }

    /// A message while there is no session. Only INIT begins one.
    pub(super) fn newcomer(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        if !self.begins(id, body, c) || self.is_dark(id, body) {
            return;
        }
        self.peer = Some(Peer {
            id: id.to_vec(),
            backlog: VecDeque::new(),
            backlog_since: None,
            handshake_since: Instant::now(),
        });
        self.lost = false;
        self.frames(body, c);
    }

    /// Whether a message of somebody without a session begins with an INIT of
    /// our version. If not, whoever speaks another version is told, and all
    /// else is ignored.
    fn begins(&mut self, id: &[u8], body: &[u8], c: &Context<'_>) -> bool {
        match split(body) {
            Ok((header, ..)) if header.frame_type == frame_type::INIT => true,
            Ok((header, ..)) => {
                limited!(
                    self.limits.foreign,
                    debug,
                    c.target,
                    "ignored, from a peer without a session: frame type {:#04x} of session {:#x}",
                    header.frame_type,
                    header.session
                );
                false
            }
            Err(e @ WireError::Version { .. }) => {
                self.refuse(id, body, Reason::Version, &e.to_string(), c);
                false
            }
            Err(e) => {
                limited!(
                    self.limits.foreign,
                    warn,
                    c.target,
                    "ignored, from a peer without a session: {e}"
                );
                false
            }
        }
    }

    fn refuse(&mut self, id: &[u8], body: &[u8], reason: Reason, text: &str, c: &Context<'_>) {
        limited!(
            self.limits.refused,
            warn,
            c.target,
            "a host is refused: {text}"
        );
        let mut message = Vec::new();
        refuse_message(body, reason, text, &mut message);
        self.send_stranger(id, &message, c);
    }

    /// A message of somebody else while there is a session.
    fn stranger(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        if !self.begins(id, body, c) {
            return;
        }
        let now = Instant::now();
        let stuck = self
            .peer
            .as_ref()
            .is_some_and(|p| !self.session.is_up() && p.handshake_since + HANDSHAKE_LIMIT < now);
        if stuck {
            self.violation(
                Reason::Busy,
                "the handshake was not finished, and another host asks",
                c,
            );
            self.newcomer(id, body, c);
            return;
        }
        if !self.probe(c) {
            self.lost = true;
            self.peer_lost(c);
            self.newcomer(id, body, c);
            return;
        }
        match &self.candidate {
            Some(other) if other.id != id => {
                self.refuse(id, body, Reason::Busy, "another host has the session", c);
            }
            _ => {
                self.candidate = Some(Candidate {
                    id: id.to_vec(),
                    message: body.to_vec(),
                    deadline: now + CANDIDATE_WAIT,
                    probe: now + CANDIDATE_PROBE,
                });
            }
        }
    }

    pub(super) fn look_after_candidate(&mut self, c: &mut Context<'_>) {
        let Some(mut candidate) = self.candidate.take() else {
            return;
        };
        if self.peer.is_none() {
            self.newcomer(&candidate.id, &candidate.message, c);
            return;
        }
        let now = Instant::now();
        if now < candidate.probe {
            self.candidate = Some(candidate);
            return;
        }
        if !self.probe(c) {
            // What the old host sent last was received before this.
            self.lost = true;
            self.candidate = Some(candidate);
        } else if now >= candidate.deadline {
            let Candidate { id, message, .. } = candidate;
            self.refuse(
                &id,
                &message,
                Reason::Busy,
                "another host has the session",
                c,
            );
        } else {
            candidate.probe = now + CANDIDATE_PROBE;
            self.candidate = Some(candidate);
        }
    }

    /// Frames of the host whose session it is.
    fn frames(&mut self, body: &[u8], c: &mut Context<'_>) {
        let mut rest = body;
        loop {
            match self.session.frame(rest, &mut self.out) {
                Ok((event, more)) => {
                    rest = more;
                    self.event(event, c);
                }
                Err(violation) => {
                    self.violation(violation.reason(), &violation.to_string(), c);
                    return;
                }
            }
            if rest.is_empty() || self.peer.is_none() {
                return;
            }
        }
    }

    /// The host broke the protocol, or cannot have the function: tells it, and ends the session.
    fn violation(&mut self, reason: Reason, text: &str, c: &mut Context<'_>) {
        let what = match reason {
            Reason::Configuration => "a host is refused",
            _ => "the session is ended, the host broke the protocol",
        };
        limited!(self.limits.violations, error, c.target, "{what}: {text}");
        self.session.fail(reason, text, &mut self.out);
        // The peer is forgotten, so the REFUSE goes out here.
        if let Err(e) = self.flush(c) {
            debug!(target: c.target, "the host was not told: {e}");
        }
        self.link_down(c, "protocol error");
        self.peer = None;
        self.memory.end(self.transport.watcher());
    }

    /// Ends the session in order.
    pub(super) fn end_session(&mut self, why: &str, c: &mut Context<'_>) -> Result<()> {
        self.session.close(&mut self.out);
        // The peer is forgotten, so the BYE goes out here.
        let sent = self.flush(c);
        self.link_down(c, why);
        self.peer = None;
        self.memory.end(self.transport.watcher());
        sent
    }

    /// The peer cannot be reached any more.
    pub(super) fn peer_lost(&mut self, c: &mut Context<'_>) {
        self.lost = false;
        // Requests that were held are not for the host that comes next.
        self.drop_out();
        if self.peer.take().is_some() {
            self.session.disconnected();
            self.link_down(c, "the host disconnected");
        }
        self.memory.end(self.transport.watcher());
    }

    /// A host asks for a session, and with `asked` whether it can go through shared memory.
    fn offer(&mut self, asked: bool, c: &mut Context<'_>) {
        self.memory.end(self.transport.watcher());
        if asked {
            let name = self.memory.offer(self.transport.watcher());
            if let Err(e) = &name {
                limited!(
                    self.limits.memory,
                    warn,
                    c.target,
                    "there is no shared memory for the session, it goes through the socket: {e}"
                );
            }
            if name.is_ok() || self.memory.wanted() != Wanted::On {
                self.session.answer(name.ok().as_deref(), &mut self.out);
                return;
            }
        } else if self.memory.wanted() != Wanted::On {
            return;
        }
        // The configuration, if it is there already, is not for this host.
        self.out.clear();
        self.violation(
            Reason::Configuration,
            "shared memory is on here, and the session cannot go through it",
            c,
        );
    }

    fn event(&mut self, event: DeviceEvent<'_>, c: &mut Context<'_>) {
        if log_enabled!(target: c.target, Level::Trace) {
            trace!(target: c.target, "{event:?}");
        }
        match event {
            DeviceEvent::Offered {
                host,
                replaced,
                asked,
            } => {
                if replaced {
                    self.link_down(c, "the host began another session");
                }
                if let Some(peer) = &mut self.peer {
                    peer.handshake_since = Instant::now();
                }
                debug!(
                    target: c.target,
                    "{host:?} asks for session {:#x}",
                    self.session.session()
                );
                self.offer(asked, c);
            }
            DeviceEvent::Attached(attached) => {
                if !self.memory.attached(attached, self.transport.watcher()) {
                    self.violation(
                        Reason::Protocol,
                        "ATTACH says that the host has the shared memory, which nobody has got",
                        c,
                    );
                }
            }
            DeviceEvent::Up => {
                c.count(Stat::Sessions, 1);
                limited!(
                    self.limits.link,
                    info,
                    c.target,
                    "link up, session {:#x}, through {}",
                    self.session.session(),
                    if self.memory.is_attached() {
                        "shared memory"
                    } else {
                        "the socket"
                    }
                );
                self.control.up = true;
                c.observe(|o| o.link(true));
                self.function_begins(c);
            }
            DeviceEvent::Down { reason, text } => {
                let text = format!("the host ended it: {reason:?} {text}");
                self.link_down(c, text.trim_end());
                self.peer = None;
                self.memory.end(self.transport.watcher());
            }
            DeviceEvent::Read {
                tag,
                bar,
                len,
                offset,
            } => {
                let number = record::number();
                c.observe(|o| o.mmio_read(number, tag, bar, len, offset));
                if self.faults.is_some() && self.read_fails(number, (tag, bar, len, offset), c) {
                    return;
                }
                self.mmio(Kind::Read, number, tag, bar, len, offset, 0);
            }
            DeviceEvent::Write {
                tag,
                bar,
                len,
                offset,
                data,
            } => {
                let number = record::number();
                c.observe(|o| o.mmio_write(number, tag, bar, len, offset, data));
                let data = if self.faults.is_some() {
                    match self.write_fails(number, (tag, bar, len, offset), data, c) {
                        Some(data) => data,
                        None => return,
                    }
                } else {
                    data
                };
                self.mmio(Kind::Write, number, tag, bar, len, offset, data);
            }
            DeviceEvent::DmaReadDone { tag, status, data } => {
                c.observe(|o| o.dma_answered(tag, status));
                self.dma_done(Kind::DmaRead, tag, status, data, c);
            }
            DeviceEvent::DmaWriteDone { tag, status } => {
                c.observe(|o| o.dma_answered(tag, status));
                self.dma_done(Kind::DmaWrite, tag, status, &[], c);
            }
            DeviceEvent::Reset { tag, kind } => {
                debug!(target: c.target, "tag={tag} reset {kind:?}");
                let number = record::number();
                c.observe(|o| o.reset(number, tag, kind));
                self.queue.clear();
                self.done_here.clear();
                // Of several that the RTL has not heard of the last one is
                // answered, which answers them all, and the strongest told.
                let kind = match self.control.reset {
                    Some((_, waiting)) if waiting as u32 > kind as u32 => waiting,
                    _ => kind,
                };
                self.control.reset = Some((tag, kind));
                self.reset_fails(number, c);
            }
            DeviceEvent::Function(function) => self.function_told(function),
            DeviceEvent::Faults { text, .. } => self.faults_told(text, c),
            DeviceEvent::Clock { interval } => self.time_asked(interval, c),
            DeviceEvent::Ignored => {}
        }
    }

    // All of them are of the frame.
    #[allow(clippy::too_many_arguments)]
    fn mmio(
        &mut self,
        kind: Kind,
        number: u64,
        tag: u32,
        bar: u8,
        len: u8,
        offset: u64,
        data: u64,
    ) {
        // The session has checked the range, and the configuration that the
        // base is a multiple of the size.
        let base = self.session.config().bars[usize::from(bar)].axi_base;
        self.queue.push(
            kind,
            Item::Mmio(Mmio {
                number,
                tag,
                bar,
                len,
                addr: base + offset,
                data,
            }),
        );
    }

    fn dma_done(&mut self, kind: Kind, tag: u32, status: Status, data: &[u8], c: &Context<'_>) {
        // The session knows the tag, so it is in the table.
        if let Some(dma) = self.dma.iter_mut().find(|d| d.tag == tag) {
            dma.state = DmaState::Done {
                status,
                data: data.to_vec(),
                pos: 0,
                announced: false,
            };
            self.complete(kind, tag, c.timing);
        }
    }

    fn link_down(&mut self, c: &mut Context<'_>, why: &str) {
        self.queue.clear();
        self.done_here.clear();
        self.faults_void();
        self.control.reset = None;
        c.attention.fetch_and(!TIMED, Ordering::AcqRel);
        if self.control.up || self.link_up && !self.control.down {
            c.observe(|o| o.link(false));
        }
        if self.control.up {
            // The RTL never heard of that session.
            self.control.up = false;
            limited!(self.limits.link, info, c.target, "link down: {why}");
        } else if self.link_up && !self.control.down {
            self.control.down = true;
            limited!(self.limits.link, info, c.target, "link down: {why}");
        } else {
            debug!(target: c.target, "no link: {why}");
        }
    }
}
