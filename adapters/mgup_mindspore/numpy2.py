"""Makes the first operation of a process safe and silent under NumPy 2."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator

import mindspore as ms
import numpy as np


def warm_up() -> None:
    """Run MindSpore's first operation, which fails under NumPy 2, once for the process.

    MindSpore 2.10 is compiled against NumPy 1: under NumPy 2 the first operation that looks at
    Python arguments prints a banner, and may raise ``SystemError``; the next ones work.
    """
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        return
    with _without_banner():
        try:
            one = ms.Tensor([1.0], ms.float32)
            _ = one + one
        except (SystemError, ImportError):
            pass


@contextlib.contextmanager
def _without_banner() -> Iterator[None]:
    """Hold back what is written to standard error, then pass on all lines but the banner's.

    The last line of the banner comes from C++, past ``sys.stderr``.
    """
    with contextlib.redirect_stderr(io.StringIO()), tempfile.TemporaryFile() as held:
        if sys.__stderr__ is not None:
            sys.__stderr__.flush()
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            others = [line for line in held if b"Numpy init failed" not in line]
            os.write(2, b"".join(others)) if others else None
