"""The MindSpore side: the same GPT as a Cell, and the optimizers of mgup_mindspore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mgup_mindspore  # isort: skip  (before any operation of MindSpore)
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from lm.data import VOCABULARY, Batch
from lm.recipes import Recipe
from lm.trainer import Settings, TwoPartTrainer, initial_weights, rates

LEAVES = {"gamma": "weight", "beta": "bias", "embedding_table": "weight"}
"""What MindSpore calls otherwise than the other frameworks."""


class Block(nn.Cell):
    """Attention, then a two-layer perceptron, each on the normalised residual stream."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.attention_norm = nn.LayerNorm((width,), epsilon=1e-5)
        self.qkv = nn.Dense(width, 3 * width, has_bias=False)
        self.attention_out = nn.Dense(width, width, has_bias=False)
        self.mlp_norm = nn.LayerNorm((width,), epsilon=1e-5)
        self.mlp_in = nn.Dense(width, 4 * width, has_bias=False)
        self.mlp_out = nn.Dense(4 * width, width, has_bias=False)
        self.gelu = nn.GELU(approximate=False)
        self.softmax = nn.Softmax(axis=-1)
        self.future = Tensor(np.triu(np.full((context, context), -1e30, np.float32), 1))

    def construct(self, x: Tensor) -> Tensor:
        x = x + self.attention_out(self._attend(self.qkv(self.attention_norm(x))))
        return x + self.mlp_out(self.gelu(self.mlp_in(self.mlp_norm(x))))

    def _attend(self, qkv: Tensor) -> Tensor:
        batch, length, _ = qkv.shape
        split = qkv.reshape(batch, length, 3, self.heads, self.size).transpose(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        scores = ops.matmul(q, k.transpose(0, 1, 3, 2)) * self.size**-0.5
        mixed = ops.matmul(self.softmax(scores + self.future), v)
        return mixed.transpose(0, 2, 1, 3).reshape(batch, length, self.heads * self.size)


class GPT(nn.Cell):
    """A byte-level GPT: learned positions, pre-norm blocks, a head of its own."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width, context = settings.width, settings.context
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.position_embedding = nn.Embedding(context, width)
        self.blocks = nn.CellList(
            [Block(width, settings.heads, context) for _ in range(settings.layers)]
        )
        self.final_norm = nn.LayerNorm((width,), epsilon=1e-5)
        self.head = nn.Dense(width, VOCABULARY, has_bias=False)

    def construct(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens) + self.position_embedding.embedding_table
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))

    def load(self, weights: dict[str, np.ndarray]) -> None:
        """Take the weights that all frameworks start from."""
        for parameter in self.trainable_params():
            owner, _, leaf = parameter.name.rpartition(".")
            parameter.set_data(Tensor(weights[f"{owner}.{LEAVES.get(leaf, leaf)}"]))


def make_optimizer(
    recipe: Recipe, parameters: list[Parameter], settings: Settings
) -> mgup_mindspore.RuleOptimizer:
    common: dict[str, Any] = {
        "learning_rate": rates(recipe, settings),
        "weight_decay": recipe.weight_decay,
        **_policy(recipe, settings),
    }
    if recipe.rule == "muon":
        return mgup_mindspore.MGUPMuon(parameters, **common)
    makers = {"adamw": mgup_mindspore.MGUPAdamW, "lion": mgup_mindspore.MGUPLion}
    beta1, beta2 = recipe.betas
    return makers[recipe.rule](parameters, beta1=beta1, beta2=beta2, **common)


def _policy(recipe: Recipe, settings: Settings) -> dict[str, Any]:
    # mint.optim.AdamW has no kernel on the CPU, and nn.AdamWeightDecay corrects no bias: plain
    # AdamW is the rule by itself.
    if recipe.mode in (None, "cautious"):
        return {"mode": recipe.mode or "off"}
    factors = {"tau": settings.tau, "alpha": settings.alpha, "gamma": settings.gamma}
    return {"mode": recipe.mode, **factors}


class MindSporeTrainer(TwoPartTrainer):
    """One optimizer of the comparison at work on its own copy of the model."""

    def __init__(self, recipe: Recipe, settings: Settings) -> None:
        self.model = GPT(settings)
        self.model.load(initial_weights(settings))
        parameters = self.model.trainable_params()
        self.optimizer = make_optimizer(recipe, parameters, settings)

        def mean_loss(tokens: Tensor, targets: Tensor) -> Tensor:
            scores = self.model(tokens)
            return ops.cross_entropy(scores.reshape(-1, VOCABULARY), targets.reshape(-1))

        self.loss = ms.jit(mean_loss)
        self.loss_and_gradients = ms.jit(ms.value_and_grad(mean_loss, None, parameters))

    def differentiate(self, batch: Batch) -> tuple[float, tuple[Tensor, ...]]:
        loss, gradients = self.loss_and_gradients(*_tensors(batch))
        return float(loss.asnumpy()), gradients

    def update(self, gradients: tuple[Tensor, ...]) -> None:
        self.optimizer(gradients)
        self.model.trainable_params()[-1].asnumpy()  # waits, so that the clock sees the work

    def evaluate(self, batches: Sequence[Batch]) -> float:
        losses = [float(self.loss(*_tensors(batch)).asnumpy()) for batch in batches]
        return sum(losses) / len(losses)


def _tensors(batch: Batch) -> tuple[Tensor, Tensor]:
    tokens, targets = batch
    return Tensor(tokens.astype(np.int32)), Tensor(targets.astype(np.int32))
