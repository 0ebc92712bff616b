// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of the host that the device reaches by itself.
//!
//! The host hands over the files that its memory lies in, and lists which addresses are where
//! in them; the [permission](crate::permit) to use them comes and goes. What is not in the
//! list, or not wholly, is for the host to do.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
    sync::{
        atomic::{fence, AtomicU64, AtomicUsize, Ordering},
        Arc, Mutex, PoisonError,
    },
};

use crate::{
    copy,
    permit::{Area, Page, Visitor},
};

/// Bytes that a bit of the marks stands for, and that areas are a multiple of.
pub const PAGE: u64 = 4096;

/// Files that a host hands over in a session, at most.
const FILES: usize = 64;

/// A file that is mapped as a whole.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    bytes: u64,
}

// SAFETY: the memory is used through atomics only, which is sound from any thread, whatever
// other processes do to it: it cannot shrink.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Whether nobody can make a file shorter: a use of what was cut off would end the process.
///
/// # Errors
///
/// `InvalidData` if it can be made shorter.
pub fn check_sealed(file: BorrowedFd<'_>) -> io::Result<()> {
    if crate::file::seals(file) & libc::F_SEAL_SHRINK == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is not sealed against shrinking",
        ));
    }
    Ok(())
}

impl Mapping {
    fn new(file: OwnedFd) -> io::Result<Self> {
        use std::os::fd::AsFd;
        check_sealed(file.as_fd())?;
        let file = File::from(file);
        let bytes = file.metadata()?.len();
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: no memory that is there is touched.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // A core dump of the simulator has no use for the guest's memory.
        // SAFETY: what was just mapped.
        unsafe { libc::madvise(base, length, libc::MADV_DONTDUMP) };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { base, bytes })
    }

    /// Where so many bytes at `offset` are, if they are in the file.
    fn at(&self, offset: u64, bytes: u64) -> Option<*mut u8> {
        let end = offset.checked_add(bytes)?;
        (end <= self.bytes).then(|| self.base.as_ptr().wrapping_add(offset as usize))
    }

    /// Whether one of the bits from `first` to `last` is set, or not in the file.
    fn has_mark(&self, first: u64, last: u64) -> bool {
        (first / 64..=last / 64).any(|word| {
            let Some(at) = word.checked_mul(8).and_then(|o| self.at(o, 8)) else {
                return true;
            };
            let low = if word == first / 64 { first % 64 } else { 0 };
            let high = if word == last / 64 { last % 64 } else { 63 };
            let mask = (u64::MAX << low) & (u64::MAX >> (63 - high));
            // SAFETY: in the file, and aligned since the offset is.
            let bits = unsafe { AtomicU64::from_ptr(at.cast()) };
            bits.load(Ordering::Acquire) & mask != 0
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with so many bytes, and nobody uses it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes as usize) };
    }
}

/// The files that were handed over in a session. One thread adds, another uses them.
#[derive(Debug, Default)]
pub struct Files {
    /// Nothing in place of one that cannot be used.
    files: Mutex<Vec<Option<Arc<Mapping>>>>,
    count: AtomicUsize,
}

impl Files {
    /// Adds the next file.
    ///
    /// # Errors
    ///
    /// It is not sealed, cannot be mapped, or is one too many. What lies in it is for the
    /// host to do.
    pub fn add(&self, file: OwnedFd) -> io::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= FILES {
            return Err(io::Error::other(format!(
                "more than {FILES} files of memory"
            )));
        }
        let (mapping, result) = match Mapping::new(file) {
            Ok(mapping) => (Some(Arc::new(mapping)), Ok(())),
            Err(e) => (None, Err(e)),
        };
        files.push(mapping);
        self.count.store(files.len(), Ordering::Release);
        result
    }
}

/// An area that was checked.
#[derive(Debug)]
struct Place {
    area: Area,
    file: Arc<Mapping>,
    marks: Option<Arc<Mapping>>,
}

impl Place {
    /// Of an area whose files are here, if all that it says is true.
    fn new(area: &Area, files: &[Option<Arc<Mapping>>]) -> Option<Self> {
        let file = |number: u32| files.get(number as usize).cloned().flatten();
        let aligned = (area.address | area.bytes | area.offset) % PAGE == 0;
        area.address.checked_add(area.bytes)?;
        let (file, marks) = match area.marks {
            Some(marks) => {
                marks.first.checked_add(area.bytes / PAGE)?;
                (file(area.file)?, Some(file(marks.file)?))
            }
            None => (file(area.file)?, None),
        };
        file.at(area.offset, area.bytes)?;
        aligned.then_some(Self {
            area: *area,
            file,
            marks,
        })
    }

    /// Where so many bytes at `address` are, if all of them are here.
    fn at(&self, address: u64, bytes: usize) -> Option<*mut u8> {
        let skip = address.checked_sub(self.area.address)?;
        let left = self.area.bytes.checked_sub(skip)?;
        (bytes as u64 <= left).then_some(())?;
        self.file.at(self.area.offset + skip, bytes as u64)
    }

    /// Whether the host has translated code of a page there. At least one byte.
    fn is_marked(&self, address: u64, bytes: usize) -> bool {
        let (Some(file), Some(marks)) = (&self.marks, self.area.marks) else {
            return false;
        };
        let skip = address - self.area.address;
        let last = skip + (bytes as u64 - 1);
        file.has_mark(marks.first + skip / PAGE, marks.first + last / PAGE)
    }
}

/// What the device reaches. Used by one thread at a time.
#[derive(Debug)]
pub struct Reach<P> {
    visitor: Visitor<P>,
    files: Arc<Files>,
    places: Vec<Place>,
    /// Files that were there when `places` was made.
    known: usize,
    /// Place of the last access.
    last: usize,
}

/// What a [`Reach`] has come to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Areas that can be used.
    pub areas: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl<P: Page> Reach<P> {
    /// Of a page of zeros, and files that are to come.
    pub fn new(page: P, files: Arc<Files>) -> Self {
        Self {
            visitor: Visitor::new(page),
            files,
            places: Vec::new(),
            known: 0,
            last: 0,
        }
    }

    /// What can be reached at the moment, as far as was looked.
    pub fn known(&self) -> Known {
        Known {
            areas: self.places.len(),
            bytes: self.places.iter().map(|p| p.area.bytes).sum(),
        }
    }

    /// Enters and calls `f` with where so many bytes at `address` are; how many `f` has
    /// read and written.
    fn with(
        &mut self,
        address: u64,
        bytes: usize,
        write: bool,
        f: impl FnOnce(*mut u8) -> usize,
    ) -> bool {
        let Some(mut visit) = self.visitor.enter() else {
            return false;
        };
        let count = self.files.count.load(Ordering::Acquire);
        if visit.is_new || count != self.known {
            let files = self.files.files.lock();
            let files = files.unwrap_or_else(PoisonError::into_inner);
            self.places.clear();
            self.places
                .extend(visit.areas().iter().filter_map(|a| Place::new(a, &files)));
            self.known = files.len();
        }
        let found = |place: &Place| place.at(address, bytes);
        let (index, at) = match self.places.get(self.last).and_then(found) {
            Some(at) => (self.last, at),
            None => {
                let mut places = self.places.iter().enumerate();
                match places.find_map(|(i, p)| Some((i, found(p)?))) {
                    Some(found) => found,
                    None => return false,
                }
            }
        };
        self.last = index;
        let place = &self.places[index];
        if write && (!place.area.writable || place.is_marked(address, bytes)) {
            return false;
        }
        let done = f(at) as u64;
        if write {
            visit.has_written(done);
        } else {
            visit.has_read(done);
        }
        true
    }

    /// Fills `data` from `address`. False, and nothing is read, if the host has to do it.
    pub fn read(&mut self, address: u64, data: &mut [u8]) -> bool {
        // What the host said before is seen by now; what it has written before that as well.
        let bytes = data.len();
        bytes != 0
            && self.with(address, bytes, false, |at| {
                // SAFETY: in a file that is mapped and cannot shrink; others are processes,
                // or use atomics as we do.
                unsafe { copy::read(at, data) };
                // What comes from the host after this read may have been sent before it.
                fence(Ordering::Acquire);
                bytes
            })
    }

    /// Writes `data` to `address`, or what of it is enabled (as for [`copy::write_enabled`]).
    /// False, and nothing is written, if the host has to do it.
    pub fn write(&mut self, address: u64, data: &[u8], enables: Option<&[u8]>) -> bool {
        !data.is_empty()
            && self.with(address, data.len(), true, |at| {
                // Never before an earlier write.
                fence(Ordering::Release);
                // SAFETY: as in `read`.
                unsafe {
                    match enables {
                        None => {
                            copy::write(at, data);
                            data.len()
                        }
                        Some(enables) => copy::write_enabled(at, data, enables),
                    }
                }
            })
    }
}
