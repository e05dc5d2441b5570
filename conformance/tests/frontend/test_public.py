"""What users see of each package: names, signatures, documentation, defaults.

No clause: the names and signatures that docs/api.md lists.
"""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from mgup_core import rules

from .public import PACKAGES, defaults, signatures, table

ADAPTERS = [name for name in PACKAGES if name != "mgup_core"]
NOT_CALLED = {
    "RuleOptimizer",
    "Transformation",
    "MGUPState",
    "MGUPWrapperState",
    "MuonDimensionNumbers",
    "Optimizer",
}
"""Bases, and tuples whose fields say what they are."""
_ENTRY = re.compile(r"^    (\w+(?:, \w+)*): ", re.MULTILINE)
_SECTION = re.compile(r"^Args:\n((?:    .*\n|\n(?=    ))*)", re.MULTILINE)


@pytest.fixture(params=PACKAGES)
def package(request):
    return _importable(request.param)


@pytest.fixture(params=ADAPTERS)
def adapter(request):
    return _importable(request.param)


def _importable(name: str):
    pytest.importorskip(PACKAGES[name])
    if name == "mgup_jax":
        pytest.importorskip("optax")
    return importlib.import_module(name)


def documented(value) -> list[str]:
    """The arguments that a docstring lists."""
    section = _SECTION.search(inspect.cleandoc(value.__doc__ or "") + "\n")
    entries = _ENTRY.findall(section[1]) if section else []
    return [name for entry in entries for name in entry.split(", ")]


def test_a_default_changes_only_with_the_table(package):
    """``python conformance/tests/frontend/public.py`` writes the table."""
    assert defaults(package.__name__) == table()[package.__name__]


def test_help_lists_what_the_call_takes(adapter):
    for name, signature in signatures(adapter.__name__).items():
        if name not in NOT_CALLED:
            listed = documented(getattr(adapter, name))
            assert sorted(listed) == sorted(signature.parameters), name


def test_help_gives_the_default_of_every_argument(adapter):
    """Of the optimizers made from rules, whose docstrings are made."""
    for name in adapter.list_optimizers():
        doc = inspect.cleandoc(getattr(adapter, name).__doc__) + "\n"
        if "muon" in name.lower():
            continue
        entries = re.split(r"\n    (?=\w)", "\n" + _SECTION.search(doc)[1])[1:]
        told = dict(" ".join(entry.split()).split(": ", 1) for entry in entries)
        for argument, default in defaults(adapter.__name__)[name].items():
            assert told[argument].endswith(f"Default: {default}."), (name, argument)


def test_the_source_can_be_read(adapter):
    for name in adapter.__all__:
        assert inspect.getsource(getattr(adapter, name))


def test_a_star_brings_the_package_s_own_names(package):
    scope: dict[str, object] = {}
    exec(f"from {package.__name__} import *", scope)
    assert scope.keys() - {"__builtins__"} == set(package.__all__)
    assert len(package.__all__) == len(set(package.__all__))
    if package.__name__ != "mgup_core":
        assert not scope.keys() & {rule.__name__ for rule in rules.ALL}


def test_every_rule_has_an_optimizer(adapter):
    """And Muon one more, which gives AdamW its share."""
    made = [getattr(adapter, name).rule_class for name in adapter.list_optimizers()]
    assert set(made) == set(rules.ALL)
    assert len(made) == len(rules.ALL)


def test_their_modules_lead_to_them(adapter):
    """What pickle, help and messages go by."""
    for name in adapter.list_optimizers():
        value = getattr(adapter, name)
        module = importlib.import_module(value.__module__)
        assert module.__name__.startswith(adapter.__name__)
        assert getattr(module, value.__qualname__) is value


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("adamww", "adamw"),
        ("MGUPLoin", "lion"),
        ("anchored", "anchoredsgd"),
        ("mgup-sgd-p2", "sgdp"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(adapter, name, near):
    with pytest.raises(ValueError, match="did you mean") as told:
        adapter.create_optimizer(name, [])
    said = re.search(r"did you mean '(\w+)'", str(told.value))[1]
    assert said in adapter.list_optimizers()
    assert said.lower().replace("_", "").removeprefix("mgup") == near
    assert repr(name) in str(told.value)


def test_what_is_like_no_name(adapter):
    with pytest.raises(ValueError, match=r"no optimizer 'xyzzy'. list_optimizers\(\) has all"):
        adapter.create_optimizer("xyzzy", [])


@pytest.mark.parametrize("wrong", ["lrr", "b1_", "betaz"])
def test_a_wrong_argument_by_name(adapter, wrong):
    with pytest.raises(TypeError, match=wrong):
        adapter.create_optimizer("adamw", [], **{wrong: 0.5})
