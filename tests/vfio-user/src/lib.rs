// SPDX-License-Identifier: MIT OR Apache-2.0

//! A PCI function that a QEMU which nobody patched reaches by `vfio-user-pci`: what the
//! benchmark compares a card in RTL with. It sleeps in its socket when nothing is asked of it.
//!
//! BAR 0 has 8 KiB. Its registers are those of the bench design (`hdl/bench/bench.sv`) as far
//! as both have them, so that one driver serves both: 64 bits each, accesses of any size within
//! one of them.
//!
//! | offset | name | |
//! |---|---|---|
//! | 0x000 | ID | ro, 31:0 0x48434e42, "BNCH" |
//! | 0x008 | SCRATCH | rw |
//! | 0x018 | TICKS | ro, the host's clock ([`ticks`]) |
//! | 0x020 | DOORBELL | wo, a write takes the host's clock |
//! | 0x028 | RUNG | ro, and this is what it took |
//! | 0x030 | MSIX_GO | wo, vector 0 after so many microseconds; at once for 0 |
//! | 0x038 | MSIX_TICKS | ro, the host's clock before the last interrupt was raised |
//! | 0x090 | WRITES | ro, writes to any register since the last reset |
//!
//! The vector table is at 0x1000, the pending bits are at 0x1800; QEMU answers for both.

use std::{
    fs::File,
    io::{Error, ErrorKind, Write},
    path::Path,
    sync::{mpsc, Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use vfio_bindings::bindings::vfio::{
    vfio_region_info, VFIO_IRQ_INFO_EVENTFD, VFIO_IRQ_INFO_NORESIZE, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_NUM_IRQS, VFIO_PCI_NUM_REGIONS, VFIO_REGION_INFO_FLAG_READ,
    VFIO_REGION_INFO_FLAG_WRITE,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion};

mod config;

use config::Config;
pub use config::{DEVICE, VENDOR};

/// Size of BAR 0 in bytes.
pub const BAR_BYTES: u64 = 0x2000;

const ID: u64 = 0x000;
const SCRATCH: u64 = 0x008;
const TICKS: u64 = 0x018;
const DOORBELL: u64 = 0x020;
const RUNG: u64 = 0x028;
const MSIX_GO: u64 = 0x030;
const MSIX_TICKS: u64 = 0x038;
const WRITES: u64 = 0x090;
const ID_VALUE: u64 = 0x4843_4e42;

/// The counter of the CPU, which the guest's differs from by a constant; 0 where it is not
/// known how to read it, and nothing is measured.
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 CPU has the instruction.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let value: u64;
        // SAFETY: Linux lets programs read this register.
        unsafe { std::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) value) };
        value
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    0
}

/// Vector 0: where QEMU waits for it, and when it was raised.
#[derive(Default)]
struct Vector {
    eventfd: Option<File>,
    ticks: u64,
}

impl Vector {
    /// Without an eventfd, which is what a masked or disabled vector is, nothing happens.
    fn raise(&mut self) {
        self.ticks = ticks();
        if let Some(eventfd) = &mut self.eventfd {
            // It fails if the client has made it full or gone away, and then nobody waits.
            let _ = eventfd.write(&1_u64.to_ne_bytes());
        }
    }
}

fn lock(vector: &Mutex<Vector>) -> MutexGuard<'_, Vector> {
    vector.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// The function as a client finds it.
pub struct Function {
    config: Config,
    scratch: u64,
    rung: u64,
    writes: u64,
    vector: Arc<Mutex<Vector>>,
    /// A thread raises the vector after so long.
    later: mpsc::Sender<Duration>,
}

impl Function {
    /// As it is after a reset, with the thread for its interrupts, which ends with it.
    pub fn new() -> Result<Self, Error> {
        let vector = Arc::new(Mutex::new(Vector::default()));
        let (later, requests) = mpsc::channel();
        let raised = Arc::clone(&vector);
        thread::Builder::new()
            .name("interrupt".into())
            .spawn(move || {
                while let Ok(delay) = requests.recv() {
                    thread::sleep(delay);
                    lock(&raised).raise();
                }
            })?;
        Ok(Self {
            config: Config::new(),
            scratch: 0,
            rung: 0,
            writes: 0,
            vector,
            later,
        })
    }

    fn register(&self, offset: u64) -> u64 {
        match offset {
            ID => ID_VALUE,
            SCRATCH => self.scratch,
            TICKS => ticks(),
            RUNG => self.rung,
            MSIX_TICKS => lock(&self.vector).ticks,
            WRITES => self.writes,
            _ => 0,
        }
    }

    fn set_register(&mut self, offset: u64, value: u64) {
        self.writes += 1;
        match offset {
            SCRATCH => self.scratch = value,
            DOORBELL => self.rung = ticks(),
            MSIX_GO if value == 0 => lock(&self.vector).raise(),
            MSIX_GO => {
                // The thread is there as long as `later` is.
                let _ = self.later.send(Duration::from_micros(value & 0xffff_ffff));
            }
            _ => {}
        }
    }
}

/// The register that an access is in, and the place of its first byte there.
fn within(offset: u64, bytes: usize) -> Result<(u64, usize), Error> {
    let place = (offset % 8) as usize;
    if place + bytes > 8 || offset >= BAR_BYTES {
        return Err(refused(format!(
            "{bytes} bytes at {offset:#x} are not within a register"
        )));
    }
    Ok((offset - place as u64, place))
}

fn refused(text: String) -> Error {
    Error::new(ErrorKind::InvalidInput, text)
}

impl ServerBackend for Function {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), Error> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => self.config.read(offset, data),
            VFIO_PCI_BAR0_REGION_INDEX => {
                let (register, place) = within(offset, data.len())?;
                let value = self.register(register).to_le_bytes();
                data.copy_from_slice(&value[place..place + data.len()]);
                Ok(())
            }
            _ => Err(refused(format!("region {region} is empty"))),
        }
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<(), Error> {
        match region {
            VFIO_PCI_CONFIG_REGION_INDEX => self.config.write(offset, data),
            VFIO_PCI_BAR0_REGION_INDEX => {
                let (register, place) = within(offset, data.len())?;
                // What is not written stays, where there is something to stay.
                let mut value = match register {
                    SCRATCH => self.scratch,
                    _ => 0,
                }
                .to_le_bytes();
                value[place..place + data.len()].copy_from_slice(data);
                self.set_register(register, u64::from_le_bytes(value));
                Ok(())
            }
            _ => Err(refused(format!("region {region} is empty"))),
        }
    }

    // The function does no DMA: what it is told of guest memory is closed at once.
    fn dma_map(
        &mut self,
        _flags: DmaMapFlags,
        _offset: u64,
        _address: u64,
        _size: u64,
        _file: Option<File>,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn dma_unmap(&mut self, _flags: DmaUnmapFlags, _address: u64, _size: u64) -> Result<(), Error> {
        Ok(())
    }

    /// Registers and configuration space are as at the beginning. Who waits for the vector
    /// goes on to: QEMU takes it back in words of its own.
    fn reset(&mut self) -> Result<(), Error> {
        self.config = Config::new();
        (self.scratch, self.rung, self.writes) = (0, 0, 0);
        lock(&self.vector).ticks = 0;
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        files: Vec<File>,
    ) -> Result<(), Error> {
        // Only MSI-X is there; masks are QEMU's own.
        if index != VFIO_PCI_MSIX_IRQ_INDEX || flags & VFIO_IRQ_SET_ACTION_TRIGGER == 0 {
            return Ok(());
        }
        if start != 0 || count > 1 {
            return Err(refused(format!(
                "vectors {start} to {} are wanted, vector 0 is there",
                u64::from(start) + u64::from(count)
            )));
        }
        // An eventfd; or none, which takes it back, as no vector at all does.
        let mut vector = lock(&self.vector);
        if flags & VFIO_IRQ_SET_DATA_EVENTFD != 0 {
            vector.eventfd = files.into_iter().next();
        } else if count == 0 {
            vector.eventfd = None;
        } else {
            vector.raise();
        }
        Ok(())
    }
}

/// A server at a socket that is made there, and goes away with it.
pub fn server(socket: &Path) -> Result<Server, vfio_user::Error> {
    let regions = (0..VFIO_PCI_NUM_REGIONS)
        .map(|index| {
            let size = match index {
                VFIO_PCI_BAR0_REGION_INDEX => BAR_BYTES,
                VFIO_PCI_CONFIG_REGION_INDEX => config::BYTES as u64,
                _ => 0,
            };
            ServerRegion {
                region_info: vfio_region_info {
                    argsz: size_of::<vfio_region_info>() as u32,
                    index,
                    size,
                    flags: match size {
                        0 => 0,
                        _ => VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE,
                    },
                    ..Default::default()
                },
                sparse_areas: Vec::new(),
                mmap_fd: None,
            }
        })
        .collect();
    let irqs = (0..VFIO_PCI_NUM_IRQS)
        .map(|index| IrqInfo {
            index,
            flags: VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE,
            count: u32::from(index == VFIO_PCI_MSIX_IRQ_INDEX),
        })
        .collect();
    Server::new(socket, true, irqs, regions)
}
