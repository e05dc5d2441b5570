"""The argument ``mode``: the names of the policies in every framework."""

from __future__ import annotations

from typing import Any, Literal, get_args

from ..policy import MGUP, AdaptiveSignMGUP, Cautious, Policy, SignMGUP, Ties

Mode = Literal["rank", "sign", "adaptive", "cautious", "off"]
MODES: tuple[str, ...] = get_args(Mode)
"""The values of the argument ``mode``, one for each policy."""

DEFAULTS: dict[str, Any] = {
    "tau": 0.5,
    "alpha": None,
    "gamma": None,
    "mode": "rank",
    "ties": "damped",
    "tau_min": 0.01,
}
"""The adapters' defaults of the arguments of :func:`policy_of`."""


def policy_of(
    mode: Mode, *, tau: float, alpha: Any, gamma: Any, ties: Ties, tau_min: float
) -> Policy | None:
    """The policy of a mode; ``None`` for ``"off"``, the plain base rule.

    ``alpha`` and ``gamma``, if ``None``, are 1/tau and tau in both modes that have them.

    Raises:
        ValueError: naming the argument whose value the policy does not allow.

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
