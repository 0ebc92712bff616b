// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory files that can neither shrink nor grow.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// A new memory file of so many bytes, all zeros, sealed. A page takes memory when it is first
/// used.
///
/// # Errors
///
/// Of the system calls that make it.
pub fn sealed(name: &CStr, bytes: u64) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a zero.
    let fd =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new and nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(bytes)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no pointers are passed.
    if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}

/// The seals of a file; none of one that has no such thing.
pub(crate) fn seals(file: BorrowedFd<'_>) -> i32 {
    // SAFETY: no pointers are passed.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) }.max(0)
}
