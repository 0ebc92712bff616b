// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guest time that follows the simulator's: the property `sim-clock`.

use std::time::{Duration, Instant};

use accelerator_peers::{hdl::sample_config, Event, HdlEndpoint};
use accelerator_protocol::{
    wire::{Reason, ResetKind},
    Config,
};
use accelerator_qtest::{
    machine::{device_args, ok},
    qemu::Launch,
    Machine, Options, Scratch, PATIENCE,
};
use serde_json::json;

/// The HPET counts guest time in steps of 10 ns (IA-PC HPET specification).
const HPET: u64 = 0xfed0_0000;
const HPET_CONFIG: u64 = HPET + 0x10;
const HPET_COUNTER: u64 = HPET + 0xf0;

const STEP: u64 = 1000;

fn config() -> Config {
    Config {
        clock_period_ps: 4000,
        ..sample_config(2)
    }
}

/// A machine with vCPUs and with guest time to look at.
fn start(properties: &str) -> Machine {
    let mut m = Machine::start_with(
        config(),
        &Options {
            properties: properties.into(),
            vcpus: 2,
            // For a second card.
            args: "-device pcie-root-port,id=rp1,bus=pcie.0,addr=5.0,chassis=2".into(),
            ..Options::default()
        },
    );
    m.qemu.store(HPET_CONFIG, 8, 1);
    m
}

fn guest_ns(m: &mut Machine) -> u64 {
    10 * m.qemu.load(HPET_COUNTER, 8)
}

fn try_set(m: &mut Machine, value: u64) -> Result<(), String> {
    let id = m.qemu.start_qmp(
        "qom-set",
        json!({"path": "/machine/peripheral/card", "property": "sim-clock", "value": value}),
    );
    m.qemu.finish_qmp(id).map(drop)
}

fn set(m: &mut Machine, value: u64) {
    try_set(m, value).unwrap_or_else(|e| panic!("sim-clock={value}: {e}"));
}

fn follows(m: &mut Machine) -> bool {
    m.qemu.qom_get("/machine/peripheral/card", "follows-sim") == json!(true)
}

#[track_caller]
fn expect_clock(m: &mut Machine, interval: u64) {
    match ok(m.hdl.next_event(PATIENCE)) {
        Event::Clock { interval: found } => assert_eq!(found, interval),
        other => panic!("expected CLOCK, got {other:?}"),
    }
}

/// Tells a time and waits until QEMU has seen it: a read comes after it.
#[track_caller]
fn tell(m: &mut Machine, ns: u64) {
    ok(m.hdl.time(ns));
    m.read(0, 0x40, 4, 0x1234);
}

/// Tells the same time until it is followed: a machine that has just begun to
/// run is not.
#[track_caller]
fn begin(m: &mut Machine, ns: u64) {
    let deadline = Instant::now() + PATIENCE;
    while !follows(m) {
        assert!(Instant::now() < deadline, "the time is not followed");
        tell(m, ns);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn runs_by_itself(m: &mut Machine) {
    let before = guest_ns(m);
    let deadline = Instant::now() + PATIENCE;
    while guest_ns(m) < before + 1_000_000 {
        assert!(Instant::now() < deadline, "guest time stands still");
    }
}

#[test]
fn guest_time_is_what_the_simulator_tells() {
    let mut m = start("");
    runs_by_itself(&mut m);
    set(&mut m, STEP);
    expect_clock(&mut m, STEP);
    begin(&mut m, 77);
    let mut now = guest_ns(&mut m);
    assert_eq!(guest_ns(&mut m), now, "nothing was told");
    let mut told = 77;
    for step in [STEP, 0, 10, 5_000_000, STEP, 999_999_990] {
        told += step;
        tell(&mut m, told);
        let then = guest_ns(&mut m);
        assert!(then.abs_diff(now + step) <= 10, "{step}: {now} {then}");
        now += step;
    }
    // No simulator is so fast, but one may send it.
    tell(&mut m, told + 3_600_000_000_000);
    let then = guest_ns(&mut m);
    assert!(then.abs_diff(now + 1_000_000_000) <= 10, "{now} {then}");
    // Another step, and none.
    set(&mut m, 2 * STEP);
    expect_clock(&mut m, 2 * STEP);
    assert!(follows(&mut m));
    assert_eq!(guest_ns(&mut m), then);
    set(&mut m, 0);
    expect_clock(&mut m, 0);
    assert!(!follows(&mut m));
    let after = guest_ns(&mut m);
    assert!(after - then < PATIENCE.as_nanos() as u64, "a jump");
    runs_by_itself(&mut m);
    m.check_alive();
}

#[test]
fn what_happens_while_the_machine_is_stopped_takes_no_time() {
    // From the command line.
    let mut m = start("sim-clock=1000");
    begin(&mut m, 0);
    let now = guest_ns(&mut m);
    m.qemu.qmp("stop", json!({}));
    tell(&mut m, 5_000_000);
    assert_eq!(guest_ns(&mut m), now);
    m.qemu.qmp("cont", json!({}));
    assert_eq!(guest_ns(&mut m), now);
    tell(&mut m, 5_000_500);
    assert!(guest_ns(&mut m).abs_diff(now + 500) <= 10);
    // Stopped and released: it goes on where it was.
    m.qemu.qmp("stop", json!({}));
    set(&mut m, 0);
    expect_clock(&mut m, 0);
    let stopped = guest_ns(&mut m);
    assert!(stopped.abs_diff(now + 500) <= 10);
    m.qemu.qmp("cont", json!({}));
    runs_by_itself(&mut m);
}

#[test]
fn a_reset_and_the_end_of_the_machine_need_no_time() {
    let mut m = start("");
    set(&mut m, STEP);
    expect_clock(&mut m, STEP);
    begin(&mut m, 0);
    let now = guest_ns(&mut m);
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("RESET");
    let tag = ok(m.hdl.expect_reset(ResetKind::Cold));
    ok(m.hdl.reset_done(tag));
    m.enumerate();
    m.settle_resets();
    assert!(follows(&mut m));
    m.qemu.store(HPET_CONFIG, 8, 1);
    // The reset has set its counter to 0.
    assert!(guest_ns(&mut m) <= now);
    let now = guest_ns(&mut m);
    tell(&mut m, 1000);
    assert!(guest_ns(&mut m).abs_diff(now + 1000) <= 10);
    m.qemu.qmp("quit", json!({}));
    assert!(m.qemu.wait_exit(PATIENCE).success());
}

#[test]
fn time_runs_by_itself_while_the_simulator_is_away() {
    let mut m = start("");
    set(&mut m, STEP);
    expect_clock(&mut m, STEP);
    begin(&mut m, 0);
    let before = guest_ns(&mut m);
    m.kill_endpoint();
    m.qemu
        .expect_line(&["WARN", "card", "guest time runs by itself until"]);
    assert!(!follows(&mut m));
    assert!(guest_ns(&mut m) >= before);
    runs_by_itself(&mut m);
    m.restart_endpoint(config());
    ok(m.hdl.wait_for_session(PATIENCE));
    expect_clock(&mut m, STEP);
    begin(&mut m, 5);
    let now = guest_ns(&mut m);
    assert_eq!(guest_ns(&mut m), now);
    tell(&mut m, 1005);
    assert!(guest_ns(&mut m).abs_diff(now + 1000) <= 10);
}

#[test]
fn a_simulator_that_comes_and_goes_does_not_fill_the_log() {
    let from = Instant::now();
    let mut m = start("sim-clock=1000");
    begin(&mut m, 0);
    for round in 1..=30 {
        ok(m.hdl.close());
        ok(m.hdl.wait_for_session(PATIENCE));
        expect_clock(&mut m, STEP);
        begin(&mut m, 1000 * round);
    }
    for parts in [
        ["WARN", "card: guest time runs by itself until"],
        ["INFO", "card: guest time follows"],
    ] {
        m.qemu.expect_few_lines(&parts, 8, from);
    }
}

#[test]
fn an_unplugged_card_lets_time_run() {
    let mut m = start("");
    set(&mut m, STEP);
    expect_clock(&mut m, STEP);
    begin(&mut m, 0);
    m.qemu.qmp("device_del", json!({"id": "card"}));
    // No guest runs that would eject the card; a reset does.
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("RESET");
    m.qemu
        .expect_line(&["card", "guest time does not follow the simulator's"]);
    m.qemu.store(HPET_CONFIG, 8, 1);
    runs_by_itself(&mut m);
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let mut m = start("");
    for value in [1, 99, 100_000_001, 4_294_967_295] {
        let e = try_set(&mut m, value).unwrap_err();
        let parts = ["sim-clock", &value.to_string(), "100 to 100000000"];
        assert!(parts.iter().all(|p| e.contains(p)), "{e}");
    }
    m.expect_quiet();
    // Without a clock period there is no time.
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            vcpus: 1,
            ..Options::default()
        },
    );
    let e = try_set(&mut m, STEP).unwrap_err();
    assert!(
        e.contains("cannot tell its time") && e.contains("clock period"),
        "{e}"
    );
    m.check_alive();
    // Under another accelerator; it stands for KVM.
    let mut m = Machine::start(config());
    let e = try_set(&mut m, STEP).unwrap_err();
    assert!(
        e.contains("accelerator QTest") && e.contains("-accel tcg"),
        "{e}"
    );
    m.check_alive();
}

#[test]
fn instructions_and_the_simulator_cannot_both_be_the_clock() {
    let scratch = Scratch::new();
    let mut hdl = HdlEndpoint::bind(&scratch.endpoint(), config()).expect("cannot bind");
    let launch = Launch::bare()
        .args("-nodefaults -display none -M q35 -accel tcg,thread=single -icount shift=3")
        .args(&device_args(&scratch.endpoint(), "sim-clock=1000"));
    let mut qemu = launch.spawn(&scratch);
    let (reason, text) = loop {
        match ok(hdl.next_event(PATIENCE)) {
            Event::Offered { .. } => {}
            Event::Down { reason, text } => break (reason, text),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason, Reason::Configuration);
    assert!(text.contains("-icount"), "{text}");
    assert!(!qemu.wait_exit(PATIENCE).success());
    qemu.expect_line(&["guest time cannot follow the simulator's with -icount"]);
}

#[test]
fn only_one_card_drives_the_clock() {
    let mut m = start("");
    set(&mut m, STEP);
    expect_clock(&mut m, STEP);
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let mut other = HdlEndpoint::bind(&endpoint, config()).expect("cannot bind");
    let id = m.qemu.start_qmp(
        "device_add",
        json!({"driver": "accelerator-pcie", "id": "second", "bus": "rp1",
               "endpoint": endpoint, "sim-clock": 1000}),
    );
    // The handshake needs the other half.
    let _ = other.try_event(Duration::from_secs(5));
    let _ = other.try_event(Duration::from_secs(5));
    let e = m.qemu.finish_qmp(id).unwrap_err();
    assert!(e.contains("card") && e.contains("only one"), "{e}");
    // The first one drives it as before.
    begin(&mut m, 0);
    let now = guest_ns(&mut m);
    tell(&mut m, 5000);
    assert!(guest_ns(&mut m).abs_diff(now + 5000) <= 10);
}

#[test]
fn the_command_line_says_so_at_once() {
    let scratch = Scratch::new();
    let launch = Launch::new().args(&device_args(&scratch.endpoint(), "sim-clock=5"));
    let mut qemu = launch.spawn(&scratch);
    assert!(!qemu.wait_exit(PATIENCE).success());
    qemu.expect_line(&["sim-clock is 5", "100 to 100000000"]);
}
