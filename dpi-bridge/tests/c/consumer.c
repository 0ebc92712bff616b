/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Plays the simulator through the header, for the tests in tests/abi. Valid C99
 * and C++11.
 *
 *   consumer remote    reads calls from standard input, one a line, and writes
 *                      what they return and their outputs, one line each
 *   consumer device ENDPOINT SEED
 *                      is a small device, until the host ends the session
 *   consumer echo NIC UART SEED
 *                      is a NIC and a UART that send back what comes, until
 *                      the host ends the session of the NIC
 *   consumer quiet ENDPOINT IDLE|LINK|MESSAGE|NIC|UART
 *                      polls with all system calls forbidden
 *   consumer threads ENDPOINT
 *                      uses one bridge from several threads
 *   consumer leak      leaks, to show that leaks are found
 */
#include "accelerator_dpi.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define READY_ALL                                                              \
    (ACC_READY_WRITE | ACC_READY_READ | ACC_READY_DMA_READ |                   \
     ACC_READY_DMA_WRITE)

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "consumer.c:%d: %s\n", __LINE__, #condition);      \
            exit(3);                                                           \
        }                                                                      \
    } while (0)

/* What a call must not touch if it fails. */
#define POISON 0x5a5a5a5a

static void pause_ms(int ms)
{
    struct timespec t;
    t.tv_sec = ms / 1000;
    t.tv_nsec = (long)(ms % 1000) * 1000000L;
    nanosleep(&t, NULL);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int poll_until(void *h, int ready, int timeout_ms)
{
    const int64_t end = now_ms() + timeout_ms;
    for (;;) {
        const int event = acc_poll(h, ready);
        if (event != ACC_EVENT_NONE || now_ms() >= end) {
            return event;
        }
        /* About the pace of a simulation, without eating a whole core. */
        if ((rand() & 63) == 0) {
            pause_ms(1);
        }
    }
}

/* ---- remote ------------------------------------------------------------- */

enum { HANDLES = 80, WORDS = 16 };

static void *handles[HANDLES];
static char *words[WORDS];
static int count;

static void *handle(void)
{
    /* A number, or a raw value as 0x... */
    const char *w = count > 1 ? words[1] : "0";
    if (w[0] == '0' && w[1] == 'x') {
        return (void *)(uintptr_t)strtoull(w, NULL, 16);
    }
    return handles[atoi(w) % HANDLES];
}

static long long number(int i)
{
    CHECK(i < count);
    /* All 64 bits, whether written with a sign or not. */
    return words[i][0] == '-' ? strtoll(words[i], NULL, 0)
                              : (long long)strtoull(words[i], NULL, 0);
}

static int integer(int i)
{
    return (int)number(i);
}

static void put_bytes(const uint32_t *data)
{
    int i;
    putchar(' ');
    for (i = 0; i < 64; i++) {
        printf("%02x", (unsigned)(data[i / 4] >> (8 * (i % 4)) & 0xff));
    }
}

static void get_bytes(const char *hex, uint32_t *data, int bytes)
{
    int i;
    memset(data, 0, (size_t)bytes);
    CHECK(strlen(hex) == (size_t)bytes * 2);
    for (i = 0; i < bytes; i++) {
        unsigned byte = 0;
        CHECK(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        data[i / 4] |= (uint32_t)byte << (8 * (i % 4));
    }
}

static void remote_call(void)
{
    const char *name = words[0];
    void *h = handle();
    /* A pointer argument "null" makes the outputs null. */
    const int null = count > 2 && strcmp(words[2], "null") == 0;
#define IS(text) (strcmp(name, text) == 0)
    if (IS("abi_version")) {
        printf("%d", acc_abi_version());
    } else if (IS("open")) {
        const char *endpoint = strcmp(words[2], "-") == 0 ? "" : words[2];
        const int slot = integer(1) % HANDLES;
        handles[slot] = count > 3 ? acc_open(endpoint, words[3])
                                  : acc_open(NULL, NULL);
        printf("%d", handles[slot] != NULL);
    } else if (IS("close")) {
        printf("%d", acc_close(h));
    } else if (IS("last_error")) {
        printf("%s", acc_last_error(h));
    } else if (IS("set_id")) {
        printf("%d", acc_set_id(h, integer(2), integer(3), integer(4),
                                integer(5), integer(6), integer(7)));
    } else if (IS("set_bar")) {
        printf("%d", acc_set_bar(h, integer(2), number(3), integer(4),
                                 number(5)));
    } else if (IS("set_msix")) {
        printf("%d", acc_set_msix(h, integer(2), integer(3), integer(4),
                                  integer(5), integer(6)));
    } else if (IS("set_msix_in_rtl")) {
        printf("%d", acc_set_msix_in_rtl(h, integer(2)));
    } else if (IS("set_msi")) {
        printf("%d", acc_set_msi(h, integer(2), integer(3)));
    } else if (IS("add_capability")) {
        uint32_t body[16];
        if (null) {
            printf("%d", acc_add_capability(h, 9, 0, 1, NULL));
        } else {
            get_bytes(words[5], body, 64);
            printf("%d", acc_add_capability(h, integer(2), integer(3),
                                            integer(4), body));
        }
    } else if (IS("set_link")) {
        printf("%d", acc_set_link(h, integer(2), integer(3)));
    } else if (IS("set_intx")) {
        printf("%d", acc_set_intx(h, integer(2)));
    } else if (IS("set_clock")) {
        printf("%d", acc_set_clock(h, integer(2)));
    } else if (IS("set_faults")) {
        printf("%d", acc_set_faults(h, words[2]));
    } else if (IS("set_shared_memory")) {
        printf("%d", acc_set_shared_memory(h, integer(2)));
    } else if (IS("record")) {
        /* The handle is not looked at. */
        printf("%d", acc_record(words[2], number(3), integer(4)));
    } else if (IS("start")) {
        printf("%d", acc_start(h));
    } else if (IS("poll")) {
        printf("%d", acc_poll(h, integer(2)));
    } else if (IS("polls")) {
        /* Many polls; how many of them had an event. */
        int i, events = 0;
        for (i = 0; i < integer(3); i++) {
            events += acc_poll(h, integer(2)) != ACC_EVENT_NONE;
        }
        printf("%d", events);
    } else if (IS("poll_until")) {
        printf("%d", poll_until(h, integer(2), integer(3)));
    } else if (IS("get_mmio")) {
        int tag = POISON, bar = POISON, len = POISON;
        long long addr = POISON, data = POISON;
        const int r = null ? acc_get_mmio(h, NULL, NULL, NULL, NULL, NULL)
                           : acc_get_mmio(h, &tag, &bar, &addr, &len, &data);
        printf("%d %d %d %lld %d %lld", r, tag, bar, addr, len, data);
    } else if (IS("mmio_read_done")) {
        printf("%d", acc_mmio_read_done(h, integer(2), integer(3), number(4)));
    } else if (IS("mmio_write_done")) {
        printf("%d", acc_mmio_write_done(h, integer(2), integer(3)));
    } else if (IS("dma_read")) {
        printf("%d", acc_dma_read(h, number(2), integer(3)));
    } else if (IS("get_dma_read")) {
        int tag = POISON, status = POISON, bytes = POISON;
        const int r = null ? acc_get_dma_read(h, NULL, NULL, NULL)
                           : acc_get_dma_read(h, &tag, &status, &bytes);
        printf("%d %d %d %d", r, tag, status, bytes);
    } else if (IS("dma_read_beat")) {
        uint32_t data[16];
        int r;
        memset(data, 0x5a, sizeof data);
        r = null ? acc_dma_read_beat(h, 1, 0, 1, NULL)
                 : acc_dma_read_beat(h, integer(2), integer(3), integer(4),
                                     data);
        printf("%d", r);
        put_bytes(data);
    } else if (IS("dma_write_begin")) {
        printf("%d", acc_dma_write_begin(h, number(2)));
    } else if (IS("dma_write_beat")) {
        uint32_t data[16], strb[2];
        if (null) {
            printf("%d", acc_dma_write_beat(h, 0, 1, NULL, NULL));
        } else {
            get_bytes(words[4], data, 64);
            get_bytes(words[5], strb, 8);
            printf("%d",
                   acc_dma_write_beat(h, integer(2), integer(3), data, strb));
        }
    } else if (IS("dma_write_end")) {
        printf("%d", acc_dma_write_end(h));
    } else if (IS("get_dma_write")) {
        int tag = POISON, status = POISON;
        const int r = null ? acc_get_dma_write(h, NULL, NULL)
                           : acc_get_dma_write(h, &tag, &status);
        printf("%d %d %d", r, tag, status);
    } else if (IS("msix")) {
        printf("%d", acc_msix(h, integer(2)));
    } else if (IS("msix_flood")) {
        /* Raises a vector until it is refused; how often it was not. */
        int sent = 0;
        while (sent < integer(3) && acc_msix(h, integer(2)) == 0) {
            sent++;
        }
        printf("%d", sent);
    } else if (IS("intx")) {
        printf("%d", acc_intx(h, integer(2)));
    } else if (IS("get_reset")) {
        int kind = POISON;
        const int r = acc_get_reset(h, null ? NULL : &kind);
        printf("%d %d", r, kind);
    } else if (IS("reset_done")) {
        printf("%d", acc_reset_done(h));
    } else if (IS("get_link")) {
        int up = POISON;
        const int r = acc_get_link(h, null ? NULL : &up);
        printf("%d %d", r, up);
    } else if (IS("get_function")) {
        int f[7] = {POISON, POISON, POISON, POISON, POISON, POISON, POISON};
        const int r = acc_get_function(h, null ? NULL : &f[0], &f[1], &f[2],
                                       &f[3], &f[4], &f[5], &f[6]);
        printf("%d %d %d %d %d %d %d %d", r, f[0], f[1], f[2], f[3], f[4],
               f[5], f[6]);
    } else if (IS("get_msi")) {
        int vectors = POISON, mask = POISON;
        const int r = acc_get_msi(h, null ? NULL : &vectors, &mask);
        printf("%d %d %d", r, vectors, mask);
    } else if (IS("get_bar")) {
        long long address = POISON;
        const int r = acc_get_bar(h, null ? 0 : integer(2), null ? NULL : &address);
        printf("%d %lld", r, address);
    } else if (IS("wait")) {
        printf("%d", acc_wait(h, integer(2)));
    } else if (IS("stat")) {
        printf("%lld", acc_stat(h, integer(2)));
    } else if (IS("nic_open") || IS("uart_open")) {
        const char *endpoint = strcmp(words[2], "-") == 0 ? "" : words[2];
        const int slot = integer(1) % HANDLES;
        handles[slot] = IS("nic_open") ? acc_nic_open(endpoint, words[3])
                                       : acc_uart_open(endpoint, words[3]);
        printf("%d", handles[slot] != NULL);
    } else if (IS("nic_close")) {
        printf("%d", acc_nic_close(h));
    } else if (IS("nic_poll")) {
        printf("%d", acc_nic_poll(h));
    } else if (IS("nic_poll_until")) {
        /* Until one of these bits is there, or the time is over. */
        const int64_t end = now_ms() + integer(3);
        int bits;
        do {
            bits = acc_nic_poll(h);
            if ((rand() & 63) == 0) {
                pause_ms(1);
            }
        } while (bits >= 0 && (bits & integer(2)) == 0 && now_ms() < end);
        printf("%d", bits);
    } else if (IS("nic_get_mac")) {
        long long mac = POISON;
        const int r = acc_nic_get_mac(h, null ? NULL : &mac);
        printf("%d %lld", r, mac);
    } else if (IS("nic_set_link")) {
        printf("%d", acc_nic_set_link(h, integer(2)));
    } else if (IS("nic_rx_begin")) {
        printf("%d", acc_nic_rx_begin(h));
    } else if (IS("nic_rx_beat")) {
        uint32_t data[16];
        int r;
        memset(data, 0x5a, sizeof data);
        r = null ? acc_nic_rx_beat(h, 1, NULL)
                 : acc_nic_rx_beat(h, integer(2), data);
        printf("%d", r);
        put_bytes(data);
    } else if (IS("nic_tx_beat")) {
        uint32_t data[16];
        if (null) {
            printf("%d", acc_nic_tx_beat(h, 1, NULL, 0));
        } else {
            get_bytes(words[3], data, 64);
            printf("%d", acc_nic_tx_beat(h, integer(2), data, integer(4)));
        }
    } else if (IS("nic_tx_abort")) {
        printf("%d", acc_nic_tx_abort(h));
    } else if (IS("nic_flood")) {
        /* Sends frames without a poll until one is refused; how many were
         * not. */
        uint32_t data[16];
        int sent = 0;
        memset(data, 0xa5, sizeof data);
        while (sent < integer(2) && acc_nic_tx_beat(h, 64, data, 1) == 0) {
            sent++;
        }
        printf("%d", sent);
    } else if (IS("nic_stat")) {
        printf("%lld", acc_nic_stat(h, integer(2)));
    } else if (IS("uart_close")) {
        printf("%d", acc_uart_close(h));
    } else if (IS("uart_poll")) {
        printf("%d", acc_uart_poll(h));
    } else if (IS("uart_poll_until")) {
        const int64_t end = now_ms() + integer(3);
        int bits;
        do {
            bits = acc_uart_poll(h);
            if ((rand() & 63) == 0) {
                pause_ms(1);
            }
        } while (bits >= 0 && (bits & integer(2)) == 0 && now_ms() < end);
        printf("%d", bits);
    } else if (IS("uart_get")) {
        printf("%d", acc_uart_get(h));
    } else if (IS("uart_put")) {
        printf("%d", acc_uart_put(h, integer(2)));
    } else if (IS("uart_flood")) {
        /* Puts bytes that count up without a poll until one is not taken. */
        int sent = 0;
        while (sent < integer(2) && acc_uart_put(h, sent & 0xff) == 1) {
            sent++;
        }
        printf("%d", sent);
    } else if (IS("value")) {
        /* The handle itself. */
        printf("0x%" PRIxPTR, (uintptr_t)h);
    } else {
        fprintf(stderr, "consumer.c: no call %s\n", name);
        exit(3);
    }
#undef IS
    putchar('\n');
    fflush(stdout);
}

static int remote(void)
{
    static char line[1 << 16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *word = strtok(line, " \n");
        for (count = 0; word != NULL && count < WORDS; count++) {
            words[count] = word;
            word = strtok(NULL, " \n");
        }
        CHECK(word == NULL);
        if (count != 0) {
            remote_call();
        }
    }
    return 0;
}

/* ---- the bridge that the other modes use -------------------------------- */

static void *make_bridge(const char *endpoint)
{
    void *h = acc_open(endpoint, "consumer");
    CHECK(h != NULL);
    CHECK(acc_abi_version() == ACC_ABI_VERSION);
    CHECK(acc_set_id(h, 0x10ee, 0x7011, 0x10ee, 7, 0x120000, 1) == 0);
    CHECK(acc_set_bar(h, 0, 4096, 0, 0x10000) == 0);
    CHECK(acc_set_bar(h, 2, 4096, ACC_BAR_64BIT | ACC_BAR_PREFETCHABLE, 0) ==
          0);
    CHECK(acc_set_msix(h, 4, 2, 0, 2, 0x800) == 0);
    CHECK(acc_set_link(h, 3, 8) == 0);
    if (acc_start(h) != 0) {
        fprintf(stderr, "consumer.c: %s\n", acc_last_error(h));
        exit(3);
    }
    return h;
}

static void wait_link(void *h)
{
    int up = -1;
    CHECK(poll_until(h, READY_ALL, 30000) == ACC_EVENT_LINK_UP);
    CHECK(acc_get_link(h, &up) == 0 && up == 1);
}

/* ---- device ------------------------------------------------------------- */

/* BAR 0: bytes 0 to 2047 are memory. A write to 2048 sets the address of a
 * window of 256 bytes of host memory, reads of 2304 to 2559 fetch from it by
 * DMA before they are answered, and writes there store to it by DMA with the
 * strobes of the write and raise vector 1 behind the data. */
enum { RAM = 2048, WINDOW_ADDRESS = 2048, WINDOW = 2304, WINDOW_END = 2560 };

typedef struct {
    int used;
    int mmio_tag;
    int len;
} fetch_t;

static uint8_t ram[RAM];
static uint64_t window_address;
static fetch_t fetches[1 << 8];

static void put_lanes(uint32_t *data, int lane, uint64_t value, int len)
{
    int i;
    for (i = 0; i < len; i++) {
        data[(lane + i) / 4] |= (uint32_t)(value >> (8 * i) & 0xff)
                                << (8 * ((lane + i) % 4));
    }
}

/* A request that the library was asked for and has to be asked again. */
typedef struct {
    int waits;
    int write;
    int tag;
    int len;
    uint64_t offset;
    uint64_t value;
} request_t;

/* A read from the window: 0, or 1 if it has to be tried again. */
static int device_fetch(void *h, const request_t *r)
{
    const int dma = acc_dma_read(
        h, (long long)(window_address + r->offset - WINDOW), r->len);
    if (dma == -ACC_EAGAIN) {
        return 1;
    }
    CHECK(dma >= 0);
    CHECK(!fetches[dma & 0xff].used);
    fetches[dma & 0xff].used = 1;
    fetches[dma & 0xff].mmio_tag = r->tag;
    fetches[dma & 0xff].len = r->len;
    return 0;
}

/* A write to the window, as whole 64-byte beats of whose bytes only those of
 * the write have their strobe; 0, or 1 if it has to be tried again. */
static int device_store(void *h, const request_t *r)
{
    uint32_t beat[16], strb[2];
    const uint64_t target = window_address + r->offset - WINDOW;
    const int lane = (int)(target & 63);
    const int first = lane + r->len > 64 ? 64 - lane : r->len;
    int i, result;
    result = acc_dma_write_begin(h, (long long)(target & ~(uint64_t)63));
    if (result == -ACC_EAGAIN) {
        return 1;
    }
    CHECK(result == 0);
    memset(beat, 0, sizeof beat);
    put_lanes(beat, lane, r->value, first);
    strb[0] = strb[1] = 0;
    for (i = lane; i < lane + first; i++) {
        strb[i / 32] |= (uint32_t)1 << (i % 32);
    }
    CHECK(acc_dma_write_beat(h, 0, 64, beat, strb) == 0);
    if (first < r->len) {
        memset(beat, 0, sizeof beat);
        put_lanes(beat, 0, r->value >> (8 * first), r->len - first);
        strb[0] = ((uint32_t)1 << (r->len - first)) - 1;
        strb[1] = 0;
        CHECK(acc_dma_write_beat(h, 0, 64, beat, strb) == 0);
    }
    CHECK(acc_dma_write_end(h) >= 0);
    return 0;
}

/* Carries out a request; 0, or 1 if it has to be tried again. */
static int device_request(void *h, const request_t *r)
{
    const int in_window = r->offset >= WINDOW &&
                          r->offset + (uint64_t)r->len <= WINDOW_END;
    uint64_t value = 0;
    int i;
    if (!r->write) {
        if (in_window) {
            return device_fetch(h, r);
        }
        for (i = 0; i < r->len && r->offset + (uint64_t)i < RAM; i++) {
            value |= (uint64_t)ram[r->offset + (uint64_t)i] << (8 * i);
        }
        CHECK(acc_mmio_read_done(h, r->tag,
                                 r->offset >= RAM ? ACC_STATUS_REFUSED
                                                  : ACC_STATUS_OK,
                                 (long long)value) == 0);
        return 0;
    }
    if (r->offset == WINDOW_ADDRESS && r->len == 8) {
        window_address = r->value;
    } else if (in_window) {
        if (device_store(h, r)) {
            return 1;
        }
        while (acc_msix(h, 1) == -ACC_EAGAIN) {
            pause_ms(1);
        }
    } else {
        for (i = 0; i < r->len && r->offset + (uint64_t)i < RAM; i++) {
            ram[r->offset + (uint64_t)i] = (uint8_t)(r->value >> (8 * i));
        }
    }
    CHECK(acc_mmio_write_done(h, r->tag, ACC_STATUS_OK) == 0);
    return 0;
}

static int device(const char *endpoint, unsigned seed)
{
    void *h = make_bridge(endpoint);
    request_t request;
    memset(&request, 0, sizeof request);
    srand(seed);
    wait_link(h);
    for (;;) {
        /* Random readiness is random back-pressure. */
        const int random = (rand() & 3) == 0 ? rand() & READY_ALL : READY_ALL;
        const int stalled = ACC_READY_WRITE | ACC_READY_READ;
        const int event =
            acc_poll(h, request.waits ? random & ~stalled : random);
        int tag, status, bytes, kind, up, bar;
        long long addr, data;
        switch (event) {
        case ACC_EVENT_NONE:
            break;
        case ACC_EVENT_MMIO_READ:
        case ACC_EVENT_MMIO_WRITE:
            CHECK(acc_get_mmio(h, &tag, &bar, &addr, &request.len, &data) ==
                  0);
            CHECK(bar == 0 && request.len >= 1 && request.len <= 8);
            request.waits = 1;
            request.write = event == ACC_EVENT_MMIO_WRITE;
            request.tag = tag;
            request.offset = (uint64_t)addr - 0x10000;
            request.value = (uint64_t)data;
            CHECK(request.offset + (uint64_t)request.len <= 4096);
            break;
        case ACC_EVENT_DMA_READ_DONE: {
            uint32_t beat[16];
            uint64_t value = 0;
            fetch_t *f;
            int i, done = 0;
            CHECK(acc_get_dma_read(h, &tag, &status, &bytes) == 0);
            f = &fetches[tag & 0xff];
            CHECK(f->used);
            f->used = 0;
            if (status != ACC_STATUS_OK) {
                CHECK(bytes == 0);
                CHECK(acc_mmio_read_done(h, f->mmio_tag, ACC_STATUS_REFUSED,
                                         0) == 0);
                break;
            }
            CHECK(bytes == f->len);
            /* In beats of random width, at random lanes. */
            while (done < bytes) {
                const int n = 1 + rand() % (bytes - done);
                const int lane = rand() % (64 - n + 1);
                CHECK(acc_dma_read_beat(h, tag, lane, n, beat) == 0);
                for (i = 0; i < 64; i++) {
                    const uint64_t b = beat[i / 4] >> (8 * (i % 4)) & 0xff;
                    if (i >= lane && i < lane + n) {
                        value |= b << (8 * (done + i - lane));
                    } else {
                        CHECK(b == 0);
                    }
                }
                done += n;
            }
            CHECK(acc_dma_read_beat(h, tag, 0, 1, beat) == -ACC_EINVAL);
            CHECK(acc_mmio_read_done(h, f->mmio_tag, ACC_STATUS_OK,
                                     (long long)value) == 0);
            break;
        }
        case ACC_EVENT_DMA_WRITE_DONE:
            CHECK(acc_get_dma_write(h, &tag, &status) == 0);
            break;
        case ACC_EVENT_RESET:
            CHECK(acc_get_reset(h, &kind) == 0);
            memset(ram, 0, sizeof ram);
            memset(fetches, 0, sizeof fetches);
            window_address = 0;
            request.waits = 0;
            CHECK(acc_reset_done(h) == 0);
            break;
        case ACC_EVENT_LINK_UP:
            CHECK(acc_get_link(h, &up) == 0 && up == 1);
            break;
        case ACC_EVENT_LINK_DOWN:
            CHECK(acc_get_link(h, &up) == 0 && up == 0);
            printf("sessions=%lld reads=%lld writes=%lld dma_read=%lld "
                   "dma_write=%lld msix=%lld\n",
                   acc_stat(h, ACC_STAT_SESSIONS),
                   acc_stat(h, ACC_STAT_MMIO_READS),
                   acc_stat(h, ACC_STAT_MMIO_WRITES),
                   acc_stat(h, ACC_STAT_DMA_READ_BYTES),
                   acc_stat(h, ACC_STAT_DMA_WRITE_BYTES),
                   acc_stat(h, ACC_STAT_MSIX));
            CHECK(acc_close(h) == 0);
            return 0;
        default:
            fprintf(stderr, "consumer.c: acc_poll returned %d: %s\n", event,
                    acc_last_error(h));
            return 3;
        }
        if (request.waits) {
            request.waits = device_request(h, &request);
        }
    }
}

/* ---- echo --------------------------------------------------------------- */

static int echo(const char *nic_endpoint, const char *uart_endpoint,
                unsigned seed)
{
    void *nic = acc_nic_open(nic_endpoint, "nic");
    void *uart = acc_uart_open(uart_endpoint, "uart");
    static uint8_t frame[9216];
    int length = 0, byte = -1;
    CHECK(nic != NULL && uart != NULL);
    srand(seed);
    for (;;) {
        const int bits = acc_nic_poll(nic);
        const int serial = acc_uart_poll(uart);
        uint32_t beat[16];
        int i, n, done;
        CHECK(bits >= 0 && serial >= 0);
        if ((bits & ACC_NIC_CHANGED) != 0 && (bits & ACC_NIC_LINK) == 0) {
            break;
        }
        /* Now and then the RTL takes nothing, which is back-pressure. */
        if (length == 0 && (bits & ACC_NIC_RX) != 0 && (rand() & 7) != 0) {
            length = acc_nic_rx_begin(nic);
            CHECK(length >= 60 && length <= 9216);
            for (done = 0; done < length; done += n) {
                n = 1 + rand() % 64;
                if (n > length - done) {
                    n = length - done;
                }
                CHECK(acc_nic_rx_beat(nic, n, beat) == length - done - n);
                for (i = 0; i < 64; i++) {
                    const uint8_t b = (uint8_t)(beat[i / 4] >> (8 * (i % 4)));
                    if (i < n) {
                        frame[done + i] = b;
                    } else {
                        CHECK(b == 0);
                    }
                }
            }
            CHECK(acc_nic_rx_beat(nic, 1, beat) == -ACC_EINVAL);
        }
        if (length != 0 && (bits & ACC_NIC_TX) != 0) {
            for (done = 0; done < length; done += n) {
                n = 1 + rand() % 64;
                if (n > length - done) {
                    n = length - done;
                }
                /* What is beyond the bytes must not matter. */
                memset(beat, 0xee, sizeof beat);
                for (i = 0; i < n; i++) {
                    beat[i / 4] &= ~((uint32_t)0xff << (8 * (i % 4)));
                    beat[i / 4] |= (uint32_t)frame[done + i] << (8 * (i % 4));
                }
                CHECK(acc_nic_tx_beat(nic, n, beat, done + n == length) == 0);
            }
            length = 0;
        }
        for (i = 0; i < 16; i++) {
            if (byte < 0) {
                byte = acc_uart_get(uart);
            }
            if (byte < 0 || acc_uart_put(uart, byte) == 0) {
                break;
            }
            byte = -1;
        }
    }
    printf("rx=%lld/%lld tx=%lld/%lld dropped=%lld/%lld/%lld\n",
           acc_nic_stat(nic, ACC_NIC_STAT_RX_FRAMES),
           acc_nic_stat(nic, ACC_NIC_STAT_RX_BYTES),
           acc_nic_stat(nic, ACC_NIC_STAT_TX_FRAMES),
           acc_nic_stat(nic, ACC_NIC_STAT_TX_BYTES),
           acc_nic_stat(nic, ACC_NIC_STAT_RX_DROPPED),
           acc_nic_stat(nic, ACC_NIC_STAT_TX_DROPPED),
           acc_nic_stat(nic, ACC_NIC_STAT_TX_TOO_LONG));
    CHECK(acc_uart_close(uart) == 0);
    CHECK(acc_nic_close(nic) == 0);
    return 0;
}

/* ---- quiet -------------------------------------------------------------- */

/* From here on every system call of this thread but exit_group kills the
 * process with SIGSYS. */
static void forbid_system_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program;
    program.len = (unsigned short)(sizeof code / sizeof code[0]);
    program.filter = code;
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

/* The same with the poll of a channel, once a host has opened it. */
static int quiet_channel(const char *endpoint, const char *what)
{
    const int is_nic = strcmp(what, "NIC") == 0;
    void *h = is_nic ? acc_nic_open(endpoint, "nic")
                     : acc_uart_open(endpoint, "uart");
    int (*poll)(void *) = is_nic ? acc_nic_poll : acc_uart_poll;
    const int want = is_nic ? ACC_NIC_TX | ACC_NIC_LINK
                            : ACC_UART_TX | ACC_UART_HOST;
    int i, same = 1;
    CHECK(h != NULL);
    while (poll(h) != want) {
        pause_ms(1);
    }
    for (i = 0; i < 100000; i++) {
        CHECK(poll(h) == want);
    }
    forbid_system_calls();
    for (i = 0; i < 10000000; i++) {
        same &= poll(h) == want;
    }
    syscall(SYS_exit_group, same ? 0 : 4);
    return 5;
}

static int quiet(const char *endpoint, const char *what)
{
    void *h = make_bridge(endpoint);
    const int message = strcmp(what, "MESSAGE") == 0;
    int i, events = 0;
    if (strcmp(what, "IDLE") != 0) {
        wait_link(h);
    }
    /* The bridge looks for a while after there was something. */
    for (i = 0; i < 100000; i++) {
        CHECK(acc_poll(h, READY_ALL) == ACC_EVENT_NONE);
    }
    if (message) {
        printf("now\n");
        fflush(stdout);
        /* The host sends something: receiving it needs a system call. */
        pause_ms(500);
    }
    forbid_system_calls();
    for (i = 0; i < 10000000; i++) {
        events |= acc_poll(h, READY_ALL);
    }
    /* Nothing that the C library does at exit is allowed any more. */
    syscall(SYS_exit_group, events == 0 ? 0 : 4);
    return 5;
}

/* ---- threads ------------------------------------------------------------ */

static void *shared;

static void *hammer(void *argument)
{
    const int which = *(const int *)argument;
    int i;
    for (i = 0; i < 20000; i++) {
        switch (which) {
        case 0:
            CHECK(acc_poll(shared, READY_ALL) == ACC_EVENT_NONE);
            break;
        case 1:
            CHECK(acc_stat(shared, 99) == -ACC_EINVAL);
            CHECK(strstr(acc_last_error(shared), "is ") != NULL);
            break;
        case 2:
            CHECK(acc_dma_read(shared, 0, 64) == -ACC_ELINK);
            break;
        default:
            CHECK(acc_poll((void *)((uintptr_t)i * 2654435761u), 0) ==
                  -ACC_EINVAL);
            CHECK(acc_last_error(NULL)[0] != '\0');
        }
    }
    return NULL;
}

static int threads(const char *endpoint)
{
    static const int which[] = {0, 1, 2, 3, 0};
    pthread_t t[5];
    int i;
    shared = make_bridge(endpoint);
    for (i = 0; i < 5; i++) {
        CHECK(pthread_create(&t[i], NULL, hammer, (void *)&which[i]) == 0);
    }
    for (i = 0; i < 5; i++) {
        CHECK(pthread_join(t[i], NULL) == 0);
    }
    CHECK(acc_close(shared) == 0);
    return 0;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "remote") == 0) {
        return remote();
    }
    if (strcmp(mode, "device") == 0 && argc == 4) {
        return device(argv[2], (unsigned)strtoul(argv[3], NULL, 0));
    }
    if (strcmp(mode, "echo") == 0 && argc == 5) {
        return echo(argv[2], argv[3], (unsigned)strtoul(argv[4], NULL, 0));
    }
    if (strcmp(mode, "quiet") == 0 && argc == 4 &&
        (strcmp(argv[3], "NIC") == 0 || strcmp(argv[3], "UART") == 0)) {
        return quiet_channel(argv[2], argv[3]);
    }
    if (strcmp(mode, "quiet") == 0 && argc == 4) {
        return quiet(argv[2], argv[3]);
    }
    if (strcmp(mode, "threads") == 0 && argc == 3) {
        return threads(argv[2]);
    }
    if (strcmp(mode, "leak") == 0) {
        void *volatile lost = malloc(4321);
        lost = NULL;
        return lost != NULL;
    }
    fprintf(stderr, "usage: consumer remote | device ENDPOINT SEED | "
                    "echo NIC UART SEED | "
                    "quiet ENDPOINT IDLE|LINK|MESSAGE|NIC|UART | "
                    "threads ENDPOINT | leak\n");
    return 2;
}
