"""Checks on eight virtual devices, each in a process of its own: see test_sharding.py."""

from __future__ import annotations

import math
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_jax import (
    mgup,
    mgup_adafactor,
    mgup_adamw,
    mgup_lion,
    mgup_muon,
    mgup_prodigy,
    mgup_schedulefreeadamw,
    mgup_schedulefreeradam,
    mgup_sgd,
    transformation,
)
from mgup_jax.mesh_axes import SAMPLE

PLACED: dict[str, tuple[tuple[int, ...], P, int]] = {
    "rows": ((1024, 96), P("x"), 0),
    "columns": ((96, 1024), P(None, "x"), 0),
    "both": ((256, 512), P("y", "x"), 0),
    "one axis over two": ((64, 512), P(None, ("x", "y")), 0),
    "vector": ((32768,), P("y"), 0),
    "replicated": ((301, 300), P(), 0),
    "third axis": ((5, 7, 32, 64), P(None, None, "y", "x"), 0),
    "stack": ((8, 64, 192), P("x", None, "y"), 1),
    "small": ((16, 6), P("x"), 0),
    "small columns": ((6, 16), P(None, "y"), 0),
    "small vector": ((32,), P(("x", "y")), 0),
}
"""Name -> shape, partition, stacked axes."""
LR = 1e-2
STEPS = 2


class Case:
    """Some of the parameters on a mesh, and the gradients of two steps: ties and zeros abound."""

    def __init__(self, *names: str, dtype: Any = np.float32, axes: str = "Auto") -> None:
        self.shapes = {name: PLACED[name][0] for name in names}
        self.specs = {name: PLACED[name][1] for name in self.shapes}
        self.stacks = {name: PLACED[name][2] for name in self.shapes}
        self.dtype = dtype
        self.mesh = jax.make_mesh((4, 2), ("x", "y"), axis_types=(getattr(AxisType, axes),) * 2)

    def numbers(self, seed: int) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        tree = {name: rng.integers(-9, 9, shape) / 4 for name, shape in self.shapes.items()}
        if "rows" in tree:
            tree["rows"] = rng.standard_normal(self.shapes["rows"])
        return {name: x.astype(self.dtype) for name, x in tree.items()}

    def put(self, tree: dict[str, Any]) -> dict[str, Any]:
        where = {name: NamedSharding(self.mesh, spec) for name, spec in self.specs.items()}
        return {name: jax.device_put(x, where[name]) for name, x in tree.items()}

    def reference(self, rule: core.Rule, policy: Any) -> dict[str, Any]:
        """The parameters that NumPy gets to."""
        optimizer = core.Optimizer(rule, policy, lr=LR, weight_decay=0.1, stacked_dims=self.stacks)
        params = self.numbers(0)
        state = optimizer.init(params)
        for i in range(STEPS):
            params, state = optimizer.step(params, self.numbers(1 + i), state)
        return params

    def train(self, optimizer: Any, step: Any = None) -> tuple[Any, Any]:
        """(parameters, state) of a compiled step, everything sharded, and donated where it can be.

        What comes out lies as what went in, and no array of a parameter's size has travelled.
        """
        step = jax.jit(step or step_of(optimizer), donate_argnums=(0, 1))
        params = self.put(self.numbers(0))
        state = optimizer.init(params)
        compiled = step.lower(params, state, self.put(self.numbers(1))).compile()
        for i in range(STEPS):
            before = jax.tree.leaves((params, state))
            params, state = compiled(params, state, self.put(self.numbers(1 + i)))
            assert all(x.is_deleted() for x in before)
        for tree in (params, *getattr(state, "moments", {}).values()):
            for name, x in tree.items():
                expected = NamedSharding(self.mesh, self.specs[name])
                assert x.sharding.is_equivalent_to(expected, x.ndim), (name, x.sharding)
        sizes = collectives(compiled)
        assert sizes, "nothing was sharded"
        assert max(size for _, size in sizes) <= SAMPLE < min(map(math.prod, self.shapes.values()))
        return params, state

    def check(self, expected: dict[str, Any], params: dict[str, Any]) -> None:
        for name, w in params.items():
            check_identical(name, np.asarray(expected[name]), np.asarray(w))

    def mapped(self, optimizer: Any, specs: Any = None, **options: Any) -> Any:
        """A step within a user's own shard_map."""
        specs = specs or self.specs
        state = jax.eval_shape(optimizer.init, self.numbers(0))
        kept = state._replace(count=P(), moments=dict.fromkeys(state.moments, specs))
        return jax.shard_map(
            step_of(optimizer),
            mesh=self.mesh,
            in_specs=(specs, kept, specs),
            out_specs=(specs, kept),
            **options,
        )

    def refused(self, message: str, optimizer: Any, specs: Any = None, **options: Any) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            self.traced(optimizer, specs, **options)

    def traced(self, optimizer: Any, specs: Any = None, **options: Any) -> None:
        step, params = self.mapped(optimizer, specs, **options), self.numbers(0)
        jax.eval_shape(step, params, optimizer.init(params), params)


def step_of(optimizer: optax.GradientTransformation) -> Any:
    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


def collectives(compiled: Any) -> list[tuple[str, int]]:
    """(operation, elements of its largest array) of each collective of a compiled program."""
    found = []
    pattern = r"= (.*?) (all-\w+|collective-\w+|reduce-scatter|ragged-\S+?)(?:-start)?\("
    for result, name in re.findall(pattern, compiled.as_text()):
        arrays = re.findall(r"\w+\[([\d,]*)\]", result)
        found.append((name, max(math.prod(map(int, filter(None, a.split(",")))) for a in arrays)))
    return found


# -- the checks -----------------------------------------------------------------------------------


def rank() -> None:
    case = Case("columns", "both", "vector", "replicated", "third axis", "stack")
    optimizer = mgup_adamw(LR, stacked_dims=case.stacks, weight_decay=0.1)
    case.check(case.reference(core.AdamW(), core.MGUP()), case.train(optimizer)[0])


def sums() -> None:
    """Schedules, row sums, norms, and sums over all parameters; XLA brings together what it must.

    The parameters stay where they lie, and have NumPy's bits.
    """
    case = Case("small", "small columns", "small vector")
    rates = [0.05, 0.02, 0.01]

    def schedule(count: Any) -> Any:
        return jnp.asarray(rates, jnp.float32)[count]

    for rule, make in (
        (core.Prodigy(), mgup_prodigy(schedule, weight_decay=0.1)),
        (core.Adafactor(momentum=0.9), mgup_adafactor(schedule, momentum=0.9, weight_decay=0.1)),
        (core.ScheduleFreeAdamW(warmup_steps=2),
         mgup_schedulefreeadamw(schedule, warmup_steps=2, weight_decay=0.1)),
        (core.ScheduleFreeRAdam(b2=0.9),
         mgup_schedulefreeradam(schedule, b2=0.9, weight_decay=0.1)),
    ):  # fmt: skip
        reference = core.Optimizer(rule, core.MGUP(), weight_decay=0.1)
        expected = case.numbers(0)
        kept, step = reference.init(expected), jax.jit(step_of(make))
        params = case.put(expected)
        state = jax.jit(make.init)(params)
        for i, lr in enumerate(rates):
            expected, kept = reference.step(expected, case.numbers(1 + i), kept, lr=lr)
            params, state = step(params, state, case.put(case.numbers(1 + i)))
        case.check(expected, params)
        for name, x in params.items():
            where = NamedSharding(case.mesh, case.specs[name])
            assert x.sharding.is_equivalent_to(where, x.ndim), (rule, name, x.sharding)


def bfloat16() -> None:
    case = Case("columns", "stack", dtype=jnp.bfloat16)
    options = {"stacked_dims": case.stacks, "update_dtype": "compute"}
    optimizer = mgup_sgd(LR, tau=0.3, weight_decay=0.1, **options)
    case.check(case.reference(core.SGD(), core.MGUP(tau=0.3)), case.train(optimizer)[0])


def adaptive() -> None:
    case = Case("columns", "stack")
    optimizer = mgup_lion(LR, mode="adaptive", stacked_dims=case.stacks, weight_decay=0.1)
    case.check(case.reference(core.Lion(), core.AdaptiveSignMGUP()), case.train(optimizer)[0])


def explicit() -> None:
    case = Case("both", axes="Explicit")
    optimizer = mgup_adamw(LR, weight_decay=0.1)
    case.check(case.reference(core.AdamW(), core.MGUP()), case.train(optimizer)[0])


def wrapped() -> None:
    case = Case("columns")
    params, _ = case.train(mgup(optax.adam(LR)))
    whole = mgup(optax.adam(LR), selection="callback")
    expected, state = case.numbers(0), whole.init(case.numbers(0))
    for i in range(STEPS):
        expected, state = jax.jit(step_of(whole))(expected, state, case.numbers(1 + i))
    case.check(expected, params)


def uneven() -> None:
    """Inside jit an array may be constrained to a sharding that does not divide it."""
    specs = {"rows": P("x"), "both": P("y", "x")}
    rng = np.random.default_rng(0)
    w, g = ({n: rng.integers(-9, 9, (1023, 37)).astype("f4") for n in specs} for _ in range(2))
    case, optimizer = Case(), mgup_adamw(LR)
    whole = mgup_adamw(LR, selection="callback")

    @jax.jit
    def step(w: Any, g: Any) -> Any:
        cut = {name: NamedSharding(case.mesh, spec) for name, spec in specs.items()}
        w, g = (lax.with_sharding_constraint(x, cut) for x in (w, g))
        return step_of(optimizer)(w, optimizer.init(w), g)[0]

    expected, _ = jax.jit(step_of(whole))(w, whole.init(w), g)
    case.check(expected, step(w, g))


def muon() -> None:
    """The matrix is brought together by XLA, the mask is decided in place."""
    case = Case("both")
    step, optimizer = jax.jit(step_of(mgup_muon(LR))), mgup_muon(LR)
    whole, cut = case.numbers(0), case.put(case.numbers(0))
    expected, _ = step(whole, optimizer.init(whole), whole)
    moved, _ = step(cut, optimizer.init(cut), cut)
    np.testing.assert_allclose(moved["both"], expected["both"], rtol=0, atol=1e-5)
    assert moved["both"].sharding.is_equivalent_to(cut["both"].sharding, 2)


def shard_map() -> None:
    """With param_specs, the global mask inside a user's own shard_map."""
    case = Case("rows", "both", "stack")
    optimizer = mgup_adamw(LR, stacked_dims=case.stacks, param_specs=case.specs, weight_decay=0.1)
    expected = case.reference(core.AdamW(), core.MGUP())
    case.check(expected, case.train(optimizer, case.mapped(optimizer))[0])
    case = Case("one axis over two")
    optimizer = mgup_lion(LR, mode="adaptive", param_specs=case.specs, weight_decay=0.1)
    expected = case.reference(core.Lion(), core.AdaptiveSignMGUP())
    case.check(expected, case.train(optimizer, case.mapped(optimizer, check_vma=False))[0])


def bad_input() -> None:
    """A part that would be ranked by itself is refused; what needs no whole slice is not."""
    case, whole = Case("both", "stack"), {"both": P(), "stack": P()}
    case.refused("['both'] of shape (128, 128) may be one device's part", mgup_adamw(LR))
    case.refused("may be one device's part", mgup_sgd(LR, mode="adaptive"))
    case.refused("pass param_specs", mgup_adamw(LR), whole, check_vma=False)
    case.refused("the axes of the shard_map", mgup_adamw(LR, param_specs=P("z")))
    case.refused("Muon needs whole", transformation(core.Muon)(param_specs=case.specs))
    params, outside = case.numbers(0), mgup_adamw(LR, param_specs=P("x"))
    with pytest.raises(ValueError, match=r"the axes of the shard_map around update are \[\]"):
        outside.update(params, outside.init(params), params)
    case.traced(mgup_adamw(LR), whole)
    case.traced(mgup_adamw(LR, param_specs=P()), whole, check_vma=False)
    case.traced(mgup_adamw(LR, mode="sign"))
    stack = Case("stack")
    stack.traced(mgup_adamw(LR, stacked_dims=1, param_specs=stack.specs))


if __name__ == "__main__":
    for check in sys.argv[1:]:
        globals()[check]()
        print(check)
