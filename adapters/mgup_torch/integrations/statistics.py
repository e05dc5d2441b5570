"""Statistics of an optimizer as a few numbers for a logger, whatever wraps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from mgup_core import Statistics

SHARES = ("selected", "positive", "multiplier")
"""Means over coordinates."""


def unwrapped(optimizer: Any) -> Any:
    """The MGUP optimizer inside of what a framework made of it.

    Raises:
        TypeError: if there is none.
    """
    inner = optimizer
    while not hasattr(inner, "named_statistics"):
        inner = getattr(inner, "optimizer", None)
        if inner is None:
            raise TypeError(f"{type(optimizer).__name__} is, and holds, no optimizer of MGUP.")
    return inner


def layer_of(name: str) -> str:
    """The layer of a parameter: its name down to the first number, or to its module.

    >>> layer_of("model.layers.3.mlp.up.weight"), layer_of("embed.weight"), layer_of("0.2")
    ('model.layers.3', 'embed', '0')
    """
    parts = name.split(".")
    number = next((i for i, part in enumerate(parts) if part.isdigit()), len(parts) - 2)
    return ".".join(parts[: max(number + 1, 1)])


def summary(optimizer: Any, by: Callable[[str], str] | None = None) -> dict[str, float]:
    """What the policy did in the last step, by the names of :class:`mgup_core.Statistics`.

    ``selected``, ``positive`` and ``multiplier`` are means over coordinates, ``ties`` a sum and
    ``threshold`` the lowest, of all that was ranked. Reading them waits for the device.

    Args:
        optimizer: one of MGUP's with ``statistics=True``, or what Accelerate, Lightning or a
            scheduler made of it.
        by: gives the group of a parameter by its name, such as :func:`layer_of`; then the numbers
            are those of each group, as ``layers.3/selected``.

    Raises:
        TypeError, RuntimeError: if there are no statistics.
    """
    inner = unwrapped(optimizer)
    sizes = _sizes(inner)
    groups: dict[str, list[tuple[int, Statistics]]] = {}
    for name, measured in inner.named_statistics().items():
        groups.setdefault(f"{by(name)}/" if by else "", []).append((sizes[name], measured))
    found = {}
    for prefix, rows in groups.items():
        total = max(sum(size for size, _ in rows), 1)
        for field in SHARES:
            mean = sum(size * float(getattr(one, field)) for size, one in rows) / total
            found[prefix + field] = mean
        found[prefix + "threshold"] = min(float(one.threshold) for _, one in rows)
        found[prefix + "ties"] = sum(float(one.ties) for _, one in rows)
    return found


def _sizes(optimizer: Any) -> dict[str, int]:
    from ..groups import every

    params: dict[str, Tensor] = dict(every(optimizer.param_groups))
    return {name: p.numel() for name, p in params.items()}
