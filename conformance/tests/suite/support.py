"""Helpers of the suite's own tests."""

from __future__ import annotations

import functools
import warnings
from contextlib import contextmanager

from mgup_conformance.backends import load as load_backend

load = functools.lru_cache(load_backend)


@functools.cache
def installed(name):
    """Whether the framework of a shipped backend is here."""
    try:
        load(name)
    except ImportError:
        return False
    return True


@contextmanager
def quiet():
    """Compilers warn of what they ignore."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch")
        yield
