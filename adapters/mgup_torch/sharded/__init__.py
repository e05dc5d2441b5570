"""Steps of DTensor parameters: each rank moves what it holds, as the whole would have moved.

Rules are elementwise, so only the decision needs the other ranks: see :mod:`.questions`. Nothing
changes before all collectives of a step are through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mgup_core import Muon, Rule, Statistics

from ..backend import compute_dtype
from ..groups import Group
from .agreement import Agreement
from .facts import Entry, Facts, group_facts, steps_taken
from .layout import Part, check_placement, check_same_placement, is_dtensor, local
from .questions import PartBackend, answer
from .statistics import measure
from .team import Team, Traffic

__all__ = [
    "Part",
    "PartBackend",
    "Sharding",
    "Traffic",
    "check_same_placement",
    "check_placement",
    "check_rule",
    "is_dtensor",
    "local",
    "nothing_moved",
]


def check_rule(name: str, p: Tensor, rule: Rule) -> None:
    """Refuse a DTensor for a rule that needs more of the whole than the ranks exchange.

    Raises:
        ValueError: with the remedy.
    """
    if is_dtensor(p) and not (rule.elementwise or isinstance(rule, Muon)):
        raise ValueError(
            f"parameter {name} is a DTensor, but {type(rule).__name__} is not elementwise: it "
            "needs the whole tensor. Keep this parameter out of fully_shard (ignored_params), or "
            "give it to another rule."
        )


@contextmanager
def nothing_moved(names: Sequence[str]) -> Iterator[None]:
    """Say of a collective that failed which rank waited, and for which parameters.

    Raises:
        RuntimeError: in place of the error of the collective.
    """
    try:
        yield
    except RuntimeError as error:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise RuntimeError(
            f"rank {torch.distributed.get_rank()} could not settle the steps of parameters {shown} "
            f"with the other ranks: {error} No parameter has taken this step."
        ) from error


class Sharding:
    """What one optimizer knows of its DTensors."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        """What this rank sent in the last step."""
        self._parts: dict[Any, Part] = {}
        self._agreement = Agreement()

    def __deepcopy__(self, memo: object) -> Sharding:
        return Sharding()  # process groups are not to be copied

    def __reduce__(self) -> tuple[type[Sharding], tuple[()]]:
        return Sharding, ()

    def part(self, p: Any, stacked_dims: int) -> Part:
        """What lies here of a DTensor, looked up once."""
        key = p.device_mesh, p.placements, p.shape, p.stride(), stacked_dims
        if key not in self._parts:
            self._parts[key] = Part(p, stacked_dims, self.traffic)
        return self._parts[key]

    @staticmethod
    def wanted(groups: Sequence[Group]) -> bool:
        """Whether there is any DTensor."""
        return any(is_dtensor(p) for group in groups for p in group["params"])

    def agree(self, groups: Sequence[Group], state: Mapping[Tensor, Any]) -> None:
        """Compare what enters this step with the other ranks; begins a new count of the traffic.

        Raises:
            ValueError: if they differ.
        """
        self.traffic.collectives = self.traffic.bytes = 0
        known = tuple(group_facts(group) for group in groups)
        teams: dict[tuple[str, ...], tuple[Team, list[Entry]]] = {}
        for number, group in enumerate(groups):
            for i, p in enumerate(group["params"]):
                if not is_dtensor(p):
                    continue
                team = self.part(p, group["stacked_dims"]).holders
                if team is not None:
                    named = group.get("param_names")
                    name = repr(named[i]) if named else f"number {i} of group {number}"
                    taken = steps_taken(state.get(p) or {})
                    entry = Entry(name, number, tuple(p.shape), p.grad is not None, taken)
                    teams.setdefault(team.key, (team, []))[1].append(entry)
        for team, entries in teams.values():
            used = {entry.group for entry in entries}
            theirs = tuple(facts if i in used else {} for i, facts in enumerate(known))
            with nothing_moved([entry.name for entry in entries]):
                self._agreement.check(team, Facts(theirs, tuple(entries)))

    def settle(
        self,
        proposals: Sequence[tuple[PartBackend, Callable[[PartBackend], object]]],
        *,
        statistics: bool,
    ) -> list[Statistics | None]:
        """Answer what the proposals ask of their backends; changes nothing.

        Args:
            proposals: of each tensor, a backend, and a function that takes the step with it and
                throws it away.
            statistics: whether to measure the decisions.

        Returns:
            The statistics of each; ``None`` where there was no decision, or none were wanted.
        """
        for be, propose in proposals:
            propose(be)
        answer(question for be, _ in proposals for question in be.questions)
        measured: list[Statistics | None] = [None] * len(proposals)
        if statistics:
            for be, propose in proposals:
                propose(be.again(watch=True))
            seen = [(i, be) for i, (be, _) in enumerate(proposals) if be.seen is not None]
            found = measure([(be.part, be.rankers, *be.seen) for _, be in seen])
            for (i, be), one in zip(seen, found, strict=True):
                measured[i], be.seen = one, None
        return measured

    def backend(self, p: Any, group: Group) -> PartBackend:
        """A backend for one step of a DTensor."""
        return PartBackend(
            self.part(p, group["stacked_dims"]),
            compute_dtype(p.dtype),
            local(p).device,
            alone=group["scope"] == "local",
        )
