"""What each package offers: names, signatures, defaults. Run it to write ``defaults.json``."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

from mgup_core import Rule

PACKAGES = {
    "mgup_core": "numpy",
    "mgup_torch": "torch",
    "mgup_jax": "jax",
    "mgup_mindspore": "mindspore",
}
"""What each needs."""
DECLARED = [n for n, text in Rule.__annotations__.items() if "ClassVar" in str(text)]
"""What a rule says of itself, its learning rate among it."""
TABLE = Path(__file__).with_name("defaults.json")


def signatures(package: str) -> dict[str, inspect.Signature]:
    """Of every class and function of a package that can be called with arguments."""
    module = importlib.import_module(package)
    found = {}
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type) or inspect.isfunction(value):
            found[name] = inspect.signature(value)
    return found


def defaults(package: str) -> dict[str, dict[str, str]]:
    """By name and argument, as Python writes them; functions and classes by their names."""
    module = importlib.import_module(package)
    found = {}
    for name, signature in signatures(package).items():
        given = {n: p.default for n, p in signature.parameters.items() if p.default is not p.empty}
        value = getattr(module, name)
        for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
            if field.default_factory is not dataclasses.MISSING:
                given[field.name] = field.default_factory()
        if isinstance(value, type) and issubclass(value, Rule):
            given |= {f"{n}, declared": getattr(value, n) for n in DECLARED}
        found[name] = {n: getattr(x, "__qualname__", repr(x)) for n, x in given.items()}
    return found


def table() -> dict[str, Any]:
    """What is committed."""
    made: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return made


if __name__ == "__main__":
    TABLE.write_text(json.dumps({name: defaults(name) for name in PACKAGES}, indent=1) + "\n")
