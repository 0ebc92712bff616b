// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C function that begins a record; part of the header like [`super`].

use std::ffi::{c_char, c_int, c_longlong};

use super::{barrier, text};
use crate::{
    error::{within, Result},
    record,
};

/// Has bridges that are started and channels that are opened from now on write down
/// every transaction, in one file for the process. Before `acc_start`,
/// `acc_nic_open` and `acc_uart_open`; again for each of them does no harm.
/// record/FORMAT.md is what is in the file, `accelerator-trace` reads it.
///
/// `file`: its name. A record that is there is overwritten, anything else is not.
/// `bytes`: 0 for a file that grows, up to 1 GiB; 131,072 or more for a ring of that
/// size, in which the oldest is written over. `contents`: 1 to keep the bytes of DMA
/// and frames as well, 0 for the first 8 of each.
///
/// Without this call the environment variables ACCELERATOR_RECORD (file),
/// ACCELERATOR_RECORD_SIZE (bytes) and ACCELERATOR_RECORD_DATA (0 or 1) say it. The
/// file is made by the first bridge or channel, whose call fails if that is not
/// possible.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE while another record is written.
///
/// # Safety
///
/// `file` is null or ends with a zero byte.
#[no_mangle]
pub unsafe extern "C" fn acc_record(
    file: *const c_char,
    bytes: c_longlong,
    contents: c_int,
) -> c_int {
    let record = || -> Result<c_int> {
        // SAFETY: the caller's promise.
        let file = unsafe { text("file", file)? };
        let contents = within("contents", contents, 0, 1)? != 0;
        record::record(file, bytes, contents).map(|()| 0)
    };
    barrier("acc_record", record)
}
