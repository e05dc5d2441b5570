"""mgup_torch, eager and compiled.

The environment variable ``MGUP_TORCH_DEVICE`` chooses the device, for example ``cuda``; without it
the CPU.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

import mgup_torch
from mgup_core import score
from mgup_core.selection.reference import slices
from mgup_torch.backend import TorchBackend, compute_dtype

from ..ports import CLASSES
from ..protocol import DTYPES, OPTIONS, POLICIES, RULES, STATE, Array, PolicySpec, RunSpec
from .core import make_policy

MODES = {"mgup": "rank", "sign": "sign", "adaptive": "adaptive", "cautious": "cautious"}


DEVICE = "MGUP_TORCH_DEVICE"


def device() -> str:
    """Where the optimizers under test keep their tensors."""
    return os.environ.get(DEVICE, "cpu")


def to_torch(x: Array) -> Tensor:
    """A copy as a tensor."""
    if x.dtype == ml_dtypes.bfloat16:
        made = torch.from_numpy(x.view(np.uint16).copy()).view(torch.bfloat16)
    else:
        made = torch.from_numpy(x.copy())
    return made.to(device())


def to_numpy(x: Tensor) -> Array:
    """A copy as a NumPy array."""
    x = x.detach().cpu().contiguous()
    if x.dtype == torch.bfloat16:
        bits: Array = x.view(torch.uint16).numpy().copy()
        return bits.view(ml_dtypes.bfloat16)
    return x.numpy().copy()


def make_optimizer(spec: RunSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimizer of a plain description, by the arguments that a user gives."""
    rule, policy = dict(spec["rule"]), dict(spec["policy"])
    kind, mode = rule.pop("name"), MODES.get(policy.pop("name"), "off")
    if mode == "sign":
        policy.setdefault("tau", 0.5)
    betas = [name for name in rule if re.fullmatch(r"b\d", name)]
    if betas:
        rule["betas"] = tuple(rule.pop(name) for name in betas)
    if kind == "muon":
        rule = {"ns_dtype": "float32", "adjust_lr_fn": rule.pop("scale"), **rule}
        groups = [{"use_muon": True, **group} for group in groups]
    state_dtype = getattr(torch, spec["state_dtype"])
    common: dict[str, Any] = {
        "lr": spec["lr"],
        "weight_decay": spec["weight_decay"],
        "mode": mode,
        "state_dtype": None if spec["state_dtype"] == spec["dtype"] else state_dtype,
        **policy,
    }
    rule_class = CLASSES[kind]
    kind_of: Any = getattr(mgup_torch, f"MGUP{rule_class.__name__}", None)
    kind_of = kind_of or mgup_torch.optimizer(rule_class)
    return kind_of(groups, **common, **rule)  # type: ignore[no-any-return]


class TorchRun:
    """A run of an optimizer of mgup_torch."""

    def __init__(self, spec: RunSpec, params: Sequence[Array], compiled: bool) -> None:
        self.names = STATE[spec["rule"]["name"]]
        self.tensors = [torch.nn.Parameter(to_torch(w)) for w in params]
        groups = [
            {"params": [w], "stacked_dims": n}
            for w, n in zip(self.tensors, spec["stacked_dims"], strict=True)
        ]
        self.spec, self.groups, self.compiled = spec, groups, compiled
        self.lr = spec["lr"]
        self._begin()

    def _begin(self) -> None:
        self.optimizer = make_optimizer(self.spec, [dict(group) for group in self.groups])
        step = self.optimizer.step
        self.advance = torch.compile(step) if self.compiled else step

    def resume(self) -> None:
        """By ``state_dict``, through a file in memory."""
        file = io.BytesIO()
        torch.save(self.optimizer.state_dict(), file)
        file.seek(0)
        self._begin()
        self.optimizer.load_state_dict(torch.load(file))

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        for w, g in zip(self.tensors, grads, strict=True):
            w.grad = None if g is None else to_torch(g)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr if lr is None else lr
        with warnings.catch_warnings():
            # Told to the user once per parameter (P3); the cases damp whole slices on purpose.
            warnings.filterwarnings("ignore", message=".*none is selected")
            self.advance()

    def params(self) -> list[Array]:
        return [to_numpy(w) for w in self.tensors]

    def state(self) -> list[dict[str, Array]]:
        kept = [self.optimizer.state.get(w, {}) for w in self.tensors]
        return [{n: to_numpy(one[n]) for n in self.names if n in one} for one in kept]


class Torch:
    """mgup_torch in eager mode."""

    name = "torch"
    compiled = False

    def __init__(self) -> None:
        try:
            torch.empty(0, device=device())
        except (RuntimeError, AssertionError) as error:  # CUDA's absence is an assertion
            raise ValueError(f"{DEVICE}={device()!r}: {error}") from error

    def versions(self) -> dict[str, str]:
        found = {"torch": torch.__version__, "numpy": np.__version__}
        where = torch.device(device())
        if where.type == "cuda":
            found["device"] = torch.cuda.get_device_name(where)
        elif where.type != "cpu":
            found["device"] = str(where)
        return found

    def capabilities(self) -> dict[str, Any]:
        return {"dtypes": DTYPES, "rules": RULES, "policies": POLICIES, "options": OPTIONS}

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        made = make_policy(policy)
        if made is None:
            return np.ones(a.shape, np.float64 if a.dtype == np.float64 else np.float32)
        be = TorchBackend(compute_dtype(to_torch(a).dtype))
        scores = slices(score(to_torch(a), to_torch(g), be=be), be.xp, stacked_dims)
        split = made.decide(be, scores)
        return to_numpy(torch.where(split.mask, split.high, split.low)).reshape(a.shape)

    def run(self, spec: RunSpec, params: Sequence[Array]) -> TorchRun:
        return TorchRun(spec, params, self.compiled)


class TorchCompiled(Torch):
    """mgup_torch with ``torch.compile`` around the optimizer's step."""

    name = "torch_compiled"
    compiled = True

    def capabilities(self) -> dict[str, Any]:
        options = [name for name in OPTIONS if name != "multiplier"]
        reasons = {"multiplier": "the whole step is one graph"}
        return super().capabilities() | {"options": options, "reasons": reasons, "compiles": True}
