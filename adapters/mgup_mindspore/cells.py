"""What one step computes, recorded from the core: for one parameter, and for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import array_api_compat.numpy as numpy_xp
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from mgup_core import Backend, NumPyBackend, Policy, Rule, State, contribution, update_array
from mgup_core.numerics.scalars import traced_correction

from .backend import Beta, MindSporeBackend, compute_dtype
from .emitter import NUMPY, Recorder
from .operations import assign
from .selection import on_host


class Settings(NamedTuple):
    """How one parameter is trained."""

    rule: Rule
    policy: Policy | None
    decays: bool
    stacked_dims: int
    scale: float
    """The gradient is divided by it first."""


def fresh_state(rule: Rule, p: Parameter, dtype: Any) -> dict[str, Parameter]:
    """A rule's state before the first step, as parameters ``<state>.<name of p>``."""
    xp = Recorder()
    be = MindSporeBackend(xp, compute_dtype(p.dtype))
    state = rule.init(be, be.cast(xp.symbol("w", p.shape, p.dtype), be.dtype))
    if p.size == 0:
        values = [np.zeros(x.shape, NUMPY[be.dtype]) for x in state.values()]
    else:
        values = [x.asnumpy() for x in xp.cell("w", list(state.values()))(p)]
    made = {}
    for name, value in zip(state, values, strict=True):
        parameter = Parameter(Tensor(value), name=f"{name}.{p.name}", requires_grad=False)
        if name not in rule.exact_state:
            parameter.set_dtype(dtype)
        made[name] = parameter
    return made


class ParameterStep(nn.Cell):
    """One step of one parameter and its state, in place.

    A graph takes in :meth:`construct`; PyNative calls :meth:`__call__`. Where tensors lie in host
    memory that is the core on NumPy views of them, which saves the dispatch of some sixty
    operations; elsewhere it is the recorded program, operation by operation.

    Args:
        state: by the rule's names.
        lr_dtype: of the learning rate and the decay that the step is given.
        betas: of the corrections that the step is given; added to where more are needed.
    """

    def __init__(
        self,
        p: Parameter,
        state: dict[str, Parameter],
        settings: Settings,
        lr_dtype: Any,
        betas: list[Beta],
    ) -> None:
        super().__init__(auto_prefix=False)
        self.settings, self.names = settings, tuple(state)
        # A plain tuple: the parameters are the network's and the optimizer's, not this cell's.
        self.slots = (p, *state.values())
        xp = Recorder()
        be = MindSporeBackend(xp, compute_dtype(p.dtype), betas)
        w, g, arrays, t, lr, decay = _inputs(xp, self.slots, lr_dtype)
        self.share = Contribution(self.slots, settings, lr_dtype, betas, self.names)
        totals = {
            name: xp.symbol(f"totals[{i}]", (), be.dtype) for i, name in enumerate(self.share.gives)
        }
        self.program = xp.cell(
            "slots, g, t, lr, decay, corrections, totals",
            _step(be, settings, w, g, arrays, t, lr, decay, state, totals),
        )

    def construct(
        self,
        g: Tensor,
        t: Tensor,
        lr: Tensor,
        decay: Tensor,
        corrections: Sequence[Tensor],
        totals: Sequence[Tensor],
        read: Sequence[Tensor],
    ) -> None:
        slots = self.slots if len(read) == 0 else read
        new = self.program(slots, g, t, lr, decay, corrections, totals)
        for i in range(len(self.slots)):
            assign(self.slots[i], new[i])

    def __call__(
        self,
        g: Tensor,
        t: Tensor,
        lr: Tensor,
        decay: Tensor,
        corrections: Sequence[Tensor],
        totals: Sequence[Tensor],
        read: Sequence[Tensor],
    ) -> None:
        if not on_host():
            self.construct(g, t, lr, decay, corrections, totals, read)
            return
        w, *arrays = (host_view(x) for x in self.slots)
        rates = (float(x.asnumpy()) for x in (lr, decay))
        sums = {
            name: host_view(x).reshape(()) for name, x in zip(self.share.gives, totals, strict=True)
        }
        with np.errstate(all="ignore"):
            new = _step(
                _host_backend(self.slots[0]), self.settings, w, host_view(g), arrays,
                int(t.asnumpy()), *rates, self.names, sums,
            )  # fmt: skip
        for p, value in zip(self.slots, new, strict=True):
            store(p, value)


class Contribution(nn.Cell):
    """One parameter's part of the sums over all of them, if its rule has any (Rule.totals).

    A graph takes in :meth:`construct`; PyNative calls :meth:`__call__`. Arguments as of
    :class:`ParameterStep`. After the parts comes what was read of the parameter and its state, for
    the step to use: MindSpore 2.10 keeps as float32 a float64 parameter that is read again after
    another one's step.
    """

    def __init__(
        self,
        slots: tuple[Parameter, ...],
        settings: Settings,
        lr_dtype: Any,
        betas: list[Beta],
        names: tuple[str, ...],
    ) -> None:
        super().__init__(auto_prefix=False)
        self.slots, self.settings, self.names = slots, settings, names
        xp = Recorder()
        be = MindSporeBackend(xp, compute_dtype(slots[0].dtype), betas)
        w, g, arrays, t, _, decay = _inputs(xp, slots, lr_dtype)
        parts = {}
        if settings.rule.couples_parameters:
            parts = _contribution(be, settings, w, g, arrays, t, decay, names)
        self.gives = tuple(parts)
        given = [*parts.values(), w, *arrays] if parts else []
        self.program = xp.cell("slots, g, t, decay, corrections", given)

    def construct(
        self, g: Tensor, t: Tensor, decay: Tensor, corrections: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        return self.program(self.slots, g, t, decay, corrections)

    def __call__(
        self, g: Tensor, t: Tensor, decay: Tensor, corrections: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        if not on_host():
            return self.construct(g, t, decay, corrections)
        w, *arrays = (host_view(x) for x in self.slots)
        with np.errstate(all="ignore"):
            parts = _contribution(
                _host_backend(self.slots[0]), self.settings, w, host_view(g), arrays,
                int(t.asnumpy()), float(decay.asnumpy()), self.names,
            )  # fmt: skip
        return tuple(Tensor(np.asarray(value)) for value in parts.values())


def _inputs(xp: Recorder, slots: Sequence[Parameter], lr_dtype: Any) -> tuple[Any, ...]:
    """(w, g, state, t, lr, decay) of one parameter, as symbols."""
    w, *arrays = (xp.symbol(f"slots[{i}]", x.shape, x.dtype) for i, x in enumerate(slots))
    g, t = xp.symbol("g", w.shape, w.dtype), xp.symbol("t", (), ms.int32)
    # Times 1: MindSpore 2.10 keeps as float32 a parameter that is used before a loop of the graph
    # and after it, as coupled decay uses the weights and sums over all parameters the state.
    w, *arrays = (x * 1.0 if x.dtype == ms.float64 else x for x in (w, *arrays))
    lr, decay = (xp.symbol(name, (), lr_dtype) for name in ("lr", "decay"))
    return w, g, arrays, t, lr, decay


def _host_backend(p: Parameter) -> NumPyBackend:
    return NumPyBackend(numpy_xp, NUMPY[compute_dtype(p.dtype)])


def _contribution(
    be: Backend,
    settings: Settings,
    w: Any,
    g: Any,
    arrays: Sequence[Any],
    t: Any,
    decay: Any,
    names: Iterable[str],
) -> State:
    """This parameter's part of the sums over all."""
    state = dict(zip(names, arrays, strict=True))
    g, decay = _unscaled(be, settings, g), decay if settings.decays else 0.0
    return contribution(be, settings.rule, w, g, state, t, weight_decay=decay)


def _unscaled(be: Backend, settings: Settings, g: Any) -> Any:
    if settings.scale == 1.0:
        return g
    return be.mul(be.cast(g, be.dtype), be.scalar(1.0 / settings.scale))


def _step(
    be: Backend,
    settings: Settings,
    w: Any,
    g: Any,
    arrays: Sequence[Any],
    t: Any,
    lr: Any,
    decay: Any,
    names: Iterable[str],
    totals: State,
) -> list[Any]:
    """The parameter and its state after one step, each in the dtype it had."""
    update = update_array(
        be,
        settings.rule,
        settings.policy,
        w,
        _unscaled(be, settings, g),
        dict(zip(names, arrays, strict=True)),
        t,
        lr=lr,
        weight_decay=decay if settings.decays else 0.0,
        stacked_dims=settings.stacked_dims,
        totals=totals,
    )
    moved = be.cast(be.cast(w, be.dtype) - update.delta, w.dtype)
    return [moved, *(update.state[name] for name in names)]


def host_view(x: Tensor) -> Any:
    """A tensor in host memory as NumPy sees it; bfloat16, which it does not know, as float32."""
    return (x.astype(ms.float32) if x.dtype == ms.bfloat16 else x).asnumpy()


def store(p: Parameter, value: Any) -> None:
    """Put an array into a parameter in host memory, rounded to bfloat16 if it is of that."""
    if p.dtype == ms.bfloat16:  # which no kernel of the CPU assigns
        p.set_data(Tensor.from_numpy(value).astype(ms.bfloat16))
    else:
        assign(p, Tensor.from_numpy(np.ascontiguousarray(value).reshape(p.shape)))  # 0-d stays so


class Corrections(nn.Cell):
    """``1 - beta^t`` for each beta of an optimizer (N3), as a tuple of 0-d tensors.

    A graph takes in :meth:`construct`; PyNative calls :meth:`__call__`.
    """

    def __init__(self, betas: Sequence[Beta]) -> None:
        super().__init__(auto_prefix=False)
        xp = Recorder()
        t = xp.symbol("t", (), ms.int32)
        recorded = [traced_correction(MindSporeBackend(xp, dt), beta, t) for beta, dt in betas]
        self.program = xp.cell("t", recorded)

    def __call__(self, t: Tensor) -> tuple[Tensor, ...]:
        # On the host the core makes its own, from the number t.
        return () if on_host() else self.program.compiled(t)

    def construct(self, t: Tensor) -> tuple[Tensor, ...]:
        return self.program(t)
