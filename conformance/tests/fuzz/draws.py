"""What the fuzzing machines draw: rules, settings at their edges, shapes, and hard arrays.

Arrays are drawn by a seed and a kind, so that Hypothesis shrinks which, not their entries.
"""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

import mgup_core as core
from mgup_core import rules

Settings = dict[str, Any]

MANY = "MGUP_FUZZ"
"""The environment's number of examples; ``make fuzz`` sets it."""


def budget(few: int) -> settings:
    """Hypothesis's settings: a few fixed examples in ``make test``, many new ones in ``make fuzz``.

    Args:
        few: how many examples ``make test`` takes.
    """
    many = int(os.environ.get(MANY, "0"))
    return settings(
        max_examples=many or few,
        stateful_step_count=50 if many else 12,
        derandomize=not many,
        database=None,
        phases=[Phase.generate] if os.environ.get("MGUP_FUZZ_QUICK") else list(Phase),
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


# -- rules and their fields ------------------------------------------------------------------------

BETAS = [0.0, 0.5, 0.9, 0.999, 0.9999999, 1 - 2**-53]
OWN: dict[str, list[Any]] = {
    "b1": BETAS, "b2": BETAS, "b3": BETAS, "momentum": BETAS,
    "eps": [0.0, 1e-45, 1e-16, 1e-8, 1e-3, 1.0, 1e30],
    "dampening": [0.0, 0.3, 1.0],
    "nesterov": [False, True], "coupled_decay": [False, True], "rectify": [False, True],
    "degenerated_to_sgd": [False, True], "no_prox": [False, True], "clipping": [False, True],
    "kernel": ["sign", "clip", "tanh"], "sharpness": [1e-3, 1.0, 30.0],
    "mix": [0.0, 2.0], "mix_warmup": [0, 3], "beta3_warmup": [0, 3],
    "ns_dtype": ["exact"], "product_dtype": ["exact"], "ns_steps": [1, 5],
    "beta_scope": ["tensor"], "role": ["matrix", "embedding", "last"],
    "normalize": [False, True], "chunk": [2],
    "decay": ["all", "aligned"],
}  # fmt: skip
"""Values of a rule's fields by name; others keep their defaults."""

FORMS = {"AdamW": ["standard", "paper", "published"], "NAdamW": ["dozat", "timm"]}


def identical(kind: type[core.Rule]) -> bool:
    """Whether the rule has the same bits everywhere once its products are exact (N9)."""
    exact = {f.name: "exact" for f in fields(kind) if f.name in ("ns_dtype", "product_dtype")}
    rule = kind(**exact, **({"beta_scope": "tensor"} if kind is rules.AMSGD else {}))
    # What couples parameters sums over all groups; the model steps one group at a time.
    return rule.identical and not rule.bounded_state and not rule.couples_parameters


RULES = [kind for kind in rules.ALL if identical(kind)]
ELEMENTWISE = [kind for kind in RULES if kind().elementwise]


@st.composite
def own_values(draw: Any, kind: type[core.Rule]) -> Settings:
    """Values of a rule's fields, which together make a rule."""
    values: Settings = {}
    for f in fields(kind):
        if f.name == "form":
            values[f.name] = draw(st.sampled_from(FORMS[kind.__name__]))
        elif f.name in ("ns_dtype", "product_dtype", "beta_scope", "chunk"):
            values[f.name] = OWN[f.name][0]
        elif f.name in OWN and draw(st.booleans()):
            values[f.name] = draw(st.sampled_from(OWN[f.name]))
    if values.get("nesterov"):
        values["dampening"] = 0.0
    if values.get("coupled_decay"):
        values["decay"] = "all"
    if "dampening" in values and not any(f.name == "dampening" for f in fields(kind)):
        del values["dampening"]
    try:
        kind(**values)
    except ValueError:  # two edges that exclude each other: the rule says why
        return {n: v for n, v in values.items() if n in ("ns_dtype", "product_dtype", "beta_scope")}
    return values


LR = [0.0, 1e-45, 1e-38, 1e-3, 0.02, 1.0, 1e5, 1e30]
DECAY = [0.0, 0.1, 1e-45, 10.0, 1e30]
TAU = [0.0, 1e-3, 0.29, 0.5, 0.75, 1.0]
ALPHA = [None, 1.0, 1.5, 1e30, 3e38]
GAMMA = [None, 1.0, 0.5, 1e-3, 1e-38]


@st.composite
def shared_values(draw: Any) -> Settings:
    """Learning rate, decay and the policy, under the core's names."""
    tau = draw(st.sampled_from(TAU))
    alpha, gamma = draw(st.sampled_from(ALPHA)), draw(st.sampled_from(GAMMA))
    return {
        "lr": draw(st.sampled_from(LR)),
        "weight_decay": draw(st.sampled_from(DECAY)),
        "mode": draw(st.sampled_from(["rank", "rank", "sign", "adaptive", "cautious", "off"])),
        "tau": tau,
        "alpha": 2.0 if tau == 0 and alpha is None else alpha,
        "gamma": 0.5 if tau == 0 and gamma is None else gamma,
        "ties": draw(st.sampled_from(["damped", "aligned"])),
        "tau_min": draw(st.sampled_from([1e-3, 0.01, 0.6, 1.0])),
    }


def normal(values: Settings) -> Settings:
    """No numbers that XLA and MindSpore flush: 0 * inf is NaN, and 1e-45 * inf is not."""
    tiny = {n for n, x in values.items() if isinstance(x, float) and 0 < x < 2.0**-100}
    return {n: 1e-3 if n in tiny else x for n, x in values.items()}


def policy_of(given: Settings) -> core.Policy | None:
    """What the words mean, written out by hand."""
    mode, tau, alpha, gamma = (given[n] for n in ("mode", "tau", "alpha", "gamma"))
    if mode == "off":
        return None
    if mode == "rank":
        return core.MGUP(tau, alpha, gamma)
    if mode == "sign":
        alpha = 1 / tau if alpha is None else alpha
        return core.SignMGUP(alpha, tau if gamma is None else gamma, given["ties"])
    return core.AdaptiveSignMGUP(given["tau_min"]) if mode == "adaptive" else core.Cautious()


# -- arrays ----------------------------------------------------------------------------------------

SHAPES = [
    (), (1,), (0,), (0, 3), (3, 0), (1, 1), (5,), (33,), (7, 5), (6, 10), (4, 3, 2, 2), (2, 3, 5),
    (3, 1701), (4099,), (5003,),
]  # fmt: skip
LARGE = [(70_001,), (257, 301), (3, 33_001)]
DTYPES = ["float16", "bfloat16", "float32", "float64"]

KINDS = [
    "noise", "noise", "noise", "decades", "ties", "zeros", "minus zeros", "tiny", "huge", "equal",
    "special", "infinite",
]  # fmt: skip


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)


def hard(kind: str, shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """An array of a kind; ``special`` and ``infinite`` are not finite."""
    rng = np.random.default_rng(seed)
    x = np.asarray(rng.standard_normal(shape))
    if kind == "decades":
        x = x * 10.0 ** rng.integers(-12, 3, shape)
    elif kind == "ties":
        x = rng.integers(-2, 3, shape).astype(float)
    elif kind == "zeros":
        x = np.zeros(shape)
    elif kind == "minus zeros":
        x = np.where(x > 0, 0.0, -0.0)
    elif kind == "tiny":  # around the thresholds of P2 and N6, and below them
        low, high = (-1074, -960) if dtype == "float64" else (-149, -95)
        x = np.sign(x) * 2.0 ** rng.integers(low, high, shape)
    elif kind == "huge":
        low, high = (505, 1023) if dtype == "float64" else (55, 127)
        x = x * 2.0 ** (rng.integers(low, high, shape) if dtype != "float16" else 13)
    elif kind == "equal":
        x = np.full(shape, 0.7)
    elif kind == "special":
        some = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-44, 2.0**-100, 2.0**-125, 3e38]
        x = rng.choice(some, shape)
    elif kind == "infinite":
        x = np.where(rng.random(shape) < 0.2, np.inf, x)
    with np.errstate(all="ignore"):
        return np.asarray(x, dtype=np.float64).astype(numpy_dtype(dtype))
