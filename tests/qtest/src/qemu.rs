// SPDX-License-Identifier: MIT OR Apache-2.0

//! A QEMU process: its qtest and QMP sockets and its standard error.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc, Condvar, Mutex, PoisonError,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use accelerator_peers::PATIENCE;
use serde_json::{json, Value};

/// Environment variable with the QEMU to test.
pub const QEMU_VARIABLE: &str = "ACCELERATOR_QEMU";

/// How long a wait for something that has no descriptor sleeps between looks.
const TICK: Duration = Duration::from_millis(5);

/// The QEMU to test.
///
/// # Panics
///
/// There is none, with what to do about it.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os(QEMU_VARIABLE) {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "{QEMU_VARIABLE} is {}, which is no file",
            path.display()
        );
        return path;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("build/qemu/patched/bin/qemu-system-x86_64");
    assert!(
        path.is_file(),
        "no QEMU at build/qemu/patched/bin/qemu-system-x86_64: run scripts/build-qemus.sh, or set \
         {QEMU_VARIABLE} to a qemu-system-x86_64 with the device accelerator-pcie"
    );
    path
}

/// A directory that goes away with its owner, short enough for socket paths.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one that no other test has.
    ///
    /// # Panics
    ///
    /// The directory cannot be made.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("accq-{}-{n}", std::process::id()));
        // Left behind by a killed process that had our number.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("cannot make a scratch directory");
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// An endpoint in it.
    pub fn endpoint(&self) -> String {
        format!("ipc://{}", self.path("hdl").display())
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Lines from a socket, with an end to every wait.
struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Lines {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    fn send(&mut self, line: &str) {
        // If QEMU has died, the answer that does not come tells.
        let _ = self.stream.write_all(line.as_bytes());
        let _ = self.stream.write_all(b"\n");
    }

    /// The next line. `Ok(None)` if none comes in time.
    fn line(&mut self, timeout: Duration) -> Result<Option<String>, String> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(end) = self.buffer.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream
                .set_read_timeout(Some(left))
                .map_err(|e| e.to_string())?;
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err("QEMU closed the socket".into()),
                Ok(n) => self.buffer.extend_from_slice(&bytes[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("cannot read from QEMU: {e}")),
            }
        }
    }
}

/// What QEMU has said on standard error so far.
#[derive(Clone, Default)]
struct Said(Arc<(Mutex<Vec<String>>, Condvar)>);

impl Said {
    fn push(&self, line: String) {
        let mut lines = self.0 .0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
        self.0 .1.notify_all();
    }

    fn all(&self) -> Vec<String> {
        self.0
             .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn wait(&self, timeout: Duration, is_it: impl Fn(&str) -> bool) -> Option<String> {
        let lines = self.0 .0.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |lines: &[String]| lines.iter().find(|l| is_it(l)).cloned();
        let (lines, _) = self
            .0
             .1
            .wait_timeout_while(lines, timeout, |l| find(l).is_none())
            .unwrap_or_else(PoisonError::into_inner);
        find(&lines)
    }
}

/// How to start QEMU.
pub struct Launch {
    within: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    sockets: bool,
}

impl Default for Launch {
    fn default() -> Self {
        Self::new()
    }
}

impl Launch {
    /// A q35 machine of 128 MiB without anything, under qtest.
    pub fn new() -> Self {
        let args = "-nodefaults -no-user-config -display none -M q35 -m 128 -accel qtest";
        Self {
            within: Vec::new(),
            args: args.split(' ').map(str::to_owned).collect(),
            env: Vec::new(),
            sockets: true,
        }
    }

    /// QEMU with these arguments and nothing else.
    pub fn bare() -> Self {
        Self {
            within: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            sockets: false,
        }
    }

    /// With vCPUs that run a ROM, and not under qtest alone.
    #[must_use]
    pub fn guest(mut self, vcpus: u32, rom: &Path) -> Self {
        let accel = self.args.iter().position(|a| a == "qtest");
        self.args[accel.expect("not a bare launch")] = "tcg,thread=multi".into();
        self.args.extend([
            "-smp".into(),
            vcpus.to_string(),
            "-bios".into(),
            rom.display().to_string(),
        ]);
        self
    }

    /// Adds arguments, separated by blanks.
    #[must_use]
    pub fn args(mut self, args: &str) -> Self {
        self.args.extend(args.split_whitespace().map(str::to_owned));
        self
    }

    /// Has a program and its arguments start QEMU, which takes its place.
    #[must_use]
    pub fn within(mut self, program: &[String]) -> Self {
        self.within = program.to_vec();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts QEMU with its sockets in `scratch`.
    ///
    /// # Panics
    ///
    /// It cannot be started.
    pub fn spawn(self, scratch: &Scratch) -> Qemu {
        let mut command = match self.within.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        command.args(&self.args);
        let mut listeners = None;
        if self.sockets {
            let listen = |name: &str| {
                let listener = UnixListener::bind(scratch.path(name)).expect("cannot listen");
                listener
                    .set_nonblocking(true)
                    .expect("cannot set up a socket");
                listener
            };
            listeners = Some((listen("qtest"), listen("qmp")));
            let path = |name| scratch.path(name).display().to_string();
            command.args(["-qtest", &format!("unix:{}", path("qtest"))]);
            command.args(["-qtest-log", "/dev/null"]);
            command.args(["-qmp", &format!("unix:{}", path("qmp"))]);
        }
        for name in [
            "NPU_COSIM_PORT",
            "ACCELERATOR_LOG_LEVEL",
            "ACCELERATOR_ZMQ_WARN_MS",
        ] {
            command.env_remove(name);
        }
        command.envs(self.env);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cannot start QEMU");
        let said = Said::default();
        let stderr = child.stderr.take().expect("standard error is piped");
        let readers = {
            let said = said.clone();
            let read = move || {
                let mut reader = BufReader::new(stderr);
                let mut line = Vec::new();
                while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                    said.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                    line.clear();
                }
            };
            let mut stdout = child.stdout.take().expect("standard output is piped");
            let read_stdout = move || {
                let mut text = Vec::new();
                // What can be read is enough.
                let _ = stdout.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            };
            (thread::spawn(read), thread::spawn(read_stdout))
        };
        Qemu {
            child,
            said,
            readers: Some(readers),
            listeners,
            qtest: None,
            qmp: None,
            events: Vec::new(),
            started: 0,
            next_id: 0,
        }
    }
}

/// A running QEMU; killed when dropped.
pub struct Qemu {
    child: Child,
    said: Said,
    readers: Option<(JoinHandle<()>, JoinHandle<String>)>,
    listeners: Option<(UnixListener, UnixListener)>,
    qtest: Option<Lines>,
    qmp: Option<Lines>,
    /// QMP events that nobody has asked for yet.
    events: Vec<Value>,
    /// qtest commands without an answer.
    started: u32,
    next_id: u64,
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some((stderr, _)) = self.readers.take() {
            let _ = stderr.join();
        }
        if thread::panicking() {
            for line in self.said.all() {
                eprintln!("qemu: {line}");
            }
        }
    }
}

impl Qemu {
    /// Waits for QEMU to connect to both sockets, which it does before it makes
    /// devices.
    ///
    /// # Panics
    ///
    /// It ends or does not connect.
    #[track_caller]
    pub fn connect(&mut self) {
        let (qtest, qmp) = self.listeners.take().expect("connected already");
        let deadline = Instant::now() + PATIENCE;
        let mut accept = |listener: &UnixListener, what| loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream
                        .set_nonblocking(false)
                        .expect("cannot set up a socket");
                    return Lines::new(stream);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => panic!("cannot accept {what}: {e}"),
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("QEMU ended before it connected {what}: {status}");
            }
            assert!(
                Instant::now() < deadline,
                "QEMU did not connect {what} within {PATIENCE:?}"
            );
            thread::sleep(TICK);
        };
        let qmp = accept(&qmp, "QMP");
        let qtest = accept(&qtest, "qtest");
        self.qtest = Some(qtest);
        self.qmp = Some(qmp);
    }

    /// Waits until QEMU has made the machine and answers QMP.
    ///
    /// # Panics
    ///
    /// It does not.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        self.qmp("qmp_capabilities", json!({}));
    }

    /// A property of an object of QEMU.
    ///
    /// # Panics
    ///
    /// There is none.
    #[track_caller]
    pub fn qom_get(&mut self, path: &str, property: &str) -> Value {
        self.qmp("qom-get", json!({"path": path, "property": property}))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in KiB.
    ///
    /// # Panics
    ///
    /// It has ended.
    #[track_caller]
    pub fn memory_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("QEMU has ended");
        status
            .lines()
            .find_map(|l| l.strip_prefix("VmRSS:"))
            .and_then(|l| l.trim().trim_end_matches(" kB").parse().ok())
            .expect("QEMU has ended")
    }

    /// What its main thread has used of CPUs, in hundredths of a second.
    ///
    /// # Panics
    ///
    /// It has ended.
    #[track_caller]
    pub fn cpu_ticks(&self) -> u64 {
        let id = self.id();
        let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/stat"));
        // Its name, in brackets, may hold anything.
        let text = text.expect("QEMU has ended");
        let fields = text.rsplit_once(')').expect("QEMU has ended").1;
        let ticks = |n: usize| {
            fields
                .split_whitespace()
                .nth(n)
                .and_then(|t| t.parse::<u64>().ok())
        };
        ticks(11).expect("user time") + ticks(12).expect("system time")
    }

    /// How often its main thread has gone to sleep by itself. Unlike the use of CPUs this does
    /// not depend on what else the machine does.
    ///
    /// # Panics
    ///
    /// It has ended.
    #[track_caller]
    pub fn sleeps(&self) -> u64 {
        let id = self.id();
        let text = std::fs::read_to_string(format!("/proc/{id}/task/{id}/status"));
        let text = text.expect("QEMU has ended");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|l| l.trim().parse().ok())
            .expect("a number of switches")
    }

    // Standard error.

    /// Everything on standard error so far, one line each.
    pub fn said(&self) -> Vec<String> {
        self.said.all()
    }

    /// Waits for a line on standard error that contains all of `parts`.
    ///
    /// # Panics
    ///
    /// None comes.
    #[track_caller]
    pub fn expect_line(&self, parts: &[&str]) -> String {
        let has_all = |line: &str| parts.iter().all(|p| line.contains(p));
        match self.said.wait(PATIENCE, has_all) {
            Some(line) => line,
            None => panic!("no line with {parts:?} on standard error within {PATIENCE:?}"),
        }
    }

    /// How many lines on standard error contain all of `parts`.
    pub fn count_lines(&self, parts: &[&str]) -> usize {
        let has_all = |line: &&String| parts.iter().all(|p| line.contains(p));
        self.said().iter().filter(has_all).count()
    }

    /// Waits for `count` lines on standard error that contain all of `parts`;
    /// there must not be more of them.
    ///
    /// # Panics
    ///
    /// There are fewer, or more.
    #[track_caller]
    pub fn expect_lines(&self, parts: &[&str], count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.count_lines(parts) < count && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        let found = self.count_lines(parts);
        assert_eq!(found, count, "lines with {parts:?} on standard error");
    }

    /// Lines with all of `parts` are some, and no more than `most` in each ten seconds
    /// since `begin`, which is before the first of them.
    ///
    /// # Panics
    ///
    /// There is none, or there are more.
    #[track_caller]
    pub fn expect_few_lines(&self, parts: &[&str], most: usize, begin: Instant) {
        let found = self.count_lines(parts);
        let periods = 1 + begin.elapsed().as_secs() as usize / 10;
        println!("{parts:?}: {found} lines in {periods} periods");
        assert!(found != 0, "no line with {parts:?}");
        assert!(
            found <= most * periods,
            "{found} lines with {parts:?} in {periods} periods, expected {most} in each at most"
        );
    }

    // The process.

    /// Waits until the process has ended.
    ///
    /// # Panics
    ///
    /// It does not.
    #[track_caller]
    pub fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("cannot wait for QEMU") {
                if let Some((stderr, stdout)) = self.readers.take() {
                    // The pipes are closed: both end at once.
                    let _ = stderr.join();
                    for line in stdout.join().unwrap_or_default().lines() {
                        self.said.push(format!("stdout: {line}"));
                    }
                }
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "QEMU still runs after {timeout:?}"
            );
            thread::sleep(TICK);
        }
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end as a user does.
    ///
    /// # Panics
    ///
    /// There is no shell.
    pub fn terminate(&self) {
        let status = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.id())])
            .status()
            .expect("cannot run sh");
        assert!(status.success(), "kill: {status}");
    }

    /// How many descriptors and threads the process has, without a card. The thread of one that
    /// was there goes after everybody has been told that it is gone, and takes descriptors with
    /// it; libzmq's count a moment longer.
    ///
    /// # Panics
    ///
    /// The process is gone, or has such a thread all the time.
    #[track_caller]
    pub fn at_rest(&self) -> (usize, usize) {
        let begin = Instant::now();
        let of_card = |name: &String| name.starts_with("acc-") || name.starts_with("ZMQbg");
        while self.names_of_threads().iter().any(of_card) {
            assert!(
                begin.elapsed() < PATIENCE,
                "threads of a card that is gone: {:?}",
                self.names_of_threads()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let count = |what: &str| {
            std::fs::read_dir(format!("/proc/{}/{what}", self.id()))
                .expect("cannot look at the process")
                .count()
        };
        (count("fd"), count("task"))
    }

    /// Whether a thread of the process has this name.
    ///
    /// # Panics
    ///
    /// The process is gone.
    pub fn has_thread(&self, name: &str) -> bool {
        self.names_of_threads().iter().any(|n| n == name)
    }

    fn names_of_threads(&self) -> Vec<String> {
        std::fs::read_dir(format!("/proc/{}/task", self.id()))
            .expect("cannot look at the process")
            .filter_map(Result::ok)
            // A thread may end meanwhile.
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok())
            .map(|comm| comm.trim_end().to_owned())
            .collect()
    }

    /// The nice values of the process's threads, its main thread's first.
    ///
    /// # Panics
    ///
    /// The process is gone.
    pub fn nice_values(&self) -> Vec<i32> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.id()));
        let nice = |thread: &Path| -> Option<i32> {
            // A thread may end meanwhile. Its name, in brackets, may hold anything.
            let text = std::fs::read_to_string(thread.join("stat")).ok()?;
            text.rsplit_once(')')?.1.split(' ').nth(17)?.parse().ok()
        };
        let main = tasks.join(self.id().to_string());
        std::fs::read_dir(&tasks)
            .expect("cannot look at the process")
            .map(|entry| entry.expect("cannot look at the process").path())
            .filter(|path| *path != main)
            .fold(Vec::from_iter(nice(&main)), |mut all, path| {
                all.extend(nice(&path));
                all
            })
    }

    // QMP.

    /// Sends a QMP command without waiting for its answer; returns its number.
    ///
    /// # Panics
    ///
    /// Not connected.
    pub fn start_qmp(&mut self, command: &str, arguments: Value) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({"execute": command, "arguments": arguments, "id": id});
        let qmp = self.qmp.as_mut().expect("not connected");
        qmp.send(&request.to_string());
        id
    }

    /// One JSON object from QMP.
    fn qmp_object(&mut self, timeout: Duration) -> Option<Value> {
        let qmp = self.qmp.as_mut().expect("not connected");
        match qmp.line(timeout) {
            Ok(Some(line)) => Some(serde_json::from_str(&line).expect("QMP is JSON")),
            Ok(None) => None,
            Err(e) => panic!("QMP: {e}"),
        }
    }

    /// Waits for the answer to a command: what it returns, or its error.
    ///
    /// # Errors
    ///
    /// What QEMU says about it.
    ///
    /// # Panics
    ///
    /// No answer comes.
    #[track_caller]
    pub fn finish_qmp(&mut self, id: u64) -> Result<Value, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(mut object) = self.qmp_object(left) else {
                panic!("no answer to QMP command {id} within {PATIENCE:?}");
            };
            if object["id"] == json!(id) {
                return match object.get("error") {
                    Some(error) => Err(error["desc"].as_str().unwrap_or_default().to_owned()),
                    None => Ok(object["return"].take()),
                };
            }
            if object.get("event").is_some() {
                self.events.push(object);
            }
        }
    }

    /// Runs a QMP command.
    ///
    /// # Panics
    ///
    /// QEMU refuses it or does not answer.
    #[track_caller]
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Value {
        let id = self.start_qmp(command, arguments);
        match self.finish_qmp(id) {
            Ok(value) => value,
            Err(e) => panic!("QMP command {command}: {e}"),
        }
    }

    /// Waits for a QMP event, also one that came earlier.
    ///
    /// # Panics
    ///
    /// It does not come.
    #[track_caller]
    pub fn expect_event(&mut self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(i) = self.events.iter().position(|e| e["event"] == name) {
                return self.events.remove(i);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.qmp_object(left) {
                Some(object) if object.get("event").is_some() => self.events.push(object),
                Some(other) => panic!("expected event {name}, got {other}"),
                None => panic!("no event {name} within {PATIENCE:?}"),
            }
        }
    }

    // qtest.

    /// Sends a qtest command without waiting for its answer.
    ///
    /// # Panics
    ///
    /// Not connected.
    pub fn start(&mut self, command: &str) {
        let qtest = self.qtest.as_mut().expect("not connected");
        qtest.send(command);
        self.started += 1;
    }

    /// The answer to the oldest command without one, if it comes in time.
    ///
    /// # Panics
    ///
    /// QEMU refuses the command or has ended.
    #[track_caller]
    pub fn try_reply(&mut self, timeout: Duration) -> Option<String> {
        assert!(self.started > 0, "no qtest command is waiting");
        let qtest = self.qtest.as_mut().expect("not connected");
        match qtest.line(timeout) {
            Ok(Some(line)) => {
                self.started -= 1;
                match line.strip_prefix("OK") {
                    Some(value) => Some(value.trim().to_owned()),
                    None => panic!("qtest: expected OK, got {line:?}"),
                }
            }
            Ok(None) => None,
            Err(e) => panic!("qtest: {e}"),
        }
    }

    /// The answer to the oldest command without one.
    ///
    /// # Panics
    ///
    /// It does not come, or QEMU refuses the command.
    #[track_caller]
    pub fn reply(&mut self) -> String {
        match self.try_reply(PATIENCE) {
            Some(value) => value,
            None => panic!("no answer to a qtest command within {PATIENCE:?}"),
        }
    }

    /// The answer as a number.
    ///
    /// # Panics
    ///
    /// It does not come or is none.
    #[track_caller]
    pub fn reply_value(&mut self) -> u64 {
        let text = self.reply();
        number(&text)
    }

    /// Runs a qtest command.
    ///
    /// # Panics
    ///
    /// QEMU refuses it or does not answer.
    #[track_caller]
    pub fn qtest(&mut self, command: &str) -> String {
        self.start(command);
        self.reply()
    }

    /// Sends a memory read of 1, 2, 4 or 8 bytes; see [`Qemu::reply_value`].
    pub fn start_load(&mut self, addr: u64, len: u8) {
        self.start(&format!("read{} {addr:#x}", suffix(len)));
    }

    /// Sends a memory write of 1, 2, 4 or 8 bytes; see [`Qemu::reply`].
    pub fn start_store(&mut self, addr: u64, len: u8, value: u64) {
        self.start(&format!("write{} {addr:#x} {value:#x}", suffix(len)));
    }

    /// Reads 1, 2, 4 or 8 bytes.
    ///
    /// # Panics
    ///
    /// QEMU does not answer.
    #[track_caller]
    pub fn load(&mut self, addr: u64, len: u8) -> u64 {
        self.start_load(addr, len);
        self.reply_value()
    }

    /// Writes 1, 2, 4 or 8 bytes.
    ///
    /// # Panics
    ///
    /// QEMU does not answer.
    #[track_caller]
    pub fn store(&mut self, addr: u64, len: u8, value: u64) {
        self.start_store(addr, len, value);
        self.reply();
    }

    /// Reads guest memory.
    ///
    /// # Panics
    ///
    /// QEMU does not answer.
    #[track_caller]
    pub fn read_memory(&mut self, addr: u64, len: usize) -> Vec<u8> {
        if len == 0 {
            return Vec::new();
        }
        let text = self.qtest(&format!("read {addr:#x} {len:#x}"));
        let digits = text.strip_prefix("0x").expect("qtest answers in hex");
        (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).expect("hex digits"))
            .collect()
    }

    /// Writes guest memory.
    ///
    /// # Panics
    ///
    /// QEMU does not answer.
    #[track_caller]
    pub fn write_memory(&mut self, addr: u64, data: &[u8]) {
        let digits: String = data.iter().map(|b| format!("{b:02x}")).collect();
        self.qtest(&format!("write {addr:#x} {:#x} 0x{digits}", data.len()));
    }

    /// Fills guest memory.
    ///
    /// # Panics
    ///
    /// QEMU does not answer.
    #[track_caller]
    pub fn fill_memory(&mut self, addr: u64, len: usize, value: u8) {
        self.qtest(&format!("memset {addr:#x} {len:#x} {value:#x}"));
    }

    /// Reads 1, 2 or 4 bytes from an I/O port.
    ///
    /// # Panics
    ///
    /// QEMU does not answer.
    #[track_caller]
    pub fn port_in(&mut self, port: u16, len: u8) -> u32 {
        let text = self.qtest(&format!("in{} {port:#x}", suffix(len)));
        number(&text) as u32
    }

    /// Writes 1, 2 or 4 bytes to an I/O port.
    ///
    /// # Panics
    ///
    /// QEMU does not answer.
    #[track_caller]
    pub fn port_out(&mut self, port: u16, len: u8, value: u32) {
        self.qtest(&format!("out{} {port:#x} {value:#x}", suffix(len)));
    }
}

fn suffix(len: u8) -> char {
    match len {
        1 => 'b',
        2 => 'w',
        4 => 'l',
        8 => 'q',
        _ => panic!("access of {len} bytes, expected 1, 2, 4 or 8"),
    }
}

#[track_caller]
fn number(text: &str) -> u64 {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u64::from_str_radix(digits, 16) {
        Ok(n) => n,
        Err(e) => panic!("qtest answered {text:?}: {e}"),
    }
}
