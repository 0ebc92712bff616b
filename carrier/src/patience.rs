// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long it is worth while to look for something before one sleeps.

use std::{
    hint,
    time::{Duration, Instant},
};

use crate::courtesy::{self, Yielded};

/// What is looked for at least, so that it is noticed when looking pays again, as a part of
/// the limit.
const LEAST: u32 = 16;

/// Each so many looks in vain in a row the next one is for the limit again: what takes longer than
/// the least is found by no other.
const AGAIN: u32 = 8;

/// After this time others get to run between two looks, where there are too few processors for
/// all: whoever is to bring it may be one of those that wait for this one.
const ALONE: Duration = Duration::from_micros(3);

/// How long others do not get to run after one of them has kept the processor for a time slice,
/// the first time and at most: looking, and then sleeping, is better then.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A bounded look that adapts: it is shorter after each in vain, and longer after each that
/// found something.
#[derive(Clone, Debug)]
pub struct Patience {
    limit: Duration,
    now: Duration,
    /// Looks in vain in a row.
    vain: u32,
    courtesy: Courtesy,
}

/// When others get to run between two looks.
#[derive(Clone, Debug)]
struct Courtesy {
    /// Not before.
    next: Option<Instant>,
    pause: Duration,
}

impl Default for Courtesy {
    fn default() -> Self {
        Self {
            next: None,
            pause: PAUSE,
        }
    }
}

impl Courtesy {
    fn due(&self, now: Instant) -> bool {
        self.next.map_or(true, |next| now >= next)
    }

    fn yielded(&mut self, yielded: Yielded) {
        if yielded.dear {
            self.next = Some(yielded.end + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        } else {
            self.next = None;
            self.pause = PAUSE;
        }
    }
}

impl Patience {
    /// Looks for `limit` at most; not at all if the process may use one processor only, since
    /// whoever is to bring what is looked for cannot run meanwhile.
    pub fn new(limit: Duration) -> Self {
        let limit = if courtesy::processors() == 1 {
            Duration::ZERO
        } else {
            limit
        };
        Self {
            limit,
            now: limit,
            vain: 0,
            courtesy: Courtesy::default(),
        }
    }

    /// Looks until `there` is true or patience ends. Whether it is there. So many `others` look
    /// for what this one sends.
    pub fn look(&mut self, others: u64, mut there: impl FnMut() -> bool) -> bool {
        if there() {
            return true;
        }
        if self.limit.is_zero() {
            return false;
        }
        let begin = Instant::now();
        let whole = self.vain >= AGAIN;
        let most = if whole { self.limit } else { self.now };
        let found = loop {
            for _ in 0..8 {
                hint::spin_loop();
                if there() {
                    break;
                }
            }
            if there() {
                break true;
            }
            let now = Instant::now();
            let looked = now.saturating_duration_since(begin);
            if looked >= most {
                break false;
            }
            if looked >= ALONE && courtesy::crowded(now, others) && self.courtesy.due(now) {
                self.courtesy.yielded(courtesy::give_way());
            }
        };
        if found {
            let took = if whole { begin.elapsed() } else { self.now };
            self.now = (took.max(self.now) * 2).min(self.limit);
            self.vain = 0;
        } else {
            self.now = (self.now / 2).max(self.limit / LEAST);
            self.vain = if whole { 0 } else { self.vain + 1 };
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_has_an_end_and_adapts() {
        let limit = Duration::from_millis(4);
        let mut patience = Patience {
            limit,
            now: limit,
            vain: 0,
            courtesy: Courtesy::default(),
        };
        assert!(patience.look(0, || true));
        let mut shorter = limit;
        for _ in 0..AGAIN {
            assert!(!patience.look(0, || false));
            shorter = (shorter / 2).max(limit / LEAST);
            assert_eq!(patience.now, shorter);
        }
        let mut looks = 0;
        assert!(patience.look(0, || {
            looks += 1;
            looks > 20
        }));
        // It was a whole one.
        assert!(patience.now >= limit / LEAST * 2);
        assert_eq!(patience.vain, 0);
        let mut none = Patience {
            limit: Duration::ZERO,
            now: Duration::ZERO,
            vain: 0,
            courtesy: Courtesy::default(),
        };
        let mut looks = 0;
        assert!(!none.look(0, || {
            looks += 1;
            false
        }));
        assert_eq!(looks, 1);
    }

    #[test]
    fn what_takes_longer_than_the_least_look_is_found_again() {
        let limit = Duration::from_millis(64);
        let takes = limit / LEAST * 2;
        let mut patience = Patience::new(limit);
        // Whatever the process may use.
        (patience.limit, patience.now) = (limit, limit / LEAST);
        let mut found = 0;
        for _ in 0..4 * AGAIN {
            let begin = Instant::now();
            found += u32::from(patience.look(0, || begin.elapsed() >= takes));
        }
        assert!(found > 2 * AGAIN, "{found} of {}", 4 * AGAIN);
    }

    #[test]
    fn after_a_yield_that_costs_a_time_slice_there_is_none_for_a_while() {
        let mut now = Instant::now();
        let mut courtesy = Courtesy::default();
        let yielded = |dear, end| Yielded { end, dear };
        assert!(courtesy.due(now));
        courtesy.yielded(yielded(false, now));
        assert!(courtesy.due(now));
        let mut pause = PAUSE;
        for _ in 0..10 {
            courtesy.yielded(yielded(true, now));
            assert!(!courtesy.due(now) && !courtesy.due(now + pause / 2));
            now += pause;
            assert!(courtesy.due(now));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        courtesy.yielded(yielded(false, now));
        courtesy.yielded(yielded(true, now));
        assert!(courtesy.due(now + PAUSE));
    }
}
