// SPDX-License-Identifier: GPL-2.0-or-later

//! The properties of `accelerator-pcie`: what a user can set before it is
//! plugged in, and what can be asked of it and set when it is there.

use std::{
    ffi::{c_char, c_void, CStr, CString},
    mem::{offset_of, MaybeUninit},
    ptr::{addr_of, addr_of_mut},
    sync::atomic::{AtomicU64, Ordering},
};

use super::{AcceleratorPcie, TYPE_NAME};
use crate::{
    bindings, clock,
    glue::{c, device_impl, error, Error},
    link::Carrier,
    pci::PciDeviceClass,
};

const fn property(
    name: &'static CStr,
    info: *const c::PropertyInfo,
    offset: usize,
    default: Option<u64>,
) -> c::Property {
    // SAFETY: null pointers, zero and false are values of all fields.
    let mut property: c::Property = unsafe { MaybeUninit::zeroed().assume_init() };
    property.name = name.as_ptr();
    property.info = info;
    property.offset = offset as isize;
    if let Some(value) = default {
        property.set_default = true;
        property.defval = c::Property__bindgen_ty_1 { u: value };
    }
    property
}

device_impl!(
    AcceleratorPcie,
    TYPE_NAME,
    [
        property(
            c"endpoint",
            addr_of!(c::qdev_prop_string),
            offset_of!(AcceleratorPcie, endpoint),
            None
        ),
        property(
            c"port",
            addr_of!(c::qdev_prop_uint16),
            offset_of!(AcceleratorPcie, port),
            Some(0)
        ),
        property(
            c"curve-secret",
            addr_of!(c::qdev_prop_string),
            offset_of!(AcceleratorPcie, curve_secret),
            None
        ),
        property(
            c"curve-server",
            addr_of!(c::qdev_prop_string),
            offset_of!(AcceleratorPcie, curve_server),
            None
        ),
        property(
            c"insecure",
            addr_of!(c::qdev_prop_bool),
            offset_of!(AcceleratorPcie, insecure),
            Some(0)
        ),
        property(
            c"handshake-timeout",
            addr_of!(c::qdev_prop_uint32),
            offset_of!(AcceleratorPcie, handshake_timeout),
            Some(30_000)
        ),
        property(
            c"completion-timeout",
            addr_of!(c::qdev_prop_uint32),
            offset_of!(AcceleratorPcie, completion_timeout),
            Some(0)
        ),
        property(
            c"other-timeout",
            addr_of!(c::qdev_prop_uint32),
            offset_of!(AcceleratorPcie, other_timeout),
            Some(1000)
        ),
        property(
            c"posted-writes",
            addr_of!(c::qdev_prop_bool),
            offset_of!(AcceleratorPcie, posted_writes),
            Some(1)
        ),
        property(
            c"write-window",
            addr_of!(c::qdev_prop_uint32),
            offset_of!(AcceleratorPcie, write_window),
            Some(256)
        ),
        property(
            c"shared-memory",
            addr_of!(bindings::qdev_prop_on_off_auto),
            offset_of!(AcceleratorPcie, shared_memory),
            Some(bindings::ON_OFF_AUTO_AUTO as u64)
        ),
        property(
            c"direct-dma",
            addr_of!(c::qdev_prop_bool),
            offset_of!(AcceleratorPcie, direct_dma),
            Some(1)
        ),
        property(
            c"poll-max-ns",
            addr_of!(c::qdev_prop_uint32),
            offset_of!(AcceleratorPcie, poll_max_ns),
            Some(50_000)
        ),
        property(
            c"netdev",
            addr_of!(bindings::qdev_prop_netdev),
            offset_of!(AcceleratorPcie, network) + offset_of!(bindings::NICConf, peers),
            None
        ),
        property(
            c"mac",
            addr_of!(bindings::qdev_prop_macaddr),
            offset_of!(AcceleratorPcie, network) + offset_of!(bindings::NICConf, macaddr),
            None
        ),
        property(
            c"nic-endpoint",
            addr_of!(c::qdev_prop_string),
            offset_of!(AcceleratorPcie, nic_endpoint),
            None
        ),
        property(
            c"chardev",
            addr_of!(bindings::qdev_prop_chr),
            offset_of!(AcceleratorPcie, serial),
            None
        ),
        property(
            c"serial-endpoint",
            addr_of!(c::qdev_prop_string),
            offset_of!(AcceleratorPcie, serial_endpoint),
            None
        ),
    ]
);

/// Texts of `-device accelerator-pcie,help`.
const DESCRIPTIONS: &[(&CStr, &CStr)] = &[
    (
        c"endpoint",
        c"where the simulator listens: a port on loopback, tcp://127.0.0.1:PORT or ipc://PATH; \
          with keys or insecure=on also tcp://HOST:PORT (default: property port, then \
          NPU_COSIM_PORT, then 7557)",
    ),
    (
        c"curve-secret",
        c"file with our own pair of ZeroMQ CURVE keys, together with curve-server",
    ),
    (
        c"curve-server",
        c"public key of the simulator, or a file with it, together with curve-secret",
    ),
    (
        c"insecure",
        c"allow a simulator on another machine without keys, which may read and write the guest's \
          memory, as may everybody in between",
    ),
    (
        c"port",
        c"TCP port on loopback, instead of endpoint; 0 is none",
    ),
    (
        c"handshake-timeout",
        c"milliseconds to wait for the simulator when the device is plugged in",
    ),
    (
        c"completion-timeout",
        c"milliseconds after which a read returns all ones; 0 waits as long as the simulator is \
          there",
    ),
    (
        c"other-timeout",
        c"milliseconds after which a read that no vCPU makes, but a monitor, a debugger or another \
          device, returns all ones; QEMU stands still meanwhile",
    ),
    (
        c"posted-writes",
        c"whether a write returns before the RTL has taken it, as on PCI Express",
    ),
    (
        c"write-window",
        c"posted writes that may be outstanding, 1 to 4096",
    ),
    (
        c"shared-memory",
        c"whether the session goes through shared memory, which a simulator on this machine can \
          offer; on refuses one that does not",
    ),
    (
        c"direct-dma",
        c"whether a simulator with shared memory reaches guest memory without messages, where that \
          is a shared file",
    ),
    (
        c"poll-max-ns",
        c"nanoseconds that a thread that waits looks into shared memory, at most, before it \
          sleeps; 0 sleeps at once",
    ),
    (
        c"netdev",
        c"network whose frames go to the RTL's NIC bridge and come from it",
    ),
    (
        c"mac",
        c"address that the RTL is told (default: one of 52:54:00:12:34:56 and following)",
    ),
    (
        c"nic-endpoint",
        c"where the NIC bridge listens (default: the TCP port after that of endpoint, or its path \
          with .nic behind it)",
    ),
    (
        c"chardev",
        c"character device whose bytes go to the RTL's UART bridge and come from it",
    ),
    (
        c"serial-endpoint",
        c"where the UART bridge listens (default: the second TCP port after that of endpoint, or \
          its path with .uart behind it)",
    ),
];

type Counter = fn(&AcceleratorPcie) -> &AtomicU64;

/// What has been moved and lost, for `qom-get`.
static COUNTERS: [(&CStr, &CStr, Counter); 6] = [
    (
        c"nic-frames-to-rtl",
        c"frames of the network that the RTL was sent",
        |device| &device.nic_counters.to_rtl,
    ),
    (
        c"nic-frames-from-rtl",
        c"frames of the RTL that the network was given",
        |device| &device.nic_counters.from_rtl,
    ),
    (
        c"nic-drops-to-rtl",
        c"frames of the network that were dropped",
        |device| &device.nic_counters.to_rtl_dropped,
    ),
    (
        c"nic-drops-from-rtl",
        c"frames of the RTL that were dropped",
        |device| &device.nic_counters.from_rtl_dropped,
    ),
    (
        c"serial-drops-to-rtl",
        c"bytes of the character device that were lost",
        |device| &device.uart_counters.to_rtl_dropped,
    ),
    (
        c"serial-drops-from-rtl",
        c"bytes of the RTL that the character device did not take",
        |device| &device.uart_counters.from_rtl_dropped,
    ),
];

const GUEST_MEMORY: &CStr = c"guest-memory";
const GUEST_MEMORY_TEXT: &CStr =
    c"how much of guest memory the simulator reaches without messages, or why none";

const FAULTS: &CStr = c"faults";
const FAULTS_TEXT: &CStr =
    c"plan of what goes wrong from now on, see docs/faults.md; empty for nothing. Reads as what \
      the simulator has said to the last one";

const CARRIER: &CStr = c"carrier";
const CARRIER_TEXT: &CStr =
    c"what the session with the simulator goes through, and why not shared memory";

const SIM_CLOCK: &CStr = c"sim-clock";
const SIM_CLOCK_TEXT: &CStr =
    c"step in nanoseconds, 100 to 100000000, in which guest time follows the simulator's; 0 leaves \
      it to the host. It needs -accel tcg, and can be set at run time (default: 0)";

type Getter = unsafe extern "C" fn(*mut c::Object, *mut *mut c::Error) -> bool;
type Setter = unsafe extern "C" fn(*mut c::Object, bool, *mut *mut c::Error);

/// What can be asked of a running device, with `qom-get`.
const FLAGS: [(&CStr, &CStr, Getter, Option<Setter>); 5] = [
    (
        c"link-up",
        c"whether there is a session with the simulator",
        get_link_up,
        None,
    ),
    (
        c"memory-enabled",
        c"whether the guest has switched the BARs on, as drivers do first",
        get_memory,
        None,
    ),
    (
        c"bus-master",
        c"whether the guest lets the device access its memory",
        get_bus_master,
        None,
    ),
    (
        c"follows-sim",
        c"whether guest time is the simulator's now",
        get_follows_sim,
        None,
    ),
    (
        c"replug",
        c"set to true: the guest is asked to release the device, which is then plugged in again",
        get_replug,
        Some(set_replug),
    ),
];

/// # Safety
///
/// `object` must be an `AcceleratorPcie`, as QEMU promises to functions of the
/// class.
unsafe fn instance<'a>(object: *mut c::Object) -> &'a AcceleratorPcie {
    // SAFETY: promised by the caller.
    unsafe { &*object.cast::<AcceleratorPcie>() }
}

unsafe extern "C" fn get_link_up(object: *mut c::Object, _errp: *mut *mut c::Error) -> bool {
    // SAFETY: called for objects of the class.
    unsafe { instance(object) }.link_up.load(Ordering::Relaxed)
}

unsafe extern "C" fn get_memory(object: *mut c::Object, _errp: *mut *mut c::Error) -> bool {
    // SAFETY: as in `get_link_up`.
    unsafe { instance(object) }.has_command(bindings::PCI_COMMAND_MEMORY)
}

unsafe extern "C" fn get_bus_master(object: *mut c::Object, _errp: *mut *mut c::Error) -> bool {
    // SAFETY: as in `get_link_up`.
    unsafe { instance(object) }.has_command(bindings::PCI_COMMAND_MASTER)
}

unsafe extern "C" fn get_follows_sim(object: *mut c::Object, _errp: *mut *mut c::Error) -> bool {
    // SAFETY: as in `get_link_up`.
    clock::follows(unsafe { instance(object) }.address())
}

unsafe extern "C" fn get_replug(object: *mut c::Object, _errp: *mut *mut c::Error) -> bool {
    // SAFETY: as in `get_link_up`.
    unsafe { instance(object) }.again.borrow().is_some()
}

unsafe extern "C" fn set_replug(object: *mut c::Object, on: bool, errp: *mut *mut c::Error) {
    // SAFETY: as in `get_link_up`.
    let device = unsafe { instance(object) };
    let result = if on {
        device.stays_out.store(false, Ordering::Relaxed);
        device.replug().map(drop)
    } else {
        device.call_off();
        Ok(())
    };
    // SAFETY: QEMU gives a valid `errp`.
    unsafe { Error::ok_or_propagate(result, errp) };
}

unsafe extern "C" fn get_counter(
    object: *mut c::Object,
    visitor: *mut bindings::Visitor,
    name: *const c_char,
    opaque: *mut c_void,
    errp: *mut *mut c::Error,
) {
    // SAFETY: as in `get_link_up`; the opaque pointer is to one of `COUNTERS`.
    let counter = unsafe { (*opaque.cast::<Counter>())(instance(object)) };
    let mut value = counter.load(Ordering::Relaxed);
    // SAFETY: QEMU gives a valid visitor, name and `errp`.
    unsafe { bindings::visit_type_uint64(visitor, name, &mut value, errp.cast()) };
}

unsafe extern "C" fn get_carrier(object: *mut c::Object, _errp: *mut *mut c::Error) -> *mut c_char {
    // SAFETY: as in `get_link_up`.
    let device = unsafe { instance(object) };
    let carrier = device
        .link
        .borrow()
        .as_ref()
        .map_or_else(Carrier::default, |link| link.carrier());
    // No text of ours has a zero in it.
    let text = CString::new(carrier.to_string()).unwrap_or_default();
    // SAFETY: the text ends with a zero. QEMU frees the copy.
    unsafe { bindings::g_strdup(text.as_ptr()) }
}

unsafe extern "C" fn get_faults(object: *mut c::Object, _errp: *mut *mut c::Error) -> *mut c_char {
    // SAFETY: as in `get_link_up`.
    let device = unsafe { instance(object) };
    let text = device.link().map_or_else(String::new, |link| link.faults());
    // What the simulator says is shown without zeros.
    let text = CString::new(text).unwrap_or_default();
    // SAFETY: the text ends with a zero. QEMU frees the copy.
    unsafe { bindings::g_strdup(text.as_ptr()) }
}

unsafe extern "C" fn set_faults(
    object: *mut c::Object,
    text: *const c_char,
    errp: *mut *mut c::Error,
) {
    // SAFETY: as in `get_link_up`; QEMU gives a string.
    let (device, text) = unsafe { (instance(object), CStr::from_ptr(text)) };
    let result = match (device.link(), text.to_str()) {
        (None, _) => Err("the device is not plugged in".to_owned()),
        (_, Err(_)) => Err("the plan of faults is not UTF-8".to_owned()),
        (Some(link), Ok(text)) => link.give_faults(text),
    };
    let result = result.map_err(error);
    // SAFETY: QEMU gives a valid `errp`.
    unsafe { Error::ok_or_propagate(result, errp) };
}

unsafe extern "C" fn get_guest_memory(
    object: *mut c::Object,
    _errp: *mut *mut c::Error,
) -> *mut c_char {
    // SAFETY: as in `get_link_up`.
    let device = unsafe { instance(object) };
    // No text of ours has a zero in it.
    let text = CString::new(device.reached()).unwrap_or_default();
    // SAFETY: the text ends with a zero. QEMU frees the copy.
    unsafe { bindings::g_strdup(text.as_ptr()) }
}

unsafe extern "C" fn get_sim_clock(
    object: *mut c::Object,
    visitor: *mut bindings::Visitor,
    name: *const c_char,
    _opaque: *mut c_void,
    errp: *mut *mut c::Error,
) {
    // SAFETY: as in `get_link_up`.
    let mut value = unsafe { instance(object) }
        .sim_clock
        .load(Ordering::Relaxed);
    // SAFETY: QEMU gives a valid visitor, name and `errp`.
    unsafe { bindings::visit_type_uint32(visitor, name, &mut value, errp.cast()) };
}

unsafe extern "C" fn set_sim_clock(
    object: *mut c::Object,
    visitor: *mut bindings::Visitor,
    name: *const c_char,
    _opaque: *mut c_void,
    errp: *mut *mut c::Error,
) {
    let mut value = 0;
    // SAFETY: as in `get_sim_clock`.
    if !unsafe { bindings::visit_type_uint32(visitor, name, &mut value, errp.cast()) } {
        return;
    }
    // SAFETY: as in `get_link_up`.
    let result = unsafe { instance(object) }.set_sim_clock(value);
    // SAFETY: QEMU gives a valid `errp`.
    unsafe { Error::ok_or_propagate(result, errp) };
}

/// Gives the class the properties that are not fields, and all of them a text.
pub(super) fn describe(class: &mut PciDeviceClass) {
    for &(name, text) in DESCRIPTIONS {
        // SAFETY: the class has these properties, and both texts are
        // constants, of which QEMU makes copies.
        unsafe {
            bindings::object_class_property_set_description(
                addr_of_mut!(*class).cast(),
                name.as_ptr(),
                text.as_ptr(),
            );
        }
    }
    let class: *mut c::ObjectClass = addr_of_mut!(*class).cast();
    // SAFETY: as above; the functions are for objects of this class.
    unsafe {
        bindings::object_class_property_add(
            class,
            SIM_CLOCK.as_ptr(),
            c"uint32".as_ptr(),
            Some(get_sim_clock),
            Some(set_sim_clock),
            None,
            std::ptr::null_mut(),
        );
        bindings::object_class_property_set_description(
            class,
            SIM_CLOCK.as_ptr(),
            SIM_CLOCK_TEXT.as_ptr(),
        );
    }
    // SAFETY: as above.
    unsafe {
        bindings::object_class_property_add_str(
            class,
            FAULTS.as_ptr(),
            Some(get_faults),
            Some(set_faults),
        );
        bindings::object_class_property_set_description(
            class,
            FAULTS.as_ptr(),
            FAULTS_TEXT.as_ptr(),
        );
        bindings::object_class_property_add_str(class, CARRIER.as_ptr(), Some(get_carrier), None);
        bindings::object_class_property_set_description(
            class,
            CARRIER.as_ptr(),
            CARRIER_TEXT.as_ptr(),
        );
        bindings::object_class_property_add_str(
            class,
            GUEST_MEMORY.as_ptr(),
            Some(get_guest_memory),
            None,
        );
        bindings::object_class_property_set_description(
            class,
            GUEST_MEMORY.as_ptr(),
            GUEST_MEMORY_TEXT.as_ptr(),
        );
    }
    for (name, text, counter) in &COUNTERS {
        // SAFETY: as above; the counter is a constant.
        unsafe {
            bindings::object_class_property_add(
                class,
                name.as_ptr(),
                c"uint64".as_ptr(),
                Some(get_counter),
                None,
                None,
                std::ptr::from_ref(counter).cast_mut().cast(),
            );
            bindings::object_class_property_set_description(class, name.as_ptr(), text.as_ptr());
        }
    }
    for (name, text, get, set) in FLAGS {
        // SAFETY: as above; the functions are for objects of this class.
        unsafe {
            bindings::object_class_property_add_bool(class, name.as_ptr(), Some(get), set);
            bindings::object_class_property_set_description(class, name.as_ptr(), text.as_ptr());
        }
    }
}
