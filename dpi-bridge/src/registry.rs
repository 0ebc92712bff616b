// SPDX-License-Identifier: MIT OR Apache-2.0

//! Handles. A handle is a number in a pointer's clothes, never an address:
//! the low byte is a slot and the rest says which of the bridges and channels
//! that were ever in this slot is meant. So a null, stale or made-up handle is
//! told from a good one without touching memory that is not ours.

use std::{
    any::Any,
    ffi::c_void,
    panic::{catch_unwind, AssertUnwindSafe},
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        Mutex, MutexGuard, PoisonError,
    },
    time::Duration,
};

use crate::{
    error::{fail, Code, Error, Result},
    words::{self, Words, LOCAL, TIMED},
};

/// Bridges and channels that can be open at once.
pub const MAX_BRIDGES: usize = 64;

/// What a handle can stand for. The registry knows no more of it.
pub trait Behind: Any + Send + Sized {
    /// Its name, for messages.
    const WHAT: &'static str;

    /// Its number in handles, 1 to 3, which no other has.
    const KIND: usize;

    /// Where QEMU connects to.
    fn endpoint(&self) -> &str;

    /// The name as log lines show it.
    fn target(&self) -> &str;

    /// Says goodbye and closes the socket.
    fn close(self);
}

/// One of them, whichever it is.
trait Object: Send {
    fn what(&self) -> &'static str;
    fn endpoint(&self) -> &str;
    fn target(&self) -> &str;
    fn close(self: Box<Self>);
    fn any(&mut self) -> &mut dyn Any;
}

impl<T: Behind> Object for T {
    fn what(&self) -> &'static str {
        T::WHAT
    }

    fn endpoint(&self) -> &str {
        Behind::endpoint(self)
    }

    fn target(&self) -> &str {
        Behind::target(self)
    }

    fn close(self: Box<Self>) {
        Behind::close(*self);
    }

    fn any(&mut self) -> &mut dyn Any {
        self
    }
}

struct Entry {
    object: Box<dyn Object>,
    /// Text of the panic after which the bridge cannot be used.
    broken: Option<String>,
    error: Option<Error>,
}

/// Aligned so that two bridges do not share a cache line.
#[repr(align(64))]
struct Slot {
    words: Words,
    /// Of what is here; 0 if there is nothing.
    generation: AtomicUsize,
    /// Of what was closed here since its endpoint was opened anew; 0 if nothing
    /// was.
    superseded: AtomicUsize,
    /// From the beginning of `open` to the end of `close`.
    taken: AtomicBool,
    /// Its RTL has nothing to do, as its last call has said.
    idle: AtomicBool,
    entry: Mutex<Option<Entry>>,
}

impl Slot {
    const fn new() -> Self {
        Self {
            words: Words::new(),
            generation: AtomicUsize::new(0),
            superseded: AtomicUsize::new(0),
            taken: AtomicBool::new(false),
            idle: AtomicBool::new(false),
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

/// Counts what was opened.
static GENERATIONS: AtomicUsize = AtomicUsize::new(0);

const SLOT_BITS: u32 = 8;

/// The lowest bits of a generation tell the kind, so that a poll without a lock
/// does not take one for another.
const KIND_BITS: u32 = 2;

const fn is_kind<T: Behind>(generation: usize) -> bool {
    generation & ((1 << KIND_BITS) - 1) == T::KIND
}

/// The slot that a handle means, if its object is (still) there.
#[inline]
fn find(handle: *mut c_void) -> Option<(&'static Slot, usize)> {
    let number = handle as usize;
    let generation = number >> SLOT_BITS;
    let slot = SLOTS.get((number & ((1 << SLOT_BITS) - 1)).wrapping_sub(1))?;
    (generation != 0 && slot.generation.load(Ordering::Acquire) == generation)
        .then_some((slot, generation))
}

/// Whether a bridge, which a `T` is, has nothing at all to do.
#[inline]
pub fn quiet<T: Behind>(handle: *mut c_void) -> bool {
    // At each clock: as [`find`], but a number beyond the slots is that of another slot here,
    // which has another generation. That of a bridge is not 0, which is that of nothing.
    let number = handle as usize;
    let generation = number >> SLOT_BITS;
    let slot = &SLOTS[number.wrapping_sub(1) % MAX_BRIDGES];
    is_kind::<T>(generation)
        && slot.generation.load(Ordering::Acquire) == generation
        && slot.words.quiet()
}

/// Whether a bridge, which a `T` is, has nothing for RTL that is ready for this, and need not
/// look for more now.
#[inline]
pub fn rests<T: Behind>(handle: *mut c_void, ready: u32) -> bool {
    find(handle).is_some_and(|(slot, kind)| is_kind::<T>(kind) && slot.words.rests(ready))
}

/// The number of the transaction that the RTL of a bridge, which a `T` is, has fetched or begun
/// last.
#[inline]
pub fn transaction<T: Behind>(handle: *mut c_void) -> Option<u64> {
    find(handle)
        .filter(|(_, kind)| is_kind::<T>(*kind))
        .map(|(slot, _)| slot.words.transaction.load(Ordering::Relaxed))
}

/// What the poll of a channel returns if it has nothing to do.
#[inline]
pub fn idle_status<T: Behind>(handle: *mut c_void) -> Option<u32> {
    let (slot, generation) = find(handle)?;
    let idle = is_kind::<T>(generation) && slot.words.idle();
    idle.then(|| slot.words.status.load(Ordering::Acquire))
}

/// Sleeps until a bridge or a channel has something for its next poll, for at most `limit`;
/// not at all if the RTL of another bridge of the process may have work, or if a
/// host wants to know the simulated time, which would stand still. A bridge is a `T`.
/// Whether there is something.
///
/// # Errors
///
/// `Code::Invalid` for an unknown handle.
pub fn wait<T: Behind>(handle: *mut c_void, limit: Duration) -> Result<bool> {
    let (slot, _) = find(handle).ok_or_else(|| unknown(handle))?;
    slot.idle.store(true, Ordering::Relaxed);
    // A channel has work if its word says so, and the RTL behind it is that of
    // a bridge.
    let idle = SLOTS.iter().all(|s| {
        let generation = s.generation.load(Ordering::Acquire);
        generation == 0
            || !is_kind::<T>(generation)
            || s.idle.load(Ordering::Relaxed)
                && s.words.attention.load(Ordering::Relaxed) & TIMED == 0
    });
    let open = SLOTS
        .iter()
        .filter(|s| s.generation.load(Ordering::Acquire) != 0)
        .map(|s| &s.words);
    if idle {
        words::sleep(open.clone(), limit);
    }
    Ok(open.clone().any(Words::woken))
}

/// Text of what a panic carries.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

/// Puts a bridge or a channel in a slot and returns its handle. `make` gets the
/// words of the slot.
///
/// # Errors
///
/// `Code::Again` if all slots are taken, or the error of `make`.
pub fn open<T: Behind>(make: impl FnOnce(&'static Words) -> Result<T>) -> Result<*mut c_void> {
    const { assert!(T::KIND != 0 && T::KIND < 1 << KIND_BITS) };
    let free = |slot: &&Slot| {
        slot.taken
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    };
    let Some((index, slot)) = SLOTS.iter().enumerate().find(|(_, slot)| free(slot)) else {
        fail!(
            Again,
            "{MAX_BRIDGES} bridges and channels are open, the most that may be; close one with \
             acc_close"
        );
    };
    slot.words.reset();
    slot.idle.store(false, Ordering::Relaxed);
    let object: Box<dyn Object> = match make(&slot.words) {
        Ok(it) => Box::new(it),
        Err(e) => {
            slot.taken.store(false, Ordering::Release);
            return Err(e);
        }
    };
    // Never 0, also after the counter has wrapped around.
    let limit = usize::MAX >> (SLOT_BITS + KIND_BITS);
    let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed) % limit + 1;
    let generation = generation << KIND_BITS | T::KIND;
    *slot.lock() = Some(Entry {
        object,
        broken: None,
        error: None,
    });
    slot.generation.store(generation, Ordering::Release);
    Ok((generation << SLOT_BITS | (index + 1)) as *mut c_void)
}

/// Closes what has `endpoint` and was polled: no design polls before all of its
/// bridges are open, so the simulation that had it was restarted without having
/// closed it. What was not polled yet is another one of the same design, which is
/// left alone. The name of what was closed or is in the way.
pub fn supersede(endpoint: &str) -> Option<Left> {
    let mut found = None;
    for slot in &SLOTS {
        let entry = {
            let mut entry = slot.lock();
            let generation = slot.generation.load(Ordering::Acquire);
            let Some(there) = entry.as_ref().filter(|e| e.object.endpoint() == endpoint) else {
                continue;
            };
            let name = there.object.target().to_owned();
            if !slot.words.polled.load(Ordering::Acquire) {
                found = Some(Left::Unused(name));
                continue;
            }
            found = Some(Left::Closed(name));
            slot.superseded.store(generation, Ordering::Release);
            slot.generation.store(0, Ordering::Release);
            entry.take()
        };
        let closed = catch_unwind(AssertUnwindSafe(|| {
            if let Some(entry) = entry {
                entry.object.close();
            }
        }));
        slot.taken.store(false, Ordering::Release);
        if let Err(payload) = closed {
            log::error!("panic in closing: {}", panic_text(&*payload));
        }
    }
    found
}

/// What [`supersede`] found.
pub enum Left {
    /// A bridge or channel of an earlier run, which is closed now.
    Closed(String),
    /// One that was opened and not polled yet.
    Unused(String),
}

fn unknown(handle: *mut c_void) -> Error {
    let number = handle as usize;
    let superseded = SLOTS
        .get((number & ((1 << SLOT_BITS) - 1)).wrapping_sub(1))
        .is_some_and(|s| s.superseded.load(Ordering::Acquire) == number >> SLOT_BITS);
    Error::new(
        Code::Invalid,
        if handle.is_null() {
            "the handle is null: acc_open failed, or was not called".to_owned()
        } else if superseded && number >> SLOT_BITS != 0 {
            format!(
                "{handle:p} was closed when another bridge or channel of this process was opened \
                 at its endpoint: two have the same, or the simulation was restarted"
            )
        } else {
            format!("{handle:p} is no handle of an open bridge or channel")
        },
    )
}

fn wrong<T: Behind>(object: &dyn Object) -> Error {
    Error::new(
        Code::Invalid,
        format!(
            "the handle is that of a {}, expected that of a {}",
            object.what(),
            T::WHAT
        ),
    )
}

/// Runs `f` on what a handle stands for. What it returns as an error, or a panic
/// in it, is kept for [`last_error`].
///
/// # Errors
///
/// `Code::Invalid` for an unknown handle or one of another kind, `Code::Panic`
/// after a panic, and those of `f`. The first is for the caller to keep: no
/// bridge has it.
pub fn with<B: Behind, T>(
    handle: *mut c_void,
    name: &str,
    f: impl FnOnce(&mut B) -> Result<T>,
) -> Result<T> {
    let (slot, generation) = find(handle).ok_or_else(|| unknown(handle))?;
    slot.idle.store(false, Ordering::Relaxed);
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
        // An object is never used again after a panic, so whatever state it is
        // left in is not seen.
        None => match entry.object.any().downcast_mut::<B>() {
            None => Err(wrong::<B>(&*entry.object)),
            Some(it) => catch_unwind(AssertUnwindSafe(|| f(it))).unwrap_or_else(|payload| {
                let text = panic_text(&*payload);
                slot.words.attention.fetch_or(LOCAL, Ordering::AcqRel);
                log::error!(target: entry.object.target(), "panic in {name}: {text}");
                let e = Error::new(Code::Panic, format!("panic in {name}: {text}"));
                entry.broken = Some(text);
                Err(e)
            }),
        },
    };
    if let Err(e) = &result {
        entry.error = Some(e.clone());
    }
    result
}

/// Text of the last error of a bridge or channel; empty if there was none.
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

/// Closes a bridge or a channel; its handle means nothing afterwards.
///
/// # Errors
///
/// `Code::Invalid` for an unknown handle or one of another kind, `Code::Panic`
/// if closing panicked; the handle is gone in that case too.
pub fn close<T: Behind>(handle: *mut c_void) -> Result<()> {
    let (slot, generation) = find(handle).ok_or_else(|| unknown(handle))?;
    let entry = {
        let mut entry = slot.lock();
        if slot.generation.load(Ordering::Acquire) != generation {
            return Err(unknown(handle));
        }
        if let Some(it) = &mut *entry {
            if !it.object.any().is::<T>() {
                return Err(wrong::<T>(&*it.object));
            }
        }
        slot.generation.store(0, Ordering::Release);
        entry.take()
    };
    let result = catch_unwind(AssertUnwindSafe(|| {
        if let Some(entry) = entry {
            entry.object.close();
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

    /// Something of one kind.
    struct Thing<const KIND: usize>;

    impl<const KIND: usize> Behind for Thing<KIND> {
        const WHAT: &'static str = ["bridge", "NIC channel"][KIND - 1];
        const KIND: usize = KIND;

        fn endpoint(&self) -> &str {
            "tcp://127.0.0.1:1"
        }

        fn target(&self) -> &str {
            "test"
        }

        fn close(self) {}
    }

    type Bridge = Thing<1>;
    type Nic = Thing<2>;

    fn bridge(_: &'static Words) -> Result<Bridge> {
        Ok(Thing)
    }

    /// `with` for a bridge.
    fn with<T>(h: *mut c_void, name: &str, f: impl FnOnce(&mut Bridge) -> Result<T>) -> Result<T> {
        super::with(h, name, f)
    }

    fn close(handle: *mut c_void) -> Result<()> {
        super::close::<Bridge>(handle)
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
            assert!(!quiet::<Bridge>(handle));
            assert_eq!(close(handle).unwrap_err().code, Code::Invalid);
            assert!(last_error(handle).is_err());
        }
    }

    #[test]
    fn a_handle_of_another_kind_is_told() {
        let handle = open(bridge).unwrap();
        let e = super::with(handle, "acc_nic_poll", |_: &mut Nic| Ok(())).unwrap_err();
        assert_eq!(
            (e.code, &*e.text),
            (
                Code::Invalid,
                "the handle is that of a bridge, expected that of a NIC channel"
            )
        );
        let e = super::close::<Nic>(handle).unwrap_err();
        assert_eq!(e.code, Code::Invalid);
        with(handle, "acc_poll", |_| Ok(())).unwrap();
        close(handle).unwrap();
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
    fn nothing_of_a_slot_is_left_to_whoever_comes_next() {
        let new = |words: &'static Words| {
            let left = (
                words.attention.load(Ordering::Acquire),
                words.status.load(Ordering::Acquire),
                words.timing.clocks(),
                words.polled.load(Ordering::Acquire),
            );
            assert_eq!(left, (0, 0, 0, false));
            bridge(words)
        };
        // Other tests may take the slot in between.
        for _ in 0..20 {
            let handle = open(|words| {
                let bridge = new(words);
                words.attention.store(TIMED, Ordering::Release);
                words.status.store(7, Ordering::Release);
                bridge
            })
            .unwrap();
            let words = &find(handle).unwrap().0.words;
            assert!(!quiet::<Bridge>(handle));
            assert_eq!(words.timing.clocks(), 1);
            words.polled.store(true, Ordering::Release);
            close(handle).unwrap();
        }
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
        assert!(!quiet::<Bridge>(broken));
        with(good, "acc_poll", |_| Ok(())).unwrap();
        assert_eq!(last_error(good).unwrap(), "");
        close(broken).unwrap();
        close(good).unwrap();
    }
}
