"""Only operations documented for Ascend as well as for the CPU; the mask as data (P2, P4)."""

from __future__ import annotations

import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from mgup_conformance.data import SCORES, generator
from mgup_core.selection.partition import partition_mask
from mgup_mindspore import operations as namespace
from mgup_mindspore import selection
from mgup_mindspore.emitter import Recorder
from mgup_mindspore.selection import search

PLATFORMS = re.compile(r"Supported Platforms:\s*\n\s*(.*)")
REFERENCE = re.compile(r":func:`mindspore\.ops\.(\w+)`")


def platforms(operation) -> str:
    """The platforms in an operation's docstring, or in that of the function it refers to."""
    text = (
        operation if callable(operation) and hasattr(operation, "__name__") else type(operation)
    ).__doc__
    if found := PLATFORMS.search(text):
        return found[1]
    return PLATFORMS.search(getattr(ops, REFERENCE.search(text)[1]).__doc__)[1]


@pytest.mark.parametrize("name", namespace.OPERATIONS)
def test_documented_for_ascend_and_cpu(name):
    found = platforms(namespace.OPERATIONS[name])
    assert "Ascend" in found
    assert "CPU" in found


def test_the_table_is_whole():
    """Whatever a program may call is in the table that the test above reads."""
    xp = Recorder()
    x = xp.symbol("x", (2, 3), ms.float32)
    for record in (xp.abs, xp.sign, xp.sqrt, xp.isfinite, xp.matrix_transpose, xp.zeros_like):
        record(x)
    for record in (xp.maximum, xp.minimum):
        record(x, 1.0)
    _ = [x + x, x - x, x * x, x / x, -x, ~((x < x) & (x <= x) | (x > x))]
    _ = [x >= x, x == x, x != x, xp.where(x == x, x, 0.0), xp.reshape(x, (-1,)), xp.sum(x)]
    i = xp.astype(x, ms.int32)
    _ = [i // 4, i % 4]
    xp.matmul(x, xp.matrix_transpose(x))
    xp.cumulative_sum(i, axis=-1)
    xp.take(x, xp.full((1,), 0, dtype=ms.int32), axis=0)
    xp.sum(x, axis=-1, keepdims=True)
    xp.loop(2, lambda c: (c[0] + c[0],), (x,))
    called = {m for line in xp.lines for m in re.findall(r"\b([a-z_]+)\(", line)}
    assert called <= namespace.OPERATIONS.keys()


@pytest.mark.parametrize(
    ("dtype", "way"),
    [
        (np.float32, "pairs"),
        (np.float64, "pairs"),
        (np.float32, "counts"),
        pytest.param(np.float64, "counts", marks=pytest.mark.slow),
    ],
)
def test_search_selects_as_the_reference(dtype, way, monkeypatch):
    """P2 to P4 as a graph: hard scores and every K that matters; K is data, compiled once."""
    monkeypatch.setattr(selection, "_PAIRS", selection._PAIRS if way == "pairs" else 0)
    rows, d = 2, 101
    compiled = search((rows, d), ms.float64 if dtype == np.float64 else ms.float32).compiled
    wide = dtype == np.float64
    tiny = 2.0 ** (-1021 if wide else -125)
    for pattern, make in SCORES.items():
        with np.errstate(over="ignore"):
            scores = make(generator(pattern), rows * d, wide).astype(dtype).reshape(rows, d)
        scores = np.where(np.abs(scores) < tiny, dtype(0), scores)
        for k in (0, 1, d // 2, d - 1, d):
            wanted = Tensor(np.full((rows, 1), k, np.int32))
            (mask,) = compiled(Tensor(scores), wanted)
            assert (mask.asnumpy() == partition_mask(scores, k)).all(), (pattern, k)
