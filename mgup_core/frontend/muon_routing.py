"""Which parameters go to Muon, by their names (R4)."""

from __future__ import annotations

from typing import Any

EXCEPTIONS = ("embed", "embedding", "embeddings", "emb", "wte", "wpe", "head")
"""Words in a parameter's name that route it to AdamW although it is a matrix (R4)."""


def check_words(exceptions: Any) -> tuple[str, ...]:
    """``exceptions`` as a tuple of words; one word may stand without a tuple.

    Raises:
        TypeError: if they are not words.
    """
    words = (exceptions,) if isinstance(exceptions, str) else tuple(exceptions)
    if not all(isinstance(word, str) for word in words):
        raise TypeError(f"exceptions={exceptions!r} must be words.")
    return words


def names_one_of(name: str, exceptions: tuple[str, ...]) -> bool:
    """Whether a name holds one of the exceptions as a word, between dots and underscores.

    >>> names_one_of("lm_head.weight", EXCEPTIONS)
    True
    >>> names_one_of("multihead_attn.in_proj_weight", EXCEPTIONS)
    False
    """
    words = f".{name.lower().replace('_', '.')}."
    return any(f".{exception.lower().replace('_', '.')}." in words for exception in exceptions)
