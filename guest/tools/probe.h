/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The probe, RTL for tests: its identity and its registers in BAR 0, which are described
 * in hdl/examples/probe/probe.sv.
 */
#ifndef PROBE_H
#define PROBE_H

#define PROBE_VENDOR 0x10ee
#define PROBE_DEVICE 0x7031
#define PROBE_VECTORS 8

enum {
	ID = 0x000,
	SCRATCH = 0x008,
	RD_ADDR = 0x010,
	RD_STATUS = 0x018,
	RD_DATA = 0x020,
	HOLD = 0x028,
	RELEASE = 0x02c,
	WR_ADDR = 0x030,
	WR_STRB = 0x038,
	WR_DATA = 0x040,
	WR_GO = 0x080,
	WR_STATUS = 0x084,
	LIT_ADDR = 0x090,
	LIT_CTRL = 0x098,
	LIT_GO = 0x09c,
	LIT_DONE = 0x0a0,
	LIT_ROUNDS = 0x0a4,
	LIT_ERRORS = 0x0a8,
	MSIX_GO = 0x0b0,
	MSIX_COUNT = 0x0b4,
	WR_BEATS = 0x0c0,
	LAST_WR_STRB = 0x0c8,
	LAST_WR_ADDR = 0x0cc,
	CFG = 0x0d8,
	CFG_LINK = 0x0dc,
	RAM = 0x1000,
	RAM_BYTES = 0x1000,
};

/* AXI response of what the host refuses. */
#define SLVERR 2
/* The longest wait for anything that takes microseconds. */
#define PATIENCE_MS (60 * 1000)

#endif /* PROBE_H */
