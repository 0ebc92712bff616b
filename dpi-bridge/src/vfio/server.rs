// SPDX-License-Identifier: MIT OR Apache-2.0

//! The thread that has the socket: one client after another, and those that come too many.

use std::{
    ffi::c_int,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::net::UnixListener,
    },
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use accelerator_protocol::{limit::Limit, Config};
use log::error;

use super::{
    card::Card,
    stream::{Got, Stream},
    wire,
};
use crate::{limited::limited, pipe::Far, socket_file::SocketFile};

/// Messages that are read of a client before the bridge is looked at again.
const BATCH: usize = 256;

/// Clients that come while one has the function: how many are told so at the same time, and how
/// long one may take to ask.
const STRANGERS: usize = 8;
const STRANGER_PATIENCE: Duration = Duration::from_secs(2);

/// A frame buffer is sent when it has so many bytes.
const GATHER: usize = 64 * 1024;

/// The client that has the function.
struct Client {
    stream: Stream,
    card: Card,
    /// As the bridge knows it.
    number: u64,
    process: Option<i32>,
}

/// One that is to be told that another has it.
struct Stranger {
    stream: Stream,
    since: Instant,
}

/// The lines that whoever reaches the socket can cause.
#[derive(Default)]
struct Limits {
    link: Limit,
    given_up: Limit,
    busy: Limit,
    accept: Limit,
}

/// What the thread has.
pub struct Serving {
    listener: UnixListener,
    _file: SocketFile,
    far: Far,
    config: Config,
    target: String,
    patience: Option<Duration>,
    stop: Arc<AtomicBool>,
    client: Option<Client>,
    strangers: Vec<Stranger>,
    last: u64,
    limits: Limits,
}

/// How a client goes on.
enum Goes {
    /// Nothing to be done before somebody says something.
    On,
    /// There may be more of it.
    More,
    /// It has left.
    Gone,
    /// It is sent away.
    GivenUp(String),
}

impl Client {
    /// Takes in what the bridge and the client have said, and passes it on.
    fn serve(&mut self, far: &Far) -> Goes {
        for (host, message) in far.receive() {
            if host != self.number {
                continue;
            }
            if let Err(text) = self.card.frames(&message) {
                return Goes::GivenUp(text);
            }
        }
        self.card.mark(|| self.stream.sent());
        let mut goes = Goes::More;
        for _ in 0..BATCH {
            if self.card.is_full() {
                break;
            }
            match self.stream.receive() {
                Ok(Got::Message(message)) => {
                    let now = Instant::now();
                    if let Err(text) = self.card.message(message, self.process, now) {
                        return Goes::GivenUp(text);
                    }
                }
                Ok(Got::Nothing) => {
                    goes = Goes::On;
                    break;
                }
                Ok(Got::End) => return Goes::Gone,
                Err(text) => return Goes::GivenUp(text),
            }
        }
        self.card.arrived(self.stream.arrived());
        self.card.expire(Instant::now());
        self.card.pump();
        if self.card.is_full() {
            // The bridge says when there is room.
            goes = Goes::On;
        }
        match self.pass_on(far) {
            Ok(()) => goes,
            Err(text) => Goes::GivenUp(text),
        }
    }

    /// Sends what there is to be sent.
    fn pass_on(&mut self, far: &Far) -> Result<(), String> {
        let frames = &mut self.card.frames;
        if !frames.is_empty() {
            far.send(self.number, frames);
            frames.clear();
            frames.shrink_to(GATHER);
        }
        let replies = &mut self.card.replies;
        let sent = match replies.is_empty() && !self.stream.has_rest() {
            true => Ok(()),
            false => self.stream.send(replies),
        };
        replies.clear();
        replies.shrink_to(GATHER);
        sent
    }
}

impl Serving {
    /// Of a socket on which nobody is served yet.
    pub fn new(
        (listener, file): (UnixListener, SocketFile),
        far: Far,
        config: &Config,
        target: &str,
        patience: Option<Duration>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self {
            listener,
            _file: file,
            far,
            config: config.clone(),
            target: target.to_owned(),
            patience,
            stop,
            client: None,
            strangers: Vec::new(),
            last: 0,
            limits: Limits::default(),
        }
    }

    /// Serves until it is told to stop.
    pub fn run(&mut self) {
        loop {
            let stops = self.stop.load(Ordering::Acquire);
            let more = self.serve();
            if stops {
                self.end_client("the simulator ends");
                return;
            }
            self.answer_strangers();
            let timeout = if more {
                Some(Instant::now())
            } else {
                self.deadline()
            };
            if let Err(e) = self.sleep(timeout) {
                error!(target: &self.target, "the vfio-user thread cannot poll: {e}");
                self.end_client("nobody serves it any more");
                return;
            }
        }
    }

    /// Serves the client; whether there may be more to do at once.
    fn serve(&mut self) -> bool {
        let Some(client) = &mut self.client else {
            self.far.receive();
            return false;
        };
        match client.serve(&self.far) {
            Goes::On => false,
            Goes::More => true,
            Goes::Gone => {
                self.end_client("it has left");
                true
            }
            // The bridge has said so, in order.
            Goes::GivenUp(_) if self.stop.load(Ordering::Acquire) => false,
            Goes::GivenUp(text) => {
                limited!(
                    self.limits.given_up,
                    error,
                    &self.target,
                    "the client is given up: {text}"
                );
                self.end_client("it is given up");
                true
            }
        }
    }

    /// The session with the client ends, and what it has passed to us is closed.
    fn end_client(&mut self, why: &str) {
        let Some(mut client) = self.client.take() else {
            return;
        };
        client.card.close();
        // It may be gone.
        let _ = client.pass_on(&self.far);
        self.far.host(0);
        limited!(
            self.limits.link,
            info,
            &self.target,
            "client {} has the function no more: {why}",
            client.number
        );
    }

    /// When something is to be done although nobody says anything.
    fn deadline(&self) -> Option<Instant> {
        let client = self.client.as_ref().and_then(|c| c.card.deadline());
        let strangers = self.strangers.iter().map(|s| s.since + STRANGER_PATIENCE);
        strangers.chain(client).min()
    }

    /// Waits until somebody says something, or until then.
    fn sleep(&mut self, until: Option<Instant>) -> io::Result<()> {
        let item = |fd: BorrowedFd<'_>, events| libc::pollfd {
            fd: fd.as_raw_fd(),
            events,
            revents: 0,
        };
        let mut items = vec![item(self.far.descriptor(), libc::POLLIN)];
        let listens = self.strangers.len() < STRANGERS;
        items.push(item(
            self.listener.as_fd(),
            if listens { libc::POLLIN } else { 0 },
        ));
        if let Some(client) = &self.client {
            let reads = if client.card.is_full() {
                0
            } else {
                libc::POLLIN
            };
            let writes = if client.stream.has_rest() {
                libc::POLLOUT
            } else {
                0
            };
            items.push(item(client.stream.descriptor(), reads | writes));
            items.extend(client.card.intx().map(|fd| item(fd, libc::POLLIN)));
        }
        let strangers = self.strangers.iter();
        items.extend(strangers.map(|s| item(s.stream.descriptor(), libc::POLLIN)));
        let timeout = until.map_or(-1, |until| {
            let left = until.saturating_duration_since(Instant::now());
            c_int::try_from(left.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
        });
        // SAFETY: the items are valid for their number.
        let rc = unsafe { libc::poll(items.as_mut_ptr(), items.len() as libc::nfds_t, timeout) };
        if rc < 0 {
            let e = io::Error::last_os_error();
            return match e.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(e),
            };
        }
        let comes = items[1].revents != 0;
        if let Some(client) = &mut self.client {
            // A client that has hung up says so although nothing more is read of it.
            if items[2].revents & libc::POLLIN == 0
                && items[2].revents & (libc::POLLHUP | libc::POLLERR) != 0
            {
                self.end_client("it has left");
            } else {
                client.card.unmasked();
            }
        }
        if comes {
            // One that has left makes room for the next.
            self.serve();
            self.take();
        }
        Ok(())
    }

    /// Takes a connection.
    fn take(&mut self) {
        let stream = self.listener.accept().and_then(|(s, _)| Stream::new(s));
        let stream = match stream {
            Ok(stream) => stream,
            Err(e) => {
                if e.kind() != io::ErrorKind::WouldBlock {
                    limited!(
                        self.limits.accept,
                        warn,
                        &self.target,
                        "a connection is not taken: {e}"
                    );
                    // It is still there, and would keep this thread busy.
                    std::thread::sleep(Duration::from_millis(10));
                }
                return;
            }
        };
        if self.client.is_some() {
            let since = Instant::now();
            self.strangers.push(Stranger { stream, since });
            return;
        }
        self.last += 1;
        let number = self.last;
        let process = stream.process();
        // Unlike any that this bridge may still hear of.
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        let session = time.map_or(0, |t| t.as_nanos() as u64) ^ number << 48;
        match Card::new(&self.target, &self.config, session, self.patience) {
            Ok(card) => {
                limited!(
                    self.limits.link,
                    info,
                    &self.target,
                    "client {number} has connected (process {})",
                    process.unwrap_or(0)
                );
                self.far.host(number);
                self.client = Some(Client {
                    stream,
                    card,
                    number,
                    process,
                });
            }
            // It was tried when the bridge was started.
            Err(text) => error!(target: &self.target, "the card cannot be shown: {text}"),
        }
    }

    /// Tells those that come too many that they do, once they have asked.
    fn answer_strangers(&mut self) {
        let (target, busy) = (&self.target, &mut self.limits.busy);
        self.strangers.retain_mut(|stranger| {
            let since = stranger.since;
            let mut replies = Vec::new();
            match stranger.stream.receive() {
                Ok(Got::Nothing) if since.elapsed() < STRANGER_PATIENCE => return true,
                Ok(Got::Message(message)) => {
                    let header = message.header;
                    wire::error(header.id, header.command, libc::EBUSY, &mut replies);
                }
                Ok(Got::Nothing | Got::End) | Err(_) => {}
            }
            let _ = stranger.stream.send(&replies);
            limited!(
                busy,
                warn,
                target,
                "another client (process {}) is refused: one has the function",
                stranger.stream.process().unwrap_or(0)
            );
            false
        });
    }
}
