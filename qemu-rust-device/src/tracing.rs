// SPDX-License-Identifier: GPL-2.0-or-later

//! QEMU's trace events (`-trace 'accelerator_pcie_*'`), listed in `trace-events`.
//!
//! An event that is off costs the test of a counter of QEMU's.

use std::ffi::CStr;

use accelerator_protocol::wire::{ResetKind, Status};

use crate::{
    glue::{
        trace_accelerator_pcie_dma_read, trace_accelerator_pcie_dma_write,
        trace_accelerator_pcie_intx, trace_accelerator_pcie_link, trace_accelerator_pcie_read,
        trace_accelerator_pcie_read_done, trace_accelerator_pcie_read_failed,
        trace_accelerator_pcie_reset, trace_accelerator_pcie_vector, trace_accelerator_pcie_write,
    },
    link::Moment,
};

/// The link goes up or down.
pub fn link(id: &CStr, up: bool) {
    trace_accelerator_pcie_link(id, if up { c"up" } else { c"down" });
}

/// Something of the device `id` has crossed, or is about to.
pub fn moment(id: &CStr, moment: Moment) {
    match moment {
        Moment::Read {
            tag,
            bar,
            offset,
            len,
        } => trace_accelerator_pcie_read(id, tag, bar.into(), offset, len.into()),
        Moment::ReadDone {
            tag,
            status: Status::Ok,
            data,
        } => trace_accelerator_pcie_read_done(id, tag, data),
        Moment::ReadDone { tag, status, .. } => {
            trace_accelerator_pcie_read_failed(id, tag, word(status));
        }
        Moment::ReadUnanswered { tag } => {
            trace_accelerator_pcie_read_failed(id, tag, c"not answered");
        }
        Moment::Write {
            tag,
            bar,
            offset,
            len,
            data,
        } => trace_accelerator_pcie_write(id, tag, bar.into(), offset, len.into(), data),
        Moment::DmaRead {
            tag,
            addr,
            len,
            status,
        } => trace_accelerator_pcie_dma_read(id, tag, addr, len, word(status)),
        Moment::DmaWrite {
            tag,
            addr,
            len,
            status,
        } => trace_accelerator_pcie_dma_write(id, tag, addr, len, word(status)),
        Moment::Vector(vector) => trace_accelerator_pcie_vector(id, vector.into()),
        Moment::Intx(level) => trace_accelerator_pcie_intx(id, level.into()),
        Moment::Reset(kind) => trace_accelerator_pcie_reset(id, reset(kind)),
    }
}

const fn word(status: Status) -> &'static CStr {
    match status {
        Status::Ok => c"ok",
        Status::Refused => c"refused",
        Status::Fault => c"fault",
        Status::Aborted => c"aborted",
    }
}

const fn reset(kind: ResetKind) -> &'static CStr {
    match kind {
        ResetKind::Flr => c"FLR",
        ResetKind::Hot => c"hot reset",
        ResetKind::Cold => c"cold reset",
    }
}
