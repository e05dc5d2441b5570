"""Written by adapters/write_stubs.py; do not edit."""

from typing import Any, Literal, Protocol

from jax.typing import DTypeLike

from mgup_core.frontend.modes import Mode
from mgup_core.policy import Ties
from mgup_core.rules.base import Decay
from mgup_core.rules.matrix import NSCoefficients, NSDtype, NSForm
from mgup_core.rules.muon import Scale

from .arguments import Scheduled, Selection, UpdateDtype
from .in_place import Optimizer as Optimizer
from .module_types import nnx_dimension_numbers as nnx_dimension_numbers
from .muon import MuonDimensionNumbers as MuonDimensionNumbers
from .optimizers import create_optimizer as create_optimizer
from .optimizers import list_optimizers as list_optimizers
from .state import MGUPState as MGUPState
from .state import eval_params as eval_params
from .transformation import Transformation as Transformation
from .transformation import transformation as transformation
from .wrapper import MGUPWrapperState as MGUPWrapperState
from .wrapper import mgup as mgup
from .wrapper import scale_by_mgup as scale_by_mgup

__version__: str
__all__ = [
    "MGUPState",
    "MGUPWrapperState",
    "MuonDimensionNumbers",
    "Optimizer",
    "Transformation",
    "create_optimizer",
    "eval_params",
    "list_optimizers",
    "mgup",
    "nnx_dimension_numbers",
    "scale_by_mgup",
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
    "mgup_soap",
    "mgup_adopt",
    "mgup_amsgrad",
    "mgup_grams",
    "mgup_laprop",
    "mgup_marsadamw",
    "mgup_marslion",
    "mgup_nadamw",
    "mgup_radam",
    "mgup_stableadamw",
    "mgup_mars_adamw",
    "mgup_mars_lion",
    "mgup_stable_adamw",
    "mgup_schedulefreeadamw",
    "mgup_schedule_free_adamw",
    "mgup_schedulefreeradam",
    "mgup_schedulefreesgd",
    "mgup_schedule_free_sgd",
    "mgup_normuon",
    "mgup_adamuon",
    "mgup_prodigy",
    "mgup_adafactor",
]

class _mgup_adabelief(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-16,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AdaBelief with MGUP, for JAX.

        AdaBelief: Zhuang et al., Adapting Stepsizes by the Belief in Observed Gradients, 2020.

        ::

            m <- b1*m + (1 - b1)*g
            s <- b2*s + (1 - b2)*(g - m)^2 + eps        (the new m; eps stays in the state)
            u  = (m / (1 - b1^t)) * R / (sqrt(s) + eps)                 a = u

        with rectification (:func:`rectification`), and ``u = m / (1 - b1^t)`` in the first steps, where
        the variance of ``s`` is not tractable (rho < 5: the first five for b2 = 0.999). Without it, as
        in Algorithm 2 of arXiv 2010.07468 and ``optax.adabelief`` with ``eps_root = eps``::

            u  = (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps)

        This is the form of the authors' package, version 0.2.1, with its defaults; before 0.1 it had
        eps = 1e-8 and no rectification. Its amsgrad and fixed_decay are left out.

        State: ``exp_avg`` (m) and ``exp_avg_var`` (s), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: added to the second moment and to its root, >= 0. Default: 1e-16.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            rectify: scale by R, as RAdam does. Default: True.
            degenerated_to_sgd: with ``False``, a step in which R is not defined does not move. Default:
                True.
            coupled_decay: ``True`` for L2 decay, which enters the moments (but never the score's
                gradient); by default the decay is decoupled. Default: False.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_adabelief: _mgup_adabelief

class _mgup_adamp(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AdamP with MGUP, for JAX.

        AdamP: Heo et al., AdamP, ICLR 2021, arXiv 2006.08217, in the form of the official code.

        Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights::

            m <- b1*m + (1 - b1)*g
            v <- b2*v + (1 - b2)*g*g
            p  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
                 with nesterov b1*m + (1 - b1)*g in the place of m
            cos = |<g, w>| / (max(|g|, eps) * max(|w|, eps))       for each row, or for the whole of w
            u  = p, or p - n<n, p> with n = w / (|w| + eps) where max cos < delta / sqrt(row length)
                                                                        a = u

        The rows, one for each index of ``out_axis``, are tried before the whole. Where the step is
        projected, ``wd_ratio`` multiplies the decay. MGUP ranks by ``u`` as with AdamW, and the radial
        part that the multiplier brings back is removed again. With ``delta=0`` this is AdamW.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: >= 0, in both quotients. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            delta: bounds the cosine of a step that is projected, >= 0. Default: 0.1.
            wd_ratio: the factor of a projected parameter's decay, >= 0. Default: 0.1.
            nesterov: whether p looks ahead. Default: False.
            out_axis: the axis of output units: 0 in PyTorch and MindSpore, -1 in flax. Default: -1.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_adamp: _mgup_adamp

class _mgup_adamw(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AdamW with MGUP, for JAX.

        AdamW: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, arXiv 1711.05101.

        ::

            m <- b1*m + (1 - b1)*g
            v <- b2*v + (1 - b2)*g*g
            u  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)        a = u

        To rounding, this is ``torch.optim.AdamW``, ``optax.adamw`` and
        ``mindspore.experimental.optim.AdamW``.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            form: ``"standard"`` as above. ``"paper"`` (MGUP, Algorithm 1): ``u = m / (sqrt(v) + eps)``
                at the rate ``lr * sqrt(1 - b2^t) / (1 - b1^t)``, decay included. ``"published"`` (the
                MGUP authors' code): the same, with the decay at ``lr``. Default: 'standard'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.01.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

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
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """Adan with MGUP, for JAX.

        Adan: Xie et al., Adan: Adaptive Nesterov Momentum Algorithm, 2022, arXiv 2208.06677.

        ::

            z  = g - g_before                                           (0 at the first step)
            m <- b1*m + (1 - b1)*g
            d <- b2*d + (1 - b2)*z
            n <- b3*n + (1 - b3)*(g + b2*z)^2
            u  = (m / (1 - b1^t) + b2 * d / (1 - b2^t)) / (sqrt(n / (1 - b3^t)) + eps)      a = u
            w <- (w - lr*phi*u) / (1 + lr*weight_decay)

        This is the form of the authors' code, whose betas are 1 - beta of the paper. Their code can
        also clip the gradients of all parameters together (off by default) and restart; here, clip
        before the step with the framework's own function. ``optax.adan`` is another rule: it looks
        ahead by 1 - b2, and this rule by b2.

        State: ``exp_avg`` (m), ``exp_avg_diff`` (d), ``exp_avg_sq`` (n) and ``previous_grad``
        (g_before), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the three moments, in [0, 1). Default: 0.98.
            b2: decay rates of the three moments, in [0, 1). Default: 0.92.
            b3: decay rates of the three moments, in [0, 1). Default: 0.99.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            no_prox: decay as AdamW does, ``w <- w - lr*phi*u - lr*weight_decay*w``, in place of the
                proximal quotient. Default: False.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_adan: _mgup_adan

class _mgup_ademamix(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        b3: float = 0.9999,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AdEMAMix with MGUP, for JAX.

        AdEMAMix: Pagliardini, Ablin and Grangier, Better, Faster, Older, 2024, arXiv 2409.03137.

        ::

            m1 <- b1*m1 + (1 - b1)*g
            m2 <- b3_t*m2 + (1 - b3_t)*g                                (no bias correction)
            v  <- b2*v + (1 - b2)*g*g
            u   = (m1 / (1 - b1^t) + mix_t*m2) / (sqrt(v / (1 - b2^t)) + eps)       a = u

            mix_t = mix * min(t / mix_warmup, 1)
            b3_t : 1 / log(b3_t) goes from 1 / log(b1) to 1 / log(b3) in a line over beta3_warmup steps

        This is the form of the authors' code, and without warm-up of ``optax.contrib.ademamix``.
        ``mix`` is the paper's alpha, a name that MGUP has already. The defaults are those of the
        authors' code. The paper advises a mix of 4 to 10, both warm-ups as long as the training, and a
        smaller b3 for fewer than some ten thousand steps.

        State: ``exp_avg_fast`` (m1), ``exp_avg_slow`` (m2) and ``exp_avg_sq`` (v), zeros of the
        parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the fast momentum, the second moment and the slow momentum, in [0, 1);
                for a warm-up of b3, 1e-6 <= b1 <= b3. Default: 0.9.
            b2: decay rates of the fast momentum, the second moment and the slow momentum, in [0, 1);
                for a warm-up of b3, 1e-6 <= b1 <= b3. Default: 0.999.
            b3: decay rates of the fast momentum, the second moment and the slow momentum, in [0, 1);
                for a warm-up of b3, 1e-6 <= b1 <= b3. Default: 0.9999.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            eps: added to the root, >= 0. Default: 1e-08.
            mix: the weight of the slow momentum, >= 0; at 0 this is AdamW. Default: 2.0.
            mix_warmup: the number of steps of each warm-up, >= 0; 0 for none. Default: 0.
            beta3_warmup: the number of steps of each warm-up, >= 0; 0 for none. Default: 0.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

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
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AMAdamW with MGUP, for JAX.

        AdamW with adaptive memory: Topollai and Choromanska, 2025, arXiv 2510.04988.

        Adaptive Memory Momentum via a Model-Based Framework for Deep Learning Optimization. For each
        tensor::

            v   <- b2*v + (1 - b2)*g*g
            P    = (1 - b1*pi) * (sqrt(v / (1 - b2^t)) + eps)       pi: the product of all earlier betas
            S    = 1 / (P * (1 + lam*P))
            beta = clip( (<g, d/P> - <d - g, S*(g + lam*P*d)>) / <d - g, S*(d - g)>, 0, b1 )
            d   <- ((1 - beta)*g + (lam*P + beta)*d) / (1 + lam*P)      (first step: beta = b1)
            u    = d / P                                                a = u
            pi  <- pi * beta

        Experimental: there is no official code, and the equations are confirmed by derivation only.
        beta is that of a constant learning rate without decay: the terms by which the paper's model
        brings both into it are left out. With ``lam=0`` and a fixed ``beta`` this is AdamW.

        State: ``exp_avg`` (d) and ``exp_avg_sq`` (v), zeros of the parameter's shape, and ``product``
        (pi), 0-d in the compute dtype, 1.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: the largest beta, in [0, 1). Default: 0.89.
            b2: decay rate of the second moment, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            lam: weight of the second proximal term, >= 0. Default: 0.1.
            beta: a fixed beta in [0, 1) instead of the adaptive one; it replaces b1 as well. Default:
                None.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_amadamw: _mgup_amadamw

class _mgup_amsgd(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AMSGD with MGUP, for JAX.

        SGD with adaptive memory: Topollai and Choromanska, 2025, arXiv 2510.04988.

        Adaptive Memory Momentum via a Model-Based Framework for Deep Learning Optimization::

            beta = clip( (|g|^2 + 2*lam*<g, d> - lam*|d|^2) / |d - g|^2, 0, beta_max )
            d   <- ((beta + lam)*d + (1 - beta)*g) / (1 + lam)          (first step: d = g)
            u    = d                                                    a = d

        Experimental: there is no official code. The equations are derived from the paper's model, two
        planes and a proximal term, and agree with a third party's port, whose defaults these are.
        ``beta`` is 0 where ``d = g``. With ``beta_scope="all"``, the products are sums over all
        parameters in their order, on which the last bits of the sums depend; a parameter at its first
        step adds nothing to them. With ``lam=0`` and a fixed ``beta`` this is SGD with
        ``momentum = dampening = beta``.

        State: ``momentum_buffer`` (d), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            lam: weight of the second proximal term, >= 0. Default: 0.1.
            beta_max: the largest beta, in [0, 1). Default: 0.9.
            beta_scope: ``"all"`` for one beta for all parameters together, ``"tensor"`` for one each.
                Default: 'all'.
            beta: a fixed beta in [0, 1) instead of the adaptive one. Default: None.
            coupled_decay: ``True`` for L2, where decay enters g (but never the score's gradient), as in
                the third party's port; by default the decay is decoupled. Default: False.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_amsgd: _mgup_amsgd
mgup_anchored_sgd: _mgup_anchoredsgd

class _mgup_anchoredsgd(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AnchoredSGD with MGUP, for JAX.

        A client's step in FedAvg-M: SGD pulled towards the server's direction G.

        Cheng, Huang, Wu and Yuan, Momentum Benefits Non-IID Federated Learning Simply and Provably,
        2023, arXiv 2306.16504; Xu et al., FedCM, 2021, arXiv 2106.10874, has the same step.

        ::

            u  = beta*g + (1 - beta)*G                                  a = u

        G is an input: the state ``anchor``, which the rule reads and never changes. Who runs the rounds
        sets it between them, on every client: ``G = sum(x - y_i) / (lr * K * N)`` over the N clients'
        weights ``y_i`` after K local steps from ``x``; the server then moves ``x <- x - server_lr*G``.
        Zeros, as before the first round, leave ``u = beta*g``.

        Experimental: there is no official code. The step is confirmed by reviews of the paper and by a
        third party's FedCM; the learning rate's default is this library's own.

        State: ``anchor`` (G), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            beta: the weight of the client's own gradient, in (0, 1]; at 1 this is SGD without momentum.
                Default: 0.1.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_anchoredsgd: _mgup_anchoredsgd

class _mgup_auon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.24,
        momentum: float = 0.95,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AuON with MGUP, for JAX.

        AuON: Maity, AuON: A Linear-time Alternative to Orthogonal Momentum Updates, 2025.

        arXiv 2509.24320, in the form of the author's code::

            m <- momentum*m + (1 - momentum)*g
            D  = (1 - momentum)*g + momentum*m
            z  = gamma_c * D / (|D| + 1e-7)
            u  = D / (sqrt(mean(cosh(z)^2)) + 1e-8)                     a = D

        ``|D|`` is the Frobenius norm of the whole tensor, of any shape. As ``|z| <= gamma_c``, the root
        is about ``sqrt(1 + gamma_c^2 / n)`` for n entries: 1.0006 for 2000 of them. So this form is
        SGD with Nesterov's momentum to a small factor. The paper instead divides the normalised D,
        without gamma_c: ``X = D / (|D| + 1e-7)``, ``u = X / (sqrt(mean(cosh(X)^2)) + 1e-8)``, whose
        length is below 1 whatever the gradient's scale.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.24.
            momentum: in [0, 1). Default: 0.95.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            gamma_c: the factor of the code's form, in [0, 40]; the paper has none. Default: 1.5.
            normalize: ``True`` for the paper's form. Default: False.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_auon: _mgup_auon
mgup_delta_momentum: _mgup_deltamomentum

class _mgup_deltamomentum(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        decay: Literal["all", "aligned"] = "all",
        momentum: float = 0.9,
        normalize: bool = True,
        eps: float = 1e-08,
        out_axis: int = -1,
        product_dtype: Literal["float32", "exact"] = "float32",
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
    ) -> Optimizer:
        """DeltaMomentum with MGUP, for JAX.

        Delta Momentum: Behrouz et al., Nested Learning, 2025, arXiv 2512.24695, eq. 48 and 49.

        Momentum as an associative memory learned by the delta rule: before it takes in a gradient, it
        forgets along the directions that the gradient has::

            k  = g / (|g| + eps)                       (Frobenius; k = g if not ``normalize``)
            m <- momentum*m - m (k' k) + g,   u = m                                         a = u

        for an (outputs, inputs) matrix; ``m <- momentum*m - (k k') m + g`` for (inputs, outputs).

        Experimental: no official code is known. The paper writes ``m <- m(momentum*I - g'g) - lr*g``
        with no scale for g: m diverges where g keeps a singular value above ``sqrt(1 + momentum)``, and
        forgets nothing while g is small. The normalisation is this library's choice, as in linear
        attention, where keys of a delta rule have length 1: ``|k| <= 1``, so that nothing which m holds
        grows, whatever the scale of g, while the gradient taken in keeps its scale. ``normalize=False``
        is the equation as printed. The learning rate stands outside of m, which is the same at a
        constant rate, and the paper's preconditioner P is I.

        MGUP ranks by the momentum, whose history holds matrix products: unlike Muon's, masks may differ
        between backends where scores differ by a rounding, but not with exact ones.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape. A vector is a matrix of one row.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: in [0, 1). Default: 0.9.
            normalize: whether gradients are scaled to length 1 before they erase. Default: True.
            eps: added to their length, >= 0. Default: 1e-08.
            out_axis: 0 for weights (outputs, inputs), -1 for (inputs, outputs), as in flax. Default:
                -1.
            product_dtype: of the matrix products, ``"float32"``, or ``"exact"`` for the same bits on
                every backend (N9), at several times the cost. Default: 'float32'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_deltamomentum: _mgup_deltamomentum

class _mgup_fismo(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        decay: Literal["all", "aligned"] = "all",
        b1: float = 0.95,
        b2: float = 0.95,
        damping: float = 0.001,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16", "exact"] = "float32",
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
    ) -> Optimizer:
        """FISMO with MGUP, for JAX.

        FISMO: Xu, Yan and Zhang, 2026, arXiv 2601.21750.

        For an m x n matrix, with ``sym(X) = (X + X')/2``::

            L  = g Q^-1 g' / n + damping*(tr P / m)*I,   P <- b2*P + (1 - b2)*L,   P <- sym(m*P / tr P)
            R  = g' P^-1 g / m + damping*(tr Q / n)*I,   Q <- b2*Q + (1 - b2)*R,   Q <- sym(n*Q / tr Q)
            M <- b1*M + (1 - b1)*P^-1/2 g Q^-1/2
            u  = P^-1/2 polar(M) Q^-1/2                                        a = P^-1/2 M Q^-1/2

        where R takes the new P, and ``polar`` is Muon's Newton-Schulz iteration, as in practice, or the
        exact factor to rounding with ``ns_coefficients=(1.875, -1.25, 0.375), ns_steps=40``.

        Experimental: three second-hand accounts agree on this, and none gives the defaults, which are
        this library's choice. Inverse roots come from a coupled Newton-Schulz iteration, not from an
        eigendecomposition, which not every backend has. MGUP ranks by a: M lives in the whitened
        coordinates, so that ``M * g`` would mix two spaces. a holds matrix products: unlike Muon's,
        masks may differ between backends where scores differ by a rounding, but not with exact ones.

        State: ``momentum_buffer`` (M), zeros of the parameter's shape; ``left`` (P) and ``left_root``
        (P^-1/2), (..., m, m), and ``right`` and ``right_root``, (..., n, n), from I, in the compute
        dtype.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            b1: decay rates of the momentum and of the factors, in [0, 1). Default: 0.95.
            b2: decay rates of the momentum and of the factors, in [0, 1). Default: 0.95.
            damping: >= 0; it keeps the factors invertible where the gradients have entries below about
                1, since it is relative to P and Q and not to L and R. Default: 0.001.
            ns_coefficients: settings of the polar factor's iteration; see :class:`mgup_core.Muon`.
                ``ns_dtype="exact"`` holds for all products. Default: (3.4445, -4.775, 2.0315).
            ns_steps: settings of the polar factor's iteration; see :class:`mgup_core.Muon`.
                ``ns_dtype="exact"`` holds for all products. Default: 5.
            ns_dtype: settings of the polar factor's iteration; see :class:`mgup_core.Muon`.
                ``ns_dtype="exact"`` holds for all products. Default: 'float32'.
            root_steps: steps of the iteration for the inverse roots, in [1, 99]. Default: 25.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_fismo: _mgup_fismo
mgup_hybrid_auon: _mgup_hybridauon

class _mgup_hybridauon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.24,
        momentum: float = 0.95,
        *,
        decay: Literal["all", "aligned"] = "all",
        gamma_c: float = 1.5,
        normalize: bool = False,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16", "exact"] = "float32",
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
    ) -> Optimizer:
        """HybridAuON with MGUP, for JAX.

        Hybrid-AuON: Maity, AuON: A Linear-time Alternative to Orthogonal Momentum Updates, 2025.

        arXiv 2509.24320, in the form of the author's code: :class:`mgup_core.AuON` with
        ``X = newton_schulz(D)`` in place of D for all but vectors::

            m <- momentum*m + (1 - momentum)*g
            D  = (1 - momentum)*g + momentum*m
            X  = newton_schulz(D), or D for a vector
            u  = X / (sqrt(mean(cosh(gamma_c * X / (|X| + 1e-7))^2)) + 1e-8)                a = D

        The paper has one step of the iteration (``ns_steps=1, normalize=True``), and prints the mean
        without the root that the code takes. MGUP ranks by D, which is elementwise, as with Muon.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.24.
            momentum: as :class:`mgup_core.AuON`. Default: 0.95.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            gamma_c: as :class:`mgup_core.AuON`. Default: 1.5.
            normalize: as :class:`mgup_core.AuON`. Default: False.
            ns_steps: settings of the Newton-Schulz iteration; see :class:`mgup_core.Muon`. The
                iteration takes a tensor of more than two axes as a stack of matrices; the norm is that
                of the whole tensor. Default: 5.
            ns_dtype: settings of the Newton-Schulz iteration; see :class:`mgup_core.Muon`. The
                iteration takes a tensor of more than two axes as a stack of matrices; the norm is that
                of the whole tensor. Default: 'float32'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_hybridauon: _mgup_hybridauon

class _mgup_lion(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        b1: float = 0.9,
        b2: float = 0.99,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """Lion with MGUP, for JAX.

        Lion: Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, arXiv 2302.06675.

        ::

            u  = sign(b1*m + (1 - b1)*g)                                a = u
            m <- b2*m + (1 - b2)*g          (after u; sign(0) = 0)

        State: ``exp_avg`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.0001.
            b1: decay rates of the direction and of the momentum, in [0, 1). Default: 0.9.
            b2: decay rates of the direction and of the momentum, in [0, 1). Default: 0.99.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_lion: _mgup_lion
mgup_lion_k: _mgup_lionk

class _mgup_lionk(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        b1: float = 0.9,
        b2: float = 0.99,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """LionK with MGUP, for JAX.

        Lion-K: Chen, Liu, Liang and Liu, Lion Secretly Solves Constrained Optimization, 2023.

        ::

            c  = sharpness * (b1*m + (1 - b1)*g)
            u  = grad K(c)                                              a = u
            m <- b2*m + (1 - b2)*g          (after u)

        arXiv 2310.05898, for three convex K, all coordinatewise:

        ========  ======================  ============================
        kernel    K                       grad K
        ========  ======================  ============================
        sign      1-norm                  sign(c): this is Lion
        clip      Huber                   c within [-1, 1], else sign(c)
        tanh      sum of log cosh         tanh(c)
        ========  ======================  ============================

        ``optax.scale_by_lion`` has them as ``mode="hard"``, ``"refined"`` (without sharpness) and
        ``"smooth"`` (``smooth_beta``).

        State: ``exp_avg`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.0001.
            b1: decay rates of the direction and of the momentum, in [0, 1). Default: 0.9.
            b2: decay rates of the direction and of the momentum, in [0, 1). Default: 0.99.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            kernel: ``"sign"``, ``"clip"`` or ``"tanh"``. Default: 'sign'.
            sharpness: > 0; a gradient of its inverse saturates the kernel. It is 1 in the paper; the
                gradients of a network are often far below 1, where clip and tanh are linear. Default:
                1.0.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_lionk: _mgup_lionk

class _mgup_m3(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        *,
        decay: Literal["all", "aligned"] = "all",
        b1: float = 0.9,
        b2: float = 0.999,
        b3: float = 0.9,
        slow_weight: float = 1.0,
        chunk: int = 100,
        eps: float = 1e-08,
        eps_inside: bool = True,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16", "exact"] = "float32",
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
    ) -> Optimizer:
        """M3 with MGUP, for JAX.

        M3: Behrouz, Razaviyayn, Zhong and Mirrokni, Nested Learning, 2025, arXiv 2512.24695.

        Algorithm 1 of its section 7.2. A fast momentum, and a slow one that takes in a chunk of
        gradients at a time; all three are sums without decay, so that steps shrink as AdaGrad's do::

            m1 <- m1 + b1*g        v <- v + b2*g*g        c <- c + g
            u   = (newton_schulz(m1) + slow_weight*o) / sqrt(v + eps)                       a = m1
            after every ``chunk`` steps:  m2 <- m2 + b3*c,  o <- newton_schulz(m2),  c <- 0

        Experimental: no official code is known, the paper gives no defaults (these are an unofficial
        implementation's, with Muon's iteration), and transcriptions of the algorithm disagree on where
        eps stands. MGUP ranks by ``m1``, the buffer before orthogonalisation, as for Muon.

        State: ``fast`` (m1), ``slow`` (m2), ``sum_sq`` (v), ``chunk_sum`` (c), never below float32, and
        ``slow_direction`` (o): zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            b1: the weights with which the fast momentum, the squares and the slow momentum take in
                gradients, in [0, 1]. Default: 0.9.
            b2: the weights with which the fast momentum, the squares and the slow momentum take in
                gradients, in [0, 1]. Default: 0.999.
            b3: the weights with which the fast momentum, the squares and the slow momentum take in
                gradients, in [0, 1]. Default: 0.9.
            slow_weight: the weight of the slow direction, >= 0. Default: 1.0.
            chunk: the number of steps between updates of the slow momentum. In a compiled graph, every
                step computes the slow direction and keeps it only after a chunk. Default: 100.
            eps: keeps the quotient finite, >= 0. Default: 1e-08.
            eps_inside: whether eps is added to v (``True``) or to its root. Default: True.
            ns_steps: settings of the Newton-Schulz iteration; 0 steps leave it out. Default: 5.
            ns_dtype: settings of the Newton-Schulz iteration; 0 steps leave it out. Default: 'float32'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_m3: _mgup_m3

class _mgup_muon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        scale: Scale = "match_rms_adamw",
        ns_coefficients: NSCoefficients = (3.4445, -4.775, 2.0315),
        ns_steps: int = 5,
        eps: float = 1e-07,
        ns_dtype: NSDtype = "float32",
        ns_form: NSForm = "direct",
        weight_decay: Scheduled = 0.1,
        muon_weight_dimension_numbers: Any = None,
        exceptions: tuple[str, ...] = (
            "embed",
            "embedding",
            "embeddings",
            "emb",
            "wte",
            "wpe",
            "^shared",
            "relative_attention_bias",
            "relative_position_bias_table",
            "a_log",
            "head",
            "^heads",
            "unembed",
            "classifier",
            "^output",
            "^outputs",
            "^proj_out",
            "^logits",
            "^score",
            "^fc",
            "^cls",
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
        decay: Decay = "all",
    ) -> Optimizer:
        """Muon with MGUP, for JAX: matrices to Muon, everything else to AdamW.

        A parameter goes to Muon if it has exactly two axes and its path holds none of ``exceptions``
        as a word, whatever the case: ``lm_head.kernel`` is left out by ``head``, ``multihead.kernel``
        is not.

        Args:
            learning_rate: a number, a 0-d array, or a schedule.
            momentum, nesterov, scale, ns_coefficients, ns_steps, eps, ns_dtype, ns_form: as
                :class:`mgup_core.Muon`.
            weight_decay: uses the unscaled learning rate.
            muon_weight_dimension_numbers: replaces the rule above: a tree of
                :class:`MuonDimensionNumbers` (or ``optax.contrib``'s) for Muon and None for AdamW, or a
                function from the parameters to one. By default a matrix is (inputs, outputs), as in
                Flax, which matters for ``scale="original"`` only.
            exceptions: words in paths.
            adam_learning_rate, adam_weight_decay: of AdamW; by default those of Muon.
            adam_b1, adam_b2, adam_eps: of AdamW.
            decay: ``"all"``, or ``"aligned"`` for cautious weight decay (R0c), of both kinds.
            mask, mu_dtype, state_dtype: as for every function of this package.
            tau, alpha, gamma, mode, ties, tau_min, stacked_dims: the policy, for both kinds.
            selection, param_specs, update_dtype: as for every function of this package.

        Raises:
            ValueError, TypeError: naming the argument.
        """

mgup_muon: _mgup_muon

class _mgup_namo(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.01,
        *,
        decay: Literal["all", "aligned"] = "all",
        momentum: float = 0.95,
        mu2: float = 0.99,
        eps: float = 1e-08,
        nesterov: bool = True,
        scale: float = 0.2,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16", "exact"] = "float32",
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
    ) -> Optimizer:
        """NAMO with MGUP, for JAX.

        NAMO: Zhang, Liu and Schaeffer, 2026, arXiv 2602.17080, as in its official code.

        ::

            v <- mu2*v + (1 - mu2)*|g|^2                        (Frobenius, a number for each matrix)
            m <- momentum*m + (1 - momentum)*g
            b  = (1 - momentum)*g + momentum*m with nesterov, else m                        a = b
            s  = sqrt(1 - mu2^t) / (1 - momentum^t + 1e-12) * |b| / (sqrt(v) + eps)
            u  = newton_schulz(b)
            w <- w - min(lr*s*scale*sqrt(max(rows, cols)), 1)*u - min(lr*s, 1)*decay*w

        The paper's form, by second-hand accounts, has no Nesterov, no ``scale`` factor and no bounds
        at 1, and takes the exact orthogonal factor. MGUP ranks by ``b``, which is elementwise, and
        multiplies ``u``. ``s`` is one number for the matrix, and no part of the score.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``v_squared`` (v), zeros of
        shape (..., 1, 1), always in float32 precision, as in the official code.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.01.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: decay rates of the momentum and of the squared norm, in [0, 1). Default: 0.95.
            mu2: decay rates of the momentum and of the squared norm, in [0, 1). Default: 0.99.
            eps: added to the root, >= 0. Default: 1e-08.
            nesterov: whether b looks ahead. Default: True.
            scale: the factor of the update, >= 0. Default: 0.2.
            ns_steps: settings of the Newton-Schulz iteration; see :class:`mgup_core.Muon`. Default: 5.
            ns_dtype: settings of the Newton-Schulz iteration; see :class:`mgup_core.Muon`. Default:
                'float32'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.1.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_namo: _mgup_namo
mgup_namo_d: _mgup_namod

class _mgup_namod(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.01,
        *,
        decay: Literal["all", "aligned"] = "all",
        momentum: float = 0.95,
        mu2: float = 0.99,
        eps: float = 1e-08,
        nesterov: bool = True,
        scale: float = 0.2,
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16", "exact"] = "float32",
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
    ) -> Optimizer:
        """NAMOD with MGUP, for JAX.

        NAMO-D: Zhang, Liu and Schaeffer, 2026, arXiv 2602.17080, as in its official code.

        NAMO with a step size for each input j of the layer, a column of torch.nn.Linear's weight::

            v_j <- mu2*v_j + (1 - mu2)*|g_:j|^2
            s_j  = |b_:j| / (sqrt(v_j) + eps), clipped to [clamp*mean(s), mean(s)/clamp]
            r_j  = lr * sqrt(1 - mu2^t) / (1 - momentum^t + 1e-12) * s_j
            w_:j <- max(1 - decay*min(r_j, 1), 0)*w_:j - min(r_j*scale*sqrt(max(rows, cols)), 1)*u_:j

        with m, b, u and a = b as in NAMO. The update's columns differ in length as far as ``clamp``
        allows, and so it is not orthogonal; a ``clamp`` of 1 gives all columns the mean.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``v_squared`` (v), zeros with
        ``out_axis`` of length 1, always in float32 precision. So are s and r, as in the official code.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.01.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: as :class:`mgup_core.NAMO`. Default: 0.95.
            mu2: as :class:`mgup_core.NAMO`. Default: 0.99.
            eps: as :class:`mgup_core.NAMO`. Default: 1e-08.
            nesterov: as :class:`mgup_core.NAMO`. Default: True.
            scale: as :class:`mgup_core.NAMO`. Default: 0.2.
            ns_steps: as :class:`mgup_core.NAMO`. Default: 5.
            ns_dtype: as :class:`mgup_core.NAMO`. Default: 'float32'.
            clamp: in [0, 1]; 0 clips nothing. Default: 0.75.
            out_axis: 0 for weights (outputs, inputs), -1 for (inputs, outputs), as in flax. Default:
                -1.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.1.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_namod: _mgup_namod

class _mgup_scale(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """SCALE with MGUP, for JAX.

        SCALE: Glentis et al., A Minimalist Optimizer Design for LLM Pretraining, 2025.

        arXiv 2506.16659, in the form of the official code::

            x  = g, or for the last layer m <- momentum*m + (1 - momentum)*g and x = m
            s  = max(sqrt(mean(x*x)), eps)       one for each output unit
            u  = x / s                                                  a = u

        The mean is over all axes but ``out_axis``; of an embedding (vocabulary, features), over the
        vocabulary, so that s is one for each feature. (The paper says "column-wise normalization"; the
        code takes the root mean square, by sqrt(size) larger than the norm.)

        Only the last layer has momentum. In all other layers the score ``u * g = g*g / s`` is never
        negative, so that MGUP selects by size alone.

        State: for ``role="last"`` ``momentum_buffer`` (m), zeros of the parameter's shape; else none.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.0001.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            role: ``"matrix"`` for hidden layers, ``"embedding"``, or ``"last"`` for the layer whose
                outputs are the model's. Vectors go to AdamW. Default: 'matrix'.
            momentum: the decay rate of the last layer's momentum, in [0, 1). Default: 0.9.
            eps: the least s, >= 0. Default: 1e-08.
            out_axis: the axis of output units: 0 in PyTorch and MindSpore, -1 in flax. Embeddings have
                their features last in all frameworks, and ignore it. Default: -1.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_scale: _mgup_scale

class _mgup_sgd(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        momentum: float = 0.9,
        nesterov: bool = False,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """SGD with MGUP, for JAX.

        SGD with momentum, as ``torch.optim.SGD``: Sutskever et al., ICML 2013.

        ::

            m <- momentum*m + (1 - dampening)*g      (first step: m = g)
            u  = m, or g + momentum*m with nesterov                     a = m

        State: ``momentum_buffer`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            momentum: in [0, 1). Default: 0.9.
            nesterov: look ahead; needs a momentum above 0. Default: False.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            dampening: in [0, 1]; 0 with Nesterov. Default: 0.0.
            coupled_decay: ``True`` for torch's L2 form, where decay enters the momentum (but never the
                score's gradient); by default the decay is decoupled. Default: False.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_sgd: _mgup_sgd
mgup_sgd_sai: _mgup_sgdsai

class _mgup_sgdp(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        momentum: float = 0.0,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """SGDP with MGUP, for JAX.

        SGDP: Heo et al., AdamP, ICLR 2021, arXiv 2006.08217, in the form of the official code.

        Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights::

            m <- momentum*m + (1 - dampening)*g             (from zero: the first step is damped too)
            p  = m, or g + momentum*m with nesterov
            u  = p, projected as in AdamP                               a = m

        The decay is decoupled, at the rate ``lr / (1 - momentum)``; where the step is projected,
        ``wd_ratio`` multiplies it. The official code without Nesterov projects the momentum along with
        the step, since both are one array there; this rule leaves the momentum unprojected. MGUP ranks
        by ``m`` as with SGD, and the radial part that the multiplier brings back is removed again.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            momentum: in [0, 1). Default: 0.0.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            eps: as in AdamP. Default: 1e-08.
            delta: as in AdamP. Default: 0.1.
            wd_ratio: as in AdamP. Default: 0.1.
            nesterov: whether p looks ahead. Default: False.
            out_axis: as in AdamP. Default: -1.
            dampening: in [0, 1]. Default: 0.0.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_sgdp: _mgup_sgdp

class _mgup_sgdsai(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.01,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """SGDSaI with MGUP, for JAX.

        SGD-SaI: Xu et al., No More Adam: Learning Rate Scaling at Initialization is All You Need.

        ::

            r  = |g| / (std(g) + eps)      at the first step, kept from then on
            m <- momentum*m + (1 - momentum)*g                          (first step: m = g)
            u  = m, at the rate lr*r                                    a = m

        arXiv 2412.11768, 2024, in the form of the authors' code: the norm and the standard deviation
        (with n - 1) are those of the whole tensor, and the decay has the rate lr. The paper's Algorithm
        1 also adds eps to the root, but divides r by the largest r of all parameters; the code does
        not, and neither does this rule.

        A tensor without noise to measure (one element, equal elements, all 0) has a standard deviation
        of 0 or of rounding, and r would be near ``|g| / eps``, or 0 for ever. There r is sqrt(n), as it
        is for noise without a mean.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``gsnr`` (r), 0-d, in the
        compute dtype. Checkpoints hold it, since a later gradient would give another r.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.01.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: in [0, 1). Default: 0.9.
            eps: added to the standard deviation, >= 0. Default: 1e-08.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.01.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_sgdsai: _mgup_sgdsai

class _mgup_signum(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0001,
        momentum: float = 0.9,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """Signum with MGUP, for JAX.

        Signum: Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018.

        ::

            m <- momentum*m + (1 - momentum)*g
            u  = sign(m)                                                a = u        (sign(0) = 0)

        arXiv 1802.04434, Algorithm 2. To rounding, this is ``optax.signum``, and MXNet's ``Signum``,
        whose ``wd_lh`` is the decay here. It is Lion with equal betas.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.0001.
            momentum: in [0, 1). At 0 this is signSGD. Default: 0.9.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_signum: _mgup_signum

class _mgup_soap(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.003,
        *,
        decay: Literal["all", "aligned"] = "all",
        b1: float = 0.95,
        b2: float = 0.95,
        shampoo_beta: float | None = None,
        eps: float = 1e-08,
        precondition_frequency: int = 10,
        max_precondition_dim: int = 10000,
        product_dtype: Literal["float32", "exact"] = "float32",
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
    ) -> Optimizer:
        """SOAP with MGUP, for JAX.

        SOAP: Vyas et al., Improving and Stabilizing Shampoo using Adam, 2024, arXiv 2409.11321.

        For an m x n matrix, in the form of the authors' code, with ``g~ = P' g Q``::

            M <- b1*M + (1 - b1)*g                                                      a = M
            V <- b2*V + (1 - b2)*g~*g~
            u  = P (P' M Q / (sqrt(V) + eps)) Q'
            L <- b*L + (1 - b)*g g',   R <- b*R + (1 - b)*g' g
            every ``precondition_frequency`` steps:  P <- Q factor of L P,   Q <- Q factor of R Q

        where the columns of P and Q, and V with them, are first sorted by the eigenvalues that they
        stand for. The first step moves nothing: P and Q become eigenvectors of the first L and R, and
        Adam's steps count from the second, at the rate ``lr * sqrt(1 - b2^s) / (1 - b1^s)``,
        ``s = t - 1``; decay at ``lr``. A side longer than ``max_precondition_dim`` is left as it is,
        and so is a vector: that is Adam. Of an array of more axes the last two are a matrix.

        MGUP ranks by M, which lives in the space of the gradient and is elementwise: the mask is the
        same on every backend, though u holds matrix products and bases that no two libraries have alike
        where eigenvalues are close or 0. With ``product_dtype="exact"`` u is the same too.

        State: ``exp_avg`` (M) and ``exp_avg_sq`` (V), zeros of the parameter's shape; ``left`` (L),
        zeros (..., m, m), ``left_basis`` (P), I, and ``right`` and ``right_basis``, (..., n, n), in the
        compute dtype; an unused 0 for a side without a basis.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.003.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            b1: decay rates of the two moments, in [0, 1). Default: 0.95.
            b2: decay rates of the two moments, in [0, 1). Default: 0.95.
            shampoo_beta: b, that of L and R, in [0, 1); None is b2. Default: None.
            eps: added to the root, > 0. Default: 1e-08.
            precondition_frequency: steps between two turns of the bases, >= 1. In a graph of
                torch.compile every step computes them. Default: 10.
            max_precondition_dim: the longest side that has a basis, >= 0. Default: 10000.
            product_dtype: of the matrix products, ``"float32"``, or ``"exact"``: the same bits on every
                backend (N9), also of the bases, which then take as many small steps as a side is long,
                and some twelve times as many at the first. Default: 'float32'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.01.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_soap: _mgup_soap

class _mgup_adopt(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.9999,
        eps: float = 1e-06,
        *,
        decay: Literal["all", "aligned"] = "all",
        clipping: bool = True,
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
    ) -> Optimizer:
        """ADOPT with MGUP, for JAX.

        ADOPT: Taniguchi et al., Modified Adam Can Converge with Any beta2, 2024, arXiv 2411.02853.

        Adam that divides a gradient by the second moment of those before it::

            m <- b1*m + (1 - b1)*clip(g / max(sqrt(v), eps), -c, c)     c = (t - 1)^(1/4)
            u  = m                                                      a = u
            v <- b2*v + (1 - b2)*g*g

        The first step only measures: v = g*g, and nothing moves or decays. The form of the paper's
        Algorithm 2, and of ``optax.contrib.adopt``.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.9999.
            eps: the least denominator, >= 0. Default: 1e-06.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            clipping: ``False`` leaves the clip out (Algorithm 1). Default: True.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_adopt: _mgup_adopt

class _mgup_amsgrad(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """AMSGrad with MGUP, for JAX.

        AMSGrad: Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018.

        AdamW whose denominator never falls (arXiv 1904.09237)::

            m <- b1*m + (1 - b1)*g
            v <- b2*v + (1 - b2)*g*g
            x <- max(x, v)
            u  = (m / (1 - b1^t)) / (sqrt(x / (1 - b2^t)) + eps)        a = u

        to rounding ``torch.optim.AdamW(amsgrad=True)``. The paper corrects neither moment, and
        ``optax.amsgrad`` takes the maximum of the corrected v, which differs in the first steps.

        State: ``exp_avg`` (m), ``exp_avg_sq`` (v) and ``max_exp_avg_sq`` (x), zeros of the parameter's
        shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.01.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_amsgrad: _mgup_amsgrad

class _mgup_grams(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """Grams with MGUP, for JAX.

        Grams: Cao et al., Gradient Descent with Adaptive Momentum Scaling, 2024, arXiv 2412.17107.

        How far Adam would step, in the direction of the gradient::

            m <- b1*m + (1 - b1)*g
            v <- b2*v + (1 - b2)*g*g
            a  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
            u  = sign(g) * |a|

        ``u * g`` is never negative, and would rank by size alone. So MGUP ranks by Adam's direction
        ``a``, whose sign this rule replaces.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_grams: _mgup_grams

class _mgup_laprop(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0004,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-15,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """LaProp with MGUP, for JAX.

        LaProp: Ziyin, Wang and Ueda, Separating Momentum and Adaptivity in Adam, 2020.

        Adam that divides each gradient first, and averages the quotients (arXiv 2002.04839)::

            v <- b2*v + (1 - b2)*g*g
            m <- b1*m + (1 - b1)*g / (sqrt(v / (1 - b2^t)) + eps)
            u  = m / (1 - b1^t)                                         a = u

        The authors' code keeps lr*m in place of m, so that a schedule reaches only what comes in after
        it, and subtracts weight_decay*w without lr. Its amsgrad and centered are not here.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.0004.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-15.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_laprop: _mgup_laprop

class _mgup_marsadamw(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.003,
        b1: float = 0.95,
        b2: float = 0.99,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
        gamma_: float = 0.025,
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
    ) -> Optimizer:
        """MARSAdamW with MGUP, for JAX.

        MARS-AdamW: Yuan et al., MARS: Unleashing the Power of Variance Reduction, 2024.

        AdamW on a gradient whose noise is reduced (arXiv 2411.10438)::

            c  = g + gamma_ * b1/(1 - b1) * (g - g_before)              (g_before: 0 at first)
            c  = c / max(1, |c|)                                        (norm of the tensor)
            m <- b1*m + (1 - b1)*c
            v <- b2*v + (1 - b2)*c*c
            u  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)        a = u

        MARS-approx, the default of the authors' code: the last step's gradient stands for that of the
        last parameters on this batch, and no second backward pass is needed. Their code trains vectors
        by AdamW unless it has ``optimize_1d=True``; here a rule trains what it is given.

        State: ``exp_avg`` (m), ``exp_avg_sq`` (v) and ``previous_grad`` (g_before), zeros of the
        parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.003.
            b1: decay rates of the two moments, in [0, 1). Default: 0.95.
            b2: decay rates of the two moments, in [0, 1). Default: 0.99.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            gamma_: how much of the change of the gradient counts, >= 0; ``gamma`` in the paper.
                Default: 0.025.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_marsadamw: _mgup_marsadamw

class _mgup_marslion(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.003,
        *,
        decay: Literal["all", "aligned"] = "all",
        momentum: float = 0.95,
        gamma_: float = 0.025,
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
    ) -> Optimizer:
        """MARSLion with MGUP, for JAX.

        MARS-Lion: Yuan et al., MARS: Unleashing the Power of Variance Reduction, 2024.

        The sign of the momentum of a gradient whose noise is reduced (arXiv 2411.10438)::

            c  = g + gamma_ * momentum/(1 - momentum) * (g - g_before)  (g_before: 0 at first)
            c  = c / max(1, |c|)                                        (norm of the tensor)
            m <- momentum*m + (1 - momentum)*c
            u  = sign(m)                                                a = u

        MARS-approx, the default of the authors' code, whose second beta this form does not use.

        State: ``exp_avg`` (m) and ``previous_grad`` (g_before), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.003.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: in [0, 1); ``betas[0]`` of the authors' code. Default: 0.95.
            gamma_: how much of the change of the gradient counts, >= 0; ``gamma`` in the paper.
                Default: 0.025.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_marslion: _mgup_marslion

class _mgup_nadamw(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
        form: Literal["dozat", "timm"] = "dozat",
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
    ) -> Optimizer:
        """NAdamW with MGUP, for JAX.

        NAdamW: Dozat, Incorporating Nesterov Momentum into Adam, 2016, with decoupled decay.

        ::

            m <- b1*m + (1 - b1)*g
            v <- b2*v + (1 - b2)*g*g
            n  = b1*m / (1 - b1^(t+1)) + (1 - b1)*g / (1 - b1^t)
            u  = n / (sqrt(v / (1 - b2^t)) + eps)                       a = u

        The libraries have three forms. This one has a constant momentum, as ``optax.nadamw`` has, to
        rounding. ``torch.optim.NAdam`` warms its momentum up by a schedule, and keeps the product of
        all momenta so far: that schedule is not here.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            form: ``"dozat"`` as above. ``"timm"`` (timm and AlgoPerf): the sum of both is corrected as
                the momentum is, ``n = (b1*m + (1 - b1)*g) / (1 - b1^t)``. Default: 'dozat'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.01.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_nadamw: _mgup_nadamw

class _mgup_radam(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """RAdam with MGUP, for JAX.

        RAdam: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2019.

        ::

            m <- b1*m + (1 - b1)*g
            v <- b2*v + (1 - b2)*g*g
            u  = (m / (1 - b1^t)) * R / (sqrt(v) + eps)                 a = u

        with R of arXiv 1908.03265 (:func:`mgup_core.numerics.rectification.rectification`, which holds
        the correction of v), and ``u = m / (1 - b1^t)`` in the first steps, where the variance of
        ``sqrt(v)`` is not tractable (rho < 5: the first five for b2 = 0.999). To rounding
        ``torch.optim.RAdam`` with ``decoupled_weight_decay=True``; ``optax.radam`` adds eps to the
        corrected root.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_radam: _mgup_radam

class _mgup_stableadamw(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.001,
        b1: float = 0.9,
        b2: float = 0.99,
        eps: float = 1e-06,
        *,
        decay: Literal["all", "aligned"] = "all",
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
    ) -> Optimizer:
        """StableAdamW with MGUP, for JAX.

        StableAdamW: Wortsman et al., Stable and Low-Precision Training, 2023, arXiv 2304.13013.

        AdamW that slows down for a tensor whose gradients outgrow their second moment (Algorithm 2)::

            m <- b1*m + (1 - b1)*g
            v <- b2*v + (1 - b2)*g*g
            r  = sqrt(mean(g^2 / max(v / (1 - b2^t), eps^2)))
            u  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)        a = u

        at the rate ``lr / max(1, r)``, decay included, as the paper has it (the authors' own script
        decays at ``lr``). The paper corrects the betas in place of the
        moments, which is the same.

        State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.001.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.99.
            eps: added to the root, and the least root in r; > 0. Default: 1e-06.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.01.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_stableadamw: _mgup_stableadamw
mgup_mars_adamw: _mgup_marsadamw
mgup_mars_lion: _mgup_marslion
mgup_stable_adamw: _mgup_stableadamw

class _mgup_schedulefreeadamw(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0025,
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
        *,
        decay: Literal["all", "aligned"] = "all",
        warmup_steps: int = 0,
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
    ) -> Optimizer:
        """ScheduleFreeAdamW with MGUP, for JAX.

        Schedule-Free AdamW: Defazio et al., The Road Less Scheduled, 2024, arXiv 2405.15682.

        The parameter is y, where the gradient is taken; the model is evaluated at x, an average::

            v <- b2*v + (1 - b2)*g*g
            u  = g / (sqrt(v / (1 - b2^t)) + eps)                       a = e (first two: u)
            s  = lr_t * (phi*u + weight_decay*y)
            y <- y - (c * b1/(1 - b1) * e + (1 - b1*(1 - c)) * s)
            e <- (1 - c) * (e + (1 - b1)*s)                             e = x - y

        in exact arithmetic the ``AdamWScheduleFree`` of the authors' package ``schedulefree``, whose z
        is ``x - e/(1 - b1)``. ``lr_t = lr * min(t / warmup_steps, 1)``; c is 1/t without warm-up, and
        with it the share of the last of the weights ``min(t / warmup_steps, 1)^2``. Two of its settings
        are left out: ``r`` is 0, and ``weight_lr_power`` is 2 for the rule's own warm-up only. A
        learning rate that the caller changes scales the steps and no weight of the average.

        z is moved by the gradient alone: ``u * g`` is never negative and would rank by size. MGUP ranks
        by ``e``, which sums the steps so far as a momentum does, ``e = (1 - b1)*(x - z)``. The
        multiplier acts on the step of z, so that x stays an average.

        Evaluate at x and train at y: ``optimizer.eval()`` and ``optimizer.train()`` (PyTorch and
        MindSpore), ``mgup_jax.eval_params(state, params)`` (JAX), ``Optimizer.evaluation`` (core).

        State: ``to_average`` (e) and ``exp_avg_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.0025.
            b1: the share of x in y, in [0, 1). Default: 0.9.
            b2: decay rate of the second moment, in [0, 1). Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            warmup_steps: the number of steps over which the learning rate grows, >= 0. Default: 0.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_schedulefreeadamw: _mgup_schedulefreeadamw
mgup_schedule_free_adamw: _mgup_schedulefreeadamw

class _mgup_schedulefreeradam(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.0025,
        *,
        decay: Literal["all", "aligned"] = "all",
        b1: float = 0.9,
        b2: float = 0.999,
        eps: float = 1e-08,
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
    ) -> Optimizer:
        """ScheduleFreeRAdam with MGUP, for JAX.

        Schedule-Free RAdam: RAdam's rectification in the place of a warm-up, arXiv 2405.15682.

        :class:`ScheduleFreeAdamW` with, at step t,

        ::

            lr_t = lr * R_t       c = R_t^2 / (R_1^2 + ... + R_t^2)       R_t = 0 where rho_t <= 4

        where ``R_t = sqrt((rho_t - 4)*(rho_t - 2)*rho / ((rho - 4)*(rho - 2)*rho_t))``, rho and rho_t
        those of :func:`mgup_core.numerics.rectification.rectification`. In exact arithmetic
        ``RAdamScheduleFree`` of the authors' package ``schedulefree``, whose first steps (four for
        b2 = 0.999) are as silent: nothing moves. The sum is a number of the state, so that the rule is
        not elementwise to a driver. MGUP ranks by e, and by u for as long as e is 0.

        State: ``to_average`` (e) and ``exp_avg_sq`` (v), zeros of the parameter's shape;
        ``weight_sum``, the sum of the weights, 0, in the compute dtype.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.0025.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            b1: the share of x in y, in [0, 1). Default: 0.9.
            b2: decay rate of the second moment, in [0, 1); above 0.6, or no step moves. Default: 0.999.
            eps: added to the root, >= 0. Default: 1e-08.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_schedulefreeradam: _mgup_schedulefreeradam

class _mgup_schedulefreesgd(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 1.0,
        *,
        decay: Literal["all", "aligned"] = "all",
        warmup_steps: int = 0,
        momentum: float = 0.9,
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
    ) -> Optimizer:
        """ScheduleFreeSGD with MGUP, for JAX.

        Schedule-Free SGD: Defazio et al., The Road Less Scheduled, 2024, arXiv 2405.15682.

        The parameter is y, where the gradient is taken; the model is evaluated at x, an average::

            u  = g                                                      a = e (first two: u)
            s  = lr_t * (phi*u + weight_decay*y)
            y <- y - (c * b1/(1 - b1) * e + (1 - b1*(1 - c)) * s)       b1 = momentum
            e <- (1 - c) * (e + (1 - b1)*s)                             e = x - y

        All else is as in :class:`ScheduleFreeAdamW`. In exact arithmetic ``SGDScheduleFree`` of the
        authors' package ``schedulefree``.

        State: ``to_average`` (e), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 1.0.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            warmup_steps: the number of steps over which the learning rate grows, >= 0. Default: 0.
            momentum: the share of x in y, in [0, 1). Default: 0.9.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_schedulefreesgd: _mgup_schedulefreesgd
mgup_schedule_free_sgd: _mgup_schedulefreesgd

class _mgup_normuon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.02,
        *,
        decay: Literal["all", "aligned"] = "all",
        momentum: float = 0.95,
        nesterov: bool = True,
        scale: Literal["match_rms_adamw", "original"] = "original",
        ns_coefficients: NSCoefficients = (3.4445, -4.775, 2.0315),
        ns_steps: int = 5,
        eps: float = 1e-07,
        ns_dtype: Literal["float32", "bfloat16", "exact"] = "float32",
        ns_form: Literal["direct", "gram"] = "direct",
        flat: bool = False,
        row_blocks: int = 1,
        mu2: float = 0.95,
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
    ) -> Optimizer:
        """NorMuon with MGUP, for JAX.

        NorMuon: Li, Liu, Liang, Chen and Zhao, 2025, arXiv 2510.05491, as in the authors' code.

        Muon with a second moment for each output of the layer, a row of torch.nn.Linear's weight::

            m <- momentum*m + (1 - momentum)*g
            b  = (1 - momentum)*g + momentum*m with nesterov, else m    a = b
            o  = newton_schulz(b)
            v <- mu2*v + (1 - mu2)*mean(o^2)                        (over each row)
            n  = o / (sqrt(v) + 1e-10)
            u  = n * |o|/(|n| + 1e-10) * sqrt(max(1, rows/cols))

        The paper's Algorithm 1 brings u to the length ``0.2*sqrt(rows*cols)`` instead:
        ``scale="match_rms_adamw"``.

        MGUP ranks by ``b``, as for Muon, and multiplies ``u``. Matrices only: (rows, cols), or a stack
        of them.

        State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``row_sq`` (v), zeros of it with
        the axis of the inputs of length 1.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.02.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: see :class:`mgup_core.Muon`. Default: 0.95.
            nesterov: see :class:`mgup_core.Muon`. Default: True.
            scale: ``"original"``, the length of o and Keller Jordan's factor, as published; or
                ``"match_rms_adamw"``, so that AdamW's learning rates carry over. Default: 'original'.
            ns_coefficients: see :class:`mgup_core.Muon`. Default: (3.4445, -4.775, 2.0315).
            ns_steps: see :class:`mgup_core.Muon`. Default: 5.
            eps: see :class:`mgup_core.Muon`. Default: 1e-07.
            ns_dtype: see :class:`mgup_core.Muon`. Default: 'float32'.
            ns_form: see :class:`mgup_core.Muon`. Default: 'direct'.
            flat: the rule's. Default: False.
            row_blocks: the rule's. Default: 1.
            mu2: decay rate of the second moment, in [0, 1). Default: 0.95.
            out_axis: 0 for weights (outputs, inputs), -1 for (inputs, outputs), as in flax. Default:
                -1.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_normuon: _mgup_normuon

class _mgup_adamuon(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.02,
        *,
        decay: Literal["all", "aligned"] = "all",
        momentum: float = 0.95,
        mu2: float = 0.999,
        nesterov: bool = True,
        eps: float = 1e-08,
        signed: bool = False,
        ns_coefficients: NSCoefficients = (3.4445, -4.775, 2.0315),
        ns_steps: int = 5,
        ns_dtype: Literal["float32", "bfloat16", "exact"] = "float32",
        ns_form: Literal["direct", "gram"] = "direct",
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
    ) -> Optimizer:
        """AdaMuon with MGUP, for JAX.

        AdaMuon: Si, Zhang and Shen, Adaptive Muon Optimizer, 2025, arXiv 2507.11005.

        Muon with Adam's second moment of the orthogonalised update::

            m <- momentum*m + (1 - momentum)*g
            b  = (1 - momentum)*g + momentum*m with nesterov, else m    a = b
            o  = newton_schulz(b), or with ``signed`` newton_schulz(sign(b))
            v <- mu2*v + (1 - mu2)*o*o
            n  = o / (sqrt(v / (1 - mu2^t)) + eps)
            u  = n * 0.2*sqrt(rows*cols) / (|n| + eps)

        the form of the authors' code. MGUP ranks by ``b``, as for Muon, and multiplies ``u``. Matrices
        only: (rows, cols), or a stack of them.

        State: ``momentum_buffer`` (m) and ``update_sq`` (v), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.02.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: decay rates of the two moments, in [0, 1). Default: 0.95.
            mu2: decay rates of the two moments, in [0, 1). Default: 0.999.
            nesterov: whether b looks ahead. Default: True.
            eps: added to the root and to the length, >= 0. Default: 1e-08.
            signed: orthogonalise the signs of b, as later versions of the paper do. Default: False.
            ns_coefficients: see :class:`mgup_core.Muon`. Default: (3.4445, -4.775, 2.0315).
            ns_steps: see :class:`mgup_core.Muon`. Default: 5.
            ns_dtype: see :class:`mgup_core.Muon`. Default: 'float32'.
            ns_form: see :class:`mgup_core.Muon`. Default: 'direct'.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.01.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_adamuon: _mgup_adamuon

class _mgup_prodigy(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 1.0,
        b1: float = 0.9,
        b2: float = 0.999,
        *,
        decay: Literal["all", "aligned"] = "all",
        eps: float = 1e-08,
        memory: float | None = None,
        d0: float = 1e-06,
        d_coef: float = 1.0,
        growth_rate: float | None = None,
        bias_correction: bool = False,
        safeguard_warmup: bool = False,
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
    ) -> Optimizer:
        """Prodigy with MGUP, for JAX.

        Prodigy: Mishchenko and Defazio, An Expeditiously Adaptive Parameter-Free Learner, 2023.

        Adam whose learning rate estimates the distance to the solution (arXiv 2306.06101), in the form
        of the authors' package ``prodigyopt``. With r = d/d0, so that nothing is too small::

            k    = r^2 * lr * bc                (bc: 1, or Adam's correction with ``bias_correction``)
            p    = memory*p + k*<g, w_0 - w>                        (w_0: the parameter at first)
            s   <- memory*s + k*g                                   (r^2*g with ``safeguard_warmup``)
            d'   = max(d, d_coef * sum(p) / sum(|s|))               (sums over all parameters)
            m   <- b1*m + (1 - b1)*r*g
            v   <- b2*v + (1 - b2)*r*r*g*g
            u    = m / (sqrt(v) + eps*r')                                               a = u

        at the rate ``d * lr * bc``, decay included. ``memory`` is sqrt(b2) unless given.

        One d serves all parameters, so they must have one learning rate, or 0; the default, 1, is meant
        to stay, with a schedule if there is one. ``w_0 - w`` is summed up step by step. A parameter
        without a gradient misses by how much d grew in that step, as it misses the step (R6).

        State: ``exp_avg`` (m), ``exp_avg_sq`` (v), ``grad_sum`` (s) and ``way_back`` (w_0 - w), zeros
        of the parameter's shape; ``product_sum`` (p), 0; ``relative`` (r) and ``relative_max``, the
        largest estimate so far over d0, 1. The last four never below float32.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 1.0.
            b1: decay rates of the two moments, in [0, 1). Default: 0.9.
            b2: decay rates of the two moments, in [0, 1). Default: 0.999.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            eps: added to the root, > 0. Default: 1e-08.
            memory: decay rate of p and s, in [0, 1); None is sqrt(b2). Default: None.
            d0: the first estimate, > 0. Default: 1e-06.
            d_coef: scales the estimate, > 0. Default: 1.0.
            growth_rate: the most by which d may grow in a step once it has grown, >= 1; None is any.
                Default: None.
            bias_correction: see above. Default: False.
            safeguard_warmup: see above. Default: False.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_prodigy: _mgup_prodigy

class _mgup_adafactor(Transformation, Protocol):
    def __call__(
        self,
        learning_rate: Scheduled = 0.01,
        *,
        decay: Literal["all", "aligned"] = "all",
        momentum: float = 0.0,
        eps: float = 1.1920928955078125e-07,
        least_scale: float = 0.001,
        clip: float = 1.0,
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
    ) -> Optimizer:
        """Adafactor with MGUP, for JAX.

        Adafactor: Shazeer and Stern, Adaptive Learning Rates with Sublinear Memory Cost, 2018.

        Adam's second moment of a matrix as one number for each row and one for each column (arXiv
        1804.04235), in the form of ``torch.optim.Adafactor``::

            k   = t^(-0.8)
            r <- (1 - k)*r + k*mean(g^2 over each row)
            c <- (1 - k)*c + k*mean(g^2 over each column)
            v   = max(r*c / max(mean(r), eps), eps^2)
            n   = g / sqrt(v)                         of a vector v <- (1 - k)*v + k*g^2
            u   = n / max(1, rms(n)/clip)                                               a = u
            m <- momentum*m + (1 - momentum)*u        with momentum, and m in the place of u

        at the rate ``max(least_scale, rms(w)) * min(lr, 1/sqrt(t))``; decay at ``lr``. The last two
        axes of an array are a matrix, as in PyTorch; optax factors the two largest.

        Without momentum, the default, ``u * g`` is never negative, and MGUP ranks by size. A
        warning says so where that is asked for.

        State: ``row_var`` (r) and ``col_var`` (c), zeros of the parameter's shape with the last axis,
        or the one before it, of length 1; of a vector ``row_var`` (v), zeros of its shape, and an
        unused 0. With momentum ``exp_avg`` (m), zeros of the parameter's shape.

        Args:
            learning_rate: a number >= 0, a 0-d array, or a schedule. Default: 0.01.
            decay: "all", or "aligned" for cautious weight decay: a coordinate decays only where u * w
                >= 0 (R0c). Default: 'all'.
            momentum: decay rate of a momentum of the updates, in [0, 1); 0 keeps none. Default: 0.0.
            eps: the least root of v, >= 0; ``eps[0]`` in PyTorch, there the dtype's. Default:
                1.1920928955078125e-07.
            least_scale: what stands for the size of smaller parameters, >= 0; ``eps[1]`` in PyTorch.
                Default: 0.001.
            clip: the largest rms of an update, > 0; ``d`` in PyTorch. Default: 1.0.
            weight_decay: decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides
                (R0). Default: 0.0.
            mask: which parameters decay: a tree of bools, or a function from the parameters to one.
                Default: None.
            mu_dtype: dtype of the first moment alone, as in optax. Default: None.
            state_dtype: dtype of the moments; None is the parameter's (R5). Default: None.
            tau: share of each slice's coordinates selected, in [0, 1]; static (P3). Default: 0.5.
            alpha: factor of the selected, finite and >= 1; default 1 / tau (P6, P7). Default: None.
            gamma: factor of the rest, in (0, 1]; default tau (P6, P7). Default: None.
            mode: "rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is
                positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share
                tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain
                rule (P11). Default: 'rank'.
            ties: in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).
                Default: 'damped'.
            tau_min: in adaptive mode, the least tau_t, in (0, 1] (P9). Default: 0.01.
            stacked_dims: how many leading axes are slices of their own, as of stacked layers (P5): an
                int, or a tree of ints. Default: 0.
            selection: what selects, never what: a "callback" to the host, the program's "graph", or the
                faster. Default: 'auto'.
            param_specs: inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere.
                Default: None.
            update_dtype: dtype of the updates: the "parameter"'s, as in optax, or the "compute" dtype
                (R5). Default: 'parameter'.
        """

mgup_adafactor: _mgup_adafactor
