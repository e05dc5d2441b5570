"""One step of one parameter in host memory, in place, block by block.

It has the rules, the policies and the bits of :func:`mgup_core.step.update_array`, at the speed of
the processor's cache: it makes no array as long as the parameter. A policy that ranks needs two
passes over the blocks, since no coordinate can move before the threshold is known. The first pass
adds the gradient to the moments and reads the scores; the second forms the direction again from the
new moments, and moves the parameter.
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

_MASK_BYTES = 2  # a cell needs two masks
LEAST_BLOCK, _LARGEST = 1 << 15, 1 << 17


class Cells(Protocol):
    """One-dimensional storage: a NumPy array, or an object that converts as it reads and writes."""

    def __len__(self) -> int: ...
    def __getitem__(self, span: slice, /) -> Array: ...
    def __setitem__(self, span: slice, value: Array, /) -> None: ...


class Tally(NamedTuple):
    """The policy's decision about one slice; the counts are 0 unless they are measured."""

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
    """Blocks of ``size`` cells that fit the cache.

    Args:
        each_cell: the bytes that a step uses for each cell of a block.
        spare: the bytes that it may use.
        multiple: the length of each block is a multiple of this one.
    """
    block = min(max(spare // each_cell, LEAST_BLOCK), _LARGEST)
    block = max(block // multiple, 1) * multiple
    return [slice(i, min(i + block, size)) for i in range(0, size, block)]


def check_lengths(w: Cells, g: Cells, state: dict[str, Cells]) -> None:
    """Refuse cells of different lengths before any cell is read.

    Raises:
        ValueError: naming them.
    """
    for name, cells in {"g": g, **state}.items():
        if len(cells) != len(w):
            raise ValueError(f"{name!r} has {len(cells)} cells, but the parameter has {len(w)}.")


def factors(be: NumPyBackend, policy: Policy, positive: int, size: int) -> tuple[Any, Any]:
    """(high, low), 0-d, of a slice of ``size`` scores, of which ``positive`` are above zero."""
    high, low = policy.factors(be, np.full((1, 1), positive), size)
    return high.reshape(()), low.reshape(())


class _Proposal(NamedTuple):
    """A block's direction and scores."""

    u: Array
    scores: Array
    state: State | None
    """The moments that took in the gradient; ``None`` once they are stored."""
    free: list[Array]
    """Buffers of the block's length that hold none of these."""


class _BlockPass(NamedTuple):
    """What one pass computes of each block: a program, and its scalars at this step."""

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
    """One step of one parameter, or of one slice of it, by an elementwise rule.

    Args:
        be: bound to the compute dtype of the parameter.
        w, g, state: cells of equal length, in C order. ``w`` and ``state`` are changed in place.
        t: the step, from 1.
        lr, weight_decay: as in :func:`mgup_core.step.update_array`.
        exact_state: whether the state's cells keep the compute dtype without rounding, so that the
            second pass may read the new moments from them; otherwise it forms them once more.
        spare: the bytes that the step may use besides its arguments, over all threads.
        threads: the number of threads.
        measure: whether to count the selected and the positive, which takes time.
        length: the length of a slice, where the cells hold several short slices, which are ranked
            many at a time. It excludes ``measure``.
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
        self._thread = threading.local()
        self.be, self.rule, self.policy = be, rule, policy
        self.w, self.g, self.state, self.t = w, g, state, t
        self.exact_state, self.threads = exact_state, threads
        self.coupled = bool(rule.couples_decay and weight_decay)
        self.sample_pass = self._block_pass(accumulate=True, in_place=False)
        self.first_pass = self._block_pass(accumulate=True, in_place=exact_state)
        self.second_pass = self._block_pass(accumulate=not exact_state, in_place=False)
        decay = be.scalar(0.0 if self.coupled else weight_decay)
        self.rate, decay_rate = rule.rates(be, be.scalar(lr), decay, t)
        self.decay = None
        if weight_decay and not self.coupled:
            self.decay = be.mul(decay_rate, decay)
        itemsize = np.dtype(be.host_dtype).itemsize
        live = max(one.replay.buffers for one in (self.first_pass, self.second_pass))
        cells = (w, g, *state.values())
        live += sum(not isinstance(one, np.ndarray) for one in cells)  # their blocks are converted
        each_cell = live * itemsize + _MASK_BYTES
        self.spans = spans_of(len(w), each_cell * threads, spare, length or 1)
        self.block = block = self.spans[0].stop if self.spans else 1
        arrays_kept = 2 if exact_state else 2 + len(state)
        room = max(spare - each_cell * threads * block, 0)
        # The first pass keeps the proposals of so many blocks for the second.
        self.cache_size = room // (arrays_kept * itemsize * block)
        if len(self.spans) == 1:
            self.cache_size = 1
        self.cached_proposals: dict[int, _Proposal] = {}
        self.needs_no_flush = [False] * len(self.spans)  # whether the first pass flushed nothing

    def _block_pass(self, *, accumulate: bool, in_place: bool) -> _BlockPass:
        dtype = self.be.host_dtype
        name, coupled = np.dtype(dtype).name, self.coupled
        replay = _replay(self.rule, name, coupled, accumulate, in_place)
        decay = self.weight_decay if coupled else 0.0
        return _BlockPass(replay, _scalars(replay, self.rule, dtype, self.t, decay))

    # -- one block ---------------------------------------------------------------------------

    def _read(self, cells: Cells, span: slice) -> Array:
        return np.asarray(cells[span], dtype=self.be.host_dtype)

    def _propose(
        self, block_pass: _BlockPass, span: slice, *, cache: bool, needs_no_flush: bool = False
    ) -> tuple[_Proposal, bool]:
        """(the proposal of a block, whether nothing was flushed).

        Args:
            cache: whether the proposal has arrays of its own. Otherwise its arrays are this
                thread's buffers, and this thread's next proposal overwrites them.
            needs_no_flush: whether an earlier pass flushed nothing in this block.
        """
        arrays = {name: self._read(cells, span) for name, cells in self.state.items()}
        arrays |= {"w": self._read(self.w, span), "g": self._read(self.g, span)}
        length = len(arrays["w"])
        count = block_pass.replay.buffers
        if cache:
            buffers = [np.empty(length, self.be.host_dtype) for _ in range(count)]
        else:
            buffers = [buffer[:length] for buffer in self._buffers(count)]
        found, needs_no_flush = block_pass.replay.run(
            arrays, block_pass.scalars, buffers, needs_no_flush=needs_no_flush
        )
        u, scores, *moments = found
        free = [] if cache else [b for b in buffers if not any(b is taken for taken in found)]
        state = dict(zip(self.state, moments, strict=True))
        return _Proposal(u, scores, state, free), needs_no_flush

    def _buffers(self, count: int) -> list[Array]:
        """This thread's buffers, as long as a block; at least ``count`` of them."""
        buffers: list[Array] = self._thread.__dict__.setdefault("buffers", [])
        while len(buffers) < count:
            buffers.append(np.empty(self.block, self.be.host_dtype))
        return buffers

    def _propose_first(self, i: int) -> _Proposal:
        """The proposal of block i, whose moments take in the gradient; cached if there is room."""
        cache = i < self.cache_size
        proposal, self.needs_no_flush[i] = self._propose(
            self.first_pass, self.spans[i], cache=cache
        )
        if self.exact_state:
            assert proposal.state is not None
            self._store(proposal.state, self.spans[i])
            proposal = proposal._replace(state=None)
        if cache:
            self.cached_proposals[i] = proposal
        return proposal

    def _propose_again(self, i: int) -> _Proposal:
        """The proposal of block i in the second pass: from the cache, or formed again."""
        if i in self.cached_proposals:
            return self.cached_proposals.pop(i)
        return self._propose(
            self.second_pass, self.spans[i], cache=False, needs_no_flush=self.needs_no_flush[i]
        )[0]

    def _store(self, state: State, span: slice) -> None:
        for name, value in state.items():
            cells = self.state[name]
            if not np.may_share_memory(value, self._read(cells, span)):
                cells[span] = value

    def _finish(self, i: int, proposal: _Proposal, mask: Array | None, high: Any, low: Any) -> int:
        """Move block i, and return how many of its coordinates are selected, if measured."""
        be, span = self.be, self.spans[i]
        w = self._read(self.w, span)
        state = proposal.state
        if state is None:
            state = {name: self._read(cells, span) for name, cells in self.state.items()}
        changed = proposal.state is not None
        if type(self.rule).finish is not Rule.finish:
            coupled = be.scalar(self.weight_decay) if self.coupled else None
            _, g = gradients(be, w, self._read(self.g, span), coupled)
            state, changed = self.rule.finish(be, g, w, state, self.t), True
        buffers = chain(proposal.free, (np.empty_like(proposal.u) for _ in range(2)))
        delta = next(buffers)
        if mask is None:
            np.multiply(self.rate, proposal.u, out=delta)
        else:
            high, low = self.rate * high, self.rate * low
            if np.any(high > 1.0):  # only then can a finite u give an infinite product (P7)
                mask = mask & ~(np.isfinite(proposal.u) & ~np.isfinite(high * proposal.u))
            if np.all(np.isfinite(high)):
                # Choose by arithmetic, since high >= low >= 0: a branch on a mask is ten times as
                # slow.
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
        if type(self.rule).follow is not Rule.follow:
            (delta, state), changed = self.rule.follow(be, delta, w, state, self.t), True
        if changed:
            self._store(state, span)
        if isinstance(self.w, np.ndarray) and self.w.dtype == delta.dtype:
            np.subtract(w, delta, out=self.w[span])  # saves a pass over a copy
        else:
            self.w[span] = w - delta
        return int(np.count_nonzero(mask)) if self.measure and mask is not None else 0

    # -- the passes ----------------------------------------------------------------------------

    def _each(self, work: Any) -> list[Any]:
        return each(work, len(self.spans), self.threads)

    def run(self) -> Tally:
        """Take the step, and return what the policy did."""
        with np.errstate(all="ignore"):
            if not self.spans:
                return Tally(0, 0, math.inf, 0, 0, 1.0, 1.0)
            if self.policy is None:
                self._each(lambda i: self._finish(i, self._propose_first(i), None, None, None))
                return Tally(len(self.w), 0, math.inf, 0, 0, 1.0, 1.0)
            if self.length is not None:
                return self._run_rows(self.policy, self.length)
            if self.policy.ranks:
                return self._run_ranked(self.policy)
            return self._run_signed(self.policy)

    def _run_rows(self, policy: Policy, length: int) -> Tally:
        """Step slices in one pass, since each lies whole in a block, with all its scores."""
        self.cache_size = 0

        def move(i: int) -> None:
            proposal = self._propose_first(i)
            split = policy.decide(self.be, proposal.scores.reshape(-1, length))
            high, low = (np.repeat(x, length) if x.ndim else x for x in (split.high, split.low))
            self._finish(i, proposal, split.mask.reshape(-1), high, low)

        self._each(move)
        return Tally(len(self.w), 0, math.inf, 0, 0, 1.0, 1.0)

    def _run_signed(self, policy: Policy) -> Tally:
        """Sign mode: one pass, unless the factors depend on the count of positive scores."""

        def mask_of_signs(scores: Array) -> Array:
            return scores >= 0.0 if policy.selects_zero else scores > 0.0

        if policy.counts:
            count = self._each(lambda i: int(np.count_nonzero(self._propose_first(i).scores > 0.0)))
            propose = self._propose_again
        else:
            self.cache_size, count, propose = 0, [0], self._propose_first
        high, low = factors(self.be, policy, sum(count), len(self.w))

        def move(i: int) -> tuple[int, int]:
            proposal = propose(i)
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
            lambda i: self._propose_first(i).scores,
            self._scores_again,
            self._sample,
            self._each,
        )
        # Ties are selected in index order, so each block has a quota of them (P4).
        before = accumulate([0, *ties])
        quotas = [min(max(cut.need - b, 0), n) for b, n in zip(before, ties, strict=False)]
        high, low = factors(self.be, policy, 0, size)

        def move(i: int) -> tuple[int, int]:
            proposal = self._propose_again(i)
            mask = mask_of(proposal.scores, cut.threshold, ties[i], quotas[i])
            positive = int(np.count_nonzero(proposal.scores > 0.0)) if self.measure else 0
            return self._finish(i, proposal, mask, high, low), positive

        moved = self._each(move)
        selected, positive = (sum(column) for column in zip(*moved, strict=True))
        return Tally(size, selected, cut.threshold, sum(ties), positive, high, low)

    def _scores_again(self, i: int) -> Array:
        proposal = self._propose_again(i)
        if i < self.cache_size:
            self.cached_proposals[i] = proposal
        return proposal.scores

    def _sample(self, stride: int) -> Array:
        span = slice(0, len(self.w), stride)
        return self._propose(self.sample_pass, span, cache=True)[0].scores
