// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The xdma example without a driver: through vfio-pci, behind a virtual IOMMU. The program does
 * what a driver of XDMA does (PG195): registers, lists of descriptors, data both ways, interrupts
 * of channels and of the user, poll mode, errors.
 */
#include "accel.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "check.h"
#include "vfio.h"

#define VENDOR 0x10ee
#define DEVICE 0x9038
#define VECTORS 32
#define PATIENCE_MS (60 * 1000)

/* BARs: the AXI4-Lite master, and the registers of the DMA. */
#define AXIL_BAR 0
#define DMA_BAR 1

/* What is behind m_axil (hdl/examples/xdma/xdma_regs.sv), and how much memory behind m_axi. */
#define CARD_ID 0x00
#define CARD_SCRATCH 0x04
#define CARD_REQUEST 0x08
#define CARD_ACKS 0x0c
#define USERS 4
#define CARD_BYTES (64 * 1024)

/* Targets in the DMA BAR, channel 0 of each. */
#define H2C 0x0000
#define C2H 0x1000
#define IRQ 0x2000
#define CONFIG 0x3000
#define SGDMA_OF_CHANNEL 0x4000

#define CONTROL 0x04
#define CONTROL_CLEAR 0x0c
#define STATUS 0x40
#define STATUS_CLEAR 0x44
#define COMPLETED 0x48
#define POLL_LOW 0x88
#define POLL_HIGH 0x8c
#define MASK 0x90
#define FIRST_LOW 0x80
#define FIRST_HIGH 0x84
#define ADJACENT 0x88

#define USER_MASK 0x04
#define CHANNEL_MASK 0x10
#define USER_REQUEST 0x40
#define CHANNEL_REQUEST 0x44
#define USER_PENDING 0x48
#define USER_VECTORS 0x80
#define CHANNEL_VECTORS 0xa0

#define RUN (1u << 0)
#define BUSY (1u << 0)
#define DESC_STOPPED (1u << 1)
#define DESC_COMPLETED (1u << 2)
#define MAGIC_STOPPED (1u << 4)
#define READ_UNSUPPORTED (1u << 9)
#define LOG_ALL 0x00fffe7eu
#define POLL_MODE (1u << 26)
#define STREAM (1u << 15)

#define STOP 1
#define COMPLETE 2
#define EOP 16

/* Vectors of H2C, C2H and the users. */
#define USER_VECTOR 8

struct descriptor {
	uint32_t control, bytes;
	uint64_t source, destination, next;
};

/* What a stream channel says of a descriptor. */
struct result {
	uint32_t status, bytes;
	uint32_t reserved[6];
};

#define BUFFER_BYTES (64 * PAGE)
#define BUFFER_IOVA (1ULL << 36)
/* Parts of the buffer: descriptors, results, the count of poll mode, data to and from the card. */
#define LIST_AT 0
#define LIST_MOST 128
#define RESULTS_AT PAGE
#define POLL_AT (2 * PAGE)
#define OUT_AT (4 * PAGE)
#define DATA_BYTES (20 * PAGE)
#define IN_AT (OUT_AT + DATA_BYTES + PAGE)

static const char usage[] =
	"usage: accel-xdma [option...]\n"
	"\n"
	"Drives the xdma example through vfio-pci, behind a virtual IOMMU.\n"
	"\n"
	"  --rounds N   lists of descriptors each way (default 40)\n"
	"  --seed N     seed of the data (default 1)\n"
	"  --help       this text\n"
	"\n"
	"Status: 0 all as promised, 1 not so, 2 the work could not be done\n";

static struct vfio_card card;
static struct random dice;
static volatile void *axil, *dma;
static volatile uint8_t *buffer;
static uint8_t memory[CARD_BYTES], want[DATA_BYTES];
static unsigned int rounds = 40;
static uint64_t bytes_moved;
static bool stream;

static uint32_t dma_get(size_t offset)
{
	return (uint32_t)bar_read(dma, offset, 4);
}

static void dma_set(size_t offset, uint32_t value)
{
	bar_write(dma, offset, 4, value);
}

static uint32_t axil_get(size_t offset)
{
	return (uint32_t)bar_read(axil, offset, 4);
}

static void axil_set(size_t offset, uint32_t value)
{
	bar_write(axil, offset, 4, value);
}

static uint64_t below(uint64_t limit)
{
	return random64(&dice) % limit;
}

static void set_data(size_t at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		buffer[at + i] = (uint8_t)random64(&dice);
}

static void get_data(size_t at, uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		data[i] = buffer[at + i];
}

/* Waits for an interrupt of a vector, and sees that no other one came. */
static void expect_interrupt(const char *what, unsigned int vector)
{
	struct pollfd wait = { .fd = card.event[vector], .events = POLLIN };
	uint64_t count;

	if (poll(&wait, 1, PATIENCE_MS) != 1)
		die("%s: no interrupt of vector %u within %u ms", what, vector, PATIENCE_MS);
	for (unsigned int i = 0; i < VECTORS; i++) {
		count = 0;
		if (read(card.event[i], &count, sizeof(count)) < 0 && errno != EAGAIN)
			die("the event of vector %u cannot be read: %s", i, strerror(errno));
		if (i == vector ? count == 0 : count != 0)
			fail("%s: %llu interrupts of vector %u", what, (unsigned long long)count, i);
	}
}

static void forget_interrupts(void)
{
	uint64_t count;

	for (unsigned int i = 0; i < VECTORS; i++)
		if (read(card.event[i], &count, sizeof(count)) < 0 && errno != EAGAIN)
			die("the event of vector %u cannot be read: %s", i, strerror(errno));
}

/* Descriptor `index` of `count`, which lie side by side. */
static void describe(unsigned int index, unsigned int count, uint32_t bytes, uint64_t source,
		     uint64_t destination, uint32_t control)
{
	volatile struct descriptor *list = (volatile struct descriptor *)(buffer + LIST_AT);
	const bool last = index + 1 == count;
	/* The block ends where the 64th would begin, and the next one is behind it. */
	const unsigned int block_end = (index | 63) + 1;
	unsigned int adjacent = 0;

	if (index + 1 == block_end && !last)
		adjacent = (count - block_end < 64 ? count - block_end : 64) - 1;
	list[index].control = 0xad4b0000u | adjacent << 8 | control | (last ? STOP | COMPLETE : 0);
	list[index].bytes = bytes;
	list[index].source = source;
	list[index].destination = destination;
	list[index].next = BUFFER_IOVA + LIST_AT + (index + 1) * sizeof(struct descriptor);
}

static void start(unsigned int channel, unsigned int count, uint32_t control)
{
	const unsigned int list = SGDMA_OF_CHANNEL + channel;

	dma_set(list + FIRST_LOW, (uint32_t)(BUFFER_IOVA + LIST_AT));
	dma_set(list + FIRST_HIGH, (uint32_t)((BUFFER_IOVA + LIST_AT) >> 32));
	dma_set(list + ADJACENT, (count < 64 ? count : 64) - 1);
	dma_set(channel + CONTROL, control | RUN);
}

/* Waits until the channel is idle, clears its status and its Run, and gives the status. */
static uint32_t finish(unsigned int channel)
{
	const uint64_t end = now_ms() + PATIENCE_MS;
	uint32_t status;

	while (dma_get(channel + STATUS) & BUSY)
		if (now_ms() > end)
			die("channel %#x is busy for %u ms", channel, PATIENCE_MS);
	status = dma_get(channel + STATUS_CLEAR);
	dma_set(channel + CONTROL_CLEAR, RUN);
	return status;
}

/* ---- tests ---- */

static void registers(void)
{
	static const struct {
		unsigned int target;
		uint32_t id;
		bool channel;
	} ids[] = {
		{ H2C, 0x1fc00006, true }, { C2H, 0x1fc10006, true }, { IRQ, 0x1fc20006, false },
		{ CONFIG, 0x1fc30006, false }, { 0x4000, 0x1fc40006, true },
		{ 0x5000, 0x1fc50006, true }, { 0x6000, 0x1fc60006, false },
		/* No second channel. */
		{ H2C + 0x100, 0, false }, { C2H + 0x100, 0, false },
	};
	uint32_t value;

	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		expect("identifier", ids[i].id | (ids[i].channel && stream ? STREAM : 0),
		       dma_get(ids[i].target));
	expect("System ID", 0xff01, dma_get(CONFIG + 0x10));
	expect("MSI-X Enable", 2, dma_get(CONFIG + 0x14));
	expect("ID of the card", 0x414d4458, axil_get(CARD_ID));
	for (unsigned int i = 0; i < 100; i++) {
		value = (uint32_t)random64(&dice);
		axil_set(CARD_SCRATCH, value);
		expect("SCRATCH", value, axil_get(CARD_SCRATCH));
		bar_write(axil, CARD_SCRATCH + i % 4, 1, i);
		expect("a byte of SCRATCH", i, bar_read(axil, CARD_SCRATCH + i % 4, 1));
		dma_set(H2C + POLL_LOW, value);
		expect("a register of the DMA", value, dma_get(H2C + POLL_LOW));
		bar_write(dma, 0x4000 + FIRST_LOW, 8, 0x123456789abcdef0ULL + i);
		expect("two registers", 0x123456789abcdef0ULL + i,
		       bar_read(dma, 0x4000 + FIRST_LOW, 8));
	}
	dma_set(H2C + MASK + 4, 0x12);
	dma_set(H2C + MASK + 8, 0x10);
	expect("set and clear", 2, dma_get(H2C + MASK));
	dma_set(H2C + MASK, 0);
}

/* How a round learns that its list is done. */
enum way { BY_STATUS, BY_INTERRUPT, BY_POLL_MODE };

static void begin_round(unsigned int channel, enum way way, unsigned int count)
{
	uint32_t control = LOG_ALL;

	forget_interrupts();
	*(volatile uint32_t *)(buffer + POLL_AT) = 0;
	dma_set(channel + MASK, way == BY_INTERRUPT ? LOG_ALL & ~DESC_COMPLETED : 0);
	if (way == BY_POLL_MODE) {
		dma_set(channel + POLL_LOW, (uint32_t)(BUFFER_IOVA + POLL_AT));
		dma_set(channel + POLL_HIGH, (uint32_t)((BUFFER_IOVA + POLL_AT) >> 32));
		control |= POLL_MODE;
	}
	start(channel, count, control);
}

static void wait_round(unsigned int channel, enum way way, unsigned int count)
{
	const uint64_t end = now_ms() + PATIENCE_MS;

	if (way == BY_INTERRUPT)
		expect_interrupt("a list of descriptors", channel == H2C ? 0 : 1);
	else if (way == BY_POLL_MODE)
		while (*(volatile uint32_t *)(buffer + POLL_AT) != count)
			if (now_ms() > end)
				die("poll mode: the count is %u for %u ms",
				    *(volatile uint32_t *)(buffer + POLL_AT), PATIENCE_MS);
}

static void end_round(unsigned int channel, unsigned int count)
{
	expect("status", DESC_STOPPED | DESC_COMPLETED, finish(channel));
	expect("completed descriptors", count, dma_get(channel + COMPLETED));
}

/* Lists with descriptors of every size and alignment, and the card's memory between them. */
static void memory_mapped(void)
{
	for (unsigned int round = 0; round < rounds; round++) {
		const enum way way = round % 3;
		unsigned int count = 1 + (unsigned int)below(round % 8 ? 12 : LIST_MOST);
		size_t at = 0;

		/* To the card: what it holds is in `memory`, which knows all but the first round. */
		set_data(OUT_AT, DATA_BYTES);
		for (unsigned int i = 0; i < count; i++) {
			size_t bytes = 1 + below(below(4) ? 200 : DATA_BYTES / LIST_MOST);
			size_t place = below(CARD_BYTES - bytes);

			if (round == 0 && i == 0) {
				bytes = CARD_BYTES;
				place = 0;
			}
			if (at + bytes > DATA_BYTES) {
				count = i;
				break;
			}
			get_data(OUT_AT + at, memory + place, bytes);
			describe(i, LIST_MOST, (uint32_t)bytes, BUFFER_IOVA + OUT_AT + at, place, 0);
			at += bytes;
			bytes_moved += bytes;
		}
		/* The last one, and what a block's end says of the next. */
		for (unsigned int i = 0; i < count; i++) {
			volatile struct descriptor *d =
				(volatile struct descriptor *)(buffer + LIST_AT) + i;

			describe(i, count, d->bytes, d->source, d->destination, 0);
		}
		begin_round(H2C, way, count);
		wait_round(H2C, way, count);
		end_round(H2C, count);

		/* And back, other parts of it. */
		count = 1 + (unsigned int)below(round % 8 ? 12 : LIST_MOST);
		at = 0;
		for (size_t i = 0; i < DATA_BYTES; i++)
			buffer[IN_AT + i] = want[i] = 0xee;
		for (unsigned int i = 0; i < count; i++) {
			size_t bytes = 1 + below(below(4) ? 200 : DATA_BYTES / LIST_MOST - 16);
			size_t place = below(CARD_BYTES - bytes);
			size_t gap = below(16);

			memcpy(want + at + gap, memory + place, bytes);
			describe(i, count, (uint32_t)bytes, place, BUFFER_IOVA + IN_AT + at + gap, 0);
			at += gap + bytes;
			bytes_moved += bytes;
		}
		begin_round(C2H, way, count);
		wait_round(C2H, way, count);
		/* Before anything is read from the card, which would push the data before it. */
		for (size_t i = 0; i < DATA_BYTES; i++)
			if (buffer[IN_AT + i] != want[i] && way != BY_STATUS)
				fail("round %u: byte %zu is %#x, expected %#x", round, i,
				     buffer[IN_AT + i], want[i]);
		end_round(C2H, count);
		for (size_t i = 0; i < DATA_BYTES; i++)
			if (buffer[IN_AT + i] != want[i])
				fail("round %u: in the end byte %zu is %#x, expected %#x", round, i,
				     buffer[IN_AT + i], want[i]);
	}
}

/* Packets out of the H2C stream come back in the C2H stream. */
static void streams(void)
{
	volatile struct result *results = (volatile struct result *)(buffer + RESULTS_AT);

	for (unsigned int round = 0; round < rounds; round++) {
		const enum way way = round % 3;
		const uint32_t bytes = 1 + (uint32_t)below(round % 4 ? 600 : DATA_BYTES - 8);
		/* Parts of the packet, each with room for a multiple of the bus. */
		const uint32_t part = 8 * (1 + (uint32_t)below(256));
		unsigned int count = (bytes + part - 1) / part;
		uint32_t room = part;

		if (count > LIST_MOST / 2) {
			room = (bytes + 7) / 8 * 8;
			count = 1;
		}
		set_data(OUT_AT, bytes);
		for (size_t i = 0; i < DATA_BYTES; i++)
			buffer[IN_AT + i] = 0xee;
		for (unsigned int i = 0; i < count; i++) {
			results[i].status = results[i].bytes = 0;
			describe(i, count, room, BUFFER_IOVA + RESULTS_AT + i * sizeof(struct result),
				 BUFFER_IOVA + IN_AT + i * room, 0);
		}
		begin_round(C2H, way, count);
		/* The list of the other channel is where this one was, so it must have been read. */
		usleep(1000);
		expect("status of a stream without data", BUSY, dma_get(C2H + STATUS));
		const unsigned int list = SGDMA_OF_CHANNEL + H2C;
		volatile struct descriptor *d =
			(volatile struct descriptor *)(buffer + LIST_AT) + LIST_MOST - 1;

		d->control = 0xad4b0000u | STOP | COMPLETE | EOP;
		d->bytes = bytes;
		d->source = BUFFER_IOVA + OUT_AT;
		d->destination = 0;
		d->next = 0;
		dma_set(list + FIRST_LOW,
			(uint32_t)(BUFFER_IOVA + LIST_AT + (LIST_MOST - 1) * sizeof(*d)));
		dma_set(list + FIRST_HIGH, (uint32_t)(BUFFER_IOVA >> 32));
		dma_set(list + ADJACENT, 0);
		dma_set(H2C + CONTROL, LOG_ALL | RUN);
		wait_round(C2H, way, count);
		end_round(H2C, 1);
		end_round(C2H, count);
		for (unsigned int i = 0; i < count; i++) {
			const bool last = i + 1 == count;

			expect("result of a stream", 0x52b40000u | last, results[i].status);
			expect("bytes of a result", last ? bytes - i * room : room,
			       results[i].bytes);
		}
		for (size_t i = 0; i < DATA_BYTES; i++) {
			const uint8_t byte = i < bytes ? buffer[OUT_AT + i] : 0xee;

			if (buffer[IN_AT + i] != byte)
				fail("round %u of %u bytes: byte %zu is %#x, expected %#x", round,
				     bytes, i, buffer[IN_AT + i], byte);
		}
		bytes_moved += 2 * bytes;
	}
}

static void user_interrupts(void)
{
	uint32_t acks = axil_get(CARD_ACKS);

	for (unsigned int i = 0; i < 10 * USERS; i++) {
		const unsigned int user = (unsigned int)below(USERS);

		axil_set(CARD_REQUEST, 1u << user);
		expect_interrupt("a user interrupt", USER_VECTOR + user);
		expect("User Interrupt Request", 1u << user, dma_get(IRQ + USER_REQUEST));
		expect("User Interrupt Pending", 1u << user, dma_get(IRQ + USER_PENDING));
		expect("acknowledgements", ++acks, axil_get(CARD_ACKS));
		axil_set(CARD_REQUEST, 0);
		expect("User Interrupt Pending, served", 0, dma_get(IRQ + USER_PENDING));
	}
	/* What is masked comes later. */
	dma_set(IRQ + USER_MASK + 8, 1);
	axil_set(CARD_REQUEST, 1);
	expect("User Interrupt Request, masked", 0, dma_get(IRQ + USER_REQUEST));
	expect("acknowledgements of what is masked", acks, axil_get(CARD_ACKS));
	dma_set(IRQ + USER_MASK + 4, 1);
	expect_interrupt("a user interrupt that was masked", USER_VECTOR);
	axil_set(CARD_REQUEST, 0);
}

/* The list ends, the status says why, and the channel works after it. */
static void errors(void)
{
	for (unsigned int i = 0; i < 4; i++) {
		/* A descriptor that is none, and host memory that is not there. */
		describe(0, 2, 64, BUFFER_IOVA + OUT_AT, 0, EOP);
		describe(1, 2, 64, i % 2 ? BUFFER_IOVA - PAGE : BUFFER_IOVA + OUT_AT, 64, EOP);
		if (i % 2 == 0)
			((volatile struct descriptor *)(buffer + LIST_AT))[1].control &= 0xffffu;
		if (stream) {
			/* Somebody has to take the first one. */
			((volatile struct descriptor *)(buffer + LIST_AT))[64] =
				(struct descriptor){ 0xad4b0000u | STOP, 64, BUFFER_IOVA + RESULTS_AT,
						     BUFFER_IOVA + IN_AT, 0 };
			dma_set(0x5000 + FIRST_LOW,
				(uint32_t)(BUFFER_IOVA + LIST_AT + 64 * sizeof(struct descriptor)));
			dma_set(0x5000 + FIRST_HIGH, (uint32_t)(BUFFER_IOVA >> 32));
			dma_set(0x5000 + ADJACENT, 0);
			dma_set(C2H + CONTROL, LOG_ALL | RUN);
		}
		forget_interrupts();
		dma_set(H2C + MASK, LOG_ALL);
		start(H2C, 2, LOG_ALL);
		expect_interrupt("an error", 0);
		expect("status of an error", i % 2 ? READ_UNSUPPORTED : MAGIC_STOPPED, finish(H2C));
		expect("descriptors before it", 1, dma_get(H2C + COMPLETED));
		if (stream)
			expect("status of the other side", DESC_STOPPED, finish(C2H));
	}
	dma_set(H2C + MASK, 0);
}

static void data(void)
{
	if (stream)
		streams();
	else
		memory_mapped();
}

static void set_up(void)
{
	dma_set(IRQ + CHANNEL_VECTORS, 0x0100);
	dma_set(IRQ + USER_VECTORS, 0x0b0a0908);
	dma_set(IRQ + CHANNEL_MASK, 3);
	dma_set(IRQ + USER_MASK, (1u << USERS) - 1);
}

static void reset(void)
{
	dma_set(H2C + POLL_LOW, 0x1234);
	if (ioctl(card.device, VFIO_DEVICE_RESET))
		die("%s cannot be reset: %s", card.address, strerror(errno));
	vfio_command(&card, VFIO_BUS_MASTER, true);
	expect("a register after a reset", 0, dma_get(H2C + POLL_LOW));
	expect("masks after a reset", 0, dma_get(IRQ + CHANNEL_MASK));
	set_up();
	rounds = 3;
	data();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "rounds", required_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		{ "test_registers", registers }, { "test_data", data },
		{ "test_user_interrupts", user_interrupts }, { "test_errors", errors },
		{ "test_reset", reset },
	};
	struct vfio_region_info region;
	int option;

	dice.state = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'r':
			rounds = (unsigned int)number("--rounds", optarg, 1, 100000);
			break;
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
	vfio_open(&card, VENDOR, DEVICE);
	axil = vfio_bar(&card, AXIL_BAR, &region);
	expect("size of the AXI4-Lite BAR", 0x10000, region.size);
	dma = vfio_bar(&card, DMA_BAR, &region);
	expect("size of the DMA BAR", 0x10000, region.size);
	buffer = vfio_pages(BUFFER_BYTES);
	vfio_map(&card, buffer, BUFFER_IOVA, BUFFER_BYTES, VFIO_READ_WRITE);
	vfio_command(&card, VFIO_BUS_MASTER, true);
	vfio_msix(&card, VECTORS);
	stream = dma_get(H2C) & STREAM;
	report("interface", "%s", stream ? "streams" : "m_axi");
	set_up();
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		tests[i].run();
		finish_test(tests[i].name);
	}
	report("bytes_moved", "%llu", (unsigned long long)bytes_moved);
	return finish_tests();
}
