#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""usage: dpi_simulator.py LIBRARY ENDPOINT

Plays a simulator on the DPI library: a card with a network and a serial line that does nothing. It
prints a line each time one of the three links comes up or goes down, and ends in order when it gets
SIGTERM or SIGINT."""

import ctypes
import signal
import sys
import time

# Of accelerator_dpi.h.
READY_ALL = 15
MMIO_READ, MMIO_WRITE, RESET, LINK_UP, LINK_DOWN = 1, 2, 5, 6, 7
NIC_LINK, UART_HOST = 4, 4


class Library:
    """The DPI library, as a simulator uses it."""

    def __init__(self, path):
        self.calls = ctypes.CDLL(path)
        handle, integer = ctypes.c_void_p, ctypes.c_int
        long, text = ctypes.c_longlong, ctypes.c_char_p
        for name in "acc_open", "acc_nic_open", "acc_uart_open":
            self.declare(name, handle, text, text)
        for name in ("acc_start", "acc_close", "acc_nic_poll", "acc_nic_close", "acc_uart_poll",
                     "acc_uart_close", "acc_reset_done"):
            self.declare(name, integer, handle)
        self.declare("acc_poll", integer, handle, integer)
        self.declare("acc_set_id", integer, handle, *[integer] * 6)
        self.declare("acc_set_bar", integer, handle, integer, long, integer, long)
        for name in "acc_get_link", "acc_get_reset":
            self.declare(name, integer, handle, ctypes.POINTER(integer))
        self.declare("acc_last_error", text, handle)

    def declare(self, name, result, *arguments):
        call = getattr(self.calls, name)
        call.restype, call.argtypes = result, arguments

    def __call__(self, name, *arguments):
        result = getattr(self.calls, name)(*arguments)
        if (name.endswith("open") and not result) or (not name.endswith("open") and result < 0):
            sys.exit(f"{name}: {self.calls.acc_last_error(None).decode()}")
        return result


def simulator(library, endpoint):
    """Plays a simulator until it is told to end; says when all links are up."""
    ended = []
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: ended.append(True))
    call = Library(library)
    card = call("acc_open", endpoint.encode(), b"card")
    call("acc_set_id", card, 0x1234, 0xACCE, 0, 0, 0x120000, 1)
    call("acc_set_bar", card, 0, 4096, 0, 0)
    beside = ("pcie:" + endpoint).encode()
    nic, uart = call("acc_nic_open", beside, b"nic"), call("acc_uart_open", beside, b"uart")
    call("acc_start", card)
    value = ctypes.c_int()
    link, told = False, None
    while not ended:
        for _ in range(20):
            event = call("acc_poll", card, READY_ALL)
            if event in (LINK_UP, LINK_DOWN):
                call("acc_get_link", card, ctypes.byref(value))
                link = event == LINK_UP
            elif event == RESET:
                call("acc_get_reset", card, ctypes.byref(value))
                call("acc_reset_done", card)
            elif event in (MMIO_READ, MMIO_WRITE):
                sys.exit("there is no guest that could access a BAR")
            up = (link, bool(call("acc_nic_poll", nic) & NIC_LINK),
                  bool(call("acc_uart_poll", uart) & UART_HOST))
        if up != told:
            print("up: PCIe {}, NIC {}, serial {}".format(*up), flush=True)
            told = up
        time.sleep(0.001)
    for name, handle in ("acc_close", card), ("acc_nic_close", nic), ("acc_uart_close", uart):
        call(name, handle)


if __name__ == "__main__":
    simulator(*sys.argv[1:])
