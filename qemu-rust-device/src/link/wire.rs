// SPDX-License-Identifier: GPL-2.0-or-later

//! A socket to the simulator and the watch over its connection.

use std::{os::fd::RawFd, time::Instant};

use accelerator_carrier::vanished::{Connection, Found};
use accelerator_protocol::wire::MAX_MESSAGE;
use log::warn;

use super::{descriptors::epoll, watched::Watched, Link, Shared};
use crate::{
    error::LinkError,
    keys::{self, Keys},
};

/// A socket to the simulator and the watch over its connection.
pub(crate) struct Wire {
    // Closed in this order.
    pub(crate) socket: Watched,
    monitor: zmq::Socket,
    /// If it is over TCP.
    connection: Option<Connection>,
    pub(super) connected: bool,
    /// Somebody took a connection, whoever that was.
    pub(super) reached: bool,
    /// Why the last connection did not come to be.
    pub(super) refused: Option<&'static str>,
    keyed: bool,
}

/// How long the goodbye may take to leave when the link is closed.
const LINGER_MS: i32 = 300;

impl Wire {
    /// Begins to connect. At most `queue` messages wait for a peer that does
    /// not read.
    pub(crate) fn new(
        context: &zmq::Context,
        endpoint: &str,
        keys: Option<&Keys>,
        queue: i32,
    ) -> Result<Self, LinkError> {
        let fail = |what| move |e| LinkError::Zmq(what, e);
        let socket = context
            .socket(zmq::DEALER)
            .map_err(fail("cannot make a socket"))?;
        socket
            .set_sndhwm(queue)
            .and_then(|()| socket.set_rcvhwm(256))
            .and_then(|()| socket.set_maxmsgsize(MAX_MESSAGE as i64))
            .and_then(|()| socket.set_linger(0))
            .and_then(|()| socket.set_immediate(true))
            .and_then(|()| socket.set_reconnect_ivl(50))
            .and_then(|()| socket.set_reconnect_ivl_max(500))
            .map_err(fail("cannot set up the socket"))?;
        keys::apply(&socket, keys, endpoint).map_err(fail("cannot set the keys of the socket"))?;
        let address = format!("inproc://monitor-{:x}", random());
        let events = zmq::SocketEvent::CONNECTED.to_raw()
            | zmq::SocketEvent::HANDSHAKE_SUCCEEDED.to_raw()
            | zmq::SocketEvent::DISCONNECTED.to_raw()
            | keys::FAILURES;
        let (socket, monitor) = Watched::new(context, socket, &address, events)
            .map_err(fail("cannot watch the socket"))?;
        let wire = Self {
            socket,
            monitor,
            connection: None,
            connected: false,
            reached: false,
            refused: None,
            keyed: keys.is_some(),
        };
        wire.socket
            .connect(endpoint)
            .map_err(fail("cannot connect to the endpoint"))?;
        Ok(wire)
    }

    /// Those of the socket and its monitor.
    pub(crate) fn descriptors(&self) -> Result<[RawFd; 2], LinkError> {
        let fd = |s: &zmq::Socket| {
            s.get_fd()
                .map_err(|e| LinkError::Zmq("socket has no descriptor", e))
        };
        Ok([fd(&self.socket)?, fd(&self.monitor)?])
    }

    /// Why the other end did not take us, if that was the last that was heard.
    /// ZeroMQ does not knock again after some of these: take a new socket.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        self.refused.filter(|_| !self.connected)
    }

    /// Takes one event of the connection: whether it is there now.
    pub(crate) fn event(&mut self) -> Option<bool> {
        loop {
            let parts = self.monitor.recv_multipart(zmq::DONTWAIT).ok()?;
            let (event, value) = parts.first().and_then(|p| p.get(..6)).map_or((0, 0), |b| {
                (
                    u16::from_ne_bytes([b[0], b[1]]),
                    u32::from_ne_bytes([b[2], b[3], b[4], b[5]]),
                )
            });
            if let Some(why) = keys::failure(event, value, self.keyed) {
                // The least that can be said gives way to what was said before.
                self.refused = match self.refused {
                    Some(old) if event == keys::NO_DETAIL => Some(old),
                    _ => Some(why),
                };
            } else if event == zmq::SocketEvent::CONNECTED.to_raw() {
                self.reached = true;
                self.connection = Connection::new(value, Instant::now());
            } else if event == zmq::SocketEvent::HANDSHAKE_SUCCEEDED.to_raw() {
                self.connected = true;
                return Some(true);
            } else if event == zmq::SocketEvent::DISCONNECTED.to_raw() {
                self.connected = false;
                self.connection = None;
                return Some(false);
            }
        }
    }
}

impl Wire {
    /// Whether there is a connection to a host that may vanish.
    pub(crate) fn may_vanish(&self) -> bool {
        self.connection.is_some()
    }

    /// Looks, if it is time, and ends the connection to a host that has vanished, of
    /// which `name` tells.
    pub(crate) fn end_if_gone(&mut self, now: Instant, name: &str, endpoint: &str) {
        if let Some(Found::Gone { silence }) = self.connection.as_mut().map(|c| c.end_if_gone(now))
        {
            warn!(
                "{name}: nothing has come from the host of {endpoint} for {:.0} s, not even \
                 acknowledgements: the connection is ended",
                silence.as_secs_f32()
            );
        }
    }
}

impl Link {
    /// Ends the connection to a host that has vanished.
    pub(super) fn look_for_the_host(&self, shared: &mut Shared, now: Instant) {
        if let Some(wire) = &mut shared.wire {
            wire.end_if_gone(now, self.name(), &self.settings.endpoint);
        }
    }

    pub(super) fn drop_wire(&self, shared: &mut Shared) {
        if let Some(wire) = shared.wire.take() {
            // A goodbye on its way may take a moment, not longer. Failing to
            // set that leaves it at zero, which only loses the goodbye.
            let _ = wire.socket.set_linger(LINGER_MS);
            if let Ok(fds) = wire.descriptors() {
                for fd in fds {
                    // Closing the socket would do the same a little later.
                    let _ = epoll(&self.inner, libc::EPOLL_CTL_DEL, fd, 0);
                }
            }
        }
    }
}

/// A number that no other session of this device has.
pub(crate) fn random() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is valid for its length; the result is not needed,
    // since time and process id alone already make the number differ.
    unsafe {
        libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK);
    }
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64);
    u64::from_le_bytes(bytes) ^ now.rotate_left(20) ^ u64::from(std::process::id())
}
