// SPDX-License-Identifier: MIT OR Apache-2.0

//! A QEMU that may do little: `-sandbox`, and limits on descriptors, threads and
//! memory. libzmq ends the process over some of what is refused; plugging a card in
//! has to fail instead, with a sentence, and the machine to go on.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use accelerator_peers::{
    hdl::{sample_config, HdlEndpoint},
    memory::wanted,
    Event,
};
use accelerator_protocol::limit::LINES;
use accelerator_qtest::{
    guest,
    machine::{device_args, ok},
    pci::{self, command, CARD},
    qemu::Launch,
    Machine, Options, Qemu, Scratch, PATIENCE,
};
use serde_json::json;

/// A simulator that takes every session.
struct Simulator {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    fn start(endpoint: &str) -> Self {
        let mut hdl = ok(HdlEndpoint::bind(endpoint, sample_config(2)));
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                // What comes, if anything does, is up to QEMU.
                if let Ok(Some(Event::Reset { tag, .. })) = hdl.try_event(Duration::from_millis(20))
                {
                    // The session may be over.
                    let _ = hdl.reset_done(tag);
                }
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has panicked only if the test has.
            let _ = thread.join();
        }
    }
}

/// A machine into which a card is plugged at run time.
struct Vm {
    qemu: Qemu,
    endpoint: String,
    // What QEMU has sockets to.
    _simulator: Simulator,
    _scratch: Scratch,
}

impl Vm {
    fn start(args: &str) -> Self {
        let scratch = Scratch::new();
        let endpoint = scratch.endpoint();
        let simulator = Simulator::start(&endpoint);
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(scratch.path("hdl"), open).expect("the socket is there");
        let mut qemu = Launch::new()
            .args(args)
            .args("-device pcie-root-port,id=rp0,bus=pcie.0,addr=4.0")
            .spawn(&scratch);
        qemu.connect();
        qemu.wait_ready();
        Self {
            qemu,
            endpoint,
            _simulator: simulator,
            _scratch: scratch,
        }
    }

    /// As [`limit`].
    fn limit(&self, resource: &str, value: Option<u64>) {
        limit(&self.qemu, resource, value);
    }

    /// Plugs the card in. Whatever comes of it, the machine runs on.
    #[track_caller]
    fn plug(&mut self) -> Result<(), String> {
        let arguments = json!({
            "driver": "accelerator-pcie", "id": "card", "bus": "rp0",
            "endpoint": self.endpoint, "handshake-timeout": 1000
        });
        let id = self.qemu.start_qmp("device_add", arguments);
        let result = self.qemu.finish_qmp(id).map(drop);
        self.qemu.qmp("query-status", json!({}));
        result
    }

    #[track_caller]
    fn unplug(&mut self) {
        self.qemu.qmp("device_del", json!({"id": "card"}));
        self.qemu.qmp("system_reset", json!({}));
        self.qemu.expect_event("DEVICE_DELETED");
    }

    /// Plugs the card in under one limit after the other, the smallest first, until
    /// it works; what came of the others.
    #[track_caller]
    fn try_limits(&mut self, resource: &str, limits: impl Iterator<Item = u64>) -> Vec<String> {
        let mut failures = Vec::new();
        for limit in limits {
            self.limit(resource, Some(limit));
            let result = self.plug();
            self.limit(resource, None);
            match result {
                Ok(()) => {
                    self.unplug();
                    return failures;
                }
                Err(e) => failures.push(e),
            }
        }
        panic!("it never worked: {failures:#?}");
    }
}

/// Sets what prlimit(1) calls `resource`, or takes the limit as far away as it can be.
fn limit(qemu: &Qemu, resource: &str, value: Option<u64>) {
    let value = value.map_or_else(|| hard_limit(qemu, resource), |v| v.to_string());
    let id = qemu.id();
    let limit = ["--pid", &id.to_string(), &format!("--{resource}={value}:")].map(str::to_owned);
    // Whoever owns the process may do so; root may not in every container.
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        for (option, field) in [("reuid", "Uid:"), ("regid", "Gid:")] {
            command.arg(format!("--{option}={}", status(&id.to_string(), field)[0]));
        }
        command.args(["--clear-groups", "prlimit"]);
        command
    } else {
        Command::new("prlimit")
    };
    let status = command.args(limit).status();
    let status = status.expect("prlimit and setpriv are part of util-linux");
    assert!(status.success(), "prlimit: {status}");
}

fn hard_limit(qemu: &Qemu, resource: &str) -> String {
    let path = format!("/proc/{}/limits", qemu.id());
    let limits = std::fs::read_to_string(path).expect("QEMU runs");
    let name = match resource {
        "nofile" => "Max open files",
        "nproc" => "Max processes",
        _ => "Max address space",
    };
    let line = limits.lines().find_map(|l| l.strip_prefix(name));
    let hard = line.and_then(|l| l.split_whitespace().nth(1));
    hard.expect("a soft and a hard limit").to_owned()
}

/// Numbers of the descriptors that are open.
fn descriptors(qemu: &Qemu) -> BTreeSet<u64> {
    let path = format!("/proc/{}/fd", qemu.id());
    std::fs::read_dir(path)
        .expect("QEMU runs")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

#[test]
fn every_small_number_of_descriptors() {
    let mut vm = Vm::start("");
    let used = descriptors(&vm.qemu);
    // So that there are 0, 1, 2, … free ones below.
    let limits = (0..512).filter(|n| !used.contains(n));
    let failures = vm.try_limits("nofile", limits);
    let told = failures.iter().filter(|e| e.contains("RLIMIT_NOFILE"));
    assert!(told.count() > 20, "{failures:#?}");
    ok_again(&mut vm);
}

/// Without limits all is as ever.
#[track_caller]
fn ok_again(vm: &mut Vm) {
    if let Err(e) = vm.plug() {
        panic!("without a limit: {e}");
    }
}

/// The numbers behind a name in the status of a process; none if it is gone.
fn status(id: &str, name: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    let numbers = line.unwrap_or_default().split_whitespace();
    numbers.filter_map(|n| n.parse().ok()).collect()
}

fn is_root() -> bool {
    status("self", "Uid:")[0] == 0
}

/// Threads of all processes of the owner of `id`.
fn threads_beside(id: u32) -> u64 {
    let owner = status(&id.to_string(), "Uid:")[0];
    std::fs::read_dir("/proc")
        .expect("proc is there")
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_owned()))
        .filter(|id| status(id, "Uid:").first() == Some(&owner))
        .filter_map(|id| status(&id, "Threads:").first().copied())
        .sum()
}

#[test]
fn every_small_number_of_threads() {
    // The limit is not for root.
    let mut vm = Vm::start(if is_root() {
        "-run-with user=nobody"
    } else {
        ""
    });
    let now = threads_beside(vm.qemu.id());
    let limits = std::iter::once(1).chain(now.saturating_sub(1)..now + 200);
    let failures = vm.try_limits("nproc", limits);
    assert!(failures[0].contains("threads"), "{failures:#?}");
    ok_again(&mut vm);
}

#[test]
fn every_small_amount_of_memory() {
    let mut vm = Vm::start("");
    let size = status(&vm.qemu.id().to_string(), "VmSize:")[0];
    // QEMU needs some for the device itself, and would end without.
    let mib = (2..64).chain((64..4000).step_by(20));
    let limits = mib.map(|mib| (size << 10) + (mib << 20));
    let failures = vm.try_limits("as", limits);
    let told = failures.iter().filter(|e| e.contains("memory"));
    assert!(told.count() > 10, "{failures:#?}");
    ok_again(&mut vm);
}

/// Which pages hold code that TCG has translated is in a file, made when the guest first lets
/// the card access memory. It may do so as often as it likes.
#[test]
fn no_descriptor_for_marks_of_code_is_told_a_few_times() {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let _simulator = Simulator::start(&endpoint);
    let rom = scratch.path("rom");
    guest::write_rom(&rom);
    let mut qemu = Launch::new()
        .guest(1, &rom)
        .args("-object memory-backend-memfd,id=ram,size=128M,share=on -machine memory-backend=ram")
        .args(&device_args(&endpoint, ""))
        .spawn(&scratch);
    qemu.connect();
    qemu.wait_ready();
    pci::enable_root_port(&mut qemu);
    // None is free below the first that is not used, and QEMU may poll those that are.
    let used = descriptors(&qemu);
    let free = (0..).find(|n| !used.contains(n));
    limit(&qemu, "nofile", free);
    let begin = Instant::now();
    for _ in 0..100 {
        CARD.change_command(&mut qemu, command::BUS_MASTER, 0);
        CARD.change_command(&mut qemu, 0, command::BUS_MASTER);
    }
    let line = ["WARN", "card", "no memory for marks of translated code"];
    qemu.expect_line(&line);
    qemu.expect_few_lines(&line, LINES as usize, begin);
    // And when there are descriptors all is as it should be.
    limit(&qemu, "nofile", None);
    CARD.change_command(&mut qemu, command::BUS_MASTER, 0);
    let begin = Instant::now();
    while wanted() {
        let reached = qemu.qom_get("/machine/peripheral/card", "guest-memory");
        if reached.as_str().is_some_and(|r| r.starts_with("mapped")) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{reached}");
        thread::sleep(Duration::from_millis(10));
    }
}

const SANDBOXES: [&str; 5] = [
    "on",
    "on,obsolete=deny",
    "on,elevateprivileges=deny",
    "on,spawn=deny",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny",
];

#[test]
fn a_card_works_in_a_sandbox() {
    for sandbox in SANDBOXES {
        let mut m = Machine::start_with(
            sample_config(2),
            &Options {
                args: format!("-sandbox {sandbox}"),
                ..Options::default()
            },
        );
        m.check_alive();
        m.qemu.qmp("device_del", json!({"id": "card"}));
        m.qemu.qmp("system_reset", json!({}));
        m.qemu.expect_event("DEVICE_DELETED");
        drop(m);
        let mut vm = Vm::start(&format!("-sandbox {sandbox}"));
        if let Err(e) = vm.plug() {
            panic!("-sandbox {sandbox}: {e}");
        }
    }
}

#[test]
fn where_threads_may_not_set_their_scheduling_a_card_is_refused() {
    for sandbox in [
        "on,resourcecontrol=deny",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ] {
        let mut vm = Vm::start(&format!("-sandbox {sandbox}"));
        for _ in 0..2 {
            let e = vm.plug().unwrap_err();
            assert!(e.contains("resourcecontrol=deny"), "{e}");
        }
        let scratch = Scratch::new();
        let mut qemu = Launch::new()
            .args(&format!("-sandbox {sandbox}"))
            .args(&device_args(&scratch.endpoint(), ""))
            .spawn(&scratch);
        assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1), "{sandbox}");
        qemu.expect_line(&["resourcecontrol=deny"]);
    }
}
