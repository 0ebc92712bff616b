// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Starts another kernel from this one, now or when this one panics.
 */
#include "accel.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char usage[] =
	"usage: accel-kexec [--panic] KERNEL INITRAMFS COMMAND-LINE\n"
	"\n"
	"Loads a kernel and starts it, as kexec(8) does; what the driver of a device has to do\n"
	"before that is asked of it.\n"
	"\n"
	"  --panic   only loads it, into the memory that crashkernel= has kept free: it starts\n"
	"            when this kernel panics, and then no driver is asked anything\n"
	"  --help    this text\n"
	"\n"
	"Status: 0 the kernel is loaded, 2 it could not be\n";

static int open_file(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0)
		die("%s cannot be opened: %s", path, strerror(errno));
	return file;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "panic", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	unsigned long flags = 0;
	const char *words;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p':
			flags = KEXEC_FILE_ON_CRASH;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (argc - optind != 3) {
		fputs(usage, stderr);
		return 2;
	}
	words = argv[optind + 2];
	if (syscall(SYS_kexec_file_load, open_file(argv[optind]), open_file(argv[optind + 1]),
		    strlen(words) + 1, words, flags))
		die("the kernel cannot be loaded: %s", strerror(errno));
	report("loaded", "%s", argv[optind]);
	if (flags)
		return 0;
	sync();
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	die("the kernel cannot be started: %s", strerror(errno));
}
