"""The arguments that every optimizer of this package adds to its rule's, and what they mean."""

from __future__ import annotations

from typing import Literal

from mgup_core.frontend.arguments import ARGUMENTS, Argument, literal

Scope = Literal["global", "local"]
"""Whether a DTensor's slices are ranked as wholes, or each rank's part by itself."""
Implementation = Literal["auto", "fused", "reference"]

NUMBER = "float | Tensor"
"""How stubs write a number that may be a tensor."""

TORCH_ARGUMENTS: dict[str, Argument] = {
    **ARGUMENTS,
    "mode": ARGUMENTS["mode"]._replace(
        type=f"{ARGUMENTS['mode'].type} | Policy",
        text=f"{ARGUMENTS['mode'].text} Or a Policy, which has factors of its own (P13).",
    ),
    "params": Argument(
        "ParamsT",
        "tensors, (name, tensor) pairs as model.named_parameters() has, or groups of either.",
    ),
    "state_dtype": Argument(
        "torch.dtype | None", "dtype of the moments; None is the parameter's (R5)."
    ),
    "scope": Argument(
        literal(Scope),
        'what is ranked of a DTensor: "global" the whole, "local" each rank\'s part alone (P4).',
    ),
    "implementation": Argument(
        literal(Implementation),
        'what computes the step, never what comes out: "fused" kernels, the "reference", or the '
        "fastest there is.",
    ),
    "statistics": Argument("bool", "whether to measure what the policy does, for statistics()."),
    "maximize": Argument("bool", "whether to ascend."),
    "foreach": Argument("bool | None", "accepted as in torch.optim, and changes nothing."),
    "fused": Argument(
        "bool | None",
        "accepted as in torch.optim, and changes no result; True lets a GradScaler leave it to a "
        "fused step whether it is skipped.",
    ),
    "capturable": Argument("bool", "whether the count of steps lies on the parameter's device."),
    "differentiable": Argument("bool", "accepted as in torch.optim; True is refused."),
    "amsgrad": Argument("bool", "accepted as in torch.optim; True is refused: use MGUPAMSGrad."),
}
