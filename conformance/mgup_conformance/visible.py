"""What others raise and say, made safe to show.

A terminal obeys escape sequences, and a page some others.
"""

from __future__ import annotations

import traceback
import unicodedata
from typing import Any

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of what is obeyed and not seen: controls (ESC among them), formats (those
that turn the direction of writing), halves of a pair, separators of lines and paragraphs."""

ENDS = (Exception, SystemExit)
"""What the code of others may raise where it is imported or called. Ctrl-C is not theirs."""


def raised(error: BaseException) -> str:
    """An exception in a line, as Python says it last, whatever its own text does."""
    return traceback.format_exception_only(error)[-1].strip()


def visible(x: Any) -> Any:
    r"""Every text in plain data, keys included, with what is obeyed and not seen spelled out.

    Line feeds stay, and tabs become spaces, since they are layout.

    >>> visible({"message": "\x1b[2Jgone\n"})
    {'message': '\\x1b[2Jgone\n'}
    """
    if isinstance(x, str):
        return "".join(map(_spelled, x.expandtabs(4)))
    if isinstance(x, dict):
        return {visible(key): visible(value) for key, value in x.items()}
    if isinstance(x, list):
        return [visible(item) for item in x]
    return x


def _spelled(character: str) -> str:
    if character == "\n" or unicodedata.category(character) not in HIDDEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
