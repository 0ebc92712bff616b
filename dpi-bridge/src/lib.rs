// SPDX-License-Identifier: MIT OR Apache-2.0

//! DPI-C library that joins an HDL simulator to the `accelerator-pcie` device
//! of QEMU.
//!
//! A simulator calls the functions of [`ffi`], whose C header is
//! `include/accelerator_dpi.h`: a bridge is opened, told the identity of the
//! PCIe function, started, and then polled at every clock. Behind them:
//!
//! * [`order`] decides which event the RTL gets next: the ordering rules of
//!   PCI Express, without any I/O;
//! * [`bridge`] has the configuration, and the session with the host and what
//!   the RTL knows of it from `acc_start` on;
//! * [`nic`] and [`uart`] are the channels beside the PCIe stream, and
//!   [`channel`] is what they have in common, and [`hosts`] what all have: who has the session;
//! * [`transport`] is the ZeroMQ socket, and [`watcher`] the thread that looks
//!   at it while the simulator computes, so that an idle poll makes no system
//!   call; [`accelerator_socket::watched`] tells it of connections, and
//!   [`accelerator_carrier::vanished`] is how it notices that a host is gone for good;
//! * [`waits`] is what somebody waits for, told without a lock and said by the watcher;
//! * [`vfio`] serves a QEMU without our device, through a [`pipe`] each way;
//! * [`accelerator_socket::context`] tries what a socket needs of the system, [`socket_file`] is
//!   the file of one that has a path, [`predecessor`] the patience with a simulator that still has
//!   it;
//! * [`tries`] is when the simulator's thread looks at the socket itself, [`turns`] when it lets
//!   others run;
//! * [`security`] is who may connect;
//! * `faults` reads the plan of what is to go wrong;
//! * [`record`] writes down what crosses, where the user wants that;
//! * [`registry`] turns handles into bridges and channels, and panics into
//!   errors; [`words`] is what a poll looks at without a lock.
//!
//! The sessions themselves are [`accelerator_protocol::device`] and
//! [`accelerator_protocol::channel`].

/// Bytes of the vectors that carry beats: the widest AXI data bus that fits is
/// 512 bits.
pub const BEAT_BYTES: usize = 64;

pub mod bridge;
pub mod channel;
pub mod error;
mod faults;
pub mod ffi;
mod hosts;
mod limited;
pub mod logger;
mod memory;
pub mod nic;
pub mod order;
mod pipe;
mod predecessor;
pub mod record;
pub mod registry;
pub mod run;
pub mod security;
mod socket_file;
mod transport;
pub mod tries;
pub mod turns;
pub mod uart;
pub mod vfio;
pub mod waits;
pub mod watcher;
pub mod words;

// A poll tells what a handle stands for by this number, without a lock.
const _: () = {
    use registry::Behind;
    let (bridge, nic, uart) = (bridge::Bridge::KIND, nic::Nic::KIND, uart::Uart::KIND);
    assert!(bridge != nic && nic != uart && uart != bridge);
};
