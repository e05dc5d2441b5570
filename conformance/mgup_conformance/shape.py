"""Whether data from elsewhere have the shape of a report, and where they have not."""

from __future__ import annotations

from typing import Any, NamedTuple

from .clauses import CLAUSES
from .runner import STATUSES
from .verdicts import LEVELS


class Maybe(NamedTuple):
    """What may be absent."""

    shape: Any


TEXT, NUMBER, FLAG = "a text", "a number", "true or false"
KINDS: dict[str, Any] = {TEXT: str, NUMBER: (int, float), FLAG: bool}

COUNTS = dict.fromkeys(STATUSES, NUMBER)
VERDICTS = {
    "level": ("", *LEVELS),
    **dict.fromkeys((*LEVELS, "not judged", "units", "run_cases"), NUMBER),
}
RESULT = {
    "case": TEXT,
    "message": TEXT,
    "status": STATUSES,
    "verdict": Maybe(("", *LEVELS)),
    "units": Maybe(NUMBER),
    "judged": Maybe(TEXT),
    "diagnosis": Maybe(TEXT),
    "charged": Maybe([TEXT]),
    "lacks": Maybe([TEXT]),
    "runs": Maybe(FLAG),
}
BACKEND = {
    "name": TEXT,
    "command": Maybe(TEXT),
    "processor": Maybe(TEXT),
    "suite": Maybe({TEXT: TEXT}),
    "levels": Maybe(dict.fromkeys((*LEVELS, "units"), NUMBER)),
    "date": TEXT,
    "host": TEXT,
    "set": TEXT,
    "versions": {TEXT: TEXT},
    "totals": COUNTS,
    "clauses": dict.fromkeys(CLAUSES, Maybe(COUNTS)),
    "verdicts": Maybe(dict.fromkeys(CLAUSES, Maybe(VERDICTS))),
    "results": [RESULT],
}
REPORT = {"suite": Maybe({TEXT: TEXT}), "backends": [BACKEND]}


def fault(x: Any, shape: Any = REPORT, place: str = "it") -> str | None:
    """What is wrong with ``x``, with its place, or None.

    Args:
        shape: a name of :data:`KINDS`; a tuple of the values allowed; a list of one shape, of each
            item; a dict of shapes by key, where one key that is a kind stands for any, and no other
            key may be if all may be absent.

    >>> fault({"backends": [{}]})
    "it['backends'][0]['name'] is missing"
    """
    if isinstance(shape, str):
        right = isinstance(x, KINDS[shape]) and isinstance(x, bool) == (shape == FLAG)
        return None if right else f"{place} is not {shape}"
    if isinstance(shape, tuple):
        return None if x in shape else f"{place} is none of {', '.join(map(repr, shape))}"
    if isinstance(shape, list):
        if not isinstance(x, list):
            return f"{place} is not a list"
        found = (fault(item, shape[0], f"{place}[{i}]") for i, item in enumerate(x))
        return next(filter(None, found), None)
    if not isinstance(x, dict):
        return f"{place} is not an object"
    if TEXT in shape:
        shape = dict.fromkeys(x, shape[TEXT])
    if all(isinstance(inner, Maybe) for inner in shape.values()):
        for key in x.keys() - shape.keys():
            return f"{place}[{key!r}] is not known to this suite"
    for key, inner in shape.items():
        here, maybe = f"{place}[{key!r}]", isinstance(inner, Maybe)
        if key not in x:
            if maybe:
                continue
            return f"{here} is missing"
        if reason := fault(x[key], inner.shape if maybe else inner, here):
            return reason
    return None
