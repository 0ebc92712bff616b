// SPDX-License-Identifier: MIT OR Apache-2.0

//! The host's end of a NIC or serial channel.

use std::time::{Duration, Instant};

use accelerator_carrier::random::session_number;
use accelerator_protocol::channel::{ChannelEvent, ChannelKind, HostChannel};

use crate::{
    socket::{self, Keys},
    zmq_error, Error,
};

/// Waits until one of these has something, or something else happens.
pub fn wait(channels: &[Channel], timeout: Duration) {
    let items = channels.iter().map(|c| c.socket.as_poll_item(zmq::POLLIN));
    let ms = i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX);
    // Whoever calls this looks, and is told what is wrong.
    let _ = zmq::poll(&mut items.collect::<Vec<_>>(), ms);
}

/// A channel, with one session after the other.
pub struct Channel {
    socket: zmq::Socket,
    kind: ChannelKind,
    window: u32,
    session: HostChannel,
    out: Vec<u8>,
    /// Why the session is over, if the device has ended it.
    ended: Option<String>,
    // After the socket, so that it is dropped last.
    _context: zmq::Context,
}

impl Channel {
    /// Connects, whether somebody is there yet or not. `window`: frames or bytes that the device
    /// may send before they are taken in.
    ///
    /// # Errors
    ///
    /// Of the socket or the keys.
    pub fn new(
        endpoint: &str,
        kind: ChannelKind,
        window: u32,
        keys: Option<&Keys>,
    ) -> Result<Self, Error> {
        let context = zmq::Context::new();
        Ok(Self {
            socket: socket::dealer(&context, endpoint, keys.map(Keys::both))?,
            kind,
            window,
            session: HostChannel::new(kind, session_number(), window),
            out: Vec::new(),
            ended: None,
            _context: context,
        })
    }

    /// The socket, to wait for.
    pub(crate) const fn socket(&self) -> &zmq::Socket {
        &self.socket
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        self.session.is_up()
    }

    /// Begins a session as `name`, and waits until the device has accepted it. What comes with
    /// that is handed to `take`.
    ///
    /// # Errors
    ///
    /// It refuses, or does not answer in time.
    pub fn open(
        &mut self,
        name: &str,
        mac: [u8; 6],
        timeout: Duration,
        mut take: impl FnMut(ChannelEvent<'_>),
    ) -> Result<(), Error> {
        self.session = HostChannel::new(self.kind, session_number(), self.window);
        self.ended = None;
        self.session.open(name, mac, &mut self.out);
        self.flush()?;
        let deadline = Instant::now() + timeout;
        while !self.is_up() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Silent);
            }
            // Interrupted is as good as nothing.
            let ms = i64::try_from(left.as_millis())
                .unwrap_or(i64::MAX)
                .clamp(1, 50);
            let _ = self.socket.poll(zmq::POLLIN, ms);
            self.pump(&mut take)?;
        }
        Ok(())
    }

    /// Takes in all messages that are there. Whether any was.
    ///
    /// # Errors
    ///
    /// Of the socket; the device has ended the session, or broke the protocol.
    pub fn pump(&mut self, mut take: impl FnMut(ChannelEvent<'_>)) -> Result<bool, Error> {
        let mut any = false;
        loop {
            let message = match self.socket.recv_bytes(zmq::DONTWAIT) {
                Ok(message) => message,
                Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => break,
                Err(e) => return Err(zmq_error("cannot receive")(e)),
            };
            any = true;
            let mut rest: &[u8] = &message;
            while !rest.is_empty() {
                let (event, tail) = self.session.frame(rest)?;
                rest = tail;
                match event {
                    // What came is taken at once.
                    ChannelEvent::Frame(_) => self.session.consumed(1, &mut self.out),
                    ChannelEvent::Bytes(bytes) => {
                        // At most 4,096.
                        self.session.consumed(bytes.len() as u32, &mut self.out);
                    }
                    ChannelEvent::Down { reason, text } => {
                        self.ended = Some(format!("{reason:?} {text}").trim_end().to_owned());
                    }
                    _ => {}
                }
                take(event);
            }
        }
        self.flush()?;
        match self.ended.take() {
            Some(why) => Err(Error::Ended(why)),
            None => Ok(any),
        }
    }

    /// Sends a frame; false without credit or session.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn send_frame(&mut self, data: &[u8]) -> Result<bool, Error> {
        let sent = self.session.send_frame(data, &mut self.out);
        self.flush()?;
        Ok(sent)
    }

    /// Sends the first of these bytes; how many there was credit for.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn send_bytes(&mut self, data: &[u8]) -> Result<usize, Error> {
        let sent = self.session.send_bytes(data, &mut self.out);
        self.flush()?;
        Ok(sent)
    }

    /// Ends the session in order, if there is one.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn close(&mut self) -> Result<(), Error> {
        if self.is_up() {
            self.session.close(&mut self.out);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = self.socket.send(&self.out, 0);
        self.out.clear();
        match sent {
            Err(zmq::Error::EAGAIN) => Err(Error::Stuck),
            sent => sent.map_err(zmq_error("cannot send to the simulator")),
        }
    }
}
