// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Tests of what PCI Express promises, with the probe: RTL that reads host memory in the
 * middle of answering a register read, writes with holes, raises interrupts, and DMA-writes
 * a number before it shows the same number in a register. Its registers are described in
 * hdl/examples/probe/probe.sv.
 */
#include "accel.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../uapi/accel_probe.h"
#include "check.h"
#include "probe.h"

static const char usage[] =
	"usage: accel-probe [option...]\n"
	"\n"
	"  --rounds N   rounds of the ordering test (default 100000; 0 leaves it out)\n"
	"  --seed N     seed of the data (default 1)\n"
	"  --no-faults  leaves out DMA that an IOMMU tells the kernel of\n"
	"  --vfio-user  behind QEMU's vfio-user-pci: leaves out a read that waits for the\n"
	"               other vCPU, and what the card knows of its number on the bus\n"
	"  --patience MS  an interrupt, or anything else of the card, is late after so long\n"
	"               (default 60000)\n"
	"  --help       this text\n"
	"\n"
	"Status: 0 all as promised, 1 not so, 2 the work could not be done\n";

static char address[PCI_ADDRESS_BYTES];
static struct accel_probe_info info;
static int device;
static volatile void *bar;
static volatile uint8_t *buffer;
static struct random dice;
static bool no_faults;
static bool vfio_user;
static unsigned int patience_ms = PATIENCE_MS;

static uint32_t read32(size_t offset)
{
	return (uint32_t)bar_read(bar, offset, 4);
}

static void write32(size_t offset, uint32_t value)
{
	bar_write(bar, offset, 4, value);
}

static uint64_t read64(size_t offset)
{
	return bar_read(bar, offset, 8);
}

static void write64(size_t offset, uint64_t value)
{
	bar_write(bar, offset, 8, value);
}

static void start_thread(pthread_t *thread, void *(*function)(void *), void *argument)
{
	int error = pthread_create(thread, NULL, function, argument);

	if (error)
		die("no thread: %s", strerror(error));
}

static void wait_interrupt(struct accel_probe_wait *wait)
{
	wait->timeout_ms = patience_ms;
	if (ioctl(device, ACCEL_PROBE_IOC_WAIT, wait))
		die("interrupt %llu of vector %u: %s", (unsigned long long)wait->count,
		    wait->vector, strerror(errno));
}

static uint64_t count_interrupts(uint32_t vector)
{
	struct accel_probe_wait wait = { .vector = vector };

	wait_interrupt(&wait);
	return wait.count;
}

/* ---- tests of a moment ---- */

/* A DMA read that the answer of a register read needs. */
static void read_needs_dma(void)
{
	for (unsigned int i = 0; i < 500; i++) {
		uint64_t offset = random64(&dice) % info.buffer_bytes & ~7ULL;
		uint64_t value = random64(&dice);

		*(volatile uint64_t *)(buffer + offset) = value;
		write64(RD_ADDR, info.buffer_dma + offset);
		expect("RD_DATA", value, read64(RD_DATA));
		expect("upper half of RD_DATA", value >> 32, read32(RD_DATA + 4));
		expect("response of the DMA read", 0, read32(RD_STATUS) & 3);
	}
}

static atomic_bool held;

static void *read_hold(void *argument)
{
	pin_to_cpu(1);
	*(uint32_t *)argument = read32(HOLD);
	atomic_store(&held, false);
	return NULL;
}

/*
 * A read of one CPU waits for a write of the other. While it waits, the first CPU does
 * nothing else, as with any card, and nobody may wait for it: the other one spins.
 */
static void write_passes_read(void)
{
	uint32_t value, got;
	uint64_t end;

	pin_to_cpu(0);
	/*
	 * A completion timeout takes no read back: one of an earlier run may still wait in the
	 * RTL, with all later ones behind it, and takes the first of these. The second one is
	 * for the read that follows.
	 */
	write32(RELEASE, 0);
	write32(RELEASE, 0);
	expect("HOLD after RELEASE", 0, read32(HOLD));
	for (unsigned int i = 0; i < 20; i++) {
		pthread_t thread;

		value = (uint32_t)random64(&dice);
		atomic_store(&held, true);
		start_thread(&thread, read_hold, &got);
		for (end = now_ms() + 10; now_ms() < end;)
			;
		if (!atomic_load(&held))
			fail("HOLD was answered with %#x before RELEASE was written", got);
		write32(RELEASE, value);
		pthread_join(thread, NULL);
		expect("HOLD", value, got);
		/* It may wait there still, and would take the RELEASE of the next one. */
		if (got != value) {
			write32(RELEASE, 0);
			return;
		}
	}
}

/*
 * Every size and alignment of access. The RTL says which strobes it saw in the last beat.
 * Aligned accesses arrive as one beat; what is not aligned, a CPU may take apart (TCG does,
 * to aligned pieces), and only the bytes that it changes are certain.
 */
static void byte_enables(void)
{
	static uint8_t shadow[RAM_BYTES];
	uint64_t value, expected;

	for (size_t i = 0; i < RAM_BYTES; i += 8) {
		value = random64(&dice);
		memcpy(shadow + i, &value, 8);
		write64(RAM + i, value);
	}
	for (unsigned int bytes = 1; bytes <= 8; bytes *= 2) {
		for (size_t at = 0; at < 256; at++) {
			uint32_t beats = read32(WR_BEATS), strobes = (1U << bytes) - 1;

			value = random64(&dice);
			bar_write(bar, RAM + at, bytes, value);
			memcpy(shadow + at, &value, bytes);
			if (at % bytes)
				continue;
			expect("write beats", 1, read32(WR_BEATS) - beats);
			expect("strobes of the write beat", strobes << (at & 7), read32(LAST_WR_STRB));
			expect("its address", RAM + (at & ~7ULL), read32(LAST_WR_ADDR));
		}
		for (size_t at = 0; at < 512; at++) {
			expected = 0;
			memcpy(&expected, shadow + at, bytes);
			expect("register RAM", expected, bar_read(bar, RAM + at, bytes));
		}
	}
	for (size_t i = 0; i < RAM_BYTES; i += 8) {
		memcpy(&expected, shadow + i, 8);
		expect("register RAM at the end", expected, read64(RAM + i));
	}
}

static void wait_for_write(void)
{
	const uint64_t end = now_ms() + patience_ms;

	while (read32(WR_STATUS) & 1)
		if (now_ms() > end)
			die("WR_STATUS is busy for %u ms", patience_ms);
}

/* DMA writes of 1 to 8 beats with every pattern of strobes in a beat. */
static void dma_strobes(void)
{
	enum { WINDOW = 192 };

	for (unsigned int pattern = 0; pattern < 256; pattern++) {
		unsigned int beats = 1 + pattern % 8;
		/* A burst stays inside 4 KiB; it begins anywhere on 8 bytes. */
		size_t begin = random64(&dice) % (4096 - WINDOW) & ~7ULL, target = begin + 64;
		uint8_t data[64], expected[WINDOW];
		uint64_t strobes = 0;

		for (unsigned int beat = 0; beat < 8; beat++)
			strobes |= (uint64_t)((pattern + 37 * beat) & 0xff) << (8 * beat);
		for (unsigned int i = 0; i < WINDOW; i++)
			buffer[begin + i] = expected[i] = (uint8_t)random64(&dice);
		for (unsigned int i = 0; i < 64; i++) {
			data[i] = (uint8_t)~expected[64 + i];
			if (i < 8 * beats && strobes >> i & 1)
				expected[64 + i] = data[i];
		}
		write64(WR_ADDR, info.buffer_dma + target);
		write64(WR_STRB, strobes);
		for (unsigned int i = 0; i < 64; i += 8) {
			uint64_t word;

			memcpy(&word, data + i, 8);
			write64(WR_DATA + i, word);
		}
		write32(WR_GO, beats);
		wait_for_write();
		expect("response of the DMA write", 0, read32(WR_STATUS) >> 1 & 3);
		for (unsigned int i = 0; i < WINDOW; i++)
			if (buffer[begin + i] != expected[i])
				fail("%u beats with strobes %#llx: byte %d is %#x, expected %#x",
				     beats, (unsigned long long)strobes, (int)i - 64,
				     buffer[begin + i], expected[i]);
	}
}

static void expect_dma(const char *what, uint64_t target, bool works)
{
	uint32_t response = works ? 0 : SLVERR;
	char text[96];

	write64(RD_ADDR, target);
	snprintf(text, sizeof(text), "read %s", what);
	if (!works)
		expect(text, ~0ULL, read64(RD_DATA));
	else
		expect(text, *(volatile uint64_t *)buffer, read64(RD_DATA));
	snprintf(text, sizeof(text), "response of a read %s", what);
	expect(text, response, read32(RD_STATUS) & 3);

	write64(WR_ADDR, target);
	write64(WR_STRB, ~0ULL);
	write64(WR_DATA, random64(&dice));
	write32(WR_GO, 1);
	wait_for_write();
	snprintf(text, sizeof(text), "response of a write %s", what);
	expect(text, response, read32(WR_STATUS) >> 1 & 3);
}

/* DMA that the host refuses is an error for the RTL and changes nothing. */
static void dma_errors(void)
{
	uint64_t before = random64(&dice);

	*(volatile uint64_t *)buffer = before;
	set_bus_master(address, false);
	expect_dma("without bus mastering", info.buffer_dma, false);
	expect("memory after a refused write", before, *(volatile uint64_t *)buffer);
	set_bus_master(address, true);
	/* No guest has memory there. */
	if (!no_faults)
		expect_dma("of no memory", 1ULL << 45, false);
	expect_dma("of the buffer", info.buffer_dma, true);
}

static void interrupts(void)
{
	for (unsigned int i = 0; i < 400; i++) {
		struct accel_probe_wait wait = { .vector = (uint32_t)(random64(&dice) % info.vectors) };
		uint64_t others = 0;

		for (uint32_t vector = 0; vector < info.vectors; vector++)
			if (vector != wait.vector)
				others += count_interrupts(vector);
		wait.count = count_interrupts(wait.vector) + 1;
		write32(MSIX_GO, wait.vector);
		wait_interrupt(&wait);
		for (uint32_t vector = 0; vector < info.vectors; vector++)
			if (vector != wait.vector)
				others -= count_interrupts(vector);
		expect("interrupts of other vectors", 0, others);
	}
}

/* ---- ordering ---- */

/*
 * A round: LIT_GO = N makes the RTL write N to all words of the buffer by DMA, and then set
 * LIT_DONE to N. Who reads N there, and then the buffer, must find N or, where later rounds
 * are under way, more. One CPU starts rounds and checks; the other only reads and checks.
 */
struct litmus {
	const char *name;
	/* Part of all rounds, in percent. */
	unsigned int share;
	unsigned int starter;
	/* Words of 8 bytes in the buffer. */
	unsigned int words;
	/* LIT_DONE waits for the response of the DMA write. */
	bool wait_response;
	/* The round is waited for by interrupt. */
	bool interrupt;
	/* Rounds that are started before one is waited for. */
	unsigned int depth;
};

static const struct litmus phases[] = {
	{ "one word", 35, 0, 1, false, false, 1 },
	{ "64 words", 25, 1, 64, false, false, 1 },
	{ "8 words, after the response", 10, 0, 8, true, false, 1 },
	{ "64 words, four rounds at once", 20, 1, 64, false, false, 4 },
	{ "32 words, by interrupt", 10, 0, 32, false, true, 1 },
};

#define PHASES (sizeof(phases) / sizeof(*phases))
#define LITMUS_VECTOR 1

static atomic_bool observing;
static atomic_ullong observations, violations;

static void violation(const char *who, const struct litmus *litmus, unsigned int word,
		      uint32_t found, uint32_t low, uint32_t high)
{
	if (atomic_fetch_add(&violations, 1) < 5)
		report("violation", "%s, %s: word %u of the buffer is %#x, expected %#x to %#x",
		       litmus->name, who, word, found, low, high);
}

/* Every half of every word is from low to high; numbers wrap. */
static void check_buffer(const char *who, const struct litmus *litmus, uint32_t low, uint32_t high)
{
	const volatile uint32_t *words = (const volatile uint32_t *)buffer;

	for (unsigned int i = 0; i < 2 * litmus->words; i++) {
		uint32_t found = words[i];

		if ((int32_t)(found - low) < 0 || (int32_t)(high - found) < 0)
			violation(who, litmus, i, found, low, high);
	}
}

static void *observe(void *argument)
{
	const struct litmus *litmus = argument;

	pin_to_cpu(1 - litmus->starter);
	while (atomic_load_explicit(&observing, memory_order_relaxed)) {
		uint32_t done = read32(LIT_DONE);

		check_buffer("observer", litmus, done, done + INT32_MAX);
		atomic_fetch_add_explicit(&observations, 1, memory_order_relaxed);
	}
	return NULL;
}

/* Until the last round that was started is done; earlier ones are seen on the way. */
static void check_rounds(const struct litmus *litmus, uint32_t round)
{
	const uint64_t end = now_ms() + patience_ms;
	uint32_t done;

	while ((done = read32(LIT_DONE)) != round) {
		check_buffer("starter", litmus, done, round);
		if (now_ms() > end)
			die("LIT_DONE is %#x after %u ms, expected %#x", done, patience_ms, round);
	}
	check_buffer("starter", litmus, round, round);
}

/* Runs rounds first, first + 1, ... */
static void run_phase(const struct litmus *litmus, uint32_t first, uint32_t rounds)
{
	struct accel_probe_wait wait = { .vector = LITMUS_VECTOR };
	uint32_t watched = 2 * litmus->words, round = first, last = first + rounds - 1;
	uint64_t told = now_ms();
	pthread_t observer;

	if (ioctl(device, ACCEL_PROBE_IOC_WATCH, &watched))
		die("the buffer cannot be watched: %s", strerror(errno));
	wait.count = count_interrupts(LITMUS_VECTOR);
	write32(LIT_CTRL, litmus->wait_response | (uint32_t)litmus->interrupt << 1 |
				  LITMUS_VECTOR << 8 | (litmus->words - 1) << 16);
	/* What the buffer held is as old as LIT_DONE only after a round of this phase. */
	write32(LIT_GO, round);
	while (read32(LIT_DONE) != round)
		if (now_ms() - told > patience_ms)
			die("LIT_DONE is not %#x within %u ms", round, patience_ms);
	atomic_store(&observing, true);
	pin_to_cpu(litmus->starter);
	start_thread(&observer, observe, (void *)litmus);

	if (litmus->interrupt) {
		wait.count++;
		wait_interrupt(&wait);
	}
	while (round != last) {
		uint32_t step = last - round < litmus->depth ? last - round : litmus->depth;

		for (uint32_t i = 0; i < step; i++)
			write32(LIT_GO, ++round);
		if (litmus->interrupt) {
			wait.count++;
			wait_interrupt(&wait);
			if (wait.lowest != round)
				violation("interrupt handler", litmus, 0, wait.lowest, round, round);
			if (wait.highest != round)
				violation("interrupt handler", litmus, 0, wait.highest, round, round);
		}
		check_rounds(litmus, round);
		if (now_ms() - told >= 5000) {
			told = now_ms();
			report("progress", "%s: %u of %u rounds, %llu violations", litmus->name,
			       round - first + 1, rounds,
			       (unsigned long long)atomic_load(&violations));
		}
	}
	atomic_store(&observing, false);
	pthread_join(observer, NULL);
}

static void litmus(uint32_t rounds)
{
	uint32_t first, rounds_before, errors_before, done = 0, count;
	uint64_t begin = now_ms();

	write64(LIT_ADDR, info.buffer_dma);
	first = read32(LIT_DONE) + 1;
	rounds_before = read32(LIT_ROUNDS);
	errors_before = read32(LIT_ERRORS);
	for (size_t i = 0; i < PHASES; i++) {
		/* The last one does what does not come out even. */
		count = i == PHASES - 1 ? rounds - done :
					  (uint32_t)((uint64_t)rounds * phases[i].share / 100);
		if (!count)
			continue;
		run_phase(&phases[i], first + done, count);
		done += count;
	}
	expect("rounds that the device counted", rounds, read32(LIT_ROUNDS) - rounds_before);
	expect("DMA writes that failed", 0, read32(LIT_ERRORS) - errors_before);
	if (atomic_load(&violations))
		fail("the order was violated");
	report("litmus_rounds", "%u", done);
	report("litmus_observations", "%llu", (unsigned long long)atomic_load(&observations));
	report("litmus_violations", "%llu", (unsigned long long)atomic_load(&violations));
	report("litmus_ms", "%llu", (unsigned long long)(now_ms() - begin));
}

/*
 * The RTL sees in CFG what config space holds: Command, Device Control and MSI-X's Message
 * Control as the kernel has set them, and what changes then.
 */
static uint16_t config16(int config, unsigned int at)
{
	uint8_t bytes[2];

	if (pread(config, bytes, 2, at) != 2)
		die("config space of %s at %#x: %s", address, at, strerror(errno));
	return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static unsigned int capability(int config, uint8_t id)
{
	unsigned int at = config16(config, 0x34) & 0xfc;

	while (at && (config16(config, at) & 0xff) != id)
		at = config16(config, at) >> 8 & 0xfc;
	if (!at)
		die("%s has no capability %#x", address, id);
	return at;
}

static uint32_t cfg_of(int config, unsigned int express, unsigned int msix)
{
	uint16_t command = config16(config, 4), control = config16(config, express + 8);
	uint16_t message = config16(config, msix + 2);
	unsigned int bus, slot, function;

	if (sscanf(address, "%*x:%x:%x.%x", &bus, &slot, &function) != 3)
		die("%s is no address", address);
	if (vfio_user)
		bus = slot = function = 0;
	return (command >> 1 & 1) | (command >> 2 & 1) << 1 | (command >> 10 & 1) << 2 |
	       (message >> 15 & 1) << 3 | (message >> 14 & 1) << 4 | (control >> 8 & 1) << 5 |
	       (control >> 4 & 1) << 6 | (control >> 11 & 1) << 7 | (control >> 5 & 7) << 10 |
	       (uint32_t)(control >> 12 & 7) << 13 | bus << 24 | slot << 19 | function << 16;
}

static void config_space(void)
{
	char path[128];
	unsigned int express, msix;
	uint16_t control, link;
	int config;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", address);
	config = open(path, O_RDWR | O_CLOEXEC);
	if (config < 0)
		die("%s cannot be opened: %s", path, strerror(errno));
	express = capability(config, 0x10);
	msix = capability(config, 0x11);
	expect("CFG", cfg_of(config, express, msix), read32(CFG));
	expect("memory space and bus master in CFG", 3, read32(CFG) & 3);
	link = config16(config, express + 0x12);
	expect("CFG_LINK", (link & 0xfU) | (link >> 4 & 0x3fU) << 8, read32(CFG_LINK));
	control = config16(config, express + 8);
	for (unsigned int size = 0; size < 6; size++) {
		uint16_t value = (uint16_t)((control & 0x0fff) | size << 12);

		if (pwrite(config, &value, 2, express + 8) != 2)
			die("Device Control cannot be written: %s", strerror(errno));
		expect("Max_Read_Request_Size", size, config16(config, express + 8) >> 12 & 7);
		expect("CFG", cfg_of(config, express, msix), read32(CFG));
	}
	if (pwrite(config, &control, 2, express + 8) != 2)
		die("Device Control cannot be written: %s", strerror(errno));
	close(config);
}

/* ---- the whole ---- */

static void open_probe(void)
{
	expect_loss_of_registers();
	device = open("/dev/accel_probe0", O_RDWR | O_CLOEXEC);
	if (device < 0 || ioctl(device, ACCEL_PROBE_IOC_INFO, &info))
		die("/dev/accel_probe0 cannot be opened: %s", strerror(errno));
	bar = mmap(NULL, info.bar_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		   ACCEL_PROBE_MAP_BAR0);
	buffer = mmap(NULL, info.buffer_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		      ACCEL_PROBE_MAP_BUFFER);
	if (bar == MAP_FAILED || buffer == MAP_FAILED)
		die("/dev/accel_probe0 cannot be mapped: %s", strerror(errno));
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("there is 1 CPU, expected at least 2");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "no-faults", no_argument, NULL, 'f' },
		{ "vfio-user", no_argument, NULL, 'v' },
		{ "patience", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		{ "test_read_that_needs_dma", read_needs_dma },
		{ "test_write_passes_waiting_read", write_passes_read },
		{ "test_byte_enables", byte_enables },
		{ "test_dma_write_strobes", dma_strobes },
		{ "test_refused_dma", dma_errors },
		{ "test_interrupt_vectors", interrupts },
		{ "test_config_space", config_space },
	};
	uint32_t rounds = 100000;
	int option;

	dice.state = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			rounds = (uint32_t)number("--rounds", optarg, 0, 1000000000);
			break;
		case 's':
			dice.state = number("--seed", optarg, 0, UINT64_MAX);
			break;
		case 'f':
			no_faults = true;
			break;
		case 'v':
			vfio_user = true;
			break;
		case 'p':
			patience_ms = (unsigned int)number("--patience", optarg, 1, PATIENCE_MS);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	find_function(PROBE_VENDOR, PROBE_DEVICE, address);
	report_function(address);
	open_probe();
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		/* A vCPU that waits there holds the lock that the other one needs. */
		if (vfio_user && tests[i].run == write_passes_read)
			continue;
		tests[i].run();
		finish_test(tests[i].name);
	}
	if (rounds) {
		litmus(rounds);
		finish_test("test_litmus");
	}
	return finish_tests();
}
