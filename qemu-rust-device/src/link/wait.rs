// SPDX-License-Identifier: GPL-2.0-or-later

//! What a thread waits for, and what ends the wait.

use std::{
    fmt,
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use accelerator_protocol::wire::Status;

use super::{
    serving::{is_serving, Served, BATCH},
    voice::Kind,
    Asked, Link, Shared, Waiter, SLICE,
};

/// The access that waits, for messages.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) write: bool,
    pub(super) bar: u8,
    pub(super) offset: u64,
    pub(super) len: u8,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} bytes at BAR {} offset {:#x}",
            if self.write { "write" } else { "read" },
            self.len,
            self.bar,
            self.offset
        )
    }
}

/// Of a wait for something else.
pub(super) const NO_ACCESS: Access = Access {
    write: false,
    bar: 0,
    offset: 0,
    len: 0,
};

/// What a thread waits for.
#[derive(Clone, Copy)]
pub(super) enum Want {
    /// The completion of a read.
    Read(u32),
    /// The completion of a write that is not posted.
    Write(u32),
    /// Room in the window of posted writes.
    Window,
    /// The answer to a plan of faults.
    Faults(u32),
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
    /// Waits until `want` is there, if this thread may wait.
    pub(super) fn wait(&self, shared: MutexGuard<'_, Shared>, want: Want, access: Access) -> Got {
        let mut got = None;
        let mut guard = Some(shared);
        let mut wait = |waiter| {
            if let Some(shared) = guard.take() {
                got = Some(self.wait_as(waiter, shared, want, access));
            }
        };
        if is_serving() {
            // DMA of another card, also in a vCPU's thread: QEMU is in the middle of it.
            wait(Waiter::Other);
        } else {
            self.root.waiting(&mut wait);
        }
        let got = got.unwrap_or(Got::Void);
        if matches!((&got, want), (Got::Timeout, Want::Read(_))) {
            self.root.completion_timeout();
        }
        got
    }

    fn wait_as<'a>(
        &'a self,
        waiter: Waiter,
        mut shared: MutexGuard<'a, Shared>,
        want: Want,
        access: Access,
    ) -> Got {
        let begin = Instant::now();
        let epoch = shared.epoch;
        let vcpu = waiter == Waiter::Vcpu;
        let completion = self.settings.completion_timeout;
        let other = (!vcpu).then_some(self.settings.other_timeout);
        let deadline = [completion, other].into_iter().flatten().min();
        // Which of them it is.
        let for_others = !vcpu && deadline < completion.or(Some(Duration::MAX));
        let deadline = deadline.map(|t| begin + t);
        let mut warn_at = begin + self.settings.warn_after;
        let mut ask_at = begin + SLICE;
        let mut stopping = false;
        let mut lead = None;
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
            if vcpu && now >= ask_at {
                ask_at = now + SLICE;
                self.look_for_the_host(&mut shared, now);
                match self.root.asked() {
                    Asked::Nothing => stopping = false,
                    Asked::Stop => {
                        if !std::mem::replace(&mut stopping, true) {
                            self.warn_stopping(&mut shared, want, access, begin);
                        }
                    }
                    Asked::Reset => {
                        self.give_up_for_reset(&mut shared, want, access, begin);
                        break Got::Void;
                    }
                }
            }
            let over = deadline.is_some_and(|d| now >= d);
            // Nothing is given up with it: the answer may still come.
            if matches!(want, Want::Faults(_)) && (over || shared.waiting.is_full()) {
                break Got::Timeout;
            }
            if !vcpu && (shared.waiting.is_full() || over && for_others) {
                self.give_up_for_others(&mut shared, want, access, begin);
                break Got::Void;
            }
            if over {
                break self.give_up(&mut shared, want, access, begin);
            }
            if now >= warn_at {
                self.warn_waiting(&mut shared, want, access, begin);
                // Less and less often, but it goes on.
                warn_at = now + begin.elapsed().max(self.settings.warn_after);
            }
            let until = deadline.map_or(warn_at, |d| d.min(warn_at));
            let slice = SLICE.min(until.saturating_duration_since(now));
            if let Some(number) = lead {
                drop(shared);
                let ready = if more { 0 } else { self.poll(slice) };
                // One message, and then a look whether the completion was in
                // it: asking the socket for the next costs a system call.
                let limit = if matches!(want, Want::Window) {
                    BATCH
                } else {
                    1
                };
                match self.serve(number, limit, ready) {
                    Served::More => more = true,
                    Served::All => more = false,
                    Served::Lost => lead = None,
                }
                shared = self.lock();
            } else if shared.leader && !(shared.waiting.is_parked() && self.root.holds_lock()) {
                shared.followers += 1;
                shared = self
                    .turn
                    .wait_timeout(shared, slice)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                shared.followers -= 1;
            } else {
                // There is no leader, or it waits for the lock that we hold.
                lead = Some(shared.take_lead());
                // What came before is there without a wake-up.
                more = !shared.memory.is_used();
                if shared.watched && more {
                    self.arm(&mut shared, false);
                }
            }
        };
        if lead.is_some() {
            self.step_down(&mut shared);
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
        if let Want::Faults(tag) = want {
            // A reset voids no plan.
            return match (shared.has_plan(tag), shared.session.is_up()) {
                (true, _) => Some(Got::Done),
                (false, true) => None,
                (false, false) => Some(Got::Void),
            };
        }
        if shared.epoch != epoch || !shared.session.is_up() {
            return Some(Got::Void);
        }
        match want {
            Want::Read(_) => None,
            Want::Write(tag) => shared.session.write_is_done(tag).then_some(Got::Done),
            Want::Window => shared.session.can_write().then_some(Got::Done),
            // Seen to above.
            Want::Faults(_) => None,
        }
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
            Want::Faults(tag) => format!("the plan of faults {tag} waits for its answer"),
            Want::Window => format!(
                "{access} waits for one of {} posted writes to be done",
                shared.session.writes_outstanding()
            ),
        }
    }

    fn warn_waiting(&self, shared: &mut Shared, want: Want, access: Access, begin: Instant) {
        let text = format!(
            "{} by the simulator at {} since {:.1} s; {}",
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32(),
            Self::last_seen(shared)
        );
        self.say(shared, Kind::Wait, || text);
    }

    fn warn_stopping(&self, shared: &mut Shared, want: Want, access: Access, begin: Instant) {
        let text = format!(
            "the machine is asked to stop; that and the monitors wait, since {} by the \
             simulator at {} since {:.1} s; {}. It goes on with the completion, the end of the \
             simulator, the property completion-timeout, or SIGTERM",
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32(),
            Self::last_seen(shared)
        );
        self.say(shared, Kind::Wait, || text);
    }

    fn give_up(&self, shared: &mut Shared, want: Want, access: Access, begin: Instant) -> Got {
        shared.counters.timeouts += 1;
        let text = format!(
            "completion timeout after {:.3} s: {} by the simulator at {}; {}",
            begin.elapsed().as_secs_f32(),
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            Self::last_seen(shared)
        );
        self.say(shared, Kind::GivenUp, || text);
        if let Want::Read(tag) = want {
            shared.session.abandon(tag);
        }
        Got::Timeout
    }

    fn give_up_for_reset(&self, shared: &mut Shared, want: Want, access: Access, begin: Instant) {
        let text = format!(
            "{} by the simulator at {} since {:.1} s; given up, since the machine is reset",
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32()
        );
        self.say(shared, Kind::GivenUp, || text);
        if let Want::Read(tag) = want {
            shared.session.abandon(tag);
        }
    }

    /// Gives up an access that all of QEMU waits for. Others are not waited for
    /// before the device has answered a read again.
    fn give_up_for_others(&self, shared: &mut Shared, want: Want, access: Access, begin: Instant) {
        let text = format!(
            "{} by the simulator at {} since {:.1} s; given up, since it is no vCPU's own and \
             all of QEMU waits for it; {}",
            Self::waits_for(shared, want, access),
            self.settings.endpoint,
            begin.elapsed().as_secs_f32(),
            Self::last_seen(shared)
        );
        self.say(shared, Kind::GivenUp, || text);
        shared.counters.timeouts += 1;
        if let Want::Read(tag) = want {
            shared.session.abandon(tag);
        }
        shared.deaf = true;
    }
}
