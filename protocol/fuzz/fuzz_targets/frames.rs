// SPDX-License-Identifier: MIT OR Apache-2.0

//! Any bytes are a message: each frame of it decodes to one that encodes to
//! the same bytes, or is an error that can be said.

#![no_main]

use accelerator_protocol::{
    wire::{split, MAX_PAYLOAD},
    Frame,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let mut rest = message;
    while !rest.is_empty() {
        let (header, payload, tail) = match split(rest) {
            Ok(ok) => ok,
            Err(e) => {
                assert!(!e.to_string().is_empty());
                return;
            }
        };
        assert!(payload.len() <= MAX_PAYLOAD && tail.len() < rest.len());
        match Frame::decode(&header, payload) {
            Ok(frame) => {
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
});
