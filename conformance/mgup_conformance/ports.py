"""The rules that mgup_core ports beyond the specification, as plain data.

They have no clause of their own: a case of theirs cites what holds of every rule. A rule that is in
no library is checked likewise when the environment names it: ``MGUP_CONFORMANCE_RULES`` holds
``package.module:Class``, several with commas between them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from mgup_core import Rule, backend_for, rules

OWN = "MGUP_CONFORMANCE_RULES"


def _own() -> Iterator[type[Rule]]:
    for path in filter(None, os.environ.get(OWN, "").split(",")):
        module, _, name = path.strip().partition(":")
        kind = getattr(importlib.import_module(module), name, None)
        if not (isinstance(kind, type) and issubclass(kind, Rule)):
            raise ValueError(f"{OWN}: {path!r} names no rule; give it as package.module:Class.")
        yield kind


SPECIFIED = ("adamw", "lion", "sgd", "muon")
CLASSES: dict[str, type[Rule]] = {kind.__name__.lower(): kind for kind in (*rules.ALL, *_own())}
"""All rules of the core, and those that the environment names, by their names in the suite."""
PORTED = tuple(sorted(CLASSES.keys() - set(SPECIFIED)))


def hyperparameters(name: str) -> dict[str, Any]:
    """Those that are numbers or words, with their defaults."""
    rule = CLASSES[name]()
    values = {field.name: getattr(rule, field.name) for field in fields(rule)}
    return {n: v for n, v in values.items() if v is None or isinstance(v, (int, float, str))}


def state_names(name: str) -> tuple[str, ...]:
    """The state arrays of one parameter."""
    w = np.zeros((2, 2), np.float32)
    return tuple(CLASSES[name]().init(backend_for(w), w))


def trains_vectors(name: str) -> bool:
    """Whether the rule takes any shape, or matrices only."""
    return CLASSES[name]().accepts((4,)) is None
