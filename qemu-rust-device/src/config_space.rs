// SPDX-License-Identifier: GPL-2.0-or-later

//! Which bits of a PCI Express function's config space the guest may change,
//! and what else QEMU's own functions for it leave to the device. The
//! invariants are those of [`crate::pci`].

use accelerator_protocol::{config::BARS, function::UNMAPPED};

use crate::{
    bindings,
    glue::{IsA, ObjectDeref},
    pci::{PciDevice, PciDeviceMethods},
};

const BYTES: usize = bindings::PCIE_CONFIG_SPACE_SIZE as usize;

/// Where the header ends.
const HEADER: usize = 0x40;

/// Methods of [`PciDevice`] and its subclasses.
pub trait ConfigSpace: PciDeviceMethods
where
    Self::Target: IsA<PciDevice>,
{
    /// No bit behind the header may be written. QEMU has it that all may, but for
    /// those of capabilities; a function has zeros where it has no register (PCIe
    /// base spec, Configuration Space).
    fn forbid_writes(&self) {
        self.assert_on_bus();
        // SAFETY: `wmask` is as long as `config` (invariant 3), and only looked at
        // with the lock held.
        unsafe { std::ptr::write_bytes((*self.pci()).wmask.add(HEADER), 0, BYTES - HEADER) };
    }

    /// The guest may write these bits of a field.
    fn allow_writes(&self, offset: usize, mask: &[u8]) {
        self.assert_on_bus();
        assert!(offset + mask.len() <= BYTES);
        for (i, &bits) in mask.iter().enumerate() {
            // SAFETY: in bounds, and as in `forbid_writes`.
            unsafe { *(*self.pci()).wmask.add(offset + i) |= bits };
        }
    }

    /// All bits that the guest can change, by writing them or by writing a one.
    fn changeable(&self) -> Vec<u8> {
        self.assert_on_bus();
        (0..BYTES)
            // SAFETY: in bounds, and as in `forbid_writes`; the same holds for
            // `w1cmask`.
            .map(|i| unsafe { *(*self.pci()).wmask.add(i) | *(*self.pci()).w1cmask.add(i) })
            .collect()
    }

    /// Bus, device and function number, as the function's requests carry them.
    fn requester_id(&self) -> u16 {
        if !self.on_bus() {
            return 0;
        }
        // SAFETY: invariants 1 and 2.
        unsafe { bindings::pci_requester_id(self.pci()) }
    }

    /// Where each BAR is on the bus, all ones for one that is not mapped, as QEMU's
    /// `PCI_BAR_UNMAPPED`.
    fn bar_addresses(&self) -> [u64; BARS] {
        let mut addresses = [UNMAPPED; BARS];
        if self.on_bus() {
            for (i, address) in addresses.iter_mut().enumerate() {
                // SAFETY: invariants 1 and 2; there are regions for the BARs and the ROM.
                let region = unsafe { &(*self.pci()).io_regions[i] };
                // One that nobody has registered has an address of 0.
                if region.size != 0 {
                    *address = region.addr;
                }
            }
        }
        addresses
    }

    /// Whether vector table and pending bits answer. If not, what is below them
    /// does: the BAR.
    fn show_msix(&self, shown: bool) {
        if !self.on_bus() {
            return;
        }
        // SAFETY: invariants 1 and 2; the two regions are initialized if the
        // device has vectors.
        unsafe {
            if (*self.pci()).msix_entries_nr != 0 {
                let (table, pba) = (
                    std::ptr::addr_of_mut!((*self.pci()).msix_table_mmio),
                    std::ptr::addr_of_mut!((*self.pci()).msix_pba_mmio),
                );
                bindings::memory_region_set_enabled(table, shown);
                bindings::memory_region_set_enabled(pba, shown);
            }
        }
    }
}

impl<R: ObjectDeref> ConfigSpace for R where R::Target: IsA<PciDevice> {}
