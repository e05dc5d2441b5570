"""The language model in JAX on eight virtual devices (issue 6).

No clause: the example's own promises.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("flax")
pytest.importorskip("mgup_jax")
pytest.importorskip("lm", reason="the examples are not beside the tests")

import train_lm

PROGRAM = Path(train_lm.__file__).with_name("train_sharded_jax.py")
SMALL = ["--steps=2", "--width=8", "--heads=2", "--context=8", "--batch=4"]
TWO = ["--optimizers=adamw,cautious-adamw"]  # the latter counts but does not search: soon compiled


@pytest.mark.slow  # jax/test_sharding.py shows what is sent and what is computed
def test_eight_devices(tmp_path):
    """The closing tables, the files, and nothing sent for AdamW's sake."""
    (tmp_path / "a.py").write_text("x = 1\n" * 200)
    (tmp_path / "b.py").write_text("y = 2\n" * 200)
    done = subprocess.run(
        [sys.executable, PROGRAM, *SMALL, *TWO, "--data", tmp_path, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.rpartition("The compiled update")[2]
    rows = re.findall(r"AdamW +(\d+) +(\d+) +(\d+) +7 of 13", last)
    plain, cautious = ([int(n) for n in row] for row in rows)
    assert plain[:2] == [0, 0]
    assert cautious[0] > 0
    assert cautious[1] < cautious[2]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "curves.png", "curves.csv", "summary.json",
    }  # fmt: skip


def test_help_needs_no_jax(tmp_path):
    """Whatever imports it fails here."""
    (tmp_path / "jax.py").write_text("raise ImportError('JAX was imported')")
    done = subprocess.run(
        [sys.executable, PROGRAM, "--help"], capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout
