"""The fused step of arrays of one kind: its plan, and the custom call that runs it.

A program names its plan by a number, the hash of all that the plan depends on, so that a program
from JAX's persistent cache finds the plan that tracing has made in this process.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mgup_core import Policy, Rule, State
from mgup_core.trace.forms import Forms
from mgup_core.trace.tracer import Program, record
from mgup_kernels import apply, codegen, compiled, cuda_driver, layout, tuning
from mgup_kernels.batches import Slice
from mgup_kernels.plan import Plan

from . import xla_call
from .device import JaxDevice

_TARGET = "mgup_step"


class Part(NamedTuple):
    """A parameter that takes the fused step."""

    w: Any
    g: Any
    state: State
    stacked_dims: int
    decays: bool


@Forms
def _program(rule: Rule, policy: Policy | None, decays: bool) -> Program:
    """The program of all rules of a form (R7)."""
    return record(rule, policy, decays=decays)


def refusal(rule: Rule, policy: Policy | None) -> str | None:
    """Why no array can take the fused step, or ``None``."""
    if policy is not None and policy.opaque:
        return f"{type(policy).__name__} decides by itself"
    if not rule.elementwise or rule.couples_parameters:
        return f"{type(rule).__name__} is not elementwise"
    try:
        _program(rule, None, False)
    except (TypeError, AttributeError) as error:
        return f"{type(rule).__name__} cannot be recorded ({error})"
    return None


def fits(part: Part) -> bool:
    """Whether the kernels compute in the dtypes of an array, and rank slices of its length."""
    dtypes = [x.dtype.name for x in (part.w, part.g, *part.state.values())]
    shape = part.w.shape
    return (
        part.w.size > 0
        and dtypes[0] == dtypes[1]
        and all(dtype in codegen.ITEMSIZE for dtype in dtypes)
        and all(x.shape == shape for x in part.state.values())
        and math.prod(shape[part.stacked_dims :]) < 2**31
    )


class FusedPlan:
    """The plan of some slices, on the device on which its program runs.

    Args:
        kind: of the slices.
        counts: how many slices each array has, one after the other.
        slices: of each array, the description that all of its slices share.
        numbers: the values that the functions read of the rule, float32.
    """

    def __init__(
        self, kind: codegen.Kind, counts: list[int], slices: list[Slice], numbers: Any
    ) -> None:
        functions = codegen.functions(kind)
        dtypes = (kind.dtype, kind.dtype, *kind.state_dtypes)
        self.arrays = len(dtypes)
        self.owner = np.repeat(np.arange(len(counts)), counts)
        """The array of each slice."""
        number = np.concatenate([np.arange(count) for count in counts])
        starts = number * np.array([one.local_length for one in slices])[self.owner]
        itemsize = np.array([*map(codegen.ITEMSIZE.__getitem__, dtypes), 0])
        self.offsets = starts[:, None] * itemsize
        ranks = kind.policy is not None and kind.policy.ranks
        self.device = JaxDevice(_capability())
        self.plan = Plan(
            [slices[i] for i in self.owner.tolist()],
            functions,
            self.arrays + 1,  # the last is of the values that all slices share
            self.device,
            ranks=ranks,
            aligned=kind.aligned,
            rules=1,
        )
        self.host_numbers = np.array([numbers], np.float32).reshape(1, functions.numbers.length)
        self.lock = threading.Lock()
        self.graph: cuda_driver.Graph | None = None
        compiled.prepare([self._set_values(), *self.plan.launches()], self.device.capability)

    def _set_values(self) -> compiled.Launch:
        table, (stride, _), n = self.plan.slice_table, self.plan.strides, len(self.plan.rows)
        column = layout.ADDRESSES + self.arrays
        options = {"WIDTH": tuning.SLICES, "num_warps": 2}
        return compiled.Launch(apply.set_values, (table, stride, n, column), options)

    def _capture(self, stream: int) -> cuda_driver.Graph:
        """Everything that a step launches, as a graph."""
        plan, device = self.plan, self.device
        device.allocate(stream)
        cuda_driver.copy_to_device(plan.numbers.data_ptr(), self.host_numbers, stream)
        plan.set_numbers(self.host_numbers, np.zeros(len(plan.rows), np.int64))
        launch = self._set_values()
        with cuda_driver.Graph() as graph:
            device.stream_address = graph.stream
            grid = -(-len(plan.rows) // tuning.SLICES)
            device.launch(launch.kernel, grid, *launch.args, **launch.options)
            plan.launch()
        return graph

    def run(self, stream: int, arguments: Any, results: Any) -> None:
        """Step; returns before the device is done.

        Args:
            stream: the address of a ``CUstream``.
            arguments: the addresses of all parameters, all arrays of each state, all gradients,
                the count of steps taken, float32, and the values that :func:`apply.set_values`
                takes.
            results: those of the parameters and the states, which are the same.
        """
        if (results != arguments[: len(results)]).any():
            raise RuntimeError("XLA gave the results other memory than the arguments.")
        with self.lock:
            if self.graph is None:
                self.graph = self._capture(stream)
            self.plan.check()
            *_, taken, values = arguments
            columns = arguments[:-2].reshape(self.arrays, -1)
            order = [0, self.arrays - 1, *range(1, self.arrays - 1)]
            found = np.full((columns.shape[1], self.arrays + 1), values, np.int64)
            found[:, :-1] = columns[order].T
            rows, addresses = self.plan.rows, found[self.owner] + self.offsets
            if rows[0, layout.STEP_ADDRESS] != taken or (
                (rows[:, layout.ADDRESSES :] != addresses).any()
            ):
                rows[:, layout.ADDRESSES :] = addresses
                rows[:, layout.STEP_ADDRESS] = taken
                cuda_driver.copy_to_device(self.plan.slice_table.data_ptr(), rows, stream)
            self.graph.replay(stream)


_plans: dict[int, FusedPlan] = {}
_lock = threading.Lock()


def _capability() -> int:
    major, minor = jax.devices()[0].compute_capability.split(".")
    return 10 * int(major) + int(minor)


def _run(stream: int, arguments: Any, results: Any, number: int) -> None:
    if number not in _plans:
        raise RuntimeError(
            "this program was made in another process, which has the plan of its kernels: trace it "
            "here, or export it with selection='graph'."
        )
    _plans[number].run(stream, arguments, results)


def _not_here(*given: Any) -> None:
    raise RuntimeError(
        "this step was traced for the GPU that JAX sees, and runs on the CPU: make the optimizer "
        "with selection='graph', or let JAX see no GPU (JAX_PLATFORMS=cpu)."
    )


def _plan_of(number: int, make: Callable[[], FusedPlan]) -> None:
    xla_call.register(_TARGET, _run, "CUDA")
    xla_call.register(_TARGET, _not_here, "cpu")
    with _lock:
        if number not in _plans:
            _plans[number] = make()


def step(
    rule: Rule, policy: Policy | None, parts: Sequence[Part], taken: Any, values: Any
) -> list[tuple[Any, State]]:
    """Step arrays that :func:`fits`, of a rule without :func:`refusal`.

    Args:
        taken: how many steps were taken before, a 0-d array.
        values: of learning rate, weight decay, alpha and gamma, float32 (4,).

    Returns:
        For each the parameter and the state.
    """
    kinds: dict[codegen.Kind, list[int]] = {}
    static = None if policy is None else policy.static
    for i, part in enumerate(parts):
        d = math.prod(part.w.shape[part.stacked_dims :])
        kind = codegen.Kind(
            _program(rule, static, part.decays),
            static,
            part.w.dtype.name,
            tuple(x.dtype.name for x in part.state.values()),
            aligned=d % tuning.DIVISOR == 0,
        )
        kinds.setdefault(kind, []).append(i)
    moved: list[Any] = [None] * len(parts)
    taken = jnp.asarray(taken).astype(jnp.float32)
    for kind, indices in kinds.items():
        alike = [parts[i] for i in indices]
        found = _step_alike(rule, policy, kind, alike, taken, values)
        for i, one in zip(indices, found, strict=True):
            moved[i] = one
    return moved


def _step_alike(
    rule: Rule,
    policy: Policy | None,
    kind: codegen.Kind,
    parts: list[Part],
    taken: Any,
    values: Any,
) -> list[tuple[Any, State]]:
    functions = codegen.functions(kind)
    numbers = functions.numbers.of(rule)
    ranks = policy is not None and policy.ranks
    counts, slices = [], []
    for part in parts:
        shape, stacked = part.w.shape, part.stacked_dims
        d = math.prod(shape[stacked:])
        counts.append(math.prod(shape[:stacked]))
        slices.append(Slice(d, d, policy.top(d) if ranks and policy is not None else 0))
    text = [getattr(f, "cache_key", "") for f in functions]
    told = repr((text, kind[2:], counts, [tuple(one) for one in slices], numbers))
    number = int.from_bytes(hashlib.sha256(told.encode()).digest()[:7], "little")
    _plan_of(number, lambda: FusedPlan(kind, counts, slices, numbers))
    names = list(parts[0].state)
    in_place = [part.w for part in parts]
    for name in names:
        in_place += [part.state[name] for part in parts]
    others = [*(part.g for part in parts), taken, values]
    moved = xla_call.call(_TARGET, number, in_place, others)
    n = len(parts)
    return [
        (moved[i], {name: moved[(j + 1) * n + i] for j, name in enumerate(names)}) for i in range(n)
    ]
