// SPDX-License-Identifier: MIT OR Apache-2.0

//! The C interface, exercised by a C program under AddressSanitizer,
//! UndefinedBehaviorSanitizer and LeakSanitizer that plays the simulator
//! (`tests/c/consumer.c`), while the tests play the host.

mod calls;
mod channels;
mod direct;
mod faults;
mod function;
mod hostile;
mod keys;
mod limits;
mod link;
mod process;
mod record;
mod support;
mod traffic;
mod vfio;
mod vfio_client;
