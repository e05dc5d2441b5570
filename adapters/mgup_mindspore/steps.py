"""What one step computes, recorded from the core: for one parameter, and for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from mgup_core import Policy, Rule, update_array
from mgup_core.scalars import host_correction, traced_correction

from .backend import Beta, MindSporeBackend, compute_dtype
from .namespace import assign
from .program import NUMPY, Recorder
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
        parameter.set_dtype(dtype)
        made[name] = parameter
    return made


class ParameterStep(nn.Cell):
    """One step of one parameter and its state, in place.

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
        # Plain tuples: the parameters are the network's and the optimizer's, not this cell's.
        self.slots = (p, *state.values())
        self.stores = nn.CellList([Store(x.dtype) for x in self.slots], auto_prefix=False)
        xp = Recorder()
        be = MindSporeBackend(xp, compute_dtype(p.dtype), betas)
        w, *arrays = (xp.symbol(f"slots[{i}]", x.shape, x.dtype) for i, x in enumerate(self.slots))
        g = be.cast(xp.symbol("g", p.shape, p.dtype), be.dtype)
        if settings.scale != 1.0:
            g = be.mul(g, be.scalar(1.0 / settings.scale))
        update = update_array(
            be,
            settings.rule,
            settings.policy,
            w,
            g,
            dict(zip(state, arrays, strict=True)),
            xp.symbol("t", (), ms.int32),
            lr=xp.symbol("lr", (), lr_dtype),
            weight_decay=xp.symbol("decay", (), lr_dtype) if settings.decays else 0.0,
            stacked_dims=settings.stacked_dims,
        )
        moved = be.cast(be.cast(w, be.dtype) - update.delta, p.dtype)
        new = [moved, *(update.state[name] for name in state)]
        self.program = xp.cell("slots, g, t, lr, decay, corrections", new)

    def construct(
        self, g: Tensor, t: Tensor, lr: Tensor, decay: Tensor, corrections: Sequence[Tensor]
    ) -> None:
        new = self.program(self.slots, g, t, lr, decay, corrections)
        for i in range(len(self.stores)):
            self.stores[i](self.slots[i], new[i])


class Store(nn.Cell):
    """Puts a tensor into a parameter of its dtype."""

    def __init__(self, dtype: Any) -> None:
        super().__init__(auto_prefix=False)
        self.narrow = dtype == ms.bfloat16

    def __call__(self, p: Parameter, value: Tensor) -> None:
        if self.narrow and on_host():  # no kernel of the CPU assigns bfloat16
            p.set_data(value)
        else:
            assign(p, value)

    def construct(self, p: Parameter, value: Tensor) -> None:
        assign(p, value)


class Corrections(nn.Cell):
    """``1 - beta^t`` for each beta of an optimizer (N3), as a tuple of 0-d tensors.

    A graph takes in :meth:`construct`; PyNative calls :meth:`__call__`.
    """

    def __init__(self, betas: Sequence[Beta]) -> None:
        super().__init__(auto_prefix=False)
        self.betas = tuple(betas)
        xp = Recorder()
        t = xp.symbol("t", (), ms.int32)
        recorded = [traced_correction(MindSporeBackend(xp, dt), beta, t) for beta, dt in betas]
        self.program = xp.cell("t", recorded)

    def __call__(self, t: Tensor) -> tuple[Tensor, ...]:
        if not on_host():
            return self.program.compiled(t)  # type: ignore[no-any-return]
        step = int(t.asnumpy())
        return tuple(
            Tensor(host_correction(NUMPY[dtype], beta, step)) for beta, dtype in self.betas
        )

    def construct(self, t: Tensor) -> tuple[Tensor, ...]:
        return self.program(t)
