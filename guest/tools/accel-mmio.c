// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Accesses to a BAR from user space, through sysfs: single ones, and a test of memory
 * behind a BAR with every size and alignment. For functions that no driver is bound to.
 */
#include "accel.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: accel-mmio [option...] [COMMAND...]\n"
	"\n"
	"commands, done in their order:\n"
	"  read BYTES OFFSET          prints what an access of 1, 2, 4 or 8 bytes reads\n"
	"  write BYTES OFFSET VALUE   writes\n"
	"  expect BYTES OFFSET VALUE  reads, and fails if it is not VALUE\n"
	"  test OFFSET LENGTH         writes and reads memory in the BAR with every size and\n"
	"                             alignment and compares it with a copy\n"
	"  remap COUNT FUNCTION BAR BYTES OFFSET VALUE\n"
	"                             switches memory decoding off and on COUNT times, and all\n"
	"                             the time expects VALUE in a BAR of another FUNCTION\n"
	"\n"
	"options:\n"
	"  --function V:D  vendor and device id (default 10ee:7011, the regs example), or where\n"
	"                  the function is, such as 0000:01:00.0\n"
	"  --bar N         the BAR (default 0)\n"
	"  --seed N        seed of the data of test (default 1)\n"
	"  --help          this text\n"
	"\n"
	"Status: 0 done, 1 something was not as expected, 2 the work could not be done\n";

static volatile void *bar;
static size_t bar_bytes;
static uint64_t reads, writes, failures;

static uint64_t do_read(uint64_t offset, unsigned int bytes)
{
	reads++;
	return bar_read(bar, offset, bytes);
}

static void do_write(uint64_t offset, unsigned int bytes, uint64_t value)
{
	writes++;
	bar_write(bar, offset, bytes, value);
}

static void compare(uint64_t offset, unsigned int bytes, uint64_t expected, uint64_t got)
{
	if (got == expected)
		return;
	failures++;
	if (failures <= 10)
		report("error", "%u bytes at %#llx: expected %#llx, got %#llx", bytes,
		       (unsigned long long)offset, (unsigned long long)expected,
		       (unsigned long long)got);
}

static void expect(uint64_t offset, unsigned int bytes, uint64_t expected)
{
	compare(offset, bytes, expected, do_read(offset, bytes));
}

static void test(uint64_t offset, uint64_t length, struct random *dice)
{
	uint8_t *shadow = malloc(length);
	uint64_t value;

	if (!shadow)
		die("no memory for a copy of %llu bytes", (unsigned long long)length);
	for (uint64_t i = 0; i < length; i++) {
		shadow[i] = (uint8_t)random64(dice);
		do_write(offset + i, 1, shadow[i]);
	}
	for (unsigned int bytes = 1; bytes <= 8; bytes *= 2) {
		for (uint64_t i = 0; i + bytes <= length; i++) {
			value = random64(dice);
			do_write(offset + i, bytes, value);
			memcpy(shadow + i, &value, bytes);
		}
		/* Each size reads what each size wrote. */
		for (unsigned int size = 1; size <= 8; size *= 2) {
			for (uint64_t i = 0; i + size <= length; i++) {
				value = 0;
				memcpy(&value, shadow + i, size);
				expect(offset + i, size, value);
			}
		}
	}
	free(shadow);
}

/* What the thread does that changes the memory map, and whether it has done it. */
struct remap {
	const char *address;
	uint64_t count;
	atomic_bool done;
};

static void *switch_decoding(void *argument)
{
	struct remap *remap = argument;

	pin_to_cpu(1);
	for (uint64_t i = 0; i < remap->count; i++) {
		set_memory_decoding(remap->address, false);
		set_memory_decoding(remap->address, true);
	}
	atomic_store(&remap->done, true);
	return NULL;
}

static void parse_function(const char *text, char address[PCI_ADDRESS_BYTES])
{
	unsigned int vendor, device;
	char end;

	if (sscanf(text, "%*4x:%*2x:%2x.%1x%c", &vendor, &device, &end) == 2) {
		/* Where it is, for several of a kind. */
		snprintf(address, PCI_ADDRESS_BYTES, "%s", text);
		return;
	}
	if (sscanf(text, "%4x:%4x%c", &vendor, &device, &end) != 2)
		die("--function is %s, expected VENDOR:DEVICE or DOMAIN:BUS:DEVICE.FUNCTION", text);
	find_function(vendor, device, address);
}

/* The argument after the command, of as many as it needs. */
static const char *argument(char **argv, int left, int which, int needed)
{
	if (left <= needed)
		die("%s needs %d arguments, expected as --help says", argv[0], needed);
	return argv[which];
}

static uint64_t offset_of(const char *text, uint64_t bytes)
{
	if (bytes > bar_bytes)
		die("an access has %llu bytes, the BAR %zu", (unsigned long long)bytes, bar_bytes);
	return number("offset", text, 0, bar_bytes - bytes);
}

/* How many bytes an access has. */
static unsigned int size_of(const char *text)
{
	unsigned int bytes = (unsigned int)number("bytes", text, 1, 8);

	if (bytes & (bytes - 1))
		die("an access has %u bytes, expected 1, 2, 4 or 8", bytes);
	return bytes;
}

/* On the first CPU, while the second one changes what is mapped. */
static void remap(const char *address, uint64_t count, char **other)
{
	struct remap remap = { .address = address, .count = count };
	char where[PCI_ADDRESS_BYTES];
	uint64_t offset, value, done = 0;
	volatile void *other_bar;
	unsigned int bytes;
	size_t other_bytes;
	pthread_t thread;
	int error;

	parse_function(other[0], where);
	other_bar = map_bar(where, (unsigned int)number("BAR", other[1], 0, 5), &other_bytes);
	bytes = size_of(other[2]);
	offset = number("offset", other[3], 0, other_bytes - bytes);
	value = number("value", other[4], 0, UINT64_MAX);
	pin_to_cpu(0);
	error = pthread_create(&thread, NULL, switch_decoding, &remap);
	if (error)
		die("cannot start a thread: %s", strerror(error));
	for (; !atomic_load(&remap.done); done++)
		compare(offset, bytes, value, bar_read(other_bar, offset, bytes));
	pthread_join(thread, NULL);
	report("remap", "%llu times, %llu reads elsewhere meanwhile", (unsigned long long)count,
	       (unsigned long long)done);
}

/* Does a command; returns the words that it was made of. */
static int command(const char *address, char **argv, int left, struct random *dice)
{
	const char *name = argv[0];
	uint64_t offset, length;
	unsigned int bytes;

	if (!strcmp(name, "test")) {
		length = number("length", argument(argv, left, 2, 2), 1, bar_bytes);
		test(offset_of(argv[1], length), length, dice);
		return 3;
	}
	if (!strcmp(name, "remap")) {
		length = number("count", argument(argv, left, 1, 6), 1, UINT64_MAX);
		remap(address, length, argv + 2);
		return 7;
	}
	if (strcmp(name, "read") && strcmp(name, "write") && strcmp(name, "expect"))
		die("the command is %s, expected read, write, expect, test or remap", name);
	bytes = size_of(argument(argv, left, 1, 2));
	offset = offset_of(argv[2], bytes);
	if (!strcmp(name, "read")) {
		report("value", "%#llx", (unsigned long long)do_read(offset, bytes));
		return 3;
	}
	if (!strcmp(name, "write"))
		do_write(offset, bytes, number("value", argument(argv, left, 3, 3), 0, UINT64_MAX));
	else
		expect(offset, bytes, number("value", argument(argv, left, 3, 3), 0, UINT64_MAX));
	return 4;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "function", required_argument, NULL, 'f' },
		{ "bar", required_argument, NULL, 'b' },
		{ "seed", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	char address[PCI_ADDRESS_BYTES] = "";
	struct random dice = { 1 };
	unsigned int number_of_bar = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f':
			parse_function(optarg, address);
			break;
		case 'b':
			number_of_bar = (unsigned int)number("--bar", optarg, 0, 5);
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
	if (!address[0])
		parse_function("10ee:7011", address);
	report_function(address);
	bar = map_bar(address, number_of_bar, &bar_bytes);
	while (optind < argc)
		optind += command(address, argv + optind, argc - optind, &dice);
	report("mmio_reads_by_program", "%llu", (unsigned long long)reads);
	report("mmio_writes_by_program", "%llu", (unsigned long long)writes);
	report("mmio_reads_wrong", "%llu", (unsigned long long)failures);
	report("result", "%s", failures ? "FAIL" : "PASS");
	return failures ? 1 : 0;
}
