// SPDX-License-Identifier: GPL-2.0-or-later

//! MSI, the elder of the two message signalled interrupts, and which of them raises a
//! vector. The invariants are those of [`crate::pci`].

use std::ffi::c_uint;

use crate::{
    bindings,
    glue::{self, IsA, ObjectDeref, Result},
    pci::{PciDevice, PciDeviceMethods},
};

/// Message Control.
const CONTROL: usize = bindings::PCI_MSI_FLAGS as usize;

/// Mask bits, behind an address of 64 bits.
const MASK: usize = bindings::PCI_MSI_MASK_64 as usize;

/// Pending bits, behind them.
const PENDING: usize = MASK + 4;

/// Message Control of MSI, and what it says (PCIe base spec, Message Control Register
/// for MSI).
#[derive(Clone, Copy, Debug)]
pub struct MsiControl(u16);

impl MsiControl {
    const fn has(self, bit: u32) -> bool {
        self.0 as u32 & bit != 0
    }

    /// MSI Enable.
    pub const fn is_enabled(self) -> bool {
        self.has(bindings::PCI_MSI_FLAGS_ENABLE)
    }

    /// Vectors granted, as the logarithm of their number: Multiple Message Enable, and no
    /// more than the function has, which a guest may well write.
    pub fn granted(self) -> u8 {
        let capable = self.0 >> 1 & 7;
        (self.0 >> 4 & 7).min(capable) as u8
    }
}

/// Methods of [`PciDevice`] and its subclasses.
pub trait Msi: PciDeviceMethods
where
    Self::Target: IsA<PciDevice>,
{
    /// Adds MSI at `offset` with so many vectors, a power of two up to 32, and 64-bit
    /// addresses; with `masking` each vector has a mask and a pending bit.
    ///
    /// # Errors
    ///
    /// QEMU's; the machine may not support message signalled interrupts.
    fn init_msi(&self, offset: u8, vectors: u8, masking: bool) -> Result<()> {
        self.assert_on_bus();
        // QEMU would look for a place, and asserts the number.
        assert!(offset != 0 && vectors.is_power_of_two() && vectors <= 32);
        // SAFETY: invariants 1 and 2; the function sets the error or not.
        let result = unsafe {
            glue::with_errp(|errp| {
                bindings::msi_init(self.pci(), offset, vectors.into(), true, masking, errp)
            })
        }?;
        if result < 0 {
            return Err(glue::error(format!(
                "MSI cannot be set up: {}",
                std::io::Error::from_raw_os_error(-result)
            )));
        }
        Ok(())
    }

    /// Removes MSI, if there is some.
    fn exit_msi(&self) {
        self.assert_on_bus();
        // SAFETY: invariants 1 and 2.
        unsafe { bindings::msi_uninit(self.pci()) };
    }

    /// Message Control of the capability at `place`.
    fn msi_control(&self, place: usize) -> MsiControl {
        MsiControl(u16::from_le_bytes(self.config(place + CONTROL)))
    }

    /// Mask bits of the capability at `place`, 0 if it has none.
    fn msi_mask(&self, place: usize) -> u32 {
        if !self.msi_control(place).has(bindings::PCI_MSI_FLAGS_MASKBIT) {
            return 0;
        }
        u32::from_le_bytes(self.config(place + MASK))
    }

    /// Calls `f`, in which nothing that is pending in the capability at `place` is raised,
    /// whatever is unmasked there; see [`Msi::raise_pending`].
    fn hold_pending(&self, place: usize, f: impl FnOnce()) {
        let held = self.msi_control(place).has(bindings::PCI_MSI_FLAGS_MASKBIT);
        let pending: [u8; 4] = self.config(place + PENDING);
        if held {
            self.set_config(place + PENDING, &[0; 4]);
        }
        f();
        if held {
            self.set_config(place + PENDING, &pending);
        }
    }

    /// Raises what is pending and not masked in the capability at `place`.
    fn raise_pending(&self, place: usize) {
        if self.on_bus() {
            // SAFETY: invariants 1 and 2. The function looks at the registers, and at the
            // address for whether it is one of them.
            unsafe { bindings::msi_write_config(self.pci(), place as u32, 0, 1) };
        }
    }

    /// Raises a vector of MSI-X, or of MSI if the guest has enabled that alone: sends its
    /// message, or marks it pending if it is masked. With neither enabled MSI-X has it
    /// pending, and a function without MSI-X loses it. Of MSI the vector is taken modulo
    /// the number that the guest has granted. Nothing happens if the device is not on its
    /// bus.
    ///
    /// # Errors
    ///
    /// How many vectors there are, if this is none of them.
    fn raise(&self, vector: u16) -> std::result::Result<(), u16> {
        if !self.on_bus() {
            return Ok(());
        }
        // SAFETY: invariants 1 and 2; a device without MSI has it at 0, and not enabled.
        let (msi, msix, place) = unsafe {
            (
                bindings::msi_enabled(self.pci()),
                bindings::msix_enabled(self.pci()) != 0,
                usize::from((*self.pci()).msi_cap),
            )
        };
        if msix || !msi {
            return self.msix_notify(vector);
        }
        let control = self.msi_control(place);
        let vectors = 1 << (control.0 >> 1 & 7);
        if vector >= vectors {
            return Err(vectors);
        }
        let vector = vector & ((1 << control.granted()) - 1);
        // SAFETY: invariants 1 and 2. The C function asserts that the vector is below the
        // number that was granted.
        unsafe { bindings::msi_notify(self.pci(), c_uint::from(vector)) };
        Ok(())
    }
}

impl<R: ObjectDeref> Msi for R where R::Target: IsA<PciDevice> {}
