"""Floats of a rule that a program is given as arrays, as ``optax.inject_hyperparams`` does (R7)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp

from mgup_core import Rule
from mgup_core.forms import opened
from mgup_core.runtime import Branches, Expression, Number

Host = Callable[..., Any]


class _Traced(Branches):
    def answer(self, question: Expression) -> Any:
        names = ", ".join(sorted(question.fields()))
        raise TypeError(
            f"{type(self.rule).__name__} asks for the value of {names}, which must be known when "
            f"the program is traced: name it in static_args of optax.inject_hyperparams."
        )


def with_numbers(rule: Rule) -> Rule:
    """A rule whose traced fields are numbers, of which a backend makes scalars."""
    traced = [f.name for f in fields(rule) if isinstance(getattr(rule, f.name), jax.core.Tracer)]
    return opened(_Traced(rule), traced) if traced else rule


def on_host(function: Host, number: Number, dtype: Any, *more: Any) -> Any:
    """``function(value, *more)`` of a number, in float64 on the host, as a 0-d array."""
    rule, expression = number.branches.rule, number.expression
    names = sorted(expression.fields())

    def compute(*values: Any) -> Any:
        known = dict(zip(names, values, strict=False))
        value = expression.of(SimpleNamespace(**known))
        return jnp.dtype(dtype).type(function(value, *values[len(names) :]))

    arrays = (getattr(rule, name) for name in names)
    result = jax.ShapeDtypeStruct((), dtype)
    return jax.pure_callback(compute, result, *arrays, *more, vmap_method="sequential")


def rounded(number: Number, dtype: Any) -> Any:
    """A number as a 0-d array: formed in float64 and rounded once (N2)."""
    expression = number.expression
    if expression.function is None:
        return _field(expression, number)[0].astype(dtype)
    if expression.function is operator.sub and expression.args[0] == 1.0:
        # A difference of two numbers that the dtype holds is rounded once wherever it is formed.
        field, wide = _field(expression.args[1], number, dtype)
        if field is not None:
            return (jnp.ones((), wide) - field.astype(wide)).astype(dtype)
    return on_host(lambda value: value, number, dtype)


def _field(expression: Any, number: Number, dtype: Any = None) -> tuple[Any, Any]:
    """(the array of a field, a dtype that holds it and the result), or ``None`` for no field."""
    if not isinstance(expression, Expression) or expression.function is not None:
        return None, None
    field = jnp.asarray(getattr(number.branches.rule, expression.args[0]))
    return field, jnp.promote_types(field.dtype, field.dtype if dtype is None else dtype)
