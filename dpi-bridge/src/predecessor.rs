// SPDX-License-Identifier: MIT OR Apache-2.0

//! A simulator that was killed may still be ending when the next one starts.
//!
//! Its threads end one by one, and its sockets with the last of them: for a moment nobody waits
//! for that process any more, and its address is in use.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// For how long an address that is in use is tried again. One that somebody uses is told so much
/// later.
const PATIENCE: Duration = Duration::from_secs(2);
/// The pause before the second attempt. It doubles: whoever does use the address sees a
/// connection for each.
const PAUSE: Duration = Duration::from_millis(5);

/// Tries until it does not fail, or fails otherwise than by an address that is in use, or for
/// too long.
pub fn outlast<T, E>(
    in_use: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let begin = Instant::now();
    let mut pause = PAUSE;
    loop {
        let result = attempt();
        let left = PATIENCE.saturating_sub(begin.elapsed());
        match &result {
            Err(e) if in_use(e) && !left.is_zero() => sleep(pause.min(left)),
            _ => return result,
        }
        pause *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_tried_again_only_while_the_address_is_in_use() {
        let mut answers = vec![Ok(7), Err("in use"), Err("in use")];
        let next = || answers.pop().unwrap();
        assert_eq!(outlast(|e| *e == "in use", next), Ok(7));
        let mut tries = 0;
        let refused: Result<(), _> = outlast(
            |e| *e == "in use",
            || {
                tries += 1;
                Err("no such folder")
            },
        );
        assert_eq!((refused, tries), (Err("no such folder"), 1));
    }

    #[test]
    fn what_stays_in_use_is_told() {
        let begin = Instant::now();
        let mut tries = 0;
        let taken: Result<(), _> = outlast(
            |_| true,
            || {
                tries += 1;
                Err("in use")
            },
        );
        assert_eq!(taken, Err("in use"));
        assert!(begin.elapsed() >= PATIENCE);
        assert!(tries <= 11, "{tries}");
    }
}
