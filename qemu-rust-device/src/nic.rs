// SPDX-License-Identifier: GPL-2.0-or-later

//! The card's network side: QEMU's `netdev` at one end, a NIC channel at the
//! other.
//!
//! Everything happens under the big QEMU lock. Towards the RTL the channel's
//! credit is the back-pressure: without it QEMU's net layer keeps the frame and
//! stops its source. From the RTL it is QEMU's queue: while a frame waits there
//! the simulator gets no credit for it.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_char, c_int, CString},
    mem::{size_of, MaybeUninit},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use accelerator_carrier::threads;
use accelerator_protocol::{
    limit::Limit,
    wire::{MAX_NIC_FRAME, MIN_NIC_FRAME},
};
use log::{info, warn};

use crate::{bindings, channel::Channel, glue::Opaque};

/// Frames of the RTL that are kept for the network at most.
pub const WINDOW: u32 = 64;

/// What was moved and what was not, as properties of the device tell it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Counters {
    /// Frames of the network that the RTL was sent.
    pub to_rtl: AtomicU64,
    /// Frames of the RTL that the network was given.
    pub from_rtl: AtomicU64,
    /// Frames of the network that were dropped: a link is down or the
    /// simulator away, or a frame is too long.
    pub to_rtl_dropped: AtomicU64,
    /// Frames of the RTL that were dropped: a link is down.
    pub from_rtl_dropped: AtomicU64,
}

/// The network side of one card.
pub struct Nic {
    channel: RefCell<Channel>,
    state: Cell<*mut bindings::NICState>,
    /// Ours and not the device's: that one is taken while a guest waits for the
    /// RTL, and then QEMU would not give us frames.
    guard: Opaque<bindings::MemReentrancyGuard>,
    /// QEMU keeps a frame of the RTL.
    sending: Cell<bool>,
    /// What QEMU keeps is thrown away, and nothing is to follow it.
    ending: Cell<bool>,
    /// Of lines about frames that are longer than any.
    too_long: RefCell<Limit>,
    counters: *const Counters,
    name: String,
    mac: [u8; 6],
}

const fn info() -> bindings::NetClientInfo {
    // SAFETY: null pointers and zero are values of all fields.
    let mut info: bindings::NetClientInfo = unsafe { MaybeUninit::zeroed().assume_init() };
    info.type_ = bindings::NET_CLIENT_DRIVER_NIC;
    info.size = size_of::<bindings::NICState>();
    info.can_receive = Some(can_receive);
    info.receive = Some(receive);
    info.link_status_changed = Some(link_status_changed);
    info
}

struct Info(bindings::NetClientInfo);

// SAFETY: the pointers are to functions, and QEMU only reads it.
unsafe impl Sync for Info {}

static INFO: Info = Info(info());

impl Nic {
    /// Makes the NIC known to QEMU and begins to connect. The result is to be
    /// ended with [`Nic::end`].
    ///
    /// # Safety
    ///
    /// Under the big QEMU lock. `conf` is that of a device that is being
    /// realized, with a peer, and `id` null or a C string; `conf` and `counters`
    /// outlive the result.
    pub unsafe fn begin(
        channel: Channel,
        name: String,
        conf: *mut bindings::NICConf,
        id: *const c_char,
        counters: *const Counters,
    ) -> *mut Self {
        // SAFETY: promised by the caller.
        let mac = unsafe { (*conf).macaddr.a };
        let nic = Box::into_raw(Box::new(Self {
            channel: RefCell::new(channel),
            state: Cell::new(std::ptr::null_mut()),
            // SAFETY: zero is "not engaged".
            guard: unsafe { Opaque::zeroed() },
            sending: Cell::new(false),
            ending: Cell::new(false),
            too_long: RefCell::default(),
            counters,
            name,
            mac,
        }));
        // SAFETY: the box lives until `end`, which takes it back from QEMU
        // first; the model is a constant and `id` is copied.
        unsafe {
            let state = bindings::qemu_new_nic(
                std::ptr::addr_of!(INFO.0).cast_mut(),
                conf,
                c"accelerator-pcie".as_ptr(),
                id,
                (*nic).guard.as_mut_ptr(),
                nic.cast(),
            );
            (*nic).state.set(state);
            let channel = &(*nic).channel;
            // The netdev's link may have been set down before.
            let down = (*(*nic).queue()).link_down;
            channel.borrow_mut().set_link(!is_set(down));
            channel.borrow_mut().start();
            bindings::qemu_set_fd_handler(
                channel.borrow().descriptor(),
                Some(readable),
                None,
                nic.cast(),
            );
            (*nic).describe();
        }
        nic
    }

    /// Says goodbye to the simulator; the NIC stays known to QEMU.
    pub fn close(&self) {
        self.channel.borrow_mut().close();
    }

    /// Takes the NIC away from QEMU and frees it.
    ///
    /// # Safety
    ///
    /// Under the big QEMU lock; `nic` comes from [`Nic::begin`] and is used by
    /// nobody else.
    pub unsafe fn end(nic: *mut Self) {
        // SAFETY: as the caller promises; after these calls QEMU knows neither
        // the descriptor nor the pointer any more. A frame that waits for the
        // network holds its sender, which is one of our queues, and
        // `packet_sent`: it has to go before they do.
        let nic = unsafe {
            let fd = (*nic).channel.borrow().descriptor();
            bindings::qemu_set_fd_handler(fd, None, None, std::ptr::null_mut());
            (*nic).ending.set(true);
            (*nic).each_queue(|queue| bindings::qemu_purge_queued_packets(queue));
            bindings::qemu_del_nic((*nic).state.get());
            Box::from_raw(nic)
        };
        nic.close();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = nic.counters();
        info!(
            "{}: {} frames to the RTL, {} dropped; {} frames from the RTL, {} dropped",
            nic.name,
            count(&c.to_rtl),
            count(&c.to_rtl_dropped),
            count(&c.from_rtl),
            count(&c.from_rtl_dropped)
        );
    }

    fn counters(&self) -> &Counters {
        // SAFETY: the counters outlive the NIC, as `begin` demands.
        unsafe { &*self.counters }
    }

    /// The queue that frames of the RTL take, and the one that has the link.
    fn queue(&self) -> *mut bindings::NetClientState {
        // SAFETY: the state is QEMU's, from `begin` until `end`.
        unsafe { bindings::qemu_get_queue(self.state.get()) }
    }

    /// All queues: a network may have several, and each brings frames.
    fn each_queue(&self, mut f: impl FnMut(*mut bindings::NetClientState)) {
        // SAFETY: as above; the configuration is that of `begin`, and QEMU makes
        // so many queues of it, one at least.
        unsafe {
            let queues = (*(*self.state.get()).conf).peers.queues.max(1);
            for index in 0..queues {
                f(bindings::qemu_get_subqueue(self.state.get(), index));
            }
        }
    }

    fn link_down(&self) -> bool {
        // SAFETY: as above.
        is_set(unsafe { (*self.queue()).link_down })
    }

    /// What `info network` shows.
    fn describe(&self) {
        let [a, b, c, d, e, f] = self.mac;
        let channel = self.channel.borrow();
        let rtl = match (channel.is_up(), channel.peer_link()) {
            (false, _) => "absent",
            (true, false) => "down",
            (true, true) => "up",
        };
        let text = format!(
            "model=accelerator-pcie,macaddr={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x},\
             rtl-link={rtl}"
        );
        let text = CString::new(text).unwrap_or_default();
        // SAFETY: the format takes one string; QEMU copies what it makes of it.
        unsafe { bindings::qemu_set_info_str(self.queue(), c"%s".as_ptr(), text.as_ptr()) };
    }

    fn service(&self) {
        threads::short_slice();
        let news = self.channel.borrow_mut().service();
        if news.changed {
            self.describe();
        }
        if news.room || news.changed {
            // Frames for which there was no credit.
            // SAFETY: the queues are ours, see `queue`.
            self.each_queue(|queue| unsafe { bindings::qemu_flush_queued_packets(queue) });
        }
        self.deliver();
    }

    /// Gives the frames of the RTL to the network, until it takes no more.
    fn deliver(&self) {
        while !self.sending.get() {
            let frame = {
                let mut channel = self.channel.borrow_mut();
                let frame = channel.take_frame();
                match frame {
                    Some(_) if self.link_down() || !channel.peer_link() => {
                        self.counters()
                            .from_rtl_dropped
                            .fetch_add(1, Ordering::Relaxed);
                        channel.consumed(1);
                        continue;
                    }
                    Some(frame) => frame,
                    None => return,
                }
            };
            self.counters().from_rtl.fetch_add(1, Ordering::Relaxed);
            self.sending.set(true);
            // The channel is not borrowed: the network may answer at once.
            // SAFETY: the bytes are there during the call; QEMU makes a copy
            // of what it keeps.
            let sent = unsafe {
                bindings::qemu_send_packet_async(
                    self.queue(),
                    frame.as_ptr(),
                    frame.len() as c_int,
                    Some(packet_sent),
                )
            };
            if sent == 0 {
                // Kept by QEMU, until `packet_sent`.
                return;
            }
            self.sending.set(false);
            self.channel.borrow_mut().consumed(1);
        }
    }

    fn receive(&self, data: &[u8]) -> isize {
        let taken = data.len() as isize;
        let mut channel = self.channel.borrow_mut();
        let too_long = data.len() > MAX_NIC_FRAME;
        if !channel.peer_link() || too_long || self.link_down() {
            let drops = &self.counters().to_rtl_dropped;
            drops.fetch_add(1, Ordering::Relaxed);
            if too_long {
                if let Some(note) = self.too_long.borrow_mut().admit(Instant::now()) {
                    warn!(
                        "{}: a frame of {} bytes is dropped, the RTL takes at most \
                         {MAX_NIC_FRAME}{note}",
                        self.name,
                        data.len()
                    );
                }
            }
            return taken;
        }
        let sent = if data.len() < MIN_NIC_FRAME {
            let mut padded = [0; MIN_NIC_FRAME];
            padded[..data.len()].copy_from_slice(data);
            channel.send_frame(&padded)
        } else {
            channel.send_frame(data)
        };
        if !sent {
            return 0;
        }
        self.counters().to_rtl.fetch_add(1, Ordering::Relaxed);
        taken
    }
}

/// A C truth value, an int or a bool as the release has it.
fn is_set<T: Into<i64>>(value: T) -> bool {
    value.into() != 0
}

/// The NIC that QEMU calls back.
///
/// # Safety
///
/// `nc` is a queue that [`Nic::begin`] made, before [`Nic::end`].
unsafe fn of<'a>(nc: *mut bindings::NetClientState) -> &'a Nic {
    // SAFETY: the opaque pointer is the box of `begin`.
    unsafe { &*bindings::qemu_get_nic_opaque(nc).cast::<Nic>() }
}

unsafe extern "C" fn readable(opaque: *mut std::ffi::c_void) {
    // SAFETY: registered with the box of `begin`, until `end`.
    unsafe { &*opaque.cast::<Nic>() }.service();
}

unsafe extern "C" fn can_receive(nc: *mut bindings::NetClientState) -> bool {
    // SAFETY: called for our queues.
    let channel = unsafe { of(nc) }.channel.borrow();
    // Without a link frames are taken and dropped.
    !channel.peer_link() || channel.credit() != 0
}

unsafe extern "C" fn receive(
    nc: *mut bindings::NetClientState,
    data: *const u8,
    size: usize,
) -> isize {
    // SAFETY: called for our queues, with that many bytes.
    unsafe { of(nc).receive(std::slice::from_raw_parts(data, size)) }
}

unsafe extern "C" fn packet_sent(nc: *mut bindings::NetClientState, _result: isize) {
    // SAFETY: the sender of the packet is our queue.
    let nic = unsafe { of(nc) };
    nic.sending.set(false);
    if nic.ending.get() {
        return;
    }
    nic.channel.borrow_mut().consumed(1);
    nic.deliver();
}

unsafe extern "C" fn link_status_changed(nc: *mut bindings::NetClientState) {
    // SAFETY: called for our queues.
    let nic = unsafe { of(nc) };
    // Within `qemu_new_nic` nothing is known yet.
    if !nic.state.get().is_null() {
        let up = !nic.link_down();
        nic.channel.borrow_mut().set_link(up);
    }
}
