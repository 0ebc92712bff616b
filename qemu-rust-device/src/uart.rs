// SPDX-License-Identifier: GPL-2.0-or-later

//! The card's serial side: a QEMU `chardev` at one end, a serial channel at the
//! other. Everything happens under the big QEMU lock.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_int, c_void},
    io::{Error, ErrorKind},
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use accelerator_carrier::threads;
use accelerator_protocol::limit::Limit;
use log::{info, warn};

use crate::{
    bindings::{self, CharFrontend},
    channel::Channel,
    glue::Opaque,
};

/// Bytes of the RTL that are kept for the character device at most.
pub const WINDOW: u32 = 16_384;

/// Bytes that are offered to the character device at once.
const CHUNK: usize = 4096;

/// `G_IO_OUT | G_IO_HUP` of GLib: it takes bytes again, or never will.
const WRITABLE: bindings::GIOCondition = 4 | 16;

/// A character device that is said to take bytes and then takes none is asked
/// again after so many milliseconds: what says so may never end, such as the end of
/// its other direction.
const AGAIN_MS: u32 = 10;

/// What was lost, as properties of the device tell it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Counters {
    /// Bytes of the RTL that the character device did not take.
    pub from_rtl_dropped: AtomicU64,
    /// Bytes of a character device that did not ask whether the RTL takes them.
    pub to_rtl_dropped: AtomicU64,
}

/// The serial side of one card.
pub struct Uart {
    channel: RefCell<Channel>,
    frontend: *const Opaque<CharFrontend>,
    /// GLib's source that waits until the character device takes bytes; 0 if
    /// there is none.
    watch: Cell<u32>,
    /// It was said that it takes bytes, and it has taken none since.
    woken: Cell<bool>,
    /// Of lines about bytes that are dropped, and lost.
    drops: RefCell<Limit>,
    losses: RefCell<Limit>,
    counters: *const Counters,
    name: String,
}

impl Uart {
    /// Whether a character device was given.
    ///
    /// # Safety
    ///
    /// Under the big QEMU lock; `frontend` is a property of a device.
    pub unsafe fn is_connected(frontend: &Opaque<CharFrontend>) -> bool {
        // SAFETY: the frontend is there, zero or set by its property.
        unsafe { bindings::qemu_chr_fe_backend_connected(frontend.as_mut_ptr()) }
    }

    /// Takes the character device and begins to connect. The result is to be
    /// ended with [`Uart::end`].
    ///
    /// # Safety
    ///
    /// Under the big QEMU lock. `frontend` has a backend; it and `counters` outlive
    /// the result.
    pub unsafe fn begin(
        channel: Channel,
        name: String,
        frontend: &Opaque<CharFrontend>,
        counters: *const Counters,
    ) -> *mut Self {
        let uart = Box::into_raw(Box::new(Self {
            channel: RefCell::new(channel),
            frontend,
            watch: Cell::new(0),
            woken: Cell::new(false),
            drops: RefCell::default(),
            losses: RefCell::default(),
            counters,
            name,
        }));
        // SAFETY: the box lives until `end`, which takes it back from QEMU
        // first.
        unsafe {
            (*uart).channel.borrow_mut().start();
            bindings::qemu_set_fd_handler(
                (*uart).channel.borrow().descriptor(),
                Some(readable),
                None,
                uart.cast(),
            );
            bindings::qemu_chr_fe_set_handlers(
                frontend.as_mut_ptr(),
                Some(can_read),
                Some(read),
                None,
                None,
                uart.cast(),
                std::ptr::null_mut(),
                true,
            );
        }
        uart
    }

    /// Says goodbye to the simulator.
    pub fn close(&self) {
        self.channel.borrow_mut().close();
    }

    /// Gives the character device back and frees the UART.
    ///
    /// # Safety
    ///
    /// Under the big QEMU lock; `uart` comes from [`Uart::begin`] and is used by
    /// nobody else.
    pub unsafe fn end(uart: *mut Self) {
        // SAFETY: as the caller promises; after these calls QEMU knows neither
        // the descriptor nor the pointer any more.
        let uart = unsafe {
            let fd = (*uart).channel.borrow().descriptor();
            bindings::qemu_set_fd_handler(fd, None, None, std::ptr::null_mut());
            let watch = (*uart).watch.replace(0);
            if watch != 0 {
                bindings::g_source_remove(watch);
            }
            bindings::qemu_chr_fe_set_handlers(
                (*uart).frontend(),
                None,
                None,
                None,
                None,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                false,
            );
            Box::from_raw(uart)
        };
        uart.close();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = uart.counters();
        info!(
            "{}: {} bytes for the RTL lost, {} bytes of the RTL",
            uart.name,
            count(&c.to_rtl_dropped),
            count(&c.from_rtl_dropped)
        );
    }

    fn counters(&self) -> &Counters {
        // SAFETY: the counters outlive the UART, as `begin` demands.
        unsafe { &*self.counters }
    }

    fn frontend(&self) -> *mut CharFrontend {
        // SAFETY: the frontend outlives the UART, as `begin` demands.
        unsafe { (*self.frontend).as_mut_ptr() }
    }

    fn service(&self) {
        threads::short_slice();
        let news = self.channel.borrow_mut().service();
        if news.room || news.changed {
            // SAFETY: the frontend is ours.
            unsafe { bindings::qemu_chr_fe_accept_input(self.frontend()) };
        }
        self.deliver();
    }

    /// Gives the bytes of the RTL to the character device, until it takes no
    /// more.
    fn deliver(&self) {
        while self.watch.get() == 0 {
            // The channel is not borrowed while QEMU may call back.
            let bytes = self.channel.borrow().bytes(CHUNK);
            if bytes.is_empty() {
                return;
            }
            // SAFETY: the frontend is ours, and the bytes are there. Not all that
            // fails sets `errno`.
            let written = unsafe {
                *libc::__errno_location() = 0;
                bindings::qemu_chr_fe_write(self.frontend(), bytes.as_ptr(), bytes.len() as c_int)
            };
            let failure = Error::last_os_error();
            let later = match usize::try_from(written) {
                Ok(0) => true,
                Ok(written) => {
                    self.woken.set(false);
                    self.channel.borrow_mut().take_bytes(written);
                    continue;
                }
                // Any other error stays: a disk is full, a pipe has no reader.
                Err(_) => failure.kind() == ErrorKind::WouldBlock,
            };
            if !(later && self.wait()) {
                self.drop_bytes(bytes.len(), (written < 0).then_some(failure));
            }
        }
    }

    /// Has [`Uart::deliver`] go on when the character device takes bytes again.
    /// False if nobody would tell.
    fn wait(&self) -> bool {
        let this: *mut c_void = std::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: `end` removes the source before the UART is freed.
        let watch = unsafe {
            if self.woken.get() {
                bindings::g_timeout_add(AGAIN_MS, Some(again), this)
            } else {
                bindings::qemu_chr_fe_add_watch(self.frontend(), WRITABLE, Some(writable), this)
            }
        };
        self.watch.set(watch);
        watch != 0
    }

    /// The source of [`Uart::wait`] is over, and the result of its callback says so
    /// to GLib.
    fn resume(&self) {
        self.watch.set(0);
        self.woken.set(true);
        self.deliver();
    }

    /// Drops bytes that the character device does not take, as QEMU's own serial
    /// ports do; the RTL gets credit for them.
    fn drop_bytes(&self, count: usize, failure: Option<Error>) {
        self.counters()
            .from_rtl_dropped
            .fetch_add(count as u64, Ordering::Relaxed);
        if let Some(note) = self.drops.borrow_mut().admit(Instant::now()) {
            let why = failure.map_or_else(|| "it takes none".into(), |e| e.to_string());
            warn!(
                "{}: {count} bytes of the RTL are dropped, since the character device does not \
                 take them: {why}{note}",
                self.name
            );
        }
        self.channel.borrow_mut().take_bytes(count);
    }
}

/// The UART that QEMU calls back.
///
/// # Safety
///
/// `opaque` is the box of [`Uart::begin`], before [`Uart::end`].
unsafe fn of<'a>(opaque: *mut c_void) -> &'a Uart {
    // SAFETY: promised by the caller.
    unsafe { &*opaque.cast::<Uart>() }
}

unsafe extern "C" fn readable(opaque: *mut c_void) {
    // SAFETY: registered with the box of `begin`, until `end`.
    unsafe { of(opaque) }.service();
}

unsafe extern "C" fn can_read(opaque: *mut c_void) -> c_int {
    // SAFETY: as above.
    let channel = unsafe { of(opaque) }.channel.borrow();
    // Without a simulator nothing is read; the sender feels it.
    channel.credit() as c_int
}

unsafe extern "C" fn read(opaque: *mut c_void, data: *const u8, size: c_int) {
    let Ok(size) = usize::try_from(size) else {
        return;
    };
    // SAFETY: as above, with that many bytes.
    let (uart, data) = unsafe { (of(opaque), std::slice::from_raw_parts(data, size)) };
    // No more come than `can_read` said, except from a backend that does not
    // ask, such as a multiplexer's escape; those are lost.
    let sent = uart.channel.borrow_mut().send_bytes(data);
    if sent < data.len() {
        uart.counters()
            .to_rtl_dropped
            .fetch_add((data.len() - sent) as u64, Ordering::Relaxed);
        if let Some(note) = uart.losses.borrow_mut().admit(Instant::now()) {
            let lost = data.len() - sent;
            warn!("{}: {lost} bytes for the RTL are lost{note}", uart.name);
        }
    }
}

unsafe extern "C" fn writable(
    _source: *mut c_void,
    _condition: bindings::GIOCondition,
    opaque: *mut c_void,
) -> bindings::gboolean {
    // SAFETY: the source is removed in `end`.
    unsafe { of(opaque) }.resume();
    0
}

unsafe extern "C" fn again(opaque: *mut c_void) -> bindings::gboolean {
    // SAFETY: the source is removed in `end`.
    unsafe { of(opaque) }.resume();
    0
}
