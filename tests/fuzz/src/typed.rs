// SPDX-License-Identifier: MIT OR Apache-2.0

//! One frame for one half of a session in one of its states.

use accelerator_faults::Plan;
use accelerator_protocol::{
    channel::{ChannelEvent, DeviceChannel, HostChannel},
    config::{Bar, Config, Msi, Msix},
    device::{DeviceEvent, DeviceSession, MAX_DMA},
    host::{HostEvent, HostSession, State},
    wire::{
        ChannelKind, Frame, Init, Reason, ResetKind, Status, FEATURE_SHARED_MEMORY, MAX_DATA,
        MAX_MESSAGE, MAX_PLAN,
    },
};

/// Session of all targets.
pub const SESSION: u64 = 0x1122_3344_5566_7788;

const WINDOW: u32 = 4;

/// Who gets the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// QEMU's half of the PCIe stream.
    Host,
    /// The simulator's half of the PCIe stream.
    Device,
    /// QEMU's half of a NIC channel.
    HostNic,
    /// The simulator's half of a NIC channel.
    DeviceNic,
    /// QEMU's half of a serial channel.
    HostSerial,
    /// The simulator's half of a serial channel.
    DeviceSerial,
}

impl Half {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Host,
        Self::Device,
        Self::HostNic,
        Self::DeviceNic,
        Self::HostSerial,
        Self::DeviceSerial,
    ];
}

/// What became of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame had an effect.
    Taken,
    /// It was ignored, as stale for instance.
    Ignored,
    /// It broke the protocol.
    Refused,
}

/// The function of all targets.
pub fn config() -> Config {
    let mut config = Config {
        vendor: 1,
        intx_pin: 1,
        clock_period_ps: 4000,
        link_speed: 1,
        link_width: 1,
        msix: Some(Msix {
            vectors: 2,
            table_bar: 0,
            pba_bar: 0,
            table_offset: 0,
            pba_offset: 0x80,
            in_rtl: false,
        }),
        msi: Some(Msi {
            vectors: 4,
            masking: true,
        }),
        ..Config::default()
    };
    config.bars[0].size = 0x1000;
    config.bars[2] = Bar {
        size: 0x10_0000,
        is_64bit: true,
        prefetchable: true,
        axi_base: 0x10_0000,
    };
    config
}

/// Gives a frame to one half. The first byte of the input is the state that
/// the half is in, the rest the message.
pub fn typed(half: Half, input: &[u8]) -> Outcome {
    let Some((&state, message)) = input.split_first() else {
        return Outcome::Ignored;
    };
    match half {
        Half::Host => host(state % 6, message),
        Half::Device => device(state % 6, message),
        Half::HostNic => host_channel(ChannelKind::Nic, state % 3, message),
        Half::HostSerial => host_channel(ChannelKind::Serial, state % 3, message),
        Half::DeviceNic => device_channel(ChannelKind::Nic, state % 2, message),
        Half::DeviceSerial => device_channel(ChannelKind::Serial, state % 2, message),
    }
}

/// What a half has to say has an end.
fn bounded(out: &[u8]) {
    assert!(out.len() <= MAX_MESSAGE, "{} bytes to send", out.len());
}

fn host(state: u8, message: &[u8]) -> Outcome {
    let mut host = HostSession::new(SESSION, WINDOW);
    let mut out = Vec::new();
    host.share(true);
    host.init("fuzz", &mut out);
    let mut reads = Vec::new();
    if state >= 1 {
        let mut reply = Vec::new();
        Frame::Config(config()).encode(SESSION, &mut reply);
        host.frame(&reply).expect("the configuration is good");
    }
    if state >= 2 {
        host.accept(&mut out);
    }
    if state >= 3 {
        host.clock(1000, &mut out);
        for offset in [0, 8] {
            reads.extend(host.read(0, offset, 4, &mut out));
            host.write(2, offset, 8, 1, &mut out);
        }
        host.faults("ur on=read", &mut out);
    }
    if state == 4 {
        host.reset(ResetKind::Flr, &mut out);
        reads.clear();
    }
    if state == 5 {
        host.abandon(reads[0]);
    }
    let before = host.writes_outstanding();
    let mut outcome = Outcome::Ignored;
    let mut rest = message;
    while !rest.is_empty() {
        let (event, tail) = match host.frame(rest) {
            Ok(ok) => ok,
            Err(e) => {
                let text = e.to_string();
                assert!(!text.is_empty());
                out.clear();
                host.refuse(Reason::Protocol, &text, &mut out);
                bounded(&out);
                assert_eq!(host.state(), State::Closed);
                // Nothing that comes later has an effect.
                return Outcome::Refused;
            }
        };
        assert!(tail.len() < rest.len());
        rest = tail;
        if !matches!(event, HostEvent::Ignored(_)) {
            outcome = Outcome::Taken;
        }
        match event {
            HostEvent::Configured(config) => {
                assert_eq!(state, 0);
                assert!(config.check().is_ok());
            }
            HostEvent::Share { name } => {
                assert_eq!((state, name.len()), (0, 32));
                host.attach(true);
            }
            HostEvent::ReadDone { tag, .. } => {
                let i = reads.iter().position(|&t| t == tag);
                reads.remove(i.expect("a read that was not outstanding"));
            }
            HostEvent::LateRead { tag } => {
                assert!(
                    state == 5 && tag == reads[0],
                    "a read that was not given up"
                );
            }
            HostEvent::WritesDone { .. } => assert!(host.writes_outstanding() < before),
            HostEvent::DmaRead { tag, addr, len } => {
                assert!((1..=MAX_DATA as u32).contains(&len));
                // The last byte may be the last one that there is.
                assert!(addr.checked_add(u64::from(len) - 1).is_some());
                out.clear();
                host.dma_read_done(tag, Status::Ok, &vec![0; len as usize], &mut out);
                bounded(&out);
            }
            HostEvent::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                assert!((1..=MAX_DATA).contains(&data.len()));
                assert!(addr.checked_add(data.len() as u64 - 1).is_some());
                assert!(enables.is_none_or(|e| e.len() == data.len().div_ceil(8)));
                host.dma_write_done(tag, Status::Ok, &mut out);
            }
            HostEvent::FaultsDone { tag, .. } => assert_eq!(tag, 1),
            HostEvent::Msix { vector } => assert!(vector < 4),
            HostEvent::BadVector { vector, .. } => assert!(vector >= 4),
            _ => {}
        }
        assert!(host.writes_outstanding() <= WINDOW);
    }
    outcome
}

fn device(state: u8, message: &[u8]) -> Outcome {
    let mut device = DeviceSession::new(config()).expect("the configuration is good");
    let mut out = Vec::new();
    let give = |device: &mut DeviceSession, frame: &Frame<'_>| {
        let (mut message, mut out) = (Vec::new(), Vec::new());
        frame.encode(SESSION, &mut message);
        device.frame(&message, &mut out).expect("a good frame");
    };
    if state >= 1 {
        device.shares(state == 5);
        let init = Init {
            features: FEATURE_SHARED_MEMORY,
            write_window: WINDOW,
            max_data: 4096,
            name: "fuzz",
        };
        give(&mut device, &Frame::Init(init));
    }
    if state == 5 {
        device.answer(Some("0123456789abcdef0123456789abcdef"), &mut out);
    } else if state >= 2 {
        give(&mut device, &Frame::Ready);
    }
    let mut wanted = Vec::new();
    if state == 3 {
        for len in [1, 64] {
            wanted.extend(device.dma_read(0x1000, len, &mut out).map(|tag| (tag, len)));
            device.dma_write(0x2000, &[1, 2, 3], None, &mut out);
        }
    }
    if state == 4 {
        let kind = ResetKind::Hot;
        give(&mut device, &Frame::Reset { tag: 1, kind });
    }
    let mut outcome = Outcome::Ignored;
    let mut rest = message;
    while !rest.is_empty() {
        out.clear();
        let (event, tail) = match device.frame(rest, &mut out) {
            Ok(ok) => ok,
            Err(e) => {
                let text = e.to_string();
                assert!(!text.is_empty());
                device.fail(Reason::Protocol, &text, &mut out);
                bounded(&out);
                assert!(!device.is_up());
                return Outcome::Refused;
            }
        };
        bounded(&out);
        assert!(tail.len() < rest.len());
        rest = tail;
        if !matches!(event, DeviceEvent::Ignored) {
            outcome = Outcome::Taken;
        }
        match event {
            DeviceEvent::Offered { asked, .. } => {
                assert!(!asked || state == 5);
                if asked {
                    out.clear();
                    device.answer(None, &mut out);
                    bounded(&out);
                }
            }
            DeviceEvent::Read {
                bar, offset, len, ..
            }
            | DeviceEvent::Write {
                bar, offset, len, ..
            } => {
                let size = device.config().bars[usize::from(bar)].size;
                assert!((1..=8).contains(&len));
                assert!(offset
                    .checked_add(len.into())
                    .is_some_and(|end| end <= size));
            }
            DeviceEvent::Faults { text, .. } => {
                assert!(text.len() <= MAX_PLAN);
                // What the user's plan is read by.
                drop(Plan::parse(text));
                assert!(device.faults_done(false, text, &mut out));
                bounded(&out);
            }
            DeviceEvent::DmaReadDone { tag, status, data } => {
                let i = wanted.iter().position(|&(t, _)| t == tag);
                let (_, len) = wanted.remove(i.expect("a request that was not outstanding"));
                assert!(status != Status::Ok || data.len() == len as usize);
            }
            _ => {}
        }
        assert!(device.dma_outstanding() <= MAX_DMA);
    }
    outcome
}

/// What a channel half is to have taken in at most before we give credit back.
const CREDIT: u32 = 64;

fn channel_event(kind: ChannelKind, event: &ChannelEvent<'_>) -> Outcome {
    match event {
        ChannelEvent::Ignored => return Outcome::Ignored,
        ChannelEvent::Frame(data) => {
            assert!(kind == ChannelKind::Nic && (60..=9216).contains(&data.len()));
        }
        ChannelEvent::Bytes(data) => {
            assert!(kind == ChannelKind::Serial && !data.is_empty());
            assert!(data.len() <= CREDIT as usize);
        }
        ChannelEvent::Link(_) => assert_eq!(kind, ChannelKind::Nic),
        _ => {}
    }
    Outcome::Taken
}

fn host_channel(kind: ChannelKind, state: u8, message: &[u8]) -> Outcome {
    let mut host = HostChannel::new(kind, SESSION, CREDIT);
    let mut out = Vec::new();
    host.open("fuzz", [2, 0, 0, 0, 0, 1], &mut out);
    if state >= 1 {
        let mut reply = Vec::new();
        let accept = Frame::Accept {
            kind,
            credit: 8,
            link: kind == ChannelKind::Nic,
        };
        accept.encode(SESSION, &mut reply);
        host.frame(&reply).expect("a good answer");
    }
    if state == 2 {
        // Some of what the peer allowed is used.
        match kind {
            ChannelKind::Nic => assert!(host.send_frame(&[0; 60], &mut out)),
            ChannelKind::Serial => assert_eq!(host.send_bytes(&[0; 5], &mut out), 5),
        }
    }
    let mut outcome = Outcome::Ignored;
    let mut rest = message;
    while !rest.is_empty() {
        match host.frame(rest) {
            Ok((event, tail)) => {
                assert!(tail.len() < rest.len());
                rest = tail;
                if channel_event(kind, &event) == Outcome::Taken {
                    outcome = Outcome::Taken;
                }
            }
            Err(e) => {
                out.clear();
                host.refuse(Reason::Protocol, &e.to_string(), &mut out);
                bounded(&out);
                assert!(!host.is_up());
                return Outcome::Refused;
            }
        }
    }
    outcome
}

fn device_channel(kind: ChannelKind, state: u8, message: &[u8]) -> Outcome {
    let mut device = DeviceChannel::new(kind, CREDIT);
    let mut out = Vec::new();
    if state >= 1 {
        let mut host = HostChannel::new(kind, SESSION, CREDIT);
        let mut open = Vec::new();
        host.open("fuzz", [2, 0, 0, 0, 0, 1], &mut open);
        device.frame(&open, &mut out).expect("a good question");
    }
    let mut outcome = Outcome::Ignored;
    let mut rest = message;
    while !rest.is_empty() {
        out.clear();
        match device.frame(rest, &mut out) {
            Ok((event, tail)) => {
                bounded(&out);
                assert!(tail.len() < rest.len());
                rest = tail;
                if channel_event(kind, &event) == Outcome::Taken {
                    outcome = Outcome::Taken;
                }
            }
            Err(e) => {
                device.fail(Reason::Protocol, &e.to_string(), &mut out);
                bounded(&out);
                assert!(!device.is_up());
                return Outcome::Refused;
            }
        }
    }
    outcome
}
