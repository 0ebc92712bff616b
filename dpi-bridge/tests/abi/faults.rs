// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults by plan: what the host and the RTL see of each, and what the record has.

use std::{
    fs,
    time::{Duration, Instant},
};

use accelerator_peers::{channel::HostPeer, guest::Activity, Error, GuestEndpoint, PATIENCE};
use accelerator_protocol::{
    channel::ChannelKind,
    wire::{ErrorKind, Frame, Init, ResetKind, Status},
};
use accelerator_record::Kind;

use crate::{record::entries, support::*};

/// A simulator with the usual bridge and a plan, and a guest.
fn with_plan(folder: &Folder, plan: &str) -> (Simulator, GuestEndpoint) {
    let file = folder.path("plan");
    fs::write(&file, plan).unwrap();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start();
    sim.usual(&endpoint);
    assert_eq!(sim.call(&format!("set_faults {}", file.display())), 0);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &endpoint);
    guest.take_activity();
    (sim, guest)
}

/// The RTL answers the next read with this.
fn answer(sim: &mut Simulator, data: u64) -> i64 {
    let mmio = sim.next_mmio(MMIO_READ);
    assert_eq!(
        sim.call(&format!("mmio_read_done {} 0 {data:#x}", mmio.tag)),
        0
    );
    mmio.addr
}

/// What the guest has of a read, while the simulator polls.
fn polled(
    sim: &mut Simulator,
    guest: &mut GuestEndpoint,
    tag: u32,
) -> (Result<u64, Error>, Vec<ErrorKind>) {
    let begin = Instant::now();
    let mut errors = Vec::new();
    let mut done = false;
    while !done {
        assert!(begin.elapsed() < PATIENCE, "no answer");
        assert_eq!(sim.poll(READY), NONE);
        guest.pump_for(Duration::from_millis(1)).unwrap();
        for activity in guest.take_activity() {
            match activity {
                Activity::Error { kind } => {
                    assert!(!done, "an error after the completion that it belongs to");
                    errors.push(kind);
                }
                Activity::ReadDone { tag: found } => done |= found == tag,
                _ => {}
            }
        }
    }
    (guest.finish_read(tag, PATIENCE), errors)
}

/// An error is not a value.
fn refused(result: &Result<u64, Error>) -> bool {
    matches!(
        result,
        Err(Error::Status {
            status: Status::Refused,
            ..
        })
    )
}

#[test]
fn a_plan_that_is_none_stops_the_start() {
    let folder = Folder::new();
    let file = folder.path("plan");
    fs::write(&file, "seed=1\nur on=rread\n").unwrap();
    let mut sim = Simulator::start();
    sim.usual(&folder.endpoint("s"));
    assert_eq!(sim.call(&format!("set_faults {}", file.display())), 0);
    let name = file.display().to_string();
    sim.fails("start", EINVAL, &[&name, "line 2", "on is \"rread\""]);
    assert_eq!(sim.call("set_faults /none/plan"), 0);
    sim.fails("start", EINVAL, &["/none/plan", "No such file"]);
    // Without one it starts.
    assert_eq!(
        sim.call(&format!("set_faults {}", folder.path("empty").display())),
        0
    );
    fs::write(folder.path("empty"), "# nothing\n").unwrap();
    assert_eq!(sim.call("start"), 0);
    sim.fails(
        &format!("set_faults {name}"),
        ESTATE,
        &["acc_start was called"],
    );
    sim.finish();
}

#[test]
fn the_environment_names_a_plan() {
    let folder = Folder::new();
    let file = folder.path("plan");
    fs::write(&file, "nothing=1\n").unwrap();
    let mut sim = Simulator::start_with(
        Language::C99,
        &[("ACCELERATOR_FAULTS", file.to_str().unwrap())],
    );
    sim.usual(&folder.endpoint("s"));
    sim.fails(
        "start",
        EINVAL,
        &["line 1", "there is no fault \"nothing=1\""],
    );
    sim.end();
}

#[test]
fn reads_that_the_rtl_never_sees() {
    let folder = Folder::new();
    let plan = "ur on=read offset=0x10\nca on=read offset=0x20 times=1";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    for (offset, kind) in [
        (0x10, ErrorKind::ReadUnsupported),
        (0x20, ErrorKind::ReadAborted),
        (0x10, ErrorKind::ReadUnsupported),
    ] {
        let tag = guest.start_read(0, offset, 4).unwrap();
        let (result, errors) = polled(&mut sim, &mut guest, tag);
        assert!(refused(&result), "{result:?}");
        assert_eq!(errors, [kind]);
    }
    // Of this there was one, and others have none.
    for offset in [0x20, 0x14] {
        let tag = guest.start_read(0, offset, 4).unwrap();
        assert_eq!(answer(&mut sim, 0x77), BAR0_BASE + offset as i64);
        let (result, errors) = polled(&mut sim, &mut guest, tag);
        assert_eq!((result.unwrap(), errors), (0x77, vec![]));
    }
    sim.finish();
}

#[test]
fn answers_that_do_not_come_as_they_were_given() {
    let folder = Folder::new();
    let plan = "corrupt on=read offset=0 xor=0xf0; corrupt on=read offset=4 value=0x1122334455
                poison on=read offset=8; lose on=read offset=12 delay=60ms
                late on=read offset=16 delay=40ms";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    for (offset, value) in [(0, 0x9f), (4, 0x2233_4455), (20, 0x6f)] {
        let tag = guest.start_read(0, offset, 4).unwrap();
        answer(&mut sim, 0x6f);
        let (result, errors) = polled(&mut sim, &mut guest, tag);
        assert_eq!((result.unwrap(), errors), (value, vec![]), "{offset}");
    }
    let tag = guest.start_read(0, 8, 4).unwrap();
    answer(&mut sim, 1);
    let (result, errors) = polled(&mut sim, &mut guest, tag);
    assert!(refused(&result), "{result:?}");
    assert_eq!(errors, [ErrorKind::ReadPoisoned]);

    let begin = Instant::now();
    let tag = guest.start_read(0, 12, 4).unwrap();
    answer(&mut sim, 1);
    let (result, errors) = polled(&mut sim, &mut guest, tag);
    assert!(refused(&result), "{result:?}");
    assert_eq!(errors, [ErrorKind::ReadTimeout]);
    assert!(begin.elapsed() >= Duration::from_millis(60));

    let begin = Instant::now();
    let tag = guest.start_read(0, 16, 4).unwrap();
    answer(&mut sim, 5);
    // Others pass it.
    let other = guest.start_read(0, 20, 4).unwrap();
    answer(&mut sim, 6);
    let (result, _) = polled(&mut sim, &mut guest, other);
    assert_eq!(result.unwrap(), 6);
    let (result, errors) = polled(&mut sim, &mut guest, tag);
    assert_eq!((result.unwrap(), errors), (5, vec![]));
    assert!(begin.elapsed() >= Duration::from_millis(40));
    sim.finish();
}

#[test]
fn writes_that_the_rtl_does_not_get_are_reported_in_order() {
    let folder = Folder::new();
    let plan = "ur on=write offset=4; poison on=write offset=8; ca on=write offset=12
                lose on=write offset=16; corrupt on=write offset=20 xor=0xffff";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    for offset in [0, 4, 8, 12, 16, 20, 4] {
        guest.write(0, offset, 4, offset, PATIENCE).unwrap();
    }
    let first = sim.next_mmio(MMIO_WRITE);
    assert_eq!((first.addr, first.data), (BAR0_BASE, 0));
    let last = sim.next_mmio(MMIO_WRITE);
    assert_eq!((last.addr, last.data), (BAR0_BASE + 20, 20 ^ 0xffff));
    sim.expect_nothing(READY);
    // None is reported before the one in front of it.
    guest.pump_for(Duration::from_millis(50)).unwrap();
    let mut errors = Vec::new();
    for activity in guest.take_activity() {
        match activity {
            Activity::Error { kind } => errors.push(kind),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        errors,
        [
            ErrorKind::WriteUnsupported,
            ErrorKind::WritePoisoned,
            ErrorKind::WriteAborted,
            ErrorKind::WriteUnsupported
        ]
    );
    for tag in [first.tag, last.tag] {
        assert_eq!(sim.call(&format!("mmio_write_done {tag} 0")), 0);
    }
    assert_eq!(sim.call("polls 15 100"), 0);
    guest.flush(PATIENCE).unwrap();
    let mut count = 0;
    for activity in guest.take_activity() {
        match activity {
            Activity::WritesDone {
                count: n,
                status: Status::Ok,
            } => count += n,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(count, 7);
    sim.finish();
}

/// What the RTL has of its next DMA: tag and status. The guest serves what there is.
fn dma_done(sim: &mut Simulator, guest: &mut GuestEndpoint, event: i32) -> (i64, i64) {
    let begin = Instant::now();
    while sim.poll(READY) != event {
        guest.pump_for(Duration::from_micros(200)).unwrap();
        assert!(begin.elapsed() < PATIENCE, "no answer");
    }
    let call = if event == DMA_READ_DONE {
        "get_dma_read"
    } else {
        "get_dma_write"
    };
    let r = sim.results(call);
    assert_eq!(r[0], 0, "{}", sim.last_error());
    (r[1], r[2])
}

fn errors(guest: &mut GuestEndpoint) -> Vec<ErrorKind> {
    guest.pump_for(Duration::from_millis(20)).unwrap();
    let all = guest.take_activity();
    all.iter()
        .filter_map(|a| match a {
            Activity::Error { kind } => Some(*kind),
            _ => None,
        })
        .collect()
}

const OK: i64 = 0;
const REFUSED: i64 = 1;
const FAULT: i64 = 2;

#[test]
fn dma_that_memory_never_sees() {
    let folder = Folder::new();
    let plan = format!(
        "ur on=dma-read,dma-write addr={a:#x}-{a:#x}; ca on=dma-read,dma-write addr={b:#x}-{b:#x}
         poison on=dma-read,dma-write addr={c:#x}; lose on=dma-read,dma-write addr={d:#x} delay=40ms",
        a = MEMORY + 0x1000,
        b = MEMORY + 0x2000,
        c = MEMORY + 0x3000,
        d = MEMORY + 0x4000,
    );
    let (mut sim, mut guest) = with_plan(&folder, &plan);
    for (page, status, error) in [
        (1, FAULT, Some(ErrorKind::DmaUnsupported)),
        (2, REFUSED, Some(ErrorKind::DmaAborted)),
        (3, REFUSED, Some(ErrorKind::DmaReadPoisoned)),
        (4, REFUSED, Some(ErrorKind::DmaTimeout)),
        (5, OK, None),
    ] {
        let address = MEMORY + page * 0x1000;
        let begin = Instant::now();
        let tag = i64::from(sim.call(&format!("dma_read {address} 8")));
        let (found, got) = dma_done(&mut sim, &mut guest, DMA_READ_DONE);
        let took = begin.elapsed();
        assert_eq!((found, got), (tag, status), "page {page}");
        assert_eq!(
            errors(&mut guest),
            error.into_iter().collect::<Vec<_>>(),
            "page {page}"
        );
        if page == 4 {
            assert!(took >= Duration::from_millis(40));
        }
        if status == OK {
            sim.beat(tag, 0, 8);
        }
    }
    // A write is posted: what gets lost on its way the card does not hear of.
    for (page, status, error, written) in [
        (1, FAULT, None, false),
        (2, REFUSED, None, false),
        (3, OK, Some(ErrorKind::DmaWritePoisoned), false),
        (4, OK, None, false),
        (5, OK, None, true),
    ] {
        let offset = page * 0x1000;
        let tag = sim.dma_write(MEMORY + offset as u64, &[0xa5; 8]);
        let (found, got) = dma_done(&mut sim, &mut guest, DMA_WRITE_DONE);
        assert_eq!((found, got), (tag, status), "page {page}");
        assert_eq!(
            errors(&mut guest),
            error.into_iter().collect::<Vec<_>>(),
            "page {page}"
        );
        let is_there = guest.memory()[offset..offset + 8] == [0xa5; 8];
        assert_eq!(is_there, written, "page {page}");
    }
    sim.finish();
}

/// An answer that is late holds those of its kind that come after it, and no others.
#[test]
fn late_dma_stays_in_order() {
    let folder = Folder::new();
    let plan = "late on=dma-read nth=2 delay=50ms; late on=dma-write nth=1 delay=30ms
                ur on=dma-read nth=3";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    let read = |sim: &mut Simulator| i64::from(sim.call(&format!("dma_read {MEMORY} 8")));
    let begin = Instant::now();
    let reads: Vec<i64> = (0..4).map(|_| read(&mut sim)).collect();
    let writes: Vec<i64> = (0..2).map(|_| sim.dma_write(MEMORY, &[1; 8])).collect();
    let (mut got_reads, mut got_writes) = (Vec::new(), Vec::new());
    while got_reads.len() < 4 || got_writes.len() < 2 {
        assert!(begin.elapsed() < PATIENCE, "{got_reads:?} {got_writes:?}");
        guest.pump_for(Duration::from_micros(200)).unwrap();
        let now = begin.elapsed().as_millis();
        match sim.poll(READY) {
            DMA_READ_DONE => {
                let r = sim.results("get_dma_read");
                got_reads.push((r[1], r[2], now));
                if r[2] == OK {
                    sim.beat(r[1], 0, 8);
                }
            }
            DMA_WRITE_DONE => {
                let r = sim.results("get_dma_write");
                got_writes.push((r[1], r[2], now));
            }
            _ => {}
        }
    }
    let order =
        |got: &[(i64, i64, u128)]| -> Vec<(i64, i64)> { got.iter().map(|g| (g.0, g.1)).collect() };
    let statuses = [OK, OK, FAULT, OK];
    let expected: Vec<_> = reads.into_iter().zip(statuses).collect();
    assert_eq!(order(&got_reads), expected);
    assert_eq!(order(&got_writes), [(writes[0], OK), (writes[1], OK)]);
    assert!(got_reads[1].2 >= 50, "{got_reads:?}");
    assert!(got_writes[0].2 >= 30, "{got_writes:?}");
    // What comes now goes as before.
    let tag = read(&mut sim);
    assert_eq!(dma_done(&mut sim, &mut guest, DMA_READ_DONE).0, tag);
    sim.finish();
}

#[test]
fn vectors_lost_doubled_late_and_of_nobody() {
    let folder = Folder::new();
    let plan =
        "lose on=msi vector=0 nth=2; double on=msi vector=1; late on=msi vector=2 delay=400ms
                spurious on=write offset=0x40 raise=3";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    for vector in [0, 0, 0, 1, 2] {
        assert_eq!(sim.call(&format!("msix {vector}")), 0);
    }
    let vectors = |guest: &mut GuestEndpoint, count: usize| -> Vec<u16> {
        let begin = Instant::now();
        let mut vectors = Vec::new();
        while vectors.len() < count && begin.elapsed() < PATIENCE {
            guest.pump_for(Duration::from_millis(1)).unwrap();
            vectors.extend(guest.take_activity().iter().filter_map(|a| match a {
                Activity::Msix { vector } => Some(*vector),
                _ => None,
            }));
        }
        vectors
    };
    assert_eq!(vectors(&mut guest, 4), [0, 0, 1, 1]);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(420) {
        assert_eq!(sim.poll(READY), NONE);
    }
    guest.write(0, 0x40, 4, 0, PATIENCE).unwrap();
    sim.next_mmio(MMIO_WRITE);
    assert_eq!(vectors(&mut guest, 2), [2, 3]);
    guest.pump_for(Duration::from_millis(20)).unwrap();
    assert!(guest.take_activity().is_empty());
    assert_eq!(sim.stat(4), 5, "vectors that the RTL has raised");
    sim.finish();
}

#[test]
fn a_dead_card_and_what_brings_it_back() {
    let folder = Folder::new();
    let (mut sim, mut guest) = with_plan(&folder, "dead on=write offset=0x80 until=reset");
    guest.write(0, 0x80, 4, 0, PATIENCE).unwrap();
    guest.write(0, 0x84, 4, 0, PATIENCE).unwrap();
    let tag = guest.start_read(0, 0, 4).unwrap();
    let (result, errors) = polled(&mut sim, &mut guest, tag);
    assert!(
        refused(&result) && errors.is_empty(),
        "{result:?} {errors:?}"
    );
    guest.flush(PATIENCE).unwrap();
    assert_eq!(sim.call("msix 0"), 0);
    let dma = sim.dma_write(MEMORY, &[9; 4]);
    assert_eq!(dma_done(&mut sim, &mut guest, DMA_WRITE_DONE).0, dma);
    guest.pump_for(Duration::from_millis(20)).unwrap();
    assert_eq!(guest.take_interrupts(0), 0);
    assert_eq!(guest.memory()[..4], [0; 4]);

    guest.start_reset(ResetKind::Hot).unwrap();
    sim.reset();
    assert_eq!(sim.call("reset_done"), 0);
    let tag = guest.start_read(0, 0, 4).unwrap();
    answer(&mut sim, 3);
    assert_eq!(polled(&mut sim, &mut guest, tag).0.unwrap(), 3);
    assert_eq!(sim.call("msix 0"), 0);
    guest.wait_msix(0, PATIENCE).unwrap();
    sim.finish();
}

#[test]
fn a_reset_that_takes_long() {
    let folder = Folder::new();
    let (mut sim, mut guest) = with_plan(&folder, "late on=reset delay=300clocks times=1");
    for late in [true, false] {
        guest.start_reset(ResetKind::Flr).unwrap();
        let tag = guest.start_read(0, 0, 4).unwrap();
        sim.reset();
        assert_eq!(sim.call("reset_done"), 0);
        if late {
            // It makes no requests, and gets none.
            sim.fails("msix 0", EAGAIN, &["the reset is not over yet"]);
            assert_eq!(sim.call("polls 15 250"), 0);
            guest.pump_for(Duration::from_millis(20)).unwrap();
            assert!(!guest.take_activity().contains(&Activity::ResetDone));
        }
        answer(&mut sim, 4);
        assert_eq!(polled(&mut sim, &mut guest, tag).0.unwrap(), 4);
        assert_eq!(sim.call("msix 0"), 0);
        guest.wait_msix(0, PATIENCE).unwrap();
    }
    sim.finish();
}

/// What is held when a reset comes is void.
#[test]
fn a_reset_in_the_middle() {
    let folder = Folder::new();
    let plan =
        "late on=read delay=1s; late on=msi delay=1s; lose on=dma-read delay=1s; lose on=write";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    guest.start_read(0, 0, 4).unwrap();
    answer(&mut sim, 4);
    assert_eq!(sim.call("msix 1"), 0);
    assert!(sim.call(&format!("dma_read {MEMORY} 8")) > 0);
    guest.write(0, 0, 4, 0, PATIENCE).unwrap();
    guest.start_reset(ResetKind::Flr).unwrap();
    sim.reset();
    assert_eq!(sim.call("reset_done"), 0);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(1100) {
        assert_eq!(sim.poll(READY), NONE);
        guest.pump_for(Duration::from_millis(5)).unwrap();
    }
    assert_eq!(guest.take_interrupts(1), 0);
    assert!(guest.down().is_none());
    sim.finish();
}

#[test]
fn the_link_goes_down_and_up() {
    let folder = Folder::new();
    let (mut sim, mut guest) = with_plan(&folder, "link-down on=read offset=0x30 for=150ms");
    let begin = Instant::now();
    guest.start_read(0, 0x30, 4).unwrap();
    sim.link(false);
    guest
        .pump_until("the end of the session", PATIENCE, |g| g.down().is_some())
        .unwrap();
    // Nobody gets a session before the time is over.
    drop(guest);
    let mut guest = connect(&mut sim, &folder.endpoint("s"));
    assert!(begin.elapsed() >= Duration::from_millis(150));
    let tag = guest.start_read(0, 0x30, 4).unwrap();
    answer(&mut sim, 8);
    assert_eq!(polled(&mut sim, &mut guest, tag).0.unwrap(), 8);
    sim.finish();
}

/// A plan that the host gives at run time, and one that it may not.
#[test]
fn plans_of_the_host() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut guest = connect(&mut sim, &endpoint);
    let give = |sim: &mut Simulator, guest: &mut GuestEndpoint, plan: &str| {
        guest.take_activity();
        guest.faults(plan).unwrap();
        let begin = Instant::now();
        loop {
            assert_eq!(sim.poll(READY), NONE);
            guest.pump_for(Duration::from_millis(1)).unwrap();
            if let Some(Activity::FaultsDone { refused, text }) = guest.take_activity().pop() {
                return (refused, text);
            }
            assert!(begin.elapsed() < PATIENCE);
        }
    };
    let ok = |text: &str| (false, text.to_owned());
    assert_eq!(give(&mut sim, &mut guest, ""), ok("no faults"));
    let plan = "seed=9; ur on=read; ca on=write card=other; late on=read nth=1 delay=1s";
    assert_eq!(give(&mut sim, &mut guest, plan), ok("2 faults, seed 9"));
    let read = |sim: &mut Simulator, guest: &mut GuestEndpoint| {
        let tag = guest.start_read(0, 0, 4).unwrap();
        polled(sim, guest, tag).0
    };
    assert!(refused(&read(&mut sim, &mut guest)));
    // What is no plan changes nothing.
    let (no, text) = give(&mut sim, &mut guest, "ur on=read; ur");
    assert!(no && text.contains("line 1: on is missing"), "{text}");
    assert!(refused(&read(&mut sim, &mut guest)));
    // DMA that is under way when the first plan for it comes.
    let tag = i64::from(sim.call(&format!("dma_read {MEMORY} 8")));
    assert_eq!(
        give(&mut sim, &mut guest, "late on=dma-read delay=1us"),
        ok("1 fault, seed 1")
    );
    assert_eq!(dma_done(&mut sim, &mut guest, DMA_READ_DONE).0, tag);
    sim.beat(tag, 0, 8);
    assert_eq!(give(&mut sim, &mut guest, "# none"), ok("no faults"));
    let tag = guest.start_read(0, 0, 4).unwrap();
    answer(&mut sim, 2);
    assert_eq!(polled(&mut sim, &mut guest, tag).0.unwrap(), 2);
    let text = sim.finish();
    assert!(text.contains("fault of line 1: ur, read #"), "{text}");
    assert!(text.contains("of BAR 0 offset 0x0"), "{text}");
}

/// A host of an earlier version is told of no error, and sees all the rest.
#[test]
fn an_older_host_hears_of_no_error() {
    let folder = Folder::new();
    let (file, endpoint) = (folder.path("plan"), folder.endpoint("s"));
    fs::write(&file, "ur on=read").unwrap();
    let mut sim = Simulator::start();
    sim.usual(&endpoint);
    assert_eq!(sim.call(&format!("set_faults {}", file.display())), 0);
    assert_eq!(sim.call("start"), 0);
    let raw = Raw::connect(&endpoint);
    let mut init = raw.encode(&Frame::Init(Init {
        features: 0,
        write_window: 64,
        max_data: 65536,
        name: "older host",
    }));
    init[5] = 3;
    raw.send(&init);
    raw.wait(&mut sim);
    raw.config();
    raw.put(&Frame::Ready);
    sim.link(true);
    raw.put(&Frame::MmioRead {
        tag: 1,
        bar: 0,
        len: 4,
        offset: 0,
    });
    raw.wait(&mut sim);
    raw.frame(|frame| {
        assert!(matches!(
            frame,
            Frame::MmioReadDone {
                tag: 1,
                status: Status::Refused,
                ..
            }
        ));
    });
    sim.finish();
}

#[test]
fn faults_are_in_the_record() {
    let folder = Folder::new();
    let (plan, record) = (folder.path("plan"), folder.path("record"));
    let endpoint = folder.endpoint("s");
    fs::write(
        &plan,
        "\nur on=read offset=0\nlose on=msi\nlate on=reset delay=1clocks",
    )
    .unwrap();
    let mut sim = Simulator::start();
    assert_eq!(sim.call(&format!("record {} 0 1", record.display())), 0);
    sim.usual(&endpoint);
    assert_eq!(sim.call(&format!("set_faults {}", plan.display())), 0);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &endpoint);
    let tag = guest.start_read(0, 0, 4).unwrap();
    polled(&mut sim, &mut guest, tag).0.unwrap_err();
    assert_eq!(sim.call("msix 1"), 0);
    guest.start_reset(ResetKind::Flr).unwrap();
    sim.reset();
    assert_eq!(sim.call("reset_done"), 0);
    sim.finish();
    let all = entries(&record);
    let find = |kind: Kind| all.iter().find(|e| e.0.kind() == Some(kind)).unwrap().0;
    let faults: Vec<_> = all
        .iter()
        .filter(|e| e.0.kind() == Some(Kind::Fault))
        .map(|e| (e.0.number, e.0.address, e.0.data))
        .collect();
    assert_eq!(
        faults,
        [
            (find(Kind::MmioRead).number, 1, 2),
            (find(Kind::Msix).number, 4, 3),
            (find(Kind::Reset).number, 5, 4)
        ]
    );
    let done = find(Kind::MmioReadDone);
    assert_eq!((done.number, done.status), (find(Kind::MmioRead).number, 1));
}

/// The levels of the pin that the guest has been told, in this time of the simulator.
fn levels(sim: &mut Simulator, guest: &mut GuestEndpoint, time: Duration) -> Vec<bool> {
    let begin = Instant::now();
    let mut levels = Vec::new();
    while begin.elapsed() < time {
        assert_eq!(sim.poll(READY), NONE);
        guest.pump_for(Duration::from_millis(1)).unwrap();
        levels.extend(guest.take_activity().iter().filter_map(|a| match a {
            Activity::Intx { level } => Some(*level),
            _ => None,
        }));
    }
    levels
}

#[test]
fn a_pin_that_is_lost_late_and_of_nobody() {
    let folder = Folder::new();
    let plan =
        "lose on=intx level=1 nth=1; lose on=intx level=0 nth=3; late on=intx nth=7 delay=60ms
                spurious on=write offset=0x40 raise=intx for=40ms";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    let short = Duration::from_millis(20);
    let set = |sim: &mut Simulator, guest: &mut GuestEndpoint, level: u8| {
        assert_eq!(sim.call(&format!("intx {level}")), 0);
        levels(sim, guest, short)
    };
    // The first one is lost, and to the guest nothing changes when it is over.
    assert_eq!(set(&mut sim, &mut guest, 1), []);
    assert_eq!(set(&mut sim, &mut guest, 0), []);
    assert_eq!(set(&mut sim, &mut guest, 1), [true]);
    // The same level again is no change.
    assert_eq!(set(&mut sim, &mut guest, 1), []);
    assert_eq!(set(&mut sim, &mut guest, 0), [false]);
    assert_eq!(set(&mut sim, &mut guest, 1), [true]);
    // Its end is lost: it stays up until the next one ends.
    assert_eq!(set(&mut sim, &mut guest, 0), []);
    // The seventh change is late, and the eighth stays behind it.
    let begin = Instant::now();
    assert_eq!(set(&mut sim, &mut guest, 1), []);
    assert_eq!(set(&mut sim, &mut guest, 0), []);
    let rest = Duration::from_millis(100);
    assert_eq!(levels(&mut sim, &mut guest, rest), [false]);
    assert!(begin.elapsed() >= Duration::from_millis(60));

    guest.write(0, 0x40, 4, 0, PATIENCE).unwrap();
    let begin = Instant::now();
    sim.next_mmio(MMIO_WRITE);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(levels(&mut sim, &mut guest, Duration::from_millis(1)));
        assert!(begin.elapsed() < PATIENCE, "{seen:?}");
    }
    assert_eq!(seen, [true, false]);
    assert!(begin.elapsed() >= Duration::from_millis(40));
    let text = sim.finish();
    assert!(text.contains("lose, intx #"), "{text}");
    assert!(text.contains(" level 1"), "{text}");
}

#[test]
fn a_pin_that_is_stuck() {
    let folder = Folder::new();
    let plan = "stuck on=intx level=0 nth=1 at=1 until=reset; stuck on=write offset=0x40 at=0";
    let (mut sim, mut guest) = with_plan(&folder, plan);
    let short = Duration::from_millis(20);
    for (level, told) in [(1, &[true][..]), (0, &[]), (1, &[]), (0, &[])] {
        assert_eq!(sim.call(&format!("intx {level}")), 0);
        assert_eq!(levels(&mut sim, &mut guest, short), told);
    }
    guest.start_reset(ResetKind::Flr).unwrap();
    sim.reset();
    assert_eq!(sim.call("reset_done"), 0);
    assert_eq!(levels(&mut sim, &mut guest, short), []);
    for (level, told) in [(1, true), (0, false), (1, true)] {
        assert_eq!(sim.call(&format!("intx {level}")), 0);
        assert_eq!(levels(&mut sim, &mut guest, short), [told]);
    }
    // At low, and a reset does not free it; another plan does.
    guest.write(0, 0x40, 4, 0, PATIENCE).unwrap();
    sim.next_mmio(MMIO_WRITE);
    assert_eq!(levels(&mut sim, &mut guest, short), [false]);
    guest.start_reset(ResetKind::Flr).unwrap();
    sim.reset();
    assert_eq!(sim.call("reset_done"), 0);
    assert_eq!(sim.call("intx 1"), 0);
    assert_eq!(levels(&mut sim, &mut guest, short), []);
    guest.faults("").unwrap();
    assert_eq!(levels(&mut sim, &mut guest, short), [true]);
    sim.finish();
}

/// A simulator with a NIC or serial channel and a plan from the environment, and a record of it.
fn with_channel(folder: &Folder, plan: &str, open: &str) -> Simulator {
    let (file, record) = (folder.path("plan"), folder.path("record"));
    fs::write(&file, plan).unwrap();
    let mut sim = Simulator::start_with(
        Language::C99,
        &[
            ("ACCELERATOR_FAULTS", file.to_str().unwrap()),
            ("ACCELERATOR_RECORD", record.to_str().unwrap()),
            ("ACCELERATOR_RECORD_DATA", "1"),
        ],
    );
    let line = format!("{open}_open {} {} chan", sim.slot, folder.endpoint("c"));
    assert_eq!(sim.raw(&line), "1", "{}", sim.null_error());
    sim
}

fn connect_channel(sim: &mut Simulator, folder: &Folder, kind: ChannelKind) -> HostPeer {
    let mut host = HostPeer::open(&folder.endpoint("c"), kind, [2, 0, 0, 0, 0, 1], 8).unwrap();
    let poll = match kind {
        ChannelKind::Nic => "nic_poll",
        ChannelKind::Serial => "uart_poll",
    };
    let begin = Instant::now();
    while !host.session.is_up() {
        sim.call(poll);
        host.pump(Duration::from_millis(1)).unwrap();
        assert!(begin.elapsed() < PATIENCE, "no session");
    }
    host
}

/// The first bytes of the frames that the RTL finds, and of those that the host does, until there
/// are so many, which a busy machine may need long for, or that time is over.
fn frames(
    sim: &mut Simulator,
    host: &mut HostPeer,
    count: usize,
    time: Duration,
) -> (Vec<i64>, Vec<u8>) {
    let begin = Instant::now();
    let (mut rtl, mut there) = (Vec::new(), Vec::new());
    while begin.elapsed() < time && rtl.len() + there.len() < count {
        if sim.call("nic_poll") & 1 != 0 {
            assert_eq!(sim.call("nic_rx_begin"), 60);
            rtl.push(
                i64::from_str_radix(
                    &sim.raw(&format!("nic_rx_beat {} 1", sim.slot))
                        .split_whitespace()
                        .nth(1)
                        .unwrap()[..2],
                    16,
                )
                .unwrap(),
            );
        }
        host.pump(Duration::from_millis(1)).unwrap();
        while let Some(frame) = host.take_frame().unwrap() {
            there.push(frame[0]);
        }
    }
    (rtl, there)
}

#[test]
fn frames_lost_doubled_late_and_corrupted() {
    let folder = Folder::new();
    let plan = "lose on=nic-rx nth=2; double on=nic-rx nth=3; late on=nic-rx nth=4 delay=600ms
                corrupt on=nic-rx nth=5 xor=0x80; lose on=nic-rx card=other
                lose on=nic-rx nth=7-106; double on=nic-rx nth=107-306
                lose on=nic-tx nth=1; double on=nic-tx nth=2; late on=nic-tx nth=3 delay=600ms
                corrupt on=nic-tx nth=4 value=0x77; lose on=nic-tx length=61-9216";
    let mut sim = with_channel(&folder, plan, "nic");
    let mut host = connect_channel(&mut sim, &folder, ChannelKind::Nic);
    let begin = Instant::now();
    for first in 1..=6_u8 {
        let mut frame = [0; 60];
        frame[0] = first;
        assert!(host.send_frame(&frame).unwrap());
    }
    let (got, _) = frames(&mut sim, &mut host, 5, PATIENCE);
    assert_eq!(got, [1, 3, 3, 5 ^ 0x80, 6]);
    let (got, _) = frames(&mut sim, &mut host, 1, PATIENCE);
    assert_eq!(got, [4]);
    assert!(begin.elapsed() >= Duration::from_millis(600));
    let (got, _) = frames(&mut sim, &mut host, 1, Duration::from_millis(30));
    assert!(got.is_empty(), "{got:?}");
    // The host gets its credit for frames that are lost, and for none of them twice, which would
    // end the session.
    let (mut sent, mut rtl) = (0, 0);
    while sent < 300 || rtl < 400 {
        let mut frame = [0; 60];
        frame[0] = 9;
        while sent < 300 && host.send_frame(&frame).unwrap() {
            sent += 1;
        }
        let (got, _) = frames(&mut sim, &mut host, usize::MAX, Duration::from_millis(1));
        rtl += got.len();
        assert!(begin.elapsed() < PATIENCE, "{sent} were sent, {rtl} came");
    }
    assert_eq!(rtl, 400);
    assert!(host.inbox.down.is_none());

    let send = |sim: &mut Simulator, first: u8, bytes: usize| {
        let mut hex = format!("{first:02x}");
        hex.extend(std::iter::repeat_n("00", 63));
        while sim.call("nic_poll") & 2 == 0 {}
        for at in (0..bytes).step_by(64) {
            let count = (bytes - at).min(64);
            let last = i32::from(at + count == bytes);
            assert_eq!(sim.call(&format!("nic_tx_beat {count} {hex} {last}")), 0);
        }
    };
    for first in 1..=5 {
        send(&mut sim, first, 60);
    }
    send(&mut sim, 6, 61);
    let (_, got) = frames(&mut sim, &mut host, 4, PATIENCE);
    assert_eq!(got, [2, 2, 0x77, 5]);
    let (_, got) = frames(&mut sim, &mut host, 1, PATIENCE);
    assert_eq!(got, [3]);
    let (_, got) = frames(&mut sim, &mut host, 1, Duration::from_millis(30));
    assert!(got.is_empty(), "{got:?}");
    assert_eq!(sim.call("nic_close"), 0);
    let text = sim.end();
    assert!(text.contains("fault of line 1: lose, nic-rx #"), "{text}");
    assert!(text.contains("of 60 bytes"), "{text}");

    // What the RTL has taken, and what it has given, with the faults of each.
    let all = entries(&folder.path("record"));
    let of = |kind: Kind| -> Vec<u64> {
        let kind = all.iter().filter(|e| e.0.kind() == Some(kind));
        kind.map(|e| e.0.data & 0xff).collect()
    };
    assert_eq!(of(Kind::NicRx)[..6], [1, 3, 3, 5 ^ 0x80, 6, 4]);
    assert_eq!(of(Kind::NicRx)[6..], [9; 400]);
    assert_eq!(of(Kind::NicTx), [1, 2, 3, 4, 5, 6]);
    let faults: Vec<u64> = all
        .iter()
        .filter(|e| e.0.kind() == Some(Kind::Fault))
        .map(|e| e.0.address)
        .collect();
    assert_eq!(faults[..4], [4, 6, 5, 8]);
    assert_eq!(faults[4..104], [4; 100]);
    assert_eq!(faults[104..304], [6; 200]);
    assert_eq!(faults[304..], [4, 6, 5, 8, 4]);
    let number = |kind: Kind, data: u64| {
        let found = all
            .iter()
            .find(|e| e.0.kind() == Some(kind) && e.0.data & 0xff == data);
        found.unwrap().0.number
    };
    let corrupted = all
        .iter()
        .find(|e| e.0.kind() == Some(Kind::Fault) && e.0.address == 8);
    assert_eq!(corrupted.unwrap().0.number, number(Kind::NicRx, 5 ^ 0x80));
}

#[test]
fn bytes_lost_and_corrupted() {
    let folder = Folder::new();
    let plan = "lose on=serial-rx nth=2; corrupt on=serial-rx nth=4 xor=0x20
                lose on=serial-rx nth=6-10005
                lose on=serial-tx nth=1; corrupt on=serial-tx nth=3 value=0x2a";
    let mut sim = with_channel(&folder, plan, "uart");
    let mut host = connect_channel(&mut sim, &folder, ChannelKind::Serial);
    assert_eq!(host.send_bytes(b"abcde").unwrap(), 5);
    let mut got = Vec::new();
    let begin = Instant::now();
    while got.len() < 4 {
        if sim.call("uart_poll") & 1 != 0 {
            got.push(sim.call("uart_get") as u8);
        }
        assert!(begin.elapsed() < PATIENCE, "{got:?}");
    }
    assert_eq!(got, b"acDe");
    for byte in b"vwxyz" {
        assert_eq!(sim.call(&format!("uart_put {byte}")), 1);
    }
    let mut there = Vec::new();
    while there.len() < 4 {
        sim.call("uart_poll");
        host.pump(Duration::from_millis(1)).unwrap();
        there.extend(host.take_bytes(100).unwrap());
        assert!(begin.elapsed() < PATIENCE, "{there:?}");
    }
    assert_eq!(there, b"w*yz");
    // The host gets its credit for bytes that are lost.
    let mut left = vec![b'-'; 10_000];
    left.push(b'!');
    let mut got = -1;
    while got < 0 {
        let sent = host.send_bytes(&left).unwrap();
        left.drain(..sent);
        if sim.call("uart_poll") & 1 != 0 {
            got = sim.call("uart_get");
        }
        host.pump(Duration::from_millis(1)).unwrap();
        assert!(begin.elapsed() < PATIENCE, "{} bytes are left", left.len());
    }
    assert_eq!(got, i32::from(b'!'));
    assert_eq!(sim.call("uart_close"), 0);
    sim.end();
}

/// The plan that the host gives to a bridge is for the channels of its simulator too.
#[test]
fn channels_have_the_plan_of_the_bridge() {
    let folder = Folder::new();
    let (mut sim, mut guest) = with_plan(&folder, "ur on=read; lose on=serial-tx nth=2");
    let card = std::mem::replace(&mut sim.slot, 1);
    let line = format!("uart_open 1 {} uart", folder.endpoint("c"));
    assert_eq!(sim.raw(&line), "1", "{}", sim.null_error());
    let mut host = connect_channel(&mut sim, &folder, ChannelKind::Serial);
    // What comes back, with as much as is expected, and what else there is soon after.
    let mut back = |sim: &mut Simulator, text: &str, expected: &str| {
        for byte in text.bytes() {
            assert_eq!(sim.call(&format!("uart_put {byte}")), 1);
        }
        let mut begin = Instant::now();
        let mut there = Vec::new();
        let mut limit = PATIENCE;
        while begin.elapsed() < limit {
            if limit == PATIENCE && there.len() >= expected.len() {
                (begin, limit) = (Instant::now(), Duration::from_millis(20));
            }
            sim.call("uart_poll");
            host.pump(Duration::from_millis(1)).unwrap();
            there.extend(host.take_bytes(100).unwrap());
        }
        String::from_utf8(there).unwrap()
    };
    assert_eq!(back(&mut sim, "abcd", "acd"), "acd");
    for (plan, said, text) in [
        (
            "corrupt on=serial-tx value=0x2b; lose on=msi",
            "2 faults",
            "++",
        ),
        ("corrupt on=serial-tx value=0x2b card=card", "1 fault", "ab"),
        ("lose on=serial-tx nth=1", "1 fault", "b"),
        ("", "no faults", "ab"),
    ] {
        sim.slot = card;
        guest.faults(plan).unwrap();
        let begin = Instant::now();
        loop {
            assert_eq!(sim.poll(READY), NONE);
            guest.pump_for(Duration::from_millis(1)).unwrap();
            if let Some(Activity::FaultsDone { refused, text }) = guest.take_activity().pop() {
                assert!(!refused && text.starts_with(said), "{plan}: {text}");
                break;
            }
            assert!(begin.elapsed() < PATIENCE);
        }
        sim.slot = 1;
        assert_eq!(back(&mut sim, "ab", text), text, "{plan}");
    }
    assert_eq!(sim.call("uart_close"), 0);
    sim.slot = card;
    sim.finish();
}
