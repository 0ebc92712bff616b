// SPDX-License-Identifier: MIT OR Apache-2.0

//! A small device with registers, a buffer, DMA and interrupts.
//!
//! BAR 0, 8 KiB, 32-bit, little-endian:
//!
//! | offset | name | access | meaning |
//! |---|---|---|---|
//! | 0x00 | ID | ro | 0x50444e45, `ENDP` |
//! | 0x04 | SCRATCH | rw | byte enables honoured |
//! | 0x08 | DMA_ADDR | rw | 64 bits, bus address |
//! | 0x10 | DMA_LEN | rw | 1 to 4096 bytes |
//! | 0x14 | DMA_CMD | wo | 1 copies host memory to the buffer, 2 the buffer to host memory; then vector 0 is raised if there is one |
//! | 0x18 | DMA_STATUS | ro | of the last command: 0 done, 1 refused, 2 address fault, 0xff bad command or length |
//! | 0x1c | DMA_COUNT | ro | commands done |
//! | 0x20 | RAISE | wo | raises the MSI-X vector written |
//! | 0x24 | RESETS | ro | resets since the program was started |
//! | 0x28 | PULL | ro | reads 4 bytes of host memory at DMA_ADDR in the middle of answering |
//! | 0x30 | HOLD | ro | a read is answered when RELEASE is written, with its value; other accesses are served meanwhile |
//! | 0x34 | RELEASE | rw | answers the reads that wait |
//! | 0x1000 | buffer | rw | 4096 bytes |
//!
//! BAR 4 holds the MSI-X table. BAR 2 is plain memory of 64 KiB.

use std::time::Duration;

use accelerator_protocol::wire::{Status, MAX_DATA};

use crate::{Error, Event, HdlEndpoint};

/// Value of the ID register.
pub const ID: u32 = u32::from_le_bytes(*b"ENDP");

/// Value of DMA_STATUS for a command or length that does not exist.
pub const BAD_COMMAND: u32 = 0xff;

const HOLD: u64 = 0x30;
const RELEASE: usize = 0x34;
const BUFFER: usize = 0x1000;
const SIZE: usize = 0x2000;
const MEMORY: usize = 0x1_0000;

/// State of the device; its configuration is [`crate::hdl::sample_config`].
pub struct RegisterDevice {
    /// BAR 0 as bytes: registers that are plain storage, and the buffer.
    storage: Vec<u8>,
    /// BAR 2.
    memory: Vec<u8>,
    status: u32,
    count: u32,
    resets: u32,
    /// Tags and lengths of the reads of HOLD that wait.
    held: Vec<(u32, u8)>,
}

impl Default for RegisterDevice {
    fn default() -> Self {
        Self::new()
    }
}

impl RegisterDevice {
    /// The device out of reset.
    pub fn new() -> Self {
        Self {
            storage: vec![0; SIZE],
            memory: vec![0; MEMORY],
            status: 0,
            count: 0,
            resets: 0,
            held: Vec::new(),
        }
    }

    /// Serves events until none comes for `idle` or the session is over.
    ///
    /// # Errors
    ///
    /// Those of the endpoint.
    pub fn serve(&mut self, endpoint: &mut HdlEndpoint, idle: Duration) -> Result<(), Error> {
        while let Some(event) = endpoint.try_event(idle)? {
            if matches!(event, Event::Down { .. }) {
                return Ok(());
            }
            self.handle(endpoint, &event)?;
        }
        Ok(())
    }

    /// Does what one event asks for.
    ///
    /// # Errors
    ///
    /// Those of the endpoint.
    pub fn handle(&mut self, endpoint: &mut HdlEndpoint, event: &Event) -> Result<(), Error> {
        match *event {
            Event::Read {
                tag,
                bar,
                len,
                offset,
            } => {
                if bar == 0 && (HOLD..HOLD + 4).contains(&offset) {
                    self.held.push((tag, len));
                    return Ok(());
                }
                let data = self.read(endpoint, bar, offset, len)?;
                endpoint.read_done(tag, len, data)
            }
            Event::Write {
                tag,
                bar,
                len,
                offset,
                data,
            } => {
                self.write(bar, offset, len, data);
                endpoint.write_done(tag, Status::Ok)?;
                self.act(endpoint, bar, offset, len)
            }
            Event::Reset { tag, .. } => {
                *self = Self {
                    resets: self.resets.wrapping_add(1),
                    ..Self::new()
                };
                endpoint.reset_done(tag)
            }
            Event::Offered { .. } | Event::Up | Event::Down { .. } => {
                // Nobody waits for an answer of another session.
                self.held.clear();
                Ok(())
            }
            Event::Faults { .. } => endpoint.faults_done(true, "this card has no faults"),
            Event::DmaReadDone { .. }
            | Event::DmaWriteDone { .. }
            | Event::Clock { .. }
            | Event::Function(_) => Ok(()),
        }
    }

    fn u32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.storage[at..at + 4]);
        u32::from_le_bytes(bytes)
    }

    fn dma_addr(&self) -> u64 {
        u64::from(self.u32(8)) | u64::from(self.u32(12)) << 32
    }

    /// Bytes `offset..offset + len` of a BAR, which the session has checked to
    /// lie within it.
    fn read(
        &mut self,
        endpoint: &mut HdlEndpoint,
        bar: u8,
        offset: u64,
        len: u8,
    ) -> Result<u64, Error> {
        let mut view;
        let source: &[u8] = match bar {
            0 => {
                view = self.storage.clone();
                let mut put = |at: usize, value: u32| {
                    view[at..at + 4].copy_from_slice(&value.to_le_bytes());
                };
                put(0x00, ID);
                put(0x14, 0);
                put(0x18, self.status);
                put(0x1c, self.count);
                put(0x20, 0);
                put(0x24, self.resets);
                if (0x28..0x2c).contains(&offset) {
                    // The host serves this while it waits for our answer.
                    let value = match endpoint.dma_read(self.dma_addr(), 4) {
                        Ok(data) => u32::from_le_bytes([data[0], data[1], data[2], data[3]]),
                        Err(Error::Status { .. }) => u32::MAX,
                        Err(e) => return Err(e),
                    };
                    view[0x28..0x2c].copy_from_slice(&value.to_le_bytes());
                }
                &view
            }
            2 => &self.memory,
            _ => &[],
        };
        let mut bytes = [0; 8];
        for (i, b) in bytes.iter_mut().take(len.into()).enumerate() {
            *b = source.get(offset as usize + i).copied().unwrap_or(0);
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn write(&mut self, bar: u8, offset: u64, len: u8, data: u64) {
        let target = match bar {
            0 => &mut self.storage,
            2 => &mut self.memory,
            _ => return,
        };
        for (i, b) in data.to_le_bytes().iter().take(len.into()).enumerate() {
            if let Some(to) = target.get_mut(offset as usize + i) {
                *to = *b;
            }
        }
    }

    /// Side effects of a write to a command register.
    fn act(
        &mut self,
        endpoint: &mut HdlEndpoint,
        bar: u8,
        offset: u64,
        len: u8,
    ) -> Result<(), Error> {
        let touches = |at: u64| bar == 0 && offset <= at && at < offset + u64::from(len);
        if touches(0x14) {
            self.command(endpoint, self.u32(0x14))?;
        }
        if touches(RELEASE as u64) {
            let value = self.u32(RELEASE).into();
            for (tag, len) in std::mem::take(&mut self.held) {
                endpoint.read_done(tag, len, value)?;
            }
        }
        if touches(0x20) {
            let vector = self.u32(0x20);
            let vectors = endpoint.config().vectors();
            if vector < vectors.into() {
                endpoint.msix(vector as u16)?;
            }
        }
        Ok(())
    }

    fn command(&mut self, endpoint: &mut HdlEndpoint, command: u32) -> Result<(), Error> {
        let (addr, len) = (self.dma_addr(), self.u32(0x10) as usize);
        let fits = (1..=SIZE - BUFFER).contains(&len) && len <= MAX_DATA;
        let wraps = addr.checked_add(len as u64).is_none();
        self.status = if !fits || wraps {
            BAD_COMMAND
        } else {
            let result = match command {
                1 => endpoint.dma_read(addr, len as u32).map(|data| {
                    self.storage[BUFFER..BUFFER + len].copy_from_slice(&data);
                }),
                2 => {
                    let data = &self.storage[BUFFER..BUFFER + len];
                    endpoint.dma_write(addr, data, None)
                }
                _ => {
                    self.status = BAD_COMMAND;
                    return Ok(());
                }
            };
            match result {
                Ok(()) => Status::Ok as u32,
                Err(Error::Status { status, .. }) => status as u32,
                // A reset or the end of the session: its event is next.
                Err(Error::Unexpected { .. }) => return Ok(()),
                Err(e) => return Err(e),
            }
        };
        self.count = self.count.wrapping_add(1);
        if endpoint.config().vectors() != 0 && endpoint.session().can_send() {
            endpoint.msix(0)?;
        }
        Ok(())
    }
}
