"""The PyTorch side: a small GPT, the optimizers of the comparison, one training step."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mgup_torch
from lm.data import VOCABULARY, Batch
from lm.recipes import Recipe, schedule
from lm.trainer import Settings, Step, initial_weights
from mgup_core import MGUP, top_count
from mgup_torch.integrations.statistics import layer_of, summary


class Block(nn.Module):
    """Attention, then a two-layer perceptron, each on the normalised residual stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width, bias=False)
        self.mlp_out = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention_out(self._attend(self.qkv(self.attention_norm(x))))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))

    def _attend(self, qkv: Tensor) -> Tensor:
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).flatten(2)


class GPT(nn.Module):
    """A byte-level GPT: learned positions, pre-norm blocks, a head of its own."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.width
        self.token_embedding = nn.Embedding(VOCABULARY, width)
        self.position_embedding = nn.Embedding(settings.context, width)
        self.blocks = nn.ModuleList(Block(width, settings.heads) for _ in range(settings.layers))
        self.final_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token_embedding(tokens) + self.position_embedding.weight
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))


def make_optimizer(recipe: Recipe, model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.rule == "adamw" and recipe.mode is None:
        return torch.optim.AdamW(model.named_parameters(), betas=recipe.betas, **common)
    policy = _policy(recipe, settings)
    if recipe.rule == "muon":
        return mgup_torch.MGUPMuon(model.named_parameters(), **common, **policy)
    optimizer_class = {"adamw": mgup_torch.MGUPAdamW, "lion": mgup_torch.MGUPLion}[recipe.rule]
    return optimizer_class(model.named_parameters(), betas=recipe.betas, **common, **policy)


def _policy(recipe: Recipe, settings: Settings) -> dict[str, object]:
    watch = {"statistics": settings.watch}
    if recipe.mode is None:  # Both multipliers 1: the plain rule, bit for bit.
        return {"alpha": 1.0, "gamma": 1.0, **watch}
    if recipe.mode == "cautious":
        return {"mode": "cautious", **watch}
    factors = {"tau": settings.tau, "alpha": settings.alpha, "gamma": settings.gamma}
    return {"mode": recipe.mode, **factors, **watch}


def _usable(name: str) -> torch.device:
    """The device, if this PyTorch and this machine have it."""
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"--device {name}: {error}") from None


class TorchTrainer:
    """One optimizer of the comparison at work on its own copy of the model."""

    def __init__(self, recipe: Recipe, settings: Settings) -> None:
        self.settings = settings
        torch.set_num_threads(settings.threads)
        self.device = _usable(settings.device)
        self.model = GPT(settings)
        weights = initial_weights(settings)
        self.model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        self.model.to(self.device)
        self.known_multiplier = self._known_multiplier(recipe)
        self._place()
        self.optimizer = make_optimizer(recipe, self.model, settings)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: schedule(step, settings.steps, settings.warmup)
        )

    def _place(self) -> None:
        """For those who spread the model over devices before its optimizer sees it."""

    def step(self, batch: Batch) -> Step:
        started = time.perf_counter()
        self.optimizer.zero_grad()
        loss = self._loss(batch)
        loss.backward()
        self._wait()
        differentiated = time.perf_counter()
        self.optimizer.step()
        self._wait()
        finished = time.perf_counter()
        self.scheduler.step()
        return Step(
            loss=loss.item(),
            seconds=finished - started,
            optimizer_seconds=finished - differentiated,
            multiplier=self._mean_multiplier(),
        )

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Batch]) -> float:
        return sum(self._loss(batch).item() for batch in batches) / len(batches)

    def _loss(self, batch: Batch) -> Tensor:
        tokens, targets = (torch.from_numpy(part).to(self.device) for part in batch)
        return F.cross_entropy(self.model(tokens).flatten(0, 1), targets.flatten())

    def _mean_multiplier(self) -> float | None:
        """Mean over all coordinates of the model: large parameters weigh more than small ones."""
        if self.known_multiplier is not None or not self.settings.watch:
            return self.known_multiplier
        sizes = [w.numel() for group in self.optimizer.param_groups for w in group["params"]]
        means = torch.stack([entry.multiplier for entry in self.optimizer.statistics()])
        return torch.dot(means.double().cpu(), torch.tensor(sizes).double()).item() / sum(sizes)

    def _known_multiplier(self, recipe: Recipe) -> float | None:
        """What it is whatever the gradients are (P12); None where it depends on them."""
        if recipe.mode is None:
            return 1.0
        if recipe.mode != "rank":
            return None
        policy = MGUP(self.settings.tau, self.settings.alpha, self.settings.gamma)
        counts = [(top_count(policy.tau, w.numel()), w.numel()) for w in self.model.parameters()]
        total = sum(k * policy.alpha + (d - k) * policy.gamma for k, d in counts)
        return total / sum(d for _, d in counts)

    def layers(self) -> dict[str, float]:
        """What the policy did in the last step, by layer; nothing for what has none."""
        ranks = hasattr(self.optimizer, "named_statistics")
        return summary(self.optimizer, layer_of) if ranks else {}

    def _wait(self) -> None:
        """Accelerators answer before they are done; a time means something only after that."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
