// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C functions for what the guest has set in config space; part of the
//! header like [`super`].

use std::ffi::{c_int, c_longlong, c_void};

use accelerator_protocol::{config::BARS, function::UNMAPPED};

use super::{call, not_null};
use crate::error::within;

/// Bit of `acc_get_function`: Memory Space Enable, the BARs answer.
pub const ACC_FUNCTION_MEMORY_SPACE: c_int = 1;
/// Bit of `acc_get_function`: Bus Master Enable, without which DMA is refused
/// and no vector is raised.
pub const ACC_FUNCTION_BUS_MASTER: c_int = 2;
/// Bit of `acc_get_function`: Interrupt Disable, with which INTx does not reach
/// the guest.
pub const ACC_FUNCTION_INTX_DISABLE: c_int = 4;
/// Bit of `acc_get_function`: MSI-X Enable, with which INTx does not reach the
/// guest.
pub const ACC_FUNCTION_MSIX_ENABLE: c_int = 8;
/// Bit of `acc_get_function`: MSI-X Function Mask.
pub const ACC_FUNCTION_MSIX_MASK: c_int = 16;
/// Bit of `acc_get_function`: Extended Tag Field Enable.
pub const ACC_FUNCTION_EXTENDED_TAG: c_int = 32;
/// Bit of `acc_get_function`: Enable Relaxed Ordering.
pub const ACC_FUNCTION_RELAXED_ORDERING: c_int = 64;
/// Bit of `acc_get_function`: Enable No Snoop.
pub const ACC_FUNCTION_NO_SNOOP: c_int = 128;
/// Bit of `acc_get_function`: MSI Enable, with which INTx does not reach the guest.
pub const ACC_FUNCTION_MSI_ENABLE: c_int = 256;

/// Fetches what the guest has set in config space, when `acc_poll` has announced
/// it; otherwise what was fetched last, and after a reset or a change of the link
/// that was fetched the state that goes with it.
///
/// `flags`: ACC_FUNCTION_ bits. `power`: 0 for D0, 3 for D3hot. `max_payload`,
/// `max_read_request`: bytes, 128 to 4096. `requester_id`: bus number in bits 15
/// to 8, device and function number below. `link_speed`, `link_width`: as for
/// `acc_set_link`, what the card and the port above it agreed on.
///
/// With a host that cannot tell (protocol below 1.2) all is enabled while the
/// link is up. The host enforces what is not: RTL need not look at any of this.
///
/// Returns 0, -ACC_ESTATE before `acc_start`, or -ACC_EINVAL.
///
/// # Safety
///
/// The pointers are null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_function(
    h: *mut c_void,
    flags: *mut c_int,
    power: *mut c_int,
    max_payload: *mut c_int,
    max_read_request: *mut c_int,
    requester_id: *mut c_int,
    link_speed: *mut c_int,
    link_width: *mut c_int,
) -> c_int {
    call(h, "acc_get_function", |b| {
        not_null("flags", flags)?;
        not_null("power", power)?;
        not_null("max_payload", max_payload)?;
        not_null("max_read_request", max_read_request)?;
        not_null("requester_id", requester_id)?;
        not_null("link_speed", link_speed)?;
        not_null("link_width", link_width)?;
        let function = b.get_function()?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe {
            flags.write(function.flags() as c_int);
            power.write(function.power as c_int);
            max_payload.write(128 << function.max_payload);
            max_read_request.write(128 << function.max_read_request);
            requester_id.write(function.requester_id.into());
            link_speed.write(function.link_speed.into());
            link_width.write(function.link_width.into());
        }
        Ok(0)
    })
}

/// What the guest has set of MSI, in the state that `acc_get_function` has fetched
/// last.
///
/// `vectors`: how many it has granted (Multiple Message Enable), 1, 2, 4, 8, 16 or
/// 32; RTL should raise no others, see `acc_msix`. `mask`: the mask bits, of vector
/// 0 lowest; a masked vector that is raised is pending until it is unmasked, which
/// QEMU sees to. 1 and 0 without MSI.
///
/// Returns 0, -ACC_ESTATE before `acc_start`, or -ACC_EINVAL.
///
/// # Safety
///
/// The pointers are null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_msi(
    h: *mut c_void,
    vectors: *mut c_int,
    mask: *mut c_int,
) -> c_int {
    call(h, "acc_get_msi", |b| {
        not_null("vectors", vectors)?;
        not_null("mask", mask)?;
        let function = b.shown_function()?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe {
            vectors.write(1 << function.msi_granted);
            // The bits count.
            mask.write(function.msi_mask as c_int);
        }
        Ok(0)
    })
}

/// Where the guest has put a BAR, in the state that `acc_get_function` has fetched last.
///
/// `bar`: 0 to 5. `address`: on the bus, 0 if it is not known.
///
/// Returns 1 if it is known, 0 if not: the BAR is absent or not mapped, or the host cannot
/// tell (protocol below 1.5). -ACC_ESTATE before `acc_start`, or -ACC_EINVAL.
///
/// # Safety
///
/// The pointer is null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_bar(
    h: *mut c_void,
    bar: c_int,
    address: *mut c_longlong,
) -> c_int {
    call(h, "acc_get_bar", |b| {
        not_null("address", address)?;
        let bar = within("bar", bar, 0, BARS as c_int - 1)? as usize;
        let addresses = b.shown_function()?.addresses;
        let known = addresses
            .map(|all| all[bar])
            .filter(|&known| known != UNMAPPED);
        // SAFETY: not null, and the caller promises the rest. The bits count.
        unsafe { address.write(known.unwrap_or(0) as c_longlong) };
        Ok(known.is_some().into())
    })
}
