// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Interrupts of the probe while their affinities move: the kernel rewrites the MSI-X table,
 * masks and unmasks vectors, and what is raised meanwhile waits as pending bits. None may be
 * lost. Some come twice, by the kernel's own doing: it triggers an interrupt once more when it
 * cannot tell whether the move has lost it (msi_set_affinity() in arch/x86/kernel/apic/msi.c).
 * guest/bare counts exactly.
 */
#include "accel.h"

#include <dirent.h>
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
	"usage: accel-affinity [option...]\n"
	"\n"
	"  --interrupts N   how many are raised (default 64000)\n"
	"  --seed N         seed of the order (default 1)\n"
	"  --help           this text\n"
	"\n"
	"Status: 0 all came, 1 not so, 2 the work could not be done\n";

/* More of them than one in so many is a storm. */
#define MOST_TWICE 10

static char address[PCI_ADDRESS_BYTES];
static struct accel_probe_info info;
static int device;
static volatile void *bar;
static struct random dice;
/* Linux's numbers of the interrupts, by vector. */
static unsigned int irqs[PROBE_VECTORS];

static int compare_numbers(const void *a, const void *b)
{
	const unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return (x > y) - (x < y);
}

static void find_irqs(void)
{
	unsigned int found = 0;
	struct dirent *entry;
	char path[128];
	DIR *folder;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/msi_irqs", address);
	folder = opendir(path);
	if (!folder)
		die("%s cannot be read: %s", path, strerror(errno));
	while ((entry = readdir(folder)))
		if (entry->d_name[0] != '.' && found < PROBE_VECTORS)
			irqs[found++] = (unsigned int)atoi(entry->d_name);
	closedir(folder);
	if (found < info.vectors)
		die("%s has %u interrupts, expected %u", path, found, info.vectors);
	qsort(irqs, found, sizeof(*irqs), compare_numbers);
}

/* How many interrupts a CPU took for the card, as the kernel counts them. */
static uint64_t taken_by(unsigned int cpu)
{
	FILE *file = fopen("/proc/interrupts", "r");
	uint64_t sum = 0;
	char line[4096];

	if (!file)
		die("/proc/interrupts cannot be read: %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		char *at = line;
		unsigned long irq = strtoul(line, &at, 10);

		if (*at != ':')
			continue;
		for (unsigned int i = 0; i < info.vectors; i++) {
			uint64_t count = 0;

			if (irqs[i] != irq)
				continue;
			at++;
			for (unsigned int column = 0; column <= cpu; column++)
				count = strtoull(at, &at, 10);
			sum += count;
		}
	}
	fclose(file);
	return sum;
}

static atomic_bool moving;
static atomic_ullong moves;

static void *move(void *argument)
{
	struct random own = { (uintptr_t)argument };
	char path[64], mask[8];

	while (atomic_load(&moving)) {
		uint64_t draw = random64(&own);
		int file, bytes;

		snprintf(path, sizeof(path), "/proc/irq/%u/smp_affinity",
			 irqs[draw % info.vectors]);
		bytes = snprintf(mask, sizeof(mask), "%x", 1U << (draw >> 32 & 1));
		file = open(path, O_WRONLY | O_CLOEXEC);
		if (file < 0)
			die("%s cannot be opened: %s", path, strerror(errno));
		/* The kernel may have no vector of a CPU free for the moment. */
		if (write(file, mask, (size_t)bytes) == bytes)
			atomic_fetch_add(&moves, 1);
		close(file);
	}
	return NULL;
}

static uint64_t wait_for(uint32_t vector, uint64_t count)
{
	struct accel_probe_wait wait = {
		.vector = vector, .count = count, .timeout_ms = PATIENCE_MS,
	};

	if (ioctl(device, ACCEL_PROBE_IOC_WAIT, &wait))
		die("interrupt %llu of vector %u: %s", (unsigned long long)count, vector,
		    strerror(errno));
	return wait.count;
}

/* Each vector at most once before it is waited for: a bit is pending or not. */
static void raise_all(uint64_t interrupts)
{
	uint64_t expected[PROBE_VECTORS], raised = 0, twice = 0, told = now_ms();
	uint32_t before = (uint32_t)bar_read(bar, MSIX_COUNT, 4);

	for (uint32_t vector = 0; vector < info.vectors; vector++)
		expected[vector] = wait_for(vector, 0);
	while (raised < interrupts) {
		uint64_t batch = random64(&dice) | 1;

		for (uint32_t vector = 0; vector < info.vectors; vector++) {
			if (!(batch >> vector & 1))
				continue;
			bar_write(bar, MSIX_GO, 4, vector);
			expected[vector]++;
			raised++;
		}
		for (uint32_t vector = 0; vector < info.vectors; vector++) {
			uint64_t count = wait_for(vector, expected[vector]);

			twice += count - expected[vector];
			expected[vector] = count;
		}
		if (now_ms() - told >= 5000) {
			told = now_ms();
			report("progress", "%llu of %llu interrupts", (unsigned long long)raised,
			       (unsigned long long)interrupts);
		}
	}
	if (twice > raised / MOST_TWICE + 1)
		fail("of %llu interrupts %llu came twice", (unsigned long long)raised,
		     (unsigned long long)twice);
	report("twice", "%llu", (unsigned long long)twice);
	expect("interrupts that the RTL raised", raised,
	       (uint32_t)bar_read(bar, MSIX_COUNT, 4) - before);
	report("interrupts", "%llu", (unsigned long long)raised);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "interrupts", required_argument, NULL, 'i' },
		{ "seed", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	uint64_t interrupts = 64000, taken[2];
	pthread_t mover;
	int option, error;

	dice.state = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'i':
			interrupts = number("--interrupts", optarg, 1, UINT32_MAX);
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
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		die("there is 1 CPU, expected at least 2");
	find_function(PROBE_VENDOR, PROBE_DEVICE, address);
	expect_loss_of_registers();
	device = open("/dev/accel_probe0", O_RDWR | O_CLOEXEC);
	if (device < 0 || ioctl(device, ACCEL_PROBE_IOC_INFO, &info))
		die("/dev/accel_probe0 cannot be opened: %s", strerror(errno));
	bar = mmap(NULL, info.bar_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		   ACCEL_PROBE_MAP_BAR0);
	if (bar == MAP_FAILED)
		die("/dev/accel_probe0 cannot be mapped: %s", strerror(errno));
	find_irqs();
	for (unsigned int cpu = 0; cpu < 2; cpu++)
		taken[cpu] = taken_by(cpu);
	atomic_store(&moving, true);
	error = pthread_create(&mover, NULL, move, (void *)(uintptr_t)(dice.state + 1));
	if (error)
		die("no thread: %s", strerror(error));
	raise_all(interrupts);
	atomic_store(&moving, false);
	pthread_join(mover, NULL);
	for (unsigned int cpu = 0; cpu < 2; cpu++) {
		char key[16];

		taken[cpu] = taken_by(cpu) - taken[cpu];
		snprintf(key, sizeof(key), "taken_by_cpu%u", cpu);
		report(key, "%llu", (unsigned long long)taken[cpu]);
		if (!taken[cpu])
			fail("CPU %u took no interrupt: they did not move", cpu);
	}
	report("moves", "%llu", (unsigned long long)atomic_load(&moves));
	finish_test("test_moving_interrupts");
	return finish_tests();
}
