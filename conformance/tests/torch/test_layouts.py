"""Memory layouts: results depend on values alone, ties are told by C order (N1, P4)."""

from __future__ import annotations

import pytest
import torch

import mgup_core as core
from mgup_torch import MGUPSGD, MGUPMuon

from .inputs import CLASSES, POLICIES, Input
from .support import DTYPES, Reference, array, compare, gradients, same

VALUES = torch.randn(6, 4, 3, 2, generator=torch.Generator().manual_seed(3))


def strided_hole(x):
    """Every other entry of a larger buffer."""
    buffer = torch.full((*x.shape[:-1], 2 * x.shape[-1]), 77.0, dtype=x.dtype)
    buffer[..., ::2] = x
    return buffer[..., ::2]


def offset_view(x):
    """A contiguous view into the middle of a larger buffer."""
    buffer = torch.full((x.numel() + 20,), 77.0, dtype=x.dtype)
    buffer[7 : 7 + x.numel()] = x.flatten()
    return buffer[7 : 7 + x.numel()].view(x.shape)


LAYOUTS = {
    "contiguous": lambda x: x.clone(),
    "channels_last": lambda x: x.clone(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "permuted": lambda x: x.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2),
    "strided": strided_hole,
    "offset": offset_view,
}


def laid_out(name, dtype=torch.float32):
    p = LAYOUTS[name](VALUES.to(dtype))
    assert torch.equal(p, VALUES.to(dtype))
    return p.requires_grad_()


def reference(given, p):
    return Reference([p], given.rule(), given.policy(), **given.reference_options())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", list(CLASSES))
def test_parameters(layout, dtype, family):
    given = Input(family, "", {"lr": 0.02, "weight_decay": 0.1})
    p = laid_out(layout, dtype)
    strides = p.stride()
    compare(given.make([p]), [p], reference(given, p), steps=3)
    assert p.stride() == strides


@pytest.mark.parametrize("mode", POLICIES)
@pytest.mark.parametrize("layout", ["channels_last", "transposed"])
def test_parameters_in_every_mode(layout, mode):
    given = Input("AdamW", mode, {"lr": 0.02, **POLICIES[mode]})
    p = laid_out(layout)
    compare(given.make([p]), [p], reference(given, p), steps=3)


@pytest.mark.parametrize("family", list(CLASSES))
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "contiguous"])
def test_gradients(layout, family):
    """A gradient's layout is its own affair, and it is not changed."""
    given = Input(family, "", {"lr": 0.02})
    p = laid_out("contiguous")
    optimizer, expected = given.make([p]), reference(given, p)
    for step in range(3):
        g = gradients([p], step)[0]
        p.grad = LAYOUTS[layout](g)
        optimizer.step()
        expected.step([g])
        expected.check([p], optimizer)
        assert torch.equal(p.grad, g)


@pytest.mark.parametrize("family", list(CLASSES))
@pytest.mark.parametrize("like", [(1,), (3, 1), (4, 1, 1)])
def test_expanded_gradients(family, like):
    """What ``sum().backward()`` makes: stride 0, one value seen many times."""
    given = Input(family, "", {"lr": 0.02})
    p = laid_out("contiguous")
    optimizer, expected = given.make([p]), reference(given, p)
    p.grad = torch.randn(like).expand(p.shape)
    assert 0 in p.grad.stride()
    for _ in range(2):
        optimizer.step()
        expected.step([p.grad])
        expected.check([p], optimizer)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_ties_are_told_in_c_order(layout, dtype):
    """P4: with all scores equal, the first K in C order are selected, in any layout."""
    p = LAYOUTS[layout](torch.zeros(6, 4, 3, 2, dtype=dtype)).requires_grad_()
    p.grad = torch.ones_like(p)
    MGUPSGD([p], lr=1.0, momentum=0.0).step()
    moved = array(p).reshape(-1)
    assert (moved[:72] == -2.0).all()
    assert (moved[72:] == -0.5).all()


@pytest.mark.parametrize("layout", ["channels_last", "transposed"])
def test_stacked_dims_count_logical_axes(layout):
    """P5: slices are of the shape, not of the storage."""
    p = LAYOUTS[layout](torch.zeros(6, 4, 3, 2)).requires_grad_()
    p.grad = torch.ones_like(p)
    MGUPSGD([p], lr=1.0, momentum=0.0, stacked_dims=1).step()
    rows = array(p).reshape(6, -1)
    assert (rows[:, :12] == -2.0).all()
    assert (rows[:, 12:] == -0.5).all()


@pytest.mark.parametrize("name", ["strided", "offset"])
def test_neighbours_in_the_buffer_are_untouched(name):
    p = laid_out(name)
    whole = p.detach().as_strided((p.untyped_storage().nbytes() // 4,), (1,), 0)
    p.grad = torch.ones_like(p)
    before = int((whole == 77.0).sum())
    assert before > 0
    MGUPSGD([p], lr=0.1).step()
    assert int((whole == 77.0).sum()) == before
    assert not torch.equal(p, VALUES)


def test_parameters_sharing_one_buffer():
    """As flat-parameter libraries do: two views of one buffer step as two parameters."""
    buffer = torch.randn(24)
    views = [buffer[:10].view(2, 5), buffer[10:].view(7, 2)]
    views = [v.detach().requires_grad_() for v in views]
    given = Input("AdamW", "", {"lr": 0.02})
    expected = Reference(views, core.AdamW(), core.MGUP(), lr=0.02)
    compare(given.make(views), views, expected)
    assert torch.equal(buffer, torch.cat([v.detach().flatten() for v in views]))


@pytest.mark.parametrize("layout", ["t", "contiguous"])
def test_muon_of_a_transposed_matrix(layout):
    values = torch.randn(5, 8)
    p = (values.t().contiguous().t() if layout == "t" else values.clone()).requires_grad_()
    twin = values.clone().requires_grad_()
    optimizers = [MGUPMuon([q], lr=0.1, ns_dtype="float32") for q in (p, twin)]
    for step in range(3):
        for q, optimizer in zip((p, twin), optimizers, strict=True):
            q.grad = gradients([twin], step)[0]
            optimizer.step()
    torch.testing.assert_close(p, twin)
    assert same(
        [optimizers[0].state[p]["momentum_buffer"]], [optimizers[1].state[twin]["momentum_buffer"]]
    )
