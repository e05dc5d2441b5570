"""Ready-made backends: an optimizer class of PyTorch, optax or MindSpore, by one line.

::

    from mgup_conformance.ready import torch_backend
    import torch

    AdamW = torch_backend(torch.optim.AdamW, "adamw")

and then ``mgup-conformance run --backend mymodule:AdamW --level rounding``. What the class calls
its arguments and its state is said where it is not what the protocol says:

* ``arguments``: from the names of :data:`~.protocol.RULES` (and ``lr``, ``weight_decay``) to the
  class's own. ``b1`` and ``b2`` together are ``betas``, if it has such an argument.
* ``state``: from the names of :data:`~.protocol.STATE` to the class's own.
* ``policies``: from the names of :data:`~.protocol.POLICIES` that the class offers to the arguments
  that choose them, a mapping, or a function from the policy's hyperparameters to one. By default it
  offers ``off``: it is a rule without MGUP.
* ``fixed``: arguments that are always given.
* ``only``: hyperparameters of the rule that the class has no argument for, with the values that it
  stands for, such as ``{"coupled_decay": True}`` of ``torch.optim.SGD``.

What a class cannot be asked (a hyperparameter that it has no argument for, at another value than
the default) is reported as skipped.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .protocol import (
    RULES,
    STATE,
    Array,
    NotOffered,
    PolicySpec,
    Run,
    RunSpec,
    check_capabilities,
)

Policies = Mapping[str, Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]]]

USUAL: dict[str, tuple[str, ...]] = {
    "lr": ("lr", "learning_rate"),
    "b1": ("b1", "beta1", "beta_1"),
    "b2": ("b2", "beta2", "beta_2"),
    "b3": ("b3", "beta3", "beta_3"),
    "eps": ("eps", "epsilon"),
    "momentum": ("momentum", "decay", "beta"),
}
"""What arguments are called elsewhere, in the order in which they are looked for."""


class Ready:
    """What the ready-made backends share. Made once, it is a backend."""

    def __init__(
        self,
        make: Callable[..., Any],
        rule: str,
        *,
        name: str | None = None,
        arguments: Mapping[str, str] | None = None,
        state: Mapping[str, str] | None = None,
        policies: Policies | None = None,
        fixed: Mapping[str, Any] | None = None,
        only: Mapping[str, Any] | None = None,
        dtypes: Sequence[str] = ("float32",),
        options: Sequence[str] = ("large",),
        versions: Mapping[str, str] | None = None,
    ) -> None:
        self.make, self.rule = make, rule
        self.name = name or f"{make.__module__}.{make.__name__}"
        self.given, self.fixed = dict(arguments or {}), dict(fixed or {})
        self.only = dict(only or {})
        self.policies = dict(policies or {"off": {}})
        self.dtypes, self.options, self._versions = dtypes, options, dict(versions or {})
        check_capabilities(self.capabilities())
        unknown = set(state or {}) - set(STATE[rule])
        if unknown:
            raise ValueError(
                f"state: {min(unknown)!r} is none of {rule}'s: {', '.join(STATE[rule])}."
            )
        self.state = {n: (state or {}).get(n, n) for n in STATE[rule]}
        parameters = inspect.signature(make).parameters.values()
        self.accepted = {one.name for one in parameters}
        # A decorator may hide what a class accepts (MindSpore's do).
        self.hidden = all(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters)

    def versions(self) -> dict[str, str]:
        return {**self._versions, "numpy": np.__version__}

    def capabilities(self) -> dict[str, Any]:
        reason = f"{self.name} is {self.rule}"
        return {
            "dtypes": self.dtypes,
            "rules": [self.rule],
            "policies": list(self.policies),
            "options": list(self.options),
            "reasons": {name: reason for name in RULES if name != self.rule},
        }

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        raise NotOffered("multiplier: it has none apart from a step")

    def run(self, spec: RunSpec, params: Sequence[Array]) -> Run:
        raise NotImplementedError

    def arguments(self, spec: RunSpec) -> dict[str, Any]:
        """The class's arguments for a run, the learning rate and parameters left out.

        Raises:
            NotOffered: for what it has no argument for.
        """
        values = {k: v for k, v in spec["rule"].items() if k != "name"}
        values["weight_decay"] = spec["weight_decay"]
        for key, value in self.only.items():
            without = key == "coupled_decay" and not spec["weight_decay"]
            if values.pop(key) != value and not without:
                raise NotOffered(f"{key}: it is always {value}")
        policy = dict(spec["policy"])
        chosen = self.policies[policy.pop("name")]
        made = {**self.fixed, **(chosen(policy) if callable(chosen) else chosen)}
        betas = [n for n in sorted(values) if re.fullmatch(r"b\d", n)]
        if betas and self._called("betas") and not any(n in self.given for n in betas):
            made[self._called("betas") or ""] = tuple(values.pop(n) for n in betas)
        defaults = {**RULES[self.rule], "weight_decay": 0.0}
        for key, value in values.items():
            called = self._called(key)
            if called:
                made[called] = value
            elif value != defaults[key]:
                raise NotOffered(f"{key}={value}: {self.name} has no such argument")
        return made

    def _called(self, key: str) -> str | None:
        if key in self.given:
            return self.given[key]
        names = (one for one in USUAL.get(key, (key,)) if one in self.accepted)
        return next(names, key if self.hidden else None)


class TorchReady(Ready):
    """A backend of a ``torch.optim.Optimizer`` class."""

    def versions(self) -> dict[str, str]:
        import torch

        return {**self._versions, "torch": torch.__version__, "numpy": np.__version__}

    def run(self, spec: RunSpec, params: Sequence[Array]) -> Run:
        return _TorchRun(self, spec, params)


class _TorchRun:
    def __init__(self, owner: TorchReady, spec: RunSpec, params: Sequence[Array]) -> None:
        import torch

        from .backends.torch import to_torch

        self.owner, self.lr = owner, spec["lr"]
        self.tensors = [torch.nn.Parameter(to_torch(w)) for w in params]
        self.optimizer = owner.make(self.tensors, lr=spec["lr"], **owner.arguments(spec))

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        from .backends.torch import to_torch

        for w, g in zip(self.tensors, grads, strict=True):
            w.grad = None if g is None else to_torch(g)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr if lr is None else lr
        self.optimizer.step()

    def params(self) -> list[Array]:
        from .backends.torch import to_numpy

        return [to_numpy(w) for w in self.tensors]

    def state(self) -> list[dict[str, Array]]:
        from .backends.torch import to_numpy

        found = []
        for w in self.tensors:
            kept = self.optimizer.state.get(w, {})
            names = self.owner.state.items()
            found.append({n: to_numpy(kept[own]) for n, own in names if own in kept})
            _check_found(self.owner, found[-1], kept)
        return found


def _check_found(owner: Ready, found: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """A state under other names would count as zeros."""
    absent = [own for n, own in owner.state.items() if n not in found]
    if absent and kept:
        raise ValueError(
            f"{owner.name} keeps {', '.join(map(str, kept))}, and no {absent[0]!r}: give "
            "state={name of the protocol: its own name}."
        )


class OptaxReady(Ready):
    """A backend of a function that makes optax transformations."""

    def versions(self) -> dict[str, str]:
        import jax
        import optax

        return {**self._versions, "jax": jax.__version__, "optax": optax.__version__,
                "numpy": np.__version__}  # fmt: skip

    def run(self, spec: RunSpec, params: Sequence[Array]) -> Run:
        return _OptaxRun(self, spec, params)


class _OptaxRun:
    def __init__(self, owner: OptaxReady, spec: RunSpec, params: Sequence[Array]) -> None:
        import jax.numpy as jnp

        self.owner, self.lr = owner, spec["lr"]
        self.given = owner.arguments(spec)
        self.weights = [jnp.asarray(w) for w in params]
        self.kept = self._made(spec["lr"]).init(self.weights)

    def _made(self, lr: float) -> Any:
        return self.owner.make(**{self.owner._called("lr") or "learning_rate": lr}, **self.given)

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        import jax.numpy as jnp
        import optax

        made = self._made(self.lr if lr is None else lr)
        given = [jnp.asarray(g) for g in grads]
        updates, self.kept = made.update(given, self.kept, self.weights)
        self.weights = optax.apply_updates(self.weights, updates)

    def params(self) -> list[Array]:
        return [np.asarray(w) for w in self.weights]

    def state(self) -> list[dict[str, Array]]:
        import optax

        trees = {
            n: optax.tree_utils.tree_get(self.kept, own) for n, own in self.owner.state.items()
        }
        if absent := [n for n, tree in trees.items() if tree is None]:
            raise ValueError(
                f"the state of {self.owner.name} has no {self.owner.state[absent[0]]!r}: give "
                "state={name of the protocol: its own name}."
            )
        return [
            {n: np.asarray(tree[i]) for n, tree in trees.items()} for i in range(len(self.weights))
        ]


class MindSporeReady(Ready):
    """A backend of a ``mindspore.nn.Optimizer`` class."""

    def versions(self) -> dict[str, str]:
        import mindspore

        return {**self._versions, "mindspore": mindspore.__version__, "numpy": np.__version__}

    def run(self, spec: RunSpec, params: Sequence[Array]) -> Run:
        return _MindSporeRun(self, spec, params)


class _MindSporeRun:
    def __init__(self, owner: MindSporeReady, spec: RunSpec, params: Sequence[Array]) -> None:
        from mindspore import Parameter

        self.owner, self.lr = owner, spec["lr"]
        self.weights = [Parameter(w.copy(), name=f"w{i}") for i, w in enumerate(params)]
        key = owner._called("lr") or "learning_rate"
        self.optimizer = owner.make(self.weights, **{key: spec["lr"]}, **owner.arguments(spec))

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        from mindspore import Tensor

        if lr is not None and lr != self.lr:
            raise NotOffered("schedule: its learning rate is that of the run")
        self.optimizer(tuple(Tensor(g) for g in grads))

    def params(self) -> list[Array]:
        return [w.asnumpy().copy() for w in self.weights]

    def state(self) -> list[dict[str, Array]]:
        kept = {n: getattr(self.optimizer, own, None) for n, own in self.owner.state.items()}
        if absent := [n for n, arrays in kept.items() if arrays is None]:
            raise ValueError(
                f"{self.owner.name} has no attribute {self.owner.state[absent[0]]!r}: give "
                "state={name of the protocol: its own name}."
            )
        return [
            {n: arrays[i].asnumpy().copy() for n, arrays in kept.items()}  # type: ignore[index]
            for i in range(len(self.weights))
        ]


TORCH_OPTIONS = ("large", "schedule", "absent")


def torch_backend(optimizer: Callable[..., Any], rule: str, **options: Any) -> TorchReady:
    """A backend of a ``torch.optim.Optimizer`` class; the options are those of :class:`Ready`."""
    return TorchReady(optimizer, rule, **{"options": TORCH_OPTIONS, **options})


def optax_backend(make: Callable[..., Any], rule: str, **options: Any) -> OptaxReady:
    """A backend of a function that makes an optax transformation, such as ``optax.adamw``."""
    return OptaxReady(make, rule, **{"options": ("large", "schedule"), **options})


def mindspore_backend(optimizer: Callable[..., Any], rule: str, **options: Any) -> MindSporeReady:
    """A backend of a ``mindspore.nn.Optimizer`` class."""
    arguments = {
        "lr": "learning_rate",
        "b1": "beta1",
        "b2": "beta2",
        **options.pop("arguments", {}),
    }
    return MindSporeReady(optimizer, rule, arguments=arguments, **options)
