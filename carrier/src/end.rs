// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a process uses: both rings of a segment, and the bell.

use std::sync::Arc;

use crate::{
    handover::Bell,
    ring::{Consumer, Memory, Popped, Producer},
    segment::{Direction, Half, Segment},
    Broken,
};

/// Which of the two processes this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one with the CPU and the memory.
    Host,
    /// The one with the function.
    Device,
}

/// One end of a connection through shared memory. Used by one thread at a time.
pub struct End {
    send: Producer<Half>,
    receive: Consumer<Half>,
    bell: Arc<Bell>,
    /// Most bytes of a message.
    limit: usize,
    /// What is left of a message that is only partly in the ring.
    rest: Vec<u8>,
    /// How much of that is in the ring.
    done: usize,
    /// Parts of a message that is not whole yet.
    begun: Vec<u8>,
    /// What was told of the crowd last.
    told: u64,
}

/// Looks for messages from any thread.
#[derive(Clone, Debug)]
pub struct Look(Half);

impl Look {
    /// Whether there is something to receive. A hint: the other side can make it untrue.
    #[inline]
    pub fn may_have(&self) -> bool {
        self.0.lines().may_have()
    }
}

impl End {
    /// An end of a new segment. No message has more than `limit` bytes.
    pub fn new(segment: &Arc<Segment>, side: Side, bell: Arc<Bell>, limit: usize) -> Self {
        let (send, receive) = match side {
            Side::Host => (Direction::ToDevice, Direction::ToHost),
            Side::Device => (Direction::ToHost, Direction::ToDevice),
        };
        Self {
            send: Producer::new(Half::new(segment, send)),
            receive: Consumer::new(Half::new(segment, receive)),
            bell,
            limit,
            rest: Vec::new(),
            done: 0,
            begun: Vec::new(),
            told: 0,
        }
    }

    /// Looks for messages to this end.
    pub fn look(&self) -> Look {
        Look(self.receive.memory().clone())
    }

    /// The bell of this end.
    pub fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// Sends a message, or nothing of it if the ring is full. Whether it was sent. What does
    /// not fit of a long one is kept for [`Self::go_on`].
    ///
    /// # Errors
    ///
    /// The other end has broken the ring.
    pub fn send(&mut self, message: &[u8]) -> Result<bool, Broken> {
        if !self.go_on()? {
            return Ok(false);
        }
        let done = self.put(message)?;
        if done == 0 && !message.is_empty() {
            return Ok(false);
        }
        if done < message.len() {
            self.rest.extend_from_slice(&message[done..]);
        }
        self.wake_for_data();
        Ok(true)
    }

    /// Bytes that are left of a message.
    pub fn rest(&self) -> usize {
        self.rest.len() - self.done
    }

    /// Goes on with what is left of a message. Whether nothing is.
    ///
    /// # Errors
    ///
    /// The other end has broken the ring.
    pub fn go_on(&mut self) -> Result<bool, Broken> {
        if self.rest.is_empty() {
            return Ok(true);
        }
        let rest = std::mem::take(&mut self.rest);
        let done = self.put(&rest[self.done..])?;
        self.done += done;
        let whole = self.done == rest.len();
        if whole {
            self.done = 0;
        } else {
            self.rest = rest;
        }
        if done != 0 {
            self.wake_for_data();
        }
        Ok(whole)
    }

    /// Puts as much of a message, or of the end of one, into the ring as it takes. How many
    /// bytes.
    fn put(&mut self, message: &[u8]) -> Result<usize, Broken> {
        let longest = self.send.longest();
        let mut done = 0;
        loop {
            let part = &message[done..message.len().min(done + longest)];
            let more = done + part.len() < message.len();
            if !self.send.push(part, more)? {
                return Ok(done);
            }
            done += part.len();
            if !more {
                return Ok(done);
            }
        }
    }

    fn wake_for_data(&self) {
        if self.send.must_wake() {
            self.bell.ring();
        }
    }

    /// Asks for the bell to ring when the other end has read something, since a message did
    /// not fit or is not wholly sent. False if there is room by now; then it does not ring.
    ///
    /// # Errors
    ///
    /// The other end has broken the ring.
    pub fn wait_for_room(&mut self) -> Result<bool, Broken> {
        self.send.wait_for_room(self.send.longest())
    }

    /// Takes the next message into `to`, in place of what is in there. Whether there was one.
    ///
    /// # Errors
    ///
    /// The other end has broken the ring.
    pub fn receive(&mut self, to: &mut Vec<u8>) -> Result<bool, Broken> {
        to.clear();
        if !self.begun.is_empty() {
            std::mem::swap(to, &mut self.begun);
        }
        let mut any = false;
        let whole = loop {
            match self.receive.pop(to, self.limit)? {
                Popped::Nothing => break false,
                Popped::Part => any = true,
                Popped::Last => {
                    any = true;
                    break true;
                }
            }
        };
        if any && self.receive.must_wake() {
            self.bell.ring();
        }
        if !whole {
            std::mem::swap(to, &mut self.begun);
        }
        Ok(whole)
    }

    /// How far the other end has sent, for [`Self::has_received`].
    pub fn sent_so_far(&mut self) -> u64 {
        self.receive.written()
    }

    /// Whether all was received that was sent when [`Self::sent_so_far`] gave `position`.
    pub fn has_received(&self, position: u64) -> bool {
        self.receive.has_read(position)
    }

    /// Tells the other end how many like it this one has to do with: advice, which may be
    /// told again and again.
    pub fn tell_crowd(&mut self, crowd: u64) {
        if self.told != crowd {
            self.told = crowd;
            self.send.tell_crowd(crowd);
        }
    }

    /// What the other end has said so; 0 if nothing.
    pub fn crowd(&self) -> u64 {
        self.receive.crowd()
    }

    /// Whether there is nothing to receive.
    pub fn is_empty(&self) -> bool {
        self.receive.is_empty()
    }

    /// Asks for the bell to ring when something comes. False if something is there; then it
    /// does not ring.
    pub fn sleep(&self) -> bool {
        self.receive.sleep()
    }

    /// Sleeps no more.
    pub fn awake(&self) {
        self.receive.awake();
    }
}
