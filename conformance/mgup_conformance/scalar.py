"""The specification read number by number, in plain Python: the oracle behind the reference.

Nothing here is shared with mgup_core, NumPy or any array library. Python's float is IEEE double;
a float32 operation is the double operation rounded to float32, which is exact for + - * / and sqrt
since 53 >= 2*24 + 2 bits. Slow, and meant to be read beside the specification.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

Numbers = list[float]


def _packed(code: str) -> Callable[[float], float]:
    def rounded(x: float) -> float:
        try:
            return float(struct.unpack(code, struct.pack(code, x))[0])
        except OverflowError:
            return math.copysign(math.inf, x)

    return rounded


def _to_bfloat16(x: float) -> float:
    if not math.isfinite(x):
        return x
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])


ROUND: dict[str, Callable[[float], float]] = {
    "float64": float,
    "float32": _packed("<f"),
    "float16": _packed("<e"),
    "bfloat16": _to_bfloat16,
}
"""To nearest even, from a number that is exact in the compute dtype."""


class Arithmetic:
    """IEEE arithmetic of one compute dtype."""

    def __init__(self, dtype: str) -> None:
        self.r = ROUND[dtype]
        self.tiny_score = 2.0**-1021 if dtype == "float64" else 2.0**-125
        self.tiny_moment = 2.0**-967 if dtype == "float64" else 2.0**-100

    def add(self, x: float, y: float) -> float:
        return self.r(x + y)

    def mul(self, x: float, y: float) -> float:
        return self.r(x * y)

    def div(self, x: float, y: float) -> float:
        if y == 0:
            return (
                math.nan
                if x == 0 or x != x
                else math.copysign(math.inf, x) * (math.copysign(1.0, y))
            )
        return self.r(x / y)

    def sqrt(self, x: float) -> float:
        return self.r(math.sqrt(x)) if x >= 0 else math.nan

    def flush(self, x: float, below: float) -> float:
        return 0.0 if abs(x) < below else x

    def ema(self, beta: float, old: float, new: float, weight: float | None = None) -> float:
        """``beta*old + (1 - beta)*new``, 1 - beta formed in double (N2), tiny as 0 (N6)."""
        weight = 1.0 - beta if weight is None else weight
        both = self.add(self.mul(self.r(beta), old), self.mul(self.r(weight), new))
        return self.flush(both, self.tiny_moment)

    def correction(self, beta: float, t: int) -> float:
        """``c(beta, t)`` (N3)."""
        c, k = 0.0, 0
        while t >> k:
            if t >> k & 1:
                complement = self.r(1.0 - beta ** (2**k))
                c = self.add(c, self.mul(complement, self.r(1.0 - c)))
            k += 1
        return c


def top(scores: Sequence[float], k: int) -> set[int]:
    """The k largest: NaN last, lowest index first among equals (P4)."""

    def place(i: int) -> tuple[bool, float, int]:
        nan = scores[i] != scores[i]
        return nan, 0.0 if nan else -scores[i], i

    return set(sorted(range(len(scores)), key=place)[:k])


def decide(
    ar: Arithmetic, policy: dict[str, Any], scores: Sequence[float]
) -> tuple[list[bool], float, float]:
    """(mask, high, low) for the canonical scores of one slice (P3 to P11)."""
    kind, d = policy["name"], len(scores)
    if kind == "off":
        return [False] * d, 1.0, 1.0
    if kind == "mgup":
        chosen = top(scores, math.floor(Fraction(repr(policy["tau"])) * d))
        mask = [i in chosen and s > -math.inf for i, s in enumerate(scores)]
        return mask, ar.r(policy["alpha"]), ar.r(policy["gamma"])
    if kind == "sign":
        aligned = policy["ties"] == "aligned"
        mask = [s > 0 or (aligned and s == 0) for s in scores]
        return mask, ar.r(policy["alpha"]), ar.r(policy["gamma"])
    mask = [s > 0 for s in scores]
    share = ar.div(ar.r(float(sum(mask))), ar.r(float(max(d, 1))))
    share = max(share, ar.r(policy["tau_min"] if kind == "adaptive" else 1e-3))
    return mask, ar.div(1.0, share), share if kind == "adaptive" else 0.0


def score(ar: Arithmetic, a: float, g: float) -> float:
    """The canonical score (P1, P2)."""
    return ar.flush(ar.mul(a, g), ar.tiny_score)


def newton_schulz(rows: list[Numbers]) -> list[Numbers]:
    """Five quintic steps (R4), in double: N7 compares by norm."""
    x = [list(column) for column in zip(*rows, strict=True)] if len(rows) > len(rows[0]) else rows
    norm = math.sqrt(sum(value * value for row in x for value in row)) + 1e-7
    x = [[value / norm for value in row] for row in x]

    def product(p: list[Numbers], q: list[Numbers]) -> list[Numbers]:
        columns = list(zip(*q, strict=True))
        return [
            [math.fsum(a * b for a, b in zip(row, column, strict=True)) for column in columns]
            for row in p
        ]

    def mixed(s: float, p: list[Numbers], t: float, q: list[Numbers]) -> list[Numbers]:
        return [
            [s * a + t * b for a, b in zip(u, v, strict=True)] for u, v in zip(p, q, strict=True)
        ]

    for _ in range(5):
        gram = product(x, [list(column) for column in zip(*x, strict=True)])
        inner = mixed(-4.7750, gram, 2.0315, product(gram, gram))
        x = mixed(3.4445, x, 1.0, product(inner, x))
    return [list(column) for column in zip(*x, strict=True)] if len(rows) > len(rows[0]) else x
