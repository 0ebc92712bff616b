// SPDX-License-Identifier: MIT OR Apache-2.0

//! One direction: a queue of messages in memory, with one producer and one consumer.
//!
//! # Layout
//!
//! [`Lines`], five cache lines with one word each, and the data, a power of two of words. A
//! message is written as one part or several, each a word with its length in bytes (bit 63
//! tells that another part follows) and its bytes, filled up to a whole word. Positions count
//! words since the beginning and never turn back.
//!
//! # Order
//!
//! The producer writes a part with plain stores and then its position with release; the
//! consumer reads that with acquire, so what it copies is what was written. The other way
//! round the consumer publishes with release how far it has copied, and the producer reads
//! that with acquire before it writes there again.
//!
//! # Sleep
//!
//! Who wants to sleep sets a flag, and then looks once more; the other one publishes and then
//! looks at the flag. Between the two steps each side has a sequentially consistent fence, so
//! at least one of them sees what the other did: either the sleeper finds work, or it is
//! woken. Who wakes takes the flag away, so that a sleeper costs one system call and not one
//! with each message.

use std::mem::MaybeUninit;

#[cfg(not(loom))]
use std::sync::atomic::{fence, AtomicU64, Ordering};

#[cfg(loom)]
use loom::sync::atomic::{fence, AtomicU64, Ordering};

use crate::Broken;

/// A word that has a cache line for itself (two, since processors fetch pairs).
#[repr(C, align(128))]
#[derive(Default)]
pub struct Line(AtomicU64);

/// What the two sides tell each other beside the data.
#[repr(C)]
#[derive(Default)]
pub struct Lines {
    /// Words written, by the producer.
    tail: Line,
    /// Words read, by the consumer.
    head: Line,
    /// The consumer sleeps until something is written.
    sleeps: Line,
    /// The producer waits until something is read.
    waits: Line,
    /// Advice of the producer: how many threads like the consumer it has to do with. Not known
    /// if 0.
    crowd: Line,
}

impl Lines {
    /// Tail, head, sleeps and waits, as the other process has them: for tests, which play it.
    pub fn words(&self) -> [&AtomicU64; 4] {
        [&self.tail.0, &self.head.0, &self.sleeps.0, &self.waits.0]
    }

    /// Whether there is something to read, for a thread that is not the consumer: a hint,
    /// since it believes both positions.
    #[inline]
    pub fn may_have(&self) -> bool {
        self.tail.0.load(Ordering::Acquire) != self.head.0.load(Ordering::Relaxed)
    }

    /// The consumer asks to be woken when something is pushed. It has to look once more before
    /// it sleeps.
    pub fn sleep(&self) {
        self.sleeps.0.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The consumer sleeps no more, whoever woke it. A wake-up may still come.
    pub fn awake(&self) {
        self.sleeps.0.store(0, Ordering::Relaxed);
    }
}

/// Where a ring is.
pub trait Memory {
    /// Its lines.
    fn lines(&self) -> &Lines;
    /// Its data: a power of two of words, at least four.
    fn data(&self) -> &[AtomicU64];
}

/// Another part of the message follows.
const MORE: u64 = 1 << 63;

/// The side that writes.
pub struct Producer<M> {
    memory: M,
    /// Words written. The one in the shared memory is never read.
    tail: u64,
    /// Words read, as far as is known.
    head: u64,
}

/// The side that reads.
pub struct Consumer<M> {
    memory: M,
    /// Words read. The one in the shared memory is never read.
    head: u64,
    /// Words written, as far as was seen.
    tail: u64,
}

/// What [`Consumer::pop`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popped {
    /// Nothing.
    Nothing,
    /// A part of a message; others follow.
    Part,
    /// The last part of a message.
    Last,
}

/// Words of a part of so many bytes.
const fn words(bytes: usize) -> u64 {
    // No buffer has so many that this overflows.
    (1 + bytes.div_ceil(8)) as u64
}

/// The position in the data, whose length is a power of two.
fn index(position: u64, data: &[AtomicU64]) -> usize {
    (position & (data.len() as u64 - 1)) as usize
}

/// So many words from a position on, which goes on at the beginning of the data.
fn stretch(position: u64, count: usize, data: &[AtomicU64]) -> [&[AtomicU64]; 2] {
    let (begin, end) = data.split_at(index(position, data));
    match end.get(..count) {
        Some(all) => [all, &[]],
        None => [end, &begin[..count - end.len()]],
    }
}

/// Appends the first `length` bytes of these words, which have so many and less than a word more.
fn copy(words: [&[AtomicU64]; 2], length: usize, to: &mut Vec<u8>) {
    let start = to.len();
    let whole = 8 * (words[0].len() + words[1].len());
    to.reserve(whole);
    let mut places = to.spare_capacity_mut()[..whole].chunks_exact_mut(8);
    for part in words {
        for (word, place) in part.iter().zip(&mut places) {
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            place.copy_from_slice(&bytes.map(MaybeUninit::new));
        }
    }
    debug_assert!(length <= whole && places.len() == 0);
    // SAFETY: each of the `whole` bytes from `start` on was written, and `length` are no more.
    unsafe { to.set_len(start + length.min(whole)) };
}

impl<M: Memory> Producer<M> {
    /// Of a ring in which nothing was written.
    pub fn new(memory: M) -> Self {
        debug_assert!(memory.data().len().is_power_of_two());
        Self {
            memory,
            tail: 0,
            head: 0,
        }
    }

    /// Bytes of the longest part: a quarter of the ring, so that a long message is written
    /// while it is read.
    pub fn longest(&self) -> usize {
        self.memory.data().len() / 4 * 8 - 8
    }

    /// Whether a part of `bytes` has room.
    fn has_room(&mut self, bytes: usize) -> Result<bool, Broken> {
        let size = self.memory.data().len() as u64;
        let needed = words(bytes);
        if size - (self.tail - self.head) >= needed {
            return Ok(true);
        }
        let head = self.memory.lines().head.0.load(Ordering::Acquire);
        let used = self.tail.wrapping_sub(head);
        // Room does not go away, or whoever waits for it could be kept at it for ever.
        let possible = self.tail - self.head;
        if used > possible {
            return Err(Broken::Position {
                found: used,
                possible,
            });
        }
        self.head = head;
        Ok(size - used >= needed)
    }

    /// Writes a part of a message, at most [`Self::longest`] bytes, if it has room. `more`
    /// says that another part follows. Whether it was written.
    ///
    /// # Errors
    ///
    /// The other end has broken the ring.
    pub fn push(&mut self, bytes: &[u8], more: bool) -> Result<bool, Broken> {
        debug_assert!(bytes.len() <= self.longest());
        if !self.has_room(bytes.len())? {
            return Ok(false);
        }
        let data = self.memory.data();
        let head = bytes.len() as u64 | if more { MORE } else { 0 };
        data[index(self.tail, data)].store(head, Ordering::Relaxed);
        let count = bytes.len().div_ceil(8);
        let mut left = bytes;
        for part in stretch(self.tail + 1, count, data) {
            let here = left.len().min(8 * part.len());
            let (bytes, later) = left.split_at(here);
            left = later;
            let mut whole = bytes.chunks_exact(8);
            for (word, bytes) in part.iter().zip(&mut whole) {
                let mut value = [0; 8];
                value.copy_from_slice(bytes);
                word.store(u64::from_le_bytes(value), Ordering::Relaxed);
            }
            let rest = whole.remainder();
            if let (Some(word), false) = (part.last(), rest.is_empty()) {
                let mut value = [0; 8];
                value[..rest.len()].copy_from_slice(rest);
                word.store(u64::from_le_bytes(value), Ordering::Relaxed);
            }
        }
        self.tail += 1 + count as u64;
        self.memory
            .lines()
            .tail
            .0
            .store(self.tail, Ordering::Release);
        Ok(true)
    }

    /// Tells the other side how many like it there are.
    pub fn tell_crowd(&self, crowd: u64) {
        self.memory.lines().crowd.0.store(crowd, Ordering::Relaxed);
    }

    /// After something was pushed: whether the other side sleeps and has to be woken. Says so
    /// once for each sleep.
    pub fn must_wake(&self) -> bool {
        take_flag(&self.memory.lines().sleeps.0)
    }

    /// Asks to be woken when something is read, since a part of `bytes` has no room. False
    /// if it has by now; then nobody wakes.
    ///
    /// # Errors
    ///
    /// The other end has broken the ring.
    pub fn wait_for_room(&mut self, bytes: usize) -> Result<bool, Broken> {
        self.memory.lines().waits.0.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let room = self.has_room(bytes)?;
        if room {
            self.memory.lines().waits.0.store(0, Ordering::Relaxed);
        }
        Ok(!room)
    }
}

impl<M: Memory> Consumer<M> {
    /// Of a ring from which nothing was read.
    pub fn new(memory: M) -> Self {
        debug_assert!(memory.data().len().is_power_of_two());
        Self {
            memory,
            head: 0,
            tail: 0,
        }
    }

    /// Where the ring is.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Words that the other side has written so far, as it says. It cannot take that back:
    /// [`Self::pop`] reads them or fails.
    pub fn written(&mut self) -> u64 {
        let tail = self.memory.lines().tail.0.load(Ordering::Acquire);
        if tail.wrapping_sub(self.head) > self.tail.wrapping_sub(self.head) {
            self.tail = tail;
        }
        tail
    }

    /// Whether all was read that was there when [`Self::written`] gave `position`. One
    /// that cannot be is as good as read.
    pub fn has_read(&self, position: u64) -> bool {
        let left = position.wrapping_sub(self.head);
        left == 0 || left > self.memory.data().len() as u64
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.memory.lines().tail.0.load(Ordering::Acquire) == self.head
    }

    /// Appends the next part of a message to `to`, which has at most `limit` bytes then.
    ///
    /// # Errors
    ///
    /// The other end has broken the ring, or the message would be too long.
    pub fn pop(&mut self, to: &mut Vec<u8>, limit: usize) -> Result<Popped, Broken> {
        let lines = self.memory.lines();
        let data = self.memory.data();
        let size = data.len() as u64;
        let tail = lines.tail.0.load(Ordering::Acquire);
        let there = tail.wrapping_sub(self.head);
        if there > size {
            return Err(Broken::Position {
                found: there,
                possible: size,
            });
        }
        // What was written stays so, or whoever waits until it is read could be kept at it for
        // ever.
        let seen = self.tail.wrapping_sub(self.head);
        if there < seen {
            return Err(Broken::Back {
                words: seen - there,
            });
        }
        self.tail = tail;
        if there == 0 {
            return Ok(Popped::Nothing);
        }
        let head = data[index(self.head, data)].load(Ordering::Relaxed);
        let length = head & !MORE;
        if head == MORE {
            // A message of such parts would have no end.
            return Err(Broken::Empty);
        }
        let possible = (there - 1) * 8;
        if length > possible {
            return Err(Broken::Length {
                found: length,
                limit: possible,
            });
        }
        // At most what the ring has.
        let length = length as usize;
        if to.len() + length > limit {
            return Err(Broken::Message { limit });
        }
        let count = length.div_ceil(8);
        copy(stretch(self.head + 1, count, data), length, to);
        self.head += 1 + count as u64;
        lines.head.0.store(self.head, Ordering::Release);
        Ok(if head & MORE != 0 {
            Popped::Part
        } else {
            Popped::Last
        })
    }

    /// How many like this one the other side says that it has to do with.
    pub fn crowd(&self) -> u64 {
        self.memory.lines().crowd.0.load(Ordering::Relaxed)
    }

    /// After something was popped: whether the other side waits for room and has to be
    /// woken. Says so once for each wait.
    pub fn must_wake(&self) -> bool {
        take_flag(&self.memory.lines().waits.0)
    }

    /// Asks to be woken when something is pushed. False if something is there; then nobody
    /// wakes.
    pub fn sleep(&self) -> bool {
        self.memory.lines().sleep();
        let empty = self.is_empty();
        if !empty {
            self.awake();
        }
        empty
    }

    /// Sleeps no more, whoever woke it. A wake-up may still come.
    pub fn awake(&self) {
        self.memory.lines().awake();
    }
}

/// Takes the flag of a sleeper, after what it may wait for was published.
fn take_flag(flag: &AtomicU64) -> bool {
    fence(Ordering::SeqCst);
    // The flag is seldom set, and to look does not take the line from its owner.
    flag.load(Ordering::Relaxed) != 0 && flag.swap(0, Ordering::Relaxed) != 0
}
