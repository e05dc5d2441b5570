"""Muon for the matrices of a model and AdamW for the rest (R4)."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from mgup_core import AdamW, Backend, Direction, Muon
from mgup_core.frontend.modes import Mode
from mgup_core.frontend.muon_routing import EXCEPTIONS, check_words, names_one_of
from mgup_core.policy import Ties
from mgup_core.rules.base import Decay
from mgup_core.rules.matrix import NSCoefficients, NSDtype, NSForm, coefficients_of
from mgup_core.rules.muon import Scale
from mgup_core.trace.forms import runtime_fields

from .arguments import Scheduled, Selection, UpdateDtype
from .pytrees import check_leaves, made_for
from .settings import Settings
from .state import BEGIN_AGAIN
from .transformation import rule_transformation


class MuonDimensionNumbers(NamedTuple):
    """Which axes of a parameter are a matrix's inputs and outputs, as in ``optax.contrib``.

    The axes that are neither stack matrices, each orthogonalised by itself.
    """

    reduction_axis: int | tuple[int, ...] = 0
    output_axis: int | tuple[int, ...] = 1


class _Axes(NamedTuple):
    """Axes of a parameter, not negative; none for AdamW."""

    reduction: tuple[int, ...] = ()
    output: tuple[int, ...] = ()


_ADAM, _MATRIX = _Axes(), _Axes((0,), (1,))


@dataclass(frozen=True)
class OrientedMuon(Muon):
    """Muon on the matrices that some axes of a parameter make; scores keep the parameter's order.

    Args:
        reduction, output: axes, not negative.
    """

    reduction: tuple[int, ...] = (0,)
    output: tuple[int, ...] = (1,)

    def direction(self, be: Backend, g: Any, w: Any, state: Any, t: Any) -> Direction:
        stack = tuple(i for i in range(len(g.shape)) if i not in (*self.reduction, *self.output))
        order = (*stack, *self.output, *self.reduction)  # the core's rows are the outputs
        there = [g.shape[i] for i in order]
        rows = math.prod(g.shape[i] for i in self.output)
        shape = (*(g.shape[i] for i in stack), rows, -1)

        def matrices(x: Any) -> Any:
            return jnp.reshape(jnp.transpose(x, order), shape)

        def back(x: Any) -> Any:
            inverse = sorted(range(len(order)), key=order.__getitem__)
            return jnp.transpose(jnp.reshape(x, there), inverse)

        like = jax.eval_shape(matrices, w)
        kept = {name: matrices(value) for name, value in state.items()}
        proposed = super().direction(be, matrices(g), like, kept, t)
        return Direction(back(proposed.u), back(proposed.a))


def mgup_muon(
    learning_rate: Scheduled = Muon.lr,
    momentum: float = Muon.momentum,
    *,
    nesterov: bool = Muon.nesterov,
    scale: Scale = Muon.scale,
    ns_coefficients: NSCoefficients = Muon.ns_coefficients,
    ns_steps: int = Muon.ns_steps,
    eps: float = Muon.eps,
    ns_dtype: NSDtype = Muon.ns_dtype,
    ns_form: NSForm = Muon.ns_form,
    weight_decay: Scheduled = Muon.weight_decay,
    muon_weight_dimension_numbers: Any = None,
    exceptions: tuple[str, ...] = EXCEPTIONS,
    adam_learning_rate: Scheduled | None = None,
    adam_b1: float = 0.95,
    adam_b2: float = 0.95,
    adam_eps: float = 1e-8,
    adam_weight_decay: Scheduled | None = None,
    mask: Any = None,
    mu_dtype: DTypeLike | None = None,
    state_dtype: DTypeLike | None = None,
    tau: float = 0.5,
    alpha: Scheduled | None = None,
    gamma: Scheduled | None = None,
    mode: Mode = "rank",
    ties: Ties = "damped",
    tau_min: float = 0.01,
    stacked_dims: Any = 0,
    selection: Selection = "auto",
    param_specs: Any = None,
    update_dtype: UpdateDtype = "parameter",
    decay: Decay = "all",
) -> optax.GradientTransformationExtraArgs:
    """Muon with MGUP, for JAX: matrices to Muon, everything else to AdamW.

    A parameter goes to Muon if it has exactly two axes and its path holds none of ``exceptions``
    as a word, whatever the case: ``lm_head.kernel`` is left out by ``head``, ``multihead.kernel``
    is not.

    Args:
        learning_rate: a number, a 0-d array, or a schedule.
        momentum, nesterov, scale, ns_coefficients, ns_steps, eps, ns_dtype, ns_form: as
            :class:`mgup_core.Muon`.
        weight_decay: uses the unscaled learning rate.
        muon_weight_dimension_numbers: replaces the rule above: a tree of
            :class:`MuonDimensionNumbers` (or ``optax.contrib``'s) for Muon and None for AdamW, or a
            function from the parameters to one. By default a matrix is (inputs, outputs), as in
            Flax, which matters for ``scale="original"`` only.
        exceptions: words in paths.
        adam_learning_rate, adam_weight_decay: of AdamW; by default those of Muon.
        adam_b1, adam_b2, adam_eps: of AdamW.
        decay: ``"all"``, or ``"aligned"`` for cautious weight decay (R0c), of both kinds.
        mask, mu_dtype, state_dtype: as for every function of this package.
        tau, alpha, gamma, mode, ties, tau_min, stacked_dims: the policy, for both kinds.
        selection, param_specs, update_dtype: as for every function of this package.

    Raises:
        ValueError, TypeError: naming the argument.
    """
    mgup: dict[str, Any] = {
        "mask": mask,
        "mu_dtype": mu_dtype,
        "state_dtype": state_dtype,
        "tau": tau,
        "alpha": alpha,
        "gamma": gamma,
        "mode": mode,
        "ties": ties,
        "tau_min": tau_min,
        "stacked_dims": stacked_dims,
        "selection": selection,
        "param_specs": param_specs,
        "update_dtype": update_dtype,
    }
    muon = {
        "momentum": momentum,
        "nesterov": nesterov,
        "scale": scale,
        "ns_coefficients": coefficients_of(ns_coefficients),
        "ns_steps": ns_steps,
        "eps": eps,
        "ns_dtype": ns_dtype,
        "ns_form": ns_form,
        "decay": decay,
    }
    adam = {"b1": adam_b1, "b2": adam_b2, "eps": adam_eps, "decay": decay}
    settings = Settings(learning_rate=learning_rate, weight_decay=weight_decay, **mgup)
    adam_settings = Settings(
        learning_rate=learning_rate if adam_learning_rate is None else adam_learning_rate,
        weight_decay=weight_decay if adam_weight_decay is None else adam_weight_decay,
        **mgup,
    )
    plain = {"adam": rule_transformation(settings.rule_of(AdamW, adam), adam_settings)}
    oriented = settings.rule_of(OrientedMuon, muon)  # wrong values are refused here, not at init

    @lru_cache(None)  # each traces its steps once
    def trained(axes: _Axes) -> optax.GradientTransformationExtraArgs:
        return rule_transformation(replace(oriented, **axes._asdict()), settings)

    def by_rule(tree: Any) -> tuple[optax.GradientTransformationExtraArgs, set[str]]:
        axes = _axes(tree, muon_weight_dimension_numbers, exceptions)
        found = dict.fromkeys(jax.tree.leaves(axes, is_leaf=_is_axes))
        rules = plain | {_label(one): trained(one) for one in found if one != _ADAM}
        labels = jax.tree.map(_label, axes, is_leaf=_is_axes)
        # By a function, since a tree of labels may be one that can be called, too.
        return optax.multi_transform(rules, lambda _: labels), set(rules)

    def init(params: Any) -> Any:
        check_leaves("params", params)
        return by_rule(params)[0].init(params)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        transform, rules = by_rule(updates if params is None else params)
        if set(getattr(state, "inner_states", ())) != rules:
            raise ValueError(
                f"state is a {type(state).__name__} that does not hold states of "
                f"{', '.join(sorted(rules))}: it may be that of another optimizer or of other "
                f"parameters. {BEGIN_AGAIN}"
            )
        done: tuple[Any, Any] = transform.update(updates, state, params, **extra)
        return done

    return optax.GradientTransformationExtraArgs(init, update)


vars(mgup_muon).update(
    rule_class=Muon,
    static_args=tuple(
        name
        for name in inspect.signature(mgup_muon).parameters
        if name.removeprefix("adam_") not in Settings.SCHEDULED
    ),
)
mgup_muon.structural_args = tuple(  # type: ignore[attr-defined]
    name
    for name in mgup_muon.static_args  # type: ignore[attr-defined]
    if name.removeprefix("adam_") not in {*runtime_fields(Muon()), *runtime_fields(AdamW())}
)


def _is_axes(x: Any) -> bool:
    return isinstance(x, _Axes)


def _label(axes: _Axes) -> str:
    if axes == _ADAM:
        return "adam"
    reduction, output = ("".join(map(str, part)) for part in axes)
    return "muon" if axes == _MATRIX else f"muon_{reduction}_{output}"


def _axes(tree: Any, numbers: Any, exceptions: tuple[str, ...]) -> Any:
    """For each parameter its :class:`_Axes`."""
    numbers = made_for(tree, numbers)
    if numbers is None:
        words = check_words(exceptions)
        return jax.tree_util.tree_map_with_path(
            lambda path, w: _MATRIX if _is_hidden_matrix(path, w, words) else _ADAM, tree
        )

    def oriented(one: Any, part: Any) -> Any:
        return jax.tree.map(lambda w: _ADAM if one is None else _normal(one, w), part)

    def is_leaf(x: Any) -> bool:
        return x is None or hasattr(x, "reduction_axis")

    return jax.tree.map(oriented, numbers, tree, is_leaf=is_leaf)


def _normal(numbers: Any, w: Any) -> Any:
    reduction, output = (
        tuple(i % w.ndim for i in ((axes,) if isinstance(axes, int) else axes))
        for axes in (numbers.reduction_axis, numbers.output_axis)
    )
    if w.ndim < 2 or set(reduction) & set(output):
        raise ValueError(
            f"{numbers} does not fit a parameter of shape {w.shape}: Muon needs two axes or more, "
            "inputs and outputs apart."
        )
    return _Axes(reduction, output)


def _is_hidden_matrix(path: Any, w: Any, exceptions: tuple[str, ...]) -> bool:
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return w.ndim == 2 and not names_one_of(name, exceptions)
