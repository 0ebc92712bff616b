// SPDX-License-Identifier: MIT OR Apache-2.0

//! Configuration space: a conventional PCI function with MSI-X. QEMU keeps BARs and the
//! vectors' state by itself, and asks for the rest.

use std::io::Error;

use crate::refused;

/// Size in bytes.
pub const BYTES: usize = 256;

/// Vendor that the guest finds.
pub const VENDOR: u16 = 0x10ee;
/// Device that the guest finds.
pub const DEVICE: u16 = 0x7033;

const SUBSYSTEM: u16 = 0x0007;
// Command: memory space, bus master, parity and SERR enable, INTx disable (PCI 3.0, 6.2.2).
const COMMAND: usize = 0x04;
const COMMAND_WRITABLE: u16 = 0x0546;
// Status: there are capabilities.
const STATUS: usize = 0x06;
const STATUS_CAPABILITIES: u16 = 1 << 4;
// Processing accelerator.
const CLASS: usize = 0x08;
const CLASS_REVISION: u32 = 0x12_0000 << 8 | 1;
const BAR0: usize = 0x10;
const SUBSYSTEM_VENDOR: usize = 0x2c;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
// MSI-X capability (PCI 3.0, 6.8.2): one vector, table and pending bits in BAR 0.
const MSIX: usize = 0x40;
const MSIX_ID: u8 = 0x11;
const MSIX_TABLE: u32 = 0x1000;
const MSIX_PENDING: u32 = 0x1800;
const MSIX_WRITABLE: u16 = 0xc000;

/// What can be read, and which bits can be written.
pub struct Config {
    bytes: [u8; BYTES],
    writable: [u8; BYTES],
}

impl Config {
    pub fn new() -> Self {
        let mut config = Self {
            bytes: [0; BYTES],
            writable: [0; BYTES],
        };
        put(&mut config.bytes, 0x00, VENDOR.to_le_bytes());
        put(&mut config.bytes, 0x02, DEVICE.to_le_bytes());
        put(&mut config.bytes, STATUS, STATUS_CAPABILITIES.to_le_bytes());
        put(&mut config.bytes, CLASS, CLASS_REVISION.to_le_bytes());
        put(&mut config.bytes, SUBSYSTEM_VENDOR, VENDOR.to_le_bytes());
        put(
            &mut config.bytes,
            SUBSYSTEM_VENDOR + 2,
            SUBSYSTEM.to_le_bytes(),
        );
        put(&mut config.bytes, CAPABILITIES, [MSIX as u8]);
        put(&mut config.bytes, MSIX, [MSIX_ID, 0]);
        put(&mut config.bytes, MSIX + 4, MSIX_TABLE.to_le_bytes());
        put(&mut config.bytes, MSIX + 8, MSIX_PENDING.to_le_bytes());

        let address = !(crate::BAR_BYTES as u32 - 1);
        put(
            &mut config.writable,
            COMMAND,
            COMMAND_WRITABLE.to_le_bytes(),
        );
        put(&mut config.writable, BAR0, address.to_le_bytes());
        put(&mut config.writable, INTERRUPT_LINE, [0xff]);
        put(&mut config.writable, MSIX + 2, MSIX_WRITABLE.to_le_bytes());
        config
    }

    pub fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), Error> {
        let range = range(offset, data.len())?;
        data.copy_from_slice(&self.bytes[range]);
        Ok(())
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), Error> {
        for (at, new) in range(offset, data.len())?.zip(data) {
            let writable = self.writable[at];
            self.bytes[at] = self.bytes[at] & !writable | new & writable;
        }
        Ok(())
    }
}

fn put<const N: usize>(bytes: &mut [u8; BYTES], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

fn range(offset: u64, count: usize) -> Result<std::ops::Range<usize>, Error> {
    usize::try_from(offset)
        .ok()
        .and_then(|begin| Some(begin..begin.checked_add(count)?))
        .filter(|range| range.end <= BYTES)
        .ok_or_else(|| {
            refused(format!(
                "{count} bytes at {offset:#x} are not within {BYTES} bytes of configuration space"
            ))
        })
}
