// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames: their layout, encoding and decoding.
//!
//! Everything is little-endian. A ZeroMQ message carries one or more frames
//! back to back; each frame is a header of [`HEADER_LEN`] bytes and a payload
//! whose length the header tells.

use std::fmt;

use crate::{
    config::{Bar, Capability, Config, Msix, BARS, MAX_CAPABILITIES},
    function::{BadField, Function, FUNCTION_LEN},
};

/// First four bytes of every frame: `APCI`.
pub const SIGNATURE: u32 = u32::from_le_bytes(*b"APCI");

/// Another major version is another protocol: it is refused.
pub const VERSION_MAJOR: u8 = 1;

/// A higher minor version only adds what the lower one may ignore.
pub const VERSION_MINOR: u8 = 2;

/// Bytes of a frame header.
pub const HEADER_LEN: usize = 24;

/// Most data bytes of one DMA request or completion.
pub const MAX_DATA: usize = 64 * 1024;

/// Largest payload: a DMA write of [`MAX_DATA`] bytes with byte enables.
pub const MAX_PAYLOAD: usize = 16 + MAX_DATA + MAX_DATA / 8;

/// Largest ZeroMQ message, several frames together. Sockets are told this
/// number, so that a longer one is refused before it is buffered.
pub const MAX_MESSAGE: usize = 1024 * 1024;

/// Longest name in [`Init`], in bytes.
pub const MAX_NAME: usize = 64;

/// Longest text in [`Frame::Refuse`], in bytes.
pub const MAX_TEXT: usize = 512;

/// Shortest Ethernet frame of a NIC channel, in bytes, without the frame check
/// sequence (IEEE 802.3, minFrameSize less 4).
pub const MIN_NIC_FRAME: usize = 60;

/// Longest Ethernet frame of a NIC channel, in bytes, without the frame check
/// sequence: a jumbo frame of 9,202 bytes of payload.
pub const MAX_NIC_FRAME: usize = 9216;

/// Longest interval of [`Frame::Clock`]: a second, in nanoseconds.
pub const MAX_INTERVAL: u64 = 1_000_000_000;

/// Bit of [`Init::features`], added in 1.2: the host is on the device's machine, as far as it
/// can tell, and can go on with the session through shared memory.
pub const FEATURE_SHARED_MEMORY: u64 = 1;

/// Bytes of the name in [`Frame::Share`].
pub const SHARE_NAME: usize = 32;

/// Most bytes of one [`Frame::Serial`].
pub const MAX_SERIAL: usize = 4096;

/// Bytes of a CONFIG payload without its capabilities.
pub const CONFIG_LEN: usize = 192;

const FLAG_MSIX: u32 = 1;
const BAR_64BIT: u32 = 1;
const BAR_PREFETCHABLE: u32 = 2;
const DMA_ENABLES: u32 = 1;

/// Numbers of the frame types.
pub mod frame_type {
    #![allow(missing_docs)]
    pub const INIT: u8 = 0x01;
    pub const CONFIG: u8 = 0x02;
    pub const READY: u8 = 0x03;
    pub const REFUSE: u8 = 0x04;
    pub const BYE: u8 = 0x05;
    pub const NOOP: u8 = 0x06;
    pub const SHARE: u8 = 0x07;
    pub const ATTACH: u8 = 0x08;
    pub const MMIO_READ: u8 = 0x10;
    pub const MMIO_WRITE: u8 = 0x11;
    pub const MMIO_READ_DONE: u8 = 0x12;
    pub const MMIO_WRITE_DONE: u8 = 0x13;
    pub const DMA_READ: u8 = 0x20;
    pub const DMA_WRITE: u8 = 0x21;
    pub const DMA_READ_DONE: u8 = 0x22;
    pub const DMA_WRITE_DONE: u8 = 0x23;
    pub const MSIX: u8 = 0x30;
    pub const INTX: u8 = 0x31;
    pub const RESET: u8 = 0x40;
    pub const RESET_DONE: u8 = 0x41;
    pub const CLOCK: u8 = 0x42;
    pub const TIME: u8 = 0x43;
    pub const FUNCTION: u8 = 0x44;
    pub const OPEN: u8 = 0x50;
    pub const ACCEPT: u8 = 0x51;
    pub const NIC_FRAME: u8 = 0x52;
    pub const NIC_LINK: u8 = 0x53;
    pub const SERIAL: u8 = 0x54;
    pub const CREDIT: u8 = 0x55;
}

/// The fixed part of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor version of the sender.
    pub minor: u8,
    /// One of [`frame_type`].
    pub frame_type: u8,
    /// Session that the frame belongs to; chosen by the host in INIT.
    pub session: u64,
    /// Transaction tag; 0 where the type has none.
    pub tag: u32,
    /// Payload bytes.
    pub length: u32,
}

/// First frame of a session, from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init<'a> {
    /// Optional abilities of the host, [`FEATURE_SHARED_MEMORY`].
    pub features: u64,
    /// Posted writes that the host keeps outstanding at most, 1 to 4096.
    pub write_window: u32,
    /// Data bytes that the host accepts per DMA request, 64 to [`MAX_DATA`].
    pub max_data: u32,
    /// Who the host is, for messages; at most [`MAX_NAME`] bytes.
    pub name: &'a str,
}

/// What a channel beside the PCIe stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ChannelKind {
    /// Ethernet frames; credit counts frames.
    Nic = 1,
    /// Bytes of a serial line; credit counts bytes.
    Serial = 2,
}

impl ChannelKind {
    /// Most credit that one side may have from the other.
    pub const fn max_credit(self) -> u32 {
        match self {
            Self::Nic => 256,
            Self::Serial => 65_536,
        }
    }

    fn decode(value: u32) -> Result<Self, WireError> {
        Ok(match value {
            1 => Self::Nic,
            2 => Self::Serial,
            _ => return Err(field("channel kind", value, "1 or 2")),
        })
    }

    fn check_credit(self, credit: u32) -> Result<(), WireError> {
        if (1..=self.max_credit()).contains(&credit) {
            return Ok(());
        }
        Err(match self {
            Self::Nic => field("credit in frames", credit, "1 to 256"),
            Self::Serial => field("credit in bytes", credit, "1 to 65536"),
        })
    }

    fn check_link(self, link: u8) -> Result<bool, WireError> {
        match (self, link) {
            (_, 0) => Ok(false),
            (Self::Nic, 1) => Ok(true),
            (Self::Nic, _) => Err(field("link", link, "0 or 1")),
            (Self::Serial, _) => Err(field("link of a serial channel", link, "0")),
        }
    }
}

/// First frame of a channel's session, from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// What the host wants to talk to.
    pub kind: ChannelKind,
    /// What the device may send at first, 1 to [`ChannelKind::max_credit`].
    pub credit: u32,
    /// NIC: the station address, first byte on the wire first, neither zero
    /// nor a group address. Serial: zero.
    pub mac: [u8; 6],
    /// NIC: whether the link of the host's network is up. Serial: false.
    pub link: bool,
    /// Who the host is, for messages; at most [`MAX_NAME`] bytes.
    pub name: &'a str,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// The completer refused it: an AXI error response, bus mastering off.
    Refused = 1,
    /// No memory answers at that address (includes IOMMU faults).
    Fault = 2,
    /// Given up because of a reset.
    Aborted = 3,
}

impl Status {
    fn decode(value: u32) -> Result<Self, WireError> {
        Ok(match value {
            0 => Self::Ok,
            1 => Self::Refused,
            2 => Self::Fault,
            3 => Self::Aborted,
            _ => return Err(field("status", value, "0 to 3")),
        })
    }
}

/// Why the function is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ResetKind {
    /// Function level reset (PCIe base spec, Initiate Function Level Reset).
    Flr = 1,
    /// Reset of the secondary bus, or hot reset of the link.
    Hot = 2,
    /// Power-on or reset of the whole machine.
    Cold = 3,
}

impl ResetKind {
    fn decode(value: u32) -> Result<Self, WireError> {
        Ok(match value {
            1 => Self::Flr,
            2 => Self::Hot,
            3 => Self::Cold,
            _ => return Err(field("reset kind", value, "1 to 3")),
        })
    }
}

/// Why a session is refused or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// The sender closes down in order.
    Closing = 0,
    /// Another major version.
    Version = 1,
    /// A frame that broke the protocol.
    Protocol = 2,
    /// The configuration breaks a rule.
    Configuration = 3,
    /// Another session is active.
    Busy = 4,
}

impl Reason {
    fn decode(value: u32) -> Result<Self, WireError> {
        Ok(match value {
            0 => Self::Closing,
            1 => Self::Version,
            2 => Self::Protocol,
            3 => Self::Configuration,
            4 => Self::Busy,
            _ => return Err(field("reason", value, "0 to 4")),
        })
    }
}

/// A decoded frame. H→D is host to device, D→H device to host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// H→D: asks for a session.
    Init(Init<'a>),
    /// D→H: answers INIT.
    Config(Config),
    /// H→D: the configuration is accepted, the link is up.
    Ready,
    /// Either way: no session, and why.
    Refuse {
        /// Machine readable.
        reason: Reason,
        /// For a person; at most [`MAX_TEXT`] bytes.
        text: &'a str,
    },
    /// Either way: the session ends.
    Bye {
        /// Machine readable.
        reason: Reason,
    },
    /// Either way: nothing; tells whether the peer can still be reached.
    Noop,
    /// D→H before CONFIG, added in 1.2: the session can go on through shared memory.
    Share {
        /// Where the host gets it: [`SHARE_NAME`] hexadecimal digits.
        name: &'a str,
    },
    /// H→D before READY, added in 1.2: answers SHARE. What follows READY, in both
    /// directions, goes through shared memory if so.
    Attach {
        /// Whether the host has it.
        attached: bool,
    },
    /// H→D: read from a BAR.
    MmioRead {
        /// Chosen by the host.
        tag: u32,
        /// 0 to 5.
        bar: u8,
        /// 1 to 8 bytes.
        len: u8,
        /// Byte offset in the BAR, any alignment.
        offset: u64,
    },
    /// H→D: posted write to a BAR.
    MmioWrite {
        /// Counts up by one with every write.
        tag: u32,
        /// 0 to 5.
        bar: u8,
        /// 1 to 8 bytes.
        len: u8,
        /// Byte offset in the BAR, any alignment.
        offset: u64,
        /// The low `len` bytes, lowest address first; the rest is zero.
        data: u64,
    },
    /// D→H: answers MMIO_READ.
    MmioReadDone {
        /// Of the request.
        tag: u32,
        /// Anything but [`Status::Ok`] reads as all ones.
        status: Status,
        /// As in MMIO_WRITE.
        data: u64,
    },
    /// D→H: all writes up to and including `tag` are done.
    MmioWriteDone {
        /// Of the last write that is done.
        tag: u32,
        /// Of that write.
        status: Status,
    },
    /// D→H: read host memory.
    DmaRead {
        /// Chosen by the device.
        tag: u32,
        /// Bus address.
        addr: u64,
        /// 1 to [`MAX_DATA`] bytes.
        len: u32,
    },
    /// D→H: write host memory.
    DmaWrite {
        /// Chosen by the device.
        tag: u32,
        /// Bus address.
        addr: u64,
        /// 1 to [`MAX_DATA`] bytes.
        data: &'a [u8],
        /// One bit per byte, lowest first, if there are holes; bits beyond the
        /// last byte are zero.
        enables: Option<&'a [u8]>,
    },
    /// H→D: answers DMA_READ.
    DmaReadDone {
        /// Of the request.
        tag: u32,
        /// Whether `data` is there.
        status: Status,
        /// As long as requested if the status is OK, empty otherwise.
        data: &'a [u8],
    },
    /// H→D: answers DMA_WRITE.
    DmaWriteDone {
        /// Of the request.
        tag: u32,
        /// Whether all enabled bytes were written.
        status: Status,
    },
    /// D→H: message signalled interrupt.
    Msix {
        /// 0 to the number of vectors - 1.
        vector: u16,
    },
    /// D→H: level of the INTx pin.
    Intx {
        /// Asserted.
        level: bool,
    },
    /// H→D: reset; everything outstanding both ways is void.
    Reset {
        /// Counts resets.
        tag: u32,
        /// What the guest did.
        kind: ResetKind,
    },
    /// D→H: answers RESET; what was sent before it is void.
    ResetDone {
        /// Of the reset.
        tag: u32,
    },
    /// H→D, added in 1.1: tell the simulated time again and again.
    Clock {
        /// Simulated nanoseconds between two [`Frame::Time`], at most
        /// [`MAX_INTERVAL`]; 0 for no more of them.
        interval: u64,
    },
    /// D→H, added in 1.1: the simulated time now.
    Time {
        /// Nanoseconds since a point that is the same in all of a session.
        ns: u64,
    },
    /// H→D, added in 1.2: what the guest has set in config space, all of it, for
    /// what comes after.
    Function(Function),
    /// H→D on a channel: asks for a session.
    Open(Open<'a>),
    /// D→H on a channel: answers OPEN, the session is up.
    Accept {
        /// As in OPEN.
        kind: ChannelKind,
        /// What the host may send at first, 1 to [`ChannelKind::max_credit`].
        credit: u32,
        /// NIC: whether the device's own link is up. Serial: false.
        link: bool,
    },
    /// Either way on a NIC channel: one Ethernet frame.
    NicFrame {
        /// [`MIN_NIC_FRAME`] to [`MAX_NIC_FRAME`] bytes, without the frame
        /// check sequence.
        data: &'a [u8],
    },
    /// Either way on a NIC channel: the sender's link has changed.
    NicLink {
        /// Whether it is up now.
        up: bool,
    },
    /// Either way on a serial channel: bytes.
    Serial {
        /// 1 to [`MAX_SERIAL`] of them.
        data: &'a [u8],
    },
    /// Either way on a channel: more may be sent to the sender of this.
    Credit {
        /// Frames or bytes more, 1 to 65,536.
        amount: u32,
    },
}

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

fn field(name: &'static str, found: impl Into<u64>, expected: &'static str) -> WireError {
    WireError::Field {
        name,
        found: found.into(),
        expected,
    }
}

/// Reads little-endian values from the front of a slice whose length was
/// checked by the caller; running out is still an error, not a panic.
struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        if n > self.rest.len() {
            return Err(WireError::Truncated {
                what: self.what,
                need: n,
                have: self.rest.len(),
            });
        }
        let (head, tail) = self.rest.split_at(n);
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn zero(&mut self, n: usize, name: &'static str) -> Result<(), WireError> {
        for &b in self.take(n)? {
            if b != 0 {
                return Err(field(name, b, "0"));
            }
        }
        Ok(())
    }

    fn text(&mut self, n: usize, name: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.take(n)?).map_err(|_| WireError::Text { name })
    }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// The first of length, signature, version and reserved byte that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader {
            rest: bytes,
            what: "frame header",
        };
        if bytes.len() < HEADER_LEN {
            return Err(WireError::Truncated {
                what: r.what,
                need: HEADER_LEN,
                have: bytes.len(),
            });
        }
        let signature = r.u32()?;
        if signature != SIGNATURE {
            return Err(WireError::Signature { found: signature });
        }
        let (major, minor) = (r.u8()?, r.u8()?);
        if major != VERSION_MAJOR {
            return Err(WireError::Version {
                found: (major, minor),
            });
        }
        let frame_type = r.u8()?;
        r.zero(1, "reserved header byte")?;
        Ok(Self {
            minor,
            frame_type,
            session: r.u64()?,
            tag: r.u32()?,
            length: r.u32()?,
        })
    }
}

/// Splits the first frame off a message.
///
/// Returns its header, its payload and the bytes after it.
///
/// # Errors
///
/// Those of [`Header::decode`], and a length beyond the message or
/// [`MAX_PAYLOAD`].
pub fn split(message: &[u8]) -> Result<(Header, &[u8], &[u8]), WireError> {
    let header = Header::decode(message)?;
    let rest = &message[HEADER_LEN..];
    if header.length as usize > MAX_PAYLOAD {
        return Err(field(
            "payload length",
            header.length,
            "at most 73744 (64 KiB of data with byte enables)",
        ));
    }
    if header.length as usize > rest.len() {
        return Err(WireError::Truncated {
            what: "frame payload",
            need: header.length as usize,
            have: rest.len(),
        });
    }
    let (payload, rest) = rest.split_at(header.length as usize);
    Ok((header, payload, rest))
}

fn exactly(frame: &'static str, payload: &[u8], expected: usize) -> Result<(), WireError> {
    if payload.len() != expected {
        return Err(WireError::Length {
            frame,
            found: payload.len(),
            expected,
        });
    }
    Ok(())
}

fn at_least(frame: &'static str, payload: &[u8], expected: usize) -> Result<(), WireError> {
    if payload.len() < expected {
        return Err(WireError::Length {
            frame,
            found: payload.len(),
            expected,
        });
    }
    Ok(())
}

/// BAR, length and offset of an MMIO request, and its data for a write.
fn decode_mmio(
    name: &'static str,
    payload: &[u8],
    write: bool,
) -> Result<(u8, u8, u64, u64), WireError> {
    exactly(name, payload, if write { 24 } else { 16 })?;
    let mut r = Reader {
        rest: payload,
        what: name,
    };
    let (bar, len) = (r.u8()?, r.u8()?);
    if usize::from(bar) >= BARS {
        return Err(field("BAR", bar, "0 to 5"));
    }
    if !(1..=8).contains(&len) {
        return Err(field("access length", len, "1 to 8"));
    }
    r.zero(6, "reserved MMIO bytes")?;
    let offset = r.u64()?;
    let data = if write { r.u64()? } else { 0 };
    if len < 8 && data >> (8 * u32::from(len)) != 0 {
        return Err(field("data beyond the access length", data, "0"));
    }
    Ok((bar, len, offset, data))
}

impl Config {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.vendor.to_le_bytes());
        out.extend_from_slice(&self.device.to_le_bytes());
        out.extend_from_slice(&self.subsystem_vendor.to_le_bytes());
        out.extend_from_slice(&self.subsystem.to_le_bytes());
        out.extend_from_slice(&self.class.to_le_bytes());
        out.extend_from_slice(&[
            self.revision,
            self.intx_pin,
            self.link_speed,
            self.link_width,
        ]);
        let (flags, msix) = match self.msix {
            Some(m) => (FLAG_MSIX, m),
            None => (
                0,
                Msix {
                    vectors: 0,
                    table_bar: 0,
                    pba_bar: 0,
                    table_offset: 0,
                    pba_offset: 0,
                },
            ),
        };
        out.extend_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(&msix.vectors.to_le_bytes());
        out.extend_from_slice(&[msix.table_bar, msix.pba_bar]);
        out.extend_from_slice(&msix.table_offset.to_le_bytes());
        out.extend_from_slice(&msix.pba_offset.to_le_bytes());
        for bar in &self.bars {
            out.extend_from_slice(&bar.size.to_le_bytes());
            out.extend_from_slice(&bar.axi_base.to_le_bytes());
            let flags = if bar.is_64bit { BAR_64BIT } else { 0 }
                | if bar.prefetchable {
                    BAR_PREFETCHABLE
                } else {
                    0
                };
            out.extend_from_slice(&flags.to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        }
        out.extend_from_slice(&self.clock_period_ps.to_le_bytes());
        // More than MAX_CAPABILITIES do not pass `check`; the count stays honest
        // for those that do not ask.
        out.extend_from_slice(&(self.capabilities.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        for cap in &self.capabilities {
            out.extend_from_slice(&[cap.id, cap.offset]);
            out.extend_from_slice(&(cap.body.len() as u16).to_le_bytes());
            out.extend_from_slice(&cap.body);
        }
    }

    fn decode(payload: &[u8]) -> Result<Self, WireError> {
        at_least("CONFIG", payload, CONFIG_LEN)?;
        let mut r = Reader {
            rest: payload,
            what: "CONFIG",
        };
        let mut config = Self {
            vendor: r.u16()?,
            device: r.u16()?,
            subsystem_vendor: r.u16()?,
            subsystem: r.u16()?,
            class: r.u32()?,
            revision: r.u8()?,
            intx_pin: r.u8()?,
            link_speed: r.u8()?,
            link_width: r.u8()?,
            ..Self::default()
        };
        let flags = r.u32()?;
        if flags & !FLAG_MSIX != 0 {
            return Err(field("CONFIG flags", flags, "0 or 1"));
        }
        let msix = Msix {
            vectors: r.u16()?,
            table_bar: r.u8()?,
            pba_bar: r.u8()?,
            table_offset: r.u32()?,
            pba_offset: r.u32()?,
        };
        if flags & FLAG_MSIX != 0 {
            config.msix = Some(msix);
        } else {
            // What is not there has one encoding.
            for (name, value) in [
                ("msix.vectors", u32::from(msix.vectors)),
                ("msix.table_bar", u32::from(msix.table_bar)),
                ("msix.pba_bar", u32::from(msix.pba_bar)),
                ("msix.table_offset", msix.table_offset),
                ("msix.pba_offset", msix.pba_offset),
            ] {
                if value != 0 {
                    return Err(field(name, value, "0 without MSI-X"));
                }
            }
        }
        for bar in &mut config.bars {
            *bar = Bar {
                size: r.u64()?,
                axi_base: r.u64()?,
                ..Bar::default()
            };
            let flags = r.u32()?;
            if flags & !(BAR_64BIT | BAR_PREFETCHABLE) != 0 {
                return Err(field("BAR flags", flags, "0 to 3"));
            }
            bar.is_64bit = flags & BAR_64BIT != 0;
            bar.prefetchable = flags & BAR_PREFETCHABLE != 0;
            r.zero(4, "reserved BAR bytes")?;
        }
        config.clock_period_ps = r.u32()?;
        let count = r.u32()?;
        if count as usize > MAX_CAPABILITIES {
            return Err(field("capability count", count, "at most 16"));
        }
        r.zero(8, "reserved CONFIG bytes")?;
        for _ in 0..count {
            let (id, offset, length) = (r.u8()?, r.u8()?, r.u16()?);
            config.capabilities.push(Capability {
                id,
                offset,
                body: r.take(usize::from(length))?.to_vec(),
            });
        }
        if !r.rest.is_empty() {
            return Err(WireError::Length {
                frame: "CONFIG",
                found: payload.len(),
                expected: payload.len() - r.rest.len(),
            });
        }
        Ok(config)
    }
}

impl<'a> Frame<'a> {
    /// Decodes the payload of a frame that [`split`] returned.
    ///
    /// # Errors
    ///
    /// The first field that does not fit, with what it holds and what it may.
    pub fn decode(header: &Header, payload: &'a [u8]) -> Result<Self, WireError> {
        use frame_type as t;
        let tag = header.tag;
        let reader = |what| Reader {
            rest: payload,
            what,
        };
        let frame = match header.frame_type {
            t::INIT => {
                at_least("INIT", payload, 24)?;
                let mut r = reader("INIT");
                let (features, write_window, max_data) = (r.u64()?, r.u32()?, r.u32()?);
                if !(1..=4096).contains(&write_window) {
                    return Err(field("write window", write_window, "1 to 4096"));
                }
                if !(64..=MAX_DATA as u32).contains(&max_data) {
                    return Err(field("max_data", max_data, "64 to 65536"));
                }
                let length = r.u32()?;
                r.zero(4, "reserved INIT bytes")?;
                if length as usize > MAX_NAME {
                    return Err(field("name length", length, "at most 64"));
                }
                exactly("INIT", payload, 24 + length as usize)?;
                Frame::Init(Init {
                    features,
                    write_window,
                    max_data,
                    name: r.text(length as usize, "INIT name")?,
                })
            }
            t::CONFIG => Frame::Config(Config::decode(payload)?),
            t::READY => {
                exactly("READY", payload, 0)?;
                Frame::Ready
            }
            t::REFUSE => {
                at_least("REFUSE", payload, 8)?;
                let mut r = reader("REFUSE");
                let reason = Reason::decode(r.u32()?)?;
                let length = r.u32()?;
                if length as usize > MAX_TEXT {
                    return Err(field("text length", length, "at most 512"));
                }
                exactly("REFUSE", payload, 8 + length as usize)?;
                Frame::Refuse {
                    reason,
                    text: r.text(length as usize, "REFUSE text")?,
                }
            }
            t::BYE => {
                exactly("BYE", payload, 8)?;
                let mut r = reader("BYE");
                let reason = Reason::decode(r.u32()?)?;
                r.zero(4, "reserved BYE bytes")?;
                Frame::Bye { reason }
            }
            t::NOOP => {
                exactly("NOOP", payload, 0)?;
                Frame::Noop
            }
            t::SHARE => {
                exactly("SHARE", payload, SHARE_NAME)?;
                let name = reader("SHARE").text(SHARE_NAME, "SHARE name")?;
                let bad = |b: &u8| !b.is_ascii_digit() && !(b'a'..=b'f').contains(b);
                if let Some(bad) = name.bytes().find(bad) {
                    return Err(field("SHARE name byte", bad, "0 to 9 or a to f"));
                }
                Frame::Share { name }
            }
            t::ATTACH => {
                exactly("ATTACH", payload, 8)?;
                let mut r = reader("ATTACH");
                let attached = r.u32()?;
                r.zero(4, "reserved ATTACH bytes")?;
                if attached > 1 {
                    return Err(field("attached", attached, "0 or 1"));
                }
                Frame::Attach {
                    attached: attached != 0,
                }
            }
            t::MMIO_READ => {
                let (bar, len, offset, _) = decode_mmio("MMIO_READ", payload, false)?;
                Frame::MmioRead {
                    tag,
                    bar,
                    len,
                    offset,
                }
            }
            t::MMIO_WRITE => {
                let (bar, len, offset, data) = decode_mmio("MMIO_WRITE", payload, true)?;
                Frame::MmioWrite {
                    tag,
                    bar,
                    len,
                    offset,
                    data,
                }
            }
            t::MMIO_READ_DONE => {
                exactly("MMIO_READ_DONE", payload, 16)?;
                let mut r = reader("MMIO_READ_DONE");
                let status = Status::decode(r.u32()?)?;
                r.zero(4, "reserved completion bytes")?;
                Frame::MmioReadDone {
                    tag,
                    status,
                    data: r.u64()?,
                }
            }
            t::MMIO_WRITE_DONE | t::DMA_WRITE_DONE => {
                exactly("write completion", payload, 8)?;
                let mut r = reader("write completion");
                let status = Status::decode(r.u32()?)?;
                r.zero(4, "reserved completion bytes")?;
                if header.frame_type == t::DMA_WRITE_DONE {
                    Frame::DmaWriteDone { tag, status }
                } else {
                    Frame::MmioWriteDone { tag, status }
                }
            }
            t::DMA_READ => {
                exactly("DMA_READ", payload, 16)?;
                let mut r = reader("DMA_READ");
                let (addr, len) = (r.u64()?, r.u32()?);
                r.zero(4, "reserved DMA bytes")?;
                check_dma(addr, len)?;
                Frame::DmaRead { tag, addr, len }
            }
            t::DMA_WRITE => {
                at_least("DMA_WRITE", payload, 16)?;
                let mut r = reader("DMA_WRITE");
                let (addr, len, flags) = (r.u64()?, r.u32()?, r.u32()?);
                if flags & !DMA_ENABLES != 0 {
                    return Err(field("DMA_WRITE flags", flags, "0 or 1"));
                }
                check_dma(addr, len)?;
                let len = len as usize;
                let bits = if flags & DMA_ENABLES != 0 {
                    len.div_ceil(8)
                } else {
                    0
                };
                exactly("DMA_WRITE", payload, 16 + len + bits)?;
                let data = r.take(len)?;
                let enables = (bits != 0).then_some(r.rest);
                if let Some(&last) = r.rest.last() {
                    if len % 8 != 0 && last >> (len % 8) != 0 {
                        return Err(field(
                            "last byte of the enables",
                            last,
                            "no bit beyond the last data byte",
                        ));
                    }
                }
                Frame::DmaWrite {
                    tag,
                    addr,
                    data,
                    enables,
                }
            }
            t::DMA_READ_DONE => {
                at_least("DMA_READ_DONE", payload, 8)?;
                let mut r = reader("DMA_READ_DONE");
                let status = Status::decode(r.u32()?)?;
                let len = r.u32()?;
                if len as usize > MAX_DATA {
                    return Err(field("DMA length", len, "at most 65536"));
                }
                if (len == 0) == (status == Status::Ok) {
                    return Err(field("DMA length", len, "data exactly if the status is 0"));
                }
                exactly("DMA_READ_DONE", payload, 8 + len as usize)?;
                Frame::DmaReadDone {
                    tag,
                    status,
                    data: r.rest,
                }
            }
            t::MSIX => {
                exactly("MSIX", payload, 8)?;
                let mut r = reader("MSIX");
                let vector = r.u32()?;
                r.zero(4, "reserved MSIX bytes")?;
                Frame::Msix {
                    vector: u16::try_from(vector)
                        .map_err(|_| field("MSI-X vector", vector, "at most 65535"))?,
                }
            }
            t::INTX => {
                exactly("INTX", payload, 8)?;
                let mut r = reader("INTX");
                let level = r.u32()?;
                r.zero(4, "reserved INTX bytes")?;
                if level > 1 {
                    return Err(field("INTx level", level, "0 or 1"));
                }
                Frame::Intx { level: level != 0 }
            }
            t::RESET => {
                exactly("RESET", payload, 8)?;
                let mut r = reader("RESET");
                let kind = ResetKind::decode(r.u32()?)?;
                r.zero(4, "reserved RESET bytes")?;
                Frame::Reset { tag, kind }
            }
            t::RESET_DONE => {
                exactly("RESET_DONE", payload, 0)?;
                Frame::ResetDone { tag }
            }
            t::CLOCK => {
                exactly("CLOCK", payload, 8)?;
                let interval = reader("CLOCK").u64()?;
                if interval > MAX_INTERVAL {
                    return Err(field("clock interval", interval, "at most 1000000000"));
                }
                Frame::Clock { interval }
            }
            t::TIME => {
                exactly("TIME", payload, 8)?;
                Frame::Time {
                    ns: reader("TIME").u64()?,
                }
            }
            t::FUNCTION => {
                exactly("FUNCTION", payload, FUNCTION_LEN)?;
                let bytes = reader("FUNCTION").array()?;
                Frame::Function(Function::from_bytes(&bytes)?)
            }
            t::OPEN => {
                at_least("OPEN", payload, 24)?;
                let mut r = reader("OPEN");
                let kind = ChannelKind::decode(r.u32()?)?;
                let credit = r.u32()?;
                kind.check_credit(credit)?;
                let mac = r.array::<6>()?;
                check_mac(kind, &mac)?;
                let link = kind.check_link(r.u8()?)?;
                r.zero(1, "reserved OPEN bytes")?;
                let length = r.u32()?;
                r.zero(4, "reserved OPEN bytes")?;
                if length as usize > MAX_NAME {
                    return Err(field("name length", length, "at most 64"));
                }
                exactly("OPEN", payload, 24 + length as usize)?;
                Frame::Open(Open {
                    kind,
                    credit,
                    mac,
                    link,
                    name: r.text(length as usize, "OPEN name")?,
                })
            }
            t::ACCEPT => {
                exactly("ACCEPT", payload, 16)?;
                let mut r = reader("ACCEPT");
                let kind = ChannelKind::decode(r.u32()?)?;
                let credit = r.u32()?;
                kind.check_credit(credit)?;
                let link = kind.check_link(r.u8()?)?;
                r.zero(7, "reserved ACCEPT bytes")?;
                Frame::Accept { kind, credit, link }
            }
            t::NIC_FRAME => {
                if !(MIN_NIC_FRAME..=MAX_NIC_FRAME).contains(&payload.len()) {
                    return Err(field(
                        "length of a network frame",
                        payload.len() as u64,
                        "60 to 9216",
                    ));
                }
                Frame::NicFrame { data: payload }
            }
            t::NIC_LINK => {
                exactly("NIC_LINK", payload, 8)?;
                let mut r = reader("NIC_LINK");
                let up = r.u32()?;
                r.zero(4, "reserved NIC_LINK bytes")?;
                if up > 1 {
                    return Err(field("link", up, "0 or 1"));
                }
                Frame::NicLink { up: up != 0 }
            }
            t::SERIAL => {
                if !(1..=MAX_SERIAL).contains(&payload.len()) {
                    return Err(field(
                        "number of serial bytes",
                        payload.len() as u64,
                        "1 to 4096",
                    ));
                }
                Frame::Serial { data: payload }
            }
            t::CREDIT => {
                exactly("CREDIT", payload, 8)?;
                let mut r = reader("CREDIT");
                let amount = r.u32()?;
                r.zero(4, "reserved CREDIT bytes")?;
                if !(1..=65_536).contains(&amount) {
                    return Err(field("credit", amount, "1 to 65536"));
                }
                Frame::Credit { amount }
            }
            found => return Err(WireError::Type { found }),
        };
        if !frame.has_tag() && tag != 0 {
            return Err(field("tag", tag, "0 for a frame without one"));
        }
        Ok(frame)
    }

    const fn has_tag(&self) -> bool {
        !matches!(
            self,
            Frame::Init(_)
                | Frame::Config(_)
                | Frame::Ready
                | Frame::Refuse { .. }
                | Frame::Bye { .. }
                | Frame::Noop
                | Frame::Share { .. }
                | Frame::Attach { .. }
                | Frame::Msix { .. }
                | Frame::Intx { .. }
                | Frame::Clock { .. }
                | Frame::Time { .. }
                | Frame::Function(_)
                | Frame::Open(_)
                | Frame::Accept { .. }
                | Frame::NicFrame { .. }
                | Frame::NicLink { .. }
                | Frame::Serial { .. }
                | Frame::Credit { .. }
        )
    }

    /// Name of the frame's type, as `PROTOCOL.md` has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Frame::Init(_) => "INIT",
            Frame::Config(_) => "CONFIG",
            Frame::Ready => "READY",
            Frame::Refuse { .. } => "REFUSE",
            Frame::Bye { .. } => "BYE",
            Frame::Noop => "NOOP",
            Frame::Share { .. } => "SHARE",
            Frame::Attach { .. } => "ATTACH",
            Frame::MmioRead { .. } => "MMIO_READ",
            Frame::MmioWrite { .. } => "MMIO_WRITE",
            Frame::MmioReadDone { .. } => "MMIO_READ_DONE",
            Frame::MmioWriteDone { .. } => "MMIO_WRITE_DONE",
            Frame::DmaRead { .. } => "DMA_READ",
            Frame::DmaWrite { .. } => "DMA_WRITE",
            Frame::DmaReadDone { .. } => "DMA_READ_DONE",
            Frame::DmaWriteDone { .. } => "DMA_WRITE_DONE",
            Frame::Msix { .. } => "MSIX",
            Frame::Intx { .. } => "INTX",
            Frame::Reset { .. } => "RESET",
            Frame::ResetDone { .. } => "RESET_DONE",
            Frame::Clock { .. } => "CLOCK",
            Frame::Time { .. } => "TIME",
            Frame::Function(_) => "FUNCTION",
            Frame::Open(_) => "OPEN",
            Frame::Accept { .. } => "ACCEPT",
            Frame::NicFrame { .. } => "NIC_FRAME",
            Frame::NicLink { .. } => "NIC_LINK",
            Frame::Serial { .. } => "SERIAL",
            Frame::Credit { .. } => "CREDIT",
        }
    }

    /// Number of the frame's type, and its tag.
    const fn type_and_tag(&self) -> (u8, u32) {
        use frame_type as t;
        match self {
            Frame::Init(_) => (t::INIT, 0),
            Frame::Config(_) => (t::CONFIG, 0),
            Frame::Ready => (t::READY, 0),
            Frame::Refuse { .. } => (t::REFUSE, 0),
            Frame::Bye { .. } => (t::BYE, 0),
            Frame::Noop => (t::NOOP, 0),
            Frame::Share { .. } => (t::SHARE, 0),
            Frame::Attach { .. } => (t::ATTACH, 0),
            Frame::MmioRead { tag, .. } => (t::MMIO_READ, *tag),
            Frame::MmioWrite { tag, .. } => (t::MMIO_WRITE, *tag),
            Frame::MmioReadDone { tag, .. } => (t::MMIO_READ_DONE, *tag),
            Frame::MmioWriteDone { tag, .. } => (t::MMIO_WRITE_DONE, *tag),
            Frame::DmaRead { tag, .. } => (t::DMA_READ, *tag),
            Frame::DmaWrite { tag, .. } => (t::DMA_WRITE, *tag),
            Frame::DmaReadDone { tag, .. } => (t::DMA_READ_DONE, *tag),
            Frame::DmaWriteDone { tag, .. } => (t::DMA_WRITE_DONE, *tag),
            Frame::Msix { .. } => (t::MSIX, 0),
            Frame::Intx { .. } => (t::INTX, 0),
            Frame::Reset { tag, .. } => (t::RESET, *tag),
            Frame::ResetDone { tag } => (t::RESET_DONE, *tag),
            Frame::Clock { .. } => (t::CLOCK, 0),
            Frame::Time { .. } => (t::TIME, 0),
            Frame::Function(_) => (t::FUNCTION, 0),
            Frame::Open(_) => (t::OPEN, 0),
            Frame::Accept { .. } => (t::ACCEPT, 0),
            Frame::NicFrame { .. } => (t::NIC_FRAME, 0),
            Frame::NicLink { .. } => (t::NIC_LINK, 0),
            Frame::Serial { .. } => (t::SERIAL, 0),
            Frame::Credit { .. } => (t::CREDIT, 0),
        }
    }

    /// Appends the frame to a message.
    ///
    /// Texts longer than their limit are cut. Nothing else is checked: the
    /// session halves build only frames that decode, and tests want the rest.
    pub fn encode(&self, session: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let (frame_type, tag) = self.type_and_tag();
        out.extend_from_slice(&SIGNATURE.to_le_bytes());
        out.extend_from_slice(&[VERSION_MAJOR, VERSION_MINOR, frame_type, 0]);
        out.extend_from_slice(&session.to_le_bytes());
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        self.encode_payload(out);
        let length = (out.len() - start - HEADER_LEN) as u32;
        out[start + 20..start + 24].copy_from_slice(&length.to_le_bytes());
    }

    fn encode_payload(&self, out: &mut Vec<u8>) {
        fn pair(out: &mut Vec<u8>, a: u32, b: u32) {
            out.extend_from_slice(&a.to_le_bytes());
            out.extend_from_slice(&b.to_le_bytes());
        }
        match self {
            Frame::Init(init) => {
                let name = cut(init.name, MAX_NAME);
                out.extend_from_slice(&init.features.to_le_bytes());
                pair(out, init.write_window, init.max_data);
                pair(out, name.len() as u32, 0);
                out.extend_from_slice(name.as_bytes());
            }
            Frame::Config(config) => config.encode(out),
            Frame::Ready | Frame::Noop | Frame::ResetDone { .. } => {}
            Frame::Refuse { reason, text } => {
                let text = cut(text, MAX_TEXT);
                pair(out, *reason as u32, text.len() as u32);
                out.extend_from_slice(text.as_bytes());
            }
            Frame::Bye { reason } => pair(out, *reason as u32, 0),
            Frame::Share { name } => out.extend_from_slice(name.as_bytes()),
            Frame::Attach { attached } => pair(out, u32::from(*attached), 0),
            Frame::MmioRead {
                bar, len, offset, ..
            } => {
                out.extend_from_slice(&[*bar, *len, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&offset.to_le_bytes());
            }
            Frame::MmioWrite {
                bar,
                len,
                offset,
                data,
                ..
            } => {
                out.extend_from_slice(&[*bar, *len, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&offset.to_le_bytes());
                out.extend_from_slice(&data.to_le_bytes());
            }
            Frame::MmioReadDone { status, data, .. } => {
                pair(out, *status as u32, 0);
                out.extend_from_slice(&data.to_le_bytes());
            }
            Frame::MmioWriteDone { status, .. } | Frame::DmaWriteDone { status, .. } => {
                pair(out, *status as u32, 0);
            }
            Frame::DmaRead { addr, len, .. } => {
                out.extend_from_slice(&addr.to_le_bytes());
                pair(out, *len, 0);
            }
            Frame::DmaWrite {
                addr,
                data,
                enables,
                ..
            } => {
                out.extend_from_slice(&addr.to_le_bytes());
                let flags = if enables.is_some() { DMA_ENABLES } else { 0 };
                pair(out, data.len() as u32, flags);
                out.extend_from_slice(data);
                out.extend_from_slice(enables.unwrap_or(&[]));
            }
            Frame::DmaReadDone { status, data, .. } => {
                pair(out, *status as u32, data.len() as u32);
                out.extend_from_slice(data);
            }
            Frame::Msix { vector } => pair(out, u32::from(*vector), 0),
            Frame::Intx { level } => pair(out, u32::from(*level), 0),
            Frame::Reset { kind, .. } => pair(out, *kind as u32, 0),
            Frame::Clock { interval: ns } | Frame::Time { ns } => {
                out.extend_from_slice(&ns.to_le_bytes());
            }
            Frame::Function(function) => out.extend_from_slice(&function.to_bytes()),
            Frame::Open(open) => {
                let name = cut(open.name, MAX_NAME);
                pair(out, open.kind as u32, open.credit);
                out.extend_from_slice(&open.mac);
                out.extend_from_slice(&[u8::from(open.link), 0]);
                pair(out, name.len() as u32, 0);
                out.extend_from_slice(name.as_bytes());
            }
            Frame::Accept { kind, credit, link } => {
                pair(out, *kind as u32, *credit);
                pair(out, u32::from(*link), 0);
            }
            Frame::NicFrame { data } | Frame::Serial { data } => out.extend_from_slice(data),
            Frame::NicLink { up } => pair(out, u32::from(*up), 0),
            Frame::Credit { amount } => pair(out, *amount, 0),
        }
    }
}

fn check_dma(addr: u64, len: u32) -> Result<(), WireError> {
    if len == 0 || len as usize > MAX_DATA {
        return Err(field("DMA length", len, "1 to 65536"));
    }
    if addr.checked_add(u64::from(len) - 1).is_none() {
        return Err(field(
            "DMA address",
            addr,
            "a range that ends within 64 bits",
        ));
    }
    Ok(())
}

fn check_mac(kind: ChannelKind, mac: &[u8; 6]) -> Result<(), WireError> {
    let number = mac.iter().fold(0, |n, &b| n << 8 | u64::from(b));
    match kind {
        ChannelKind::Serial if number != 0 => {
            Err(field("MAC address of a serial channel", number, "0"))
        }
        ChannelKind::Nic if number == 0 || mac[0] & 1 != 0 => Err(field(
            "MAC address",
            number,
            "neither zero nor a group address",
        )),
        _ => Ok(()),
    }
}

fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

// Layout facts that PROTOCOL.md states, checked when the crate is compiled.
const _: () = assert!(HEADER_LEN == 4 + 4 + 8 + 4 + 4);
const _: () = assert!(CONFIG_LEN == 16 + 16 + BARS * 24 + 16);
const _: () = assert!(MAX_PAYLOAD == 73_744);
const _: () = assert!(MAX_PAYLOAD + HEADER_LEN <= MAX_MESSAGE);
const _: () = assert!(MAX_NIC_FRAME <= MAX_PAYLOAD && MAX_SERIAL <= MAX_PAYLOAD);
