// SPDX-License-Identifier: GPL-2.0-or-later

//! What a thread waits for, and what ends the wait.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Instant,
};

use accelerator_protocol::wire::Status;
use log::warn;

use super::{access::Access, lead::BATCH, Asked, Link, Shared, SLICE};

/// What a thread waits for.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// The completion of a read.
    Read(u32),
    /// The completion of a write that is not posted.
    Write(u32),
    /// Room in the window of posted writes.
    Window,
}

/// What it is told.
pub(super) enum Got {
    Data(Status, u64),
    Done,
    /// Reset, link down or QEMU quits.
    Void,
    /// The completion timeout has passed.
    Timeout,
}

impl Link {
    /// Waits with the machine's lock released until `want` is there.
    pub(super) fn wait(&self, shared: MutexGuard<'_, Shared>, want: Want, access: Access) -> Got {
        let mut got = None;
        let mut guard = Some(shared);
        self.root.unlocked(&mut || {
            if let Some(shared) = guard.take() {
                got = Some(self.wait_unlocked(shared, want, access));
            }
        });
        let got = got.unwrap_or(Got::Void);
        if matches!((&got, want), (Got::Timeout, Want::Read(_))) {
            self.root.completion_timeout();
        }
        got
    }

    fn wait_unlocked<'a>(
        &'a self,
        mut shared: MutexGuard<'a, Shared>,
        want: Want,
        access: Access,
    ) -> Got {
        let begin = Instant::now();
        let epoch = shared.epoch;
        let deadline = self.settings.completion_timeout.map(|t| begin + t);
        let mut warn_at = begin + self.settings.warn_after;
        let mut ask_at = begin + SLICE;
        let mut stopping = false;
        let mut leading = false;
        let mut more = false;
        let got = loop {
            if let Some(got) = Self::check(&mut shared, want, epoch) {
                break got;
            }
            if self.root.quitting() {
                // Nobody picks up the answer that may still come.
                if let Want::Read(tag) = want {
                    shared.session.abandon(tag);
                }
                break Got::Void;
            }
            let now = Instant::now();
            if now >= ask_at {
                ask_at = now + SLICE;
                self.look_for_the_host(&mut shared, now);
                match self.root.asked() {
                    Asked::Nothing => stopping = false,
                    Asked::Stop => {
                        if !std::mem::replace(&mut stopping, true) {
                            self.warn_stopping(&shared, want, access, begin);
                        }
                    }
                    Asked::Reset => {
                        warn!(
                            "{}: {} by the simulator at {} since {:.1} s; given up, since the \
                             machine is reset",
                            self.name(),
                            Self::waits_for(&shared, want, access),
                            self.settings.endpoint,
                            begin.elapsed().as_secs_f32()
                        );
                        if let Want::Read(tag) = want {
                            shared.session.abandon(tag);
                        }
                        break Got::Void;
                    }
                }
            }
            if deadline.is_some_and(|d| now >= d) {
                break self.give_up(&mut shared, want, access, begin);
            }
            if now >= warn_at {
                self.warn_waiting(&shared, want, access, begin);
                // Less and less often, but it goes on.
                warn_at = now + begin.elapsed().max(self.settings.warn_after);
            }
            let until = deadline.map_or(warn_at, |d| d.min(warn_at));
            let slice = SLICE.min(until.saturating_duration_since(now));
            if leading {
                drop(shared);
                let ready = if more { 0 } else { self.poll(slice) };
                // One message, and then a look whether the completion was in
                // it: asking the socket for the next costs a system call.
                let limit = if matches!(want, Want::Window) {
                    BATCH
                } else {
                    1
                };
                more = self.serve(limit, ready);
                shared = self.lock();
            } else if shared.leader {
                shared.followers += 1;
                shared = self
                    .turn
                    .wait_timeout(shared, slice)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                shared.followers -= 1;
            } else {
                shared.leader = true;
                leading = true;
                // What came before is there without a wake-up.
                more = true;
                if shared.watched {
                    self.arm(false);
                }
            }
        };
        if leading {
            shared.leader = false;
            if shared.watched {
                self.arm(true);
            }
            self.next(&shared);
        } else if matches!(want, Want::Window) {
            // The message that made room may have been the last one.
            self.next(&shared);
        }
        self.pass_on(&mut shared);
        got
    }

    fn check(shared: &mut Shared, want: Want, epoch: u64) -> Option<Got> {
        if let Want::Read(tag) = want {
            if let Some(i) = shared.answers.iter().position(|a| a.0 == tag) {
                let (_, status, data) = shared.answers.swap_remove(i);
                return Some(Got::Data(status, data));
            }
        }
        if shared.epoch != epoch || !shared.session.is_up() {
            return Some(Got::Void);
        }
        match want {
            Want::Read(_) => None,
            Want::Write(tag) => shared.session.write_is_done(tag).then_some(Got::Done),
            Want::Window => shared.session.can_write().then_some(Got::Done),
        }
    }

    fn give_up(&self, shared: &mut Shared, want: Want, access: Access, begin: Instant) -> Got {
        shared.counters.timeouts += 1;
        warn!(
            "{}: completion timeout after {:.3} s: {} by the simulator at {}; {}",
            self.name(),
            begin.elapsed().as_secs_f32(),
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            Self::last_seen(shared)
        );
        if let Want::Read(tag) = want {
            shared.session.abandon(tag);
        }
        Got::Timeout
    }

    fn last_seen(shared: &Shared) -> String {
        match shared.seen {
            Some(seen) => format!(
                "its last frame was {} {:.3} s ago",
                seen.what,
                seen.when.elapsed().as_secs_f32()
            ),
            None => "it has not sent a frame yet".into(),
        }
    }

    fn waits_for(shared: &Shared, want: Want, access: Access) -> String {
        match want {
            Want::Read(tag) | Want::Write(tag) => {
                format!("{access}, tag {tag}, waits for its completion")
            }
            Want::Window => format!(
                "{access} waits for one of {} posted writes to be done",
                shared.session.writes_outstanding()
            ),
        }
    }

    fn warn_waiting(&self, shared: &Shared, want: Want, access: Access, begin: Instant) {
        warn!(
            "{}: {} by the simulator at {} since {:.1} s; {}",
            self.name(),
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32(),
            Self::last_seen(shared)
        );
    }

    fn warn_stopping(&self, shared: &Shared, want: Want, access: Access, begin: Instant) {
        warn!(
            "{}: the machine is asked to stop; that and the monitors wait, since {} by the \
             simulator at {} since {:.1} s; {}. It goes on with the completion, the end of the \
             simulator, the property completion-timeout, or SIGTERM",
            self.name(),
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32(),
            Self::last_seen(shared)
        );
    }
}
