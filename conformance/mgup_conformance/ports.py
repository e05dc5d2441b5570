"""The rules that mgup_core ports beyond the specification, as plain data.

They have no clause of their own: a case of theirs cites what holds of every rule. A rule that is in
no library is checked likewise when the environment names it: ``MGUP_CONFORMANCE_RULES`` holds
``package.module:Class``, several with commas between them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import Field, fields
from math import isfinite
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from mgup_core import Rule, backend_for, rules

from .visible import ENDS, raised

OWN = "MGUP_CONFORMANCE_RULES"


def _state(rule: Rule) -> dict[str, Any]:
    w = np.zeros((2, 2), np.float32)
    return rule.init(backend_for(w), w)


def _own() -> Iterator[type[Rule]]:
    taken = {kind.__name__.lower(): kind.__name__ for kind in rules.ALL}
    for path in filter(None, os.environ.get(OWN, "").split(",")):
        module, _, name = path.strip().partition(":")
        try:
            kind = getattr(importlib.import_module(module), name, None)
        except ENDS as error:
            raise ValueError(f"{OWN}: {path!r} cannot be imported: {raised(error)}") from error
        if not (isinstance(kind, type) and issubclass(kind, Rule)):
            raise ValueError(f"{OWN}: {path!r} names no rule; give it as package.module:Class.")
        try:
            _state(kind())
        except ENDS as error:
            raise ValueError(
                f"{OWN}: {path!r} cannot be made without arguments, with the state of a matrix: "
                f"{raised(error)}. Every hyperparameter of a rule needs a default."
            ) from error
        if name.lower() in taken:
            raise ValueError(
                f"{OWN}: {path!r} and {taken[name.lower()]} have one name in the suite, which "
                "tells rules apart by it: give the class another."
            )
        taken[name.lower()] = path
        yield kind


SPECIFIED = ("adamw", "lion", "sgd", "muon")
_OWN = {kind.__name__.lower(): kind for kind in _own()}
CLASSES: dict[str, type[Rule]] = {kind.__name__.lower(): kind for kind in rules.ALL} | _OWN
"""All rules of the core, and those that the environment names, by their names in the suite."""
OWN_NAMES = tuple(sorted(_OWN))
"""Those that the environment names: they get the hard cases too (:mod:`~.hard`)."""
PORTED = tuple(sorted(CLASSES.keys() - set(SPECIFIED)))
REPRODUCIBLE: dict[str, dict[str, Any]] = {
    "soap": {"product_dtype": "exact", "precondition_frequency": 2}
}
"""Settings of rules which no norm compares otherwise: eigenvectors of nearly equal eigenvalues are
whatever a rounding makes of them. Its bases turn often enough to be seen."""


def compared(name: str) -> Rule:
    """A rule as it is compared: with its defaults, but for :data:`REPRODUCIBLE`."""
    return CLASSES[name](**REPRODUCIBLE.get(name, {}))


def hyperparameters(name: str) -> dict[str, Any]:
    """Those that are numbers or words, with their defaults."""
    rule = CLASSES[name]()
    shared = {field.name for field in fields(Rule)}  # asked by cases of their own (R0c)
    values = {f.name: getattr(rule, f.name) for f in fields(rule) if f.name not in shared}
    return {n: v for n, v in values.items() if v is None or isinstance(v, (int, float, str))}


def state_names(name: str) -> tuple[str, ...]:
    """The state arrays of one parameter."""
    return tuple(_state(CLASSES[name]()))


def trains_vectors(name: str) -> bool:
    """Whether the rule takes any shape, or matrices only."""
    return CLASSES[name]().accepts((4,)) is None


def samples(name: str, n: int) -> list[dict[str, Any]]:
    """Hyperparameters other than the defaults, ``n`` sets of them or as many as there are.

    Numbers come from a field's declared range,
    ``field(default=…, metadata={"range": (low, high)})``, or else from about the default; words
    from ``metadata={"values": (…)}`` or a ``Literal``. What the rule refuses is left out.

    Raises:
        ValueError: for a range that is none, and where the rule refuses whatever is drawn.
    """
    kind = CLASSES[name]
    hints = get_type_hints(kind)
    found: list[dict[str, Any]] = []
    refused = ""
    for i in range(20 * n):
        rng = np.random.default_rng([i, len(name)])
        drawn = {}
        for one in fields(kind):
            value = getattr(kind(), one.name)
            choices = one.metadata.get("values") or _literals(hints.get(one.name))
            if "dtype" in one.name:  # of matrix products: not every backend has each
                choices = (value,)
            if choices:
                drawn[one.name] = choices[int(rng.integers(len(choices)))]
            elif isinstance(value, bool):
                drawn[one.name] = bool(rng.integers(2))
            elif isinstance(value, float):
                low, high = _declared(name, one) or _about(value)
                drawn[one.name] = round(float(rng.uniform(low, high)), 6)
        try:
            kind(**drawn)
        except (ValueError, TypeError) as error:
            refused = f"{error}"
            continue
        if drawn and drawn not in found:
            found.append(drawn)
        if len(found) == n:
            break
    if refused and not found:
        raise ValueError(
            f"{name}: no hyperparameters other than the defaults could be drawn; the rule refused "
            f"the last with {refused!r}. Declare what it takes, for example by field(default=0.9, "
            'metadata={"range": (0.5, 0.99)}).'
        )
    return found


def _declared(name: str, one: Field[Any]) -> tuple[float, float] | None:
    """The range that a field declares, if it does."""
    given = one.metadata.get("range")
    if given is None:
        return None
    pair = tuple(given) if isinstance(given, (tuple, list)) else ()
    numbers = all(isinstance(x, (int, float)) and isfinite(x) for x in pair)
    if not (len(pair) == 2 and numbers and pair[0] <= pair[1]):
        raise ValueError(
            f"{name}: the field {one.name!r} declares the range {given!r}, which is not two finite "
            "numbers (low, high) with low <= high."
        )
    return pair[0], pair[1]


def _literals(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _about(value: float) -> tuple[float, float]:
    """A range about a default: of what looks like a decay rate, the rates that are used."""
    return (0.5, 0.99) if 0.5 <= value < 1 else (0.0, 1.0) if value == 0 else (value / 4, 2 * value)
