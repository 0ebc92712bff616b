// SPDX-License-Identifier: MIT OR Apache-2.0

//! Towards the RTL: what the calls between two polls do.

use accelerator_protocol::wire::{ResetKind, Status};
use log::debug;

use super::{
    of_them, Announced, Assembly, Context, Dma, DmaState, InRtl, Item, Mmio, Run, Stat,
    MAX_DMA_BYTES, REPORT_WRITES,
};
use crate::{
    error::{fail, within, Result},
    order::Kind,
    record::{self, Observer},
    waits::Moment,
    BEAT_BYTES,
};

impl Run {
    /// Whether the RTL answers to something that is void, without knowing yet.
    pub(super) fn void(&self) -> bool {
        self.hosts.door.is_lost() || self.control.down || self.control.reset.is_some()
    }

    /// The RTL has heard of a reset or the end of a session: nothing that it
    /// had is left.
    fn forget(&mut self) {
        self.reads.clear();
        self.writes.clear();
        self.dma.clear();
        self.done_here.clear();
        self.assembly = None;
        // RTL in reset does not assert its pin, and the host knows that.
        self.intx = false;
        self.intx_told = false;
        if let Some(faults) = &mut self.faults {
            faults.pin_low();
        }
    }

    /// `acc_get_mmio`.
    pub fn get_mmio(&mut self, c: &mut Context<'_>) -> Result<Mmio> {
        let kind = match self.announced {
            Some(Announced::Queued(Kind::Read)) => Kind::Read,
            Some(Announced::Queued(Kind::Write)) if !self.function_is_next() => Kind::Write,
            _ => return Err(self.not_announced("acc_get_mmio", "MMIO_READ or MMIO_WRITE")),
        };
        let Some(Item::Mmio(mmio)) = self.queue.pop(kind) else {
            unreachable!("what a poll announced stays in the queue");
        };
        self.announced = None;
        c.observe(|o| o.mmio_taken(kind == Kind::Write, mmio.tag));
        c.at(mmio.number);
        let in_rtl = InRtl {
            mmio,
            since: Moment::soon(),
        };
        if kind == Kind::Write {
            c.count(Stat::MmioWrites, 1);
            self.writes.push_back(in_rtl);
            debug!(
                target: c.target,
                "tag={} #{} MMIO write BAR {} addr {:#x} len {} data {:#x}",
                mmio.tag, mmio.number, mmio.bar, mmio.addr, mmio.len, mmio.data
            );
        } else {
            c.count(Stat::MmioReads, 1);
            self.reads.push(in_rtl);
            debug!(
                target: c.target,
                "tag={} #{} MMIO read BAR {} addr {:#x} len {}",
                mmio.tag, mmio.number, mmio.bar, mmio.addr, mmio.len
            );
        }
        Ok(mmio)
    }

    fn mmio_status(status: i32) -> Result<Status> {
        match status {
            0 => Ok(Status::Ok),
            1 => Ok(Status::Refused),
            _ => fail!(Invalid, "status is {status}, expected 0 (OK) or 1 (error)"),
        }
    }

    /// `acc_mmio_read_done`.
    pub fn mmio_read_done(
        &mut self,
        tag: u32,
        status: i32,
        data: u64,
        c: &mut Context<'_>,
    ) -> Result<()> {
        let status = Self::mmio_status(status)?;
        let Some(i) = self.reads.iter().position(|r| r.mmio.tag == tag) else {
            fail!(
                Invalid,
                "tag {tag} is no read that the RTL has; it has {}",
                of_them(self.reads.len(), self.reads.first())
            );
        };
        let read = self.reads.remove(i);
        c.observe(|o| o.mmio_read_done(tag, read.mmio.len, status, data));
        debug!(
            target: c.target,
            "tag={tag} #{} MMIO read done {status:?} data {data:#x}",
            read.mmio.number
        );
        if self.void() {
            return Ok(());
        }
        if self.faults.is_some() {
            self.read_answered(&read.mmio, status, data, c);
        } else {
            self.session
                .read_done(tag, read.mmio.len, status, data, &mut self.out);
        }
        Ok(())
    }

    /// `acc_mmio_write_done`.
    pub fn mmio_write_done(&mut self, tag: u32, status: i32, c: &mut Context<'_>) -> Result<()> {
        let status = Self::mmio_status(status)?;
        let oldest = self.writes.front().map(|w| w.mmio.tag);
        if oldest != Some(tag) {
            fail!(
                Invalid,
                "tag {tag} is not the oldest write that the RTL has; it has {}",
                of_them(self.writes.len(), self.writes.front())
            );
        }
        let number = self.writes.pop_front().map_or(0, |w| w.mmio.number);
        c.observe(|o| o.mmio_write_done(tag, status));
        debug!(target: c.target, "tag={tag} #{number} MMIO write done {status:?}");
        if self.void() {
            return Ok(());
        }
        let more = !self.writes.is_empty() || self.queue.has(Kind::Write);
        if status != Status::Ok || !more {
            self.session.write_done(tag, status, &mut self.out);
            self.report_lost_writes();
            return Ok(());
        }
        // The report of the next one will do, if that comes soon.
        if !self.session.unreported() {
            self.held_writes = 0;
        }
        self.held_polls = 0;
        self.session.write_retired(tag);
        self.held_writes += 1;
        if self.held_writes >= REPORT_WRITES {
            self.session.report_writes(&mut self.out);
        }
        self.report_lost_writes();
        Ok(())
    }

    /// Whether the RTL may start a request.
    fn may_request(&self) -> Result<()> {
        if !self.link_up || self.control.down || self.hosts.door.is_lost() || !self.session.is_up()
        {
            fail!(Link, "the link is down");
        }
        if self.control.reset.is_some() {
            fail!(Again, "a reset waits to be fetched with acc_poll");
        }
        if let Some((tag, _)) = self.in_reset {
            fail!(
                State,
                "reset {tag} is in progress, acc_reset_done was not called"
            );
        }
        if self.reset_goes_on() {
            fail!(Again, "the reset is not over yet");
        }
        if !self.hosts.backlog.is_empty() {
            fail!(Again, "the host does not take frames at the moment");
        }
        Ok(())
    }

    fn may_dma(&self) -> Result<()> {
        self.may_request()?;
        let most = self.session.max_dma();
        if self.dma.len() + usize::from(self.assembly.is_some()) >= most {
            fail!(
                Again,
                "{most} DMA requests are outstanding, the most that may be"
            );
        }
        Ok(())
    }

    /// `acc_dma_read`.
    pub fn dma_read(&mut self, addr: u64, bytes: i32, c: &mut Context<'_>) -> Result<u32> {
        let bytes = within("bytes", bytes, 1, MAX_DMA_BYTES as i32)? as u32;
        self.may_dma()?;
        let number = record::number();
        if self.faults.is_some() {
            if let Some(tag) = self.dma_read_fails(number, addr, bytes, c) {
                c.at(number);
                c.observe(|o| o.dma_read(number, tag, addr, bytes, true));
                return Ok(tag);
            }
        }
        if let Some(tag) = self.read_here(number, addr, bytes, c) {
            c.at(number);
            c.observe(|o| o.dma_read(number, tag, addr, bytes, true));
            return Ok(tag);
        }
        let before = self.out.len();
        let Some(tag) = self.session.dma_read(addr, bytes, &mut self.out) else {
            fail!(
                Invalid,
                "DMA read of {bytes} bytes at {addr:#x} wraps around the address space, or is \
                 more than the host takes"
            );
        };
        let fault = self.of_dma();
        self.dma.push(Dma {
            number,
            tag,
            write: false,
            addr,
            bytes,
            enabled: 0,
            since: Moment::soon(),
            state: DmaState::Waiting,
            fault,
        });
        self.requested(before);
        c.at(number);
        c.observe(|o| o.dma_read(number, tag, addr, bytes, false));
        debug!(target: c.target, "tag={tag} #{number} DMA read addr {addr:#x} bytes {bytes}");
        Ok(tag)
    }

    /// `acc_get_dma_read` and `acc_get_dma_write`: tag, status, bytes.
    pub fn get_dma(&mut self, kind: Kind, c: &mut Context<'_>) -> Result<(u32, Status, u32)> {
        if self.announced != Some(Announced::Queued(kind)) {
            return Err(if kind == Kind::DmaRead {
                self.not_announced("acc_get_dma_read", "DMA_READ_DONE")
            } else {
                self.not_announced("acc_get_dma_write", "DMA_WRITE_DONE")
            });
        }
        let Some(Item::Dma { tag }) = self.queue.pop(kind) else {
            unreachable!("what a poll announced stays in the queue");
        };
        self.announced = None;
        let Some(i) = self.dma.iter().position(|d| d.tag == tag) else {
            unreachable!("a completion in the queue has an entry in the table");
        };
        let dma = &mut self.dma[i];
        let DmaState::Done {
            status,
            data,
            announced,
            ..
        } = &mut dma.state
        else {
            unreachable!("a completion in the queue has its state");
        };
        let (status, bytes) = (*status, data.len() as u32);
        *announced = true;
        let (number, enabled) = (dma.number, dma.enabled);
        let written = if status == Status::Ok { enabled } else { 0 };
        c.observe(|o| match kind {
            Kind::DmaRead => o.dma_done(tag, false, status, bytes, data),
            _ => o.dma_done(tag, true, status, written, &[]),
        });
        debug!(target: c.target, "tag={tag} #{number} DMA done {status:?} bytes {bytes}");
        if kind == Kind::DmaRead && status == Status::Ok {
            c.count(Stat::DmaReadBytes, u64::from(bytes));
        } else {
            self.dma.remove(i);
            if status == Status::Ok {
                c.count(Stat::DmaWriteBytes, u64::from(enabled));
            }
        }
        Ok((tag, status, bytes))
    }

    /// Byte lanes of a beat.
    fn lanes(lane: i32, bytes: i32) -> Result<std::ops::Range<usize>> {
        let lane = within("lane", lane, 0, BEAT_BYTES as i32 - 1)? as usize;
        let bytes = within("bytes", bytes, 1, BEAT_BYTES as i32)? as usize;
        if lane + bytes > BEAT_BYTES {
            fail!(
                Invalid,
                "{bytes} bytes from lane {lane} end at lane {}, a beat has {BEAT_BYTES}",
                lane + bytes
            );
        }
        Ok(lane..lane + bytes)
    }

    /// `acc_dma_read_beat`.
    pub fn dma_read_beat(
        &mut self,
        tag: u32,
        lane: i32,
        bytes: i32,
        beat: &mut [u8; BEAT_BYTES],
    ) -> Result<()> {
        let lanes = Self::lanes(lane, bytes)?;
        let Some(i) = self.dma.iter().position(|d| d.tag == tag && !d.write) else {
            fail!(
                Invalid,
                "tag {tag} is no DMA read; {} requests are outstanding",
                self.dma.len()
            );
        };
        let DmaState::Done {
            data,
            pos,
            announced: true,
            ..
        } = &mut self.dma[i].state
        else {
            fail!(
                State,
                "the completion of DMA read tag {tag} was not fetched with acc_get_dma_read"
            );
        };
        let left = data.len() - *pos;
        if lanes.len() > left {
            fail!(
                Invalid,
                "{} bytes of DMA read tag {tag} are asked for, {left} of {} are left",
                lanes.len(),
                data.len()
            );
        }
        let end = *pos + lanes.len();
        beat[lanes].copy_from_slice(&data[*pos..end]);
        *pos = end;
        if end == data.len() {
            self.dma.remove(i);
        }
        Ok(())
    }

    /// `acc_dma_write_begin`.
    pub fn dma_write_begin(&mut self, addr: u64) -> Result<()> {
        if self.assembly.is_some() {
            fail!(
                State,
                "acc_dma_write_begin twice, expected acc_dma_write_end in between"
            );
        }
        self.may_dma()?;
        self.assembly = Some(Assembly {
            addr,
            ..Assembly::default()
        });
        Ok(())
    }

    /// `acc_dma_write_beat`.
    pub fn dma_write_beat(
        &mut self,
        lane: i32,
        bytes: i32,
        data: &[u8; BEAT_BYTES],
        strobes: u64,
    ) -> Result<()> {
        let lanes = Self::lanes(lane, bytes)?;
        let Some(assembly) = &mut self.assembly else {
            fail!(
                State,
                "acc_dma_write_beat without acc_dma_write_begin, or after a reset"
            );
        };
        let total = assembly.data.len() + lanes.len();
        if total > MAX_DMA_BYTES as usize {
            fail!(
                Invalid,
                "the DMA write has {total} bytes with this beat, at most {MAX_DMA_BYTES} may be"
            );
        }
        assembly.data.extend_from_slice(&data[lanes.clone()]);
        assembly.enables.resize(total.div_ceil(8), 0);
        for (i, lane) in (total - lanes.len()..).zip(lanes) {
            if strobes >> lane & 1 != 0 {
                assembly.enables[i / 8] |= 1 << (i % 8);
                assembly.enabled += 1;
            }
        }
        Ok(())
    }

    /// `acc_dma_write_end`.
    pub fn dma_write_end(&mut self, c: &mut Context<'_>) -> Result<u32> {
        let Some(assembly) = self.assembly.take() else {
            fail!(
                State,
                "acc_dma_write_end without acc_dma_write_begin, or after a reset"
            );
        };
        if assembly.data.is_empty() {
            fail!(
                Invalid,
                "the DMA write has no beats, expected 1 to 4096 bytes"
            );
        }
        // `begin` has seen to it that there is a free tag. In between the link
        // can have gone down or a reset come, of which the RTL hears at its
        // next poll: until then the request is as void as all others.
        if !self.link_up || self.control.down || self.hosts.door.is_lost() || !self.session.is_up()
        {
            fail!(Link, "the link is down");
        }
        let Assembly {
            addr,
            data,
            enables,
            enabled,
        } = assembly;
        let bytes = data.len() as u32;
        if self.control.reset.is_some() {
            debug!(target: c.target, "DMA write addr {addr:#x} bytes {bytes} is void by a reset");
            return Ok(0);
        }
        let enables = (enabled != bytes).then_some(&enables[..]);
        let number = record::number();
        if self.faults.is_some() {
            if let Some(tag) = self.dma_write_fails(number, addr, bytes, c) {
                c.at(number);
                c.observe(|o| o.dma_write(number, tag, addr, &data, enables, true));
                return Ok(tag);
            }
        }
        if let Some(tag) = self.write_here(number, addr, &data, enables, enabled, c) {
            c.at(number);
            c.observe(|o| o.dma_write(number, tag, addr, &data, enables, true));
            return Ok(tag);
        }
        let before = self.out.len();
        let Some(tag) = self.session.dma_write(addr, &data, enables, &mut self.out) else {
            fail!(
                Invalid,
                "DMA write of {bytes} bytes at {addr:#x} wraps around the address space, or is \
                 more than the host takes"
            );
        };
        let fault = self.of_dma();
        self.dma.push(Dma {
            number,
            tag,
            write: true,
            addr,
            bytes,
            enabled,
            since: Moment::soon(),
            state: DmaState::Waiting,
            fault,
        });
        self.requested(before);
        c.at(number);
        c.observe(|o| o.dma_write(number, tag, addr, &data, enables, false));
        debug!(
            target: c.target,
            "tag={tag} #{number} DMA write addr {addr:#x} bytes {bytes} enabled {enabled}"
        );
        Ok(tag)
    }

    /// `acc_msix`.
    pub fn msix(&mut self, vector: i32, c: &mut Context<'_>) -> Result<()> {
        let vectors = self.vectors();
        if self.messages_are_the_rtls() {
            fail!(
                NotSupported,
                "the MSI-X table is in the RTL (acc_set_msix_in_rtl), which has to write the \
                 message itself: 4 bytes by DMA, to the address in the table"
            );
        }
        if vectors == 0 {
            fail!(
                NotSupported,
                "the function has neither MSI-X nor MSI (acc_set_msix, acc_set_msi)"
            );
        }
        let vector = within("vector", vector, 0, i32::from(vectors) - 1)? as u16;
        self.may_request()?;
        let number = record::number();
        c.at(number);
        if self.faults.is_some() && self.vector_fails(vector, number, c) {
            c.observe(|o| o.msix(number, vector));
            return Ok(());
        }
        if self.session.msix(vector, &mut self.out) {
            c.count(Stat::Msix, 1);
            c.observe(|o| o.msix(number, vector));
            debug!(target: c.target, "#{number} vector {vector}");
        }
        Ok(())
    }

    /// `acc_intx`.
    pub fn intx(&mut self, level: i32, c: &mut Context<'_>) -> Result<()> {
        if self.session.config().intx_pin == 0 {
            fail!(NotSupported, "the function has no INTx pin (acc_set_intx)");
        }
        let high = within("level", level, 0, 1)? != 0;
        let changes = self.intx != high;
        self.intx = high;
        let number = record::number();
        c.at(number);
        debug!(target: c.target, "#{number} INTx level {level}");
        c.observe(|o| o.intx(number, high));
        if changes && self.faults.is_some() {
            self.pin_fails(high, number, c);
        }
        self.tell_intx();
        Ok(())
    }

    /// Tells the level of the INTx pin if the host does not know it. Without a
    /// link, in a reset, and while the host takes no frames it has to wait.
    pub(super) fn tell_intx(&mut self) {
        let level = self.faults.as_ref().map_or(self.intx, |f| f.pin());
        if level != self.intx_told
            && self.may_request().is_ok()
            && self.session.intx(level, &mut self.out)
        {
            self.intx_told = level;
        }
    }

    /// `acc_get_reset`.
    pub fn get_reset(&mut self, c: &mut Context<'_>) -> Result<ResetKind> {
        let (Some(Announced::Reset), Some((tag, kind))) = (self.announced, self.control.reset)
        else {
            return Err(self.not_announced("acc_get_reset", "RESET"));
        };
        self.announced = None;
        self.control.reset = None;
        c.observe(Observer::reset_taken);
        self.in_reset = Some((tag, Moment::soon()));
        self.excused = false;
        self.forget();
        self.function_reset();
        Ok(kind)
    }

    /// `acc_reset_done`.
    pub fn reset_done(&mut self, c: &mut Context<'_>) -> Result<()> {
        let Some((tag, _)) = self.in_reset.take() else {
            if std::mem::take(&mut self.excused) {
                return Ok(());
            }
            fail!(State, "acc_reset_done without a reset");
        };
        debug!(target: c.target, "tag={tag} reset done");
        c.observe(Observer::reset_done);
        if !self.reset_is_late(tag, c.timing) {
            self.session.reset_done(tag, &mut self.out);
            self.tell_intx();
        }
        Ok(())
    }

    /// `acc_get_link`.
    pub fn get_link(&mut self, c: &mut Context<'_>) -> Result<bool> {
        match self.announced.take() {
            Some(Announced::Down) => {
                c.observe(Observer::link_taken);
                self.control.down = false;
                self.link_up = false;
                self.excused = true;
                self.in_reset = None;
                self.forget();
                self.function_link();
                Ok(false)
            }
            Some(Announced::Up) => {
                c.observe(Observer::link_taken);
                self.control.up = false;
                self.link_up = true;
                self.function_link();
                self.tell_intx();
                Ok(true)
            }
            other => {
                self.announced = other;
                Err(self.not_announced("acc_get_link", "LINK_UP or LINK_DOWN"))
            }
        }
    }
}
