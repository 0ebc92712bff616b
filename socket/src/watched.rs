// SPDX-License-Identifier: MIT OR Apache-2.0

//! A socket whose connections are watched through libzmq's monitor.
//!
//! The threads of libzmq write the events, and wait while nobody can take them:
//! for ever, if the socket that reads them was closed, or if the watched one is
//! closed while they write (libzmq's issue 3575). Then nothing is sent or received
//! in that context any more. So the monitor is stopped before the watched socket
//! closes, which [`Watched`] does, the reader lives longer than that, and what
//! it has not read yet is kept without a limit.

use std::{
    ops::Deref,
    sync::atomic::{AtomicU64, Ordering},
};

/// All events but the one that the monitor ends: it waits for nobody then.
pub const ALL: u16 = zmq::SocketEvent::ALL as u16 & !(zmq::SocketEvent::MONITOR_STOPPED as u16);

/// A socket with an active monitor.
pub struct Watched(zmq::Socket);

/// The reading end of a monitor. Has to live until the [`Watched`] is gone.
pub struct Events(zmq::Socket);

/// What a look at the monitor found.
pub enum Next {
    /// Nothing more at the moment.
    Nothing,
    /// Something of no interest.
    Unknown,
    /// An event.
    Event {
        /// Which.
        event: zmq::SocketEvent,
        /// A descriptor, an error number or an interval, as the event has it.
        value: u32,
        /// Endpoint that it is about.
        address: String,
    },
    /// Nothing more will come.
    End,
}

/// An address for events that nobody else has.
fn address() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("inproc://monitor-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Has `events` of a socket be read from what is returned beside it. The order of
/// the pair is the one in which a pattern has to bind it, so that the socket is
/// dropped first.
///
/// # Errors
///
/// Of libzmq.
pub fn watch(
    context: &zmq::Context,
    socket: zmq::Socket,
    events: u16,
) -> zmq::Result<(Events, Watched)> {
    watch_at(context, socket, events, &address())
}

fn watch_at(
    context: &zmq::Context,
    socket: zmq::Socket,
    events: u16,
    address: &str,
) -> zmq::Result<(Events, Watched)> {
    let reader = context.socket(zmq::PAIR)?;
    reader.set_linger(0)?;
    reader.set_rcvhwm(0)?;
    // Stopping sends no event then, so that it waits for nobody.
    socket.monitor(address, i32::from(events & ALL))?;
    let watched = Watched(socket);
    reader.connect(address)?;
    Ok((Events(reader), watched))
}

impl Deref for Watched {
    type Target = zmq::Socket;

    fn deref(&self) -> &zmq::Socket {
        &self.0
    }
}

impl Watched {
    /// Sets an option that the crate `zmq` has no method for.
    ///
    /// # Errors
    ///
    /// Of libzmq.
    pub fn set_option(&mut self, option: u32, value: i32) -> zmq::Result<()> {
        // SAFETY: the socket is open, and the value valid for its size, which is
        // that of the option.
        let rc = unsafe {
            zmq_sys::zmq_setsockopt(
                self.0.as_mut_ptr(),
                option as i32,
                std::ptr::from_ref(&value).cast(),
                std::mem::size_of::<i32>(),
            )
        };
        // SAFETY: no preconditions.
        let error = || zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() });
        if rc == 0 {
            Ok(())
        } else {
            Err(error())
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: the socket is open, and null ends its monitor. That it had none
        // is the only way to fail.
        unsafe { zmq_sys::zmq_socket_monitor(self.0.as_mut_ptr(), std::ptr::null(), 0) };
    }
}

impl Events {
    /// The descriptor that tells that there may be events.
    ///
    /// # Errors
    ///
    /// Of libzmq.
    pub fn descriptor(&self) -> zmq::Result<zmq_sys::RawFd> {
        self.0.get_fd()
    }

    /// For [`zmq::poll`]: whether there are events.
    pub fn as_poll_item(&self) -> zmq::PollItem<'_> {
        self.0.as_poll_item(zmq::POLLIN)
    }

    /// Takes the next event, without waiting.
    pub fn next(&self) -> Next {
        let event = loop {
            match self.0.recv_bytes(zmq::DONTWAIT) {
                Ok(event) => break event,
                Err(zmq::Error::EAGAIN) => return Next::Nothing,
                Err(zmq::Error::EINTR) => {}
                Err(_) => return Next::End,
            }
        };
        let Ok(address) = self.0.recv_bytes(zmq::DONTWAIT) else {
            return Next::End;
        };
        match decode(&event) {
            Some((event, value)) => Next::Event {
                event,
                value,
                address: String::from_utf8_lossy(&address).into_owned(),
            },
            None => Next::Unknown,
        }
    }
}

/// Event and value of the first part of a monitor message, format 1.
fn decode(bytes: &[u8]) -> Option<(zmq::SocketEvent, u32)> {
    let event = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let value = u32::from_ne_bytes(bytes.get(2..6)?.try_into().ok()?);
    // `from_raw` panics for events that the crate does not know.
    let event = match event {
        0x0001..=0x0400 if event.is_power_of_two() => zmq::SocketEvent::from_raw(event),
        0x0800 | 0x1000 | 0x2000 | 0x4000 => zmq::SocketEvent::from_raw(event),
        _ => return None,
    };
    Some((event, value))
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc::channel,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn unknown_events_are_passed_over() {
        let event = |e: u16| {
            let mut bytes = e.to_ne_bytes().to_vec();
            bytes.extend(7_u32.to_ne_bytes());
            decode(&bytes)
        };
        for bit in 0..16 {
            let known = event(1 << bit);
            assert_eq!(known.is_some(), bit < 15, "bit {bit}");
        }
        assert_eq!(event(0), None);
        assert_eq!(event(3), None);
        assert_eq!(decode(&[1, 0, 0]), None);
        assert_eq!(event(0x200), Some((zmq::SocketEvent::DISCONNECTED, 7)));
    }

    /// A socket that lingers is there after it was closed, and its monitor would be as well.
    #[test]
    fn the_monitor_is_stopped_before_the_socket_closes() {
        let context = zmq::Context::new();
        let reader = context.socket(zmq::PULL).unwrap();
        reader.set_rcvhwm(1).unwrap();
        reader.bind("tcp://127.0.0.1:*").unwrap();
        let endpoint = reader.get_last_endpoint().unwrap().unwrap();
        let push = context.socket(zmq::PUSH).unwrap();
        push.set_linger(30_000).unwrap();
        push.set_sndhwm(1).unwrap();
        const ADDRESS: &str = "inproc://monitor-of-a-test";
        let (events, socket) = watch_at(&context, push, ALL, ADDRESS).unwrap();
        socket.connect(&endpoint).unwrap();
        // Until nobody takes any more: some of it has to linger.
        socket.set_sndtimeo(200).unwrap();
        while socket.send(vec![0; 1 << 20], 0).is_ok() {}
        drop(socket);
        // The monitor's address is free when it has stopped.
        let begin = Instant::now();
        let next = context.socket(zmq::PAIR).unwrap();
        while next.bind(ADDRESS).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(10),
                "the monitor goes on"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(events);
        // What lingers is taken.
        reader.set_rcvtimeo(200).unwrap();
        while reader.recv_bytes(0).is_ok() {}
    }

    /// Many connections come and go while nobody reads, and then the socket is
    /// closed: neither keeps libzmq's threads waiting for a reader.
    #[test]
    fn nobody_waits_for_a_reader_of_the_events() {
        let (done, ended) = channel();
        std::thread::spawn(move || {
            let context = zmq::Context::new();
            let router = context.socket(zmq::ROUTER).unwrap();
            router.set_linger(0).unwrap();
            let (events, socket) = watch(&context, router, ALL).unwrap();
            socket.bind("tcp://127.0.0.1:*").unwrap();
            let endpoint = socket.get_last_endpoint().unwrap().unwrap();
            let address = endpoint.strip_prefix("tcp://").unwrap();
            // Three events each, and libzmq keeps 1,000 without being told.
            for _ in 0..600 {
                drop(std::net::TcpStream::connect(address).unwrap());
            }
            // The thread that accepts is still there.
            let peer = zmq::Context::new().socket(zmq::DEALER).unwrap();
            peer.set_linger(0).unwrap();
            peer.connect(&endpoint).unwrap();
            peer.send("after all", 0).unwrap();
            socket.set_rcvtimeo(20_000).unwrap();
            assert_eq!(socket.recv_multipart(0).unwrap()[1], b"after all");
            drop(peer);
            drop(socket);
            drop(events);
            drop(context);
            done.send(()).unwrap();
        });
        ended.recv_timeout(Duration::from_secs(60)).unwrap();
    }
}
