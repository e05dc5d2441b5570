"""One step of one parameter in host memory, in place, by compiled loops (:mod:`.codegen`).

It gives the bits of :class:`mgup_core.host.blocks.BlockStep`. The first pass only computes the
scores, the second takes the step. Each pass reads its arrays once, and no intermediate value
reaches memory.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from mgup_core import NumPyBackend, Policy, Rule
from mgup_core.host.blocks import Cells, Tally, check_lengths, factors, spans_of
from mgup_core.host.threads import each
from mgup_core.selection.bracket import Scan, boundary, find_cut, row_cuts

from .codegen import Code, Function
from .jit import address
from .scan import WIDTH, scan, scan_code


class CompiledStep:
    """One step of one slice of one parameter.

    Args:
        be: bound to the compute dtype of the parameter.
        code: compiled for the form of the rule, and for the policy.
        rule: its floats are those of this step (R7).
        w, g, state: cells of equal length, in C order. ``w`` and ``state`` are changed in place.
        t: the step, from 1.
        lr, weight_decay: numbers.
        spare: the bytes that the step may use besides its arguments, over all threads.
        threads: the number of threads.
        measure: whether to count the selected and the positive, which takes more passes.
        length: the length of a slice, if the cells hold several short slices, of which many are
            ranked at a time. It excludes ``measure``.
    """

    def __init__(
        self,
        be: NumPyBackend,
        code: Code,
        rule: Rule,
        policy: Policy | None,
        w: Cells,
        g: Cells,
        state: dict[str, Cells],
        t: int,
        *,
        lr: float,
        weight_decay: float,
        spare: int,
        threads: int,
        measure: bool,
        length: int | None = None,
    ) -> None:
        self.code, self.be, self.rule, self.policy = code, be, rule, policy
        self.threads, self.measure, self.size = threads, measure, len(w)
        self.length = length
        self.names = ["w", "g", *code.states]
        self.cells = [w, g, *(state[name] for name in code.states)]
        self.dtype: Any = np.dtype(be.host_dtype)
        check_lengths(w, g, state)
        self.bases = [
            address(cells) if _in_place(cells, self.dtype) else None for cells in self.cells
        ]
        if isinstance(w, np.ndarray) and isinstance(g, np.ndarray) and np.may_share_memory(w, g):
            self.bases[1] = None  # copied, since the code assumes that no two arrays overlap
        self.known = {"t": t, "d": length or self.size, "lr": lr, "weight_decay": weight_decay}
        for name in ("alpha", "gamma"):
            self.known[name] = float(getattr(policy, name, 1.0))
        converted = sum(base is None for base in self.bases)
        each_cell = (2 + converted) * self.dtype.itemsize
        self.spans = spans_of(self.size, each_cell * threads, spare, length or 1)
        if policy is not None and policy.ranks and len(self.spans) > 1 and length is None:
            scan_code(self.dtype.name)  # compiled before several threads need it
        self._thread = threading.local()

    def _each(self, work: Callable[[int], Any]) -> list[Any]:
        return each(work, len(self.spans), self.threads)

    def run(self) -> Tally:
        """Take the step, and return what the policy did."""
        with np.errstate(all="ignore"):
            if self.spans and self.policy is not None:
                return self._run(self.policy)
            if self.spans:
                self._move(math.inf, self.size)
            return Tally(self.size, 0, math.inf, 0, 0, 1.0, 1.0)

    def _run(self, policy: Policy) -> Tally:
        assert self.code.scores is not None
        self.score_operands = self.code.scores.operands(self.dtype.type, self.known, self.rule)
        if self.length is not None:
            return self._run_rows(policy, self.length)
        threshold, taken, last, ties, positive = 0.0, 0, self.size, [0], 0
        if policy.ranks:
            cut, ties = find_cut(
                policy.top(self.size), self.spans, self._scores, self._scores, self._sample,
                self._each, self._scan,
            )  # fmt: skip
            threshold, taken = cut
            last = boundary(cut, ties, self.spans, self._scores)
        elif policy.counts:
            positive = self._count(lambda scores: scores > 0.0)
        tally = Tally(self.size, 0, threshold, sum(ties), 0, 1.0, 1.0)
        if self.measure:
            if policy.selects_zero:
                taken = self._count(lambda scores: scores == 0.0)
            high, low = factors(self.be, policy, positive, self.size)
            tally = tally._replace(
                selected=self._count(lambda scores: scores > threshold) + taken,
                positive=self._count(lambda scores: scores > 0.0),
                high=high,
                low=low,
            )
        self.known["positive"] = positive
        self._move(threshold, last)
        return tally

    def _run_rows(self, policy: Policy, length: int) -> Tally:
        """Step the slices of each block as soon as its scores are computed; no slice is split."""
        update, k = self.code.update, policy.top(length)
        operands = update.operands(self.dtype.type, self.known, self.rule, 0.0, 0)

        def move(i: int) -> None:
            thresholds, bounds = row_cuts(self._scores(i).reshape(-1, length), k)
            values, places = operands.copy(), np.concatenate([[length], bounds])
            addresses, held = self._open(self.spans[i], update)
            arrays = map(address, (values, thresholds, places))
            self.code.rows(*addresses, *arrays, len(thresholds))
            self._store(i, held)

        self._each(move)
        return Tally(self.size, 0, math.inf, 0, 0, 1.0, 1.0)

    # -- the pass over the scores ------------------------------------------------------------------

    def _scores(self, i: int) -> Any:
        """The scores of block i, which this thread's next call overwrites."""
        span = self.spans[i]
        if not hasattr(self._thread, "scores"):
            length = -(-self.spans[0].stop // WIDTH) * WIDTH
            self._thread.scores, self._thread.between = (np.empty(length, self.dtype) for _ in "12")
        length = span.stop - span.start
        self._thread.scores[length : length + WIDTH] = -math.inf
        return self._compute_scores(span, self._thread.scores[:length])

    def _scan(self, scores: Any, low: float, high: float) -> Scan:
        return scan(scores, low, high, self._thread.between)

    def _sample(self, stride: int) -> Any:
        span = slice(0, self.size, stride)
        return self._compute_scores(span, np.empty(-(-self.size // stride), self.dtype))

    def _compute_scores(self, span: slice, scores: Any) -> Any:
        assert self.code.scores is not None
        addresses, _held = self._open(span, self.code.scores)
        self.code.scores.call(
            address(scores), *addresses, address(self.score_operands), scores.size
        )
        return scores

    def _count(self, chosen: Callable[[Any], Any]) -> int:
        return sum(self._each(lambda i: int(np.count_nonzero(chosen(self._scores(i))))))

    # -- the pass that moves -----------------------------------------------------------------------

    def _move(self, threshold: float, last: int) -> None:
        update = self.code.update
        with_ties = update.operands(self.dtype.type, self.known, self.rule, threshold, 1)
        without = with_ties.copy()
        without[-1] = 0

        def move(i: int) -> None:
            span = self.spans[i]
            addresses, held = self._open(span, update)
            length = span.stop - span.start
            before = min(max(last - span.start, 0), length)
            update.call(*addresses, address(with_ties), before)
            if before < length:
                further = (start + before * self.dtype.itemsize for start in addresses)
                update.call(*further, address(without), length - before)
            self._store(i, held)

        self._each(move)

    def _store(self, i: int, held: list[tuple[Any, Any]]) -> None:
        """Write the copies of block i back to their cells, except the gradient's."""
        for cells, values in held:
            if cells is not self.cells[1]:
                cells[self.spans[i]] = values

    def _open(self, span: slice, function: Function) -> tuple[list[int], list[tuple[Any, Any]]]:
        """(the addresses of a span's values; the cells that were copied, with their copies)."""
        addresses: list[int] = []
        held: list[tuple[Any, Any]] = []
        for name, cells, base in zip(self.names, self.cells, self.bases, strict=True):
            if name not in function.touches:
                addresses.append(0)
            elif base is None or span.step is not None:
                # Cells that convert make a new array as they read.
                copied = np.array if isinstance(cells, np.ndarray) else np.ascontiguousarray
                values = copied(cells[span], self.dtype)
                held.append((cells, values))
                addresses.append(address(values))
            else:
                addresses.append(base + span.start * self.dtype.itemsize)
        return addresses, held


def _in_place(cells: Any, dtype: Any) -> bool:
    """Whether compiled code can use the memory of these cells, so that they need no copy."""
    return isinstance(cells, np.ndarray) and cells.dtype == dtype and cells.flags.c_contiguous
