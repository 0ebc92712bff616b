// SPDX-License-Identifier: GPL-2.0-or-later

//! What goes to the simulator: at once, or gathered with what follows.

use accelerator_protocol::wire::Reason;

use super::{Link, Shared};

/// Answers to DMA requests are gathered up to about so many bytes.
const ANSWERS: usize = 32 * 1024;

impl Link {
    /// Sends the writes and answers that were gathered.
    pub(super) fn flush(&self, shared: &mut Shared) {
        let mut out = std::mem::take(&mut shared.out);
        self.send(shared, &mut out);
        shared.out = out;
    }

    /// Sends what is in `out` and empties it. What was gathered is the first
    /// thing in there.
    pub(super) fn send(&self, shared: &mut Shared, out: &mut Vec<u8>) {
        shared.gathered = 0;
        shared.held = false;
        if out.is_empty() {
            return;
        }
        if let Some(sent) = shared.memory.send(out) {
            out.clear();
            match sent {
                Ok(()) if shared.memory.is_overdue() => {
                    self.fail(shared, "it does not read: its queue is full".into(), None);
                }
                // What is not in the ring must not be overtaken.
                Ok(()) => self.update_gate(shared),
                Err(e) => self.fail(shared, e.to_string(), Some(Reason::Protocol)),
            }
            return;
        }
        let result = match &shared.wire {
            Some(wire) => wire.socket.send(out.as_slice(), zmq::DONTWAIT),
            None => Ok(()),
        };
        out.clear();
        match result {
            Ok(()) => {}
            Err(zmq::Error::EAGAIN) => self.fail(
                shared,
                "it does not read: its queue is full, or the connection was lost".into(),
                None,
            ),
            Err(e) => self.fail(shared, format!("sending to it failed: {e}"), None),
        }
    }

    /// Sends answers to DMA requests that were gathered. Whether there were any.
    pub(super) fn let_go(&self, shared: &mut Shared) -> bool {
        let held = shared.held;
        if held {
            self.flush(shared);
        }
        held
    }

    /// Sends an answer to a DMA request that has been put into `out`; or leaves
    /// it there for the next ones to come along, unless it is the first of those
    /// that the leader serves in a row. That one is not held up, and with it
    /// the device has something to do meanwhile.
    pub(super) fn answer(&self, shared: &mut Shared) {
        shared.answered += 1;
        shared.held = true;
        let at_once = shared.answered == 1 || shared.memory.is_used();
        if at_once || shared.out.len() >= ANSWERS {
            self.flush(shared);
        }
    }
}
