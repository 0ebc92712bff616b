// SPDX-License-Identifier: GPL-2.0-or-later

//! What depends on the QEMU release: QEMU 10.2.

#[path = "glue_crates.rs"]
mod crates;
pub use crates::*;

/// Fills in the methods of a class and of its parents from the traits of a type.
pub fn class_init<T: DeviceImpl>(class: &mut c::DeviceClass) {
    class.class_init::<T>();
}
