// SPDX-License-Identifier: MIT OR Apache-2.0

//! Input that no honest peer sends. It may be an error, it may decode to
//! something; it must not panic, and must not be taken for more than it is.

mod common;

use accelerator_protocol::{
    wire::{frame_type, split, Header, HEADER_LEN, MAX_PAYLOAD},
    Frame, WireError,
};
use common::{decode_all, feed_all, golden, Random};

#[test]
fn truncated_at_every_byte() {
    for frame in golden("frames") {
        for len in 0..frame.len() {
            let part = &frame[..len];
            feed_all(part);
            match split(part) {
                Err(WireError::Truncated { need, have, .. }) => assert!(have < need),
                other => panic!("{len} of {} bytes: {other:?}", frame.len()),
            }
        }
    }
}

#[test]
fn one_byte_more() {
    for mut frame in golden("frames") {
        frame.push(0);
        feed_all(&frame);
        // The frame is good, what follows is none.
        assert_eq!(
            decode_all(&frame),
            Err(WireError::Truncated {
                what: "frame header",
                need: HEADER_LEN,
                have: 1
            })
        );
        // Within the frame there is no room for it.
        let len = (frame.len() - HEADER_LEN) as u32;
        frame[20..24].copy_from_slice(&len.to_le_bytes());
        feed_all(&frame);
        // The payload of these two is the data, as long as it is.
        let any = [frame_type::NIC_FRAME, frame_type::SERIAL].contains(&frame[6]);
        assert_eq!(decode_all(&frame).is_err(), !any, "{frame:x?}");
    }
}

#[test]
fn every_bit_flipped() {
    for frame in golden("frames") {
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            feed_all(&flipped);
            // What decodes is another frame, or the same one with another
            // version, session or tag in its header: nothing is ignored.
            if let Ok((header, payload, [])) = split(&flipped) {
                if let Ok(decoded) = Frame::decode(&header, payload) {
                    let mut again = Vec::new();
                    decoded.encode(header.session, &mut again);
                    // The minor version is the one thing that a receiver does
                    // not look at.
                    again[5] = flipped[5];
                    assert_eq!(again, flipped, "bit {bit} of {frame:x?}");
                }
            }
        }
    }
}

#[test]
fn every_value_of_every_byte_of_the_smaller_frames() {
    for frame in golden("frames") {
        if frame.len() > 64 {
            continue;
        }
        for at in 0..frame.len() {
            for value in 0..=255 {
                let mut changed = frame.clone();
                changed[at] = value;
                let _ = decode_all(&changed);
            }
        }
    }
}

#[test]
fn refused_vectors() {
    for frame in golden("refused") {
        assert!(decode_all(&frame).is_err() || frame.is_empty());
        feed_all(&frame);
    }
}

#[test]
fn lengths_that_lie() {
    for frame in golden("frames") {
        for length in [
            u32::MAX,
            u32::MAX - 23,
            u32::MAX - 24,
            1 << 31,
            MAX_PAYLOAD as u32 + 1,
            MAX_PAYLOAD as u32,
            0,
        ] {
            let mut changed = frame.clone();
            changed[20..24].copy_from_slice(&length.to_le_bytes());
            feed_all(&changed);
            if length as usize > MAX_PAYLOAD {
                assert!(matches!(
                    split(&changed),
                    Err(WireError::Field {
                        name: "payload length",
                        ..
                    })
                ));
            }
        }
    }
}

/// Length fields within payloads, of every type that has one.
#[test]
fn inner_lengths_that_lie() {
    let types = [
        (frame_type::INIT, 16),
        (frame_type::REFUSE, 4),
        (frame_type::DMA_READ, 8),
        (frame_type::DMA_WRITE, 8),
        (frame_type::DMA_READ_DONE, 4),
        (frame_type::CONFIG, 180),
    ];
    for (frame_type, at) in types {
        for size in [at + 4, 16, 24, 100, 192, 193, 200, 1000, MAX_PAYLOAD] {
            for length in [u32::MAX, u32::MAX / 8, 1 << 16, 65_537, 64, 1, 0] {
                let mut message = Vec::new();
                Frame::Noop.encode(1, &mut message);
                message[6] = frame_type;
                message[20..24].copy_from_slice(&(size as u32).to_le_bytes());
                message.resize(HEADER_LEN + size, 0);
                if at + 4 <= size {
                    let at = HEADER_LEN + at;
                    message[at..at + 4].copy_from_slice(&length.to_le_bytes());
                }
                let _ = decode_all(&message);
            }
        }
    }
}

#[test]
fn a_capability_longer_than_the_frame() {
    let frame = golden("frames").remove(3);
    assert_eq!(frame[6], frame_type::CONFIG);
    let length_at = HEADER_LEN + accelerator_protocol::wire::CONFIG_LEN + 2;
    for length in [8u16, 12, 255, u16::MAX] {
        let mut changed = frame.clone();
        changed[length_at..length_at + 2].copy_from_slice(&length.to_le_bytes());
        assert!(decode_all(&changed).is_err(), "{length}");
        feed_all(&changed);
    }
}

#[test]
fn every_type_with_every_small_payload_length() {
    for frame_type in 0..=255u8 {
        for length in 0..64usize {
            for fill in [0, 1, 0xff] {
                let mut message = Vec::new();
                Frame::Noop.encode(1, &mut message);
                message[6] = frame_type;
                message[20..24].copy_from_slice(&(length as u32).to_le_bytes());
                message.resize(HEADER_LEN + length, fill);
                let _ = decode_all(&message);
            }
        }
    }
}

#[test]
fn headers_of_zeros_and_ones() {
    assert!(Header::decode(&[0; HEADER_LEN]).is_err());
    assert!(Header::decode(&[0xff; HEADER_LEN]).is_err());
    assert!(Header::decode(&[]).is_err());
    feed_all(&[0; 100]);
    feed_all(&[0xff; 100]);
    feed_all(&[]);
}

/// The fuzz target's work, the same in every run and with an end: see
/// `fuzz/README.md` for the one without.
#[test]
fn mutated_frames() {
    let corpus: Vec<_> = golden("frames")
        .into_iter()
        .chain(golden("refused"))
        .collect();
    let mut random = Random(0x5eed);
    for _ in 0..20_000 {
        let mut message = Vec::new();
        for _ in 0..1 + random.below(3) {
            let pick = random.below(corpus.len() as u64) as usize;
            message.extend_from_slice(&corpus[pick]);
        }
        for _ in 0..1 + random.below(4) {
            if message.is_empty() {
                break;
            }
            let at = random.below(message.len() as u64) as usize;
            match random.below(5) {
                0 => message[at] = random.next() as u8,
                1 => message[at] ^= 1 << random.below(8),
                2 => message.truncate(at),
                3 => {
                    let end = (at + random.below(16) as usize).min(message.len());
                    message.drain(at..end);
                }
                _ => {
                    let value = [0, 0xff, 0x80, 0x7f][random.below(4) as usize];
                    let end = (at + 4).min(message.len());
                    message[at..end].fill(value);
                }
            }
        }
        feed_all(&message);
    }
}
