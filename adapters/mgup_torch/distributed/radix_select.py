"""The K largest of rows whose parts lie on many devices, digit by digit, for all rows at once.

A score is an integer key in the order of the scores, and its rank among equals is its flat index,
so the K-th largest is one number: the key, then the index counted from the end. It is found from
its leading digit on. At each digit the parts count, among their coordinates that share the digits
so far, how many have digit c, for each c; the counts of all rows of all tensors are summed in one
collective, and say which digit is next. What is sent does not depend on how long a row is,
and nothing waits for the device: the number of rounds is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MOST_BYTES = 1 << 16
"""A tensor's share of what is sent in a step, while it has no more slices than that allows."""
_INDEX_BITS = 48  # allowed for; what is sent depends on the longest row at hand
_WORD = 8  # bytes of a count

Total = Callable[[Tensor], Tensor]
"""Sums integers over the devices."""


class Rows(NamedTuple):
    """One device's part of the slices of one tensor."""

    keys: Tensor
    """:func:`order_keys` of the canonical scores, (n, m)."""
    k: int
    """How many to select in each whole slice."""
    length: int
    """d, the length of a whole slice."""
    index: Callable[[torch.dtype], Tensor]
    """The flat index (m,), in the whole slice, of each coordinate here, rising; as this dtype."""


def order_keys(scores: Tensor) -> Tensor:
    """Integers in the order of canonical scores, NaN below all others (P2): int32, or int64."""
    kind = torch.int64 if scores.dtype == torch.float64 else torch.int32
    limits = torch.iinfo(kind)
    bits = scores.contiguous().view(kind)
    keys = torch.where(bits < 0, bits ^ limits.max, bits)
    return keys.masked_fill_(scores != scores, limits.min)


def digit_bits(slices: int, key_bits: int, levels: int) -> int:
    """The widest digits with which a tensor's share stays within :data:`MOST_BYTES`.

    Args:
        slices: how many of its slices are split among the same devices.
        key_bits: 32 or 64.
        levels: how many collectives a sum takes: the mesh dimensions that split the tensor.
    """
    for bits in (8, 4, 2):
        rounds = -(-key_bits // bits) - (-_INDEX_BITS // bits)
        if slices * levels * rounds * (2**bits - 1) * _WORD <= MOST_BYTES:
            return bits
    return 1


def select(parts: Sequence[Rows], total: Total, *, bits: int) -> list[Tensor]:
    """The masks (n, m), bool, of the k largest of each slice (P4).

    Args:
        parts: of keys of one dtype, in the same order on every device.
        total: over the devices that hold the other parts.
        bits: in a digit; a power of two, at most 8.
    """
    if not parts:
        return []
    key_bits = torch.iinfo(parts[0].keys.dtype).bits
    need = torch.cat([_column(part.keys, part.k) for part in parts])
    first = -(1 << (bits - 1))  # keys are signed: the leading digit begins below zero
    words = [_Words(part.keys) for part in parts]
    threshold, need = _search(words, need, first, key_bits, bits, total)
    ends = _per_part(threshold, parts)

    index_bits = max(max(part.length - 1, 1).bit_length() for part in parts)
    index_bits += -index_bits % bits
    kind = torch.int32 if index_bits <= 32 and _short(parts) else torch.int64
    tied, words = [], []
    for part, end in zip(parts, ends, strict=True):
        tied.append(part.keys == end.to(part.keys.dtype)[:, None])
        words.append(_Words(_from_the_end(part, kind).expand_as(tied[-1]), tied[-1]))
    last, _ = _search(words, need, 0, index_bits, bits, total)
    masks = []
    for part, end, ties, least in zip(parts, ends, tied, _per_part(last, parts), strict=True):
        above = part.keys > end.to(part.keys.dtype)[:, None]
        masks.append(above | (ties & (_from_the_end(part, kind) >= least[:, None])))
    return masks


def _column(keys: Tensor, value: int) -> Tensor:
    return torch.full((keys.shape[0],), value, dtype=torch.int64, device=keys.device)


def _per_part(values: Tensor, parts: Sequence[Rows]) -> tuple[Tensor, ...]:
    return values.split([part.keys.shape[0] for part in parts])


def _short(parts: Sequence[Rows]) -> bool:
    return all(part.length < 2**31 for part in parts)


def _from_the_end(part: Rows, dtype: torch.dtype) -> Tensor:
    """The first of equals is the largest (P4)."""
    return (part.length - 1) - part.index(dtype)[None, :]


def _search(
    words: Sequence[_Words], need: Tensor, first: int, width: int, bits: int, total: Total
) -> tuple[Tensor, Tensor]:
    """(the ``need``-th largest word of each row, how many equal to it are still needed).

    Args:
        need: (rows,) int64, over all parts in turn.
        first: the least that a word can be, in units of its leading digit.
        width: bits of a word.
    """
    base = torch.full_like(need, first)
    counts = [part.rows for part in words]
    for shift in range(width - bits, -1, -bits):
        starts = base.split(counts)
        counts_here = [w.count(b, shift, bits) for w, b in zip(words, starts, strict=True)]
        at_least = total(torch.cat(counts_here)).flip(-1).cumsum(-1).flip(-1)
        digit = (at_least >= need[:, None]).sum(-1)
        above = torch.nn.functional.pad(at_least, (0, 1)).gather(-1, digit[:, None])
        need = need - above[:, 0]
        base = base + digit
        if shift:
            base = base << bits
    return base, need


class _Words:
    """The integers among which the next digit is counted.

    Args:
        values: (n, m).
        alive: (n, m), those that take part; all if ``None``.
    """

    def __init__(self, values: Tensor, alive: Tensor | None = None) -> None:
        self.rows = values.shape[0]
        self.values, self.alive = values, alive
        self.row = torch.arange(self.rows, device=values.device)[:, None]

    def count(self, base: Tensor, shift: int, bits: int) -> Tensor:
        """How many words have the digit c = 1, 2, …: int64, (n, 2^bits - 1).

        Args:
            base: (n,), what a word with digit 0 is when ``shift`` bits are cut off. Words further
                from it than that are not counted.
        """
        size = 1 << bits
        # Where the difference does not fit its dtype it wraps around to below zero.
        digit = (self.values >> shift) - base.to(self.values.dtype)[self.row]
        inside = (digit >= 0) & (digit < size)
        if self.alive is not None:
            inside &= self.alive
        place = digit if self.rows == 1 else digit + (self.row * size).to(digit.dtype)
        bins = self.rows * size
        if place.numel() == 0:
            counts = torch.zeros(bins, dtype=torch.int64, device=place.device)
        elif place.is_cuda:  # bincount would wait for the device
            place = torch.where(inside, place.to(torch.int32), -1)
            counts = torch.histc(place, bins, min=0, max=bins).to(torch.int64)
        else:
            counts = torch.bincount(place[inside], minlength=bins)
            self._keep(inside)
        return counts.view(self.rows, size)[:, 1:]

    def _keep(self, inside: Tensor) -> None:
        """Forget the words that no later digit can bring back."""
        self.row = self.row.expand_as(inside)[inside] if self.row.ndim > 1 else self.row[inside]
        self.values, self.alive = self.values[inside], None
