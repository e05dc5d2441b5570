"""The reference beside an implementation: NumPy arrays, parameter by parameter, in groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import mgup_core as core
from mgup_core.optimizer import OptimizerState

from .draws import Settings, numpy_dtype, policy_of


@dataclass
class Record:
    """One parameter as the reference has it."""

    w: np.ndarray
    arrays: dict[str, np.ndarray] | None = None
    """``None`` before its first step."""
    steps: int = 0


@dataclass
class Group:
    """Parameters of one setting."""

    kind: type[core.Rule]
    given: Settings
    own: Settings
    records: list[Record] = field(default_factory=list)

    def optimizer(self) -> core.Optimizer:
        return core.Optimizer(
            self.kind(**self.own),
            policy_of(self.given),
            lr=self.given["lr"],
            weight_decay=self.given["weight_decay"],
            stacked_dims=self.given.get("stacked_dims", 0),
        )

    def step(self, grads: list[np.ndarray | None]) -> None:
        """Those with a gradient take a step (R6)."""
        optimizer = self.optimizer()
        named = {i: g for i, g in enumerate(grads) if g is not None}
        if not named:
            return
        for i in named:
            if self.records[i].arrays is None:
                self.records[i].arrays = self.fresh(optimizer.rule, self.records[i].w)
        if self.given.get("maximize"):
            named = {i: np.asarray(-g, dtype=g.dtype) for i, g in named.items()}
        before = {i: self.records[i] for i in named}
        params, state = optimizer.step(
            {i: r.w for i, r in before.items()},
            named,
            OptimizerState(
                {i: r.steps for i, r in before.items()}, {i: r.arrays for i, r in before.items()}
            ),
        )
        for i, record in before.items():
            record.w, record.arrays = np.asarray(params[i]), dict(state.arrays[i])
            record.steps = state.steps[i]

    def fresh(self, rule: core.Rule, w: np.ndarray) -> dict[str, np.ndarray]:
        """The state before the first step, in the dtype that the group asks for (R5)."""
        wanted = self.given.get("state_dtype")
        dtype = w.dtype if wanted is None else numpy_dtype(wanted)
        return core.fresh_state(core.backend_for(w), rule, w, dtype)


def bits(x: Any) -> bytes:
    """The bytes of an array, all NaNs alike."""
    x = np.array(x)
    nan = np.isnan(x.astype(np.float64))
    if nan.any():
        x[nan] = np.nan
    return x.tobytes()


def core_backend(w: np.ndarray) -> Any:
    from mgup_core import backend_for

    return backend_for(w)


def same_bits(what: str, expected: np.ndarray, found: np.ndarray) -> None:
    assert found.dtype == expected.dtype, f"{what}: {found.dtype} instead of {expected.dtype}"
    assert found.shape == expected.shape, f"{what}: {found.shape} instead of {expected.shape}"
    if bits(found) == bits(expected):
        return
    wide = [np.atleast_1d(np.asarray(x, np.float64)) for x in (expected, found)]
    differ = ~((wide[0] == wide[1]) & (np.signbit(wide[0]) == np.signbit(wide[1])))
    differ &= ~(np.isnan(wide[0]) & np.isnan(wide[1]))
    at = tuple(np.argwhere(differ)[0])
    raise AssertionError(
        f"{what}: {differ.sum()} of {differ.size} differ; at {at} {wide[1][at]!r} instead of "
        f"{wide[0][at]!r}"
    )
