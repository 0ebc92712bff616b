// SPDX-License-Identifier: MIT OR Apache-2.0

//! The function as one client has it: what its messages ask for, what the RTL asks for, and in
//! which order both are done. Knows neither sockets nor threads.
//!
//! # Order
//!
//! * What the RTL says is done in its order, at once: a DMA write is in the guest's memory
//!   before the interrupt or the completion behind it is told.
//! * Accesses to BARs go to the RTL in the order in which they came. Those that the session has
//!   no room for wait in `queue`, and so does all that must not pass them.
//! * The data of a DMA read must not reach the RTL before a write that the guest has made
//!   before it put the data there. That write is in the socket when the copy is made. So the
//!   answer waits until what was in the socket then has been read ([`Card::mark`] and
//!   [`Card::arrived`]), and goes behind it.
//! * Configuration space answers at once, so that a guest is not held up by an RTL that is
//!   stuck; only while the queue is not empty can it pass writes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use accelerator_protocol::{
    host::{HostEvent, HostSession},
    limit::Limit,
    wire::{ResetKind, Status},
    Config,
};

use super::{
    config_space::{self, ConfigSpace},
    guest_memory::{Fault, GuestMemory, Main},
    interrupts::{Interrupts, SetIrqs, Vectors},
    stream::Message,
    wire::{self, command, irq, region, Numbers},
};
use crate::limited::limited;

/// Posted writes that the RTL may have, and what waits behind them. While so much waits nothing
/// more is read of the client.
pub const WINDOW: u32 = 256;
const QUEUE: usize = 4096;

/// An access to a BAR.
#[derive(Clone, Copy, Debug)]
struct Access {
    /// Of the message, for its reply.
    id: u16,
    bar: u8,
    len: u8,
    offset: u64,
    since: Instant,
}

/// What is to be sent to the RTL, in this order.
#[derive(Debug)]
enum Job {
    Read(Access),
    Write {
        access: Access,
        data: u64,
        /// The client wants a reply once it is done.
        reply: bool,
    },
    /// The answer to a DMA read.
    Answer {
        tag: u32,
        data: Result<Vec<u8>, Status>,
    },
}

/// The lines that a client or the RTL can cause.
#[derive(Default)]
struct Limits {
    refused: Limit,
    share: Limit,
    dma: Limit,
    timeout: Limit,
    vector: Limit,
}

/// The function, as one client has it.
pub struct Card {
    target: String,
    config: Config,
    space: ConfigSpace,
    /// The vector table as the client has written it, who by the way raises no vector by it.
    table: Vec<u8>,
    interrupts: Interrupts,
    memory: GuestMemory,
    session: HostSession,
    /// VERSION was answered.
    agreed: bool,
    queue: VecDeque<Job>,
    /// Answers to DMA reads, with the place in the client's stream up to which they wait.
    copied: VecDeque<(Option<u64>, Job)>,
    /// What the RTL has: reads, and writes of which the client wants to know.
    reads: Vec<(u32, Access)>,
    writes: VecDeque<(u32, Access)>,
    /// After which time a read is given up, if ever.
    patience: Option<Duration>,
    /// Frames for the RTL.
    pub frames: Vec<u8>,
    /// Messages for the client.
    pub replies: Vec<u8>,
    limits: Limits,
}

/// Why a client is given up, in words.
pub type GivenUp = String;

fn all_ones(bytes: u8) -> [u8; 8] {
    let mut data = [0; 8];
    data[..usize::from(bytes)].fill(0xff);
    data
}

impl Card {
    /// Of a configuration that was checked, in session `session` with the bridge. `patience`:
    /// after which time a read of the guest is answered with all ones.
    ///
    /// # Errors
    ///
    /// Which capability does not fit.
    pub fn new(
        target: &str,
        config: &Config,
        session: u64,
        patience: Option<Duration>,
    ) -> Result<Self, String> {
        let msi = config.msi.map_or(0, |m| m.vectors.into());
        let msix = config.msix.map_or(0, |m| m.vectors.into());
        Ok(Self {
            target: target.to_owned(),
            config: config.clone(),
            space: ConfigSpace::new(config)?,
            table: fresh_table(msix),
            interrupts: Interrupts::new(config.intx_pin, msi, msix),
            memory: GuestMemory::default(),
            session: HostSession::new(session, WINDOW),
            agreed: false,
            queue: VecDeque::new(),
            copied: VecDeque::new(),
            reads: Vec::new(),
            writes: VecDeque::new(),
            patience,
            frames: Vec::new(),
            replies: Vec::new(),
            limits: Limits::default(),
        })
    }

    /// Whether nothing more is to be read of the client.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE
    }

    /// The eventfd by which INTx is unmasked, if there is one.
    pub fn intx(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.interrupts.intx.descriptor()
    }

    /// That one was rung.
    pub fn unmasked(&mut self) {
        self.interrupts.intx.unmasked();
        self.update();
    }

    /// The end of the session, with the client or with the simulator. Who waits for an answer
    /// gets one.
    pub fn close(&mut self) {
        self.void();
        self.session.close(&mut self.frames);
    }

    // ---- what the client asks for ------------------------------------------------

    /// A message of the client. `process` is whose it is.
    ///
    /// # Errors
    ///
    /// Nothing more can be done for this client.
    pub fn message(
        &mut self,
        message: Message,
        process: Option<i32>,
        now: Instant,
    ) -> Result<(), GivenUp> {
        let header = message.header;
        if self.agreed == (header.command == command::VERSION) {
            return Err(if self.agreed {
                "VERSION came twice".to_owned()
            } else {
                format!("command {} came before VERSION", header.command)
            });
        }
        let (id, body) = (header.id, &message.body[..]);
        // An access is answered later, and all else at once.
        let result = match header.command {
            command::VERSION => {
                self.version(id, body)?;
                return Ok(());
            }
            command::REGION_READ => match self.region_read(id, body, now) {
                Ok(()) => return Ok(()),
                Err(text) => Err((libc::EINVAL, text)),
            },
            command::REGION_WRITE => match self.region_write(id, body, header.wants_reply(), now) {
                Ok(()) => return Ok(()),
                Err(text) => Err((libc::EINVAL, text)),
            },
            command::REGION_WRITE_MULTI => self.write_multi(id, body, now).map(|()| Vec::new()),
            command::DMA_MAP => self.dma_map(body, message.files).map(|()| Vec::new()),
            command::DMA_UNMAP => self.dma_unmap(body),
            command::DEVICE_GET_INFO => {
                // QEMU ends then, and would complain of a connection that is closed.
                if let Err(text) = self.can_share(process) {
                    let target = &self.target;
                    limited!(self.limits.share, error, target, "{text}");
                    wire::error(id, header.command, libc::EINVAL, &mut self.replies);
                    return Ok(());
                }
                device_info(body)
            }
            command::DEVICE_GET_REGION_INFO => self.region_info(body),
            command::DEVICE_GET_IRQ_INFO => self.irq_info(body),
            command::DEVICE_SET_IRQS => self.set_irqs(body, message.files).map(|()| Vec::new()),
            command::DEVICE_RESET => {
                self.reset(ResetKind::Cold);
                Ok(Vec::new())
            }
            command::DEVICE_GET_REGION_IO_FDS | command::DIRTY_PAGES => {
                Err((libc::ENOTSUP, "it is not supported".to_owned()))
            }
            _ => Err((libc::ENOSYS, "there is no such command".to_owned())),
        };
        match result {
            Ok(_) if !header.wants_reply() => {}
            Ok(body) => wire::reply(id, header.command, &[&body], &mut self.replies),
            Err((errno, text)) => {
                if !text.is_empty() {
                    limited!(
                        self.limits.refused,
                        warn,
                        &self.target,
                        "command {} of the client is refused: {text}",
                        header.command
                    );
                }
                if header.wants_reply() {
                    wire::error(id, header.command, errno, &mut self.replies);
                }
            }
        }
        Ok(())
    }

    /// The first message. What we can do is told as text in JSON, of what the client has told
    /// only whether it gathers writes is of interest here.
    fn version(&mut self, id: u16, body: &[u8]) -> Result<(), GivenUp> {
        let mut numbers = Numbers(body);
        let (Some(major), Some(minor)) = (numbers.u16(), numbers.u16()) else {
            return Err("VERSION is too short".to_owned());
        };
        if major != 0 {
            wire::error(id, command::VERSION, libc::EINVAL, &mut self.replies);
            return Err(format!(
                "it speaks version {major}.{minor} of vfio-user, this library version 0.0"
            ));
        }
        let gathers = String::from_utf8_lossy(numbers.0).contains("\"write_multiple\"");
        let text = format!(
            "{{\"capabilities\":{{\"max_msg_fds\":{},\"max_data_xfer_size\":{},\
             \"pgsizes\":4096,\"max_dma_maps\":{}{}}}}}\0",
            wire::FILES,
            wire::MAX_TRANSFER,
            wire::MAX_MAPS,
            if gathers {
                ",\"write_multiple\":true"
            } else {
                ""
            }
        );
        wire::reply(
            id,
            command::VERSION,
            &[&[0; 4], text.as_bytes()],
            &mut self.replies,
        );
        self.agreed = true;
        self.session.init("vfio-user", &mut self.frames);
        Ok(())
    }

    /// Whether the guest's memory can be reached, which the client has told of before it asks
    /// what the device is.
    fn can_share(&self, process: Option<i32>) -> Result<(), String> {
        let private = |device, number| {
            process.is_some_and(|process| super::owner::is_private(process, device, number))
        };
        let why = match self.memory.main() {
            Main::NoFile => "it has no file",
            Main::File(device, number) if private(device, number) => "its file is not shared",
            // One behind a virtual IOMMU comes later, if at all.
            Main::Nothing | Main::File(..) => return Ok(()),
        };
        Err(format!(
            "the client is refused: the card cannot reach the guest's memory, {why}. Start QEMU \
             with\n    -machine memory-backend=ram \
             -object memory-backend-memfd,id=ram,share=on,size=SIZE\nwhere SIZE is that of -m"
        ))
    }

    fn region_info(&self, body: &[u8]) -> Result<Vec<u8>, (i32, String)> {
        let mut numbers = Numbers(body);
        let index = numbers.bytes(8).and_then(|_| numbers.u32());
        let Some(index) = index.filter(|&i| i < region::COUNT) else {
            return Err((
                libc::EINVAL,
                format!("region {index:?} of {}", region::COUNT),
            ));
        };
        let size = match index {
            region::CONFIG => config_space::BYTES as u64,
            _ => self.config.bars.get(index as usize).map_or(0, |b| b.size),
        };
        let flags = if size == 0 { 0 } else { region::READ_WRITE };
        let mut reply = Vec::with_capacity(32);
        [32, flags, index, 0]
            .iter()
            .for_each(|n: &u32| reply.extend(n.to_ne_bytes()));
        reply.extend(size.to_ne_bytes());
        reply.extend(0_u64.to_ne_bytes());
        Ok(reply)
    }

    fn irq_info(&self, body: &[u8]) -> Result<Vec<u8>, (i32, String)> {
        let mut numbers = Numbers(body);
        let index = numbers.bytes(8).and_then(|_| numbers.u32());
        let vectors = match index {
            Some(irq::INTX) => self.interrupts.intx.vectors(),
            Some(irq::MSI) => &self.interrupts.msi,
            Some(irq::MSIX) => &self.interrupts.msix,
            // Without a line: QEMU asks for all, and takes this for the answer that it is.
            Some(index) if index < irq::COUNT => return Err((libc::EINVAL, String::new())),
            _ => return Err((libc::EINVAL, format!("there are no interrupts {index:?}"))),
        };
        let numbers = [16, vectors.flags(), index.unwrap_or(0), vectors.count()];
        Ok(numbers.iter().flat_map(|n| n.to_ne_bytes()).collect())
    }

    fn dma_map(
        &mut self,
        body: &[u8],
        mut files: Vec<std::os::fd::OwnedFd>,
    ) -> Result<(), (i32, String)> {
        let mut n = Numbers(body);
        let fields = (n.u32(), n.u32(), n.u64(), n.u64(), n.u64());
        let (Some(_), Some(flags), Some(offset), Some(address), Some(bytes)) = fields else {
            return Err((libc::EINVAL, "DMA_MAP is too short".to_owned()));
        };
        if files.len() > 1 {
            return Err((libc::EINVAL, format!("{} descriptors", files.len())));
        }
        self.memory
            .map(address, bytes, flags, offset, files.pop())
            .map_err(|text| (libc::EINVAL, text))
    }

    fn dma_unmap(&mut self, body: &[u8]) -> Result<Vec<u8>, (i32, String)> {
        let mut n = Numbers(body);
        let fields = (n.u32(), n.u32(), n.u64(), n.u64());
        let (Some(_), Some(flags), Some(address), Some(bytes)) = fields else {
            return Err((libc::EINVAL, "DMA_UNMAP is too short".to_owned()));
        };
        let gone = match flags {
            wire::UNMAP_ALL => self.memory.unmap_all(),
            0 => self
                .memory
                .unmap(address, bytes)
                .map_err(|text| (libc::EINVAL, text))?,
            _ => return Err((libc::ENOTSUP, format!("DMA_UNMAP with flags {flags:#x}"))),
        };
        let mut reply = Vec::with_capacity(24);
        [24, flags]
            .iter()
            .for_each(|n: &u32| reply.extend(n.to_ne_bytes()));
        reply.extend(address.to_ne_bytes());
        reply.extend(gone.to_ne_bytes());
        Ok(reply)
    }

    fn set_irqs(
        &mut self,
        body: &[u8],
        files: Vec<std::os::fd::OwnedFd>,
    ) -> Result<(), (i32, String)> {
        let mut n = Numbers(body);
        let fields = (n.u32(), n.u32(), n.u32(), n.u32(), n.u32());
        let (Some(_), Some(flags), Some(index), Some(start), Some(count)) = fields else {
            return Err((libc::EINVAL, "DEVICE_SET_IRQS is too short".to_owned()));
        };
        let set = SetIrqs {
            flags,
            start,
            count,
            data: n.0,
        };
        match index {
            irq::INTX => self.interrupts.intx.set(set, files),
            irq::MSI => self.interrupts.msi.set(set, files),
            irq::MSIX => self.interrupts.msix.set(set, files),
            _ => Err(format!("there are no interrupts {index}")),
        }
        .map_err(|text| (libc::EINVAL, text))?;
        self.update();
        Ok(())
    }

    /// Raises what is pending and may be raised now, and shows what is not.
    fn update(&mut self) {
        let function = self.space.function();
        let connected = self.space.has_intx();
        self.interrupts.intx.update(connected);
        let master = self.space.is_master();
        let held = !function.msix_enable || function.msix_mask || !master;
        self.interrupts.msix.deliver(|_| held);
        let held = !function.msi_enable || function.msix_enable || !master;
        let mask = function.msi_mask;
        self.interrupts.msi.deliver(|i| held || mask >> i & 1 != 0);
        let pending = |vectors: &Vectors| {
            (0..32)
                .filter(|&i| vectors.is_pending(i))
                .fold(0, |bits, i| bits | 1_u32 << i)
        };
        self.space.set_msi_pending(pending(&self.interrupts.msi));
    }

    /// The numbers before the data of an access: offset, region, count.
    fn access_of(body: &[u8]) -> Result<(u64, u32, u32, &[u8]), String> {
        let mut n = Numbers(body);
        match (n.u64(), n.u32(), n.u32()) {
            (Some(offset), Some(region), Some(count)) => Ok((offset, region, count, n.0)),
            _ => Err("an access is too short".to_owned()),
        }
    }

    /// Checks an access to a BAR.
    fn bar_access(
        &self,
        id: u16,
        (offset, region, count): (u64, u32, u32),
        now: Instant,
    ) -> Result<Access, String> {
        let size = match self.config.bars.get(region as usize) {
            Some(bar) if region < region::BARS => bar.size,
            _ => return Err(format!("region {region} cannot be accessed")),
        };
        let end = offset.checked_add(count.into());
        if !(1..=8).contains(&count) || end.is_none_or(|end| end > size) {
            return Err(format!(
                "an access of {count} bytes at {offset:#x} of BAR {region}, which has {size:#x}; \
                 1 to 8 can be accessed at once"
            ));
        }
        Ok(Access {
            id,
            bar: region as u8,
            len: count as u8,
            offset,
            since: now,
        })
    }

    fn answer_read(&mut self, access: &Access, data: [u8; 8]) {
        answer(&mut self.replies, access, data);
    }

    fn region_read(&mut self, id: u16, body: &[u8], now: Instant) -> Result<(), String> {
        let (offset, region, count, _) = Self::access_of(body)?;
        if region == region::CONFIG {
            let data = self.space.read(offset, count as usize).ok_or_else(|| {
                format!("{count} bytes at {offset:#x} are not in configuration space")
            })?;
            wire::reply(
                id,
                command::REGION_READ,
                &[&body[..16], data],
                &mut self.replies,
            );
            return Ok(());
        }
        let access = self.bar_access(id, (offset, region, count), now)?;
        if !self.space.answers() {
            self.answer_read(&access, all_ones(access.len));
        } else if let Some(data) = self.msix_read(&access) {
            self.answer_read(&access, data);
        } else {
            self.queue.push_back(Job::Read(access));
        }
        Ok(())
    }

    fn region_write(
        &mut self,
        id: u16,
        body: &[u8],
        reply: bool,
        now: Instant,
    ) -> Result<(), String> {
        let (offset, region, count, data) = Self::access_of(body)?;
        if data.len() != count as usize {
            return Err(format!("{} bytes come with a write of {count}", data.len()));
        }
        if region != region::CONFIG {
            let access = self.bar_access(id, (offset, region, count), now)?;
            self.write(access, data, reply);
            return Ok(());
        }
        let before = self.space.function();
        let written = self.space.write(offset, data).ok_or_else(|| {
            format!("{count} bytes at {offset:#x} are not in configuration space")
        })?;
        if written.reset {
            self.reset(ResetKind::Flr);
        } else if self.space.function() != before {
            self.session
                .function(&self.space.function(), &mut self.frames);
        }
        self.update();
        if reply {
            wire::reply(id, command::REGION_WRITE, &[&body[..16]], &mut self.replies);
        }
        Ok(())
    }

    /// A write of 1 to 8 bytes, which was checked.
    fn write(&mut self, access: Access, data: &[u8], reply: bool) {
        if !self.space.answers() || self.msix_write(&access, data) {
            if reply {
                self.answer_write(&access);
            }
            return;
        }
        let mut bytes = [0; 8];
        bytes[..data.len()].copy_from_slice(data);
        self.queue.push_back(Job::Write {
            access,
            data: u64::from_le_bytes(bytes),
            reply,
        });
    }

    /// Writes of 8 bytes at most, gathered by a client that had many.
    fn write_multi(&mut self, id: u16, body: &[u8], now: Instant) -> Result<(), (i32, String)> {
        let refused = |text| (libc::EINVAL, text);
        let mut n = Numbers(body);
        let count = n.u64().unwrap_or(u64::MAX);
        if count != (n.0.len() / wire::MULTI) as u64 || n.0.len() % wire::MULTI != 0 {
            return Err(refused(format!("{count} writes in {} bytes", n.0.len())));
        }
        // All of them are looked at before the first is done.
        let mut writes = Vec::with_capacity(count as usize);
        for one in n.0.chunks_exact(wire::MULTI) {
            let (offset, region, count, data) = Self::access_of(one).map_err(refused)?;
            let access = self
                .bar_access(id, (offset, region, count), now)
                .map_err(refused)?;
            writes.push((access, &data[..count as usize]));
        }
        for (access, data) in writes {
            self.write(access, data, false);
        }
        Ok(())
    }

    fn answer_write(&mut self, access: &Access) {
        let mut body = [0; 16];
        body[..8].copy_from_slice(&access.offset.to_ne_bytes());
        body[8..12].copy_from_slice(&u32::from(access.bar).to_ne_bytes());
        body[12..].copy_from_slice(&u32::from(access.len).to_ne_bytes());
        wire::reply(
            access.id,
            command::REGION_WRITE,
            &[&body],
            &mut self.replies,
        );
    }

    /// Where the bytes of an access are in the vector table, and in the pending bits.
    fn msix_places(&self, access: &Access) -> Option<(i64, i64)> {
        let msix = self.config.msix?;
        let begin = |bar, offset: u32| {
            if bar == access.bar {
                access.offset as i64 - i64::from(offset)
            } else {
                i64::MIN / 2
            }
        };
        let table = begin(msix.table_bar, msix.table_offset);
        let pending = begin(msix.pba_bar, msix.pba_offset);
        let within = |at: i64, size: u64| at < size as i64 && at + i64::from(access.len) > 0;
        (within(table, msix.table_size()) || within(pending, msix.pba_size()))
            .then_some((table, pending))
    }

    /// An access to the vector table or the pending bits, which are not the RTL's.
    fn msix_read(&self, access: &Access) -> Option<[u8; 8]> {
        let (table, pending) = self.msix_places(access)?;
        let mut data = [0; 8];
        for i in 0..i64::from(access.len) {
            let byte = |at: i64| usize::try_from(at).ok();
            data[i as usize] = if let Some(&b) = byte(table + i).and_then(|at| self.table.get(at)) {
                b
            } else if let Some(at) = byte(pending + i).filter(|at| *at < self.table.len()) {
                (0..8)
                    .filter(|bit| self.interrupts.msix.is_pending(8 * at + bit))
                    .fold(0, |bits, bit| bits | 1 << bit)
            } else {
                0
            };
        }
        Some(data)
    }

    fn msix_write(&mut self, access: &Access, data: &[u8]) -> bool {
        let Some((table, _)) = self.msix_places(access) else {
            return false;
        };
        for (i, &new) in data.iter().enumerate() {
            let at = usize::try_from(table + i as i64).ok();
            if let Some(byte) = at.and_then(|at| self.table.get_mut(at)) {
                *byte = new;
            }
        }
        true
    }

    /// What is under way is void, and nobody waits for it: reads return all ones.
    fn void(&mut self) {
        for (_, access) in std::mem::take(&mut self.reads) {
            self.answer_read(&access, all_ones(access.len));
        }
        for (_, access) in std::mem::take(&mut self.writes) {
            self.answer_write(&access);
        }
        for job in std::mem::take(&mut self.queue) {
            match job {
                Job::Read(access) => self.answer_read(&access, all_ones(access.len)),
                Job::Write {
                    access,
                    reply: true,
                    ..
                } => self.answer_write(&access),
                Job::Write { .. } | Job::Answer { .. } => {}
            }
        }
        self.copied.clear();
    }

    /// Resets the function.
    fn reset(&mut self, kind: ResetKind) {
        self.void();
        self.space.reset(kind);
        self.interrupts.reset();
        self.table = fresh_table(self.table.len() / 16);
        self.session.reset(kind, &mut self.frames);
        self.session
            .function(&self.space.function(), &mut self.frames);
    }

    // ---- what the RTL asks for ---------------------------------------------------

    /// Frames of the bridge.
    ///
    /// # Errors
    ///
    /// It has ended the session, and nothing more can be done for this client.
    pub fn frames(&mut self, message: &[u8]) -> Result<(), GivenUp> {
        let mut rest = message;
        while !rest.is_empty() {
            let (event, more) = self.session.frame(rest).map_err(|v| v.to_string())?;
            rest = more;
            self.event(event)?;
        }
        self.session.put_off(&mut self.frames);
        Ok(())
    }

    fn event(&mut self, event: HostEvent<'_>) -> Result<(), GivenUp> {
        match event {
            HostEvent::Configured(_) => {
                self.session.accept(&mut self.frames);
                self.session
                    .function(&self.space.function(), &mut self.frames);
            }
            HostEvent::Refused { text, .. } => {
                return Err(format!("the simulator refuses it: {text}"))
            }
            HostEvent::Closed { .. } => return Err("the simulator ends".to_owned()),
            HostEvent::ReadDone { tag, status, data } => {
                if let Some(i) = self.reads.iter().position(|(t, _)| *t == tag) {
                    let (_, access) = self.reads.swap_remove(i);
                    let data = match status {
                        Status::Ok => data.to_le_bytes(),
                        _ => all_ones(access.len),
                    };
                    self.answer_read(&access, data);
                }
            }
            HostEvent::WritesDone { .. } => {
                while let Some((_, access)) = self
                    .writes
                    .front()
                    .copied()
                    .filter(|&(tag, _)| self.session.write_is_done(tag))
                {
                    self.writes.pop_front();
                    self.answer_write(&access);
                }
            }
            HostEvent::DmaRead { tag, addr, len } => self.dma_read(tag, addr, len),
            HostEvent::DmaWrite {
                tag,
                addr,
                data,
                enables,
            } => {
                let result = self.may_dma().and_then(|()| {
                    let written = self.memory.write(addr, data, enables);
                    written.map_err(|fault| (fault.status(), fault.text()))
                });
                let status = self.dma_done("write", addr, data.len(), result);
                self.session.dma_write_done(tag, status, &mut self.frames);
            }
            HostEvent::Msix { vector } => self.raise(vector),
            HostEvent::BadVector { vector, vectors } => self.no_vector(vector, vectors.into()),
            HostEvent::Intx { level } => {
                self.interrupts.intx.drive(level);
                self.space.set_intx(level);
                self.update();
            }
            // Of a plan of faults: nobody here is told of errors, and nobody has given one.
            HostEvent::Error { .. }
            | HostEvent::FaultsDone { .. }
            | HostEvent::Share { .. }
            | HostEvent::LateRead { .. }
            | HostEvent::ResetDone
            | HostEvent::Time { .. }
            | HostEvent::Ignored(_) => {}
        }
        Ok(())
    }

    /// Whether the function may access memory now.
    fn may_dma(&self) -> Result<(), (Status, &'static str)> {
        if self.space.is_master() {
            Ok(())
        } else {
            Err((
                Status::Refused,
                "the guest has not enabled bus mastering (or the function is in D3hot)",
            ))
        }
    }

    fn dma_done(
        &mut self,
        what: &str,
        addr: u64,
        bytes: usize,
        result: Result<(), (Status, &'static str)>,
    ) -> Status {
        let Err((status, why)) = result else {
            return Status::Ok;
        };
        limited!(
            self.limits.dma,
            error,
            &self.target,
            "DMA {what} of {bytes} bytes at {addr:#x}: {why}"
        );
        status
    }

    fn dma_read(&mut self, tag: u32, addr: u64, len: u32) {
        // At most 64 KiB, which the session has seen to.
        let mut data = vec![0; len as usize];
        let result = self.may_dma().and_then(|()| {
            let read = self.memory.read(addr, &mut data);
            read.map_err(|fault: Fault| (fault.status(), fault.text()))
        });
        let data = match self.dma_done("read", addr, data.len(), result) {
            Status::Ok => Ok(data),
            status => Err(status),
        };
        self.copied.push_back((None, Job::Answer { tag, data }));
    }

    fn no_vector(&mut self, vector: u16, vectors: u32) {
        limited!(
            self.limits.vector,
            warn,
            &self.target,
            "vector {vector} is ignored, the function has {vectors}, as the guest has it"
        );
    }

    /// Raises a vector of MSI-X, or of MSI if the guest has enabled that alone. With neither
    /// MSI-X has it pending, and a function without MSI-X loses it.
    fn raise(&mut self, vector: u16) {
        let function = self.space.function();
        let master = self.space.is_master();
        let asked = usize::from(vector);
        let known = if function.msi_enable && !function.msix_enable {
            // Fewer may be granted than there are.
            let index = asked & ((1 << function.msi_granted) - 1);
            let held = !master || function.msi_mask >> index & 1 != 0;
            asked < self.interrupts.msi.count() as usize && self.interrupts.msi.raise(index, held)
        } else {
            let held = !function.msix_enable || function.msix_mask || !master;
            self.config.msix.is_none() || self.interrupts.msix.raise(asked, held)
        };
        if !known {
            let vectors = match function.msix_enable {
                false if function.msi_enable => self.interrupts.msi.count(),
                _ => self.interrupts.msix.count(),
            };
            self.no_vector(vector, vectors);
        }
        self.update();
    }

    // ---- in order, and in time ---------------------------------------------------

    /// The client had sent so many bytes when the last copies for DMA reads were made, or a
    /// few more.
    pub fn mark(&mut self, sent: impl FnOnce() -> u64) {
        let unmarked = self.copied.iter_mut().rev().map(|(mark, _)| mark);
        let unmarked: Vec<_> = unmarked.take_while(|mark| mark.is_none()).collect();
        if !unmarked.is_empty() {
            let sent = sent();
            unmarked.into_iter().for_each(|mark| *mark = Some(sent));
        }
    }

    /// So many bytes of the client were taken in.
    pub fn arrived(&mut self, bytes: u64) {
        let there = |(mark, _): &&(Option<u64>, Job)| mark.is_some_and(|mark| mark <= bytes);
        let count = self.copied.iter().take_while(there).count();
        let jobs = self.copied.drain(..count).map(|(_, job)| job);
        self.queue.extend(jobs);
    }

    /// Sends to the RTL what there is room for.
    pub fn pump(&mut self) {
        while let Some(job) = self.queue.front() {
            let frames = &mut self.frames;
            match job {
                Job::Read(a) => match self.session.read(a.bar, a.offset, a.len, frames) {
                    Some(tag) => self.reads.push((tag, *a)),
                    None => return,
                },
                Job::Write {
                    access: a,
                    data,
                    reply,
                } => match self.session.write(a.bar, a.offset, a.len, *data, frames) {
                    Some(tag) if *reply => self.writes.push_back((tag, *a)),
                    Some(_) => {}
                    None => return,
                },
                Job::Answer { tag, data } => match data {
                    Ok(data) => self.session.dma_read_done(*tag, Status::Ok, data, frames),
                    Err(status) => self.session.dma_read_done(*tag, *status, &[], frames),
                },
            }
            self.queue.pop_front();
        }
    }

    /// Those who wait for an answer of the RTL, by when they began to.
    fn since(&self) -> impl Iterator<Item = Instant> + '_ {
        let queued = self.queue.iter().filter_map(|job| match job {
            Job::Read(access) => Some(access.since),
            Job::Write {
                access,
                reply: true,
                ..
            } => Some(access.since),
            _ => None,
        });
        let reads = self.reads.iter().map(|(_, a)| a.since);
        let writes = self.writes.iter().map(|(_, a)| a.since);
        queued.chain(reads).chain(writes)
    }

    /// When the next access is given up.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.since().min()? + self.patience?)
    }

    /// Gives up what has waited for too long: reads return all ones.
    pub fn expire(&mut self, now: Instant) {
        let Some(patience) = self.patience else {
            return;
        };
        let late = |a: &Access| now.saturating_duration_since(a.since) >= patience;
        let mut lost = Vec::new();
        self.reads.retain(|(tag, access)| {
            if late(access) {
                self.session.abandon(*tag);
                lost.push((true, *access));
            }
            !late(access)
        });
        self.writes.retain(|(_, access)| {
            if late(access) {
                lost.push((false, *access));
            }
            !late(access)
        });
        self.queue.retain_mut(|job| match job {
            Job::Read(access) if late(access) => {
                lost.push((true, *access));
                false
            }
            Job::Write { access, reply, .. } if *reply && late(access) => {
                // It stays in its turn, as a posted one.
                *reply = false;
                lost.push((false, *access));
                true
            }
            _ => true,
        });
        for (read, access) in lost {
            let Access {
                bar, len, offset, ..
            } = access;
            limited!(
                self.limits.timeout,
                error,
                &self.target,
                "the RTL has not answered a {} of {len} bytes at {offset:#x} of BAR {bar} within \
                 {} ms: {}. QEMU waits for x-msg-timeout, {} says how long that is",
                if read { "read" } else { "write" },
                patience.as_millis(),
                if read {
                    "the guest gets all ones"
                } else {
                    "it counts as done"
                },
                super::TIMEOUT_VARIABLE
            );
            if read {
                self.space.completion_timeout();
                self.answer_read(&access, all_ones(len));
            } else {
                self.answer_write(&access);
            }
        }
    }
}

/// The vector table after a reset: every vector is masked.
fn fresh_table(vectors: usize) -> Vec<u8> {
    let mut table = vec![0; 16 * vectors];
    table.iter_mut().skip(12).step_by(16).for_each(|b| *b = 1);
    table
}

fn answer(replies: &mut Vec<u8>, access: &Access, data: [u8; 8]) {
    let mut body = [0; 16];
    body[..8].copy_from_slice(&access.offset.to_ne_bytes());
    body[8..12].copy_from_slice(&u32::from(access.bar).to_ne_bytes());
    body[12..].copy_from_slice(&u32::from(access.len).to_ne_bytes());
    let data = &data[..usize::from(access.len)];
    wire::reply(access.id, command::REGION_READ, &[&body, data], replies);
}

fn device_info(body: &[u8]) -> Result<Vec<u8>, (i32, String)> {
    if body.len() < 4 {
        return Err((libc::EINVAL, "DEVICE_GET_INFO is too short".to_owned()));
    }
    let numbers = [16, wire::DEVICE_FLAGS, region::COUNT, irq::COUNT];
    Ok(numbers.iter().flat_map(|n| n.to_ne_bytes()).collect())
}

#[cfg(test)]
mod tests {
    use accelerator_protocol::{
        device::{DeviceEvent, DeviceSession},
        Bar,
    };

    use super::{super::wire::Header, *};

    /// A card with a session, and the bridge's half of it.
    struct Bench {
        card: Card,
        device: DeviceSession,
        id: u16,
    }

    /// What the bridge hears, as text.
    fn heard(event: &DeviceEvent<'_>) -> Option<String> {
        Some(match event {
            DeviceEvent::Read { offset, .. } => format!("read {offset:#x}"),
            DeviceEvent::Write { offset, .. } => format!("write {offset:#x}"),
            DeviceEvent::DmaReadDone { status, data, .. } => format!("dma {status:?} {data:?}"),
            DeviceEvent::Reset { kind, .. } => format!("reset {kind:?}"),
            _ => return None,
        })
    }

    impl Bench {
        fn new() -> Self {
            let mut config = Config {
                vendor: 1,
                link_speed: 1,
                link_width: 1,
                ..Config::default()
            };
            config.bars[0] = Bar {
                size: 0x1000,
                ..Bar::default()
            };
            let mut bench = Self {
                card: Card::new("test", &config, 7, Some(Duration::from_secs(1))).unwrap(),
                device: DeviceSession::new(config).unwrap(),
                id: 0,
            };
            bench.client(command::VERSION, &[0; 4]).unwrap();
            bench.exchange();
            assert!(bench.card.session.is_up());
            bench.write(region::CONFIG, 4, &[6, 0]);
            bench
        }

        fn client(&mut self, command: u16, body: &[u8]) -> Result<(), GivenUp> {
            self.id += 1;
            let message = Message {
                header: Header {
                    id: self.id,
                    command,
                    size: 0,
                    flags: 0,
                },
                body: body.to_vec(),
                files: Vec::new(),
            };
            self.card.message(message, None, Instant::now())
        }

        fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
            let mut body = offset.to_ne_bytes().to_vec();
            body.extend(region.to_ne_bytes());
            body.extend((data.len() as u32).to_ne_bytes());
            body.extend(data);
            self.client(command::REGION_WRITE, &body).unwrap();
        }

        /// Passes on what there is, both ways; what the bridge hears.
        fn exchange(&mut self) -> Vec<String> {
            let mut all = Vec::new();
            loop {
                self.card.pump();
                let frames = std::mem::take(&mut self.card.frames);
                let (mut rest, mut out) = (&frames[..], Vec::new());
                while !rest.is_empty() {
                    let (event, more) = self.device.frame(rest, &mut out).unwrap();
                    all.extend(heard(&event));
                    rest = more;
                }
                if out.is_empty() && frames.is_empty() {
                    return all;
                }
                self.card.frames(&out).unwrap();
            }
        }

        fn dma_read(&mut self) {
            let mut out = Vec::new();
            self.device.dma_read(0x1000, 4, &mut out).unwrap();
            self.card.frames(&out).unwrap();
        }
    }

    #[test]
    fn the_data_of_a_read_comes_behind_writes_that_the_client_had_sent() {
        let mut bench = Bench::new();
        bench.dma_read();
        // The copy is made, and what the client has sent is not here yet.
        bench.card.mark(|| 300);
        assert!(bench.exchange().is_empty());
        bench.card.arrived(299);
        bench.write(0, 0x10, &[1]);
        assert_eq!(bench.exchange(), ["write 0x10"]);
        bench.write(0, 0x20, &[1]);
        bench.card.arrived(300);
        assert_eq!(bench.exchange(), ["write 0x20", "dma Fault []"]);
        // Nor does a write that there is no room for let it pass.
        for _ in 0..WINDOW {
            bench.write(0, 0x30, &[1]);
        }
        bench.dma_read();
        bench.card.mark(|| 400);
        bench.card.arrived(400);
        assert_eq!(bench.exchange().len(), WINDOW as usize - 2);
        let mut out = Vec::new();
        for tag in 1..=3 {
            bench.device.write_done(tag, Status::Ok, &mut out);
        }
        bench.card.frames(&out).unwrap();
        assert_eq!(
            bench.exchange(),
            ["write 0x30", "write 0x30", "dma Fault []"]
        );
    }

    #[test]
    fn a_mark_is_asked_for_once_for_each_copy() {
        let mut bench = Bench::new();
        bench.card.mark(|| unreachable!("there is no copy"));
        bench.dma_read();
        bench.card.mark(|| 10);
        bench.card.mark(|| unreachable!("it has its mark"));
        bench.dma_read();
        bench.card.mark(|| 20);
        bench.card.arrived(10);
        assert_eq!(bench.exchange().len(), 1);
        bench.card.arrived(20);
        assert_eq!(bench.exchange().len(), 1);
    }

    #[test]
    fn configuration_space_answers_while_writes_wait() {
        let mut bench = Bench::new();
        for _ in 0..WINDOW + 10 {
            bench.write(0, 0x30, &[1]);
        }
        bench.exchange();
        bench.card.replies.clear();
        let mut body = 0_u64.to_ne_bytes().to_vec();
        body.extend(region::CONFIG.to_ne_bytes());
        body.extend(4_u32.to_ne_bytes());
        bench.client(command::REGION_READ, &body).unwrap();
        assert_eq!(bench.card.replies.len(), wire::HEADER + 16 + 4);
        // A reset is not held up either, and the writes are gone with it.
        bench.client(command::DEVICE_RESET, &[]).unwrap();
        assert_eq!(bench.exchange(), ["reset Cold"]);
    }

    #[test]
    fn a_client_that_asks_too_much_is_not_read() {
        let mut bench = Bench::new();
        for _ in 0..QUEUE as u32 + WINDOW {
            assert!(!bench.card.is_full());
            bench.write(0, 0x30, &[1]);
            bench.exchange();
        }
        assert!(bench.card.is_full());
    }
}
