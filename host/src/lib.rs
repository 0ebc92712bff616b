// SPDX-License-Identifier: MIT OR Apache-2.0

//! The host's end of a session without QEMU.
//!
//! * [`socket`] is the DEALER socket that connects to a simulator;
//! * [`shared`] gets the shared memory that a simulator offers;
//! * [`connection`] is both with a session: messages go whichever way the session has taken;
//! * [`channel`] is a NIC or serial channel beside it.
//!
//! What the frames ask for is up to whoever uses this: nothing here has memory of a guest.

pub mod channel;
pub mod connection;
pub mod shared;
pub mod socket;

use std::{fmt, io, time::Duration};

use accelerator_carrier::Broken;
use accelerator_protocol::host::Violation;
use accelerator_socket::handshake::Failure;

pub use channel::Channel;
pub use connection::Connection;
pub use socket::Keys;

/// How long a simulator may take in nothing of what is sent. One that is being traced or
/// debugged is slow.
const STUCK: Duration = Duration::from_secs(60);

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// ZeroMQ refused something.
    Zmq {
        /// What was wanted of it.
        what: String,
        /// Its answer.
        error: zmq::Error,
    },
    /// The system did.
    System {
        /// What was wanted of it.
        what: String,
        /// Its answer.
        error: io::Error,
    },
    /// The keys cannot be used.
    Keys(String),
    /// The two ends do not suit each other.
    Handshake(Failure),
    /// The device broke the protocol.
    Violation(Violation),
    /// The device broke a ring of the shared memory.
    Broken(Broken),
    /// The device is gone without a word.
    Gone,
    /// It does not take in what is sent.
    Stuck,
    /// It does not answer.
    Silent,
    /// It has ended the session of a channel.
    Ended(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zmq { what, error } => write!(f, "{what}: {error}"),
            Self::System { what, error } => write!(f, "{what}: {error}"),
            Self::Keys(text) => f.write_str(text),
            Self::Handshake(failure) => f.write_str(match failure {
                Failure::HungUp => "the simulator hung up: do both sides use keys, or neither?",
                Failure::OtherKeys => "the simulator's key is another one than that given",
                Failure::OneSided => "only one of simulator and replay uses keys",
                Failure::Refused => "the simulator does not know our key",
                Failure::NoZeroMq => "what answers there is no simulator",
            }),
            Self::Violation(v) => write!(f, "the simulator broke the protocol: {v}"),
            Self::Broken(b) => write!(f, "the simulator broke the shared memory: {b}"),
            Self::Gone => f.write_str("the simulator is gone without a word"),
            Self::Stuck => f.write_str("the simulator does not take in what is sent"),
            Self::Silent => f.write_str("the simulator does not answer"),
            Self::Ended(why) => write!(f, "the simulator ended the session: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Violation> for Error {
    fn from(v: Violation) -> Self {
        Self::Violation(v)
    }
}

impl From<Broken> for Error {
    fn from(b: Broken) -> Self {
        Self::Broken(b)
    }
}

fn zmq_error(what: &str) -> impl FnOnce(zmq::Error) -> Error + '_ {
    move |error| Error::Zmq {
        what: what.to_owned(),
        error,
    }
}

fn system(what: &str) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| Error::System {
        what: what.to_owned(),
        error,
    }
}
