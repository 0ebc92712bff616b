// SPDX-License-Identifier: GPL-2.0-or-later

//! What a link does, for whoever wants to know of each: QEMU's trace events.

use accelerator_protocol::wire::{ResetKind, Status};

/// Something that has crossed, or is about to. Tags are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A read of a BAR begins.
    Read {
        /// Of the request.
        tag: u32,
        /// 0 to 5.
        bar: u8,
        /// In the BAR, in bytes.
        offset: u64,
        /// Bytes, 1 to 8.
        len: u8,
    },
    /// It has its answer.
    ReadDone {
        /// Of the request.
        tag: u32,
        /// What it says; with another than [`Status::Ok`] the guest has all ones.
        status: Status,
        /// The low bytes are data.
        data: u64,
    },
    /// It ends without one: given up, reset, or the simulator is gone.
    ReadUnanswered {
        /// Of the request.
        tag: u32,
    },
    /// A write of a BAR is on its way.
    Write {
        /// Of the request.
        tag: u32,
        /// 0 to 5.
        bar: u8,
        /// In the BAR, in bytes.
        offset: u64,
        /// Bytes, 1 to 8.
        len: u8,
        /// The low bytes are data.
        data: u64,
    },
    /// The device has read guest memory through QEMU.
    DmaRead {
        /// Of the request.
        tag: u32,
        /// Bus address.
        addr: u64,
        /// Bytes.
        len: u32,
        /// What it is answered.
        status: Status,
    },
    /// The device has written guest memory through QEMU.
    DmaWrite {
        /// Of the request.
        tag: u32,
        /// Bus address.
        addr: u64,
        /// Bytes, those that are not enabled included.
        len: u32,
        /// What it is answered.
        status: Status,
    },
    /// The device raises a vector, of MSI-X or MSI.
    Vector(u16),
    /// It drives INTx.
    Intx(bool),
    /// The function is reset.
    Reset(ResetKind),
}
