// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many lines of a log others can cause.
//!
//! What a guest, the network or the other end of a connection does again and
//! again is told a few times and then counted: at most so many lines of one kind
//! in a period, of which the last says that more are left out, and the first of a
//! later period how many were.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Lines of one kind in a [`PERIOD`], if there is no reason for another number.
pub const LINES: u32 = 8;

/// The period that belongs to [`LINES`].
pub const PERIOD: Duration = Duration::from_secs(10);

/// The limit of one kind of line. Each place that writes such lines has its own.
#[derive(Clone, Debug)]
pub struct Limit {
    most: u32,
    period: Duration,
    /// When the first line of the current period was written.
    since: Option<Instant>,
    /// In the current period.
    written: u32,
    /// Since the last line that was written.
    left_out: u64,
}

/// A line may be written. Shown behind it, this says what was left out before it
/// and whether more will be; it is empty if there is nothing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Lines of the kind that were left out before this one.
    pub left_out: u64,
    /// Further ones are left out for so long.
    pub silent_for: Option<Duration>,
}

impl Default for Limit {
    fn default() -> Self {
        Self::new(LINES, PERIOD)
    }
}

impl Limit {
    /// At most `most` lines, which is at least one, in `period`.
    pub const fn new(most: u32, period: Duration) -> Self {
        Self {
            most: if most == 0 { 1 } else { most },
            period,
            since: None,
            written: 0,
            left_out: 0,
        }
    }

    /// Whether a line may be written at `now`, and what to put behind it. A line
    /// that may not is counted.
    pub fn admit(&mut self, now: Instant) -> Option<Note> {
        let since = match self.since {
            Some(since) if now.saturating_duration_since(since) < self.period => since,
            _ => {
                self.written = 0;
                *self.since.insert(now)
            }
        };
        if self.written >= self.most {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.written += 1;
        Some(Note {
            left_out: std::mem::take(&mut self.left_out),
            silent_for: (self.written == self.most)
                .then(|| self.period - now.saturating_duration_since(since)),
        })
    }

    /// How many lines were left out and not told yet, once the period is over;
    /// for whoever has a clock, since there may be no later line that tells it.
    pub fn overdue(&mut self, now: Instant) -> Option<u64> {
        let over = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.period);
        (over && self.left_out != 0).then(|| std::mem::take(&mut self.left_out))
    }

    /// How many lines were left out and not told yet, for the last line of all.
    pub fn left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.left_out != 0 {
            write!(
                f,
                " ({} more like this were left out before)",
                self.left_out
            )?;
        }
        if let Some(time) = self.silent_for {
            write!(
                f,
                " (more like this are left out for {:.1} s)",
                time.as_secs_f64()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(left_out: u64, silent_for: Option<u64>) -> Option<Note> {
        Some(Note {
            left_out,
            silent_for: silent_for.map(Duration::from_millis),
        })
    }

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limit = Limit::new(3, Duration::from_secs(1));
        assert_eq!(limit.admit(at(0)), note(0, None));
        assert_eq!(limit.admit(at(1)), note(0, None));
        assert_eq!(limit.admit(at(400)), note(0, Some(600)));
        for ms in 401..1000 {
            assert_eq!(limit.admit(at(ms)), None);
            assert_eq!(limit.overdue(at(ms)), None);
        }
        // The next period begins with the line, not where the last one ended.
        assert_eq!(limit.admit(at(1500)), note(599, None));
        assert_eq!(limit.admit(at(2499)), note(0, None));
        assert_eq!(limit.admit(at(2500)), note(0, None));
        assert_eq!(limit.left_out(), 0);
    }

    #[test]
    fn what_no_later_line_tells_can_be_asked_for_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut limit = Limit::new(1, Duration::from_secs(1));
        assert_eq!(limit.overdue(at(0)), None);
        assert_eq!(limit.admit(at(0)), note(0, Some(1000)));
        assert_eq!(limit.admit(at(10)), None);
        assert_eq!(limit.admit(at(20)), None);
        assert_eq!(limit.overdue(at(999)), None);
        assert_eq!(limit.overdue(at(1000)), Some(2));
        assert_eq!(limit.overdue(at(1001)), None);
        assert_eq!(limit.admit(at(1002)), note(0, Some(1000)));
        assert_eq!(limit.admit(at(1003)), None);
        assert_eq!((limit.left_out(), limit.left_out()), (1, 0));
    }

    #[test]
    fn lines_in_any_time_are_bounded() {
        let start = Instant::now();
        let mut limit = Limit::default();
        let lines = (0..100_000)
            .filter(|ms| limit.admit(start + Duration::from_millis(*ms)).is_some())
            .count();
        assert_eq!(lines as u32, 10 * LINES);
        // A clock that stands still or goes back is no way around it.
        let mut limit = Limit::new(2, PERIOD);
        assert!(limit.admit(start + PERIOD).is_some());
        assert!(limit.admit(start).is_some());
        assert!(limit.admit(start).is_none());
        // A limit of none would hide that there is anything.
        assert!(Limit::new(0, PERIOD).admit(start).is_some());
    }

    #[test]
    fn notes_say_what_is_missing() {
        let text = |n: Option<Note>| n.unwrap().to_string();
        assert_eq!(text(note(0, None)), "");
        assert_eq!(
            text(note(7, None)),
            " (7 more like this were left out before)"
        );
        assert_eq!(
            text(note(1, Some(9500))),
            " (1 more like this were left out before) (more like this are left out for 9.5 s)"
        );
    }
}
