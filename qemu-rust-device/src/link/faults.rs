// SPDX-License-Identifier: GPL-2.0-or-later

//! Plans of faults, which the simulator is given, and what becomes of them.

use accelerator_protocol::{host::MAX_PLANS, wire::MAX_PLAN};

use super::{
    wait::{Got, Want, NO_ACCESS},
    Link, Shared,
};

/// What a simulator lacks that takes no plan.
const FAULTLESS: &str = "the simulator cannot be given faults: its library speaks an earlier \
                         version of the protocol than 1.4";

/// Of plans.
#[derive(Default)]
pub(super) struct Plans {
    /// The last answer: the tag of its plan, whether that is refused, and the text.
    pub(super) answer: Option<(u32, bool, String)>,
    /// What is known of the plan that is in force.
    said: Option<String>,
}

impl Link {
    /// Gives the simulator a plan of faults and waits for its answer, as long as for an access
    /// that is no vCPU's own; see docs/faults.md. Called with the machine's lock held.
    ///
    /// # Errors
    ///
    /// What is wrong with the plan, or why there is no answer.
    pub fn give_faults(&self, text: &str) -> Result<(), String> {
        if text.len() > MAX_PLAN {
            return Err(format!(
                "the plan has {} bytes, at most {MAX_PLAN} can be given so; a file can have more",
                text.len()
            ));
        }
        let mut shared = self.lock();
        if !shared.session.is_up() {
            return Err("the link to the simulator is down".into());
        }
        if !shared.session.has_faults() {
            return Err(FAULTLESS.into());
        }
        let mut out = std::mem::take(&mut shared.out);
        let tag = shared.session.faults(text, &mut out);
        if tag.is_some() {
            self.send(&mut shared, &mut out);
        }
        shared.out = out;
        let Some(tag) = tag else {
            return Err(format!("the simulator has not answered {MAX_PLANS} plans"));
        };
        shared.plans.answer = None;
        let got = self.wait(shared, Want::Faults(tag), NO_ACCESS);
        let mut shared = self.lock();
        match shared.plans.answer.take() {
            Some((found, refused, text)) if found == tag => {
                if refused {
                    return Err(text);
                }
                shared.plans.said = Some(text);
                Ok(())
            }
            _ => {
                shared.plans.said = Some("a plan that is not answered".into());
                Err(match got {
                    Got::Timeout => {
                        "the simulator does not answer; it takes the plan when it goes on".into()
                    }
                    _ => "the link went down before the simulator has answered".into(),
                })
            }
        }
    }

    /// What is known of the plan that was given last.
    pub fn faults(&self) -> String {
        let shared = self.lock();
        shared.plans.said.clone().unwrap_or_default()
    }
}

impl Shared {
    /// A plan is answered.
    pub(super) fn plan_answered(&mut self, tag: u32, refused: bool, text: String) {
        self.plans.answer = Some((tag, refused, text));
    }

    /// Whether the plan with this tag is.
    pub(super) fn has_plan(&self, tag: u32) -> bool {
        matches!(self.plans.answer, Some((found, ..)) if found == tag)
    }
}
