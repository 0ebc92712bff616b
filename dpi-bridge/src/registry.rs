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
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
    },
    time::Duration,
};

use accelerator_carrier::segment::Window;

use crate::{
    bridge::Bridge,
    error::{fail, Code, Error, Result},
    nic::Nic,
    uart::Uart,
    watcher::TIMED,
};

/// Bridges and channels that can be open at once.
pub const MAX_BRIDGES: usize = 64;

/// What a handle stands for. There are few, and none is ever moved about.
#[allow(clippy::large_enum_variant)]
pub enum Object {
    /// Of `acc_open`.
    Bridge(Box<Bridge>),
    /// Of `acc_nic_open`.
    Nic(Box<Nic>),
    /// Of `acc_uart_open`.
    Uart(Box<Uart>),
}

impl Object {
    const fn what(&self) -> &'static str {
        match self {
            Self::Bridge(_) => Bridge::WHAT,
            Self::Nic(_) => Nic::WHAT,
            Self::Uart(_) => Uart::WHAT,
        }
    }

    fn endpoint(&self) -> &str {
        match self {
            Self::Bridge(bridge) => bridge.endpoint(),
            Self::Nic(nic) => nic.endpoint(),
            Self::Uart(uart) => uart.endpoint(),
        }
    }

    fn target(&self) -> &str {
        match self {
            Self::Bridge(bridge) => bridge.target(),
            Self::Nic(nic) => nic.target(),
            Self::Uart(uart) => uart.target(),
        }
    }

    fn close(self) {
        match self {
            Self::Bridge(bridge) => bridge.close(),
            Self::Nic(nic) => nic.close(),
            Self::Uart(uart) => uart.close(),
        }
    }
}

/// One of the things that a handle can stand for.
pub trait Behind: Sized {
    /// Its name, for messages.
    const WHAT: &'static str;

    /// Its number in handles, below 4.
    const KIND: usize;

    /// Wraps it.
    fn object(self) -> Object;

    /// It, if the object is one.
    fn of(object: &mut Object) -> Option<&mut Self>;
}

macro_rules! behind {
    ($type:ident, $kind:literal, $what:literal) => {
        impl Behind for $type {
            const WHAT: &'static str = $what;
            const KIND: usize = $kind;

            fn object(self) -> Object {
                Object::$type(Box::new(self))
            }

            fn of(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$type(it) => Some(it),
                    _ => None,
                }
            }
        }
    };
}

behind!(Bridge, 0, "bridge");
behind!(Nic, 1, "NIC channel");
behind!(Uart, 2, "UART channel");

/// The simulated time in clocks, which are polls of the bridge. Only the thread
/// that polls changes it, so that nothing here needs to be more than atomic.
pub struct Timing {
    /// Polls while [`TIMED`] was set.
    clocks: AtomicU64,
    /// The count at which the host is to be told.
    due: AtomicU64,
}

impl Timing {
    const fn new() -> Self {
        Self {
            clocks: AtomicU64::new(0),
            due: AtomicU64::new(0),
        }
    }

    /// Clocks counted so far.
    pub fn clocks(&self) -> u64 {
        self.clocks.load(Ordering::Relaxed)
    }

    /// Whether the host is to be told now.
    pub fn is_due(&self) -> bool {
        self.clocks() >= self.due.load(Ordering::Relaxed)
    }

    /// The host is to be told after so many clocks more.
    pub fn due_in(&self, clocks: u64) {
        let due = self.clocks().saturating_add(clocks);
        self.due.store(due, Ordering::Relaxed);
    }

    /// As of a new bridge.
    fn reset(&self) {
        self.clocks.store(0, Ordering::Relaxed);
        self.due.store(0, Ordering::Relaxed);
    }

    /// Counts a clock.
    #[inline]
    fn tick(&self) {
        self.clocks.store(self.clocks() + 1, Ordering::Relaxed);
    }
}

/// What a poll looks at without a lock.
pub struct Words {
    /// What there is to do, see [`crate::watcher`]; 0 if nothing.
    pub attention: AtomicU32,
    /// What a poll of a channel that has nothing to do returns.
    pub status: AtomicU32,
    /// Of a bridge: the simulated time, if the host wants to know it.
    pub timing: Timing,
    /// A poll has come that did not take the fast path.
    pub polled: AtomicBool,
    /// Of a bridge: where shared memory is while a session goes through it. There for good
    /// once a session of the slot had one.
    pub window: OnceLock<&'static Window>,
}

impl Default for Words {
    fn default() -> Self {
        Self::new()
    }
}

impl Words {
    /// Of a slot in which nothing ever was.
    pub const fn new() -> Self {
        Self {
            attention: AtomicU32::new(0),
            status: AtomicU32::new(0),
            timing: Timing::new(),
            polled: AtomicBool::new(false),
            window: OnceLock::new(),
        }
    }

    /// Whether a host has written into shared memory what was not read.
    #[inline]
    fn has_memory(&self) -> bool {
        self.window.get().is_some_and(|w| w.may_have())
    }

    /// As of a slot in which nothing ever was, but for an empty window. Whoever was there
    /// before has ended its threads, so that nobody else writes them.
    fn reset(&self) {
        self.attention.store(0, Ordering::Release);
        self.status.store(0, Ordering::Release);
        self.polled.store(false, Ordering::Release);
        self.timing.reset();
    }
}

struct Entry {
    object: Object,
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

/// Whether the bridge has nothing at all to do: what an idle poll costs. Counts
/// the poll as a clock if the host wants to know the simulated time.
#[inline]
pub fn quiet(handle: *mut c_void) -> bool {
    let Some((slot, generation)) = find(handle) else {
        return false;
    };
    if !is_kind::<Bridge>(generation) {
        return false;
    }
    let attention = slot.words.attention.load(Ordering::Acquire);
    if attention == 0 {
        return !slot.words.has_memory();
    }
    if attention & TIMED == 0 {
        return false;
    }
    slot.words.timing.tick();
    attention == TIMED && !slot.words.timing.is_due() && !slot.words.has_memory()
}

/// What the poll of a channel returns if it has nothing to do.
#[inline]
pub fn idle_status<T: Behind>(handle: *mut c_void) -> Option<u32> {
    let (slot, generation) = find(handle)?;
    let idle = is_kind::<T>(generation) && slot.words.attention.load(Ordering::Acquire) == 0;
    idle.then(|| slot.words.status.load(Ordering::Acquire))
}

/// Threads in [`wait`], and what they sleep on.
static SLEEPERS: AtomicUsize = AtomicUsize::new(0);
static BED: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// Sets a bit of an attention word, and wakes a simulator that sleeps.
pub fn attend(attention: &AtomicU32, bit: u32) {
    // Either this sees the sleeper, or the sleeper sees the bit.
    attention.fetch_or(bit, Ordering::SeqCst);
    wake();
}

/// Wakes a simulator that sleeps, to look whether there is something.
pub fn wake() {
    if SLEEPERS.load(Ordering::SeqCst) != 0 {
        // Not between the sleeper's last look and its sleep.
        drop(BED.0.lock().unwrap_or_else(PoisonError::into_inner));
        BED.1.notify_all();
    }
}

/// Sleeps until a bridge or a channel has something for its next poll, for at most `limit`;
/// not at all if the RTL of another bridge of the process may have work, or if a
/// host wants to know the simulated time, which would stand still.
/// Whether there is something.
///
/// # Errors
///
/// `Code::Invalid` for an unknown handle.
pub fn wait(handle: *mut c_void, limit: Duration) -> Result<bool> {
    let (slot, _) = find(handle).ok_or_else(|| unknown(handle))?;
    slot.idle.store(true, Ordering::Relaxed);
    let woken = || {
        SLOTS.iter().any(|s| {
            s.generation.load(Ordering::Acquire) != 0
                && (s.words.attention.load(Ordering::SeqCst) & !TIMED != 0 || s.words.has_memory())
        })
    };
    let windows = || SLOTS.iter().filter_map(|s| s.words.window.get());
    // A channel has work if its word says so, and the RTL behind it is that of
    // a bridge.
    let idle = SLOTS.iter().all(|s| {
        let generation = s.generation.load(Ordering::Acquire);
        generation == 0
            || !is_kind::<Bridge>(generation)
            || s.idle.load(Ordering::Relaxed)
                && s.words.attention.load(Ordering::Relaxed) & TIMED == 0
    });
    if idle {
        SLEEPERS.fetch_add(1, Ordering::SeqCst);
        // Hosts that write from now on ring, which the watchers hear.
        windows().for_each(|w| w.sleep());
        let bed = BED.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(
            BED.1
                .wait_timeout_while(bed, limit, |()| !woken())
                .unwrap_or_else(PoisonError::into_inner),
        );
        windows().for_each(|w| w.awake());
        SLEEPERS.fetch_sub(1, Ordering::SeqCst);
    }
    Ok(woken())
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
    let object = match make(&slot.words) {
        Ok(it) => it.object(),
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

fn wrong<T: Behind>(object: &Object) -> Error {
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
        None => match B::of(&mut entry.object) {
            None => Err(wrong::<B>(&entry.object)),
            Some(it) => catch_unwind(AssertUnwindSafe(|| f(it))).unwrap_or_else(|payload| {
                let text = panic_text(&*payload);
                slot.words
                    .attention
                    .fetch_or(crate::watcher::LOCAL, Ordering::AcqRel);
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
            if T::of(&mut it.object).is_none() {
                return Err(wrong::<T>(&it.object));
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

    fn bridge(words: &'static Words) -> Result<Bridge> {
        Ok(Bridge::new("test", "tcp://127.0.0.1:1".into(), words))
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
            assert!(!quiet(handle));
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
        let e = super::close::<Uart>(handle).unwrap_err();
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
            find(handle).unwrap().0.words.timing.tick();
            with(handle, "acc_poll", |b| b.poll(0)).unwrap_err();
            let words = &find(handle).unwrap().0.words;
            words.attention.fetch_or(TIMED, Ordering::AcqRel);
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
        assert!(!quiet(broken));
        with(good, "acc_poll", |_| Ok(())).unwrap();
        assert_eq!(last_error(good).unwrap(), "");
        close(broken).unwrap();
        close(good).unwrap();
    }
}
