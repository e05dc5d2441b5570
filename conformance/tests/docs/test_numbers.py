"""What README.md and the site say in numbers is what the committed measurements say.

No clause: CONTRIBUTING.md, "Claims are measured".
"""

from __future__ import annotations

import importlib.util
import json
import re
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "docs" / "benchmarks"

if not DATA.is_dir():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)

spec = importlib.util.spec_from_file_location("figures", ROOT / "docs" / "figures.py")
figures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(figures)

README = (ROOT / "README.md").read_text(encoding="utf-8")


def data(name: str) -> dict:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def span(values: list[float], digits: int = 1) -> str:
    """The least and the greatest, as they are written; one number where they are the same."""
    low, high = (f"{f(values):.{digits}f}" for f in (min, max))
    return low if low == high else f"{low} to {high}"


def said(pattern: str) -> list[str]:
    """All spans of numbers that a sentence of README has in the place of ``N``."""
    number = r"(\d+(?:\.\d+)?(?: to \d+(?:\.\d+)?)?)"
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", README)
    found = re.findall(pattern.replace("N", number), text)
    assert found, pattern
    return found


def cuda(name: str, dtype: str = "") -> list[float]:
    """Ratios of the newest table, of one dtype or all."""
    rows = data(figures.newest("cuda.json").name)["rows"]
    return [row["ratio"] for row in rows if row["name"] == name and dtype in row["dtype"]]


def cpu(name: str) -> list[float]:
    cases = data("2026-11-22-torch-cpu.json")["runs"].values()
    return [run["rows"][name]["x_foreach"] for runs in cases for run in runs if name in run["rows"]]


def test_cuda():
    rank = span(cuda("MGUP-AdamW rank"))
    assert set(said("N times as long as (?:that of )?fused AdamW on an H100")) == {rank}
    assert set(said("in rank mode takes N times as long as fused AdamW")) == {rank}
    sign = span(cuda("MGUP-AdamW sign", "float32"))
    assert {*said("Cautious-MGUP N times"), *said("N times fused AdamW's")} == {sign}
    published = span(cuda("MGUP-AdamW naive"), 0)
    assert set(said("the published algorithm takes N times")) == {published}


def test_sharded():
    rows = data("2026-11-28-fsdp.json")["rows"]
    ratio = [r["ratio"] for r in rows if (r["name"], r["dtype"]) == ("MGUP-AdamW rank", "float32")]
    assert set(said("over two H200, rank mode takes N times")) == {span(ratio, 2)}


def test_cpu():
    assert set(said("a step takes N times as long as foreach AdamW")) == {span(cpu("MGUPAdamW"))}
    assert set(said("and N times without")) == {span(cpu("MGUPAdamW, not compiled"))}


BEST = {loss.rule: (loss.alone, loss.mgup) for loss in figures.losses()}
"""Of each rule the losses of the seeds, at the rate whose mean is least, alone and with MGUP."""


def test_does_it_help():
    """README and the home page quote the page of evidence, which is made from its runs."""
    evidence = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Does it help\?\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    cell = r" ([−+][\d.]+) (\([^)]*\)) \|"
    rows = re.findall(rf"^\| [^|]+ \|{5 * cell}$", section, re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        for mean, interval in zip(row[::2], row[1::2], strict=True):
            assert f"{mean} {interval}" in evidence, (mean, interval)
    wide, narrow, one, two, five = (mean.removeprefix("−") for mean in rows[0][::2])
    home = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert f"ended {narrow} and {wide} nats below AdamW" in README
    assert f"ends [{narrow} and {wide} nats below AdamW]" in home
    for page in (README, home):
        said = f"a language model of 3 million parameters at tuned learning rates {one}, {two} and"
        assert f"{said} {five} after one, two and five tokens a parameter" in page


def test_what_only_a_page_has():
    """Tokens a second of the GPT, and JAX on the CPU, of which there is no JSON."""
    page = (DATA / "2026-11-28-cuda.md").read_text(encoding="utf-8")
    relative = float(re.search(r"^\| `MGUPAdamW` .* \*\*([\d.]+)\*\* \|$", page, re.MULTILINE)[1])
    shares = re.findall(r"is (\d+) % of the tokens per second", README)
    assert set(shares) == {f"{100 * (1 - relative):.0f}"}
    page = (DATA / "2026-11-22-jax-cpu.md").read_text(encoding="utf-8")
    ratios = re.findall(r"^\| `mgup_adamw`, by graph .* \*\*([\d.]+)\*\* \| \*\*([\d.]+)\*\*", page,
                        re.MULTILINE)  # fmt: skip
    assert set(said("with JAX N times")) == {span([float(x) for x in ratios[0]], 0)}


def test_many_arrays_in_jax():
    """The guide's times of compilation and step, in those of optax.adamw."""
    rows = data("2026-11-28-jax-many.json")["rows"]
    guide = (ROOT / "docs" / "guides" / "jax.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"in times of `optax\.adamw`, (.*)\. The host", guide)
    wanted = [
        f"{rows[f'mgup_adamw, {how}'][key]:.1f}"
        for how in ("auto", "callback", "graph", "sign")
        for key in ("compile_ratio", "step_ratio")
    ]
    assert re.findall(r"\d+\.\d", said) == wanted


def test_the_page_of_losses():
    """Its table is that of the CSV beside it."""
    page = figures.newest("rules.csv").with_suffix(".md").read_text(encoding="utf-8")
    loss = r"([\d.]+ ± [\d.]+) \|[^|]*"  # and the learning rate, which the CSV has as it is
    rows = re.findall(rf"^\| (\w+) \| {loss}\| {loss}\| (\S+) \|$", page, re.MULTILINE)
    wanted = []
    for rule, both in BEST.items():
        cells = (f"{statistics.mean(x):.3f} ± {statistics.stdev(x):.3f}" for x in both)
        gap = statistics.mean(both[1]) - statistics.mean(both[0])
        wanted.append((rule, *cells, f"{gap:+.3f}".replace("-", "−")))
    assert rows == wanted


def test_who_arrives():
    """In README, and the settings that the theory's page names, which are the example's own."""
    arrive = {name: n for name, (n, of) in figures.arrivals().items()}
    assert {of for _, of in figures.arrivals().values()} == {10}
    (found,) = re.findall(r"over ten random sequences, Adam arrives in (\d+), Cautious-MGUP "
                          r"\([^)]*\) in (\d+), and Cautious Adam in (\d+)", README)  # fmt: skip
    assert [int(n) for n in found] == [
        arrive[name] for name in ("Adam", "Cautious-MGUP", "Cautious Adam")
    ]
    theory = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    assert f"({figures.newest('counterexample.csv').relative_to(ROOT / 'docs')})" in theory
