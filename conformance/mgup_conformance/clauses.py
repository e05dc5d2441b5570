"""The clauses of the specification, one line each; every case cites those it checks."""

from __future__ import annotations

PASSING = ("identical", "rounding")
"""The levels that a user may ask for (V)."""

CLAUSES: dict[str, str] = {
    "P1": "score: a * g in the compute dtype, decay left out",
    "P2": "canonical score: -0 is +0, tiny is 0, NaN ranks lowest",
    "P3": "K = floor(tau * d) in exact decimal arithmetic",
    "P4": "rank: exactly K, the largest, ties to the lowest flat index",
    "P5": "slice: a whole parameter, or each index of the leading axes",
    "P6": "differentiate: alpha on the K selected, gamma on the rest",
    "P7": "safeguard: no amplified NaN or -inf, finite steps stay finite",
    "P8": "sign mode: alpha where the score is above 0 (or at 0, if aligned)",
    "P9": "adaptive sign mode: 1/tau_t and tau_t, tau_t the clipped positive share",
    "P10": "cautious baseline: 1[s > 0] / max(mean, 1e-3)",
    "P11": "off: alpha = gamma = 1 is the base rule, bit for bit",
    "P12": "mean multiplier (K*alpha + (d - K)*gamma) / d",
    "R0": "apply: w - ((eta*phi)*u + (eta*lambda)*w), decay never multiplied",
    "R0c": "aligned decay: eta*lambda*w where u*w >= 0, else 0",
    "R1": "AdamW",
    "R1p": "AdamW in the paper's and the published form",
    "R2": "Lion",
    "R3": "SGD with momentum",
    "R4": "Muon: masks identical, direction within N7, or by N9",
    "R5": "low precision: computed in float32, rounded once",
    "R6": "absent gradients keep value and state; empty parameters are no-ops",
    "N1": "identity: same bits, or both NaN, or both below 2^-100",
    "N2": "scalars rounded once; multiplied by reciprocals, never divided by",
    "N3": "bias correction by complements",
    "N4": "square root and division correctly rounded",
    "N5": "no contraction, no reassociation",
    "N6": "moments below 2^-100 stored as 0",
    "N7": "matrix products compared by norm",
    "N8": "two stages: the same mask for the same (a, g), then trajectories",
    "N9": "exact products: matrix rules give the same bits",
}


def clause_key(clause: str) -> tuple[str, float]:
    """Sorts clauses as the specification numbers them: P before R before N, R1 before R1p."""
    order = {"P": "0", "R": "1", "N": "2"}
    digits = clause[1:].rstrip("cp")
    return order[clause[0]], int(digits) + (0.5 if digits != clause[1:] else 0.0)
