// SPDX-License-Identifier: MIT OR Apache-2.0

//! What firmware and a driver do with a PCI Express function on q35: config
//! space, buses, BARs, capabilities, MSI-X, MSI.

use crate::qemu::Qemu;

/// Offsets in config space (PCI Local Bus 3.0, section 6.1; PCIe base spec,
/// section 7.5.3).
pub mod reg {
    #![allow(missing_docs)]
    pub const VENDOR: u16 = 0x00;
    pub const DEVICE: u16 = 0x02;
    pub const COMMAND: u16 = 0x04;
    pub const STATUS: u16 = 0x06;
    pub const REVISION: u16 = 0x08;
    pub const CLASS: u16 = 0x09;
    pub const HEADER_TYPE: u16 = 0x0e;
    pub const BAR0: u16 = 0x10;
    pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
    pub const SUBSYSTEM: u16 = 0x2e;
    pub const CAPABILITIES: u16 = 0x34;
    pub const INTERRUPT_PIN: u16 = 0x3d;
    // Bridges.
    pub const PRIMARY_BUS: u16 = 0x18;
    pub const MEMORY_BASE: u16 = 0x20;
    pub const PREFETCH_BASE: u16 = 0x24;
    pub const PREFETCH_BASE_HIGH: u16 = 0x28;
    pub const BRIDGE_CONTROL: u16 = 0x3e;
}

/// Bits of Command.
pub mod command {
    #![allow(missing_docs)]
    pub const MEMORY: u16 = 2;
    pub const BUS_MASTER: u16 = 4;
    pub const INTX_DISABLE: u16 = 0x400;
}

/// Capability ids.
pub mod capability {
    #![allow(missing_docs)]
    pub const POWER_MANAGEMENT: u8 = 0x01;
    pub const MSI: u8 = 0x05;
    pub const VENDOR: u8 = 0x09;
    pub const EXPRESS: u8 = 0x10;
    pub const MSIX: u8 = 0x11;
}

/// Where the root port is on bus 0.
pub const ROOT_PORT: Function = Function { bus: 0, device: 4 };

/// Where the card is behind it.
pub const CARD: Function = Function { bus: 1, device: 0 };

/// Bus address where 32-bit and non-prefetchable BARs go, 512 MiB.
pub const MEMORY: u64 = 0xc000_0000;
/// And where they end.
pub const MEMORY_END: u64 = 0xe000_0000;

/// Bus address where prefetchable 64-bit BARs go, above 4 GiB.
const PREFETCH: u64 = 0x100_0000_0000;
const PREFETCH_END: u64 = 0x180_0000_0000;

/// Bus address of the extended config space.
const ECAM: u64 = 0xb000_0000;

/// A function 0 on some bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function {
    /// Number of the bus.
    pub bus: u8,
    /// Number of the device on it.
    pub device: u8,
}

impl Function {
    fn select(self, qemu: &mut Qemu, offset: u16) {
        assert!(offset < 256, "beyond the ports' reach");
        let address = 0x8000_0000
            | u32::from(self.bus) << 16
            | u32::from(self.device) << 11
            | u32::from(offset & 0xfc);
        qemu.port_out(0xcf8, 4, address);
    }

    /// Reads 1, 2 or 4 bytes of config space.
    #[track_caller]
    pub fn get(self, qemu: &mut Qemu, offset: u16, len: u8) -> u32 {
        self.select(qemu, offset);
        qemu.port_in(0xcfc + (offset & 3), len)
    }

    /// Writes 1, 2 or 4 bytes of config space.
    #[track_caller]
    pub fn set(self, qemu: &mut Qemu, offset: u16, len: u8, value: u32) {
        self.select(qemu, offset);
        qemu.port_out(0xcfc + (offset & 3), len, value);
    }

    /// Reads 4 bytes of extended config space; see [`enable_ecam`].
    #[track_caller]
    pub fn get_extended(self, qemu: &mut Qemu, offset: u16) -> u32 {
        let place = u64::from(self.bus) << 20 | u64::from(self.device) << 15;
        qemu.load(ECAM + place + u64::from(offset), 4) as u32
    }

    /// Writes 4 bytes of extended config space.
    #[track_caller]
    pub fn set_extended(self, qemu: &mut Qemu, offset: u16, value: u32) {
        let place = u64::from(self.bus) << 20 | u64::from(self.device) << 15;
        qemu.store(ECAM + place + u64::from(offset), 4, value.into());
    }

    /// Whether there is a function.
    #[track_caller]
    pub fn is_present(self, qemu: &mut Qemu) -> bool {
        self.get(qemu, reg::VENDOR, 4) != u32::MAX
    }

    /// Ids and places of all capabilities, in the order of the list.
    ///
    /// # Panics
    ///
    /// The list is not one.
    #[track_caller]
    pub fn capabilities(self, qemu: &mut Qemu) -> Vec<(u8, u16)> {
        let mut found = Vec::new();
        if self.get(qemu, reg::STATUS, 2) & 0x10 == 0 {
            return found;
        }
        let mut at = self.get(qemu, reg::CAPABILITIES, 1) as u16 & 0xfc;
        while at != 0 {
            assert!(at >= 0x40 && found.len() < 48, "bad list: {found:x?}");
            let head = self.get(qemu, at, 2);
            found.push((head as u8, at));
            at = (head >> 8) as u16 & 0xfc;
        }
        found
    }

    /// Place of a capability, if the function has it.
    #[track_caller]
    pub fn find(self, qemu: &mut Qemu, id: u8) -> Option<u16> {
        let all = self.capabilities(qemu);
        all.iter().find(|c| c.0 == id).map(|c| c.1)
    }

    /// Place of a capability.
    ///
    /// # Panics
    ///
    /// The function does not have it.
    #[track_caller]
    pub fn expect(self, qemu: &mut Qemu, id: u8) -> u16 {
        match self.find(qemu, id) {
            Some(at) => at,
            None => panic!("no capability {id:#04x}"),
        }
    }

    /// Sets and clears bits of Command.
    #[track_caller]
    pub fn change_command(self, qemu: &mut Qemu, set: u16, clear: u16) {
        let old = self.get(qemu, reg::COMMAND, 2) as u16;
        let new = old & !clear | set;
        self.set(qemu, reg::COMMAND, 2, new.into());
    }
}

/// Makes extended config space visible, as firmware does (PCIEXBAR of the
/// q35 host bridge).
#[track_caller]
pub fn enable_ecam(qemu: &mut Qemu) {
    let host = Function { bus: 0, device: 0 };
    host.set(qemu, 0x64, 4, 0);
    host.set(qemu, 0x60, 4, ECAM as u32 | 1);
}

/// Gives the root port its bus and its windows.
#[track_caller]
pub fn enable_root_port(qemu: &mut Qemu) {
    let port = ROOT_PORT;
    port.set(qemu, reg::PRIMARY_BUS, 4, 0x0001_0100);
    let window = |base: u64, end: u64| {
        let (base, last) = ((base >> 16) as u32 & 0xfff0, ((end - 1) >> 16) as u32);
        base | (last & 0xfff0) << 16
    };
    port.set(qemu, reg::MEMORY_BASE, 4, window(MEMORY, MEMORY_END));
    // Base and limit are whole multiples of 4 GiB, less one at the end.
    let low = 0xfff0_0000;
    port.set(qemu, reg::PREFETCH_BASE, 4, low);
    let high = |addr: u64| (addr >> 32) as u32;
    port.set(qemu, reg::PREFETCH_BASE_HIGH, 4, high(PREFETCH));
    port.set(qemu, reg::PREFETCH_BASE_HIGH + 4, 4, high(PREFETCH_END - 1));
    port.change_command(qemu, command::MEMORY | command::BUS_MASTER, 0);
}

/// A BAR as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarSeen {
    /// Bytes.
    pub size: u64,
    /// Bits 2:1 say 64-bit.
    pub is_64bit: bool,
    /// Bit 3.
    pub prefetchable: bool,
}

/// Finds out what a BAR is by writing ones, as drivers do. `None` if it is
/// absent.
#[track_caller]
pub fn size_bar(qemu: &mut Qemu, function: Function, bar: u8) -> Option<BarSeen> {
    let at = reg::BAR0 + 4 * u16::from(bar);
    let probe = |qemu: &mut Qemu, at| {
        let old = function.get(qemu, at, 4);
        function.set(qemu, at, 4, u32::MAX);
        let ones = function.get(qemu, at, 4);
        function.set(qemu, at, 4, old);
        ones
    };
    let low = probe(qemu, at);
    if low == 0 {
        return None;
    }
    assert_eq!(low & 1, 0, "BAR {bar} is no memory BAR");
    let is_64bit = low >> 1 & 3 == 2;
    let high = if is_64bit {
        probe(qemu, at + 4)
    } else {
        u32::MAX
    };
    let mask = u64::from(high) << 32 | u64::from(low & !0xf);
    Some(BarSeen {
        size: (!mask).wrapping_add(1),
        is_64bit,
        prefetchable: low & 8 != 0,
    })
}

/// Places every BAR that fits its window; returns their addresses.
#[track_caller]
pub fn place_bars(qemu: &mut Qemu, function: Function) -> [Option<u64>; 6] {
    let mut places = [None; 6];
    let (mut memory, mut prefetch) = (MEMORY, PREFETCH);
    let mut bar = 0;
    while bar < 6 {
        let Some(seen) = size_bar(qemu, function, bar) else {
            bar += 1;
            continue;
        };
        let (next, end) = if seen.is_64bit && seen.prefetchable {
            (&mut prefetch, PREFETCH_END)
        } else {
            (&mut memory, MEMORY_END)
        };
        let place = next.next_multiple_of(seen.size);
        if place + seen.size <= end {
            *next = place + seen.size;
            places[usize::from(bar)] = Some(place);
            let at = reg::BAR0 + 4 * u16::from(bar);
            function.set(qemu, at, 4, place as u32);
            if seen.is_64bit {
                function.set(qemu, at + 4, 4, (place >> 32) as u32);
            }
        }
        bar += if seen.is_64bit { 2 } else { 1 };
    }
    places
}

/// MSI-X of a function (PCIe base spec, section 7.7.2).
#[derive(Clone, Copy, Debug)]
pub struct MsixSeen {
    function: Function,
    at: u16,
    /// Number of vectors.
    pub vectors: u16,
    /// BAR and offset of the table.
    pub table: (u8, u32),
    /// BAR and offset of the pending bits.
    pub pba: (u8, u32),
}

impl MsixSeen {
    /// Reads the capability, if the function has it.
    #[track_caller]
    pub fn find(qemu: &mut Qemu, function: Function) -> Option<Self> {
        let at = function.find(qemu, capability::MSIX)?;
        let control = function.get(qemu, at + 2, 2);
        let split = |value: u32| ((value & 7) as u8, value & !7);
        Some(Self {
            function,
            at,
            vectors: (control & 0x7ff) as u16 + 1,
            table: split(function.get(qemu, at + 4, 4)),
            pba: split(function.get(qemu, at + 8, 4)),
        })
    }

    /// Sets MSI-X Enable and Function Mask.
    #[track_caller]
    pub fn control(&self, qemu: &mut Qemu, enable: bool, masked: bool) {
        let value = u32::from(enable) << 15 | u32::from(masked) << 14;
        self.function.set(qemu, self.at + 2, 2, value);
    }

    fn entry(&self, bars: &[Option<u64>; 6], vector: u16) -> u64 {
        let bar = bars[usize::from(self.table.0)].expect("the table's BAR is not placed");
        bar + u64::from(self.table.1) + 16 * u64::from(vector)
    }

    /// Programs a vector: a write of `data` to `addr`.
    #[track_caller]
    pub fn program(
        &self,
        qemu: &mut Qemu,
        bars: &[Option<u64>; 6],
        vector: u16,
        addr: u64,
        data: u32,
    ) {
        let entry = self.entry(bars, vector);
        qemu.store(entry, 4, addr & 0xffff_ffff);
        qemu.store(entry + 4, 4, addr >> 32);
        qemu.store(entry + 8, 4, data.into());
        self.mask(qemu, bars, vector, false);
    }

    /// Masks or unmasks a vector.
    #[track_caller]
    pub fn mask(&self, qemu: &mut Qemu, bars: &[Option<u64>; 6], vector: u16, masked: bool) {
        qemu.store(self.entry(bars, vector) + 12, 4, masked.into());
    }

    /// Pending bit of a vector.
    #[track_caller]
    pub fn is_pending(&self, qemu: &mut Qemu, bars: &[Option<u64>; 6], vector: u16) -> bool {
        let bar = bars[usize::from(self.pba.0)].expect("the BAR of the pending bits is not placed");
        let word = bar + u64::from(self.pba.1) + u64::from(vector / 64) * 8;
        qemu.load(word, 8) >> (vector % 64) & 1 != 0
    }
}

/// MSI of a function (PCIe base spec, section 7.7.1), with a 64-bit address.
#[derive(Clone, Copy, Debug)]
pub struct MsiSeen {
    function: Function,
    /// Place of the capability.
    pub at: u16,
    /// Vectors that the function has.
    pub vectors: u16,
    /// It has mask and pending bits.
    pub masking: bool,
}

impl MsiSeen {
    /// Reads the capability, if the function has it.
    ///
    /// # Panics
    ///
    /// It has no 64-bit address.
    #[track_caller]
    pub fn find(qemu: &mut Qemu, function: Function) -> Option<Self> {
        let at = function.find(qemu, capability::MSI)?;
        let control = function.get(qemu, at + 2, 2);
        assert!(control & 0x80 != 0, "a 32-bit address: {control:#x}");
        Some(Self {
            function,
            at,
            vectors: 1 << (control >> 1 & 7),
            masking: control & 0x100 != 0,
        })
    }

    /// Sets MSI Enable and Multiple Message Enable, the logarithm of how many vectors are
    /// granted.
    #[track_caller]
    pub fn control(&self, qemu: &mut Qemu, enable: bool, granted: u8) {
        let value = u32::from(enable) | u32::from(granted) << 4;
        self.function.set(qemu, self.at + 2, 2, value);
    }

    /// MSI Enable, and the logarithm of how many vectors are granted.
    #[track_caller]
    pub fn state(&self, qemu: &mut Qemu) -> (bool, u8) {
        let control = self.function.get(qemu, self.at + 2, 2);
        (control & 1 != 0, (control >> 4 & 7) as u8)
    }

    /// Has the vectors write to `addr`: `data`, with their number in the low bits.
    #[track_caller]
    pub fn program(&self, qemu: &mut Qemu, addr: u64, data: u16) {
        self.function.set(qemu, self.at + 4, 4, addr as u32);
        self.function.set(qemu, self.at + 8, 4, (addr >> 32) as u32);
        self.function.set(qemu, self.at + 12, 2, data.into());
    }

    /// Sets the mask bits.
    #[track_caller]
    pub fn mask(&self, qemu: &mut Qemu, bits: u32) {
        self.function.set(qemu, self.at + 16, 4, bits);
    }

    /// The pending bits.
    #[track_caller]
    pub fn pending(&self, qemu: &mut Qemu) -> u32 {
        self.function.get(qemu, self.at + 20, 4)
    }
}
