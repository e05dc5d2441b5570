"""mgup_mindspore, in PyNative and as a compiled graph.

The environment variable ``MGUP_MINDSPORE_DEVICE`` chooses the device: ``CPU``, ``Ascend`` or
``GPU``. Without it MindSpore does.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import mgup_mindspore  # isort: skip  (before any operation of MindSpore: see its startup)
import mindspore as ms
import ml_dtypes
import numpy as np
from mindspore import Parameter, Tensor, ops

from mgup_core import score
from mgup_core.selection.reference import slices
from mgup_mindspore.backend import MindSporeBackend, compute_dtype
from mgup_mindspore.emitter import Recorder
from mgup_mindspore.program import Program

from ..ports import CLASSES
from ..protocol import DTYPES, OPTIONS, POLICIES, RULES, STATE, Array, PolicySpec, RunSpec
from .core import make_policy

MODES = {"mgup": "rank", "sign": "sign", "adaptive": "adaptive", "cautious": "cautious"}


def to_numpy(x: Tensor) -> Array:
    """A copy as a NumPy array."""
    if x.dtype == ms.bfloat16:
        if x.size == 0:  # which the CPU's cast complains of
            return np.zeros(x.shape, ml_dtypes.bfloat16)
        narrow: Array = x.astype(ms.float32).asnumpy().astype(ml_dtypes.bfloat16)
        return narrow
    copied: Array = x.asnumpy().copy()
    return copied


def make_optimizer(spec: RunSpec, groups: list[dict[str, Any]]) -> mgup_mindspore.RuleOptimizer:
    """The optimizer of a plain description, by the arguments that a user gives."""
    rule, policy = dict(spec["rule"]), dict(spec["policy"])
    kind, mode = rule.pop("name"), MODES.get(policy.pop("name"), "off")
    rule = {re.sub(r"^b(\d)$", r"beta\1", name): value for name, value in rule.items()}
    same = spec["state_dtype"] == spec["dtype"]
    rule_class = CLASSES[kind]
    kind_of: Any = getattr(mgup_mindspore, f"MGUP{rule_class.__name__}", None)
    kind_of = kind_of or mgup_mindspore.optimizer(rule_class)
    with warnings.catch_warnings():
        # Told to the user once per parameter (P3); the cases damp whole slices on purpose.
        warnings.filterwarnings("ignore", message=".*none is selected")
        return kind_of(  # type: ignore[no-any-return]
            groups,
            spec["lr"],
            weight_decay=spec["weight_decay"],
            mode=mode,
            state_dtype=None if same else getattr(ms, spec["state_dtype"]),
            **policy,
            **rule,
        )


class MindSporeRun:
    """A run of an optimizer of mgup_mindspore."""

    def __init__(self, spec: RunSpec, params: Sequence[Array], compiled: bool) -> None:
        self.names = STATE[spec["rule"]["name"]]
        self.weights = [Parameter(w, name=f"w{i}") for i, w in enumerate(params)]
        groups = [
            {"params": [w], "stacked_dims": n}
            for w, n in zip(self.weights, spec["stacked_dims"], strict=True)
        ]
        self.lr = spec["lr"]
        self.optimizer = make_optimizer(spec, groups)
        self.advance = ms.jit(self.optimizer.construct) if compiled else self.optimizer

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        rate = self.optimizer.learning_rate
        ops.assign(rate, Tensor(self.lr if lr is None else lr, rate.dtype))
        self.advance(tuple(Tensor(g) for g in grads))

    def params(self) -> list[Array]:
        return [to_numpy(w) for w in self.weights]

    def state(self) -> list[dict[str, Array]]:
        # All parameters of a run have one rule, so each state holds them all, in their order.
        kept = {name: getattr(self.optimizer, name) for name in self.names}
        return [
            {name: to_numpy(kept[name][i]) for name in self.names} for i in range(len(self.weights))
        ]


@lru_cache(maxsize=4096)
def _multiplier(
    policy: tuple[tuple[str, Any], ...], shape: tuple[int, ...], dtype: str, stacked_dims: int
) -> Program:
    xp = Recorder()
    kind = getattr(ms, dtype)
    be = MindSporeBackend(xp, compute_dtype(kind))
    a, g = (xp.symbol(name, shape, kind) for name in "ag")
    made = make_policy(dict(policy))
    assert made is not None
    split = made.decide(be, slices(score(a, g, be=be), xp, stacked_dims))
    return xp.cell("a, g", [xp.reshape(xp.where(split.mask, split.high, split.low), shape)])


class MindSpore:
    """mgup_mindspore in PyNative."""

    name = "mindspore"
    compiled = False

    def __init__(self) -> None:
        if device := os.environ.get("MGUP_MINDSPORE_DEVICE"):
            ms.set_device(device)

    def versions(self) -> dict[str, str]:
        return {
            "mindspore": ms.__version__,
            "device": ms.get_context("device_target"),
            "numpy": np.__version__,
        }

    def capabilities(self) -> dict[str, Any]:
        return {
            "dtypes": DTYPES,
            "rules": RULES,
            "policies": POLICIES,
            "options": [name for name in OPTIONS if name not in ("absent", "resume")],
            "reasons": {
                "absent": "nn.Optimizer takes a gradient for every parameter",
                "resume": "a checkpoint is of the whole network",
            },
            "compiles": True,  # each multiplier is a program of its own
        }

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        if policy["name"] == "off" or a.size == 0:
            return np.ones(a.shape, np.float64 if a.dtype == np.float64 else np.float32)
        chosen = tuple(sorted(policy.items()))
        program = _multiplier(chosen, a.shape, a.dtype.name, stacked_dims)
        return to_numpy(program(Tensor(a), Tensor(g))[0])

    def run(self, spec: RunSpec, params: Sequence[Array]) -> MindSporeRun:
        return MindSporeRun(spec, params, self.compiled)


class MindSporeGraph(MindSpore):
    """mgup_mindspore with the whole step compiled by ``ms.jit``."""

    name = "mindspore_graph"
    compiled = True

    def capabilities(self) -> dict[str, Any]:
        eager = super().capabilities()
        reasons = {**eager["reasons"], "multiplier": "the whole step is one graph"}
        dtypes = list(DTYPES)
        if ms.get_context("device_target") == "CPU":
            dtypes.remove("bfloat16")
            reasons["bfloat16"] = "no kernel of MindSpore's CPU assigns it in a graph"
        options = [name for name in eager["options"] if name != "multiplier"]
        return eager | {"dtypes": dtypes, "options": options, "reasons": reasons}
