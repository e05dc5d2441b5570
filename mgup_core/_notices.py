"""What a user is told besides the message of an error: warnings, and notes on errors."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from types import FrameType


def _folder(file: str | None, up: int = 1) -> str:
    folder = os.path.abspath(file or "")
    for _ in range(up):
        folder = os.path.dirname(folder)
    return folder + os.sep


def warn(message: str, adapter: str, *frameworks: str | None) -> None:
    """Warn at the nearest line that is the user's and not a library's.

    A number of frames cannot say which that is: PyTorch wraps ``step`` and schedulers wrap it
    again, JAX traces ``init``, and frameworks call both.

    Args:
        adapter: a file of the adapter's folder.
        frameworks: the files of the packages that it adapts. What is installed beside them are
            libraries that call the adapter for their users.
    """
    own = (*map(_folder, (__file__, adapter, *frameworks)), "<frozen")
    libraries = (*own, *(_folder(file, up=2) for file in frameworks), _folder(os.__file__))
    frames = list(_outwards(sys._getframe(1)))
    for passed in (libraries, own, ()):
        for frame in frames:
            if not frame.f_code.co_filename.startswith(passed):
                warnings.warn_explicit(
                    message,
                    UserWarning,
                    frame.f_code.co_filename,
                    frame.f_lineno,
                    module=frame.f_globals.get("__name__"),
                    registry=frame.f_globals.setdefault("__warningregistry__", {}),
                )
                return


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def damped_text(parameters: Iterable[tuple[str, int, float]], remedy: str) -> str:
    """The warning that K = 0, so that the whole of a slice gets gamma, as published (P3).

    Args:
        parameters: of each the name, the length of a slice, and tau.
    """
    each = [f"{name} ({d} at tau={tau})" for name, d, tau in parameters]
    return (
        f"{len(each)} parameter(s) have too few coordinates to rank, so none is selected and all "
        f"are damped by gamma: {', '.join(each)}. To leave parameters out, {remedy}."
    )


def note(error: BaseException, text: str) -> None:
    """Add to what an exception says, which stays the same exception."""
    if not error.args and not isinstance(error, SystemExit):  # whose argument is the exit status
        error.args = (text,)
    elif hasattr(error, "add_note"):
        error.add_note(text)
    else:  # before Python 3.11
        error.__notes__ = [*getattr(error, "__notes__", ()), text]
