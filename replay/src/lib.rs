// SPDX-License-Identifier: MIT OR Apache-2.0

//! Plays the guest's side of a record against a simulator, without QEMU.
//!
//! * [`plan`] makes of a record what is to be done and what has to come;
//! * [`player`] does it, and compares;
//! * [`simulator`] starts one, if the user wants that;
//! * [`beside`] finds a transaction in the record that the simulator writes of the replay;
//! * [`run`] puts these together.
//!
//! docs/debugging.md says what counts as a difference.

pub mod beside;
pub mod plan;
pub mod player;
pub mod run;
pub mod simulator;
