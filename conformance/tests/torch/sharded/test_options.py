"""Every option of the optimizers on DTensors, bit for bit; what a step sends (issue 6).

It checks P4, P5, R4.
"""

from __future__ import annotations

import pytest

OPTIONS = {
    "lion": {"name": "MGUPLion", "weight_decay": 0.1},
    "sgd": {"name": "MGUPSGD", "momentum": 0.9, "weight_decay": 0.1, "coupled_decay": True},
    "maximize": {"maximize": True, "weight_decay": 0.1},
    "sign": {"mode": "sign"},
    "adaptive": {"mode": "adaptive", "kind": "few"},
    "cautious": {"mode": "cautious", "kind": "odd"},
    "off": {"mode": "off"},
    "none selected": {"tau": 0.0, "gamma": 0.5},
    "all selected": {"tau": 1.0, "kind": "odd"},
    "few selected": {"tau": 0.001, "kind": "zeros"},
    "float64": {"dtype": "float64", "kind": "few"},
    "bfloat16": {"dtype": "bfloat16", "kind": "zeros"},
    "float16": {"dtype": "float16"},
    "bfloat16, float32 state": {"dtype": "bfloat16", "state_dtype": "float32"},
    "float32, bfloat16 state": {"state_dtype": "bfloat16"},
}
STACKED = {"shapes": [(5, 7, 6), (3, 4, 2), (1, 4, 2)], "kind": "few", "stacked_dims": 1}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options(four, options):
    """Rules, modes, dtypes, τ at its ends."""
    four.run("placed.compare", (2, 2), "S0 S1", steps=2, **options)


@pytest.mark.parametrize("placements", ["S0 R", "S1 R", "S0 S1", "S1 S2", "S2 S0", "S0 S0"])
def test_stacked(four, placements):
    """P5: slices that lie whole on a rank, and slices that are split."""
    four.run("placed.compare", (2, 2), placements, steps=2, **STACKED)


def test_many_slices(two):
    """P5: narrower digits, the narrowest too."""
    for n in (2, 3, 4, 9, 40, 150):
        two.run(
            "placed.compare", (2,), "S1", shapes=[(n, 6, 3)], kind="few", stacked_dims=1, steps=1
        )


@pytest.mark.parametrize(
    "options", [{}, {"mode": "sign"}, {"mode": "adaptive"}, {"stacked_dims": 1}]
)
def test_statistics(four, options):
    """Of the whole tensors, on every rank; the step is the same."""
    four.run(
        "placed.compare",
        (2, 2),
        "S0 S1",
        kind="few",
        statistics=True,
        **{"shapes": [(9, 5), (3, 4)], **options},
    )


def test_mixed(four):
    """Plain and DTensor parameters, on mesh groups of different ranks, in groups of their own."""
    four.run("placed.mixed")


def test_alone(two):
    """scope="local": each shard by itself, and nothing sent but the check of the settings."""
    assert any(two.run("placed.alone"))


@pytest.mark.parametrize(
    ("mesh", "placements", "levels"),
    [((4,), "S0", 1), ((4,), "S1", 1), ((2, 2), "S0 S1", 2), ((2, 2), "R S0", 1)],
)
def test_traffic(four, mesh, placements, levels):
    """At most 64 KB a parameter, whatever its size, and no more collectives for more parameters.

    Those of a thousand coordinates and of a hundred thousand differ only in the digits of an index.
    """
    sent = [
        four.run("placed.traffic", mesh, placements, shapes)[0]
        for shapes in ([(32, 32)], [(32, 32)] * 20, [(300, 300)] * 2)
    ]
    (few, small), (many, larger), (most, large) = sent
    agreement, round_ = 16 * levels, 255 * 8 * levels
    assert (few, small) == ((1 + 4 + 2) * levels, agreement + 6 * round_)
    assert (many, larger) == (few, agreement + 20 * 6 * round_)
    assert (most, large) == ((1 + 4 + 3) * levels, agreement + 2 * 7 * round_)
    assert large / 2 <= 2**16


def test_traffic_of_slices(four):
    """Slices that lie whole on a rank cost nothing; up to 50 split ones cost a tensor's 64 KB."""
    assert four.run("placed.traffic", (4,), "S0", [(40, 8, 8)], stacked_dims=1)[0] == (1, 16)
    for n in (1, 2, 3, 10, 50, 100):
        calls, sent = four.run("placed.traffic", (4,), "S1", [(n, 8, 8)], stacked_dims=1)[0]
        assert sent <= 2**16, n
        assert calls <= 1 + 32 + 6


@pytest.mark.parametrize("options", [{"statistics": True}, {"mode": "adaptive"}, {"mode": "off"}])
def test_wrapper(four, options):
    """MGUP around an optimizer that knows nothing of it."""
    four.run("placed.wrapped", (2, 2), "S0 S1", **options)


def test_muon_orthogonalises_once(four):
    """Each matrix by one rank, all ranks taking turns."""
    assert four.run("placed.orthogonalised_once", 6) == [2, 2, 1, 1]


def test_every_elementwise_rule(four):
    """A rule says nothing of devices."""
    assert four.run("placed.every_elementwise_rule")[0] > 4


@pytest.mark.slow
def test_every_rule_of_whole_tensors(two):
    """What ranks cannot exchange is gathered: the bits of the unsharded tensors."""
    assert two.run("placed.every_rule_of_whole_tensors", patience=400)[0] > 9


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["S0 S1", "S1 S0", "R S1", "S0 S0"])
def test_whole_tensors_of_every_placement(four, layout):
    """Of a rule with sums of rows; uneven and empty parts, replicas."""
    four.run("placed.compare", (2, 2), layout, name="MGUPAdafactor", shapes=[(9, 5), (3,)], steps=2)


def test_sums_over_all_parameters(two):
    """Each parameter gathered, on every rank alike; the statistics are the whole tensors'."""
    traffic = two.run(
        "placed.compare", (2,), "S0", name="MGUPProdigy", shapes=[(9, 5), (7,)], statistics=True
    )
    assert traffic[0].collectives > 0


def test_compiled(two):
    two.run("placed.compiled")


@pytest.mark.parametrize("placements", ["R", "S0", "S1"])
def test_partial_gradients(two, placements):
    """They are summed first: that is their value."""
    two.run("placed.partial", placements)
