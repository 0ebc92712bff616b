// SPDX-License-Identifier: GPL-2.0-or-later

//! What `bindgen` makes of `wrapper.h`, over the types of QEMU's own crates.

#![allow(
    clashing_extern_declarations,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unnecessary_transmutes,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::pedantic,
    clippy::restriction
)]

use crate::glue::c::{
    DeviceClass, DeviceState, Error, MemTxAttrs, MemoryRegion, Object, ObjectClass, PropertyInfo,
    RAMBlock,
};

/// A character device as its user sees it, by its name since QEMU 10.2.
#[cfg(qemu_10_1)]
pub use self::CharBackend as CharFrontend;

/// A vCPU; only its address matters here.
pub enum CPUState {}

#[cfg(MESON)]
include!("bindings.inc.rs");

#[cfg(not(MESON))]
include!(concat!(env!("OUT_DIR"), "/bindings.inc.rs"));
