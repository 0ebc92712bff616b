// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The probe without a driver of ours: through vfio-pci, behind a virtual IOMMU. The
 * program maps memory of its own for the device, and then has the RTL reach what is
 * mapped, what is not, what was, and what may only be read. What the IOMMU refuses is an
 * error response for the RTL and a fault in the kernel's log, and changes nothing.
 */
#include "accel.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "probe.h"
#include "vfio.h"

#define BUFFER_BYTES (16 * PAGE)
/* What the device calls the buffer. A guest has no memory there unless it has very much. */
#define BUFFER_IOVA (1ULL << 36)
/* How long the log is watched for what must not come. */
#define QUIET_MS 200

static const char usage[] =
	"usage: accel-vfio [option...]\n"
	"\n"
	"Drives the probe through vfio-pci, behind a virtual IOMMU.\n"
	"\n"
	"  --seed N     seed of the data (default 1)\n"
	"  --help       this text\n"
	"\n"
	"Status: 0 all as promised, 1 not so, 2 the work could not be done\n";

static struct vfio_card card;
static struct random dice;
static int kernel_log;
static volatile void *bar;
/* Memory of the program, and what it must hold. */
static volatile uint8_t *buffer;
static uint8_t shadow[BUFFER_BYTES];
static struct vfio_region_info bar_region;
static unsigned int faults_seen;

static uint32_t read32(size_t offset)
{
	return (uint32_t)bar_read(bar, offset, 4);
}

static void write32(size_t offset, uint32_t value)
{
	bar_write(bar, offset, 4, value);
}

static void write64(size_t offset, uint64_t value)
{
	bar_write(bar, offset, 8, value);
}

/* ---- the kernel's log ---- */

static void open_log(void)
{
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel_log < 0)
		die("/dev/kmsg cannot be opened: %s", strerror(errno));
	if (lseek(kernel_log, 0, SEEK_END) < 0)
		die("/dev/kmsg has no end: %s", strerror(errno));
}

/* The text of the next message. Returns false if none comes within `ms`. */
static bool next_message(char *text, size_t bytes, int ms)
{
	struct pollfd wait = { .fd = kernel_log, .events = POLLIN };
	char record[2048], *begin, *end;
	ssize_t got;

	if (poll(&wait, 1, ms) <= 0)
		return false;
	got = read(kernel_log, record, sizeof(record) - 1);
	/* EPIPE: the log ran over, which nothing here brings about. */
	if (got < 0)
		die("/dev/kmsg cannot be read: %s", strerror(errno));
	record[got] = '\0';
	/* "priority,number,time,flags;text", and then lines of a dictionary. */
	begin = strchr(record, ';');
	begin = begin ? begin + 1 : record;
	end = strchr(begin, '\n');
	if (end)
		*end = '\0';
	snprintf(text, bytes, "%.*s", (int)bytes - 1, begin);
	return true;
}

/* Nothing at all is in the log. */
static void expect_quiet(const char *what)
{
	char text[512];

	while (next_message(text, sizeof(text), QUIET_MS))
		fail("%s: the kernel says: %.200s", what, text);
}

/*
 * The next thing in the log is the fault of this access, and after it comes nothing else.
 * Linux (drivers/iommu/intel/dmar.c) says
 *   DMAR: DRHD: handling fault status reg 2
 *   DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault addr 0x1000 [fault reason ...
 */
static void expect_fault(const char *what, bool write, uint64_t target)
{
	char text[512], place[64];
	const char *kind = write ? "[DMA Write" : "[DMA Read";
	unsigned int faults = 0;

	snprintf(place, sizeof(place), "fault addr %#llx ",
		 (unsigned long long)(target & ~(PAGE - 1ULL)));
	while (next_message(text, sizeof(text), faults ? QUIET_MS : PATIENCE_MS)) {
		if (strstr(text, "DRHD: handling fault status"))
			continue;
		if (!strstr(text, "DMAR: ") || !strstr(text, kind) || !strstr(text, place) ||
		    !strstr(text, card.address + strlen("0000:"))) {
			fail("%s: expected a fault of a %s at %#llx, the kernel says: %.200s", what,
			     write ? "write" : "read", (unsigned long long)target, text);
			continue;
		}
		faults++;
		if (!faults_seen++)
			report("first_fault", "%s", text);
	}
	expect(what, 1, faults);
}

/*
 * The kernel keeps silent about more than a few faults in five seconds (DEFAULT_RATELIMIT
 * _INTERVAL and _BURST; it counts a fault three times). Called before each fault.
 */
static void wait_for_log(void)
{
	enum { FAULTS = 3, INTERVAL_MS = 5000 };
	static unsigned int faults;
	static uint64_t begin;
	uint64_t now = now_ms();

	if (faults == FAULTS) {
		if (now < begin + INTERVAL_MS + QUIET_MS)
			usleep((useconds_t)(begin + INTERVAL_MS + QUIET_MS - now) * 1000);
		faults = 0;
	}
	if (!faults++)
		begin = now_ms();
}

/* Where a page of the program is in the guest's memory. */
static uint64_t physical_address(volatile void *memory)
{
	uint64_t entry;
	int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (file < 0 || pread(file, &entry, sizeof(entry),
			      (off_t)((uintptr_t)memory / PAGE * sizeof(entry))) != sizeof(entry))
		die("/proc/self/pagemap cannot be read: %s", strerror(errno));
	close(file);
	/* Bit 63 present, bits 54:0 the page's number. */
	if (!(entry >> 63) || !(entry << 9))
		die("the page at %p has no physical address", (void *)(uintptr_t)memory);
	return (entry << 9 >> 9) * PAGE;
}

/* ---- what the RTL does ---- */

static uint32_t dma_read(uint64_t target, uint64_t *data)
{
	write64(RD_ADDR, target);
	*data = bar_read(bar, RD_DATA, 8);
	return read32(RD_STATUS) & 3;
}

static uint32_t dma_write(uint64_t target, uint64_t data, uint8_t strobes)
{
	const uint64_t end = now_ms() + PATIENCE_MS;
	uint32_t status;

	write64(WR_ADDR, target);
	write64(WR_STRB, strobes);
	write64(WR_DATA, data);
	write32(WR_GO, 1);
	while ((status = read32(WR_STATUS)) & 1)
		if (now_ms() > end)
			die("WR_STATUS is busy for %u ms", PATIENCE_MS);
	return status >> 1 & 3;
}

static void check_buffer(const char *what)
{
	for (size_t i = 0; i < BUFFER_BYTES; i++)
		if (buffer[i] != shadow[i])
			fail("%s: byte %zu of the buffer is %#x, expected %#x", what, i, buffer[i],
			     shadow[i]);
}

/* The buffer is reached as ever. */
static void check_dma(const char *what)
{
	size_t at = random64(&dice) % BUFFER_BYTES & ~7ULL;
	uint64_t value = random64(&dice), got, old;

	memcpy(&old, shadow + at, 8);
	expect(what, 0, dma_read(BUFFER_IOVA + at, &got));
	expect(what, old, got);
	expect(what, 0, dma_write(BUFFER_IOVA + at, value, 0xff));
	memcpy(shadow + at, &value, 8);
	check_buffer(what);
}

/* A read and a write that the IOMMU must refuse, or the function's command register. */
static void expect_refusal(const char *what, uint64_t target, bool fault)
{
	uint32_t errors = read32(LIT_ERRORS);
	uint64_t got;

	if (fault)
		wait_for_log();
	expect(what, SLVERR, dma_read(target, &got));
	expect(what, ~0ULL, got);
	if (fault)
		expect_fault(what, false, target);
	if (fault)
		wait_for_log();
	expect(what, SLVERR, dma_write(target, random64(&dice), 0xff));
	if (fault)
		expect_fault(what, true, target);
	expect("DMA writes that failed", 1, read32(LIT_ERRORS) - errors);
	expect_quiet(what);
	check_buffer(what);
}

/* ---- tests ---- */

/* Through the mapping of BAR 0, and through read() and write() of the VFIO file. */
static void mmio(void)
{
	static uint8_t ram[RAM_BYTES];
	uint64_t value, expected;

	expect("register ID", 0x424f5250, read32(ID));
	for (size_t at = 0; at < RAM_BYTES; at += 8) {
		value = random64(&dice);
		write64(RAM + at, value);
		memcpy(ram + at, &value, 8);
	}
	for (unsigned int bytes = 1; bytes <= 8; bytes *= 2) {
		for (size_t at = 0; at < 128; at += bytes) {
			const off_t place = (off_t)(bar_region.offset + RAM + at);

			value = random64(&dice);
			if (at & 8)
				bar_write(bar, RAM + at, bytes, value);
			else if (pwrite(card.device, &value, bytes, place) != (ssize_t)bytes)
				die("BAR 0 cannot be written: %s", strerror(errno));
			memcpy(ram + at, &value, bytes);
			expected = value = 0;
			memcpy(&expected, ram + at, bytes);
			expect("register RAM, mapped", expected, bar_read(bar, RAM + at, bytes));
			if (pread(card.device, &value, bytes, place) != (ssize_t)bytes)
				die("BAR 0 cannot be read: %s", strerror(errno));
			expect("register RAM, by read()", expected, value);
		}
	}
	for (size_t at = 0; at < RAM_BYTES; at += 8) {
		memcpy(&expected, ram + at, 8);
		expect("register RAM at the end", expected, bar_read(bar, RAM + at, 8));
	}
}

/* Reads and writes, with holes in the strobes, in all pages of the buffer. */
static void dma(void)
{
	unsigned int pages_apart = 0;

	for (size_t page = PAGE; page < BUFFER_BYTES; page += PAGE)
		pages_apart += physical_address(buffer + page) !=
			       physical_address(buffer + page - PAGE) + PAGE;
	/* Not a test: it says how much of the translation the buffer exercises. */
	report("pages_not_adjacent", "%u of %u", pages_apart, BUFFER_BYTES / PAGE - 1);
	for (unsigned int i = 0; i < 1000; i++) {
		size_t at = random64(&dice) % BUFFER_BYTES & ~7ULL;
		uint64_t value = random64(&dice), got, expected;
		uint8_t strobes = (uint8_t)random64(&dice);

		memcpy(&expected, shadow + at, 8);
		expect("response of a DMA read", 0, dma_read(BUFFER_IOVA + at, &got));
		expect("data of a DMA read", expected, got);
		expect("response of a DMA write", 0, dma_write(BUFFER_IOVA + at, value, strobes));
		for (unsigned int byte = 0; byte < 8; byte++)
			if (strobes >> byte & 1)
				shadow[at + byte] = (uint8_t)(value >> 8 * byte);
	}
	check_buffer("after DMA");
	expect_quiet("DMA of what is mapped");
}

/* Waits for one interrupt of a vector; none may have come from another. */
static void expect_interrupt(unsigned int vector)
{
	struct pollfd wait = { .fd = card.event[vector], .events = POLLIN };
	uint64_t count = 0;

	if (poll(&wait, 1, PATIENCE_MS) != 1)
		die("no interrupt of vector %u within %u ms", vector, PATIENCE_MS);
	for (unsigned int i = 0; i < PROBE_VECTORS; i++) {
		count = 0;
		if (read(card.event[i], &count, sizeof(count)) < 0 && errno != EAGAIN)
			die("the event of vector %u cannot be read: %s", i, strerror(errno));
		expect(i == vector ? "interrupts of the vector" : "interrupts of other vectors",
		       i == vector, count);
	}
}

/* Every vector as itself, and not ahead of the data that it announces. */
static void msix(void)
{
	enum { WORDS = 32 };

	for (unsigned int i = 0; i < 200; i++) {
		unsigned int vector = (unsigned int)(random64(&dice) % PROBE_VECTORS);

		write32(MSIX_GO, vector);
		expect_interrupt(vector);
	}
	write64(LIT_ADDR, BUFFER_IOVA);
	for (uint32_t i = 0; i < 200; i++) {
		unsigned int vector = i % PROBE_VECTORS;
		uint32_t round = (uint32_t)random64(&dice);

		write32(LIT_CTRL, 2 | vector << 8 | (WORDS - 1) << 16);
		write32(LIT_GO, round);
		expect_interrupt(vector);
		for (unsigned int word = 0; word < 2 * WORDS; word++) {
			uint32_t got = ((volatile uint32_t *)buffer)[word];

			if (got != round)
				fail("the interrupt of round %#x came before word %u, which is %#x",
				     round, word, got);
			memcpy(shadow + 4 * word, &round, 4);
		}
	}
	check_buffer("after rounds with interrupts");
}

/* Where nothing is mapped, and where something was. */
static void not_mapped(void)
{
	volatile uint8_t *other = vfio_pages(PAGE);
	const uint64_t was = BUFFER_IOVA + 2 * BUFFER_BYTES, secret = random64(&dice);
	uint64_t got, physical;

	*(volatile uint64_t *)other = secret;
	expect_refusal("DMA behind the buffer", BUFFER_IOVA + BUFFER_BYTES, true);
	check_dma("DMA of the buffer after a fault");

	/* Memory is there for whoever has no IOMMU before it. */
	physical = physical_address(other);
	expect_refusal("DMA at a physical address", physical, true);
	expect("memory at that address", secret, *(volatile uint64_t *)other);

	vfio_map(&card, other, was, PAGE, VFIO_READ_WRITE);
	expect("DMA of a new mapping", 0, dma_read(was, &got));
	expect("its data", secret, got);
	vfio_unmap(&card, was, PAGE);
	expect_refusal("DMA where something was mapped", was, true);
	expect("memory that was mapped", secret, *(volatile uint64_t *)other);
	check_dma("DMA of the buffer after all this");
	munmap((void *)(uintptr_t)other, PAGE);
}

/* Memory that the device may read and not write. */
static void read_only(void)
{
	volatile uint8_t *other = vfio_pages(PAGE);
	const uint64_t place = BUFFER_IOVA + 4 * BUFFER_BYTES, value = random64(&dice);
	uint64_t got;

	*(volatile uint64_t *)other = value;
	vfio_map(&card, other, place, PAGE, VFIO_DMA_MAP_FLAG_READ);
	/*
	 * The write comes first: QEMU's model of the IOMMU has an entry of its own cache
	 * refuse an access without telling the guest.
	 */
	wait_for_log();
	expect("write of memory that may be read", SLVERR, dma_write(place, ~value, 0xff));
	expect_fault("write of memory that may be read", true, place);
	expect("memory that may be read", value, *(volatile uint64_t *)other);
	expect("read of memory that may be read", 0, dma_read(place, &got));
	expect("its data", value, got);
	expect("another write of it", SLVERR, dma_write(place, ~value, 0xff));
	expect("memory that may be read", value, *(volatile uint64_t *)other);
	vfio_unmap(&card, place, PAGE);
	check_dma("DMA of the buffer after that");
	munmap((void *)(uintptr_t)other, PAGE);
}

/* Without bus mastering nothing leaves the card, so the IOMMU has nothing to say. */
static void no_bus_master(void)
{
	vfio_command(&card, VFIO_BUS_MASTER, false);
	expect_refusal("DMA without bus mastering", BUFFER_IOVA, false);
	vfio_command(&card, VFIO_BUS_MASTER, true);
	check_dma("DMA with bus mastering again");
	expect_quiet("DMA with bus mastering again");
}

static void reset(void)
{
	write32(SCRATCH, 0x12345678);
	expect("SCRATCH", 0x12345678, read32(SCRATCH));
	if (ioctl(card.device, VFIO_DEVICE_RESET))
		die("%s cannot be reset: %s", card.address, strerror(errno));
	/* The kernel restores the command register as it found it. */
	vfio_command(&card, VFIO_BUS_MASTER, true);
	expect("SCRATCH after a reset", 0, read32(SCRATCH));
	expect("LIT_ERRORS after a reset", 0, read32(LIT_ERRORS));
	check_dma("DMA after a reset");
	write32(MSIX_GO, 3);
	expect_interrupt(3);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		{ "test_mmio", mmio },
		{ "test_dma", dma },
		{ "test_msix", msix },
		{ "test_not_mapped", not_mapped },
		{ "test_read_only", read_only },
		{ "test_no_bus_master", no_bus_master },
		{ "test_reset", reset },
	};
	int option;

	dice.state = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			dice.state = number("--seed", optarg, 0, UINT64_MAX);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	vfio_open(&card, PROBE_VENDOR, PROBE_DEVICE);
	bar = vfio_bar(&card, 0, &bar_region);
	buffer = vfio_pages(BUFFER_BYTES);
	for (size_t i = 0; i < BUFFER_BYTES; i++)
		buffer[i] = shadow[i] = (uint8_t)random64(&dice);
	vfio_map(&card, buffer, BUFFER_IOVA, BUFFER_BYTES, VFIO_READ_WRITE);
	vfio_command(&card, VFIO_BUS_MASTER, true);
	vfio_msix(&card, PROBE_VECTORS);
	open_log();
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		tests[i].run();
		finish_test(tests[i].name);
	}
	report("iommu_faults", "%u", faults_seen);
	return finish_tests();
}
