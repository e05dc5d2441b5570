"""The JAX side: the same GPT in Flax NNX, and the transformations of mgup_jax."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import mgup_jax
from lm.data import VOCABULARY, Batch
from lm.recipes import Recipe
from lm.trainer import Settings, TwoPartTrainer, initial_weights, rates

Linear = partial(nnx.Linear, use_bias=False)
LayerNorm = partial(nnx.LayerNorm, epsilon=1e-5, use_fast_variance=False)


class Block(nnx.Module):
    """Attention, then a two-layer perceptron, each on the normalised residual stream."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.attention_norm = LayerNorm(width, rngs=rngs)
        self.qkv = Linear(width, 3 * width, rngs=rngs)
        self.attention_out = Linear(width, width, rngs=rngs)
        self.mlp_norm = LayerNorm(width, rngs=rngs)
        self.mlp_in = Linear(width, 4 * width, rngs=rngs)
        self.mlp_out = Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attention_out(self._attend(self.qkv(self.attention_norm(x))))
        hidden = nnx.gelu(self.mlp_in(self.mlp_norm(x)), approximate=False)
        return x + self.mlp_out(hidden)

    def _attend(self, qkv: jax.Array) -> jax.Array:
        batch, length, _ = qkv.shape
        q, k, v = jnp.moveaxis(qkv.reshape(batch, length, 3, self.heads, -1), 2, 0)
        return jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(batch, length, -1)


class GPT(nnx.Module):
    """A byte-level GPT: learned positions, pre-norm blocks, a head of its own."""

    def __init__(self, settings: Settings, rngs: nnx.Rngs) -> None:
        width = settings.width
        self.token_embedding = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.position_embedding = nnx.Embed(settings.context, width, rngs=rngs)
        self.blocks = nnx.List([Block(width, settings.heads, rngs) for _ in range(settings.layers)])
        self.final_norm = LayerNorm(width, rngs=rngs)
        self.head = Linear(width, VOCABULARY, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.token_embedding(tokens) + self.position_embedding.embedding[...]
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))

    def load(self, weights: dict[str, np.ndarray]) -> None:
        """Take the weights that all frameworks start from; Flax keeps matrices as (in, out)."""
        for path, parameter in nnx.to_flat_state(nnx.state(self, nnx.Param)):
            *owner, leaf = map(str, path)
            name = ".".join([*owner, "bias" if leaf == "bias" else "weight"])
            value = weights[name].T if leaf == "kernel" else weights[name]
            parameter[...] = jnp.asarray(value)


def make_transformation(recipe: Recipe, settings: Settings) -> optax.GradientTransformation:
    table = np.asarray(rates(recipe, settings), np.float32)
    b1, b2 = recipe.betas
    common: dict[str, Any] = {
        "learning_rate": lambda count: jnp.asarray(table)[count],
        "weight_decay": recipe.weight_decay,
    }
    if recipe.rule == "adamw" and recipe.mode is None:
        return optax.adamw(b1=b1, b2=b2, **common)
    common |= _policy(recipe, settings)
    if recipe.rule == "muon":
        return mgup_jax.mgup_muon(**common)
    makers = {"adamw": mgup_jax.mgup_adamw, "lion": mgup_jax.mgup_lion}
    return makers[recipe.rule](b1=b1, b2=b2, **common)


def _policy(recipe: Recipe, settings: Settings) -> dict[str, Any]:
    if recipe.mode in (None, "cautious"):
        return {"mode": recipe.mode or "off"}
    factors = {"tau": settings.tau, "alpha": settings.alpha, "gamma": settings.gamma}
    return {"mode": recipe.mode, **factors}


def mean_loss(model: GPT, tokens: jax.Array, targets: jax.Array) -> jax.Array:
    scores = model(tokens)
    return optax.softmax_cross_entropy_with_integer_labels(scores, targets).mean()


@nnx.jit
def _loss(model: GPT, tokens: jax.Array, targets: jax.Array) -> jax.Array:
    return mean_loss(model, tokens, targets)


@nnx.jit
def _differentiate(model: GPT, tokens: jax.Array, targets: jax.Array) -> Any:
    return nnx.value_and_grad(mean_loss)(model, tokens, targets)


@nnx.jit
def _update(optimizer: nnx.Optimizer, model: GPT, gradients: Any) -> None:
    optimizer.update(model, gradients)


class JaxTrainer(TwoPartTrainer):
    """One optimizer of the comparison at work on its own copy of the model."""

    def __init__(self, recipe: Recipe, settings: Settings) -> None:
        self.model = GPT(settings, nnx.Rngs(settings.seed))
        self.model.load(initial_weights(settings))
        transformation = make_transformation(recipe, settings)
        self.optimizer = nnx.Optimizer(self.model, transformation, wrt=nnx.Param)

    def differentiate(self, batch: Batch) -> tuple[float, Any]:
        loss, gradients = _differentiate(self.model, *map(jnp.asarray, batch))
        return float(loss), jax.block_until_ready(gradients)

    def update(self, gradients: Any) -> None:
        _update(self.optimizer, self.model, gradients)
        jax.block_until_ready(nnx.state(self.model))

    def evaluate(self, batches: Sequence[Batch]) -> float:
        losses = [float(_loss(self.model, *map(jnp.asarray, batch))) for batch in batches]
        return sum(losses) / len(losses)
