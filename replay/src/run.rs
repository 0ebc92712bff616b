// SPDX-License-Identifier: MIT OR Apache-2.0

//! A replay: the player, the connection, and the simulator if it is ours.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use accelerator_host::{channel, Channel, Connection, Error, Keys};
use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind},
    config::Config,
    host::{HostEvent, HostSession},
    wire::{Reason, MAX_INTERVAL},
};

use accelerator_record::SourceKind;

use crate::{
    beside::{self, Follower},
    plan::{Act, Plan},
    player::{Difference, Next, Place, Player, Rules},
    simulator::Simulator,
};

/// Posted writes that may be outstanding: the most that the protocol allows, so that they are
/// never what a replay waits for.
const WINDOW: u32 = 4096;

/// After so long without anything DMA is answered before its time.
const RELAX: Duration = Duration::from_millis(200);

/// How often is looked whether the RTL has taken what a channel has for it.
const LOOK: Duration = Duration::from_millis(1);

/// Frames or bytes of a channel that may be on their way to us.
const NIC_WINDOW: u32 = 64;
const SERIAL_WINDOW: u32 = 16_384;

/// How long the end of the simulated time is waited for.
const TIME: Duration = Duration::from_secs(2);

/// What a replay goes by.
#[derive(Debug)]
pub struct Options {
    /// Where the simulator listens.
    pub endpoint: String,
    /// The same of each channel of the plan.
    pub channels: Vec<String>,
    /// What the simulator knows us by, and we it.
    pub keys: Option<Keys>,
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
    channels: Vec<Channel>,
    follower: Option<Follower>,
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
        let mut any = self.pump_channels()?;
        let mut timeout = timeout;
        if any {
            self.last = Instant::now();
            timeout = Duration::ZERO;
        } else if self.player.looks() {
            // Nobody tells.
            timeout = timeout.min(LOOK);
        }
        let Some(connection) = &mut self.connection else {
            channel::wait(&self.channels, timeout);
            return Ok(any);
        };
        let (player, ended) = (&mut self.player, &mut self.ended);
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
        let pumped = connection.pump_beside(timeout, &self.channels, &mut self.out, take);
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

    /// Takes in what channels have brought, and what the RTL has taken of theirs. Whether anything
    /// came.
    fn pump_channels(&mut self) -> Result<bool, String> {
        let mut any = false;
        for i in 0..self.channels.len() {
            let player = &mut self.player;
            let take = |event: ChannelEvent<'_>| match event {
                ChannelEvent::Frame(data) => {
                    any = true;
                    player.brings(i, data, true);
                }
                ChannelEvent::Bytes(data) => {
                    any = true;
                    player.brings(i, data, false);
                }
                _ => {}
            };
            if let Err(e) = self.channels[i].pump(take) {
                let what = format!("channel {}: {}", self.plan.channels[i].name, self.gone(&e));
                return Err(what);
            }
        }
        let looks = self.player.looks();
        if let (true, Some(follower)) = (looks, &mut self.follower) {
            for (channel, heard) in follower.heard().unwrap_or_default().iter().enumerate() {
                self.player.heard(channel, heard.taken, heard.given);
            }
            any |= !self.player.looks();
        }
        Ok(any)
    }

    /// Does it. Whether there was room for it.
    fn channel(&mut self, act: Act) -> Result<bool, String> {
        let mut came = Vec::new();
        let done = match act {
            Act::Open { channel, mac } => {
                let patience = self.options.timeout.max(Duration::from_secs(30));
                let take = |event: ChannelEvent<'_>| match event {
                    ChannelEvent::Frame(data) => came.push((channel, data.to_vec(), true)),
                    ChannelEvent::Bytes(data) => came.push((channel, data.to_vec(), false)),
                    _ => {}
                };
                self.channels[channel]
                    .open("accelerator-replay", mac, patience, take)
                    .map(|()| true)
            }
            Act::Close(channel) => self.channels[channel].close().map(|()| true),
            Act::Frame { channel, at, len } => {
                self.channels[channel].send_frame(self.plan.bytes(&(at..at + len)))
            }
            Act::Byte { channel, byte } => {
                self.channels[channel].send_bytes(&[byte]).map(|n| n != 0)
            }
            _ => Ok(true),
        };
        let name = act.channel().map_or("", |c| &self.plan.channels[c].name);
        let done = done.map_err(|e| format!("channel {name}: {}", self.gone(&e)))?;
        if done {
            self.player.done();
            self.last = Instant::now();
        }
        for (channel, data, is_frame) in came {
            self.player.brings(channel, &data, is_frame);
        }
        Ok(done)
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
        let Options { endpoint, keys, .. } = self.options;
        let mut connection =
            Connection::open(endpoint, "accelerator-replay", WINDOW, keys.as_ref())
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
            let source = match difference.place {
                Place::Given(channel, _) => &self.plan.channels[channel],
                _ => &self.plan.source,
            };
            let beside = self.options.beside.as_deref();
            let here = beside.and_then(|file| beside::find(file, source, difference.place));
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
                Next::Channel(act) => {
                    if self.channel(act)? {
                        // What has come meanwhile is not to wait for ever.
                        self.pump_channels()?;
                        continue;
                    }
                    wait = RELAX;
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
            if any || !matches!(next, Next::Wait | Next::Channel(_)) {
                continue;
            }
            let waited = self.last.elapsed();
            let mut session = self.connection.as_mut().map(Connection::session);
            let relaxed = match &mut session {
                Some(session) if waited >= RELAX => self.player.relax(session, &mut self.out),
                _ => false,
            };
            if relaxed {
                self.send()?;
                self.last = Instant::now();
            } else if waited >= self.options.timeout {
                if let Some(status) = self.simulator.as_mut().and_then(|s| s.ended()) {
                    return Err(format!("the simulator has ended ({status})"));
                }
                self.player.overdue(waited, session);
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
    let mut player = Player::new(plan, &options.rules);
    let beside = options.beside.as_deref();
    let follower = beside.map(|file| Follower::new(file, &plan.channels));
    if follower.is_none() {
        // Nobody says what the RTL takes.
        (0..plan.channels.len()).for_each(|channel| player.heard(channel, u64::MAX, 0));
    }
    let mut channels = Vec::new();
    for (source, endpoint) in plan.channels.iter().zip(&options.channels) {
        let (kind, window) = match source.kind {
            SourceKind::Uart => (ChannelKind::Serial, SERIAL_WINDOW),
            _ => (ChannelKind::Nic, NIC_WINDOW),
        };
        let channel = Channel::new(endpoint, kind, window, options.keys.as_ref());
        channels.push(channel.map_err(|e| e.to_string())?);
    }
    let mut run = Run {
        plan,
        options,
        player,
        connection: None,
        channels,
        follower,
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
    for channel in &mut run.channels {
        let _ = channel.close();
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
