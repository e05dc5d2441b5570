"""Muon for the matrices of a model and AdamW for the rest (R4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from mgup_core import AdamW, Muon, Rule
from mgup_core.frontend.muon_routing import EXCEPTIONS, check_words, names_one_of
from mgup_core.frontend.signatures import takes
from mgup_core.rules.base import Decay
from mgup_core.rules.matrix import NSCoefficients, NSDtype, NSForm, coefficients_of
from mgup_core.rules.muon import SCALES, Scale

from .base.optimizer import RuleOptimizer
from .groups import MGUP_DEFAULTS, TWIN_DEFAULTS, Group, listed, rule_of
from .model_groups import tables_and_heads
from .notices import warn


class MGUPMuon(RuleOptimizer):
    """Muon with MGUP, for PyTorch: matrices to Muon, everything else to AdamW.

    ``MGUPMuon.from_model(model)`` asks the modules first: embeddings, heads and what is tied to
    them go to AdamW, and so do names that hold one of ``exceptions`` as a word (between dots and
    underscores); of the rest, matrices go to Muon. From ``params``, which know no modules, the
    words alone decide: ``lm_head.weight`` is left out by ``head``,
    ``multihead_attn.in_proj_weight`` is not. Plain tensors have no names and are told apart by
    shape, with a warning. A group with ``"use_muon"``, or timm's ``"use_fallback": True``, is taken
    at its word. Each kind becomes a group of its own, so schedulers see both.

    Args:
        params: ``model.named_parameters()``, tensors, or groups of either.
        lr, weight_decay, momentum, nesterov, ns_coefficients, eps, ns_steps: as
            ``torch.optim.Muon``. The decay uses the unscaled learning rate.
        adjust_lr_fn: ``"match_rms_adamw"``, so that AdamW's learning rates carry over, or
            ``"original"`` (``None`` is the same, as in torch).
        ns_dtype: of the Newton-Schulz products, ``"bfloat16"`` (as torch), ``"float32"``, or
            ``"exact"``: the same bits in every framework, at many times the cost (N9).
        ns_form, flat, row_blocks: as :class:`mgup_core.Muon`, which has names for
            ``ns_coefficients``, too. A group of convolutions has ``"use_muon"`` and ``"flat"`` set;
            one of fused QKV weights, ``"row_blocks": 3``.
        exceptions: words in names; with ``^`` before it, one counts outside of numbered layers.
        adamw_lr: learning rate of the AdamW group; default ``lr``.
        adamw_weight_decay: decay of the AdamW group, where a group has none of its own; default
            ``weight_decay``.
        adamw_betas, adamw_eps: of AdamW.
        decay: ``"all"``, or ``"aligned"`` for cautious weight decay (R0c), of both kinds.
        maximize, foreach, capturable, differentiable, fused: as for every MGUP optimizer.
        tau, alpha, gamma, mode, ties, tau_min, stacked_dims: the policy, for both kinds.
        state_dtype, scope, implementation, statistics: as for every MGUP optimizer.

    Raises:
        ValueError, TypeError: naming the argument.
    """

    rule_class = Muon

    @takes({**TWIN_DEFAULTS, **MGUP_DEFAULTS})
    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = Muon.lr,
        weight_decay: float | Tensor = Muon.weight_decay,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: NSCoefficients = Muon.ns_coefficients,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: Scale | None = "match_rms_adamw",
        *,
        ns_dtype: NSDtype = "bfloat16",
        ns_form: NSForm = "direct",
        flat: bool = False,
        row_blocks: int = 1,
        exceptions: tuple[str, ...] = EXCEPTIONS,
        adamw_lr: float | Tensor | None = None,
        adamw_weight_decay: float | Tensor | None = None,
        adamw_betas: tuple[float, float] = (0.95, 0.95),
        adamw_eps: float = 1e-8,
        decay: Decay = "all",
        statistics: bool = False,
        **mgup: Any,
    ) -> None:
        if unknown := mgup.keys() - MGUP_DEFAULTS.keys() - TWIN_DEFAULTS.keys():
            raise TypeError(f"MGUPMuon got unexpected arguments {sorted(unknown)}.")
        defaults: Group = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "ns_dtype": ns_dtype,
            "ns_form": ns_form,
            "flat": flat,
            "row_blocks": row_blocks,
            "exceptions": check_words(exceptions),
            "adamw_lr": adamw_lr,
            "adamw_weight_decay": adamw_weight_decay,
            "adamw_betas": adamw_betas,
            "adamw_eps": adamw_eps,
            "use_muon": True,
            "decay": decay,
            **mgup,
        }
        super().__init__(params, defaults, statistics=statistics)

    def _known_defaults(self) -> Group:
        later = {"decay": "all", "adamw_weight_decay": None}
        return {
            **TWIN_DEFAULTS, **MGUP_DEFAULTS, **later,
            "ns_form": "direct", "flat": False, "row_blocks": 1,
        }  # fmt: skip

    def _rule(self, group: Group) -> Rule:
        if not group["use_muon"]:
            given = {"betas": group["adamw_betas"], "eps": group["adamw_eps"], "form": "standard"}
            return rule_of(AdamW, {**given, "decay": group["decay"]})
        if group["adjust_lr_fn"] not in (None, *SCALES):
            raise ValueError(
                f"adjust_lr_fn={group['adjust_lr_fn']!r} is none of None, 'original', "
                "'match_rms_adamw'."
            )
        return Muon(
            momentum=group["momentum"],
            nesterov=group["nesterov"],
            scale=group["adjust_lr_fn"] or "original",
            ns_coefficients=coefficients_of(group["ns_coefficients"]),
            ns_steps=group["ns_steps"],
            eps=group["eps"],
            ns_dtype=group["ns_dtype"],
            ns_form=group["ns_form"],
            flat=group["flat"],
            row_blocks=group["row_blocks"],
            decay=group["decay"],
        )

    def _init_transient(self) -> None:
        super()._init_transient()
        self._told_of_unnamed = False

    @classmethod
    def _groups_of(cls, model: torch.nn.Module, groups: list[Group]) -> list[Group]:
        special = tables_and_heads(model)
        split: list[Group] = []
        for group in groups:
            fallback = [(name, p) for name, p in group["params"] if p in special]
            others = [(name, p) for name, p in group["params"] if p not in special]
            split.append({**group, "params": others})
            split.append({**group, "params": fallback, "use_fallback": True})
        return [group for group in split if group["params"]]

    def add_param_group(self, param_group: Group) -> None:
        """Add a group, split in two if it holds parameters of both kinds."""
        if "use_muon" in param_group:
            super().add_param_group(param_group)
            return
        group = dict(param_group)
        params = _with_names(group)
        fallback = bool(group.pop("use_fallback", False))
        exceptions = check_words(group.get("exceptions", self.defaults["exceptions"]))
        if "exceptions" in group:
            group["exceptions"] = exceptions
        kinds: dict[bool, list[Any]] = {True: [], False: []}
        for param in params:
            kinds[not fallback and _is_hidden_matrix(param, exceptions)].append(param)
        halves = [
            {**group, "params": members, "use_muon": use_muon}
            for use_muon, members in kinds.items()
            if members or (use_muon and not params)
        ]
        for half in halves:
            if not half["use_muon"]:
                self._set_adamw(half)
            self._check(half)
        self._warn_unnamed(kinds[True])
        before = len(self.param_groups)
        try:
            for half in halves:
                super().add_param_group(half)
        except Exception:
            del self.param_groups[before:]
            raise

    def _set_adamw(self, group: Group) -> None:
        """Give a group of AdamW its own rates."""
        lr, decay = (
            group.get(name, self.defaults[name]) for name in ("adamw_lr", "adamw_weight_decay")
        )
        if lr is not None:
            group["lr"] = lr
        if decay is not None and ("adamw_weight_decay" in group or "weight_decay" not in group):
            group["weight_decay"] = decay

    def _warn_unnamed(self, params: list[Any]) -> None:
        unnamed = sum(isinstance(param, Tensor) for param in params)
        if unnamed and not self._told_of_unnamed:
            self._told_of_unnamed = True
            warn(
                f"MGUPMuon was given matrices without names ({unnamed}), which all go to Muon: "
                "embeddings and heads among them, which AdamW should train, cannot be told. Use "
                "MGUPMuon.from_model(model), give model.named_parameters(), or mark each group "
                "with 'use_muon'."
            )


def _with_names(group: Group) -> list[Any]:
    """Take the parameters out of a group, as (name, tensor) pairs if it has names."""
    params = listed(group.pop("params"))
    params = [params] if isinstance(params, Tensor) else params
    names = group.pop("param_names", None)
    if names is None or len(names) != len(params):
        return list(params)
    return [(n, p) if isinstance(p, Tensor) else p for n, p in zip(names, params, strict=True)]


def _is_hidden_matrix(param: Any, exceptions: tuple[str, ...]) -> bool:
    name, tensor = param if isinstance(param, tuple) else ("", param)
    if not isinstance(tensor, torch.Tensor):
        return True  # refused by torch, which says what it is
    return tensor.ndim == 2 and not names_one_of(name, exceptions)
