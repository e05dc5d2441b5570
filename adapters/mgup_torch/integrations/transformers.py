"""MGUP in the Trainer of Hugging Face Transformers, and in those made from it (trl, …)."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from ..base.optimizer import RuleOptimizer
from .statistics import layer_of, summary


class OptimizerFromArguments:
    """An optimizer as ``TrainingArguments`` describe it when training begins.

    See :func:`trainer_optimizer`.
    """

    def __init__(
        self, make: type[RuleOptimizer], args: TrainingArguments, arguments: dict[str, Any]
    ) -> None:
        self.make, self.args, self.arguments = make, args, arguments

    def __call__(self) -> Callable[..., RuleOptimizer]:  # as the Trainer asks
        return self.of_model

    def of_model(self, model: torch.nn.Module, **arguments: Any) -> RuleOptimizer:
        """The optimizer of a model's trainable parameters."""
        return self.make.from_model(model, **{**self.read(), **self.arguments, **arguments})

    def read(self) -> dict[str, Any]:
        """What the training arguments say now."""
        args, takes = self.args, inspect.signature(self.make).parameters
        found: dict[str, Any] = {"lr": args.learning_rate, "weight_decay": args.weight_decay}
        changed = {
            name: getattr(args, name)
            for name in ("adam_beta1", "adam_beta2", "adam_epsilon")
            if getattr(args, name) != TrainingArguments.__dataclass_fields__[name].default
        }
        if changed.keys() - {"adam_epsilon"} and "betas" in takes:
            found["betas"] = (args.adam_beta1, args.adam_beta2)
        if "adam_epsilon" in changed and "eps" in takes:
            found["eps"] = args.adam_epsilon
        return {**found, **arguments_of(args.optim_args)}


def trainer_optimizer(
    make: type[RuleOptimizer], args: TrainingArguments, **arguments: Any
) -> tuple[Any, dict[str, Any]]:
    """What ``Trainer(optimizer_cls_and_kwargs=…)`` takes, reading the training arguments.

    Given a class alone, the Trainer hands it unnamed parameters and ignores
    ``args.learning_rate``, so that ``hyperparameter_search`` trains all trials alike. This makes
    the optimizer by ``from_model``, and reads, each time that it is made: ``learning_rate``,
    ``weight_decay``, the betas and epsilon of Adam where they are not the defaults, and
    ``optim_args``, such as ``"tau=0.3, mode=sign"``.

    Args:
        make: ``MGUPAdamW`` or another class of this package.
        args: those of the Trainer, the same object.
        arguments: of the class, before what ``args`` say.

    >>> trainer = Trainer(model, args, optimizer_cls_and_kwargs=trainer_optimizer(MGUPAdamW, args))
    ... # doctest: +SKIP
    """
    return OptimizerFromArguments(make, args, arguments), {}


def arguments_of(text: str | None) -> dict[str, Any]:
    """Keyword arguments from a configuration's text; a bare word is a string.

    Raises:
        ValueError: for a text that is none.

    >>> arguments_of("tau=0.3, betas=(0.9, 0.95), mode=sign")
    {'tau': 0.3, 'betas': (0.9, 0.95), 'mode': 'sign'}
    """
    try:
        call: Any = ast.parse(f"f({text or ''})", mode="eval").body
        if call.args or any(word.arg is None for word in call.keywords):
            raise ValueError
        return {word.arg: _value(word.value) for word in call.keywords}
    except (SyntaxError, ValueError):
        raise ValueError(
            f"optim_args={text!r} is no list of arguments: write them as in a call, such as "
            "'tau=0.3, mode=sign'."
        ) from None


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


class StatisticsCallback(TrainerCallback):  # type: ignore[misc]
    """Log what the policy did, whenever the Trainer logs; make the optimizer with statistics=True.

    Args:
        log: takes the numbers by name, such as ``trainer.log``, which hands them to TensorBoard and
            whatever else reports. By default they are kept in :attr:`history` only.
        by_layer: whether for each layer, or for all parameters together.
    """

    def __init__(
        self, log: Callable[[dict[str, float]], Any] | None = None, *, by_layer: bool = False
    ) -> None:
        self.log = log
        self.by = layer_of if by_layer else None
        self.history: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if control.should_log:
            found = summary(kwargs["optimizer"], self.by)
            values = {f"mgup/{name}": value for name, value in found.items()}
            self.history.append({"step": state.global_step, **values})
            if self.log is not None:
                self.log(values)
