/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Plays a simulator that brings a libzmq of its own and loads the DPI library beside it.
 *
 *   two_zmq LIBZMQ LIBRARY global|local ENDPOINT
 *
 * Loads LIBZMQ for everybody to see, sends a message through it, loads LIBRARY either way, opens
 * a bridge at ENDPOINT, connects to it with the first libzmq as QEMU does with another, asks for
 * a session and waits for the configuration. Then both are used once more, and closed. Status 0,
 * and a line that says so, if all of that works; each wait ends by itself.
 */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PAIR = 0, DEALER = 5, DONTWAIT = 1, LINGER = 17 };

/* The INIT frame of protocol/golden/v1.json. */
static const char init_hex[] =
    "4150434901010100efcdab8967452301000000003100000000000000000000004000000000000100190000000000"
    "000051454d552031302e312e332c20646576696365206361726430";

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "two_zmq: %s: %s\n", what, detail ? detail : "failed");
    exit(1);
}

/* A function of a library, through the only cast that ISO C leaves. */
static void find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);

    if (found == NULL)
        fail(name, dlerror());
    memcpy(function, &found, sizeof found);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void *(*ctx_new)(void);
static int (*ctx_term)(void *);
static void *(*new_socket)(void *, int);
static int (*close_socket)(void *);
static int (*bind_socket)(void *, const char *);
static int (*connect_socket)(void *, const char *);
static int (*set_option)(void *, int, const void *, size_t);
static int (*send_bytes)(void *, const void *, size_t, int);
static int (*receive)(void *, void *, size_t, int);
static void (*zmq_version)(int *, int *, int *);

/* A message from one socket of the first libzmq to another. */
static void exchange(void *context, const char *text)
{
    char buffer[64] = "", address[64];
    void *a = new_socket(context, PAIR);
    void *b = new_socket(context, PAIR);
    const double end = now() + 30;
    int n = -1;

    /* One of its own for each: a closed socket gives its address back later. */
    snprintf(address, sizeof address, "inproc://%s", text);
    if (a == NULL || b == NULL || bind_socket(a, address) != 0 || connect_socket(b, address) != 0)
        fail("the first libzmq", "no pair of sockets");
    if (send_bytes(a, text, strlen(text), 0) != (int)strlen(text))
        fail("the first libzmq", "nothing sent");
    while (n < 0 && now() < end)
        n = receive(b, buffer, sizeof buffer - 1, DONTWAIT);
    if (n != (int)strlen(text) || strncmp(buffer, text, (size_t)n) != 0)
        fail("the first libzmq", "another message came");
    close_socket(a);
    close_socket(b);
}

int main(int argc, char **argv)
{
    void *(*acc_open)(const char *, const char *);
    int (*acc_close)(void *);
    int (*acc_set_id)(void *, int, int, int, int, int, int);
    int (*acc_set_bar)(void *, int, long long, int, long long);
    int (*acc_start)(void *);
    int (*acc_poll)(void *, int);
    const char *(*acc_last_error)(void *);
    unsigned char init[128], reply[4096];
    size_t bytes = 0;
    int major, minor, patch, n = -1, linger = 0;
    void *zmq, *library, *context, *host, *bridge;
    double end;

    if (argc != 5)
        fail("usage", "two_zmq LIBZMQ LIBRARY global|local ENDPOINT");
    zmq = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    if (zmq == NULL)
        fail(argv[1], dlerror());
    find(zmq, "zmq_ctx_new", &ctx_new);
    find(zmq, "zmq_ctx_term", &ctx_term);
    find(zmq, "zmq_socket", &new_socket);
    find(zmq, "zmq_close", &close_socket);
    find(zmq, "zmq_bind", &bind_socket);
    find(zmq, "zmq_connect", &connect_socket);
    find(zmq, "zmq_setsockopt", &set_option);
    find(zmq, "zmq_send", &send_bytes);
    find(zmq, "zmq_recv", &receive);
    find(zmq, "zmq_version", &zmq_version);
    zmq_version(&major, &minor, &patch);
    context = ctx_new();
    exchange(context, "before");

    library = dlopen(argv[2], RTLD_NOW | (strcmp(argv[3], "global") == 0 ? RTLD_GLOBAL
                                                                         : RTLD_LOCAL));
    if (library == NULL)
        fail(argv[2], dlerror());
    if (dlsym(library, "zmq_ctx_new") != NULL)
        fail(argv[2], "shows a libzmq");
    find(library, "acc_open", &acc_open);
    find(library, "acc_close", &acc_close);
    find(library, "acc_set_id", &acc_set_id);
    find(library, "acc_set_bar", &acc_set_bar);
    find(library, "acc_start", &acc_start);
    find(library, "acc_poll", &acc_poll);
    find(library, "acc_last_error", &acc_last_error);

    bridge = acc_open(argv[4], "two_zmq");
    if (bridge == NULL)
        fail("acc_open", acc_last_error(NULL));
    if (acc_set_id(bridge, 0x10ee, 0x7011, 0x10ee, 7, 0x120000, 0) != 0 ||
        acc_set_bar(bridge, 0, 4096, 0, 0) != 0 || acc_start(bridge) != 0)
        fail("acc_start", acc_last_error(bridge));

    for (; init_hex[2 * bytes] != '\0'; bytes++) {
        unsigned value;

        if (sscanf(init_hex + 2 * bytes, "%2x", &value) != 1)
            fail("INIT", "not hexadecimal");
        init[bytes] = (unsigned char)value;
    }
    host = new_socket(context, DEALER);
    if (host == NULL || set_option(host, LINGER, &linger, sizeof linger) != 0 ||
        connect_socket(host, argv[4]) != 0 ||
        send_bytes(host, init, bytes, 0) != (int)bytes)
        fail("the first libzmq", "no connection to the bridge");
    for (end = now() + 30; n < 0 && now() < end;) {
        acc_poll(bridge, 15);
        n = receive(host, reply, sizeof reply, DONTWAIT);
    }
    /* Signature, major version, CONFIG; whatever the minor version is. */
    if (n < 24 || memcmp(reply, "APCI\1", 5) != 0 || memcmp(reply + 6, "\2\0", 2) != 0)
        fail("the bridge", n < 0 ? "no answer within 30 s" : "another answer than CONFIG");

    exchange(context, "after");
    close_socket(host);
    if (acc_close(bridge) != 0)
        fail("acc_close", acc_last_error(NULL));
    exchange(context, "end");
    ctx_term(context);
    printf("two_zmq: libzmq %d.%d.%d and %s (%s) work in one process\n", major, minor, patch,
           argv[2], argv[3]);
    return 0;
}
