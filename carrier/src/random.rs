// SPDX-License-Identifier: MIT OR Apache-2.0

//! Numbers that nobody guesses or has had before.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

/// Fills `bytes` with what nobody can guess, without waiting.
///
/// # Errors
///
/// The system has none yet.
pub(crate) fn fill(bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: the buffer is valid for its length.
    let count =
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    match usize::try_from(count) {
        Err(_) => Err(io::Error::last_os_error()),
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::other("not enough random bytes")),
    }
}

/// A number that no other session has of which the other end may still hear.
pub fn session_number() -> u64 {
    let mut bytes = [0; 8];
    // The time and the number of the process alone already make it differ.
    let _ = fill(&mut bytes);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as u64);
    u64::from_le_bytes(bytes) ^ now.rotate_left(20) ^ u64::from(std::process::id())
}
