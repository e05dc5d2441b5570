"""Which coordinates are selected: by a call to the host, or by a graph of counts (P4)."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mgup_core import counting_mask
from mgup_core.partition import partition_mask
from mgup_core.threshold import exact_cut, guess, resolve, sample_stride, scan

SELECTIONS = ("auto", "callback", "graph")
_BLOCK = 1 << 16


def check_selection(selection: Any) -> None:
    """Refuse an unknown way."""
    if selection not in SELECTIONS:
        raise ValueError(f"selection={selection!r} is none of {', '.join(map(repr, SELECTIONS))}.")


def flattens(selection: str) -> bool:
    """Whether scores may be made rows, since one device holds them."""
    return selection == "callback" or (selection == "auto" and jax.device_count() == 1)


def select(scores: Any, k: int, selection: str = "auto") -> Any:
    """The mask of the k largest in each row of canonical ``scores`` (n, d), bool (n, d).

    Args:
        selection: ``"callback"`` asks NumPy for the threshold, the fastest way where one CPU device
            holds the scores. ``"graph"`` counts inside the program, so that it can be exported,
            sharded and run anywhere. ``"auto"`` is the callback for float32 where the program runs
            on the only CPU device, else the graph.
    """
    if scores.size == 0:
        return jnp.zeros(scores.shape, bool)
    if not flattens(selection):
        return graph_mask(scores, k)
    if not isinstance(scores, jax.core.Tracer) and jax.default_backend() == "cpu":
        return jnp.asarray(partition_mask(np.asarray(scores), k))  # nothing to compile
    if selection == "auto" and scores.dtype == jnp.float64:
        # A callback runs in a thread to which the context jax.enable_x64 does not extend.
        return graph_mask(scores, k)
    if selection == "callback":
        return callback_mask(scores, k)
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
    spans = [slice(i, i + _BLOCK) for i in range(0, row.size, _BLOCK)]
    found = None
    if len(spans) > 1:
        low, high = guess(row[:: sample_stride(row.size)], k / row.size)
        found = resolve([scan(row[span], low, high) for span in spans], k, low, high)
    threshold, need = found or exact_cut(row, k)
    for span in spans if need else ():
        ties = np.flatnonzero(row[span] == threshold)
        if need <= ties.size:
            return threshold, span.start + int(ties[need - 1]) + 1
        need -= ties.size
    return threshold, 0


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


def graph_mask(scores: Any, k: int) -> Any:
    """The mask, by the counting search as a loop of the graph."""
    return counting_mask(jnp, scores, k, while_loop=lax.while_loop)
