// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the device says about itself in the handshake, and the rules for it.

use std::fmt;

/// Number of base address registers of a type 0 function (PCI Local Bus 3.0,
/// section 6.2.5).
pub const BARS: usize = 6;

/// Largest number of MSI-X vectors (PCIe base spec, MSI-X Message Control,
/// Table Size).
pub const MAX_VECTORS: u16 = 2048;

/// Largest number of MSI vectors (PCIe base spec, MSI Message Control, Multiple
/// Message Capable).
pub const MAX_MSI_VECTORS: u8 = 32;

/// Smallest memory BAR: the low four bits are flags.
pub const MIN_BAR: u64 = 16;

/// Largest 32-bit memory BAR.
pub const MAX_BAR_32: u64 = 1 << 31;

/// Largest 64-bit BAR that we accept (1 TiB). The spec would allow more, a
/// guest's physical address space would not.
pub const MAX_BAR_64: u64 = 1 << 40;

/// Most extra capabilities in one configuration.
pub const MAX_CAPABILITIES: usize = 16;

/// Capability ids that the QEMU device itself provides.
const OWN_CAPABILITIES: [u8; 4] = [0x01, 0x05, 0x10, 0x11];

/// One memory base address register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Bytes, a power of two from [`MIN_BAR`]; 0 if the BAR is absent.
    pub size: u64,
    /// Address on the AXI side that offset 0 of the BAR becomes.
    pub axi_base: u64,
    /// Takes this BAR and the next as one 64-bit register.
    pub is_64bit: bool,
    /// Reads have no side effects.
    pub prefetchable: bool,
}

/// MSI-X capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// 1 to [`MAX_VECTORS`].
    pub vectors: u16,
    /// BAR that holds the vector table.
    pub table_bar: u8,
    /// BAR that holds the pending bits.
    pub pba_bar: u8,
    /// Offset of the table in its BAR, a multiple of 8.
    pub table_offset: u32,
    /// Offset of the pending bits in their BAR, a multiple of 8.
    pub pba_offset: u32,
    /// Table and pending bits are in the RTL, which writes the messages itself; else they
    /// are the host's. Added in 1.6.
    pub in_rtl: bool,
}

impl Msix {
    /// Bytes of the vector table.
    pub const fn table_size(&self) -> u64 {
        self.vectors as u64 * 16
    }

    /// Bytes of the pending bit array.
    pub const fn pba_size(&self) -> u64 {
        (self.vectors as u64).div_ceil(64) * 8
    }
}

/// MSI capability, with 64-bit addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msi {
    /// 1, 2, 4, 8, 16 or 32.
    pub vectors: u8,
    /// Each vector can be masked, and has a pending bit.
    pub masking: bool,
}

/// An additional capability in the first 256 bytes of config space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Capability id, for example 9 for a vendor specific one.
    pub id: u8,
    /// Place in config space, a multiple of 4 from 0x40; 0 lets QEMU choose.
    pub offset: u8,
    /// What follows the id and the next pointer; read-only for the guest.
    pub body: Vec<u8>,
}

/// Identity and shape of the PCIe function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Subsystem vendor id.
    pub subsystem_vendor: u16,
    /// Subsystem id.
    pub subsystem: u16,
    /// Class code, 24 bits: base class, subclass, programming interface.
    pub class: u32,
    /// Revision id.
    pub revision: u8,
    /// INTx pin: 0 none, 1 INTA to 4 INTD.
    pub intx_pin: u8,
    /// Link speed as in Link Capabilities: 1 is 2.5 GT/s, 6 is 64 GT/s.
    pub link_speed: u8,
    /// Number of lanes: 1, 2, 4, 8, 12, 16 or 32.
    pub link_width: u8,
    /// MSI-X, if the function has it.
    pub msix: Option<Msix>,
    /// MSI, if the function has it; it may have both.
    pub msi: Option<Msi>,
    /// The BARs.
    pub bars: [Bar; BARS],
    /// Period of the simulated clock in picoseconds, 0 if not told.
    pub clock_period_ps: u32,
    /// Capabilities beyond power management, PCI Express, MSI-X and MSI.
    pub capabilities: Vec<Capability>,
}

/// A rule that a configuration breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, as users know it: `bar[2].size`.
    pub field: String,
    /// What it holds.
    pub value: String,
    /// What it has to hold.
    pub expected: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "configuration field {} is {}, expected {}",
            self.field, self.value, self.expected
        )
    }
}

impl std::error::Error for ConfigError {}

fn refuse<T>(
    field: impl Into<String>,
    value: impl Into<String>,
    expected: impl Into<String>,
) -> Result<T, ConfigError> {
    Err(ConfigError {
        field: field.into(),
        value: value.into(),
        expected: expected.into(),
    })
}

impl Config {
    /// Checks every rule of `PROTOCOL.md`, section "CONFIG".
    ///
    /// # Errors
    ///
    /// The first rule that is broken, with the field and both values.
    pub fn check(&self) -> Result<(), ConfigError> {
        if matches!(self.vendor, 0 | 0xffff) {
            return refuse(
                "vendor",
                format!("{:#06x}", self.vendor),
                "a vendor id other than 0x0000 and 0xffff",
            );
        }
        if self.class > 0xff_ffff {
            return refuse("class", format!("{:#x}", self.class), "at most 0xffffff");
        }
        if self.intx_pin > 4 {
            return refuse("intx_pin", self.intx_pin.to_string(), "0 to 4");
        }
        if !(1..=6).contains(&self.link_speed) {
            return refuse("link_speed", self.link_speed.to_string(), "1 to 6");
        }
        if !matches!(self.link_width, 1 | 2 | 4 | 8 | 12 | 16 | 32) {
            return refuse(
                "link_width",
                self.link_width.to_string(),
                "1, 2, 4, 8, 12, 16 or 32",
            );
        }
        self.check_bars()?;
        if let Some(msix) = &self.msix {
            self.check_msix(msix)?;
        }
        if let Some(msi) = &self.msi {
            if !msi.vectors.is_power_of_two() || msi.vectors > MAX_MSI_VECTORS {
                return refuse(
                    "msi.vectors",
                    msi.vectors.to_string(),
                    "1, 2, 4, 8, 16 or 32",
                );
            }
        }
        self.check_capabilities()
    }

    /// Vectors that the function has: of MSI-X or MSI, whichever has more.
    pub fn vectors(&self) -> u16 {
        let msi = self.msi.map_or(0, |m| m.vectors.into());
        self.msix.map_or(0, |m| m.vectors).max(msi)
    }

    fn check_bars(&self) -> Result<(), ConfigError> {
        for (i, bar) in self.bars.iter().enumerate() {
            if bar.size == 0 {
                if bar.is_64bit || bar.prefetchable || bar.axi_base != 0 {
                    return refuse(
                        format!("bar[{i}].size"),
                        "0 with flags or an AXI base",
                        "flags and AXI base 0 for an absent BAR",
                    );
                }
                continue;
            }
            let max = if bar.is_64bit { MAX_BAR_64 } else { MAX_BAR_32 };
            if !bar.size.is_power_of_two() || bar.size < MIN_BAR || bar.size > max {
                return refuse(
                    format!("bar[{i}].size"),
                    format!("{:#x}", bar.size),
                    format!("a power of two from {MIN_BAR:#x} to {max:#x}"),
                );
            }
            if bar.axi_base & (bar.size - 1) != 0 {
                return refuse(
                    format!("bar[{i}].axi_base"),
                    format!("{:#x}", bar.axi_base),
                    format!("a multiple of the BAR's size {:#x}", bar.size),
                );
            }
            if bar.is_64bit {
                if i == BARS - 1 {
                    return refuse(
                        format!("bar[{i}].is_64bit"),
                        "1",
                        "0, since the last BAR has no upper half",
                    );
                }
                if self.bars[i + 1].size != 0 {
                    return refuse(
                        format!("bar[{}].size", i + 1),
                        format!("{:#x}", self.bars[i + 1].size),
                        format!("0, since it is the upper half of the 64-bit BAR {i}"),
                    );
                }
            }
        }
        Ok(())
    }

    fn check_msix(&self, msix: &Msix) -> Result<(), ConfigError> {
        if msix.vectors == 0 || msix.vectors > MAX_VECTORS {
            return refuse(
                "msix.vectors",
                msix.vectors.to_string(),
                format!("1 to {MAX_VECTORS}"),
            );
        }
        let table = u64::from(msix.table_offset)..u64::from(msix.table_offset) + msix.table_size();
        let pba = u64::from(msix.pba_offset)..u64::from(msix.pba_offset) + msix.pba_size();
        for (name, bir, range) in [
            ("table", msix.table_bar, &table),
            ("pba", msix.pba_bar, &pba),
        ] {
            let size = match self.bars.get(usize::from(bir)) {
                Some(bar) if bar.size != 0 => bar.size,
                _ => {
                    return refuse(
                        format!("msix.{name}_bar"),
                        bir.to_string(),
                        "the number of a BAR that is present",
                    )
                }
            };
            if range.start % 8 != 0 {
                return refuse(
                    format!("msix.{name}_offset"),
                    format!("{:#x}", range.start),
                    "a multiple of 8",
                );
            }
            if range.end > size {
                return refuse(
                    format!("msix.{name}_offset"),
                    format!("{:#x} (ends at {:#x})", range.start, range.end),
                    format!("to end within BAR {bir} of {size:#x} bytes"),
                );
            }
        }
        if msix.table_bar == msix.pba_bar && table.start < pba.end && pba.start < table.end {
            return refuse(
                "msix.pba_offset",
                format!("{:#x}..{:#x}", pba.start, pba.end),
                format!(
                    "no overlap with the vector table {:#x}..{:#x} in the same BAR",
                    table.start, table.end
                ),
            );
        }
        Ok(())
    }

    fn check_capabilities(&self) -> Result<(), ConfigError> {
        if self.capabilities.len() > MAX_CAPABILITIES {
            return refuse(
                "capabilities",
                self.capabilities.len().to_string(),
                format!("at most {MAX_CAPABILITIES}"),
            );
        }
        for (i, cap) in self.capabilities.iter().enumerate() {
            if cap.id == 0 || cap.id == 0xff || OWN_CAPABILITIES.contains(&cap.id) {
                return refuse(
                    format!("capabilities[{i}].id"),
                    format!("{:#04x}", cap.id),
                    "an id that QEMU does not provide itself (0x01, 0x05, 0x10 and 0x11 are)",
                );
            }
            // Id and next pointer, then the body.
            let length = cap.body.len() + 2;
            if cap.body.is_empty() || length > 0xc0 {
                return refuse(
                    format!("capabilities[{i}].length"),
                    length.to_string(),
                    "3 to 192",
                );
            }
            if cap.offset == 0 {
                continue;
            }
            let range = usize::from(cap.offset)..usize::from(cap.offset) + length;
            if cap.offset % 4 != 0 || range.start < 0x40 || range.end > 0x100 {
                return refuse(
                    format!("capabilities[{i}].offset"),
                    format!("{:#x} (ends at {:#x})", range.start, range.end),
                    "a multiple of 4 within 0x40..0x100",
                );
            }
            for (k, other) in self.capabilities[..i].iter().enumerate() {
                let start = usize::from(other.offset);
                if start != 0 && start < range.end && range.start < start + other.body.len() + 2 {
                    return refuse(
                        format!("capabilities[{i}].offset"),
                        format!("{:#x}", range.start),
                        format!("no overlap with capabilities[{k}] at {start:#x}"),
                    );
                }
            }
        }
        Ok(())
    }
}
