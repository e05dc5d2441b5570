"""Bad input: an error that names the remedy, before anything is computed (P3, P5, P7, R6, N2)."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from mgup_core import (
    MGUP,
    SGD,
    AdamW,
    AdaptiveSignMGUP,
    AnchoredSGD,
    Lion,
    Muon,
    Optimizer,
    SignMGUP,
)

NAN, INF = float("nan"), float("inf")

REFUSED = [
    (lambda: MGUP(tau=-0.1), r"tau=-0\.1 is outside \[0, 1\]"),
    (lambda: MGUP(tau=1.5), r"tau=1\.5 is outside \[0, 1\]"),
    (lambda: MGUP(tau=NAN), r"tau=nan is outside \[0, 1\]"),
    (lambda: MGUP(alpha=0.9), r"alpha=0\.9 is outside \[1, inf"),
    (lambda: MGUP(alpha=INF), r"alpha=inf is outside"),
    (lambda: MGUP(alpha=NAN), r"alpha=nan is outside"),
    (lambda: MGUP(gamma=0.0), r"gamma=0\.0 is outside \(0, 1\].*Cautious"),
    (lambda: MGUP(tau=0), r"^tau=0 selects nothing, and gamma, .*give gamma a value"),
    (lambda: MGUP(tau=1e-60, alpha=2.0), r"^tau=1e-60 selects nothing"),
    (lambda: MGUP(gamma=-1), r"gamma=-1 is outside"),
    (lambda: MGUP(gamma=1.1), r"gamma=1\.1 is outside \(0, 1\]"),
    (lambda: MGUP(gamma=NAN), r"gamma=nan is outside"),
    (lambda: SignMGUP(alpha=0.5), r"alpha=0\.5 is outside"),
    (lambda: SignMGUP(gamma=2.0), r"gamma=2\.0 is outside"),
    (lambda: SignMGUP(ties="up"), r"ties='up' is neither 'damped' \(paper\) nor 'aligned'"),
    (lambda: AdaptiveSignMGUP(0.0), r"tau_min=0\.0 is outside \(0, 1\]"),
    (lambda: AdaptiveSignMGUP(1.01), r"tau_min=1\.01 is outside"),
    (lambda: AdamW(b1=1.0), r"b1=1\.0 is outside \[0, 1\)"),
    (lambda: AdamW(b2=-0.1), r"b2=-0\.1 is outside"),
    (lambda: AdamW(b2=NAN), r"b2=nan is outside"),
    (lambda: AdamW(eps=-1e-8), r"eps=-1e-08 is outside"),
    (lambda: AdamW(eps=INF), r"eps=inf is outside"),
    (lambda: AdamW(form="adamw"), r"form='adamw' is none of 'standard', 'paper', 'published'"),
    (lambda: Lion(b1=2.0), r"b1=2\.0 is outside"),
    (lambda: Lion(b2=1.0), r"b2=1\.0 is outside"),
    (lambda: SGD(momentum=1.0), r"momentum=1\.0 is outside"),
    (lambda: SGD(dampening=1.5), r"dampening=1\.5 is outside"),
    (lambda: SGD(momentum=0.0, nesterov=True), r"nesterov=True needs momentum > 0"),
    (lambda: SGD(dampening=0.1, nesterov=True), r"nesterov=True needs .*dampening=0\.1"),
    (lambda: Muon(momentum=1.0), r"momentum=1\.0 is outside"),
    (lambda: Muon(scale="rms"), r"scale='rms' is none of"),
    (lambda: Muon(ns_steps=0), r"ns_steps=0 is outside \[1, 99\]"),
    (
        lambda: Muon(ns_dtype="float16"),
        r"ns_dtype='float16' is none of 'float32', 'bfloat16', 'exact'",
    ),
    (lambda: Optimizer(AdamW(), lr=-1e-3), r"lr=-0\.001 is outside"),
    (lambda: Optimizer(AdamW(), lr=NAN), r"lr=nan is outside"),
    (lambda: Optimizer(AdamW(), lr=INF), r"lr=inf"),
    (lambda: Optimizer(AdamW(), weight_decay=-0.1), r"weight_decay=-0\.1 is outside"),
    (lambda: Optimizer(AdamW(), weight_decay=INF), r"weight_decay=inf"),
    (lambda: Optimizer(AdamW()).init([]), r"params is empty"),
    (lambda: Optimizer(AdamW()).init({}), r"params is empty"),
    (lambda: Optimizer(Muon()).init([np.ones(3)]), r"params\[0\]: Muon .*shape \(3,\).*AdamW"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_values(make, message):
    """The error names the argument, its value, and the range or the remedy."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MGUP(tau="half"), "tau='half'"),
        (lambda: MGUP(tau=None), "tau=None"),
        (lambda: AdamW(b1="0.9"), "b1='0.9'"),
        (lambda: Optimizer(AdamW()).init(np.ones(3)), "params must be a list, tuple or dict"),
        (lambda: Optimizer(AdamW()).init([np.arange(3)]), r"params\[0\] has dtype int64"),
        (lambda: Optimizer(AdamW()).init([np.ones(3, complex)]), r"params\[0\] has dtype complex"),
        (lambda: Optimizer(AdamW()).init([np.ones(3, bool)]), r"params\[0\] has dtype bool"),
        (lambda: Optimizer(AdamW()).init([np.ones(3, np.uint32)]), r"params\[0\] has dtype uint32"),
    ],
)
def test_kinds(make, message):
    with pytest.raises(TypeError, match=message):
        make()


W = {"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}
STEPS = [
    ({"a": W["a"]}, ValueError, "name different parameters"),
    ({**W, "c": W["a"]}, ValueError, "name different parameters"),
    ({**W, "b": np.ones(5, np.float32)}, ValueError, r"grads\['b'\] is float32 \(5,\).*\(4,\)"),
    ({**W, "b": np.ones(4)}, ValueError, r"grads\['b'\] is float64.*float32"),
    ({**W, "b": np.ones(4, complex)}, TypeError, r"grads\['b'\] has dtype complex128"),
    ({**W, "b": np.ones(4, int)}, TypeError, r"grads\['b'\] has dtype int64"),
    ([W["a"], W["b"]], ValueError, "name different parameters"),
]


@pytest.mark.parametrize(("grads", "error", "message"), STEPS)
def test_gradients_leave_all_untouched(grads, error, message):
    """The first parameter's gradient fits, but the step changes nothing of it either."""
    optimizer = Optimizer(AdamW())
    state = optimizer.init(W)
    before = copy.deepcopy((W, state._asdict()))
    with pytest.raises(error, match=message):
        optimizer.step(W, grads, state)
    np.testing.assert_equal((W, state._asdict()), before)


def test_a_state_of_another_shape():
    optimizer = Optimizer(AdamW())
    state = optimizer.init({**W, "b": np.ones(5, np.float32)})
    with pytest.raises(ValueError, match=r"state 'exp_avg' of 'b' has shape \(5,\).*\(4,\)"):
        optimizer.step(W, W, state)


def test_a_state_without_what_the_rule_reads():
    """The error names the missing state and the rule that reads it."""
    optimizer = Optimizer(AnchoredSGD())
    state = optimizer.init([np.ones(3)])
    del state.arrays[0]["anchor"]
    with pytest.raises(ValueError, match="lacks 'anchor', which AnchoredSGD reads"):
        optimizer.step([np.ones(3)], [np.ones(3)], state)


@pytest.mark.parametrize("lr", [-0.1, NAN, INF])
def test_a_schedule_that_goes_wrong(lr):
    optimizer = Optimizer(AdamW())
    with pytest.raises(ValueError, match="lr="):
        optimizer.step(W, W, optimizer.init(W), lr=lr)


@pytest.mark.parametrize(
    ("kwargs", "name"),
    [({"lr": 1e39}, "lr"), ({"weight_decay": 1e39}, "weight_decay"), ({"alpha": 1e39}, "alpha"),
     ({"eps": 1e39}, "eps")],
)  # fmt: skip
def test_numbers_beyond_the_compute_dtype(kwargs, name):
    """N2: float32 parameters refuse finite numbers beyond float32; float64 ones take them."""
    rates = {n: x for n, x in kwargs.items() if n in ("lr", "weight_decay")}
    rule = AdamW(eps=kwargs.get("eps", 1e-8))
    optimizer = Optimizer(rule, MGUP(alpha=kwargs.get("alpha")), **rates)
    optimizer.init([np.ones(3)])
    with pytest.raises(ValueError, match=rf"{name}=1e\+39 is beyond float32"):
        optimizer.init([np.ones(3, np.float32)])


def test_a_scheduled_rate_beyond_the_compute_dtype():
    optimizer, params = Optimizer(AdamW()), [np.ones(3, np.float32)]
    with pytest.raises(ValueError, match=r"lr=1e\+39 is beyond float32"):
        optimizer.step(params, params, optimizer.init(params), lr=1e39)
