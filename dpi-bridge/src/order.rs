// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which event may be handed to the RTL next.
//!
//! The queue holds what the host sent, in the order of the stream, and gives
//! it out by the ordering rules of PCI Express (Base Specification, section
//! "Transaction Ordering", table "Ordering Rules Summary"), seen from the
//! completer:
//!
//! * Writes (posted requests) stay in order among themselves.
//! * A read (non-posted request) waits for all earlier writes.
//! * A write may pass a waiting read, and a waiting DMA completion. Without
//!   that RTL which stalls a read until it is written to would hang.
//! * The completion of a DMA read never passes an earlier write: the driver's
//!   write that came first is taken by the RTL before the data that the host
//!   read after. It may pass reads.
//! * The completion of a DMA write may pass everything: on PCI Express a DMA
//!   write is posted and nobody answers it, so RTL on a card has its B response
//!   from the bridge beside it. RTL may hold a guest's write until its own DMA
//!   writes have theirs, and would hang if the response had to wait for that
//!   write.
//! * Completions of one kind stay in order.
//!
//! Passing alone would let an endless stream of writes hold up a read for
//! ever. So after [`PASS_LIMIT`] writes have passed the oldest read, writes
//! rest for at most [`HOLD_POLLS`] polls, in which the responses to the writes
//! before it come in and the read gets its turn. The rest is bounded, so it
//! cannot become a deadlock of its own.

use std::collections::VecDeque;

/// The bridge can take an MMIO write: every earlier write was accepted on AW
/// and W.
pub const READY_WRITE: u32 = 1;
/// The bridge can take an MMIO read: every earlier write has its B response.
pub const READY_READ: u32 = 2;
/// The bridge can take the completion of a DMA read.
pub const READY_DMA_READ: u32 = 4;
/// The bridge can take the completion of a DMA write.
pub const READY_DMA_WRITE: u32 = 8;
/// All of them.
pub const READY_ALL: u32 = 15;

/// Writes that may pass one waiting read before they rest.
pub const PASS_LIMIT: u32 = 64;
/// Polls that they rest at most.
pub const HOLD_POLLS: u32 = 1024;

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MMIO read request.
    Read,
    /// MMIO write request.
    Write,
    /// Completion of a DMA read.
    DmaRead,
    /// Completion of a DMA write.
    DmaWrite,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::DmaRead, Self::DmaWrite];

    const fn ready_bit(self) -> u32 {
        match self {
            Self::Read => READY_READ,
            Self::Write => READY_WRITE,
            Self::DmaRead => READY_DMA_READ,
            Self::DmaWrite => READY_DMA_WRITE,
        }
    }
}

/// Events that were not given out yet, each with a payload.
#[derive(Debug)]
pub struct Queue<T> {
    /// One queue per kind, indexed by it; with the place in the stream.
    queues: [VecDeque<(u64, T)>; 4],
    /// Events that wait and are no writes.
    others: usize,
    next: u64,
    /// Place of the last write that was given out and is not known to be
    /// accepted by the RTL.
    unaccepted: Option<u64>,
    /// Writes that passed the oldest read.
    passed: u32,
    /// Polls left in which writes rest.
    hold: u32,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            queues: Default::default(),
            others: 0,
            next: 0,
            unaccepted: None,
            passed: 0,
            hold: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Appends an event to the stream.
    pub fn push(&mut self, kind: Kind, payload: T) {
        self.queues[kind as usize].push_back((self.next, payload));
        self.others += usize::from(kind != Kind::Write);
        self.next += 1;
    }

    /// Forgets everything: a reset, or the end of the session.
    pub fn clear(&mut self) {
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.others = 0;
        self.unaccepted = None;
        self.passed = 0;
        self.hold = 0;
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.others == 0 && !self.has(Kind::Write)
    }

    /// Whether writes wait, and nothing else.
    pub fn has_only_writes(&self) -> bool {
        self.others == 0 && self.has(Kind::Write)
    }

    /// Whether an event of this kind waits.
    pub fn has(&self, kind: Kind) -> bool {
        !self.queues[kind as usize].is_empty()
    }

    /// Number of events that wait.
    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn head(&self, kind: Kind) -> Option<u64> {
        self.queues[kind as usize].front().map(|e| e.0)
    }

    /// The kind of the event to give out, the oldest of those that may go.
    /// Called once per poll. `reads_in_flight` is the number of reads that the
    /// RTL has not answered: while there are some, a waiting read waits for
    /// them and not only for writes, so writes do not rest.
    pub fn select(&mut self, ready: u32, reads_in_flight: usize) -> Option<Kind> {
        if ready & READY_WRITE != 0 {
            self.unaccepted = None;
        }
        if self.others == 0 {
            // Writes pass nothing, and nothing else is chosen.
            self.hold = 0;
            return (ready & READY_WRITE != 0 && self.has(Kind::Write)).then_some(Kind::Write);
        }
        let write = self.head(Kind::Write);
        let passing = match (self.head(Kind::Read), write) {
            (Some(read), Some(write)) => read < write,
            _ => false,
        };
        if !passing || reads_in_flight != 0 {
            self.hold = 0;
        } else if self.passed >= PASS_LIMIT {
            self.passed = 0;
            self.hold = HOLD_POLLS;
        }
        let resting = self.hold != 0;
        self.hold = self.hold.saturating_sub(1);

        let may_go = |kind: Kind, place: u64| -> bool {
            if ready & kind.ready_bit() == 0 {
                return false;
            }
            let behind_queued = write.is_some_and(|w| w < place);
            let behind_given = self.unaccepted.is_some_and(|w| w < place);
            match kind {
                Kind::Write => !(passing && resting),
                // Its own bit waits for more than that a write was accepted.
                Kind::Read => !behind_queued,
                Kind::DmaRead => !behind_queued && !behind_given,
                Kind::DmaWrite => true,
            }
        };
        Kind::ALL
            .into_iter()
            .filter_map(|kind| Some((self.head(kind)?, kind)))
            .filter(|&(place, kind)| may_go(kind, place))
            .min_by_key(|e| e.0)
            .map(|e| e.1)
    }

    /// The event that [`Queue::select`] chose.
    pub fn peek(&self, kind: Kind) -> Option<&T> {
        self.queues[kind as usize].front().map(|e| &e.1)
    }

    /// The last event of a kind that waits.
    pub fn last_mut(&mut self, kind: Kind) -> Option<&mut T> {
        self.queues[kind as usize].back_mut().map(|e| &mut e.1)
    }

    /// Gives out the event that [`Queue::select`] chose.
    pub fn pop(&mut self, kind: Kind) -> Option<T> {
        let (place, payload) = self.queues[kind as usize].pop_front()?;
        self.others -= usize::from(kind != Kind::Write);
        match kind {
            Kind::Write => {
                self.unaccepted = Some(place);
                if self.head(Kind::Read).is_some_and(|read| read < place) {
                    self.passed += 1;
                }
            }
            Kind::Read => {
                self.passed = 0;
                self.hold = 0;
            }
            Kind::DmaRead | Kind::DmaWrite => {}
        }
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(kinds: &[Kind]) -> Queue<usize> {
        let mut q = Queue::default();
        for (i, &kind) in kinds.iter().enumerate() {
            q.push(kind, i);
        }
        q
    }

    /// Takes events with the same readiness until none may go.
    fn take(q: &mut Queue<usize>, ready: u32) -> Vec<usize> {
        let mut out = Vec::new();
        while let Some(kind) = q.select(ready, 0) {
            out.push(q.pop(kind).unwrap());
        }
        out
    }

    use Kind::{DmaRead, DmaWrite, Read, Write};

    #[test]
    fn arrival_order_when_everything_is_ready() {
        let mut q = queue(&[Read, Write, DmaRead, DmaWrite, Write, Read]);
        assert_eq!(q.len(), 6);
        assert_eq!(take(&mut q, READY_ALL), [0, 1, 2, 3, 4, 5]);
        assert!(q.is_empty());
    }

    #[test]
    fn nothing_without_its_bit() {
        for kind in Kind::ALL {
            let mut q = queue(&[kind]);
            assert_eq!(q.select(READY_ALL & !kind.ready_bit(), 0), None, "{kind:?}");
            assert_eq!(q.select(READY_ALL, 0), Some(kind));
        }
    }

    #[test]
    fn a_read_waits_for_earlier_writes() {
        let mut q = queue(&[Write, Read]);
        assert_eq!(q.select(READY_READ, 0), None);
        assert_eq!(q.select(READY_WRITE | READY_READ, 0), Some(Write));
        assert_eq!(q.pop(Write), Some(0));
        assert_eq!(q.select(READY_READ, 0), Some(Read));
    }

    #[test]
    fn a_write_passes_a_waiting_read() {
        let mut q = queue(&[Read, Write, Read]);
        assert_eq!(take(&mut q, READY_WRITE), [1]);
        assert_eq!(take(&mut q, READY_READ), [0, 2]);
    }

    #[test]
    fn data_never_passes_an_earlier_write() {
        let mut q = queue(&[Write, DmaRead]);
        assert_eq!(q.select(READY_DMA_READ, 0), None);
        assert_eq!(q.select(READY_DMA_READ | READY_WRITE, 0), Some(Write));
        q.pop(Write);
        // The write is given out, but not accepted yet.
        assert_eq!(q.select(READY_DMA_READ, 0), None);
        assert_eq!(q.select(READY_DMA_READ | READY_WRITE, 0), Some(DmaRead));
    }

    #[test]
    fn a_write_response_passes_everything() {
        let mut q = queue(&[Write, Read, DmaRead, DmaWrite]);
        assert_eq!(q.select(READY_DMA_WRITE, 0), Some(DmaWrite));
        assert_eq!(take(&mut q, READY_DMA_WRITE), [3]);
        assert_eq!(take(&mut q, READY_ALL), [0, 1, 2]);
    }

    #[test]
    fn a_later_write_does_not_hold_up_a_completion() {
        // RTL that takes no write before it has its data must not hang.
        let mut q = queue(&[DmaRead, Write]);
        assert_eq!(q.select(READY_WRITE, 0), Some(Write));
        q.pop(Write);
        assert_eq!(q.select(READY_DMA_READ, 0), Some(DmaRead));
    }

    #[test]
    fn completions_pass_reads_and_the_other_kind() {
        let mut q = queue(&[Read, DmaRead, DmaWrite, DmaRead]);
        assert_eq!(take(&mut q, READY_DMA_WRITE), [2]);
        assert_eq!(take(&mut q, READY_DMA_READ), [1, 3]);
        assert_eq!(take(&mut q, READY_READ), [0]);
    }

    #[test]
    fn clear_forgets_everything() {
        let mut q = queue(&[Write, DmaRead]);
        assert_eq!(q.select(READY_ALL, 0), Some(Write));
        q.pop(Write);
        q.clear();
        q.push(DmaRead, 9);
        assert_eq!(q.select(READY_DMA_READ, 0), Some(DmaRead));
        assert_eq!(q.peek(DmaRead), Some(&9));
    }

    /// Writes come faster than the RTL answers them, so that without a rest
    /// there is never a moment in which all writes have their response.
    #[test]
    fn a_stream_of_writes_does_not_starve_a_read() {
        const LATENCY: u32 = 20;
        let mut q = queue(&[Read]);
        let mut responses = VecDeque::new();
        for now in 0..10_000 {
            q.push(Write, 1);
            while responses.front().is_some_and(|&t| t <= now) {
                responses.pop_front();
            }
            let read = if responses.is_empty() { READY_READ } else { 0 };
            // At the start one write is on its way, so that it is not trivial.
            let ready = if now == 0 {
                READY_WRITE
            } else {
                READY_WRITE | read
            };
            match q.select(ready, 0) {
                Some(Write) => {
                    q.pop(Write);
                    responses.push_back(now + LATENCY);
                }
                Some(Read) => {
                    assert!(now <= PASS_LIMIT + LATENCY + 1, "read only at {now}");
                    return;
                }
                other => assert_eq!(other, None),
            }
        }
        panic!("the read was never given out");
    }

    /// A rest ends by itself, or RTL that answers a write only after a later
    /// one would hang.
    #[test]
    fn a_rest_of_writes_is_bounded() {
        let mut q = queue(&[Read]);
        let (mut pause, mut longest, mut given) = (0, 0, 0);
        for _ in 0..20_000 {
            q.push(Write, 1);
            if q.select(READY_WRITE, 0) == Some(Write) {
                q.pop(Write);
                given += 1;
                pause = 0;
            } else {
                pause += 1;
                longest = longest.max(pause);
            }
        }
        assert_eq!(longest, HOLD_POLLS);
        assert!(given >= 20_000 / (PASS_LIMIT + HOLD_POLLS) * PASS_LIMIT);
        // While a read is in flight there is no rest at all.
        for _ in 0..1000 {
            assert_eq!(q.select(READY_WRITE, 1), Some(Write));
            q.pop(Write);
        }
    }

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    /// Random streams and random readiness; every event that is given out is
    /// checked against the rules by a model that only knows the history, and
    /// every event comes out in the end.
    #[test]
    fn rules_hold_for_random_streams() {
        for seed in 1..=2_000_u64 {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let mut q = Queue::default();
            let mut stream: Vec<(Kind, bool)> = Vec::new();
            // Of the writes given out, those that the RTL has not accepted.
            let mut unaccepted: Vec<usize> = Vec::new();
            let length = 1 + (random.next() % 60) as usize;
            let mut rounds = 0;
            while stream.iter().any(|e| !e.1) || stream.len() < length {
                rounds += 1;
                assert!(rounds < 100_000, "seed {seed}: no progress");
                if stream.len() < length && !random.next().is_multiple_of(3) {
                    let kind = Kind::ALL[(random.next() % 4) as usize];
                    q.push(kind, stream.len());
                    stream.push((kind, false));
                }
                let ready = (random.next() % 16) as u32;
                if ready & READY_WRITE != 0 {
                    unaccepted.clear();
                }
                let Some(kind) = q.select(ready, (random.next() % 2) as usize) else {
                    continue;
                };
                assert_ne!(ready & kind.ready_bit(), 0, "seed {seed}: not ready");
                let i = q.pop(kind).unwrap();
                assert_eq!(stream[i], (kind, false), "seed {seed}: given out twice");
                let waiting = |k: Kind| stream[..i].contains(&(k, false));
                assert!(!waiting(kind), "seed {seed}: {kind:?} passed its own kind");
                assert!(
                    matches!(kind, Write | DmaWrite) || !waiting(Write),
                    "seed {seed}: {kind:?} passed a write"
                );
                if kind == DmaRead {
                    assert!(
                        unaccepted.iter().all(|&w| w > i),
                        "seed {seed}: {kind:?} before an earlier write was taken"
                    );
                }
                if kind == Write {
                    unaccepted.push(i);
                }
                stream[i].1 = true;
            }
            assert!(q.is_empty());
        }
    }

    /// With everything ready nothing is ever held back.
    #[test]
    fn all_ready_gives_out_at_every_poll() {
        let mut random = Random(77);
        let mut q = Queue::default();
        for i in 0..10_000 {
            q.push(Kind::ALL[(random.next() % 4) as usize], i);
        }
        for i in 0..10_000 {
            let kind = q.select(READY_ALL, 0).expect("an event");
            assert_eq!(q.pop(kind), Some(i));
        }
    }
}
