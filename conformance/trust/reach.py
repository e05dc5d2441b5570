"""Which lines of the library each test runs, so that a mutant meets the tests that can tell it."""

from __future__ import annotations

import ast
import itertools
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytest

Touched = dict[str, dict[str, Any]]
"""By a test's id: its ``seconds`` of the processor, and the ``lines`` of each module."""


class Reach:
    """A plugin of pytest: notes what the tests that pass reach, in modules below a folder.

    A test that takes another's cached result does not reach the lines that made it; so a mutant
    that survives the tests of its own line meets, after them, those of its module.
    """

    def __init__(self, folder: str, below: tuple[str, ...]) -> None:
        self.folder, self.below = folder, tuple(f"{folder}/{name}" for name in below)
        self.found: Touched = {}
        self._lines: dict[str, set[int]] = {}

    def _trace(self, frame: FrameType, event: str, given: Any) -> Any:
        if not frame.f_code.co_filename.startswith(self.below):
            return None
        add = self._lines[frame.f_code.co_filename].add

        def lines(frame: FrameType, event: str, given: Any) -> Any:
            add(frame.f_lineno)
            return lines

        add(frame.f_lineno)
        return lines

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._lines = defaultdict(set)
        began = time.process_time()
        sys.settrace(self._trace)
        try:
            result = yield
        finally:
            sys.settrace(None)
        cut = len(self.folder) + 1
        lines = {path[cut:]: sorted(found) for path, found in self._lines.items()}
        if item.nodeid in self.found:
            self.found[item.nodeid].update(seconds=time.process_time() - began, lines=lines)
        return result  # type: ignore[no-any-return]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.found[report.nodeid] = {}


class Chosen:
    """A plugin of pytest: runs some tests, in the order in which they are given.

    Args:
        tests: their ids, or those of functions with all their parametrizations.
        seconds: what each took of the processor; the process ends when one takes ten times that.
    """

    def __init__(self, tests: list[str], seconds: dict[str, float]) -> None:
        self.places = {test: i for i, test in enumerate(tests)}
        self.seconds = seconds

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        limit = 2 + 10 * self.seconds.get(item.nodeid, 10.0)
        signal.setitimer(signal.ITIMER_VIRTUAL, limit)  # its signal ends a process

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        def place(item: pytest.Item) -> int | None:
            function = item.nodeid.partition("[")[0]
            return self.places.get(item.nodeid, self.places.get(function))

        placed = [(i, item) for item in items if (i := place(item)) is not None]
        items[:] = [item for _, item in sorted(placed, key=lambda x: x[0])]


def statements(source: str) -> list[tuple[range, bool]]:
    """The lines of every statement's own part, and whether it runs when its function is called."""
    found = []

    def visit(body: list[ast.stmt], called: bool) -> None:
        for one in body:
            parts = [b for b in _bodies(one) if b]
            own = min((b[0].lineno for b in parts), default=(one.end_lineno or one.lineno) + 1)
            inside = called and not isinstance(one, ast.ClassDef)
            found.append((range(one.lineno, max(own, one.lineno + 1)), called))
            for part in parts:
                visit(part, inside or isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)))

    visit(ast.parse(source).body, False)
    return found


def _bodies(one: ast.stmt) -> list[list[ast.stmt]]:
    handlers = [h.body for h in getattr(one, "handlers", [])]
    cases = [c.body for c in getattr(one, "cases", [])]
    names = ("body", "orelse", "finalbody")
    return [*(getattr(one, name, []) for name in names), *handlers, *cases]


def fitting(touched: Touched, path: str, line: int, source: str, budget: float) -> list[str]:
    """The tests of a line, then of its module: one of each function in turn, the quickest first.

    Args:
        touched: what the tests reach.
        path: of the module.
        line: of the change.
        source: of the module.
        budget: the seconds after which no further test is taken.
    """
    around = [(r, called) for r, called in statements(source) if line in r]
    lines, called = min(around, key=lambda x: len(x[0]), default=(range(0), False))
    of_module = {t: one for t, one in touched.items() if path in one["lines"]}
    of_line = [
        t for t, one in of_module.items() if called and not lines_apart(lines, one["lines"][path])
    ]
    ordered = [*_in_turn(of_line, touched)]
    ordered += [t for t in _in_turn(list(of_module), touched) if t not in set(ordered)]
    taken, spent = [], 0.0
    for test in ordered:
        spent += touched[test]["seconds"]
        if spent > budget and taken:
            break
        taken.append(test)
    return taken


def lines_apart(lines: range, reached: list[int]) -> bool:
    return not any(line in lines for line in reached)


def _in_turn(tests: list[str], touched: Touched) -> Iterator[str]:
    """One parametrization of each function, then a second, and so on."""
    kinds = defaultdict(list)
    for test in sorted(tests, key=lambda t: touched[t]["seconds"]):
        kinds[test.partition("[")[0]].append(test)
    for row in itertools.zip_longest(*kinds.values()):
        yield from (test for test in row if test is not None)
