// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connections that come to nothing, since the two ends do not suit each other.

use zmq::SocketEvent as E;

/// The events that tell of one.
pub const EVENTS: u16 = NO_DETAIL | PROTOCOL | AUTH;

// What `to_raw` of the crate makes of these, which is not for constants.
const NO_DETAIL: u16 = E::HANDSHAKE_FAILED_NO_DETAIL as u16;
const PROTOCOL: u16 = E::HANDSHAKE_FAILED_PROTOCOL as u16;
const AUTH: u16 = E::HANDSHAKE_FAILED_AUTH as u16;

// Errors of a handshake in libzmq's numbers (`zmq.h`).
const CRYPTOGRAPHIC: u32 = 0x1100_0001;
const MECHANISM_MISMATCH: u32 = 0x1100_0002;

/// What was seen of the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It has hung up. One that does not like what it sees of us does so.
    HungUp,
    /// It expects another key of ours, or does not own its own.
    OtherKeys,
    /// Only one side uses keys.
    OneSided,
    /// It knows our key, which may not connect; or we know that of its key.
    Refused,
    /// It does not speak ZeroMQ.
    NoZeroMq,
}

impl Failure {
    /// Number of kinds.
    pub const COUNT: usize = Self::NoZeroMq as usize + 1;

    /// What an event of a socket tells, if it is one of [`EVENTS`].
    pub fn of(event: E, value: u32) -> Option<Self> {
        Some(match (event, value) {
            (E::HANDSHAKE_FAILED_NO_DETAIL, _) => Self::HungUp,
            (E::HANDSHAKE_FAILED_AUTH, _) => Self::Refused,
            (E::HANDSHAKE_FAILED_PROTOCOL, CRYPTOGRAPHIC) => Self::OtherKeys,
            (E::HANDSHAKE_FAILED_PROTOCOL, MECHANISM_MISMATCH) => Self::OneSided,
            (E::HANDSHAKE_FAILED_PROTOCOL, _) => Self::NoZeroMq,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_tells_what_it_is() {
        let of = |event: u16, value| Failure::of(E::from_raw(event), value);
        assert_eq!(of(0x0800, 0), Some(Failure::HungUp));
        assert_eq!(of(0x2000, 0x1100_0001), Some(Failure::OtherKeys));
        assert_eq!(of(0x2000, 0x1100_0002), Some(Failure::OneSided));
        assert_eq!(of(0x2000, 0x1000_0000), Some(Failure::NoZeroMq));
        assert_eq!(of(0x4000, 400), Some(Failure::Refused));
        for bit in 0..15 {
            let found = of(1 << bit, 0x1100_0001).is_some();
            assert_eq!(found, EVENTS & 1 << bit != 0, "bit {bit}");
        }
    }
}
