"""Before each step, one small collective compares the inputs of the ranks' steps."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import timedelta

import torch
from torch.distributed import distributed_c10d

from .fingerprint import Said, StepInputs, difference
from .mesh_group import MeshGroup

_REMEDY = (
    "All ranks that share a parameter must step it alike; one that a rank did not use can be given "
    "p.grad = torch.zeros_like(p)."
)


_PATIENCE = timedelta(seconds=10)
"""With ranks that have yet to say what they did."""


class Agreement:
    """Checks that all ranks of each mesh group pass the same :class:`StepInputs` to a step.

    Each rank sends a fingerprint of its inputs, 16 bytes for each mesh dimension. Where the
    collective runs on the host, the rank reads the result at once. On an accelerator, reading it
    waits for the device. There the rank reads it at once only in the first step and when its own
    inputs have changed. Otherwise it reads the result in the next step, which need not wait. By
    then a rank that was told may have left, so the ranks explain themselves through the process
    group's store: a collective would wait for a rank that never comes.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], tuple[StepInputs, _Fingerprint]] = {}

    def check(self, mesh_group: MeshGroup, inputs: StepInputs) -> None:
        """Compare the inputs of all ranks.

        Raises:
            ValueError: naming a parameter, the value that differs, and the ranks.
        """
        last = self._last.pop(mesh_group.key, None)
        if last is not None and last[1].differs():
            _publish(mesh_group, last[1], last[0])
            everyone = _published(mesh_group, last[1])
            told = difference(everyone) if len(everyone) > 1 else "no other rank has said which"
            raise ValueError(f"the ranks took different steps last time: {told}. {_REMEDY}")
        sent = _Fingerprint(mesh_group, inputs)
        if not (sent.waits and last is not None) and sent.differs():
            everyone = _gathered(mesh_group, inputs)  # all are here
            raise ValueError(
                "the ranks disagree, and no parameter has taken this step: "
                f"{difference(everyone)}. {_REMEDY}"
            )
        before = inputs.lasting() if last is None else last[0].lasting()
        changed = before != inputs.lasting()
        if sent.waits and changed and sent.differs():  # the other ranks do not read it in this step
            _publish(mesh_group, sent, inputs)
            own = {"the last step": before.said(), "this": inputs.lasting().said()}
            raise ValueError(
                f"rank {torch.distributed.get_rank()} steps otherwise than before, and the other "
                f"ranks do not follow: {difference(own)}. No parameter has taken this step here. "
                f"{_REMEDY}"
            )
        self._last[mesh_group.key] = inputs, sent


class _Fingerprint:
    """The maximum and the minimum of all ranks' fingerprints, on their way to the host."""

    def __init__(self, mesh_group: MeshGroup, inputs: StepInputs) -> None:
        digest = hashlib.blake2b(repr(inputs).encode(), digest_size=7).digest()
        number = int.from_bytes(digest, "big")
        own = torch.tensor([number, -number])
        self.waits = mesh_group.device.type == "cuda"
        if not self.waits:
            self.extremes = mesh_group.all_reduce_max(own.to(mesh_group.device))
            return
        extremes = mesh_group.all_reduce_max(
            own.pin_memory().to(mesh_group.device, non_blocking=True)
        )
        self.extremes = torch.empty_like(own, pin_memory=True)
        self.extremes.copy_(extremes, non_blocking=True)
        self.arrived = torch.cuda.Event()
        self.arrived.record()

    def differs(self) -> bool:
        """Whether two ranks sent different fingerprints; waits for the collective."""
        if self.waits:
            self.arrived.synchronize()
        maximum, negated_minimum = self.extremes.tolist()
        self.name = f"mgup/{maximum}/{-negated_minimum}/"  # the same on all ranks
        return bool(maximum != -negated_minimum)


def _gathered(mesh_group: MeshGroup, inputs: StepInputs) -> dict[str, Said]:
    """The inputs of all ranks, each of which must call this."""
    gathered = mesh_group.all_gather_object((torch.distributed.get_rank(), inputs.said()))
    return {f"rank {rank}": said for rank, said in sorted(gathered, key=lambda pair: pair[0])}


def _publish(mesh_group: MeshGroup, sent: _Fingerprint, inputs: StepInputs) -> None:
    """Let the other ranks read what this one did, whenever they come."""
    mine = json.dumps([torch.distributed.get_rank(), inputs.said()])
    distributed_c10d._get_default_store().set(f"{sent.name}{mesh_group.rank}", mine)


def _published(mesh_group: MeshGroup, sent: _Fingerprint) -> dict[str, Said]:
    """The inputs of those ranks that have published theirs."""
    store = distributed_c10d._get_default_store()
    keys = [f"{sent.name}{i}" for i in range(mesh_group.world_size)]
    with suppress(RuntimeError):  # of the time
        store.wait(keys, _PATIENCE)
    found = [json.loads(store.get(key)) for key in keys if store.check([key])]
    return {f"rank {rank}": said for rank, said in sorted(found, key=lambda pair: pair[0])}
