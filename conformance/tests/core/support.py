"""Helpers of the core's tests: hard scores for Hypothesis, array-api-strict at its strictest."""

from __future__ import annotations

import array_api_strict
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mgup_conformance import scalar

STRICT = {"boolean_indexing": False, "data_dependent_shapes": False}


def strictly():
    """array-api-strict without the features that compilers and accelerators lack."""
    return array_api_strict.ArrayAPIStrictFlags(**STRICT)


def floats(dtype: np.dtype) -> st.SearchStrategy[float]:
    """Numbers that are hard to rank: ties, zeros of both signs, thresholds, ends of the range."""
    info, width = np.finfo(dtype), np.dtype(dtype).itemsize * 8
    tiny = float(info.tiny)
    hard = [0.0, -0.0, 1.0, -1.0, np.nan, -np.nan, np.inf, -np.inf, float(info.max)]
    hard += [tiny, -tiny, 2 * tiny, float(np.nextafter(dtype(2 * tiny), dtype(0))), tiny / 2]
    hard += [1.0 + float(info.eps) * i for i in range(3)]
    return st.one_of(
        st.sampled_from(hard),
        st.sampled_from(hard[:4]),
        st.floats(width=width, allow_nan=True, allow_subnormal=True),
        st.floats(1.0, 1.0 + 8 * float(info.eps), width=width),
    )


@st.composite
def score_rows(draw, max_side: int = 24):
    """Scores (n, d) of float32 or float64, and a K of those that matter."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n, d = draw(st.integers(1, 3)), draw(st.integers(1, max_side))
    few = draw(st.booleans())
    elements = st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan]) if few else floats(dtype)
    scores = draw(arrays(dtype, (n, d), elements=elements))
    k = draw(st.one_of(st.sampled_from([0, 1, d - 1, d]), st.integers(0, d)))
    return scores, k


def oracle_mask(scores: np.ndarray, k: int) -> np.ndarray:
    """The mask of each row, by plain Python: canonical scores, then the K first by sorting."""
    ar = scalar.Arithmetic(scores.dtype.name)
    mask = np.zeros(scores.shape, bool)
    for row, chosen in zip(scores.tolist(), mask, strict=True):
        chosen[list(scalar.top([ar.flush(s, ar.tiny_score) for s in row], k))] = True
    return mask
