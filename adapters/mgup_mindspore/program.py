"""Recorded programs as cells: their source in a file, their numbers as data."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from . import operations
from .operations import NUMPY

_numbers = count()


Constants = Sequence[tuple[Any, Any]]
"""(numbers, MindSpore dtype) for each."""


def held(constants: Constants) -> tuple[Parameter, ...]:
    """Constants as data: parameters that no cell owns, as long as the tuple is a plain one."""
    return tuple(
        Parameter(
            Tensor(np.asarray(value, NUMPY[dtype])),
            name=f"mgup_constant_{next(_numbers)}",
            requires_grad=False,
        )
        for value, dtype in constants
    )


class Program(nn.Cell):
    """A recorded computation; ``construct`` takes and returns tensors, and changes none."""

    def __init__(self, source: str, constants: Constants, parts: Sequence[nn.Cell]) -> None:
        super().__init__(auto_prefix=False)
        self.source = source
        self.constants = held(constants)
        self.parts = nn.CellList(parts, auto_prefix=False)

    def take(self, recording: Recording) -> None:
        """Go on with the numbers of a recording of the same source: nothing compiles (R7)."""
        for place, (value, dtype) in zip(self.constants, recording.constants, strict=True):
            array: np.ndarray[Any, Any] = np.asarray(value, NUMPY[dtype])
            if place.asnumpy().tobytes() != array.tobytes():
                operations.assign(place, Tensor(array))

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """The same as a graph, whatever the mode."""
        return ms.jit(self.construct)  # type: ignore[no-any-return]


class Recording:
    """A program as it was recorded.

    Args:
        source: of its function ``construct``.
        constants: the numbers that it takes as data.
        parts: the cells that it calls.
    """

    def __init__(self, source: str, constants: Constants, parts: Sequence[nn.Cell]) -> None:
        self.source, self.constants, self.parts = source, constants, parts

    def cell(self) -> Program:
        """As a cell that MindSpore can parse."""
        members = {"construct": _load(self.source), "__module__": __name__}
        kind = type("Program", (Program,), members)
        return kind(self.source, self.constants, self.parts)  # type: ignore[no-any-return]


_folder: list[tempfile.TemporaryDirectory[str]] = []


@lru_cache(maxsize=256)
def _load(source: str) -> Callable[..., Any]:
    """The function that the source defines, with a file from which MindSpore can parse it.

    It lives in the module :mod:`operations`, where MindSpore looks up the names that it uses.
    """
    if not _folder:
        _folder.append(tempfile.TemporaryDirectory(prefix="mgup_mindspore_"))
        atexit.register(_folder[0].cleanup)
    path = Path(_folder[0].name, f"program_{next(_numbers)}.py")
    path.write_text(source, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(source, str(path), "exec"), vars(operations), names)
    construct: Callable[..., Any] = names["construct"]
    return construct
