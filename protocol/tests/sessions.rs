// SPDX-License-Identifier: MIT OR Apache-2.0

//! Both halves of a session against each other, their messages delivered at
//! random times, with a model that knows what has to come of each request.

mod common;

use std::collections::{HashMap, HashSet, VecDeque};

use accelerator_protocol::{
    device::{refuse_message, DeviceEvent, DeviceSession, MAX_DMA},
    function::UNMAPPED,
    host::{
        HostEvent, HostSession, Ignored, State, Violation, MAX_CLOCKS, MAX_FUNCTIONS, MAX_PLANS,
        MAX_READS, MAX_RESETS,
    },
    said::Said,
    wire::{split, ErrorKind, Frame, Init, Reason, ResetKind, Status, MAX_DATA},
    Config, Function, Msi, WireError,
};
use common::{config, feed_device, up, Random};

/// What a read of this tag is answered with.
fn answer(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What a DMA read at this address returns.
fn memory(addr: u64, len: u32) -> Vec<u8> {
    (0..u64::from(len))
        .map(|i| (addr + i) as u8 ^ 0x3c)
        .collect()
}

/// What the device side of the model has to do.
#[derive(Debug)]
enum Todo {
    Read { tag: u32, len: u8 },
    Write { tag: u32 },
    Reset { tag: u32 },
}

/// Both halves, what is on its way between them, and what has to come of it.
struct World {
    random: Random,
    host: HostSession,
    device: DeviceSession,
    to_device: VecDeque<Vec<u8>>,
    to_host: VecDeque<Vec<u8>>,
    sessions: u64,

    // The host's requests.
    reads: HashMap<u32, u8>,
    given_up: HashSet<u32>,
    writes_sent: VecDeque<u32>,
    window: u32,
    // The device's requests, and what it has to answer.
    todo: VecDeque<Todo>,
    dma: HashMap<u32, Option<(u64, u32)>>,
    vectors_sent: u64,
    // What the guest has set, counted in the requester id, and what the device knows of it.
    set: Function,
    known: Option<Function>,
    /// Plans that are not answered.
    plans: VecDeque<u32>,

    // What happened, so that a test that tests nothing is noticed.
    counts: HashMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let window = 1 + random.below(8) as u32;
        let mut world = Self {
            random,
            host: HostSession::new(1, window),
            device: DeviceSession::new(config()).unwrap(),
            to_device: VecDeque::new(),
            to_host: VecDeque::new(),
            sessions: 0,
            reads: HashMap::new(),
            given_up: HashSet::new(),
            writes_sent: VecDeque::new(),
            window,
            todo: VecDeque::new(),
            dma: HashMap::new(),
            vectors_sent: 0,
            set: Function::default(),
            known: None,
            plans: VecDeque::new(),
            counts: HashMap::new(),
        };
        world.new_session();
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// The host starts over, whatever is on its way.
    fn new_session(&mut self) {
        self.sessions += 1;
        self.host = HostSession::new(self.sessions, self.window);
        self.void_host();
        let mut out = Vec::new();
        self.host.init("model", &mut out);
        self.to_device.push_back(out);
    }

    fn void_host(&mut self) {
        // A reset voids no plan.
        if !self.host.is_up() {
            self.plans.clear();
        }
        self.reads.clear();
        self.given_up.clear();
        self.writes_sent.clear();
    }

    fn void_device(&mut self) {
        self.todo.clear();
        self.dma.clear();
    }

    /// Sends a message, or puts it together with the one before it, as a
    /// sender may.
    fn send(&mut self, to_host: bool, out: Vec<u8>) {
        if out.is_empty() {
            return;
        }
        let join = self.random.one_in(3);
        let queue = if to_host {
            &mut self.to_host
        } else {
            &mut self.to_device
        };
        match queue.back_mut() {
            Some(last) if join => last.extend_from_slice(&out),
            _ => queue.push_back(out),
        }
    }

    // Steps of the host.

    fn host_read(&mut self) {
        let len = 1 + self.random.below(8) as u8;
        let mut out = Vec::new();
        let tag = self.host.read(0, self.random.below(0xff0), len, &mut out);
        assert_eq!(tag.is_some(), self.host.is_up());
        if let Some(tag) = tag {
            assert!(self.reads.insert(tag, len).is_none(), "tag used twice");
            self.count("read");
        }
        self.send(false, out);
    }

    fn host_write(&mut self) {
        let mut out = Vec::new();
        let room = self.writes_sent.len() < self.window as usize;
        assert_eq!(self.host.can_write(), self.host.is_up() && room);
        let tag = self.host.write(2, 8, 4, u64::MAX, &mut out);
        assert_eq!(tag.is_some(), self.host.is_up() && room);
        if let Some(tag) = tag {
            assert!(!self.host.write_is_done(tag));
            self.writes_sent.push_back(tag);
            self.count("write");
        }
        self.send(false, out);
    }

    fn host_gives_up(&mut self) {
        if let Some(&tag) = self.reads.keys().next() {
            self.reads.remove(&tag);
            self.given_up.insert(tag);
            self.host.abandon(tag);
            self.count("given up");
        }
    }

    fn host_reset(&mut self) {
        let was_up = self.host.is_up();
        let mut out = Vec::new();
        self.host.reset(ResetKind::Flr, &mut out);
        assert_eq!(!out.is_empty(), was_up);
        if was_up {
            self.void_host();
            assert!(self.host.reset_pending());
            self.count("reset");
            self.set.requester_id += 1;
            assert!(self.host.function(&self.set, &mut out));
        }
        self.send(false, out);
    }

    /// The guest writes config space.
    fn host_function(&mut self) {
        let mut out = Vec::new();
        self.set.requester_id += 1;
        self.set.bus_master = self.random.one_in(2);
        assert_eq!(self.host.function(&self.set, &mut out), self.host.is_up());
        assert!(!self.host.function(&self.set, &mut out), "told twice");
        self.send(false, out);
    }

    /// The user has another plan of faults.
    fn host_faults(&mut self) {
        let mut out = Vec::new();
        let tag = self.host.faults("a plan", &mut out);
        let may = self.host.is_up() && self.plans.len() < MAX_PLANS;
        assert_eq!(tag.is_some(), may);
        self.plans.extend(tag);
        self.send(false, out);
    }

    /// A fault has made an error.
    fn device_error(&mut self) {
        let mut out = Vec::new();
        let read = self.todo.iter().find_map(|todo| match todo {
            Todo::Read { tag, .. } => Some(*tag),
            _ => None,
        });
        let told = self.device.error(ErrorKind::ReadAborted, read, &mut out);
        assert_eq!(told, self.device.can_send());
        self.send(true, out);
    }

    fn host_receives(&mut self) {
        let Some(message) = self.to_host.pop_front() else {
            return;
        };
        let mut rest: &[u8] = &message;
        while !rest.is_empty() {
            let (event, tail) = match self.host.frame(rest) {
                Ok(ok) => ok,
                Err(e) => panic!("an honest device was refused: {e}"),
            };
            rest = tail;
            let mut out = Vec::new();
            match event {
                HostEvent::Configured(c) => {
                    assert_eq!(&c, self.device.config());
                    self.host.accept(&mut out);
                    assert!(self.host.function(&self.set, &mut out));
                    self.count("session");
                }
                HostEvent::ReadDone { tag, status, data } => {
                    let len = self.reads.remove(&tag).expect("a read that is outstanding");
                    assert_eq!(status, Status::Ok);
                    let expected = accelerator_protocol::host::mask(answer(tag), len);
                    assert_eq!(data, expected);
                    self.count("read done");
                }
                HostEvent::LateRead { tag } => {
                    assert!(self.given_up.remove(&tag), "a read that was given up");
                    self.count("late read");
                }
                HostEvent::WritesDone { count, status } => {
                    assert_eq!(status, Status::Ok);
                    for _ in 0..count {
                        let tag = self.writes_sent.pop_front().expect("a write outstanding");
                        assert!(self.host.write_is_done(tag));
                    }
                    assert_eq!(
                        self.host.writes_outstanding() as usize,
                        self.writes_sent.len()
                    );
                    self.count("writes done");
                }
                HostEvent::DmaRead { tag, addr, len } => {
                    // Now and then the guest resets the function while the DMA
                    // is done; the completion is then not sent.
                    if self.random.one_in(50) {
                        self.host_reset();
                    }
                    let (status, data) = if addr >> 63 != 0 {
                        (Status::Fault, Vec::new())
                    } else {
                        (Status::Ok, memory(addr, len))
                    };
                    self.host.dma_read_done(tag, status, &data, &mut out);
                    // Once only.
                    self.host.dma_read_done(tag, status, &data, &mut out);
                    self.count("DMA read served");
                }
                HostEvent::DmaWrite {
                    tag, addr, data, ..
                } => {
                    assert_eq!(data, memory(addr, data.len() as u32));
                    if self.random.one_in(50) {
                        self.host_reset();
                    }
                    self.host.dma_write_done(tag, Status::Ok, &mut out);
                    self.count("DMA write served");
                }
                HostEvent::Msix { vector } => {
                    assert!(vector < 4);
                    self.vectors_sent -= 1;
                    self.count("interrupt");
                }
                HostEvent::Intx { .. } => self.count("INTx"),
                HostEvent::ResetDone => {
                    assert!(!self.host.reset_pending());
                    self.count("reset done");
                }
                HostEvent::FaultsDone { tag, refused, text } => {
                    assert_eq!(Some(tag), self.plans.pop_front(), "answered in order");
                    assert_eq!((refused, text.raw()), (tag % 2 == 0, "seen"));
                    self.count("plan answered");
                }
                HostEvent::Error { .. } => self.count("error"),
                HostEvent::Closed { reason } => {
                    assert_eq!(reason, Reason::Closing);
                    self.void_host();
                    self.count("closed by the device");
                }
                HostEvent::Ignored(Ignored::Stale { session }) => {
                    assert!(session < self.sessions);
                    self.count("stale for the host");
                }
                HostEvent::Ignored(Ignored::Void) => self.count("void"),
                HostEvent::Ignored(Ignored::Noop) => {}
                HostEvent::Refused { .. }
                | HostEvent::BadVector { .. }
                | HostEvent::Share { .. }
                | HostEvent::Time { .. } => {
                    panic!("{event:?} of an honest device")
                }
            }
            self.send(false, out);
        }
    }

    // Steps of the device.

    fn device_receives(&mut self) {
        let Some(message) = self.to_device.pop_front() else {
            return;
        };
        let mut rest: &[u8] = &message;
        while !rest.is_empty() {
            let mut reply = Vec::new();
            let (event, tail) = match self.device.frame(rest, &mut reply) {
                Ok(ok) => ok,
                Err(e) => panic!("an honest host was refused: {e}"),
            };
            rest = tail;
            match event {
                DeviceEvent::Offered { host, .. } => {
                    assert_eq!(host.raw(), "model");
                    self.void_device();
                    self.known = None;
                }
                DeviceEvent::Up => self.count("up"),
                DeviceEvent::Function(function) => {
                    let newer = |old: Function| old.requester_id < function.requester_id;
                    assert!(
                        self.known.map_or(true, newer),
                        "told again, or out of order"
                    );
                    self.known = Some(function);
                    self.count("function");
                }
                DeviceEvent::Down { .. } => {
                    self.void_device();
                    self.count("closed by the host");
                }
                DeviceEvent::Read { tag, len, .. } => self.todo.push_back(Todo::Read { tag, len }),
                DeviceEvent::Write { tag, data, .. } => {
                    assert_eq!(data, 0xffff_ffff);
                    self.todo.push_back(Todo::Write { tag });
                }
                DeviceEvent::DmaReadDone { tag, status, data } => {
                    let (addr, len) = self
                        .dma
                        .remove(&tag)
                        .flatten()
                        .expect("a DMA read that is outstanding");
                    if addr >> 63 != 0 {
                        assert_eq!((status, data), (Status::Fault, &[][..]));
                    } else {
                        assert_eq!((status, data), (Status::Ok, &memory(addr, len)[..]));
                    }
                    self.count("DMA read done");
                }
                DeviceEvent::DmaWriteDone { tag, status } => {
                    let dma = self.dma.remove(&tag).expect("a DMA that is outstanding");
                    assert_eq!((dma, status), (None, Status::Ok));
                    self.count("DMA write done");
                }
                DeviceEvent::Reset { tag, .. } => {
                    self.void_device();
                    self.todo.push_back(Todo::Reset { tag });
                }
                DeviceEvent::Clock { .. } => panic!("nobody asks for the time"),
                DeviceEvent::Attached(_) => panic!("nobody shares memory"),
                DeviceEvent::Faults { tag, text } => {
                    assert_eq!(text, "a plan");
                    assert!(self.device.faults_done(tag % 2 == 0, "seen", &mut reply));
                    assert!(!self.device.faults_done(false, "again", &mut reply));
                }
                DeviceEvent::Ignored => self.count("stale for the device"),
            }
            self.send(true, reply);
        }
    }

    /// Answers one of the things to answer: the oldest, or any read.
    fn device_answers(&mut self) {
        let mut pick = 0;
        if self.random.one_in(3) && !self.todo.is_empty() {
            pick = self.random.below(self.todo.len() as u64) as usize;
            if !matches!(self.todo[pick], Todo::Read { .. }) {
                pick = 0;
            }
        }
        let mut out = Vec::new();
        match self.todo.remove(pick) {
            None => {}
            Some(Todo::Read { tag, len }) => {
                let done = self
                    .device
                    .read_done(tag, len, Status::Ok, answer(tag), &mut out);
                assert!(done);
                let again = self.device.read_done(tag, len, Status::Ok, 0, &mut out);
                assert!(!again, "a read was answered twice");
            }
            Some(Todo::Write { tag }) => {
                assert!(!self.device.write_done(tag + 1, Status::Ok, &mut out));
                assert!(self.device.write_done(tag, Status::Ok, &mut out));
            }
            Some(Todo::Reset { tag }) => {
                assert!(self.device.reset_done(tag, &mut out));
                assert!(!self.device.reset_done(tag, &mut out));
            }
        }
        self.send(true, out);
    }

    fn device_dma(&mut self) {
        let addr = if self.random.one_in(8) {
            1 << 63
        } else {
            self.random.below(1 << 40)
        };
        let len = 1 + self.random.below(64) as u32;
        let mut out = Vec::new();
        let read = self.random.one_in(2) || addr >> 63 != 0;
        let tag = if read {
            self.device.dma_read(addr, len, &mut out)
        } else {
            let data = memory(addr, len);
            self.device.dma_write(addr, &data, None, &mut out)
        };
        let may = self.device.can_send() && self.dma.len() < MAX_DMA;
        assert_eq!(tag.is_some(), may);
        if let Some(tag) = tag {
            let old = self.dma.insert(tag, read.then_some((addr, len)));
            assert!(old.is_none(), "tag used twice");
            self.count("DMA");
        }
        assert_eq!(self.device.dma_outstanding(), self.dma.len());
        self.send(true, out);
    }

    fn device_interrupt(&mut self) {
        let mut out = Vec::new();
        let sent = if self.random.one_in(4) {
            self.device.intx(self.random.one_in(2), &mut out)
        } else {
            let sent = self.device.msix(self.random.below(4) as u16, &mut out);
            self.vectors_sent += u64::from(sent);
            sent
        };
        assert_eq!(sent, self.device.can_send());
        self.send(true, out);
    }

    /// One random step.
    fn step(&mut self) {
        match self.random.below(100) {
            0..=14 => self.host_read(),
            15..=29 => self.host_write(),
            30..=32 => self.host_gives_up(),
            33 if self.random.one_in(2) => self.host_function(),
            34 => self.host_faults(),
            53 => self.device_error(),
            33 => self.host_reset(),
            35..=52 => self.host_receives(),
            54..=71 => self.device_receives(),
            72..=84 => self.device_answers(),
            85..=92 => self.device_dma(),
            93..=96 => self.device_interrupt(),
            97 if self.random.one_in(4) => {
                // The host forgets everything; what is on its way is stale.
                self.new_session();
                self.count("host over again");
            }
            98 if self.random.one_in(4) => {
                let mut out = Vec::new();
                self.device.close(&mut out);
                self.void_device();
                self.send(true, out);
            }
            99 if self.random.one_in(4) => {
                // The connection is lost with all that is on its way.
                self.to_device.clear();
                self.to_host.clear();
                self.host.disconnected();
                self.device.disconnected();
                self.void_device();
                self.new_session();
                self.count("connection lost");
            }
            _ => {
                if self.host.state() == State::Closed {
                    self.new_session();
                } else {
                    let mut out = Vec::new();
                    Frame::Noop.encode(self.host.session(), &mut out);
                    self.send(false, out);
                }
            }
        }
    }

    /// No more requests: all that is outstanding comes to its end.
    fn drain(&mut self) {
        for _ in 0..100_000 {
            if self.host.state() == State::Closed {
                self.new_session();
            }
            let idle = self.to_device.is_empty() && self.to_host.is_empty() && self.todo.is_empty();
            if idle {
                break;
            }
            self.device_receives();
            self.host_receives();
            self.device_answers();
        }
        assert!(self.host.is_up() && self.device.is_up());
        assert!(!self.host.reset_pending() && self.device.can_send());
        assert_eq!(self.reads.len() + self.given_up.len(), 0);
        assert_eq!(self.host.writes_outstanding(), 0);
        assert!(self.writes_sent.is_empty());
        assert!(self.dma.is_empty(), "DMA without an answer: {:?}", self.dma);
        assert_eq!(self.device.dma_outstanding(), 0);
        assert_eq!(self.known, Some(self.set));
    }
}

#[test]
fn random_interleavings() {
    let mut counts = HashMap::new();
    for seed in 1..=200 {
        let mut world = World::new(seed * 0x1234_5678_9abc);
        for _ in 0..2000 {
            world.step();
        }
        world.drain();
        for (what, n) in world.counts {
            *counts.entry(what).or_insert(0) += n;
        }
    }
    for what in [
        "read",
        "read done",
        "given up",
        "late read",
        "write",
        "writes done",
        "reset",
        "reset done",
        "function",
        "void",
        "DMA",
        "DMA read served",
        "DMA read done",
        "DMA write served",
        "DMA write done",
        "interrupt",
        "INTx",
        "session",
        "up",
        "stale for the host",
        "stale for the device",
        "host over again",
        "closed by the device",
        "connection lost",
    ] {
        assert!(
            counts.get(what).copied().unwrap_or(0) > 100,
            "{what} was hardly tried: {counts:?}"
        );
    }
}

/// A frame of the host's session as a message.
fn frame(host: &HostSession, frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(host.session(), &mut out);
    out
}

#[test]
fn reads_that_were_given_up_count_as_outstanding() {
    let (mut host, mut device) = up(5, 1);
    let mut out = Vec::new();
    for _ in 0..MAX_READS {
        let tag = host.read(0, 0, 4, &mut out).unwrap();
        host.abandon(tag);
    }
    assert_eq!(host.read(0, 0, 4, &mut Vec::new()), None);
    // The device agrees: it has room for exactly those.
    let mut rest: &[u8] = &out;
    while !rest.is_empty() {
        rest = device.frame(rest, &mut Vec::new()).unwrap().1;
    }
    // One late answer makes room for one read.
    let mut late = Vec::new();
    assert!(device.read_done(17, 4, Status::Ok, 0, &mut late));
    let event = host.frame(&late).unwrap().0;
    assert_eq!(event, HostEvent::LateRead { tag: 17 });
    out.clear();
    assert!(host.read(0, 0, 4, &mut out).is_some());
    device.frame(&out, &mut Vec::new()).unwrap();
}

/// So that what waits for a device that does not read is bounded.
#[test]
fn what_a_reset_voids_counts_until_the_reset_is_answered() {
    let (mut host, mut device) = up(5, 2);
    let mut out = Vec::new();
    let mut reads = 0;
    for _ in 0..MAX_RESETS {
        for _ in 0..MAX_READS / MAX_RESETS + 1 {
            reads += usize::from(host.read(0, 0, 4, &mut out).is_some());
        }
        host.write(0, 0, 4, 0, &mut out);
        host.reset(ResetKind::Flr, &mut out);
    }
    assert_eq!(reads, MAX_READS);
    // Writes do not have to wait for it.
    assert!(host.can_write());
    // Further ones become one, of the kind that reaches furthest.
    let before = out.len();
    for kind in [ResetKind::Flr, ResetKind::Cold, ResetKind::Hot] {
        host.reset(kind, &mut out);
    }
    assert!(!host.put_off(&mut out));
    assert_eq!(out.len(), before);
    // The device begins to read, and takes all of it.
    let mut answers = Vec::new();
    let mut rest: &[u8] = &out;
    while !rest.is_empty() {
        let (event, next) = device.frame(rest, &mut Vec::new()).unwrap();
        rest = next;
        if let DeviceEvent::Reset { tag, .. } = event {
            assert!(device.reset_done(tag, &mut answers));
        }
    }
    let (mut rest, mut left): (&[u8], _) = (&answers, MAX_RESETS);
    while !rest.is_empty() {
        let (event, next) = host.frame(rest).unwrap();
        rest = next;
        left -= 1;
        let last = left == 0;
        assert_eq!(event == HostEvent::ResetDone, last);
        // The one that was put off is before everything else.
        assert_eq!(host.read(0, 0, 4, &mut Vec::new()), None);
        assert!(!host.can_write());
    }
    let mut out = Vec::new();
    assert!(host.put_off(&mut out));
    assert!(!host.put_off(&mut out));
    assert!(host.reset_pending());
    assert!(host.read(0, 0, 4, &mut out).is_some());
    assert!(host.write(0, 0, 4, 0, &mut out).is_some());
    let (event, _) = device.frame(&out, &mut Vec::new()).unwrap();
    assert!(
        matches!(event, DeviceEvent::Reset { tag, kind: ResetKind::Cold } if tag == MAX_RESETS as u32 + 1),
        "{event:?}"
    );
}

#[test]
fn a_completion_of_a_read_after_the_reset_is_taken_before_its_answer() {
    let (mut host, _) = up(5, 1);
    let mut out = Vec::new();
    let before = host.read(0, 0, 4, &mut out).unwrap();
    host.reset(ResetKind::Hot, &mut out);
    let after = host.read(0, 0, 4, &mut out).unwrap();
    let done = |tag| Frame::MmioReadDone {
        tag,
        status: Status::Ok,
        data: 3,
    };
    let message = frame(&host, &done(before));
    let void = host.frame(&message).unwrap().0;
    assert_eq!(void, HostEvent::Ignored(Ignored::Void));
    let message = frame(&host, &done(after));
    let event = host.frame(&message).unwrap().0;
    assert!(matches!(event, HostEvent::ReadDone { tag, .. } if tag == after));
    // The same with writes.
    let write = host.write(0, 0, 4, 0, &mut out).unwrap();
    let message = frame(
        &host,
        &Frame::MmioWriteDone {
            tag: write,
            status: Status::Ok,
        },
    );
    let event = host.frame(&message).unwrap().0;
    assert!(matches!(event, HostEvent::WritesDone { count: 1, .. }));
}

#[test]
fn an_answer_to_a_reset_answers_those_before_it() {
    let (mut host, _) = up(5, 1);
    let mut out = Vec::new();
    for _ in 0..3 {
        host.reset(ResetKind::Flr, &mut out);
    }
    let done = |host: &mut HostSession, tag| {
        let message = frame(host, &Frame::ResetDone { tag });
        let result = host.frame(&message).map(|(e, _)| e == HostEvent::ResetDone);
        result
    };
    assert!(matches!(done(&mut host, 0), Err(Violation::Tag { .. })));
    assert!(matches!(done(&mut host, 4), Err(Violation::Tag { .. })));
    assert_eq!(done(&mut host, 2), Ok(false));
    assert!(host.reset_pending());
    assert!(matches!(done(&mut host, 1), Err(Violation::Tag { .. })));
    assert_eq!(done(&mut host, 3), Ok(true));
    assert!(!host.reset_pending());
    assert!(matches!(done(&mut host, 3), Err(Violation::Tag { .. })));
}

#[test]
fn a_host_does_not_take_more_dma_than_the_limit_nor_a_tag_twice() {
    let (mut host, _) = up(5, 1);
    let read = |tag| Frame::DmaRead {
        tag,
        addr: 0,
        len: 4,
    };
    for tag in 0..MAX_DMA as u32 {
        let message = frame(&host, &read(tag));
        host.frame(&message).unwrap();
    }
    let message = frame(&host, &read(MAX_DMA as u32));
    assert!(matches!(host.frame(&message), Err(Violation::Tag { .. })));
    let mut out = Vec::new();
    host.dma_read_done(3, Status::Ok, &[0; 4], &mut out);
    let message = frame(&host, &read(4));
    assert!(matches!(host.frame(&message), Err(Violation::Tag { .. })));
    let message = frame(&host, &read(3));
    host.frame(&message).unwrap();
}

/// A version before 1.5 on either side keeps both at 64.
#[test]
fn an_older_peer_goes_on_with_fewer_dma_requests() {
    for (minor, most) in [(0, 64), (2, 64), (4, 64), (5, 512), (u8::MAX, 512)] {
        let mut device = DeviceSession::new(config()).unwrap();
        handshake(&mut device, Some(minor)).unwrap();
        let mut out = Vec::new();
        assert_eq!(device.max_dma(), most);
        let asked = (0..2 * MAX_DMA).filter_map(|_| device.dma_read(0, 4, &mut out));
        assert_eq!(asked.count(), most, "of 1.{minor}");
        assert_eq!(device.dma_outstanding(), most);

        // And a host of ours refuses what such a device must not send.
        let (mut host, _) = timed(4000, minor);
        let mut asked = |tag| {
            let (addr, len) = (0, 4);
            let message = frame(&host, &Frame::DmaRead { tag, addr, len });
            host.frame(&message).map(|_| ())
        };
        for tag in 0..most as u32 {
            asked(tag).unwrap();
        }
        let e = asked(most as u32).unwrap_err().to_string();
        assert!(e.contains(&format!("{most} DMA requests of {most}")), "{e}");
    }
}

#[test]
fn interrupts_that_the_function_does_not_have() {
    let (mut host, device) = up(5, 1);
    let mut out = Vec::new();
    assert!(!device.msix(4, &mut out) && out.is_empty());
    let message = frame(&host, &Frame::Msix { vector: 4 });
    assert_eq!(
        host.frame(&message).unwrap().0,
        HostEvent::BadVector {
            vector: 4,
            vectors: 4
        }
    );
    // Both have those of MSI, if these are more.
    let mut device = DeviceSession::new(with_msi(8)).unwrap();
    let mut host = handshake(&mut device, None).unwrap();
    for vector in 0..8 {
        out.clear();
        assert!(device.msix(vector, &mut out));
        let (event, _) = host.frame(&out).unwrap();
        assert_eq!(event, HostEvent::Msix { vector });
    }
    assert!(!device.msix(8, &mut out));
    let message = frame(&host, &Frame::Msix { vector: 8 });
    assert_eq!(
        host.frame(&message).unwrap().0,
        HostEvent::BadVector {
            vector: 8,
            vectors: 8
        }
    );
    // A level of a pin that is not there.
    let mut plain = DeviceSession::new(Config {
        intx_pin: 0,
        ..config()
    })
    .unwrap();
    let mut host = HostSession::new(6, 1);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    host.init("", &mut a);
    plain.frame(&a, &mut b).unwrap();
    host.frame(&b).unwrap();
    a.clear();
    host.accept(&mut a);
    plain.frame(&a, &mut b).unwrap();
    assert!(!plain.intx(true, &mut Vec::new()));
    let message = frame(&host, &Frame::Intx { level: true });
    let e = host.frame(&message).unwrap_err().to_string();
    assert!(e.contains("INTx") && e.contains("intx_pin"), "{e}");
}

#[test]
fn accesses_outside_their_bar_are_refused_with_its_size() {
    let (host, mut device) = up(5, 4);
    for (bar, offset, len, ok) in [
        (0, 0xffc, 4, true),
        (0, 0xffd, 4, false),
        (0, 0x1000, 1, false),
        (0, u64::MAX, 8, false),
        (1, 0, 1, false),
        (3, 0, 1, false),
    ] {
        let message = frame(
            &host,
            &Frame::MmioRead {
                tag: offset as u32 ^ len,
                bar,
                len: len as u8,
                offset,
            },
        );
        match device.frame(&message, &mut Vec::new()) {
            Ok(_) => assert!(ok, "BAR {bar} offset {offset:#x}"),
            Err(e) => {
                let size = if bar == 0 { "0x1000" } else { "0x0" };
                let text = e.to_string();
                assert!(!ok && text.contains(size), "{text}");
                assert!(text.contains(&format!("{offset:#x}")), "{text}");
            }
        }
    }
}

#[test]
fn tags_that_a_host_may_not_use() {
    let (host, mut device) = up(5, 2);
    let write = |tag| Frame::MmioWrite {
        tag,
        bar: 0,
        len: 1,
        offset: 0,
        data: 0,
    };
    let mut give = |f: &Frame<'_>| device.frame(&frame(&host, f), &mut Vec::new()).map(|_| ());
    // Writes count up by one from 1.
    assert!(matches!(give(&write(2)), Err(Violation::Tag { .. })));
    give(&write(1)).unwrap();
    assert!(matches!(give(&write(1)), Err(Violation::Tag { .. })));
    give(&write(2)).unwrap();
    // Beyond the window of INIT.
    assert!(matches!(give(&write(3)), Err(Violation::Tag { .. })));
    let read = Frame::MmioRead {
        tag: 9,
        bar: 0,
        len: 1,
        offset: 0,
    };
    give(&read).unwrap();
    assert!(matches!(give(&read), Err(Violation::Tag { .. })));
    let reset = |tag| Frame::Reset {
        tag,
        kind: ResetKind::Hot,
    };
    assert!(matches!(give(&reset(2)), Err(Violation::Tag { .. })));
    give(&reset(1)).unwrap();
    give(&reset(2)).unwrap();
    // Completions for nothing.
    for done in [
        Frame::DmaWriteDone {
            tag: 1,
            status: Status::Ok,
        },
        Frame::DmaReadDone {
            tag: 1,
            status: Status::Fault,
            data: &[],
        },
    ] {
        assert!(matches!(give(&done), Err(Violation::Tag { .. })));
    }
}

#[test]
fn completions_of_the_wrong_kind_or_length() {
    let (host, mut device) = up(5, 1);
    let mut out = Vec::new();
    let read = device.dma_read(0, 8, &mut out).unwrap();
    let write = device.dma_write(0, &[0; 8], None, &mut out).unwrap();
    let mut give = |f: &Frame<'_>| device.frame(&frame(&host, f), &mut Vec::new()).map(|_| ());
    let status = Status::Ok;
    let bad = give(&Frame::DmaWriteDone { tag: read, status });
    assert!(matches!(bad, Err(Violation::Tag { .. })));
    let data = &[0; 8][..];
    let bad = give(&Frame::DmaReadDone {
        tag: write,
        status,
        data,
    });
    assert!(matches!(bad, Err(Violation::Tag { .. })));
    let bad = give(&Frame::DmaReadDone {
        tag: read,
        status,
        data: &[0; 7],
    });
    assert_eq!(
        bad.unwrap_err().to_string(),
        "DMA_READ_DONE carries 7 bytes, requested were 8"
    );
}

#[test]
fn enables_beyond_the_data_are_sent_as_zero() {
    let (mut host, mut device) = up(5, 1);
    for len in 1..=16usize {
        let mut out = Vec::new();
        let ones = vec![0xff; len.div_ceil(8)];
        let tag = device.dma_write(64, &[7; 16][..len], Some(&ones), &mut out);
        match host.frame(&out).unwrap().0 {
            HostEvent::DmaWrite {
                tag: t,
                enables: Some(enables),
                ..
            } => {
                assert_eq!(Some(t), tag);
                let set: u32 = enables.iter().map(|e| e.count_ones()).sum();
                assert_eq!(set as usize, len);
            }
            other => panic!("{other:?}"),
        }
        out.clear();
        host.dma_write_done(tag.unwrap(), Status::Ok, &mut out);
        device.frame(&out, &mut Vec::new()).unwrap();
    }
    // Enables of another length are not sent at all.
    let mut out = Vec::new();
    for bytes in [0, 1, 3] {
        assert_eq!(
            device.dma_write(0, &[0; 16], Some(&vec![0xff; bytes]), &mut out),
            None
        );
    }
    assert!(out.is_empty());
}

#[test]
fn requests_that_a_device_may_not_make() {
    let (_, mut device) = up(5, 1);
    let mut out = Vec::new();
    let most = MAX_DATA as u32;
    assert_eq!(device.dma_read(0, 0, &mut out), None);
    assert_eq!(device.dma_read(0, most + 1, &mut out), None);
    assert_eq!(device.dma_read(u64::MAX, 2, &mut out), None);
    assert_eq!(device.dma_write(0, &[], None, &mut out), None);
    assert_eq!(
        device.dma_write(u64::MAX - 2, &[0; 4], None, &mut out),
        None
    );
    assert!(out.is_empty() && device.dma_outstanding() == 0);
    assert!(device.dma_read(u64::MAX - 3, 4, &mut out).is_some());
    // Nothing at all without a session.
    device.disconnected();
    out.clear();
    assert_eq!(device.dma_read(0, 4, &mut out), None);
    assert!(!device.msix(0, &mut out) && !device.intx(true, &mut out));
    assert!(!device.reset_done(1, &mut out));
    assert!(out.is_empty());
}

#[test]
fn a_host_that_takes_less_data() {
    let mut device = DeviceSession::new(config()).unwrap();
    let mut message = Vec::new();
    let init = Init {
        features: 0,
        write_window: 1,
        max_data: 128,
        name: "small",
    };
    Frame::Init(init).encode(3, &mut message);
    Frame::Ready.encode(3, &mut message);
    let mut rest: &[u8] = &message;
    while !rest.is_empty() {
        rest = device.frame(rest, &mut Vec::new()).unwrap().1;
    }
    assert_eq!(device.max_data(), 128);
    assert!(device.dma_read(0, 128, &mut Vec::new()).is_some());
    assert_eq!(device.dma_read(0, 129, &mut Vec::new()), None);
    assert_eq!(device.dma_write(0, &[0; 129], None, &mut Vec::new()), None);
}

#[test]
fn another_version_is_told_to_who_has_it() {
    let mut device = DeviceSession::new(config()).unwrap();
    let mut init = Vec::new();
    HostSession::new(0x77, 1).init("newer", &mut init);
    init[4] = 2;
    let e = device.frame(&init, &mut Vec::new()).unwrap_err();
    assert!(matches!(
        e,
        Violation::Wire(WireError::Version { found: (2, 6) })
    ));
    let mut out = Vec::new();
    device.fail(Reason::Version, &e.to_string(), &mut out);
    let (header, payload, _) = split(&out).unwrap();
    assert_eq!(header.session, 0x77, "the answer has to reach its session");
    match Frame::decode(&header, payload).unwrap() {
        Frame::Refuse {
            reason: Reason::Version,
            text,
        } => assert!(text.contains("2.6") && text.contains("1.6"), "{text}"),
        other => panic!("{other:?}"),
    }
}

fn with_msi(vectors: u8) -> Config {
    Config {
        msi: Some(Msi {
            vectors,
            masking: true,
        }),
        ..config()
    }
}

/// Brings the link up with a host that says it has this minor version.
fn handshake(device: &mut DeviceSession, minor: Option<u8>) -> Result<HostSession, Violation> {
    let mut host = HostSession::new(0x99, 1);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    host.init("", &mut a);
    a[5] = minor.unwrap_or(a[5]);
    device.frame(&a, &mut b)?;
    host.frame(&b)?;
    a.clear();
    host.accept(&mut a);
    device.frame(&a, &mut b)?;
    Ok(host)
}

/// The same with MSI-X in the RTL, which needs more than MSI does.
#[test]
fn a_table_in_the_rtl_is_for_a_host_that_knows_it() {
    let with_table = || {
        let mut config = with_msi(1);
        config.msix.as_mut().unwrap().in_rtl = true;
        config
    };
    let mut device = DeviceSession::new(with_table()).unwrap();
    for minor in [0, 2, 3, 5] {
        let e = handshake(&mut device, Some(minor)).unwrap_err();
        assert_eq!(e, Violation::Older { minor, since: 6 });
        assert_eq!(e.reason(), Reason::Configuration);
        let (text, version) = (e.to_string(), format!("version 1.{minor}"));
        for part in [&version, "MSI-X", "table in the RTL", "1.6", "MsixInRtl 0"] {
            assert!(text.contains(part), "{text}");
        }
    }
    for minor in [6, u8::MAX] {
        assert!(handshake(&mut device, Some(minor)).is_ok(), "{minor}");
    }

    let mut host = HostSession::new(5, 1);
    host.init("", &mut Vec::new());
    let mut message = frame(&host, &Frame::Config(with_table()));
    message[5] = 5;
    let text = host.frame(&message).unwrap_err().to_string();
    for part in [
        "minor version of CONFIG is 5",
        "6 or more",
        "MSI-X in the RTL",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let mut host = HostSession::new(5, 1);
    host.init("", &mut Vec::new());
    message[5] = 6;
    assert!(host.frame(&message).is_ok());
}

/// A host that knows nothing of MSI learns why it does not get the function, and the function
/// without MSI is there for it.
#[test]
fn msi_is_for_a_host_that_knows_it() {
    let mut device = DeviceSession::new(with_msi(4)).unwrap();
    for minor in 0..3 {
        let e = handshake(&mut device, Some(minor)).unwrap_err();
        assert_eq!(e, Violation::Older { minor, since: 3 });
        assert_eq!(e.reason(), Reason::Configuration);
        let mut out = Vec::new();
        device.fail(e.reason(), &e.to_string(), &mut out);
        let (header, payload, _) = split(&out).unwrap();
        assert_eq!(header.session, 0x99);
        let Frame::Refuse { reason, text } = Frame::decode(&header, payload).unwrap() else {
            panic!("no REFUSE");
        };
        assert_eq!(reason, Reason::Configuration);
        let version = format!("version 1.{minor}");
        for part in [&version, "MSI", "1.3", "build QEMU", "MsiVectors 0"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!device.is_open());
        let mut plain = DeviceSession::new(config()).unwrap();
        assert!(handshake(&mut plain, Some(minor)).is_ok());
    }
    for minor in [3, 4, u8::MAX] {
        assert!(handshake(&mut device, Some(minor)).is_ok(), "{minor}");
    }

    // A device that says that it is too old for it, and has it all the same.
    let mut host = HostSession::new(5, 1);
    host.init("", &mut Vec::new());
    let mut message = frame(&host, &Frame::Config(with_msi(4)));
    message[5] = 2;
    let e = host.frame(&message).unwrap_err().to_string();
    assert!(e.contains("minor version of CONFIG is 2"), "{e}");
}

/// Faults are for those who know them, on either side.
#[test]
fn faults_are_for_who_knows_them() {
    for minor in [0, 3, 4, 5, u8::MAX] {
        let knows = minor >= 4;
        let mut device = DeviceSession::new(config()).unwrap();
        let mut host = handshake(&mut device, Some(minor)).unwrap();
        let mut out = Vec::new();
        assert_eq!(device.host_knows_errors(), knows, "{minor}");
        assert_eq!(
            device.error(ErrorKind::WriteAborted, None, &mut out),
            knows,
            "{minor}"
        );
        assert_eq!(!out.is_empty(), knows);
        if knows {
            let event = host.frame(&out).unwrap().0;
            let kind = ErrorKind::WriteAborted;
            assert_eq!(event, HostEvent::Error { kind });
        }
        // The device says how old it is in its CONFIG.
        let mut host = HostSession::new(5, 1);
        host.init("", &mut Vec::new());
        let mut message = frame(&host, &Frame::Config(config()));
        message[5] = minor;
        host.frame(&message).unwrap();
        host.accept(&mut Vec::new());
        out.clear();
        assert_eq!(host.has_faults(), knows);
        assert_eq!(host.faults("", &mut out), knows.then_some(1), "{minor}");
        assert_eq!(!out.is_empty(), knows);
    }
}

#[test]
fn plans_have_a_bound_and_an_order() {
    let mut device = DeviceSession::new(config()).unwrap();
    let mut host = handshake(&mut device, None).unwrap();
    let mut out = Vec::new();
    assert!(!device.faults_done(false, "", &mut out));
    for tag in 1..=MAX_PLANS as u32 {
        assert_eq!(host.faults("ur on=read", &mut out), Some(tag));
    }
    assert_eq!(host.faults("ur on=read", &mut out), None);
    let mut rest: &[u8] = &out;
    while !rest.is_empty() {
        let (event, tail) = device.frame(rest, &mut Vec::new()).unwrap();
        assert!(matches!(
            event,
            DeviceEvent::Faults {
                text: "ur on=read",
                ..
            }
        ));
        rest = tail;
    }
    // One more than there may be.
    let next = frame(&host, &Frame::Faults { tag: 9, text: "" });
    let e = device.frame(&next, &mut Vec::new()).unwrap_err();
    assert!(e.to_string().contains("8 plans of 8, the next is 9"), "{e}");

    for (tag, found) in [(2, "2, outstanding is 1 to 8"), (0, "0")] {
        let mut host = handshake(&mut DeviceSession::new(config()).unwrap(), None).unwrap();
        for _ in 0..MAX_PLANS {
            host.faults("", &mut Vec::new());
        }
        let done = Frame::FaultsDone {
            tag,
            refused: false,
            text: "",
        };
        let e = host.frame(&frame(&host, &done)).unwrap_err().to_string();
        assert!(e.contains(found), "{e}");
    }
    let done = Frame::FaultsDone {
        tag: 1,
        refused: true,
        text: "line\n1",
    };
    let message = frame(&host, &done);
    let event = host.frame(&message).unwrap().0;
    let HostEvent::FaultsDone { tag, refused, text } = event else {
        panic!("{event:?}");
    };
    assert_eq!((tag, refused, &*text.to_string()), (1, true, "line\\n1"));
    assert!(host.faults("", &mut Vec::new()).is_some());

    let mut idle = handshake(&mut DeviceSession::new(config()).unwrap(), None).unwrap();
    let e = idle.frame(&frame(&idle, &done)).unwrap_err().to_string();
    assert!(
        e.contains("FAULTS_DONE has tag 1, outstanding is none"),
        "{e}"
    );
}

/// An error of a read that was given up, or before a reset was answered, is of no use.
#[test]
fn an_error_is_for_what_is_outstanding() {
    let mut device = DeviceSession::new(config()).unwrap();
    let mut host = handshake(&mut device, None).unwrap();
    let mut out = Vec::new();
    let read = host.read(0, 0, 4, &mut out).unwrap();
    let kind = ErrorKind::ReadTimeout;
    let error = frame(&host, &Frame::Error { tag: read, kind });
    assert_eq!(host.frame(&error).unwrap().0, HostEvent::Error { kind });
    host.abandon(read);
    let void = HostEvent::Ignored(Ignored::Void);
    assert_eq!(host.frame(&error).unwrap().0, void);
    let any = frame(&host, &Frame::Error { tag: 0, kind });
    assert_eq!(host.frame(&any).unwrap().0, HostEvent::Error { kind });
    host.reset(ResetKind::Flr, &mut out);
    assert_eq!(host.frame(&any).unwrap().0, void);
    feed_device(&mut device, &out);
    assert!(!device.error(kind, None, &mut Vec::new()));
}

/// Both halves up, and the clock of the device's logic.
fn timed(period: u32, minor: u8) -> (HostSession, DeviceSession) {
    let mut device = DeviceSession::new(Config {
        clock_period_ps: period,
        ..config()
    })
    .unwrap();
    let mut host = HostSession::new(5, 1);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    host.init("", &mut a);
    device.frame(&a, &mut b).unwrap();
    b[5] = minor;
    host.frame(&b).unwrap();
    a.clear();
    host.accept(&mut a);
    device.frame(&a, &mut b).unwrap();
    (host, device)
}

#[test]
fn the_time_is_told_when_it_is_asked_for() {
    let (mut host, mut device) = timed(4000, 1);
    let mut out = Vec::new();
    assert!(!device.time(1, &mut out), "nobody has asked");
    let early = frame(&host, &Frame::Time { ns: 1 });
    let e = host.frame(&early).unwrap_err().to_string();
    assert!(e.contains("TIME may not come"), "{e}");
    assert!(host.has_clock() && host.clock(10_000, &mut out));
    let event = device.frame(&out, &mut Vec::new()).unwrap().0;
    assert_eq!(event, DeviceEvent::Clock { interval: 10_000 });
    let mut told = |host: &mut HostSession, ns| {
        out.clear();
        assert!(device.time(ns, &mut out));
        host.frame(&out)
            .map(|(event, _)| event == HostEvent::Time { ns })
    };
    for ns in [0, 0, 10_000, 10_000, u64::MAX] {
        assert_eq!(told(&mut host, ns), Ok(true), "{ns}");
    }
    let e = told(&mut host, u64::MAX - 1).unwrap_err().to_string();
    assert!(e.contains("simulated time") && e.contains("earlier"), "{e}");
    // What was on its way when the host wanted no more is no error.
    out.clear();
    assert!(host.clock(0, &mut out));
    let event = device.frame(&out, &mut Vec::new()).unwrap().0;
    assert_eq!(event, DeviceEvent::Clock { interval: 0 });
    assert!(!device.time(1, &mut Vec::new()));
    let late = frame(&host, &Frame::Time { ns: u64::MAX });
    assert!(host.frame(&late).is_ok());
    // A reset does not stop the clock.
    out.clear();
    host.clock(1, &mut out);
    host.reset(ResetKind::Hot, &mut out);
    assert!(host.frame(&late).is_ok());
}

/// So that what waits for a device that does not read is bounded.
#[test]
fn how_often_the_time_is_asked_for_is_bounded_and_the_last_interval_comes() {
    let (mut host, mut device) = timed(4000, 1);
    let mut out = Vec::new();
    for interval in 1..=3 * MAX_CLOCKS as u64 {
        assert!(host.clock(interval, &mut out));
    }
    let one = frame(&host, &Frame::Clock { interval: 1 }).len();
    assert_eq!(out.len(), MAX_CLOCKS * one);
    let mut intervals = 0;
    let mut message = &out[..];
    while !message.is_empty() {
        let (event, rest) = device.frame(message, &mut Vec::new()).unwrap();
        intervals += 1;
        let interval = intervals;
        assert_eq!(event, DeviceEvent::Clock { interval });
        message = rest;
    }
    // Neither an access nor a reset makes room, nor a frame of another session.
    out.clear();
    assert!(host.has_put_off() && !host.put_off(&mut out));
    assert!(host.read(0, 0, 4, &mut out).is_some());
    host.reset(ResetKind::Flr, &mut out);
    let stale = frame(&HostSession::new(6, 1), &Frame::Noop);
    host.frame(&stale).unwrap();
    out.clear();
    assert!(host.has_put_off() && !host.put_off(&mut out) && out.is_empty());
    // The device has read: it is told the last one, once.
    out.clear();
    assert!(device.time(7, &mut out));
    host.frame(&out).unwrap();
    out.clear();
    assert!(host.put_off(&mut out) && !host.has_put_off());
    let interval = 3 * MAX_CLOCKS as u64;
    assert_eq!(out, frame(&host, &Frame::Clock { interval }));
    // What it knows is no news, and neither is what was put off and is undone.
    out.clear();
    assert!(host.clock(interval, &mut out) && out.is_empty());
    for round in 1..MAX_CLOCKS as u64 {
        host.clock(round % 2, &mut out);
    }
    assert_eq!(out.len(), (MAX_CLOCKS - 1) * one);
    host.clock(5, &mut out);
    assert!(host.has_put_off() && host.clock(1, &mut out));
    assert!(!host.has_put_off());
    assert_eq!(out.len(), (MAX_CLOCKS - 1) * one);
}

#[test]
fn a_device_without_a_clock_is_not_asked_for_the_time() {
    for (period, minor) in [(4000, 0), (0, 1)] {
        let (mut host, mut device) = timed(period, minor);
        let mut out = Vec::new();
        assert!(!host.has_clock() && !host.clock(1, &mut out) && out.is_empty());
        if period == 0 {
            let asks = frame(&host, &Frame::Clock { interval: 7 });
            let e = device.frame(&asks, &mut out).unwrap_err().to_string();
            assert!(
                e.contains("clock interval is 7") && e.contains("clock_period_ps"),
                "{e}"
            );
        }
    }
}

/// Both sides have to want shared memory, and both know in time whether it is used.
#[test]
fn shared_memory_is_agreed_on_before_the_session_begins() {
    const NAME: &str = "00112233445566778899aabbccddeeff";
    for (host_shares, device_shares, there, attached) in [
        (false, true, true, false),
        (true, false, true, false),
        (true, true, false, false),
        (true, true, true, false),
        (true, true, true, true),
    ] {
        let mut host = HostSession::new(5, 1);
        let mut device = DeviceSession::new(config()).unwrap();
        host.share(host_shares);
        device.shares(device_shares);
        let (mut to_device, mut to_host) = (Vec::new(), Vec::new());
        host.init("", &mut to_device);
        let (event, _) = device.frame(&to_device, &mut to_host).unwrap();
        let both = host_shares && device_shares;
        let DeviceEvent::Offered { asked, .. } = event else {
            panic!("{event:?}");
        };
        assert_eq!((asked, to_host.is_empty()), (both, both));
        if both {
            device.answer(there.then_some(NAME), &mut to_host);
            // Once is enough.
            let length = to_host.len();
            device.answer(Some(NAME), &mut to_host);
            assert_eq!(to_host.len(), length);
        }
        let (event, rest) = host.frame(&to_host).unwrap();
        let mut rest = rest;
        let shared = both && there;
        if shared {
            assert_eq!(event, HostEvent::Share { name: NAME });
            // Not again.
            let again = frame(&host, &Frame::Share { name: NAME });
            let e = host.frame(&again).unwrap_err().to_string();
            assert!(e.contains("SHARE may not come in state Init"), "{e}");
            let event;
            (event, rest) = host.frame(rest).unwrap();
            assert!(matches!(event, HostEvent::Configured(_)));
        } else {
            assert!(matches!(event, HostEvent::Configured(_)));
        }
        assert!(rest.is_empty());
        // Without SHARE it has no effect.
        host.attach(attached || !shared);
        if shared {
            let early = frame(&host, &Frame::Ready);
            let e = device.frame(&early, &mut to_host).unwrap_err().to_string();
            assert!(e.contains("READY may not come"), "{e}");
        } else {
            let unasked = frame(&host, &Frame::Attach { attached: true });
            let e = device.frame(&unasked, &mut to_host).unwrap_err();
            assert!(e.to_string().contains("ATTACH may not come"), "{e}");
        }
        to_device.clear();
        host.accept(&mut to_device);
        let mut rest = &to_device[..];
        if shared {
            let (event, more) = device.frame(rest, &mut to_host).unwrap();
            assert_eq!(event, DeviceEvent::Attached(attached));
            rest = more;
        }
        let (event, rest) = device.frame(rest, &mut to_host).unwrap();
        assert_eq!(event, DeviceEvent::Up);
        assert!(rest.is_empty());
        let late = frame(&host, &Frame::Attach { attached: true });
        assert!(device.frame(&late, &mut to_host).is_err());
    }
    // A host that has not asked is not sent it.
    let mut host = HostSession::new(5, 1);
    host.init("", &mut Vec::new());
    let share = frame(&host, &Frame::Share { name: NAME });
    let e = host.frame(&share).unwrap_err().to_string();
    assert!(e.contains("SHARE may not come in state Init"), "{e}");
}

/// What the guest sets in config space is told to a device that can be told, once,
/// and again after a reset.
#[test]
fn the_function_is_told_to_who_knows_it() {
    let (mut host, mut device) = timed(4000, 2);
    let mut out = Vec::new();
    let mut function = Function::default();
    assert!(host.has_function() && device.host_tells_function());
    assert!(host.function(&function, &mut out));
    let event = device.frame(&out, &mut Vec::new()).unwrap().0;
    assert_eq!(event, DeviceEvent::Function(function));
    out.clear();
    assert!(!host.function(&function, &mut out) && out.is_empty());
    function.bus_master = true;
    assert!(host.function(&function, &mut out));
    out.clear();
    host.reset(ResetKind::Flr, &mut out);
    assert!(host.function(&function, &mut out));
    let (event, rest) = device.frame(&out, &mut Vec::new()).unwrap();
    assert!(matches!(event, DeviceEvent::Reset { .. }));
    let event = device.frame(rest, &mut Vec::new()).unwrap().0;
    assert_eq!(event, DeviceEvent::Function(function));

    // A device of an earlier version would take it for a violation.
    let (mut host, _) = timed(4000, 1);
    out.clear();
    assert!(!host.has_function() && !host.function(&function, &mut out) && out.is_empty());

    // Nor does an earlier host tell.
    let (mut init, mut config) = (Vec::new(), Vec::new());
    HostSession::new(6, 1).init("", &mut init);
    init[5] = 1;
    device.frame(&init, &mut config).unwrap();
    assert!(!device.host_tells_function());
    // Before READY it may not come, and a host never hears it.
    let early = frame(&HostSession::new(6, 1), &Frame::Function(function));
    let e = device.frame(&early, &mut out).unwrap_err().to_string();
    assert!(e.contains("FUNCTION may not come"), "{e}");
    let echo = frame(&host, &Frame::Function(function));
    let e = host.frame(&echo).unwrap_err().to_string();
    assert!(e.contains("FUNCTION may not come"), "{e}");
}

/// Where the BARs are is told to who knows that, since 1.5, and is no news to others.
#[test]
fn where_bars_are_is_told_to_who_knows_it() {
    for (minor, knows) in [(2, false), (4, false), (5, true), (u8::MAX, true)] {
        let (mut host, mut device) = timed(4000, minor);
        let mut out = Vec::new();
        let mut function = Function {
            addresses: Some([0xfe80_0000, 1 << 40, UNMAPPED, UNMAPPED, UNMAPPED, 0x10]),
            ..Function::default()
        };
        assert!(host.function(&function, &mut out));
        let event = device.frame(&out, &mut Vec::new()).unwrap().0;
        let mut expected = function;
        expected.addresses = function.addresses.filter(|_| knows);
        assert_eq!(event, DeviceEvent::Function(expected), "1.{minor}");
        out.clear();
        function.addresses = Some([UNMAPPED; 6]);
        assert_eq!(host.function(&function, &mut out), knows, "1.{minor}");
    }
}

/// So that what waits for a device that does not read is bounded.
#[test]
fn what_is_told_of_the_function_is_bounded_and_the_last_of_it_comes() {
    let (mut host, mut device) = timed(4000, 2);
    let mut function = Function::default();
    let mut told = |host: &mut HostSession, out: &mut Vec<u8>| {
        function.requester_id += 1;
        (host.function(&function, out), function)
    };
    let mut out = Vec::new();
    let count = (0..3 * MAX_FUNCTIONS).filter(|_| told(&mut host, &mut out).0);
    assert_eq!(count.count(), MAX_FUNCTIONS);
    // Whatever comes after the change finds it told.
    type Send = fn(&mut HostSession, &mut Vec<u8>) -> Option<u32>;
    let requests: [Send; 2] = [
        |host, out| host.read(0, 0, 4, out),
        |host, out| host.write(0, 0, 4, 0, out),
    ];
    for request in requests {
        let (now, last) = told(&mut host, &mut out);
        assert!(!now && host.has_put_off());
        // Nothing has come that would make room.
        assert!(!host.put_off(&mut out));
        out.clear();
        assert!(request(&mut host, &mut out).is_some());
        let (event, rest) = device.frame(&out, &mut Vec::new()).unwrap();
        assert_eq!(event, DeviceEvent::Function(last));
        assert!(!rest.is_empty());
        out.clear();
        assert!(host.read(0, 0, 4, &mut out).is_some());
        let (_, rest) = device.frame(&out, &mut Vec::new()).unwrap();
        assert!(rest.is_empty(), "once is enough");
    }
    // What is as it was is no news.
    let (_, before) = told(&mut host, &mut Vec::new());
    let known = Function {
        requester_id: before.requester_id - 1,
        ..before
    };
    assert!(host.has_put_off() && !host.function(&known, &mut out));
    assert!(!host.has_put_off());
    // A frame of another session says nothing, one of this session that it reads.
    let (_, last) = told(&mut host, &mut Vec::new());
    let stale = frame(&HostSession::new(6, 1), &Frame::Noop);
    host.frame(&stale).unwrap();
    out.clear();
    assert!(!host.put_off(&mut out) && out.is_empty());
    let noop = frame(&host, &Frame::Noop);
    host.frame(&noop).unwrap();
    assert!(host.put_off(&mut out) && !host.put_off(&mut Vec::new()));
    let (event, rest) = device.frame(&out, &mut Vec::new()).unwrap();
    assert!(rest.is_empty() && event == DeviceEvent::Function(last));
    let room = (0..3 * MAX_FUNCTIONS).filter(|_| told(&mut host, &mut out).0);
    assert_eq!(room.count(), MAX_FUNCTIONS - 1);
    // After a reset it is told in any case, and what was put off is void.
    out.clear();
    host.reset(ResetKind::Flr, &mut out);
    assert!(!host.has_put_off());
    let (now, last) = told(&mut host, &mut out);
    assert!(now);
    let (_, rest) = device.frame(&out, &mut Vec::new()).unwrap();
    let (event, rest) = device.frame(rest, &mut Vec::new()).unwrap();
    assert!(rest.is_empty() && event == DeviceEvent::Function(last));
}

#[test]
fn a_second_host_is_refused_without_touching_the_first() {
    let (mut host, device) = up(5, 1);
    let mut init = Vec::new();
    HostSession::new(6, 1).init("second", &mut init);
    let mut out = Vec::new();
    refuse_message(&init, Reason::Busy, "taken", &mut out);
    let mut second = HostSession::new(6, 1);
    second.init("second", &mut Vec::new());
    let event = second.frame(&out).unwrap().0;
    assert_eq!(
        event,
        HostEvent::Refused {
            reason: Reason::Busy,
            text: Said::new("taken")
        }
    );
    assert_eq!(second.state(), State::Closed);
    // The first one goes on.
    out.clear();
    device.msix(0, &mut out);
    let event = host.frame(&out).unwrap().0;
    assert_eq!(event, HostEvent::Msix { vector: 0 });
    // Nobody answers what is none of the protocol.
    out.clear();
    refuse_message(b"GET / HTTP/1.1", Reason::Busy, "", &mut out);
    refuse_message(&init[..20], Reason::Busy, "", &mut out);
    assert!(out.is_empty());
}

#[test]
fn frames_in_the_wrong_state() {
    // Before INIT a host knows nobody.
    let mut host = HostSession::new(5, 1);
    let message = frame(&host, &Frame::Config(config()));
    let e = host.frame(&message).unwrap_err();
    assert_eq!(e.to_string(), "frame CONFIG may not come in state Idle");
    // Between CONFIG and READY a device is silent.
    host.init("", &mut Vec::new());
    host.frame(&message).unwrap();
    let early = frame(&host, &Frame::Msix { vector: 0 });
    let e = host.frame(&early).unwrap_err();
    assert_eq!(e.to_string(), "frame MSIX may not come in state Configured");
    // What is on its way when a session ends is ignored.
    host.close(&mut Vec::new());
    let event = host.frame(&early).unwrap().0;
    assert_eq!(event, HostEvent::Ignored(Ignored::Void));
    // A device gets nothing but READY after CONFIG.
    let mut device = DeviceSession::new(config()).unwrap();
    let mut init = Vec::new();
    let mut host = HostSession::new(5, 1);
    host.init("", &mut init);
    device.frame(&init, &mut Vec::new()).unwrap();
    let reset = frame(
        &host,
        &Frame::Reset {
            tag: 1,
            kind: ResetKind::Hot,
        },
    );
    assert!(matches!(
        device.frame(&reset, &mut Vec::new()),
        Err(Violation::Unexpected { .. })
    ));
}

#[test]
fn a_configuration_that_breaks_a_rule_is_refused() {
    let mut host = HostSession::new(5, 1);
    host.init("", &mut Vec::new());
    let mut bad = config();
    bad.bars[0].size = 0x1001;
    let message = frame(&host, &Frame::Config(bad.clone()));
    let e = host.frame(&message).unwrap_err().to_string();
    assert!(e.contains("bar[0].size") && e.contains("0x1001"), "{e}");
    assert!(!host.is_up());
    // And a device does not even begin with one.
    assert!(DeviceSession::new(bad).is_err());
}

#[test]
fn ending_leaves_nothing_outstanding() {
    for end in 0..3 {
        let (mut host, _) = up(5, 2);
        let mut out = Vec::new();
        host.read(0, 0, 4, &mut out);
        let tag = host.write(0, 0, 4, 0, &mut out).unwrap();
        host.reset(ResetKind::Hot, &mut out);
        let tag2 = host.write(0, 0, 4, 0, &mut out).unwrap();
        match end {
            0 => host.close(&mut out),
            1 => host.refuse(Reason::Protocol, "", &mut out),
            _ => host.disconnected(),
        }
        assert_eq!(host.writes_outstanding(), 0);
        assert!(host.write_is_done(tag) && host.write_is_done(tag2));
        assert!(!host.reset_pending() && !host.can_write());
        out.clear();
        assert_eq!(host.read(0, 0, 4, &mut out), None);
        assert_eq!(host.write(0, 0, 4, 0, &mut out), None);
        host.reset(ResetKind::Hot, &mut out);
        host.dma_read_done(1, Status::Ok, &[0], &mut out);
        assert!(out.is_empty());
    }
}
