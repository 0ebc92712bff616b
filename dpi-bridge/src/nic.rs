// SPDX-License-Identifier: MIT OR Apache-2.0

//! A NIC channel: Ethernet frames between the host's network and the RTL.

use std::collections::VecDeque;

use accelerator_faults::{Fault, What};
use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind},
    limit::Limit,
    wire::{MAX_NIC_FRAME, MIN_NIC_FRAME},
};
use accelerator_record::{
    layout::{STATUS_DROPPED, STATUS_OK, STATUS_TOO_LONG},
    Source, SourceKind,
};
use log::{debug, info};

use crate::{
    channel::{Port, Sink},
    error::{fail, within, Result},
    faults,
    limited::limited,
    record::Observer,
    registry::Behind,
    run::Due,
    words::{Timing, Words},
    BEAT_BYTES,
};

/// Frames of the host that are kept for the RTL at most.
pub(crate) const RX_FRAMES: u32 = 64;

/// Frames of the RTL that a fault holds at most; one more is not late. Those of the host are
/// bounded by its credit.
const MAX_HELD: usize = 1024;

/// Poll: a frame from the host waits.
pub(crate) const RX: u32 = 1;
/// Poll: there is room for a frame to the host.
pub(crate) const TX: u32 = 2;
/// Poll: a host is there and its link is up.
pub(crate) const LINK: u32 = 4;
/// Poll: link or MAC address have changed since the last poll.
pub(crate) const CHANGED: u32 = 8;

/// Counters, by the number that `acc_nic_stat` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stat {
    /// Frames that the RTL has fetched.
    RxFrames = 0,
    /// Their bytes.
    RxBytes = 1,
    /// Frames of the RTL that were sent to the host.
    TxFrames = 2,
    /// Their bytes, padding included.
    TxBytes = 3,
    /// Frames of the RTL that were dropped since there is no host, or one of
    /// the links is down.
    TxDropped = 4,
    /// Frames of the RTL that were dropped since they are too long.
    TxTooLong = 5,
    /// Frames of the host that were dropped since the RTL's link is down or
    /// the session ended before they were fetched.
    RxDropped = 6,
    /// Sessions that came up.
    Sessions = 7,
}

/// How many there are.
pub(crate) const STATS: usize = 8;

/// A frame of the host.
struct Waiting {
    data: Vec<u8>,
    /// Of the transaction; 0 if it has none yet.
    number: u64,
    /// The host has credit for it again when the RTL has fetched it.
    credit: bool,
}

/// Frames that a fault holds.
#[derive(Default)]
struct Held {
    rx: VecDeque<(Due, Waiting)>,
    tx: VecDeque<(Due, Vec<u8>)>,
}

/// What is due of those that are held.
fn due<T>(held: &mut VecDeque<(Due, T)>, timing: &Timing) -> Option<T> {
    let at = held.iter().position(|h| h.0.is_over(timing))?;
    held.remove(at).map(|h| h.1)
}

/// What the socket's side of the channel changes.
struct State {
    /// Frames of the host, oldest first.
    waiting: VecDeque<Waiting>,
    faults: faults::Channel,
    held: Held,
    observer: Option<Observer>,
    timing: &'static Timing,
    /// A host has the session.
    host: bool,
    /// The host's link.
    host_link: bool,
    /// The RTL's link is up.
    link: bool,
    mac: [u8; 6],
    changed: bool,
    /// A session has begun since the last poll.
    opened: bool,
    /// What the record has of it.
    recorded: bool,
    /// Frames that were dropped here and for which the host gets credit.
    dropped: u32,
    stats: [u64; STATS],
    /// Lines about sessions and the host's link.
    told: Limit,
}

impl State {
    fn count(&mut self, stat: Stat, by: usize) {
        self.stats[stat as usize] += by as u64;
    }

    fn is_up(&self) -> bool {
        self.host && self.host_link
    }

    fn mac(&self) -> u64 {
        self.mac
            .iter()
            .fold(0, |mac, &byte| mac << 8 | u64::from(byte))
    }

    /// Records what the RTL hears of link and MAC address.
    fn observe(&mut self) {
        let (up, mac, before) = (self.is_up(), self.mac(), self.recorded);
        self.recorded = up;
        let opened = std::mem::take(&mut self.opened);
        if let Some(observer) = &mut self.observer {
            if before && (!up || opened) {
                observer.channel(false, 0);
            }
            if up && (!before || opened) {
                observer.channel(true, mac);
            }
        }
    }

    /// A frame of the host has come.
    fn arrived(&mut self, target: &str, data: &[u8]) {
        let failing = self
            .faults
            .decide(target, What::NicRx, data.len(), &mut self.observer);
        let mut frame = Waiting {
            data: data.to_vec(),
            number: 0,
            credit: true,
        };
        let Some(failing) = failing else {
            self.waiting.push_back(frame);
            return;
        };
        frame.number = failing.number;
        match failing.fault() {
            Fault::Lose(_) => {
                self.dropped += 1;
                return;
            }
            Fault::Late(delay) => {
                let due = Due::after(delay, self.timing);
                self.held.rx.push_back((due, frame));
                return;
            }
            // For the second one the host has no credit to get back.
            Fault::Double => self.waiting.push_back(Waiting {
                data: data.to_vec(),
                number: 0,
                credit: false,
            }),
            _ => failing.corrupt(&mut frame.data),
        }
        self.waiting.push_back(frame);
    }
}

impl Sink for State {
    fn opened(&mut self, target: &str, mac: [u8; 6], link: bool) {
        self.count(Stat::Sessions, 1);
        // Frames of the session before are not those of this host.
        self.count(Stat::RxDropped, self.waiting.len() + self.held.rx.len());
        self.waiting.clear();
        self.held = Held::default();
        self.dropped = 0;
        (self.host, self.host_link, self.mac) = (true, link, mac);
        self.changed = true;
        self.opened = true;
        let [a, b, c, d, e, f] = mac;
        limited!(
            self.told,
            info,
            target,
            "MAC address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}, the host's link is {}",
            if link { "up" } else { "down" }
        );
    }

    fn down(&mut self) {
        self.changed |= self.is_up();
        self.host = false;
    }

    fn event(&mut self, target: &str, event: ChannelEvent<'_>) {
        match event {
            ChannelEvent::Frame(_) if !self.link => {
                self.count(Stat::RxDropped, 1);
                self.dropped += 1;
            }
            ChannelEvent::Frame(data) => self.arrived(target, data),
            ChannelEvent::Link(up) if self.host_link != up => {
                self.host_link = up;
                self.changed = true;
                let now = if up { "up" } else { "down" };
                limited!(self.told, info, target, "the host's link is {now}");
            }
            // Credit is looked at when there is something to send.
            _ => {}
        }
    }
}

/// Everything behind one handle of `acc_nic_open`.
pub struct Nic {
    port: Port,
    state: State,
    /// The frame that the RTL fetches, and how much of it was fetched.
    current: Vec<u8>,
    fetched: usize,
    /// The frame that the RTL tells beat by beat; no longer than one beat more
    /// than the longest that may be sent.
    assembly: Vec<u8>,
    begun: bool,
    too_long: Limit,
}

impl Nic {
    /// Binds the channel's socket.
    ///
    /// # Errors
    ///
    /// `Code::Io` with a text that names the endpoint.
    pub fn open(endpoint: &str, name: &str, words: &'static Words) -> Result<Self> {
        let port = Port::open(ChannelKind::Nic, RX_FRAMES, endpoint, name, words)?;
        let source = Source {
            kind: SourceKind::Nic,
            name: name.to_owned(),
            ..Source::default()
        };
        let observer = Observer::new(&source, &port.target, words)?;
        Ok(Self {
            port,
            state: State {
                waiting: VecDeque::new(),
                faults: faults::Channel::new(name, words)?,
                held: Held::default(),
                observer,
                timing: &words.timing,
                host: false,
                host_link: false,
                link: true,
                mac: [0; 6],
                changed: false,
                opened: false,
                recorded: false,
                dropped: 0,
                stats: [0; STATS],
                told: Limit::default(),
            },
            current: Vec::new(),
            fetched: 0,
            assembly: Vec::with_capacity(MAX_NIC_FRAME + BEAT_BYTES),
            begun: false,
            too_long: Limit::default(),
        })
    }

    /// Whether frames of the RTL go anywhere.
    fn connected(&self) -> bool {
        self.state.is_up() && self.state.link && self.port.session.is_up()
    }

    fn status(&self) -> u32 {
        let mut status = 0;
        if !self.state.waiting.is_empty() {
            status |= RX;
        }
        // What goes nowhere is taken and dropped, as a MAC does without a link.
        if !self.connected() || self.port.session.credit() != 0 {
            status |= TX;
        }
        if self.state.is_up() {
            status |= LINK;
        }
        status
    }

    fn publish(&mut self) {
        let status = self.status();
        let held = &self.state.held;
        let more = !held.rx.is_empty() || !held.tx.is_empty();
        self.port.publish(status, more);
    }

    /// What a fault has held for long enough.
    fn release(&mut self) {
        let timing = self.state.timing;
        while let Some(frame) = due(&mut self.state.held.rx, timing) {
            self.state.waiting.push_back(frame);
        }
        while let Some(frame) = due(&mut self.state.held.tx, timing) {
            self.send(&frame);
        }
    }

    /// Sends a frame to the host, if there is one. Whether it was sent.
    fn send(&mut self, frame: &[u8]) -> bool {
        // The session may be another one than when the frame began.
        let sent = self.connected() && self.port.session.send_frame(frame, &mut self.port.out);
        if sent {
            self.state.count(Stat::TxFrames, 1);
            self.state.count(Stat::TxBytes, frame.len());
        } else {
            self.state.count(Stat::TxDropped, 1);
        }
        sent
    }

    /// `acc_nic_poll`, when the attention word says that there is work.
    ///
    /// # Errors
    ///
    /// `Code::Io` if the socket fails.
    pub fn poll(&mut self) -> Result<u32> {
        let result = self.port.poll(&mut self.state);
        self.release();
        let dropped = std::mem::take(&mut self.state.dropped);
        if dropped != 0 {
            self.port.session.consumed(dropped, &mut self.port.out);
        }
        self.publish();
        result?;
        self.state.observe();
        let changed = std::mem::take(&mut self.state.changed);
        Ok(self.status() | if changed { CHANGED } else { 0 })
    }

    /// `acc_nic_get_mac`.
    pub fn mac(&self) -> u64 {
        self.state.mac()
    }

    /// `acc_nic_set_link`.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` for anything but 0 and 1.
    pub fn set_link(&mut self, up: i32) -> Result<()> {
        let up = within("up", up, 0, 1)? != 0;
        if self.state.link != up {
            self.state.link = up;
            debug!(target: &self.port.target, "the RTL's link is up: {up}");
            self.port.session.set_link(up, &mut self.port.out);
            self.publish();
        }
        Ok(())
    }

    /// `acc_nic_rx_begin`.
    pub fn rx_begin(&mut self) -> u32 {
        let Some(frame) = self.state.waiting.pop_front() else {
            return 0;
        };
        let Waiting {
            data,
            number,
            credit,
        } = frame;
        self.current = data;
        self.fetched = 0;
        if let Some(observer) = &mut self.state.observer {
            observer.frame(number, false, &self.current, STATUS_OK);
        }
        self.state.count(Stat::RxFrames, 1);
        self.state.count(Stat::RxBytes, self.current.len());
        if credit {
            self.port.session.consumed(1, &mut self.port.out);
        }
        self.publish();
        // At most 9,216.
        self.current.len() as u32
    }

    /// `acc_nic_rx_beat`: how many bytes of the frame are left then.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` if there are not so many.
    pub fn rx_beat(&mut self, bytes: i32, beat: &mut [u8; BEAT_BYTES]) -> Result<u32> {
        let count = within("bytes", bytes, 1, BEAT_BYTES as i32)? as usize;
        let rest = &self.current[self.fetched..];
        if count > rest.len() {
            fail!(
                Invalid,
                "{count} bytes asked for, the frame that was begun has {} left",
                rest.len()
            );
        }
        beat[..count].copy_from_slice(&rest[..count]);
        self.fetched += count;
        Ok((rest.len() - count) as u32)
    }

    /// `acc_nic_tx_beat`.
    ///
    /// # Errors
    ///
    /// `Code::Again` if a frame begins and there is no room for it.
    pub fn tx_beat(&mut self, bytes: i32, data: &[u8; BEAT_BYTES], last: i32) -> Result<()> {
        let count = within("bytes", bytes, 1, BEAT_BYTES as i32)? as usize;
        let last = within("last", last, 0, 1)? != 0;
        if !self.begun && self.status() & TX == 0 {
            fail!(Again, "there is no room for a frame to the host");
        }
        self.begun = true;
        // Of a frame that is too long no more is kept than shows it.
        if self.assembly.len() <= MAX_NIC_FRAME {
            self.assembly.extend_from_slice(&data[..count]);
        }
        if last {
            self.tx_end();
        }
        Ok(())
    }

    fn tx_end(&mut self) {
        let mut frame = std::mem::take(&mut self.assembly);
        self.begun = false;
        let mut number = 0;
        let became = if frame.len() > MAX_NIC_FRAME {
            self.state.count(Stat::TxTooLong, 1);
            limited!(
                self.too_long,
                warn,
                &self.port.target,
                "a frame of the RTL is dropped, it has more than {MAX_NIC_FRAME} bytes"
            );
            STATUS_TOO_LONG
        } else {
            if frame.len() < MIN_NIC_FRAME {
                frame.resize(MIN_NIC_FRAME, 0);
            }
            let failing = self.state.faults.decide(
                &self.port.target,
                What::NicTx,
                frame.len(),
                &mut self.state.observer,
            );
            number = failing.map_or(0, |f| f.number);
            let sent = match failing.map(|f| (f, f.fault())) {
                None => self.send(&frame),
                // To the RTL it was sent.
                Some((_, Fault::Lose(_))) => true,
                Some((_, Fault::Late(delay))) if self.state.held.tx.len() < MAX_HELD => {
                    let due = Due::after(delay, self.state.timing);
                    self.state.held.tx.push_back((due, frame.clone()));
                    true
                }
                // The second one is dropped if the host has no room for it.
                Some((_, Fault::Double)) => self.send(&frame) | self.send(&frame),
                Some((failing, _)) => {
                    let mut other = frame.clone();
                    failing.corrupt(&mut other);
                    self.send(&other)
                }
            };
            if sent {
                STATUS_OK
            } else {
                STATUS_DROPPED
            }
        };
        if let Some(observer) = &mut self.state.observer {
            observer.frame(number, true, &frame, became);
        }
        frame.clear();
        self.assembly = frame;
        self.publish();
    }

    /// `acc_nic_tx_abort`.
    pub fn tx_abort(&mut self) {
        self.assembly.clear();
        self.begun = false;
    }

    /// `acc_nic_stat`.
    ///
    /// # Errors
    ///
    /// `Code::Invalid` if there is no such counter.
    pub fn stat(&self, which: i32) -> Result<u64> {
        let which = within("which", which, 0, STATS as i32 - 1)?;
        Ok(self.state.stats[which as usize])
    }
}

impl Behind for Nic {
    const WHAT: &'static str = "NIC channel";
    const KIND: usize = 1;

    fn endpoint(&self) -> &str {
        &self.port.endpoint
    }

    fn target(&self) -> &str {
        &self.port.target
    }

    fn close(self) {
        let stat = |stat: Stat| self.state.stats[stat as usize];
        info!(
            target: &self.port.target,
            "closed after {} sessions; {} frames with {} bytes from the host, {} dropped; {} \
             frames with {} bytes to the host, {} dropped, {} too long",
            stat(Stat::Sessions),
            stat(Stat::RxFrames),
            stat(Stat::RxBytes),
            stat(Stat::RxDropped),
            stat(Stat::TxFrames),
            stat(Stat::TxBytes),
            stat(Stat::TxDropped),
            stat(Stat::TxTooLong),
        );
        self.port.close();
    }
}
