"""What a user is told besides the message of an error: warnings, and notes on errors."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from types import FrameType

import torch

import mgup_core


def _folder(file: str | None, up: int = 1) -> str:
    folder = os.path.abspath(file or "")
    for _ in range(up):
        folder = os.path.dirname(folder)
    return folder + os.sep


_OWN = (_folder(__file__), _folder(mgup_core.__file__), _folder(torch.__file__), "<frozen")
_LIBRARIES = (*_OWN, _folder(torch.__file__, up=2), _folder(os.__file__))
"""Own files, and those installed beside PyTorch: frameworks that call ``step`` for their users."""


def warn(message: str) -> None:
    """Warn at the nearest line that is the user's and not a library's.

    A number of frames cannot say which that is: PyTorch wraps ``step``, schedulers wrap it again,
    and frameworks call it.
    """
    frames = list(_outwards(sys._getframe(1)))
    for libraries in (_LIBRARIES, _OWN, ()):
        for frame in frames:
            if not frame.f_code.co_filename.startswith(libraries):
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


def note(error: BaseException, text: str) -> None:
    """Add to what an exception says, which stays the same exception."""
    if not error.args:
        error.args = (text,)
    elif hasattr(error, "add_note"):
        error.add_note(text)
    else:  # before Python 3.11
        error.__notes__ = [*getattr(error, "__notes__", ()), text]
