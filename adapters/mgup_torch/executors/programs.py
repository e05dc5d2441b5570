"""The program of a task, which it shares with all tasks that differ in values only (R7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mgup_core import Policy, Rule
from mgup_core.trace.forms import Forms
from mgup_core.trace.tracer import Program, record

if TYPE_CHECKING:
    from ..parameter_step import Task


@Forms
def program(rule: Rule, policy: Policy | None, decays: bool, maximize: bool) -> Program:
    """One object for all rules of a form: what is made of it serves whatever their floats (R7)."""
    return record(rule, policy, decays=decays, maximize=maximize)


def program_of(task: Task) -> Program:
    """The program of a task's rule, policy and flags."""
    decays = task.group["weight_decay"] != 0
    return program(task.rule, static(task.policy), decays, task.group["maximize"])


def static(policy: Policy | None) -> Policy | None:
    """A policy without what the tables say of it: tau, as counts, and alpha and gamma."""
    return None if policy is None else policy.static
