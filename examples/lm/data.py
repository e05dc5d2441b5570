"""Bytes to learn from: the source text of Python's own standard library, as NumPy batches."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

VOCABULARY = 256
HELD_OUT_EVERY = 20
SKIPPED_FOLDERS = {
    "test", "tests", "idlelib", "idle_test", "site-packages", "dist-packages", "__pycache__",
}  # fmt: skip

Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Corpus:
    """Training and held-out bytes: no file has a part in both."""

    train: np.ndarray
    held_out: np.ndarray


def standard_library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def load_corpus(folder: Path, context: int) -> Corpus:
    """Read every *.py file below `folder`, in sorted order; each twentieth file is held out.

    Raises:
        ValueError: if either part is shorter than one window of `context` bytes and its target.
    """
    files = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*.py")
        if not SKIPPED_FOLDERS.intersection(path.relative_to(folder).parts)
    )
    texts = [(folder / file).read_bytes() for file in files]
    train = b"\n".join(text for i, text in enumerate(texts) if i % HELD_OUT_EVERY)
    held_out = b"\n".join(texts[::HELD_OUT_EVERY])
    if min(len(train), len(held_out)) < context + 2:
        raise ValueError(
            f"{folder} holds too little *.py text for a context of {context};"
            " name another folder with --data"
        )
    return Corpus(np.frombuffer(train, np.uint8), np.frombuffer(held_out, np.uint8))


def random_batches(text: np.ndarray, batch: int, context: int, seed: int) -> Iterator[Batch]:
    """Endless batches of random windows; the seed alone decides them, not the optimizer."""
    rng = np.random.default_rng(seed)
    while True:
        yield _windows(text, rng.integers(0, len(text) - context, size=batch), context)


def fixed_batches(text: np.ndarray, count: int, batch: int, context: int) -> list[Batch]:
    """The same evenly spaced windows every time, so that held-out losses can be compared."""
    starts = np.linspace(0, len(text) - context - 1, count * batch).astype(np.int64)
    return [_windows(text, part, context) for part in np.split(starts, count)]


def _windows(text: np.ndarray, starts: np.ndarray, context: int) -> Batch:
    window = text[starts[:, None] + np.arange(context + 1)].astype(np.int64)
    return window[:, :-1], window[:, 1:]
