"""mgup_jax, eager and jitted."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mgup_core import score
from mgup_core.rank import slices
from mgup_jax import MuonDimensionNumbers, mgup_adamw, mgup_lion, mgup_muon, mgup_sgd
from mgup_jax.backend import JaxBackend, compute_dtype

from ..protocol import DTYPES, OPTIONS, POLICIES, RULES, STATE, Array, PolicySpec, RunSpec
from .core import make_policy

MODES = {"mgup": "rank", "sign": "sign", "adaptive": "adaptive", "cautious": "cautious"}
MAKERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "adamw": mgup_adamw, "lion": mgup_lion, "sgd": mgup_sgd, "muon": mgup_muon,
}  # fmt: skip


@contextlib.contextmanager
def precision(dtype: str) -> Any:
    """float64 where it is asked for, and only there."""
    with jax.enable_x64(dtype == "float64"), warnings.catch_warnings():
        # Told to the user at init (P3); the cases damp whole slices on purpose.
        warnings.filterwarnings("ignore", message=".*none is selected")
        yield


def make_optimizer(
    spec: RunSpec, stacked_dims: int, lr: Any
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of a plain description, by the arguments that a user gives."""
    rule, policy = dict(spec["rule"]), dict(spec["policy"])
    kind, mode = rule.pop("name"), MODES.get(policy.pop("name"), "off")
    if kind == "muon":  # the cases' rows are the first axis
        rule["muon_weight_dimension_numbers"] = MuonDimensionNumbers(1, 0)
    return MAKERS[kind](
        lr,
        weight_decay=spec["weight_decay"],
        mode=mode,
        stacked_dims=stacked_dims,
        state_dtype=None if spec["state_dtype"] == spec["dtype"] else spec["state_dtype"],
        **policy,
        **rule,
    )


class Advance:
    """One step of all parameters with gradients; each has a state of its own (R6)."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec = spec

    def init(self, params: list[Any]) -> list[Any]:
        """The states before the first step."""
        return [
            make_optimizer(self.spec, n, 0.0).init(w)
            for n, w in zip(self.spec["stacked_dims"], params, strict=True)
        ]

    def __call__(
        self, params: list[Any], states: list[Any], grads: list[Any], lr: Any
    ) -> tuple[list[Any], list[Any]]:
        params, states = list(params), list(states)
        for i, (g, n) in enumerate(zip(grads, self.spec["stacked_dims"], strict=True)):
            if g is not None:
                step = make_optimizer(self.spec, n, lr).update
                updates, states[i] = step(g, states[i], params[i])
                params[i] = optax.apply_updates(params[i], updates)
        return params, states


@lru_cache(maxsize=64)
def _jitted(key: str) -> Callable[..., Any]:
    """One compiled step for each description, whatever the learning rate."""
    return jax.jit(Advance(json.loads(key)), donate_argnums=(0, 1))


class JaxRun:
    """A run of the transformations of mgup_jax."""

    def __init__(self, spec: RunSpec, params: Sequence[Array], jit: bool) -> None:
        self.spec, self.names = spec, STATE[spec["rule"]["name"]]
        eager = Advance(spec)
        self.advance = _jitted(json.dumps(spec | {"lr": 0.0})) if jit else eager
        with self.context():
            self.arrays = [jnp.array(w) for w in params]
            self.kept = eager.init(self.arrays)

    def context(self) -> contextlib.AbstractContextManager[Any]:
        return precision(self.spec["dtype"])

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        rate = np.float64(self.spec["lr"] if lr is None else lr)
        with self.context():
            given = [None if g is None else jnp.asarray(g) for g in grads]
            if self.spec["dtype"] != "float64":
                rate = np.float32(rate)
            self.arrays, self.kept = self.advance(self.arrays, self.kept, given, rate)

    def params(self) -> list[Array]:
        return [np.asarray(w) for w in self.arrays]

    def state(self) -> list[dict[str, Array]]:
        return [
            {
                name: np.asarray(optax.tree_utils.tree_get(state, name)) for name in self.names
            }
            for state in self.kept
        ]


class Jax:
    """mgup_jax in eager mode."""

    name = "jax"
    jit = False

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__, "optax": optax.__version__, "numpy": np.__version__}

    def capabilities(self) -> dict[str, Any]:
        return {"dtypes": DTYPES, "rules": RULES, "policies": POLICIES, "options": OPTIONS}

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
