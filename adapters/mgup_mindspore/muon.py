"""Muon for the matrices of a model and AdamW for the rest (R4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mindspore import Parameter, Tensor
from mindspore.nn import Cell
from mindspore.nn.learning_rate_schedule import LearningRateSchedule

from mgup_core import AdamW, Muon, Rule
from mgup_core.frontend.muon_routing import EXCEPTIONS, check_words, names_one_of
from mgup_core.frontend.signatures import takes
from mgup_core.rules.matrix import NSCoefficients, NSDtype, NSForm, coefficients_of
from mgup_core.rules.muon import Scale

from .base import RuleOptimizer
from .groups import MGUP_DEFAULTS, Group, listed
from .model_groups import tables_and_heads
from .selection import on_host


class MGUPMuon(RuleOptimizer):
    """Muon with MGUP, for MindSpore: matrices to Muon, everything else to AdamW.

    ``MGUPMuon.from_model(network)`` asks the cells first: embeddings and the last dense layer go to
    AdamW. Of the rest, and from ``params``, which know no cells, a parameter goes to Muon if it has
    exactly two dimensions and its name holds none of ``exceptions`` as a word (between dots and
    underscores): ``lm_head.weight`` is left out by ``head``, ``multihead_attn.in_proj_weight`` is
    not. A group with ``"use_muon"`` set is taken at its word. ``parameters`` keeps the order of
    ``params``.

    Args:
        params: parameters, or groups.
        learning_rate, weight_decay, loss_scale: as in ``nn.Optimizer``; the decay uses the
            unscaled learning rate.
        momentum, nesterov, ns_coefficients, eps, ns_steps, scale: see :class:`mgup_core.Muon`.
        ns_dtype: of the Newton-Schulz products, ``"float32"``, ``"bfloat16"`` where the device
            multiplies it (the CPU does not), or ``"exact"``: the same bits in every framework, at
            many times the cost (N9).
        ns_form, flat, row_blocks: see :class:`mgup_core.Muon`; a group may have its own.
        exceptions: words in names; with ``^`` before it, one counts outside of numbered layers.
        adamw_learning_rate: of the parameters that go to AdamW; default ``learning_rate``.
        adamw_weight_decay: of these, where a group has none of its own; default ``weight_decay``.
        adamw_beta1, adamw_beta2, adamw_eps: of AdamW.
        decay: ``"all"``, or ``"aligned"`` for cautious weight decay (R0c), of both kinds.
        tau, alpha, gamma, mode, ties, tau_min, stacked_dims: the policy, for both kinds.
        state_dtype: as for every MGUP optimizer.

    Raises:
        ValueError, TypeError, KeyError: naming the argument.
    """

    rule_class = Muon

    @takes(MGUP_DEFAULTS)
    def __init__(
        self,
        params: Iterable[Any],
        learning_rate: float | Tensor | Iterable[float] | LearningRateSchedule = Muon.lr,
        weight_decay: float | Cell = Muon.weight_decay,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: NSCoefficients = Muon.ns_coefficients,
        eps: float = 1e-7,
        ns_steps: int = 5,
        scale: Scale = "match_rms_adamw",
        loss_scale: float = 1.0,
        *,
        ns_dtype: NSDtype = "float32",
        ns_form: NSForm = "direct",
        flat: bool = False,
        row_blocks: int = 1,
        exceptions: tuple[str, ...] = EXCEPTIONS,
        adamw_learning_rate: float | Tensor | Iterable[float] | LearningRateSchedule | None = None,
        adamw_weight_decay: float | Cell | None = None,
        adamw_beta1: float = 0.95,
        adamw_beta2: float = 0.95,
        adamw_eps: float = 1e-8,
        decay: str = "all",
        **mgup: Any,
    ) -> None:
        if unknown := mgup.keys() - MGUP_DEFAULTS.keys():
            raise TypeError(f"MGUPMuon got unexpected arguments {sorted(unknown)}.")
        settings: Group = {
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": coefficients_of(ns_coefficients),
            "eps": eps,
            "ns_steps": ns_steps,
            "scale": scale,
            "ns_dtype": ns_dtype,
            "ns_form": ns_form,
            "flat": flat,
            "row_blocks": row_blocks,
            "exceptions": check_words(exceptions),
            "adamw_learning_rate": adamw_learning_rate,
            "adamw_weight_decay": adamw_weight_decay,
            "adamw_beta1": adamw_beta1,
            "adamw_beta2": adamw_beta2,
            "adamw_eps": adamw_eps,
            "use_muon": True,
            "decay": decay,
            **mgup,
        }
        groups = list(_split(listed("MGUPMuon", params), settings))
        super().__init__(groups, learning_rate, weight_decay, loss_scale, settings)

    @classmethod
    def _groups_of(cls, network: Cell, groups: list[Group]) -> list[Group]:
        special = tables_and_heads(network)
        split: list[Group] = []
        for group in groups:
            if "order_params" in group:
                split.append(group)
                continue
            for fallback in (False, True):
                kind = [p for p in group["params"] if (p.name in special) == fallback]
                if kind:
                    split.append({**group, "params": kind, "use_fallback": fallback})
        return split

    def _rule(self, group: Group) -> Rule:
        if not group["use_muon"]:
            betas = group["adamw_beta1"], group["adamw_beta2"]
            return AdamW(*betas, group["adamw_eps"], decay=group["decay"])
        if group["ns_dtype"] == "bfloat16" and on_host():
            raise ValueError("ns_dtype='bfloat16': the CPU multiplies no bfloat16; use 'float32'.")
        names = (
            "momentum",
            "nesterov",
            "scale",
            "ns_coefficients",
            "ns_steps",
            "eps",
            "ns_dtype",
            "ns_form",
            "flat",
            "row_blocks",
            "decay",
        )
        return Muon(**{name: group[name] for name in names})


def _split(params: list[Any], settings: Group) -> Iterable[Any]:
    """Groups of one kind each, and the order in which they were given."""
    plain = not any(isinstance(entry, dict) for entry in params)
    order: list[Any] = []
    given: list[Any] | None = None
    for group in [{"params": params}] if plain else params:
        if not isinstance(group, dict) or "params" not in group:
            if isinstance(group, dict) and "order_params" in group:
                given = listed("MGUPMuon", group["order_params"])
            else:
                yield group  # refused by nn.Optimizer, which says what it is
            continue
        group = dict(group)
        members = listed("MGUPMuon", group["params"])
        order += members
        if "use_muon" in group:
            yield {**group, "params": members}
            continue
        exceptions = check_words(group.get("exceptions", settings["exceptions"]))
        fallback = group.pop("use_fallback", False)
        lr = group.get("adamw_learning_rate", settings["adamw_learning_rate"])
        decay = group.get("adamw_weight_decay", settings["adamw_weight_decay"])
        for use_muon in (True, False):
            kind = [
                p
                for p in members
                if (not fallback and _is_hidden_matrix(p, exceptions)) == use_muon
            ]
            half = {**group, "params": kind, "use_muon": use_muon}
            if not use_muon and lr is not None:
                half["lr"] = lr
            if not use_muon and decay is not None:
                half.setdefault("weight_decay", decay)
            if kind or (use_muon and not members):
                yield half
    yield {"order_params": order if given is None else given}


def _is_hidden_matrix(param: Any, exceptions: tuple[str, ...]) -> bool:
    if not isinstance(param, Parameter):
        return True  # refused by nn.Optimizer, which says what it is
    return param.ndim == 2 and not names_one_of(param.name, exceptions)
