"""The inputs over which the common tests run: for each class a list of constructor arguments.

After the idea of PyTorch's OptimizerInfo: one database, so that a new argument is covered by every
common test at once. Each input also says what the core's rule and policy are, independently of the
adapter, so that the NumPy reference can be stepped beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import mgup_core as core
import mgup_torch

from .support import SHAPES

Kwargs = dict[str, Any]

POLICIES: dict[str, Kwargs] = {
    "default": {},
    "tau": {"tau": 0.29},
    "tau one": {"tau": 1.0},
    "large model": {"alpha": 1.2, "gamma": 0.8},
    "published": {"alpha": 2.0, "gamma": 0.1},
    "sign": {"mode": "sign"},
    "sign aligned": {"mode": "sign", "ties": "aligned", "alpha": 1.5, "gamma": 0.3},
    "adaptive": {"mode": "adaptive"},
    "adaptive floor": {"mode": "adaptive", "tau_min": 0.6},
    "cautious": {"mode": "cautious"},
    "off": {"mode": "off"},
    "alpha gamma one": {"alpha": 1.0, "gamma": 1.0},
    "stacked": {"stacked_dims": 1, "tau": 0.4},
}

COMMON: dict[str, Kwargs] = {
    "lr": {"lr": 0.02},
    "lr zero": {"lr": 0.0},
    "tensor lr": {"lr": torch.tensor(0.02, dtype=torch.float64)},
    "tensor lr float32 of one entry": {"lr": torch.tensor([0.02])},
    "weight_decay": {"lr": 0.02, "weight_decay": 0.1},
    "numpy scalars": {"lr": np.float32(0.02), "weight_decay": np.float64(0.1)},
    "whole numbers": {"lr": 1, "weight_decay": 0, "tau": 1, "alpha": 2, "gamma": 1},
    "tensor factors": {
        "lr": 0.02,
        "alpha": torch.tensor(1.5),
        "gamma": torch.tensor(0.25),
        "weight_decay": torch.tensor(0.125),
    },
    "no weight_decay": {"lr": 0.02, "weight_decay": 0.0},
    "maximize": {"lr": 0.02, "maximize": True},
    "foreach": {"lr": 0.02, "foreach": True},
    "capturable": {"lr": 0.02, "capturable": True},
    "state float32": {"lr": 0.02, "state_dtype": torch.float32},
    "statistics": {"lr": 0.02, "statistics": True},
}

OWN: dict[str, dict[str, Kwargs]] = {
    "AdamW": {
        "betas": {"betas": (0.8, 0.95)},
        "betas zero": {"betas": (0.0, 0.0)},
        "eps": {"eps": 1e-3},
        "eps zero": {"eps": 0.0},
        "paper form": {"form": "paper", "weight_decay": 0.1},
        "published form": {"form": "published", "weight_decay": 0.1},
    },
    "Lion": {"betas": {"betas": (0.95, 0.98)}},
    "SGD": {
        "no momentum": {"momentum": 0.0},
        "nesterov": {"momentum": 0.8, "nesterov": True},
        "dampening": {"dampening": 0.3},
        "coupled decay": {"coupled_decay": True, "weight_decay": 0.1},
        "coupled nesterov": {
            "coupled_decay": True,
            "weight_decay": 0.1,
            "nesterov": True,
            "maximize": True,
        },
    },
}

CLASSES = {
    "AdamW": mgup_torch.MGUPAdamW,
    "Lion": mgup_torch.MGUPLion,
    "SGD": mgup_torch.MGUPSGD,
}

TWINS = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD, "Muon": torch.optim.Muon}


@dataclass(frozen=True)
class Input:
    """One way to construct one class."""

    family: str
    name: str
    kwargs: Kwargs = field(hash=False)

    def __str__(self) -> str:
        return f"{self.family}-{self.name}".replace(" ", "_")

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """No vectors for a policy that ranks the entries of one axis apart: K would be 0."""
        return tuple(s for s in SHAPES if len(s) > self.kwargs.get("stacked_dims", 0))

    def make(self, params, **more: Any) -> torch.optim.Optimizer:
        return CLASSES[self.family](params, **{**self.kwargs, **more})

    def rule(self) -> core.Rule:
        known = {"AdamW": ("eps", "form"), "Lion": ()}
        sgd = ("momentum", "dampening", "nesterov", "coupled_decay")
        names = known.get(self.family, sgd)
        values = {n: self.kwargs[n] for n in names if n in self.kwargs}
        if "betas" in self.kwargs:
            values["b1"], values["b2"] = self.kwargs["betas"]
        return getattr(core, self.family)(**values)

    def policy(self) -> core.Policy | None:
        return policy(self.kwargs)

    def reference_options(self) -> Kwargs:
        """The rest of the arguments, as mgup_core.Optimizer names them."""
        k = self.kwargs
        options = {n: float(k[n]) for n in ("lr", "weight_decay") if n in k}
        options.update({n: k[n] for n in ("stacked_dims", "maximize", "state_dtype") if n in k})
        return options


def policy(kwargs: Kwargs) -> core.Policy | None:
    """What the MGUP arguments mean, written out by hand."""
    mode, tau = kwargs.get("mode", "rank"), kwargs.get("tau", 0.5)
    given = (kwargs.get("alpha"), kwargs.get("gamma"))
    alpha, gamma = (None if value is None else float(value) for value in given)
    if mode == "off":
        return None
    if mode == "rank":
        return core.MGUP(tau, alpha, gamma)
    if mode == "sign":
        ties = kwargs.get("ties", "damped")
        return core.SignMGUP(1 / tau if alpha is None else alpha, gamma or tau, ties)
    if mode == "adaptive":
        return core.AdaptiveSignMGUP(kwargs.get("tau_min", 0.01))
    return core.Cautious()


def inputs(*families: str) -> list[Input]:
    """All inputs of the families, by default of all elementwise ones."""
    return [
        Input(family, name, kwargs)
        for family in families or CLASSES
        for table in (POLICIES, COMMON, OWN[family])
        for name, kwargs in table.items()
    ]


def some_inputs() -> list[Input]:
    """A handful for the tests that look at one clause of the contract at length."""
    names = {"default", "sign", "adaptive", "off", "weight_decay", "dampening", "stacked"}
    return [i for i in inputs() if i.name in names]
