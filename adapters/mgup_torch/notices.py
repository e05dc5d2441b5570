"""Warnings that point at the user's line."""

from __future__ import annotations

import torch

from mgup_core import _notices


def warn(message: str) -> None:
    """Warn at the nearest line that is the user's and not a library's."""
    _notices.warn(message, __file__, torch.__file__)
