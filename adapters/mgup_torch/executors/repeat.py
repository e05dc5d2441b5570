"""A step like the last one, told at a glance."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mgup_core import Policy, Rule
from mgup_core.trace.forms import runtime_fields

from ..groups import policy_of
from ..kernels import layout as table
from .programs import program_of

if TYPE_CHECKING:
    from ..groups import Group
    from ..parameter_step import Task

Ready = Callable[[Iterable[Tensor]], Tensor | None]


class Last:
    """What the last step found, so that the next can tell at a glance whether it still holds."""

    def __init__(
        self,
        groups: Sequence[Group],
        jobs: Sequence[Task],
        tables: Sequence[Any],
        rule_of: Callable[[Group], Rule],
    ) -> None:
        self.rule_of = rule_of
        self.names = [job.name for job in jobs]
        self.groups = [_Said(group, rule_of(group)) for group in groups]
        self.jobs = {id(job.group): (job, program_of(job)) for job in jobs}
        stepped = {job.owner.param for job in jobs}
        self.idle = [p for group in groups for p in group["params"] if p not in stepped]
        self.tables = tables
        for one in tables:  # where nothing counts, a rule knows the first step from the others
            one.plan.rows[:, table.T] = 2

    def repeat(self, state: Any, ready: Ready) -> bool:
        if not all(said.holds() for said in self.groups):
            return False
        for p in self.idle:
            if p.grad is not None:
                return False
        moved = self._moved()
        found = [one.addresses(state) for one in self.tables]
        if moved is None or any(addresses is None for addresses in found):
            return False
        found_inf = ready(g for one in self.tables for g in one.grads())
        for one, addresses in zip(self.tables, found, strict=True):
            if moved:
                one.revalue(moved)
            one.refill(addresses, found_inf)
            one.launcher.launch()
        return True

    def _moved(self) -> dict[int, tuple[Rule, Policy | None]] | None:
        """The groups with other values, by their id; ``None`` if one has another program now."""
        moved: dict[int, tuple[Rule, Policy | None]] = {}
        for said in self.groups:
            if not said.moved():
                continue
            group = said.group
            rule, policy = self.rule_of(group), policy_of(group)
            if id(group) in self.jobs:
                job, program = self.jobs[id(group)]
                if program_of(job._replace(rule=rule, policy=policy)) is not program:
                    return None
                moved[id(group)] = rule, policy
        for said in self.groups:
            said.note()
        return moved


class _Said:
    """What a group said in the last step: all but its learning rate, which is read every time."""

    def __init__(self, group: Group, rule: Rule) -> None:
        self.group = group
        self.values = {"betas", "weight_decay", "alpha", "gamma", *runtime_fields(rule)}
        self.fixed = list(self._fixed())
        self.note()

    def _fixed(self) -> Iterator[Any]:
        for name, value in self.group.items():
            if name == "params":
                yield from value
            elif name != "lr" and name not in self.values:
                yield value

    def holds(self) -> bool:
        """Whether nothing but values has changed (R7)."""
        now = list(self._fixed())
        return len(now) == len(self.fixed) and all(map(operator.is_, now, self.fixed))

    def _now(self) -> list[Any]:
        return [_plain(self.group.get(name)) for name in sorted(self.values)]

    def note(self) -> None:
        """These are the values of the last step."""
        self.last = self._now()

    def moved(self) -> bool:
        """Whether a value is another now."""
        return not all(map(_equal, self._now(), self.last))


def _equal(a: Any, b: Any) -> bool:
    """Whether two values are known to be the same, without waiting for a device."""
    return a is b or not (isinstance(a, Tensor) or isinstance(b, Tensor) or a != b)


def _plain(value: Any) -> Any:
    """A value that does not change when what holds it is written into."""
    if isinstance(value, Tensor) and value.device.type == "cpu" and value.numel() == 1:
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
