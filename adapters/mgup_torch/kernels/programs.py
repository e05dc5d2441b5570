"""The program of a job, which it shares with all jobs that differ in values only (R7)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from mgup_core import Policy, Rule
from mgup_core.forms import Forms
from mgup_core.program import Program, record

if TYPE_CHECKING:
    from ..jobs import Job


@Forms
def program(rule: Rule, policy: Policy | None, decays: bool, maximize: bool) -> Program:
    """One object for all rules of a form: what is made of it serves whatever their floats (R7)."""
    return record(rule, policy, decays=decays, maximize=maximize)


def program_of(job: Job) -> Program:
    """The program of a job's rule, policy and flags."""
    decays = job.group["weight_decay"] != 0
    return program(job.rule, static(job.policy), decays, job.group["maximize"])


@functools.lru_cache
def _bare(policy_class: type[Policy], ties: str | None) -> Policy:
    return policy_class() if ties is None else policy_class(ties=ties)  # type: ignore[call-arg]


def static(policy: Policy | None) -> Policy | None:
    """A policy without what the tables say of it: tau, as counts, and alpha and gamma."""
    if policy is None or not hasattr(policy, "alpha"):
        return policy
    return _bare(type(policy), getattr(policy, "ties", None))
