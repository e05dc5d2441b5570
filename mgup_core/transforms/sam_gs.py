"""SAM-GS: one gradient from the gradients of several tasks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._checks import check_beta, check_range
from .._typing import Array
from ..numerics.backend import Backend, backend_for
from ..numerics.scalars import ema, inverse_correction
from ..numerics.sums import dot

TRIGGERS = ("mean", "any")


class SAMGSState(NamedTuple):
    """Plain data: the number of steps, a momentum for each task, and v."""

    step: Any
    momenta: tuple[Any, ...]
    deviation: Array


@dataclass(frozen=True)
class SAMGS:
    """SAM-GS: Borsani et al., Gradient Similarity Surgery, 2025, arXiv 2506.06130.

    For gradients g_1 … g_K of shared parameters, as in the official code::

        s_ij = 2|g_i||g_j| / (|g_i|^2 + |g_j|^2) for i < j,     S = mean of s_ij
        m_i <- b1*m_i + (1 - b1)*g_i
        v   <- b2*v + (1 - b2)*(1 - S)^2 + 1e-8
        G = sum_i g_i/|g_i| * mean_j |g_j|                                 if S < threshold
        G = sum_i g_i * |m_i/(1 - b1^t)| / sqrt(v/(1 - b2^t))              else

    and ``K*G`` replaces the gradient, on the scale of the sum of the losses. Norms are over all
    parameters together. The transform reads no array's values, so that it may be compiled.

    Args:
        b1, b2: decay rates, in [0, 1).
        threshold: the similarity below which G has unit gradients, in [0, 1]. The official class
            has the default 0.1, its configurations have 0.7.
        trigger: ``"mean"`` as above, ``"any"`` for the code's reinforcement-learning variant, where
            any s_ij below the threshold is enough.
        scale: the factor of the result; ``None`` is K. The reinforcement-learning variant has 1.

    A task whose gradient is zero adds nothing, where the official code gives NaN; two such tasks
    have similarity 1. It takes NumPy, PyTorch, JAX and MindSpore arrays, with the same bits (N10),
    and arrays of any other array-API namespace.

    >>> import numpy as np
    >>> tasks = [[np.array([3.0, 4.0])], [np.array([0.0, 5.0])]]  # of one length, so similar
    >>> surgery = SAMGS()
    >>> gradient, state = surgery.aggregate(tasks, surgery.init(tasks))
    >>> len(gradient), gradient[0].shape
    (1, (2,))
    """

    b1: float = 0.9
    b2: float = 0.99
    threshold: float = 0.1
    trigger: str = "mean"
    scale: float | None = None

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_range("threshold", self.threshold, "[0, 1]", "similarities lie there.")
        if self.trigger not in TRIGGERS:
            raise ValueError(f"trigger={self.trigger!r} is neither 'mean' nor 'any'.")
        if self.scale is not None:
            check_range("scale", self.scale, "[0, inf)", "None is the number of tasks.")

    def init(self, tasks: Sequence[Any]) -> SAMGSState:
        """The state before the first step.

        Args:
            tasks: a gradient for each task, at least two: lists, tuples or dicts of arrays.

        Raises:
            ValueError: for fewer tasks, or ones that differ in structure or shapes.
        """
        leaves = [_leaves(task) for task in tasks]
        _check(leaves)
        be = backend_for(leaves[0][0])
        momenta = tuple(_like(t, [be.zeros_like(x) for x in _leaves(t)]) for t in tasks)
        return SAMGSState(0, momenta, be.scalar(0.0))

    def aggregate(self, tasks: Sequence[Any], state: SAMGSState) -> tuple[Any, SAMGSState]:
        """(the gradient to train with, the next state).

        Args:
            tasks: as in :meth:`init`. They are not changed.
            state: from :meth:`init` or the last step.

        Raises:
            ValueError: when tasks and state do not fit.
        """
        given, old = [_leaves(task) for task in tasks], [_leaves(m) for m in state.momenta]
        _check([*given, *old])
        if len(given) != len(old):
            raise ValueError(f"tasks are {len(given)}, but the state is of {len(old)}.")
        be, t = backend_for(given[0][0]), state.step + 1
        grads = [[be.cast(x, be.dtype) for x in leaves] for leaves in given]
        momenta = [
            [ema(be, m, g, self.b1) for m, g in zip(*pair, strict=True)]
            for pair in zip(old, grads, strict=True)
        ]

        lengths = [_length(be, leaves) for leaves in grads]
        alike = [_similarity(be, a, b) for a, b in itertools.combinations(lengths, 2)]
        similarity = be.mul(sum(alike[1:], alike[0]), be.scalar(1.0 / len(alike)))
        off = be.scalar(1.0) - similarity
        added = be.mul(be.scalar(1.0 - self.b2), be.mul(off, off)) + be.scalar(1e-8)
        deviation = be.mul(be.scalar(self.b2), state.deviation) + added

        judged = [similarity] if self.trigger == "mean" else alike
        threshold = be.scalar(self.threshold)
        differ = judged[0] < threshold
        for one in judged[1:]:
            differ = differ | (one < threshold)
        mean = be.mul(sum(lengths[1:], lengths[0]), be.scalar(1.0 / len(lengths)))
        spread = be.sqrt(be.mul(deviation, inverse_correction(be, self.b2, t)))
        corrected = be.div(inverse_correction(be, self.b1, t), spread)
        scale = be.scalar(len(tasks) if self.scale is None else self.scale)

        def one_of(i: int, g: Array, m: Array) -> Array:
            """The term of task i."""
            zero = lengths[i] == 0.0
            unit = be.div(mean, be.xp.where(zero, be.scalar(1.0), lengths[i]))
            weight = be.xp.where(differ, unit, be.mul(be.xp.abs(m), corrected))
            return be.mul(be.mul(weight, g), scale)

        leaves = []
        for place, like in enumerate(given[0]):
            parts = [one_of(i, grads[i][place], momenta[i][place]) for i in range(len(tasks))]
            leaves.append(be.cast(sum(parts[1:], parts[0]), like.dtype))
        kept = tuple(_like(task, m) for task, m in zip(tasks, momenta, strict=True))
        return _like(tasks[0], leaves), SAMGSState(t, kept, deviation)


def _length(be: Backend, leaves: list[Array]) -> Array:
    squares = [dot(be, x, x) for x in leaves]
    return be.sqrt(sum(squares[1:], squares[0]))


def _similarity(be: Backend, a: Array, b: Array) -> Array:
    """``2ab / (a^2 + b^2)``; 1 where both are 0."""
    total, one = be.mul(a, a) + be.mul(b, b), be.scalar(1.0)
    product = be.mul(be.scalar(2.0), be.mul(a, b))
    empty = total == 0.0
    return be.xp.where(empty, one, be.div(product, be.xp.where(empty, one, total)))


def _leaves(tree: Any) -> list[Array]:
    if isinstance(tree, dict):
        return [tree[key] for key in sorted(tree)]
    if isinstance(tree, (list, tuple)):
        return list(tree)
    raise TypeError(f"a task must be a list, tuple or dict of arrays, not {type(tree).__name__}.")


def _like(tree: Any, leaves: list[Array]) -> Any:
    if isinstance(tree, dict):
        return dict(zip(sorted(tree), leaves, strict=True))
    return type(tree)(leaves)


def _check(tasks: list[list[Array]]) -> None:
    if len(tasks) < 2:
        raise ValueError(f"tasks are {len(tasks)}: similarity needs at least two.")
    shapes = [[tuple(x.shape) for x in leaves] for leaves in tasks]
    if not shapes[0]:
        raise ValueError("tasks hold no arrays: there is nothing to aggregate.")
    for i, other in enumerate(shapes):
        if other != shapes[0]:
            raise ValueError(
                f"task {i} has shapes {other}, but the first has {shapes[0]}: give each task the "
                "gradients of the same parameters, zeros where it has none."
            )
