"""Write docs/evidence.md and its figures from the committed runs.

    python examples/report_audit.py

The page is examples/audit/evidence.md with every number looked up: ``{{loss gpt-3m-2 mgup}}`` calls
the function ``loss`` of this file. So no number of the page is written by hand, and a test compares
the committed page with what the committed runs give.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audit import figure
from audit.analysis import Analysis, Difference
from audit.arms import ARMS
from audit.config import load
from audit.records import Row, read

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "evidence"
TEMPLATE = Path(__file__).parent / "audit" / "evidence.md"
FIELD = re.compile(r"\{\{([^}]*)\}\}")


class Evidence:
    """Everything that was committed, and what the page may ask of it."""

    def __init__(self, data: Path = DATA) -> None:
        configs = Path(__file__).parent / "audit" / "configs"
        self.experiments = {path.stem: load(path) for path in sorted(configs.glob("*.json"))}
        rows: list[Row] = []
        curves: dict[str, Any] = {}
        self.times: dict[str, Any] | None = None
        for folder in sorted(path for path in data.iterdir() if path.is_dir()):
            rows += read(folder / "runs.csv")
            for line in (folder / "curves.jsonl").read_text(encoding="utf-8").splitlines():
                curve = json.loads(line)
                curves[curve["curve"]] = curve
            if (folder / "times.json").exists():
                self.times = json.loads((folder / "times.json").read_text(encoding="utf-8"))
        self.found = {
            name: Analysis(one, rows, curves, self.times, self.experiments)
            for name, one in self.experiments.items()
        }

    def page(self, template: str) -> str:
        """The page of a template."""

        def value(field: re.Match[str]) -> str:
            name, *given = field[1].split()
            return str(getattr(self, f"say_{name}")(*given))

        return FIELD.sub(value, template)

    def figures(self) -> Iterator[tuple[str, str]]:
        """(file name, SVG) of each experiment that has a whole valley to show."""
        for name in FIGURES:
            for scheme, look in figure.LOOKS.items():
                yield f"audit-{name}-{scheme}.svg", figure.draw(self.found[name], look)

    # -- numbers -----------------------------------------------------------------------------------

    def say_loss(self, name: str, arm: str) -> str:
        return f"{self.found[name].loss(arm):.3f}"

    def say_diff(self, name: str, arm: str, base: str = "adamw") -> str:
        """``−0.010 (−0.013 to −0.006)``."""
        return spelled(self.found[name].against(arm, base))

    def say_mean(self, name: str, arm: str, base: str = "adamw") -> str:
        found = self.found[name].against(arm, base)
        assert found is not None
        return signed(found.mean)

    def say_floor(self, name: str, arm: str) -> str:
        return spelled(self.found[name].floors(arm))

    def say_lr(self, name: str, arm: str) -> str:
        return f"{self.found[name].lr(arm):.2g}"

    def say_ratio(self, name: str, arm: str, base: str = "adamw") -> str:
        """Of the chosen learning rates."""
        return f"{self.found[name].lr(arm) / self.found[name].lr(base):.2f}"

    def say_width(self, name: str, arm: str) -> str:
        return f"{self.found[name].width(arm):.1f}"

    def say_hot(self, name: str, arm: str, steps: str = "2") -> str:
        found = self.found[name].hot(arm, int(steps))
        return "not run" if found is None else signed(found)

    def say_seeds(self, name: str) -> int:
        return max(len(self.found[name].fresh(arm)) for arm in self.found[name].one.arms)

    def say_runs(self, *names: str) -> str:
        every = names or tuple(self.found)
        return f"{sum(len(self.found[name].rows) for name in every):,}"

    def say_hours(self) -> str:
        seconds = sum(float(row["seconds"]) for found in self.found.values() for row in found.rows)
        return f"{seconds / 3600:.1f}"

    def say_of(self, name: str, column: str) -> str:
        """What all lines of an experiment have in a column; several joined by "and"."""
        values = sorted({row[column] for row in self.found[name].rows})
        return " and ".join(f"{int(v):,}" if v.isdigit() else v for v in values)

    def say_ms(self, arm: str, stacked: str = "1") -> str:
        for row in (self.times or {"rows": []})["rows"]:
            if row["arm"].startswith(arm.replace("_", " ")) and row["stacked"] == int(stacked):
                return f"{row['milliseconds']:.2f}"
        return "not run"

    def say_explained(self, name: str) -> str:
        share = self.found[name].explained()
        return "not run" if share is None else f"{100 * share:.0f} %"

    # -- tables ------------------------------------------------------------------------------------

    def say_table(self, name: str) -> str:
        """Loss, difference, learning rate and valley of each arm that has fresh seeds."""
        found = self.found[name]
        lines = [
            "| arm | best rate | held-out loss | minus AdamW | 95 %, bootstrap | ± by Student's t "
            "| floor minus AdamW's | valley, × |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for arm in sorted(found.reported, key=found.loss):
            d = found.against(arm)
            cells = ["", "", ""] if d is None or arm == "adamw" else [
                signed(d.mean), f"{signed(d.low)} to {signed(d.high)}", f"{d.student:.4f}",
            ]  # fmt: skip
            deep = None if arm == "adamw" else found.floors(arm)
            floors = "" if deep is None else spelled(deep)
            point = found.chosen[arm]
            other = "".join(
                f", {word} {value:g}"
                for word, value, first in (("β₁", point.beta1, found.one.betas1[0]),
                                           ("λ", point.decay, found.one.decays[0]))
                if value != first
            )  # fmt: skip
            lines.append(
                f"| {ARMS[arm].label} | {found.lr(arm):.3g}{other} | {found.loss(arm):.4f} ± "
                f"{found.spread(arm):.4f} | {' | '.join(cells)} | {floors} | "
                f"{found.width(arm):.1f} |"
            )
        return "\n".join(lines)

    def say_speed(self, name: str) -> str:
        """Steps, and seconds, to AdamW's last loss."""
        found = self.found[name]
        lines = [
            "| arm | ms a step | steps to AdamW's loss | seconds to it |",
            "| --- | ---: | ---: | ---: |",
        ]
        base = found.milliseconds("adamw")
        for arm in sorted(found.reported, key=found.loss):
            share, ms = found.share_of_steps(arm), found.milliseconds(arm)
            steps = "not reached" if share is None else f"{100 * share:.0f} %"
            seconds = "not measured" if None in (ms, base) else "not reached"
            if share is not None and ms is not None and base is not None:
                seconds = f"{100 * share * ms / base:.0f} %"
            lines.append(
                f"| {ARMS[arm].label} | {'' if ms is None else f'{ms:.2f}'} | {steps} | {seconds} |"
            )
        return "\n".join(lines)

    def say_layers(self, name: str, *arms: str) -> str:
        """Share of aligned coordinates and root mean square of phi*u by kind of layer."""
        found = self.found[name]
        layers = {
            layer: None for arm in arms for row in found._fresh_rows(arm)
            for point in found.curves[row["curve"]]["points"] for layer in point["layers"]
        }  # fmt: skip
        heads = " | ".join(f"{ARMS[arm].label}: aligned | φ⊙u" for arm in arms)
        lines = [f"| layer | {heads} |", "| --- |" + " ---: |" * (2 * len(arms))]
        for layer in layers:
            cells = []
            for arm in arms:
                aligned = found.statistic(arm, "aligned", layer)
                update = found.statistic(arm, "update", layer)
                cells.append("" if aligned is None else f"{100 * aligned:.0f} %")
                cells.append("" if update is None else f"{update**0.5:.2f}")
            lines.append(f"| `{layer}` | {' | '.join(cells)} |")
        return "\n".join(lines)

    def say_experiments(self) -> str:
        """What was run of each configuration, and what was not."""
        lines = [
            "| experiment | parameters | steps | arms with fresh seeds | seeds | runs | left |",
            "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
        ]
        for name, found in self.found.items():
            one, ran = found.one, found.rows
            left = "nothing" if ran and not found.plan.cells() else "all" if not ran else "a part"
            said = [f"{int(ran[0][c]):,}" for c in ("parameters", "steps")] if ran else ["", ""]
            lines.append(
                f"| `{name}` | {' | '.join(said)} | {len(found.reported)} of {len(one.arms)} | "
                f"{self.say_seeds(name)} of {len(one.report_seeds)} | {len(ran)} | {left} |"
            )
        return "\n".join(lines)


FIGURES: list[str] = []
"""The experiments that are drawn."""


def signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def spelled(found: Difference | None) -> str:
    assert found is not None
    return f"{signed(found.mean)} ({signed(found.low)} to {signed(found.high)})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="FOLDER")
    args = parser.parse_args(arguments)
    evidence = Evidence(args.data)
    page = evidence.page(TEMPLATE.read_text(encoding="utf-8"))
    (args.docs / "evidence.md").write_text(page, encoding="utf-8")
    for name, text in evidence.figures():
        (args.docs / "img" / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
