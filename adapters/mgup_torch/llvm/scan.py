"""Counts a block of scores against a bracket, as :mod:`mgup_core.selection.bracket` does."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from mgup_core.selection.bracket import Scan, holds_one

from .jit import INDEX, address, compiled, ir, real, void_function

WIDTH = 16
"""The number of scores compared at once; the length of their buffers is a multiple of it."""


def scan(scores: Any, low: float, high: float, between: Any) -> Scan:
    """Count canonical scores against the bracket (low, high].

    Args:
        scores: (n,), n >= 1, followed in memory by -inf up to a multiple of :data:`WIDTH`.
        between: a buffer of the padded length, overwritten.
    """
    counts = np.empty(2, np.int64)
    bracket = np.array([low, high], scores.dtype)
    arrays = (scores, bracket, between, counts)
    scan_code(scores.dtype.name)(*map(address, arrays), scores.size)
    above_low, above_high = counts.tolist()
    kept = 0 if holds_one(scores.dtype.type, low, high) else above_low - above_high
    return Scan(above_high, above_low, between[:kept].copy())


@functools.cache
def scan_code(dtype: str) -> Any:
    """The machine code of :func:`scan`; request it once before several threads need it."""
    cell = real(dtype)
    lanes, flags = (ir.VectorType(kind, WIDTH) for kind in (cell, ir.IntType(1)))
    module = ir.Module()
    function = void_function(module, "scan", [cell, cell, cell, INDEX])
    scores, bracket, between, counts, length = function.args
    start, loop, some, rest, end = map(
        function.append_basic_block, ("start", "loop", "some", "rest", "end")
    )
    compress = ir.Function(
        module,
        ir.FunctionType(ir.VoidType(), [lanes, cell.as_pointer(), flags]),
        f"llvm.masked.compressstore.v{WIDTH}f{dtype[-2:]}",
    )
    b = ir.IRBuilder(start)

    def in_all_lanes(i: int) -> Any:
        none = ir.Constant(lanes, ir.Undefined)
        one = b.insert_element(none, b.load(b.gep(bracket, [INDEX(i)])), INDEX(0))
        return b.shuffle_vector(one, none, ir.VectorType(ir.IntType(32), WIDTH)([0] * WIDTH))

    def bits(mask: Any) -> Any:
        return b.bitcast(mask, ir.IntType(WIDTH))

    bounds = [in_all_lanes(i) for i in range(2)]
    b.branch(loop)

    b.position_at_end(loop)
    place, *before = (b.phi(INDEX) for _ in range(3))
    here = b.bitcast(b.gep(scores, [place]), lanes.as_pointer())
    values = b.load(here, align=np.dtype(dtype).itemsize)
    masks = [b.fcmp_ordered(">", values, bound) for bound in bounds]
    after = [
        b.add(count, b.zext(b.ctpop(bits(mask)), INDEX))
        for count, mask in zip(before, masks, strict=True)
    ]
    inside = b.xor(*masks)
    b.cbranch(b.icmp_unsigned("==", bits(inside), ir.IntType(WIDTH)(0)), rest, some)

    b.position_at_end(some)
    b.call(compress, [values, b.gep(between, [b.sub(*before)]), inside])
    b.branch(rest)

    b.position_at_end(rest)
    following = b.add(place, INDEX(WIDTH))
    for phi, value in zip((place, *before), (following, *after), strict=True):
        phi.add_incoming(INDEX(0), start)
        phi.add_incoming(value, rest)
    b.cbranch(b.icmp_signed("<", following, length), loop, end)

    b.position_at_end(end)
    for i, count in enumerate(after):
        b.store(count, b.gep(counts, [INDEX(i)]))
    b.ret_void()
    return compiled(str(module))["scan"]
