"""What all PyTorch tests need: skipped without PyTorch, few threads, a clean generator."""

from __future__ import annotations

import pytest

collect_ignore = ["interpreted.py"]  # a program of its own, which imports Triton

torch = pytest.importorskip("torch", reason="mgup_torch needs PyTorch")


@pytest.fixture(autouse=True)
def _reproducible():
    torch.manual_seed(0)
