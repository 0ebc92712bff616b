// SPDX-License-Identifier: MIT OR Apache-2.0

//! The card's network and serial sides: a `netdev` and a `chardev` whose other
//! end is the test, and an endpoint with a NIC and a UART.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    time::{Duration, Instant},
};

use accelerator_peers::{channel::DevicePeer, hdl::sample_config};
use accelerator_protocol::{
    channel::ChannelKind::{Nic, Serial},
    wire::{Frame, Reason},
};
use accelerator_qtest::{
    machine::{ok, QUIET},
    pci::CARD,
    qemu::Launch,
    Machine, Options, Scratch, PATIENCE,
};
use serde_json::json;

const MAC: &str = "52:54:00:ab:cd:ef";

/// A machine whose card has a network, and both ends of that network.
struct Lan {
    /// The RTL's end.
    rtl: DevicePeer,
    /// What the netdev is connected to.
    wire: UnixDatagram,
    m: Machine,
    // After QEMU, which has sockets in it.
    _scratch: Scratch,
}

/// Bytes that differ from one frame to the next.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ seed.wrapping_mul(17)) as u8)
        .collect()
}

impl Lan {
    fn start(window: u32) -> Self {
        Self::start_with(window, &[])
    }

    fn start_with(window: u32, env: &[(&'static str, &'static str)]) -> Self {
        let scratch = Scratch::new();
        let (ours, theirs) = (scratch.path("ours"), scratch.path("theirs"));
        let wire = UnixDatagram::bind(&ours).unwrap();
        let m = Machine::start_with(
            sample_config(1),
            &Options {
                args: format!(
                    "-netdev dgram,id=n0,local.type=unix,local.path={},remote.type=unix,\
                     remote.path={}",
                    theirs.display(),
                    ours.display()
                ),
                properties: format!("netdev=n0,mac={MAC}"),
                env: env.to_vec(),
                ..Options::default()
            },
        );
        wire.connect(&theirs).unwrap();
        wire.set_read_timeout(Some(PATIENCE)).unwrap();
        wire.set_write_timeout(Some(PATIENCE)).unwrap();
        let rtl = ok(DevicePeer::bind(
            &format!("{}.nic", m.endpoint()),
            Nic,
            window,
        ));
        let mut lan = Self {
            rtl,
            wire,
            m,
            _scratch: scratch,
        };
        lan.session(1);
        lan.settle();
        lan
    }

    /// Waits for this session of the RTL's.
    #[track_caller]
    fn session(&mut self, number: u32) {
        ok(self
            .rtl
            .pump_until("a session", PATIENCE, |r| r.inbox.sessions == number));
    }

    /// Waits until QEMU knows of the session too.
    #[track_caller]
    fn settle(&mut self) {
        self.wait_info("rtl-link=up");
    }

    fn info(&mut self) -> String {
        let arguments = json!({"command-line": "info network"});
        let text = self.m.qemu.qmp("human-monitor-command", arguments);
        text.as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn wait_info(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.info();
            if text.contains(what) {
                return;
            }
            assert!(Instant::now() < deadline, "no {what} in: {text}");
            ok(self.rtl.pump(Duration::from_millis(10)));
        }
    }

    fn counter(&mut self, name: &str) -> u64 {
        let arguments = json!({"path": "/machine/peripheral/card", "property": name});
        self.m.qemu.qmp("qom-get", arguments).as_u64().unwrap()
    }

    #[track_caller]
    fn wait_counter(&mut self, name: &str, value: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.counter(name);
            if now == value {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{name} is {now}, expected {value}"
            );
            ok(self.rtl.pump(Duration::from_millis(5)));
        }
    }

    /// The network sends, and the RTL gets, `expected`.
    #[track_caller]
    fn wire_sends(&mut self, frame: &[u8], expected: &[u8]) {
        self.wire.send(frame).unwrap();
        let got = self.next();
        assert!(got == expected, "{} bytes: {} came", frame.len(), got.len());
    }

    #[track_caller]
    fn next(&mut self) -> Vec<u8> {
        ok(self
            .rtl
            .pump_until("a frame", PATIENCE, |r| r.inbox.frames() > 0));
        ok(self.rtl.take_frame()).unwrap()
    }

    /// The RTL sends, and the network gets it.
    #[track_caller]
    fn rtl_sends(&mut self, frame: &[u8]) {
        ok(self
            .rtl
            .pump_until("credit", PATIENCE, |r| r.session.credit() > 0));
        assert!(ok(self.rtl.send_frame(frame)));
        self.on_wire(frame);
    }

    #[track_caller]
    fn on_wire(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; 10_000];
        let count = self.wire.recv(&mut bytes).expect("no frame on the wire");
        let same = bytes[..count] == *expected;
        assert!(same, "{} bytes sent, {count} came", expected.len());
    }

    fn set_link(&mut self, name: &str, up: bool) {
        self.m.qemu.qmp("set_link", json!({"name": name, "up": up}));
    }

    /// Both directions work.
    #[track_caller]
    fn check(&mut self, seed: usize) {
        self.wire_sends(&pattern(seed, 100), &pattern(seed, 100));
        self.rtl_sends(&pattern(seed + 1, 200));
    }
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Growth that is no flood: 16 MiB, a tenth of what the flood brings.
const GROWTH: u64 = 16 * 1024;

#[test]
fn frames_of_every_length_go_both_ways() {
    let mut lan = Lan::start(8);
    let lengths: Vec<usize> = (60..=9216).collect();
    for group in lengths.chunks(8) {
        for &n in group {
            lan.wire.send(&pattern(n, n)).unwrap();
            ok(lan.rtl.pump(Duration::ZERO));
        }
        for &n in group {
            let frame = lan.next();
            assert!(frame == pattern(n, n), "{n} bytes to the RTL differ");
        }
        for &n in group {
            assert!(ok(lan.rtl.send_frame(&pattern(n + 1, n))), "no credit");
        }
        for &n in group {
            lan.on_wire(&pattern(n + 1, n));
        }
        ok(lan
            .rtl
            .pump_until("credit", PATIENCE, |r| r.session.credit() >= 8));
    }
    let count = lengths.len() as u64;
    lan.wait_counter("nic-frames-to-rtl", count);
    lan.wait_counter("nic-frames-from-rtl", count);
    lan.wait_counter("nic-drops-to-rtl", 0);
    lan.wait_counter("nic-drops-from-rtl", 0);
    // Shorter ones are padded as on a wire, longer ones dropped and counted.
    let mut padded = pattern(1, 14);
    padded.resize(60, 0);
    lan.wire_sends(&pattern(1, 14), &padded);
    for _ in 0..40 {
        lan.wire.send(&pattern(2, 9217)).unwrap();
    }
    lan.wait_counter("nic-drops-to-rtl", 40);
    // Which is said, and not each time. The counter can be there before the line is.
    lan.m.qemu.expect_line(&["9217 bytes is dropped"]);
    let lines = lan.m.qemu.count_lines(&["9217 bytes is dropped"]);
    assert!((1..20).contains(&lines), "{lines} lines");
    lan.check(3);
}

#[test]
fn a_flood_from_the_network_waits_for_the_rtl() {
    let mut lan = Lan::start(8);
    let pid = lan.m.qemu.id();
    lan.wire.set_nonblocking(true).unwrap();
    let before = resident(pid);
    let (mut sent, mut full) = (0_usize, 0);
    for i in 0..20_000 {
        // Bytes that tell which frame it is.
        let mut frame = pattern(7, 9216);
        frame[..8].copy_from_slice(&(sent as u64).to_le_bytes());
        match lan.wire.send(&frame) {
            Ok(_) => sent += 1,
            Err(e) if e.kind() == ErrorKind::WouldBlock => full += 1,
            Err(e) => panic!("{e}"),
        }
        if i % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < GROWTH, "grown by {grown} KiB");
    assert!(
        full > 10_000,
        "only {full} frames were held up, {sent} were taken"
    );
    // Those that were taken are all there, in order.
    for i in 0..sent {
        let frame = lan.next();
        assert_eq!(frame[..8], (i as u64).to_le_bytes(), "of {sent}");
        assert_eq!(frame[8..], pattern(7, 9216)[8..]);
    }
    assert_eq!(lan.counter("nic-drops-to-rtl"), 0);
    lan.wire.set_nonblocking(false).unwrap();
    lan.check(1);
}

#[test]
fn a_flood_without_a_simulator_is_dropped_and_counted() {
    let mut lan = Lan::start(8);
    let pid = lan.m.qemu.id();
    ok(lan.rtl.close());
    lan.wait_info("rtl-link=absent");
    let before = resident(pid);
    for _ in 0..20_000 {
        lan.wire.send(&pattern(7, 9216)).unwrap();
    }
    lan.wait_counter("nic-drops-to-rtl", 20_000);
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < GROWTH, "grown by {grown} KiB");
}

#[test]
fn a_flood_from_the_rtl_waits_for_the_network() {
    let mut lan = Lan::start(8);
    let pid = lan.m.qemu.id();
    let before = resident(pid);
    // Nobody reads the wire: the RTL gets no more credit after a while.
    let mut sent = 0_usize;
    let mut quiet = 0;
    while quiet < 10 {
        let mut frame = pattern(7, 9216);
        frame[..8].copy_from_slice(&(sent as u64).to_le_bytes());
        if ok(lan.rtl.send_frame(&frame)) {
            sent += 1;
            quiet = 0;
        } else if !ok(lan.rtl.pump(Duration::from_millis(50))) {
            quiet += 1;
        }
        assert!(sent < 10_000, "there is no end to it");
    }
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < GROWTH, "grown by {grown} KiB");
    for i in 0..sent {
        let mut bytes = vec![0; 10_000];
        let count = lan.wire.recv(&mut bytes).unwrap();
        assert_eq!(count, 9216);
        assert_eq!(bytes[..8], (i as u64).to_le_bytes(), "of {sent}");
    }
    assert_eq!(lan.counter("nic-drops-from-rtl"), 0);
    ok(lan
        .rtl
        .pump_until("credit", PATIENCE, |r| r.session.credit() > 32));
    lan.check(1);
}

#[test]
fn the_link_is_told_both_ways() {
    let mut lan = Lan::start(8);
    assert_eq!(lan.rtl.inbox.mac, [0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
    assert!(lan.rtl.inbox.link);
    let info = lan.info();
    for part in ["model=accelerator-pcie", &format!("macaddr={MAC}"), "n0"] {
        assert!(info.contains(part), "no {part} in: {info}");
    }
    // The user's, on the card or on its network.
    for name in ["card", "n0"] {
        lan.set_link(name, false);
        ok(lan.rtl.pump_until("link down", PATIENCE, |r| !r.inbox.link));
        let drops = lan.counter("nic-drops-from-rtl");
        assert!(ok(lan.rtl.send_frame(&[1; 60])));
        lan.wait_counter("nic-drops-from-rtl", drops + 1);
        lan.set_link(name, true);
        ok(lan.rtl.pump_until("link up", PATIENCE, |r| r.inbox.link));
        lan.check(5);
    }
    // The RTL's.
    ok(lan.rtl.set_link(false));
    lan.wait_info("rtl-link=down");
    lan.wire.send(&[2; 64]).unwrap();
    lan.wait_counter("nic-drops-to-rtl", 1);
    ok(lan.rtl.set_link(true));
    lan.wait_info("rtl-link=up");
    lan.check(6);
    lan.m.check_alive();
}

#[test]
fn a_simulator_that_is_killed_and_comes_back_is_found() {
    let mut lan = Lan::start(8);
    lan.check(1);
    for round in 0..3 {
        let elsewhere = format!("{}.away", lan.m.endpoint());
        // The old socket goes, as that of a killed process.
        lan.rtl = ok(DevicePeer::bind(&elsewhere, Nic, 8));
        lan.wait_info("rtl-link=absent");
        lan.wire.send(&[3; 64]).unwrap();
        lan.wait_counter("nic-drops-to-rtl", round + 1);
        let endpoint = format!("{}.nic", lan.m.endpoint());
        lan.rtl = ok(DevicePeer::bind(&endpoint, Nic, 8));
        lan.session(1);
        lan.settle();
        lan.check(round as usize);
    }
    lan.m.qemu.expect_line(&["card (NIC)", "no connection"]);
    lan.m.qemu.qmp("quit", json!({}));
    assert!(lan.m.qemu.wait_exit(PATIENCE).success());
    ok(lan
        .rtl
        .pump_until("a goodbye", PATIENCE, |r| r.inbox.down.is_some()));
    assert_eq!(lan.rtl.inbox.down.as_ref().unwrap().0, Reason::Closing);
}

#[test]
fn bad_frames_of_the_rtl_end_the_session_only() {
    let mut lan = Lan::start(8);
    let long = vec![0; 9217];
    let mut session = 1;
    for (frame, count, words) in [
        (
            Frame::NicFrame { data: &long[..59] },
            1,
            "59 (0x3b), expected 60 to 9216",
        ),
        (
            Frame::NicFrame { data: &long },
            1,
            "9217 (0x2401), expected 60 to 9216",
        ),
        (Frame::Serial { data: b"x" }, 1, "SERIAL may not come"),
        (Frame::Credit { amount: 250 }, 1, "CREDIT of 250 where 248"),
        (Frame::Msix { vector: 0 }, 1, "MSIX may not come"),
        // More than there is credit for, in one message.
        (
            Frame::NicFrame { data: &long[..60] },
            65,
            "NIC_FRAME of 1 where 0",
        ),
    ] {
        let mut message = Vec::new();
        for _ in 0..count {
            frame.encode(lan.rtl.session.session(), &mut message);
        }
        ok(lan.rtl.send_raw(&message));
        lan.m
            .qemu
            .expect_line(&["card (NIC)", "broke the protocol", words]);
        // It is told, and begins anew.
        session += 1;
        lan.session(session);
        lan.settle();
    }
    lan.check(9);
    lan.m.check_alive();
}

#[test]
fn unplugging_leaves_nothing_behind() {
    let mut lan = Lan::start(8);
    let mut counts = Vec::new();
    for round in 0..4 {
        lan.check(round);
        lan.m.qemu.qmp("device_del", json!({"id": "card"}));
        lan.m.qemu.qmp("system_reset", json!({}));
        lan.m.qemu.expect_event("RESET");
        assert_eq!(ok(lan.m.hdl.expect_down(PATIENCE)).0, Reason::Closing);
        ok(lan
            .rtl
            .pump_until("a goodbye", PATIENCE, |r| r.inbox.down.is_some()));
        assert!(!CARD.is_present(&mut lan.m.qemu));
        counts.push(lan.m.qemu.at_rest());
        let endpoint = lan.m.endpoint();
        let arguments = json!({
            "driver": "accelerator-pcie", "id": "card", "bus": "rp0", "endpoint": endpoint,
            "netdev": "n0", "mac": MAC
        });
        let id = lan.m.qemu.start_qmp("device_add", arguments);
        ok(lan.m.hdl.wait_for_session(PATIENCE));
        if let Err(e) = lan.m.qemu.finish_qmp(id) {
            panic!("device_add: {e}");
        }
        lan.session(round as u32 + 2);
        lan.settle();
    }
    assert!(
        counts[1..].iter().all(|c| *c == counts[1]),
        "descriptors and threads: {counts:?}"
    );
}

/// The RTL sends until the network, which nobody reads, takes no more; QEMU
/// keeps a frame then.
fn fill_the_network(lan: &mut Lan) {
    let mut quiet = 0;
    while quiet < 10 {
        if ok(lan.rtl.send_frame(&pattern(1, 1000))) {
            quiet = 0;
        } else if !ok(lan.rtl.pump(Duration::from_millis(30))) {
            quiet += 1;
        }
    }
}

#[test]
fn a_frame_that_waits_for_the_network_goes_with_the_card() {
    let mut lan = Lan::start_with(8, &[("MALLOC_PERTURB_", "165")]);
    fill_the_network(&mut lan);
    let sent = lan.counter("nic-frames-from-rtl");
    lan.m.qemu.qmp("device_del", json!({"id": "card"}));
    lan.m.qemu.qmp("system_reset", json!({}));
    lan.m.qemu.expect_event("DEVICE_DELETED");
    // Now the network has room for what QEMU kept, and would take it.
    lan.wire.set_read_timeout(Some(QUIET)).unwrap();
    let mut bytes = vec![0; 10_000];
    let mut came = 0;
    while lan.wire.recv(&mut bytes).is_ok() {
        came += 1;
    }
    assert!(came > 0 && came < sent, "{came} of {sent} frames came");
    lan.m.qemu.qmp("query-status", json!({}));
    // Another card takes the network.
    lan.m.qemu.qmp(
        "device_add",
        json!({"driver": "e1000e", "id": "other", "bus": "rp0", "netdev": "n0"}),
    );
    lan.m.qemu.qmp("query-status", json!({}));
}

#[test]
fn a_card_whose_frame_waits_for_the_network_is_plugged_in_again() {
    let mut lan = Lan::start_with(8, &[("MALLOC_PERTURB_", "165")]);
    fill_the_network(&mut lan);
    let path = "/machine/peripheral/card";
    lan.m.qemu.qmp(
        "qom-set",
        json!({"path": path, "property": "replug", "value": true}),
    );
    lan.m.qemu.qmp("system_reset", json!({}));
    lan.m.qemu.expect_event("DEVICE_DELETED");
    ok(lan.m.hdl.expect_down(PATIENCE));
    ok(lan.m.hdl.wait_for_session(PATIENCE));
    lan.session(2);
    lan.wire.set_read_timeout(Some(QUIET)).unwrap();
    let mut bytes = vec![0; 10_000];
    while lan.wire.recv(&mut bytes).is_ok() {}
    lan.settle();
    lan.wire.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(ok(lan.rtl.send_frame(&pattern(7, 300))));
    assert_eq!(lan.wire.recv(&mut bytes).unwrap(), 300);
    assert!(bytes[..300] == pattern(7, 300));
}

#[test]
fn a_mac_address_is_not_lost_with_a_failure() {
    let mut m = Machine::start_with(
        sample_config(2),
        &Options {
            args: "-netdev hubport,id=n0,hubid=0".into(),
            ..Options::default()
        },
    );
    m.qemu.qmp("device_del", json!({"id": "card"}));
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("DEVICE_DELETED");
    m.kill_endpoint();
    let mut arguments = json!({
        "driver": "accelerator-pcie", "id": "card", "bus": "rp0", "netdev": "n0",
        "endpoint": m.endpoint(), "handshake-timeout": 50
    });
    for _ in 0..3 {
        let id = m.qemu.start_qmp("device_add", arguments.clone());
        m.qemu.finish_qmp(id).unwrap_err();
    }
    m.restart_endpoint(sample_config(2));
    arguments["handshake-timeout"] = json!(30_000);
    let id = m.qemu.start_qmp("device_add", arguments);
    ok(m.hdl.wait_for_session(PATIENCE));
    m.qemu.finish_qmp(id).unwrap();
    assert_eq!(
        m.qemu.qom_get("/machine/peripheral/card", "mac"),
        json!("52:54:00:12:34:56")
    );
}

#[test]
fn a_card_without_a_nic_bridge_works_and_says_so() {
    let scratch = Scratch::new();
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            args: "-netdev hubport,id=n0,hubid=0".into(),
            properties: format!(
                "netdev=n0,nic-endpoint=ipc://{}",
                scratch.path("elsewhere").display()
            ),
            ..Options::default()
        },
    );
    m.check_alive();
    m.qemu
        .expect_line(&["card (NIC)", "elsewhere", "nobody listens"]);
    // The address is QEMU's default, and it is found at last.
    let endpoint = format!("ipc://{}", scratch.path("elsewhere").display());
    let mut rtl = ok(DevicePeer::bind(&endpoint, Nic, 8));
    ok(rtl.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    assert_eq!(rtl.inbox.mac, [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    m.qemu.expect_line(&["card (NIC)", "connected to"]);
    m.check_alive();
}

#[test]
fn properties_that_make_no_sense_are_refused() {
    for (properties, netdev, parts) in [
        ("mac=52:54:00:00:00:01", false, ["mac", "without netdev"]),
        (
            "nic-endpoint=7000",
            false,
            ["nic-endpoint", "without netdev"],
        ),
        (
            "serial-endpoint=7000",
            false,
            ["serial-endpoint", "chardev"],
        ),
        (
            "netdev=n0,mac=53:54:00:00:00:01",
            true,
            ["mac", "group address"],
        ),
        (
            "netdev=n0,nic-endpoint=nowhere",
            true,
            ["nic-endpoint", "nowhere"],
        ),
        ("netdev=n0,endpoint=65535", true, ["65535", "no port"]),
    ] {
        let scratch = Scratch::new();
        let mut launch = Launch::new();
        if netdev {
            launch = launch.args("-netdev hubport,id=n0,hubid=0");
        }
        let endpoint = if properties.contains(",endpoint=") {
            String::new()
        } else {
            format!(",endpoint={}", scratch.endpoint())
        };
        let mut qemu = launch
            .args(&format!("-device accelerator-pcie,{properties}{endpoint}"))
            .spawn(&scratch);
        assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1), "{properties}");
        qemu.expect_line(&parts);
    }
}

/// A machine whose card has a serial line, and both its ends.
fn serial(window: u32) -> (Machine, DevicePeer, UnixStream, Scratch) {
    let scratch = Scratch::new();
    let path = scratch.path("tty");
    let m = Machine::start_with(
        sample_config(1),
        &Options {
            args: format!(
                "-chardev socket,id=c0,path={},server=on,wait=off",
                path.display()
            ),
            properties: "chardev=c0".into(),
            ..Options::default()
        },
    );
    let terminal = UnixStream::connect(path).unwrap();
    terminal.set_nonblocking(true).unwrap();
    let endpoint = format!("{}.uart", m.endpoint());
    let mut rtl = ok(DevicePeer::bind(&endpoint, Serial, window));
    ok(rtl.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    (m, rtl, terminal, scratch)
}

fn some<T: Default>(result: std::io::Result<T>) -> T {
    match result {
        Ok(n) => n,
        Err(e) if e.kind() == ErrorKind::WouldBlock => T::default(),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn a_mebibyte_of_serial_bytes_each_way() {
    let (mut m, mut rtl, mut terminal, _scratch) = serial(512);
    let (down, up) = (pattern(1, 1 << 20), pattern(2, 1 << 20));
    let (mut typed, mut read, mut put, mut shown) = (0, 0, 0, 0);
    let deadline = Instant::now() + 4 * PATIENCE;
    let mut round = 0_usize;
    while read < down.len() || shown < up.len() {
        assert!(
            Instant::now() < deadline,
            "{typed} typed, {read} read by the RTL; {put} written by the RTL, {shown} shown"
        );
        round += 1;
        typed += some(terminal.write(&down[typed..]));
        // The RTL takes a little at a time.
        let bytes = ok(rtl.take_bytes(100 + round % 300));
        assert!(bytes == down[read..read + bytes.len()], "from {read}");
        read += bytes.len();
        put += ok(rtl.send_bytes(&up[put..(put + 3000).min(up.len())]));
        // The terminal is slow at times, so that the character device is full.
        if round % 200 > 100 || put == up.len() {
            let mut bytes = [0; 5000];
            let count = some(terminal.read(&mut bytes));
            assert!(bytes[..count] == up[shown..shown + count], "from {shown}");
            shown += count;
        }
        ok(rtl.pump(Duration::from_micros(500)));
    }
    assert_eq!((typed, put), (down.len(), up.len()));
    m.check_alive();
}

#[test]
fn serial_floods_wait_at_both_ends() {
    let (mut m, mut rtl, mut terminal, _scratch) = serial(64);
    let pid = m.qemu.id();
    let before = resident(pid);
    let (mut typed, mut put, mut quiet) = (0, 0, 0);
    while quiet < 20 {
        let a = some(terminal.write(&[0x55; 65536]));
        let b = ok(rtl.send_bytes(&[0xaa; 65536]));
        (typed, put) = (typed + a, put + b);
        let c = ok(rtl.pump(Duration::from_millis(20)));
        quiet = if a + b == 0 && !c { quiet + 1 } else { 0 };
        assert!(typed + put < 64 << 20, "there is no end to it");
    }
    let grown = resident(pid).saturating_sub(before);
    assert!(grown < GROWTH, "grown by {grown} KiB");
    // All of it arrives.
    let (mut read, mut shown) = (0, 0);
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut bytes = vec![0; 65536];
    while read < typed || shown < put {
        assert!(Instant::now() < deadline, "{read}/{typed} {shown}/{put}");
        read += ok(rtl.take_bytes(64)).len();
        shown += some(terminal.read(&mut bytes));
        ok(rtl.pump(Duration::from_micros(200)));
    }
    assert_eq!((read, shown), (typed, put));
    m.check_alive();
}

#[test]
fn a_serial_line_survives_its_simulator() {
    let (mut m, mut rtl, mut terminal, _scratch) = serial(64);
    let bad = {
        let mut message = Vec::new();
        let data = [0; 60];
        Frame::NicFrame { data: &data }.encode(rtl.session.session(), &mut message);
        message
    };
    ok(rtl.send_raw(&bad));
    m.qemu.expect_line(&[
        "card (serial)",
        "broke the protocol",
        "NIC_FRAME may not come",
    ]);
    ok(rtl.pump_until("another session", PATIENCE, |r| r.inbox.sessions == 2));
    rtl = ok(DevicePeer::bind(
        &format!("{}.away", m.endpoint()),
        Serial,
        64,
    ));
    drop(rtl);
    // What is typed meanwhile waits for the simulator.
    terminal.write_all(b"hello").unwrap();
    let endpoint = format!("{}.uart", m.endpoint());
    let mut rtl = ok(DevicePeer::bind(&endpoint, Serial, 64));
    ok(rtl.pump_until("the bytes", PATIENCE, |r| r.inbox.bytes() == 5));
    assert_eq!(ok(rtl.take_bytes(5)), b"hello");
    assert_eq!(ok(rtl.send_bytes(b"world")), 5);
    terminal.set_nonblocking(false).unwrap();
    terminal.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 5];
    terminal.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"world");
    m.qemu.qmp("quit", json!({}));
    assert!(m.qemu.wait_exit(PATIENCE).success());
    ok(rtl.pump_until("a goodbye", PATIENCE, |r| r.inbox.down.is_some()));
}

#[test]
fn bytes_that_a_character_device_never_takes_are_dropped_and_counted() {
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            args: "-chardev file,id=c0,path=/dev/full".into(),
            properties: "chardev=c0".into(),
            ..Options::default()
        },
    );
    let mut rtl = ok(DevicePeer::bind(
        &format!("{}.uart", m.endpoint()),
        Serial,
        64,
    ));
    ok(rtl.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    // More than any window: the RTL gets credit for what is dropped.
    // So much that a line for each time would be too many.
    let bytes = pattern(3, 1_000_000);
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    while sent < bytes.len() {
        assert!(Instant::now() < deadline, "{sent} bytes were taken");
        sent += ok(rtl.send_bytes(&bytes[sent..]));
        ok(rtl.pump(Duration::from_millis(5)));
    }
    let path = "/machine/peripheral/card";
    while m.qemu.qom_get(path, "serial-drops-from-rtl") != json!(bytes.len()) {
        assert!(Instant::now() < deadline, "not all are counted");
        ok(rtl.pump(Duration::from_millis(5)));
    }
    m.qemu.expect_line(&["bytes of the RTL are dropped"]);
    let lines = m.qemu.count_lines(&["bytes of the RTL are dropped"]);
    assert!((1..40).contains(&lines), "{lines} lines");
    // Nothing is tried over and over: QEMU sleeps.
    let before = m.qemu.cpu_ticks();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = m.qemu.cpu_ticks() - before;
    assert!(
        ticks < 50,
        "{ticks} hundredths of a second of CPU in one second"
    );
    m.check_alive();
}

/// Each kind of channel to a simulator that ends its session, or just goes, and is
/// back, again and again.
#[test]
fn a_simulator_is_found_again_each_time() {
    let count = if std::env::var_os("TEST_LONG").is_some() {
        1000
    } else {
        6
    };
    let (m, mut uart, _chardev, _scratch) = serial(64);
    let mut lan = Lan::start(8);
    let serial_at = format!("{}.uart", m.endpoint());
    let nic_at = format!("{}.nic", lan.m.endpoint());
    ok(uart.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    for n in 0..count {
        if n % 2 == 0 {
            ok(uart.close());
            ok(lan.rtl.close());
        }
        drop(uart);
        uart = ok(DevicePeer::bind(&serial_at, Serial, 64));
        lan.rtl = ok(DevicePeer::bind(&format!("{nic_at}-away"), Nic, 8));
        lan.rtl = ok(DevicePeer::bind(&nic_at, Nic, 8));
        ok(uart.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
        lan.session(1);
    }
}

/// Neither its character device nor the machine calls a card that is gone.
#[test]
fn nothing_calls_a_card_that_is_gone() {
    let scratch = Scratch::new();
    let path = scratch.path("tty");
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            args: format!(
                "-chardev socket,id=c0,path={},server=on,wait=off",
                path.display()
            ),
            properties: "chardev=c0".into(),
            env: vec![("MALLOC_PERTURB_", "165")],
            ..Options::default()
        },
    );
    let mut terminal = UnixStream::connect(path).unwrap();
    terminal.set_nonblocking(true).unwrap();
    let endpoint = format!("{}.uart", m.endpoint());
    let mut rtl = ok(DevicePeer::bind(&endpoint, Serial, 64));
    ok(rtl.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    // Until the terminal, which nobody reads, takes no more.
    let mut quiet = 0;
    while quiet < 10 {
        let sent = ok(rtl.send_bytes(&[0xaa; 65536]));
        let came = ok(rtl.pump(Duration::from_millis(30)));
        quiet = if sent == 0 && !came { quiet + 1 } else { 0 };
    }
    m.qemu.qmp("device_del", json!({"id": "card"}));
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("DEVICE_DELETED");
    // Now it would.
    let mut bytes = vec![0; 65536];
    for _ in 0..20 {
        while some(terminal.read(&mut bytes)) != 0 {}
        some(terminal.write(b"for nobody"));
        m.qemu.qmp("query-status", json!({}));
        std::thread::sleep(Duration::from_millis(20));
    }
    m.qemu.qmp("stop", json!({}));
    m.qemu.qmp("cont", json!({}));
    m.qemu.qmp("query-status", json!({}));
    m.qemu.qmp("quit", json!({}));
    assert_eq!(m.qemu.wait_exit(PATIENCE).code(), Some(0));
}

/// The main loop watches nothing any more that was a channel of the card: the numbers of its
/// descriptors are those of other files by then, which are always readable.
#[test]
fn nothing_is_watched_of_a_card_that_is_gone() {
    let scratch = Scratch::new();
    let mut m = Machine::start_with(
        sample_config(1),
        &Options {
            args: "-netdev hubport,id=n0,hubid=0 -chardev null,id=c0".into(),
            properties: format!("netdev=n0,mac={MAC},chardev=c0"),
            env: vec![("MALLOC_PERTURB_", "165")],
            ..Options::default()
        },
    );
    let mut uart = ok(DevicePeer::bind(
        &format!("{}.uart", m.endpoint()),
        Serial,
        64,
    ));
    let mut nic = ok(DevicePeer::bind(&format!("{}.nic", m.endpoint()), Nic, 8));
    ok(uart.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    ok(nic.pump_until("a session", PATIENCE, |r| r.inbox.sessions == 1));
    m.qemu.qmp("device_del", json!({"id": "card"}));
    m.qemu.qmp("system_reset", json!({}));
    m.qemu.expect_event("DEVICE_DELETED");
    // More than the card had.
    for number in 0..100 {
        let file = scratch.path(&format!("file-{number}"));
        m.qemu.qmp(
            "chardev-add",
            json!({"id": format!("f{number}"),
                   "backend": {"type": "file", "data": {"out": file}}}),
        );
    }
    // A main loop that always has something to read never sleeps, if it survives that.
    let before = m.qemu.sleeps();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(50));
        m.qemu.qmp("query-status", json!({}));
    }
    let sleeps = m.qemu.sleeps() - before;
    assert!(sleeps >= 15, "QEMU slept {sleeps} times in a second");
    m.qemu.qmp("quit", json!({}));
    assert_eq!(m.qemu.wait_exit(PATIENCE).code(), Some(0));
}
