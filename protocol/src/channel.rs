// SPDX-License-Identifier: MIT OR Apache-2.0

//! The two halves of a session of a NIC or serial channel: a connection of its
//! own beside the PCIe stream, which carries frames or bytes under credit.
//!
//! As in [`crate::host`] and [`crate::device`] there are no sockets and no time
//! here. Each half counts what it may send and what the peer may send; who
//! uses a half keeps what has come until it is consumed, and says so with
//! `consumed`. So the credit that a half gives out at first bounds what its
//! user ever has to keep.

use crate::{
    said::Said,
    session::{claimed_session, State, Violation},
    wire::{frame_type, split, Frame, Open, Reason, MAX_NIC_FRAME, MAX_SERIAL, MIN_NIC_FRAME},
};

pub use crate::wire::ChannelKind;

/// What a frame of the peer asks for, in the order of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEvent<'a> {
    /// Device half only: a host has opened the channel, ACCEPT was appended to
    /// the reply, the session is up. An earlier one, if `replaced`, is over.
    Opened {
        /// Who it is.
        host: Said<'a>,
        /// Station address; zero on a serial channel.
        mac: [u8; 6],
        /// Whether the host's link is up; false on a serial channel.
        link: bool,
        /// Whether a session was up.
        replaced: bool,
    },
    /// Host half only: the device has accepted, the session is up.
    Accepted {
        /// Whether the device's link is up; false on a serial channel.
        link: bool,
    },
    /// The session is over.
    Down {
        /// Machine readable.
        reason: Reason,
        /// For a person; empty for a BYE.
        text: Said<'a>,
    },
    /// An Ethernet frame; keep it, and say `consumed` when it is dealt with.
    Frame(&'a [u8]),
    /// Bytes of a serial line; keep them, and say `consumed` when they are
    /// dealt with.
    Bytes(&'a [u8]),
    /// The peer's link has changed.
    Link(bool),
    /// More can be sent.
    Credit,
    /// A NOOP, or a frame of another session or after the end of this one.
    Ignored,
}

/// What is the same on both sides: the kind, the state and the credit.
#[derive(Debug)]
struct Half {
    kind: ChannelKind,
    state: State,
    session: u64,
    /// What the user of this half is ready to keep.
    window: u32,
    /// Of it, what the peer may still send.
    granted: u32,
    /// Of it, what was consumed and is not granted again yet.
    owed: u32,
    /// What we may still send.
    credit: u32,
    /// Our own link.
    link: bool,
}

impl Half {
    fn new(kind: ChannelKind, window: u32) -> Self {
        Self {
            kind,
            state: State::Idle,
            session: 0,
            window: window.clamp(1, kind.max_credit()),
            granted: 0,
            owed: 0,
            credit: 0,
            link: kind == ChannelKind::Nic,
        }
    }

    fn is_up(&self) -> bool {
        self.state == State::Up
    }

    fn down(&mut self, state: State) {
        self.state = state;
        (self.granted, self.owed, self.credit) = (0, 0, 0);
    }

    /// A session begins, in which the peer may send what fits in the window.
    fn begin(&mut self, state: State) {
        self.down(state);
        self.granted = self.window;
    }

    fn put(&self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        frame.encode(self.session, out);
    }

    fn send_frame(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        let fits = (MIN_NIC_FRAME..=MAX_NIC_FRAME).contains(&data.len());
        if self.kind != ChannelKind::Nic || !self.is_up() || self.credit == 0 || !fits {
            return false;
        }
        self.credit -= 1;
        self.put(&Frame::NicFrame { data }, out);
        true
    }

    fn send_bytes(&mut self, data: &[u8], out: &mut Vec<u8>) -> usize {
        if self.kind != ChannelKind::Serial || !self.is_up() {
            return 0;
        }
        let count = data.len().min(self.credit as usize);
        for data in data[..count].chunks(MAX_SERIAL) {
            self.put(&Frame::Serial { data }, out);
        }
        self.credit -= count as u32;
        count
    }

    fn set_link(&mut self, up: bool, out: &mut Vec<u8>) {
        if self.kind != ChannelKind::Nic || self.link == up {
            return;
        }
        self.link = up;
        if self.is_up() {
            self.put(&Frame::NicLink { up }, out);
        }
    }

    fn consumed(&mut self, amount: u32, out: &mut Vec<u8>) {
        if !self.is_up() {
            return;
        }
        // What is kept came under credit; more cannot have been consumed.
        let kept = self.window - self.granted - self.owed;
        self.owed += amount.min(kept);
        // In few frames, but before the peer runs out.
        if self.owed != 0 && self.owed >= self.window.div_ceil(4) {
            let amount = std::mem::take(&mut self.owed);
            self.granted += amount;
            self.put(&Frame::Credit { amount }, out);
        }
    }

    fn take(&mut self, frame: &'static str, amount: usize) -> Result<(), Violation> {
        // A frame has at most 9,216 bytes.
        let amount = amount as u32;
        if amount > self.granted {
            return Err(Violation::Credit {
                frame,
                found: amount,
                allowed: self.granted,
            });
        }
        self.granted -= amount;
        Ok(())
    }

    /// A frame of the session that is up, other than those that end it.
    fn up<'a>(&mut self, frame: Frame<'a>) -> Result<ChannelEvent<'a>, Violation> {
        match (self.kind, frame) {
            (ChannelKind::Nic, Frame::NicFrame { data }) => {
                self.take("NIC_FRAME", 1)?;
                Ok(ChannelEvent::Frame(data))
            }
            (ChannelKind::Nic, Frame::NicLink { up }) => Ok(ChannelEvent::Link(up)),
            (ChannelKind::Serial, Frame::Serial { data }) => {
                self.take("SERIAL", data.len())?;
                Ok(ChannelEvent::Bytes(data))
            }
            (kind, Frame::Credit { amount }) => {
                let allowed = kind.max_credit() - self.credit;
                if amount > allowed {
                    return Err(Violation::Credit {
                        frame: "CREDIT",
                        found: amount,
                        allowed,
                    });
                }
                self.credit += amount;
                Ok(ChannelEvent::Credit)
            }
            (_, frame) => Err(self.unexpected(&frame)),
        }
    }

    fn unexpected(&self, frame: &Frame<'_>) -> Violation {
        Violation::Unexpected {
            frame: frame.name(),
            state: self.state,
        }
    }
}

/// Methods that both halves have.
macro_rules! both {
    ($half:ident) => {
        impl $half {
            /// What the channel carries.
            pub const fn kind(&self) -> ChannelKind {
                self.half.kind
            }

            /// Number of the current or last session.
            pub const fn session(&self) -> u64 {
                self.half.session
            }

            /// Whether frames or bytes can be sent, as far as there is credit.
            pub fn is_up(&self) -> bool {
                self.half.is_up()
            }

            /// Frames or bytes that may be sent now.
            pub const fn credit(&self) -> u32 {
                self.half.credit
            }

            /// Appends an Ethernet frame. False, and nothing appended, if the
            /// session is not up, there is no credit, the channel is of
            /// another kind or the frame has not [`MIN_NIC_FRAME`] to
            /// [`MAX_NIC_FRAME`] bytes.
            pub fn send_frame(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
                self.half.send_frame(data, out)
            }

            /// Appends the first of these bytes, as many as there is credit
            /// for, and returns how many.
            pub fn send_bytes(&mut self, data: &[u8], out: &mut Vec<u8>) -> usize {
                self.half.send_bytes(data, out)
            }

            /// Our own link, up at first. A change is appended if the session
            /// is up and told at the beginning of the next one otherwise. A
            /// serial channel has none.
            pub fn set_link(&mut self, up: bool, out: &mut Vec<u8>) {
                self.half.set_link(up, out);
            }

            /// Frames or bytes that came were dealt with: appends CREDIT for
            /// them, gathered.
            pub fn consumed(&mut self, amount: u32, out: &mut Vec<u8>) {
                self.half.consumed(amount, out);
            }
        }
    };
}

/// The host's half: one session.
#[derive(Debug)]
pub struct HostChannel {
    half: Half,
}

both!(HostChannel);

impl HostChannel {
    /// A session that has not begun. `session` must differ from every other one
    /// that this device may still hear of; `window` is how many frames or bytes
    /// the host keeps at most, 1 to [`ChannelKind::max_credit`].
    pub fn new(kind: ChannelKind, session: u64, window: u32) -> Self {
        let mut half = Half::new(kind, window);
        half.session = session;
        Self { half }
    }

    /// Where the session stands; never [`State::Configured`].
    pub const fn state(&self) -> State {
        self.half.state
    }

    /// Begins the session: appends OPEN. `mac` is for a NIC channel only.
    pub fn open(&mut self, name: &str, mac: [u8; 6], out: &mut Vec<u8>) {
        self.half.begin(State::Init);
        let nic = self.half.kind == ChannelKind::Nic;
        self.half.put(
            &Frame::Open(Open {
                kind: self.half.kind,
                credit: self.half.window,
                mac: if nic { mac } else { [0; 6] },
                link: self.half.link,
                name,
            }),
            out,
        );
    }

    /// Takes the first frame of a message and returns what it asks for and the
    /// rest of the message.
    ///
    /// # Errors
    ///
    /// What the device broke. Neither the rest of the message nor the session
    /// can be used after it.
    pub fn frame<'a>(
        &mut self,
        message: &'a [u8],
    ) -> Result<(ChannelEvent<'a>, &'a [u8]), Violation> {
        let (header, payload, rest) = split(message)?;
        if header.session != self.half.session {
            return Ok((ChannelEvent::Ignored, rest));
        }
        let frame = Frame::decode(&header, payload)?;
        let event = match (self.half.state, frame) {
            (State::Closed, _) | (_, Frame::Noop) => ChannelEvent::Ignored,
            (State::Idle, frame) => return Err(self.half.unexpected(&frame)),
            (_, Frame::Refuse { reason, text }) => {
                self.disconnected();
                ChannelEvent::Down {
                    reason,
                    text: Said::new(text),
                }
            }
            (_, Frame::Bye { reason }) => {
                self.disconnected();
                ChannelEvent::Down {
                    reason,
                    text: Said::default(),
                }
            }
            (State::Init, Frame::Accept { kind, credit, link }) => {
                if kind != self.half.kind {
                    return Err(Violation::Kind {
                        found: kind,
                        expected: self.half.kind,
                    });
                }
                self.half.state = State::Up;
                self.half.credit = credit;
                ChannelEvent::Accepted { link }
            }
            (State::Up, frame) => self.half.up(frame)?,
            (_, frame) => return Err(self.half.unexpected(&frame)),
        };
        Ok((event, rest))
    }

    /// Ends the session because the device broke the protocol: appends REFUSE.
    pub fn refuse(&mut self, reason: Reason, text: &str, out: &mut Vec<u8>) {
        self.disconnected();
        self.half.put(&Frame::Refuse { reason, text }, out);
    }

    /// Ends the session in order: appends BYE.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        self.disconnected();
        let reason = Reason::Closing;
        self.half.put(&Frame::Bye { reason }, out);
    }

    /// The peer is gone.
    pub fn disconnected(&mut self) {
        self.half.down(State::Closed);
    }
}

/// The device's half, over all its sessions.
#[derive(Debug)]
pub struct DeviceChannel {
    half: Half,
    /// Session of the message that was looked at last, for [`Self::fail`].
    heard: u64,
}

both!(DeviceChannel);

impl DeviceChannel {
    /// A channel without a session. `window` is how many frames or bytes the
    /// device keeps at most, 1 to [`ChannelKind::max_credit`].
    pub fn new(kind: ChannelKind, window: u32) -> Self {
        Self {
            half: Half::new(kind, window),
            heard: 0,
        }
    }

    /// Takes the first frame of a message and returns what it asks for and the
    /// rest of the message. The answer to OPEN is appended to `reply`.
    ///
    /// # Errors
    ///
    /// What the host broke. Tell it with [`DeviceChannel::fail`]; the rest of
    /// the message cannot be used.
    pub fn frame<'a>(
        &mut self,
        message: &'a [u8],
        reply: &mut Vec<u8>,
    ) -> Result<(ChannelEvent<'a>, &'a [u8]), Violation> {
        self.heard = claimed_session(message).unwrap_or(self.half.session);
        let (header, payload, rest) = split(message)?;
        // Only OPEN may begin another session; anything else of one is stale
        // and not worth decoding.
        let open = header.frame_type == frame_type::OPEN;
        if !open && (!self.is_up() || header.session != self.half.session) {
            return Ok((ChannelEvent::Ignored, rest));
        }
        let event = match Frame::decode(&header, payload)? {
            Frame::Open(open) => {
                if open.kind != self.half.kind {
                    return Err(Violation::Kind {
                        found: open.kind,
                        expected: self.half.kind,
                    });
                }
                let replaced = self.is_up();
                self.half.begin(State::Up);
                self.half.session = header.session;
                self.half.credit = open.credit;
                self.half.put(
                    &Frame::Accept {
                        kind: self.half.kind,
                        credit: self.half.window,
                        link: self.half.link,
                    },
                    reply,
                );
                ChannelEvent::Opened {
                    host: Said::new(open.name),
                    mac: open.mac,
                    link: open.link,
                    replaced,
                }
            }
            Frame::Noop => ChannelEvent::Ignored,
            Frame::Refuse { reason, text } => {
                self.disconnected();
                ChannelEvent::Down {
                    reason,
                    text: Said::new(text),
                }
            }
            Frame::Bye { reason } => {
                self.disconnected();
                ChannelEvent::Down {
                    reason,
                    text: Said::default(),
                }
            }
            frame => self.half.up(frame)?,
        };
        Ok((event, rest))
    }

    /// Ends the session because the host broke the protocol. The REFUSE goes
    /// to the session of the message that [`DeviceChannel::frame`] was given
    /// last, so that a host whose OPEN is bad learns it too.
    pub fn fail(&mut self, reason: Reason, text: &str, out: &mut Vec<u8>) {
        Frame::Refuse { reason, text }.encode(self.heard, out);
        self.disconnected();
    }

    /// Ends the session in order, if there is one.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.is_up() {
            let reason = Reason::Closing;
            self.half.put(&Frame::Bye { reason }, out);
        }
        self.disconnected();
    }

    /// The peer is gone.
    pub fn disconnected(&mut self) {
        self.half.down(State::Idle);
    }
}
