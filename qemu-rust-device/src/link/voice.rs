// SPDX-License-Identifier: GPL-2.0-or-later

//! Lines of the log that others can cause, of which there are so many and no more.

use std::time::Instant;

use accelerator_protocol::limit::{Limit, PERIOD};
use log::Level;

use super::{Link, Shared};

/// Kinds of lines, each with a limit of its own.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// DMA that was refused or faulted.
    Dma,
    /// Other frames without effect.
    Frame,
    /// A session that does not come to be.
    Session,
    /// The link goes up.
    Up,
    /// The link goes down.
    Down,
    /// A wait that takes long.
    Wait,
    /// An access that was given up.
    GivenUp,
    /// An access that is not forwarded.
    Refused,
    /// A session begins.
    Begun,
    /// What a session goes through.
    Carrier,
    /// An error that a fault has made.
    Error,
    /// A plan of faults.
    Plan,
}

impl Kind {
    const COUNT: usize = Self::Plan as usize + 1;

    const fn level(self) -> Level {
        match self {
            Self::Dma | Self::Frame | Self::Session | Self::Down => Level::Error,
            Self::Up | Self::Wait | Self::GivenUp | Self::Refused | Self::Error => Level::Warn,
            Self::Begun | Self::Carrier | Self::Plan => Level::Info,
        }
    }
}

/// Lines about the link itself in a period: each says why.
const LINK_LINES: u32 = 32;

/// The limits of all kinds.
pub(super) struct Voice([Limit; Kind::COUNT]);

impl Default for Voice {
    fn default() -> Self {
        let mut limits: [Limit; Kind::COUNT] = Default::default();
        for kind in [Kind::Up, Kind::Down] {
            limits[kind as usize] = Limit::new(LINK_LINES, PERIOD);
        }
        Self(limits)
    }
}

impl Voice {
    /// Lines that were left out and not told of.
    pub(super) fn left_out(&mut self) -> u64 {
        self.0.iter_mut().map(Limit::left_out).sum()
    }
}

impl Link {
    /// Logs something that others may cause over and over.
    pub(super) fn say(&self, shared: &mut Shared, kind: Kind, text: impl FnOnce() -> String) {
        // Nobody misses a line that is not wanted.
        if !log::log_enabled!(kind.level()) {
            return;
        }
        if let Some(note) = shared.voice.0[kind as usize].admit(Instant::now()) {
            log::log!(kind.level(), "{}: {}{note}", self.name(), text());
        }
    }
}
