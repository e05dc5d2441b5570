"""An experiment as its JSON file says it, checked before anything runs."""

from __future__ import annotations

import dataclasses
import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit.arms import ARMS
from audit.gpt import SIZES

RATIO = 2**0.5
"""Between neighbours of a grid of learning rates."""
MODELS = {
    "text": ("3m", "10m", "30m"), "finetuning-text": ("3m", "10m", "30m"),
    "signals": ("mlp", "conv"), "finetuning": ("full", "lora"),
}  # fmt: skip
"""By task."""


@dataclass(frozen=True)
class Experiment:
    """What one configuration file holds.

    The learning rates of an arm are ``rates[arm] * sqrt(2)^i``, or around what another experiment
    chose: ``rates_of`` names it. At first ``grid`` of them are tried, on the selection seeds; the
    grid grows while its best lies at an edge. Other values of b1 and of decay are tried at the
    best, one at a time. The fresh seeds run at what was chosen, and at its neighbours.
    """

    name: str
    task: str
    """One of :data:`MODELS`."""
    model: str
    """A size of the language model, a network, or what of one is trained."""
    arms: tuple[str, ...]
    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    """The middle of each arm's grid; ``"*"`` is for all others."""
    rates_of: str | None = None
    """The experiment whose chosen learning rates are the middles."""
    grid: int = 5
    """Learning rates that are tried at first; 1 takes the middles as they are."""
    most: int = 13
    """Learning rates of an arm at most, so that a valley without a floor ends."""
    selection_seeds: tuple[int, ...] = (1, 2)
    report_seeds: tuple[int, ...] = (11, 12, 13, 14, 15)
    stack: int = 64
    """Seeds that are trained together at most."""
    neighbours: bool = True
    """Whether the fresh seeds run beside the best learning rate, too."""
    betas1: tuple[float, ...] = (0.9,)
    decays: tuple[float, ...] = (0.1,)
    """The first of both is where the search begins."""
    beta2: float = 0.95
    warmup: float = 0.05
    batch: int = 32
    context: int = 256
    vocabulary: int = 2048
    query_norm: bool = False
    """Of the language model: RMS norms of queries and keys."""
    shifted_keys: bool = False
    """Of the language model: half of the heads have the key of the token before, so that whether a
    model copies does not depend on how soon a seed finds out (Olsson et al. 2022, arXiv 2209.11895,
    smeared keys)."""
    clip: float = 0.0
    """The largest norm of a model's gradient; 0 is no bound."""
    tokens_per_parameter: float = 0.0
    cpu_share: float = 0.01
    """Of the tokens, where there is no GPU."""
    steps: int = 0
    """Of a task that is not text."""
    rank: int = 0
    """Of finetuning-text: the adapters'; with 0 all the weights are trained."""
    pretraining_rate: float = 0.0
    """Of finetuning-text: the learning rate of AdamW, which trains the one base on code."""
    pretraining_seed: int = 0
    pretraining_tokens_per_parameter: float = 0.0

    @property
    def reads(self) -> bool:
        """Whether the task is text."""
        return self.task in ("text", "finetuning-text")

    def base(self) -> Experiment:
        """The pretraining: an experiment of one run, of the same model."""
        names = ("model", "beta2", "warmup", "batch", "context", "vocabulary", "query_norm",
                 "shifted_keys", "clip", "cpu_share")  # fmt: skip
        return Experiment(
            "base", "text", arms=("adamw",), rates={"*": self.pretraining_rate},
            selection_seeds=(self.pretraining_seed,), report_seeds=(),
            tokens_per_parameter=self.pretraining_tokens_per_parameter,
            **{name: getattr(self, name) for name in names},
        )  # fmt: skip

    def start(self, arm: str) -> float:
        """The middle of an arm's grid."""
        return self.rates.get(arm, self.rates.get("*", 0.0))


def load(path: Path) -> Experiment:
    """Read a configuration.

    Raises:
        ValueError: naming the file, what is wrong and the remedy.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    known = {field.name: field for field in dataclasses.fields(Experiment)}
    for name in given:
        if name not in known:
            raise ValueError(f"{path}: there is no setting {name!r}{_near(name, known)}.")
    lists = {n: tuple(x) if isinstance(x, list) else x for n, x in given.items()}
    try:
        experiment = Experiment(**lists)
    except TypeError as error:
        raise ValueError(f"{path}: {error}.") from None
    try:
        _check(experiment)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return experiment


def _near(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


def _check(one: Experiment) -> None:
    for arm in one.arms:
        if arm not in ARMS:
            raise ValueError(f"unknown arm {arm!r}{_near(arm, ARMS)}.")
    if one.task not in MODELS:
        raise ValueError(f"task={one.task!r} is none of {', '.join(MODELS)}.")
    if one.model not in MODELS[one.task]:
        raise ValueError(f"model={one.model!r} is none of {', '.join(MODELS[one.task])}.")
    if one.reads and not one.tokens_per_parameter > 0:
        raise ValueError(f"tokens_per_parameter={one.tokens_per_parameter!r} must be above 0.")
    if not one.reads and one.steps < 1:
        raise ValueError(f"steps={one.steps!r} must be above 0.")
    if one.rates_of is None and (bad := [arm for arm in one.arms if not one.start(arm) > 0]):
        raise ValueError(
            f"rates gives none for {', '.join(bad)}: name each, or all others as '*', or another "
            "experiment with rates_of."
        )
    _check_finetuning(one)
    if one.stack < 1:
        raise ValueError(f"stack={one.stack!r} must be 1 or more.")
    if not one.clip >= 0:
        raise ValueError(f"clip={one.clip!r} must be 0 (no bound) or above.")
    if one.grid < 1 or one.grid % 2 == 0:
        raise ValueError(f"grid={one.grid} must be odd: it has a middle.")
    if overlap := set(one.selection_seeds) & set(one.report_seeds):
        raise ValueError(f"seeds {sorted(overlap)} would both choose and report: use fresh ones.")


def _check_finetuning(one: Experiment) -> None:
    settings = ("rank", "pretraining_rate", "pretraining_seed", "pretraining_tokens_per_parameter")
    if one.task != "finetuning-text":
        if given := [name for name in settings if getattr(one, name)]:
            raise ValueError(f"{', '.join(given)}: only the task finetuning-text has that.")
        return
    width = SIZES[one.model].width
    if type(one.rank) is not int or not 0 <= one.rank <= width:
        raise ValueError(
            f"rank={one.rank!r} must be a whole number from 1 to the model's width, {width}, or 0, "
            "which trains all the weights."
        )
    for name in ("pretraining_rate", "pretraining_tokens_per_parameter"):
        if not getattr(one, name) > 0:
            raise ValueError(f"{name}={getattr(one, name)!r} must be above 0.")
