// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Sorts random blocks with the accelerator and compares each with what qsort() makes
 * of it. Two threads, each with its own open file, share the device: one sorts with
 * the smallest key first, the other with the largest.
 */
#include "accel.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../uapi/accel_sort.h"

#define VENDOR 0x10ee
#define DEVICE 0x7024
#define PARAMETERS "/sys/module/accel_sort/parameters/"
/* Bytes that the device reads and writes for a block, with its descriptor. */
#define READ_BYTES (ACCEL_SORT_BLOCK_BYTES + 32)
#define WRITE_BYTES (ACCEL_SORT_BLOCK_BYTES + 16)

static const char usage[] =
	"usage: accel-sort [option...]\n"
	"\n"
	"  --blocks N   blocks to sort, half of them with the largest key first (default 64)\n"
	"  --seed N     seed of the data (default 1)\n"
	"  --trouble    then reset the device, forbid it DMA, interrupt a request and unbind\n"
	"               the driver in the middle of work, and see that sorting goes on\n"
	"  --help       this text\n"
	"\n"
	"Status: 0 every block right, 1 not so, 2 the work could not be done\n";

static char address[PCI_ADDRESS_BYTES];
static unsigned int failures;

static void fail(const char *what, const char *expected, const char *got)
{
	failures++;
	report("error", "%s: expected %s, got %s", what, expected, got);
}

static int open_device(void)
{
	/* The driver calls its first device accel_sort0; there is one function here. */
	int device = open("/dev/accel_sort0", O_RDWR | O_CLOEXEC);

	if (device < 0)
		die("/dev/accel_sort0 cannot be opened: %s", strerror(errno));
	return device;
}

static struct accel_sort_info get_info(int device)
{
	struct accel_sort_info info;

	if (ioctl(device, ACCEL_SORT_IOC_INFO, &info))
		die("the driver gives no information: %s", strerror(errno));
	return info;
}

/* Returns 0 or an errno. */
static int sort(int device, const uint32_t *src, uint32_t *dst, uint32_t blocks, uint32_t flags,
		uint32_t *sorted)
{
	struct accel_sort_request request = {
		.src = (uintptr_t)src,
		.dst = (uintptr_t)dst,
		.blocks = blocks,
		.flags = flags,
	};
	int error = ioctl(device, ACCEL_SORT_IOC_SORT, &request) ? errno : 0;

	if (sorted)
		*sorted = request.sorted;
	return error;
}

static int ascending(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int descending(const void *a, const void *b)
{
	return ascending(b, a);
}

/*
 * Keys of one block. Every fourth block has few distinct keys, every eighth is sorted
 * already, and all have the smallest and the largest key there are.
 */
static void fill(struct random *random, uint32_t *keys, uint32_t block)
{
	for (unsigned int i = 0; i < ACCEL_SORT_KEYS; i++) {
		keys[i] = (uint32_t)random64(random);
		if (block % 4 == 3)
			keys[i] %= 7;
	}
	keys[random64(random) % ACCEL_SORT_KEYS] = 0;
	keys[random64(random) % ACCEL_SORT_KEYS] = UINT32_MAX;
	if (block % 8 == 7)
		qsort(keys, ACCEL_SORT_KEYS, sizeof(*keys), ascending);
}

struct work {
	uint32_t blocks;
	uint32_t flags;
	uint64_t seed;
	/* Bytes by which the buffers miss the alignment of the device. */
	size_t skew;
	bool in_place;
	/* Results. */
	int error;
	uint32_t wrong;
	uint64_t ms;
};

static void *do_work(void *argument)
{
	struct work *work = argument;
	size_t bytes = (size_t)work->blocks * ACCEL_SORT_BLOCK_BYTES;
	uint8_t *memory = malloc(2 * bytes + work->skew);
	uint32_t *expected = malloc(bytes);
	struct random random = { work->seed };
	uint32_t *src, *dst, sorted = 0;
	uint64_t begin;
	int device = open_device();

	if (!memory || !expected)
		die("no memory for %u blocks", work->blocks);
	src = (uint32_t *)(memory + work->skew);
	dst = work->in_place ? src : (uint32_t *)(memory + work->skew + bytes);
	memset(memory, 0xa5, 2 * bytes + work->skew);
	for (uint32_t i = 0; i < work->blocks; i++)
		fill(&random, expected + (size_t)i * ACCEL_SORT_KEYS, i);
	memcpy(src, expected, bytes);

	begin = now_ms();
	work->error = sort(device, src, dst, work->blocks, work->flags, &sorted);
	work->ms = now_ms() - begin;
	close(device);

	for (uint32_t i = 0; i < work->blocks; i++) {
		uint32_t *keys = expected + (size_t)i * ACCEL_SORT_KEYS;

		qsort(keys, ACCEL_SORT_KEYS, sizeof(*keys),
		      work->flags & ACCEL_SORT_DESCENDING ? descending : ascending);
		/* What was delivered has to be right, even if not all was. */
		if ((i < sorted || !work->error) &&
		    memcmp((uint8_t *)dst + (size_t)i * ACCEL_SORT_BLOCK_BYTES, keys,
			   ACCEL_SORT_BLOCK_BYTES))
			work->wrong++;
	}
	if (!work->error && sorted != work->blocks)
		work->error = EPROTO;
	free(expected);
	free(memory);
	return NULL;
}

static void start(pthread_t *thread, struct work *work)
{
	int error = pthread_create(thread, NULL, do_work, work);

	if (error)
		die("no thread: %s", strerror(error));
}

static void main_job(uint32_t blocks, uint64_t seed)
{
	int device = open_device();
	struct accel_sort_info before = get_info(device), after;
	struct work work[2] = {
		{ .blocks = blocks - blocks / 2, .seed = seed, .skew = 4 },
		{ .blocks = blocks / 2, .seed = ~seed, .flags = ACCEL_SORT_DESCENDING,
		  .in_place = true },
	};
	pthread_t threads[2];
	uint64_t begin = now_ms(), ms, read_bytes, write_bytes;
	char expected[32], got[32];

	for (unsigned int i = 0; i < 2; i++)
		if (work[i].blocks)
			start(&threads[i], &work[i]);
	for (unsigned int i = 0; i < 2; i++)
		if (work[i].blocks)
			pthread_join(threads[i], NULL);
	ms = now_ms() - begin;
	after = get_info(device);
	close(device);

	read_bytes = after.dma_read_bytes - before.dma_read_bytes;
	write_bytes = after.dma_write_bytes - before.dma_write_bytes;
	report("blocks", "%u", blocks);
	report("blocks_smallest_first", "%u", work[0].blocks);
	report("blocks_largest_first", "%u", work[1].blocks);
	report("blocks_wrong", "%u", work[0].wrong + work[1].wrong);
	report("blocks_counted_by_device", "%u", after.blocks - before.blocks);
	report("dma_bytes_read", "%llu", (unsigned long long)read_bytes);
	report("dma_bytes_written", "%llu", (unsigned long long)write_bytes);
	report("interrupts_requested", "%u", after.msix - before.msix);
	report("interrupts_taken", "%llu",
	       (unsigned long long)(after.done_interrupts - before.done_interrupts));
	report("interrupts_of_errors", "%llu",
	       (unsigned long long)(after.error_interrupts - before.error_interrupts));
	report("device_clocks", "%llu", (unsigned long long)(after.cycles - before.cycles));
	report("guest_ms", "%llu", (unsigned long long)ms);

	for (unsigned int i = 0; i < 2; i++) {
		if (work[i].error)
			fail("sort", "success", strerror(work[i].error));
		if (work[i].wrong)
			fail("sort", "every block right", "wrong blocks");
	}
	snprintf(expected, sizeof(expected), "%u", blocks);
	snprintf(got, sizeof(got), "%u", after.blocks - before.blocks);
	if (strcmp(expected, got))
		fail("blocks that the device counted", expected, got);
	snprintf(got, sizeof(got), "%u", after.msix - before.msix);
	if (strcmp(expected, got))
		fail("interrupts that the device asked for", expected, got);
	/* Two messages that come before the first is taken are one interrupt. */
	if (after.done_interrupts == before.done_interrupts ||
	    after.done_interrupts - before.done_interrupts > blocks)
		fail("interrupts taken", "1 to one for each block", "another number");
	snprintf(expected, sizeof(expected), "%llu", (unsigned long long)blocks * READ_BYTES);
	snprintf(got, sizeof(got), "%llu", (unsigned long long)read_bytes);
	if (strcmp(expected, got))
		fail("bytes that the device read", expected, got);
	snprintf(expected, sizeof(expected), "%llu", (unsigned long long)blocks * WRITE_BYTES);
	snprintf(got, sizeof(got), "%llu", (unsigned long long)write_bytes);
	if (strcmp(expected, got))
		fail("bytes that the device wrote", expected, got);
}

/* ---- trouble ---- */

static void set_parameter(const char *name, const char *value)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	file = fopen(path, "w");
	if (!file || fputs(value, file) < 0 || fclose(file))
		die("%s cannot be written: %s", path, strerror(errno));
}

static void write_driver(const char *name)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/accel_sort/%s", name);
	file = fopen(path, "w");
	if (!file || fputs(address, file) < 0 || fclose(file))
		die("%s cannot be written: %s", path, strerror(errno));
}

static void expect(const char *what, int expected, int got)
{
	if (expected != got)
		fail(what, expected ? strerror(expected) : "success",
		     got ? strerror(got) : "success");
}

/* The device works. */
static void expect_sorting(const char *what)
{
	struct work work = { .blocks = 4, .seed = 99 };

	do_work(&work);
	expect(what, 0, work.error);
	if (work.wrong)
		fail(what, "every block right", "wrong blocks");
}

static void on_alarm(int signal)
{
	(void)signal;
}

static void bad_arguments(void)
{
	static uint32_t keys[ACCEL_SORT_KEYS];
	struct accel_sort_request request = {
		.src = (uintptr_t)keys, .dst = (uintptr_t)keys, .blocks = 1, .reserved = 1,
	};
	int device = open_device();
	uint32_t sorted;

	expect("no blocks", EINVAL, sort(device, keys, keys, 0, 0, NULL));
	expect("unknown flags", EINVAL, sort(device, keys, keys, 1, 2, NULL));
	expect("reserved field", EINVAL,
	       ioctl(device, ACCEL_SORT_IOC_SORT, &request) ? errno : 0);
	expect("no source", EFAULT, sort(device, NULL, keys, 1, 0, NULL));
	expect("no destination", EFAULT, sort(device, keys, NULL, 1, 0, &sorted));
	expect("unknown request", ENOTTY, ioctl(device, _IO('a', 0xff)) ? errno : 0);
	close(device);
	expect_sorting("after bad arguments");
}

/* A request that is large enough for something to happen to it. */
#define MANY 2000

static void expect_error(const char *what, struct work *work, pthread_t thread, int error)
{
	pthread_join(thread, NULL);
	expect(what, error, work->error);
	if (work->wrong)
		fail(what, "every delivered block right", "wrong blocks");
}

/* Returns when the device has begun with what was asked of it since `before`. */
static void wait_for_blocks(int device, uint64_t before)
{
	const uint64_t end = now_ms() + 60 * 1000;

	while (get_info(device).blocks_done < before + 8) {
		if (now_ms() > end)
			die("8 blocks are not sorted within 60 s");
		usleep(10 * 1000);
	}
}

static void start_many(pthread_t *thread, struct work *work)
{
	int device = open_device();
	uint64_t before = get_info(device).blocks_done;

	*work = (struct work){ .blocks = MANY, .seed = 5 };
	start(thread, work);
	wait_for_blocks(device, before);
	close(device);
}

struct alarm_clock {
	pthread_t sleeper;
	uint64_t before;
};

static void *ring(void *argument)
{
	struct alarm_clock *clock = argument;
	int device = open_device();

	wait_for_blocks(device, clock->before);
	close(device);
	pthread_kill(clock->sleeper, SIGALRM);
	return NULL;
}

static void trouble(void)
{
	struct alarm_clock clock = { .sleeper = pthread_self() };
	struct work work;
	struct sigaction action = { .sa_handler = on_alarm };
	static uint32_t keys[ACCEL_SORT_KEYS];
	pthread_t thread;
	uint32_t *many, sorted;
	int device, error;

	/* Nothing here waits for long. */
	set_parameter("warn_ms", "200");
	bad_arguments();
	report("trouble", "bad arguments");

	/* A function level reset in the middle. */
	start_many(&thread, &work);
	error = write_attribute(address, "reset", "1");
	expect("reset through sysfs", 0, error);
	expect_error("sorting while the device is reset", &work, thread, ECANCELED);
	expect_sorting("after a reset");
	report("trouble", "function level reset");

	/* No DMA: not even the interrupt comes through. */
	start_many(&thread, &work);
	set_bus_master(address, false);
	expect_error("sorting without bus mastering", &work, thread, EIO);
	expect_sorting("after bus mastering was off");
	report("trouble", "bus mastering off");

	/* A signal. */
	many = calloc(MANY, ACCEL_SORT_BLOCK_BYTES);
	device = open_device();
	clock.before = get_info(device).blocks_done;
	if (!many || sigaction(SIGALRM, &action, NULL) ||
	    pthread_create(&thread, NULL, ring, &clock))
		die("no alarm: %s", strerror(errno));
	error = sort(device, many, many, MANY, 0, &sorted);
	pthread_join(thread, NULL);
	expect("sorting with a signal", EINTR, error);
	if (sorted >= MANY)
		fail("sorting with a signal", "some blocks", "all");
	free(many);
	expect_sorting("after a signal");
	report("trouble", "signal");

	/* The driver goes away under an open file. */
	start_many(&thread, &work);
	write_driver("unbind");
	expect_error("sorting while the driver is unbound", &work, thread, ENODEV);
	expect("sorting after the driver is unbound", ENODEV, sort(device, keys, keys, 1, 0, NULL));
	close(device);
	write_driver("bind");
	expect_sorting("after the driver was bound again");
	report("trouble", "unbind");

	set_parameter("warn_ms", "5000");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "blocks", required_argument, NULL, 'b' },
		{ "seed", required_argument, NULL, 's' },
		{ "trouble", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	uint64_t blocks = 64, seed = 1;
	bool with_trouble = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'b':
			blocks = number("--blocks", optarg, 1, 1000000);
			break;
		case 's':
			seed = number("--seed", optarg, 0, UINT64_MAX);
			break;
		case 't':
			with_trouble = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	find_function(VENDOR, DEVICE, address);
	report_function(address);
	report("seed", "%llu", (unsigned long long)seed);
	main_job((uint32_t)blocks, seed);
	if (with_trouble)
		trouble();
	report("result", "%s", failures ? "FAIL" : "PASS");
	return failures ? 1 : 0;
}
