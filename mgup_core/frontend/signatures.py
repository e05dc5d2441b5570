"""The signatures of generated optimizers, and the binding of their arguments."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Any


def optimizer_signature(defaults: dict[str, Any], positional: tuple[str, ...]) -> Signature:
    """The signature of an optimizer class: ``self``, ``params``, and arguments with defaults.

    Args:
        defaults: the arguments with their defaults.
        positional: the arguments that may also be given by position, in order.
    """
    named, either = Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD
    rest = [name for name in defaults if name not in positional]
    return Signature(
        [
            Parameter("self", Parameter.POSITIONAL_ONLY),
            Parameter("params", either),
            *(Parameter(n, either, default=defaults[n]) for n in positional),
            *(Parameter(n, named, default=defaults[n]) for n in rest),
        ]
    )


def bind(title: str, signature: Signature, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call of ``title`` by name, defaults included.

    Raises:
        TypeError: for arguments that do not fit, naming all that the signature takes.

    >>> bind("MGUPLion", optimizer_signature({"lr": 1e-4, "tau": 0.5}, ("lr",)), None, [], eps=1e-8)
    Traceback (most recent call last):
    TypeError: MGUPLion: got an unexpected keyword argument 'eps'. It takes params, lr, tau.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = ", ".join(name for name in signature.parameters if name != "self")
        raise TypeError(f"{title}: {error}. It takes {takes}.") from None
    bound.apply_defaults()
    return bound.arguments
