// SPDX-License-Identifier: GPL-2.0-or-later

//! The link without QEMU: a stand-in for the machine on one side, the HDL
//! endpoint of `accelerator-peers` on the other.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    net::TcpListener,
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering},
        Arc, Mutex, MutexGuard,
    },
    thread,
    time::{Duration, Instant},
};

use accelerator_pcie::{
    channel::Channel,
    link::{Link, LinkError, Root, Settings, Waiter, Wanted},
};
use accelerator_peers::{
    hdl::{sample_config, Event, HdlEndpoint, RawEndpoint},
    PATIENCE,
};
use accelerator_protocol::{
    channel::ChannelKind,
    config::Config,
    device::MAX_DMA,
    function::{Function, UNMAPPED},
    host::{MAX_CLOCKS, MAX_READS, MAX_RESETS},
    wire::{Frame, Reason, ResetKind, Status},
};

/// With everything that a card can have.
fn card() -> Config {
    Config {
        intx_pin: 1,
        clock_period_ps: 4000,
        ..sample_config(4)
    }
}

const SOON: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    memory: Mutex<Vec<u8>>,
    interrupts: AtomicU32,
    intx: Mutex<Vec<bool>>,
    up: AtomicBool,
    other_cards: AtomicU32,
    quitting: AtomicBool,
    unlocked: AtomicU32,
}

/// The machine's lock, which all of them share, as QEMU's devices do.
static LOCK: Mutex<()> = Mutex::new(());

thread_local! {
    /// If this thread holds it.
    static HELD: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
    /// This thread's accesses are no vCPU's.
    static OTHER: Cell<bool> = const { Cell::new(false) };
}

fn holds_lock() -> bool {
    HELD.with_borrow(Option::is_some)
}

fn locked<R>(f: impl FnOnce() -> R) -> R {
    let guard = LOCK.lock().unwrap_or_else(|e| e.into_inner());
    HELD.set(Some(guard));
    let result = f();
    HELD.take();
    result
}

/// An access in the middle of something that holds the machine's lock.
fn as_other<R>(f: impl FnOnce() -> R) -> R {
    OTHER.set(true);
    let result = locked(f);
    OTHER.set(false);
    result
}

struct Machine(Arc<State>);

impl Root for Machine {
    fn dma_read(&self, addr: u64, data: &mut [u8]) -> Status {
        match self
            .0
            .memory
            .lock()
            .unwrap()
            .get(addr as usize..addr as usize + data.len())
        {
            Some(bytes) => {
                data.copy_from_slice(bytes);
                Status::Ok
            }
            None => Status::Fault,
        }
    }

    fn dma_write(&self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> Status {
        let mut memory = self.0.memory.lock().unwrap();
        let Some(bytes) = memory.get_mut(addr as usize..addr as usize + data.len()) else {
            return Status::Fault;
        };
        for (i, byte) in bytes.iter_mut().enumerate() {
            if enables.map_or(true, |e| e[i / 8] >> (i % 8) & 1 != 0) {
                *byte = data[i];
            }
        }
        Status::Ok
    }

    fn msix(&self, _vector: u16) -> Result<(), u16> {
        assert!(holds_lock());
        self.0.interrupts.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn intx(&self, level: bool) {
        self.0.intx.lock().unwrap().push(level);
    }

    fn link(&self, up: bool) {
        self.0.up.store(up, Ordering::SeqCst);
    }

    fn other_card(&self) {
        self.0.other_cards.fetch_add(1, Ordering::SeqCst);
    }

    fn may_wait(&self) -> bool {
        !OTHER.get()
    }

    fn waiting(&self, wait: &mut dyn FnMut(Waiter)) {
        if OTHER.get() {
            wait(Waiter::Other);
            assert!(holds_lock());
        } else {
            self.0.unlocked.fetch_add(1, Ordering::SeqCst);
            wait(Waiter::Vcpu);
        }
    }

    fn holds_lock(&self) -> bool {
        holds_lock()
    }

    fn with_lock(&self, f: &mut dyn FnMut()) {
        locked(f);
    }

    fn dma_locks(&self) -> bool {
        true
    }

    fn quitting(&self) -> bool {
        self.0.quitting.load(Ordering::SeqCst)
    }
}

/// The link's thread; closes the link when dropped, which ends it.
struct Server {
    link: Arc<Link>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(link: Arc<Link>) -> Self {
        let served = link.clone();
        let thread = thread::spawn(move || {
            while served.wait_ready() {
                served.service();
            }
        });
        Self {
            link,
            thread: Some(thread),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.link.close();
        self.thread.take().unwrap().join().unwrap();
        assert!(!self.link.wait_ready());
    }
}

struct Bench {
    state: Arc<State>,
    link: Arc<Link>,
    endpoint: HdlEndpoint,
    _server: Server,
    _directory: Directory,
}

struct Directory(std::path::PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = std::env::temp_dir().join(format!(
            "accelerator-link-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::SeqCst)
        ));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn endpoint(&self) -> String {
        format!("ipc://{}/pcie", self.0.display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(endpoint: String) -> Settings {
    Settings {
        name: "test".into(),
        endpoint,
        keys: None,
        write_window: 4,
        posted_writes: true,
        completion_timeout: None,
        other_timeout: Duration::from_secs(1),
        shared_memory: Wanted::Auto,
        look: Duration::from_micros(50),
        warn_after: Duration::from_millis(200),
    }
}

fn bench_with(change: impl FnOnce(&mut Settings)) -> Bench {
    let directory = Directory::new();
    let endpoint = directory.endpoint();
    bench_at(directory, &endpoint, change)
}

fn bench_at(directory: Directory, at: &str, change: impl FnOnce(&mut Settings)) -> Bench {
    let mut endpoint = HdlEndpoint::bind(at, card()).unwrap();
    let state = Arc::new(State::default());
    *state.memory.lock().unwrap() = vec![0; 1 << 16];
    let mut settings = settings(at.to_owned());
    change(&mut settings);
    let link = Link::new(settings, Box::new(Machine(state.clone()))).unwrap();
    let handshake = {
        let link = link.clone();
        thread::spawn(move || {
            let config = link.handshake(SOON).unwrap();
            link.accept(config);
        })
    };
    endpoint.wait_for_session(SOON).unwrap();
    handshake.join().unwrap();
    Bench {
        state,
        endpoint,
        _server: Server::start(link.clone()),
        link,
        _directory: directory,
    }
}

fn bench() -> Bench {
    bench_with(|_| ())
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < SOON, "{what} did not happen");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_read_is_answered_and_waits_unlocked() {
    let mut b = bench();
    let link = b.link.clone();
    let reader = thread::spawn(move || link.read(0, 0x10, 4));
    let tag = b.endpoint.expect_read(0, 0x10, 4).unwrap();
    b.endpoint.read_done(tag, 4, 0xffff_ffff_1234_5678).unwrap();
    assert_eq!(reader.join().unwrap(), 0x1234_5678);
    assert_eq!(b.state.unlocked.load(Ordering::SeqCst), 1);
}

#[test]
fn dma_and_interrupts_are_served_in_the_middle_of_a_read() {
    let mut b = bench();
    b.state.memory.lock().unwrap()[0x100..0x104].copy_from_slice(&[1, 2, 3, 4]);
    let link = b.link.clone();
    let reader = thread::spawn(move || link.read(0, 0, 4));
    let tag = b.endpoint.expect_read(0, 0, 4).unwrap();
    let data = b.endpoint.dma_read(0x100, 4).unwrap();
    b.endpoint.dma_write(0x200, &data, None).unwrap();
    b.endpoint.msix(1).unwrap();
    b.endpoint.read_done(tag, 4, 7).unwrap();
    assert_eq!(reader.join().unwrap(), 7);
    // The completion has pushed what was sent before it.
    assert_eq!(b.state.memory.lock().unwrap()[0x200..0x204], [1, 2, 3, 4]);
    assert_eq!(b.state.interrupts.load(Ordering::SeqCst), 1);
}

#[test]
fn dma_is_served_when_nobody_waits() {
    let mut b = bench();
    for i in 0..200u64 {
        b.endpoint
            .dma_write(i, &[i as u8], None)
            .unwrap_or_else(|e| panic!("{i}: {e}"));
    }
    b.endpoint.msix(0).unwrap();
    until("the interrupt", || {
        b.state.interrupts.load(Ordering::SeqCst) == 1
    });
    let memory = b.state.memory.lock().unwrap();
    assert!((0..200).all(|i| memory[i] == i as u8));
}

/// Answers of requests that are served in a row share messages, and none stays
/// behind: neither where others get their turn nor where there is no more.
#[test]
fn many_dma_requests_at_once_are_all_answered() {
    let mut b = bench();
    // The last ones are as many as may be.
    for count in [21, MAX_DMA] {
        let tags: Vec<u32> = {
            // The first one waits here, and the others behind it.
            let mut memory = b.state.memory.lock().unwrap();
            for (i, byte) in memory.iter_mut().enumerate() {
                *byte = i as u8;
            }
            let tags = (0..count)
                .map(|i| b.endpoint.start_dma_read(i as u64, 4).unwrap())
                .collect();
            thread::sleep(Duration::from_millis(50));
            tags
        };
        for (i, expected) in tags.into_iter().enumerate() {
            match b.endpoint.next_event(SOON).unwrap() {
                Event::DmaReadDone { tag, status, data } => {
                    assert_eq!((tag, status), (expected, Status::Ok));
                    assert_eq!(data, [i, i + 1, i + 2, i + 3].map(|byte| byte as u8));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn two_readers_get_their_own_answers() {
    let mut b = bench();
    let readers: Vec<_> = (0..2)
        .map(|i| {
            let link = b.link.clone();
            thread::spawn(move || link.read(0, 8 * i, 8))
        })
        .collect();
    let mut asked = Vec::new();
    while asked.len() < 2 {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::Read { tag, offset, .. } => asked.push((tag, offset)),
            other => panic!("{other:?}"),
        }
    }
    // In the other order, and with a pause in which one of them leads alone.
    for (tag, offset) in asked.into_iter().rev() {
        b.endpoint.read_done(tag, 8, 100 + offset).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    for (i, reader) in readers.into_iter().enumerate() {
        assert_eq!(reader.join().unwrap(), 100 + 8 * i as u64);
    }
}

#[test]
fn many_readers_and_writers_at_once() {
    let mut b = bench();
    let threads: Vec<_> = (0..4u64)
        .map(|t| {
            let link = b.link.clone();
            thread::spawn(move || {
                for i in 0..200 {
                    link.write(0, 8 * t, 8, i);
                    assert_eq!(link.read(0, 8 * t, 8), i, "thread {t}");
                }
            })
        })
        .collect();
    let mut registers = [0u64; 4];
    let mut events = 0;
    while events < 4 * 400 {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::Write {
                tag, offset, data, ..
            } => {
                registers[offset as usize / 8] = data;
                b.endpoint.dma_write(0x800, &[1], None).unwrap();
                b.endpoint.write_done(tag, Status::Ok).unwrap();
            }
            Event::Read { tag, offset, .. } => b
                .endpoint
                .read_done(tag, 8, registers[offset as usize / 8])
                .unwrap(),
            other => panic!("{other:?}"),
        }
        events += 1;
    }
    for t in threads {
        t.join().unwrap();
    }
}

#[test]
fn writes_are_posted_up_to_the_window() {
    let mut b = bench();
    for i in 0..4 {
        b.link.write(0, 0, 4, i);
    }
    // The fifth waits until the first is done.
    let (link, through) = (b.link.clone(), Arc::new(AtomicBool::new(false)));
    let done = through.clone();
    let fifth = thread::spawn(move || {
        link.write(0, 0, 4, 4);
        done.store(true, Ordering::SeqCst);
    });
    let tags: Vec<u32> = (0..4)
        .map(|i| b.endpoint.expect_write(0, 0, 4, i).unwrap())
        .collect();
    thread::sleep(Duration::from_millis(100));
    assert!(!through.load(Ordering::SeqCst), "the window is not bounded");
    assert!(b
        .endpoint
        .try_event(Duration::from_millis(50))
        .unwrap()
        .is_none());
    b.endpoint.write_done(tags[0], Status::Ok).unwrap();
    fifth.join().unwrap();
    b.endpoint.expect_write(0, 0, 4, 4).unwrap();
}

#[test]
fn without_posting_a_write_waits() {
    let mut b = bench_with(|s| s.posted_writes = false);
    let (link, through) = (b.link.clone(), Arc::new(AtomicBool::new(false)));
    let done = through.clone();
    let writer = thread::spawn(move || {
        link.write(0, 0, 4, 1);
        done.store(true, Ordering::SeqCst);
    });
    let tag = b.endpoint.expect_write(0, 0, 4, 1).unwrap();
    thread::sleep(Duration::from_millis(100));
    assert!(!through.load(Ordering::SeqCst));
    b.endpoint.write_done(tag, Status::Ok).unwrap();
    writer.join().unwrap();
}

#[test]
fn a_completion_timeout_ends_the_wait_and_a_late_answer_is_dropped() {
    let mut b = bench_with(|s| s.completion_timeout = Some(Duration::from_millis(100)));
    assert_eq!(b.link.read(0, 0, 2), 0xffff);
    assert_eq!(b.link.counters().timeouts, 1);
    let late = b.endpoint.expect_read(0, 0, 2).unwrap();
    b.endpoint.read_done(late, 2, 1).unwrap();
    // The next one is answered in time, unless the machine has none for us.
    let begin = Instant::now();
    loop {
        let link = b.link.clone();
        let reader = thread::spawn(move || link.read(0, 0, 2));
        let tag = b.endpoint.expect_read(0, 0, 2).unwrap();
        b.endpoint.read_done(tag, 2, 2).unwrap();
        match reader.join().unwrap() {
            2 => break,
            value => assert_eq!(value, 0xffff),
        }
        assert!(begin.elapsed() < PATIENCE, "no read is answered in time");
    }
}

#[test]
fn a_reset_ends_the_wait_and_reaches_the_device() {
    let mut b = bench();
    let link = b.link.clone();
    let reader = thread::spawn(move || link.read(0, 0, 1));
    let old = b.endpoint.expect_read(0, 0, 1).unwrap();
    b.link.reset(ResetKind::Flr);
    assert_eq!(reader.join().unwrap(), 0xff);
    // Whatever the device still says of the time before is void.
    let tag = b.endpoint.expect_reset(ResetKind::Flr).unwrap();
    assert!(b.endpoint.read_done(old, 1, 5).is_err());
    b.endpoint.reset_done(tag).unwrap();
    let link = b.link.clone();
    let reader = thread::spawn(move || link.read(0, 0, 1));
    let tag = b.endpoint.expect_read(0, 0, 1).unwrap();
    b.endpoint.read_done(tag, 1, 6).unwrap();
    assert_eq!(reader.join().unwrap(), 6);
}

#[test]
fn quitting_ends_the_wait() {
    let b = bench();
    let link = b.link.clone();
    let reader = thread::spawn(move || link.read(0, 0, 4));
    thread::sleep(Duration::from_millis(50));
    b.state.quitting.store(true, Ordering::SeqCst);
    b.link.quit();
    assert_eq!(reader.join().unwrap(), 0xffff_ffff);
}

#[test]
fn a_dead_simulator_reads_all_ones_and_may_come_back() {
    let Bench {
        state,
        link,
        endpoint,
        _server,
        _directory,
    } = bench();
    let reader = {
        let link = link.clone();
        thread::spawn(move || link.read(0, 0, 4))
    };
    thread::sleep(Duration::from_millis(50));
    drop(endpoint);
    assert_eq!(reader.join().unwrap(), 0xffff_ffff);
    until("link down", || !state.up.load(Ordering::SeqCst));
    let begin = Instant::now();
    assert_eq!(link.read(0, 0, 8), u64::MAX);
    link.write(0, 0, 8, 1);
    assert!(begin.elapsed() < Duration::from_secs(1));

    let mut endpoint = HdlEndpoint::bind(&_directory.endpoint(), card()).unwrap();
    endpoint.wait_for_session(SOON).unwrap();
    until("link up", || state.up.load(Ordering::SeqCst));
    let reader = {
        let link = link.clone();
        thread::spawn(move || link.read(0, 0, 4))
    };
    let tag = endpoint.expect_read(0, 0, 4).unwrap();
    endpoint.read_done(tag, 4, 9).unwrap();
    assert_eq!(reader.join().unwrap(), 9);
}

/// A port of loopback that nobody has at the moment.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// libzmq goes on telling of a socket that closes; whoever was told had better not
/// be gone, or it waits for ever.
fn restarts(endpoint: Option<String>, goodbye: bool) {
    let count = if std::env::var_os("TEST_LONG").is_some() {
        1000
    } else {
        100
    };
    let directory = Directory::new();
    let endpoint = endpoint.unwrap_or_else(|| directory.endpoint());
    let mut b = bench_at(directory, &endpoint, |_| ());
    let nowhere = format!("ipc://{}/nowhere", b._directory.0.display());
    for n in 0..count {
        if goodbye {
            b.endpoint.close().unwrap();
        }
        b.endpoint = HdlEndpoint::bind(&nowhere, card()).unwrap();
        let begin = Instant::now();
        b.endpoint = loop {
            // The port of the one before may be held a moment longer.
            match HdlEndpoint::bind(&endpoint, card()) {
                Ok(endpoint) => break endpoint,
                Err(e) => assert!(begin.elapsed() < SOON, "restart {n}: {e}"),
            }
        };
        if let Err(e) = b.endpoint.wait_for_session(3 * SOON) {
            panic!("restart {n}: {e}");
        }
    }
}

#[test]
fn a_simulator_that_says_goodbye_and_goes_is_found_again_each_time() {
    restarts(None, true);
}

#[test]
fn a_simulator_that_dies_is_found_again_each_time() {
    restarts(None, false);
}

#[test]
fn a_simulator_that_says_goodbye_over_tcp_is_found_again_each_time() {
    restarts(Some(format!("tcp://127.0.0.1:{}", free_port())), true);
}

#[test]
fn a_simulator_that_dies_over_tcp_is_found_again_each_time() {
    restarts(Some(format!("tcp://127.0.0.1:{}", free_port())), false);
}

#[test]
fn another_card_is_refused_when_the_simulator_comes_back() {
    let Bench {
        state,
        link,
        endpoint,
        _server,
        _directory,
    } = bench();
    drop(endpoint);
    until("link down", || !state.up.load(Ordering::SeqCst));
    let mut endpoint = HdlEndpoint::bind(&_directory.endpoint(), sample_config(8)).unwrap();
    let (reason, text) = loop {
        if let Event::Down { reason, text } = endpoint.next_event(SOON).unwrap() {
            break (reason, text);
        }
    };
    assert_eq!(reason, Reason::Configuration);
    assert!(text.contains("differs"), "{text}");
    assert!(!state.up.load(Ordering::SeqCst));
    assert_eq!(link.read(0, 0, 4), 0xffff_ffff);
}

#[test]
fn nobody_there() {
    let directory = Directory::new();
    let link = Link::new(
        settings(directory.endpoint()),
        Box::new(Machine(Arc::default())),
    )
    .unwrap();
    let begin = Instant::now();
    match link.handshake(Duration::from_millis(300)) {
        Err(LinkError::Timeout {
            connected: false, ..
        }) => {}
        other => panic!("{other:?}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(2));
}

/// A server that is none of ours is not called nobody, whether it is silent or speaks first.
#[test]
fn somebody_else_there() {
    for words in [
        &b""[..],
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"220 mail ESMTP\r\n",
    ] {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("tcp://{}", server.local_addr().unwrap());
        // It ends with the process.
        thread::spawn(move || {
            let mut open = Vec::new();
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.write_all(words);
                open.push(stream);
            }
        });
        let link = Link::new(
            settings(endpoint.clone()),
            Box::new(Machine(Arc::default())),
        )
        .unwrap();
        let error = link.handshake(Duration::from_millis(700)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&endpoint) && !text.contains("no simulator at"),
            "{text}"
        );
    }
}

#[test]
fn nothing_is_left_behind() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // Other tests of this process come and go; a link that leaked would add
    // about ten descriptors each time.
    let before = count();
    for _ in 0..20 {
        let b = bench();
        b.link.close();
    }
    let after = count();
    assert!(after < before + 150, "{before} descriptors became {after}");
}

/// What the guest sets in config space goes behind the writes that were gathered,
/// is told again after a reset, and a session begins with it.
#[test]
fn the_function_is_told() {
    let mut b = bench();
    b.endpoint.hear_function();
    let told = |b: &mut Bench| match b.endpoint.next_event(SOON).unwrap() {
        Event::Function(function) => function,
        other => panic!("expected FUNCTION, got {other:?}"),
    };
    // It may have come with READY.
    let first = b.endpoint.function().unwrap_or_else(|| told(&mut b));
    assert_eq!(first, Function::default());
    let on = Function {
        bus_master: true,
        ..Function::default()
    };
    for i in 0..4 {
        b.link.write(0, 8 * i, 4, i);
    }
    b.link.function(on);
    b.link.function(on);
    // And where the BARs are.
    let on = Function {
        addresses: Some([0xfe80_0000, 1 << 40, UNMAPPED, UNMAPPED, UNMAPPED, 0x10]),
        ..on
    };
    for i in 0..4 {
        let tag = b.endpoint.expect_write(0, 8 * i, 4, i).unwrap();
        b.endpoint.write_done(tag, Status::Ok).unwrap();
    }
    assert!(told(&mut b).addresses.is_none());
    b.link.function(on);
    assert_eq!(told(&mut b), on);
    b.link.reset(ResetKind::Flr);
    b.link.function(on);
    let tag = b.endpoint.expect_reset(ResetKind::Flr).unwrap();
    assert_eq!(told(&mut b), on);
    b.endpoint.reset_done(tag).unwrap();
    assert_eq!(
        b.endpoint.try_event(Duration::from_millis(50)).unwrap(),
        None
    );

    b.endpoint.close().unwrap();
    b.endpoint.wait_for_session(SOON).unwrap();
    assert_eq!(told(&mut b), on);
}

/// The machine stands still while an access that is no vCPU's waits.
#[test]
fn another_device_waits_with_the_lock_held_and_not_for_long() {
    let mut b = bench_with(|s| s.other_timeout = Duration::from_millis(300));
    let read = |b: &Bench, offset| {
        let link = b.link.clone();
        thread::spawn(move || as_other(|| (link.read(0, offset, 4), holds_lock())))
    };
    let reader = read(&b, 0x10);
    let late = b.endpoint.expect_read(0, 0x10, 4).unwrap();
    let (value, held) = reader.join().unwrap();
    assert_eq!((value, held), (0xffff_ffff, true));
    assert_eq!(b.state.unlocked.load(Ordering::SeqCst), 0);

    // As long as that one is not answered, nobody waits for another.
    let begin = Instant::now();
    for _ in 0..100 {
        assert_eq!(as_other(|| b.link.read(0, 0x14, 4)), 0xffff_ffff);
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(b
        .endpoint
        .try_event(Duration::from_millis(50))
        .unwrap()
        .is_none());

    // A vCPU's own does.
    let link = b.link.clone();
    let vcpu = thread::spawn(move || link.read(0, 0x18, 4));
    let tag = b.endpoint.expect_read(0, 0x18, 4).unwrap();
    b.endpoint.read_done(late, 4, 1).unwrap();
    b.endpoint.read_done(tag, 4, 2).unwrap();
    assert_eq!(vcpu.join().unwrap(), 2);
    let reader = read(&b, 0x1c);
    let tag = b.endpoint.expect_read(0, 0x1c, 4).unwrap();
    b.endpoint.read_done(tag, 4, 3).unwrap();
    assert_eq!(reader.join().unwrap(), (3, true));
}

/// The answer comes after what needs the lock, which the thread that waits for
/// the answer holds: it takes over from whoever leads.
#[test]
fn who_waits_with_the_lock_held_serves_what_needs_it() {
    for vcpu_leads in [false, true] {
        let mut b = bench_with(|s| s.other_timeout = SOON);
        let vcpu = vcpu_leads.then(|| {
            let link = b.link.clone();
            let vcpu = thread::spawn(move || link.read(0, 0x20, 4));
            (vcpu, b.endpoint.expect_read(0, 0x20, 4).unwrap())
        });
        for round in 0..50u64 {
            let (link, begun) = (b.link.clone(), Arc::new(AtomicBool::new(false)));
            let told = begun.clone();
            let reader = thread::spawn(move || {
                as_other(|| {
                    told.store(true, Ordering::SeqCst);
                    // Who leads comes to want the lock first.
                    thread::sleep(Duration::from_millis(5));
                    link.read(0, 0x10, 8)
                })
            });
            until("the other access", || begun.load(Ordering::SeqCst));
            b.endpoint.msix(1).unwrap();
            let write = b.endpoint.start_dma_write(0x40, &[round as u8; 64], None);
            b.endpoint.msix(2).unwrap();
            let tag = b.endpoint.expect_read(0, 0x10, 8).unwrap();
            b.endpoint.read_done(tag, 8, round).unwrap();
            assert_eq!(reader.join().unwrap(), round);
            assert_eq!(
                b.state.memory.lock().unwrap()[0x40..0x80],
                [round as u8; 64]
            );
            match b.endpoint.next_event(SOON).unwrap() {
                Event::DmaWriteDone { tag, status } => {
                    assert_eq!((tag, status), (write.unwrap(), Status::Ok));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(
                u64::from(b.state.interrupts.load(Ordering::SeqCst)),
                2 * (round + 1)
            );
        }
        if let Some((vcpu, tag)) = vcpu {
            b.endpoint.read_done(tag, 4, 9).unwrap();
            assert_eq!(vcpu.join().unwrap(), 9);
        }
    }
}

#[test]
fn a_stopped_machine_sees_no_dma_and_no_interrupt_until_it_goes_on() {
    let mut b = bench_with(|s| s.other_timeout = SOON);
    locked(|| b.link.stop(true));
    let tags: Vec<u32> = (0..8u64)
        .map(|i| {
            b.endpoint.msix(0).unwrap();
            b.endpoint
                .start_dma_write(8 * i, &[i as u8 + 1; 8], Some(&[0x0f]))
                .unwrap()
        })
        .collect();
    // Others have a look meanwhile, and are answered.
    let link = b.link.clone();
    let reader = thread::spawn(move || as_other(|| link.read(0, 0, 4)));
    let tag = b.endpoint.expect_read(0, 0, 4).unwrap();
    b.endpoint.read_done(tag, 4, 7).unwrap();
    assert_eq!(reader.join().unwrap(), 7);
    // Now all of it has come.
    assert_eq!(b.state.interrupts.load(Ordering::SeqCst), 0);
    assert!(b.state.memory.lock().unwrap().iter().all(|&m| m == 0));
    assert!(b
        .endpoint
        .try_event(Duration::from_millis(50))
        .unwrap()
        .is_none());

    locked(|| b.link.stop(false));
    for expected in tags {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::DmaWriteDone { tag, status } => {
                assert_eq!((tag, status), (expected, Status::Ok));
            }
            other => panic!("{other:?}"),
        }
    }
    until("the interrupts", || {
        b.state.interrupts.load(Ordering::SeqCst) == 8
    });
    let memory = b.state.memory.lock().unwrap();
    for i in 0..8 {
        let byte = i as u8 + 1;
        assert_eq!(
            memory[8 * i..8 * i + 8],
            [byte, byte, byte, byte, 0, 0, 0, 0]
        );
    }
}

/// The first part of the last answer fills the ring, and its rest follows as the device reads.
#[test]
fn the_rest_of_a_long_answer_follows() {
    let mut b = bench();
    // What tells the function is read before.
    let early = b.endpoint.try_event(Duration::from_millis(100)).unwrap();
    assert_eq!(early, None);
    let mut asked: Vec<(u32, usize)> = [65_536, 65_536, 65_376, 65_536]
        .into_iter()
        .map(|len| (b.endpoint.start_dma_read(0, len).unwrap(), len as usize))
        .collect();
    thread::sleep(Duration::from_millis(200));
    while !asked.is_empty() {
        match b.endpoint.next_event(Duration::from_secs(5)).unwrap() {
            Event::DmaReadDone { tag, status, data } => {
                assert_eq!((tag, data.len()), asked.remove(0));
                assert_eq!(status, Status::Ok);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// More than is kept: the device is held up, and nothing is lost.
#[test]
fn what_a_stopped_machine_keeps_is_bounded() {
    const COUNT: u32 = 20_000;
    // Whoever holds the machine's lock would wait so long for what cannot be received.
    let mut b = bench_with(|s| s.other_timeout = 6 * SOON);
    locked(|| b.link.stop(true));
    for _ in 0..COUNT {
        b.endpoint.msix(0).unwrap();
    }
    let tag = b.endpoint.start_dma_write(0, &[1; 4], None).unwrap();
    // That the link's thread does not spin shows in its CPU time only.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(b.state.interrupts.load(Ordering::SeqCst), 0);
    // Such an access cannot be answered, and is given up as soon as no more is kept.
    let begin = Instant::now();
    let link = b.link.clone();
    let reader = thread::spawn(move || as_other(|| link.read(0, 0, 4)));
    assert_eq!(reader.join().unwrap(), 0xffff_ffff);
    assert!(begin.elapsed() < 3 * SOON, "more is kept than may be");
    locked(|| b.link.stop(false));
    loop {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::DmaWriteDone { tag: done, .. } => break assert_eq!(done, tag),
            Event::Read { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(b.state.interrupts.load(Ordering::SeqCst), COUNT);
}

#[test]
fn a_reset_voids_what_a_stopped_machine_keeps() {
    let mut b = bench();
    locked(|| b.link.stop(true));
    b.endpoint.msix(0).unwrap();
    b.endpoint.start_dma_write(0, &[1; 4], None).unwrap();
    let link = b.link.clone();
    let reader = thread::spawn(move || as_other(|| link.read(0, 0, 4)));
    let tag = b.endpoint.expect_read(0, 0, 4).unwrap();
    b.endpoint.read_done(tag, 4, 7).unwrap();
    assert_eq!(reader.join().unwrap(), 7);
    locked(|| b.link.reset(ResetKind::Cold));
    let tag = b.endpoint.expect_reset(ResetKind::Cold).unwrap();
    b.endpoint.reset_done(tag).unwrap();
    b.endpoint.msix(0).unwrap();
    locked(|| b.link.stop(false));
    until("the interrupt", || {
        b.state.interrupts.load(Ordering::SeqCst) != 0
    });
    thread::sleep(Duration::from_millis(50));
    assert_eq!(b.state.interrupts.load(Ordering::SeqCst), 1);
    assert_eq!(b.state.memory.lock().unwrap()[0], 0);
}

/// It may be stopped in a debugger, and keeps the protocol.
#[test]
fn a_simulator_that_does_not_read_for_long_is_not_given_up() {
    const WINDOW: u32 = 256;
    let mut b = bench_with(|s| {
        s.completion_timeout = Some(Duration::from_micros(1));
        s.write_window = WINDOW;
    });
    // All that may be outstanding: reads, and a window of writes before each reset.
    for _ in 0..6000 {
        assert_eq!(b.link.read(0, 0, 4), 0xffff_ffff);
    }
    for _ in 0..MAX_RESETS {
        for i in 0..u64::from(WINDOW) {
            b.link.write(0, 0, 4, i);
        }
        b.link.reset(ResetKind::Flr);
    }
    for i in 0..10_000u64 {
        match i % 3 {
            0 => b.link.reset(ResetKind::Flr),
            1 => b.link.write(0, 0, 4, i),
            _ => assert_eq!(b.link.read(0, 0, 4), 0xffff_ffff),
        }
    }
    b.link.reset(ResetKind::Hot);
    assert!(b.state.up.load(Ordering::SeqCst));
    // It goes on, and answers what it was asked.
    let (mut resets, mut reads, mut last) = (0, 0, None);
    while last != Some(ResetKind::Hot) {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::Reset { tag, kind } => {
                resets += 1;
                last = Some(kind);
                b.endpoint.reset_done(tag).unwrap();
            }
            Event::Read { .. } => reads += 1,
            Event::Write { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(reads <= MAX_READS, "{reads} reads");
    assert!((2..=65).contains(&resets), "{resets} resets");
    until("the end of the reset", || {
        b.link.write(0, 4, 4, 5);
        b.endpoint
            .try_event(Duration::from_millis(10))
            .unwrap()
            .is_some_and(|e| matches!(e, Event::Write { data: 5, .. }))
    });
    assert!(b.state.up.load(Ordering::SeqCst));
}

/// Nor is one whose guest changes config space over and over: it learns what holds in
/// the end, before the next access.
#[test]
fn a_simulator_that_does_not_read_is_told_what_holds_in_the_end() {
    let mut b = bench();
    b.endpoint.hear_function();
    let set = |number: u32| Function {
        requester_id: number as u16,
        bus_master: number & 1 << 16 != 0,
        ..Function::default()
    };
    const CHANGES: u32 = 100_000;
    for number in 1..=CHANGES {
        b.link.function(set(number));
    }
    assert!(b.state.up.load(Ordering::SeqCst));
    // The write is behind what the simulator has to know.
    b.link.write(0, 8, 4, 7);
    let (mut told, mut last) = (0, None);
    let tag = loop {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::Function(function) => {
                told += 1;
                last = Some(function);
            }
            Event::Write { tag, .. } => break tag,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(last, Some(set(CHANGES)));
    assert!((2..5000).contains(&told), "{told} frames");
    b.endpoint.write_done(tag, Status::Ok).unwrap();
    // Without an access what it sends is enough.
    for number in (1..=CHANGES / 2).rev() {
        b.link.function(set(number));
    }
    b.endpoint.msix(0).unwrap();
    while last != Some(set(1)) {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::Function(function) => last = Some(function),
            other => panic!("{other:?}"),
        }
    }
    assert!(b.state.up.load(Ordering::SeqCst));
}

/// What the links of this process have logged as errors.
static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Errors;

impl log::Log for Errors {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Error
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            ERRORS.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Has errors kept from now on, by whichever test is first.
fn log_errors() {
    if log::set_logger(&Errors).is_ok() {
        log::set_max_level(log::LevelFilter::Error);
    }
}

/// What `name` has logged with these words.
fn errors_of(name: &str, words: &str) -> Vec<String> {
    let errors = ERRORS.lock().unwrap();
    let of_name = errors
        .iter()
        .filter(|line| line.starts_with(&format!("{name}: ")) && line.contains(words));
    of_name.cloned().collect()
}

/// Whether a line says that more of its kind are left out. Asked again and again, at most
/// for so long.
#[track_caller]
fn are_left_out(name: &str, words: &str, begin: Instant) -> bool {
    let lines = errors_of(name, words);
    let last = |line: &String| line.contains("more like this are left out for");
    let found = lines.iter().any(last);
    assert!(found || begin.elapsed() < 3 * SOON, "{lines:?}");
    if found {
        let periods = 1 + begin.elapsed().as_secs() as usize / 10;
        assert!((1..=8 * periods).contains(&lines.len()), "{lines:?}");
    }
    found
}

/// What a link says at each retry has a limit.
#[test]
fn a_simulator_that_breaks_every_session_does_not_fill_the_log() {
    log_errors();
    let begin = Instant::now();
    let name = "breaks every session";
    let b = bench_with(|s| s.name = name.into());
    let at = b._directory.endpoint();
    drop(b.endpoint);
    let raw = RawEndpoint::bind(&at).unwrap();
    while !are_left_out(name, "no session with the simulator", begin) {
        // The answer to what is no frame, a REFUSE, comes as well.
        let said = raw.receive(SOON).unwrap().expect("a host that knocks");
        // It may have gone meanwhile.
        let _ = raw.send(&said.peer, b"no frame");
    }
}

/// Nor does one that refuses every session; but it is told why there is none.
#[test]
fn a_simulator_that_refuses_every_session_is_told_of_and_does_not_fill_the_log() {
    log_errors();
    let begin = Instant::now();
    let name = "refuses every session";
    let b = bench_with(|s| s.name = name.into());
    let at = b._directory.endpoint();
    drop(b.endpoint);
    let raw = RawEndpoint::bind(&at).unwrap();
    let words = "no session with the simulator: it refused the session (Busy): another has it";
    while !are_left_out(name, words, begin) {
        let (peer, session) = raw.wait_for_init(SOON).unwrap();
        let mut message = Vec::new();
        Frame::Refuse {
            reason: Reason::Busy,
            text: "another has it",
        }
        .encode(session, &mut message);
        raw.send(&peer, &message).unwrap();
    }
}

/// A channel that is served until `done`.
fn serve_channel(name: &str, endpoint: &str, mut done: impl FnMut() -> bool) {
    let mut channel = Channel::new(ChannelKind::Serial, name.into(), endpoint.into(), 8).unwrap();
    channel.start();
    while !done() {
        channel.service();
        thread::sleep(Duration::from_millis(5));
    }
    channel.close();
}

/// And what a channel says at each.
#[test]
fn a_simulator_that_breaks_every_session_of_a_channel_does_not_fill_the_log() {
    log_errors();
    let begin = Instant::now();
    let name = "breaks every session of a channel";
    let directory = Directory::new();
    let at = directory.endpoint();
    let raw = RawEndpoint::bind(&at).unwrap();
    serve_channel(name, &at, || {
        if let Some(said) = raw.receive(Duration::ZERO).unwrap() {
            let _ = raw.send(&said.peer, b"no frame");
        }
        are_left_out(name, "broke the protocol", begin)
    });
}

/// And when it cannot even make a socket.
#[test]
fn a_channel_that_cannot_connect_does_not_fill_the_log() {
    log_errors();
    let begin = Instant::now();
    let name = "cannot connect";
    let at = "no-such-transport://x";
    serve_channel(name, at, || {
        are_left_out(name, "cannot connect to no-such-transport://x", begin)
    });
}

/// Nor is one that is asked for its time over and over: it learns the interval that holds
/// in the end as soon as something comes from it.
#[test]
fn a_simulator_that_does_not_read_is_asked_for_its_time_a_few_times() {
    let mut b = bench();
    const CHANGES: u64 = 100_000;
    for interval in 1..=CHANGES {
        b.link.follow(interval).unwrap();
    }
    assert!(b.state.up.load(Ordering::SeqCst));
    b.link.write(0, 8, 4, 7);
    let (mut asked, mut last) = (0, 0);
    let tag = loop {
        match b.endpoint.next_event(SOON).unwrap() {
            Event::Clock { interval } => {
                asked += 1;
                last = interval;
            }
            Event::Write { tag, .. } => break tag,
            other => panic!("{other:?}"),
        }
    };
    // What is under way does not grow with the accesses either.
    assert_eq!((asked, last), (MAX_CLOCKS, MAX_CLOCKS as u64));
    b.endpoint.write_done(tag, Status::Ok).unwrap();
    match b.endpoint.next_event(SOON).unwrap() {
        Event::Clock { interval } => assert_eq!(interval, CHANGES),
        other => panic!("{other:?}"),
    }
    b.endpoint.time(5).unwrap();
    assert!(b.state.up.load(Ordering::SeqCst));
}

/// The simulator dies after it has told its configuration, before it is told
/// that it is accepted.
#[test]
fn a_simulator_that_dies_in_the_handshake_leaves_the_link_down() {
    log_errors();
    // What is sent to it is lost, or cannot be sent any more.
    for pause in [0, 300] {
        // Others log too.
        let name = format!("dies after {pause} ms");
        let down = || {
            let errors = ERRORS.lock().unwrap();
            let of_link = |line: &&String| {
                line.starts_with(&format!("{name}: ")) && line.contains("reads return all ones")
            };
            errors.iter().filter(of_link).count()
        };
        let directory = Directory::new();
        let raw = RawEndpoint::bind(&directory.endpoint()).unwrap();
        let state = Arc::new(State::default());
        let link = Link::new(
            Settings {
                name: name.clone(),
                ..settings(directory.endpoint())
            },
            Box::new(Machine(state.clone())),
        )
        .unwrap();
        let offering = thread::spawn(move || {
            let (peer, session) = raw.wait_for_init(SOON).unwrap();
            let mut message = Vec::new();
            Frame::Config(sample_config(4)).encode(session, &mut message);
            raw.send(&peer, &message).unwrap();
            raw
        });
        let config = link.handshake(SOON).unwrap();
        drop(offering.join().unwrap());
        thread::sleep(Duration::from_millis(pause));
        link.accept(config);
        let server = Server::start(link.clone());
        until("a line that the link is down", || down() != 0);
        until("link down", || !state.up.load(Ordering::SeqCst));
        assert_eq!(link.read(0, 0, 4), 0xffff_ffff);
        assert_eq!(down(), 1, "{:?}", ERRORS.lock().unwrap());
        let mut endpoint = HdlEndpoint::bind(&directory.endpoint(), sample_config(4)).unwrap();
        endpoint.wait_for_session(SOON).unwrap();
        until("link up", || state.up.load(Ordering::SeqCst));
        drop(server);
    }
}
