"""Helpers of the suite's own tests."""

from __future__ import annotations

import functools
import warnings
from contextlib import contextmanager

from mgup_conformance.backends import load as load_backend

load = functools.lru_cache(load_backend)


@contextmanager
def quiet():
    """torch_compiled warns of what it ignores, and mgup_torch of parameters with K = 0 (P3)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*none is selected")
        warnings.filterwarnings("ignore", module="torch")
        yield
