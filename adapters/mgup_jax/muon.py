"""Muon for the matrices of a model and AdamW for the rest (R4)."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mgup_core import AdamW, Backend, Direction, Muon
from mgup_core.forms import runtime_fields
from mgup_core.modes import EXCEPTIONS, check_words, names_one_of

from .settings import Scheduled, Settings
from .transformation import rule_transformation


class MuonDimensionNumbers(NamedTuple):
    """Which axes of a parameter are a matrix's inputs and outputs, as in ``optax.contrib``.

    The axes that are neither stack matrices, each orthogonalised by itself.
    """

    reduction_axis: int | tuple[int, ...] = 0
    output_axis: int | tuple[int, ...] = 1


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
    scale: str = Muon.scale,
    ns_coefficients: tuple[float, float, float] = Muon.ns_coefficients,
    ns_steps: int = Muon.ns_steps,
    eps: float = Muon.eps,
    ns_dtype: str = Muon.ns_dtype,
    weight_decay: Scheduled = Muon.weight_decay,
    muon_weight_dimension_numbers: Any = None,
    exceptions: tuple[str, ...] = EXCEPTIONS,
    adam_learning_rate: Scheduled = None,
    adam_b1: float = 0.95,
    adam_b2: float = 0.95,
    adam_eps: float = 1e-8,
    adam_weight_decay: Scheduled = None,
    mask: Any = None,
    mu_dtype: Any = None,
    state_dtype: Any = None,
    tau: float = 0.5,
    alpha: Scheduled = None,
    gamma: Scheduled = None,
    mode: str = "rank",
    ties: str = "damped",
    tau_min: float = 0.01,
    stacked_dims: Any = 0,
    selection: str = "auto",
    param_specs: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Muon with MGUP, for JAX: matrices to Muon, everything else to AdamW.

    A parameter goes to Muon if it has exactly two axes and its path holds none of ``exceptions``
    as a word, whatever the case: ``lm_head.kernel`` is left out by ``head``, ``multihead.kernel``
    is not.

    Args:
        learning_rate: a number, a 0-d array, or a schedule.
        momentum, nesterov, scale, ns_coefficients, ns_steps, eps, ns_dtype: as
            :class:`mgup_core.Muon`.
        weight_decay: uses the unscaled learning rate.
        muon_weight_dimension_numbers: replaces the rule above: a tree of
            :class:`MuonDimensionNumbers` (or ``optax.contrib``'s) for Muon and None for AdamW, or a
            function from the parameters to one. By default a matrix is (inputs, outputs), as in
            Flax, which matters for ``scale="original"`` only.
        exceptions: words in paths.
        adam_learning_rate, adam_weight_decay: of AdamW; by default those of Muon.
        adam_b1, adam_b2, adam_eps: of AdamW.
        mask, mu_dtype, tau, alpha, gamma, mode, …: as for every function of this package, for both.

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
    }
    muon = {
        "momentum": momentum,
        "nesterov": nesterov,
        "scale": scale,
        "ns_coefficients": tuple(ns_coefficients),
        "ns_steps": ns_steps,
        "eps": eps,
        "ns_dtype": ns_dtype,
    }
    adam = {"b1": adam_b1, "b2": adam_b2, "eps": adam_eps}
    settings = Settings(learning_rate=learning_rate, weight_decay=weight_decay, **mgup)
    adam_settings = Settings(
        learning_rate=learning_rate if adam_learning_rate is None else adam_learning_rate,
        weight_decay=weight_decay if adam_weight_decay is None else adam_weight_decay,
        **mgup,
    )
    plain = {"adam": rule_transformation(settings.rule_of(AdamW, adam), adam_settings)}
    oriented = settings.rule_of(OrientedMuon, muon)  # wrong values are refused here, not at init

    def by_rule(tree: Any) -> optax.GradientTransformationExtraArgs:
        axes = _axes(tree, muon_weight_dimension_numbers, exceptions)
        chosen = {
            _label(one): rule_transformation(
                replace(oriented, reduction=one[0], output=one[1]), settings
            )
            for one in jax.tree.leaves(axes, is_leaf=_is_axes)
            if one != _ADAM
        }
        labels = jax.tree.map(_label, axes, is_leaf=_is_axes)
        return optax.multi_transform({**plain, **chosen}, labels)

    def init(params: Any) -> Any:
        return by_rule(params).init(params)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        tree = updates if params is None else params
        return by_rule(tree).update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(init, update)


mgup_muon.static_args = tuple(  # type: ignore[attr-defined]
    name
    for name in inspect.signature(mgup_muon).parameters
    if name.removeprefix("adam_") not in Settings.SCHEDULED
)
mgup_muon.structural_args = tuple(  # type: ignore[attr-defined]
    name
    for name in mgup_muon.static_args  # type: ignore[attr-defined]
    if name.removeprefix("adam_") not in {*runtime_fields(Muon()), *runtime_fields(AdamW())}
)

_ADAM = ((), ())


def _is_axes(x: Any) -> bool:
    return isinstance(x, tuple) and len(x) == 2 and all(isinstance(part, tuple) for part in x)


def _label(axes: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
    if axes == _ADAM:
        return "adam"
    reduction, output = ("".join(map(str, part)) for part in axes)
    return "muon" if axes == ((0,), (1,)) else f"muon_{reduction}_{output}"


def _axes(tree: Any, numbers: Any, exceptions: tuple[str, ...]) -> Any:
    """For each parameter its (reduction, output) axes, or ``_ADAM``."""
    numbers = numbers(tree) if callable(numbers) else numbers
    if numbers is None:
        words = check_words(exceptions)
        return jax.tree_util.tree_map_with_path(
            lambda path, w: ((0,), (1,)) if _is_hidden_matrix(path, w, words) else _ADAM, tree
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
    return reduction, output


def _is_hidden_matrix(path: Any, w: Any, exceptions: tuple[str, ...]) -> bool:
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return w.ndim == 2 and not names_one_of(name, exceptions)
