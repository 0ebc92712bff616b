// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames: their layout, encoding and decoding.
//!
//! Everything is little-endian. A ZeroMQ message carries one or more frames
//! back to back; each frame is a header of [`HEADER_LEN`] bytes and a payload
//! whose length the header tells.
//!
//! The table in this file is all that says of a frame what it is called, which number it
//! has, what it holds and how that lies in its payload.

mod config;
mod error;
mod layout;
mod limits;
mod values;

use self::{
    error::field,
    layout::{get, put, Bytes, Codec, Field, Flag, Reader, Within, Zero},
    values::{
        Completed, Credit, DmaLength, Enabled, Link, Low, ShareName, Vector, ACCESS, ANSWER, BAR,
        PLAN, TEXT,
    },
};
use crate::{
    config::Config,
    function::{Function, FUNCTION_LEN},
};

pub use self::{
    error::WireError,
    limits::{
        CONFIG_LEN, FEATURE_SHARED_MEMORY, HEADER_LEN, MAX_DATA, MAX_INTERVAL, MAX_MESSAGE,
        MAX_NAME, MAX_NIC_FRAME, MAX_PAYLOAD, MAX_PLAN, MAX_SERIAL, MAX_TEXT, MIN_NIC_FRAME,
        SHARE_NAME, SIGNATURE, VERSION_MAJOR, VERSION_MINOR,
    },
    values::{ChannelKind, ErrorKind, Init, Open, Reason, ResetKind, Status},
};

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

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// The first of length, signature, version and reserved byte that is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let what = "frame header";
        if bytes.len() < HEADER_LEN {
            return Err(WireError::Truncated {
                what,
                need: HEADER_LEN,
                have: bytes.len(),
            });
        }
        let r = &mut Reader::new(bytes, what, "reserved header byte");
        let signature = u32::get(r)?;
        if signature != SIGNATURE {
            return Err(WireError::Signature { found: signature });
        }
        let (major, minor) = (u8::get(r)?, u8::get(r)?);
        if major != VERSION_MAJOR {
            return Err(WireError::Version {
                found: (major, minor),
            });
        }
        let frame_type = u8::get(r)?;
        Zero(1).get(r)?;
        Ok(Self {
            minor,
            frame_type,
            session: u64::get(r)?,
            tag: u32::get(r)?,
            length: u32::get(r)?,
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

/// The tag of a frame, if it has one.
macro_rules! tag_or {
    ($else:expr) => {
        $else
    };
    ($else:expr, $tag:expr) => {
        $tag
    };
}

/// Makes of a table of frames all that is to be said about each: constant and name, enum,
/// and both directions. An entry is
///
/// ```text
/// NAME = number, length of the payload;
/// Variant { fields } or Variant(field: type)
/// [how they lie in the payload, see `layout::get`]
/// ```
///
/// with `NAME(tag)` where the header's tag is one of the fields.
macro_rules! frames {
    ($(
        $(#[$doc:meta])*
        $name:ident $(($tag:ident))? = $number:literal, $check:ident($size:expr);
        $variant:ident $(($one:ident: $inner:ty))? $({
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)+
        })?
        [$($layout:tt)*]
    )+) => {
        /// Numbers of the frame types.
        pub mod frame_type {
            #![allow(missing_docs)]
            $(pub const $name: u8 = $number;)+
        }

        /// A decoded frame. H→D is host to device, D→H device to host.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Frame<'a> {
            $(
                $(#[$doc])*
                $variant $(($inner))? $({
                    $($(#[$field_doc])* $field: $type,)+
                })?,
            )+
        }

        impl<'a> Frame<'a> {
            /// Decodes the payload of a frame that [`split`] returned.
            ///
            /// # Errors
            ///
            /// The first field that does not fit, with what it holds and what it may.
            pub fn decode(header: &Header, payload: &'a [u8]) -> Result<Self, WireError> {
                match header.frame_type {
                    $(frame_type::$name => {
                        let name = stringify!($name);
                        $check(name, payload, $size)?;
                        let r = &mut Reader::new(
                            payload,
                            name,
                            concat!("reserved ", stringify!($name), " bytes"),
                        );
                        get!(r; $($layout)*);
                        r.left(0)?;
                        $(let $tag = header.tag;)?
                        check_tag(header, tag_or!(0 $(, $tag)?))?;
                        Ok(Self::$variant { $(0: $one)? $($($field),+)? })
                    })+
                    found => Err(WireError::Type { found }),
                }
            }

            /// Name of the frame's type, as `PROTOCOL.md` has it.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => stringify!($name),)+
                }
            }

            /// Number of the frame's type, and its tag.
            const fn type_and_tag(&self) -> (u8, u32) {
                match self {
                    $(Self::$variant { $($tag,)? .. } => {
                        (frame_type::$name, tag_or!(0 $(, *$tag)?))
                    })+
                }
            }

            fn encode_payload(&self, out: &mut Vec<u8>) {
                // The tag is not in the payload.
                #[allow(unused_variables)]
                match *self {
                    $(Self::$variant { $(0: ref $one)? $($($field),+)? } => {
                        put!(out; $($layout)*);
                    })+
                }
            }
        }
    };
}

frames! {
    /// H→D: asks for a session.
    INIT = 0x01, at_least(24);
    Init(init: Init<'a>)
    [init]

    /// D→H: answers INIT.
    CONFIG = 0x02, at_least(CONFIG_LEN);
    Config(config: Config)
    [config]

    /// H→D: the configuration is accepted, the link is up.
    READY = 0x03, exactly(0);
    Ready
    []

    /// Either way: no session, and why.
    REFUSE = 0x04, at_least(8);
    Refuse {
        /// Machine readable.
        reason: Reason,
        /// For a person; at most [`MAX_TEXT`] bytes.
        text: &'a str,
    }
    [reason, text: TEXT]

    /// Either way: the session ends.
    BYE = 0x05, exactly(8);
    Bye {
        /// Machine readable.
        reason: Reason,
    }
    [reason, _: Zero(4)]

    /// Either way: nothing; tells whether the peer can still be reached.
    NOOP = 0x06, exactly(0);
    Noop
    []

    /// D→H before CONFIG, added in 1.2: the session can go on through shared memory.
    SHARE = 0x07, exactly(SHARE_NAME);
    Share {
        /// Where the host gets it: [`SHARE_NAME`] hexadecimal digits.
        name: &'a str,
    }
    [name: ShareName]

    /// H→D before READY, added in 1.2: answers SHARE. What follows READY, in both
    /// directions, goes through shared memory if so.
    ATTACH = 0x08, exactly(8);
    Attach {
        /// Whether the host has it.
        attached: bool,
    }
    [attached: Flag("attached"), _: Zero(4)]

    /// H→D: read from a BAR.
    MMIO_READ(tag) = 0x10, exactly(16);
    MmioRead {
        /// Chosen by the host.
        tag: u32,
        /// 0 to 5.
        bar: u8,
        /// 1 to 8 bytes.
        len: u8,
        /// Byte offset in the BAR, any alignment.
        offset: u64,
    }
    [bar: BAR, len: ACCESS, _: Zero(6), offset]

    /// H→D: posted write to a BAR.
    MMIO_WRITE(tag) = 0x11, exactly(24);
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
    }
    [bar: BAR, len: ACCESS, _: Zero(6), offset, data: Low(len)]

    /// D→H: answers MMIO_READ.
    MMIO_READ_DONE(tag) = 0x12, exactly(16);
    MmioReadDone {
        /// Of the request.
        tag: u32,
        /// Anything but [`Status::Ok`] reads as all ones.
        status: Status,
        /// As in MMIO_WRITE.
        data: u64,
    }
    [status, _: Zero(4), data]

    /// D→H: all writes up to and including `tag` are done.
    MMIO_WRITE_DONE(tag) = 0x13, exactly(8);
    MmioWriteDone {
        /// Of the last write that is done.
        tag: u32,
        /// Of that write.
        status: Status,
    }
    [status, _: Zero(4)]

    /// D→H: read host memory.
    DMA_READ(tag) = 0x20, exactly(16);
    DmaRead {
        /// Chosen by the device.
        tag: u32,
        /// Bus address.
        addr: u64,
        /// 1 to [`MAX_DATA`] bytes.
        len: u32,
    }
    [addr, len: DmaLength(addr), _: Zero(4)]

    /// D→H: write host memory.
    DMA_WRITE(tag) = 0x21, at_least(16);
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
    }
    [addr, (data, enables): Enabled(addr)]

    /// H→D: answers DMA_READ.
    DMA_READ_DONE(tag) = 0x22, at_least(8);
    DmaReadDone {
        /// Of the request.
        tag: u32,
        /// Whether `data` is there.
        status: Status,
        /// As long as requested if the status is OK, empty otherwise.
        data: &'a [u8],
    }
    [status, data: Completed(status)]

    /// H→D: answers DMA_WRITE.
    DMA_WRITE_DONE(tag) = 0x23, exactly(8);
    DmaWriteDone {
        /// Of the request.
        tag: u32,
        /// Whether all enabled bytes were written.
        status: Status,
    }
    [status, _: Zero(4)]

    /// D→H: message signalled interrupt, of MSI-X or, since 1.3, MSI.
    MSIX = 0x30, exactly(8);
    Msix {
        /// 0 to the number of vectors - 1.
        vector: u16,
    }
    [vector: Vector, _: Zero(4)]

    /// D→H: level of the INTx pin.
    INTX = 0x31, exactly(8);
    Intx {
        /// Asserted.
        level: bool,
    }
    [level: Flag("INTx level"), _: Zero(4)]

    /// H→D: reset; everything outstanding both ways is void.
    RESET(tag) = 0x40, exactly(8);
    Reset {
        /// Counts resets.
        tag: u32,
        /// What the guest did.
        kind: ResetKind,
    }
    [kind, _: Zero(4)]

    /// D→H: answers RESET; what was sent before it is void.
    RESET_DONE(tag) = 0x41, exactly(0);
    ResetDone {
        /// Of the reset.
        tag: u32,
    }
    []

    /// H→D, added in 1.1: tell the simulated time again and again.
    CLOCK = 0x42, exactly(8);
    Clock {
        /// Simulated nanoseconds between two [`Frame::Time`], at most
        /// [`MAX_INTERVAL`]; 0 for no more of them.
        interval: u64,
    }
    [interval: Within("clock interval", 0..=MAX_INTERVAL, "at most 1000000000")]

    /// D→H, added in 1.1: the simulated time now.
    TIME = 0x43, exactly(8);
    Time {
        /// Nanoseconds since a point that is the same in all of a session.
        ns: u64,
    }
    [ns]

    /// H→D, added in 1.2: what the guest has set in config space, all of it, for
    /// what comes after.
    FUNCTION = 0x44, at_least(FUNCTION_LEN);
    Function(function: Function)
    [function]

    /// H→D, added in 1.4: faults that the device is to have from now on, instead of those
    /// that it had.
    FAULTS(tag) = 0x45, at_least(8);
    Faults {
        /// Counts plans.
        tag: u32,
        /// The plan, at most [`MAX_PLAN`] bytes; empty for none.
        text: &'a str,
    }
    [text: PLAN]

    /// D→H, added in 1.4: answers FAULTS.
    FAULTS_DONE(tag) = 0x46, at_least(8);
    FaultsDone {
        /// Of the plan.
        tag: u32,
        /// The plan is not taken, and the device has the faults that it had.
        refused: bool,
        /// What is wrong with it, or what it is; at most [`MAX_TEXT`] bytes.
        text: &'a str,
    }
    [refused: Flag("refused"), text: ANSWER]

    /// D→H, added in 1.4: an error of PCI Express that a fault has made.
    ERROR(tag) = 0x47, exactly(8);
    Error {
        /// Of the MMIO_READ that it is about, otherwise 0.
        tag: u32,
        /// What it is.
        kind: ErrorKind,
    }
    [kind, _: Zero(4)]

    /// H→D on a channel: asks for a session.
    OPEN = 0x50, at_least(24);
    Open(open: Open<'a>)
    [open]

    /// D→H on a channel: answers OPEN, the session is up.
    ACCEPT = 0x51, exactly(16);
    Accept {
        /// As in OPEN.
        kind: ChannelKind,
        /// What the host may send at first, 1 to [`ChannelKind::max_credit`].
        credit: u32,
        /// NIC: whether the device's own link is up. Serial: false.
        link: bool,
    }
    [kind, credit: Credit(kind), link: Link(kind), _: Zero(7)]

    /// Either way on a NIC channel: one Ethernet frame.
    NIC_FRAME = 0x52, at_least(0);
    NicFrame {
        /// [`MIN_NIC_FRAME`] to [`MAX_NIC_FRAME`] bytes, without the frame
        /// check sequence.
        data: &'a [u8],
    }
    [data: Bytes("length of a network frame", MIN_NIC_FRAME..=MAX_NIC_FRAME, "60 to 9216")]

    /// Either way on a NIC channel: the sender's link has changed.
    NIC_LINK = 0x53, exactly(8);
    NicLink {
        /// Whether it is up now.
        up: bool,
    }
    [up: Flag("link"), _: Zero(4)]

    /// Either way on a serial channel: bytes.
    SERIAL = 0x54, at_least(0);
    Serial {
        /// 1 to [`MAX_SERIAL`] of them.
        data: &'a [u8],
    }
    [data: Bytes("number of serial bytes", 1..=MAX_SERIAL, "1 to 4096")]

    /// Either way on a channel: more may be sent to the sender of this.
    CREDIT = 0x55, exactly(8);
    Credit {
        /// Frames or bytes more, 1 to 65,536.
        amount: u32,
    }
    [amount: Within("credit", 1..=65_536, "1 to 65536"), _: Zero(4)]
}

/// Fails unless the header's tag is the one that the frame takes from it, 0 if it has none.
fn check_tag(header: &Header, taken: u32) -> Result<(), WireError> {
    if header.tag != taken {
        return Err(field("tag", header.tag, "0 for a frame without one"));
    }
    Ok(())
}

impl Frame<'_> {
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
}
