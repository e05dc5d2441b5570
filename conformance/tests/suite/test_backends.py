"""Every shipped backend passes the suite."""

from __future__ import annotations

import pytest

from mgup_conformance import all_cases, run_case
from mgup_conformance.backends import SHIPPED
from mgup_conformance.catalogue import cases_for
from mgup_conformance.protocol import lacking

from .support import load, quiet


def pairs(*, fast: bool):
    return [
        pytest.param(name, case, id=f"{name}-{case.id}")
        for name in SHIPPED
        # The whole set takes a compiling backend an hour: its few cases at full length, then.
        for case in cases_for(load(name), all_cases(fast=fast), fast=True)
    ]


@pytest.mark.parametrize(("name", "case"), pairs(fast=True))
def test_fast_set(name, case):
    with quiet():
        result = run_case(load(name), case, fast=True)
    if result.status == "skipped":
        pytest.skip(result.message)
    assert result.status == "passed", result.message


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), pairs(fast=False))
def test_full_set(name, case):
    with quiet():
        result = run_case(load(name), case)
    if result.status == "skipped":
        pytest.skip(result.message)
    assert result.status == "passed", result.message


@pytest.mark.parametrize("name", SHIPPED)
def test_most_is_not_skipped(name):
    """A suite that skips what it should check would pass, too."""
    cases = all_cases()
    asked = [case for case in cases if lacking(load(name), case.needs) is None]
    assert len(asked) > len(cases) / 3
    if name in ("numpy", "torch"):
        assert asked == cases
