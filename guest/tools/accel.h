/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the programs in the guest share: lines for the host, errors, random data,
 * PCI functions in sysfs, and accesses to a mapped BAR.
 */
#ifndef ACCEL_H
#define ACCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prints "ACCEL key=value" for the host's script. */
void report(const char *key, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Says why, reports it to the host as "error", and ends with status 2. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The value of an option, from a range. */
uint64_t number(const char *what, const char *text, uint64_t low, uint64_t high);

/* Milliseconds of a clock that only goes forward. */
uint64_t now_ms(void);

/* Random numbers that are the same for the same seed (splitmix64). */
struct random {
	uint64_t state;
};
uint64_t random64(struct random *random);

/*
 * Finds the only PCI function with these ids and writes its address in sysfs,
 * as 0000:01:00.0, to `address`. Dies if there is none or more than one.
 */
#define PCI_ADDRESS_BYTES 32
void find_function(unsigned int vendor, unsigned int device, char address[PCI_ADDRESS_BYTES]);

/* An attribute of a function, without the newline. Returns false if it cannot be read. */
bool read_attribute(const char *address, const char *name, char *value, size_t bytes);
/* Returns 0 or an errno. */
int write_attribute(const char *address, const char *name, const char *value);

/* Reports ids, BARs, link and vectors of a function. */
void report_function(const char *address);

/* Bus Master Enable in the function's command register. */
void set_bus_master(const char *address, bool on);
/* Memory Space Enable there: whether its BARs are mapped. */
void set_memory_decoding(const char *address, bool on);

/* Maps a BAR through sysfs, uncached. `bytes` becomes its size. */
volatile void *map_bar(const char *address, unsigned int bar, size_t *bytes);

/*
 * One access of 1, 2, 4 or 8 bytes at any alignment, as one instruction: what the
 * device sees is what the compiler cannot change. AArch64 has no such instruction for
 * what is not aligned, and takes several. Ordered against ordinary memory as the
 * kernel's readl() and writel() are.
 */
uint64_t bar_read(const volatile void *bar, size_t offset, unsigned int bytes);
void bar_write(volatile void *bar, size_t offset, unsigned int bytes, uint64_t value);

/*
 * A driver that loses its device takes the mapped registers away, and who touches them gets
 * SIGBUS: has the program say so as die() does.
 */
void expect_loss_of_registers(void);

/* Keeps the calling thread on one CPU. */
void pin_to_cpu(unsigned int cpu);

#endif /* ACCEL_H */
