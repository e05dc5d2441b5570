"""Copies of a model that MKOR watches, and files of one.

No clause: the contracts of ``copy``, ``pickle`` and ``torch.save``.
"""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

from mgup_torch import MKOR

from .mkor_model import backward, batch, model


def test_a_copy_of_the_model_has_no_part():
    """Issue 15, 7: an average of the weights that is called writes into nobody's statistics."""
    net, twin = model(), model()
    mkor, other = MKOR(net, inv_freq=1), MKOR(twin, inv_freq=1)
    average = copy.deepcopy(net)
    for step in range(4):
        for n, m in ((net, mkor), (twin, other)):
            backward(n, step)
            if n is net:
                ((average(batch(step + 50)[0])) ** 2).mean().backward()
            m.precondition()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


@pytest.mark.parametrize("carrier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_both_can_be_copied_together(carrier):
    """The copy watches its own model, and goes on with the same bits."""
    net = model()
    mkor = MKOR(net, inv_freq=1)
    for step in range(3):
        backward(net, step)
        mkor.precondition()
    again, resumed = carrier((net, mkor))
    for step in range(3, 6):
        for n, m in ((net, mkor), (again, resumed)):
            backward(n, step)
            m.precondition()
        for p, q in zip(net.parameters(), again.parameters(), strict=True):
            assert torch.equal(p.grad, q.grad)


def test_a_model_can_be_saved_whole():
    """Issue 15, 7: torch.save of a module that MKOR watches."""
    net = model()
    MKOR(net)
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    x, _ = batch(0)
    assert torch.equal(loaded(x), net(x))
