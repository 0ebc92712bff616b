// SPDX-License-Identifier: MIT OR Apache-2.0

//! A simulator that does not keep the protocol. QEMU says what is wrong with
//! both values and either ends cleanly, in the handshake, or goes on without
//! the card. Guest memory does not change.

use std::time::Duration;

use accelerator_peers::{
    hdl::{sample_config, RawEndpoint},
    Event,
};
use accelerator_protocol::{
    config::{Bar, Capability, Config, Msi, Msix},
    wire::{frame_type, Reason, Status, HEADER_LEN, MAX_DATA},
    Frame,
};
use accelerator_qtest::{
    machine::{device_args, ok, Options},
    pci::{command, CARD},
    qemu::Launch,
    Machine, Scratch, PATIENCE,
};

// The handshake.

/// What QEMU got and said, when its INIT is answered with `answer`.
struct Refused {
    /// The message that QEMU refused the session with.
    refusal: Option<(Reason, String)>,
    /// Its standard error.
    said: String,
}

/// Starts QEMU, answers its INIT with one message and waits for its end.
#[track_caller]
fn handshake(answer: impl FnOnce(u64) -> Vec<u8>) -> Refused {
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let hdl = ok(RawEndpoint::bind(&endpoint));
    let mut qemu = Launch::new()
        .args(&device_args(&endpoint, "handshake-timeout=20000"))
        .spawn(&scratch);
    qemu.connect();
    let (peer, session) = ok(hdl.wait_for_init(PATIENCE));
    ok(hdl.send(&peer, &answer(session)));
    let status = qemu.wait_exit(PATIENCE);
    let said = qemu.said().join("\n");
    // An error at realize, not a signal.
    assert_eq!(status.code(), Some(1), "{said}");
    let message = ok(hdl.receive(PATIENCE)).map(|r| r.message);
    let refusal = message.map(|message| {
        let (header, payload, _) = accelerator_protocol::wire::split(&message).unwrap();
        assert_eq!(header.session, session);
        match Frame::decode(&header, payload).unwrap() {
            Frame::Refuse { reason, text } => (reason, text.to_owned()),
            other => panic!("{other:?}"),
        }
    });
    Refused { refusal, said }
}

#[track_caller]
fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

/// A configuration that `change` has broken is refused, with its field and
/// both values in QEMU's error and in the answer to the simulator.
#[track_caller]
fn refused(change: impl FnOnce(&mut Config), parts: &[&str]) {
    let mut config = sample_config(4);
    change(&mut config);
    assert!(config.check().is_err(), "nothing is wrong with it");
    let answer = |session| {
        let mut out = Vec::new();
        Frame::Config(config).encode(session, &mut out);
        out
    };
    let refused = handshake(answer);
    contains_all(&refused.said, parts);
    let (reason, text) = refused.refusal.expect("the simulator was told nothing");
    assert_eq!(reason, Reason::Configuration);
    contains_all(&text, parts);
}

#[test]
fn bad_identity() {
    refused(|c| c.vendor = 0, &["vendor", "0x0000"]);
    refused(|c| c.vendor = 0xffff, &["vendor", "0xffff"]);
    refused(
        |c| c.class = 0x100_0000,
        &["class", "0x1000000", "0xffffff"],
    );
    refused(|c| c.intx_pin = 5, &["intx_pin", "5", "0 to 4"]);
    refused(|c| c.link_speed = 0, &["link_speed", "0", "1 to 6"]);
    refused(|c| c.link_speed = 7, &["link_speed", "7", "1 to 6"]);
    refused(|c| c.link_width = 3, &["link_width", "3", "12, 16 or 32"]);
}

#[test]
fn bad_bars() {
    let size = |i: usize, size| move |c: &mut Config| c.bars[i].size = size;
    refused(size(0, 0x3000), &["bar[0].size", "0x3000", "power of two"]);
    refused(size(0, 8), &["bar[0].size", "0x8", "0x10"]);
    refused(
        size(0, 1 << 32),
        &["bar[0].size", "0x100000000", "0x80000000"],
    );
    refused(size(2, 1 << 41), &["bar[2].size", "0x20000000000"]);
    refused(
        |c| c.bars[0].axi_base = 0x100,
        &["bar[0].axi_base", "0x100", "0x2000"],
    );
    refused(
        |c| {
            c.bars[5] = Bar {
                size: 0x1000,
                is_64bit: true,
                ..Bar::default()
            }
        },
        &["bar[5].is_64bit", "last BAR"],
    );
    refused(
        |c| c.bars[3].size = 0x1000,
        &["bar[3].size", "0x1000", "upper half"],
    );
    refused(
        |c| c.bars[1].prefetchable = true,
        &["bar[1].size", "absent"],
    );
}

#[test]
fn bad_msi() {
    for vectors in [0, 3, 33, 64, 255] {
        let msi = Msi {
            vectors,
            masking: true,
        };
        let value = vectors.to_string();
        refused(
            |c| c.msi = Some(msi),
            &["msi.vectors", &value, "8, 16 or 32"],
        );
    }
    // A simulator of an earlier version cannot have it.
    let refused = handshake(|session| {
        let mut out = Vec::new();
        let config = Config {
            msi: Some(Msi {
                vectors: 1,
                masking: false,
            }),
            ..sample_config(4)
        };
        Frame::Config(config).encode(session, &mut out);
        out[5] = 2;
        out
    });
    contains_all(&refused.said, &["minor version of CONFIG is 2", "MSI"]);
}

#[test]
fn bad_msix() {
    fn set(change: impl FnOnce(&mut Msix)) -> impl FnOnce(&mut Config) {
        |c| change(c.msix.as_mut().unwrap())
    }
    refused(set(|m| m.vectors = 0), &["msix.vectors", "0", "1 to 2048"]);
    refused(
        set(|m| m.vectors = 2049),
        &["msix.vectors", "2049", "1 to 2048"],
    );
    refused(set(|m| m.table_bar = 6), &["msix.table_bar", "6"]);
    refused(
        set(|m| m.table_bar = 1),
        &["msix.table_bar", "1", "present"],
    );
    refused(set(|m| m.pba_bar = 3), &["msix.pba_bar", "3", "present"]);
    refused(
        set(|m| m.table_offset = 4),
        &["msix.table_offset", "0x4", "multiple of 8"],
    );
    refused(
        set(|m| m.pba_offset = 0x8004),
        &["msix.pba_offset", "0x8004", "multiple of 8"],
    );
    refused(
        set(|m| m.table_offset = 0xffc8),
        &["msix.table_offset", "0xffc8", "0x10000"],
    );
    refused(
        set(|m| m.pba_offset = 0x1_0000),
        &["msix.pba_offset", "0x10000"],
    );
    refused(
        set(|m| m.pba_offset = 0x38),
        &["msix.pba_offset", "0x38..0x40", "0x0..0x40"],
    );
}

#[test]
fn bad_capabilities() {
    let one = |id, offset, len| {
        move |c: &mut Config| {
            c.capabilities.push(Capability {
                id,
                offset,
                body: vec![0; len],
            });
        }
    };
    refused(one(0x10, 0, 4), &["capabilities[0].id", "0x10"]);
    refused(one(0, 0, 4), &["capabilities[0].id", "0x00"]);
    refused(one(9, 0, 0), &["capabilities[0].length", "2", "3 to 192"]);
    refused(
        one(9, 0, 191),
        &["capabilities[0].length", "193", "3 to 192"],
    );
    refused(one(9, 0x3c, 2), &["capabilities[0].offset", "0x3c"]);
    refused(one(9, 0x42, 2), &["capabilities[0].offset", "0x42"]);
    refused(one(9, 0xfc, 8), &["capabilities[0].offset", "0xfc"]);
    refused(
        |c| {
            one(9, 0x80, 8)(c);
            one(9, 0x84, 8)(c);
        },
        &["capabilities[1].offset", "0x84", "capabilities[0]", "0x80"],
    );
}

#[test]
fn capabilities_that_do_not_fit_beside_those_of_qemu() {
    let capability = |offset, len| Capability {
        id: 9,
        offset,
        body: vec![0; len],
    };
    // Each is fine by itself; together with QEMU's own they are too long.
    for (capabilities, part) in [
        (vec![capability(0x40, 0xbe)], "PCI Express"),
        (vec![capability(0, 0xbe)], "capabilities[0] (0x09)"),
        (vec![capability(0, 0x3e); 2], "capabilities[1] (0x09)"),
        (vec![capability(0, 0x12); 16], "capabilities[5] (0x09)"),
    ] {
        let mut config = sample_config(4);
        config.capabilities = capabilities;
        assert!(config.check().is_ok());
        let refused = handshake(|session| {
            let mut out = Vec::new();
            Frame::Config(config).encode(session, &mut out);
            out
        });
        contains_all(&refused.said, &["no room", part]);
        let (reason, text) = refused.refusal.expect("the simulator was told nothing");
        assert_eq!(reason, Reason::Configuration);
        contains_all(&text, &["no room", part]);
    }
}

#[test]
fn garbage_instead_of_a_configuration() {
    let config = |session, change: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        Frame::Config(sample_config(4)).encode(session, &mut out);
        change(&mut out);
        out
    };
    type Change = &'static dyn Fn(&mut Vec<u8>);
    let cases: [(Change, &[&str]); 9] = [
        (&|m| m.clear(), &["empty", "24 bytes"]),
        (&|m| m.truncate(23), &["24", "23"]),
        (&|m| m.truncate(100), &["frame payload", "192", "76"]),
        (&|m| m[0] = b'X', &["signature", "0x49435058", "0x49435041"]),
        (&|m| m[4] = 2, &["version", "2.6", "1.6"]),
        (&|m| m[6] = 0x7f, &["frame type", "0x7f"]),
        (&|m| m[7] = 1, &["reserved header byte", "1"]),
        (
            &|m| m[20..24].fill(0xff),
            &["payload length", "4294967295", "73744"],
        ),
        // One byte more than the frame says: the rest is no frame.
        (&|m| m.push(0), &["24", "1"]),
    ];
    for (change, parts) in cases {
        let refused = handshake(|session| config(session, change));
        contains_all(&refused.said, parts);
    }
}

#[test]
fn another_frame_than_a_configuration() {
    for (frame, name) in [
        (Frame::Msix { vector: 0 }, "MSIX"),
        (Frame::Ready, "READY"),
        (
            Frame::DmaWrite {
                tag: 1,
                addr: 0,
                data: &[0; 64],
                enables: None,
            },
            "DMA_WRITE",
        ),
    ] {
        let refused = handshake(|session| {
            let mut out = Vec::new();
            frame.encode(session, &mut out);
            out
        });
        contains_all(&refused.said, &[name, "Init"]);
    }
}

#[test]
fn a_simulator_that_refuses() {
    let refused = handshake(|session| {
        let mut out = Vec::new();
        let frame = Frame::Refuse {
            reason: Reason::Busy,
            text: "another host is here",
        };
        frame.encode(session, &mut out);
        out
    });
    contains_all(&refused.said, &["Busy", "another host is here"]);
    assert_eq!(refused.refusal, None);
}

#[test]
fn a_simulator_that_does_not_bring_the_link_up_in_one_message() {
    // CONFIG of another session is not ours: QEMU goes on waiting.
    let scratch = Scratch::new();
    let endpoint = scratch.endpoint();
    let hdl = ok(RawEndpoint::bind(&endpoint));
    let mut qemu = Launch::new()
        .args(&device_args(&endpoint, "handshake-timeout=1000"))
        .env("ACCELERATOR_LOG_LEVEL", "debug")
        .spawn(&scratch);
    qemu.connect();
    let (peer, session) = ok(hdl.wait_for_init(PATIENCE));
    let mut out = Vec::new();
    Frame::Config(sample_config(0)).encode(session ^ 1, &mut out);
    ok(hdl.send(&peer, &out));
    assert_eq!(qemu.wait_exit(PATIENCE).code(), Some(1));
    qemu.expect_line(&[&format!("{session:016x}"), &format!("{:016x}", session ^ 1)]);
}

// Run time.

/// A machine with a pattern in its memory.
struct Victim {
    m: Machine,
    session: u64,
    /// Sessions that have ended as they had to.
    ends: usize,
}

const AREA: u64 = 0x10_0000;
const AREA_LEN: usize = 0x4000;
const PATTERN: u8 = 0xa7;
/// Where the message of a vector goes.
const MESSAGE: u64 = 0x30_0000;

impl Victim {
    fn new() -> Self {
        Self::with(&Options::default())
    }

    fn with(options: &Options) -> Self {
        let mut m = Machine::start_with(sample_config(4), options);
        m.qemu.fill_memory(AREA, AREA_LEN, PATTERN);
        let session = m.hdl.session().session();
        Self {
            m,
            session,
            ends: 0,
        }
    }

    /// A frame of the session as bytes.
    fn frame(&self, frame: &Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(self.session, &mut out);
        out
    }

    /// A DMA write into the area that would be seen.
    fn dma_write(&self) -> Vec<u8> {
        self.frame(&Frame::DmaWrite {
            tag: 5,
            addr: AREA,
            data: &[0; 64],
            enables: None,
        })
    }

    #[track_caller]
    fn memory_is_untouched(&mut self) {
        let found = self.m.qemu.read_memory(AREA, AREA_LEN);
        let wrong = found.iter().position(|&b| b != PATTERN);
        assert_eq!(wrong, None, "guest memory has changed");
    }

    /// Sends a message that ends the session. QEMU tells it in one line with
    /// `parts`, lives on without the card, and takes a new session.
    #[track_caller]
    fn session_ends(&mut self, message: &[u8], parts: &[&str]) {
        ok(self.m.hdl.inject_raw(message));
        self.expect_end(parts);
    }

    #[track_caller]
    fn expect_end(&mut self, parts: &[&str]) {
        let down = ["ERROR", "card", "is down"];
        self.ends += 1;
        let all: Vec<_> = down.iter().chain(parts).copied().collect();
        self.m.qemu.expect_line(&all);
        self.memory_is_untouched();
        let (reason, text) = ok(self.m.hdl.expect_down(PATIENCE));
        assert!(
            matches!(reason, Reason::Protocol | Reason::Version),
            "{reason:?}"
        );
        contains_all(&text, parts);
        // QEMU knocks again, and all is well.
        ok(self.m.hdl.wait_for_session(PATIENCE));
        self.m.settle_resets();
        self.session = self.m.hdl.session().session();
        self.m.check_alive();
        assert!(self.m.qemu.count_lines(&down) <= self.ends);
    }
}

#[test]
fn bad_headers() {
    let mut v = Victim::new();
    let good = v.dma_write();
    type Change = &'static dyn Fn(&mut Vec<u8>);
    let cases: [(Change, &[&str]); 8] = [
        (&|m| m.truncate(1), &["24 bytes", "1"]),
        (&|m| m.truncate(23), &["24 bytes", "23"]),
        (&|m| m.truncate(HEADER_LEN + 79), &["80 bytes", "79"]),
        (&|m| m[3] = 0, &["signature", "0x00435041", "0x49435041"]),
        (&|m| m[4] = 0, &["version", "0.6", "1.6"]),
        (&|m| m[6] = 0, &["frame type", "0x00"]),
        (&|m| m[7] = 0x80, &["reserved header byte", "0x80"]),
        (
            &|m| m[20..24].copy_from_slice(&73_745u32.to_le_bytes()),
            &["73745", "73744"],
        ),
    ];
    for (change, parts) in cases {
        let mut message = good.clone();
        change(&mut message);
        // The tail of a changed session would be another session's.
        if let Some(session) = message.get_mut(8..16) {
            session.copy_from_slice(&v.session.to_le_bytes());
        }
        v.session_ends(&message, parts);
    }
}

#[test]
fn an_empty_message_and_one_of_several_parts() {
    let mut v = Victim::new();
    v.session_ends(&[], &["empty", "24 bytes"]);
    let write = v.dma_write();
    ok(v.m
        .hdl
        .inject_parts(&[&write[..HEADER_LEN], &write[HEADER_LEN..]]));
    v.expect_end(&["several parts"]);
}

#[test]
fn bad_fields() {
    let mut v = Victim::new();
    let cases: &[(Frame<'static>, &[&str])] = &[
        (
            Frame::DmaRead {
                tag: 1,
                addr: AREA,
                len: 0,
            },
            &["DMA length", "0", "1 to 65536"],
        ),
        (
            Frame::DmaRead {
                tag: 1,
                addr: AREA,
                len: 65_537,
            },
            &["DMA length", "65537", "1 to 65536"],
        ),
        (
            Frame::DmaRead {
                tag: 1,
                addr: u64::MAX,
                len: 2,
            },
            &["DMA address", "0xffffffffffffffff"],
        ),
        (
            Frame::DmaWrite {
                tag: 1,
                addr: AREA,
                data: &[1; 9],
                enables: Some(&[0xff, 0xff]),
            },
            &["enables", "255"],
        ),
        (
            Frame::DmaWrite {
                tag: 1,
                addr: AREA,
                data: &[1; 9],
                enables: Some(&[0xff]),
            },
            &["DMA_WRITE", "26", "27"],
        ),
        (
            Frame::MmioReadDone {
                tag: 4242,
                status: Status::Ok,
                data: 0,
            },
            &["MMIO_READ_DONE", "4242", "none"],
        ),
        (
            Frame::MmioWriteDone {
                tag: 4242,
                status: Status::Ok,
            },
            &["MMIO_WRITE_DONE", "4242", "none"],
        ),
        (Frame::ResetDone { tag: 99 }, &["RESET_DONE", "99"]),
        (Frame::Intx { level: true }, &["INTx", "intx_pin"]),
        (Frame::Time { ns: 1 }, &["TIME", "Up"]),
        // Frames that only a host sends, and those of the handshake.
        (Frame::Ready, &["READY", "Up"]),
        (
            Frame::MmioWrite {
                tag: 1,
                bar: 0,
                len: 4,
                offset: 0,
                data: 0,
            },
            &["MMIO_WRITE", "Up"],
        ),
        (
            Frame::MmioRead {
                tag: 1,
                bar: 6,
                len: 4,
                offset: 0,
            },
            &["BAR", "6", "0 to 5"],
        ),
        (
            Frame::MmioRead {
                tag: 1,
                bar: 0,
                len: 9,
                offset: 0,
            },
            &["access length", "9", "1 to 8"],
        ),
        (
            Frame::DmaReadDone {
                tag: 1,
                status: Status::Ok,
                data: &[0; 8],
            },
            &["DMA_READ_DONE", "Up"],
        ),
    ];
    for (frame, parts) in cases {
        let message = v.frame(frame);
        v.session_ends(&message, parts);
    }
}

#[test]
fn a_second_configuration() {
    let mut v = Victim::new();
    let message = v.frame(&Frame::Config(sample_config(4)));
    v.session_ends(&message, &["CONFIG", "Up"]);
}

#[test]
fn a_completion_for_another_read() {
    let mut v = Victim::new();
    v.m.qemu.start_load(v.m.bar(0), 4);
    let tag = ok(v.m.hdl.expect_read(0, 0, 4));
    let wrong = tag.wrapping_add(1);
    let message = v.frame(&Frame::MmioReadDone {
        tag: wrong,
        status: Status::Ok,
        data: 0x5555,
    });
    ok(v.m.hdl.inject_raw(&message));
    // The guest is not left waiting, and not given the other's data.
    assert_eq!(v.m.qemu.reply_value(), 0xffff_ffff);
    v.expect_end(&["MMIO_READ_DONE", &wrong.to_string(), &tag.to_string()]);
}

#[test]
fn a_read_answered_twice() {
    let mut v = Victim::new();
    v.m.qemu.start_load(v.m.bar(0), 4);
    let tag = ok(v.m.hdl.expect_read(0, 0, 4));
    ok(v.m.hdl.read_done(tag, 4, 0x1234));
    assert_eq!(v.m.qemu.reply_value(), 0x1234);
    let again = v.frame(&Frame::MmioReadDone {
        tag,
        status: Status::Ok,
        data: 0x1234,
    });
    v.session_ends(&again, &["MMIO_READ_DONE", &tag.to_string(), "none"]);
}

#[test]
fn frames_of_another_session_are_told_and_ignored() {
    let mut v = Victim::new();
    let other = v.session.wrapping_add(1);
    let mut message = v.dma_write();
    message[8..16].copy_from_slice(&other.to_le_bytes());
    ok(v.m.hdl.inject_raw(&message));
    v.m.qemu.expect_line(&[
        "card",
        &format!("{other:016x}"),
        &format!("{:016x}", v.session),
    ]);
    // Nothing is done, and the session goes on.
    v.m.check_alive();
    v.memory_is_untouched();
    assert_eq!(v.m.hdl.session().session(), v.session);
}

#[test]
fn good_frames_before_a_bad_one_count() {
    let mut v = Victim::new();
    let mut message = v.frame(&Frame::Msix { vector: 9 });
    let mut bad = v.dma_write();
    bad[0] ^= 1;
    message.extend_from_slice(&bad);
    v.session_ends(&message, &["signature"]);
    v.m.qemu.expect_lines(&["vector 9 ", "4 vectors"], 1);
}

/// Sends each beginning of a frame but the whole, from `from` bytes on. Each
/// ends the session, and QEMU asks for the next one.
fn truncated(frame: &Frame<'_>, from: usize) {
    let mut v = Victim::new();
    let mut good = Vec::new();
    frame.encode(0, &mut good);
    for len in from..good.len() {
        let mut message = good[..len].to_vec();
        if let Some(session) = message.get_mut(8..16) {
            session.copy_from_slice(&v.session.to_le_bytes());
        }
        ok(v.m.hdl.inject_raw(&message));
        ok(v.m.hdl.expect_down(PATIENCE));
        ok(v.m.hdl.wait_for_session(PATIENCE));
        v.session = v.m.hdl.session().session();
    }
    v.memory_is_untouched();
    v.m.settle_resets();
    v.m.check_alive();
}

#[test]
fn a_dma_write_truncated_at_every_byte() {
    let frame = Frame::DmaWrite {
        tag: 5,
        addr: AREA,
        data: &[0; 16],
        enables: Some(&[0xff, 0x0f]),
    };
    truncated(&frame, 0);
}

#[test]
fn a_configuration_truncated_at_every_byte() {
    truncated(&Frame::Config(sample_config(4)), HEADER_LEN);
}

#[test]
fn every_other_frame_truncated_at_every_byte() {
    let (tag, status) = (1, Status::Ok);
    let reason = Reason::Closing;
    let frames = [
        Frame::Refuse {
            reason,
            text: "text",
        },
        Frame::Bye { reason },
        Frame::MmioReadDone {
            tag,
            status,
            data: 0,
        },
        Frame::MmioWriteDone { tag, status },
        Frame::DmaRead {
            tag,
            addr: AREA,
            len: 16,
        },
        Frame::Msix { vector: 0 },
        Frame::Intx { level: true },
    ];
    for frame in &frames {
        truncated(frame, HEADER_LEN);
    }
    // Without a payload there is only the header.
    truncated(&Frame::Noop, 1);
    truncated(&Frame::ResetDone { tag }, HEADER_LEN - 1);
}

#[test]
fn every_bit_of_a_header_flipped() {
    let mut v = Victim::new();
    for bit in 0..HEADER_LEN * 8 {
        // A write without an enabled byte: whatever passes does no harm.
        let mut message = v.frame(&Frame::DmaWrite {
            tag: 1000,
            addr: AREA,
            data: &[0; 16],
            enables: Some(&[0, 0]),
        });
        message[bit / 8] ^= 1 << (bit % 8);
        ok(v.m.hdl.inject_raw(&message));
        // What may follow: a completion for a request that our side has not
        // made, a refusal, or nothing. A bogus reset answer is none of it.
        let header_bits_that_pass = matches!(bit / 8, 5 | 8..=19);
        if header_bits_that_pass {
            let ours = v.m.hdl.try_event(std::time::Duration::from_millis(50));
            match (bit / 8, ours) {
                // A minor version or another tag: served like any other.
                (5 | 16..=19, Err(accelerator_peers::Error::Violation(_))) => {}
                // Another session: ignored.
                (8..=15, Ok(None)) => continue,
                (_, other) => panic!("bit {bit}: {other:?}"),
            }
            // Our side has ended the session because of that completion.
        } else {
            let (reason, text) = ok(v.m.hdl.expect_down(PATIENCE));
            assert!(
                matches!(reason, Reason::Protocol | Reason::Version),
                "bit {bit}: {reason:?} {text}"
            );
        }
        ok(v.m.hdl.wait_for_session(PATIENCE));
        v.session = v.m.hdl.session().session();
    }
    v.memory_is_untouched();
    v.m.settle_resets();
    v.m.check_alive();
}

#[test]
fn random_bytes() {
    let mut v = Victim::new();
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..100 {
        let len = (random() % 300) as usize;
        let mut message: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        if round % 2 == 0 && len >= HEADER_LEN {
            // A header that is right, so that payloads are reached.
            message[..4].copy_from_slice(b"APCI");
            message[4..8].copy_from_slice(&[1, 0, 0, 0]);
            // Nothing that could write to memory.
            message[6] = [
                frame_type::DMA_READ,
                frame_type::MSIX,
                frame_type::INTX,
                frame_type::CONFIG,
                frame_type::REFUSE,
                frame_type::RESET_DONE,
                frame_type::MMIO_READ_DONE,
            ][(random() % 7) as usize];
            message[8..16].copy_from_slice(&v.session.to_le_bytes());
            let rest = (len - HEADER_LEN) as u32;
            message[20..24].copy_from_slice(&rest.to_le_bytes());
        }
        ok(v.m.hdl.inject_raw(&message));
        loop {
            match ok(v.m.hdl.next_event(PATIENCE)) {
                Event::Down { .. } => break,
                Event::Reset { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        ok(v.m.hdl.wait_for_session(PATIENCE));
        v.session = v.m.hdl.session().session();
    }
    v.memory_is_untouched();
    v.m.settle_resets();
    v.m.check_alive();
}

#[test]
fn a_flood_of_frames_that_the_guest_has_not_asked_for() {
    let mut v = Victim::new();
    let noop = v.frame(&Frame::Noop);
    let bad_vector = v.frame(&Frame::Msix { vector: 4000 });
    let mut message = Vec::new();
    for _ in 0..1000 {
        message.extend_from_slice(&noop);
        message.extend_from_slice(&bad_vector);
    }
    for _ in 0..20 {
        ok(v.m.hdl.inject_raw(&message));
    }
    v.m.check_alive();
    v.m.qemu.expect_line(&["vector 4000"]);
    let lines = v.m.qemu.count_lines(&["vector 4000"]);
    assert!((1..100).contains(&lines), "{lines} lines");
    v.memory_is_untouched();
}

/// What the headers of the frames promise is never taken in advance.
#[test]
fn lengths_of_four_gibibytes_are_refused_and_not_allocated() {
    let mut v = Victim::new();
    let before = v.m.qemu.memory_kib();
    let long = u32::MAX.to_le_bytes();
    for frame_type in [
        frame_type::DMA_READ,
        frame_type::DMA_WRITE,
        frame_type::MMIO_READ_DONE,
        frame_type::REFUSE,
        frame_type::CONFIG,
    ] {
        let mut message = v.frame(&Frame::Noop);
        message[6] = frame_type;
        message[20..24].copy_from_slice(&long);
        v.session_ends(&message, &["4294967295"]);
    }
    // And those within the payload.
    let read = Frame::DmaRead {
        tag: 1,
        addr: AREA,
        len: u32::MAX,
    };
    let read = v.frame(&read);
    v.session_ends(&read, &["DMA length", "4294967295"]);
    let mut write = v.dma_write();
    write[HEADER_LEN + 8..HEADER_LEN + 12].copy_from_slice(&long);
    v.session_ends(&write, &["DMA length", "4294967295"]);
    let mut refuse = v.frame(&Frame::Refuse {
        reason: Reason::Closing,
        text: "x",
    });
    refuse[HEADER_LEN + 4..HEADER_LEN + 8].copy_from_slice(&long);
    v.session_ends(&refuse, &["4294967295"]);
    let grown = v.m.qemu.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "QEMU has grown by {grown} KiB");
}

/// Completions that were right once, in the session that they belong to and in
/// the one after it.
#[test]
fn old_tags_are_no_answers() {
    let mut v = Victim::new();
    let addr = v.m.bar(0);
    let mut seen = Vec::new();
    for i in 0..20 {
        v.m.qemu.start_load(addr, 4);
        let tag = ok(v.m.hdl.expect_read(0, 0, 4));
        ok(v.m.hdl.read_done(tag, 4, i));
        assert_eq!(v.m.qemu.reply_value(), i);
        seen.push(Frame::MmioReadDone {
            tag,
            status: Status::Ok,
            data: 0xbad,
        });
        v.m.write(0, 8, 4, i);
    }
    seen.push(Frame::MmioWriteDone {
        tag: 3,
        status: Status::Ok,
    });
    let old: Vec<_> = seen.iter().map(|f| v.frame(f)).collect();
    for (i, frame) in seen.iter().enumerate() {
        // With the number of the session that is over: ignored.
        if i > 0 {
            for message in &old {
                ok(v.m.hdl.inject_raw(message));
            }
            v.m.check_alive();
        }
        // With that of this one.
        let message = v.frame(frame);
        v.session_ends(&message, &["tag"]);
    }
}

/// A storm of interrupts, as many as can be sent: QEMU takes every one, answers
/// its monitor meanwhile, and keeps none.
#[test]
fn a_storm_of_interrupts() {
    const COUNT: u32 = 200_000;
    const BATCH: u32 = 2000;
    let mut v = Victim::new();
    let bars = v.m.bars;
    let msix = v.m.enable_msix();
    msix.program(&mut v.m.qemu, &bars, 2, MESSAGE, 0x5eed);
    let mut message = Vec::new();
    for _ in 0..BATCH {
        message.extend_from_slice(&v.frame(&Frame::Msix { vector: 2 }));
    }
    let before = v.m.qemu.memory_kib();
    let begin = std::time::Instant::now();
    for batch in 0..COUNT / BATCH {
        ok(v.m.hdl.inject_raw(&message));
        if batch % 10 == 0 {
            v.m.qemu.qmp("query-status", serde_json::json!({}));
        }
    }
    // Its answer comes after the last of them.
    ok(v.m.hdl.dma_read(AREA, 1));
    let rate = f64::from(COUNT) / begin.elapsed().as_secs_f64();
    println!("{COUNT} interrupts, {rate:.0} a second");
    assert_eq!(v.m.qemu.load(MESSAGE, 4), 0x5eed);
    let grown = v.m.qemu.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "QEMU has grown by {grown} KiB");
    v.memory_is_untouched();
    v.m.check_alive();
}

/// Requests without end, of a card that reads no answers.
#[test]
fn a_card_that_does_not_read_is_given_up() {
    let mut v = Victim::new();
    let before = v.m.qemu.memory_kib();
    let mut message = Vec::new();
    for tag in 0..64 {
        message.extend(v.frame(&Frame::DmaRead {
            tag,
            addr: AREA,
            len: AREA_LEN as u32,
        }));
    }
    // Each message asks for a mebibyte. The session ends when QEMU notices that
    // nobody takes it; before or after, what is sent may fail.
    let mut sent = 0;
    while sent < 4000 && v.m.hdl.inject_raw(&message).is_ok() {
        sent += 1;
    }
    v.m.qemu.expect_line(&["ERROR", "card", "is down"]);
    let grown = v.m.qemu.memory_kib().saturating_sub(before);
    println!("{sent} messages, {grown} KiB");
    assert!(grown < 1536 * 1024, "QEMU has grown by {grown} KiB");
    v.memory_is_untouched();
    // Our half knows nothing of these requests: another simulator takes over.
    v.m.kill_endpoint();
    v.m.restart_endpoint(sample_config(4));
    // It may have to ask more than once, as what the old one has sent still comes.
    while let Some(event) = ok(v.m.hdl.try_event(std::time::Duration::from_secs(1))) {
        println!("{event:?}");
    }
    v.m.check_alive();
}

#[test]
fn a_message_beyond_the_limit_is_not_buffered() {
    let mut v = Victim::new();
    // ZeroMQ on QEMU's side closes the connection at the message's header; through shared
    // memory QEMU can still say why.
    let huge = vec![0; 2 * 1024 * 1024];
    ok(v.m.hdl.inject_raw(&huge));
    v.m.qemu.expect_line(&["ERROR", "card", "is down"]);
    v.memory_is_untouched();
    while let Err(e) = v.m.hdl.wait_for_new_session(v.session, PATIENCE) {
        assert!(matches!(e, accelerator_peers::Error::Down { .. }), "{e}");
    }
    v.m.settle_resets();
    v.m.check_alive();
}

/// A simulator that writes at random into the shared memory, most of it where the positions
/// and flags are, while the guest writes registers, takes its memory back and gives it again,
/// and both sides send: sessions end, and nothing else does.
#[test]
fn shared_memory_that_is_scribbled_on_ends_sessions_at_most() {
    if !accelerator_peers::memory::wanted() {
        println!("the sessions of this run go through the socket, where there is none");
        return;
    }
    let mut v = Victim::with(&Options {
        args: "-object memory-backend-memfd,id=ram,size=128M,share=on -machine memory-backend=ram"
            .into(),
        ..Options::default()
    });
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let rounds = if std::env::var_os("TEST_LONG").is_some() {
        4000
    } else {
        40
    };
    // What is noticed first, and by which side, is chance: at least until QEMU finds fault with the
    // memory itself.
    let noticed = ["is down", "in shared memory"];
    let mut round = 0;
    while round < rounds || v.m.qemu.count_lines(&noticed) == 0 {
        assert!(
            round < 50 * rounds,
            "QEMU has noticed nothing in {round} rounds"
        );
        for i in 0..50 {
            let number = next();
            let offset = match number % 5 {
                // The permission to use guest memory.
                4 => 532_480 + next() % 1024,
                // The words of both rings' lines.
                0 | 1 => next() % 8 * 128 % 512 + next() % 2 * 4096,
                // Where messages are now.
                2 => 8192 + next() % 2 * 262_144 + next() % 4096,
                _ => next(),
            };
            let value = if number & 8 == 0 { next() % 64 } else { next() };
            assert!(v.m.hdl.scribble(offset, &value.to_le_bytes()));
            // What it ends, or whether, depends on where that was.
            let _ = v.m.hdl.msix(1);
            let _ = v.m.hdl.try_event(Duration::ZERO);
            if i % 10 == 0 {
                // Posted, or dropped.
                v.m.qemu.start_store(v.m.bar(0) + 8, 4, i);
                v.m.qemu.reply();
            }
            if i % 25 == 0 {
                CARD.change_command(&mut v.m.qemu, 0, command::BUS_MASTER);
                CARD.change_command(&mut v.m.qemu, command::BUS_MASTER, 0);
            }
        }
        v.m.qemu.qmp("query-status", serde_json::json!({}));
        if round % 4 == 3 {
            v.m.kill_endpoint();
            v.m.restart_endpoint(sample_config(4));
            ok(v.m.hdl.wait_for_session(PATIENCE));
            v.m.settle_resets();
            v.m.check_alive();
        }
        round += 1;
    }
    v.memory_is_untouched();
}

#[test]
fn the_largest_frames_pass() {
    let mut v = Victim::new();
    let data = vec![PATTERN; MAX_DATA];
    let enables = vec![0x55; MAX_DATA / 8];
    ok(v.m.hdl.dma_write(0x20_0000, &data, Some(&enables)));
    assert_eq!(v.m.qemu.load(0x20_0000, 2), u64::from(PATTERN));
    v.memory_is_untouched();
}
