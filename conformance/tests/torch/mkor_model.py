"""A small model for the tests of MKOR, its batches, and what its layers see."""

from __future__ import annotations

import torch


def model(*, bias=True, dtype=torch.float64):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 7, bias=bias), torch.nn.Tanh(), torch.nn.Linear(7, 3, bias=bias)
    ).to(dtype)


def batch(step, dtype=torch.float64):
    generator = torch.Generator().manual_seed(step)
    x, y = (torch.randn(4, 6, n, generator=generator) for n in (5, 3))
    return 3 * x.to(dtype), y.to(dtype)


def backward(net, step):
    """Gradients of the parameters, and what the layers saw: inputs and gradients of outputs."""
    net.zero_grad()
    x, y = batch(step, next(net.parameters()).dtype)
    first = net[0](x)
    hidden = net[1](first)
    last = net[2](hidden)
    for z in (first, last):
        z.retain_grad()
    loss = ((last - y) ** 2).mean()
    loss.backward()
    return [(x.detach(), first.grad), (hidden.detach(), last.grad)], [
        p.grad.clone() for p in net.parameters()
    ]
