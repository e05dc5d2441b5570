"""Every rule of the core as a MindSpore optimizer: the core's steps, and checkpoints on disk.

It checks N1, and N9 in a graph.
"""

from __future__ import annotations

import mgup_mindspore  # isort: skip  (before any operation of MindSpore: see its startup)
import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor

import mgup_core as core
from mgup_conformance.ports import (
    CLASSES,
    PORTED,
    REPRODUCIBLE,
    compared,
    trains_vectors,
)
from mgup_core.rules.contrib.fismo import inverse_root
from mgup_mindspore.backend import MindSporeBackend
from mgup_mindspore.emitter import Recorder

pytestmark = pytest.mark.filterwarnings("ignore:.*none is selected")


def arrays(name: str, seed: int):
    shapes = [(6, 10), (7,)] if trains_vectors(name) else [(6, 10)]
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def make(name: str, weights):
    params = [Parameter(Tensor(w), name=f"w{i}") for i, w in enumerate(weights)]
    kind = getattr(mgup_mindspore, f"MGUP{CLASSES[name].__name__}")
    return params, kind(params, 1e-2, weight_decay=0.1, **REPRODUCIBLE.get(name, {}))


def step(optimizer, name: str, t: int) -> None:
    optimizer(tuple(Tensor(g) for g in arrays(name, t)))


@pytest.mark.parametrize("name", PORTED)
def test_steps_and_checkpoints(name, tmp_path):
    """PyNative: by bits where the rule is identical; saved to disk and loaded, the same goes on."""
    params, optimizer = make(name, arrays(name, 0))
    reference = core.Optimizer(compared(name), core.MGUP(), lr=1e-2, weight_decay=0.1)
    expected = arrays(name, 0)
    kept = reference.init(expected)
    for t in range(1, 4):
        step(optimizer, name, t)
        expected, kept = reference.step(expected, arrays(name, t), kept)
        for p, w in zip(params, expected, strict=True):
            if reference.rule.identical:
                np.testing.assert_array_equal(p.asnumpy(), w)
            else:
                np.testing.assert_allclose(p.asnumpy(), w, rtol=1e-4, atol=1e-5)
    path = str(tmp_path / "at.ckpt")
    ms.save_checkpoint(optimizer, path)
    others, other = make(name, [p.asnumpy() for p in params])
    missing, _ = ms.load_param_into_net(other, ms.load_checkpoint(path))
    assert not missing
    for one in (optimizer, other):
        step(one, name, 4)
    for p, q in zip(params, others, strict=True):
        np.testing.assert_array_equal(p.asnumpy(), q.asnumpy())


@pytest.mark.slow
@pytest.mark.parametrize("name", PORTED)
def test_steps_in_a_graph(name, graph_mode):
    """Compiled: the reference's steps, by bits where the rule is identical."""
    params, optimizer = make(name, arrays(name, 0))
    reference = core.Optimizer(compared(name), core.MGUP(), lr=1e-2, weight_decay=0.1)
    expected = arrays(name, 0)
    kept = reference.init(expected)
    for t in range(1, 5):
        step(optimizer, name, t)
        expected, kept = reference.step(expected, arrays(name, t), kept)
        for p, w in zip(params, expected, strict=True):
            if reference.rule.identical:
                np.testing.assert_array_equal(p.asnumpy(), w)
            else:
                np.testing.assert_allclose(p.asnumpy(), w, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_gram_form_in_a_graph(graph_mode):
    """R4, N9: Newton-Schulz by Gram matrices, with exact products, is the reference's."""
    options = {
        "ns_form": "gram", "ns_dtype": "exact", "ns_coefficients": "polar_express", "ns_steps": 3,
    }  # fmt: skip
    w, g = (np.random.default_rng(i).standard_normal((6, 10)).astype(np.float32) for i in (0, 1))
    reference = core.Optimizer(core.Muon(**options), core.MGUP(), lr=1e-2)
    params, state = [w], reference.init([w])
    p = Parameter(Tensor(w), name="w")
    optimizer = mgup_mindspore.optimizer(core.Muon)([p], 1e-2, **options)
    for _ in range(2):
        optimizer((Tensor(g),))
        params, state = reference.step(params, [g], state)
    np.testing.assert_array_equal(p.asnumpy(), params[0])


@pytest.mark.parametrize("name", [n for n in PORTED if not trains_vectors(n)])
def test_a_vector_is_refused(name):
    """A rule of matrices names itself and the remedy."""
    with pytest.raises(ValueError, match=CLASSES[name].__name__):
        make(name, [np.zeros(4, np.float32)])


@pytest.mark.slow
def test_schedule_free_in_a_graph(graph_mode):
    test_schedule_free_evaluates_at_the_average()


def test_schedule_free_evaluates_at_the_average():
    """R8: the reference's bits at both points, back to the bit, and no step from the wrong one."""
    w, g = (np.random.default_rng(i).standard_normal((4, 6)).astype(np.float32) for i in (0, 1))
    reference = core.Optimizer(core.ScheduleFreeAdamW(), core.MGUP(), weight_decay=0.1)
    params, state = [w], reference.init([w])
    p = Parameter(Tensor(w), name="w")
    optimizer = mgup_mindspore.MGUPScheduleFreeAdamW([p], weight_decay=0.1)
    for _ in range(3):
        optimizer((Tensor(g),))
        params, state = reference.step(params, [g], state)
    optimizer.eval()
    optimizer.eval()
    assert np.array_equal(p.asnumpy(), reference.evaluation(params, state)[0])
    with pytest.raises(RuntimeError, match=r"optimizer.train\(\)"):
        optimizer((Tensor(g),))
    optimizer.train()
    assert np.array_equal(p.asnumpy(), params[0])
    optimizer((Tensor(g),))
    params, state = reference.step(params, [g], state)
    assert np.array_equal(p.asnumpy(), params[0])


def recorded_root(n: int, steps: int, dtype):
    """FISMO's inverse root of an n x n matrix, with exact products."""
    recorder = Recorder()
    x = recorder.symbol("x", (n, n), dtype)
    return recorder, inverse_root(MindSporeBackend(recorder, dtype), x, steps, "exact")


def test_a_rules_loop_is_a_loop_of_the_graph():
    """Unrolled, FISMO's exact products took the compiler more than twenty minutes (N9)."""
    short, long = (len(recorded_root(3, steps, ms.float32)[0].lines) for steps in (2, 25))
    assert short == long


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_of_a_rules_loop(dtype):
    rng = np.random.default_rng(0)
    half = rng.standard_normal((5, 5))
    x = (half @ half.T + np.eye(5)).astype(dtype)
    expected = inverse_root(core.backend_for(x), x, 9, "exact")
    recorder, root = recorded_root(5, 9, getattr(ms, dtype))
    program = recorder.cell("x", [root])
    for take in (program, program.compiled):
        (made,) = take(Tensor(x))
        np.testing.assert_array_equal(made.asnumpy(), expected)
