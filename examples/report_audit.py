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
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audit import figure
from audit.analysis import Analysis, Difference
from audit.arms import ARMS
from audit.config import load
from audit.plan import Point
from audit.records import Row, read

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "evidence"
TEMPLATE = Path(__file__).parent / "audit" / "evidence.md"
FIELD = re.compile(r"\{\{([^}]*)\}\}")


class Evidence:
    """Everything that was committed, and what the page may ask of it."""

    def __init__(self, folders: Sequence[Path]) -> None:
        configs = Path(__file__).parent / "audit" / "configs"
        self.experiments = {path.stem: load(path) for path in sorted(configs.glob("*.json"))}
        rows: list[Row] = []
        curves: dict[str, Any] = {}
        self.times: dict[str, Any] | None = None
        for folder in folders:
            before = {row["experiment"] for row in rows}
            rows += [row for row in read(folder / "runs.csv") if row["experiment"] not in before]
            for line in (folder / "curves.jsonl").read_text(encoding="utf-8").splitlines():
                curve = json.loads(line)
                curves[curve["curve"]] = curve
            if (folder / "times.json").exists():
                self.times = json.loads((folder / "times.json").read_text(encoding="utf-8"))
        self.found = {
            name: Analysis(one, rows, curves, self.experiments)
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
        for name in (name for name in FIGURES if self.found[name].chosen):
            for scheme, look in figure.LOOKS.items():
                suffix = "" if scheme == "light" else f"-{scheme}"
                yield f"audit-{name}{suffix}.svg", figure.draw(self.found[name], look)

    # -- numbers -----------------------------------------------------------------------------------

    def say_diff(self, name: str, arm: str, base: str = "adamw") -> str:
        """``−0.010 (−0.013 to −0.006)``."""
        return spelled(self.found[name].against(arm, base))

    def say_mean(self, name: str, arm: str, base: str = "adamw") -> str:
        found = self.found[name].against(arm, base)
        assert found is not None
        return signed(found.mean, 3)

    def say_interval(self, name: str, arm: str, base: str = "adamw") -> str:
        found = self.found[name].against(arm, base)
        assert found is not None
        return f"{signed(found.low, 3)} to {signed(found.high, 3)}"

    def say_low(self, name: str, arm: str) -> str:
        """The end of the interval that flatters the arm."""
        found = self.found[name].against(arm)
        assert found is not None
        return signed(found.low, 3)

    def say_loss(self, name: str, arm: str, steps: str = "0") -> str:
        """The mean of all seeds that ran some steps of the grid from the best; at it, the fresh."""
        found = self.found[name]
        if not int(steps):
            return f"{found.loss(arm):.3f}"
        best = found.chosen[arm]
        known = found.plan.losses(arm, best._replace(i=best.i + int(steps)))
        return f"{statistics.fmean(known.values()):.3f}"

    def say_luck(self, name: str, arm: str) -> str:
        """What the fresh seeds end above those that chose."""
        found = self.found[name]
        chose = statistics.fmean(found.selected(arm).values())
        return f"{found.loss(arm) - chose:.3f}"

    def say_next(self, name: str, arm: str, steps: str) -> str:
        """What a learning rate beside the best costs, on the seeds that chose."""
        found = self.found[name]
        best, seeds = found.chosen[arm], found.one.selection_seeds
        beside = found.plan.mean(arm, best._replace(i=best.i + int(steps)), seeds)
        here = found.plan.mean(arm, best, seeds)
        assert beside is not None
        assert here is not None
        return signed(beside - here, 3)

    def say_mean_floor(self, name: str, arm: str) -> str:
        found = self.found[name].floors(arm)
        assert found is not None
        return signed(found.mean, 3)

    def say_hotter(self, name: str, arm: str) -> str:
        found = self.found[name].hotter(arm)
        assert found is not None
        return signed(found, 3)

    def say_ratio(self, name: str, arm: str, base: str = "adamw") -> str:
        """Of the chosen learning rates."""
        return f"{self.found[name].lr(arm) / self.found[name].lr(base):.2f}"

    def say_width(self, name: str, arm: str) -> str:
        return f"{self.found[name].width(arm):.1f}"

    def say_seeds(self, name: str) -> int:
        return max(len(self.found[name].fresh(arm)) for arm in self.found[name].one.arms)

    def say_runs(self, *names: str) -> str:
        every = names or tuple(self.found)
        return f"{sum(len(self.found[name].rows) for name in every):,}"

    def say_of(self, name: str, column: str) -> str:
        """What all lines of an experiment have in a column; several joined by "and"."""
        values = sorted({row[column] for row in self.found[name].rows})
        return " and ".join(f"{int(v):,}" if v.isdigit() else v for v in values)

    def say_ms(self, arm: str, stacked: str = "1") -> str:
        return f"{self._ms(arm, int(stacked)):.2f}"

    def _ms(self, arm: str, stacked: int = 1) -> float:
        assert self.times is not None
        rows = [r for r in self.times["rows"] if r["stacked"] == stacked]
        return next(float(r["milliseconds"]) for r in rows if r["arm"].split(".")[0] == arm)

    def say_timed(self) -> str:
        """The device on which steps were timed."""
        assert self.times is not None
        return str(self.times["device"])

    def say_share(self, name: str, arm: str) -> str:
        """Of AdamW's steps, how many until its last loss."""
        return f"{100 * self._share(name, arm):.0f} %"

    def say_seconds(self, name: str, arm: str) -> str:
        """Of AdamW's seconds, likewise: each step is longer by what the optimizer takes."""
        return f"{100 * self._share(name, arm) * self._ms(arm) / self._ms('adamw'):.0f} %"

    def _share(self, name: str, arm: str) -> float:
        share = self.found[name].share_of_steps(arm)
        assert share is not None
        return share

    def say_selected(self, name: str, arm: str, base: str = "adamw") -> str:
        """The difference of the means of the selection seeds, each at its arm's best."""
        ours, theirs = (self.found[name].selected(a).values() for a in (arm, base))
        return signed(statistics.fmean(ours) - statistics.fmean(theirs), 3)

    def say_at(self, name: str, arm: str, lr: str) -> str:
        """The difference from AdamW at one learning rate, on the selection seeds."""
        ours, theirs = (self.found[name].selection_means(a)[float(lr)] for a in (arm, "adamw"))
        return signed(ours - theirs, 3)

    def say_decay(self, name: str, arm: str) -> str:
        return f"{self.found[name].chosen[arm].decay:g}"

    def say_norm(self, name: str, arm: str, layer: str) -> str:
        """The root mean square of phi*u in a kind of layer."""
        found = self.found[name].statistic(arm, "update", layer)
        assert found is not None
        return f"{found**0.5:.2f}"

    def say_spread(self, name: str, *arms: str) -> str:
        """The least and the greatest difference of two selection seeds of a chosen point."""
        found = self.found[name]
        every = (found.selected(a).values() for a in arms or found.chosen)
        gaps = [max(x) - min(x) for x in every]
        return f"{min(gaps):.2f} to {max(gaps):.2f}"

    def say_decays(self, name: str, arm: str) -> str:
        """The means of the selection seeds by decay, at the best learning rate of the first."""
        found = self.found[name]
        means = {
            decay: min(
                (m for i in range(-3, 4) if (m := found.plan.mean(
                    arm, Point(i, found.one.betas1[0], decay), found.one.selection_seeds
                )) is not None), default=None,
            )
            for decay in found.one.decays
        }  # fmt: skip
        return ", ".join(f"{d:g}: {m:.3f}" for d, m in sorted(means.items()) if m is not None)

    # -- tables ------------------------------------------------------------------------------------

    def say_table(self, name: str) -> str:
        """Loss, difference, learning rate and valley of each arm that has fresh seeds."""
        found = self.found[name]
        lines = [
            "| arm | best rate | held-out loss | minus AdamW | 95 %, bootstrap | ± by Student's t "
            "| floor minus AdamW's | rate × √2 |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for arm in sorted(found.reported, key=found.loss):
            d = found.against(arm)
            cells = ["", "", ""] if d is None or arm == "adamw" else [
                signed(d.mean), f"{signed(d.low)} to {signed(d.high)}", f"{d.student:.4f}",
            ]  # fmt: skip
            deep = None if arm == "adamw" else found.floors(arm)
            floors = "" if deep is None else spelled(deep)
            point, hotter = found.chosen[arm], found.hotter(arm)
            other = "".join(
                f", {word} {value:g}"
                for word, value, first in (("β₁", point.beta1, found.one.betas1[0]),
                                           ("λ", point.decay, found.one.decays[0]))
                if value != first
            )  # fmt: skip
            lines.append(
                f"| {label(arm)} | {found.lr(arm):.3g}{other} | {found.loss(arm):.4f} ± "
                f"{found.spread(arm):.4f} | {' | '.join(cells)} | {floors} | "
                f"{'' if hotter is None else signed(hotter)} |"
            )
        return "\n".join(lines)

    def say_short(self, name: str) -> str:
        """Loss and difference of each arm, without its neighbours."""
        found = self.found[name]
        tuned = len(found.one.betas1) > 1
        lines = [f"| arm | best rate |{' β₁ |' * tuned} decay | held-out loss | minus AdamW "
                 "| ± by Student's t |",
                 "| --- | ---: |" + " ---: |" * (4 + tuned)]  # fmt: skip
        for arm in sorted(found.reported, key=found.loss):
            d = None if arm == "adamw" else found.against(arm)
            cells = " | " if d is None else f"{spelled(d)} | {d.student:.3f}"
            lines.append(
                f"| {label(arm)} | {found.lr(arm):.3g} | "
                f"{f'{found.chosen[arm].beta1:g} | ' * tuned}{self.say_decay(name, arm)} | "
                f"{found.loss(arm):.4f} ± {found.spread(arm):.4f} | {cells} |"
            )
        return "\n".join(lines)

    def say_selection(self, name: str, *arms: str) -> str:
        """The chosen learning rates, and each selection seed's loss, where no fresh one ran."""
        found = self.found[name]
        heads = " | ".join(f"seed {seed}" for seed in found.one.selection_seeds)
        lines = [
            f"| arm | best rate | of AdamW's | {heads} | mean | minus AdamW, by seed |",
            "| --- | ---: | ---: |" + " ---: |" * (len(found.one.selection_seeds) + 2),
        ]
        base, rate = found.selected("adamw"), found.lr("adamw")
        every = {arm: found.selected(arm) for arm in arms or found.chosen}
        for arm, losses in sorted(every.items(), key=lambda x: statistics.fmean(x[1].values())):
            minus = ", ".join(signed(x - base[seed], 2) for seed, x in losses.items())
            lines.append(
                f"| {label(arm)} | {found.lr(arm):.3g} | {found.lr(arm) / rate:.2f} | "
                f"{' | '.join(f'{x:.3f}' for x in losses.values())} | "
                f"{statistics.fmean(losses.values()):.3f} | {'' if arm == 'adamw' else minus} |"
            )
        return "\n".join(lines)

    def say_speed(self, name: str) -> str:
        """Steps to AdamW's last loss, and seconds where this model's step was timed."""
        found = self.found[name]
        timed = found.one.task == "text" and found.one.model == TIMED
        lines = [
            f"| arm | steps to AdamW's loss |{' seconds |' * timed}",
            f"| --- | ---: |{' ---: |' * timed}",
        ]
        for arm in sorted(found.reported, key=found.loss):
            share = found.share_of_steps(arm)
            said = ["not reached" if share is None else f"{100 * share:.0f} %"]
            if timed:
                said.append("" if share is None else self.say_seconds(name, arm))
            lines.append(f"| {label(arm)} | {' | '.join(said)} |")
        return "\n".join(lines)

    def say_scale(self, *names: str) -> str:
        """What each arm ends from AdamW, by experiment."""
        every = [self.found[name] for name in names if "adamw" in self.found[name].reported]
        arms = dict.fromkeys(arm for found in every for arm in found.reported if arm != "adamw")
        lines = [
            f"| parameters | tokens a parameter | seeds | AdamW | {' | '.join(map(label, arms))} |",
            "| ---: | ---: | ---: | ---: |" + " ---: |" * len(arms),
        ]
        for found in every:
            cells = [
                "" if (d := found.against(arm)) is None else spelled(d)
                if d.pairs > 1 else signed(d.mean, 3)
                for arm in arms
            ]  # fmt: skip
            seeds = {len(found.fresh(arm)) for arm in found.reported}
            lines.append(
                f"| {int(found.rows[0]['parameters']):,} | {found.one.tokens_per_parameter:g} | "
                f"{' to '.join(map(str, sorted({min(seeds), max(seeds)})))} | "
                f"{found.loss('adamw'):.3f} | {' | '.join(cells)} |"
            )
        return "\n".join(lines)

    def say_course(self, name: str, *arms: str) -> str:
        """Aligned coordinates and root mean square of phi*u of the matrices over training."""
        found = self.found[name]
        heads = " | ".join(f"{label(arm)}: aligned | φ⊙u" for arm in arms)
        lines = [f"| of the steps | {heads} |", "| ---: |" + " ---: |" * (2 * len(arms))]
        courses = {
            arm: [found.curves[row["curve"]]["points"] for row in found.chosen_rows(arm)]
            for arm in arms
        }
        for at in COURSE:
            cells = []
            for runs in courses.values():
                points = [points[round(at * len(points)) - 1]["layers"] for points in runs]
                for what, spell in (("aligned", lambda x: f"{100 * x:.0f} %"),
                                    ("update", lambda x: f"{x**0.5:.2f}")):  # fmt: skip
                    values = [layers[m][what] for layers in points for m in MATRICES]
                    cells.append(spell(statistics.fmean(values)))
            lines.append(f"| {100 * at:.0f} % | {' | '.join(cells)} |")
        return "\n".join(lines)

    def say_layers(self, name: str, *arms: str) -> str:
        """Share of aligned coordinates and root mean square of phi*u by kind of layer."""
        found = self.found[name]
        layers = {
            layer: None for arm in arms for row in found.chosen_rows(arm)
            for point in found.curves[row["curve"]]["points"] for layer in point["layers"]
        }  # fmt: skip
        heads = " | ".join(f"{label(arm)}: aligned | φ⊙u" for arm in arms)
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


TIMED = "3m"
"""The model whose steps times.json has."""
MATRICES = "qkv", "attention_out", "mlp_in", "mlp_out"
COURSE = 0.1, 0.5, 0.8, 1.0
"""Of the steps, where :meth:`Evidence.say_course` looks."""
FIGURES = ("signals-conv", "signals-mlp-tuned", "gpt-3m-1", "gpt-3m-2-shifted", "gpt-3m-5")
"""The experiments that are drawn."""


def take(source: Path, target: Path, evidence: Evidence, names: Sequence[str]) -> None:
    """Keep the runs of some experiments, and of the curves what the page looks at.

    Args:
        evidence: of ``source``.
    """
    target.mkdir(parents=True, exist_ok=True)
    lines = (source / "runs.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines[1:] if line.split(",")[1] in names]
    (target / "runs.csv").write_text("".join([lines[0], *kept]), encoding="utf-8")
    curves = []
    for found in (evidence.found[name] for name in names):
        for row in (row for arm in found.chosen for row in found.chosen_rows(arm)):
            points = found.curves[row["curve"]]["points"]
            if not found.one.reads:
                points = [{k: p[k] for k in ("step", "held_out")} | {"layers": {}} for p in points]
            curves.append(json.dumps({"curve": row["curve"], "points": points}) + "\n")
    (target / "curves.jsonl").write_text("".join(curves), encoding="utf-8")


def label(arm: str) -> str:
    """An arm's name in a table."""
    return ARMS[arm].label.replace("|", "\\|")


def signed(value: float, digits: int = 4) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def spelled(found: Difference | None) -> str:
    assert found is not None
    return f"{signed(found.mean, 3)} ({signed(found.low, 3)} to {signed(found.high, 3)})"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER")
    parser.add_argument("--take", nargs="+", metavar="EXPERIMENT",
                        help="first copy their runs, and the curves used, from --from")  # fmt: skip
    parser.add_argument("--from", type=Path, dest="source", metavar="FOLDER")
    parser.add_argument("--as", dest="name", help="the folder of --data that they go to")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="FOLDER")
    args = parser.parse_args(arguments)
    if args.take:
        known = [args.source, *(path for path in args.data.iterdir() if path.is_dir())]
        take(args.source, args.data / args.name, Evidence(known), args.take)
    evidence = Evidence(sorted(path for path in args.data.iterdir() if path.is_dir()))
    page = evidence.page(TEMPLATE.read_text(encoding="utf-8"))
    (args.docs / "evidence.md").write_text(page, encoding="utf-8")
    for name, text in evidence.figures():
        (args.docs / "img" / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
