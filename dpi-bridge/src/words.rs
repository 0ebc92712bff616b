// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a poll looks at without a lock, who writes it, and what a simulator sleeps on that
//! has nothing to do.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        Condvar, Mutex, OnceLock, PoisonError,
    },
    time::Duration,
};

use accelerator_carrier::segment::Window;

use crate::order::READY_WRITE;

/// Attention: the ROUTER socket has something to process.
pub const SOCKET: u32 = 1;
/// Attention: a connection was lost, the peer may be gone.
pub const PEER_GONE: u32 = 2;
/// Attention: the bridge itself has work for the next poll.
pub const LOCAL: u32 = 4;
/// The host wants to know the simulated time: polls are counted.
pub const TIMED: u32 = 8;
/// There is a record: polls are counted. Set for as long as the bridge or channel is there.
pub const COUNTED: u32 = 16;

/// A poll with nothing to do lets others run: there are too few processors.
pub const CROWDED: u32 = 32;

/// Bits that are no work.
const COUNTING: u32 = TIMED | COUNTED;

/// The simulated time in clocks, which are polls of the bridge. Only the thread
/// that polls changes it, so that nothing here needs to be more than atomic.
#[derive(Debug)]
pub struct Timing {
    /// Polls while [`TIMED`] or [`COUNTED`] was set.
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
    /// What there is to do, bits as [`SOCKET`]; 0 if nothing.
    pub attention: AtomicU32,
    /// What a poll of a channel that has nothing to do returns.
    pub status: AtomicU32,
    /// Of a bridge: the simulated time, if the host wants to know it.
    pub timing: Timing,
    /// Of a bridge that has nothing but writes for the RTL: polls that need not look for more
    /// while it takes none.
    pub rests: AtomicU32,
    /// Of a bridge: the number of the transaction that the RTL has fetched or begun last.
    pub transaction: AtomicU64,
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
            rests: AtomicU32::new(0),
            transaction: AtomicU64::new(0),
            polled: AtomicBool::new(false),
            window: OnceLock::new(),
        }
    }

    /// Whether a host has written into shared memory what was not read.
    #[inline]
    pub fn has_memory(&self) -> bool {
        self.window.get().is_some_and(|w| w.may_have())
    }

    /// Whether a bridge has nothing at all to do: what an idle poll costs. Counts
    /// the poll as a clock if the host wants to know the simulated time.
    #[inline]
    pub fn quiet(&self) -> bool {
        let attention = self.attention.load(Ordering::Acquire);
        if attention == 0 {
            return !self.has_memory();
        }
        if attention & COUNTING == 0 {
            return false;
        }
        self.timing.tick();
        attention & !COUNTING == 0
            && !(attention & TIMED != 0 && self.timing.is_due())
            && !self.has_memory()
    }

    /// Whether a bridge that is not quiet has nothing for the RTL all the same: this poll need
    /// not look for more. Only the thread that polls calls it.
    #[inline]
    pub fn rests(&self, ready: u32) -> bool {
        let left = self.rests.load(Ordering::Relaxed);
        if left == 0
            || ready & READY_WRITE != 0
            || self.attention.load(Ordering::Acquire) & !(LOCAL | COUNTED) != 0
        {
            return false;
        }
        self.rests.store(left - 1, Ordering::Relaxed);
        true
    }

    /// Whether a channel has nothing to do, the same for its poll.
    #[inline]
    pub fn idle(&self) -> bool {
        let attention = self.attention.load(Ordering::Acquire);
        if attention == 0 {
            return true;
        }
        if attention & COUNTED != 0 {
            self.timing.tick();
        }
        attention == COUNTED
    }

    /// Counts polls as clocks from now on.
    pub fn count_clocks(&self) {
        self.attention.fetch_or(COUNTED, Ordering::AcqRel);
    }

    /// Sets a bit of the attention word, and wakes a simulator that sleeps.
    pub fn attend(&self, bit: u32) {
        // Either this sees the sleeper, or the sleeper sees the bit.
        self.attention.fetch_or(bit, Ordering::SeqCst);
        wake();
    }

    /// Whether there is something for the next poll. For a simulator that is about to sleep.
    pub fn woken(&self) -> bool {
        self.attention.load(Ordering::SeqCst) & !(COUNTING | CROWDED) != 0 || self.has_memory()
    }

    /// As of a slot in which nothing ever was, but for an empty window. Whoever was there
    /// before has ended its threads, so that nobody else writes them.
    pub fn reset(&self) {
        self.attention.store(0, Ordering::Release);
        self.status.store(0, Ordering::Release);
        self.rests.store(0, Ordering::Release);
        self.transaction.store(0, Ordering::Release);
        self.polled.store(false, Ordering::Release);
        self.timing.reset();
    }
}

/// Threads in [`sleep`], and what they sleep on.
static SLEEPERS: AtomicUsize = AtomicUsize::new(0);
static BED: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());

/// Wakes a simulator that sleeps, to look whether there is something.
pub fn wake() {
    if SLEEPERS.load(Ordering::SeqCst) != 0 {
        // Not between the sleeper's last look and its sleep.
        drop(BED.0.lock().unwrap_or_else(PoisonError::into_inner));
        BED.1.notify_all();
    }
}

/// Sleeps until one of these has something for its next poll, for at most `limit`.
pub fn sleep<'a>(words: impl Iterator<Item = &'a Words> + Clone, limit: Duration) {
    let windows = || words.clone().filter_map(|w| w.window.get());
    SLEEPERS.fetch_add(1, Ordering::SeqCst);
    // Hosts that write from now on ring, which the watchers hear.
    windows().for_each(|w| w.sleep());
    let bed = BED.0.lock().unwrap_or_else(PoisonError::into_inner);
    drop(
        BED.1
            .wait_timeout_while(bed, limit, |()| !words.clone().any(Words::woken))
            .unwrap_or_else(PoisonError::into_inner),
    );
    windows().for_each(|w| w.awake());
    SLEEPERS.fetch_sub(1, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_are_clocks_for_a_record_and_are_no_work() {
        let words = Words::new();
        words.count_clocks();
        assert!(words.quiet() && words.idle());
        assert!(!words.woken());
        assert_eq!(words.timing.clocks(), 2);
        words.attend(SOCKET);
        assert!(!words.quiet() && !words.idle());
        assert_eq!(words.timing.clocks(), 4);
        words.attention.store(COUNTED | TIMED, Ordering::Release);
        words.timing.due_in(2);
        assert!(words.quiet());
        assert!(!words.quiet());
        words.reset();
        assert!(words.quiet() && words.idle());
        assert_eq!(words.timing.clocks(), 0);
    }

    #[test]
    fn a_few_polls_rest_while_the_rtl_takes_no_write() {
        let words = Words::new();
        let other = !READY_WRITE;
        assert!(!words.rests(other));
        words.attention.store(LOCAL | COUNTED, Ordering::Release);
        words.rests.store(3, Ordering::Release);
        assert!(!words.rests(READY_WRITE));
        assert!(words.rests(other) && words.rests(0));
        for bit in [SOCKET, PEER_GONE, TIMED, CROWDED] {
            words.attention.store(LOCAL | bit, Ordering::Release);
            assert!(!words.rests(other), "{bit}");
        }
        words.attention.store(LOCAL, Ordering::Release);
        assert!(words.rests(other) && !words.rests(other));
        words.rests.store(3, Ordering::Release);
        words.reset();
        assert!(!words.rests(other));
    }

    #[test]
    fn a_quiet_poll_is_a_clock_while_the_host_wants_to_know() {
        let words = Words::new();
        assert!(words.quiet());
        assert_eq!(words.timing.clocks(), 0);
        words.attention.store(TIMED, Ordering::Release);
        words.timing.due_in(2);
        assert!(words.quiet());
        assert!(!words.woken());
        assert!(!words.quiet());
        assert_eq!(words.timing.clocks(), 2);
        words.attend(SOCKET);
        assert!(!words.quiet());
        assert!(words.woken());
        assert_eq!(words.timing.clocks(), 3);
        words.reset();
        assert!(words.quiet());
        assert_eq!(words.timing.clocks(), 0);
    }
}
