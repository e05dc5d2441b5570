"""Groups of a network, Muon by the types of cells (R4), and mindformers' registry."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
from mindspore import Tensor, nn

from mgup_mindspore import MGUPAdamW, MGUPMuon, list_optimizers


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.a = nn.Embedding(10, 4)
        self.b = nn.Dense(4, 4)
        self.c = nn.LayerNorm((4,))
        self.d = nn.Dense(4, 10)

    def construct(self, x):
        return self.d(self.c(self.b(self.a(x))))


def decays(optimizer):
    return {
        p.name: float(np.asarray(optimizer.decays[i](optimizer.global_step).asnumpy()).reshape(()))
        for i, p in enumerate(optimizer.parameters)
    }


def test_decay_on_matrices_only():
    network = Network()
    optimizer = MGUPAdamW.from_model(network, learning_rate=1e-2, weight_decay=0.5)
    assert [p.name for p in optimizer.parameters] == [p.name for p in network.trainable_params()]
    expected = {p.name: 0.5 * (p.ndim > 1) for p in network.trainable_params()}
    assert decays(optimizer) == expected
    none = MGUPAdamW.from_model(network, weight_decay=0.5, no_decay="a")
    assert decays(none)["a.embedding_table"] == 0.0


def test_cells_before_words():
    network = Network()
    optimizer = MGUPMuon.from_model(network, weight_decay=0.5, adamw_weight_decay=0.25)
    assert decays(optimizer)["b.weight"] == 0.5
    assert decays(optimizer)["a.embedding_table"] == decays(optimizer)["d.weight"] == 0.25
    assert decays(optimizer)["b.bias"] == 0.0
    grads = tuple(Tensor(np.ones(p.shape, np.float32)) for p in optimizer.parameters)
    optimizer(grads)


def test_what_is_no_network():
    with pytest.raises(TypeError, match=r"not a mindspore.nn.Cell"):
        MGUPAdamW.from_model(Network().trainable_params())


def test_mindformers(monkeypatch):
    """Its registry, as mindformers 2.1 has it: ``register`` decorates a class by its kind."""
    known = {}

    class MindFormerRegister:
        @staticmethod
        def register(kind):
            return lambda cls: known.setdefault((kind, cls.__name__), cls)

    module = types.ModuleType("mindformers.tools.register")
    module.MindFormerRegister = MindFormerRegister
    module.MindFormerModuleType = types.SimpleNamespace(OPTIMIZER="optimizer")
    for name in ("mindformers", "mindformers.tools"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "mindformers.tools.register", module)
    from mgup_mindspore.integrations.mindformers import register

    assert register() == list_optimizers()
    assert known["optimizer", "MGUPAdamW"] is MGUPAdamW
