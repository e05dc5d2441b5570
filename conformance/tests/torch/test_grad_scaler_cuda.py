"""``torch.amp.GradScaler`` on an NVIDIA GPU, which the host need not wait for; else skipped.

It checks N1.
"""

from __future__ import annotations

import warnings

import pytest
import torch

from mgup_torch import MGUPAdamW

from .inputs import POLICIES, Input
from .support import ON_GPU, Reference, frozen, give, gradients, parameters, same

pytestmark = ON_GPU


class Scaled:
    """An optimizer with a scaler beside the NumPy reference, which never sees an infinity."""

    def __init__(self, given: Input, params: list[torch.Tensor]) -> None:
        self.params, self.optimizer = params, given.make(params)
        for group in self.optimizer.param_groups:
            group["fused"] = True  # or the scaler asks by itself, as with torch.optim
        options = given.reference_options()
        self.reference = Reference(params, given.rule(), given.policy(), **options)
        self.scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
        self.good = 0

    def prepare(self, *, bad: bool) -> list[torch.Tensor]:
        """Scaled gradients, one of them not finite if the step is to be skipped."""
        grads = gradients(self.params, self.good)
        scale = self.scaler.scale(torch.tensor(1.0, device="cuda"))
        give(self.params, [g * scale for g in grads])
        if bad:
            self.params[1].grad.view(-1)[3] = torch.inf
        return grads

    def step(self, *, bad: bool) -> None:
        grads = self.prepare(bad=bad)
        before, scale = frozen(self.optimizer), self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        assert not hasattr(self.optimizer, "found_inf")
        if bad:
            assert frozen(self.optimizer) == before
            assert self.scaler.get_scale() == scale / 2
            return
        self.good += 1
        self.reference.step(grads)
        self.reference.check(self.params, self.optimizer, step=self.good)
        counts = {int(state["step"]) for state in self.optimizer.state.values() if "step" in state}
        assert counts <= {self.good}


def fused(optimizer) -> int:
    return sum(row.executor == "cuda" for row in optimizer.explain())


@pytest.mark.parametrize("mode", ["default", "sign", "adaptive", "off"])
@pytest.mark.parametrize("family", ["AdamW", "Lion", "SGD"])
def test_a_found_inf_leaves_every_bit(family, mode):
    """Before there is a state, between like steps, twice in a row; the others are as ever."""
    given = Input(family, mode, {"lr": 0.02, "weight_decay": 0.1, **POLICIES[mode]})
    params = parameters(device="cuda")
    run = Scaled(given, params)
    for step in range(12):
        run.step(bad=step in (0, 1, 4, 7, 8))
    assert fused(run.optimizer) == len(params)


def test_nothing_waits_for_the_gpu():
    """Neither a step that is skipped nor one that is not, once there is a state."""
    run = Scaled(Input("AdamW", "", {"lr": 0.02}), parameters(device="cuda"))
    for _ in range(3):
        run.step(bad=False)
    for bad in (False, True, False):
        run.prepare(bad=bad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls itself a prototype
            torch.cuda.set_sync_debug_mode("error")
        try:
            run.scaler.step(run.optimizer)
            run.scaler.update()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_unscaled_before_and_no_scaler_between():
    """unscale_, clip, step; and a step without a scaler does not remember the last one's."""
    params, plain = parameters(device="cuda"), parameters(device="cuda")
    optimizer, expected = MGUPAdamW(params, lr=0.02, fused=True), MGUPAdamW(plain, lr=0.02)
    scaler = torch.amp.GradScaler("cuda", init_scale=256.0)
    for step in range(9):
        grads = gradients(params, step)
        give(plain, [g.clone() for g in grads])
        if step % 3 == 2:
            give(params, grads)
            optimizer.step()
        else:
            scale = scaler.scale(torch.tensor(1.0, device="cuda"))
            give(params, [g * scale for g in grads])
            if bad := step % 3 == 1:
                params[0].grad.view(-1)[0] = torch.nan
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(params, 1e9)
            scaler.step(optimizer)
            scaler.update()
            if bad:
                continue
        expected.step()
        assert same(params, plain), f"step {step}"


def test_parameters_that_are_not_fused_agree():
    """float64, and what is not contiguous: the host reads found_inf once, for all."""
    crossed = torch.randn(6, 4, device="cuda").t().requires_grad_()
    params = [*parameters(device="cuda"), *parameters(dtype=torch.float64, device="cuda"), crossed]
    run = Scaled(Input("AdamW", "", {"lr": 0.02}), params)
    for step in range(6):
        run.step(bad=step in (0, 3))
    assert fused(run.optimizer) == 4


def test_in_a_cuda_graph():
    """Captured once, a step reads the scale and found_inf anew, as it does the gradients."""
    params, twins = parameters(device="cuda"), parameters(device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02, capturable=True)
    twin = MGUPAdamW(twins, lr=0.02, capturable=True)
    for p in params:
        p.grad = torch.zeros_like(p)
    held = [p.grad for p in params]
    optimizer.found_inf = torch.zeros((), device="cuda")
    optimizer.grad_scale = torch.ones((), device="cuda")

    def feed(step: int, scale: float) -> None:
        grads = gradients(params, step)
        for h, g in zip(held, grads, strict=True):
            h.copy_(g * scale)
        give(twins, grads)

    feed(0, 1.0)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        optimizer.step()
    torch.cuda.current_stream().wait_stream(aside)
    twin.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(1, 7):
        scale, found = 2.0**step, step in (2, 5)
        feed(step, scale)
        optimizer.grad_scale.fill_(scale)
        optimizer.found_inf.fill_(float(found))
        graph.replay()
        if not found:
            twin.step()
        assert same(params, twins), f"step {step}"
    assert {int(optimizer.state[p]["step"]) for p in params} == {5}
