// SPDX-License-Identifier: MIT OR Apache-2.0

//! The record of a simulation: what crossed between a guest and its card, with one number for
//! each transaction, in a file that is mapped.
//!
//! * [`layout`] is the bytes of the file, which `FORMAT.md` describes for other programs;
//! * [`writer`] writes it, in the process of the simulator: one entry is a few stores;
//! * [`mapping`] is the memory that it stores to;
//! * [`reader`] reads it, also one whose writer was killed, or one that is still written.
//!
//! Nothing here knows a simulator, a socket or the wire protocol.

pub mod layout;
pub mod mapping;
pub mod reader;
pub mod writer;

pub use layout::{Entry, Header, Kind, Source, SourceKind, State};
pub use reader::{Reader, Record};
pub use writer::{Contents, Size, Writer};

/// CLOCK_MONOTONIC of the machine in nanoseconds, as entries have it.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is ours and valid for writes.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) } != 0 {
        // Linux always has this clock.
        return 0;
    }
    // Neither is negative.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
