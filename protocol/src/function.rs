// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest has set in the function's config space, as far as the logic
//! of a card wants to know it: the payload of FUNCTION.

use crate::config::BARS;

/// Bytes of a FUNCTION payload without addresses of BARs.
pub const FUNCTION_LEN: usize = 32;

/// Bytes of the addresses of BARs, which may follow.
pub const ADDRESSES_LEN: usize = 8 * BARS;

/// Address of a BAR that is not mapped, or not there.
pub const UNMAPPED: u64 = u64::MAX;

/// Largest value of the two sizes: 4,096 bytes.
pub const MAX_SIZE: u8 = 5;

/// Flags that there are.
const FLAGS: u32 = 9;

/// Largest number of MSI vectors that a guest can grant, as [`Function::msi_granted`]
/// has it: 32.
pub const MAX_MSI_GRANTED: u8 = 5;

/// A field that holds what it must not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadField {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub found: u64,
    /// What it may hold.
    pub expected: &'static str,
}

/// Power state of a function (PCI Power Management, PMCSR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Power {
    /// On.
    #[default]
    D0 = 0,
    /// First sleep.
    D1 = 1,
    /// Second sleep.
    D2 = 2,
    /// Only config space answers, and nothing is sent.
    D3hot = 3,
}

/// State of a function. The default is that after a reset (PCIe base spec,
/// Command, Device Control), with the link of the slowest card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Memory Space Enable: the BARs answer.
    pub memory_space: bool,
    /// Bus Master Enable: DMA and message signalled interrupts are allowed.
    pub bus_master: bool,
    /// Interrupt Disable: INTx may not be asserted.
    pub intx_disable: bool,
    /// MSI-X Enable; then INTx is not used.
    pub msix_enable: bool,
    /// MSI-X Function Mask.
    pub msix_mask: bool,
    /// Extended Tag Field Enable.
    pub extended_tag: bool,
    /// Enable Relaxed Ordering.
    pub relaxed_ordering: bool,
    /// Enable No Snoop.
    pub no_snoop: bool,
    /// MSI Enable, added in 1.3; then INTx is not used.
    pub msi_enable: bool,
    /// MSI vectors that the guest has granted (Multiple Message Enable): 0 is 1, each one
    /// more is twice as much, up to [`MAX_MSI_GRANTED`]. Added in 1.3.
    pub msi_granted: u8,
    /// Mask bits of MSI, of vector 0 lowest. Added in 1.3.
    pub msi_mask: u32,
    /// Power state.
    pub power: Power,
    /// Max_Payload_Size: 0 is 128 bytes, each one more is twice as much, up to
    /// [`MAX_SIZE`].
    pub max_payload: u8,
    /// Max_Read_Request_Size, in the same way.
    pub max_read_request: u8,
    /// Requester id: bus number, and device and function number in the low byte.
    pub requester_id: u16,
    /// Current link speed, 1 (2.5 GT/s) to 6 (64 GT/s).
    pub link_speed: u8,
    /// Negotiated link width: 1, 2, 4, 8, 12, 16 or 32 lanes.
    pub link_width: u8,
    /// Where the guest has put each BAR on the bus, or [`UNMAPPED`]; `None` if it is not told.
    /// Added in 1.5.
    pub addresses: Option<[u64; BARS]>,
}

impl Default for Function {
    fn default() -> Self {
        Self {
            memory_space: false,
            bus_master: false,
            intx_disable: false,
            msix_enable: false,
            msix_mask: false,
            extended_tag: false,
            relaxed_ordering: true,
            no_snoop: true,
            msi_enable: false,
            msi_granted: 0,
            msi_mask: 0,
            power: Power::D0,
            max_payload: 0,
            max_read_request: 2,
            requester_id: 0,
            link_speed: 1,
            link_width: 1,
            addresses: None,
        }
    }
}

impl Function {
    /// The flags as a number, lowest bit first as in `PROTOCOL.md`.
    pub fn flags(&self) -> u32 {
        let flags: [bool; FLAGS as usize] = [
            self.memory_space,
            self.bus_master,
            self.intx_disable,
            self.msix_enable,
            self.msix_mask,
            self.extended_tag,
            self.relaxed_ordering,
            self.no_snoop,
            self.msi_enable,
        ];
        let set = |number, &flag| number << 1 | u32::from(flag);
        flags.iter().rev().fold(0, set)
    }

    /// The payload without addresses of BARs, see `PROTOCOL.md`.
    pub fn to_bytes(&self) -> [u8; FUNCTION_LEN] {
        let mut bytes = [0; FUNCTION_LEN];
        bytes[..4].copy_from_slice(&self.flags().to_le_bytes());
        bytes[4] = self.power as u8;
        bytes[5] = self.max_payload;
        bytes[6] = self.max_read_request;
        bytes[8..10].copy_from_slice(&self.requester_id.to_le_bytes());
        bytes[10] = self.link_speed;
        bytes[11] = self.link_width;
        bytes[12] = self.msi_granted;
        bytes[16..20].copy_from_slice(&self.msi_mask.to_le_bytes());
        bytes
    }

    /// Reads a payload without addresses of BARs.
    ///
    /// # Errors
    ///
    /// The first field that does not fit.
    pub fn from_bytes(bytes: &[u8; FUNCTION_LEN]) -> Result<Self, BadField> {
        let bad = |name, found: u8, expected| BadField {
            name,
            found: found.into(),
            expected,
        };
        let flags = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        if flags >> FLAGS != 0 {
            return Err(BadField {
                name: "FUNCTION flags",
                found: flags.into(),
                expected: "at most 0x1ff",
            });
        }
        let flag = |bit: u32| flags >> bit & 1 != 0;
        let function = Self {
            memory_space: flag(0),
            bus_master: flag(1),
            intx_disable: flag(2),
            msix_enable: flag(3),
            msix_mask: flag(4),
            extended_tag: flag(5),
            relaxed_ordering: flag(6),
            no_snoop: flag(7),
            msi_enable: flag(8),
            msi_granted: bytes[12],
            msi_mask: u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]),
            power: match bytes[4] {
                0 => Power::D0,
                1 => Power::D1,
                2 => Power::D2,
                3 => Power::D3hot,
                found => return Err(bad("power state", found, "0 to 3")),
            },
            max_payload: bytes[5],
            max_read_request: bytes[6],
            requester_id: u16::from_le_bytes([bytes[8], bytes[9]]),
            link_speed: bytes[10],
            link_width: bytes[11],
            addresses: None,
        };
        for (name, size) in [
            ("max payload size", function.max_payload),
            ("max read request size", function.max_read_request),
        ] {
            if size > MAX_SIZE {
                return Err(bad(name, size, "0 to 5"));
            }
        }
        if !(1..=6).contains(&function.link_speed) {
            return Err(bad("link speed", function.link_speed, "1 to 6"));
        }
        if !matches!(function.link_width, 1 | 2 | 4 | 8 | 12 | 16 | 32) {
            let expected = "1, 2, 4, 8, 12, 16 or 32";
            return Err(bad("link width", function.link_width, expected));
        }
        if function.msi_granted > MAX_MSI_GRANTED {
            let expected = "0 to 5";
            return Err(bad("MSI vectors granted", function.msi_granted, expected));
        }
        let reserved = [7, 13, 14, 15].into_iter().chain(20..FUNCTION_LEN);
        match reserved.map(|at| bytes[at]).find(|&b| b != 0) {
            Some(found) => Err(bad("reserved FUNCTION bytes", found, "0")),
            None => Ok(function),
        }
    }
}
