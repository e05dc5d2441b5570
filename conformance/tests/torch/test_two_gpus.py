"""Two processes on two NVIDIA GPUs, through NCCL (P5, N1).

pytest -m cuda conformance/tests/torch/test_two_gpus.py
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from .support import ON_GPU

pytestmark = [
    *ON_GPU,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs"),
]

BEGIN = """
import os, time, torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from mgup_torch import MGUPAdamW
rank = int(os.environ["LOCAL_RANK"])
torch.cuda.set_device(rank)
dist.init_process_group("nccl")
torch.manual_seed(0)
model = torch.nn.Sequential(*(torch.nn.Linear(512, 512, device="cuda") for _ in range(3)))

def backward(model, seed):
    x = torch.randn(8, 512, generator=torch.Generator("cuda").manual_seed(seed), device="cuda")
    model(x).square().mean().backward()
"""

ENDS = """
fully_shard(model)
optimizer = MGUPAdamW(model.parameters())
for step in range(4):
    backward(model, step)
    optimizer.step()
dist.destroy_process_group()
"""

DDP = """
model = DistributedDataParallel(model)
optimizer = MGUPAdamW(model.parameters(), lr=0.01, weight_decay=0.1)
for step in range(20):
    optimizer.zero_grad()
    backward(model, 2 * step + rank)
    optimizer.step()
for x in [*model.parameters(), *(x for s in optimizer.state.values() for x in s.values())]:
    mine = x.detach().to("cuda").reshape(-1).contiguous()
    others = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(others, mine)
    assert torch.equal(*others)
torch.cuda.synchronize()
dist.destroy_process_group()
"""

ALONE = """
fully_shard(model)
optimizer = MGUPAdamW(model.parameters())
told = None
for step in range(8):
    backward(model, step)
    if rank == 1 and step == 4:
        optimizer.param_groups[0]["tau"] = 0.25
    begun = time.monotonic()
    try:
        optimizer.step()
    except ValueError as error:
        told = step, time.monotonic() - begun, str(error)
        break
print(f"rank {rank} told {told}", flush=True)
assert told is not None and told[0] in (4, 5) and "tau" in told[2], told
time.sleep(5)  # torchrun ends all when one has ended with an error
os._exit(0)  # whose streams wait for a collective that never comes
"""


def torchrun(tmp_path, script: str) -> str:
    path = tmp_path / "train.py"
    path.write_text(BEGIN + script)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", str(path)]
    done = subprocess.run(command, timeout=600, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_a_process_group_ends_while_the_optimizer_lives(tmp_path):
    """NCCL waits for CUDA graphs that hold collectives, so there are none: this hung for ever."""
    torchrun(tmp_path, ENDS)


def test_ranks_of_ddp_stay_equal(tmp_path):
    """Parameters and state, to the bit, where each rank has data of its own."""
    torchrun(tmp_path, DDP)


def test_a_rank_that_changes_its_settings_alone(tmp_path):
    """It is told at once, and the other in its next step, long before NCCL's timeout."""
    said = torchrun(tmp_path, ALONE)
    assert "rank 0 told (" in said
    assert "rank 1 told (4" in said
