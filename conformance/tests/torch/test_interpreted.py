"""The Triton kernels on the CPU, by Triton's interpreter; skipped where Triton is not installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@pytest.mark.parametrize("check", ["steps", "groups", "repeats", "corrections"])
def test_interpreted(check):
    """R7, N1 to N6: see :mod:`interpreted`, whose checks these are."""
    folder = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", os.path.join(folder, "interpreted.py"), check],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
