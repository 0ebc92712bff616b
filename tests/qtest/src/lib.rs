// SPDX-License-Identifier: MIT OR Apache-2.0

//! Drives the QEMU device `accelerator-pcie` as firmware and a driver would,
//! over QEMU's qtest protocol, against an HDL endpoint of ours.
//!
//! * [`qemu`] starts QEMU, speaks qtest and QMP with it and reads what it says
//!   on standard error.
//! * [`pci`] enumerates the bus, places BARs and programs MSI-X.
//! * [`machine`] ties both to an endpoint.
//! * [`guest`] has vCPUs that run, [`waits`] one of them wait for the RTL.
//!
//! The library is for tests: what goes wrong is a panic that says what was
//! expected and what came, followed by what QEMU said. Every wait has an end.
//!
//! With `-accel qtest` no vCPU runs: an access comes from the main thread of
//! QEMU, which therefore answers nothing else until the access is done. Start
//! it with [`qemu::Qemu::start`], let the endpoint do its part, and pick the
//! answer up with [`qemu::Qemu::reply`].

#![forbid(unsafe_code)]

pub mod guest;
pub mod machine;
pub mod pci;
pub mod qemu;
pub mod waits;

pub use accelerator_peers::PATIENCE;
pub use machine::{Machine, Options};
pub use qemu::{Qemu, Scratch};
