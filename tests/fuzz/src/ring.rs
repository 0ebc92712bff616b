// SPDX-License-Identifier: MIT OR Apache-2.0

//! A ring in shared memory while somebody writes there.

use std::{
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use accelerator_carrier::ring::{Consumer, Lines, Memory, Popped, Producer};

/// Words of the ring, and most bytes of a message.
const WORDS: usize = 16;
const LIMIT: usize = 96;

struct Ring {
    lines: Lines,
    data: Vec<AtomicU64>,
}

#[derive(Clone)]
struct Shared(Rc<Ring>);

impl Memory for Shared {
    fn lines(&self) -> &Lines {
        &self.0.lines
    }

    fn data(&self) -> &[AtomicU64] {
        &self.0.data
    }
}

/// Nine bytes are a step: both ends of a ring push, pop, sleep and wait, and somebody else
/// writes any of its words. Each step has an end, no message is longer than a message may
/// be, and an end that goes on after an error does no harm either.
pub fn ring(input: &[u8]) {
    let shared = Shared(Rc::new(Ring {
        lines: Lines::default(),
        data: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
    }));
    let mut producer = Producer::new(shared.clone());
    let mut consumer = Consumer::new(shared.clone());
    let mut message = Vec::new();
    for step in input.chunks_exact(9) {
        let mut word = [0; 8];
        word.copy_from_slice(&step[1..]);
        let value = u64::from_le_bytes(word);
        let which = usize::from(step[0] >> 4);
        // Small numbers too, which are the more likely to pass.
        let near = if step[0] & 8 == 0 { value % 64 } else { value };
        match step[0] & 7 {
            0 | 1 => {
                let bytes = vec![step[1]; usize::from(step[2]).min(producer.longest())];
                let _ = producer.push(&bytes, step[3] & 1 != 0);
                producer.must_wake();
            }
            2 => {
                let _ = producer.wait_for_room(usize::from(step[1]).min(producer.longest()));
            }
            3 | 4 => match consumer.pop(&mut message, LIMIT) {
                Ok(Popped::Last) => message.clear(),
                Ok(Popped::Part) => assert!(message.len() <= LIMIT && !message.is_empty()),
                Ok(Popped::Nothing) => {}
                Err(e) => assert!(!e.to_string().is_empty()),
            },
            5 => {
                consumer.sleep();
                consumer.must_wake();
                consumer.awake();
            }
            6 => shared.0.lines.words()[which % 4].store(near, Ordering::Relaxed),
            _ => shared.0.data[which].store(near, Ordering::Relaxed),
        }
        assert!(message.len() <= LIMIT);
    }
}
