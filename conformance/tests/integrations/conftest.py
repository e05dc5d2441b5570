"""Tests with the frameworks themselves, as ``make integrations`` installs them; skipped elsewhere.

Models are made in place, and nothing is downloaded.
"""

from __future__ import annotations

import os
import sys
import types

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("KERAS_BACKEND", "torch")
if torch.version.cuda is None:
    # PyPI's torchvision is built for CUDA; beside a CPU build of torch it has no operators, and
    # fails where it describes them to torch.compile.
    name = "torchvision._meta_registrations"
    sys.modules.setdefault(name, types.ModuleType(name))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
