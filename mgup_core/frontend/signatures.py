"""The signatures of generated optimizers, and the binding of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from inspect import Parameter, Signature
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., None])


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


def takes(arguments: Mapping[str, Any]) -> Callable[[Method], Method]:
    """Decorate an ``__init__`` whose last parameter is ``**``: these are what it takes there.

    >>> @takes({"tau": 0.5})
    ... def __init__(self, params, **mgup): ...
    >>> str(inspect.signature(__init__))
    '(self, params, *, tau=0.5)'
    """

    def decorate(method: Method) -> Method:
        signature = inspect.signature(method)
        *own, _ = signature.parameters.values()
        more = [Parameter(n, Parameter.KEYWORD_ONLY, default=x) for n, x in arguments.items()]
        vars(method)["__signature__"] = signature.replace(parameters=[*own, *more])
        return method

    return decorate


def bind(title: str, signature: Signature, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The arguments of a call of ``title`` by name, defaults included.

    Raises:
        TypeError: for arguments that do not fit, naming all that the signature takes.

    >>> bind("MGUPLion", optimizer_signature({"lr": 1e-4, "tau": 0.5}, ("lr",)), None, [], eps=1e-8)
    Traceback (most recent call last):
    TypeError: MGUPLion: got an unexpected keyword argument 'eps'. It takes params, lr, tau.
    >>> bind("MGUPLion", optimizer_signature({"lr": 1e-4, "tau": 0.5}, ("lr",)), None, taus=0.5)
    Traceback (most recent call last):
    TypeError: MGUPLion: missing a required argument: 'params'. It takes params, lr, tau.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        takes = [name for name in signature.parameters if name != "self"]
        wrong = [name for name in kwargs if f"unexpected keyword argument {name!r}" in str(error)]
        near = get_close_matches(wrong[0], takes, n=1) if wrong else []
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise TypeError(f"{title}: {error}{hint} It takes {', '.join(takes)}.") from None
    bound.apply_defaults()
    return bound.arguments
