// SPDX-License-Identifier: GPL-2.0-or-later

//! A thread that serves what comes from simulators, and accesses to BARs that it makes
//! meanwhile: those are DMA of a card to a card.

use std::{cell::Cell, ptr};

use accelerator_protocol::wire::Status;

use super::Link;

/// Messages that are served before others get their turn.
pub(super) const BATCH: usize = 16;

/// What became of a leader that has served.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// There may be more.
    More,
    /// There is no more.
    All,
    /// Another thread has taken the lead.
    Lost,
}

/// A link that this thread is serving, and the one in the midst of whose service that began:
/// an access to a card that waits serves that card.
struct Service {
    link: *const Link,
    outer: *const Service,
}

thread_local! {
    static INNERMOST: Cell<*const Service> = const { Cell::new(ptr::null()) };
    /// An access of DMA to a BAR was not carried out.
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Serves a link with `f`.
pub(super) fn serving<R>(link: &Link, f: impl FnOnce() -> R) -> R {
    let service = Service {
        link,
        outer: INNERMOST.get(),
    };
    INNERMOST.set(&service);
    // Also when it panics: the service is gone then.
    let _restored = Restore(service.outer);
    f()
}

struct Restore(*const Service);

impl Drop for Restore {
    fn drop(&mut self) {
        INNERMOST.set(self.0);
    }
}

/// Whether this thread serves any link: an access to a BAR that happens now is DMA of a card.
pub(super) fn is_serving() -> bool {
    !INNERMOST.get().is_null()
}

/// Whether this thread serves this one. It would wait for itself.
pub(super) fn serves(link: &Link) -> bool {
    let mut at = INNERMOST.get();
    // SAFETY: a service stays where it is until `serving` of this thread has taken it away.
    while let Some(service) = unsafe { at.as_ref() } {
        if ptr::eq(service.link, link) {
            return true;
        }
        at = service.outer;
    }
    false
}

/// The access to a BAR that is made now was not carried out. QEMU has no way to say so.
pub(super) fn access_failed() {
    FAILED.set(true);
}

/// Whether an access of the DMA that this thread carries out has failed. The others are not tried:
/// each of hundreds could take as long as that one.
pub(super) fn has_failed() -> bool {
    is_serving() && FAILED.get()
}

/// What became of DMA, of which `dma` says that all is well also if it has reached a BAR of a
/// card that has not answered it.
pub(super) fn dma(dma: impl FnOnce() -> Status) -> Status {
    // In the midst of it may be another one.
    let outer = FAILED.replace(false);
    let status = dma();
    if FAILED.replace(outer) && status == Status::Ok {
        Status::Refused
    } else {
        status
    }
}
