"""A stranger's port: found by name, checked, and told what is wrong in words that help.

No clause: the suite's protocol, docs/guides/porting.md.
"""

from __future__ import annotations

import ast
import pathlib

import numpy as np
import pytest

from mgup_conformance import all_cases, run_case, run_suite
from mgup_conformance.backends import load
from mgup_conformance.protocol import POLICIES, RULES, STATE, Backend
from mgup_conformance.runner import select

HERE = pathlib.Path(__file__).parent


def test_the_port_is_short_and_imports_nothing_of_ours():
    text, _, _ = (HERE / "toy_port.py").read_text().partition("class WrongPort")
    modules = {
        name.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert modules == {"numpy"}
    body = text[text.index("import numpy") :]
    assert sum(1 for line in body.splitlines() if line.strip()) <= 70


def test_a_port_passes_what_it_offers_and_skips_the_rest(toys):
    port = load("toy_port:Port")
    results = run_suite([port], all_cases(fast=True), set_of="fast")
    assert {r.status for r in results} == {"passed", "skipped"}
    passed = {r.case for r in results if r.status == "passed"}
    assert {"rank/ties/float32", "run/adamw/mgup/float32", "count/decimals"} <= passed
    for result in results:
        if result.status == "skipped":
            assert result.message.startswith("toy does not offer ")
    lion = next(r for r in results if r.case == "run/lion/large/float64")
    assert "rules: lion (not yet ported)" in lion.message


def test_a_wrong_port_is_told_what_is_wrong(toys):
    case = select(all_cases(), ["run/adamw/mgup/float32"])[0]
    result = run_case(load("toy_port:WrongPort"), case)
    assert result.status == "failed"
    for part in ("run/adamw/mgup/float32 (R1, P6", "R0", "parameter:", "step 1, parameter 0"):
        assert part in result.message
    assert "coordinate [" in result.message
    assert "expected 0x" in result.message or "expected -0x" in result.message
    assert "the threshold" in result.message


def test_a_flip_near_the_threshold_is_called_near():
    """The message tells a slip of a bit from a wrong rule."""
    from mgup_conformance.compare import nearness

    scores = np.array([[4.0, 3.0, 2.0, 1.0]])
    mask = np.array([[True, True, False, False]])
    assert " NEAR " in nearness(scores, mask, 0, 2, ranked=True)
    wide = np.arange(40.0)[None]
    assert "not near" in nearness(wide, wide > 19, 0, 3, ranked=True)
    assert "at the threshold 0" in nearness(np.zeros((1, 1)), mask[:, :1], 0, 0, ranked=False)
    assert "NaN" in nearness(np.full((1, 1), np.nan), mask[:, :1], 0, 0, ranked=True)


def test_a_crash_is_an_error_not_a_pass():
    class Crashing(type(load("numpy"))):
        name = "crashing"

        def multiplier(self, *args):
            raise NotImplementedError("later")

    case = select(all_cases(), ["count/decimals"])[0]
    result = run_case(Crashing(), case)
    assert result.status == "error"
    assert "NotImplementedError: later" in result.message


class Meddler(type(load("numpy"))):
    """Writes into what it is given."""

    name = "meddler"

    def multiplier(self, policy, a, g, stacked_dims):
        phi = super().multiplier(policy, a, g, stacked_dims)
        a *= 2
        return phi

    def run(self, spec, params):
        made = super().run(spec, [w.copy() for w in params])
        for w in params:
            w += 1
        return made


@pytest.mark.parametrize("case_id", ["rank/normal/float32", "run/adamw/mgup/float32"])
def test_a_backend_that_writes_into_its_input_is_caught(case_id):
    result = run_case(Meddler(), select(all_cases(), [case_id])[0], set_of="fast")
    assert result.status == "failed"
    assert "not to be changed" in result.message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nunpy", "unknown backend 'nunpy', did you mean 'numpy'"),
        ("mgup_conformance.backends.core:Nothing", "has no attribute 'Nothing'"),
        ("toy_port:Broken", "'toy_port:Broken' lacks versions, capabilities, multiplier, run"),
    ],
)
def test_unknown_backends(toys, name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


def test_a_missing_module_is_an_import_error():
    with pytest.raises(ImportError, match="no_such_module"):
        load("no_such_module:Backend")


def test_the_protocol_is_structural(toys):
    assert isinstance(load("toy_port:Port"), Backend)
    assert load("toy_port:Port").__class__.__mro__[1] is object


def test_the_names_are_complete():
    """Every rule has its state named, and the defaults are those of the core."""
    from mgup_conformance.backends.core import POLICY_CLASSES, RULE_CLASSES

    assert RULES.keys() == STATE.keys() == RULE_CLASSES.keys()
    for name, options in RULES.items():
        rule = RULE_CLASSES[name]()
        assert {key: getattr(rule, key) for key in options} == options
    for name, options in POLICIES.items():
        if name != "off":
            policy = POLICY_CLASSES[name]()
            assert {key: getattr(policy, key) for key in options} == options
