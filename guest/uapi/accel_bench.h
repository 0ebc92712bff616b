/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the measuring program gets from the driver of the bench design, and of the function
 * behind vfio-user that it is compared with, through /dev/accel_benchN: the registers, a
 * buffer for DMA, and interrupts with the time at which their handler began. One program at
 * a time, with CAP_SYS_RAWIO.
 */
#ifndef ACCEL_BENCH_UAPI_H
#define ACCEL_BENCH_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Devices of the vendor Xilinx. */
#define ACCEL_BENCH_DEVICE		0x7032	/* hdl/bench */
#define ACCEL_BENCH_DEVICE_VFIO_USER	0x7033	/* tests/vfio-user */

/* Offsets for mmap(): BAR 0, uncached, and the buffer. */
#define ACCEL_BENCH_MAP_BAR0	0
#define ACCEL_BENCH_MAP_BUFFER	0x10000000
#define ACCEL_BENCH_BUFFER	0x10000

/**
 * struct accel_bench_info - what there is
 * @buffer_dma: address of the buffer as the device sees it
 * @buffer_phys: its address in the machine's memory
 * @device: which device it is
 * @reserved: 0
 */
struct accel_bench_info {
	__u64 buffer_dma;
	__u64 buffer_phys;
	__u32 device;
	__u32 reserved;
};

/* How the guest waits for the interrupt. */
enum {
	ACCEL_BENCH_HALT = 0,	/* asleep, with nothing else to run: the CPU halts */
	ACCEL_BENCH_SPIN = 1,	/* in a loop that looks at memory */
	ACCEL_BENCH_RELAX = 2,	/* likewise, with the instruction for such loops */
};

/**
 * struct accel_bench_msix - has one interrupt raised
 * @delay: clocks of the bench design between the request and the interrupt; microseconds
 *	for the function behind vfio-user
 * @wait: ACCEL_BENCH_HALT and so on
 * @handler: out: counter of the CPU at the beginning of the handler
 */
struct accel_bench_msix {
	__u32 delay;
	__u32 wait;
	__u64 handler;
};

#define ACCEL_BENCH_IOC_INFO	_IOR('a', 0xd8, struct accel_bench_info)
#define ACCEL_BENCH_IOC_MSIX	_IOWR('a', 0xd9, struct accel_bench_msix)

#endif /* ACCEL_BENCH_UAPI_H */
