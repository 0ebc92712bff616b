/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef CHECK_H
#define CHECK_H

#include <stdint.h>

/*
 * Tests. A failure is reported as "error" (the first few of a test), the end of a test as
 * its name with "pass" or "FAIL", the end of all as "result", whose value is the status of
 * the program.
 */
void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void expect(const char *what, uint64_t expected, uint64_t got);
void finish_test(const char *name);
int finish_tests(void);

#endif /* CHECK_H */
