// SPDX-License-Identifier: MIT OR Apache-2.0

//! What several tests of this crate share.

#![allow(dead_code)] // Not every test uses all of it.

use accelerator_protocol::{
    channel::{ChannelKind, DeviceChannel, HostChannel},
    device::DeviceSession,
    host::HostSession,
    wire::{split, Frame},
    Bar, Config, Msix, WireError,
};

/// The bytes of the golden vectors: good frames, or those to refuse.
pub fn golden(which: &str) -> Vec<Vec<u8>> {
    let all: serde_json::Value =
        serde_json::from_str(include_str!("../../golden/v1.json")).unwrap();
    all[which]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| {
            let text = v["bytes"].as_str().unwrap();
            (0..text.len() / 2)
                .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        })
        .collect()
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `limit - 1`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True in one of `n` cases.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A configuration with BARs 0 and 2, a pin and four vectors.
pub fn config() -> Config {
    let mut config = Config {
        vendor: 0x1234,
        device: 1,
        class: 0x12_0000,
        intx_pin: 1,
        link_speed: 3,
        link_width: 4,
        msix: Some(Msix {
            vectors: 4,
            table_bar: 2,
            pba_bar: 2,
            table_offset: 0,
            pba_offset: 0x800,
            in_rtl: false,
        }),
        ..Config::default()
    };
    config.bars[0].size = 0x1000;
    config.bars[2] = Bar {
        size: 0x1000,
        is_64bit: true,
        prefetchable: true,
        ..Bar::default()
    };
    config
}

/// Two halves with the link up.
pub fn up(session: u64, window: u32) -> (HostSession, DeviceSession) {
    let mut host = HostSession::new(session, window);
    let mut device = DeviceSession::new(config()).unwrap();
    let (mut to_device, mut to_host) = (Vec::new(), Vec::new());
    host.init("test", &mut to_device);
    device.frame(&to_device, &mut to_host).unwrap();
    host.frame(&to_host).unwrap();
    to_device.clear();
    host.accept(&mut to_device);
    device.frame(&to_device, &mut Vec::new()).unwrap();
    assert!(host.is_up() && device.is_up());
    (host, device)
}

/// Decodes every frame of a message, as far as it goes.
pub fn decode_all(message: &[u8]) -> Result<usize, WireError> {
    let mut rest = message;
    let mut count = 0;
    while !rest.is_empty() {
        let (header, payload, tail) = split(rest)?;
        Frame::decode(&header, payload)?;
        assert!(tail.len() < rest.len(), "no progress");
        rest = tail;
        count += 1;
    }
    Ok(count)
}

/// Gives a message to a host session, frame by frame, as QEMU does.
pub fn feed_host(host: &mut HostSession, message: &[u8]) {
    let mut rest = message;
    while !rest.is_empty() {
        match host.frame(rest) {
            Ok((_, tail)) => rest = tail,
            Err(e) => {
                // The error can be said.
                assert!(!e.to_string().is_empty());
                return;
            }
        }
    }
}

/// Gives a message to a device session, as the DPI library does.
pub fn feed_device(device: &mut DeviceSession, message: &[u8]) {
    let mut rest = message;
    while !rest.is_empty() {
        match device.frame(rest, &mut Vec::new()) {
            Ok((_, tail)) => rest = tail,
            Err(e) => {
                assert!(!e.to_string().is_empty());
                return;
            }
        }
    }
}

/// Gives a message to both halves of a channel, in every state.
pub fn feed_channels(session: u64, message: &[u8]) {
    for kind in [ChannelKind::Nic, ChannelKind::Serial] {
        let mut host = HostChannel::new(kind, session, 4);
        let mut device = DeviceChannel::new(kind, 4);
        let (mut to_device, mut to_host) = (Vec::new(), Vec::new());
        for step in 0..4 {
            let mut rest = message;
            while let Ok((_, tail)) = host.frame(rest) {
                rest = tail;
            }
            let mut rest = message;
            while let Ok((_, tail)) = device.frame(rest, &mut Vec::new()) {
                rest = tail;
            }
            // Idle, opened, up, closed.
            match step {
                0 => host.open("test", [2, 0, 0, 0, 0, 1], &mut to_device),
                1 => {
                    device.frame(&to_device, &mut to_host).unwrap();
                    // Unless the message was an answer already.
                    let _ = host.frame(&to_host);
                }
                2 => {
                    host.close(&mut to_device);
                    device.fail(
                        accelerator_protocol::wire::Reason::Protocol,
                        "test",
                        &mut to_host,
                    );
                    decode_all(&to_device).unwrap();
                    decode_all(&to_host).unwrap();
                }
                _ => {}
            }
        }
    }
}

/// Gives a message to everything that takes one, in every state.
pub fn feed_all(message: &[u8]) {
    // Errors are as good as frames here; a panic is what must not happen.
    let _ = decode_all(message);
    let session = message
        .get(8..16)
        .map_or(7, |b| u64::from_le_bytes(b.try_into().unwrap()));
    for session in [session, !session] {
        feed_channels(session, message);
        let (mut host, mut device) = up(session, 4);
        let mut out = Vec::new();
        host.read(0, 0, 4, &mut out);
        host.write(0, 0, 4, 1, &mut out);
        device.dma_read(0, 4, &mut out);
        device.dma_write(0, &[1; 4], None, &mut out);
        feed_host(&mut host, message);
        feed_device(&mut device, message);
        // Before the link is up, and after it went.
        let mut host = HostSession::new(session, 4);
        feed_host(&mut host, message);
        host.init("", &mut out);
        feed_host(&mut host, message);
        host.disconnected();
        feed_host(&mut host, message);
        let mut device = DeviceSession::new(config()).unwrap();
        feed_device(&mut device, message);
        // Within a reset.
        let (mut host, mut device) = up(session, 4);
        out.clear();
        host.reset(accelerator_protocol::wire::ResetKind::Hot, &mut out);
        feed_device(&mut device, &out);
        feed_host(&mut host, message);
        feed_device(&mut device, message);
        // Whatever came, the halves can still be told to end.
        out.clear();
        host.close(&mut out);
        device.fail(
            accelerator_protocol::wire::Reason::Protocol,
            "test",
            &mut out,
        );
        decode_all(&out).unwrap();
    }
}
