// SPDX-License-Identifier: GPL-2.0-or-later

//! The session with the simulator: how it begins, ends and begins anew.

use std::time::{Duration, Instant};

use accelerator_protocol::{
    config::Config,
    host::{State, Violation},
    knock::{Change, Step, Whose},
    wire::Reason,
};
use log::{error, warn};

use super::{
    descriptors::{ALL, WIRE},
    difference::difference,
    serving::{Served, BATCH},
    voice::Kind,
    wire::Wire,
    Link, Shared, SLICE,
};
use crate::error::LinkError;

/// How soon a simulator that is another card is asked again.
const OTHER_CARD: Duration = Duration::from_secs(5);

/// What a simulator lacks whose time cannot be followed.
const TIMELESS: &str = "the simulator cannot tell its time: its library speaks version 1.0 of \
                        the protocol, or its RTL has set no clock period";

impl Link {
    /// Waits for the simulator's configuration, which is checked. Says so when
    /// it takes a while.
    ///
    /// # Errors
    ///
    /// The simulator did not come within `timeout`, or said something else.
    pub fn handshake(&self, timeout: Duration) -> Result<Config, LinkError> {
        let begin = Instant::now();
        let mut told = begin + Duration::from_millis(500);
        let endpoint = || self.settings.endpoint.clone();
        loop {
            let lead = self.lock().lead;
            let more = self.serve(lead, BATCH, ALL) == Served::More;
            {
                let mut shared = self.lock();
                if let Some(why) = shared.failure.take() {
                    return Err(LinkError::Peer {
                        endpoint: endpoint(),
                        why,
                    });
                }
                if let Some(config) = shared.offered.take() {
                    return Ok(config);
                }
                if begin.elapsed() >= timeout {
                    return Err(LinkError::Timeout {
                        endpoint: endpoint(),
                        waited: begin.elapsed(),
                        connected: shared.wire.as_ref().is_some_and(|w| w.connected),
                        reached: shared.wire.as_ref().is_some_and(|w| w.reached),
                        refused: shared.wire.as_ref().and_then(|w| w.refused),
                    });
                }
            }
            if self.root.quitting() {
                return Err(LinkError::Quitting);
            }
            let now = Instant::now();
            if now >= told {
                told = now + Duration::from_secs(5);
                warn!(
                    "{}: waiting for the simulator at {}, {:.1} s of {:.1} s",
                    self.name(),
                    self.settings.endpoint,
                    begin.elapsed().as_secs_f32(),
                    timeout.as_secs_f32()
                );
            }
            if !more {
                self.poll(SLICE.min(timeout.saturating_sub(begin.elapsed())));
            }
        }
    }

    /// Accepts the configuration that [`Link::handshake`] returned; the link
    /// is up. From now on a thread has to call [`Link::service`] whenever
    /// [`Link::wait_ready`] returns true.
    pub fn accept(&self, config: Config) {
        let mut shared = self.lock();
        shared.accepted = Some(config);
        shared.watched = true;
        if shared.session.state() == State::Configured {
            self.go_up(&mut shared);
        } else {
            self.say(&mut shared, Kind::Down, || {
                format!(
                    "the simulator at {} went away before its session began; reads return all \
                     ones and writes are dropped until it is back",
                    self.settings.endpoint
                )
            });
        }
        // Frames may have come with the answer.
        self.wake();
    }

    /// Begins the session whose configuration has come.
    fn go_up(&self, shared: &mut Shared) {
        let mut out = std::mem::take(&mut shared.out);
        let joined = self.has_joined(shared);
        shared.session.attach(joined);
        shared.session.accept(&mut out);
        shared.deaf = false;
        shared.up = true;
        self.root.link(true);
        if joined {
            // What follows READY goes another way.
            self.send(shared, &mut out);
            if !shared.up {
                shared.out = out;
                return;
            }
        }
        self.switch(shared);
        let function = shared.function;
        shared.session.function(&function, &mut out);
        let timeless = shared.interval != 0 && !shared.session.clock(shared.interval, &mut out);
        // If the simulator is gone already, this takes the link down again.
        self.send(shared, &mut out);
        shared.out = out;
        if !shared.up {
            return;
        }
        self.update_gate(shared);
        if timeless {
            self.say(shared, Kind::Session, || {
                format!("{TIMELESS}; guest time runs by itself")
            });
        }
        let session = shared.session.session();
        self.say(shared, Kind::Begun, || {
            format!(
                "link up, session {session:016x} at {}",
                self.settings.endpoint
            )
        });
    }

    /// Has the simulator tell its time each `interval` nanoseconds of it, now and
    /// in later sessions; 0 to tell it no more.
    ///
    /// # Errors
    ///
    /// The simulator that is there cannot do so.
    pub fn follow(&self, interval: u64) -> Result<(), &'static str> {
        let mut shared = self.lock();
        let offered = matches!(shared.session.state(), State::Configured | State::Up);
        if interval != 0 && offered && !shared.session.has_clock() {
            return Err(TIMELESS);
        }
        shared.interval = interval;
        let mut out = std::mem::take(&mut shared.out);
        shared.session.clock(interval, &mut out);
        self.send(&mut shared, &mut out);
        shared.out = out;
        self.pass_on(&mut shared);
        Ok(())
    }

    /// Refuses the configuration that [`Link::handshake`] returned.
    pub fn refuse(&self, why: &str) {
        let mut shared = self.lock();
        let mut out = std::mem::take(&mut shared.out);
        shared.session.refuse(Reason::Configuration, why, &mut out);
        self.send(&mut shared, &mut out);
        self.end_memory(&mut shared);
        self.drop_wire(&mut shared);
    }

    /// The simulator has answered INIT.
    pub(super) fn configured(&self, shared: &mut Shared, config: Config) {
        if let Err(why) = self.suits(shared) {
            self.fail(shared, why, Some(Reason::Configuration));
            return;
        }
        match &shared.accepted {
            // realize takes it from here.
            None => shared.offered = Some(config),
            Some(accepted) if *accepted == config => {
                self.say(shared, Kind::Up, || "the simulator is back".into());
                self.go_up(shared);
            }
            Some(accepted) => {
                let why = format!(
                    "its configuration differs from the one that the guest was shown ({}); \
                     the device has to be plugged in again",
                    difference(accepted, &config)
                );
                self.fail(shared, why, Some(Reason::Configuration));
                // The guest needs a moment to release the device, and a user
                // to read why it does not.
                self.retry_in(shared, OTHER_CARD);
                self.root.other_card();
            }
        }
    }

    pub(super) fn violation(&self, shared: &mut Shared, violation: &Violation) {
        self.fail(shared, violation.to_string(), Some(violation.reason()));
    }

    /// Ends the session because of the peer, telling it the `reason` if it can
    /// still be told, and begins to connect anew.
    pub(super) fn fail(&self, shared: &mut Shared, why: String, reason: Option<Reason>) {
        self.close_gate(shared);
        // The session may know already that it is over.
        let was_up = std::mem::replace(&mut shared.up, false);
        if let Some(reason) = reason {
            let mut out = Vec::new();
            shared.session.refuse(reason, &why, &mut out);
            if shared.memory.send(&out).is_some() {
                // As far as it takes it.
            } else if let Some(wire) = &shared.wire {
                // If this cannot be sent either, the closed connection tells.
                let _ = wire.socket.send(out.as_slice(), zmq::DONTWAIT);
            }
        }
        self.void(shared);
        self.end_memory(shared);
        if was_up {
            self.say(shared, Kind::Down, || {
                format!(
                    "link to the simulator at {} is down: {why}; reads return all ones and \
                     writes are dropped until it is back",
                    self.settings.endpoint
                )
            });
            self.root.link(false);
        } else if shared.accepted.is_some() && reason.is_some() {
            self.say(shared, Kind::Session, || {
                format!("no session with the simulator: {why}")
            });
        }
        if shared.context.is_none() {
            // Closed: there is nothing to go back to.
            return;
        }
        if shared.accepted.is_none() {
            // Still in the handshake: realize reports it.
            shared.offered = None;
            shared.failure = Some(why);
            return;
        }
        // A peer that refuses every session is asked twice a second, not more.
        self.drop_wire(shared);
        shared.session = self.settings.session();
        self.retry_in(
            shared,
            if was_up {
                Duration::from_millis(50)
            } else {
                Duration::from_millis(500)
            },
        );
    }

    pub(super) fn void(&self, shared: &mut Shared) {
        shared.session.disconnected();
        shared.answers.clear();
        let full = shared.waiting.is_full();
        shared.waiting.clear();
        shared.out.clear();
        shared.gathered = 0;
        shared.held = false;
        shared.epoch += 1;
        self.turn.notify_all();
        self.resume(shared, full);
    }

    fn retry_in(&self, shared: &mut Shared, delay: Duration) {
        shared.retry_at = Some(Instant::now() + delay);
        if let Err(e) = self.retry.set(delay) {
            error!("{}: the link stays down, no timer: {e}", self.name());
        }
    }

    /// Makes a new socket if it is time to.
    pub(super) fn connect_again(&self, shared: &mut Shared) {
        if !shared.retry_at.is_some_and(|t| Instant::now() >= t) {
            return;
        }
        shared.retry_at = None;
        self.retry.take();
        let Some(context) = &shared.context else {
            return;
        };
        let queue = self.settings.queue();
        let keys = self.settings.keys.as_ref();
        let wire = Wire::new(context, &self.settings.endpoint, keys, queue).and_then(|wire| {
            wire.watch(&self.inner, WIRE)?;
            Ok(wire)
        });
        match wire {
            Ok(wire) => {
                shared.wire = Some(wire);
                // A socket of which nobody has tried to receive yet does not
                // announce its first message.
                shared.monitor_ready = true;
                shared.socket_ready = true;
            }
            Err(e) => {
                self.say(shared, Kind::Session, || {
                    format!("cannot connect again: {e}")
                });
                self.retry_in(shared, Duration::from_millis(900));
            }
        }
    }

    /// Takes one event of the connection. Returns whether there was one.
    pub(super) fn connection(&self, shared: &mut Shared) -> bool {
        let Some(wire) = &mut shared.wire else {
            return false;
        };
        let Some(change) = wire.change() else {
            return false;
        };
        let whose = match shared.accepted {
            None => Whose::NewFunction,
            Some(_) => Whose::Function,
        };
        match change.step(shared.session.state(), whose) {
            Step::Nothing => {}
            Step::Begin => {
                let mut out = std::mem::take(&mut shared.out);
                shared.session.init(&self.settings.name, &mut out);
                self.send(shared, &mut out);
                shared.out = out;
            }
            Step::Renew => {
                shared.session = self.settings.session();
                shared.offered = None;
                self.end_memory(shared);
            }
            Step::End(why) => {
                if matches!(change, Change::Refused(_)) {
                    self.say(shared, Kind::Session, || {
                        format!("no session with the simulator: {why}")
                    });
                }
                self.fail(shared, why.into(), None);
            }
        }
        !matches!(change, Change::Refused(_))
    }
}
