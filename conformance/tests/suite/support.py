"""Helpers of the suite's own tests."""

from __future__ import annotations

import functools
import warnings
from contextlib import contextmanager

from mgup_conformance.backends import load as load_backend

load = functools.lru_cache(load_backend)


@contextmanager
def quiet():
    """torch.compile warns of what it ignores."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch")
        yield
