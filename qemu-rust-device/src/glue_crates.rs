// SPDX-License-Identifier: GPL-2.0-or-later

//! What depends on the QEMU release, as it is since QEMU 10.2, whose Rust bindings are a
//! crate per subsystem. The glue of each release has it, and what is its own.

pub use bql::BqlRefCell;
pub use common::{Opaque, Wrapper};
pub use hwcore::{DeviceImpl, DeviceState, ResetType, ResettablePhasesImpl};
pub use qom::{qom_isa, IsA, Object, ObjectDeref, ObjectImpl, ObjectType, ParentField, ParentInit};
pub use util::{module_init, Error, Result};

/// Bit in `DeviceClass::categories`.
pub const DEVICE_CATEGORY_MISC: u32 = hwcore::bindings::DeviceCategory::DEVICE_CATEGORY_MISC as u32;

/// C types that QEMU's crates have bound.
pub mod c {
    pub use hwcore::bindings::{
        qdev_prop_bool, qdev_prop_string, qdev_prop_uint16, qdev_prop_uint32, DeviceClass,
        DeviceState, Property, PropertyInfo, Property__bindgen_ty_1,
    };
    pub use qom::bindings::{type_register_static, InterfaceInfo, Object, ObjectClass, TypeInfo};
    pub use system::bindings::{MemTxAttrs, MemoryRegion, RAMBlock};
    pub use util::bindings::Error;
}

/// An error with a text of ours.
#[track_caller]
pub fn error(text: String) -> Error {
    Error::msg(text)
}

/// Calls a C function that takes an `Error **`.
///
/// # Safety
///
/// `f` must leave the pointer null or set it to an error that the caller owns.
pub unsafe fn with_errp<T>(f: impl FnOnce(*mut *mut c::Error) -> T) -> Result<T> {
    // SAFETY: promised by the caller.
    unsafe { Error::with_errp(|errp| f(errp)) }
}

/// The trace events of `trace-events`, as functions. What QEMU generates has no comments.
#[allow(clippy::undocumented_unsafe_blocks)]
mod events {
    ::trace::include_trace!("rust_hw_misc_accelerator_pcie");
    pub use self::trace::*;
}
pub use events::{
    trace_accelerator_pcie_dma_read, trace_accelerator_pcie_dma_write, trace_accelerator_pcie_intx,
    trace_accelerator_pcie_link, trace_accelerator_pcie_read, trace_accelerator_pcie_read_done,
    trace_accelerator_pcie_read_failed, trace_accelerator_pcie_reset,
    trace_accelerator_pcie_vector, trace_accelerator_pcie_write,
};

/// Properties of a device type, and that it cannot be migrated.
macro_rules! device_impl {
    ($type:ty, $name:expr, [$($property:expr),* $(,)?]) => {
        // SAFETY: `property` ties each one to a field of the type that it
        // describes.
        unsafe impl hwcore::DevicePropertiesImpl for $type {
            const PROPERTIES: &'static [$crate::glue::c::Property] = &[$($property),*];
        }

        impl $crate::glue::DeviceImpl for $type {
            const VMSTATE: Option<migration::VMStateDescription<Self>> = Some(
                migration::VMStateDescriptionBuilder::<Self>::new()
                    .name($name)
                    .unmigratable()
                    .build(),
            );
        }
    };
}
pub(crate) use device_impl;
