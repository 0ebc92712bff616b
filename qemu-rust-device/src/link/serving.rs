// SPDX-License-Identifier: GPL-2.0-or-later

//! A thread that serves what comes from the simulator.

use std::cell::Cell;

/// Messages that are served before others get their turn.
pub(super) const BATCH: usize = 16;

thread_local! {
    /// This thread is serving frames of some link. An access to a BAR that
    /// happens now was caused by DMA of a device to a device.
    pub(super) static SERVING: Cell<bool> = const { Cell::new(false) };
    /// Such an access was not carried out.
    pub(super) static NESTED: Cell<bool> = const { Cell::new(false) };
}

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
