// SPDX-License-Identifier: GPL-2.0-or-later

//! Measures what lies between QEMU and the simulator, without either; and, for
//! `nic` and `serial`, is the other end of a card's network and serial line.
//!
//! * `ticks`: ticks of the CPU's counter in a second.
//! * `unix`: the yardstick, a blocking ping-pong of 64 bytes over a Unix stream
//!   socket between two processes, each on a CPU of its own. Left to itself the
//!   scheduler may put both on one, where a round costs a fraction of what it
//!   costs between two; that is measured beside it.
//! * `zmq KIND`: the floor, the same over ZeroMQ with the sockets and the
//!   options that the link has, and nothing else. Of the two sides either
//!   both block, or the server tries again and again, as a simulator does.
//! * `way KIND`: the floor of one way. What sends has not sent for 200 µs, in
//!   which it computed. `polling` is towards a server that tries again and
//!   again, as a doorbell; `blocking` is from that server to a client that
//!   sleeps, as an interrupt; `busy` is the same while another thread of the
//!   client computes, as with a vCPU that spins.
//! * `link KIND`: the device's link against the DPI library, which a loop
//!   polls in place of a simulator: MMIO reads, and posted writes in a long run.
//! * `rtl PROGRAM N`: the device's links, in shared memory, against N simulators of
//!   `hdl/bench`, told to sleep, from one thread: reads of all of them in turn, and posted
//!   writes to the first. What is left of a figure of the guest without QEMU.
//! * `turns N`: the floor of that: N threads on one CPU that look at a word each and yield, and
//!   one on another CPU that writes these in turn and looks for the answers.
//! * `nic OURS THEIRS`, `serial PATH`: see `wire.rs`. The sockets are those of a
//!   QEMU that somebody else starts.
//!
//! KIND is `ipc` or `tcp`. `--repeats N` and `--count N` say how much. Every
//! line of the output is `NAME repeat=R n=N ...` with times in nanoseconds, as
//! `accel-bench` in the guest prints them.

use std::{
    ffi::{c_int, c_longlong, c_void, CString},
    hint::black_box,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
    },
    thread,
    time::{Duration, Instant},
};

mod wire;

use accelerator_dpi::ffi;
use accelerator_pcie::link::{Link, Root, Settings, Waiter, Wanted};
use accelerator_protocol::wire::Status;

const BYTES: usize = 64;

type Failure = Box<dyn std::error::Error>;

fn report(name: &str, repeat: usize, samples: &mut [u64]) {
    samples.sort_unstable();
    let n = samples.len();
    println!(
        "{name} repeat={repeat} n={n} min={} median={} p99={} max={}",
        samples[0],
        samples[n / 2],
        samples[n - 1 - n / 100],
        samples[n - 1]
    );
}

/// The other half of a measurement, in a process of its own.
struct Server(Child);

impl Server {
    fn start(args: &[&str]) -> Result<Self, Failure> {
        Ok(Self(
            Command::new(std::env::current_exe()?)
                .args(args)
                .stdin(Stdio::piped())
                .spawn()?,
        ))
    }
}

impl Server {
    /// Ends a simulator as its user does.
    fn end(mut self) -> Result<(), Failure> {
        let pid = libc::pid_t::try_from(self.0.id())?;
        // SAFETY: no memory is involved, and the process was not waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the simulator ended with {status}").into())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder for sockets that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("accelerator-bench-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn endpoint(&self, kind: &str) -> Result<String, Failure> {
        match kind {
            "ipc" | "shm" => Ok(format!("ipc://{}", self.0.join("socket").display())),
            "tcp" => {
                // Free a moment ago.
                let port = std::net::TcpListener::bind("127.0.0.1:0")?
                    .local_addr()?
                    .port();
                Ok(format!("tcp://127.0.0.1:{port}"))
            }
            _ => Err(format!("no kind {kind}, expected ipc, tcp or shm").into()),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn measure(
    name: &str,
    repeats: usize,
    count: usize,
    mut round: impl FnMut() -> Result<(), Failure>,
) -> Result<(), Failure> {
    for _ in 0..count / 10 + 1 {
        round()?;
    }
    for repeat in 0..repeats {
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let begin = Instant::now();
            round()?;
            samples.push(begin.elapsed().as_nanos() as u64);
        }
        report(name, repeat, &mut samples);
    }
    Ok(())
}

// ---- counter ----

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
fn ticks() -> u64 {
    let value: u64;
    // SAFETY: Linux lets programs read this register.
    unsafe { std::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) value) };
    value
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn ticks() -> u64 {
    0
}

fn tick_hz() {
    let (begin, ticks_begin) = (Instant::now(), ticks());
    thread::sleep(Duration::from_millis(500));
    let (time, ticks) = (begin.elapsed(), ticks() - ticks_begin);
    println!("tick_hz={:.0}", ticks as f64 / time.as_secs_f64());
}

// ---- yardstick ----

/// The CPUs that this process may use.
fn cpus() -> Result<Vec<usize>, Failure> {
    // SAFETY: zero is an empty set; the call writes at most its size.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok((0..libc::CPU_SETSIZE as usize)
        // SAFETY: the number is in the range of the set.
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// Keeps the calling thread on these CPUs.
fn stay_on(cpus: &[usize]) -> Result<(), Failure> {
    // SAFETY: zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        // SAFETY: `cpus` returned the number, so it is in range.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set is only read; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

fn unix(repeats: usize, count: usize) -> Result<(), Failure> {
    let all = cpus()?;
    let last = all.len() - 1;
    if last == 0 {
        return Err("the yardstick needs two CPUs".into());
    }
    for (name, theirs) in [("unix", last), ("unix_one_cpu", 0)] {
        let folder = Folder::new()?;
        let path = folder.0.join("unix");
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        let cpu = all[theirs].to_string();
        let _server = Server::start(&["unix-server", &path.display().to_string(), &cpu])?;
        stay_on(&all[..1])?;
        let (mut socket, _) = listener.accept()?;
        let mut buffer = [0; BYTES];
        let result = measure(name, repeats, count, || {
            socket.write_all(&buffer)?;
            Ok(socket.read_exact(&mut buffer)?)
        });
        stay_on(&all)?;
        result?;
    }
    Ok(())
}

fn unix_server(path: &str, cpu: usize) -> Result<(), Failure> {
    stay_on(&[cpu])?;
    let mut socket = UnixStream::connect(path)?;
    let mut buffer = [0; BYTES];
    while socket.read_exact(&mut buffer).is_ok() {
        socket.write_all(&buffer)?;
    }
    Ok(())
}

// ---- floor ----

fn zmq_floor(kind: &str, repeats: usize, count: usize) -> Result<(), Failure> {
    let folder = Folder::new()?;
    for how in ["blocking", "polling"] {
        let endpoint = folder.endpoint(kind)?;
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER)?;
        socket.set_linger(0)?;
        socket.set_rcvtimeo(30_000)?;
        let _server = Server::start(&["zmq-server", &endpoint, how])?;
        socket.connect(&endpoint)?;
        let mut message = zmq::Message::new();
        measure(&format!("zmq_{kind}_{how}"), repeats, count, || {
            socket.send(&[0_u8; BYTES][..], 0)?;
            Ok(socket.recv(&mut message, 0)?)
        })?;
    }
    Ok(())
}

fn zmq_server(endpoint: &str, how: &str) -> Result<(), Failure> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::ROUTER)?;
    socket.set_linger(0)?;
    socket.bind(endpoint)?;
    let flags = if how == "polling" { zmq::DONTWAIT } else { 0 };
    let (mut id, mut body) = (zmq::Message::new(), zmq::Message::new());
    loop {
        match socket.recv(&mut id, flags) {
            Ok(()) => {}
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => continue,
            Err(e) => return Err(e.into()),
        }
        socket.recv(&mut body, 0)?;
        socket.send(&id[..], zmq::SNDMORE)?;
        socket.send(&body[..], 0)?;
    }
}

// ---- floor of one way ----

/// How long nothing is sent.
const QUIET: Duration = Duration::from_micros(200);

/// The clock that both processes see.
fn clock_ns() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is valid for writes, and the clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn compute(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        black_box(0);
    }
}

/// Nanoseconds since the message, which holds the time, was made.
fn age(message: &[u8]) -> Result<u64, Failure> {
    let sent = message.get(..8).ok_or("a message without a time")?;
    Ok(clock_ns().saturating_sub(u64::from_ne_bytes(sent.try_into()?)))
}

fn stamped() -> [u8; BYTES] {
    let mut message = [0; BYTES];
    message[..8].copy_from_slice(&clock_ns().to_ne_bytes());
    message
}

fn way(kind: &str, repeats: usize, count: usize) -> Result<(), Failure> {
    let folder = Folder::new()?;
    for how in ["blocking", "busy", "polling"] {
        let endpoint = folder.endpoint(kind)?;
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER)?;
        socket.set_linger(0)?;
        socket.set_rcvtimeo(30_000)?;
        let _server = Server::start(&["way-server", &endpoint, how])?;
        socket.connect(&endpoint)?;
        let stop = AtomicBool::new(false);
        let one = || -> Result<u64, Failure> {
            if how == "polling" {
                compute(QUIET);
                socket.send(&stamped()[..], 0)?;
                // How long it took.
                let answer = socket.recv_bytes(0)?;
                return Ok(u64::from_ne_bytes(answer.as_slice().try_into()?));
            }
            socket.send(&[0_u8; BYTES][..], 0)?;
            age(&socket.recv_bytes(0)?)
        };
        thread::scope(|scope| {
            if how == "busy" {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        black_box(0);
                    }
                });
            }
            let all = || -> Result<(), Failure> {
                for _ in 0..count / 10 + 1 {
                    one()?;
                }
                for repeat in 0..repeats {
                    let mut samples = (0..count).map(|_| one()).collect::<Result<Vec<_>, _>>()?;
                    report(&format!("zmq_{kind}_way_{how}"), repeat, &mut samples);
                }
                Ok(())
            };
            let result = all();
            stop.store(true, Ordering::Relaxed);
            result
        })?;
    }
    Ok(())
}

fn way_server(endpoint: &str, how: &str) -> Result<(), Failure> {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::ROUTER)?;
    socket.set_linger(0)?;
    socket.bind(endpoint)?;
    let (mut id, mut body) = (zmq::Message::new(), zmq::Message::new());
    loop {
        match socket.recv(&mut id, zmq::DONTWAIT) {
            Ok(()) => {}
            Err(zmq::Error::EAGAIN | zmq::Error::EINTR) => continue,
            Err(e) => return Err(e.into()),
        }
        socket.recv(&mut body, 0)?;
        if how == "polling" {
            let took = age(&body)?;
            socket.send(&id[..], zmq::SNDMORE)?;
            socket.send(&took.to_ne_bytes()[..], 0)?;
        } else {
            compute(QUIET);
            socket.send(&id[..], zmq::SNDMORE)?;
            socket.send(&stamped()[..], 0)?;
        }
    }
}

// ---- link ----

struct Nobody;

impl Root for Nobody {
    fn dma_read(&self, _: u64, _: &mut [u8]) -> Status {
        Status::Fault
    }
    fn dma_write(&self, _: u64, _: &[u8], _: Option<&[u8]>) -> Status {
        Status::Fault
    }
    fn msix(&self, _: u16) -> Result<(), u16> {
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
        true
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

/// A link to whoever is at this endpoint, and its thread, which QEMU has too.
struct Linked {
    link: Arc<Link>,
    thread: thread::JoinHandle<()>,
}

impl Linked {
    fn new(endpoint: String, shared_memory: Wanted) -> Result<Self, Failure> {
        let settings = Settings {
            name: "bench".into(),
            endpoint,
            keys: None,
            write_window: 256,
            posted_writes: true,
            completion_timeout: Some(Duration::from_secs(30)),
            other_timeout: Duration::from_secs(1),
            shared_memory,
            look: Duration::from_micros(50),
            warn_after: Duration::from_secs(5),
        };
        let link = Link::new(settings, Box::new(Nobody))?;
        let config = link.handshake(Duration::from_secs(30))?;
        link.accept(config);
        let thread = {
            let link = link.clone();
            thread::spawn(move || {
                while link.wait_ready() {
                    link.service();
                }
            })
        };
        Ok(Self { link, thread })
    }

    fn close(self) -> Result<(), Failure> {
        self.link.close();
        Ok(self
            .thread
            .join()
            .map_err(|_| "the link's thread panicked")?)
    }
}

/// Posted writes to a register that keeps what is written, in a long run.
fn writes(name: &str, link: &Link, repeats: usize, n: usize) -> Result<(), Failure> {
    for repeat in 0..repeats {
        let begin = Instant::now();
        for i in 0..n {
            link.write(0, 8, 8, i as u64);
        }
        if link.read(0, 8, 8) != n as u64 - 1 {
            return Err("the last write did not arrive".into());
        }
        println!(
            "{name} repeat={repeat} n={n} value={:.0}",
            n as f64 / begin.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

fn link(kind: &str, repeats: usize, count: usize) -> Result<(), Failure> {
    let folder = Folder::new()?;
    let endpoint = folder.endpoint(kind)?;
    let _server = Server::start(&["link-server", &endpoint])?;
    let shared_memory = if kind == "shm" {
        Wanted::On
    } else {
        Wanted::Off
    };
    let linked = Linked::new(endpoint, shared_memory)?;
    let link = &linked.link;
    measure(&format!("link_{kind}_read"), repeats, count, || {
        black_box(link.read(0, 0, 4));
        Ok(())
    })?;
    writes(
        &format!("link_{kind}_writes_per_s"),
        link,
        repeats,
        count * 20,
    )?;
    linked.close()
}

/// Simulators of hdl/bench, each behind a link.
fn rtl(program: &str, n: usize, repeats: usize, count: usize) -> Result<(), Failure> {
    const SCRATCH: u64 = 0x8;
    const CLOCKS: u64 = 0x10;
    let folder = Folder::new()?;
    let mut servers = Vec::new();
    let mut cards = Vec::new();
    for i in 0..n {
        let endpoint = format!("ipc://{}", folder.0.join(format!("card{i}")).display());
        let child = Command::new(program)
            .arg(format!("+accelerator_endpoint={endpoint}"))
            .arg("+accelerator_idle=1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        servers.push(Server(child));
        cards.push(Linked::new(endpoint, Wanted::On)?);
    }
    let mut turn = (0..n).cycle();
    measure(&format!("rtl{n}_read"), repeats, count, || {
        let i = turn.next().unwrap_or(0);
        black_box(cards[i].link.read(0, SCRATCH, 4));
        Ok(())
    })?;
    let link = &cards[0].link;
    let name = format!("rtl{n}_writes_per_s");
    for repeat in 0..repeats {
        let (begin, clocks) = (Instant::now(), link.read(0, CLOCKS, 8));
        writes(&name, link, 1, count * 20)?;
        // Those of the reads count, too; they are few.
        let clocks = link.read(0, CLOCKS, 8) - clocks;
        println!(
            "rtl{n}_clocks_per_write repeat={repeat} n={} value={:.3}",
            count * 20,
            clocks as f64 / (count * 20) as f64
        );
        println!(
            "rtl{n}_ns_per_clock repeat={repeat} n={clocks} value={:.1}",
            begin.elapsed().as_secs_f64() * 1e9 / clocks as f64
        );
    }
    cards.into_iter().try_for_each(Linked::close)?;
    servers.into_iter().try_for_each(Server::end)
}

/// What reads of several cards in turn cannot do without, where all simulators share a CPU: a
/// change of threads for each.
fn turns(n: usize, repeats: usize, count: usize) -> Result<(), Failure> {
    let all = cpus()?;
    let words: Vec<[AtomicU64; 2]> = (0..n).map(|_| Default::default()).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for [asked, answer] in &words {
            let (stop, all) = (&stop, &all);
            scope.spawn(move || {
                // It is told by the time that the other thread needs, if not.
                let _ = stay_on(&all[all.len() - 1..]);
                while !stop.load(Ordering::Relaxed) {
                    let now = asked.load(Ordering::Acquire);
                    if now == answer.load(Ordering::Relaxed) {
                        thread::yield_now();
                    } else {
                        answer.store(now, Ordering::Release);
                    }
                }
            });
        }
        stay_on(&all[..1])?;
        let mut turn = words.iter().cycle();
        let mut number = 0;
        let result = measure(&format!("turns{n}"), repeats, count, || {
            let Some([asked, answer]) = turn.next() else {
                return Err("turns of no threads".into());
            };
            number += 1;
            asked.store(number, Ordering::Release);
            while answer.load(Ordering::Acquire) != number {
                std::hint::spin_loop();
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        stay_on(&all)?;
        result
    })
}

fn good(status: c_int) -> Result<c_int, Failure> {
    if status < 0 {
        Err(format!("the DPI library returned {status}").into())
    } else {
        Ok(status)
    }
}

/// One register behind the DPI library. A round of the loop takes about as
/// long as a clock of a small simulated design.
fn link_server(endpoint: &str) -> Result<(), Failure> {
    const READY_ALL: c_int = 15;
    const MMIO_READ: c_int = 1;
    const MMIO_WRITE: c_int = 2;
    const RESET: c_int = 5;
    const LINK_UP: c_int = 6;
    const LINK_DOWN: c_int = 7;
    let (endpoint, name) = (CString::new(endpoint)?, CString::new("bench")?);
    // SAFETY: both are C strings that outlive the call.
    let h: *mut c_void = unsafe { ffi::acc_open(endpoint.as_ptr(), name.as_ptr()) };
    if h.is_null() {
        return Err("acc_open failed".into());
    }
    good(ffi::acc_set_id(h, 0x10ee, 0x7032, 0x10ee, 7, 0x12_0000, 1))?;
    good(ffi::acc_set_bar(h, 0, 4096, 0, 0))?;
    good(ffi::acc_start(h))?;
    let mut register = 0;
    loop {
        let (mut tag, mut bar, mut len, mut kind) = (0, 0, 0, 0);
        let (mut addr, mut data): (c_longlong, c_longlong) = (0, 0);
        let event = good(ffi::acc_poll(h, READY_ALL))?;
        match event {
            MMIO_READ | MMIO_WRITE => {
                // SAFETY: all of them are valid for writes.
                good(unsafe {
                    ffi::acc_get_mmio(h, &mut tag, &mut bar, &mut addr, &mut len, &mut data)
                })?;
                if event == MMIO_READ {
                    good(ffi::acc_mmio_read_done(h, tag, 0, register))?;
                } else {
                    register = data;
                    good(ffi::acc_mmio_write_done(h, tag, 0))?;
                }
            }
            RESET => {
                // SAFETY: `kind` is valid for writes.
                good(unsafe { ffi::acc_get_reset(h, &mut kind) })?;
                good(ffi::acc_reset_done(h))?;
            }
            LINK_UP | LINK_DOWN => {
                // SAFETY: `kind` is valid for writes.
                good(unsafe { ffi::acc_get_link(h, &mut kind) })?;
            }
            _ => {}
        }
        for i in 0..200 {
            black_box(i);
        }
    }
}

fn run(args: &[String]) -> Result<(), Failure> {
    let (mut repeats, mut count, mut words) = (5, 2000, Vec::new());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || -> Result<usize, Failure> {
            let text = args.next().ok_or(format!("{arg} needs a value"))?;
            Ok(text.parse()?)
        };
        match arg.as_str() {
            "--repeats" => repeats = number()?,
            "--count" => count = number()?.max(1),
            word => words.push(word),
        }
    }
    match words[..] {
        ["ticks"] => tick_hz(),
        ["unix"] => unix(repeats, count)?,
        ["unix-server", path, cpu] => unix_server(path, cpu.parse()?)?,
        ["zmq", kind] => zmq_floor(kind, repeats, count)?,
        ["zmq-server", endpoint, how] => zmq_server(endpoint, how)?,
        ["way", kind] => way(kind, repeats, count)?,
        ["way-server", endpoint, how] => way_server(endpoint, how)?,
        ["link", kind] => link(kind, repeats, count)?,
        ["rtl", program, n] => rtl(program, n.parse()?, repeats, count)?,
        ["turns", n] => turns(n.parse()?, repeats, count)?,
        ["link-server", endpoint] => link_server(endpoint)?,
        ["nic", ours, theirs] => wire::nic(ours, theirs, repeats, count)?,
        ["serial", path] => wire::serial(path, repeats, count)?,
        _ => return Err(
            "usage: accelerator-transport ticks|unix|zmq KIND|way KIND|link KIND|rtl PROGRAM N|\
                 turns N|nic OURS THEIRS|serial PATH [--repeats N] [--count N]"
                .into(),
        ),
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("accelerator-transport: {e}");
            ExitCode::FAILURE
        }
    }
}
