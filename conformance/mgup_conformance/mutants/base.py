"""What a mutant is: a function that takes the place of a right one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest import mock

import mgup_core

from ..backends.core import Reference


@dataclass(frozen=True)
class Mutant:
    """One mistake."""

    name: str
    mistake: str
    """In a sentence."""
    places: tuple[tuple[Any, str], ...]
    """(what, attribute) that the wrong piece replaces."""
    wrong: Any
    clause: str
    """The one that it breaks."""

    def backend(self) -> MutantBackend:
        """The reference with this mistake."""
        return MutantBackend(self)


class MutantBackend(Reference):
    """The reference, with a wrong piece in place while it works and only then."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.name = mutant, f"mutant:{mutant.name}"

    def array_backend(self, x: Any) -> mgup_core.Backend:
        # The class that mutants change, with nothing of the reference's own over it.
        sorting = super().array_backend(x)
        return mgup_core.Backend(sorting.xp, sorting.dtype, sorting.device)

    def context(self) -> contextlib.AbstractContextManager[Any]:
        stack = contextlib.ExitStack()
        for target, attribute in self.mutant.places:
            stack.enter_context(mock.patch.object(target, attribute, self.mutant.wrong))
        return stack


def instead_of(*places: tuple[Any, str], clause: str) -> Callable[[Callable[..., Any]], Mutant]:
    """Make a mutant of a function, whose docstring is the mistake, against a clause."""

    def made(wrong: Callable[..., Any]) -> Mutant:
        return Mutant(wrong.__name__, (wrong.__doc__ or "").strip(), places, wrong, clause)

    return made
