"""Processes for the tests of sharded parameters, started when first needed."""

from __future__ import annotations

import pytest

from .workers import Workers

torch = pytest.importorskip("torch", reason="mgup_torch needs PyTorch")

collect_ignore = ["placed.py", "refused.py", "fsdp.py"]  # what the processes import


class Fleet:
    """The same processes for all tests, and new ones when a test has broken them."""

    def __init__(self, n: int) -> None:
        self.n, self.workers = n, None

    def run(self, *args, **kwargs):
        if self.workers is None or not self.workers.alive:
            self.workers = Workers(self.n)
        return self.workers.run(*args, **kwargs)

    def close(self) -> None:
        if self.workers is not None:
            self.workers.close()


def _fleet(n: int):
    if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
        pytest.skip("this PyTorch has no gloo")
    fleet = Fleet(n)
    yield fleet
    fleet.close()


@pytest.fixture(scope="session")
def two():
    yield from _fleet(2)


@pytest.fixture(scope="session")
def four():
    yield from _fleet(4)
