// SPDX-License-Identifier: MIT OR Apache-2.0

//! DMA that is carried out here, since the host lets us reach its memory.
//!
//! # Order
//!
//! A request of the RTL goes this way only if none is at the host, so that DMA stays in order
//! with itself. What the RTL asks for after it, an interrupt for instance, is written to the
//! ring with release after the copy, and read there with acquire: whoever hears of it finds
//! the data.
//!
//! The other way round, the data of a read must not come before an MMIO write that the guest
//! made before it put the data there. Every such write is in the ring when the copy is made
//! (the host closes the gate while one is not), so the completion waits until all of that has
//! been received, and [`order`](crate::order) does the rest.

use accelerator_protocol::wire::Status;
use log::debug;

use super::{faults::OfDma, Context, Dma, DmaState, Run};
use crate::{limited::limited, order::Kind, waits::Moment, words::Timing};

/// A request that was carried out here.
fn carried_out(number: u64, tag: u32, data: Vec<u8>) -> Dma {
    Dma {
        number,
        tag,
        write: false,
        addr: 0,
        bytes: 0,
        enabled: 0,
        since: Moment::soon(),
        state: DmaState::Done {
            status: Status::Ok,
            data,
            pos: 0,
            announced: false,
        },
        fault: OfDma::default(),
    }
}

impl Run {
    /// Whether the host has requests that a new one must not pass.
    fn asks_the_host(&self) -> bool {
        let waiting = |d: &Dma| matches!(d.state, DmaState::Waiting);
        self.dma.iter().any(waiting)
    }

    /// Reads without asking the host. The tag, if that was possible.
    pub(super) fn read_here(
        &mut self,
        number: u64,
        addr: u64,
        bytes: u32,
        c: &Context<'_>,
    ) -> Option<u32> {
        if !self.memory.is_attached() || self.asks_the_host() {
            return None;
        }
        let mut data = vec![0; bytes as usize];
        let position = self.memory.read(addr, &mut data);
        self.tell_reach(c);
        let position = position?;
        let tag = self.session.own_tag()?;
        debug!(target: c.target, "tag={tag} #{number} DMA read addr {addr:#x} bytes {bytes}, here");
        let fault = self.of_dma();
        self.dma.push(Dma {
            addr,
            bytes,
            fault,
            ..carried_out(number, tag, data)
        });
        self.done_here.push_back((tag, position));
        self.release(c.timing);
        Some(tag)
    }

    /// Writes without asking the host. The tag, if that was possible.
    pub(super) fn write_here(
        &mut self,
        number: u64,
        addr: u64,
        data: &[u8],
        enables: Option<&[u8]>,
        enabled: u32,
        c: &Context<'_>,
    ) -> Option<u32> {
        if !self.memory.is_attached() || self.asks_the_host() || !self.session.can_send() {
            return None;
        }
        let done = self.memory.write(addr, data, enables);
        self.tell_reach(c);
        if !done {
            return None;
        }
        let tag = self.session.own_tag()?;
        let bytes = data.len() as u32;
        debug!(
            target: c.target,
            "tag={tag} #{number} DMA write addr {addr:#x} bytes {bytes} enabled {enabled}, here"
        );
        let fault = self.of_dma();
        self.dma.push(Dma {
            write: true,
            addr,
            bytes,
            enabled,
            fault,
            ..carried_out(number, tag, Vec::new())
        });
        self.complete(Kind::DmaWrite, tag, c.timing);
        Some(tag)
    }

    /// Lets the RTL have what was read here and waits for nothing any more.
    pub(super) fn release(&mut self, timing: &Timing) {
        while let Some(&(tag, position)) = self.done_here.front() {
            if !self.memory.has_received(position) {
                return;
            }
            self.done_here.pop_front();
            self.complete(Kind::DmaRead, tag, timing);
        }
    }

    /// Tells how much of the host's memory can be reached, when that has changed.
    fn tell_reach(&mut self, c: &Context<'_>) {
        if let Some(known) = self.memory.news() {
            limited!(
                self.limits.memory,
                info,
                c.target,
                "DMA reaches {} MiB of the host's memory without a message, in {} areas",
                known.bytes >> 20,
                known.areas
            );
        }
    }
}
