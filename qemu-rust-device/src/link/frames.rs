// SPDX-License-Identifier: GPL-2.0-or-later

//! What comes from the simulator, and what each frame does.

use std::{cell::Cell, time::Instant};

use accelerator_protocol::{
    host::{HostEvent, Ignored, State},
    wire::{Reason, Status, MAX_DATA},
};
use log::{debug, trace};

use super::{
    lead::{LATE, MONITOR},
    Link, Seen, Shared,
};

thread_local! {
    /// This thread is serving frames of some link. An access to a BAR that
    /// happens now was caused by DMA of a device to a device.
    pub(super) static SERVING: Cell<bool> = const { Cell::new(false) };
    /// Such an access was not carried out.
    pub(super) static NESTED: Cell<bool> = const { Cell::new(false) };
}

impl Link {
    /// Serves what has come, at most `limit` messages. Only for the leader.
    /// `ready` is what [`Link::poll`] returned. Returns whether there may be
    /// more.
    pub(super) fn serve(&self, limit: usize, ready: u64) -> bool {
        SERVING.set(true);
        let more = self.serve_messages(limit, ready);
        SERVING.set(false);
        more
    }

    fn serve_messages(&self, limit: usize, ready: u64) -> bool {
        let mut message = zmq::Message::new();
        let mut served = 0;
        loop {
            if served >= limit {
                self.let_go(&mut self.lock());
                return true;
            }
            {
                let mut shared = self.lock();
                if std::mem::take(&mut shared.lower_intx) {
                    drop(shared);
                    self.root.intx(false);
                    shared = self.lock();
                }
                shared.monitor_ready |= ready & MONITOR != 0;
                if served == 0 {
                    shared.answered = 0;
                    if ready & LATE != 0 {
                        shared.gather_timer = false;
                        if shared.gathered != 0 {
                            self.flush(&mut shared);
                        }
                    }
                }
                if shared.wire.is_none() {
                    self.connect_again(&mut shared);
                }
                let Some(wire) = &shared.wire else {
                    return false;
                };
                match wire.socket.recv(&mut message, zmq::DONTWAIT) {
                    Ok(()) => {}
                    // Sending may take what tells of the next message, so the
                    // socket is asked again.
                    Err(zmq::Error::EAGAIN) if self.let_go(&mut shared) => continue,
                    Err(zmq::Error::EAGAIN) => {
                        // Messages that came before the connection went are
                        // served first, so the order is this one. Asking in
                        // vain costs a system call.
                        if shared.monitor_ready {
                            if self.connection(&mut shared) {
                                continue;
                            }
                            shared.monitor_ready = false;
                        }
                        return false;
                    }
                    Err(zmq::Error::EINTR) => continue,
                    Err(e) => {
                        self.fail(&mut shared, format!("receiving failed: {e}"), None);
                        return false;
                    }
                }
                if message.get_more() {
                    self.fail(
                        &mut shared,
                        "its message has several parts, expected one".into(),
                        Some(Reason::Protocol),
                    );
                    return false;
                }
            }
            served += 1;
            let mut rest: &[u8] = &message;
            if rest.is_empty() {
                self.fail(
                    &mut self.lock(),
                    "it sent an empty message, expected at least a frame of 24 bytes".into(),
                    Some(Reason::Protocol),
                );
            }
            while !rest.is_empty() {
                rest = self.serve_frame(rest);
            }
        }
    }

    /// Serves the first frame and returns the rest; nothing if the session is
    /// over.
    fn serve_frame<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        let mut shared = self.lock();
        if shared.session.state() == State::Closed {
            return &[];
        }
        let (event, rest) = match shared.session.frame(message) {
            Ok(ok) => ok,
            Err(e) => {
                self.violation(&mut shared, &e);
                return &[];
            }
        };
        if !matches!(event, HostEvent::Ignored(Ignored::Stale { .. })) {
            shared.seen = Some(Seen {
                what: name_of(&event),
                when: Instant::now(),
            });
        }
        match event {
            HostEvent::ReadDone { tag, status, data } => {
                shared.answers.push((tag, status, data));
                self.next(&shared);
            }
            HostEvent::WritesDone { status, .. } => {
                if status != Status::Ok {
                    self.complain(&mut shared, || {
                        format!("a posted write ended with {status:?} (AXI error response)")
                    });
                }
                if shared.gathered != 0 {
                    self.flush(&mut shared);
                }
                self.next(&shared);
            }
            HostEvent::DmaRead { tag, addr, len } => {
                drop(shared);
                self.dma_read(tag, addr, len);
            }
            HostEvent::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                drop(shared);
                self.dma_write(tag, addr, data, enables);
            }
            HostEvent::Msix { vector } => {
                shared.counters.interrupts += 1;
                // Answers to DMA requests do not wait for the machine's lock.
                self.let_go(&mut shared);
                drop(shared);
                trace!("{}: MSI-X vector {vector}", self.name());
                self.root.msix(vector);
            }
            HostEvent::Intx { level } => {
                shared.intx = level;
                self.let_go(&mut shared);
                drop(shared);
                trace!("{}: INTx {level}", self.name());
                self.root.intx(level);
            }
            HostEvent::BadVector { vector, vectors } => self.complain(&mut shared, || {
                format!("MSI-X vector {vector} ignored, the function has {vectors} vectors")
            }),
            HostEvent::LateRead { tag } => {
                debug!("{}: late completion of tag {tag} dropped", self.name());
            }
            HostEvent::Time { ns } => {
                drop(shared);
                self.root.time(ns);
            }
            HostEvent::ResetDone => debug!("{}: reset done", self.name()),
            HostEvent::Configured(config) => self.configured(&mut shared, config),
            HostEvent::Refused { reason, text } => {
                let why = format!("it refused the session ({reason:?}): {text}");
                self.fail(&mut shared, why, None);
            }
            HostEvent::Closed { .. } => {
                self.fail(&mut shared, "it has closed the session".into(), None);
            }
            HostEvent::Ignored(Ignored::Stale { session }) => {
                shared.counters.stale += 1;
                let ours = shared.session.session();
                self.complain(&mut shared, || {
                    format!("frame of session {session:016x} ignored, ours is {ours:016x}")
                });
            }
            HostEvent::Ignored(Ignored::Void | Ignored::Noop) => {}
        }
        rest
    }

    fn dma_read(&self, tag: u32, addr: u64, len: u32) {
        let mut data = vec![0; (len as usize).min(MAX_DATA)];
        let status = refused_if_nested(|| self.root.dma_read(addr, &mut data));
        trace!(
            "{}: DMA read of {len} bytes at {addr:#x}, tag {tag}: {status:?}",
            self.name()
        );
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
        let status = refused_if_nested(|| self.root.dma_write(addr, data, enables));
        let len = data.len() as u32;
        trace!(
            "{}: DMA write of {len} bytes at {addr:#x}, tag {tag}: {status:?}",
            self.name()
        );
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
        self.complain(shared, || {
            let why = match status {
                Status::Fault => "no memory there, or an IOMMU fault",
                _ => refused,
            };
            format!("DMA {what} of {len} bytes at {addr:#x} refused: {why}")
        });
    }
}

/// QEMU's answer for DMA that reaches a BAR of a simulated card says that all is
/// well, but nothing was done there.
fn refused_if_nested(dma: impl FnOnce() -> Status) -> Status {
    NESTED.set(false);
    let status = dma();
    if NESTED.get() && status == Status::Ok {
        Status::Refused
    } else {
        status
    }
}

fn name_of(event: &HostEvent<'_>) -> &'static str {
    match event {
        HostEvent::Configured(_) => "CONFIG",
        HostEvent::Refused { .. } => "REFUSE",
        HostEvent::Closed { .. } => "BYE",
        HostEvent::ReadDone { .. } | HostEvent::LateRead { .. } => "MMIO_READ_DONE",
        HostEvent::WritesDone { .. } => "MMIO_WRITE_DONE",
        HostEvent::DmaRead { .. } => "DMA_READ",
        HostEvent::DmaWrite { .. } => "DMA_WRITE",
        HostEvent::Msix { .. } | HostEvent::BadVector { .. } => "MSIX",
        HostEvent::Intx { .. } => "INTX",
        HostEvent::ResetDone => "RESET_DONE",
        HostEvent::Time { .. } => "TIME",
        HostEvent::Ignored(Ignored::Noop) => "NOOP",
        HostEvent::Ignored(_) => "a frame without effect",
    }
}
