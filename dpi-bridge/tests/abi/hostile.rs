// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hosts that break the protocol. After each of them the RTL hears at most that
//! the link went down, the host hears what it broke, and a good host gets a
//! session.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use accelerator_protocol::wire::{
    split, Frame, Init, Reason, ResetKind, Status, HEADER_LEN, MAX_INTERVAL, MAX_MESSAGE,
};

use crate::support::*;

const READ: Frame<'_> = Frame::MmioRead {
    tag: 1,
    bar: 0,
    len: 4,
    offset: 16,
};

const WRITE: Frame<'_> = Frame::MmioWrite {
    tag: 1,
    bar: 0,
    len: 4,
    offset: 16,
    data: 0x1234_5678,
};

const INIT: Frame<'_> = Frame::Init(Init {
    features: 0,
    write_window: 64,
    max_data: 65536,
    name: "hostile host",
});

/// A frame with `bytes` in place of what is at `at`.
fn patched(host: &Raw, frame: &Frame<'_>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut message = host.encode(frame);
    message[at..at + bytes.len()].copy_from_slice(bytes);
    message
}

/// A frame with another payload length than it has.
fn with_length(host: &Raw, frame: &Frame<'_>, length: u32) -> Vec<u8> {
    patched(host, frame, 20, &length.to_le_bytes())
}

/// Has a host with a session send `message`: it is refused with all of `words`,
/// and the RTL hears of nothing but the end of the link.
#[track_caller]
fn breaks(sim: &mut Simulator, host: &Raw, message: &[u8], reason: Reason, words: &[&str]) {
    host.send(message);
    sim.link(false);
    let (found, text) = host.refusal();
    assert_eq!(found, reason, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn bad_frames_end_the_session_and_name_both_values() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut host = Raw::connect(&endpoint);
    let h = &host;
    let mmio = |tag, bar, len, offset| {
        h.encode(&Frame::MmioWrite {
            tag,
            bar,
            len,
            offset,
            data: 0,
        })
    };
    // Header: signature 0, version 4 and 5, type 6, reserved 7, session 8,
    // tag 16, length 20.
    let cases: Vec<(Vec<u8>, Reason, Vec<&str>)> = vec![
        (
            patched(h, &READ, 0, b"XPCI"),
            Reason::Protocol,
            vec!["0x49435058", "\"APCI\""],
        ),
        (
            patched(h, &READ, 4, &[2]),
            Reason::Version,
            vec!["2.6", "1.6"],
        ),
        (
            patched(h, &READ, 6, &[0x77]),
            Reason::Protocol,
            vec!["0x77"],
        ),
        (
            patched(h, &READ, 7, &[1]),
            Reason::Protocol,
            vec!["reserved", "expected 0"],
        ),
        (
            with_length(h, &READ, 1 << 20),
            Reason::Protocol,
            vec!["1048576", "at most"],
        ),
        (
            with_length(h, &READ, 17),
            Reason::Protocol,
            vec!["17 bytes", "16"],
        ),
        (
            with_length(h, &READ, 15),
            Reason::Protocol,
            vec!["MMIO_READ", "15 bytes", "16"],
        ),
        (
            mmio(1, 6, 4, 0),
            Reason::Protocol,
            vec!["BAR is 6", "0 to 5"],
        ),
        (
            mmio(1, 0, 0, 0),
            Reason::Protocol,
            vec!["access length is 0", "1 to 8"],
        ),
        (
            mmio(1, 0, 9, 0),
            Reason::Protocol,
            vec!["access length is 9"],
        ),
        (
            mmio(1, 1, 4, 0),
            Reason::Protocol,
            vec!["MMIO_WRITE", "BAR 1 has 0x0 bytes"],
        ),
        (
            mmio(1, 0, 8, 65529),
            Reason::Protocol,
            vec!["0xfff9", "BAR 0 has 0x10000 bytes"],
        ),
        (
            mmio(1, 0, 1, u64::MAX),
            Reason::Protocol,
            vec!["0xffffffffffffffff"],
        ),
        (
            mmio(2, 0, 4, 0),
            Reason::Protocol,
            vec!["tag 2", "the next is 1"],
        ),
        (mmio(0, 0, 4, 0), Reason::Protocol, vec!["tag 0"]),
        (
            patched(h, &mmio_frame(2), HEADER_LEN + 16, &[0, 0, 1]),
            Reason::Protocol,
            vec!["beyond the access length"],
        ),
        (
            h.encode(&Frame::DmaReadDone {
                tag: 5,
                status: Status::Ok,
                data: &[1, 2],
            }),
            Reason::Protocol,
            vec!["DMA_READ_DONE has tag 5", "0 DMA requests"],
        ),
        (
            h.encode(&Frame::DmaWriteDone {
                tag: 6,
                status: Status::Ok,
            }),
            Reason::Protocol,
            vec!["DMA_WRITE_DONE has tag 6"],
        ),
        (
            h.encode(&Frame::Reset {
                tag: 2,
                kind: ResetKind::Flr,
            }),
            Reason::Protocol,
            vec!["RESET has tag 2", "the next is 1"],
        ),
        (
            patched(
                h,
                &Frame::Reset {
                    tag: 1,
                    kind: ResetKind::Flr,
                },
                HEADER_LEN,
                &[4],
            ),
            Reason::Protocol,
            vec!["reset kind is 4", "1 to 3"],
        ),
        (
            h.encode(&Frame::Ready),
            Reason::Protocol,
            vec!["READY may not come", "Up"],
        ),
        // Frames that only a device sends.
        (
            h.encode(&Frame::Msix { vector: 0 }),
            Reason::Protocol,
            vec!["MSIX may not come"],
        ),
        (
            h.encode(&Frame::MmioReadDone {
                tag: 1,
                status: Status::Ok,
                data: 0,
            }),
            Reason::Protocol,
            vec!["MMIO_READ_DONE may not come"],
        ),
        (vec![], Reason::Protocol, vec!["24 bytes", "has 0"]),
        (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            Reason::Protocol,
            vec!["\"APCI\""],
        ),
        (vec![0xff; 4096], Reason::Protocol, vec!["0xffffffff"]),
    ];
    let count = cases.len();
    for (message, reason, words) in cases {
        // The numbers of the frames count from the beginning of a session, so
        // all cases can be built for the same one.
        host.up(&mut sim);
        breaks(&mut sim, &host, &message, reason, &words);
        sim.expect_nothing(READY);
    }
    assert_eq!(sim.stat(5), count as i64);
    // Nothing of all that was handed to the RTL.
    assert_eq!((sim.stat(0), sim.stat(1)), (0, 0));

    // A bad frame behind good ones: those came before it, and are void.
    host.up(&mut sim);
    let mut message = host.encode(&READ);
    message.extend(host.encode(&WRITE));
    message.extend(patched(&host, &READ, 6, &[0x33]));
    breaks(&mut sim, &host, &message, Reason::Protocol, &["0x33"]);

    host.session += 1;
    host.up(&mut sim);
    sim.finish();
}

fn mmio_frame(len: u8) -> Frame<'static> {
    Frame::MmioWrite {
        tag: 1,
        bar: 0,
        len,
        offset: 0,
        data: 0,
    }
}

/// DMA completions that do not fit the request, with requests outstanding.
#[test]
fn bad_completions_end_the_session() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    for case in 0..6 {
        host.up(&mut sim);
        let read = sim.call("dma_read 0x1000 8");
        assert!(read >= 0);
        let write = sim.dma_write(0x2000, &[1; 8]) as u32;
        let read = read as u32;
        host.receive();
        host.receive();
        let done = |tag, data| Frame::DmaReadDone {
            tag,
            status: Status::Ok,
            data,
        };
        let written = |tag| Frame::DmaWriteDone {
            tag,
            status: Status::Ok,
        };
        let (message, words) = match case {
            0 => (
                host.encode(&done(read, &[1; 7])),
                ["7 bytes", "requested were 8"],
            ),
            1 => (
                host.encode(&done(read, &[1; 9])),
                ["9 bytes", "requested were 8"],
            ),
            2 => (
                host.encode(&done(write, &[1; 8])),
                ["DMA_READ_DONE", "2 DMA requests"],
            ),
            3 => (
                host.encode(&written(read)),
                ["DMA_WRITE_DONE", "2 DMA requests"],
            ),
            4 => {
                // Twice.
                let mut message = host.encode(&written(write));
                message.extend(host.encode(&written(write)));
                (message, ["DMA_WRITE_DONE", "1 DMA requests"])
            }
            _ => (
                patched(&host, &done(read, &[1; 8]), HEADER_LEN, &[9]),
                ["status is 9", "0 to 3"],
            ),
        };
        breaks(&mut sim, &host, &message, Reason::Protocol, &words);
        // The tags are void.
        assert_eq!(sim.beat(read.into(), 0, 1).0, EINVAL);
        assert_eq!(sim.call("get_dma_write"), ESTATE);
    }
    host.up(&mut sim);
    sim.finish();
}

/// Every frame that a host sends, cut at every byte.
#[test]
fn truncated_frames_end_the_session() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    // Quick, since there are many.
    let environment = [("ACCELERATOR_LOG_LEVEL", "error")];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    let frames = [
        READ,
        WRITE,
        Frame::Ready,
        Frame::Noop,
        Frame::Bye {
            reason: Reason::Closing,
        },
        Frame::Refuse {
            reason: Reason::Busy,
            text: "text",
        },
        Frame::Reset {
            tag: 1,
            kind: ResetKind::Hot,
        },
        Frame::DmaReadDone {
            tag: 1,
            status: Status::Ok,
            data: &[1, 2, 3],
        },
        Frame::DmaWriteDone {
            tag: 1,
            status: Status::Ok,
        },
    ];
    let mut messages = Vec::new();
    for frame in &frames {
        let message = host.encode(frame);
        for length in 0..message.len() {
            messages.push(message[..length].to_vec());
            // And as the end of a longer message.
            let mut behind = host.encode(&Frame::Noop);
            behind.extend(&message[..length]);
            if length != 0 {
                messages.push(behind);
            }
        }
    }
    for message in messages {
        host.up(&mut sim);
        breaks(&mut sim, &host, &message, Reason::Protocol, &["bytes"]);
    }
    assert_eq!((sim.stat(0), sim.stat(1)), (0, 0));
    sim.finish();
}

/// INITs that are no good, cut at every byte or with a bad field. They are
/// refused or ignored, and are no session.
#[test]
fn bad_handshakes_are_no_sessions() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    // Fields: features 24, window 32, data 36, length of the name 40, 44.
    for (at, bytes, reason, words) in [
        (4, &[9, 3][..], Reason::Version, ["9.3", "1.6"]),
        (
            32,
            &[0, 0, 0, 0][..],
            Reason::Protocol,
            ["write window is 0", "1 to 4096"],
        ),
        (
            32,
            &[1, 16, 0, 0][..],
            Reason::Protocol,
            ["write window is 4097", "4096"],
        ),
        (
            36,
            &[63, 0, 0, 0][..],
            Reason::Protocol,
            ["max_data is 63", "64"],
        ),
        (40, &[65][..], Reason::Protocol, ["name length is 65", "64"]),
        (
            40,
            &[3][..],
            Reason::Protocol,
            ["INIT payload", "expected 27"],
        ),
        (44, &[1][..], Reason::Protocol, ["reserved INIT bytes", "0"]),
        (48, &[0xff][..], Reason::Protocol, ["INIT name", "UTF-8"]),
    ] {
        host.send(&patched(&host, &INIT, at, bytes));
        host.wait(&mut sim);
        let (found, text) = host.refusal();
        assert_eq!(found, reason, "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in {text:?}");
        }
    }
    let init = host.encode(&INIT);
    for length in 0..init.len() {
        host.send(&init[..length]);
    }
    host.send(&patched(&host, &INIT, 0, b"ABCD"));
    // Frames of a host that did not ask for a session.
    for frame in [
        READ,
        WRITE,
        Frame::Ready,
        Frame::Noop,
        Frame::Bye {
            reason: Reason::Closing,
        },
        Frame::Refuse {
            reason: Reason::Busy,
            text: "",
        },
    ] {
        host.put(&frame);
    }
    host.send_parts(&[b"", &init]);
    host.send_parts(&[b"a", b"b", b"c"]);
    host.send(b"");
    sim.expect_nothing(READY);
    assert!(host.is_silent());
    // READY without CONFIG, CONFIG from a host.
    host.init();
    host.wait(&mut sim);
    let config = host.config();
    host.put(&Frame::Config(config));
    host.wait(&mut sim);
    assert_eq!(host.refusal().0, Reason::Protocol);
    host.put(&Frame::Ready);
    sim.expect_nothing(READY);
    assert!(host.is_silent());
    assert_eq!(sim.stat(5), 0);
    host.up(&mut sim);
    sim.finish();
}

/// What others send while a host has the session does not touch it.
#[test]
fn a_stranger_does_not_disturb_the_session() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let mut stranger = Raw::connect(&endpoint);
    // Also with the number of the session that is not its own.
    for session in [stranger.session, host.session] {
        stranger.session = session;
        for frame in [
            READ,
            WRITE,
            Frame::Bye {
                reason: Reason::Closing,
            },
            Frame::Reset {
                tag: 1,
                kind: ResetKind::Cold,
            },
            Frame::Refuse {
                reason: Reason::Protocol,
                text: "",
            },
        ] {
            stranger.put(&frame);
        }
        stranger.send(b"garbage");
        stranger.send_parts(&[b"two", b"parts"]);
    }
    stranger.send(&patched(&stranger, &INIT, 4, &[7]));
    stranger.wait(&mut sim);
    assert_eq!(stranger.refusal().0, Reason::Version);
    stranger.init();
    stranger.wait(&mut sim);
    assert_eq!(stranger.refusal().0, Reason::Busy);
    host.put(&WRITE);
    assert_eq!(sim.next_mmio(MMIO_WRITE).data, 0x1234_5678);
    sim.finish();
}

#[test]
fn a_message_of_several_parts_ends_the_session() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let read = host.encode(&READ);
    host.send_parts(&[&read, &read]);
    sim.link(false);
    let (reason, text) = host.refusal();
    assert_eq!(reason, Reason::Protocol);
    assert!(text.contains("2 parts, expected 1"), "{text}");
    sim.finish();
}

/// libzmq refuses a message that is longer than any that the protocol has, and
/// the connection with it.
#[test]
fn a_message_beyond_the_limit_ends_the_connection() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    host.send(&vec![0; MAX_MESSAGE + 1]);
    sim.link(false);
    // Largest that may be: the bridge looks at it.
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let noop = host.encode(&Frame::Noop);
    host.send(&noop.repeat(MAX_MESSAGE / noop.len()));
    host.put(&WRITE);
    sim.next_mmio(MMIO_WRITE);
    sim.finish();
}

/// Peers that do not speak ZeroMQ.
#[test]
fn garbage_on_the_wire_is_survived() {
    let port = free_port();
    let endpoint = format!("tcp://127.0.0.1:{port}");
    let mut sim = Simulator::with_bridge(&endpoint);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0; 100],
        &[0xff; 100],
        &greeting[..20],
        &[&greeting[..], &[4, 0xff, 0xff, 0xff]].concat(),
        &[
            &greeting[..],
            &[2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ]
        .concat(),
        &[&greeting[..], &[0, 5, 1, 2, 3, 4, 5]].concat(),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    // Many connections that come and go, more than the monitor's queue holds.
    for _ in 0..1500 {
        drop(TcpStream::connect(("127.0.0.1", port)).unwrap());
    }
    sim.expect_nothing(READY);
    host.put(&WRITE);
    sim.next_mmio(MMIO_WRITE);
    sim.finish();
}

/// More frames than the simulator takes: they wait outside, the simulation goes
/// on, and the session works afterwards.
#[test]
fn a_flood_does_not_stop_the_simulation() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [("ACCELERATOR_LOG_LEVEL", "info")];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let flood = std::thread::spawn(move || {
        let stranger = Raw::connect(&endpoint);
        for i in 0..200_000_u32 {
            // Of the session: nothing, and frames of another one.
            host.put(&Frame::Noop);
            let mut stale = host.encode(&READ);
            stale[8] ^= 0x80;
            host.send(&stale);
            // Of a stranger: accesses, and requests for a session.
            if i % 16 == 0 {
                stranger.put(&READ);
                stranger.init();
                stranger.send(&[i as u8; 30]);
            }
        }
        (host, stranger)
    });
    let mut polls = 0_u64;
    while !flood.is_finished() {
        assert_eq!(sim.call("polls 15 1000"), 0);
        polls += 1000;
    }
    assert!(polls > 10_000, "{polls}");
    let (host, stranger) = flood.join().unwrap();
    host.put(&WRITE);
    sim.next_mmio(MMIO_WRITE);
    drop(stranger);
    let log = sim.finish();
    // Said, but not a line for each.
    let lines = log.matches("from a peer without a session").count();
    assert!((1..100).contains(&lines), "{lines}");
}

/// A host that sends without end to a simulator that does not poll, and one that
/// does and hears of nothing: what is kept has a bound. Without sanitizers, which
/// keep what was freed.
#[test]
fn a_flood_does_not_fill_the_memory() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start_plain(&[("ACCELERATOR_LOG_LEVEL", "error")]);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let before = sim.memory_kib();
    let mut noops = Vec::new();
    while noops.len() < 64 * 1024 {
        noops.extend(host.encode(&Frame::Noop));
    }
    // Half a gibibyte, or until nothing moves any more.
    let mut sent = 0;
    let mut stuck = 0;
    while sent < 8192 && stuck < 20 {
        if host.try_send(&noops) {
            sent += 1;
            stuck = 0;
        } else {
            stuck += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    assert!(stuck == 20, "everything was taken from us: {sent} messages");
    let grown = sim.memory_kib().saturating_sub(before);
    println!("{sent} messages of 64 KiB sent, {grown} KiB kept");
    assert!(grown < 128 * 1024, "the simulator has grown by {grown} KiB");
    // Polled again, it takes what waited and goes on.
    for _ in 0..2000 {
        assert_eq!(sim.call("polls 15 100"), 0);
        host.try_send(&noops);
    }
    host.put(&WRITE);
    sim.next_mmio(MMIO_WRITE);
    let grown = sim.memory_kib().saturating_sub(before);
    assert!(grown < 128 * 1024, "the simulator has grown by {grown} KiB");
    sim.finish();
}

/// A host that asks for the simulated time over and over: what is kept is one interval,
/// and what it is told is one TIME at a poll, of which none waits behind another.
#[test]
fn clocks_without_end_are_one_interval() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start_plain(&[("ACCELERATOR_LOG_LEVEL", "info")]);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let clock = |interval| host.encode(&Frame::Clock { interval });
    let before = sim.memory_kib();
    // As long that none comes by itself.
    let many = [clock(MAX_INTERVAL - 1), clock(0), clock(MAX_INTERVAL)].concat();
    let many = many.repeat(MAX_MESSAGE / many.len());
    const MESSAGES: usize = 20;
    for _ in 0..MESSAGES {
        host.send(&many);
    }
    // Behind all of them.
    host.put(&WRITE);
    sim.next_mmio(MMIO_WRITE);
    assert_eq!(sim.call("polls 15 100"), 0);
    let mut told = 0;
    let mut last = 0;
    while !host.is_silent() {
        let message = host.receive();
        let mut rest = &message[..];
        while !rest.is_empty() {
            let (header, payload, behind) = split(rest).unwrap();
            if let Frame::Time { ns } = Frame::decode(&header, payload).unwrap() {
                assert!(ns >= last, "{ns} after {last}");
                last = ns;
                told += 1;
            }
            rest = behind;
        }
    }
    assert!((1..=MESSAGES).contains(&told), "{told} TIME");
    // Each clock, for a host that does not read.
    for _ in 0..100 {
        host.send(&[clock(2), clock(1)].concat());
        assert_eq!(sim.call("polls 15 3000"), 0);
    }
    let write = Frame::MmioWrite {
        tag: 2,
        bar: 0,
        len: 4,
        offset: 16,
        data: 7,
    };
    host.put(&write);
    assert_eq!(sim.next_mmio(MMIO_WRITE).data, 7);
    let grown = sim.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "the simulator has grown by {grown} KiB");
    let log = sim.finish();
    let lines = log.matches("the host follows the simulated time").count();
    assert!((1..=16).contains(&lines), "{lines} lines");
}

/// Lengths of 2^32 - 1 in headers and payloads, and accesses at the end of what
/// 64 bits can name: refused, and nothing is allocated for them.
#[test]
fn lengths_of_four_gibibytes_are_refused_and_not_allocated() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::start_plain(&[("ACCELERATOR_LOG_LEVEL", "error")]);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let before = sim.memory_kib();
    let refuse = Frame::Refuse {
        reason: Reason::Closing,
        text: "x",
    };
    let done = Frame::DmaReadDone {
        tag: 1,
        status: Status::Ok,
        data: &[1; 8],
    };
    let long = u32::MAX.to_le_bytes();
    for message in [
        with_length(&host, &READ, u32::MAX),
        with_length(&host, &done, u32::MAX),
        patched(&host, &done, HEADER_LEN + 4, &long),
        patched(&host, &refuse, HEADER_LEN + 4, &long),
    ] {
        let words = ["4294967295"];
        breaks(&mut sim, &host, &message, Reason::Protocol, &words);
        host.up(&mut sim);
    }
    for offset in [u64::MAX, u64::MAX - 3, 1 << 63, 65536, 65533] {
        let read = Frame::MmioRead {
            tag: 9,
            bar: 0,
            len: 4,
            offset,
        };
        let message = host.encode(&read);
        let words = [&format!("{offset:#x}")[..]];
        breaks(&mut sim, &host, &message, Reason::Protocol, &words);
        host.up(&mut sim);
    }
    let grown = sim.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "the simulator has grown by {grown} KiB");
    sim.finish();
}

/// Reads beyond the number that may be outstanding.
#[test]
fn too_many_requests_end_the_session() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [("ACCELERATOR_LOG_LEVEL", "error")];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    let mut message = Vec::new();
    for tag in 0..4097 {
        message.extend(host.encode(&Frame::MmioRead {
            tag,
            bar: 0,
            len: 4,
            offset: 0,
        }));
    }
    breaks(&mut sim, &host, &message, Reason::Protocol, &["4096 reads"]);
    host.up(&mut sim);
    let mut message = Vec::new();
    for tag in 1..=65 {
        message.extend(host.encode(&Frame::MmioWrite {
            tag,
            bar: 0,
            len: 4,
            offset: 0,
            data: 0,
        }));
    }
    breaks(
        &mut sim,
        &host,
        &message,
        Reason::Protocol,
        &["64 writes of 64"],
    );
    host.up(&mut sim);
    let twice = [host.encode(&READ), host.encode(&READ)].concat();
    breaks(
        &mut sim,
        &host,
        &twice,
        Reason::Protocol,
        &["tag 1", "none with this tag"],
    );
    sim.finish();
}

/// Random bytes and random damage to good frames, with fixed seeds.
#[test]
fn random_damage_is_survived() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let environment = [("ACCELERATOR_LOG_LEVEL", "off")];
    let mut sim = Simulator::start_with(Language::C99, &environment);
    sim.usual(&endpoint);
    assert_eq!(sim.call("start"), 0);
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 9) as usize % limit
    };
    let good = [
        INIT,
        Frame::Ready,
        READ,
        WRITE,
        Frame::Noop,
        Frame::Reset {
            tag: 1,
            kind: ResetKind::Flr,
        },
    ];
    for _ in 0..60 {
        let host = Raw::connect(&endpoint);
        host.init();
        host.put(&Frame::Ready);
        for _ in 0..50 {
            let mut message = Vec::new();
            for _ in 0..1 + random(4) {
                message.extend(host.encode(&good[random(good.len())]));
            }
            for _ in 0..random(4) {
                let at = random(message.len());
                message[at] = random(256) as u8;
            }
            if random(8) == 0 {
                message.truncate(random(message.len() + 1));
            }
            host.send(&message);
        }
        drop(host);
        // Whatever comes is fetched, as a simulator does.
        loop {
            match sim.call("poll_until 15 60") {
                NONE => break,
                MMIO_READ | MMIO_WRITE => {
                    let mmio = sim.get_mmio();
                    assert!((1..=8).contains(&mmio.len), "{mmio:?}");
                    let base = if mmio.bar == 0 { BAR0_BASE } else { 0 };
                    assert!(mmio.bar == 0 || mmio.bar == 2, "{mmio:?}");
                    assert!(mmio.addr >= base && mmio.addr + mmio.len <= base + 65536);
                }
                RESET => {
                    assert_eq!(sim.call("get_reset"), 0);
                    assert_eq!(sim.call("reset_done"), 0);
                }
                LINK_UP | LINK_DOWN => assert_eq!(sim.call("get_link"), 0),
                other => panic!("event {other}"),
            }
        }
    }
    let host = Raw::connect(&endpoint);
    host.up(&mut sim);
    sim.finish();
}

/// A host that writes at random into the shared memory, most of it where the positions and
/// flags are: sessions end, and nothing else does.
#[test]
fn shared_memory_that_is_scribbled_on_ends_sessions_at_most() {
    let folder = Folder::new();
    let endpoint = folder.endpoint("s");
    let mut sim = Simulator::with_bridge(&endpoint);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut ended = 0;
    for _ in 0..40 {
        let guest = connect(&mut sim, &endpoint);
        for _ in 0..100 {
            let number = next();
            let offset = match number % 4 {
                // The words of both rings' lines.
                0 | 1 => next() % 8 * 128 % 512 + next() % 2 * 4096,
                // Where messages are now.
                2 => 8192 + next() % 2 * 262_144 + next() % 4096,
                _ => next(),
            };
            let value = if number & 8 == 0 { next() % 64 } else { next() };
            assert!(guest.scribble(offset, &value.to_le_bytes()));
            sim.call("msix 0");
            assert!(sim.poll(0) >= 0, "{}", sim.last_error());
        }
        drop(guest);
        sim.link(false);
        ended += 1;
    }
    assert_eq!(sim.stat(5), ended);
    let log = sim.finish();
    assert!(log.contains("in shared memory"), "{log}");
}
