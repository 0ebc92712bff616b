// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ZeroMQ socket, of whichever end: it knows messages and connections, no frame.
//!
//! * [`context`] is what sockets are made with, and what the system has to have for that;
//! * [`options`] is what both ends set, so that they fit each other;
//! * [`watched`] is a socket of whose connections one is told;
//! * [`handshake`] is why a connection has come to nothing;
//! * [`keys`] is what a host with keys sets. The device's side of it is the crate
//!   `accelerator-curve`, which has the door at which keys are looked at.
//!
//! Beside shared memory (`accelerator-carrier`) it is the other way for messages to get across,
//! and the only one between machines.

pub mod context;
pub mod handshake;
pub mod keys;
pub mod options;
pub mod watched;

#[cfg(test)]
use accelerator_curve as _;
