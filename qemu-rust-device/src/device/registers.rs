// SPDX-License-Identifier: GPL-2.0-or-later

//! Config space of `accelerator-pcie`: what the registers hold, which of their
//! bits the guest may change, and what resets leave of that.

use accelerator_protocol::{config::Config, wire::ResetKind};

use super::AcceleratorPcie;
use crate::{bindings, config_space::ConfigSpace, layout::Layout, pci::PciDeviceMethods, replug};

/// Bits of a register, and the place of the register in its capability.
struct Bits {
    offset: u32,
    /// The guest may write them.
    writable: u16,
    /// What they are after a reset.
    value: u16,
}

/// What QEMU leaves out of Device Control (PCIe base spec, Device Control):
/// relaxed ordering and no snoop are enabled, a read request has at most 512
/// bytes. The card takes payloads of 128 bytes, so that the size of those need
/// not be writable.
const DEVICE_CONTROL: Bits = Bits {
    offset: bindings::PCI_EXP_DEVCTL,
    writable: (bindings::PCI_EXP_DEVCTL_RELAX_EN
        | bindings::PCI_EXP_DEVCTL_NOSNOOP_EN
        | bindings::PCI_EXP_DEVCTL_READRQ) as u16,
    value: (bindings::PCI_EXP_DEVCTL_RELAX_EN | bindings::PCI_EXP_DEVCTL_NOSNOOP_EN) as u16
        | 2 << 12,
};

/// Common clock and extended synch; there is no ASPM to be controlled.
const LINK_CONTROL: Bits = Bits {
    offset: bindings::PCI_EXP_LNKCTL,
    writable: (bindings::PCI_EXP_LNKCTL_CCC | bindings::PCI_EXP_LNKCTL_ES) as u16,
    value: 0,
};

/// ASPM Optionality Compliance (Link Capabilities, bit 22), which stands for
/// a function that may leave ASPM out.
const ASPM_OPTIONAL: u32 = 1 << 22;

/// Target Link Speed.
const TARGET_SPEED: u16 = 0xf;

/// Parity Error Response (Command, bit 6).
const PARITY: u16 = 0x40;

/// Where the registers are, and what they are after a reset.
pub(super) struct Registers {
    /// Of the PCI Express capability.
    pub(super) express: usize,
    /// Of power management.
    pub(super) power: usize,
    /// Of MSI-X; 0 without.
    pub(super) msix: usize,
    /// Of MSI; 0 without.
    pub(super) msi: usize,
    /// Of power-on, all of config space.
    values: Vec<u8>,
    /// Bits that the guest can change.
    changeable: Vec<u8>,
    /// Those that only a cold reset touches (PCIe base spec, Register and
    /// Register Bit-Field Types: RWS and RW1CS).
    sticky: Vec<u8>,
}

impl Registers {
    /// What is restored by a reset.
    fn restored(&self, kind: ResetKind, at: usize) -> u8 {
        let control = self.express + bindings::PCI_EXP_LNKCTL as usize;
        match kind {
            ResetKind::Cold => self.changeable[at],
            // A function level reset is none of the link (PCIe base spec,
            // Function Level Reset).
            ResetKind::Flr if (control..control + 2).contains(&at) => 0,
            ResetKind::Flr | ResetKind::Hot => self.changeable[at] & !self.sticky[at],
        }
    }
}

impl AcceleratorPcie {
    pub(super) fn set_identity(&self, config: &Config) {
        let class = config.class.to_le_bytes();
        for (offset, value) in [
            (bindings::PCI_VENDOR_ID, config.vendor),
            (bindings::PCI_DEVICE_ID, config.device),
            (bindings::PCI_SUBSYSTEM_VENDOR_ID, config.subsystem_vendor),
            (bindings::PCI_SUBSYSTEM_ID, config.subsystem),
        ] {
            self.set_config(offset as usize, &value.to_le_bytes());
        }
        self.set_config(bindings::PCI_REVISION_ID as usize, &[config.revision]);
        self.set_config(bindings::PCI_CLASS_PROG as usize, &class[..3]);
        self.set_config(bindings::PCI_INTERRUPT_PIN as usize, &[config.intx_pin]);
        self.allow_writes(bindings::PCI_COMMAND as usize, &PARITY.to_le_bytes());
    }

    /// Link registers (PCIe base spec, Link Capabilities, Link Status, Link
    /// Capabilities 2 and Link Control 2): trained at the speed and width that
    /// both the card and the port above it have.
    pub(super) fn set_link(&self, config: &Config, express: usize) {
        let speed = u32::from(config.link_speed);
        let speed_and_width = |(speed, width): (u32, u32)| speed | width << 4;
        let own = (speed, u32::from(config.link_width));
        let replace = |offset: u32, mask: u32, value: u32| {
            let at = express + offset as usize;
            let new = u32::from_le_bytes(self.config(at)) & !mask | value;
            self.set_config(at, &new.to_le_bytes());
        };
        replace(
            bindings::PCI_EXP_LNKCAP,
            0x3ff | bindings::PCI_EXP_LNKCAP_ASPMS,
            speed_and_width(own) | ASPM_OPTIONAL,
        );
        // Link Status is the upper half of the double word.
        replace(
            bindings::PCI_EXP_LNKSTA - 2,
            0x3ff << 16,
            speed_and_width(self.trained(own)) << 16,
        );
        replace(bindings::PCI_EXP_LNKCAP2, 0xfe, ((1 << speed) - 1) << 1);
        replace(bindings::PCI_EXP_LNKCTL2, u32::from(TARGET_SPEED), speed);
    }

    /// What a card of some speed and width and the port above it agree on.
    fn trained(&self, (speed, width): (u32, u32)) -> (u32, u32) {
        // SAFETY: the object is a device (`IsA`).
        let port = unsafe { replug::port_capabilities(self.qdev()) };
        port.map_or((speed, width), |(port_speed, port_width)| {
            (speed.min(port_speed.max(1)), width.min(port_width.max(1)))
        })
    }

    /// Has the guest write what a function has it write; when all capabilities are
    /// there.
    pub(super) fn seal(&self, layout: &Layout, express: usize, aer: u16) {
        for bits in [DEVICE_CONTROL, LINK_CONTROL] {
            let at = express + bits.offset as usize;
            let old = u16::from_le_bytes(self.config(at));
            let new = old & !bits.writable | bits.value;
            self.set_config(at, &new.to_le_bytes());
            self.allow_writes(at, &bits.writable.to_le_bytes());
        }
        let [low, ..] = self.config::<4>(express + bindings::PCI_EXP_DEVCAP as usize);
        if u32::from(low) & bindings::PCI_EXP_DEVCAP_EXT_TAG != 0 {
            let mask = bindings::PCI_EXP_DEVCTL_EXT_TAG as u16;
            let at = express + bindings::PCI_EXP_DEVCTL as usize;
            self.allow_writes(at, &mask.to_le_bytes());
        }
        let target = express + bindings::PCI_EXP_LNKCTL2 as usize;
        self.allow_writes(target, &TARGET_SPEED.to_le_bytes());

        let mut values = Vec::with_capacity(bindings::PCIE_CONFIG_SPACE_SIZE as usize);
        for at in 0..bindings::PCIE_CONFIG_SPACE_SIZE as usize {
            values.extend(self.config::<1>(at));
        }
        let mut sticky = vec![0; values.len()];
        sticky[target] = TARGET_SPEED as u8;
        let aer = usize::from(aer);
        sticky[aer..aer + bindings::PCI_ERR_SIZEOF as usize].fill(0xff);
        *self.registers.borrow_mut() = Some(Registers {
            express,
            power: layout.power_management.into(),
            msix: layout.msix.into(),
            msi: layout.msi.into(),
            values,
            changeable: self.changeable(),
            sticky,
        });
    }

    /// Registers behind the header are as the reset leaves them; those of the
    /// header, BARs, MSI-X and MSI are QEMU's to reset, and are.
    pub(super) fn restore(&self, kind: ResetKind) {
        const HEADER: usize = 0x40;
        let registers = self.registers.borrow();
        let Some(registers) = &*registers else {
            return;
        };
        for at in HEADER..registers.values.len() {
            let mask = registers.restored(kind, at);
            if mask != 0 {
                let [old] = self.config(at);
                self.set_config(at, &[old & !mask | registers.values[at] & mask]);
            }
        }
    }
}
