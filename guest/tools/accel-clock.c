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
	"  --await PS      first waits until a sleep of 1 ms takes as many clocks of PS\n"
	"                  picoseconds as it should, within a half\n"
	"  --now           only prints CLOCK_MONOTONIC in nanoseconds\n"
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

/* Whether the clocks of a sleep of a millisecond last about as long. */
static bool agrees(uint64_t offset, uint64_t period_ps)
{
	const struct timespec length = { .tv_nsec = 1000000 };
	uint32_t clocks = (uint32_t)bar_read(bar, offset, 4);

	nanosleep(&length, NULL);
	clocks = (uint32_t)bar_read(bar, offset, 4) - clocks;
	return clocks * period_ps / 1000 >= 500000;
}

/* The counter of the processor, whatever it calls that. */
static uint64_t tsc(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	uint64_t value;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value) : : "memory");
	return value;
#endif
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "offset", required_argument, NULL, 'o' },
		{ "sleep", required_argument, NULL, 's' },
		{ "spin", no_argument, NULL, 'p' },
		{ "count", required_argument, NULL, 'c' },
		{ "await", required_argument, NULL, 'a' },
		{ "now", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	char address[PCI_ADDRESS_BYTES];
	uint64_t offset = 8, sleep_ns = 2000000, count = 10, await_ps = 0;
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
			count = number("--count", optarg, 0, 100000);
			break;
		case 'a':
			await_ps = number("--await", optarg, 1, 1000000);
			break;
		case 'n':
			printf("%llu\n", (unsigned long long)now_ns());
			return 0;
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
	for (int tries = 0, row = 0; await_ps && row < 3; tries++) {
		if (tries == 30000)
			die("the guest's clock does not follow the RTL's");
		row = agrees(offset, await_ps) ? row + 1 : 0;
	}
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
