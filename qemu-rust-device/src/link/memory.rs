// SPDX-License-Identifier: GPL-2.0-or-later

//! Shared memory, by which a session goes where both ends are on one host: how it comes to
//! be, and what is sent and received there.

use std::{
    fmt, io,
    ops::Deref,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use accelerator_carrier::{
    backlog::{Backlog, Bound},
    end::{End, Look, Side},
    handover::{Claim, Rung},
    random::session_number,
    segment::Segment,
    Broken, Wanted,
};
use accelerator_protocol::{
    config::Config,
    host::HostSession,
    is_local,
    session::Beside,
    wire::{Reason, MAX_MESSAGE},
};

use super::{descriptors::BELL, voice::Kind, Link, Settings, Shared};
use crate::error::system;

/// How long the simulator may take to hand the memory over: it has a thread for that, which
/// a debugger stops with the others.
const LIMIT: Duration = Duration::from_secs(1);

/// Sessions of this process that go through shared memory, each with a simulator that looks for
/// what comes.
static SIMULATORS: AtomicU64 = AtomicU64::new(0);

/// How many simulators look for what this process sends.
pub(super) fn simulators() -> u64 {
    SIMULATORS.load(Ordering::Relaxed)
}

/// One of them.
struct Simulator(());

impl Simulator {
    fn new() -> Self {
        SIMULATORS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        SIMULATORS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What carries the frames of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// There is no session.
    #[default]
    None,
    /// The socket, and why not shared memory.
    Socket(String),
    /// Shared memory.
    Memory,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none: there is no session"),
            Self::Socket(why) => write!(f, "socket: {why}"),
            Self::Memory => f.write_str("shared memory"),
        }
    }
}

/// The memory is on its way to us.
struct Joining {
    claim: Claim,
    deadline: Instant,
    /// What came meanwhile.
    config: Option<Config>,
}

/// The shared memory of a session.
pub(super) struct Memory {
    joining: Option<Joining>,
    /// It is here; the session does not go through it yet.
    ready: Option<(Box<End>, Arc<Segment>)>,
    /// The session goes through it.
    end: Option<Box<End>>,
    /// And so its simulator is one of those that look.
    simulator: Option<Simulator>,
    /// Messages that found no room.
    backlog: Backlog,
    /// The other end of the bell is closed.
    gone: bool,
    /// Why there is none.
    why: Option<String>,
    /// The buffer of the next message.
    spare: Vec<u8>,
}

/// A message, from wherever it came.
#[derive(Debug)]
pub(super) enum Message {
    Socket(zmq::Message),
    Memory(Vec<u8>),
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Socket(message) => message,
            Self::Memory(message) => message,
        }
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl Settings {
    /// A session that has not begun.
    pub(super) fn session(&self) -> HostSession {
        let mut session = HostSession::new(session_number(), self.write_window);
        session.share(self.shared_memory != Wanted::Off && is_local(&self.endpoint));
        session
    }

    /// Why no simulator is asked for shared memory.
    fn why_not(&self) -> Option<&'static str> {
        if self.shared_memory == Wanted::Off {
            Some("shared memory is off")
        } else if !is_local(&self.endpoint) {
            Some("the simulator may be on another machine")
        } else {
            None
        }
    }
}

impl Memory {
    /// None yet. At most `queue` messages wait for a simulator that does not read.
    pub(super) fn new(queue: i32) -> Self {
        Self {
            joining: None,
            ready: None,
            end: None,
            simulator: None,
            backlog: Backlog::new(Bound::Messages(usize::try_from(queue).unwrap_or(0))),
            gone: false,
            why: None,
            spare: Vec::new(),
        }
    }

    /// Whether the session goes through it.
    pub(super) fn is_used(&self) -> bool {
        self.end.is_some()
    }

    /// Looks for messages without the lock.
    pub(super) fn look(&self) -> Option<Look> {
        self.end.as_ref().map(|end| end.look())
    }

    /// Before this thread sleeps or steps down: has the simulator ring when something comes.
    /// False if something is there.
    pub(super) fn sleep(&self) -> bool {
        self.end.as_ref().map_or(true, |end| end.sleep())
    }

    /// Somebody looks again.
    pub(super) fn awake(&self) {
        if let Some(end) = &self.end {
            end.awake();
        }
    }

    /// Sends, or keeps for later. `None` if the session goes through the socket.
    pub(super) fn send(&mut self, message: &[u8]) -> Option<Result<(), Broken>> {
        let end = self.end.as_mut()?;
        end.tell_crowd(simulators());
        if self.backlog.is_empty() {
            match end.send(message) {
                Ok(true) if end.rest() == 0 => return Some(Ok(())),
                // The rest of it needs somebody to be woken for it.
                Ok(true) => return Some(self.go_on()),
                Ok(false) => {}
                Err(e) => return Some(Err(e)),
            }
        }
        self.backlog.push(message.to_vec());
        Some(self.go_on())
    }

    /// Sends what was kept, and has the simulator ring if not all of it has room.
    fn go_on(&mut self) -> Result<(), Broken> {
        let Some(end) = &mut self.end else {
            return Ok(());
        };
        loop {
            let passed_on = self.backlog.pass_on(|message| end.send(message))?;
            let done = passed_on && end.go_on()?;
            if done || end.wait_for_room()? {
                return Ok(());
            }
        }
    }

    /// The end, if the session goes through it.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_deref()
    }

    /// Whether something was kept, or is sent in part only.
    pub(super) fn is_behind(&self) -> bool {
        !self.backlog.is_empty() || self.end.as_ref().is_some_and(|end| end.rest() != 0)
    }

    /// Whether more is kept than a simulator that keeps the protocol can bring about.
    pub(super) fn is_overdue(&self) -> bool {
        self.backlog.excess().is_some()
    }

    /// Gives back the buffer of a message.
    pub(super) fn reuse(&mut self, message: Message) {
        if let Message::Memory(buffer) = message {
            self.spare = buffer;
        }
    }
}

/// What was received.
pub(super) enum Received {
    /// A message.
    Message(Message),
    /// Nothing.
    Nothing,
    /// Nothing, and nothing will come: the simulator has closed its end.
    Gone,
    /// The session has failed.
    Failed,
}

impl Link {
    /// What carries the frames.
    pub fn carrier(&self) -> Carrier {
        let shared = self.lock();
        if !shared.up {
            Carrier::None
        } else if shared.memory.is_used() {
            Carrier::Memory
        } else {
            Carrier::Socket(self.why_socket(&shared))
        }
    }

    fn why_socket(&self, shared: &Shared) -> String {
        self.settings
            .why_not()
            .map(str::to_owned)
            .or_else(|| shared.memory.why.clone())
            .unwrap_or_else(|| "the simulator does not offer shared memory".into())
    }

    /// The simulator offers shared memory.
    pub(super) fn join(&self, shared: &mut Shared, name: &str) {
        self.end_memory(shared);
        let join = || -> io::Result<Joining> {
            let claim = Claim::new(name)?;
            self.inner
                .add(claim.descriptor().as_raw_fd(), BELL)
                .map_err(|e| io::Error::other(system("cannot watch a descriptor")(e)))?;
            self.late.set(LIMIT)?;
            Ok(Joining {
                claim,
                deadline: Instant::now() + LIMIT,
                config: None,
            })
        };
        match join() {
            Ok(joining) => shared.memory.joining = Some(joining),
            Err(e) => shared.memory.why = Some(format!("no shared memory: {e}")),
        }
    }

    /// The configuration has come. Whether it is kept until it is clear what carries the
    /// session.
    pub(super) fn keeps(&self, shared: &mut Shared, config: &Config) -> bool {
        match &mut shared.memory.joining {
            Some(joining) => {
                joining.config = Some(config.clone());
                true
            }
            None => false,
        }
    }

    /// Looks whether the memory has come that we wait for.
    pub(super) fn joined(&self, shared: &mut Shared) {
        let Some(joining) = &shared.memory.joining else {
            return;
        };
        let result = match joining.claim.take() {
            Ok(None) if Instant::now() < joining.deadline => return,
            Ok(None) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the simulator has not handed it over in {} s",
                    LIMIT.as_secs()
                ),
            )),
            Ok(Some(file)) => Ok(file),
            Err(e) => Err(e),
        };
        let Some(Joining { claim, config, .. }) = shared.memory.joining.take() else {
            return;
        };
        match result.and_then(|file: OwnedFd| Segment::of_other(file.as_fd())) {
            Ok(segment) => {
                let bell = Arc::new(claim.into_bell());
                let end = End::new(&segment, Side::Host, bell, MAX_MESSAGE);
                shared.memory.ready = Some((Box::new(end), segment));
            }
            Err(e) => {
                self.unwatch(claim.descriptor().as_raw_fd());
                shared.memory.why = Some(format!("no shared memory: {e}"));
            }
        }
        if let Some(config) = config {
            self.configured(shared, config);
        }
    }

    /// Whether the session may begin with what there is to carry it. If not, why.
    pub(super) fn suits(&self, shared: &Shared) -> Result<(), String> {
        if self.settings.shared_memory == Wanted::On && shared.memory.ready.is_none() {
            return Err(format!(
                "shared-memory is on, but {}",
                self.why_socket(shared)
            ));
        }
        Ok(())
    }

    /// Whether the memory is here.
    pub(super) fn has_joined(&self, shared: &Shared) -> bool {
        shared.memory.ready.is_some()
    }

    /// READY is sent: from now on the session goes through the memory, if it is here.
    pub(super) fn switch(&self, shared: &mut Shared) {
        if let Some((end, segment)) = shared.memory.ready.take() {
            shared.memory.end = Some(end);
            shared.memory.simulator = Some(Simulator::new());
            self.begin_gate(shared, &segment);
        }
        let text = if shared.memory.is_used() {
            "the session goes through shared memory".to_owned()
        } else {
            format!(
                "the session goes through the socket: {}",
                self.why_socket(shared)
            )
        };
        self.say(shared, Kind::Carrier, || text);
    }

    /// Receives from the memory, after having sent what was kept.
    pub(super) fn receive_memory(&self, shared: &mut Shared) -> Received {
        if shared.memory.is_behind() {
            if let Err(e) = shared.memory.go_on() {
                self.fail(shared, e.to_string(), Some(Reason::Protocol));
                return Received::Failed;
            }
            self.update_gate(shared);
        }
        let Some(end) = &mut shared.memory.end else {
            return Received::Nothing;
        };
        let mut message = std::mem::take(&mut shared.memory.spare);
        match end.receive(&mut message) {
            Ok(true) => Received::Message(Message::Memory(message)),
            Ok(false) => {
                shared.memory.spare = message;
                if shared.memory.gone {
                    Received::Gone
                } else {
                    Received::Nothing
                }
            }
            Err(e) => {
                self.fail(shared, e.to_string(), Some(Reason::Protocol));
                Received::Failed
            }
        }
    }

    /// Whether a message that was received on the socket is one that may come there.
    pub(super) fn may_come_beside(shared: &Shared, message: &[u8]) -> bool {
        !shared.memory.is_used() || matches!(Beside::of(message), Ok(Beside::Life))
    }

    /// The bell is readable.
    pub(super) fn rung(&self, shared: &mut Shared) {
        let memory = &mut shared.memory;
        let Some(bell) = memory
            .end
            .as_ref()
            .or(memory.ready.as_ref().map(|(end, _)| end))
            .map(|e| e.bell())
        else {
            // The memory is on its way; `joined` takes it.
            return;
        };
        if bell.drain(drop) == Rung::Gone {
            let descriptor = bell.descriptor().as_raw_fd();
            memory.gone = true;
            self.unwatch(descriptor);
        }
    }

    fn unwatch(&self, descriptor: i32) {
        // Closing it does the same a little later.
        self.inner.remove(descriptor);
    }

    /// The session is over, and the memory with it.
    pub(super) fn end_memory(&self, shared: &mut Shared) {
        self.end_gate(shared);
        let Memory {
            joining,
            ready,
            end,
            ..
        } = std::mem::replace(&mut shared.memory, Memory::new(self.settings.queue()));
        if let Some(joining) = joining {
            self.unwatch(joining.claim.descriptor().as_raw_fd());
        }
        if let Some(end) = end.or(ready.map(|(end, _)| end)) {
            self.unwatch(end.bell().descriptor().as_raw_fd());
        }
    }
}
