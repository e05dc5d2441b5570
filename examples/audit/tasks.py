"""What is learned: text, signals, or one of them by a model that has learned another before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audit import finetuning, signals
from audit.config import Experiment
from audit.corpus import Corpus, load_corpus
from audit.gpt import SIZES, LoRAGPT, StackedGPT, count_adapters, count_parameters
from audit.prose import load_prose

FEW, MANY = 64, 1024
"""Held-out windows of a point of the curve, and of the loss at the end."""


class Where(NamedTuple):
    """What is the same for all runs of a command."""

    folder: str
    """Of the CSV and the manifests."""
    cache: str
    device: str
    commit: str


class Text:
    """Next-token prediction on :mod:`audit.corpus`."""

    points = 10
    """Of a curve: where the held-out loss and the statistics are looked at."""
    prose = False
    """What is read, if not code."""

    def __init__(self, one: Experiment, where: Where, device: torch.device) -> None:
        self.one, self.device = one, device
        self.corpus, self.where = corpus_of(one.vocabulary, where, self.prose), where
        self.parameters = count_parameters(SIZES[one.model], one.vocabulary)
        share = 1.0 if device.type == "cuda" else one.cpu_share
        tokens = one.tokens_per_parameter * self.parameters * share
        self.steps = max(20, round(tokens / (one.batch * one.context)))
        self.tokens = self.steps * one.batch * one.context

    def model(self, seeds: Sequence[int]) -> StackedGPT:
        one = self.one
        shape = SIZES[one.model], one.vocabulary, one.context, seeds
        more: dict[str, Any] = {"query_norm": one.query_norm, "shifted_keys": one.shifted_keys}
        model = LoRAGPT(*shape, rank=one.rank, **more) if one.rank else StackedGPT(*shape, **more)
        return model.to(self.device)

    def prepare(self, seeds: Sequence[int]) -> None:
        """Put the data where it is used: batches depend on the seed alone, not on the arm."""
        one, train = self.one, self.corpus.train
        self.data = tokens_on_device(one.vocabulary, self.where, self.prose)
        starts = [
            np.random.default_rng([seed, 1]).integers(
                0, len(train) - one.context - 1, (self.steps, one.batch)
            )
            for seed in seeds
        ]
        self.starts = torch.from_numpy(np.stack(starts, 1)).to(self.device)  # (steps, seeds, b)
        self.window = torch.arange(one.context + 1, device=self.device)
        held_out = self.corpus.held_out
        places = np.linspace(0, len(held_out) - one.context - 2, MANY).astype(np.int64)
        places = places[np.random.default_rng(0).permutation(MANY)]
        windows = np.asarray(held_out)[places[:, None] + np.arange(one.context + 1)]
        self.held_out = torch.from_numpy(windows.astype(np.int64)).to(self.device)

    def losses(self, model: Any, step: Tensor) -> Tensor:
        """Of the batch of a step, a tensor of one entry on the device: (seeds,)."""
        starts = self.starts.index_select(0, step)[0]
        tokens = self.data[starts[..., None] + self.window].long()
        return model(tokens[..., :-1], tokens[..., 1:])

    def held_out_losses(self, model: Any, final: bool) -> Tensor:
        few = self.held_out if final else self.held_out[:FEW]
        if self.device.type != "cuda":
            few = few[:FEW]
        parts = []
        for part in few.split(FEW):
            tokens = part.expand(model.seeds, *part.shape)
            parts.append(model(tokens[..., :-1], tokens[..., 1:]) * len(part))
        return torch.stack(parts).sum(0) / len(few)


class TunedText(Text):
    """Next-token prediction on :mod:`audit.prose`, by a model that has learned code."""

    prose = True

    def __init__(self, one: Experiment, where: Where, device: torch.device) -> None:
        super().__init__(one, where, device)
        if one.rank:
            self.parameters = count_adapters(SIZES[one.model], one.rank)


class Signals:
    """Classification of :mod:`audit.signals`."""

    points = 3
    nets: Mapping[str, Any] = signals.NETS

    def __init__(self, one: Experiment, where: Where, device: torch.device) -> None:
        self.one, self.device, self.steps = one, device, one.steps
        self.x, self.y, self.held_x, self.held_y = (part.to(device) for part in self.dataset())
        shapes = [p.numel() for p in self.nets[one.model]((0,)).parameters()]
        self.parameters, self.tokens = sum(shapes), one.steps * one.batch

    def dataset(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return signals.dataset()

    def model(self, seeds: Sequence[int]) -> Any:
        return self.nets[self.one.model](seeds).to(self.device)

    def prepare(self, seeds: Sequence[int]) -> None:
        chosen = [
            np.random.default_rng([seed, 1]).integers(0, len(self.x), (self.steps, self.one.batch))
            for seed in seeds
        ]
        self.chosen = torch.from_numpy(np.stack(chosen, 1)).to(self.device)

    def losses(self, model: Any, step: Tensor) -> Tensor:
        chosen = self.chosen.index_select(0, step)[0]
        return model(self.x[chosen], self.y[chosen])

    def held_out_losses(self, model: Any, final: bool) -> Tensor:
        s = next(model.parameters()).shape[0]
        x, y = self.held_x, self.held_y
        if not final:
            x, y = x[:1000], y[:1000]
        parts = [
            model(a.expand(s, *a.shape), b.expand(s, *b.shape)) * len(a)
            for a, b in zip(x.split(1000), y.split(1000), strict=True)
        ]
        return torch.stack(parts).sum(0) / len(x)


class Tuning(Signals):
    """Fine-tuning by :mod:`audit.finetuning`."""

    nets = finetuning.NETS

    def dataset(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return finetuning.second_dataset()


TASKS: dict[str, Callable[[Experiment, Where, torch.device], Any]] = {
    "text": Text,
    "finetuning-text": TunedText,
    "signals": Signals,
    "finetuning": Tuning,
}


@lru_cache(maxsize=2)
def corpus_of(vocabulary: int, where: Where, prose: bool) -> Corpus:
    cache = Path(where.cache)
    if prose:
        return load_prose(cache, corpus_of(vocabulary, where, False))
    return load_corpus(Path(where.folder), cache, vocabulary)


@lru_cache(maxsize=2)
def tokens_on_device(vocabulary: int, where: Where, prose: bool) -> Tensor:
    """The training tokens, int32, once for all cells of a process."""
    tokens = np.asarray(corpus_of(vocabulary, where, prose).train).astype(np.int32)
    return torch.from_numpy(tokens).to(where.device)
