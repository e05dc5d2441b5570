"""Which parameters go to Muon, by their names (R4)."""

from __future__ import annotations

from typing import Any

EXCEPTIONS = (
    # Tables that are looked up, or added as they are.
    "embed", "embedding", "embeddings", "emb", "wte", "wpe", "^shared", "relative_attention_bias",
    "relative_position_bias_table", "a_log",
    # Heads.
    "head", "^heads", "unembed", "classifier", "^output", "^outputs", "^proj_out", "^logits",
    "^score", "^fc", "^cls",
)  # fmt: skip
"""Words in a parameter's name that route it to AdamW although it is a matrix (R4).

One that begins with ``^`` counts before the first number of a name only, since numbers count the
layers: ``output.weight`` is a head, ``layer.0.output.dense.weight`` is a hidden matrix.
"""


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
    >>> names_one_of("fc.weight", ("^fc",)), names_one_of("h.0.mlp.c_fc.weight", ("^fc",))
    (True, False)
    """
    words = _spaced(name).split(".")
    outside = words[: next((i for i, word in enumerate(words) if word.isdigit()), None)]

    def holds(exception: str) -> bool:
        place = outside if exception.startswith("^") else words
        return f".{_spaced(exception.removeprefix('^'))}." in f".{'.'.join(place)}."

    return any(map(holds, exceptions))


def _spaced(name: str) -> str:
    return name.lower().replace("_", ".")
