"""Griffe extension: what docstrings borrow from reStructuredText, put into Markdown."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr):`~?([^`]+)`")
_LITERAL = re.compile(r"^::\n", re.MULTILINE)
_SECTION = re.compile(r"^(?:Args|Attributes):\n(?:(?: {4}.*)?(?:\n|\Z))+", re.MULTILINE)
_SHARED = re.compile(r"^ {4}(\w+(?:, \w+)+):((?:.*\n)(?: {8,}.*\n)*)", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Roles become code, ``::`` goes before an indented block, doctests become code blocks.

    Arguments that share a line get one each: only so are their types and defaults found.
    """

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of every object as it is loaded."""
        if obj.docstring is not None:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            text = _LITERAL.sub("", text)
            text = _SECTION.sub(lambda args: _SHARED.sub(_apart, args[0] + "\n"), text)
            obj.docstring.value = _DOCTEST.sub(_fenced, text)


def _apart(shared: re.Match[str]) -> str:
    return "".join(f"    {name}:{shared[2]}" for name in shared[1].split(", "))


def _fenced(example: re.Match[str]) -> str:
    return f"```pycon\n{example[0].rstrip()}\n```\n"
