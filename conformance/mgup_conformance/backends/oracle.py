"""The scalar oracle as a backend: every clause once more, one number at a time."""

from __future__ import annotations

import itertools
import math
import platform
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import scalar
from ..data import dtype_of
from ..ports import SPECIFIED
from ..protocol import DTYPES, OPTIONS, POLICIES, STATE, Array, PolicySpec, RunSpec
from ..scalar import Arithmetic, Numbers


def _numbers(x: Array) -> Numbers:
    return [float(value) for value in x.astype(np.float64).ravel()]


def _array(numbers: Numbers, dtype: str, shape: tuple[int, ...]) -> Array:
    with np.errstate(over="ignore"):
        return np.array(numbers, np.float64).astype(dtype_of(dtype)).reshape(shape)


def _pieces(shape: tuple[int, ...], stacked_dims: int) -> list[slice]:
    d = math.prod(shape[stacked_dims:])
    return [slice(i * d, (i + 1) * d) for i in range(math.prod(shape[:stacked_dims]))]


class Parameter:
    """One parameter of a run, and its state, as lists of numbers."""

    def __init__(self, spec: RunSpec, w: Array, stacked_dims: int) -> None:
        self.spec, self.shape, self.stacked_dims = spec, w.shape, stacked_dims
        self.ar = Arithmetic("float64" if spec["dtype"] == "float64" else "float32")
        self.w, self.t = _numbers(w), 0
        self.kept = {name: [0.0] * len(self.w) for name in STATE[spec["rule"]["name"]]}

    def step(self, gradient: Array, lr: float) -> None:
        """R0 and R5 around the rule."""
        ar, spec, self.t = self.ar, self.spec, self.t + 1
        raw = [ar.flush(g, ar.tiny_moment) for g in _numbers(gradient)]
        decay: float | None = spec["weight_decay"] or None
        g = raw
        if spec["rule"].get("coupled_decay") and decay:
            g = [ar.add(x, ar.mul(ar.r(decay), w)) for x, w in zip(raw, self.w, strict=True)]
            decay = None
        u, a = getattr(self, "_" + spec["rule"]["name"])(g, **self._options())
        rate, decay_rate = self._rates(lr)
        w = list(self.w)
        for piece in _pieces(self.shape, self.stacked_dims):
            scores = [scalar.score(ar, x, y) for x, y in zip(a[piece], raw[piece], strict=True)]
            mask, high, low = scalar.decide(ar, spec["policy"], scores)
            for i, selected in zip(range(len(w))[piece], mask, strict=True):
                step = ar.mul(ar.mul(rate, high if selected else low), u[i])
                if math.isfinite(u[i]) and not math.isfinite(step):  # P7
                    step = ar.mul(ar.mul(rate, low), u[i])
                product = ar.flush(ar.mul(u[i], w[i]), ar.tiny_score)
                against = spec["rule"].get("decay") == "aligned" and not product >= 0.0  # R0c
                if decay is not None and not against:
                    step = ar.add(step, ar.mul(ar.mul(decay_rate, ar.r(decay)), w[i]))
                w[i] = scalar.ROUND[spec["dtype"]](ar.add(w[i], -step))
        store = scalar.ROUND[spec["state_dtype"]]
        self.w = w
        self.kept = {name: [store(x) for x in values] for name, values in self.kept.items()}

    def _options(self) -> dict[str, Any]:
        outside = ("name", "coupled_decay", "decay")
        return {key: value for key, value in self.spec["rule"].items() if key not in outside}

    def _rates(self, lr: float) -> tuple[float, float]:
        ar, rule = self.ar, self.spec["rule"]
        rate = ar.r(lr)
        if rule.get("form", "standard") == "standard":
            return rate, rate
        corrected = ar.mul(rate, ar.sqrt(ar.correction(rule["b2"], self.t)))
        corrected = ar.mul(corrected, ar.div(1.0, ar.correction(rule["b1"], self.t)))
        return corrected, corrected if rule["form"] == "paper" else rate

    def _averaged(self, name: str, new: Numbers, beta: float, weight: float | None = None) -> None:
        old = self.kept[name]
        self.kept[name] = [self.ar.ema(beta, x, y, weight) for x, y in zip(old, new, strict=True)]

    def _adamw(
        self, g: Numbers, b1: float, b2: float, eps: float, form: str
    ) -> tuple[Numbers, Numbers]:
        ar = self.ar
        self._averaged("exp_avg", g, b1)
        self._averaged("exp_avg_sq", [ar.mul(x, x) for x in g], b2)
        m, v = self.kept["exp_avg"], self.kept["exp_avg_sq"]
        if form == "standard":
            m = [ar.mul(x, ar.div(1.0, ar.correction(b1, self.t))) for x in m]
            v = [ar.mul(x, ar.div(1.0, ar.correction(b2, self.t))) for x in v]
        u = [ar.div(x, ar.add(ar.sqrt(y), ar.r(eps))) for x, y in zip(m, v, strict=True)]
        return u, u

    def _lion(self, g: Numbers, b1: float, b2: float) -> tuple[Numbers, Numbers]:
        b = [self.ar.ema(b1, x, y) for x, y in zip(self.kept["exp_avg"], g, strict=True)]
        u = [math.copysign(1.0, x) if abs(x) > 0 else x for x in b]
        self._averaged("exp_avg", g, b2)
        return u, u

    def _sgd(
        self, g: Numbers, momentum: float, dampening: float, nesterov: bool
    ) -> tuple[Numbers, Numbers]:
        ar = self.ar
        self._averaged("momentum_buffer", g, momentum, 1.0 - dampening)
        if self.t == 1:
            self.kept["momentum_buffer"] = list(g)
        m = self.kept["momentum_buffer"]
        if not nesterov:
            return m, m
        mu = ar.r(momentum)
        return [ar.add(x, ar.mul(mu, y)) for x, y in zip(g, m, strict=True)], m

    def _muon(
        self, g: Numbers, momentum: float, nesterov: bool, scale: str
    ) -> tuple[Numbers, Numbers]:
        self._averaged("momentum_buffer", g, momentum)
        m = self.kept["momentum_buffer"]
        b = [self.ar.ema(momentum, x, y) for x, y in zip(m, g, strict=True)] if nesterov else m
        rows, cols = self.shape[-2:]
        factor = math.sqrt(max(1.0, rows / cols))
        if scale == "match_rms_adamw":
            factor = 0.2 * math.sqrt(max(rows, cols))
        u: Numbers = []
        for matrix in _pieces(self.shape, len(self.shape) - 2):
            flat = b[matrix]
            square = [flat[i : i + cols] for i in range(0, len(flat), cols)]
            u += [self.ar.r(x * factor) for x in itertools.chain(*scalar.newton_schulz(square))]
        return u, b


class OracleRun:
    """A run of the scalar oracle."""

    def __init__(self, spec: RunSpec, params: Sequence[Array]) -> None:
        self.spec = spec
        self.parts = [
            Parameter(spec, w, n) for w, n in zip(params, spec["stacked_dims"], strict=True)
        ]

    def step(self, grads: Sequence[Array | None], lr: float | None = None) -> None:
        for part, g in zip(self.parts, grads, strict=True):
            if g is not None:
                part.step(g, self.spec["lr"] if lr is None else lr)

    def params(self) -> list[Array]:
        return [_array(part.w, self.spec["dtype"], part.shape) for part in self.parts]

    def state(self) -> list[dict[str, Array]]:
        dtype = self.spec["state_dtype"]
        return [
            {name: _array(values, dtype, part.shape) for name, values in part.kept.items()}
            for part in self.parts
        ]


class Oracle:
    """Plain Python, no array arithmetic: checks the reference without sharing its code."""

    name = "oracle"

    def versions(self) -> dict[str, str]:
        return {"python": platform.python_version()}

    def capabilities(self) -> dict[str, Any]:
        reasons = {
            "large": "one number at a time",
            "resume": "nothing to save it to",
            "exact_products": "not written in single numbers",
        }
        options = [name for name in OPTIONS if name not in reasons]
        return {
            "dtypes": DTYPES,
            "rules": SPECIFIED,
            "policies": POLICIES,
            "options": options,
            "reasons": reasons,
        }

    def multiplier(self, policy: PolicySpec, a: Array, g: Array, stacked_dims: int) -> Array:
        dtype = "float64" if a.dtype == np.float64 else "float32"
        ar = Arithmetic(dtype)
        flat_a, flat_g, phi = _numbers(a), _numbers(g), []
        for piece in _pieces(a.shape, stacked_dims):
            scores = [
                scalar.score(ar, x, y) for x, y in zip(flat_a[piece], flat_g[piece], strict=True)
            ]
            mask, high, low = scalar.decide(ar, policy, scores)
            phi += [high if selected else low for selected in mask]
        return _array(phi, dtype, a.shape)

    def run(self, spec: RunSpec, params: Sequence[Array]) -> OracleRun:
        return OracleRun(spec, params)
