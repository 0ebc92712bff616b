// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long it is worth while to look for something before one sleeps.

use std::{
    hint,
    time::{Duration, Instant},
};

/// What is looked for at least, so that it is noticed when looking pays again, as a part of
/// the limit.
const LEAST: u32 = 16;

/// A bounded look that adapts: it is shorter after each in vain, and longer after each that
/// found something.
#[derive(Clone, Debug)]
pub struct Patience {
    limit: Duration,
    now: Duration,
}

impl Patience {
    /// Looks for `limit` at most; not at all if the process may use one processor only, since
    /// whoever is to bring what is looked for cannot run meanwhile.
    pub fn new(limit: Duration) -> Self {
        let limit = if one_processor() {
            Duration::ZERO
        } else {
            limit
        };
        Self { limit, now: limit }
    }

    /// Looks until `there` is true or patience ends. Whether it is there.
    pub fn look(&mut self, mut there: impl FnMut() -> bool) -> bool {
        if there() {
            return true;
        }
        if self.limit.is_zero() {
            return false;
        }
        let begin = Instant::now();
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
            if begin.elapsed() >= self.now {
                break false;
            }
        };
        self.now = if found {
            (self.now * 2).min(self.limit)
        } else {
            (self.now / 2).max(self.limit / LEAST)
        };
        found
    }
}

/// Whether the process may use one processor only.
fn one_processor() -> bool {
    // SAFETY: all zeros is a valid set, which is valid for its size.
    let count = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set) < 0 {
            // More processors than a set has.
            return false;
        }
        libc::CPU_COUNT(&set)
    };
    count == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_has_an_end_and_adapts() {
        let limit = Duration::from_millis(4);
        let mut patience = Patience { limit, now: limit };
        assert!(patience.look(|| true));
        let mut shorter = limit;
        for _ in 0..10 {
            assert!(!patience.look(|| false));
            shorter = (shorter / 2).max(limit / LEAST);
            assert_eq!(patience.now, shorter);
        }
        let mut looks = 0;
        assert!(patience.look(|| {
            looks += 1;
            looks > 20
        }));
        assert_eq!(patience.now, limit / LEAST * 2);
        let mut none = Patience {
            limit: Duration::ZERO,
            now: Duration::ZERO,
        };
        let mut looks = 0;
        assert!(!none.look(|| {
            looks += 1;
            false
        }));
        assert_eq!(looks, 1);
    }
}
