"""Three implementations by strangers, and mistakes to plant in them.

They share nothing with the library or its mutants: written from the specification, each in an
arithmetic of its own. ``Twin`` follows the order of operations and so gives the same bits;
``Torch`` is how PyTorch spells it (lerp, multiplicative decay, ``1 - beta**t``); ``Double``
computes in float64 and rounds once a step. The last two are ordinary and correct, and identical
nowhere.
"""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np

_PLANTED = {
    "decay in score": ("P1", "run/adamw/mgup/float32"),
    "decay in operand": ("P1", "run/adamw/mgup/float32"),
    "momentum scored": ("P1", "run/adamw/mgup/float32"),
    "gradient squared scored": ("P1", "run/adamw/mgup/float32"),
    "NaN first": ("P2", "rank/nan/float32"),
    "K rounded": ("P3", "count/decimals"),
    "K from floating point": ("P3", "count/decimals"),
    "K rounded up": ("P3", "count/decimals"),
    "one at least": ("P3", "count/mean"),
    "last index first": ("P4", "rank/ties/float32"),
    "all ties selected": ("P4", "rank/ties/float32"),
    "smallest first": ("P4", "rank/normal/float32"),
    "by magnitude": ("P4", "run/adamw/mgup/float32"),
    "stacks ranked whole": ("P5", "stacked/adamw/float32"),
    "factors swapped": ("P6", "rank/normal/float32"),
    "NaN amplified": ("P7", "rank/infinities/float32"),
    "zero aligned": ("P8", "sign/scores/float32"),
    "share not clipped": ("P9", "adaptive/scores/float32"),
    "floor of the mean": ("P10", "cautious/scores/float32"),
    "decay multiplied": ("R0", "run/adamw/mgup/float32"),
    "decay forgotten": ("R0", "run/adamw/mgup/float32"),
    "decay unscaled": ("R0", "run/adamw/mgup/float32"),
    "decay as L2": ("R0", "run/adamw/mgup/float32"),
    "first rate kept": ("R0", "schedule/adamw/float32"),
    "eps before correction": ("R1", "hyper/adamw/float32"),
    "eps in root": ("R1", "hyper/adamw/float32"),
    "no correction": ("R1", "run/adamw/mgup/float32"),
    "t off by one": ("R1", "run/adamw/mgup/float32"),
    "betas swapped": ("R1", "run/adamw/mgup/float32"),
    "Lion after the momentum": ("R2", "run/lion/mgup_mild/float32"),
    "sign of zero is one": ("R2", "ties/lion/float32"),
    "first step dampened": ("R3", "run/sgd_dampened/mgup/float32"),
    "Nesterov the other way": ("R3", "run/sgd_nesterov/mgup_mild/float32"),
    "SGD scores the direction": ("P1", "run/sgd_nesterov/mgup_mild/float32"),
    "absent is zero": ("R6", "absent/adamw/float32"),
    "stored towards zero": ("R5", "compact/lion/sign_aligned/bfloat16_state32"),
}
"""Planted mistake -> the clause that it breaks, and the case that is there for it."""

MISTAKES = {name: clause for name, (clause, _) in _PLANTED.items()}
TELLING = {name: case for name, (_, case) in _PLANTED.items()}


class Implementation:
    """AdamW, Lion and SGD with every policy; what differs in arithmetic is a method."""

    name = "implementation"

    def __init__(self, mistake: str | None = None) -> None:
        self.mistake = mistake

    def has(self, mistake: str) -> bool:
        assert mistake in MISTAKES
        return self.mistake == mistake

    def versions(self):
        return {"numpy": np.__version__}

    def capabilities(self):
        return {
            "dtypes": ["float32", "bfloat16"],
            "rules": ["adamw", "lion", "sgd"],
            "policies": ["mgup", "sign", "adaptive", "cautious", "off"],
            "options": ["multiplier", "stacked_dims", "state_dtype", "schedule", "absent",
                        "dampening", "nesterov", "large"],
        }  # fmt: skip

    # -- the policy ------------------------------------------------------------------------------

    def count(self, tau, d):
        if self.has("K rounded"):
            return round(tau * d)
        if self.has("K from floating point"):
            return int(tau * d)
        if self.has("K rounded up"):
            return math.ceil(tau * d)
        k = math.floor(Fraction(repr(tau)) * d)
        return max(k, min(1, d)) if self.has("one at least") else k

    def ranked(self, s, k):
        key = np.where(np.isnan(s), np.inf if self.has("NaN first") else -np.inf, s)
        if self.has("by magnitude"):
            key = np.abs(key)
        if self.has("smallest first"):
            key = -key
        index = np.arange(s.size)
        if self.has("last index first"):
            index = -index
        # NaN after -inf: both have the key -inf.
        late = np.isnan(s) & (not self.has("NaN first"))
        mask = np.zeros(s.size, bool)
        mask[np.lexsort((index, late, -key))[:k]] = True
        if self.has("all ties selected") and 0 < k <= s.size:
            mask = key >= np.sort(key)[::-1][k - 1]
        return mask if self.has("NaN amplified") else mask & (s > -np.inf)

    def phi_of(self, policy, s):
        """The multiplier of one slice of canonical scores."""
        name, f = policy["name"], np.float32
        if name == "off":
            return np.ones(s.shape, f)
        if name == "mgup":
            mask = self.ranked(s, self.count(policy["tau"], s.size))
            high, low = f(policy["alpha"]), f(policy["gamma"])
        elif name == "sign":
            aligned = policy["ties"] == "aligned"
            if self.has("zero aligned"):
                aligned = not aligned
            mask, high, low = s > 0, f(policy["alpha"]), f(policy["gamma"])
            mask = mask | (aligned & (s == 0))
        else:
            mask, least = s > 0, policy["tau_min"] if name == "adaptive" else 1e-3
            if self.has("share not clipped") and name == "adaptive":
                least = 0.0
            if self.has("floor of the mean") and name == "cautious":
                least = 1e-8
            share = f(max(f(mask.sum()) / f(max(s.size, 1)), f(least)))
            with np.errstate(all="ignore"):
                high, low = f(1) / share, share if name == "adaptive" else f(0)
        if self.has("factors swapped"):
            high, low = low, high
        return np.where(mask, high, low)

    @np.errstate(all="ignore")
    def multiplier(self, policy, a, g, stacked_dims):
        s = np.asarray(a, np.float32) * np.asarray(g, np.float32)
        s = np.where(np.abs(s) < np.float32(2.0**-125), np.float32(0), s)
        n = 0 if self.has("stacks ranked whole") else stacked_dims
        rows = s.reshape(math.prod(s.shape[:n]), math.prod(s.shape[n:]))
        phi = [self.phi_of(policy, row) for row in rows]
        return np.array(phi, np.float32).reshape(s.shape)

    # -- the arithmetic --------------------------------------------------------------------------

    def average(self, old, new, beta, weight=None):
        raise NotImplementedError

    def correction(self, beta, t):
        return 1 - beta**t

    def quotient(self, m, v, c1, c2, eps):
        raise NotImplementedError

    def applied(self, w, u, phi, lr, decay):
        raise NotImplementedError

    def inside(self, x):
        """An array as it is computed with."""
        return np.asarray(x, np.float32)

    def outside(self, x):
        return np.asarray(x, np.float32)

    def run(self, spec, params):
        return Run(self, spec, params)


class Run:
    def __init__(self, made, spec, params):
        self.made, self.spec = made, spec
        self.w = [w.copy() for w in params]
        names = {"adamw": ("exp_avg", "exp_avg_sq"), "lion": ("exp_avg",)}
        names = names.get(spec["rule"]["name"], ("momentum_buffer",))
        self.kept = [{n: np.zeros(w.shape, np.float32) for n in names} for w in params]
        self.t = [0] * len(params)

    def params(self):
        return self.w

    def state(self):
        dtype = ml_dtypes.bfloat16 if self.spec["state_dtype"] == "bfloat16" else np.float32
        return [{n: x.astype(dtype) for n, x in kept.items()} for kept in self.kept]

    @np.errstate(all="ignore")
    def step(self, grads, lr=None):
        made = self.made
        lr = self.spec["lr"] if lr is None or made.has("first rate kept") else lr
        for i, g in enumerate(grads):
            if g is None and not made.has("absent is zero"):
                continue
            self.one(i, np.zeros_like(self.w[i]) if g is None else g, lr)

    def one(self, i, g, lr):
        made, spec, rule = self.made, self.spec, self.spec["rule"]
        decay, self.t[i] = spec["weight_decay"], self.t[i] + 1
        t = self.t[i] + made.has("t off by one")
        w, g = made.inside(self.w[i]), made.inside(g)
        kept = {n: made.inside(x) for n, x in self.kept[i].items()}
        raw = g
        if made.has("decay as L2"):
            g = raw = g + decay * w
        u, a = getattr(self, rule["name"])(g, kept, t, rule)
        if made.has("decay in operand"):
            a = a + decay * w
        if made.has("decay in score"):
            raw = raw + decay * w
        if made.has("gradient squared scored"):
            a = raw
        phi = made.multiplier(spec["policy"], made.outside(a), made.outside(raw),
                              spec["stacked_dims"][i])  # fmt: skip
        if made.has("decay multiplied"):
            new = made.applied(w, u + decay * w, phi, lr, 0.0)
        elif made.has("decay forgotten") or made.has("decay as L2"):
            new = made.applied(w, u, phi, lr, 0.0)
        elif made.has("decay unscaled"):
            new = made.applied(w, u, phi, lr, 0.0) - decay * w
        else:
            new = made.applied(w, u, phi, lr, decay)
        self.kept[i] = {n: made.outside(x).astype(np.float32) for n, x in kept.items()}
        if spec["state_dtype"] == "bfloat16":
            self.kept[i] = {
                n: x.astype(ml_dtypes.bfloat16).astype(np.float32) for n, x in self.kept[i].items()
            }
        self.w[i] = self.stored(made.outside(new)).reshape(self.w[i].shape)

    def stored(self, x):
        if self.spec["dtype"] != "bfloat16":
            return x.astype(np.float32)
        if self.made.has("stored towards zero"):
            bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
            return (bits >> 16).astype(np.uint16).view(ml_dtypes.bfloat16)
        return x.astype(ml_dtypes.bfloat16)

    def adamw(self, g, kept, t, rule):
        made, b1, b2 = self.made, rule["b1"], rule["b2"]
        if made.has("betas swapped"):
            b1, b2 = b2, b1
        kept["exp_avg"] = made.average(kept["exp_avg"], g, b1)
        kept["exp_avg_sq"] = made.average(kept["exp_avg_sq"], g * g, b2)
        c1, c2 = made.correction(rule["b1"], t), made.correction(rule["b2"], t)
        m, v, eps = kept["exp_avg"], kept["exp_avg_sq"], rule["eps"]
        if made.has("no correction"):
            c1 = c2 = 1.0
        if made.has("eps before correction"):
            eps = eps / float(c2) ** 0.5
        if made.has("eps in root"):
            u = made.quotient(m, v + eps * float(c2), c1, c2, 0.0)
        else:
            u = made.quotient(m, v, c1, c2, eps)
        return u, m if made.has("momentum scored") else u

    def lion(self, g, kept, t, rule):
        made, m = self.made, kept["exp_avg"]
        kept["exp_avg"] = made.average(m, g, rule["b2"])
        if made.has("Lion after the momentum"):
            m = kept["exp_avg"]
        b = made.average(m, g, rule["b1"])
        u = made.inside(np.sign(np.asarray(b)))
        if made.has("sign of zero is one"):
            u = np.where(np.asarray(b) < 0, -1.0, 1.0)
            u = made.inside(u)
        return u, m if made.has("momentum scored") else u

    def sgd(self, g, kept, t, rule):
        made, mu, damp = self.made, rule["momentum"], rule["dampening"]
        m = made.average(kept["momentum_buffer"], g, mu, 1 - damp)
        if t == 1 and not made.has("first step dampened"):
            m = g
        kept["momentum_buffer"] = m
        u = m
        if rule["nesterov"]:
            u = m + mu * g if made.has("Nesterov the other way") else g + mu * m
        return u, u if made.has("SGD scores the direction") else m


def flush(x):
    return np.where(np.abs(x) < np.float32(2.0**-100), np.float32(0), x)


class Twin(Implementation):
    """To the letter: the same bits."""

    name = "twin"

    def average(self, old, new, beta, weight=None):
        f = np.float32
        return flush(f(beta) * old + f(1 - beta if weight is None else weight) * new)

    def correction(self, beta, t):
        f, c = np.float32, np.float32(0)
        for k in range(t.bit_length()):
            if t >> k & 1:
                c = c + f(1 - beta ** (2**k)) * (f(1) - c)
        return c

    def quotient(self, m, v, c1, c2, eps):
        f = np.float32
        return (m * (f(1) / f(c1))) / (np.sqrt(v * (f(1) / f(c2))) + f(eps))

    def applied(self, w, u, phi, lr, decay):
        lr, f = np.float32(lr), np.float32
        step = (lr * phi) * u
        steep = np.isfinite(u) & ~np.isfinite(step)
        step = np.where(steep, (lr * f(self.low)) * u, step)
        return w - (step + (lr * f(decay)) * w if decay else step)

    def inside(self, x):
        return np.asarray(x, np.float32)

    def run(self, spec, params):
        self.low = spec["policy"].get("gamma", 0.0)
        made = Run(self, spec, params)
        step = made.step

        def flushed(grads, lr=None):
            step([None if g is None else flush(np.asarray(g, np.float32)) for g in grads], lr)

        made.step = flushed
        return made


class Torch(Implementation):
    """As PyTorch's own optimizers spell it."""

    name = "torch form"

    def average(self, old, new, beta, weight=None):
        import torch

        if weight is None:
            return torch.lerp(old, new, 1 - beta)
        return old.mul(beta).add(new, alpha=weight)

    def quotient(self, m, v, c1, c2, eps):
        return (m / c1) / ((v.sqrt() / c2**0.5).add(eps))

    def applied(self, w, u, phi, lr, decay):
        import torch

        step = torch.from_numpy(np.ascontiguousarray(phi)).reshape(u.shape) * u
        with_low = lr * self.low * u
        step = torch.where(torch.isfinite(u) & ~torch.isfinite(lr * step), with_low, lr * step)
        return w.mul(1 - lr * decay).sub(step)

    def inside(self, x):
        import torch

        return torch.from_numpy(np.array(x, np.float32))

    def outside(self, x):
        return np.asarray(x, np.float32)

    def run(self, spec, params):
        self.low = spec["policy"].get("gamma", 0.0)
        return Run(self, spec, params)


class Double(Implementation):
    """In float64, rounded once a step."""

    name = "double"

    def average(self, old, new, beta, weight=None):
        return beta * old + (1 - beta if weight is None else weight) * new

    def quotient(self, m, v, c1, c2, eps):
        return (m / c1) / (np.sqrt(v / c2) + eps)

    def applied(self, w, u, phi, lr, decay):
        step = lr * phi.astype(np.float64) * u
        # A step of which float32 is infinite, though u is finite (P7).
        steep = np.isfinite(np.float32(u)) & ~np.isfinite(np.float32(step))
        step = np.where(steep, lr * self.low * u, step)
        return w - step - lr * decay * w

    def inside(self, x):
        return np.asarray(x, np.float64)

    def run(self, spec, params):
        self.low = spec["policy"].get("gamma", 0.0)
        return Run(self, spec, params)


FORMS = (Torch, Twin, Double)
