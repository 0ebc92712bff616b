// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each half of a PCIe session with a hostile peer.

use accelerator_protocol::{
    device::{DeviceEvent, DeviceSession, MAX_DMA},
    host::{HostEvent, HostSession, State},
    wire::{Reason, ResetKind, Status},
};

use crate::typed::{config, SESSION};

/// The input is a list of chunks of 64 bytes: own requests, and messages of the
/// peer.
pub fn sessions(input: &[u8]) {
    host(input);
    device(input);
}

/// Messages of the peer get the session's number and the signature, which a
/// fuzzer would take long to find.
fn sign(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    if message.len() >= 24 {
        message[..6].copy_from_slice(&[b'A', b'P', b'C', b'I', 1, 0]);
        message[7] = 0;
        message[8..16].copy_from_slice(&SESSION.to_le_bytes());
        if message[20] & 1 == 0 {
            let length = (message.len() - 24) as u32;
            message[20..24].copy_from_slice(&length.to_le_bytes());
        }
    }
    message
}

fn host(input: &[u8]) {
    let mut host = HostSession::new(SESSION, 4);
    let mut out = Vec::new();
    host.init("fuzz", &mut out);
    let mut device = DeviceSession::new(config()).unwrap();
    let mut reply = Vec::new();
    device.frame(&out, &mut reply).unwrap();
    host.frame(&reply).unwrap();
    host.accept(&mut out);
    for chunk in input.chunks(64) {
        let (&op, rest) = chunk.split_first().unwrap();
        match op % 8 {
            0 => {
                host.read(0, 0, 1 + op % 8, &mut out);
            }
            1 => {
                host.write(0, 0, 4, 0, &mut out);
            }
            2 => host.abandon(u32::from(op >> 3)),
            3 => host.reset(ResetKind::Hot, &mut out),
            _ => {
                let message = sign(rest);
                let mut rest: &[u8] = &message;
                while !rest.is_empty() {
                    let Ok((event, tail)) = host.frame(rest) else {
                        host.refuse(Reason::Protocol, "fuzz", &mut out);
                        assert_eq!(host.state(), State::Closed);
                        return;
                    };
                    rest = tail;
                    match event {
                        HostEvent::DmaRead { tag, len, .. } => {
                            host.dma_read_done(tag, Status::Ok, &vec![0; len as usize], &mut out);
                        }
                        HostEvent::DmaWrite {
                            tag, data, enables, ..
                        } => {
                            assert!(enables.is_none_or(|e| e.len() == data.len().div_ceil(8)));
                            host.dma_write_done(tag, Status::Ok, &mut out);
                        }
                        HostEvent::Msix { vector } => assert!(vector < 4),
                        _ => {}
                    }
                }
            }
        }
        out.clear();
    }
}

fn device(input: &[u8]) {
    let mut device = DeviceSession::new(config()).unwrap();
    let mut out = Vec::new();
    for chunk in input.chunks(64) {
        let (&op, rest) = chunk.split_first().unwrap();
        let tag = u32::from(op >> 3);
        match op % 8 {
            0 => {
                device.dma_read(0, 1 + tag, &mut out);
            }
            1 => {
                device.dma_write(0, rest, None, &mut out);
            }
            2 => {
                device.read_done(tag, 4, Status::Ok, 0, &mut out);
                device.write_done(tag, Status::Ok, &mut out);
            }
            3 => {
                device.reset_done(tag, &mut out);
            }
            _ => {
                let message = sign(rest);
                let mut rest: &[u8] = &message;
                while !rest.is_empty() {
                    let Ok((event, tail)) = device.frame(rest, &mut out) else {
                        device.fail(Reason::Protocol, "fuzz", &mut out);
                        assert!(!device.is_up());
                        break;
                    };
                    rest = tail;
                    if let DeviceEvent::Read {
                        bar, offset, len, ..
                    }
                    | DeviceEvent::Write {
                        bar, offset, len, ..
                    } = event
                    {
                        let size = device.config().bars[usize::from(bar)].size;
                        assert!(offset + u64::from(len) <= size);
                    }
                }
            }
        }
        assert!(device.dma_outstanding() <= MAX_DMA);
        out.clear();
    }
}
