// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C functions of a UART channel; part of the header like [`super`].

use std::ffi::{c_char, c_int, c_void};

use accelerator_protocol::channel::ChannelKind;

use super::{barrier, call_on};
use crate::{error::Result, registry, uart::Uart};

/// Bit of `acc_uart_poll`: a byte from the host waits.
pub const ACC_UART_RX: c_int = 1;
/// Bit of `acc_uart_poll`: there is room for a byte to the host.
pub const ACC_UART_TX: c_int = 2;
/// Bit of `acc_uart_poll`: a host is connected.
pub const ACC_UART_HOST: c_int = 4;

/// Runs a call on a UART channel and turns its outcome into an `int`.
fn call(h: *mut c_void, name: &str, f: impl FnOnce(&mut Uart) -> Result<c_int>) -> c_int {
    call_on(h, name, f)
}

/// Opens a UART channel and listens at its endpoint. First call; in
/// SystemVerilog from an `initial` block.
///
/// `endpoint`: as for `acc_open`, but of the channel. "pcie:ENDPOINT": the one
/// beside the bridge at ENDPOINT, which is the TCP port after the next, or the
/// path with ".uart" behind it. Empty or null: the one beside the bridge whose
/// endpoint is empty. `name`: what the log calls the channel; empty or null for
/// "uart".
///
/// Returns a handle, or null on failure, as `acc_open` does.
///
/// # Safety
///
/// `endpoint` and `name` are null or end with a zero byte.
#[no_mangle]
pub unsafe extern "C" fn acc_uart_open(
    endpoint: *const c_char,
    name: *const c_char,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        super::open(
            "acc_uart_open",
            endpoint,
            name,
            Some(ChannelKind::Serial),
            |endpoint, name, words| Uart::open(&endpoint, name, words),
        )
    }
}

/// Closes a UART channel, as `acc_close` does a bridge.
///
/// Returns 0, or -ACC_EINVAL for a handle that is not one of a UART channel.
#[no_mangle]
pub extern "C" fn acc_uart_close(h: *mut c_void) -> c_int {
    barrier("acc_uart_close", || registry::close::<Uart>(h).map(|()| 0))
}

/// Takes in what the host sent, sends what there is for it and says what can be
/// done. To be called at every clock; costs a few nanoseconds and makes no
/// system call if nothing happened.
///
/// Returns a sum of ACC_UART_RX, ACC_UART_TX and ACC_UART_HOST, -ACC_EINVAL, or
/// -ACC_EIO. Without a host there is always room: the first 4096 bytes are kept
/// for it, and those after them dropped.
#[no_mangle]
pub extern "C" fn acc_uart_poll(h: *mut c_void) -> c_int {
    if let Some(status) = registry::idle_status::<Uart>(h) {
        return status as c_int;
    }
    call(h, "acc_uart_poll", |u| u.poll().map(|bits| bits as c_int))
}

/// Takes the next byte of the host.
///
/// Returns it, 0 to 255, or -1 if none waits or the handle is not that of a UART
/// channel.
#[no_mangle]
pub extern "C" fn acc_uart_get(h: *mut c_void) -> c_int {
    let byte = call(h, "acc_uart_get", |u| Ok(u.get().map_or(-1, c_int::from)));
    byte.max(-1)
}

/// Gives a byte to the host; the next `acc_uart_poll` sends it.
///
/// `value`: 0 to 255. Returns 1 if it was taken, 0 if there is no room,
/// -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_uart_put(h: *mut c_void, value: c_int) -> c_int {
    call(h, "acc_uart_put", |u| u.put(value).map(c_int::from))
}
