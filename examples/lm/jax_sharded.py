"""The JAX trainer on a mesh of (data, model): every matrix in parts."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .data import Batch
from .jax_trainer import GPT, JaxTrainer, make_transformation
from .recipes import Recipe
from .trainer import Settings, initial_weights


def place(mesh: Mesh, x: jax.Array) -> NamedSharding:
    """Matrices are divided along both axes; vectors are everywhere."""
    divides = x.ndim == 2 and all(
        n % mesh.shape[name] == 0 for n, name in zip(x.shape, mesh.axis_names, strict=True)
    )
    return NamedSharding(mesh, PartitionSpec(*mesh.axis_names) if divides else PartitionSpec())


class ShardedTrainer(JaxTrainer):
    """One optimizer of the comparison, on its own copy of the model, divided over a mesh."""

    def __init__(self, recipe: Recipe, settings: Settings, mesh: Mesh) -> None:
        self.model = GPT(settings, nnx.Rngs(settings.seed))
        self.model.load(initial_weights(settings))
        self.rows = NamedSharding(mesh, PartitionSpec("data"))
        params = nnx.state(self.model, nnx.Param)
        params = jax.device_put(params, jax.tree.map(partial(place, mesh), params))
        nnx.update(self.model, params)
        optimizer = make_transformation(recipe, settings)

        def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        self.state = optimizer.init(params)
        step = jax.jit(step, donate_argnums=(0, 1))
        self.compiled = step.lower(params, self.state, params).compile()

    def differentiate(self, batch: Batch) -> tuple[float, Any]:
        loss, gradients = super().differentiate(self._divided(batch))
        params = nnx.state(self.model, nnx.Param)
        return loss, jax.tree.map(lambda g, w: jax.device_put(g, w.sharding), gradients, params)

    def update(self, gradients: Any) -> None:
        params = nnx.state(self.model, nnx.Param)
        params, self.state = jax.block_until_ready(self.compiled(params, self.state, gradients))
        nnx.update(self.model, params)

    def evaluate(self, batches: Sequence[Batch]) -> float:
        return super().evaluate([self._divided(batch) for batch in batches])

    def _divided(self, batch: Batch) -> Any:
        return tuple(jax.device_put(np.asarray(part, np.int32), self.rows) for part in batch)

    def sent(self) -> tuple[int, int]:
        """(collectives in the program of a step, elements of the largest array in one)."""
        pattern = r"= (.*?) (?:all-\w+|collective-\w+|reduce-scatter)(?:-start)?\("
        results = re.findall(pattern, self.compiled.as_text())
        arrays = [dims for result in results for dims in re.findall(r"\w+\[([\d,]*)\]", result)]
        sizes = [math.prod(int(n) for n in dims.split(",") if n) for dims in arrays]
        return len(results), max(sizes, default=0)

    def held(self) -> tuple[int, int, int]:
        """(elements of the largest tensor, tensors in parts, tensors)."""
        tensors = jax.tree.leaves(nnx.state(self.model, nnx.Param))
        divided = sum(not x.sharding.is_fully_replicated for x in tensors)
        return max(x.size for x in tensors), divided, len(tensors)
