"""Mutants of a module: one small change each, at one place of its source text."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

COMPARE = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.Is: "is not", ast.IsNot: "is", ast.In: "not in", ast.NotIn: "in",
}  # fmt: skip
ARITHMETIC = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "/", ast.Mod: "*",
    ast.Pow: "*", ast.BitAnd: "|", ast.BitOr: "&", ast.LShift: ">>", ast.RShift: "<<",
}  # fmt: skip


class Mutant(NamedTuple):
    """A module with one change."""

    path: str
    line: int
    kind: str
    before: str
    """The text that is replaced."""
    after: str
    source: str
    """Of the whole module."""
    key: str
    """The same as long as the text of its line and the change are."""


def mutants(path: str, source: str) -> list[Mutant]:
    """All mutants of a module, in the order of their places."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    data = source.encode()
    found = []
    seen: Counter[str] = Counter()
    for kind, node, after in _changes(ast.parse(source)):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        before = data[begin:end].decode()
        text = (data[:begin] + after.encode() + data[end:]).decode()
        try:
            compile(text, path, "exec")
        except SyntaxError:
            continue
        short = [" ".join(x.split())[:60] for x in (before, after)]
        said = f"{path}:{kind}:{short}:{source.splitlines()[node.lineno - 1].strip()}"
        again = seen[said] = seen[said] + 1
        key = hashlib.sha256(f"{said}:{again}".encode()).hexdigest()[:16]
        found.append(Mutant(path, node.lineno, kind, *short, text, key))
    return sorted(found, key=lambda m: (m.line, m.kind, m.before))


def _changes(tree: ast.Module) -> Iterator[tuple[str, ast.AST, str]]:
    typed = _annotations(tree)
    for node in ast.walk(tree):
        if id(node) in typed:
            continue
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = ast.unparse(node.left), ast.unparse(node.comparators[0])
            yield "compare", node, f"({left} {COMPARE[type(node.ops[0])]} {right})"
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            text = ast.unparse(node)
            left, right = ast.unparse(node.left), ast.unparse(node.right)
            if not _is_text(node.left) and not _is_text(node.right) and text:
                yield "arithmetic", node, f"(({left}) {ARITHMETIC[type(node.op)]} ({right}))"
        elif isinstance(node, ast.BoolOp):
            word = " or " if isinstance(node.op, ast.And) else " and "
            yield "boolean", node, "(" + word.join(f"({ast.unparse(v)})" for v in node.values) + ")"
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            yield "unary", node, f"({ast.unparse(node.operand)})"
        elif isinstance(node, (ast.If, ast.IfExp)) and not _is_type_checking(node.test):
            yield "condition", node.test, f"(not ({ast.unparse(node.test)}))"
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            value = node.value
            yield "number", node, repr(not value if type(value) is bool else value + 1)
        elif isinstance(node, ast.Return) and node.value is not None:
            if not (isinstance(node.value, ast.Constant) and node.value.value is None):
                yield "return", node, "return None"
        elif isinstance(node, (ast.Expr, ast.AugAssign, ast.Raise)) and not _is_docstring(node):
            yield "left out", node, "pass"


def _annotations(tree: ast.Module) -> set[int]:
    """The nodes that no program runs: types, which the modules quote."""
    quoted: set[int] = set()
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            part = getattr(node, name, None)
            if isinstance(part, ast.AST):
                quoted.update(map(id, ast.walk(part)))
    return quoted


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_type_checking(test: ast.AST) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"
