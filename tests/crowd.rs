// SPDX-License-Identifier: GPL-2.0-or-later

//! More simulators than processors, all of which look for what a host may send: whoever has
//! nothing to do lets the others run, so that a read does not wait for their time slices.
//!
//! The simulators are threads with the DPI library, the host is the device's link. Time is not
//! asserted, but how often a simulator has polled between two reads: a few times if it gives
//! way, and for whole time slices if it does not.

use std::{
    path::PathBuf,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use accelerator_dpi::{bridge::Bridge, error::Result, order::READY_ALL, registry, run::Event};
use accelerator_pcie::link::{Carrier, Link, Root, Settings, Waiter, Wanted};
use accelerator_protocol::wire::Status;

/// Simulators on one processor.
const CARDS: usize = 3;
/// Reads of each in a round.
const READS: usize = 20;
/// Polls between two reads: the median of a round in which they give way has a few, and a time
/// slice has some ten thousand.
const FEW: u64 = 1000;
/// How long there may be no such round: others may compute on this machine.
const SOON: Duration = Duration::from_secs(40);

/// The processors that this thread may use.
fn processors() -> Vec<usize> {
    // SAFETY: all zeros is a valid set, which is valid for its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set),
            0
        );
        (0..libc::CPU_SETSIZE as usize)
            .filter(|&cpu| libc::CPU_ISSET(cpu, &set))
            .collect()
    }
}

/// Keeps this thread on one.
fn stay_on(processor: usize) {
    // SAFETY: as above, and the number is one that was in a set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        assert_eq!(
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set),
            0
        );
    }
}

/// The machine has nothing but cards.
struct Plain;

impl Root for Plain {
    fn dma_read(&self, _: u64, _: &mut [u8]) -> Status {
        Status::Fault
    }
    fn dma_write(&self, _: u64, _: &[u8], _: Option<&[u8]>) -> Status {
        Status::Fault
    }
    fn msix(&self, _: u16) -> std::result::Result<(), u16> {
        Ok(())
    }
    fn intx(&self, _: bool) {}
    fn link(&self, _: bool) {}
    fn other_card(&self) {}
    fn may_wait(&self) -> bool {
        true
    }
    fn waiting(&self, wait: &mut dyn FnMut(Waiter)) {
        wait(Waiter::Vcpu);
    }
    fn holds_lock(&self) -> bool {
        false
    }
    fn with_lock(&self, f: &mut dyn FnMut()) {
        f();
    }
    fn dma_locks(&self) -> bool {
        false
    }
    fn quitting(&self) -> bool {
        false
    }
}

/// What others see of a simulator.
#[derive(Default)]
struct Shown {
    stop: AtomicBool,
    /// Polls before each read.
    polls: Mutex<Vec<u64>>,
}

/// A simulator: polls, and answers reads with what it was read for.
fn simulate(endpoint: &str, processor: usize, shown: &Shown) -> Result<()> {
    let handle = registry::open(|words| Ok(Bridge::new("crowd", endpoint.into(), words)))?;
    let with = |f: &mut dyn FnMut(&mut Bridge) -> Result<()>| registry::with(handle, "crowd", f);
    with(&mut |b| {
        b.set_id(0x1234, 0xacce, 0x1234, 1, 0x12_0000, 1)?;
        b.set_bar(0, 4096, 0, 0)?;
        b.start()
    })?;
    stay_on(processor);
    let mut polls = 0;
    while !shown.stop.load(Ordering::Relaxed) {
        polls += 1;
        if registry::quiet::<Bridge>(handle) {
            continue;
        }
        let mut event = Event::None;
        with(&mut |b| {
            event = b.poll(READY_ALL as i32)?;
            Ok(())
        })?;
        match event {
            Event::MmioRead => {
                with(&mut |b| {
                    let m = b.get_mmio()?;
                    b.mmio_read_done(m.tag, 0, m.addr)
                })?;
                shown.polls.lock().unwrap().push(std::mem::take(&mut polls));
            }
            Event::Reset => with(&mut |b| {
                b.get_reset().map(|_| ())?;
                b.reset_done()
            })?,
            Event::LinkUp | Event::LinkDown => with(&mut |b| b.get_link().map(|_| ()))?,
            _ => {}
        }
    }
    registry::close::<Bridge>(handle)
}

/// A simulator and the link to it, each with its thread.
struct Card {
    link: Arc<Link>,
    shown: Arc<Shown>,
    threads: Vec<JoinHandle<()>>,
}

impl Card {
    fn new(endpoint: String, processor: usize) -> Self {
        let shown = Arc::new(Shown::default());
        let simulator = {
            let (endpoint, shown) = (endpoint.clone(), Arc::clone(&shown));
            thread::spawn(move || simulate(&endpoint, processor, &shown).unwrap())
        };
        let settings = Settings {
            name: "crowd".into(),
            endpoint,
            keys: None,
            write_window: 4,
            posted_writes: true,
            completion_timeout: None,
            other_timeout: Duration::from_secs(1),
            warn_after: SOON,
            shared_memory: Wanted::On,
            look: Duration::from_micros(50),
        };
        let link = Link::new(settings, Box::new(Plain)).unwrap();
        let config = link.handshake(SOON).unwrap();
        link.accept(config);
        let served = Arc::clone(&link);
        let server = thread::spawn(move || {
            while served.wait_ready() {
                served.service();
            }
        });
        let begin = Instant::now();
        while link.carrier() == Carrier::None {
            assert!(begin.elapsed() < SOON, "the link does not come up");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(link.carrier(), Carrier::Memory);
        Self {
            link,
            shown,
            threads: vec![simulator, server],
        }
    }

    fn end(self) {
        self.shown.stop.store(true, Ordering::Relaxed);
        self.link.close();
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn simulators_that_wait_let_each_other_run() {
    let name = format!("accelerator-crowd-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    std::fs::create_dir(&folder.0).unwrap();
    let processors = processors();
    let (first, last) = (processors[0], *processors.last().unwrap());
    let cards: Vec<_> = (0..CARDS)
        .map(|i| Card::new(format!("ipc://{}/{i}", folder.0.display()), last))
        .collect();
    stay_on(first);
    let begin = Instant::now();
    let mut rounds = Vec::new();
    loop {
        for i in 0..CARDS * READS {
            let addr = 8 * i as u64;
            assert_eq!(cards[i % CARDS].link.read(0, addr, 8), addr);
        }
        let mut polls: Vec<u64> = cards
            .iter()
            .flat_map(|card| std::mem::take(&mut *card.shown.polls.lock().unwrap()))
            .collect();
        polls.sort_unstable();
        let median = polls[polls.len() / 2];
        rounds.push(median);
        if median < FEW {
            break;
        }
        assert!(
            begin.elapsed() < SOON,
            "each of {CARDS} simulators keeps its processor from the others: polls between two \
             reads, the median of each round: {rounds:?}"
        );
    }
    println!("polls between two reads, the median of each round: {rounds:?}");
    cards.into_iter().for_each(Card::end);
}
