"""Which scores of a slice make the sample from which its threshold is guessed.

The guess decides how many passes the exact selection takes, never what it finds.
"""

from __future__ import annotations


def sample_stride(total: int, *, one_in: int, fewest: int, most: int) -> int:
    """How far apart the sampled scores are: one in so many of ``total``, within bounds.

    Odd, so that the sample does not walk along one column of a matrix.

    >>> sample_stride(1 << 20, one_in=1 << 10, fewest=64, most=1 << 13)
    1025
    """
    wanted = min(max(total // one_in, fewest), most)
    return -(-total // wanted) | 1
