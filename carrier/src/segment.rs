// SPDX-License-Identifier: MIT OR Apache-2.0

//! The memory: two rings, and the page with the permission to use the host's memory, in a
//! memory file that can neither shrink nor grow.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
    },
};

use crate::{
    file, permit,
    ring::{Lines, Memory},
};

/// Bytes of the data of one ring: what fits in the cache of a processor, and three of the
/// longest frames.
pub const RING_BYTES: usize = 256 * 1024;

/// Bytes before the data of the first ring: the lines of each, a page apart.
const LINES_BYTES: usize = 4096;

/// Where the page with the permission is.
const PERMIT: usize = 2 * LINES_BYTES + 2 * RING_BYTES;

/// Bytes of a segment.
pub const BYTES: usize = PERMIT + permit::WORDS * 8;

const _: () = assert!(std::mem::size_of::<Lines>() <= LINES_BYTES);
const _: () = assert!(RING_BYTES.is_power_of_two() && BYTES % LINES_BYTES == 0);

/// One of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the device.
    ToDevice = 0,
    /// From the device to the host.
    ToHost = 1,
}

/// Addresses that are never given back: a thread may look there at any time. There is a
/// segment, or memory of our own.
#[derive(Debug)]
pub struct Window {
    base: NonNull<u8>,
    /// A segment is there.
    taken: AtomicBool,
}

// SAFETY: the memory is used through atomics only, and its mapping is only changed by whoever
// has set `taken`.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

/// A mapped segment.
#[derive(Debug)]
pub struct Segment {
    base: NonNull<u8>,
    window: Option<&'static Window>,
}

// SAFETY: the memory is used through atomics only, which is sound from any thread, whatever
// other processes do to it: it can neither shrink nor be unmapped by them.
unsafe impl Send for Segment {}
// SAFETY: as above.
unsafe impl Sync for Segment {}

/// Maps `BYTES` bytes, of `file` or of zeros, at `at` or anywhere.
fn map(file: Option<BorrowedFd<'_>>, at: Option<NonNull<u8>>) -> io::Result<NonNull<u8>> {
    let (fd, flags) = match file {
        Some(file) => (file.as_raw_fd(), libc::MAP_SHARED),
        None => (-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
    };
    let fixed = if at.is_some() { libc::MAP_FIXED } else { 0 };
    // SAFETY: without MAP_FIXED nothing that is there is touched; with it, `at` is the base of
    // a window, which has as many bytes and whose memory is used through atomics only.
    let base = unsafe {
        libc::mmap(
            at.map_or(std::ptr::null_mut(), |at| at.as_ptr().cast()),
            BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            flags | fixed,
            fd,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::ErrorKind::Other.into())
}

impl Window {
    /// Takes addresses for good.
    ///
    /// # Errors
    ///
    /// Of `mmap`.
    pub fn new() -> io::Result<&'static Self> {
        Ok(Box::leak(Box::new(Self {
            base: map(None, None)?,
            taken: AtomicBool::new(false),
        })))
    }

    /// Whether the device's ring in the window has something to read: a hint. Never if there
    /// is no segment.
    #[inline]
    pub fn may_have(&self) -> bool {
        // SAFETY: the window is mapped for good and aligned, and what is in there are atomics.
        let lines = unsafe { lines(self.base, Direction::ToDevice) };
        lines.may_have()
    }

    /// Asks the host to ring when it writes something, for a thread that looks with
    /// [`Self::may_have`] once more before it sleeps.
    pub fn sleep(&self) {
        // SAFETY: as in `may_have`.
        unsafe { lines(self.base, Direction::ToDevice) }.sleep();
    }

    /// Sleeps no more.
    pub fn awake(&self) {
        // SAFETY: as in `may_have`.
        unsafe { lines(self.base, Direction::ToDevice) }.awake();
    }
}

/// # Safety
///
/// `base` is that of a window or a segment, which outlives the reference.
#[inline]
unsafe fn lines<'a>(base: NonNull<u8>, direction: Direction) -> &'a Lines {
    // SAFETY: the lines are within what is mapped and aligned to its pages; any bytes are
    // valid for atomics.
    unsafe { &*base.as_ptr().add(direction as usize * LINES_BYTES).cast() }
}

/// A new memory file for a segment, all zeros, with all of its pages, sealed.
///
/// # Errors
///
/// Of the system calls that make it.
pub fn file() -> io::Result<OwnedFd> {
    let file = file::sealed(c"accelerator-rings", BYTES as u64)?;
    // A page that is missing later would end the process.
    // SAFETY: no pointers are passed.
    if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, BYTES as libc::off_t) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

impl Segment {
    /// Maps a file of [`file()`] in a window.
    ///
    /// # Errors
    ///
    /// There is a segment already, or those of `mmap`.
    pub fn in_window(file: BorrowedFd<'_>, window: &'static Window) -> io::Result<Arc<Self>> {
        if window.taken.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match map(Some(file), Some(window.base)) {
            Ok(base) => Ok(Arc::new(Self {
                base,
                window: Some(window),
            })),
            Err(e) => {
                window.taken.store(false, Ordering::Release);
                Err(e)
            }
        }
    }

    /// Maps the file of another process, after a look whether it is what it has to be: one
    /// that could shrink would end whoever uses it.
    ///
    /// # Errors
    ///
    /// `InvalidData` if it is something else, and those of the system calls.
    pub fn of_other(file: BorrowedFd<'_>) -> io::Result<Arc<Self>> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        let needed = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        if crate::file::seals(file) & needed != needed {
            return Err(invalid("the memory file is not sealed".into()));
        }
        let file_ = File::from(file.try_clone_to_owned()?);
        let length = file_.metadata()?.len();
        if length != BYTES as u64 {
            return Err(invalid(format!(
                "the memory file has {length} bytes, expected {BYTES}"
            )));
        }
        Ok(Arc::new(Self {
            base: map(Some(file), None)?,
            window: None,
        }))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        match self.window {
            Some(window) => {
                // If there are no zeros to be had, the segment stays, which is as good for a
                // look from outside; the window is not used again then.
                if map(None, Some(window.base)).is_ok() {
                    window.taken.store(false, Ordering::Release);
                }
            }
            // SAFETY: it is mapped with so many bytes, and nobody has a reference any more.
            None => unsafe {
                libc::munmap(self.base.as_ptr().cast(), BYTES);
            },
        }
    }
}

/// One ring of a segment.
#[derive(Clone, Debug)]
pub struct Half {
    segment: Arc<Segment>,
    direction: Direction,
}

impl Half {
    /// The ring of that direction.
    pub fn new(segment: &Arc<Segment>, direction: Direction) -> Self {
        Self {
            segment: Arc::clone(segment),
            direction,
        }
    }
}

impl Memory for Half {
    fn lines(&self) -> &Lines {
        // SAFETY: the segment is mapped while we have it.
        unsafe { lines(self.segment.base, self.direction) }
    }

    fn data(&self) -> &[AtomicU64] {
        let at = 2 * LINES_BYTES + self.direction as usize * RING_BYTES;
        // SAFETY: within the segment, which is mapped while we have it, aligned to its pages;
        // any bytes are valid for atomics.
        unsafe {
            std::slice::from_raw_parts(self.segment.base.as_ptr().add(at).cast(), RING_BYTES / 8)
        }
    }
}

/// The page of a segment with the permission.
#[derive(Clone, Debug)]
pub struct PermitPage(Arc<Segment>);

impl PermitPage {
    /// Of that segment.
    pub fn new(segment: &Arc<Segment>) -> Self {
        Self(Arc::clone(segment))
    }
}

impl permit::Page for PermitPage {
    fn words(&self) -> &[AtomicU64] {
        // SAFETY: within the segment, which is mapped while we have it, aligned to its pages;
        // any bytes are valid for atomics.
        unsafe {
            std::slice::from_raw_parts(self.0.base.as_ptr().add(PERMIT).cast(), permit::WORDS)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, FromRawFd};

    use super::*;

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let refused = |fd: OwnedFd, text: &str| {
            let e = Segment::of_other(fd.as_fd()).unwrap_err();
            assert!(e.to_string().contains(text), "{e}");
        };
        let file = |flags, bytes: u64, seals: i32| {
            // SAFETY: the name ends with a zero, and the descriptor is new.
            let file = unsafe { File::from_raw_fd(libc::memfd_create(c"test".as_ptr(), flags)) };
            file.set_len(bytes).unwrap();
            // SAFETY: no pointers are passed.
            unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
            OwnedFd::from(file)
        };
        let sealing = libc::MFD_ALLOW_SEALING;
        let both = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        refused(File::open("/dev/null").unwrap().into(), "not sealed");
        refused(file(0, BYTES as u64, 0), "not sealed");
        refused(file(sealing, BYTES as u64, libc::F_SEAL_GROW), "not sealed");
        refused(file(sealing, BYTES as u64 - 1, both), "bytes, expected");
        Segment::of_other(file(sealing, BYTES as u64, both).as_fd()).unwrap();
    }

    #[test]
    fn a_window_has_one_segment_at_a_time_and_is_there_for_good() {
        let window = Window::new().unwrap();
        assert!(!window.may_have());
        for _ in 0..3 {
            let file = file().unwrap();
            let segment = Segment::in_window(file.as_fd(), window).unwrap();
            let e = Segment::in_window(file.as_fd(), window).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::AlreadyExists);
            let other = Segment::of_other(file.as_fd()).unwrap();
            let mut producer = crate::ring::Producer::new(Half::new(&other, Direction::ToDevice));
            assert!(producer.push(b"there", false).unwrap());
            assert!(window.may_have());
            drop(segment);
            assert!(!window.may_have());
        }
    }
}
