"""R7: hyperparameters are values of a step; changing them compiles nothing."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

import mgup_core as core
from mgup_mindspore import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import Beside, arrays, parameters, tensors, to_numpy

CASES = {
    "adamw": (
        MGUPAdamW,
        core.AdamW,
        lambda i: {"beta1": 0.9 - 0.05 * i, "beta2": 0.99 + 0.002 * i, "eps": 1e-8 * (i + 1)},
    ),
    "equal betas": (MGUPAdamW, core.AdamW, lambda i: {"beta1": 0.9, "beta2": 0.9 + 0.02 * i}),
    "lion": (MGUPLion, core.Lion, lambda i: {"beta1": 0.9 - 0.1 * i, "beta2": 0.9 + 0.02 * i}),
    "sgd": (MGUPSGD, core.SGD, lambda i: {"momentum": 0.9 - 0.1 * i}),
}


def rule_of(kind, values):
    return kind(**{{"beta1": "b1", "beta2": "b2"}.get(n, n): x for n, x in values.items()})


def compilations() -> int:
    """How many graphs ms.jit has compiled in this process."""
    return len(ms.graph.api.ms_compile_cache)


@pytest.mark.parametrize("compiled", [False, True], ids=["pynative", "graph"])
@pytest.mark.parametrize("case", CASES)
def test_changed_at_every_step(case, compiled):
    """The bits of an optimizer that had the new numbers, and no compilation after the first."""
    cls, kind, values_at = CASES[case]
    made = cls(parameters(arrays(((7, 5), (33,)))), 1e-2, weight_decay=0.1, **values_at(0))
    run = Beside(made, rule_of(kind, values_at(0)), core.MGUP(), lr=1e-2, weight_decay=0.1)
    run = run.compiled() if compiled else run
    fresh = compilations()
    run.step()
    first = compilations()
    assert first == fresh + compiled  # so that it is known to count
    for i in range(1, 4):
        values = values_at(i)
        alpha, gamma, decay = 2.0 - 0.1 * i, 0.5 + 0.1 * i, 0.1 / i
        made.set_hyperparameters(**values, alpha=alpha, gamma=gamma, weight_decay=decay)
        run.reference = core.Optimizer(
            rule_of(kind, values), core.MGUP(0.5, alpha, gamma), lr=1e-2, weight_decay=decay
        )
        run.step()
    assert compilations() == first


def test_muon_and_its_adamw():
    values = arrays(((6, 4), (6,)))
    made = MGUPMuon(parameters(values, ["a.weight", "a.bias"]), 1e-2)
    made.set_hyperparameters(adamw_beta1=0.8, momentum=0.9)
    fresh = MGUPMuon(
        parameters(values, ["a.weight", "a.bias"]), 1e-2, adamw_beta1=0.8, momentum=0.9
    )
    for one in (made, fresh):
        for seed in range(2):
            one(tensors(arrays(((6, 4), (6,)), seed=seed)))
    for p, q in zip(made.get_parameters(), fresh.get_parameters(), strict=True):
        np.testing.assert_array_equal(to_numpy(p), to_numpy(q))


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"beta1": 1.0}, ValueError, r"beta1=1.0 is outside \[0, 1\)"),
        ({"gamma": 0.0}, ValueError, "gamma=0.0"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay=-0.1"),
        ({"weight_decay": 0.0}, ValueError, "weight_decay=0.0 makes another program"),
        ({"tau": 0.3}, KeyError, "tau: no number of this optimizer that may change"),
        ({"form": "paper"}, KeyError, "form: no number"),
        ({"beta1": 0.8, "momentum": 0.9}, KeyError, "momentum: no number"),
    ],
    ids=str,
)
def test_what_cannot_change(values, error, message):
    made = MGUPAdamW(parameters(arrays(((7, 5),))), 1e-2, weight_decay=0.1)
    with pytest.raises(error, match=message):
        made.set_hyperparameters(**values)
    Beside(made, core.AdamW(), core.MGUP(), lr=1e-2, weight_decay=0.1).run(2)
