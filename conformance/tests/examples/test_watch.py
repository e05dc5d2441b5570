"""``train_lm.py --watch``: the live table and TensorBoard (issue 21, point 7).

P12: half of each tensor is selected, and its mean multiplier is 1.25.
"""

from __future__ import annotations

import dataclasses
import sys
import types

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm", reason="the examples are not beside the tests")

import train_lm
from lm.recipes import RECIPES
from lm.torch_trainer import TorchTrainer
from lm.watch import layer_table
from mgup_core import Statistics

from .test_lm import SETTINGS, batches

LAYERS = {"token_embedding", "position_embedding", "blocks.0", "final_norm", "head"}
SMALL = ["--steps=3", "--layers=1", "--width=8", "--heads=2", "--context=8", "--batch=4"]
NAMES = ["adamw", "mgup-adamw", "cautious-mgup-adamw"]


@pytest.fixture
def watch(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n" * 200)
    (tmp_path / "b.py").write_text("y = 2\n" * 200)
    arguments = ["--watch", f"--optimizers={','.join(NAMES)}", f"--data={tmp_path}"]

    def run():
        out = tmp_path / "out"
        assert train_lm.main([*SMALL, *arguments, f"--out={out}"]) == 0
        return out

    return run


def assert_scalars(found, name):
    """``found`` has the steps and values of each tag: the loss, and what was measured by layer."""
    fields = set() if name == "adamw" else set(Statistics._fields)
    assert set(found) == {"loss", *(f"{field}/{layer}" for field in fields for layer in LAYERS)}
    for tag, written in found.items():
        assert [step for step, _ in written] == [1, 2, 3], tag
        if name == "mgup-adamw" and tag.startswith(("selected/", "multiplier/")):
            known = 0.5 if tag.startswith("selected") else 1.25
            assert {value for _, value in written} == {known}, tag


def test_what_is_written(watch, monkeypatch, capsys):
    """With an imitation of TensorBoard's writer, which is no need of the tests."""
    runs = {}

    class SummaryWriter:
        def __init__(self, folder):
            self.tags = runs.setdefault(folder.rpartition("/")[2], {})

        def add_scalar(self, tag, value, step):
            self.tags.setdefault(tag, []).append((step, value))

        def close(self):
            self.tags["closed"] = True

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, module.__name__, module)
    watch()
    assert list(runs) == NAMES
    for name, found in runs.items():
        assert found.pop("closed")
        assert_scalars(found, name)
    shown = capsys.readouterr().out
    assert "step 3: share selected" in shown
    assert "blocks.0" in shown


def test_tensorboard_reads_it(watch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = watch()
    for name in NAMES:
        events = EventAccumulator(str(out / "tensorboard" / name)).Reload()
        tags = {tag: [(x.step, x.value) for x in events.Scalars(tag)]
                for tag in events.Tags()["scalars"]}  # fmt: skip
        assert_scalars(tags, name)


def test_the_table_has_what_the_optimizer_says():
    made = TorchTrainer(RECIPES["mgup-adamw"], dataclasses.replace(SETTINGS, watch=True))
    for batch in batches(2):
        made.step(batch)
    lowest = min(
        float(one.threshold)
        for name, one in made.optimizer.named_statistics().items()
        if name.startswith("head")
    )
    table = layer_table(["MGUP-AdamW", "AdamW"], [made.layers(), {}], 2)
    rows = {next(iter(row)): row for row in zip(*(c.cells for c in table.columns), strict=True)}
    assert set(rows) == LAYERS
    assert rows["head"] == ("head", "0.5", f"{lowest:.3g}", "1.25")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_is_what_is_measured(name):
    """P12: the closing table has the mean multiplier of rank mode without measuring it."""
    plain, watched = (
        TorchTrainer(RECIPES[name], dataclasses.replace(SETTINGS, tau=0.3, watch=watch))
        for watch in (False, True)
    )
    for batch in batches(2):
        known, measured = plain.step(batch), watched.step(batch)
        assert known.loss == measured.loss
        if name == "cautious-mgup-adamw":
            assert known.multiplier is None
            assert measured.multiplier > 0
        else:
            # The optimizer's factors are float32.
            assert measured.multiplier == pytest.approx(known.multiplier, rel=1e-6)
