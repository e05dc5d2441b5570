"""CUDA parameters where no kernel can run: the reference step, and one warning that says why (N1).

The tensors are fakes, for which no GPU is needed; so is the reference step, whose bits on a GPU
test_cuda compares.
"""

from __future__ import annotations

import sys
import warnings

import pytest
import torch
from torch._subclasses import FakeTensorMode

from mgup_torch import MGUPLion
from mgup_torch.executors import whole
from mgup_torch.executors.cuda import _warn_unavailable
from mgup_torch.kernels import unavailable

REASONS = {
    "too old": "GTX 1080 is older than compute capability 7.0",
    "no Triton": "Triton cannot be imported",
    "no NVIDIA GPU": "on NVIDIA GPUs only",
}


@pytest.fixture(params=REASONS)
def reason(request, monkeypatch):
    """What is wrong with the device, as the messages say it; nobody has asked or been told yet."""
    old, foreign = (request.param == kind for kind in ("too old", "no NVIDIA GPU"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1) if old else (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GTX 1080")
    monkeypatch.setattr(torch.version, "hip", "6.4" if foreign else None)
    monkeypatch.setitem(sys.modules, "triton", None)  # so that an import of it fails
    known = unavailable, _warn_unavailable
    for function in known:
        function.cache_clear()
    yield REASONS[request.param]
    for function in known:
        function.cache_clear()


@pytest.fixture
def taken(monkeypatch):
    """The names of parameters that have taken the reference step."""
    names = []
    monkeypatch.setattr(whole, "move_whole", lambda task, *_: names.append(task.name))
    return names


def lion(**options):
    """Over two parameters with gradients."""
    params = [torch.ones(4, 3, device="cuda").requires_grad_() for _ in range(2)]
    for p in params:
        p.grad = torch.ones_like(p)
    return MGUPLion([("a", params[0]), ("b", params[1])], **options)


def test_one_warning_says_why(reason, taken):
    with FakeTensorMode(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for optimizer in (lion(), lion()):
            optimizer.step()
            optimizer.step()
    assert taken == ["'a'", "'b'"] * 4
    assert [w.filename for w in caught] == [__file__]
    assert reason in str(caught[0].message)


def test_none_where_the_reference_was_asked_for(reason, taken):
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        lion(implementation="reference").step()
    assert taken == ["'a'", "'b'"]


def test_an_error_where_the_kernels_were(reason, taken):
    with FakeTensorMode(), pytest.raises(ValueError, match=f"implementation='fused'.*{reason}"):
        lion(implementation="fused").step()
    assert not taken
