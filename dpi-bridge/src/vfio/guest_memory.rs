// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guest memory, as a client tells of it with DMA_MAP and DMA_UNMAP.
//!
//! A file that is sealed against shrinking, as QEMU's `memory-backend-memfd` is, is mapped: an
//! access then cannot end the process (`SIGBUS`), whatever the client does. All other files are
//! read and written by system calls, which can only fail.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileExt, MetadataExt},
    },
    sync::atomic::{fence, Ordering},
};

use accelerator_carrier::copy;
use accelerator_protocol::wire::Status;

use super::wire::{MAP_READ, MAP_WRITE, MAX_MAPS};

/// How an area is reached.
enum Way {
    /// The file is mapped.
    Mapped(Map),
    /// By system calls; the offset of the area in the file.
    File(File, u64),
    /// Not at all: it came without a descriptor.
    None,
}

/// An area of guest memory.
struct Area {
    bytes: u64,
    readable: bool,
    writable: bool,
    way: Way,
    /// Device and number of its file.
    file: Option<(u64, u64)>,
}

/// A mapping of a part of a file.
struct Map {
    /// Of whole pages.
    base: *mut libc::c_void,
    length: usize,
    /// Where the area begins within it.
    skip: usize,
}

// SAFETY: the pointer is that of a mapping that nobody else unmaps.
unsafe impl Send for Map {}

impl Map {
    fn new(file: &File, offset: u64, bytes: u64, write: bool) -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
        let skip = offset % page;
        let too_much = || io::Error::from(io::ErrorKind::InvalidInput);
        let length = usize::try_from(bytes + skip).map_err(|_| too_much())?;
        let at = libc::off_t::try_from(offset - skip).map_err(|_| too_much())?;
        let access = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        // SAFETY: the kernel chooses a place that is free.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                access,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                at,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            base,
            length,
            skip: skip as usize,
        })
    }

    /// Where byte `at` of the area is, which is within.
    fn at(&self, at: u64) -> *mut u8 {
        self.base.cast::<u8>().wrapping_add(self.skip + at as usize)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nobody keeps pointers to it.
        unsafe { libc::munmap(self.base, self.length) };
    }
}

/// Why DMA is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No memory is there, or not all of it.
    Nothing,
    /// It may not be read or written.
    Forbidden,
    /// There is memory, but it came without a descriptor.
    NoFile,
    /// The file has failed.
    File,
}

impl Fault {
    /// The status that the RTL gets.
    pub const fn status(self) -> Status {
        match self {
            Self::Forbidden => Status::Refused,
            _ => Status::Fault,
        }
    }

    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Nothing => "no memory of the guest is there",
            Self::Forbidden => "the guest's memory there may not be accessed in this way",
            Self::NoFile => "the memory there is no shared file (a ROM, that of a device, or a VM without share=on)",
            Self::File => "the file of the guest's memory cannot be accessed there",
        }
    }
}

/// How the guest's main memory is, which is its largest area that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Main {
    /// The client has told of none.
    Nothing,
    /// It came without a descriptor.
    NoFile,
    /// In this file: device and number.
    File(u64, u64),
}

/// All areas, by address.
#[derive(Default)]
pub struct GuestMemory(BTreeMap<u64, Area>);

/// Whether the size of a file cannot become less.
fn is_sealed(file: &File) -> bool {
    // SAFETY: no pointers are passed.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals > 0 && seals & libc::F_SEAL_SHRINK != 0
}

impl GuestMemory {
    /// DMA_MAP.
    ///
    /// # Errors
    ///
    /// What is wrong with it; nothing has changed then.
    pub fn map(
        &mut self,
        address: u64,
        bytes: u64,
        flags: u32,
        offset: u64,
        file: Option<OwnedFd>,
    ) -> Result<(), String> {
        let area = || format!("{bytes:#x} bytes at {address:#x}");
        if bytes == 0 || address.checked_add(bytes - 1).is_none() {
            return Err(format!("{} are no area of guest memory", area()));
        }
        if flags & !(MAP_READ | MAP_WRITE) != 0 || flags == 0 {
            return Err(format!("{} have flags {flags:#x}, expected 1 to 3", area()));
        }
        if self.0.len() >= MAX_MAPS {
            return Err(format!("there are {MAX_MAPS} areas, the most that may be"));
        }
        if self
            .touched(address, address + (bytes - 1))
            .next()
            .is_some()
        {
            return Err(format!("{} overlap an area that is there", area()));
        }
        let (writable, mut number) = (flags & MAP_WRITE != 0, None);
        let way = match file.map(File::from) {
            None => Way::None,
            Some(file) => {
                let failed = |e: io::Error| format!("the file of {}: {e}", area());
                let meta = file.metadata().map_err(failed)?;
                let end = offset.checked_add(bytes);
                if !meta.is_file() || end.is_none_or(|end| end > meta.len()) {
                    return Err(format!(
                        "{} are not within their file, from {offset:#x} of {:#x} bytes on",
                        area(),
                        meta.len()
                    ));
                }
                number = Some((meta.dev(), meta.ino()));
                if is_sealed(&file) {
                    Way::Mapped(Map::new(&file, offset, bytes, writable).map_err(failed)?)
                } else {
                    Way::File(file, offset)
                }
            }
        };
        let area = Area {
            bytes,
            readable: flags & MAP_READ != 0,
            writable,
            way,
            file: number,
        };
        self.0.insert(address, area);
        Ok(())
    }

    /// Areas that have a byte between `first` and `last`, by their addresses.
    fn touched(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, &Area)> {
        let below = self.0.range(..first).next_back();
        let below = below.filter(|(at, area)| first - *at < area.bytes);
        let within = self.0.range(first..=last);
        below
            .into_iter()
            .chain(within)
            .map(|(at, area)| (*at, area))
    }

    /// DMA_UNMAP of all areas within; how many bytes.
    ///
    /// # Errors
    ///
    /// An area is there in part only; then nothing has changed.
    pub fn unmap(&mut self, address: u64, bytes: u64) -> Result<u64, String> {
        let last = bytes.checked_sub(1).and_then(|b| address.checked_add(b));
        let last = last.ok_or_else(|| format!("{bytes:#x} bytes at {address:#x} are no area"))?;
        let part = |(at, area): &(u64, &Area)| *at < address || at + (area.bytes - 1) > last;
        if let Some((at, area)) = self.touched(address, last).find(part) {
            return Err(format!(
                "{bytes:#x} bytes at {address:#x} are a part of the area of {:#x} bytes at {at:#x}",
                area.bytes
            ));
        }
        let gone: Vec<u64> = self.0.range(address..=last).map(|(at, _)| *at).collect();
        Ok(gone
            .iter()
            .filter_map(|at| self.0.remove(at))
            .map(|a| a.bytes)
            .sum())
    }

    /// DMA_UNMAP of everything; how many bytes.
    pub fn unmap_all(&mut self) -> u64 {
        let bytes = self.0.values().fold(0, |n: u64, a| n.wrapping_add(a.bytes));
        self.0.clear();
        bytes
    }

    /// How the guest's main memory is.
    pub fn main(&self) -> Main {
        let writable = self.0.values().filter(|a| a.writable);
        match writable.max_by_key(|a| a.bytes).map(|a| a.file) {
            None => Main::Nothing,
            Some(None) => Main::NoFile,
            Some(Some((device, number))) => Main::File(device, number),
        }
    }

    /// Whether `part` can be taken with each piece of an area that it lies in.
    fn pieces(
        &self,
        address: u64,
        bytes: usize,
        mut take: impl FnMut(&Area, u64, Range<usize>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < bytes {
            let at = address.checked_add(done as u64).ok_or(Fault::Nothing)?;
            let (begin, area) = self.touched(at, at).next().ok_or(Fault::Nothing)?;
            let within = at - begin;
            let left = usize::try_from(area.bytes - within).unwrap_or(usize::MAX);
            let end = bytes.min(done.saturating_add(left));
            take(area, within, done..end)?;
            done = end;
        }
        Ok(())
    }

    /// Looks at all of it first, so that nothing is done in part.
    fn check(&self, address: u64, bytes: usize, write: bool) -> Result<(), Fault> {
        self.pieces(address, bytes, |area, _, _| {
            if matches!(area.way, Way::None) {
                Err(Fault::NoFile)
            } else if write && !area.writable || !write && !area.readable {
                Err(Fault::Forbidden)
            } else {
                Ok(())
            }
        })
    }

    /// Fills `data` from `address`.
    ///
    /// # Errors
    ///
    /// Why not; `data` holds anything then.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Fault> {
        self.check(address, data.len(), false)?;
        self.pieces(address, data.len(), |area, at, part| {
            let data = &mut data[part];
            match &area.way {
                // SAFETY: in a file that is mapped and cannot shrink, and within the area, as
                // `pieces` has it; others are processes.
                Way::Mapped(map) => unsafe { copy::read(map.at(at), data) },
                Way::File(file, offset) => file
                    .read_exact_at(data, offset + at)
                    .map_err(|_| Fault::File)?,
                Way::None => return Err(Fault::NoFile),
            }
            Ok(())
        })?;
        // What the client sends after this may have been sent before it.
        fence(Ordering::Acquire);
        Ok(())
    }

    /// Writes `data` to `address`, or what of it is enabled, one bit for each byte, lowest
    /// first.
    ///
    /// # Errors
    ///
    /// Why not; nothing is written then, unless a file has failed.
    pub fn write(&self, address: u64, data: &[u8], enables: Option<&[u8]>) -> Result<(), Fault> {
        self.check(address, data.len(), true)?;
        // Never before an earlier write.
        fence(Ordering::Release);
        self.pieces(address, data.len(), |area, at, part| {
            let begin = part.start;
            for run in runs(part, enables) {
                let (data, at) = (&data[run.clone()], at + (run.start - begin) as u64);
                match &area.way {
                    // SAFETY: as in `read`; mapped for writes, which `check` has seen.
                    Way::Mapped(map) => unsafe { copy::write(map.at(at), data) },
                    Way::File(file, offset) => file
                        .write_all_at(data, offset + at)
                        .map_err(|_| Fault::File)?,
                    Way::None => return Err(Fault::NoFile),
                }
            }
            Ok(())
        })?;
        // Never after what tells of it.
        fence(Ordering::SeqCst);
        Ok(())
    }
}

/// The runs of enabled bytes within `part`.
fn runs(part: Range<usize>, enables: Option<&[u8]>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = part.start;
    std::iter::from_fn(move || {
        let Some(enables) = enables else {
            let run = at..part.end;
            at = part.end;
            return (!run.is_empty()).then_some(run);
        };
        let enabled = |i: &usize| enables.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 != 0);
        let begin = (at..part.end).find(enabled)?;
        let end = (begin..part.end).find(|i| !enabled(i)).unwrap_or(part.end);
        at = end;
        Some(begin..end)
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd;

    use super::*;

    const BOTH: u32 = MAP_READ | MAP_WRITE;

    fn file(bytes: u64, sealed: bool) -> File {
        // SAFETY: the name ends with a zero.
        let fd = unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_ALLOW_SEALING) };
        // SAFETY: it is new and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(bytes).unwrap();
        if sealed {
            // SAFETY: no pointers are passed.
            let rc = unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) };
            assert_eq!(rc, 0);
        }
        file
    }

    fn fd(file: &File) -> Option<OwnedFd> {
        Some(file.try_clone().unwrap().into())
    }

    #[test]
    fn areas_of_both_kinds_beside_each_other() {
        let (sealed, plain) = (file(0x3000, true), file(0x3000, false));
        let mut memory = GuestMemory::default();
        memory
            .map(0x1_0000, 0x1000, BOTH, 0x800, fd(&sealed))
            .unwrap();
        memory
            .map(0x1_1000, 0x1000, BOTH, 0x1001, fd(&plain))
            .unwrap();
        let data: Vec<u8> = (0..0x800).map(|i| (i * 7) as u8).collect();
        memory.write(0x1_0c00, &data, None).unwrap();
        let mut back = vec![0; 0x800];
        memory.read(0x1_0c00, &mut back).unwrap();
        assert_eq!(back, data);
        let mut raw = vec![0; 0x400];
        sealed.read_exact_at(&mut raw, 0x800 + 0xc00).unwrap();
        assert_eq!(raw, data[..0x400]);
        plain.read_exact_at(&mut raw, 0x1001).unwrap();
        assert_eq!(raw, data[0x400..]);
        // Holes stay, across the border as well.
        let mut enables = vec![0xff; 4];
        enables[2] = 0b0110_1101;
        memory.write(0x1_0ff0, &[0xee; 32], Some(&enables)).unwrap();
        memory.read(0x1_0ff0, &mut back[..32]).unwrap();
        for i in 0..32 {
            let enabled = enables[i / 8] >> (i % 8) & 1 != 0;
            let expected = if enabled { 0xee } else { data[0x3f0 + i] };
            assert_eq!(back[i], expected, "byte {i}");
        }
        assert_eq!(memory.unmap(0x1_0000, 0x2000), Ok(0x2000));
        assert_eq!(memory.read(0x1_0000, &mut back[..1]), Err(Fault::Nothing));
    }

    #[test]
    fn what_is_not_there_or_not_allowed_faults() {
        let sealed = file(0x2000, true);
        let mut memory = GuestMemory::default();
        memory
            .map(0x1000, 0x1000, MAP_READ, 0, fd(&sealed))
            .unwrap();
        memory
            .map(0x2000, 0x1000, MAP_WRITE, 0x1000, fd(&sealed))
            .unwrap();
        memory.map(0x3000, 0x1000, BOTH, 0, None).unwrap();
        memory
            .map(u64::MAX - 0xfff, 0x1000, BOTH, 0, fd(&sealed))
            .unwrap();
        let mut data = [1; 16];
        for (address, read, write) in [
            (0x1000, Ok(()), Err(Fault::Forbidden)),
            (0x1ff8, Err(Fault::Forbidden), Err(Fault::Forbidden)),
            (0x2000, Err(Fault::Forbidden), Ok(())),
            (0x3000, Err(Fault::NoFile), Err(Fault::NoFile)),
            (0x0ff8, Err(Fault::Nothing), Err(Fault::Nothing)),
            (0x4000, Err(Fault::Nothing), Err(Fault::Nothing)),
            (u64::MAX - 15, Ok(()), Ok(())),
            (u64::MAX - 14, Err(Fault::Nothing), Err(Fault::Nothing)),
        ] {
            assert_eq!(memory.read(address, &mut data), read, "{address:#x}");
            assert_eq!(memory.write(address, &[9; 16], None), write, "{address:#x}");
        }
        // The second half of a write that faults: nothing of it is done.
        assert_eq!(memory.write(0x2ff8, &[7; 16], None), Err(Fault::NoFile));
        sealed.read_exact_at(&mut data[..8], 0x1ff8).unwrap();
        assert_eq!(data[..8], [0; 8]);
    }

    #[test]
    fn a_file_that_becomes_shorter_ends_nothing() {
        let plain = file(0x2000, false);
        let mut memory = GuestMemory::default();
        memory.map(0, 0x2000, BOTH, 0, fd(&plain)).unwrap();
        plain.set_len(0).unwrap();
        assert_eq!(memory.read(0x1000, &mut [0; 8]), Err(Fault::File));
        // One that cannot become shorter does not.
        assert!(file(0x1000, true).set_len(0).is_err());
    }

    #[test]
    fn bad_maps_are_refused_and_change_nothing() {
        let sealed = file(0x2000, true);
        let mut memory = GuestMemory::default();
        memory.map(0x4000, 0x2000, BOTH, 0, None).unwrap();
        for (address, bytes, flags, offset) in [
            (0, 0, BOTH, 0),
            (u64::MAX, 2, BOTH, 0),
            (0, 0x1000, 0, 0),
            (0, 0x1000, 4, 0),
            (0, 0x2001, BOTH, 0),
            (0, 0x1000, BOTH, 0x1001),
            (0, 0x1000, BOTH, u64::MAX),
            (0x3fff, 0x1000, BOTH, 0),
            (0x4fff, 1, BOTH, 0),
            (0x5fff, 0x1000, BOTH, 0),
            (0, 0x1000_0000, BOTH, 0),
        ] {
            let result = memory.map(address, bytes, flags, offset, fd(&sealed));
            assert!(result.is_err(), "{address:#x} {bytes:#x}");
        }
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(memory.map(0, 0x1000, BOTH, 0, fd(&null)).is_err());
        for (address, bytes) in [(0x4000, 0x1fff), (0x4001, 0x2000), (0, 0), (u64::MAX, 2)] {
            assert!(memory.unmap(address, bytes).is_err());
        }
        assert_eq!(memory.unmap(0x6000, 0x1000), Ok(0));
        assert_eq!(memory.unmap_all(), 0x2000);
        for i in 0..MAX_MAPS as u64 {
            memory.map(i, 1, BOTH, 0, None).unwrap();
        }
        assert!(memory.map(0x10_0000, 1, BOTH, 0, None).is_err());
    }

    #[test]
    fn main_memory_is_the_largest() {
        let sealed = file(0x2000, true);
        let mut memory = GuestMemory::default();
        assert_eq!(memory.main(), Main::Nothing);
        memory.map(0x1_0000, 0x1000, BOTH, 0, None).unwrap();
        assert_eq!(memory.main(), Main::NoFile);
        memory.map(0, 0x2000, BOTH, 0, fd(&sealed)).unwrap();
        let number = sealed.metadata().unwrap().ino();
        assert!(matches!(memory.main(), Main::File(_, n) if n == number));
        memory.map(0x10_0000, 0x4000, MAP_READ, 0, None).unwrap();
        assert!(matches!(memory.main(), Main::File(..)));
    }
}
