"""mgup_core over NumPy and array-api-strict, and the reference that all are compared with."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np

import mgup_core
from mgup_core import Policy, Rule, Split

from ..ports import CLASSES as RULE_CLASSES
from ..protocol import DTYPES, OPTIONS, POLICIES, RULES, Array, PolicySpec, RuleSpec, RunSpec

POLICY_CLASSES: dict[str, Callable[..., Policy]] = {
    "mgup": mgup_core.MGUP,
    "sign": mgup_core.SignMGUP,
    "adaptive": mgup_core.AdaptiveSignMGUP,
    "cautious": mgup_core.Cautious,
}


def make_rule(spec: RuleSpec) -> Rule:
    """The core's rule of a plain description."""
    return RULE_CLASSES[spec["name"]](**{k: v for k, v in spec.items() if k != "name"})


def make_policy(spec: PolicySpec) -> Policy | None:
    """The core's policy of a plain description; None for "off"."""
    if spec["name"] == "off":
        return None
    return POLICY_CLASSES[spec["name"]](**{k: v for k, v in spec.items() if k != "name"})


def spread(split: Split) -> Array:
    """The multiplier of each coordinate, as rows."""
    return np.asarray(np.where(split.mask, split.high, split.low))


class CoreRun:
    """A run of ``mgup_core.Optimizer`` on arrays of some namespace."""

    def __init__(self, optimizer: mgup_core.Optimizer, params: list[Any], owner: NumPy) -> None:
        self.optimizer, self.owner = optimizer, owner
        self.arrays = params
        with owner.context():
            self.kept = optimizer.init(params)

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        inside = [None if g is None else self.owner.inside(g) for g in grads]
        with self.owner.context():
            self.arrays, self.kept = self.optimizer.step(self.arrays, inside, self.kept, lr=lr)

    def resume(self) -> None:
        """Go on from copies, as from a file."""
        kept = [
            {name: self.owner.inside(np.array(x)) for name, x in state.items()}
            for state in self.state()
        ]
        self.arrays = [self.owner.inside(np.array(w)) for w in self.params()]
        self.kept = mgup_core.OptimizerState(dict(self.kept.steps), dict(enumerate(kept)))

    def params(self) -> list[Array]:
        return [self.owner.outside(w) for w in self.arrays]

    def state(self) -> list[dict[str, Array]]:
        return [
            {name: self.owner.outside(value) for name, value in self.kept.arrays[i].items()}
            for i in range(len(self.arrays))
        ]


class NumPy:
    """mgup_core as a user of NumPy gets it."""

    name = "numpy"
    dtypes: tuple[str, ...] = DTYPES

    def versions(self) -> dict[str, str]:
        return {
            "python": platform.python_version(),
            "mgup": mgup_core.__version__,
            "numpy": np.__version__,
        }

    def capabilities(self) -> dict[str, Any]:
        return {"dtypes": self.dtypes, "rules": RULES, "policies": POLICIES, "options": OPTIONS}

    def inside(self, x: Array) -> Any:
        """A NumPy array in this backend's namespace."""
        # Read-only: the core promises to change nothing that it is given.
        x = x.view()
        x.flags.writeable = False
        return x

    def outside(self, x: Any) -> Array:
        """Back to NumPy."""
        return np.asarray(x)

    def context(self) -> contextlib.AbstractContextManager[Any]:
        """What must hold while the core works."""
        return contextlib.nullcontext()

    def array_backend(self, x: Any) -> mgup_core.Backend:
        """The core's operations for an array."""
        return mgup_core.backend_for(x)

    def rule(self, spec: RuleSpec) -> Rule:
        """The core's rule; overridden by wrong implementations."""
        return make_rule(spec)

    def policy(self, spec: PolicySpec) -> Policy | None:
        """The core's policy; overridden by wrong implementations."""
        return make_policy(spec)

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        made = self.policy(policy)
        if made is None:
            return np.ones(a.shape, np.float64 if a.dtype == np.float64 else np.float32)
        with self.context():
            phi = made.multiplier(self.inside(a), self.inside(g), stacked_dims=stacked_dims)
        return self.outside(phi)

    def optimizer(self, spec: RunSpec) -> mgup_core.Optimizer:
        """The core's optimizer of a plain description."""
        return mgup_core.Optimizer(
            self.rule(spec["rule"]),
            self.policy(spec["policy"]),
            lr=spec["lr"],
            weight_decay=spec["weight_decay"],
            stacked_dims=dict(enumerate(spec["stacked_dims"])),
            state_dtype=None if spec["state_dtype"] == spec["dtype"] else spec["state_dtype"],
            backend=self.array_backend,
        )

    def run(self, spec: RunSpec, params: Sequence[Array]) -> CoreRun:
        return CoreRun(self.optimizer(spec), [self.inside(w) for w in params], self)


class Strict(NumPy):
    """mgup_core on nothing but the array API standard."""

    name = "array_api_strict"
    dtypes = ("float32", "float64")

    def __init__(self) -> None:
        import array_api_strict

        self.xp = array_api_strict

    def versions(self) -> dict[str, str]:
        return super().versions() | {"array-api-strict": version("array-api-strict")}

    def capabilities(self) -> dict[str, Any]:
        absent = "not in the array API standard"
        reasons = {"float16": absent, "bfloat16": absent}
        # Slow: each operation is held against the standard before it is done.
        return super().capabilities() | {"reasons": reasons, "slow": True}

    def inside(self, x: Array) -> Any:
        return self.xp.asarray(x, copy=True)

    def context(self) -> contextlib.AbstractContextManager[Any]:
        # What accelerators and compilers do not have, the core must not use.
        flags: contextlib.AbstractContextManager[Any] = self.xp.ArrayAPIStrictFlags(
            boolean_indexing=False, data_dependent_shapes=False
        )
        return flags


class Sorted(mgup_core.Backend):
    """The portable operations on NumPy: the rank mask by one stable sort, the reference of P4."""

    def rank_mask(self, scores: Array, k: int) -> Array:
        order = np.argsort(-scores, axis=-1, kind="stable")  # NumPy sorts NaN last, as P2 does
        mask = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(mask, order[:, :k], True, axis=-1)
        return mask


@dataclass(frozen=True)
class Watched(Policy):
    """A policy that remembers what it was shown, so that a difference can be explained."""

    inner: Policy = field(default_factory=mgup_core.MGUP)
    seen: list[tuple[Array, mgup_core.Split]] = field(default_factory=list)

    @property
    def opaque(self) -> bool:
        return self.inner.opaque

    def decide(
        self, be: mgup_core.Backend, scores: Any, context: mgup_core.Context | None = None
    ) -> mgup_core.Split:
        split = self.inner.decide(be, scores, context)
        self.seen.append((scores, split))
        return split


class ReferenceRun(CoreRun):
    """The reference's run, which keeps the last decision on each parameter."""

    def __init__(self, optimizer: mgup_core.Optimizer, params: list[Any], owner: NumPy) -> None:
        self.seen: list[tuple[Array, mgup_core.Split]] = []
        self.decided: dict[int, tuple[Array, mgup_core.Split]] = {}
        self.ranks = optimizer.policy is not None and optimizer.policy.ranks
        if optimizer.policy is not None:
            optimizer = replace(optimizer, policy=Watched(optimizer.policy, self.seen))
        super().__init__(optimizer, params, owner)

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        self.seen.clear()
        super().step(grads, lr)
        present = [i for i, g in enumerate(grads) if g is not None]
        self.decided = dict(zip(present, self.seen, strict=False))

    def multiplier(self, i: int, shape: tuple[int, ...]) -> Array:
        """The multiplier of parameter i in the last step."""
        if i not in self.decided:
            return np.ones(shape)
        _, split = self.decided[i]
        return spread(split).reshape(shape)


class Reference(NumPy):
    """The reference: NumPy, a stable sort, no fast path."""

    name = "reference"

    def array_backend(self, x: Any) -> mgup_core.Backend:
        portable = mgup_core.backend_for(x)
        return Sorted(portable.xp, portable.dtype, portable.device)

    def run(self, spec: RunSpec, params: Sequence[Array]) -> ReferenceRun:
        return ReferenceRun(self.optimizer(spec), [self.inside(w) for w in params], self)

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        made = self.policy(policy)
        be = self.array_backend(a)
        if made is None:
            return np.ones(a.shape, be.host_dtype)
        rows = (int(np.prod(a.shape[:stacked_dims])), int(np.prod(a.shape[stacked_dims:])))
        with np.errstate(all="ignore"), self.context():
            split = made.decide(be, mgup_core.score(a, g, be=be).reshape(rows))
            return spread(split).reshape(a.shape)
