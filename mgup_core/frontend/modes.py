"""How adapters name policies and route parameters: one set of words for every framework."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Any

from ..policy import MGUP, AdaptiveSignMGUP, Cautious, Policy, SignMGUP

MODES = ("rank", "sign", "adaptive", "cautious", "off")
"""The policies, by the argument ``mode``."""

DEFAULTS: dict[str, Any] = {
    "tau": 0.5,
    "alpha": None,
    "gamma": None,
    "mode": "rank",
    "ties": "damped",
    "tau_min": 0.01,
}
"""The arguments of :func:`policy_of`, as adapters default them."""

EXCEPTIONS = ("embed", "embedding", "embeddings", "emb", "wte", "wpe", "head")
"""Words in a parameter's name that keep it from Muon though it is a matrix (R4)."""


def policy_of(
    mode: str, *, tau: float, alpha: Any, gamma: Any, ties: str, tau_min: float
) -> Policy | None:
    """The policy of a mode; ``None`` for ``"off"``, the plain base rule.

    ``alpha`` and ``gamma`` default, when ``None``, to 1/tau and tau in both modes that have them.

    Raises:
        ValueError: naming the argument, if these values make no policy.

    >>> policy_of("sign", tau=0.5, alpha=None, gamma=None, ties="damped", tau_min=0.01)
    SignMGUP(alpha=2.0, gamma=0.5, ties='damped')
    """
    if mode == "rank":
        return MGUP(tau, alpha, gamma)
    if mode == "sign":
        like = MGUP(tau, alpha, gamma)
        return SignMGUP(like.alpha, like.gamma, ties)
    if mode == "adaptive":
        return AdaptiveSignMGUP(tau_min)
    if mode == "cautious":
        return Cautious()
    if mode == "off":
        return None
    raise ValueError(f"mode={mode!r} is none of {', '.join(map(repr, MODES))}.")


def optimizer_signature(defaults: dict[str, Any], positional: tuple[str, ...]) -> Signature:
    """The signature of an optimizer class: ``self``, ``params``, and arguments with defaults.

    Args:
        positional: those that may also be given by position, in order.
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
    """The arguments of a call of ``title`` by name, the defaults of those not given among them.

    Raises:
        TypeError: for what does not fit, naming all that does.

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


def check_words(exceptions: Any) -> tuple[str, ...]:
    """``exceptions`` as a tuple of words; a single word may be given alone.

    Raises:
        TypeError: if they are not words.
    """
    words = (exceptions,) if isinstance(exceptions, str) else tuple(exceptions)
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"exceptions={exceptions!r} must be words.")
    return words


def names_one_of(name: str, exceptions: tuple[str, ...]) -> bool:
    """Whether a name holds one of the exceptions as a word, between dots and underscores.

    >>> names_one_of("lm_head.weight", EXCEPTIONS)
    True
    >>> names_one_of("multihead_attn.in_proj_weight", EXCEPTIONS)
    False
    """
    words = f".{name.lower().replace('_', '.')}."
    return any(f".{exception.lower().replace('_', '.')}." in words for exception in exceptions)
