"""Runs cases on backends and says what came out."""

from __future__ import annotations

import difflib
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from .cases import Case
from .catalogue import cases_for
from .clauses import PASSING
from .compare import Mismatch
from .diagnosis import charge, said, suspects
from .mutants import DICTIONARY
from .protocol import Backend, NotOffered, lacking, missing
from .verdicts import LEVELS
from .visible import ENDS

STATUSES = ("passed", "failed", "error", "skipped")


@dataclass(frozen=True)
class Result:
    """What one case said of one backend."""

    backend: str
    case: str
    clauses: tuple[str, ...]
    status: str
    """One of :data:`STATUSES`."""
    message: str = ""
    """Why, unless it passed."""
    seconds: float = 0.0
    verdict: str = ""
    """One of :data:`~.verdicts.LEVELS`, if it was judged."""
    units: float = 0.0
    """The largest deviation, in units in the last place, where the verdict is ``rounding``."""
    judged: str = ""
    """The verdict in a sentence."""
    diagnosis: str = ""
    """Which known mistake it looks like."""
    suspects: tuple[str, ...] = ()
    """The names of the mutants that give the same."""
    charged: tuple[str, ...] = ()
    """The clauses that it fails; of the others of a case that is ``different`` nothing is known."""
    lacks: tuple[str, ...] = ()
    """What the backend does not offer, if it was skipped."""
    runs: bool = False
    """Whether it is about a training run, and not ``multiplier`` alone."""

    @property
    def bad(self) -> bool:
        """Whether it must be repaired."""
        return self.status in ("failed", "error")


def run_case(
    backend: Backend, case: Case, *, set_of: str = "standard", level: str = "identical"
) -> Result:
    """One case on one backend, in the steps of a set.

    Args:
        backend: under test.
        case: what it is asked.
        set_of: one of :data:`~.cases.SETS`.
        level: ``"identical"``, or ``"rounding"`` for which a case passes that differs by no more.
    """
    if level not in PASSING:
        raise ValueError(f"level={level!r} is none of {', '.join(map(repr, PASSING))}.")

    def result(status: str, message: str = "", **verdict: Any) -> Result:
        seconds = time.perf_counter() - begun
        one = Result(backend.name, case.id, case.clauses, status, message, seconds)
        return replace(one, runs=case.runs, **verdict)

    begun = time.perf_counter()
    try:
        if reason := lacking(backend, case.needs):
            return result("skipped", reason, lacks=tuple(missing(backend, case.needs)))
        try:
            case.check(backend, set_of=set_of)
        except Mismatch as mismatch:
            message = f"{case.id} ({', '.join(case.clauses)})\n{mismatch}"
            verdict = case.judge(backend, set_of=set_of)
            found = suspects(verdict.evidence) if verdict.level == "different" else ()
            rounding = level == "rounding" and verdict.level != "different"
            return result(
                "passed" if rounding else "failed",
                "" if rounding else message,
                # The same steps that are not identical one after another may be so one by one.
                verdict=max(verdict.level, "rounding", key=LEVELS.index),
                units=verdict.units if verdict.level != "different" else 0.0,
                judged=str(verdict),
                diagnosis=said(found),
                suspects=tuple(mutant.name for mutant in found),
                charged=charge(case.clauses, found) if verdict.level == "different" else (),
            )
    except NotOffered as reason:
        message = f"{backend.name} does not offer {reason}"
        return result("skipped", message, lacks=(str(reason),))
    except ENDS:  # whatever a stranger's code raises is a finding, not a crash of the suite
        return result("error", traceback.format_exc(limit=-6), charged=case.clauses)
    return result("passed", verdict="identical")


def run_suite(
    backends: Sequence[Backend],
    cases: Sequence[Case],
    *,
    set_of: str = "standard",
    level: str = "identical",
    report: Callable[[Result], Any] = lambda result: None,
) -> list[Result]:
    """All cases on all backends, telling ``report`` of each result as it comes.

    Args:
        backends: each is asked what :func:`cases_for` chooses for it.
        cases: in this order, each on all backends before the next.
        set_of: ``"fast"``, ``"standard"`` or ``"exhaustive"``: the steps of each case, and what
            :func:`cases_for` chooses.
        level: ``"identical"`` or ``"rounding"``: what passes.
        report: is called with each result.

    Raises:
        ValueError: for an unknown set or level, and where two backends have one name.
    """
    results = []
    check_names(backends)
    chosen = [{case.id for case in cases_for(one, cases, set_of=set_of)} for one in backends]
    for case in cases:
        for backend, ids in zip(backends, chosen, strict=True):
            if case.id not in ids:
                continue
            result = run_case(backend, case, set_of=set_of, level=level)
            report(result)
            results.append(result)
    return results


def check_names(backends: Sequence[Backend]) -> None:
    """Refuse backends that a report could not tell apart.

    Raises:
        ValueError: when two have one name.
    """
    names = [one.name for one in backends]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{names.count(name)} backends are called {name!r}, and a report tells backends "
                "apart by their names: give each its own, or run them one by one."
            )


def settle(results: Sequence[Result]) -> list[Result]:
    """The results with one diagnosis for what has one cause.

    Several mistakes may explain a case; the one that explains most cases of its backend is named.
    """
    known = {mutant.name: mutant for mutant in DICTIONARY}
    counts: dict[str, Counter[str]] = {}
    for one in results:
        counts.setdefault(one.backend, Counter()).update(one.suspects)
    settled = []
    for one in results:
        if len(one.suspects) > 1:
            votes = counts[one.backend]
            most = max(votes[name] for name in one.suspects)
            best = tuple(name for name in one.suspects if votes[name] == most)
            mutants = [known[name] for name in best]
            one = replace(
                one,
                suspects=best,
                diagnosis=said(mutants),
                charged=charge(one.clauses, mutants),
            )
        settled.append(one)
    return settled


def select(cases: Sequence[Case], patterns: Sequence[str]) -> list[Case]:
    """The cases whose id, or one of whose clauses, matches a glob.

    Raises:
        ValueError: for a pattern that matches nothing.
    """
    chosen: dict[str, Case] = {}
    for pattern in patterns:
        found = [
            case
            for case in cases
            if fnmatchcase(case.id, pattern) or any(fnmatchcase(c, pattern) for c in case.clauses)
        ]
        if not found:
            names = {case.id for case in cases} | {c for case in cases for c in case.clauses}
            names |= {case.id.split("/")[0] + "/*" for case in cases}
            near = difflib.get_close_matches(pattern, sorted(names), n=1, cutoff=0.3)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise ValueError(f"no case or clause matches {pattern!r}{hint}.")
        chosen.update({case.id: case for case in found})
    return [case for case in cases if case.id in chosen]
