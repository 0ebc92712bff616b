// SPDX-License-Identifier: MIT OR Apache-2.0

//! Letting others run, where more threads look than there are processors.
//!
//! A thread that looks for a message in vain keeps its processor from whoever is to send it, if
//! there are more such threads than processors: each has its time slice, some milliseconds, and
//! what takes a microsecond takes as long as the slices of all others. Such a thread yields
//! between two looks, which takes a microsecond if the others do so too.
//!
//! Where another thread computes and does not yield, a yield costs a time slice. So there is none
//! but where it is known that there are too many who look, and where the thread notices it:
//! it has lost its processor without having slept. How often a yield may still cost a slice is
//! for whoever yields to say: it is told.
//!
//! What is known is of the calling thread.

use std::{
    cell::RefCell,
    mem::MaybeUninit,
    time::{Duration, Instant},
};

/// How often a thread looks whether it has lost its processor.
const PERIOD: Duration = Duration::from_millis(1);
/// And how long it goes by that, if it has.
const CROWDED: Duration = Duration::from_millis(20);

/// A yield that takes longer has cost a time slice.
const DEAR: Duration = Duration::from_micros(500);

/// What a thread knows of others that want its processor.
#[derive(Debug)]
struct Known {
    /// How often it has lost it, when it counted last.
    losses: i64,
    counted: Instant,
    /// When it noticed that it has.
    lost: Option<Instant>,
    /// Processors that it may use.
    processors: u64,
}

impl Known {
    fn new(now: Instant, losses: i64, processors: u64) -> Self {
        Self {
            losses,
            counted: now,
            lost: None,
            processors,
        }
    }

    /// Whether others who look want its processor at this time, by how many there are beside a
    /// host, and how often it has lost it.
    fn crowded(&mut self, now: Instant, others: u64, losses: impl FnOnce() -> i64) -> bool {
        if others < self.processors {
            return false;
        }
        if now.saturating_duration_since(self.counted) >= PERIOD {
            self.counted = now;
            let losses = losses();
            if losses != self.losses {
                self.losses = losses;
                self.lost = Some(now);
            }
        }
        self.lost
            .is_some_and(|lost| now.saturating_duration_since(lost) < CROWDED)
    }
}

/// How a yield went.
#[derive(Clone, Copy, Debug)]
pub struct Yielded {
    /// When the thread had its processor back.
    pub end: Instant,
    /// It has cost a time slice.
    pub dear: bool,
}

/// How often the calling thread has lost its processor to another without having slept.
fn losses() -> i64 {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the structure is valid for writes, and is filled in where the call says so.
    unsafe {
        if libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) < 0 {
            return 0;
        }
        usage.assume_init().ru_nivcsw
    }
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Processors that the calling thread may use.
pub(crate) fn processors() -> u64 {
    // SAFETY: all zeros is a valid set, which is valid for its size.
    let count = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set) < 0 {
            // More than a set has.
            return libc::CPU_SETSIZE as u64;
        }
        libc::CPU_COUNT(&set)
    };
    count.unsigned_abs().into()
}

/// Whether the calling thread is one of too many. There are so many threads that look for what
/// a host sends, the calling one perhaps among them, and a host that looks for what they send.
/// One system call in a millisecond, or none where there are enough processors.
pub fn crowded(now: Instant, threads: u64) -> bool {
    if threads == 0 {
        // Nobody has said that there are others.
        return false;
    }
    KNOWN.with_borrow_mut(|known| match known {
        Some(known) => known.crowded(now, threads, losses),
        None => {
            *known = Some(Known::new(now, losses(), processors()));
            false
        }
    })
}

/// Lets another thread have the processor, if one wants it.
pub fn give_way() -> Yielded {
    let begin = Instant::now();
    std::thread::yield_now();
    let end = Instant::now();
    Yielded {
        end,
        dear: end.saturating_duration_since(begin) >= DEAR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_thread_that_loses_its_processor_is_one_of_too_many_for_a_while() {
        let mut now = Instant::now();
        let mut known = Known::new(now, 7, 4);
        assert!(!known.crowded(now, 4, || unreachable!("it has just counted")));
        now += MS;
        assert!(!known.crowded(now, 4, || 7));
        now += MS;
        assert!(!known.crowded(now, 3, || unreachable!("each has a processor")));
        assert!(known.crowded(now, 4, || 8));
        // One system call in a millisecond.
        assert!(known.crowded(now, 5, || unreachable!("it has just counted")));
        assert!(!known.crowded(now, 3, || unreachable!("each has a processor")));
        now += CROWDED - MS;
        assert!(known.crowded(now, 4, || 8));
        now += MS;
        assert!(!known.crowded(now, 4, || 8));
    }

    /// Runs on one processor only.
    fn stay_on_one() {
        // SAFETY: all zeros is a valid set, which is valid for its size; of those that may be
        // used the first is taken.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            let size = std::mem::size_of_val(&set);
            assert_eq!(libc::sched_getaffinity(0, size, &mut set), 0);
            let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &set));
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(first.unwrap(), &mut one);
            assert_eq!(libc::sched_setaffinity(0, size, &one), 0);
        }
    }

    #[test]
    fn threads_that_compute_on_one_processor_notice() {
        let limit = Instant::now() + Duration::from_secs(60);
        let threads = [(); 2].map(|()| {
            std::thread::spawn(move || {
                stay_on_one();
                loop {
                    let now = Instant::now();
                    assert!(!crowded(now, 0), "nobody has said so");
                    if crowded(now, 1) {
                        break;
                    }
                    assert!(now < limit, "no loss was noticed");
                }
                // Both go on until the other one has noticed, too.
                let noticed = Instant::now();
                while noticed.elapsed() < Duration::from_millis(200) {
                    std::hint::spin_loop();
                }
                assert!(give_way().end >= noticed);
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
