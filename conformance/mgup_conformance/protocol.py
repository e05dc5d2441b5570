"""What a backend must offer to be checked: two calls and a list of what it can do.

A backend needs nothing from this package: any object with these attributes will do, and everything
that crosses the border is a NumPy array or plain data that JSON can hold.

* Arrays have dtype float64, float32, float16, or ``ml_dtypes.bfloat16`` (``array.dtype.name`` says
  which; frameworks that do not know that type can take ``array.view("uint16")``, its bits).
* A rule is ``{"name": "adamw", ...}`` with every hyperparameter of :data:`RULES` filled in; a
  policy is ``{"name": "mgup", ...}`` with every one of :data:`POLICIES`.
* What a backend does not list among its capabilities is reported as skipped, never as passed.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypedDict, runtime_checkable

import numpy as np

from .ports import PORTED, hyperparameters, state_names

Array = np.ndarray[Any, Any]
RuleSpec = dict[str, Any]
PolicySpec = dict[str, Any]

DTYPES = ("float32", "float64", "float16", "bfloat16")

RULES: dict[str, dict[str, Any]] = {
    "adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "form": "standard"},
    "lion": {"b1": 0.9, "b2": 0.99},
    "sgd": {"momentum": 0.9, "dampening": 0.0, "nesterov": False, "coupled_decay": False},
    "muon": {"momentum": 0.95, "nesterov": True, "scale": "match_rms_adamw"},
    **{name: hyperparameters(name) for name in PORTED},
}
"""Rules (R1 to R4, then those ported by name) and their hyperparameters, with defaults."""

STATE: dict[str, tuple[str, ...]] = {
    "adamw": ("exp_avg", "exp_avg_sq"),
    "lion": ("exp_avg",),
    "sgd": ("momentum_buffer",),
    "muon": ("momentum_buffer",),
    **{name: state_names(name) for name in PORTED},
}
"""The state arrays of each rule, by the names that :meth:`Run.state` gives them."""

POLICIES: dict[str, dict[str, Any]] = {
    "mgup": {"tau": 0.5, "alpha": 2.0, "gamma": 0.5},
    "sign": {"alpha": 2.0, "gamma": 0.5, "ties": "damped"},
    "adaptive": {"tau_min": 0.01},
    "cautious": {},
    "off": {},
}
"""Policies (P6, P8 to P11) and the hyperparameters of each, with their defaults."""

OPTIONS: dict[str, str] = {
    "multiplier": "gives the multiplier of an (a, g) pair, apart from any step",
    "stacked_dims": "ranks leading axes separately (P5)",
    "state_dtype": "keeps state in another dtype than the parameter's (R5)",
    "schedule": "takes another learning rate at each step",
    "absent": "takes None for the gradient of a parameter (R6)",
    "resume": "saves a run, and goes on with a new one that loads it: ``Run.resume()``",
    "large": "is fast enough for arrays of tens of thousands of elements",
    "form": "AdamW: the forms paper and published (R1p)",
    "dampening": "SGD: dampening (R3)",
    "nesterov": "SGD: Nesterov momentum (R3)",
    "coupled_decay": "SGD: decay in the momentum (R3)",
    "decay": 'the rule\'s ``"decay": "aligned"``: cautious weight decay (R0c)',
    "muon_options": "Muon: plain momentum, and the original scale (R4)",
    "exact_products": "matrix rules: products of the same bits everywhere (N9)",
}
"""What a backend may or may not offer beyond dtypes, rules and policies."""

Capabilities = Mapping[str, Any]
"""``{"dtypes": …, "rules": …, "policies": …, "options": …}``, each a collection of the names above,
and optionally ``"reasons": {name: why it is missing}``. A backend with ``"compiles": True``, which
takes long to begin a run, gets few cases unless all are asked for; one with ``"slow": True``, which
takes long for each step, in the fast set all of them, since steps are few there."""


class NotOffered(Exception):
    """What a backend may raise from ``run`` or ``multiplier`` for what it cannot be asked.

    For what its capabilities have no word for. The case is reported as skipped, with the reason:
    "does not offer …".
    """


class RunSpec(TypedDict):
    """One training run, as plain data."""

    rule: RuleSpec
    policy: PolicySpec
    lr: float
    weight_decay: float
    stacked_dims: list[int]
    """For each parameter, how many leading axes are slices of their own."""
    dtype: str
    """Of the parameters and gradients."""
    state_dtype: str
    """Of the state arrays."""


class Run(Protocol):
    """A run in progress, of all its parameters together."""

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        """Take one step. ``None`` is an absent gradient; ``lr`` replaces the run's, this once."""

    def params(self) -> list[Array]:
        """The parameters, in the run's dtype. The caller does not change them."""

    def state(self) -> list[dict[str, Array]]:
        """The state of each parameter by the names of :data:`STATE`, in the run's state dtype.

        What is not allocated yet may be left out and counts as zeros; other entries are ignored.
        """


@runtime_checkable
class Backend(Protocol):
    """An implementation of the specification."""

    name: str

    def versions(self) -> dict[str, str]:
        """The versions that a report should name, for example ``{"torch": "2.13.0"}``."""

    def capabilities(self) -> Capabilities:
        """What this backend can do."""

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        """The multiplier of each coordinate, in the compute dtype (N8, stage one)."""

    def run(self, spec: RunSpec, params: Sequence[Array]) -> Run:
        """Begin a run from initial parameters, which stay as they are."""


Needs = dict[str, frozenset[str]]


def needs(
    *, dtypes: Collection[str], policy: PolicySpec, rule: RuleSpec | None, options: Collection[str]
) -> Needs:
    """What a case asks of a backend, to be held against its capabilities."""
    rule = rule or {}
    asked = set(options)
    if rule.get("form", "standard") != "standard":
        asked.add("form")
    if rule.get("name") == "sgd":
        asked |= {key for key in ("dampening", "nesterov", "coupled_decay") if rule[key]}
    if rule.get("decay", "all") != "all":
        asked.add("decay")
    if rule.get("name") == "muon" and any(rule[key] != RULES["muon"][key] for key in RULES["muon"]):
        asked.add("muon_options")
    if "exact" in rule.values():
        asked.add("exact_products")
    return {
        "dtypes": frozenset(dtypes),
        "rules": frozenset({rule["name"]} if rule else ()),
        "policies": frozenset({policy["name"]}),
        "options": frozenset(asked),
    }


def missing(backend: Backend, asked: Needs) -> list[str]:
    """What of this a backend does not offer, each with its kind, and its reason if it gives one."""
    offered = backend.capabilities()
    reasons = offered.get("reasons", {})
    return [
        f"{kind}: {name}" + (f" ({reasons[name]})" if name in reasons else "")
        for kind, names in asked.items()
        for name in sorted(names - set(offered.get(kind, ())))
    ]


def lacking(backend: Backend, asked: Needs) -> str | None:
    """Why a backend cannot be asked for this, or None if it can."""
    absent = missing(backend, asked)
    return f"{backend.name} does not offer " + ", ".join(absent) if absent else None


KINDS: dict[str, Collection[str]] = {
    "dtypes": DTYPES,
    "rules": RULES,
    "policies": POLICIES,
    "options": OPTIONS,
}
"""The kinds of capabilities, and the names that each knows."""


def check_backend(backend: Backend) -> None:
    """Refuse a backend that a report could not name, or whose capabilities mean nothing.

    Raises:
        ValueError: with what is wrong.
    """
    if not isinstance(backend.name, str) or not backend.name.strip():
        raise ValueError(f"name is {backend.name!r}, not a text.")
    versions = backend.versions()
    if not isinstance(versions, Mapping) or not all(
        isinstance(x, str) for pair in versions.items() for x in pair
    ):
        raise ValueError(f"versions() gives {versions!r}, not texts by their names.")
    check_capabilities(backend.capabilities())


def check_capabilities(offered: Any) -> None:
    """Refuse names that mean nothing: what they were to offer would be skipped for ever.

    Raises:
        ValueError: with the nearest name that is known.
    """
    if not isinstance(offered, Mapping):
        raise ValueError(f"capabilities() gives {type(offered).__name__}, not a mapping.")
    _known("capabilities()", offered, (*KINDS, "reasons", "compiles", "slow"))
    for kind, names in KINDS.items():
        given = offered.get(kind, ())
        if isinstance(given, str) or not isinstance(given, Collection):
            raise ValueError(f"capabilities: {kind!r} is {given!r}, not a collection of names.")
        _known(f"capabilities: {kind!r}", given, names)
    if not isinstance(offered.get("reasons", {}), Mapping):
        raise ValueError("capabilities: 'reasons' is not a mapping from names to reasons.")
    _known("capabilities: 'reasons'", offered.get("reasons", {}),
           [name for names in KINDS.values() for name in names])  # fmt: skip


def _known(where: str, given: Collection[str], names: Collection[str]) -> None:
    for name in given:
        if isinstance(name, str) and name in names:
            continue
        near = difflib.get_close_matches(str(name), list(names), n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        some = sorted(names) if len(names) <= 12 else [*sorted(names)[:12], "…"]
        raise ValueError(f"{where}: {name!r} is unknown{hint} Known: {', '.join(some)}.")


def check_state(rule: str, i: int, state: Mapping[str, Any]) -> None:
    """Refuse a state that lacks a name while it has another that is not known.

    What is not yet allocated may be left out, and what is of no interest is ignored; but a name
    that is written otherwise would count as zeros.

    Raises:
        ValueError: with the nearest name that is known.
    """
    absent = [name for name in STATE[rule] if name not in state]
    for name in absent:
        near = difflib.get_close_matches(name, [n for n in state if n not in STATE[rule]], n=1)
        if near:
            raise ValueError(
                f"state() of parameter {i} has {near[0]!r}, which is not known; {name!r} is "
                f"missing. The state of {rule!r} is {', '.join(STATE[rule])}."
            )
