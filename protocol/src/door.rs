// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who has the session of a device to whose socket many hosts can connect: who is let in, who
//! waits, who is refused, and who is gone.
//!
//! As in [`crate::device`] there are no sockets here. Whoever uses a [`Door`] says what came
//! and whether a host can still be reached, and is told what to do.

use std::time::{Duration, Instant};

use crate::wire::{frame_type, split, ChannelKind, Reason, WireError};

/// How long a second host waits for the first one to prove gone, and how often that is tried.
/// A QEMU that is restarted can be here before the end of the old connection is known.
const WAIT: Duration = Duration::from_millis(250);
const PROBE: Duration = Duration::from_millis(5);

/// After this time in the handshake a host has to make room for another one.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What a host is told that finds another one here.
pub const TAKEN: &str = "another host has the session";

/// The host whose session it is.
#[derive(Debug)]
struct Holder {
    id: Vec<u8>,
    /// When its handshake began.
    since: Instant,
}

/// A host that asked while another one had the session.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who it is.
    pub id: Vec<u8>,
    /// How it asked.
    pub message: Vec<u8>,
    deadline: Instant,
    probe: Instant,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is of the host that has the session.
    Holder,
    /// Its sender has none and asks for one: see [`Door::asked`].
    Asks,
    /// Its sender has none and is told why it gets none.
    Refused(Reason, String),
    /// It is of no session that is known here: nobody answers.
    Foreign {
        /// Type of its first frame.
        frame_type: u8,
        /// Session of that.
        session: u64,
    },
    /// It is none of this protocol's: nobody answers.
    Odd(WireError),
}

/// What to do with a host that asks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nobody has one: let it enter.
    Free,
    /// Whoever has it has not finished the handshake in time: end that, and let this one enter.
    Overdue,
    /// Look whether the one that has it can still be reached. If not it has gone, and this one
    /// enters; else see [`Door::waits`].
    Taken,
}

/// What to do about a host that waits.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// Nobody has a session any more: let it enter.
    Enters(Candidate),
    /// Look whether the one that has it can still be reached, and say so to [`Door::probed`].
    Probe,
}

/// Who has the session of a device.
#[derive(Debug)]
pub struct Door {
    /// Of a channel, if it is not a function's.
    kind: Option<ChannelKind>,
    holder: Option<Holder>,
    /// The holder cannot be reached. What it has sent before still counts.
    lost: bool,
    candidate: Option<Candidate>,
}

impl Door {
    /// Of a function, whose sessions begin with INIT.
    pub const fn of_function() -> Self {
        Self {
            kind: None,
            holder: None,
            lost: false,
            candidate: None,
        }
    }

    /// Of a channel, whose sessions begin with OPEN and have no handshake beyond it. A second
    /// host asks again by itself, so that none waits here.
    pub const fn of_channel(kind: ChannelKind) -> Self {
        Self {
            kind: Some(kind),
            holder: None,
            lost: false,
            candidate: None,
        }
    }

    /// What becomes of a message of this host.
    pub fn hears(&self, id: &[u8], message: &[u8]) -> Heard {
        if self.is_holder(id) {
            return Heard::Holder;
        }
        match (split(message), self.kind) {
            (Ok((header, ..)), None) if header.frame_type == frame_type::INIT => Heard::Asks,
            (Ok((header, ..)), Some(_)) if header.frame_type == frame_type::OPEN => Heard::Asks,
            (Ok((header, ..)), Some(kind)) if header.frame_type == frame_type::INIT => {
                let text =
                    format!("this is the endpoint of a {kind:?} channel, not of a PCIe function");
                Heard::Refused(Reason::Protocol, text)
            }
            (Ok((header, ..)), _) => Heard::Foreign {
                frame_type: header.frame_type,
                session: header.session,
            },
            (Err(e @ WireError::Version { .. }), _) => {
                Heard::Refused(Reason::Version, e.to_string())
            }
            (Err(e), _) => Heard::Odd(e),
        }
    }

    /// A host asks for a session. `up` is whether the one that there is has been accepted.
    pub fn asked(&self, up: bool, now: Instant) -> Entry {
        match &self.holder {
            None => Entry::Free,
            Some(holder) if self.kind.is_none() && !up && holder.since + HANDSHAKE < now => {
                Entry::Overdue
            }
            Some(_) => Entry::Taken,
        }
    }

    /// A host has asked and the one that has the session can be reached. Whether it waits for
    /// that one to go; if not it is refused, with [`TAKEN`].
    pub fn waits(&mut self, id: &[u8], message: &[u8], now: Instant) -> bool {
        if self.kind.is_some() || self.candidate.as_ref().is_some_and(|c| c.id != id) {
            return false;
        }
        self.candidate = Some(Candidate {
            id: id.to_vec(),
            message: message.to_vec(),
            deadline: now + WAIT,
            probe: now + PROBE,
        });
        true
    }

    /// What there is to do about a host that waits, if there is one and it is time.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        if self.holder.is_none() {
            return self.candidate.take().map(Due::Enters);
        }
        let probe = self.candidate.as_ref()?.probe;
        (now >= probe).then_some(Due::Probe)
    }

    /// The holder can be reached, or not and is [lost](Self::lose). The host that has waited
    /// long enough and is refused, with [`TAKEN`].
    pub fn probed(&mut self, reached: bool, now: Instant) -> Option<Candidate> {
        let candidate = self.candidate.as_mut()?;
        if !reached {
            // It enters once all was received that the holder has sent.
            self.lose();
            return None;
        }
        if now >= candidate.deadline {
            return self.candidate.take();
        }
        candidate.probe = now + PROBE;
        None
    }

    /// Whether a host waits.
    pub const fn has_candidate(&self) -> bool {
        self.candidate.is_some()
    }

    /// A host has the session from now on.
    pub fn enter(&mut self, id: &[u8], now: Instant) {
        self.holder = Some(Holder {
            id: id.to_vec(),
            since: now,
        });
        self.lost = false;
    }

    /// The host that has the session begins another one.
    pub fn begins_anew(&mut self, now: Instant) {
        if let Some(holder) = &mut self.holder {
            holder.since = now;
        }
    }

    /// The session is over.
    pub fn leave(&mut self) {
        self.holder = None;
    }

    /// The host that has the session cannot be reached any more. It has it until all was
    /// received that it has sent, see [`Self::part`].
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether it cannot.
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Nothing more comes of a host that is lost. Whether it had the session until now.
    pub fn part(&mut self) -> bool {
        self.lost = false;
        self.holder.take().is_some()
    }

    /// The host that has the session.
    pub fn holder(&self) -> Option<&[u8]> {
        self.holder.as_ref().map(|h| h.id.as_slice())
    }

    /// The same, if it can be sent something.
    pub fn reachable(&self) -> Option<&[u8]> {
        self.holder().filter(|_| !self.lost)
    }

    /// Whether somebody has the session.
    pub const fn is_taken(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether it is this one.
    pub fn is_holder(&self, id: &[u8]) -> bool {
        self.holder() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, Open};

    const A: &[u8] = b"a";
    const B: &[u8] = b"b";
    const C: &[u8] = b"c";

    fn message(frame: &Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(7, &mut out);
        out
    }

    fn init() -> Vec<u8> {
        let mut out = Vec::new();
        crate::host::HostSession::new(7, 1).init("host", &mut out);
        out
    }

    fn open(kind: ChannelKind) -> Vec<u8> {
        message(&Frame::Open(Open {
            kind,
            credit: 1,
            mac: [0; 6],
            link: false,
            name: "host",
        }))
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn what_a_stranger_says_is_heard_for_what_it_is() {
        let function = Door::of_function();
        let channel = Door::of_channel(ChannelKind::Serial);
        let noop = message(&Frame::Noop);
        let mut newer = init();
        newer[4] += 1;
        let foreign = |frame_type| Heard::Foreign {
            frame_type,
            session: 7,
        };
        for (message, of_function, of_channel) in [
            (init(), Heard::Asks, None),
            (
                open(ChannelKind::Nic),
                foreign(frame_type::OPEN),
                // That it is of another kind is the session's matter.
                Some(Heard::Asks),
            ),
            (
                noop,
                foreign(frame_type::NOOP),
                Some(foreign(frame_type::NOOP)),
            ),
        ] {
            assert_eq!(function.hears(A, &message), of_function);
            match of_channel {
                Some(heard) => assert_eq!(channel.hears(A, &message), heard),
                None => assert!(matches!(
                    channel.hears(A, &message),
                    Heard::Refused(Reason::Protocol, text) if text.contains("Serial channel")
                )),
            }
        }
        for door in [function, channel] {
            let heard = door.hears(A, &newer);
            assert!(
                matches!(heard, Heard::Refused(Reason::Version, _)),
                "{heard:?}"
            );
            assert!(matches!(door.hears(A, b"hello"), Heard::Odd(_)));
        }
    }

    #[test]
    fn whoever_has_the_session_is_heard_whatever_it_says() {
        let mut door = Door::of_function();
        let now = Instant::now();
        assert_eq!(door.asked(false, now), Entry::Free);
        assert!(!door.is_taken());
        door.enter(A, now);
        assert!(door.is_taken() && door.is_holder(A) && !door.is_holder(B));
        assert_eq!(door.hears(A, b"hello"), Heard::Holder);
        assert_eq!(door.hears(B, &init()), Heard::Asks);
        door.leave();
        assert!(matches!(door.hears(A, b"hello"), Heard::Odd(_)));
        assert_eq!(door.holder(), None);
    }

    #[test]
    fn a_handshake_that_takes_too_long_makes_room() {
        let begin = Instant::now();
        let mut door = Door::of_function();
        door.enter(A, begin);
        assert_eq!(door.asked(false, begin + HANDSHAKE), Entry::Taken);
        let late = begin + HANDSHAKE + ms(1);
        assert_eq!(door.asked(false, late), Entry::Overdue);
        // Not once it is over.
        assert_eq!(door.asked(true, late), Entry::Taken);
        // Nor does it count from the session before.
        door.begins_anew(late);
        assert_eq!(door.asked(false, late), Entry::Taken);
        assert_eq!(door.asked(false, late + HANDSHAKE + ms(1)), Entry::Overdue);
        // A channel has none.
        let mut door = Door::of_channel(ChannelKind::Nic);
        door.enter(A, begin);
        assert_eq!(door.asked(false, late), Entry::Taken);
    }

    #[test]
    fn a_second_host_waits_for_the_first_to_go() {
        let begin = Instant::now();
        let mut door = Door::of_function();
        door.enter(A, begin);
        assert!(door.waits(B, b"first", begin));
        assert!(door.has_candidate());
        assert!(!door.waits(C, b"", begin));
        // One that asks again waits from then on.
        let begin = begin + ms(100);
        assert!(door.waits(B, b"again", begin));
        assert_eq!(door.due(begin + PROBE - ms(1)), None);
        assert_eq!(door.due(begin + PROBE), Some(Due::Probe));
        assert_eq!(door.probed(true, begin + PROBE), None);
        assert_eq!(door.due(begin + PROBE), None);
        assert_eq!(door.due(begin + 2 * PROBE), Some(Due::Probe));
        // It is lost, and has the session until all was received.
        assert_eq!(door.probed(false, begin + 2 * PROBE), None);
        assert!(door.is_lost() && door.is_taken() && door.has_candidate());
        assert_eq!((door.holder(), door.reachable()), (Some(A), None));
        assert!(door.part());
        assert!(!door.is_lost());
        let Some(Due::Enters(candidate)) = door.due(begin + 2 * PROBE) else {
            panic!("{door:?}");
        };
        assert_eq!(
            (candidate.id.as_slice(), candidate.message),
            (B, b"again".to_vec())
        );
        assert_eq!(door.due(begin + WAIT), None);
        door.enter(B, begin);
        assert_eq!(door.reachable(), Some(B));
    }

    #[test]
    fn one_that_has_waited_long_enough_is_refused() {
        let begin = Instant::now();
        let mut door = Door::of_function();
        door.enter(A, begin);
        assert!(door.waits(B, b"ask", begin));
        assert_eq!(door.probed(true, begin + WAIT - ms(1)), None);
        let refused = door.probed(true, begin + WAIT).unwrap();
        assert_eq!(refused.id, B);
        assert!(!door.has_candidate() && door.is_holder(A));
        assert_eq!(door.probed(true, begin + WAIT), None);
        // Another one can wait now.
        assert!(door.waits(C, b"ask", begin + WAIT));
        // Of a channel none waits.
        let mut door = Door::of_channel(ChannelKind::Nic);
        door.enter(A, begin);
        assert!(!door.waits(B, b"ask", begin));
        assert!(!door.has_candidate());
    }

    #[test]
    fn one_that_is_lost_is_forgotten_with_the_next() {
        let now = Instant::now();
        let mut door = Door::of_function();
        // Its refusal could not be sent any more.
        door.enter(A, now);
        door.lose();
        door.leave();
        assert!(door.is_lost());
        door.enter(B, now);
        assert!(!door.is_lost());
        door.lose();
        door.leave();
        assert!(!door.part());
        assert!(!door.is_lost());
    }
}
