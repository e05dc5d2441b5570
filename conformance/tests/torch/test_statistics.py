"""Statistics against a direct computation from the scores (P3, P4, P12)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mgup_core as core
from mgup_torch import MGUPSGD, MGUPAdamW

from .inputs import CLASSES, Input
from .support import advance, array, give, gradients, parameters

KINDS = {
    "rank": {"tau": 0.3},
    "sign": {"mode": "sign"},
    "aligned": {"mode": "sign", "ties": "aligned"},
    "adaptive": {"mode": "adaptive"},
    "cautious": {"mode": "cautious"},
    "stacked": {"stacked_dims": 1, "tau": 0.4},
}


def by_hand(scores: np.ndarray, kwargs) -> dict[str, float]:
    """One parameter of canonical scores (slices, d), with plain sorting and counting."""
    mode, tau = kwargs.get("mode", "rank"), kwargs.get("tau", 0.5)
    positive = float((scores > 0).mean())
    if mode != "rank":
        mask = scores >= 0 if kwargs.get("ties") == "aligned" else scores > 0
        share = max(positive, 0.01 if mode == "adaptive" else 1e-3)
        high, low = {"sign": (2.0, 0.5), "adaptive": (1 / share, share)}.get(mode, (1 / share, 0.0))
        threshold, ties = None, None
    else:
        k = math.floor(tau * scores.shape[1] + 1e-9)
        order = np.argsort(-scores, axis=1, kind="stable")
        mask = np.zeros(scores.shape, bool)
        np.put_along_axis(mask, order[:, :k], True, axis=1)
        high, low = 1 / tau, tau
        cuts = np.take_along_axis(scores, order[:, k - 1 : k], axis=1)
        threshold, ties = float(cuts.min()), float((scores == cuts).sum())
    selected = float(mask.mean())
    multiplier = selected * high + (1 - selected) * low
    return {
        "selected": selected, "threshold": threshold, "ties": ties,
        "positive": positive, "multiplier": multiplier,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_values(kind):
    """SGD without momentum scores g * g, here with signs from a momentum of one step before."""
    kwargs = KINDS[kind]
    params = parameters(((6, 10), (4, 3, 2)))
    optimizer = MGUPSGD(params, momentum=0.9, statistics=True, **kwargs)
    momenta = [np.zeros(p.shape, np.float32) for p in params]
    for step in range(4):
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        for i, (g, measured) in enumerate(zip(grads, optimizer.statistics(), strict=True)):
            momenta[i] = np.float32(0.9) * momenta[i] + array(g)
            scores = momenta[i] * array(g)
            rows = params[i].shape[0] if kind == "stacked" else 1
            expected = by_hand(scores.reshape(rows, -1), kwargs)
            for name, value in expected.items():
                if value is not None:
                    assert float(getattr(measured, name)) == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("family", list(CLASSES))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_equal_the_references(kind, family, dtype):
    given = Input(family, kind, {**KINDS[kind], "lr": 0.02})
    params = parameters(((6, 10), (4, 3, 2), (40, 50, 60)), dtype)
    optimizer = given.make(params, statistics=True)
    arrays = [array(p) for p in params]
    options = given.reference_options()
    reference = core.Optimizer(given.rule(), given.policy(), **options)
    state = reference.init(arrays)
    for step in range(2):
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        arrays, state, expected = reference.step_with_statistics(
            arrays, [array(g) for g in grads], state
        )
        for i, measured in enumerate(optimizer.statistics()):
            exact = ("selected", "positive") if "mode" in KINDS[kind] else measured._fields[:4]
            for name in exact:
                first, second = float(getattr(measured, name)), float(getattr(expected[i], name))
                assert first == pytest.approx(second, rel=1e-6), name
            assert float(measured.multiplier) == pytest.approx(
                float(expected[i].multiplier), rel=1e-4
            )


def test_measuring_changes_nothing():
    ends = []
    for statistics in (False, True):
        params = parameters()
        advance(MGUPAdamW(params, lr=0.05, statistics=statistics), params, 3)
        ends.append([array(p).tobytes() for p in params])
    assert ends[0] == ends[1]


def test_mean_multiplier_of_the_defaults():
    """P12: 1.25 with even d, which is why comparisons need tuned rates."""
    params = parameters(((8, 8),))
    optimizer = MGUPAdamW(params, statistics=True)
    advance(optimizer, params, 1)
    measured = optimizer.statistics()[0]
    assert float(measured.multiplier) == 1.25
    assert all(value.shape == () and value.device == params[0].device for value in measured)


def test_refused_when_off():
    params = parameters()
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 1)
    with pytest.raises(RuntimeError, match="statistics=True"):
        optimizer.statistics()


def test_none_for_what_was_not_measured():
    """One entry per parameter in group order: not stepped, off, never stepped."""
    a, b, c, d = params = parameters(((3, 4),) * 4)
    optimizer = MGUPAdamW(
        [{"params": [a, b]}, {"params": [c], "mode": "off"}, {"params": [d]}], statistics=True
    )
    assert optimizer.statistics() == [None] * 4
    give(params, [gradients(params, 0)[0], None, gradients(params, 0)[2], None])
    optimizer.step()
    assert [s is None for s in optimizer.statistics()] == [False, True, True, True]


def test_they_are_of_the_last_step():
    """A parameter that sat out the last step shows nothing of the step before."""
    params = parameters(((3, 4),) * 2)
    optimizer = MGUPAdamW(params, statistics=True)
    advance(optimizer, params, 1)
    assert None not in optimizer.statistics()
    params[0].grad = None
    optimizer.step()
    assert [s is None for s in optimizer.statistics()] == [True, False]
