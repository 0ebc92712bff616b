// SPDX-License-Identifier: MIT OR Apache-2.0

//! The thread that watches while the simulator computes.
//!
//! It never touches the ROUTER socket, which belongs to whoever calls into the
//! bridge. It polls
//!
//! * a duplicate of the socket's notification descriptor (`ZMQ_FD`), and sets
//!   [`SOCKET`] in the attention word when it becomes readable. Then it leaves
//!   the descriptor alone until it is armed again, since the simulator's
//!   thread receives by itself while there is traffic. The descriptor only
//!   tells that commands wait in the socket's mailbox, and stays readable until
//!   the socket's owner has processed them, so no event can slip through
//!   between the owner's last receive and the arming;
//! * the socket's monitor, of which it is the only user, and sets [`PEER_GONE`]
//!   when a connection was lost. The event comes a little before the socket
//!   itself knows, so the hint is repeated at growing distances;
//! * where a host may come for shared memory, which it gives it, and the bell of the one
//!   that has come, for a simulator that sleeps;
//! * a control channel, on which it is armed and stopped.
//!
//! And it has the clock: it says what somebody waits for, when the wait gets
//! long.

use std::{
    ffi::c_int,
    io::{Read, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    panic::{catch_unwind, AssertUnwindSafe},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{channel, SendError},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use accelerator_carrier::{
    handover::{Bell, Offer, Rung},
    reach::Files,
    threads,
    vanished::Connections,
};
use accelerator_protocol::limit::Limit;
use accelerator_socket::{
    handshake::Failure,
    watched::{Events, Next},
};

use crate::{
    limited::limited,
    waits::{Board, Kind, Moment, Waiting, Waits},
    words::{self, Words, PEER_GONE, SOCKET},
};

/// Distances in milliseconds at which the hint that a peer may be gone is
/// repeated after the event.
const GONE_AGAIN_MS: [u64; 4] = [1, 10, 100, 1000];

/// What both threads see.
pub struct Shared {
    words: &'static Words,
    /// Whether the watcher looks at the socket's descriptor.
    armed: AtomicBool,
    /// Polls that did not take the fast path; shows that the simulator runs.
    polls: AtomicU64,
    board: Board,
    memory: Mutex<Memory>,
}

/// How the host comes to shared memory.
#[derive(Default)]
struct Memory {
    offer: Option<Arc<Offer>>,
    bell: Option<Arc<Bell>>,
    /// What comes with the bell.
    files: Arc<Files>,
    /// The other end of the bell is closed; it is not looked at any more.
    silent: bool,
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The simulator's end of it.
pub struct Watcher {
    shared: Arc<Shared>,
    control: UnixStream,
    /// Gives back the events at its end, so that they live as long as the socket
    /// that they are about.
    thread: Option<JoinHandle<Option<Events>>>,
}

/// What the thread needs.
struct Thread {
    shared: Arc<Shared>,
    descriptor: OwnedFd,
    control: UnixStream,
    warn: Option<Duration>,
    target: String,
}

/// What the thread knows of the socket's connections.
#[derive(Default)]
struct Known {
    /// Instants at which to repeat the hint that the peer may be gone.
    gone_again: Vec<Instant>,
    /// Connections that came to nothing.
    strangers: u64,
    open: Connections,
    /// Lines that whoever reaches the socket can cause; each reason has its own, so that a
    /// peer that knocks again and again does not hide what is wrong with another.
    refused: [Limit; Failure::COUNT],
    failed: Limit,
    vanished: Limit,
    memory: Limit,
}

const ARM: u8 = b'a';
/// What is to be looked at has changed.
const LOOK: u8 = b'l';
const STOP: u8 = b's';

impl Watcher {
    /// Starts the thread, armed. `descriptor` is a duplicate of the socket's
    /// `ZMQ_FD`, `events` are of its monitor; or the descriptor is that of a
    /// [`pipe`](crate::pipe), which has none. With `warn`, waits longer than that
    /// are logged.
    ///
    /// # Errors
    ///
    /// Of the operating system. The events are given back.
    pub fn start(
        words: &'static Words,
        descriptor: OwnedFd,
        events: Option<Events>,
        warn: Option<Duration>,
        target: &str,
    ) -> Result<Self, (std::io::Error, Option<Events>)> {
        let pair = || -> std::io::Result<(UnixStream, UnixStream)> {
            let (control, theirs) = UnixStream::pair()?;
            theirs.set_nonblocking(true)?;
            Ok((control, theirs))
        };
        let (control, theirs) = match pair() {
            Ok(pair) => pair,
            Err(e) => return Err((e, events)),
        };
        let shared = Arc::new(Shared {
            words,
            armed: AtomicBool::new(true),
            polls: AtomicU64::new(0),
            board: Board::default(),
            memory: Mutex::default(),
        });
        let thread = Thread {
            shared: Arc::clone(&shared),
            descriptor,
            control: theirs,
            warn,
            target: target.to_owned(),
        };
        // If there is no thread, what was to be its own is lost.
        let (hand, take) = channel::<Option<Events>>();
        let run = move || {
            let events = take.recv().expect("sent once the thread is there");
            // A panic has been printed by the hook.
            let _ = catch_unwind(AssertUnwindSafe(|| thread.run(events.as_ref())));
            events
        };
        // Signals are for the simulator's own threads.
        let spawned = threads::without_signals(|| {
            std::thread::Builder::new()
                .name("acc-watcher".into())
                .spawn(run)
        });
        let thread = match spawned {
            Ok(thread) => thread,
            Err(e) => return Err((e, events)),
        };
        if let Err(SendError(events)) = hand.send(events) {
            return Err((std::io::ErrorKind::BrokenPipe.into(), events));
        }
        Ok(Self {
            shared,
            control,
            thread: Some(thread),
        })
    }

    /// Has the thread look at the socket again. Only when a receive has just
    /// found nothing. False if there is no thread any more.
    pub fn arm(&mut self) -> bool {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return false;
        }
        // Before the look at `armed`: if the thread disarms itself in between,
        // it either sets the bit again or is armed by us and looks again.
        self.shared
            .words
            .attention
            .fetch_and(!SOCKET, Ordering::AcqRel);
        if !self.shared.armed.swap(true, Ordering::AcqRel) {
            self.command(ARM);
        }
        true
    }

    /// Hands shared memory over to the first host that comes for it, and puts what it hands
    /// over into `files`.
    ///
    /// # Errors
    ///
    /// There is no thread any more.
    pub fn offer(&mut self, offer: Offer, files: Arc<Files>) -> std::io::Result<()> {
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(std::io::Error::other("the watcher thread is gone"));
        }
        *self.shared.memory() = Memory {
            offer: Some(Arc::new(offer)),
            files,
            ..Memory::default()
        };
        self.command(LOOK);
        Ok(())
    }

    /// The bell of the host that has the shared memory.
    pub fn bell(&self) -> Option<Arc<Bell>> {
        self.shared.memory().bell.clone()
    }

    /// Nobody gets the shared memory any more, and nobody rings.
    pub fn withdraw(&mut self) {
        *self.shared.memory() = Memory::default();
        self.command(LOOK);
    }

    fn command(&mut self, byte: u8) {
        // The channel holds thousands of bytes and the thread reads them all
        // each time; a failure means that the thread is gone, which its own
        // panic message has told.
        let _ = self.control.write_all(&[byte]);
    }

    /// Notes that the simulator polls, which one thread at a time does.
    pub fn polled(&self) {
        let polls = self.shared.polls.load(Ordering::Relaxed);
        self.shared
            .polls
            .store(polls.wrapping_add(1), Ordering::Relaxed);
    }

    /// Where to tell what is waited for.
    pub fn board(&self) -> &Board {
        &self.shared.board
    }

    /// Ends the thread. The ROUTER socket must have been closed before, see
    /// [`accelerator_socket::watched`].
    pub fn stop(mut self) {
        self.command(STOP);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the hook.
            let _ = thread.join();
        }
    }
}

/// Waits until one of the descriptors is readable, for `timeout` milliseconds
/// or, if that is negative, for as long as it takes. Which of them are, or have
/// an error that reading tells; none after a signal.
fn sleep<const N: usize>(
    descriptors: [Option<RawFd>; N],
    timeout: c_int,
) -> std::io::Result<[bool; N]> {
    let mut items = descriptors.map(|fd| libc::pollfd {
        // The kernel passes over negative ones.
        fd: fd.unwrap_or(-1),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: the array is valid for its length, which is given.
    if unsafe { libc::poll(items.as_mut_ptr(), N as libc::nfds_t, timeout) } < 0 {
        let e = std::io::Error::last_os_error();
        if e.kind() != std::io::ErrorKind::Interrupted {
            return Err(e);
        }
        return Ok([false; N]);
    }
    Ok(items.map(|item| item.revents != 0))
}

impl Thread {
    fn run(mut self, events: Option<&Events>) {
        threads::promptly();
        let target = std::mem::take(&mut self.target);
        let mut known = Known::default();
        // Number of polls while the socket's bit is set, and since when.
        let mut flagged: Option<(u64, Moment)> = None;
        let mut waits = Waits::default();
        let monitor = match events.map(Events::descriptor).transpose() {
            Ok(monitor) => monitor,
            Err(e) => {
                log::error!(target: &target, "the watcher thread cannot see connections: {e}");
                self.attend(SOCKET);
                return;
            }
        };
        // A socket of which nobody has tried to receive yet does not announce
        // its first message; later on all is read each time.
        if self.read_monitor(events, &target, &mut known) {
            return;
        }
        loop {
            let now = Instant::now();
            if known.gone_again.first().is_some_and(|&t| now >= t) {
                known.gone_again.remove(0);
                self.attend(PEER_GONE);
            }
            for silence in known.open.end_those_that_are_gone(now) {
                limited!(
                    known.vanished,
                    warn,
                    &target,
                    "a host is given up, it has not answered for {} s: its machine or the \
                     network is gone",
                    silence.as_secs()
                );
            }
            self.mention(&target, now, &mut waits, &mut flagged);
            let timeout = [
                known.gone_again.first().copied(),
                known.open.next(),
                self.warn
                    .map(|w| now + (w / 2).max(Duration::from_millis(10))),
            ]
            .into_iter()
            .flatten()
            .min()
            .map_or(-1, |t| {
                let ms = t.saturating_duration_since(now).as_millis();
                c_int::try_from(ms + 1).unwrap_or(c_int::MAX)
            });

            let armed = self.shared.armed.load(Ordering::Acquire);
            // They stay open while we sleep, whoever withdraws them.
            let (offer, bell, files) = {
                let memory = self.shared.memory();
                let bell = memory.bell.clone().filter(|_| !memory.silent);
                (memory.offer.clone(), bell, Arc::clone(&memory.files))
            };
            let descriptors = [
                Some(self.control.as_raw_fd()),
                monitor,
                armed.then(|| self.descriptor.as_raw_fd()),
                offer.as_ref().map(|o| o.descriptor().as_raw_fd()),
                bell.as_ref().map(|b| b.descriptor().as_raw_fd()),
            ];
            let [control, monitor, socket, comes, rings] = match sleep(descriptors, timeout) {
                Ok(ready) => ready,
                Err(e) => {
                    log::error!(target: &target, "the watcher thread cannot poll: {e}");
                    // Without this thread the bridge receives by itself.
                    self.attend(SOCKET);
                    return;
                }
            };
            // First, since somebody waits for it.
            if armed && socket {
                self.shared.armed.store(false, Ordering::Release);
                self.attend(SOCKET);
            }
            if let Some(bell) = bell.filter(|_| rings) {
                self.rung(&bell, &files, &target, &mut known);
            }
            if let Some(offer) = offer.filter(|_| comes) {
                self.hand_over(&offer, &target, &mut known);
            }
            if control && self.stopped() {
                return;
            }
            if monitor && self.read_monitor(events, &target, &mut known) {
                return;
            }
        }
    }

    fn attend(&self, bit: u32) {
        self.shared.words.attend(bit);
    }

    /// The host has rung, hands a file over, or is gone.
    fn rung(&self, bell: &Arc<Bell>, files: &Files, target: &str, known: &mut Known) {
        let rung = bell.drain(|file| {
            if let Err(e) = files.add(file) {
                limited!(
                    known.memory,
                    warn,
                    target,
                    "memory of the host cannot be used from here, DMA goes to it by messages: {e}"
                );
            }
        });
        if rung == Rung::Gone {
            let mut memory = self.shared.memory();
            if memory.bell.as_ref().is_some_and(|b| Arc::ptr_eq(b, bell)) {
                memory.silent = true;
            }
        }
        words::wake();
    }

    /// Somebody has come for shared memory.
    fn hand_over(&self, offer: &Arc<Offer>, target: &str, known: &mut Known) {
        // The host may say that it has the memory before this thread goes on, so whoever asks
        // for the bell then waits for the lock.
        let mut memory = self.shared.memory();
        match offer.hand_over() {
            Ok(Some(bell)) => {
                if memory.offer.as_ref().is_some_and(|o| Arc::ptr_eq(o, offer)) {
                    memory.bell = Some(Arc::new(bell));
                    memory.offer = None;
                }
            }
            Ok(None) => {}
            Err(e) => {
                drop(memory);
                limited!(
                    known.memory,
                    warn,
                    target,
                    "somebody came for shared memory and did not get it: {e}"
                );
            }
        }
    }

    /// Reads the control channel; whether the thread shall end.
    fn stopped(&mut self) -> bool {
        let mut bytes = [0; 64];
        loop {
            match self.control.read(&mut bytes) {
                // The other end is gone, and with it the bridge.
                Ok(0) => return true,
                Ok(n) if bytes[..n].contains(&STOP) => return true,
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Reads all events of the monitor; whether that was the last of them.
    fn read_monitor(&self, events: Option<&Events>, target: &str, known: &mut Known) -> bool {
        let Some(events) = events else {
            return false;
        };
        loop {
            let (event, value, address) = match events.next() {
                Next::Event {
                    event,
                    value,
                    address,
                } => (event, value, address),
                Next::Unknown => continue,
                Next::Nothing => return false,
                Next::End => return true,
            };
            use zmq::SocketEvent as E;
            match event {
                E::ACCEPTED => {
                    log::debug!(target: target, "a peer connected to {address}");
                    known.open.opened(value, Instant::now());
                }
                E::DISCONNECTED => {
                    log::debug!(target: target, "a peer disconnected from {address}");
                    known.open.closed(value);
                    let now = Instant::now();
                    known.gone_again = GONE_AGAIN_MS
                        .iter()
                        .map(|&ms| now + Duration::from_millis(ms))
                        .collect();
                    self.attend(PEER_GONE);
                }
                E::ACCEPT_FAILED => limited!(
                    known.failed,
                    warn,
                    target,
                    "a connection to {address} was not taken: {}",
                    accept_text(value as i32)
                ),
                _ => match Failure::of(event, value) {
                    Some(failure) => {
                        known.strangers += 1;
                        let text = handshake_text(failure);
                        let number = known.strangers;
                        if is_told(failure) {
                            limited!(
                                known.refused[failure as usize],
                                warn,
                                target,
                                "a peer that connected to {address} got no further: {text} \
                                 (error {value:#x}, number {number})"
                            );
                        } else {
                            log::debug!(
                                target: target,
                                "a peer that connected to {address} got no further: {text} \
                                 (error {value:#x}, number {number})"
                            );
                        }
                    }
                    None => log::trace!(target: target, "socket event {event:?} on {address}"),
                },
            }
        }
    }

    /// Says what lasts too long.
    fn mention(
        &self,
        target: &str,
        time: Instant,
        waits: &mut Waits,
        flagged: &mut Option<(u64, Moment)>,
    ) {
        let Some(limit) = self.warn else {
            return;
        };
        let now = Moment::now();
        // The simulator is deaf if the socket's bit stays set, or something in shared
        // memory unread, and no poll takes the slow path meanwhile.
        let words = self.shared.words;
        let set = words.attention.load(Ordering::Acquire) & SOCKET != 0 || words.has_memory();
        let polls = self.shared.polls.load(Ordering::Relaxed);
        *flagged = match *flagged {
            _ if !set => None,
            Some((seen, since)) if seen == polls => Some((seen, since)),
            _ => Some((polls, now)),
        };
        let deaf = flagged.map(|(_, since)| (Waiting::Poll, since));
        waits.set(Kind::Poll, deaf, limit);
        waits.look(&self.shared.board, limit);
        for (what, lasts, note) in waits.due(now, time) {
            log::warn!(target: target, "{what}, for {} ms now{note}", lasts.as_millis());
        }
    }
}

/// Why a connection was not taken.
fn accept_text(error: i32) -> String {
    match error {
        libc::EMFILE | libc::ENFILE => {
            "there is no file descriptor left for it (ulimit -n)".to_owned()
        }
        _ => std::io::Error::from_raw_os_error(error).to_string(),
    }
}

/// Why the handshake of a connection failed.
const fn handshake_text(failure: Failure) -> &'static str {
    match failure {
        Failure::HungUp => "it hung up in the handshake (does only one side use keys?)",
        Failure::OtherKeys => "it expects another key of ours, or does not own its own",
        Failure::OneSided => "only one side uses keys",
        Failure::Refused => "its key may not connect",
        Failure::NoZeroMq => "it does not speak ZeroMQ",
    }
}

/// Whether it is for the user: failed keys are, noise is not. A key that may not connect was
/// told with more detail by who refused it.
const fn is_told(failure: Failure) -> bool {
    matches!(
        failure,
        Failure::HungUp | Failure::OtherKeys | Failure::OneSided
    )
}
