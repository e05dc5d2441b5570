"""One step of one parameter in host memory, in place, block by block.

The same rules and policies as :func:`mgup_core.step.update_array`, and the same bits, at the
speed of the processor's cache: no array as long as the parameter is ever made. A policy that ranks
needs two passes, since no coordinate can move before the threshold is known: the first takes the
gradient into the moments and looks at the scores, the second reads the direction off the new
moments again.
"""

from __future__ import annotations

import math
import threading
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any, NamedTuple, Protocol

import numpy as np

from .._typing import Array, State
from ..numerics.backend import NumPyBackend
from ..policy import Policy
from ..rules.base import Rule
from ..selection.bracket import find_cut, mask_of
from ..step import decay_term, gradients
from ..trace.forms import Forms
from ..trace.interpreter import Replay
from ..trace.tracer import record_proposal
from .threads import each

_MASKS = 2  # as long as a block, a byte a cell
LEAST_BLOCK, _LARGEST = 1 << 15, 1 << 17


class Cells(Protocol):
    """One-dimensional storage: a NumPy array, or something that converts as it reads and writes."""

    def __len__(self) -> int: ...
    def __getitem__(self, span: slice, /) -> Array: ...
    def __setitem__(self, span: slice, value: Array, /) -> None: ...


class Tally(NamedTuple):
    """What the policy did to one slice; the counts are 0 unless they were asked for."""

    size: int
    selected: int
    threshold: float
    ties: int
    positive: int
    high: float
    """The multiplier of the selected."""
    low: float
    """The multiplier of the rest."""


def spans_of(size: int, each_cell: int, spare: int, multiple: int = 1) -> list[slice]:
    """Blocks that fit the cache, in which a step may use ``spare`` bytes, ``each_cell`` a cell."""
    block = min(max(spare // each_cell, LEAST_BLOCK), _LARGEST)
    block = max(block // multiple, 1) * multiple
    return [slice(i, min(i + block, size)) for i in range(0, size, block)]


def check_lengths(w: Cells, g: Cells, state: dict[str, Cells]) -> None:
    """Refuse cells of different lengths before any of them is read.

    Raises:
        ValueError: naming them.
    """
    for name, cells in {"g": g, **state}.items():
        if len(cells) != len(w):
            raise ValueError(f"{name!r} has {len(cells)} cells, but the parameter has {len(w)}.")


def factors(be: NumPyBackend, policy: Policy, positive: int, size: int) -> tuple[Any, Any]:
    """(high, low), 0-d, where so many of ``size`` scores are positive."""
    high, low = policy.factors(be, np.full((1, 1), positive), size)
    return high.reshape(()), low.reshape(())


class _Proposal(NamedTuple):
    """A block's direction and score, and the moments if they were not written back."""

    u: Array
    scores: Array
    state: State | None
    free: list[Array]
    """Buffers as long as these, for whatever comes next."""


class _Look(NamedTuple):
    """One way to look at a block: what is computed of it, with the scalars of this step."""

    replay: Replay
    scalars: list[Any]


@Forms
def _replay(rule: Rule, dtype: str, coupled: bool, accumulate: bool, in_place: bool) -> Replay:
    proposal = record_proposal(rule, dtype, coupled=coupled, accumulate=accumulate)
    outputs = [proposal.u, proposal.scores, *proposal.state.values()]
    return Replay(outputs, proposal.state if in_place else None)


@lru_cache(maxsize=1024)
def _scalars(replay: Replay, rule: Rule, dtype: Any, t: int, decay: float) -> list[Any]:
    return replay.scalars.values(dtype, {"t": t, "weight_decay": decay}, rule)


class BlockStep:
    """One step of one parameter or of one slice of it, elementwise rules only.

    Args:
        be: bound to the compute dtype of the parameter.
        w, g, state: cells of equal length, in C order. ``w`` and ``state`` are changed in place.
        t: the step, from 1.
        lr, weight_decay: as in :func:`mgup_core.step.update_array`.
        exact_state: whether the state's cells keep the compute dtype without rounding, so that the
            direction may be read off them again; otherwise the moments are formed twice.
        spare: bytes that may be used besides the arguments, over all threads.
        threads: how many work at it.
        measure: whether to count what was selected, which takes time.
        length: of a slice, where the cells are of several: short ones are ranked many at a time. It
            is not for measuring.
    """

    def __init__(
        self,
        be: NumPyBackend,
        rule: Rule,
        policy: Policy | None,
        w: Cells,
        g: Cells,
        state: dict[str, Cells],
        t: int,
        *,
        lr: float,
        weight_decay: float = 0.0,
        exact_state: bool = True,
        spare: int = 1 << 24,
        threads: int = 1,
        measure: bool = False,
        length: int | None = None,
    ) -> None:
        check_lengths(w, g, state)
        self.length = length
        self.measure, self.weight_decay = measure, weight_decay
        self._mine = threading.local()
        self.be, self.rule, self.policy = be, rule, policy
        self.w, self.g, self.state, self.t = w, g, state, t
        self.exact_state, self.threads = exact_state, threads
        self.coupled = bool(rule.couples_decay and weight_decay)
        self.sampling, self.first, self.second = (
            self._look(*how)
            for how in ((True, False), (True, exact_state), (not exact_state, False))
        )
        decay = be.scalar(0.0 if self.coupled else weight_decay)
        self.rate, decay_rate = rule.rates(be, be.scalar(lr), decay, t)
        self.decay = None
        if weight_decay and not self.coupled:
            self.decay = be.mul(decay_rate, decay)
        itemsize = np.dtype(be.host_dtype).itemsize
        live = max(look.replay.buffers for look in (self.first, self.second))
        cells = (w, g, *state.values())
        live += sum(not isinstance(one, np.ndarray) for one in cells)  # read and converted
        each_cell = live * itemsize + _MASKS
        self.spans = spans_of(len(w), each_cell * threads, spare, length or 1)
        self.block = block = self.spans[0].stop if self.spans else 1
        arrays_kept = 2 if exact_state else 2 + len(state)
        self.keep = max(spare - each_cell * threads * block, 0) // (arrays_kept * itemsize * block)
        if len(self.spans) == 1:
            self.keep = 1
        self.kept: dict[int, _Proposal] = {}
        self.clean = [False] * len(self.spans)  # whether the first look flushed nothing

    def _look(self, accumulate: bool, in_place: bool) -> _Look:
        dtype = self.be.host_dtype
        name, coupled = np.dtype(dtype).name, self.coupled
        replay = _replay(self.rule, name, coupled, accumulate, in_place)
        decay = self.weight_decay if coupled else 0.0
        return _Look(replay, _scalars(replay, self.rule, dtype, self.t, decay))

    # -- one block ---------------------------------------------------------------------------

    def _read(self, cells: Cells, span: slice) -> Array:
        return np.asarray(cells[span], dtype=self.be.host_dtype)

    def _propose(
        self, look: _Look, span: slice, *, keep: bool, clean: bool = False
    ) -> tuple[_Proposal, bool]:
        """(the proposal of a block, whether nothing was flushed).

        Unless it is to be kept, a proposal is valid until this thread's next.
        """
        arrays = {name: self._read(cells, span) for name, cells in self.state.items()}
        arrays |= {"w": self._read(self.w, span), "g": self._read(self.g, span)}
        length = len(arrays["w"])
        count = look.replay.buffers
        if keep:
            buffers = [np.empty(length, self.be.host_dtype) for _ in range(count)]
        else:
            buffers = [buffer[:length] for buffer in self._buffers(count)]
        found, clean = look.replay.run(arrays, look.scalars, buffers, clean=clean)
        u, scores, *moments = found
        free = [] if keep else [b for b in buffers if not any(b is taken for taken in found)]
        return _Proposal(u, scores, dict(zip(self.state, moments, strict=True)), free), clean

    def _buffers(self, count: int) -> list[Array]:
        """This thread's, as long as a block."""
        mine: list[Array] = self._mine.__dict__.setdefault("buffers", [])
        while len(mine) < count:
            mine.append(np.empty(self.block, self.be.host_dtype))
        return mine

    def _first(self, i: int) -> _Proposal:
        """Propose for block i, gradient taken into its moments; keep what there is room for."""
        keep = i < self.keep
        proposal, self.clean[i] = self._propose(self.first, self.spans[i], keep=keep)
        if self.exact_state:
            assert proposal.state is not None
            self._store(proposal.state, self.spans[i])
            proposal = proposal._replace(state=None)
        if keep:
            self.kept[i] = proposal
        return proposal

    def _again(self, i: int) -> _Proposal:
        """The proposal of block i once more."""
        if i in self.kept:
            return self.kept.pop(i)
        return self._propose(self.second, self.spans[i], keep=False, clean=self.clean[i])[0]

    def _store(self, state: State, span: slice) -> None:
        for name, value in state.items():
            cells = self.state[name]
            if not np.may_share_memory(value, self._read(cells, span)):
                cells[span] = value

    def _finish(self, i: int, proposal: _Proposal, mask: Array | None, high: Any, low: Any) -> int:
        """Move block i; how many coordinates got the high rate."""
        be, span = self.be, self.spans[i]
        w = self._read(self.w, span)
        state = proposal.state
        if state is None:
            state = {name: self._read(cells, span) for name, cells in self.state.items()}
        if type(self.rule).finish is not Rule.finish:
            coupled = be.scalar(self.weight_decay) if self.coupled else None
            _, g = gradients(be, w, self._read(self.g, span), coupled)
            state = self.rule.finish(be, g, w, state, self.t)
            self._store(state, span)
        elif proposal.state is not None:
            self._store(state, span)
        buffers = chain(proposal.free, (np.empty_like(proposal.u) for _ in range(2)))
        delta = next(buffers)
        if mask is None:
            np.multiply(self.rate, proposal.u, out=delta)
        else:
            high, low = self.rate * high, self.rate * low
            if np.any(high > 1.0):  # only then can the product overflow where u did not (P7)
                mask = mask & ~(np.isfinite(proposal.u) & ~np.isfinite(high * proposal.u))
            if np.all(np.isfinite(high)):
                # high or low by arithmetic, since high >= low >= 0: a branch on a mask is ten times
                # as slow.
                np.copyto(delta, mask.view(np.uint8))
                delta *= high
                np.maximum(delta, low, out=delta)
            else:
                np.copyto(delta, np.where(mask, high, low))
            delta *= proposal.u
        if self.decay is not None:
            if self.rule.decay == "all":
                delta += np.multiply(self.decay, w, out=next(buffers))
            else:
                delta += decay_term(be, self.rule.decay, self.decay, w, proposal.u)
        if isinstance(self.w, np.ndarray) and self.w.dtype == delta.dtype:
            np.subtract(w, delta, out=self.w[span])  # one pass less than through a copy
        else:
            self.w[span] = w - delta
        return int(np.count_nonzero(mask)) if self.measure and mask is not None else 0

    # -- the passes ----------------------------------------------------------------------------

    def _each(self, work: Any) -> list[Any]:
        return each(work, len(self.spans), self.threads)

    def run(self) -> Tally:
        """Do the step."""
        with np.errstate(all="ignore"):
            if not self.spans:
                return Tally(0, 0, math.inf, 0, 0, 1.0, 1.0)
            if self.policy is None:
                self._each(lambda i: self._finish(i, self._first(i), None, None, None))
                return Tally(len(self.w), 0, math.inf, 0, 0, 1.0, 1.0)
            if self.length is not None:
                return self._run_rows(self.policy, self.length)
            if self.policy.ranks:
                return self._run_ranked(self.policy)
            return self._run_signed(self.policy)

    def _run_rows(self, policy: Policy, length: int) -> Tally:
        """Slices that are whole in a block: one pass, since a block knows their thresholds."""
        self.keep = 0

        def move(i: int) -> None:
            proposal = self._first(i)
            split = policy.decide(self.be, proposal.scores.reshape(-1, length))
            high, low = (np.repeat(x, length) if x.ndim else x for x in (split.high, split.low))
            self._finish(i, proposal, split.mask.reshape(-1), high, low)

        self._each(move)
        return Tally(len(self.w), 0, math.inf, 0, 0, 1.0, 1.0)

    def _run_signed(self, policy: Policy) -> Tally:
        """Those above zero: one pass if the factors do not depend on how many there are."""

        def mask_of_signs(scores: Array) -> Array:
            return scores >= 0.0 if policy.selects_zero else scores > 0.0

        if policy.counts:
            count = self._each(lambda i: int(np.count_nonzero(self._first(i).scores > 0.0)))
            again = self._again
        else:
            self.keep, count, again = 0, [0], self._first
        high, low = factors(self.be, policy, sum(count), len(self.w))

        def move(i: int) -> tuple[int, int]:
            proposal = again(i)
            mask = mask_of_signs(proposal.scores)
            positive = int(np.count_nonzero(proposal.scores > 0.0)) if self.measure else 0
            return self._finish(i, proposal, mask, high, low), positive

        moved = self._each(move)
        selected, positive = (sum(column) for column in zip(*moved, strict=True))
        return Tally(len(self.w), selected, 0.0, 0, positive, high, low)

    def _run_ranked(self, policy: Policy) -> Tally:
        size = len(self.w)
        k = policy.top(size)
        cut, ties = find_cut(
            k,
            self.spans,
            lambda i: self._first(i).scores,
            self._scores_again,
            self._sample,
            self._each,
        )
        # The quota of each block: the ties are taken in index order.
        before = accumulate([0, *ties])
        quotas = [min(max(cut.need - b, 0), n) for b, n in zip(before, ties, strict=False)]
        high, low = factors(self.be, policy, 0, size)

        def move(i: int) -> tuple[int, int]:
            proposal = self._again(i)
            mask = mask_of(proposal.scores, cut.threshold, ties[i], quotas[i])
            positive = int(np.count_nonzero(proposal.scores > 0.0)) if self.measure else 0
            return self._finish(i, proposal, mask, high, low), positive

        moved = self._each(move)
        selected, positive = (sum(column) for column in zip(*moved, strict=True))
        return Tally(size, selected, cut.threshold, sum(ties), positive, high, low)

    def _scores_again(self, i: int) -> Array:
        proposal = self._again(i)
        if i < self.keep:
            self.kept[i] = proposal
        return proposal.scores

    def _sample(self, stride: int) -> Array:
        span = slice(0, len(self.w), stride)
        return self._propose(self.sampling, span, keep=True)[0].scores
