"""Write the stubs that type checkers and editors read; ``--check`` only compares them.

The optimizers are made from rules, so no checker sees their arguments. The stub beside each
adapter's ``__init__`` spells them out, from the same signatures that the calls are checked by.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mgup_core import Rule
from mgup_core.frontend.arguments import Argument, literal
from mgup_core.rules.matrix import NSCoefficients

HERE = Path(__file__).parent

_OF_MUON = """from mgup_core.rules.base import Decay
from mgup_core.rules.matrix import NSCoefficients, NSDtype, NSForm
from mgup_core.rules.muon import Scale"""


class Adapter(NamedTuple):
    """What a package's stub needs besides its signatures."""

    name: str
    number: str
    """The type of a number that may be scheduled."""
    arguments: Mapping[str, Argument]
    imports: str
    result: str = ""
    """What a function returns; empty where the optimizers are classes."""

    def renamed(self, name: str) -> str:
        """The rule's field that gives the type of an argument."""
        return re.sub(r"^beta(\d)$", r"b\1", name)


def torch_adapter() -> Adapter:
    from mgup_torch.arguments import NUMBER, TORCH_ARGUMENTS

    return Adapter(
        "mgup_torch",
        NUMBER,
        TORCH_ARGUMENTS,
        "import torch\nfrom torch import Tensor\nfrom torch.optim.optimizer import ParamsT\n"
        "from mgup_core import Policy\n" + _OF_MUON,
    )


def jax_adapter() -> Adapter:
    from mgup_jax.arguments import JAX_ARGUMENTS

    return Adapter(
        "mgup_jax",
        "Scheduled",
        JAX_ARGUMENTS,
        "from typing import Any, Protocol\nimport optax\nfrom jax.typing import DTypeLike\n"
        "from mgup_core.frontend.modes import Mode\nfrom mgup_core.policy import Ties\n"
        f"from .arguments import Scheduled, Selection, UpdateDtype\n{_OF_MUON}",
        result="Optimizer",
    )


def mindspore_adapter() -> Adapter:
    from mgup_mindspore.arguments import MINDSPORE_ARGUMENTS, NUMBER

    return Adapter(
        "mgup_mindspore",
        NUMBER,
        MINDSPORE_ARGUMENTS,
        "from collections.abc import Iterable\nfrom typing import Any\nimport mindspore\n"
        "from mindspore import Tensor\nfrom mindspore.nn import Cell\n"
        f"from mindspore.nn.learning_rate_schedule import LearningRateSchedule\n{_OF_MUON}",
    )


ADAPTERS = {
    "mgup_torch": torch_adapter,
    "mgup_jax": jax_adapter,
    "mgup_mindspore": mindspore_adapter,
}


def spelled(kind: Any) -> str:
    """A hyperparameter's type as it is written."""
    if kind == NSCoefficients:
        return "NSCoefficients"
    if typing.get_origin(kind) is Literal:
        return literal(kind)
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)


def argument(adapter: Adapter, rule: type[Rule], parameter: inspect.Parameter) -> str:
    """One argument with its type and default."""
    name, hints = parameter.name, typing.get_type_hints(rule)
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    if parameter.annotation is not parameter.empty:
        return f"{name}: {parameter.annotation}{default}"
    own = adapter.renamed(name)
    if name == "betas":
        kind = f"tuple[{', '.join(['float'] * len(parameter.default))}]"
    elif own in {field.name for field in fields(rule)}:
        kind = spelled(hints[own])
    else:
        kind = adapter.arguments[name].type.format(number=adapter.number)
    return f"{name}: {kind}{default}"


def spelled_arguments(adapter: Adapter, rule: type[Rule], signature: inspect.Signature) -> str:
    lines, starred = [], False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            lines.append("*")
        lines.append(argument(adapter, rule, parameter))
    return ", ".join(lines)


def made(adapter: Adapter, name: str, value: Any) -> str | None:
    """The stub of one optimizer that was made from a rule, or ``None`` if it was not."""
    rule = getattr(value, "rule_class", None)
    if rule is None or name == "RuleOptimizer":
        return None
    function = value if adapter.result else value.__init__
    arguments = spelled_arguments(adapter, rule, inspect.signature(function))
    if adapter.result:  # a class, since the function has attributes
        kind = f"_{value.__name__}"
        call = f"    def __call__(self, {arguments}) -> {adapter.result}:\n{documented(value, 8)}"
        made = f"class {kind}(Transformation, Protocol):\n{call}" if value.__name__ == name else ""
        return f"{made}{name}: {kind}"
    return (
        f"class {name}(RuleOptimizer):\n{documented(value, 4)}"
        f"    def __init__(self, {arguments}) -> None: ..."
    )


def documented(value: Any, depth: int) -> str:
    """The docstring of a class or function, so that editors and the documentation show it."""
    doc = inspect.cleandoc(value.__doc__).replace("\\", "\\\\")
    return textwrap.indent(f'"""{doc}\n"""', " " * depth) + "\n"


def stub(adapter: Adapter) -> str:
    """The source of a package's stub, before it is formatted."""
    package = importlib.import_module(adapter.name)
    source = ast.parse(Path(str(package.__file__)).read_text(encoding="utf-8"))
    where = {
        alias.asname or alias.name: f".{node.module}"
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    stubs = {name: made(adapter, name, getattr(package, name)) for name in package.__all__}
    lines = [
        f'"""Written by adapters/{Path(__file__).name}; do not edit."""',
        "from typing import Literal",
        adapter.imports,
        *(f"from {where[n]} import {n} as {n}" for n, text in stubs.items() if text is None),
        "__version__: str",
        f"__all__ = {package.__all__!r}",
        *(text for text in stubs.values() if text is not None),
    ]
    return "\n".join(lines) + "\n"


def formatted(source: str) -> str:
    """As ruff writes it."""
    named = ["--stdin-filename", "adapters/__init__.pyi", "-"]  # as it is in the repository
    for command in (["check", "--select", "I,F401", "--fix", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, *named],
            input=source, capture_output=True, text=True, check=True, cwd=HERE.parent,
        )  # fmt: skip
        source = done.stdout
    return source


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="*", default=list(ADAPTERS), help="all by default")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if one is stale")
    asked = parser.parse_args()
    stale = 0
    for name in asked.packages:
        path, text = HERE / name / "__init__.pyi", formatted(stub(ADAPTERS[name]()))
        if asked.check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            print(f"{path.relative_to(HERE)} is stale: run `make stubs`.", file=sys.stderr)
            stale = 1
        elif not asked.check:
            path.write_text(text, encoding="utf-8")
    return stale


if __name__ == "__main__":
    sys.exit(main())
