"""Which coordinates are selected: by a call to the host, or by a graph of counts (P4)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mgup_core import counting_mask
from mgup_core.selection.bracket import boundary, find_cut
from mgup_core.selection.counting import index_dtype
from mgup_core.selection.ordered_keys import Keys
from mgup_core.selection.partition import partition_mask

SELECTIONS = ("auto", "callback", "graph")
_BLOCK = 1 << 16
_LONG = 1 << 20  # where a step's milliseconds are worth a second of compilation
_MIN_PASSES = 3  # passes on a GPU, whose host is asked after each other one whether to go on


def check_selection(selection: Any) -> None:
    """Refuse an unknown way."""
    if selection not in SELECTIONS:
        raise ValueError(f"selection={selection!r} is none of {', '.join(map(repr, SELECTIONS))}.")


def flattens(selection: str) -> bool:
    """Whether scores may be made rows, since one device holds them."""
    return selection == "callback" or jax.device_count() == 1


def select(scores: Any, k: int, selection: str = "auto") -> Any:
    """The mask of the k largest in each row of canonical ``scores`` (n, d), bool (n, d).

    Args:
        selection: ``"graph"`` counts inside the program, so that it can be exported, sharded and
            run anywhere. ``"callback"`` asks NumPy for the threshold where one CPU device holds
            the scores; it is slower for long arrays, and quicker to compile. ``"auto"`` is the
            callback for short float32 arrays where the program runs on the only CPU device, else
            the graph.
    """
    if scores.size == 0:
        return jnp.zeros(scores.shape, bool)
    if selection == "callback":
        return callback_mask(scores, k)
    if selection == "graph" or not flattens(selection):
        return graph_mask(scores, k)
    if not isinstance(scores, jax.core.Tracer) and jax.default_backend() == "cpu":
        return jnp.asarray(partition_mask(np.asarray(scores), k))  # nothing to compile
    # A callback runs in a thread to which the context jax.enable_x64 does not extend.
    if scores.size >= _LONG or scores.dtype == jnp.float64:
        return graph_mask(scores, k)
    return lax.platform_dependent(
        scores, cpu=partial(callback_mask, k=k), default=partial(graph_mask, k=k)
    )


def _host_cuts(scores: Any, k: int) -> tuple[Any, Any]:
    """For rows (..., d): the threshold, and the index below which its ties are in, (..., 1)."""
    scores = np.asarray(scores)
    cuts = [_cut(row, k) for row in scores.reshape(-1, scores.shape[-1])]
    shape = (*scores.shape[:-1], 1)
    thresholds, bounds = zip(*cuts, strict=True)
    return np.array(thresholds, scores.dtype).reshape(shape), np.array(bounds, "i4").reshape(shape)


def _cut(row: Any, k: int) -> tuple[float, int]:
    """One pass over blocks that fit the cache, against a bracket guessed from a sample."""
    spans = [slice(i, min(i + _BLOCK, row.size)) for i in range(0, row.size, _BLOCK)]

    def scores(i: int) -> Any:
        return row[spans[i]]

    def each(work: Callable[[int], Any]) -> list[Any]:
        return [work(i) for i in range(len(spans))]

    cut, ties = find_cut(k, spans, scores, scores, lambda stride: row[::stride], each)
    return cut.threshold, boundary(cut, ties, spans, scores)


def callback_mask(scores: Any, k: int) -> Any:
    """The mask, by a threshold from the host; NaN and -inf are left out, as P7 would."""
    n, d = scores.shape
    results = (
        jax.ShapeDtypeStruct((n, 1), scores.dtype),
        jax.ShapeDtypeStruct((n, 1), jnp.int32),
    )
    threshold, bound = jax.pure_callback(
        partial(_host_cuts, k=k), results, scores, vmap_method="expand_dims"
    )
    return (scores > threshold) | ((scores == threshold) & (jnp.arange(d) < bound))


@partial(jax.jit, static_argnums=1)  # traced once for each shape
def graph_mask(scores: Any, k: int) -> Any:
    """The mask, by the counting search as a loop of the graph."""
    # Behind a barrier, lest each pass makes the scores anew.
    scores = lax.optimization_barrier(scores)
    min_passes = 0 if jax.default_backend() == "cpu" else _MIN_PASSES
    return counting_mask(
        jnp, scores, k,
        loop=repeat, while_loop=lax.while_loop, min_passes=min_passes, counts=counts, keys=BitKeys,
    )  # fmt: skip


def repeat(n: int, body: Callable[[Any], Any], carry: Any) -> Any:
    """``body`` n times over, as a loop of the graph; none, where n is 0, is compiled."""
    return lax.fori_loop(0, n, lambda _, carry: body(carry), carry) if n else carry


def counts(masks: list[Any]) -> list[Any]:
    """How many are true in each row of each mask (n, d): integers (n, 1).

    One reduction with many operands, which XLA makes one pass over what the masks are made of.
    """
    dtype = index_dtype(jnp, masks[0].shape[-1])
    zeros = [np.zeros((), dtype)] * len(masks)

    def add(a: Any, b: Any) -> tuple[Any, ...]:
        return tuple(x + y for x, y in zip(a, b, strict=True))

    sums = lax.reduce(tuple(mask.astype(dtype) for mask in masks), tuple(zeros), add, (1,))
    return [jnp.expand_dims(x, 1) for x in sums]


class BitKeys(Keys):
    """By a bit cast, which is a fraction of the operations to run and to compile."""

    def decode(self, key: Any) -> Any:
        size = jnp.where(key == 0, key, jnp.minimum(abs(key), self.infinity) + self.subnormals)
        value = lax.bitcast_convert_type(size, self.dtype)
        return jnp.where(key < 0, -value, value)

    def encode(self, x: Any) -> Any:
        size = lax.bitcast_convert_type(abs(x), self.int_dtype) - self.subnormals
        size = jnp.clip(size, 0, self.infinity)  # subnormal and NaN
        return jnp.where(x < 0, -size, size)
