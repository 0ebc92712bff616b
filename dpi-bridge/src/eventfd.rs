// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors that one thread rings and another one polls (`eventfd(2)`).

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// An eventfd, ours or one that was passed to us.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A new one that nobody has rung, and that never makes its user wait.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// One that somebody else has made. Anything that is no eventfd is refused: to write to
    /// some other file may take any time.
    ///
    /// # Errors
    ///
    /// What the file is.
    pub fn of_other(fd: OwnedFd) -> Result<Self, String> {
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        match std::fs::read_link(link) {
            Ok(name) if name.as_os_str() == "anon_inode:[eventfd]" => Ok(Self(fd)),
            Ok(name) => Err(format!("{name:?} is no eventfd")),
            Err(e) => Err(format!("it is not known what file it is: {e}")),
        }
    }

    fn is_ready(&self, events: libc::c_short) -> bool {
        let mut item = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: one item, which is valid.
        unsafe { libc::poll(&mut item, 1, 0) == 1 && item.revents & events != 0 }
    }

    /// Rings. One that has been rung until it can count no further is rung already.
    pub fn ring(&self) {
        // One of somebody else may be in blocking mode.
        if self.is_ready(libc::POLLOUT) {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: the buffer is valid for its length.
            unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// Takes back what was rung; whether it was.
    pub fn take(&self) -> bool {
        let mut count = [0_u8; 8];
        self.is_ready(libc::POLLIN)
            // SAFETY: the buffer is valid for its length.
            && unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), 8) } == 8
    }

    /// A descriptor of its own for the same.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rung_and_taken() {
        let bell = EventFd::new().unwrap();
        assert!(!bell.take());
        bell.ring();
        bell.ring();
        assert!(bell.take());
        assert!(!bell.take());
        let other = EventFd::of_other(bell.duplicate().unwrap()).unwrap();
        other.ring();
        assert!(bell.take());
    }

    #[test]
    fn one_that_is_full_makes_nobody_wait() {
        // SAFETY: no memory is involved.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        // SAFETY: it is new and nobody else's.
        let bell = EventFd(unsafe { OwnedFd::from_raw_fd(fd) });
        let most = (u64::MAX - 1).to_ne_bytes();
        // SAFETY: the buffer is valid for its length.
        assert_eq!(unsafe { libc::write(fd, most.as_ptr().cast(), 8) }, 8);
        bell.ring();
        assert!(bell.take());
        // Nor one that nobody has rung.
        assert!(!bell.take());
    }

    #[test]
    fn other_files_are_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let text = EventFd::of_other(file.into()).unwrap_err();
        assert!(text.contains("/dev/null"), "{text}");
    }
}
