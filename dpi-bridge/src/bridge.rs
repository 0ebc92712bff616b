// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is behind a handle: the configuration up to `acc_start`, and a [`Run`]
//! from then on.

use std::{sync::atomic::Ordering, time::Duration};

use accelerator_carrier::Wanted;
use accelerator_protocol::{
    config::MAX_CAPABILITIES,
    device::DeviceSession,
    function::Function,
    is_local,
    wire::{ResetKind, Status},
    Capability, Config, Msi, Msix,
};
use accelerator_record::{layout::Bar, Source, SourceKind};
use log::{info, warn};

use crate::{
    error::{fail, within, Code, Error, Result},
    faults,
    memory::{self, Memory},
    order::{Kind, READY_ALL},
    record::Observer,
    registry::Behind,
    run::{function::READY_FUNCTION, Context, Event, Mmio, Run, Stat, STATS},
    transport::Transport,
    vfio,
    words::{Words, LOCAL},
    BEAT_BYTES,
};

/// Name of the environment variable with the time in milliseconds after which
/// a wait is mentioned in the log; 0 turns that off.
pub const WARN_VARIABLE: &str = "ACCELERATOR_ZMQ_WARN_MS";

/// That time when the variable is not set.
pub const DEFAULT_WARN_MS: u64 = 1000;

/// The flag of a BAR in I/O space, which is known so that it can be refused with a reason.
const BAR_IO: i32 = 4;

/// Everything behind one handle.
pub struct Bridge {
    name: String,
    /// `name` as the log shows it.
    target: String,
    endpoint: String,
    config: Config,
    warn: Option<Duration>,
    shared_memory: Wanted,
    /// File of a plan of faults.
    faults: Option<String>,
    words: &'static Words,
    run: Option<Run>,
    observer: Option<Observer>,
    stats: [u64; STATS],
}

/// Reads the time after which a wait is mentioned.
///
/// # Errors
///
/// A text that names the value.
pub fn parse_warn(value: Option<&str>) -> std::result::Result<Option<Duration>, String> {
    let ms = match value.map(str::trim) {
        None | Some("") => DEFAULT_WARN_MS,
        Some(text) => text.parse().map_err(|_| {
            format!(
                "{WARN_VARIABLE} is {text:?}, expected milliseconds (0 for never); \
                 {DEFAULT_WARN_MS} is used"
            )
        })?,
    };
    Ok((ms != 0).then(|| Duration::from_millis(ms)))
}

impl Bridge {
    /// A bridge that is not started. `words` tell whether a poll has anything to
    /// do.
    pub fn new(name: &str, endpoint: String, words: &'static Words) -> Self {
        let target = format!("accelerator[{name}]");
        let value = std::env::var(WARN_VARIABLE).ok();
        let warn = parse_warn(value.as_deref()).unwrap_or_else(|text| {
            warn!(target: &target, "{text}");
            Some(Duration::from_millis(DEFAULT_WARN_MS))
        });
        // Until it is started each poll takes the slow path, to say so.
        words.attention.store(LOCAL, Ordering::Release);
        Self {
            name: name.to_owned(),
            target,
            endpoint,
            config: Config {
                link_speed: 1,
                link_width: 1,
                ..Config::default()
            },
            warn,
            shared_memory: Wanted::default(),
            faults: None,
            words,
            run: None,
            observer: None,
            stats: [0; STATS],
        }
    }

    /// The name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn setting(&mut self) -> Result<&mut Config> {
        if self.run.is_some() {
            fail!(
                State,
                "the configuration is fixed once acc_start was called"
            );
        }
        Ok(&mut self.config)
    }

    fn run(&mut self) -> Result<&mut Run> {
        match &mut self.run {
            Some(run) => Ok(run),
            None => fail!(State, "acc_start was not called yet"),
        }
    }

    /// `acc_set_id`.
    pub fn set_id(
        &mut self,
        vendor: i32,
        device: i32,
        subvendor: i32,
        subdevice: i32,
        class: i32,
        revision: i32,
    ) -> Result<()> {
        let config = self.setting()?;
        within("vendor", vendor, 1, 0xfffe)?;
        within("device", device, 0, 0xffff)?;
        within("subvendor", subvendor, 0, 0xffff)?;
        within("subdevice", subdevice, 0, 0xffff)?;
        within("class_code", class, 0, 0xff_ffff)?;
        within("revision", revision, 0, 0xff)?;
        // All in range now.
        config.vendor = vendor as u16;
        config.device = device as u16;
        config.subsystem_vendor = subvendor as u16;
        config.subsystem = subdevice as u16;
        config.class = class as u32;
        config.revision = revision as u8;
        Ok(())
    }

    /// `acc_set_bar`.
    pub fn set_bar(&mut self, bar: i32, size: i64, flags: i32, axi_base: i64) -> Result<()> {
        let config = self.setting()?;
        let index = within("bar", bar, 0, 5)? as usize;
        if flags & BAR_IO != 0 {
            fail!(
                Invalid,
                "BAR {bar} has the flag ACC_BAR_IO: I/O space is not simulated, as PCI Express \
                 asks of no endpoint to depend on it; make it a BAR of memory of 16 bytes or \
                 more with the same registers, which drivers map by pci_iomap() either way"
            );
        }
        within("flags", flags, 0, 3)?;
        let Ok(size) = u64::try_from(size) else {
            fail!(Invalid, "size of BAR {bar} is {size}, expected 0 or more");
        };
        config.bars[index] = if size == 0 {
            accelerator_protocol::Bar::default()
        } else {
            accelerator_protocol::Bar {
                size,
                // A longint is signed, an address is not: the bits count.
                axi_base: axi_base as u64,
                is_64bit: flags & 1 != 0,
                prefetchable: flags & 2 != 0,
            }
        };
        Ok(())
    }

    /// `acc_set_msix`.
    pub fn set_msix(
        &mut self,
        vectors: i32,
        table_bar: i32,
        table_offset: i32,
        pba_bar: i32,
        pba_offset: i32,
    ) -> Result<()> {
        let config = self.setting()?;
        within("vectors", vectors, 0, 2048)?;
        if vectors == 0 {
            config.msix = None;
            return Ok(());
        }
        within("table_bar", table_bar, 0, 5)?;
        within("table_offset", table_offset, 0, i32::MAX)?;
        within("pba_bar", pba_bar, 0, 5)?;
        within("pba_offset", pba_offset, 0, i32::MAX)?;
        config.msix = Some(Msix {
            vectors: vectors as u16,
            table_bar: table_bar as u8,
            pba_bar: pba_bar as u8,
            table_offset: table_offset as u32,
            pba_offset: pba_offset as u32,
            in_rtl: false,
        });
        Ok(())
    }

    /// `acc_set_msix_in_rtl`.
    pub fn set_msix_in_rtl(&mut self, in_rtl: i32) -> Result<()> {
        let config = self.setting()?;
        within("in_rtl", in_rtl, 0, 1)?;
        match &mut config.msix {
            Some(msix) => msix.in_rtl = in_rtl != 0,
            None if in_rtl != 0 => fail!(
                Invalid,
                "in_rtl is 1, and there is no MSI-X that could be in the RTL (acc_set_msix)"
            ),
            None => {}
        }
        Ok(())
    }

    /// `acc_set_msi`.
    pub fn set_msi(&mut self, vectors: i32, masking: i32) -> Result<()> {
        let config = self.setting()?;
        within("masking", masking, 0, 1)?;
        config.msi = match vectors {
            0 => None,
            1 | 2 | 4 | 8 | 16 | 32 => Some(Msi {
                vectors: vectors as u8,
                masking: masking != 0,
            }),
            _ => fail!(
                Invalid,
                "vectors is {vectors}, expected 0, 1, 2, 4, 8, 16 or 32"
            ),
        };
        Ok(())
    }

    /// `acc_add_capability`.
    pub fn add_capability(&mut self, id: i32, offset: i32, body: &[u8]) -> Result<()> {
        let config = self.setting()?;
        let count = config.capabilities.len();
        if count >= MAX_CAPABILITIES {
            fail!(
                Invalid,
                "there are {count} capabilities, which is as many as a function can have"
            );
        }
        config.capabilities.push(Capability {
            id: within("id", id, 1, 0xfe)? as u8,
            offset: within("offset", offset, 0, 0xfc)? as u8,
            body: body.to_vec(),
        });
        Ok(())
    }

    /// `acc_set_link`.
    pub fn set_link(&mut self, speed: i32, width: i32) -> Result<()> {
        let config = self.setting()?;
        within("speed", speed, 1, 6)?;
        if !matches!(width, 1 | 2 | 4 | 8 | 12 | 16 | 32) {
            fail!(
                Invalid,
                "width is {width}, expected 1, 2, 4, 8, 12, 16 or 32"
            );
        }
        config.link_speed = speed as u8;
        config.link_width = width as u8;
        Ok(())
    }

    /// `acc_set_intx`.
    pub fn set_intx(&mut self, pin: i32) -> Result<()> {
        let config = self.setting()?;
        config.intx_pin = within("pin", pin, 0, 4)? as u8;
        Ok(())
    }

    /// `acc_set_clock`.
    pub fn set_clock(&mut self, period_ps: i32) -> Result<()> {
        let config = self.setting()?;
        config.clock_period_ps = within("period_ps", period_ps, 0, i32::MAX)? as u32;
        Ok(())
    }

    /// `acc_set_shared_memory`.
    pub fn set_shared_memory(&mut self, mode: i32) -> Result<()> {
        self.setting()?;
        self.shared_memory = match within("mode", mode, 0, 2)? {
            0 => Wanted::Off,
            1 => Wanted::Auto,
            _ => Wanted::On,
        };
        Ok(())
    }

    /// `acc_set_faults`.
    pub fn set_faults(&mut self, file: &str) -> Result<()> {
        self.setting()?;
        self.faults = Some(file.to_owned());
        Ok(())
    }

    /// As a record has it.
    fn source(&self) -> Source {
        Source {
            kind: SourceKind::Function,
            name: self.name.clone(),
            vendor: self.config.vendor,
            device: self.config.device,
            clock_period_ps: self.config.clock_period_ps,
            bars: self.config.bars.map(|bar| Bar {
                size: bar.size,
                axi_base: bar.axi_base,
            }),
        }
    }

    /// `acc_start`.
    pub fn start(&mut self) -> Result<()> {
        self.setting()?;
        let variable = std::env::var(memory::VARIABLE).ok();
        let wanted = memory::wanted(self.shared_memory, variable.as_deref())
            .map_err(|e| Error::new(Code::Invalid, e))?;
        let vfio = self.endpoint.starts_with(vfio::SCHEME);
        if vfio && self.config.msix.is_some_and(|m| m.in_rtl) {
            fail!(
                Invalid,
                "the MSI-X table is in the RTL (MsixInRtl), but QEMU's vfio-user-pci, for which {} \
                 is, keeps a table of its own and lets no access to the RTL's through: use the \
                 device accelerator-pcie, or leave the table to QEMU",
                self.endpoint
            );
        }
        let wanted = match wanted {
            Wanted::On if vfio => fail!(
                Invalid,
                "shared memory is on, but QEMU's vfio-user-pci, for which {} is, knows none",
                self.endpoint
            ),
            Wanted::Auto if !is_local(&self.endpoint) => Wanted::Off,
            Wanted::On if !is_local(&self.endpoint) => fail!(
                Invalid,
                "shared memory is on, but endpoint {} is not on this machine, where it could be",
                self.endpoint
            ),
            wanted => wanted,
        };
        let session = DeviceSession::new(self.config.clone())
            .map_err(|e| Error::new(Code::Invalid, e.to_string()))?;
        let plan = faults::wanted(self.faults.as_deref())?;
        let observer = Observer::new(&self.source(), &self.target, self.words)?;
        let (words, warn) = (self.words, self.warn);
        let transport = if vfio {
            Transport::serve(&self.endpoint, &self.config, words, warn, &self.target)?
        } else {
            Transport::bind(&self.endpoint, words, warn, &self.target)?
        };
        let memory = Memory::new(wanted, &self.words.window);
        info!(
            target: &self.target,
            "function {:04x}:{:04x} waits for QEMU at {}",
            self.config.vendor, self.config.device, self.endpoint
        );
        self.observer = observer;
        self.run = Some(Run::new(transport, session, memory, &self.target));
        if let Some(plan) = plan {
            faults::set_first(&plan);
            self.with(|run, c| Ok(run.set_faults(plan, c)))?;
        }
        Ok(())
    }

    /// `acc_stat`.
    pub fn stat(&self, which: i32) -> Result<u64> {
        if which == Stat::Transaction as i32 {
            return Ok(self.words.transaction.load(Ordering::Relaxed));
        }
        match usize::try_from(which).ok().and_then(|i| self.stats.get(i)) {
            Some(&value) => Ok(value),
            None => fail!(
                Invalid,
                "which is {which}, expected 0 to {}",
                Stat::Transaction as i32
            ),
        }
    }

    /// Runs `f` on what is there from `acc_start` on, sends what it has to say
    /// and updates the attention word.
    fn with<T>(&mut self, f: impl FnOnce(&mut Run, &mut Context<'_>) -> Result<T>) -> Result<T> {
        self.run()?;
        let Some(run) = &mut self.run else {
            unreachable!("checked by the line above");
        };
        let mut context = Context {
            name: &self.name,
            target: &self.target,
            stats: &mut self.stats,
            warn: self.warn,
            attention: &self.words.attention,
            timing: &self.words.timing,
            rests: &self.words.rests,
            transaction: &self.words.transaction,
            observer: self.observer.as_mut(),
        };
        run.count_rests(&context);
        let result = f(run, &mut context);
        let flushed = run.flush(&context);
        run.publish(&context);
        let value = result?;
        flushed?;
        Ok(value)
    }

    /// `acc_get_function`.
    pub fn get_function(&mut self) -> Result<Function> {
        self.with(Run::get_function)
    }

    /// `acc_get_msi`, `acc_get_bar`.
    pub fn shown_function(&mut self) -> Result<Function> {
        self.run().map(|run| run.shown_function())
    }

    /// `acc_poll`, when the attention word says that there is work.
    pub fn poll(&mut self, ready: i32) -> Result<Event> {
        within("ready", ready, 0, (READY_ALL | READY_FUNCTION) as i32)?;
        self.words.polled.store(true, Ordering::Release);
        self.with(|run, c| run.poll(ready as u32, c))
    }

    /// `acc_get_mmio`.
    pub fn get_mmio(&mut self) -> Result<Mmio> {
        self.with(Run::get_mmio)
    }

    /// `acc_mmio_read_done`.
    pub fn mmio_read_done(&mut self, tag: u32, status: i32, data: u64) -> Result<()> {
        self.with(|run, c| run.mmio_read_done(tag, status, data, c))
    }

    /// `acc_mmio_write_done`.
    pub fn mmio_write_done(&mut self, tag: u32, status: i32) -> Result<()> {
        self.with(|run, c| run.mmio_write_done(tag, status, c))
    }

    /// `acc_dma_read`.
    pub fn dma_read(&mut self, addr: u64, bytes: i32) -> Result<u32> {
        self.with(|run, c| run.dma_read(addr, bytes, c))
    }

    /// `acc_get_dma_read`: tag, status, bytes.
    pub fn get_dma_read(&mut self) -> Result<(u32, Status, u32)> {
        self.with(|run, c| run.get_dma(Kind::DmaRead, c))
    }

    /// `acc_dma_read_beat`.
    pub fn dma_read_beat(&mut self, tag: u32, lane: i32, bytes: i32) -> Result<[u8; BEAT_BYTES]> {
        let mut beat = [0; BEAT_BYTES];
        self.run()?.dma_read_beat(tag, lane, bytes, &mut beat)?;
        Ok(beat)
    }

    /// `acc_dma_write_begin`.
    pub fn dma_write_begin(&mut self, addr: u64) -> Result<()> {
        self.run()?.dma_write_begin(addr)
    }

    /// `acc_dma_write_beat`.
    pub fn dma_write_beat(
        &mut self,
        lane: i32,
        bytes: i32,
        data: &[u8; BEAT_BYTES],
        strobes: u64,
    ) -> Result<()> {
        self.run()?.dma_write_beat(lane, bytes, data, strobes)
    }

    /// `acc_dma_write_end`.
    pub fn dma_write_end(&mut self) -> Result<u32> {
        self.with(Run::dma_write_end)
    }

    /// `acc_get_dma_write`: tag and status.
    pub fn get_dma_write(&mut self) -> Result<(u32, Status)> {
        self.with(|run, c| run.get_dma(Kind::DmaWrite, c))
            .map(|(tag, status, _)| (tag, status))
    }

    /// `acc_msix`.
    pub fn msix(&mut self, vector: i32) -> Result<()> {
        self.with(|run, c| run.msix(vector, c))
    }

    /// `acc_intx`.
    pub fn intx(&mut self, level: i32) -> Result<()> {
        self.with(|run, c| run.intx(level, c))
    }

    /// `acc_get_reset`.
    pub fn get_reset(&mut self) -> Result<ResetKind> {
        self.with(Run::get_reset)
    }

    /// `acc_reset_done`.
    pub fn reset_done(&mut self) -> Result<()> {
        self.with(Run::reset_done)
    }

    /// `acc_get_link`.
    pub fn get_link(&mut self) -> Result<bool> {
        self.with(Run::get_link)
    }
}

impl Behind for Bridge {
    const WHAT: &'static str = "bridge";
    const KIND: usize = 3;

    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn target(&self) -> &str {
        &self.target
    }

    fn close(mut self) {
        if let Some(run) = self.run.take() {
            run.close(&self.target);
            info!(
                target: &self.target,
                "closed after {} sessions, {} MMIO reads, {} MMIO writes, {} bytes read and {} \
                 bytes written by DMA, {} interrupts",
                self.stats[Stat::Sessions as usize],
                self.stats[Stat::MmioReads as usize],
                self.stats[Stat::MmioWrites as usize],
                self.stats[Stat::DmaReadBytes as usize],
                self.stats[Stat::DmaWriteBytes as usize],
                self.stats[Stat::Msix as usize],
            );
        }
    }
}
