// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faults of a simulated card: a plan says which, and for which transactions;
//! [`Faults::decide`] says for each transaction what is to go wrong with it.
//!
//! No I/O, no time, no randomness but that of the seed: the same plan decides the same for the
//! same transactions, so that what it has found can be found again.

mod engine;
mod plan;

pub use engine::{Faults, Injected, Transaction};
pub use plan::{Delay, Fault, Plan, PlanError, Rule, What, MAX_DELAY, MAX_RULES, MAX_TEXT};
