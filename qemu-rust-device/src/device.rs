// SPDX-License-Identifier: GPL-2.0-or-later

//! The QOM type `accelerator-pcie`.

use std::{
    ffi::{c_char, c_int, c_void, CStr},
    mem::{offset_of, MaybeUninit},
    ptr::{addr_of, addr_of_mut, NonNull},
    sync::{
        atomic::{AtomicBool, AtomicPtr, AtomicU16, AtomicU32, Ordering},
        Arc,
    },
    time::{Duration, Instant},
};

use accelerator_protocol::{
    channel_endpoint,
    config::{Config, BARS},
    default_endpoint_within, parse_endpoint_within,
    wire::{ChannelKind, ResetKind, Status},
    Reach, PORT_VARIABLE,
};
use log::{error, warn};

use crate::{
    bindings,
    channel::Channel,
    clock,
    glue::{
        c, device_impl, error, module_init, qom_isa, BqlRefCell, CharFrontend, DeviceState, Error,
        Object, ObjectDeref, ObjectImpl, ObjectType, Opaque, ParentField, ParentInit, ResetType,
        ResettablePhasesImpl, Result, DEVICE_CATEGORY_MISC,
    },
    keys,
    layout::Layout,
    link::{Asked, Link, Root, Settings},
    logger,
    nic::{self, Nic},
    pci::{
        in_vcpu_thread, runs, told_to_stop, with_bql, without_bql, BarKind, DmaFault, Mmio,
        MmioRegion, MsixPlace, PciDevice, PciDeviceClass, PciDeviceImpl, PciDeviceMethods,
        PCI_EXPRESS,
    },
    replug::{self, Again},
    threads,
    uart::{self, Uart},
};

const TYPE_NAME: &CStr = c"accelerator-pcie";

/// A guest that has not released the device after this is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(20);

/// Environment variable: a wait longer than this, in milliseconds, is logged.
const WARN_VARIABLE: &str = "ACCELERATOR_ZMQ_WARN_MS";
const WARN_DEFAULT_MS: u64 = 1000;

/// Advanced Error Reporting stands where extended config space begins.
const AER_OFFSET: u16 = 0x100;

/// One BAR: the guest's accesses to it go over the link.
struct Bar {
    region: MmioRegion,
    number: u8,
    device: NonNull<AcceleratorPcie>,
}

// SAFETY: `device` points to the device that the BAR is part of, which is
// `Sync`; the number does not change.
unsafe impl Send for Bar {}
// SAFETY: as above.
unsafe impl Sync for Bar {}

impl Bar {
    fn link(&self) -> Option<Arc<Link>> {
        // SAFETY: the BAR is a part of the device.
        unsafe { self.device.as_ref() }.link()
    }
}

impl Mmio for Bar {
    fn read(&self, offset: u64, size: u32) -> u64 {
        match self.link() {
            Some(link) => link.read(self.number, offset, size as u8),
            None => u64::MAX,
        }
    }

    fn write(&self, offset: u64, data: u64, size: u32) {
        if let Some(link) = self.link() {
            link.write(self.number, offset, size as u8, data);
        }
    }
}

/// What the card has beside the PCIe stream, before it is plugged in.
struct Channels {
    nic: Option<Channel>,
    uart: Option<Channel>,
}

/// Called when QEMU is about to end, or does end.
#[repr(C)]
struct EndNotifier {
    notifier: Opaque<bindings::Notifier>,
    device: NonNull<AcceleratorPcie>,
}

/// Instance of `accelerator-pcie`.
#[repr(C)]
pub struct AcceleratorPcie {
    parent_obj: ParentField<PciDevice>,

    endpoint: *mut c_char,
    curve_secret: *mut c_char,
    curve_server: *mut c_char,
    insecure: bool,
    port: u16,
    handshake_timeout: u32,
    completion_timeout: u32,
    write_window: u32,
    posted_writes: bool,
    nic_endpoint: *mut c_char,
    serial_endpoint: *mut c_char,
    network: Opaque<bindings::NICConf>,
    serial: Opaque<CharFrontend>,

    /// Null without a `netdev`, and before realize.
    nic: AtomicPtr<Nic>,
    nic_counters: nic::Counters,
    /// Null without a `chardev`, and before realize.
    uart: AtomicPtr<Uart>,
    /// Step of guest time in nanoseconds if it follows the simulator's, or 0.
    sim_clock: AtomicU32,
    bars: [Bar; BARS],
    link: BqlRefCell<Option<Arc<Link>>>,
    config: BqlRefCell<Option<Config>>,
    shutdown: EndNotifier,
    exit: EndNotifier,
    /// QEMU is about to end.
    quitting: AtomicBool,
    /// Between the handshake and the loss of the simulator.
    link_up: AtomicBool,
    /// Place of Link Status in config space, 0 before it is known.
    link_status: AtomicU16,
    /// A function level reset is under way.
    flr: AtomicBool,
    /// The guest lets the device access memory: Bus Master Enable in Command. Config
    /// space itself is gone as soon as the device is unplugged, and DMA is served
    /// without the big QEMU lock.
    bus_master: AtomicBool,
    /// The guest was asked to release the device, so that it can be plugged in
    /// again.
    again: BqlRefCell<Option<(Instant, Again)>>,
    /// Resets of the machine that the device has seen, of [`MACHINE_RESETS`].
    machine_resets: AtomicU32,
}

/// Resets of the machine. One handler counts them for all devices: one for
/// each could not be removed when a device is unplugged by such a reset, while
/// QEMU walks the list of handlers.
static MACHINE_RESETS: AtomicU32 = AtomicU32::new(0);
static COUNTING_RESETS: AtomicBool = AtomicBool::new(false);

// SAFETY: the struct begins with its parent, whose drop is inhibited by
// `ParentField`.
unsafe impl ObjectType for AcceleratorPcie {
    type Class = PciDeviceClass;
    const TYPE_NAME: &'static CStr = TYPE_NAME;
}

qom_isa!(AcceleratorPcie: PciDevice, DeviceState, Object);

const _: () = assert!(offset_of!(AcceleratorPcie, parent_obj) == 0);

// SAFETY: the raw pointer is set by QEMU before realize and only read after.
unsafe impl Send for AcceleratorPcie {}
// SAFETY: as above; the other fields are `Sync` themselves.
unsafe impl Sync for AcceleratorPcie {}

impl ObjectImpl for AcceleratorPcie {
    type ParentType = PciDevice;

    const INSTANCE_INIT: Option<unsafe fn(ParentInit<Self>)> = Some(Self::init);
    const CLASS_INIT: fn(&mut Self::Class) = Self::class_init;
}

impl ResettablePhasesImpl for AcceleratorPcie {
    const EXIT: Option<fn(&Self, ResetType)> = Some(Self::reset_exit);
}

impl PciDeviceImpl for AcceleratorPcie {
    const REALIZE: Option<fn(&Self) -> Result<()>> = Some(Self::realize);
    const EXIT: Option<fn(&Self)> = Some(Self::exit);
    const CONFIG_WRITE: Option<fn(&Self, u32, u32, u32)> = Some(Self::config_write);
    const CONFIG_READ: Option<fn(&Self, u32, u32) -> u32> = Some(Self::config_read);
}

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
        c"posted-writes",
        c"whether a write returns before the RTL has taken it, as on PCI Express",
    ),
    (
        c"write-window",
        c"posted writes that may be outstanding, 1 to 4096",
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
    let asked = device.again.borrow().is_some();
    let result = match (on, asked) {
        (true, _) => device.replug().map(drop),
        (false, false) => Ok(()),
        (false, true) => Err(invalid("the guest has been asked already")),
    };
    // SAFETY: QEMU gives a valid `errp`.
    unsafe { Error::ok_or_propagate(result, errp) };
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

fn invalid(text: impl Into<String>) -> Error {
    error(text.into())
}

impl AcceleratorPcie {
    fn class_init(class: &mut PciDeviceClass) {
        class.class_init::<Self>();
        // Shown until the simulator has told its own.
        class.class_id = 0xff00;
        let device = &mut class.parent_class;
        device.desc = c"PCI Express card simulated as RTL".as_ptr();
        device.categories[0] |= 1 << DEVICE_CATEGORY_MISC;
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
        for (name, text, get, set) in FLAGS {
            // SAFETY: as above; the functions are for objects of this class.
            unsafe {
                bindings::object_class_property_add_bool(class, name.as_ptr(), Some(get), set);
                bindings::object_class_property_set_description(
                    class,
                    name.as_ptr(),
                    text.as_ptr(),
                );
            }
        }
    }

    /// # Safety
    ///
    /// `this` must be zeroed memory of a device whose parent is initialized.
    unsafe fn init(mut this: ParentInit<Self>) {
        let device: *mut Self = this.as_mut_ptr();
        // SAFETY: the object does not move and is not null; each field is
        // written once, through raw pointers, before anybody can look. Zero is
        // right for the others.
        unsafe {
            for number in 0..BARS {
                addr_of_mut!((*device).bars[number]).write(Bar {
                    region: MmioRegion::new(),
                    number: number as u8,
                    device: NonNull::new_unchecked(device),
                });
            }
            addr_of_mut!((*device).link).write(BqlRefCell::new(None));
            addr_of_mut!((*device).config).write(BqlRefCell::new(None));
            addr_of_mut!((*device).again).write(BqlRefCell::new(None));
            for notifier in [
                addr_of_mut!((*device).shutdown),
                addr_of_mut!((*device).exit),
            ] {
                notifier.write(EndNotifier {
                    notifier: Opaque::zeroed(),
                    device: NonNull::new_unchecked(device),
                });
            }
        }
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone()
    }

    /// The text of a string property, if it is set.
    ///
    /// # Safety
    ///
    /// `text` is the field of a string property of this device.
    unsafe fn text(&self, name: &str, text: *const c_char) -> Result<Option<&str>> {
        if text.is_null() {
            return Ok(None);
        }
        // SAFETY: a string property holds null or a C string, and does not
        // change any more when the device is realized.
        let text = unsafe { CStr::from_ptr(text) };
        text.to_str()
            .map(Some)
            .map_err(|_| invalid(format!("property {name} is not UTF-8")))
    }

    /// Where the simulator is, from the properties and the environment.
    fn resolve_endpoint(&self, reach: Reach) -> Result<String> {
        // SAFETY: this is the property's field.
        let text = unsafe { self.text("endpoint", self.endpoint) }?;
        match (text, self.port) {
            (Some(_), 1..) => Err(invalid(
                "properties endpoint and port are both set, expected one of them",
            )),
            (Some(text), 0) => parse_endpoint_within(text, reach).map_err(invalid),
            (None, 0) => {
                default_endpoint_within(std::env::var(PORT_VARIABLE).ok().as_deref(), reach)
                    .map_err(invalid)
            }
            (None, port) => parse_endpoint_within(&port.to_string(), reach).map_err(invalid),
        }
    }

    /// Who may answer there, from the properties.
    fn resolve_keys(&self) -> Result<(Reach, Option<keys::Keys>)> {
        // SAFETY: these are the properties' fields.
        let (secret, server) = unsafe {
            (
                self.text("curve-secret", self.curve_secret)?,
                self.text("curve-server", self.curve_server)?,
            )
        };
        // A property that was not set reads as an empty string, and is set to it
        // when the device is plugged in again.
        let given = keys::Given {
            secret: secret.filter(|s| !s.is_empty()),
            server: server.filter(|s| !s.is_empty()),
            insecure: self.insecure,
        };
        given.resolve().map_err(invalid)
    }

    fn settings(&self) -> Result<Settings> {
        let window = self.write_window;
        if !(1..=4096).contains(&window) {
            return Err(invalid(format!(
                "property write-window is {window}, expected 1 to 4096"
            )));
        }
        let warn_ms = match std::env::var(WARN_VARIABLE) {
            Ok(text) if !text.is_empty() => match text.parse::<u64>() {
                Ok(ms) if ms > 0 => ms,
                _ => {
                    return Err(invalid(format!(
                        "{WARN_VARIABLE} is {text:?}, expected milliseconds from 1"
                    )))
                }
            },
            _ => WARN_DEFAULT_MS,
        };
        let timeout = u64::from(self.completion_timeout);
        let (reach, keys) = self.resolve_keys()?;
        let endpoint = self.resolve_endpoint(reach)?;
        if let Some(text) = keys::exposed(&endpoint, keys.as_ref()) {
            log::warn!("{}: {text}", self.id());
        }
        Ok(Settings {
            name: self.id(),
            endpoint,
            keys,
            write_window: window,
            posted_writes: self.posted_writes,
            completion_timeout: (timeout > 0).then(|| Duration::from_millis(timeout)),
            warn_after: Duration::from_millis(warn_ms),
        })
    }

    /// What the user calls the device.
    fn id(&self) -> String {
        let device: *mut c::DeviceState = self.as_mut_ptr::<DeviceState>().cast();
        // SAFETY: the object is a device (`IsA`), and its id is null or a C
        // string that lives as long as the device.
        unsafe {
            if (*device).id.is_null() {
                format!("pci.{:02x}", (*self.pci()).devfn)
            } else {
                CStr::from_ptr((*device).id).to_string_lossy().into_owned()
            }
        }
    }

    fn realize(&self) -> Result<()> {
        logger::install();
        let settings = self.settings()?;
        let (name, endpoint) = (settings.name.clone(), settings.endpoint.clone());
        self.quitting.store(false, Ordering::Relaxed);
        let machine = Machine {
            device: NonNull::from(self),
        };
        let link = Link::new(settings, Box::new(machine)).map_err(|e| invalid(e.to_string()))?;
        let channels = match self.channels(&name, &endpoint) {
            Ok(channels) => channels,
            Err(e) => {
                link.close();
                return Err(e);
            }
        };
        let timeout = Duration::from_millis(self.handshake_timeout.into());
        let config = match link.handshake(timeout) {
            Ok(config) => config,
            Err(e) => {
                link.close();
                return Err(invalid(e.to_string()));
            }
        };
        if let Err(e) = self.follow(&link).and_then(|()| self.plug(&config)) {
            clock::release(self.address());
            link.refuse(&e.to_string());
            return Err(e);
        }
        // SAFETY: undone in `exit`, before the device goes away.
        unsafe {
            (*self.shutdown.notifier.as_mut_ptr()).notify = Some(shutdown);
            bindings::qemu_register_shutdown_notifier(self.shutdown.notifier.as_mut_ptr());
            (*self.exit.notifier.as_mut_ptr()).notify = Some(qemu_exits);
            bindings::qemu_add_exit_notifier(self.exit.notifier.as_mut_ptr());
            if !COUNTING_RESETS.swap(true, Ordering::Relaxed) {
                bindings::qemu_register_reset(Some(machine_reset), std::ptr::null_mut());
            }
        }
        self.machine_resets
            .store(MACHINE_RESETS.load(Ordering::Relaxed), Ordering::Relaxed);
        *self.link.borrow_mut() = Some(link.clone());
        *self.config.borrow_mut() = Some(config.clone());
        self.serve(&link);
        link.accept(config);
        self.plug_channels(channels);
        self.port_link(true);
        Ok(())
    }

    /// Starts the thread that serves the link while no vCPU does, until the link
    /// is closed.
    fn serve(&self, link: &Arc<Link>) {
        let this: *const Self = self;
        let server = Box::new(Server {
            device: NonNull::from(self),
            link: Arc::clone(link),
        });
        let mut thread = MaybeUninit::<bindings::QemuThread>::uninit();
        // SAFETY: QEMU ends if there can be no thread. It gets the `server`, and
        // the reference to the device that belongs to it. Nobody needs what is
        // put into `thread`, since the thread is detached.
        unsafe {
            bindings::object_ref(this.cast_mut().cast());
            bindings::qemu_thread_create(
                thread.as_mut_ptr(),
                c"acc-link".as_ptr(),
                Some(serve),
                Box::into_raw(server).cast(),
                bindings::QEMU_THREAD_DETACHED as c_int,
            );
        }
    }

    /// What the clock knows the device by.
    fn address(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    fn set_sim_clock(&self, value: u32) -> Result<()> {
        if value != 0 && !clock::STEPS.contains(&value) {
            return Err(invalid(format!(
                "property sim-clock is {value}, expected 0 or {} to {}",
                clock::STEPS.start(),
                clock::STEPS.end()
            )));
        }
        let old = self.sim_clock.swap(value, Ordering::Relaxed);
        // Without a link it is not plugged in yet, and realize comes here.
        let result = self.link().map_or(Ok(()), |link| self.follow(&link));
        if result.is_err() {
            self.sim_clock.store(old, Ordering::Relaxed);
            if old == 0 {
                clock::release(self.address());
            }
        }
        result
    }

    /// Lets guest time follow the simulator's, or not, as the property says.
    fn follow(&self, link: &Link) -> Result<()> {
        let step = self.sim_clock.load(Ordering::Relaxed);
        if step != 0 {
            clock::claim(self.address(), &self.id())?;
        } else {
            clock::release(self.address());
        }
        link.follow(step.into()).map_err(invalid)
    }

    /// The channels that the properties ask for, not connected yet.
    fn channels(&self, name: &str, pcie: &str) -> Result<Channels> {
        let (reach, keys) = self.resolve_keys()?;
        let make = |kind, property: &str, endpoint: *mut c_char, mac, window| {
            let endpoint = if endpoint.is_null() {
                channel_endpoint(pcie, kind).map_err(invalid)
            } else {
                // SAFETY: as in `resolve_endpoint`.
                let text = unsafe { CStr::from_ptr(endpoint) };
                parse_endpoint_within(&text.to_string_lossy(), reach)
                    .map_err(|e| invalid(format!("property {property}: {e}")))
            }?;
            let name = match kind {
                ChannelKind::Nic => format!("{name} (NIC)"),
                ChannelKind::Serial => format!("{name} (serial)"),
            };
            let channel = Channel::new(kind, name, endpoint, mac, window);
            let mut channel = channel.map_err(|e| invalid(e.to_string()))?;
            channel.set_keys(keys.clone());
            Ok::<Channel, Error>(channel)
        };
        let network = self.network.as_mut_ptr();
        // SAFETY: the configuration is a part of the device, and only changed
        // by its properties, before realize.
        let (has_netdev, has_mac) = unsafe {
            (
                !(*network).peers.ncs[0].is_null(),
                (*network).macaddr.a != [0; 6],
            )
        };
        // SAFETY: as above.
        let has_chardev = unsafe { Uart::is_connected(&self.serial) };
        for (property, set, other, there) in [
            ("mac", has_mac, "netdev", has_netdev),
            (
                "nic-endpoint",
                !self.nic_endpoint.is_null(),
                "netdev",
                has_netdev,
            ),
            (
                "serial-endpoint",
                !self.serial_endpoint.is_null(),
                "chardev",
                has_chardev,
            ),
        ] {
            if set && !there {
                return Err(invalid(format!(
                    "property {property} is set without {other}"
                )));
            }
        }
        let nic = if has_netdev {
            // SAFETY: as above; fills in an address if there is none.
            let mac = unsafe {
                bindings::qemu_macaddr_default_if_unset(addr_of_mut!((*network).macaddr));
                (*network).macaddr.a
            };
            if mac[0] & 1 != 0 {
                return Err(invalid("property mac is a group address"));
            }
            let endpoint = self.nic_endpoint;
            Some(make(
                ChannelKind::Nic,
                "nic-endpoint",
                endpoint,
                mac,
                nic::WINDOW,
            )?)
        } else {
            None
        };
        let uart = if has_chardev {
            let endpoint = self.serial_endpoint;
            Some(make(
                ChannelKind::Serial,
                "serial-endpoint",
                endpoint,
                [0; 6],
                uart::WINDOW,
            )?)
        } else {
            None
        };
        Ok(Channels { nic, uart })
    }

    fn plug_channels(&self, channels: Channels) {
        if let Some(channel) = channels.nic {
            let device: *mut c::DeviceState = self.as_mut_ptr::<DeviceState>().cast();
            for (name, counter) in [
                (c"nic-frames-to-rtl", &self.nic_counters.to_rtl),
                (c"nic-frames-from-rtl", &self.nic_counters.from_rtl),
                (c"nic-drops-to-rtl", &self.nic_counters.to_rtl_dropped),
                (c"nic-drops-from-rtl", &self.nic_counters.from_rtl_dropped),
            ] {
                // SAFETY: the object is alive, and the counter a part of it
                // that is only read.
                unsafe {
                    bindings::object_property_add_uint64_ptr(
                        device.cast(),
                        name.as_ptr(),
                        counter.as_ptr(),
                        bindings::OBJ_PROP_FLAG_READ,
                    );
                }
            }
            // SAFETY: the device is being realized, under the lock; what is
            // passed is a part of it, and `exit` ends the NIC before it goes.
            let nic = unsafe {
                Nic::begin(
                    channel,
                    self.id(),
                    self.network.as_mut_ptr(),
                    (*device).id,
                    addr_of!(self.nic_counters),
                )
            };
            self.nic.store(nic, Ordering::Release);
        }
        if let Some(channel) = channels.uart {
            // SAFETY: as above.
            let uart = unsafe { Uart::begin(channel, &self.serial) };
            self.uart.store(uart, Ordering::Release);
        }
    }

    /// Ends the channels; with `free` also for QEMU.
    fn end_channels(&self, free: bool) {
        let (nic, uart) = if free {
            (
                self.nic.swap(std::ptr::null_mut(), Ordering::AcqRel),
                self.uart.swap(std::ptr::null_mut(), Ordering::AcqRel),
            )
        } else {
            (
                self.nic.load(Ordering::Acquire),
                self.uart.load(Ordering::Acquire),
            )
        };
        // SAFETY: under the lock; the pointers are null or from `begin`, and
        // those to be freed were taken out above.
        unsafe {
            match nic.as_ref() {
                Some(_) if free => Nic::end(nic),
                Some(nic) => nic.close(),
                None => {}
            }
            match uart.as_ref() {
                Some(_) if free => Uart::end(uart),
                Some(uart) => uart.close(),
                None => {}
            }
        }
    }

    /// Makes the device look as the configuration says.
    fn plug(&self, config: &Config) -> Result<()> {
        let layout = Layout::new(&config.capabilities, config.msix.is_some()).map_err(invalid)?;
        self.set_identity(config);
        let express = self.init_express(layout.express)?;
        let result = self.plug_capabilities(config, &layout, express);
        if result.is_err() {
            self.exit_express();
        }
        result
    }

    fn plug_capabilities(&self, config: &Config, layout: &Layout, express: usize) -> Result<()> {
        self.set_link(config, express);
        self.init_power_management(layout.power_management)?;
        // QEMU puts each at the head of the list: the guest finds them in the
        // order of the configuration.
        for (capability, &place) in config.capabilities.iter().zip(&layout.others).rev() {
            let size = (capability.body.len() + 2) as u8;
            self.add_capability(capability.id, place, size)?;
            self.set_config(usize::from(place) + 2, &capability.body);
        }
        for (i, bar) in config.bars.iter().enumerate() {
            if bar.size != 0 {
                self.plug_bar(i, bar.size);
                self.register_bar(
                    i as u8,
                    BarKind {
                        is_64bit: bar.is_64bit,
                        prefetchable: bar.prefetchable,
                    },
                    &self.bars[i].region,
                );
            }
        }
        self.init_aer(AER_OFFSET)?;
        if let Some(msix) = &config.msix {
            let place = |bar: u8, offset| MsixPlace {
                region: &self.bars[usize::from(bar)].region,
                bar,
                offset,
            };
            let result = self.init_msix(
                layout.msix,
                msix.vectors,
                place(msix.table_bar, msix.table_offset),
                place(msix.pba_bar, msix.pba_offset),
            );
            if result.is_err() {
                self.exit_aer();
            }
            result?;
        }
        Ok(())
    }

    fn plug_bar(&self, number: usize, size: u64) {
        const NAMES: [&CStr; BARS] = [c"bar0", c"bar1", c"bar2", c"bar3", c"bar4", c"bar5"];
        let bar = &self.bars[number];
        // SAFETY: the BAR is a part of this device.
        unsafe { bar.region.init(self.as_ref(), bar, NAMES[number], size) };
    }

    fn set_identity(&self, config: &Config) {
        let class = config.class.to_le_bytes();
        for (offset, value) in [
            (bindings::PCI_VENDOR_ID, config.vendor),
            (bindings::PCI_DEVICE_ID, config.device),
            (bindings::PCI_SUBSYSTEM_VENDOR_ID, config.subsystem_vendor),
            (bindings::PCI_SUBSYSTEM_ID, config.subsystem),
        ] {
            self.set_config(offset as usize, &value.to_le_bytes());
        }
        self.set_config(bindings::PCI_REVISION_ID as usize, &[config.revision]);
        self.set_config(bindings::PCI_CLASS_PROG as usize, &class[..3]);
        self.set_config(bindings::PCI_INTERRUPT_PIN as usize, &[config.intx_pin]);
    }

    /// Link registers (PCIe base spec, Link Capabilities, Link Status, Link
    /// Capabilities 2 and Link Control 2): trained at full speed and width.
    fn set_link(&self, config: &Config, express: usize) {
        let speed = u32::from(config.link_speed);
        let speed_and_width = speed | u32::from(config.link_width) << 4;
        let replace = |offset: u32, mask: u32, value: u32| {
            let at = express + offset as usize;
            let old = u32::from(u16::from_le_bytes(self.config(at)));
            let new = old & !mask | value;
            self.set_config(at, &(new as u16).to_le_bytes());
        };
        replace(bindings::PCI_EXP_LNKCAP, 0x3ff, speed_and_width);
        replace(bindings::PCI_EXP_LNKSTA, 0x3ff, speed_and_width);
        replace(bindings::PCI_EXP_LNKCAP2, 0xfe, ((1 << speed) - 1) << 1);
        replace(bindings::PCI_EXP_LNKCTL2, 0xf, speed);
        self.link_status.store(
            express as u16 + bindings::PCI_EXP_LNKSTA as u16,
            Ordering::Relaxed,
        );
    }

    fn exit(&self) {
        let Some(link) = self.link.borrow_mut().take() else {
            return;
        };
        // SAFETY: undoes what `realize` did, with the same arguments.
        unsafe {
            bindings::notifier_remove(self.shutdown.notifier.as_mut_ptr());
            bindings::notifier_remove(self.exit.notifier.as_mut_ptr());
        }
        self.bus_master.store(false, Ordering::Relaxed);
        clock::release(self.address());
        link.close();
        self.end_channels(true);
        let config = self.config.borrow_mut().take();
        if let Some(msix) = config.and_then(|c| c.msix) {
            self.exit_msix(
                &self.bars[usize::from(msix.table_bar)].region,
                &self.bars[usize::from(msix.pba_bar)].region,
            );
        }
        self.exit_aer();
        self.exit_express();
        self.port_link(false);
        let again = self.again.borrow_mut().take();
        if let Some((_, again)) = again {
            again.schedule();
        }
    }

    fn port_link(&self, active: bool) {
        let device: *mut c::DeviceState = self.as_mut_ptr::<DeviceState>().cast();
        // SAFETY: the object is a device (`IsA`).
        unsafe { replug::port_link(device, active) };
    }

    /// Whether a bit of Command is set; not before the device is realized.
    fn has_command(&self, bit: u32) -> bool {
        let command = u16::from_le_bytes(self.config(bindings::PCI_COMMAND as usize));
        self.link.borrow().is_some() && u32::from(command) & bit != 0
    }

    /// Asks the guest to release the device; when it has, the device is plugged
    /// in again with the identity that the simulator has by then.
    /// Returns whether the guest was asked now, and not a moment ago.
    fn replug(&self) -> Result<bool> {
        if self.link.borrow().is_none() {
            return Err(invalid("the device is not plugged in"));
        }
        if matches!(&*self.again.borrow(), Some((asked, _)) if asked.elapsed() < ASK_AGAIN) {
            return Ok(false);
        }
        let device: *mut c::DeviceState = self.as_mut_ptr::<DeviceState>().cast();
        let (reach, _) = self.resolve_keys()?;
        let endpoint = self.resolve_endpoint(reach)?;
        // SAFETY: the object is a device (`IsA`) of this type, and realized.
        let again = unsafe { Again::of(device, TYPE_NAME, self.id(), endpoint) }?;
        // A slot without power releases the device at once, in `exit`.
        let old = self.again.borrow_mut().replace((Instant::now(), again));
        drop(old);
        // SAFETY: as above.
        let result = unsafe { replug::request_unplug(device) };
        if result.is_err() {
            let failed = self.again.borrow_mut().take();
            drop(failed);
        }
        result.map(|()| true)
    }

    fn config_write(&self, address: u32, value: u32, len: u32) {
        let control = u32::from(self.link_status.load(Ordering::Relaxed))
            .wrapping_sub(bindings::PCI_EXP_LNKSTA)
            .wrapping_add(bindings::PCI_EXP_DEVCTL);
        // Initiate Function Level Reset is bit 15 of Device Control; the reset
        // itself happens within the default handler.
        let byte = (control + 1).wrapping_sub(address);
        let flr = byte < len && value >> (8 * byte) & 0x80 != 0;
        self.flr.store(flr, Ordering::Relaxed);
        self.default_config_write(address, value, len);
        self.flr.store(false, Ordering::Relaxed);
        self.note_bus_master();
    }

    /// To be called after everything that may have changed Command.
    fn note_bus_master(&self) {
        let on = self.has_command(bindings::PCI_COMMAND_MASTER);
        self.bus_master.store(on, Ordering::Relaxed);
    }

    /// As stored, but Link Status has neither speed nor width while the
    /// simulator is away.
    fn config_read(&self, address: u32, len: u32) -> u32 {
        let mut value = self.default_config_read(address, len);
        if !self.link_up.load(Ordering::Relaxed) {
            let status = u32::from(self.link_status.load(Ordering::Relaxed));
            for i in 0..len {
                let mask = match (address + i).wrapping_sub(status) {
                    0 => 0xff,
                    1 => 0x03,
                    _ => 0,
                };
                value &= !(mask << (8 * i));
            }
        }
        value
    }

    fn reset_exit(&self, _type: ResetType) {
        let resets = MACHINE_RESETS.load(Ordering::Relaxed);
        let kind = if self.machine_resets.swap(resets, Ordering::Relaxed) != resets {
            ResetKind::Cold
        } else if self.flr.load(Ordering::Relaxed) {
            ResetKind::Flr
        } else {
            ResetKind::Hot
        };
        self.note_bus_master();
        // A guest that was shut down with -no-shutdown goes on after a reset.
        self.quitting.store(false, Ordering::Relaxed);
        if let Some(link) = self.link() {
            self.reset_error_reporting();
            link.reset(kind);
        }
    }
}

/// What the link's thread gets.
struct Server {
    /// With a reference to the object.
    device: NonNull<AcceleratorPcie>,
    link: Arc<Link>,
}

/// The link's thread. What needs the big QEMU lock takes it ([`Machine`]): reports of
/// writes do not, which would fight for it with the vCPU that goes on writing.
unsafe extern "C" fn serve(opaque: *mut c_void) -> *mut c_void {
    // SAFETY: made for this thread by `AcceleratorPcie::serve`.
    let server = unsafe { Box::from_raw(opaque.cast::<Server>()) };
    // SAFETY: DMA needs RCU, with which each thread has to register once.
    unsafe { bindings::rcu_register_thread() };
    threads::promptly();
    while server.link.wait_ready() {
        server.link.service();
    }
    with_bql(|| {
        // SAFETY: gives back the server's reference, after which nobody here
        // uses the device.
        unsafe { bindings::object_unref(server.device.as_ptr().cast()) };
    });
    drop(server);
    // SAFETY: registered above.
    unsafe { bindings::rcu_unregister_thread() };
    std::ptr::null_mut()
}

/// The simulator is another card now: called once, by the main loop.
unsafe extern "C" fn other_card(opaque: *mut c_void) -> c_int {
    with_bql(|| {
        // SAFETY: `Machine::other_card` has taken a reference.
        let device = unsafe { &*opaque.cast::<AcceleratorPcie>() };
        // Unplugged meanwhile: then there is nothing to do.
        if device.link.borrow().is_some() {
            match device.replug() {
                Ok(false) => {}
                Ok(true) => warn!(
                    "{}: the simulator is another card now; the guest is asked to release the \
                     old one",
                    device.id()
                ),
                Err(e) => error!(
                    "{}: the simulator is another card now, and the device cannot be plugged in \
                     again by itself: {e}; unplug it and plug it in again",
                    device.id()
                ),
            }
        }
        // SAFETY: as above.
        unsafe { bindings::object_unref(opaque) };
    });
    0
}

/// Called in the hold phase of a reset of the machine, before the exit phase
/// of any device.
unsafe extern "C" fn machine_reset(_opaque: *mut c_void) {
    MACHINE_RESETS.fetch_add(1, Ordering::Relaxed);
}

unsafe extern "C" fn shutdown(notifier: *mut bindings::Notifier, _data: *mut c_void) {
    // SAFETY: the notifier is the first field of an `EndNotifier`, which is a
    // part of the device.
    let device = unsafe { (*notifier.cast::<EndNotifier>()).device.as_ref() };
    device.quitting.store(true, Ordering::Relaxed);
    if let Some(link) = device.link() {
        link.quit();
    }
}

/// Says goodbye, so that the simulator need not find out by itself.
unsafe extern "C" fn qemu_exits(notifier: *mut bindings::Notifier, _data: *mut c_void) {
    // SAFETY: as in `shutdown`.
    let device = unsafe { (*notifier.cast::<EndNotifier>()).device.as_ref() };
    with_bql(|| device.end_channels(false));
    clock::release(device.address());
    if let Some(link) = with_bql(|| device.link()) {
        link.close();
    }
}

/// The machine as the link sees it.
///
/// The link may be served by a vCPU without the big QEMU lock. The device then
/// is alive all the same: the vCPU is in a callback of one of its memory
/// regions, under RCU, and the flat view that it found the region in holds a
/// reference to the device until a grace period after it was replaced. The device's
/// address space is only taken down after such a period too. The link's thread has
/// a reference of its own, which keeps the device but not its address space: there
/// DMA takes the lock.
struct Machine {
    device: NonNull<AcceleratorPcie>,
}

// SAFETY: what the methods do is safe from any thread.
unsafe impl Send for Machine {}
// SAFETY: as above.
unsafe impl Sync for Machine {}

impl Machine {
    fn device(&self) -> &AcceleratorPcie {
        // SAFETY: see the description of the type.
        unsafe { self.device.as_ref() }
    }

    /// Calls `access`, with the big QEMU lock where an access needs it: behind an
    /// IOMMU, and in a thread that is not in a callback of the device.
    fn dma(
        &self,
        access: impl FnOnce(&AcceleratorPcie) -> std::result::Result<(), DmaFault>,
    ) -> Status {
        let device = self.device();
        // Of a device that was unplugged it is off.
        let status = || {
            if !device.bus_master.load(Ordering::Relaxed) {
                return Status::Refused;
            }
            match access(device) {
                Ok(()) => Status::Ok,
                Err(DmaFault) => Status::Fault,
            }
        };
        if !in_vcpu_thread() || device.is_behind_iommu() {
            with_bql(status)
        } else {
            status()
        }
    }
}

impl Root for Machine {
    fn dma_read(&self, addr: u64, data: &mut [u8]) -> Status {
        self.dma(|device| device.dma_read(addr, data))
    }

    fn dma_write(&self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> Status {
        let Some(enables) = enables else {
            return self.dma(|device| device.dma_write(addr, data));
        };
        let enabled = |i: usize| enables[i / 8] >> (i % 8) & 1 != 0;
        self.dma(|device| {
            let mut i = 0;
            while i < data.len() {
                if !enabled(i) {
                    i += 1;
                    continue;
                }
                let start = i;
                while i < data.len() && enabled(i) {
                    i += 1;
                }
                device.dma_write(addr + start as u64, &data[start..i])?;
            }
            Ok(())
        })
    }

    fn msix(&self, vector: u16) {
        with_bql(|| {
            let device = self.device();
            // Unplugged while we waited for the lock: MSI-X is gone.
            if device.link.borrow().is_some() {
                device.msix_notify(vector);
            }
        });
    }

    fn intx(&self, level: bool) {
        with_bql(|| {
            let device = self.device();
            if device.link.borrow().is_some() {
                device.set_intx(level);
            }
        });
    }

    fn link(&self, up: bool) {
        self.device().link_up.store(up, Ordering::Relaxed);
        if !up {
            clock::lost(self.device().address());
        }
    }

    fn time(&self, ns: u64) {
        clock::told(self.device().address(), ns);
    }

    fn other_card(&self) {
        let object: *mut c::Object = self.device.as_ptr().cast();
        // SAFETY: the device is alive (see above); the reference keeps it so
        // until the callback gives it back.
        unsafe {
            bindings::object_ref(object.cast());
            bindings::g_timeout_add(0, Some(other_card), object.cast());
        }
    }

    fn unlocked(&self, wait: &mut dyn FnMut()) {
        without_bql(wait);
    }

    fn asked(&self) -> Asked {
        // Only a vCPU is waited for. One that is told to stop while the machine
        // runs is told by a reset, which is not announced otherwise (`stop` and
        // its like change the state of the machine first; QEMU also does it to
        // suspend the machine, which the guest then comes back from by a reset).
        if !in_vcpu_thread() {
            Asked::Nothing
        } else if !runs() {
            Asked::Stop
        } else if told_to_stop() {
            Asked::Reset
        } else {
            Asked::Nothing
        }
    }

    fn completion_timeout(&self) {
        with_bql(|| {
            let device = self.device();
            // Unplugged while we waited: the registers are gone.
            if device.link.borrow().is_some() {
                device.completion_timeout_error();
            }
        });
    }

    fn quitting(&self) -> bool {
        // SAFETY: looks at a variable.
        let requested = unsafe { bindings::qemu_shutdown_requested_get() };
        requested != bindings::SHUTDOWN_CAUSE_NONE || self.device().quitting.load(Ordering::Relaxed)
    }
}

const _: () = assert!(std::mem::size_of::<c_int>() == 4);

// SAFETY: called once, before `main`; the description lives as long as QEMU.
module_init! {
    MODULE_INIT_QOM => unsafe {
        static TYPE: Type = Type(c::TypeInfo {
            interfaces: PCI_EXPRESS.as_ptr(),
            ..AcceleratorPcie::TYPE_INFO
        });
        c::type_register_static(&TYPE.0);
    }
}

struct Type(c::TypeInfo);

// SAFETY: the pointers are to constants and functions.
unsafe impl Sync for Type {}
