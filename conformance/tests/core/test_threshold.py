"""The cut is right for any bracket that the blocks are counted against (P4)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core.selection.bracket import exact_cut, guess, resolve, scan


def hard(kind: str, d: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "ties":
        return rng.integers(-3, 4, d).astype(np.float32)
    return rng.standard_normal(d).astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "ties"])
def test_a_bracket_gives_the_cut_or_nothing(kind):
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(500):
        scores = hard(kind, int(rng.integers(20, 400)), rng)
        k = int(rng.integers(1, scores.size + 1))
        low, high = sorted(map(float, rng.choice(scores, 2)))
        if low == high:
            low = float(np.nextafter(np.float32(high), np.float32(-np.inf)))
        cut = resolve([scan(part, low, high) for part in np.array_split(scores, 5)], k, low, high)
        if cut is not None:
            found += 1
            assert np.count_nonzero(scores > cut.threshold) + cut.need == k
    assert found > 20


def test_exactly_k_above_the_bracket_s_lower_end():
    """The cut is the end of the bracket, and selects not all scores."""
    scores = np.full(100, -1.0, np.float32)
    scores[7] = 1.0
    cut = resolve([scan(scores, -1.0, 1.0)], 1, -1.0, 1.0)
    assert cut is not None
    assert np.flatnonzero(scores > cut.threshold).tolist() == [7]
    assert cut.need == 0


def test_guesses_nearly_always_enclose():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(200):
        scores = rng.standard_normal(20_001).astype(np.float32)
        low, high = guess(scores[:: scores.size // 4096], 0.5)
        threshold = exact_cut(scores, 10_000).threshold
        missed += not low < threshold <= high
    assert missed <= 3
