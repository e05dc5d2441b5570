"""What one step computes, recorded from the core: for one parameter, and for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore as ms
from mindspore import Parameter, Tensor, nn

from mgup_core.numerics.scalars import complements, correction_of
from mgup_core.trace.tracer import naming

from . import host
from .backend import Betas, MindSporeBackend, compute_dtype
from .emitter import Recorder, Symbol
from .operations import add, assign, multiply
from .program import Recording, held
from .selection import on_host
from .training import Settings, contributed, proposed


class Task(nn.Cell):
    """One parameter, its state, and how they are trained; their step as a part of a graph.

    Args:
        state: by the rule's names.
        lr_dtype: of the learning rate and the decay that the step is given.
        betas: of the corrections that the step is given; added to where more are needed.
        group: what parameters of equal settings have in common.
    """

    def __init__(
        self,
        p: Parameter,
        state: dict[str, Parameter],
        settings: Settings,
        lr_dtype: Any,
        betas: Betas,
        group: int,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.settings, self.names = settings, tuple(state)
        self.lr_dtype, self.group = lr_dtype, group
        # A plain tuple: the parameters are the network's and the optimizer's, not this cell's.
        self.slots = (p, *state.values())
        step, share, self.gives = self.record(settings, betas)
        self.program, self.share = step.cell(), Contribution(self.slots, share)

    def record(
        self, settings: Settings, betas: Betas
    ) -> tuple[Recording, Recording, tuple[str, ...]]:
        """(the step, the part of the sums over all parameters, the names of these sums)."""
        dtype, asked = compute_dtype(self.slots[0].dtype), betas.of(self.group)
        xp = Recorder()
        be = MindSporeBackend(xp, dtype, asked)
        w, g, arrays, t, lr, decay = _inputs(xp, self.slots, self.lr_dtype)
        parts = {}
        if settings.rule.couples_parameters:
            with naming(settings.rule):
                parts = contributed(be, settings, w, g, arrays, t, lr, decay, self.names)
        given = [*parts.values(), w, *arrays] if parts else []
        share = xp.recording("slots, g, t, lr, decay, corrections", given)

        xp = Recorder()
        be = MindSporeBackend(xp, dtype, asked)
        w, g, arrays, t, lr, decay = _inputs(xp, self.slots, self.lr_dtype)
        totals = {name: xp.symbol(f"totals[{i}]", (), dtype) for i, name in enumerate(parts)}
        with naming(settings.rule):
            new = proposed(be, settings, w, g, arrays, t, lr, decay, self.names, totals)
        step = xp.recording("slots, g, t, lr, decay, corrections, totals", new)
        return step, share, tuple(parts)

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


class Contribution(nn.Cell):
    """One parameter's part of the sums over all of them, if its rule has any (Rule.totals).

    Arguments as of :class:`Task`. After the parts comes what was read of the parameter and its
    state, for the step to use: MindSpore 2.10 keeps as float32 a float64 parameter that is read
    again after another one's step.
    """

    def __init__(self, slots: tuple[Parameter, ...], recording: Recording) -> None:
        super().__init__(auto_prefix=False)
        self.slots, self.program = slots, recording.cell()

    def construct(
        self, g: Tensor, t: Tensor, lr: Tensor, decay: Tensor, corrections: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        given: tuple[Tensor, ...] = self.program(self.slots, g, t, lr, decay, corrections)
        return given


class Step(nn.Cell):
    """One step of all parameters of an optimizer, in place; the count of steps goes up by one.

    A graph takes in :meth:`construct`; PyNative calls :meth:`__call__`. Where tensors lie in host
    memory that is the core on NumPy views of them, which saves the dispatch of some sixty
    operations for each parameter; elsewhere it is the recorded program, operation by operation.

    Args:
        tasks: of the parameters that have coordinates.
        places: the number of each among the gradients.
        count: how many steps have been taken, int32 (1,).
        lr_dtype: of the learning rates and decays, once they are in one dtype.
        betas: of the corrections that the tasks take.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        places: Sequence[int],
        count: Parameter,
        lr_dtype: Any,
        betas: Betas,
    ) -> None:
        super().__init__(auto_prefix=False)
        self.tasks = nn.CellList(list(tasks), auto_prefix=False)
        self.places, self.count = tuple(places), (count,)
        self.coupled = tuple(len(task.gives) > 0 for task in tasks)
        self.corrections = Corrections(betas)
        self.one = held([(1.0, lr_dtype), ([1], ms.int32)])

    def construct(
        self, gradients: Sequence[Tensor], rates: Sequence[Tensor], decays: Sequence[Tensor]
    ) -> None:
        lr: tuple[Any, ...] = ()
        decay: tuple[Any, ...] = ()
        for j in range(len(self.places)):
            # Times 1: MindSpore 2.10 keeps a parameter as float32 that a graph with loops uses
            # twice, and a float64 learning rate would lose its digits.
            lr += (multiply(rates[self.places[j]], self.one[0]),)
            decay += (multiply(decays[self.places[j]].reshape(()), self.one[0]),)
        assign(self.count[0], add(self.count[0], self.one[1]))
        t = self.count[0].reshape(())
        corrections = self.corrections(t)
        totals: tuple[Any, ...] = ()
        read: tuple[Any, ...] = ()
        for j in range(len(self.places)):
            gradient = gradients[self.places[j]]
            if self.coupled[j] and gradient is not None:
                parts = self.tasks[j].share(gradient, t, lr[j], decay[j], corrections)
                n = len(self.tasks[j].gives)
                totals = added(totals, parts[:n])
                read += (parts[n:],)
            else:
                read += ((),)
        for j in range(len(self.places)):
            gradient = gradients[self.places[j]]
            if gradient is not None:
                given = totals if self.coupled[j] else ()
                self.tasks[j](gradient, t, lr[j], decay[j], corrections, given, read[j])

    def __call__(
        self, gradients: Sequence[Tensor], rates: Sequence[Tensor], decays: Sequence[Tensor]
    ) -> None:
        if on_host():
            host.step(self.tasks, self.places, self.count[0], gradients, rates, decays)
        else:
            self.construct(gradients, rates, decays)


def added(totals: Any, parts: Any) -> Any:
    """The sums with one parameter's parts added; part of the graph, so plainly written."""
    if len(totals) == 0:
        return parts
    sums: tuple[Any, ...] = ()
    for i in range(len(parts)):
        sums += (add(totals[i], parts[i]),)
    return sums


def _inputs(xp: Recorder, slots: Sequence[Parameter], lr_dtype: Any) -> tuple[Any, ...]:
    """(w, g, state, t, lr, decay) of one parameter, as symbols."""
    w: Any
    arrays: list[Any]
    w, *arrays = (xp.symbol(f"slots[{i}]", x.shape, x.dtype) for i, x in enumerate(slots))
    g, t = xp.symbol("g", w.shape, w.dtype), xp.symbol("t", (), ms.int32)
    # Times 1: MindSpore 2.10 keeps as float32 a parameter that is used before a loop of the graph
    # and after it, as coupled decay uses the weights and sums over all parameters the state.
    w, *arrays = (x * 1.0 if x.dtype == ms.float64 else x for x in (w, *arrays))
    lr, decay = (xp.symbol(name, (), lr_dtype) for name in ("lr", "decay"))
    return w, g, arrays, t, lr, decay


class Corrections(nn.Cell):
    """``1 - beta^t`` for each beta of an optimizer (N3), as a tuple of 0-d tensors.

    A graph takes in :meth:`construct`; PyNative calls :meth:`__call__`, which is a graph too.
    """

    def __init__(self, betas: Betas) -> None:
        super().__init__(auto_prefix=False)
        self.program = self.record(betas).cell()

    def record(self, betas: Betas) -> Recording:
        """All betas of a dtype in a row, so that they take the operations of one."""
        xp = Recorder()
        t = xp.symbol("t", (), ms.int32)
        found: dict[Any, Symbol] = {}
        for dtype in dict.fromkeys(dtype for _, dtype, _ in betas.values):
            keys = [key for key in betas.values if key[1] == dtype]
            rows = zip(*(complements(betas.values[key]) for key in keys), strict=True)
            places = [xp.constant(row, dtype, fixed=False) for row in rows]
            row = correction_of(MindSporeBackend(xp, dtype), places, t)
            for i, key in enumerate(keys):
                found[key] = xp.reshape(row[(slice(i, i + 1),)], ())
        return xp.recording("t", [found[key] for key in betas.values])

    def __call__(self, t: Tensor) -> tuple[Tensor, ...]:
        return self.program.compiled(t)  # type: ignore[no-any-return]

    def construct(self, t: Tensor) -> tuple[Tensor, ...]:
        corrected: tuple[Tensor, ...] = self.program(t)
        return corrected
