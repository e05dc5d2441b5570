"""Griffe extension: docstrings in Markdown, and the optimizers as the stubs have them."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
_LITERAL = re.compile(r"^::\n", re.MULTILINE)
_SECTION = re.compile(r"^(?:Args|Attributes):\n(?:(?: {4}.*)?(?:\n|\Z))+", re.MULTILINE)
_SHARED = re.compile(r"^ {4}(\w+(?:, \w+)+):((?:.*\n)(?: {8,}.*\n)*)", re.MULTILINE)
_DEFAULT = re.compile(r"\s+Default:\s[^\n]+\.\n(?= {4}\S|\n|\Z)")
_QUOTED = re.compile(r"^( +)(?=>=? )", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Roles become code, ``::`` goes before an indented block, doctests become code blocks.

    Arguments that share a line get one each: only so are their types and defaults found. Their
    default has a column of its own, and is not said twice. A line that begins with ``>=`` goes on
    with a sentence, and quotes nobody.
    """

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of every object as it is loaded."""
        if obj.docstring is not None:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            text = _LITERAL.sub("", text)
            text = _SECTION.sub(lambda args: _arguments(args[0] + "\n"), text)
            obj.docstring.value = _DOCTEST.sub(_fenced, text)


def _arguments(section: str) -> str:
    section = _QUOTED.sub(r"\1\\", _SHARED.sub(_apart, section))
    return _DEFAULT.sub("\n", section)


def _apart(shared: re.Match[str]) -> str:
    return "".join(f"    {name}:{shared[2]}" for name in shared[1].split(", "))


class Stubs(griffe.Extension):
    """What is made from rules has its arguments in the stub, and nowhere else in the source."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Put the classes and functions of a stub in the places of those that the package makes."""
        _out_of_namesakes(pkg)
        path = getattr(pkg.filepath, "parent", None)
        if path is None or not (stub := path / "__init__.pyi").exists():
            return
        source = stub.read_text(encoding="utf-8")
        written = griffe.visit(pkg.name, stub, source, extensions=loader.extensions)
        for name, member in list(written.members.items()):
            if member.is_alias:
                continue
            if member.is_class and not name.startswith("_"):
                pkg.set_member(name, member)
            elif member.is_attribute and str(member.annotation).startswith("_"):
                pkg.set_member(name, _function(name, written[f"{member.annotation}.__call__"]))


def _out_of_namesakes(package: griffe.Module) -> None:
    """Where a package names a function like the module that it is from, show the function."""
    namesakes = {
        name: module
        for name, module in package.members.items()
        if not module.is_alias and module.is_module and name in module.members
    }
    for name, member in list(package.members.items()):
        words = member.target_path.split(".") if member.is_alias else []
        if words[:1] == [package.name] and len(words) == 3 and words[1] in namesakes:
            package.set_member(name, namesakes[words[1]].members[words[2]])
    for name, module in namesakes.items():
        package.set_member(name, module.members[name])


def _function(name: str, call: griffe.Function) -> griffe.Function:
    """A function that takes and does what the ``__call__`` of a class does."""
    given = (one for one in call.parameters if one.name != "self")
    made = griffe.Function(
        name,
        parameters=griffe.Parameters(*given),
        returns=call.returns,
        lineno=call.lineno,
        endlineno=call.endlineno,
    )
    if call.docstring is not None:
        made.docstring = griffe.Docstring(call.docstring.value, parent=made)
    return made


def _fenced(example: re.Match[str]) -> str:
    return f"```pycon\n{example[0].rstrip()}\n```\n"
