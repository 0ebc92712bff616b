// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages between two processes of one host, through memory that both have.
//!
//! The crate knows bytes and threads, no frame. What one end sends the other receives
//! whole, once and in order; how much is under way is bounded; an end that sleeps is woken
//! by the other, which makes a system call for that and for nothing else.
//!
//! * [`ring`] is one direction: a queue of messages with one producer and one consumer, and
//!   the protocol by which either sleeps and is woken;
//! * [`segment`] is the memory: two rings in a sealed memory file;
//! * [`handover`] gives that file to the other process, through a Unix socket that only
//!   processes of the same user get anything from. The connection stays, as the bell that
//!   wakes;
//! * [`end`](mod@end) is what a process uses: both rings and the bell;
//! * [`permit`] is the permission to use the host's memory without asking, which the host
//!   takes back; [`reach`] is what the device does with it, and [`copy`](mod@copy) how;
//! * [`patience`] is how long it is worth while to look before one sleeps, [`courtesy`] how
//!   others get to run meanwhile where there are too few processors.
//!
//! Beside that, what both processes need whatever carries their messages:
//!
//! * [`backlog`] has messages that found no room;
//! * [`threads`] that run as soon as they are woken;
//! * [`descriptors`] that a thread can sleep on;
//! * [`random`] has the numbers of sessions;
//! * [`vanished`] is how a host is noticed that is gone without a word.
//!
//! # Trust
//!
//! Neither end trusts the other. Each keeps its own position in private memory, and what the
//! other has written is read once, copied and then checked. The other can write whatever it
//! wants at any moment: that is told as [`Broken`], or gives a message that was never
//! sent, which the reader of messages has to check in any case.

pub mod permit;
pub mod ring;

#[cfg(not(loom))]
pub mod backlog;
#[cfg(not(loom))]
pub mod copy;
#[cfg(not(loom))]
pub mod courtesy;
#[cfg(not(loom))]
pub mod descriptors;
#[cfg(not(loom))]
pub mod end;
#[cfg(not(loom))]
pub mod file;
#[cfg(not(loom))]
pub mod handover;
#[cfg(not(loom))]
pub mod patience;
#[cfg(not(loom))]
pub mod random;
#[cfg(not(loom))]
pub mod reach;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod threads;
#[cfg(not(loom))]
pub mod vanished;

use std::fmt;

/// Whether sessions go through shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Never.
    Off,
    /// If both ends are on one machine, both can, and it can be had.
    #[default]
    Auto,
    /// Or not at all.
    On,
}

/// The other end has written what it may not write. What both share is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A position that claims more words in a ring than there can be.
    Position {
        /// Words that would be in it.
        found: u64,
        /// At most so many can be.
        possible: u64,
    },
    /// A position that was seen turned back.
    Back {
        /// By so many words.
        words: u64,
    },
    /// A part of a message without a byte, with others to follow.
    Empty,
    /// A part of a message that is longer than what was written, or may be.
    Length {
        /// Bytes of the part.
        found: u64,
        /// At most so many were possible.
        limit: u64,
    },
    /// A message with more bytes than a message may have.
    Message {
        /// Most bytes of a message.
        limit: usize,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position { found, possible } => write!(
                f,
                "a ring in shared memory would hold {found} words, {possible} are possible"
            ),
            Self::Back { words } => {
                write!(
                    f,
                    "a position in shared memory turned back by {words} words"
                )
            }
            Self::Empty => f.write_str("a message in shared memory has an empty part"),
            Self::Length { found, limit } => write!(
                f,
                "a message in shared memory has a part of {found} bytes where {limit} are possible"
            ),
            Self::Message { limit } => {
                write!(f, "a message in shared memory has more than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for Broken {}
