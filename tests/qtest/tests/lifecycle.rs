// SPDX-License-Identifier: MIT OR Apache-2.0

//! Coming and going: of the simulator, of the card, of QEMU.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use accelerator_peers::{hdl::sample_config, Event, HdlEndpoint};
use accelerator_protocol::{wire::Reason, Config, Frame};
use accelerator_qtest::{
    machine::{device_args, ok, QUIET},
    pci::{reg, CARD, ROOT_PORT},
    qemu::Launch,
    Machine, Options, Qemu, Scratch, PATIENCE,
};
use serde_json::json;

/// A port on loopback that somebody listens on, and nobody may connect to.
fn trap() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

#[track_caller]
fn nobody_connected(listener: &TcpListener) {
    let accepted = listener.accept();
    assert!(accepted.is_err(), "QEMU touched a socket: {accepted:?}");
}

#[track_caller]
fn exit_code(mut qemu: Qemu) -> (Option<i32>, String) {
    let code = qemu.wait_exit(PATIENCE).code();
    (code, qemu.said().join("\n"))
}

#[test]
fn listing_devices_touches_no_socket() {
    let scratch = Scratch::new();
    let (listener, port) = trap();
    for args in ["-device help", "-device accelerator-pcie,help"] {
        let launch = Launch::bare().args(args).env("NPU_COSIM_PORT", &port);
        let (code, text) = exit_code(launch.spawn(&scratch));
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("accelerator-pcie"), "{text}");
        nobody_connected(&listener);
    }
}

#[test]
fn every_property_is_explained() {
    let scratch = Scratch::new();
    let launch = Launch::bare().args("-device accelerator-pcie,help");
    let (code, text) = exit_code(launch.spawn(&scratch));
    assert_eq!(code, Some(0), "{text}");
    for property in [
        "endpoint",
        "port",
        "curve-secret",
        "curve-server",
        "insecure",
        "handshake-timeout",
        "completion-timeout",
        "posted-writes",
        "write-window",
        "netdev",
        "mac",
        "nic-endpoint",
        "chardev",
        "serial-endpoint",
        "sim-clock",
    ] {
        let line = text
            .lines()
            .find(|l| l.contains(&format!("{property}=<")))
            .unwrap_or_else(|| panic!("no property {property} in:\n{text}"));
        let explained = line.split_once(" - ").is_some_and(|(_, t)| t.len() > 20);
        assert!(explained, "not explained: {line}");
    }
}

#[test]
fn a_machine_without_the_card_touches_no_socket() {
    let scratch = Scratch::new();
    let (listener, port) = trap();
    let mut qemu = Launch::new().env("NPU_COSIM_PORT", &port).spawn(&scratch);
    qemu.connect();
    qemu.wait_ready();
    qemu.qmp("system_reset", json!({}));
    qemu.qmp("quit", json!({}));
    assert!(qemu.wait_exit(PATIENCE).success());
    nobody_connected(&listener);
}

#[test]
fn without_a_simulator_qemu_says_so_and_gives_up() {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let mut qemu = Launch::new()
        .args(&device_args(&endpoint, "handshake-timeout=1200"))
        .spawn(&scratch);
    qemu.connect();
    // What it waits for and where, while it waits.
    qemu.expect_line(&["waiting for the simulator", &endpoint]);
    assert!(qemu.is_running());
    assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1));
    qemu.expect_line(&["no simulator at", &endpoint, "1.2 s", "handshake-timeout"]);
}

#[test]
fn a_listener_that_says_nothing_is_told_apart() {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    // Speaks ZeroMQ, but not our protocol.
    let silent = ok(accelerator_peers::hdl::RawEndpoint::bind(&endpoint));
    let mut qemu = Launch::new()
        .args(&device_args(&endpoint, "handshake-timeout=800"))
        .spawn(&scratch);
    qemu.connect();
    ok(silent.wait_for_init(PATIENCE));
    assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1));
    qemu.expect_line(&[&endpoint, "did not answer"]);
}

#[test]
fn the_port_of_the_environment_is_used() {
    let scratch = Scratch::new();
    let (listener, port) = trap();
    drop(listener);
    let mut hdl = ok(HdlEndpoint::bind(
        &format!("tcp://127.0.0.1:{port}"),
        sample_config(1),
    ));
    let mut qemu = Launch::new()
        .args("-device accelerator-pcie,id=card")
        .env("NPU_COSIM_PORT", &port)
        .spawn(&scratch);
    qemu.connect();
    ok(hdl.wait_for_session(PATIENCE));
    qemu.wait_ready();
    qemu.qmp("quit", json!({}));
    assert!(qemu.wait_exit(PATIENCE).success());
    assert_eq!(ok(hdl.expect_down(PATIENCE)).0, Reason::Closing);
}

#[test]
fn bad_properties_and_variables_are_refused_with_what_they_are() {
    let (listener, port) = trap();
    let port_variable = ("NPU_COSIM_PORT", port.as_str());
    for (properties, variable, parts) in [
        (
            "write-window=0",
            port_variable,
            &["write-window", "0", "1 to 4096"][..],
        ),
        (
            "write-window=4097",
            port_variable,
            &["write-window", "4097", "1 to 4096"],
        ),
        (
            "endpoint=tcp://0.0.0.0:7557",
            port_variable,
            &["0.0.0.0", "not a loopback"],
        ),
        (
            "endpoint=nowhere",
            port_variable,
            &["nowhere", "neither a port number"],
        ),
        ("endpoint=70000", port_variable, &["70000", "1 to 65535"]),
        (
            "endpoint=7000,port=7001",
            port_variable,
            &["endpoint and port"],
        ),
        ("port=70000", port_variable, &["70000"]),
        ("posted-writes=7", port_variable, &["posted-writes"]),
        ("", ("NPU_COSIM_PORT", "abc"), &["NPU_COSIM_PORT", "abc"]),
        (
            "",
            ("ACCELERATOR_ZMQ_WARN_MS", "soon"),
            &["ACCELERATOR_ZMQ_WARN_MS", "soon"],
        ),
    ] {
        let scratch = Scratch::new();
        let comma = if properties.is_empty() { "" } else { "," };
        let mut qemu = Launch::new()
            .args(&format!("-device accelerator-pcie{comma}{properties}"))
            .env(variable.0, variable.1)
            .spawn(&scratch);
        assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1), "{properties}");
        qemu.expect_line(parts);
    }
    nobody_connected(&listener);
}

#[test]
fn sigterm_while_qemu_waits_for_the_simulator() {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let mut qemu = Launch::new()
        .args(&device_args(&endpoint, ""))
        .spawn(&scratch);
    qemu.connect();
    qemu.expect_line(&["waiting for the simulator"]);
    qemu.terminate();
    qemu.wait_exit(Duration::from_secs(10));
}

/// Then the main loop, which ends QEMU, is what waits.
#[test]
fn sigterm_while_device_add_waits_for_the_simulator() {
    let scratch = Scratch::new();
    let mut qemu = Launch::new()
        .args("-device pcie-root-port,id=rp0")
        .spawn(&scratch);
    qemu.connect();
    qemu.wait_ready();
    let endpoint = scratch.endpoint();
    let arguments = json!({"driver": "accelerator-pcie", "bus": "rp0", "endpoint": endpoint});
    qemu.start_qmp("device_add", arguments);
    qemu.expect_line(&["waiting for the simulator"]);
    qemu.terminate();
    assert!(qemu.wait_exit(Duration::from_secs(10)).success());
}

#[test]
fn sigterm_while_a_read_is_outstanding() {
    let mut m = Machine::start(sample_config(0));
    m.qemu.start_load(m.bar(0), 4);
    ok(m.hdl.expect_read(0, 0, 4));
    // The endpoint lives and never answers.
    m.qemu.terminate();
    assert!(m.qemu.wait_exit(Duration::from_secs(10)).success());
    ok(m.hdl.expect_down(PATIENCE));
}

#[test]
fn sigterm_while_a_write_waits_for_room() {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            properties: "write-window=1".into(),
            ..Options::default()
        },
    );
    m.qemu.store(m.bar(0), 4, 1);
    m.qemu.start_store(m.bar(0), 4, 2);
    ok(m.hdl.expect_write(0, 0, 4, 1));
    assert_eq!(m.qemu.try_reply(QUIET), None);
    m.qemu.terminate();
    assert!(m.qemu.wait_exit(Duration::from_secs(10)).success());
}

#[test]
fn quit_says_goodbye() {
    let mut m = Machine::start(sample_config(2));
    m.qemu.qmp("quit", json!({}));
    assert!(m.qemu.wait_exit(PATIENCE).success());
    assert_eq!(ok(m.hdl.expect_down(PATIENCE)).0, Reason::Closing);
}

/// The one line about the loss of the simulator.
const DOWN: [&str; 3] = ["ERROR", "card", "is down"];

#[test]
fn a_killed_simulator_reads_as_all_ones_and_is_told_once() {
    let mut m = Machine::start(sample_config(2));
    let addr = m.bar(0);
    m.kill_endpoint();
    m.qemu.expect_line(&DOWN);
    for _ in 0..20 {
        assert_eq!(m.qemu.load(addr, 4), 0xffff_ffff);
        assert_eq!(m.qemu.load(addr, 1), 0xff);
        assert_eq!(m.qemu.load(addr, 8), u64::MAX);
        m.qemu.store(addr, 4, 7);
    }
    // Config space is QEMU's own and stays; the link is reported down.
    assert_eq!(CARD.get(&mut m.qemu, reg::DEVICE, 2), 0xacce);
    let express = CARD.expect(&mut m.qemu, accelerator_qtest::pci::capability::EXPRESS);
    assert_eq!(CARD.get(&mut m.qemu, express + 0x12, 2) & 0x3ff, 0);
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("RESET");
    m.qemu.expect_lines(&DOWN, 1);
    m.qemu.terminate();
    assert!(m.qemu.wait_exit(Duration::from_secs(10)).success());
}

#[test]
fn a_simulator_killed_in_the_middle_of_a_read() {
    let mut m = Machine::start(sample_config(0));
    m.qemu.start_load(m.bar(0), 8);
    ok(m.hdl.expect_read(0, 0, 8));
    m.kill_endpoint();
    assert_eq!(m.qemu.reply_value(), u64::MAX);
    m.qemu.expect_line(&DOWN);
    m.qemu.expect_lines(&DOWN, 1);
}

#[test]
fn a_simulator_killed_while_a_write_waits_for_room() {
    let mut m = Machine::start_with(
        sample_config(0),
        &Options {
            properties: "write-window=1".into(),
            ..Options::default()
        },
    );
    m.qemu.store(m.bar(0), 4, 1);
    m.qemu.start_store(m.bar(0), 4, 2);
    ok(m.hdl.expect_write(0, 0, 4, 1));
    m.kill_endpoint();
    m.qemu.reply();
    m.qemu.expect_lines(&DOWN, 1);
}

#[test]
fn a_simulator_killed_with_posted_writes_queued() {
    let mut m = Machine::start(sample_config(2));
    let addr = m.bar(0);
    // Nobody has taken them when it dies.
    for i in 0..20 {
        m.qemu.store(addr + 4 * i, 4, 0xdead_0000 + i);
    }
    m.kill_endpoint();
    m.qemu.expect_line(&DOWN);
    assert_eq!(m.qemu.load(addr, 4), 0xffff_ffff);
    // Nor does the next simulator get them: its first write is the first after.
    m.restart_endpoint(sample_config(2));
    ok(m.hdl.wait_for_session(PATIENCE));
    m.settle_resets();
    m.check_alive();
    m.qemu.expect_lines(&DOWN, 1);
}

#[test]
fn a_simulator_killed_in_the_middle_of_a_dma_burst() {
    let mut m = Machine::start(sample_config(2));
    let addr = m.bar(0);
    let place = 0x20_0000;
    for round in 0..3u8 {
        m.qemu.fill_memory(place, 0x4_0000, 0x11);
        // A guest access waits as well, so that both are under way.
        m.qemu.start_load(addr, 4);
        ok(m.hdl.expect_read(0, 0, 4));
        for tag in 0..32 {
            let at = place + u64::from(tag) * 0x1000;
            let data = [0x40 + round; 0x1000];
            ok(m.hdl.inject(&Frame::DmaWrite {
                tag: 2 * tag,
                addr: at,
                data: &data,
                enables: None,
            }));
            ok(m.hdl.inject(&Frame::DmaRead {
                tag: 2 * tag + 1,
                addr: at,
                len: 0x1000,
            }));
        }
        m.kill_endpoint();
        assert_eq!(m.qemu.reply_value(), 0xffff_ffff);
        m.qemu.expect_lines(&DOWN, usize::from(round) + 1);
        // Each request was carried out as a whole or not at all, in order.
        let memory = m.qemu.read_memory(place, 0x2_0000);
        let written = memory.iter().filter(|&&b| b == 0x40 + round).count();
        assert_eq!(written % 0x1000, 0, "{written} bytes");
        assert!(memory[..written].iter().all(|&b| b == 0x40 + round));
        assert!(memory[written..].iter().all(|&b| b == 0x11));
        m.restart_endpoint(sample_config(2));
        ok(m.hdl.wait_for_session(PATIENCE));
        m.settle_resets();
        m.check_alive();
    }
}

#[test]
fn a_simulator_that_comes_back_is_taken_again() {
    let mut m = Machine::start(sample_config(2));
    for _ in 0..3 {
        m.kill_endpoint();
        assert_eq!(m.qemu.load(m.bar(0), 4), 0xffff_ffff);
        m.restart_endpoint(sample_config(2));
        ok(m.hdl.wait_for_session(PATIENCE));
        m.settle_resets();
        m.check_alive();
    }
    m.qemu.expect_lines(&DOWN, 3);
}

#[test]
fn a_simulator_that_says_goodbye_is_taken_again() {
    let mut m = Machine::start(sample_config(2));
    ok(m.hdl.close());
    m.qemu.expect_line(&DOWN);
    // The same socket, still there: QEMU asks for a new session.
    ok(m.hdl.wait_for_session(PATIENCE));
    m.settle_resets();
    m.check_alive();
}

/// Each round is a few lines, and fifty are not fifty times as many.
#[test]
fn a_simulator_that_comes_and_goes_does_not_fill_the_log() {
    let begin = Instant::now();
    let mut m = Machine::start(sample_config(2));
    for _ in 0..50 {
        ok(m.hdl.close());
        ok(m.hdl.wait_for_session(PATIENCE));
    }
    m.settle_resets();
    m.check_alive();
    for (parts, most) in [
        (["INFO", "card: link up, session"], 8),
        (["INFO", "card: the session goes through"], 8),
        (["WARN", "card: the simulator is back"], 32),
        (["ERROR", "card: link to the simulator"], 32),
    ] {
        m.qemu.expect_few_lines(&parts, most, begin);
    }
    m.qemu.expect_line(&["more like this are left out for"]);
}

/// A card that differs from `sample_config(2)` in everything that a guest is
/// shown.
fn another_card() -> Config {
    let mut config = Config {
        device: 0xbee5,
        revision: 99,
        ..sample_config(5)
    };
    config.bars[0].size *= 4;
    config
}

/// The endpoint is asked for a session and refused, since it is another card.
#[track_caller]
fn refused_as_another_card(hdl: &mut HdlEndpoint) {
    match ok(hdl.next_event(PATIENCE)) {
        Event::Offered { .. } => {}
        other => panic!("{other:?}"),
    }
    let (reason, text) = ok(hdl.expect_down(PATIENCE));
    assert_eq!(reason, Reason::Configuration, "{text}");
    assert!(text.contains("differs"), "{text}");
}

#[test]
fn another_card_in_place_of_the_old_one_is_plugged_in_anew() {
    for native in [false, true] {
        let mut m = Machine::start_with(
            sample_config(2),
            &Options {
                args: if native {
                    "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off".into()
                } else {
                    String::new()
                },
                // To be found again in the new device.
                properties: "write-window=7,completion-timeout=60000,addr=0.0".into(),
                ..Options::default()
            },
        );
        let before = m.qemu.qom_get("/machine/peripheral/card", "write-window");
        let addr = m.bar(0);
        m.kill_endpoint();
        m.qemu.expect_line(&DOWN);
        m.restart_endpoint(another_card());
        refused_as_another_card(&mut m.hdl);
        m.qemu
            .expect_line(&["WARN", "card", "another card now", "asked to release"]);
        // Until the guest has let go of it, it is there and dead.
        assert_eq!(m.qemu.load(addr, 4), 0xffff_ffff);
        assert_eq!(CARD.get(&mut m.qemu, reg::DEVICE, 2), 0xacce);
        if native {
            let slot =
                ROOT_PORT.expect(&mut m.qemu, accelerator_qtest::pci::capability::EXPRESS) + 0x18;
            // Button and presence: the guest need not wait for a change of mind.
            assert_eq!(ROOT_PORT.get(&mut m.qemu, slot + 2, 2) & 9, 9);
            let control = ROOT_PORT.get(&mut m.qemu, slot, 2);
            ROOT_PORT.set(&mut m.qemu, slot, 2, control & !0x300 | 0x300 | 0x400);
        } else {
            m.qemu.qmp("system_reset", json!({}));
        }
        m.qemu.expect_event("DEVICE_DELETED");
        ok(m.hdl.wait_for_session(PATIENCE));
        m.qemu.expect_line(&["INFO", "card", "link up"]);
        if native {
            let slot =
                ROOT_PORT.expect(&mut m.qemu, accelerator_qtest::pci::capability::EXPRESS) + 0x18;
            let control = ROOT_PORT.get(&mut m.qemu, slot, 2);
            ROOT_PORT.set(&mut m.qemu, slot, 2, control & !0x700 | 0x100);
        }
        m.qemu.qmp("query-status", json!({}));
        m.enumerate();
        m.settle();
        m.check_alive();
        assert_eq!(CARD.get(&mut m.qemu, reg::DEVICE, 2), 0xbee5);
        assert_eq!(CARD.get(&mut m.qemu, reg::REVISION, 1), 99);
        let size = another_card().bars[0].size;
        assert_eq!(m.size_bar(0).map(|b| b.size), Some(size));
        let after = m.qemu.qom_get("/machine/peripheral/card", "write-window");
        assert_eq!((before, after), (json!(7), json!(7)));
        m.qemu.expect_lines(&DOWN, 1);
    }
}

#[test]
fn another_card_where_nothing_can_be_unplugged_is_refused() {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let mut hdl = ok(HdlEndpoint::bind(&endpoint, sample_config(2)));
    let mut qemu = Launch::new()
        .args("-device pcie-root-port,id=rp0,bus=pcie.0,addr=4.0,hotplug=off")
        .args(&format!(
            "-device accelerator-pcie,id=card,bus=rp0,endpoint={endpoint}"
        ))
        .spawn(&scratch);
    qemu.connect();
    ok(hdl.wait_for_session(PATIENCE));
    qemu.wait_ready();
    drop(hdl);
    qemu.expect_line(&DOWN);
    hdl = ok(HdlEndpoint::bind(&endpoint, another_card()));
    refused_as_another_card(&mut hdl);
    let line = qemu.expect_line(&[
        "ERROR",
        "card",
        "another card",
        "cannot be plugged in again",
    ]);
    assert!(line.contains("unplug it"), "{line}");
    assert!(qemu.is_running());
    // The card that it was is taken again.
    drop(hdl);
    hdl = ok(HdlEndpoint::bind(&endpoint, sample_config(2)));
    ok(hdl.wait_for_session(PATIENCE));
}

#[test]
fn a_card_is_plugged_in_again_on_request() {
    let mut m = Machine::start(sample_config(2));
    let path = "/machine/peripheral/card";
    for (property, value) in [
        ("link-up", true),
        ("memory-enabled", true),
        ("replug", false),
    ] {
        assert_eq!(m.qemu.qom_get(path, property), json!(value), "{property}");
    }
    m.qemu.qmp(
        "qom-set",
        json!({"path": path, "property": "replug", "value": true}),
    );
    assert_eq!(m.qemu.qom_get(path, "replug"), json!(true));
    // The simulator is restarted meanwhile, and takes its time.
    m.check_alive();
    m.kill_endpoint();
    m.qemu.expect_line(&DOWN);
    assert_eq!(m.qemu.qom_get(path, "link-up"), json!(false));
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("DEVICE_DELETED");
    m.qemu.expect_line(&["WARN", "card", "nobody listens"]);
    m.qemu.qmp("query-status", json!({}));
    m.restart_endpoint(sample_config(2));
    ok(m.hdl.wait_for_session(PATIENCE));
    m.enumerate();
    m.settle();
    m.check_alive();
    for (property, value) in [("link-up", true), ("bus-master", true), ("replug", false)] {
        assert_eq!(m.qemu.qom_get(path, property), json!(value), "{property}");
    }
}

/// Asks for the card to be plugged in again, or calls that off.
#[track_caller]
fn set_replug(m: &mut Machine, on: bool) {
    m.qemu.qmp(
        "qom-set",
        json!({"path": "/machine/peripheral/card", "property": "replug", "value": on}),
    );
}

/// The guest releases the card, over the registers of the slot or with a reset.
#[track_caller]
fn release(m: &mut Machine, native: bool) {
    if native {
        let slot =
            ROOT_PORT.expect(&mut m.qemu, accelerator_qtest::pci::capability::EXPRESS) + 0x18;
        let control = ROOT_PORT.get(&mut m.qemu, slot, 2);
        ROOT_PORT.set(&mut m.qemu, slot, 2, control & !0x300 | 0x300 | 0x400);
    } else {
        m.qemu.qmp("system_reset", json!({}));
    }
    m.qemu.expect_event("DEVICE_DELETED");
}

fn slots(native: bool) -> Options {
    Options {
        args: if native {
            "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off".into()
        } else {
            String::new()
        },
        ..Options::default()
    }
}

/// Two of its attempts to plug in would have come by then.
const NOT_AGAIN: Duration = Duration::from_millis(1500);

#[track_caller]
fn stays_away(m: &mut Machine) {
    if m.hdl.wait_for_session(NOT_AGAIN).is_ok() {
        panic!("the card is there again");
    }
    assert!(!CARD.is_present(&mut m.qemu));
    plug_in(m);
    // Nothing of before is in the way of what is asked for now.
    set_replug(m, true);
    release(m, false);
    ok(m.hdl.expect_down(PATIENCE));
    ok(m.hdl.wait_for_session(PATIENCE));
}

#[test]
fn plugging_in_again_is_called_off_before_the_guest_lets_go() {
    for native in [false, true] {
        let mut m = Machine::start_with(sample_config(2), &slots(native));
        set_replug(&mut m, true);
        set_replug(&mut m, false);
        let path = "/machine/peripheral/card";
        assert_eq!(m.qemu.qom_get(path, "replug"), json!(false));
        m.qemu
            .expect_line(&["WARN", "card", "not plugged in again"]);
        release(&mut m, native);
        ok(m.hdl.expect_down(PATIENCE));
        if !native {
            stays_away(&mut m);
        } else if m.hdl.wait_for_session(NOT_AGAIN).is_ok() {
            panic!("the card is there again");
        }
    }
}

#[test]
fn device_del_is_stronger_than_plugging_in_again() {
    for native in [false, true] {
        let mut m = Machine::start_with(sample_config(2), &slots(native));
        set_replug(&mut m, true);
        m.qemu.qmp("device_del", json!({"id": "card"}));
        release(&mut m, native);
        ok(m.hdl.expect_down(PATIENCE));
        if !native {
            stays_away(&mut m);
        } else if m.hdl.wait_for_session(NOT_AGAIN).is_ok() {
            panic!("the card is there again");
        }
    }
}

#[test]
fn device_del_holds_when_the_simulator_is_another_card() {
    let mut m = Machine::start(sample_config(2));
    m.qemu.qmp("device_del", json!({"id": "card"}));
    m.kill_endpoint();
    m.qemu.expect_line(&DOWN);
    m.restart_endpoint(another_card());
    refused_as_another_card(&mut m.hdl);
    release(&mut m, false);
    if m.hdl.wait_for_session(NOT_AGAIN).is_ok() {
        panic!("the card is there again");
    }
}

/// The thread that looks whether a simulator is there.
const LOOKOUT: &str = "acc-lookout";

#[test]
fn plugging_in_again_is_called_off_while_nobody_listens() {
    let mut m = Machine::start(sample_config(2));
    set_replug(&mut m, true);
    m.kill_endpoint();
    release(&mut m, false);
    m.qemu.expect_line(&["WARN", "card", "nobody listens"]);
    let property = "accelerator-pcie-replug";
    assert_eq!(m.qemu.qom_get("/machine", property), json!(true));
    // Who looks for the simulator is a thread of its own, since that may take long, and
    // it goes on until the simulator is there or it is called off.
    assert!(m.qemu.has_thread(LOOKOUT));
    for _ in 0..20 {
        m.qemu.qmp("query-status", json!({}));
    }
    assert!(m.qemu.has_thread(LOOKOUT));
    m.qemu.qmp(
        "qom-set",
        json!({"path": "/machine", "property": property, "value": false}),
    );
    let begin = Instant::now();
    while m.qemu.has_thread(LOOKOUT) {
        assert!(begin.elapsed() < PATIENCE, "it is looked for still");
        std::thread::sleep(Duration::from_millis(10));
    }
    m.restart_endpoint(sample_config(2));
    stays_away(&mut m);
    assert_eq!(m.qemu.qom_get("/machine", property), json!(false));
}

#[test]
fn a_device_that_is_not_realized_any_more_tells_no_command() {
    let mut m = Machine::start_with(
        sample_config(2),
        &Options {
            env: vec![("MALLOC_PERTURB_", "1")],
            ..Options::default()
        },
    );
    let path = "/machine/peripheral/card";
    m.qemu.qmp(
        "qom-set",
        json!({"path": path, "property": "realized", "value": false}),
    );
    for property in ["link-up", "memory-enabled", "bus-master", "replug"] {
        assert_eq!(m.qemu.qom_get(path, property), json!(false), "{property}");
    }
}

/// No PCI device of QEMU's can be; it would end at an assertion.
#[test]
fn a_device_is_not_realized_a_second_time() {
    let mut m = Machine::start(sample_config(2));
    let path = "/machine/peripheral/card";
    let realized = |value| json!({"path": path, "property": "realized", "value": value});
    m.qemu.qmp("qom-set", realized(false));
    assert_eq!(ok(m.hdl.expect_down(PATIENCE)).0, Reason::Closing);
    assert!(!CARD.is_present(&mut m.qemu));
    for _ in 0..2 {
        let id = m.qemu.start_qmp("qom-set", realized(true));
        let error = m.qemu.finish_qmp(id).unwrap_err();
        assert!(error.contains("second time"), "{error}");
        assert_eq!(m.qemu.qom_get(path, "realized"), json!(false));
    }
    // Nobody has asked the simulator, and the machine goes on.
    m.expect_quiet();
    assert_eq!(m.qemu.qmp("query-status", json!({}))["status"], "running");
    m.qemu.qmp("quit", json!({}));
    assert!(m.qemu.wait_exit(PATIENCE).success());
}

#[test]
fn a_card_with_a_network_and_a_serial_side_is_plugged_in_again_with_both() {
    let mut m = Machine::start_with(
        sample_config(2),
        &Options {
            args: "-netdev hubport,id=n0,hubid=0 -chardev null,id=c0".into(),
            properties: "netdev=n0,chardev=c0".into(),
            ..Options::default()
        },
    );
    let path = "/machine/peripheral/card";
    let seen = |m: &mut Machine| ["netdev", "chardev", "mac"].map(|p| m.qemu.qom_get(path, p));
    let before = seen(&mut m);
    for _ in 0..2 {
        m.qemu.qmp(
            "qom-set",
            json!({"path": path, "property": "replug", "value": true}),
        );
        m.qemu.qmp("system_reset", json!({}));
        m.qemu.expect_event("DEVICE_DELETED");
        ok(m.hdl.expect_down(PATIENCE));
        ok(m.hdl.wait_for_session(PATIENCE));
        m.qemu.qmp("query-status", json!({}));
        m.enumerate();
        m.settle();
        m.check_alive();
        assert_eq!(seen(&mut m), before);
    }
}

#[test]
fn the_port_reports_an_active_link_while_the_card_is_plugged_in() {
    for args in [
        "",
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
    ] {
        let mut m = Machine::start_with(
            sample_config(0),
            &Options {
                args: args.into(),
                ..Options::default()
            },
        );
        let express = ROOT_PORT.expect(&mut m.qemu, accelerator_qtest::pci::capability::EXPRESS);
        let active = |m: &mut Machine| ROOT_PORT.get(&mut m.qemu, express + 0x12, 2) >> 13 & 1;
        assert_eq!(active(&mut m), 1, "{args}");
        m.qemu.qmp("device_del", json!({"id": "card"}));
        if args.is_empty() {
            m.qemu.qmp("system_reset", json!({}));
        } else {
            let control = ROOT_PORT.get(&mut m.qemu, express + 0x18, 2);
            ROOT_PORT.set(&mut m.qemu, express + 0x18, 2, control & !0x300 | 0x700);
        }
        card_is_gone(&mut m);
        assert_eq!(active(&mut m), 0, "{args}");
    }
}

/// Waits until the card has said goodbye.
#[track_caller]
fn card_is_gone(m: &mut Machine) {
    m.qemu.expect_event("DEVICE_DELETED");
    assert_eq!(ok(m.hdl.expect_down(PATIENCE)).0, Reason::Closing);
    assert!(!CARD.is_present(&mut m.qemu));
}

/// Plugs the card in again.
#[track_caller]
fn plug_in(m: &mut Machine) {
    let endpoint = m.endpoint();
    let arguments = json!({
        "driver": "accelerator-pcie", "id": "card", "bus": "rp0", "endpoint": endpoint
    });
    let id = m.qemu.start_qmp("device_add", arguments);
    ok(m.hdl.wait_for_session(PATIENCE));
    if let Err(e) = m.qemu.finish_qmp(id) {
        panic!("device_add: {e}");
    }
}

#[test]
fn threads_that_pass_messages_on_have_more_weight_and_no_others() {
    let own = {
        let told = std::process::Command::new("nice").output().unwrap();
        String::from_utf8_lossy(&told.stdout).trim().parse::<i32>()
    }
    .unwrap();
    // It runs the command in either case, but says so if it must not.
    let asked = std::process::Command::new("nice")
        .args(["-n", "-3", "true"])
        .output()
        .unwrap();
    let permitted = asked.stderr.is_empty();
    for (value, nice) in [("-3", -3), ("0", 0)] {
        let mut m = Machine::start_with(
            sample_config(1),
            &Options {
                env: vec![("ACCELERATOR_NICE", value)],
                ..Options::default()
            },
        );
        m.check_alive();
        let values = m.qemu.nice_values();
        assert_eq!(values[0], own, "the main thread: {values:?}");
        let more = values.iter().filter(|&&v| v < own).count();
        // libzmq's two and the card's own.
        let expected = if permitted && nice < own { 3 } else { 0 };
        assert_eq!(more, expected, "{value}: {values:?}");
        assert!(values.iter().all(|&v| v == own || v == nice), "{values:?}");
    }
}

#[test]
fn unplugged_with_a_reset_and_plugged_in_again_leaves_nothing() {
    let mut m = Machine::start(sample_config(8));
    let mut counts = Vec::new();
    for _ in 0..5 {
        m.enable_msix();
        m.check_alive();
        m.qemu.qmp("device_del", json!({"id": "card"}));
        // No guest runs that would eject the card; a reset does.
        m.qemu.qmp("system_reset", json!({}));
        m.qemu.expect_event("RESET");
        card_is_gone(&mut m);
        counts.push(m.qemu.at_rest());
        plug_in(&mut m);
        m.enumerate();
        m.settle();
    }
    // The first round may leave what QEMU makes once and keeps.
    assert!(
        counts[1..].iter().all(|c| *c == counts[1]),
        "descriptors and threads: {counts:?}"
    );
}

#[test]
fn unplugged_by_the_guest_over_the_slot_registers() {
    let mut m = Machine::start_with(
        sample_config(2),
        &Options {
            args: "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off".into(),
            ..Options::default()
        },
    );
    let slot = ROOT_PORT.expect(&mut m.qemu, accelerator_qtest::pci::capability::EXPRESS) + 0x18;
    m.qemu.qmp("device_del", json!({"id": "card"}));
    // What pciehp does: power and its indicator off (PCIe base spec, Slot
    // Control: bit 10 Power Controller, bits 9:8 Power Indicator).
    let control = ROOT_PORT.get(&mut m.qemu, slot, 2);
    ROOT_PORT.set(&mut m.qemu, slot, 2, control & !0x300 | 0x300 | 0x400);
    card_is_gone(&mut m);
    m.expect_quiet();
    // An access to where the card was goes nowhere.
    m.qemu.load(m.bar(0), 4);
    m.expect_quiet();
}

#[test]
fn unplugged_while_the_simulator_is_away() {
    let mut m = Machine::start(sample_config(2));
    m.kill_endpoint();
    m.qemu.expect_line(&DOWN);
    m.qemu.qmp("device_del", json!({"id": "card"}));
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("DEVICE_DELETED");
    assert!(!CARD.is_present(&mut m.qemu));
    // The next simulator is asked by nobody.
    m.restart_endpoint(sample_config(2));
    m.expect_quiet();
    plug_in(&mut m);
    m.enumerate();
    m.settle();
    m.check_alive();
}

#[test]
fn plugging_in_without_a_simulator_fails_and_changes_nothing() {
    let mut m = Machine::start(sample_config(2));
    m.qemu.qmp("device_del", json!({"id": "card"}));
    m.qemu.qmp("system_reset", json!({}));
    card_is_gone(&mut m);
    m.kill_endpoint();
    let endpoint = m.endpoint();
    let mut counts = Vec::new();
    for _ in 0..3 {
        let id = m.qemu.start_qmp(
            "device_add",
            json!({
                "driver": "accelerator-pcie", "id": "card", "bus": "rp0",
                "endpoint": endpoint, "handshake-timeout": 200
            }),
        );
        let error = m.qemu.finish_qmp(id).unwrap_err();
        assert!(error.contains("no simulator at"), "{error}");
        counts.push(m.qemu.at_rest());
    }
    assert_eq!(counts[1], counts[2], "descriptors and threads: {counts:?}");
    assert!(!CARD.is_present(&mut m.qemu));
    // And with one it works.
    m.restart_endpoint(sample_config(2));
    plug_in(&mut m);
    m.enumerate();
    m.settle();
    m.check_alive();
}

#[test]
fn the_main_loop_answers_while_the_card_is_idle() {
    let mut m = Machine::start(sample_config(2));
    let begin = Instant::now();
    let mut answers = 0;
    while begin.elapsed() < QUIET {
        m.qemu.qmp("query-status", json!({}));
        answers += 1;
    }
    assert!(answers > 0);
    m.check_alive();
}
