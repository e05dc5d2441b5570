"""A small modern GPT, several of them stacked: one model for each seed, in one set of arrays.

Rotary positions, RMS norms, a tied head. The leading axes of every parameter are slices of their
own (P5): its layer, where it has one, and its seed. So each model takes the step that it would take
alone, and a GPU is filled by several small models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Size(NamedTuple):
    """The shape of a model."""

    layers: int
    width: int
    head: int = 64


MATRICES = "qkv", "attention_out", "mlp_in", "mlp_out"
"""Of the blocks."""
SIZES = {"3m": Size(3, 256), "10m": Size(4, 448), "30m": Size(6, 640)}


def count_parameters(size: Size, vocabulary: int) -> int:
    """Of one model."""
    return (
        vocabulary * size.width + size.layers * (12 * size.width**2 + 2 * size.width) + size.width
    )


def count_adapters(size: Size, rank: int) -> int:
    """The parameters of one model that :class:`LoRAGPT` trains."""
    return size.layers * rank * 16 * size.width


class StackedGPT(nn.Module):
    """As many models as there are seeds.

    Args:
        seeds: of the initial weights, each model's own.
        query_norm: RMS norms, without weights, of queries and keys.
        shifted_keys: half of the heads have the key of the token before.
    """

    def __init__(
        self, size: Size, vocabulary: int, context: int, seeds: Sequence[int],
        *, query_norm: bool = False, shifted_keys: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.seeds = size, len(seeds)
        self.query_norm, self.shifted_keys = query_norm, shifted_keys
        c, layers, out = size.width, size.layers, 0.02 / (2 * size.layers) ** 0.5
        shapes = {
            "embedding": ((vocabulary, c), 0.02), "qkv": ((layers, c, 3 * c), 0.02),
            "attention_out": ((layers, c, c), out), "mlp_in": ((layers, c, 4 * c), 0.02),
            "mlp_out": ((layers, 4 * c, c), out),
        }  # fmt: skip
        drawn: dict[str, list[Tensor]] = {name: [] for name in shapes}
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for name, (shape, deviation) in shapes.items():
                drawn[name].append(torch.randn(shape, generator=generator) * deviation)
        for name, models in drawn.items():
            axis = 0 if name == "embedding" else 1  # after the layers
            self.register_parameter(name, nn.Parameter(torch.stack(models, axis).contiguous()))
        for name, shape in {
            "attention_norm": (layers, len(seeds), c), "mlp_norm": (layers, len(seeds), c),
            "final_norm": (len(seeds), c),
        }.items():  # fmt: skip
            self.register_parameter(name, nn.Parameter(torch.ones(shape)))
        angles = torch.outer(
            torch.arange(context).float(),
            10_000.0 ** -torch.linspace(0, 1, size.head // 2 + 1)[:-1],
        )
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())

    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups, for :func:`audit.arms.make_optimizer`."""
        norms = ("attention_norm", "mlp_norm")

        return [
            self._group(MATRICES, 2, True, True), self._group(["embedding"], 1, False, True),
            self._group(norms, 2, False, False), self._group(["final_norm"], 1, False, False),
        ]  # fmt: skip

    def _group(
        self, names: Sequence[str], stacked_dims: int, matrices: bool, decays: bool
    ) -> dict[str, Any]:
        params = [(name, getattr(self, name)) for name in names]
        return {"params": params, "stacked_dims": stacked_dims, "matrices": matrices,
                "decays": decays}  # fmt: skip

    @torch.no_grad()
    def begin_at(self, weights: Mapping[str, Tensor]) -> None:
        """Make every model of the stack the one that the weights, of a stack of one, are of."""
        for name, value in weights.items():
            getattr(self, name).copy_(value)  # the axis of the seeds is broadcast

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The loss of each model, in nats a token: (seeds,).

        Args:
            tokens, targets: (seeds, batch, context), int64.
        """
        x = self.hidden(tokens)
        logits = torch.bmm(_normed(x, self.final_norm), self.embedding.transpose(1, 2))
        losses = F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
        return losses.view(len(x), -1).mean(1)

    def hidden(self, tokens: Tensor) -> Tensor:
        """What the head reads: (seeds, batch * context, width)."""
        s, b, t = tokens.shape
        first = torch.arange(s, device=tokens.device)[:, None, None] * self.embedding.shape[1]
        # Whose gradient, unlike an embedding's, never waits for the device: it can be in a graph.
        x = self.embedding.flatten(0, 1).index_select(0, (tokens + first).flatten())
        x = x.view(s, b * t, -1)
        norms = self.attention_norm.unbind(), self.mlp_norm.unbind()
        for one, two, qkv, out, up, down in zip(*norms, *map(self.factors, MATRICES), strict=True):
            x = x + _product(self._attend(_product(_normed(x, one), qkv), b, t), out)
            x = x + _product(F.gelu(_product(_normed(x, two), up)), down)
        return x

    def factors(self, name: str) -> list[tuple[Tensor, ...]]:
        """What :func:`_product` multiplies by, in each layer."""
        return [(weight,) for weight in getattr(self, name).unbind()]

    def _attend(self, qkv: Tensor, b: int, t: int) -> Tensor:
        s = qkv.shape[0]
        parts = qkv.view(s * b, t, 3, -1, self.size.head).permute(2, 0, 3, 1, 4)
        q, k = parts[0], parts[1]
        if self.shifted_keys:
            half = k.shape[1] // 2
            before = F.pad(k[:, :half, :-1], (0, 0, 1, 0))
            k = torch.cat((before, k[:, half:]), 1)
        if self.query_norm:
            q, k = (F.rms_norm(x, x.shape[-1:]) for x in (q, k))
        q, k = self._turned(q), self._turned(k)
        mixed = F.scaled_dot_product_attention(q, k, parts[2], is_causal=True)
        return mixed.transpose(1, 2).reshape(s, b * t, -1)

    def _turned(self, x: Tensor) -> Tensor:
        """Rotary positions: (…, time, head)."""
        a, b = x.chunk(2, -1)
        cosine, sine = self.cosine.to(x.dtype), self.sine.to(x.dtype)
        return torch.cat((a * cosine - b * sine, a * sine + b * cosine), -1)


class LoRAGPT(StackedGPT):
    """Models whose weights stay, with trained adapters beside the matrices of the blocks.

    x W + (x A) B, and B begins at zero (Hu et al. 2021, arXiv 2106.09685).
    """

    def __init__(
        self, size: Size, vocabulary: int, context: int, seeds: Sequence[int],
        *, rank: int, query_norm: bool = False, shifted_keys: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            size, vocabulary, context, seeds, query_norm=query_norm, shifted_keys=shifted_keys
        )
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for name, weight in list(self.named_parameters()):
            delattr(self, name)
            self.register_buffer(name, weight.detach())
            if name in MATRICES:
                layers, _, rows, columns = weight.shape
                first = [torch.randn(layers, rows, rank, generator=g) for g in generators]
                a = torch.stack(first, 1) / rows**0.5
                self.register_parameter(f"{name}_a", nn.Parameter(a))
                b = torch.zeros(layers, len(seeds), rank, columns)
                self.register_parameter(f"{name}_b", nn.Parameter(b))

    def groups(self) -> list[dict[str, Any]]:
        return [
            self._group([f"{name}_{part}" for name in MATRICES for part in "ab"], 2, True, True)
        ]

    def factors(self, name: str) -> list[tuple[Tensor, ...]]:
        parts = (getattr(self, f"{name}{part}").unbind() for part in ("", "_a", "_b"))
        return list(zip(*parts, strict=True))


def _product(x: Tensor, factors: tuple[Tensor, ...]) -> Tensor:
    """Of each model's activations with its matrix, and with the adapters beside it."""
    weight, *adapters = factors
    product = torch.bmm(x, weight)
    if adapters:
        a, b = adapters
        product = product + torch.bmm(torch.bmm(x, a), b)
    return product


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:]) * weight[:, None]
