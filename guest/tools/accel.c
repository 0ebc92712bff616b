// SPDX-License-Identifier: MIT OR Apache-2.0
#include "accel.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define DEVICES "/sys/bus/pci/devices"

/* Programs have threads: stdio keeps a line together. */
static void print_line(const char *key, const char *format, va_list arguments)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, arguments);
	printf("ACCEL %s=%s\n", key, text);
	fflush(stdout);
}

void report(const char *key, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_line(key, format, arguments);
	va_end(arguments);
}

_Noreturn void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_line("error", format, arguments);
	va_end(arguments);
	exit(2);
}

/* Only what may be called from a handler: the thread may have been anywhere. */
static void registers_are_lost(int signal_number)
{
	static const char text[] = "ACCEL error=the driver has taken the registers away\n";

	(void)signal_number;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(2);
}

void expect_loss_of_registers(void)
{
	struct sigaction action = { .sa_handler = registers_are_lost };

	if (sigaction(SIGBUS, &action, NULL))
		die("SIGBUS cannot be handled: %s", strerror(errno));
}

uint64_t number(const char *what, const char *text, uint64_t low, uint64_t high)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end || text[0] == '-' || value < low || value > high)
		die("%s is %s, expected a number from %llu to %llu", what, text,
		    (unsigned long long)low, (unsigned long long)high);
	return value;
}

uint64_t now_ms(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		die("no clock: %s", strerror(errno));
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t random64(struct random *random)
{
	uint64_t z = random->state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static void attribute_path(char *path, size_t bytes, const char *address, const char *name)
{
	if ((size_t)snprintf(path, bytes, DEVICES "/%s/%s", address, name) >= bytes)
		die("the path of %s of %s is too long", name, address);
}

bool read_attribute(const char *address, const char *name, char *value, size_t bytes)
{
	char path[256];
	ssize_t got;
	int file;

	attribute_path(path, sizeof(path), address, name);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	got = read(file, value, bytes - 1);
	close(file);
	if (got < 0)
		return false;
	while (got > 0 && isspace((unsigned char)value[got - 1]))
		got--;
	value[got] = '\0';
	return true;
}

int write_attribute(const char *address, const char *name, const char *value)
{
	char path[256];
	int file, error = 0;

	attribute_path(path, sizeof(path), address, name);
	file = open(path, O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return errno;
	if (write(file, value, strlen(value)) < 0)
		error = errno;
	close(file);
	return error;
}

static unsigned int read_id(const char *address, const char *name)
{
	char value[32];

	if (!read_attribute(address, name, value, sizeof(value)))
		die("%s of %s cannot be read: %s", name, address, strerror(errno));
	return (unsigned int)strtoul(value, NULL, 16);
}

void find_function(unsigned int vendor, unsigned int device, char address[PCI_ADDRESS_BYTES])
{
	struct dirent *entry;
	DIR *devices = opendir(DEVICES);
	unsigned int found = 0;

	if (!devices)
		die(DEVICES " cannot be read: %s", strerror(errno));
	while ((entry = readdir(devices))) {
		if (entry->d_name[0] == '.' || read_id(entry->d_name, "vendor") != vendor ||
		    read_id(entry->d_name, "device") != device)
			continue;
		found++;
		snprintf(address, PCI_ADDRESS_BYTES, "%.*s", PCI_ADDRESS_BYTES - 1, entry->d_name);
	}
	closedir(devices);
	if (found != 1)
		die("there are %u PCI functions %04x:%04x, expected 1", found, vendor, device);
}

static unsigned int count_entries(const char *address, const char *name)
{
	struct dirent *entry;
	unsigned int count = 0;
	char path[256];
	DIR *folder;

	attribute_path(path, sizeof(path), address, name);
	folder = opendir(path);
	if (!folder)
		return 0;
	while ((entry = readdir(folder)))
		count += entry->d_name[0] != '.';
	closedir(folder);
	return count;
}

void report_function(const char *address)
{
	char resources[1024], speed[64], width[64], key[16], *line, *rest;
	unsigned long long first, last, flags;
	unsigned int bar = 0;

	report("function", "%s %04x:%04x subsystem %04x:%04x class %06x revision %02x", address,
	       read_id(address, "vendor"), read_id(address, "device"),
	       read_id(address, "subsystem_vendor"), read_id(address, "subsystem_device"),
	       read_id(address, "class"), read_id(address, "revision"));
	if (!read_attribute(address, "resource", resources, sizeof(resources)))
		die("the BARs of %s cannot be read: %s", address, strerror(errno));
	for (line = strtok_r(resources, "\n", &rest); line && bar < 6;
	     line = strtok_r(NULL, "\n", &rest), bar++) {
		/* Flags as in the kernel's include/linux/ioport.h. */
		if (sscanf(line, "%llx %llx %llx", &first, &last, &flags) != 3 || !last)
			continue;
		snprintf(key, sizeof(key), "bar%u", bar);
		report(key, "%llu bytes at %#llx, %s-bit, %sprefetchable", last - first + 1, first,
		       flags & 0x100000 ? "64" : "32", flags & 0x2000 ? "" : "non-");
	}
	if (read_attribute(address, "current_link_speed", speed, sizeof(speed)) &&
	    read_attribute(address, "current_link_width", width, sizeof(width)))
		report("link", "%s x%s", speed, width);
	report("vectors", "%u", count_entries(address, "msi_irqs"));
}

static void set_command(const char *address, uint16_t bits, bool on)
{
	const off_t command_register = 4;
	char path[256];
	uint16_t command;
	int file;

	attribute_path(path, sizeof(path), address, "config");
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0 || pread(file, &command, sizeof(command), command_register) !=
				sizeof(command))
		die("%s cannot be read: %s", path, strerror(errno));
	command = (uint16_t)(on ? command | bits : command & ~bits);
	if (pwrite(file, &command, sizeof(command), command_register) != sizeof(command))
		die("%s cannot be written: %s", path, strerror(errno));
	close(file);
}

void set_bus_master(const char *address, bool on)
{
	set_command(address, 4, on);
}

void set_memory_decoding(const char *address, bool on)
{
	set_command(address, 2, on);
}

volatile void *map_bar(const char *address, unsigned int bar, size_t *bytes)
{
	char path[256], name[16];
	struct stat about;
	void *mapped;
	int file, error;

	snprintf(name, sizeof(name), "resource%u", bar);
	attribute_path(path, sizeof(path), address, name);
	/* With a driver bound the function is enabled already, and this is refused. */
	error = write_attribute(address, "enable", "1");
	if (error && error != EBUSY)
		die("%s cannot be enabled: %s", address, strerror(error));
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0 || fstat(file, &about))
		die("%s cannot be opened: %s", path, strerror(errno));
	*bytes = (size_t)about.st_size;
	mapped = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (mapped == MAP_FAILED)
		die("%s cannot be mapped: %s", path, strerror(errno));
	return mapped;
}

#if defined(__x86_64__)

/* One instruction, at any alignment. */
uint64_t bar_read(const volatile void *bar, size_t offset, unsigned int bytes)
{
	const volatile uint8_t *at = (const volatile uint8_t *)bar + offset;
	uint64_t value = 0;

	switch (bytes) {
	case 1:
		__asm__ volatile("movzbl (%1), %k0" : "=r"(value) : "r"(at) : "memory");
		break;
	case 2:
		__asm__ volatile("movzwl (%1), %k0" : "=r"(value) : "r"(at) : "memory");
		break;
	case 4:
		__asm__ volatile("movl (%1), %k0" : "=r"(value) : "r"(at) : "memory");
		break;
	case 8:
		__asm__ volatile("movq (%1), %0" : "=r"(value) : "r"(at) : "memory");
		break;
	default:
		die("an access has %u bytes, expected 1, 2, 4 or 8", bytes);
	}
	return value;
}

void bar_write(volatile void *bar, size_t offset, unsigned int bytes, uint64_t value)
{
	volatile uint8_t *at = (volatile uint8_t *)bar + offset;

	switch (bytes) {
	case 1:
		__asm__ volatile("movb %b0, (%1)" : : "q"(value), "r"(at) : "memory");
		break;
	case 2:
		__asm__ volatile("movw %w0, (%1)" : : "r"(value), "r"(at) : "memory");
		break;
	case 4:
		__asm__ volatile("movl %k0, (%1)" : : "r"(value), "r"(at) : "memory");
		break;
	case 8:
		__asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(at) : "memory");
		break;
	default:
		die("an access has %u bytes, expected 1, 2, 4 or 8", bytes);
	}
}

#elif defined(__aarch64__)

/*
 * One instruction where the access is aligned. The CPU has no other to memory of devices, where
 * one that is not aligned is a fault: it is taken apart, as what makes such an access has to.
 * Ordinary memory is weakly ordered against it. The barriers are those of the kernel's readl()
 * and writel(): what was read of a register is known before memory is looked at, and what memory
 * holds is seen before a register is written.
 */
static uint64_t read_aligned(const volatile uint8_t *at, unsigned int bytes)
{
	uint64_t value = 0;

	switch (bytes) {
	case 1:
		__asm__ volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	case 2:
		__asm__ volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	case 4:
		__asm__ volatile("ldr %w0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	case 8:
		__asm__ volatile("ldr %0, [%1]" : "=r"(value) : "r"(at) : "memory");
		break;
	default:
		die("an access has %u bytes, expected 1, 2, 4 or 8", bytes);
	}
	return value;
}

static void write_aligned(volatile uint8_t *at, unsigned int bytes, uint64_t value)
{
	switch (bytes) {
	case 1:
		__asm__ volatile("strb %w0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	case 2:
		__asm__ volatile("strh %w0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	case 4:
		__asm__ volatile("str %w0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	case 8:
		__asm__ volatile("str %0, [%1]" : : "r"(value), "r"(at) : "memory");
		break;
	default:
		die("an access has %u bytes, expected 1, 2, 4 or 8", bytes);
	}
}

/* The most that is aligned at `at`, and no more than there is. */
static unsigned int aligned_bytes(const volatile uint8_t *at, unsigned int bytes)
{
	unsigned int most = 8;

	while (most > bytes || (uintptr_t)at % most)
		most /= 2;
	return most;
}

uint64_t bar_read(const volatile void *bar, size_t offset, unsigned int bytes)
{
	const volatile uint8_t *at = (const volatile uint8_t *)bar + offset;
	uint64_t value = 0;

	for (unsigned int done = 0, step; done < bytes; done += step) {
		step = aligned_bytes(at + done, bytes - done);
		value |= read_aligned(at + done, step) << (8 * done);
	}
	__asm__ volatile("dmb oshld" : : : "memory");
	return value;
}

void bar_write(volatile void *bar, size_t offset, unsigned int bytes, uint64_t value)
{
	volatile uint8_t *at = (volatile uint8_t *)bar + offset;

	__asm__ volatile("dmb oshst" : : : "memory");
	for (unsigned int done = 0, step; done < bytes; done += step) {
		step = aligned_bytes(at + done, bytes - done);
		write_aligned(at + done, step, value >> (8 * done));
	}
}

#else
#error "accesses of one instruction are written for x86-64 and AArch64 here"
#endif

void pin_to_cpu(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("no thread on CPU %u: %s", cpu, strerror(errno));
}
