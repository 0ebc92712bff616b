// SPDX-License-Identifier: MIT OR Apache-2.0

//! Keys of a connection.

use accelerator_protocol::keys::{Key, Pair};

/// Has a socket that will be connected prove who it is, and talk to nobody but the owner of
/// `server`.
///
/// # Errors
///
/// Of libzmq; `EINVAL` from one without CURVE.
pub fn connect(socket: &zmq::Socket, pair: &Pair, server: &Key) -> zmq::Result<()> {
    socket.set_curve_publickey(&pair.public)?;
    socket.set_curve_secretkey(&pair.secret)?;
    socket.set_curve_serverkey(server)
}
