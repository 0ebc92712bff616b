// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * The guest's clocks beside the RTL's: reads a register that counts clocks and what
 * time it is, lets some time pass, and reads both again.
 */
#include "accel.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char usage[] =
	"usage: accel-clock [option...]\n"
	"\n"
	"  --offset N      of a 32-bit register that counts clocks (default 8, as in the regs\n"
	"                  example)\n"
	"  --sleep NS      sleeps so long by the guest's clock (default 2000000)\n"
	"  --spin          does not sleep, but looks at the clock until it is over\n"
	"  --count N       so many times (default 10)\n"
	"  --help          this text\n"
	"\n"
	"Prints ACCEL guest_ns= (CLOCK_MONOTONIC), tsc= and clocks= for each time.\n";

static volatile void *bar;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t tsc(void)
{
	return __builtin_ia32_rdtsc();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "offset", required_argument, NULL, 'o' },
		{ "sleep", required_argument, NULL, 's' },
		{ "spin", no_argument, NULL, 'p' },
		{ "count", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	char address[PCI_ADDRESS_BYTES];
	uint64_t offset = 8, sleep_ns = 2000000, count = 10;
	size_t bytes;
	bool spin = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			offset = number("--offset", optarg, 0, 0xffc);
			break;
		case 's':
			sleep_ns = number("--sleep", optarg, 1, 10000000000u);
			break;
		case 'p':
			spin = true;
			break;
		case 'c':
			count = number("--count", optarg, 1, 100000);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	find_function(0x10ee, 0x7011, address);
	bar = map_bar(address, 0, &bytes);
	if (offset + 4 > bytes)
		die("--offset is %llu, the BAR has %zu bytes", (unsigned long long)offset, bytes);
	for (uint64_t i = 0; i < count; i++) {
		struct timespec length = {
			.tv_sec = (time_t)(sleep_ns / 1000000000u),
			.tv_nsec = (long)(sleep_ns % 1000000000u),
		};
		uint32_t clocks = (uint32_t)bar_read(bar, offset, 4);
		uint64_t begin = now_ns(), ticks = tsc(), end;

		if (spin) {
			while (now_ns() - begin < sleep_ns)
				;
		} else {
			nanosleep(&length, NULL);
		}
		end = now_ns();
		ticks = tsc() - ticks;
		clocks = (uint32_t)bar_read(bar, offset, 4) - clocks;
		printf("ACCEL clocks=guest_ns %llu tsc %llu clocks %u\n",
		       (unsigned long long)(end - begin), (unsigned long long)ticks, clocks);
		fflush(stdout);
	}
	return 0;
}
