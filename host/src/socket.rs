// SPDX-License-Identifier: MIT OR Apache-2.0

//! The socket of a host.

use std::time::{SystemTime, UNIX_EPOCH};

use accelerator_protocol::{
    keys::{Key, Pair},
    wire::MAX_MESSAGE,
};

use crate::{zmq_error, Error};

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
    let socket = unconnected(context, keys)?;
    connect(&socket, endpoint)?;
    Ok(socket)
}

/// As [`dealer`], before it connects.
pub(crate) fn unconnected(
    context: &zmq::Context,
    keys: Option<(&Pair, &Key)>,
) -> Result<zmq::Socket, Error> {
    let socket = context
        .socket(zmq::DEALER)
        .map_err(zmq_error("cannot make a socket"))?;
    socket
        .set_linger(200)
        .and_then(|()| socket.set_maxmsgsize(MAX_MESSAGE as i64))
        .and_then(|()| socket.set_reconnect_ivl(20))
        // One that takes in nothing is told of, as of shared memory.
        .and_then(|()| socket.set_sndtimeo(crate::STUCK.as_millis() as i32))
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

/// A number that no other session has of which a device may still hear.
pub fn session_number() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64)
        ^ (u64::from(std::process::id()) << 40)
}
