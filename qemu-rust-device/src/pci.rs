// SPDX-License-Identifier: GPL-2.0-or-later

//! Safe bindings to QEMU's PCI Express devices: configuration space, BARs,
//! MSI-X, INTx and bus mastering.
//!
//! # Invariants
//!
//! The `SAFETY` comments below refer to these by number.
//!
//! 1. A [`PciDevice`] reference points to a live QOM object that is an instance
//!    of `TYPE_PCI_DEVICE`: that is what [`IsA`] promises.
//! 2. Methods that change what other threads may look at are called with the
//!    big QEMU lock held; they assert it.
//! 3. Of a device that is in the table of its bus, `config` and its masks are
//!    allocated, with `PCIE_CONFIG_SPACE_SIZE` bytes for a PCI Express device, and
//!    its address space is there: that is from before its realize method until
//!    after its exit method (`hw/pci/pci.c`, `do_pci_register_device` and
//!    `do_pci_unregister_device`), both under the big QEMU lock. An object is there
//!    before, and long after, so this is looked at and not taken for granted
//!    ([`PciDeviceMethods::on_bus`]).

use std::{
    ffi::{c_int, c_void, CStr},
    marker::PhantomData,
    ptr::NonNull,
};

use crate::{
    bindings,
    glue::{
        self, c, qom_isa, DeviceImpl, DeviceState, IsA, Object, ObjectDeref, ObjectType, Opaque,
        Result, Wrapper,
    },
};

/// A safe wrapper around `PCIDevice`.
#[repr(transparent)]
#[derive(Debug)]
pub struct PciDevice(Opaque<bindings::PCIDevice>);

// SAFETY: the struct is transparent over `Opaque` of the wrapped type.
unsafe impl Wrapper for PciDevice {
    type Wrapped = bindings::PCIDevice;
}

// SAFETY: access to the C struct is either under the big QEMU lock or by
// functions that are safe without it (invariant 2).
unsafe impl Send for PciDevice {}
// SAFETY: as above.
unsafe impl Sync for PciDevice {}

/// Virtual methods of [`PciDevice`].
pub use bindings::PCIDeviceClass as PciDeviceClass;

// SAFETY: `PCIDevice` and `PCIDeviceClass` are the instance and class structs
// of `TYPE_PCI_DEVICE`, and the wrapper does not drop its contents.
unsafe impl ObjectType for PciDevice {
    type Class = PciDeviceClass;
    const TYPE_NAME: &'static CStr = to_cstr(bindings::TYPE_PCI_DEVICE);
}

qom_isa!(PciDevice: DeviceState, Object);

/// A string constant of bindgen's as a C string, at compile time.
const fn to_cstr(bytes: &'static [u8]) -> &'static CStr {
    match CStr::from_bytes_with_nul(bytes) {
        Ok(s) => s,
        Err(_) => panic!("string constant without a final NUL"),
    }
}

/// What a PCI device type implements.
pub trait PciDeviceImpl: DeviceImpl + IsA<PciDevice> {
    /// Brings the device to life.
    const REALIZE: Option<fn(&Self) -> Result<()>> = None;
    /// Undoes `REALIZE`; called on unplug.
    const EXIT: Option<fn(&Self)> = None;
    /// The guest writes to configuration space; the default does what the
    /// registers that QEMU knows do.
    const CONFIG_WRITE: Option<fn(&Self, u32, u32, u32)> = None;
    /// The guest reads from configuration space.
    const CONFIG_READ: Option<fn(&Self, u32, u32) -> u32> = None;
}

unsafe extern "C" fn rust_realize<T: PciDeviceImpl>(
    device: *mut bindings::PCIDevice,
    errp: *mut *mut c::Error,
) {
    if let (Some(device), Some(realize)) = (
        NonNull::new(device.cast::<T>()),
        <T as PciDeviceImpl>::REALIZE,
    ) {
        // SAFETY: QEMU calls this for instances of T only (invariant 1), and
        // with a valid `errp`.
        unsafe { glue::Error::ok_or_propagate(realize(device.as_ref()), errp) };
    }
}

unsafe extern "C" fn rust_exit<T: PciDeviceImpl>(device: *mut bindings::PCIDevice) {
    if let (Some(device), Some(exit)) =
        (NonNull::new(device.cast::<T>()), <T as PciDeviceImpl>::EXIT)
    {
        // SAFETY: as in `rust_realize`.
        exit(unsafe { device.as_ref() });
    }
}

unsafe extern "C" fn rust_config_write<T: PciDeviceImpl>(
    device: *mut bindings::PCIDevice,
    address: u32,
    value: u32,
    len: c_int,
) {
    if let (Some(device), Some(write)) = (
        NonNull::new(device.cast::<T>()),
        <T as PciDeviceImpl>::CONFIG_WRITE,
    ) {
        // SAFETY: as in `rust_realize`.
        write(unsafe { device.as_ref() }, address, value, len as u32);
    }
}

unsafe extern "C" fn rust_config_read<T: PciDeviceImpl>(
    device: *mut bindings::PCIDevice,
    address: u32,
    len: c_int,
) -> u32 {
    match (
        NonNull::new(device.cast::<T>()),
        <T as PciDeviceImpl>::CONFIG_READ,
    ) {
        // SAFETY: as in `rust_realize`.
        (Some(device), Some(read)) => read(unsafe { device.as_ref() }, address, len as u32),
        _ => u32::MAX,
    }
}

impl PciDeviceClass {
    /// Fills in the virtual methods of `PCIDeviceClass` and its parents from
    /// the traits that `T` implements.
    pub fn class_init<T: PciDeviceImpl>(&mut self) {
        if <T as PciDeviceImpl>::REALIZE.is_some() {
            self.realize = Some(rust_realize::<T>);
        }
        if <T as PciDeviceImpl>::EXIT.is_some() {
            self.exit = Some(rust_exit::<T>);
        }
        if <T as PciDeviceImpl>::CONFIG_WRITE.is_some() {
            self.config_write = Some(rust_config_write::<T>);
        }
        if <T as PciDeviceImpl>::CONFIG_READ.is_some() {
            self.config_read = Some(rust_config_read::<T>);
        }
        glue::class_init::<T>(&mut self.parent_class);
    }
}

/// Interfaces of a PCI Express device type, as `TypeInfo` wants them.
#[repr(transparent)]
pub struct Interfaces([c::InterfaceInfo; 2]);

// SAFETY: the pointers are to string constants.
unsafe impl Sync for Interfaces {}

impl Interfaces {
    /// For `TypeInfo::interfaces`.
    pub const fn as_ptr(&self) -> *const c::InterfaceInfo {
        self.0.as_ptr()
    }
}

/// Only buses of PCI Express take the device.
pub static PCI_EXPRESS: Interfaces = Interfaces([
    c::InterfaceInfo {
        type_: bindings::INTERFACE_PCIE_DEVICE.as_ptr().cast(),
    },
    c::InterfaceInfo {
        type_: std::ptr::null(),
    },
]);

/// Accesses of the guest to a BAR.
pub trait Mmio: Sync {
    /// Reads `size` bytes, 1, 2, 4 or 8.
    fn read(&self, offset: u64, size: u32) -> u64;
    /// Writes `size` bytes, 1, 2, 4 or 8.
    fn write(&self, offset: u64, data: u64, size: u32);
}

unsafe extern "C" fn rust_mmio_read<T: Mmio>(opaque: *mut c_void, offset: u64, size: u32) -> u64 {
    // SAFETY: `opaque` is the `&T` that `MmioRegion::init` got, which lives as
    // long as the region.
    unsafe { &*opaque.cast::<T>() }.read(offset, size)
}

unsafe extern "C" fn rust_mmio_write<T: Mmio>(
    opaque: *mut c_void,
    offset: u64,
    data: u64,
    size: u32,
) {
    // SAFETY: as in `rust_mmio_read`.
    unsafe { &*opaque.cast::<T>() }.write(offset, data, size);
}

struct Ops<T>(PhantomData<T>);

impl<T: Mmio> Ops<T> {
    const OPS: bindings::MemoryRegionOps = {
        // SAFETY: all fields may be zero: pointers, functions and numbers.
        let mut ops: bindings::MemoryRegionOps =
            unsafe { std::mem::MaybeUninit::zeroed().assume_init() };
        ops.read = Some(rust_mmio_read::<T>);
        ops.write = Some(rust_mmio_write::<T>);
        ops.endianness = bindings::DEVICE_LITTLE_ENDIAN;
        ops.valid.min_access_size = 1;
        ops.valid.max_access_size = 8;
        ops.valid.unaligned = true;
        ops.impl_.min_access_size = 1;
        ops.impl_.max_access_size = 8;
        ops.impl_.unaligned = true;
        ops
    };
}

/// A memory region whose accesses are calls. Part of a device's instance, so
/// that it has a fixed place.
#[repr(transparent)]
pub struct MmioRegion(Opaque<c::MemoryRegion>);

// SAFETY: only functions of QEMU look inside, and they lock.
unsafe impl Send for MmioRegion {}
// SAFETY: as above.
unsafe impl Sync for MmioRegion {}

impl MmioRegion {
    /// A region that is not initialized yet.
    pub fn new() -> Self {
        // SAFETY: all zero is what QOM hands out too, and what `init` expects.
        Self(unsafe { Opaque::zeroed() })
    }

    /// Initializes the region as a child of `owner`.
    ///
    /// QEMU refuses an access to a device while another one is under way,
    /// because most devices would not stand it. Ours sleeps without the big
    /// QEMU lock, is made for several accesses at once and guards itself
    /// against those that it causes; so the region opts out.
    ///
    /// # Safety
    ///
    /// `ops` and `self` must be parts of `owner`'s instance.
    pub unsafe fn init<T: Mmio>(&self, owner: &PciDevice, ops: &T, name: &CStr, size: u64) {
        assert_locked();
        let owner: *const PciDevice = owner;
        // SAFETY: the region is zeroed memory or was finalized with an earlier
        // life of the device, and is not moved; `ops` outlives it (promised).
        unsafe {
            bindings::memory_region_init_io(
                self.0.as_mut_ptr(),
                owner.cast_mut().cast(),
                &Ops::<T>::OPS,
                std::ptr::from_ref(ops).cast_mut().cast(),
                name.as_ptr(),
                size,
            );
            (*self.0.as_mut_ptr()).disable_reentrancy_guard = true;
        }
    }
}

impl Default for MmioRegion {
    fn default() -> Self {
        Self::new()
    }
}

fn assert_locked() {
    assert!(bql_locked(), "the big QEMU lock is not held");
}

/// Whether this thread holds the big QEMU lock.
pub fn bql_locked() -> bool {
    // SAFETY: looks at a variable of this thread.
    unsafe { bindings::bql_locked() }
}

/// Takes the big QEMU lock.
fn bql_lock() {
    // SAFETY: the file name is a constant, the line for messages only.
    unsafe { bindings::bql_lock_impl(c"accelerator-pcie".as_ptr(), line!() as c_int) };
}

/// Calls `f` without the big QEMU lock, taking it back if it was held.
pub fn without_bql<R>(f: impl FnOnce() -> R) -> R {
    let locked = bql_locked();
    if locked {
        // SAFETY: this thread holds the lock.
        unsafe { bindings::bql_unlock() };
    }
    let result = f();
    if locked {
        bql_lock();
    }
    result
}

/// Calls `f` with the big QEMU lock, taking it if it is not held.
pub fn with_bql<R>(f: impl FnOnce() -> R) -> R {
    let locked = bql_locked();
    if !locked {
        bql_lock();
    }
    let result = f();
    if !locked {
        // SAFETY: this thread has just taken the lock.
        unsafe { bindings::bql_unlock() };
    }
    result
}

/// Whether the access to a memory region that this thread is in was made by its
/// vCPU itself, rather than by a device or a monitor; and if so whether it is in an
/// RCU critical section.
fn own_access() -> Option<bool> {
    let mut in_rcu = false;
    // SAFETY: looks at variables of this thread.
    let own = unsafe { bindings::cpu_access_is_own(&mut in_rcu) };
    own.then_some(in_rcu)
}

/// Whether the access to a memory region that this thread is in is its vCPU's own.
pub fn is_own_access() -> bool {
    own_access().is_some()
}

/// Calls `f` without the big QEMU lock and outside of RCU, if the access to a
/// memory region that this thread is in is its vCPU's own; `None` if it is not.
/// Neither goes away meanwhile: the region, nor the device that it is part of.
pub fn unhindered<R>(f: impl FnOnce() -> R) -> Option<R> {
    let in_rcu = own_access()?;
    Some(without_bql(|| {
        if in_rcu {
            // SAFETY: this thread is in RCU once, in a callback of a region. What the
            // caller uses after it is kept by references (`cpu_access_is_own`).
            unsafe { bindings::cpu_access_rcu_unlock() };
        }
        let result = f();
        if in_rcu {
            // SAFETY: a vCPU's thread is registered with RCU.
            unsafe { bindings::cpu_access_rcu_lock() };
        }
        result
    }))
}

/// Calls `f` under RCU. Only for threads that are registered with it.
pub fn in_rcu<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: left below.
    unsafe { bindings::cpu_access_rcu_lock() };
    let result = f();
    // SAFETY: entered above.
    unsafe { bindings::cpu_access_rcu_unlock() };
    result
}

/// Whether this thread is that of a vCPU.
pub fn in_vcpu_thread() -> bool {
    // SAFETY: looks at variables of this thread.
    unsafe { bindings::qemu_in_vcpu_thread() }
}

/// Whether the machine runs, and is not stopped or about to.
pub fn runs() -> bool {
    // SAFETY: looks at a variable.
    unsafe { bindings::runstate_is_running() }
}

/// Whether the machine runs or sleeps, since the guest has it so.
pub fn is_live() -> bool {
    // SAFETY: looks at a variable.
    runs() || unsafe { bindings::runstate_check(bindings::RUN_STATE_SUSPENDED) }
}

/// Whether somebody waits for the vCPU of this thread to stop, and the vCPU is
/// not just unplugged. To be called in the thread of a vCPU.
pub fn told_to_stop() -> bool {
    in_rcu(is_told_to_stop)
}

fn is_told_to_stop() -> bool {
    // The variable with this thread's vCPU cannot be reached from Rust, its
    // number can be any below the largest that a machine allows.
    const MOST: c_int = 4096;
    for index in 0..MOST {
        // SAFETY: walks the list of vCPUs, under RCU.
        let cpu = unsafe { bindings::qemu_get_cpu(index) };
        // SAFETY: a vCPU of the list, under RCU.
        if !cpu.is_null() && unsafe { bindings::qemu_cpu_is_self(cpu) } {
            let flag = |offset: u32| {
                // SAFETY: the offset is that of a `bool` of the struct, which
                // another thread may set; it is read as a byte, once.
                unsafe { cpu.cast::<u8>().add(offset as usize).read_volatile() != 0 }
            };
            return flag(bindings::ACCELERATOR_CPU_STOP) && !flag(bindings::ACCELERATOR_CPU_UNPLUG);
        }
    }
    false
}

/// Nothing answers at that address, or the IOMMU refused the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFault;

/// Of a request with that requester id: an interrupt controller or an IOMMU that gets a message
/// goes by it, as by that of QEMU's own messages (`msi_send_message`).
fn memtx_attrs(requester: u16) -> c::MemTxAttrs {
    let mut attrs = c::MemTxAttrs::default();
    attrs.set_requester_id(requester.into());
    attrs
}

/// The parts of a BAR's type that a device chooses.
#[derive(Clone, Copy, Debug, Default)]
pub struct BarKind {
    /// 64-bit rather than 32-bit.
    pub is_64bit: bool,
    /// Prefetchable.
    pub prefetchable: bool,
}

/// Where MSI-X keeps its structures.
#[derive(Clone, Copy)]
pub struct MsixPlace<'a> {
    /// Region of the BAR.
    pub region: &'a MmioRegion,
    /// Number of the BAR.
    pub bar: u8,
    /// Offset in it.
    pub offset: u32,
}

/// An uncorrectable error of PCI Express.
#[derive(Clone, Copy)]
pub struct Uncorrectable {
    /// Its bit in Uncorrectable Error Status.
    pub status: u32,
    /// It is one of those that are advisory as long as they are non-fatal (PCIe base
    /// spec, Advisory Non-Fatal Error Cases).
    pub advisory: bool,
}

impl Uncorrectable {
    /// Has a function note it.
    ///
    /// # Safety
    ///
    /// `function` must be a live PCI device on its bus, with the big QEMU lock held.
    pub unsafe fn report(self, function: *mut bindings::PCIDevice) {
        // SAFETY: promised.
        let source = unsafe { bindings::pci_requester_id(function) };
        let error = bindings::PCIEAERErr {
            status: self.status,
            source_id: source,
            flags: if self.advisory {
                bindings::PCIE_AER_ERR_MAYBE_ADVISORY as u16
            } else {
                0
            },
            ..Default::default()
        };
        // SAFETY: promised; the function only reads the error. It can only fail for
        // an error that does not exist, or where there is no PCI Express.
        unsafe { bindings::pcie_aer_inject_error(function, &error) };
    }
}

/// Methods of [`PciDevice`] and its subclasses.
pub trait PciDeviceMethods: ObjectDeref
where
    Self::Target: IsA<PciDevice>,
{
    /// The C object.
    fn pci(&self) -> *mut bindings::PCIDevice {
        self.as_mut_ptr::<PciDevice>().cast()
    }

    /// Whether the device is in the table of its bus (invariant 3).
    fn on_bus(&self) -> bool {
        assert_locked();
        // SAFETY: invariants 1 and 2. The bus of a device lives as long as the
        // device is on it; the device asked for is the one in the table of this
        // bus, whose number is passed.
        unsafe {
            let device = self.pci();
            let bus: *mut bindings::PCIBus = (*device).qdev.parent_bus.cast();
            match u8::try_from((*device).devfn) {
                Ok(devfn) if !bus.is_null() => {
                    let number = bindings::pci_bus_num(bus);
                    bindings::pci_find_device(bus, number, devfn) == device
                }
                _ => false,
            }
        }
    }

    /// Stops QEMU if the device is not on its bus. For methods that only make
    /// sense while it is realized or unrealized.
    fn assert_on_bus(&self) {
        assert!(self.on_bus(), "the device is not on its bus");
    }

    /// Reads a field of configuration space as it is stored, `N` bytes. Of a device
    /// that is not on its bus it is all ones, as on a bus where nobody answers.
    fn config<const N: usize>(&self, offset: usize) -> [u8; N] {
        assert!(offset + N <= bindings::PCIE_CONFIG_SPACE_SIZE as usize);
        let mut bytes = [0xff; N];
        if !self.on_bus() {
            return bytes;
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: in bounds (invariant 3). Single bytes are read, which a
            // vCPU may be writing at the same time, so the read is volatile.
            *byte = unsafe { (*self.pci()).config.add(offset + i).read_volatile() };
        }
        bytes
    }

    /// Sets a field of configuration space, whether the guest may write it or
    /// not. Nothing happens if the device is not on its bus.
    fn set_config(&self, offset: usize, bytes: &[u8]) {
        if !self.on_bus() {
            return;
        }
        assert!(offset + bytes.len() <= bindings::PCIE_CONFIG_SPACE_SIZE as usize);
        for (i, &byte) in bytes.iter().enumerate() {
            // SAFETY: in bounds (invariant 3) and under the lock.
            unsafe { (*self.pci()).config.add(offset + i).write_volatile(byte) };
        }
    }

    /// Registers a BAR.
    fn register_bar(&self, number: u8, kind: BarKind, region: &MmioRegion) {
        self.assert_on_bus();
        let mut attributes = bindings::PCI_BASE_ADDRESS_SPACE_MEMORY;
        if kind.is_64bit {
            attributes |= bindings::PCI_BASE_ADDRESS_MEM_TYPE_64;
        }
        if kind.prefetchable {
            attributes |= bindings::PCI_BASE_ADDRESS_MEM_PREFETCH;
        }
        // SAFETY: invariants 1 and 2; the region belongs to the device.
        unsafe {
            bindings::pci_register_bar(
                self.pci(),
                c_int::from(number),
                attributes as u8,
                region.0.as_mut_ptr(),
            );
        }
    }

    /// Adds a capability of `size` bytes at `offset`, and returns its place.
    ///
    /// # Errors
    ///
    /// QEMU's, if something is there already.
    fn add_capability(&self, id: u8, offset: u8, size: u8) -> Result<u8> {
        self.assert_on_bus();
        // QEMU would look for a place, and end if there is none.
        assert!(offset != 0);
        // SAFETY: invariants 1 and 2; the function sets the error or not.
        let place = unsafe {
            glue::with_errp(|errp| bindings::pci_add_capability(self.pci(), id, offset, size, errp))
        }?;
        u8::try_from(place).map_err(|_| {
            glue::error(format!(
                "capability {id:#04x} of {size} bytes does not fit at {offset:#04x}"
            ))
        })
    }

    /// Adds the power management capability at `offset`.
    ///
    /// # Errors
    ///
    /// QEMU's, if something is there already.
    fn init_power_management(&self, offset: u8) -> Result<()> {
        self.assert_on_bus();
        // Not `pci_pm_init`, with which QEMU takes the BARs away in D3hot: nobody
        // answers then, and the guest reads zeros where hardware has all ones.
        const ID: u8 = bindings::PCI_CAP_ID_PM as u8;
        const SIZE: u8 = bindings::PCI_PM_SIZEOF as u8;
        let place = usize::from(self.add_capability(ID, offset, SIZE)?);
        // Version 3 of the interface, as PCI Express asks for.
        self.set_config(place + bindings::PCI_PM_PMC as usize, &3u16.to_le_bytes());
        // D3hot can be entered, and left without losing state.
        let control = place + bindings::PCI_PM_CTRL as usize;
        self.set_config(
            control,
            &(bindings::PCI_PM_CTRL_NO_SOFT_RESET as u16).to_le_bytes(),
        );
        // SAFETY: `wmask` is as long as `config` (invariant 3), and `control`
        // lies within a capability that was just placed there.
        unsafe {
            *(*self.pci()).wmask.add(control) |= bindings::PCI_PM_CTRL_STATE_MASK as u8;
        }
        Ok(())
    }

    /// Adds the PCI Express capability of an endpoint at `offset`, with function
    /// level reset and error reporting, and returns its place.
    ///
    /// # Errors
    ///
    /// If something is there already.
    fn init_express(&self, offset: u8) -> Result<usize> {
        self.assert_on_bus();
        // SAFETY: invariants 1 and 2.
        let place = unsafe { bindings::pcie_endpoint_cap_init(self.pci(), offset) };
        let place = usize::try_from(place)
            .map_err(|_| glue::error("no room for the PCI Express capability".into()))?;
        // SAFETY: the capability was just added.
        unsafe {
            bindings::pcie_cap_flr_init(self.pci());
            bindings::pcie_cap_deverr_init(self.pci());
        }
        Ok(place)
    }

    /// Removes the PCI Express capability.
    fn exit_express(&self) {
        self.assert_on_bus();
        // SAFETY: invariants 1 and 2; harmless if there is none.
        unsafe { bindings::pcie_cap_exit(self.pci()) };
    }

    /// Adds Advanced Error Reporting at `offset` of extended config space.
    ///
    /// # Errors
    ///
    /// QEMU's.
    fn init_aer(&self, offset: u16) -> Result<()> {
        self.assert_on_bus();
        // SAFETY: invariants 1 and 2.
        unsafe {
            glue::with_errp(|errp| {
                bindings::pcie_aer_init(
                    self.pci(),
                    bindings::PCI_ERR_VER as u8,
                    offset,
                    bindings::PCI_ERR_SIZEOF as u16,
                    errp,
                )
            })
        }
        .map(drop)
    }

    /// Releases what Advanced Error Reporting holds.
    fn exit_aer(&self) {
        self.assert_on_bus();
        // SAFETY: invariants 1 and 2.
        unsafe {
            bindings::pcie_aer_exit(self.pci());
            // Freed, and without room nothing is recorded there any more.
            (*self.pci()).exp.aer_log.log = std::ptr::null_mut();
            (*self.pci()).exp.aer_log.log_max = 0;
            (*self.pci()).exp.aer_log.log_num = 0;
        }
    }

    /// Records an error in Advanced Error Reporting, and sends the message for it if
    /// the guest lets it (PCIe base spec, Error Signaling and Logging). No header is
    /// logged: of a completion timeout the device does not claim to be capable of it
    /// (Completion Timeout Prefix/Header Log Capable), and of requests QEMU has none.
    fn report_error(&self, error: Uncorrectable) {
        if self.on_bus() {
            // SAFETY: invariants 1 and 2.
            unsafe { error.report(self.pci()) };
        }
    }

    /// Records a Completion Timeout.
    fn completion_timeout_error(&self) {
        self.report_error(Uncorrectable {
            status: bindings::PCI_ERR_UNC_COMP_TIME,
            advisory: false,
        });
    }

    /// What QEMU does on a write to configuration space, PCI Express and
    /// Advanced Error Reporting included.
    fn default_config_write(&self, address: u32, value: u32, len: u32) {
        if !self.on_bus() {
            return;
        }
        let len = len as c_int;
        // SAFETY: invariants 1 and 2.
        unsafe {
            bindings::pci_default_write_config(self.pci(), address, value, len);
            bindings::pcie_cap_flr_write_config(self.pci(), address, value, len);
            bindings::pcie_aer_write_config(self.pci(), address, value, len);
        }
    }

    /// What QEMU does on a read from configuration space; all ones if the device is
    /// not on its bus.
    fn default_config_read(&self, address: u32, len: u32) -> u32 {
        if !self.on_bus() {
            return u32::MAX;
        }
        // SAFETY: invariants 1 and 2.
        unsafe { bindings::pci_default_read_config(self.pci(), address, len as c_int) }
    }

    /// Adds MSI-X at `offset` with `vectors` vectors, all of them usable.
    ///
    /// # Errors
    ///
    /// QEMU's; the machine may not support message signalled interrupts.
    fn init_msix(
        &self,
        offset: u8,
        vectors: u16,
        table: MsixPlace<'_>,
        pba: MsixPlace<'_>,
    ) -> Result<()> {
        self.assert_on_bus();
        // SAFETY: invariants 1 and 2; both regions are BARs of the device. The
        // number of vectors has another width in some releases.
        #[allow(clippy::useless_conversion)]
        let result = unsafe {
            glue::with_errp(|errp| {
                bindings::msix_init(
                    self.pci(),
                    vectors.into(),
                    table.region.0.as_mut_ptr(),
                    table.bar,
                    table.offset,
                    pba.region.0.as_mut_ptr(),
                    pba.bar,
                    pba.offset,
                    offset,
                    errp,
                )
            })
        }?;
        if result < 0 {
            return Err(glue::error(format!(
                "MSI-X cannot be set up: {}",
                std::io::Error::from_raw_os_error(-result)
            )));
        }
        for vector in 0..u32::from(vectors) {
            // SAFETY: in range of what was just made.
            unsafe { bindings::msix_vector_use(self.pci(), vector) };
        }
        Ok(())
    }

    /// Adds MSI-X at `offset` whose table and pending bits are the device's own: `table` and `pba`
    /// are offset and number of a BAR, as in their registers. The guest may set MSI-X Enable and
    /// Function Mask; QEMU does nothing else with it.
    ///
    /// # Errors
    ///
    /// The machine does not support message signalled interrupts.
    fn init_own_msix(&self, offset: u8, vectors: u16, table: u32, pba: u32) -> Result<()> {
        const ID: u8 = 0x11;
        const SIZE: u8 = 12;
        // MSI-X Enable and Function Mask, in the upper byte of Message Control.
        const WRITABLE: u8 = 0xc0;
        // SAFETY: a variable that the machine sets when it is made.
        if !unsafe { bindings::msi_nonbroken } {
            return Err(glue::error(
                "MSI-X cannot be set up: the machine has no message signalled interrupts".into(),
            ));
        }
        let place = usize::from(self.add_capability(ID, offset, SIZE)?);
        self.set_config(place + 2, &(vectors - 1).to_le_bytes());
        self.set_config(place + 4, &table.to_le_bytes());
        self.set_config(place + 8, &pba.to_le_bytes());
        // SAFETY: `wmask` is as long as `config` (invariant 3), and the byte lies within a
        // capability that was just placed there.
        unsafe { *(*self.pci()).wmask.add(place + 3) |= WRITABLE };
        Ok(())
    }

    /// Removes MSI-X.
    fn exit_msix(&self, table: &MmioRegion, pba: &MmioRegion) {
        self.assert_on_bus();
        // SAFETY: invariants 1 and 2; these are the regions it was made with.
        unsafe {
            bindings::msix_unuse_all_vectors(self.pci());
            bindings::msix_uninit(self.pci(), table.0.as_mut_ptr(), pba.0.as_mut_ptr());
        }
    }

    /// Raises a vector of MSI-X: sends its message, or marks it pending if it is
    /// masked, or MSI-X is not enabled. Nothing happens if the device has no MSI-X, or is
    /// not on its bus.
    ///
    /// # Errors
    ///
    /// How many vectors there are, if this is none of them.
    fn msix_notify(&self, vector: u16) -> std::result::Result<(), u16> {
        if !self.on_bus() {
            return Ok(());
        }
        // SAFETY: invariants 1 to 3. The C function asserts the range, so it
        // is checked before; without MSI-X it is empty.
        unsafe {
            // At most 2048.
            let vectors = (*self.pci()).msix_entries_nr as u16;
            if vector < vectors {
                bindings::msix_notify(self.pci(), u32::from(vector));
            } else if vectors != 0 {
                return Err(vectors);
            }
        }
        Ok(())
    }

    /// Drives the INTx pin, if the device has one and is on its bus.
    fn set_intx(&self, level: bool) {
        assert_locked();
        // SAFETY: invariants 1 and 2. The C function asserts the pin number,
        // so it is checked before.
        unsafe {
            let pin = self.config::<1>(bindings::PCI_INTERRUPT_PIN as usize)[0];
            if matches!(pin, 1..=4) {
                bindings::pci_set_irq(self.pci(), c_int::from(level));
            }
        }
    }

    /// The address space that the device accesses memory in, in which there is some only while
    /// Bus Master Enable is set.
    fn bus_master_space(&self) -> *mut bindings::AddressSpace {
        // SAFETY: invariant 1. Only the address is taken.
        unsafe { std::ptr::addr_of_mut!((*self.pci()).bus_master_as) }
    }

    /// Whether an IOMMU translates what the device accesses. Then the big QEMU
    /// lock must be held for it: a fault is an interrupt, which the IOMMU models
    /// send at once, and TCG's interrupt controller asserts the lock.
    fn is_behind_iommu(&self) -> bool {
        // SAFETY: invariant 1. The alias is set when the machine is complete, or
        // when the device is plugged in later, and does not change after that; the
        // root of the system's memory never does.
        unsafe {
            let target = (*self.pci()).bus_master_enable_region.alias;
            target != (*std::ptr::addr_of!(bindings::address_space_memory)).root
        }
    }

    /// Reads guest memory through the device's own address space, with that requester id.
    /// Needs no lock but behind an IOMMU.
    ///
    /// # Errors
    ///
    /// Nothing answers there.
    ///
    /// # Safety
    ///
    /// The device is on its bus (invariant 3), or was when the RCU read section
    /// began that this thread is in: QEMU takes the address space down after it.
    unsafe fn dma_read(
        &self,
        requester: u16,
        address: u64,
        data: &mut [u8],
    ) -> std::result::Result<(), DmaFault> {
        // SAFETY: invariant 1, and the address space is there (promised); the
        // function locks and reads under RCU by itself, and `data` is valid for its
        // length.
        let result = unsafe {
            bindings::address_space_read_full(
                std::ptr::addr_of_mut!((*self.pci()).bus_master_as),
                address,
                memtx_attrs(requester),
                data.as_mut_ptr().cast(),
                data.len() as u64,
            )
        };
        memtx(result)
    }

    /// Writes guest memory through the device's own address space, with that requester id: a
    /// message for an interrupt controller is such a write too. Needs no lock but behind an IOMMU.
    ///
    /// # Errors
    ///
    /// As for [`PciDeviceMethods::dma_read`].
    ///
    /// # Safety
    ///
    /// As for [`PciDeviceMethods::dma_read`].
    unsafe fn dma_write(
        &self,
        requester: u16,
        address: u64,
        data: &[u8],
    ) -> std::result::Result<(), DmaFault> {
        // SAFETY: as in `dma_read`.
        let result = unsafe {
            bindings::address_space_write(
                std::ptr::addr_of_mut!((*self.pci()).bus_master_as),
                address,
                memtx_attrs(requester),
                data.as_ptr().cast(),
                data.len() as u64,
            )
        };
        memtx(result)
    }
}

impl<R: ObjectDeref> PciDeviceMethods for R where R::Target: IsA<PciDevice> {}

fn memtx(result: bindings::MemTxResult) -> std::result::Result<(), DmaFault> {
    if result == bindings::MEMTX_OK {
        Ok(())
    } else {
        Err(DmaFault)
    }
}
