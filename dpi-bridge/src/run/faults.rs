// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults: what goes wrong by plan, at the place where a card would have it go wrong.
//!
//! `accelerator_faults` decides, when a transaction begins. Here it is done: an access is answered
//! without the RTL, or its answer is held, changed or dropped; DMA is answered without memory, or
//! late; vectors and changes of the INTx pin are dropped, doubled and held; resets take longer; the
//! session ends for a while. Frames and bytes are `crate::faults`.
//! Nothing of it exists before there is a plan, which costs one branch each time.
//!
//! What a fault leaves in config space the host is told by ERROR, before the completion that it
//! belongs to.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Instant};

use accelerator_faults::{Delay, Fault, Faults as Engine, Plan, Transaction, What};
use accelerator_protocol::{
    host::mask,
    limit::Limit,
    wire::{ErrorKind, Status},
};
use log::debug;

use super::{Context, Dma, DmaState, Item, Mmio, Run, Stat};
use crate::{
    error::Result,
    faults as channels,
    limited::limited,
    order::Kind,
    waits::Moment,
    words::{Timing, COUNTED},
};

/// Vectors that are held at most, and changes of the pin; one more comes at once.
const MAX_VECTORS: usize = 1024;

/// When something is to be done.
#[derive(Clone, Copy, Debug)]
pub enum Due {
    /// At this count of clocks.
    Clock(u64),
    /// At this time.
    At(Instant),
}

impl Due {
    /// So long from now.
    pub fn after(delay: Delay, timing: &Timing) -> Self {
        match delay {
            Delay::Clocks(clocks) => Self::Clock(timing.clocks().saturating_add(clocks)),
            // At most an hour.
            Delay::Time(time) => Self::At(Instant::now() + time),
        }
    }

    /// Whether it is time.
    pub fn is_over(self, timing: &Timing) -> bool {
        match self {
            Self::Clock(clock) => timing.clocks() >= clock,
            Self::At(time) => Instant::now() >= time,
        }
    }
}

/// What becomes of the RTL's answer to a read.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Poisoned,
    Lost,
    Late(Delay),
    Xor(u64),
    Value(u64),
}

/// What comes later.
#[derive(Clone, Copy, Debug)]
enum Held {
    Read {
        tag: u32,
        len: u8,
        status: Status,
        data: u64,
        error: Option<ErrorKind>,
    },
    Vector(u16),
}

/// What a DMA request has of it.
#[derive(Debug, Default)]
pub struct OfDma {
    /// Its answer comes so late.
    late: Option<Delay>,
    due: Option<Due>,
    /// For config space, with the answer.
    error: Option<ErrorKind>,
    /// It is answered, and may be handed out when those before it were.
    ready: bool,
    /// It was put into the queue.
    queued: bool,
}

/// The INTx pin as the host sees it.
#[derive(Debug, Default)]
struct Pin {
    /// Its level but for the next two.
    level: bool,
    /// High though the card has not raised it, until then.
    pulse: Option<Due>,
    /// Its level from now on, and whether a reset frees it.
    stuck: Option<(bool, bool)>,
    /// Levels that come later.
    changes: VecDeque<(Due, bool)>,
}

impl Pin {
    fn level(&self) -> bool {
        match self.stuck {
            Some((level, _)) => level,
            None => self.level || self.pulse.is_some(),
        }
    }

    /// The card has another level. What is late stays in order.
    fn change(&mut self, level: bool, due: Option<Due>) {
        let due = due.or(self.changes.back().map(|last| last.0));
        match due {
            Some(due) if self.changes.len() < MAX_VECTORS => self.changes.push_back((due, level)),
            _ => {
                self.changes.clear();
                self.level = level;
            }
        }
    }

    /// A reset, or the end of the link: it is low.
    fn void(&mut self, reset: bool) {
        self.level = false;
        self.pulse = None;
        self.changes.clear();
        if self
            .stuck
            .is_some_and(|(_, until_reset)| until_reset && reset)
        {
            self.stuck = None;
        }
    }
}

/// A plan, and what is under way because of it.
#[derive(Default)]
pub struct Faults {
    engine: Option<Engine>,
    /// The card is dead; whether until a reset.
    dead: Option<bool>,
    reads: Vec<(u32, Answer)>,
    /// Writes that the RTL does not get, to be reported in their turn.
    writes: VecDeque<u32>,
    held: Vec<(Due, Held)>,
    pin: Pin,
    /// The DMA request that is being made is answered so late.
    late: Option<Delay>,
    /// The reset that comes is over so late.
    reset: Option<Delay>,
    /// The RTL has left its reset, and nobody else knows.
    leaving: Option<(u32, Due)>,
    /// The link goes down at the end of the poll.
    link: Option<Delay>,
    /// Nobody gets a session before.
    dark: Option<Due>,
    /// Who asked for one last meanwhile, and how.
    knock: Option<(Vec<u8>, Vec<u8>)>,
    lines: Limit,
    plans: Limit,
}

impl Faults {
    /// Whether a poll has to look whether something is due.
    fn waits(&self) -> bool {
        !self.held.is_empty()
            || !self.pin.changes.is_empty()
            || self.pin.pulse.is_some()
            || self.leaving.is_some()
            || self.link.is_some()
            || self.knock.is_some()
    }

    /// The level of the INTx pin that the host is to see.
    pub fn pin(&self) -> bool {
        self.pin.level()
    }

    /// The RTL is in reset, or without a link.
    pub fn pin_low(&mut self) {
        self.pin.void(false);
    }

    /// Nothing of the guest's or the RTL's is under way any more.
    fn void(&mut self, reset: bool) {
        self.pin.void(reset);
        self.reads.clear();
        self.writes.clear();
        self.held.clear();
        self.leaving = None;
    }
}

/// In words, for whoever has given it.
fn described(count: usize, seed: u64) -> String {
    match count {
        0 => "no faults".into(),
        1 => format!("1 fault, seed {seed}"),
        n => format!("{n} faults, seed {seed}"),
    }
}

impl Run {
    /// The faults to have from now on. What is under way because of those before goes on, but a
    /// card that was dead is not any more, and its pin has the level that the RTL has given it.
    pub fn set_faults(&mut self, plan: Plan, c: &Context<'_>) -> String {
        let (seed, of_channels) = (plan.seed, plan.of_channels());
        let engine = Engine::new(plan.of_card(c.name));
        let text = described(engine.len() + of_channels, seed);
        if engine.is_empty() && self.faults.is_none() {
            return text;
        }
        if self.faults.is_none() {
            // Those that were announced, or wait for it.
            for dma in &mut self.dma {
                let here = self.done_here.iter().any(|d| d.0 == dma.tag);
                let done = matches!(dma.state, DmaState::Done { .. }) && !here;
                (dma.fault.ready, dma.fault.queued) = (done, done);
            }
        }
        // Delays may be in clocks.
        c.attention.fetch_or(COUNTED, Ordering::AcqRel);
        let faults = self.faults.get_or_insert_default();
        faults.engine = Some(engine);
        faults.dead = None;
        faults.pin = Pin {
            level: self.intx,
            ..Pin::default()
        };
        limited!(faults.plans, info, c.target, "plan of faults: {text}");
        self.tell_intx();
        text
    }

    /// FAULTS has come.
    pub(super) fn faults_told(&mut self, text: &str, c: &Context<'_>) {
        match Plan::parse(text) {
            Ok(plan) => {
                channels::set(&plan);
                let text = self.set_faults(plan, c);
                self.session.faults_done(false, &text, &mut self.out);
            }
            Err(e) => {
                let e = e.to_string();
                self.session.faults_done(true, &e, &mut self.out);
            }
        }
    }

    /// What goes wrong with a transaction that begins, if it is its own: `Dead` for all of them
    /// while the card is dead.
    fn fault(&mut self, transaction: &Transaction, c: &mut Context<'_>) -> Option<Fault> {
        let faults = self.faults.as_mut()?;
        let injected = faults.engine.as_mut()?.decide(transaction);
        if let Some(injected) = injected {
            let Transaction {
                what,
                number,
                bar,
                address,
                ..
            } = *transaction;
            let (name, line) = (injected.fault.name(), injected.line);
            let place = match what {
                What::Read | What::Write => format!(" of BAR {bar} offset {address:#x}"),
                What::DmaRead | What::DmaWrite => format!(" at {address:#x}"),
                What::Msi => format!(" vector {address}"),
                What::Intx => format!(" level {address}"),
                // The others are none of a function.
                _ => String::new(),
            };
            limited!(
                faults.lines,
                info,
                c.target,
                "fault of line {line}: {name}, {} #{number}{place}",
                what.name()
            );
            c.observe(|o| o.fault(number, injected.fault.number(), line));
            match injected.fault {
                Fault::Dead { until_reset } => faults.dead = Some(until_reset),
                Fault::LinkDown(delay) => faults.link = Some(delay),
                Fault::Spurious(vector) => {
                    self.session.msix(vector, &mut self.out);
                }
                Fault::Pulse(_) | Fault::Stuck { .. } if self.session.config().intx_pin == 0 => {}
                Fault::Pulse(delay) => {
                    faults.pin.pulse = Some(Due::after(delay, c.timing));
                    self.tell_intx();
                }
                Fault::Stuck { level, until_reset } => {
                    faults.pin.stuck = Some((level, until_reset));
                    self.tell_intx();
                }
                fault if faults.dead.is_none() => return Some(fault),
                _ => {}
            }
        }
        let dead = self.faults.as_ref()?.dead;
        dead.map(|until_reset| Fault::Dead { until_reset })
    }

    fn error(&mut self, kind: ErrorKind, read: Option<u32>) {
        self.session.error(kind, read, &mut self.out);
    }

    /// A read has come. Whether it is not for the RTL.
    pub(super) fn read_fails(
        &mut self,
        number: u64,
        (tag, bar, len, offset): (u32, u8, u8, u64),
        c: &mut Context<'_>,
    ) -> bool {
        let transaction = Transaction {
            what: What::Read,
            number,
            bar,
            address: offset,
            length: len.into(),
        };
        let Some(fault) = self.fault(&transaction, c) else {
            return false;
        };
        let timing = c.timing;
        let error = match fault {
            Fault::Unsupported => Some(ErrorKind::ReadUnsupported),
            Fault::Abort => Some(ErrorKind::ReadAborted),
            Fault::Dead { .. } => None,
            fault => {
                let Some(faults) = &mut self.faults else {
                    return false;
                };
                let answer = match fault {
                    Fault::Poison => Answer::Poisoned,
                    Fault::Late(delay) => Answer::Late(delay),
                    Fault::Xor(bits) => Answer::Xor(bits),
                    Fault::Value(value) => Answer::Value(value),
                    Fault::Lose(delay) => {
                        let timeout = Held::Read {
                            tag,
                            len,
                            status: Status::Refused,
                            data: 0,
                            error: Some(ErrorKind::ReadTimeout),
                        };
                        faults.held.push((Due::after(delay, timing), timeout));
                        Answer::Lost
                    }
                    _ => return false,
                };
                faults.reads.push((tag, answer));
                return false;
            }
        };
        c.observe(|o| o.mmio_read_done(tag, len, Status::Refused, u64::MAX));
        self.answer_read(tag, len, Status::Refused, 0, error);
        true
    }

    fn answer_read(
        &mut self,
        tag: u32,
        len: u8,
        status: Status,
        data: u64,
        error: Option<ErrorKind>,
    ) {
        if let Some(kind) = error {
            self.error(kind, Some(tag));
        }
        self.session
            .read_done(tag, len, status, data, &mut self.out);
    }

    /// The RTL has answered a read, which a fault may be for.
    pub(super) fn read_answered(
        &mut self,
        mmio: &Mmio,
        status: Status,
        data: u64,
        c: &Context<'_>,
    ) {
        let (tag, len) = (mmio.tag, mmio.len);
        let answer = self.faults.as_mut().and_then(|faults| {
            let i = faults.reads.iter().position(|r| r.0 == tag)?;
            Some(faults.reads.swap_remove(i).1)
        });
        match answer {
            None => self.answer_read(tag, len, status, data, None),
            Some(Answer::Lost) => {}
            Some(Answer::Poisoned) => {
                self.answer_read(tag, len, Status::Refused, 0, Some(ErrorKind::ReadPoisoned));
            }
            Some(Answer::Xor(bits)) => self.answer_read(tag, len, status, data ^ bits, None),
            Some(Answer::Value(value)) => self.answer_read(tag, len, status, value, None),
            Some(Answer::Late(delay)) => {
                let held = Held::Read {
                    tag,
                    len,
                    status,
                    data,
                    error: None,
                };
                if let Some(faults) = &mut self.faults {
                    faults.held.push((Due::after(delay, c.timing), held));
                }
            }
        }
    }

    /// A write has come. `None` if it is not for the RTL, otherwise its data.
    pub(super) fn write_fails(
        &mut self,
        number: u64,
        (tag, bar, len, offset): (u32, u8, u8, u64),
        data: u64,
        c: &mut Context<'_>,
    ) -> Option<u64> {
        let transaction = Transaction {
            what: What::Write,
            number,
            bar,
            address: offset,
            length: len.into(),
        };
        let error = match self.fault(&transaction, c) {
            None => return Some(data),
            Some(Fault::Xor(bits)) => return Some(mask(data ^ bits, len)),
            Some(Fault::Value(value)) => return Some(mask(value, len)),
            Some(Fault::Unsupported) => Some(ErrorKind::WriteUnsupported),
            Some(Fault::Abort) => Some(ErrorKind::WriteAborted),
            Some(Fault::Poison) => Some(ErrorKind::WritePoisoned),
            Some(_) => None,
        };
        if let Some(kind) = error {
            self.error(kind, None);
        }
        c.observe(|o| o.mmio_write_done(tag, Status::Refused));
        if let Some(faults) = &mut self.faults {
            faults.writes.push_back(tag);
        }
        self.report_lost_writes();
        None
    }

    /// Reports writes that the RTL did not get, as far as those before them are reported: to
    /// whoever has written them they are posted, and done.
    pub(super) fn report_lost_writes(&mut self) {
        let Some(faults) = &mut self.faults else {
            return;
        };
        while let Some(&tag) = faults.writes.front() {
            if !self.session.write_done(tag, Status::Ok, &mut self.out) {
                return;
            }
            faults.writes.pop_front();
        }
    }

    /// A DMA request that is answered without memory: its tag.
    fn unasked(
        &mut self,
        (number, write, addr, bytes): (u64, bool, u64, u32),
        status: Status,
        delay: Option<Delay>,
        error: Option<ErrorKind>,
        c: &Context<'_>,
    ) -> Option<u32> {
        let tag = self.session.own_tag()?;
        debug!(target: c.target, "tag={tag} #{number} DMA addr {addr:#x} bytes {bytes}, a fault");
        self.dma.push(Dma {
            number,
            tag,
            write,
            addr,
            bytes,
            enabled: 0,
            since: Moment::soon(),
            state: DmaState::Done {
                status,
                data: Vec::new(),
                pos: 0,
                announced: false,
            },
            fault: OfDma {
                due: delay.map(|delay| Due::after(delay, c.timing)),
                error,
                ready: true,
                ..OfDma::default()
            },
        });
        self.settle(c.timing);
        Some(tag)
    }

    /// The RTL reads memory. The tag if that is answered already.
    pub(super) fn dma_read_fails(
        &mut self,
        number: u64,
        addr: u64,
        bytes: u32,
        c: &mut Context<'_>,
    ) -> Option<u32> {
        let request = (number, false, addr, bytes);
        let (status, delay, error) = match self.dma_fault(What::DmaRead, number, addr, bytes, c)? {
            Fault::Unsupported => (Status::Fault, None, Some(ErrorKind::DmaUnsupported)),
            Fault::Abort => (Status::Refused, None, Some(ErrorKind::DmaAborted)),
            Fault::Poison => (Status::Refused, None, Some(ErrorKind::DmaReadPoisoned)),
            Fault::Lose(delay) => (Status::Refused, Some(delay), Some(ErrorKind::DmaTimeout)),
            _ => (Status::Refused, None, None),
        };
        self.unasked(request, status, delay, error, c)
    }

    /// The RTL writes memory, likewise.
    pub(super) fn dma_write_fails(
        &mut self,
        number: u64,
        addr: u64,
        bytes: u32,
        c: &mut Context<'_>,
    ) -> Option<u32> {
        let request = (number, true, addr, bytes);
        let (status, error) = match self.dma_fault(What::DmaWrite, number, addr, bytes, c)? {
            Fault::Unsupported => (Status::Fault, None),
            // It is posted: the card does not learn that it got nowhere.
            Fault::Poison => (Status::Ok, Some(ErrorKind::DmaWritePoisoned)),
            Fault::Lose(_) => (Status::Ok, None),
            _ => (Status::Refused, None),
        };
        self.unasked(request, status, None, error, c)
    }

    fn dma_fault(
        &mut self,
        what: What,
        number: u64,
        addr: u64,
        bytes: u32,
        c: &mut Context<'_>,
    ) -> Option<Fault> {
        let transaction = Transaction {
            what,
            number,
            bar: 0,
            address: addr,
            length: bytes,
        };
        if let Some(faults) = &mut self.faults {
            faults.late = None;
        }
        match (self.fault(&transaction, c)?, &mut self.faults) {
            // It is made as any other.
            (Fault::Late(delay), Some(faults)) => {
                faults.late = Some(delay);
                None
            }
            (fault, _) => Some(fault),
        }
    }

    /// Of the request that is made now.
    pub(super) fn of_dma(&mut self) -> OfDma {
        OfDma {
            late: self.faults.as_mut().and_then(|f| f.late.take()),
            ..OfDma::default()
        }
    }

    /// A DMA request is answered: the RTL can have it, in the order in which it has asked.
    pub(super) fn complete(&mut self, kind: Kind, tag: u32, timing: &Timing) {
        if self.faults.is_none() {
            self.queue.push(kind, Item::Dma { tag });
            return;
        }
        if let Some(dma) = self.dma.iter_mut().find(|d| d.tag == tag) {
            dma.fault.ready = true;
            dma.fault.due = dma.fault.late.map(|delay| Due::after(delay, timing));
        }
        self.settle(timing);
    }

    /// Has the RTL get what it may get.
    fn settle(&mut self, timing: &Timing) {
        // What a reset or the end of the link has made void is forgotten when the RTL hears
        // of it.
        if self.void() {
            return;
        }
        for (kind, write) in [(Kind::DmaRead, false), (Kind::DmaWrite, true)] {
            let mine = |d: &&mut Dma| d.write == write && !d.fault.queued;
            for dma in self.dma.iter_mut().filter(mine) {
                let fault = &mut dma.fault;
                if !fault.ready || fault.due.is_some_and(|due| !due.is_over(timing)) {
                    break;
                }
                fault.queued = true;
                if let Some(error) = fault.error {
                    self.session.error(error, None, &mut self.out);
                }
                self.queue.push(kind, Item::Dma { tag: dma.tag });
            }
        }
    }

    /// The RTL raises a vector. Whether that has been seen to.
    pub(super) fn vector_fails(&mut self, vector: u16, number: u64, c: &mut Context<'_>) -> bool {
        let transaction = Transaction {
            what: What::Msi,
            number,
            bar: 0,
            address: vector.into(),
            length: 0,
        };
        let Some(fault) = self.fault(&transaction, c) else {
            return false;
        };
        match (fault, &mut self.faults) {
            (Fault::Late(delay), Some(faults)) => {
                let is_vector = |h: &&(Due, Held)| matches!(h.1, Held::Vector(_));
                if faults.held.iter().filter(is_vector).count() >= MAX_VECTORS {
                    return false;
                }
                let due = Due::after(delay, c.timing);
                faults.held.push((due, Held::Vector(vector)));
            }
            (Fault::Double, _) => {
                for _ in 0..2 {
                    self.session.msix(vector, &mut self.out);
                }
            }
            _ => {}
        }
        c.count(Stat::Msix, 1);
        true
    }

    /// The RTL has given its pin another level, which the host may not see, or later.
    pub(super) fn pin_fails(&mut self, level: bool, number: u64, c: &mut Context<'_>) {
        let transaction = Transaction {
            what: What::Intx,
            number,
            bar: 0,
            address: level.into(),
            length: 0,
        };
        let fault = self.fault(&transaction, c);
        let Some(faults) = &mut self.faults else {
            return;
        };
        match fault {
            Some(Fault::Lose(_) | Fault::Dead { .. }) => {}
            Some(Fault::Late(delay)) => {
                let due = Due::after(delay, c.timing);
                faults.pin.change(level, Some(due));
            }
            _ => faults.pin.change(level, None),
        }
    }

    /// The guest resets the function: what was held is void.
    pub(super) fn reset_fails(&mut self, number: u64, c: &mut Context<'_>) {
        let Some(faults) = &mut self.faults else {
            return;
        };
        faults.void(true);
        faults.reset = None;
        if faults.dead == Some(true) {
            faults.dead = None;
        }
        let transaction = Transaction {
            what: What::Reset,
            number,
            bar: 0,
            address: 0,
            length: 0,
        };
        if let (Some(Fault::Late(delay)), Some(faults)) =
            (self.fault(&transaction, c), &mut self.faults)
        {
            faults.reset = Some(delay);
        }
    }

    /// The RTL has left a reset. Whether the host is to hear of that later.
    pub(super) fn reset_is_late(&mut self, tag: u32, timing: &Timing) -> bool {
        // The last of several resets answers them all.
        let another = self.control.reset.is_some();
        let Some(faults) = self.faults.as_mut().filter(|_| !another) else {
            return false;
        };
        faults.leaving = faults
            .reset
            .take()
            .map(|delay| (tag, Due::after(delay, timing)));
        faults.leaving.is_some()
    }

    /// Whether the RTL has left a reset which for all others goes on.
    pub(super) fn reset_goes_on(&self) -> bool {
        self.faults.as_ref().is_some_and(|f| f.leaving.is_some())
    }

    /// The link is down.
    pub(super) fn faults_void(&mut self) {
        if let Some(faults) = &mut self.faults {
            faults.void(false);
            faults.reset = None;
            faults.link = None;
        }
    }

    /// Whether somebody who asks for a session has to wait.
    pub(super) fn is_dark(&mut self, id: &[u8], body: &[u8]) -> bool {
        match &mut self.faults {
            Some(faults) if faults.dark.is_some() => {
                faults.knock = Some((id.to_vec(), body.to_vec()));
                true
            }
            _ => false,
        }
    }

    /// Whether the next poll has something to look after.
    pub(super) fn has_faults_to_do(&self) -> bool {
        self.faults.as_ref().is_some_and(|f| f.waits())
            || self.faults.is_some() && self.dma.iter().any(|d| d.fault.ready && !d.fault.queued)
    }

    /// Has the pin have the level that it has now. One change at a time, so that the host sees
    /// each.
    fn pin_due(&mut self, timing: &Timing) {
        let Some(faults) = &mut self.faults else {
            return;
        };
        let pin = &mut faults.pin;
        let pulse = pin.pulse.take_if(|due| due.is_over(timing)).is_some();
        let change = match pin.changes.front() {
            Some((due, _)) if due.is_over(timing) => pin.changes.pop_front(),
            _ => None,
        };
        if let Some((_, level)) = change {
            pin.level = level;
        }
        if pulse || change.is_some() {
            self.tell_intx();
        }
    }

    /// What is due at a poll.
    ///
    /// # Errors
    ///
    /// `Code::Io` if the end of the session cannot be sent.
    pub(super) fn faults_due(&mut self, c: &mut Context<'_>) -> Result<()> {
        let timing = c.timing;
        loop {
            let Some(faults) = &mut self.faults else {
                return Ok(());
            };
            let Some(i) = faults.held.iter().position(|h| h.0.is_over(timing)) else {
                break;
            };
            match faults.held.remove(i).1 {
                Held::Read {
                    tag,
                    len,
                    status,
                    data,
                    error,
                } => self.answer_read(tag, len, status, data, error),
                Held::Vector(vector) => {
                    self.session.msix(vector, &mut self.out);
                }
            }
        }
        self.settle(timing);
        self.pin_due(timing);
        let Some(faults) = &mut self.faults else {
            return Ok(());
        };
        if let Some((tag, _)) = faults.leaving.take_if(|l| l.1.is_over(timing)) {
            debug!(target: c.target, "tag={tag} reset done, late");
            self.session.reset_done(tag, &mut self.out);
            self.tell_intx();
        }
        let Some(faults) = &mut self.faults else {
            return Ok(());
        };
        if let Some(delay) = faults.link.take() {
            if self.session.is_up() {
                faults.dark = Some(Due::after(delay, timing));
                faults.knock = None;
                return self.end_session("a fault", c);
            }
        }
        if faults.dark.is_some_and(|due| due.is_over(timing)) {
            faults.dark = None;
            if let Some((id, body)) = faults.knock.take() {
                self.newcomer(&id, &body, c);
            }
        }
        Ok(())
    }
}
