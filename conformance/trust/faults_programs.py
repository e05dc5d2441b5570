"""The programs that faults of whole processes strike: one for each framework and fault."""

from __future__ import annotations

TRAIN = """
import hashlib, io, os, pathlib, signal, sys, time
import numpy as np
from mgup_core import atomic_write
folder, rank, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
path = folder / "checkpoint.npz"
SHAPES = {"a": (4, 6), "b": (5,), "c": (5003,), "d": (33, 40)}

def start():
    return {n: np.random.default_rng(i).standard_normal(s).astype("f4")
            for i, (n, s) in enumerate(SHAPES.items())}

def gradients(w, step):
    rng = np.random.default_rng(1000 + step)
    return {n: np.float32(0.1) * np.asarray(x) + rng.standard_normal(x.shape).astype("f4")
            for n, x in w.items()}

def save(step, arrays):
    with atomic_write(path) as file:
        np.savez(file, step=step, **arrays)

def load():
    with np.load(path) as saved:
        return int(saved["step"]), {n: saved[n] for n in saved if n != "step"}

def digest(arrays):
    print("done", hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in arrays)).hexdigest())
"""

JAX = (
    TRAIN
    + """
import jax, optax
import mgup_jax
optimizer = mgup_jax.mgup_adamw(optax.cosine_decay_schedule(0.02, 1000), weight_decay=0.1)

@jax.jit
def step(w, state, g):
    updates, state = optimizer.update(g, state, w)
    return optax.apply_updates(w, updates), state

w = {n: jax.numpy.asarray(x) for n, x in start().items()}
state, taken = optimizer.init(w), 0
form = jax.tree.structure((w, state))
if path.exists():
    taken, arrays = load()
    w, state = jax.tree.unflatten(form, [jax.numpy.asarray(arrays[f"x{i}"])
                                         for i in range(form.num_leaves)])
step(w, state, gradients(w, 0))
print("ready", flush=True)
while taken < steps:
    w, state = step(w, state, gradients(w, taken))
    taken += 1
    save(taken, {f"x{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves((w, state)))})
digest(jax.tree.leaves((w, state)))
"""
)

MINDSPORE = (
    TRAIN
    + """
import mindspore as ms
import mgup_mindspore
params = [ms.Parameter(ms.Tensor(x), name=n) for n, x in start().items()]
optimizer = mgup_mindspore.MGUPAdamW(params, learning_rate=0.02, weight_decay=0.1)
taken = 0
held = {p.name: p for p in optimizer.get_parameters()}
if path.exists():
    taken, arrays = load()
    for i, p in enumerate(held.values()):
        p.set_data(ms.Tensor(arrays[f"x{i}"], p.dtype))
print("ready", flush=True)
while taken < steps:
    g = gradients({p.name: p.asnumpy() for p in params}, taken)
    optimizer(tuple(ms.Tensor(g[p.name]) for p in params))
    taken += 1
    save(taken, {f"x{i}": p.asnumpy() for i, p in enumerate(held.values())})
digest(p.asnumpy() for p in held.values())
"""
)

FSDP = (
    TRAIN
    + """
import warnings
warnings.simplefilter("ignore")
import torch, torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor
import mgup_torch
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{sys.argv[4]}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(40, 33), torch.nn.Linear(33, 7))
for layer in model:
    fully_shard(layer, mesh=mesh)
optimizer = mgup_torch.MGUPAdamW(model.parameters(), lr=0.02, weight_decay=0.1)
latest, taken = folder / "latest", 0
if latest.exists():
    taken = int(latest.read_text())
    weights, state = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=folder / str(taken))
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
print("ready", flush=True)
while taken < steps:
    generator = torch.Generator().manual_seed(taken)
    for p in model.parameters():
        whole = p.full_tensor().detach()
        noise = torch.randn(whole.shape, generator=generator)
        p.grad = distribute_tensor(0.1 * whole + noise, mesh, p.placements)
    optimizer.step()
    taken += 1
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=folder / str(taken))
    dist.barrier()
    if rank == 0:
        with atomic_write(latest) as file:
            file.write(str(taken).encode())
whole = [p.full_tensor().detach().numpy() for p in model.parameters()]
whole += [x.full_tensor().numpy() for p in model.parameters()
          for n, x in optimizer.state[p].items() if n != "step"]
digest(whole)
dist.destroy_process_group()
"""
)

FORKED = """
import os, signal, sys
import numpy as np, torch, mgup_torch
threads, before, seed, size = map(int, sys.argv[1:])
torch.set_num_threads(threads)
start = [np.random.default_rng(seed + i).standard_normal(s).astype("f4")
         for i, s in enumerate([(size,), (7, 5)])]
params = [torch.from_numpy(x).requires_grad_() for x in start]
kinds = [mgup_torch.MGUPAdamW, mgup_torch.MGUPLion, mgup_torch.MGUPSGD, mgup_torch.MGUPAdan]
optimizer = kinds[seed % 4](params, lr=0.02, weight_decay=0.1)

def step():  # without operations of torch, which hang in a forked child that has other threads
    for p in params:
        rng = np.random.default_rng(p.numel())
        p.grad = torch.from_numpy(np.float32(0.1) * p.detach().numpy()
                                  + rng.standard_normal(p.shape).astype("f4"))
    optimizer.step()

def bits():
    held = [*params, *(x for p in params for x in optimizer.state[p].values())]
    return b"".join(x.detach().numpy().tobytes() for x in held)

for _ in range(before):
    step()
read, write = os.pipe()
child = os.fork()
if not child:
    signal.alarm(300)
    os.close(read)
    step(), step()
    with os.fdopen(write, "wb") as file:
        file.write(bits())
    os._exit(0)
os.close(write)
step(), step()
with os.fdopen(read, "rb") as file:
    same = file.read() == bits()
sys.exit(not same or os.waitpid(child, 0)[1] != 0)
"""

ALARMED = """
import random, signal, sys, time
import numpy as np
rng = random.Random(int(sys.argv[1]))
class Stop(Exception): pass
def handler(*_): raise Stop
signal.signal(signal.SIGALRM, handler)
SHAPES = [(4, 6), (5,), (5003,), (33, 40)]
def arrays(seed):
    return [np.random.default_rng(seed + i).standard_normal(s).astype("f4")
            for i, s in enumerate(SHAPES)]
def seconds(step):
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
def interrupted(step, took):
    "Whether a step was broken off at a random moment of it."
    try:
        signal.setitimer(signal.ITIMER_REAL, max(rng.random() * took, 1e-5))
        try:
            step()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except Exception as error:  # JAX makes errors of its own of what its callbacks raise
        if "Stop" not in f"{type(error).__name__} {error}":
            raise
        return True
    return False
"""

JAX_ALARMED = (
    ALARMED
    + """
import jax, mgup_jax, optax
optimizer = mgup_jax.mgup_adamw(0.02, weight_decay=0.1)
@jax.jit
def update(w, state, g):
    updates, state = optimizer.update(g, state, w)
    return optax.apply_updates(w, updates), state
def bits(tree):
    return [np.array(x).tobytes() for x in jax.tree.leaves(tree)]
w, g = arrays(0), arrays(9)
state = optimizer.init(w)
w, state = update(w, state, g)
def step():
    jax.block_until_ready(update(w, state, g))
before, after, took = bits((w, state)), bits(update(w, state, g)), seconds(step)
broken = sum(interrupted(step, took) for _ in range(20))
assert broken, "no step was broken off"
assert bits((w, state)) == before
assert bits(update(w, state, g)) == after
"""
)

MINDSPORE_ALARMED = (
    ALARMED
    + """
import mindspore as ms, mgup_mindspore
def made():
    params = [ms.Parameter(ms.Tensor(x), name=f"p{i}") for i, x in enumerate(arrays(0))]
    return params, mgup_mindspore.MGUPAdamW(params, 0.02, weight_decay=0.1)
g = tuple(ms.Tensor(x) for x in arrays(9))
def bits(params, optimizer):
    moments = zip(optimizer.exp_avg, optimizer.exp_avg_sq, strict=True)
    return [b"".join(x.asnumpy().tobytes() for x in (p, *m))
            for p, m in zip(params, moments, strict=True)]
params, optimizer = made()
optimizer(g)
took, broken = seconds(lambda: optimizer(g)), 0
for _ in range(20):
    (params, optimizer), other = made(), made()
    optimizer(g), other[1](g)
    before = bits(*other)
    other[1](g)
    after = bits(*other)
    broken += interrupted(lambda: optimizer(g), took)
    for i, now in enumerate(bits(params, optimizer)):
        assert now in (before[i], after[i]), f"parameter {i} is in between"
assert broken, "no step was broken off"
"""
)

JAX_RAISES = """
import sys
import jax, numpy as np, optax, mgup_jax
seed = int(sys.argv[1])
class Stop(Exception): pass
armed = False
def rate(count):
    if armed:
        raise Stop
    return 0.02
w = {"a": np.random.default_rng(seed).standard_normal((33, 5)).astype("f4")}
optimizer = mgup_jax.mgup_lion(rate, weight_decay=0.1)
state = optimizer.init(w)
before = [np.array(x).tobytes() for x in jax.tree.leaves((w, state))]
expected = optimizer.update(w, state, w)
armed = True
for update in (optimizer.update, jax.jit(optimizer.update)):
    try:
        update(w, state, w)
    except Stop:
        pass
    else:
        sys.exit(1)
armed = False
assert before == [np.array(x).tobytes() for x in jax.tree.leaves((w, state))]
again = jax.jit(optimizer.update)(w, state, w)
for x, y in zip(jax.tree.leaves(expected), jax.tree.leaves(again), strict=True):
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
"""

MINDSPORE_RAISES = """
import sys
import mindspore as ms, numpy as np, mgup_mindspore
from mindspore import nn
seed = int(sys.argv[1])
class Stop(Exception): pass
armed = False
class Rate(nn.learning_rate_schedule.LearningRateSchedule):
    def construct(self, step):
        if armed:
            raise Stop
        return ms.Tensor(0.02, ms.float32)
def made(rate):
    p = ms.Parameter(ms.Tensor(np.random.default_rng(seed).standard_normal((33, 5)), ms.float32),
                     name="p")
    return p, mgup_mindspore.MGUPLion([p], rate, weight_decay=0.1)
def bits(p, optimizer):
    return [x.asnumpy().tobytes() for x in (p, *optimizer.get_parameters())]
p, optimizer = made(Rate())
other = made(0.02)
g = (ms.Tensor(np.ones((33, 5), "f4")),)
optimizer(g), other[1](g)
before, armed = bits(p, optimizer), True
try:
    optimizer(g)
except Stop:
    pass
else:
    sys.exit(1)
armed = False
# The count of steps is MindSpore's own, which nn.Optimizer raises before it asks for the rate.
assert before[0] == p.asnumpy().tobytes()
optimizer(g), other[1](g)
assert p.asnumpy().tobytes() == other[0].asnumpy().tobytes()
"""
