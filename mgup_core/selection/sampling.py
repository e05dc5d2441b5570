"""The sample of a slice's scores from which its threshold is guessed.

The guess decides how many passes the exact selection takes, and never its result.
"""

from __future__ import annotations


def sample_stride(total: int, *, one_in: int, fewest: int, most: int) -> int:
    """The stride of the sample: one score in ``one_in``, but from ``fewest`` to ``most`` scores.

    The stride is odd, so that the sample does not stay in one column of a matrix.

    >>> sample_stride(1 << 20, one_in=1 << 10, fewest=64, most=1 << 13)
    1025
    """
    wanted = min(max(total // one_in, fewest), most)
    return -(-total // wanted) | 1
