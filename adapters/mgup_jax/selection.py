"""Which coordinates are selected: by a call to the host, or by a graph of counts (P4).

Both search the slices of many arrays at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.buffer_callback import buffer_callback

from mgup_core import counting_mask
from mgup_core.selection.bracket import boundary, find_cut
from mgup_core.selection.counting import index_dtype
from mgup_core.selection.ordered_keys import Keys
from mgup_core.selection.partition import partition_mask

from .arguments import Selection

SELECTIONS: tuple[str, ...] = get_args(Selection)
_BLOCK = 1 << 16
_PARTITIONED = 1 << 20  # where one pass is worth more than a partition
_LONG = 1 << 20  # where a step's milliseconds are worth a second of compilation
_MIN_PASSES = 3  # passes on a GPU, whose host is asked after each other one whether to go on


def check_selection(selection: Any) -> None:
    """Refuse an unknown way."""
    if selection not in SELECTIONS:
        raise ValueError(f"selection={selection!r} is none of {', '.join(map(repr, SELECTIONS))}.")


def flattens(selection: str) -> bool:
    """Whether scores may be made rows, since one device holds them."""
    return selection == "callback" or jax.device_count() == 1


def select(rows: list[Any], ks: list[int], selection: str = "auto") -> list[Any]:
    """For each array (n, d) of canonical scores the mask of the k largest in each row, bool.

    All arrays are searched together where they can be: a call to the host costs as much as the
    search in a small array, and a search in the program takes a quarter of a second to compile.

    Args:
        rows: of one dtype.
        selection: ``"graph"`` counts inside the program, so that it can be exported, sharded and
            run anywhere: one search for all rows of one length. ``"callback"`` asks NumPy for all
            thresholds at once where one CPU device holds the scores; it is quicker to compile, and
            slower for long arrays. ``"auto"`` is the callback for short float32 arrays where the
            program runs on the only CPU device, else the graph.
    """
    ways = [_way(scores, selection) for scores in rows]
    masks: list[Any] = [None] * len(rows)
    for way, search in _SEARCHES.items():
        chosen = [i for i, its in enumerate(ways) if its == way]
        if chosen:
            found = search([rows[i] for i in chosen], [ks[i] for i in chosen])
            for i, mask in zip(chosen, found, strict=True):
                masks[i] = mask
    return masks


def _way(scores: Any, selection: str) -> str:
    if scores.size == 0:
        return "empty"
    if selection != "auto":
        return selection
    if not flattens(selection):
        return "graph"
    if not isinstance(scores, jax.core.Tracer) and jax.default_backend() == "cpu":
        return "host"
    # A callback runs in a thread to which the context jax.enable_x64 does not extend.
    return "graph" if scores.size >= _LONG or scores.dtype == jnp.float64 else "platform"


def _empty(rows: list[Any], ks: list[int]) -> list[Any]:
    del ks
    return [jnp.zeros(scores.shape, bool) for scores in rows]


def _on_host(rows: list[Any], ks: list[int]) -> list[Any]:
    """With nothing to compile."""
    pairs = zip(rows, ks, strict=True)
    return [jnp.asarray(partition_mask(np.asarray(scores), k)) for scores, k in pairs]


def _by_platform(rows: list[Any], ks: list[int]) -> list[Any]:
    masks: list[Any] = lax.platform_dependent(
        rows, cpu=partial(_masks_in_place, ks=ks), default=partial(graph_masks, ks=ks)
    )
    return masks


def _of_one_length(rows: list[Any], ks: list[int]) -> list[list[int]]:
    """Which arrays can be searched as one, since they have the same length and K."""
    groups: dict[Any, list[int]] = {}
    for i, scores in enumerate(rows):
        alone = i if scores.size >= _LONG else None  # where a copy costs more than a compilation
        groups.setdefault((alone, scores.shape[1], ks[i]), []).append(i)
    return list(groups.values())


def callback_masks(rows: list[Any], ks: list[int]) -> list[Any]:
    """The masks, from one call to the host; of long rows NaN and -inf are left out, as P7 would."""
    if jax.device_count() > 1:
        return _masks_of_copies(rows, ks)
    masks: list[Any] = lax.platform_dependent(
        rows, cpu=partial(_masks_in_place, ks=ks), default=partial(_masks_of_copies, ks=ks)
    )
    return masks


def _masks_in_place(rows: list[Any], ks: list[int]) -> list[Any]:
    """By NumPy on the program's own memory: to copy many small arrays takes as long as to search.

    A mask for each array: XLA compiles what it makes of them once for all of a shape, unless each
    is cut out of another.
    """

    def fill(context: Any, masks: list[Any], *scores: Any) -> None:
        del context
        found = _host_masks(*scores, groups=groups, ks=ks)
        for mask, values in zip(masks, found, strict=True):
            np.asarray(mask)[...] = values

    groups = _of_one_length(rows, ks)
    kinds = [jax.ShapeDtypeStruct(scores.shape, bool) for scores in rows]
    masks: list[Any] = buffer_callback(fill, kinds, vmap_method="broadcast_all")(*rows)
    return masks


def _masks_of_copies(rows: list[Any], ks: list[int]) -> list[Any]:
    """From whatever devices hold the scores."""
    search = partial(_host_masks, groups=_of_one_length(rows, ks), ks=ks)
    kinds = [jax.ShapeDtypeStruct(scores.shape, bool) for scores in rows]
    masks: list[Any] = jax.pure_callback(search, kinds, *rows, vmap_method="broadcast_all")
    return masks


def _host_masks(*rows: Any, groups: list[list[int]], ks: list[int]) -> list[Any]:
    """For each array (..., n, d) its mask; a group is of one d and k, and is one search."""
    masks: list[Any] = [None] * len(rows)
    for own in groups:
        parts = [np.asarray(rows[i]) for i in own]
        flat = [part.reshape(-1, part.shape[-1]) for part in parts]
        found = _host_mask(flat[0] if len(flat) == 1 else np.concatenate(flat), ks[own[0]])
        begin = 0
        for i, part, rest in zip(own, parts, flat, strict=True):
            masks[i] = found[begin : begin + len(rest)].reshape(part.shape)
            begin += len(rest)
    return masks


def _host_mask(rows: Any, k: int) -> Any:
    """The mask of ``rows`` (n, d)."""
    long = k > 0 and rows.shape[1] > _PARTITIONED
    return np.stack([_of_long(row, k) for row in rows]) if long else partition_mask(rows, k)


def _of_long(row: Any, k: int) -> Any:
    """One pass over blocks that fit the cache, against a bracket guessed from a sample."""
    spans = [slice(i, min(i + _BLOCK, row.size)) for i in range(0, row.size, _BLOCK)]

    def scores(i: int) -> Any:
        return row[spans[i]]

    def each(work: Callable[[int], Any]) -> list[Any]:
        return [work(i) for i in range(len(spans))]

    cut, ties = find_cut(k, spans, scores, scores, lambda stride: row[::stride], each)
    end = boundary(cut, ties, spans, scores)
    mask = row > cut.threshold
    mask[:end] |= row[:end] == cut.threshold
    return mask


def graph_masks(rows: list[Any], ks: list[int]) -> list[Any]:
    """The masks, by one search in the program for all rows of one length."""
    masks: list[Any] = [None] * len(rows)
    for own in _of_one_length(rows, ks):
        ends = np.cumsum([rows[i].shape[0] for i in own])[:-1].tolist()
        together = rows[own[0]] if len(own) == 1 else jnp.concatenate([rows[i] for i in own])
        for i, mask in zip(own, jnp.split(graph_mask(together, ks[own[0]]), ends), strict=True):
            masks[i] = mask
    return masks


_SEARCHES: dict[str, Callable[[list[Any], list[int]], list[Any]]] = {
    "empty": _empty,
    "host": _on_host,
    "callback": callback_masks,
    "graph": graph_masks,
    "platform": _by_platform,
}


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
