"""The exchange between ranks that an optimizer's step of DTensors needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mgup_core import Policy, Rule, Statistics
from mgup_core._notices import note

from ..backend import compute_dtype
from ..groups import Group
from .consistency import Agreement
from .deferred import PartBackend, resolve
from .fingerprint import Entry, StepInputs, group_inputs, steps_taken
from .mesh_group import MeshGroup, Traffic
from .shard import Part, is_dtensor, local
from .statistics import measure


def check_rule(name: str, p: Tensor, rule: Rule, scope: str) -> None:
    """Refuse a DTensor whose parts are to be tensors of their own, if the rule needs whole ones.

    Raises:
        ValueError: with the remedy.
    """
    if is_dtensor(p) and scope == "local" and not (rule.elementwise or rule.gathers):
        raise ValueError(
            f"parameter {name} is a DTensor, but {type(rule).__name__} needs the whole tensor: "
            "scope='local' must be 'global'."
        )


@contextmanager
def nothing_moved(names: Sequence[str]) -> Iterator[None]:
    """Add to the error of a collective the rank and the parameters whose step failed.

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
    """A parameter's step, to be taken when the other ranks' results are there."""

    name: str
    param: Tensor
    group: Group
    rule: Rule | None
    """``None`` stands for any elementwise rule."""
    policy: Policy | None
    step: Callable[[PartBackend], object]
    """Computes the step of this rank's shard without storing it."""


class Sharding:
    """The layouts of one optimizer's DTensors, and what its ranks exchange in a step.

    Args:
        prefix: precedes the names of MGUP's arguments in the parameter groups.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.traffic = Traffic()
        """What this rank passed to collectives in the last step."""
        self._parts: dict[Any, Part] = {}
        self._agreement = Agreement()
        self._agreed: list[tuple[MeshGroup, StepInputs]] = []
        self._begun = True
        """Whether no parameter of the last comparison was at its first step."""

    def __deepcopy__(self, memo: object) -> Sharding:
        return Sharding(self.prefix)  # process groups cannot be copied

    def __reduce__(self) -> tuple[type[Sharding], tuple[str]]:
        return Sharding, (self.prefix,)

    def part(self, p: Any, stacked_dims: int) -> Part:
        """This rank's part of a DTensor, computed once for each layout."""
        key = p.device_mesh, p.placements, p.shape, p.stride(), stacked_dims
        if key not in self._parts:
            self._parts[key] = Part(p, stacked_dims, self.traffic)
        return self._parts[key]

    @staticmethod
    def wanted(groups: Sequence[Group]) -> bool:
        """Whether any parameter is a DTensor."""
        return any(is_dtensor(p) for group in groups for p in group["params"])

    def agree(self, groups: Sequence[Group], state: Mapping[Tensor, Any]) -> None:
        """Compare the inputs of a step with the other ranks'; the traffic is counted from here.

        Raises:
            ValueError: if the inputs differ.
        """
        if not self.wanted(groups):
            return
        self.traffic.collectives = self.traffic.bytes = 0
        known = tuple(group_inputs(group) for group in groups)
        mesh_groups: dict[tuple[str, ...], tuple[MeshGroup, list[Entry]]] = {}
        for number, group in enumerate(groups):
            for i, p in enumerate(group["params"]):
                if not is_dtensor(p):
                    continue
                mesh_group = self.part(p, self._of(group, "stacked_dims")).tensor_group
                if mesh_group is not None:
                    named = group.get("param_names")
                    name = repr(named[i]) if named else f"number {i} of group {number}"
                    taken = steps_taken(state.get(p) or {})
                    entry = Entry(name, number, tuple(p.shape), p.grad is not None, taken)
                    mesh_groups.setdefault(mesh_group.key, (mesh_group, []))[1].append(entry)
        self._agreed, self._begun = [], True
        for mesh_group, entries in mesh_groups.values():
            self._begun &= all(entry.step != 0 for entry in entries)
            used = {entry.group for entry in entries}
            theirs = tuple(given if i in used else {} for i, given in enumerate(known))
            self._compare(mesh_group, StepInputs(theirs, tuple(entries)))

    def agree_again(self, groups: Sequence[Group], state: Mapping[Tensor, Any]) -> None:
        """As :meth:`agree`, for a step in which only hyperparameters can have changed."""
        if not self._begun:
            # The ranks had no state then, and one that does not repeat this step has one now.
            self.agree(groups, state)
            return
        self.traffic.collectives = self.traffic.bytes = 0
        agreed, self._agreed = self._agreed, []
        for mesh_group, inputs in agreed:
            self._compare(mesh_group, inputs.with_values_of(groups))

    def _compare(self, mesh_group: MeshGroup, inputs: StepInputs) -> None:
        with nothing_moved([entry.name for entry in inputs.entries]):
            self._agreement.check(mesh_group, inputs)
        self._agreed.append((mesh_group, inputs))

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
        """Compute what the steps of DTensors need of other ranks, without changing anything.

        Args:
            proposals: the steps of all parameters, in the same order on every rank.
            statistics: whether to measure the decisions.

        Returns:
            For each parameter whose step needs other ranks: the backend that has the results for
            one step, and the statistics, if they are wanted and the policy decided anything.
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
            resolve(request for _, be in asking for request in be.requests)
            measured = self._measured(asking) if statistics else {}
        return {given.param: (be.again(), measured.get(given.param)) for given, be in asking}

    @staticmethod
    def _measured(asking: Sequence[tuple[Proposal, PartBackend]]) -> dict[Tensor, Statistics]:
        for given, be in asking:
            given.step(be.again(watch=True))
        decided = {given.param: be for given, be in asking if be.decision is not None}
        found = measure(
            [
                (be.part, be.slice_group, *be.decision)
                for be in decided.values()
                if be.decision is not None
            ]
        )
        for be in decided.values():
            be.decision = None
        return dict(zip(decided, found, strict=True))

    def _of(self, group: Group, name: str) -> Any:
        return group[self.prefix + name]
