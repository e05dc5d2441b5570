"""A state machine that trains with PyTorch, and the NumPy reference beside it (N1, R5, R6).

After every action all parameters and states have the reference's bits, or the action was refused
with a documented error and changed nothing. ``make fuzz`` runs many examples, ``make test`` a few.
"""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings
from dataclasses import fields
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import event
from hypothesis.stateful import initialize, precondition, rule

pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
import torch

import mgup_torch
from mgup_core.host import blocks
from mgup_torch.executors import host
from mgup_torch.llvm import codegen

from ..torch.support import array
from . import draws
from .model import Group, Record, core_backend, same_bits
from .refusals import Refusals

NEVER = 1 << 62
PATHS = {
    # (coordinates from which code is compiled, largest stacked, least and largest block)
    "as it is": (codegen.WORTH, host.SMALL, blocks.LEAST_BLOCK, blocks._LARGEST),
    "compiled": (0, 0, 1 << 10, 1 << 10),
    "blocks": (NEVER, 0, 1 << 10, 1 << 10),
    "stacks": (NEVER, 1 << 12, 1 << 10, 1 << 10),
}
KINDS = {kind: mgup_torch.optimizer(kind) for kind in draws.RULES}
TWINS = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}
SEEDS = st.integers(0, 999)


def tensor(x: np.ndarray) -> torch.Tensor:
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.array(x))


def laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    """The same numbers elsewhere in memory."""
    if layout == "transposed" and x.ndim >= 2:
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "strided" and x.ndim:
        return torch.stack([x, x], -1)[..., 0]
    if layout == "shifted":  # not aligned to a processor's vectors
        return torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape)
    if layout == "negative":
        return torch._neg_view(-x)
    return x


LAYOUTS = ["dense", "dense", "transposed", "strided", "shifted", "negative"]


class Training(Refusals):
    """One optimizer, its groups, and a record of each parameter."""

    kinds = draws.RULES

    @initialize(
        data=st.data(), path=st.sampled_from(sorted(PATHS)), threads=st.sampled_from([1, 2])
    )
    def begin(self, data: Any, path: str, threads: int) -> None:
        self.threads = torch.get_num_threads()
        torch.set_num_threads(threads)
        self.set_path(path)
        self.kind = data.draw(st.sampled_from(self.kinds), label="rule")
        self.groups: list[Group] = []
        self.optimizer: Any = None
        self.measure = data.draw(st.booleans())
        self.grow(data)

    @rule(path=st.sampled_from(sorted(PATHS)))
    def set_path(self, path: str) -> None:
        codegen.WORTH, host.SMALL, blocks.LEAST_BLOCK, blocks._LARGEST = PATHS[path]

    def teardown(self) -> None:
        self.set_path("as it is")
        if hasattr(self, "threads"):
            torch.set_num_threads(self.threads)

    # -- groups --------------------------------------------------------------------------------

    def settings(self, data: Any, params: list[Record]) -> tuple[dict[str, Any], dict[str, Any]]:
        given, own = data.draw(draws.shared_values()), data.draw(draws.own_values(self.kind))
        least = min((r.w.ndim for r in params), default=0)
        given["stacked_dims"] = data.draw(st.integers(0, min(least, 2)))
        rule = self.kind(**own)
        if any(rule.accepts(r.w.shape, given["stacked_dims"]) for r in params):
            given["stacked_dims"] = 0
        given["maximize"] = data.draw(st.booleans())
        return given, own

    def words(self, group: Group) -> dict[str, Any]:
        """A group's settings as PyTorch has them."""
        rule = self.kind(**group.own)
        given = {n: x for n, x in group.given.items() if n != "state_dtype"}
        if "state_dtype" in group.given:
            wanted = group.given["state_dtype"]
            given["state_dtype"] = None if wanted is None else getattr(torch, wanted)
        values = {f.name: getattr(rule, f.name) for f in fields(rule)}
        betas = [values.pop(n) for n in list(values) if n in ("b1", "b2", "b3")]
        return {**given, **values, **({"betas": tuple(betas)} if betas else {})}

    @precondition(lambda self: len(self.groups) < 3)
    @rule(data=st.data())
    def grow(self, data: Any) -> None:
        """Add a group; the first makes the optimizer."""
        dtype = data.draw(st.sampled_from(draws.DTYPES))
        shapes = [s for s in draws.SHAPES if self.kind().accepts(s) is None]
        chosen = data.draw(st.lists(st.sampled_from(shapes), min_size=1, max_size=4))
        if data.draw(st.integers(0, 11)) == 0:
            large = [s for s in draws.LARGE if self.kind().accepts(s) is None]
            chosen += (
                large[:1] if not self.kind().elementwise else [data.draw(st.sampled_from(large))]
            )
        if not self.kind().elementwise:
            chosen = [s for s in chosen if math.prod(s) < 5000] or [(6, 10)]
        records = [Record(draws.hard("noise", s, dtype, i)) for i, s in enumerate(chosen)]
        given, own = self.settings(data, records)
        given["state_dtype"] = data.draw(
            st.sampled_from([None, None, "float32", "float64", "bfloat16"])
        )
        group = Group(self.kind, given, own, records)
        if any(self.kind(**own).accepts(r.w.shape, given["stacked_dims"]) for r in records):
            return  # SCALE's last layer, say, has its own shapes
        params = []
        for r in records:
            layout = data.draw(st.sampled_from(LAYOUTS[:-1]))
            params.append(laid_out(tensor(r.w), layout).requires_grad_())
        words = {
            **self.words(group),
            "implementation": data.draw(st.sampled_from(["auto", "auto", "reference"])),
            "capturable": data.draw(st.booleans()),
        }
        event(f"rule {self.kind.__name__}")
        if self.optimizer is None:
            self.optimizer = KINDS[self.kind](params, statistics=self.measure, **words)
        else:
            self.optimizer.add_param_group({"params": params, **words})
        self.groups.append(group)

    @precondition(lambda self: len(self.groups) > 1)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        i = data.draw(st.integers(0, len(self.groups) - 1))
        del self.groups[i]
        gone = self.optimizer.param_groups.pop(i)
        for p in gone["params"]:
            self.optimizer.state.pop(p, None)

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def change(self, data: Any) -> None:
        """Other settings in a group, some as tensors (R7)."""
        i = data.draw(st.integers(0, len(self.groups) - 1))
        group = self.groups[i]
        given, own = self.settings(data, group.records)
        rule = self.kind(**own)
        if any(rule.accepts(r.w.shape, given["stacked_dims"]) for r in group.records):
            return
        before = self.kind(**group.own)
        for r in group.records:  # a field that decides what is kept must not change
            be = core_backend(r.w)
            if rule.init(be, r.w).keys() != before.init(be, r.w).keys():
                return
        given["state_dtype"] = group.given["state_dtype"]
        group.given, group.own = given, own
        words = self.words(group)
        if data.draw(st.booleans()):
            for name in ("lr", "weight_decay", "alpha", "gamma"):
                if words[name] is not None:
                    words[name] = torch.tensor(words[name], dtype=torch.float64)
        self.optimizer.param_groups[i].update(words)

    # -- steps -----------------------------------------------------------------------------------

    def gradient(self, data: Any, r: Record, p: torch.Tensor) -> None:
        kind = data.draw(st.sampled_from([*draws.KINDS, "absent", "own", "zero tensor"]))
        if kind == "absent":
            p.grad = None
            return
        if kind == "own":  # the gradient of x^2/2 may be x itself
            p.grad = p.detach()
            return
        if kind == "zero tensor":
            p.grad = torch._efficientzerotensor(p.shape, dtype=p.dtype)
            return
        g = draws.hard(kind, r.w.shape, r.w.dtype.name, data.draw(SEEDS))
        p.grad = laid_out(tensor(g), data.draw(st.sampled_from(LAYOUTS)))

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def step(self, data: Any) -> None:
        grads = []
        for group, held in zip(self.groups, self.optimizer.param_groups, strict=True):
            for r, p in zip(group.records, held["params"], strict=True):
                self.gradient(data, r, p)
            grads.append([None if p.grad is None else array(p.grad) for p in held["params"]])
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*none is selected")
            self.optimizer.step()
        with np.errstate(all="ignore"):
            for group, mine in zip(self.groups, grads, strict=True):
                group.step(mine)
        event("steps")
        self.agree()

    def agree(self) -> None:
        for n, (group, held) in enumerate(
            zip(self.groups, self.optimizer.param_groups, strict=True)
        ):
            counts = self.kind(**group.own).counts_steps
            for i, (r, p) in enumerate(zip(group.records, held["params"], strict=True)):
                state = dict(self.optimizer.state.get(p) or {})
                if counts and r.arrays is not None:
                    assert int(state.pop("step")) == r.steps, f"{n}.{i}: steps"
                pairs = {"parameter": (r.w, p)}
                assert (r.arrays or {}).keys() == state.keys(), f"{n}.{i}: {sorted(state)}"
                pairs |= {k: (x, state[k]) for k, x in (r.arrays or {}).items()}
                for what, (expected, found) in pairs.items():
                    same_bits(f"{n}.{i} {what}", expected, array(found.resolve_neg()))

    # -- states that go elsewhere ------------------------------------------------------------------

    def blank(self) -> Any:
        """Another optimizer of the same parameters, with other settings."""
        groups = []
        for group, held in zip(self.groups, self.optimizer.param_groups, strict=True):
            own = {
                n: held[n] for n in self.words(group) if n in ("role", "normalize", "beta_scope")
            }
            groups.append({"params": held["params"], **own, "stacked_dims": 0})
        return KINDS[self.kind](groups, lr=7.0, statistics=self.measure)

    @precondition(lambda self: self.groups)
    @rule(kind=st.sampled_from(["saved", "copied", "pickled", "in place"]))
    def move(self, kind: str) -> None:
        self.optimizer.zero_grad()  # torch cannot copy the gradient that autograd left out
        if kind in ("copied", "pickled"):
            pair = (self.optimizer, [g["params"] for g in self.optimizer.param_groups])
            if kind == "copied":
                self.optimizer, _ = copy.deepcopy(pair)
            else:
                self.optimizer, _ = pickle.loads(pickle.dumps(pair))
        elif kind == "in place":
            self.optimizer.load_state_dict(self.optimizer.state_dict())
            self.cast_by_loading()
        else:
            file = io.BytesIO()
            torch.save(self.optimizer.state_dict(), file)
            file.seek(0)
            self.optimizer = self.blank()
            self.optimizer.load_state_dict(torch.load(file, weights_only=True))
            self.cast_by_loading()
        self.agree()

    def cast_by_loading(self) -> None:
        """R5: what is loaded has the parameter's dtype, or the group's, but what is exact."""
        for group in self.groups:
            exact = self.kind(**group.own).exact_state
            for r in group.records:
                wanted = group.given["state_dtype"] or r.w.dtype.name
                for name, x in (r.arrays or {}).items():
                    if name not in exact:
                        with np.errstate(all="ignore"):
                            r.arrays[name] = np.asarray(x.astype(draws.numpy_dtype(wanted)))

    @precondition(lambda self: self.groups and self.kind.__name__ in TWINS)
    @rule()
    def through_the_twin(self) -> None:
        """torch.optim's optimizer loads the state and hands it back."""
        if any(isinstance(held["lr"], torch.Tensor) for held in self.optimizer.param_groups):
            return
        params = [{"params": held["params"]} for held in self.optimizer.param_groups]
        twin = TWINS[self.kind.__name__](params, lr=7.0)
        twin.load_state_dict(self.optimizer.state_dict())
        settings = [dict(g) for g in self.optimizer.param_groups]
        self.optimizer.load_state_dict(twin.state_dict())
        for before, now in zip(settings, self.optimizer.param_groups, strict=True):
            assert {n: before[n] for n in ("lr", "tau", "mode")} == {
                n: now[n] for n in ("lr", "tau", "mode")
            }
        for group in self.groups:  # torch casts what it loads to the parameter's dtype
            for r in group.records:
                for name, x in (r.arrays or {}).items():
                    with np.errstate(all="ignore"):
                        r.arrays[name] = np.asarray(x.astype(r.w.dtype))
        self.cast_by_loading()
        self.agree()

    @precondition(lambda self: self.groups)
    @rule(data=st.data())
    def replace(self, data: Any) -> None:
        """Other values, another dtype, another layout, or another tensor altogether."""
        i = data.draw(st.integers(0, len(self.groups) - 1))
        group, held = self.groups[i], self.optimizer.param_groups[i]
        j = data.draw(st.integers(0, len(group.records) - 1))
        r, p = group.records[j], held["params"][j]
        how = data.draw(st.sampled_from(["values", "dtype", "layout", "tensor", "anew"]))
        if how == "anew":
            self.optimizer.state.pop(p, None)
            r.arrays, r.steps = None, 0
            return
        x = r.w
        if how == "values":
            x = draws.hard("decades", x.shape, x.dtype.name, data.draw(SEEDS))
        if how == "dtype":
            wide = float(group.given["lr"]) <= 1e30
            dtype = data.draw(st.sampled_from(draws.DTYPES if wide else ["float64"]))
            with np.errstate(all="ignore"):
                x = np.asarray(x.astype(draws.numpy_dtype(dtype)))
        new = laid_out(tensor(x), data.draw(st.sampled_from(LAYOUTS[:-1])))
        r.w = x
        if how == "tensor":
            moved = new.clone(memory_format=torch.preserve_format).requires_grad_()
            if p in self.optimizer.state:
                self.optimizer.state[moved] = self.optimizer.state.pop(p)
            held["params"][j] = moved
        else:
            p.grad = None
            p.data = new


class Elementwise(Training):
    """Most rules are elementwise, and they have most paths."""

    kinds = draws.ELEMENTWISE


TestElementwise = Elementwise.TestCase
TestElementwise.settings = draws.budget(15)
TestEveryRule = Training.TestCase
TestEveryRule.settings = draws.budget(8)
