// SPDX-License-Identifier: GPL-2.0-or-later

//! The QOM type `accelerator-pcie`.

use std::{
    ffi::{c_char, c_int, c_void, CStr, CString},
    io,
    mem::offset_of,
    ptr::{addr_of, addr_of_mut, NonNull},
    sync::{
        atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering},
        mpsc::{channel, Sender},
        Arc,
    },
    time::{Duration, Instant},
};

use accelerator_carrier::{segment::PermitPage, threads};
use accelerator_protocol::{
    channel_endpoint,
    config::{Config, BARS},
    default_endpoint_within, parse_endpoint_within,
    wire::{ChannelKind, ErrorKind, Status},
    Reach, PORT_VARIABLE,
};
use log::{error, warn};

use crate::{
    bindings,
    channel::Channel,
    clock, code,
    config_space::ConfigSpace,
    glue::{
        c, error, module_init, qom_isa, BqlRefCell, DeviceState, Error, Object, ObjectDeref,
        ObjectImpl, ObjectType, Opaque, ParentField, ParentInit, ResetType, ResettablePhasesImpl,
        Result, DEVICE_CATEGORY_MISC,
    },
    keys,
    layout::Layout,
    link::{Asked, Link, Moment, Root, Settings, Waiter, Wanted},
    logger,
    msi::Msi,
    nic::{self, Nic},
    pci::{
        bql_locked, in_rcu, in_vcpu_thread, is_live, is_own_access, runs, told_to_stop, unhindered,
        with_bql, BarKind, DmaFault, Mmio, MmioRegion, MsixPlace, PciDevice, PciDeviceClass,
        PciDeviceImpl, PciDeviceMethods, PCI_EXPRESS,
    },
    replug::{self, Again},
    tracing,
    uart::{self, Uart},
};

mod errors;
mod function;
mod properties;
mod reach;
mod registers;

use self::registers::Registers;

const TYPE_NAME: &CStr = c"accelerator-pcie";

/// A guest that has not released the device after this is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(20);

/// Environment variable: a wait longer than this, in milliseconds, is logged.
const WARN_VARIABLE: &str = "ACCELERATOR_ZMQ_WARN_MS";
const WARN_DEFAULT_MS: u64 = 1000;

/// No wait is as long, and still it can be added to the time.
const NEVER: Duration = Duration::from_secs(u32::MAX as u64);

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
    /// `None` also while the function sleeps.
    fn link(&self) -> Option<Arc<Link>> {
        // SAFETY: the BAR is a part of the device.
        let device = unsafe { self.device.as_ref() };
        device
            .link()
            .filter(|_| !device.asleep.load(Ordering::Relaxed))
    }
}

impl Mmio for Bar {
    fn read(&self, offset: u64, size: u32) -> u64 {
        match self.link() {
            Some(link) => link.read(self.number, offset, size as u8),
            // Nobody completes the request, which reads as all ones.
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
    other_timeout: u32,
    write_window: u32,
    shared_memory: bindings::OnOffAuto,
    poll_max_ns: u32,
    posted_writes: bool,
    direct_dma: bool,
    nic_endpoint: *mut c_char,
    serial_endpoint: *mut c_char,
    network: Opaque<bindings::NICConf>,
    serial: Opaque<bindings::CharFrontend>,

    /// Null without a `netdev`, and before realize.
    nic: AtomicPtr<Nic>,
    nic_counters: nic::Counters,
    /// Null without a `chardev`, and before realize.
    uart: AtomicPtr<Uart>,
    uart_counters: uart::Counters,
    /// Step of guest time in nanoseconds if it follows the simulator's, or 0.
    sim_clock: AtomicU32,
    bars: [Bar; BARS],
    link: BqlRefCell<Option<Arc<Link>>>,
    config: BqlRefCell<Option<Config>>,
    shutdown: EndNotifier,
    exit: EndNotifier,
    listener: reach::Listener,
    memory: BqlRefCell<reach::Memory>,
    /// Null before realize, and after.
    state_change: AtomicPtr<bindings::VMChangeStateEntry>,
    /// QEMU is about to end.
    quitting: AtomicBool,
    /// Its BARs are registered, or were.
    plugged: AtomicBool,
    /// Between the handshake and the loss of the simulator.
    link_up: AtomicBool,
    /// Of config space, while the device is plugged in.
    registers: BqlRefCell<Option<Registers>>,
    /// A function level reset is under way.
    flr: AtomicBool,
    /// The function is in D3hot.
    asleep: AtomicBool,
    /// Level at which the RTL drives the INTx pin.
    intx_level: AtomicBool,
    /// The guest lets the device access memory: Bus Master Enable in Command, and
    /// the function is not asleep. Config space itself is gone as soon as the device is unplugged, and DMA is served
    /// without the big QEMU lock.
    bus_master: AtomicBool,
    /// Requester id, as config space was last seen to have it.
    requester: AtomicU32,
    /// The guest was asked to release the device, so that it can be plugged in
    /// again.
    again: BqlRefCell<Option<(Instant, Again)>>,
    /// It is being asked.
    asking: AtomicBool,
    /// That was called off, and is not begun again when the simulator is another
    /// card.
    stays_out: AtomicBool,
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
        properties::describe(class);
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
            addr_of_mut!((*device).registers).write(BqlRefCell::new(None));
            addr_of_mut!((*device).again).write(BqlRefCell::new(None));
            addr_of_mut!((*device).memory).write(BqlRefCell::new(reach::Memory::default()));
            addr_of_mut!((*device).listener)
                .write(Self::init_listener(NonNull::new_unchecked(device)));
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
        let warn_after = match std::env::var(WARN_VARIABLE) {
            Ok(text) if !text.is_empty() => match text.parse::<u64>() {
                Ok(0) => NEVER,
                Ok(ms) => Duration::from_millis(ms).min(NEVER),
                Err(_) => {
                    return Err(invalid(format!(
                        "{WARN_VARIABLE} is {text:?}, expected milliseconds, or 0 for never"
                    )))
                }
            },
            _ => Duration::from_millis(WARN_DEFAULT_MS),
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
            other_timeout: Duration::from_millis(self.other_timeout.into()),
            warn_after,
            shared_memory: match self.shared_memory {
                bindings::ON_OFF_AUTO_ON => Wanted::On,
                bindings::ON_OFF_AUTO_OFF => Wanted::Off,
                _ => Wanted::Auto,
            },
            look: Duration::from_nanos(self.poll_max_ns.into()),
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
        // `pci_unregister_io_regions` keeps the sizes of BARs, and `pci_register_bar` asserts
        // that there are none (QEMU's `hw/pci/pci.c`).
        if self.plugged.load(Ordering::Relaxed) {
            return Err(invalid(
                "a PCI device cannot be realized a second time: remove it with device_del, and \
                 add it with device_add",
            ));
        }
        let settings = self.settings()?;
        let (name, endpoint) = (settings.name.clone(), settings.endpoint.clone());
        self.quitting.store(false, Ordering::Relaxed);
        let machine = Machine {
            device: NonNull::from(self),
            // An id has no NUL.
            id: CString::new(name.clone()).unwrap_or_default(),
        };
        let link = Link::new(settings, Box::new(machine)).map_err(|e| invalid(e.to_string()))?;
        // Early, when it may still fail.
        let thread = match start_server() {
            Ok(thread) => thread,
            Err(e) => {
                link.close();
                return Err(invalid(format!("cannot start the thread of the link: {e}")));
            }
        };
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
        self.plugged.store(true, Ordering::Relaxed);
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
        // SAFETY: undone in `exit`, before the device goes away.
        let entry = unsafe {
            bindings::qemu_add_vm_change_state_handler(
                Some(state_changed),
                std::ptr::from_ref(self).cast_mut().cast(),
            )
        };
        self.state_change.store(entry, Ordering::Relaxed);
        link.stop(!is_live());
        self.serve(&link, &thread);
        self.refresh();
        link.accept(config);
        self.watch_memory();
        self.plug_channels(channels);
        self.port_link(true);
        Ok(())
    }

    /// Lets the link's thread serve the link while no vCPU does, until the link is
    /// closed.
    fn serve(&self, link: &Arc<Link>, thread: &Sender<Server>) {
        let this: *const Self = self;
        // SAFETY: the object is alive. The thread gives the reference back.
        unsafe { bindings::object_ref(this.cast_mut().cast()) };
        let server = Server {
            device: NonNull::from(self),
            link: Arc::clone(link),
        };
        if thread.send(server).is_err() {
            // Cannot happen: it waits for this.
            error!("{}: nobody serves the link", self.id());
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
        let make = |kind, property: &str, endpoint: *mut c_char, window| {
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
            let channel = Channel::new(kind, name, endpoint, window);
            let mut channel = channel.map_err(|e| invalid(e.to_string()))?;
            channel.set_keys(keys.clone());
            Ok::<Channel, Error>(channel)
        };
        let network = self.network.as_mut_ptr();
        // SAFETY: the configuration is a part of the device, and only changed
        // by its properties, before realize.
        let (has_netdev, mac) =
            unsafe { (!(*network).peers.ncs[0].is_null(), (*network).macaddr.a) };
        // SAFETY: as above.
        let has_chardev = unsafe { Uart::is_connected(&self.serial) };
        for (property, set, other, there) in [
            ("mac", mac != [0; 6], "netdev", has_netdev),
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
            if mac[0] & 1 != 0 {
                return Err(invalid("property mac is a group address"));
            }
            let endpoint = self.nic_endpoint;
            Some(make(
                ChannelKind::Nic,
                "nic-endpoint",
                endpoint,
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
                uart::WINDOW,
            )?)
        } else {
            None
        };
        Ok(Channels { nic, uart })
    }

    fn plug_channels(&self, channels: Channels) {
        if let Some(mut channel) = channels.nic {
            let device: *mut c::DeviceState = self.as_mut_ptr::<DeviceState>().cast();
            let network = self.network.as_mut_ptr();
            // An address that was filled in is only given back with the NIC, so it
            // is taken when nothing can fail any more.
            // SAFETY: the configuration is a part of the device, under the lock.
            channel.set_mac(unsafe {
                bindings::qemu_macaddr_default_if_unset(addr_of_mut!((*network).macaddr));
                (*network).macaddr.a
            });
            // SAFETY: the device is being realized, under the lock; what is
            // passed is a part of it, and `exit` ends the NIC before it goes.
            let nic = unsafe {
                Nic::begin(
                    channel,
                    self.id(),
                    network,
                    (*device).id,
                    addr_of!(self.nic_counters),
                )
            };
            self.nic.store(nic, Ordering::Release);
        }
        if let Some(channel) = channels.uart {
            // SAFETY: as above.
            let uart = unsafe {
                Uart::begin(
                    channel,
                    self.id(),
                    &self.serial,
                    addr_of!(self.uart_counters),
                )
            };
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
        let layout = Layout::new(config).map_err(invalid)?;
        self.forbid_writes();
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
        if let Err(e) = self.plug_interrupts(config, layout) {
            self.exit_aer();
            return Err(e);
        }
        self.seal(layout, express, AER_OFFSET);
        Ok(())
    }

    fn plug_interrupts(&self, config: &Config, layout: &Layout) -> Result<()> {
        if let Some(msi) = &config.msi {
            self.init_msi(layout.msi, msi.vectors, msi.masking)?;
        }
        if let Some(msix) = &config.msix {
            let place = |bar: u8, offset| MsixPlace {
                region: &self.bars[usize::from(bar)].region,
                bar,
                offset,
            };
            let result = if msix.in_rtl {
                self.init_own_msix(
                    layout.msix,
                    msix.vectors,
                    msix.table_offset | u32::from(msix.table_bar),
                    msix.pba_offset | u32::from(msix.pba_bar),
                )
            } else {
                self.init_msix(
                    layout.msix,
                    msix.vectors,
                    place(msix.table_bar, msix.table_offset),
                    place(msix.pba_bar, msix.pba_offset),
                )
            };
            if result.is_err() {
                self.exit_msi();
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

    fn exit(&self) {
        let Some(link) = self.link.borrow_mut().take() else {
            return;
        };
        // SAFETY: undoes what `realize` did, with the same arguments.
        unsafe {
            bindings::notifier_remove(self.shutdown.notifier.as_mut_ptr());
            bindings::notifier_remove(self.exit.notifier.as_mut_ptr());
            bindings::qemu_del_vm_change_state_handler(
                self.state_change
                    .swap(std::ptr::null_mut(), Ordering::Relaxed),
            );
        }
        self.bus_master.store(false, Ordering::Relaxed);
        *self.registers.borrow_mut() = None;
        self.asleep.store(false, Ordering::Relaxed);
        clock::release(self.address());
        self.forget_memory();
        link.close();
        self.end_channels(true);
        let config = self.config.borrow_mut().take();
        if let Some(msix) = config.and_then(|c| c.msix).filter(|m| !m.in_rtl) {
            self.exit_msix(
                &self.bars[usize::from(msix.table_bar)].region,
                &self.bars[usize::from(msix.pba_bar)].region,
            );
        }
        self.exit_msi();
        self.exit_aer();
        self.exit_express();
        self.port_link(false);
        let again = self.again.borrow_mut().take();
        if let Some((_, again)) = again {
            if self.asking.load(Ordering::Relaxed) || !self.is_deleted_by_user() {
                again.schedule();
            }
        }
    }

    fn is_deleted_by_user(&self) -> bool {
        let device: *mut c::DeviceState = self.as_mut_ptr::<DeviceState>().cast();
        // SAFETY: the object is a device (`IsA`).
        unsafe { replug::is_deleted_by_user(device) }
    }

    /// The device does not come back when the guest releases it, which it may have
    /// been asked for.
    fn call_off(&self) {
        let again = self.again.borrow_mut().take();
        if again.is_some() {
            self.stays_out.store(true, Ordering::Relaxed);
            warn!(
                "{}: the guest has been asked to release the device, which is not plugged in \
                 again then",
                self.id()
            );
        }
    }

    /// As QEMU's C functions take it.
    fn qdev(&self) -> *mut c::DeviceState {
        self.as_mut_ptr::<DeviceState>().cast()
    }

    fn port_link(&self, active: bool) {
        // SAFETY: the object is a device (`IsA`).
        unsafe { replug::port_link(self.qdev(), active) };
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
        // SAFETY: as above; the reference keeps the object until it is given back.
        let result = unsafe {
            bindings::object_ref(device.cast());
            self.asking.store(true, Ordering::Relaxed);
            let result = replug::request_unplug(device);
            self.asking.store(false, Ordering::Relaxed);
            result
        };
        if result.is_err() {
            let failed = self.again.borrow_mut().take();
            drop(failed);
        }
        // SAFETY: gives the reference back; nothing of the object is used after.
        unsafe { bindings::object_unref(device.cast()) };
        result.map(|()| true)
    }
}

/// What the link's thread gets.
struct Server {
    /// With a reference to the object.
    device: NonNull<AcceleratorPcie>,
    link: Arc<Link>,
}

// SAFETY: the device is `Sync`, and the reference keeps it.
unsafe impl Send for Server {}

/// Starts a thread that waits for a link to serve, and ends if none comes.
fn start_server() -> io::Result<Sender<Server>> {
    let (sender, receiver) = channel::<Server>();
    threads::spawn("acc-link", move || {
        if let Ok(server) = receiver.recv() {
            serve(server);
        }
    })?;
    Ok(sender)
}

/// The link's thread. What needs the big QEMU lock takes it ([`Machine`]): reports of
/// writes do not, which would fight for it with the vCPU that goes on writing.
fn serve(server: Server) {
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
}

/// The simulator is another card now: called once, by the main loop.
unsafe extern "C" fn other_card(opaque: *mut c_void) -> c_int {
    with_bql(|| {
        // SAFETY: `Machine::other_card` has taken a reference.
        let device = unsafe { &*opaque.cast::<AcceleratorPcie>() };
        // Unplugged meanwhile, or it is to be: then there is nothing to do.
        let leaves = device.stays_out.load(Ordering::Relaxed) || device.is_deleted_by_user();
        if device.link.borrow().is_some() && !leaves {
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

/// The machine is stopped or goes on: called while no vCPU runs.
unsafe extern "C" fn state_changed(opaque: *mut c_void, running: bool, _state: bindings::RunState) {
    // SAFETY: the handler is removed before the device goes away.
    let device = unsafe { &*opaque.cast::<AcceleratorPcie>() };
    if let Some(link) = device.link() {
        link.stop(!running);
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
/// regions, and the flat view that it found the region in holds a reference to
/// the device. A vCPU that waits is outside of RCU, but a reference keeps the view
/// (`unhindered`). Any other access holds the lock. The device's address space is
/// taken down a grace period after the device is unplugged, so that DMA enters
/// RCU, or takes the lock, and then looks whether bus mastering is on. The link's
/// thread has a reference of its own.
struct Machine {
    device: NonNull<AcceleratorPcie>,
    /// For trace events.
    id: CString,
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

    /// Calls `access` if the device may access memory.
    fn dma(
        &self,
        access: impl FnOnce(&AcceleratorPcie, u16) -> std::result::Result<(), DmaFault>,
    ) -> Status {
        let device = self.device();
        // Of a device that was unplugged it is off.
        let status = || {
            if !device.bus_master.load(Ordering::Relaxed) {
                return Status::Refused;
            }
            match access(device, device.requester.load(Ordering::Relaxed) as u16) {
                Ok(()) => Status::Ok,
                Err(DmaFault) => Status::Fault,
            }
        };
        // The link has taken the lock where it is needed (`dma_locks`).
        in_rcu(status)
    }
}

impl Root for Machine {
    fn dma_read(&self, addr: u64, data: &mut [u8]) -> Status {
        // SAFETY: its address space is there while Bus Master Enable is noted, see
        // the description of the type.
        self.dma(|device, requester| unsafe { device.dma_read(requester, addr, data) })
    }

    fn dma_write(&self, addr: u64, data: &[u8], enables: Option<&[u8]>) -> Status {
        let Some(enables) = enables else {
            // SAFETY: as in `dma_read`.
            return self
                .dma(|device, requester| unsafe { device.dma_write(requester, addr, data) });
        };
        let enabled = |i: usize| enables[i / 8] >> (i % 8) & 1 != 0;
        self.dma(|device, requester| {
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
                // SAFETY: as in `dma_read`.
                unsafe { device.dma_write(requester, addr + start as u64, &data[start..i]) }?;
            }
            Ok(())
        })
    }

    fn msix(&self, vector: u16) -> std::result::Result<(), u16> {
        with_bql(|| {
            let device = self.device();
            // Unplugged while we waited for the lock: MSI-X and MSI are gone. A function
            // that sleeps makes no requests, this one included.
            if device.link.borrow().is_some() && !device.asleep.load(Ordering::Relaxed) {
                if device.messages_are_the_rtls() {
                    return Err(0);
                }
                device.raise(vector)
            } else {
                Ok(())
            }
        })
    }

    fn intx(&self, level: bool) {
        with_bql(|| {
            let device = self.device();
            if device.link.borrow().is_some() {
                device.intx(level);
            }
        });
    }

    fn link(&self, up: bool) {
        tracing::link(&self.id, up);
        self.device().link_changes(up);
        if !up {
            clock::lost(self.device().address());
        }
    }

    fn gate(&self, page: Option<&PermitPage>) {
        code::gate(self.device().address(), page);
    }

    fn moment(&self, moment: Moment) {
        tracing::moment(&self.id, moment);
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

    fn may_wait(&self) -> bool {
        is_own_access()
    }

    fn waiting(&self, wait: &mut dyn FnMut(Waiter)) {
        if unhindered(|| wait(Waiter::Vcpu)).is_none() {
            wait(Waiter::Other);
        }
    }

    fn holds_lock(&self) -> bool {
        bql_locked()
    }

    fn with_lock(&self, f: &mut dyn FnMut()) {
        with_bql(f);
    }

    fn dma_locks(&self) -> bool {
        !in_vcpu_thread() || self.device().is_behind_iommu()
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

    fn error(&self, kind: ErrorKind) {
        with_bql(|| {
            let device = self.device();
            // Unplugged while we waited for the lock: the registers are gone.
            if device.link.borrow().is_some() {
                device.note_error(kind);
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
