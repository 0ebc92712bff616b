// SPDX-License-Identifier: MIT OR Apache-2.0

//! The numbers of the format.

use crate::config::BARS;

/// First four bytes of every frame: `APCI`.
pub const SIGNATURE: u32 = u32::from_le_bytes(*b"APCI");

/// Another major version is another protocol: it is refused.
pub const VERSION_MAJOR: u8 = 1;

/// A higher minor version only adds what the lower one may ignore.
pub const VERSION_MINOR: u8 = 6;

/// Bytes of a frame header.
pub const HEADER_LEN: usize = 24;

/// Most data bytes of one DMA request or completion.
pub const MAX_DATA: usize = 64 * 1024;

/// Largest payload: a DMA write of [`MAX_DATA`] bytes with byte enables.
pub const MAX_PAYLOAD: usize = 16 + MAX_DATA + MAX_DATA / 8;

/// Largest ZeroMQ message, several frames together. Sockets are told this
/// number, so that a longer one is refused before it is buffered.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// Longest name in [`Init`](super::Init), in bytes.
pub const MAX_NAME: usize = 64;

/// Longest text in [`Frame::Refuse`](super::Frame::Refuse), in bytes.
pub const MAX_TEXT: usize = 512;

/// Longest plan in [`Frame::Faults`](super::Frame::Faults), in bytes.
pub const MAX_PLAN: usize = 4096;

/// Shortest Ethernet frame of a NIC channel, in bytes, without the frame check
/// sequence (IEEE 802.3, minFrameSize less 4).
pub const MIN_NIC_FRAME: usize = 60;

/// Longest Ethernet frame of a NIC channel, in bytes, without the frame check
/// sequence: a jumbo frame of 9,202 bytes of payload.
pub const MAX_NIC_FRAME: usize = 9216;

/// Longest interval of [`Frame::Clock`](super::Frame::Clock): a second, in nanoseconds.
pub const MAX_INTERVAL: u64 = 1_000_000_000;

/// Bit of [`Init::features`](super::Init::features), added in 1.2: the host is on the
/// device's machine, as far as it can tell, and can go on with the session through shared
/// memory.
pub const FEATURE_SHARED_MEMORY: u64 = 1;

/// Bytes of the name in [`Frame::Share`](super::Frame::Share).
pub const SHARE_NAME: usize = 32;

/// Most bytes of one [`Frame::Serial`](super::Frame::Serial).
pub const MAX_SERIAL: usize = 4096;

/// Bytes of a CONFIG payload without its capabilities.
pub const CONFIG_LEN: usize = 192;

// Layout facts that PROTOCOL.md states, checked when the crate is compiled.
const _: () = assert!(HEADER_LEN == 4 + 4 + 8 + 4 + 4);
const _: () = assert!(CONFIG_LEN == 16 + 16 + BARS * 24 + 16);
const _: () = assert!(MAX_PAYLOAD == 73_744);
const _: () = assert!(MAX_PAYLOAD + HEADER_LEN <= MAX_MESSAGE);
const _: () = assert!(MAX_NIC_FRAME <= MAX_PAYLOAD && MAX_SERIAL <= MAX_PAYLOAD);
