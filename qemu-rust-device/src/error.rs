// SPDX-License-Identifier: GPL-2.0-or-later

//! What can go wrong before a link is there.

use std::{fmt, io, time::Duration};

use accelerator_socket::context::Lack;

/// A link that could not be made, or is not usable any more.
#[derive(Debug)]
pub enum LinkError {
    /// The system refused something.
    System(&'static str, io::Error),
    /// The system has not what a socket needs.
    Lack(Lack),
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
        /// Whether somebody took a connection, who need not speak our language.
        reached: bool,
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
            Self::Lack(lack) => lack.fmt(f),
            Self::Zmq(what, e) => write!(f, "{what}: {e}"),
            Self::Timeout {
                endpoint,
                waited,
                connected,
                reached,
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
                } else if *reached {
                    write!(
                        f,
                        "what listens at {endpoint} takes connections and is no simulator: it did \
                         not say within {seconds:.1} s that it speaks ZeroMQ's protocol (is another \
                         server there? see the properties endpoint and port)"
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

/// An error of the system, with what was wanted of it.
pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> LinkError {
    move |e| LinkError::System(what, e)
}
