// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a thread wrote before it sent a message is there for who has received it. The memory
//! for it is plain, so that ThreadSanitizer sees a race where the ring does not order the two
//! (`scripts/test.sh tsan`); by itself this finds what the machine it runs on makes of it.

use std::{
    cell::UnsafeCell,
    hint,
    sync::{atomic::AtomicU64, Arc},
    thread,
};

use accelerator_carrier::ring::{Consumer, Lines, Memory, Popped, Producer};

const WORDS: usize = 64;

/// A ring in memory of the process.
#[derive(Clone)]
struct Ring(Arc<(Lines, Vec<AtomicU64>)>);

impl Ring {
    fn new() -> Self {
        let data = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new((Lines::default(), data)))
    }
}

impl Memory for Ring {
    fn lines(&self) -> &Lines {
        &self.0 .0
    }

    fn data(&self) -> &[AtomicU64] {
        &self.0 .1
    }
}

/// Cells, each of which belongs to who has the message with its number.
struct Cells(Vec<UnsafeCell<u64>>);

// SAFETY: whoever uses a cell has been told by a message that it is theirs.
unsafe impl Sync for Cells {}

impl Cells {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self((0..count).map(|_| UnsafeCell::new(0)).collect()))
    }

    /// Adds to a cell. What it had before.
    fn add(&self, number: u64, value: u64) -> u64 {
        // SAFETY: the callers have exchanged messages in between, which this test is about.
        let cell = unsafe { &mut *self.0[number as usize].get() };
        std::mem::replace(cell, *cell + value)
    }
}

fn send(to: &mut Producer<Ring>, number: u64) {
    while !to.push(&number.to_le_bytes(), false).unwrap() {
        hint::spin_loop();
    }
}

fn receive(from: &mut Consumer<Ring>) -> u64 {
    let mut message = Vec::new();
    while from.pop(&mut message, 8).unwrap() != Popped::Last {
        hint::spin_loop();
    }
    u64::from_le_bytes(message.try_into().unwrap())
}

fn main() {
    const COUNT: u64 = 10_000;
    let (there, back) = (Ring::new(), Ring::new());
    let cells = Cells::new(COUNT as usize);
    let other = {
        let (there, back, cells) = (there.clone(), back.clone(), cells.clone());
        thread::spawn(move || {
            let (mut from, mut to) = (Consumer::new(there), Producer::new(back));
            for _ in 0..COUNT {
                let number = receive(&mut from);
                assert_eq!(cells.add(number, 1), number);
                send(&mut to, number);
            }
        })
    };
    let (mut to, mut from) = (Producer::new(there), Consumer::new(back));
    let mut next = 0;
    for expected in 0..COUNT {
        // Several are under way, and less than would fill both rings.
        while next < COUNT && next < expected + 8 {
            assert_eq!(cells.add(next, next), 0);
            send(&mut to, next);
            next += 1;
        }
        let number = receive(&mut from);
        assert_eq!(number, expected);
        assert_eq!(cells.add(number, 0), number + 1);
    }
    other.join().unwrap();
}
