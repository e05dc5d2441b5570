"""The program of a task, the same for all tasks that differ in values only (R7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgup_core import Policy, Rule
from mgup_core.trace.forms import Forms
from mgup_core.trace.tracer import Program, record

if TYPE_CHECKING:
    from ..parameter_step import Task


@Forms
def program(rule: Rule, policy: Policy | None, decays: bool, maximize: bool) -> Program:
    """The program of all rules of a form, one object, whatever their floats are (R7)."""
    return record(rule, policy, decays=decays, maximize=maximize)


def program_of(task: Task) -> Program:
    """The program of a task's rule, policy and flags."""
    decays = task.group["weight_decay"] != 0
    return program(task.rule, static(task.policy), decays, task.group["maximize"])


def static(policy: Policy | None) -> Policy | None:
    """A policy without the values that the slice table holds: alpha, gamma, and tau as K."""
    return None if policy is None else policy.static
