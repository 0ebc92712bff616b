// SPDX-License-Identifier: MIT OR Apache-2.0
#include "check.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "accel.h"

/* Failures of the test that runs, and tests that failed. */
static atomic_uint failures;
static unsigned int failed_tests;

void fail(const char *format, ...)
{
	va_list arguments;
	char text[256];

	if (atomic_fetch_add(&failures, 1) >= 5)
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	report("error", "%s", text);
}

void expect(const char *what, uint64_t expected, uint64_t got)
{
	if (expected != got)
		fail("%s: expected %#llx, got %#llx", what, (unsigned long long)expected,
		     (unsigned long long)got);
}

void finish_test(const char *name)
{
	unsigned int count = atomic_exchange(&failures, 0);

	failed_tests += count != 0;
	if (count)
		report(name, "FAIL (%u failures)", count);
	else
		report(name, "pass");
}

int finish_tests(void)
{
	report("result", "%s", failed_tests ? "FAIL" : "PASS");
	return failed_tests ? 1 : 0;
}
