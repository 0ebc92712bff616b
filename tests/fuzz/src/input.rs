// SPDX-License-Identifier: MIT OR Apache-2.0

//! Inputs from a seed: good frames with random fields, and some damage.

use accelerator_protocol::{
    config::{Capability, Msi},
    function::{Function, FUNCTION_LEN},
    wire::{
        frame_type as t, ChannelKind, ErrorKind, Frame, Init, Open, Reason, ResetKind, Status,
        HEADER_LEN,
    },
};

use crate::typed::{config, SESSION};

/// Types of all frames, and some that there are none of.
pub const TYPES: [u8; 34] = [
    t::INIT,
    t::CONFIG,
    t::READY,
    t::REFUSE,
    t::BYE,
    t::NOOP,
    t::SHARE,
    t::ATTACH,
    t::MMIO_READ,
    t::MMIO_WRITE,
    t::MMIO_READ_DONE,
    t::MMIO_WRITE_DONE,
    t::DMA_READ,
    t::DMA_WRITE,
    t::DMA_READ_DONE,
    t::DMA_WRITE_DONE,
    t::MSIX,
    t::INTX,
    t::RESET,
    t::RESET_DONE,
    t::CLOCK,
    t::TIME,
    t::FUNCTION,
    t::FAULTS,
    t::FAULTS_DONE,
    t::ERROR,
    t::OPEN,
    t::ACCEPT,
    t::NIC_FRAME,
    t::NIC_LINK,
    t::SERIAL,
    t::CREDIT,
    0,
    0xff,
];

/// xorshift64*: the same numbers from the same seed, everywhere.
pub struct Random(u64);

impl Random {
    /// Numbers of a seed; each index of one seed has numbers of its own.
    pub fn new(seed: u64, index: u64) -> Self {
        let mut random =
            Self((seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(1) | 1);
        for _ in 0..4 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A number of which borders are likely.
    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(4),
            1 => u64::MAX - self.below(4),
            2 => (1 << self.below(64)) - self.below(2),
            3 => 0xffff_ffff - self.below(2),
            4 => self.next(),
            _ => self.below(0x1000),
        }
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        for eight in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            eight.copy_from_slice(&random[..eight.len()]);
        }
        bytes
    }

    fn status(&mut self) -> Status {
        match self.below(8) {
            0 => Status::Refused,
            1 => Status::Fault,
            2 => Status::Aborted,
            _ => Status::Ok,
        }
    }

    fn tag(&mut self) -> u32 {
        match self.below(8) {
            0 => self.number() as u32,
            n => n as u32 % 5,
        }
    }

    fn len(&mut self) -> usize {
        match self.below(512) {
            0 => 65_536,
            1..=4 => 4096,
            5..=64 => 64,
            n => n as usize % 12 + 1,
        }
    }
}

/// A good frame of this type; of a type that there is none of, bytes that look
/// like one.
fn good(kind: u8, r: &mut Random) -> Vec<u8> {
    let mut out = Vec::new();
    let len = r.len();
    let data = r.bytes(len);
    let text = &"someone else's very long name"[..r.below(30) as usize];
    let reason = [
        Reason::Closing,
        Reason::Version,
        Reason::Protocol,
        Reason::Configuration,
        Reason::Busy,
    ][r.below(5) as usize];
    let channel = [ChannelKind::Nic, ChannelKind::Serial][r.below(2) as usize];
    let nic = channel == ChannelKind::Nic;
    let bar = [0, 2, 0, 2, r.below(7) as u8][r.below(5) as usize];
    let access = 1 + r.below(8) as u8;
    let mut enables = r.bytes(len.div_ceil(8));
    if !len.is_multiple_of(8) {
        if let Some(last) = enables.last_mut() {
            *last &= (1 << (len % 8)) - 1;
        }
    }
    let tag = r.tag();
    let frame = match kind {
        t::INIT => Frame::Init(Init {
            features: r.number(),
            write_window: 1 + r.below(4096) as u32,
            max_data: 64 + r.below(65_473) as u32,
            name: text,
        }),
        t::CONFIG => {
            let mut config = config();
            if r.one_in(2) {
                config.capabilities.push(Capability {
                    id: 9,
                    offset: [0, 0x40, 0xc0][r.below(3) as usize],
                    body: r.bytes(1 + len % 64),
                });
            }
            config.msi = r.one_in(2).then(|| Msi {
                vectors: [1, 2, 4, 8, 16, 32, r.number() as u8][r.below(7) as usize],
                masking: r.one_in(2),
            });
            config.bars[0].size <<= r.below(4);
            config.clock_period_ps = r.number() as u32;
            Frame::Config(config)
        }
        t::READY => Frame::Ready,
        t::REFUSE => Frame::Refuse { reason, text },
        t::BYE => Frame::Bye { reason },
        t::NOOP => Frame::Noop,
        t::SHARE => Frame::Share {
            name: ["0123456789abcdef0123456789abcdef", "no name"][r.below(2) as usize],
        },
        t::ATTACH => Frame::Attach {
            attached: r.one_in(2),
        },
        t::MMIO_READ | t::MMIO_WRITE => {
            let (len, offset) = (access, r.number());
            let data = r.next() & (u64::MAX >> (64 - 8 * u32::from(len)));
            if kind == t::MMIO_READ {
                Frame::MmioRead {
                    tag,
                    bar,
                    len,
                    offset,
                }
            } else {
                Frame::MmioWrite {
                    tag,
                    bar,
                    len,
                    offset,
                    data,
                }
            }
        }
        t::MMIO_READ_DONE => Frame::MmioReadDone {
            tag,
            status: r.status(),
            data: r.number(),
        },
        t::MMIO_WRITE_DONE => Frame::MmioWriteDone {
            tag,
            status: r.status(),
        },
        t::DMA_READ => Frame::DmaRead {
            tag,
            addr: r.number(),
            len: len as u32,
        },
        t::DMA_WRITE => Frame::DmaWrite {
            tag,
            addr: r.number(),
            data: &data,
            enables: r.one_in(2).then_some(&enables),
        },
        t::DMA_READ_DONE => {
            let status = r.status();
            Frame::DmaReadDone {
                tag,
                status,
                data: if status == Status::Ok { &data } else { &[] },
            }
        }
        t::DMA_WRITE_DONE => Frame::DmaWriteDone {
            tag,
            status: r.status(),
        },
        t::MSIX => Frame::Msix {
            vector: r.number() as u16,
        },
        t::INTX => Frame::Intx { level: r.one_in(2) },
        t::RESET => Frame::Reset {
            tag,
            kind: [ResetKind::Flr, ResetKind::Hot, ResetKind::Cold][r.below(3) as usize],
        },
        t::RESET_DONE => Frame::ResetDone { tag },
        t::CLOCK => Frame::Clock {
            interval: r.number() % 1_000_000_001,
        },
        t::TIME => Frame::Time { ns: r.number() },
        t::FUNCTION => {
            let mut bytes = [0; FUNCTION_LEN];
            bytes[0] = r.number() as u8;
            bytes[1] = r.below(2) as u8;
            bytes[4] = r.below(4) as u8;
            bytes[5..7].copy_from_slice(&[r.below(6) as u8, r.below(6) as u8]);
            bytes[8..10].copy_from_slice(&(r.number() as u16).to_le_bytes());
            bytes[10..12].copy_from_slice(&[1 + r.below(6) as u8, 1 << r.below(6)]);
            bytes[12] = r.below(6) as u8;
            bytes[16..20].copy_from_slice(&(r.number() as u32).to_le_bytes());
            Frame::Function(Function::from_bytes(&bytes).unwrap_or_default())
        }
        t::FAULTS => Frame::Faults { tag, text },
        t::FAULTS_DONE => Frame::FaultsDone {
            tag,
            refused: r.one_in(2),
            text,
        },
        t::ERROR => Frame::Error {
            tag,
            kind: [
                ErrorKind::ReadUnsupported,
                ErrorKind::ReadTimeout,
                ErrorKind::DmaWritePoisoned,
            ][r.below(3) as usize],
        },
        t::OPEN => Frame::Open(Open {
            kind: channel,
            credit: 1 + r.below(256) as u32,
            mac: if nic { [2, 0, 0, 0, 0, 9] } else { [0; 6] },
            link: nic && r.one_in(2),
            name: text,
        }),
        t::ACCEPT => Frame::Accept {
            kind: channel,
            credit: 1 + r.below(256) as u32,
            link: nic && r.one_in(2),
        },
        t::NIC_FRAME => {
            let len = 60 + r.below(100) as usize;
            let frame = r.bytes(len);
            Frame::NicFrame { data: &frame }.encode(SESSION, &mut out);
            return out;
        }
        t::NIC_LINK => Frame::NicLink { up: r.one_in(2) },
        t::SERIAL => Frame::Serial { data: &data },
        t::CREDIT => Frame::Credit {
            amount: 1 + r.below(70) as u32,
        },
        other => {
            Frame::Noop.encode(SESSION, &mut out);
            out[6] = other;
            out.extend(data);
            let payload = (out.len() - HEADER_LEN) as u32;
            out[20..24].copy_from_slice(&payload.to_le_bytes());
            return out;
        }
    };
    frame.encode(SESSION, &mut out);
    out
}

/// Damages a message once.
fn damage(message: &mut Vec<u8>, r: &mut Random) {
    if message.is_empty() {
        return;
    }
    let at = match r.below(3) {
        // The header, and what follows it, matter most.
        0 => r.below(24.min(message.len() as u64)),
        1 => r.below(64.min(message.len() as u64)),
        _ => r.below(message.len() as u64),
    } as usize;
    match r.below(7) {
        0 => message[at] ^= 1 << r.below(8),
        1 => message[at] = r.next() as u8,
        2 => {
            let value = (r.number() as u32).to_le_bytes();
            let end = (at + 4).min(message.len());
            message[at..end].copy_from_slice(&value[..end - at]);
        }
        3 => {
            let value = r.number().to_le_bytes();
            let end = (at + 8).min(message.len());
            message[at..end].copy_from_slice(&value[..end - at]);
        }
        4 => message.truncate(at),
        5 => {
            let extra = r.bytes(1 + at % 32);
            message.extend(extra);
        }
        _ => {
            // The length that the header should have, so that the damage behind
            // it is looked at.
            if let Some(payload) = message.len().checked_sub(HEADER_LEN) {
                message[20..24].copy_from_slice(&(payload as u32).to_le_bytes());
            }
        }
    }
}

/// An input for [`typed`](crate::typed()): a state, and a message that begins
/// with a frame of this type and may be damaged.
pub fn typed(kind: u8, r: &mut Random) -> Vec<u8> {
    let mut message = good(kind, r);
    for _ in 0..r.below(6).saturating_sub(2) {
        damage(&mut message, r);
    }
    if r.one_in(8) {
        let other = TYPES[r.below(TYPES.len() as u64) as usize];
        message.extend(good(other, r));
    }
    let mut input = vec![r.next() as u8];
    input.extend(message);
    input
}

/// An input for [`sessions`](crate::sessions).
pub fn session(r: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..1 + r.below(12) {
        let mut chunk = vec![r.next() as u8];
        let kind = TYPES[r.below(TYPES.len() as u64) as usize];
        chunk.extend(good(kind, r));
        if r.one_in(3) {
            damage(&mut chunk, r);
        }
        chunk.resize(64, 0);
        input.extend(chunk);
    }
    input
}
