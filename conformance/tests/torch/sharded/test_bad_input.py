"""What is refused of sharded parameters, with the remedy; nothing changes then (P5; issue 6)."""

from __future__ import annotations

import pytest

from .workers import Workers


@pytest.mark.parametrize(
    "case",
    [
        "different_settings",
        "different_steps",
        "different_gradients",
        "different_parameters",
        "placements",
        "flattened",
        "flattened_later",
        "unknown_rules",
        "checkpoints",
        "late_first_step",
        "late_learning_rate",
        "late_change_of_all",
        "late_change_without_collectives",
        "repeated_steps",
    ],
)
def test_two_ranks(two, case):
    two.run(f"refused.{case}")


@pytest.mark.parametrize("case", ["two_dimensions", "mesh_elsewhere"])
def test_four_ranks(four, case):
    four.run(f"refused.{case}")


@pytest.mark.parametrize(
    "case",
    [
        "alone_at_the_door",
        pytest.param("late_in_the_search", marks=pytest.mark.slow),
        pytest.param("late_change", marks=pytest.mark.slow),
    ],
)
def test_a_collective_that_times_out(two, case):
    """The rank that waited is told, with its number and the parameters; it has changed nothing."""
    workers = Workers(2, timeout=3)
    try:
        workers.run(f"refused.{case}")
    finally:
        workers.close()
