"""The reference's bits (N1), in PyNative, on an accelerator's path, and as a graph."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

import mgup_core as core
from mgup_conformance.compare import check_close, check_identical
from mgup_conformance.data import tiny_gradients
from mgup_mindspore import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon, optimizer

from .support import DTYPES, SHAPES, Beside, arrays, parameters, to_numpy

RATES = {"lr": 1e-2, "weight_decay": 0.1}

RULES = {
    "adamw": (MGUPAdamW, core.AdamW, {}),
    "adamw paper": (MGUPAdamW, core.AdamW, {"form": "paper"}),
    "adamw published": (MGUPAdamW, core.AdamW, {"form": "published"}),
    "adamw betas": (MGUPAdamW, core.AdamW, {"b1": 0.8, "b2": 0.95, "eps": 1e-3}),
    "lion": (MGUPLion, core.Lion, {}),
    "sgd": (MGUPSGD, core.SGD, {}),
    "sgd nesterov": (MGUPSGD, core.SGD, {"nesterov": True}),
    "sgd dampened": (MGUPSGD, core.SGD, {"dampening": 0.3}),
    "sgd coupled": (MGUPSGD, core.SGD, {"coupled_decay": True}),
}

POLICIES = {
    "default": ({}, core.MGUP()),
    "mild": ({"tau": 0.29, "alpha": 1.3, "gamma": 0.7}, core.MGUP(0.29, 1.3, 0.7)),
    "sign": ({"mode": "sign"}, core.SignMGUP()),
    "aligned": ({"mode": "sign", "ties": "aligned"}, core.SignMGUP(ties="aligned")),
    "adaptive": ({"mode": "adaptive", "tau_min": 0.6}, core.AdaptiveSignMGUP(0.6)),
    "cautious": ({"mode": "cautious"}, core.Cautious()),
    "off": ({"mode": "off"}, None),
}

ALL = [(rule, policy, dtype) for rule in RULES for policy in POLICIES for dtype in DTYPES]

# Policies and dtypes take turns, so that each meets every other, and few graphs are compiled.
IN_TURN = [
    (rule, policy, [*DTYPES, "bfloat16"][(i + j) % 4])
    for i, rule in enumerate(RULES)
    for j, policy in enumerate(POLICIES)
    if (i + j) % 3 == 0
]
MEETINGS = [
    (rule, list(POLICIES)[i % len(POLICIES)], DTYPES[i % len(DTYPES)])
    for i, rule in enumerate(RULES)
]


OTHER = {"nesterov": False, "scale": "original"}


def beside(rule: str, policy: str, dtype: str, shapes=SHAPES) -> Beside:
    cls, kind, options = RULES[rule]
    kwargs, expected = POLICIES[policy]
    if dtype == "float16" and kind is core.AdamW:
        options = {**options, "eps": 1e-3}  # the default is 0 in float16
    named = {{"b1": "beta1", "b2": "beta2"}.get(k, k): v for k, v in options.items()}
    made = cls(
        parameters(arrays(shapes, dtype)), RATES["lr"], weight_decay=RATES["weight_decay"],
        **named, **kwargs,
    )  # fmt: skip
    return Beside(made, kind(**options), expected, **RATES)


@pytest.mark.parametrize(("rule", "policy", "dtype"), IN_TURN)
def test_pynative(rule, policy, dtype):
    beside(rule, policy, dtype).run(8)


# The suite's compact cases of mindspore_graph meet the other policies (suite/test_backends.py).
@pytest.mark.parametrize(
    ("rule", "policy", "dtype"),
    [pytest.param(*m, marks=[pytest.mark.slow] * (i % 2)) for i, m in enumerate(MEETINGS[::2])],
)
def test_graph(rule, policy, dtype):
    beside(rule, policy, dtype).compiled().run(20)


@pytest.mark.parametrize(("rule", "policy", "dtype"), MEETINGS[5:6])
def test_graph_mode(graph_mode, rule, policy, dtype):
    """The mode of the context, in which the optimizer itself is compiled when it is called."""
    beside(rule, policy, dtype).run(5)


@pytest.mark.parametrize(("rule", "policy", "dtype"), MEETINGS[::4])
def test_operation_by_operation(off_host, rule, policy, dtype):
    """PyNative as it runs on an accelerator: the recorded program, and selection as a graph."""
    beside(rule, policy, dtype, SHAPES[:2]).run(3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*none is selected")  # of the one coordinate: P3
@pytest.mark.parametrize(("rule", "policy", "dtype"), ALL)
def test_graph_at_length(rule, policy, dtype):
    beside(rule, policy, dtype, ((64,), (1,), (8, 3, 5, 5), (0,), (257, 129))).compiled().run(200)


@pytest.mark.parametrize(
    ("cls", "compiled"),
    [
        pytest.param(MGUPAdamW, False, id="adamw-pynative"),
        pytest.param(MGUPAdamW, True, id="adamw-graph"),
        pytest.param(MGUPSGD, False, id="sgd-pynative"),
        # AdamW's graph has these flushes, too.
        pytest.param(MGUPSGD, True, id="sgd-graph", marks=pytest.mark.slow),
    ],
)
def test_tiny_gradients(cls, compiled):
    """N6, P2: |g| log-uniform down to the smallest subnormal, 30 % zeros, from w = 0."""
    shapes = ((300,), (17, 9))
    made = cls(parameters([np.zeros(s, np.float32) for s in shapes]), 1.0, weight_decay=0.0)
    run = Beside(made, cls.rule_class(), core.MGUP(), lr=1.0, weight_decay=0.0)
    run = run.compiled() if compiled else run
    feed = tiny_gradients("mindspore", shapes, "float32")
    for _ in range(12):
        run.step(next(feed))


@pytest.mark.parametrize("compiled", [False, True], ids=["pynative", "graph"])
def test_special_values_and_shapes(compiled):
    """P5, P7, R6: a stack, an empty parameter, one coordinate; infinite and NaN gradients."""
    values = arrays(((3, 5, 7), (0,), (1,)))
    params = parameters(values)
    groups = [{"params": params[:1], "stacked_dims": 1}, {"params": params[1:]}]
    with pytest.warns(UserWarning, match="none is selected.*mode='off'"):  # P3
        made = MGUPAdamW(groups, learning_rate=1e-2, weight_decay=0.1)
    run = Beside(made, core.AdamW(), core.MGUP(), stacked_dims={0: 1}, **RATES)
    run = run.compiled() if compiled else run
    run.step()
    grads = run.gradients()
    grads[0].reshape(-1)[:6] = [np.nan, np.inf, -np.inf, 1e-44, -0.0, 3e38]
    run.step(grads)
    run.step()


@pytest.mark.parametrize(
    ("options", "compiled"),
    [
        pytest.param({}, False, id="pynative"),
        pytest.param({}, True, id="graph"),
        pytest.param(OTHER, False, id="other-pynative"),
        pytest.param(OTHER, True, id="other-graph", marks=pytest.mark.slow),
    ],
)
def test_muon(options, compiled):
    """N7, N8: state identical, and where the step is large tells that the mask is."""
    shapes = ((6, 9), (9, 6), (8, 8))
    names = ["a.weight", "b.weight", "c.weight"]
    zeros = [np.zeros(s, np.float32) for s in shapes]
    made = MGUPMuon(parameters(zeros, names), 1.0, weight_decay=0.0, **options)
    take = ms.jit(made.construct) if compiled else made
    reference = core.Optimizer(core.Muon(**options), core.MGUP(), lr=1.0, weight_decay=0.0)
    expected, state, before = zeros, reference.init(zeros), zeros
    for step in range(3):
        grads = arrays(shapes, seed=10 + step)
        take(tuple(map(ms.Tensor, grads)))
        expected, state = reference.step(expected, grads, state)
        after = [to_numpy(p) for p in made.parameters]
        for i, w in enumerate(after):
            check_close("parameter", expected[i], w, step=step, parameter=i)
            check_identical(
                "buffer", state.arrays[i]["momentum_buffer"], to_numpy(made.momentum_buffer[i])
            )
        before = after
    assert before is not zeros


def test_off_equals_alpha_and_gamma_one():
    """P11: the base rule, bit for bit."""
    made = MGUPAdamW(parameters(arrays()), 1e-2, weight_decay=0.1, alpha=1.0, gamma=1.0)
    Beside(made, core.AdamW(), None, **RATES).run(5)


def test_any_rule_makes_a_class():
    class Heavy(core.SGD):
        pass

    cls = optimizer(Heavy, name="MGUPHeavy", positional=("learning_rate", "momentum"))
    assert cls.__name__ == "MGUPHeavy"
    made = cls(parameters(arrays()), 0.05, 0.7)
    Beside(made, Heavy(momentum=0.7), core.MGUP(), lr=0.05, weight_decay=0.0).run(3)


def test_graph_of_a_long_slice():
    """P4: longer than what a search with a while loop takes a sample of, in a graph."""
    start = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    weight = ms.Parameter(ms.Tensor(start), name="w")
    lion = MGUPLion([weight], 1e-2)
    reference = core.Optimizer(core.Lion(), core.MGUP(), lr=1e-2, weight_decay=0.0)
    expected, _ = reference.step([start], [start], reference.init([start]))
    ms.jit(lion.construct)((ms.Tensor(start),))
    np.testing.assert_array_equal(weight.asnumpy(), expected[0])
