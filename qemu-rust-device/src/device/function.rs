// SPDX-License-Identifier: GPL-2.0-or-later

//! What the guest sets in config space of `accelerator-pcie`, and what becomes
//! of it: for DMA, interrupts and BARs here, and for the RTL, which is told.

use std::{
    ffi::{c_int, c_void},
    sync::atomic::Ordering,
};

use accelerator_protocol::{
    config::BARS,
    function::{Function, Power, MAX_SIZE, UNMAPPED},
    wire::ResetKind,
};

use super::{AcceleratorPcie, MACHINE_RESETS};
use crate::{
    bindings,
    config_space::ConfigSpace,
    glue::{c, ObjectDeref, ResetType},
    msi::Msi,
    pci::{with_bql, PciDeviceMethods},
};

/// Byte of PMCSR with the power state.
const STATE: u8 = bindings::PCI_PM_CTRL_STATE_MASK as u8;

/// MSI-X Enable and Function Mask (Message Control, bits 15 and 14).
const MSIX_ENABLE: u16 = 1 << 15;
const MSIX_MASK: u16 = 1 << 14;

fn power_of(state: u8) -> Power {
    match state & STATE {
        0 => Power::D0,
        1 => Power::D1,
        2 => Power::D2,
        _ => Power::D3hot,
    }
}

impl AcceleratorPcie {
    /// Whether a bit of Command is set; not before the device is realized.
    pub(super) fn has_command(&self, bit: u32) -> bool {
        if self.link.borrow().is_none() {
            return false;
        }
        let command = u16::from_le_bytes(self.config(bindings::PCI_COMMAND as usize));
        u32::from(command) & bit != 0
    }

    /// What config space holds now.
    pub(super) fn function(&self) -> Function {
        let registers = self.registers.borrow();
        let Some(r) = &*registers else {
            return Function::default();
        };
        let word = |at: usize| u16::from_le_bytes(self.config(at));
        let command = word(bindings::PCI_COMMAND as usize);
        let control = word(r.express + bindings::PCI_EXP_DEVCTL as usize);
        let link = word(r.express + bindings::PCI_EXP_LNKSTA as usize);
        let msix = if r.msix == 0 { 0 } else { word(r.msix + 2) };
        let msi = (r.msi != 0).then(|| self.msi_control(r.msi));
        let [state] = self.config(r.power + bindings::PCI_PM_CTRL as usize);
        let has = |register: u16, bit: u32| u32::from(register) & bit != 0;
        let memory_space = has(command, bindings::PCI_COMMAND_MEMORY);
        // Asleep no BAR answers, whether QEMU has it mapped or not.
        let answers = memory_space && power_of(state) == Power::D0;
        Function {
            memory_space,
            bus_master: has(command, bindings::PCI_COMMAND_MASTER),
            intx_disable: has(command, bindings::PCI_COMMAND_INTX_DISABLE),
            msix_enable: msix & MSIX_ENABLE != 0,
            msix_mask: msix & MSIX_MASK != 0,
            extended_tag: has(control, bindings::PCI_EXP_DEVCTL_EXT_TAG),
            relaxed_ordering: has(control, bindings::PCI_EXP_DEVCTL_RELAX_EN),
            no_snoop: has(control, bindings::PCI_EXP_DEVCTL_NOSNOOP_EN),
            msi_enable: msi.is_some_and(|m| m.is_enabled()),
            msi_granted: msi.map_or(0, |m| m.granted()),
            msi_mask: msi.map_or(0, |_| self.msi_mask(r.msi)),
            power: power_of(state),
            max_payload: ((control >> 5 & 7) as u8).min(MAX_SIZE),
            // The two values above are reserved.
            max_read_request: ((control >> 12 & 7) as u8).min(MAX_SIZE),
            requester_id: self.requester_id(),
            link_speed: (link & 0xf) as u8,
            link_width: (link >> 4 & 0x3f) as u8,
            addresses: Some(if answers {
                self.bar_addresses()
            } else {
                [UNMAPPED; BARS]
            }),
        }
    }

    /// To be called after everything that may have changed config space.
    pub(super) fn refresh(&self) {
        let function = self.function();
        let awake = function.power == Power::D0;
        let plugged = self.link.borrow().is_some();
        self.requester
            .store(function.requester_id.into(), Ordering::Relaxed);
        // In D3hot a function answers no memory request and makes none (PCIe base
        // spec, Device Power Management States).
        self.bus_master
            .store(plugged && awake && function.bus_master, Ordering::Relaxed);
        if self.asleep.swap(!awake, Ordering::Relaxed) == awake {
            self.show_msix(awake);
            self.memory_changed();
            self.wake_msi(awake);
        }
        self.drive_intx(&function);
        if let Some(link) = self.link() {
            link.function(function);
        }
    }

    /// Whether it is for the RTL to write messages: MSI-X is enabled, or at least MSI is not, and
    /// its table is there.
    pub(super) fn messages_are_the_rtls(&self) -> bool {
        let msix = self.config.borrow().as_ref().and_then(|c| c.msix);
        if !msix.is_some_and(|m| m.in_rtl) {
            return false;
        }
        let function = self.function();
        function.msix_enable || !function.msi_enable
    }

    /// What MSI has pending is raised when the function is awake.
    fn wake_msi(&self, awake: bool) {
        let msi = self.registers.borrow().as_ref().map_or(0, |r| r.msi);
        if awake && msi != 0 {
            self.raise_pending(msi);
        }
    }

    /// The RTL drives the INTx pin.
    pub(super) fn intx(&self, level: bool) {
        self.intx_level.store(level, Ordering::Relaxed);
        self.drive_intx(&self.function());
    }

    /// With MSI-X or MSI enabled a function does not use INTx (PCI Local Bus 3.0,
    /// Message Control), asleep it sends no message, and without a link there is
    /// none. Interrupt Disable is QEMU's: the bit in Status stays.
    fn drive_intx(&self, function: &Function) {
        let may = function.power == Power::D0
            && !function.msix_enable
            && !function.msi_enable
            && self.link_up.load(Ordering::Relaxed);
        self.set_intx(may && self.intx_level.load(Ordering::Relaxed));
    }

    pub(super) fn config_write(&self, address: u32, value: u32, len: u32) {
        let places = self.registers.borrow().as_ref().map(|r| {
            let control = r.power + bindings::PCI_PM_CTRL as usize;
            (r.express, control, r.msi)
        });
        let Some((express, control, msi)) = places else {
            self.default_config_write(address, value, len);
            return;
        };
        let [old_state] = self.config(control);
        // Initiate Function Level Reset is bit 15 of Device Control; the reset
        // of QEMU's registers happens within the default handler.
        let byte = (express as u32 + bindings::PCI_EXP_DEVCTL + 1).wrapping_sub(address);
        let flr = byte < len && value >> (8 * byte) & 0x80 != 0;
        self.flr.store(flr, Ordering::Relaxed);
        // Asleep nothing is sent, which QEMU does when a vector of MSI is unmasked.
        if msi != 0 && !flr && self.asleep.load(Ordering::Relaxed) {
            self.hold_pending(msi, || self.default_config_write(address, value, len));
        } else {
            self.default_config_write(address, value, len);
        }
        self.flr.store(false, Ordering::Relaxed);
        if flr {
            self.reset(ResetKind::Flr);
            return;
        }
        let [state] = self.config(control);
        if matches!(power_of(state), Power::D1 | Power::D2) {
            // Which it does not have: a write of them is discarded (PCI Power
            // Management 1.2, PMCSR).
            self.set_config(control, &[state & !STATE | old_state & STATE]);
        }
        self.refresh();
    }

    /// As stored, but Link Status has neither speed nor width while the
    /// simulator is away.
    pub(super) fn config_read(&self, address: u32, len: u32) -> u32 {
        let mut value = self.default_config_read(address, len);
        if !self.link_up.load(Ordering::Relaxed) {
            let registers = self.registers.borrow();
            let status = registers
                .as_ref()
                .map_or(u32::MAX, |r| r.express as u32 + bindings::PCI_EXP_LNKSTA);
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
            // QEMU has not reset its own registers yet: `config_write` goes on
            // when it has.
            return;
        } else {
            ResetKind::Hot
        };
        // A guest that was shut down with -no-shutdown goes on after a reset.
        self.quitting.store(false, Ordering::Relaxed);
        self.reset(kind);
    }

    /// The function is reset, and so is what QEMU resets of it by itself.
    fn reset(&self, kind: ResetKind) {
        self.restore(kind);
        self.intx_level.store(false, Ordering::Relaxed);
        if let Some(link) = self.link() {
            link.reset(kind);
        }
        self.refresh();
    }

    /// The link went up or down. The caller may hold any lock: what follows from
    /// it happens in the main loop.
    pub(super) fn link_changes(&self, up: bool) {
        self.link_up.store(up, Ordering::Relaxed);
        // The next simulator has not asserted it.
        self.intx_level.store(false, Ordering::Relaxed);
        let object: *mut c::Object = self.as_mut_ptr::<crate::glue::Object>().cast();
        // SAFETY: the device is alive (the caller has a reference to it); the
        // reference keeps it so until the callback gives it back.
        unsafe {
            bindings::object_ref(object.cast());
            bindings::g_timeout_add(0, Some(link_changed), object.cast());
        }
    }
}

/// The link went up or down: called once, by the main loop.
unsafe extern "C" fn link_changed(opaque: *mut c_void) -> c_int {
    with_bql(|| {
        // SAFETY: `link_changes` has taken a reference.
        let device = unsafe { &*opaque.cast::<AcceleratorPcie>() };
        // Unplugged meanwhile: then there is nothing to do.
        if device.link.borrow().is_some() {
            device.refresh();
            device.port_link(device.link_up.load(Ordering::Relaxed));
        }
        // SAFETY: as above.
        unsafe { bindings::object_unref(opaque) };
    });
    0
}
