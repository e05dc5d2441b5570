"""The arguments that every optimizer of this package adds to its rule's, and what they mean."""

from __future__ import annotations

from mgup_core.frontend.arguments import ARGUMENTS, Argument

NUMBER = "float | Tensor | Iterable[float] | LearningRateSchedule"
"""How stubs write a number that may be scheduled."""

MINDSPORE_ARGUMENTS: dict[str, Argument] = {
    **ARGUMENTS,
    "params": Argument("Iterable[Any]", "parameters, or groups of them."),
    "learning_rate": Argument("{number}", "as in nn.Optimizer: a number >= 0, or a schedule."),
    "weight_decay": Argument(
        "float | Cell",
        "decoupled decay, finite and >= 0, or a schedule: a step takes lr * weight_decay * w "
        "besides (R0).",
    ),
    "loss_scale": Argument("float", "as in nn.Optimizer: gradients are divided by it."),
    "alpha": Argument(
        "float | None", "factor of the selected, finite and >= 1; default 1 / tau (P6, P7)."
    ),
    "gamma": Argument("float | None", "factor of the rest, in (0, 1]; default tau (P6, P7)."),
    "state_dtype": Argument(
        "mindspore.Type | None", "dtype of the moments; None is the parameter's (R5)."
    ),
}
