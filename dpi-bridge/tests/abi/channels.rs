// SPDX-License-Identifier: MIT OR Apache-2.0

//! NIC and UART channels.

use std::time::{Duration, Instant};

use accelerator_peers::{channel::HostPeer, PATIENCE};
use accelerator_protocol::{
    channel::ChannelKind::{Nic, Serial},
    wire::{split, Frame, Open, Reason},
};

use accelerator_record::{Kind, Record, SourceKind};

use crate::{
    process::quiet,
    record::entries,
    support::{program, Folder, Language, Process, Raw, Simulator, EAGAIN, EINVAL},
};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

const RX: i32 = 1;
const TX: i32 = 2;
const LINK: i32 = 4;
const CHANGED: i32 = 8;

const RX_FRAMES: i32 = 0;
const TX_FRAMES: i32 = 2;
const TX_BYTES: i32 = 3;
const TX_DROPPED: i32 = 4;
const TX_TOO_LONG: i32 = 5;
const RX_DROPPED: i32 = 6;
const SESSIONS: i32 = 7;

/// Bytes that differ from one frame to the next.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8) ^ seed.wrapping_mul(17)) as u8)
        .collect()
}

fn nic(sim: &mut Simulator, endpoint: &str) {
    let line = format!("nic_open {} {endpoint} nic", sim.slot);
    assert_eq!(sim.raw(&line), "1", "{}", sim.null_error());
}

fn uart(sim: &mut Simulator, endpoint: &str) {
    let line = format!("uart_open {} {endpoint} uart", sim.slot);
    assert_eq!(sim.raw(&line), "1", "{}", sim.null_error());
}

/// Polls until one of these bits is there; all bits.
#[track_caller]
fn until(sim: &mut Simulator, bits: i32) -> i32 {
    let found = sim.call(&format!("nic_poll_until {bits} 30000"));
    assert!(found >= 0 && found & bits != 0, "{bits}: {found}");
    found
}

#[track_caller]
fn connect(sim: &mut Simulator, endpoint: &str, window: u32) -> HostPeer {
    let mut host = HostPeer::open(endpoint, Nic, MAC, window).unwrap();
    until(sim, LINK);
    host.pump_until("ACCEPT", PATIENCE, |h| h.session.is_up())
        .unwrap();
    host
}

/// One frame of the RTL.
fn transmit(sim: &mut Simulator, frame: &[u8]) {
    let last = frame.chunks(64).count() - 1;
    for (i, chunk) in frame.chunks(64).enumerate() {
        let mut hex: String = chunk.iter().map(|b| format!("{b:02x}")).collect();
        hex.extend(std::iter::repeat_n("ee", 64 - chunk.len()));
        let call = format!("nic_tx_beat {} {hex} {}", chunk.len(), i32::from(i == last));
        assert_eq!(sim.call(&call), 0, "{}", sim.last_error());
    }
}

/// The usual lengths: all short ones, and every step up to the longest.
fn lengths() -> impl Iterator<Item = usize> {
    (60..=320)
        .chain((321..9216).step_by(61))
        .chain([9215, 9216])
}

#[test]
fn frames_and_bytes_come_back_as_they_were_sent() {
    let folder = Folder::new();
    let (a, b) = (folder.endpoint("n"), folder.endpoint("u"));
    let process = Process::start(
        program(Language::C99, true),
        &["echo", &a, &b, "1"],
        &[("ACCELERATOR_LOG_LEVEL", "debug")],
    );
    let mut host = HostPeer::open(&a, Nic, MAC, 8).unwrap();
    let mut terminal = HostPeer::open(&b, Serial, MAC, 1000).unwrap();
    let frames: Vec<Vec<u8>> = lengths().map(|n| pattern(n, n)).collect();
    let text = pattern(7, 1 << 20);
    let (mut sent, mut back) = (0, 0);
    let (mut put, mut got) = (0, 0);
    let deadline = Instant::now() + 4 * PATIENCE;
    while back < frames.len() || got < text.len() {
        assert!(
            Instant::now() < deadline,
            "{back} of {} frames, {got} of {} bytes",
            frames.len(),
            text.len()
        );
        while sent < frames.len() && host.send_frame(&frames[sent]).unwrap() {
            sent += 1;
        }
        put += terminal.send_bytes(&text[put..]).unwrap();
        host.pump(Duration::from_millis(1)).unwrap();
        terminal.pump(Duration::from_millis(1)).unwrap();
        // Not all at once, so that the other end feels the credit.
        if let Some(frame) = host.take_frame().unwrap() {
            assert!(frame == frames[back], "frame {back} differs");
            back += 1;
        }
        let bytes = terminal.take_bytes(700).unwrap();
        assert!(
            bytes == text[got..got + bytes.len()],
            "bytes from {got} differ"
        );
        got += bytes.len();
    }
    host.close().unwrap();
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let n = frames.len();
    assert_eq!(
        process.line(),
        format!("rx={n}/{bytes} tx={n}/{bytes} dropped=0/0/0")
    );
    let log = process.finish();
    assert!(log.contains("52:54:00:12:34:56"), "{log}");
}

#[test]
fn frames_and_bytes_are_in_the_record() {
    let folder = Folder::new();
    let (a, b) = (folder.endpoint("n"), folder.endpoint("u"));
    let file = folder.path("record");
    let process = Process::start(
        program(Language::C99, true),
        &["echo", &a, &b, "1"],
        &[
            ("ACCELERATOR_RECORD", file.to_str().unwrap()),
            ("ACCELERATOR_RECORD_DATA", "1"),
        ],
    );
    let mut host = HostPeer::open(&a, Nic, MAC, 8).unwrap();
    let mut terminal = HostPeer::open(&b, Serial, MAC, 1000).unwrap();
    let frames: Vec<Vec<u8>> = [60, 61, 200].iter().map(|&n| pattern(n, n)).collect();
    let text = pattern(7, 100);
    let (mut sent, mut back, mut put, mut got) = (0, 0, 0, 0);
    let deadline = Instant::now() + 4 * PATIENCE;
    while back < frames.len() || got < text.len() {
        assert!(Instant::now() < deadline, "{back} frames, {got} bytes");
        while sent < frames.len() && host.send_frame(&frames[sent]).unwrap() {
            sent += 1;
        }
        put += terminal.send_bytes(&text[put..]).unwrap();
        host.pump(Duration::from_millis(1)).unwrap();
        terminal.pump(Duration::from_millis(1)).unwrap();
        back += usize::from(host.take_frame().unwrap().is_some());
        got += terminal.take_bytes(700).unwrap().len();
    }
    host.close().unwrap();
    process.line();
    process.finish();

    let record = Record::open(&file).unwrap();
    let kinds: Vec<_> = record.sources().iter().map(|s| s.kind).collect();
    assert_eq!(kinds, [SourceKind::Nic, SourceKind::Uart]);
    let all = entries(&file);
    let contents = |kind| -> Vec<Vec<u8>> {
        all.iter()
            .filter(|e| e.0.kind() == Some(kind))
            .map(|e| match kind {
                Kind::NicRx | Kind::NicTx => e.1.clone(),
                _ => vec![e.0.data as u8],
            })
            .collect()
    };
    for kind in [Kind::NicRx, Kind::NicTx] {
        assert_eq!(contents(kind), frames, "{kind:?}");
    }
    for kind in [Kind::SerialRx, Kind::SerialTx] {
        assert_eq!(contents(kind).concat(), text, "{kind:?}");
    }
    // Who is there comes before what they send.
    for (source, mac) in [(0, 0x5254_0012_3456), (1, 0)] {
        let mut of_it = all.iter().map(|e| e.0).filter(|e| e.source == source);
        let (link, taken) = (of_it.next().unwrap(), of_it.next().unwrap());
        assert_eq!((link.kind(), link.address), (Some(Kind::LinkUp), mac));
        assert_eq!(
            (taken.kind(), taken.number),
            (Some(Kind::Taken), link.number)
        );
    }
    // Each channel has its clock.
    assert!(all.windows(2).all(|pair| {
        let (a, b) = (&pair[0].0, &pair[1].0);
        a.source != b.source || a.clock <= b.clock
    }));
    assert!(all.iter().all(|e| e.0.clock > 0));
}

#[test]
fn an_idle_poll_of_a_channel_makes_no_system_call() {
    let folder = Folder::new();
    for (name, kind) in [("NIC", Nic), ("UART", Serial)] {
        let endpoint = folder.endpoint(name);
        let process = quiet(&endpoint, name);
        let host = HostPeer::open(&endpoint, kind, MAC, 8).unwrap();
        let (status, text) = process.end();
        assert!(status.success(), "{name}: {status}: {text}");
        drop(host);
    }
}

#[test]
fn link_and_mac_are_told() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("n");
    let mut sim = Simulator::start();
    nic(&mut sim, &endpoint);
    assert_eq!(sim.results("nic_get_mac"), [0, 0]);
    assert_eq!(sim.call("nic_poll"), TX);
    // The RTL's link before there is a host.
    assert_eq!(sim.call("nic_set_link 0"), 0);
    let mut host = connect(&mut sim, &endpoint, 8);
    assert!(!host.inbox.link);
    assert_eq!(sim.results("nic_get_mac"), [0, 0x5254_0012_3456]);
    assert_eq!(sim.call("nic_set_link 1"), 0);
    assert_eq!(sim.call("nic_poll"), TX | LINK);
    host.pump_until("the RTL's link", PATIENCE, |h| h.inbox.link)
        .unwrap();
    // The host's link.
    host.set_link(false).unwrap();
    assert_eq!(until(&mut sim, CHANGED), TX | CHANGED);
    assert_eq!(sim.call("nic_poll"), TX);
    transmit(&mut sim, &[1; 64]);
    assert_eq!(sim.results(&format!("nic_stat {TX_DROPPED}")), [1]);
    host.set_link(true).unwrap();
    assert_eq!(until(&mut sim, CHANGED), TX | LINK | CHANGED);
    // A host that goes.
    host.close().unwrap();
    assert_eq!(until(&mut sim, CHANGED), TX | CHANGED);
    assert_eq!(sim.results("nic_get_mac"), [0, 0x5254_0012_3456]);
    // One that comes, with another address, and dies.
    let mut other = MAC;
    other[5] = 0x99;
    let host = HostPeer::open(&endpoint, Nic, other, 8).unwrap();
    assert_eq!(until(&mut sim, CHANGED), TX | LINK | CHANGED);
    assert_eq!(sim.results("nic_get_mac"), [0, 0x5254_0012_3499]);
    drop(host);
    assert_eq!(until(&mut sim, CHANGED), TX | CHANGED);
    assert_eq!(sim.results(&format!("nic_stat {SESSIONS}")), [2]);
    assert_eq!(sim.call("nic_close"), 0);
    sim.end();
}

#[test]
fn short_frames_are_padded_and_long_ones_dropped() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("n");
    let mut sim = Simulator::start();
    nic(&mut sim, &endpoint);
    let mut host = connect(&mut sim, &endpoint, 8);
    transmit(&mut sim, &[0xab; 14]);
    transmit(&mut sim, &pattern(1, 9217));
    transmit(&mut sim, &pattern(2, 20_000));
    transmit(&mut sim, &pattern(3, 9216));
    // Begun, and dropped by a reset.
    let beat = "11".repeat(64);
    assert_eq!(sim.call(&format!("nic_tx_beat 64 {beat} 0")), 0);
    assert_eq!(sim.call("nic_tx_abort"), 0);
    transmit(&mut sim, &pattern(4, 61));
    sim.call("nic_poll");
    host.pump_until("three frames", PATIENCE, |h| h.inbox.frames() == 3)
        .unwrap();
    let mut padded = vec![0xab; 14];
    padded.resize(60, 0);
    assert_eq!(host.take_frame().unwrap().unwrap(), padded);
    assert_eq!(host.take_frame().unwrap().unwrap(), pattern(3, 9216));
    assert_eq!(host.take_frame().unwrap().unwrap(), pattern(4, 61));
    for (which, value) in [(TX_FRAMES, 3), (TX_BYTES, 60 + 9216 + 61), (TX_TOO_LONG, 2)] {
        assert_eq!(sim.results(&format!("nic_stat {which}")), [value]);
    }
    assert_eq!(sim.call("nic_close"), 0);
    let log = sim.end();
    assert!(log.contains("more than 9216 bytes"), "{log}");
}

#[test]
fn credit_bounds_both_directions() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("n");
    let mut sim = Simulator::start();
    nic(&mut sim, &endpoint);
    // Without a host frames go nowhere, and nothing is kept.
    assert_eq!(sim.call("nic_flood 1000"), 1000);
    assert_eq!(sim.results(&format!("nic_stat {TX_DROPPED}")), [1000]);
    let mut host = connect(&mut sim, &endpoint, 5);
    assert_eq!(sim.call("nic_flood 1000"), 5);
    assert_eq!(sim.call("nic_poll"), LINK);
    let beat = "00".repeat(64);
    sim.fails(&format!("nic_tx_beat 1 {beat} 0"), EAGAIN, &["room"]);
    host.pump_until("the frames", PATIENCE, |h| h.inbox.frames() == 5)
        .unwrap();
    // They were counted against the credit; no more come.
    while host.take_frame().unwrap().is_some() {}
    until(&mut sim, TX);
    // And the host's way.
    let frame = pattern(1, 9216);
    let mut sent = 0;
    while host.send_frame(&frame).unwrap() {
        sent += 1;
    }
    assert_eq!(sent, 64);
    until(&mut sim, RX);
    for _ in 0..64 {
        assert!(until(&mut sim, RX) & RX != 0);
        assert_eq!(sim.call("nic_rx_begin"), 9216);
    }
    assert_eq!(sim.call("nic_rx_begin"), 0);
    assert_eq!(sim.call("nic_poll") & RX, 0);
    host.pump_until("credit", PATIENCE, |h| h.session.credit() == 64)
        .unwrap();
    // With the RTL's link down the host's frames are dropped, for credit.
    assert_eq!(sim.call("nic_set_link 0"), 0);
    for _ in 0..64 {
        assert!(host.send_frame(&frame).unwrap());
    }
    let deadline = Instant::now() + PATIENCE;
    while host.session.credit() < 64 {
        assert_eq!(sim.call("nic_poll") & RX, 0);
        host.pump(Duration::from_millis(1)).unwrap();
        assert!(Instant::now() < deadline, "no credit");
    }
    assert_eq!(sim.results(&format!("nic_stat {RX_DROPPED}")), [64]);
    assert_eq!(sim.results(&format!("nic_stat {RX_FRAMES}")), [64]);
    assert_eq!(sim.call("nic_close"), 0);
    sim.end();
}

#[test]
fn a_second_host_is_refused_until_the_first_is_gone() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("n");
    let mut sim = Simulator::start();
    nic(&mut sim, &endpoint);
    let first = connect(&mut sim, &endpoint, 5);
    let mut second = HostPeer::open(&endpoint, Nic, MAC, 5).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while second.inbox.down.is_none() {
        sim.call("nic_poll");
        second.pump(Duration::from_millis(1)).unwrap();
        assert!(Instant::now() < deadline, "no answer");
    }
    let (reason, text) = second.inbox.down.take().unwrap();
    assert_eq!(reason, Reason::Busy, "{text}");
    drop(first);
    until(&mut sim, CHANGED);
    connect(&mut sim, &endpoint, 5);
    assert_eq!(sim.call("nic_close"), 0);
    sim.end();
}

/// What a host must not send, and what the channel says to it.
#[test]
fn bad_frames_end_the_session_with_a_reason() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("n");
    let mut sim = Simulator::start();
    nic(&mut sim, &endpoint);
    let open = |kind, credit| {
        Frame::Open(Open {
            kind,
            credit,
            mac: if kind == Nic { MAC } else { [0; 6] },
            link: kind == Nic,
            name: "raw host",
        })
    };
    let wait = |sim: &mut Simulator, raw: &Raw, refused: bool| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            sim.call("nic_poll");
            if raw.is_silent() {
                assert!(Instant::now() < deadline, "the device sends nothing");
                continue;
            }
            let message = raw.receive();
            let (header, payload, _) = split(&message).unwrap();
            match Frame::decode(&header, payload).unwrap() {
                Frame::Refuse { reason, text } => return (reason, text.to_owned()),
                Frame::Accept { .. } if !refused => return (Reason::Closing, String::new()),
                _ => {}
            }
        }
    };
    let long = vec![0; 9217];
    let frames: Vec<(Frame<'_>, &str)> = vec![
        (
            Frame::NicFrame { data: &long[..59] },
            "59 (0x3b), expected 60 to 9216",
        ),
        (
            Frame::NicFrame { data: &long },
            "9217 (0x2401), expected 60 to 9216",
        ),
        (
            Frame::Serial { data: b"x" },
            "SERIAL may not come in state Up",
        ),
        (
            Frame::Credit { amount: 250 },
            "CREDIT of 250 where 246 are allowed",
        ),
        (Frame::Msix { vector: 0 }, "MSIX may not come in state Up"),
        (
            open(Serial, 10),
            "asks for a Serial channel, this is a Nic channel",
        ),
        (
            open(Nic, 257),
            "credit in frames is 257 (0x101), expected 1 to 256",
        ),
    ];
    for (frame, words) in frames {
        let raw = Raw::connect(&endpoint);
        raw.put(&open(Nic, 10));
        wait(&mut sim, &raw, false);
        raw.put(&frame);
        let (reason, text) = wait(&mut sim, &raw, true);
        assert_eq!(reason, Reason::Protocol, "{text}");
        assert!(text.contains(words), "{words:?} is not in {text:?}");
        assert_eq!(sim.call("nic_poll") & LINK, 0);
    }
    // More frames than there is credit for.
    let raw = Raw::connect(&endpoint);
    raw.put(&open(Nic, 10));
    wait(&mut sim, &raw, false);
    for _ in 0..65 {
        raw.put(&Frame::NicFrame { data: &long[..60] });
    }
    let (_, text) = wait(&mut sim, &raw, true);
    assert!(
        text.contains("NIC_FRAME of 1 where 0 are allowed"),
        "{text}"
    );
    // The PCIe device at the wrong endpoint.
    let raw = Raw::connect(&endpoint);
    raw.init();
    let (_, text) = wait(&mut sim, &raw, true);
    assert!(text.contains("endpoint of a Nic channel"), "{text}");
    // It goes on as if nothing had been.
    connect(&mut sim, &endpoint, 5);
    assert_eq!(sim.call("nic_close"), 0);
    sim.end();
}

#[test]
fn a_uart_keeps_bytes_for_a_host_and_then_drops() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("u");
    let mut sim = Simulator::start();
    uart(&mut sim, &endpoint);
    assert_eq!(sim.call("uart_poll"), TX);
    assert_eq!(sim.call("uart_get"), -1);
    // All are taken, as on an open wire; the first 4096 are kept.
    assert_eq!(sim.call("uart_flood 5000"), 5000);
    let mut host = HostPeer::open(&endpoint, Serial, MAC, 1000).unwrap();
    sim.call(&format!("uart_poll_until {LINK} 30000"));
    let mut bytes = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while bytes.len() < 4096 {
        sim.call("uart_poll");
        host.pump(Duration::from_millis(1)).unwrap();
        bytes.extend(host.take_bytes(333).unwrap());
        assert!(Instant::now() < deadline, "{} bytes", bytes.len());
    }
    let expected: Vec<u8> = (0..4096).map(|i| i as u8).collect();
    assert!(bytes == expected);
    // With a host nothing is dropped: a full queue says so.
    assert_eq!(sim.call("uart_flood 6000"), 4096);
    assert_eq!(sim.call("uart_put 1"), 0);
    sim.fails("uart_put 256", EINVAL, &["256"]);
    // And the other way.
    let text = pattern(3, 5000);
    assert_eq!(host.send_bytes(&text).unwrap(), 4096);
    sim.call(&format!("uart_poll_until {RX} 30000"));
    for &byte in &text[..100] {
        assert_eq!(sim.call("uart_get"), i32::from(byte));
    }
    assert_eq!(sim.call("uart_close"), 0);
    let log = sim.end();
    assert!(log.contains("dropped"), "{log}");
}

#[test]
fn calls_with_wrong_arguments_fail() {
    let folder = Folder::new();
    let mut sim = Simulator::start();
    nic(&mut sim, &folder.endpoint("n"));
    let beat = "00".repeat(64);
    for (call, words) in [
        ("nic_rx_beat 1", "left"),
        ("nic_rx_beat 65", "65"),
        ("nic_rx_beat null", "null"),
        ("nic_tx_beat null", "null"),
        (&*format!("nic_tx_beat 0 {beat} 0"), "bytes"),
        (&*format!("nic_tx_beat 1 {beat} 2"), "last"),
        ("nic_set_link 2", "up"),
        ("nic_stat 8", "which"),
        ("nic_get_mac null", "null"),
        ("poll 15", "NIC channel, expected that of a bridge"),
        ("uart_poll", "NIC channel, expected that of a UART channel"),
    ] {
        sim.fails(call, EINVAL, &[words]);
    }
    assert_eq!(sim.call("uart_close"), EINVAL);
    assert_eq!(sim.call("close"), EINVAL);
    // The same endpoint again.
    let line = format!("nic_open 1 {} other", folder.endpoint("n"));
    assert_eq!(sim.raw(&line), "0");
    assert!(sim.null_error().contains("in use"));
    // Beside a bridge.
    let line = format!("nic_open 1 pcie:{} other", folder.endpoint("card"));
    assert_eq!(sim.raw(&line), "1", "{}", sim.null_error());
    assert!(folder.path("card.nic").exists());
    let line = format!("uart_open 2 pcie:{} other", folder.endpoint("card"));
    assert_eq!(sim.raw(&line), "1", "{}", sim.null_error());
    assert!(folder.path("card.uart").exists());
    assert_eq!(sim.raw("nic_open 3 pcie:65535 other"), "0");
    assert!(sim.null_error().contains("65535"));
    assert_eq!(sim.raw("nic_open 3 tcp://10.0.0.1:5 other"), "0");
    for (slot, call) in [(0, "nic_close"), (1, "nic_close"), (2, "uart_close")] {
        sim.slot = slot;
        assert_eq!(sim.call(call), 0);
    }
    assert!(!folder.path("card.nic").exists());
    sim.end();
}
