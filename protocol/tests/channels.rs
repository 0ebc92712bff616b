// SPDX-License-Identifier: MIT OR Apache-2.0

//! Both halves of a channel against each other, their messages delivered at
//! random times, and what each refuses.

mod common;

use std::collections::VecDeque;

use accelerator_protocol::{
    channel::{ChannelEvent, ChannelKind, DeviceChannel, HostChannel},
    host::{State, Violation},
    said::Said,
    wire::{split, Frame, Reason, MAX_NIC_FRAME, MAX_SERIAL},
};
use common::Random;

const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

/// Two halves with a session.
fn up(kind: ChannelKind, windows: (u32, u32)) -> (HostChannel, DeviceChannel) {
    let mut host = HostChannel::new(kind, 7, windows.0);
    let mut device = DeviceChannel::new(kind, windows.1);
    let (mut to_device, mut to_host) = (Vec::new(), Vec::new());
    host.open("test", MAC, &mut to_device);
    let (event, rest) = device.frame(&to_device, &mut to_host).unwrap();
    assert!(rest.is_empty());
    let nic = kind == ChannelKind::Nic;
    assert_eq!(
        event,
        ChannelEvent::Opened {
            host: Said::new("test"),
            mac: if nic { MAC } else { [0; 6] },
            link: nic,
            replaced: false
        }
    );
    let (event, _) = host.frame(&to_host).unwrap();
    assert_eq!(event, ChannelEvent::Accepted { link: nic });
    assert_eq!((host.credit(), device.credit()), (windows.1, windows.0));
    (host, device)
}

/// One direction: what was sent, what waits at the receiver and what it has
/// dealt with.
#[derive(Default)]
struct Lane {
    wire: VecDeque<Vec<u8>>,
    sent: Vec<u8>,
    waiting: VecDeque<Vec<u8>>,
    got: Vec<u8>,
    most: usize,
}

impl Lane {
    fn arrive(&mut self, event: ChannelEvent<'_>) {
        match event {
            ChannelEvent::Frame(data) | ChannelEvent::Bytes(data) => {
                self.waiting.push_back(data.to_vec());
            }
            ChannelEvent::Credit => {}
            other => panic!("{other:?}"),
        }
    }

    /// What the receiver keeps, in units of credit.
    fn kept(&self, kind: ChannelKind) -> usize {
        match kind {
            ChannelKind::Nic => self.waiting.len(),
            ChannelKind::Serial => self.waiting.iter().map(Vec::len).sum(),
        }
    }
}

fn traffic(kind: ChannelKind, windows: (u32, u32), seed: u64) {
    let mut random = Random(seed);
    let (mut host, mut device) = up(kind, windows);
    // To the host and to the device.
    let mut lanes = [Lane::default(), Lane::default()];
    let mut serial = 0_u8;
    for _ in 0..20_000 {
        let side = random.below(2) as usize;
        let mut out = Vec::new();
        match random.below(3) {
            0 => {
                let len = match kind {
                    ChannelKind::Nic => 60 + random.below(100),
                    ChannelKind::Serial => 1 + random.below(9000),
                };
                let data: Vec<u8> = (0..len)
                    .map(|_| {
                        serial = serial.wrapping_mul(5).wrapping_add(1);
                        serial
                    })
                    .collect();
                let count = match (kind, side) {
                    (ChannelKind::Nic, 0) => {
                        usize::from(device.send_frame(&data, &mut out)) * data.len()
                    }
                    (ChannelKind::Nic, _) => {
                        usize::from(host.send_frame(&data, &mut out)) * data.len()
                    }
                    (ChannelKind::Serial, 0) => device.send_bytes(&data, &mut out),
                    (ChannelKind::Serial, _) => host.send_bytes(&data, &mut out),
                };
                lanes[side].sent.extend_from_slice(&data[..count]);
            }
            1 => {
                if let Some(message) = lanes[side].wire.pop_front() {
                    let mut rest: &[u8] = &message;
                    while !rest.is_empty() {
                        let (event, tail) = if side == 0 {
                            host.frame(rest).unwrap()
                        } else {
                            device.frame(rest, &mut Vec::new()).unwrap()
                        };
                        lanes[side].arrive(event);
                        rest = tail;
                    }
                    let kept = lanes[side].kept(kind);
                    let window = if side == 0 { windows.0 } else { windows.1 };
                    assert!(kept <= window as usize, "{kept} kept of {window}");
                    lanes[side].most = lanes[side].most.max(kept);
                }
            }
            _ => {
                if let Some(data) = lanes[side].waiting.pop_front() {
                    lanes[side].got.extend_from_slice(&data);
                    let units = match kind {
                        ChannelKind::Nic => 1,
                        ChannelKind::Serial => data.len() as u32,
                    };
                    if side == 0 {
                        host.consumed(units, &mut out);
                    } else {
                        device.consumed(units, &mut out);
                    }
                }
                // Credit goes the other way.
                if !out.is_empty() {
                    lanes[1 - side].wire.push_back(std::mem::take(&mut out));
                }
            }
        }
        if !out.is_empty() {
            lanes[side].wire.push_back(out);
        }
    }
    for (lane, window) in lanes.iter().zip([windows.0, windows.1]) {
        assert!(lane.sent.starts_with(&lane.got));
        assert!(lane.got.len() > 1000, "{} bytes", lane.got.len());
        // The window was used, so its bound was tested.
        assert!(
            lane.most * 2 >= window as usize,
            "{} of {window}",
            lane.most
        );
    }
}

#[test]
fn credit_bounds_what_is_kept_and_nothing_is_lost() {
    for (seed, windows) in [(1, (1, 3)), (2, (8, 8)), (3, (2, 16))] {
        traffic(ChannelKind::Nic, windows, seed);
    }
    for (seed, windows) in [(4, (100, 3)), (5, (4096, 512)), (6, (9000, 5000))] {
        traffic(ChannelKind::Serial, windows, seed);
    }
}

#[test]
fn what_may_not_be_sent_is_not() {
    let (mut host, mut device) = up(ChannelKind::Nic, (1, 1));
    let mut out = Vec::new();
    assert!(!host.send_frame(&[0; 59], &mut out));
    assert!(!host.send_frame(&vec![0; MAX_NIC_FRAME + 1], &mut out));
    assert_eq!(host.send_bytes(b"x", &mut out), 0);
    assert!(out.is_empty());
    assert!(host.send_frame(&vec![0; MAX_NIC_FRAME], &mut out));
    assert!(!host.send_frame(&[0; 60], &mut Vec::new()));
    device.close(&mut out);
    assert!(!device.send_frame(&[0; 60], &mut out));
    let (mut host, _) = up(ChannelKind::Serial, (1, 9000));
    out.clear();
    assert!(!host.send_frame(&[0; 60], &mut out));
    assert_eq!(host.send_bytes(&[1; 10_000], &mut out), 9000);
    assert_eq!(host.credit(), 0);
    // In frames that may be.
    let (_, payload, rest) = split(&out).unwrap();
    assert_eq!(payload.len(), MAX_SERIAL);
    let (_, _, rest) = split(rest).unwrap();
    assert_eq!(split(rest).unwrap().1.len(), 9000 - 2 * MAX_SERIAL);
}

/// More than came cannot be consumed: it would be credit that is not there.
#[test]
fn credit_is_not_made_of_nothing() {
    let (mut host, mut device) = up(ChannelKind::Nic, (4, 4));
    let mut out = Vec::new();
    device.consumed(100, &mut out);
    assert!(out.is_empty());
    host.send_frame(&[0; 60], &mut out);
    device.frame(&out, &mut Vec::new()).unwrap();
    out.clear();
    device.consumed(100, &mut out);
    let (event, _) = host.frame(&out).unwrap();
    assert_eq!(event, ChannelEvent::Credit);
    assert_eq!(host.credit(), 4);
}

#[test]
fn links_are_told_at_the_beginning_and_when_they_change() {
    let mut host = HostChannel::new(ChannelKind::Nic, 1, 4);
    let mut device = DeviceChannel::new(ChannelKind::Nic, 4);
    let (mut out, mut reply) = (Vec::new(), Vec::new());
    host.set_link(false, &mut out);
    device.set_link(false, &mut out);
    assert!(out.is_empty());
    host.open("", MAC, &mut out);
    let (event, _) = device.frame(&out, &mut reply).unwrap();
    assert!(matches!(event, ChannelEvent::Opened { link: false, .. }));
    let (event, _) = host.frame(&reply).unwrap();
    assert_eq!(event, ChannelEvent::Accepted { link: false });
    out.clear();
    host.set_link(false, &mut out);
    assert!(out.is_empty());
    host.set_link(true, &mut out);
    let (event, _) = device.frame(&out, &mut reply).unwrap();
    assert_eq!(event, ChannelEvent::Link(true));
    out.clear();
    device.set_link(true, &mut out);
    assert_eq!(host.frame(&out).unwrap().0, ChannelEvent::Link(true));
}

#[test]
fn sessions_end_and_stale_frames_are_ignored() {
    let (mut host, mut device) = up(ChannelKind::Nic, (4, 4));
    let mut old = Vec::new();
    host.send_frame(&[0; 60], &mut old);
    // Another session begins: the frame is of none.
    let mut next = HostChannel::new(ChannelKind::Nic, 8, 4);
    let (mut out, mut reply) = (Vec::new(), Vec::new());
    next.open("", MAC, &mut out);
    let (event, _) = device.frame(&out, &mut reply).unwrap();
    assert!(matches!(event, ChannelEvent::Opened { replaced: true, .. }));
    assert_eq!(
        device.frame(&old, &mut reply).unwrap().0,
        ChannelEvent::Ignored
    );
    assert_eq!(host.frame(&reply).unwrap().0, ChannelEvent::Ignored);
    next.frame(&reply).unwrap();
    assert!(next.is_up());
    out.clear();
    next.close(&mut out);
    let (event, _) = device.frame(&out, &mut reply).unwrap();
    assert_eq!(
        event,
        ChannelEvent::Down {
            reason: Reason::Closing,
            text: Said::default()
        }
    );
    assert!(!device.is_up());
    assert_eq!(next.state(), State::Closed);
    out.clear();
    device.close(&mut out);
    assert!(out.is_empty());
}

#[test]
fn what_breaks_the_protocol_is_named() {
    let check = |kind, frame: Frame<'_>, words: &str| {
        let (mut host, mut device) = up(kind, (2, 2));
        let mut message = Vec::new();
        frame.encode(7, &mut message);
        let errors = [
            host.frame(&message).unwrap_err(),
            device.frame(&message, &mut Vec::new()).unwrap_err(),
        ];
        for e in errors {
            assert!(e.to_string().contains(words), "{words:?}: {e}");
        }
        let mut out = Vec::new();
        device.fail(Reason::Protocol, words, &mut out);
        let (event, _) = host.frame(&out).unwrap();
        assert!(matches!(event, ChannelEvent::Down { text, .. } if text.raw() == words));
    };
    let (nic, serial) = (ChannelKind::Nic, ChannelKind::Serial);
    check(nic, Frame::Serial { data: b"x" }, "SERIAL may not come");
    check(
        serial,
        Frame::NicFrame { data: &[0; 60] },
        "NIC_FRAME may not come",
    );
    check(serial, Frame::NicLink { up: true }, "NIC_LINK may not come");
    check(
        serial,
        Frame::Serial { data: b"abc" },
        "SERIAL of 3 where 2 are allowed",
    );
    check(
        nic,
        Frame::Credit { amount: 255 },
        "CREDIT of 255 where 254 are allowed",
    );
    check(
        serial,
        Frame::Credit { amount: 65_535 },
        "CREDIT of 65535 where 65534",
    );
    check(nic, Frame::Ready, "READY may not come");
    check(nic, Frame::ResetDone { tag: 1 }, "RESET_DONE may not come");
    // The wrong kind, either way.
    let mut out = Vec::new();
    HostChannel::new(serial, 9, 4).open("", MAC, &mut out);
    let e = DeviceChannel::new(nic, 4)
        .frame(&out, &mut Vec::new())
        .unwrap_err();
    let expected = Violation::Kind {
        found: serial,
        expected: nic,
    };
    assert_eq!(e, expected);
    assert_eq!(
        e.to_string(),
        "the peer asks for a Serial channel, this is a Nic channel"
    );
    let mut host = HostChannel::new(nic, 9, 4);
    host.open("", MAC, &mut Vec::new());
    out.clear();
    Frame::Accept {
        kind: serial,
        credit: 4,
        link: false,
    }
    .encode(9, &mut out);
    assert!(matches!(host.frame(&out), Err(Violation::Kind { .. })));
}
