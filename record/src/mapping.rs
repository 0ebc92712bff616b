// SPDX-License-Identifier: MIT OR Apache-2.0

//! Part of a file in memory. Another process may read the file, and write to it if it is badly
//! made, at any time: all of it is atomics.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// Bytes of a file in memory.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the memory is used through atomics only, which any thread may do.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of `file` from `offset` on, both multiples of 64 KiB, which every page
    /// size of Linux divides. They must have been allocated: to store where a disk has no room
    /// ends the process (`SIGBUS`).
    ///
    /// # Errors
    ///
    /// Of `mmap`.
    pub fn new(file: &File, offset: u64, bytes: usize) -> io::Result<Self> {
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: without MAP_FIXED nothing that is mapped already is touched.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { base, bytes })
    }

    /// The words, in the order of the file.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: so much is mapped and aligned to a page until `self` is dropped, and any bytes
        // are valid for atomics, whoever else stores there.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes / 8) }
    }

    /// Stores bytes, a multiple of 8 of them, at a multiple of 8.
    pub fn store(&self, offset: usize, bytes: &[u8]) {
        for (word, bytes) in self.words()[offset / 8..].iter().zip(bytes.chunks_exact(8)) {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            // The file has the bytes in their order.
            word.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and nobody has a reference any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
