"""The step of one optimizer's DTensors, as far as it needs the other ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mgup_core import Policy, Rule, Statistics

from ..backend import compute_dtype
from ..groups import Group
from ..notices import note
from .consistency import Agreement
from .deferred import PartBackend, answer
from .fingerprint import Entry, Facts, group_facts, steps_taken
from .mesh_group import Team, Traffic
from .shard import Part, is_dtensor, local
from .statistics import measure


def check_rule(name: str, p: Tensor, rule: Rule) -> None:
    """Refuse a DTensor for a rule that needs more of the whole than the ranks exchange.

    Raises:
        ValueError: with the remedy.
    """
    if is_dtensor(p) and not (rule.elementwise or rule.gathers):
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
        rank = f"rank {torch.distributed.get_rank()}"
        what = f"{rank} could not settle the steps of parameters {shown} with the other ranks"
        if isinstance(error, torch.OutOfMemoryError):
            note(error, f"{what}. No parameter has taken this step.")
            raise
        raise RuntimeError(f"{what}: {error} No parameter has taken this step.") from error


class Proposal(NamedTuple):
    """A parameter's step, to be taken when the other ranks have been asked."""

    name: str
    param: Tensor
    group: Group
    rule: Rule | None
    """``None`` stands for any elementwise one."""
    policy: Policy | None
    step: Callable[[PartBackend], object]
    """Takes the step of what lies here, and throws it away."""


class Sharding:
    """What one optimizer knows of its DTensors.

    Args:
        prefix: before the names of MGUP's arguments in the groups.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.traffic = Traffic()
        """What this rank sent in the last step."""
        self._parts: dict[Any, Part] = {}
        self._agreement = Agreement()
        self._agreed: list[tuple[Team, Facts]] = []

    def __deepcopy__(self, memo: object) -> Sharding:
        return Sharding(self.prefix)  # process groups are not to be copied

    def __reduce__(self) -> tuple[type[Sharding], tuple[str]]:
        return Sharding, (self.prefix,)

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
        """Compare what enters a step with the other ranks; begins a new count of the traffic.

        Raises:
            ValueError: if they differ.
        """
        if not self.wanted(groups):
            return
        self.traffic.collectives = self.traffic.bytes = 0
        known = tuple(group_facts(group) for group in groups)
        teams: dict[tuple[str, ...], tuple[Team, list[Entry]]] = {}
        for number, group in enumerate(groups):
            for i, p in enumerate(group["params"]):
                if not is_dtensor(p):
                    continue
                team = self.part(p, self._of(group, "stacked_dims")).tensor_group
                if team is not None:
                    named = group.get("param_names")
                    name = repr(named[i]) if named else f"number {i} of group {number}"
                    taken = steps_taken(state.get(p) or {})
                    entry = Entry(name, number, tuple(p.shape), p.grad is not None, taken)
                    teams.setdefault(team.key, (team, []))[1].append(entry)
        self._agreed = []
        for team, entries in teams.values():
            used = {entry.group for entry in entries}
            theirs = tuple(facts if i in used else {} for i, facts in enumerate(known))
            self._compare(team, Facts(theirs, tuple(entries)))

    def agree_again(self, groups: Sequence[Group]) -> None:
        """As :meth:`agree`, where only learning rates can have changed since."""
        self.traffic.collectives = self.traffic.bytes = 0
        agreed, self._agreed = self._agreed, []
        for team, facts in agreed:
            self._compare(team, facts.at_rates_of(groups))

    def _compare(self, team: Team, facts: Facts) -> None:
        with nothing_moved([entry.name for entry in facts.entries]):
            self._agreement.check(team, facts)
        self._agreed.append((team, facts))

    def asks(
        self, p: Any, group: Group, rule: Rule | None, policy: Policy | None, *, statistics: bool
    ) -> bool:
        """Whether the step of a parameter needs the other ranks at all."""
        if not is_dtensor(p):
            return False
        be = self._backend(p, group, {})
        return be.asks(rule, policy, measure=statistics)

    def _backend(self, p: Any, group: Group, scalars: dict[Any, Any]) -> PartBackend:
        part = self.part(p, self._of(group, "stacked_dims"))
        kind = compute_dtype(p.dtype), local(p).device
        alone = self._of(group, "scope") == "local"
        return PartBackend(part, *kind, alone=alone, scalars=scalars.setdefault(kind, {}))

    def settle(
        self, proposals: Iterable[Proposal], *, statistics: bool
    ) -> dict[Tensor, tuple[PartBackend, Statistics | None]]:
        """Answer what steps of DTensors ask of other ranks; changes nothing.

        Args:
            proposals: of all parameters, in the same order on every rank.
            statistics: whether to measure the decisions.

        Returns:
            By parameter, for those that asked: the backend that has the answers, for one step, and
            the statistics, if there was a decision and they are wanted.
        """
        asking = []
        scalars: dict[Any, dict[float, Tensor]] = {}
        for given in proposals:
            if is_dtensor(given.param):
                be = self._backend(given.param, given.group, scalars)
                if be.asks(given.rule, given.policy, measure=statistics):
                    asking.append((given, be))
        with nothing_moved([given.name for given, _ in asking]):
            for given, be in asking:
                given.step(be)
            answer(question for _, be in asking for question in be.questions)
            measured = self._measured(asking) if statistics else {}
        return {given.param: (be.again(), measured.get(given.param)) for given, be in asking}

    @staticmethod
    def _measured(asking: Sequence[tuple[Proposal, PartBackend]]) -> dict[Tensor, Statistics]:
        for given, be in asking:
            given.step(be.again(watch=True))
        seen = {given.param: be for given, be in asking if be.seen is not None}
        found = measure([(be.part, be.slice_group, *be.seen) for be in seen.values()])
        for be in seen.values():
            be.seen = None
        return dict(zip(seen, found, strict=True))

    def _of(self, group: Group, name: str) -> Any:
        return group[self.prefix + name]
