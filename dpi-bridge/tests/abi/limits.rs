// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the system, the host or the user sets limits: descriptors, threads, lines
//! of the log, a simulation that is started twice in one process.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    process::Command,
    time::{Duration, Instant},
};

use accelerator_protocol::wire::{Frame, Init, Reason};

use crate::support::*;

/// Sets a limit of the process that is about to be started.
fn limited(command: &mut Command, resource: libc::__rlimit_resource_t, limit: u64) {
    let set = move || {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: `limit` is valid for reads.
        if unsafe { libc::setrlimit(resource, &limit) } == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    };
    // SAFETY: the closure calls one function, which is safe after a fork.
    unsafe { command.pre_exec(set) };
}

/// A simulator that tries to open all it can in one process; how its last calls
/// ended.
fn open_all(sim: &mut Simulator, folder: &Folder) -> bool {
    let mut all = true;
    assert!(sim.open(&folder.endpoint("s"), "card"));
    assert_eq!(sim.call("set_id 0x10ee 1 0 0 0x120000 1"), 0);
    assert_eq!(sim.call("set_bar 0 4096 0 0"), 0);
    if sim.call("start") != 0 {
        let text = sim.last_error();
        assert!(text.contains("a socket needs up to"), "{text}");
        all = false;
    }
    for (slot, kind) in [(1, "nic"), (2, "uart")] {
        let line = format!("{kind}_open {slot} {} {kind}", folder.endpoint(kind));
        if sim.raw(&line) != "1" {
            let text = sim.null_error();
            assert!(text.contains("a socket needs up to"), "{text}");
            all = false;
        }
    }
    all
}

/// At no limit of descriptors is there anything but a bridge and its channels, or
/// a sentence that says what is missing.
#[test]
fn too_few_descriptors_are_told_and_end_nothing() {
    let (mut refused, mut whole) = (0, 0);
    // Below, the program's libraries cannot be loaded.
    for limit in 6..=120 {
        let folder = Folder::new();
        let mut sim = Simulator::start_command(program(Language::C99, false), |command| {
            command.env("ACCELERATOR_LOG_LEVEL", "error");
            limited(command, libc::RLIMIT_NOFILE, limit);
        });
        if open_all(&mut sim, &folder) {
            whole += 1;
        } else {
            refused += 1;
        }
        sim.finish();
    }
    assert!(refused > 20 && whole > 10, "{refused} refused, {whole} not");
}

/// The same for threads, as a user whose limit counts.
#[test]
fn too_few_threads_are_told_and_end_nothing() {
    // Of nobody else on this machine.
    const USER: u32 = 54_321;
    // SAFETY: no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    let (mut refused, mut whole) = (0, 0);
    for limit in 1..=if root { 16 } else { 1 } {
        let folder = Folder::new();
        // The folders on the way to the program may be closed to that user. A copy
        // that this process made would stay open for writing, and so not be run, in
        // what other tests start meanwhile.
        let copy = folder.path("simulator");
        let program = program(Language::C99, false);
        let copied = Command::new("cp").arg(program).arg(&copy).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(folder.path(""), fs::Permissions::from_mode(0o777)).unwrap();
        let mut sim = Simulator::start_command(&copy, |command| {
            command
                .env("ACCELERATOR_LOG_LEVEL", "error")
                .current_dir("/");
            if root {
                command.uid(USER).gid(USER);
            }
            limited(command, libc::RLIMIT_NPROC, limit);
        });
        if open_all(&mut sim, &folder) {
            whole += 1;
        } else {
            refused += 1;
        }
        sim.finish();
    }
    assert!(refused >= 1, "{whole} not refused");
    assert!(!root || whole >= 1, "{refused} refused, {whole} not");
}

/// More connections than there are descriptors: those that find none are closed,
/// and when the others have gone a host gets its session.
#[test]
fn connections_beyond_the_limit_end_nothing() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start_command(program(Language::C99, false), |command| {
        command.env("ACCELERATOR_LOG_LEVEL", "warn");
        limited(command, libc::RLIMIT_NOFILE, 64);
    });
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let knocks: Vec<UnixStream> = (0..200)
        .map(|_| UnixStream::connect(folder.path("s")).unwrap())
        .collect();
    for _ in 0..20 {
        assert_eq!(sim.call("polls 15 100"), 0);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(knocks);
    let mut guest = connect(&mut sim, &endpoint);
    guest.close().unwrap();
    let log = sim.finish();
    let lines = log.matches("was not taken").count();
    assert!((1..=9).contains(&lines), "{log}");
    assert!(log.contains("more like this are left out"), "{log}");
}

/// A simulation that is started again in the same process, as an interactive
/// simulator does it, without having closed anything.
#[test]
fn a_simulation_that_is_restarted_in_its_process_takes_over_from_itself() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let _old = connect(&mut sim, &endpoint);
    sim.slot = 1;
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0, "{}", sim.last_error());
    let mut guest = connect(&mut sim, &endpoint);
    guest.close().unwrap();
    sim.slot = 0;
    assert_eq!(sim.call("poll 15"), EINVAL);
    let text = sim.null_error();
    assert!(text.contains("the simulation was restarted"), "{text}");
    // Channels too.
    for kind in ["nic", "uart"] {
        let of = |slot: i32| format!("{kind}_open {slot} {} {kind}", folder.endpoint(kind));
        assert_eq!(sim.raw(&of(2)), "1");
        sim.slot = 2;
        assert!(sim.call(&format!("{kind}_poll")) >= 0);
        assert_eq!(sim.raw(&of(3)), "1", "{}", sim.null_error());
        assert_eq!(sim.call(&format!("{kind}_poll")), EINVAL);
        sim.slot = 3;
        assert!(sim.call(&format!("{kind}_poll")) >= 0);
        assert_eq!(sim.call(&format!("{kind}_close")), 0);
    }
    sim.slot = 1;
    let log = sim.finish();
    let said = "accelerator[card] was left open by an earlier run of the simulation";
    assert!(log.contains(said), "{log}");
}

/// Two bridges of one design with the same endpoint are a mistake and no restart.
#[test]
fn two_bridges_with_one_endpoint_are_told() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    sim.slot = 1;
    sim.usual(&endpoint);
    sim.fails("start", EIO, &[&endpoint, "in use"]);
    sim.slot = 0;
    connect(&mut sim, &endpoint);
    let log = sim.finish();
    let said = format!("accelerator[card] of this process has {endpoint} too");
    assert!(log.contains(&said), "{log}");
}

/// What hosts cause again and again is a few lines and a number, whatever it is.
#[test]
fn hosts_cannot_fill_the_log() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start_plain(&[("ACCELERATOR_LOG_LEVEL", "info")]);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    for _ in 0..50 {
        // Breaks the protocol, and says goodbye.
        host.up(&mut sim);
        host.send(b"no frame");
        sim.link(false);
        host.refusal();
        host.up(&mut sim);
        host.put(&Frame::Bye {
            reason: Reason::Closing,
        });
        sim.link(false);
        host.send(b"no frame either");
        assert_eq!(sim.call("polls 15 20"), 0);
    }
    let log = sim.finish();
    for kind in ["link up", "link down", "broke the protocol", "no frame"] {
        println!("{kind}: {}", log.matches(kind).count());
    }
    // Some seconds, in which each kind may begin anew.
    let lines = log.lines().count();
    assert!(lines < 150, "{lines} lines:\n{log}");
    assert!(log.contains("more like this are left out"), "{log}");
}

/// So does one of an earlier version, of which a line tells with each session.
#[test]
fn a_host_of_old_cannot_fill_the_log() {
    let begin = Instant::now();
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start_plain(&[("ACCELERATOR_LOG_LEVEL", "info")]);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    for _ in 0..30 {
        let mut init = host.encode(&Frame::Init(Init {
            features: 0,
            write_window: 64,
            max_data: 65536,
            name: "of old",
        }));
        // The minor version of the frame.
        init[5] = 1;
        host.send(&init);
        host.wait(&mut sim);
        host.config();
        host.put(&Frame::Ready);
        sim.link(true);
        host.put(&Frame::Bye {
            reason: Reason::Closing,
        });
        sim.link(false);
    }
    let periods = 1 + begin.elapsed().as_secs() as usize / 10;
    let log = sim.finish();
    let lines = log.matches("does not tell what the guest enables").count();
    println!("{lines} lines in {periods} periods");
    assert!((1..=8 * periods).contains(&lines), "{lines}:\n{log}");
    // On a machine that is so slow that none had to be left out this would be no test.
    let last = log.lines().any(|line| {
        line.contains("does not tell what the guest enables")
            && line.contains("more like this are left out")
    });
    assert!(last, "{log}");
}

/// What a host says is one line of the log, with nothing in it that a terminal
/// obeys.
#[test]
fn the_text_of_a_host_is_one_printable_line() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start_plain(&[("ACCELERATOR_LOG_LEVEL", "info")]);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    host.put(&Frame::Refuse {
        reason: Reason::Closing,
        text: "bye\n2026-01-01T00:00:00.000000Z ERROR accelerator: forged\x1b[31m",
    });
    sim.link(false);
    let log = sim.finish();
    assert!(log.contains(r"bye\n2026-01-01"), "{log}");
    assert!(log.contains(r"forged\u{1b}[31m"), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
    assert!(
        !log.lines()
            .any(|l| l.ends_with("forged") || l.starts_with("2026-01-01")),
        "{log}"
    );
}
