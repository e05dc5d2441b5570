"""Whether all ranks are about to take the same step: one small collective before anything else."""

from __future__ import annotations

import hashlib

import torch

from .fingerprint import Facts, difference
from .mesh_group import Team

_REMEDY = (
    "All ranks that share a parameter must step it alike; one that a rank did not use can be given "
    "p.grad = torch.zeros_like(p)."
)


class Agreement:
    """The checks of one optimizer, a team at a time.

    Each rank sends a fingerprint of its facts, 16 bytes for each mesh dimension. Where the
    collective runs on the host, it is read at once. On an accelerator reading it would wait for the
    device, so that is done in the first step and whenever this rank's own facts have changed;
    otherwise it is read in the next step, when it has long arrived.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], tuple[Facts, _Fingerprint]] = {}

    def check(self, team: Team, facts: Facts) -> None:
        """Compare the facts of all ranks.

        Raises:
            ValueError: naming a parameter, what differs, and the ranks.
        """
        before, sent = self._last.pop(team.key, (None, None))
        if sent is not None and sent.differs():
            raise ValueError(_told(team, before, "took different steps last time"))
        sent = _Fingerprint(team, facts)
        changed = before is not None and before.lasting() != facts.lasting()
        if not (sent.waits and before is not None) and sent.differs():
            raise ValueError(_told(team, facts, "disagree, and no parameter has taken this step"))
        if sent.waits and changed and sent.differs():  # the others do not look, and cannot be asked
            own = {"the last step": before.lasting(), "this": facts.lasting()}
            raise ValueError(
                f"rank {torch.distributed.get_rank()} steps otherwise than before, and the other "
                f"ranks do not follow: {difference(own)}. No parameter has taken this step here. "
                f"{_REMEDY}"
            )
        self._last[team.key] = facts, sent


class _Fingerprint:
    """The greatest fingerprint of all ranks and the least, on their way to the host."""

    def __init__(self, team: Team, facts: Facts) -> None:
        digest = hashlib.blake2b(repr(facts).encode(), digest_size=7).digest()
        number = int.from_bytes(digest, "big")
        mine = torch.tensor([number, -number])
        self.waits = team.device.type == "cuda"
        if not self.waits:
            self.ends = team.greatest(mine.to(team.device))
            return
        ends = team.greatest(mine.pin_memory().to(team.device, non_blocking=True))
        self.ends = torch.empty_like(mine, pin_memory=True)
        self.ends.copy_(ends, non_blocking=True)
        self.arrived = torch.cuda.Event()
        self.arrived.record()

    def differs(self) -> bool:
        if self.waits:
            self.arrived.synchronize()
        greatest, least = self.ends.tolist()
        return bool(greatest != -least)


def _told(team: Team, facts: Facts, what: str) -> str:
    told = sorted(team.gather((torch.distributed.get_rank(), facts)), key=lambda pair: pair[0])
    everyone = {f"rank {rank}": given for rank, given in told}
    return f"the ranks {what}: {difference(everyone)}. {_REMEDY}"
