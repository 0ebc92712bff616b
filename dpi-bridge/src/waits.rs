// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is waited for: told by the simulator's thread, which does so with each access of the guest
//! and takes no lock for it, and mentioned by the watcher once it takes long.

use std::{
    fmt,
    sync::atomic::{fence, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use accelerator_protocol::limit::{Limit, Note};
use accelerator_record::monotonic_ns;

/// A time of the machine, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Now, or up to 10 ms later, but not earlier, so that nothing is said to wait longer than
    /// it does. An exact one costs three times as much.
    pub fn soon() -> Self {
        // So much, at most, is the clock behind: a tick at the lowest rate that the kernel has.
        const TICK_NS: u64 = 10_000_000;
        let mut now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `now` is ours and valid for writes; Linux always has this clock.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut now) };
        // Neither is negative.
        Self(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64 + TICK_NS)
    }

    /// Now.
    pub fn now() -> Self {
        Self(monotonic_ns())
    }

    /// How long that is after another moment; nothing if it is before.
    pub fn after(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(other.0))
    }
}

/// Somebody who waits, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The guest, for the RTL's answer to a read.
    Read {
        /// Of the read.
        tag: u32,
        /// AXI address.
        addr: u64,
        /// Bytes.
        len: u8,
    },
    /// The guest, for the RTL to take or answer a write.
    Write {
        /// Of the write.
        tag: u32,
        /// AXI address.
        addr: u64,
        /// Bytes.
        len: u8,
    },
    /// The RTL, for the host's answer to a DMA request.
    Dma {
        /// Of the request.
        tag: u32,
        /// Whether it is a write.
        write: bool,
        /// Bus address.
        addr: u64,
        /// Bytes.
        bytes: u32,
    },
    /// The guest, for the RTL to come out of a reset.
    Reset {
        /// Of the reset.
        tag: u32,
    },
    /// Frames, for the host to take them.
    Host,
    /// The host, for the simulator to call `acc_poll`.
    Poll,
}

/// The kinds of [`Waiting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The guest, for an answer to a read.
    Read = 0,
    /// The guest, for a write.
    Write = 1,
    /// The RTL, for DMA.
    Dma = 2,
    /// The guest, for a reset.
    Reset = 3,
    /// Frames, for the host.
    Host = 4,
    /// The host, for a poll.
    Poll = 5,
}

impl Kind {
    /// Those that the simulator's thread tells of.
    const TOLD: [Self; 5] = [Self::Read, Self::Write, Self::Dma, Self::Reset, Self::Host];
}

/// Number of kinds.
const KINDS: usize = Kind::TOLD.len() + 1;

impl Waiting {
    const fn kind(self) -> Kind {
        match self {
            Self::Read { .. } => Kind::Read,
            Self::Write { .. } => Kind::Write,
            Self::Dma { .. } => Kind::Dma,
            Self::Reset { .. } => Kind::Reset,
            Self::Host => Kind::Host,
            Self::Poll => Kind::Poll,
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Read { tag, addr, len } => write!(
                f,
                "the guest waits for the RTL to answer MMIO read tag {tag} ({len} bytes at AXI \
                 address {addr:#x})"
            ),
            Self::Write { tag, addr, len } => write!(
                f,
                "the RTL has not answered MMIO write tag {tag} ({len} bytes at AXI address \
                 {addr:#x})"
            ),
            Self::Dma {
                tag,
                write,
                addr,
                bytes,
            } => write!(
                f,
                "the RTL waits for the host to answer DMA {} tag {tag} ({bytes} bytes at bus \
                 address {addr:#x})",
                if write { "write" } else { "read" }
            ),
            Self::Reset { tag } => write!(
                f,
                "the guest waits for the RTL to leave reset {tag} (acc_reset_done)"
            ),
            Self::Host => f.write_str("frames wait for the host to take them (it does not read)"),
            Self::Poll => f.write_str(
                "the simulator does not call acc_poll (stopped, or at a breakpoint?), the host may \
                 wait for it",
            ),
        }
    }
}

/// Bit of the word of a DMA request that is a write.
const WRITES: u64 = 1 << 63;

/// What is waited for longest, of one kind. Who reads it while it changes notices that by the
/// number of the change, which is odd meanwhile.
#[derive(Debug, Default)]
struct Place {
    change: AtomicU64,
    /// Nanoseconds, 0 if nothing is waited for.
    since: AtomicU64,
    addr: AtomicU64,
    /// Tag, from bit 32 on its bytes, and [`WRITES`].
    rest: AtomicU64,
}

impl Place {
    fn put(&self, [since, addr, rest]: [u64; 3]) {
        let change = self.change.load(Ordering::Relaxed);
        self.change.store(change.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.since.store(since, Ordering::Relaxed);
        self.addr.store(addr, Ordering::Relaxed);
        self.rest.store(rest, Ordering::Relaxed);
        self.change.store(change.wrapping_add(2), Ordering::Release);
    }

    /// Nothing if it changes all the time: then nothing has been waited for for long.
    fn get(&self) -> [u64; 3] {
        const TRIES: u32 = 1000;
        for _ in 0..TRIES {
            let change = self.change.load(Ordering::Acquire);
            let words = [&self.since, &self.addr, &self.rest].map(|w| w.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if change % 2 == 0 && self.change.load(Ordering::Relaxed) == change {
                return words;
            }
            std::hint::spin_loop();
        }
        [0; 3]
    }
}

/// Where one thread tells, and another one reads at times.
#[derive(Debug, Default)]
pub struct Board([Place; Kind::TOLD.len()]);

impl Board {
    /// This is waited for longest, of its kind, or nothing is. One thread at a time calls it.
    pub fn tell_of(&self, kind: Kind, wait: Option<(Waiting, Moment)>) {
        match wait {
            Some((what, since)) => self.tell(what, since),
            None => self.clear(kind),
        }
    }

    fn tell(&self, what: Waiting, Moment(since): Moment) {
        let word = |tag: u32, bytes: u32| u64::from(tag) | u64::from(bytes) << 32;
        let (addr, rest) = match what {
            Waiting::Read { tag, addr, len } | Waiting::Write { tag, addr, len } => {
                (addr, word(tag, len.into()))
            }
            Waiting::Dma {
                tag,
                write,
                addr,
                bytes,
            } => {
                debug_assert!(bytes >> 31 == 0);
                (addr, word(tag, bytes) | if write { WRITES } else { 0 })
            }
            Waiting::Reset { tag } => (0, word(tag, 0)),
            Waiting::Host | Waiting::Poll => (0, 0),
        };
        if let Some(place) = self.0.get(what.kind() as usize) {
            place.put([since, addr, rest]);
        }
    }

    fn clear(&self, kind: Kind) {
        if let Some(place) = self.0.get(kind as usize) {
            place.put([0; 3]);
        }
    }

    fn read(&self, kind: Kind) -> Option<(Waiting, Moment)> {
        let [since, addr, rest] = self.0.get(kind as usize)?.get();
        let (tag, bytes) = (rest as u32, (rest & !WRITES) >> 32);
        let what = match kind {
            Kind::Read => Waiting::Read {
                tag,
                addr,
                len: bytes as u8,
            },
            Kind::Write => Waiting::Write {
                tag,
                addr,
                len: bytes as u8,
            },
            Kind::Dma => Waiting::Dma {
                tag,
                write: rest & WRITES != 0,
                addr,
                bytes: bytes as u32,
            },
            Kind::Reset => Waiting::Reset { tag },
            Kind::Host => Waiting::Host,
            Kind::Poll => Waiting::Poll,
        };
        (since != 0).then_some((what, Moment(since)))
    }
}

#[derive(Clone, Copy)]
struct Wait {
    what: Waiting,
    since: Moment,
    /// When it is mentioned next; the distance doubles.
    mention: Duration,
}

/// What is waited for, by kind; the oldest of each.
#[derive(Default)]
pub struct Waits {
    slots: [Option<Wait>; KINDS],
    /// Of the lines of each kind: when one wait is over, the next may have lasted as long.
    told: [Limit; KINDS],
}

impl Waits {
    /// Notes what is the oldest of one kind now, to be mentioned after `limit`.
    pub fn set(&mut self, kind: Kind, wait: Option<(Waiting, Moment)>, limit: Duration) {
        let slot = &mut self.slots[kind as usize];
        match (wait, &*slot) {
            (None, _) => *slot = None,
            (Some((what, since)), Some(old)) if old.what == what && old.since == since => {}
            (Some((what, since)), _) => {
                *slot = Some(Wait {
                    what,
                    since,
                    mention: limit,
                });
            }
        }
    }

    /// Notes what the board has.
    pub fn look(&mut self, board: &Board, limit: Duration) {
        for kind in Kind::TOLD {
            self.set(kind, board.read(kind), limit);
        }
    }

    /// What has to be mentioned now, with the time that it lasts and what to put behind. `time`
    /// is that of `now`.
    pub fn due(&mut self, now: Moment, time: Instant) -> Vec<(Waiting, Duration, Note)> {
        let mut due = Vec::new();
        for (slot, told) in self.slots.iter_mut().zip(&mut self.told) {
            let Some(wait) = slot else { continue };
            let lasts = now.after(wait.since);
            if lasts >= wait.mention {
                due.extend(told.admit(time).map(|note| (wait.what, lasts, note)));
                wait.mention = lasts * 2;
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use accelerator_protocol::limit::{LINES, PERIOD};

    use super::*;

    /// Milliseconds after some moment, and the time of then.
    fn at(start: Instant, ms: u64) -> (Moment, Instant) {
        (
            Moment((1_000_000 + ms) * 1_000_000),
            start + Duration::from_millis(ms),
        )
    }

    fn due(waits: &mut Waits, (now, time): (Moment, Instant)) -> Vec<(Waiting, Duration, Note)> {
        waits.due(now, time)
    }

    #[test]
    fn waits_are_mentioned_at_doubling_distance() {
        let start = Instant::now();
        let at = |ms| at(start, ms);
        let limit = Duration::from_millis(100);
        let what = Waiting::Reset { tag: 3 };
        let plain = Note {
            left_out: 0,
            silent_for: None,
        };
        let (mut waits, board) = (Waits::default(), Board::default());
        board.tell(what, at(0).0);
        waits.look(&board, limit);
        assert!(due(&mut waits, at(99)).is_empty());
        assert_eq!(due(&mut waits, at(100)), [(what, limit, plain)]);
        assert!(due(&mut waits, at(150)).is_empty());
        // The same again is no news.
        board.tell(what, at(0).0);
        waits.look(&board, limit);
        assert!(due(&mut waits, at(199)).is_empty());
        assert_eq!(due(&mut waits, at(200)).len(), 1);
        assert!(due(&mut waits, at(399)).is_empty());
        // Another one starts over.
        let other = Waiting::Reset { tag: 4 };
        board.tell(other, at(390).0);
        waits.look(&board, limit);
        assert!(due(&mut waits, at(489)).is_empty());
        assert_eq!(due(&mut waits, at(490)), [(other, limit, plain)]);
        board.clear(Kind::Reset);
        waits.look(&board, limit);
        assert!(due(&mut waits, at(10_000)).is_empty());
    }

    /// A host that is slow to answer a thousand requests: each becomes the oldest in turn,
    /// and has lasted long enough by then.
    #[test]
    fn mentions_of_one_kind_are_limited() {
        let start = Instant::now();
        let at = |ms| at(start, ms);
        let limit = Duration::from_millis(100);
        let dma = |tag| Waiting::Dma {
            tag,
            write: true,
            addr: 0x1000,
            bytes: 64,
        };
        let mut waits = Waits::default();
        let mut lines = Vec::new();
        for tag in 0..1000 {
            let what = dma(tag);
            waits.set(Kind::Dma, Some((what, at(0).0)), limit);
            lines.extend(due(&mut waits, at(5000 + u64::from(tag))));
        }
        assert_eq!(lines.len(), LINES as usize, "{lines:?}");
        // Another kind has lines of its own, and the next line tells of those left out.
        let reset = Waiting::Reset { tag: 3 };
        waits.set(Kind::Reset, Some((reset, at(0).0)), limit);
        assert_eq!(due(&mut waits, at(6000)).len(), 1);
        let what = dma(1000);
        waits.set(Kind::Dma, Some((what, at(0).0)), limit);
        let later = 5000 + u64::try_from(PERIOD.as_millis()).unwrap();
        let late = due(&mut waits, at(later));
        let left_out = late.iter().find(|(w, ..)| *w == what).map(|l| l.2.left_out);
        assert_eq!(left_out, Some(1000 - u64::from(LINES)));
    }

    #[test]
    fn each_kind_is_read_as_it_was_told() {
        let board = Board::default();
        let (tag, addr) = (u32::MAX, u64::MAX);
        let all = [
            Waiting::Read { tag, addr, len: 8 },
            Waiting::Write { tag, addr, len: 1 },
            Waiting::Dma {
                tag,
                write: true,
                addr,
                bytes: 4096,
            },
            Waiting::Reset { tag },
            Waiting::Host,
        ];
        for (i, what) in all.into_iter().enumerate() {
            let since = Moment(7 + i as u64);
            assert_eq!(board.read(what.kind()), None);
            board.tell(what, since);
            assert_eq!(board.read(what.kind()), Some((what, since)));
        }
        let read = Waiting::Dma {
            tag: 0,
            write: false,
            addr: 0,
            bytes: 1,
        };
        board.tell(read, Moment(1));
        assert_eq!(board.read(Kind::Dma), Some((read, Moment(1))));
        for kind in Kind::TOLD {
            board.clear(kind);
            assert_eq!(board.read(kind), None);
        }
        // Nobody tells of this one.
        board.tell(Waiting::Poll, Moment(1));
        assert_eq!(board.read(Kind::Poll), None);
    }

    /// A reader never finds half of what was told.
    #[test]
    fn what_is_told_is_read_whole() {
        let (board, stop) = (Board::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 1_u32;
                while !stop.load(Ordering::Relaxed) {
                    let what = Waiting::Write {
                        tag: n,
                        addr: n.into(),
                        len: n as u8,
                    };
                    board.tell(what, Moment(n.into()));
                    n = n.wrapping_add(1).max(1);
                }
            });
            let (mut last, mut count) = (0, 0);
            while count < 200_000 || last == 0 {
                count += 1;
                let Some((Waiting::Write { tag, addr, len }, Moment(since))) =
                    board.read(Kind::Write)
                else {
                    continue;
                };
                assert_eq!((addr, since), (tag.into(), tag.into()));
                assert_eq!(len, tag as u8);
                last = last.max(tag);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_wait_is_not_said_to_be_longer_than_it_is() {
        let mut early = 0;
        for _ in 0..1000 {
            let exact = Moment::now();
            let soon = Moment::soon();
            let ahead = soon.after(Moment::now());
            assert!(ahead <= Duration::from_millis(10), "{ahead:?}");
            // A tick of the kernel may be late, on a machine that is virtual.
            early += u32::from(soon < exact);
        }
        assert!(early < 500, "{early}");
    }
}
