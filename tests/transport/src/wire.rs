// SPDX-License-Identifier: GPL-2.0-or-later

//! The other end of a card's network and serial line, against the RTL of
//! `hdl/bench/channels_nic.sv` and `channels_uart.sv`, which say what is asked here.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    time::{Duration, Instant},
};

use crate::Failure;

/// Long enough for a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

const BULK: [u8; 2] = [0x88, 0xb5];
const COMMAND: [u8; 2] = [0x88, 0xb6];
const REPORT: u8 = 1;
const SEND: u8 = 2;

fn frame(kind: [u8; 2], command: u8, size: usize) -> Vec<u8> {
    let mut frame = vec![0; size];
    frame[..6].fill(0xff);
    frame[6] = 2;
    frame[12..14].copy_from_slice(&kind);
    frame[14] = command;
    frame
}

fn number(bytes: &[u8]) -> u64 {
    bytes[..8]
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// A network whose one other end is the card.
struct Lan {
    socket: UnixDatagram,
    buffer: Vec<u8>,
}

impl Lan {
    /// Waits until the RTL answers; before that its link may be down.
    fn start(ours: &str, theirs: &str) -> Result<Self, Failure> {
        let socket = UnixDatagram::bind(ours)?;
        println!("bound");
        let deadline = Instant::now() + PATIENCE;
        while let Err(e) = socket.connect(theirs) {
            if Instant::now() > deadline {
                return Err(format!("QEMU is not at {theirs}: {e}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut lan = Self {
            socket,
            buffer: vec![0; 10_000],
        };
        lan.socket
            .set_read_timeout(Some(Duration::from_millis(500)))?;
        while lan
            .socket
            .send(&frame(COMMAND, REPORT, 60))
            .and_then(|_| lan.socket.recv(&mut lan.buffer))
            .is_err()
        {
            if Instant::now() > deadline {
                return Err("the RTL does not answer".into());
            }
        }
        // What was asked while nobody listened, and the reset of a new session.
        while lan.socket.recv(&mut lan.buffer).is_ok() {}
        lan.socket.set_read_timeout(Some(PATIENCE))?;
        Ok(lan)
    }

    fn receive(&mut self, kind: [u8; 2]) -> Result<&[u8], Failure> {
        let count = self.socket.recv(&mut self.buffer)?;
        if count < 60 || self.buffer[12..14] != kind {
            return Err(format!("a frame of {count} bytes came that is none of ours").into());
        }
        Ok(&self.buffer[..count])
    }

    /// Frames that the RTL has counted, this question included.
    fn counted(&mut self) -> Result<u64, Failure> {
        self.socket.send(&frame(COMMAND, REPORT, 60))?;
        Ok(number(&self.receive(COMMAND)?[16..]))
    }

    /// Seconds for so many frames to the RTL, to the report that they came.
    fn send_bulk(&mut self, count: u64, size: usize) -> Result<f64, Failure> {
        let before = self.counted()?;
        let data = frame(BULK, 0, size);
        let begin = Instant::now();
        for _ in 0..count {
            self.socket.send(&data)?;
        }
        let after = self.counted()?;
        let seconds = begin.elapsed().as_secs_f64();
        if after - before != count + 1 {
            let came = after - before - 1;
            return Err(format!("of {count} frames of {size} bytes {came} came").into());
        }
        Ok(seconds)
    }

    /// Seconds for so many frames from the RTL, from the request on.
    fn ask_bulk(&mut self, count: u64, size: usize) -> Result<f64, Failure> {
        let mut request = frame(COMMAND, SEND, 60);
        request[16..20].copy_from_slice(&(count as u32).to_le_bytes());
        request[20..22].copy_from_slice(&(size as u16).to_le_bytes());
        let begin = Instant::now();
        self.socket.send(&request)?;
        for i in 0..count {
            let frame = self.receive(BULK)?;
            if frame.len() != size || number(&frame[16..]) != i {
                let (len, n) = (frame.len(), number(&frame[16..]));
                return Err(
                    format!("frame {n} of {len} bytes came, expected {i} of {size}").into(),
                );
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }
}

fn rate(name: &str, repeat: usize, count: u64, seconds: f64) {
    let value = count as f64 / seconds;
    println!("{name} repeat={repeat} n={count} value={value:.0}");
}

/// Frames per second, both ways, short and long ones.
pub fn nic(ours: &str, theirs: &str, repeats: usize, count: usize) -> Result<(), Failure> {
    let mut lan = Lan::start(ours, theirs)?;
    let count = count as u64 * 3;
    for size in [64, 1514] {
        lan.send_bulk(count / 10 + 1, size)?;
        lan.ask_bulk(count / 10 + 1, size)?;
        for repeat in 0..repeats {
            let seconds = lan.send_bulk(count, size)?;
            rate(&format!("nic_to_rtl_{size}"), repeat, count, seconds);
            let seconds = lan.ask_bulk(count, size)?;
            rate(&format!("nic_from_rtl_{size}"), repeat, count, seconds);
        }
    }
    Ok(())
}

fn ask(line: &mut UnixStream, what: u8, count: usize) -> Result<(), Failure> {
    let mut command = vec![what, 0];
    command.extend((count as u32).to_le_bytes());
    Ok(line.write_all(&command)?)
}

/// Bytes per second, both ways.
pub fn serial(path: &str, repeats: usize, count: usize) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    let mut line = loop {
        match UnixStream::connect(path) {
            Ok(line) => break line,
            Err(e) if Instant::now() > deadline => return Err(e.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    line.set_read_timeout(Some(PATIENCE))?;
    line.set_write_timeout(Some(PATIENCE))?;
    let count = count * 50;
    let data: Vec<u8> = (0..count).map(|i| (i ^ (i >> 8)) as u8).collect();
    let sum = data.iter().fold(0_u32, |sum, byte| {
        sum.rotate_left(8).wrapping_add(u32::from(*byte))
    });
    let expected: Vec<u8> = (0..count as u32)
        .map(|i| {
            i.to_le_bytes()
                .iter()
                .fold(0, |a: u8, b| a.wrapping_add(*b))
        })
        .collect();
    let mut got = vec![0; count];
    for repeat in 0..repeats {
        let begin = Instant::now();
        ask(&mut line, b'K', count)?;
        line.write_all(&data)?;
        let mut answer = [0; 4];
        line.read_exact(&mut answer)?;
        let seconds = begin.elapsed().as_secs_f64();
        if u32::from_le_bytes(answer) != sum {
            return Err(
                format!("the sum of {count} bytes is {answer:x?}, expected {sum:#x}").into(),
            );
        }
        rate("serial_to_rtl", repeat, count as u64, seconds);

        let begin = Instant::now();
        ask(&mut line, b'S', count)?;
        line.read_exact(&mut got)?;
        let seconds = begin.elapsed().as_secs_f64();
        if got != expected {
            return Err(format!("the {count} bytes of the RTL are others").into());
        }
        rate("serial_from_rtl", repeat, count as u64, seconds);
    }
    Ok(())
}
