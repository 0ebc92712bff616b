// SPDX-License-Identifier: MIT OR Apache-2.0

//! Plays a plan: says what to send next, and compares what comes with what has to come. No
//! sockets; time only where it is given.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use accelerator_protocol::{
    host::{HostEvent, HostSession},
    wire::Status,
};
use accelerator_trace::{registers::Registers, status_name};

use crate::plan::{Access, Act, Plan, Sight, Step, What};

/// How far ahead of the oldest sight that has not come one may be, in sights that have not come
/// either. More than the requests that a card may have under way.
const WINDOW: usize = 256;

/// What is a difference.
#[derive(Debug, Default)]
pub struct Rules {
    /// Their names, which of them are volatile, and which bits are not compared.
    pub registers: Registers,
    /// Answers of the record, by number, that are known to be wrong: they have to differ.
    pub wrong: HashSet<u64>,
    /// Requests and interrupts come in the order of the record.
    pub exact_order: bool,
    /// Nothing is sent before the clock at which the record has it.
    pub clocks: bool,
    /// How long a register that is volatile is read again.
    pub patience: Duration,
}

/// Where a transaction is found in the record of the replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The read with this tag.
    Read(u32),
    /// The write with this tag.
    Write(u32),
    /// The DMA request with this tag.
    Dma(u32),
    /// This vector.
    Msix(u16),
    /// What a channel has given: its index, and how much it had given before.
    Given(usize, u64),
    /// It did not come.
    Nowhere,
}

/// A difference.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The transaction of the record, and its clock there.
    pub number: u64,
    /// See `number`.
    pub clock: u64,
    /// What it is.
    pub what: String,
    /// What the record has.
    pub expected: String,
    /// What came.
    pub got: String,
    /// Where that is.
    pub place: Place,
}

/// What is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Something has to come.
    Wait,
    /// A session begins: connect, and call [`Player::connected`].
    Connect,
    /// The session ends: disconnect, and call [`Player::disconnected`].
    Disconnect,
    /// A channel does this: do it, and call [`Player::done`] if there was room for it.
    Channel(Act),
    /// So many clocks have to go by.
    Hold(u64),
    /// Everything was sent and has come.
    Done,
}

/// How much of what there was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Reads that were answered as the record has it.
    pub reads: u64,
    /// Writes that are done.
    pub writes: u64,
    /// DMA requests.
    pub dma: u64,
    /// Vectors and changes of the pin.
    pub interrupts: u64,
    /// Frames of channels, both ways.
    pub frames: u64,
    /// Bytes of channels, both ways.
    pub bytes: u64,
    /// Reads of volatile registers beyond those of the record.
    pub again: u64,
    /// Answers of DMA that were given before what the record has before them.
    pub early: u64,
    /// DMA requests that a reset has made void before the record has them.
    pub void: u64,
}

/// A read that is not answered.
#[derive(Debug)]
struct Reading {
    tag: u32,
    step: usize,
    /// Since when it is read again.
    since: Option<Instant>,
}

/// Whether the card begins anew.
const fn is_barrier(act: &Act) -> bool {
    matches!(act, Act::Reset(_))
}

fn barrier_of(steps: &[Step]) -> usize {
    let next = steps.iter().find(|s| is_barrier(&s.act));
    next.map_or(usize::MAX, |s| s.after)
}

/// A channel.
#[derive(Debug, Default)]
struct Channel {
    /// Sights that have not come, and how often it was opened before.
    sights: VecDeque<usize>,
    /// How often it was opened.
    epoch: u32,
    /// Frames or bytes that have come.
    came: u64,
    /// What the RTL was given, and of that what it has taken.
    given: u64,
    taken: u64,
    /// Frames or bytes that the RTL has given.
    brought: u64,
}

/// Plays a plan.
#[derive(Debug)]
pub struct Player<'a> {
    plan: &'a Plan,
    rules: &'a Rules,
    /// The next step.
    step: usize,
    /// What has come, all of it up to `frontier`.
    came: Vec<bool>,
    frontier: usize,
    /// Tags of DMA requests that have come.
    tags: Vec<u32>,
    early: HashSet<usize>,
    epoch: u32,
    channels: Vec<Channel>,
    /// The first sight that comes behind the next reset.
    barrier: usize,
    reads: Vec<Reading>,
    /// To be read again.
    again: Vec<(usize, Instant)>,
    writes: VecDeque<(usize, u32)>,
    /// Picoseconds of a clock; clocks of the simulation at the beginning of the session, and now.
    period: u64,
    base: Option<u64>,
    now: u64,
    /// Clock of the record at the beginning of the session.
    link_clock: u64,
    /// What was counted.
    pub counts: Counts,
    /// What differs.
    pub differences: Vec<Difference>,
    /// It cannot go on after that.
    pub stuck: bool,
}

impl<'a> Player<'a> {
    /// At the beginning.
    pub fn new(plan: &'a Plan, rules: &'a Rules) -> Self {
        let mut channels: Vec<Channel> = Vec::new();
        channels.resize_with(plan.channels.len(), Channel::default);
        for (at, sight) in plan.sights.iter().enumerate() {
            if let Some(channel) = sight.what.channel() {
                channels[channel].sights.push_back(at);
            }
        }
        Self {
            plan,
            rules,
            step: 0,
            came: vec![false; plan.sights.len()],
            frontier: 0,
            tags: vec![0; plan.sights.len()],
            early: HashSet::new(),
            epoch: 0,
            channels,
            barrier: barrier_of(&plan.steps),
            reads: Vec::new(),
            again: Vec::new(),
            writes: VecDeque::new(),
            period: 0,
            base: None,
            now: 0,
            link_clock: 0,
            counts: Counts::default(),
            differences: Vec::new(),
            stuck: false,
        }
    }

    /// Clocks of the simulation since the session began, if it tells.
    pub fn clocks(&self) -> Option<u64> {
        Some(self.now - self.base?)
    }

    /// What to ask for, to be told the time when so many clocks have gone by.
    pub fn nanoseconds(&self, clocks: u64) -> u64 {
        let ps = u128::from(clocks) * u128::from(self.period);
        u64::try_from(ps.div_ceil(1000)).unwrap_or(u64::MAX).max(1)
    }

    /// How far it is: steps, and how many there are.
    pub fn progress(&self) -> (usize, usize) {
        (self.step, self.plan.steps.len())
    }

    /// [`Next::Connect`] was done; the card's clock has such a period in picoseconds.
    pub fn connected(&mut self, period: u32) {
        self.period = period.into();
        self.base = None;
        if let Some(step) = self.plan.steps.get(self.step) {
            self.link_clock = step.clock;
        }
        self.begin_epoch();
    }

    /// [`Next::Disconnect`] was done.
    pub fn disconnected(&mut self) {
        self.begin_epoch();
    }

    fn begin_epoch(&mut self) {
        self.step += 1;
        self.barrier = barrier_of(&self.plan.steps[self.step..]);
        self.epoch += 1;
        self.reads.clear();
        self.again.clear();
        self.writes.clear();
    }

    fn mark(&mut self, sight: usize) {
        self.came[sight] = true;
        while self.came.get(self.frontier) == Some(&true) {
            self.frontier += 1;
        }
    }

    /// The clocks that have to go by before a step.
    fn hold(&self, step: &Step) -> u64 {
        let guest = !matches!(step.act, Act::Answer(_) | Act::LinkUp | Act::LinkDown);
        // Of a channel it is taken to be the same clock.
        match self.clocks() {
            Some(now) if self.rules.clocks && guest => {
                step.clock.saturating_sub(self.link_clock + now)
            }
            _ => 0,
        }
    }

    /// Appends what can be sent now, and says what is next.
    pub fn advance(&mut self, session: Option<&mut HostSession>, out: &mut Vec<u8>) -> Next {
        let Some(session) = session else {
            return self.without_session();
        };
        for (step, since) in std::mem::take(&mut self.again) {
            self.read(step, Some(since), session, out);
        }
        while let Some(step) = self.plan.steps.get(self.step) {
            if self.frontier < step.after {
                return Next::Wait;
            }
            let hold = self.hold(step);
            if hold != 0 {
                return Next::Hold(hold);
            }
            if !self.may_follow(&step.act) {
                return Next::Wait;
            }
            // Every access is answered before it is made void, whether the record has that or not.
            let busy = !self.reads.is_empty() || !self.again.is_empty() || !self.writes.is_empty();
            match step.act {
                Act::LinkUp | Act::LinkDown | Act::Reset(_) if busy => return Next::Wait,
                // A host whose end was not noticed.
                Act::LinkUp | Act::LinkDown => return Next::Disconnect,
                Act::Reset(kind) => {
                    session.reset(kind, out);
                    self.begin_epoch();
                    continue;
                }
                Act::Function(function) => {
                    session.function(&function, out);
                }
                Act::Read { .. } => {
                    if !self.read(self.step, None, session, out) {
                        return Next::Wait;
                    }
                }
                Act::Write { access, data, .. } => {
                    let Access { bar, len, offset } = access;
                    let Some(tag) = session.write(bar, offset, len, data, out) else {
                        return Next::Wait;
                    };
                    self.writes.push_back((self.step, tag));
                }
                Act::Answer(sight) => self.answer(sight, session, out),
                Act::Open { .. } | Act::Close(_) | Act::Frame { .. } | Act::Byte { .. } => {
                    return Next::Channel(step.act);
                }
            }
            self.step += 1;
        }
        let all = self.frontier == self.plan.sights.len() && self.untaken().is_none();
        if all && self.reads.is_empty() && self.again.is_empty() && self.writes.is_empty() {
            Next::Done
        } else {
            Next::Wait
        }
    }

    /// Nothing can be done of the function without a session.
    fn without_session(&mut self) -> Next {
        while let Some(step) = self.plan.steps.get(self.step) {
            let channel = step.act.channel().is_some();
            if channel || step.act == Act::LinkUp {
                if self.frontier < step.after || !self.may_follow(&step.act) {
                    return Next::Wait;
                }
                return if channel {
                    Next::Channel(step.act)
                } else {
                    Next::Connect
                };
            }
            self.step += 1;
        }
        if self.frontier == self.plan.sights.len() && self.untaken().is_none() {
            Next::Done
        } else {
            Next::Wait
        }
    }

    /// A channel that has given the RTL what it has not taken.
    fn untaken(&self) -> Option<usize> {
        self.channels.iter().position(|c| c.taken < c.given)
    }

    /// What a channel carries has no order against all else, but in the record it was with the
    /// RTL before what comes next.
    fn may_follow(&self, act: &Act) -> bool {
        match (self.untaken(), act) {
            // What it gives by itself is told from what it gives behind a reset.
            (None, act) => !is_barrier(act) || !self.on_its_way(),
            (Some(untaken), &(Act::Frame { channel, .. } | Act::Byte { channel, .. })) => {
                // It is a queue.
                untaken == channel
                    && self.channels.iter().filter(|c| c.taken < c.given).count() == 1
            }
            (Some(_), _) => false,
        }
    }

    /// [`Next::Channel`] was done.
    pub fn done(&mut self) {
        if let Some(step) = self.plan.steps.get(self.step) {
            match step.act {
                Act::Open { channel, .. } => {
                    let of_it = &mut self.channels[channel];
                    of_it.epoch += 1;
                    of_it.given += 1;
                }
                Act::Close(channel) => self.channels[channel].given += 1,
                Act::Frame { channel, .. } => {
                    self.channels[channel].given += 1;
                    self.counts.frames += 1;
                }
                Act::Byte { channel, .. } => {
                    self.channels[channel].given += 1;
                    self.counts.bytes += 1;
                }
                _ => {}
            }
        }
        self.step += 1;
    }

    /// The RTL has taken that much of what a channel was given, and given so much.
    pub fn heard(&mut self, channel: usize, taken: u64, given: u64) {
        let of_it = &mut self.channels[channel];
        (of_it.taken, of_it.brought) = (taken, given);
    }

    /// Whether it is of interest how much that is.
    pub fn looks(&self) -> bool {
        let next = self.plan.steps.get(self.step);
        let ends = next.is_some_and(|step| is_barrier(&step.act));
        self.untaken().is_some() || ends && self.channels.iter().any(|c| c.epoch != 0)
    }

    /// Whether a channel has something on its way to us.
    fn on_its_way(&self) -> bool {
        let mut open = self.channels.iter().filter(|c| c.epoch != 0);
        open.any(|c| c.came < c.brought)
    }

    /// A channel has brought a frame, or bytes.
    pub fn brings(&mut self, channel: usize, data: &[u8], is_frame: bool) {
        let each = if is_frame { data.len().max(1) } else { 1 };
        data.chunks(each)
            .for_each(|data| self.given(channel, data, is_frame));
    }

    fn given(&mut self, channel: usize, data: &[u8], is_frame: bool) {
        let of_it = &mut self.channels[channel];
        let place = Place::Given(channel, of_it.came);
        of_it.came += 1;
        let name = &self.plan.channels[channel].name;
        let next = of_it.sights.front().copied();
        if next.is_some_and(|at| at >= self.barrier) {
            // By itself, while the reset is on its way that comes first in the record.
            self.counts.void += 1;
            return;
        }
        let next = next.filter(|&at| self.plan.sights[at].epoch == of_it.epoch);
        let Some(at) = next else {
            if self.ends_of(channel) {
                self.counts.void += 1;
            } else {
                let got = match is_frame {
                    true => format!("a frame of {} bytes from {name}", data.len()),
                    false => format!("byte {:#04x} from {name}", data[0]),
                };
                self.unexpected(got, place);
            }
            return;
        };
        of_it.sights.pop_front();
        let sight = &self.plan.sights[at];
        let wrong = self.rules.wrong.contains(&sight.number);
        let different = match &sight.what {
            What::Frame {
                len, data: kept, ..
            } => {
                self.counts.frames += 1;
                let kept = self.plan.bytes(kept);
                let first = kept.iter().zip(data).position(|(a, b)| a != b);
                if *len != data.len() {
                    Some((
                        String::new(),
                        format!("{len} bytes"),
                        format!("{} bytes", data.len()),
                    ))
                } else {
                    first.map(|i| {
                        let show = |byte: u8| format!("{byte:#04x}");
                        (format!(", byte {i}"), show(kept[i]), show(data[i]))
                    })
                }
            }
            What::Byte { byte, .. } => {
                self.counts.bytes += 1;
                let show = |byte: u8| format!("{byte:#04x}");
                (*byte != data[0]).then(|| (String::new(), show(*byte), show(data[0])))
            }
            _ => None,
        };
        if different.is_some() != wrong {
            let what = self.describe(&sight.what);
            let text = match different {
                Some((at, expected, got)) => [what + &at, expected, got],
                None => [
                    what,
                    "other bytes than the record's (--wrong)".into(),
                    "the same".into(),
                ],
            };
            self.differs(sight.number, sight.clock, place, text);
        }
        self.mark(at);
    }

    /// Whether the next thing that is done with a channel is that it is closed.
    fn ends_of(&self, channel: usize) -> bool {
        let mut rest = self.plan.steps[self.step..].iter();
        rest.find(|s| s.act.channel() == Some(channel))
            .is_some_and(|s| matches!(s.act, Act::Open { .. } | Act::Close(_)))
    }

    fn read(
        &mut self,
        step: usize,
        since: Option<Instant>,
        session: &mut HostSession,
        out: &mut Vec<u8>,
    ) -> bool {
        let Act::Read { access, .. } = self.plan.steps[step].act else {
            return true;
        };
        let Access { bar, len, offset } = access;
        match session.read(bar, offset, len, out) {
            Some(tag) => {
                self.reads.push(Reading { tag, step, since });
                true
            }
            None => {
                self.again.extend(since.map(|since| (step, since)));
                false
            }
        }
    }

    fn answer(&mut self, sight: usize, session: &mut HostSession, out: &mut Vec<u8>) {
        if self.early.remove(&sight) {
            return;
        }
        let tag = self.tags[sight];
        match &self.plan.sights[sight].what {
            What::DmaRead {
                answer: Some((status, data)),
                ..
            } => session.dma_read_done(tag, *status, self.plan.bytes(data), out),
            What::DmaWrite {
                answer: Some(status),
                ..
            } => session.dma_write_done(tag, *status, out),
            // A reset came before it.
            _ => {}
        }
    }

    /// Nothing has come for a while: a DMA request that has come is answered before its time, if
    /// there is one. Where the order of requests is not the one of the record the card may need
    /// that for what is waited for.
    pub fn relax(&mut self, session: &mut HostSession, out: &mut Vec<u8>) -> bool {
        let waiting = self.plan.steps[self.step..]
            .iter()
            .take(WINDOW)
            .take_while(|s| !matches!(s.act, Act::Reset(_) | Act::LinkDown | Act::LinkUp))
            .find_map(|s| match s.act {
                Act::Answer(sight) if self.came[sight] && !self.early.contains(&sight) => {
                    Some(sight)
                }
                _ => None,
            });
        let Some(sight) = waiting else {
            return false;
        };
        self.answer(sight, session, out);
        self.early.insert(sight);
        self.counts.early += 1;
        true
    }

    fn name(&self, access: &Access) -> String {
        let registers = &self.rules.registers;
        registers.name(&self.plan.source.name, access.bar, access.offset)
    }

    fn of_read(&self, access: &Access) -> String {
        format!("mmio_read {} len {}", self.name(access), access.len)
    }

    fn describe(&self, what: &What) -> String {
        match what {
            What::Read { access, .. } => self.of_read(access),
            What::DmaRead { addr, len, .. } => format!("dma_read of {len} bytes at {addr:#x}"),
            What::DmaWrite { addr, len, .. } => format!("dma_write of {len} bytes at {addr:#x}"),
            What::Msix(vector) => format!("msix vector {vector}"),
            What::Intx(level) => format!("intx level {}", u8::from(*level)),
            What::ResetDone => "the end of the reset".into(),
            What::Frame { channel, len, .. } => {
                format!(
                    "nic_tx of {len} bytes from {}",
                    self.plan.channels[*channel].name
                )
            }
            What::Byte { channel, .. } => {
                format!("serial_tx from {}", self.plan.channels[*channel].name)
            }
        }
    }

    fn differs(&mut self, number: u64, clock: u64, place: Place, text: [String; 3]) {
        let [what, expected, got] = text;
        self.differences.push(Difference {
            number,
            clock,
            what,
            expected,
            got,
            place,
        });
    }

    /// Takes what has come.
    pub fn event(&mut self, event: &HostEvent<'_>) {
        match *event {
            HostEvent::ReadDone { tag, status, data } => self.read_done(tag, status, data),
            HostEvent::WritesDone { count, status } => self.writes_done(count, status),
            HostEvent::DmaRead { tag, addr, len } => {
                let same = |w: &What| matches!(w, What::DmaRead { addr: a, len: l, .. } if (*a, *l) == (addr, len));
                let got = format!("dma_read of {len} bytes at {addr:#x}");
                let alike = |w: &What| matches!(w, What::DmaRead { len: l, .. } if *l == len);
                if let Some(sight) = self.request(tag, same, alike, got) {
                    self.counts.dma += 1;
                    self.mark(sight);
                }
            }
            HostEvent::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                let n = data.len() as u32;
                let same = |w: &What| matches!(w, What::DmaWrite { addr: a, len: l, .. } if (*a, *l) == (addr, n));
                let got = format!("dma_write of {n} bytes at {addr:#x}");
                let alike = |w: &What| matches!(w, What::DmaWrite { len: l, .. } if *l == n);
                if let Some(sight) = self.request(tag, same, alike, got) {
                    self.counts.dma += 1;
                    self.written(sight, tag, data, enables);
                    self.mark(sight);
                }
            }
            HostEvent::Msix { vector } | HostEvent::BadVector { vector, .. } => {
                let same = |w: &What| *w == What::Msix(vector);
                let got = format!("msix vector {vector}");
                self.interrupt(same, got, Place::Msix(vector));
            }
            HostEvent::Intx { level } => {
                let same = |w: &What| *w == What::Intx(level);
                let got = format!("intx level {}", u8::from(level));
                self.interrupt(same, got, Place::Nowhere);
            }
            HostEvent::ResetDone => {
                // If there were several resets at once, each may be answered here.
                if let Some(sight) = self.find(|w| *w == What::ResetDone) {
                    self.mark(sight);
                }
            }
            HostEvent::Time { ns } => {
                let ps = u128::from(ns) * 1000;
                self.now = u64::try_from(ps / u128::from(self.period.max(1))).unwrap_or(u64::MAX);
                self.base.get_or_insert(self.now);
            }
            HostEvent::LateRead { .. }
            | HostEvent::FaultsDone { .. }
            | HostEvent::Error { .. }
            | HostEvent::Ignored(_)
            | HostEvent::Configured(_)
            | HostEvent::Share { .. }
            | HostEvent::Refused { .. }
            | HostEvent::Closed { .. } => {}
        }
    }

    /// The oldest sight that has not come and is so.
    fn find(&self, same: impl Fn(&What) -> bool) -> Option<usize> {
        let mut ahead = 0;
        for (at, sight) in self.plan.sights.iter().enumerate().skip(self.frontier) {
            if sight.what.channel().is_some() {
                continue;
            }
            if sight.epoch > self.epoch || ahead >= WINDOW {
                return None;
            }
            if self.came[at] {
                continue;
            }
            if same(&sight.what) {
                return Some(at);
            }
            // Reads are answered in any order.
            if self.rules.exact_order && !matches!(sight.what, What::Read { .. }) {
                return None;
            }
            ahead += 1;
        }
        None
    }

    /// The oldest that has not come and is no answer of a read.
    fn expected(&self) -> Option<(usize, &Sight)> {
        let at = (self.frontier..self.plan.sights.len()).find(|&at| {
            !self.came[at] && !matches!(self.plan.sights[at].what, What::Read { .. })
        })?;
        Some((at, &self.plan.sights[at]))
    }

    /// Whether the next thing that the host does makes void what the card does.
    fn ends_next(&self) -> bool {
        let next = self.plan.steps[self.step..]
            .iter()
            .find(|s| !matches!(s.act, Act::Answer(_)));
        next.is_some_and(|s| matches!(s.act, Act::Reset(_) | Act::LinkDown | Act::LinkUp))
    }

    fn unexpected(&mut self, got: String, place: Place) {
        let expected = match self.expected() {
            Some((_, sight)) => (sight.number, sight.clock, self.describe(&sight.what)),
            None => (0, 0, "nothing more".into()),
        };
        let (number, clock, expected) = expected;
        self.differs(number, clock, place, [String::new(), expected, got]);
    }

    fn interrupt(&mut self, same: impl Fn(&What) -> bool, got: String, place: Place) {
        match self.find(same) {
            Some(sight) => {
                self.counts.interrupts += 1;
                self.mark(sight);
            }
            None if self.ends_next() => self.counts.void += 1,
            None => self.unexpected(got, place),
        }
    }

    /// A DMA request has come.
    fn request(
        &mut self,
        tag: u32,
        same: impl Fn(&What) -> bool,
        alike: impl Fn(&What) -> bool,
        got: String,
    ) -> Option<usize> {
        if let Some(sight) = self.find(same) {
            self.tags[sight] = tag;
            return Some(sight);
        }
        if self.ends_next() {
            // It was a little faster than in the record.
            self.counts.void += 1;
            return None;
        }
        self.unexpected(got, Place::Dma(tag));
        // With what is to come to one of that kind it may go on.
        let sight = self.find(alike);
        match sight {
            Some(sight) => self.tags[sight] = tag,
            None => self.stuck = true,
        }
        sight
    }

    fn read_done(&mut self, tag: u32, status: Status, data: u64) {
        let Some(at) = self.reads.iter().position(|r| r.tag == tag) else {
            return;
        };
        let reading = self.reads.swap_remove(at);
        let step = self.plan.steps[reading.step];
        let Act::Read { answer, again, .. } = step.act else {
            return;
        };
        // The record ends before it, or a reset came.
        let Some(sight) = answer else {
            return;
        };
        let What::Read {
            access,
            status: recorded,
            data: expected,
        } = self.plan.sights[sight].what
        else {
            return;
        };
        let Access { bar, len, offset } = access;
        let (registers, source) = (&self.rules.registers, &self.plan.source.name);
        let mask = !registers.ignored(source, bar, offset, len);
        let ok = |s: u8| s == Status::Ok as u8;
        let status = status as u8;
        let same = status == recorded && (!ok(status) || data & mask == expected & mask);
        let wrong = self.rules.wrong.contains(&step.number);
        if same == wrong && registers.is_volatile(source, bar, offset, len) {
            let since = reading.since.unwrap_or_else(Instant::now);
            if !again && since.elapsed() < self.rules.patience {
                self.counts.again += 1;
                self.again.push((reading.step, since));
                return;
            }
            if again {
                self.counts.reads += 1;
                self.mark(sight);
                return;
            }
        }
        if same == wrong {
            let show = |status: u8, data: u64| {
                if ok(status) {
                    format!("{data:#x}")
                } else {
                    status_name(status).to_owned()
                }
            };
            let expected = show(recorded, expected);
            let text = [
                self.of_read(&access),
                if wrong {
                    format!("another answer than the record's {expected} (--wrong)")
                } else {
                    expected
                },
                show(status, data),
            ];
            self.differs(step.number, step.clock, Place::Read(tag), text);
        } else {
            self.counts.reads += 1;
        }
        self.mark(sight);
    }

    fn writes_done(&mut self, count: u32, status: Status) {
        for left in (0..count).rev() {
            let Some((step, tag)) = self.writes.pop_front() else {
                return;
            };
            let step = self.plan.steps[step];
            let Act::Write {
                access,
                status: recorded,
                ..
            } = step.act
            else {
                continue;
            };
            // The others are good, or they would have been told.
            let got = if left == 0 { status } else { Status::Ok } as u8;
            match recorded {
                Some(recorded) if recorded != got => {
                    let what = format!("mmio_write {} len {}", self.name(&access), access.len);
                    let text = [what, status_name(recorded).into(), status_name(got).into()];
                    self.differs(step.number, step.clock, Place::Write(tag), text);
                }
                _ => self.counts.writes += 1,
            }
        }
    }

    /// Compares what a DMA write brings.
    fn written(&mut self, sight: usize, tag: u32, data: &[u8], enables: Option<&[u8]>) {
        let Sight {
            what,
            number,
            clock,
            ..
        } = &self.plan.sights[sight];
        let What::DmaWrite {
            addr,
            data: kept,
            enables: kept_enables,
            ..
        } = what
        else {
            return;
        };
        let kept = self.plan.bytes(kept);
        let kept_enables = kept_enables.as_ref().map(|range| self.plan.bytes(range));
        let bit = |enables: Option<&[u8]>, i: usize| {
            enables.is_none_or(|e| e.get(i / 8).is_none_or(|e| e >> (i % 8) & 1 != 0))
        };
        let byte = |data: &[u8], enables, i: usize| bit(enables, i).then(|| data[i]);
        let first = (0..kept.len().min(data.len()))
            .find(|&i| byte(kept, kept_enables, i) != byte(data, enables, i));
        let wrong = self.rules.wrong.contains(number);
        let text = match first {
            Some(_) if wrong => return,
            None if !wrong => return,
            None => [
                self.describe(what),
                "other bytes than the record's (--wrong)".into(),
                "the same".into(),
            ],
            Some(i) => {
                let (expected, got) = (byte(kept, kept_enables, i), byte(data, enables, i));
                let show = |byte: Option<u8>| match byte {
                    Some(byte) => format!("{byte:#04x}"),
                    None => "not enabled".into(),
                };
                let at = format!(
                    "{}, byte {i} at {:#x}",
                    self.describe(what),
                    addr + i as u64
                );
                [at, show(expected), show(got)]
            }
        };
        let (number, clock) = (*number, *clock);
        self.differs(number, clock, Place::Dma(tag), text);
    }

    /// Nothing has come for longer than the user wants to wait: that is a difference. What did
    /// not come is not waited for any more.
    pub fn overdue(&mut self, waited: Duration, session: Option<&mut HostSession>) {
        let nothing = format!("nothing for {} s", waited.as_secs());
        if !self.reads.is_empty() {
            let Reading { tag, step, .. } = self.reads.remove(0);
            let step = self.plan.steps[step];
            let Act::Read { access, answer, .. } = step.act else {
                return;
            };
            if let Some(session) = session {
                session.abandon(tag);
            }
            let what = self.of_read(&access);
            let text = [what, "an answer".into(), nothing];
            self.differs(step.number, step.clock, Place::Read(tag), text);
            if let Some(sight) = answer {
                self.mark(sight);
            }
        } else if let Some(sight) = self.plan.sights.get(self.frontier) {
            let text = [String::new(), self.describe(&sight.what), nothing];
            self.differs(sight.number, sight.clock, Place::Nowhere, text);
            // Nobody answers what has not come.
            self.early.insert(self.frontier);
            if let Some(channel) = sight.what.channel() {
                self.channels[channel].sights.pop_front();
            }
            self.mark(self.frontier);
        } else if let Some(&(step, tag)) = self.writes.front() {
            let step = self.plan.steps[step];
            let Act::Write { access, .. } = step.act else {
                return;
            };
            let what = format!("mmio_write {} len {}", self.name(&access), access.len);
            let text = [what, "an answer".into(), nothing];
            self.differs(step.number, step.clock, Place::Write(tag), text);
            self.stuck = true;
        } else {
            if let Some(channel) = self.untaken() {
                let at = self.step.min(self.plan.steps.len()) - 1;
                let Step { number, clock, .. } = self.plan.steps[at];
                let name = &self.plan.channels[channel].name;
                let what = format!("what {name} has for the RTL");
                let text = [what, "that it is taken".into(), nothing];
                self.differs(number, clock, Place::Nowhere, text);
            }
            self.stuck = true;
        }
    }
}
