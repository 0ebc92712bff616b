// SPDX-License-Identifier: MIT OR Apache-2.0

//! What both halves of a session have in common: where it stands, what breaks it, and how
//! much may be outstanding.

use std::fmt;

use crate::{
    config::{Config, ConfigError},
    wire::{
        frame_type, split, ChannelKind, Frame, Reason, WireError, HEADER_LEN, SIGNATURE,
        VERSION_MAJOR,
    },
};

/// Minor version that has added MSI.
pub const MSI_MINOR: u8 = 3;

/// Minor version that has added faults.
pub const FAULTS_MINOR: u8 = 4;

/// Plans of faults that may be unanswered at once.
pub const MAX_PLANS: usize = 8;

/// Reads that may be outstanding at once, those included that the host gave up
/// and the device still has to answer. More than the vCPUs of any guest that
/// QEMU starts.
pub const MAX_READS: usize = 4096;

/// Minor version that has added the addresses of BARs, and more DMA requests.
pub const ADDRESSES_MINOR: u8 = 5;

/// Minor version that has added MSI-X with table and pending bits in the RTL.
pub const MSIX_IN_RTL_MINOR: u8 = 6;

/// DMA requests that may be outstanding at once: twice as many as PCI Express has tags of 8 bits,
/// so that reads with all of these leave room for writes.
pub const MAX_DMA: usize = 512;

/// The same where one of the two is of a version before 1.5.
pub const MAX_DMA_BEFORE: usize = 64;

/// DMA requests that may be outstanding with a peer of that minor version.
pub const fn max_dma(minor: u8) -> usize {
    if minor < ADDRESSES_MINOR {
        MAX_DMA_BEFORE
    } else {
        MAX_DMA
    }
}

/// The minor version that a function needs, or 0.
pub fn needed_minor(config: &Config) -> u8 {
    if config.msix.is_some_and(|m| m.in_rtl) {
        MSIX_IN_RTL_MINOR
    } else if config.msi.is_some() {
        MSI_MINOR
    } else {
        0
    }
}

/// What came on the socket of a session that goes through shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// A sign of life, and nothing else.
    Life,
    /// What may be the beginning of another session.
    Init,
    /// A frame of this type, which is out of place there.
    Other(u8),
}

impl Beside {
    /// Of a message.
    ///
    /// # Errors
    ///
    /// It does not begin with a whole frame.
    pub fn of(message: &[u8]) -> Result<Self, WireError> {
        let (header, _, rest) = split(message)?;
        Ok(match header.frame_type {
            frame_type::INIT => Self::Init,
            frame_type::NOOP if rest.is_empty() => Self::Life,
            other => Self::Other(other),
        })
    }
}

/// Where a session stands, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No INIT yet.
    Idle,
    /// There was INIT, and no CONFIG yet.
    Init,
    /// There was CONFIG; the host decides.
    Configured,
    /// There was READY.
    Up,
    /// Over, for the host: a new session is a new one of its half. A device is idle then.
    Closed,
}

/// What the other side broke. The session cannot go on after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A frame that cannot be decoded.
    Wire(WireError),
    /// A configuration that breaks a rule.
    Config(ConfigError),
    /// A host that is too old for what the function has.
    Older {
        /// Its minor version.
        minor: u8,
        /// The minor version that has it.
        since: u8,
    },
    /// A frame that may not come now.
    Unexpected {
        /// Its name.
        frame: &'static str,
        /// Where the session stands.
        state: State,
    },
    /// A completion for something that is not outstanding.
    Tag {
        /// Name of the frame.
        frame: &'static str,
        /// Its tag.
        found: u32,
        /// What is outstanding.
        expected: String,
    },
    /// An access that does not lie within its BAR.
    Range {
        /// Name of the frame.
        frame: &'static str,
        /// The BAR.
        bar: u8,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u8,
        /// Bytes of the BAR, 0 if it is absent.
        size: u64,
    },
    /// A completion with another number of bytes than requested.
    Length {
        /// Name of the frame.
        frame: &'static str,
        /// Bytes in it.
        found: usize,
        /// Bytes requested.
        expected: usize,
    },
    /// More than the credit of a channel allows, or more credit than there may
    /// be.
    Credit {
        /// Name of the frame.
        frame: &'static str,
        /// Frames or bytes in it.
        found: u32,
        /// Frames or bytes that it may have.
        allowed: u32,
    },
    /// A channel of another kind than the one here.
    Kind {
        /// What the frame asks for.
        found: ChannelKind,
        /// What is here.
        expected: ChannelKind,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(e) => e.fmt(f),
            Self::Config(e) => e.fmt(f),
            Self::Older { minor, since } => {
                let (what, instead) = if *since == MSI_MINOR {
                    ("MSI", "MsiVectors 0")
                } else {
                    ("MSI-X with its table in the RTL", "MsixInRtl 0")
                };
                write!(
                    f,
                    "the function has {what}, and this QEMU speaks version \
                     {VERSION_MAJOR}.{minor} of the protocol, which has none (version \
                     {VERSION_MAJOR}.{since} does): build QEMU anew, or have {instead}"
                )
            }
            Self::Unexpected { frame, state } => {
                write!(f, "frame {frame} may not come in state {state:?}")
            }
            Self::Tag {
                frame,
                found,
                expected,
            } => write!(f, "{frame} has tag {found}, outstanding is {expected}"),
            Self::Range {
                frame,
                bar,
                offset,
                len,
                size,
            } => write!(
                f,
                "{frame} of {len} bytes at offset {offset:#x}, BAR {bar} has {size:#x} bytes"
            ),
            Self::Length {
                frame,
                found,
                expected,
            } => write!(
                f,
                "{frame} carries {found} bytes, requested were {expected}"
            ),
            Self::Credit {
                frame,
                found,
                allowed,
            } => write!(f, "{frame} of {found} where {allowed} are allowed"),
            Self::Kind { found, expected } => write!(
                f,
                "the peer asks for a {found:?} channel, this is a {expected:?} channel"
            ),
        }
    }
}

impl Violation {
    /// The reason of the REFUSE for it.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Wire(WireError::Version { .. }) => Reason::Version,
            Self::Config(_) | Self::Older { .. } => Reason::Configuration,
            _ => Reason::Protocol,
        }
    }
}

impl std::error::Error for Violation {}

impl From<WireError> for Violation {
    fn from(e: WireError) -> Self {
        Self::Wire(e)
    }
}

impl From<ConfigError> for Violation {
    fn from(e: ConfigError) -> Self {
        Self::Config(e)
    }
}

/// The session that a message claims to belong to. The first sixteen bytes
/// mean the same in all versions of the protocol.
pub(crate) fn claimed_session(message: &[u8]) -> Option<u64> {
    if message.len() < HEADER_LEN || message[..4] != SIGNATURE.to_le_bytes() {
        return None;
    }
    let mut session = [0; 8];
    session.copy_from_slice(&message[8..16]);
    Some(u64::from_le_bytes(session))
}

/// Appends REFUSE to whoever sent `message`, without touching any session; for
/// a second host that wants a device which is taken ([`Reason::Busy`]).
/// Appends nothing if the message is none of this protocol.
pub fn refuse_message(message: &[u8], reason: Reason, text: &str, out: &mut Vec<u8>) {
    if let Some(session) = claimed_session(message) {
        Frame::Refuse { reason, text }.encode(session, out);
    }
}

/// The low `len` bytes of `data`.
pub const fn mask(data: u64, len: u8) -> u64 {
    if len >= 8 {
        data
    } else {
        data & ((1 << (8 * len as u32)) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sign_of_life_or_a_beginning_may_come_beside() {
        let mut noop = Vec::new();
        Frame::Noop.encode(7, &mut noop);
        assert_eq!(Beside::of(&noop), Ok(Beside::Life));
        let two = [noop.clone(), noop.clone()].concat();
        assert_eq!(Beside::of(&two), Ok(Beside::Other(frame_type::NOOP)));
        let mut ready = Vec::new();
        Frame::Ready.encode(7, &mut ready);
        let other = Beside::Other(frame_type::READY);
        assert_eq!(Beside::of(&ready), Ok(other));
        assert_eq!(Beside::of(&[ready, noop.clone()].concat()), Ok(other));
        let init = crate::wire::Init {
            features: 0,
            write_window: 1,
            max_data: 4096,
            name: "host",
        };
        let mut message = Vec::new();
        Frame::Init(init).encode(7, &mut message);
        message.extend(noop);
        assert_eq!(Beside::of(&message), Ok(Beside::Init));
        message.truncate(HEADER_LEN - 1);
        assert!(Beside::of(&message).is_err());
    }
}
