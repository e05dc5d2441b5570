"""How JAX counts: keys by a bit cast, many counts in one pass (P4)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mgup_core.selection.ordered_keys import Keys
from mgup_core.selection.partition import partition_mask
from mgup_jax import mgup_adamw
from mgup_jax.selection import BitKeys, _masks_in_place, _masks_of_copies, counts, graph_mask

from .support import step_of


def test_keys_by_a_bit_cast_are_the_core_s():
    rng = np.random.default_rng(0)
    values = rng.standard_normal(10_000) * np.exp2(rng.integers(-120, 120, 10_000))
    ends = np.ldexp(1.0, np.arange(-126, 128))
    values = np.r_[values, ends, -ends, 0.0, np.inf, -np.inf].astype(np.float32)
    values = np.r_[values, np.nextafter(values[np.abs(values) > 1e-37], np.float32(0))]
    here, there = (kind(jnp, jnp.float32, None) for kind in (BitKeys, Keys))
    keys = np.asarray(jax.jit(here.encode)(values))
    np.testing.assert_array_equal(keys, np.asarray(jax.jit(there.encode)(values)))
    np.testing.assert_array_equal(np.asarray(jax.jit(here.decode)(keys)), values)
    np.testing.assert_array_equal(np.asarray(jax.jit(there.decode)(keys)), values)


def test_counts_of_many_masks():
    masks = np.random.default_rng(0).random((5, 3, 100)) < 0.3
    found = jax.jit(lambda *masks: counts(list(masks)))(*masks)
    np.testing.assert_array_equal(np.stack(found), masks.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(("kind", "share"), [("smooth", 0.5), ("ties", 0.1), ("NaN", 0.5)])
def test_long_rows(kind, share):
    """P4: with a sample that says little, several passes, and ties in blocks."""
    scores = np.random.default_rng(0).standard_normal((2, 150_001)).astype(np.float32)
    if kind == "ties":
        scores = np.round(scores * 32) / 32
    if kind == "NaN":
        scores[scores < 1.0] = np.nan
    k = int(share * scores.shape[1])
    mask = jax.jit(graph_mask, static_argnums=1)(scores, k)
    np.testing.assert_array_equal(np.asarray(mask), partition_mask(scores, k))


@pytest.mark.parametrize("search", [_masks_in_place, _masks_of_copies])
def test_many_arrays_in_one_call(search):
    """P4, P5: arrays of one length as one, in the program's own memory or in copies of it."""
    rng, shapes, ks = np.random.default_rng(0), [(1, 9), (3, 50), (1, 50), (2, 9)], [4, 25, 25, 0]
    rows = [rng.integers(-9, 9, (4, *shape)).astype(np.float32) for shape in shapes]
    rows[1][:, :, ::3] = np.nan
    rows[2] = rows[2][0]  # which vmap leaves without its axis
    call = jax.jit(lambda *rows: search(list(rows), ks))
    together = jax.vmap(call, in_axes=(0, 0, None, 0))(*rows)
    for i in range(4):
        one = [x[i] if x.ndim == 3 else x for x in rows]
        for x, k, found, mask in zip(one, ks, call(*one), together, strict=True):
            np.testing.assert_array_equal(found, partition_mask(x, k))
            np.testing.assert_array_equal(mask[i], found)


def test_long_arrays_do_not_ask_the_host():
    """Issue 3: on one device, a short array takes the callback and a long one the graph."""
    step, optimizer = step_of(mgup_adamw(1e-3)), mgup_adamw(1e-3)
    for size, called in ((1 << 10, True), (1 << 20, False)):
        params = jax.ShapeDtypeStruct((size,), jnp.float32)
        lowered = jax.jit(step).lower(params, jax.eval_shape(optimizer.init, params), params)
        assert ("callback" in lowered.as_text()) == called
