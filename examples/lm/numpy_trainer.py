"""The NumPy side: the same GPT in `autograd`, and the reference optimizer of mgup_core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import autograd.numpy as np
from autograd import value_and_grad
from autograd.scipy.special import erf

import mgup_core
from lm.data import Batch
from lm.recipes import Recipe
from lm.trainer import Settings, TwoPartTrainer, initial_weights, rates

Weights = dict[str, Any]


def layer_norm(w: Weights, name: str, x: Any) -> Any:
    centred = x - np.mean(x, axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + np.float32(1e-5))
    return centred / deviation * w[f"{name}.weight"] + w[f"{name}.bias"]


def attend(qkv: Any, heads: int) -> Any:
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    split = np.reshape(qkv, (batch, length, 3, heads, width // heads))
    q, k, v = np.transpose(split, (2, 0, 3, 1, 4))
    scores = q @ np.swapaxes(k, -1, -2) * np.float32((width // heads) ** -0.5)
    scores = np.where(np.tri(length, dtype=bool), scores, np.float32(-np.inf))
    exponentials = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    mixed = exponentials / np.sum(exponentials, axis=-1, keepdims=True) @ v
    return np.reshape(np.transpose(mixed, (0, 2, 1, 3)), (batch, length, width))


def gelu(x: Any) -> Any:
    return np.float32(0.5) * x * (np.float32(1) + erf(x * np.float32(0.5**0.5)))


def logits(w: Weights, tokens: Any, settings: Settings) -> Any:
    """Attention, then a two-layer perceptron, each on the normalised residual stream."""
    x = w["token_embedding.weight"][tokens] + w["position_embedding.weight"]
    for layer in range(settings.layers):
        at = f"blocks.{layer}"
        qkv = layer_norm(w, f"{at}.attention_norm", x) @ w[f"{at}.qkv.weight"].T
        x = x + attend(qkv, settings.heads) @ w[f"{at}.attention_out.weight"].T
        inner = gelu(layer_norm(w, f"{at}.mlp_norm", x) @ w[f"{at}.mlp_in.weight"].T)
        x = x + inner @ w[f"{at}.mlp_out.weight"].T
    return layer_norm(w, "final_norm", x) @ w["head.weight"].T


def mean_loss(w: Weights, batch: Batch, settings: Settings) -> Any:
    tokens, targets = batch
    scores = logits(w, tokens, settings)
    scores = scores - np.max(scores, axis=-1, keepdims=True)
    logarithms = scores - np.log(np.sum(np.exp(scores), axis=-1, keepdims=True))
    rows, columns = np.indices(targets.shape)
    return -np.mean(logarithms[rows, columns, targets])


def make_policy(recipe: Recipe, settings: Settings) -> mgup_core.Policy | None:
    if recipe.mode is None:
        return None
    if recipe.mode == "cautious":
        return mgup_core.Cautious()
    ranked = mgup_core.MGUP(settings.tau, settings.alpha, settings.gamma)
    if recipe.mode == "sign":
        return mgup_core.SignMGUP(ranked.alpha, ranked.gamma)
    return ranked


def make_optimizers(
    recipe: Recipe, names: Sequence[str], settings: Settings
) -> list[tuple[mgup_core.Optimizer, list[str]]]:
    """Each with the weights that it moves: Muon the hidden matrices, AdamW the rest (R4)."""
    policy = make_policy(recipe, settings)

    def optimizer(rule: mgup_core.Rule) -> mgup_core.Optimizer:
        return mgup_core.Optimizer(rule, policy, lr=recipe.lr, weight_decay=recipe.weight_decay)

    if recipe.rule != "muon":
        rules = {"adamw": mgup_core.AdamW, "lion": mgup_core.Lion}
        return [(optimizer(rules[recipe.rule](*recipe.betas)), list(names))]
    hidden = [n for n in names if n.startswith("blocks.") and "norm" not in n]
    rest = [n for n in names if n not in hidden]
    return [(optimizer(mgup_core.Muon()), hidden), (optimizer(mgup_core.AdamW(0.95, 0.95)), rest)]


def part(weights: Weights, names: list[str]) -> Weights:
    return {name: weights[name] for name in names}


class NumPyTrainer(TwoPartTrainer):
    """One optimizer of the comparison at work on its own copy of the weights."""

    def __init__(self, recipe: Recipe, settings: Settings) -> None:
        self.settings = settings
        self.weights: Weights = initial_weights(settings)
        self.optimizers = make_optimizers(recipe, list(self.weights), settings)
        self.states = [o.init(part(self.weights, names)) for o, names in self.optimizers]
        self.rates = iter(rates(recipe, settings))
        self.loss_and_gradients = value_and_grad(mean_loss)

    def differentiate(self, batch: Batch) -> tuple[float, Weights]:
        loss, gradients = self.loss_and_gradients(self.weights, batch, self.settings)
        return float(loss), {name: g.astype(np.float32) for name, g in gradients.items()}

    def update(self, gradients: Weights) -> float:
        lr, measured = next(self.rates), {}
        for i, (optimizer, names) in enumerate(self.optimizers):
            moved, self.states[i], one = optimizer.step_with_statistics(
                part(self.weights, names), part(gradients, names), self.states[i], lr=lr
            )
            self.weights |= moved
            measured |= one
        if not measured:
            return 1.0
        sizes = [self.weights[name].size for name in measured]
        return float(np.average([one.multiplier for one in measured.values()], weights=sizes))

    def evaluate(self, batches: Sequence[Batch]) -> float:
        losses = [mean_loss(self.weights, batch, self.settings) for batch in batches]
        return float(sum(losses) / len(losses))
