"""The arguments that all transformations share: their ranges, and their values at a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify
from jax.typing import DTypeLike

from mgup_core import Policy, Rule
from mgup_core._checks import check_fits, check_rate
from mgup_core.frontend import modes
from mgup_core.policy import Ties
from mgup_core.trace.forms import runtime_fields

from .arguments import Scheduled, Selection, UpdateDtype
from .backend import JaxBackend, Known, compute_dtype, is_traced
from .mesh_axes import Axes
from .selection import check_selection

UPDATE_DTYPES: tuple[str, ...] = get_args(UpdateDtype)


class Step(NamedTuple):
    """The settings at one step."""

    learning_rate: Any
    weight_decay: Any
    policy: Policy | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a transformation was asked for, checked.

    Raises:
        ValueError, TypeError: naming the argument, its value, the allowed range and the remedy.
    """

    SCHEDULED: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay", "alpha", "gamma")
    """Those that may change from step to step."""

    learning_rate: Scheduled
    weight_decay: Scheduled = 0.0
    mask: Any = None
    mu_dtype: DTypeLike | None = None
    state_dtype: DTypeLike | None = None
    tau: float = 0.5
    alpha: Scheduled | None = None
    gamma: Scheduled | None = None
    mode: modes.Mode = "rank"
    ties: Ties = "damped"
    tau_min: float = 0.01
    stacked_dims: Any = 0
    selection: Selection = "auto"
    param_specs: Any = None
    update_dtype: UpdateDtype = "parameter"

    @property
    def decays(self) -> bool:
        """Whether there may be any decay; a plain 0 leaves it out."""
        return not (isinstance(self.weight_decay, (int, float)) and self.weight_decay == 0)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The arguments and defaults, save the learning rate."""
        return {f.name: f.default for f in fields(cls) if f.default is not MISSING}

    def __post_init__(self) -> None:
        if self.mask is None:
            object.__setattr__(self, "mask", True)
        self.check_static({name: getattr(self, name) for name in ("tau", "tau_min")})
        check_selection(self.selection)
        if self.update_dtype not in UPDATE_DTYPES:
            raise ValueError(
                f"update_dtype={self.update_dtype!r} is neither 'parameter', the parameter's dtype "
                "as optax has it, nor 'compute', float32 for float16 and bfloat16."
            )
        for name in ("mu_dtype", "state_dtype"):
            given = getattr(self, name)
            if given is not None and not jnp.issubdtype(jnp.dtype(given), jnp.floating):
                raise ValueError(f"{name}={given!r} is not a real floating dtype.")
        constant = {n: getattr(self, n) for n in self.SCHEDULED}
        constant = {n: None if callable(v) else known(n, v) for n, v in constant.items()}
        for name in ("learning_rate", "weight_decay"):
            _check_rate(name, constant[name])
        for mode in (self.mode, *get_args(modes.Mode)):  # whatever the mode is now
            self.policy_of(mode, constant["alpha"], constant["gamma"])

    @staticmethod
    def check_static(values: dict[str, Any]) -> None:
        """Refuse arrays, as inject_hyperparams makes them, for settings that shape the program."""
        for name, value in values.items():
            if isinstance(value, (jax.Array, np.ndarray)):
                raise TypeError(
                    f"{name} is an array, but it must be known when the program is traced. With "
                    "optax.inject_hyperparams, pass static_args=f.static_args, where f is the "
                    "function that it wraps (mgup_adamw, …)."
                )

    @classmethod
    def rule_of(cls, rule_class: type[Rule], hyperparameters: dict[str, Any]) -> Rule:
        """A rule of numbers, and of arrays where its floats are known at each step only (R7)."""
        floats = runtime_fields(rule_class())
        values = {n: known(n, v) if n in floats else v for n, v in hyperparameters.items()}
        cls.check_static({n: v for n, v in values.items() if n not in floats})
        try:
            return rule_class(**values)
        except jax.errors.ConcretizationTypeError as error:
            traced = ", ".join(name for name in floats if is_traced(values[name]))
            raise TypeError(
                f"{rule_class.__name__} asks for the value of one of {traced}, which must be known "
                "when the program is traced: name it in static_args of optax.inject_hyperparams."
            ) from error

    def check_fits(self, params: Any, rule: Rule | None = None) -> None:
        """Refuse numbers that are finite, but not in the compute dtype of each leaf (N2)."""
        numbers = {} if rule is None else {f.name: getattr(rule, f.name) for f in fields(rule)}
        numbers |= {n: known(n, getattr(self, n)) for n in self.SCHEDULED}
        _check_fits(numbers, jax.tree.leaves(params))

    def dtype_of_update(self, w: Any) -> Any:
        """The dtype of the update of a parameter, or of a gradient if it was not passed."""
        return w.dtype if self.update_dtype == "parameter" else compute_dtype(w.dtype)

    def at(self, count: Any, leaves: Iterable[Any] = ()) -> Step:
        """The values at a step, counted from 0.

        Args:
            leaves: arrays, or ``None``, in whose compute dtypes the values must be finite.
        """
        values = {name: getattr(self, name) for name in self.SCHEDULED}
        values = {n: known(n, v(count) if callable(v) else v) for n, v in values.items()}
        dtypes = _check_fits(values, leaves)
        for name in ("learning_rate", "weight_decay"):
            _check_rate(name, values[name], dtypes)
        _report("alpha", values["alpha"], lambda x: x >= 1, "[1, inf)", dtypes)
        _report("gamma", values["gamma"], lambda x: (x > 0) & (x <= 1), "(0, 1]", dtypes)
        policy = self.policy_of(self.mode, values["alpha"], values["gamma"])
        return Step(values["learning_rate"], values["weight_decay"], policy)

    def policy_of(self, mode: modes.Mode, alpha: Any, gamma: Any) -> Policy | None:
        """The policy of a mode with these factors; raises ValueError if they make none."""
        return modes.policy_of(
            mode, tau=self.tau, alpha=alpha, gamma=gamma, ties=self.ties, tau_min=self.tau_min
        )

    def backend(
        self, dtype: Any, where: tuple[Axes, ...] = (), known: Known | None = None
    ) -> JaxBackend:
        """The core's operations in a compute dtype, on arrays that are cut so."""
        return JaxBackend(dtype, self.selection, where, known)


def _check_fits(values: dict[str, Any], leaves: Iterable[Any]) -> set[Any]:
    """Refuse numbers that the leaves' compute dtypes do not hold; returns these."""
    dtypes = {compute_dtype(x.dtype) for x in leaves if x is not None}
    for dtype in dtypes:
        check_fits(values, dtype)
    return dtypes


NO_PARAMS = (
    "the decay, or the rule, needs the parameters: call update(updates, state, params) with params."
)


def known(name: str, value: Any) -> Any:
    """A number wherever the value is known, so that its range can be checked."""
    if isinstance(value, (jax.Array, np.ndarray)):
        if value.shape != ():
            raise ValueError(f"{name} has shape {value.shape}: it must be a single number.")
        return value if is_traced(value) else np.asarray(value).item()
    return value


def _check_rate(name: str, value: Any, dtypes: Iterable[Any] = ()) -> None:
    """Refuse a negative or non-finite rate."""
    _report(name, value, lambda x: x >= 0, "[0, inf)", dtypes)
    if value is not None and not is_traced(value):
        check_rate(name, value)


def _report(
    name: str,
    value: Any,
    inside: Callable[[Any], Any],
    interval: str,
    dtypes: Iterable[Any],
) -> None:
    """Under checkify, refuse a traced value outside of its range; no other program can raise.

    Args:
        dtypes: in which the value must be finite.
    """
    if is_traced(value):
        fits = jnp.isfinite(value)
        for dtype in dtypes:
            fits &= jnp.isfinite(value.astype(dtype))
        message = name + "={value} is outside " + interval + ", or of the parameters' range."
        checkify.debug_check(fits & inside(value), message, value=value)
