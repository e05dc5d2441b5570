"""Written by adapters/write_stubs.py; do not edit."""

from typing import Any, Literal, Protocol

import optax
from jax.typing import DTypeLike

from mgup_core.frontend.modes import Mode
from mgup_core.policy import Ties
from mgup_core.rules.matrix import NSDtype
from mgup_core.rules.muon import Scale

from .arguments import Scheduled, Selection, UpdateDtype
from .muon import MuonDimensionNumbers as MuonDimensionNumbers
from .optimizers import create_optimizer as create_optimizer
from .optimizers import list_optimizers as list_optimizers
from .state import MGUPState as MGUPState
from .transformation import Transformation as Transformation
from .transformation import transformation as transformation
from .wrapper import MGUPWrapperState as MGUPWrapperState
from .wrapper import mgup as mgup

__all__ = [
    "MGUPState",
    "MGUPWrapperState",
    "MuonDimensionNumbers",
    "Transformation",
    "create_optimizer",
    "list_optimizers",
    "mgup",
    "transformation",
    "mgup_adabelief",
    "mgup_adamp",
    "mgup_adamw",
    "mgup_adan",
    "mgup_ademamix",
    "mgup_am_adamw",
    "mgup_am_sgd",
    "mgup_amadamw",
    "mgup_amsgd",
    "mgup_anchored_sgd",
    "mgup_anchoredsgd",
    "mgup_auon",
    "mgup_delta_momentum",
    "mgup_deltamomentum",
    "mgup_fismo",
    "mgup_hybrid_auon",
    "mgup_hybridauon",
    "mgup_lion",
    "mgup_lion_k",
    "mgup_lionk",
    "mgup_m3",
    "mgup_muon",
    "mgup_namo",
    "mgup_namo_d",
    "mgup_namod",
    "mgup_scale",
    "mgup_sgd",
    "mgup_sgd_sai",
    "mgup_sgdp",
    "mgup_sgdsai",
    "mgup_signum",
]

class _mgup_adabelief(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-16,
        *,
        rectify: bool = True,
        degenerated_to_sgd: bool = True,
        coupled_decay: bool = False,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_adabelief: _mgup_adabelief

class _mgup_adamp(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        nesterov: bool = False,
        out_axis: int = -1,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_adamp: _mgup_adamp

class _mgup_adamw(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        form: Literal["standard", "paper", "published"] = "standard",
        weight_decay: Scheduled = 0.01,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_adamw: _mgup_adamw

class _mgup_adan(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.98,
        b2: float = 0.92,
        b3: float = 0.99,
        eps: float = 1e-08,
        *,
        no_prox: bool = False,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_adan: _mgup_adan

class _mgup_ademamix(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        b3: float = 0.9999,
        *,
        eps: float = 1e-08,
        mix: float = 2.0,
        mix_warmup: int = 0,
        beta3_warmup: int = 0,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_ademamix: _mgup_ademamix
mgup_am_adamw: _mgup_amadamw
mgup_am_sgd: _mgup_amsgd

class _mgup_amadamw(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.89,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        lam: float = 0.1,
        beta: float | None = None,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_amadamw: _mgup_amadamw

class _mgup_amsgd(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        lam: float = 0.1,
        beta_max: float = 0.9,
        beta_scope: Literal["all", "tensor"] = "all",
        beta: float | None = None,
        coupled_decay: bool = False,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_amsgd: _mgup_amsgd
mgup_anchored_sgd: _mgup_anchoredsgd

class _mgup_anchoredsgd(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        beta: float = 0.1,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_anchoredsgd: _mgup_anchoredsgd

class _mgup_auon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.24,
        momentum: float = 0.95,
        *,
        gamma_c: float = 1.5,
        normalize: bool = False,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_auon: _mgup_auon
mgup_delta_momentum: _mgup_deltamomentum

class _mgup_deltamomentum(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        momentum: float = 0.9,
        normalize: bool = True,
        eps: float = 1e-08,
        out_axis: int = -1,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_deltamomentum: _mgup_deltamomentum

class _mgup_fismo(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        b1: float = 0.95,
        b2: float = 0.95,
        damping: float = 0.001,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16"] = "float32",
        root_steps: int = 25,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_fismo: _mgup_fismo
mgup_hybrid_auon: _mgup_hybridauon

class _mgup_hybridauon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.24,
        momentum: float = 0.95,
        *,
        gamma_c: float = 1.5,
        normalize: bool = False,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16"] = "float32",
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_hybridauon: _mgup_hybridauon

class _mgup_lion(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        b1: float = 0.9,
        b2: float = 0.99,
        *,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_lion: _mgup_lion
mgup_lion_k: _mgup_lionk

class _mgup_lionk(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        b1: float = 0.9,
        b2: float = 0.99,
        *,
        kernel: Literal["sign", "clip", "tanh"] = "sign",
        sharpness: float = 1.0,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_lionk: _mgup_lionk

class _mgup_m3(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        b1: float = 0.9,
        b2: float = 0.999,
        b3: float = 0.9,
        slow_weight: float = 1.0,
        chunk: int = 100,
        eps: float = 1e-08,
        eps_inside: bool = True,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16"] = "float32",
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_m3: _mgup_m3

class _mgup_muon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        scale: Scale = "match_rms_adamw",
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        ns_steps: int = 5,
        eps: float = 1e-07,
        ns_dtype: NSDtype = "float32",
        weight_decay: Scheduled = 0.1,
        muon_weight_dimension_numbers: Any = None,
        exceptions: tuple[str, ...] = (
            "embed",
            "embedding",
            "embeddings",
            "emb",
            "wte",
            "wpe",
            "head",
        ),
        adam_learning_rate: Scheduled | None = None,
        adam_b1: float = 0.95,
        adam_b2: float = 0.95,
        adam_eps: float = 1e-08,
        adam_weight_decay: Scheduled | None = None,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Mode = "rank",
        ties: Ties = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Selection = "auto",
        param_specs: Any = None,
        update_dtype: UpdateDtype = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_muon: _mgup_muon

class _mgup_namo(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.01,
        *,
        momentum: float = 0.95,
        mu2: float = 0.99,
        eps: float = 1e-08,
        nesterov: bool = True,
        scale: float = 0.2,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16"] = "float32",
        weight_decay: Scheduled = 0.1,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_namo: _mgup_namo
mgup_namo_d: _mgup_namod

class _mgup_namod(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.01,
        *,
        momentum: float = 0.95,
        mu2: float = 0.99,
        eps: float = 1e-08,
        nesterov: bool = True,
        scale: float = 0.2,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16"] = "float32",
        clamp: float = 0.75,
        out_axis: int = -1,
        weight_decay: Scheduled = 0.1,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_namod: _mgup_namod

class _mgup_scale(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        *,
        role: Literal["matrix", "embedding", "last"] = "matrix",
        momentum: float = 0.9,
        eps: float = 1e-08,
        out_axis: int = -1,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_scale: _mgup_scale

class _mgup_sgd(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        momentum: float = 0.9,
        nesterov: bool = False,
        *,
        dampening: float = 0.0,
        coupled_decay: bool = False,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_sgd: _mgup_sgd
mgup_sgd_sai: _mgup_sgdsai

class _mgup_sgdp(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        momentum: float = 0.0,
        *,
        eps: float = 1e-08,
        delta: float = 0.1,
        wd_ratio: float = 0.1,
        nesterov: bool = False,
        out_axis: int = -1,
        dampening: float = 0.0,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_sgdp: _mgup_sgdp

class _mgup_sgdsai(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.01,
        *,
        momentum: float = 0.9,
        eps: float = 1e-08,
        weight_decay: Scheduled = 0.01,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_sgdsai: _mgup_sgdsai

class _mgup_signum(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        momentum: float = 0.9,
        *,
        weight_decay: Scheduled = 0.0,
        mask: Any = None,
        mu_dtype: DTypeLike | None = None,
        state_dtype: DTypeLike | None = None,
        tau: float = 0.5,
        alpha: Scheduled | None = None,
        gamma: Scheduled | None = None,
        mode: Literal["rank", "sign", "adaptive", "cautious", "off"] = "rank",
        ties: Literal["damped", "aligned"] = "damped",
        tau_min: float = 0.01,
        stacked_dims: Any = 0,
        selection: Literal["auto", "callback", "graph"] = "auto",
        param_specs: Any = None,
        update_dtype: Literal["parameter", "compute"] = "parameter",
    ) -> optax.GradientTransformationExtraArgs: ...

mgup_signum: _mgup_signum
