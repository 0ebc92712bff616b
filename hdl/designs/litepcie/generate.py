#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""LitePCIe's generator, litepcie_gen, with one argument of its own classes set: which addresses of
the BAR the registers answer to.

Without it that is a constant, which the core computes in a process that reads nothing. Synthesis
makes a constant of it. In a simulator it is never computed: always @(*) waits for a change."""

import functools

from litepcie import gen

BAR0_BITS = 20

gen.LitePCIeWishboneMaster = functools.partial(
    gen.LitePCIeWishboneMaster, address_decoder=lambda address: address[BAR0_BITS:] == 0)
gen.main()
