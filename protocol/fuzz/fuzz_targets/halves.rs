// SPDX-License-Identifier: MIT OR Apache-2.0

//! The first byte is the half that gets the message, the second its state.

#![no_main]

use accelerator_fuzz::{typed, Half};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Some((&half, rest)) = input.split_first() {
        typed(Half::ALL[usize::from(half) % Half::ALL.len()], rest);
    }
});
