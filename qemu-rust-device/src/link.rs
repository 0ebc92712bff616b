// SPDX-License-Identifier: GPL-2.0-or-later

//! The link to the simulator: one ZeroMQ socket, the host's half of the
//! session, and the rule for who serves it.
//!
//! Nothing here knows QEMU; what the link needs of it is the trait [`Root`].
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
//! The socket's own descriptor is edge-triggered: after any call on the socket
//! it may not become readable although messages are there. Whoever called has
//! to go on until there is nothing to receive or wake the next one to do so.

use std::{
    cell::Cell,
    fmt, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use accelerator_protocol::{
    config::Config,
    host::{HostEvent, HostSession, Ignored, State, Violation},
    wire::{Reason, ResetKind, Status, MAX_DATA, MAX_MESSAGE},
};
use log::{debug, error, info, trace, warn};

use crate::{
    keys::{self, Keys},
    threads,
};

/// How often a waiting thread looks whether QEMU wants to quit.
const SLICE: Duration = Duration::from_millis(100);

/// A write is sent at once, unless it is part of a stream: so many were written
/// without the device having caught up in between, and it still has not. Then
/// up to so many are gathered into one message.
const STREAM: u32 = 16;
const GATHER: u32 = 64;

/// Gathered writes are sent when one on its way is reported, or at the latest
/// after this time: a device may report none before it has seen the next.
const GATHER_LIMIT: Duration = Duration::from_millis(1);

/// Messages that are served before others get their turn.
const BATCH: usize = 16;

/// Bad vectors and the like are logged this many times per session.
const COMPLAINTS: u32 = 16;

/// Answers to DMA requests are gathered up to about so many bytes.
const ANSWERS: usize = 32 * 1024;

/// How soon a simulator that is another card is asked again.
const OTHER_CARD: Duration = Duration::from_secs(5);

/// What a simulator lacks whose time cannot be followed.
const TIMELESS: &str = "the simulator cannot tell its time: its library speaks version 1.0 of \
                        the protocol, or its RTL has set no clock period";

/// How long the goodbye may take to leave when the link is closed.
const LINGER_MS: i32 = 100;

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

/// What the link needs of the machine that it is plugged into.
pub trait Root: Send + Sync {
    /// Reads guest memory as the device does, filling `data`.
    fn dma_read(&self, addr: u64, data: &mut [u8]) -> Status;
    /// Writes guest memory as the device does; `enables` has one bit per byte.
    fn dma_write(&self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> Status;
    /// Raises a vector, which is in range.
    fn msix(&self, vector: u16);
    /// Drives the INTx pin.
    fn intx(&self, level: bool);
    /// The link went up or down. Called while the link is locked: it must
    /// neither wait nor call back.
    fn link(&self, up: bool);
    /// The simulator is back as another card than the guest was shown, and has
    /// been refused. Called like [`Root::link`], again and again while it is so.
    fn other_card(&self);
    /// Calls `wait` with the machine's lock released, if this thread holds it.
    fn unlocked(&self, wait: &mut dyn FnMut());
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
    /// A read was given up after the completion timeout.
    fn completion_timeout(&self) {}
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
    /// A wait longer than this is logged.
    pub warn_after: Duration,
}

impl Settings {
    /// A peer that does not read is given up when this many messages wait for
    /// it; one that keeps the protocol never has so many outstanding.
    fn queue(&self) -> i32 {
        self.write_window as i32 + 1024
    }
}

/// A link that could not be made, or is not usable any more.
#[derive(Debug)]
pub enum LinkError {
    /// The system refused something.
    System(&'static str, io::Error),
    /// ZeroMQ refused something.
    Zmq(&'static str, zmq::Error),
    /// Nobody answered in time.
    Timeout {
        /// Where we knocked.
        endpoint: String,
        /// How long.
        waited: Duration,
        /// Whether there was a connection at all.
        connected: bool,
        /// What became of connections that did not come to be.
        refused: Option<&'static str>,
    },
    /// The simulator's answer cannot be used.
    Peer {
        /// Where we knocked.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// QEMU ends.
    Quitting,
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(what, e) => write!(f, "{what}: {e}"),
            Self::Zmq(what, e) => write!(f, "{what}: {e}"),
            Self::Timeout {
                endpoint,
                waited,
                connected,
                refused,
            } => {
                let seconds = waited.as_secs_f32();
                if let (false, Some(why)) = (*connected, refused) {
                    write!(
                        f,
                        "the process at {endpoint} refused the connection for {seconds:.1} s: {why}"
                    )
                } else if *connected {
                    write!(
                        f,
                        "the process at {endpoint} accepted the connection but did not answer \
                         within {seconds:.1} s (is it the simulator, and does its clock run?)"
                    )
                } else {
                    write!(
                        f,
                        "no simulator at {endpoint} within {seconds:.1} s (start it, or see \
                         the properties endpoint, port and handshake-timeout)"
                    )
                }
            }
            Self::Peer { endpoint, why } => write!(f, "simulator at {endpoint}: {why}"),
            Self::Quitting => write!(f, "QEMU was told to quit while it waited for the simulator"),
        }
    }
}

impl std::error::Error for LinkError {}

/// A socket to the simulator and the watch over its connection.
pub(crate) struct Wire {
    pub(crate) socket: zmq::Socket,
    monitor: zmq::Socket,
    connected: bool,
    /// Why the last connection did not come to be.
    refused: Option<&'static str>,
    keyed: bool,
}

impl Wire {
    /// Begins to connect. At most `queue` messages wait for a peer that does
    /// not read.
    pub(crate) fn new(
        context: &zmq::Context,
        endpoint: &str,
        keys: Option<&Keys>,
        queue: i32,
    ) -> Result<Self, LinkError> {
        let fail = |what| move |e| LinkError::Zmq(what, e);
        // The first socket of a context starts its threads.
        let socket =
            threads::start(|| context.socket(zmq::DEALER)).map_err(fail("cannot make a socket"))?;
        socket
            .set_sndhwm(queue)
            .and_then(|()| socket.set_rcvhwm(256))
            .and_then(|()| socket.set_maxmsgsize(MAX_MESSAGE as i64))
            .and_then(|()| socket.set_linger(0))
            .and_then(|()| socket.set_immediate(true))
            .and_then(|()| socket.set_reconnect_ivl(50))
            .and_then(|()| socket.set_reconnect_ivl_max(500))
            .map_err(fail("cannot set up the socket"))?;
        keys::apply(&socket, keys, endpoint).map_err(fail("cannot set the keys of the socket"))?;
        let address = format!("inproc://monitor-{:x}", random());
        let events = zmq::SocketEvent::HANDSHAKE_SUCCEEDED.to_raw()
            | zmq::SocketEvent::DISCONNECTED.to_raw()
            | keys::FAILURES;
        socket
            .monitor(&address, i32::from(events))
            .map_err(fail("cannot watch the socket"))?;
        let monitor = context
            .socket(zmq::PAIR)
            .map_err(fail("cannot make a monitor socket"))?;
        monitor
            .set_linger(0)
            .and_then(|()| monitor.connect(&address))
            .map_err(fail("cannot connect the monitor"))?;
        socket
            .connect(endpoint)
            .map_err(fail("cannot connect to the endpoint"))?;
        Ok(Self {
            socket,
            monitor,
            connected: false,
            refused: None,
            keyed: keys.is_some(),
        })
    }

    /// Those of the socket and its monitor.
    pub(crate) fn descriptors(&self) -> Result<[RawFd; 2], LinkError> {
        let fd = |s: &zmq::Socket| {
            s.get_fd()
                .map_err(|e| LinkError::Zmq("socket has no descriptor", e))
        };
        Ok([fd(&self.socket)?, fd(&self.monitor)?])
    }

    /// Why the other end did not take us, if that was the last that was heard.
    /// ZeroMQ does not knock again after some of these: take a new socket.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.refused.filter(|_| !self.connected)
    }

    /// Takes one event of the connection: whether it is there now.
    pub(crate) fn event(&mut self) -> Option<bool> {
        loop {
            let parts = self.monitor.recv_multipart(zmq::DONTWAIT).ok()?;
            let (event, value) = parts.first().and_then(|p| p.get(..6)).map_or((0, 0), |b| {
                (
                    u16::from_ne_bytes([b[0], b[1]]),
                    u32::from_ne_bytes([b[2], b[3], b[4], b[5]]),
                )
            });
            if let Some(why) = keys::failure(event, value, self.keyed) {
                // The least that can be said gives way to what was said before.
                self.refused = match self.refused {
                    Some(old) if event == keys::NO_DETAIL => Some(old),
                    _ => Some(why),
                };
            } else if event == zmq::SocketEvent::HANDSHAKE_SUCCEEDED.to_raw() {
                self.connected = true;
                return Some(true);
            } else if event == zmq::SocketEvent::DISCONNECTED.to_raw() {
                self.connected = false;
                return Some(false);
            }
        }
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
    /// Threads that wait for the leader.
    followers: u32,
    /// The monitor may have events that were not taken.
    monitor_ready: bool,
    /// The link's thread watches `outer`.
    watched: bool,
    seen: Option<Seen>,
    complaints: u32,
    counters: Counters,
    /// Each so many simulated nanoseconds the simulator tells its time; 0 never.
    interval: u64,
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

/// The link to one simulator.
pub struct Link {
    settings: Settings,
    root: Box<dyn Root>,
    shared: Mutex<Shared>,
    /// Followers wait here.
    turn: Condvar,
    wake: OwnedFd,
    /// Becomes readable when it is time to connect again.
    retry: OwnedFd,
    /// Becomes readable when gathered writes have waited long enough.
    late: OwnedFd,
    inner: OwnedFd,
    outer: OwnedFd,
    /// Becomes readable when the link is closed, and stays so.
    end: OwnedFd,
}

thread_local! {
    /// This thread is serving frames of some link. An access to a BAR that
    /// happens now was caused by DMA of a device to a device.
    static SERVING: Cell<bool> = const { Cell::new(false) };
}

/// All ones, in the low `len` bytes.
const fn ones(len: u8) -> u64 {
    accelerator_protocol::host::mask(u64::MAX, len)
}

/// A number that no other session of this device has.
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for its length; the result is not needed,
    // since time and process id alone already make the number differ.
    unsafe {
        libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK);
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64);
    u64::from_le_bytes(bytes) ^ now.rotate_left(20) ^ u64::from(std::process::id())
}

pub(crate) fn owned(what: &'static str, fd: RawFd) -> Result<OwnedFd, LinkError> {
    if fd < 0 {
        return Err(LinkError::System(what, io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes what an eventfd or timerfd has counted. Returns whether it had.
pub(crate) fn drain(fd: &OwnedFd) -> bool {
    let mut count = [0u8; 8];
    // SAFETY: the buffer is eight bytes long, as both kinds want; the
    // descriptor is non-blocking, and one that has nothing reads nothing.
    let read = unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    read > 0
}

/// Makes an eventfd readable.
fn signal(fd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is eight bytes long, as an eventfd wants. It can only
    // fail if the counter is full, and then it is readable anyway.
    unsafe {
        libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len());
    }
}

/// What of [`Link::inner`] is readable: bits, and the tags of the descriptors.
const SOCKET: u64 = 1;
const MONITOR: u64 = 2;
const WAKE: u64 = 4;
const RETRY: u64 = 8;
const LATE: u64 = 16;
const ALL: u64 = SOCKET | MONITOR | WAKE | RETRY | LATE;

/// The tag of [`Link::end`] in [`Link::outer`].
const END: u64 = 32;

/// The tags of [`Wire::descriptors`].
const WIRE: [u64; 2] = [SOCKET, MONITOR];

/// Has a timerfd run out once after `delay`, which is not zero.
pub(crate) fn set_timer(fd: &OwnedFd, delay: Duration) -> io::Result<()> {
    let timer = libc::itimerspec {
        it_interval: libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: libc::timespec {
            tv_sec: delay.as_secs() as libc::time_t,
            tv_nsec: delay.subsec_nanos().into(),
        },
    };
    // SAFETY: the descriptor is a timerfd, `timer` is valid and its value is
    // not zero; the old value is not asked for.
    if unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &timer, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(crate) fn epoll(epfd: &OwnedFd, op: i32, fd: RawFd, events: i32) -> Result<(), LinkError> {
    watch(epfd, op, fd, events, 0)
}

fn watch(epfd: &OwnedFd, op: i32, fd: RawFd, events: i32, tag: u64) -> Result<(), LinkError> {
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: tag,
    };
    // SAFETY: both descriptors are open and `event` outlives the call.
    if unsafe { libc::epoll_ctl(epfd.as_raw_fd(), op, fd, &mut event) } < 0 {
        return Err(LinkError::System(
            "cannot watch a descriptor",
            io::Error::last_os_error(),
        ));
    }
    Ok(())
}

/// What a thread waits for.
#[derive(Clone, Copy)]
enum Want {
    /// The completion of a read.
    Read(u32),
    /// The completion of a write that is not posted.
    Write(u32),
    /// Room in the window of posted writes.
    Window,
}

/// What it is told.
enum Got {
    Data(Status, u64),
    Done,
    /// Reset, link down or QEMU quits.
    Void,
    /// The completion timeout has passed.
    Timeout,
}

/// The access that waits, for messages.
#[derive(Clone, Copy)]
struct Access {
    write: bool,
    bar: u8,
    offset: u64,
    len: u8,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} bytes at BAR {} offset {:#x}",
            if self.write { "write" } else { "read" },
            self.len,
            self.bar,
            self.offset
        )
    }
}

impl Link {
    /// Makes the socket and begins to connect. Nothing is waited for.
    ///
    /// # Errors
    ///
    /// What the system or ZeroMQ refused, the endpoint for instance.
    pub fn new(settings: Settings, root: Box<dyn Root>) -> Result<Arc<Self>, LinkError> {
        let event = || {
            // SAFETY: no pointers are passed.
            owned("cannot make an eventfd", unsafe {
                libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
            })
        };
        let (wake, end) = (event()?, event()?);
        let timer = || {
            // SAFETY: as above.
            owned("cannot make a timerfd", unsafe {
                libc::timerfd_create(
                    libc::CLOCK_MONOTONIC,
                    libc::TFD_NONBLOCK | libc::TFD_CLOEXEC,
                )
            })
        };
        let retry = timer()?;
        let late = timer()?;
        // SAFETY: as above.
        let inner = owned("cannot make an epoll instance", unsafe {
            libc::epoll_create1(libc::EPOLL_CLOEXEC)
        })?;
        // SAFETY: as above.
        let outer = owned("cannot make an epoll instance", unsafe {
            libc::epoll_create1(libc::EPOLL_CLOEXEC)
        })?;
        let context = zmq::Context::new();
        let wire = Wire::new(
            &context,
            &settings.endpoint,
            settings.keys.as_ref(),
            settings.queue(),
        )?;
        for (fd, tag) in wire.descriptors()?.into_iter().zip(WIRE) {
            watch(&inner, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, tag)?;
        }
        for (fd, tag) in [(&wake, WAKE), (&retry, RETRY), (&late, LATE)] {
            watch(
                &inner,
                libc::EPOLL_CTL_ADD,
                fd.as_raw_fd(),
                libc::EPOLLIN,
                tag,
            )?;
        }
        epoll(
            &outer,
            libc::EPOLL_CTL_ADD,
            inner.as_raw_fd(),
            libc::EPOLLIN,
        )?;
        watch(
            &outer,
            libc::EPOLL_CTL_ADD,
            end.as_raw_fd(),
            libc::EPOLLIN,
            END,
        )?;
        let session = HostSession::new(random(), settings.write_window);
        Ok(Arc::new(Self {
            settings,
            root,
            shared: Mutex::new(Shared {
                context: Some(context),
                wire: Some(wire),
                session,
                offered: None,
                accepted: None,
                failure: None,
                retry_at: None,
                answers: Vec::new(),
                up: false,
                epoch: 0,
                leader: false,
                followers: 0,
                monitor_ready: true,
                watched: false,
                seen: None,
                complaints: 0,
                counters: Counters::default(),
                interval: 0,
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

    /// Sleeps until [`Link::service`] has something to do. False if the link is
    /// closed, and from then on.
    pub fn wait_ready(&self) -> bool {
        loop {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; 2];
            // SAFETY: the array is valid for its length, which is given.
            let count = unsafe {
                libc::epoll_wait(
                    self.outer.as_raw_fd(),
                    events.as_mut_ptr(),
                    events.len() as i32,
                    -1,
                )
            };
            match usize::try_from(count) {
                Ok(count) => return events.iter().take(count).all(|e| e.u64 != END),
                Err(_) => {
                    let e = io::Error::last_os_error();
                    if e.kind() != io::ErrorKind::Interrupted {
                        // Cannot happen with these arguments.
                        error!(
                            "{}: nobody watches the link any more, and interrupts and DMA wait \
                             for the next read: {e}",
                            self.name()
                        );
                        return false;
                    }
                }
            }
        }
    }

    /// What the link has done so far.
    pub fn counters(&self) -> Counters {
        self.lock().counters
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

    /// Waits for the simulator's configuration, which is checked. Says so when
    /// it takes a while.
    ///
    /// # Errors
    ///
    /// The simulator did not come within `timeout`, or said something else.
    pub fn handshake(&self, timeout: Duration) -> Result<Config, LinkError> {
        let begin = Instant::now();
        let mut told = begin + Duration::from_millis(500);
        let endpoint = || self.settings.endpoint.clone();
        loop {
            let more = self.serve(BATCH, ALL);
            {
                let mut shared = self.lock();
                if let Some(why) = shared.failure.take() {
                    return Err(LinkError::Peer {
                        endpoint: endpoint(),
                        why,
                    });
                }
                if let Some(config) = shared.offered.take() {
                    return Ok(config);
                }
                if begin.elapsed() >= timeout {
                    return Err(LinkError::Timeout {
                        endpoint: endpoint(),
                        waited: begin.elapsed(),
                        connected: shared.wire.as_ref().is_some_and(|w| w.connected),
                        refused: shared.wire.as_ref().and_then(|w| w.refused),
                    });
                }
            }
            if self.root.quitting() {
                return Err(LinkError::Quitting);
            }
            let now = Instant::now();
            if now >= told {
                told = now + Duration::from_secs(5);
                warn!(
                    "{}: waiting for the simulator at {}, {:.1} s of {:.1} s",
                    self.name(),
                    self.settings.endpoint,
                    begin.elapsed().as_secs_f32(),
                    timeout.as_secs_f32()
                );
            }
            if !more {
                self.poll(SLICE.min(timeout.saturating_sub(begin.elapsed())));
            }
        }
    }

    /// Accepts the configuration that [`Link::handshake`] returned; the link
    /// is up. From now on a thread has to call [`Link::service`] whenever
    /// [`Link::wait_ready`] returns true.
    pub fn accept(&self, config: Config) {
        let mut shared = self.lock();
        shared.accepted = Some(config);
        shared.watched = true;
        self.go_up(&mut shared);
        // Frames may have come with the answer.
        self.wake();
    }

    fn go_up(&self, shared: &mut Shared) {
        if shared.session.state() != State::Configured {
            return;
        }
        let mut out = std::mem::take(&mut shared.out);
        shared.session.accept(&mut out);
        let timeless = shared.interval != 0 && !shared.session.clock(shared.interval, &mut out);
        self.send(shared, &mut out);
        shared.out = out;
        shared.complaints = 0;
        if timeless {
            error!("{}: {TIMELESS}; guest time runs by itself", self.name());
        }
        info!(
            "{}: link up, session {:016x} at {}",
            self.name(),
            shared.session.session(),
            self.settings.endpoint
        );
        shared.up = true;
        self.root.link(true);
    }

    /// Has the simulator tell its time each `interval` nanoseconds of it, now and
    /// in later sessions; 0 to tell it no more.
    ///
    /// # Errors
    ///
    /// The simulator that is there cannot do so.
    pub fn follow(&self, interval: u64) -> Result<(), &'static str> {
        let mut shared = self.lock();
        let offered = matches!(shared.session.state(), State::Configured | State::Up);
        if interval != 0 && offered && !shared.session.has_clock() {
            return Err(TIMELESS);
        }
        shared.interval = interval;
        let mut out = std::mem::take(&mut shared.out);
        shared.session.clock(interval, &mut out);
        self.send(&mut shared, &mut out);
        shared.out = out;
        self.pass_on(&mut shared);
        Ok(())
    }

    /// Refuses the configuration that [`Link::handshake`] returned.
    pub fn refuse(&self, why: &str) {
        let mut shared = self.lock();
        let mut out = std::mem::take(&mut shared.out);
        shared.session.refuse(Reason::Configuration, why, &mut out);
        self.send(&mut shared, &mut out);
        self.drop_wire(&mut shared);
    }

    /// Ends the link: says goodbye, which takes at most a tenth of a second.
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
        let c = shared.counters;
        info!(
            "{}: closed: {} reads, {} writes, {} bytes DMA from and {} to the host, \
             {} DMA errors, {} interrupts, {} timeouts, {} stale frames",
            self.name(),
            c.reads,
            c.writes,
            c.dma_read_bytes,
            c.dma_write_bytes,
            c.dma_errors,
            c.interrupts,
            c.timeouts,
            c.stale
        );
        self.drop_wire(&mut shared);
        shared.up = false;
        self.root.link(false);
        self.void(&mut shared);
        signal(&self.end);
        drop(shared);
        // Waits for the goodbye to leave, as long as the socket lingers.
        drop(context);
    }

    fn drop_wire(&self, shared: &mut Shared) {
        if let Some(wire) = shared.wire.take() {
            // A goodbye on its way may take a moment, not longer. Failing to
            // set that leaves it at zero, which only loses the goodbye.
            let _ = wire.socket.set_linger(LINGER_MS);
            if let Ok(fds) = wire.descriptors() {
                for fd in fds {
                    // Closing the socket would do the same a little later.
                    let _ = epoll(&self.inner, libc::EPOLL_CTL_DEL, fd, 0);
                }
            }
        }
    }

    fn void(&self, shared: &mut Shared) {
        shared.session.disconnected();
        shared.answers.clear();
        shared.out.clear();
        shared.gathered = 0;
        shared.held = false;
        shared.epoch += 1;
        self.turn.notify_all();
        self.wake();
    }

    /// Tells the device that the function is reset. Reads that wait are
    /// answered with all ones.
    pub fn reset(&self, kind: ResetKind) {
        let mut shared = self.lock();
        if !shared.session.is_up() {
            return;
        }
        debug!("{}: reset {kind:?}", self.name());
        let mut out = std::mem::take(&mut shared.out);
        shared.session.reset(kind, &mut out);
        shared.answers.clear();
        shared.epoch += 1;
        self.send(&mut shared, &mut out);
        shared.out = out;
        self.turn.notify_all();
        self.wake();
    }

    /// Ends every wait, since the machine is about to end.
    pub fn quit(&self) {
        self.turn.notify_all();
        self.wake();
    }

    /// Reads `len` bytes, 1 to 8, from a BAR. All ones if the device does not
    /// answer.
    pub fn read(&self, bar: u8, offset: u64, len: u8) -> u64 {
        let access = Access {
            write: false,
            bar,
            offset,
            len,
        };
        if self.nested(access) {
            return ones(len);
        }
        let mut shared = self.lock();
        let mut out = std::mem::take(&mut shared.out);
        let tag = shared.session.read(bar, offset, len, &mut out);
        self.send(&mut shared, &mut out);
        shared.out = out;
        let Some(tag) = tag else {
            trace!("{}: {access} while the link is down", self.name());
            return ones(len);
        };
        shared.counters.reads += 1;
        trace!("{}: {access}, tag {tag}", self.name());
        match self.wait(shared, Want::Read(tag), access) {
            Got::Data(Status::Ok, data) => {
                trace!("{}: tag {tag} is {data:#x}", self.name());
                data
            }
            Got::Data(status, _) => {
                debug!("{}: {access}, tag {tag} failed: {status:?}", self.name());
                ones(len)
            }
            Got::Done | Got::Void | Got::Timeout => {
                debug!("{}: {access}, tag {tag} was not answered", self.name());
                ones(len)
            }
        }
    }

    /// Writes the low `len` bytes of `data`, 1 to 8, to a BAR. Returns at once
    /// if writes are posted and the window has room.
    pub fn write(&self, bar: u8, offset: u64, len: u8, data: u64) {
        let access = Access {
            write: true,
            bar,
            offset,
            len,
        };
        if self.nested(access) {
            return;
        }
        loop {
            let mut shared = self.lock();
            if !shared.session.is_up() {
                trace!("{}: {access} while the link is down", self.name());
                return;
            }
            if !shared.session.can_write() {
                // Full: a thread that waits for room serves the link, so that
                // it can come.
                match self.wait(shared, Want::Window, access) {
                    Got::Done => continue,
                    Got::Data(..) | Got::Void | Got::Timeout => return,
                }
            }
            let under_way = shared
                .session
                .writes_outstanding()
                .saturating_sub(shared.gathered);
            let mut out = std::mem::take(&mut shared.out);
            let tag = shared.session.write(bar, offset, len, data, &mut out);
            shared.out = out;
            let Some(tag) = tag else { return };
            shared.gathered += 1;
            shared.streak = if under_way == 0 {
                0
            } else {
                shared.streak.saturating_add(1)
            };
            shared.counters.writes += 1;
            trace!("{}: {access} of {data:#x}, tag {tag}", self.name());
            if !self.settings.posted_writes {
                self.flush(&mut shared);
                self.wait(shared, Want::Write(tag), access);
            } else if shared.streak < STREAM
                || shared.gathered >= GATHER
                || !shared.session.can_write()
            {
                self.flush(&mut shared);
                self.pass_on(&mut shared);
            } else if !shared.gather_timer {
                match set_timer(&self.late, GATHER_LIMIT) {
                    Ok(()) => shared.gather_timer = true,
                    Err(e) => {
                        error!("{}: no timer for gathered writes: {e}", self.name());
                        self.flush(&mut shared);
                    }
                }
            }
            return;
        }
    }

    /// An access by a device that we are just serving, to itself or to another
    /// card. Waiting here could wait for ourselves.
    fn nested(&self, access: Access) -> bool {
        let nested = SERVING.get();
        if nested {
            warn!(
                "{}: {access} comes from DMA of a simulated device, which is not supported: \
                 it is not forwarded",
                self.name()
            );
        }
        nested
    }

    /// Sends the writes and answers that were gathered.
    fn flush(&self, shared: &mut Shared) {
        let mut out = std::mem::take(&mut shared.out);
        self.send(shared, &mut out);
        shared.out = out;
    }

    /// Sends what is in `out` and empties it. What was gathered is the first
    /// thing in there.
    fn send(&self, shared: &mut Shared, out: &mut Vec<u8>) {
        shared.gathered = 0;
        shared.held = false;
        if out.is_empty() {
            return;
        }
        let result = match &shared.wire {
            Some(wire) => wire.socket.send(out.as_slice(), zmq::DONTWAIT),
            None => Ok(()),
        };
        out.clear();
        match result {
            Ok(()) => {}
            Err(zmq::Error::EAGAIN) => self.fail(
                shared,
                "it does not read: its queue is full, or the connection was lost".into(),
                None,
            ),
            Err(e) => self.fail(shared, format!("sending to it failed: {e}"), None),
        }
    }

    /// After a call on the socket by a thread that does not go on to receive:
    /// wakes whoever serves the link if something is there.
    fn pass_on(&self, shared: &mut Shared) {
        let pending = shared.wire.as_ref().is_some_and(|w| {
            w.socket
                .get_events()
                .map_or(true, |e| e.contains(zmq::POLLIN))
        });
        if pending {
            self.wake();
        }
    }

    fn wake(&self) {
        signal(&self.wake);
    }

    /// Sleeps until something happens on the link, and takes what woke us from
    /// `wake`. Returns what is readable.
    fn poll(&self, timeout: Duration) -> u64 {
        // Rounded up, so that the last slice does not spin.
        let ms = timeout.as_micros().div_ceil(1000).min(1000) as i32;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 5];
        // SAFETY: the array is valid for its length, which is given. An error
        // is an interrupted call, which the caller's loop takes as a wake-up.
        let count = unsafe {
            libc::epoll_wait(
                self.inner.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as i32,
                ms,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            return ALL;
        };
        let ready = events.iter().take(count).fold(0, |all, e| all | e.u64);
        if ready & WAKE != 0 {
            drain(&self.wake);
        }
        if ready & LATE != 0 {
            drain(&self.late);
        }
        ready
    }

    /// Lets the link's thread watch it, or not.
    fn arm(&self, armed: bool) {
        let events = if armed { libc::EPOLLIN } else { 0 };
        if let Err(e) = epoll(
            &self.outer,
            libc::EPOLL_CTL_MOD,
            self.inner.as_raw_fd(),
            events,
        ) {
            // Cannot happen with these arguments; the thread would be woken too
            // often or, at worst, too late by one message.
            error!("{}: {e}", self.name());
        }
    }

    /// Serves what has come, if nobody else does. For the link's thread, after
    /// [`Link::wait_ready`].
    pub fn service(&self) {
        {
            let mut shared = self.lock();
            if shared.leader || !shared.watched {
                return;
            }
            shared.leader = true;
        }
        let ready = self.poll(Duration::ZERO);
        if self.serve(BATCH, ready) {
            // More is there: let others have their turn first.
            self.wake();
        }
        let mut shared = self.lock();
        shared.leader = false;
        self.next(&shared);
    }

    /// Wakes the followers, if there are any: each has a look whether it has
    /// its answer, or has to lead.
    fn next(&self, shared: &Shared) {
        if shared.followers != 0 {
            self.turn.notify_all();
        }
    }

    /// Waits with the machine's lock released until `want` is there.
    fn wait(&self, shared: MutexGuard<'_, Shared>, want: Want, access: Access) -> Got {
        let mut got = None;
        let mut guard = Some(shared);
        self.root.unlocked(&mut || {
            if let Some(shared) = guard.take() {
                got = Some(self.wait_unlocked(shared, want, access));
            }
        });
        let got = got.unwrap_or(Got::Void);
        if matches!((&got, want), (Got::Timeout, Want::Read(_))) {
            self.root.completion_timeout();
        }
        got
    }

    fn wait_unlocked<'a>(
        &'a self,
        mut shared: MutexGuard<'a, Shared>,
        want: Want,
        access: Access,
    ) -> Got {
        let begin = Instant::now();
        let epoch = shared.epoch;
        let deadline = self.settings.completion_timeout.map(|t| begin + t);
        let mut warn_at = begin + self.settings.warn_after;
        let mut ask_at = begin + SLICE;
        let mut stopping = false;
        let mut leading = false;
        let mut more = false;
        let got = loop {
            if let Some(got) = Self::check(&mut shared, want, epoch) {
                break got;
            }
            if self.root.quitting() {
                // Nobody picks up the answer that may still come.
                if let Want::Read(tag) = want {
                    shared.session.abandon(tag);
                }
                break Got::Void;
            }
            let now = Instant::now();
            if now >= ask_at {
                ask_at = now + SLICE;
                match self.root.asked() {
                    Asked::Nothing => stopping = false,
                    Asked::Stop => {
                        if !std::mem::replace(&mut stopping, true) {
                            self.warn_stopping(&shared, want, access, begin);
                        }
                    }
                    Asked::Reset => {
                        warn!(
                            "{}: {} by the simulator at {} since {:.1} s; given up, since the \
                             machine is reset",
                            self.name(),
                            Self::waits_for(&shared, want, access),
                            self.settings.endpoint,
                            begin.elapsed().as_secs_f32()
                        );
                        if let Want::Read(tag) = want {
                            shared.session.abandon(tag);
                        }
                        break Got::Void;
                    }
                }
            }
            if deadline.is_some_and(|d| now >= d) {
                break self.give_up(&mut shared, want, access, begin);
            }
            if now >= warn_at {
                self.warn_waiting(&shared, want, access, begin);
                // Less and less often, but it goes on.
                warn_at = now + begin.elapsed().max(self.settings.warn_after);
            }
            let until = deadline.map_or(warn_at, |d| d.min(warn_at));
            let slice = SLICE.min(until.saturating_duration_since(now));
            if leading {
                drop(shared);
                let ready = if more { 0 } else { self.poll(slice) };
                // One message, and then a look whether the completion was in
                // it: asking the socket for the next costs a system call.
                let limit = if matches!(want, Want::Window) {
                    BATCH
                } else {
                    1
                };
                more = self.serve(limit, ready);
                shared = self.lock();
            } else if shared.leader {
                shared.followers += 1;
                shared = self
                    .turn
                    .wait_timeout(shared, slice)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                shared.followers -= 1;
            } else {
                shared.leader = true;
                leading = true;
                // What came before is there without a wake-up.
                more = true;
                if shared.watched {
                    self.arm(false);
                }
            }
        };
        if leading {
            shared.leader = false;
            if shared.watched {
                self.arm(true);
            }
            self.next(&shared);
        } else if matches!(want, Want::Window) {
            // The message that made room may have been the last one.
            self.next(&shared);
        }
        self.pass_on(&mut shared);
        got
    }

    fn check(shared: &mut Shared, want: Want, epoch: u64) -> Option<Got> {
        if let Want::Read(tag) = want {
            if let Some(i) = shared.answers.iter().position(|a| a.0 == tag) {
                let (_, status, data) = shared.answers.swap_remove(i);
                return Some(Got::Data(status, data));
            }
        }
        if shared.epoch != epoch || !shared.session.is_up() {
            return Some(Got::Void);
        }
        match want {
            Want::Read(_) => None,
            Want::Write(tag) => shared.session.write_is_done(tag).then_some(Got::Done),
            Want::Window => shared.session.can_write().then_some(Got::Done),
        }
    }

    fn last_seen(shared: &Shared) -> String {
        match shared.seen {
            Some(seen) => format!(
                "its last frame was {} {:.3} s ago",
                seen.what,
                seen.when.elapsed().as_secs_f32()
            ),
            None => "it has not sent a frame yet".into(),
        }
    }

    fn waits_for(shared: &Shared, want: Want, access: Access) -> String {
        match want {
            Want::Read(tag) | Want::Write(tag) => {
                format!("{access}, tag {tag}, waits for its completion")
            }
            Want::Window => format!(
                "{access} waits for one of {} posted writes to be done",
                shared.session.writes_outstanding()
            ),
        }
    }

    fn warn_waiting(&self, shared: &Shared, want: Want, access: Access, begin: Instant) {
        warn!(
            "{}: {} by the simulator at {} since {:.1} s; {}",
            self.name(),
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32(),
            Self::last_seen(shared)
        );
    }

    fn warn_stopping(&self, shared: &Shared, want: Want, access: Access, begin: Instant) {
        warn!(
            "{}: the machine is asked to stop; that and the monitors wait, since {} by the \
             simulator at {} since {:.1} s; {}. It goes on with the completion, the end of the \
             simulator, the property completion-timeout, or SIGTERM",
            self.name(),
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32(),
            Self::last_seen(shared)
        );
    }

    fn give_up(&self, shared: &mut Shared, want: Want, access: Access, begin: Instant) -> Got {
        shared.counters.timeouts += 1;
        warn!(
            "{}: completion timeout after {:.3} s: {} by the simulator at {}; {}",
            self.name(),
            begin.elapsed().as_secs_f32(),
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            Self::last_seen(shared)
        );
        if let Want::Read(tag) = want {
            shared.session.abandon(tag);
        }
        Got::Timeout
    }

    /// Serves what has come, at most `limit` messages. Only for the leader.
    /// `ready` is what [`Link::poll`] returned. Returns whether there may be
    /// more.
    fn serve(&self, limit: usize, ready: u64) -> bool {
        SERVING.set(true);
        let more = self.serve_messages(limit, ready);
        SERVING.set(false);
        more
    }

    fn serve_messages(&self, limit: usize, ready: u64) -> bool {
        let mut message = zmq::Message::new();
        let mut served = 0;
        loop {
            if served >= limit {
                self.let_go(&mut self.lock());
                return true;
            }
            {
                let mut shared = self.lock();
                shared.monitor_ready |= ready & MONITOR != 0;
                if served == 0 {
                    shared.answered = 0;
                    if ready & LATE != 0 {
                        shared.gather_timer = false;
                        if shared.gathered != 0 {
                            self.flush(&mut shared);
                        }
                    }
                }
                if shared.wire.is_none() {
                    self.connect_again(&mut shared);
                }
                let Some(wire) = &shared.wire else {
                    return false;
                };
                match wire.socket.recv(&mut message, zmq::DONTWAIT) {
                    Ok(()) => {}
                    // Sending may take what tells of the next message, so the
                    // socket is asked again.
                    Err(zmq::Error::EAGAIN) if self.let_go(&mut shared) => continue,
                    Err(zmq::Error::EAGAIN) => {
                        // Messages that came before the connection went are
                        // served first, so the order is this one. Asking in
                        // vain costs a system call.
                        if shared.monitor_ready {
                            if self.connection(&mut shared) {
                                continue;
                            }
                            shared.monitor_ready = false;
                        }
                        return false;
                    }
                    Err(zmq::Error::EINTR) => continue,
                    Err(e) => {
                        self.fail(&mut shared, format!("receiving failed: {e}"), None);
                        return false;
                    }
                }
                if message.get_more() {
                    self.fail(
                        &mut shared,
                        "its message has several parts, expected one".into(),
                        Some(Reason::Protocol),
                    );
                    return false;
                }
            }
            served += 1;
            let mut rest: &[u8] = &message;
            if rest.is_empty() {
                self.fail(
                    &mut self.lock(),
                    "it sent an empty message, expected at least a frame of 24 bytes".into(),
                    Some(Reason::Protocol),
                );
            }
            while !rest.is_empty() {
                rest = self.serve_frame(rest);
            }
        }
    }

    /// Serves the first frame and returns the rest; nothing if the session is
    /// over.
    fn serve_frame<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let mut shared = self.lock();
        if shared.session.state() == State::Closed {
            return &[];
        }
        let (event, rest) = match shared.session.frame(message) {
            Ok(ok) => ok,
            Err(e) => {
                self.violation(&mut shared, &e);
                return &[];
            }
        };
        if !matches!(event, HostEvent::Ignored(Ignored::Stale { .. })) {
            shared.seen = Some(Seen {
                what: name_of(&event),
                when: Instant::now(),
            });
        }
        match event {
            HostEvent::ReadDone { tag, status, data } => {
                shared.answers.push((tag, status, data));
                self.next(&shared);
            }
            HostEvent::WritesDone { status, .. } => {
                if status != Status::Ok {
                    self.complain(&mut shared, || {
                        format!("a posted write ended with {status:?} (AXI error response)")
                    });
                }
                if shared.gathered != 0 {
                    self.flush(&mut shared);
                }
                self.next(&shared);
            }
            HostEvent::DmaRead { tag, addr, len } => {
                drop(shared);
                self.dma_read(tag, addr, len);
            }
            HostEvent::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                drop(shared);
                self.dma_write(tag, addr, data, enables);
            }
            HostEvent::Msix { vector } => {
                shared.counters.interrupts += 1;
                // Answers to DMA requests do not wait for the machine's lock.
                self.let_go(&mut shared);
                drop(shared);
                trace!("{}: MSI-X vector {vector}", self.name());
                self.root.msix(vector);
            }
            HostEvent::Intx { level } => {
                self.let_go(&mut shared);
                drop(shared);
                trace!("{}: INTx {level}", self.name());
                self.root.intx(level);
            }
            HostEvent::BadVector { vector, vectors } => self.complain(&mut shared, || {
                format!("MSI-X vector {vector} ignored, the function has {vectors} vectors")
            }),
            HostEvent::LateRead { tag } => {
                debug!("{}: late completion of tag {tag} dropped", self.name());
            }
            HostEvent::Time { ns } => {
                drop(shared);
                self.root.time(ns);
            }
            HostEvent::ResetDone => debug!("{}: reset done", self.name()),
            HostEvent::Configured(config) => self.configured(&mut shared, config),
            HostEvent::Refused { reason, text } => {
                let why = format!("it refused the session ({reason:?}): {text}");
                self.fail(&mut shared, why, None);
            }
            HostEvent::Closed { .. } => {
                self.fail(&mut shared, "it has closed the session".into(), None);
            }
            HostEvent::Ignored(Ignored::Stale { session }) => {
                shared.counters.stale += 1;
                let ours = shared.session.session();
                self.complain(&mut shared, || {
                    format!("frame of session {session:016x} ignored, ours is {ours:016x}")
                });
            }
            HostEvent::Ignored(Ignored::Void | Ignored::Noop) => {}
        }
        rest
    }

    /// The simulator has answered INIT.
    fn configured(&self, shared: &mut Shared, config: Config) {
        match &shared.accepted {
            // realize takes it from here.
            None => shared.offered = Some(config),
            Some(accepted) if *accepted == config => {
                warn!("{}: the simulator is back", self.name());
                self.go_up(shared);
            }
            Some(accepted) => {
                let why = format!(
                    "its configuration differs from the one that the guest was shown ({}); \
                     the device has to be plugged in again",
                    difference(accepted, &config)
                );
                self.fail(shared, why, Some(Reason::Configuration));
                // The guest needs a moment to release the device, and a user
                // to read why it does not.
                self.retry_in(shared, OTHER_CARD);
                self.root.other_card();
            }
        }
    }

    /// Sends answers to DMA requests that were gathered. Whether there were any.
    fn let_go(&self, shared: &mut Shared) -> bool {
        let held = shared.held;
        if held {
            self.flush(shared);
        }
        held
    }

    /// Sends an answer to a DMA request that has been put into `out`; or leaves
    /// it there for the next ones to come along, unless it is the first of those
    /// that the leader serves in a row. That one is not held up, and with it
    /// the device has something to do meanwhile.
    fn answer(&self, shared: &mut Shared) {
        shared.answered += 1;
        shared.held = true;
        if shared.answered == 1 || shared.out.len() >= ANSWERS {
            self.flush(shared);
        }
    }

    fn dma_read(&self, tag: u32, addr: u64, len: u32) {
        let mut data = vec![0; (len as usize).min(MAX_DATA)];
        let status = self.root.dma_read(addr, &mut data);
        trace!(
            "{}: DMA read of {len} bytes at {addr:#x}, tag {tag}: {status:?}",
            self.name()
        );
        let mut shared = self.lock();
        if status == Status::Ok {
            shared.counters.dma_read_bytes += u64::from(len);
        } else {
            self.dma_failed(&mut shared, "read", addr, len, status);
        }
        if shared.session.is_up() && !shared.session.reset_pending() {
            let mut out = std::mem::take(&mut shared.out);
            shared.session.dma_read_done(tag, status, &data, &mut out);
            shared.out = out;
            self.answer(&mut shared);
        }
    }

    fn dma_write(&self, tag: u32, addr: u64, data: &[u8], enables: Option<&[u8]>) {
        let status = self.root.dma_write(addr, data, enables);
        let len = data.len() as u32;
        trace!(
            "{}: DMA write of {len} bytes at {addr:#x}, tag {tag}: {status:?}",
            self.name()
        );
        let mut shared = self.lock();
        if status == Status::Ok {
            shared.counters.dma_write_bytes += match enables {
                Some(e) => e.iter().map(|b| u64::from(b.count_ones())).sum(),
                None => u64::from(len),
            };
        } else {
            self.dma_failed(&mut shared, "write", addr, len, status);
        }
        if shared.session.is_up() && !shared.session.reset_pending() {
            let mut out = std::mem::take(&mut shared.out);
            shared.session.dma_write_done(tag, status, &mut out);
            shared.out = out;
            self.answer(&mut shared);
        }
    }

    fn dma_failed(&self, shared: &mut Shared, what: &str, addr: u64, len: u32, status: Status) {
        shared.counters.dma_errors += 1;
        self.complain(shared, || {
            let why = match status {
                Status::Fault => "no memory there, or an IOMMU fault",
                _ => "bus mastering is off",
            };
            format!("DMA {what} of {len} bytes at {addr:#x} refused: {why}")
        });
    }

    /// Logs something that a faulty device may cause over and over.
    fn complain(&self, shared: &mut Shared, text: impl FnOnce() -> String) {
        shared.complaints = shared.complaints.saturating_add(1);
        if shared.complaints <= COMPLAINTS {
            let last = if shared.complaints == COMPLAINTS {
                " (further ones of this session are not logged)"
            } else {
                ""
            };
            error!("{}: {}{last}", self.name(), text());
        }
    }

    fn violation(&self, shared: &mut Shared, violation: &Violation) {
        let reason = match violation {
            Violation::Wire(accelerator_protocol::WireError::Version { .. }) => Reason::Version,
            Violation::Config(_) => Reason::Configuration,
            _ => Reason::Protocol,
        };
        self.fail(shared, violation.to_string(), Some(reason));
    }

    /// Ends the session because of the peer, telling it the `reason` if it can
    /// still be told, and begins to connect anew.
    fn fail(&self, shared: &mut Shared, why: String, reason: Option<Reason>) {
        // The session may know already that it is over.
        let was_up = std::mem::replace(&mut shared.up, false);
        if let Some(reason) = reason {
            let mut out = Vec::new();
            shared.session.refuse(reason, &why, &mut out);
            if let Some(wire) = &shared.wire {
                // If this cannot be sent either, the closed connection tells.
                let _ = wire.socket.send(out.as_slice(), zmq::DONTWAIT);
            }
        }
        self.void(shared);
        if was_up {
            error!(
                "{}: link to the simulator at {} is down: {why}; reads return all ones and \
                 writes are dropped until it is back",
                self.name(),
                self.settings.endpoint
            );
            self.root.link(false);
        } else if shared.accepted.is_some() && reason.is_some() {
            self.complain(shared, || format!("no session with the simulator: {why}"));
        }
        if shared.context.is_none() {
            // Closed: there is nothing to go back to.
            return;
        }
        if shared.accepted.is_none() {
            // Still in the handshake: realize reports it.
            shared.offered = None;
            shared.failure = Some(why);
            return;
        }
        // A peer that refuses every session is asked twice a second, not more.
        self.drop_wire(shared);
        shared.session = HostSession::new(random(), self.settings.write_window);
        self.retry_in(
            shared,
            if was_up {
                Duration::from_millis(50)
            } else {
                Duration::from_millis(500)
            },
        );
    }

    fn retry_in(&self, shared: &mut Shared, delay: Duration) {
        shared.retry_at = Some(Instant::now() + delay);
        if let Err(e) = set_timer(&self.retry, delay) {
            error!("{}: the link stays down, no timer: {e}", self.name());
        }
    }

    /// Makes a new socket if it is time to.
    fn connect_again(&self, shared: &mut Shared) {
        if !shared.retry_at.is_some_and(|t| Instant::now() >= t) {
            return;
        }
        shared.retry_at = None;
        drain(&self.retry);
        let Some(context) = &shared.context else {
            return;
        };
        let queue = self.settings.queue();
        let keys = self.settings.keys.as_ref();
        let wire = Wire::new(context, &self.settings.endpoint, keys, queue).and_then(|wire| {
            for (fd, tag) in wire.descriptors()?.into_iter().zip(WIRE) {
                watch(&self.inner, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, tag)?;
            }
            Ok(wire)
        });
        match wire {
            Ok(wire) => {
                shared.wire = Some(wire);
                // A socket of which nobody has tried to receive yet does not
                // announce its first message.
                shared.monitor_ready = true;
            }
            Err(e) => {
                self.complain(shared, || format!("cannot connect again: {e}"));
                self.retry_in(shared, Duration::from_millis(900));
            }
        }
    }

    /// Takes one event of the connection. Returns whether there was one.
    fn connection(&self, shared: &mut Shared) -> bool {
        let Some(wire) = &mut shared.wire else {
            return false;
        };
        match wire.event() {
            None => {
                let refusal = wire.refusal().filter(|_| shared.accepted.is_some());
                if let (Some(why), State::Idle) = (refusal, shared.session.state()) {
                    self.complain(shared, || format!("no session with the simulator: {why}"));
                    self.fail(shared, why.into(), None);
                }
                return false;
            }
            Some(true) => {
                if shared.session.state() == State::Idle {
                    let mut out = std::mem::take(&mut shared.out);
                    shared.session.init(&self.settings.name, &mut out);
                    self.send(shared, &mut out);
                    shared.out = out;
                }
            }
            Some(false) => match shared.session.state() {
                State::Idle => {}
                State::Init | State::Configured if shared.accepted.is_none() => {
                    // Another program, or a simulator that just died: knock
                    // again until the time is over.
                    shared.session = HostSession::new(random(), self.settings.write_window);
                    shared.offered = None;
                }
                _ => self.fail(shared, "the connection was lost".into(), None),
            },
        }
        true
    }
}

/// The first thing in which two configurations differ, for people.
fn difference(shown: &Config, now: &Config) -> String {
    let ids = |c: &Config| {
        format!(
            "{:04x}:{:04x} subsystem {:04x}:{:04x} class {:06x} revision {:02x}",
            c.vendor, c.device, c.subsystem_vendor, c.subsystem, c.class, c.revision
        )
    };
    if ids(shown) != ids(now) {
        return format!("{}, now {}", ids(shown), ids(now));
    }
    for (i, (a, b)) in shown.bars.iter().zip(&now.bars).enumerate() {
        if a != b {
            return format!("BAR {i} of {:#x} bytes, now {:#x}", a.size, b.size);
        }
    }
    let vectors = |c: &Config| c.msix.as_ref().map_or(0, |m| m.vectors);
    if vectors(shown) != vectors(now) {
        return format!("{} MSI-X vectors, now {}", vectors(shown), vectors(now));
    }
    "interrupt pin, link, clock, capabilities or the place of the vectors".into()
}

fn name_of(event: &HostEvent<'_>) -> &'static str {
    match event {
        HostEvent::Configured(_) => "CONFIG",
        HostEvent::Refused { .. } => "REFUSE",
        HostEvent::Closed { .. } => "BYE",
        HostEvent::ReadDone { .. } | HostEvent::LateRead { .. } => "MMIO_READ_DONE",
        HostEvent::WritesDone { .. } => "MMIO_WRITE_DONE",
        HostEvent::DmaRead { .. } => "DMA_READ",
        HostEvent::DmaWrite { .. } => "DMA_WRITE",
        HostEvent::Msix { .. } | HostEvent::BadVector { .. } => "MSIX",
        HostEvent::Intx { .. } => "INTX",
        HostEvent::ResetDone => "RESET_DONE",
        HostEvent::Time { .. } => "TIME",
        HostEvent::Ignored(Ignored::Noop) => "NOOP",
        HostEvent::Ignored(_) => "a frame without effect",
    }
}
