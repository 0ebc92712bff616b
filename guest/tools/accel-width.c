// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Accesses of every width that the CPU has, at every alignment and across pages, to memory
 * behind a BAR: single instructions of the integer, x87, SSE and AVX units, string and locked
 * ones. Each is done twice, to the BAR and to ordinary memory that holds the same: what the
 * CPU makes of ordinary memory is what the BAR has to show. There it lies within a page, since
 * TCG gets x87 stores across pages of ordinary memory wrong (QEMU 10.2: access_ptr() in
 * target/i386/tcg/access.c). For functions that no driver is bound to.
 */
#include "accel.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#ifndef __x86_64__
#error "the instructions here are those of x86-64"
#endif

static const char usage[] =
	"usage: accel-width [option...]\n"
	"\n"
	"  --function V:D  vendor and device id (default 10ee:7031, the probe)\n"
	"  --bar N         the BAR (default 0)\n"
	"  --offset N      where in it the memory begins, a multiple of 4096 (default 0x1000)\n"
	"  --length N      its bytes, a multiple of 32, at least 256 (default 0x1000)\n"
	"  --seed N        seed of the data (default 1)\n"
	"  --help          this text\n"
	"\n"
	"Status: 0 all alike, 1 not so, 2 the work could not be done\n";

#define PAGE 4096
/* Bytes of data that an instruction takes along or brings back. */
#define DATA 64

/* What `text` does to the memory at %0, with its data at %1. */
#define INSTRUCTION(name, text)                                                              \
	static void name(volatile void *at, volatile void *data)                             \
	{                                                                                    \
		__asm__ volatile(text                                                        \
				 :                                                           \
				 : "r"(at), "r"(data)                                        \
				 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "xmm0", "xmm1", \
				   "st", "cc", "memory");                                    \
	}

INSTRUCTION(store_1, "movb (%1), %%al; movb %%al, (%0)")
INSTRUCTION(store_2, "movw (%1), %%ax; movw %%ax, (%0)")
INSTRUCTION(store_4, "movl (%1), %%eax; movl %%eax, (%0)")
INSTRUCTION(store_8, "movq (%1), %%rax; movq %%rax, (%0)")
INSTRUCTION(load_1, "movb (%0), %%al; movb %%al, (%1)")
INSTRUCTION(load_2, "movw (%0), %%ax; movw %%ax, (%1)")
INSTRUCTION(load_4, "movl (%0), %%eax; movl %%eax, (%1)")
INSTRUCTION(load_8, "movq (%0), %%rax; movq %%rax, (%1)")
INSTRUCTION(movnti_4, "movl (%1), %%eax; movnti %%eax, (%0); sfence")
INSTRUCTION(movnti_8, "movq (%1), %%rax; movnti %%rax, (%0); sfence")

INSTRUCTION(x87_store, "fldt (%1); fstpt (%0)")
INSTRUCTION(x87_load, "fldt (%0); fstpt (%1)")

INSTRUCTION(movd_store, "movd (%1), %%xmm0; movd %%xmm0, (%0)")
INSTRUCTION(movd_load, "movd (%0), %%xmm0; movd %%xmm0, (%1)")
INSTRUCTION(movq_store, "movq (%1), %%xmm0; movq %%xmm0, (%0)")
INSTRUCTION(movq_load, "movq (%0), %%xmm0; movq %%xmm0, (%1)")
INSTRUCTION(movdqu_store, "movdqu (%1), %%xmm0; movdqu %%xmm0, (%0)")
INSTRUCTION(movdqu_load, "movdqu (%0), %%xmm0; movdqu %%xmm0, (%1)")
INSTRUCTION(movdqa_store, "movdqu (%1), %%xmm0; movdqa %%xmm0, (%0)")
INSTRUCTION(movdqa_load, "movdqa (%0), %%xmm0; movdqu %%xmm0, (%1)")
INSTRUCTION(movntdq, "movdqu (%1), %%xmm0; movntdq %%xmm0, (%0); sfence")
INSTRUCTION(movntdqa, "movntdqa (%0), %%xmm0; movdqu %%xmm0, (%1)")
/* Bytes whose mask has bit 7 set. */
INSTRUCTION(maskmovdqu, "movdqu (%1), %%xmm0; movdqu 16(%1), %%xmm1; movq %0, %%rdi;"
			"maskmovdqu %%xmm1, %%xmm0; sfence")

INSTRUCTION(vmovdqu_store, "vmovdqu (%1), %%ymm0; vmovdqu %%ymm0, (%0); vzeroupper")
INSTRUCTION(vmovdqu_load, "vmovdqu (%0), %%ymm0; vmovdqu %%ymm0, (%1); vzeroupper")
INSTRUCTION(vmovdqa_store, "vmovdqu (%1), %%ymm0; vmovdqa %%ymm0, (%0); vzeroupper")
INSTRUCTION(vmovdqa_load, "vmovdqa (%0), %%ymm0; vmovdqu %%ymm0, (%1); vzeroupper")
INSTRUCTION(vmovntdq, "vmovdqu (%1), %%ymm0; vmovntdq %%ymm0, (%0); sfence; vzeroupper")
/* Elements whose mask has its highest bit set. */
INSTRUCTION(vmaskmovps_store, "vmovdqu (%1), %%ymm0; vmovdqu 32(%1), %%ymm1;"
			      "vmaskmovps %%ymm0, %%ymm1, (%0); vzeroupper")
INSTRUCTION(vmaskmovpd_load, "vmovdqu 32(%1), %%ymm1; vmaskmovpd (%0), %%ymm1, %%ymm0;"
			     "vmovdqu %%ymm0, (%1); vzeroupper")

#define STRING(name, from, to, count, text)                                          \
	INSTRUCTION(name, "movq " from ", %%rsi; movq " to ", %%rdi; movl $" #count \
			  ", %%ecx; movq (%1), %%rax; cld;" text)
STRING(movsb_store, "%1", "%0", 13, "rep movsb")
STRING(movsw_store, "%1", "%0", 7, "rep movsw")
STRING(movsl_store, "%1", "%0", 5, "rep movsl")
STRING(movsq_store, "%1", "%0", 7, "rep movsq")
STRING(movsb_load, "%0", "%1", 13, "rep movsb")
STRING(movsw_load, "%0", "%1", 7, "rep movsw")
STRING(movsl_load, "%0", "%1", 5, "rep movsl")
STRING(movsq_load, "%0", "%1", 7, "rep movsq")
/* From the BAR to the BAR, where source and destination overlap, and downwards. */
STRING(movsb_over, "%0", "%0", 13, "addq $5, %%rdi; rep movsb")
STRING(movsl_down, "%0", "%0", 4, "addq $16, %%rsi; addq $20, %%rdi; std; rep movsl; cld")
STRING(stosb, "%1", "%0", 11, "rep stosb")
STRING(stosq, "%1", "%0", 3, "rep stosq")
STRING(lodsl, "%0", "%0", 3, "rep lodsl; movq %%rax, (%1)")
STRING(scasb, "%0", "%0", 16, "repne scasb; movq %%rcx, (%1)")
STRING(cmpsb, "%1", "%0", 16, "repe cmpsb; movq %%rcx, (%1)")

INSTRUCTION(add_4, "movl (%1), %%eax; addl %%eax, (%0)")
INSTRUCTION(or_1, "movb (%1), %%al; orb %%al, (%0)")
INSTRUCTION(xchg_1, "movb (%1), %%al; xchgb %%al, (%0); movb %%al, (%1)")
INSTRUCTION(xchg_2, "movw (%1), %%ax; xchgw %%ax, (%0); movw %%ax, (%1)")
INSTRUCTION(xchg_4, "movl (%1), %%eax; xchgl %%eax, (%0); movl %%eax, (%1)")
INSTRUCTION(xchg_8, "movq (%1), %%rax; xchgq %%rax, (%0); movq %%rax, (%1)")
INSTRUCTION(lock_add_1, "movb (%1), %%al; lock addb %%al, (%0)")
INSTRUCTION(lock_xadd_2, "movw (%1), %%ax; lock xaddw %%ax, (%0); movw %%ax, (%1)")
INSTRUCTION(lock_xadd_4, "movl (%1), %%eax; lock xaddl %%eax, (%0); movl %%eax, (%1)")
INSTRUCTION(lock_and_8, "movq (%1), %%rax; lock andq %%rax, (%0)")
INSTRUCTION(lock_not_4, "lock notl (%0)")
INSTRUCTION(lock_bts, "lock btsl $13, (%0); setc (%1)")
/* One that finds what it compares with, and one that most likely does not. */
INSTRUCTION(cmpxchg_8, "movq (%0), %%rax; movq (%1), %%rcx; lock cmpxchgq %%rcx, (%0);"
		       "movq %%rax, (%1)")
INSTRUCTION(cmpxchg_4, "movl (%1), %%eax; movl 4(%1), %%ecx; lock cmpxchgl %%ecx, (%0);"
		       "movl %%eax, (%1)")
INSTRUCTION(cmpxchg8b, "movl (%0), %%eax; movl 4(%0), %%edx; movl (%1), %%ebx;"
		       "movl 4(%1), %%ecx; lock cmpxchg8b (%0); movl %%eax, (%1)")
INSTRUCTION(cmpxchg16b, "movq (%0), %%rax; movq 8(%0), %%rdx; movq (%1), %%rbx;"
			"movq 8(%1), %%rcx; lock cmpxchg16b (%0); movq %%rax, (%1)")

struct instruction {
	const char *name;
	/* From its address on, all that it may touch. */
	unsigned int bytes;
	/* What its address has to be a multiple of. */
	unsigned int align;
	void (*run)(volatile void *at, volatile void *data);
};

#define ENTRY(name, bytes, align) { #name, bytes, align, name }
static const struct instruction instructions[] = {
	ENTRY(store_1, 1, 1), ENTRY(store_2, 2, 1), ENTRY(store_4, 4, 1), ENTRY(store_8, 8, 1),
	ENTRY(load_1, 1, 1), ENTRY(load_2, 2, 1), ENTRY(load_4, 4, 1), ENTRY(load_8, 8, 1),
	ENTRY(movnti_4, 4, 1), ENTRY(movnti_8, 8, 1), ENTRY(x87_store, 10, 1),
	ENTRY(x87_load, 10, 1), ENTRY(movd_store, 4, 1), ENTRY(movd_load, 4, 1),
	ENTRY(movq_store, 8, 1), ENTRY(movq_load, 8, 1), ENTRY(movdqu_store, 16, 1),
	ENTRY(movdqu_load, 16, 1), ENTRY(movdqa_store, 16, 16), ENTRY(movdqa_load, 16, 16),
	ENTRY(movntdq, 16, 16), ENTRY(movntdqa, 16, 16), ENTRY(maskmovdqu, 16, 1),
	ENTRY(vmovdqu_store, 32, 1), ENTRY(vmovdqu_load, 32, 1), ENTRY(vmovdqa_store, 32, 32),
	ENTRY(vmovdqa_load, 32, 32), ENTRY(vmovntdq, 32, 32), ENTRY(vmaskmovps_store, 32, 1),
	ENTRY(vmaskmovpd_load, 32, 1), ENTRY(movsb_store, 13, 1), ENTRY(movsw_store, 14, 1),
	ENTRY(movsl_store, 20, 1), ENTRY(movsq_store, 56, 1), ENTRY(movsb_load, 13, 1),
	ENTRY(movsw_load, 14, 1), ENTRY(movsl_load, 20, 1), ENTRY(movsq_load, 56, 1),
	ENTRY(movsb_over, 18, 1), ENTRY(movsl_down, 24, 1), ENTRY(stosb, 11, 1),
	ENTRY(stosq, 24, 1), ENTRY(lodsl, 12, 1), ENTRY(scasb, 16, 1), ENTRY(cmpsb, 16, 1),
	ENTRY(add_4, 4, 1), ENTRY(or_1, 1, 1), ENTRY(xchg_1, 1, 1), ENTRY(xchg_2, 2, 1),
	ENTRY(xchg_4, 4, 1), ENTRY(xchg_8, 8, 1), ENTRY(lock_add_1, 1, 1),
	ENTRY(lock_xadd_2, 2, 1), ENTRY(lock_xadd_4, 4, 1), ENTRY(lock_and_8, 8, 1),
	ENTRY(lock_not_4, 4, 1), ENTRY(lock_bts, 4, 1), ENTRY(cmpxchg_8, 8, 1),
	ENTRY(cmpxchg_4, 4, 1), ENTRY(cmpxchg8b, 8, 1), ENTRY(cmpxchg16b, 16, 16),
};

/* The memory behind the BAR, and what it has to hold. */
static volatile uint8_t *memory;
static uint8_t *shadow;
static size_t length;
static struct random dice;
static unsigned int accesses, across_pages;

static void compare(const char *what, size_t from, size_t to)
{
	uint64_t expected;

	for (size_t at = from & ~7UL; at < to; at += 8) {
		char text[96];

		memcpy(&expected, shadow + at, 8);
		snprintf(text, sizeof(text), "%s: 8 bytes at %#zx", what, at);
		expect(text, expected, bar_read(memory, at, 8));
	}
}

static void once(const struct instruction *instruction, size_t at)
{
	static uint8_t window[PAGE] __attribute__((aligned(PAGE)));
	uint8_t seen[DATA], expected[DATA], *inside = window + PAGE / 2 + at % DATA;
	size_t from = at < 8 ? 0 : at - 8, to = at + instruction->bytes + 8;
	char text[96];

	for (unsigned int i = 0; i < DATA; i += 8) {
		uint64_t value = random64(&dice);

		memcpy(seen + i, &value, 8);
	}
	memcpy(expected, seen, DATA);
	instruction->run(memory + at, seen);
	memcpy(inside, shadow + at, instruction->bytes);
	instruction->run(inside, expected);
	memcpy(shadow + at, inside, instruction->bytes);
	snprintf(text, sizeof(text), "%s at %#zx", instruction->name, at);
	if (memcmp(seen, expected, DATA))
		fail("%s: what it brought differs", text);
	compare(text, from, to < length ? to : length);
	accesses++;
	across_pages += at / PAGE != (at + instruction->bytes - 1) / PAGE;
}

/* Every place within 32 bytes, and every way to lie across the ends of pages. */
static void try_instruction(const struct instruction *instruction)
{
	size_t begin = random64(&dice) % (length / 32 - 2) * 32;

	for (size_t at = 0; at < 32; at += instruction->align)
		if (begin + at + instruction->bytes <= length)
			once(instruction, begin + at);
	if (instruction->align > 1)
		return;
	for (size_t end = PAGE; end < length; end += PAGE)
		for (size_t before = 1; before < instruction->bytes; before++)
			once(instruction, end - before);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "function", required_argument, NULL, 'f' },
		{ "bar", required_argument, NULL, 'b' },
		{ "offset", required_argument, NULL, 'o' },
		{ "length", required_argument, NULL, 'l' },
		{ "seed", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	unsigned int vendor = 0x10ee, device = 0x7031, bar = 0;
	char address[PCI_ADDRESS_BYTES], end;
	size_t offset = 0x1000, bar_bytes;
	volatile uint8_t *mapped;
	int option;

	length = 0x1000;
	dice.state = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			if (sscanf(optarg, "%4x:%4x%c", &vendor, &device, &end) != 2)
				die("--function is %s, expected VENDOR:DEVICE", optarg);
			break;
		case 'b':
			bar = (unsigned int)number("--bar", optarg, 0, 5);
			break;
		case 'o':
			offset = number("--offset", optarg, 0, UINT32_MAX) & ~(PAGE - 1UL);
			break;
		case 'l':
			length = number("--length", optarg, 256, 1 << 20) & ~31UL;
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
	if (!__builtin_cpu_supports("avx"))
		die("the CPU has no AVX: start QEMU with -cpu max");
	find_function(vendor, device, address);
	mapped = map_bar(address, bar, &bar_bytes);
	if (bar_bytes < offset || bar_bytes - offset < length)
		die("BAR %u has %#zx bytes, expected at least %#zx", bar, bar_bytes,
		    offset + length);
	memory = mapped + offset;
	shadow = malloc(length);
	if (!shadow)
		die("no memory");
	for (size_t at = 0; at < length; at += 8) {
		uint64_t value = random64(&dice);

		memcpy(shadow + at, &value, 8);
		bar_write(memory, at, 8, value);
	}
	for (size_t i = 0; i < sizeof(instructions) / sizeof(*instructions); i++)
		try_instruction(&instructions[i]);
	finish_test("test_widths");
	compare("at the end", 0, length);
	finish_test("test_memory_at_the_end");
	report("instructions", "%zu", sizeof(instructions) / sizeof(*instructions));
	report("accesses", "%u", accesses);
	report("accesses_across_pages", "%u", across_pages);
	return finish_tests();
}
