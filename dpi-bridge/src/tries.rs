// SPDX-License-Identifier: MIT OR Apache-2.0

//! When to try to receive, and when to leave the socket to the watcher.
//!
//! A try in vain costs a system call, about half a microsecond. Being told by
//! the watcher costs two more wake-ups of a thread, ten microseconds on a quiet
//! machine and much more on one whose CPUs are asleep. So while there is traffic
//! the simulator's thread looks by itself, less and less often, and after a
//! pause the watcher does. The distances are times and not numbers of polls,
//! since a clock of one design takes 100 ns and of another 100 µs.

use std::time::{Duration, Instant};

/// After something came or was sent each poll tries, for so long.
const EAGER: Duration = Duration::from_micros(8);
/// Then a poll tries if the last try was so long ago,
const LAZY_DISTANCE: Duration = Duration::from_micros(2);
/// and after this time less often.
const LAZY: Duration = Duration::from_micros(150);
const LAST_DISTANCE: Duration = Duration::from_micros(4);
/// After this time the watcher looks.
const LAST: Duration = Duration::from_micros(500);

/// The distance while the RTL has something to do. A message of many frames
/// keeps it busy for some clocks, in which a try each would cost more than the
/// clocks themselves; but what is behind it shall not wait for all of it.
const BUSY_DISTANCE: Duration = Duration::from_micros(4);

/// When a socket is tried.
#[derive(Debug)]
pub struct Tries {
    /// The watcher looks.
    watched: bool,
    /// Something was sent or received after the last look at the clock.
    fresh: bool,
    /// The next try in vain is the last one.
    last: bool,
    /// When something was sent or received.
    since: Instant,
    /// When it was tried.
    tried: Instant,
}

impl Default for Tries {
    /// Of a new socket, which is not left to the watcher before a first try
    /// found nothing.
    fn default() -> Self {
        let now = Instant::now();
        Self {
            watched: false,
            fresh: true,
            last: false,
            since: now,
            tried: now,
        }
    }
}

impl Tries {
    /// Something was sent or received.
    pub fn again(&mut self) {
        self.watched = false;
        self.fresh = true;
        self.last = false;
    }

    /// Something was sent that nobody answers: one try will do.
    pub fn once(&mut self) {
        if self.watched {
            self.watched = false;
            self.last = true;
        }
    }

    /// Whether the watcher looks.
    pub fn watched(&self) -> bool {
        self.watched
    }

    /// Whether to try now. `busy` is whether the RTL has something to do.
    pub fn due(&mut self, busy: bool) -> bool {
        !self.watched && self.due_at(Instant::now(), busy)
    }

    fn due_at(&mut self, now: Instant, busy: bool) -> bool {
        if std::mem::take(&mut self.fresh) {
            self.since = now;
        }
        let quiet = now.saturating_duration_since(self.since);
        let distance = if quiet < EAGER {
            Duration::ZERO
        } else if quiet < LAZY {
            LAZY_DISTANCE
        } else {
            LAST_DISTANCE
        };
        let distance = if busy {
            distance.max(BUSY_DISTANCE)
        } else {
            distance
        };
        self.last || now.saturating_duration_since(self.tried) >= distance
    }

    /// A try found nothing. Whether the watcher shall look now.
    pub fn in_vain(&mut self) -> bool {
        self.in_vain_at(Instant::now())
    }

    fn in_vain_at(&mut self, now: Instant) -> bool {
        self.tried = now;
        let quiet = now.saturating_duration_since(self.since);
        self.watched || self.last || (!self.fresh && quiet >= LAST)
    }

    /// The watcher looks.
    pub fn leave(&mut self) {
        self.watched = true;
        self.last = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times in microseconds at which a simulator with this period tries
    /// in vain, until the watcher looks.
    fn pattern(tries: &mut Tries, period: u64, busy: bool) -> Vec<u64> {
        let begin = Instant::now() + Duration::from_secs(1);
        let mut at = Vec::new();
        for us in (0..10_000).step_by(period as usize) {
            let now = begin + Duration::from_micros(us);
            if tries.due_at(now, busy) {
                at.push(us);
                if tries.in_vain_at(now) {
                    tries.leave();
                    return at;
                }
            }
        }
        panic!("never left to the watcher: {at:?}");
    }

    #[test]
    fn less_and_less_often() {
        let at = pattern(&mut Tries::default(), 1, false);
        assert_eq!(at[..9], [0, 1, 2, 3, 4, 5, 6, 7, 9]);
        let distances: Vec<u64> = at.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(distances.is_sorted(), "{distances:?}");
        assert_eq!(*distances.last().unwrap(), 4);
        assert!((500..504).contains(at.last().unwrap()));
    }

    #[test]
    fn seldom_while_the_rtl_is_busy() {
        let at = pattern(&mut Tries::default(), 1, true);
        assert!(at.windows(2).all(|w| w[1] - w[0] == 4), "{at:?}");
    }

    #[test]
    fn each_poll_of_a_slow_design() {
        assert_eq!(
            pattern(&mut Tries::default(), 100, false),
            [0, 100, 200, 300, 400, 500]
        );
        // Not without one that came after the traffic.
        assert_eq!(pattern(&mut Tries::default(), 2000, false), [0, 2000]);
    }

    #[test]
    fn traffic_begins_anew() {
        let mut tries = Tries::default();
        let first = pattern(&mut tries, 1, false);
        assert!(tries.watched() && !tries.due(false));
        // Told by the watcher, and there was nothing.
        assert!(tries.in_vain());
        tries.again();
        assert!(!tries.watched());
        assert_eq!(pattern(&mut tries, 1, false), first);
        tries.once();
        assert!(!tries.watched());
        assert_eq!(pattern(&mut tries, 1, true), [0]);
        // No end to traffic that goes on.
        tries.again();
        tries.once();
        assert_eq!(pattern(&mut tries, 1, false), first);
    }
}
