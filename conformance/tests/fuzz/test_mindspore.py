"""MindSpore beside the NumPy reference: steps, other numbers, checkpoints (N1, P3, R5, R6, R7)."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import event, given, note

pytest.importorskip("mindspore", reason="mgup_mindspore needs MindSpore")
import mindspore as ms

import mgup_mindspore
from mgup_conformance.backends.mindspore import to_numpy
from mgup_conformance.compare import check_identical
from mgup_mindspore import cells, selection

from . import draws
from .model import Group, Record

pytestmark = [
    pytest.mark.skipif(draws.MANY not in os.environ, reason="takes minutes: make fuzz"),
    pytest.mark.filterwarnings("ignore:.*none is selected"),  # P3: 0-d parameters, tau = 0
]

MADE = {
    kind: getattr(mgup_mindspore, f"MGUP{kind.__name__}", None) or mgup_mindspore.optimizer(kind)
    for kind in draws.ELEMENTWISE
}
ACTIONS = ["step", "step", "numbers", "moved"]
NUMBERS = {
    "alpha": [1.0, 1.5, 2.0], "gamma": [0.25, 0.5, 1.0], "weight_decay": [0.0, 0.01, 0.2],
    "eps": [0.0, 1e-8, 1e-3], "b1": [0.0, 0.5, 0.95], "b2": [0.5, 0.999], "momentum": [0.0, 0.8],
}  # fmt: skip


class Training:
    """An optimizer of one group, and the reference's record of each parameter."""

    def __init__(self, kind: Any, how: str, group: Group) -> None:
        self.kind, self.how, self.group, self.t = kind, how, group, 0
        rule = group.optimizer().rule
        for r in group.records:
            r.arrays = group.fresh(rule, r.w)
        self.make()

    def make(self) -> None:
        given_ = dict(self.group.given)
        own = {f.name: getattr(self.kind(**self.group.own), f.name) for f in fields(self.kind)}
        named = {f"beta{n[1]}" if n in ("b1", "b2", "b3") else n: x for n, x in own.items()}
        self.params = [
            ms.Parameter(ms.Tensor(r.w), name=f"p{i}") for i, r in enumerate(self.group.records)
        ]
        rate = given_.pop("lr")
        self.optimizer = MADE[self.kind](self.params, rate, **given_, **named)
        self.take = self.optimizer
        if self.how == "graph":
            self.take = ms.jit(self.optimizer.construct)

    def step(self, grads: list[np.ndarray]) -> None:
        self.take(tuple(ms.Tensor(g) for g in grads))
        for r in self.group.records:  # one count for all (R6)
            r.steps = self.t
        with np.errstate(all="ignore"):
            self.group.step(grads)
        self.t += 1

    def numbers(self, name: str, value: float) -> None:
        """Another number is taken by both, or refused and changes nothing (R7)."""
        places = self.group.given if name in self.group.given else self.group.own
        word = f"beta{name[1]}" if name in ("b1", "b2") else name
        try:
            self.optimizer.set_hyperparameters(**{word: value})
        except (ValueError, KeyError) as error:
            note(f"refused: {error}")
            return
        places[name] = value

    def moved(self) -> None:
        """Another optimizer, made with the same settings, loads parameters and state."""
        saved = {p.name: ms.Tensor(p.asnumpy()) for p in self.optimizer.get_parameters()
                 if p.size}  # fmt: skip
        dtypes = {p.name: p.dtype for p in self.optimizer.get_parameters()}
        self.make()
        ms.load_param_into_net(
            self.optimizer,
            {n: ms.Parameter(x.astype(dtypes[n]), name=n) for n, x in saved.items()},
        )

    def agree(self) -> None:
        for i, (r, p) in enumerate(zip(self.group.records, self.params, strict=True)):
            check_identical("parameter", r.w, to_numpy(p), step=self.t, parameter=i)
            for name, x in (r.arrays or {}).items():
                found = to_numpy(getattr(self.optimizer, name)[i])
                check_identical(name, x, found, step=self.t, parameter=i)


@draws.budget(4)
@given(st.data())
def test_the_bits_of_the_reference(data):
    kind = data.draw(st.sampled_from(draws.ELEMENTWISE), label="rule")
    given_ = draws.normal(data.draw(draws.shared_values()))
    own = draws.normal(data.draw(draws.own_values(kind)))
    given_["lr"] = min(given_["lr"], 1.0)
    given_["weight_decay"] = min(given_["weight_decay"], 10.0)
    given_["alpha"] = None if given_["alpha"] is None else min(given_["alpha"], 2.0)
    how = data.draw(st.sampled_from(["host", "host", "host", "recorded", "recorded", "graph"]))
    dtype = data.draw(st.sampled_from(["float32", "float32", "float64", "float16"]))
    most = 1 if how == "graph" else 3  # a graph takes a second to compile for each
    shapes = data.draw(st.lists(st.sampled_from(draws.SHAPES), min_size=1, max_size=most))
    given_["stacked_dims"] = data.draw(st.integers(0, min(1, *map(len, shapes), 1)))
    # MindSpore flushes what is subnormal, so float16's own range is left out.
    kinds = [k for k in draws.KINDS if k != "huge" and not (dtype == "float16" and k == "tiny")]
    records = [Record(draws.hard("noise", s, dtype, i)) for i, s in enumerate(shapes)]
    event(f"{kind.__name__}, {how}")
    with pytest.MonkeyPatch.context() as patch:
        if how == "recorded":  # as on an accelerator
            for module in (selection, cells):
                patch.setattr(module, "on_host", lambda: False)
        training = Training(kind, how, Group(kind, given_, own, records))
        for _ in range(5):
            action = data.draw(st.sampled_from(ACTIONS))
            if action == "step":
                training.step([
                    draws.hard(data.draw(st.sampled_from(kinds)), s, dtype,
                               data.draw(st.integers(0, 999)))
                    for s in shapes
                ])  # fmt: skip
            elif action == "numbers":
                mine = {f.name for f in fields(kind)} | {"alpha", "gamma", "weight_decay"}
                name = data.draw(st.sampled_from(sorted(mine & NUMBERS.keys())))
                training.numbers(name, data.draw(st.sampled_from(NUMBERS[name])))
            elif how != "graph":
                training.moved()
            training.agree()
