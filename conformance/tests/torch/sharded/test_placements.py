"""Mask and update of DTensors are those of the unsharded tensors, bit for bit (P4; issue 6)."""

from __future__ import annotations

import pytest

KINDS = ("normal", "equal", "zeros", "few", "odd")
FOUR = {
    "rows": ((4,), "S0"),
    "columns": ((4,), "S1"),
    "last axis": ((4,), "S2"),
    "replicated": ((4,), "R"),
    "both axes": ((2, 2), "S0 S1"),
    "axes in the other order": ((2, 2), "S1 S0"),
    "rows twice": ((2, 2), "S0 S0"),
    "rows of rows": ((2, 2), "T0 S0"),
    "interleaved": ((2, 2), "R T0"),
    "replicas of rows": ((2, 2), "R S0"),
    "replicas of columns": ((2, 2), "S1 R"),
}


def placeable(four, layout):
    mesh, placements = FOUR[layout]
    if "T" in placements and not all(four.run("placed.strided")):
        pytest.skip("this PyTorch does not place strided shards; test_fsdp has FSDP2's")
    return mesh, placements


HARD = ("rows", "columns", "both axes", "rows of rows")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", HARD)
def test_every_kind_of_gradient(four, layout, kind):
    """Uneven and empty shards, ties within and across ranks, NaN and infinities."""
    mesh, placements = placeable(four, layout)
    four.run("placed.compare", mesh, placements, kind=kind, steps=2)


@pytest.mark.parametrize("layout", sorted(FOUR.keys() - set(HARD)))
def test_every_placement(four, layout):
    """Other axes, other orders, replicas; many ties."""
    mesh, placements = placeable(four, layout)
    four.run("placed.compare", mesh, placements, kind="few", steps=2)


def test_two_ranks(two):
    """Over more steps."""
    two.run("placed.compare", (2,), "S0", kind="zeros", steps=5)
