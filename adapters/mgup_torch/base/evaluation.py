"""``train()`` and ``eval()``, for rules that train at one point and are evaluated at another."""

from __future__ import annotations

from typing import Any

import torch

from mgup_core.rules.base import TO_AVERAGE, evaluation

from ..backend import TorchBackend, compute_dtype
from ..distributed import local
from .rule_groups import RuleGroups

TRAINED_AT = "trained_at"
"""In the state of a parameter in eval mode: a copy of what it is in training."""


class Evaluating(RuleGroups):
    """An optimizer that moves its parameters to the point of evaluation, and back (R8)."""

    _evaluates = False

    @torch.no_grad()
    def eval(self) -> None:
        """Move the parameters to where the model is to be evaluated, as in ``schedulefree``.

        Of Schedule-Free rules that is the average x; other rules have nothing to move. In this mode
        a checkpoint holds x in the model and both in the optimizer, and :meth:`step` is refused. It
        costs a copy of the parameters, so that :meth:`train` brings back their bits.
        """
        self._evaluates = True
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state.get(p) or {}
                if TO_AVERAGE in state and TRAINED_AT not in state:
                    here, way = local(p.detach()), local(state[TO_AVERAGE])
                    be = TorchBackend(compute_dtype(p.dtype), p.device)
                    x = evaluation(
                        be, be.cast(here, be.dtype), {TO_AVERAGE: be.cast(way, be.dtype)}
                    )
                    state[TRAINED_AT] = p.detach().clone()
                    here.copy_(x)

    @torch.no_grad()
    def train(self) -> None:
        """Move the parameters back to where they are trained, to the bit; they begin there.

        What was written into them in eval mode is lost.
        """
        self._evaluates = False
        for group in self.param_groups:
            for p in group["params"]:
                if (trained := (self.state.get(p) or {}).pop(TRAINED_AT, None)) is not None:
                    local(p.detach()).copy_(local(trained))

    def _check_training(self) -> None:
        """Refuse a step in eval mode.

        Raises:
            RuntimeError: with the remedy.
        """
        if self._evaluates:
            raise RuntimeError(
                f"{type(self).__name__} is in eval mode, where a step would start from the wrong "
                "point: call optimizer.train() before the forward pass."
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_evaluates": self._evaluates}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # A checkpoint is of the mode that its parameters were in.
        self._evaluates = state.get("_evaluates", False) or any(
            TRAINED_AT in one for one in self.state.values()
        )
