"""Golden vectors: inputs and answers as hex floats, for ports that cannot run beside the reference.

The reference makes ``vectors/v1.json`` by this module; ``mgup-conformance golden --check`` makes it
again and compares. Random inputs come from ``random.Random``, whose sequence Python keeps for ever.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from . import specs
from .cases import REFERENCE, Case, judge_multipliers
from .compare import Mismatch, check_close, check_identical
from .data import Shape, dtype_of
from .protocol import Array, Backend, Needs, PolicySpec, RunSpec, needs
from .runs import Snapshot, snapshot
from .verdicts import Verdict, judge_run

VERSION = 1
PATH = Path(__file__).parent / "vectors" / f"v{VERSION}.json"
STEPS = (1, 2, 10)
"""After which steps a run's parameters and state are recorded."""

Plain = dict[str, Any]


def encode(x: Array) -> list[str]:
    """Numbers in C order as hex floats without trailing zeros: ``0x1.8p+0``."""
    return [re.sub(r"\.?0*p", "p", float(value).hex()) for value in x.astype(np.float64).ravel()]


def decode(numbers: list[str], dtype: str, shape: list[int]) -> Array:
    """The array that :func:`encode` was given."""
    values = np.array([float.fromhex(number) for number in numbers], np.float64)
    return values.astype(dtype_of(dtype)).reshape(shape)


def _random(key: str, n: int, dtype: str) -> Array:
    made = random.Random(key)
    values = np.array([4.0 * made.random() - 2.0 for _ in range(n)])
    return values.astype(dtype_of(dtype))


_SPECIAL = [0.0, -0.0, 1.0, 1.0, -1.0, float("nan"), float("inf"), float("-inf"), 1e-39, 0.25, 3e38]


def _multipliers() -> Iterator[Plain]:
    for dtype in ("float64", "float32", "bfloat16"):
        for name, (clause, policy) in specs.POLICY_CASES.items():
            kind = dtype_of(dtype)
            key = f"golden/multiplier/{name}/{dtype}"
            a = np.concatenate([np.array(_SPECIAL).astype(kind), _random(key, 13, dtype)])
            g = np.concatenate(
                [np.full(len(_SPECIAL), 1.0).astype(kind), _random(key + "g", 13, dtype)]
            )
            for shape, n in (((24,), 0), ((2, 12), 1)):
                x, y = a.reshape(shape), g.reshape(shape)
                yield {
                    "id": f"{key}/{n}",
                    "clauses": ["P1", "P2", clause, "P7", *(["P5"] if n else ["P4"])],
                    "dtype": dtype,
                    "policy": policy,
                    "shape": list(shape),
                    "stacked_dims": n,
                    "a": encode(x),
                    "g": encode(y),
                    "multiplier": encode(REFERENCE.multiplier(policy, x, y, n)),
                }


SHAPES: tuple[Shape, ...] = ((6,), (2, 3))


def _specs() -> Iterator[tuple[str, tuple[str, ...], RunSpec, tuple[Shape, ...]]]:
    """The runs to record: (id, clauses, run, shapes)."""
    for i, base in enumerate(specs.BASE):
        for numbers in ("float64", "float32", list(specs.NUMBERS)[2 + i % 4]):
            for name in ("mgup", list(specs.POLICY_CASES)[1 + i % 6]):
                if numbers != "float32" and name != "mgup":
                    continue
                clause, policy = specs.POLICY_CASES[name]
                spec = specs.run_spec(base, policy, numbers, SHAPES)
                clauses = (specs.BASE[base][0], clause, *specs.ELEMENTWISE)
                yield f"golden/run/{base}/{name}/{numbers}", clauses, spec, SHAPES
    matrices = SHAPES[1:]
    for dtype in ("float64", "float32"):
        spec = specs.run_spec("sgd", specs.policy("mgup"), dtype, matrices)
        spec["rule"] = specs.rule("muon")
        yield f"golden/run/muon/mgup/{dtype}", ("R4", "N7", "P6"), spec, matrices


def _runs() -> Iterator[Plain]:
    for key, clauses, spec, shapes in _specs():

        def drawn(
            name: str, key: str = key, spec: RunSpec = spec, shapes: tuple[Shape, ...] = shapes
        ) -> list[list[str]]:
            sizes = enumerate(map(prod, shapes))
            return [encode(_random(f"{key}/{name}/{i}", n, spec["dtype"])) for i, n in sizes]

        record: Plain = {
            "id": key,
            "clauses": list(clauses),
            "spec": spec,
            "shapes": list(map(list, shapes)),
            "params": drawn("w"),
            "gradients": [drawn(f"g{t}") for t in range(1, STEPS[-1] + 1)],
            "after": {},
        }
        for t, after in _follow(REFERENCE, record):
            record["after"][str(t)] = {
                f"{what} {i}": encode(value) for (what, i), value in after.items()
            }
        yield record


def recorded(record: Plain, rows: list[list[str]]) -> list[Array]:
    """Recorded parameters or gradients, one row a parameter."""
    dtype, shapes = record["spec"]["dtype"], record["shapes"]
    return [decode(row, dtype, shape) for row, shape in zip(rows, shapes, strict=True)]


def _follow(backend: Backend, record: Plain) -> Iterator[tuple[int, Snapshot]]:
    """What a backend has after each of :data:`STEPS` of a recorded run."""
    run = backend.run(record["spec"], recorded(record, record["params"]))
    for t, gradients in enumerate(record["gradients"], 1):
        run.step(recorded(record, gradients))
        if t in STEPS:
            yield t, snapshot(run, record["spec"])


@dataclass(frozen=True)
class GoldenMultiplier(Case):
    """A recorded multiplier."""

    record: Plain

    @property
    def needs(self) -> Needs:
        stacked = {"stacked_dims"} if self.record["stacked_dims"] else set()
        policy: PolicySpec = self.record["policy"]
        dtypes = {self.record["dtype"]}
        return needs(dtypes=dtypes, policy=policy, rule=None, options={"multiplier"} | stacked)

    def operands(self) -> tuple[Array, Array]:
        """The recorded (a, g)."""
        r = self.record
        a, g = (decode(r[name], r["dtype"], r["shape"]) for name in "ag")
        return a, g

    def judge(self, backend: Backend, *, set_of: str = "standard") -> Verdict:
        r = self.record
        asked = [(r["policy"], *self.operands(), r["stacked_dims"], "recorded scores")]
        return judge_multipliers(backend, asked)

    def check(self, backend: Backend, *, set_of: str = "standard") -> None:
        r = self.record
        a, g = self.operands()
        wide = "float64" if r["dtype"] == "float64" else "float32"
        actual = backend.multiplier(r["policy"], a, g, r["stacked_dims"])
        check_identical("multiplier", decode(r["multiplier"], wide, r["shape"]), actual)


@dataclass(frozen=True)
class GoldenRun(Case):
    """A recorded run."""

    record: Plain
    runs: ClassVar[bool] = True

    @property
    def matrices(self) -> bool:
        """Whether there are matrix products in its steps, which are compared by norm (N7)."""
        return "N7" in self.clauses

    @property
    def needs(self) -> Needs:
        spec: RunSpec = self.record["spec"]
        options = {"state_dtype"} if spec["state_dtype"] != spec["dtype"] else set()
        dtypes = {spec["dtype"], spec["state_dtype"]}
        return needs(dtypes=dtypes, policy=spec["policy"], rule=spec["rule"], options=options)

    def judge(self, backend: Backend, *, set_of: str = "standard") -> Verdict:
        spec: RunSpec = self.record["spec"]
        start = recorded(self.record, self.record["params"])
        feed = [(recorded(self.record, rows), None) for rows in self.record["gradients"]]
        return judge_run(backend, spec, start, feed, by_norm=() if self.matrices else None)

    def check(self, backend: Backend, *, set_of: str = "standard") -> None:
        spec: RunSpec = self.record["spec"]
        before = [w.astype(np.float64) for w in recorded(self.record, self.record["params"])]
        for t, arrays in _follow(backend, self.record):
            for (what, i), actual in arrays.items():
                dtype = spec["dtype"] if what == "parameter" else spec["state_dtype"]
                numbers = self.record["after"][str(t)][f"{what} {i}"]
                expected = decode(numbers, dtype, self.record["shapes"][i])
                if what == "parameter" and self.matrices:
                    # N7 is about a direction; the way so far is a sum of directions.
                    ways = (expected - before[i], actual - before[i])
                    check_close("way", *ways, step=t, parameter=i)
                else:
                    check_identical(what, expected, actual, step=t, parameter=i)


def generate() -> str:
    """The text of the file: one record a line, so that a change shows as a diff."""
    lines = [json.dumps(record, separators=(",", ":")) for record in (*_multipliers(), *_runs())]
    return f'{{"version":{VERSION},"records":[\n' + ",\n".join(lines) + "\n]}\n"


def differences() -> list[str]:
    """The ids of the records that would change if the file were made again."""
    if not PATH.exists():
        return [f"{PATH.name} is missing"]
    old, new = PATH.read_text(), generate()
    if old == new:
        return []
    before, after = (
        {record["id"]: record for record in json.loads(text)["records"]} for text in (old, new)
    )
    changed = [key for key in before | after if before.get(key) != after.get(key)]
    if not changed:
        return ["the layout of the file"]
    return [key for key in changed if not _within_norms(before.get(key), after.get(key))]


def _within_norms(old: Plain | None, new: Plain | None) -> bool:
    """Whether only the matrix products of this processor differ from those recorded (N7)."""
    if old is None or new is None or "N7" not in old["clauses"]:
        return False
    if {**old, "after": None} != {**new, "after": None}:
        return False
    try:
        GoldenRun(old["id"], tuple(old["clauses"]), old).check(REFERENCE)
    except Mismatch:
        return False
    return True


@lru_cache(maxsize=1)
def golden_cases() -> tuple[Case, ...]:
    """A case for each record of the file."""
    if not PATH.exists():
        return ()
    made: list[Case] = []
    for record in json.loads(PATH.read_text())["records"]:
        kind = GoldenRun if "spec" in record else GoldenMultiplier
        made.append(kind(record["id"], tuple(record["clauses"]), record, fast=True))
    return tuple(made)
