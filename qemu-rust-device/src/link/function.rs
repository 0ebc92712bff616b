// SPDX-License-Identifier: GPL-2.0-or-later

//! What the guest has set in the function's config space: told to the
//! simulator, now and in later sessions.

use accelerator_protocol::function::{Function, Power};

use super::{Link, Shared};

impl Link {
    /// Tells the simulator what the guest has set in config space, if that is
    /// news. To be called after each change and after [`Link::reset`]; a session
    /// that begins later begins with it.
    pub fn function(&self, function: Function) {
        let mut shared = self.lock();
        shared.function = function;
        let mut out = std::mem::take(&mut shared.out);
        // Behind the writes that were gathered.
        let told = shared.session.function(&function, &mut out);
        if told {
            self.send(&mut shared, &mut out);
        }
        shared.out = out;
        if told {
            self.pass_on(&mut shared);
        }
    }
}

impl Shared {
    /// Why DMA is refused that is not a fault.
    pub(super) fn why_refused(&self) -> &'static str {
        if self.function.power != Power::D0 {
            "the function is in a sleep state"
        } else if !self.function.bus_master {
            "bus mastering is off"
        } else {
            "that is a BAR of a simulated card, or the request came too early or too late"
        }
    }
}
