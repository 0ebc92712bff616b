// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C functions. `include/accelerator_dpi.h` is generated from this file,
//! comments included.

use std::{
    cell::RefCell,
    ffi::{c_char, c_int, c_longlong, c_void, CStr, CString},
    panic::{catch_unwind, AssertUnwindSafe},
    time::Duration,
};

use accelerator_protocol::{
    channel::ChannelKind, channel_endpoint, default_endpoint_within, parse_endpoint_within,
    wire::MAX_NAME, PORT_VARIABLE,
};

use crate::{
    bridge::Bridge,
    error::{fail, within, Code, Error, Result},
    logger,
    registry::{self, Behind, Left},
    run::Stat,
    security::Security,
    vfio,
    words::Words,
    BEAT_BYTES,
};

pub mod function;
pub mod nic;
pub mod record;
pub mod uart;

/// Version of this interface, as `acc_abi_version` returns it.
pub const ACC_ABI_VERSION: c_int = 1;

/// An argument is wrong, or the handle is not that of an open bridge.
pub const ACC_EINVAL: c_int = 1;
/// Not now; the same call can succeed at a later clock.
pub const ACC_EAGAIN: c_int = 2;
/// The link is down: no host is connected.
pub const ACC_ELINK: c_int = 3;
/// The call may not come now.
pub const ACC_ESTATE: c_int = 4;
/// The operating system or ZeroMQ refused something.
pub const ACC_EIO: c_int = 5;
/// A defect of this library; the bridge can only be closed.
pub const ACC_EPANIC: c_int = 6;
/// The function was configured without that ability.
pub const ACC_ENOTSUP: c_int = 7;

/// Ready: the bridge can take an MMIO write, that is, every earlier write was
/// accepted on AW and W.
pub const ACC_READY_WRITE: c_int = 1;
/// Ready: the bridge can take an MMIO read, that is, every earlier write has
/// its B response.
pub const ACC_READY_READ: c_int = 2;
/// Ready: the bridge can take the completion of a DMA read.
pub const ACC_READY_DMA_READ: c_int = 4;
/// Ready: the bridge can take the completion of a DMA write.
pub const ACC_READY_DMA_WRITE: c_int = 8;
/// Ready: the bridge wants to hear what the guest sets in config space. To be set
/// from the first poll on; without it there is no ACC_EVENT_FUNCTION.
pub const ACC_READY_FUNCTION: c_int = 16;

/// Event: nothing.
pub const ACC_EVENT_NONE: c_int = 0;
/// Event: the guest reads a BAR; fetch it with `acc_get_mmio`.
pub const ACC_EVENT_MMIO_READ: c_int = 1;
/// Event: the guest writes a BAR; fetch it with `acc_get_mmio`.
pub const ACC_EVENT_MMIO_WRITE: c_int = 2;
/// Event: a DMA read is answered; fetch it with `acc_get_dma_read`.
pub const ACC_EVENT_DMA_READ_DONE: c_int = 3;
/// Event: a DMA write is answered; fetch it with `acc_get_dma_write`.
pub const ACC_EVENT_DMA_WRITE_DONE: c_int = 4;
/// Event: the function is reset; fetch it with `acc_get_reset`.
pub const ACC_EVENT_RESET: c_int = 5;
/// Event: a host is there; fetch it with `acc_get_link`.
pub const ACC_EVENT_LINK_UP: c_int = 6;
/// Event: the host is gone; fetch it with `acc_get_link`.
pub const ACC_EVENT_LINK_DOWN: c_int = 7;
/// Event: the guest has set something in config space; fetch it with
/// `acc_get_function`.
pub const ACC_EVENT_FUNCTION: c_int = 8;

/// Status: done.
pub const ACC_STATUS_OK: c_int = 0;
/// Status: refused. Of MMIO: an AXI error response. Of DMA: the guest has not
/// enabled bus mastering, or the host does not allow the access.
pub const ACC_STATUS_REFUSED: c_int = 1;
/// Status of DMA: no memory answers at that address.
pub const ACC_STATUS_FAULT: c_int = 2;
/// Status of DMA: given up because of a reset.
pub const ACC_STATUS_ABORTED: c_int = 3;

/// BAR flag: 64 bits wide; takes this BAR and the next one.
pub const ACC_BAR_64BIT: c_int = 1;
/// BAR flag: reads have no side effects.
pub const ACC_BAR_PREFETCHABLE: c_int = 2;
/// BAR flag: in I/O space. Refused, with what to take in its place.
pub const ACC_BAR_IO: c_int = 4;

/// Reset: function level reset.
pub const ACC_RESET_FLR: c_int = 1;
/// Reset: hot reset, of the link or the secondary bus.
pub const ACC_RESET_HOT: c_int = 2;
/// Reset: power-on, or reset of the whole machine.
pub const ACC_RESET_COLD: c_int = 3;

/// Counter: MMIO reads handed to the RTL.
pub const ACC_STAT_MMIO_READS: c_int = 0;
/// Counter: MMIO writes handed to the RTL.
pub const ACC_STAT_MMIO_WRITES: c_int = 1;
/// Counter: bytes that DMA reads brought from host memory.
pub const ACC_STAT_DMA_READ_BYTES: c_int = 2;
/// Counter: bytes that DMA writes put into host memory, strobed ones only.
pub const ACC_STAT_DMA_WRITE_BYTES: c_int = 3;
/// Counter: vectors raised, of MSI-X and MSI.
pub const ACC_STAT_MSIX: c_int = 4;
/// Counter: times that the link came up.
pub const ACC_STAT_SESSIONS: c_int = 5;
/// Counter: polls that received or handed out something.
pub const ACC_STAT_BUSY_POLLS: c_int = 6;
/// Counter: number of the transaction that was fetched or begun last, an access, DMA request or
/// interrupt: as in the log and in the record. No two of a process have the same.
pub const ACC_STAT_TRANSACTION: c_int = 7;

/// 32-bit words of a beat, a `bit [511:0]`.
const BEAT_WORDS: usize = BEAT_BYTES / 4;

thread_local! {
    /// Last error on this thread of a call that had no bridge to keep it.
    static ERROR: RefCell<String> = const { RefCell::new(String::new()) };
    /// What `acc_last_error` returned last on this thread.
    static TEXT: RefCell<CString> = RefCell::new(CString::default());
}

fn keep(e: &Error) {
    // A thread that is ending has no place for it any more.
    let _ = ERROR.try_with(|text| *text.borrow_mut() = e.text.clone().into_owned());
}

/// Runs a call on a bridge and turns its outcome into an `int`.
fn call(h: *mut c_void, name: &str, f: impl FnOnce(&mut Bridge) -> Result<c_int>) -> c_int {
    call_on(h, name, f)
}

/// The same for whatever the call is for.
fn call_on<T: Behind>(
    h: *mut c_void,
    name: &str,
    f: impl FnOnce(&mut T) -> Result<c_int>,
) -> c_int {
    barrier(name, || registry::with(h, name, f))
}

/// Nothing unwinds beyond this point.
fn barrier<T: From<c_int>>(name: &str, f: impl FnOnce() -> Result<T>) -> T {
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        Err(Error::new(
            Code::Panic,
            format!("panic in {name}: {}", registry::panic_text(&*payload)),
        ))
    });
    result.unwrap_or_else(|e| {
        keep(&e);
        e.returned().into()
    })
}

/// A text from C; null is empty.
///
/// # Safety
///
/// `text` is null or points to a string that ends with a zero byte and does
/// not change meanwhile.
unsafe fn text<'a>(name: &str, text: *const c_char) -> Result<&'a str> {
    if text.is_null() {
        return Ok("");
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| {
        Error::new(
            Code::Invalid,
            format!("{name} is {:?}, which is not UTF-8", text.to_string_lossy()),
        )
    })
}

/// Refuses null where a result goes.
fn not_null<T>(name: &str, place: *mut T) -> Result<()> {
    if place.is_null() {
        fail!(Invalid, "the pointer for {name} is null");
    }
    Ok(())
}

/// A beat as SystemVerilog passes it.
///
/// # Safety
///
/// `data` is valid for writes of [`BEAT_WORDS`] words.
unsafe fn beat_out(beat: &[u8; BEAT_BYTES], data: *mut u32) {
    let mut words = [0_u32; BEAT_WORDS];
    for (word, bytes) in words.iter_mut().zip(beat.chunks_exact(4)) {
        *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    // SAFETY: as the caller promises. `words` is ours, so the two do not
    // overlap.
    unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), data, BEAT_WORDS) };
}

/// The bytes of a beat as SystemVerilog passes it.
///
/// # Safety
///
/// `data` is valid for reads of [`BEAT_WORDS`] words.
unsafe fn beat_in(data: *const u32) -> [u8; BEAT_BYTES] {
    let mut words = [0_u32; BEAT_WORDS];
    // SAFETY: as the caller promises. `words` is ours, so the two do not
    // overlap.
    unsafe { std::ptr::copy_nonoverlapping(data, words.as_mut_ptr(), BEAT_WORDS) };
    let mut beat = [0; BEAT_BYTES];
    for (bytes, word) in beat.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    beat
}

/// Version of this interface: `ACC_ABI_VERSION` of the header that the library
/// was built with. Another number than that of the header means that the two do
/// not fit.
#[no_mangle]
pub extern "C" fn acc_abi_version() -> c_int {
    ACC_ABI_VERSION
}

/// Opens a bridge. First call; in SystemVerilog from an `initial` block.
///
/// `endpoint`: where QEMU connects to. A port number on the loopback interface
/// ("7557"), "tcp://127.0.0.1:PORT", or "ipc:///PATH" for a Unix socket. Empty
/// or null: the port in the environment variable NPU_COSIM_PORT, or 7557. Beyond
/// loopback ("tcp://ADDRESS:PORT", ADDRESS 0.0.0.0 for all) only with keys, the
/// environment variables ACCELERATOR_CURVE_SECRET (file with our pair of keys)
/// and ACCELERATOR_CURVE_CLIENTS (public keys of those who may connect: a file, a
/// folder or one key), or with ACCELERATOR_INSECURE=1. "vfio-user:PATH": the
/// Unix socket of a vfio-user server, for a QEMU without our device
/// (`-device vfio-user-pci`); its channels are not there.
/// `name`: what the log calls the bridge; empty or null for "accelerator".
///
/// A bridge of this process with the same endpoint that was polled is closed: it
/// belongs to a run of the simulation that ended without `acc_close`.
///
/// Reads the environment variables ACCELERATOR_LOG_LEVEL (off, error, warn,
/// info, debug, trace; info if unset) and ACCELERATOR_ZMQ_WARN_MS (milliseconds
/// after which a wait is mentioned; 1000 if unset, 0 for never).
///
/// Returns a handle, or null on failure; the reason is written to standard
/// error and returned by `acc_last_error(NULL)`. A handle is a number, not an
/// address. At most 64 bridges and channels can be open at once.
///
/// # Safety
///
/// `endpoint` and `name` are null or end with a zero byte.
#[no_mangle]
pub unsafe extern "C" fn acc_open(endpoint: *const c_char, name: *const c_char) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe {
        open(
            "acc_open",
            endpoint,
            name,
            None,
            |endpoint, name, words: &'static Words| Ok(Bridge::new(name, endpoint, words)),
        )
    }
}

/// The endpoint that a text from C means; of a channel, if one is given, rather
/// than of a bridge.
fn endpoint_of(text: &str, channel: Option<ChannelKind>) -> Result<String> {
    let own = text.trim();
    let own = match channel {
        None => own,
        Some(_) => own.strip_prefix("pcie:").unwrap_or(own),
    };
    match (vfio::parse_endpoint(own), channel) {
        (None, _) => {}
        (Some(endpoint), None) => return endpoint.map_err(|e| Error::new(Code::Invalid, e)),
        (Some(_), Some(kind)) => fail!(
            NotSupported,
            "endpoint {text:?} has no {kind:?} channel: vfio-user carries the PCI Express function \
             alone. A card with such a side needs QEMU's accelerator-pcie and an endpoint for it"
        ),
    }
    let reach = Security::from_environment()?.reach();
    let pcie = |text: &str| {
        if text.trim().is_empty() {
            let variable = std::env::var(PORT_VARIABLE).ok();
            default_endpoint_within(variable.as_deref(), reach)
        } else {
            parse_endpoint_within(text, reach)
        }
    };
    let endpoint = match (channel, text.trim().strip_prefix("pcie:")) {
        (None, _) => pcie(text),
        (Some(kind), Some(rest)) => pcie(rest).and_then(|e| channel_endpoint(&e, kind)),
        (Some(kind), None) if text.trim().is_empty() => {
            pcie("").and_then(|e| channel_endpoint(&e, kind))
        }
        (Some(_), None) => parse_endpoint_within(text, reach),
    }
    .map_err(|e| Error::new(Code::Invalid, e))?;
    if endpoint.starts_with("ipc://@") {
        fail!(
            NotSupported,
            "endpoint {endpoint:?} is an abstract socket, which every user of the machine can \
             reach; give it a path"
        );
    }
    Ok(endpoint)
}

/// Opens a bridge, or a channel if a kind is given, with its default name.
///
/// # Safety
///
/// `endpoint` and `name` are null or end with a zero byte.
unsafe fn open<T: Behind>(
    call: &str,
    endpoint: *const c_char,
    name: *const c_char,
    channel: Option<ChannelKind>,
    make: impl FnOnce(String, &str, &'static Words) -> Result<T>,
) -> *mut c_void {
    let open = || -> Result<*mut c_void> {
        logger::set_up();
        // SAFETY: the caller's promise.
        let (endpoint, name) = unsafe { (text("endpoint", endpoint)?, text("name", name)?) };
        let name = match name.trim() {
            "" => match channel {
                None => "accelerator",
                Some(ChannelKind::Nic) => "nic",
                Some(ChannelKind::Serial) => "uart",
            },
            name if name.len() > MAX_NAME => fail!(
                Invalid,
                "name has {} bytes, at most {MAX_NAME} are allowed",
                name.len()
            ),
            name if name.contains(char::is_control) => {
                fail!(Invalid, "name {name:?} contains control characters")
            }
            name => name,
        };
        let endpoint = endpoint_of(endpoint, channel)?;
        match registry::supersede(&endpoint) {
            Some(Left::Closed(old)) => log::warn!(
                "{old} was left open by an earlier run of the simulation in this process, which \
                 did not call {}; it is closed, and {endpoint} opened anew",
                call.replace("open", "close")
            ),
            Some(Left::Unused(other)) => log::warn!(
                "{other} of this process has {endpoint} too, and only one can listen there"
            ),
            None => {}
        }
        registry::open(|words| make(endpoint, name, words))
    };
    let result = catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|payload| {
        Err(Error::new(
            Code::Panic,
            format!("panic in {call}: {}", registry::panic_text(&*payload)),
        ))
    });
    result.unwrap_or_else(|e| {
        log::error!(target: "accelerator", "{call}: {e}");
        keep(&e);
        std::ptr::null_mut()
    })
}

/// Closes a bridge: says goodbye to the host, closes the socket and removes the
/// file of an "ipc://" endpoint. Last call; in SystemVerilog from a `final`
/// block. Takes at most about half a second. The handle means nothing
/// afterwards, whatever is returned.
///
/// Returns 0, or -ACC_EINVAL for an unknown handle.
#[no_mangle]
pub extern "C" fn acc_close(h: *mut c_void) -> c_int {
    barrier("acc_close", || registry::close::<Bridge>(h).map(|()| 0))
}

/// Text of the last error of a bridge or channel; it names the values that were found and
/// expected. With null or an unknown handle: of the last call on this thread
/// that had no bridge to keep it, `acc_open` included. Empty if there was none.
///
/// The text is valid until the next `acc_last_error` on the same thread.
#[no_mangle]
pub extern "C" fn acc_last_error(h: *mut c_void) -> *const c_char {
    let get = || {
        let text = registry::last_error(h).unwrap_or_else(|_| {
            ERROR
                .try_with(|text| text.borrow().clone())
                .unwrap_or_default()
        });
        let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
        TEXT.try_with(|place| {
            let mut place = place.borrow_mut();
            *place = text;
            place.as_ptr()
        })
        .unwrap_or(c"".as_ptr())
    };
    catch_unwind(AssertUnwindSafe(get)).unwrap_or(c"the library panicked".as_ptr())
}

/// Sets the identity of the PCIe function. Before `acc_start`.
///
/// `vendor` 1 to 0xfffe, `device`, `subvendor`, `subdevice` 0 to 0xffff,
/// `class_code` 24 bits (base class, subclass, interface), `revision` 0 to 0xff.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_id(
    h: *mut c_void,
    vendor: c_int,
    device: c_int,
    subvendor: c_int,
    subdevice: c_int,
    class_code: c_int,
    revision: c_int,
) -> c_int {
    call(h, "acc_set_id", |b| {
        b.set_id(vendor, device, subvendor, subdevice, class_code, revision)
            .map(|()| 0)
    })
}

/// Sets a base address register. Before `acc_start`.
///
/// `bar` 0 to 5. `size` in bytes, a power of two from 16; 0 for an absent BAR.
/// `flags`: ACC_BAR_64BIT, ACC_BAR_PREFETCHABLE; ACC_BAR_IO is refused.
/// `axi_base`: AXI address that offset 0 of the BAR becomes, a multiple of
/// `size`; its 64 bits count, not its sign.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`. What BARs have to
/// be to each other is checked by `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_bar(
    h: *mut c_void,
    bar: c_int,
    size: c_longlong,
    flags: c_int,
    axi_base: c_longlong,
) -> c_int {
    call(h, "acc_set_bar", |b| {
        b.set_bar(bar, size, flags, axi_base).map(|()| 0)
    })
}

/// Sets the MSI-X capability. Before `acc_start`.
///
/// `vectors` 1 to 2048, 0 for none. `table_bar`, `pba_bar`: BARs that hold the
/// vector table (16 bytes per vector) and the pending bits (8 bytes per 64
/// vectors), at `table_offset` and `pba_offset` bytes, multiples of 8. QEMU
/// answers accesses to both itself, unless `acc_set_msix_in_rtl` says otherwise.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_msix(
    h: *mut c_void,
    vectors: c_int,
    table_bar: c_int,
    table_offset: c_int,
    pba_bar: c_int,
    pba_offset: c_int,
) -> c_int {
    call(h, "acc_set_msix", |b| {
        b.set_msix(vectors, table_bar, table_offset, pba_bar, pba_offset)
            .map(|()| 0)
    })
}

/// Says where vector table and pending bits of MSI-X are. After `acc_set_msix`, which begins
/// with 0, and before `acc_start`.
///
/// `in_rtl`: 0, they are QEMU's. 1, they are in the RTL, at the places of `acc_set_msix`: the
/// guest's accesses to them are accesses to a BAR like all others, and an interrupt is a DMA write
/// of the RTL, of 4 bytes, of the data and to the address that the guest has put into the table.
/// Masks, pending bits and the guest's Enable and Function Mask (`acc_get_function`) are for the
/// RTL to obey; `acc_msix` raises no vector of MSI-X then.
///
/// A host that knows nothing of it (protocol below 1.6) is refused then, and `acc_start` fails for
/// an endpoint of vfio-user.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_msix_in_rtl(h: *mut c_void, in_rtl: c_int) -> c_int {
    call(h, "acc_set_msix_in_rtl", |b| {
        b.set_msix_in_rtl(in_rtl).map(|()| 0)
    })
}

/// Sets the MSI capability, with 64-bit addresses. Before `acc_start`. A function
/// may have MSI-X and MSI; the guest enables one of them.
///
/// `vectors` 1, 2, 4, 8, 16 or 32, 0 for none. `masking`: 1 if each vector can be
/// masked, and has a pending bit; both are QEMU's.
///
/// A host that knows nothing of MSI (protocol below 1.3) is refused then.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_msi(h: *mut c_void, vectors: c_int, masking: c_int) -> c_int {
    call(h, "acc_set_msi", |b| {
        b.set_msi(vectors, masking).map(|()| 0)
    })
}

/// Adds a capability to config space, beside power management, PCI Express, MSI-X
/// and MSI, which QEMU provides. Before `acc_start`; up to 16 of them, in the
/// order of the calls.
///
/// `id`: a PCI capability id, 9 for a vendor specific one; not 0x00, 0x01, 0x05,
/// 0x10, 0x11 or 0xff. `offset`: its place in config space, a multiple of 4 from
/// 0x40, or 0 for any; QEMU puts its own around those that have a place.
/// `bytes`: length of the body, 1 to 64. `body`: a `bit [511:0]`, 16 words,
/// what follows the id and the pointer to the next capability, its first byte
/// in the low 8 bits of the first word; the guest reads it and cannot write it.
/// In a vendor specific capability that first byte is its length, `bytes` + 2.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`. Ids, places and
/// overlaps are checked by `acc_start`.
///
/// # Safety
///
/// `body` is null or valid for reads of 16 words.
#[no_mangle]
pub unsafe extern "C" fn acc_add_capability(
    h: *mut c_void,
    id: c_int,
    offset: c_int,
    bytes: c_int,
    body: *const u32,
) -> c_int {
    call(h, "acc_add_capability", |b| {
        not_null("body", body.cast_mut())?;
        let bytes = within("bytes", bytes, 1, BEAT_BYTES as c_int)? as usize;
        // SAFETY: not null, and the caller promises the rest.
        let body = unsafe { beat_in(body) };
        b.add_capability(id, offset, &body[..bytes]).map(|()| 0)
    })
}

/// Sets the link that the function reports. Before `acc_start`; generation 1
/// with one lane if it is not called.
///
/// `speed`: PCIe generation, 1 (2.5 GT/s) to 6 (64 GT/s). `width`: lanes, 1, 2,
/// 4, 8, 12, 16 or 32.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_link(h: *mut c_void, speed: c_int, width: c_int) -> c_int {
    call(h, "acc_set_link", |b| b.set_link(speed, width).map(|()| 0))
}

/// Sets the INTx pin. Before `acc_start`.
///
/// `pin`: 0 none, 1 to 4 for INTA to INTD.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_intx(h: *mut c_void, pin: c_int) -> c_int {
    call(h, "acc_set_intx", |b| b.set_intx(pin).map(|()| 0))
}

/// Sets the period of the simulated clock, in picoseconds; 0 for unknown.
/// Before `acc_start`. For information only.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE after `acc_start`.
#[no_mangle]
pub extern "C" fn acc_set_clock(h: *mut c_void, period_ps: c_int) -> c_int {
    call(h, "acc_set_clock", |b| b.set_clock(period_ps).map(|()| 0))
}

/// Checks the configuration as a whole and listens at the endpoint: from here
/// on QEMU can connect. After the acc_set_ calls, once.
///
/// Returns 0; -ACC_EINVAL for a configuration that breaks a rule, -ACC_EIO if
/// the endpoint cannot be used, and after these two it can be tried again;
/// -ACC_ESTATE if it was started already.
#[no_mangle]
pub extern "C" fn acc_start(h: *mut c_void) -> c_int {
    call(h, "acc_start", |b| {
        b.start()
            .inspect_err(|e| log::error!(target: b.target(), "acc_start: {e}"))
            .map(|()| 0)
    })
}

/// Says whether sessions go through shared memory instead of the socket, which only
/// ends on one machine can (an ipc:// endpoint or loopback). Before `acc_start`.
///
/// `mode`: 0 never; 1 if the host can, which is the default; 2 refuses a host that
/// cannot, and `acc_start` fails if the endpoint reaches beyond this machine. The
/// environment variable ACCELERATOR_SHARED_MEMORY (off, auto, on) decides instead of 1.
///
/// Returns 0, -ACC_EINVAL or -ACC_ESTATE.
#[no_mangle]
pub extern "C" fn acc_set_shared_memory(h: *mut c_void, mode: c_int) -> c_int {
    call(h, "acc_set_shared_memory", |b| {
        b.set_shared_memory(mode).map(|()| 0)
    })
}

/// Has transactions of the bridge go wrong as a plan says, in a file of at most 65,536
/// bytes. docs/faults.md has what is in it. Before `acc_start`, which fails if the file
/// cannot be read or is no plan. QEMU can give another plan later. What a plan has for frames
/// and bytes is for the NIC and UART channels of the process.
///
/// `file`: its name; empty for none. Without this call the environment variable
/// ACCELERATOR_FAULTS names it.
///
/// Returns 0, -ACC_EINVAL or -ACC_ESTATE.
///
/// # Safety
///
/// `file` is null or ends with a zero byte.
#[no_mangle]
pub unsafe extern "C" fn acc_set_faults(h: *mut c_void, file: *const c_char) -> c_int {
    call(h, "acc_set_faults", |b| {
        // SAFETY: the caller's promise.
        let file = unsafe { text("file", file)? };
        b.set_faults(file).map(|()| 0)
    })
}

/// Takes in what the host sent and says what comes next. To be called at every
/// clock; costs a few nanoseconds and makes no system call if nothing is there,
/// but lets others run for a while after the host was heard of where there are
/// too few processors for all.
///
/// `ready`: which events can be taken, the sum of ACC_READY_ values. RESET,
/// LINK_UP and LINK_DOWN always can. Among the others the ordering rules of PCI
/// Express hold: writes in order; a read waits for all earlier writes; a write
/// may pass a waiting read or DMA completion; the completion of a DMA read waits
/// until all earlier writes were fetched and ACC_READY_WRITE is set again, and
/// may pass reads; the completion of a DMA write may pass everything.
/// FUNCTION takes its turn among the writes, and comes in a reset as well.
///
/// Returns an ACC_EVENT_ value, which stays to be fetched until the next
/// `acc_poll`, or not at all, in which case a later one announces it again;
/// -ACC_ESTATE before `acc_start`, -ACC_EINVAL, -ACC_EIO.
#[no_mangle]
pub extern "C" fn acc_poll(h: *mut c_void, ready: c_int) -> c_int {
    if registry::quiet::<Bridge>(h) {
        return ACC_EVENT_NONE;
    }
    poll_on(h, ready)
}

/// Out of line, so that a poll with nothing to do keeps no registers for it.
#[cold]
#[inline(never)]
fn poll_on(h: *mut c_void, ready: c_int) -> c_int {
    if registry::rests::<Bridge>(h, ready as u32) {
        return ACC_EVENT_NONE;
    }
    call(h, "acc_poll", |b| b.poll(ready).map(|event| event as c_int))
}

/// Puts the simulator to sleep until `acc_poll` may have something to return.
///
/// For RTL that has nothing to do: simulated time stands still meanwhile. The
/// call returns at once while another bridge of this process may have work,
/// which is until it was called for that one, too, and while the time of a guest
/// follows the simulated time.
///
/// `microseconds`: how long at most, 0 to 1,000,000.
///
/// Returns 1 if there may be something, 0 if not, or -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_wait(h: *mut c_void, microseconds: c_int) -> c_int {
    const LIMIT: c_int = 1_000_000;
    match u64::try_from(microseconds) {
        Ok(us) if microseconds <= LIMIT => barrier("acc_wait", || {
            registry::wait::<Bridge>(h, Duration::from_micros(us)).map(c_int::from)
        }),
        // So that the bridge keeps the error.
        _ => call(h, "acc_wait", |_| {
            within("microseconds", microseconds, 0, LIMIT)
        }),
    }
}

/// Fetches the MMIO request that `acc_poll` has announced.
///
/// `tag`: for the answer. `bar`: 0 to 5. `addr`: the BAR's AXI base plus the
/// offset in the BAR, any alignment. `len`: 1 to 8 bytes. `data`: of a write,
/// the byte at `addr` in the low 8 bits; 0 for a read.
///
/// A read is to be answered with `acc_mmio_read_done`, in any order; a write
/// with `acc_mmio_write_done`, in order.
///
/// Returns 0, -ACC_ESTATE if no request was announced, or -ACC_EINVAL.
///
/// # Safety
///
/// The pointers are null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_mmio(
    h: *mut c_void,
    tag: *mut c_int,
    bar: *mut c_int,
    addr: *mut c_longlong,
    len: *mut c_int,
    data: *mut c_longlong,
) -> c_int {
    call(h, "acc_get_mmio", |b| {
        not_null("tag", tag)?;
        not_null("bar", bar)?;
        not_null("addr", addr)?;
        not_null("len", len)?;
        not_null("data", data)?;
        let mmio = b.get_mmio()?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe {
            tag.write(mmio.tag as c_int);
            bar.write(mmio.bar.into());
            addr.write(mmio.addr as c_longlong);
            len.write(mmio.len.into());
            data.write(mmio.data as c_longlong);
        }
        Ok(0)
    })
}

/// Answers an MMIO read. On R of the last beat.
///
/// `tag` of `acc_get_mmio`. `status`: ACC_STATUS_OK, or ACC_STATUS_REFUSED for
/// an AXI error, after which the guest sees all ones. `data`: the byte at the
/// requested address in the low 8 bits; bits beyond the length are ignored.
///
/// Returns 0, also if a reset or the end of the link has made the read void and
/// was not fetched yet, or -ACC_EINVAL if there is no such read.
#[no_mangle]
pub extern "C" fn acc_mmio_read_done(
    h: *mut c_void,
    tag: c_int,
    status: c_int,
    data: c_longlong,
) -> c_int {
    call(h, "acc_mmio_read_done", |b| {
        b.mmio_read_done(tag as u32, status, data as u64)
            .map(|()| 0)
    })
}

/// Reports an MMIO write as done. On B; in the order of the writes.
///
/// `tag` of `acc_get_mmio`. `status`: ACC_STATUS_OK, or ACC_STATUS_REFUSED for
/// an AXI error.
///
/// Returns 0, also if a reset or the end of the link has made the write void
/// and was not fetched yet, or -ACC_EINVAL if it is not the oldest write.
#[no_mangle]
pub extern "C" fn acc_mmio_write_done(h: *mut c_void, tag: c_int, status: c_int) -> c_int {
    call(h, "acc_mmio_write_done", |b| {
        b.mmio_write_done(tag as u32, status).map(|()| 0)
    })
}

/// Asks for host memory.
///
/// `addr`: bus address; its 64 bits count, not its sign. `bytes`: 1 to 4096.
///
/// Returns a tag of 0 or more, which the completion carries; -ACC_EAGAIN while
/// 512 requests are outstanding, 64 with a host of before protocol 1.5, the host
/// does not take frames, or a reset waits to be fetched; -ACC_ELINK while the link is down; -ACC_ESTATE between
/// `acc_get_reset` and `acc_reset_done`; -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_dma_read(h: *mut c_void, addr: c_longlong, bytes: c_int) -> c_int {
    call(h, "acc_dma_read", |b| {
        b.dma_read(addr as u64, bytes).map(|tag| tag as c_int)
    })
}

/// Fetches the completion of a DMA read that `acc_poll` has announced.
///
/// `tag` of `acc_dma_read`. `status`: an ACC_STATUS_ value. `bytes`: as many as
/// were asked for, to be fetched with `acc_dma_read_beat`; 0 if the status is
/// not ACC_STATUS_OK, and the tag is free then.
///
/// Returns 0, -ACC_ESTATE if no such completion was announced, or -ACC_EINVAL.
///
/// # Safety
///
/// The pointers are null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_dma_read(
    h: *mut c_void,
    tag: *mut c_int,
    status: *mut c_int,
    bytes: *mut c_int,
) -> c_int {
    call(h, "acc_get_dma_read", |b| {
        not_null("tag", tag)?;
        not_null("status", status)?;
        not_null("bytes", bytes)?;
        let (t, s, n) = b.get_dma_read()?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe {
            tag.write(t as c_int);
            status.write(s as c_int);
            bytes.write(n as c_int);
        }
        Ok(0)
    })
}

/// Fetches the next bytes of a DMA read, as a beat of the data bus.
///
/// `tag` of `acc_get_dma_read`. The next `bytes` bytes, 1 to 64, go to the byte
/// lanes from `lane`, 0 to 63; all other lanes become zero. `data`: a
/// `bit [511:0]`, 16 words, lane 0 in the low 8 bits of the first. With the last
/// byte the tag becomes free.
///
/// Returns 0, -ACC_EINVAL if there is no such tag or fewer bytes are left, or
/// -ACC_ESTATE if the completion was not fetched yet.
///
/// # Safety
///
/// `data` is null or valid for writes of 16 words.
#[no_mangle]
pub unsafe extern "C" fn acc_dma_read_beat(
    h: *mut c_void,
    tag: c_int,
    lane: c_int,
    bytes: c_int,
    data: *mut u32,
) -> c_int {
    call(h, "acc_dma_read_beat", |b| {
        not_null("data", data)?;
        let beat = b.dma_read_beat(tag as u32, lane, bytes)?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe { beat_out(&beat, data) };
        Ok(0)
    })
}

/// Begins a write to host memory.
///
/// `addr`: bus address of the first byte that the first beat brings; its 64
/// bits count, not its sign.
///
/// Returns 0, and room for the request is kept until `acc_dma_write_end`;
/// -ACC_EAGAIN, -ACC_ELINK and -ACC_ESTATE as for `acc_dma_read`; -ACC_ESTATE
/// also if another write was begun and not ended.
#[no_mangle]
pub extern "C" fn acc_dma_write_begin(h: *mut c_void, addr: c_longlong) -> c_int {
    call(h, "acc_dma_write_begin", |b| {
        b.dma_write_begin(addr as u64).map(|()| 0)
    })
}

/// Appends a beat of the data bus to a write to host memory.
///
/// The `bytes` byte lanes, 1 to 64, from `lane`, 0 to 63, are appended. `data`:
/// a `bit [511:0]`, 16 words, lane 0 in the low 8 bits of the first. `strb`: a
/// `bit [63:0]`, 2 words, one bit per lane; a lane without its bit is a hole,
/// whose byte in host memory stays as it is. At most 4096 bytes per request,
/// holes included.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ESTATE if no write was begun.
///
/// # Safety
///
/// `data` is null or valid for reads of 16 words, `strb` of 2.
#[no_mangle]
pub unsafe extern "C" fn acc_dma_write_beat(
    h: *mut c_void,
    lane: c_int,
    bytes: c_int,
    data: *const u32,
    strb: *const u32,
) -> c_int {
    call(h, "acc_dma_write_beat", |b| {
        not_null("data", data.cast_mut())?;
        not_null("strb", strb.cast_mut())?;
        // SAFETY: not null, and the caller promises 16 words.
        let beat = unsafe { beat_in(data) };
        // SAFETY: not null, and the caller promises two words.
        let strobes = unsafe { u64::from(strb.read()) | u64::from(strb.add(1).read()) << 32 };
        b.dma_write_beat(lane, bytes, &beat, strobes).map(|()| 0)
    })
}

/// Ends a write to host memory: the request is on its way when the call
/// returns.
///
/// Returns a tag of 0 or more, which the completion carries; -ACC_ELINK if the
/// link went down meanwhile; -ACC_ESTATE if no write was begun; -ACC_EINVAL.
/// The write is over in every case.
#[no_mangle]
pub extern "C" fn acc_dma_write_end(h: *mut c_void) -> c_int {
    call(h, "acc_dma_write_end", |b| {
        b.dma_write_end().map(|tag| tag as c_int)
    })
}

/// Fetches the completion of a DMA write that `acc_poll` has announced.
///
/// `tag` of `acc_dma_write_end`, which is free now. `status`: an ACC_STATUS_
/// value.
///
/// Returns 0, -ACC_ESTATE if no such completion was announced, or -ACC_EINVAL.
///
/// # Safety
///
/// The pointers are null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_dma_write(
    h: *mut c_void,
    tag: *mut c_int,
    status: *mut c_int,
) -> c_int {
    call(h, "acc_get_dma_write", |b| {
        not_null("tag", tag)?;
        not_null("status", status)?;
        let (t, s) = b.get_dma_write()?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe {
            tag.write(t as c_int);
            status.write(s as c_int);
        }
        Ok(0)
    })
}

/// Raises a vector: of MSI-X or MSI, whichever the guest has enabled. It stays behind every DMA write that was ended
/// before, so the driver finds the data that the interrupt announces.
///
/// `vector`: 0 to the number of vectors - 1, of MSI-X or MSI as `acc_get_function`
/// has told which is enabled; of that which has more, if neither is or nobody has
/// asked. Of MSI a guest may grant fewer than the function has (`acc_get_msi`): the
/// vector is taken modulo that number.
///
/// Returns 0; -ACC_EAGAIN while the host does not take frames or a reset waits
/// to be fetched; -ACC_ELINK while the link is down; -ACC_ESTATE between
/// `acc_get_reset` and `acc_reset_done`; -ACC_EINVAL; -ACC_ENOTSUP without
/// MSI-X and MSI, and while the guest has not enabled MSI in a function whose MSI-X is in the RTL
/// (`acc_set_msix_in_rtl`).
#[no_mangle]
pub extern "C" fn acc_msix(h: *mut c_void, vector: c_int) -> c_int {
    call(h, "acc_msix", |b| b.msix(vector).map(|()| 0))
}

/// Drives the INTx pin. `level`: 1 asserted, 0 not.
///
/// The level is remembered: while it cannot be told, without a link or in a
/// reset, it is told afterwards. A reset and the end of the link, once fetched,
/// set it to 0.
///
/// Returns 0, -ACC_EINVAL, or -ACC_ENOTSUP without a pin.
#[no_mangle]
pub extern "C" fn acc_intx(h: *mut c_void, level: c_int) -> c_int {
    call(h, "acc_intx", |b| b.intx(level).map(|()| 0))
}

/// Fetches the reset that `acc_poll` has announced. All requests that were
/// outstanding, in either direction, and all their tags are void from here.
///
/// `kind`: ACC_RESET_FLR, ACC_RESET_HOT or ACC_RESET_COLD; the strongest, if
/// there were several.
///
/// Nothing but another reset, the end of the link or FUNCTION is announced until
/// `acc_reset_done`.
///
/// Returns 0, -ACC_ESTATE if no reset was announced, or -ACC_EINVAL.
///
/// # Safety
///
/// `kind` is null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_reset(h: *mut c_void, kind: *mut c_int) -> c_int {
    call(h, "acc_get_reset", |b| {
        not_null("kind", kind)?;
        let value = b.get_reset()?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe { kind.write(value as c_int) };
        Ok(0)
    })
}

/// Reports that the RTL has left its reset.
///
/// Returns 0, also if the link went down during the reset, or -ACC_ESTATE
/// without a reset.
#[no_mangle]
pub extern "C" fn acc_reset_done(h: *mut c_void) -> c_int {
    call(h, "acc_reset_done", |b| b.reset_done().map(|()| 0))
}

/// Fetches the change of the link that `acc_poll` has announced.
///
/// `up`: 1 if a host is there, 0 if it is gone. When it is gone all requests
/// that were outstanding, in either direction, and all their tags are void, as
/// after a reset; no `acc_reset_done` is needed.
///
/// Returns 0, -ACC_ESTATE if no change was announced, or -ACC_EINVAL.
///
/// # Safety
///
/// `up` is null or valid for writes.
#[no_mangle]
pub unsafe extern "C" fn acc_get_link(h: *mut c_void, up: *mut c_int) -> c_int {
    call(h, "acc_get_link", |b| {
        not_null("up", up)?;
        let value = b.get_link()?;
        // SAFETY: not null, and the caller promises the rest.
        unsafe { up.write(value.into()) };
        Ok(0)
    })
}

/// A counter, an ACC_STAT_ value, since `acc_open`.
///
/// Returns it, or -ACC_EINVAL.
#[no_mangle]
pub extern "C" fn acc_stat(h: *mut c_void, which: c_int) -> c_longlong {
    // Asked with each transaction, by bridges that put it into waveforms.
    if which == Stat::Transaction as c_int {
        if let Some(number) = registry::transaction::<Bridge>(h) {
            return c_longlong::try_from(number).unwrap_or(c_longlong::MAX);
        }
    }
    barrier("acc_stat", || {
        registry::with(h, "acc_stat", |b: &mut Bridge| {
            b.stat(which)
                .map(|value| c_longlong::try_from(value).unwrap_or(c_longlong::MAX))
        })
    })
}
