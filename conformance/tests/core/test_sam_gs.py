"""SAM-GS: the official equations, similarity in its known cases, and tasks without gradient.

No clause: the paper and the official code decide.
"""

from __future__ import annotations

import array_api_strict as xps
import numpy as np
import pytest

from mgup_core import SAMGS

from .support import strictly

SHAPES = {"a": (2, 3), "b": (4,)}


def flat_tasks(tasks=3, steps=6, seed=0):
    """For each step, the gradients of the tasks as columns of different lengths."""
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal((10, tasks)) * np.exp(rng.standard_normal(tasks)) for _ in range(steps)
    ]


def trees(columns, kind=dict):
    """The tasks as dicts or lists of arrays."""
    parts = [{"a": c[:6].reshape(2, 3), "b": c[6:]} for c in columns.T]
    return parts if kind is dict else [list(part.values()) for part in parts]


def flat(tree):
    leaves = tree.values() if isinstance(tree, dict) else tree
    return np.concatenate([np.asarray(x).ravel() for x in leaves])


def official(steps, *, threshold, trigger, b1=0.9, b2=0.99):
    """The code of ThomBors/samgs, with the factor K by which it scales the gradient."""
    m, v, given = 0.0, 0.0, []
    for t, w in enumerate(steps, start=1):
        norms = np.linalg.norm(w, axis=0)
        alike = 2 * np.outer(norms, norms) / (norms[:, None] ** 2 + norms[None] ** 2)
        alike = alike[np.triu_indices(len(norms), 1)]
        m = b1 * m + (1 - b1) * w
        v = b2 * v + ((1 - b2) * (1 - alike.mean()) ** 2) + 1e-8
        differ = alike.mean() < threshold if trigger == "mean" else (alike < threshold).any()
        if differ:
            g = (w / norms * norms.mean()).sum(1)
        else:
            g = (w * abs(m / (1 - b1**t)) / np.sqrt(v / (1 - b2**t))).sum(1)
        given.append(g * len(norms))
    return given


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("trigger", ["mean", "any"])
@pytest.mark.parametrize("threshold", [0.0, 0.7, 1.0])
def test_it_is_the_official_code(threshold, trigger, kind):
    steps = flat_tasks()
    surgery = SAMGS(threshold=threshold, trigger=trigger)
    state = surgery.init(trees(steps[0], kind))
    for w, expected in zip(
        steps, official(steps, threshold=threshold, trigger=trigger), strict=True
    ):
        gradient, state = surgery.aggregate(trees(w, kind), state)
        assert type(gradient) is kind
        np.testing.assert_allclose(flat(gradient), expected, rtol=1e-12)


def test_both_triggers_are_seen():
    """Two of three tasks are alike: one pair is below the threshold, and the mean is not."""
    w = np.diag([1.0, 1.0, 0.1])
    w = np.concatenate([w, np.zeros((7, 3))])
    steps = [w]
    for trigger in ("mean", "any"):
        surgery = SAMGS(threshold=0.4, trigger=trigger)
        gradient, _ = surgery.aggregate(trees(w), surgery.init(trees(w)))
        (expected,) = official(steps, threshold=0.4, trigger=trigger)
        np.testing.assert_allclose(flat(gradient), expected)
    by_mean, by_any = (official(steps, threshold=0.4, trigger=t)[0] for t in ("mean", "any"))
    assert abs(by_mean - by_any).max() > 0.1


def test_equal_lengths_are_alike():
    """S = 1 whatever the angle, so that v is its 1e-8 alone."""
    w = np.zeros((10, 2))
    w[0] = 5.0, 3.0
    w[1, 1] = 4.0
    surgery = SAMGS()
    _, state = surgery.aggregate(trees(w), surgery.init(trees(w)))
    assert state.deviation == 1e-8


@pytest.mark.parametrize(("a", "b"), [(1.0, 2.0), (3.0, 0.5), (4.0, 0.0)])
def test_the_similarity_of_two(a, b):
    """S = 2ab / (a^2 + b^2), read from v."""
    w = np.zeros((10, 2))
    w[0] = a, b
    surgery = SAMGS()
    _, state = surgery.aggregate(trees(w), surgery.init(trees(w)))
    similarity = 2 * a * b / (a * a + b * b)
    np.testing.assert_allclose(state.deviation, 0.01 * (1 - similarity) ** 2 + 1e-8)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
@pytest.mark.parametrize("zeros", [1, 2, 3])
def test_tasks_without_gradient_add_nothing(zeros, threshold):
    """Tasks without gradient add nothing, where the official code divides 0 by 0."""
    w = flat_tasks()[0]
    w[:, :zeros] = 0.0
    surgery = SAMGS(threshold=threshold)
    state = surgery.init(trees(w))
    for _ in range(2):
        gradient, state = surgery.aggregate(trees(w), state)
        assert np.isfinite(flat(gradient)).all()
    if threshold == 1.0 and zeros < 3:
        norms = np.linalg.norm(w, axis=0)
        rest = (w[:, zeros:] / norms[zeros:]).sum(1) * norms.mean() * 3
        np.testing.assert_allclose(flat(gradient), rest)
    if zeros == 3:
        assert not flat(gradient).any()


def test_the_scale_is_the_number_of_tasks_or_as_given():
    w = flat_tasks(tasks=4)[0]
    plain, _ = SAMGS().aggregate(trees(w), SAMGS().init(trees(w)))
    once, _ = SAMGS(scale=1.0).aggregate(trees(w), SAMGS().init(trees(w)))
    np.testing.assert_array_equal(flat(plain), 4 * flat(once))


def test_nothing_given_is_changed_and_dtypes_stay():
    with strictly():
        tasks = [
            {name: xps.asarray(x.astype(np.float32)) for name, x in task.items()}
            for task in trees(flat_tasks()[0])
        ]
        before = [flat(task) for task in tasks]
        surgery = SAMGS(threshold=0.5)
        state = surgery.init(tasks)
        for _ in range(3):
            gradient, new = surgery.aggregate(tasks, state)
            assert all(x.dtype == xps.float32 for x in gradient.values())
            assert {name: x.shape for name, x in gradient.items()} == SHAPES
            assert state.step + 1 == new.step
            state = new
    for task, old in zip(tasks, before, strict=True):
        np.testing.assert_array_equal(flat(task), old)


def test_bad_input():
    with pytest.raises(ValueError, match=r"threshold=2 is outside \[0, 1\]"):
        SAMGS(threshold=2)
    with pytest.raises(ValueError, match="trigger='all' is neither"):
        SAMGS(trigger="all")
    with pytest.raises(ValueError, match=r"b2=1\.0"):
        SAMGS(b2=1.0)
    surgery, tasks = SAMGS(), trees(flat_tasks()[0])
    state = surgery.init(tasks)
    with pytest.raises(ValueError, match="similarity needs at least two"):
        surgery.init(tasks[:1])
    with pytest.raises(ValueError, match="hold no arrays"):
        surgery.init([[], []])
    with pytest.raises(TypeError, match="a task must be a list, tuple or dict"):
        surgery.init([np.ones(3), np.ones(3)])
    with pytest.raises(ValueError, match="tasks are 2, but the state is of 3"):
        surgery.aggregate(tasks[:2], state)
    with pytest.raises(ValueError, match="zeros where it has none"):
        surgery.aggregate([tasks[0], tasks[1], {"a": np.ones(2), "b": np.ones(4)}], state)
