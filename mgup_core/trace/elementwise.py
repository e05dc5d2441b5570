"""Checks that a rule which says ``elementwise = True`` steps each coordinate by itself."""

from __future__ import annotations

import numpy as np

from ..numerics.backend import backend_for
from ..rules.base import Rule
from .ops import NotElementwise
from .tracer import Symbol, recorded


def check_elementwise(rule: Rule) -> None:
    """Refuse an elementwise rule that reduces, multiplies matrices, or reads a shape.

    Drivers step elementwise rules block by block, and so would give each block a norm of its own.

    Raises:
        ValueError: naming the rule, the operation and the remedy.
    """
    if rule.elementwise and (operation := _reaches_beyond(rule)):
        raise ValueError(
            f"{type(rule).__name__} says elementwise = True, which is the default, but its step "
            f"needs {operation}, so a coordinate depends on others. Declare "
            "`elementwise: ClassVar[bool] = False` in the rule."
        )


def _reaches_beyond(rule: Rule) -> str | None:
    """The operation by which a coordinate depends on others; ``None`` if there is none."""
    like = np.zeros((2, 3), np.float32)
    for name, value in rule.init(backend_for(like), like).items():
        if value.shape != like.shape:
            return f"state {name!r} of shape {value.shape} for a parameter of {like.shape}"
    try:
        recorded(rule)
    except NotElementwise as error:
        return error.operation
    except AttributeError as error:
        if isinstance(error.obj, Symbol):
            return f"x.{error.name}"
    except Exception:
        return None  # another fault, such as a rule that reads values, is reported where it shows
    return None
