// SPDX-License-Identifier: GPL-2.0-or-later

//! Who serves the socket, and what it sleeps on.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    sync::PoisonError,
    time::{Duration, Instant},
};

use accelerator_carrier::vanished::LOOK;
use accelerator_protocol::is_local;
use log::error;

use super::{
    descriptors::{ALL, END, INNER, LATE, MEMORY, WAKE},
    memory::simulators,
    serving::{Served, BATCH},
    Link, Shared,
};

impl Shared {
    /// Makes this thread the leader. Returns the number of its lead, by which it
    /// knows whether it still is.
    pub(super) fn take_lead(&mut self) -> u64 {
        self.leader = true;
        self.lead += 1;
        self.memory.awake();
        self.lead
    }
}

impl Link {
    /// Sleeps until [`Link::service`] has something to do. False if the link is
    /// closed, and from then on.
    pub fn wait_ready(&self) -> bool {
        // There may be nobody who waits for what is under way to another host.
        let timeout = if is_local(&self.settings.endpoint) {
            -1
        } else {
            LOOK.as_millis() as i32
        };
        loop {
            match self.outer.wait::<2>(timeout) {
                Ok(tags) => {
                    let (mut any, mut end) = (false, false);
                    for tag in tags {
                        any = true;
                        end |= tag == END;
                    }
                    if any {
                        return !end;
                    }
                    self.look_for_the_host(&mut self.lock(), Instant::now());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    // Cannot happen with these arguments.
                    error!(
                        "{}: nobody watches the link any more, and interrupts and DMA wait for \
                         the next read: {e}",
                        self.name()
                    );
                    return false;
                }
            }
        }
    }

    /// Serves what has come, if nobody else does. For the link's thread, after
    /// [`Link::wait_ready`].
    pub fn service(&self) {
        let lead = {
            let mut shared = self.lock();
            if !shared.watched {
                return;
            }
            if shared.leader {
                // It does not sleep, or it would have seen to this itself; what woke us is
                // not to wake us again before it is done.
                self.arm(&mut shared, false);
                return;
            }
            shared.take_lead()
        };
        let ready = self.ready(Duration::ZERO);
        match self.serve(lead, BATCH, ready) {
            // More is there: let others have their turn first.
            Served::More => self.wake(),
            Served::All => {}
            Served::Lost => return,
        }
        self.step_down(&mut self.lock());
    }

    /// Nobody leads any more: the link's thread watches.
    pub(super) fn step_down(&self, shared: &mut Shared) {
        shared.leader = false;
        if shared.watched {
            let full = shared.waiting.is_full();
            self.arm(shared, !full);
            if !full && !shared.memory.sleep() {
                self.wake();
            }
        }
        self.next(shared);
    }

    /// Wakes the followers, if there are any: each has a look whether it has
    /// its answer, or has to lead.
    pub(super) fn next(&self, shared: &Shared) {
        if shared.followers != 0 {
            self.turn.notify_all();
        }
    }

    /// Sleeps until something happens on the link, but looks into shared memory for a while
    /// before that. Returns what is there. Only for the leader.
    pub(super) fn poll(&self, timeout: Duration) -> u64 {
        let look = self.lock().memory.look();
        if let Some(look) = look {
            // Nobody else looks.
            let mut patience = self.patience.lock().unwrap_or_else(PoisonError::into_inner);
            if patience.look(simulators(), || look.may_have()) {
                return MEMORY;
            }
        }
        {
            let mut shared = self.lock();
            if !shared.memory.sleep() {
                return MEMORY;
            }
            if shared.watched {
                // The link's thread would wake with us.
                self.arm(&mut shared, false);
            }
        }
        let ready = self.ready(timeout);
        self.lock().memory.awake();
        ready
    }

    /// Sleeps until a descriptor is readable, and takes what woke us from `wake`. Returns
    /// which are.
    fn ready(&self, timeout: Duration) -> u64 {
        // Rounded up, so that the last slice does not spin.
        let ms = timeout.as_micros().div_ceil(1000).min(1000) as i32;
        let Ok(tags) = self.inner.wait::<6>(ms) else {
            // A signal, which the caller's loop takes as a wake-up.
            return ALL;
        };
        let ready = tags.fold(0, |all, tag| all | tag);
        if ready & WAKE != 0 {
            self.wake.take();
        }
        if ready & LATE != 0 {
            self.late.take();
        }
        ready
    }

    /// Lets the link's thread watch it, or not.
    pub(super) fn arm(&self, shared: &mut Shared, armed: bool) {
        if shared.armed == armed {
            return;
        }
        shared.armed = armed;
        let inner = self.inner.as_fd().as_raw_fd();
        if let Err(e) = self.outer.arm(inner, INNER, armed) {
            // Cannot happen with these arguments; the thread would be woken too
            // often or, at worst, too late by one message.
            error!("{}: cannot watch a descriptor: {e}", self.name());
        }
    }

    pub(super) fn wake(&self) {
        self.wake.ring();
    }

    /// After a call on the socket by a thread that does not go on to receive:
    /// wakes whoever serves the link if something is there.
    pub(super) fn pass_on(&self, shared: &mut Shared) {
        if shared.memory.is_used() {
            // The socket was not used.
            return;
        }
        let pending = shared.wire.as_ref().is_some_and(|w| {
            w.socket
                .get_events()
                .map_or(true, |e| e.contains(zmq::POLLIN))
        });
        if pending {
            self.wake();
        }
    }
}
