// SPDX-License-Identifier: MIT OR Apache-2.0

//! Fuzz targets of the protocol: functions that take any bytes and panic if a
//! rule is broken. Their kinds:
//!
//! * [`frames`]: bytes as a message;
//! * [`typed()`]: a frame of one type, with any payload, for one half of a
//!   session in one of its states; one target for each type and half;
//! * [`sessions`]: a list of own requests and of messages of a hostile peer;
//! * [`reach()`]: memory that a host lists for a device, and somebody who writes into the list;
//! * [`ring()`]: both ends of a ring in shared memory, and somebody who writes there;
//! * [`record()`]: the file of a record, damaged and cut.
//!
//! The program `accelerator-fuzz` runs them on inputs that [`input`] makes from
//! good frames; `protocol/fuzz` has the same targets for libFuzzer.

#![forbid(unsafe_code)]

pub mod input;
mod reach;
mod record;
mod ring;
mod session;
mod typed;

use accelerator_protocol::{
    wire::{split, MAX_PAYLOAD},
    Frame,
};

pub use reach::reach;
pub use record::record;
pub use ring::ring;
pub use session::sessions;
pub use typed::{typed, Half, Outcome};

/// Any bytes are a message: each frame of it decodes to one that encodes to the
/// same bytes, or is an error that can be said. Returns the good frames.
pub fn frames(message: &[u8]) -> u32 {
    let mut good = 0;
    let mut rest = message;
    while !rest.is_empty() {
        let (header, payload, tail) = match split(rest) {
            Ok(ok) => ok,
            Err(e) => {
                assert!(!e.to_string().is_empty());
                break;
            }
        };
        assert!(payload.len() <= MAX_PAYLOAD && tail.len() < rest.len());
        match Frame::decode(&header, payload) {
            Ok(frame) => {
                good += 1;
                let mut again = Vec::new();
                frame.encode(header.session, &mut again);
                // A receiver does not look at the minor version.
                again[5] = rest[5];
                assert_eq!(again, rest[..again.len()]);
                if let Frame::Config(config) = frame {
                    // Rules are kept or named; neither panics.
                    if let Err(e) = config.check() {
                        assert!(!e.to_string().is_empty());
                    }
                }
            }
            Err(e) => assert!(!e.to_string().is_empty()),
        }
        rest = tail;
    }
    good
}
