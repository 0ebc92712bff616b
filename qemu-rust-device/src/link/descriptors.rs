// SPDX-License-Identifier: GPL-2.0-or-later

//! What a thread that serves the link can be woken by.

/// What of [`super::Link::inner`] is readable: bits, and the tags of the descriptors.
pub(super) const SOCKET: u64 = 1;
pub(super) const MONITOR: u64 = 2;
pub(super) const WAKE: u64 = 4;
pub(super) const RETRY: u64 = 8;
pub(super) const LATE: u64 = 16;
pub(super) const BELL: u64 = 64;
/// Something is in shared memory.
pub(super) const MEMORY: u64 = 128;
pub(super) const ALL: u64 = SOCKET | MONITOR | WAKE | RETRY | LATE | BELL | MEMORY;

/// The tags in [`super::Link::outer`]: of `inner`, and of [`super::Link::end`].
pub(super) const INNER: u64 = 0;
pub(super) const END: u64 = 32;

/// The tags of [`super::Wire::descriptors`].
pub(super) const WIRE: [u64; 2] = [SOCKET, MONITOR];
