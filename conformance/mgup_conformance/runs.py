"""Stage two of the comparison (N8): whole trajectories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import ClassVar, NamedTuple

import numpy as np

from . import data
from .backends.core import ReferenceRun
from .cases import REFERENCE, Case
from .compare import Mismatch, check_close, check_identical, digest, nearness
from .data import Shape
from .protocol import (
    STATE,
    Array,
    Backend,
    Needs,
    PolicySpec,
    Run,
    RunSpec,
    check_state,
    needs,
)
from .verdicts import Verdict, judge_run

Snapshot = dict[tuple[str, int], Array]
"""Every array of a run by (what it is, which parameter it belongs to)."""


@dataclass(frozen=True, eq=False)  # its name tells it from others, and is hashable
class RunCase(Case):
    """Every bit of parameters and state, at every step of a loop that spreads a wrong bit.

    The gradients are made from the reference's parameters. Those are the backend's own for as long
    as it passes, and after the first difference nothing is asked of it.
    """

    spec: RunSpec
    shapes: tuple[Shape, ...]
    steps: int
    fast_steps: int
    standard_steps: int | None = None
    """Fewer than ``steps``, which the exhaustive set takes; None: those."""
    gradients: str = "chaotic"
    """chaotic, tiny, huge, nonfinite, absent, schedule, ties, zero_rows: see :class:`Feed`."""
    zero_start: bool = False
    resume_every: int = 0
    """After how many steps the run is broken off, saved and resumed; 0 is never."""
    runs: ClassVar[bool] = True
    reference_policy: PolicySpec | None = None
    """What the reference runs, where a limit must equal something else (P11)."""

    @property
    def needs(self) -> Needs:
        options = {
            "stacked_dims": any(self.spec["stacked_dims"]),
            "state_dtype": self.spec["state_dtype"] != self.spec["dtype"],
            "schedule": self.gradients == "schedule",
            "absent": self.gradients == "absent",
            "resume": bool(self.resume_every),
            "large": max(map(prod, self.shapes)) > 10_000,
        }
        return needs(
            dtypes={self.spec["dtype"], self.spec["state_dtype"]},
            policy=self.spec["policy"],
            rule=self.spec["rule"],
            options={name for name, asked in options.items() if asked},
        )

    def initial(self) -> list[Array]:
        """The parameters before the first step."""
        start = data.initial(self.id, self.shapes, self.spec["dtype"])
        return [np.zeros_like(w) for w in start] if self.zero_start else start

    def reference_spec(self) -> RunSpec:
        """What the reference runs."""
        spec = self.spec.copy()
        spec["policy"] = self.reference_policy or spec["policy"]
        return spec

    def length(self, set_of: str) -> int:
        """How many steps one of the sets takes."""
        standard = self.standard_steps or self.steps
        return {"fast": self.fast_steps, "standard": standard, "exhaustive": self.steps}[set_of]

    def check(self, backend: Backend, *, set_of: str = "standard") -> None:
        start = self.initial()
        given = [w.copy() for w in start]
        run, expected = backend.run(self.spec, start), trajectory(self)
        for t in range(1, self.length(set_of) + 1):
            moment = expected.at(t)
            run.step([None if g is None else g.copy() for g in moment.gradients], moment.lr)
            if self.resume_every and t % self.resume_every == 0:
                run.resume()  # type: ignore[attr-defined]
            actual = snapshot(run, self.spec)
            if not moment.fits(actual):
                self.explain(actual, t)
        check_untouched(given, start)

    def judge(self, backend: Backend, *, set_of: str = "standard") -> Verdict:
        return judge_run(
            backend,
            self.spec,
            self.initial(),
            self.feed(self.length(set_of)),
            reference_spec=self.reference_spec(),
            by_norm=self.by_norm,
        )

    def feed(self, steps: int) -> Iterator[tuple[list[Array | None], float | None]]:
        """The gradients and learning rates of the steps, made along the reference's trajectory."""
        expected = trajectory(self)
        for t in range(1, steps + 1):
            moment = expected.at(t)
            yield moment.gradients, moment.lr

    @property
    def by_norm(self) -> tuple[str, ...] | None:
        """For rules with matrix products: the states that have them in them (N7)."""
        return None

    def explain(self, actual: Snapshot, t: int) -> None:
        """Raise the first difference after step t, saying where its score lay."""
        reference = Replay(self)
        while reference.t < t:
            reference.advance()
        for (what, i), expected in reference.snapshot().items():
            try:
                check_identical(what, expected, actual[what, i], step=t, parameter=i)
            except Mismatch as mismatch:
                if what == "parameter" and mismatch.coordinate is not None:
                    mismatch.near = _near(reference.run, i, self.shapes[i], mismatch.coordinate)
                raise


def _near(run: ReferenceRun, i: int, shape: Shape, coordinate: tuple[int, ...]) -> str | None:
    if i not in run.decided:
        return None
    scores, split = run.decided[i]
    row, column = divmod(int(np.ravel_multi_index(coordinate, shape)), scores.shape[1])
    return nearness(scores, split.mask, row, column, ranked=run.ranks)


def check_untouched(before: Sequence[Array], after: Sequence[Array]) -> None:
    """A backend must not write into the parameters it was given."""
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        check_identical("initial parameter, which is not to be changed", old, new, parameter=i)


class Feed:
    """The gradients and learning rates of a run, made from its own parameters."""

    def __init__(self, case: RunCase) -> None:
        self.kind, self.lr, self.t = case.gradients, case.spec["lr"], 0
        make = data.tiny_gradients if self.kind == "tiny" else data.noises
        self.noise = make(case.id, case.shapes, case.spec["dtype"])

    def next(self, params: Sequence[Array]) -> tuple[list[Array | None], float | None]:
        """The next step's gradients, and its learning rate (None: the run's own)."""
        self.t += 1
        noise = next(self.noise)
        gradients: list[Array | None] = [
            self._gradient(n, w) for n, w in zip(noise, params, strict=True)
        ]
        if self.kind == "absent":  # parameter 0 already at the first step
            gradients = [None if (self.t + i) % 3 == 1 else g for i, g in enumerate(gradients)]
        lr = self.lr * (1.0 + self.t % 7) / 3.0 if self.kind == "schedule" else None
        return gradients, lr

    def _gradient(self, noise: Array, w: Array) -> Array:
        if self.kind == "tiny":
            return noise
        if self.kind == "huge":  # finite, but not once amplified
            huge: Array = np.sign(noise) * np.finfo(noise.dtype).max / 2
            return huge.astype(w.dtype)
        if self.kind == "ties":  # whole numbers, few of them
            return np.clip(np.rint(noise), -2, 2).astype(w.dtype)
        if self.kind == "noise":
            return noise.astype(w.dtype)
        gradient = data.chaotic(noise, w)
        if self.kind == "zero_rows":  # and columns, of each matrix
            gradient[..., ::3, :], gradient[..., 1::4] = 0.0, 0.0
        if self.kind == "nonfinite" and self.t == 2:
            flat = gradient.reshape(-1)
            flat[::5] = np.resize([np.nan, np.inf, -np.inf], flat[::5].size)
        return gradient


def snapshot(run: Run, spec: RunSpec) -> Snapshot:
    """State before parameters: what differs first in a step is looked at first."""
    out: Snapshot = {}
    params, states, asked = run.params(), run.state(), len(spec["stacked_dims"])
    for name, count in (("params()", len(params)), ("state()", len(states))):
        if count != asked:
            raise ValueError(f"{name} of a run of {asked} parameters gives {count} of them.")
    for i, (w, state) in enumerate(zip(params, states, strict=True)):
        check_state(spec["rule"]["name"], i, state)
        for name in STATE[spec["rule"]["name"]]:
            if name in state:
                out[f"state {name}", i] = np.asarray(state[name])
            else:  # not allocated yet
                fresh = REFERENCE.optimizer(spec).init([np.asarray(w)]).arrays[0]
                out[f"state {name}", i] = np.asarray(fresh[name])
        out["parameter", i] = np.asarray(w)
    return out


class Replay:
    """The reference on a case, step by step."""

    def __init__(self, case: RunCase) -> None:
        self.spec, self.t = case.reference_spec(), 0
        self.run = REFERENCE.run(self.spec, case.initial())
        self.feed = Feed(case)

    def advance(self) -> tuple[list[Array | None], float | None]:
        """Take the next step; returns its gradients and its learning rate."""
        given = self.feed.next(self.run.params())
        self.run.step(*given)
        self.t += 1
        return given

    def snapshot(self) -> Snapshot:
        """All arrays, after step t."""
        return snapshot(self.run, self.spec)


class Moment(NamedTuple):
    """A step of the reference: what goes in, and what comes out of it, as digests."""

    gradients: list[Array | None]
    lr: float | None
    exact: bytes
    identical: bytes

    def fits(self, actual: Snapshot) -> bool:
        """Whether every array is identical to the reference's (N1)."""
        arrays = actual.values()
        return digest(*arrays, exact=True) == self.exact or digest(*arrays) == self.identical


class Trajectory:
    """The reference's steps, each computed when it is first asked for."""

    def __init__(self, case: RunCase) -> None:
        self.replay = Replay(case)
        self.known: list[Moment] = []

    def at(self, t: int) -> Moment:
        """Step t, from 1."""
        while len(self.known) < t:
            given = self.replay.advance()
            arrays = self.replay.snapshot().values()
            self.known.append(Moment(*given, digest(*arrays, exact=True), digest(*arrays)))
        return self.known[t - 1]


@lru_cache(maxsize=16)
def trajectory(case: RunCase) -> Trajectory:
    """The reference's trajectory, computed once for backends that take turns on a case."""
    return Trajectory(case)


def wide64(x: Array) -> Array:
    """In float64, where a difference of two parameters is exact enough for N7."""
    return x.astype(np.float64)


@dataclass(frozen=True, eq=False)
class MatrixCase(RunCase):
    """Matrix rules: state identical where no matrix product enters it, and the step within N7.

    Steps are compared under the reference's multiplier, so a coordinate whose mask is flipped
    misses by the factor alpha/gamma. The gradients do not depend on the parameters here, since
    those agree by norm only.
    """

    gradients: str = "noise"
    bounded_state: tuple[str, ...] = ()

    @property
    def by_norm(self) -> tuple[str, ...] | None:
        return self.bounded_state

    def check(self, backend: Backend, *, set_of: str = "standard") -> None:
        start = self.initial()
        given = [w.copy() for w in start]
        run, feed, reference = backend.run(self.spec, start), Feed(self), Replay(self)
        actual, expected = snapshot(run, self.spec), reference.snapshot()
        for t in range(1, self.length(set_of) + 1):
            before = expected
            actual_before = {key: x.copy() for key, x in actual.items()}  # it may step in place
            run.step(*feed.next(run.params()))
            reference.advance()
            actual, expected = snapshot(run, self.spec), reference.snapshot()
            for (what, i), value in expected.items():
                if what != "parameter":
                    bounded = what.removeprefix("state ") in self.bounded_state
                    check = check_close if bounded else check_identical
                    check(what, value, actual[what, i], step=t, parameter=i)
                    continue
                phi = reference.run.multiplier(i, self.shapes[i])
                moved = (wide64(before[what, i]) - wide64(value)) / phi
                actually = (wide64(actual_before[what, i]) - wide64(actual[what, i])) / phi
                try:
                    check_close("step / multiplier", moved, actually, step=t, parameter=i)
                except Mismatch as mismatch:  # a flipped mask is its likeliest cause
                    if at := mismatch.coordinate:
                        mismatch.near = _near(reference.run, i, self.shapes[i], at)
                    raise
        check_untouched(given, start)
