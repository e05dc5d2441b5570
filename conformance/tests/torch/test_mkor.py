"""MKOR: the official code's factors and gradients, and MGUP behind it with the raw gradient.

It checks P1, R6.
"""

from __future__ import annotations

import copy

import pytest
import torch

from mgup_torch import MGUP, MGUPSGD, MKOR

from .mkor_model import backward, batch, model


class Official:
    """Mohammad-Mozaffari/mkor in float64, with its lists of flags, for one layer."""

    def __init__(self, inv_freq, clip=100.0):
        self.inv_freq, self.clip, self.steps = inv_freq, clip, 0
        self.inverse, self.flagged, self.seen_resets = [None, None], [True, True], 0

    def __call__(self, x, dz, weight, bias):
        if self.steps % self.inv_freq == 0:
            x, dz = x.reshape(-1, x.shape[-1]), dz.reshape(-1, dz.shape[-1])
            if bias is not None:
                x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
            for side, rows in enumerate((x, len(dz) * dz)):
                v = rows.clamp(-self.clip, self.clip).mean(0, keepdim=True).T
                eye = torch.eye(len(v), dtype=v.dtype)
                if self.flagged[side]:
                    self.inverse[side], self.flagged[side] = eye, False
                    self.seen_resets += 1
                    continue
                b = 0.95 * self.inverse[side] + 0.05 * eye
                self.inverse[side] = b - (b @ v) @ (v.T @ b) / (1 + v.T @ b @ v)
                if self.inverse[side].abs().max() > 2:
                    self.flagged = [True, True]
        self.steps += 1
        columns = weight if bias is None else torch.cat([weight, bias[:, None]], 1)
        d = self.inverse[1] @ columns @ self.inverse[0]
        parts = [d] if bias is None else [d[:, :-1], d[:, -1]]
        given = [weight] if bias is None else [weight, bias]
        factor = sum(g.norm() for g in given) / sum(p.norm() for p in parts)
        return [p * factor for p in parts]


@pytest.mark.parametrize("inv_freq", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_official_code(bias, inv_freq):
    net = model(bias=bias)
    mkor = MKOR(net, inv_freq=inv_freq, factor_dtype=torch.float64)
    theirs = [Official(inv_freq) for _ in range(2)]
    for step in range(8):
        seen, raw = backward(net, step)
        pairs = zip(raw[::2], raw[1::2], strict=True) if bias else ((g, None) for g in raw)
        expected = [
            part
            for one, saw, pair in zip(theirs, seen, pairs, strict=True)
            for part in one(*saw, *pair)
        ]
        mkor.precondition()
        for p, e in zip(net.parameters(), expected, strict=True):
            torch.testing.assert_close(p.grad, e, rtol=1e-11, atol=1e-14)
        if step > inv_freq:
            assert (net[0].weight.grad - raw[0]).norm() > 0.01 * raw[0].norm()


def test_the_exact_form_is_an_inverse():
    """Of ``decay*L + (1 - decay)*v v'``, carried along with its factor."""
    net = model()
    mkor = MKOR(net, inv_freq=1, form="exact", factor_dtype=torch.float64)
    factors = {}
    for step in range(6):
        seen, _ = backward(net, step)
        mkor.precondition()
        x, dz = (t.reshape(-1, t.shape[-1]) for t in seen[0])
        x = torch.cat([x, torch.ones(len(x), 1)], 1)
        for side, rows in (("right", x), ("left", len(dz) * dz)):
            v = rows.mean(0)
            eye = torch.eye(len(v), dtype=torch.float64)
            old = factors.get(side)
            factors[side] = eye if old is None else 0.95 * old + 0.05 * torch.outer(v, v)
            torch.testing.assert_close(
                mkor.state_dict()["layers"]["0"]["factors"][side] @ factors[side], eye
            )


def test_large_factors_are_reset():
    """Beyond 2, both at their next update; the exact form grows where no input points."""
    net = model()
    mkor = MKOR(net, inv_freq=1, form="exact", factor_dtype=torch.float64)
    largest = []
    for step in range(32):
        backward(net, step)
        mkor.precondition()
        sides = mkor.state_dict()["layers"]["0"]["factors"]
        largest.append(max(float(x.abs().max()) for x in sides.values()))
    assert 2 < max(largest) < 2.2
    assert largest[largest.index(max(largest)) + 1] < 1.2


def test_the_first_update_changes_nothing():
    """L = R = I: the backend's step, bit for bit."""
    net, plain = model(dtype=torch.float32), model(dtype=torch.float32)
    inner = MKOR(net).precede(torch.optim.SGD(net.parameters(), 0.1))
    other = torch.optim.SGD(plain.parameters(), 0.1)
    backward(net, 0)
    backward(plain, 0)
    inner.step()
    other.step()
    for p, q in zip(net.parameters(), plain.parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_norm_stays():
    """Of the gradient of a layer without bias."""
    net = model(bias=False)
    mkor = MKOR(net, inv_freq=1)
    for step in range(5):
        _, raw = backward(net, step)
        mkor.precondition()
        for p, g in zip(net.parameters(), raw, strict=True):
            torch.testing.assert_close(p.grad.norm(), g.norm(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mgup_scores_with_the_raw_gradient(dtype):
    """u is the backend's direction on the preconditioned gradient; the score is u * g."""
    net = model(dtype=dtype)
    twin = copy.deepcopy(net)
    inner = torch.optim.SGD(net.parameters(), 0.5, momentum=0.9)
    optimizer = MGUP(MKOR(net, inv_freq=1).precede(inner))
    mkor, backend = MKOR(twin, inv_freq=1), torch.optim.SGD(twin.parameters(), 0.5, momentum=0.9)
    differs = 0
    for step in range(4):
        twin.load_state_dict(net.state_dict())
        before = [p.detach().clone().float() for p in net.parameters()]
        _, raw = backward(net, step)
        optimizer.step()
        backward(twin, step)
        mkor.precondition()
        changed = [p.grad.clone() for p in twin.parameters()]
        backend.step()
        for p, q, w, g, d in zip(
            net.parameters(), twin.parameters(), before, raw, changed, strict=True
        ):
            assert torch.equal(p.grad, g), "the raw gradient is back"
            moved = w - q.detach().float()
            score = (moved * g.float()).flatten()
            chosen = score.argsort(descending=True, stable=True)[: score.numel() // 2]
            factor = torch.full_like(score, 0.5).index_fill(0, chosen, 2.0).view(w.shape)
            assert torch.equal(p, (w - factor * moved).to(dtype))
            others = (moved * d.float()).flatten().argsort(descending=True, stable=True)
            differs += set(chosen.tolist()) != set(others[: len(chosen)].tolist())
    assert differs, "scores with the preconditioned gradient would have chosen the same"


def test_an_mgup_optimizer_behind_it_sees_the_preconditioned_gradient():
    net, twin = model(), model()
    optimizer = MKOR(net, inv_freq=1).precede(MGUPSGD(net.parameters(), 0.1))
    mkor, other = MKOR(twin, inv_freq=1), MGUPSGD(twin.parameters(), 0.1)
    for step in range(3):
        backward(net, step)
        optimizer.step()
        backward(twin, step)
        mkor.precondition()
        other.step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)


@pytest.mark.parametrize("factor_dtype", [torch.float16, torch.float32])
def test_training_goes_on_from_a_checkpoint(factor_dtype):
    """Bit for bit."""
    net = model(dtype=torch.float32)
    mkor = MKOR(net, inv_freq=2, factor_dtype=factor_dtype)
    optimizer = MGUP(mkor.precede(torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)))
    for step in range(5):
        backward(net, step)
        optimizer.step()
    saved = copy.deepcopy((net.state_dict(), mkor.state_dict(), optimizer.state_dict()))
    again = model(dtype=torch.float32)
    resumed = MKOR(again, inv_freq=2, factor_dtype=factor_dtype)
    other = MGUP(resumed.precede(torch.optim.SGD(again.parameters(), 0.1, momentum=0.9)))
    for one, state in zip((again, resumed, other), saved, strict=True):
        one.load_state_dict(state)
    for step in range(5, 9):
        for n, o in ((net, optimizer), (again, other)):
            backward(n, step)
            o.step()
    for p, q in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
    with pytest.raises(ValueError, match="the checkpoint has layers"):
        MKOR(model()[0]).load_state_dict(saved[1])


def test_a_scaled_loss_is_the_same_loss():
    """What a GradScaler unscales before the step, the statistics unscale by themselves."""
    nets = model(), model()
    mkors = MKOR(nets[0], inv_freq=1), MKOR(nets[1], inv_freq=1, loss_scale=1024.0)
    for step in range(3):
        for net, mkor in zip(nets, mkors, strict=True):
            net.zero_grad()
            x, y = batch(step)
            (mkor.loss_scale * ((net(x) - y) ** 2).mean()).backward()
            for p in net.parameters():
                p.grad /= mkor.loss_scale
            mkor.precondition()
    for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_no_gradient_and_zero_gradients_stay():
    net = model()
    mkor = MKOR(net, inv_freq=1)
    for step in range(3):
        backward(net, step)
        net[0].weight.grad, net[0].bias.grad = None, None
        net[2].weight.grad.zero_()
        net[2].bias.grad.zero_()
        mkor.precondition()
        assert net[0].weight.grad is None
        assert not net[2].weight.grad.any()


def test_bad_values():
    net = model()
    with pytest.raises(ValueError, match="inv_freq=0 must be an int >= 1"):
        MKOR(net, inv_freq=0)
    with pytest.raises(ValueError, match=r"clip=0 is outside \(0, inf\)"):
        MKOR(net, clip=0)
    with pytest.raises(ValueError, match=r"decay=1 is outside \(0, 1\)"):
        MKOR(net, decay=1)
    with pytest.raises(ValueError, match="form='paper' is neither"):
        MKOR(net, form="paper")
    with pytest.raises(ValueError, match=r"factor_dtype=torch\.bfloat16"):
        MKOR(net, factor_dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"skip=\['7'\] names no nn.Linear"):
        MKOR(net, skip=["7"])
    with pytest.raises(ValueError, match="model has no"):
        MKOR(torch.nn.ReLU())
    backward(net, 0)
    with pytest.raises(RuntimeError, match=r"make MKOR before .* or give skip=\['0'\]"):
        MKOR(net).precondition()
    attention = torch.nn.MultiheadAttention(4, 2)
    mkor = MKOR(torch.nn.Sequential(net, attention), skip=["1.out_proj"])
    assert mkor.state_dict()["layers"].keys() == {"0.0", "0.2"}


def test_a_closure_is_evaluated_before():
    """By the wrapper; an optimizer that would evaluate it after the gradients changed refuses."""
    net, twin = model(), model()
    optimizers = [
        MGUP(MKOR(n, inv_freq=1).precede(torch.optim.SGD(n.parameters(), 0.1))) for n in (net, twin)
    ]
    for step in range(3):
        optimizers[0].step(lambda step=step: backward(net, step))
        backward(twin, step)
        optimizers[1].step()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q)
    with pytest.raises(ValueError, match="step got a closure"):
        optimizers[0].inner.step(lambda: 0.0)


def test_remove_stops_watching():
    net = model()
    mkor = MKOR(net)
    mkor.remove()
    backward(net, 0)
    with pytest.raises(RuntimeError, match="was not seen"):
        mkor.precondition()


class Gated(torch.nn.Module):
    """A layer that no input leads through at first (an expert, a branch)."""

    def __init__(self):
        super().__init__()
        self.body, self.branch = model()[0], model()[2]
        self.open = False

    def forward(self, x):
        z = self.body(x)
        return self.branch(z) if self.open else z[..., :3]


@pytest.mark.parametrize("how", ["skipped", "frozen", "frozen bias"])
@pytest.mark.parametrize("opened", [1, 3, 4])
def test_a_layer_that_begins_later(how, opened):
    """Issue 15, 7: its factors begin as I, whatever step it is, and take part from then on."""
    net = Gated()
    net.open = how != "skipped"
    frozen = {"skipped": [], "frozen": list(net.branch.parameters())}.get(how, [net.branch.bias])
    for p in frozen:
        p.requires_grad_(False)
    mkor, changed = MKOR(net, inv_freq=3, factor_dtype=torch.float64), []
    for step in range(10):
        if step == opened:
            net.open = True
            for p in frozen:
                p.requires_grad_(True)
        net.zero_grad()
        x, y = batch(step)
        ((net(x) - y) ** 2).mean().backward()
        raw = net.branch.weight.grad
        mkor.precondition()
        now = net.branch.weight.grad
        if raw is not None and step >= opened:
            difference = float((now - raw).norm() / raw.norm())
            changed.append(difference > 1e-3)
    first_update = -(-opened // 3) * 3
    second = first_update + 3 if opened % 3 == 0 else first_update
    assert changed == [step >= second for step in range(opened, 10)]


def test_names_to_skip_may_come_from_a_generator():
    """Issue 15, 6: a check must not consume them."""
    net = model()
    assert MKOR(net, skip=(n for n in ["0"])).state_dict()["layers"].keys() == {"2"}
    assert MKOR(net, skip="0").state_dict()["layers"].keys() == {"2"}


def test_a_layer_that_was_not_seen_changes_nothing():
    net = torch.nn.Sequential(model(), torch.nn.Linear(3, 3).double())
    mkor = MKOR(net)
    _, raw = backward(net[0], 0)
    for p in net[1].parameters():
        p.grad = torch.ones_like(p)
    with pytest.raises(RuntimeError, match="layer '1' has a gradient, but was not seen"):
        mkor.precondition()
    for p, g in zip(net[0].parameters(), raw, strict=True):
        assert torch.equal(p.grad, g)
    assert mkor.steps == 0
