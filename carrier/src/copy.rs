// SPDX-License-Identifier: MIT OR Apache-2.0

//! Copies to and from memory that others use at the same time.
//!
//! Each naturally aligned piece of 8, 4 or 2 bytes that is wholly copied is read or written at
//! once, from the lowest address up, so that a CPU never sees a part of a word that the device
//! has written whole. What else it sees while a copy goes on is undetermined, as with a card.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering};

/// Bytes of the next piece at `address`, with `left` bytes to go.
fn piece(address: usize, left: usize) -> usize {
    if left >= 8 && address % 8 == 0 {
        8
    } else if left >= 4 && address % 4 == 0 {
        4
    } else if left >= 2 && address % 2 == 0 {
        2
    } else {
        1
    }
}

/// Fills `to` with what is at `from`.
///
/// # Safety
///
/// As many bytes at `from` are valid for reads, and whoever uses them at the same time does so
/// atomically or is no part of this program.
pub unsafe fn read(from: *const u8, to: &mut [u8]) {
    let mut at = 0;
    while at < to.len() {
        let source = from.wrapping_add(at).cast_mut();
        let size = piece(source as usize, to.len() - at);
        let to = &mut to[at..at + size];
        // SAFETY: valid (promised) and aligned (`piece`).
        unsafe {
            match size {
                8 => to.copy_from_slice(
                    &AtomicU64::from_ptr(source.cast())
                        .load(Ordering::Relaxed)
                        .to_ne_bytes(),
                ),
                4 => to.copy_from_slice(
                    &AtomicU32::from_ptr(source.cast())
                        .load(Ordering::Relaxed)
                        .to_ne_bytes(),
                ),
                2 => to.copy_from_slice(
                    &AtomicU16::from_ptr(source.cast())
                        .load(Ordering::Relaxed)
                        .to_ne_bytes(),
                ),
                _ => to[0] = AtomicU8::from_ptr(source).load(Ordering::Relaxed),
            }
        }
        at += size;
    }
}

/// Puts `from` to `to`.
///
/// # Safety
///
/// As for [`read`], for writes.
pub unsafe fn write(to: *mut u8, from: &[u8]) {
    let mut at = 0;
    while at < from.len() {
        let target = to.wrapping_add(at);
        let size = piece(target as usize, from.len() - at);
        let from = &from[at..at + size];
        // SAFETY: valid (promised) and aligned (`piece`).
        unsafe {
            match *from {
                [a, b, c, d, e, f, g, h] => AtomicU64::from_ptr(target.cast()).store(
                    u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
                    Ordering::Relaxed,
                ),
                [a, b, c, d] => AtomicU32::from_ptr(target.cast())
                    .store(u32::from_ne_bytes([a, b, c, d]), Ordering::Relaxed),
                [a, b] => AtomicU16::from_ptr(target.cast())
                    .store(u16::from_ne_bytes([a, b]), Ordering::Relaxed),
                _ => AtomicU8::from_ptr(target).store(from[0], Ordering::Relaxed),
            }
        }
        at += size;
    }
}

/// Puts those bytes of `from` to `to` whose bit is set in `enables`, bit *i* mod 8 of byte
/// *i* / 8 for byte *i*. How many.
///
/// # Safety
///
/// As for [`write()`].
pub unsafe fn write_enabled(to: *mut u8, from: &[u8], enables: &[u8]) -> usize {
    let enabled = |i: usize| enables[i / 8] >> (i % 8) & 1 != 0;
    let (mut at, mut count) = (0, 0);
    while at < from.len() {
        if !enabled(at) {
            at += 1;
            continue;
        }
        let begin = at;
        while at < from.len() && enabled(at) {
            at += 1;
        }
        // SAFETY: promised.
        unsafe { write(to.wrapping_add(begin), &from[begin..at]) };
        count += at - begin;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Aligned to eight.
    fn memory(words: &mut [u64]) -> *mut u8 {
        words.as_mut_ptr().cast()
    }

    #[test]
    fn every_alignment_and_length_is_copied_and_nothing_beside_it() {
        for begin in 0..16 {
            for length in 0..40 {
                let mut words = [0xa5a5_a5a5_a5a5_a5a5_u64; 8];
                let data: Vec<u8> = (1..=length as u8).collect();
                let memory = memory(&mut words);
                let mut back = vec![0; length];
                // SAFETY: within the words, which nobody else uses.
                unsafe {
                    write(memory.add(begin), &data);
                    read(memory.add(begin), &mut back);
                }
                assert_eq!(back, data);
                let all: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
                assert!(all[..begin].iter().all(|b| *b == 0xa5));
                assert!(all[begin + length..].iter().all(|b| *b == 0xa5));
            }
        }
    }

    #[test]
    fn bytes_without_their_bit_stay_as_they_are() {
        for enables in 0..=u16::MAX {
            let mut words = [0_u64; 3];
            let data: Vec<u8> = (1..=16).collect();
            // SAFETY: within the words, which nobody else uses.
            let count =
                unsafe { write_enabled(memory(&mut words).add(3), &data, &enables.to_le_bytes()) };
            assert_eq!(count as u32, enables.count_ones());
            let all: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            for i in 0..16 {
                let expected = if enables >> i & 1 != 0 { data[i] } else { 0 };
                assert_eq!(all[3 + i], expected);
            }
        }
    }
}
