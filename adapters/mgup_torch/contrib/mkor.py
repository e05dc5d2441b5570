"""MKOR: gradients of Linear layers preconditioned by rank-1 updates of inverse factors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from mgup_core._checks import check_range

Form = Literal["official", "exact"]
FORMS: tuple[str, ...] = get_args(Form)
FACTOR_DTYPES = (torch.float16, torch.float32, torch.float64)


class _Layer:
    """One Linear layer: what its last pass showed, and its inverse factors."""

    def __init__(self, module: nn.Linear) -> None:
        self.module = module
        self.inputs: Tensor | None = None
        self.outputs: Tensor | None = None
        self.factors: dict[str, Tensor | None] = {"right": None, "left": None}
        self.resets = {"right": True, "left": True}
        self.called = False

    @property
    def params(self) -> list[Tensor]:
        weight, bias = self.module.weight, self.module.bias
        return [weight] if bias is None else [weight, bias]


class _Watch:
    """The forward hook of one layer; with a copy of the layer, or in a file, one that does nothing.

    The copy of a model, as an average of its weights is, has no part in the statistics.
    """

    def __init__(self, mkor: MKOR | None = None, layer: _Layer | None = None) -> None:
        self.mkor, self.layer = mkor, layer

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        if self.mkor is not None and self.layer is not None and module is self.layer.module:
            self.mkor._see(self.layer, args[0], output)

    def __reduce__(self) -> tuple[type[_Watch], tuple[()]]:  # what deepcopy and pickle ask
        return _Watch, ()


class MKOR:
    """MKOR: Mozaffari, Li, Zhang and Mehri Dehnavi, NeurIPS 2023, arXiv 2306.01685.

    A preconditioner in front of any optimizer, as in the official code (``form="official"``). For
    each Linear layer with weight (out, in), every ``inv_freq`` steps::

        a = mean over samples of clip(inputs), with 1 appended if there is a bias
        q = mean over samples of clip(n * gradient of the loss by the outputs)
        R: B = decay*R + (1 - decay)*I,  R <- B - (B a)(a' B) / (1 + a' B a)        L: so, with q
        where an entry of a factor exceeds 2, both factors are set to I at their next update
        (the first update sets them to I, too)

    and at every step, with the norms of weight and bias added up::

        D = L [g_weight, g_bias] R,   D <- D * (|g_weight| + |g_bias|) / (|D_weight| + |D_bias|)

    ``form="exact"`` takes the inverse of ``decay*X^-1 + (1 - decay)*v v'`` instead, which is
    ``X/decay - (c/decay) (X v)(v' X)/(1 + c v' X v)`` with ``c = (1 - decay)/decay``. The paper's
    Algorithm 1 is a third formula, and its stabilised reset is dead code in the official one.

    ::

        mkor = MKOR(model)
        optimizer = mgup_torch.MGUP(mkor.precede(torch.optim.SGD(model.parameters(), 0.1)))

    is the paper's optimizer with MGUP: u is the inner optimizer's direction on D, and the score
    takes the raw gradient, which is back in ``grad`` after the inner step. ``precede`` before an
    MGUP optimizer, ``mkor.precede(MGUPSGD(…))``, scores with D, which is all that it sees.

    One process. Gradients that are accumulated over several passes are preconditioned with the
    statistics of the last pass.

    Args:
        model: its ``nn.Linear`` layers are preconditioned, no others.
        skip: names of layers to leave alone, as in ``model.named_modules()``; needed for those that
            are not called as modules, such as the ``out_proj`` of ``nn.MultiheadAttention``.
        inv_freq: steps between updates of the factors, >= 1.
        clip: bound of the entries of inputs and gradients, > 0.
        decay: in (0, 1).
        form: as above.
        factor_dtype: float16 (as the official code), float32 or float64. On the CPU, float16 is
            slow.
        loss_scale: the loss was multiplied by it. Set the attribute as a ``GradScaler`` does.

    Raises:
        ValueError: naming the argument.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        skip: Collection[str] = (),
        inv_freq: int = 10,
        clip: float = 100.0,
        decay: float = 0.95,
        form: Form = "official",
        factor_dtype: torch.dtype = torch.float32,
        loss_scale: float = 1.0,
    ) -> None:
        if not (isinstance(inv_freq, int) and inv_freq >= 1):
            raise ValueError(f"inv_freq={inv_freq!r} must be an int >= 1: it counts steps.")
        check_range("clip", clip, "(0, inf)", "it bounds the statistics.")
        check_range("decay", decay, "(0, 1)", "the factors would remember nothing.")
        if form not in FORMS:
            raise ValueError(f"form={form!r} is neither 'official' nor 'exact'.")
        if factor_dtype not in FACTOR_DTYPES:
            raise ValueError(
                f"factor_dtype={factor_dtype!r} is none of {', '.join(map(str, FACTOR_DTYPES))}."
            )
        self.inv_freq, self.clip, self.decay, self.form = inv_freq, clip, decay, form
        self.factor_dtype, self.loss_scale, self.steps = factor_dtype, loss_scale, 0
        linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        skip = {skip} if isinstance(skip, str) else set(skip)
        if unknown := skip - linear.keys():
            raise ValueError(f"skip={sorted(unknown)} names no nn.Linear layer of the model.")
        self._layers = {name: _Layer(m) for name, m in linear.items() if name not in skip}
        if not self._layers:
            raise ValueError("model has no nn.Linear layer: there is nothing to precondition.")
        self._raw: list[tuple[Tensor, Tensor]] = []
        self._watch()

    # -- statistics ------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._hooks = [
            layer.module.register_forward_hook(_Watch(self, layer))
            for layer in self._layers.values()
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_hooks"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._watch()  # the modules of this copy

    def _see(self, layer: _Layer, given: Tensor, output: Tensor) -> None:
        layer.called = True
        if self.steps % self.inv_freq or not output.requires_grad:
            return
        rows = given.detach().reshape(-1, given.shape[-1])
        if layer.module.bias is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
        layer.inputs = self._mean(rows)

        def seen(gradient: Tensor) -> None:
            rows = gradient.detach().reshape(-1, gradient.shape[-1])
            layer.outputs = self._mean(self._wide(rows) * (len(rows) / self.loss_scale))

        output.register_hook(seen)

    def _mean(self, rows: Tensor) -> Tensor:
        """The mean of clipped rows, in the factors' dtype."""
        return self._wide(rows).clamp(-self.clip, self.clip).to(self.factor_dtype).mean(0)

    def _wide(self, x: Tensor) -> Tensor:
        return x.double() if self.factor_dtype == torch.float64 else x.float()

    # -- factors ---------------------------------------------------------------------------------

    def _learn(self, layer: _Layer) -> None:
        """Update the inverse factors of one layer: the inputs' first, which may reset both."""
        for side, v in (("right", layer.inputs), ("left", layer.outputs)):
            if v is None:
                continue
            eye = torch.eye(len(v), dtype=self.factor_dtype, device=v.device)
            old = layer.factors[side]
            if layer.resets[side] or old is None:
                layer.factors[side], layer.resets[side] = eye, False
                continue
            layer.factors[side] = new = self._inverse(old, v, eye)
            if new.abs().max() > 2:
                layer.resets.update(right=True, left=True)
        layer.inputs = layer.outputs = None

    def _begin(self, layer: _Layer) -> list[Tensor]:
        """The factors L and R of a layer: I if it was in no update yet, as the first sets them.

        It may have been frozen then, or no input led through it.
        """
        rows, columns = layer.module.weight.shape
        sizes = {"left": rows, "right": columns + len(layer.params) - 1}
        factors = []
        for side, n in sizes.items():
            factor = layer.factors[side]
            if factor is None:
                device = layer.module.weight.device
                factor = torch.eye(n, dtype=self.factor_dtype, device=device)
                layer.factors[side], layer.resets[side] = factor, False
            factors.append(factor)
        return factors

    def _inverse(self, x: Tensor, v: Tensor, eye: Tensor) -> Tensor:
        if self.form == "official":
            b, c = self.decay * x + (1 - self.decay) * eye, 1.0
        else:
            b, c = x / self.decay, 1 - self.decay
        right, left = b @ v, v @ b
        return b - c / (1 + c * (left @ v)) * torch.outer(right, left)

    # -- gradients -------------------------------------------------------------------------------

    @torch.no_grad()
    def precondition(self) -> None:
        """Rewrite the gradients of the Linear layers; once, between ``backward`` and ``step``.

        Raises:
            RuntimeError: for a layer that has a gradient and was never called. Nothing changes
                then.
        """
        self._raw = []
        for name, layer in self._layers.items():
            known = layer.called or None not in layer.factors.values()
            if not known and all(p.grad is not None for p in layer.params):
                raise RuntimeError(
                    f"layer {name!r} has a gradient, but was not seen to be called: make MKOR "
                    f"before the first forward pass, or give skip=[{name!r}]."
                )
        learns = self.steps % self.inv_freq == 0
        for layer in self._layers.values():
            grads = [p.grad for p in layer.params if p.grad is not None]
            if len(grads) < len(layer.params):
                continue
            if learns:
                self._learn(layer)
            left, right = self._begin(layer)
            self._rewrite(layer, grads, self._wide(left), self._wide(right))
        self.steps += 1

    def _rewrite(self, layer: _Layer, grads: list[Tensor], left: Tensor, right: Tensor) -> None:
        columns = torch.cat([g.reshape(len(g), -1) for g in grads], 1)
        moved = left @ columns.to(left.dtype) @ right
        parts = [moved[:, :-1].contiguous(), moved[:, -1]] if len(grads) > 1 else [moved]
        scale = sum(self._wide(g).norm() for g in grads) / sum(part.norm() for part in parts)
        for p, g, part in zip(layer.params, grads, parts, strict=True):
            new = torch.where(scale.isnan(), self._wide(g), part.reshape(g.shape) * scale)
            self._raw.append((p, g))
            p.grad = new.to(g.dtype)

    def restore(self) -> None:
        """Put the gradients back that :meth:`precondition` rewrote."""
        for p, g in self._raw:
            p.grad = g
        self._raw = []

    def precede(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """``optimizer``, whose every step preconditions first, and restores the gradients after.

        It must step without a closure; :class:`mgup_torch.MGUP` around it may be given one.
        """

        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if args[1:] or kwargs.get("closure") is not None:
                raise ValueError("step got a closure, but MKOR needs the gradients before it.")
            self.precondition()

        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(lambda *_: self.restore())
        return optimizer

    def remove(self) -> None:
        """Stop watching the model."""
        for hook in self._hooks:
            hook.remove()

    # -- checkpoints -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Factors, flags and the count of steps; beside the optimizer's own."""
        layers = {
            name: {"factors": dict(layer.factors), "resets": dict(layer.resets)}
            for name, layer in self._layers.items()
        }
        return {"steps": self.steps, "layers": layers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken.

        Raises:
            ValueError: for the layers of another model. Nothing changes then.
        """
        if state["layers"].keys() != self._layers.keys():
            raise ValueError(
                f"the checkpoint has layers {sorted(state['layers'])}, but the model has "
                f"{sorted(self._layers)}."
            )
        self.steps = state["steps"]
        for name, layer in self._layers.items():
            saved, device = state["layers"][name], layer.module.weight.device
            layer.resets = dict(saved["resets"])
            layer.factors = {
                side: None if x is None else x.to(device, self.factor_dtype, copy=True)
                for side, x in saved["factors"].items()
            }
