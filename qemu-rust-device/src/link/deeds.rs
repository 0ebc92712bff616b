// SPDX-License-Identifier: GPL-2.0-or-later

//! What the device asks of the machine: DMA and interrupts, in order.
//!
//! Some of it needs the machine's lock. Another thread may hold that and wait for
//! the device itself: a monitor that reads a register, or the DMA of another
//! device to a BAR. So the leader puts the message down where others find it
//! before it takes the lock. Whoever waits with the lock held takes the lead
//! over and goes on from there; the old leader finds out when it has the lock.
//!
//! While the machine is stopped nothing of this is done. It is kept, as much as
//! [`KEPT`] allows; after that nothing more is received, and the device waits.

use std::{collections::VecDeque, ops::Range};

use accelerator_protocol::wire::{ErrorKind, Status, MAX_DATA};
use log::trace;

use super::{memory::Message, moment::Moment, serving, voice::Kind, Link, Shared};

/// What is kept while the machine is stopped, at most. There can be fewer DMA
/// requests than that, so that most of it is interrupts.
const KEPT: usize = 1024;

/// What the device asks of the machine. The bytes are a range of a message.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    DmaRead {
        tag: u32,
        addr: u64,
        len: u32,
    },
    DmaWrite {
        tag: u32,
        addr: u64,
        data: Range<usize>,
        enables: Option<Range<usize>>,
    },
    Msix(u16),
    Intx(bool),
    Error(ErrorKind),
}

impl Deed {
    /// The same with bytes of its own.
    fn keep(self, message: &[u8]) -> (Self, Vec<u8>) {
        match self {
            Self::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                let mut bytes = message[data].to_vec();
                let data = 0..bytes.len();
                let enables = enables.map(|range| {
                    bytes.extend_from_slice(&message[range]);
                    data.end..bytes.len()
                });
                let deed = Self::DmaWrite {
                    tag,
                    addr,
                    data,
                    enables,
                };
                (deed, bytes)
            }
            other => (other, Vec::new()),
        }
    }
}

/// A message whose leader waits for the machine's lock.
pub(super) struct Parked {
    message: Message,
    /// Where the frames begin that are not served.
    rest: usize,
    /// Nothing if it has become void.
    deed: Option<Deed>,
    /// It comes from what was kept.
    kept: bool,
}

/// What waits for others.
#[derive(Default)]
pub(super) struct Waiting {
    parked: Option<Parked>,
    kept: VecDeque<(Deed, Vec<u8>)>,
    /// The machine is stopped.
    stopped: bool,
}

impl Waiting {
    /// Whether somebody who holds the machine's lock may go on with a message.
    pub(super) fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Whether there is something to go on with.
    pub(super) fn is_ready(&self) -> bool {
        self.parked.is_some() || !self.stopped && !self.kept.is_empty()
    }

    /// Whether the machine is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether nothing more can be received, since the machine is stopped.
    pub(super) fn is_full(&self) -> bool {
        self.stopped && self.kept.len() >= KEPT
    }

    /// The session is over.
    pub(super) fn clear(&mut self) {
        self.parked = None;
        self.kept.clear();
    }

    /// The function is reset: what it asked for is void, what follows is not.
    pub(super) fn reset(&mut self) {
        if let Some(parked) = &mut self.parked {
            parked.deed = None;
        }
        self.kept.clear();
    }
}

impl Link {
    /// Whether the machine is stopped. Called with the machine's lock held, after
    /// the vCPUs have stopped and before they go on: from then on there is no DMA
    /// and no interrupt until it goes on.
    pub fn stop(&self, stopped: bool) {
        let mut shared = self.lock();
        let full = shared.waiting.is_full();
        shared.waiting.stopped = stopped;
        self.update_gate(&mut shared);
        if !stopped {
            self.resume(&mut shared, full);
        }
    }

    /// After there may be room for what was not received.
    pub(super) fn resume(&self, shared: &mut Shared, was_full: bool) {
        if was_full && shared.watched && !shared.leader {
            self.arm(shared, true);
        }
        self.wake();
    }

    /// Goes on where a leader left a message, or with what was kept. Returns
    /// whether this thread still leads.
    pub(super) fn go_on(&self, lead: u64) -> bool {
        let mut shared = self.lock();
        if let Some(parked) = shared.waiting.parked.take() {
            drop(shared);
            let rest = parked.rest;
            let message = match parked.deed {
                Some(deed) => self.perform(lead, parked.message, deed, rest, parked.kept),
                None => Some(parked.message),
            };
            return message.is_some_and(|m| self.serve_frames(lead, m, rest));
        }
        let Some((deed, bytes)) = shared.waiting.kept.pop_front() else {
            return true;
        };
        drop(shared);
        let rest = bytes.len();
        let message = Message::Memory(bytes);
        self.perform(lead, message, deed, rest, true).is_some()
    }

    /// Does what the device asks, or keeps it. `rest` is where the next frame
    /// of `message` begins, `kept` that it comes from what was kept. Returns the
    /// message, which is empty if it has become void; nothing if another thread
    /// leads now.
    pub(super) fn perform(
        &self,
        lead: u64,
        message: Message,
        deed: Deed,
        rest: usize,
        kept: bool,
    ) -> Option<Message> {
        let locks = match deed {
            Deed::DmaRead { .. } | Deed::DmaWrite { .. } => self.root.dma_locks(),
            Deed::Msix(_) | Deed::Intx(_) | Deed::Error(_) => true,
        };
        {
            let mut shared = self.lock();
            if locks && !self.root.holds_lock() {
                // Answers to DMA requests do not wait for the machine's lock.
                self.let_go(&mut shared);
                if !shared.session.is_up() {
                    return Some(Message::default());
                }
                shared.waiting.parked = Some(Parked {
                    message,
                    rest,
                    deed: Some(deed),
                    kept,
                });
                self.next(&shared);
            } else if Self::keep(&mut shared, kept, &deed, &message) {
                return Some(message);
            } else {
                drop(shared);
                self.carry_out(deed, &message);
                return Some(message);
            }
        }
        let mut back = None;
        self.root.with_lock(&mut || {
            let mut shared = self.lock();
            if shared.lead != lead {
                return;
            }
            let Some(parked) = shared.waiting.parked.take() else {
                back = Some(Message::default());
                return;
            };
            if let Some(deed) = parked.deed {
                if !Self::keep(&mut shared, kept, &deed, &parked.message) {
                    drop(shared);
                    self.carry_out(deed, &parked.message);
                }
            }
            back = Some(parked.message);
        });
        back
    }

    /// Keeps it, if the machine is stopped or others have to be done first.
    fn keep(shared: &mut Shared, kept: bool, deed: &Deed, message: &[u8]) -> bool {
        let waiting = &mut shared.waiting;
        if !waiting.stopped && (kept || waiting.kept.is_empty()) {
            return false;
        }
        let entry = deed.clone().keep(message);
        if kept {
            waiting.kept.push_front(entry);
        } else {
            waiting.kept.push_back(entry);
        }
        true
    }

    fn carry_out(&self, deed: Deed, message: &[u8]) {
        match deed {
            Deed::DmaRead { tag, addr, len } => self.dma_read(tag, addr, len),
            Deed::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => self.dma_write(tag, addr, &message[data], enables.map(|r| &message[r])),
            Deed::Msix(vector) => {
                trace!("{}: vector {vector}", self.name());
                self.root.moment(Moment::Vector(vector));
                if let Err(vectors) = self.root.msix(vector) {
                    self.say(&mut self.lock(), Kind::Frame, || match vectors {
                        0 => format!(
                            "vector {vector} ignored: the MSI-X table is in the RTL, which has to \
                             write the message to the address in it"
                        ),
                        _ => format!(
                            "vector {vector} ignored, the guest has enabled {vectors} vectors"
                        ),
                    });
                }
            }
            Deed::Error(kind) => {
                self.say(&mut self.lock(), Kind::Error, || {
                    format!("error of PCI Express by a fault: {}", kind.name())
                });
                self.root.error(kind);
            }
            Deed::Intx(level) => {
                trace!("{}: INTx {level}", self.name());
                self.root.moment(Moment::Intx(level));
                self.root.intx(level);
            }
        }
    }

    fn dma_read(&self, tag: u32, addr: u64, len: u32) {
        let mut data = vec![0; (len as usize).min(MAX_DATA)];
        let status = serving::dma(|| self.root.dma_read(addr, &mut data));
        trace!(
            "{}: DMA read of {len} bytes at {addr:#x}, tag {tag}: {status:?}",
            self.name()
        );
        self.root.moment(Moment::DmaRead {
            tag,
            addr,
            len,
            status,
        });
        let mut shared = self.lock();
        if status == Status::Ok {
            shared.counters.dma_read_bytes += u64::from(len);
        } else {
            self.dma_failed(&mut shared, "read", addr, len, status);
        }
        if shared.session.is_up() && !shared.session.reset_pending() {
            let mut out = std::mem::take(&mut shared.out);
            shared.session.dma_read_done(tag, status, &data, &mut out);
            shared.out = out;
            self.answer(&mut shared);
        }
    }

    fn dma_write(&self, tag: u32, addr: u64, data: &[u8], enables: Option<&[u8]>) {
        let status = serving::dma(|| self.root.dma_write(addr, data, enables));
        let len = data.len() as u32;
        trace!(
            "{}: DMA write of {len} bytes at {addr:#x}, tag {tag}: {status:?}",
            self.name()
        );
        self.root.moment(Moment::DmaWrite {
            tag,
            addr,
            len,
            status,
        });
        let mut shared = self.lock();
        if status == Status::Ok {
            shared.counters.dma_write_bytes += match enables {
                Some(e) => e.iter().map(|b| u64::from(b.count_ones())).sum(),
                None => u64::from(len),
            };
        } else {
            self.dma_failed(&mut shared, "write", addr, len, status);
        }
        if shared.session.is_up() && !shared.session.reset_pending() {
            let mut out = std::mem::take(&mut shared.out);
            shared.session.dma_write_done(tag, status, &mut out);
            shared.out = out;
            self.answer(&mut shared);
        }
    }

    fn dma_failed(&self, shared: &mut Shared, what: &str, addr: u64, len: u32, status: Status) {
        shared.counters.dma_errors += 1;
        let refused = shared.why_refused();
        self.say(shared, Kind::Dma, || {
            let why = match status {
                Status::Fault => "no memory there, or an IOMMU fault",
                _ => refused,
            };
            format!("DMA {what} of {len} bytes at {addr:#x} refused: {why}")
        });
    }
}
