"""What one rank cannot know of a step by itself: asked of all tensors first, answered together.

A rule and a policy run on what lies here. Where they need the rest of a tensor they ask their
backend, as they would anywhere: for the mask of the K largest, for a count, for a function of the
whole. The first time round a :class:`PartBackend` only notes the questions; then the questions of
all tensors share each collective; the second time round it has the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mgup_core import Policy, Rule, Split

from ..backend import TorchBackend
from .mesh_group import Team
from .radix_select import Rows, digit_bits, order_keys, select
from .shard import Part


@dataclass(eq=False)
class Question:
    """Something asked about one tensor."""

    part: Part
    answer: Any = None


@dataclass(eq=False)
class Selection(Question):
    """Which are the k largest of each slice."""

    keys: Any = None
    k: int = 0


@dataclass(eq=False)
class Count(Question):
    """How many there are in each slice, from how many are here, (n, 1)."""

    here: Any = None


@dataclass(eq=False)
class Whole(Question):
    """This rank's part of a function of the whole tensor."""

    function: Any = None
    x: Any = None


class PartBackend(TorchBackend):
    """The backend of one tensor of which this rank holds a part.

    Args:
        part: of the tensor.
        alone: whether each part is ranked as if it were the whole.
        scalars: made before, for other backends of this dtype and device.
    """

    def __init__(
        self,
        part: Part,
        dtype: torch.dtype,
        device: torch.device,
        *,
        alone: bool = False,
        scalars: dict[float, Tensor] | None = None,
    ) -> None:
        super().__init__(dtype, device)
        self._scalars = {} if scalars is None else scalars
        self.part = part
        self.slice_group = None if alone else part.slice_group
        self.questions: list[Question] = []
        self.seen: tuple[Tensor, Split] | None = None
        """The last decision, if watched: canonical scores (n, m), and how they were split."""
        self._answers: Iterator[Any] | None = None
        self._watch = False

    def asks(self, rule: Rule | None, policy: Policy | None, *, measure: bool) -> bool:
        """Whether a step needs the other ranks at all."""
        whole = rule is not None and not rule.elementwise
        if self.part.tensor_group is not None and (whole or (policy is not None and measure)):
            return True
        return (
            self.slice_group is not None and policy is not None and (policy.ranks or policy.counts)
        )

    def again(self, *, watch: bool = False) -> PartBackend:
        """Itself, to give the answers from now on, in the order of the questions."""
        self._answers = iter([question.answer for question in self.questions])
        self._watch = watch
        return self

    def decide(self, policy: Policy, scores: Tensor, stacked_dims: int = 0) -> Split:
        split = super().decide(policy, scores, stacked_dims)
        if self._watch:
            self.seen = scores.reshape(split.mask.shape), split
        return split

    def _ask(self, question: Callable[[], Question], meanwhile: Tensor) -> Tensor:
        if self._answers is not None:
            return next(self._answers)
        self.questions.append(question())
        return meanwhile

    def length(self, rows: Tensor) -> int:
        return int(rows.shape[-1]) if self.slice_group is None else self.part.length

    def rank_mask(self, scores: Tensor, k: int) -> Tensor:
        if self.slice_group is None:
            return super().rank_mask(scores, k)
        return self._ask(
            lambda: Selection(self.part, keys=order_keys(scores), k=k),
            torch.zeros_like(scores, dtype=torch.bool),
        )

    def count(self, mask: Tensor) -> Tensor:
        if self.slice_group is None:
            return super().count(mask)
        here = mask.sum(-1, keepdim=True)  # int64, whatever the length of a part
        return self._ask(lambda: Count(self.part, here=here), here)

    def whole(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.part.tensor_group is None:
            return function(x)
        return self._ask(lambda: Whole(self.part, function=function, x=x), x)


def answer(questions: Iterable[Question]) -> None:
    """Answer all of them; every rank must ask the same in the same order."""
    asked = list(questions)
    for team, counts in _by_team(Count, asked):
        found = team.total(torch.cat([q.here for q in counts]))
        for q, part in zip(counts, found.split([len(q.here) for q in counts]), strict=True):
            q.answer = part
    for team, selections in _by_team(Selection, asked):
        for kind in _kinds(team, selections):
            rows = [_rows(q) for q in kind]
            masks = select(rows, team.total, bits=_bits(team, kind[0]))
            for q, mask in zip(kind, masks, strict=True):
                q.answer, q.keys = mask, None
    for team, wholes in _by_team(Whole, asked):
        _answer_wholes(team, wholes)


def _by_team(kind: type[Question], asked: list[Question]) -> list[tuple[Team, list[Any]]]:
    teams: dict[tuple[str, ...], tuple[Team, list[Any]]] = {}
    for q in asked:
        if type(q) is kind:
            team = q.part.tensor_group if kind is Whole else q.part.slice_group
            assert team is not None
            teams.setdefault(team.key, (team, []))[1].append(q)
    return list(teams.values())


def _kinds(team: Team, selections: list[Selection]) -> list[list[Selection]]:
    """Those that can share a search: keys of one dtype on one device, digits of one width."""
    kinds: dict[Any, list[Selection]] = {}
    for q in selections:
        kinds.setdefault((q.keys.dtype, q.keys.device, _bits(team, q)), []).append(q)
    return list(kinds.values())


def _bits(team: Team, q: Selection) -> int:
    return digit_bits(q.keys.shape[0], torch.iinfo(q.keys.dtype).bits, len(team.groups))


def _rows(q: Selection) -> Rows:
    device = q.keys.device
    return Rows(q.keys, q.k, q.part.length, lambda dtype: q.part.index(device, dtype))


def _answer_wholes(team: Team, questions: list[Whole]) -> None:
    """Each tensor's function is computed by one rank, those of a round side by side.

    A tensor is gathered by all and then broadcast by its owner, so each of its coordinates is sent
    to every rank twice; no rank holds more than two whole tensors at a time.
    """
    largest_first = sorted(questions, key=lambda q: -torch.Size(q.part.shape).numel())
    for start in range(0, len(questions), team.size):
        turn = largest_first[start : start + team.size]
        results: list[Tensor] = []
        for owner, q in enumerate(turn):
            whole = q.part.whole(q.x)
            team.traffic.add(q.x)
            results.append(whole if owner == team.number else whole.new_empty(0))
            del whole
        if team.number < len(turn):
            results[team.number] = turn[team.number].function(results[team.number])
        for owner, (q, result) in enumerate(zip(turn, results, strict=True)):
            if owner != team.number:
                result = torch.empty(q.part.shape, dtype=q.x.dtype, device=q.x.device)
            q.answer, q.x = q.part.part(team.broadcast(result, owner)), None
            results[owner] = None  # type: ignore[call-overload]
