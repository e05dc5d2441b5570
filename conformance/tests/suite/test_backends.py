"""Every shipped backend passes the suite.

It checks every clause that the suite knows (``mgup_conformance.clauses``).
"""

from __future__ import annotations

import pytest

from mgup_conformance import CLAUSES, all_cases, run_case
from mgup_conformance.backends import SHIPPED
from mgup_conformance.catalogue import MAIN, cases_for
from mgup_conformance.protocol import lacking
from mgup_conformance.runner import select

from .support import installed, load, quiet

EXACT = ("exact/*/mgup/float32", "exact/muon/blocks", "exact/muon/zero_rows")
"""Fifty chaotic steps of every matrix rule, wide, tall and of shapes that do not divide; terms
beyond 4096; rows of zeros."""


def pairs(*, fast: bool):
    """Backends take turns on a case, so that the reference works on it once."""
    names = [name for name in SHIPPED if installed(name)]
    # The whole set takes a compiling backend an hour: its few cases at full length, then, and each
    # matrix rule's exact products (N9), which are to be identical wherever they run.
    more = set() if fast else {case.id for case in select(all_cases(), EXACT)}
    asked = {
        name: more | {case.id for case in cases_for(load(name), all_cases(), set_of="fast")}
        for name in names
    }
    # Its numbers are those of NumPy, whose products are checked beside them.
    exact = [case.id for case in select(all_cases(), ["exact/*"]) if "/muon/" not in case.id]
    slow = {("array_api_strict", name) for name in exact}
    return [
        pytest.param(
            name,
            case,
            id=f"{name}-{case.id}",
            marks=[pytest.mark.slow] * ((name, case.id) in slow),
        )
        for case in all_cases(fast=fast)
        for name in names
        if case.id in asked[name]
    ]


def check(name, case, *, set_of):
    with quiet():
        result = run_case(load(name), case, set_of=set_of)
    if result.status == "skipped":
        pytest.skip(result.message)
    assert result.status == "passed", result.message


@pytest.mark.parametrize(("name", "case"), pairs(fast=True))
def test_fast_set(name, case):
    check(name, case, set_of="fast")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "case"), pairs(fast=False))
def test_full_set(name, case):
    check(name, case, set_of="exhaustive")


@pytest.mark.parametrize("name", SHIPPED)
def test_most_is_not_skipped(name):
    """A suite that skips what it should check would pass, too."""
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    cases = all_cases()
    asked = [case for case in cases if lacking(load(name), case.needs) is None]
    assert len(asked) > len(cases) / 3
    if name in ("numpy", "torch", "jax", "jax_jit"):
        assert asked == cases


def test_a_backend_that_compiles_for_long_meets_everything_once():
    """Each rule and form, policy and kind of numbers is in its share of the standard set."""
    share = select(all_cases(), MAIN)

    def met(cases):
        specs = [case.spec for case in cases if case.id.startswith(("run/", "compact/"))]
        return {
            *(("form", one["rule"].get("form")) for one in specs),
            *(("rule", one["rule"]["name"]) for one in specs),
            *(("policy", one["policy"]["name"]) for one in specs),
            *(("dtype", one["dtype"]) for one in specs),
        }

    assert met(share) == met(all_cases())
    assert {clause for case in share for clause in case.clauses} == set(CLAUSES)
    assert len(share) < len(all_cases()) / 4
