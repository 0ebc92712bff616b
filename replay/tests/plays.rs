// SPDX-License-Identifier: MIT OR Apache-2.0

//! Replays against a device without a simulator. The records are made here, so that each has
//! one thing that matters.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use accelerator_host::Keys;
use accelerator_peers::{
    channel::DevicePeer, hdl::sample_config, new_pair, Event, HdlEndpoint, RegisterDevice, PATIENCE,
};
use accelerator_protocol::{
    channel::ChannelKind,
    config::Config,
    function::{Function, Power, UNMAPPED},
    keys::Pair,
};
use accelerator_record::{
    layout::{Bar, STATUS_REFUSED},
    Contents, Entry, Kind, Record, Size, Source, SourceKind, Writer,
};
use accelerator_replay::{
    beside::{other_clocks, Follower},
    plan::Plan,
    player::Rules,
    run::{play, Options, Outcome},
};
use accelerator_trace::registers::Registers;

const ID: u64 = 0x5044_4e45;
const SCRATCH: u64 = 4;
const DMA_ADDR: u64 = 8;
const DMA_LEN: u64 = 0x10;
const DMA_CMD: u64 = 0x14;
const DMA_COUNT: u64 = 0x1c;
const RAISE: u64 = 0x20;
const HOLD: u64 = 0x30;
/// At a read of this one it is gone without a word.
const GO: u64 = 0x38;
const BUFFER: u64 = 0x1000;
const MEMORY: u64 = 0x1_0000_1000;
/// Index of the source that is a channel.
const CHANNEL: u8 = 1;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("accelerator-replay-test-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn endpoint(&self) -> String {
        format!("ipc://{}", self.0.join("socket").display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a record, an entry at a clock.
struct Tape {
    writer: Writer,
    clock: u64,
    /// Also those of what has not come yet.
    number: u64,
}

impl Tape {
    fn new(file: &Path, size: Size, contents: bool) -> Self {
        let mut writer = Writer::create(file, size, contents).unwrap();
        let mut source = Source {
            name: "card".into(),
            vendor: 0x1234,
            device: 0xacce,
            ..Source::default()
        };
        for (i, size) in [(0, 0x2000), (2, 0x1_0000), (4, 0x1_0000)] {
            source.bars[i] = Bar { size, axi_base: 0 };
        }
        writer.add(&source).unwrap();
        Self {
            writer,
            clock: 0,
            number: 0,
        }
    }

    fn put(&mut self, number: u64, kind: Kind, entry: Entry, data: &[u8]) -> u64 {
        self.clock += 10;
        let number = if number == 0 {
            self.number += 1;
            self.number
        } else {
            number
        };
        let mut first = [0; 8];
        let n = data.len().min(8);
        first[..n].copy_from_slice(&data[..n]);
        let entry = Entry {
            kind: kind as u8,
            number,
            clock: self.clock,
            data: if n == 0 {
                entry.data
            } else {
                u64::from_le_bytes(first)
            },
            ..entry
        };
        let contents = Contents {
            data,
            enables: None,
        };
        self.writer.write(&entry, contents).unwrap();
        number
    }

    fn plain(&mut self, kind: Kind) -> u64 {
        self.put(0, kind, Entry::default(), &[])
    }

    fn link_up(&mut self) {
        let up = self.plain(Kind::LinkUp);
        self.put(up, Kind::Taken, Entry::default(), &[]);
    }

    fn link_down(&mut self) {
        self.plain(Kind::LinkDown);
    }

    fn reset(&mut self) {
        let entry = Entry {
            address: 1,
            ..Entry::default()
        };
        let reset = self.put(0, Kind::Reset, entry, &[]);
        self.put(reset, Kind::Taken, Entry::default(), &[]);
        self.put(reset, Kind::ResetDone, Entry::default(), &[]);
    }

    fn begins_read(&mut self, offset: u64) -> u64 {
        let entry = Entry {
            address: offset,
            length: 4,
            ..Entry::default()
        };
        self.put(0, Kind::MmioRead, entry, &[])
    }

    fn read(&mut self, offset: u64, data: u64) -> u64 {
        let number = self.begins_read(offset);
        let done = Entry {
            data,
            length: 4,
            ..Entry::default()
        };
        self.put(number, Kind::MmioReadDone, done, &[])
    }

    fn write(&mut self, offset: u64, data: u64) -> u64 {
        let entry = Entry {
            address: offset,
            length: 4,
            data,
            ..Entry::default()
        };
        let number = self.put(0, Kind::MmioWrite, entry, &[]);
        self.put(number, Kind::Taken, Entry::default(), &[]);
        self.put(number, Kind::MmioWriteDone, Entry::default(), &[])
    }

    fn dma_read(&mut self, addr: u64, data: &[u8]) -> u64 {
        let entry = Entry {
            address: addr,
            length: data.len() as u32,
            ..Entry::default()
        };
        let number = self.put(0, Kind::DmaRead, entry, &[]);
        self.put(number, Kind::DmaAnswered, Entry::default(), &[]);
        self.put(number, Kind::DmaReadDone, entry, data)
    }

    fn dma_write(&mut self, addr: u64, data: &[u8]) -> u64 {
        let entry = Entry {
            address: addr,
            length: data.len() as u32,
            ..Entry::default()
        };
        let number = self.put(0, Kind::DmaWrite, entry, data);
        self.put(number, Kind::DmaAnswered, Entry::default(), &[]);
        self.put(number, Kind::DmaWriteDone, entry, &[])
    }

    fn msix(&mut self, vector: u64) -> u64 {
        let entry = Entry {
            address: vector,
            ..Entry::default()
        };
        self.put(0, Kind::Msix, entry, &[])
    }

    /// The source of what is put with [`CHANNEL`].
    fn channel(&mut self, kind: SourceKind) {
        let source = Source {
            kind,
            name: "line".into(),
            ..Source::default()
        };
        assert_eq!(self.writer.add(&source).unwrap(), CHANNEL);
    }

    fn of_channel(&mut self, kind: Kind, address: u64, data: &[u8]) -> u64 {
        let entry = Entry {
            source: CHANNEL,
            address,
            length: data.len() as u32,
            ..Entry::default()
        };
        self.put(0, kind, entry, data)
    }

    fn serial_tx(&mut self, bytes: &[u8]) {
        for byte in bytes.chunks(1) {
            self.of_channel(Kind::SerialTx, 0, byte);
        }
    }

    fn serial_rx(&mut self, bytes: &[u8]) {
        for byte in bytes.chunks(1) {
            self.of_channel(Kind::SerialRx, 0, byte);
        }
    }

    /// The card copies 64 bytes of memory to its buffer, and back to somewhere else.
    fn copy(&mut self, data: &[u8; 64]) -> u64 {
        self.write(DMA_ADDR, MEMORY & 0xffff_ffff);
        self.write(DMA_ADDR + 4, MEMORY >> 32);
        self.write(DMA_LEN, 64);
        self.write(DMA_CMD, 1);
        self.dma_read(MEMORY, data);
        self.msix(0);
        self.write(DMA_ADDR, (MEMORY + 0x100) & 0xffff_ffff);
        self.write(DMA_CMD, 2);
        let number = self.dma_write(MEMORY + 0x100, data);
        self.msix(0);
        number
    }
}

fn data() -> [u8; 64] {
    std::array::from_fn(|i| i as u8 * 3 + 1)
}

fn tape(folder: &Folder, name: &str, fill: impl FnOnce(&mut Tape)) -> PathBuf {
    let file = folder.0.join(name);
    let mut tape = Tape::new(&file, Size::default(), true);
    fill(&mut tape);
    file
}

fn plan(file: &Path) -> Result<Plan, String> {
    let record = Record::open(file).map_err(|e| e.to_string())?;
    Plan::new(&record, None)
}

fn rules() -> Rules {
    Rules {
        registers: Registers::parse(
            "[[register]]\nbar = 0\noffset = 4\nname = 'SCRATCH'\n\
             [[register]]\nbar = 0\noffset = 0x1c\nname = 'COUNT'\n\
             [[register]]\nbar = 0\noffset = 0x30\nname = 'HOLD'\n",
        )
        .unwrap(),
        patience: Duration::from_secs(2),
        ..Rules::default()
    }
}

/// Plays to a device, whose events `change` may take.
fn with(
    folder: &Folder,
    plan: &Plan,
    rules: Rules,
    all: Option<usize>,
    change: impl FnMut(&mut HdlEndpoint, &Event) -> bool + Send + 'static,
) -> Result<Outcome, String> {
    with_config(folder, plan, rules, all, sample_config(4), change)
}

fn with_config(
    folder: &Folder,
    plan: &Plan,
    rules: Rules,
    all: Option<usize>,
    config: Config,
    change: impl FnMut(&mut HdlEndpoint, &Event) -> bool + Send + 'static,
) -> Result<Outcome, String> {
    let endpoint = folder.endpoint();
    let device = {
        let endpoint = endpoint.clone();
        let mut change = change;
        thread::spawn(move || {
            let mut hdl = HdlEndpoint::bind(&endpoint, config).unwrap();
            let mut device = RegisterDevice::new();
            while let Ok(Some(event)) = hdl.try_event(PATIENCE) {
                let taken = change(&mut hdl, &event);
                let is_end = matches!(event, Event::Down { .. } | Event::Read { offset: GO, .. });
                if !taken && (device.handle(&mut hdl, &event).is_err() || is_end) {
                    break;
                }
            }
        })
    };
    let outcome = play(plan, &options(endpoint, rules, all), None);
    device.join().unwrap();
    outcome
}

fn options(endpoint: String, rules: Rules, all: Option<usize>) -> Options {
    Options {
        endpoint,
        channels: Vec::new(),
        keys: None,
        rules,
        all,
        timeout: Duration::from_secs(2),
        beside: None,
    }
}

fn good(folder: &Folder, plan: &Plan, rules: Rules) -> Outcome {
    with(folder, plan, rules, None, |_, _| false).unwrap()
}

#[test]
fn what_is_the_same_is_the_same() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.reset();
        t.read(0, ID);
        t.write(SCRATCH, 0x1234_5678);
        t.read(SCRATCH, 0x1234_5678);
        t.copy(&data());
        t.read(BUFFER, 0x0a07_0401);
        t.write(RAISE, 3);
        t.msix(3);
        t.link_down();
    });
    let plan = plan(&file).unwrap();
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    let outcome = good(&folder, &plan, rules());
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    assert!(outcome.whole);
    let counts = outcome.counts;
    assert_eq!((counts.reads, counts.writes), (3, 8));
    assert_eq!((counts.dma, counts.interrupts), (2, 3));
}

#[test]
fn the_first_answer_that_differs_is_named() {
    let folder = Folder::new();
    let mut wrong = 0;
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.read(0, ID);
        t.write(SCRATCH, 5);
        wrong = t.read(SCRATCH, 4);
        t.read(0, ID + 1);
    });
    let plan = plan(&file).unwrap();
    let outcome = good(&folder, &plan, rules());
    assert_eq!((outcome.differences, outcome.whole), (1, false));
    let d = &outcome.found[0].difference;
    assert_eq!(
        (d.number, d.what.as_str()),
        (wrong, "mmio_read SCRATCH len 4")
    );
    assert_eq!((d.expected.as_str(), d.got.as_str()), ("0x4", "0x5"));
    assert_eq!(d.clock, 80);
    let outcome = with(&folder, &plan, rules(), Some(20), |_, _| false).unwrap();
    assert_eq!((outcome.differences, outcome.whole), (2, true));
    // Known to be wrong, it may not stay so.
    let known = |number| Rules {
        wrong: HashSet::from([number]),
        ..rules()
    };
    let outcome = with(&folder, &plan, known(wrong), Some(20), |_, _| false).unwrap();
    assert_eq!(outcome.differences, 1, "{:?}", outcome.found);
    assert_ne!(outcome.found[0].difference.number, wrong);
    let first = plan.sights[0].number;
    let outcome = good(&folder, &plan, known(first));
    assert_eq!(outcome.found[0].difference.number, first);
    // Bits that are not compared.
    let mut ignoring = rules();
    ignoring.registers.set_ignored("SCRATCH", Some(1)).unwrap();
    ignoring.registers.set_ignored("BAR0+0x0", None).unwrap();
    assert_eq!(good(&folder, &plan, ignoring).differences, 0);
}

#[test]
fn other_bytes_and_other_requests_of_dma_differ() {
    let folder = Folder::new();
    let mut number = 0;
    let file = tape(&folder, "record", |t| {
        t.link_up();
        number = t.copy(&data());
    });
    let plan_of_it = plan(&file).unwrap();
    // The card spoils a byte.
    let spoil = |hdl: &mut HdlEndpoint, event: &Event| match *event {
        Event::Write {
            tag,
            offset: DMA_CMD,
            data: 2,
            ..
        } => {
            let mut bytes = data();
            bytes[0x15] ^= 1;
            hdl.write_done(tag, accelerator_protocol::wire::Status::Ok)
                .unwrap();
            hdl.dma_write(MEMORY + 0x100, &bytes, None).unwrap();
            hdl.msix(0).unwrap();
            true
        }
        _ => false,
    };
    let outcome = with(&folder, &plan_of_it, rules(), Some(20), spoil).unwrap();
    assert_eq!((outcome.differences, outcome.whole), (1, true));
    let d = &outcome.found[0].difference;
    assert_eq!(d.number, number);
    assert!(d.what.contains("byte 21 at 0x100001115"), "{}", d.what);
    let known = Rules {
        wrong: HashSet::from([number]),
        ..rules()
    };
    let outcome = with(&folder, &plan_of_it, known, None, spoil).unwrap();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    // Another address.
    let file = tape(&folder, "other", |t| {
        t.link_up();
        t.write(DMA_ADDR + 4, 1);
        t.write(DMA_LEN, 4);
        t.write(DMA_CMD, 1);
        t.dma_read(0x1_0000_0040, &[1, 2, 3, 4]);
        t.msix(0);
    });
    let outcome = good(&folder, &plan(&file).unwrap(), rules());
    let d = &outcome.found[0].difference;
    assert_eq!(d.expected, "dma_read of 4 bytes at 0x100000040");
    assert_eq!(d.got, "dma_read of 4 bytes at 0x100000000");
    // A vector that the record has not.
    let file = tape(&folder, "vector", |t| {
        t.link_up();
        t.write(RAISE, 2);
        t.read(0, ID);
        t.read(0, ID);
    });
    let outcome = good(&folder, &plan(&file).unwrap(), rules());
    assert_eq!(outcome.found[0].difference.got, "msix vector 2");
}

#[test]
fn what_does_not_come_is_named() {
    let folder = Folder::new();
    let mut number = 0;
    // The record has no answer either: it is a difference all the same.
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.read(0, ID);
        number = t.begins_read(HOLD);
        t.reset();
        t.read(0, ID);
    });
    let outcome = good(&folder, &plan(&file).unwrap(), rules());
    assert_eq!(outcome.differences, 1, "{:?}", outcome.found);
    let d = &outcome.found[0].difference;
    assert_eq!(
        (d.number, d.what.as_str()),
        (number, "mmio_read HOLD len 4")
    );
    assert_eq!(d.got, "nothing for 2 s");
    let file = tape(&folder, "vector", |t| {
        t.link_up();
        t.read(0, ID);
        number = t.msix(1);
        t.read(0, ID);
    });
    let outcome = good(&folder, &plan(&file).unwrap(), rules());
    let d = &outcome.found[0].difference;
    assert_eq!((d.number, d.expected.as_str()), (number, "msix vector 1"));
}

#[test]
fn a_loop_that_polls_ends_with_the_value_of_the_record() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        for value in [0, 0, 0, 7] {
            t.read(DMA_COUNT, value);
        }
        t.read(0, ID);
    });
    let plan = plan(&file).unwrap();
    let volatile = || {
        let mut rules = rules();
        rules.registers.set_volatile("COUNT").unwrap();
        rules
    };
    // It is there after `n` reads.
    let after = |n: u64| {
        let mut reads = 0;
        move |hdl: &mut HdlEndpoint, event: &Event| match *event {
            Event::Read {
                tag,
                offset: DMA_COUNT,
                ..
            } => {
                reads += 1;
                hdl.read_done(tag, 4, if reads > n { 7 } else { 0 })
                    .unwrap();
                true
            }
            _ => false,
        }
    };
    for n in [0, 3, 40] {
        let outcome = with(&folder, &plan, volatile(), None, after(n)).unwrap();
        assert_eq!(outcome.differences, 0, "{n}: {:?}", outcome.found);
        assert_eq!(outcome.counts.again, n.saturating_sub(3));
    }
    assert_eq!(
        with(&folder, &plan, rules(), None, after(0))
            .unwrap()
            .differences,
        1
    );
    let outcome = with(&folder, &plan, volatile(), None, after(u64::MAX)).unwrap();
    assert_eq!(outcome.found[0].difference.expected, "0x7");
}

#[test]
fn an_access_waits_for_what_came_before_it() {
    let folder = Folder::new();
    // The driver reads the count when the interrupt of the first command is there, and the
    // second one was given before: only its memory comes later.
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.write(DMA_ADDR + 4, 1);
        t.write(DMA_LEN, 4);
        t.write(DMA_CMD, 1);
        t.dma_read(0x1_0000_0000, &[1, 2, 3, 4]);
        t.msix(0);
        t.read(DMA_COUNT, 1);
        t.write(DMA_CMD, 1);
        t.dma_read(0x1_0000_0000, &[5, 6, 7, 8]);
        t.msix(0);
        t.read(DMA_COUNT, 2);
        t.read(BUFFER, 0x0807_0605);
    });
    for _ in 0..20 {
        let outcome = good(&folder, &plan(&file).unwrap(), rules());
        assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
        assert_eq!(outcome.counts.early, 0);
    }
}

#[test]
fn records_that_cannot_be_played_are_refused() {
    let folder = Folder::new();
    let refused = |file: &Path, text: &str| {
        let e = plan(file).unwrap_err();
        assert!(e.contains(text), "{e}");
    };
    let bare = folder.0.join("bare");
    let mut t = Tape::new(&bare, Size::default(), false);
    t.link_up();
    t.copy(&data());
    drop(t);
    refused(&bare, "no contents of 1 DMA reads");
    refused(
        &tape(&folder, "empty", |_| ()),
        "there is nothing to replay",
    );
    // Of a version that does not say when a host was there.
    let channel = tape(&folder, "channel", |t| {
        t.link_up();
        t.channel(SourceKind::Uart);
        t.serial_tx(b"x");
    });
    let mut bytes = std::fs::read(&channel).unwrap();
    bytes[14] = 1;
    std::fs::write(&channel, bytes).unwrap();
    refused(&channel, "serial channel");
    let record = Record::open(&channel).unwrap();
    Plan::without_channels(&record, None).unwrap();
    assert!(Plan::new(&record, Some("no"))
        .unwrap_err()
        .contains("but card"));
    // An entry in the middle is gone.
    let damaged = tape(&folder, "damaged", |t| {
        t.link_up();
        t.read(0, ID);
        t.read(0, ID);
    });
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[65_536 + 3 * 64] = 0;
    std::fs::write(&damaged, bytes).unwrap();
    refused(&damaged, "damaged: entries 4 to 4");
    let none = folder.0.join("none");
    std::fs::write(&none, b"something else").unwrap();
    refused(&none, "it is no record");
    // Not a ring's fault.
    let ring = folder.0.join("no-reset");
    let mut t = Tape::new(&ring, Size::Ring(131_072), true);
    t.link_up();
    for _ in 0..1000 {
        t.read(0, ID);
    }
    drop(t);
    refused(&ring, "without a reset");
}

#[test]
fn a_record_that_was_cut_is_played_to_its_end() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.read(0, ID);
        t.copy(&data());
        t.copy(&data());
    });
    let whole = std::fs::read(&file).unwrap();
    let entries = (whole.len() - 65_536) / 64;
    for keep in [3, entries / 3, entries / 2, entries - 4, entries - 1] {
        let mut cut = whole[..65_536 + keep * 64 + 17].to_vec();
        // As of a process that was killed.
        cut[72..80].fill(0);
        std::fs::write(&file, cut).unwrap();
        let plan = plan(&file).unwrap();
        assert!(
            plan.notes[0].contains("the record was cut"),
            "{:?}",
            plan.notes
        );
        let outcome = good(&folder, &plan, rules());
        assert_eq!(outcome.differences, 0, "{keep}: {:?}", outcome.found);
        assert!(outcome.whole);
    }
}

#[test]
fn a_ring_begins_at_its_first_reset() {
    let folder = Folder::new();
    let file = folder.0.join("ring");
    let mut t = Tape::new(&file, Size::Ring(131_072), true);
    t.link_up();
    for i in 0..1000 {
        t.write(SCRATCH, i);
    }
    t.reset();
    t.read(SCRATCH, 0);
    t.copy(&data());
    drop(t);
    let plan = plan(&file).unwrap();
    assert!(plan.notes[0].starts_with("a ring: "), "{:?}", plan.notes);
    let outcome = good(&folder, &plan, rules());
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    assert_eq!(outcome.counts.dma, 2);
}

#[test]
fn sessions_and_resets_follow_each_other() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.write(SCRATCH, 5);
        t.reset();
        t.read(SCRATCH, 0);
        t.write(SCRATCH, 6);
        t.link_down();
        t.link_up();
        t.read(SCRATCH, 6);
        t.link_down();
    });
    let mut ends = 0;
    let outcome = with(
        &folder,
        &plan(&file).unwrap(),
        rules(),
        None,
        move |_, event| {
            // It serves until the second one.
            let first = matches!(event, Event::Down { .. }) && ends == 0;
            ends += u32::from(first);
            first
        },
    )
    .unwrap();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    assert_eq!((outcome.counts.reads, outcome.counts.writes), (2, 2));
}

#[test]
fn another_card_and_one_that_goes_away() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.read(0, ID);
        t.read(0, ID);
    });
    let gone = tape(&folder, "gone", |t| {
        t.link_up();
        t.read(0, ID);
        t.read(GO, 0);
        t.read(0, ID);
    });
    let e = with(&folder, &plan(&gone).unwrap(), rules(), None, |_, _| false).unwrap_err();
    assert!(e.contains("gone without a word, after "), "{e}");
    let mut plan = plan(&file).unwrap();
    plan.source.device = 0xbeef;
    let e = with(&folder, &plan, rules(), None, |_, _| false).unwrap_err();
    assert!(e.contains("1234:acce, the record's is 1234:beef"), "{e}");
    plan.source.device = 0xacce;
    plan.source.bars[0].size = 0x1000;
    let e = with(&folder, &plan, rules(), None, |_, _| false).unwrap_err();
    assert!(e.contains("BAR 0 of the simulator has 8192 bytes"), "{e}");
}

#[test]
fn nothing_is_sent_before_its_clock() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.clock += 1000;
        t.read(0, ID);
        t.clock += 5000;
        t.read(SCRATCH, 0);
    });
    // Of 4 ns; the device is asked for the time before each, and tells it when it has gone by.
    let mut now = 700_u64;
    let mut reads = Vec::new();
    let (tell, told) = std::sync::mpsc::channel();
    let take = move |hdl: &mut HdlEndpoint, event: &Event| match *event {
        Event::Clock { interval } => {
            hdl.time(now * 4).unwrap();
            if interval < 1_000_000_000 {
                now += interval.div_ceil(4);
                hdl.time(now * 4).unwrap();
            }
            true
        }
        Event::Read { .. } => {
            reads.push(now - 700);
            tell.send(reads.clone()).unwrap();
            false
        }
        _ => false,
    };
    let plan = plan(&file).unwrap();
    let clocks = Rules {
        clocks: true,
        ..rules()
    };
    let e = with(&folder, &plan, clocks, None, |_, _| false).unwrap_err();
    assert!(
        e.contains("does not say what the period of its clock is"),
        "{e}"
    );
    let clocks = Rules {
        clocks: true,
        ..rules()
    };
    let config = Config {
        clock_period_ps: 4000,
        ..sample_config(4)
    };
    let outcome = with_config(&folder, &plan, clocks, None, config, take).unwrap();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    // The link came up at clock 10, the reads at 1030 and 6050.
    assert_eq!(told.iter().last().unwrap(), [1020, 6040]);
}

#[test]
fn accesses_that_took_other_clocks_are_found() {
    let folder = Folder::new();
    let of = |name, more: u64| {
        tape(&folder, name, |t| {
            t.link_up();
            t.read(0, ID);
            let number = t.begins_read(SCRATCH);
            t.put(number, Kind::Taken, Entry::default(), &[]);
            t.clock += more;
            t.put(number, Kind::MmioReadDone, Entry::default(), &[]);
            t.begins_read(0);
        })
    };
    let (a, b, c) = (of("a", 0), of("b", 0), of("c", 3));
    assert_eq!(other_clocks(&a, &b, "card").unwrap(), []);
    let found = other_clocks(&a, &c, "card").unwrap();
    assert_eq!(found.len(), 1);
    let (there, here) = found[0];
    assert_eq!((there.offset, there.clocks, here.clocks), (SCRATCH, 10, 13));
    let e = other_clocks(&a, &c, "other").unwrap_err();
    assert!(e.contains("it has no function other"), "{e}");
}

#[test]
fn how_an_access_ends_is_compared() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        let number = t.begins_read(0);
        let done = Entry {
            status: STATUS_REFUSED,
            length: 4,
            ..Entry::default()
        };
        t.put(number, Kind::MmioReadDone, done, &[]);
    });
    let outcome = good(&folder, &plan(&file).unwrap(), rules());
    let d = &outcome.found[0].difference;
    assert_eq!(
        (d.expected.as_str(), d.got.as_str()),
        ("refused", "0x50444e45")
    );
}

#[test]
fn what_the_guest_sets_is_set_again() {
    let folder = Folder::new();
    let wanted = Function {
        memory_space: true,
        bus_master: true,
        msi_enable: true,
        msi_granted: 2,
        msi_mask: 0x8000_0005,
        power: Power::D3hot,
        relaxed_ordering: false,
        no_snoop: false,
        addresses: Some([
            0xfdc0_0000,
            UNMAPPED,
            0x8_0000_0000,
            UNMAPPED,
            0x70,
            UNMAPPED,
        ]),
        ..Function::default()
    };
    let put = |t: &mut Tape, addresses: &[(u8, u64)], power: u64| {
        for &(bar, address) in addresses {
            let at = Entry {
                bar,
                address,
                ..Entry::default()
            };
            t.put(0, Kind::BarAddress, at, &[]);
        }
        let heard = Entry {
            data: 0x3 | power << 8 | 2 << 24 | 1 << 48 | 1 << 56,
            address: 1 | 2 << 8 | 0x8000_0005 << 32,
            ..Entry::default()
        };
        t.put(0, Kind::Function, heard, &[]);
    };
    let file = tape(&folder, "record", |t| {
        t.link_up();
        // Of a QEMU that does not tell; then of one that does, and of what changes.
        put(t, &[], 0);
        t.read(0, ID);
        let nowhere = [0, 1, 2, 3, 4, 5].map(|bar| (bar, UNMAPPED));
        put(t, &nowhere, 0);
        t.read(0, ID);
        put(t, &[(0, 0xfdc0_0000), (2, 0x8_0000_0000), (4, 0x70)], 3);
        t.read(0, ID);
    });
    let (tell, told) = std::sync::mpsc::channel();
    let mut hears = false;
    let outcome = with(
        &folder,
        &plan(&file).unwrap(),
        rules(),
        None,
        move |hdl, event| {
            if !std::mem::replace(&mut hears, true) {
                hdl.hear_function();
            }
            if let Event::Function(function) = event {
                tell.send(*function).unwrap();
            }
            false
        },
    )
    .unwrap();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    let told: Vec<Function> = told.iter().collect();
    assert_eq!(told.len(), 3);
    let before = |addresses| Function {
        power: Power::D0,
        addresses,
        ..wanted
    };
    assert_eq!(told[0], before(None));
    assert_eq!(told[1], before(Some([UNMAPPED; 6])));
    assert_eq!(told[2], wanted);
}

/// Plays to a device with a channel; what that gives, and what comes of it.
fn with_channel(
    folder: &Folder,
    plan: &Plan,
    kind: ChannelKind,
    all: Option<usize>,
    mut serve: impl FnMut(&mut DevicePeer) + Send + 'static,
) -> Result<Outcome, String> {
    let endpoint = folder.endpoint();
    let channel = format!("{endpoint}.line");
    let (device, line) = (endpoint.clone(), channel.clone());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ends = std::sync::Arc::clone(&stop);
    let device = thread::spawn(move || {
        let mut hdl = HdlEndpoint::bind(&device, sample_config(4)).unwrap();
        let mut registers = RegisterDevice::new();
        while let Ok(Some(event)) = hdl.try_event(PATIENCE) {
            let is_end = matches!(event, Event::Down { .. });
            if registers.handle(&mut hdl, &event).is_err() || is_end {
                break;
            }
        }
    });
    let line = thread::spawn(move || {
        let mut peer = DevicePeer::bind(&line, kind, 64).unwrap();
        while !ends.load(Ordering::Relaxed) {
            peer.pump(Duration::from_millis(5)).unwrap();
            serve(&mut peer);
        }
    });
    let options = Options {
        channels: vec![channel],
        ..options(endpoint, rules(), all)
    };
    let outcome = play(plan, &options, None);
    stop.store(true, Ordering::Relaxed);
    device.join().unwrap();
    line.join().unwrap();
    outcome
}

#[test]
fn bytes_of_a_serial_line_are_played() {
    let folder = Folder::new();
    let mut echoed = 0;
    let file = tape(&folder, "record", |t| {
        t.channel(SourceKind::Uart);
        // Kept for the host that comes.
        t.serial_tx(b"ready ");
        t.of_channel(Kind::LinkUp, 0, &[]);
        t.link_up();
        t.read(0, ID);
        t.serial_rx(b"hello");
        t.serial_tx(b"hell");
        echoed = t.of_channel(Kind::SerialTx, 0, b"o");
        t.read(0, ID);
        // More than the card keeps.
        t.serial_rx(&[b'x'; 300]);
        t.serial_tx(&[b'x'; 300]);
        t.read(0, ID);
    });
    let plan = plan(&file).unwrap();
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
    // The first one is a good card, the second turns a letter, the third loses what comes.
    let serve = |spoil: u8, loses: bool| {
        let mut greeted = 0;
        move |peer: &mut DevicePeer| {
            if peer.inbox.sessions > greeted {
                greeted = peer.inbox.sessions;
                assert_eq!(peer.send_bytes(b"ready ").unwrap(), 6);
            }
            let mut bytes = peer.take_bytes(64).unwrap();
            bytes
                .iter_mut()
                .filter(|b| **b == b'o')
                .for_each(|b| *b ^= spoil);
            if !loses {
                assert_eq!(peer.send_bytes(&bytes).unwrap(), bytes.len());
            }
        }
    };
    let kind = ChannelKind::Serial;
    let outcome = with_channel(&folder, &plan, kind, None, serve(0, false)).unwrap();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    assert_eq!((outcome.counts.bytes, outcome.counts.reads), (616, 3));
    let outcome = with_channel(&folder, &plan, kind, Some(20), serve(1, false)).unwrap();
    assert_eq!((outcome.differences, outcome.whole), (1, true));
    let d = &outcome.found[0].difference;
    assert_eq!((d.number, &*d.what), (echoed, "serial_tx from line"));
    assert_eq!((&*d.expected, &*d.got), ("0x6f", "0x6e"));
    let outcome = with_channel(&folder, &plan, kind, None, serve(0, true)).unwrap();
    let d = &outcome.found[0].difference;
    assert_eq!(
        (&*d.expected, &*d.got),
        ("serial_tx from line", "nothing for 2 s")
    );
    // Without the channel there is the function still.
    let record = Record::open(&file).unwrap();
    let alone = Plan::without_channels(&record, None).unwrap();
    let outcome = good(&folder, &alone, rules());
    assert_eq!((outcome.differences, outcome.counts.reads), (0, 3));
}

#[test]
fn frames_and_sessions_of_a_network_are_played() {
    let folder = Folder::new();
    let frame: Vec<u8> = (0..90).collect();
    let mac = [2, 3, 5, 7, 11, 13];
    let file = tape(&folder, "record", |t| {
        t.channel(SourceKind::Nic);
        t.link_up();
        let dropped = Entry {
            source: CHANNEL,
            status: accelerator_record::layout::STATUS_DROPPED,
            length: 90,
            ..Entry::default()
        };
        t.put(0, Kind::NicTx, dropped, &frame);
        t.of_channel(Kind::LinkUp, 0x0203_0507_0b0d, &[]);
        t.of_channel(Kind::NicRx, 0, &frame);
        t.of_channel(Kind::NicTx, 0, &frame);
        t.of_channel(Kind::LinkDown, 0, &[]);
        t.read(0, ID);
        // The function is gone before the channel is.
        t.of_channel(Kind::LinkUp, 0x0203_0507_0b0d, &[]);
        t.link_down();
        t.of_channel(Kind::NicRx, 0, &frame[..60]);
        t.of_channel(Kind::NicTx, 0, &frame[..60]);
    });
    let plan = plan(&file).unwrap();
    let echo = move |spoil: u8| {
        move |peer: &mut DevicePeer| {
            while let Some(mut frame) = peer.take_frame().unwrap() {
                assert_eq!(peer.inbox.mac, mac);
                let at = 70 % frame.len();
                frame[at] ^= spoil;
                assert!(peer.send_frame(&frame).unwrap());
            }
        }
    };
    let outcome = with_channel(&folder, &plan, ChannelKind::Nic, None, echo(0)).unwrap();
    assert_eq!(outcome.differences, 0, "{:?}", outcome.found);
    assert!(outcome.whole);
    assert_eq!((outcome.counts.frames, outcome.counts.reads), (4, 1));
    let outcome = with_channel(&folder, &plan, ChannelKind::Nic, None, echo(1)).unwrap();
    let d = &outcome.found[0].difference;
    assert_eq!(d.what, "nic_tx of 90 bytes from line, byte 70");
    assert_eq!((&*d.expected, &*d.got), ("0x46", "0x47"));
}

#[test]
fn what_the_rtl_has_taken_is_followed() {
    let folder = Folder::new();
    let file = folder.0.join("beside");
    let line = Source {
        kind: SourceKind::Uart,
        name: "line".into(),
        ..Source::default()
    };
    let mut follower = Follower::new(&file, &[line]);
    assert!(follower.heard().is_none());
    let mut t = Tape::new(&file, Size::default(), true);
    t.channel(SourceKind::Uart);
    t.link_up();
    let mut heard = || {
        let heard = follower.heard().unwrap()[0];
        (heard.taken, heard.given)
    };
    assert_eq!(heard(), (0, 0));
    t.of_channel(Kind::LinkUp, 0, &[]);
    t.serial_rx(b"ab");
    assert_eq!(heard(), (3, 0));
    t.serial_tx(b"abc");
    t.copy(&data());
    t.serial_rx(b"c");
    assert_eq!(heard(), (4, 3));
    assert_eq!(heard(), (4, 3));
    // One that a fault loses on its way there, and one on its way back.
    t.of_channel(Kind::Fault, 4, &[]);
    assert_eq!(heard(), (5, 3));
    let lost = t.of_channel(Kind::Fault, 4, &[]);
    let entry = Entry {
        source: CHANNEL,
        length: 1,
        ..Entry::default()
    };
    t.put(lost, Kind::SerialTx, entry, b"x");
    assert_eq!(heard(), (5, 3));
}

#[test]
fn keys_are_used() {
    let folder = Folder::new();
    let file = tape(&folder, "record", |t| {
        t.link_up();
        t.read(0, ID);
    });
    let plan = plan(&file).unwrap();
    let [ours, theirs, other] = [(); 3].map(|()| {
        let (public, secret) = new_pair().unwrap();
        Pair { public, secret }
    });
    let play_with = |keys: Option<Keys>| {
        let endpoint = folder.endpoint();
        let (at, own, listed) = (endpoint.clone(), theirs.clone(), [ours.public]);
        let (tell, told) = std::sync::mpsc::channel();
        let device = thread::spawn(move || {
            let keys = Some((&own, &listed[..]));
            let mut hdl = HdlEndpoint::bind_keyed(&at, sample_config(4), keys).unwrap();
            let mut device = RegisterDevice::new();
            while told.try_recv().is_err() {
                if let Some(event) = hdl.try_event(Duration::from_millis(20)).unwrap() {
                    // Of a host that is gone.
                    let _ = device.handle(&mut hdl, &event);
                }
            }
        });
        let options = Options {
            keys,
            ..options(endpoint, rules(), None)
        };
        let outcome = play(&plan, &options, None);
        tell.send(()).unwrap();
        device.join().unwrap();
        outcome
    };
    let keys = |own: &Pair, server| {
        Some(Keys {
            own: own.clone(),
            server,
        })
    };
    let outcome = play_with(keys(&ours, theirs.public)).unwrap();
    assert_eq!((outcome.differences, outcome.counts.reads), (0, 1));
    for (keys, text) in [
        (None, "keys"),
        (keys(&ours, other.public), ""),
        (keys(&other, theirs.public), "key"),
    ] {
        let e = play_with(keys).unwrap_err();
        assert!(e.contains(text) && e.contains("after 0 of"), "{e}");
    }
}
