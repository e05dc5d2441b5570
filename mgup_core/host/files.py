"""Files that are whole at any moment: a checkpoint outlives a process that is killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of ``path`` at the end, all at once.

    Until then ``path`` is what it was, and it stays so if anything fails: an exception, a full
    disk, a process that is killed, a machine that loses its power. What is written goes to a file
    beside it, is forced to the disk, and is renamed. A process that is killed leaves that file
    behind, ``.<name>.*.part``, which may be deleted.

    Args:
        path: of a file in a folder that exists; if it is there, it is replaced and keeps its mode.

    Raises:
        OSError: as :func:`open` and the file's methods; ``path`` is what it was then.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "checkpoint.npz")
    ...     with atomic_write(path) as file:
    ...         _ = file.write(b"whole")
    ...     path.read_bytes()
    b'whole'
    """
    path = os.path.realpath(path)  # what a link points at is replaced, not the link
    folder, name = os.path.split(path)
    descriptor, part = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, _mode(path))
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    _sync_folder(folder)


def _mode(path: str) -> int:
    """The mode of a file, or the one that a new file gets."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_folder(folder: str) -> None:
    """Force the new name to the disk, where folders can be opened (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
