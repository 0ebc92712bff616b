/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * accept(2) as libzmq calls it: .cargo/config.toml renames the call.
 *
 * A process that has no descriptor left cannot take a connection. libzmq ends
 * the process then if it listens on a Unix socket, and on TCP tries again and
 * again with all of a CPU, since the connection still waits. Here a descriptor
 * is kept back with which such a connection is taken and closed at once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Kept back; -1 if there is none. */
static int spare = -1;

static void keep_back(void)
{
    int none = -1, fd;

    if (__atomic_load_n(&spare, __ATOMIC_RELAXED) >= 0)
        return;
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 &&
        !__atomic_compare_exchange_n(&spare, &none, fd, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        close(fd);
}

int acc_zmq_accept(int listener, struct sockaddr *address, socklen_t *length)
{
    const struct timespec pause = {0, 10 * 1000 * 1000};
    int fd;

    keep_back();
    fd = accept4(listener, address, length, SOCK_CLOEXEC);
    if (fd >= 0 || (errno != EMFILE && errno != ENFILE))
        return fd;
    fd = __atomic_exchange_n(&spare, -1, __ATOMIC_ACQ_REL);
    if (fd >= 0)
        close(fd);
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    else
        nanosleep(&pause, NULL);
    keep_back();
    /* The one that libzmq takes from every kind of listener. */
    errno = ENFILE;
    return -1;
}
