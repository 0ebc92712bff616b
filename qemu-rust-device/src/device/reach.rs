// SPDX-License-Identifier: GPL-2.0-or-later

//! Which memory of the machine the simulator may reach by itself.
//!
//! QEMU tells of each change of the device's own address space, in which there is memory only
//! while Bus Master Enable is set. What counts is RAM that is a shared file, sealed against
//! shrinking, of which nobody wants to know who writes there. Behind an IOMMU there is nothing.

use std::{
    ffi::c_int,
    fmt,
    os::fd::BorrowedFd,
    ptr::NonNull,
    sync::{atomic::Ordering, Arc},
    time::Instant,
};

use accelerator_carrier::reach::{check_sealed, PAGE};
use accelerator_protocol::limit::Limit;
use log::{info, warn};

use super::AcceleratorPcie;
use crate::{
    bindings, code,
    glue::{c, Opaque},
    link::direct::{Area, Shareable},
    pci::PciDeviceMethods,
};

/// Is called when memory changes.
#[repr(C)]
pub(super) struct Listener {
    listener: Opaque<bindings::MemoryListener>,
    device: NonNull<AcceleratorPcie>,
}

/// Memory as the device finds it.
struct Section {
    region: NonNull<c::MemoryRegion>,
    offset: u64,
    address: u64,
    bytes: u64,
    readonly: bool,
    /// Somebody wants to know of each write.
    watched: bool,
}

/// Memory of the device's address space.
#[derive(Default)]
pub(super) struct Memory {
    sections: Vec<Section>,
    /// All writes are to be known.
    all_watched: bool,
    changed: bool,
    /// Why nothing can be reached, if that is so.
    why: Why,
    told: bool,
    /// Lines about marks: a guest can have them made again and again.
    unmarked: Limit,
}

/// Why a simulator cannot reach guest memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none that the device may access.
    #[default]
    None,
    /// It does not lie in a file that others may have.
    Private,
    /// The file can be made shorter.
    Unsealed,
    /// An IOMMU translates.
    Iommu,
    /// The user does not want it.
    Off,
    /// The system has refused something.
    System,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "the guest does not let the device access memory",
            Self::Private => {
                "guest memory is not shared; for DMA without messages add -object \
                 memory-backend-memfd,id=ram,size=SIZE,share=on -machine memory-backend=ram"
            }
            Self::Unsealed => {
                "the file of guest memory can be made shorter; for DMA without messages take \
                 -object memory-backend-memfd,share=on"
            }
            Self::Iommu => "an IOMMU translates for the device",
            Self::Off => "direct-dma is off",
            Self::System => "the system has no memory or descriptors for it",
        })
    }
}

/// Whether a mask of QEMU's clients of dirty memory has another than TCG's code, which is
/// taken care of otherwise.
fn is_watched(mask: c_int) -> bool {
    mask & !(1 << bindings::DIRTY_MEMORY_CODE) != 0
}

impl Memory {
    /// What can be reached of a section. `files` are those of the other sections, by QEMU's
    /// descriptors.
    fn area(
        &self,
        i: usize,
        files: &mut Vec<(c_int, Arc<Shareable>)>,
        marks: Option<&Arc<Shareable>>,
    ) -> Result<Area, Why> {
        let Section {
            region,
            offset,
            address,
            bytes,
            readonly,
            watched,
        } = self.sections[i];
        if watched || self.all_watched {
            return Err(Why::None);
        }
        // SAFETY: QEMU has listed the region, and it is RAM (`add`).
        let (fd, begin, ram, shared) = unsafe {
            let region = region.as_ptr();
            let block = (*region).ram_block;
            (
                bindings::memory_region_get_fd(region),
                bindings::qemu_ram_get_fd_offset(block.cast()) as u64,
                bindings::memory_region_get_ram_addr(region) as u64 + offset,
                bindings::qemu_ram_is_shared(block.cast()),
            )
        };
        if fd < 0 || !shared {
            return Err(Why::Private);
        }
        // SAFETY: the descriptor is that of a RAM block, which is there.
        let theirs = unsafe { BorrowedFd::borrow_raw(fd) };
        check_sealed(theirs).map_err(|_| Why::Unsealed)?;
        let known = files.iter().find(|(known, _)| *known == fd);
        let file = match known {
            Some((_, file)) => Arc::clone(file),
            None => {
                let ours = theirs.try_clone_to_owned().and_then(Shareable::new);
                let ours = ours.map_err(|_| Why::System)?;
                files.push((fd, Arc::clone(&ours)));
                ours
            }
        };
        let offset = begin + offset;
        if (address | bytes | offset | ram) % PAGE != 0 || ram + bytes > code::LIMIT {
            return Err(Why::None);
        }
        Ok(Area {
            address,
            bytes,
            file,
            offset,
            writable: !readonly,
            marks: marks.map(|file| (Arc::clone(file), ram / PAGE)),
        })
    }

    /// All that the device of this name can have reached, and why nothing can be.
    fn areas(&mut self, name: &str) -> Vec<Area> {
        self.why = Why::None;
        let marks = match code::marks() {
            Ok(marks) => marks,
            Err(e) => {
                if let Some(note) = self.unmarked.admit(Instant::now()) {
                    warn!("{name}: no memory for marks of translated code: {e}{note}");
                }
                self.why = Why::System;
                return Vec::new();
            }
        };
        let (mut areas, mut files) = (Vec::new(), Vec::new());
        // The largest that cannot be reached says why.
        let mut largest = 0;
        for i in 0..self.sections.len() {
            match self.area(i, &mut files, marks.as_ref()) {
                Ok(area) => areas.push(area),
                Err(why) if self.sections[i].bytes > largest => {
                    largest = self.sections[i].bytes;
                    self.why = why;
                }
                Err(_) => {}
            }
        }
        if !areas.is_empty() {
            // That the firmware's ROM, say, is no file is no reason.
            self.why = Why::None;
        }
        areas
    }
}

impl AcceleratorPcie {
    /// Begins to follow the memory of the device, when the device is realized.
    pub(super) fn watch_memory(&self) {
        let mut memory = self.memory.borrow_mut();
        *memory = Memory::default();
        drop(memory);
        if !self.direct_dma {
            self.memory.borrow_mut().why = Why::Off;
            return;
        }
        let listener = self.listener.listener.as_mut_ptr();
        // SAFETY: undone in `forget_memory`, before the device and its address space go away;
        // the lock is held.
        unsafe {
            *listener = bindings::MemoryListener {
                commit: Some(commit),
                region_add: Some(region_add),
                region_del: Some(region_del),
                log_start: Some(log_changed),
                log_stop: Some(log_changed),
                log_global_start: Some(log_global_start),
                log_global_stop: Some(log_global_stop),
                name: c"accelerator-pcie".as_ptr(),
                ..bindings::MemoryListener::default()
            };
            bindings::memory_listener_register(listener, self.bus_master_space());
        }
    }

    /// Follows it no more.
    pub(super) fn forget_memory(&self) {
        if self.direct_dma {
            // SAFETY: it was registered in `watch_memory`; the lock is held.
            unsafe { bindings::memory_listener_unregister(self.listener.listener.as_mut_ptr()) };
        }
        *self.memory.borrow_mut() = Memory::default();
    }

    /// Prepares the listener, before anybody can look.
    ///
    /// # Safety
    ///
    /// `device` is being initialized.
    pub(super) unsafe fn init_listener(device: NonNull<Self>) -> Listener {
        // SAFETY: promised; a listener is data, for which zero is right until it is registered.
        let listener = unsafe { Opaque::zeroed() };
        Listener { listener, device }
    }

    /// What the simulator reaches, for users.
    pub(super) fn reached(&self) -> String {
        let why = self.memory.borrow().why;
        match self.link().and_then(|link| link.reached()) {
            Some((bytes, areas)) => format!("mapped: {} MiB in {areas} areas", bytes >> 20),
            None if why == Why::None && self.bus_master.load(Ordering::Relaxed) => {
                "not mapped: the session does not go through shared memory".into()
            }
            None => format!("not mapped: {why}"),
        }
    }

    /// The memory has changed, or whether the device is awake.
    pub(super) fn memory_changed(&self) {
        let Some(link) = self.link().filter(|_| self.direct_dma) else {
            return;
        };
        let mut memory = self.memory.borrow_mut();
        let mut areas = memory.areas(&self.id());
        if self.is_behind_iommu() {
            areas.clear();
            memory.why = Why::Iommu;
        }
        if self.asleep.load(Ordering::Relaxed) {
            areas.clear();
            memory.why = Why::None;
        }
        let hint = areas.is_empty() && matches!(memory.why, Why::Private | Why::Unsealed);
        if hint && !std::mem::replace(&mut memory.told, true) {
            info!("{}: {}", self.id(), memory.why);
        }
        drop(memory);
        link.reach(areas);
    }
}

/// # Safety
///
/// `listener` is one that `watch_memory` has registered, of a device that is there.
unsafe fn device<'a>(listener: *mut bindings::MemoryListener) -> &'a AcceleratorPcie {
    // SAFETY: the listener is the first field of a `Listener` (promised).
    unsafe { (*listener.cast::<Listener>()).device.as_ref() }
}

unsafe extern "C" fn region_add(
    listener: *mut bindings::MemoryListener,
    section: *mut bindings::MemoryRegionSection,
) {
    // SAFETY: QEMU calls with what was registered, and with a section that is valid meanwhile.
    let (device, section) = unsafe { (device(listener), &*section) };
    let Some(region) = NonNull::new(section.mr) else {
        return;
    };
    // SAFETY: as above.
    let (ram, mask) = unsafe {
        let region = region.as_ptr();
        let ram = (*region).ram && !(*region).rom_device && !(*region).ram_device;
        let mask = bindings::memory_region_get_dirty_log_mask(region);
        (ram && (*region).rdm.is_null(), mask)
    };
    if !ram {
        return;
    }
    let mut memory = device.memory.borrow_mut();
    memory.changed = true;
    memory.sections.push(Section {
        region,
        offset: section.offset_within_region,
        address: section.offset_within_address_space,
        bytes: section.size as u64,
        // SAFETY: as above.
        readonly: section.readonly || unsafe { (*region.as_ptr()).readonly },
        watched: is_watched(mask.into()),
    });
}

unsafe extern "C" fn region_del(
    listener: *mut bindings::MemoryListener,
    section: *mut bindings::MemoryRegionSection,
) {
    // SAFETY: as in `region_add`.
    let (device, section) = unsafe { (device(listener), &*section) };
    let mut memory = device.memory.borrow_mut();
    let before = memory.sections.len();
    memory.sections.retain(|s| {
        s.address != section.offset_within_address_space || s.bytes != section.size as u64
    });
    memory.changed |= memory.sections.len() != before;
}

unsafe extern "C" fn log_changed(
    listener: *mut bindings::MemoryListener,
    section: *mut bindings::MemoryRegionSection,
    _old: c_int,
    new: c_int,
) {
    // SAFETY: as in `region_add`.
    let (device, section) = unsafe { (device(listener), &*section) };
    let mut memory = device.memory.borrow_mut();
    memory.changed = true;
    for s in &mut memory.sections {
        if s.address == section.offset_within_address_space {
            s.watched = is_watched(new);
        }
    }
}

unsafe extern "C" fn log_global_start(
    listener: *mut bindings::MemoryListener,
    _errp: *mut *mut c::Error,
) -> bool {
    // SAFETY: as in `region_add`.
    let device = unsafe { device(listener) };
    device.memory.borrow_mut().all_watched = true;
    device.memory_changed();
    true
}

unsafe extern "C" fn log_global_stop(listener: *mut bindings::MemoryListener) {
    // SAFETY: as in `region_add`.
    let device = unsafe { device(listener) };
    device.memory.borrow_mut().all_watched = false;
    device.memory_changed();
}

unsafe extern "C" fn commit(listener: *mut bindings::MemoryListener) {
    // SAFETY: as in `region_add`.
    let device = unsafe { device(listener) };
    let changed = std::mem::take(&mut device.memory.borrow_mut().changed);
    if changed {
        device.memory_changed();
    }
}
