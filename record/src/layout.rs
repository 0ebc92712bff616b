// SPDX-License-Identifier: MIT OR Apache-2.0

//! The bytes of the file. All numbers are little-endian. `FORMAT.md` is the same in tables.

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"ACCELREC";

/// Read in the reader's own order it is another number where the order is another one.
pub const ORDER_MARK: u32 = 0x0a0b_0c0d;

/// A reader refuses a file with another one.
pub const MAJOR: u16 = 1;

/// A reader takes files with any: they may have kinds that it does not know.
pub const MINOR: u16 = 2;

/// Bytes before the first entry: a multiple of the pages of every machine.
pub const HEADER_BYTES: usize = 65_536;

/// Bytes of an entry: a cache line.
pub const ENTRY_BYTES: usize = 64;

/// What a file's entries come from, at most; a bridge or a channel each.
pub const MAX_SOURCES: usize = 64;

/// Where the list of them begins, and the bytes of one.
pub const SOURCES_OFFSET: usize = 4096;
/// See [`SOURCES_OFFSET`].
pub const SOURCE_BYTES: usize = 256;

/// Bytes of a source's name.
pub const NAME_BYTES: usize = 64;

/// Bytes of contents in an entry of kind [`Kind::Data`] or [`Kind::Enables`].
pub const CONTENT_BYTES: usize = 48;

/// Offsets in the header of what changes while the file is written, 8 bytes each but the last.
pub const ENTRIES_OFFSET: usize = 64;
/// See [`ENTRIES_OFFSET`].
pub const STATE_OFFSET: usize = 72;
/// Number of sources.
pub const SOURCE_COUNT_OFFSET: usize = 80;

/// Bit of [`Header::flags`]: contents of DMA and frames are in the file.
pub const HEADER_CONTENTS: u32 = 1;

/// Bit of [`Entry::flags`]: the library copied by itself, without a message to QEMU.
pub const FLAG_DIRECT: u8 = 1;
/// Bit of [`Entry::flags`]: of a DMA write, not all bytes are enabled.
pub const FLAG_PARTIAL: u8 = 2;

/// [`Entry::bar`] of what has none.
pub const NO_BAR: u8 = 0xff;

/// Status of an entry: done.
pub const STATUS_OK: u8 = 0;
/// Status: refused.
pub const STATUS_REFUSED: u8 = 1;
/// Status of DMA: no memory answers at that address.
pub const STATUS_FAULT: u8 = 2;
/// Status of DMA: given up because of a reset.
pub const STATUS_ABORTED: u8 = 3;
/// Status of a network frame: dropped, nobody is there or a link is down.
pub const STATUS_DROPPED: u8 = 4;
/// Status of a network frame: dropped, too long.
pub const STATUS_TOO_LONG: u8 = 5;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        /// What an entry says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $name = $value,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The kind of a number, if this version has one.
            pub const fn of(number: u8) -> Option<Self> {
                match number {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    /// A read of a BAR has come from the guest.
    MmioRead = 1, "mmio_read";
    /// A write of a BAR has come from the guest.
    MmioWrite = 2, "mmio_write";
    /// The RTL has answered a read.
    MmioReadDone = 3, "mmio_read_done";
    /// The RTL has answered a write.
    MmioWriteDone = 4, "mmio_write_done";
    /// The RTL reads host memory.
    DmaRead = 5, "dma_read";
    /// The RTL writes host memory.
    DmaWrite = 6, "dma_write";
    /// The RTL has the answer of its read.
    DmaReadDone = 7, "dma_read_done";
    /// The RTL has the answer of its write.
    DmaWriteDone = 8, "dma_write_done";
    /// QEMU has answered a DMA request that went there as a message.
    DmaAnswered = 9, "dma_answered";
    /// The RTL has taken what came: an access, a reset, a change of the link.
    Taken = 10, "taken";
    /// The RTL raises an MSI-X vector.
    Msix = 11, "msix";
    /// The RTL sets its INTx pin.
    Intx = 12, "intx";
    /// The function is reset.
    Reset = 13, "reset";
    /// The RTL has left its reset.
    ResetDone = 14, "reset_done";
    /// A host is there.
    LinkUp = 15, "link_up";
    /// The host is gone.
    LinkDown = 16, "link_down";
    /// The RTL hears what the guest has set in config space.
    Function = 17, "function";
    /// The RTL takes a frame of the host.
    NicRx = 18, "nic_rx";
    /// The RTL has given a frame for the host.
    NicTx = 19, "nic_tx";
    /// The RTL takes a byte of the host.
    SerialRx = 20, "serial_rx";
    /// The RTL gives a byte for the host.
    SerialTx = 21, "serial_tx";
    /// A fault of a plan is for this transaction.
    Fault = 22, "fault";
    /// Where the guest has put a BAR, of the [`Kind::Function`] with the same number behind it.
    BarAddress = 23, "bar_address";
    /// Contents of the entry before.
    Data = 32, "data";
    /// Which of these bytes are enabled, a bit each.
    Enables = 33, "enables";
}

/// One entry, without its sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// A [`Kind`], or a number of a later version.
    pub kind: u8,
    /// Index of the source.
    pub source: u8,
    /// 0 to 5, or [`NO_BAR`].
    pub bar: u8,
    /// A `STATUS_` value.
    pub status: u8,
    /// Which of the bytes of `data` are enabled, a bit each.
    pub enables: u8,
    /// `FLAG_` bits.
    pub flags: u8,
    /// Entries with contents that follow.
    pub following: u16,
    /// The transaction.
    pub number: u64,
    /// Clocks of the source so far.
    pub clock: u64,
    /// CLOCK_MONOTONIC in nanoseconds.
    pub host_ns: u64,
    /// Of an access the offset in its BAR, of DMA the bus address, of MSI-X the vector.
    pub address: u64,
    /// The first 8 bytes, the one at `address` lowest.
    pub data: u64,
    /// Bytes.
    pub length: u32,
    /// Of the log lines of the DPI library.
    pub tag: u32,
}

/// What an entry holds: its numbers, or contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// All but contents.
    Entry(Entry),
    /// Bytes of [`Kind::Data`] or [`Kind::Enables`].
    Content {
        /// One of the two.
        kind: Kind,
        /// Index of the source.
        source: u8,
        /// How many of `bytes` mean something.
        length: u8,
        /// The bytes.
        bytes: [u8; CONTENT_BYTES],
    },
}

/// Bytes 8 to 63 of an entry.
pub type Words = [u64; 7];

fn le(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &b| value << 8 | u64::from(b))
}

impl Entry {
    /// The kind, if this version knows it.
    pub const fn kind(&self) -> Option<Kind> {
        Kind::of(self.kind)
    }

    /// Its words after the sequence.
    pub const fn words(&self) -> Words {
        [
            self.kind as u64
                | (self.source as u64) << 8
                | (self.bar as u64) << 16
                | (self.status as u64) << 24
                | (self.enables as u64) << 32
                | (self.flags as u64) << 40
                | (self.following as u64) << 48,
            self.number,
            self.clock,
            self.host_ns,
            self.address,
            self.data,
            self.length as u64 | (self.tag as u64) << 32,
        ]
    }

    const fn of(words: &Words) -> Self {
        let head = words[0];
        Self {
            kind: head as u8,
            source: (head >> 8) as u8,
            bar: (head >> 16) as u8,
            status: (head >> 24) as u8,
            enables: (head >> 32) as u8,
            flags: (head >> 40) as u8,
            following: (head >> 48) as u16,
            number: words[1],
            clock: words[2],
            host_ns: words[3],
            address: words[4],
            data: words[5],
            length: words[6] as u32,
            tag: (words[6] >> 32) as u32,
        }
    }
}

impl Body {
    /// What these words are. Never fails: every bit pattern is one.
    pub fn of(words: &Words) -> Self {
        match Kind::of(words[0] as u8) {
            Some(kind @ (Kind::Data | Kind::Enables)) => {
                let mut bytes = [0; CONTENT_BYTES];
                for (bytes, word) in bytes.chunks_exact_mut(8).zip(&words[1..]) {
                    bytes.copy_from_slice(&word.to_le_bytes());
                }
                Self::Content {
                    kind,
                    source: (words[0] >> 8) as u8,
                    length: ((words[0] >> 48) as usize).min(CONTENT_BYTES) as u8,
                    bytes,
                }
            }
            _ => Self::Entry(Entry::of(words)),
        }
    }
}

/// Words of an entry with contents, 48 bytes at most.
pub fn content_words(kind: Kind, source: u8, bytes: &[u8]) -> Words {
    let mut words = [0; 7];
    words[0] = kind as u64 | u64::from(source) << 8 | (bytes.len() as u64) << 48;
    for (word, bytes) in words[1..].iter_mut().zip(bytes.chunks(8)) {
        *word = le(bytes);
    }
    words
}

/// Entries that so many bytes of contents take.
pub const fn content_entries(bytes: usize) -> usize {
    bytes.div_ceil(CONTENT_BYTES)
}

/// How far the writer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// It writes, or was killed.
    Writing = 0,
    /// It has ended in order.
    Ended = 1,
    /// The file was as long as it may be, and no more was written.
    Full = 2,
    /// The system had no room for more, and no more was written.
    Failed = 3,
}

impl State {
    /// Of a number in a file.
    pub const fn of(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Writing),
            1 => Some(Self::Ended),
            2 => Some(Self::Full),
            3 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// The header, but for what changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Version of the format.
    pub major: u16,
    /// See `major`.
    pub minor: u16,
    /// Entries of a ring; 0 if the file grows.
    pub ring: u64,
    /// Bytes that the file has at most.
    pub limit: u64,
    /// When it was begun, nanoseconds since 1970 UTC.
    pub began_unix_ns: u64,
    /// The same moment on the clock that entries have.
    pub began_host_ns: u64,
    /// `HEADER_` bits.
    pub flags: u32,
    /// Process of the writer.
    pub process: u32,
}

/// Why a file is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bad {
    /// It is shorter than a header.
    Short(u64),
    /// It begins with something else.
    Magic,
    /// It was written in another byte order.
    Order(u32),
    /// Another version.
    Version(u16, u16),
    /// A field of the header.
    Field(&'static str, u64),
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short(bytes) => write!(
                f,
                "it has {bytes} bytes, a record has at least {HEADER_BYTES}"
            ),
            Self::Magic => write!(f, "it does not begin with \"ACCELREC\", it is no record"),
            Self::Order(mark) => write!(
                f,
                "its byte order mark is {mark:#010x}, expected {ORDER_MARK:#010x}"
            ),
            Self::Version(major, minor) => write!(
                f,
                "its format has version {major}.{minor}, this program reads {MAJOR}.x"
            ),
            Self::Field(name, value) => {
                write!(f, "{name} in its header is {value}, which no record has")
            }
        }
    }
}

impl std::error::Error for Bad {}

fn get<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[offset..offset + N]);
    out
}

/// A number of the header.
pub fn get_u16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(get(bytes, offset))
}

/// A number of the header.
pub fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(get(bytes, offset))
}

/// A number of the header.
pub fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(get(bytes, offset))
}

fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    bytes[offset..offset + value.len()].copy_from_slice(value);
}

impl Header {
    /// The first [`ENTRIES_OFFSET`] bytes of the file.
    pub fn encode(&self) -> [u8; ENTRIES_OFFSET] {
        let mut bytes = [0; ENTRIES_OFFSET];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &ORDER_MARK.to_le_bytes());
        put(&mut bytes, 12, &self.major.to_le_bytes());
        put(&mut bytes, 14, &self.minor.to_le_bytes());
        put(&mut bytes, 16, &(HEADER_BYTES as u32).to_le_bytes());
        put(&mut bytes, 20, &(ENTRY_BYTES as u32).to_le_bytes());
        put(&mut bytes, 24, &self.ring.to_le_bytes());
        put(&mut bytes, 32, &self.limit.to_le_bytes());
        put(&mut bytes, 40, &self.began_unix_ns.to_le_bytes());
        put(&mut bytes, 48, &self.began_host_ns.to_le_bytes());
        put(&mut bytes, 56, &self.flags.to_le_bytes());
        put(&mut bytes, 60, &self.process.to_le_bytes());
        bytes
    }

    /// What [`Self::encode`] made of it.
    ///
    /// # Errors
    ///
    /// Which field is none that a record has.
    pub fn decode(bytes: &[u8; ENTRIES_OFFSET]) -> Result<Self, Bad> {
        if bytes[..8] != MAGIC {
            return Err(Bad::Magic);
        }
        let mark = get_u32(bytes, 8);
        if mark != ORDER_MARK {
            return Err(Bad::Order(mark));
        }
        let (major, minor) = (get_u16(bytes, 12), get_u16(bytes, 14));
        if major != MAJOR {
            return Err(Bad::Version(major, minor));
        }
        for (name, offset, expected) in [
            ("the size of the header", 16, HEADER_BYTES),
            ("the size of an entry", 20, ENTRY_BYTES),
        ] {
            let found = get_u32(bytes, offset);
            if found != expected as u32 {
                return Err(Bad::Field(name, found.into()));
            }
        }
        Ok(Self {
            major,
            minor,
            ring: get_u64(bytes, 24),
            limit: get_u64(bytes, 32),
            began_unix_ns: get_u64(bytes, 40),
            began_host_ns: get_u64(bytes, 48),
            flags: get_u32(bytes, 56),
            process: get_u32(bytes, 60),
        })
    }
}

/// What a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum SourceKind {
    /// A PCIe function.
    #[default]
    Function = 1,
    /// A NIC channel.
    Nic = 2,
    /// A UART channel.
    Uart = 3,
}

impl SourceKind {
    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Nic => "nic",
            Self::Uart => "uart",
        }
    }
}

/// A BAR of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Bytes; 0 if there is none.
    pub size: u64,
    /// Where it is on the AXI side.
    pub axi_base: u64,
}

/// A bridge or a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What it is.
    pub kind: SourceKind,
    /// Its name, [`NAME_BYTES`] at most.
    pub name: String,
    /// Of a function.
    pub vendor: u16,
    /// Of a function.
    pub device: u16,
    /// Of its clock; 0 if it is not known.
    pub clock_period_ps: u32,
    /// Of a function.
    pub bars: [Bar; 6],
}

impl Source {
    /// Its bytes in the header.
    pub fn encode(&self) -> [u8; SOURCE_BYTES] {
        let mut bytes = [0; SOURCE_BYTES];
        bytes[0] = self.kind as u8;
        let mut length = self.name.len().min(NAME_BYTES);
        while !self.name.is_char_boundary(length) {
            length -= 1;
        }
        // At most 64.
        bytes[1] = length as u8;
        put(&mut bytes, 2, &self.vendor.to_le_bytes());
        put(&mut bytes, 4, &self.device.to_le_bytes());
        put(&mut bytes, 8, &self.clock_period_ps.to_le_bytes());
        for (i, bar) in self.bars.iter().enumerate() {
            put(&mut bytes, 16 + 16 * i, &bar.size.to_le_bytes());
            put(&mut bytes, 24 + 16 * i, &bar.axi_base.to_le_bytes());
        }
        put(&mut bytes, 112, &self.name.as_bytes()[..length]);
        bytes
    }

    /// What [`Self::encode`] made of it; never fails.
    pub fn decode(bytes: &[u8; SOURCE_BYTES]) -> Self {
        let length = usize::from(bytes[1]).min(NAME_BYTES);
        let mut bars = [Bar::default(); 6];
        for (i, bar) in bars.iter_mut().enumerate() {
            bar.size = get_u64(bytes, 16 + 16 * i);
            bar.axi_base = get_u64(bytes, 24 + 16 * i);
        }
        Self {
            kind: match bytes[0] {
                2 => SourceKind::Nic,
                3 => SourceKind::Uart,
                _ => SourceKind::Function,
            },
            name: String::from_utf8_lossy(&bytes[112..112 + length]).into_owned(),
            vendor: get_u16(bytes, 2),
            device: get_u16(bytes, 4),
            clock_period_ps: get_u32(bytes, 8),
            bars,
        }
    }
}

const _: () = assert!(SOURCES_OFFSET + MAX_SOURCES * SOURCE_BYTES <= HEADER_BYTES);
const _: () = assert!(112 + NAME_BYTES <= SOURCE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_format() {
        let entry = Entry {
            kind: Kind::MmioWrite as u8,
            source: 1,
            bar: 2,
            status: 3,
            enables: 4,
            flags: 5,
            following: 0x0706,
            number: 8,
            clock: 9,
            host_ns: 10,
            address: 11,
            data: 0x1716_1514_1312_1110,
            length: 12,
            tag: 13,
        };
        let bytes: Vec<u8> = entry.words().iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(bytes[..8], [2, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(
            bytes[40..48],
            [0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17]
        );
        assert_eq!(bytes[48..], [12, 0, 0, 0, 13, 0, 0, 0]);
        assert_eq!(Body::of(&entry.words()), Body::Entry(entry));
    }

    #[test]
    fn kinds_have_one_number_and_one_name() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::of(kind as u8), Some(kind));
            let same = Kind::ALL.iter().filter(|k| k.name() == kind.name()).count();
            assert_eq!(same, 1, "{}", kind.name());
        }
        assert_eq!(Kind::of(0), None);
    }

    /// The page with the format has the numbers that are here.
    #[test]
    fn the_document_has_every_kind() {
        let text = include_str!("../FORMAT.md");
        for &kind in Kind::ALL {
            let row = format!("| {} | `{}` |", kind as u8, kind.name());
            assert!(text.contains(&row), "no {row}");
        }
    }

    #[test]
    fn a_header_that_is_none_is_named() {
        let good = Header {
            major: MAJOR,
            minor: 7,
            ..Header::default()
        };
        let bytes = good.encode();
        assert_eq!(Header::decode(&bytes), Ok(good));
        for (at, expected) in [
            (0, "it is no record"),
            (8, "byte order mark is 0x0a0b0cf2"),
            (12, "version 254.7"),
            (16, "the size of the header"),
            (20, "the size of an entry"),
        ] {
            let mut bytes = bytes;
            bytes[at] = !bytes[at];
            let text = Header::decode(&bytes).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
    }
}
