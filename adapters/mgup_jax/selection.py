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

SELECTIONS = ("auto", "callback", "graph")


def check_selection(selection: Any) -> None:
    """Refuse an unknown way."""
    if selection not in SELECTIONS:
        raise ValueError(f"selection={selection!r} is none of {', '.join(map(repr, SELECTIONS))}.")


def select(scores: Any, k: int, selection: str = "auto") -> Any:
    """The mask of the k largest in each row of canonical ``scores`` (n, d), bool (n, d).

    Args:
        selection: ``"callback"`` calls ``numpy.partition`` on the host, the fastest way where one
            CPU device holds the scores. ``"graph"`` counts inside the program, so that it can be
            exported, sharded and run anywhere. ``"auto"`` is the callback where the program runs
            on the only CPU device, else the graph.
    """
    if scores.size == 0:
        return jnp.zeros(scores.shape, bool)
    if selection == "auto" and jax.device_count() > 1:
        selection = "graph"  # the scores may be spread over the devices
    if selection == "graph":
        return graph_mask(scores, k)
    if not isinstance(scores, jax.core.Tracer) and jax.default_backend() == "cpu":
        return jnp.asarray(_host_mask(scores, k))  # nothing to compile
    if selection == "callback":
        return callback_mask(scores, k)
    return lax.platform_dependent(
        scores, cpu=partial(callback_mask, k=k), default=partial(graph_mask, k=k)
    )


def _host_mask(scores: Any, k: int) -> Any:
    """The mask of rows with any number of leading axes, which vmap adds."""
    scores = np.asarray(scores)
    return partition_mask(scores.reshape(-1, scores.shape[-1]), k).reshape(scores.shape)


def callback_mask(scores: Any, k: int) -> Any:
    """The mask, from the host."""
    result = jax.ShapeDtypeStruct(scores.shape, bool)
    return jax.pure_callback(partial(_host_mask, k=k), result, scores, vmap_method="expand_dims")


def graph_mask(scores: Any, k: int) -> Any:
    """The mask, by the counting search as a loop of the graph."""
    return counting_mask(jnp, scores, k, while_loop=lax.while_loop)
