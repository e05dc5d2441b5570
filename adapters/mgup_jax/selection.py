"""Which coordinates are selected: by a call to the host, or by a graph of counts (P4).

Both search the slices of many arrays at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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
        rows, cpu=partial(callback_masks, ks=ks), default=partial(graph_masks, ks=ks)
    )
    return masks


def _of_one_length(rows: list[Any], ks: list[int]) -> list[list[int]]:
    """Which arrays can be searched as one, since they have the same length and K."""
    groups: dict[Any, list[int]] = {}
    for i, scores in enumerate(rows):
        alone = i if scores.size >= _LONG else None  # where a copy costs more than a compilation
        groups.setdefault((alone, scores.shape[1], ks[i]), []).append(i)
    return list(groups.values())


class Slices(NamedTuple):
    """n slices of d scores, of which k are wanted."""

    n: int
    d: int
    k: int


def callback_masks(rows: list[Any], ks: list[int]) -> list[Any]:
    """The masks, from one call to the host; of long rows NaN and -inf are left out, as P7 would."""
    order = [i for group in _of_one_length(rows, ks) for i in group]
    layout = [Slices(rows[i].shape[0], rows[i].shape[1], ks[i]) for i in order]
    # One argument, since each costs as much as ten thousand scores. But a mask for each array: XLA
    # compiles what it makes of them once for all of a shape, unless each is cut out of another.
    together = jnp.concatenate([jnp.reshape(rows[i], -1) for i in order])
    found = jax.pure_callback(
        partial(_host_masks, layout=layout),
        [jax.ShapeDtypeStruct((n, d), bool) for n, d, _ in layout],
        together,
        vmap_method="expand_dims",
    )
    return [mask for _, mask in sorted(zip(order, found, strict=True), key=operator.itemgetter(0))]


def _host_masks(scores: Any, layout: list[Slices]) -> list[Any]:
    """For each slices of ``scores`` (..., all) their mask (..., n, d)."""
    scores = np.asarray(scores)
    batch = scores.shape[:-1]
    masks: list[Any] = []
    begin = 0
    for (d, k), alike in groupby(layout, key=operator.itemgetter(1, 2)):
        sizes = [part.n for part in alike]
        end = begin + sum(sizes) * d
        found = _host_mask(scores[..., begin:end].reshape(-1, d), k).reshape(*batch, -1, d)
        masks += np.split(found, np.cumsum(sizes)[:-1].tolist(), axis=-2)
        begin = end
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
