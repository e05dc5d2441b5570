"""Optimizers of a user's own rules pickle wherever their class was made; their repr reads.

No clause: the contracts of ``pickle`` and of ``torch.optim``.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest
import torch

import mgup_core
import mgup_torch
from mgup_torch import MGUPAdamW, create_optimizer, optimizer

from .support import parameters, same


@dataclass(frozen=True)
class Slow(mgup_core.Lion):
    """Lion, more slowly."""

    b1: float = 0.95


@dataclass(frozen=True)
class AdamW(mgup_core.AdamW):
    """A rule that is called like one of the core's."""

    eps: float = 1e-3


class Mine(mgup_torch.MGUPLion):
    """A subclass of an optimizer."""


MGUPSlow = optimizer(Slow)
another_name = optimizer(Slow, name="Another", positional=("lr", "betas"))


def in_a_function() -> type[mgup_torch.RuleOptimizer]:
    return optimizer(Slow, name="Local", extra={"amsgrad": False})


MADE = {
    "module": lambda: MGUPSlow,
    "another name": lambda: another_name,
    "function": in_a_function,
    "subclass": lambda: Mine,
    "same name": lambda: optimizer(AdamW),
    "shipped": lambda: MGUPAdamW,
}


def stepped(made: torch.optim.Optimizer) -> torch.optim.Optimizer:
    for group in made.param_groups:
        for i, p in enumerate(group["params"]):
            p.grad = torch.arange(p.numel(), dtype=p.dtype).reshape(p.shape) - i
    made.step()
    return made


def kept(made: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [p for group in made.param_groups for p in group["params"]]


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("how", MADE)
def test_an_optimizer_pickles_wherever_its_class_was_made(how, copier):
    made = stepped(MADE[how]()(parameters(), lr=0.1))
    again = copier(made)
    assert type(again) is type(made)
    assert same(kept(stepped(again)), kept(stepped(made)))


def test_two_rules_of_one_name():
    """Each optimizer keeps its own rule, and names still mean the shipped ones."""
    made = optimizer(AdamW)
    assert made.__name__ == MGUPAdamW.__name__
    assert made is not MGUPAdamW
    again = pickle.loads(pickle.dumps(made(parameters())))
    assert again.rule_class is AdamW
    assert again.param_groups[0]["eps"] == 1e-3
    assert type(create_optimizer("MGUPAdamW", parameters())) is MGUPAdamW
    assert mgup_torch.list_optimizers().count("MGUPAdamW") == 1


@pytest.mark.slow
def test_from_the_main_module(tmp_path):
    """A script pickles an optimizer of its own rule, and reads it when it runs again."""
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import pathlib, pickle, sys
            from dataclasses import dataclass
            import torch
            from mgup_core import SGD
            from mgup_torch import optimizer

            @dataclass(frozen=True)
            class Heavy(SGD):
                momentum: float = 0.99

            def make():
                return optimizer(Heavy, name="Elsewhere")

            file = pathlib.Path(sys.argv[1])
            if not file.exists():
                p = torch.nn.Parameter(torch.ones(3))
                file.write_bytes(pickle.dumps(make()([p], lr=0.5)))
            else:
                again = pickle.loads(file.read_bytes())
                print(again.rule_class.__qualname__, again.param_groups[0]["momentum"])
            """
        )
    )
    for _ in range(2):
        command = [sys.executable, script, tmp_path / "optimizer.pickle"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "Heavy 0.99\n"


def test_names_read():
    made = in_a_function()
    assert repr(made) == f"<class '{__name__}.Local'>"
    assert repr(MGUPAdamW) == "<class 'mgup_torch.optimizers.MGUPAdamW'>"
    assert repr(made(parameters(), lr=0.25)).startswith("Local (\nParameter Group 0\n")
    assert "    lr: 0.25\n" in repr(made(parameters(), lr=0.25))
