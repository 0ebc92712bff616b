/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a test program gets from the driver of the probe, through /dev/accel_probeN:
 * the registers, a buffer that the device reaches by DMA, and its interrupts.
 * One program at a time, with CAP_SYS_RAWIO, since it may have the device write
 * anywhere.
 */
#ifndef ACCEL_PROBE_UAPI_H
#define ACCEL_PROBE_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Offsets for mmap(): BAR 0, uncached, and the buffer. */
#define ACCEL_PROBE_MAP_BAR0	0
#define ACCEL_PROBE_MAP_BUFFER	0x10000000

#define ACCEL_PROBE_VECTORS	8

/**
 * struct accel_probe_info - what there is
 * @buffer_dma: address of the buffer as the device sees it
 * @buffer_bytes: its size
 * @bar_bytes: size of BAR 0
 * @vectors: MSI-X vectors in use
 * @reserved: 0
 */
struct accel_probe_info {
	__u64 buffer_dma;
	__u32 buffer_bytes;
	__u32 bar_bytes;
	__u32 vectors;
	__u32 reserved;
};

/**
 * struct accel_probe_wait - waits for interrupts
 * @vector: of this MSI-X vector
 * @timeout_ms: for so long at most; then the call fails with ETIMEDOUT
 * @count: until there were so many since the driver was bound; out: how many there were
 * @lowest: out: what the handler of the last one found in the watched words of the
 *	buffer, the lowest as unsigned 32-bit number
 * @highest: out: and the highest
 */
struct accel_probe_wait {
	__u32 vector;
	__u32 timeout_ms;
	__u64 count;
	__u32 lowest;
	__u32 highest;
};

#define ACCEL_PROBE_IOC_INFO	_IOR('a', 0xd0, struct accel_probe_info)
/* The handlers look at so many 32-bit words from the buffer's start, at first none. */
#define ACCEL_PROBE_IOC_WATCH	_IOW('a', 0xd1, __u32)
#define ACCEL_PROBE_IOC_WAIT	_IOWR('a', 0xd2, struct accel_probe_wait)

#endif /* ACCEL_PROBE_UAPI_H */
