"""What all PyTorch tests need: skipped without PyTorch, few threads, a clean generator."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="mgup_torch needs PyTorch")


@pytest.fixture(autouse=True)
def _reproducible():
    torch.manual_seed(0)
