// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every order in which two threads can use a ring, by loom:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p accelerator-carrier --test loom`.

#![cfg(loom)]

use accelerator_carrier::ring::{Consumer, Lines, Memory, Popped, Producer};
use loom::{
    sync::{atomic::AtomicU64, Arc, Condvar, Mutex},
    thread,
};

struct Ring {
    lines: Lines,
    data: Vec<AtomicU64>,
}

#[derive(Clone)]
struct Shared(Arc<Ring>);

impl Shared {
    fn new(words: usize) -> Self {
        Self(Arc::new(Ring {
            lines: Lines::default(),
            data: (0..words).map(|_| AtomicU64::new(0)).collect(),
        }))
    }
}

impl Memory for Shared {
    fn lines(&self) -> &Lines {
        &self.0.lines
    }

    fn data(&self) -> &[AtomicU64] {
        &self.0.data
    }
}

/// What wakes: a wake-up before the sleep ends the sleep.
struct Bell(Mutex<bool>, Condvar);

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(false), Condvar::new()))
    }

    fn ring(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }

    fn sleep(&self) {
        let mut rung = self.0.lock().unwrap();
        while !*rung {
            rung = self.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn a_consumer_that_sleeps_is_always_woken() {
    model(|| {
        let ring = Shared::new(8);
        let bell = Bell::new();
        let theirs = (ring.clone(), Arc::clone(&bell));
        let producer = thread::spawn(move || {
            let mut producer = Producer::new(theirs.0);
            for i in 0..2_u8 {
                assert!(producer.push(&[i], false).unwrap());
                if producer.must_wake() {
                    theirs.1.ring();
                }
            }
        });
        let mut consumer = Consumer::new(ring);
        for i in 0..2_u8 {
            let mut message = Vec::new();
            while consumer.pop(&mut message, 8).unwrap() == Popped::Nothing {
                if consumer.sleep() {
                    bell.sleep();
                    consumer.awake();
                }
            }
            assert_eq!(message, [i]);
        }
        producer.join().unwrap();
    });
}

#[test]
fn a_producer_that_waits_for_room_is_always_woken() {
    model(|| {
        // Room for two messages of one byte.
        let ring = Shared::new(4);
        let bell = Bell::new();
        let theirs = (ring.clone(), Arc::clone(&bell));
        let producer = thread::spawn(move || {
            let mut producer = Producer::new(theirs.0);
            for i in 0..3_u8 {
                while !producer.push(&[i], false).unwrap() {
                    if producer.wait_for_room(1).unwrap() {
                        theirs.1.sleep();
                    }
                }
            }
        });
        let mut consumer = Consumer::new(ring);
        for i in 0..3_u8 {
            let mut message = Vec::new();
            while consumer.pop(&mut message, 8).unwrap() == Popped::Nothing {
                thread::yield_now();
            }
            assert_eq!(message, [i]);
            if consumer.must_wake() {
                bell.ring();
            }
        }
        producer.join().unwrap();
    });
}
