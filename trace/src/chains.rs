// SPDX-License-Identifier: MIT OR Apache-2.0

//! What followed what: from a doorbell to the DMA to the interrupt after it.
//!
//! This is by order in time, not by knowledge of the design: a doorbell is the last write of a
//! register before a DMA request, and an interrupt belongs to the DMA before it. Without an
//! interrupt the chain ends at the last DMA before the next doorbell.

use accelerator_record::Kind;

use crate::transactions::Transaction;

/// A chain under way.
#[derive(Clone, Copy, Debug)]
struct Chain<P> {
    doorbell: P,
    first: P,
    last: P,
}

/// Finds the chains of one source. `P` is what stands for a transaction.
#[derive(Debug)]
pub struct Chains<P> {
    /// A write that no DMA came after.
    written: Option<P>,
    /// The write that the DMA of now goes back to.
    doorbell: Option<P>,
    chain: Option<Chain<P>>,
}

impl<P> Default for Chains<P> {
    fn default() -> Self {
        Self {
            written: None,
            doorbell: None,
            chain: None,
        }
    }
}

impl<P: Copy + PartialEq> Chains<P> {
    /// A transaction begins. The chain that it ends, two points of it or more: the doorbell,
    /// the first and the last DMA, and the interrupt.
    pub fn begins(&mut self, t: &Transaction, point: P) -> Option<Vec<P>> {
        match t.kind {
            Kind::MmioWrite => {
                self.written = Some(point);
                None
            }
            Kind::DmaRead | Kind::DmaWrite => {
                let mut ended = None;
                if let Some(written) = self.written.take() {
                    ended = self.finish(None);
                    self.doorbell = Some(written);
                }
                match (&mut self.chain, self.doorbell) {
                    (Some(chain), _) => chain.last = point,
                    (None, Some(doorbell)) => {
                        self.chain = Some(Chain {
                            doorbell,
                            first: point,
                            last: point,
                        });
                    }
                    (None, None) => {}
                }
                ended
            }
            Kind::Msix => self.finish(Some(point)),
            Kind::Intx if t.data != 0 => self.finish(Some(point)),
            // What comes after a reset goes back to nothing before it.
            Kind::Reset | Kind::LinkUp | Kind::LinkDown => {
                let ended = self.finish(None);
                (self.written, self.doorbell) = (None, None);
                ended
            }
            _ => None,
        }
    }

    /// The chain under way ends where it is, or at an interrupt.
    pub fn finish(&mut self, interrupt: Option<P>) -> Option<Vec<P>> {
        if let Some(chain) = self.chain.take() {
            let mut points = vec![chain.doorbell, chain.first];
            if chain.last != chain.first {
                points.push(chain.last);
            }
            points.extend(interrupt);
            return Some(points);
        }
        let interrupt = interrupt?;
        Some(vec![self.written.take()?, interrupt])
    }
}
