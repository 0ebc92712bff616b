// SPDX-License-Identifier: MIT OR Apache-2.0

//! One bridge: the session with the host, and what the RTL was told of it.
//!
//! Frames are taken in and the session's state changes in [`Bridge::poll`]
//! only, so what a poll announced stays there until it is fetched. Everything
//! that a call has to say to the host is sent before the call returns.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use accelerator_protocol::{
    device::{refuse_message, DeviceEvent, DeviceSession, MAX_DMA},
    host::Violation,
    wire::{frame_type, split, Frame, Reason, ResetKind, Status, WireError},
    Config, Msix,
};
use log::{debug, error, info, log_enabled, trace, warn, Level};

use crate::{
    error::{fail, Code, Error, Result},
    order::{Kind, Queue, READY_ALL},
    transport::{Received, Sent, Transport},
    watcher::{Waiting, LOCAL, PEER_GONE, SOCKET},
};

/// Name of the environment variable with the time in milliseconds after which
/// a wait is mentioned in the log; 0 turns that off.
pub const WARN_VARIABLE: &str = "ACCELERATOR_ZMQ_WARN_MS";

/// That time when the variable is not set.
pub const DEFAULT_WARN_MS: u64 = 1000;

/// Bytes of one DMA request. An AXI burst never crosses a 4 KiB boundary.
pub const MAX_DMA_BYTES: u32 = 4096;

/// Bytes of the vectors that carry beats: the widest AXI data bus that fits is
/// 512 bits.
pub const BEAT_BYTES: usize = 64;

/// Messages taken in at one poll. More of them wait for the next one, so that
/// a flood does not stop the simulation.
const MESSAGES_PER_POLL: usize = 64;

/// Polls with nothing to receive after which the socket is left to the
/// watcher: first each poll tries, then every fourth one. A try costs about as
/// much as a microsecond, being told by the watcher takes about ten.
const EAGER_TRIES: u32 = 32;
const ALL_TRIES: u32 = 160;
const LAZY_MASK: u32 = 3;

/// Unsent bytes are gathered into messages of about this size.
const GATHER: usize = 128 * 1024;

/// How long a second host waits for the first one to prove gone, and how often
/// that is tried. A QEMU that is restarted can be here before the end of the
/// old connection is known.
const CANDIDATE_WAIT: Duration = Duration::from_millis(250);
const CANDIDATE_PROBE: Duration = Duration::from_millis(5);

/// After this time in the handshake a host has to make room for another one.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// How long closing waits for the host to take what was not sent yet.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// What a poll returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Event {
    /// Nothing.
    None = 0,
    /// MMIO read.
    MmioRead = 1,
    /// MMIO write.
    MmioWrite = 2,
    /// A DMA read is answered.
    DmaReadDone = 3,
    /// A DMA write is answered.
    DmaWriteDone = 4,
    /// The function is reset.
    Reset = 5,
    /// A host is there.
    LinkUp = 6,
    /// The host is gone.
    LinkDown = 7,
}

/// Counters, by the number that `acc_stat` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stat {
    /// MMIO reads handed out.
    MmioReads = 0,
    /// MMIO writes handed out.
    MmioWrites = 1,
    /// Bytes that DMA reads brought.
    DmaReadBytes = 2,
    /// Bytes that DMA writes put into host memory.
    DmaWriteBytes = 3,
    /// MSI-X requests sent.
    Msix = 4,
    /// Sessions that came up.
    Sessions = 5,
    /// Polls that received or handed out something.
    BusyPolls = 6,
}

const STATS: usize = 7;

/// An MMIO request, as the RTL sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mmio {
    /// For the answer.
    pub tag: u32,
    /// 0 to 5.
    pub bar: u8,
    /// 1 to 8 bytes.
    pub len: u8,
    /// The BAR's AXI base plus the offset.
    pub addr: u64,
    /// Of a write.
    pub data: u64,
}

/// What the queue holds.
#[derive(Clone, Copy, Debug)]
enum Item {
    Mmio(Mmio),
    Dma { tag: u32 },
}

/// A request that the RTL has and did not answer.
#[derive(Clone, Copy, Debug)]
struct InRtl {
    mmio: Mmio,
    since: Instant,
}

#[derive(Debug)]
enum DmaState {
    /// The host has it.
    Waiting,
    /// The host has answered, `pos` bytes of the data were fetched.
    Done {
        status: Status,
        data: Vec<u8>,
        pos: usize,
        announced: bool,
    },
}

#[derive(Debug)]
struct Dma {
    tag: u32,
    write: bool,
    addr: u64,
    bytes: u32,
    /// Of a write: bytes that are enabled.
    enabled: u32,
    since: Instant,
    state: DmaState,
}

/// A DMA write that the RTL is telling beat by beat.
#[derive(Debug, Default)]
struct Assembly {
    addr: u64,
    data: Vec<u8>,
    enables: Vec<u8>,
    enabled: u32,
}

/// The host whose session it is.
struct Peer {
    id: Vec<u8>,
    /// Messages that its queue did not take.
    backlog: VecDeque<Vec<u8>>,
    backlog_since: Option<Instant>,
    handshake_since: Instant,
}

/// A host that asked while another one had the session.
struct Candidate {
    id: Vec<u8>,
    message: Vec<u8>,
    deadline: Instant,
    probe: Instant,
}

/// Events about the link as a whole, in the order in which they are told. All
/// else that waits came after them.
#[derive(Debug, Default)]
struct Control {
    down: bool,
    up: bool,
    reset: Option<(u32, ResetKind)>,
}

/// What the last poll announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Queued(Kind),
    Reset,
    Down,
    Up,
}

/// Logs the first of a kind of message and then fewer and fewer of them.
#[derive(Default)]
struct Rarely(u64);

impl Rarely {
    fn now(&mut self) -> bool {
        self.0 += 1;
        self.0 <= 8 || self.0.is_power_of_two()
    }
}

/// A bridge from `acc_start` on.
struct Run {
    transport: Transport,
    session: DeviceSession,
    peer: Option<Peer>,
    candidate: Option<Candidate>,
    /// The peer cannot be reached; noticed by the next poll.
    lost: bool,
    queue: Queue<Item>,
    control: Control,
    announced: Option<Announced>,
    /// What the RTL knows about the link.
    link_up: bool,
    /// The reset that the RTL is in.
    in_reset: Option<(u32, Instant)>,
    /// `acc_reset_done` may come without a reset, since the link went down
    /// while it was in progress.
    excused: bool,
    /// Requests that the RTL has, oldest first.
    reads: Vec<InRtl>,
    writes: VecDeque<InRtl>,
    /// In the order in which they were requested.
    dma: Vec<Dma>,
    assembly: Option<Assembly>,
    /// Level of the INTx pin that the RTL drives, and that the host knows.
    intx: bool,
    intx_told: bool,
    /// Frames for the peer, sent at the end of the call.
    out: Vec<u8>,
    /// Tries to receive that found nothing; `ALL_TRIES` if the watcher looks.
    tries: u32,
    polls: u32,
    foreign: Rarely,
    refused: Rarely,
    violations: Rarely,
}

/// Everything behind one handle.
pub struct Bridge {
    name: String,
    /// `name` as the log shows it.
    target: String,
    endpoint: String,
    config: Config,
    warn: Option<Duration>,
    attention: &'static AtomicU32,
    run: Option<Run>,
    stats: [u64; STATS],
}

/// A value that has to lie in a range, with a name for the message.
fn within(name: &str, value: i32, min: i32, max: i32) -> Result<i32> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        fail!(
            Invalid,
            "{name} is {value} ({value:#x}), expected {min} to {max:#x}"
        )
    }
}

/// Reads the time after which a wait is mentioned.
///
/// # Errors
///
/// A text that names the value.
pub fn parse_warn(value: Option<&str>) -> std::result::Result<Option<Duration>, String> {
    let ms = match value.map(str::trim) {
        None | Some("") => DEFAULT_WARN_MS,
        Some(text) => text.parse().map_err(|_| {
            format!(
                "{WARN_VARIABLE} is {text:?}, expected milliseconds (0 for never); \
                 {DEFAULT_WARN_MS} is used"
            )
        })?,
    };
    Ok((ms != 0).then(|| Duration::from_millis(ms)))
}

impl Bridge {
    /// A bridge that is not started. `attention` is the word that tells
    /// whether a poll has anything to do.
    pub fn new(name: &str, endpoint: String, attention: &'static AtomicU32) -> Self {
        let target = format!("accelerator[{name}]");
        let value = std::env::var(WARN_VARIABLE).ok();
        let warn = parse_warn(value.as_deref()).unwrap_or_else(|text| {
            warn!(target: &target, "{text}");
            Some(Duration::from_millis(DEFAULT_WARN_MS))
        });
        // Until it is started each poll takes the slow path, to say so.
        attention.store(LOCAL, Ordering::Release);
        Self {
            name: name.to_owned(),
            target,
            endpoint,
            config: Config {
                link_speed: 1,
                link_width: 1,
                ..Config::default()
            },
            warn,
            attention,
            run: None,
            stats: [0; STATS],
        }
    }

    /// The name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as log lines show it.
    pub fn target(&self) -> &str {
        &self.target
    }

    fn setting(&mut self) -> Result<&mut Config> {
        if self.run.is_some() {
            fail!(
                State,
                "the configuration is fixed once acc_start was called"
            );
        }
        Ok(&mut self.config)
    }

    fn run(&mut self) -> Result<&mut Run> {
        match &mut self.run {
            Some(run) => Ok(run),
            None => fail!(State, "acc_start was not called yet"),
        }
    }

    /// `acc_set_id`.
    pub fn set_id(
        &mut self,
        vendor: i32,
        device: i32,
        subvendor: i32,
        subdevice: i32,
        class: i32,
        revision: i32,
    ) -> Result<()> {
        let config = self.setting()?;
        within("vendor", vendor, 1, 0xfffe)?;
        within("device", device, 0, 0xffff)?;
        within("subvendor", subvendor, 0, 0xffff)?;
        within("subdevice", subdevice, 0, 0xffff)?;
        within("class_code", class, 0, 0xff_ffff)?;
        within("revision", revision, 0, 0xff)?;
        // All in range now.
        config.vendor = vendor as u16;
        config.device = device as u16;
        config.subsystem_vendor = subvendor as u16;
        config.subsystem = subdevice as u16;
        config.class = class as u32;
        config.revision = revision as u8;
        Ok(())
    }

    /// `acc_set_bar`.
    pub fn set_bar(&mut self, bar: i32, size: i64, flags: i32, axi_base: i64) -> Result<()> {
        let config = self.setting()?;
        let index = within("bar", bar, 0, 5)? as usize;
        within("flags", flags, 0, 3)?;
        let Ok(size) = u64::try_from(size) else {
            fail!(Invalid, "size of BAR {bar} is {size}, expected 0 or more");
        };
        config.bars[index] = if size == 0 {
            accelerator_protocol::Bar::default()
        } else {
            accelerator_protocol::Bar {
                size,
                // A longint is signed, an address is not: the bits count.
                axi_base: axi_base as u64,
                is_64bit: flags & 1 != 0,
                prefetchable: flags & 2 != 0,
            }
        };
        Ok(())
    }

    /// `acc_set_msix`.
    pub fn set_msix(
        &mut self,
        vectors: i32,
        table_bar: i32,
        table_offset: i32,
        pba_bar: i32,
        pba_offset: i32,
    ) -> Result<()> {
        let config = self.setting()?;
        within("vectors", vectors, 0, 2048)?;
        if vectors == 0 {
            config.msix = None;
            return Ok(());
        }
        within("table_bar", table_bar, 0, 5)?;
        within("table_offset", table_offset, 0, i32::MAX)?;
        within("pba_bar", pba_bar, 0, 5)?;
        within("pba_offset", pba_offset, 0, i32::MAX)?;
        config.msix = Some(Msix {
            vectors: vectors as u16,
            table_bar: table_bar as u8,
            pba_bar: pba_bar as u8,
            table_offset: table_offset as u32,
            pba_offset: pba_offset as u32,
        });
        Ok(())
    }

    /// `acc_set_link`.
    pub fn set_link(&mut self, speed: i32, width: i32) -> Result<()> {
        let config = self.setting()?;
        within("speed", speed, 1, 6)?;
        if !matches!(width, 1 | 2 | 4 | 8 | 12 | 16 | 32) {
            fail!(
                Invalid,
                "width is {width}, expected 1, 2, 4, 8, 12, 16 or 32"
            );
        }
        config.link_speed = speed as u8;
        config.link_width = width as u8;
        Ok(())
    }

    /// `acc_set_intx`.
    pub fn set_intx(&mut self, pin: i32) -> Result<()> {
        let config = self.setting()?;
        config.intx_pin = within("pin", pin, 0, 4)? as u8;
        Ok(())
    }

    /// `acc_set_clock`.
    pub fn set_clock(&mut self, period_ps: i32) -> Result<()> {
        let config = self.setting()?;
        config.clock_period_ps = within("period_ps", period_ps, 0, i32::MAX)? as u32;
        Ok(())
    }

    /// `acc_start`.
    pub fn start(&mut self) -> Result<()> {
        self.setting()?;
        let session = DeviceSession::new(self.config.clone())
            .map_err(|e| Error::new(Code::Invalid, e.to_string()))?;
        let transport = Transport::bind(&self.endpoint, self.attention, self.warn, &self.target)?;
        info!(
            target: &self.target,
            "function {:04x}:{:04x} waits for QEMU at {}",
            self.config.vendor, self.config.device, self.endpoint
        );
        self.run = Some(Run::new(transport, session));
        Ok(())
    }

    /// Says goodbye and closes the socket.
    pub fn close(mut self) {
        if let Some(run) = self.run.take() {
            run.close(&self.target);
            info!(
                target: &self.target,
                "closed after {} sessions, {} MMIO reads, {} MMIO writes, {} bytes read and {} \
                 bytes written by DMA, {} MSI-X requests",
                self.stats[Stat::Sessions as usize],
                self.stats[Stat::MmioReads as usize],
                self.stats[Stat::MmioWrites as usize],
                self.stats[Stat::DmaReadBytes as usize],
                self.stats[Stat::DmaWriteBytes as usize],
                self.stats[Stat::Msix as usize],
            );
        }
    }

    /// `acc_stat`.
    pub fn stat(&self, which: i32) -> Result<u64> {
        match usize::try_from(which).ok().and_then(|i| self.stats.get(i)) {
            Some(&value) => Ok(value),
            None => fail!(
                Invalid,
                "which is {which}, expected 0 to {}",
                self.stats.len() - 1
            ),
        }
    }

    /// Runs `f` on what is there from `acc_start` on, sends what it has to say
    /// and updates the attention word.
    fn with<T>(&mut self, f: impl FnOnce(&mut Run, &mut Context<'_>) -> Result<T>) -> Result<T> {
        self.run()?;
        let Some(run) = &mut self.run else {
            unreachable!("checked by the line above");
        };
        let mut context = Context {
            target: &self.target,
            stats: &mut self.stats,
            warn: self.warn,
            attention: self.attention,
        };
        let result = f(run, &mut context);
        let flushed = run.flush(&context);
        run.publish(&context);
        let value = result?;
        flushed?;
        Ok(value)
    }

    /// `acc_poll`, when the attention word says that there is work.
    pub fn poll(&mut self, ready: i32) -> Result<Event> {
        within("ready", ready, 0, READY_ALL as i32)?;
        self.with(|run, c| run.poll(ready as u32, c))
    }

    /// `acc_get_mmio`.
    pub fn get_mmio(&mut self) -> Result<Mmio> {
        self.with(Run::get_mmio)
    }

    /// `acc_mmio_read_done`.
    pub fn mmio_read_done(&mut self, tag: u32, status: i32, data: u64) -> Result<()> {
        self.with(|run, c| run.mmio_read_done(tag, status, data, c))
    }

    /// `acc_mmio_write_done`.
    pub fn mmio_write_done(&mut self, tag: u32, status: i32) -> Result<()> {
        self.with(|run, c| run.mmio_write_done(tag, status, c))
    }

    /// `acc_dma_read`.
    pub fn dma_read(&mut self, addr: u64, bytes: i32) -> Result<u32> {
        self.with(|run, c| run.dma_read(addr, bytes, c))
    }

    /// `acc_get_dma_read`: tag, status, bytes.
    pub fn get_dma_read(&mut self) -> Result<(u32, Status, u32)> {
        self.with(|run, c| run.get_dma(Kind::DmaRead, c))
    }

    /// `acc_dma_read_beat`.
    pub fn dma_read_beat(&mut self, tag: u32, lane: i32, bytes: i32) -> Result<[u8; BEAT_BYTES]> {
        let mut beat = [0; BEAT_BYTES];
        self.run()?.dma_read_beat(tag, lane, bytes, &mut beat)?;
        Ok(beat)
    }

    /// `acc_dma_write_begin`.
    pub fn dma_write_begin(&mut self, addr: u64) -> Result<()> {
        self.run()?.dma_write_begin(addr)
    }

    /// `acc_dma_write_beat`.
    pub fn dma_write_beat(
        &mut self,
        lane: i32,
        bytes: i32,
        data: &[u8; BEAT_BYTES],
        strobes: u64,
    ) -> Result<()> {
        self.run()?.dma_write_beat(lane, bytes, data, strobes)
    }

    /// `acc_dma_write_end`.
    pub fn dma_write_end(&mut self) -> Result<u32> {
        self.with(Run::dma_write_end)
    }

    /// `acc_get_dma_write`: tag and status.
    pub fn get_dma_write(&mut self) -> Result<(u32, Status)> {
        self.with(|run, c| run.get_dma(Kind::DmaWrite, c))
            .map(|(tag, status, _)| (tag, status))
    }

    /// `acc_msix`.
    pub fn msix(&mut self, vector: i32) -> Result<()> {
        self.with(|run, c| run.msix(vector, c))
    }

    /// `acc_intx`.
    pub fn intx(&mut self, level: i32) -> Result<()> {
        self.with(|run, c| run.intx(level, c))
    }

    /// `acc_get_reset`.
    pub fn get_reset(&mut self) -> Result<ResetKind> {
        self.with(Run::get_reset)
    }

    /// `acc_reset_done`.
    pub fn reset_done(&mut self) -> Result<()> {
        self.with(Run::reset_done)
    }

    /// `acc_get_link`.
    pub fn get_link(&mut self) -> Result<bool> {
        self.with(Run::get_link)
    }
}

/// What a [`Run`] uses of its bridge.
struct Context<'a> {
    target: &'a str,
    stats: &'a mut [u64; STATS],
    warn: Option<Duration>,
    attention: &'static AtomicU32,
}

impl Context<'_> {
    fn count(&mut self, stat: Stat, by: u64) {
        self.stats[stat as usize] += by;
    }
}

impl Run {
    fn new(transport: Transport, session: DeviceSession) -> Self {
        Self {
            transport,
            session,
            peer: None,
            candidate: None,
            lost: false,
            queue: Queue::default(),
            control: Control::default(),
            announced: None,
            link_up: false,
            in_reset: None,
            excused: false,
            reads: Vec::new(),
            writes: VecDeque::new(),
            dma: Vec::with_capacity(MAX_DMA),
            assembly: None,
            intx: false,
            intx_told: false,
            out: Vec::with_capacity(GATHER),
            // Not left to the watcher before a first receive found nothing.
            tries: 0,
            polls: 0,
            foreign: Rarely::default(),
            refused: Rarely::default(),
            violations: Rarely::default(),
        }
    }

    fn close(mut self, target: &str) {
        self.session.close(&mut self.out);
        if let (Some(peer), false) = (&mut self.peer, self.lost) {
            peer.backlog.push_back(std::mem::take(&mut self.out));
            let deadline = Instant::now() + CLOSE_LIMIT;
            while let Some(message) = peer.backlog.front() {
                match self.transport.send(&peer.id, message) {
                    Ok(Sent::Yes) => {
                        peer.backlog.pop_front();
                    }
                    Ok(Sent::Full) if Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Ok(Sent::Gone) => break,
                    Ok(Sent::Full) | Err(_) => {
                        warn!(
                            target: target,
                            "{} messages were not taken by the host before the bridge closed",
                            peer.backlog.len()
                        );
                        break;
                    }
                }
            }
        }
        self.transport.close();
    }

    // --- Towards the host -------------------------------------------------

    /// Sends what the call had to say, after what could not be sent before.
    fn flush(&mut self, c: &Context<'_>) -> Result<()> {
        let backlog = self.peer.as_ref().is_some_and(|p| !p.backlog.is_empty());
        if self.out.is_empty() && !backlog {
            return Ok(());
        }
        let (Some(peer), false) = (&mut self.peer, self.lost) else {
            self.out.clear();
            return Ok(());
        };
        // What the socket had to tell may have been processed by the send: its
        // descriptor cannot be relied on before a receive found nothing.
        self.tries = 0;
        let sent = loop {
            let Some(message) = peer.backlog.front() else {
                break Ok(Sent::Yes);
            };
            match self.transport.send(&peer.id, message) {
                Ok(Sent::Yes) => {
                    peer.backlog.pop_front();
                }
                other => break other,
            }
        };
        let sent = match sent {
            Ok(Sent::Yes) if !self.out.is_empty() => self.transport.send(&peer.id, &self.out),
            other => other,
        };
        match sent {
            Ok(Sent::Yes) => {
                if peer.backlog_since.take().is_some() {
                    debug!(target: c.target, "the host takes frames again");
                }
                self.out.clear();
                Ok(())
            }
            Ok(Sent::Full) => {
                if peer.backlog_since.is_none() {
                    debug!(target: c.target, "the host does not take frames, they wait");
                    peer.backlog_since = Some(Instant::now());
                }
                match peer.backlog.back_mut() {
                    Some(last) if last.len() + self.out.len() <= GATHER => {
                        last.append(&mut self.out);
                    }
                    _ if self.out.is_empty() => {}
                    _ => peer.backlog.push_back(std::mem::take(&mut self.out)),
                }
                Ok(())
            }
            Ok(Sent::Gone) => {
                self.lost = true;
                self.out.clear();
                Ok(())
            }
            Err(e) => {
                self.lost = true;
                self.out.clear();
                error!(target: c.target, "{e}");
                Err(e)
            }
        }
    }

    /// Sends to a host that has no session.
    fn send_stranger(&mut self, id: &[u8], message: &[u8], c: &Context<'_>) {
        if message.is_empty() {
            return;
        }
        self.tries = 0;
        if let Err(e) = self.transport.send(id, message) {
            error!(target: c.target, "{e}");
        }
    }

    /// Whether the host whose session it is can still be reached.
    fn probe(&mut self, c: &Context<'_>) -> bool {
        let Some(peer) = &self.peer else {
            return false;
        };
        if self.lost {
            return false;
        }
        let mut noop = Vec::new();
        Frame::Noop.encode(self.session.session(), &mut noop);
        self.tries = 0;
        match self.transport.send(&peer.id, &noop) {
            Ok(Sent::Yes | Sent::Full) => true,
            Ok(Sent::Gone) => false,
            Err(e) => {
                error!(target: c.target, "{e}");
                false
            }
        }
    }

    /// Tells the watcher what is waited for, and the next poll whether it has
    /// work.
    fn publish(&mut self, c: &Context<'_>) {
        if c.warn.is_some() {
            let dma = self
                .dma
                .iter()
                .find(|d| matches!(d.state, DmaState::Waiting));
            let waits = [
                self.reads.first().map(|r| {
                    let Mmio { tag, addr, len, .. } = r.mmio;
                    (Waiting::Read { tag, addr, len }, r.since)
                }),
                self.writes.front().map(|w| {
                    let Mmio { tag, addr, len, .. } = w.mmio;
                    (Waiting::Write { tag, addr, len }, w.since)
                }),
                dma.map(|d| {
                    (
                        Waiting::Dma {
                            tag: d.tag,
                            write: d.write,
                            addr: d.addr,
                            bytes: d.bytes,
                        },
                        d.since,
                    )
                }),
                self.in_reset
                    .map(|(tag, since)| (Waiting::Reset { tag }, since)),
                self.peer
                    .as_ref()
                    .and_then(|p| p.backlog_since)
                    .map(|since| (Waiting::Host, since)),
            ];
            self.transport.watcher().waits(waits);
        }
        let work = self.lost
            || self.tries < ALL_TRIES
            || self.control.down
            || self.control.up
            || self.control.reset.is_some()
            || self.candidate.is_some()
            || !self.queue.is_empty()
            || self.peer.as_ref().is_some_and(|p| !p.backlog.is_empty());
        let known = c.attention.load(Ordering::Relaxed) & LOCAL != 0;
        if work != known {
            if work {
                c.attention.fetch_or(LOCAL, Ordering::AcqRel);
            } else {
                c.attention.fetch_and(!LOCAL, Ordering::AcqRel);
            }
        }
    }

    // --- From the host ----------------------------------------------------

    fn poll(&mut self, ready: u32, c: &mut Context<'_>) -> Result<Event> {
        self.transport.watcher().polled();
        self.announced = None;
        let received = self.service(c)?;
        self.tell_intx();
        self.announced = self.choose(ready);
        let event = match self.announced {
            None => Event::None,
            Some(Announced::Queued(Kind::Read)) => Event::MmioRead,
            Some(Announced::Queued(Kind::Write)) => Event::MmioWrite,
            Some(Announced::Queued(Kind::DmaRead)) => Event::DmaReadDone,
            Some(Announced::Queued(Kind::DmaWrite)) => Event::DmaWriteDone,
            Some(Announced::Reset) => Event::Reset,
            Some(Announced::Down) => Event::LinkDown,
            Some(Announced::Up) => Event::LinkUp,
        };
        if received || event != Event::None {
            c.count(Stat::BusyPolls, 1);
        }
        Ok(event)
    }

    fn choose(&mut self, ready: u32) -> Option<Announced> {
        if self.control.down {
            Some(Announced::Down)
        } else if self.control.up {
            Some(Announced::Up)
        } else if self.control.reset.is_some() {
            Some(Announced::Reset)
        } else if self.in_reset.is_some() {
            // What comes after a reset is for the RTL that has left it.
            None
        } else {
            self.queue
                .select(ready, self.reads.len())
                .map(Announced::Queued)
        }
    }

    /// Takes in what came and looks after the peer; whether anything came.
    fn service(&mut self, c: &mut Context<'_>) -> Result<bool> {
        let attention = c.attention.load(Ordering::Acquire);
        if attention & PEER_GONE != 0 {
            c.attention.fetch_and(!PEER_GONE, Ordering::AcqRel);
        }
        let flagged = attention & SOCKET != 0 && self.tries == ALL_TRIES;
        let hint = attention & PEER_GONE != 0;
        self.polls = self.polls.wrapping_add(1);
        let eager = self.tries < EAGER_TRIES || self.polls & LAZY_MASK == 0;
        let mut received = false;
        if flagged || hint || self.lost || (self.tries < ALL_TRIES && eager) {
            let (count, drained) = self.receive(c)?;
            received = count != 0;
            if received {
                self.tries = 0;
            } else if flagged {
                // Only commands between the socket and its threads.
                self.tries = ALL_TRIES;
                self.transport.watcher().arm();
            } else if self.tries < ALL_TRIES {
                self.tries += 1;
                if self.tries == ALL_TRIES {
                    self.transport.watcher().arm();
                }
            }
            // All that the peer has sent counts, before it is given up.
            if drained && hint && self.peer.is_some() && !self.probe(c) {
                self.lost = true;
            } else if hint && !drained {
                c.attention.fetch_or(PEER_GONE, Ordering::AcqRel);
            }
            if self.lost && drained {
                self.peer_lost(c);
            }
        }
        if self.candidate.is_some() {
            self.look_after_candidate(c);
        }
        Ok(received)
    }

    /// Receives until nothing is left, or enough for one poll. How many
    /// messages, and whether nothing is left.
    fn receive(&mut self, c: &mut Context<'_>) -> Result<(usize, bool)> {
        for count in 0..MESSAGES_PER_POLL {
            match self.transport.receive()? {
                Received::Nothing => return Ok((count, true)),
                Received::Message { peer, body } => self.message(&peer, &body, c),
                Received::Parts { peer, parts } => self.odd_parts(&peer, parts, c),
            }
        }
        Ok((MESSAGES_PER_POLL, false))
    }

    fn is_peer(&self, id: &[u8]) -> bool {
        self.peer.as_ref().is_some_and(|p| p.id == id)
    }

    fn odd_parts(&mut self, id: &[u8], parts: usize, c: &mut Context<'_>) {
        let text = format!("a message has {parts} parts, expected 1");
        if self.is_peer(id) {
            self.violation(Reason::Protocol, &text, c);
        } else if self.foreign.now() {
            warn!(target: c.target, "ignored, from a peer without a session: {text}");
        }
    }

    fn message(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        match &self.peer {
            Some(peer) if peer.id == id => self.frames(body, c),
            Some(_) => self.stranger(id, body, c),
            None => self.newcomer(id, body, c),
        }
    }

    /// A message while there is no session. Only INIT begins one.
    fn newcomer(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        if !self.begins(id, body, c) {
            return;
        }
        self.peer = Some(Peer {
            id: id.to_vec(),
            backlog: VecDeque::new(),
            backlog_since: None,
            handshake_since: Instant::now(),
        });
        self.lost = false;
        self.frames(body, c);
    }

    /// Whether a message of somebody without a session begins with an INIT of
    /// our version. If not, whoever speaks another version is told, and all
    /// else is ignored.
    fn begins(&mut self, id: &[u8], body: &[u8], c: &Context<'_>) -> bool {
        match split(body) {
            Ok((header, ..)) if header.frame_type == frame_type::INIT => true,
            Ok((header, ..)) => {
                if self.foreign.now() {
                    debug!(
                        target: c.target,
                        "ignored, from a peer without a session: frame type {:#04x} of session \
                         {:#x}",
                        header.frame_type, header.session
                    );
                }
                false
            }
            Err(e @ WireError::Version { .. }) => {
                self.refuse(id, body, Reason::Version, &e.to_string(), c);
                false
            }
            Err(e) => {
                if self.foreign.now() {
                    warn!(target: c.target, "ignored, from a peer without a session: {e}");
                }
                false
            }
        }
    }

    fn refuse(&mut self, id: &[u8], body: &[u8], reason: Reason, text: &str, c: &Context<'_>) {
        if self.refused.now() {
            warn!(target: c.target, "a host is refused: {text}");
        }
        let mut message = Vec::new();
        refuse_message(body, reason, text, &mut message);
        self.send_stranger(id, &message, c);
    }

    /// A message of somebody else while there is a session.
    fn stranger(&mut self, id: &[u8], body: &[u8], c: &mut Context<'_>) {
        if !self.begins(id, body, c) {
            return;
        }
        let now = Instant::now();
        let stuck = self
            .peer
            .as_ref()
            .is_some_and(|p| !self.session.is_up() && p.handshake_since + HANDSHAKE_LIMIT < now);
        if stuck {
            self.violation(
                Reason::Busy,
                "the handshake was not finished, and another host asks",
                c,
            );
            self.newcomer(id, body, c);
            return;
        }
        if !self.probe(c) {
            self.lost = true;
            self.peer_lost(c);
            self.newcomer(id, body, c);
            return;
        }
        match &self.candidate {
            Some(other) if other.id != id => {
                self.refuse(id, body, Reason::Busy, "another host has the session", c);
            }
            _ => {
                self.candidate = Some(Candidate {
                    id: id.to_vec(),
                    message: body.to_vec(),
                    deadline: now + CANDIDATE_WAIT,
                    probe: now + CANDIDATE_PROBE,
                });
            }
        }
    }

    fn look_after_candidate(&mut self, c: &mut Context<'_>) {
        let Some(mut candidate) = self.candidate.take() else {
            return;
        };
        if self.peer.is_none() {
            self.newcomer(&candidate.id, &candidate.message, c);
            return;
        }
        let now = Instant::now();
        if now < candidate.probe {
            self.candidate = Some(candidate);
            return;
        }
        if !self.probe(c) {
            // What the old host sent last was received before this.
            self.lost = true;
            self.candidate = Some(candidate);
        } else if now >= candidate.deadline {
            let Candidate { id, message, .. } = candidate;
            self.refuse(
                &id,
                &message,
                Reason::Busy,
                "another host has the session",
                c,
            );
        } else {
            candidate.probe = now + CANDIDATE_PROBE;
            self.candidate = Some(candidate);
        }
    }

    /// Frames of the host whose session it is.
    fn frames(&mut self, body: &[u8], c: &mut Context<'_>) {
        let mut rest = body;
        loop {
            match self.session.frame(rest, &mut self.out) {
                Ok((event, more)) => {
                    rest = more;
                    self.event(event, c);
                }
                Err(violation) => {
                    let reason = match violation {
                        Violation::Wire(WireError::Version { .. }) => Reason::Version,
                        _ => Reason::Protocol,
                    };
                    self.violation(reason, &violation.to_string(), c);
                    return;
                }
            }
            if rest.is_empty() || self.peer.is_none() {
                return;
            }
        }
    }

    /// The host broke the protocol: tells it, and ends the session.
    fn violation(&mut self, reason: Reason, text: &str, c: &mut Context<'_>) {
        if self.violations.now() {
            error!(target: c.target, "the session is ended, the host broke the protocol: {text}");
        }
        self.session.fail(reason, text, &mut self.out);
        // The peer is forgotten, so the REFUSE goes out here.
        if let Err(e) = self.flush(c) {
            debug!(target: c.target, "the host was not told: {e}");
        }
        self.link_down(c, "protocol error");
        self.peer = None;
    }

    /// The peer cannot be reached any more.
    fn peer_lost(&mut self, c: &mut Context<'_>) {
        self.lost = false;
        if self.peer.take().is_some() {
            self.session.disconnected();
            self.link_down(c, "the host disconnected");
        }
    }

    fn event(&mut self, event: DeviceEvent<'_>, c: &mut Context<'_>) {
        if log_enabled!(target: c.target, Level::Trace) {
            trace!(target: c.target, "{event:?}");
        }
        match event {
            DeviceEvent::Offered { host, replaced } => {
                if replaced {
                    self.link_down(c, "the host began another session");
                }
                debug!(
                    target: c.target,
                    "{host:?} asks for session {:#x}",
                    self.session.session()
                );
            }
            DeviceEvent::Up => {
                c.count(Stat::Sessions, 1);
                info!(
                    target: c.target,
                    "link up, session {:#x}",
                    self.session.session()
                );
                self.control.up = true;
            }
            DeviceEvent::Down { reason, text } => {
                let text = format!("the host ended it: {reason:?} {text}");
                self.link_down(c, text.trim_end());
                self.peer = None;
            }
            DeviceEvent::Read {
                tag,
                bar,
                len,
                offset,
            } => self.mmio(Kind::Read, tag, bar, len, offset, 0),
            DeviceEvent::Write {
                tag,
                bar,
                len,
                offset,
                data,
            } => self.mmio(Kind::Write, tag, bar, len, offset, data),
            DeviceEvent::DmaReadDone { tag, status, data } => {
                self.dma_done(Kind::DmaRead, tag, status, data);
            }
            DeviceEvent::DmaWriteDone { tag, status } => {
                self.dma_done(Kind::DmaWrite, tag, status, &[]);
            }
            DeviceEvent::Reset { tag, kind } => {
                debug!(target: c.target, "tag={tag} reset {kind:?}");
                self.queue.clear();
                // Of several that the RTL has not heard of the last one is
                // answered, which answers them all, and the strongest told.
                let kind = match self.control.reset {
                    Some((_, waiting)) if waiting as u32 > kind as u32 => waiting,
                    _ => kind,
                };
                self.control.reset = Some((tag, kind));
            }
            DeviceEvent::Ignored => {}
        }
    }

    fn mmio(&mut self, kind: Kind, tag: u32, bar: u8, len: u8, offset: u64, data: u64) {
        // The session has checked the range, and the configuration that the
        // base is a multiple of the size.
        let base = self.session.config().bars[usize::from(bar)].axi_base;
        self.queue.push(
            kind,
            Item::Mmio(Mmio {
                tag,
                bar,
                len,
                addr: base + offset,
                data,
            }),
        );
    }

    fn dma_done(&mut self, kind: Kind, tag: u32, status: Status, data: &[u8]) {
        // The session knows the tag, so it is in the table.
        if let Some(dma) = self.dma.iter_mut().find(|d| d.tag == tag) {
            dma.state = DmaState::Done {
                status,
                data: data.to_vec(),
                pos: 0,
                announced: false,
            };
            self.queue.push(kind, Item::Dma { tag });
        }
    }

    fn link_down(&mut self, c: &Context<'_>, why: &str) {
        self.queue.clear();
        self.control.reset = None;
        if self.control.up {
            // The RTL never heard of that session.
            self.control.up = false;
            info!(target: c.target, "link down: {why}");
        } else if self.link_up && !self.control.down {
            self.control.down = true;
            info!(target: c.target, "link down: {why}");
        } else {
            debug!(target: c.target, "no link: {why}");
        }
    }

    // --- The RTL's side ---------------------------------------------------

    /// Whether the RTL answers to something that is void, without knowing yet.
    fn void(&self) -> bool {
        self.lost || self.control.down || self.control.reset.is_some()
    }

    /// The RTL has heard of a reset or the end of a session: nothing that it
    /// had is left.
    fn forget(&mut self) {
        self.reads.clear();
        self.writes.clear();
        self.dma.clear();
        self.assembly = None;
        // RTL in reset does not assert its pin, and the host knows that.
        self.intx = false;
        self.intx_told = false;
    }

    fn get_mmio(&mut self, c: &mut Context<'_>) -> Result<Mmio> {
        let kind = match self.announced {
            Some(Announced::Queued(kind @ (Kind::Read | Kind::Write))) => kind,
            other => fail!(
                State,
                "acc_get_mmio after {other:?}, expected an acc_poll that returned MMIO_READ or \
                 MMIO_WRITE"
            ),
        };
        let Some(Item::Mmio(mmio)) = self.queue.pop(kind) else {
            unreachable!("what a poll announced stays in the queue");
        };
        self.announced = None;
        let in_rtl = InRtl {
            mmio,
            since: Instant::now(),
        };
        if kind == Kind::Write {
            c.count(Stat::MmioWrites, 1);
            self.writes.push_back(in_rtl);
            debug!(
                target: c.target,
                "tag={} MMIO write BAR {} addr {:#x} len {} data {:#x}",
                mmio.tag, mmio.bar, mmio.addr, mmio.len, mmio.data
            );
        } else {
            c.count(Stat::MmioReads, 1);
            self.reads.push(in_rtl);
            debug!(
                target: c.target,
                "tag={} MMIO read BAR {} addr {:#x} len {}",
                mmio.tag, mmio.bar, mmio.addr, mmio.len
            );
        }
        Ok(mmio)
    }

    fn mmio_status(status: i32) -> Result<Status> {
        match status {
            0 => Ok(Status::Ok),
            1 => Ok(Status::Refused),
            _ => fail!(Invalid, "status is {status}, expected 0 (OK) or 1 (error)"),
        }
    }

    fn mmio_read_done(
        &mut self,
        tag: u32,
        status: i32,
        data: u64,
        c: &mut Context<'_>,
    ) -> Result<()> {
        let status = Self::mmio_status(status)?;
        let Some(i) = self.reads.iter().position(|r| r.mmio.tag == tag) else {
            fail!(
                Invalid,
                "tag {tag} is no read that the RTL has; it has {} ({:?} is the oldest)",
                self.reads.len(),
                self.reads.first().map(|r| r.mmio.tag)
            );
        };
        let read = self.reads.remove(i);
        debug!(target: c.target, "tag={tag} MMIO read done {status:?} data {data:#x}");
        if !self.void() {
            self.session
                .read_done(tag, read.mmio.len, status, data, &mut self.out);
        }
        Ok(())
    }

    fn mmio_write_done(&mut self, tag: u32, status: i32, c: &mut Context<'_>) -> Result<()> {
        let status = Self::mmio_status(status)?;
        let oldest = self.writes.front().map(|w| w.mmio.tag);
        if oldest != Some(tag) {
            fail!(
                Invalid,
                "tag {tag} is not the oldest write that the RTL has; it has {} ({:?} is the \
                 oldest)",
                self.writes.len(),
                oldest
            );
        }
        self.writes.pop_front();
        debug!(target: c.target, "tag={tag} MMIO write done {status:?}");
        if !self.void() {
            self.session.write_done(tag, status, &mut self.out);
        }
        Ok(())
    }

    /// Whether the RTL may start a request.
    fn may_request(&self) -> Result<()> {
        if !self.link_up || self.control.down || self.lost || !self.session.is_up() {
            fail!(Link, "the link is down");
        }
        if self.control.reset.is_some() {
            fail!(Again, "a reset waits to be fetched with acc_poll");
        }
        if let Some((tag, _)) = self.in_reset {
            fail!(
                State,
                "reset {tag} is in progress, acc_reset_done was not called"
            );
        }
        if self.peer.as_ref().is_some_and(|p| !p.backlog.is_empty()) {
            fail!(Again, "the host does not take frames at the moment");
        }
        Ok(())
    }

    fn may_dma(&self) -> Result<()> {
        self.may_request()?;
        if self.dma.len() + usize::from(self.assembly.is_some()) >= MAX_DMA {
            fail!(
                Again,
                "64 DMA requests are outstanding, the most that may be"
            );
        }
        Ok(())
    }

    fn dma_read(&mut self, addr: u64, bytes: i32, c: &mut Context<'_>) -> Result<u32> {
        let bytes = within("bytes", bytes, 1, MAX_DMA_BYTES as i32)? as u32;
        self.may_dma()?;
        let Some(tag) = self.session.dma_read(addr, bytes, &mut self.out) else {
            fail!(
                Invalid,
                "DMA read of {bytes} bytes at {addr:#x} wraps around the address space, or is \
                 more than the host takes"
            );
        };
        self.dma.push(Dma {
            tag,
            write: false,
            addr,
            bytes,
            enabled: 0,
            since: Instant::now(),
            state: DmaState::Waiting,
        });
        debug!(target: c.target, "tag={tag} DMA read addr {addr:#x} bytes {bytes}");
        Ok(tag)
    }

    fn get_dma(&mut self, kind: Kind, c: &mut Context<'_>) -> Result<(u32, Status, u32)> {
        if self.announced != Some(Announced::Queued(kind)) {
            fail!(
                State,
                "acc_get_dma_{} after {:?}, expected an acc_poll that returned {kind:?}Done",
                if kind == Kind::DmaRead {
                    "read"
                } else {
                    "write"
                },
                self.announced
            );
        }
        let Some(Item::Dma { tag }) = self.queue.pop(kind) else {
            unreachable!("what a poll announced stays in the queue");
        };
        self.announced = None;
        let Some(i) = self.dma.iter().position(|d| d.tag == tag) else {
            unreachable!("a completion in the queue has an entry in the table");
        };
        let dma = &mut self.dma[i];
        let DmaState::Done {
            status,
            data,
            announced,
            ..
        } = &mut dma.state
        else {
            unreachable!("a completion in the queue has its state");
        };
        let (status, bytes) = (*status, data.len() as u32);
        *announced = true;
        let enabled = dma.enabled;
        debug!(target: c.target, "tag={tag} DMA done {status:?} bytes {bytes}");
        if kind == Kind::DmaRead && status == Status::Ok {
            c.count(Stat::DmaReadBytes, u64::from(bytes));
        } else {
            self.dma.remove(i);
            if status == Status::Ok {
                c.count(Stat::DmaWriteBytes, u64::from(enabled));
            }
        }
        Ok((tag, status, bytes))
    }

    /// Byte lanes of a beat.
    fn lanes(lane: i32, bytes: i32) -> Result<std::ops::Range<usize>> {
        let lane = within("lane", lane, 0, BEAT_BYTES as i32 - 1)? as usize;
        let bytes = within("bytes", bytes, 1, BEAT_BYTES as i32)? as usize;
        if lane + bytes > BEAT_BYTES {
            fail!(
                Invalid,
                "{bytes} bytes from lane {lane} end at lane {}, a beat has {BEAT_BYTES}",
                lane + bytes
            );
        }
        Ok(lane..lane + bytes)
    }

    fn dma_read_beat(
        &mut self,
        tag: u32,
        lane: i32,
        bytes: i32,
        beat: &mut [u8; BEAT_BYTES],
    ) -> Result<()> {
        let lanes = Self::lanes(lane, bytes)?;
        let Some(i) = self.dma.iter().position(|d| d.tag == tag && !d.write) else {
            fail!(
                Invalid,
                "tag {tag} is no DMA read; {} requests are outstanding",
                self.dma.len()
            );
        };
        let DmaState::Done {
            data,
            pos,
            announced: true,
            ..
        } = &mut self.dma[i].state
        else {
            fail!(
                State,
                "the completion of DMA read tag {tag} was not fetched with acc_get_dma_read"
            );
        };
        let left = data.len() - *pos;
        if lanes.len() > left {
            fail!(
                Invalid,
                "{} bytes of DMA read tag {tag} are asked for, {left} of {} are left",
                lanes.len(),
                data.len()
            );
        }
        let end = *pos + lanes.len();
        beat[lanes].copy_from_slice(&data[*pos..end]);
        *pos = end;
        if end == data.len() {
            self.dma.remove(i);
        }
        Ok(())
    }

    fn dma_write_begin(&mut self, addr: u64) -> Result<()> {
        if self.assembly.is_some() {
            fail!(
                State,
                "acc_dma_write_begin twice, expected acc_dma_write_end in between"
            );
        }
        self.may_dma()?;
        self.assembly = Some(Assembly {
            addr,
            ..Assembly::default()
        });
        Ok(())
    }

    fn dma_write_beat(
        &mut self,
        lane: i32,
        bytes: i32,
        data: &[u8; BEAT_BYTES],
        strobes: u64,
    ) -> Result<()> {
        let lanes = Self::lanes(lane, bytes)?;
        let Some(assembly) = &mut self.assembly else {
            fail!(
                State,
                "acc_dma_write_beat without acc_dma_write_begin, or after a reset"
            );
        };
        let total = assembly.data.len() + lanes.len();
        if total > MAX_DMA_BYTES as usize {
            fail!(
                Invalid,
                "the DMA write has {total} bytes with this beat, at most {MAX_DMA_BYTES} may be"
            );
        }
        assembly.data.extend_from_slice(&data[lanes.clone()]);
        assembly.enables.resize(total.div_ceil(8), 0);
        for (i, lane) in (total - lanes.len()..).zip(lanes) {
            if strobes >> lane & 1 != 0 {
                assembly.enables[i / 8] |= 1 << (i % 8);
                assembly.enabled += 1;
            }
        }
        Ok(())
    }

    fn dma_write_end(&mut self, c: &mut Context<'_>) -> Result<u32> {
        let Some(assembly) = self.assembly.take() else {
            fail!(
                State,
                "acc_dma_write_end without acc_dma_write_begin, or after a reset"
            );
        };
        if assembly.data.is_empty() {
            fail!(
                Invalid,
                "the DMA write has no beats, expected 1 to 4096 bytes"
            );
        }
        // `begin` has seen to it that there is a free tag. In between the link
        // can have gone down or a reset come, of which the RTL hears at its
        // next poll: until then the request is as void as all others.
        if !self.link_up || self.control.down || self.lost || !self.session.is_up() {
            fail!(Link, "the link is down");
        }
        let Assembly {
            addr,
            data,
            enables,
            enabled,
        } = assembly;
        let bytes = data.len() as u32;
        if self.control.reset.is_some() {
            debug!(target: c.target, "DMA write addr {addr:#x} bytes {bytes} is void by a reset");
            return Ok(0);
        }
        let enables = (enabled != bytes).then_some(&enables[..]);
        let Some(tag) = self.session.dma_write(addr, &data, enables, &mut self.out) else {
            fail!(
                Invalid,
                "DMA write of {bytes} bytes at {addr:#x} wraps around the address space, or is \
                 more than the host takes"
            );
        };
        self.dma.push(Dma {
            tag,
            write: true,
            addr,
            bytes,
            enabled,
            since: Instant::now(),
            state: DmaState::Waiting,
        });
        debug!(
            target: c.target,
            "tag={tag} DMA write addr {addr:#x} bytes {bytes} enabled {enabled}"
        );
        Ok(tag)
    }

    fn msix(&mut self, vector: i32, c: &mut Context<'_>) -> Result<()> {
        let vectors = self.session.config().msix.map_or(0, |m| m.vectors);
        if vectors == 0 {
            fail!(NotSupported, "the function has no MSI-X (acc_set_msix)");
        }
        let vector = within("vector", vector, 0, i32::from(vectors) - 1)? as u16;
        self.may_request()?;
        if self.session.msix(vector, &mut self.out) {
            c.count(Stat::Msix, 1);
            debug!(target: c.target, "MSI-X vector {vector}");
        }
        Ok(())
    }

    fn intx(&mut self, level: i32, c: &mut Context<'_>) -> Result<()> {
        if self.session.config().intx_pin == 0 {
            fail!(NotSupported, "the function has no INTx pin (acc_set_intx)");
        }
        self.intx = within("level", level, 0, 1)? != 0;
        debug!(target: c.target, "INTx level {level}");
        self.tell_intx();
        Ok(())
    }

    /// Tells the level of the INTx pin if the host does not know it. Without a
    /// link, in a reset, and while the host takes no frames it has to wait.
    fn tell_intx(&mut self) {
        if self.intx != self.intx_told
            && self.may_request().is_ok()
            && self.session.intx(self.intx, &mut self.out)
        {
            self.intx_told = self.intx;
        }
    }

    fn get_reset(&mut self, _: &mut Context<'_>) -> Result<ResetKind> {
        let (Some(Announced::Reset), Some((tag, kind))) = (self.announced, self.control.reset)
        else {
            fail!(
                State,
                "acc_get_reset after {:?}, expected an acc_poll that returned RESET",
                self.announced
            );
        };
        self.announced = None;
        self.control.reset = None;
        self.in_reset = Some((tag, Instant::now()));
        self.excused = false;
        self.forget();
        Ok(kind)
    }

    fn reset_done(&mut self, c: &mut Context<'_>) -> Result<()> {
        let Some((tag, _)) = self.in_reset.take() else {
            if std::mem::take(&mut self.excused) {
                return Ok(());
            }
            fail!(State, "acc_reset_done without a reset");
        };
        debug!(target: c.target, "tag={tag} reset done");
        self.session.reset_done(tag, &mut self.out);
        self.tell_intx();
        Ok(())
    }

    fn get_link(&mut self, _: &mut Context<'_>) -> Result<bool> {
        match self.announced.take() {
            Some(Announced::Down) => {
                self.control.down = false;
                self.link_up = false;
                self.excused = true;
                self.in_reset = None;
                self.forget();
                Ok(false)
            }
            Some(Announced::Up) => {
                self.control.up = false;
                self.link_up = true;
                self.tell_intx();
                Ok(true)
            }
            other => {
                self.announced = other;
                fail!(
                    State,
                    "acc_get_link after {other:?}, expected an acc_poll that returned LINK_UP or \
                     LINK_DOWN"
                )
            }
        }
    }
}
