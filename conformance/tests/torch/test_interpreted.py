"""The Triton kernels on the CPU, by Triton's interpreter; skipped where Triton is not installed.

It checks R7, N1 to N6.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


def check(name: str, *, interpreted: bool) -> None:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", here / "interpreted.py", name],
        env={**os.environ, "PYTHONPATH": path, "TRITON_INTERPRET": "01"[interpreted]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    "name", ["steps", "masks", "groups", "one_pass", "repeats", "corrections", "operations"]
)
def test_interpreted(name):
    """R7, N1 to N6: see ``interpreted.py``, whose checks these are."""
    check(name, interpreted=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("name", ["corrections", "operations"])
def test_compiled(name):
    """The same on a GPU."""
    check(name, interpreted=False)
