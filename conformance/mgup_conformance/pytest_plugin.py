"""The cases as pytest items: ``pytest --mgup-backend mypackage.module:Backend``.

Ids are ``mgup::<backend>::<case>``. What is known to fail stays in a file of your own::

    # ids or globs; with the backend before them, for that one only
    run/muon_*
    my-lion::rank/nan/*
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # at run time only when it is asked for: the plugin loads with every pytest
    from .cases import Case
    from .protocol import Backend


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the suite."""
    group = parser.getgroup("mgup", "conformance suite of MGUP")
    group.addoption(
        "--mgup-backend", action="append", default=[], metavar="NAME",
        help="check this backend, named as for mgup-conformance run; repeatable",
    )  # fmt: skip
    group.addoption(
        "--mgup-xfails", type=Path, metavar="FILE",
        help="ids or globs of cases known to fail, one a line; one that passes fails the run",
    )  # fmt: skip
    group.addoption(
        "--mgup-level", choices=("identical", "rounding"), default="identical",
        help="what passes: the same bits, or what differs by rounding alone",
    )  # fmt: skip
    group.addoption("--mgup-full", action="store_true", help="the standard set, not the fast one")


class CaseFailed(Exception):
    """A case that failed; its message says all."""


class CaseItem(pytest.Item):
    """One case on one backend."""

    def __init__(self, *, backend: Backend, case: Case, set_of: str, **options: Any) -> None:
        super().__init__(**options)
        self.backend, self.case, self.set_of = backend, case, set_of

    def runtest(self) -> None:
        from .runner import run_case
        from .visible import visible

        level = self.config.getoption("mgup_level")
        result = run_case(self.backend, self.case, set_of=self.set_of, level=level)
        if result.status == "skipped":
            pytest.skip(visible(result.message))
        if result.bad:
            first, _, rest = result.message.partition("\n")
            said = "; ".join(filter(None, (result.judged, result.diagnosis)))
            raise CaseFailed(visible(f"{first}: {said}\n{rest}" if said else result.message))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        if isinstance(excinfo.value, CaseFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.nodeid


class BackendCases(pytest.Collector):
    """All cases for one backend."""

    def __init__(self, *, backend: Backend, set_of: str, **options: Any) -> None:
        super().__init__(**options)
        self.backend, self.set_of = backend, set_of

    def collect(self) -> Iterator[CaseItem]:
        from .catalogue import all_cases, cases_for

        cases = all_cases(fast=self.set_of == "fast")
        for case in cases_for(self.backend, cases, set_of=self.set_of):
            yield CaseItem.from_parent(
                self, name=case.id, backend=self.backend, case=case, set_of=self.set_of
            )


@pytest.hookimpl(tryfirst=True)  # before -k and -m choose among the items
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the cases of the backends that were asked for."""
    names = config.getoption("mgup_backend")
    set_of = "standard" if config.getoption("mgup_full") else "fast"
    if not names:
        return
    try:
        from .backends import load
        from .catalogue import all_cases
        from .runner import check_names
        from .visible import visible

        all_cases()
    except ValueError as error:  # of the rules that the environment names
        raise pytest.UsageError(str(error)) from error
    except ImportError as error:
        raise pytest.UsageError(
            f"--mgup-backend: {error}. It comes with pip install 'mgup[conformance]'"
        ) from error
    made: list[Any] = []
    backends: list[Any] = []
    for name in dict.fromkeys(names):
        try:
            backends.append(load(name))
            check_names(backends)
        except (ImportError, ValueError) as error:
            raise pytest.UsageError(visible(f"--mgup-backend {name}: {error}")) from error
        backend = backends[-1]
        shown = visible(backend.name).translate(str.maketrans("[]", "()"))  # of parameters alone
        node = f"mgup::{shown}"
        collector = BackendCases.from_parent(
            session, name=shown, nodeid=node, backend=backend, set_of=set_of
        )
        cases = list(session.genitems(collector))
        if not cases:
            raise pytest.UsageError(f"--mgup-backend {name}: the {set_of} set has no case for it.")
        made += cases
    if file := config.getoption("mgup_xfails"):
        _expect_failures(file, made)
    items.extend(made)


def _expect_failures(file: Path, items: list[CaseItem]) -> None:
    try:
        lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    except OSError as error:
        raise pytest.UsageError(f"--mgup-xfails: {error}") from error
    for glob in filter(None, lines):
        found = [item for item in items if any(fnmatchcase(key, glob) for key in _keys(item))]
        if not found:
            keys = [key for item in items for key in _keys(item)]
            near = difflib.get_close_matches(glob, keys, n=1, cutoff=0.3)
            hint = f"; the nearest is {near[0]!r}" if near else ""
            raise pytest.UsageError(f"--mgup-xfails {file}: {glob!r} matches no case{hint}.")
        for item in found:
            item.add_marker(pytest.mark.xfail(reason=f"{glob} in {file.name}", strict=True))


def _keys(item: CaseItem) -> tuple[str, str]:
    return item.case.id, f"{item.backend.name}::{item.case.id}"
