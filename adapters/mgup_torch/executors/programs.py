"""The program of a task, the same for all tasks that differ in values only (R7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mgup_core import Policy, Rule, State
from mgup_core._typing import Array
from mgup_core.numerics.backend import Backend
from mgup_core.trace.forms import Forms
from mgup_core.trace.tracer import Program, record, record_rescaling

if TYPE_CHECKING:
    from ..parameter_step import Task


@dataclass(frozen=True)
class ReadOff(Rule):
    """Stands for a rule where another optimizer has taken the step (:func:`rescale`).

    The parameter is where that moved it to, and the one state is a copy from before.
    """

    counts_steps: ClassVar[bool] = False

    def init(self, be: Backend, w: Array) -> State:
        return {"before": w}


@Forms
def program(rule: Rule, policy: Policy | None, decays: bool, maximize: bool) -> Program:
    """The program of all rules of a form, one object, whatever their floats are (R7)."""
    if isinstance(rule, ReadOff):
        return record_rescaling(policy, decays=decays, decay=rule.decay, maximize=maximize)
    return record(rule, policy, decays=decays, maximize=maximize)


def program_of(task: Task) -> Program:
    """The program of a task's rule, policy and flags."""
    decays = task.group["weight_decay"] != 0
    return program(task.rule, static(task.policy), decays, task.group["maximize"])


def static(policy: Policy | None) -> Policy | None:
    """A policy without the values that the slice table holds: alpha, gamma, and tau as K."""
    return None if policy is None else policy.static
