// SPDX-License-Identifier: GPL-2.0-or-later

//! Plugging a device in again by itself, when the simulator has become another
//! card or somebody asks for it.
//!
//! The guest is asked to release the device as `device_del` asks it, over ACPI
//! or the registers of the slot, whichever the machine uses. When it has, the
//! device is made anew with the same id and properties, as `device_add` does.
//!
//! It can be called off at any time: before the guest has released the device with
//! its property or by a `device_del`, after that with a property of the machine.
//!
//! Everything here runs in the main thread with the big QEMU lock held, except the
//! look for a simulator: names are resolved and connections made by a thread of
//! their own, which knows nothing of QEMU.

use std::{
    ffi::{c_char, c_int, c_void, CStr, CString},
    net::{TcpStream, ToSocketAddrs},
    os::unix::net::UnixStream,
    ptr::NonNull,
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering},
        Arc,
    },
    time::Duration,
};

use accelerator_carrier::threads;
use log::{error, info, warn};

use crate::{
    bindings,
    glue::{c, error, with_errp, Result},
    pci::{with_bql, Uncorrectable},
};

/// Between the end of the old device and the new one. A guest that has powered
/// a slot off looks at it once more; a card that is there again by then would
/// be taken for one whose button was pressed to remove it.
const PAUSE_MS: u32 = 500;

/// Attempts to make the device anew before it is left to the user.
const ATTEMPTS: u32 = 5;

/// Devices that are to be made anew.
static WAITING: AtomicU32 = AtomicU32::new(0);

/// How often that was called off. What was scheduled before is not made anew.
static CALLED_OFF: AtomicU32 = AtomicU32::new(0);

/// Property of the machine: whether a device is to be made anew.
const PROPERTY: &CStr = c"accelerator-pcie-replug";

/// A thread that looks for a simulator.
struct Lookout {
    endpoint: String,
    /// It has looked once at least.
    looked: AtomicBool,
    /// Somebody listens.
    found: AtomicBool,
    /// Nobody wants to know any more.
    over: AtomicBool,
}

impl Lookout {
    /// Begins to look. `None` if there can be no thread now.
    fn begin(endpoint: &str) -> Option<Arc<Self>> {
        let lookout = Arc::new(Self {
            endpoint: endpoint.to_owned(),
            looked: AtomicBool::new(false),
            found: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let there = Arc::clone(&lookout);
        threads::spawn("acc-lookout", move || there.look())
            .ok()
            .map(|_| lookout)
    }

    fn look(&self) {
        while !self.over.load(Ordering::Relaxed) {
            if somebody_listens(&self.endpoint) {
                self.found.store(true, Ordering::Relaxed);
                return;
            }
            self.looked.store(true, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(PAUSE_MS.into()));
        }
    }
}

/// What a device was made with.
pub struct Again {
    name: String,
    endpoint: String,
    options: NonNull<bindings::QDict>,
    attempts: u32,
    told: bool,
    lookout: Option<Arc<Lookout>>,
    /// Of [`CALLED_OFF`] when it was scheduled.
    epoch: u32,
}

impl Drop for Again {
    fn drop(&mut self) {
        self.look_no_more();
        // SAFETY: the reference is ours.
        unsafe { bindings::qdict_unref(self.options.as_ptr()) };
    }
}

impl Again {
    /// Takes down type, bus, id and properties of a realized device.
    ///
    /// # Errors
    ///
    /// The device is on no bus.
    ///
    /// # Safety
    ///
    /// `device` must be a live device of type `driver`.
    pub unsafe fn of(
        device: *mut c::DeviceState,
        driver: &CStr,
        name: String,
        endpoint: String,
    ) -> Result<Self> {
        // SAFETY: the device is alive (promised), so are its bus, id and class;
        // each string is copied by the callee. `qdict_put_obj` takes the
        // reference that `object_property_get_qobject` returns.
        unsafe {
            let bus = (*device).parent_bus;
            if bus.is_null() || (*bus).name.is_null() {
                return Err(error("the device is on no bus".into()));
            }
            let Some(options) = NonNull::new(bindings::qdict_new()) else {
                return Err(error("no memory".into()));
            };
            let again = Self {
                name,
                endpoint,
                options,
                attempts: 0,
                told: false,
                lookout: None,
                epoch: 0,
            };
            let options = options.as_ptr();
            bindings::qdict_put_str(options, c"driver".as_ptr(), driver.as_ptr());
            bindings::qdict_put_str(options, c"bus".as_ptr(), (*bus).name);
            if !(*device).id.is_null() {
                bindings::qdict_put_str(options, c"id".as_ptr(), (*device).id);
            }
            let object: *mut c::Object = device.cast();
            let mut class = (*object).class;
            while !class.is_null() {
                let device_class: *mut c::DeviceClass = class.cast();
                for i in 0..usize::from((*device_class).props_count_) {
                    let property = (*device_class).props_.add(i);
                    if (*(*property).info).set.is_none() {
                        continue;
                    }
                    let name = (*property).name;
                    let Ok(value) =
                        with_errp(|errp| bindings::object_property_get_qobject(object, name, errp))
                    else {
                        // Some can only be set.
                        continue;
                    };
                    bindings::qdict_put_obj(options, name, value);
                    // How a string that was never set reads.
                    let text = bindings::qdict_get_try_str(options, name);
                    if !text.is_null() && *text == 0 {
                        bindings::qdict_del(options, name);
                    }
                }
                class = bindings::object_class_get_parent(class);
                if class.is_null() || is_plain_device(class) {
                    break;
                }
            }
            // The one property that can be set later, and so is none of these.
            let name = c"sim-clock".as_ptr();
            if let Ok(value) =
                with_errp(|errp| bindings::object_property_get_qobject(object, name, errp))
            {
                bindings::qdict_put_obj(options, name, value);
            }
            Ok(again)
        }
    }

    /// Makes the device anew in a moment, when the simulator is there.
    pub fn schedule(mut self) {
        offer_to_call_off();
        self.epoch = CALLED_OFF.load(Ordering::Relaxed);
        WAITING.fetch_add(1, Ordering::Relaxed);
        let again = Box::into_raw(Box::new(self));
        // SAFETY: `plug_again` takes the box back when it is done.
        unsafe { bindings::g_timeout_add(PAUSE_MS, Some(plug_again), again.cast()) };
    }

    fn look_no_more(&mut self) {
        if let Some(lookout) = self.lookout.take() {
            lookout.over.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody was seen to listen at the endpoint.
    fn somebody_was_seen(&mut self) -> bool {
        if self.lookout.is_none() {
            self.lookout = Lookout::begin(&self.endpoint);
        }
        let Some(lookout) = &self.lookout else {
            return false;
        };
        if lookout.found.load(Ordering::Relaxed) {
            self.look_no_more();
            return true;
        }
        if lookout.looked.load(Ordering::Relaxed) && !self.told {
            self.told = true;
            warn!(
                "{}: nobody listens at {}; the device is plugged in again when somebody does",
                self.name, self.endpoint
            );
        }
        false
    }

    /// Whether this is over: the device is there, or never will be.
    fn attempt(&mut self) -> bool {
        // SAFETY: looks at a variable.
        if unsafe { bindings::qemu_shutdown_requested_get() } != bindings::SHUTDOWN_CAUSE_NONE {
            return true;
        }
        if self.epoch != CALLED_OFF.load(Ordering::Relaxed) {
            info!("{}: is not plugged in again, as asked", self.name);
            return true;
        }
        if self.somebody_else_is_there() {
            return true;
        }
        // Making the device waits for the simulator with the lock held, so it
        // is not tried before somebody listens.
        if !self.somebody_was_seen() {
            return false;
        }
        // SAFETY: the options are valid; the new device's reference is ours to
        // give back, its parent and bus have theirs.
        let made = unsafe {
            with_errp(|errp| {
                bindings::qdev_device_add_from_qdict(self.options.as_ptr(), true, errp)
            })
        };
        match made {
            Ok(device) => {
                info!("{}: plugged in again", self.name);
                // SAFETY: as above.
                unsafe { bindings::object_unref(device.cast()) };
                true
            }
            Err(e) => {
                self.attempts += 1;
                let last = self.attempts >= ATTEMPTS;
                let then = if last {
                    "plug it in with device_add"
                } else {
                    "trying again"
                };
                error!("{}: cannot be plugged in again: {e}; {then}", self.name);
                last
            }
        }
    }

    /// Whether the user has made a device with our id meanwhile.
    fn somebody_else_is_there(&self) -> bool {
        // SAFETY: the dictionary is valid; the string lives as long.
        let id = unsafe {
            let id = bindings::qdict_get_try_str(self.options.as_ptr(), c"id".as_ptr());
            if id.is_null() {
                return false;
            }
            CStr::from_ptr(id).to_string_lossy()
        };
        let Ok(path) = CString::new(format!("/machine/peripheral/{id}")) else {
            return false;
        };
        // SAFETY: the path is a C string; the second result is not wanted.
        let found = unsafe { bindings::object_resolve_path(path.as_ptr(), std::ptr::null_mut()) };
        !found.is_null()
    }
}

/// Whether a class is `TYPE_DEVICE` itself.
///
/// # Safety
///
/// `class` must be a class.
unsafe fn is_plain_device(class: *mut c::ObjectClass) -> bool {
    // SAFETY: promised; the name is a C string that lives as long as the class.
    let name = unsafe { CStr::from_ptr(bindings::object_class_get_name(class)) };
    name.to_bytes_with_nul() == bindings::TYPE_DEVICE
}

/// Called until it returns 0.
unsafe extern "C" fn plug_again(opaque: *mut c_void) -> c_int {
    let mut again = NonNull::new(opaque.cast::<Again>());
    let over = again.as_mut().map_or(true, |again| {
        // SAFETY: from `schedule`, and used by this callback alone.
        with_bql(|| unsafe { again.as_mut() }.attempt())
    });
    if over {
        if let Some(again) = again {
            // SAFETY: as above; the source ends with this call.
            drop(unsafe { Box::from_raw(again.as_ptr()) });
            WAITING.fetch_sub(1, Ordering::Relaxed);
        }
    }
    c_int::from(!over)
}

/// Gives the machine the property with which this can be called off, once.
fn offer_to_call_off() {
    static OFFERED: AtomicBool = AtomicBool::new(false);
    if OFFERED.swap(true, Ordering::Relaxed) {
        return;
    }
    // SAFETY: under the lock; the machine lives as long as QEMU, and copies the
    // texts, which are constants.
    unsafe {
        let machine: *mut c::Object = bindings::qdev_get_machine().cast();
        bindings::object_property_add_bool(
            machine,
            PROPERTY.as_ptr(),
            Some(get_waiting),
            Some(set_waiting),
        );
        bindings::object_property_set_description(
            machine,
            PROPERTY.as_ptr(),
            c"whether a card is to be plugged in again; set to false: none is".as_ptr(),
        );
    }
}

unsafe extern "C" fn get_waiting(_: *mut c::Object, _: *mut *mut c::Error) -> bool {
    WAITING.load(Ordering::Relaxed) != 0
}

unsafe extern "C" fn set_waiting(_: *mut c::Object, on: bool, errp: *mut *mut c::Error) {
    let result = if on {
        Err(error(
            "a device is plugged in again with its own property replug".into(),
        ))
    } else {
        CALLED_OFF.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    // SAFETY: QEMU gives a valid `errp`.
    unsafe { crate::glue::Error::ok_or_propagate(result, errp) };
}

/// Whether there is a process behind an endpoint. Where that cannot be found
/// out cheaply it is taken that there is.
fn somebody_listens(endpoint: &str) -> bool {
    if let Some(path) = endpoint.strip_prefix("ipc://") {
        return path.starts_with('@') || UnixStream::connect(path).is_ok();
    }
    let Some(address) = endpoint.strip_prefix("tcp://") else {
        return true;
    };
    match address.to_socket_addrs() {
        Ok(mut all) => {
            all.any(|a| TcpStream::connect_timeout(&a, Duration::from_millis(200)).is_ok())
        }
        Err(_) => true,
    }
}

/// Asks the guest to release a device.
///
/// # Errors
///
/// QEMU's: the bus or the port does not support it, the guest is busy with the
/// slot.
///
/// # Safety
///
/// `device` must be a live and realized PCI device, with a reference held.
pub unsafe fn request_unplug(device: *mut c::DeviceState) -> Result<()> {
    // SAFETY: the device is alive (promised) and on a bus.
    unsafe {
        let handler: *mut c_void = bindings::qdev_get_hotplug_handler(device).cast();
        match port_of(device) {
            Some(port) if port.as_ptr().cast() == handler => presence_changes(port),
            _ => {}
        }
        with_errp(|errp| bindings::qdev_unplug(device, errp))?;
        // QEMU notes that it is being unplugged, and would refuse a `device_del` for
        // a while. It is to be taken, and told from our own asking.
        if (*device).realized {
            (*device).pending_deleted_event = false;
        }
    }
    Ok(())
}

/// Whether the user has asked for a device to be unplugged, with `device_del`.
///
/// # Safety
///
/// `device` must be a live device, whose unplugging was asked for by
/// [`request_unplug`] or the user.
pub unsafe fn is_deleted_by_user(device: *mut c::DeviceState) -> bool {
    // SAFETY: promised.
    unsafe { (*device).pending_deleted_event }
}

/// The PCI Express port that a device is plugged into, if it is one.
///
/// # Safety
///
/// `device` must be a live device.
unsafe fn port_of(device: *mut c::DeviceState) -> Option<NonNull<bindings::PCIDevice>> {
    let slot: *const c_char = bindings::TYPE_PCIE_SLOT.as_ptr().cast();
    // SAFETY: the device is alive (promised), and so are its bus and the bus's
    // parent. The cast is checked; a slot is a PCI device.
    unsafe {
        let bus = (*device).parent_bus;
        if bus.is_null() || (*bus).parent.is_null() {
            return None;
        }
        NonNull::new(bindings::object_dynamic_cast((*bus).parent.cast(), slot).cast())
    }
}

/// Speed and width of the port above a device, as in Link Capabilities.
///
/// # Safety
///
/// `device` must be a live device.
pub unsafe fn port_capabilities(device: *mut c::DeviceState) -> Option<(u32, u32)> {
    // SAFETY: promised.
    let port = unsafe { port_of(device) }?;
    // SAFETY: the port is alive and a PCI Express device, whose capability lies
    // in its config space.
    let [low, high] = unsafe {
        let at = usize::from((*port.as_ptr()).exp.exp_cap) + bindings::PCI_EXP_LNKCAP as usize;
        [0, 1].map(|i| u32::from(*(*port.as_ptr()).config.add(at + i)))
    };
    Some((low & 0xf, (low >> 4 | high << 4) & 0x3f))
}

/// Tells the port above a device that its link is active, or not, if the port
/// reports that. QEMU does so itself only where the port handles plugging: with
/// ACPI a guest that resets the bus waits in vain for the link to come back.
///
/// # Safety
///
/// `device` must be a live device.
pub unsafe fn port_link(device: *mut c::DeviceState, active: bool) {
    // SAFETY: promised.
    let Some(port) = (unsafe { port_of(device) }) else {
        return;
    };
    // SAFETY: the port is alive and a PCI Express device, whose capability lies
    // in its config space.
    unsafe {
        let express = usize::from((*port.as_ptr()).exp.exp_cap);
        let byte = |offset: u32| (*port.as_ptr()).config.add(express + offset as usize);
        // Link Capabilities, bit 20; Link Status, bit 13.
        if *byte(bindings::PCI_EXP_LNKCAP + 2) & (bindings::PCI_EXP_LNKCAP_DLLLARC >> 16) as u8 == 0
        {
            return;
        }
        let bit = (bindings::PCI_EXP_LNKSTA_DLLLA >> 8) as u8;
        let status = byte(bindings::PCI_EXP_LNKSTA + 1);
        *status = *status & !bit | if active { bit } else { 0 };
    }
}

/// Sets bits of the Secondary Status of the port above a device, if there is one, and Master
/// Data Parity Error with them if the port is a `requester` that was sent poisoned data and
/// answers to that (PCIe base spec, Secondary Status Register).
///
/// # Safety
///
/// `device` must be a live device, with the big QEMU lock held.
pub unsafe fn port_status(device: *mut c::DeviceState, bits: u16, requester: bool) {
    // SAFETY: promised.
    let Some(port) = (unsafe { port_of(device) }) else {
        return;
    };
    // SAFETY: the port is alive and a bridge, whose header lies in its config space, and
    // whose masks are as long; the guest can write none of these bits otherwise.
    unsafe {
        let config = (*port.as_ptr()).config;
        let control = *config.add(bindings::PCI_BRIDGE_CONTROL as usize);
        let answers = control & bindings::PCI_BRIDGE_CTL_PARITY as u8 != 0;
        let parity = if requester && answers {
            bindings::PCI_STATUS_PARITY as u16
        } else {
            0
        };
        for (i, byte) in (bits | parity).to_le_bytes().into_iter().enumerate() {
            let at = bindings::PCI_SEC_STATUS as usize + i;
            // The guest clears them by writing ones, which QEMU does not know of this register.
            *(*port.as_ptr()).w1cmask.add(at) |= byte;
            *config.add(at) |= byte;
        }
    }
}

/// Has the port above a device note an error, if there is one.
///
/// # Safety
///
/// As for [`port_status`].
pub unsafe fn port_error(device: *mut c::DeviceState, error: Uncorrectable) {
    // SAFETY: promised; a port is a PCI device on its bus.
    unsafe {
        if let Some(port) = port_of(device) {
            error.report(port.as_ptr());
        }
    }
}

/// A card that is pulled and not asked for: with Presence Detect Changed (PCIe
/// base spec, Slot Status) beside the attention button, a guest does not give
/// its user five seconds to change his mind.
///
/// # Safety
///
/// `port` must be a PCI Express slot.
unsafe fn presence_changes(port: NonNull<bindings::PCIDevice>) {
    // SAFETY: a slot is a PCI Express device, whose capability lies in its
    // config space.
    unsafe {
        let port = port.as_ptr();
        let at = usize::from((*port).exp.exp_cap) + bindings::PCI_EXP_SLTSTA as usize;
        *(*port).config.add(at) |= bindings::PCI_EXP_SLTSTA_PDC as u8;
    }
}
