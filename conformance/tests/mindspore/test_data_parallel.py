"""Data parallelism: what every process has, every process steps alike (P4, N1; issue 6)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mgup_mindspore import MGUPAdamW

from .support import arrays, parameters


@pytest.mark.slow
def test_two_processes(tmp_path):
    """Ranks end bit-equal, in a loop of one's own, as a graph, and with TrainOneStepCell.

    The loops are also compared with the NumPy reference on the reduced gradients, in each process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(__file__).with_name("parallel.py")
    folder = Path(sys.executable).parent
    started = [folder / "msrun", "--worker_num=2", "--local_worker_num=2", "--join=True"]
    where = [f"--master_port={port}", f"--log_dir={tmp_path / 'log'}"]
    done = subprocess.run(
        [*started, *where, program, tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},  # its `python`
        timeout=600,
    )
    logs = [log.read_text()[-3000:] for log in (tmp_path / "log").glob("worker*")]
    assert done.returncode == 0, [done.stderr[-2000:], *logs]
    ranks = [np.load(tmp_path / f"rank{i}.npz") for i in range(2)]
    assert len(ranks[0].files) == 20
    for name in ranks[0].files:
        assert ranks[0][name].tobytes() == ranks[1][name].tobytes(), name


def test_parallel_optimizer():
    """It would rank parts of parameters: refused."""
    params = parameters(arrays())
    ms.set_auto_parallel_context(enable_parallel_optimizer=True)
    try:
        with pytest.raises(ValueError, match="enable_parallel_optimizer=True splits parameters"):
            MGUPAdamW(params)
    finally:
        ms.reset_auto_parallel_context()
    MGUPAdamW(params)
