// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest has set in config space, as far as the RTL is told.
//!
//! The host's frames take their turn among the guest's writes: the RTL sees a
//! new state after the writes before it and before the requests after it.

use accelerator_protocol::{device::DeviceSession, function::Function};
use log::debug;

use super::{Announced, Context, Item, Run};
use crate::{error::Result, limited::limited, order::Kind};

/// The bridge wants to hear of it.
pub const READY_FUNCTION: u32 = 16;

/// State of the function, as the RTL knows it.
pub struct State {
    /// What was announced and fetched.
    shown: Function,
    /// What the host has told last.
    latest: Function,
    /// The bridge has asked to be told.
    wanted: bool,
}

impl State {
    /// Before the first session.
    pub fn new(session: &DeviceSession) -> Self {
        let reset = after_reset(session, 0);
        Self {
            shown: reset,
            latest: reset,
            wanted: false,
        }
    }
}

/// After a reset, of a function with that requester id.
fn after_reset(session: &DeviceSession, requester_id: u16) -> Function {
    let config = session.config();
    Function {
        requester_id,
        link_speed: config.link_speed,
        link_width: config.link_width,
        ..Function::default()
    }
}

/// With a host that does not tell, and refuses what the guest has not enabled.
fn all_enabled(session: &DeviceSession) -> Function {
    Function {
        memory_space: true,
        bus_master: true,
        msix_enable: session.config().msix.is_some(),
        ..after_reset(session, 0)
    }
}

impl Run {
    /// The host has told.
    pub(super) fn function_told(&mut self, function: Function) {
        self.function.latest = function;
        if self.function.wanted {
            self.queue_function();
        }
    }

    /// Has it announced. With no write in between the last one will do, so there
    /// are never more of them than the window allows writes.
    fn queue_function(&mut self) {
        let item = Item::Function(self.function.latest);
        match self.queue.last_mut(Kind::Write) {
            Some(last @ Item::Function(_)) => *last = item,
            _ => self.queue.push(Kind::Write, item),
        }
    }

    /// A poll with these bits.
    pub(super) fn function_wanted(&mut self, ready: u32) {
        if ready & READY_FUNCTION != 0 && !self.function.wanted {
            self.function.wanted = true;
            if self.session.is_up() {
                self.queue_function();
            }
        }
    }

    /// Whether it is next among the writes.
    pub(super) fn function_is_next(&self) -> bool {
        matches!(self.queue.peek(Kind::Write), Some(Item::Function(_)))
    }

    /// A session has begun; what the host tells comes later.
    pub(super) fn function_begins(&mut self, c: &Context<'_>) {
        if self.session.host_tells_function() {
            self.function.latest = after_reset(&self.session, 0);
            return;
        }
        limited!(
            self.limits.version,
            info,
            c.target,
            "the host speaks version 1.{} of the protocol and does not tell what the guest enables: \
             the RTL is told that all is enabled",
            self.session.host_minor()
        );
        self.function_told(all_enabled(&self.session));
    }

    /// The RTL has heard of a reset.
    pub(super) fn function_reset(&mut self) {
        if self.session.host_tells_function() {
            let id = self.function.shown.requester_id;
            self.function.shown = Function {
                link_speed: self.function.shown.link_speed,
                link_width: self.function.shown.link_width,
                ..after_reset(&self.session, id)
            };
        }
    }

    /// The RTL has heard that the link is up or down: it begins anew.
    pub(super) fn function_link(&mut self) {
        self.function.shown = after_reset(&self.session, 0);
    }

    /// What was fetched last.
    pub const fn shown_function(&self) -> Function {
        self.function.shown
    }

    /// Vectors that the RTL may raise: of what the guest has enabled, as far as the RTL
    /// knows, or of either.
    pub(super) fn vectors(&self) -> u16 {
        let config = self.session.config();
        let shown = &self.function.shown;
        match (config.msix, config.msi) {
            (Some(msix), _) if shown.msix_enable => msix.vectors,
            (_, Some(msi)) if shown.msi_enable => msi.vectors.into(),
            _ => config.vectors(),
        }
    }

    /// Whether MSI-X is in the RTL, and the guest has not enabled MSI, as far as the RTL knows.
    pub(super) fn messages_are_the_rtls(&self) -> bool {
        let shown = &self.function.shown;
        let msix = self.session.config().msix;
        msix.is_some_and(|m| m.in_rtl) && (shown.msix_enable || !shown.msi_enable)
    }

    /// `acc_get_function`.
    pub fn get_function(&mut self, c: &mut Context<'_>) -> Result<Function> {
        if self.announced == Some(Announced::Queued(Kind::Write)) {
            if let Some(&Item::Function(function)) = self.queue.peek(Kind::Write) {
                self.queue.pop(Kind::Write);
                self.announced = None;
                self.function.shown = function;
                c.observe(|o| o.function(&function));
                debug!(target: c.target, "{function:?}");
            }
        }
        Ok(self.function.shown)
    }
}
