"""The language model under FSDP2 (issue 6).

No clause: the example's own promises.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm", reason="the examples are not beside the tests")

import train_fsdp

SMALL = ["--steps=2", "--layers=1", "--width=8", "--heads=2", "--context=8", "--batch=4"]


def test_two_processes(tmp_path):
    """Under torchrun: the closing tables, the files, and nothing sent for AdamW's sake."""
    (tmp_path / "a.py").write_text("x = 1\n" * 200)
    (tmp_path / "b.py").write_text("y = 2\n" * 200)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, train_fsdp.__file__, *SMALL, "--data", tmp_path, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.rpartition("Sent in a step")[2]
    sent = {line.split()[0]: line.split()[1:] for line in last.splitlines() if "AdamW  " in line}
    assert sent["AdamW"][:2] == ["0", "0"]
    assert int(sent["MGUP-AdamW"][0]) > 0
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "curves.png", "curves.csv", "summary.json",
    }  # fmt: skip


@pytest.mark.parametrize(("arguments", "why"), [([], "torchrun"), (["--backend", "jax"], "FSDP2")])
def test_how_to_start_it(arguments, why, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(SystemExit):
        train_fsdp.main(arguments)
    assert why in capsys.readouterr().err
