// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C consumer as the simulator, and hosts for it to talk to.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{channel, Receiver},
        OnceLock,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use accelerator_peers::{guest::Activity, GuestEndpoint, PATIENCE};
use accelerator_protocol::{
    wire::{split, Frame, Init},
    Config,
};

pub const READY_WRITE: i32 = 1;
pub const READY_READ: i32 = 2;
pub const READY_DMA_READ: i32 = 4;
pub const READY_DMA_WRITE: i32 = 8;
pub const READY: i32 = 15;

pub const NONE: i32 = 0;
pub const MMIO_READ: i32 = 1;
pub const MMIO_WRITE: i32 = 2;
pub const DMA_READ_DONE: i32 = 3;
pub const DMA_WRITE_DONE: i32 = 4;
pub const RESET: i32 = 5;
pub const LINK_UP: i32 = 6;
pub const LINK_DOWN: i32 = 7;

pub const EINVAL: i32 = -1;
pub const EAGAIN: i32 = -2;
pub const ELINK: i32 = -3;
pub const ESTATE: i32 = -4;
pub const EIO: i32 = -5;
pub const ENOTSUP: i32 = -7;

/// What the consumer's outputs hold if a call did not write them.
pub const POISON: i64 = 0x5a5a_5a5a;

/// AXI base of BAR 0 of the usual bridge.
pub const BAR0_BASE: i64 = 0x10_0000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    C99,
    Cxx11,
}

/// The folder with the test binaries, where cargo puts the library too.
pub fn build_folder() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().to_owned()
}

fn compiler(language: Language) -> Command {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let cpp = language == Language::Cxx11;
    cc::Build::new()
        .cargo_metadata(false)
        .cpp(cpp)
        .std(if cpp { "c++11" } else { "c99" })
        .target(&target)
        .host(&target)
        .opt_level(1)
        .debug(true)
        .out_dir(env!("CARGO_TARGET_TMPDIR"))
        .warnings(true)
        .extra_warnings(true)
        .warnings_into_errors(true)
        .flag("-pedantic")
        .get_compiler()
        .to_command()
}

/// Builds a C program against the header and the static library. With
/// `sanitize` under AddressSanitizer and UndefinedBehaviorSanitizer.
pub fn build(source: &str, language: Language, sanitize: bool) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = build_folder().join("libaccelerator_dpi.a");
    let name = format!(
        "{}-{language:?}-{}",
        Path::new(source).file_stem().unwrap().to_string_lossy(),
        if sanitize { "sanitized" } else { "plain" },
    );
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // Renamed at the end, since another run of the tests may use it.
    let made = program.with_extension(std::process::id().to_string());
    let mut command = compiler(language);
    command
        .arg("-I")
        .arg(root.join("include"))
        .arg("-D_GNU_SOURCE")
        .args([
            "-x",
            if language == Language::C99 {
                "c"
            } else {
                "c++"
            },
        ])
        .arg(root.join(source))
        .args(["-x", "none"]);
    if sanitize {
        command.args([
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            "-fno-omit-frame-pointer",
        ]);
    }
    // As the README says.
    command
        .arg(&library)
        .args(["-lstdc++", "-lpthread", "-ldl", "-lm", "-o"])
        .arg(&made);
    let output = command.output().unwrap_or_else(|e| {
        panic!(
            "{command:?} cannot be run: {e}; a C and C++ compiler is needed (apt-get install g++)"
        )
    });
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&made, &program).unwrap();
    program
}

/// The consumer's program, built once. Removed by nobody but `cargo clean`.
pub fn program(language: Language, sanitize: bool) -> &'static Path {
    static BUILT: [OnceLock<PathBuf>; 4] = [const { OnceLock::new() }; 4];
    let index = usize::from(language == Language::Cxx11) * 2 + usize::from(sanitize);
    BUILT[index].get_or_init(|| build("tests/c/consumer.c", language, sanitize))
}

/// A folder of the test's own, gone at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        // Not in the target folder: a Unix socket's path has 107 bytes at most.
        let path = std::env::temp_dir().join(format!(
            "acc-dpi-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn endpoint(&self, name: &str) -> String {
        format!("ipc://{}", self.path(name).display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A TCP port of the loopback interface that is free at the moment.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A consumer process. Killed if the test fails before [`Process::finish`].
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    readers: Vec<JoinHandle<String>>,
}

impl Process {
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: &[A],
        environment: &[(&str, &str)],
    ) -> Self {
        Self::start_command(program, arguments, |command| {
            command.envs(environment.iter().copied());
        })
    }

    /// As [`Process::start`], with what `set_up` adds to the command.
    pub fn start_command<A: AsRef<OsStr>>(
        program: &Path,
        arguments: &[A],
        set_up: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_remove("NPU_COSIM_PORT")
            .env_remove("ACCELERATOR_RECORD")
            .env_remove("ACCELERATOR_FAULTS")
            .env_remove("ACCELERATOR_ZMQ_WARN_MS")
            .env_remove("ACCELERATOR_CURVE_SECRET")
            .env_remove("ACCELERATOR_CURVE_CLIENTS")
            .env_remove("ACCELERATOR_INSECURE")
            .env("ACCELERATOR_LOG_LEVEL", "trace")
            .env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        set_up(&mut command);
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let out = std::thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
            String::new()
        });
        let err = std::thread::spawn(move || {
            let mut text = String::new();
            for line in stderr.lines().map(Result::unwrap) {
                // Captured, and shown if the test fails.
                eprintln!("| {line}");
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
            readers: vec![out, err],
        }
    }

    pub fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE * 2)
            .expect("the consumer does not answer")
    }

    /// Waits for the end; how it ended, and what it wrote to standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        self.stdin = None;
        let deadline = Instant::now() + PATIENCE * 2;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the consumer does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = self
            .readers
            .drain(..)
            .map(|r| r.join().unwrap())
            .collect::<String>();
        (status, text)
    }

    /// Waits for the end, which has to be a good one without anything that a
    /// sanitizer found.
    pub fn finish(self) -> String {
        let (status, text) = self.end();
        assert!(
            status.success(),
            "{status} (signal {:?}):\n{text}",
            status.signal()
        );
        for word in ["Sanitizer", "runtime error", "panicked"] {
            assert!(!text.contains(word), "{word}:\n{text}");
        }
        text
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Asks it to end.
    pub fn terminate(&mut self) {
        // SAFETY: no memory is involved; the child was not waited for, so the
        // number is still its.
        let result = unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        assert_eq!(result, 0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An MMIO request, as `acc_get_mmio` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mmio {
    pub tag: i64,
    pub bar: i64,
    pub addr: i64,
    pub len: i64,
    pub data: u64,
}

/// A simulator that does one call at a time.
pub struct Simulator {
    process: Process,
    /// Which of its handles the calls use.
    pub slot: usize,
}

impl Simulator {
    pub fn start() -> Self {
        Self::start_with(Language::C99, &[])
    }

    pub fn start_with(language: Language, environment: &[(&str, &str)]) -> Self {
        Self {
            process: Process::start(program(language, true), &["remote"], environment),
            slot: 0,
        }
    }

    /// As [`Simulator::start_with`], without sanitizers.
    pub fn start_plain(environment: &[(&str, &str)]) -> Self {
        Self {
            process: Process::start(program(Language::C99, false), &["remote"], environment),
            slot: 0,
        }
    }

    /// A simulator of this program, with what `set_up` adds to the command.
    pub fn start_command(program: &Path, set_up: impl FnOnce(&mut Command)) -> Self {
        Self {
            process: Process::start_command(program, &["remote"], set_up),
            slot: 0,
        }
    }

    /// Its resident memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.map(|l| l.trim().trim_end_matches(" kB").parse());
        kib.unwrap().unwrap()
    }

    /// The folder with its file descriptors.
    pub fn descriptors(&self) -> PathBuf {
        format!("/proc/{}/fd", self.process.child.id()).into()
    }

    /// A simulator with the usual bridge, started.
    pub fn with_bridge(endpoint: &str) -> Self {
        let mut sim = Self::start();
        sim.usual(endpoint);
        assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
        sim
    }

    /// Opens the usual bridge: BAR 0 at AXI address [`BAR0_BASE`], BAR 2 for
    /// MSI-X with four vectors, INTA.
    pub fn usual(&mut self, endpoint: &str) {
        assert!(self.open(endpoint, "card"), "{}", self.null_error());
        for call in [
            "set_id 0x10ee 0x7024 0x10ee 7 0x120000 1",
            "set_bar 0 65536 0 0x100000",
            "set_bar 2 65536 3 0",
            "set_msix 4 2 0 2 0x8000",
            "set_link 3 8",
            "set_intx 1",
            "set_clock 4000",
        ] {
            assert_eq!(self.call(call), 0, "{call}: {}", self.last_error());
        }
    }

    pub fn open(&mut self, endpoint: &str, name: &str) -> bool {
        let line = format!("open {} {endpoint} {name}", self.slot);
        self.raw(&line) == "1"
    }

    /// Sends a line and returns the answer.
    pub fn raw(&mut self, line: &str) -> String {
        let stdin = self.process.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").expect("the consumer has ended");
        self.process.line()
    }

    /// Calls a function on the current handle: its name, then the arguments
    /// behind the handle. Its results, that of the function first.
    pub fn results(&mut self, call: &str) -> Vec<i64> {
        let (name, rest) = call.split_once(' ').unwrap_or((call, ""));
        let line = format!("{name} {} {rest}", self.slot);
        self.raw(&line)
            .split(' ')
            .map(|w| w.parse().unwrap_or_else(|_| panic!("{call}: {w:?}")))
            .collect()
    }

    /// As [`Simulator::results`], without the outputs.
    pub fn call(&mut self, call: &str) -> i32 {
        let (name, rest) = call.split_once(' ').unwrap_or((call, ""));
        let line = format!("{name} {} {rest}", self.slot);
        let answer = self.raw(&line);
        let result = answer.split(' ').next().unwrap_or("");
        result
            .parse()
            .unwrap_or_else(|_| panic!("{call}: {answer:?}"))
    }

    /// Raises a vector until the host, which does not read, takes no more.
    /// Returns how often it was raised.
    pub fn flood(&mut self, vector: u16) -> i64 {
        let (mut sent, mut refused) = (0, 0);
        // What the socket took can still move on to the system's buffers.
        while refused < 5 {
            let n = self.call(&format!("msix_flood {vector} 1000000"));
            if n == 0 {
                refused += 1;
                std::thread::sleep(Duration::from_millis(100));
            } else {
                refused = 0;
                sent += i64::from(n);
            }
            assert!(sent < 100_000_000, "there is no end to it");
        }
        sent
    }

    pub fn last_error(&mut self) -> String {
        let slot = self.slot;
        self.raw(&format!("last_error {slot}"))
    }

    pub fn null_error(&mut self) -> String {
        self.raw("last_error 0x0")
    }

    /// Has a call fail: its error and its text, which names all of `words`.
    #[track_caller]
    pub fn fails(&mut self, call: &str, code: i32, words: &[&str]) {
        assert_eq!(self.call(call), code, "{call}: {}", self.last_error());
        let text = self.last_error();
        for word in words {
            assert!(text.contains(word), "{call}: {word:?} is not in {text:?}");
        }
    }

    pub fn poll(&mut self, ready: i32) -> i32 {
        self.call(&format!("poll {ready}"))
    }

    /// Polls until there is an event, or a few hundred milliseconds if none is
    /// expected.
    pub fn poll_until(&mut self, ready: i32) -> i32 {
        self.call(&format!("poll_until {ready} 30000"))
    }

    #[track_caller]
    pub fn expect(&mut self, ready: i32, event: i32) {
        assert_eq!(self.poll_until(ready), event);
    }

    /// Polls for a while in which nothing may come.
    #[track_caller]
    pub fn expect_nothing(&mut self, ready: i32) {
        assert_eq!(self.call(&format!("poll_until {ready} 150")), NONE);
    }

    #[track_caller]
    pub fn get_mmio(&mut self) -> Mmio {
        let r = self.results("get_mmio");
        assert_eq!(r[0], 0, "{}", self.last_error());
        Mmio {
            tag: r[1],
            bar: r[2],
            addr: r[3],
            len: r[4],
            data: r[5] as u64,
        }
    }

    #[track_caller]
    pub fn next_mmio(&mut self, event: i32) -> Mmio {
        self.expect(READY, event);
        self.get_mmio()
    }

    #[track_caller]
    pub fn link(&mut self, up: bool) {
        self.expect(READY, if up { LINK_UP } else { LINK_DOWN });
        assert_eq!(self.results("get_link"), [0, i64::from(up)]);
    }

    #[track_caller]
    pub fn reset(&mut self) -> i64 {
        self.expect(READY, RESET);
        let r = self.results("get_reset");
        assert_eq!(r[0], 0);
        r[1]
    }

    /// A beat of a DMA read: the result, and the 64 lanes.
    pub fn beat(&mut self, tag: i64, lane: usize, bytes: usize) -> (i32, Vec<u8>) {
        let slot = self.slot;
        let answer = self.raw(&format!("dma_read_beat {slot} {tag} {lane} {bytes}"));
        let (result, hex) = answer.split_once(' ').unwrap();
        let lanes = (0..64)
            .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        (result.parse().unwrap(), lanes)
    }

    /// A beat of a DMA write.
    pub fn write_beat(&mut self, lane: usize, bytes: usize, data: &[u8; 64], strb: u64) -> i32 {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let call = format!(
            "dma_write_beat {lane} {bytes} {} {}",
            hex(data),
            hex(&strb.to_le_bytes())
        );
        self.call(&call)
    }

    /// A DMA write of whole bytes from lane 0.
    #[track_caller]
    pub fn dma_write(&mut self, addr: u64, data: &[u8]) -> i64 {
        assert_eq!(self.call(&format!("dma_write_begin {addr}")), 0);
        for chunk in data.chunks(64) {
            let mut beat = [0; 64];
            beat[..chunk.len()].copy_from_slice(chunk);
            assert_eq!(self.write_beat(0, chunk.len(), &beat, u64::MAX), 0);
        }
        let tag = self.call("dma_write_end");
        assert!(tag >= 0, "{}", self.last_error());
        tag.into()
    }

    pub fn stat(&mut self, which: i32) -> i64 {
        self.results(&format!("stat {which}"))[0]
    }

    /// Closes the current bridge and ends the process.
    pub fn finish(mut self) -> String {
        assert_eq!(self.call("close"), 0);
        self.process.finish()
    }

    pub fn end(self) -> String {
        self.process.finish()
    }

    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// Address of the first byte of the guest's memory.
pub const MEMORY: u64 = 0x8000_0000;

/// Connects a guest with 64 KiB of memory while the simulator polls, until both
/// know that the link is up.
#[track_caller]
pub fn connect(sim: &mut Simulator, endpoint: &str) -> GuestEndpoint {
    connect_with(sim, endpoint, 64)
}

#[track_caller]
pub fn connect_with(sim: &mut Simulator, endpoint: &str, window: u32) -> GuestEndpoint {
    let endpoint = endpoint.to_owned();
    let guest = std::thread::spawn(move || {
        GuestEndpoint::connect_with(&endpoint, MEMORY, 65536, window, PATIENCE)
    });
    sim.link(true);
    guest.join().unwrap().unwrap()
}

/// Serves the device until it did `count` things.
#[track_caller]
pub fn serve(guest: &mut GuestEndpoint, count: usize) -> Vec<Activity> {
    let mut done = guest.take_activity();
    guest
        .pump_until(&format!("{count} activities"), PATIENCE, |g| {
            done.extend(g.take_activity());
            done.len() >= count
        })
        .unwrap_or_else(|e| panic!("{e}; there were {done:?}"));
    assert_eq!(done.len(), count, "{done:?}");
    done
}

/// A host that sends what it likes.
pub struct Raw {
    socket: zmq::Socket,
    pub session: u64,
    _context: zmq::Context,
}

impl Raw {
    pub fn connect(endpoint: &str) -> Self {
        static SESSIONS: AtomicUsize = AtomicUsize::new(1);
        let context = zmq::Context::new();
        let socket = context.socket(zmq::DEALER).unwrap();
        socket.set_linger(1000).unwrap();
        socket.set_rcvtimeo(PATIENCE.as_millis() as i32).unwrap();
        socket.connect(endpoint).unwrap();
        Self {
            socket,
            session: 0xa11_0000 + SESSIONS.fetch_add(1, Ordering::Relaxed) as u64,
            _context: context,
        }
    }

    pub fn send(&self, message: &[u8]) {
        self.socket.send(message, 0).unwrap();
    }

    /// Whether there was room for the message.
    pub fn try_send(&self, message: &[u8]) -> bool {
        match self.socket.send(message, zmq::DONTWAIT) {
            Ok(()) => true,
            Err(zmq::Error::EAGAIN) => false,
            Err(e) => panic!("{e}"),
        }
    }

    pub fn send_parts(&self, parts: &[&[u8]]) {
        self.socket.send_multipart(parts, 0).unwrap();
    }

    pub fn encode(&self, frame: &Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(self.session, &mut out);
        out
    }

    pub fn put(&self, frame: &Frame<'_>) {
        self.send(&self.encode(frame));
    }

    pub fn init(&self) {
        self.init_with(64);
    }

    pub fn init_with(&self, write_window: u32) {
        self.put(&Frame::Init(Init {
            features: 0,
            write_window,
            max_data: 65536,
            name: "raw host",
        }));
    }

    pub fn receive(&self) -> Vec<u8> {
        self.socket
            .recv_bytes(0)
            .expect("no message from the device")
    }

    /// Has the simulator poll until there is a message. Nothing happens that
    /// the RTL hears of.
    #[track_caller]
    pub fn wait(&self, sim: &mut Simulator) {
        let deadline = Instant::now() + PATIENCE;
        while self.socket.poll(zmq::POLLIN, 0).unwrap() == 0 {
            assert_eq!(sim.poll(READY), NONE);
            assert!(Instant::now() < deadline, "the device sends nothing");
        }
    }

    /// Whether nothing comes for some time.
    pub fn is_silent(&self) -> bool {
        self.socket.poll(zmq::POLLIN, 150).unwrap() == 0
    }

    /// Receives a message of one frame.
    pub fn frame<T>(&self, f: impl FnOnce(&Frame<'_>) -> T) -> T {
        let message = self.receive();
        let (header, payload, rest) = split(&message).unwrap();
        assert!(rest.is_empty());
        assert_eq!(header.session, self.session);
        f(&Frame::decode(&header, payload).unwrap())
    }

    /// Receives frames up to CONFIG; NOOPs may come before it.
    pub fn config(&self) -> Config {
        loop {
            let found = self.frame(|frame| match frame {
                Frame::Config(config) => Some(config.clone()),
                Frame::Noop => None,
                other => panic!("expected CONFIG, got {other:?}"),
            });
            if let Some(config) = found {
                return config;
            }
        }
    }

    /// Receives frames up to a REFUSE; NOOPs may come before it.
    pub fn refusal(&self) -> (accelerator_protocol::wire::Reason, String) {
        loop {
            let found = self.frame(|frame| match frame {
                Frame::Refuse { reason, text } => Some((*reason, (*text).to_owned())),
                Frame::Noop => None,
                other => panic!("expected REFUSE, got {other:?}"),
            });
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// The handshake, with a simulator that polls.
    #[track_caller]
    pub fn up(&self, sim: &mut Simulator) {
        self.init();
        self.wait(sim);
        self.config();
        self.put(&Frame::Ready);
        sim.link(true);
    }
}
