// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages that found no room, in a ring or a socket that is full: kept in order, with a bound,
//! until there is room.
//!
//! Whoever has something to say meanwhile may do so, and nothing overtakes what is kept. What
//! becomes of an end that takes in nothing until the bound is passed is up to whoever keeps
//! messages for it.

use std::{collections::VecDeque, fmt};

/// How much may be kept for an end that does not take it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many messages.
    Messages(usize),
    /// So many bytes.
    Bytes(usize),
}

/// More is kept than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// How much is kept, in what the bound counts.
    kept: usize,
    /// How much may be.
    bound: Bound,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, what) = match self.bound {
            Bound::Messages(most) => (most, "messages"),
            Bound::Bytes(most) => (most, "bytes"),
        };
        let kept = self.kept;
        write!(
            f,
            "{kept} {what} wait for it to read them, at most {most} may"
        )
    }
}

/// Messages that found no room.
#[derive(Debug)]
pub struct Backlog {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
    bound: Bound,
}

impl Backlog {
    /// Without a message.
    pub const fn new(bound: Bound) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            bound,
        }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Messages that are kept.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Keeps a message behind the others; an empty one is none.
    pub fn push(&mut self, message: Vec<u8>) {
        if !message.is_empty() {
            self.bytes += message.len();
            self.messages.push_back(message);
        }
    }

    /// Keeps a message, which is empty then: with the last one, if both together have no more
    /// than `most` bytes. For an end to which two messages are the same as both in one.
    pub fn join(&mut self, message: &mut Vec<u8>, most: usize) {
        match self.messages.back_mut() {
            Some(last) if last.len() + message.len() <= most => {
                self.bytes += message.len();
                last.append(message);
            }
            _ => self.push(std::mem::take(message)),
        }
    }

    /// Has `send` send what is kept, until nothing is or `send` says that there is no room.
    /// Whether nothing is left.
    ///
    /// # Errors
    ///
    /// Of `send`. What it did not send, because of that or without room, is still kept.
    pub fn pass_on<E>(
        &mut self,
        mut send: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<bool, E> {
        while let Some(message) = self.messages.front() {
            if !send(message)? {
                return Ok(false);
            }
            self.bytes -= message.len();
            self.messages.pop_front();
        }
        Ok(true)
    }

    /// Forgets what is kept.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.bytes = 0;
    }

    /// Whether more is kept than may be.
    pub fn excess(&self) -> Option<Excess> {
        let (kept, most) = match self.bound {
            Bound::Messages(most) => (self.messages.len(), most),
            Bound::Bytes(most) => (self.bytes, most),
        };
        (kept > most).then_some(Excess {
            kept,
            bound: self.bound,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut backlog = Backlog::new(Bound::Bytes(400));
        for _ in 0..4 {
            backlog.push(vec![0; 100]);
        }
        assert_eq!(backlog.excess(), None);
        backlog.push(vec![0]);
        assert_eq!(
            backlog.excess().map(|e| e.to_string()).as_deref(),
            Some("401 bytes wait for it to read them, at most 400 may")
        );
        // What was sent counts no more.
        let mut left = 1;
        let failed = backlog.pass_on(|message| {
            left -= 1;
            match left {
                0 => Ok(true),
                _ => Err(message.len()),
            }
        });
        assert_eq!(failed, Err(100));
        assert_eq!((backlog.len(), backlog.excess()), (4, None));
        backlog.push(vec![0; 100]);
        assert!(backlog.excess().is_some());
        backlog.clear();
        assert!(backlog.is_empty() && backlog.excess().is_none());

        let mut backlog = Backlog::new(Bound::Messages(2));
        for message in [vec![0; 1000], vec![0; 1000], vec![]] {
            backlog.push(message);
        }
        assert_eq!(backlog.excess(), None);
        backlog.push(vec![0]);
        assert_eq!(
            backlog.excess().map(|e| e.to_string()).as_deref(),
            Some("3 messages wait for it to read them, at most 2 may")
        );
    }

    #[test]
    fn messages_are_joined_while_they_are_short() {
        let mut backlog = Backlog::new(Bound::Bytes(100));
        for message in ["ab", "cd", "e", "", "fghij"] {
            let mut message = message.as_bytes().to_vec();
            backlog.join(&mut message, 4);
            assert!(message.is_empty());
        }
        let mut sent = Vec::new();
        let all = backlog.pass_on(|message| {
            sent.push(message.to_vec());
            Ok::<_, ()>(true)
        });
        assert!(all == Ok(true) && backlog.is_empty());
        assert_eq!(sent, [&b"abcd"[..], b"e", b"fghij"]);
    }

    proptest! {
        /// Whatever is kept and sent when, all of it arrives, once and in order, and what is
        /// left is counted.
        #[test]
        fn all_arrives_once_and_in_order(
            steps in prop::collection::vec((0_usize..30, any::<bool>(), 0_usize..4), 0..100)
        ) {
            let mut backlog = Backlog::new(Bound::Bytes(0));
            let (mut said, mut heard) = (Vec::<u8>::new(), Vec::<u8>::new());
            let mut next = 0_u8;
            for (length, joined, mut room) in steps {
                let mut message = Vec::new();
                for _ in 0..length {
                    message.push(next);
                    next = next.wrapping_add(1);
                }
                said.extend(&message);
                if joined {
                    backlog.join(&mut message, 40);
                } else {
                    backlog.push(message);
                }
                let all = backlog.pass_on(|message| {
                    if room == 0 {
                        return Ok::<_, ()>(false);
                    }
                    room -= 1;
                    heard.extend_from_slice(message);
                    Ok(true)
                });
                prop_assert_eq!(all, Ok(backlog.is_empty()));
                let kept = backlog.excess().map_or(0, |excess| excess.kept);
                prop_assert_eq!(kept, said.len() - heard.len());
                prop_assert_eq!(kept == 0, backlog.is_empty());
            }
            let all = backlog.pass_on(|message| {
                heard.extend_from_slice(message);
                Ok::<_, ()>(true)
            });
            prop_assert_eq!(all, Ok(true));
            prop_assert_eq!(said, heard);
        }
    }
}
