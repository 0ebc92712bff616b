// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two ends of one segment: order, limits, wake-ups, and one end that breaks it.

#![cfg(not(loom))]

use std::{
    os::fd::{AsFd, AsRawFd},
    sync::{atomic::AtomicU64, Arc},
    time::Duration,
};

use accelerator_carrier::{
    end::{End, Side},
    handover::{Bell, Claim, Offer},
    ring::{Consumer, Lines, Memory, Popped, Producer},
    segment::{self, Segment, Window, RING_BYTES},
    Broken,
};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

fn pair() -> (End, End) {
    let file = segment::file().unwrap();
    let window = Window::new().unwrap();
    let device = Segment::in_window(file.as_fd(), window).unwrap();
    let offer = Offer::new(file).unwrap();
    let claim = Claim::new(offer.name()).unwrap();
    let theirs = offer.hand_over().unwrap().unwrap();
    let file = claim.take().unwrap().unwrap();
    let host = Segment::of_other(file.as_fd()).unwrap();
    let bell = claim.into_bell();
    (
        End::new(&host, Side::Host, Arc::new(bell), LIMIT),
        End::new(&device, Side::Device, Arc::new(theirs), LIMIT),
    )
}

/// Sleeps until the bell rings. False after ten seconds.
fn rings(bell: &Bell) -> bool {
    let mut poll = libc::pollfd {
        fd: bell.descriptor().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one element is valid.
    let count = unsafe { libc::poll(&mut poll, 1, 10_000) };
    bell.drain(drop);
    count == 1
}

#[test]
fn messages_go_both_ways_whole_and_in_order() {
    let (mut host, mut device) = pair();
    let mut message = Vec::new();
    for i in 0..1000_usize {
        let sent: Vec<u8> = (0..i * 7 % 3000).map(|b| (b + i) as u8).collect();
        assert!(host.send(&sent).unwrap());
        assert!(device.receive(&mut message).unwrap());
        assert_eq!(message, sent);
        assert!(device.send(&sent).unwrap());
        assert!(host.receive(&mut message).unwrap());
        assert_eq!(message, sent);
    }
    assert!(!host.receive(&mut message).unwrap());
    assert!(message.is_empty());
}

#[test]
fn a_host_tells_how_many_devices_it_has() {
    let (mut host, device) = pair();
    assert_eq!(device.crowd(), 0);
    for crowd in [4, 4, 1] {
        host.tell_crowd(crowd);
        assert_eq!(device.crowd(), crowd);
    }
}

#[test]
fn a_full_ring_takes_no_more_until_something_is_read() {
    let (mut host, mut device) = pair();
    let mut sent = 0_u64;
    while host.send(&sent.to_le_bytes()).unwrap() {
        sent += 1;
    }
    assert_eq!(sent as usize, RING_BYTES / 16);
    assert!(host.wait_for_room().unwrap());
    let mut message = Vec::new();
    for i in 0..sent {
        assert!(device.receive(&mut message).unwrap());
        assert_eq!(message, i.to_le_bytes());
    }
    assert!(rings(host.bell()));
    assert!(!host.wait_for_room().unwrap());
    assert!(host.send(b"again").unwrap());
}

#[test]
fn a_message_longer_than_a_ring_passes_in_parts() {
    let (mut host, mut device) = pair();
    let long: Vec<u8> = (0..LIMIT).map(|i| ((i * 31) >> 3) as u8).collect();
    assert!(host.send(&long).unwrap());
    // What follows waits its turn.
    assert!(!host.send(b"next").unwrap());
    let mut message = Vec::new();
    let mut rounds = 0;
    while !device.receive(&mut message).unwrap() {
        rounds += 1;
        assert!(rounds < 20);
        host.go_on().unwrap();
    }
    assert!(message == long);
    assert!(host.send(b"next").unwrap());
    assert!(device.receive(&mut message).unwrap());
    assert_eq!(message, b"next");
    // One byte more than a message may have.
    assert!(host.send(&[&long[..], &[0]].concat()).unwrap());
    let e = loop {
        match device.receive(&mut message) {
            Ok(whole) => assert!(!whole),
            Err(e) => break e,
        }
        host.go_on().unwrap();
    };
    assert_eq!(e, Broken::Message { limit: LIMIT });
}

#[test]
fn whoever_sleeps_is_woken_and_nobody_else_is() {
    let (mut host, mut device) = pair();
    let silent = |end: &End| {
        let mut poll = libc::pollfd {
            fd: end.bell().descriptor().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one element is valid.
        assert_eq!(unsafe { libc::poll(&mut poll, 1, 0) }, 0);
    };
    host.send(b"1").unwrap();
    silent(&device);
    assert!(!device.sleep());
    let mut message = Vec::new();
    device.receive(&mut message).unwrap();
    assert!(device.sleep());
    host.send(b"2").unwrap();
    host.send(b"3").unwrap();
    assert!(rings(device.bell()));
    device.awake();
    host.send(b"4").unwrap();
    silent(&device);
    silent(&host);
}

#[test]
fn two_threads_lose_nothing() {
    let (mut host, mut device) = pair();
    const COUNT: u64 = 200_000;
    let sender = std::thread::spawn(move || {
        for i in 0..COUNT {
            let message = vec![i as u8; (i % 257 + 8) as usize];
            while !host.send(&message).unwrap() {
                if host.wait_for_room().unwrap() {
                    assert!(rings(host.bell()), "lost a wake-up");
                }
            }
        }
        while !host.go_on().unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut message = Vec::new();
    for i in 0..COUNT {
        while !device.receive(&mut message).unwrap() {
            if device.sleep() {
                assert!(rings(device.bell()), "lost a wake-up");
                device.awake();
            }
        }
        assert_eq!(message.len() as u64, i % 257 + 8);
        assert!(message.iter().all(|&b| b == i as u8));
    }
    sender.join().unwrap();
}

/// A ring in private memory, to write what another process could.
struct Ring {
    lines: Lines,
    data: Vec<AtomicU64>,
}

#[derive(Clone)]
struct Private(Arc<Ring>);

impl Memory for Private {
    fn lines(&self) -> &Lines {
        &self.0.lines
    }

    fn data(&self) -> &[AtomicU64] {
        &self.0.data
    }
}

impl Private {
    /// The words of the lines as the other process sees them.
    fn scribble(&self, line: usize, value: u64) {
        self.0.lines.words()[line].store(value, std::sync::atomic::Ordering::SeqCst);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever is written there at whatever moment, both sides go on or tell.
    #[test]
    fn a_ring_that_somebody_scribbles_on_is_told_or_goes_on(
        steps in prop::collection::vec(
            (0..4_u8, 0..40_usize, prop::num::u64::ANY, 0..4_usize), 1..60
        )
    ) {
        let ring = Private(Arc::new(Ring {
            lines: Lines::default(),
            data: (0..16).map(|_| AtomicU64::new(0)).collect(),
        }));
        let mut producer = Producer::new(ring.clone());
        let mut consumer = Consumer::new(ring.clone());
        let mut message = Vec::new();
        for (what, size, value, line) in steps {
            match what {
                0 => {
                    let bytes = vec![1; size.min(producer.longest())];
                    let _ = producer.push(&bytes, value & 1 != 0);
                    let _ = producer.wait_for_room(bytes.len());
                    producer.must_wake();
                }
                1 => {
                    let before = message.len();
                    match consumer.pop(&mut message, 64) {
                        Ok(Popped::Nothing) | Err(_) => prop_assert_eq!(message.len(), before),
                        Ok(Popped::Part) => {}
                        Ok(Popped::Last) => message.clear(),
                    }
                    prop_assert!(message.len() <= 64);
                    consumer.sleep();
                    consumer.must_wake();
                }
                // Small numbers too, which are the more likely to pass.
                2 => ring.scribble(line, if size < 20 { value % 40 } else { value }),
                _ => ring.0.data[size % 16].store(
                    if size < 20 { value % 200 } else { value },
                    std::sync::atomic::Ordering::SeqCst,
                ),
            }
        }
    }
}

#[test]
fn each_thing_that_breaks_a_ring_is_named() {
    let new = || {
        Private(Arc::new(Ring {
            lines: Lines::default(),
            data: (0..16).map(|_| AtomicU64::new(0)).collect(),
        }))
    };
    let mut message = Vec::new();
    let ring = new();
    ring.scribble(0, 17);
    assert_eq!(
        Consumer::new(ring).pop(&mut message, 100),
        Err(Broken::Position {
            found: 17,
            possible: 16
        })
    );
    let ring = new();
    let mut producer = Producer::new(ring.clone());
    for _ in 0..4 {
        assert!(producer.push(&[0; 24], false).unwrap());
    }
    assert!(!producer.push(&[0; 24], false).unwrap());
    ring.scribble(1, 17);
    assert_eq!(
        producer.push(&[0; 24], false).unwrap_err().to_string(),
        format!(
            "a ring in shared memory would hold {} words, 16 are possible",
            u64::MAX
        )
    );
    // Room that was there and is taken back.
    let ring = new();
    let mut producer = Producer::new(ring.clone());
    for _ in 0..4 {
        assert!(producer.push(&[0; 24], false).unwrap());
    }
    ring.scribble(1, 4);
    assert!(producer.push(&[0; 24], false).unwrap());
    ring.scribble(1, 0);
    assert_eq!(
        producer.push(&[0; 24], false),
        Err(Broken::Position {
            found: 20,
            possible: 16
        })
    );
    // What was written and is taken back, whoever has seen it.
    let ring = new();
    let mut producer = Producer::new(ring.clone());
    let mut consumer = Consumer::new(ring.clone());
    assert!(producer.push(&[0; 24], false).unwrap());
    assert_eq!(
        consumer.pop(&mut message, 100),
        Ok(Popped::Last),
        "4 words are read"
    );
    ring.scribble(0, 6);
    assert_eq!(consumer.written(), 6);
    for tail in [4, 5] {
        ring.scribble(0, tail);
        // A later look is none that counts.
        assert_eq!(consumer.written(), tail);
        assert!(!consumer.has_read(6));
        let words = 6 - tail;
        assert_eq!(consumer.pop(&mut message, 100), Err(Broken::Back { words }));
    }
    ring.scribble(0, 3);
    assert!(consumer.pop(&mut message, 100).is_err());
    let ring = new();
    ring.scribble(0, 2);
    ring.0.data[0].store(1 << 63, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        Consumer::new(ring).pop(&mut message, 100),
        Err(Broken::Empty)
    );
    let ring = new();
    ring.scribble(0, 2);
    ring.0.data[0].store(9, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(
        Consumer::new(ring).pop(&mut message, 100),
        Err(Broken::Length { found: 9, limit: 8 })
    );
}
