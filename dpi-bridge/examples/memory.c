/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The smallest card, without a simulator: BAR 0 is 4 KiB of memory. A write of
 * four bytes to its last word raises MSI-X vector 0, after the word before it,
 * taken as a bus address, has got the number of interrupts so far by DMA.
 *
 *   cargo build --release -p accelerator-dpi
 *   gcc -Idpi-bridge/include dpi-bridge/examples/memory.c \
 *       target/release/libaccelerator_dpi.a -lstdc++ -lpthread -ldl -lm -o memory
 *   ./memory 7557
 */
#include "accelerator_dpi.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { SIZE = 4096, ADDRESS = SIZE - 8, DOORBELL = SIZE - 4 };

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* Ends the program if a call failed. */
static int check(void *h, int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, acc_last_error(h));
        stop = 1;
    }
    return result;
}

int main(int argc, char **argv)
{
    static unsigned char memory[SIZE];
    unsigned interrupts = 0;
    void *h;

    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);

    h = acc_open(argc > 1 ? argv[1] : "", "memory");
    if (h == NULL) {
        return 1; /* acc_open has said why. */
    }
    check(h, acc_set_id(h, 0x10ee, 0x7001, 0x10ee, 7, 0x058000, 1), "ids");
    check(h, acc_set_bar(h, 0, SIZE, 0, 0), "BAR 0");
    check(h, acc_set_bar(h, 1, SIZE, 0, 0), "BAR 1");
    check(h, acc_set_msix(h, 1, 1, 0, 1, 0x800), "MSI-X");
    check(h, acc_start(h), "start");

    /* A simulator does this at every clock. This program takes whatever comes
     * at once, so it is always ready. */
    while (!stop) {
        const int ready = ACC_READY_WRITE | ACC_READY_READ |
                          ACC_READY_DMA_READ | ACC_READY_DMA_WRITE;
        const int event = check(h, acc_poll(h, ready), "poll");
        int tag, bar, len, status, kind, up, i;
        long long addr, data;

        switch (event) {
        case ACC_EVENT_MMIO_READ:
            check(h, acc_get_mmio(h, &tag, &bar, &addr, &len, &data), "read");
            data = 0;
            for (i = len - 1; i >= 0; i--) {
                data = (long long)((unsigned long long)data << 8 |
                                   memory[addr + i]);
            }
            check(h, acc_mmio_read_done(h, tag, ACC_STATUS_OK, data), "data");
            break;
        case ACC_EVENT_MMIO_WRITE:
            check(h, acc_get_mmio(h, &tag, &bar, &addr, &len, &data), "write");
            for (i = 0; i < len; i++) {
                memory[addr + i] = (unsigned char)(data >> (8 * i));
            }
            if (addr == DOORBELL && len == 4) {
                uint32_t beat[16] = {0}, strobes[2] = {0xf, 0};
                uint32_t target;
                memcpy(&target, &memory[ADDRESS], 4);
                beat[0] = ++interrupts;
                /* Only a few are under way: a design has to hold its request
                 * for as long as -ACC_EAGAIN is returned. */
                check(h, acc_dma_write_begin(h, target), "DMA");
                check(h, acc_dma_write_beat(h, 0, 4, beat, strobes), "DMA");
                check(h, acc_dma_write_end(h), "DMA");
                check(h, acc_msix(h, 0), "interrupt");
            }
            check(h, acc_mmio_write_done(h, tag, ACC_STATUS_OK), "response");
            break;
        case ACC_EVENT_DMA_WRITE_DONE:
            check(h, acc_get_dma_write(h, &tag, &status), "DMA done");
            if (status != ACC_STATUS_OK) {
                printf("DMA write failed with status %d\n", status);
            }
            break;
        case ACC_EVENT_RESET:
            check(h, acc_get_reset(h, &kind), "reset");
            memset(memory, 0, sizeof memory);
            interrupts = 0;
            check(h, acc_reset_done(h), "reset done");
            break;
        case ACC_EVENT_LINK_UP:
        case ACC_EVENT_LINK_DOWN:
            check(h, acc_get_link(h, &up), "link");
            printf("link %s\n", up ? "up" : "down");
            fflush(stdout);
            break;
        default:
            break;
        }
    }
    return acc_close(h) == 0 ? 0 : 1;
}
