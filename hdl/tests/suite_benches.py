# SPDX-License-Identifier: Apache-2.0
"""The benches of benches.py: each with the cocotb tests that it has."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from benches import BENCHES, SECONDS, SHORT, Bench
from cocotb_run import NOTHING, Options, run
from support import LOG


@pytest.mark.bench
@pytest.mark.parametrize(("name", "bench"), [
    pytest.param(name, bench, id=name, marks=pytest.mark.seconds(SECONDS.get(name, SHORT)))
    for name, bench in BENCHES.items()])
def test_bench(name: str, bench: Bench, options: Options, request: pytest.FixtureRequest,
               record_property: Callable[[str, object], None]) -> None:
    """All tests of its module pass, and there are some."""
    outcome = run(name, bench, options)
    request.node.stash[LOG] = outcome.log
    if options.filter is not None and outcome.wrong == [NOTHING]:
        pytest.skip("none of its tests has such a name")
    for case in outcome.passed:
        record_property("passed", case)
    for case in [*outcome.failed, *outcome.wrong]:
        record_property("failed", case)
    if outcome.failed or outcome.wrong:
        pytest.fail(f"{name}: {', '.join([*outcome.failed, *outcome.wrong])}; see {outcome.log}",
                    pytrace=False)
    assert outcome.passed
