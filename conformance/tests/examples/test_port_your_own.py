"""The rule of examples/port_your_own.py: its own identities, its uses, its place in the suite.

It checks P11, R0: as for every rule.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mgup_core import Optimizer

own = pytest.importorskip("port_your_own", reason="the examples are not beside the tests")


def test_trust_is_full_where_gradients_agree_and_lost_where_they_cancel():
    optimizer = Optimizer(own.TrustedSign(), None, lr=1.0, weight_decay=0.0)
    w = [np.zeros(2)]
    state = optimizer.init(w)
    for t in range(200):
        before = w
        w, state = optimizer.step(w, [np.array([3.0, (-1.0) ** t])], state)
    u = before[0] - w[0]
    np.testing.assert_allclose(u[0], 1.0, rtol=1e-10)
    assert abs(u[1]) < 0.06


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_the_bits_of_numpy(name):
    """N1 to N6; MindSpore's is the same function, tested by the suite's own backend."""
    pytest.importorskip(name)
    rng = np.random.default_rng(1)
    w, grads = rng.standard_normal((5, 3)), rng.standard_normal((6, 5, 3))
    w, grads = w.astype(np.float32), grads.astype(np.float32)
    np.testing.assert_array_equal(own.USES[name](w, grads), own.in_numpy(w, grads))


def run(rule: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(own.__file__).parent),
        "MGUP_CONFORMANCE_RULES": rule,
    }
    command = ["run", "--fast", "--case", "port/trustedsign/*", "--jobs", "1"]
    return subprocess.run(
        [sys.executable, "-m", "mgup_conformance", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_suite_takes_a_rule_by_name():
    done = run(own.RULE)
    assert done.returncode == 0, done.stderr
    assert re.search(r": \d+ passed$", done.stdout, re.MULTILINE), done.stdout


def test_the_suite_refuses_what_is_no_rule():
    done = run("port_your_own:compare")
    assert done.returncode != 0
    assert "names no rule; give it as package.module:Class" in done.stderr
