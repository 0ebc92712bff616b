// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is wrong with a frame.

use std::fmt;

use super::limits::{SIGNATURE, VERSION_MAJOR, VERSION_MINOR};
use crate::function::BadField;

/// A frame that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The message ends before the frame does.
    Truncated {
        /// Which part.
        what: &'static str,
        /// Bytes that it needs.
        need: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// Not our protocol.
    Signature {
        /// What the frame starts with.
        found: u32,
    },
    /// Another major version.
    Version {
        /// Theirs, major and minor.
        found: (u8, u8),
    },
    /// No frame type of this version.
    Type {
        /// The number.
        found: u8,
    },
    /// The payload length does not fit the type.
    Length {
        /// Name of the type.
        frame: &'static str,
        /// What the header says.
        found: usize,
        /// What the type needs.
        expected: usize,
    },
    /// A field holds what it must not hold.
    Field {
        /// Its name.
        name: &'static str,
        /// What it holds.
        found: u64,
        /// What it may hold.
        expected: &'static str,
    },
    /// A text that is not UTF-8.
    Text {
        /// Name of the field.
        name: &'static str,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { what, need, have } => {
                write!(f, "{what} needs {need} bytes, the message has {have}")
            }
            Self::Signature { found } => write!(
                f,
                "signature is {found:#010x}, expected {SIGNATURE:#010x} (\"APCI\")"
            ),
            Self::Version { found } => write!(
                f,
                "protocol version of the peer is {}.{}, ours is {VERSION_MAJOR}.{VERSION_MINOR}",
                found.0, found.1
            ),
            Self::Type { found } => write!(f, "frame type is {found:#04x}, which is none of ours"),
            Self::Length {
                frame,
                found,
                expected,
            } => write!(f, "{frame} payload is {found} bytes, expected {expected}"),
            Self::Field {
                name,
                found,
                expected,
            } => write!(f, "{name} is {found} ({found:#x}), expected {expected}"),
            Self::Text { name } => write!(f, "{name} is not UTF-8"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<BadField> for WireError {
    fn from(e: BadField) -> Self {
        field(e.name, e.found, e.expected)
    }
}

pub(crate) fn field(
    name: &'static str,
    found: impl Into<u64>,
    expected: &'static str,
) -> WireError {
    WireError::Field {
        name,
        found: found.into(),
        expected,
    }
}
