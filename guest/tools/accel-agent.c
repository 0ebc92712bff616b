// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Runs programs in the guest for the host, over a virtio-serial port. It is the first process of
 * a guest that is booted with accel.run=agent; python/ has the other end.
 *
 * Both sides send frames, little endian:
 *
 *   0   u32  magic, "ACA1"
 *   4   u32  type
 *   8   u32  number of the program, given by the host
 *   12  u32  bytes of payload, at most FRAME_BYTES
 *   16  u32  CRC-32 of the 16 bytes before and the payload
 *   20       payload
 *
 *   type           from   payload
 *   1 HELLO        both   the host's is empty and its first frame; the answer is our version, u32,
 *                         and the kernel's release
 *   2 START        host   a line for /bin/sh
 *   3 INPUT        host   bytes for its standard input, none for the end of it
 *   4 SIGNAL       host   u32, a signal for its process group
 *   5 TAKEN        guest  none: the program has taken an INPUT, or never will
 *   6 STARTED      guest  u32, its process
 *   7 OUTPUT       guest  bytes of its standard output
 *   8 ERRORS       guest  bytes of its standard error
 *   9 ENDED        guest  u32, its status as waitpid() has it; the last frame of a program
 *   10 REFUSED     guest  text: why it cannot be started; the last frame of a program
 *
 * A program has ended when its shell has. What is in its pipes by then still goes out; what
 * others that have inherited them write later does not.
 *
 * The host sends no INPUT for a program before the last one was TAKEN, so that one that does not
 * read holds up no other. A frame that is none ends the agent, and with it the guest: nothing that
 * follows could be trusted.
 */
#include "accel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAGIC		0x31414341u
#define VERSION		1
#define HEADER_BYTES	20
#define FRAME_BYTES	16384
#define PROGRAMS	8
/* How often a port that nobody has opened at the host is looked at. */
#define CLOSED_MS	50

enum type {
	HELLO = 1, START, INPUT, SIGNAL, TAKEN, STARTED, OUTPUT, ERRORS, ENDED, REFUSED
};

struct program {
	bool used;
	uint32_t id;
	pid_t pid;
	/* Its standard input, output and error, or -1. */
	int in, out, err;
	/* An INPUT that it has not read. */
	size_t pending, taken;
	uint8_t input[FRAME_BYTES];
};

static struct program programs[PROGRAMS];
static int port;

static uint32_t crc32(uint32_t crc, const uint8_t *data, size_t bytes)
{
	crc = ~crc;
	while (bytes--) {
		crc ^= *data++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

static void put32(uint8_t *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = value >> 8 * i;
}

static uint32_t get32(const uint8_t *from)
{
	return from[0] | from[1] << 8 | from[2] << 16 | (uint32_t)from[3] << 24;
}

static void write_all(const uint8_t *data, size_t bytes)
{
	while (bytes) {
		ssize_t done = write(port, data, bytes);

		if (done < 0 && errno != EINTR)
			die("the port takes nothing: %s", strerror(errno));
		if (done > 0) {
			data += done;
			bytes -= done;
		}
	}
}

static void send_frame(enum type type, uint32_t id, const void *payload, size_t bytes)
{
	static uint8_t frame[HEADER_BYTES + FRAME_BYTES];
	uint32_t crc;

	put32(frame, MAGIC);
	put32(frame + 4, type);
	put32(frame + 8, id);
	put32(frame + 12, bytes);
	if (bytes)
		memcpy(frame + HEADER_BYTES, payload, bytes);
	crc = crc32(0, frame, 16);
	put32(frame + 16, crc32(crc, frame + HEADER_BYTES, bytes));
	write_all(frame, HEADER_BYTES + bytes);
}

static void send_number(enum type type, uint32_t id, uint32_t value)
{
	uint8_t payload[4];

	put32(payload, value);
	send_frame(type, id, payload, sizeof(payload));
}

static void send_hello(void)
{
	struct utsname name;
	uint8_t payload[4 + sizeof(name.release)];
	size_t length;

	uname(&name);
	length = strlen(name.release);
	put32(payload, VERSION);
	memcpy(payload + 4, name.release, length);
	send_frame(HELLO, 0, payload, 4 + length);
}

static struct program *find_program(uint32_t id)
{
	for (int i = 0; i < PROGRAMS; i++) {
		if (programs[i].used && programs[i].id == id)
			return &programs[i];
	}
	return NULL;
}

static void close_end(int *end)
{
	if (*end >= 0)
		close(*end);
	*end = -1;
}

/* ---- programs ---- */

static _Noreturn void become(const char *line, const int pipes[3][2])
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid();
	dup2(pipes[0][0], STDIN_FILENO);
	dup2(pipes[1][1], STDOUT_FILENO);
	dup2(pipes[2][1], STDERR_FILENO);
	execl("/bin/sh", "sh", "-c", line, (char *)NULL);
	fprintf(stderr, "/bin/sh cannot be run: %s\n", strerror(errno));
	_exit(127);
}

static void refuse(uint32_t id, const char *why)
{
	send_frame(REFUSED, id, why, strlen(why));
}

static void start(uint32_t id, const char *line)
{
	struct program *program = NULL;
	int pipes[3][2];

	for (int i = 0; i < PROGRAMS && !program; i++) {
		if (!programs[i].used)
			program = &programs[i];
	}
	if (!program) {
		refuse(id, "too many programs run already");
		return;
	}
	for (int i = 0; i < 3; i++) {
		if (pipe2(pipes[i], O_CLOEXEC)) {
			refuse(id, strerror(errno));
			while (i--) {
				close(pipes[i][0]);
				close(pipes[i][1]);
			}
			return;
		}
	}
	*program = (struct program){
		.used = true, .id = id, .in = pipes[0][1], .out = pipes[1][0], .err = pipes[2][0],
	};
	program->pid = fork();
	if (!program->pid)
		become(line, (const int (*)[2])pipes);
	close(pipes[0][0]);
	close(pipes[1][1]);
	close(pipes[2][1]);
	if (program->pid < 0) {
		refuse(id, strerror(errno));
		close_end(&program->in);
		close_end(&program->out);
		close_end(&program->err);
		program->used = false;
		return;
	}
	fcntl(program->in, F_SETFL, O_NONBLOCK);
	send_number(STARTED, id, program->pid);
}

/* Gives a program what it takes of its input. */
static void feed(struct program *program)
{
	ssize_t done = write(program->in, program->input + program->taken,
			     program->pending - program->taken);

	if (done < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (done < 0)
		/* It reads no more. */
		done = program->pending - program->taken;
	program->taken += done;
	if (program->taken == program->pending) {
		program->pending = 0;
		send_frame(TAKEN, program->id, NULL, 0);
	}
}

static void input(uint32_t id, const uint8_t *data, size_t bytes)
{
	struct program *program = find_program(id);

	if (program && program->pending)
		die("input for program %u before it had taken the last", id);
	if (program && !bytes)
		close_end(&program->in);
	if (!program || program->in < 0) {
		send_frame(TAKEN, id, NULL, 0);
		return;
	}
	memcpy(program->input, data, bytes);
	program->pending = bytes;
	program->taken = 0;
	feed(program);
}

/* Passes on what a program has written, at most so many bytes. */
static void forward(const struct program *program, enum type type, int *from, size_t most)
{
	static uint8_t data[FRAME_BYTES];
	ssize_t bytes = read(*from, data, most < sizeof(data) ? most : sizeof(data));

	if (bytes > 0)
		send_frame(type, program->id, data, bytes);
	else if (!bytes || errno != EINTR)
		close_end(from);
}

/* What was written before it ended. Others may write to the pipe for ever. */
static void drain(const struct program *program, enum type type, int *from)
{
	int left;

	while (*from >= 0 && !ioctl(*from, FIONREAD, &left) && left > 0)
		forward(program, type, from, left);
	close_end(from);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < PROGRAMS; i++) {
			struct program *program = &programs[i];

			if (!program->used || program->pid != pid)
				continue;
			close_end(&program->in);
			if (program->pending)
				send_frame(TAKEN, program->id, NULL, 0);
			drain(program, OUTPUT, &program->out);
			drain(program, ERRORS, &program->err);
			send_number(ENDED, program->id, status);
			program->used = false;
		}
	}
}

/* ---- the port ---- */

static void take_frame(enum type type, uint32_t id, uint8_t *payload, size_t bytes)
{
	const struct program *program;

	switch (type) {
	case HELLO:
		send_hello();
		break;
	case START:
		/* There is room for it behind each payload. */
		payload[bytes] = '\0';
		start(id, (const char *)payload);
		break;
	case INPUT:
		input(id, payload, bytes);
		break;
	case SIGNAL:
		program = find_program(id);
		if (program && bytes == 4)
			kill(-program->pid, get32(payload));
		break;
	default:
		die("the host sent a frame of type %u", type);
	}
}

/* Returns false if the host has not opened its end. */
static bool receive(void)
{
	static uint8_t buffer[HEADER_BYTES + FRAME_BYTES + 1];
	static size_t have;
	ssize_t bytes = read(port, buffer + have, sizeof(buffer) - 1 - have);

	if (bytes < 0 && errno != EINTR)
		die("the port cannot be read: %s", strerror(errno));
	have += bytes > 0 ? bytes : 0;
	while (have >= HEADER_BYTES) {
		size_t length = get32(buffer + 12), whole = HEADER_BYTES + length;
		uint32_t crc, type = get32(buffer + 4), id = get32(buffer + 8);
		uint8_t next;

		if (get32(buffer) != MAGIC || length > FRAME_BYTES)
			die("the host sent no frame: %#x, length %zu", get32(buffer), length);
		if (have < whole)
			break;
		crc = crc32(crc32(0, buffer, 16), buffer + HEADER_BYTES, length);
		if (crc != get32(buffer + 16))
			die("a frame of type %u was damaged: CRC %#x, expected %#x", type, crc,
			    get32(buffer + 16));
		next = buffer[whole];
		take_frame(type, id, buffer + HEADER_BYTES, length);
		buffer[whole] = next;
		have -= whole;
		memmove(buffer, buffer + whole, have);
	}
	return bytes != 0;
}

int main(int argc, char **argv)
{
	struct pollfd polls[2 + 3 * PROGRAMS];
	bool is_open = true;
	struct signalfd_siginfo signal_info;
	sigset_t child;
	int signals;

	if (argc != 2)
		die("usage: accel-agent PORT");
	port = open(argv[1], O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (port < 0)
		die("%s cannot be opened: %s", argv[1], strerror(errno));
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signals = signalfd(-1, &child, SFD_CLOEXEC);
	if (signals < 0)
		die("signalfd: %s", strerror(errno));
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		/* One that is closed is always ready. */
		polls[0] = (struct pollfd){ .fd = is_open ? port : -1, .events = POLLIN };
		polls[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
		for (int i = 0; i < PROGRAMS; i++) {
			struct program *program = &programs[i];
			struct pollfd *own = polls + 2 + 3 * i;

			own[0] = own[1] = own[2] = (struct pollfd){ .fd = -1 };
			if (!program->used)
				continue;
			if (program->pending)
				own[0] = (struct pollfd){ .fd = program->in, .events = POLLOUT };
			own[1] = (struct pollfd){ .fd = program->out, .events = POLLIN };
			own[2] = (struct pollfd){ .fd = program->err, .events = POLLIN };
		}
		if (poll(polls, 2 + 3 * PROGRAMS, is_open ? -1 : CLOSED_MS) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		for (int i = 0; i < PROGRAMS; i++) {
			struct program *program = &programs[i];
			const struct pollfd *own = polls + 2 + 3 * i;

			if (own[0].revents)
				feed(program);
			if (own[1].revents)
				forward(program, OUTPUT, &program->out, FRAME_BYTES);
			if (own[2].revents)
				forward(program, ERRORS, &program->err, FRAME_BYTES);
		}
		if (polls[1].revents && read(signals, &signal_info, sizeof(signal_info)) > 0)
			reap();
		if (polls[0].revents || !is_open)
			is_open = receive();
	}
}
