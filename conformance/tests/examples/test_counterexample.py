"""What examples/counterexample.py shows: with a factor of zero it stops short (P10)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import Cautious, SignMGUP

shown = pytest.importorskip("counterexample", reason="the examples are not beside the tests")

POLICIES = {"adam": SignMGUP(1.0, 1.0), "cautious": Cautious(), "mgup": SignMGUP(2.0, 0.5)}


def test_who_arrives():
    problem = shown.Problem(POLICIES, (5,), beta1=0.5, steps=20_000, seeds=4, seed=0)
    ends = dict(zip(POLICIES, shown.simulate(problem)[-1, :, 0], strict=True))
    assert shown.arrived(ends["adam"]).all()
    assert shown.arrived(ends["mgup"]).all()
    assert (ends["cautious"] > -1.9).all()


def test_the_tables_and_pictures_are_written(tmp_path, monkeypatch):
    """The whole script, with few steps; one process, whose start would take the most time."""

    def one_by_one(problems, workers, console):
        return [shown.simulate(problem) for problem in problems]

    monkeypatch.setattr(shown, "simulate_all", one_by_one)
    assert shown.main(["--steps", "40", "--seeds", "2", "--out", str(tmp_path)]) == 0
    written = {file.name for file in tmp_path.iterdir() if file.stat().st_size > 1000}
    assert written == {"trajectories.png", "trajectories.csv", "map.png", "map.csv"}


def test_the_gradient_leads_to_the_optimum():
    """Right of -1 the functions sum up to slope 1, left of it each is a bowl around -2."""
    n = np.array([[5.0]])
    assert shown.gradient(np.array([[0.0]]), n, np.array([0.1])) == 5.0
    assert shown.gradient(np.array([[0.0]]), n, np.array([0.9])) == -1.0
    assert shown.gradient(np.array([[-1.5]]), n, np.array([0.9])) == 2.5


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--n 0", "--n 0"), ("--n -3", "--n -3"), ("--steps 0", "--steps 0"),
        ("--seeds 0", "--seeds 0"), ("--seed -1", "--seed -1"), ("--workers 0", "--workers 0"),
        ("--beta1 2", "--beta1 2"), ("--beta1 1", "--beta1 1"), ("--beta1 nan", "--beta1 nan"),
        ("--beta1 -0.1", "--beta1 -0.1"), ("--gamma 0", "gamma=0.0"), ("--alpha 0.5", "alpha=0.5"),
    ],
)  # fmt: skip
def test_what_has_no_run_is_refused(flags, named, capsys, tmp_path):
    """Before anything is written, with the argument's name and value."""
    with pytest.raises(SystemExit) as ended:
        shown.main([*flags.replace(" -", "=-").split(), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
