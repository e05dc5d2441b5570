"""MindSpore's operations under the names of the array API: the whole list of what is used.

Programs recorded from the core are run in the name space of this module, so every operation of a
step is one of these. Each is documented for Ascend and for the CPU (a test reads that from the
installed docstrings), and does the same in PyNative and in graph mode. Primitives stand in for
functions that MindSpore announces to remove or change.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops

add, subtract, multiply, divide = ops.add, ops.sub, ops.mul, ops.div
bitwise_and, bitwise_right_shift, floor_mod = (
    ops.bitwise_and,
    ops.bitwise_right_shift,
    ops.floor_mod,
)
less, less_equal, greater, greater_equal = ops.less, ops.le, ops.gt, ops.ge
equal, not_equal = ops.eq, ops.ne
logical_and, logical_or, logical_not = ops.logical_and, ops.logical_or, ops.logical_not
negative, abs, sign, sqrt, isfinite = ops.neg, ops.abs, ops.sign, ops.sqrt, ops.isfinite
reciprocal = ops.reciprocal
round = ops.round
maximum, minimum = ops.maximum, ops.minimum
where, reshape, broadcast_to, zeros_like = ops.where, ops.reshape, ops.broadcast_to, ops.zeros_like
astype, gather, cumsum, matmul, permute = (
    ops.Cast(),
    ops.Gather(),
    ops.CumSum(),
    ops.matmul,
    ops.permute,
)
part, concat = ops.Slice(), ops.cat
total, total_keeping = ops.ReduceSum(), ops.ReduceSum(keep_dims=True)
largest_keeping = ops.ReduceMax(keep_dims=True)
assign = ops.Assign()

bool_, int32, int64 = ms.bool_, ms.int32, ms.int64
float16, bfloat16, float32, float64 = ms.float16, ms.bfloat16, ms.float32, ms.float64

NUMPY = {
    float16: np.float16, float32: np.float32, float64: np.float64,
    int32: np.int32, int64: np.int64, bool_: np.bool_,
}  # fmt: skip
"""NumPy's dtypes, by MindSpore's."""

OPERATIONS: dict[str, Any] = {
    name: value
    for name, value in list(globals().items())
    if name[0] != "_" and name != "Any" and callable(value)
}
