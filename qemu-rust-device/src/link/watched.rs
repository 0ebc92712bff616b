// SPDX-License-Identifier: GPL-2.0-or-later

//! A socket whose connections are watched through libzmq's monitor.
//!
//! The watch has to end before the socket closes: libzmq's I/O thread would go on telling of a
//! socket that closes, to a monitor that is gone, and wait for room there for ever (libzmq's
//! issue 3575). [`Watched`] does both, in that order, and nobody else has the socket itself.

use std::ops::Deref;

/// A socket with an active monitor.
pub(crate) struct Watched(zmq::Socket);

impl Watched {
    /// Has `events` of the socket told to what is returned beside it, which has to live longer.
    /// `address` belongs to them alone.
    pub(crate) fn new(
        context: &zmq::Context,
        socket: zmq::Socket,
        address: &str,
        events: u16,
    ) -> zmq::Result<(Self, zmq::Socket)> {
        let monitor = context.socket(zmq::PAIR)?;
        monitor.set_linger(0)?;
        socket.monitor(address, i32::from(events))?;
        let watched = Self(socket);
        monitor.connect(address)?;
        Ok((watched, monitor))
    }
}

impl Deref for Watched {
    type Target = zmq::Socket;

    fn deref(&self) -> &zmq::Socket {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the socket is open; without an address its watch is ended, as
        // the manual of the function says. It cannot fail for an open socket.
        unsafe { zmq_sys::zmq_socket_monitor(self.0.as_mut_ptr(), std::ptr::null(), 0) };
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A socket that lingers is there after it was closed, and its watch would be as well.
    #[test]
    fn the_watch_ends_before_the_socket_does() {
        const ADDRESS: &str = "inproc://watch-of-a-test";
        let context = zmq::Context::new();
        let reader = context.socket(zmq::PULL).unwrap();
        reader.set_rcvhwm(1).unwrap();
        reader.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = reader.get_last_endpoint().unwrap().unwrap();
        let socket = context.socket(zmq::PUSH).unwrap();
        socket.set_linger(30_000).unwrap();
        socket.set_sndhwm(1).unwrap();
        let events = zmq::SocketEvent::CONNECTED.to_raw();
        let (watched, monitor) = Watched::new(&context, socket, ADDRESS, events).unwrap();
        watched.connect(&endpoint).unwrap();
        // Until nobody takes any more: some of it has to linger.
        watched.set_sndtimeo(200).unwrap();
        while watched.send(vec![0; 1 << 20], 0).is_ok() {}
        drop(watched);
        // Its address is free when the watch has ended.
        let begin = Instant::now();
        let next = context.socket(zmq::PAIR).unwrap();
        while next.bind(ADDRESS).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "the watch goes on"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(monitor);
        // What lingers is taken.
        reader.set_rcvtimeo(200).unwrap();
        while reader.recv_bytes(0).is_ok() {}
    }
}
