"""mgup_jax, eager and jitted."""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mgup_jax
from mgup_core import score
from mgup_core.selection.reference import slices
from mgup_jax import MuonDimensionNumbers
from mgup_jax.backend import JaxBackend, compute_dtype

from ..ports import CLASSES
from ..protocol import DTYPES, OPTIONS, POLICIES, RULES, STATE, Array, PolicySpec, RunSpec
from .core import make_policy

MODES = {"mgup": "rank", "sign": "sign", "adaptive": "adaptive", "cautious": "cautious"}


# It was in jax.experimental before.
_HOME = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
enable_x64 = _HOME.enable_x64


@contextlib.contextmanager
def precision(dtype: str) -> Any:
    """float64 where it is asked for, and only there."""
    with enable_x64(dtype == "float64"), warnings.catch_warnings():
        # Told to the user at init (P3); the cases damp whole slices on purpose.
        warnings.filterwarnings("ignore", message=".*none is selected")
        yield


def make_optimizer(
    spec: RunSpec, stacked_dims: list[int], lr: Any
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a plain description, by the arguments that a user gives."""
    rule, policy = dict(spec["rule"]), dict(spec["policy"])
    kind, mode = rule.pop("name"), MODES.get(policy.pop("name"), "off")
    if kind == "muon":  # the cases' rows are the first axis
        rule["muon_weight_dimension_numbers"] = [MuonDimensionNumbers(1, 0)] * len(stacked_dims)
    make: Callable[..., optax.GradientTransformationExtraArgs]
    make = getattr(mgup_jax, f"mgup_{kind}", None) or mgup_jax.transformation(CLASSES[kind])
    return make(
        lr,
        weight_decay=spec["weight_decay"],
        mode=mode,
        stacked_dims=stacked_dims,
        state_dtype=None if spec["state_dtype"] == spec["dtype"] else spec["state_dtype"],
        update_dtype="compute",  # R5: apply_updates rounds once
        **policy,
        **rule,
    )


def step(spec: RunSpec, params: Any, state: Any, grads: Any, lr: Any) -> tuple[Any, Any]:
    """One step of a list of parameters, as a user writes it."""
    updates, state = make_optimizer(spec, spec["stacked_dims"], lr).update(grads, state, params)
    return optax.apply_updates(params, updates), state


@lru_cache(maxsize=64)
def jitted_step(spec: str) -> Callable[..., Any]:
    """The step of a description in JSON, compiled once whatever the learning rate."""
    return jax.jit(partial(step, json.loads(spec)), donate_argnums=(0, 1))


class Part:
    """Parameters that share a state, and so the count of steps."""

    def __init__(self, spec: RunSpec, params: list[Any], jit: bool) -> None:
        self.params, self.names = params, STATE[spec["rule"]["name"]]
        self.kept = make_optimizer(spec, spec["stacked_dims"], 0.0).init(params)
        key = json.dumps(spec | {"lr": 0.0})
        self.advance = jitted_step(key) if jit else partial(step, spec)

    def step(self, grads: list[Any], lr: Any) -> None:
        """Take one step."""
        self.params, self.kept = self.advance(self.params, self.kept, grads, lr)

    def state(self) -> list[dict[str, Array]]:
        """The state of each parameter."""
        kept = {name: optax.tree_utils.tree_get(self.kept, name) for name in self.names}
        return [
            {name: np.asarray(tree[i]) for name, tree in kept.items()}
            for i in range(len(self.params))
        ]


class JaxRun:
    """A run of the transformations of mgup_jax."""

    def __init__(self, spec: RunSpec, params: Sequence[Array], jit: bool) -> None:
        self.spec, self.jit, self.start = spec, jit, [w.copy() for w in params]
        self.parts: list[Part] = []

    def _begin(self, apart: bool) -> None:
        """Parameters that come and go (R6) count their own steps: each gets an optimizer."""
        whole = range(len(self.start))
        with precision(self.spec["dtype"]):
            for indices in [[i] for i in whole] if apart else [list(whole)]:
                stacked = [self.spec["stacked_dims"][i] for i in indices]
                spec = self.spec.copy() | {"stacked_dims": stacked}
                arrays = [jnp.asarray(self.start[i]) for i in indices]
                self.parts.append(Part(spec, arrays, self.jit))

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        if not self.parts:
            self._begin(apart=any(g is None for g in grads))
        kind = np.float64 if self.spec["dtype"] == "float64" else np.float32
        rate = kind(self.spec["lr"] if lr is None else lr)
        given = iter(grads)
        with precision(self.spec["dtype"]):
            for part in self.parts:
                own = [next(given) for _ in part.params]
                if any(g is not None for g in own):
                    part.step([None if g is None else jnp.asarray(g) for g in own], rate)

    def resume(self) -> None:
        """From the leaves of its trees, as NumPy arrays."""
        with precision(self.spec["dtype"]):
            for part in self.parts:
                for name in ("params", "kept"):
                    saved = jax.tree.map(np.array, getattr(part, name))
                    setattr(part, name, jax.tree.map(jnp.asarray, saved))

    def params(self) -> list[Array]:
        if not self.parts:
            return self.start
        return [np.asarray(w) for part in self.parts for w in part.params]

    def state(self) -> list[dict[str, Array]]:
        return [one for part in self.parts for one in part.state()] or [{} for _ in self.start]


class Jax:
    """mgup_jax in eager mode."""

    name = "jax"
    jit = False

    def versions(self) -> dict[str, str]:
        found = {"jax": jax.__version__, "optax": optax.__version__, "numpy": np.__version__}
        device = jax.devices()[0]
        return found if device.platform == "cpu" else {**found, "device": device.device_kind}

    def capabilities(self) -> dict[str, Any]:
        return {
            "dtypes": DTYPES,
            "rules": RULES,
            "policies": POLICIES,
            "options": OPTIONS,
            "compiles": True,  # every operation, for every shape
        }

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        made = make_policy(policy)
        if made is None:
            return np.ones(a.shape, np.float64 if a.dtype == np.float64 else np.float32)
        with precision(a.dtype.name):
            return np.asarray(self.spread(made, stacked_dims)(jnp.asarray(a), jnp.asarray(g)))

    def spread(self, policy: Any, stacked_dims: int) -> Callable[[Any, Any], Any]:
        """The function from (a, g) to the multiplier."""

        def multiplier(a: Any, g: Any) -> Any:
            be = JaxBackend(compute_dtype(a.dtype))
            split = policy.decide(be, slices(score(a, g, be=be), jnp, stacked_dims))
            return jnp.reshape(jnp.where(split.mask, split.high, split.low), a.shape)

        return multiplier

    def run(self, spec: RunSpec, params: Sequence[Array]) -> JaxRun:
        return JaxRun(spec, params, self.jit)


class JaxJit(Jax):
    """mgup_jax in one jitted step for each structure."""

    name = "jax_jit"
    jit = True

    def spread(self, policy: Any, stacked_dims: int) -> Callable[[Any, Any], Any]:
        return _jitted_spread(policy, stacked_dims)


@lru_cache(maxsize=512)
def _jitted_spread(policy: Any, stacked_dims: int) -> Callable[[Any, Any], Any]:
    return jax.jit(Jax().spread(policy, stacked_dims))
