// SPDX-License-Identifier: MIT OR Apache-2.0

//! When a simulator that has nothing to do lets others run.
//!
//! A simulator computes its clocks whether or not there is anything in them. Where several of them
//! and a guest share few processors, one that a guest reads has to wait for the time slices of
//! the others, unless these give way: between two polls, where the host has said that it has so
//! many of them and has been heard of lately, and the thread is one of
//! [too many](accelerator_carrier::courtesy).

use std::time::{Duration, Instant};

use accelerator_carrier::courtesy::{self, Yielded};

/// After a message each poll gives way, for so long.
const EAGER: Duration = Duration::from_micros(50);
/// Then one does if it was so long ago: clocks go on at nearly their own pace.
const DISTANCE: Duration = Duration::from_micros(10);
/// After this time none does: the host may not come back.
const LAST: Duration = Duration::from_millis(50);

/// How long after a message the first poll gives way, at first, or if one of the others has
/// kept the processor for a time slice: a host that comes back at once is not kept waiting. It is
/// less after each yield that was cheap, down to nothing, and up to twice the last where one
/// was not. Others who wait so long all together seem to compute, so it is not much.
const GRACE: Duration = Duration::from_micros(20);
const LONGEST_GRACE: Duration = Duration::from_micros(80);

/// Whether polls give way.
#[derive(Debug)]
pub struct Turns {
    on: bool,
    simulators: u64,
    /// When a message came.
    heard: Instant,
    /// When this thread had its processor back.
    gave: Instant,
    grace: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            on: false,
            simulators: 0,
            heard: now,
            gave: now,
            grace: GRACE,
        }
    }
}

impl Turns {
    /// A message has come from a host that has to do with so many simulators.
    pub fn heard(&mut self, simulators: u64) {
        self.simulators = simulators;
        if simulators > 1 {
            let now = Instant::now();
            self.heard = now;
            self.on = courtesy::crowded(now, simulators);
        }
    }

    /// Whether polls with nothing to do are to call [`Self::give_way`].
    pub const fn on(&self) -> bool {
        self.on
    }

    /// There is nothing to do: lets others run, if it is time to.
    pub fn give_way(&mut self) {
        let now = Instant::now();
        if self.due_at(now) {
            self.on = courtesy::crowded(now, self.simulators);
            if self.on {
                self.yielded(courtesy::give_way());
            }
        }
    }

    fn due_at(&mut self, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.heard);
        if quiet >= LAST {
            self.on = false;
        }
        self.on
            && quiet >= self.grace
            && (quiet < EAGER || now.saturating_duration_since(self.gave) >= DISTANCE)
    }

    fn yielded(&mut self, yielded: Yielded) {
        self.gave = yielded.end;
        if yielded.dear {
            // What computes gets no more of our share before the host is heard of again.
            self.on = false;
            self.grace = (self.grace * 2).clamp(GRACE, LONGEST_GRACE);
        } else {
            self.grace /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(now: Instant, grace: Duration) -> Turns {
        Turns {
            on: true,
            simulators: 4,
            heard: now,
            gave: now,
            grace,
        }
    }

    #[test]
    fn each_poll_at_first_and_fewer_later() {
        let begin = Instant::now();
        let mut turns = turns(begin, Duration::ZERO);
        let mut at = Vec::new();
        for us in 0..60_000 {
            let now = begin + Duration::from_micros(us);
            if turns.due_at(now) {
                turns.gave = now;
                at.push(us);
            }
        }
        assert!(at[..50].iter().copied().eq(0..50), "{at:?}");
        // The one at 49 was the last.
        assert_eq!(at[50], 59);
        assert!(at[50..].windows(2).all(|w| w[1] - w[0] == 10));
        assert_eq!(at.last(), Some(&49_999));
        assert!(!turns.on());
        turns.on = false;
        turns.heard = begin;
        assert!(!turns.due_at(begin), "nobody else wants the processor");
    }

    #[test]
    fn a_host_that_comes_back_at_once_does_not_wait_for_what_computes() {
        let begin = Instant::now();
        let mut turns = turns(begin, Duration::ZERO);
        let yielded = |dear| Yielded { end: begin, dear };
        assert!(turns.due_at(begin));
        for grace in [20, 40, 80, 80] {
            turns.on = true;
            turns.yielded(yielded(true));
            assert!(!turns.on());
            turns.on = true;
            let grace = Duration::from_micros(grace);
            let nearly = grace - Duration::from_micros(1);
            assert!(!turns.due_at(begin + nearly));
            assert!(turns.due_at(begin + grace));
        }
        // And where the others give way, soon nobody waits.
        for _ in 0..20 {
            turns.yielded(yielded(false));
            assert!(turns.on());
        }
        assert!(turns.due_at(begin + Duration::from_nanos(1)));
    }
}
