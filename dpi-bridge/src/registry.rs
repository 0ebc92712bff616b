// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles. A handle is a number in a pointer's clothes, never an address:
//! the low byte is a slot and the rest says which of the bridges that were ever
//! in this slot is meant. So a null, stale or made-up handle is told from a
//! good one without touching memory that is not ours.

use std::{
    any::Any,
    ffi::c_void,
    panic::{catch_unwind, AssertUnwindSafe},
    sync::{
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
        Mutex, MutexGuard, PoisonError,
    },
};

use crate::{
    bridge::Bridge,
    error::{fail, Code, Error, Result},
};

/// Bridges that can be open at once.
pub const MAX_BRIDGES: usize = 64;

struct Entry {
    bridge: Bridge,
    /// Text of the panic after which the bridge cannot be used.
    broken: Option<String>,
    error: Option<Error>,
}

/// Aligned so that two bridges do not share a cache line.
#[repr(align(64))]
struct Slot {
    /// What a poll has to look at, see [`crate::watcher`]; 0 if nothing.
    attention: AtomicU32,
    /// Of the bridge that is here; 0 if there is none.
    generation: AtomicUsize,
    /// From the beginning of `open` to the end of `close`.
    taken: AtomicBool,
    entry: Mutex<Option<Entry>>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            attention: AtomicU32::new(0),
            generation: AtomicUsize::new(0),
            taken: AtomicBool::new(false),
            entry: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Entry>> {
        // A panic inside is caught while the lock is held, so it is never
        // poisoned; if it were, the entry says whether the bridge is usable.
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static SLOTS: [Slot; MAX_BRIDGES] = [const { Slot::new() }; MAX_BRIDGES];

/// Counts the bridges that were opened.
static GENERATIONS: AtomicUsize = AtomicUsize::new(0);

const SLOT_BITS: u32 = 8;

/// The slot that a handle means, if its bridge is (still) there.
#[inline]
fn find(handle: *mut c_void) -> Option<(&'static Slot, usize)> {
    let number = handle as usize;
    let generation = number >> SLOT_BITS;
    let slot = SLOTS.get((number & ((1 << SLOT_BITS) - 1)).wrapping_sub(1))?;
    (generation != 0 && slot.generation.load(Ordering::Acquire) == generation)
        .then_some((slot, generation))
}

/// Whether the bridge has nothing at all to do: what an idle poll costs.
#[inline]
pub fn quiet(handle: *mut c_void) -> bool {
    matches!(find(handle), Some((slot, _)) if slot.attention.load(Ordering::Acquire) == 0)
}

/// Text of what a panic carries.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

/// Puts a bridge in a slot and returns its handle. `make` gets the attention
/// word.
///
/// # Errors
///
/// `Code::Again` if all slots are taken, or the error of `make`.
pub fn open(make: impl FnOnce(&'static AtomicU32) -> Result<Bridge>) -> Result<*mut c_void> {
    let free = |slot: &&Slot| {
        slot.taken
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    let Some((index, slot)) = SLOTS.iter().enumerate().find(|(_, slot)| free(slot)) else {
        fail!(
            Again,
            "{MAX_BRIDGES} bridges are open, the most that may be; close one with acc_close"
        );
    };
    let bridge = match make(&slot.attention) {
        Ok(bridge) => bridge,
        Err(e) => {
            slot.taken.store(false, Ordering::Release);
            return Err(e);
        }
    };
    // Never 0, also after the counter has wrapped around.
    let limit = usize::MAX >> SLOT_BITS;
    let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) % limit + 1;
    *slot.lock() = Some(Entry {
        bridge,
        broken: None,
        error: None,
    });
    slot.generation.store(generation, Ordering::Release);
    Ok((generation << SLOT_BITS | (index + 1)) as *mut c_void)
}

fn unknown(handle: *mut c_void) -> Error {
    Error::new(
        Code::Invalid,
        if handle.is_null() {
            "the handle is null: acc_open failed, or was not called".to_owned()
        } else {
            format!("{handle:p} is no handle of an open bridge")
        },
    )
}

/// Runs `f` on the bridge of a handle. What it returns as an error, or a panic
/// in it, is kept for [`last_error`].
///
/// # Errors
///
/// `Code::Invalid` for an unknown handle, `Code::Panic` after a panic, and
/// those of `f`. The first is for the caller to keep: no bridge has it.
pub fn with<T>(
    handle: *mut c_void,
    name: &str,
    f: impl FnOnce(&mut Bridge) -> Result<T>,
) -> Result<T> {
    let (slot, generation) = find(handle).ok_or_else(|| unknown(handle))?;
    let mut entry = slot.lock();
    // Another thread can have closed it meanwhile.
    let entry = match &mut *entry {
        Some(entry) if slot.generation.load(Ordering::Acquire) == generation => entry,
        _ => return Err(unknown(handle)),
    };
    let result = match &entry.broken {
        Some(text) => Err(Error::new(
            Code::Panic,
            format!("{name} after a panic: {text}"),
        )),
        // A bridge is never used again after a panic, so whatever state it is
        // left in is not seen.
        None => catch_unwind(AssertUnwindSafe(|| f(&mut entry.bridge))).unwrap_or_else(|payload| {
            let text = panic_text(&*payload);
            slot.attention
                .fetch_or(crate::watcher::LOCAL, Ordering::AcqRel);
            log::error!(target: entry.bridge.target(), "panic in {name}: {text}");
            let e = Error::new(Code::Panic, format!("panic in {name}: {text}"));
            entry.broken = Some(text);
            Err(e)
        }),
    };
    if let Err(e) = &result {
        entry.error = Some(e.clone());
    }
    result
}

/// Text of the last error of a bridge; empty if there was none.
///
/// # Errors
///
/// For an unknown handle.
pub fn last_error(handle: *mut c_void) -> Result<String> {
    let (slot, generation) = find(handle).ok_or_else(|| unknown(handle))?;
    let entry = slot.lock();
    match &*entry {
        Some(entry) if slot.generation.load(Ordering::Acquire) == generation => {
            Ok(entry.error.as_ref().map_or(String::new(), Error::to_string))
        }
        _ => Err(unknown(handle)),
    }
}

/// Closes a bridge; its handle means nothing afterwards.
///
/// # Errors
///
/// `Code::Invalid` for an unknown handle, `Code::Panic` if closing panicked;
/// the handle is gone in that case too.
pub fn close(handle: *mut c_void) -> Result<()> {
    let (slot, generation) = find(handle).ok_or_else(|| unknown(handle))?;
    let entry = {
        let mut entry = slot.lock();
        if slot.generation.load(Ordering::Acquire) != generation {
            return Err(unknown(handle));
        }
        slot.generation.store(0, Ordering::Release);
        entry.take()
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        if let Some(entry) = entry {
            entry.bridge.close();
        }
    }));
    slot.taken.store(false, Ordering::Release);
    result.map_err(|payload| {
        Error::new(
            Code::Panic,
            format!("panic in acc_close: {}", panic_text(&*payload)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(attention: &'static AtomicU32) -> Result<Bridge> {
        Ok(Bridge::new("test", "tcp://127.0.0.1:1".into(), attention))
    }

    #[test]
    fn unknown_handles_are_told() {
        for number in [
            0_usize,
            1,
            0xff,
            0x100,
            0x1ff,
            0x101 << 20,
            usize::MAX,
            usize::MAX - 0xfe,
            &SLOTS as *const _ as usize,
        ] {
            let handle = number as *mut c_void;
            let e = with(handle, "acc_poll", |_| Ok(())).unwrap_err();
            assert_eq!(e.code, Code::Invalid, "{number:#x}");
            assert!(!quiet(handle));
            assert_eq!(close(handle).unwrap_err().code, Code::Invalid);
            assert!(last_error(handle).is_err());
        }
    }

    #[test]
    fn a_closed_handle_stays_unknown() {
        let first = open(bridge).unwrap();
        with(first, "acc_poll", |_| Ok(())).unwrap();
        close(first).unwrap();
        let second = open(bridge).unwrap();
        assert_ne!(first, second);
        assert_eq!(
            with(first, "acc_poll", |_| Ok(())).unwrap_err().code,
            Code::Invalid
        );
        assert_eq!(close(first).unwrap_err().code, Code::Invalid);
        close(second).unwrap();
    }

    #[test]
    fn a_panic_is_an_error_and_breaks_only_its_bridge() {
        let broken = open(bridge).unwrap();
        let good = open(bridge).unwrap();
        let e = with::<()>(broken, "acc_msix", |_| panic!("on purpose {}", 7)).unwrap_err();
        assert_eq!(e.code, Code::Panic);
        assert_eq!(e.text, "panic in acc_msix: on purpose 7");
        assert_eq!(last_error(broken).unwrap(), e.text);
        let e = with(broken, "acc_poll", |_| Ok(())).unwrap_err();
        assert_eq!(e.code, Code::Panic);
        assert_eq!(e.text, "acc_poll after a panic: on purpose 7");
        assert!(!quiet(broken));
        with(good, "acc_poll", |_| Ok(())).unwrap();
        assert_eq!(last_error(good).unwrap(), "");
        close(broken).unwrap();
        close(good).unwrap();
    }
}
