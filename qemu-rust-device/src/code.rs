// SPDX-License-Identifier: GPL-2.0-or-later

//! Marks of the pages that TCG has translated code of.
//!
//! A simulator that reaches guest memory by itself writes there without TCG noticing, which
//! would go on with the code that it has translated. So TCG tells us which pages hold such
//! code; they are marked in a file that simulators get, and DMA to a marked page comes as a
//! message, and to QEMU's own function for writing, which drops the code and with it the mark.
//!
//! A page is marked before its code can run. A simulator that may have looked just before is
//! waited for; see [`accelerator_carrier::permit`].

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
    sync::{
        atomic::{fence, AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
};

use accelerator_carrier::{file, permit::wait_until_left, reach::PAGE, segment::PermitPage};
use once_cell::sync::OnceCell;

use crate::{
    bindings,
    link::direct::{self, Shareable},
};

/// Bytes of RAM that marks are for: what lies beyond is not reached without a message.
pub const LIMIT: u64 = 1 << 40;

/// Bytes of the file. Only those are taken that a mark was in.
const BYTES: u64 = LIMIT / PAGE / 8;

/// The marks, for all of this process.
struct Marks {
    file: Arc<Shareable>,
    words: NonNull<AtomicU64>,
}

// SAFETY: the words are atomic and mapped for good.
unsafe impl Send for Marks {}
// SAFETY: as above.
unsafe impl Sync for Marks {}

static MARKS: OnceCell<Marks> = OnceCell::new();

/// A device with a session whose simulator may be in the middle of a copy.
struct Gate {
    device: usize,
    page: PermitPage,
    /// It was waited for in vain.
    stuck: bool,
}

static GATES: Mutex<Vec<Gate>> = Mutex::new(Vec::new());

fn gates() -> MutexGuard<'static, Vec<Gate>> {
    GATES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Marks {
    fn new() -> io::Result<Self> {
        let file = Shareable::new(file::sealed(c"accelerator-code", BYTES)?)?;
        // Last, since a guest can have this tried again and again, and nobody would unmap it.
        // SAFETY: no memory that is there is touched.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BYTES as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            file,
            words: NonNull::new(base.cast()).ok_or(io::ErrorKind::Other)?,
        })
    }

    /// The word with the mark of a page, and the mark. `None` beyond the limit.
    fn of(&self, page: u64) -> Option<(&AtomicU64, u64)> {
        let at = (page < LIMIT / PAGE).then_some(page / 64)?;
        // SAFETY: within the file, which is mapped for good; any bytes are valid for atomics.
        let word = unsafe { &*self.words.as_ptr().add(at as usize) };
        Some((word, 1 << (page % 64)))
    }
}

/// Whether TCG runs the guest.
fn is_tcg() -> bool {
    // SAFETY: looks at a variable.
    unsafe { bindings::tcg_allowed }
}

/// The file with the marks, which are right from now on, or nothing if no code is translated.
///
/// # Errors
///
/// The system has no memory for it.
pub fn marks() -> io::Result<Option<Arc<Shareable>>> {
    if !is_tcg() {
        return Ok(None);
    }
    if let Some(marks) = MARKS.get() {
        return Ok(Some(Arc::clone(&marks.file)));
    }
    // Under the big lock, so nobody comes between.
    let marks = MARKS.get_or_try_init(Marks::new)?;
    // SAFETY: the function is there for good and may be called by any thread.
    unsafe { bindings::cpu_watch_code(Some(changed)) };
    Ok(Some(Arc::clone(&marks.file)))
}

/// The simulator of a device may copy while it is inside, as this page tells, or has no
/// session any more.
pub fn gate(device: usize, page: Option<&PermitPage>) {
    let mut gates = gates();
    gates.retain(|g| g.device != device);
    gates.extend(page.map(|page| Gate {
        device,
        page: page.clone(),
        stuck: false,
    }));
}

/// TCG has translated code of a page, or none of it is left. Called with TCG's lock of that
/// page.
unsafe extern "C" fn changed(address: u64, bytes: u64, has_code: bool) {
    let Some(marks) = MARKS.get() else { return };
    if has_code {
        for page in address / PAGE..(address + bytes).div_ceil(PAGE) {
            if let Some((word, mark)) = marks.of(page) {
                word.fetch_or(mark, Ordering::Relaxed);
            }
        }
        fence(Ordering::SeqCst);
        for gate in &mut *gates() {
            let mut wait = direct::patiently(direct::LIMIT);
            let left = wait_until_left(&gate.page, || !gate.stuck && wait());
            gate.stuck = !left;
        }
    } else if bytes >= PAGE {
        for page in address / PAGE..(address + bytes) / PAGE {
            if let Some((word, mark)) = marks.of(page) {
                word.fetch_and(!mark, Ordering::Release);
            }
        }
    }
    // Of smaller pages others may have code, so the mark stays.
}
