// SPDX-License-Identifier: MIT OR Apache-2.0

//! Layouts and numbers of vfio-user, version 0.0 (QEMU, `docs/interop/vfio-user.rst`, and
//! Linux's `vfio.h`, whose structures the messages carry). All numbers are in the byte order of
//! the machine, which both ends are on.

/// Bytes of the header of each message.
pub const HEADER: usize = 16;

/// Data bytes of one access to a region, at most; we say so when a client comes.
pub const MAX_TRANSFER: usize = 64 * 1024;

/// Bytes of a message, at most.
pub const MAX_MESSAGE: usize = HEADER + 32 + MAX_TRANSFER;

/// Descriptors that a client may send with a message, as we say when it comes; QEMU takes no
/// more for an answer.
pub const FILES: usize = 16;

/// Descriptors that come with a message at most, which are as many as Linux passes at once:
/// not every client heeds what we say.
pub const MAX_FILES: usize = 253;

/// Areas of guest memory, at most; we say so when a client comes.
pub const MAX_MAPS: usize = 4096;

/// Commands of a client.
pub mod command {
    pub const VERSION: u16 = 1;
    pub const DMA_MAP: u16 = 2;
    pub const DMA_UNMAP: u16 = 3;
    pub const DEVICE_GET_INFO: u16 = 4;
    pub const DEVICE_GET_REGION_INFO: u16 = 5;
    pub const DEVICE_GET_REGION_IO_FDS: u16 = 6;
    pub const DEVICE_GET_IRQ_INFO: u16 = 7;
    pub const DEVICE_SET_IRQS: u16 = 8;
    pub const REGION_READ: u16 = 9;
    pub const REGION_WRITE: u16 = 10;
    pub const DEVICE_RESET: u16 = 13;
    pub const DIRTY_PAGES: u16 = 14;
    pub const REGION_WRITE_MULTI: u16 = 15;
}

/// Bits of a header's flags: the type, and what comes with it.
const TYPE: u32 = 0xf;
const REPLY: u32 = 1;
const NO_REPLY: u32 = 0x10;
const ERROR: u32 = 0x20;

/// Regions of a PCI function: six BARs, ROM, configuration space, VGA.
pub mod region {
    pub const BARS: u32 = 6;
    pub const CONFIG: u32 = 7;
    pub const COUNT: u32 = 9;
    /// Can be read and written.
    pub const READ_WRITE: u32 = 3;
}

/// Interrupts of a PCI function by their index; errors and requests to be released we have not.
pub mod irq {
    pub const INTX: u32 = 0;
    pub const MSI: u32 = 1;
    pub const MSIX: u32 = 2;
    pub const COUNT: u32 = 5;

    /// What can be done with it.
    pub const EVENTFD: u32 = 1;
    pub const MASKABLE: u32 = 2;
    pub const AUTOMASKED: u32 = 4;

    /// SET_IRQS: what data comes, and what is to be done.
    pub const DATA_NONE: u32 = 1;
    pub const DATA_BOOL: u32 = 2;
    pub const DATA_EVENTFD: u32 = 4;
    pub const MASK: u32 = 8;
    pub const UNMASK: u32 = 16;
    pub const TRIGGER: u32 = 32;
}

/// The function can be reset, and is one of PCI.
pub const DEVICE_FLAGS: u32 = 1 | 2;

/// DMA_MAP: the device may read it, and write it.
pub const MAP_READ: u32 = 1;
pub const MAP_WRITE: u32 = 2;
/// DMA_UNMAP: of all areas.
pub const UNMAP_ALL: u32 = 2;

/// Bytes of one write of REGION_WRITE_MULTI.
pub const MULTI: usize = 24;

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which the reply has too.
    pub id: u16,
    /// What is asked for.
    pub command: u16,
    /// Of the message, with the header.
    pub size: u32,
    /// Type and bits.
    pub flags: u32,
}

impl Header {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// What makes that no message of a client can follow: the stream is not to be understood.
    pub fn new(bytes: &[u8; HEADER]) -> Result<Self, String> {
        let header = Self {
            id: u16::from_ne_bytes([bytes[0], bytes[1]]),
            command: u16::from_ne_bytes([bytes[2], bytes[3]]),
            size: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            flags: u32::from_ne_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        };
        if !(HEADER..=MAX_MESSAGE).contains(&(header.size as usize)) {
            return Err(format!(
                "a message of {} bytes, expected {HEADER} to {MAX_MESSAGE}",
                header.size
            ));
        }
        if header.flags & TYPE != 0 {
            return Err(format!(
                "a message of type {}, expected 0, a command: nothing was asked of the client",
                header.flags & TYPE
            ));
        }
        Ok(header)
    }

    /// Whether the client wants a reply.
    pub const fn wants_reply(&self) -> bool {
        self.flags & NO_REPLY == 0
    }
}

/// Appends the reply to a message, with these pieces behind its header.
pub fn reply(id: u16, command: u16, body: &[&[u8]], out: &mut Vec<u8>) {
    let bytes: usize = body.iter().map(|b| b.len()).sum();
    put_header(id, command, bytes, REPLY, 0, out);
    body.iter().for_each(|b| out.extend_from_slice(b));
}

/// Appends the reply that a message has failed with `errno`.
pub fn error(id: u16, command: u16, errno: i32, out: &mut Vec<u8>) {
    put_header(id, command, 0, REPLY | ERROR, errno as u32, out);
}

fn put_header(id: u16, command: u16, body: usize, flags: u32, error: u32, out: &mut Vec<u8>) {
    out.extend(id.to_ne_bytes());
    out.extend(command.to_ne_bytes());
    out.extend(((HEADER + body) as u32).to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(error.to_ne_bytes());
}

/// Numbers of a message, one after another. Each is missing if the message is too short.
pub struct Numbers<'a>(pub &'a [u8]);

impl<'a> Numbers<'a> {
    /// The next 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?.try_into().ok().map(u16::from_ne_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_ne_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_ne_bytes)
    }

    /// The next so many bytes.
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u32, flags: u32) -> Result<Header, String> {
        let mut bytes = Vec::new();
        put_header(7, 9, 0, flags, 0, &mut bytes);
        bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        Header::new(&bytes.try_into().unwrap())
    }

    #[test]
    fn headers() {
        let good = header(16, NO_REPLY).unwrap();
        assert_eq!((good.id, good.command, good.size), (7, 9, 16));
        assert!(!good.wants_reply() && header(16, 0).unwrap().wants_reply());
        assert!(header(MAX_MESSAGE as u32, 0).is_ok());
        for (size, flags, part) in [
            (0, 0, "0 bytes"),
            (15, 0, "15 bytes"),
            (MAX_MESSAGE as u32 + 1, 0, "65585 bytes"),
            (u32::MAX, 0, "4294967295 bytes"),
            (16, REPLY, "type 1"),
            (16, 0xf, "type 15"),
        ] {
            let text = header(size, flags).unwrap_err();
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn numbers_of_a_short_message_are_missing() {
        let mut numbers = Numbers(&[1, 0, 0, 0, 2, 0, 3]);
        assert_eq!(numbers.u32(), Some(1_u32.to_le()));
        assert_eq!(numbers.u16(), Some(2_u16.to_le()));
        assert_eq!(numbers.u64(), None);
        assert_eq!(numbers.bytes(1), Some(&[3][..]));
        assert_eq!(numbers.bytes(0), Some(&[][..]));
        assert_eq!(numbers.u16(), None);
    }
}
