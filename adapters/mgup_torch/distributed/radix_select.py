"""Radix select over many devices: the K largest of each slice, for all slices at once.

Each score becomes an integer key in the same order, and equal scores are ordered by their flat
index, so that one number tells the K-th largest: its key, then its index counted from the end. The
search finds this number digit by digit, the leading digit first. At each digit, every device counts
how many of its coordinates that share the digits found so far have digit c, for each c. One
collective sums the counts of all slices of all tensors, and the sums tell the next digit. The
traffic does not depend on the length of a slice. The host never waits for the device, since the
number of rounds is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

MOST_BYTES = 1 << 16
"""The most bytes that a tensor sends in a step, unless digits of one bit already send more."""
_INDEX_BITS = 48  # assumed by digit_bits; a search takes the bits that its longest slice needs
_COUNT_BYTES = 8

AllReduce = Callable[[Tensor], Tensor]
"""Sums integers over the devices."""


class Rows(NamedTuple):
    """One device's part of the slices of one tensor."""

    keys: Tensor
    """:func:`order_keys` of the canonical scores, (n, m)."""
    k: int
    """The number of coordinates to select in each whole slice."""
    length: int
    """d, the length of a whole slice."""
    index_of: Callable[[torch.dtype], Tensor]
    """Gives, in an integer dtype, the flat index in the whole slice of each coordinate here, (m,),
    ascending."""


def order_keys(scores: Tensor) -> Tensor:
    """Integers in the order of canonical scores, NaN below all others (P2): int32, or int64."""
    kind = torch.int64 if scores.dtype == torch.float64 else torch.int32
    limits = torch.iinfo(kind)
    bits = scores.contiguous().view(kind)
    keys = torch.where(bits < 0, bits ^ limits.max, bits)
    return keys.masked_fill_(scores != scores, limits.min)


def digit_bits(slices: int, key_bits: int, levels: int) -> int:
    """The width of the widest digit, in bits, that keeps a tensor's traffic at :data:`MOST_BYTES`.

    Args:
        slices: the number of slices that are sharded over the same devices.
        key_bits: 32 or 64.
        levels: the number of collectives that a sum takes, one for each sharding mesh dimension.
    """
    for bits in (8, 4, 2):
        rounds = -(-key_bits // bits) - (-_INDEX_BITS // bits)
        if slices * levels * rounds * (2**bits - 1) * _COUNT_BYTES <= MOST_BYTES:
            return bits
    return 1


def select(parts: Sequence[Rows], all_reduce_sum: AllReduce, *, bits: int) -> list[Tensor]:
    """The masks (n, m), bool, of the k largest of each slice (P4).

    Args:
        parts: their keys have one dtype; they come in the same order on every device.
        all_reduce_sum: sums over the devices that hold the parts of these slices.
        bits: the width of a digit, a power of two, at most 8.
    """
    if not parts:
        return []
    key_bits = torch.iinfo(parts[0].keys.dtype).bits
    need = torch.cat([_column(part.keys, part.k) for part in parts])
    first = -(1 << (bits - 1))  # the keys are signed, and so is their leading digit
    words = [_Words(part.keys) for part in parts]
    threshold, need = _search(words, need, first, key_bits, bits, all_reduce_sum)
    ends = _per_part(threshold, parts)

    index_bits = max(max(part.length - 1, 1).bit_length() for part in parts)
    index_bits += -index_bits % bits
    kind = torch.int32 if index_bits <= 32 and _short(parts) else torch.int64
    tied, words = [], []
    for part, end in zip(parts, ends, strict=True):
        tied.append(part.keys == end.to(part.keys.dtype)[:, None])
        words.append(_Words(_from_the_end(part, kind).expand_as(tied[-1]), tied[-1]))
    last, _ = _search(words, need, 0, index_bits, bits, all_reduce_sum)
    masks = []
    for part, end, ties, least in zip(parts, ends, tied, _per_part(last, parts), strict=True):
        above = part.keys > end.to(part.keys.dtype)[:, None]
        masks.append(above | (ties & (_from_the_end(part, kind) >= least[:, None])))
    return masks


def _column(keys: Tensor, value: int) -> Tensor:
    return torch.full((keys.shape[0],), value, dtype=torch.int64, device=keys.device)


def _per_part(values: Tensor, parts: Sequence[Rows]) -> tuple[Tensor, ...]:
    split: tuple[Tensor, ...] = values.split([part.keys.shape[0] for part in parts])
    return split


def _short(parts: Sequence[Rows]) -> bool:
    return all(part.length < 2**31 for part in parts)


def _from_the_end(part: Rows, dtype: torch.dtype) -> Tensor:
    """The flat index counted from the end: the first of equal scores is the largest (P4)."""
    return (part.length - 1) - part.index_of(dtype)[None, :]


def _search(
    words: Sequence[_Words],
    need: Tensor,
    first: int,
    width: int,
    bits: int,
    all_reduce_sum: AllReduce,
) -> tuple[Tensor, Tensor]:
    """(the ``need``-th largest word of each row, how many words equal to it are still needed).

    Args:
        need: (rows,) int64, the rows of all parts one after another.
        first: the least word, in units of its leading digit.
        width: the bits of a word.
    """
    base = torch.full_like(need, first)
    counts = [part.rows for part in words]
    for shift in range(width - bits, -1, -bits):
        starts = base.split(counts)
        counts_here = [w.count(b, shift, bits) for w, b in zip(words, starts, strict=True)]
        at_least = all_reduce_sum(torch.cat(counts_here)).flip(-1).cumsum(-1).flip(-1)
        digit = (at_least >= need[:, None]).sum(-1)
        above = torch.nn.functional.pad(at_least, (0, 1)).gather(-1, digit[:, None])
        need = need - above[:, 0]
        base = base + digit
        if shift:
            base = base << bits
    return base, need


class _Words:
    """The integers whose next digit is counted.

    Args:
        values: (n, m).
        alive: (n, m) bool, which words take part; all if ``None``.
    """

    def __init__(self, values: Tensor, alive: Tensor | None = None) -> None:
        self.rows = values.shape[0]
        self.values, self.alive = values, alive
        self.row = torch.arange(self.rows, device=values.device)[:, None]

    def count(self, base: Tensor, shift: int, bits: int) -> Tensor:
        """The histogram of a digit: how many words have digit c = 1, 2, …; int64, (n, 2^bits - 1).

        Args:
            base: (n,), a word with the digits found so far and digit 0, without its last ``shift``
                bits. Words with other leading digits are not counted.
        """
        size = 1 << bits
        # A difference that overflows the dtype becomes negative, and so is not counted.
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
        """Drop the words whose leading digits differ from those found."""
        self.row = self.row.expand_as(inside)[inside] if self.row.ndim > 1 else self.row[inside]
        self.values, self.alive = self.values[inside], None
