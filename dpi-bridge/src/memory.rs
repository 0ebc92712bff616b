// SPDX-License-Identifier: MIT OR Apache-2.0

//! The shared memory of a session, where there is one: made and offered when a host asks,
//! used when it has it, and over with the session.

use std::{
    io,
    os::fd::AsFd,
    sync::{Arc, OnceLock},
};

use accelerator_carrier::{
    end::{End, Side},
    handover::Offer,
    reach::{Files, Known, Reach},
    segment::{self, PermitPage, Segment, Window},
    Broken, Wanted,
};
use accelerator_protocol::wire::MAX_MESSAGE;

use crate::{
    error::{Code, Error, Result},
    transport::Sent,
    watcher::Watcher,
};

fn broken(e: Broken) -> Error {
    Error::new(Code::Io, e.to_string())
}

/// Name of the environment variable that says what [`Wanted::Auto`] is.
pub const VARIABLE: &str = "ACCELERATOR_SHARED_MEMORY";

/// What the environment makes of what the design wants.
///
/// # Errors
///
/// A text that names the value.
pub fn wanted(design: Wanted, variable: Option<&str>) -> std::result::Result<Wanted, String> {
    match (design, variable.map(str::trim)) {
        (Wanted::Auto, Some("off")) => Ok(Wanted::Off),
        (Wanted::Auto, Some("on")) => Ok(Wanted::On),
        (_, None | Some("" | "auto" | "off" | "on")) => Ok(design),
        (_, Some(text)) => Err(format!("{VARIABLE} is {text:?}, expected off, auto or on")),
    }
}

#[derive(Default)]
enum State {
    /// All goes through the socket.
    #[default]
    None,
    /// The host may come for it, and hand over files.
    Offered(Arc<Segment>, Arc<Files>),
    /// The session's frames go through it.
    Attached(Box<Attached>),
}

/// The shared memory of a session.
struct Attached {
    end: End,
    /// What the host lets us reach of its memory.
    reach: Reach<PermitPage>,
    /// What was told of that last.
    told: Option<Known>,
}

/// The shared memory of a bridge.
pub struct Memory {
    wanted: Wanted,
    /// Where it is; made for the first session that wants one, and then there for good, since
    /// a poll looks there without a lock.
    window: &'static OnceLock<&'static Window>,
    state: State,
}

impl Memory {
    /// Of a bridge that looks at `window`.
    pub fn new(wanted: Wanted, window: &'static OnceLock<&'static Window>) -> Self {
        Self {
            wanted,
            window,
            state: State::None,
        }
    }

    /// What the user wants.
    pub const fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Makes a segment and has the watcher hand it over. The name under which the host gets it.
    ///
    /// # Errors
    ///
    /// What the system refused.
    pub fn offer(&mut self, watcher: &mut Watcher) -> io::Result<String> {
        self.end(watcher);
        let window = match self.window.get() {
            Some(window) => *window,
            None => {
                let window = Window::new()?;
                self.window.get_or_init(|| window)
            }
        };
        let file = segment::file()?;
        let segment = Segment::in_window(file.as_fd(), window)?;
        let offer = Offer::new(file)?;
        let name = offer.name().to_owned();
        let files = Arc::new(Files::default());
        watcher.offer(offer, Arc::clone(&files))?;
        self.state = State::Offered(segment, files);
        Ok(name)
    }

    /// The host has said whether it has the segment. False if it says so but has not come
    /// for it.
    pub fn attached(&mut self, yes: bool, watcher: &mut Watcher) -> bool {
        let state = std::mem::take(&mut self.state);
        if !yes {
            watcher.withdraw();
            return true;
        }
        let (State::Offered(segment, files), Some(bell)) = (state, watcher.bell()) else {
            return false;
        };
        self.state = State::Attached(Box::new(Attached {
            end: End::new(&segment, Side::Device, bell, MAX_MESSAGE),
            reach: Reach::new(PermitPage::new(&segment), files),
            told: None,
        }));
        true
    }

    /// Reads the host's memory without asking. How far the host has sent by then; `None`, and
    /// nothing is read, if the host has to be asked.
    pub fn read(&mut self, addr: u64, data: &mut [u8]) -> Option<u64> {
        let State::Attached(attached) = &mut self.state else {
            return None;
        };
        let done = attached.reach.read(addr, data);
        done.then(|| attached.end.sent_so_far())
    }

    /// Whether all was received that the host had sent then.
    pub fn has_received(&self, position: u64) -> bool {
        match &self.state {
            State::Attached(attached) => attached.end.has_received(position),
            _ => true,
        }
    }

    /// Writes to the host's memory without asking. False, and nothing is written, if the host
    /// has to be asked.
    pub fn write(&mut self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> bool {
        match &mut self.state {
            State::Attached(attached) => attached.reach.write(addr, data, enables),
            _ => false,
        }
    }

    /// How much of the host's memory can be reached, if that is news.
    pub fn news(&mut self) -> Option<Known> {
        let State::Attached(attached) = &mut self.state else {
            return None;
        };
        let known = attached.reach.known();
        (attached.told.replace(known) != Some(known)).then_some(known)
    }

    /// The end, if the session goes through it.
    pub fn end_mut(&mut self) -> Option<&mut End> {
        match &mut self.state {
            State::Attached(attached) => Some(&mut attached.end),
            _ => None,
        }
    }

    /// Whether the session goes through it.
    pub const fn is_attached(&self) -> bool {
        matches!(self.state, State::Attached(_))
    }

    /// How many simulators the host says that it has to do with; 0 if it says nothing.
    pub fn crowd(&self) -> u64 {
        match &self.state {
            State::Attached(attached) => attached.end.crowd(),
            _ => 0,
        }
    }

    /// Whether there is something to receive.
    pub fn has_message(&self) -> bool {
        matches!(&self.state, State::Attached(attached) if !attached.end.is_empty())
    }

    /// Whether part of a message waits for room.
    pub fn has_rest(&self) -> bool {
        matches!(&self.state, State::Attached(attached) if attached.end.rest() != 0)
    }

    /// Goes on with a message that was sent in part, if there is one.
    pub fn go_on(&mut self) -> Result<Sent> {
        match self.end_mut().map(End::go_on) {
            None | Some(Ok(true)) => Ok(Sent::Yes),
            Some(Ok(false)) => Ok(Sent::Full),
            Some(Err(e)) => Err(broken(e)),
        }
    }

    /// Sends through it; `None` if the session does not go through it.
    pub fn send(&mut self, message: &[u8]) -> Option<Result<Sent>> {
        let end = self.end_mut()?;
        Some(match end.send(message) {
            Ok(true) => Ok(Sent::Yes),
            Ok(false) => Ok(Sent::Full),
            Err(e) => Err(broken(e)),
        })
    }

    /// The session is over.
    pub fn end(&mut self, watcher: &mut Watcher) {
        if !matches!(std::mem::take(&mut self.state), State::None) {
            watcher.withdraw();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_where_the_design_does_not() {
        for (design, variable, result) in [
            (Wanted::Auto, None, Wanted::Auto),
            (Wanted::Auto, Some(" "), Wanted::Auto),
            (Wanted::Auto, Some("off"), Wanted::Off),
            (Wanted::Auto, Some(" on\n"), Wanted::On),
            (Wanted::Off, Some("on"), Wanted::Off),
            (Wanted::On, Some("off"), Wanted::On),
        ] {
            assert_eq!(wanted(design, variable), Ok(result));
        }
        assert_eq!(
            wanted(Wanted::On, Some("yes")).unwrap_err(),
            "ACCELERATOR_SHARED_MEMORY is \"yes\", expected off, auto or on"
        );
    }
}
