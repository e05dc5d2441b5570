"""What several tests of the suite use."""

from __future__ import annotations

import pathlib
import sys

import pytest

collect_ignore = ["hostile.py", "stranger.py"]  # import a module beside them, as users' do


@pytest.fixture
def toys(monkeypatch):
    """The stranger's module on the path, as an installed package would be."""
    here = str(pathlib.Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    # For other interpreters, too.
    inherited = [p for p in sys.path if p]
    monkeypatch.setenv("PYTHONPATH", ":".join([here, *inherited]))
    yield
    sys.modules.pop("toy_port", None)
