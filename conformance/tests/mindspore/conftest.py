"""What all MindSpore tests need: skipped without MindSpore, nothing written beside the tests."""

from __future__ import annotations

import pytest

pytest.importorskip("mindspore", reason="mgup_mindspore needs MindSpore")

import mgup_mindspore  # noqa: F401  (its warm-up comes before any operation)


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """A failed graph compile writes into the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def graph_mode():
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture
def off_host(monkeypatch):
    """PyNative as on an accelerator: the recorded program, and selection as a graph."""
    from mgup_mindspore import cells, selection

    for module in (selection, cells):
        monkeypatch.setattr(module, "on_host", lambda: False)
