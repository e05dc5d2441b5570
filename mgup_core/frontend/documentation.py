"""Docstrings of generated optimizers: the rule's equations and every argument."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping

from ..rules.base import Rule
from .arguments import Argument

_ENTRY = re.compile(r"    (\w+(?:, \w+)*): ")
_SECTION = re.compile(r"^Args:\n((?:    .*\n|\n(?=    ))*)", re.MULTILINE)


def argument_texts(rule_class: type[Rule]) -> dict[str, str]:
    """The text of each hyperparameter in a rule's docstring; several may share one entry."""
    found = _SECTION.search(inspect.cleandoc(rule_class.__doc__ or "") + "\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in (found[1] if found else "").splitlines():
        if entry := _ENTRY.match(line):
            names, line = entry[1].split(", "), line[entry.end() :]
            texts.update(dict.fromkeys(names, ""))
        for name in names:
            texts[name] = f"{texts[name]} {line.strip()}".strip()
    return texts


def docstring(
    rule_class: type[Rule],
    framework: str,
    signature: inspect.Signature,
    arguments: Mapping[str, Argument],
    renamed: Mapping[str, str],
) -> str:
    """The docstring of a rule's optimizer: its equations, then every argument that it takes.

    Args:
        rule_class: the rule, whose docstring has the equations and its own arguments.
        framework: the framework's name.
        signature: the signature of the class or function, with its defaults.
        arguments: the adapter's own arguments.
        renamed: the rule's field for each argument that has another name.
    """
    doc = inspect.cleandoc(rule_class.__doc__ or "") + "\n"
    equations = _SECTION.sub("", doc).strip()
    texts = argument_texts(rule_class)
    lines = []
    for name, parameter in signature.parameters.items():
        if name in ("self", "params"):
            continue
        text = texts.get(renamed.get(name, name)) or (
            arguments[name].text if name in arguments else "the rule's."
        )
        entry = f"{name}: {text} Default: {parameter.default!r}."
        lines.append(textwrap.fill(entry, 96, initial_indent="    ", subsequent_indent=" " * 8))
    return (
        f"{rule_class.__name__} with MGUP, for {framework}.\n\n{equations}\n\n"
        "Args:\n" + "\n".join(lines) + "\n"
    )
