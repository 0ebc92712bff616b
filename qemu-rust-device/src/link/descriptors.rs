// SPDX-License-Identifier: GPL-2.0-or-later

//! Descriptors of the system that a thread can sleep on.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use crate::error::LinkError;

/// What of [`super::Link::inner`] is readable: bits, and the tags of the descriptors.
pub(super) const SOCKET: u64 = 1;
pub(super) const MONITOR: u64 = 2;
pub(super) const WAKE: u64 = 4;
pub(super) const RETRY: u64 = 8;
pub(super) const LATE: u64 = 16;
pub(super) const BELL: u64 = 64;
/// Something is in shared memory.
pub(super) const MEMORY: u64 = 128;
pub(super) const ALL: u64 = SOCKET | MONITOR | WAKE | RETRY | LATE | BELL | MEMORY;

/// The tag of [`super::Link::end`] in [`super::Link::outer`].
pub(super) const END: u64 = 32;

/// The tags of [`super::Wire::descriptors`].
pub(super) const WIRE: [u64; 2] = [SOCKET, MONITOR];

pub(crate) fn owned(what: &'static str, fd: RawFd) -> Result<OwnedFd, LinkError> {
    if fd < 0 {
        return Err(LinkError::System(what, io::Error::last_os_error()));
    }
    // SAFETY: the descriptor was just made and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes what an eventfd or timerfd has counted. Returns whether it had.
pub(crate) fn drain(fd: &OwnedFd) -> bool {
    let mut count = [0u8; 8];
    // SAFETY: the buffer is eight bytes long, as both kinds want; the
    // descriptor is non-blocking, and one that has nothing reads nothing.
    let read = unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    read > 0
}

/// Makes an eventfd readable.
pub(super) fn signal(fd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is eight bytes long, as an eventfd wants. It can only
    // fail if the counter is full, and then it is readable anyway.
    unsafe {
        libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len());
    }
}

/// Has a timerfd run out once after `delay`, which is not zero.
pub(crate) fn set_timer(fd: &OwnedFd, delay: Duration) -> io::Result<()> {
    let timer = libc::itimerspec {
        it_interval: libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: libc::timespec {
            tv_sec: delay.as_secs() as libc::time_t,
            tv_nsec: delay.subsec_nanos().into(),
        },
    };
    // SAFETY: the descriptor is a timerfd, `timer` is valid and its value is
    // not zero; the old value is not asked for.
    if unsafe { libc::timerfd_settime(fd.as_raw_fd(), 0, &timer, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(crate) fn epoll(epfd: &OwnedFd, op: i32, fd: RawFd, events: i32) -> Result<(), LinkError> {
    watch(epfd, op, fd, events, 0)
}

pub(super) fn watch(
    epfd: &OwnedFd,
    op: i32,
    fd: RawFd,
    events: i32,
    tag: u64,
) -> Result<(), LinkError> {
    let mut event = libc::epoll_event {
        events: events as u32,
        u64: tag,
    };
    // SAFETY: both descriptors are open and `event` outlives the call.
    if unsafe { libc::epoll_ctl(epfd.as_raw_fd(), op, fd, &mut event) } < 0 {
        return Err(LinkError::System(
            "cannot watch a descriptor",
            io::Error::last_os_error(),
        ));
    }
    Ok(())
}
