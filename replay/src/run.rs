// SPDX-License-Identifier: MIT OR Apache-2.0

//! A replay: the player, the connection, and the simulator if it is ours.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use accelerator_host::{Connection, Error};
use accelerator_protocol::{
    config::Config,
    host::{HostEvent, HostSession},
    wire::{Reason, MAX_INTERVAL},
};

use crate::{
    beside,
    plan::Plan,
    player::{Difference, Next, Player, Rules},
    simulator::Simulator,
};

/// Posted writes that may be outstanding: the most that the protocol allows, so that they are
/// never what a replay waits for.
const WINDOW: u32 = 4096;

/// After so long without anything DMA is answered before its time.
const RELAX: Duration = Duration::from_millis(200);

/// How long the end of the simulated time is waited for.
const TIME: Duration = Duration::from_secs(2);

/// What a replay goes by.
#[derive(Debug)]
pub struct Options {
    /// Where the simulator listens.
    pub endpoint: String,
    /// What a difference is.
    pub rules: Rules,
    /// All differences, and not the first one only; so many are kept.
    pub all: Option<usize>,
    /// How long something may take to come.
    pub timeout: Duration,
    /// The record that the simulator writes of the replay.
    pub beside: Option<PathBuf>,
}

/// A difference, and where the replay has it: number and clock in the record of the replay.
#[derive(Clone, Debug)]
pub struct Found {
    /// What differs.
    pub difference: Difference,
    /// Where it is, if that is known.
    pub here: Option<(u64, u64)>,
}

/// How it went.
#[derive(Debug)]
pub struct Outcome {
    /// What differs, the first ones.
    pub found: Vec<Found>,
    /// How many differences there were.
    pub differences: usize,
    /// Whether all of the record was played.
    pub whole: bool,
    /// What was counted.
    pub counts: crate::player::Counts,
    /// Seconds from the first link up on.
    pub time: Duration,
    /// Simulated clocks in that time, if the simulator tells.
    pub clocks: Option<u64>,
    /// Whether shared memory carried it.
    pub shared: bool,
}

/// Set to end a replay.
pub static STOP: AtomicBool = AtomicBool::new(false);

struct Run<'a> {
    plan: &'a Plan,
    options: &'a Options,
    player: Player<'a>,
    connection: Option<Connection>,
    simulator: Option<&'a mut Simulator>,
    found: Vec<Found>,
    looked_at: usize,
    out: Vec<u8>,
    last: Instant,
    began: Option<Instant>,
    ended: Option<String>,
    clocks: Option<u64>,
    shared: bool,
}

/// What a card is, where it is not what was recorded.
fn another(plan: &Plan, config: &Config) -> Option<String> {
    let source = &plan.source;
    if (source.vendor, source.device) != (config.vendor, config.device) {
        return Some(format!(
            "the simulator's function is {:04x}:{:04x}, the record's is {:04x}:{:04x}",
            config.vendor, config.device, source.vendor, source.device
        ));
    }
    (0..6).find_map(|i| {
        let (here, there) = (config.bars[i].size, source.bars[i].size);
        (here != there).then(|| {
            format!("BAR {i} of the simulator has {here} bytes, that of the record {there}")
        })
    })
}

impl Run<'_> {
    /// Why the simulator cannot be played to.
    fn gone(&mut self, error: &Error) -> String {
        let (done, all) = self.player.progress();
        let how = match self.simulator.as_mut().and_then(|s| s.ends()) {
            Some(status) => format!("the simulator has ended ({status})"),
            None => error.to_string(),
        };
        format!("{how}, after {done} of {all} steps")
    }

    /// Takes in a message, if one comes in time. Whether something came that is no time.
    fn pump(&mut self, timeout: Duration) -> Result<bool, String> {
        let Some(connection) = &mut self.connection else {
            return Ok(false);
        };
        let (player, ended) = (&mut self.player, &mut self.ended);
        let mut any = false;
        let take = |event: HostEvent<'_>, _: &mut HostSession, _: &mut Vec<u8>| {
            match &event {
                HostEvent::Closed { reason } => *ended = Some(format!("{reason:?}")),
                HostEvent::Refused { reason, text } => {
                    *ended = Some(format!("{reason:?} {text}"));
                }
                HostEvent::Time { .. } | HostEvent::Ignored(_) => {}
                _ => any = true,
            }
            player.event(&event);
        };
        let pumped = connection.pump(timeout, &mut self.out, take);
        if let Err(e) = pumped {
            return Err(self.gone(&e));
        }
        if let Some(why) = self.ended.take() {
            let error = format!("the simulator ended the session: {}", why.trim_end());
            let (done, all) = self.player.progress();
            return Err(format!("{error}, after {done} of {all} steps"));
        }
        if any {
            self.last = Instant::now();
        }
        Ok(any)
    }

    fn send(&mut self) -> Result<(), String> {
        let Some(connection) = &mut self.connection else {
            self.out.clear();
            return Ok(());
        };
        let sent = connection.send(&self.out);
        self.out.clear();
        sent.map_err(|e| self.gone(&e))
    }

    fn check_stop(&self) -> Result<(), String> {
        if STOP.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        Ok(())
    }

    fn connect(&mut self) -> Result<(), String> {
        let mut connection = Connection::open(&self.options.endpoint, "accelerator-replay", WINDOW)
            .map_err(|e| e.to_string())?;
        let deadline = Instant::now() + self.options.timeout.max(Duration::from_secs(30));
        let mut config = None;
        let mut refused = None;
        let mut out = Vec::new();
        while config.is_none() {
            self.check_stop()?;
            let pumped =
                connection.pump(
                    Duration::from_millis(50),
                    &mut out,
                    |event, _, _| match event {
                        HostEvent::Configured(c) => config = Some(c),
                        HostEvent::Refused { reason, text } => {
                            refused = Some(format!("the simulator refuses: {reason:?} {text}"));
                        }
                        HostEvent::Closed { reason } => {
                            refused = Some(format!("the simulator ends the session: {reason:?}"));
                        }
                        _ => {}
                    },
                );
            if let Err(e) = pumped {
                return Err(self.gone(&e));
            }
            if let Some(text) = refused {
                return Err(text);
            }
            if let Some(status) = self.simulator.as_mut().and_then(|s| s.ended()) {
                return Err(format!(
                    "the simulator has ended ({status}) before a session began"
                ));
            }
            if config.is_none() && Instant::now() > deadline {
                return Err(format!("no simulator answers at {}", self.options.endpoint));
            }
        }
        let config = config.unwrap_or_default();
        let no_clock = self.options.rules.clocks && !connection.session().has_clock();
        let refusal = another(self.plan, &config).or(no_clock.then(|| {
            "--clocks: the simulator does not say what the period of its clock is".into()
        }));
        if let Some(text) = refusal {
            let session = connection.session();
            session.refuse(Reason::Protocol, &text, &mut out);
            // It is the end either way.
            let _ = connection.send(&out);
            return Err(text);
        }
        connection.accept().map_err(|e| e.to_string())?;
        self.shared = connection.is_shared();
        self.connection = Some(connection);
        self.player.connected(config.clock_period_ps);
        self.last = Instant::now();
        self.began.get_or_insert(self.last);
        self.time()
    }

    /// Asks for the simulated time, once, and waits for it.
    fn time(&mut self) -> Result<(), String> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        if !connection.session().clock(MAX_INTERVAL, &mut self.out) {
            return Ok(());
        }
        let before = self.player.clocks();
        self.send()?;
        let deadline = Instant::now() + TIME;
        while self.player.clocks() == before && Instant::now() < deadline {
            self.pump(Duration::from_millis(20))?;
        }
        Ok(())
    }

    fn add_clocks(&mut self) -> Result<(), String> {
        self.time()?;
        if let Some(clocks) = self.player.clocks() {
            *self.clocks.get_or_insert(0) += clocks;
        }
        Ok(())
    }

    /// Looks for the new differences in the record of the replay. Whether that is enough of them.
    fn differences(&mut self) -> bool {
        let keep = self.options.all.unwrap_or(1);
        while self.looked_at < self.player.differences.len() && self.found.len() < keep {
            let difference = self.player.differences[self.looked_at].clone();
            let here = self
                .options
                .beside
                .as_deref()
                .and_then(|file| beside::find(file, &self.plan.source.name, difference.place));
            self.found.push(Found { difference, here });
            self.looked_at += 1;
        }
        let any = !self.player.differences.is_empty();
        any && self.options.all.is_none() || self.player.stuck
    }

    fn play(&mut self) -> Result<bool, String> {
        let mut held = 0;
        loop {
            self.check_stop()?;
            let session = self.connection.as_mut().map(Connection::session);
            let next = self.player.advance(session, &mut self.out);
            self.send()?;
            if held != 0 && !matches!(next, Next::Hold(_)) {
                // The time does not matter for now.
                held = 0;
                self.ask_rarely()?;
            }
            let mut wait = Duration::from_millis(50);
            match next {
                Next::Connect => {
                    self.connect()?;
                    continue;
                }
                Next::Disconnect => {
                    self.add_clocks()?;
                    if let Some(mut connection) = self.connection.take() {
                        connection.close().map_err(|e| self.gone(&e))?;
                    }
                    self.player.disconnected();
                    continue;
                }
                Next::Done => {
                    if self.connection.is_some() {
                        self.add_clocks()?;
                    }
                    return Ok(!self.differences());
                }
                Next::Hold(clocks) => {
                    self.last = Instant::now();
                    // Until then this is said once: the time comes by itself.
                    let until = self.player.clocks().unwrap_or(0) + clocks;
                    if held != until {
                        held = until;
                        self.ask(clocks)?;
                    }
                }
                Next::Wait => wait = RELAX,
            }
            let any = self.pump(wait)?;
            if self.differences() {
                return Ok(false);
            }
            if any || next != Next::Wait {
                continue;
            }
            let waited = self.last.elapsed();
            let Some(connection) = &mut self.connection else {
                continue;
            };
            if waited >= RELAX && self.player.relax(connection.session(), &mut self.out) {
                self.send()?;
                self.last = Instant::now();
            } else if waited >= self.options.timeout {
                if let Some(status) = self.simulator.as_mut().and_then(|s| s.ended()) {
                    return Err(format!("the simulator has ended ({status})"));
                }
                self.player.overdue(waited, connection.session());
                self.last = Instant::now();
                if self.differences() {
                    return Ok(false);
                }
            }
        }
    }

    /// Is told the time no more often than it has to be.
    fn ask_rarely(&mut self) -> Result<(), String> {
        if let Some(connection) = &mut self.connection {
            connection.session().clock(MAX_INTERVAL, &mut self.out);
        }
        self.send()
    }

    /// Asks for the time after so many clocks.
    fn ask(&mut self, clocks: u64) -> Result<(), String> {
        if let Some(connection) = &mut self.connection {
            let ns = self.player.nanoseconds(clocks);
            connection.session().clock(ns, &mut self.out);
        }
        self.send()
    }
}

/// Plays a plan.
///
/// # Errors
///
/// Why it could not be played, or not to its end.
pub fn play(
    plan: &Plan,
    options: &Options,
    simulator: Option<&mut Simulator>,
) -> Result<Outcome, String> {
    let mut run = Run {
        plan,
        options,
        player: Player::new(plan, &options.rules),
        connection: None,
        simulator,
        found: Vec::new(),
        looked_at: 0,
        out: Vec::new(),
        last: Instant::now(),
        began: None,
        ended: None,
        clocks: None,
        shared: false,
    };
    let whole = run.play()?;
    let (done, all) = run.player.progress();
    if !whole && run.player.differences.is_empty() {
        return Err(format!("it does not go on, after {done} of {all} steps"));
    }
    let time = run.began.map_or(Duration::ZERO, |began| began.elapsed());
    if let Some(mut connection) = run.connection.take() {
        // What matters is known.
        let _ = connection.close();
    }
    Ok(Outcome {
        whole: whole || done == all,
        differences: run.player.differences.len(),
        found: run.found,
        counts: run.player.counts,
        time,
        clocks: run.clocks,
        shared: run.shared,
    })
}
