// SPDX-License-Identifier: GPL-2.0-or-later

//! What an error of PCI Express leaves in config space of `accelerator-pcie` and of the port
//! above it, and whom it is told (PCIe base spec, Error Signaling and Logging; Status Register;
//! Secondary Status Register).
//!
//! The card is the completer of an access to a BAR, the port its requester; of DMA it is the
//! other way round. What the root complex notes of a posted write of the card that it does not
//! support is its own affair (as it is for the specification), and is left out.

use accelerator_protocol::wire::ErrorKind;

use super::AcceleratorPcie;
use crate::{
    bindings,
    pci::{PciDeviceMethods, Uncorrectable},
    replug,
};

/// Parity Error Response (Command, bit 6; Bridge Control, bit 0): poisoned data is noted as
/// Master Data Parity Error.
const PARITY_RESPONSE: u16 = bindings::PCI_COMMAND_PARITY as u16;

const RECEIVED_MASTER_ABORT: u16 = bindings::PCI_STATUS_REC_MASTER_ABORT as u16;
const RECEIVED_TARGET_ABORT: u16 = bindings::PCI_STATUS_REC_TARGET_ABORT as u16;
const SIGNALED_TARGET_ABORT: u16 = bindings::PCI_STATUS_SIG_TARGET_ABORT as u16;
const DETECTED_PARITY: u16 = bindings::PCI_STATUS_DETECTED_PARITY as u16;
const MASTER_PARITY: u16 = bindings::PCI_STATUS_PARITY as u16;

/// Where an error is noted.
#[derive(Default)]
struct Noted {
    /// In Advanced Error Reporting and Device Status of the card.
    card: Option<Uncorrectable>,
    /// In those of the port.
    port: Option<Uncorrectable>,
    /// Bits of the card's Status.
    status: u16,
    /// Bits of the port's Secondary Status.
    secondary: u16,
    /// The card is the requester of what is poisoned.
    poisoned_requester: bool,
}

fn noted(kind: ErrorKind) -> Noted {
    let unsupported = |advisory| Uncorrectable {
        status: bindings::PCI_ERR_UNC_UNSUP,
        advisory,
    };
    let aborted = |advisory| Uncorrectable {
        status: bindings::PCI_ERR_UNC_COMP_ABORT,
        advisory,
    };
    let plain = |status| Uncorrectable {
        status,
        advisory: false,
    };
    let poisoned = plain(bindings::PCI_ERR_UNC_POISON_TLP);
    let timeout = plain(bindings::PCI_ERR_UNC_COMP_TIME);
    let none = Noted::default();
    match kind {
        // The requester knows by the completion: for the completer it is an advisory non-fatal
        // error (Completer Sending a Completion with UR/CA Status).
        ErrorKind::ReadUnsupported => Noted {
            card: Some(unsupported(true)),
            secondary: RECEIVED_MASTER_ABORT,
            ..none
        },
        ErrorKind::WriteUnsupported => Noted {
            card: Some(unsupported(false)),
            ..none
        },
        ErrorKind::ReadAborted => Noted {
            card: Some(aborted(true)),
            status: SIGNALED_TARGET_ABORT,
            secondary: RECEIVED_TARGET_ABORT,
            ..none
        },
        ErrorKind::WriteAborted => Noted {
            card: Some(aborted(false)),
            status: SIGNALED_TARGET_ABORT,
            ..none
        },
        ErrorKind::ReadPoisoned => Noted {
            port: Some(poisoned),
            secondary: DETECTED_PARITY,
            ..none
        },
        ErrorKind::WritePoisoned => Noted {
            card: Some(poisoned),
            status: DETECTED_PARITY,
            ..none
        },
        // As for those that QEMU gives up itself.
        ErrorKind::ReadTimeout | ErrorKind::DmaTimeout => Noted {
            card: Some(timeout),
            ..none
        },
        ErrorKind::DmaUnsupported => Noted {
            status: RECEIVED_MASTER_ABORT,
            ..none
        },
        ErrorKind::DmaAborted => Noted {
            status: RECEIVED_TARGET_ABORT,
            ..none
        },
        ErrorKind::DmaReadPoisoned => Noted {
            card: Some(poisoned),
            status: DETECTED_PARITY,
            poisoned_requester: true,
            ..none
        },
        ErrorKind::DmaWritePoisoned => Noted {
            port: Some(poisoned),
            secondary: DETECTED_PARITY,
            poisoned_requester: true,
            ..none
        },
    }
}

impl AcceleratorPcie {
    /// Notes an error where a card and a port would. Called with the lock held, while the
    /// device is plugged in.
    pub(super) fn note_error(&self, kind: ErrorKind) {
        let noted = noted(kind);
        let mut status = noted.status;
        let command = u16::from_le_bytes(self.config(bindings::PCI_COMMAND as usize));
        if noted.poisoned_requester && command & PARITY_RESPONSE != 0 {
            status |= MASTER_PARITY;
        }
        let at = bindings::PCI_STATUS as usize;
        let old = u16::from_le_bytes(self.config(at));
        self.set_config(at, &(old | status).to_le_bytes());
        // SAFETY: the object is a device (`IsA`), with the lock held.
        unsafe {
            replug::port_status(
                self.qdev(),
                noted.secondary,
                kind == ErrorKind::ReadPoisoned,
            );
        }
        if let Some(error) = noted.card {
            self.report_error(error);
        }
        if let Some(error) = noted.port {
            // SAFETY: as above.
            unsafe { replug::port_error(self.qdev(), error) };
        }
    }
}
