// SPDX-License-Identifier: MIT OR Apache-2.0

//! Configuration space of the function: what the registers hold, which bits a client may
//! change, and what resets leave of that (PCI Express base specification, chapter 7; the
//! numbers are those of Linux's `pci_regs.h`).
//!
//! It is the same function that `accelerator-pcie` shows in QEMU. QEMU's vfio-user-pci takes
//! BARs, MSI and MSI-X over from here and answers for them by itself; it writes everything
//! here too.

use accelerator_protocol::{wire::ResetKind, Config, Function, Power};

use super::places::{self, Places};

/// Bytes of configuration space.
pub const BYTES: usize = 4096;

// The header.
const COMMAND: usize = 0x04;
const MEMORY_SPACE: u16 = 1 << 1;
const BUS_MASTER: u16 = 1 << 2;
const INTX_DISABLE: u16 = 1 << 10;
/// With Parity Error Response and SERR# Enable.
const COMMAND_WRITABLE: u16 = MEMORY_SPACE | BUS_MASTER | 1 << 6 | 1 << 8 | INTX_DISABLE;
const STATUS: usize = 0x06;
const INTERRUPT_STATUS: u8 = 1 << 3;
const HAS_CAPABILITIES: u16 = 1 << 4;
/// Master Data Parity Error, and what is above bit 10: written as ones to clear them.
const STATUS_CLEARED: u16 = 0xf900;
const BAR0: usize = 0x10;
const FIRST_CAPABILITY: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

// Places within capabilities.
const NEXT: usize = 1;
const POWER_CAPABILITIES: usize = 2;
const POWER_CONTROL: usize = 4;
/// Version 3 of the specification, no PME.
const POWER_VERSION: u16 = 3;
/// PowerState, and No_Soft_Reset: registers stay through D3hot.
const POWER_STATE: u16 = 3;
const NO_SOFT_RESET: u16 = 1 << 3;
const EXPRESS_CAPABILITIES: usize = 2;
/// Version 2, an endpoint.
const EXPRESS_ENDPOINT: u16 = 2;
const DEVICE_CAPABILITIES: usize = 0x04;
/// Payloads of 128 bytes, extended tags, role-based error reporting, function level reset.
const DEVICE_ABILITIES: u32 = 1 << 5 | 1 << 15 | 1 << 28;
const DEVICE_CONTROL: usize = 0x08;
/// Error reporting, relaxed ordering, extended tags, no snoop, read request size.
const DEVICE_WRITABLE: u16 = 0xf | 1 << 4 | 1 << 8 | 1 << 11 | 7 << 12;
/// Relaxed ordering, no snoop, read requests of 512 bytes.
const DEVICE_INITIAL: u16 = 1 << 4 | 1 << 11 | 2 << 12;
const FUNCTION_LEVEL_RESET: u16 = 1 << 15;
const DEVICE_STATUS: usize = 0x0a;
const DEVICE_ERRORS: u16 = 0xf;
const FATAL: u16 = 1 << 2;
const NONFATAL: u16 = 1 << 1;
const LINK_CAPABILITIES: usize = 0x0c;
/// ASPM Optionality Compliance, which stands for a function that leaves it out.
const ASPM_OPTIONAL: u32 = 1 << 22;
const LINK_CONTROL: usize = 0x10;
/// Common clock, extended synch.
const LINK_WRITABLE: u16 = 1 << 6 | 1 << 7;
const LINK_STATUS: usize = 0x12;
const LINK_CAPABILITIES_2: usize = 0x2c;
const LINK_CONTROL_2: usize = 0x30;
const TARGET_SPEED: u16 = 0xf;
const MSIX_CONTROL: usize = 2;
const MSIX_ENABLE: u16 = 1 << 15;
const MSIX_MASK: u16 = 1 << 14;
const MSI_CONTROL: usize = 2;
const MSI_ENABLE: u16 = 1;
const MSI_GRANTED: u16 = 7 << 4;
const MSI_64BIT: u16 = 1 << 7;
const MSI_MASKING: u16 = 1 << 8;
const MSI_ADDRESS: usize = 4;
const MSI_DATA: usize = 12;
const MSI_MASK: usize = 16;
const MSI_PENDING: usize = 20;

// Advanced Error Reporting, the one extended capability.
const AER: usize = 0x100;
const AER_HEADER: u32 = 2 << 16 | 1;
const AER_BYTES: usize = 0x48;
const UNCORRECTABLE: usize = 0x04;
const UNCORRECTABLE_MASK: usize = 0x08;
const SEVERITY: usize = 0x0c;
const CORRECTABLE: usize = 0x10;
const CORRECTABLE_MASK: usize = 0x14;
const COMPLETION_TIMEOUT: u32 = 1 << 14;
/// Bits 4, 5, 12 to 22 and 0, 6 to 8, 12 to 14 are errors that may be; severity and masks as
/// after power-on.
const UNCORRECTABLE_BITS: u32 = 0x007f_f030;
const CORRECTABLE_BITS: u32 = 0x71c1;
const SEVERITY_INITIAL: u32 = 0x0046_2030;
const CORRECTABLE_MASK_INITIAL: u32 = 0x6000;

/// What is in configuration space.
pub struct ConfigSpace {
    bytes: Vec<u8>,
    /// As after power-on.
    initial: Vec<u8>,
    /// Bits that a client can change: by writing them, and by writing ones to clear them.
    writable: Vec<u8>,
    cleared: Vec<u8>,
    /// Of both, those that only a cold reset touches.
    sticky: Vec<u8>,
    places: Places,
    /// Vectors of MSI that can be asked for, as a logarithm; none without MSI.
    msi_capable: Option<u16>,
    masking: bool,
}

/// What a write has brought about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// A function level reset was asked for. It is for the caller to do it.
    pub reset: bool,
}

impl ConfigSpace {
    /// Of a configuration, which was checked.
    ///
    /// # Errors
    ///
    /// Which capability does not fit.
    pub fn new(config: &Config) -> Result<Self, String> {
        let places = Places::new(config)?;
        let msi_capable = config.msi.map(|m| m.vectors.trailing_zeros() as u16);
        let mut space = Self {
            bytes: vec![0; BYTES],
            initial: Vec::new(),
            writable: vec![0; BYTES],
            cleared: vec![0; BYTES],
            sticky: vec![0; BYTES],
            places,
            msi_capable,
            masking: config.msi.is_some_and(|m| m.masking),
        };
        space.header(config);
        space.express(config);
        space.interrupts(config);
        space.capabilities(config);
        space.errors();
        space.initial = space.bytes.clone();
        Ok(space)
    }

    fn header(&mut self, config: &Config) {
        self.put(0x00, config.vendor.to_le_bytes());
        self.put(0x02, config.device.to_le_bytes());
        self.allow(COMMAND, COMMAND_WRITABLE.to_le_bytes());
        self.put(STATUS, HAS_CAPABILITIES.to_le_bytes());
        self.clear(STATUS, STATUS_CLEARED.to_le_bytes());
        let class = config.class << 8 | u32::from(config.revision);
        self.put(0x08, class.to_le_bytes());
        self.put(0x2c, config.subsystem_vendor.to_le_bytes());
        self.put(0x2e, config.subsystem.to_le_bytes());
        self.allow(INTERRUPT_LINE, [0xff]);
        self.put(INTERRUPT_PIN, [config.intx_pin]);
        for (i, bar) in config.bars.iter().enumerate().filter(|(_, b)| b.size != 0) {
            let at = BAR0 + 4 * i;
            let kind = u8::from(bar.is_64bit) << 2 | u8::from(bar.prefetchable) << 3;
            self.put(at, [kind]);
            let address = !(bar.size - 1) & !0xf;
            if bar.is_64bit {
                self.allow(at, address.to_le_bytes());
            } else {
                self.allow(at, (address as u32).to_le_bytes());
            }
        }
    }

    fn express(&mut self, config: &Config) {
        let at = self.places.power;
        self.put(at, [0x01]);
        self.put(at + POWER_CAPABILITIES, POWER_VERSION.to_le_bytes());
        self.put(at + POWER_CONTROL, NO_SOFT_RESET.to_le_bytes());
        self.allow(at + POWER_CONTROL, POWER_STATE.to_le_bytes());

        let at = self.places.express;
        let speed = u32::from(config.link_speed);
        let link = speed | u32::from(config.link_width) << 4;
        self.put(at, [0x10]);
        self.put(at + EXPRESS_CAPABILITIES, EXPRESS_ENDPOINT.to_le_bytes());
        self.put(at + DEVICE_CAPABILITIES, DEVICE_ABILITIES.to_le_bytes());
        self.put(at + DEVICE_CONTROL, DEVICE_INITIAL.to_le_bytes());
        self.allow(at + DEVICE_CONTROL, DEVICE_WRITABLE.to_le_bytes());
        self.clear(at + DEVICE_STATUS, DEVICE_ERRORS.to_le_bytes());
        self.put(at + LINK_CAPABILITIES, (link | ASPM_OPTIONAL).to_le_bytes());
        self.allow(at + LINK_CONTROL, LINK_WRITABLE.to_le_bytes());
        self.put(at + LINK_STATUS, (link as u16).to_le_bytes());
        let speeds = ((1_u32 << speed) - 1) << 1;
        self.put(at + LINK_CAPABILITIES_2, speeds.to_le_bytes());
        self.put(at + LINK_CONTROL_2, (speed as u16).to_le_bytes());
        self.allow(at + LINK_CONTROL_2, TARGET_SPEED.to_le_bytes());
        self.stick(at + LINK_CONTROL_2, TARGET_SPEED.to_le_bytes());
    }

    fn interrupts(&mut self, config: &Config) {
        if let Some(msix) = config.msix {
            let at = self.places.msix;
            self.put(at, [0x11]);
            self.put(at + MSIX_CONTROL, (msix.vectors - 1).to_le_bytes());
            self.allow(at + MSIX_CONTROL, (MSIX_ENABLE | MSIX_MASK).to_le_bytes());
            let place = |offset: u32, bar: u8| offset | u32::from(bar);
            self.put(
                at + 4,
                place(msix.table_offset, msix.table_bar).to_le_bytes(),
            );
            self.put(at + 8, place(msix.pba_offset, msix.pba_bar).to_le_bytes());
        }
        if let (Some(msi), Some(capable)) = (config.msi, self.msi_capable) {
            let at = self.places.msi;
            let masking = if msi.masking { MSI_MASKING } else { 0 };
            self.put(at, [0x05]);
            self.put(
                at + MSI_CONTROL,
                (capable << 1 | MSI_64BIT | masking).to_le_bytes(),
            );
            self.allow(at + MSI_CONTROL, (MSI_ENABLE | MSI_GRANTED).to_le_bytes());
            self.allow(at + MSI_ADDRESS, (!3_u64).to_le_bytes());
            self.allow(at + MSI_DATA, u16::MAX.to_le_bytes());
            if msi.masking {
                let vectors = u32::MAX >> (32 - u32::from(msi.vectors));
                self.allow(at + MSI_MASK, vectors.to_le_bytes());
            }
        }
    }

    /// Those of the simulator, and the chain of all.
    fn capabilities(&mut self, config: &Config) {
        for (i, capability) in config.capabilities.iter().enumerate() {
            let at = self.places.others[i];
            self.bytes[at] = capability.id;
            self.bytes[at + 2..][..capability.body.len()].copy_from_slice(&capability.body);
        }
        let p = &self.places;
        let mut chain = vec![p.express, p.power, p.msix, p.msi];
        chain.extend(&p.others);
        chain.retain(|&at| at != 0);
        chain.sort_unstable();
        let mut pointer = FIRST_CAPABILITY;
        for at in chain {
            // Below 256.
            self.bytes[pointer] = at as u8;
            pointer = at + NEXT;
        }
    }

    fn errors(&mut self) {
        self.put(AER, AER_HEADER.to_le_bytes());
        self.clear(AER + UNCORRECTABLE, UNCORRECTABLE_BITS.to_le_bytes());
        self.allow(AER + UNCORRECTABLE_MASK, UNCORRECTABLE_BITS.to_le_bytes());
        self.put(AER + SEVERITY, SEVERITY_INITIAL.to_le_bytes());
        self.allow(AER + SEVERITY, UNCORRECTABLE_BITS.to_le_bytes());
        self.clear(AER + CORRECTABLE, CORRECTABLE_BITS.to_le_bytes());
        self.put(
            AER + CORRECTABLE_MASK,
            CORRECTABLE_MASK_INITIAL.to_le_bytes(),
        );
        self.allow(AER + CORRECTABLE_MASK, CORRECTABLE_BITS.to_le_bytes());
        self.sticky[AER..AER + AER_BYTES].fill(0xff);
    }

    fn put<const N: usize>(&mut self, at: usize, value: [u8; N]) {
        self.bytes[at..at + N].copy_from_slice(&value);
    }

    fn allow<const N: usize>(&mut self, at: usize, mask: [u8; N]) {
        self.writable[at..at + N].copy_from_slice(&mask);
    }

    fn clear<const N: usize>(&mut self, at: usize, mask: [u8; N]) {
        self.cleared[at..at + N].copy_from_slice(&mask);
    }

    fn stick<const N: usize>(&mut self, at: usize, mask: [u8; N]) {
        self.sticky[at..at + N].copy_from_slice(&mask);
    }

    fn word(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn double(&self, at: usize) -> u32 {
        u32::from(self.word(at)) | u32::from(self.word(at + 2)) << 16
    }

    /// Bytes from `offset` on; `None` if not all are there.
    pub fn read(&self, offset: u64, count: usize) -> Option<&[u8]> {
        let begin = usize::try_from(offset).ok()?;
        self.bytes.get(begin..begin.checked_add(count)?)
    }

    /// Writes what may be written of `data` from `offset` on; `None`, and nothing is written,
    /// if not all of it is within.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<Written> {
        self.read(offset, data.len())?;
        let begin = offset as usize;
        let power = self.places.power + POWER_CONTROL;
        let state = self.bytes[power];
        for (at, &new) in (begin..).zip(data) {
            let writable = self.writable[at];
            let kept = self.bytes[at] & !(self.cleared[at] & new);
            self.bytes[at] = kept & !writable | new & writable;
        }
        // D1 and D2 are not there, and writing them changes nothing.
        if matches!(u16::from(self.bytes[power]) & POWER_STATE, 1 | 2) {
            self.bytes[power] = state;
        }
        // Bit 15 of Device Control, which reads as zero.
        let high = self.places.express + DEVICE_CONTROL + 1;
        let reset = high.checked_sub(begin).and_then(|i| data.get(i));
        Some(Written {
            reset: reset.is_some_and(|b| u16::from(*b) << 8 & FUNCTION_LEVEL_RESET != 0),
        })
    }

    /// What a reset of this kind leaves.
    pub fn reset(&mut self, kind: ResetKind) {
        let control = self.places.express + LINK_CONTROL;
        for at in 0..BYTES {
            let changed = self.writable[at] | self.cleared[at];
            let mask = match kind {
                ResetKind::Cold => changed,
                // It is none of the link.
                ResetKind::Flr if (control..control + 2).contains(&at) => 0,
                ResetKind::Flr | ResetKind::Hot => changed & !self.sticky[at],
            };
            self.bytes[at] = self.bytes[at] & !mask | self.initial[at] & mask;
        }
        self.set_intx(false);
        self.set_msi_pending(0);
    }

    /// What the RTL is told of it. A client does not say at which number of the bus it is.
    pub fn function(&self) -> Function {
        let command = self.word(COMMAND);
        let control = self.word(self.places.express + DEVICE_CONTROL);
        let status = self.word(self.places.express + LINK_STATUS);
        let msix = match self.places.msix {
            0 => 0,
            at => self.word(at + MSIX_CONTROL),
        };
        let msi = match self.places.msi {
            0 => 0,
            at => self.word(at + MSI_CONTROL),
        };
        Function {
            memory_space: command & MEMORY_SPACE != 0,
            bus_master: command & BUS_MASTER != 0,
            intx_disable: command & INTX_DISABLE != 0,
            msix_enable: msix & MSIX_ENABLE != 0,
            msix_mask: msix & MSIX_MASK != 0,
            extended_tag: control & 1 << 8 != 0,
            relaxed_ordering: control & 1 << 4 != 0,
            no_snoop: control & 1 << 11 != 0,
            msi_enable: msi & MSI_ENABLE != 0,
            msi_granted: self
                .msi_capable
                .map_or(0, |capable| (msi >> 4 & 7).min(capable) as u8),
            msi_mask: self.msi_mask(),
            power: if self.is_awake() {
                Power::D0
            } else {
                Power::D3hot
            },
            max_payload: 0,
            // 6 and 7 are reserved: as if it were the largest.
            max_read_request: (control >> 12 & 7).min(5) as u8,
            requester_id: 0,
            link_speed: (status & 0xf) as u8,
            link_width: (status >> 4 & 0x3f) as u8,
            // The client maps them as it likes.
            addresses: None,
        }
    }

    fn is_awake(&self) -> bool {
        self.word(self.places.power + POWER_CONTROL) & POWER_STATE == 0
    }

    /// Whether the BARs answer.
    pub fn answers(&self) -> bool {
        self.is_awake() && self.word(COMMAND) & MEMORY_SPACE != 0
    }

    /// Whether the function may access memory, and interrupt by messages.
    pub fn is_master(&self) -> bool {
        self.is_awake() && self.word(COMMAND) & BUS_MASTER != 0
    }

    /// Whether the INTx pin is connected to anything.
    pub fn has_intx(&self) -> bool {
        let function = self.function();
        self.is_awake() && !function.intx_disable && !function.msix_enable && !function.msi_enable
    }

    /// Mask bits of MSI.
    pub fn msi_mask(&self) -> u32 {
        if self.masking {
            self.double(self.places.msi + MSI_MASK)
        } else {
            0
        }
    }

    /// Shows the level of the INTx pin.
    pub fn set_intx(&mut self, level: bool) {
        let status = &mut self.bytes[STATUS];
        *status = *status & !INTERRUPT_STATUS | if level { INTERRUPT_STATUS } else { 0 };
    }

    /// Shows which vectors of MSI are pending.
    pub fn set_msi_pending(&mut self, pending: u32) {
        if self.masking {
            self.put(self.places.msi + MSI_PENDING, pending.to_le_bytes());
        }
    }

    /// A read of the guest was given up.
    pub fn completion_timeout(&mut self) {
        let errors = self.double(AER + UNCORRECTABLE) | COMPLETION_TIMEOUT;
        self.put(AER + UNCORRECTABLE, errors.to_le_bytes());
        let fatal = self.double(AER + SEVERITY) & COMPLETION_TIMEOUT != 0;
        let at = self.places.express + DEVICE_STATUS;
        let status = self.word(at) | if fatal { FATAL } else { NONFATAL };
        self.put(at, status.to_le_bytes());
    }
}

// What the places above leave room for.
const _: () = {
    assert!(places::EXPRESS > LINK_CONTROL_2 + 2 && places::POWER > POWER_CONTROL + 1);
    assert!(places::MSIX == 12 && places::msi(true) == MSI_PENDING + 4);
    assert!(places::msi(false) == MSI_DATA + 2);
};

#[cfg(test)]
mod tests {
    use accelerator_protocol::{Bar, Capability, Msi, Msix};

    use super::*;

    fn card() -> Config {
        let bar = |size, is_64bit, prefetchable| Bar {
            size,
            axi_base: 0,
            is_64bit,
            prefetchable,
        };
        let config = Config {
            vendor: 0x10ee,
            device: 0x7024,
            subsystem_vendor: 0x10ee,
            subsystem: 7,
            class: 0x12_0000,
            revision: 3,
            intx_pin: 2,
            link_speed: 3,
            link_width: 8,
            msix: Some(Msix {
                vectors: 4,
                table_bar: 2,
                pba_bar: 2,
                table_offset: 0x1000,
                pba_offset: 0x8000,
                in_rtl: false,
            }),
            msi: Some(Msi {
                vectors: 4,
                masking: true,
            }),
            bars: [
                bar(0x1_0000, false, false),
                Bar::default(),
                bar(1 << 33, true, true),
                Bar::default(),
                bar(16, false, false),
                Bar::default(),
            ],
            clock_period_ps: 4000,
            capabilities: vec![Capability {
                id: 9,
                offset: 0x60,
                body: vec![5, 1, 2],
            }],
        };
        config.check().unwrap();
        config
    }

    fn space() -> ConfigSpace {
        ConfigSpace::new(&card()).unwrap()
    }

    fn read<const N: usize>(space: &ConfigSpace, at: usize) -> [u8; N] {
        space.read(at as u64, N).unwrap().try_into().unwrap()
    }

    fn write(space: &mut ConfigSpace, at: usize, data: &[u8]) -> Written {
        space.write(at as u64, data).unwrap()
    }

    /// Place of a capability.
    fn find(space: &ConfigSpace, id: u8) -> usize {
        let mut at = usize::from(space.bytes[FIRST_CAPABILITY]);
        while space.bytes[at] != id {
            at = usize::from(space.bytes[at + 1]);
            assert_ne!(at, 0, "no capability {id:#x}");
        }
        at
    }

    #[test]
    fn identity_and_capabilities() {
        let space = space();
        assert_eq!(read(&space, 0), [0xee, 0x10, 0x24, 0x70]);
        assert_eq!(read(&space, 8), [3, 0, 0, 0x12]);
        assert_eq!(read(&space, 0x2c), [0xee, 0x10, 7, 0]);
        assert_eq!(read(&space, STATUS), [0x10, 0]);
        assert_eq!(read(&space, INTERRUPT_PIN), [2]);
        assert_eq!(read(&space, 0x60), [9, space.bytes[0x61], 5, 1, 2]);
        let express = find(&space, 0x10);
        assert_eq!(read(&space, express + 2), [2, 0]);
        assert_eq!(read(&space, express + LINK_STATUS), [0x83, 0]);
        assert_eq!(read(&space, express + LINK_CAPABILITIES_2), [0xe, 0, 0, 0]);
        let msix = find(&space, 0x11);
        assert_eq!(read(&space, msix + 2), [3, 0, 2, 0x10, 0, 0, 2, 0x80, 0, 0]);
        let msi = find(&space, 0x05);
        assert_eq!(read(&space, msi + 2), [0x84, 1]);
        assert_eq!(read(&space, AER), [1, 0, 2, 0]);
        find(&space, 1);
        assert_eq!(space.read(4090, 6).unwrap().len(), 6);
        assert_eq!(space.read(4090, 7), None);
        assert_eq!(space.read(u64::MAX, 1), None);
        assert_eq!(space.read(1, usize::MAX), None);
    }

    #[test]
    fn bars_are_sized() {
        let mut space = space();
        write(&mut space, BAR0, &[0xff; 24]);
        let sizes: [u8; 24] = read(&space, BAR0);
        assert_eq!(sizes[..4], 0xffff_0000_u32.to_le_bytes());
        assert_eq!(sizes[4..8], [0; 4]);
        assert_eq!(sizes[8..16], 0xffff_fffe_0000_000c_u64.to_le_bytes());
        assert_eq!(sizes[16..20], 0xffff_fff0_u32.to_le_bytes());
        assert_eq!(sizes[20..], [0; 4]);
    }

    /// Whatever is written anywhere, only bits change that may.
    #[test]
    fn nothing_else_can_be_written() {
        let mut space = space();
        let before = space.bytes.clone();
        for value in [0xff, 0] {
            let all = vec![value; BYTES];
            space.write(0, &all).unwrap();
            for (at, old) in before.iter().enumerate() {
                let fixed = !(space.writable[at] | space.cleared[at]);
                assert_eq!(space.bytes[at] & fixed, old & fixed, "{at:#x}");
            }
        }
        assert_eq!(space.write(4095, &[0, 0]), None);
    }

    #[test]
    fn what_the_rtl_is_told() {
        let mut space = space();
        let mut expected = Function {
            link_speed: 3,
            link_width: 8,
            ..Function::default()
        };
        assert_eq!(space.function(), expected);
        assert!(!space.answers() && !space.is_master() && space.has_intx());
        write(&mut space, COMMAND, &[0x06, 0x04]);
        expected.memory_space = true;
        expected.bus_master = true;
        expected.intx_disable = true;
        assert_eq!(space.function(), expected);
        assert!(space.answers() && space.is_master() && !space.has_intx());
        let (express, msi, msix) = (find(&space, 0x10), find(&space, 5), find(&space, 0x11));
        write(&mut space, express + DEVICE_CONTROL, &[0, 0x71]);
        (expected.extended_tag, expected.relaxed_ordering) = (true, false);
        (expected.no_snoop, expected.max_read_request) = (false, 5);
        write(&mut space, msix + 3, &[0xc0]);
        (expected.msix_enable, expected.msix_mask) = (true, true);
        // More vectors than there are.
        write(&mut space, msi + 2, &[0x71]);
        write(&mut space, msi + MSI_MASK, &[0xff; 4]);
        (expected.msi_enable, expected.msi_granted) = (true, 2);
        expected.msi_mask = 0xf;
        assert_eq!(space.function(), expected);
        Function::from_bytes(&expected.to_bytes()).unwrap();
    }

    #[test]
    fn power_states() {
        let mut space = space();
        write(&mut space, COMMAND, &[6]);
        let control = find(&space, 1) + POWER_CONTROL;
        for (written, awake) in [(3, false), (1, false), (2, false), (0, true), (2, true)] {
            write(&mut space, control, &[written]);
            assert_eq!(space.function().power == Power::D0, awake, "{written}");
            assert_eq!(space.answers(), awake);
            assert_eq!(space.is_master(), awake);
        }
    }

    #[test]
    fn a_function_level_reset_is_asked_for_with_one_bit() {
        let mut space = space();
        let control = find(&space, 0x10) + DEVICE_CONTROL;
        for (offset, data, reset) in [
            (control, &[0, 0x80][..], true),
            (control + 1, &[0x80], true),
            (control - 2, &[0, 0, 0, 0x80], true),
            (control, &[0x80], false),
            (control + 2, &[0x80], false),
            (control - 1, &[0x80, 0x80, 0x7f], false),
        ] {
            assert_eq!(write(&mut space, offset, data).reset, reset, "{data:?}");
            let [_, high] = read(&space, control);
            assert_eq!(high & 0x80, 0);
        }
    }

    #[test]
    fn resets() {
        let express = find(&space(), 0x10);
        let (link, target) = (express + LINK_CONTROL, express + LINK_CONTROL_2);
        for (kind, link_stays, sticky_stays) in [
            (ResetKind::Flr, true, true),
            (ResetKind::Hot, false, true),
            (ResetKind::Cold, false, false),
        ] {
            let mut space = space();
            write(&mut space, COMMAND, &[6]);
            write(&mut space, BAR0, &[0, 0, 0xfe, 0xfe]);
            write(&mut space, link, &[0x40]);
            write(&mut space, target, &[1]);
            space.completion_timeout();
            space.set_intx(true);
            space.set_msi_pending(1);
            space.reset(kind);
            assert_eq!(read(&space, COMMAND), [0, 0, 0x10, 0]);
            assert_eq!(read(&space, BAR0), [0; 4]);
            assert_eq!(read(&space, link), [if link_stays { 0x40 } else { 0 }]);
            assert_eq!(read(&space, target), [if sticky_stays { 1 } else { 3 }]);
            let [_, timeout, ..] = read::<4>(&space, AER + UNCORRECTABLE);
            assert_eq!(timeout, if sticky_stays { 0x40 } else { 0 });
            assert_eq!(read(&space, express + DEVICE_STATUS), [0, 0]);
            assert_eq!(read(&space, find(&space, 5) + MSI_PENDING), [0; 4]);
        }
    }

    #[test]
    fn errors_are_cleared_by_ones() {
        let mut space = space();
        space.completion_timeout();
        let status = find(&space, 0x10) + DEVICE_STATUS;
        assert_eq!(read(&space, status), [2, 0]);
        write(&mut space, AER + UNCORRECTABLE, &[0, 0x40, 0, 0]);
        write(&mut space, status, &[0, 0]);
        assert_eq!(read(&space, status), [2, 0]);
        write(&mut space, status, &[2, 0]);
        assert_eq!(read(&space, status), [0, 0]);
        assert_eq!(read(&space, AER + UNCORRECTABLE), [0; 4]);
        write(&mut space, AER + SEVERITY, &[0, 0x40, 0, 0]);
        space.completion_timeout();
        assert_eq!(read(&space, status), [4, 0]);
    }
}
