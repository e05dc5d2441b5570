"""Optimizers by name, for sweeps and configuration files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Made = TypeVar("Made")


def plain(name: str) -> str:
    """A name without the prefix MGUP, case and punctuation.

    >>> plain("MGUPAdamW"), plain("mgup_adamw"), plain("SGD-SaI")
    ('adamw', 'adamw', 'sgdsai')
    """
    letters = "".join(c for c in name.lower() if c.isalnum())
    return letters.removeprefix("mgup") or letters


def find(name: str, known: Iterable[str]) -> str:
    """The name in ``known`` that equals ``name`` but for prefix, case and punctuation.

    Raises:
        ValueError: with the nearest known name, if there is none.

    >>> find("adamw", ["MGUPAdamW", "MGUPLion"])
    'MGUPAdamW'
    >>> find("adanw", ["MGUPAdamW", "MGUPLion"])
    Traceback (most recent call last):
    ValueError: there is no optimizer 'adanw'; did you mean 'MGUPAdamW'? list_optimizers() has all.
    """
    by_name = {plain(one): one for one in known}
    if plain(name) in by_name:
        return by_name[plain(name)]
    near = difflib.get_close_matches(plain(name), by_name, n=1, cutoff=0.6)
    hint = f"; did you mean {by_name[near[0]]!r}?" if near else "."
    raise ValueError(f"there is no optimizer {name!r}{hint} list_optimizers() has all.")


def create(
    known: Mapping[str, Callable[..., Made]], name: str, *args: Any, **arguments: Any
) -> Made:
    """The optimizer of a name, called: ``create_optimizer`` of each adapter, which documents it."""
    return known[find(name, known)](*args, **arguments)
