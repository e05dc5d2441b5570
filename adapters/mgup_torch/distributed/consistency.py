"""Before each step, one small collective compares the inputs of the ranks' steps."""

from __future__ import annotations

import hashlib

import torch

from .fingerprint import StepInputs, difference
from .mesh_group import MeshGroup

_REMEDY = (
    "All ranks that share a parameter must step it alike; one that a rank did not use can be given "
    "p.grad = torch.zeros_like(p)."
)


class Agreement:
    """Checks that all ranks of each mesh group pass the same :class:`StepInputs` to a step.

    Each rank sends a fingerprint of its inputs, 16 bytes for each mesh dimension. Where the
    collective runs on the host, the rank reads the result at once. On an accelerator, reading it
    waits for the device. There the rank reads it at once only in the first step and when its own
    inputs have changed. Otherwise it reads the result in the next step, which need not wait.
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
            raise ValueError(
                _difference_message(mesh_group, last[0], "took different steps last time")
            )
        sent = _Fingerprint(mesh_group, inputs)
        if not (sent.waits and last is not None) and sent.differs():
            raise ValueError(
                _difference_message(
                    mesh_group, inputs, "disagree, and no parameter has taken this step"
                )
            )
        before = inputs.lasting() if last is None else last[0].lasting()
        changed = before != inputs.lasting()
        if sent.waits and changed and sent.differs():  # the other ranks do not read it in this step
            own = {"the last step": before, "this": inputs.lasting()}
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
        return bool(maximum != -negated_minimum)


def _difference_message(mesh_group: MeshGroup, inputs: StepInputs, what: str) -> str:
    gathered = mesh_group.all_gather_object((torch.distributed.get_rank(), inputs))
    everyone = {f"rank {rank}": given for rank, given in sorted(gathered, key=lambda pair: pair[0])}
    return f"the ranks {what}: {difference(everyone)}. {_REMEDY}"
