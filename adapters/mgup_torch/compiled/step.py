"""One step of one parameter in host memory, in place, by compiled loops (:mod:`.loops`).

What :class:`mgup_core.blocks.BlockStep` does, and the same bits: the first pass only looks at the
scores, the second does the step. Each reads its arrays once and no intermediate reaches memory.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from mgup_core import NumPyBackend, Policy, Rule
from mgup_core.blocks import Cells, Tally, factors, spans_of
from mgup_core.crew import each
from mgup_core.threshold import Scan, boundary, find_cut

from .loops import Code, Function
from .machine import address
from .scan import WIDTH, scan


class CompiledStep:
    """One step of one slice of one parameter.

    Args:
        be: bound to the compute dtype of the parameter.
        code: of the form of its rule, and of its policy.
        rule: whose floats are those of this step (R7).
        w, g, state: cells of equal length, in C order. ``w`` and ``state`` are changed in place.
        t: the step, from 1.
        lr, weight_decay: numbers.
        spare: bytes that may be used besides the arguments, over all threads.
        threads: how many work at it.
        measure: whether to count what was selected, which takes another pass.
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
    ) -> None:
        self.code, self.be, self.rule, self.policy = code, be, rule, policy
        self.threads, self.measure, self.size = threads, measure, len(w)
        self.names, self.cells = ["w", "g", *state], [w, g, *state.values()]
        self.dtype: Any = np.dtype(be.host_dtype)
        self.bases = [
            address(cells) if isinstance(cells, np.ndarray) else None for cells in self.cells
        ]
        if isinstance(w, np.ndarray) and isinstance(g, np.ndarray) and np.may_share_memory(w, g):
            self.bases[1] = None  # a copy: the code relies on it that no two arrays overlap
        self.known = {"t": t, "d": self.size, "lr": lr, "weight_decay": weight_decay}
        for name in ("alpha", "gamma"):
            self.known[name] = float(getattr(policy, name, 1.0))
        converted = sum(base is None for base in self.bases)
        each_cell = (2 + converted) * self.dtype.itemsize
        self.spans = spans_of(self.size, each_cell * threads, spare)
        self._mine = threading.local()

    def _each(self, work: Callable[[int], Any]) -> list[Any]:
        return each(work, len(self.spans), self.threads)

    def run(self) -> Tally:
        """Do the step."""
        with np.errstate(all="ignore"):
            if self.spans and self.policy is not None:
                return self._run(self.policy)
            if self.spans:
                self._move(math.inf, self.size)
            return Tally(self.size, 0, math.inf, 0, 0, 1.0, 1.0)

    def _run(self, policy: Policy) -> Tally:
        assert self.code.scores is not None
        self.looking = self.code.scores.operands(self.dtype.type, self.known, self.rule)
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

    # -- looking -----------------------------------------------------------------------------------

    def _scores(self, i: int) -> Any:
        """The scores of block i, valid until this thread's next."""
        span = self.spans[i]
        if not hasattr(self._mine, "scores"):
            length = -(-self.spans[0].stop // WIDTH) * WIDTH
            self._mine.scores, self._mine.between = (np.empty(length, self.dtype) for _ in "12")
        length = span.stop - span.start
        self._mine.scores[length : length + WIDTH] = -math.inf
        return self._look(span, self._mine.scores[:length])

    def _scan(self, scores: Any, low: float, high: float) -> Scan:
        return scan(scores, low, high, self._mine.between)

    def _sample(self, stride: int) -> Any:
        span = slice(0, self.size, stride)
        return self._look(span, np.empty(-(-self.size // stride), self.dtype))

    def _look(self, span: slice, scores: Any) -> Any:
        assert self.code.scores is not None
        addresses, _held = self._open(span, self.code.scores)
        self.code.scores.call(address(scores), *addresses, address(self.looking), scores.size)
        return scores

    def _count(self, chosen: Callable[[Any], Any]) -> int:
        return sum(self._each(lambda i: int(np.count_nonzero(chosen(self._scores(i))))))

    # -- moving ------------------------------------------------------------------------------------

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
            for cells, values in held:
                if cells is not self.cells[1]:
                    cells[span] = values

        self._each(move)

    def _open(self, span: slice, function: Function) -> tuple[list[int], list[tuple[Any, Any]]]:
        """(where the values of a span lie, the cells that had to be copied, with the copies)."""
        addresses: list[int] = []
        held: list[tuple[Any, Any]] = []
        for name, cells, base in zip(self.names, self.cells, self.bases, strict=True):
            if name not in function.touches:
                addresses.append(0)
            elif base is None or span.step is not None:
                # Cells of other kinds make a new array as they read.
                copied = np.array if isinstance(cells, np.ndarray) else np.ascontiguousarray
                values = copied(cells[span], self.dtype)
                held.append((cells, values))
                addresses.append(address(values))
            else:
                addresses.append(base + span.start * self.dtype.itemsize)
        return addresses, held
