// SPDX-License-Identifier: GPL-2.0-or-later

//! Config space of `accelerator-pcie`: what the registers hold, and what
//! happens when the guest writes them or the function is reset.

use std::sync::atomic::Ordering;

use accelerator_protocol::{config::Config, wire::ResetKind};

use super::{AcceleratorPcie, MACHINE_RESETS};
use crate::{bindings, glue::ResetType, pci::PciDeviceMethods};

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
    }

    /// Link registers (PCIe base spec, Link Capabilities, Link Status, Link
    /// Capabilities 2 and Link Control 2): trained at full speed and width.
    pub(super) fn set_link(&self, config: &Config, express: usize) {
        let speed = u32::from(config.link_speed);
        let speed_and_width = speed | u32::from(config.link_width) << 4;
        let replace = |offset: u32, mask: u32, value: u32| {
            let at = express + offset as usize;
            let old = u32::from(u16::from_le_bytes(self.config(at)));
            let new = old & !mask | value;
            self.set_config(at, &(new as u16).to_le_bytes());
        };
        replace(bindings::PCI_EXP_LNKCAP, 0x3ff, speed_and_width);
        replace(bindings::PCI_EXP_LNKSTA, 0x3ff, speed_and_width);
        replace(bindings::PCI_EXP_LNKCAP2, 0xfe, ((1 << speed) - 1) << 1);
        replace(bindings::PCI_EXP_LNKCTL2, 0xf, speed);
        self.link_status.store(
            express as u16 + bindings::PCI_EXP_LNKSTA as u16,
            Ordering::Relaxed,
        );
    }

    /// Whether a bit of Command is set; not before the device is realized.
    pub(super) fn has_command(&self, bit: u32) -> bool {
        let command = u16::from_le_bytes(self.config(bindings::PCI_COMMAND as usize));
        self.link.borrow().is_some() && u32::from(command) & bit != 0
    }

    pub(super) fn config_write(&self, address: u32, value: u32, len: u32) {
        let control = u32::from(self.link_status.load(Ordering::Relaxed))
            .wrapping_sub(bindings::PCI_EXP_LNKSTA)
            .wrapping_add(bindings::PCI_EXP_DEVCTL);
        // Initiate Function Level Reset is bit 15 of Device Control; the reset
        // itself happens within the default handler.
        let byte = (control + 1).wrapping_sub(address);
        let flr = byte < len && value >> (8 * byte) & 0x80 != 0;
        self.flr.store(flr, Ordering::Relaxed);
        self.default_config_write(address, value, len);
        self.flr.store(false, Ordering::Relaxed);
        self.note_bus_master();
    }

    /// To be called after everything that may have changed Command.
    pub(super) fn note_bus_master(&self) {
        let on = self.has_command(bindings::PCI_COMMAND_MASTER);
        self.bus_master.store(on, Ordering::Relaxed);
    }

    /// As stored, but Link Status has neither speed nor width while the
    /// simulator is away.
    pub(super) fn config_read(&self, address: u32, len: u32) -> u32 {
        let mut value = self.default_config_read(address, len);
        if !self.link_up.load(Ordering::Relaxed) {
            let status = u32::from(self.link_status.load(Ordering::Relaxed));
            for i in 0..len {
                let mask = match (address + i).wrapping_sub(status) {
                    0 => 0xff,
                    1 => 0x03,
                    _ => 0,
                };
                value &= !(mask << (8 * i));
            }
        }
        value
    }

    pub(super) fn reset_exit(&self, _type: ResetType) {
        let resets = MACHINE_RESETS.load(Ordering::Relaxed);
        let kind = if self.machine_resets.swap(resets, Ordering::Relaxed) != resets {
            ResetKind::Cold
        } else if self.flr.load(Ordering::Relaxed) {
            ResetKind::Flr
        } else {
            ResetKind::Hot
        };
        self.note_bus_master();
        // A guest that was shut down with -no-shutdown goes on after a reset.
        self.quitting.store(false, Ordering::Relaxed);
        if let Some(link) = self.link() {
            self.reset_error_reporting();
            link.reset(kind);
        }
    }
}
