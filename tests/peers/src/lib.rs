// SPDX-License-Identifier: MIT OR Apache-2.0

//! The two ends of the protocol, each without its big half:
//!
//! * [`HdlEndpoint`] is what the simulator and the DPI library are to QEMU. It
//!   binds the socket and does one step at a time, as a test tells it;
//!   [`hdl::RawEndpoint`] below it sends whatever bytes a hostile test wants.
//! * [`GuestEndpoint`] is what QEMU is to the simulator: it connects, accesses
//!   BARs and serves DMA from a `Vec<u8>`.
//! * [`RegisterDevice`] is a small device with registers, a buffer, DMA and
//!   interrupts, for the program `accelerator-endpoint` and for tests that want
//!   a device rather than frames.
//! * [`channel::HostPeer`] and [`channel::DevicePeer`] are the two ends of a NIC
//!   or serial channel.
//!
//! Every wait has an end: methods that wait take a timeout and their error says
//! what they waited for.

#![forbid(unsafe_code)]

pub mod channel;
pub mod device;
pub mod guest;
pub mod hdl;
pub mod memory;

use std::{fmt, time::Duration};

use accelerator_protocol::{
    config::ConfigError,
    host::Violation,
    wire::{Reason, Status},
};

pub use accelerator_curve::new_pair;
pub use device::RegisterDevice;
pub use guest::GuestEndpoint;
pub use hdl::{Event, HdlEndpoint};

/// How long tests wait for something that has to come. Generous, since nothing
/// depends on it but how long a failing test takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What went wrong at one of the endpoints.
#[derive(Debug)]
pub enum Error {
    /// ZeroMQ refused something.
    Zmq {
        /// What we wanted of it.
        what: String,
        /// Its answer.
        error: zmq::Error,
    },
    /// Something did not come in time.
    Timeout {
        /// What we waited for.
        what: String,
        /// For how long.
        waited: Duration,
    },
    /// Something else came first.
    Unexpected {
        /// What we waited for.
        expected: String,
        /// What came.
        found: String,
    },
    /// The peer broke the protocol.
    Violation(Violation),
    /// Our own configuration breaks a rule.
    Config(ConfigError),
    /// The peer ended the session or does not want it.
    Down {
        /// Machine readable.
        reason: Reason,
        /// For a person.
        text: String,
    },
    /// A request ended with an error.
    Status {
        /// The request.
        what: String,
        /// How it ended.
        status: Status,
    },
    /// We may not send this now: no session, a full window, a bad argument.
    Refused(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zmq { what, error } => write!(f, "{what}: {error}"),
            Self::Timeout { what, waited } => {
                write!(f, "no {what} within {:.1} s", waited.as_secs_f32())
            }
            Self::Unexpected { expected, found } => write!(f, "expected {expected}, got {found}"),
            Self::Violation(v) => write!(f, "the peer broke the protocol: {v}"),
            Self::Config(e) => e.fmt(f),
            Self::Down { reason, text } => {
                write!(f, "the peer ended the session ({reason:?})")?;
                if text.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {text}")
                }
            }
            Self::Status { what, status } => write!(f, "{what} ended with {status:?}"),
            Self::Refused(what) => write!(f, "cannot send: {what}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Violation> for Error {
    fn from(v: Violation) -> Self {
        Self::Violation(v)
    }
}

impl From<accelerator_host::Error> for Error {
    fn from(e: accelerator_host::Error) -> Self {
        match e {
            accelerator_host::Error::Zmq { what, error } => Self::Zmq { what, error },
            accelerator_host::Error::Violation(v) => Self::Violation(v),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl From<ConfigError> for Error {
    fn from(e: ConfigError) -> Self {
        Self::Config(e)
    }
}

fn zmq_error(what: &str) -> impl FnOnce(zmq::Error) -> Error + '_ {
    move |error| Error::Zmq {
        what: what.to_owned(),
        error,
    }
}

/// Rounded up to whole milliseconds, so that a loop with a deadline does not
/// spin through its last one.
fn poll_ms(d: Duration) -> i64 {
    i64::try_from(d.as_micros().div_ceil(1000)).unwrap_or(i64::MAX)
}
