"""What the state machine of PyTorch tries that is refused, with nothing changed."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
import torch

from ..torch.support import frozen
from . import draws
from .model import Group


class Refusals(RuleBasedStateMachine):
    """Bad settings, gradients, checkpoints and groups."""

    optimizer: Any
    groups: list[Group]
    kind: Any

    def refused(self, errors: Any, call: Any) -> None:
        before = frozen(self.optimizer)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*none is selected")
            with pytest.raises(errors) as caught:
                call()
        note(f"refused: {caught.value}")
        assert "failed" not in str(caught.value), "refused in the middle of a step"
        assert frozen(self.optimizer) == before

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def bad_setting(self, data: Any) -> None:
        i = data.draw(st.integers(0, len(self.groups) - 1))
        held = self.optimizer.param_groups[i]
        p = held["params"][0]
        bad = [
            ("tau", -0.1), ("tau", 1.5), ("tau", math.nan), ("alpha", 0.5), ("alpha", math.inf),
            ("gamma", 0.0), ("gamma", 1.5), ("mode", "best"), ("lr", -1.0), ("lr", math.nan),
            ("lr", "fast"), ("weight_decay", -0.1), ("weight_decay", math.inf),
            ("stacked_dims", 9), ("stacked_dims", -1), ("stacked_dims", 0.5),
            ("implementation", "magic"), ("scope", "nowhere"), ("state_dtype", torch.int32),
            ("decay", "some"), ("differentiable", True),
        ]  # fmt: skip
        if "betas" in held:
            bad += [("betas", (1.0,) * len(held["betas"])), ("betas", (0.9,)), ("betas", "0.9")]
        if p.dtype != torch.float64:
            bad += [("lr", 1e39)]
        name, value = data.draw(st.sampled_from(bad))
        mode = held["mode"]
        right = held[name]
        for q in held["params"]:
            q.grad = torch.ones_like(q)
        held[name] = value
        if name in ("tau", "alpha", "gamma"):
            held["mode"] = "rank"
        try:
            self.refused((ValueError, TypeError), self.optimizer.step)
        finally:
            held[name], held["mode"] = right, mode

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def bad_gradient(self, data: Any) -> None:
        held = self.optimizer.param_groups[-1]
        some = [p for p in held["params"] if p.ndim == 2 and p.numel()]
        if not some:
            return
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.ones_like(p)
        some[-1].grad = torch.ones_like(some[-1]).to_sparse()
        self.refused(RuntimeError, self.optimizer.step)

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def bad_checkpoint(self, data: Any) -> None:
        saved = copy.deepcopy(self.optimizer.state_dict())
        states = [(k, n) for k, s in saved["state"].items() for n, x in s.items()]
        kind = data.draw(st.sampled_from(
            ["no groups", "no state", "fewer", "setting", "shape", "missing", "foreign", "int"]
        ))  # fmt: skip
        if kind == "no groups":
            del saved["param_groups"]
        elif kind == "no state":
            del saved["state"]
        elif kind == "fewer":
            saved["param_groups"][-1]["params"].pop()
        elif kind == "setting":
            name, value = data.draw(
                st.sampled_from([("tau", 2.0), ("lr", -1.0), ("gamma", 0.0), ("mode", "best")])
            )
            saved["param_groups"][-1][name] = value
        elif not states:
            return
        else:
            key, name = data.draw(st.sampled_from(states))
            one = saved["state"][key]
            if kind == "shape":
                one[name] = torch.ones(2, 9, 1)
            elif kind == "missing":
                if len(one) == 1:
                    return
                del one[name]
            elif kind == "foreign":
                saved["state"][key] = {"square_avg": torch.ones(3)}
            else:
                one[name] = "a word"
        self.refused(ValueError, lambda: self.optimizer.load_state_dict(saved))

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def bad_group(self, data: Any) -> None:
        name, value = data.draw(st.sampled_from(
            [("tau", 2.0), ("lr", -1.0), ("stacked_dims", 5), ("gama", 0.5), ("mode", "best")]
        ))  # fmt: skip
        shape = next(s for s in draws.SHAPES[8:] if self.kind().accepts(s) is None)
        p = torch.ones(shape, requires_grad=True)
        self.refused(
            (ValueError, TypeError),
            lambda: self.optimizer.add_param_group({"params": [p], name: value}),
        )
