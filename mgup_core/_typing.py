"""Types that the whole core uses. This module imports nothing of the core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

Array = Any
"""Any array of an array-API namespace. The core never names a framework's type."""

State = dict[str, Array]
"""A rule's state of one parameter: arrays by name."""


class Split(NamedTuple):
    """A policy's decision: the multiplier is ``high`` where ``mask`` is true, else ``low``."""

    mask: Array
    """The selected coordinates: bool, (slices, d)."""
    high: Array
    """0-d, or (slices, 1)."""
    low: Array
    """0-d, or (slices, 1)."""


class Arithmetic(Protocol):
    """The operations of a :class:`mgup_core.Backend` that formulas use."""

    xp: Any
    dtype: Any
    host_dtype: Any
    tiny_moment: float

    def scalar(self, value: Any) -> Array: ...
    def cast(self, x: Array, dtype: Any) -> Array: ...
    def mul(self, a: Array, b: Array) -> Array: ...
    def div(self, a: Array, b: Array) -> Array: ...
    def sqrt(self, x: Array) -> Array: ...
    def correction(self, beta: float, t: Array) -> Array: ...
    def total(self, x: Array, axis: int | None = None) -> Array: ...
    def flush(self, x: Array, below: float | None = None) -> Array: ...


class Multiplying(Arithmetic, Protocol):
    """The same, with the product of matrices."""

    def matmul(self, a: Array, b: Array, dtype: str | None = None) -> Array: ...


class Looping(Arithmetic, Protocol):
    """The same as :class:`Arithmetic`, with loops."""

    device: Any

    def zeros_like(self, x: Array) -> Array: ...
    def loop(self, n: int, body: Callable[[Any], Any], carry: Any) -> Any: ...


class Decider(Protocol):
    """The part of a policy that a backend uses: its split, and what the split depends on."""

    @property
    def ranks(self) -> bool: ...
    @property
    def counts(self) -> bool: ...
    def decide(self, be: Any, scores: Array) -> Split: ...
