// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C functions of a NIC channel; part of the header like [`super`].

use std::ffi::{c_char, c_int, c_longlong, c_void};

use accelerator_protocol::channel::ChannelKind;

use super::{barrier, beat_in, beat_out, call_on, not_null};
use crate::{error::Result, nic::Nic, registry, BEAT_BYTES};

/// Bit of `acc_nic_poll`: a frame from the host waits.
pub const ACC_NIC_RX: c_int = 1;
/// Bit of `acc_nic_poll`: there is room for a frame to the host.
pub const ACC_NIC_TX: c_int = 2;
/// Bit of `acc_nic_poll`: a host is connected and its network's link is up.
pub const ACC_NIC_LINK: c_int = 4;
/// Bit of `acc_nic_poll`: link or MAC address have changed since the last poll.
pub const ACC_NIC_CHANGED: c_int = 8;

/// Counter: frames that the RTL has fetched.
pub const ACC_NIC_STAT_RX_FRAMES: c_int = 0;
/// Counter: their bytes.
pub const ACC_NIC_STAT_RX_BYTES: c_int = 1;
/// Counter: frames of the RTL that were sent to the host.
pub const ACC_NIC_STAT_TX_FRAMES: c_int = 2;
/// Counter: their bytes, padding included.
pub const ACC_NIC_STAT_TX_BYTES: c_int = 3;
/// Counter: frames of the RTL that were dropped, without a host or with one of
/// the links down.
pub const ACC_NIC_STAT_TX_DROPPED: c_int = 4;
/// Counter: frames of the RTL that were dropped for having more than 9216
/// bytes.
pub const ACC_NIC_STAT_TX_TOO_LONG: c_int = 5;
/// Counter: frames of the host that were dropped, with the RTL's link down or
/// since another session began before they were fetched.
pub const ACC_NIC_STAT_RX_DROPPED: c_int = 6;
/// Counter: times that a host has opened the channel.
pub const ACC_NIC_STAT_SESSIONS: c_int = 7;

/// Runs a call on a NIC channel and turns its outcome into an `int`.
fn call(h: *mut c_void, name: &str, f: impl FnOnce(&mut Nic) -> Result<c_int>) -> c_int {
    call_on(h, name, f)
}

/// Opens a NIC channel and listens at its endpoint. First call; in
/// SystemVerilog from an `initial` block.
///
/// `endpoint`: as for `acc_open`, but of the channel. "pcie:ENDPOINT": the one
/// beside the bridge at ENDPOINT, which is the next TCP port, or the path with
/// ".nic" behind it. Empty or null: the one beside the bridge whose endpoint is
/// empty. `name`: what the log calls the channel; empty or null for "nic".
///
/// Returns a handle, or null on failure, as `acc_open` does.
///
/// # Safety
///
/// `endpoint` and `name` are null or end with a zero byte.
#[no_mangle]
pub unsafe extern "C" fn acc_nic_open(endpoint: *const c_char, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        super::open(
            "acc_nic_open",
            endpoint,
            name,
            Some(ChannelKind::Nic),
            |endpoint, name, words| Nic::open(&endpoint, name, words),
        )
    }
}

/// Closes a NIC channel, as `acc_close` does a bridge.
///
/// Returns 0, or -ACC_EINVAL for a handle that is not one of a NIC channel.
#[no_mangle]
pub extern "C" fn acc_nic_close(h: *mut c_void) -> c_int {
    barrier("acc_nic_close", || registry::close::<Nic>(h).map(|()| 0))
}

/// Takes in what the host sent, sends what there is for it and says what can be
/// done. To be called at every clock; costs a few nanoseconds and makes no
/// system call if nothing happened.
///
/// Returns a sum of ACC_NIC_RX, ACC_NIC_TX, ACC_NIC_LINK and ACC_NIC_CHANGED,
/// -ACC_EINVAL, or -ACC_EIO. Without a host and with a link down there is always
/// room: the frames are dropped and counted, as by a MAC without a link.
#[no_mangle]
pub extern "C" fn acc_nic_poll(h: *mut c_void) -> c_int {
    if let Some(status) = registry::idle_status::<Nic>(h) {
        return status as c_int;
    }
    call(h, "acc_nic_poll", |n| n.poll().map(|bits| bits as c_int))
}

/// The MAC address that the host has given to the card: `mac=` of the device in
/// QEMU.
///
/// `mac`: 48 bits, the byte that is first on the wire in bits 47 to 40; 0 before
/// a host told it. It stays when the host is gone.
///
/// Returns 0, or -ACC_EINVAL.
///
/// # Safety
///
/// `mac` is null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_nic_get_mac(h: *mut c_void, mac: *mut c_longlong) -> c_int {
    call(h, "acc_nic_get_mac", |n| {
        not_null("mac", mac)?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe { mac.write(n.mac() as c_longlong) };
        Ok(0)
    })
}

/// Sets the RTL's own link. `up`: 1 or 0; 1 at first. While it is 0 the host is
/// told that the link is down, and frames are dropped both ways.
///
/// Returns 0, or -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_nic_set_link(h: *mut c_void, up: c_int) -> c_int {
    call(h, "acc_nic_set_link", |n| n.set_link(up).map(|()| 0))
}

/// Takes the next frame of the host, to be fetched with `acc_nic_rx_beat`. What
/// was not fetched of the frame before is dropped.
///
/// Returns its bytes, 60 to 9216, without a frame check sequence; 0 if no frame
/// waits; -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_nic_rx_begin(h: *mut c_void) -> c_int {
    call(h, "acc_nic_rx_begin", |n| Ok(n.rx_begin() as c_int))
}

/// Fetches the next bytes of the frame that `acc_nic_rx_begin` has taken.
///
/// `bytes`: 1 to 64. `data`: a `bit [511:0]`, 16 words; the first byte goes to
/// the low 8 bits of the first, and what is beyond `bytes` becomes zero.
///
/// Returns how many bytes of the frame are left then, or -ACC_EINVAL if there
/// were not so many.
///
/// # Safety
///
/// `data` is null or valid for writes of 16 words.
#[no_mangle]
pub unsafe extern "C" fn acc_nic_rx_beat(h: *mut c_void, bytes: c_int, data: *mut u32) -> c_int {
    call(h, "acc_nic_rx_beat", |n| {
        not_null("data", data)?;
        let mut beat = [0; BEAT_BYTES];
        let left = n.rx_beat(bytes, &mut beat)?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe { beat_out(&beat, data) };
        Ok(left as c_int)
    })
}

/// Appends bytes to a frame for the host; the first call after the end of a
/// frame begins one. A frame has no frame check sequence. One of fewer than 60
/// bytes is padded with zeros, one of more than 9216 is dropped, counted and
/// logged.
///
/// `bytes`: 1 to 64. `data`: a `bit [511:0]`, 16 words, the first byte in the
/// low 8 bits of the first. `last`: 1 ends the frame, which the next
/// `acc_nic_poll` sends.
///
/// Returns 0; -ACC_EAGAIN if a frame begins while `acc_nic_poll` does not say
/// ACC_NIC_TX; -ACC_EINVAL.
///
/// # Safety
///
/// `data` is null or valid for reads of 16 words.
#[no_mangle]
pub unsafe extern "C" fn acc_nic_tx_beat(
    h: *mut c_void,
    bytes: c_int,
    data: *const u32,
    last: c_int,
) -> c_int {
    call(h, "acc_nic_tx_beat", |n| {
        not_null("data", data.cast_mut())?;
        // SAFETY: not null, and the caller promises the rest.
        let beat = unsafe { beat_in(data) };
        n.tx_beat(bytes, &beat, last).map(|()| 0)
    })
}

/// Drops the frame that was begun with `acc_nic_tx_beat`, if there is one; for
/// a reset.
///
/// Returns 0, or -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_nic_tx_abort(h: *mut c_void) -> c_int {
    call(h, "acc_nic_tx_abort", |n| {
        n.tx_abort();
        Ok(0)
    })
}

/// A counter, an ACC_NIC_STAT_ value, since `acc_nic_open`.
///
/// Returns it, or -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_nic_stat(h: *mut c_void, which: c_int) -> c_longlong {
    barrier("acc_nic_stat", || {
        registry::with(h, "acc_nic_stat", |n: &mut Nic| {
            n.stat(which)
                .map(|value| c_longlong::try_from(value).unwrap_or(c_longlong::MAX))
        })
    })
}
