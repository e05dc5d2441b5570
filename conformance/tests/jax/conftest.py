"""What all JAX tests need: skipped without JAX, on the CPU."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
pytest.importorskip("jax", reason="mgup_jax needs JAX")
pytest.importorskip("optax", reason="mgup_jax needs optax")
