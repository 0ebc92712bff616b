// SPDX-License-Identifier: MIT OR Apache-2.0

//! The two ends of a NIC or serial channel: [`HostPeer`] is what QEMU is to the
//! simulator, [`DevicePeer`] what the simulator is to QEMU. What comes is kept
//! until the test takes it, and only then the other end gets credit for it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind, DeviceChannel, HostChannel},
    keys::{Key, Pair},
    wire::Reason,
};

use crate::{hdl::RawEndpoint, poll_ms, zmq_error, Error};

/// What came and was not taken yet.
#[derive(Debug, Default)]
pub struct Inbox {
    frames: VecDeque<Vec<u8>>,
    bytes: Vec<u8>,
    /// The other end's link.
    pub link: bool,
    /// Changes of that link that were told.
    pub link_changes: u32,
    /// Sessions that began.
    pub sessions: u32,
    /// MAC address that a host told.
    pub mac: [u8; 6],
    /// Why the last session ended, if none has begun since.
    pub down: Option<(Reason, String)>,
}

impl Inbox {
    fn event(&mut self, event: ChannelEvent<'_>) {
        match event {
            ChannelEvent::Opened { mac, link, .. } => {
                self.begin(link);
                self.mac = mac;
            }
            ChannelEvent::Accepted { link } => self.begin(link),
            ChannelEvent::Down { reason, text } => {
                self.down = Some((reason, text.raw().to_owned()))
            }
            ChannelEvent::Frame(data) => self.frames.push_back(data.to_vec()),
            ChannelEvent::Bytes(data) => self.bytes.extend_from_slice(data),
            ChannelEvent::Link(up) => {
                self.link = up;
                self.link_changes += 1;
            }
            ChannelEvent::Credit | ChannelEvent::Ignored => {}
        }
    }

    fn begin(&mut self, link: bool) {
        self.frames.clear();
        self.bytes.clear();
        self.link = link;
        self.sessions += 1;
        self.down = None;
    }

    /// Frames that wait.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Methods that both ends have.
macro_rules! both {
    ($peer:ident) => {
        impl $peer {
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

            /// Takes the oldest frame that waits, for which the other end gets
            /// credit.
            ///
            /// # Errors
            ///
            /// Of the socket.
            pub fn take_frame(&mut self) -> Result<Option<Vec<u8>>, Error> {
                let frame = self.inbox.frames.pop_front();
                if frame.is_some() {
                    self.session.consumed(1, &mut self.out);
                    self.flush()?;
                }
                Ok(frame)
            }

            /// Takes at most `limit` of the bytes that wait.
            ///
            /// # Errors
            ///
            /// Of the socket.
            pub fn take_bytes(&mut self, limit: usize) -> Result<Vec<u8>, Error> {
                let count = limit.min(self.inbox.bytes.len());
                let bytes: Vec<u8> = self.inbox.bytes.drain(..count).collect();
                self.session.consumed(count as u32, &mut self.out);
                self.flush()?;
                Ok(bytes)
            }

            /// Sets our own link.
            ///
            /// # Errors
            ///
            /// Of the socket.
            pub fn set_link(&mut self, up: bool) -> Result<(), Error> {
                self.session.set_link(up, &mut self.out);
                self.flush()
            }

            /// Receives until `done` says so.
            ///
            /// # Errors
            ///
            /// A timeout that names `what`, a broken protocol, the socket.
            pub fn pump_until(
                &mut self,
                what: &str,
                timeout: Duration,
                mut done: impl FnMut(&mut Self) -> bool,
            ) -> Result<(), Error> {
                let deadline = Instant::now() + timeout;
                while !done(self) {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(Error::Timeout {
                            what: what.to_owned(),
                            waited: timeout,
                        });
                    }
                    self.pump(left.min(Duration::from_millis(50)))?;
                }
                Ok(())
            }
        }
    };
}

/// The host's end.
pub struct HostPeer {
    socket: zmq::Socket,
    /// The session, for what a test wants to say itself.
    pub session: HostChannel,
    /// What came.
    pub inbox: Inbox,
    out: Vec<u8>,
    // After the socket, so that it is dropped last.
    _context: zmq::Context,
}

both!(HostPeer);

impl HostPeer {
    /// Connects and sends OPEN, without waiting for the answer. `window`: what
    /// the host keeps at most.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn open(
        endpoint: &str,
        kind: ChannelKind,
        mac: [u8; 6],
        window: u32,
    ) -> Result<Self, Error> {
        Self::open_keyed(endpoint, kind, mac, window, None)
    }

    /// As [`HostPeer::open`]; with keys, to the owner of the second.
    ///
    /// # Errors
    ///
    /// Of the socket or the keys.
    pub fn open_keyed(
        endpoint: &str,
        kind: ChannelKind,
        mac: [u8; 6],
        window: u32,
        keys: Option<(&Pair, &Key)>,
    ) -> Result<Self, Error> {
        let context = zmq::Context::new();
        let socket = accelerator_host::socket::dealer(&context, endpoint, keys)?;
        let number = accelerator_carrier::random::session_number();
        let mut peer = Self {
            socket,
            session: HostChannel::new(kind, number, window),
            inbox: Inbox::default(),
            out: Vec::new(),
            _context: context,
        };
        peer.session.open("host without QEMU", mac, &mut peer.out);
        peer.flush()?;
        Ok(peer)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn send_raw(&self, message: &[u8]) -> Result<(), Error> {
        self.socket
            .send(message, 0)
            .map_err(zmq_error("cannot send to the device"))
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.out.is_empty() {
            let message = std::mem::take(&mut self.out);
            self.send_raw(&message)?;
        }
        Ok(())
    }

    /// Takes in a message, if one comes in time.
    ///
    /// # Errors
    ///
    /// A broken protocol, the socket.
    pub fn pump(&mut self, timeout: Duration) -> Result<bool, Error> {
        match self.socket.poll(zmq::POLLIN, poll_ms(timeout)) {
            Ok(0) | Err(zmq::Error::EINTR) => return Ok(false),
            Ok(_) => {}
            Err(e) => return Err(zmq_error("cannot wait for a message")(e)),
        }
        let message = self
            .socket
            .recv_bytes(zmq::DONTWAIT)
            .map_err(zmq_error("cannot receive"))?;
        let mut rest: &[u8] = &message;
        while !rest.is_empty() {
            let (event, tail) = self.session.frame(rest)?;
            self.inbox.event(event);
            rest = tail;
        }
        Ok(true)
    }

    /// Ends the session.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn close(&mut self) -> Result<(), Error> {
        self.session.close(&mut self.out);
        self.flush()
    }
}

/// The device's end.
pub struct DevicePeer {
    socket: RawEndpoint,
    /// The session, for what a test wants to say itself.
    pub session: DeviceChannel,
    /// What came.
    pub inbox: Inbox,
    peer: Option<Vec<u8>>,
    out: Vec<u8>,
}

both!(DevicePeer);

impl DevicePeer {
    /// Binds `endpoint`. `window`: what the device keeps at most.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn bind(endpoint: &str, kind: ChannelKind, window: u32) -> Result<Self, Error> {
        Self::bind_keyed(endpoint, kind, window, None)
    }

    /// As [`DevicePeer::bind`]; with keys, for those who own one of the second.
    ///
    /// # Errors
    ///
    /// Of the socket or the keys.
    pub fn bind_keyed(
        endpoint: &str,
        kind: ChannelKind,
        window: u32,
        keys: Option<(&Pair, &[Key])>,
    ) -> Result<Self, Error> {
        Ok(Self {
            socket: RawEndpoint::bind_keyed(endpoint, keys)?,
            session: DeviceChannel::new(kind, window),
            inbox: Inbox::default(),
            peer: None,
            out: Vec::new(),
        })
    }

    /// Sends bytes as they are to the host that spoke last.
    ///
    /// # Errors
    ///
    /// Of the socket, or no host has spoken.
    pub fn send_raw(&self, message: &[u8]) -> Result<(), Error> {
        match &self.peer {
            Some(peer) => self.socket.send(peer, message),
            None => Err(Error::Refused("no host has spoken".into())),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.out.is_empty() {
            let message = std::mem::take(&mut self.out);
            self.send_raw(&message)?;
        }
        Ok(())
    }

    /// Takes in a message, if one comes in time.
    ///
    /// # Errors
    ///
    /// A broken protocol, the socket.
    pub fn pump(&mut self, timeout: Duration) -> Result<bool, Error> {
        let Some(received) = self.socket.receive(timeout)? else {
            return Ok(false);
        };
        self.peer = Some(received.peer);
        let mut rest: &[u8] = &received.message;
        while !rest.is_empty() {
            let (event, tail) = self.session.frame(rest, &mut self.out)?;
            self.inbox.event(event);
            rest = tail;
        }
        self.flush()?;
        Ok(true)
    }

    /// Ends the session.
    ///
    /// # Errors
    ///
    /// Of the socket.
    pub fn close(&mut self) -> Result<(), Error> {
        self.session.close(&mut self.out);
        self.flush()
    }
}
