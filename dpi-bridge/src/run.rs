// SPDX-License-Identifier: MIT OR Apache-2.0

//! A bridge from `acc_start` on: the session with the host, and what the RTL
//! was told of it.
//!
//! Frames are taken in and the session's state changes in [`Run::poll`] only,
//! so what a poll announced stays there until it is fetched. Everything that a
//! call has to say to the host is sent before the call returns, except DMA
//! requests while others are under way, which may share messages.
//!
//! This file has the state and the poll; `host.rs` is the side towards the
//! host, `rtl.rs` the side towards the RTL, `direct.rs` DMA that the host need not
//! be asked for, `faults.rs` what goes wrong by plan.

mod direct;
mod faults;
pub mod function;
mod host;
mod rtl;

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use accelerator_carrier::Wanted;
use accelerator_protocol::{
    device::{DeviceSession, MAX_DMA},
    door::Door,
    function::Function,
    limit::Limit,
    wire::{ResetKind, Status},
};
use log::warn;

use crate::{
    error::{Code, Error, Result},
    hosts::Hosts,
    memory::Memory,
    order::{Kind, Queue},
    record::Observer,
    transport::{Sent, Transport, CLOSE_LIMIT, GATHER},
    turns::Turns,
    waits::{Kind as Wait, Moment, Waiting},
    words::{Timing, CROWDED, LOCAL},
};

pub use faults::Due;

/// Bytes of one DMA request. An AXI burst never crosses a 4 KiB boundary.
pub const MAX_DMA_BYTES: u32 = 4096;

/// Reports of writes are held back while more writes are on their way through
/// the RTL, for at most so many of them, and until it takes so many polls for
/// the next.
const REPORT_WRITES: u32 = 64;
const REPORT_POLLS: u32 = 16;

/// While there are only writes for the RTL, so many polls need not look for more, of which those in
/// which it takes none have nothing else to do: what comes behind a write waits for it, but for
/// what may pass it.
const RESTS: u32 = 4;

/// A DMA request is sent at once, unless at least so many are under way. Then up
/// to so many requests, and about so many bytes of them, share a message, which
/// leaves after this time, before anything else is taken in, or with what else
/// is to be told.
const UNDER_WAY: usize = 4;
const REQUESTS: usize = 8;
const REQUEST_BYTES: usize = 4096;
const HOLD: Duration = Duration::from_micros(4);

/// What a poll returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Event {
    /// Nothing.
    None = 0,
    /// MMIO read.
    MmioRead = 1,
    /// MMIO write.
    MmioWrite = 2,
    /// A DMA read is answered.
    DmaReadDone = 3,
    /// A DMA write is answered.
    DmaWriteDone = 4,
    /// The function is reset.
    Reset = 5,
    /// A host is there.
    LinkUp = 6,
    /// The host is gone.
    LinkDown = 7,
    /// The guest has set something in config space.
    Function = 8,
}

impl Event {
    /// Its name in the header, without the prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::MmioRead => "MMIO_READ",
            Self::MmioWrite => "MMIO_WRITE",
            Self::DmaReadDone => "DMA_READ_DONE",
            Self::DmaWriteDone => "DMA_WRITE_DONE",
            Self::Reset => "RESET",
            Self::LinkUp => "LINK_UP",
            Self::LinkDown => "LINK_DOWN",
            Self::Function => "FUNCTION",
        }
    }
}

/// Counters, by the number that `acc_stat` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stat {
    /// MMIO reads handed out.
    MmioReads = 0,
    /// MMIO writes handed out.
    MmioWrites = 1,
    /// Bytes that DMA reads brought.
    DmaReadBytes = 2,
    /// Bytes that DMA writes put into host memory.
    DmaWriteBytes = 3,
    /// Vectors raised.
    Msix = 4,
    /// Sessions that came up.
    Sessions = 5,
    /// Polls that received or handed out something.
    BusyPolls = 6,
    /// Number of the transaction that the RTL has fetched or begun last. It is in
    /// [`Words`](crate::words::Words), and no counter.
    Transaction = 7,
}

/// How many counters there are.
pub const STATS: usize = Stat::Transaction as usize;

/// An MMIO request, as the RTL sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mmio {
    /// Of the transaction.
    pub number: u64,
    /// For the answer.
    pub tag: u32,
    /// 0 to 5.
    pub bar: u8,
    /// 1 to 8 bytes.
    pub len: u8,
    /// The BAR's AXI base plus the offset.
    pub addr: u64,
    /// Of a write.
    pub data: u64,
}

impl Mmio {
    /// Of a read that the guest waits for.
    const fn as_read(&self) -> Waiting {
        let Self { tag, addr, len, .. } = *self;
        Waiting::Read { tag, addr, len }
    }

    /// Of a write that the RTL has not answered.
    const fn as_write(&self) -> Waiting {
        let Self { tag, addr, len, .. } = *self;
        Waiting::Write { tag, addr, len }
    }
}

/// What the queue holds.
#[derive(Clone, Copy, Debug)]
enum Item {
    Mmio(Mmio),
    Dma {
        tag: u32,
    },
    /// Among the writes.
    Function(Function),
}

/// A request that the RTL has and did not answer.
#[derive(Clone, Copy, Debug)]
struct InRtl {
    mmio: Mmio,
    since: Moment,
}

/// How many requests the RTL has, for messages.
fn of_them(count: usize, oldest: Option<&InRtl>) -> String {
    match oldest {
        None => "none".to_owned(),
        Some(oldest) => format!("{count}, the oldest has tag {}", oldest.mmio.tag),
    }
}

#[derive(Debug)]
enum DmaState {
    /// The host has it.
    Waiting,
    /// The host has answered, `pos` bytes of the data were fetched.
    Done {
        status: Status,
        data: Vec<u8>,
        pos: usize,
        announced: bool,
    },
}

#[derive(Debug)]
struct Dma {
    /// Of the transaction.
    number: u64,
    tag: u32,
    write: bool,
    addr: u64,
    bytes: u32,
    /// Of a write: bytes that are enabled.
    enabled: u32,
    since: Moment,
    state: DmaState,
    fault: faults::OfDma,
}

impl Dma {
    const fn as_waiting(&self) -> Waiting {
        Waiting::Dma {
            tag: self.tag,
            write: self.write,
            addr: self.addr,
            bytes: self.bytes,
        }
    }
}

/// A DMA write that the RTL is telling beat by beat.
#[derive(Debug, Default)]
struct Assembly {
    addr: u64,
    data: Vec<u8>,
    enables: Vec<u8>,
    enabled: u32,
}

/// Messages taken out of shared memory at one poll, and when the host is lost: at least all
/// that a ring holds.
const MESSAGES_PER_POLL: usize = 8;
const LAST_MESSAGES: usize = 32_768;

/// Sends to the host, by what its session goes through.
fn send(memory: &mut Memory, hosts: &Hosts, message: &[u8]) -> Result<Sent> {
    memory.send(message).unwrap_or_else(|| hosts.send(message))
}

/// Sends what was kept for the host, and what is left of the message before it.
fn pass_on(memory: &mut Memory, hosts: &mut Hosts) -> Result<Sent> {
    match memory.go_on() {
        Ok(Sent::Yes) => hosts.pass_on(|message| memory.send(message)),
        other => other,
    }
}

/// DMA requests in [`Run::out`] that wait for the next ones.
#[derive(Debug)]
struct Held {
    count: usize,
    /// Of `out`, if there is nothing else in it.
    bytes: usize,
    /// When the first of them came.
    since: Instant,
}

/// What is waited for longest, of each kind: numbers of transactions, 0 if there is none, and
/// since when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Oldest {
    read: u64,
    write: u64,
    dma: u64,
    reset: Option<(u32, Moment)>,
    host: Option<Moment>,
}

/// Events about the link as a whole, in the order in which they are told. All
/// else that waits came after them.
#[derive(Debug, Default)]
struct Control {
    down: bool,
    up: bool,
    reset: Option<(u32, ResetKind)>,
}

impl Control {
    const fn has_any(&self) -> bool {
        self.down || self.up || self.reset.is_some()
    }
}

/// What the last poll announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Queued(Kind),
    Reset,
    Down,
    Up,
}

/// The lines that whoever reaches the socket can cause.
#[derive(Default)]
struct Limits {
    violations: Limit,
    /// Of the link's comings and goings.
    link: Limit,
    version: Limit,
    clock: Limit,
    memory: Limit,
}

/// A bridge from `acc_start` on.
pub struct Run {
    hosts: Hosts,
    memory: Memory,
    /// A message from there, for the next one to reuse.
    message: Vec<u8>,
    session: DeviceSession,
    queue: Queue<Item>,
    control: Control,
    announced: Option<Announced>,
    /// What the RTL knows about the link.
    link_up: bool,
    /// The reset that the RTL is in.
    in_reset: Option<(u32, Moment)>,
    /// `acc_reset_done` may come without a reset, since the link went down
    /// while it was in progress.
    excused: bool,
    /// What the guest has set in config space.
    function: function::State,
    /// Requests that the RTL has, oldest first.
    reads: Vec<InRtl>,
    writes: VecDeque<InRtl>,
    /// Writes that are done and not reported, and polls since the last.
    held_writes: u32,
    held_polls: u32,
    /// Polls left that need not look for more.
    rests: u32,
    /// Polls since shared memory was looked at.
    blind: u32,
    /// In the order in which they were requested.
    dma: Vec<Dma>,
    /// DMA reads that were carried out here: their tags, and what has to be received of the
    /// host before the RTL gets the data.
    done_here: VecDeque<(u32, u64)>,
    assembly: Option<Assembly>,
    /// Level of the INTx pin that the RTL drives, and that the host knows.
    intx: bool,
    intx_told: bool,
    /// Frames for the peer, sent at the end of the call, except DMA requests that
    /// are `held`.
    out: Vec<u8>,
    held: Held,
    turns: Turns,
    /// What the watcher was told of.
    oldest: Oldest,
    /// Clocks from one TIME to the next, while the host wants to know.
    time_clocks: u64,
    /// Nothing before there is a plan of faults.
    faults: Option<Box<faults::Faults>>,
    limits: Limits,
}

/// What a [`Run`] uses of its bridge.
pub struct Context<'a> {
    /// Name of the bridge.
    pub name: &'a str,
    /// Name of the bridge as log lines show it.
    pub target: &'a str,
    /// The counters.
    pub stats: &'a mut [u64; STATS],
    /// After which time a wait is mentioned.
    pub warn: Option<Duration>,
    /// What a poll has to look at.
    pub attention: &'static AtomicU32,
    /// The simulated time.
    pub timing: &'static Timing,
    /// Polls that need not look for more while the RTL takes no write.
    pub rests: &'static AtomicU32,
    /// The number of the transaction that the RTL has fetched or begun last.
    pub transaction: &'static AtomicU64,
    /// Who writes down what crosses, if anybody does.
    pub observer: Option<&'a mut Observer>,
}

impl Context<'_> {
    fn count(&mut self, stat: Stat, by: u64) {
        self.stats[stat as usize] += by;
    }

    /// The RTL has fetched or begun this transaction.
    fn at(&self, number: u64) {
        self.transaction.store(number, Ordering::Relaxed);
    }

    /// Has it written down, where there is a record.
    fn observe(&mut self, f: impl FnOnce(&mut Observer)) {
        if let Some(observer) = self.observer.as_deref_mut() {
            f(observer);
        }
    }
}

impl Run {
    /// A bridge without a host.
    pub fn new(
        transport: Transport,
        mut session: DeviceSession,
        memory: Memory,
        target: &str,
    ) -> Self {
        session.shares(memory.wanted() != Wanted::Off);
        Self {
            hosts: Hosts::new(Door::of_function(), transport, target),
            memory,
            message: Vec::new(),
            function: function::State::new(&session),
            session,
            queue: Queue::default(),
            control: Control::default(),
            announced: None,
            link_up: false,
            in_reset: None,
            excused: false,
            reads: Vec::new(),
            writes: VecDeque::new(),
            held_writes: 0,
            held_polls: 0,
            rests: 0,
            blind: 0,
            dma: Vec::with_capacity(MAX_DMA),
            done_here: VecDeque::new(),
            assembly: None,
            intx: false,
            intx_told: false,
            out: Vec::with_capacity(GATHER),
            held: Held {
                count: 0,
                bytes: 0,
                since: Instant::now(),
            },
            turns: Turns::default(),
            oldest: Oldest::default(),
            time_clocks: 0,
            faults: None,
            limits: Limits::default(),
        }
    }

    /// Says goodbye and closes the socket.
    pub fn close(mut self, target: &str) {
        self.session.close(&mut self.out);
        if self.hosts.door.reachable().is_some() {
            self.hosts.backlog.push(std::mem::take(&mut self.out));
            let deadline = Instant::now() + CLOSE_LIMIT;
            loop {
                match pass_on(&mut self.memory, &mut self.hosts) {
                    Ok(Sent::Yes) if self.memory.has_rest() && Instant::now() < deadline => {}
                    Ok(Sent::Full) if Instant::now() < deadline => {}
                    Ok(Sent::Yes | Sent::Gone) => break,
                    Ok(Sent::Full) | Err(_) => {
                        warn!(
                            target: target,
                            "{} messages were not taken by the host before the bridge closed",
                            self.hosts.backlog.len()
                        );
                        break;
                    }
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        self.memory.end(self.hosts.watcher());
        self.hosts.close();
    }

    /// Tells the watcher what is waited for longest, where that has changed.
    fn tell_waits(&mut self) {
        let (board, told) = (self.hosts.board(), &mut self.oldest);
        let read = self.reads.first();
        let number = read.map_or(0, |r| r.mmio.number);
        if told.read != number {
            told.read = number;
            board.tell_of(Wait::Read, read.map(|r| (r.mmio.as_read(), r.since)));
        }
        let write = self.writes.front();
        let number = write.map_or(0, |w| w.mmio.number);
        if told.write != number {
            told.write = number;
            board.tell_of(Wait::Write, write.map(|w| (w.mmio.as_write(), w.since)));
        }
        let waiting = |d: &&Dma| matches!(d.state, DmaState::Waiting);
        let dma = self.dma.iter().find(waiting);
        let number = dma.map_or(0, |d| d.number);
        if told.dma != number {
            told.dma = number;
            board.tell_of(Wait::Dma, dma.map(|d| (d.as_waiting(), d.since)));
        }
        if told.reset != self.in_reset {
            told.reset = self.in_reset;
            let reset = |(tag, since)| (Waiting::Reset { tag }, since);
            board.tell_of(Wait::Reset, self.in_reset.map(reset));
        }
        let host = self.hosts.backlog_since;
        if told.host != host {
            told.host = host;
            board.tell_of(Wait::Host, host.map(|since| (Waiting::Host, since)));
        }
    }

    /// Counts the polls that rested since the last call.
    pub fn count_rests(&mut self, c: &Context<'_>) {
        let left = c.rests.load(Ordering::Relaxed);
        let rested = self.rests.saturating_sub(left);
        self.rests = left;
        self.blind += rested;
        if self.session.unreported() {
            self.held_polls += rested;
        }
    }

    /// Tells the watcher what is waited for, and the next poll whether it has
    /// work.
    pub fn publish(&mut self, c: &Context<'_>) {
        if c.warn.is_some() {
            self.tell_waits();
        }
        let calm = self.is_calm();
        let has_reports = self.session.unreported() || !self.out.is_empty();
        let work = !calm || has_reports || !self.queue.is_empty();
        let rests = match calm && self.may_rest() {
            true => RESTS.saturating_sub(self.blind),
            false => 0,
        };
        self.rests = rests;
        c.rests.store(rests, Ordering::Relaxed);
        let known = c.attention.load(Ordering::Relaxed);
        for (bit, now) in [(LOCAL, work), (CROWDED, self.turns.on())] {
            if now != (known & bit != 0) {
                if now {
                    c.attention.fetch_or(bit, Ordering::AcqRel);
                } else {
                    c.attention.fetch_and(!bit, Ordering::AcqRel);
                }
            }
        }
    }

    /// Whether there is nothing for the next poll, but perhaps for the RTL, and reports.
    fn is_calm(&self) -> bool {
        self.hosts.tries.watched()
            && !self.hosts.door.is_lost()
            && !self.hosts.door.has_candidate()
            && self.hosts.backlog.is_empty()
            && !self.control.has_any()
            && self.done_here.is_empty()
            && !self.memory.has_rest()
            && !self.has_faults_to_do()
    }

    /// Whether some polls of calm need not look for more while the RTL takes no write.
    fn may_rest(&self) -> bool {
        self.queue.has_only_writes()
            && self.memory.is_attached()
            && self.out.is_empty()
            && self.in_reset.is_none()
            && self.faults.is_none()
    }

    /// Lets others run, if they want to and there is nothing to do.
    fn take_turns(&mut self) {
        if self.turns.on()
            && self.writes.is_empty()
            && !self.is_busy()
            && !self.memory.has_message()
        {
            self.turns.give_way();
        }
    }

    /// `acc_poll`.
    ///
    /// # Errors
    ///
    /// `Code::Io` if the socket fails.
    pub fn poll(&mut self, ready: u32, c: &mut Context<'_>) -> Result<Event> {
        self.hosts.watcher().polled();
        self.announced = None;
        self.function_wanted(ready);
        self.take_turns();
        let received = self.service(c)?;
        if self.faults.is_some() {
            self.faults_due(c)?;
        }
        self.tell_intx();
        self.tell_time(c);
        if self.session.unreported() {
            self.held_polls += 1;
            if self.held_polls >= REPORT_POLLS {
                self.session.report_writes(&mut self.out);
            }
        }
        self.announced = self.choose(ready);
        let event = self.announced_event();
        if received || event != Event::None {
            c.count(Stat::BusyPolls, 1);
        }
        Ok(event)
    }

    /// What the last poll announced and was not fetched yet.
    fn announced_event(&self) -> Event {
        match self.announced {
            None => Event::None,
            Some(Announced::Queued(Kind::Read)) => Event::MmioRead,
            Some(Announced::Queued(Kind::Write)) if self.function_is_next() => Event::Function,
            Some(Announced::Queued(Kind::Write)) => Event::MmioWrite,
            Some(Announced::Queued(Kind::DmaRead)) => Event::DmaReadDone,
            Some(Announced::Queued(Kind::DmaWrite)) => Event::DmaWriteDone,
            Some(Announced::Reset) => Event::Reset,
            Some(Announced::Down) => Event::LinkDown,
            Some(Announced::Up) => Event::LinkUp,
        }
    }

    /// The error of a call that fetches something else than was announced.
    fn not_announced(&self, call: &str, expected: &str) -> Error {
        Error::new(
            Code::State,
            format!(
                "{call} without an acc_poll that returned {expected}; to be fetched is {}",
                self.announced_event().name()
            ),
        )
    }

    fn choose(&mut self, ready: u32) -> Option<Announced> {
        if self.control.down {
            Some(Announced::Down)
        } else if self.control.up {
            Some(Announced::Up)
        } else if self.control.reset.is_some() {
            Some(Announced::Reset)
        } else if self.in_reset.is_some() || self.reset_goes_on() {
            // What comes after a reset is for the RTL that has left it, but for the
            // state that the reset has left.
            self.function_is_next()
                .then_some(Announced::Queued(Kind::Write))
        } else {
            self.queue
                .select(ready, self.reads.len())
                .map(Announced::Queued)
        }
    }

    /// Whether the RTL has something to do.
    fn is_busy(&self) -> bool {
        !self.queue.is_empty()
            || !self.reads.is_empty()
            || self.assembly.is_some()
            || self
                .dma
                .iter()
                .any(|d| matches!(d.state, DmaState::Done { .. }))
    }

    /// Takes in what came and looks after the peer; whether anything came.
    fn service(&mut self, c: &mut Context<'_>) -> Result<bool> {
        let look = self.hosts.look(c.attention);
        let busy = self.is_busy();
        let mut received = false;
        if self.rests == 0 {
            self.blind = 0;
            received = self.receive_memory(MESSAGES_PER_POLL, c);
        } else {
            self.blind += 1;
        }
        if received {
            self.turns.heard(self.memory.crowd());
        }
        if self.hosts.is_due(look, busy) {
            let came = self.receive(c)?;
            received |= came.0 != 0;
            let session = self.session.session();
            if self.hosts.received(look, came, c.attention, session) {
                self.receive_memory(LAST_MESSAGES, c);
                self.peer_lost(c);
            }
        }
        if self.hosts.door.has_candidate() {
            self.look_after_candidate(c);
        }
        Ok(received)
    }
}
