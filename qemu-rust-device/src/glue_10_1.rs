// SPDX-License-Identifier: GPL-2.0-or-later

//! What depends on the QEMU release: QEMU 10.1, whose Rust bindings are one
//! crate, `qemu_api`.

pub use qemu_api::{
    cell::{BqlRefCell, Opaque, Wrapper},
    module_init,
    qdev::{DeviceImpl, DeviceState, ResetType, ResettablePhasesImpl},
    qom::{IsA, Object, ObjectDeref, ObjectImpl, ObjectType, ParentField, ParentInit},
    qom_isa, Error, Result,
};

/// Bit in `DeviceClass::categories`.
pub const DEVICE_CATEGORY_MISC: u32 =
    qemu_api::bindings::DeviceCategory::DEVICE_CATEGORY_MISC as u32;

/// C types that QEMU's crates have bound.
pub mod c {
    pub use qemu_api::bindings::{
        qdev_prop_bool, qdev_prop_string, qdev_prop_uint16, qdev_prop_uint32, type_register_static,
        DeviceClass, DeviceState, Error, InterfaceInfo, MemTxAttrs, MemoryRegion, Object,
        ObjectClass, Property, PropertyInfo, Property__bindgen_ty_1, RAMBlock, TypeInfo,
        VMStateDescription,
    };
}

/// Fills in the methods of a class and of its parents from the traits of a type.
pub fn class_init<T: DeviceImpl>(class: &mut c::DeviceClass) {
    class.class_init::<T>();
}

/// An error with a text of ours.
#[track_caller]
pub fn error(text: String) -> Error {
    Error::from(text)
}

/// Calls a C function that takes an `Error **`.
///
/// # Safety
///
/// `f` must leave the pointer null or set it to an error that the caller owns.
pub unsafe fn with_errp<T>(f: impl FnOnce(*mut *mut c::Error) -> T) -> Result<T> {
    let mut error = std::ptr::null_mut();
    let result = f(&mut error);
    // SAFETY: promised by the caller.
    unsafe { Error::err_or_else(error, || result) }
}

/// The trace events of `trace-events`, which Rust code cannot have in this release.
mod events {
    use std::ffi::{c_int, c_uint, CStr};

    macro_rules! none {
        ($($name:ident($($type:ty),*);)*) => {
            $(
                #[inline(always)]
                #[allow(clippy::too_many_arguments)]
                pub fn $name(_: &CStr $(, _: $type)*) {}
            )*
        };
    }
    none! {
        trace_accelerator_pcie_read(u32, c_uint, u64, c_uint);
        trace_accelerator_pcie_read_done(u32, u64);
        trace_accelerator_pcie_read_failed(u32, &CStr);
        trace_accelerator_pcie_write(u32, c_uint, u64, c_uint, u64);
        trace_accelerator_pcie_dma_read(u32, u64, u32, &CStr);
        trace_accelerator_pcie_dma_write(u32, u64, u32, &CStr);
        trace_accelerator_pcie_vector(c_uint);
        trace_accelerator_pcie_intx(c_int);
        trace_accelerator_pcie_reset(&CStr);
        trace_accelerator_pcie_link(&CStr);
    }
}
pub use events::*;

/// Properties of a device type, and that it cannot be migrated.
macro_rules! device_impl {
    ($type:ty, $name:expr, [$($property:expr),* $(,)?]) => {
        impl $crate::glue::DeviceImpl for $type {
            fn properties() -> &'static [$crate::glue::c::Property] {
                static PROPERTIES: &[$crate::glue::c::Property] = &[$($property),*];
                PROPERTIES
            }

            fn vmsd() -> Option<&'static $crate::glue::c::VMStateDescription> {
                static VMSTATE: $crate::glue::c::VMStateDescription =
                    $crate::glue::c::VMStateDescription {
                        name: std::ffi::CStr::as_ptr($name),
                        unmigratable: true,
                        ..qemu_api::zeroable::Zeroable::ZERO
                    };
                Some(&VMSTATE)
            }
        }
    };
}
pub(crate) use device_impl;
