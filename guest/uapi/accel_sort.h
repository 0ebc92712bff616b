/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a program may ask of the driver of the sort accelerator, through
 * /dev/accel_sortN.
 */
#ifndef ACCEL_SORT_UAPI_H
#define ACCEL_SORT_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* A block is what the device sorts at a time: 1,024 unsigned 32-bit keys. */
#define ACCEL_SORT_KEYS		1024
#define ACCEL_SORT_BLOCK_BYTES	(ACCEL_SORT_KEYS * 4)

/* Largest key first. */
#define ACCEL_SORT_DESCENDING	(1U << 0)

/**
 * struct accel_sort_request - sorts blocks, each by itself
 * @src: address of the keys in the caller's memory, any alignment
 * @dst: where the sorted keys go; may be @src, must not overlap it otherwise
 * @blocks: number of blocks, from 1
 * @flags: 0 or ACCEL_SORT_DESCENDING
 * @sorted: out: blocks that have arrived at @dst, also when the call fails
 * @reserved: must be 0
 *
 * The call returns when all blocks are sorted, or fails with
 *   EINVAL     a field has a value that it must not have
 *   EFAULT     @src or @dst is not the caller's memory
 *   EINTR      a signal came after some blocks; before the first one the call is
 *              restarted where the signal's handler asks for it
 *   EIO        the device reported an error for a block, or lost its state
 *   ECANCELED  the device was reset on purpose while it worked (FLR, suspend)
 *   ETIMEDOUT  the device stood still for the module's timeout_s
 *   ENODEV     the device does not answer, or was removed
 */
struct accel_sort_request {
	__u64 src;
	__u64 dst;
	__u32 blocks;
	__u32 flags;
	__u32 sorted;
	__u32 reserved;
};

/**
 * struct accel_sort_info - identity and counters
 * @id: register ID, "SORT"
 * @version: register VERSION
 * @caps: register CAPS
 * @ring_entries: entries of the descriptor ring; one of them is always empty
 * @blocks: blocks that the device sorted since its reset
 * @msix: MSI-X messages that the device asked for since its reset
 * @dma_read_bytes: bytes that the device read from memory since its reset
 * @dma_write_bytes: bytes that the device wrote to memory since its reset
 * @cycles: clocks of the device since its reset
 * @done_interrupts: interrupts of vector 0 since the driver was bound
 * @error_interrupts: interrupts of vector 1 since the driver was bound
 * @blocks_done: blocks that the driver got back sorted since it was bound
 * @blocks_failed: blocks that it got back otherwise
 * @starts: how often the driver started the device; more than once is after an error
 *
 * The call fails with ENODEV if the device does not answer or was removed.
 */
struct accel_sort_info {
	__u32 id;
	__u32 version;
	__u32 caps;
	__u32 ring_entries;
	__u32 blocks;
	__u32 msix;
	__u64 dma_read_bytes;
	__u64 dma_write_bytes;
	__u64 cycles;
	__u64 done_interrupts;
	__u64 error_interrupts;
	__u64 blocks_done;
	__u64 blocks_failed;
	__u64 starts;
};

#define ACCEL_SORT_IOC_SORT	_IOWR('a', 0xc0, struct accel_sort_request)
#define ACCEL_SORT_IOC_INFO	_IOR('a', 0xc1, struct accel_sort_info)

#endif /* ACCEL_SORT_UAPI_H */
