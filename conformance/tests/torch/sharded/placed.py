"""Run by the processes of :mod:`workers`: sharded optimizers beside unsharded ones."""

from __future__ import annotations

import torch
import torch.distributed as dist
from support import array
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.debug import CommDebugMode
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
                if value.shape != q.shape:  # numbers and sums, which every rank has
                    identical(f"{here}, {key}", one.state[p][key], value.to_local())
                    continue
                assert value.placements == q.placements
                identical(
                    f"{here}, {key}",
                    place(one.state[p][key], mesh, placements).to_local(),
                    value.to_local(),
                )
    if options.get("statistics"):
        ranks = options.get("mode", "rank") == "rank"
        compare_statistics(one.statistics(), other.statistics(), ranks=ranks)
    return other.communication()


def compare_statistics(expected, actual, *, ranks):
    for i, (e, a) in enumerate(zip(expected, actual, strict=True)):
        assert (e is None) == (a is None)
        if e is not None:
            # In host memory the modes that do not rank have no threshold, and so no ties.
            for field in e._fields if ranks else ("selected", "positive", "multiplier"):
                torch.testing.assert_close(
                    getattr(a, field), getattr(e, field), rtol=1e-6, atol=0, equal_nan=True,
                    msg=lambda text, i=i, field=field: f"parameter {i}, {field}: {text}",
                )  # fmt: skip


class Watched:
    """What really goes through the process groups, counted at ``torch.distributed``."""

    GATHERS = (
        "all_gather",
        "all_gather_into_tensor",
        "all_gather_object",
        "broadcast",
        "reduce_scatter",
    )

    def __enter__(self):
        self.calls, self.bytes = 0, 0
        self.saved = {name: getattr(dist, name) for name in ("all_reduce", *self.GATHERS)}

        def all_reduce(x, *args, **kwargs):
            self.calls, self.bytes = self.calls + 1, self.bytes + x.numel() * x.element_size()
            return self.saved["all_reduce"](x, *args, **kwargs)

        def refuse(*args, **kwargs):
            raise AssertionError("a tensor was gathered")

        dist.all_reduce = all_reduce
        for name in self.GATHERS:
            setattr(dist, name, refuse)
        return self

    def __exit__(self, *_):
        for name, function in self.saved.items():
            setattr(dist, name, function)


def traffic(mesh_shape, placements: str, shapes, **options):
    """(collectives, bytes) of a step, as the optimizer tells them and as they are."""
    mesh = mesh_of(tuple(mesh_shape))
    params = [place(w, mesh, placements).requires_grad_() for w in weights(shapes, torch.float32)]
    optimizer = mgup_torch.MGUPAdamW(params, **options)
    for p in params:
        p.grad = torch.ones_like(p)
    with Watched() as watched, CommDebugMode() as functional:
        optimizer.step()
    assert functional.get_total_counts() == watched.calls
    told = optimizer.communication()
    assert (told.collectives, told.bytes) == (watched.calls, watched.bytes)
    return watched.calls, watched.bytes


def mixed():
    """Plain parameters beside DTensors, in one group and in others."""
    mesh = mesh_of((2, 2))
    layouts = ("S0 R", None, "S0 S1", "R S0", None, "R R")
    plain = [w.requires_grad_() for w in weights([(9, 5)] * 6, torch.float32)]
    there = [
        (p.detach().clone() if at is None else place(p, mesh, at)).requires_grad_()
        for p, at in zip(plain, layouts, strict=True)
    ]

    def make(params):
        groups = [{"params": params[:4]}, {"params": params[4:], "lr": 0.1, "tau": 0.25}]
        return mgup_torch.MGUPAdamW(groups)

    one, other = make(plain), make(there)
    for step in range(3):
        for p, q, at, g in zip(
            plain, there, layouts, grads([(9, 5)] * 6, torch.float32, "few", step), strict=True
        ):
            p.grad, q.grad = g, g.clone() if at is None else place(g, mesh, at)
        one.step()
        other.step()
        for p, q, at in zip(plain, there, layouts, strict=True):
            expected = p if at is None else place(p, mesh, at).to_local()
            identical(str(at), expected, q if at is None else q.to_local())


def alone():
    """scope="local" ranks a shard as if it were a parameter, which is another rule."""
    mesh = mesh_of((2,))
    (w,), (g,) = weights([(9, 5)], torch.float32), grads([(9, 5)], torch.float32, "normal", 0)
    moved = {}
    for scope in ("global", "local"):
        p = place(w, mesh, "S0").requires_grad_()
        p.grad = place(g, mesh, "S0")
        optimizer = mgup_torch.MGUPAdamW([p], scope=scope)
        optimizer.step()
        moved[scope] = p.detach().to_local()
        if scope == "local":
            assert optimizer.communication().collectives == 1  # that the ranks agree
    shard = place(w, mesh, "S0").to_local().requires_grad_()
    shard.grad = place(g, mesh, "S0").to_local()
    mgup_torch.MGUPAdamW([shard]).step()
    identical("shard", shard, moved["local"])
    return bool((moved["local"] != moved["global"]).any())


def wrapped(mesh_shape, placements: str, **options):
    """The wrapper around an optimizer of torch.optim whose arithmetic does not depend on layout."""
    mesh = mesh_of(tuple(mesh_shape))
    plain = [w.requires_grad_() for w in weights(SHAPES, torch.float32)]
    sharded = [place(w, mesh, placements).requires_grad_() for w in plain]
    one, other = (
        mgup_torch.MGUP(torch.optim.SGD(params, lr=0.5, momentum=0.5, foreach=False), **options)
        for params in (plain, sharded)
    )
    for step in range(2):
        for p, q, g in zip(plain, sharded, grads(SHAPES, torch.float32, "few", step), strict=True):
            p.grad, q.grad = g, place(g, mesh, placements)
        one.step()
        other.step()
        for p, q in zip(plain, sharded, strict=True):
            identical(str(p.shape), place(p, mesh, placements).to_local(), q.to_local())
    if options.get("statistics"):
        compare_statistics(one.statistics(), other.statistics(), ranks=True)


def orthogonalised_once(n: int):
    """How many matrices each rank orthogonalised in a step of ``n`` of them."""
    from mgup_core import Muon

    mesh = mesh_of((dist.get_world_size(),))
    params = [place(torch.randn(9, 5), mesh, "S0").requires_grad_() for _ in range(n)]
    optimizer = mgup_torch.MGUPMuon(params, ns_dtype="float32")
    for p in params:
        p.grad = torch.ones_like(p)
    times, orthogonal = [], Muon.orthogonal
    Muon.orthogonal = lambda self, be, b: times.append(b.shape) or orthogonal(self, be, b)
    try:
        optimizer.step()
    finally:
        Muon.orthogonal = orthogonal
    return len(times)


def every_elementwise_rule():
    """Of the core's, by the names of their classes here; how many."""
    names = [
        name
        for name in dir(mgup_torch)
        if getattr(getattr(getattr(mgup_torch, name), "rule_class", None), "elementwise", False)
    ]
    for name in names:
        compare((2, 2), "S1 S0", name=name, kind="few", shapes=[(9, 5), (4,)], steps=3)
    return len(names)


def every_rule_of_whole_tensors():
    """Of the core's: norms, sums of rows, sums over all parameters, bases; how many."""
    names = [
        name
        for name in dir(mgup_torch)
        if (rule := getattr(getattr(mgup_torch, name), "rule_class", None))
        and not (rule.elementwise or rule.gathers)
    ]
    for name in names:
        kind = getattr(mgup_torch, name).rule_class
        shapes = [(9, 5), (4,)] if kind().accepts((4,)) is None else [(9, 5)]
        compare((2,), "S1", name=name, kind="few", shapes=shapes, steps=2)
    return len(names)


def compiled():
    """A compiled step steps DTensors outside its graph."""
    torch._dynamo.reset()
    mesh = mesh_of((2,))
    (w,), moved = weights([(9, 5)], torch.float32), []
    for compiling in (False, True):
        p = place(w, mesh, "S0").requires_grad_()
        optimizer = mgup_torch.MGUPAdamW([p])
        step = torch.compile(optimizer.step, backend="eager") if compiling else optimizer.step
        for i in range(2):
            p.grad = place(*grads([(9, 5)], torch.float32, "few", i), mesh, "S0")
            step()
        moved.append(p.detach().to_local())
    identical("compiled", *moved)


def strided():
    """Whether this PyTorch can place tensors as these tests want to have them."""
    x = torch.arange(10.0)
    mesh = mesh_of((2, 2))
    return all(torch.equal(place(x, mesh, text).full_tensor(), x) for text in ("T0 S0", "R T0"))


def partial(placements: str):
    """Gradients whose parts are yet to be summed, as tensor parallelism leaves some."""
    mesh = mesh_of((2,))
    (w,) = weights([(9, 5)], torch.float32)
    plain, there = w.clone().requires_grad_(), place(w, mesh, placements).requires_grad_()
    one, other = mgup_torch.MGUPAdamW([plain]), mgup_torch.MGUPAdamW([there])
    for step in range(2):
        parts = grads([(9, 5)] * 2, torch.float32, "few", step)
        plain.grad = parts[0] + parts[1]
        there.grad = DTensor.from_local(parts[dist.get_rank()], mesh, [Partial()])
        one.step()
        other.step()
        identical(f"step {step + 1}", place(plain, mesh, placements).to_local(), there.to_local())
