// SPDX-License-Identifier: GPL-2.0-or-later

//! A socket to the simulator and the watch over its connection.

use std::{os::fd::RawFd, time::Instant};

use accelerator_carrier::{
    descriptors::Epoll,
    vanished::{Connection, Found},
};
use accelerator_protocol::knock::Change;
use accelerator_socket::{
    handshake::{self, Failure},
    options::{self, LINGER},
    watched::{self, Events, Next, Watched},
};
use log::warn;

use super::{Link, Shared};
use crate::{
    error::{system, LinkError},
    keys::{self, Keys},
};

/// A socket to the simulator and the watch over its connection.
pub(crate) struct Wire {
    // Closed in this order.
    pub(crate) socket: Watched,
    monitor: Events,
    /// If it is over TCP.
    connection: Option<Connection>,
    pub(super) connected: bool,
    /// Somebody took a connection, whoever that was.
    pub(super) reached: bool,
    /// Why the last connection did not come to be.
    pub(super) refused: Option<&'static str>,
    keyed: bool,
}

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
        options::set(&socket, endpoint)
            .and_then(|()| socket.set_sndhwm(queue))
            .and_then(|()| socket.set_linger(0))
            .and_then(|()| socket.set_immediate(true))
            .and_then(|()| socket.set_reconnect_ivl(50))
            .and_then(|()| socket.set_reconnect_ivl_max(500))
            .map_err(fail("cannot set up the socket"))?;
        if let Some(Keys { pair, server }) = keys {
            accelerator_socket::keys::connect(&socket, pair, server)
                .map_err(fail("cannot set the keys of the socket"))?;
        }
        let events = zmq::SocketEvent::CONNECTED.to_raw()
            | zmq::SocketEvent::HANDSHAKE_SUCCEEDED.to_raw()
            | zmq::SocketEvent::DISCONNECTED.to_raw()
            | handshake::EVENTS;
        let (monitor, socket) =
            watched::watch(context, socket, events).map_err(fail("cannot watch the socket"))?;
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
    fn descriptors(&self) -> Result<[RawFd; 2], LinkError> {
        self.socket
            .get_fd()
            .and_then(|socket| Ok([socket, self.monitor.descriptor()?]))
            .map_err(|e| LinkError::Zmq("socket has no descriptor", e))
    }

    /// Has them wake whoever sleeps on `epoll`, with these tags.
    pub(crate) fn watch(&self, epoll: &Epoll, tags: [u64; 2]) -> Result<(), LinkError> {
        for (fd, tag) in self.descriptors()?.into_iter().zip(tags) {
            epoll
                .add(fd, tag)
                .map_err(system("cannot watch a descriptor"))?;
        }
        Ok(())
    }

    /// Has them wake nobody any more. Closing the socket would do the same a little later.
    pub(crate) fn unwatch(&self, epoll: &Epoll) {
        for fd in self.descriptors().into_iter().flatten() {
            epoll.remove(fd);
        }
    }

    /// Closes it soon: what was sent, a goodbye for instance, may take a moment to leave.
    pub(crate) fn linger(&self) {
        // Failing to set that leaves it at zero, which only loses the goodbye.
        let _ = self.socket.set_linger(options::ms(LINGER));
    }

    /// What has become of the connection, if that is news. That it was refused is no news and
    /// told each time: ZeroMQ does not knock again after some refusals.
    pub(crate) fn change(&mut self) -> Option<Change> {
        loop {
            let (event, value) = match self.monitor.next() {
                Next::Event { event, value, .. } => (event, value),
                Next::Unknown => continue,
                Next::Nothing | Next::End => {
                    let refused = self.refused.filter(|_| !self.connected);
                    return refused.map(Change::Refused);
                }
            };
            match event {
                zmq::SocketEvent::CONNECTED => {
                    self.reached = true;
                    self.connection = Connection::new(value, Instant::now());
                }
                zmq::SocketEvent::HANDSHAKE_SUCCEEDED => {
                    self.connected = true;
                    return Some(Change::There);
                }
                zmq::SocketEvent::DISCONNECTED => {
                    self.connected = false;
                    self.connection = None;
                    return Some(Change::Lost);
                }
                event => {
                    if let Some(failure) = Failure::of(event, value) {
                        let why = keys::failure(failure, self.keyed);
                        // The least that can be said gives way to what was said before.
                        self.refused = match self.refused {
                            Some(old) if failure == Failure::HungUp => Some(old),
                            _ => Some(why),
                        };
                    }
                }
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
            wire.linger();
            wire.unwatch(&self.inner);
        }
    }
}
