"""Sharded parameters on eight virtual devices: the global mask, and only counts travel (P4)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a few processes, since each takes seconds to start.
CHECKS = [
    "rank",
    pytest.param("bfloat16 adaptive explicit wrapped uneven", marks=pytest.mark.slow),
    pytest.param("shard_map bad_input muon", marks=pytest.mark.slow),
    pytest.param("sums", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("checks", CHECKS)
def test_placed(checks):
    """Issue 6: NumPy's bits and the shardings that came, with no array of a parameter's size sent.

    For meshes with automatic and explicit axes, and inside a user's ``shard_map``.
    """
    given = os.environ.get("XLA_FLAGS", "")  # a processor (conformance/processors.py)
    flags = {
        "XLA_FLAGS": f"{given} --xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("placed.py"), *checks.split()],
        capture_output=True,
        text=True,
        env={**os.environ, **flags},
    )
    assert done.stdout.split() == checks.split(), done.stderr[-3000:]
