// SPDX-License-Identifier: GPL-2.0-or-later

//! The ZeroMQ context of a link or a channel.

use accelerator_socket::context::{self, Needs};

use crate::error::LinkError;

/// A machine that runs must not end because a card is plugged in.
const NEEDS: Needs = Needs {
    // Of libzmq and of the link, which begins soon after.
    threads: 3,
    // An epoll instance and an eventfd for each of libzmq's threads, eventfds for the context
    // and three sockets, the connection; four times as many.
    descriptors: 36,
    memory: Some(64 << 20),
};

/// A context with its threads.
///
/// # Errors
///
/// What libzmq or the link would need is not to be had.
pub(crate) fn start() -> Result<zmq::Context, LinkError> {
    let (context, _) =
        context::start(&NEEDS, |context| context.socket(zmq::PAIR)).map_err(LinkError::Lack)?;
    Ok(context)
}
