"""Every way in which MindSpore trains, with one result (R4, R5, R7)."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_mindspore import MGUPSGD, MGUPAdamW, MGUPMuon

from .support import Beside, arrays, parameters, tensors, to_numpy

RNG = np.random.default_rng(3)
X, Y = (RNG.standard_normal((16, n)).astype(np.float32) for n in (6, 3))


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        first, second = (rng.standard_normal(s).astype(np.float32) for s in ((8, 6), (3, 8)))
        self.fc1 = nn.Dense(6, 8, weight_init=Tensor(first), bias_init="zeros")
        self.fc2 = nn.Dense(8, 3, weight_init=Tensor(second), bias_init="zeros")

    def construct(self, x):
        return self.fc2(ops.relu(self.fc1(x)))


class Loss(nn.Cell):
    def __init__(self, net):
        super().__init__()
        self.net, self.measure = net, nn.MSELoss()

    def construct(self, x, y):
        return self.measure(self.net(x), y)


def make(net, cls=MGUPAdamW, **kwargs):
    return cls(net.trainable_params(), **{"learning_rate": 1e-2, "weight_decay": 0.1, **kwargs})


def weights(net) -> list[np.ndarray]:
    return [to_numpy(p) for p in net.trainable_params()]


def by_hand(steps=4, **kwargs) -> list[np.ndarray]:
    """A value_and_grad loop in PyNative: what the other ways must give."""
    net = Net()
    optimizer, loss = make(net, **kwargs), Loss(net)
    gradient = ms.value_and_grad(loss, None, optimizer.parameters)
    for _ in range(steps):
        _, grads = gradient(Tensor(X), Tensor(Y))
        optimizer(grads)
    return weights(net)


def check(expected, net) -> None:
    for i, (w, actual) in enumerate(zip(expected, weights(net), strict=True)):
        check_identical("parameter", w, actual, parameter=i)


def test_whole_step_under_jit():
    """Constants of a user's own graph may not be folded into other bits."""
    net = Net()
    optimizer, loss = make(net), Loss(net)
    gradient = ms.value_and_grad(loss, None, optimizer.parameters)

    @ms.jit
    def step(x, y):
        value, grads = gradient(x, y)
        optimizer(grads)
        return value

    for _ in range(4):
        step(Tensor(X), Tensor(Y))
    check(by_hand(), net)


def test_train_one_step_cell():
    net = Net()
    cell = nn.TrainOneStepCell(Loss(net), make(net))
    for _ in range(4):
        cell(Tensor(X), Tensor(Y))
    check(by_hand(), net)


def test_train_one_step_cell_in_graph_mode(graph_mode):
    net = Net()
    cell = nn.TrainOneStepCell(Loss(net), make(net, MGUPSGD))
    for _ in range(4):
        cell(Tensor(X), Tensor(Y))
    ms.set_context(mode=ms.PYNATIVE_MODE)
    check(by_hand(cls=MGUPSGD), net)


@pytest.mark.parametrize("mode", [ms.PYNATIVE_MODE, ms.GRAPH_MODE], ids=["pynative", "graph"])
def test_model(mode):
    from mindspore.dataset import NumpySlicesDataset

    ms.set_context(mode=mode)
    try:
        net = Net()
        model = ms.train.Model(net, nn.MSELoss(), make(net, MGUPSGD))
        data = NumpySlicesDataset({"x": X, "y": Y}, shuffle=False).batch(16)
        model.train(4, data, dataset_sink_mode=False)
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
    check(by_hand(cls=MGUPSGD), net)


def test_loss_scale():
    """The gradients arrive scaled; decay and result are as without."""
    net = Net()
    optimizer, loss = make(net, loss_scale=1024.0), Loss(net)
    gradient = ms.value_and_grad(lambda x, y: loss(x, y) * 1024.0, None, optimizer.parameters)
    for _ in range(4):
        _, grads = gradient(Tensor(X), Tensor(Y))
        optimizer(grads)
    check(by_hand(), net)
    assert float(optimizer.get_weight_decay().asnumpy()) == np.float32(0.1)


@pytest.mark.parametrize("compiled", [False, True], ids=["pynative", "graph"])
def test_groups(compiled):
    """Each parameter by its own group's settings, in the order asked for."""
    values = arrays(((4, 5), (7,), (3, 3), (6,)))
    a, b, c, d = params = parameters(values)
    made = MGUPAdamW(
        [
            {"params": [c], "lr": 3e-3, "tau": 0.29, "alpha": 1.3, "gamma": 0.7},
            {"params": [a], "weight_decay": 0.0, "mode": "sign"},
            {"params": [b, d], "lr": 1e-3, "mode": "off", "beta1": 0.8},
            {"order_params": params},
        ],
        1e-2,
        weight_decay=0.1,
    )
    assert [p.name for p in made.parameters] == [p.name for p in params]
    take = ms.jit(made.construct) if compiled else made
    rules = [core.AdamW(), core.AdamW(0.8), core.AdamW(), core.AdamW(0.8)]
    policies = [core.SignMGUP(), None, core.MGUP(0.29, 1.3, 0.7), None]
    rates = zip((1e-2, 1e-3, 3e-3, 1e-3), (0.0, 0.1, 0.1, 0.1), strict=True)
    alone = [
        core.Optimizer(rule, policy, lr=lr, weight_decay=decay)
        for rule, policy, (lr, decay) in zip(rules, policies, rates, strict=True)
    ]
    states = [one.init([w]) for one, w in zip(alone, values, strict=True)]
    for step in range(3):
        grads = arrays([w.shape for w in values], seed=step)
        take(tensors(grads))
        for i, one in enumerate(alone):
            (values[i],), states[i] = one.step([values[i]], [grads[i]], states[i])
            check_identical("parameter", values[i], to_numpy(params[i]), step=step, parameter=i)
    assert [float(lr.asnumpy()) for lr in made.get_lr()] == [
        np.float32(lr) for lr in (1e-2, 1e-3, 3e-3, 1e-3)
    ]


@pytest.mark.parametrize("compiled", [False, True], ids=["pynative", "graph"])
def test_dynamic_rates(compiled):
    """A list, a schedule, and beside them a constant that must not lose digits."""
    a, b, c = params = parameters(arrays(((4, 5), (7,), (6,))))
    rates = [1e-2, 3e-3, 2e-3]

    class Falling(nn.learning_rate_schedule.LearningRateSchedule):
        def construct(self, global_step):
            return ops.cast(4 - global_step, ms.float32) * 0.125

    made = MGUPSGD(
        [{"params": [a], "lr": rates}, {"params": [b], "lr": Falling()}, {"params": [c]}],
        1e-3,
        weight_decay=0.0,
    )
    take = ms.jit(made.construct) if compiled else made
    each = [core.Optimizer(core.SGD(), core.MGUP(), weight_decay=0.0) for _ in params]
    values = [to_numpy(p) for p in params]
    states = [one.init([w]) for one, w in zip(each, values, strict=True)]
    for step in range(3):
        grads = arrays([w.shape for w in values], seed=step)
        take(tensors(grads))
        for i, lr in enumerate((rates[step], (4 - step) * 0.125, 1e-3)):
            (values[i],), states[i] = each[i].step([values[i]], [grads[i]], states[i], lr=lr)
            check_identical("parameter", values[i], to_numpy(params[i]), step=step, parameter=i)


def test_learning_rate_set_between_steps():
    run = Beside(
        MGUPAdamW(parameters(arrays()), 1e-2, weight_decay=0.1),
        core.AdamW(), core.MGUP(), lr=1e-2, weight_decay=0.1,
    ).compiled()  # fmt: skip
    run.step()
    ops.assign(run.optimizer.learning_rate, Tensor(3e-3, ms.float32))
    run.step(lr=3e-3)


@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPMuon])
def test_checkpoint_to_disk_and_back(cls, tmp_path):
    """The next steps are those of a run that was not interrupted."""

    def fresh():
        values = arrays(((4, 5), (6,)))
        optimizer = cls(parameters(values, ["fc.weight", "fc.bias"]), 1e-2)
        return optimizer, [arrays([w.shape for w in values], seed=i) for i in range(5)]

    whole, feed = fresh()
    for grads in feed:
        whole(tensors(grads))
    first, _ = fresh()
    for grads in feed[:3]:
        first(tensors(grads))
    path = str(tmp_path / "optimizer.ckpt")
    ms.save_checkpoint(first, path)
    second, _ = fresh()
    saved = ms.load_checkpoint(path)
    assert not [name for name in saved if "constant" in name]
    ms.load_param_into_net(second, saved)
    for grads in feed[3:]:
        second(tensors(grads))
    for p, q in zip(whole.get_parameters(), second.get_parameters(), strict=True):
        check_identical(p.name, to_numpy(p), to_numpy(q))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_low_precision_with_float32_state(dtype):
    """R5: computed in float32, rounded once; the moments in float32."""
    made = MGUPAdamW(
        parameters(arrays(dtype=dtype)), 1e-2, weight_decay=0.1, state_dtype=ms.float32
    )
    assert {p.dtype for p in made.exp_avg} == {ms.float32}
    Beside(made, core.AdamW(), core.MGUP(), lr=1e-2, weight_decay=0.1, state_dtype="float32").run(5)


def test_muon_sends_each_parameter_by_shape_and_name():
    names = ["blocks.0.weight", "blocks.0.bias", "lm_head.weight", "embed.embedding_table"]
    values = arrays(((4, 5), (4,), (6, 4), (9, 4)))
    params = [Parameter(Tensor(w), name=n) for n, w in zip(names, values, strict=True)]
    made = MGUPMuon(params, 1e-2, adamw_learning_rate=3e-3)
    assert [p.name for p in made.parameters] == names
    assert [p.name for p in made.momentum_buffer] == ["momentum_buffer.blocks.0.weight"]
    assert [p.name for p in made.exp_avg] == [f"exp_avg.{n}" for n in names[1:]]
    assert [float(x.asnumpy()) for x in made.get_lr()] == [np.float32(1e-2)] + 3 * [
        np.float32(3e-3)
    ]
    everything = MGUPMuon([{"params": params[2:], "use_muon": True}])
    assert len(everything.momentum_buffer) == 2
