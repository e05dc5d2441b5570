"""A rule of the core as a ``keras.optimizers.Optimizer``."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any, ClassVar

import keras

from mgup_core import Rule, backend_for, rules
from mgup_core.frontend import modes
from mgup_core.frontend.names import create
from mgup_core.step import update_array

BACKENDS = ("torch", "jax")
_BETA = re.compile(r"b(\d)")


def _argument(field: str) -> str:
    """What Keras calls a field of a rule."""
    beta = _BETA.fullmatch(field)
    return f"beta_{beta[1]}" if beta else field


class RuleOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    """What the optimizers of this package share.

    Args:
        learning_rate: a number or a schedule; default the rule's.
        weight_decay: decoupled, outside of the multiplier (R0); default the rule's.
        tau, alpha, gamma, mode, ties, tau_min: the policy, as for every MGUP optimizer.
        name: Keras's, of the optimizer; by default the class's in small letters.
        arguments: the rule's fields (``b1`` as ``beta_1``), and Keras's own: ``clipnorm``,
            ``gradient_accumulation_steps``, ``use_ema``, …

    Raises:
        ValueError, TypeError: naming the argument; for a backend other than torch and JAX, and a
            rule that sums over all parameters.
    """

    rule_class: ClassVar[type[Rule]]

    def __init__(
        self,
        learning_rate: Any = None,
        *,
        weight_decay: float | None = None,
        tau: float = 0.5,
        alpha: float | None = None,
        gamma: float | None = None,
        mode: modes.Mode = "rank",
        ties: Any = "damped",
        tau_min: float = 0.01,
        name: str | None = None,
        **arguments: Any,
    ) -> None:
        if keras.backend.backend() not in BACKENDS:
            raise ValueError(
                f"Keras computes with {keras.backend.backend()}, for which MGUP has no arithmetic: "
                f"set KERAS_BACKEND to one of {', '.join(BACKENDS)}."
            )
        own = {_argument(f.name): f.name for f in fields(self.rule_class)}
        given = {key: arguments.pop(key) for key in own.keys() & arguments.keys()}
        rule = self.rule_class(**{own[key]: value for key, value in given.items()})
        if rule.couples_parameters:
            raise ValueError(f"{self.rule_class.__name__} sums over all parameters.")
        settings: dict[str, Any] = {
            "tau": tau, "alpha": alpha, "gamma": gamma, "mode": mode, "ties": ties,
            "tau_min": tau_min,
        }  # fmt: skip
        policy = modes.policy_of(**settings)
        decay = self.rule_class.weight_decay if weight_decay is None else weight_decay
        super().__init__(
            learning_rate=self.rule_class.lr if learning_rate is None else learning_rate,
            weight_decay=decay or None,
            name=name or type(self).__name__.lower(),
            **arguments,
        )
        self.rule, self.policy = rule, policy
        # Keras wraps what is assigned, dictionaries among them; its own are for variables.
        object.__setattr__(self, "_settings", settings)
        object.__setattr__(self, "_states", {})

    def build(self, variables: Any) -> None:
        """Make the state of each variable, in its dtype (R5)."""
        if self.built:
            return
        super().build(variables)
        for name in self._state_names(variables[0] if variables else None):
            self._states[name] = self.add_optimizer_variables(variables, name)

    def _state_names(self, variable: Any) -> tuple[str, ...]:
        if variable is None:
            return ()
        be = backend_for(variable.value)
        return tuple(self.rule.init(be, variable.value))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take one step of one variable."""
        i = self._get_variable_index(variable)
        w = keras.ops.convert_to_tensor(variable)
        be = backend_for(w)
        state = {name: variables[i] for name, variables in self._states.items()}
        decay = self.weight_decay if self.weight_decay and self._use_weight_decay(variable) else 0.0
        update = update_array(
            be, self.rule, self.policy, w, keras.ops.cast(gradient, variable.dtype),
            {name: keras.ops.convert_to_tensor(x) for name, x in state.items()},
            self._count(), lr=learning_rate, weight_decay=decay,
        )  # fmt: skip
        self.assign(variable, be.cast(be.cast(w, be.dtype) - update.delta, w.dtype))
        for name, value in state.items():
            self.assign(value, update.state[name])

    def _count(self) -> Any:
        """The number of this step, from 1; traced where the step is."""
        count = self.iterations.value + 1
        return int(count) if keras.backend.backend() == "torch" else count

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: :meth:`update_step` decays, outside of the multiplier."""

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        config["weight_decay"] = self.weight_decay or 0.0
        own = {_argument(f.name): getattr(self.rule, f.name) for f in fields(self.rule)}
        return {**config, **self._settings, **own}


@keras.saving.register_keras_serializable("mgup")
class MGUPAdamW(RuleOptimizer):
    """AdamW with MGUP, for Keras; see :class:`mgup_core.AdamW` and :class:`RuleOptimizer`."""

    rule_class = rules.AdamW


@keras.saving.register_keras_serializable("mgup")
class MGUPLion(RuleOptimizer):
    """Lion with MGUP, for Keras; see :class:`mgup_core.Lion` and :class:`RuleOptimizer`."""

    rule_class = rules.Lion


@keras.saving.register_keras_serializable("mgup")
class MGUPSGD(RuleOptimizer):
    """SGD with MGUP, for Keras; see :class:`mgup_core.SGD` and :class:`RuleOptimizer`."""

    rule_class = rules.SGD


CLASSES = {one.__name__: one for one in (MGUPAdamW, MGUPLion, MGUPSGD)}
"""The optimizers of this package by name."""


def list_optimizers() -> list[str]:
    """The names of all optimizers of this package, as :func:`create_optimizer` takes them."""
    return list(CLASSES)


def create_optimizer(name: str, **arguments: Any) -> RuleOptimizer:
    """The class of a name, called with these arguments.

    See :func:`mgup_core.frontend.names.create`, which finds it: ``"adamw"`` is ``MGUPAdamW``.
    """
    return create(CLASSES, name, **arguments)
