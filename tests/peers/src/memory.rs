// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared memory of a peer: the device's side makes it, the host's side takes it.

use std::{
    collections::VecDeque,
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, RawFd},
        unix::fs::FileExt,
    },
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use accelerator_carrier::{
    end::{End, Side},
    handover::{Bell, Offer, Rung},
    permit::{Area, Gate},
    reach::{Files, Reach},
    segment::{self, PermitPage, Segment},
};
use accelerator_protocol::wire::MAX_MESSAGE;

use crate::{Error, PATIENCE};

/// Environment variable that says what carries the sessions of peers: `socket`, or shared
/// memory if it is not set.
pub const CARRIER_VARIABLE: &str = "ACCELERATOR_TEST_CARRIER";

/// Whether sessions may go through shared memory.
pub fn wanted() -> bool {
    std::env::var(CARRIER_VARIABLE).map_or(true, |value| value != "socket")
}

/// What a device does with a host that asks for shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Hands it over.
    Good,
    /// Offers none.
    Silent,
    /// Names a socket on which nobody listens.
    Absent,
    /// Offers it and hands nothing over, like a process that is stopped.
    Stopped,
    /// Hands over a file that it may shrink.
    Unsealed,
}

fn system(what: &str) -> impl FnOnce(std::io::Error) -> Error + '_ {
    move |e| Error::Refused(format!("{what}: {e}"))
}

#[derive(Default)]
enum State {
    #[default]
    None,
    Offered(Arc<Segment>, Offer),
    Taken(Arc<Segment>, Arc<Bell>),
    Used(Box<End>, Kept, Box<Reached>),
}

/// What the device reaches of the host's memory.
struct Reached {
    reach: Reach<PermitPage>,
    files: Arc<Files>,
    /// The host's side of it.
    gate: Gate<PermitPage>,
}

/// Messages that are kept where the ring has no room, as ZeroMQ keeps them.
const KEPT: usize = 100_000;

/// How long an end that reads may pause.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Kept {
    messages: VecDeque<Vec<u8>>,
    /// The other end does not read at present.
    stuck: bool,
}

/// Takes what came with the bell.
fn hear(end: &End, reached: &Reached) -> Rung {
    // What cannot be used is not reached.
    end.bell().drain(|file| drop(reached.files.add(file)))
}

/// The shared memory of a session.
#[derive(Default)]
pub struct Memory(State, Option<File>);

impl Memory {
    /// Makes it. The name under which the host gets it.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn offer(&mut self, sharing: Sharing) -> Result<String, Error> {
        if sharing == Sharing::Absent {
            return Ok("0123456789abcdef".repeat(2));
        }
        let file = segment::file().map_err(system("cannot make a memory file"))?;
        let segment =
            Segment::of_other(file.as_fd()).map_err(system("cannot map a memory file"))?;
        let copy = File::from(
            file.try_clone()
                .map_err(system("cannot keep a memory file"))?,
        );
        let file = match sharing {
            Sharing::Unsealed => File::open("/dev/null")
                .map_err(system("cannot open /dev/null"))?
                .into(),
            _ => file,
        };
        let offer = Offer::new(file).map_err(system("cannot offer a memory file"))?;
        let name = offer.name().to_owned();
        self.1 = Some(copy);
        self.0 = State::Offered(segment, offer);
        Ok(name)
    }

    /// Comes for it.
    ///
    /// # Errors
    ///
    /// It is not there, or nobody hands it over.
    pub fn claim(&mut self, name: &str) -> Result<(), Error> {
        let shared = accelerator_host::shared::claim(name, PATIENCE)?;
        self.1 = Some(shared.file);
        self.0 = State::Taken(shared.segment, shared.bell);
        Ok(())
    }

    /// Hands it over, if the host has come.
    ///
    /// # Errors
    ///
    /// Of the system.
    pub fn hand_over(&mut self) -> Result<(), Error> {
        let State::Offered(segment, offer) = &self.0 else {
            return Ok(());
        };
        let bell = offer
            .hand_over()
            .map_err(system("cannot hand over shared memory"))?;
        if let Some(bell) = bell {
            self.0 = State::Taken(Arc::clone(segment), Arc::new(bell));
        }
        Ok(())
    }

    /// The session goes through it from now on, or not. Whether it does.
    pub fn begin(&mut self, side: Side, yes: bool) -> bool {
        let state = std::mem::take(&mut self.0);
        if let (State::Taken(segment, bell), true) = (state, yes) {
            let end = End::new(&segment, side, bell, MAX_MESSAGE);
            let files = Arc::new(Files::default());
            let reach = Reach::new(PermitPage::new(&segment), Arc::clone(&files));
            let gate = Gate::new(PermitPage::new(&segment));
            self.0 = State::Used(
                Box::new(end),
                Kept::default(),
                Box::new(Reached { reach, files, gate }),
            );
        }
        self.is_used()
    }

    /// The session is over.
    pub fn end(&mut self) {
        self.0 = State::None;
    }

    /// Writes bytes anywhere into it, as a program that is broken or hostile may at any time.
    /// False if there is none.
    pub fn scribble(&self, offset: u64, bytes: &[u8]) -> bool {
        let limit = segment::BYTES as u64 - bytes.len() as u64;
        self.1
            .as_ref()
            .is_some_and(|file| file.write_all_at(bytes, offset % limit).is_ok())
    }

    /// The word at `offset` of it, as it is now. `None` if there is none.
    pub fn word(&self, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        let file = self.1.as_ref()?;
        file.read_exact_at(&mut bytes, offset).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Whether the session goes through it.
    pub const fn is_used(&self) -> bool {
        matches!(self.0, State::Used(..))
    }

    /// Sends, now or with a later call: there is no thread that would, so this waits while the
    /// other end reads. False if the session goes through the socket.
    ///
    /// # Errors
    ///
    /// The other end does not read, or has broken the ring.
    pub fn send(&mut self, message: &[u8]) -> Result<bool, Error> {
        let State::Used(_, kept, _) = &mut self.0 else {
            return Ok(false);
        };
        if kept.messages.len() >= KEPT {
            return Err(Error::Refused("the other end does not read".into()));
        }
        kept.messages.push_back(message.to_vec());
        let mut since = Instant::now();
        let mut before = usize::MAX;
        while self.go_on()? {
            let State::Used(end, kept, _) = &mut self.0 else {
                break;
            };
            let now = kept.messages.len() + end.rest();
            if now != before {
                (before, since) = (now, Instant::now());
            }
            kept.stuck |= since.elapsed() > PAUSE;
            if kept.stuck {
                break;
            }
            thread::sleep(Duration::from_micros(100));
        }
        Ok(true)
    }

    /// Sends what is kept. Whether some of it still is.
    fn go_on(&mut self) -> Result<bool, Error> {
        let State::Used(end, kept, _) = &mut self.0 else {
            return Ok(false);
        };
        let broken = |e: accelerator_carrier::Broken| Error::Refused(e.to_string());
        let mut left = !end.go_on().map_err(broken)?;
        while let Some(message) = kept.messages.front() {
            if !end.send(message).map_err(broken)? {
                return Ok(true);
            }
            kept.messages.pop_front();
            kept.stuck = false;
            left = end.rest() != 0;
        }
        Ok(left)
    }

    /// The next message, if there is one.
    ///
    /// # Errors
    ///
    /// The other end has broken the ring.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, Error> {
        self.go_on()?;
        let State::Used(end, ..) = &mut self.0 else {
            return Ok(None);
        };
        let mut message = Vec::new();
        let got = end
            .receive(&mut message)
            .map_err(|e| Error::Refused(e.to_string()))?;
        Ok(got.then_some(message))
    }

    /// Lets the device use all of a file at this address, until [`Self::take_back`]. False if
    /// the session goes through the socket.
    ///
    /// # Errors
    ///
    /// The device does not take the file.
    pub fn give(&mut self, address: u64, file: &File) -> Result<bool, Error> {
        let State::Used(end, ..) = &mut self.0 else {
            return Ok(false);
        };
        let bytes = file
            .metadata()
            .map_err(system("no length of a file"))?
            .len();
        end.bell()
            .send(file.as_fd())
            .map_err(system("cannot hand a file over"))?;
        Ok(self.give_again(address, bytes))
    }

    /// The device uses it no more when this returns.
    ///
    /// # Panics
    ///
    /// The device stays in the middle of a copy.
    pub fn take_back(&mut self) {
        if let State::Used(_, _, reached) = &mut self.0 {
            let deadline = Instant::now() + PATIENCE;
            assert!(reached.gate.close(|| Instant::now() < deadline));
        }
    }

    /// Lets the device use it again.
    pub fn give_again(&mut self, address: u64, bytes: u64) -> bool {
        let State::Used(_, _, reached) = &mut self.0 else {
            return false;
        };
        reached.gate.open(&[Area {
            address,
            bytes,
            file: 0,
            offset: 0,
            writable: true,
            marks: None,
        }])
    }

    /// Reads memory of the host without asking it. Whether that was possible.
    pub fn reach_read(&mut self, addr: u64, data: &mut [u8]) -> bool {
        let State::Used(end, _, reached) = &mut self.0 else {
            return false;
        };
        hear(end, reached);
        reached.reach.read(addr, data)
    }

    /// Writes to memory of the host in the same way.
    pub fn reach_write(&mut self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> bool {
        let State::Used(end, _, reached) = &mut self.0 else {
            return false;
        };
        hear(end, reached);
        reached.reach.write(addr, data, enables)
    }

    /// What to sleep on beside the socket. False if there is something to receive already.
    pub fn sleeps_on(&self) -> (bool, Option<RawFd>) {
        match &self.0 {
            State::None | State::Taken(..) => (true, None),
            State::Offered(_, offer) => (true, Some(offer.descriptor().as_raw_fd())),
            State::Used(end, ..) => (end.sleep(), Some(end.bell().descriptor().as_raw_fd())),
        }
    }

    /// After a sleep. False if the other end is gone.
    pub fn awake(&self) -> bool {
        match &self.0 {
            State::Used(end, _, reached) => {
                end.awake();
                hear(end, reached) == Rung::Drained
            }
            _ => true,
        }
    }
}
