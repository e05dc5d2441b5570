"""A port by a stranger: AdamW with MGUP in float32, written from the specification alone.

It imports nothing of this project; that is the point of the protocol.
"""

import numpy as np

f = np.float32


def flush(x, below):
    return np.where(np.abs(x) < f(below), f(0), x)


def mask_of(scores, tau):
    k = int(tau * 1000) * scores.size // 1000  # exact for ratios of three decimals
    numbers = np.where(np.isnan(scores), -np.inf, scores)
    order = np.lexsort((np.arange(scores.size), -numbers, np.isnan(scores)))
    mask = np.zeros(scores.size, bool)
    mask[order[:k]] = True
    return mask & (numbers > -np.inf)


def phi_of(policy, a, g):
    if policy["name"] == "off":
        return np.ones(a.shape, f)
    mask = mask_of(flush(a * g, 2.0**-125).ravel(), policy["tau"])
    return np.where(mask, f(policy["alpha"]), f(policy["gamma"])).reshape(a.shape)


def correction(beta, t):
    c = f(0)
    for k in range(t.bit_length()):
        if t >> k & 1:
            c = c + f(1 - beta ** (2**k)) * (f(1) - c)
    return c


class Run:
    def __init__(self, spec, params):
        self.spec, self.w, self.t = spec, [w.copy() for w in params], 0
        self.kept = [(np.zeros_like(w), np.zeros_like(w)) for w in params]

    @np.errstate(all="ignore")
    def step(self, grads, lr=None):
        self.t += 1
        r, eta, decay = self.spec["rule"], f(self.spec["lr"]), f(self.spec["weight_decay"])
        c1, c2 = (f(1) / correction(r[b], self.t) for b in ("b1", "b2"))
        for i, g in enumerate(grads):
            g, (m, v), w = flush(g, 2.0**-100), self.kept[i], self.w[i]
            m = flush(f(r["b1"]) * m + f(1 - r["b1"]) * g, 2.0**-100)
            v = flush(f(r["b2"]) * v + f(1 - r["b2"]) * (g * g), 2.0**-100)
            u = (m * c1) / (np.sqrt(v * c2) + f(r["eps"]))
            delta = (eta * phi_of(self.spec["policy"], u, g)) * u
            self.w[i] = w - (delta + (eta * decay) * w if decay else delta)
            self.kept[i] = (m, v)

    def params(self):
        return self.w

    def state(self):
        return [{"exp_avg": m, "exp_avg_sq": v} for m, v in self.kept]


class Port:
    name = "toy"

    def versions(self):
        return {"numpy": np.__version__}

    def capabilities(self):
        return {"dtypes": ["float32"], "rules": ["adamw"], "policies": ["mgup", "off"],
                "options": ["multiplier"], "reasons": {"lion": "not yet ported"}}  # fmt: skip

    def multiplier(self, policy, a, g, stacked_dims):
        with np.errstate(all="ignore"):
            return phi_of(policy, a, g)

    def run(self, spec, params):
        return Run(spec, params)


class WrongPort(Port):
    """The stranger's first try: the decay shrinks the parameter before the step."""

    name = "wrong_toy"

    def run(self, spec, params):
        return WrongRun(spec, params)


class WrongRun(Run):
    def step(self, grads, lr=None):
        shrunk = f(1 - self.spec["lr"] * self.spec["weight_decay"])
        self.w = [w * shrunk for w in self.w]
        decay, self.spec = self.spec["weight_decay"], {**self.spec, "weight_decay": 0.0}
        super().step(grads, lr)
        self.spec = {**self.spec, "weight_decay": decay}


class Broken:
    """Not a backend."""

    name = "broken"


class Crashing(Port):
    """Not finished."""

    def multiplier(self, policy, a, g, stacked_dims):
        raise NotImplementedError("later")


class Dying(Port):
    """Takes its interpreter with it."""

    def run(self, spec, params):
        import os

        os.write(2, b"farewell")
        os._exit(3)


class Meddling(Port):
    """Writes into what it is given."""

    def run(self, spec, params):
        made = Run(spec, params)
        for w in params:
            w += 1
        return made
