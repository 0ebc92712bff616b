// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A guest without an operating system: firmware of 64 KiB that tests a card, so small that it
 * runs where nothing larger does. The card is accelerator-endpoint (tests/peers), which has no
 * simulator. The host names a test in a line over the serial port, and gets lines that begin
 * with BARE; the last one of a test is "BARE done=NAME pass" or "BARE done=NAME FAIL".
 */
#include "cpu.h"
#include "pci.h"

/* Registers of the card in BAR 0, and its buffer: tests/peers/src/device.rs. */
#define ID 0x00
#define   ENDP 0x50444e45
#define SCRATCH 0x04
#define DMA_ADDR 0x08
#define DMA_LEN 0x10
#define DMA_CMD 0x14
#define   TO_CARD 1
#define   TO_MEMORY 2
#define DMA_STATUS 0x18
#define   DMA_DONE 0
#define   DMA_REFUSED 1
#define   DMA_FAULT 2
#define DMA_COUNT 0x1c
#define RAISE 0x20
#define RESETS 0x24
#define PULL 0x28
#define HOLD 0x30
#define RELEASE 0x34
#define BUFFER 0x1000
#define BUFFER_BYTES 0x1000

#define VECTORS 4
#define PBA 0x8000

static unsigned int failures;

static void fail(const char *what, uint64_t expected, uint64_t found)
{
	if (failures++ < 5)
		say("error=%s: expected %x, got %x", what, expected, found);
}

static void expect(const char *what, uint64_t expected, uint64_t found)
{
	if (expected != found)
		fail(what, expected, found);
}

static uint32_t read32(unsigned int offset)
{
	return (uint32_t)get(BAR0 + offset, 4);
}

static void write32(unsigned int offset, uint32_t value)
{
	set(BAR0 + offset, 4, value);
}

static uint64_t random64(void)
{
	static uint64_t state = 1;
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- the machine ---- */

static void test_processors(void)
{
	if (!start_other())
		fail("the other processor", 1, 0);
	else if (apic_id_of(0) == apic_id_of(1))
		fail("the other processor's number", apic_id_of(0) + 1UL, apic_id_of(1));
}

/* ---- configuration space ---- */

static void test_enumerate(void)
{
	enable_ecam();
	if (!enumerate()) {
		fail("card below the root port", 1, 0);
		return;
	}
	expect("vendor and device", 0xacce1234, config_get(card, PCI_ID, 4));
	expect("class and revision", 0x12000001, config_get(card, PCI_CLASS, 4));
	expect("header type", 0, config_get(card, PCI_HEADER_TYPE, 1));
	if (!find_capability(card, CAP_EXPRESS) || !find_capability(card, CAP_MSIX))
		fail("PCI Express and MSI-X", 1, 0);
	place_card();
	expect("register ID", ENDP, read32(ID));
}

/* All ones into a BAR: what stays 0 is its size. */
static void test_bars(void)
{
	static const struct {
		unsigned int place;
		uint64_t bytes, type;
	} bars[] = { { 0, 0x2000, 0x0 }, { 2, 0x10000, 0xc }, { 4, 0x10000, 0x0 } };

	config_set(card, PCI_COMMAND, 2, 0);
	for (unsigned int i = 0; i < 3; i++) {
		unsigned int place = PCI_BAR + 4 * bars[i].place;
		uint64_t mask;

		config_set(card, place, 4, ~0U);
		mask = config_get(card, place, 4);
		if (bars[i].type & 4) {
			config_set(card, place + 4, 4, ~0U);
			mask |= (uint64_t)config_get(card, place + 4, 4) << 32;
		} else {
			mask |= ~0UL << 32;
		}
		expect("type of a BAR", bars[i].type, mask & 0xf);
		expect("size of a BAR", bars[i].bytes, -(mask & ~0xfUL));
	}
	expect("BAR 1, which is none", 0, config_get(card, PCI_BAR + 4, 4));
	expect("BAR 5, which is none", 0, config_get(card, PCI_BAR + 20, 4));
	place_card();
	set(BAR2, 8, 0x0123456789abcdef);
	/* Elsewhere it answers there, and what it holds goes with it. */
	for (unsigned int i = 1; i <= 8; i++) {
		uint32_t low = LOW_WINDOW + 0x100000 + i * 0x2000;
		uint64_t high = HIGH_WINDOW + i * 0x10000;

		write32(SCRATCH, 0x1000 + i);
		config_set(card, PCI_BAR, 4, low);
		config_set(card, PCI_BAR + 8, 4, (uint32_t)high);
		expect("SCRATCH where BAR 0 is now", 0x1000 + i, get(low + SCRATCH, 4));
		expect("BAR 2 where it is now", 0x0123456789abcdef, get(high, 8));
		place_card();
	}
}

/* ---- accesses ---- */

static uint8_t shadow[256];

static void compare(const char *what, uint64_t base)
{
	for (unsigned int i = 0; i < sizeof(shadow); i += 8)
		expect(what, *(uint64_t *)(shadow + i), get(base + i, 8));
}

/* Every size and alignment, across the end of a page as well, in each kind of BAR. */
static void test_widths(void)
{
	static const uint64_t bases[] = { BAR0 + BUFFER, BAR2 + 0x1000 - 128 };

	for (unsigned int b = 0; b < 2; b++) {
		uint64_t base = bases[b], value, found;

		for (unsigned int i = 0; i < sizeof(shadow); i += 8) {
			*(uint64_t *)(shadow + i) = random64();
			set(base + i, 8, *(uint64_t *)(shadow + i));
		}
		for (unsigned int bytes = 1; bytes <= 8; bytes *= 2) {
			for (unsigned int at = 112; at < 136; at++) {
				value = random64();
				set(base + at, bytes, value);
				for (unsigned int i = 0; i < bytes; i++)
					shadow[at + i] = (uint8_t)(value >> 8 * i);
				value = found = 0;
				for (unsigned int i = 0; i < bytes; i++)
					value |= (uint64_t)shadow[at + i] << 8 * i;
				found = get(base + at, bytes);
				expect("what was written", value, found);
			}
		}
		compare("memory of the card", base);
	}
}

/* Instructions that are more than one access, or one that is read and written. */
static void test_instructions(void)
{
	uint64_t at = BAR2 + 0x2000, value = random64(), other = random64(), old, count;
	uint64_t from, to;
	static uint8_t bytes[32];

	set(at, 8, value);
	old = other;
	__asm__ volatile("xchgq %0, (%1)" : "+r"(old) : "r"(at) : "memory");
	expect("xchg", value, old);
	expect("after xchg", other, get(at, 8));
	old = 5;
	__asm__ volatile("lock xaddl %k0, (%1)" : "+r"(old) : "r"(at) : "memory", "cc");
	expect("lock xadd", (uint32_t)other, (uint32_t)old);
	expect("after lock xadd", (uint32_t)other + 5, (uint32_t)get(at, 4) | 0UL);
	old = get(at, 8);
	__asm__ volatile("lock cmpxchgq %2, (%1)" : "+a"(old) : "r"(at), "r"(value)
			 : "memory", "cc");
	expect("after lock cmpxchg", value, get(at, 8));
	__asm__ volatile("orb $0x81, (%0)" : : "r"(at) : "memory", "cc");
	expect("after or", value | 0x81, get(at, 8));

	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = shadow[i] = (uint8_t)random64();
	from = (uint64_t)bytes;
	to = at + 3;
	count = sizeof(bytes);
	__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
	for (unsigned int i = 0; i < sizeof(bytes); i++) {
		expect("after rep movsb", shadow[i], get(at + 3 + i, 1));
		bytes[i] = 0;
	}
	from = at + 3;
	to = (uint64_t)bytes;
	count = sizeof(bytes) / 4;
	__asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		expect("rep movsl from the card", shadow[i], bytes[i]);
	to = at;
	count = 4;
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
	for (unsigned int i = 0; i < 4; i++)
		expect("after rep stosq", value, get(at + 8 * i, 8));
}

/* A read comes after the writes before it. */
static void test_posted(void)
{
	enum { WRITES = 256 };

	for (unsigned int round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < WRITES; i++) {
			set(BAR2 + 8 * i, 4, i + round);
			write32(SCRATCH, i << 8 | round);
		}
		expect("SCRATCH after many writes", (WRITES - 1) << 8 | round, read32(SCRATCH));
		for (uint32_t i = 0; i < WRITES; i += 17)
			expect("one of many writes", i + round, get(BAR2 + 8 * i, 4));
	}
}

/* ---- DMA ---- */

#define GUARD 64
static uint8_t memory[BUFFER_BYTES + 3 * GUARD] __attribute__((aligned(4096)));
#define PAYLOAD (memory + GUARD)

static void fill(uint8_t *to, uint8_t value, uint64_t bytes)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}

static uint32_t dma(uint32_t what, uint64_t address, uint32_t bytes)
{
	uint32_t before = read32(DMA_COUNT);

	set(BAR0 + DMA_ADDR, 8, address);
	write32(DMA_LEN, bytes);
	write32(DMA_CMD, what);
	if (!wait_until(read32(DMA_COUNT) != before)) {
		fail("commands done", before + 1UL, before);
		return ~0U;
	}
	return read32(DMA_STATUS);
}

static void test_dma(void)
{
	static const uint32_t lengths[] = { 1, 3, 8, 64, 1000, 4096 };

	for (unsigned int n = 0; n < sizeof(lengths) / sizeof(*lengths); n++) {
		uint32_t bytes = lengths[n];
		uint64_t seed = random64();

		for (uint32_t i = 0; i < bytes; i++)
			PAYLOAD[i] = (uint8_t)(seed + i * 7);
		expect("DMA to the card", DMA_DONE, dma(TO_CARD, (uint64_t)PAYLOAD, bytes));
		for (uint32_t i = 0; i < bytes; i += 1 + bytes / 8)
			expect("the card's buffer", (uint8_t)(seed + i * 7),
			       get(BAR0 + BUFFER + i, 1));
		fill(memory, 0xee, sizeof(memory));
		/* At an odd place, where it ends is looked at as well. */
		expect("DMA to memory", DMA_DONE, dma(TO_MEMORY, (uint64_t)PAYLOAD + 5, bytes));
		for (uint32_t i = 0; i < bytes; i += 1 + bytes / 256)
			expect("memory after DMA", (uint8_t)(seed + i * 7), PAYLOAD[5 + i]);
		for (uint32_t i = 0; i < GUARD; i++) {
			expect("memory before DMA's", 0xee, memory[5 + i]);
			expect("memory behind DMA's", 0xee, PAYLOAD[5 + bytes + i]);
		}
		expect("the last byte", (uint8_t)(seed + (bytes - 1) * 7),
		       PAYLOAD[5 + bytes - 1]);
	}
	PAYLOAD[0] = 0x77;
	config_set(card, PCI_COMMAND, 2, PCI_MEMORY);
	expect("DMA without bus mastering", DMA_REFUSED,
	       dma(TO_MEMORY, (uint64_t)PAYLOAD, 16));
	expect("memory after it", 0x77, PAYLOAD[0]);
	config_set(card, PCI_COMMAND, 2, PCI_MEMORY | PCI_BUS_MASTER);
	expect("DMA where no memory is", DMA_FAULT, dma(TO_CARD, 0x700000000UL, 16));
	expect("DMA after that", DMA_DONE, dma(TO_MEMORY, (uint64_t)PAYLOAD, 16));

	/* In the middle of the answer to a read. */
	for (unsigned int i = 0; i < 16; i++) {
		volatile uint32_t *word = (volatile uint32_t *)(PAYLOAD + 4 * i);

		*word = (uint32_t)random64();
		set(BAR0 + DMA_ADDR, 8, (uint64_t)word);
		expect("PULL", *word, read32(PULL));
	}
}

/* ---- interrupts ---- */

static uint64_t entry(unsigned int vector)
{
	return BAR4 + 16 * vector;
}

static void msix_control(uint32_t bits)
{
	config_set(card, find_capability(card, CAP_MSIX) + MSIX_CONTROL, 2, bits);
}

static void set_vector(unsigned int vector, uint32_t processor, bool masked)
{
	set(entry(vector), 4, 0xfee00000 | processor << 12);
	set(entry(vector) + 4, 4, 0);
	set(entry(vector) + 8, 4, FIRST_VECTOR + vector);
	set(entry(vector) + 12, 4, masked);
}

/* What both processors have taken in all. */
static uint32_t all_taken(void)
{
	uint32_t sum = 0;

	for (unsigned int p = 0; p < PROCESSORS; p++)
		for (unsigned int n = 0; n < TAKEN_VECTORS; n++)
			sum += taken(p, n);
	return sum;
}

/* A read comes after the interrupts before it; then time for one that must not come. */
static void let_pass(void)
{
	for (unsigned int i = 0; i < 50; i++)
		read32(ID);
}

static void raise(unsigned int vector, unsigned int processor)
{
	uint32_t before = taken(processor, vector), all = all_taken();

	/* What does not come takes its time each time. */
	if (failures)
		return;
	write32(RAISE, vector);
	if (!wait_until(taken(processor, vector) != before))
		fail("interrupts of a vector", before + 1UL, before);
	let_pass();
	expect("interrupts of all vectors", all + 1UL, all_taken());
}

static void test_msix(void)
{
	const uint32_t apic[PROCESSORS] = { apic_id_of(0), apic_id_of(1) };

	for (unsigned int v = 0; v < VECTORS; v++)
		set_vector(v, apic[v & 1], false);
	msix_control(MSIX_ENABLE);
	for (unsigned int round = 0; round < 8; round++)
		for (unsigned int v = 0; v < VECTORS; v++)
			raise(v, v & 1);
	/* They move while they are enabled. */
	for (unsigned int round = 0; round < 8; round++) {
		set_vector(1, apic[round & 1], false);
		raise(1, round & 1);
	}
	/* The interrupt is not ahead of the data. */
	for (unsigned int round = 0; round < 16; round++) {
		uint32_t before = taken(0, 0), value = (uint32_t)random64();
		volatile uint32_t *word = (volatile uint32_t *)PAYLOAD;

		write32(BUFFER, value);
		*word = ~value;
		set(BAR0 + DMA_ADDR, 8, (uint64_t)word);
		write32(DMA_LEN, 4);
		write32(DMA_CMD, TO_MEMORY);
		if (!wait_until(taken(0, 0) != before))
			fail("interrupts of DMA", before + 1UL, before);
		expect("data that the interrupt announces", value, *word);
	}
}

static uint32_t pending(void)
{
	return (uint32_t)get(BAR4 + PBA, 4);
}

static void test_masking(void)
{
	uint32_t all;

	for (unsigned int v = 0; v < VECTORS; v++)
		set_vector(v, apic_id(), false);
	msix_control(MSIX_ENABLE);
	for (unsigned int round = 0; round < 4; round++) {
		unsigned int v = round % VECTORS;

		set(entry(v) + 12, 4, 1);
		all = all_taken();
		write32(RAISE, v);
		write32(RAISE, v);
		let_pass();
		expect("interrupts of a masked vector", all, all_taken());
		expect("pending bits", 1UL << v, pending());
		raise((v + 1) % VECTORS, 0);
		/* Raised twice, delivered once. */
		all = all_taken();
		set(entry(v) + 12, 4, 0);
		if (!wait_until(all_taken() != all))
			fail("interrupts that were pending", all + 1UL, all);
		let_pass();
		expect("interrupts that were pending", all + 1UL, all_taken());
		expect("pending bits at the end", 0, pending());
	}
	/* The whole function. */
	msix_control(MSIX_ENABLE | MSIX_MASK_ALL);
	all = all_taken();
	for (unsigned int v = 0; v < VECTORS; v++)
		write32(RAISE, v);
	let_pass();
	expect("interrupts of a masked function", all, all_taken());
	expect("its pending bits", (1UL << VECTORS) - 1, pending());
	msix_control(MSIX_ENABLE);
	if (!wait_until(all_taken() == all + VECTORS))
		fail("interrupts of an unmasked function", all + (uint64_t)VECTORS, all_taken());
	/* Interrupts are writes of a bus master. */
	config_set(card, PCI_COMMAND, 2, PCI_MEMORY);
	all = all_taken();
	write32(RAISE, 2);
	let_pass();
	expect("interrupts without bus mastering", all, all_taken());
	config_set(card, PCI_COMMAND, 2, PCI_MEMORY | PCI_BUS_MASTER);
	raise(3, 0);
}

static volatile bool moving;
static volatile uint32_t passes;

/* Has each vector go to any of the processors, masked meanwhile as it has to be. */
static void move_vectors(void)
{
	const uint32_t apic[PROCESSORS] = { apic_id_of(0), apic_id_of(1) };

	for (uint64_t n = 1; moving; n++) {
		unsigned int v = n % VECTORS;

		set(entry(v) + 12, 4, 1);
		set(entry(v), 4, 0xfee00000 | apic[n * 0x9e3779b97f4a7c15 >> 63] << 12);
		set(entry(v) + 12, 4, 0);
		get(entry(v) + 8, 4);
		passes += v == 0;
	}
}

/* None is lost and none comes twice, whenever it is raised. */
static void test_moving(void)
{
	enum { ROUNDS = 10 };
	uint32_t before, own = 0;

	for (unsigned int v = 0; v < VECTORS; v++)
		set_vector(v, apic_id(), false);
	msix_control(MSIX_ENABLE);
	before = all_taken();
	for (unsigned int v = 0; v < VECTORS; v++)
		own -= taken(0, v);
	moving = true;
	give_other(move_vectors);
	for (uint32_t round = 1; round <= ROUNDS && !failures; round++) {
		uint32_t pass = passes;

		/* However slow the other processor is, each has moved since the last round. */
		if (!wait_until(passes - pass >= 2))
			fail("vectors moved", pass + 2UL, passes);
		for (unsigned int v = 0; v < VECTORS; v++)
			write32(RAISE, v);
		if (!wait_until(all_taken() - before >= VECTORS * round))
			fail("interrupts while they move", VECTORS * round, all_taken() - before);
		expect("interrupts while they move", VECTORS * round, all_taken() - before);
	}
	moving = false;
	if (!wait_until(other_is_free()))
		fail("the other processor is free", 1, 0);
	let_pass();
	expect("interrupts in all", VECTORS * ROUNDS, all_taken() - before);
	for (unsigned int v = 0; v < VECTORS; v++)
		own += taken(0, v);
	if (own == 0 || own == VECTORS * ROUNDS)
		fail("interrupts of the first processor", VECTORS * ROUNDS / 2, own);
}

/* ---- resets ---- */

static bool has_forgotten(void)
{
	return config_get(card, PCI_COMMAND, 2) == 0 && config_get(card, PCI_BAR, 4) == 0 &&
	       !(config_get(card, find_capability(card, CAP_MSIX) + MSIX_CONTROL, 2) &
		 MSIX_ENABLE);
}

static void expect_reset(void (*reset)(void))
{
	uint32_t resets;

	msix_control(MSIX_ENABLE);
	write32(SCRATCH, 0x600d600d);
	set(BAR2, 8, ~0UL);
	resets = read32(RESETS);
	reset();
	if (!wait_until(has_forgotten()))
		fail("Command after the reset", 0, config_get(card, PCI_COMMAND, 2));
	place_card();
	expect("resets of the card", resets + 1UL, read32(RESETS));
	expect("SCRATCH after the reset", 0, read32(SCRATCH));
	expect("BAR 2 after the reset", 0, get(BAR2, 8));
	expect("DMA after the reset", DMA_DONE, dma(TO_CARD, (uint64_t)PAYLOAD, 16));
}

static void function_level_reset(void)
{
	unsigned int place = find_capability(card, CAP_EXPRESS) + EXPRESS_CONTROL;

	config_set(card, place, 2, config_get(card, place, 2) | EXPRESS_FLR);
}

static void bus_reset(void)
{
	config_set(root_port, PCI_BRIDGE_CONTROL, 2, PCI_BUS_RESET);
	config_set(root_port, PCI_BRIDGE_CONTROL, 2, 0);
}

static void test_flr(void)
{
	for (unsigned int i = 0; i < 4; i++)
		expect_reset(function_level_reset);
}

static void test_hot(void)
{
	for (unsigned int i = 0; i < 4; i++)
		expect_reset(bus_reset);
}

/* ---- waiting ---- */

static volatile uint64_t held_value;

static void read_hold(void)
{
	held_value = read32(HOLD);
}

/* Work of this processor: memory, other devices, the card. Returns the rounds. */
static uint64_t work_while_held(uint64_t seconds)
{
	unsigned int last = second(), now;
	uint64_t rounds = 0;

	while (seconds) {
		uint32_t value = (uint32_t)++rounds;

		write32(SCRATCH, value);
		expect("SCRATCH while the other processor waits", value, read32(SCRATCH));
		set(BAR2 + 8 * (rounds & 0xff), 8, rounds);
		expect("root port", 1, config_get(root_port, PCI_HEADER_TYPE, 1) & 0x7f);
		now = second();
		if (now != last) {
			last = now;
			seconds--;
		}
		if (other_is_free()) {
			fail("the other processor waits", 1, 0);
			break;
		}
	}
	return rounds;
}

static void hold(uint64_t seconds)
{
	uint32_t value = (uint32_t)random64(), all;
	uint64_t rounds;

	set_vector(0, apic_id(), false);
	msix_control(MSIX_ENABLE);
	give_other(read_hold);
	say("held=1");
	rounds = work_while_held(seconds);
	all = all_taken();
	expect("DMA while the other processor waits", DMA_DONE,
	       dma(TO_MEMORY, (uint64_t)PAYLOAD, 64));
	if (!wait_until(all_taken() == all + 1))
		fail("its interrupt", all + 1UL, all_taken());
	say("held=0");
	write32(RELEASE, value);
	if (!wait_until(other_is_free()))
		fail("the other processor goes on", 1, 0);
	expect("HOLD", value, held_value);
	say("rounds=%u", rounds);
}

static void test_hold(void)
{
	hold(10);
}

static unsigned int link_width(void)
{
	return config_get(card, find_capability(card, CAP_EXPRESS) + EXPRESS_LINK_STATUS, 2) >> 4 &
	       0x3f;
}

/* The simulator dies while a read waits for it, and another one comes. */
static void test_death(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		expect("lanes of the link", 4, link_width());
		write32(SCRATCH, 0x600d);
		give_other(read_hold);
		/* Not before the read is on its way. */
		let_pass();
		say("ask=kill");
		if (!wait_until(link_width() == 0))
			fail("lanes of a link that is down", 0, link_width());
		if (!wait_until(other_is_free()))
			fail("the read that waited is over", 1, 0);
		expect("the read that waited", 0xffffffff, held_value);
		expect("a read without a simulator", 0xffffffff, read32(ID));
		expect("8 bytes without a simulator", ~0UL, get(BAR2, 8));
		for (uint32_t n = 0; n < 1000; n++)
			write32(SCRATCH, n);
		say("ask=start");
		if (!wait_until(link_width() == 4))
			fail("lanes of a link that is up again", 4, link_width());
		expect("register ID", ENDP, read32(ID));
		expect("SCRATCH of another simulator", 0, read32(SCRATCH));
		expect("DMA of another simulator", DMA_DONE,
		       dma(TO_CARD, (uint64_t)PAYLOAD, 16));
	}
}

/* With completion-timeout=: a read that nobody answers is all ones, and an error. */
static void test_timeout(void)
{
	for (unsigned int i = 0; i < 3; i++) {
		expect("errors before", 0, config_get(card, AER + AER_UNCORRECTABLE, 4));
		expect("a read that nobody answers", 0xffffffff, read32(HOLD));
		expect("errors", AER_COMPLETION_TIMEOUT,
		       config_get(card, AER + AER_UNCORRECTABLE, 4));
		config_set(card, AER + AER_UNCORRECTABLE, 4, AER_COMPLETION_TIMEOUT);
		/* The answer comes too late and goes to nobody. */
		write32(RELEASE, 0x12345678);
		expect("register ID", ENDP, read32(ID));
	}
}

/* ---- the host's orders ---- */

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

_Noreturn void run(void);

_Noreturn void run(void)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
		{ "processors", test_processors },
		{ "enumerate", test_enumerate },
		{ "bars", test_bars },
		{ "widths", test_widths },
		{ "instructions", test_instructions },
		{ "posted", test_posted },
		{ "dma", test_dma },
		{ "msix", test_msix },
		{ "masking", test_masking },
		{ "moving", test_moving },
		{ "flr", test_flr },
		{ "hot", test_hot },
		{ "hold", test_hold },
		{ "death", test_death },
		{ "timeout", test_timeout },
	};
	char line[32];

	for (;;) {
		unsigned int i, number = sizeof(tests) / sizeof(*tests);

		hear(line, sizeof(line));
		if (same(line, "end"))
			leave();
		for (i = 0; i < number && !same(line, tests[i].name); i++)
			;
		if (i == number) {
			say("error=no test %s", line);
			continue;
		}
		failures = 0;
		tests[i].run();
		say("done=%s %s", tests[i].name, failures ? "FAIL" : "pass");
	}
}
