// SPDX-License-Identifier: GPL-2.0-or-later

//! `accelerator-pcie`: a PCI Express card in QEMU whose logic is RTL that runs
//! in an HDL simulator.
//!
//! * [`link`] talks to the simulator. It knows nothing of QEMU.
//! * [`channel`] talks to the simulator's NIC or UART bridge, and knows as
//!   little.
//! * [`keys`] is who may connect.
//! * `context` tries what libzmq would end QEMU for, `error` is what can go wrong before
//!   there is a link.
//! * [`layout`] finds a place in config space for each capability.
//! * [`logger`] prints what `ACCELERATOR_LOG_LEVEL` asks for.
//! * `pci` is the safe layer over QEMU's PCI, PCI Express, MSI-X and DMA
//!   functions, in the style of QEMU's own Rust bindings.
//! * `config_space` says which bits of config space the guest may change.
//! * `clock` is guest time that follows the simulator's, `code` what TCG has translated of
//!   memory that the simulator may reach by itself.
//! * `tracing` has QEMU's trace events.
//! * `device` is the QOM type, `nic` and `uart` its network and serial sides.
//! * `glue` is everything that depends on the QEMU release.
//!
//! Those that are not links need QEMU: Meson compiles them in QEMU's tree with the
//! configuration `qemu_10_1`, `qemu_10_2` or `qemu_11_1`, and cargo does if `build.rs` is
//! told of a QEMU build tree. Without one, cargo builds and tests the rest.

// Meson names QEMU's crates on the command line; cargo only has a path where
// they are to be found.
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate bql;
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate common;
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate hwcore;
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate migration;
#[cfg(qemu_10_1)]
extern crate qemu_api;
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate qom;
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate system;
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate trace;
#[cfg(any(qemu_10_2, qemu_11_1))]
extern crate util;

pub mod channel;
mod context;
mod error;
pub mod keys;
pub mod layout;
pub mod link;
pub mod logger;

// The libzmq that cargo compiles calls what is in there.
#[cfg(test)]
use accelerator_peers as _;

#[cfg(qemu)]
mod bindings;
#[cfg(qemu)]
mod clock;
#[cfg(qemu)]
mod code;
#[cfg(qemu)]
mod config_space;
#[cfg(qemu)]
mod device;
#[cfg(qemu_10_1)]
#[path = "glue_10_1.rs"]
mod glue;
#[cfg(qemu_10_2)]
#[path = "glue_10_2.rs"]
mod glue;
#[cfg(qemu_11_1)]
#[path = "glue_11_1.rs"]
mod glue;
#[cfg(qemu)]
mod msi;
#[cfg(qemu)]
mod nic;
#[cfg(qemu)]
pub mod pci;
#[cfg(qemu)]
mod replug;
#[cfg(qemu)]
mod tracing;
#[cfg(qemu)]
mod uart;
