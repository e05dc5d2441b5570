"""Matrix rules with exact products: the bits of NumPy, on the CPU and on a GPU (N9)."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo

import mgup_core as core
import mgup_torch
from mgup_torch import MGUPMuon
from mgup_torch.executors import stacked as stacks

from .support import DEVICES, Reference, give, gradients, parameters, same

SHAPES = ((64, 90), (90, 64), (33, 7), (2, 4200))
WORDS = {
    rule.__name__: word
    for rule in core.rules.ALL
    for word in ("ns_dtype", "product_dtype")
    if hasattr(rule, word)
}
"""Every rule with matrix products -> the hyperparameter that makes them exact."""


def made(name: str, shapes, dtype=torch.float32, device="cpu"):
    """Parameters, the optimizer of a rule with exact products, and the reference of both."""
    options = {WORDS[name]: "exact"} | ({"root_steps": 3} if name == "FISMO" else {})
    rule = next(kind for kind in core.rules.ALL if kind.__name__ == name)
    kind = getattr(mgup_torch, f"MGUP{name}", None) or mgup_torch.optimizer(rule)
    params = parameters(shapes, dtype, device=device)
    reference = Reference(params, rule(**options), core.MGUP(), lr=0.1, weight_decay=0.1)
    return params, kind(params, lr=0.1, weight_decay=0.1, **options), reference


def follow(params, optimizer, reference, steps: int, step=None) -> None:
    """Chaotic steps: the gradients depend on the parameters."""
    for t in range(steps):
        noise = gradients(params, t)
        grads = [g + p.detach() for g, p in zip(noise, params, strict=True)]
        give(params, grads)
        (step or optimizer.step)()
        reference.step(grads)
        reference.check(params, optimizer, step=t + 1)


# Whatever holds with short factors holds with long ones.
@pytest.fixture(params=[pytest.param("highest", marks=pytest.mark.slow), "medium"])
def _precision(request):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("_precision")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", WORDS)
def test_every_matrix_rule(name, dtype, device):
    """With whatever tensor cores may be used for float32: TF32 and bfloat16 hold every slice."""
    shapes = SHAPES if device == "cuda" and name != "FISMO" else ((12, 20), (20, 12), (9, 5))
    follow(*made(name, shapes, dtype, device), steps=50 if device == "cuda" else 5)


@pytest.mark.parametrize("device", DEVICES)
def test_stacks(device, monkeypatch):
    """Matrices of one shape in one product give what each gives alone."""
    ends = []
    for limit in (0, stacks.BYTES):
        monkeypatch.setattr(stacks, "BYTES", limit)
        params = parameters(((12, 20),) * 3, device=device)
        optimizer = MGUPMuon(params, lr=0.02, ns_dtype="exact")
        give(params, gradients(params, 0))
        optimizer.step()
        ends.append(params)
    assert same(*ends)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", ["exact_product", "orthogonal_factor", "eigenvectors"])
def test_an_opaque_operation_is_laid_out_as_it_says(name, turned):
    """Compiled code reads the result by the strides that it was told of, whatever the operand's."""
    x = torch.randn(3, 5, 5)
    x = x.permute(2, 1, 0)[:3, :3] if turned else x
    operands = (x, x) if name == "exact_product" else (x,)
    torch.library.opcheck(getattr(torch.ops.mgup, name), operands, test_utils="test_faketensor")


@pytest.mark.slow
@pytest.mark.filterwarnings(  # inductor's use of its own function, for an identity matrix
    "ignore:`torch._prims_common.check` is deprecated:FutureWarning"
)
@pytest.mark.parametrize("name", WORDS)
def test_compiled(name):
    torch._dynamo.reset()
    params, optimizer, reference = made(name, ((12, 20), (9, 5)))
    follow(params, optimizer, reference, 3, torch.compile(optimizer.step))
    torch._dynamo.reset()
