/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Input of bindgen: the parts of QEMU that QEMU's own Rust crates do not bind.
 */

#ifndef __CLANG_STDATOMIC_H
#define __CLANG_STDATOMIC_H
/*
 * bindgen may not find clang's own headers; nothing that is bound uses this
 * type, so any definition will do.
 */
typedef enum memory_order {
    memory_order_relaxed,
    memory_order_consume,
    memory_order_acquire,
    memory_order_release,
    memory_order_acq_rel,
    memory_order_seq_cst,
} memory_order;
#endif

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/notify.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "accel/accel-cpu-ops.h"
#include "chardev/char-fe.h"
#include "net/net.h"
#include "qom/object.h"
#include "system/address-spaces.h"
#include "system/cpus.h"
#include "system/memory.h"
#include "system/reset.h"
#include "system/runstate.h"
#include "system/system.h"
#include "system/tcg.h"
#include "hw/core/cpu.h"
#include "system/cpu-timers.h"
#include "qapi/visitor.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "hw/pci/pcie_port.h"
#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#if __has_include("hw/core/qdev-properties.h")
/* From QEMU 11 on. */
#include "hw/core/qdev-properties.h"
#include "hw/core/qdev-properties-system.h"
#include "system/ramblock.h"
#else
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#endif
#include "monitor/qdev.h"
#include "qobject/qdict.h"
#include "qom/qom-qobject.h"

/* Of structs that are too large to bind. */
enum accelerator_offsets {
    ACCELERATOR_CPU_STOP = offsetof(struct CPUState, stop),
    ACCELERATOR_CPU_UNPLUG = offsetof(struct CPUState, unplug),
    ACCELERATOR_VIRTUAL_CLOCK = offsetof(struct AccelOpsClass, get_virtual_clock),
    ACCELERATOR_ELAPSED_TICKS = offsetof(struct AccelOpsClass, get_elapsed_ticks),
};
