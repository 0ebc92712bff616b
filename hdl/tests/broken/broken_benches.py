# SPDX-License-Identifier: Apache-2.0
"""Benches that have to fail, in place of the others, as a plugin of pytest."""

from benches import BENCHES, Bench


def broken(end: str, module: str = "broken_cases", top: str = "broken_top") -> Bench:
    """One that ends so."""
    return Bench("tests/broken/broken.f", top, module, told={"end": end})


BENCHES.clear()
BENCHES.update({
    "passes": broken("passes"),
    "fails": broken("fails"),
    "is-killed": broken("killed"),
    "leaves": broken("leaves"),
    "skips": broken("skips"),
    "has-none": broken("", "broken_none"),
    "is-not-there": broken("", "broken_nowhere"),
    "cannot-be-built": broken("", top="broken_other"),
})
