// SPDX-License-Identifier: MIT OR Apache-2.0
#include "cpu.h"

#include <stdarg.h>

/* ---- serial port (16550) ---- */

#define COM1 0x3f8
#define LINE_STATUS 5
#define DATA_READY 0x01
#define ROOM 0x20

static void put(char c)
{
	while (!(in8(COM1 + LINE_STATUS) & ROOM))
		relax();
	out8(COM1, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned int base)
{
	char digits[20];
	unsigned int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (n)
		put(digits[--n]);
}

void say(const char *format, ...)
{
	va_list arguments;
	const char *s;

	va_start(arguments, format);
	for (s = "BARE "; *s; s++)
		put(*s);
	for (; *format; format++) {
		if (*format != '%') {
			put(*format);
			continue;
		}
		switch (*++format) {
		case 'u':
			put_number(va_arg(arguments, uint64_t), 10);
			break;
		case 'x':
			put('0');
			put('x');
			put_number(va_arg(arguments, uint64_t), 16);
			break;
		case 's':
			for (s = va_arg(arguments, const char *); *s; s++)
				put(*s);
			break;
		default:
			put('?');
		}
	}
	put('\n');
	va_end(arguments);
}

void hear(char *line, unsigned int bytes)
{
	unsigned int n = 0;
	char c;

	do {
		while (!(in8(COM1 + LINE_STATUS) & DATA_READY))
			relax();
		c = (char)in8(COM1);
		if (c != '\n' && n + 1 < bytes)
			line[n++] = c;
	} while (c != '\n');
	line[n] = '\0';
}

_Noreturn void leave(void)
{
	/* isa-debug-exit. */
	out8(0xf4, 0);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* ---- time: the seconds of the real-time clock, which every machine has ---- */

unsigned int second(void)
{
	uint8_t bcd;

	/* Not while it changes: bit 7 of register A. */
	do
		out8(0x70, 0x0a);
	while (in8(0x71) & 0x80);
	out8(0x70, 0x00);
	bcd = in8(0x71);
	return (bcd >> 4) * 10U + (bcd & 0xf);
}

/* ---- local APIC (Intel SDM volume 3, chapter 11) ---- */

#define APIC 0xfee00000UL
#define APIC_ID 0x20
#define APIC_END 0xb0
#define APIC_SPURIOUS 0xf0
#define APIC_COMMAND 0x300
#define APIC_COMMAND_TO 0x310

#define SPURIOUS_VECTOR 0xff

static volatile uint32_t *apic(unsigned int offset)
{
	return (volatile uint32_t *)(APIC + offset);
}

uint32_t apic_id(void)
{
	return *apic(APIC_ID) >> 24;
}

/* ---- interrupts ---- */

struct gate {
	uint16_t low;
	uint16_t selector;
	uint16_t flags;
	uint16_t middle;
	uint32_t high;
	uint32_t reserved;
};

extern char entries[];
static struct gate gates[256];
static volatile uint32_t counts[PROCESSORS][TAKEN_VECTORS];
static uint32_t ids[PROCESSORS];

uint32_t taken(unsigned int processor, unsigned int n)
{
	return counts[processor][n];
}

void interrupt(uint64_t vector, uint64_t error, uint64_t at);

/* On the processor's stack, with interrupts off. */
void interrupt(uint64_t vector, uint64_t error, uint64_t at)
{
	unsigned int processor = apic_id() == ids[0] ? 0 : 1;

	if (vector < 32) {
		uint64_t address;

		__asm__("movq %%cr2, %0" : "=r"(address));
		say("error=exception %u, error code %x, at %x, address %x", vector, error, at,
		    address);
		leave();
	}
	if (vector == SPURIOUS_VECTOR)
		return;
	if (vector < FIRST_VECTOR || vector >= FIRST_VECTOR + TAKEN_VECTORS) {
		say("error=interrupt of vector %x", vector);
		leave();
	}
	counts[processor][vector - FIRST_VECTOR]++;
	*apic(APIC_END) = 0;
}

void start_processor(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) table = { sizeof(gates) - 1, (uint64_t)gates };

	for (unsigned int i = 0; i < 256; i++) {
		uint64_t entry = (uint64_t)entries + 16 * i;

		/* A 64-bit interrupt gate of the code segment. */
		gates[i] = (struct gate){
			.low = (uint16_t)entry,
			.selector = 0x18,
			.flags = 0x8e00,
			.middle = (uint16_t)(entry >> 16),
			.high = (uint32_t)(entry >> 32),
		};
	}
	/* The old interrupt controllers keep quiet. */
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
	__asm__ volatile("lidt %0" : : "m"(table));
	*apic(APIC_SPURIOUS) = 0x100 | SPURIOUS_VECTOR;
	__asm__ volatile("sti");
}

/* ---- the other processor ---- */

extern char trampoline[], trampoline_end[];
#define TRAMPOLINE 0x8000UL

static volatile bool there;
static void (*volatile given)(void);

void start64(void);
void other64(void);
_Noreturn void run(void);

void start64(void)
{
	ids[0] = apic_id();
	start_processor();
	run();
}

void other64(void)
{
	ids[1] = apic_id();
	start_processor();
	there = true;
	for (;;) {
		void (*work)(void) = given;

		if (work) {
			work();
			given = 0;
		}
		relax();
	}
}

static void command(uint32_t value)
{
	*apic(APIC_COMMAND_TO) = 0;
	*apic(APIC_COMMAND) = value;
	while (*apic(APIC_COMMAND) & 0x1000)
		relax();
}

bool start_other(void)
{
	volatile char *to = (volatile char *)TRAMPOLINE;

	for (char *from = trampoline; from < trampoline_end; from++)
		*to++ = *from;
	/* INIT, and two times the start at the page, to all but this one. */
	command(0xc4500);
	command(0xc4600 | TRAMPOLINE >> 12);
	command(0xc4600 | TRAMPOLINE >> 12);
	return wait_until(there);
}

void give_other(void (*work)(void))
{
	given = work;
}

bool other_is_free(void)
{
	return !given;
}

uint32_t apic_id_of(unsigned int processor)
{
	return ids[processor];
}
