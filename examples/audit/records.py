"""The CSV of all runs, one line each, and their curves; what is in it is not run again."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

VERSION = "1"
"""Of the columns and their meaning."""
FIELDS = (
    "version", "experiment", "task", "model", "parameters", "arm", "lr", "beta1", "beta2",
    "weight_decay", "tau", "alpha", "gamma", "seed", "steps", "tokens", "batch", "context",
    "loss", "seconds", "stacked", "execution", "device", "torch", "mgup", "commit", "corpus",
    "curve",
)  # fmt: skip
Row = dict[str, str]


class Records:
    """A folder with ``runs.csv`` and ``curves.jsonl``; each line is on the disk when it is told.

    Raises:
        ValueError: for a CSV of another version, saying what to do.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs, self.curves = folder / "runs.csv", folder / "curves.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        _cut_unfinished(self.runs)
        _cut_unfinished(self.curves)
        self.rows = read(self.runs) if self.runs.exists() else []
        if not self.rows and not self.runs.exists():
            _append(self.runs, _line(FIELDS))

    def add(self, rows: Sequence[dict[str, Any]], curves: Iterable[dict[str, Any]]) -> None:
        """Write the runs of one cell; the CSV last, so that a run in it has its curve."""
        _append(self.curves, "".join(json.dumps(curve) + "\n" for curve in curves))
        written = [{name: str(row[name]) for name in FIELDS} for row in rows]
        _append(self.runs, "".join(_line([row[name] for name in FIELDS]) for row in written))
        self.rows += written


def read(path: Path) -> list[Row]:
    """All runs of a CSV.

    Raises:
        ValueError: where its columns or its version are others.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    versions = {row.get("version") for row in rows} or {VERSION}
    if tuple(reader.fieldnames or ()) != FIELDS or versions != {VERSION}:
        raise ValueError(
            f"{path} was written by another version of the audit (its lines say "
            f"{', '.join(map(str, sorted(map(str, versions))))}, this one writes {VERSION}): its "
            "runs cannot be continued. Give another folder with --out, or check out the commit "
            "that its lines name."
        )
    return rows


def _line(values: Iterable[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _cut_unfinished(path: Path) -> None:
    """Drop a last line that a killed process left half written."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        path.write_bytes(text[: text.rfind(b"\n") + 1])
