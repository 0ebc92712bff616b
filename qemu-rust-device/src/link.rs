// SPDX-License-Identifier: GPL-2.0-or-later

//! The link to the simulator: one ZeroMQ socket, the host's half of the
//! session, and the rule for who serves it.
//!
//! Nothing here knows QEMU; what the link needs of it is the trait [`Root`].
//!
//! # Parts
//!
//! * `wire` is the socket and the watch over its connection, `memory` what carries the
//!   frames instead if both ends are on one host, `direct` which memory the simulator then
//!   reaches by itself, `descriptors` what else a thread can sleep on;
//! * `peer` is how a session begins, ends and begins anew;
//! * `lead` is who serves the socket, `frames` what each frame does, `deeds` what
//!   of it concerns the machine, `serving` what a thread knows that is at it;
//! * `access` is an access to a BAR, `wait` what ends its wait;
//! * `send` is what goes out at once, or with what follows, `voice` what is
//!   logged no more than so often, `moment` what can be traced.
//!
//! # Who serves the socket
//!
//! A ZeroMQ socket may be used by one thread at a time, so every call on it is
//! made under `shared`, which is only ever held for a moment: never while
//! guest memory is accessed, never while the big QEMU lock is taken and never
//! while waiting.
//!
//! Frames have to be served in order and by one thread. That thread is the
//! *leader*. A vCPU that waits for a completion becomes the leader if there is
//! none and serves everything that comes, DMA and interrupts included, until
//! its own completion is there; the completion then needs no hand-over between
//! threads. Other vCPUs that wait meanwhile are followers, woken when the
//! leader has their completion or steps down. When nobody waits, a thread of
//! the link's own leads for the time of one call of [`Link::service`]. It is not
//! QEMU's main loop, which has much else to do, and which cannot be given more
//! weight than the rest of QEMU.
//!
//! That thread sleeps on `outer`, an epoll instance that holds the epoll
//! instance `inner` with the descriptors of the session. A vCPU that takes the
//! lead disarms `inner` in `outer`, so that the thread is not woken by every
//! completion.
//!
//! Through shared memory a message costs no system call: a thread that waits looks for a
//! bounded time before it sleeps, and the simulator rings the bell only for one that sleeps.
//! So whoever leads looks; who steps down or goes to sleep says so in the memory, and looks
//! once more.
//!
//! The socket's own descriptor is edge-triggered: after any call on the socket
//! it may not become readable although messages are there. Whoever called has
//! to go on until there is nothing to receive or wake the next one to do so.

mod access;
mod deeds;
mod descriptors;
mod difference;
pub mod direct;
mod faults;
mod frames;
mod function;
mod lead;
mod memory;
mod moment;
mod peer;
mod send;
mod serving;
mod voice;
mod wait;
mod wire;

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use accelerator_carrier::{
    descriptors::{Epoll, EventFd, Timer},
    patience::Patience,
    segment::PermitPage,
};
use accelerator_protocol::{
    config::Config,
    device::MAX_DMA,
    function::Function,
    host::{HostSession, State, MAX_CLOCKS, MAX_FUNCTIONS, MAX_READS, MAX_RESETS},
    wire::{ErrorKind, ResetKind, Status},
};
use log::{debug, info};

pub(crate) use self::wire::Wire;
use self::{
    deeds::Waiting,
    descriptors::{END, INNER, LATE, RETRY, WAKE, WIRE},
    direct::Direct,
    faults::Plans,
    memory::Memory,
    voice::Voice,
};
pub use accelerator_carrier::Wanted;

pub use self::{memory::Carrier, moment::Moment};
pub use crate::error::LinkError;
use crate::{context, error::system, keys::Keys};

/// How often a waiting thread looks whether QEMU wants to quit.
const SLICE: Duration = Duration::from_millis(100);

/// Messages that may be on their way beside those that the protocol bounds: those
/// of the handshake.
const OTHERS: usize = 16_384;

/// What is asked of the machine that has to wait until this thread is back
/// from its access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    #[default]
    Nothing,
    /// To stop, and to go on later as if nothing had happened.
    Stop,
    /// To begin anew: nobody needs the answer any more.
    Reset,
}

/// Whose access waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// A vCPU's own. Nobody else waits for it.
    Vcpu,
    /// A monitor's or a debugger's, or of another device. The machine waits for it.
    Other,
}

/// What the link needs of the machine that it is plugged into.
pub trait Root: Send + Sync {
    /// Reads guest memory as the device does, filling `data`.
    fn dma_read(&self, addr: u64, data: &mut [u8]) -> Status;
    /// Writes guest memory as the device does; `enables` has one bit per byte.
    fn dma_write(&self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> Status;
    /// Raises a vector, of MSI-X or MSI, whichever the guest has enabled.
    ///
    /// # Errors
    ///
    /// How many vectors that has, if this is none of them; 0 where it is MSI-X with its table in
    /// the RTL, which has to write the message itself.
    fn msix(&self, vector: u16) -> Result<(), u16>;
    /// Drives the INTx pin.
    fn intx(&self, level: bool);
    /// The link went up or down, and nobody drives the INTx pin any more, or yet.
    /// Called while the link is locked: it must neither wait nor call back.
    fn link(&self, up: bool);
    /// The simulator is back as another card than the guest was shown, and has
    /// been refused. Called like [`Root::link`], again and again while it is so.
    fn other_card(&self);
    /// Whether the access that this thread makes is a vCPU's own.
    fn may_wait(&self) -> bool;
    /// Calls `wait` with whose access it is. For a vCPU's own the machine's lock is
    /// released meanwhile, and whatever else others may wait for. Any other keeps it:
    /// its caller is in the middle of something.
    fn waiting(&self, wait: &mut dyn FnMut(Waiter));
    /// Whether this thread holds the machine's lock.
    fn holds_lock(&self) -> bool;
    /// Calls `f` with the machine's lock, which this thread does not hold.
    fn with_lock(&self, f: &mut dyn FnMut());
    /// Whether DMA by this thread needs the machine's lock. Interrupts always do.
    fn dma_locks(&self) -> bool;
    /// The machine is about to end: waiting makes no sense any more.
    fn quitting(&self) -> bool;
    /// What is asked of the machine that has to wait for this thread. Looked at
    /// ten times a second while it waits.
    fn asked(&self) -> Asked {
        Asked::Nothing
    }
    /// The simulator has come to this time, in nanoseconds. Only after
    /// [`Link::follow`].
    fn time(&self, _ns: u64) {}
    /// An error of PCI Express that a fault of the simulator's has made. Called with the
    /// machine's lock.
    fn error(&self, _kind: ErrorKind) {}
    /// A read was given up after the completion timeout.
    fn completion_timeout(&self) {}
    /// The simulator reaches memory by itself while it may, as this page tells, or does so no
    /// more. Called like [`Root::link`].
    fn gate(&self, _page: Option<&PermitPage>) {}
    /// What the link does, as it does it. May be called like [`Root::link`].
    fn moment(&self, _moment: Moment) {}
}

/// What a user can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who we are, for messages on both sides.
    pub name: String,
    /// ZeroMQ endpoint to connect to.
    pub endpoint: String,
    /// Keys of the connection, if it has any.
    pub keys: Option<Keys>,
    /// Posted writes outstanding at most.
    pub write_window: u32,
    /// Whether writes return before they are done.
    pub posted_writes: bool,
    /// After this a read returns all ones; `None` waits as long as the
    /// simulator is there.
    pub completion_timeout: Option<Duration>,
    /// An access that is no vCPU's own waits no longer than this.
    pub other_timeout: Duration,
    /// A wait longer than this is logged.
    pub warn_after: Duration,
    /// Whether sessions go through shared memory.
    pub shared_memory: Wanted,
    /// How long a thread that waits looks into shared memory before it sleeps, at most.
    pub look: Duration,
}

impl Settings {
    /// Messages that may wait for a peer that does not read. One that keeps the
    /// protocol never has more outstanding, stopped as it may be.
    fn queue(&self) -> i32 {
        let writes = self.write_window as usize * (MAX_RESETS + 1);
        let requests = writes + MAX_READS + MAX_RESETS;
        // Config space may have changed before each of them.
        (2 * requests + MAX_FUNCTIONS + MAX_CLOCKS + MAX_DMA + OTHERS) as i32
    }
}

/// What the last frame of the simulator was, for messages.
#[derive(Clone, Copy)]
struct Seen {
    what: &'static str,
    when: Instant,
}

/// Counters, for the log and for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// MMIO reads sent.
    pub reads: u64,
    /// MMIO writes sent.
    pub writes: u64,
    /// Bytes that the device read from guest memory.
    pub dma_read_bytes: u64,
    /// Bytes that the device wrote to guest memory.
    pub dma_write_bytes: u64,
    /// DMA requests that were refused or faulted.
    pub dma_errors: u64,
    /// Vectors raised.
    pub interrupts: u64,
    /// Reads that timed out.
    pub timeouts: u64,
    /// Frames of another session.
    pub stale: u64,
}

struct Shared {
    /// `None` after [`Link::close`].
    context: Option<zmq::Context>,
    wire: Option<Wire>,
    session: HostSession,
    memory: Memory,
    direct: Direct,
    plans: Plans,
    /// Configuration that waits for a decision.
    offered: Option<Config>,
    /// Configuration that the guest was shown.
    accepted: Option<Config>,
    /// Why the last session ended.
    failure: Option<String>,
    /// When to connect again after a session ended.
    retry_at: Option<Instant>,
    /// Completions whose reader has not picked them up.
    answers: Vec<(u32, Status, u64)>,
    /// The guest has been told that the link is up.
    up: bool,
    /// Counts resets and losses of the link: what was sent in an earlier
    /// epoch is answered by nobody.
    epoch: u64,
    leader: bool,
    /// Counts who has led.
    lead: u64,
    /// Threads that wait for the leader.
    followers: u32,
    /// The monitor may have events that were not taken.
    monitor_ready: bool,
    /// The socket may have messages that were not taken, beside those in shared memory.
    socket_ready: bool,
    /// The link's thread watches `outer`.
    watched: bool,
    /// `inner` is armed in `outer`.
    armed: bool,
    seen: Option<Seen>,
    /// An access that is no vCPU's own was given up, and no read has been answered
    /// since.
    deaf: bool,
    waiting: Waiting,
    voice: Voice,
    counters: Counters,
    /// Each so many simulated nanoseconds the simulator tells its time; 0 never.
    interval: u64,
    /// What the guest has set in config space.
    function: Function,
    /// Frames to be sent. Between two calls there are gathered writes in it, and
    /// while the leader serves messages also answers to DMA requests.
    out: Vec<u8>,
    /// How many writes.
    gathered: u32,
    /// Whether there are answers.
    held: bool,
    /// Answers to DMA requests since the leader began to serve messages.
    answered: u32,
    /// Writes since the device has last caught up with all of them.
    streak: u32,
    /// The timer that sends them runs.
    gather_timer: bool,
}

impl Shared {
    fn counters(&self) -> Counters {
        let (read, written) = self.direct.traffic();
        let mut counters = self.counters;
        counters.dma_read_bytes = counters.dma_read_bytes.wrapping_add(read);
        counters.dma_write_bytes = counters.dma_write_bytes.wrapping_add(written);
        counters
    }
}

/// The link to one simulator.
pub struct Link {
    settings: Settings,
    root: Box<dyn Root>,
    shared: Mutex<Shared>,
    /// Of the leader, which looks into shared memory.
    patience: Mutex<Patience>,
    /// Followers wait here.
    turn: Condvar,
    wake: EventFd,
    /// Becomes readable when it is time to connect again.
    retry: Timer,
    /// Becomes readable when gathered writes have waited long enough.
    late: Timer,
    inner: Epoll,
    outer: Epoll,
    /// Becomes readable when the link is closed, and stays so.
    end: EventFd,
}

impl Link {
    /// Makes the socket and begins to connect. Nothing is waited for.
    ///
    /// # Errors
    ///
    /// What the system or ZeroMQ refused, the endpoint for instance.
    pub fn new(settings: Settings, root: Box<dyn Root>) -> Result<Arc<Self>, LinkError> {
        let event = || EventFd::new().map_err(system("cannot make an eventfd"));
        let timer = || Timer::new().map_err(system("cannot make a timerfd"));
        let sleeper = || Epoll::new().map_err(system("cannot make an epoll instance"));
        let (wake, end) = (event()?, event()?);
        let (retry, late) = (timer()?, timer()?);
        let (inner, outer) = (sleeper()?, sleeper()?);
        let context = context::start()?;
        let wire = Wire::new(
            &context,
            &settings.endpoint,
            settings.keys.as_ref(),
            settings.queue(),
        )?;
        let add = |epoll: &Epoll, fd: RawFd, tag| {
            epoll
                .add(fd, tag)
                .map_err(system("cannot watch a descriptor"))
        };
        wire.watch(&inner, WIRE)?;
        for (fd, tag) in [
            (wake.as_fd(), WAKE),
            (retry.as_fd(), RETRY),
            (late.as_fd(), LATE),
        ] {
            add(&inner, fd.as_raw_fd(), tag)?;
        }
        add(&outer, inner.as_fd().as_raw_fd(), INNER)?;
        add(&outer, end.as_fd().as_raw_fd(), END)?;
        let session = settings.session();
        let patience = Mutex::new(Patience::new(settings.look));
        let memory = Memory::new(settings.queue());
        Ok(Arc::new(Self {
            settings,
            root,
            patience,
            shared: Mutex::new(Shared {
                context: Some(context),
                wire: Some(wire),
                session,
                memory,
                direct: Direct::default(),
                plans: Plans::default(),
                offered: None,
                accepted: None,
                failure: None,
                retry_at: None,
                answers: Vec::new(),
                up: false,
                epoch: 0,
                leader: false,
                lead: 0,
                followers: 0,
                monitor_ready: true,
                socket_ready: true,
                watched: false,
                armed: true,
                seen: None,
                deaf: false,
                waiting: Waiting::default(),
                voice: Voice::default(),
                counters: Counters::default(),
                interval: 0,
                function: Function::default(),
                out: Vec::with_capacity(4096),
                gathered: 0,
                held: false,
                answered: 0,
                streak: 0,
                gather_timer: false,
            }),
            turn: Condvar::new(),
            wake,
            retry,
            late,
            inner,
            outer,
            end,
        }))
    }

    /// What the link has done so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters()
    }

    /// Name of the link, for messages.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing that is done under the lock leaves it in a state that a
        // later user could not go on from.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the device that the function is reset. Reads that wait are
    /// answered with all ones.
    pub fn reset(&self, kind: ResetKind) {
        let mut shared = self.lock();
        if !shared.session.is_up() {
            return;
        }
        debug!("{}: reset {kind:?}", self.name());
        self.root.moment(Moment::Reset(kind));
        // What the device writes after this is not from before the reset.
        self.close_gate(&mut shared);
        let mut out = std::mem::take(&mut shared.out);
        shared.session.reset(kind, &mut out);
        shared.answers.clear();
        shared.epoch += 1;
        shared.deaf = false;
        let full = shared.waiting.is_full();
        shared.waiting.reset();
        self.send(&mut shared, &mut out);
        shared.out = out;
        self.turn.notify_all();
        self.resume(&mut shared, full);
    }

    /// Tells the device of what had to wait until something came from it: a reset, what
    /// the guest has set in config space, or how often to tell the time.
    fn put_off(&self, shared: &mut Shared) {
        if !shared.session.has_put_off() {
            return;
        }
        let mut out = std::mem::take(&mut shared.out);
        if shared.session.put_off(&mut out) {
            let function = shared.function;
            shared.session.function(&function, &mut out);
            self.send(shared, &mut out);
        }
        shared.out = out;
    }

    /// Ends every wait, since the machine is about to end.
    pub fn quit(&self) {
        self.turn.notify_all();
        self.wake();
    }

    /// Ends the link: says goodbye, which takes at most a third of a second.
    /// Everything that waits is answered with all ones, and nothing is served
    /// any more.
    pub fn close(&self) {
        let mut shared = self.lock();
        let Some(context) = shared.context.take() else {
            return;
        };
        shared.watched = false;
        shared.retry_at = None;
        if matches!(shared.session.state(), State::Configured | State::Up) {
            let mut out = std::mem::take(&mut shared.out);
            shared.session.close(&mut out);
            self.send(&mut shared, &mut out);
            shared.out = out;
        }
        let c = shared.counters();
        info!(
            "{}: closed: {} reads, {} writes, {} bytes DMA from and {} to the host, \
             {} DMA errors, {} interrupts, {} timeouts, {} stale frames, {} lines left out",
            self.name(),
            c.reads,
            c.writes,
            c.dma_read_bytes,
            c.dma_write_bytes,
            c.dma_errors,
            c.interrupts,
            c.timeouts,
            c.stale,
            shared.voice.left_out()
        );
        self.end_memory(&mut shared);
        self.drop_wire(&mut shared);
        shared.up = false;
        self.root.link(false);
        self.void(&mut shared);
        self.end.ring();
        drop(shared);
        // Waits for the goodbye to leave, as long as the socket lingers.
        drop(context);
    }
}
