// SPDX-License-Identifier: MIT OR Apache-2.0

//! The socket of a host.

use accelerator_protocol::keys::{Key, Pair};
use accelerator_socket::options;

use crate::{zmq_error, Error};

/// Whose keys are used.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Our own.
    pub own: Pair,
    /// The simulator's.
    pub server: Key,
}

impl Keys {
    pub(crate) const fn both(&self) -> (&Pair, &Key) {
        (&self.own, &self.server)
    }
}

/// Connects to a simulator, whether it is there yet or not; with keys, to the owner of the
/// second.
///
/// # Errors
///
/// Of the socket or the keys.
pub fn dealer(
    context: &zmq::Context,
    endpoint: &str,
    keys: Option<(&Pair, &Key)>,
) -> Result<zmq::Socket, Error> {
    let socket = unconnected(context, endpoint, keys)?;
    connect(&socket, endpoint)?;
    Ok(socket)
}

/// As [`dealer`], before it connects to `endpoint`.
pub(crate) fn unconnected(
    context: &zmq::Context,
    endpoint: &str,
    keys: Option<(&Pair, &Key)>,
) -> Result<zmq::Socket, Error> {
    let socket = context
        .socket(zmq::DEALER)
        .map_err(zmq_error("cannot make a socket"))?;
    options::set(&socket, endpoint)
        .and_then(|()| socket.set_linger(options::ms(options::LINGER)))
        .and_then(|()| socket.set_reconnect_ivl(20))
        // One that takes in nothing is told of, as of shared memory.
        .and_then(|()| socket.set_sndtimeo(options::ms(crate::STUCK)))
        .map_err(zmq_error("cannot set up the socket"))?;
    if let Some((pair, server)) = keys {
        accelerator_curve::connect(&socket, pair, server).map_err(Error::Keys)?;
    }
    Ok(socket)
}

pub(crate) fn connect(socket: &zmq::Socket, endpoint: &str) -> Result<(), Error> {
    socket
        .connect(endpoint)
        .map_err(zmq_error(&format!("cannot connect to {endpoint}")))
}
