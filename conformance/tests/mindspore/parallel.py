"""One process of a data-parallel run, started by msrun: `parallel.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops
from mindspore.communication import get_group_size, get_rank, init

import mgup_core as core
from mgup_conformance.backends.mindspore import to_numpy
from mgup_conformance.compare import check_identical
from mgup_mindspore import MGUPAdamW, MGUPProdigy, MGUPScheduleFreeAdamW

STEPS = 4
RATES = [0.05, 0.03, 0.02, 0.01]


def network() -> nn.Cell:
    """The same weights in every process."""
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> Tensor:
        return Tensor(rng.standard_normal(shape).astype(np.float32) / 4)

    return nn.SequentialCell(
        nn.Dense(16, 33, weight_init=weight(33, 16), bias_init="zeros", activation="tanh"),
        nn.Dense(33, 3, weight_init=weight(3, 33), bias_init="zeros"),
    )


def batches(rank: int) -> Any:
    """Other data in every process."""
    rng = np.random.default_rng(100 + rank)
    for _ in range(STEPS):
        yield tuple(Tensor(rng.standard_normal((8, n)).astype(np.float32)) for n in (16, 3))


def loop(
    rank: int, size: int, make: Any = MGUPAdamW, rule: core.Rule | None = None
) -> list[np.ndarray]:
    """A loop of the user's own, beside the NumPy reference on the reduced gradients.

    The learning rate falls from step to step.
    """
    net, loss = network(), nn.MSELoss()
    optimizer = make(net.trainable_params(), RATES, weight_decay=0.1)
    reference = core.Optimizer(rule or core.AdamW(), core.MGUP(), lr=RATES[0], weight_decay=0.1)
    expected = [to_numpy(p) for p in optimizer.parameters]
    state = reference.init(expected)

    def forward(x: Tensor, y: Tensor) -> Tensor:
        return loss(net(x), y)

    grad = ms.value_and_grad(forward, None, optimizer.parameters)
    reduce = ops.AllReduce(ops.ReduceOp.SUM)
    for lr, (x, y) in zip(RATES, batches(rank), strict=True):
        _, gradients = grad(x, y)
        gradients = tuple(reduce(g) / size for g in gradients)
        optimizer(gradients)
        numbers = [to_numpy(g) for g in gradients]
        expected, state = reference.step(expected, numbers, state, lr=lr)
    trained = [to_numpy(p) for p in optimizer.parameters]
    for i, (w, p) in enumerate(zip(expected, trained, strict=True)):
        check_identical("parameter", w, p, parameter=i)
    return trained


def cell(rank: int, size: int) -> list[np.ndarray]:
    """TrainOneStepCell, which reduces the gradients itself."""
    ms.set_auto_parallel_context(
        parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=size
    )
    net = network()
    optimizer = MGUPAdamW(net.trainable_params(), 1e-2, weight_decay=0.1)
    train = nn.TrainOneStepCell(nn.WithLossCell(net, nn.MSELoss()), optimizer)
    for x, y in batches(rank):
        train(x, y)
    return [to_numpy(p) for p in optimizer.parameters]


def main() -> None:
    init()
    rank, size = get_rank(), get_group_size()
    found = {"loop": loop(rank, size)}
    found["sums over all parameters"] = loop(rank, size, MGUPProdigy, core.Prodigy())
    found["two points"] = loop(rank, size, MGUPScheduleFreeAdamW, core.ScheduleFreeAdamW())
    ms.set_context(mode=ms.GRAPH_MODE)
    found["graph loop"] = loop(rank, size)
    found["cell"] = cell(rank, size)
    arrays = {f"{name} {i}": w for name, ws in found.items() for i, w in enumerate(ws)}
    np.savez(Path(sys.argv[1]) / f"rank{rank}.npz", **arrays)


if __name__ == "__main__":
    main()
