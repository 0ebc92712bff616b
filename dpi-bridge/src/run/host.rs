// SPDX-License-Identifier: MIT OR Apache-2.0

//! Towards the host: sending, receiving, and who it is.

use std::{sync::atomic::Ordering, time::Instant};

use accelerator_carrier::Wanted;
use accelerator_protocol::{
    device::DeviceEvent,
    door::{Due, Entry, TAKEN},
    session::Beside,
    wire::{frame_type, Reason, Status, HEADER_LEN},
};
use log::{debug, log_enabled, trace, Level};

use super::{
    pass_on, send, Context, Dma, DmaState, Held, Item, Mmio, Run, Stat, HOLD, REQUESTS,
    REQUEST_BYTES, UNDER_WAY,
};
use crate::{
    error::Result,
    hosts::Speaker,
    limited::limited,
    order::Kind,
    record,
    transport::{Received, Sent, GATHER},
    waits::Moment,
    words::TIMED,
};

/// Messages taken in at one poll: the RTL gets one event at a poll, so more of
/// them can wait, and asking whether there are more costs a system call before
/// the RTL sees the first.
const MESSAGES_PER_POLL: usize = 1;

/// Bytes of a TIME frame.
const TIME_BYTES: usize = HEADER_LEN + 8;

impl Run {
    /// Sends what the call had to say, after what could not be sent before.
    pub fn flush(&mut self, c: &Context<'_>) -> Result<()> {
        let backlog = !self.hosts.backlog.is_empty() || self.memory.has_rest();
        if !backlog && (self.out.is_empty() || self.holds()) {
            return Ok(());
        }
        if self.hosts.door.reachable().is_none() {
            self.drop_out();
            return Ok(());
        }
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
            self.hosts.tries.once();
        } else {
            self.hosts.tries.again();
        }
        let sent = match pass_on(&mut self.memory, &mut self.hosts) {
            Ok(Sent::Yes) if !self.out.is_empty() => send(&mut self.memory, &self.hosts, &self.out),
            other => other,
        };
        match sent {
            Ok(Sent::Yes) => {
                if self.hosts.backlog_since.take().is_some() {
                    debug!(target: c.target, "the host takes frames again");
                }
                self.out.clear();
                Ok(())
            }
            Ok(Sent::Full) => {
                if self.hosts.backlog_since.is_none() {
                    debug!(target: c.target, "the host does not take frames, they wait");
                    self.hosts.backlog_since = Some(Moment::soon());
                }
                self.hosts.backlog.join(&mut self.out, GATHER);
                Ok(())
            }
            Ok(Sent::Gone) => {
                self.hosts.door.lose();
                self.out.clear();
                Ok(())
            }
            Err(e) => {
                self.hosts.door.lose();
                self.out.clear();
                self.hosts.failed(&e);
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
            && self.hosts.door.reachable().is_some()
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
        if self.hosts.door.is_taken() && self.hosts.backlog.is_empty() {
            let period = u128::from(self.session.config().clock_period_ps);
            let ns = u128::from(c.timing.clocks()) * period / 1000;
            self.session
                .time(u64::try_from(ns).unwrap_or(u64::MAX), &mut self.out);
        }
    }

    /// Receives until nothing is left, or enough for one poll. How many
    /// messages, and whether nothing is left.
    pub(super) fn receive(&mut self, c: &mut Context<'_>) -> Result<(usize, bool)> {
        for count in 0..MESSAGES_PER_POLL {
            match self.hosts.receive()? {
                Received::Nothing => return Ok((count, true)),
                Received::Message { peer, body } => {
                    self.before_message(c)?;
                    self.message(&peer, &body, c);
                    self.look_for_overdue(c);
                }
                Received::Parts { peer, parts } => {
                    if let Some(text) = self.hosts.odd_parts(&peer, parts) {
                        self.violation(Reason::Protocol, &text, c);
                    }
                }
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
                    self.look_for_overdue(c);
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

    /// Ends the session of a host for which too much waits.
    fn look_for_overdue(&mut self, c: &mut Context<'_>) {
        if let Some(text) = self.hosts.overdue() {
            self.violation(Reason::Protocol, &text, c);
        }
    }

    fn message(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        match self.hosts.hears(id, body) {
            Some(Speaker::Holder) if self.memory.is_attached() => self.beside(body, c),
            Some(Speaker::Holder) => self.frames(body, c),
            Some(Speaker::Asks) => self.asked(id, body, c),
            None => {}
        }
    }

    /// A message on the socket of a session that goes through shared memory: a sign of life, or
    /// the beginning of another session.
    fn beside(&mut self, body: &[u8], c: &mut Context<'_>) {
        match Beside::of(body) {
            Ok(Beside::Init) => self.frames(body, c),
            Ok(Beside::Life) => {}
            Ok(Beside::Other(frame_type)) => {
                let text = format!(
                    "frame type {frame_type:#04x} came on the socket, the session goes through \
                     shared memory"
                );
                self.violation(Reason::Protocol, &text, c);
            }
            Err(e) => self.violation(Reason::Protocol, &e.to_string(), c),
        }
    }

    /// Somebody asks for a session, and nobody has one.
    pub(super) fn newcomer(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        if !self.is_dark(id, body) {
            self.hosts.enter(id);
            self.frames(body, c);
        }
    }

    /// Somebody else asks for a session.
    fn asked(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        let now = Instant::now();
        match self.hosts.door.asked(self.session.is_up(), now) {
            Entry::Free => self.newcomer(id, body, c),
            Entry::Overdue => {
                self.violation(
                    Reason::Busy,
                    "the handshake was not finished, and another host asks",
                    c,
                );
                self.newcomer(id, body, c);
            }
            Entry::Taken if !self.hosts.probe(self.session.session()) => {
                self.peer_lost(c);
                self.newcomer(id, body, c);
            }
            Entry::Taken => {
                if !self.hosts.door.waits(id, body, now) {
                    self.hosts.refuse(id, body, Reason::Busy, TAKEN);
                }
            }
        }
    }

    pub(super) fn look_after_candidate(&mut self, c: &mut Context<'_>) {
        let now = Instant::now();
        match self.hosts.door.due(now) {
            None => {}
            Some(Due::Enters(candidate)) => self.newcomer(&candidate.id, &candidate.message, c),
            Some(Due::Probe) => {
                let reached = self.hosts.probe(self.session.session());
                if let Some(late) = self.hosts.door.probed(reached, now) {
                    self.hosts
                        .refuse(&late.id, &late.message, Reason::Busy, TAKEN);
                }
            }
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
            if rest.is_empty() || !self.hosts.door.is_taken() {
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
        self.hosts.leave();
        self.memory.end(self.hosts.watcher());
    }

    /// Ends the session in order.
    pub(super) fn end_session(&mut self, why: &str, c: &mut Context<'_>) -> Result<()> {
        self.session.close(&mut self.out);
        // The peer is forgotten, so the BYE goes out here.
        let sent = self.flush(c);
        self.link_down(c, why);
        self.hosts.leave();
        self.memory.end(self.hosts.watcher());
        sent
    }

    /// The peer cannot be reached any more.
    pub(super) fn peer_lost(&mut self, c: &mut Context<'_>) {
        // Requests that were held are not for the host that comes next.
        self.drop_out();
        if self.hosts.part() {
            self.session.disconnected();
            self.link_down(c, "the host disconnected");
        }
        self.memory.end(self.hosts.watcher());
    }

    /// A host asks for a session, and with `asked` whether it can go through shared memory.
    fn offer(&mut self, asked: bool, c: &mut Context<'_>) {
        self.memory.end(self.hosts.watcher());
        if asked {
            let name = self.memory.offer(self.hosts.watcher());
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
                self.hosts.door.begins_anew(Instant::now());
                debug!(
                    target: c.target,
                    "{host:?} asks for session {:#x}",
                    self.session.session()
                );
                self.offer(asked, c);
            }
            DeviceEvent::Attached(attached) => {
                if !self.memory.attached(attached, self.hosts.watcher()) {
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
                self.hosts.leave();
                self.memory.end(self.hosts.watcher());
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
