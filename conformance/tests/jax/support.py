"""Helpers: the NumPy reference beside a transformation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_conformance.data import chaotic, generator, tiny_gradients
from mgup_jax import mgup_adamw, mgup_lion, mgup_sgd

SHAPES = {"a": (33, 7), "b": {"c": (64,)}}
MAKERS = {"adamw": mgup_adamw, "lion": mgup_lion, "sgd": mgup_sgd}
RULES = {"adamw": core.AdamW, "lion": core.Lion, "sgd": core.SGD}
RATES = {"learning_rate": 1e-2, "weight_decay": 0.1}


def is_shape(x: Any) -> bool:
    return isinstance(x, tuple)


def tree(shapes: Any = SHAPES, seed: int = 0, dtype: str = "float32") -> Any:
    """A tree of normal noise, NumPy."""
    rng = generator("tree", seed)
    return jax.tree.map(
        lambda shape: rng.standard_normal(shape).astype(jnp.dtype(dtype)), shapes, is_leaf=is_shape
    )


def step_of(optimizer: optax.GradientTransformation):
    """(params, state, grads) -> (params, state), as a user writes it."""

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


class Reference:
    """mgup_core.Optimizer over the leaves of a tree of NumPy arrays."""

    def __init__(self, params: Any, rule: core.Rule, policy: Any, **options: Any) -> None:
        leaves, self.treedef = jax.tree.flatten(params)
        self.leaves = [np.asarray(w) for w in leaves]
        self.optimizer = core.Optimizer(rule, policy, **options)
        self.state = self.optimizer.init(self.leaves)

    @property
    def params(self) -> Any:
        return self.treedef.unflatten(self.leaves)

    def step(self, grads: Any, lr: float | None = None) -> None:
        given = [np.asarray(g) for g in self.treedef.flatten_up_to(grads)]
        self.leaves, self.state = self.optimizer.step(self.leaves, given, self.state, lr=lr)

    def check(self, params: Any, moments: Any = None, **place: Any) -> None:
        """N1, of parameters and state."""
        for i, (expected, w) in enumerate(
            zip(self.leaves, self.treedef.flatten_up_to(params), strict=True)
        ):
            check_identical("parameter", expected, np.asarray(w), parameter=i, **place)
        for name, values in (moments or {}).items():
            for i, value in enumerate(self.treedef.flatten_up_to(values)):
                expected = self.state.arrays[i][name]
                check_identical(name, expected, np.asarray(value), parameter=i, **place)


def gradients(params: Any, t: int, dtype: Any = None) -> Any:
    """Chaotic: noise and the parameter, so that one wrong bit spreads; a third zeros."""
    leaves, treedef = jax.tree.flatten(params)
    rng = generator("gradients", t)
    out = []
    for w in leaves:
        noise = rng.standard_normal(w.shape).astype(np.float32)
        noise = chaotic(noise, np.asarray(w))
        out.append(np.where(rng.random(w.shape) < 0.3, noise.dtype.type(0), noise).astype(w.dtype))
    return treedef.unflatten(out)


def tiny(shapes: list[tuple[int, ...]], steps: int) -> list[list[np.ndarray]]:
    """|g| log-uniform from 1e-44 to 1e2, 30 % zeros."""
    make = tiny_gradients("jax", shapes, "float32")
    return [next(make) for _ in range(steps)]
