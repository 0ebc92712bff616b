// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors that a thread can sleep on, and what it sleeps with: `eventfd(2)`,
//! `timerfd_create(2)`, `epoll(7)`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

/// A descriptor that the system has just made, or why it has not.
fn made(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes what an eventfd or timerfd has counted; whether it had.
fn take(fd: &OwnedFd) -> bool {
    let mut count = [0_u8; 8];
    // SAFETY: the buffer is valid for its length, which is what both kinds want.
    unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) == 8 }
}

/// An eventfd, ours or one that was passed to us.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
    /// Somebody else has made it, so that it may be in blocking mode.
    foreign: bool,
}

impl EventFd {
    /// A new one that nobody has rung, and that never makes its user wait.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = made(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        Ok(Self { fd, foreign: false })
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
            Ok(name) if name.as_os_str() == "anon_inode:[eventfd]" => {
                Ok(Self { fd, foreign: true })
            }
            Ok(name) => Err(format!("{name:?} is no eventfd")),
            Err(e) => Err(format!("it is not known what file it is: {e}")),
        }
    }

    /// Whether a read or write would not wait.
    fn is_ready(&self, events: libc::c_short) -> bool {
        if !self.foreign {
            return true;
        }
        let mut item = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: one item, which is valid.
        unsafe { libc::poll(&mut item, 1, 0) == 1 && item.revents & events != 0 }
    }

    /// Rings. One that has been rung until it can count no further is rung already.
    pub fn ring(&self) {
        if self.is_ready(libc::POLLOUT) {
            let one = 1_u64.to_ne_bytes();
            // SAFETY: the buffer is valid for its length.
            unsafe { libc::write(self.fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// Takes back what was rung; whether it was.
    pub fn take(&self) -> bool {
        self.is_ready(libc::POLLIN) && take(&self.fd)
    }

    /// A descriptor of its own for the same.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A timerfd that runs out once each time that it is set.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// One that does not run.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: no memory is involved.
        made(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) }).map(Self)
    }

    /// Has it run out after `delay`, and not when it was to before. A delay of zero stops it.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn set(&self, delay: Duration) -> io::Result<()> {
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
        // SAFETY: the descriptor is a timerfd and `timer` valid; the old value is not asked for.
        if unsafe { libc::timerfd_settime(self.0.as_raw_fd(), 0, &timer, std::ptr::null_mut()) } < 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes back that it has run out; whether it had.
    pub fn take(&self) -> bool {
        take(&self.0)
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sleeps on many descriptors, each with a tag. One itself, for another to sleep on.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// One without descriptors.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        made(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Self)
    }

    fn control(&self, op: i32, fd: RawFd, events: i32, tag: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: tag,
        };
        // SAFETY: any descriptor may be given, and `event` outlives the call.
        if unsafe { libc::epoll_ctl(self.0.as_raw_fd(), op, fd, &mut event) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Wakes with this tag while the descriptor is readable.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn add(&self, fd: RawFd, tag: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, tag)
    }

    /// Has a descriptor that was added wake, or not for the time being.
    ///
    /// # Errors
    ///
    /// Of the system call.
    pub fn arm(&self, fd: RawFd, tag: u64, armed: bool) -> io::Result<()> {
        let events = if armed { libc::EPOLLIN } else { 0 };
        self.control(libc::EPOLL_CTL_MOD, fd, events, tag)
    }

    /// Forgets a descriptor. One that is closed everywhere is forgotten without it.
    pub fn remove(&self, fd: RawFd) {
        // That it is not there is the only way to fail.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    /// Sleeps until a descriptor is readable, for so many milliseconds at most; for as long as
    /// it takes if that is negative. The tags of up to `N` that are.
    ///
    /// # Errors
    ///
    /// Of the system call, a signal among them.
    pub fn wait<const N: usize>(&self, ms: i32) -> io::Result<impl Iterator<Item = u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; N];
        // SAFETY: the array is valid for its length, which is given.
        let count =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), N as i32, ms) };
        match usize::try_from(count) {
            Ok(count) => Ok(events.into_iter().take(count).map(|e| e.u64)),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Epoll {
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
        let bell = EventFd::of_other(unsafe { OwnedFd::from_raw_fd(fd) }).unwrap();
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

    #[test]
    fn one_of_ours_that_is_full_makes_nobody_wait() {
        let bell = EventFd::new().unwrap();
        let most = (u64::MAX - 1).to_ne_bytes();
        let fd = bell.as_fd().as_raw_fd();
        // SAFETY: the buffer is valid for its length.
        assert_eq!(unsafe { libc::write(fd, most.as_ptr().cast(), 8) }, 8);
        bell.ring();
        assert!(bell.take());
        assert!(!bell.take());
    }

    #[test]
    fn a_timer_runs_out_once_and_when_it_was_set_to_last() {
        let (timer, epoll) = (Timer::new().unwrap(), Epoll::new().unwrap());
        epoll.add(timer.as_fd().as_raw_fd(), 7).unwrap();
        assert!(!timer.take());
        timer.set(Duration::from_secs(3600)).unwrap();
        assert_eq!(epoll.wait::<2>(0).unwrap().count(), 0);
        timer.set(Duration::from_millis(1)).unwrap();
        assert_eq!(epoll.wait::<2>(60_000).unwrap().collect::<Vec<_>>(), [7]);
        assert!(timer.take());
        assert!(!timer.take());
        assert_eq!(epoll.wait::<2>(10).unwrap().count(), 0);
        timer.set(Duration::from_millis(1)).unwrap();
        timer.set(Duration::ZERO).unwrap();
        assert_eq!(epoll.wait::<2>(10).unwrap().count(), 0);
    }

    #[test]
    fn only_what_is_armed_wakes() {
        let (inner, outer) = (Epoll::new().unwrap(), Epoll::new().unwrap());
        let bells = [EventFd::new().unwrap(), EventFd::new().unwrap()];
        for (bell, tag) in bells.iter().zip([1, 2]) {
            inner.add(bell.as_fd().as_raw_fd(), tag).unwrap();
        }
        let fd = inner.as_fd().as_raw_fd();
        outer.add(fd, 3).unwrap();
        let woken = |epoll: &Epoll| {
            let mut tags: Vec<u64> = epoll.wait::<4>(0).unwrap().collect();
            tags.sort_unstable();
            tags
        };
        assert_eq!((woken(&inner), woken(&outer)), (vec![], vec![]));
        bells.iter().for_each(EventFd::ring);
        assert_eq!((woken(&inner), woken(&outer)), (vec![1, 2], vec![3]));
        outer.arm(fd, 3, false).unwrap();
        assert_eq!(woken(&outer), []);
        outer.arm(fd, 3, true).unwrap();
        inner.remove(bells[0].as_fd().as_raw_fd());
        assert_eq!((woken(&inner), woken(&outer)), (vec![2], vec![3]));
        // One that is not there.
        inner.remove(bells[0].as_fd().as_raw_fd());
        assert!(inner.arm(bells[0].as_fd().as_raw_fd(), 1, true).is_err());
    }
}
