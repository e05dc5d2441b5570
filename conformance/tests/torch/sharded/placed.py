"""Run by the processes of :mod:`workers`: sharded optimizers beside unsharded ones."""

from __future__ import annotations

import torch
from support import array
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard

import mgup_torch

SHAPES = ((257, 129), (1,), (3,), (5, 7, 2), (16, 4), (0, 3))
MAKE = {"S": Shard, "R": lambda _: Replicate(), "T": lambda dim: _StridedShard(dim, split_factor=2)}
_meshes: dict[tuple[int, ...], object] = {}


def mesh_of(shape):
    if shape not in _meshes:
        _meshes[shape] = init_device_mesh(
            "cpu", shape, mesh_dim_names=("a", "b", "c")[: len(shape)]
        )
    return _meshes[shape]


def placements_of(text: str, ndim: int):
    """``"S0 R"``: Shard(0), Replicate(); axes that a tensor lacks are its last."""
    parts = text.split()
    return [MAKE[p[0]](min(int(p[1:] or 0), ndim - 1)) for p in parts]


def place(x, mesh, text: str):
    return distribute_tensor(
        x.detach().clone(), mesh, placements_of(text, x.ndim), src_data_rank=None
    )


def weights(shapes, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def grads(shapes, dtype, kind: str, step: int):
    """Gradients that are hard to rank: ties within and between shards, what is no number."""
    generator = torch.Generator().manual_seed(1000 + step)
    out = []
    for shape in shapes:
        g = torch.randn(shape, generator=generator) * 10.0 ** torch.randint(
            -3, 2, shape, generator=generator
        )
        if kind == "equal":
            g = torch.ones(shape)
        elif kind == "zeros":
            g = g * (torch.rand(shape, generator=generator) > 0.9)
        elif kind == "few":
            g = torch.randint(-1, 2, shape, generator=generator).float()
        elif kind == "odd" and g.numel() > 2:
            at = torch.rand(shape, generator=generator)
            g[at > 0.7] = torch.nan
            g[(at > 0.6) & (at < 0.65)] = torch.inf
        out.append(g.to(dtype))
    return out


def identical(what: str, expected, actual) -> None:
    if array(expected).tobytes() != array(actual).tobytes():
        differ = (array(expected) != array(actual)).sum()
        raise AssertionError(f"{what}: {differ} of {expected.numel()} differ, or have other bits")


def compare(
    mesh_shape,
    placements: str,
    *,
    name="MGUPAdamW",
    kind="normal",
    shapes=SHAPES,
    dtype="float32",
    steps=3,
    **options,
):
    """N steps, each bit for bit; returns the traffic of the last."""
    dtype = getattr(torch, dtype)
    if "state_dtype" in options:
        options["state_dtype"] = getattr(torch, options["state_dtype"])
    mesh = mesh_of(tuple(mesh_shape))
    plain = [w.requires_grad_() for w in weights(shapes, dtype)]
    sharded = [place(w, mesh, placements).requires_grad_() for w in plain]
    make = getattr(mgup_torch, name)
    one, other = make(plain, **options), make(sharded, **options)
    for step in range(steps):
        given = grads(shapes, dtype, kind, step)
        for p, q, g in zip(plain, sharded, given, strict=True):
            p.grad, q.grad = g, place(g, mesh, placements)
        one.step()
        other.step()
        for i, (p, q) in enumerate(zip(plain, sharded, strict=True)):
            here = f"step {step + 1}, parameter {i} {tuple(p.shape)}"
            identical(here, place(p, mesh, placements).to_local(), q.detach().to_local())
            assert one.state[p].keys() == other.state[q].keys()
            for key, value in other.state[q].items():
                if key == "step":
                    assert value == one.state[p][key]
                    continue
                assert isinstance(value, DTensor), key
                assert value.placements == q.placements
                identical(
                    f"{here}, {key}",
                    place(one.state[p][key], mesh, placements).to_local(),
                    value.to_local(),
                )
    if options.get("statistics"):
        compare_statistics(one.statistics(), other.statistics())
    return other.communication()


def compare_statistics(expected, actual):
    for i, (e, a) in enumerate(zip(expected, actual, strict=True)):
        assert (e is None) == (a is None)
        if e is not None:
            for field in e._fields:
                torch.testing.assert_close(
                    getattr(a, field), getattr(e, field), rtol=1e-6, atol=0, equal_nan=True,
                    msg=lambda text, i=i, field=field: f"parameter {i}, {field}: {text}",
                )  # fmt: skip
