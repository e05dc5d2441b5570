"""The counting search: over devices that share a row, and inside a traced graph (P4)."""

from __future__ import annotations

import threading
import types

import array_api_compat.numpy
import array_api_strict as xps
import numpy as np
import pytest
from array_api_compat import numpy as array_api
from hypothesis import given, settings
from hypothesis import strategies as st

from mgup_conformance.data import SCORES, generator
from mgup_core import NumPyBackend, counting_mask
from mgup_core.selection import counting

from .support import oracle_mask, score_rows, strictly


class Devices:
    """Threads that stand for devices; an all-reduce sums their counts when all have arrived."""

    def __init__(self, n: int) -> None:
        self.given: dict[int, object] = {}
        self.barrier = threading.Barrier(n, timeout=600)
        self.sizes: set[int] = set()

    def all_reduce(self, place: int):
        def reduce(counts):
            self.given[place] = counts
            self.sizes.add(counts.size)
            self.barrier.wait()
            total = sum(self.given.values())
            self.barrier.wait()  # nobody gives the next before all have read this one
            return total

        return reduce

    def run(self, xp, parts: list, index: list, k: int, total: int) -> list:
        masks: list = [None] * len(parts)

        def work(place: int) -> None:
            try:
                masks[place] = counting_mask(
                    xp,
                    parts[place],
                    k,
                    all_reduce=self.all_reduce(place),
                    index=index[place],
                    total=total,
                )
            except Exception:
                self.barrier.abort()
                raise

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(parts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return masks


@settings(max_examples=40)
@given(case=score_rows(max_side=16), data=st.data())
def test_shards_select_what_the_whole_selects(case, data):
    """P4: shards may be uneven, empty or interleaved; devices exchange one count for each row."""
    scores, k = case
    scores = np.where(np.abs(scores) < 1e-30, 0, scores).astype(scores.dtype)
    d = scores.shape[1]
    owner = np.array(data.draw(st.lists(st.integers(0, 2), min_size=d, max_size=d)))
    index = [np.flatnonzero(owner == i).astype(np.int32) for i in range(3)]
    devices = Devices(3)
    masks = devices.run(array_api, [scores[:, at] for at in index], index, k, d)
    together = np.zeros(scores.shape, bool)
    for at, mask in zip(index, masks, strict=True):
        together[:, at] = mask
    np.testing.assert_array_equal(together, oracle_mask(scores, k))
    assert devices.sizes == {scores.shape[0]}


def test_shards_strictly():
    """The search needs only operations of the array API."""
    scores = np.array([[3, 1, 3, np.nan, 3, -np.inf]], np.float32)
    index = [np.array([0, 1]), np.array([], int), np.array([2, 3, 4, 5])]
    with strictly():
        masks = Devices(3).run(
            xps,
            [xps.asarray(scores[:, at]) for at in index],
            [xps.asarray(at, dtype=xps.int32) for at in index],
            2,
            6,
        )
    assert np.concatenate(masks, axis=1).tolist() == [[True, False, True, False, False, False]]


def test_counts_of_a_huge_row_do_not_overflow():
    """A row of 2^32 elements over 2^30 devices, all equal: int32 counts would wrap around."""
    copies = 2**30
    xp = types.SimpleNamespace(**vars(array_api))
    # NumPy widens what it sums; JAX, for one, does not.
    xp.sum = lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)
    dtypes = set()

    def all_reduce(counts):
        dtypes.add(counts.dtype)
        return counts * copies

    counting_mask(
        xp,
        np.ones((1, 4), np.float32),
        2**31,
        all_reduce=all_reduce,
        index=np.arange(4, dtype=np.int64),
        total=4 * copies,
    )
    assert dtypes == {np.dtype(np.int64)}


def test_sharing_needs_the_index():
    """The error names the missing argument."""
    with pytest.raises(ValueError, match="`index` and `total`"):
        counting_mask(array_api, np.zeros((1, 2)), 1, all_reduce=lambda counts: counts)


def test_a_loop_of_the_caller():
    """`loop` replaces the unrolled search, for compilers that have one."""
    turns = []

    def loop(n, body, carry):
        turns.append(n)
        for _ in range(n):
            carry = body(carry)
        return carry

    scores = np.array([[1.0, 3.0, 2.0]])
    assert counting_mask(array_api, scores, 1, loop=loop).tolist() == [[False, True, False]]
    assert turns == [65]


def counted(masks):
    return [mask.sum(axis=1, keepdims=True, dtype=np.int32) for mask in masks]


@pytest.mark.parametrize("min_passes", [0, 3])
@pytest.mark.parametrize("counts", [None, counted])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pattern", SCORES)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_guesses_change_no_mask(pattern, dtype, counts, min_passes, monkeypatch):
    """P4: with a while loop, from a sample and by interpolation, in bounded turns.

    Turns that come before it are asked whether to go on change nothing where none was needed.
    """
    monkeypatch.setattr(counting, "SAMPLE", 32)
    turns = []

    def while_loop(condition, body, carry):
        turns.append(0)
        while condition(carry):
            carry, turns[-1] = body(carry), turns[-1] + 1
        return carry

    be = NumPyBackend(array_api_compat.numpy, dtype)
    for d in (1, 2, 17, 500):
        scores = SCORES[pattern](generator(pattern, d), d, dtype is np.float64).astype(dtype)
        scores = be.flush(scores[None], be.tiny_score)
        for k in {0, 1, d // 2, d - 1, d}:
            with np.errstate(all="ignore"):
                mask = counting_mask(
                    array_api,
                    scores,
                    k,
                    while_loop=while_loop,
                    min_passes=min_passes,
                    counts=counts,
                )
            np.testing.assert_array_equal(mask, oracle_mask(scores, k))
    assert max(turns) <= 3 * (33 if dtype is np.float32 else 65)


def strictly_counted(masks):
    return [counting.cumulative_count(xps, mask) for mask in masks]


@pytest.mark.parametrize("counts", [None, strictly_counted])
def test_scores_on_another_device(counts):
    """Every array that the search makes is on the device of the scores."""
    device = xps.Device("device1")
    scores = np.random.default_rng(0).standard_normal((2, 500)).round(1).astype(np.float32)
    there = xps.asarray(scores, device=device)
    mask = counting_mask(xps, there, 200, while_loop=counting.python_while, counts=counts)
    assert mask.device == device
    host = xps.asarray(mask, device=xps.Device("CPU_DEVICE"))
    np.testing.assert_array_equal(np.asarray(host), oracle_mask(scores, 200))
