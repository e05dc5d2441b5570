"""What make arm asks on the other processor would find a wrong bit (issue 17, item 9).

No clause: the comparison of ``make arm``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mgup_conformance import all_cases, reproduce
from mgup_conformance.backends import load
from mgup_conformance.runner import select

FILE = Path(__file__).parents[2] / "arm_there.py"
if not FILE.is_file():
    pytest.skip("the checkout is not beside the tests", allow_module_level=True)
_spec = importlib.util.spec_from_file_location("arm_there", FILE)
there = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(there)


@pytest.mark.parametrize("name", there.ANSWERS)
def test_answers(name, tmp_path):
    """The same on this processor; and no longer when one bit of one array is another."""
    (case,) = select(all_cases(), [name])
    file, _ = reproduce.write(case, tmp_path, steps=2)
    assert there.crossed(file, load("numpy")) == "identical"
    arrays = dict(np.load(file))
    changed = [key for key in arrays if key.endswith("_2") and not key.startswith(("g", "lr"))]
    assert any(not key.startswith("w") for key in changed)  # states, too
    for key in changed:
        wrong = arrays[key].copy()
        at = np.unravel_index(np.argmax(np.abs(wrong)), wrong.shape)
        # A unit in the last place of what is stored, which may be 16 bits in a wider array.
        wrong[at] = wrong[at] * (1 + 2.0**-10)
        np.savez(file, **{**arrays, key: wrong})
        assert there.crossed(file, load("numpy")).startswith("step 2 of 2: ")


def test_the_cases_exist():
    for globs in (there.CASES, there.COMPILED, there.ANSWERS):
        assert select(all_cases(), globs)
