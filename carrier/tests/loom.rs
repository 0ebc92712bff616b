// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every order in which two threads can use a ring, by loom:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p accelerator-carrier --test loom`.

#![cfg(loom)]

use accelerator_carrier::{
    permit::{wait_until_left, Area, Gate, Page, Visitor, WORDS},
    ring::{Consumer, Lines, Memory, Popped, Producer},
};
use loom::{
    cell::UnsafeCell,
    sync::{
        atomic::{fence, AtomicU64, Ordering},
        Arc, Condvar, Mutex,
    },
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

#[derive(Clone)]
struct Words(Arc<Vec<AtomicU64>>);

impl Words {
    fn new() -> Self {
        Self(Arc::new((0..WORDS).map(|_| AtomicU64::new(0)).collect()))
    }
}

impl Page for Words {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

fn area(address: u64) -> [Area; 1] {
    [Area {
        address,
        bytes: 4096,
        file: 0,
        offset: address,
        writable: true,
        marks: None,
    }]
}

fn again() -> bool {
    thread::yield_now();
    true
}

/// Memory that is one thread's at a time: loom fails if two use it at once.
#[derive(Clone)]
struct Guest(Arc<UnsafeCell<u64>>);

impl Guest {
    fn new() -> Self {
        Self(Arc::new(UnsafeCell::new(0)))
    }

    fn write(&self, value: u64) {
        // SAFETY: loom looks whether anybody else uses it.
        self.0.with_mut(|p| unsafe { *p = value });
    }
}

#[test]
fn when_the_gate_is_closed_nobody_is_inside_and_nobody_enters() {
    model(|| {
        let (page, guest) = (Words::new(), Guest::new());
        let mut gate = Gate::new(page.clone());
        assert!(gate.open(&area(4096)));
        let theirs = guest.clone();
        let device = thread::spawn(move || {
            let mut visitor = Visitor::new(page);
            for _ in 0..2 {
                if let Some(visit) = visitor.enter() {
                    assert_eq!(visit.areas(), area(4096));
                    theirs.write(1);
                }
            }
        });
        assert!(gate.close(again));
        guest.write(2);
        device.join().unwrap();
    });
}

#[test]
fn a_device_never_sees_a_part_of_a_list() {
    model(|| {
        let page = Words::new();
        let mut gate = Gate::new(page.clone());
        assert!(gate.open(&area(4096)));
        let device = thread::spawn(move || {
            let mut visitor = Visitor::new(page);
            let mut last = 0;
            for _ in 0..2 {
                if let Some(visit) = visitor.enter() {
                    let [only] = visit.areas() else {
                        panic!("{:?}", visit.areas())
                    };
                    assert_eq!(only.address, only.offset);
                    assert!(only.address >= last);
                    last = only.address;
                }
            }
        });
        assert!(gate.close(again));
        assert!(gate.open(&area(8192)));
        device.join().unwrap();
    });
}

#[test]
fn a_page_is_marked_before_the_device_writes_there_or_after_it_has() {
    model(|| {
        let (page, guest) = (Words::new(), Guest::new());
        let mark = Arc::new(AtomicU64::new(0));
        let mut gate = Gate::new(page.clone());
        assert!(gate.open(&area(4096)));
        let theirs = (guest.clone(), Arc::clone(&mark));
        let device = thread::spawn(move || {
            let mut visitor = Visitor::new(page);
            let visit = visitor.enter();
            if visit.is_some() && theirs.1.load(Ordering::Acquire) == 0 {
                theirs.0.write(1);
            }
            drop(visit);
        });
        mark.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        assert!(wait_until_left(gate.page(), again));
        guest.write(2);
        device.join().unwrap();
    });
}
