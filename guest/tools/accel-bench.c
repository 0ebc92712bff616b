// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Measures the co-simulation from inside the guest, with the bench design
 * (hdl/bench/bench.sv). scripts/bench.sh runs it and knows what the lines mean.
 *
 * Times are ticks of the host's CPU, which the guest's counter shows but for a constant
 * that sync_clocks() finds: so a time on one side can be subtracted from one on the other.
 */
#include "accel.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../uapi/accel_bench.h"

enum {
	ID = 0x000,
	SCRATCH = 0x008,
	DOORBELL = 0x020,
	RUNG = 0x028,
	MSIX_TICKS = 0x038,
	SYNC = 0x040,
	SYNC_ROUNDS = 0x048,
	DMA_ADDR = 0x050,
	DMA_CTRL = 0x058,
	DMA_GO = 0x060,
	DMA_STATUS = 0x068,
	DMA_CLOCKS = 0x070,
	DMA_TICKS = 0x078,
	DMA_BEATS = 0x080,
	DMA_SUM = 0x088,
	/* Of the function behind vfio-user only. */
	WRITES = 0x090,
};
#define ID_VALUE 0x48434e42
#define DMA_TO_HOST (1u << 16)
#define DEVICES 8
/* Where the function behind vfio-user is among the devices. */
#define PEER DEVICES
/* QEMU's `edu`, and the register there that keeps what is written and does nothing. */
#define EDU_VENDOR 0x1234
#define EDU_DEVICE 0x11e8
#define EDU_DMA_SOURCE 0x80
#define SYNC_PING_PONGS 2000

static const char usage[] =
	"usage: accel-bench [option...] MEASUREMENT...\n"
	"\n"
	"  read       4-byte MMIO reads\n"
	"  write      posted 8-byte MMIO writes in a long run, closed by a read\n"
	"  doorbell   from one MMIO write in the guest to the RTL\n"
	"  msix       from the RTL's request to the handler: guest halted, spinning, and\n"
	"             spinning with the instruction PAUSE\n"
	"  dma        both ways, 64 and 4096 bytes, 1 and 16 outstanding\n"
	"  scale      reads of all devices in turn, and DMA of all at once\n"
	"  idle       does nothing for as long as --idle says\n"
	"  interrupts each of them comes; takes no time\n"
	"\n"
	"  --peers       reads, writes, doorbell and msix in turn with the function behind\n"
	"                vfio-user, and reads and writes also with QEMU's edu\n"
	"  --tick-hz N   ticks of the host's CPU in a second (needed)\n"
	"  --repeats N   of each (default 5)\n"
	"  --count N     samples of a repeat (default 2000)\n"
	"  --idle N      seconds (default 3)\n"
	"  --patience MS DMA is late after so long (default 60000)\n"
	"  --help        this text\n"
	"\n"
	"Status: 0 measured, 2 the work could not be done\n";

static struct {
	int file;
	volatile uint8_t *bar;
	uint8_t *buffer;
	struct accel_bench_info info;
} device[DEVICES + 1];
static unsigned int devices;
static bool peers;
static uint64_t tick_hz;
static unsigned int repeats = 5, count = 2000, idle_seconds = 3, patience_ms = 60 * 1000;
static uint64_t *sample;
/* What the host's counter shows more than the guest's, and how wrong that may be. */
static uint64_t clock_offset, clock_error;

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
#else
	uint64_t value;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value) : : "memory");
	return value;
#endif
}

static double nanoseconds(uint64_t value)
{
	return (double)value * 1e9 / (double)tick_hz;
}

static uint64_t read64(unsigned int i, size_t offset)
{
	return bar_read(device[i].bar, offset, 8);
}

static void write64(unsigned int i, size_t offset, uint64_t value)
{
	bar_write(device[i].bar, offset, 8, value);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* One repeat of a latency: the samples, sorted here. */
static void report_samples(const char *name, unsigned int repeat, unsigned int n)
{
	qsort(sample, n, sizeof(*sample), by_value);
	report("sample", "%s repeat=%u n=%u min=%.0f median=%.0f p99=%.0f max=%.0f", name, repeat, n,
	       nanoseconds(sample[0]), nanoseconds(sample[n / 2]),
	       nanoseconds(sample[n - 1 - n / 100]), nanoseconds(sample[n - 1]));
}

/* The bench designs come first, and the function behind vfio-user at PEER. */
static void open_devices(void)
{
	char path[32];
	unsigned int n;

	expect_loss_of_registers();
	for (n = 0; n <= DEVICES; n++) {
		struct accel_bench_info info;
		void *bar, *buffer;
		unsigned int i;
		int file;

		snprintf(path, sizeof(path), "/dev/accel_bench%u", n);
		file = open(path, O_RDWR);
		if (file < 0)
			break;
		if (ioctl(file, ACCEL_BENCH_IOC_INFO, &info))
			die("%s: %s", path, strerror(errno));
		i = info.device == ACCEL_BENCH_DEVICE_VFIO_USER ? PEER : devices++;
		if (devices > DEVICES)
			die("there are more than %u bench designs", DEVICES);
		bar = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file,
			   ACCEL_BENCH_MAP_BAR0);
		buffer = mmap(NULL, ACCEL_BENCH_BUFFER, PROT_READ | PROT_WRITE, MAP_SHARED, file,
			      ACCEL_BENCH_MAP_BUFFER);
		if (bar == MAP_FAILED || buffer == MAP_FAILED)
			die("%s cannot be mapped: %s", path, strerror(errno));
		device[i].file = file;
		device[i].bar = bar;
		device[i].buffer = buffer;
		device[i].info = info;
		if ((uint32_t)read64(i, ID) != ID_VALUE)
			die("%s: register ID is %#llx", path, (unsigned long long)read64(i, ID));
	}
	if (!devices)
		die("no /dev/accel_bench is a bench design");
	if (peers && !device[PEER].bar)
		die("no /dev/accel_bench is the function behind vfio-user");
}

/* What is read and written in turn: the first bench design, and with --peers the others. */
static struct {
	const char *prefix;
	volatile uint8_t *bar;
	size_t offset;
} place[3];
static unsigned int places;

static void add_place(const char *prefix, volatile void *bar, size_t offset)
{
	place[places].prefix = prefix;
	place[places].bar = bar;
	place[places++].offset = offset;
}

static void find_places(void)
{
	char address[PCI_ADDRESS_BYTES];
	size_t bytes;

	add_place("", device[0].bar, SCRATCH);
	if (!peers)
		return;
	add_place("vfio_user_", device[PEER].bar, SCRATCH);
	find_function(EDU_VENDOR, EDU_DEVICE, address);
	add_place("edu_", map_bar(address, 0, &bytes), EDU_DMA_SOURCE);
}

/* The devices that interrupt and whose doorbells ring, in turn. */
static const struct {
	const char *prefix;
	unsigned int device;
} ringer[] = { { "", 0 }, { "vfio_user_", PEER } };

static unsigned int ringers(void)
{
	return peers ? 2 : 1;
}

/* The guest's half of bench_clock.cpp. */
static void sync_clocks(void)
{
	struct {
		_Atomic uint64_t ping, pong, ticks, last;
	} *page = (void *)device[0].buffer;
	uint64_t best = UINT64_MAX, round, begin, end;
	struct timespec now;
	time_t limit;

	memset(device[0].buffer, 0, 64);
	atomic_store(&page->last, SYNC_PING_PONGS);
	clock_gettime(CLOCK_MONOTONIC, &now);
	limit = now.tv_sec + 40;
	write64(0, SYNC, device[0].info.buffer_phys);
	for (round = 1; round <= SYNC_PING_PONGS; round++) {
		uint32_t tries = 0;

		begin = ticks();
		atomic_store(&page->ping, round);
		while (atomic_load(&page->pong) != round) {
			if (++tries % 0x100000)
				continue;
			clock_gettime(CLOCK_MONOTONIC, &now);
			if (now.tv_sec >= limit)
				die("the host does not answer in memory: +bench_memory=FILE?");
		}
		end = ticks();
		if (end - begin < best) {
			best = end - begin;
			clock_offset = atomic_load(&page->ticks) - (begin + (end - begin) / 2);
			clock_error = best / 2;
		}
	}
	if (read64(0, SYNC_ROUNDS) != SYNC_PING_PONGS)
		die("the clocks were not synchronised");
	report("sample", "clock_error repeat=0 n=%u value=%.0f", SYNC_PING_PONGS,
	       nanoseconds(clock_error));
}

/*
 * From one time to a later one, both the host's. The error of the clocks may make a short
 * time negative, which is 0 then. A longer one means that they have come apart, as they do
 * when a machine is stopped and goes on: they are synchronised once more, and false says
 * that the measurement is void.
 */
static bool between(const char *what, uint64_t begin, uint64_t end, uint64_t *result)
{
	static unsigned int apart;
	int64_t time = (int64_t)(end - begin);

	if (time >= -(int64_t)(clock_error + tick_hz / 1000000)) {
		*result = time > 0 ? (uint64_t)time : 0;
		return true;
	}
	apart++;
	report("apart", "%s took %lld ticks: from %#llx to %#llx", what, (long long)time,
	       (unsigned long long)begin, (unsigned long long)end);
	if (apart > 3)
		die("the clocks of guest and host do not stay together");
	sync_clocks();
	return false;
}

static void pause_us(double us)
{
	uint64_t end = ticks() + (uint64_t)(us * (double)tick_hz / 1e6);

	while (ticks() < end)
		;
}

/* Of one place or ringer after the other in each repeat, so that a slow moment hits all. */
static void report_of(const char *prefix, const char *what, unsigned int repeat, unsigned int n)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", prefix, what);
	report_samples(name, repeat, n);
}

/*
 * After the others' turn comes a tenth that nobody looks at: whoever answers is awake then, and
 * caches are warm.
 */
#define WARM_UP(n) ((n) / 10 + 1)

static void run_of_reads(unsigned int p, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint64_t begin = ticks();

		bar_read(place[p].bar, place[p].offset, 4);
		sample[i] = ticks() - begin;
	}
}

static void measure_read(void)
{
	unsigned int r, p;

	for (r = 0; r < repeats; r++) {
		for (p = 0; p < places; p++) {
			run_of_reads(p, WARM_UP(count));
			run_of_reads(p, count);
			report_of(place[p].prefix, "mmio_read", r, count);
		}
	}
}

/* A run of stores, closed by a read: how long it took. */
static uint64_t run_of_writes(unsigned int p, unsigned int n)
{
	uint64_t begin = ticks(), last, took;
	unsigned int i;

	for (i = 0; i < n; i++)
		bar_write(place[p].bar, place[p].offset, 8, i);
	last = bar_read(place[p].bar, place[p].offset, 8);
	took = ticks() - begin;
	if (last != n - 1)
		die("the last write left %llu, expected %u", (unsigned long long)last, n - 1);
	return took;
}

static void measure_write(void)
{
	unsigned int r, p, n = count * 20;

	for (r = 0; r < repeats; r++) {
		for (p = 0; p < places; p++) {
			bool counted = place[p].bar == device[PEER].bar;
			uint64_t before, took;

			run_of_writes(p, WARM_UP(n));
			before = counted ? read64(PEER, WRITES) : 0;
			took = run_of_writes(p, n);
			if (counted && read64(PEER, WRITES) - before != n)
				die("of %u writes %llu came", n,
				    (unsigned long long)(read64(PEER, WRITES) - before));
			report("sample", "%smmio_writes_per_s repeat=%u n=%u value=%.0f",
			       place[p].prefix, r, n, 1e9 * n / nanoseconds(took));
		}
	}
}

/* False if the clocks came apart: once more then. */
static bool one_doorbell(unsigned int d, unsigned int i, uint64_t *before)
{
	uint64_t begin, rung;

	/* Nothing is under way, and everybody asleep who wants to. */
	pause_us(200 + 7 * (i % 16));
	begin = ticks();
	write64(d, DOORBELL, begin);
	pause_us(100);
	rung = read64(d, RUNG);
	if (rung == *before)
		die("a doorbell was lost or overtaken: RUNG is still %#llx",
		    (unsigned long long)rung);
	*before = rung;
	return between("a doorbell", begin + clock_offset, rung, &sample[i]);
}

static void measure_doorbell(void)
{
	uint64_t before[sizeof(ringer) / sizeof(*ringer)];
	unsigned int r, i, k;

	for (k = 0; k < ringers(); k++)
		before[k] = read64(ringer[k].device, RUNG);
	for (r = 0; r < repeats; r++) {
		for (k = 0; k < ringers(); k++) {
			for (i = 0; i < count;)
				i += one_doorbell(ringer[k].device, i, &before[k]);
			report_of(ringer[k].prefix, "doorbell", r, count);
		}
	}
}

static bool one_interrupt(unsigned int d, unsigned int i, unsigned int wait)
{
	struct accel_bench_msix msix = {
		/* In about half a millisecond of the simulator's time, or of time. */
		.delay = d == PEER ? 500 + 31 * (i % 16) : 1500 + 97 * (i % 16),
		.wait = wait,
	};

	if (ioctl(device[d].file, ACCEL_BENCH_IOC_MSIX, &msix))
		die("no interrupt: %s", strerror(errno));
	return between("an interrupt", read64(d, MSIX_TICKS), msix.handler + clock_offset,
		       &sample[i]);
}

static void measure_msix(void)
{
	static const char *const name[] = { "msix_halted", "msix_spinning", "msix_pausing" };
	unsigned int wait, r, i, k, n = count / 4 + 1;

	for (wait = ACCEL_BENCH_HALT; wait <= ACCEL_BENCH_RELAX; wait++) {
		for (r = 0; r < repeats; r++) {
			for (k = 0; k < ringers(); k++) {
				for (i = 0; i < n;)
					i += one_interrupt(ringer[k].device, i, wait);
				report_of(ringer[k].prefix, name[wait], r, n);
			}
		}
	}
}

/* Without the clocks of guest and host: whether each comes, by all ways of waiting for it. */
static void interrupts(void)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		struct accel_bench_msix msix = { .delay = 1 + i % 100, .wait = i % 3 };

		if (ioctl(device[0].file, ACCEL_BENCH_IOC_MSIX, &msix))
			die("no interrupt: %s", strerror(errno));
	}
	report("interrupts", "%u", count);
}

static void start_dma(unsigned int i, unsigned int bytes, unsigned int most, bool to_host_memory,
		      unsigned int requests)
{
	unsigned int beat = (unsigned int)(read64(i, ID) >> 32);

	write64(i, DMA_ADDR, device[i].info.buffer_dma);
	write64(i, DMA_CTRL, (uint64_t)requests << 32 | (to_host_memory ? DMA_TO_HOST : 0) |
				     most << 8 | (bytes / beat - 1));
	write64(i, DMA_GO, 1);
}

static void wait_dma(unsigned int i)
{
	uint64_t limit = now_ms() + patience_ms, status;

	/* Seldom: each look is a message that the simulator has to answer. */
	while ((status = read64(i, DMA_STATUS)) & 1) {
		if (status == UINT64_MAX)
			die("the device does not answer: DMA_STATUS is all ones");
		if (now_ms() > limit)
			die("DMA does not end");
		usleep(2000);
	}
	if (status >> 32)
		die("%llu DMA requests failed", (unsigned long long)(status >> 32));
}

/* Whether the words that went or came are those that should. */
static void check_dma(unsigned int i, unsigned int bytes, bool to_host_memory,
		      unsigned int requests)
{
	uint64_t *word = (uint64_t *)device[i].buffer, sum = 0, total;
	unsigned int words = bytes / 8, slots = ACCEL_BENCH_BUFFER / bytes, slot, w, r;

	total = (uint64_t)words * requests;
	if (to_host_memory) {
		for (slot = 0; slot < slots && slot < requests; slot++) {
			r = slot + (requests - 1 - slot) / slots * slots;
			for (w = 0; w < words; w++)
				if (word[slot * words + w] != (uint64_t)r * words + w)
					die("DMA left %llu in word %u, expected %llu",
					    (unsigned long long)word[slot * words + w],
					    slot * words + w, (unsigned long long)r * words + w);
		}
	} else {
		for (r = 0; r < requests; r++)
			for (w = 0; w < words; w++)
				sum += word[r % slots * words + w];
		if (read64(i, DMA_SUM) != sum)
			die("DMA of %llu words read sum %llu, expected %llu",
			    (unsigned long long)total, (unsigned long long)read64(i, DMA_SUM),
			    (unsigned long long)sum);
	}
}

static void fill(unsigned int i)
{
	uint64_t *word = (uint64_t *)device[i].buffer;
	struct random random = { .state = i };
	unsigned int w;

	for (w = 0; w < ACCEL_BENCH_BUFFER / 8; w++)
		word[w] = random64(&random);
}

static void measure_dma(void)
{
	static const struct {
		unsigned int bytes, most;
		bool to_host;
	} shape[] = {
		{ 64, 1, true },  { 64, 16, true },  { 4096, 1, true },  { 4096, 16, true },
		{ 64, 1, false }, { 64, 16, false }, { 4096, 1, false }, { 4096, 16, false },
	};
	unsigned int s, r;

	for (s = 0; s < sizeof(shape) / sizeof(*shape); s++) {
		unsigned int requests = count;

		for (r = 0; r < repeats; r++) {
			double beats, clocks;

			fill(0);
			start_dma(0, shape[s].bytes, shape[s].most, shape[s].to_host, requests);
			/* Asleep, so that host and simulator have the machine. */
			usleep(1000);
			wait_dma(0);
			check_dma(0, shape[s].bytes, shape[s].to_host, requests);
			beats = (double)read64(0, DMA_BEATS);
			clocks = (double)read64(0, DMA_CLOCKS);
			report("sample",
			       "dma_%s_%u_x%u repeat=%u n=%u value=%.3f beats_per_clock=%.4f",
			       shape[s].to_host ? "to_host" : "from_host", shape[s].bytes,
			       shape[s].most, r, requests,
			       1e3 * shape[s].bytes * requests / nanoseconds(read64(0, DMA_TICKS)),
			       beats / clocks);
		}
	}
}

static void measure_scale(void)
{
	unsigned int r, i, d;

	for (r = 0; r < repeats; r++) {
		for (i = 0; i < count; i++) {
			uint64_t begin = ticks();

			bar_read(device[i % devices].bar, SCRATCH, 4);
			sample[i] = ticks() - begin;
		}
		report_samples("scale_read", r, count);
	}
	for (r = 0; r < repeats; r++) {
		uint64_t begin, requests = count / 2 + 1;

		begin = ticks();
		for (d = 0; d < devices; d++)
			start_dma(d, 4096, 16, true, (unsigned int)requests);
		usleep(1000);
		for (d = 0; d < devices; d++)
			wait_dma(d);
		begin = ticks() - begin;
		for (d = 0; d < devices; d++)
			check_dma(d, 4096, true, (unsigned int)requests);
		report("sample", "scale_dma repeat=%u n=%llu value=%.3f", r,
		       (unsigned long long)requests,
		       1e3 * 4096 * (double)requests * devices / nanoseconds(begin));
	}
}

static void idle(void)
{
	/* The host looks at its processes between these lines. */
	sleep(1);
	report("idle", "begin");
	sleep(idle_seconds);
	report("idle", "end");
}

static const struct {
	const char *name;
	void (*run)(void);
	bool clocks;
} measurement[] = {
	{ "read", measure_read, false },	 { "write", measure_write, false },
	{ "doorbell", measure_doorbell, true },	 { "msix", measure_msix, true },
	{ "dma", measure_dma, false },		 { "scale", measure_scale, false },
	{ "idle", idle, false },		 { "interrupts", interrupts, false },
};

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "peers", no_argument, NULL, 'p' },
		{ "tick-hz", required_argument, NULL, 't' },
		{ "repeats", required_argument, NULL, 'r' },
		{ "count", required_argument, NULL, 'c' },
		{ "idle", required_argument, NULL, 'i' },
		{ "patience", required_argument, NULL, 'P' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	bool synchronised = false;
	unsigned int m;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			peers = true;
			break;
		case 't':
			tick_hz = number("--tick-hz", optarg, 1000000, 100000000000);
			break;
		case 'r':
			repeats = (unsigned int)number("--repeats", optarg, 1, 1000);
			break;
		case 'c':
			count = (unsigned int)number("--count", optarg, 4, 1000000);
			break;
		case 'i':
			idle_seconds = (unsigned int)number("--idle", optarg, 1, 60);
			break;
		case 'P':
			patience_ms = (unsigned int)number("--patience", optarg, 1, 60 * 1000);
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (!tick_hz || optind == argc)
		die("--tick-hz and a measurement are needed; see --help");
	sample = calloc(count, sizeof(*sample));
	if (!sample)
		die("no memory");
	open_devices();
	find_places();
	report("devices", "%u", devices);
	for (; optind < argc; optind++) {
		for (m = 0; m < sizeof(measurement) / sizeof(*measurement); m++)
			if (!strcmp(argv[optind], measurement[m].name))
				break;
		if (m == sizeof(measurement) / sizeof(*measurement))
			die("no measurement '%s'; see --help", argv[optind]);
		if (measurement[m].clocks && !synchronised) {
			sync_clocks();
			synchronised = true;
		}
		measurement[m].run();
	}
	return 0;
}
