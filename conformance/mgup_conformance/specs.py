"""Rules, policies and number formats that the cases combine, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .data import Shape
from .protocol import POLICIES, RULES, PolicySpec, RuleSpec, RunSpec


def policy(name: str, **options: Any) -> PolicySpec:
    """A policy with the defaults of the specification, save those given."""
    return {"name": name, **POLICIES[name], **options}


def rule(name: str, **options: Any) -> RuleSpec:
    """A rule with the defaults of the specification, save those given."""
    return {"name": name, **RULES[name], **options}


# Learning rates at which a chaotic loop of 200 steps neither settles nor blows up.
BASE: dict[str, tuple[str, RuleSpec, float, float]] = {
    "adamw": ("R1", rule("adamw"), 1e-2, 0.1),
    "adamw_paper": ("R1p", rule("adamw", form="paper"), 1e-2, 0.1),
    "adamw_published": ("R1p", rule("adamw", form="published"), 1e-2, 0.1),
    "lion": ("R2", rule("lion"), 1e-2, 0.1),
    "sgd": ("R3", rule("sgd"), 5e-2, 0.1),
    "sgd_nesterov": ("R3", rule("sgd", nesterov=True), 5e-2, 0.1),
    "sgd_dampened": ("R3", rule("sgd", dampening=0.3), 5e-2, 0.1),
    "sgd_coupled": ("R3", rule("sgd", coupled_decay=True), 5e-2, 0.1),
}
"""Name -> (clause, rule, learning rate, weight decay)."""

POLICY_CASES: dict[str, tuple[str, PolicySpec]] = {
    "mgup": ("P6", policy("mgup")),
    "mgup_mild": ("P6", policy("mgup", tau=0.29, alpha=1.5, gamma=0.8)),
    "sign": ("P8", policy("sign")),
    "sign_aligned": ("P8", policy("sign", alpha=1.7, gamma=0.3, ties="aligned")),
    "adaptive": ("P9", policy("adaptive")),
    "cautious": ("P10", policy("cautious")),
    "off": ("P11", policy("off")),
}

NUMBERS: dict[str, tuple[str, str]] = {
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "bfloat16_state32": ("bfloat16", "float32"),
    "float16": ("float16", "float16"),
    "bfloat16": ("bfloat16", "bfloat16"),
    "float16_state32": ("float16", "float32"),
}
"""Name -> (dtype of parameters and gradients, dtype of the state)."""

ELEMENTWISE = ("N1", "N2", "N4", "N5", "N8", "R0")


def run_spec(base: str, chosen: PolicySpec, numbers: str, shapes: Sequence[Shape]) -> RunSpec:
    """A run as plain data."""
    _, of, lr, weight_decay = BASE[base]
    dtype, state_dtype = NUMBERS[numbers]
    if state_dtype == "float16" and "eps" in of:
        of = of | {"eps": 1e-3}  # the default is 0 in float16, and so is many a second moment
    return {
        "rule": of,
        "policy": chosen,
        "lr": lr,
        "weight_decay": weight_decay,
        "stacked_dims": [0] * len(shapes),
        "dtype": dtype,
        "state_dtype": state_dtype,
    }


def run_clauses(base: str, name: str) -> tuple[str, ...]:
    """What a run with decay checks: the score, too, unless there is none; and N3 of AdamW."""
    clauses: tuple[str, ...] = (BASE[base][0], POLICY_CASES[name][0], *ELEMENTWISE)
    clauses += () if name == "off" else ("P1",)
    return clauses + (("N3",) if base.startswith("adamw") else ())
