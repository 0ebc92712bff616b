// SPDX-License-Identifier: MIT OR Apache-2.0

//! What frames hold, and how it lies in them.

use super::{
    error::{field, WireError},
    layout::{fields, get, put, Codec, Field, Reader, Text, Within, Zero},
    limits::{MAX_DATA, MAX_NAME, MAX_PLAN, MAX_TEXT, SHARE_NAME},
};
use crate::{
    config::BARS,
    function::{Function, ADDRESSES_LEN, UNMAPPED},
};

/// Makes types that are one of some numbers in 32 bits.
macro_rules! numbers {
    ($(
        $(#[$doc:meta])*
        $type:ident ($name:literal, $expected:literal) {
            $($(#[$value_doc:meta])* $value:ident = $number:literal,)+
        }
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $type {
            $($(#[$value_doc])* $value = $number,)+
        }

        impl Field<'_> for $type {
            fn get(r: &mut Reader<'_>) -> Result<Self, WireError> {
                match u32::get(r)? {
                    $($number => Ok(Self::$value),)+
                    found => Err(field($name, found, $expected)),
                }
            }

            fn put(&self, out: &mut Vec<u8>) {
                (*self as u32).put(out);
            }
        }
    )+};
}

numbers! {
    /// What a channel beside the PCIe stream carries.
    ChannelKind ("channel kind", "1 or 2") {
        /// Ethernet frames; credit counts frames.
        Nic = 1,
        /// Bytes of a serial line; credit counts bytes.
        Serial = 2,
    }

    /// How a request ended.
    Status ("status", "0 to 3") {
        /// Done.
        Ok = 0,
        /// The completer refused it: an AXI error response, bus mastering off.
        Refused = 1,
        /// No memory answers at that address (includes IOMMU faults).
        Fault = 2,
        /// Given up because of a reset.
        Aborted = 3,
    }

    /// Why the function is reset.
    ResetKind ("reset kind", "1 to 3") {
        /// Function level reset (PCIe base spec, Initiate Function Level Reset).
        Flr = 1,
        /// Reset of the secondary bus, or hot reset of the link.
        Hot = 2,
        /// Power-on or reset of the whole machine.
        Cold = 3,
    }

    /// An error of PCI Express that a fault has made: what the function and the port above it
    /// note in config space. The function is the completer of an access to a BAR, and the
    /// requester of DMA.
    ErrorKind ("error", "1 to 12") {
        /// The function has answered a read with Unsupported Request.
        ReadUnsupported = 1,
        /// It has not supported a posted write.
        WriteUnsupported = 2,
        /// It has answered a read with Completer Abort.
        ReadAborted = 3,
        /// It has aborted a posted write.
        WriteAborted = 4,
        /// Its answer to a read is poisoned.
        ReadPoisoned = 5,
        /// A write that it got is poisoned.
        WritePoisoned = 6,
        /// A read was not answered, and its requester has given it up.
        ReadTimeout = 7,
        /// A read of memory was answered with Unsupported Request.
        DmaUnsupported = 8,
        /// A read of memory was answered with Completer Abort.
        DmaAborted = 9,
        /// The answer to a read of memory is poisoned.
        DmaReadPoisoned = 10,
        /// A write of memory is poisoned.
        DmaWritePoisoned = 11,
        /// A read of memory was not answered, and the function has given it up.
        DmaTimeout = 12,
    }

    /// Why a session is refused or ended.
    Reason ("reason", "0 to 4") {
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
}

impl ErrorKind {
    /// The error in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadUnsupported => "a read answered with Unsupported Request",
            Self::WriteUnsupported => "a write that is not supported",
            Self::ReadAborted => "a read answered with Completer Abort",
            Self::WriteAborted => "a write that was aborted",
            Self::ReadPoisoned => "a poisoned answer to a read",
            Self::WritePoisoned => "a poisoned write",
            Self::ReadTimeout => "a read that was not answered",
            Self::DmaUnsupported => "DMA answered with Unsupported Request",
            Self::DmaAborted => "DMA answered with Completer Abort",
            Self::DmaReadPoisoned => "DMA with a poisoned answer",
            Self::DmaWritePoisoned => "a poisoned DMA write",
            Self::DmaTimeout => "DMA that was not answered",
        }
    }
}

impl ChannelKind {
    /// Most credit that one side may have from the other.
    pub const fn max_credit(self) -> u32 {
        match self {
            Self::Nic => 256,
            Self::Serial => 65_536,
        }
    }
}

/// First frame of a session, from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init<'a> {
    /// Optional abilities of the host, [`FEATURE_SHARED_MEMORY`](super::FEATURE_SHARED_MEMORY).
    pub features: u64,
    /// Posted writes that the host keeps outstanding at most, 1 to 4096.
    pub write_window: u32,
    /// Data bytes that the host accepts per DMA request, 64 to [`MAX_DATA`].
    pub max_data: u32,
    /// Who the host is, for messages; at most [`MAX_NAME`] bytes.
    pub name: &'a str,
}

fields! {
    Init { features, write_window, max_data, name }
    [
        features,
        write_window: Within("write window", 1..=4096, "1 to 4096"),
        max_data: Within("max_data", 64..=MAX_DATA as u32, "64 to 65536"),
        name: Text { name: "INIT name", ..NAME },
    ]
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

fields! {
    Open { kind, credit, mac, link, name }
    [
        kind,
        credit: Credit(kind),
        mac: Mac(kind),
        link: Link(kind),
        _: Zero(1),
        name: Text { name: "OPEN name", ..NAME },
    ]
}

/// Who the host is.
const NAME: Text = Text {
    name: "name",
    length: "name length",
    limit: MAX_NAME,
    expected: "at most 64",
    gap: 4,
};

/// The reason of a REFUSE in words.
pub(super) const TEXT: Text = Text {
    name: "REFUSE text",
    length: "text length",
    limit: MAX_TEXT,
    expected: "at most 512",
    gap: 0,
};

/// A plan of faults.
pub(super) const PLAN: Text = Text {
    name: "FAULTS text",
    length: "plan length",
    limit: MAX_PLAN,
    expected: "at most 4096",
    gap: 4,
};

/// What became of it, in words.
pub(super) const ANSWER: Text = Text {
    name: "FAULTS_DONE text",
    ..TEXT
};

/// Number of a BAR.
pub(super) const BAR: Within<u8> = Within("BAR", 0..=BARS as u8 - 1, "0 to 5");

/// Bytes of an access to a BAR.
pub(super) const ACCESS: Within<u8> = Within("access length", 1..=8, "1 to 8");

/// Data of an access of so many bytes: the low ones.
pub(super) struct Low(pub(super) u8);

impl Codec<'_> for Low {
    type Value = u64;

    fn get(&self, r: &mut Reader<'_>) -> Result<u64, WireError> {
        let data = u64::get(r)?;
        if self.0 < 8 && data >> (8 * u32::from(self.0)) != 0 {
            return Err(field("data beyond the access length", data, "0"));
        }
        Ok(data)
    }

    fn put(&self, value: &u64, out: &mut Vec<u8>) {
        value.put(out);
    }
}

/// Initial credit of a channel of that kind.
pub(super) struct Credit(pub(super) ChannelKind);

impl Codec<'_> for Credit {
    type Value = u32;

    fn get(&self, r: &mut Reader<'_>) -> Result<u32, WireError> {
        let credit = u32::get(r)?;
        if (1..=self.0.max_credit()).contains(&credit) {
            return Ok(credit);
        }
        Err(match self.0 {
            ChannelKind::Nic => field("credit in frames", credit, "1 to 256"),
            ChannelKind::Serial => field("credit in bytes", credit, "1 to 65536"),
        })
    }

    fn put(&self, value: &u32, out: &mut Vec<u8>) {
        value.put(out);
    }
}

/// Link of a channel of that kind, a byte.
pub(super) struct Link(pub(super) ChannelKind);

impl Codec<'_> for Link {
    type Value = bool;

    fn get(&self, r: &mut Reader<'_>) -> Result<bool, WireError> {
        match (self.0, u8::get(r)?) {
            (_, 0) => Ok(false),
            (ChannelKind::Nic, 1) => Ok(true),
            (ChannelKind::Nic, link) => Err(field("link", link, "0 or 1")),
            (ChannelKind::Serial, link) => Err(field("link of a serial channel", link, "0")),
        }
    }

    fn put(&self, value: &bool, out: &mut Vec<u8>) {
        u8::from(*value).put(out);
    }
}

/// Station address of a channel of that kind.
struct Mac(ChannelKind);

impl Codec<'_> for Mac {
    type Value = [u8; 6];

    fn get(&self, r: &mut Reader<'_>) -> Result<[u8; 6], WireError> {
        let mac = r.array::<6>()?;
        let number = mac.iter().fold(0, |n, &b| n << 8 | u64::from(b));
        match self.0 {
            ChannelKind::Serial if number != 0 => {
                Err(field("MAC address of a serial channel", number, "0"))
            }
            ChannelKind::Nic if number == 0 || mac[0] & 1 != 0 => Err(field(
                "MAC address",
                number,
                "neither zero nor a group address",
            )),
            _ => Ok(mac),
        }
    }

    fn put(&self, value: &[u8; 6], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }
}

/// Where shared memory is to be had.
pub(super) struct ShareName;

impl<'a> Codec<'a> for ShareName {
    type Value = &'a str;

    fn get(&self, r: &mut Reader<'a>) -> Result<&'a str, WireError> {
        let bytes = r.take(SHARE_NAME)?;
        let name =
            std::str::from_utf8(bytes).map_err(|_| WireError::Text { name: "SHARE name" })?;
        let bad = |b: &u8| !b.is_ascii_digit() && !(b'a'..=b'f').contains(b);
        match name.bytes().find(bad) {
            Some(bad) => Err(field("SHARE name byte", bad, "0 to 9 or a to f")),
            None => Ok(name),
        }
    }

    fn put(&self, value: &&'a str, out: &mut Vec<u8>) {
        out.extend_from_slice(value.as_bytes());
    }
}

/// An MSI-X vector, in 32 bits.
pub(super) struct Vector;

impl Codec<'_> for Vector {
    type Value = u16;

    fn get(&self, r: &mut Reader<'_>) -> Result<u16, WireError> {
        let vector = u32::get(r)?;
        u16::try_from(vector).map_err(|_| field("MSI-X vector", vector, "at most 65535"))
    }

    fn put(&self, value: &u16, out: &mut Vec<u8>) {
        u32::from(*value).put(out);
    }
}

/// Bytes that a DMA request is for from that address on.
pub(super) struct DmaLength(pub(super) u64);

impl Codec<'_> for DmaLength {
    type Value = u32;

    fn get(&self, r: &mut Reader<'_>) -> Result<u32, WireError> {
        let len = u32::get(r)?;
        if len == 0 || len as usize > MAX_DATA {
            return Err(field("DMA length", len, "1 to 65536"));
        }
        if self.0.checked_add(u64::from(len) - 1).is_none() {
            return Err(field(
                "DMA address",
                self.0,
                "a range that ends within 64 bits",
            ));
        }
        Ok(len)
    }

    fn put(&self, value: &u32, out: &mut Vec<u8>) {
        value.put(out);
    }
}

/// Data to write from that address on, with byte enables if there are holes.
pub(super) struct Enabled(pub(super) u64);

const DMA_ENABLES: u32 = 1;

impl<'a> Codec<'a> for Enabled {
    type Value = (&'a [u8], Option<&'a [u8]>);

    fn get(&self, r: &mut Reader<'a>) -> Result<Self::Value, WireError> {
        let len = DmaLength(self.0).get(r)? as usize;
        let flags = u32::get(r)?;
        if flags & !DMA_ENABLES != 0 {
            return Err(field("DMA_WRITE flags", flags, "0 or 1"));
        }
        let bits = if flags & DMA_ENABLES != 0 {
            len.div_ceil(8)
        } else {
            0
        };
        r.left(len + bits)?;
        let data = r.take(len)?;
        let enables = (bits != 0).then(|| r.rest());
        if let Some(&last) = enables.and_then(<[u8]>::last) {
            if len % 8 != 0 && last >> (len % 8) != 0 {
                return Err(field(
                    "last byte of the enables",
                    last,
                    "no bit beyond the last data byte",
                ));
            }
        }
        Ok((data, enables))
    }

    fn put(&self, (data, enables): &Self::Value, out: &mut Vec<u8>) {
        (data.len() as u32).put(out);
        let flags = if enables.is_some() { DMA_ENABLES } else { 0 };
        flags.put(out);
        out.extend_from_slice(data);
        out.extend_from_slice(enables.unwrap_or(&[]));
    }
}

/// Data of a completion with that status, after its length.
pub(super) struct Completed(pub(super) Status);

impl<'a> Codec<'a> for Completed {
    type Value = &'a [u8];

    fn get(&self, r: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
        let len = u32::get(r)?;
        if len as usize > MAX_DATA {
            return Err(field("DMA length", len, "at most 65536"));
        }
        if (len == 0) == (self.0 == Status::Ok) {
            return Err(field("DMA length", len, "data exactly if the status is 0"));
        }
        r.left(len as usize)?;
        Ok(r.rest())
    }

    fn put(&self, value: &&'a [u8], out: &mut Vec<u8>) {
        (value.len() as u32).put(out);
        out.extend_from_slice(value);
    }
}

impl Field<'_> for Function {
    fn get(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut function = Self::from_bytes(&r.array()?)?;
        if !r.is_empty() {
            r.left(ADDRESSES_LEN)?;
            let mut addresses = [UNMAPPED; BARS];
            for address in &mut addresses {
                *address = u64::get(r)?;
                if *address != UNMAPPED && *address % 16 != 0 {
                    let expected = "a multiple of 16, or all ones";
                    return Err(field("BAR address", *address, expected));
                }
            }
            function.addresses = Some(addresses);
        }
        Ok(function)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
        for address in self.addresses.iter().flatten() {
            address.put(out);
        }
    }
}
